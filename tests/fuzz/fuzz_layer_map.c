/* SPDX-License-Identifier: MIT */
/*
 * Anything as ID.map, beside a data file of some size: opened, walked, read and scrubbed. The first
 * byte says whether the header's magic, id and sum are put right first, without which little would
 * get in.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "tests/fuzz/fuzz.h"

#include <fcntl.h>

#include "snapshot/layer.h"
#include "snapshot/stack.h"
#include "tests/sim_disk.h"

#define ID       "0123456789abcdef0123456789abcdef"
#define MAP      "layers/" ID ".map"
#define DATA     "layers/" ID ".data"
#define HEADER   512u
#define FILE_MAX (120u << 10)

static void file_put(struct store_io *io, const char *path, const void *bytes, size_t size,
		     uint64_t length)
{
	int file = store_io_open(io, path, O_RDWR | O_CREAT);

	FUZZ_CHECK(file >= 0 && store_io_truncate(io, file, length) == 0);
	FUZZ_CHECK(size == 0 || store_io_write(io, file, bytes, size, 0) == 0);
	io->ops->close(io, file);
}

/* What the header says of bits and sums, where these fit. */
static void sums_make(uint8_t *map)
{
	uint64_t pages = (le64_get(map + 24) + 16383) / 16384, sums = 8 * le64_get(map + 32);
	XXH3_state_t *state = XXH3_createState();
	uint8_t number[8];

	FUZZ_CHECK(state);
	XXH3_64bits_reset(state);
	for (uint64_t i = 0; i < pages && (i + 2) * 4096 <= FILE_MAX; i++) {
		const uint8_t *page = map + (i + 1) * 4096;

		if (page[0] == 0 && memcmp(page, page + 1, 4095) == 0)
			continue;
		le64_put(number, i);
		XXH3_64bits_update(state, number, sizeof(number));
		XXH3_64bits_update(state, page, 4096);
	}
	le64_put(map + 56, XXH3_64bits_digest(state));
	XXH3_freeState(state);
	if (pages < 20 && sums <= FILE_MAX - (pages + 1) * 4096)
		le64_put(map + 112, XXH3_64bits(map + (pages + 1) * 4096, sums));
}

/* The bits of a small layer begin right behind the header in the input, not at 4096. */
static size_t map_make(const uint8_t *data, size_t size, uint8_t *map)
{
	size_t head = size < HEADER ? size : HEADER, bits = size - head;
	struct store_id id;

	memcpy(map, data, head);
	if (bits > FILE_MAX - 4096)
		bits = FILE_MAX - 4096;
	memcpy(map + 4096, data + head, bits);
	store_id_parse(ID, &id);
	memcpy(map, "LODGELYR", 8);
	le32_put(map + 8, 1);
	le32_put(map + 12, 0);
	le32_put(map + 20, STORE_BLOCK);
	memcpy(map + 64, &id, sizeof(id));
	sums_make(map);
	le64_put(map + HEADER - 8, XXH3_64bits(map, HEADER - 8));
	return FILE_MAX;
}

static int run_check(void *arg, uint64_t first, uint64_t count, enum layer_state state)
{
	struct layer *layer = arg;
	uint8_t block[STORE_BLOCK];

	FUZZ_CHECK(count && first < layer_info(layer)->blocks &&
		   count <= layer_info(layer)->blocks - first);
	FUZZ_CHECK(state == LAYER_DATA || state == LAYER_ZERO);
	FUZZ_CHECK(layer_read(layer, first + count - 1, 1, block, NULL) == 0);
	return 0;
}

static void layer_try(struct store *store, const struct store_id *id)
{
	struct error err = {0};
	struct layer *layer;
	struct stack *stack;
	uint64_t next = 0;
	int ret = layer_open(store, id, &layer, &err);

	FUZZ_CHECK(ret == 0 || (ret < 0 && err.what[0]));
	if (ret)
		return;
	layer_for_each_run(layer, run_check, layer, NULL);
	layer_scrub(layer, &next, 64, NULL);
	layer_verify(layer, NULL);
	layer_digest(layer, NULL);
	layer_close(layer);
	/* A stack that is smaller than the layer. */
	if (stack_open(store, id, 1, 17, &stack, NULL) == 0)
		stack_close(stack);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t map[FILE_MAX];
	struct sim_disk *disk = sim_disk_create(1);
	struct input in = {data, size};
	uint8_t how = input_u8(&in);
	struct store_io *io;
	struct store *store;
	struct store_id id;

	memset(map, 0, sizeof(map));
	FUZZ_CHECK(store_open(sim_disk_process(disk), &store, NULL) == 0);
	io = store_io(store);
	FUZZ_CHECK(store_id_parse(ID, &id) == 0);
	if (how & 1)
		file_put(io, MAP, in.at, in.left < FILE_MAX ? in.left : FILE_MAX, 0);
	else
		file_put(io, MAP, map, map_make(in.at, in.left, map), 0);
	file_put(io, DATA, "data", 4, (uint64_t)(how >> 1) * 1024);
	layer_try(store, &id);
	store_close(store);
	sim_disk_destroy(disk);
	return 0;
}
