/* SPDX-License-Identifier: MIT */
/* Fewer layers for a volume: the oldest ones, merged into a new one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/volume_impl.h"

#define COPY_BLOCKS 256u

static int run_copy(struct layer *to, const struct stack_run *run, uint8_t *bytes,
		    struct error *err)
{
	uint64_t first = run->first, end = run->first + run->count;
	int ret = 0;

	while (first < end && ret == 0) {
		uint64_t n = end - first < COPY_BLOCKS ? end - first : COPY_BLOCKS;

		ret = layer_read(run->layer, first, n, bytes, err);
		if (ret == 0)
			ret = layer_write(to, first, n, bytes, err);
		first += n;
	}
	return ret;
}

/* What shows of the stack. Zeroes count only where something could show below them. */
static int stack_copy(const struct stack *stack, struct layer *to, bool zeroes, struct error *err)
{
	uint8_t *bytes = malloc((size_t)COPY_BLOCKS * STORE_BLOCK);
	struct stack_run run;
	uint64_t at = 0;
	int ret = bytes ? 0 : error_set(err, -ENOMEM, NULL, "store: no memory to copy");

	while (ret == 0 && stack_next(stack, at, &run)) {
		if (run.kind == STACK_LAYER)
			ret = run_copy(to, &run, bytes, err);
		else if (zeroes)
			ret = layer_mark_zero(to, run.first, run.count, err);
		at = run.first + run.count;
	}
	free(bytes);
	return ret;
}

static int merge(struct store *store, struct volume_manifest *m, unsigned keep,
		 struct store_lease *lease, struct error *err)
{
	struct layer *merged = NULL;
	struct stack *stack;
	int ret = stack_open(store, m->layers + keep, m->layer_count - keep, volume_blocks(m->size),
			     &stack, err);

	if (ret)
		return ret;
	ret = layer_create(store, lease, volume_blocks(m->size), &merged, err);
	if (ret == 0)
		ret = stack_copy(stack, merged, m->base.path[0], err);
	if (ret == 0)
		ret = layer_seal(merged, err);
	if (ret == 0) {
		m->layers[keep] = layer_info(merged)->id;
		m->layer_count = keep + 1;
	}
	layer_close(merged);
	stack_close(stack);
	return ret;
}

int volume_compact(struct store *store, const char *name, unsigned depth, struct error *err)
{
	struct store_lease *lease = NULL;
	struct volume *volume;
	struct volume_manifest m;
	int ret, lock;

	if (depth < 2)
		return volume_error(name, err, -EINVAL, "give at least 2", "no such depth can be");
	/* Opened to write, so that it is ours and all layers below the head are sealed. */
	ret = volume_open(store, name, false, &volume, err);
	if (ret)
		return ret;
	m = volume->manifest;
	ret = store_lease_open(store, &lease, err);
	if (ret == 0 && m.layer_count > depth) {
		ret = merge(store, &m, depth - 1, lease, err);
		lock = ret ? ret : store_lock(store, err);
		ret = lock < 0 ? lock : volume_manifest_write(store, &m, err);
		if (lock >= 0)
			store_unlock(store, lock);
	}
	store_lease_close(lease);
	volume_close(volume);
	return ret;
}
