/* SPDX-License-Identifier: MIT */
/*
 * The control protocol: HTTP/1.1 and JSON on a Unix socket, one request at a time, served on the
 * loop.
 *
 *   GET  /v1/info		what the guest is and how it does
 *   GET  /v1/console		recent output of the first serial port, as text
 *   POST /v1/pause		stop the vCPUs		(no body)
 *   POST /v1/resume		let them go on		(no body)
 *   POST /v1/snapshot		take one: {"name": ..., "comment": ..., "disk_only": true}; answers
 *when its moment has passed
 *   GET  /v1/snapshot		how the last one went: "state" is none, pending, complete or failed
 *   POST /v1/hibernate	as a snapshot; the guest stands still and then ends	(no body)
 *   POST /v1/stop		press the power button; {"force": true}: end the guest now
 *
 * An answer is 200 with a JSON object, or an error status with {"error": "what; remedy"}.
 */
#ifndef VMM_MACHINE_CONTROL_H
#define VMM_MACHINE_CONTROL_H

#include <json-c/json.h>
#include <stdbool.h>

#include "vmm/base/error.h"
#include "vmm/base/loop.h"

#define CONTROL_BODY_MAX 65536u

/* What the guest's owner does for a request. All required, on the loop's thread. */
struct control_ops {
	/* A new object with the facts; NULL where memory ran out. */
	struct json_object *(*info)(void *arg);
	/* Recent output; the caller frees it. NULL where memory ran out. */
	char *(*console)(void *arg);
	int (*pause)(void *arg, struct error *err);
	int (*resume)(void *arg, struct error *err);
	int (*stop)(void *arg, bool force, struct error *err);
	/* `comment` may be "". */
	int (*snapshot)(void *arg, const char *name, const char *comment, bool disk_only,
			struct error *err);
	/* As info; also of a hibernation. */
	struct json_object *(*snapshot_info)(void *arg);
	int (*hibernate)(void *arg, struct error *err);
};

struct control;

/* `fd`: a listening socket, which becomes the server's, also on failure. */
int control_create(struct loop *loop, int fd, const struct control_ops *ops, void *arg,
		   struct control **out);
void control_destroy(struct control *control);

/*
 * One request, apart from its transport: returns the HTTP status and sets *answer, which the caller
 * frees, and whether it is JSON.
 */
unsigned control_handle(const struct control_ops *ops, void *arg, const char *method,
			const char *url, const char *body, size_t body_size, char **answer,
			bool *json);

#endif
