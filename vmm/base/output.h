/* SPDX-License-Identifier: MIT */
/*
 * A file that is written once and gets its name when it is whole and on stable storage; after a
 * failure there is nothing.
 */
#ifndef VMM_BASE_OUTPUT_H
#define VMM_BASE_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/error.h"

struct output {
	const char *noun, *path;
	bool replace;
	char *temporary;
	int fd;
};

/* `noun` says in messages what it is. -EEXIST where there is a file and it is not to be replaced.
 */
int output_open(struct output *o, const char *noun, const char *path, bool replace,
		struct error *err);
/* 0 or -errno. */
int output_write(struct output *o, const void *bytes, size_t length, uint64_t offset);
int output_size(struct output *o, uint64_t size);
/* Sync and rename. The output is closed whatever happens. */
int output_commit(struct output *o, struct error *err);
/* Close and remove. */
void output_abort(struct output *o);

#endif
