/* SPDX-License-Identifier: MIT */
/* Snapshots and guests: one of a guest that runs, and a guest of one. */
#ifndef VMM_CLI_SNAPSHOT_GUEST_H
#define VMM_CLI_SNAPSHOT_GUEST_H

#include <json-c/json.h>

#include "snapshot/root.h"
#include "vmm/cli/guest.h"

/* Until it is durable. On 0 *facts is what the guest says of it; the caller puts it. */
int snapshot_guest_take(const char *guest, const char *name, const char *comment, bool disk_only,
			struct json_object **facts, struct error *err);

/* Not for the stack. The root must outlive the guest. */
struct restore {
	const struct root *root;
	const char *as; /* one more guest of that name, with volumes of its own; NULL: in place */
	const char *engine; /* NULL: as it was */
	bool discard;       /* a guest that runs in its place ends */
	/* What restore_prepare fills in; `guest` is the snapshot's. */
	const char *guest;
	char volume[TEXT_NAME_MAX + 1];
	struct options run;
	struct guest_plan plan;
};

/* Its volumes are made, or set back; then the plan is there to be run. */
int restore_prepare(struct store *store, struct restore *restore, struct error *err);

#endif
