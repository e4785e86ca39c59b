/* SPDX-License-Identifier: MIT */
/*
 * Sums of a sealed layer. Each data block has its XXH3-64, which finds a flipped bit; the layer has
 * a SHA-256, which tells one layer from any other. That is a tree of two levels: a leaf covers
 * LEAF_BLOCKS blocks of the address space, unless all are absent, and is the SHA-256 of its number
 * (64 bits, little-endian), the states of its blocks as in the map (two bits each), and the content
 * of those that are data. The root is the SHA-256 of "lodge layer 1", a NUL, the layer's number of
 * blocks (64 bits), and all leaves in order. So it does not depend on how a layer is stored.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/layer_impl.h"
#include "vmm/base/bytes.h"

#define LEAF_BLOCKS 256u
#define LEAF_BITS   (LEAF_BLOCKS / BLOCKS_PER_BYTE)
#define DOMAIN      "lodge layer 1" /* with its NUL */

/* One walk over a layer: the leaf that is being filled, and what is done with the blocks. */
struct summing {
	struct layer *layer;
	layer_fetch *fetch;
	void *arg;
	struct sha256_ctx tree, leaf;
	uint64_t leaf_number;
	bool leaf_open;
	uint8_t bits[LEAF_BITS];
	uint8_t *content; /* of the leaf: LEAF_BLOCKS blocks */
	int map;          /* the file that takes the blocks' sums; -1: not asked for */
	XXH3_state_t *sums_state;
	uint64_t done;      /* data blocks so far */
	unsigned sum_count; /* of these, sums that are not written yet */
	uint8_t sums[MAP_PAGE];
};

static enum layer_state bit_state(const uint8_t *bits, uint64_t block)
{
	return (enum layer_state)(bits[block / BLOCKS_PER_BYTE] >> 2 * (block % BLOCKS_PER_BYTE) &
				  3);
}

static int sums_put(struct summing *s)
{
	uint64_t first = s->done - s->sum_count;
	size_t size = 8 * (size_t)s->sum_count;

	XXH3_64bits_update(s->sums_state, s->sums, size);
	s->sum_count = 0;
	return store_io_write(s->layer->io, s->map, s->sums, size,
			      layer_sums_offset(s->layer) + 8 * first);
}

static int sum_add(struct summing *s, const uint8_t *block)
{
	le64_put(s->sums + 8 * (size_t)s->sum_count++, XXH3_64bits(block, STORE_BLOCK));
	s->done++;
	return 8 * s->sum_count == sizeof(s->sums) ? sums_put(s) : 0;
}

/* Fetch the data blocks of the leaf, a run at a time, and add them. */
static int leaf_content(struct summing *s)
{
	unsigned at = 0, end;
	int ret = 0;

	while (at < LEAF_BLOCKS && ret == 0) {
		uint64_t first = s->leaf_number * LEAF_BLOCKS + at;

		if (bit_state(s->bits, at) != LAYER_DATA) {
			at++;
			continue;
		}
		for (end = at; end < LEAF_BLOCKS && bit_state(s->bits, end) == LAYER_DATA; end++)
			;
		ret = s->fetch(s->arg, first, end - at, s->content);
		if (ret == 0)
			sha256_update(&s->leaf, (size_t)(end - at) * STORE_BLOCK, s->content);
		for (unsigned i = 0; i < end - at && ret == 0 && s->map >= 0; i++)
			ret = sum_add(s, s->content + (size_t)i * STORE_BLOCK);
		at = end;
	}
	return ret;
}

static int leaf_end(struct summing *s)
{
	uint8_t number[8], digest[STORE_DIGEST];
	int ret;

	if (!s->leaf_open)
		return 0;
	s->leaf_open = false;
	le64_put(number, s->leaf_number);
	sha256_init(&s->leaf);
	sha256_update(&s->leaf, sizeof(number), number);
	sha256_update(&s->leaf, sizeof(s->bits), s->bits);
	ret = leaf_content(s);
	sha256_digest(&s->leaf, sizeof(digest), digest);
	sha256_update(&s->tree, sizeof(digest), digest);
	memset(s->bits, 0, sizeof(s->bits));
	return ret;
}

