/* SPDX-License-Identifier: MIT */
/* See compare_report.h. */
#include "vmm/cli/compare_report.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/instance.h"
#include "vmm/cli/compare_stats.h"
#include "vmm/cli/table.h"

#define NATIVE "native"

static struct json_object *array_of(struct json_object *object, const char *key)
{
	struct json_object *array = json_object_object_get(object, key);

	if (!array) {
		array = json_object_new_array();
		json_object_object_add(object, key, array);
	}
	return array;
}

/* The element of an array that has that text there, and that other one; NULL. */
static struct json_object *find(struct json_object *array, const char *key, const char *text,
				const char *key2, const char *text2)
{
	for (size_t i = 0; i < json_object_array_length(array); i++) {
		struct json_object *one = json_object_array_get_idx(array, i);

		if (strcmp(json_text(one, key), text) == 0 &&
		    (!key2 || strcmp(json_text(one, key2), text2) == 0))
			return one;
	}
	return NULL;
}

static void add_double(struct json_object *to, const char *key, double value)
{
	json_object_object_add(to, key, json_object_new_double(value));
}

static struct json_object *metric_of(struct json_object *report, const struct compare_metric *m)
{
	struct json_object *metrics = array_of(report, "metrics");
	struct json_object *metric = find(metrics, "workload", m->workload, "name", m->name);

	if (metric)
		return metric;
	metric = json_object_new_object();
	json_add_text(metric, "workload", m->workload);
	json_add_text(metric, "name", m->name);
	json_add_text(metric, "unit", m->unit);
	json_add_text(metric, "better", m->more ? "more" : "less");
	json_object_array_add(metrics, metric);
	return metric;
}

static struct json_object *row_of(struct json_object *metric, const char *config)
{
	struct json_object *rows = array_of(metric, "rows");
	struct json_object *row = find(rows, "configuration", config, NULL, NULL);

	if (row)
		return row;
	row = json_object_new_object();
	json_add_text(row, "configuration", config);
	json_object_array_add(rows, row);
	return row;
}

void compare_report_add(struct json_object *report, const struct compare_metric *metric,
			const char *config, double value)
{
	struct json_object *row = row_of(metric_of(report, metric), config);

	if (!isfinite(value))
		return;
	json_object_array_add(array_of(row, "samples"), json_object_new_double(value));
}

void compare_report_reference(struct json_object *report, const struct compare_metric *m,
			      double native, double bt, double vt)
{
	struct json_object *reference = json_object_new_object();

	add_double(reference, "native", native);
	add_double(reference, "bt", bt);
	add_double(reference, "vt", vt);
	json_object_object_add(metric_of(report, m), "reference", reference);
}

/* Reasons by workload and configuration, until they are put into rows. */
void compare_report_reason(struct json_object *report, const char *workload, const char *config,
			   const char *reason)
{
	struct json_object *reasons = array_of(report, "reasons");
	struct json_object *one = find(reasons, "workload", workload, "configuration", config);

	if (one)
		return;
	one = json_object_new_object();
	json_add_text(one, "workload", workload);
	json_add_text(one, "configuration", config);
	json_add_text(one, "reason", reason);
	json_object_array_add(reasons, one);
}

void compare_report_fault(struct json_object *report, const char *format, ...)
{
	struct json_object *faults = array_of(report, "faults");
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	for (size_t i = 0; i < json_object_array_length(faults); i++)
		if (strcmp(json_object_get_string(json_object_array_get_idx(faults, i)), text) == 0)
			return;
	json_object_array_add(faults, json_object_new_string(text));
}

/* What follows from samples. */

static size_t samples_of(struct json_object *row, double out[COMPARE_SAMPLES_MAX])
{
	struct json_object *samples = json_object_object_get(row, "samples");
	size_t count = samples ? json_object_array_length(samples) : 0;

	count = count > COMPARE_SAMPLES_MAX ? COMPARE_SAMPLES_MAX : count;
	for (size_t i = 0; i < count; i++)
		out[i] = json_object_get_double(json_object_array_get_idx(samples, i));
	return count;
}

/* Why a row is empty: of the workload there, or of the configuration. */
static const char *reason_of(struct json_object *report, struct json_object *metric,
			     struct json_object *config)
{
	struct json_object *one =
		find(array_of(report, "reasons"), "workload", json_text(metric, "workload"),
		     "configuration", json_text(config, "name"));

	if (json_text(config, "reason")[0])
		return json_text(config, "reason");
	return one ? json_text(one, "reason") : "it has no such figure";
}

