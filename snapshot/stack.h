/* SPDX-License-Identifier: MIT */
/*
 * Layers of one address space on top of each other, and who holds which block: a byte a block in
 * anonymous memory, of which only what layers hold is ever touched. Look-ups may run in any thread
 * without a lock, also while others mark blocks.
 */
#ifndef SNAPSHOT_STACK_H
#define SNAPSHOT_STACK_H

#include "snapshot/layer.h"

enum stack_kind {
	STACK_BELOW, /* no layer has it: a base image, or zeroes */
	STACK_ZERO,
	STACK_LAYER,
};

struct stack_run {
	enum stack_kind kind;
	uint64_t first, count; /* blocks */
	struct layer *layer;   /* STACK_LAYER: at the same offset in its data */
};

struct stack;

/*
 * Open `count` layers, newest first, of which none is being written. Layers may be smaller than
 * `blocks`; of larger ones the rest does not show.
 */
int stack_open(struct store *store, const struct store_id *ids, unsigned count, uint64_t blocks,
	       struct stack **out, struct error *err);
void stack_close(struct stack *stack);
uint64_t stack_blocks(const struct stack *stack);

/* The longest run from `first` on of at most `max` blocks that one layer (or none) has. */
void stack_lookup(const struct stack *stack, uint64_t first, uint64_t max, struct stack_run *out);

/* Likewise, but leaping over what no layer has: false if nothing follows. */
bool stack_next(const struct stack *stack, uint64_t first, struct stack_run *out);

#endif
