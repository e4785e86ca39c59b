/* SPDX-License-Identifier: MIT */
/* What commands share of snapshots, and of what is like them. */
#ifndef VMM_CLI_SNAPSHOT_H
#define VMM_CLI_SNAPSHOT_H

#include <json-c/json.h>

#include "snapshot/root.h"
#include "vmm/cli/guest.h"

/* Between two looks at what another process is at. */
void snapshot_nap(void);
/* What one is called where no name is given. */
void snapshot_name_make(const char *of, char out[TEXT_NAME_MAX + 1]);
/* Of a guest that runs; until it is durable. *facts tell how it went; the caller puts them. */
int snapshot_of_guest(const char *guest, const char *name, const char *comment, bool disk_only,
		      struct json_object **facts, struct error *err);
/* What is told of one in a list. */
struct json_object *snapshot_row(struct store *store, const struct root *root);

/* restore.c: a guest goes on from a root. Not for the stack; the root must outlive the guest. */
struct restore {
	const struct root *root;
	const char *as; /* one more guest of that name, with volumes of its own; NULL: in place */
	const char *engine;                  /* NULL: as it was */
	const enum translation *translation; /* likewise */
	bool discard;                        /* what the guest is now may be lost */
	bool ask;                            /* if not, whoever sits at the terminal may say so */
	/* What restore_prepare fills in; `guest` is the snapshot's. */
	const char *guest;
	struct options run;
	struct guest_plan plan;
};

/* What it replaces ends, and its volumes are set back; then the plan is there to be run. */
int restore_prepare(struct store *store, struct restore *restore, struct error *err);
/* All of it, in the background, as a command's options say. Closes the store. */
int restore_root(const struct options *o, struct store *store, struct root *root,
		 struct error *err);

/* hibernate.c. None of these makes a store where there is none. */

/* Call `visit` with facts about each guest that is hibernated. */
int hibernation_for_each(void (*visit)(void *arg, const char *name, struct json_object *facts),
			 void *arg, struct error *err);
/* The facts, which the caller puts, or NULL where it is not. */
struct json_object *hibernation_read(const char *guest);
/* Forget it. */
int hibernation_discard(const char *guest, struct error *err);
/* -EBUSY, with the remedy, where it is. */
int hibernation_check(const char *guest, struct error *err);
/* -EBUSY where a volume that `guest` is to write to is another one's that is hibernated. */
int hibernation_check_disks(struct store *store, const struct options *o, const char *guest,
			    struct error *err);

#endif
