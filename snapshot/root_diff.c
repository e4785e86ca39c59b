/* SPDX-License-Identifier: MIT */
/* What roots have in common and what not: by their layers, none of whose content is read. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "snapshot/layer_impl.h"
#include "snapshot/root_impl.h"
#include "vmm/base/bytes.h"

/* Usage. */

struct usage {
	struct id_list others; /* what others than this root name */
	const struct root *root;
};

static int others_volume(void *arg, const struct volume_manifest *m)
{
	struct usage *usage = arg;

	return id_list_add_all(&usage->others, m->layers, m->layer_count);
}

static int others_root(void *arg, const struct root *root)
{
	struct usage *usage = arg;

	if (store_id_equal(&root->id, &usage->root->id))
		return 0;
	return root_references(root, &usage->others);
}

static int file_stored(struct store *store, const char *folder, const struct store_id *id,
		       const char *suffix, uint64_t *out)
{
	char path[STORE_IO_PATH_MAX];
	struct store_stat st;
	int file, ret;

	store_path(path, folder, id, suffix);
	file = store_io_open(store->io, path, O_RDONLY);
	if (file < 0)
		return file;
	ret = store->io->ops->stat(store->io, file, &st);
	store->io->ops->close(store->io, file);
	if (ret == 0)
		*out += st.stored;
	return ret;
}

static int usage_add(struct store *store, struct usage *usage, const struct store_id *id, bool blob,
		     struct root_usage *out)
{
	uint64_t bytes = 0;
	int ret;

	if (blob)
		ret = file_stored(store, STORE_BLOBS, id, "", &bytes);
	else
		ret = file_stored(store, STORE_LAYERS, id, ".data", &bytes);
	if (ret == 0 && !blob)
		ret = file_stored(store, STORE_LAYERS, id, ".map", &bytes);
	out->stored += bytes;
	if (!id_list_has(&usage->others, id))
		out->exclusive += bytes;
	return ret;
}

int root_usage(struct store *store, const struct root *root, struct root_usage *out,
	       struct error *err)
{
	struct usage usage = {.root = root};
	struct id_list ids = {0};
	int ret = volume_for_each(store, others_volume, &usage, err);

	memset(out, 0, sizeof(*out));
	if (ret == 0)
		ret = root_for_each(store, others_root, NULL, &usage, err);
	if (ret == 0)
		ret = root_references(root, &ids);
	id_list_has(&ids, &root->id); /* sorts, so that what is named twice is counted once */
	for (size_t i = 0; i < ids.count && ret == 0; i++) {
		bool blob = root->has_device_state &&
			    store_id_equal(&ids.ids[i], &root->device_state.id);

		if (i == 0 || !store_id_equal(&ids.ids[i], &ids.ids[i - 1]))
			ret = usage_add(store, &usage, &ids.ids[i], blob, out);
	}
	id_list_free(&ids);
	id_list_free(&usage.others);
	return ret ? root_error(root, err, ret, "check the store", error_name(ret)) : 0;
}

/* Differences. */

struct diff {
	uint8_t *changed; /* a bit a block; pages that are never touched stay holes */
	uint64_t blocks;
};

static int diff_mark(void *arg, uint64_t first, uint64_t count, enum layer_state state)
{
	struct diff *diff = arg;

	(void)state;
	for (uint64_t i = first; i < first + count; i++)
		diff->changed[i / 8] |= (uint8_t)(1u << i % 8);
	return 0;
}

/* Open what is in one list only. */
static int only_open(struct store *store, const struct store_id *ids, unsigned count,
		     const struct store_id *others, unsigned other_count, struct layer **layers,
		     unsigned *layer_count, struct error *err)
{
	for (unsigned i = 0; i < count; i++) {
		bool shared = false;
		int ret;

		for (unsigned k = 0; k < other_count && !shared; k++)
			shared = store_id_equal(&ids[i], &others[k]);
		if (shared)
			continue;
		ret = layer_open(store, &ids[i], &layers[*layer_count], err);
		if (ret)
			return ret;
		++*layer_count;
	}
	return 0;
}

static bool is_changed(const struct diff *diff, uint64_t block)
{
	return diff->changed[block / 8] >> block % 8 & 1;
}

static int diff_visit(const struct diff *diff,
		      int (*visit)(void *arg, uint64_t first, uint64_t count), void *arg)
{
	uint64_t block = 0;
	int ret = 0;

	while (block < diff->blocks && ret == 0) {
		uint64_t first = block;

		if (block % 64 == 0 && !le64_get(diff->changed + block / 8)) {
			block += 64;
			continue;
		}
		while (block < diff->blocks && is_changed(diff, block))
			block++;
		if (block > first)
			ret = visit(arg, first, block - first);
		else
			block++;
	}
	return ret;
}

static int layers_diff(struct layer *const *layers, unsigned count,
		       int (*visit)(void *arg, uint64_t first, uint64_t count), void *arg,
		       struct error *err)
{
	struct diff diff = {0};
	size_t size;
	int ret = 0;

	for (unsigned i = 0; i < count; i++)
		if (layer_info(layers[i])->blocks > diff.blocks)
			diff.blocks = layer_info(layers[i])->blocks;
	if (!diff.blocks)
		return 0;
	size = (diff.blocks + 63) / 64 * 8;
	diff.changed = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (diff.changed == MAP_FAILED)
		return error_set(err, -ENOMEM, NULL, "store: no memory for a difference");
	for (unsigned i = 0; i < count && ret == 0; i++)
		ret = layer_for_each_run(layers[i], diff_mark, &diff, err);
	if (ret == 0)
		ret = diff_visit(&diff, visit, arg);
	munmap(diff.changed, size);
	return ret;
}

int root_diff(struct store *store, const struct store_id *a, unsigned a_count,
	      const struct store_id *b, unsigned b_count,
	      int (*visit)(void *arg, uint64_t first, uint64_t count), void *arg, struct error *err)
{
	struct layer **layers = calloc(a_count + b_count + 1, sizeof(struct layer *));
	unsigned count = 0;
	int ret;

	if (!layers)
		return error_set(err, -ENOMEM, NULL, "store: no memory");
	ret = only_open(store, a, a_count, b, b_count, layers, &count, err);
	if (ret == 0)
		ret = only_open(store, b, b_count, a, a_count, layers, &count, err);
	if (ret == 0)
		ret = layers_diff(layers, count, visit, arg, err);
	for (unsigned i = 0; i < count; i++)
		layer_close(layers[i]);
	free(layers);
	return ret;
}
