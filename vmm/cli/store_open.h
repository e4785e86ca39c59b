/* SPDX-License-Identifier: MIT */
/* The user's store of volumes and snapshots, in the state directory. */
#ifndef VMM_CLI_STORE_OPEN_H
#define VMM_CLI_STORE_OPEN_H

#include "snapshot/store.h"

int cli_store_open(struct store **out, struct error *err);
/* Its directories, of PATH_MAX each. */
int cli_store_paths(char *directory, char *runtime, struct error *err);
/* Has there ever been one? */
bool cli_store_exists(void);
/* Is there a volume of that name? Makes no store where there is none. */
bool cli_store_has_volume(const char *name);

#endif
