/* SPDX-License-Identifier: MIT */
/* A guest in this process, from the claim of its name to its exit status. */
#ifndef VMM_CLI_GUEST_H
#define VMM_CLI_GUEST_H

#include "vmm/cli/cli.h"

struct root;

struct guest_plan {
	const struct options *options;
	const char *name;
	const char *kernel, *initrd; /* as chosen, the default guest's if none was given */
	const struct root *from;     /* the snapshot that it is restored from; NULL: it boots */
	const struct root
		*clone_of; /* what its volumes are made of (clone.h); NULL: they are there */
	int ready_fd;      /* detached: a byte is written here when the guest runs; else -1 */
};

/* Runs the guest to its end. Returns the exit status; what failed was printed. */
int guest_run(const struct guest_plan *plan);
/* The same in a process of its own; returns when the guest runs. */
int guest_run_detached(struct guest_plan *plan);

#endif
