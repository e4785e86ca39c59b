/* SPDX-License-Identifier: MIT */
/* Files for one test program, in a directory of its own. */
#ifndef TESTS_UNIT_SCRATCH_H
#define TESTS_UNIT_SCRATCH_H

#include <stddef.h>

#define SCRATCH_PATH_MAX 128

struct scratch {
	char path[64]; /* the directory */
};

/* Fails the test. */
void scratch_make(struct scratch *scratch);
/* Remove it and the plain files in it. */
void scratch_remove(struct scratch *scratch);

/* The path of a file there. */
void scratch_path(const struct scratch *scratch, const char *name, char out[SCRATCH_PATH_MAX]);
/* Write a whole file. */
void scratch_write(const struct scratch *scratch, const char *name, const void *bytes, size_t size);

#endif
