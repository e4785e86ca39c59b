/* SPDX-License-Identifier: MIT */
/*
 * One round of a compare in one configuration: each kind of guest that its workloads need is run
 * once, or the host's own programs are. Also what such guests leave.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/checked.h"
#include "vmm/base/clock.h"
#include "vmm/base/instance.h"
#include "vmm/cli/compare_work.h"
#include "vmm/cli/record.h"
#include "vmm/cli/store_open.h"

#define BOOT_PATIENCE_S 600u

static const struct compare_workload workloads[] = {
	{"boot", "milliseconds from exec until something happens in the guest", COMPARE_SHELL, true,
	 false, compare_boot, NULL, "the host does not boot for it"},
	{"cost", "what a guest costs the host", COMPARE_SHELL, true, false, compare_cost, NULL,
	 "it has no VMM"},
	{"nano", "cycles of the TSC for one of a kind, in a bare-metal guest", COMPARE_NANO, false,
	 false, compare_nano, compare_nano_native, NULL},
	{"compute", "nanoseconds an operation of programs that compute", COMPARE_SHELL, false, true,
	 compare_compute, compare_compute, NULL},
	{"kernel", "nanoseconds an operation of the guest's kernel", COMPARE_SHELL, false, true,
	 compare_kernel, compare_kernel, NULL},
	{"disk", "a disk of 64 MiB, with O_DIRECT and io_uring", COMPARE_SHELL, true, false,
	 compare_disk, compare_disk, NULL},
	{"net", "TCP between the guest and its host", COMPARE_NET, true, false, compare_net,
	 compare_net, NULL},
	{"snapshot", "of the guest, and back: the first one, and one after 8 MiB changed",
	 COMPARE_SHELL, true, false, compare_snapshot, NULL, "there are none of the host"},
};

const struct compare_workload *compare_workload_at(unsigned index)
{
	return index < ARRAY_SIZE(workloads) ? &workloads[index] : NULL;
}

void compare_progress(const struct compare *c, const struct compare_config *config,
		      const char *workload)
{
	uint64_t s = (clock_monotonic_ns() - c->began_ns) / CLOCK_NS_PER_S;

	if (!isatty(STDERR_FILENO))
		return;
	if (workload)
		fprintf(stderr, "\r\033[K%u:%02u round %u of %u: %s: %s", (unsigned)(s / 60),
			(unsigned)(s % 60), c->round + 1, c->runs, config->name, workload);
	else
		fprintf(stderr, "\r\033[K");
}

/* Command lines. */

void compare_guest_words(const struct compare *c, const struct compare_config *config,
			 struct compare_words *w)
{
	compare_words_add(w, "-n");
	compare_words_add(w, "none");
	compare_words_add(w, "--engine");
	compare_words_add(w, config->engine);
	if (config->how) {
		compare_words_add(w, "--bt");
		compare_words_add(w, config->how);
	}
	compare_words_add(w, "--pv");
	compare_words_add(w, config->paravirtual ? "on" : "off");
	if (config->emulated) {
		compare_words_add(w, "--io");
		compare_words_add(w, "emulated");
	}
	(void)c;
}

static bool wants(const struct compare *c, const struct compare_config *config,
		  enum compare_guest_kind kind, unsigned index)
{
	const struct compare_workload *w = &workloads[index];

	return c->wanted[index] && w->kind == kind && (w->io || config->first_io);
}

static bool wants_disk(const struct compare *c)
{
	for (unsigned i = 0; i < ARRAY_SIZE(workloads); i++)
		if (c->wanted[i] && strcmp(workloads[i].name, "disk") == 0)
			return true;
	return false;
}

static void memory_add(const struct compare *c, struct compare_words *w)
{
	char text[32];

	snprintf(text, sizeof(text), "%lluM", (unsigned long long)(c->options->memory >> 20));
	compare_words_add(w, "-m");
	compare_words_add(w, text);
}

static void words_make(const struct compare *c, const struct compare_config *config,
		       enum compare_guest_kind kind, struct compare_words *w)
{
	static const char *const nano[] = {"-c", "2", "-a", "cpus=2", "-m", "64M"};

