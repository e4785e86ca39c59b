/* SPDX-License-Identifier: MIT */
/*
 * Snapshots of a machine while its guest runs: devices, memory and disks at one moment. The guest
 * stands still while the state of its devices is taken and its volumes get new heads; memory is
 * stored behind its back (vmm/core/memory_freeze.h), from the second snapshot on only what changed.
 */
#ifndef VMM_MACHINE_SNAPSHOT_H
#define VMM_MACHINE_SNAPSHOT_H

#include "snapshot/root.h"
#include "vmm/machine/machine.h"

struct json_object;
struct memory_source;

struct snapshot_request {
	const char *name; /* of the root; copied */
	const char *comment;
	enum root_kind kind; /* ROOT_DISK, ROOT_VM, or ROOT_HIBERNATION: the guest does not go on */
	struct json_object *config; /* for the root; becomes the snapshot's, also on failure */
};

/* How it went. */
struct snapshot_result {
	int code; /* 0: it is durable */
	struct error error;
	char name[TEXT_NAME_MAX + 1];
	struct store_id id;
	uint64_t pause_ns;     /* the guest stood still for */
	uint64_t total_ns;     /* from the request to its being durable */
	uint64_t lag_ns;       /* from its moment to its being durable */
	uint64_t memory_bytes; /* stored: pages that changed and are not zero */
	uint64_t state_bytes;
};

struct snapshot;

/*
 * For a machine that was made with a store. Of a restored one the next snapshot stores what changed
 * since. All functions are for the loop's thread. snapshot_destroy ahead of the machine's end: it
 * waits for what is being stored.
 */
int snapshot_create(struct machine *machine, struct store *store, struct snapshot **out,
		    struct error *err);
void snapshot_destroy(struct snapshot *s);

/*
 * Begin one: when it returns, the moment has passed and the guest goes on. `done` is called on the
 * loop when the rest is. -EBUSY: one is under way; -EINVAL: a disk is no volume. After the moment
 * of a hibernation the machine stands still, and must be left so, until that has failed.
 */
int snapshot_begin(struct snapshot *s, const struct snapshot_request *request,
		   void (*done)(void *arg, const struct snapshot_result *result), void *arg,
		   struct error *err);

/* Restored memory: what these layers, newest first, have of so many pages. */
int snapshot_memory_source(struct store *store, const struct store_id *layers, unsigned count,
			   uint64_t pages, struct memory_source **out, struct error *err);

#endif
