/* SPDX-License-Identifier: MIT */
/* The archive that carries a command into the default guest (scripts/guest-init runs it). */
#ifndef VMM_CLI_OVERLAY_H
#define VMM_CLI_OVERLAY_H

#include <stddef.h>

/*
 * A cpio archive (newc) with one file, /lodge/command: a shell script that executes the words. The
 * caller frees *out. -ENOMEM.
 */
int overlay_make(int count, char *const *words, void **out, size_t *size);

#endif