	compare_words_add(w, c->own);
	compare_words_add(w, "run");
	compare_words_add(w, COMPARE_NAME);
	compare_guest_words(c, config, w);
	compare_words_add(w, "--log-level");
	compare_words_add(w, "info");
	compare_words_add(w, "-k");
	compare_words_add(w, kind == COMPARE_NANO ? c->nano : c->kernel);
	for (unsigned i = 0; i < ARRAY_SIZE(nano) && kind == COMPARE_NANO; i++)
		compare_words_add(w, nano[i]);
	if (kind == COMPARE_NANO)
		return;
	compare_words_add(w, "-i");
	compare_words_add(w, c->initrd);
	/* Else much of a boot, where code is interpreted, is tests of ciphers. */
	compare_words_add(w, "-a");
	compare_words_add(w, "cryptomgr.notests");
	memory_add(c, w);
	if (kind == COMPARE_SHELL && wants_disk(c)) {
		compare_words_add(w, "-d");
		compare_words_add(w, COMPARE_NAME);
	}
}

/* "none" becomes what it is. */
static void words_set_network(const struct compare *c, struct compare_words *w)
{
	for (unsigned i = 0; i + 1 < w->count; i++)
		if (strcmp(w->word[i], "-n") == 0)
			w->word[i + 1] = c->network ? COMPARE_NAME : "user";
}

/* So that a reader can do it again. */
static void command_note(const struct compare *c, const struct compare_config *config,
			 enum compare_guest_kind kind, const struct compare_words *w)
{
	static const char *const keys[] = {"guest", "nano", "net"};
	struct json_object *all = json_object_object_get(c->report, "configurations");
	char *text = compare_words_text(w);

	for (size_t i = 0; text && i < json_object_array_length(all); i++) {
		struct json_object *one = json_object_array_get_idx(all, i), *commands;

		if (strcmp(json_object_get_string(json_object_object_get(one, "name")),
			   config->name) != 0)
			continue;
		if (!json_object_object_get_ex(one, "commands", &commands)) {
			commands = json_object_new_object();
			json_object_object_add(one, "commands", commands);
		}
		json_object_object_add(commands, keys[kind], json_object_new_string(text));
	}
	free(text);
}

/* A guest. */

static bool see_boot(void *arg, const char *line, uint64_t at_ns)
{
	struct compare_place *place = arg;

	if (strstr(line, "lodge-guest: init"))
		place->init_ns = at_ns - place->process->started_ns;
	if (!strstr(line, "lodge-guest: shell"))
		return false;
	place->shell_ns = at_ns - place->process->started_ns;
	return true;
}

/* Its volume, and the network. */
static int surroundings_make(const struct compare *c, enum compare_guest_kind kind,
			     struct error *err)
{
	if (kind == COMPARE_SHELL && wants_disk(c))
		return compare_lodge(c, NULL, 0, err, "volume", "import", COMPARE_NAME, c->disk,
				     NULL);
	if (kind == COMPARE_NET && c->network_why[0])
		return error_set(err, -ENOTSUP, NULL, "%s", c->network_why);
	if (kind == COMPARE_NET && c->network)
		return compare_lodge(c, NULL, 0, err, "net", "create", COMPARE_NAME, "--type",
				     "host-only", NULL);
	return 0;
}

static int guest_start(struct compare_place *place, enum compare_guest_kind kind, struct error *err)
{
	struct compare *c = place->c;
	struct compare_words w = {0};
	int ret = surroundings_make(c, kind, err);

	if (ret)
		return ret;
	words_make(c, place->config, kind, &w);
	if (kind == COMPARE_NET)
		words_set_network(c, &w);
	command_note(c, place->config, kind, &w);
	ret = compare_process_start(&w, false, place->process, err);
	if (ret)
		return ret;
	snprintf(place->process->name, sizeof(place->process->name), "%s", COMPARE_NAME);
	if (kind == COMPARE_NANO)
		return 0;
	ret = compare_process_read(c, place->process, BOOT_PATIENCE_S, false, see_boot, place, err);
	return ret ? ret : compare_shell_ready(c, place->process, BOOT_PATIENCE_S, err);
}

static void reason_of_one(const struct compare *c, const struct compare_config *config,
			  unsigned workload, const struct error *why, int code)
{
	char line[sizeof(*why)];

	error_format(why, code, line, sizeof(line));
	compare_report_reason(c->report, workloads[workload].name, config->name, line);
}

