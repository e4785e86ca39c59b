/* SPDX-License-Identifier: MIT */
/* A compare's figures on the terminal: a table a workload, a row a metric, a column a
 * configuration. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "vmm/cli/compare_report.h"
#include "vmm/cli/table.h"

#define COLUMNS_MAX  24u
#define RUNS_TO_TELL 4 /* of 3 and 3 the least likelihood is 10 percent (compare_stats.h) */

static struct json_object *list(struct json_object *of, const char *key, size_t *count)
{
	struct json_object *array = json_object_object_get(of, key);

	*count = array ? json_object_array_length(array) : 0;
	return array;
}

static struct json_object *row_of(struct json_object *metric, const char *config)
{
	size_t count;
	struct json_object *rows = list(metric, "rows", &count);

	for (size_t i = 0; i < count; i++) {
		struct json_object *row = json_object_array_get_idx(rows, i);

		if (strcmp(json_text(row, "configuration"), config) == 0)
			return row;
	}
	return NULL;
}

static double number(struct json_object *of, const char *key)
{
	return json_object_get_double(json_object_object_get(of, key));
}

/* Has it figures of that workload at all? */
static bool measured(struct json_object *report, const char *workload, const char *config)
{
	size_t count;
	struct json_object *metrics = list(report, "metrics", &count);

	for (size_t i = 0; i < count; i++) {
		struct json_object *metric = json_object_array_get_idx(metrics, i);

		if (strcmp(json_text(metric, "workload"), workload) == 0 &&
		    json_object_object_get(row_of(metric, config), "median"))
			return true;
	}
	return false;
}

/* "12.3 ±4%": the median, and half of the distance between quartiles. */
static void cell(struct json_object *cells, const char *key, struct json_object *row)
{
	double median = number(row, "median"), half = (number(row, "q3") - number(row, "q1")) / 2;
	char text[2 * COMPARE_NUMBER_TEXT], digits[COMPARE_NUMBER_TEXT];

	if (!json_object_object_get(row, "median"))
		return;
	if (median != 0 && half / fabs(median) >= 0.005)
		snprintf(text, sizeof(text), "%s \u00b1%.0f%%", compare_number(median, digits),
			 100 * half / fabs(median));
	else
		snprintf(text, sizeof(text), "%s", compare_number(median, digits));
	json_add_text(cells, key, text);
}

static void alike_cell(struct json_object *cells, struct json_object *metric)
{
	size_t count;
	struct json_object *alike = list(metric, "alike", &count);
	char text[512] = "";
	size_t at = 0;

	for (size_t i = 0; i < count && at < sizeof(text); i++) {
		struct json_object *pair = json_object_array_get_idx(alike, i);

		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s\u2248%s", i ? " " : "",
				       json_object_get_string(json_object_array_get_idx(pair, 0)),
				       json_object_get_string(json_object_array_get_idx(pair, 1)));
	}
	if (text[0])
		json_add_text(cells, "alike", text);
}

/* The geometric mean of ratios to native: of times of the same kind it says how much slower. */
static void mean_row(struct json_object *rows, struct json_object *report, const char *workload,
		     const struct table_column *columns)
{
	struct json_object *cells = json_object_new_object();
	size_t count, configs = 0;
	struct json_object *metrics = list(report, "metrics", &count);

	json_add_text(cells, "name", "geometric mean");
	json_add_text(cells, "unit", "of native");
	for (const struct table_column *c = columns + 2; c->title; c++) {
		double sum = 0;
		unsigned of = 0;
		char text[COMPARE_NUMBER_TEXT];

		for (size_t i = 0; i < count; i++) {
			struct json_object *metric = json_object_array_get_idx(metrics, i);
			double ratio = number(row_of(metric, c->key), "ratio");

			if (strcmp(json_text(metric, "workload"), workload) == 0 && ratio > 0) {
				sum += log(ratio);
				of++;
			}
		}
		if (of)
			json_add_text(cells, c->key, compare_number(exp(sum / of), text));
		configs += of != 0;
	}
	if (configs)
		json_object_array_add(rows, json_object_get(cells));
	json_object_put(cells);
}