static int summing_run(void *arg, uint64_t first, uint64_t count, enum layer_state state)
{
	struct summing *s = arg;

	for (uint64_t block = first; block < first + count; block++) {
		unsigned at = block % LEAF_BLOCKS;

		if (s->leaf_open && block / LEAF_BLOCKS != s->leaf_number) {
			int ret = leaf_end(s);

			if (ret)
				return ret;
		}
		s->leaf_open = true;
		s->leaf_number = block / LEAF_BLOCKS;
		s->bits[at / BLOCKS_PER_BYTE] |= (uint8_t)(state << 2 * (at % BLOCKS_PER_BYTE));
	}
	return 0;
}

static void tree_begin(struct summing *s)
{
	uint8_t blocks[8];

	le64_put(blocks, s->layer->info.blocks);
	sha256_init(&s->tree);
	sha256_update(&s->tree, sizeof(DOMAIN), (const uint8_t *)DOMAIN);
	sha256_update(&s->tree, sizeof(blocks), blocks);
}

/* Digest a layer whose content `fetch` hands over; its blocks' sums go to `map` unless that is -1.
 */
static int summing_do(struct layer *layer, layer_fetch *fetch, void *arg, int map,
		      uint8_t digest[STORE_DIGEST], struct error *err)
{
	struct summing s = {.layer = layer, .fetch = fetch, .arg = arg, .map = map};
	int ret = -ENOMEM;

	tree_begin(&s);
	s.content = calloc(LEAF_BLOCKS, STORE_BLOCK);
	s.sums_state = XXH3_createState();
	if (s.content && s.sums_state) {
		XXH3_64bits_reset(s.sums_state);
		ret = layer_for_each_run(layer, summing_run, &s, err);
	}
	if (ret == 0)
		ret = leaf_end(&s);
	if (ret == 0 && map >= 0) {
		ret = sums_put(&s);
		layer->sums_sum = XXH3_64bits_digest(s.sums_state);
	}
	if (ret == 0)
		sha256_digest(&s.tree, STORE_DIGEST, digest);
	free(s.content);
	XXH3_freeState(s.sums_state);
	return ret ? layer_error(layer, err, ret, error_name(ret)) : 0;
}

static int own_content(void *arg, uint64_t first, uint64_t count, void *bytes)
{
	return layer_read_bytes(arg, first * STORE_BLOCK, count * STORE_BLOCK, bytes);
}

/* Sums first, then the header that tells of them. */
static int header_digested(struct layer *layer, int map)
{
	int ret = layer->io->ops->datasync(layer->io, map);

	if (ret)
		return ret;
	layer->info.digested = true;
	ret = layer_header_write(layer, map);
	if (ret == 0)
		ret = layer->io->ops->datasync(layer->io, map);
	if (ret)
		layer->info.digested = false;
	return ret;
}

int layer_digest(struct layer *layer, struct error *err)
{
	int map, ret;

	if (!layer->info.sealed)
		return layer_error(layer, err, -EBUSY, "it is not sealed");
	if (layer->info.digested)
		return 0;
	map = layer_map_open(layer, O_RDWR);
	if (map < 0)
		return layer_error(layer, err, map, error_name(map));
	ret = summing_do(layer, own_content, layer, map, layer->info.digest, err);
	if (ret == 0) {
		ret = header_digested(layer, map);
		if (ret)
			layer_error(layer, err, ret, error_name(ret));
	}
	layer->io->ops->close(layer->io, map);
	return ret;
}

int layer_fill(struct layer *layer, layer_fetch *fetch, void *arg,
	       const uint8_t digest[STORE_DIGEST], struct error *err)
{
	int ret = summing_do(layer, fetch, arg, layer->map, layer->info.digest, err);

	if (ret)
		return ret;
	if (memcmp(layer->info.digest, digest, STORE_DIGEST) != 0)
		return -EBADMSG;
	/* The header gets to say so when it says "sealed". Until then the sums are durable: where
	 * there are any there are bits, which are synced to the same file before it. */
	layer->info.digested = true;
	return layer_seal(layer, err);
}

