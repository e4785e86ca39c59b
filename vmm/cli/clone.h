/* SPDX-License-Identifier: MIT */
/*
 * A guest that is one more of what a root tells of: its volumes are its own, called GUEST.VOLUME,
 * and what only one can have is not said again: MACs, addresses, ports of the host's.
 */
#ifndef VMM_CLI_CLONE_H
#define VMM_CLI_CLONE_H

#include <limits.h>

#include "snapshot/root.h"
#include "vmm/cli/cli.h"

struct clone {
	const struct root *root;
	const char *guest;
	const struct options *given; /* said instead of what the root says; NULL: nothing */
	char text[2 * PATH_MAX];
};

/* For guest_config_parse, which `arg` is a struct clone of. */
const char *clone_option(void *arg, const char *name, const char *value);

/* Make all of its volumes, or none. */
int clone_volumes(struct store *store, const struct root *root, const char *guest,
		  struct error *err);
/* As if they had not been made. */
void clone_volumes_remove(struct store *store, const struct root *root, const char *guest);

#endif
