/* SPDX-License-Identifier: MIT */
/* A root as a backup stream: its layers one after the other, each walked once. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/backup_impl.h"
#include "snapshot/layer_impl.h"
#include "snapshot/root_impl.h"
#include "vmm/base/bytes.h"

/* What the other side has. */

static int have_add(struct backup_have *have, const uint8_t digest[STORE_DIGEST], const char *root)
{
	struct backup_had *had;

	if (have->count == have->room) {
		size_t room = have->room ? 2 * have->room : 64;

		had = realloc(have->layers, room * sizeof(*had));
		if (!had)
			return -ENOMEM;
		have->layers = had;
		have->room = room;
	}
	had = &have->layers[have->count++];
	memset(had, 0, sizeof(*had));
	memcpy(had->digest, digest, STORE_DIGEST);
	memcpy(had->root, root, strlen(root));
	return 0;
}

int backup_have_digest(struct backup_have *have, const uint8_t digest[STORE_DIGEST])
{
	return have_add(have, digest, "");
}

struct have_root {
	struct backup_have *have;
	const char *name;
};

static int have_layer(void *arg, struct layer *layer, struct error *err)
{
	const struct have_root *of = arg;
	int ret = layer_digest(layer, err);

	if (ret)
		return ret;
	ret = have_add(of->have, layer_info(layer)->digest, of->name);
	return ret ? error_set(err, ret, NULL, "store: no memory") : 0;
}

int backup_have_root(struct backup_have *have, struct store *store, const struct root *root,
		     struct error *err)
{
	struct have_root of = {.have = have, .name = root->name};

	return root_for_each_layer(store, root, have_layer, &of, err);
}

void backup_have_free(struct backup_have *have)
{
	free(have->layers);
	*have = (struct backup_have){0};
}

static const struct backup_had *had_find(const struct backup_have *have, const struct layer *layer)
{
	for (size_t i = 0; i < have->count; i++)
		if (memcmp(have->layers[i].digest, layer_info(layer)->digest, STORE_DIGEST) == 0)
			return &have->layers[i];
	return NULL;
}

struct export
{
	struct store *store;
	const struct backup_have *have;
	struct backup_writer out;
	struct backup_report report;
	/* The layer that is walked. */
	struct layer *layer;
	struct error *err;
	uint8_t *blocks; /* BACKUP_BLOCKS of them */
	unsigned count;
};

/* Layers. */

static void identity_put(uint8_t *head, const struct layer_info *info)
{
	memcpy(head, info->id.bytes, STORE_ID_BYTES);
	memcpy(head + STORE_ID_BYTES, info->digest, STORE_DIGEST);
}

/* The first pass sees to digests and says what is left out. */
static int base_put(void *arg, struct layer *layer, struct error *err)
{
	uint8_t head[BACKUP_BASE_HEAD + TEXT_NAME_MAX];
	struct export *e = arg;
	const struct backup_had *had;
	int ret = layer_digest(layer, err);

	if (ret)
		return ret;
	had = had_find(e->have, layer);
	if (!had)
		return 0;
	e->report.shared++;
	identity_put(head, layer_info(layer));
	memcpy(head + BACKUP_BASE_HEAD, had->root, strlen(had->root));
	return backup_put(&e->out, BACKUP_BASE, head, BACKUP_BASE_HEAD + strlen(had->root), NULL, 0,
			  err);
}

static int map_page_put(void *arg, uint64_t index, const uint8_t *bits)
{
	uint8_t head[BACKUP_MAP_HEAD];
	struct export *e = arg;

	le64_put(head, index);
	return backup_put(&e->out, BACKUP_MAP, head, sizeof(head), bits, MAP_PAGE, e->err);
}

static int map_put(struct export *e, struct error *err)
{
	struct layer *layer = e->layer;
	int map = layer_map_open(layer, O_RDONLY), ret;

	if (map < 0)
		return layer_error(layer, err, map, error_name(map));
	ret = layer_map_pages(layer, map, map_page_put, e);
	layer->io->ops->close(layer->io, map);
	return ret ? layer_error(layer, err, ret, error_name(ret)) : 0;
}

static int blocks_put(struct export *e)
{
	uint8_t head[BACKUP_HEAD_MAX];
	unsigned count = e->count;

	if (!count)
		return 0;
	e->count = 0;
	le32_put(head, count);
	for (size_t i = 0; i < count; i++)
		le64_put(head + 4 + 8 * i, XXH3_64bits(e->blocks + i * STORE_BLOCK, STORE_BLOCK));
	return backup_put(&e->out, BACKUP_DATA, head, 4 + 8 * (size_t)count, e->blocks,
			  (size_t)count * STORE_BLOCK, e->err);
}

/* Blocks on their way into the layer's digest. */
static int blocks_give(void *arg, uint64_t first, uint64_t count, void *bytes)
{
	struct export *e = arg;
	const uint8_t *from = bytes;
	int ret = layer_read_bytes(e->layer, first * STORE_BLOCK, count * STORE_BLOCK, bytes);

	while (count && ret == 0) {
		unsigned n = BACKUP_BLOCKS - e->count;

		if (n > count)
			n = (unsigned)count;
		memcpy(e->blocks + (size_t)e->count * STORE_BLOCK, from, (size_t)n * STORE_BLOCK);
		from += (size_t)n * STORE_BLOCK;
		e->count += n;
		count -= n;
		if (e->count == BACKUP_BLOCKS)
			ret = blocks_put(e);
	}
	return ret;
}

