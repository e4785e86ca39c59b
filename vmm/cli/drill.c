/* SPDX-License-Identifier: MIT */
/*
 * lodge drill: does a recovery from a snapshot work on this host, and how long does it take? The
 * snapshot, or the guest that it is of, is disturbed by nothing here.
 */
#include "vmm/cli/drill.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "net/network.h"
#include "vmm/base/checked.h"
#include "vmm/base/clock.h"
#include "vmm/base/instance.h"
#include "vmm/cli/drill_report.h"
#include "vmm/cli/guest_config.h"
#include "vmm/cli/store_open.h"

static const struct drill_scenario scenarios[] = {
	{"restore", NULL, drill_restore},
	{"kill", NULL, drill_kill},
	{"engine", drill_engine_needs, drill_engine},
	{"bitflip", NULL, drill_bitflip},
	{"full-disk", NULL, drill_full_disk},
	{"lost-disk", drill_lost_disk_needs, drill_lost_disk},
};

/* Is it among NAME[,NAME...]? */
static bool is_named(const char *list, const char *name)
{
	size_t length = strlen(name);

	for (const char *at = list; at; at = strchr(at, ',')) {
		at += *at == ',';
		if (strcspn(at, ",") == length && strncmp(at, name, length) == 0)
			return true;
	}
	return false;
}

/* Is each of a list one of ours? */
static int names_check(const char *list, struct error *err)
{
	for (const char *at = list; at; at = strchr(at, ',')) {
		bool known = false;
		int length;

		at += *at == ',';
		length = (int)strcspn(at, ",");
		for (unsigned i = 0; i < ARRAY_SIZE(scenarios); i++)
			known |= (int)strlen(scenarios[i].name) == length &&
				 strncmp(at, scenarios[i].name, (size_t)length) == 0;
		if (!known)
			return error_set(
				err, -EINVAL,
				"use restore, kill, engine, bitflip, full-disk or lost-disk",
				"scenario '%.*s': unknown", length, at);
	}
	return 0;
}

/* The snapshot. */

static int guest_take(struct drill *d, const char *guest, struct json_object *report,
		      struct error *err)
{
	struct json_object *facts;
	int ret = drill_note_guest(d, guest, err);

	if (ret == 0)
		ret = snapshot_of_guest(guest, d->name, "taken by lodge drill", false, &facts, err);
	if (ret)
		return ret;
	json_object_object_add(report, "rpo_ns",
			       json_object_get(json_object_object_get(facts, "lag_ns")));
	json_object_put(facts);
	return 0;
}

/* What the guest had on networks, and what it needs of them. */
static int nics_look(struct drill *d, const char *guest, struct error *err)
{
	for (unsigned i = 0; i < d->guest.nic_count; i++) {
		const struct option_nic *nic = &d->guest.nic[i];
		struct network_nic_state state;
		struct in_addr address;

		if (!nic->user && geteuid())
			return error_set(err, -EPERM, "be root",
					 "guest '%s': its network, made anew for the drill alone, "
					 "needs root",
					 guest);
		d->address[i] = nic->address;
		if (nic->network && network_nic_state(nic->network, guest, i, &state) == 0 &&
		    inet_pton(AF_INET, state.address, &address) == 1)
			d->address[i] = ntohl(address.s_addr);
		if (nic->user && !d->outside)
			d->outside = network_outside_address();
		if (nic->user && !d->outside)
			return error_set(err, -ENETUNREACH, "give this host a route",
					 "guest '%s': its network 'user' needs a host with one",
					 guest);
	}
	return 0;
}

static int root_look(struct drill *d, struct json_object *report, struct error *err)
{
	const char *guest = guest_config_name(d->root.config);
	uint64_t now = clock_realtime_ns();
	char id[STORE_ID_TEXT];
	int ret;

	if (d->root.kind != ROOT_VM || !guest)
		return error_set(err, -EINVAL, "take one of a guest that runs",
				 "snapshot '%s': it has disks only", d->root.name);
	store_id_text(&d->root.id, id);
	json_object_object_add(report, "snapshot", json_object_new_string(d->root.name));
	json_object_object_add(report, "snapshot_id", json_object_new_string(id));
	json_object_object_add(report, "guest", json_object_new_string(guest));
	/* What would be lost if that was restored now. */
	if (!json_object_object_get_ex(report, "rpo_ns", NULL))
		json_object_object_add(
			report, "rpo_ns",
			json_object_new_uint64(now > d->root.time_ns ? now - d->root.time_ns : 0));
	ret = guest_config_parse(d->root.config, NULL, NULL, &d->guest, err);
	return ret ? error_prefix(err, ret, "snapshot '%s'", d->root.name)
		   : nics_look(d, guest, err);
}

