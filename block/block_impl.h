/* SPDX-License-Identifier: MIT */
/* What formats share. */
#ifndef BLOCK_BLOCK_IMPL_H
#define BLOCK_BLOCK_IMPL_H

#include <stdatomic.h>

#include "block/block.h"

struct block {
	const struct block_format *format;
	struct block_info info;
	char *path; /* for messages */
	/*
	 * A sync failed: what the kernel dropped is unknown, and another sync would lie. All later
	 * writes and flushes fail.
	 */
	_Atomic bool failed;
};

struct block_queue {
	struct block *block;
	unsigned depth; /* most requests in flight */
	unsigned in_flight;
};

extern const struct block_format raw_format, qcow2_format, volume_format;

/* A sync that was no flush said `result`, -errno. */
void block_sync_failed(struct block *block, int result);

/* Complete a request: the only way to call done. */
void block_complete(struct block_queue *queue, struct block_request *request, int result);

#endif
