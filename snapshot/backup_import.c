/* SPDX-License-Identifier: MIT */
/*
 * A backup stream into the store. A layer is verified as it comes and sealed when it is whole, and
 * is then a layer like any other, though nothing names it but our lease: the next import finds it
 * by its digest. The root comes last, and is published when the stream's end was right.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/backup_impl.h"
#include "snapshot/digest.h"
#include "snapshot/layer_impl.h"
#include "snapshot/layer_index.h"
#include "snapshot/root_impl.h"
#include "vmm/base/bytes.h"

/* A layer as the stream calls it, and here. */
struct pair {
	struct store_id theirs, ours;
};

/* Pieces that are put together. */
struct text {
	char *bytes;
	size_t size;
};

struct import {
	struct store *store;
	struct store_lease *lease;
	struct backup_reader in;
	struct backup_report report;
	struct layer_index here;
	bool all_digested; /* of them */
	struct pair *pairs;
	unsigned pair_count;
	uint64_t time_ns; /* of the root, as the stream's front says */
	struct store_id id;
	char name[TEXT_NAME_MAX + 1], theirs[TEXT_NAME_MAX + 1];
	struct text blob, manifest;
	/* The layer that comes. */
	struct layer *layer;
	struct error *err;
	uint8_t *blocks; /* of the record that is here: some are used up */
	unsigned count, used;
};

static int no_memory(struct error *err)
{
	return error_set(err, -ENOMEM, NULL, "store: no memory");
}

/* Layers. */

static int pair_add(struct import *in, const struct store_id *theirs, const struct store_id *ours,
		    struct error *err)
{
	if (in->pair_count == BACKUP_LAYERS_MAX)
		return backup_damaged(err, "it has too many layers");
	in->pairs[in->pair_count++] = (struct pair){*theirs, *ours};
	return 0;
}

struct identity {
	struct store_id id;
	uint8_t digest[STORE_DIGEST];
};

static int identity_read(struct import *in, struct identity *out, struct error *err)
{
	const uint8_t *head = backup_head(&in->in, BACKUP_BASE_HEAD, err);

	if (!head)
		return -EBADMSG;
	memcpy(out->id.bytes, head, STORE_ID_BYTES);
	memcpy(out->digest, head + STORE_ID_BYTES, STORE_DIGEST);
	return 0;
}

/* 1: it is here. */
static int layer_find(struct import *in, const struct identity *of, struct error *err)
{
	struct store_id ours;
	int ret =
		layer_index_hold(&in->here, in->store, in->lease, of->digest, &of->id, &ours, err);

	if (ret <= 0)
		return ret;
	in->report.shared++;
	ret = pair_add(in, &of->id, &ours, err);
	return ret ? ret : 1;
}

static int layer_missing(const struct identity *of, const char *base, struct error *err)
{
	char id[STORE_ID_TEXT];

	store_id_text(&of->id, id);
	if (!base[0])
		return error_set(err, -ENOENT, "export it with a list of what is here now",
				 "backup stream: layer '%s', which it leaves out, is not here", id);
	return error_set(
		err, -ENOENT, "import that one first, or a stream without --since",
		"backup stream: layer '%s' of snapshot '%s', which it leaves out, is not here", id,
		base);
}

/* One that was left out. */
static int base_take(struct import *in, struct error *err)
{
	char base[TEXT_NAME_MAX + 1];
	struct identity of;
	int ret = identity_read(in, &of, err);

	if (ret == 0)
		ret = backup_name(&in->in, true, base, err);
	if (ret == 0)
		ret = layer_find(in, &of, err);
	if (ret == 0 && !in->all_digested) {
		/* One of those that have no digest yet? */
		in->all_digested = true;
		ret = layer_index_read(&in->here, in->store, true, err);
		if (ret == 0)
			ret = layer_find(in, &of, err);
	}
	if (ret == 0)
		ret = layer_missing(&of, base, err);
	return ret < 0 ? ret : backup_next(&in->in, err);
}

/* The map. */

