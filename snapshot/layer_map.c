/* SPDX-License-Identifier: MIT */
/*
 * The file ID.map, little-endian:
 *
 *	0	magic "LODGELYR"
 *	8	version (1), encoding (0: identity), flags (1 sealed, 2 digested), bytes a block: 32
 *bits each 24	blocks, data blocks, zero blocks (both when sealed), session: 64 bits each 56
 *XXH3-64 of the bits (when sealed): of number and bytes of each page that is not all zeroes 64 the
 *layer's id, 16 bytes 80	SHA-256 of all it says (when digested), 32 bytes 112	XXH3-64 of
 *the sums (when digested) 504	XXH3-64 of the 504 bytes before: the header is one sector, which no
 *crash tears
 *	4096	two bits a block, the first block in the lowest ones: 0 absent, 1 data, 2 zero;
 *holes of the file are absent blocks. Up to whole pages. then	XXH3-64 of each data block, in order
 *(when digested)
 *
 * All of it may come from elsewhere: each field is checked once, here. While a layer is not sealed,
 * a page of bits that a crash tore is harmless: either bit is true of data that was synced.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/layer_impl.h"
#include "vmm/base/bytes.h"

#define MAGIC         "LODGELYR"
#define VERSION       1u
#define ENCODING      0u
#define FLAG_SEALED   1u
#define FLAG_DIGESTED 2u
#define HEADER_SUM    (LAYER_HEADER - 8)
#define PIECE         (16u * MAP_PAGE)
#define ALL_DATA      0x5555555555555555ull /* 32 blocks in one word */
#define WORD_BLOCKS   (8u * BLOCKS_PER_BYTE)

bool page_is_zero(const uint8_t *bits)
{
	uint64_t any = 0;

	for (unsigned i = 0; i < MAP_PAGE; i += 8)
		any |= le64_get(bits + i);
	return !any;
}

int bits_sum_begin(struct bits_sum *sum)
{
	sum->state = XXH3_createState();
	if (!sum->state)
		return -ENOMEM;
	XXH3_64bits_reset(sum->state);
	return 0;
}

void bits_sum_add(struct bits_sum *sum, uint64_t index, const uint8_t *bits)
{
	uint8_t number[8];

	le64_put(number, index);
	XXH3_64bits_update(sum->state, number, sizeof(number));
	XXH3_64bits_update(sum->state, bits, MAP_PAGE);
}

uint64_t bits_sum_end(struct bits_sum *sum)
{
	uint64_t value = XXH3_64bits_digest(sum->state);

	XXH3_freeState(sum->state);
	sum->state = NULL;
	return value;
}

int layer_header_parse(const void *bytes, const struct store_id *id, struct layer_header *out)
{
	const uint8_t *h = bytes;
	struct layer_info info = {.id = *id, .blocks = le64_get(h + 24)};
	uint32_t flags = le32_get(h + 16);

	if (memcmp(h, MAGIC, 8) != 0 || le64_get(h + HEADER_SUM) != XXH3_64bits(h, HEADER_SUM))
		return -EBADMSG;
	if (le32_get(h + 8) != VERSION || le32_get(h + 12) != ENCODING ||
	    flags & ~(FLAG_SEALED | FLAG_DIGESTED) || le32_get(h + 20) != STORE_BLOCK)
		return -EPROTONOSUPPORT;
	info.sealed = flags & FLAG_SEALED;
	info.digested = flags & FLAG_DIGESTED;
	info.data_blocks = le64_get(h + 32);
	info.zero_blocks = le64_get(h + 40);
	memcpy(info.digest, h + 80, STORE_DIGEST);
	if (memcmp(h + 64, id, sizeof(*id)) != 0 || !info.blocks ||
	    info.blocks > STORE_BLOCKS_MAX || info.data_blocks > info.blocks ||
	    info.zero_blocks > info.blocks - info.data_blocks || (info.digested && !info.sealed))
		return -EBADMSG;
	out->info = info;
	out->session = le64_get(h + 48);
	out->bits_sum = le64_get(h + 56);
	out->sums_sum = le64_get(h + 112);
	return 0;
}

