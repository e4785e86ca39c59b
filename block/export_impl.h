/* SPDX-License-Identifier: MIT */
/* What writes a format. */
#ifndef BLOCK_EXPORT_IMPL_H
#define BLOCK_EXPORT_IMPL_H

#include "block/export.h"
#include "vmm/base/output.h"

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