static int map_page_take(struct import *in, uint64_t *next, struct error *err)
{
	const uint8_t *head = backup_head(&in->in, BACKUP_MAP_HEAD, err);
	uint8_t bits[MAP_PAGE];
	size_t size = sizeof(bits);
	uint64_t index = head ? le64_get(head) : 0;
	int ret;

	if (!head)
		return -EBADMSG;
	if (index < *next || index >= layer_page_count(in->layer))
		return backup_damaged(err, "a layer's map makes no sense");
	*next = index + 1;
	ret = backup_unpack(&in->in, bits, &size, false, err);
	if (ret == 0 && page_is_zero(bits))
		ret = backup_damaged(err, "a layer's map makes no sense");
	if (ret == 0 && layer_bits_put(in->layer, index, bits))
		ret = no_memory(err);
	return ret ? ret : backup_next(&in->in, err);
}

/* The blocks. */

static int blocks_next(struct import *in)
{
	struct backup_reader *r = &in->in;
	const uint8_t *head, *sums;
	size_t size;

	if (r->kind != BACKUP_DATA)
		return backup_damaged(in->err, "blocks of a layer are missing");
	head = backup_head(r, 4, in->err);
	if (!head)
		return -EBADMSG;
	in->used = 0;
	in->count = le32_get(head);
	if (!in->count || in->count > BACKUP_BLOCKS)
		return backup_damaged(in->err, "a number of blocks makes no sense");
	sums = backup_head(r, 8 * (size_t)in->count, in->err);
	size = (size_t)in->count * STORE_BLOCK;
	if (!sums || backup_unpack(r, in->blocks, &size, false, in->err))
		return -EBADMSG;
	for (size_t i = 0; i < in->count; i++)
		if (XXH3_64bits(in->blocks + i * STORE_BLOCK, STORE_BLOCK) !=
		    le64_get(sums + 8 * i))
			return backup_damaged(in->err, "a block is not what its sum says");
	return backup_next(r, in->err);
}

/* Blocks on their way into the layer's digest, and into the layer. */
static int blocks_take(void *arg, uint64_t first, uint64_t count, void *bytes)
{
	struct import *in = arg;
	uint8_t *to = bytes;

	for (uint64_t left = count; left;) {
		unsigned n = in->count - in->used;

		if (!n) {
			int ret = blocks_next(in);

			if (ret)
				return ret;
			continue;
		}
		if (n > left)
			n = (unsigned)left;
		memcpy(to, in->blocks + (size_t)in->used * STORE_BLOCK, (size_t)n * STORE_BLOCK);
		to += (size_t)n * STORE_BLOCK;
		in->used += n;
		left -= n;
	}
	return layer_write_bytes(in->layer, first * STORE_BLOCK, count * STORE_BLOCK, bytes);
}

static int layer_store(struct import *in, const struct identity *of, struct error *err)
{
	uint64_t page = 0;
	int ret = backup_next(&in->in, err);

	in->count = in->used = 0;
	while (ret == 0 && in->in.kind == BACKUP_MAP)
		ret = map_page_take(in, &page, err);
	if (ret)
		return ret;
	ret = layer_fill(in->layer, blocks_take, in, of->digest, err);
	if (ret == -EBADMSG || (ret == 0 && in->used != in->count))
		return backup_damaged(err, "a layer is not what its digest says");
	if (ret)
		return ret;
	in->report.layers++;
	if (layer_index_add(&in->here, layer_info(in->layer)))
		return no_memory(err);
	return pair_add(in, &of->id, &layer_info(in->layer)->id, err);
}

static int layer_take(struct import *in, struct error *err)
{
	const uint8_t *blocks;
	struct identity of;
	int ret = identity_read(in, &of, err);

	blocks = ret ? NULL : backup_head(&in->in, 8, err);
	if (!blocks)
		return -EBADMSG;
	ret = layer_find(in, &of, err);
	if (ret < 0)
		return ret;
	if (ret) {
		do {
			ret = backup_next(&in->in, err);
		} while (ret == 0 && (in->in.kind == BACKUP_MAP || in->in.kind == BACKUP_DATA));
		return ret;
	}
	if (!le64_get(blocks) || le64_get(blocks) > STORE_BLOCKS_MAX)
		return backup_damaged(err, "a layer's size makes no sense");
	ret = layer_create(in->store, in->lease, le64_get(blocks), &in->layer, err);
	if (ret)
		return ret;
	ret = layer_store(in, &of, err);
	layer_close(in->layer);
	return ret;
}

