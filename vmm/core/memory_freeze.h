/* SPDX-License-Identifier: MIT */
/*
 * Pages of guest memory as they are at one moment, to be read afterwards while the guest goes on.
 * Private memory is frozen by fork(2): the child does nothing but have it, and the kernel copies
 * what either writes. Memory that is shared cannot be frozen so: each page's content is copied
 * aside ahead of its first write, for which every writer asks memory_at_write anyway.
 */
#ifndef VMM_CORE_MEMORY_FREEZE_H
#define VMM_CORE_MEMORY_FREEZE_H

#include "vmm/core/memory.h"

struct memory_freeze;

/*
 * Freeze the pages whose bits are set in `pages`: a bit a page, pages numbered through all ranges
 * (memory_pages). The guest is paused, and no device writes. One freeze at a time.
 */
int memory_freeze_begin(struct guest_memory *memory, const uint64_t *pages, struct error *err);

/*
 * Visit the frozen pages in ascending order, each with its content at that moment; `bytes` are the
 * visitor's until it returns. On one thread, any but one that writes there. Ends early with what
 * `visit` returns if that is not 0, or with -errno where the content cannot be had.
 */
int memory_freeze_visit(struct guest_memory *memory,
			int (*visit)(void *arg, uint64_t page, const uint8_t *bytes), void *arg);

/* Visited or not: the guest writes freely again. */
void memory_freeze_end(struct guest_memory *memory);

/* Ahead of a write to pages `first` to `last`; by memory_at_write. May wait for the visitor. */
void memory_freeze_writing(struct memory_freeze *freeze, uint64_t first, uint64_t last);
/* By memory_destroy. NULL is allowed. */
void memory_freeze_destroy(struct memory_freeze *freeze);

#endif
