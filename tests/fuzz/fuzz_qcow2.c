/* SPDX-License-Identifier: MIT */
/*
 * Anything as a qcow2 image: what every image has is put in, unless told not to. What map calls
 * zeroes reads as zeroes, and reads of whatever pieces, with or without a queue, agree.
 */
#include <sys/eventfd.h>
#include <unistd.h>

#include "block/block.h"
#include "block/file.h"
#include "block/qcow2_format.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/base/checked.h"
#include "vmm/base/log.h"

#define AS_IS     0x80
#define BACKING   0x40 /* names of other files are allowed */
#define V2        0x20
#define SPREAD    0x10 /* each chunk of the input begins a cluster */
#define STEPS     24u
#define READ_MAX  16384u
#define FILE_MAX  (128u << 10)
#define CHUNK     512u
#define KNOWN     0x1full
#define HEAD_SIZE 1u /* of an input: what is done with the rest */

static void repair(uint8_t *image, uint8_t how)
{
	uint32_t bits = be32_get(image + QCOW2_AT_CLUSTER_BITS);

	/* Small ones for the most part: they have their tables in the input. */
	if (bits < QCOW2_CLUSTER_BITS_MIN || bits > QCOW2_CLUSTER_BITS_MAX)
		bits = 9 + bits % 4;
	be32_put(image + QCOW2_AT_MAGIC, QCOW2_MAGIC);
	be32_put(image + QCOW2_AT_VERSION, how & V2 ? 2 : 3);
	be32_put(image + QCOW2_AT_CLUSTER_BITS, bits);
	be32_put(image + QCOW2_AT_CRYPT, 0);
	be64_put(image + QCOW2_AT_REFCOUNT_OFFSET, 1ull << bits);
	be32_put(image + QCOW2_AT_REFCOUNT_CLUSTERS, 1);
	if (how & V2)
		return;
	be64_put(image + QCOW2_AT_INCOMPATIBLE,
		 be64_get(image + QCOW2_AT_INCOMPATIBLE) & KNOWN & ~QCOW2_CORRUPT);
	be32_put(image + QCOW2_AT_REFCOUNT_ORDER, 4);
	be32_put(image + QCOW2_AT_LENGTH, QCOW2_HEADER_FULL);
	image[QCOW2_AT_COMPRESSION] =
		be64_get(image + QCOW2_AT_INCOMPATIBLE) & QCOW2_COMPRESSION ? QCOW2_ZSTD : 0;
}

/* Returns its size. */
static size_t image_make(uint8_t image[FILE_MAX], const uint8_t *from, size_t size, uint8_t how)
{
	uint32_t bits;
	size_t end = size;

	memset(image, 0, FILE_MAX);
	memcpy(image, from, size);
	if (how & AS_IS)
		return size;
	repair(image, how);
	bits = be32_get(image + QCOW2_AT_CLUSTER_BITS);
	if (how & SPREAD && bits <= 14) {
		memset(image + CHUNK, 0, FILE_MAX - CHUNK);
		for (size_t i = 1; i << bits < FILE_MAX && i * CHUNK < size; i++) {
			size_t n = size - i * CHUNK;

			memcpy(image + (i << bits), from + i * CHUNK, n < CHUNK ? n : CHUNK);
			end = (i + 1) << bits;
		}
	}
	return align_up(end < 4 * CHUNK ? 4 * CHUNK : end, CHUNK);
}

struct waited {
	struct block_request request;
	int result;
};

static void request_done(struct block_request *request, int result)
{
	((struct waited *)request)->result = result;
}

/* By way of a queue; twice, so that one waits while the other is read. */
static int queue_read(struct block *block, uint64_t offset, uint8_t *to, uint64_t length)
{
	struct block_queue *queue;
	int wake = eventfd(0, EFD_CLOEXEC);
	struct iovec iov = {.iov_base = to, .iov_len = length};
	struct waited w[2];

	FUZZ_CHECK(wake >= 0);
	FUZZ_CHECK(block_queue_create(block, ARRAY_SIZE(w), &queue, NULL) == 0);
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++) {
		w[i] = (struct waited){
			.request = {.op = BLOCK_READ,
				    .offset = offset,
				    .length = length,
				    .iov = &iov,
				    .iov_count = 1,
				    .done = request_done},
			.result = 1,
		};
		block_submit(queue, &w[i].request);
	}
	FUZZ_CHECK(block_wait(queue, wake, true) == 0);
	FUZZ_CHECK(w[0].result <= 0 && w[1].result == w[0].result);
	FUZZ_CHECK(block_in_flight(queue) == 0);
	block_queue_destroy(queue);
	close(wake);
	return w[0].result;
}

static void range_check(struct block *block, uint64_t offset, uint64_t length, bool zero)
{
	static uint8_t whole[READ_MAX], pieces[READ_MAX];
	int ret, first, second;
	uint64_t cut;

	if (length > READ_MAX)
		length = READ_MAX;
	cut = length / 3;
	ret = block_read(block, offset, whole, length);
	first = block_read(block, offset, pieces, cut);
	second = block_read(block, offset + cut, pieces + cut, length - cut);
	FUZZ_CHECK((ret == 0) == (first == 0 && second == 0));
	FUZZ_CHECK(ret || memcmp(whole, pieces, length) == 0);
	FUZZ_CHECK(!zero || (ret == 0 && file_is_zero(whole, length)));
	if (offset % BLOCK_SECTOR || length % BLOCK_SECTOR)
		return;
	FUZZ_CHECK((queue_read(block, offset, pieces, length) == 0) == (ret == 0));
	FUZZ_CHECK(ret || memcmp(whole, pieces, length) == 0);
}

/* Some steps along the image from there. */
static void walk(struct block *block, uint64_t at)
{
	uint64_t size = block_info(block)->size, run;

	for (unsigned i = 0; i < STEPS && at < size; i++, at += run) {
		enum block_status status;
		int ret = block_map(block, at, size - at, &status, &run);

		FUZZ_CHECK(ret <= 0);
		if (ret) {
			uint8_t byte;

			FUZZ_CHECK(block_read(block, at, &byte, 1) < 0);
			run = BLOCK_SECTOR;
			continue;
		}
		FUZZ_CHECK(run > 0 && run <= size - at);
		range_check(block, at, run, status == BLOCK_ZERO);
		if (run > READ_MAX)
			range_check(block, at + run - READ_MAX, READ_MAX, status == BLOCK_ZERO);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct block_options options = {.read_only = true, .no_lock = true};
	static uint8_t image[FILE_MAX];
	char path[FUZZ_PATH_MAX];
	struct block *block = NULL;
	struct error err = {0};
	int fd;

	log_set_level(LOG_ERROR);
	if (size < HEAD_SIZE || size - HEAD_SIZE > FILE_MAX)
		return 0;
	size -= HEAD_SIZE;
	size = image_make(image, data + HEAD_SIZE, size, data[0]);
	fd = fuzz_file(image, size, path);
	options.path = path;
	options.allow_backing = data[0] & BACKING;
	if (block_open("qcow2", &options, &block, &err) == 0) {
		FUZZ_CHECK(block_info(block)->size && block_info(block)->size <= INT64_MAX);
		walk(block, 0);
		walk(block, block_info(block)->size / 2);
		walk(block, block_info(block)->size - BLOCK_SECTOR);
		block_close(block);
	} else {
		FUZZ_CHECK(err.what[0]);
	}
	close(fd);
	return 0;
}
