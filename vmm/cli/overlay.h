/* SPDX-License-Identifier: MIT */
/* Archives behind an initial RAM disk: a command for the default guest (scripts/guest-init), a
 * file. */
#ifndef VMM_CLI_OVERLAY_H
#define VMM_CLI_OVERLAY_H

#include <stddef.h>

/*
 * A cpio archive (newc) with one file, /lodge/command: a shell script that executes the words. The
 * caller frees *out. -ENOMEM.
 */
int overlay_make(int count, char *const *words, void **out, size_t *size);
/* Likewise, with a directory and one file in it, of that mode. */
int overlay_of_file(const char *directory, const char *name, unsigned mode, const void *bytes,
		    size_t size, void **out, size_t *out_size);

#endif
