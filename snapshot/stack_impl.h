/* SPDX-License-Identifier: MIT */
/* A stack that grows: what a volume and a stack of sealed layers have in common. */
#ifndef SNAPSHOT_STACK_IMPL_H
#define SNAPSHOT_STACK_IMPL_H

#include <stdatomic.h>

#include "snapshot/layer_impl.h"
#include "snapshot/stack.h"

/* What a block's byte says but for the number of a layer: 1 is the oldest. */
#define HOLDER_NONE 0u
#define HOLDER_ZERO 255u

struct stack {
	struct store *store;
	uint64_t blocks;
	_Atomic uint8_t *holder; /* a byte a block */
	unsigned count;
	struct layer *layer[STORE_LAYERS_MAX + 2]; /* [1] is the oldest; takes them over */
};

/* An empty one; NULL: no memory. */
struct stack *stack_create(struct store *store, uint64_t blocks, struct error *err);
/* On top; takes the layer over, also where it fails. What it has shows from now on. */
int stack_put(struct stack *stack, struct layer *layer, struct error *err);

static inline uint8_t stack_holder(const struct stack *stack, uint64_t block)
{
	return atomic_load_explicit(&stack->holder[block], memory_order_acquire);
}

#endif
