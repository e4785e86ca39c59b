/* SPDX-License-Identifier: MIT */
/* Workloads that have to do with CPUs: boot, cost, nano, compute, kernel. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/checked.h"
#include "vmm/base/clock.h"
#include "vmm/cli/client.h"
#include "vmm/cli/compare_work.h"
#include "vmm/cli/table.h"

#define PATIENCE_S      1800u
#define CLOCK_TOLERANCE 0.05
#define CLOCK_SLACK_S   1.0 /* a line may come late, where the host is busy */
#define IDLE_S          2
#define SUITE_OPTIONS   "-t 100 -u 3"

void compare_add(struct compare_place *place, const char *workload, const char *name,
		 const char *unit, bool more, double value)
{
	const struct compare_metric metric = {workload, name, unit, more};

	compare_report_add(place->c->report, &metric, place->config->name, value);
}

/* The program. */

/* "NAME FIGURE CHECKSUM"; false where it is none. */
static bool figure_parse(const char *line, struct compare_figure *out)
{
	char value[32], *end, more;

	if (sscanf(line, "%47s %31s %23s %c", out->name, value, out->checksum, &more) != 3)
		return false;
	out->value = strtod(value, &end);
	return end != value && !*end && !out->checksum[strspn(out->checksum, "0123456789abcdef")];
}

static bool see_figure(void *arg, const char *line, uint64_t at_ns)
{
	struct compare_figures *f = arg;
	struct compare_figure one;

	if (strstr(line, "workload begins"))
		f->begin_ns = at_ns;
	if (!figure_parse(line, &one)) {
		if (line[0])
			snprintf(f->words, sizeof(f->words), "%s", line);
	} else if (strcmp(one.name, "wall") == 0) {
		f->wall_ns = one.value;
		f->end_ns = at_ns;
	} else if (strcmp(one.name, "cpu") == 0) {
		f->cpu_ns = one.value;
	} else if (f->count < COMPARE_FIGURES_MAX) {
		f->figure[f->count++] = one;
	}
	return false;
}

/* Is a second a second there? */
static void clock_check(struct compare_place *place, const char *words,
			const struct compare_figures *f)
{
	double inside = f->wall_ns / 1e9, outside = (double)(f->end_ns - f->begin_ns) / 1e9;
	double off = inside > outside ? inside - outside : outside - inside;

	if (f->begin_ns && off > CLOCK_TOLERANCE * outside + CLOCK_SLACK_S)
		compare_report_fault(place->c->report,
				     "%s: '%s' took %.1f s, and %.1f s by its own clock",
				     place->config->name, words, outside, inside);
}

static int program_native(struct compare_place *place, const char *words,
			  struct compare_figures *out, struct error *err)
{
	struct compare_words w = {0};
	struct compare_process p;
	char command[PATH_MAX + 1024];
	int ret;

	snprintf(command, sizeof(command), "exec '%s' %s", place->c->program, words);
	compare_words_add(&w, "/bin/sh");
	compare_words_add(&w, "-c");
	compare_words_add(&w, command);
	ret = compare_process_start(&w, true, &p, err);
	if (ret == 0)
		ret = compare_process_read(place->c, &p, PATIENCE_S, true, see_figure, out, err);
	compare_process_end(&p);
	return ret;
}

int compare_program(struct compare_place *place, const char *words, struct compare_figures *out,
		    struct error *err)
{
	struct error why = {0};
	char command[1024];
	int ret;

	*out = (struct compare_figures){0};
	snprintf(command, sizeof(command), "/compare/workload %s", words);
	if (place->process)
		ret = compare_shell(place->c, place->process, PATIENCE_S, command, see_figure, out,
				    &why);
	else
		ret = program_native(place, words, out, &why);
	/* It knows best why it failed. */
	if (ret == -EBADMSG && out->words[0])
		error_set(err, ret, NULL, "%s", out->words);
	else if (ret)
		error_set(err, ret, why.remedy, "%s", why.what);
	if (ret == 0 && out->wall_ns <= 0)
		ret = error_set(err, -EBADMSG, NULL, "'%s' did not come to its end: %s", words,
				out->words);
	if (ret == 0)
		clock_check(place, words, out);
	return ret;
}

/* Was the same computed by all? */
static bool checksum_check(struct compare_place *place, const struct compare_figure *f)
{
	struct json_object *report = place->c->report, *all, *first;

	if (!json_object_object_get_ex(report, "checksums", &all)) {
		all = json_object_new_object();
		json_object_object_add(report, "checksums", all);
	}
	if (!json_object_object_get_ex(all, f->name, &first)) {
		json_add_text(all, f->name, f->checksum);
		return true;
	}
	if (strcmp(json_object_get_string(first), f->checksum) == 0)
		return true;
	compare_report_fault(report, "%s: %s gives %s, and %s elsewhere", place->config->name,
			     f->name, f->checksum, json_object_get_string(first));
	return false;
}

static int suite(struct compare_place *place, const char *workload, struct error *err)
{
	struct compare_figures f;
	char words[64];
	int ret;

	snprintf(words, sizeof(words), "%s " SUITE_OPTIONS, workload);
	ret = compare_program(place, words, &f, err);
	for (unsigned i = 0; i < f.count && ret == 0; i++)
		if (checksum_check(place, &f.figure[i]))
			compare_add(place, workload, f.figure[i].name, "ns", false,
				    f.figure[i].value);
	return ret;
}

int compare_compute(struct compare_place *place, struct error *err)
{
	return suite(place, "compute", err);
}

int compare_kernel(struct compare_place *place, struct error *err)
{
	return suite(place, "kernel", err);
}

/* Boot and cost. */