static void row_conclude(struct json_object *report, struct json_object *metric,
			 struct json_object *config)
{
	struct json_object *row = row_of(metric, json_text(config, "name"));
	double samples[COMPARE_SAMPLES_MAX];
	size_t count = samples_of(row, samples);
	struct compare_spread s;

	json_object_object_del(row, "reason");
	if (count == 0) {
		json_add_text(row, "reason", reason_of(report, metric, config));
		return;
	}
	s = compare_spread(samples, count);
	add_double(row, "median", s.median);
	add_double(row, "q1", s.q1);
	add_double(row, "q3", s.q3);
	add_double(row, "least", s.least);
	add_double(row, "most", s.most);
}

static void add_ratios(struct json_object *rows)
{
	struct json_object *native = find(rows, "configuration", NATIVE, NULL, NULL);
	double base = json_object_get_double(json_object_object_get(native, "median"));

	for (size_t i = 0; i < json_object_array_length(rows) && base > 0; i++) {
		struct json_object *row = json_object_array_get_idx(rows, i), *median;

		if (json_object_object_get_ex(row, "median", &median))
			add_double(row, "ratio", json_object_get_double(median) / base);
	}
}

static void add_alike(struct json_object *metric, struct json_object *rows)
{
	struct json_object *alike = json_object_new_array();
	double a[COMPARE_SAMPLES_MAX], b[COMPARE_SAMPLES_MAX];

	for (size_t i = 0; i < json_object_array_length(rows); i++)
		for (size_t k = 0; k < i; k++) {
			struct json_object *x = json_object_array_get_idx(rows, k), *pair;
			struct json_object *y = json_object_array_get_idx(rows, i);
			size_t x_count = samples_of(x, a), y_count = samples_of(y, b);

			if (!x_count || !y_count || compare_differ(a, x_count, b, y_count))
				continue;
			pair = json_object_new_array();
			json_object_array_add(
				pair, json_object_new_string(json_text(x, "configuration")));
			json_object_array_add(
				pair, json_object_new_string(json_text(y, "configuration")));
			json_object_array_add(alike, pair);
		}
	json_object_object_add(metric, "alike", alike);
}

/* Rows in the order of configurations. */
static void metric_conclude(struct json_object *report, struct json_object *metric,
			    struct json_object *configs)
{
	struct json_object *rows = json_object_new_array();

	for (size_t i = 0; i < json_object_array_length(configs); i++) {
		struct json_object *config = json_object_array_get_idx(configs, i);

		row_conclude(report, metric, config);
		json_object_array_add(rows,
				      json_object_get(row_of(metric, json_text(config, "name"))));
	}
	json_object_object_add(metric, "rows", rows);
	add_ratios(rows);
	add_alike(metric, rows);
}

void compare_report_conclude(struct json_object *report)
{
	struct json_object *metrics = array_of(report, "metrics");
	struct json_object *configs = array_of(report, "configurations");

	array_of(report, "faults");
	for (size_t i = 0; i < json_object_array_length(metrics); i++)
		metric_conclude(report, json_object_array_get_idx(metrics, i), configs);
}

const char *compare_number(double value, char out[COMPARE_NUMBER_TEXT])
{
	double size = fabs(value);
	int digits = size >= 99.95 || size == 0 ? 0 : size >= 9.995 ? 1 : size >= 0.9995 ? 2 : 3;

	if (size >= 1e6)
		snprintf(out, COMPARE_NUMBER_TEXT, "%.3gM", value / 1e6);
	else
		snprintf(out, COMPARE_NUMBER_TEXT, "%.*f", digits, value);
	return out;
}

/* Files. */

static int save(const char *directory, const char *name, const char *text, size_t size,
		struct error *err)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/%s", directory, name) >= (int)sizeof(path))
		return error_set(err, -ENAMETOOLONG, "give a shorter --output", "'%s': too long",
				 directory);
	return instance_write_file(path, text, size, err);
}

int compare_report_save(struct json_object *report, const char *directory, struct error *err)
{
	const char *json = json_object_to_json_string_ext(
		report, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
	char *html = NULL;
	size_t size = 0;
	FILE *to = open_memstream(&html, &size);
	int ret;

	if (!json || !to) {
		if (to)
			fclose(to);
		free(html);
		return error_set(err, -ENOMEM, NULL, "report: out of memory");
	}
	compare_html_write(report, to);
	if (fclose(to))
		ret = error_set(err, -ENOMEM, NULL, "report: out of memory");
	else
		ret = save(directory, "report.json", json, strlen(json), err);
	if (ret == 0)
		ret = save(directory, "report.html", html, size, err);
	free(html);
	return ret;
}
