/* SPDX-License-Identifier: MIT */
/* Requests to a running guest over its control socket (vmm/machine/control.h). */
#ifndef VMM_CLI_CLIENT_H
#define VMM_CLI_CLIENT_H

#include <json-c/json.h>

#include "vmm/base/error.h"

/*
 * Send a request, with `body` (NULL: none), to guest `name`. On 0 *answer is the object that came
 * back; the caller puts it. An error of the guest's comes back as ours.
 */
int client_request(const char *name, const char *method, const char *url, const char *body,
		   struct json_object **answer, struct error *err);

/* An HTTP answer as it came from the socket, apart from that: as above. */
int client_parse_answer(const char *name, const char *text, struct json_object **answer,
			struct error *err);

#endif
