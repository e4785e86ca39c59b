/* SPDX-License-Identifier: MIT */
/* From a guest's code to a block of the host's. */
#ifndef VMM_BT_TRANSLATE_H
#define VMM_BT_TRANSLATE_H

#include "vmm/bt/bt_impl.h"
#include "vmm/bt/code_cache.h"

/* Write entry and exits to the empty cache. */
void translate_world(struct code_cache *c, struct world_code *out);

/*
 * The block at `rip`, of which `page` is the page of code on the host and `gpa` the address. NULL:
 * the cache is full. The cache's lock is held.
 */
struct block *translate_block(struct code_cache *c, const struct world_code *world,
			      const uint8_t *page, uint64_t gpa, uint64_t rip);

#endif
