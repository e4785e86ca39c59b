/* SPDX-License-Identifier: MIT */
/*
 * lodge compare: the same guest in one configuration after the other, several rounds of it, so that
 * what the host does meanwhile falls upon all. Each guest is a process of this program's; what is
 * measured is in compare_work.c and compare_devices.c, the report in compare_report.h.
 */
#include "vmm/cli/compare.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/clock.h"
#include "vmm/base/instance.h"
#include "vmm/base/process.h"
#include "vmm/cli/compare_work.h"
#include "vmm/cli/table.h"
#include "vmm/cli/version.h"

/* One at a time: two would measure each other. */
static int lock_take(struct compare *c, struct error *err)
{
	char path[PATH_MAX];
	int ret = instance_state_path("", "compare.lock", path, sizeof(path), err);

	if (ret)
		return ret;
	c->lock = instance_lock(path, O_CREAT, LOCK_EX);
	if (c->lock >= 0)
		return 0;
	return error_set(err, c->lock, c->lock == -EBUSY ? "wait until it is done" : NULL,
			 c->lock == -EBUSY ? "another lodge compare is under way" : "'%s': %s",
			 path, error_name(c->lock));
}

static int signals_take(struct compare *c, struct error *err)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	c->signals = signalfd(-1, &set, SFD_CLOEXEC);
	return c->signals < 0 ? error_set(err, -errno, "raise ulimit -n", "signalfd: %s",
					  error_name(-errno))
			      : 0;
}

static int work_make(struct compare *c, struct error *err)
{
	const char *output = c->options->output, *tmp = getenv("TMPDIR");

	if (output) {
		if (mkdir(output, 0777) < 0 && errno != EEXIST)
			return error_set(err, -errno, "give another --output", "'%s': %s", output,
					 error_name(-errno));
		if (!realpath(output, c->work))
			return error_set(err, -errno, "give another --output", "'%s': %s", output,
					 error_name(-errno));
		return 0;
	}
	snprintf(c->work, sizeof(c->work), "%.4000s/" COMPARE_NAME "-XXXXXX", tmp ? tmp : "/tmp");
	if (mkdtemp(c->work))
		return 0;
	c->work[0] = 0;
	return error_set(err, -errno, "set TMPDIR, or give --output", "temporary directory: %s",
			 error_name(-errno));
}

/* Without --output all goes; with it the guest's initrd stays, which command lines name. */
static void work_remove(struct compare *c)
{
	if (c->disk[0])
		unlink(c->disk);
	if (c->options->output || !c->work[0])
		return;
	if (c->initrd[0])
		unlink(c->initrd);
	rmdir(c->work);
}

/* A network is to be had, or not, before anything is measured. */
static void network_look(struct compare *c)
{
	struct error why = {0};
	int ret;

	c->network = geteuid() == 0 && network_check(true, &why) == 0;
	if (c->network)
		return;
	why = (struct error){0};
	ret = process_find("passt", "passt", &why);
	if (ret)
		error_format(&why, ret, c->network_why, sizeof(c->network_why));
}

static void add_guest(struct compare *c)
{
	struct json_object *guest = json_object_new_object();

	json_add_text(guest, "kernel", c->kernel);
	json_add_text(guest, "initrd", c->initrd);
	json_add_number(guest, "memory_bytes", c->options->memory);
	json_object_object_add(c->report, "guest", guest);
}

/* As it was typed. */
static void add_command(struct compare *c)
{
	FILE *file = fopen("/proc/self/cmdline", "re");
	struct compare_words words = {0};
	char *word = NULL, *text;
	size_t size = 0;

	while (file && getdelim(&word, &size, 0, file) > 0)
		compare_words_add(&words, word);
	if (file)
		fclose(file);
	free(word);
	text = compare_words_text(&words);
	json_add_text(c->report, "command", text ? text : "");
	free(text);
}

static void report_begin(struct compare *c)
{
	time_t now = time(NULL);
	char text[32];
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	c->report = json_object_new_object();
	json_add_text(c->report, "lodge", LODGE_VERSION);
	json_add_text(c->report, "time", text);
	add_command(c);
}

static int round_do(struct compare *c, struct error *err)
{
	int ret = 0;

	if (c->options->from)
		return compare_from(c, err);
	for (unsigned i = 0; i < c->config_count && ret == 0; i++)
		if (!c->config[i].reason[0])
			ret = compare_round(c, &c->config[i], err);
	return ret;
}

/* After each round what there is so far is a whole report. */
static int round_conclude(struct compare *c, struct error *err)
{
	json_add_number(c->report, "runs", c->runs);
	json_add_number(c->report, "runs_done", c->round + 1);
	json_object_object_add(
		c->report, "seconds",
		json_object_new_double((double)(clock_monotonic_ns() - c->began_ns) / 1e9));
	json_object_object_add(c->report, "others_cpus",
			       json_object_new_double(compare_host_others(&c->load)));
	compare_report_conclude(c->report);
	return c->options->output ? compare_report_save(c->report, c->work, err) : 0;
}

static int rounds_do(struct compare *c, struct error *err)
{
	int ret = 0;

	json_object_object_add(c->report, "host", compare_host());
	c->began_ns = clock_monotonic_ns();
	compare_host_others(&c->load);
	for (c->round = 0; c->round < c->runs && ret == 0; c->round++) {
		ret = round_do(c, err);
		if (ret == 0)
			ret = round_conclude(c, err);
	}
	compare_sweep(c);
	if (ret == -EINTR && c->round > 1 && c->options->output)
		fprintf(stderr, "the report has the %u rounds before\n", c->round - 1);
	return ret;
}

static int compare_do(struct compare *c, struct error *err)
{
	int ret = lock_take(c, err);

	if (ret == 0)
		ret = signals_take(c, err);
	if (ret == 0)
		ret = work_make(c, err);
	if (ret == 0 && !c->options->from)
		ret = compare_files_make(c, err);
	if (ret == 0) {
		add_guest(c);
		compare_sweep(c);
		network_look(c);
		ret = rounds_do(c, err);
	}
	work_remove(c);
	if (ret)
		return ret;
	if (c->options->json)
		json_print(c->report);
	else
		compare_table_print(c->report);
	return 0;
}

/* Was anything measured, and nothing wrong? */
static bool report_holds(struct json_object *report)
{
	struct json_object *metrics = json_object_object_get(report, "metrics");
	struct json_object *faults = json_object_object_get(report, "faults");

	return metrics && json_object_array_length(metrics) > 0 &&
	       json_object_array_length(faults) == 0;
}

int cmd_compare(const struct options *options)
{
	struct compare *c = calloc(1, sizeof(*c));
	struct error err = {0};
	ssize_t length;
	int ret, status = 0;

	if (!c)
		return EXIT_INTERNAL;
	c->options = options;
	c->lock = c->signals = -1;
	length = readlink("/proc/self/exe", c->own, sizeof(c->own) - 1);
	c->own[length > 0 ? length : 0] = 0;
	report_begin(c);
	ret = compare_plan(c, &err);
	if (ret) {
		status = cli_fail(&err, ret, EXIT_USAGE);
	} else {
		ret = compare_do(c, &err);
		if (ret)
			status = cli_fail(&err, ret, EXIT_HOST);
		else if (!report_holds(c->report))
			status = EXIT_HOST;
	}
	json_object_put(c->report);
	if (c->signals >= 0)
		close(c->signals);
	if (c->lock >= 0)
		close(c->lock);
	free(c);
	return status;
}
