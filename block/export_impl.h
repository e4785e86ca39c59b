/* SPDX-License-Identifier: MIT */
/* What writes a format, and the file that it writes to. */
#ifndef BLOCK_EXPORT_IMPL_H
#define BLOCK_EXPORT_IMPL_H

#include <stddef.h>

#include "block/export.h"

/* A file that gets its name at the end. */
struct output {
	const char *path;
	bool replace;
	char *temporary;
	int fd;
};

int output_open(struct output *o, const char *path, bool replace, struct error *err);
/* 0 or -errno. */
int output_write(struct output *o, const void *bytes, size_t length, uint64_t offset);
int output_size(struct output *o, uint64_t size);
/* Sync and rename. The output is closed whatever happens. */
int output_commit(struct output *o, struct error *err);
/* Close and remove. */
void output_abort(struct output *o);

/* All return 0 or -errno. The sum of what data and zeroes get is the size. */
struct export_format {
	const char *name;
	int (*begin)(struct output *o, const struct export_options *options, uint64_t size,
		     void **state);
	int (*data)(void *state, const uint8_t *bytes, uint64_t length);
	int (*zeroes)(void *state, uint64_t length);
	int (*finish)(void *state);
	void (*end)(void *state); /* also after a failure */
};

extern const struct export_format qcow2_writer, raw_writer;

#endif
