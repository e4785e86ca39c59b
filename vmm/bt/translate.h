/* SPDX-License-Identifier: MIT */
/* From a guest's code to a block of the host's. */
#ifndef VMM_BT_TRANSLATE_H
#define VMM_BT_TRANSLATE_H

#include "vmm/bt/bt_impl.h"
#include "vmm/bt/code_cache.h"

/* Write entry and exits to the empty cache. */
void translate_world(struct code_cache *c, struct world_code *out);

/*
 * The block that `wanted` has gpa, rip and user of; `page` is the page of code on the host, and
 * `second` the one that wanted->second is, or NULL. Its accesses are by windows or by the soft TLB.
 * NULL: the cache is full. The cache's lock is held.
 */
struct block *translate_block(struct code_cache *c, const struct world_code *world,
			      const uint8_t *page, const uint8_t *second,
			      const struct block *wanted, bool windowed);
/* The instruction whose first bytes these are, the last of a page, goes on in the next. */
bool translate_is_across(const uint8_t *bytes, unsigned left);

#endif