/* That of the name, or a new one of the guest that runs by it. */
static int subject_find(struct drill *d, const char *key, struct json_object *report,
			struct error *err)
{
	bool runs = instance_is_running(key, NULL);
	struct store *store;
	int ret = runs ? guest_take(d, key, report, err) : 0;

	if (ret == 0)
		ret = cli_store_open(&store, err);
	if (ret)
		return ret;
	ret = root_find(store, runs ? d->name : key, &d->root, err);
	if (ret == 0 && d->root.state == ROOT_PENDING)
		ret = root_complete(store, &d->root.id, err);
	store_close(store);
	return ret ? ret : root_look(d, report, err);
}

/* Scenarios. */

static void add_reason(struct json_object *row, const struct error *why, int code)
{
	char line[sizeof(*why)];

	error_format(why, code, line, sizeof(line));
	json_object_object_add(row, "reason", json_object_new_string(line));
}

static void progress(const char *scenario)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K%s", scenario);
}

static struct json_object *scenario_run(struct drill *d, const struct drill_scenario *s)
{
	struct json_object *row = json_object_new_object();
	uint64_t start = clock_monotonic_ns();
	const char *result = DRILL_PASSED;
	struct error why = {0};
	int ret = s->needs ? s->needs(d, &why) : 0;

	json_object_object_add(row, "scenario", json_object_new_string(s->name));
	json_object_object_add(row, "wanted",
			       json_object_new_boolean(d->options->drill_scenarios != NULL));
	if (ret) {
		result = DRILL_SKIPPED;
	} else {
		progress(s->name);
		ret = drill_store_make(d, &why);
		if (ret == 0)
			ret = drill_world_run(d, s, row, &why);
		if (ret)
			result = DRILL_FAILED;
		progress("");
	}
	json_object_object_add(row, "result", json_object_new_string(result));
	json_object_object_add(row, "total_ns",
			       json_object_new_uint64(clock_monotonic_ns() - start));
	if (ret)
		add_reason(row, &why, ret);
	return row;
}

static struct json_object *report_begin(const struct drill *d)
{
	struct json_object *report = json_object_new_object();
	time_t now = time(NULL);
	char text[32];
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	json_object_object_add(report, "drill", json_object_new_string(d->name));
	json_object_object_add(report, "time", json_object_new_string(text));
	return report;
}

static int drill_do(struct drill *d, const char *key, bool *holds, struct error *err)
{
	const char *wanted = d->options->drill_scenarios;
	struct json_object *report, *rows;
	int ret = drill_begin(d, err);

	if (ret)
		return ret;
	report = report_begin(d);
	ret = subject_find(d, key, report, err);
	if (ret == 0) {
		rows = json_object_new_array();
		json_object_object_add(report, "scenarios", rows);
		for (unsigned i = 0; i < ARRAY_SIZE(scenarios); i++)
			if (!wanted || is_named(wanted, scenarios[i].name))
				json_object_array_add(rows, scenario_run(d, &scenarios[i]));
		*holds = drill_report_conclude(report);
		drill_report_print(report, d->options->json);
		ret = drill_report_save(report, err);
	}
	json_object_put(report);
	return ret;
}

static int drill_command(const struct options *o, bool *holds, struct error *err)
{
	struct drill *d = calloc(1, sizeof(*d));
	int ret;

	if (!d)
		return error_set(err, -ENOMEM, NULL, "drill: out of memory");
	d->options = o;
	d->lock = -1;
	ret = drill_do(d, o->word[0], holds, err);
	drill_end(d);
	root_clear(&d->root);
	free(d);
	return ret;
}

static int drill_info(const struct options *o, struct error *err)
{
	struct json_object *report;
	int ret = drill_report_load(o->word[1], &report, err);

	if (ret)
		return ret;
	drill_report_print(report, o->json);
	json_object_put(report);
	return 0;
}

int cmd_drill(const struct options *o)
{
	struct error err = {0};
	bool holds = true;
	int ret = names_check(o->drill_scenarios, &err);

	if (ret == 0 && o->word_count == 2 && strcmp(o->word[0], "info") != 0)
		ret = error_set(&err, -EINVAL, "usage: lodge drill SNAPSHOT|GUEST",
				"'%s': one word too many", o->word[1]);
	if (ret)
		return cli_fail(&err, ret, EXIT_USAGE);
	if (o->word_count == 2)
		ret = drill_info(o, &err);
	else if (strcmp(o->word[0], "ls") == 0)
		ret = drill_report_list(o->json, &err);
	else
		ret = drill_command(o, &holds, &err);
	if (ret)
		return cli_fail(&err, ret, EXIT_HOST);
	return holds ? 0 : EXIT_HOST;
}
