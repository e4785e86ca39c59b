/* SPDX-License-Identifier: MIT */
/* What a guest's process has of the store: volumes, snapshots of itself, its hibernation. */
#ifndef VMM_CLI_GUEST_SNAPSHOTS_H
#define VMM_CLI_GUEST_SNAPSHOTS_H

#include <json-c/json.h>

#include "vmm/cli/guest.h"
#include "vmm/machine/snapshot.h"

struct guest_snapshots {
	/* The owner's. */
	const struct guest_plan *plan;
	const char *name;
	struct machine *machine;
	void (*hibernated)(void *arg); /* the guest is to end */
	void *arg;

	struct store *store; /* NULL until something needs it */
	struct snapshot *snapshots;
	enum { SNAPSHOT_NONE, SNAPSHOT_PENDING, SNAPSHOT_ENDED } state;
	bool hibernating; /* the machine stands still until it ends, or until that failed */
	struct snapshot_result last;
};

int guest_snapshots_open_store(struct guest_snapshots *s, struct error *err);
/* Track what the guest changes from now on. */
int guest_snapshots_open(struct guest_snapshots *s, struct error *err);
void guest_snapshots_close(struct guest_snapshots *s);

/* See struct control_ops. */
int guest_snapshots_take(struct guest_snapshots *s, const char *name, const char *comment,
			 bool disk_only, struct error *err);
int guest_snapshots_hibernate(struct guest_snapshots *s, struct error *err);
struct json_object *guest_snapshots_info(const struct guest_snapshots *s);

/* The guest runs: what it was hibernated as, if it was, is over. */
void guest_snapshots_started(struct guest_snapshots *s);

#endif
