/* SPDX-License-Identifier: MIT */
/* The user's store of volumes and snapshots, in the state directory. */
#ifndef VMM_CLI_STORE_OPEN_H
#define VMM_CLI_STORE_OPEN_H

#include "snapshot/root.h"

int cli_store_open(struct store **out, struct error *err);
/* Its directories, of PATH_MAX each. */
int cli_store_paths(char *directory, char *runtime, struct error *err);
/* Has there ever been one? */
bool cli_store_exists(void);
/* Is there a volume of that name? Makes no store where there is none. */
bool cli_store_has_volume(const char *name);

/* For one root, found as root_find_kind does; the store is open meanwhile. */
typedef int cli_root_act(struct store *store, struct root *root, void *arg, struct error *err);
int cli_with_root(enum root_kind kind, const char *key, cli_root_act *act, void *arg,
		  struct error *err);
/* Removes it, and what only it named. */
int cli_root_rm(struct store *store, struct root *root, void *arg, struct error *err);

#endif