int compare_boot(struct compare_place *place, struct error *err)
{
	const struct compare_process *p = place->process;

	if (!p->runs_ns)
		return error_set(err, -EBADMSG, NULL, "it did not say when its vCPUs began");
	compare_add(place, "boot", "to the kernel", "ms", false,
		    (double)(p->runs_ns - p->started_ns) / 1e6);
	compare_add(place, "boot", "to init", "ms", false, (double)place->init_ns / 1e6);
	compare_add(place, "boot", "to the shell", "ms", false, (double)place->shell_ns / 1e6);
	return 0;
}

static int info_of(struct compare_place *place, struct json_object **out, struct error *err)
{
	return client_request(place->process->name, "GET", "/v1/info", NULL, out, err);
}

int compare_exits(struct compare_place *place, double *out, struct error *err)
{
	static const char *const accesses[] = {"io", "mmio", "doorbells", "apic"};
	struct json_object *info, *exits, *all;
	int ret = info_of(place, &info, err);

	if (ret)
		return ret;
	exits = json_object_object_get(info, "exits");
	*out = 0;
	if (json_object_object_get_ex(exits, "exits", &all))
		*out = json_object_get_double(all);
	for (unsigned i = 0; i < ARRAY_SIZE(accesses) && !all; i++)
		*out += json_object_get_double(json_object_object_get(exits, accesses[i]));
	json_object_put(info);
	return 0;
}

static int cost_exits(struct compare_place *place, struct error *err)
{
	struct json_object *info;
	int ret = info_of(place, &info, err);

	if (ret)
		return ret;
	json_object_object_foreach(json_object_object_get(info, "exits"), reason, count)
	{
		char name[64];

		snprintf(name, sizeof(name), "boot: %s", reason);
		compare_add(place, "cost", name, "times", false, json_object_get_double(count));
	}
	json_object_put(info);
	return 0;
}

/* Of the host's CPU time while nothing happens in the guest. */
static void cost_idle(struct compare_place *place)
{
	const struct timespec time = {.tv_sec = IDLE_S};
	double before = compare_process_cpu(place->process);

	nanosleep(&time, NULL);
	compare_add(place, "cost", "idle", "% of a CPU", false,
		    100 * (compare_process_cpu(place->process) - before) / IDLE_S);
}

int compare_cost(struct compare_place *place, struct error *err)
{
	double cpu = compare_process_cpu(place->process);
	struct compare_figures f;
	int ret = cost_exits(place, err);

	if (ret)
		return ret;
	compare_add(place, "cost", "boot: host CPU", "s", false, cpu);
	compare_add(place, "cost", "memory of the VMM", "MiB", false,
		    compare_process_memory(place->process->pid, place->c->options->memory));
	cost_idle(place);
	cpu = compare_process_cpu(place->process);
	ret = compare_program(place, "compute -t 1000 sha256", &f, err);
	cpu = compare_process_cpu(place->process) - cpu;
	if (ret == 0 && f.cpu_ns > 0)
		compare_add(place, "cost", "compute: host CPU s per guest CPU s", "ratio", false,
			    cpu * 1e9 / f.cpu_ns);
	return ret;
}

/* Nano. */

/* Adams and Agesen (ASPLOS 2006): native, binary translation, first-generation VT; cycles of a
 * Pentium 4. */
static const struct {
	const char *name;
	int native, bt, vt;
} paper[] = {
	{"syscall", 242, 2308, 246}, {"in", 3209, 216, 15826},       {"cr8wr", 150, 35, 177},
	{"callret", 11, 51, 11},     {"pgfault", 1093, 3927, 11242}, {"divzero", 889, 3223, 1014},
	{"ptemod", 1, 391, 12733},
};

static void nano_add(struct compare_place *place, const char *name, double cycles)
{
	const struct compare_metric metric = {"nano", name, "cycles", false};

	compare_add(place, "nano", name, "cycles", false, cycles);
	for (unsigned i = 0; i < ARRAY_SIZE(paper); i++)
		if (strcmp(paper[i].name, name) == 0)
			compare_report_reference(place->c->report, &metric, paper[i].native,
						 paper[i].bt, paper[i].vt);
}

struct nano_run {
	struct compare_place *place;
	bool passed;
};

static bool see_nano(void *arg, const char *line, uint64_t at_ns)
{
	struct nano_run *run = arg;
	char name[48], thousand[17];
	int at = 0;

	(void)at_ns;
	if (strcmp(line, "passed") == 0 || strcmp(line, "failed") == 0) {
		run->passed = line[0] == 'p';
		return true;
	}
	if (sscanf(line, "nano %47s %16s", name, thousand) == 2)
		nano_add(run->place, name, (double)strtoull(thousand, NULL, 16) / 1000);
	else if (sscanf(line, "nano-missing %47s %n", name, &at) == 1 && at)
		compare_report_fault(run->place->c->report, "%s: nano: no %s: %s",
				     run->place->config->name, name, line + at);
	return false;
}

int compare_nano(struct compare_place *place, struct error *err)
{
	struct nano_run run = {.place = place};
	int ret = compare_process_read(place->c, place->process, PATIENCE_S, false, see_nano, &run,
				       err);

	if (ret == 0 && !run.passed)
		ret = error_set(err, -EBADMSG, NULL, "nano: it says that it failed");
	return ret;
}

int compare_nano_native(struct compare_place *place, struct error *err)
{
	struct compare_figures f;
	int ret = compare_program(place, "nano", &f, err);

	for (unsigned i = 0; i < f.count && ret == 0; i++)
		nano_add(place, f.figure[i].name, f.figure[i].value);
	return ret;
}