static int damaged(struct layer *layer, struct error *err, uint64_t block)
{
	char text[64];

	snprintf(text, sizeof(text), "block %llu is damaged", (unsigned long long)block);
	return layer_error(layer, err, -EBADMSG, text);
}

/* Scrub. */

struct scrub {
	struct layer *layer;
	uint64_t next, budget; /* where to begin; data blocks that may still be read */
	uint64_t rank;         /* of the next data block */
	const uint8_t *sums;
	uint64_t bad;
	uint8_t block[STORE_BLOCK];
};

/* Why a walk ends early; not failures of the walk. */
enum { SCRUB_ENOUGH = 1, SCRUB_DAMAGED };

static int scrub_run(void *arg, uint64_t first, uint64_t count, enum layer_state state)
{
	struct scrub *s = arg;

	if (state != LAYER_DATA)
		return 0;
	for (uint64_t block = first; block < first + count; block++, s->rank++) {
		int ret;

		if (block < s->next)
			continue;
		s->next = block;
		if (!s->budget)
			return SCRUB_ENOUGH;
		s->budget--;
		ret = layer_read_bytes(s->layer, block * STORE_BLOCK, STORE_BLOCK, s->block);
		if (ret)
			return ret;
		s->next = block + 1;
		if (XXH3_64bits(s->block, STORE_BLOCK) != le64_get(s->sums + 8 * s->rank)) {
			s->bad = block;
			return SCRUB_DAMAGED;
		}
	}
	return 0;
}

static int sums_read(struct layer *layer, uint8_t **out, struct error *err)
{
	size_t size = 8 * layer->info.data_blocks;
	uint8_t *sums = calloc(1, size + 1);
	int map, ret = sums ? 0 : -ENOMEM;

	if (ret == 0) {
		map = ret = layer_map_open(layer, O_RDONLY);
		if (map >= 0) {
			ret = store_io_read(layer->io, map, sums, size, layer_sums_offset(layer));
			layer->io->ops->close(layer->io, map);
		}
	}
	if (ret == 0 && XXH3_64bits(sums, size) != layer->sums_sum)
		ret = -EBADMSG;
	if (ret) {
		free(sums);
		return layer_error(layer, err, ret,
				   ret == -EBADMSG ? "its sums are damaged" : error_name(ret));
	}
	*out = sums;
	return 0;
}

int layer_scrub(struct layer *layer, uint64_t *next, uint64_t blocks, struct error *err)
{
	struct scrub s = {.layer = layer, .next = *next, .budget = blocks};
	uint8_t *sums = NULL;
	int ret;

	if (!layer->info.digested)
		return layer_error(layer, err, -ENODATA, "it has no sums yet");
	ret = sums_read(layer, &sums, err);
	if (ret)
		return ret;
	s.sums = sums;
	ret = layer_for_each_run(layer, scrub_run, &s, err);
	free(sums);
	*next = ret == 0 ? layer->info.blocks : s.next;
	if (ret == SCRUB_ENOUGH)
		return 0;
	if (ret == SCRUB_DAMAGED)
		return damaged(layer, err, s.bad);
	return ret ? layer_error(layer, err, ret, error_name(ret)) : 0;
}

int layer_verify_by(struct layer *layer, layer_fetch *fetch, void *arg, struct error *err)
{
	uint8_t digest[STORE_DIGEST];
	uint64_t next = 0;
	int ret;

	if (!layer->info.digested)
		return layer_error(layer, err, -ENODATA, "it has no digest yet");
	ret = summing_do(layer, fetch, arg, -1, digest, err);
	if (ret)
		return ret;
	if (memcmp(digest, layer->info.digest, sizeof(digest)) == 0)
		return 0;
	/* Which block is it? */
	ret = layer_scrub(layer, &next, UINT64_MAX, err);
	return ret ? ret : layer_error(layer, err, -EBADMSG, "its digest is not its content's");
}

int layer_verify(struct layer *layer, struct error *err)
{
	return layer_verify_by(layer, own_content, layer, err);
}
