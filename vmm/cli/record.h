/* SPDX-License-Identifier: MIT */
/* What is left of a detached guest after its end, until `lodge rm`: how it ended, its last output.
 */
#ifndef VMM_CLI_RECORD_H
#define VMM_CLI_RECORD_H

#include <json-c/json.h>

#include "vmm/base/error.h"

/* `log`: recent console output. */
int record_write(const char *name, struct json_object *facts, const char *log, size_t log_size,
		 struct error *err);
/* The facts, which the caller puts, or NULL where there is no record. */
struct json_object *record_read(const char *name);
/* The path of the kept output. */
int record_log_path(const char *name, char *out, size_t size, struct error *err);
/* Can a record be written? Tells before the guest runs. */
int record_check(struct error *err);
/* Returns whether there was one. */
int record_remove(const char *name);
/* Call `visit` with each record. */
int record_for_each(void (*visit)(void *arg, const char *name, struct json_object *facts),
		    void *arg, struct error *err);

#endif
