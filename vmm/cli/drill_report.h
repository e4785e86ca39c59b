/* SPDX-License-Identifier: MIT */
/*
 * Reports of drills, as JSON: {"drill", "time", "snapshot", "snapshot_id", "guest", "rpo_ns",
 * "scenarios": [{"scenario", "result", "total_ns", ...}]}, and what follows from it: "rto_ns" and
 * "holds". A row's measures are there where they were taken: "open_ns", "run_ns" and "answer_ns"
 * (from the beginning of the recovery until the snapshot is open and its volumes are there, its
 * vCPUs run, and it answers), "read_bytes" (of the disk, by its process, until then), "verify_ns",
 * "check_status", and others that one scenario has. They are kept in drills/ of the state
 * directory.
 */
#ifndef VMM_CLI_DRILL_REPORT_H
#define VMM_CLI_DRILL_REPORT_H

#include <json-c/json.h>
#include <stdbool.h>

#include "vmm/base/error.h"

#define DRILL_PASSED  "passed"
#define DRILL_FAILED  "failed"
#define DRILL_SKIPPED "skipped"

/*
 * Fills in "rto_ns", the longest of the rows' "answer_ns", unless there is none, and "holds":
 * something passed, and nothing failed, nor was skipped that was "wanted" by name. Returns that.
 */
bool drill_report_conclude(struct json_object *report);

/* As people read it, or as JSON. */
void drill_report_print(struct json_object *report, bool json);
/* Nanoseconds as "1.234 s" in `out`; "-" where there is no such key. */
#define DRILL_SECONDS_TEXT 32
const char *drill_report_seconds(struct json_object *object, const char *key,
				 char out[DRILL_SECONDS_TEXT]);

int drill_report_save(struct json_object *report, struct error *err);
/* -ENOENT. The caller puts it. */
int drill_report_load(const char *drill, struct json_object **out, struct error *err);
/* A table, or an array, of all. */
int drill_report_list(bool json, struct error *err);

#endif
