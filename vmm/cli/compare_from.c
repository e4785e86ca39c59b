/* SPDX-License-Identifier: MIT */
/* One snapshot under one engine after the other, and the same command in it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/clock.h"
#include "vmm/cli/compare.h"
#include "vmm/cli/table.h"

#define PATIENCE_S 3600u
#define WORKLOAD   "from"
#define OUTPUT_MAX 4096u

struct output {
	size_t used;
	char text[OUTPUT_MAX];
};

static bool see_output(void *arg, const char *line, uint64_t at_ns)
{
	struct output *o = arg;

	(void)at_ns;
	if (o->used < sizeof(o->text))
		o->used += (size_t)snprintf(o->text + o->used, sizeof(o->text) - o->used, "%s\n",
					    line);
	return false;
}

static void add(struct compare *c, const struct compare_config *config, const char *name,
		const char *unit, double value)
{
	const struct compare_metric metric = {WORKLOAD, name, unit, false};

	compare_report_add(c->report, &metric, config->name, value);
}

/* What the command said under each engine, the first time. */
static void output_note(struct compare *c, const struct compare_config *config,
			const struct output *o)
{
	struct json_object *outputs;

	if (!json_object_object_get_ex(c->report, "outputs", &outputs)) {
		outputs = json_object_new_object();
		json_object_object_add(c->report, "outputs", outputs);
	}
	if (!json_object_object_get_ex(outputs, config->name, NULL))
		json_add_text(outputs, config->name, o->text);
}

/* Words as they were given, for the shell on the guest's console. */
static char *command_text(const struct compare *c)
{
	struct compare_words w = {0};

	for (int i = 0; i < c->options->command_count; i++)
		compare_words_add(&w, c->options->command[i]);
	return compare_words_text(&w);
}

static int command_run(struct compare *c, const struct compare_config *config,
		       struct compare_process *p, struct error *err)
{
	struct output said = {0};
	double cpu = compare_process_cpu(p);
	uint64_t begin = clock_monotonic_ns();
	char *command = command_text(c);
	int ret = command ? compare_shell(c, p, PATIENCE_S, command, see_output, &said, err)
			  : error_set(err, -ENOMEM, NULL, "command: out of memory");

	free(command);
	if (ret)
		return ret;
	add(c, config, "command", "s", (double)(clock_monotonic_ns() - begin) / 1e9);
	add(c, config, "command: host CPU", "s", compare_process_cpu(p) - cpu);
	output_note(c, config, &said);
	return 0;
}

static int restore(struct compare *c, const struct compare_config *config, struct error *err)
{
	const char *from = c->options->from;

	/* A snapshot of engine bt says how, which another --bt replaces. */
	return config->how ? compare_lodge(c, NULL, 0, err, "snapshot", "restore", from, "--as",
					   COMPARE_NAME, "--engine", config->engine, "--bt",
					   config->how, NULL)
			   : compare_lodge(c, NULL, 0, err, "snapshot", "restore", from, "--as",
					   COMPARE_NAME, "--engine", config->engine, NULL);
}

static int config_run(struct compare *c, const struct compare_config *config, struct error *err)
{
	struct compare_process p = {.in = -1, .out = -1, .errors = -1};
	uint64_t begin = clock_monotonic_ns(), opened;
	int ret;

	compare_progress(c, config, c->options->from);
	ret = restore(c, config, err);
	opened = clock_monotonic_ns();
	if (ret == 0)
		ret = compare_console(COMPARE_NAME, &p, err);
	if (ret == 0)
		ret = compare_shell_ready(c, &p, 120, err);
	if (ret == 0) {
		add(c, config, "restore: the command", "ms", (double)(opened - begin) / 1e6);
		add(c, config, "restore: first answer", "ms",
		    (double)(clock_monotonic_ns() - begin) / 1e6);
		ret = command_run(c, config, &p, err);
	}
	if (ret == 0)
		add(c, config, "memory of the VMM", "MiB",
		    compare_process_memory(p.pid, c->options->memory));
	compare_process_end(&p);
	compare_sweep(c);
	return ret;
}

static void workload_note(struct compare *c)
{
	struct json_object *list, *one;
	char summary[256];

	if (json_object_object_get_ex(c->report, "workloads", NULL))
		return;
	list = json_object_new_array();
	one = json_object_new_object();
	snprintf(summary, sizeof(summary), "snapshot '%s' goes on under each engine",
		 c->options->from);
	json_add_text(one, "name", WORKLOAD);
	json_add_text(one, "summary", summary);
	json_object_array_add(list, one);
	json_object_object_add(c->report, "workloads", list);
}

int compare_from(struct compare *c, struct error *err)
{
	workload_note(c);
	for (unsigned i = 0; i < c->config_count; i++) {
		const struct compare_config *config = &c->config[i];
		struct error why = {0};
		char line[sizeof(why)];
		int ret;

		if (config->reason[0])
			continue;
		if (!config->engine) {
			compare_report_reason(c->report, WORKLOAD, config->name,
					      "the host goes on from no snapshot of a guest");
			continue;
		}
		ret = config_run(c, config, &why);
		if (ret == -EINTR)
			return error_set(err, ret, NULL, "interrupted");
		if (ret) {
			error_format(&why, ret, line, sizeof(line));
			compare_report_reason(c->report, WORKLOAD, config->name, line);
		}
	}
	compare_progress(c, NULL, NULL);
	return 0;
}
