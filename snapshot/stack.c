/* SPDX-License-Identifier: MIT */
/* Layers on top of each other: built oldest first, so that each overwrites what it hides. */
#include "snapshot/stack.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "snapshot/stack_impl.h"

struct stack *stack_create(struct store *store, uint64_t blocks, struct error *err)
{
	struct stack *stack = calloc(1, sizeof(*stack));
	void *bytes = MAP_FAILED;

	if (stack)
		bytes = mmap(NULL, blocks, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (bytes == MAP_FAILED) {
		free(stack);
		error_set(err, -ENOMEM, NULL, "store: no memory for a map of %llu blocks",
			  (unsigned long long)blocks);
		return NULL;
	}
	stack->store = store;
	stack->blocks = blocks;
	stack->holder = bytes;
	return stack;
}

struct push {
	struct stack *stack;
	uint8_t number;
};

static int push_run(void *arg, uint64_t first, uint64_t count, enum layer_state state)
{
	const struct push *push = arg;
	uint8_t holder = state == LAYER_ZERO ? HOLDER_ZERO : push->number;

	if (first >= push->stack->blocks)
		return 0;
	if (count > push->stack->blocks - first)
		count = push->stack->blocks - first;
	for (uint64_t i = first; i < first + count; i++)
		atomic_store_explicit(&push->stack->holder[i], holder, memory_order_relaxed);
	return 0;
}

int stack_put(struct stack *stack, struct layer *layer, struct error *err)
{
	struct push push = {.stack = stack, .number = (uint8_t)(stack->count + 1)};
	int ret;

	assert(stack->count < STORE_LAYERS_MAX);
	stack->layer[++stack->count] = layer;
	ret = layer_for_each_run(layer, push_run, &push, err);
	return ret;
}

int stack_open(struct store *store, const struct store_id *ids, unsigned count, uint64_t blocks,
	       struct stack **out, struct error *err)
{
	struct stack *stack;
	int ret = 0;

	if (count > STORE_LAYERS_MAX || !blocks || blocks > STORE_BLOCKS_MAX)
		return error_set(err, -EINVAL, NULL, "store: a stack of %u layers, %llu blocks",
				 count, (unsigned long long)blocks);
	stack = stack_create(store, blocks, err);
	if (!stack)
		return -ENOMEM;
	while (count && ret == 0) {
		struct layer *layer;

		ret = layer_open(store, &ids[--count], &layer, err);
		if (ret == 0)
			ret = stack_put(stack, layer, err);
	}
	if (ret) {
		stack_close(stack);
		return ret;
	}
	*out = stack;
	return 0;
}

void stack_close(struct stack *stack)
{
	if (!stack)
		return;
	for (unsigned i = 1; i <= stack->count; i++)
		layer_close(stack->layer[i]);
	munmap((void *)stack->holder, stack->blocks);
	free(stack);
}

uint64_t stack_blocks(const struct stack *stack)
{
	return stack->blocks;
}

/* Where the run of this holder that `first` is in ends. */
static uint64_t run_end(const struct stack *stack, uint64_t first, uint64_t end, uint8_t holder)
{
	uint64_t at = first, pattern = holder * 0x0101010101010101ull;

	while (at < end && at % 8 && stack_holder(stack, at) == holder)
		at++;
	if (at % 8 == 0) {
		/* Eight blocks at a time; a word that changes meanwhile may be seen either way. */
		while (end - at >= 8 &&
		       __atomic_load_n((const uint64_t *)(const void *)(stack->holder + at),
				       __ATOMIC_ACQUIRE) == pattern)
			at += 8;
		while (at < end && stack_holder(stack, at) == holder)
			at++;
	}
	return at;
}

void stack_lookup(const struct stack *stack, uint64_t first, uint64_t max, struct stack_run *out)
{
	uint64_t left = stack->blocks - first;
	uint8_t holder;

	assert(first < stack->blocks && max);
	holder = stack_holder(stack, first);
	out->first = first;
	out->count = run_end(stack, first, first + (max < left ? max : left), holder) - first;
	/* The holder may have changed since: then this look-up was before that. */
	if (!out->count)
		out->count = 1;
	out->kind = holder == HOLDER_NONE   ? STACK_BELOW
		    : holder == HOLDER_ZERO ? STACK_ZERO
					    : STACK_LAYER;
	out->layer = out->kind == STACK_LAYER ? stack->layer[holder] : NULL;
}

bool stack_next(const struct stack *stack, uint64_t first, struct stack_run *out)
{
	if (first >= stack->blocks)
		return false;
	first = run_end(stack, first, stack->blocks, HOLDER_NONE);
	if (first == stack->blocks)
		return false;
	stack_lookup(stack, first, UINT64_MAX, out);
	return true;
}
