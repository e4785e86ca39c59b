/* SPDX-License-Identifier: MIT */
/*
 * What a compare found, as JSON:
 *
 *   {"lodge": version, "time": ..., "command": ..., "runs": N, "runs_done": n, "host": {...},
 *    "guest": {...}, "configurations": [{"name", "engine", "pv", "io", "reason"?, "commands"}],
 *    "workloads": [{"name", "summary"}], "faults": [text],
 *    "metrics": [{"workload", "name", "unit", "better": "less"|"more", "reference"?,
 *	"rows": [{"configuration", "samples": [...], "median", "q1", "q3", "least", "most",
 *"ratio"?} or {"configuration", "reason"}], "alike": [[configuration, configuration], ...]}]}
 *
 * Besides: "reasons", why a workload has no figures, or not all, of a configuration; "checksums",
 *what was computed; "outputs", what a command in a snapshot said; and "seconds" and "others_cpus",
 *how long it took, and what other processes used meanwhile.
 *
 * "ratio" is the median over native's. "alike" are those of which no difference can be told
 * (compare_stats.h).
 */
#ifndef VMM_CLI_COMPARE_REPORT_H
#define VMM_CLI_COMPARE_REPORT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>

#include "vmm/base/error.h"

#define COMPARE_CONFIG_TEXT   40u
#define COMPARE_WORKLOADS_MAX 16u

struct compare_metric {
	const char *workload, *name, *unit;
	bool more; /* is better */
};

void compare_report_add(struct json_object *report, const struct compare_metric *metric,
			const char *config, double value);
/* Figures of others beside it, of a metric that has samples: native, binary translation, VT. */
void compare_report_reference(struct json_object *report, const struct compare_metric *metric,
			      double native, double bt, double vt);
/* Why that configuration has no figures of that workload, or not all; the first one stays. */
void compare_report_reason(struct json_object *report, const char *workload, const char *config,
			   const char *reason);
/* Something that was wrong, beside figures. */
void compare_report_fault(struct json_object *report, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Medians, and what follows from them; may be called again after more samples. */
void compare_report_conclude(struct json_object *report);

/* A number as people read it, three digits of it. */
#define COMPARE_NUMBER_TEXT 32u
const char *compare_number(double value, char out[COMPARE_NUMBER_TEXT]);

/* compare_table.c */
void compare_table_print(struct json_object *report);
/* compare_html.c: a page of its own, which loads nothing. */
void compare_html_write(struct json_object *report, FILE *to);
/* report.json and report.html in `directory`. */
int compare_report_save(struct json_object *report, const char *directory, struct error *err);

#endif
