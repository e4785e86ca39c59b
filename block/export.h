/* SPDX-License-Identifier: MIT */
/*
 * An image is written once, from the front to the end, to a new file. It appears under its name
 * when it is whole and on stable storage; after a failure there is nothing.
 */
#ifndef BLOCK_EXPORT_H
#define BLOCK_EXPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/error.h"

struct block;

/* What comes next in an image. */
struct export_run {
	const void *data; /* NULL: zeroes; valid until the next call */
	uint64_t length;  /* bytes, at least 1 */
};

/* Where an image comes from. */
struct export_source {
	uint64_t size; /* bytes, a multiple of 512, not 0 */
	void *arg;
	/*
	 * The runs in order; called until `size` bytes came. 0 or -errno, which ends the export; it
	 * may say more in `err`.
	 */
	int (*next)(void *arg, struct export_run *run, struct error *err);
};

enum export_compression { EXPORT_PLAIN, EXPORT_DEFLATE, EXPORT_ZSTD };

struct export_options {
	const char *path;
	bool replace;                        /* a file that has the name already */
	enum export_compression compression; /* of format qcow2 */
};

/*
 * Format "raw": a sparse file. "qcow2": version 3, clusters of 64 KiB, no backing file. Zeroes take
 * no room in either, also those in `data`. Memory: 2 MiB, and for qcow2 32 bytes a MiB written.
 * -EEXIST where there is a file and it is not to be replaced.
 */
int export_image(const char *format, const struct export_options *options,
		 const struct export_source *source, struct error *err);

/* The same with what an opened image has. */
int export_block(const char *format, const struct export_options *options, struct block *block,
		 struct error *err);

#endif