static void workload_print(struct json_object *report, struct json_object *workload)
{
	struct table_column columns[COLUMNS_MAX] = {{"FIGURE", "name"}, {"UNIT", "unit"}};
	size_t configs, metrics, used = 2;
	struct json_object *config = list(report, "configurations", &configs);
	struct json_object *metric = list(report, "metrics", &metrics);
	struct json_object *rows = json_object_new_array();
	const char *name = json_text(workload, "name");

	for (size_t i = 0; i < configs && used < COLUMNS_MAX - 2; i++) {
		const char *of = json_text(json_object_array_get_idx(config, i), "name");

		if (measured(report, name, of))
			columns[used++] = (struct table_column){of, of};
	}
	for (size_t i = 0; i < metrics; i++) {
		struct json_object *m = json_object_array_get_idx(metric, i), *cells;

		if (strcmp(json_text(m, "workload"), name) != 0)
			continue;
		cells = json_object_new_object();
		json_add_text(cells, "name", json_text(m, "name"));
		json_add_text(cells, "unit", json_text(m, "unit"));
		for (size_t k = 2; k < used; k++)
			cell(cells, columns[k].key, row_of(m, columns[k].key));
		alike_cell(cells, m);
		json_object_array_add(rows, cells);
	}
	if (json_object_get_boolean(json_object_object_get(workload, "mean")))
		mean_row(rows, report, name, columns);
	if (number(report, "runs_done") >= RUNS_TO_TELL)
		columns[used] = (struct table_column){"ALIKE", "alike"};
	printf("\n%s: %s\n", name, json_text(workload, "summary"));
	if (used > 2)
		table_print(rows, columns);
	else
		printf("no figures\n");
	json_object_put(rows);
}

/* Why there is nothing in a column, a line a reason. */
static void configs_print(struct json_object *report)
{
	size_t count;
	struct json_object *configs = list(report, "configurations", &count);

	for (size_t i = 0; i < count; i++) {
		const char *reason = json_text(json_object_array_get_idx(configs, i), "reason");
		bool said = false;

		for (size_t k = 0; k < i; k++)
			said |= strcmp(json_text(json_object_array_get_idx(configs, k), "reason"),
				       reason) == 0;
		if (said || !reason[0])
			continue;
		for (size_t k = i; k < count; k++) {
			struct json_object *one = json_object_array_get_idx(configs, k);

			if (strcmp(json_text(one, "reason"), reason) == 0)
				printf("%s%s", k > i ? ", " : "", json_text(one, "name"));
		}
		printf(": not measured: %s\n", reason);
	}
}

static void reasons_print(struct json_object *report)
{
	size_t count;
	struct json_object *reasons = list(report, "reasons", &count);

	for (size_t i = 0; i < count; i++) {
		struct json_object *one = json_object_array_get_idx(reasons, i);

		printf("%s of %s: %s\n", json_text(one, "workload"),
		       json_text(one, "configuration"), json_text(one, "reason"));
	}
}

static void warnings_print(struct json_object *report)
{
	size_t count, metrics, pairs = 0, of = 0;
	struct json_object *faults = list(report, "faults", &count), *metric;
	double runs = number(report, "runs_done"), others = number(report, "others_cpus");

	metric = list(report, "metrics", &metrics);
	for (size_t i = 0; i < metrics; i++) {
		struct json_object *m = json_object_array_get_idx(metric, i);
		size_t rows = 0, have = 0, alike;
		struct json_object *row = list(m, "rows", &rows);

		for (size_t k = 0; k < rows; k++)
			have += json_object_object_get(json_object_array_get_idx(row, k),
						       "median") != NULL;
		list(m, "alike", &alike);
		pairs += alike;
		of += have * (have - 1) / 2;
	}
	if (runs < RUNS_TO_TELL)
		printf("warning: %.0f run%s: of fewer than 4 no difference can be told from "
		       "chance\n",
		       runs, runs > 1 ? "s" : "");
	else if (pairs)
		printf("warning: %zu of %zu differences mean nothing, their spreads overlap: "
		       "\u2248\n",
		       pairs, of);
	if (others > 0.3)
		printf("warning: other processes used %.1f CPUs meanwhile\n", others);
	for (size_t i = 0; i < count; i++)
		printf("wrong: %s\n", json_object_get_string(json_object_array_get_idx(faults, i)));
}

void compare_table_print(struct json_object *report)
{
	size_t count;
	struct json_object *workloads = list(report, "workloads", &count);

	printf("medians of %.0f, \u00b1 half of the distance between quartiles\n",
	       number(report, "runs_done"));
	for (size_t i = 0; i < count; i++)
		workload_print(report, json_object_array_get_idx(workloads, i));
	printf("\n");
	configs_print(report);
	reasons_print(report);
	warnings_print(report);
}
