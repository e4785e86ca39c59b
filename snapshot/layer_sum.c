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
#include <openssl/evp.h>
#include <openssl/sha.h>
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
	EVP_MD_CTX *tree, *leaf;
	uint64_t leaf_number;
	bool leaf_open;
	uint8_t bits[LEAF_BITS];
	uint8_t *content; /* of the leaf: LEAF_BLOCKS blocks */
	uint8_t *sums;    /* of all data blocks; NULL: not asked for */
	uint64_t done;    /* data blocks so far */
	uint8_t digest[STORE_DIGEST];
};

static int digest_begin(EVP_MD_CTX *context)
{
	return EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 ? 0 : -ENOMEM;
}

static int digest_add(EVP_MD_CTX *context, const void *bytes, size_t size)
{
	return EVP_DigestUpdate(context, bytes, size) == 1 ? 0 : -EIO;
}

static int digest_end(EVP_MD_CTX *context, uint8_t out[STORE_DIGEST])
{
	return EVP_DigestFinal_ex(context, out, NULL) == 1 ? 0 : -EIO;
}

static enum layer_state bit_state(const uint8_t *bits, uint64_t block)
{
	return (enum layer_state)(bits[block / BLOCKS_PER_BYTE] >> 2 * (block % BLOCKS_PER_BYTE) &
				  3);
}

/* Read the data blocks of the leaf, a run at a time, and add them. */
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
		ret = layer_read_bytes(s->layer, first * STORE_BLOCK,
				       (size_t)(end - at) * STORE_BLOCK, s->content);
		if (ret == 0)
			ret = digest_add(s->leaf, s->content, (size_t)(end - at) * STORE_BLOCK);
		for (unsigned i = 0; i < end - at && ret == 0; i++, s->done++)
			if (s->sums)
				le64_put(s->sums + 8 * s->done,
					 XXH3_64bits(s->content + (size_t)i * STORE_BLOCK,
						     STORE_BLOCK));
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
	ret = digest_begin(s->leaf);
	if (ret == 0)
		ret = digest_add(s->leaf, number, sizeof(number));
	if (ret == 0)
		ret = digest_add(s->leaf, s->bits, sizeof(s->bits));
	if (ret == 0)
		ret = leaf_content(s);
	if (ret == 0)
		ret = digest_end(s->leaf, digest);
	memset(s->bits, 0, sizeof(s->bits));
	return ret ? ret : digest_add(s->tree, digest, sizeof(digest));
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

static int tree_begin(struct summing *s)
{
	uint8_t blocks[8];
	int ret = digest_begin(s->tree);

	le64_put(blocks, s->layer->info.blocks);
	if (ret == 0)
		ret = digest_add(s->tree, DOMAIN, sizeof(DOMAIN));
	return ret ? ret : digest_add(s->tree, blocks, sizeof(blocks));
}

/* Digest a sealed layer, and its blocks if `sums` is there to take theirs. */
static int summing_do(struct layer *layer, uint8_t *sums, uint8_t digest[STORE_DIGEST],
		      struct error *err)
{
	struct summing s = {.layer = layer, .sums = sums};
	int ret = -ENOMEM;

	s.tree = EVP_MD_CTX_new();
	s.leaf = EVP_MD_CTX_new();
	s.content = calloc(LEAF_BLOCKS, STORE_BLOCK);
	if (s.tree && s.leaf && s.content)
		ret = tree_begin(&s);
	if (ret == 0)
		ret = layer_for_each_run(layer, summing_run, &s, err);
	if (ret == 0)
		ret = leaf_end(&s);
	if (ret == 0)
		ret = digest_end(s.tree, digest);
	EVP_MD_CTX_free(s.tree);
	EVP_MD_CTX_free(s.leaf);
	free(s.content);
	return ret ? layer_error(layer, err, ret, error_name(ret)) : 0;
}

static int map_open(struct layer *layer, int flags)
{
	char path[STORE_IO_PATH_MAX];

	store_path(path, STORE_LAYERS, &layer->info.id, ".map");
	return store_io_open(layer->io, path, flags);
}

/* Sums first, then the header that tells of them. */
static int sums_write(struct layer *layer, int map, const uint8_t *sums)
{
	size_t size = 8 * layer->info.data_blocks;
	int ret = store_io_write(layer->io, map, sums, size, layer_sums_offset(layer));

	if (ret == 0)
		ret = layer->io->ops->datasync(layer->io, map);
	if (ret)
		return ret;
	layer->sums_sum = XXH3_64bits(sums, size);
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
	uint8_t *sums = NULL;
	int map, ret;

	if (!layer->info.sealed)
		return layer_error(layer, err, -EBUSY, "it is not sealed");
	if (layer->info.digested)
		return 0;
	sums = calloc(layer->info.data_blocks + 1, 8);
	if (!sums)
		return layer_error(layer, err, -ENOMEM, "no memory for its sums");
	ret = summing_do(layer, sums, layer->info.digest, err);
	if (ret == 0) {
		map = ret = map_open(layer, O_RDWR);
		if (map >= 0) {
			ret = sums_write(layer, map, sums);
			layer->io->ops->close(layer->io, map);
		}
		if (ret)
			layer_error(layer, err, ret, error_name(ret));
	}
	free(sums);
	return ret;
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
		map = ret = map_open(layer, O_RDONLY);
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

int layer_verify(struct layer *layer, struct error *err)
{
	uint8_t digest[STORE_DIGEST];
	uint64_t next = 0;
	int ret;

	if (!layer->info.digested)
		return layer_error(layer, err, -ENODATA, "it has no digest yet");
	ret = summing_do(layer, NULL, digest, err);
	if (ret)
		return ret;
	if (memcmp(digest, layer->info.digest, sizeof(digest)) == 0)
		return 0;
	/* Which block is it? */
	ret = layer_scrub(layer, &next, UINT64_MAX, err);
	return ret ? ret : layer_error(layer, err, -EBADMSG, "its digest is not its content's");
}
