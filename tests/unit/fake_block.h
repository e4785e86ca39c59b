/* SPDX-License-Identifier: MIT */
/* A disk without a file: it keeps requests until it is told how they end. */
#ifndef TESTS_UNIT_FAKE_BLOCK_H
#define TESTS_UNIT_FAKE_BLOCK_H

#include "block/block_impl.h"

#define FAKE_BLOCK_DEPTH 512

struct fake_block {
	struct block block;        /* pass this one */
	_Atomic bool holding;      /* requests wait */
	_Atomic int result;        /* how they end */
	_Atomic unsigned held;     /* how many wait now */
	_Atomic unsigned total;    /* how many came, ever */
	struct block_request last; /* a copy of the one that came last */
};

/* Of `size` bytes. Requests end at once with 0. */
void fake_block_init(struct fake_block *fake, uint64_t size);

#endif
