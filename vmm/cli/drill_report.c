/* SPDX-License-Identifier: MIT */
#include "vmm/cli/drill_report.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/clock.h"
#include "vmm/base/instance.h"
#include "vmm/cli/drill.h"
#include "vmm/cli/table.h"

static struct json_object *rows_of(struct json_object *report)
{
	struct json_object *rows = json_object_object_get(report, "scenarios");

	return json_object_is_type(rows, json_type_array) ? rows : NULL;
}

static size_t row_count(struct json_object *report)
{
	struct json_object *rows = rows_of(report);

	return rows ? json_object_array_length(rows) : 0;
}

bool drill_report_conclude(struct json_object *report)
{
	uint64_t worst = 0;
	bool holds = true, passed = false;

	for (size_t i = 0; i < row_count(report); i++) {
		struct json_object *row = json_object_array_get_idx(rows_of(report), i);
		const char *result = json_text(row, "result");
		uint64_t answer = json_object_get_uint64(json_object_object_get(row, "answer_ns"));

		worst = answer > worst ? answer : worst;
		if (strcmp(result, DRILL_PASSED) == 0)
			passed = true;
		else if (strcmp(result, DRILL_SKIPPED) != 0 ||
			 json_object_get_boolean(json_object_object_get(row, "wanted")))
			holds = false;
	}
	if (worst)
		json_object_object_add(report, "rto_ns", json_object_new_uint64(worst));
	json_object_object_add(report, "holds", json_object_new_boolean(holds && passed));
	return holds && passed;
}

/* Printing. */

const char *drill_report_seconds(struct json_object *object, const char *key,
				 char out[DRILL_SECONDS_TEXT])
{
	struct json_object *value;

	if (!json_object_object_get_ex(object, key, &value))
		return "-";
	snprintf(out, DRILL_SECONDS_TEXT, "%.3f s", (double)json_object_get_uint64(value) / 1e9);
	return out;
}

static void add_cell(struct json_object *to, struct json_object *row, const char *key)
{
	char text[DRILL_SECONDS_TEXT];

	json_add_text(to, key, drill_report_seconds(row, key, text));
}

static struct json_object *cells_of(struct json_object *row)
{
	static const char *const times[] = {"open_ns", "run_ns", "answer_ns", "verify_ns",
					    "total_ns"};
	static const char *const others[] = {"scenario", "result", "check_status", "reason"};
	struct json_object *cells = json_object_new_object(), *value;
	char text[32];

	for (unsigned i = 0; i < sizeof(times) / sizeof(times[0]); i++)
		add_cell(cells, row, times[i]);
	for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (json_object_object_get_ex(row, others[i], &value))
			json_object_object_add(cells, others[i], json_object_get(value));
	if (json_object_object_get_ex(row, "read_bytes", &value)) {
		snprintf(text, sizeof(text), "%.1f MiB",
			 (double)json_object_get_uint64(value) / 1048576.0);
		json_add_text(cells, "read_bytes", text);
	}
	return cells;
}

void drill_report_print(struct json_object *report, bool json)
{
	static const struct table_column columns[] = {
		{"SCENARIO", "scenario"},
		{"RESULT", "result"},
		{"OPEN", "open_ns"},
		{"RUNS", "run_ns"},
		{"ANSWERS", "answer_ns"},
		{"READ", "read_bytes"},
		{"CHECK", "check_status"},
		{"VERIFY", "verify_ns"},
		{"IN ALL", "total_ns"},
		{"REASON", "reason"},
		{NULL, NULL},
	};
	bool holds = json_object_get_boolean(json_object_object_get(report, "holds"));
	char rpo[DRILL_SECONDS_TEXT], rto[DRILL_SECONDS_TEXT];
	struct json_object *rows;

	if (json) {
		json_print(report);
		return;
	}
	rows = json_object_new_array();
	for (size_t i = 0; i < row_count(report); i++)
		json_object_array_add(rows,
				      cells_of(json_object_array_get_idx(rows_of(report), i)));
	table_print(rows, columns);
	json_object_put(rows);
	printf("%s: snapshot '%s' of guest '%s': RPO %s, RTO %s: the plan %s\n",
	       json_text(report, "drill"), json_text(report, "snapshot"),
	       json_text(report, "guest"), drill_report_seconds(report, "rpo_ns", rpo),
	       drill_report_seconds(report, "rto_ns", rto), holds ? "holds" : "does not hold");
}

/* Files. */

static int report_path(const char *drill, char out[PATH_MAX], struct error *err)
{
	char file[TEXT_NAME_MAX + 8];

	if (!text_is_name(drill))
		return error_set(err, -EINVAL, "see lodge drill ls",
				 "drill '%s': no such name can be", drill);
	snprintf(file, sizeof(file), "%s.json", drill);
	return instance_state_path(DRILLS, file, out, PATH_MAX, err);
}

int drill_report_save(struct json_object *report, struct error *err)
{
	const char *text = json_object_to_json_string_ext(report, JSON_C_TO_STRING_PRETTY);
	char path[PATH_MAX];
	int ret = report_path(json_text(report, "drill"), path, err);

	return ret ? ret : instance_write_file(path, text, strlen(text), err);
}

int drill_report_load(const char *drill, struct json_object **out, struct error *err)
{
	char path[PATH_MAX];
	int ret = report_path(drill, path, err);

	if (ret)
		return ret;
	if (access(path, R_OK) < 0)
		return error_set(err, -errno, "see lodge drill ls", "drill '%s': %s", drill,
				 errno == ENOENT ? "there is no report of it" : error_name(-errno));
	*out = json_object_from_file(path);
	if (json_object_is_type(*out, json_type_object))
		return 0;
	json_object_put(*out);
	return error_set(err, -EINVAL, "remove the file", "'%s': it is no report", path);
}

static int report_add(void *arg, const char *name)
{
	struct json_object *report = NULL;

	if (drill_report_load(name, &report, NULL) == 0)
		json_object_array_add(arg, report);
	return 0;
}

static void list_print(struct json_object *reports)
{
	static const struct table_column columns[] = {
		{"DRILL", "drill"}, {"SNAPSHOT", "snapshot"}, {"GUEST", "guest"}, {"PLAN", "plan"},
		{"RPO", "rpo_ns"},  {"RTO", "rto_ns"},        {NULL, NULL},
	};
	struct json_object *rows = json_object_new_array();

	for (size_t i = 0; i < json_object_array_length(reports); i++) {
		struct json_object *report = json_object_array_get_idx(reports, i);
		struct json_object *row = json_object_new_object();

		json_add_text(row, "drill", json_text(report, "drill"));
		json_add_text(row, "snapshot", json_text(report, "snapshot"));
		json_add_text(row, "guest", json_text(report, "guest"));
		json_add_text(row, "plan",
			      json_object_get_boolean(json_object_object_get(report, "holds"))
				      ? "holds"
				      : "does not hold");
		add_cell(row, report, "rpo_ns");
		add_cell(row, report, "rto_ns");
		json_object_array_add(rows, row);
	}
	table_print(rows, columns);
	json_object_put(rows);
}

int drill_report_list(bool json, struct error *err)
{
	struct json_object *reports = json_object_new_array();
	int ret = instance_state_for_each(DRILLS, report_add, reports, err);

	if (ret == 0 && json)
		json_print(reports);
	else if (ret == 0)
		list_print(reports);
	json_object_put(reports);
	return ret;
}
