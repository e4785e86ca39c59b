/* SPDX-License-Identifier: MIT */
/* Images, as lodge run takes them. */
#ifndef VMM_CLI_IMAGE_H
#define VMM_CLI_IMAGE_H

#include "snapshot/root.h"
#include "vmm/cli/cli.h"

/*
 * What the image that is `given` says of a new guest, with what else is given in place of that, or
 * of disks behind that. `root` is for the guest's volumes, see clone.h; the caller clears it.
 */
int image_options(const struct options *given, const char *guest, struct root *root,
		  struct options *out, struct error *err);

#endif
