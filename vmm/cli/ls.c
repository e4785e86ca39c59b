/* SPDX-License-Identifier: MIT */
/* lodge ls: running guests, hibernated ones, and what is kept of ended ones. */
#include <string.h>

#include "vmm/base/instance.h"
#include "vmm/cli/cli.h"
#include "vmm/cli/client.h"
#include "vmm/cli/record.h"
#include "vmm/cli/snapshot.h"
#include "vmm/cli/table.h"

static int visit_running(void *arg, const char *name, pid_t pid)
{
	struct json_object *rows = arg, *row = NULL;
	struct error err = {0};

	/* One that does not answer is listed all the same: it is there. */
	if (client_request(name, "GET", "/v1/info", NULL, &row, &err)) {
		row = json_object_new_object();
		json_object_object_add(row, "name", json_object_new_string(name));
		json_object_object_add(row, "state", json_object_new_string("starting"));
		json_object_object_add(row, "pid", json_object_new_int(pid));
	}
	json_object_array_add(rows, row);
	return 0;
}

static bool is_listed(struct json_object *rows, const char *name)
{
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		struct json_object *row = json_object_array_get_idx(rows, i);
		const char *other = json_object_get_string(json_object_object_get(row, "name"));

		if (other && strcmp(other, name) == 0)
			return true;
	}
	return false;
}

/* Of one that is hibernated there may be both. */
static void visit_facts(void *arg, const char *name, struct json_object *facts)
{
	if (!is_listed(arg, name) && !instance_is_running(name, NULL))
		json_object_array_add(arg, json_object_get(facts));
}

int cmd_ls(const struct options *options)
{
	static const struct table_column columns[] = {
		{"NAME", "name"},           {"STATE", "state"},
		{"ENGINE", "engine"},       {"CPUS", "cpus"},
		{"MEMORY", "memory_bytes"}, {"PID", "pid"},
		{"REASON", "reason"},       {NULL, NULL},
	};
	struct json_object *rows = json_object_new_array();
	struct error err = {0};
	int ret;

	ret = instance_for_each(visit_running, rows, &err);
	if (ret == 0)
		ret = hibernation_for_each(visit_facts, rows, &err);
	if (ret == 0)
		ret = record_for_each(visit_facts, rows, &err);
	if (ret == 0 && options->json)
		json_print(rows);
	else if (ret == 0)
		table_print(rows, columns);
	json_object_put(rows);
	return ret ? cli_fail(&err, ret, EXIT_HOST) : 0;
}
