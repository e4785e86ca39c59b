/* SPDX-License-Identifier: MIT */
/* lodge snapshot diff --pages: two memories, page by page, in numbers and as a picture. */
#ifndef VMM_CLI_SNAPSHOT_PAGES_H
#define VMM_CLI_SNAPSHOT_PAGES_H

#include "snapshot/root.h"
#include "vmm/cli/cli.h"

/* Prints it, and writes the picture where options ask for one. */
int snapshot_pages(const struct options *o, struct store *store, const struct root *a,
		   const struct root *b, struct error *err);

#endif
