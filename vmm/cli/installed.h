/* SPDX-License-Identifier: MIT */
/* Files that were built and installed with this program. */
#ifndef VMM_CLI_INSTALLED_H
#define VMM_CLI_INSTALLED_H

#include <limits.h>

#include "vmm/base/error.h"

/*
 * The path of one: from the directory of this program in a build ("../" is put before it), or from
 * where it is installed. -ENOENT.
 */
int installed_find(const char *built, const char *installed, char out[PATH_MAX], struct error *err);

#endif