int layer_header_read(struct layer *layer, int map, struct error *err)
{
	uint8_t bytes[LAYER_HEADER] = {0};
	struct layer_header header;
	struct store_stat st;
	uint64_t size;
	int ret = store_io_read(layer->io, map, bytes, sizeof(bytes), 0);

	if (ret == 0)
		ret = layer_header_parse(bytes, &layer->info.id, &header);
	if (ret == -EPROTONOSUPPORT)
		return layer_error(layer, err, ret, "its format is a newer lodge's");
	if (ret)
		return layer_error(layer, err, ret,
				   ret == -EBADMSG ? "its map is damaged" : error_name(ret));
	layer->info = header.info;
	layer->session = header.session;
	layer->bits_sum = header.bits_sum;
	layer->sums_sum = header.sums_sum;
	size = layer_sums_offset(layer);
	if (header.info.digested)
		size += 8 * header.info.data_blocks;
	ret = layer->io->ops->stat(layer->io, map, &st);
	if (ret)
		return layer_error(layer, err, ret, error_name(ret));
	/* Behind it there may be sums that a crash kept from being told of. */
	return st.size < size ? layer_error(layer, err, -EBADMSG, "its map was cut off") : 0;
}

int layer_header_write(struct layer *layer, int map)
{
	const struct layer_info *info = &layer->info;
	uint8_t h[LAYER_HEADER] = {0};

	memcpy(h, MAGIC, 8);
	le32_put(h + 8, VERSION);
	le32_put(h + 12, ENCODING);
	le32_put(h + 16, (info->sealed ? FLAG_SEALED : 0) | (info->digested ? FLAG_DIGESTED : 0));
	le32_put(h + 20, STORE_BLOCK);
	le64_put(h + 24, info->blocks);
	le64_put(h + 32, info->data_blocks);
	le64_put(h + 40, info->zero_blocks);
	le64_put(h + 48, layer->session);
	le64_put(h + 56, layer->bits_sum);
	memcpy(h + 64, &info->id, sizeof(info->id));
	memcpy(h + 80, info->digest, STORE_DIGEST);
	le64_put(h + 112, layer->sums_sum);
	le64_put(h + HEADER_SUM, XXH3_64bits(h, HEADER_SUM));
	return store_io_write(layer->io, map, h, sizeof(h), 0);
}

/* Runs. */

static int run_add(struct run_merger *m, uint64_t first, uint64_t count, enum layer_state state)
{
	int ret = 0;

	if (state == LAYER_DATA)
		m->data += count;
	else
		m->zero += count;
	if (m->data > m->data_max || m->zero > m->zero_max)
		return -EBADMSG;
	if (m->count && m->state == state && m->first + m->count == first) {
		m->count += count;
		return 0;
	}
	if (m->count)
		ret = m->visit(m->arg, m->first, m->count, m->state);
	m->first = first;
	m->count = count;
	m->state = state;
	return ret;
}

/* One word's blocks, the first in the lowest bits. */
static int word_add(struct run_merger *m, uint64_t block, uint64_t word, uint64_t blocks)
{
	for (; word; word >>= 2, block++) {
		unsigned state = word & 3;
		int ret;

		if (!state)
			continue;
		if (state > LAYER_ZERO || block >= blocks)
			return -EBADMSG;
		ret = run_add(m, block, 1, (enum layer_state)state);
		if (ret)
			return ret;
	}
	return 0;
}

