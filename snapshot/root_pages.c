/* SPDX-License-Identifier: MIT */
/*
 * Two memories page by page. What both have from the same layer is the same; of the rest the
 * content is compared, so that only what differs counts as changed. O(changed) but for the walk.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/root_impl.h"
#include "snapshot/stack.h"

struct pages {
	struct stack *a, *b;
	struct id_list others; /* layers that other roots have, too */
	struct store_id id[2]; /* those two roots */
	uint8_t *map;
	struct root_pages *out;
	struct error *err;
	uint8_t bytes[2][STORE_BLOCK];
};

static int others_add(void *arg, const struct root *root)
{
	struct pages *p = arg;

	if (store_id_equal(&root->id, &p->id[0]) || store_id_equal(&root->id, &p->id[1]))
		return 0;
	return root_references(root, &p->others);
}

/* All of a run is of one kind, on both sides. */
static void pages_add(struct pages *p, enum root_page page, uint64_t first, uint64_t count)
{
	p->out->count[page] += count;
	if (p->map)
		memset(p->map + first, page, count);
}

static int page_read(struct pages *p, const struct stack_run *run, uint64_t page, uint8_t *bytes)
{
	if (run->kind == STACK_LAYER)
		return layer_read(run->layer, page, 1, bytes, p->err);
	memset(bytes, 0, STORE_BLOCK);
	return 0;
}

static bool is_zero(const uint8_t *bytes)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, STORE_BLOCK - 1) == 0;
}

static int pages_compare(struct pages *p, const struct stack_run *a, const struct stack_run *b,
			 uint64_t first, uint64_t count)
{
	for (uint64_t page = first; page < first + count; page++) {
		enum root_page kind = ROOT_PAGE_CHANGED;
		int ret = page_read(p, a, page, p->bytes[0]);

		if (ret == 0)
			ret = page_read(p, b, page, p->bytes[1]);
		if (ret)
			return ret;
		if (memcmp(p->bytes[0], p->bytes[1], STORE_BLOCK) == 0)
			kind = is_zero(p->bytes[1]) ? ROOT_PAGE_ZERO : ROOT_PAGE_EQUAL;
		else if (is_zero(p->bytes[1]))
			kind = ROOT_PAGE_CLEARED;
		pages_add(p, kind, page, 1);
	}
	return 0;
}

static int run_add(struct pages *p, const struct stack_run *a, const struct stack_run *b,
		   uint64_t first, uint64_t count)
{
	if (b->kind == STACK_LAYER && id_list_has(&p->others, &layer_info(b->layer)->id))
		p->out->with_others += count;
	if (a->kind != STACK_LAYER && b->kind != STACK_LAYER) {
		pages_add(p, ROOT_PAGE_ZERO, first, count);
		return 0;
	}
	/* Each stack has its layers opened for itself. */
	if (a->kind == STACK_LAYER && b->kind == STACK_LAYER &&
	    store_id_equal(&layer_info(a->layer)->id, &layer_info(b->layer)->id)) {
		pages_add(p, ROOT_PAGE_SAME, first, count);
		return 0;
	}
	return pages_compare(p, a, b, first, count);
}

static int pages_walk(struct pages *p, uint64_t pages)
{
	int ret = 0;

	for (uint64_t at = 0; at < pages && ret == 0;) {
		struct stack_run a, b;
		uint64_t count;

		stack_lookup(p->a, at, pages - at, &a);
		stack_lookup(p->b, at, pages - at, &b);
		count = a.count < b.count ? a.count : b.count;
		ret = run_add(p, &a, &b, at, count);
		at += count;
	}
	return ret;
}

int root_pages_compare(struct store *store, const struct root *a, const struct root *b,
		       uint8_t *map, struct root_pages *out, struct error *err)
{
	uint64_t pages = b->memory_size / STORE_BLOCK;
	struct pages *p;
	int ret;

	if (!pages || a->memory_size != b->memory_size)
		return error_set(err, -EINVAL, "give two of one guest, with its memory",
				 "snapshots '%s' and '%s': their memories are not alike", a->name,
				 b->name);
	p = calloc(1, sizeof(*p));
	if (!p)
		return error_set(err, -ENOMEM, NULL, "store: no memory");
	memset(out, 0, sizeof(*out));
	*p = (struct pages){.id = {a->id, b->id}, .map = map, .out = out, .err = err};
	ret = root_for_each(store, others_add, NULL, p, err);
	if (ret == 0)
		ret = stack_open(store, a->memory_layers, a->memory_layer_count, pages, &p->a, err);
	if (ret == 0)
		ret = stack_open(store, b->memory_layers, b->memory_layer_count, pages, &p->b, err);
	if (ret == 0)
		ret = pages_walk(p, pages);
	stack_close(p->a);
	stack_close(p->b);
	id_list_free(&p->others);
	free(p);
	return ret;
}