/* The root. */

static int taken(const struct import *in, struct error *err)
{
	return error_set(err, -EEXIST, "give it another one: --name NAME",
			 "snapshot '%s': another one has this name", in->name);
}

/* What the stream's front says, so that a name that is taken is known before the layers come. */
static int root_take(struct import *in, const char *name, struct error *err)
{
	const uint8_t *head;
	struct root here;
	int ret;

	if (in->in.kind != BACKUP_ROOT)
		return backup_damaged(err, "it does not begin with a snapshot");
	head = backup_head(&in->in, BACKUP_ROOT_HEAD, err);
	if (!head)
		return -EBADMSG;
	memcpy(in->id.bytes, head, STORE_ID_BYTES);
	in->time_ns = le64_get(head + STORE_ID_BYTES);
	ret = backup_name(&in->in, false, in->theirs, err);
	if (ret)
		return ret;
	snprintf(in->name, sizeof(in->name), "%s", name ? name : in->theirs);
	ret = root_find_named(in->store, in->name, &here, err);
	if (ret < 0)
		return ret;
	if (ret) {
		bool other = here.time_ns != in->time_ns;

		root_clear(&here);
		if (other)
			return taken(in, err);
	}
	return backup_next(&in->in, err);
}

/* All pieces of a kind, one behind the other. */
static int pieces_take(struct import *in, enum backup_kind kind, size_t max, struct text *out,
		       struct error *err)
{
	int ret = 0;

	while (ret == 0 && in->in.kind == kind) {
		size_t size = BACKUP_RAW_MAX;
		char *bytes;

		if (out->size > max)
			return backup_damaged(err, "it has too much of a kind");
		bytes = realloc(out->bytes, out->size + size);
		if (!bytes)
			return no_memory(err);
		out->bytes = bytes;
		ret = backup_unpack(&in->in, bytes + out->size, &size, true, err);
		if (ret)
			return ret;
		out->size += size;
		ret = backup_next(&in->in, err);
	}
	return ret;
}

/*
 * From the stream's layers to ours. Where two of a list are the same here the lower one goes: what
 * it has the upper one has, too.
 */
static int list_translate(const struct import *in, struct store_id *ids, unsigned *count,
			  struct error *err)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < *count; i++) {
		const struct store_id *ours = NULL;
		bool twice = false;

		for (unsigned k = 0; k < in->pair_count && !ours; k++)
			if (store_id_equal(&in->pairs[k].theirs, &ids[i]))
				ours = &in->pairs[k].ours;
		if (!ours)
			return backup_damaged(err, "it has not all layers of its snapshot");
		for (unsigned k = 0; k < kept && !twice; k++)
			twice = store_id_equal(&ids[k], ours);
		if (!twice)
			ids[kept++] = *ours;
	}
	*count = kept;
	return 0;
}

static int blob_check(const struct import *in, const struct root *root, struct error *err)
{
	uint8_t digest[STORE_DIGEST];

	if (!root->has_device_state && !in->blob.size)
		return 0;
	digest_of(in->blob.bytes, in->blob.size, digest);
	if (root->has_device_state && root->device_state.size == in->blob.size &&
	    memcmp(digest, root->device_state.digest, sizeof(digest)) == 0)
		return 0;
	return backup_damaged(err, "the state of devices is not the snapshot's");
}

/* The manifest as a root of this store. */
static int root_make(const struct import *in, struct root *root, struct error *err)
{
	int ret = root_parse(in->manifest.bytes ? in->manifest.bytes : "", in->manifest.size, root,
			     err);

	if (ret)
		return error_prefix(err, ret, "backup stream");
	if (!store_id_equal(&root->id, &in->id) || root->time_ns != in->time_ns ||
	    strcmp(root->name, in->theirs) != 0)
		ret = backup_damaged(err, "its snapshot is not the one that it began with");
	if (ret == 0)
		ret = backup_root_check(root, err);
	for (unsigned i = 0; i < root->volume_count && ret == 0; i++)
		ret = list_translate(in, root->volumes[i].layers, &root->volumes[i].layer_count,
				     err);
	if (ret == 0)
		ret = list_translate(in, root->memory_layers, &root->memory_layer_count, err);
	if (ret == 0)
		ret = blob_check(in, root, err);
	if (ret) {
		root_clear(root);
		return ret;
	}
	memcpy(root->name, in->name, sizeof(root->name));
	root->state = ROOT_COMPLETE;
	return 0;
}