static int layer_put(void *arg, struct layer *layer, struct error *err)
{
	uint8_t head[BACKUP_LAYER_HEAD];
	struct export *e = arg;
	int ret;

	if (had_find(e->have, layer))
		return 0;
	e->layer = layer;
	e->err = err;
	e->report.layers++;
	identity_put(head, layer_info(layer));
	le64_put(head + BACKUP_BASE_HEAD, layer_info(layer)->blocks);
	ret = backup_put(&e->out, BACKUP_LAYER, head, sizeof(head), NULL, 0, err);
	if (ret == 0)
		ret = map_put(e, err);
	if (ret == 0)
		ret = layer_verify_by(layer, blocks_give, e, err);
	return ret ? ret : blocks_put(e);
}

/* The rest. */

static int root_put(struct export *e, const struct root *root, struct error *err)
{
	uint8_t head[BACKUP_ROOT_HEAD + TEXT_NAME_MAX];
	size_t length = strlen(root->name);

	memcpy(head, root->id.bytes, STORE_ID_BYTES);
	le64_put(head + STORE_ID_BYTES, root->time_ns);
	memcpy(head + BACKUP_ROOT_HEAD, root->name, length);
	return backup_put(&e->out, BACKUP_ROOT, head, BACKUP_ROOT_HEAD + length, NULL, 0, err);
}

static int pieces_put(struct export *e, enum backup_kind kind, const char *bytes, size_t size,
		      struct error *err)
{
	int ret = 0;

	for (size_t at = 0, n; at < size && ret == 0; at += n) {
		n = size - at < BACKUP_RAW_MAX ? size - at : BACKUP_RAW_MAX;
		ret = backup_put(&e->out, kind, NULL, 0, bytes + at, n, err);
	}
	return ret;
}

static int blob_put_pieces(struct export *e, const struct root *root, struct error *err)
{
	void *bytes = NULL;
	int ret;

	if (!root->has_device_state)
		return 0;
	ret = blob_get(e->store, &root->device_state, &bytes, err);
	if (ret == 0)
		ret = pieces_put(e, BACKUP_BLOB, bytes, root->device_state.size, err);
	free(bytes);
	return ret;
}

static int manifest_put(struct export *e, const struct root *root, struct error *err)
{
	char *text;
	int ret = root_format(root, &text, err);

	if (ret)
		return ret;
	ret = pieces_put(e, BACKUP_MANIFEST, text, strlen(text), err);
	free(text);
	return ret;
}

static int stream_write(struct export *e, const struct root *root, struct error *err)
{
	int ret = root_put(e, root, err);

	if (ret == 0)
		ret = root_for_each_layer(e->store, root, base_put, e, err);
	if (ret == 0)
		ret = root_for_each_layer(e->store, root, layer_put, e, err);
	if (ret == 0)
		ret = blob_put_pieces(e, root, err);
	if (ret == 0)
		ret = manifest_put(e, root, err);
	return ret ? ret : backup_put_end(&e->out, err);
}

/* The root as it is now, and all that it names in the lease: it may be removed meanwhile. */
static int root_hold(struct store *store, const struct store_id *id, struct store_lease *lease,
		     struct root *root, struct error *err)
{
	struct id_list ids = {0};
	int lock = store_lock(store, err), ret;

	if (lock < 0)
		return lock;
	ret = root_load(store, id, root, err);
	if (ret == 0 && root_references(root, &ids))
		ret = error_set(err, -ENOMEM, NULL, "store: no memory");
	for (size_t i = 0; i < ids.count && ret == 0; i++)
		ret = store_lease_add(lease, &ids.ids[i], err);
	store_unlock(store, lock);
	id_list_free(&ids);
	return ret;
}

int backup_export(struct store *store, const struct store_id *id, const struct backup_have *have,
		  const struct backup_pipe *to, struct backup_report *out, struct error *err)
{
	struct export e = {.store = store, .have = have};
	struct store_lease *lease;
	struct root root = {0};
	int ret = store_lease_open(store, &lease, err);

	if (ret)
		return ret;
	ret = root_hold(store, id, lease, &root, err);
	if (ret == 0)
		ret = backup_root_check(&root, err);
	if (ret == 0) {
		e.blocks = malloc(BACKUP_RAW_MAX);
		ret = e.blocks ? backup_writer_begin(&e.out, to, err)
			       : error_set(err, -ENOMEM, NULL, "store: no memory");
		if (ret == 0)
			ret = stream_write(&e, &root, err);
		backup_writer_end(&e.out);
	}
	if (ret == 0) {
		*out = e.report;
		memcpy(out->name, root.name, sizeof(out->name));
		out->id = root.id;
		out->bytes = e.out.bytes;
	}
	free(e.blocks);
	root_clear(&root);
	store_lease_close(lease);
	return ret;
}
