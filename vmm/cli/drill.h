/* SPDX-License-Identifier: MIT */
/*
 * lodge drill from the inside. A scenario runs in a world (drill_world.c): a process whose
 * namespaces hide all guests and networks of the host's, and whose store has nothing but the
 * snapshot. That store's files are the store's own by hard links, so what is restored is what is
 * there. A drill is known by its name: a lock in drills/ of the state directory, a directory in
 * drills/ of the store, and the snapshot that it took, all go by it; its report stays.
 */
#ifndef VMM_CLI_DRILL_H
#define VMM_CLI_DRILL_H

#include <json-c/json.h>
#include <limits.h>
#include <sys/types.h>

#include "vmm/cli/snapshot.h"

#define DRILLS "drills" /* below the state directory, and below the store's */

struct drill {
	const struct options *options;
	char name[TEXT_NAME_MAX + 1];
	int lock;
	char work[PATH_MAX];              /* its directory in the store's */
	struct root root;                 /* the snapshot */
	struct options guest;             /* what its guest is run with */
	uint32_t address[BOARD_NICS_MAX]; /* that it has on networks, in host order; 0: not known */
	uint32_t outside;                 /* network_isolate's */
};

/* A scenario in its world. */
#define DRILL_CONSOLE_MAX 16384u
struct drill_run {
	const struct drill *drill;
	char work[PATH_MAX]; /* the drill's directory, where the world sees it */
	struct store *store;
	struct root root; /* the snapshot in that store */
	struct restore restore;
	uint64_t began_ns;         /* the recovery, on CLOCK_MONOTONIC */
	struct json_object *facts; /* measures, for the report */
	pid_t pid;                 /* the guest's process; 0: none */
	int console;               /* -1 */
	size_t said;               /* by the console, lately */
	char text[DRILL_CONSOLE_MAX];
};

struct drill_scenario {
	const char *name;
	/* Can it be run here? -ENOTSUP with the reason. NULL: anywhere. */
	int (*needs)(const struct drill *drill, struct error *err);
	/* In its world. 0: it passed. Guests need not be ended. */
	int (*run)(struct drill_run *run, struct error *err);
};

/* drill_store.c */
/* Its name, lock and directory. */
int drill_begin(struct drill *drill, struct error *err);
/* A snapshot of that guest is about to be taken, which may be published after a death of ours. */
int drill_note_guest(const struct drill *drill, const char *guest, struct error *err);
/* A store in its directory that has the snapshot only, in place of the last one. */
int drill_store_make(struct drill *drill, struct error *err);
/* All of it goes but the report; also what drills left that were killed. */
void drill_end(struct drill *drill);

/* drill_world.c: -errno with the scenario's own words; its measures are added to `row`. */
int drill_world_run(const struct drill *drill, const struct drill_scenario *scenario,
		    struct json_object *row, struct error *err);
/* In a world: let another directory be the store; open the one that is there now; find the snapshot
 * in it. */
int drill_world_store(const char *directory, struct error *err);
int drill_world_reopen(struct drill_run *run, struct error *err);
int drill_world_find(struct drill_run *run, struct error *err);
/* `from`, a file or a directory with what is mounted in it, is seen at `to` from now on. */
int drill_world_bind(const char *from, const char *to, struct error *err);

/* `directory`/`file`, or -ENAMETOOLONG. */
int drill_join(char out[PATH_MAX], const char *directory, const char *file, struct error *err);

/* drill_guest.c */
/*
 * From the snapshot to a guest that answers, and passes its check; NULL: the engine that it had.
 * Its measures count from began_ns, which is now where it is 0.
 */
int drill_recover(struct drill_run *run, const char *engine, struct error *err);
/* The first part: it runs. */
int drill_guest_start(struct drill_run *run, const char *engine, struct error *err);
/* By SIGKILL. */
void drill_guest_kill(struct drill_run *run);

/* drill_lost_disk.c: the snapshot to a file, whose path it fills in, and from there to the store.
 */
int drill_export(struct drill_run *run, char backup[PATH_MAX], uint64_t *size, struct error *err);
int drill_import(const char *backup, struct error *err);

/* Scenarios, and what they are made of. */
int drill_verify(struct drill_run *run, struct error *err);
/* Is the store sound, contents included? -EBADMSG. */
int drill_check(struct drill_run *run, struct error *err);
int drill_restore(struct drill_run *run, struct error *err);
int drill_kill(struct drill_run *run, struct error *err);
int drill_engine_needs(const struct drill *drill, struct error *err);
int drill_engine(struct drill_run *run, struct error *err);
int drill_bitflip(struct drill_run *run, struct error *err);
int drill_full_disk(struct drill_run *run, struct error *err);
int drill_lost_disk(struct drill_run *run, struct error *err);
int drill_lost_disk_needs(const struct drill *drill, struct error *err);

#endif