/* But for what differs between two stores. 1 or 0. */
static int is_same(const struct root *root, const struct root *here, struct error *err)
{
	struct root as = *root;
	char *a, *b;
	int ret;

	as.id = here->id;
	as.state = here->state;
	as.device_state.id = here->device_state.id;
	ret = root_format(&as, &a, err);
	if (ret)
		return ret;
	ret = root_format(here, &b, err);
	if (ret == 0) {
		ret = strcmp(a, b) == 0;
		free(b);
	}
	free(a);
	return ret;
}

/* 1: it is here already. */
static int here_check(struct import *in, const struct root *root, struct error *err)
{
	struct root here;
	int ret = root_find_named(in->store, in->name, &here, err);

	if (ret <= 0)
		return ret;
	in->report.id = here.id;
	ret = is_same(root, &here, err);
	root_clear(&here);
	if (ret <= 0)
		return ret ? ret : taken(in, err);
	/* Who published it may have been killed before its last sync. */
	ret = store_names_settle(in->store, STORE_ROOTS, err);
	return ret ? ret : 1;
}

static int root_store(struct import *in, struct error *err)
{
	struct root root;
	int ret = root_make(in, &root, err);

	if (ret)
		return ret;
	ret = here_check(in, &root, err);
	if (ret == 0) {
		if (root.has_device_state)
			ret = blob_put(in->store, in->lease, in->blob.bytes, in->blob.size,
				       &root.device_state, err);
		if (ret == 0)
			ret = root_publish(in->store, &root, err);
		in->report.id = root.id;
	}
	in->report.was_there = ret > 0;
	root_clear(&root);
	return ret < 0 ? ret : 0;
}

static int stream_read(struct import *in, const char *name, struct error *err)
{
	int ret = root_take(in, name, err);

	while (ret == 0 && in->in.kind == BACKUP_BASE)
		ret = base_take(in, err);
	while (ret == 0 && in->in.kind == BACKUP_LAYER)
		ret = layer_take(in, err);
	if (ret == 0)
		ret = pieces_take(in, BACKUP_BLOB, STORE_BLOB_MAX, &in->blob, err);
	if (ret == 0)
		ret = pieces_take(in, BACKUP_MANIFEST, ROOT_MANIFEST_MAX, &in->manifest, err);
	if (ret == 0 && in->in.kind != BACKUP_END)
		ret = backup_damaged(err, "a record has no place there");
	return ret ? ret : root_store(in, err);
}

int backup_import(struct store *store, const char *name, const struct backup_pipe *from,
		  struct backup_report *out, struct error *err)
{
	struct import in = {.store = store, .err = err};
	int ret;

	if (name && !text_is_name(name))
		return error_set(err, -EINVAL, "use letters, digits, '-', '_' and '.'",
				 "snapshot '%s': no such name can be", name);
	ret = store_lease_open(store, &in.lease, err);
	if (ret)
		return ret;
	in.pairs = calloc(BACKUP_LAYERS_MAX, sizeof(*in.pairs));
	in.blocks = malloc(BACKUP_RAW_MAX);
	ret = in.pairs && in.blocks ? backup_reader_begin(&in.in, from, err) : no_memory(err);
	if (ret == 0)
		ret = layer_index_read(&in.here, store, false, err);
	if (ret == 0)
		ret = stream_read(&in, name, err);
	if (ret == 0) {
		*out = in.report;
		memcpy(out->name, in.name, sizeof(out->name));
		out->bytes = in.in.bytes;
	}
	backup_reader_end(&in.in);
	layer_index_free(&in.here);
	free(in.pairs);
	free(in.blocks);
	free(in.blob.bytes);
	free(in.manifest.bytes);
	store_lease_close(in.lease);
	return ret;
}
