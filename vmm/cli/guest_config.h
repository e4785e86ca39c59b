/* SPDX-License-Identifier: MIT */
/*
 * What a guest was started with, as it goes into a snapshot: {"guest": NAME, "options": [[OPTION,
 * VALUE], ...]}, options as `lodge run` takes them, with paths that hold anywhere on the host.
 */
#ifndef VMM_CLI_GUEST_CONFIG_H
#define VMM_CLI_GUEST_CONFIG_H

#include <json-c/json.h>

#include "snapshot/root.h"
#include "vmm/cli/guest.h"

/* A new object; NULL where memory ran out. */
struct json_object *guest_config_make(const struct guest_plan *plan, const char *guest);

/* Of no guest: a snapshot of volumes alone. */
struct json_object *guest_config_of_volumes(const struct root *root);

/*
 * The options of such an object, which is hostile. `change` (NULL: none) is asked about each: it
 * returns the value, another one, or NULL, which leaves it out. -EINVAL.
 */
int guest_config_parse(struct json_object *config,
		       const char *(*change)(void *arg, const char *name, const char *value),
		       void *arg, struct options *out, struct error *err);
/* The guest's name, or NULL. */
const char *guest_config_name(struct json_object *config);

#endif
