/* SPDX-License-Identifier: MIT */
/* Plots of a compare's report, as SVG within a page whose style sheet knows their classes. */
#ifndef VMM_CLI_COMPARE_SVG_H
#define VMM_CLI_COMPARE_SVG_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>

/* Text within HTML or an attribute. */
void html_text(FILE *to, const char *text);

/* Has that configuration figures of that workload? */
bool report_measured(struct json_object *report, const char *workload, const char *config);

/* A metric: a box of quartiles with its median for each configuration that `workload` measured. */
void svg_metric(FILE *to, struct json_object *report, struct json_object *metric);
/*
 * A figure with all metrics of a workload as ratios to native, and open at its end for a legend.
 * False, and nothing, where there are none.
 */
bool svg_ratios(FILE *to, struct json_object *report, const char *workload);
/* The mark of a configuration in svg_ratios, for a legend. */
void svg_mark(FILE *to, const char *config);

#endif