int run_merger_add(struct run_merger *m, uint64_t block, const uint8_t *bytes, size_t size,
		   uint64_t blocks)
{
	int ret = 0;

	for (size_t i = 0; i < size && ret == 0; i += 8, block += WORD_BLOCKS) {
		uint64_t word = le64_get(bytes + i);

		if (word == ALL_DATA && block + WORD_BLOCKS <= blocks)
			ret = run_add(m, block, WORD_BLOCKS, LAYER_DATA);
		else if (word)
			ret = word_add(m, block, word, blocks);
	}
	return ret;
}

int run_merger_end(struct run_merger *m)
{
	return m->count ? m->visit(m->arg, m->first, m->count, m->state) : 0;
}

/* Pages of a file. */

int layer_map_open(struct layer *layer, int flags)
{
	char path[STORE_IO_PATH_MAX];

	store_path(path, STORE_LAYERS, &layer->info.id, ".map");
	return store_io_open(layer->io, path, flags);
}

int layer_map_pages(struct layer *layer, int map,
		    int (*visit)(void *arg, uint64_t index, const uint8_t *bits), void *arg)
{
	uint64_t end = layer_sums_offset(layer), at = MAP_BITS, stop;
	uint8_t *piece = malloc(PIECE);
	int ret;

	if (!piece)
		return -ENOMEM;
	while ((ret = store_io_next_data(layer->io, map, end, &at, &stop)) > 0) {
		at -= at % MAP_PAGE;
		while (at < stop) {
			uint64_t size = end - at < PIECE ? end - at : PIECE;

			ret = store_io_read(layer->io, map, piece, size, at);
			for (uint64_t i = 0; i < size && ret == 0; i += MAP_PAGE)
				if (!page_is_zero(piece + i))
					ret = visit(arg, (at + i - MAP_BITS) / MAP_PAGE, piece + i);
			if (ret)
				goto done;
			at += size;
		}
	}
done:
	free(piece);
	return ret;
}

struct map_walk {
	struct layer *layer;
	struct run_merger merger;
	struct bits_sum sum;
};

static int map_walk_page(void *arg, uint64_t index, const uint8_t *bits)
{
	struct map_walk *walk = arg;

	bits_sum_add(&walk->sum, index, bits);
	return run_merger_add(&walk->merger, index * BLOCKS_PER_PAGE, bits, MAP_PAGE,
			      walk->layer->info.blocks);
}

/* Of a sealed layer: what it sums up to must be what its header says. */
static int map_runs(struct layer *layer, layer_visit *visit, void *arg, struct error *err)
{
	struct map_walk walk = {.layer = layer,
				.merger = {.visit = visit,
					   .arg = arg,
					   .data_max = layer->info.data_blocks,
					   .zero_max = layer->info.zero_blocks}};
	int map = layer_map_open(layer, O_RDONLY), ret;

	if (map < 0)
		return layer_error(layer, err, map, error_name(map));
	ret = bits_sum_begin(&walk.sum);
	if (ret == 0) {
		uint64_t sum;

		ret = layer_map_pages(layer, map, map_walk_page, &walk);
		sum = bits_sum_end(&walk.sum);
		if (ret == 0)
			ret = run_merger_end(&walk.merger);
		if (ret == 0 &&
		    (sum != layer->bits_sum || walk.merger.data != layer->info.data_blocks ||
		     walk.merger.zero != layer->info.zero_blocks))
			ret = -EBADMSG;
	}
	layer->io->ops->close(layer->io, map);
	if (ret == -EBADMSG)
		layer_error(layer, err, ret, "its map is damaged");
	else if (ret < 0)
		layer_error(layer, err, ret, error_name(ret));
	return ret;
}

int layer_for_each_run(struct layer *layer,
		       int (*visit)(void *arg, uint64_t first, uint64_t count,
				    enum layer_state state),
		       void *arg, struct error *err)
{
	if (layer->pages) {
		int ret = layer_bits_runs(layer, visit, arg);

		return ret == -EBADMSG ? layer_error(layer, err, ret, "its map is damaged") : ret;
	}
	return map_runs(layer, visit, arg, err);
}