/* What would have been measured of that guest has this reason. */
static void reason_note(const struct compare_place *place, enum compare_guest_kind kind,
			unsigned from, const struct error *why, int code)
{
	for (unsigned i = from; i < ARRAY_SIZE(workloads); i++)
		if (wants(place->c, place->config, kind, i))
			reason_of_one(place->c, place->config, i, why, code);
}

/* Does the guest go on after that? */
static bool is_over(int code)
{
	return code == -EIO || code == -ETIMEDOUT || code == -EINTR;
}

static int guest_round(struct compare *c, const struct compare_config *config,
		       enum compare_guest_kind kind)
{
	struct compare_process process = {.in = -1, .out = -1, .errors = -1};
	struct compare_place place = {.c = c, .config = config, .process = &process};
	struct error why = {0};
	bool any = false;
	int ret;

	for (unsigned i = 0; i < ARRAY_SIZE(workloads); i++)
		any |= wants(c, config, kind, i);
	if (!any)
		return 0;
	compare_progress(c, config, "start");
	ret = guest_start(&place, kind, &why);
	if (ret)
		reason_note(&place, kind, 0, &why, ret);
	for (unsigned i = 0; i < ARRAY_SIZE(workloads) && !is_over(ret) && process.pid; i++) {
		if (!wants(c, config, kind, i))
			continue;
		compare_progress(c, config, workloads[i].name);
		why = (struct error){0};
		ret = workloads[i].guest(&place, &why);
		if (is_over(ret))
			reason_note(&place, kind, i, &why, ret);
		else if (ret)
			reason_of_one(c, config, i, &why, ret);
	}
	compare_process_end(&process);
	compare_sweep(c);
	return ret == -EINTR ? ret : 0;
}

static int native_round(struct compare *c, const struct compare_config *config)
{
	struct compare_place place = {.c = c, .config = config};

	for (unsigned i = 0; i < ARRAY_SIZE(workloads); i++) {
		struct error why = {0};
		int ret;

		if (!c->wanted[i])
			continue;
		if (workloads[i].native_why) {
			compare_report_reason(c->report, workloads[i].name, config->name,
					      workloads[i].native_why);
			continue;
		}
		compare_progress(c, config, workloads[i].name);
		ret = workloads[i].native(&place, &why);
		if (ret == -EINTR)
			return ret;
		if (ret)
			reason_of_one(c, config, i, &why, ret);
	}
	return 0;
}

int compare_round(struct compare *c, const struct compare_config *config, struct error *err)
{
	int ret = 0;

	if (!config->engine) {
		ret = native_round(c, config);
	} else {
		for (unsigned i = 0; i < ARRAY_SIZE(workloads); i++)
			if (c->wanted[i] && !workloads[i].io && !config->first_io)
				compare_report_reason(c->report, workloads[i].name, config->name,
						      "no devices in it: as with the first --io");
		for (unsigned kind = COMPARE_SHELL; kind <= COMPARE_NET && ret == 0; kind++)
			ret = guest_round(c, config, (enum compare_guest_kind)kind);
	}
	compare_progress(c, config, NULL);
	return ret ? error_set(err, ret, NULL, "interrupted") : 0;
}

/* What is left. */

static void guest_sweep(const struct compare *c, const char *name)
{
	for (unsigned i = 0; i < 500 && instance_is_running(name, NULL); i++) {
		if (i == 0)
			compare_lodge(c, NULL, 0, NULL, "kill", name, NULL);
		usleep(10000);
	}
	if (!instance_is_running(name, NULL))
		record_remove(name);
}

void compare_sweep(const struct compare *c)
{
	static const char *const snapshots[] = {COMPARE_NAME "-next", COMPARE_NAME "-first"};
	static const char *const volumes[] = {COMPARE_TWIN "." COMPARE_NAME, COMPARE_NAME};
	struct network network;

	guest_sweep(c, COMPARE_NAME);
	guest_sweep(c, COMPARE_TWIN);
	for (unsigned i = 0; i < ARRAY_SIZE(snapshots) && cli_store_exists(); i++)
		compare_lodge(c, NULL, 0, NULL, "snapshot", "rm", snapshots[i], NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(volumes); i++)
		if (cli_store_has_volume(volumes[i]))
			compare_lodge(c, NULL, 0, NULL, "volume", "rm", volumes[i], NULL);
	if (network_find(COMPARE_NAME, &network, NULL) == 0)
		compare_lodge(c, NULL, 0, NULL, "net", "rm", COMPARE_NAME, NULL);
}
