/* SPDX-License-Identifier: MIT */
/*
 * virtio-blk over a real file, and over a disk that keeps requests. The status byte of each request
 * is spoilt before, so that a path which forgets it shows.
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include "devices/virtio/blk.h"
#include "tests/unit/fake_block.h"
#include "tests/unit/fake_transport.h"
#include "tests/unit/state_trip.h"

#define F_RO     (1ull << 5)
#define F_FLUSH  (1ull << 9)
#define F_RANGES (1ull << 13 | 1ull << 14)

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2, S_NONE = 0xee };

#define MEMORY_SIZE (16 * MIB)
#define RINGS       0x10000ull /* one each 0x4000 */
#define HEADER      0x100000ull
#define STATUS      0x101000ull
#define DATA        0x200000ull

#define DISK_SECTORS 2048u
#define SERIAL       "serial-0123456789abcdef" /* longer than fits */

struct fixture {
	struct guest_memory *memory;
	char path[64];
	int fd;
	struct block *block;
	struct fake_block fake;
	struct virtio_blk *blk;
	struct virtio_device *vdev;
	struct fake_transport transport;
	struct driver_ring ring[2];
	uint32_t length;     /* of the last used element */
	_Atomic bool paused; /* see pausing() */
};

static void *at(struct fixture *f, uint64_t gpa)
{
	return memory_at_write(f->memory, gpa, 1);
}

static void pattern(uint8_t *bytes, size_t size, unsigned seed)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(seed + i * 7 + (i >> 8));
}

static void device_start(struct fixture *f, uint64_t features, uint16_t ring_size)
{
	assert_true(fake_transport_negotiate(&f->transport, features | VIRTIO_F_VERSION_1));
	for (unsigned i = 0; i < f->vdev->queue_count; i++) {
		driver_ring_init(&f->ring[i], f->memory, ring_size, RINGS + 0x4000ull * i);
		fake_transport_queue(&f->transport, i, &f->ring[i]);
	}
	fake_transport_driver_ok(&f->transport);
	assert_true(f->vdev->running);
}

static struct fixture *fixture_create(void)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(memory_create(MEMORY_SIZE, &f->memory, NULL), 0);
	f->fd = -1;
	return f;
}

static void device_create(struct fixture *f, struct block *block, unsigned queues)
{
	struct virtio_blk_config config = {.block = block, .queues = queues, .serial = SERIAL};

	assert_int_equal(virtio_blk_create(f->memory, &config, &f->blk), 0);
	f->vdev = virtio_blk_device(f->blk);
	fake_transport_init(&f->transport, f->vdev);
}

static void file_create(struct fixture *f, bool read_only)
{
	static uint8_t sector[BLOCK_SECTOR];
	struct block_options options = {.path = f->path, .read_only = read_only};

	snprintf(f->path, sizeof(f->path), "/tmp/lodge-test-blk-XXXXXX");
	f->fd = mkostemp(f->path, O_CLOEXEC);
	assert_true(f->fd >= 0);
	for (unsigned i = 0; i < DISK_SECTORS; i++) {
		pattern(sector, sizeof(sector), i);
		assert_int_equal(pwrite(f->fd, sector, sizeof(sector), i * 512), 512);
	}
	assert_int_equal(block_open("raw", &options, &f->block, NULL), 0);
}

static int setup_file(void **state, bool read_only)
{
	struct fixture *f = fixture_create();

	file_create(f, read_only);
	device_create(f, f->block, 2);
	device_start(f, f->vdev->offered, 256);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return setup_file(state, false);
}

static int setup_read_only(void **state)
{
	return setup_file(state, true);
}

static int setup_fake(void **state)
{
	struct fixture *f = fixture_create();

	fake_block_init(&f->fake, DISK_SECTORS * 512ull);
	device_create(f, &f->fake.block, 1);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	virtio_blk_destroy(f->blk);
	fake_transport_fini(&f->transport);
	block_close(f->block);
	if (f->fd >= 0) {
		close(f->fd);
		unlink(f->path);
	}
	memory_destroy(f->memory);
	free(f);
	return 0;
}

static void header_put(struct fixture *f, uint32_t type, uint64_t sector)
{
	uint8_t *header = at(f, HEADER);

	le32_put(header, type);
	le32_put(header + 4, 0xdeadbeef); /* reserved */
	le64_put(header + 8, sector);
}

/* Send a chain to queue 0 and wait for it. */
static void chain_run(struct fixture *f, const struct driver_buffer *buffers, unsigned count)
{
	struct driver_ring *ring = &f->ring[0];
	uint16_t head = driver_ring_add(ring, buffers, count);
	uint32_t id;

	fake_transport_kick(&f->transport, 0);
	fake_transport_wait_used(&f->transport, ring, ring->offered);
	assert_true(driver_ring_take(ring, &id, &f->length));
	assert_int_equal(id, head);
}

/* Header, buffers of data, status. Returns the status. */
static uint8_t request(struct fixture *f, uint32_t type, uint64_t sector,
		       const struct driver_buffer *data, unsigned count)
{
	struct driver_buffer buffers[32] = {{HEADER, 16, false}};
	uint8_t *status = at(f, STATUS);

	assert_true(count + 2 <= ARRAY_SIZE(buffers));
	header_put(f, type, sector);
	for (unsigned i = 0; i < count; i++)
		buffers[i + 1] = data[i];
	buffers[count + 1] = (struct driver_buffer){STATUS, 1, true};
	*status = S_NONE;
	chain_run(f, buffers, count + 2);
	assert_int_not_equal(*status, S_NONE);
	return *status;
}

static uint8_t request_one(struct fixture *f, uint32_t type, uint64_t sector, uint64_t address,
			   uint32_t length, bool write)
{
	struct driver_buffer buffer = {address, length, write};

	return request(f, type, sector, &buffer, 1);
}

static void check_disk(struct fixture *f, uint64_t sector, const void *expected, size_t size)
{
	uint8_t *bytes = malloc(size);

	assert_non_null(bytes);
	assert_int_equal(pread(f->fd, bytes, size, (off_t)sector * 512), size);
	assert_memory_equal(bytes, expected, size);
	free(bytes);
}

static void configuration(void **state)
{
	struct fixture *f = *state;
	uint8_t c[60];

	f->vdev->ops->config_read(f->blk, 0, c, sizeof(c));
	assert_int_equal(le64_get(c), DISK_SECTORS);
	assert_int_equal(le32_get(c + 12), 510); /* seg_max: with header and status a full ring */
	assert_int_equal(le32_get(c + 20), 512);
	assert_int_equal(le16_get(c + 34), 2); /* queues */
	assert_int_equal(le32_get(c + 40), 1); /* segments of a discard ... */
	assert_int_equal(le32_get(c + 52), 1); /* ... and of a write of zeroes */
	assert_true(f->vdev->offered & F_FLUSH);
	assert_int_equal(f->vdev->offered & F_RANGES, F_RANGES);
	assert_false(f->vdev->offered & F_RO);
}

static void read_and_write(void **state)
{
	struct fixture *f = *state;
	uint8_t expected[4096];

	assert_int_equal(request_one(f, T_IN, 3, DATA, 512, true), S_OK);
	assert_int_equal(f->length, 513);
	pattern(expected, 512, 3);
	assert_memory_equal(at(f, DATA), expected, 512);

	pattern(expected, sizeof(expected), 99);
	memcpy(at(f, DATA), expected, sizeof(expected));
	assert_int_equal(request_one(f, T_OUT, 8, DATA, sizeof(expected), false), S_OK);
	assert_int_equal(f->length, 1);
	check_disk(f, 8, expected, sizeof(expected));
	pattern(expected, 512, 16);
	check_disk(f, 16, expected, 512); /* and no further */

	memset(at(f, DATA + 0x10000), 0, 4096);
	assert_int_equal(request_one(f, T_IN, 8, DATA + 0x10000, 4096, true), S_OK);
	assert_memory_equal(at(f, DATA), at(f, DATA + 0x10000), 4096);
}

/* 2.7.4.1: the device must not assume anything about how a request is laid out in descriptors. */
static void framing_header_split(void **state)
{
	static const struct driver_buffer buffers[] = {
		{HEADER, 1, false}, {HEADER + 1, 6, false}, {HEADER + 7, 9, false},
		{DATA, 511, true},  {DATA + 511, 1, true},  {STATUS, 1, true},
	};
	struct fixture *f = *state;
	uint8_t expected[512];

	header_put(f, T_IN, 5);
	*(uint8_t *)at(f, STATUS) = S_NONE;
	chain_run(f, buffers, ARRAY_SIZE(buffers));
	assert_int_equal(*(uint8_t *)at(f, STATUS), S_OK);
	pattern(expected, 512, 5);
	assert_memory_equal(at(f, DATA), expected, 512);
}

static void framing_status_with_data(void **state)
{
	static const struct driver_buffer buffers[] = {{HEADER, 16, false}, {DATA, 1025, true}};
	struct fixture *f = *state;
	uint8_t expected[512];

	header_put(f, T_IN, 7);
	((uint8_t *)at(f, DATA))[1024] = S_NONE;
	chain_run(f, buffers, 2);
	assert_int_equal(((uint8_t *)at(f, DATA))[1024], S_OK);
	assert_int_equal(f->length, 1025);
	pattern(expected, 512, 8);
	assert_memory_equal((uint8_t *)at(f, DATA) + 512, expected, 512);
}

static void framing_header_with_data(void **state)
{
	static const struct driver_buffer buffers[] = {{HEADER, 16 + 512, false},
						       {STATUS, 1, true}};
	struct fixture *f = *state;

	header_put(f, T_OUT, 11);
	pattern((uint8_t *)at(f, HEADER) + 16, 512, 77);
	*(uint8_t *)at(f, STATUS) = S_NONE;
	chain_run(f, buffers, 2);
	assert_int_equal(*(uint8_t *)at(f, STATUS), S_OK);
	check_disk(f, 11, (uint8_t *)at(f, HEADER) + 16, 512);
}

/* Buffers at odd addresses and of odd lengths, which O_DIRECT would refuse. */
static void framing_unaligned(void **state)
{
	struct driver_buffer buffers[] = {
		{DATA + 1, 100, false},
		{DATA + 0x1003, 3, false},
		{DATA + 0x2fff, 1433, false},
		{DATA + 0x8001, 512, false},
	};
	struct fixture *f = *state;
	uint8_t bytes[2048], *to = bytes;

	pattern(bytes, sizeof(bytes), 55);
	for (unsigned i = 0; i < ARRAY_SIZE(buffers); i++) {
		memcpy(at(f, buffers[i].address), to, buffers[i].length);
		to += buffers[i].length;
	}
	assert_int_equal(request(f, T_OUT, 21, buffers, ARRAY_SIZE(buffers)), S_OK);
	check_disk(f, 21, bytes, sizeof(bytes));
	for (unsigned i = 0; i < ARRAY_SIZE(buffers); i++) {
		memset(at(f, buffers[i].address), 0, buffers[i].length);
		buffers[i].write = true;
	}
	assert_int_equal(request(f, T_IN, 21, buffers, ARRAY_SIZE(buffers)), S_OK);
	to = bytes;
	for (unsigned i = 0; i < ARRAY_SIZE(buffers); i++) {
		assert_memory_equal(at(f, buffers[i].address), to, buffers[i].length);
		to += buffers[i].length;
	}
}

static void nothing_to_transfer(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(request(f, T_IN, 0, NULL, 0), S_OK);
	assert_int_equal(f->length, 1);
	assert_int_equal(request(f, T_OUT, DISK_SECTORS, NULL, 0), S_OK);
}

/* Data in the other direction than the type says is not touched. */
static void data_in_wrong_direction(void **state)
{
	struct fixture *f = *state;
	uint8_t expected[512];

	pattern(at(f, DATA), 512, 200);
	assert_int_equal(request_one(f, T_OUT, 30, DATA, 512, true), S_OK);
	pattern(expected, 512, 200);
	assert_memory_equal(at(f, DATA), expected, 512);
	assert_int_equal(request_one(f, T_IN, 30, DATA, 512, false), S_OK);
	pattern(expected, 512, 30);
	check_disk(f, 30, expected, 512);
}

static void bad_ranges(void **state)
{
	static const struct {
		uint64_t sector;
		uint32_t length;
		uint8_t status;
	} cases[] = {
		{DISK_SECTORS - 1, 512, S_OK},
		{DISK_SECTORS, 512, S_IOERR},
		{DISK_SECTORS - 1, 1024, S_IOERR},
		{1ull << 55, 512, S_IOERR},
		{1ull << 56, 512, S_IOERR},
		{~0ull, 512, S_IOERR},
		{(1ull << 55) - 1, 512, S_IOERR},
		{0, 511, S_IOERR},
		{0, 513, S_IOERR},
		{0, 1, S_IOERR},
		{0, DISK_SECTORS * 512, S_OK},
		{0, DISK_SECTORS * 512 + 512, S_IOERR},
	};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(request_one(f, T_IN, cases[i].sector, DATA, cases[i].length, true),
				 cases[i].status);
		assert_int_equal(
			request_one(f, T_OUT, cases[i].sector, DATA, cases[i].length, false),
			cases[i].status);
	}
}

static void header_too_short(void **state)
{
	static const struct driver_buffer buffers[] = {{HEADER, 15, false}, {STATUS, 1, true}};
	struct fixture *f = *state;

	header_put(f, T_FLUSH, 0);
	*(uint8_t *)at(f, STATUS) = S_NONE;
	chain_run(f, buffers, 2);
	assert_int_equal(*(uint8_t *)at(f, STATUS), S_IOERR);
	*(uint8_t *)at(f, STATUS) = S_NONE;
	chain_run(f, buffers + 1, 1); /* no header at all */
	assert_int_equal(*(uint8_t *)at(f, STATUS), S_IOERR);
}

/* There is nowhere to put a status, but the chain comes back. */
static void no_room_for_status(void **state)
{
	static const struct driver_buffer buffers[] = {{HEADER, 16, false}, {DATA, 512, false}};
	struct fixture *f = *state;
	uint8_t expected[512];

	header_put(f, T_OUT, 40);
	memset(at(f, DATA), 0xaa, 512);
	chain_run(f, buffers, 2);
	assert_int_equal(f->length, 0);
	pattern(expected, 512, 40);
	check_disk(f, 40, expected, 512);
	assert_int_equal(request_one(f, T_IN, 40, DATA, 512, true), S_OK);
}

static void unknown_types(void **state)
{
	static const uint32_t types[] = {2, 3, 5, 7, 9, 10, 12, 14, 16, 0x80000000u, 0xffffffffu};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(types); i++)
		assert_int_equal(request_one(f, types[i], 0, DATA, 512, true), S_UNSUPP);
}

static void flush(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(request(f, T_FLUSH, 0, NULL, 0), S_OK);
	/* 5.2.6.1 has the sector 0, but nothing hangs on it; nor on data. */
	assert_int_equal(request_one(f, T_FLUSH, ~0ull, DATA, 100, true), S_OK);
}

static void get_id(void **state)
{
	struct fixture *f = *state;
	char *id = at(f, DATA);

	memset(id, 'x', 64);
	assert_int_equal(request_one(f, T_GET_ID, 0, DATA, 20, true), S_OK);
	assert_int_equal(f->length, 21);
	assert_memory_equal(id, SERIAL, 20);
	assert_int_equal(id[20], 'x');

	memset(id, 'x', 64);
	assert_int_equal(request_one(f, T_GET_ID, 0, DATA, 5, true), S_OK); /* too small */
	assert_memory_equal(id, "seria", 5);
	assert_int_equal(id[5], 'x');
	assert_int_equal(request_one(f, T_GET_ID, 0, DATA, 64, true), S_OK); /* too large */
	assert_int_equal(request(f, T_GET_ID, 0, NULL, 0), S_OK);
}

static uint8_t range(struct fixture *f, uint32_t type, uint64_t sector, uint32_t sectors,
		     uint32_t flags)
{
	uint8_t *segment = at(f, DATA);

	le64_put(segment, sector);
	le32_put(segment + 8, sectors);
	le32_put(segment + 12, flags);
	return request_one(f, type, 0, DATA, 16, false);
}

static void write_zeroes(void **state)
{
	static const uint8_t zeroes[10 * 512];
	struct fixture *f = *state;
	uint8_t expected[512];

	for (uint32_t flags = 0; flags < 2; flags++) {
		assert_int_equal(range(f, T_WRITE_ZEROES, 101 + 20 * flags, 10, flags), S_OK);
		check_disk(f, 101 + 20 * flags, zeroes, sizeof(zeroes));
		pattern(expected, 512, 100 + 20 * flags);
		check_disk(f, 100 + 20 * flags, expected, 512);
		pattern(expected, 512, 111 + 20 * flags);
		check_disk(f, 111 + 20 * flags, expected, 512);
	}
	assert_int_equal(range(f, T_WRITE_ZEROES, 0, 1, 2), S_UNSUPP);
	assert_int_equal(range(f, T_WRITE_ZEROES, 0, 1, 0xffffffff), S_UNSUPP);
	assert_int_equal(range(f, T_WRITE_ZEROES, 0, 0, 0), S_OK);
}

static void discard(void **state)
{
	struct fixture *f = *state;
	uint8_t expected[512];

	assert_int_equal(range(f, T_DISCARD, 201, 10, 0), S_OK);
	pattern(expected, 512, 200);
	check_disk(f, 200, expected, 512);
	pattern(expected, 512, 211);
	check_disk(f, 211, expected, 512);
	/* 5.2.6.2: unmap has no meaning there. */
	assert_int_equal(range(f, T_DISCARD, 0, 1, 1), S_UNSUPP);
	assert_int_equal(range(f, T_DISCARD, 0, 1, 4), S_UNSUPP);
}

static void ranges_out_of_range(void **state)
{
	static const uint32_t types[] = {T_DISCARD, T_WRITE_ZEROES};
	struct fixture *f = *state;
	struct driver_buffer data = {DATA, 16, false};

	for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
		assert_int_equal(range(f, types[i], DISK_SECTORS - 1, 2, 0), S_IOERR);
		assert_int_equal(range(f, types[i], DISK_SECTORS, 1, 0), S_IOERR);
		assert_int_equal(range(f, types[i], 1ull << 55, 1, 0), S_IOERR);
		assert_int_equal(range(f, types[i], ~0ull, 1, 0), S_IOERR);
		assert_int_equal(range(f, types[i], 0, (1u << 22) + 1, 0), S_IOERR);
		assert_int_equal(range(f, types[i], 0, 0xffffffff, 0), S_IOERR);
		/* One segment, whole. */
		memset(at(f, DATA), 0, 64);
		data.length = 15;
		assert_int_equal(request(f, types[i], 0, &data, 1), S_IOERR);
		data.length = 32;
		assert_int_equal(request(f, types[i], 0, &data, 1), S_IOERR);
		assert_int_equal(request(f, types[i], 0, NULL, 0), S_IOERR);
	}
}

static void read_only_disk(void **state)
{
	struct fixture *f = *state;
	uint8_t expected[512];

	assert_true(f->vdev->offered & F_RO);
	assert_false(f->vdev->offered & F_RANGES);
	memset(at(f, DATA), 0xaa, 512);
	assert_int_equal(request_one(f, T_OUT, 1, DATA, 512, false), S_IOERR);
	assert_int_equal(range(f, T_DISCARD, 1, 1, 0), S_IOERR);
	assert_int_equal(range(f, T_WRITE_ZEROES, 1, 1, 0), S_IOERR);
	pattern(expected, 512, 1);
	check_disk(f, 1, expected, 512);
	assert_int_equal(request_one(f, T_IN, 1, DATA, 512, true), S_OK);
	assert_int_equal(request(f, T_FLUSH, 0, NULL, 0), S_OK);
}

/* A full ring at once, on both queues. */
static void many_requests(void **state)
{
	struct fixture *f = *state;
	uint8_t expected[512];
	unsigned count = 256 / 3;

	for (unsigned q = 0; q < 2; q++) {
		for (unsigned i = 0; i < count; i++) {
			uint64_t header = HEADER + 0x2000 + 16 * (count * q + i);
			uint64_t data = DATA + 0x100000 * q + 512 * i;
			struct driver_buffer buffers[] = {{header, 16, false},
							  {data, 512, true},
							  {STATUS + 1 + count * q + i, 1, true}};

			le32_put(at(f, header), T_IN);
			le64_put((uint8_t *)at(f, header) + 8, 2 * i + q);
			*(uint8_t *)at(f, STATUS + 1 + count * q + i) = S_NONE;
			driver_ring_add(&f->ring[q], buffers, 3);
		}
		fake_transport_kick(&f->transport, q);
	}
	for (unsigned q = 0; q < 2; q++) {
		fake_transport_wait_used(&f->transport, &f->ring[q], (uint16_t)count);
		for (unsigned i = 0; i < count; i++) {
			pattern(expected, 512, 2 * i + q);
			assert_memory_equal(at(f, DATA + 0x100000 * q + 512 * i), expected, 512);
			assert_int_equal(*(uint8_t *)at(f, STATUS + 1 + count * q + i), S_OK);
		}
	}
}

/* A chain that breaks the queue asks for a reset; after it the disk works again. */
static void malformed_chain(void **state)
{
	struct fixture *f = *state;

	driver_ring_offer(&f->ring[0], 256);
	fake_transport_kick(&f->transport, 0);
	fake_transport_wait(&f->transport);
	assert_true(atomic_load(&f->vdev->status) & VIRTIO_STATUS_NEEDS_RESET);
	assert_int_equal(atomic_load(&f->transport.config_interrupts), 1);
	fake_transport_kick(&f->transport, 0); /* deaf until then */
	fake_transport_reset(&f->transport);
	assert_int_equal(atomic_load(&f->vdev->status), 0);
	device_start(f, f->vdev->offered, 256);
	assert_int_equal(request_one(f, T_IN, 3, DATA, 512, true), S_OK);
}

/* A kick of the last life is not lost on the next one: the queue is looked at anyway. */
static void reset_and_start_again(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 20; i++) {
		uint64_t features = i % 2 ? f->vdev->offered : VIRTIO_F_VERSION_1;

		fake_transport_reset(&f->transport);
		assert_false(f->vdev->running);
		device_start(f, features, (uint16_t)(4 << i % 4));
		assert_int_equal(request_one(f, T_IN, i, DATA, 512, true), S_OK);
	}
}

static void rings_outside_of_memory(void **state)
{
	struct fixture *f = *state;

	assert_true(fake_transport_negotiate(&f->transport, VIRTIO_F_VERSION_1));
	driver_ring_init(&f->ring[0], f->memory, 8, RINGS);
	f->ring[0].used = MEMORY_SIZE;
	fake_transport_queue(&f->transport, 0, &f->ring[0]);
	fake_transport_driver_ok(&f->transport);
	assert_false(f->vdev->running);
	assert_true(atomic_load(&f->vdev->status) & VIRTIO_STATUS_NEEDS_RESET);
}

/* Results of the disk become status bytes. */
static void disk_errors(void **state)
{
	static const struct {
		int result;
		uint8_t status;
	} cases[] = {{0, S_OK},
		     {-EIO, S_IOERR},
		     {-ENOSPC, S_IOERR},
		     {-ENOMEM, S_IOERR},
		     {-EOPNOTSUPP, S_UNSUPP}};
	struct fixture *f = *state;

	device_start(f, f->vdev->offered, 8);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		atomic_store(&f->fake.result, cases[i].result);
		assert_int_equal(request_one(f, T_IN, 0, DATA, 512, true), cases[i].status);
		assert_int_equal(request_one(f, T_OUT, 0, DATA, 512, false), cases[i].status);
		assert_int_equal(range(f, T_DISCARD, 0, 1, 0), cases[i].status);
	}
}

/* 5.2.6.2: without FLUSH a driver believes that a write is there when it completes. */
static void write_through_without_flush(void **state)
{
	struct fixture *f = *state;

	device_start(f, f->vdev->offered, 8);
	assert_int_equal(request_one(f, T_OUT, 0, DATA, 512, false), S_OK);
	assert_false(f->fake.last.durable);
	fake_transport_reset(&f->transport);
	device_start(f, f->vdev->offered & ~F_FLUSH, 8);
	assert_int_equal(request_one(f, T_OUT, 0, DATA, 512, false), S_OK);
	assert_true(f->fake.last.durable);
}

/*
 * A driver that offers chains before it got the last ones back: the device takes as many as the
 * ring has entries, and the others when it has given some back.
 */
static void deeper_than_the_queue(void **state)
{
	static const struct driver_buffer buffers[] = {
		{HEADER, 16, false}, {DATA, 512, true}, {STATUS, 1, true}};
	struct fixture *f = *state;
	struct driver_ring *ring = &f->ring[0];
	unsigned offered = 0;

	device_start(f, VIRTIO_F_VERSION_1, 4);
	header_put(f, T_IN, 0);
	driver_ring_chain(ring, buffers, 3);
	atomic_store(&f->fake.holding, true);
	/* Four are taken, then four more are offered. */
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 4; i++, offered++)
			driver_ring_offer(ring, 0);
		fake_transport_kick(&f->transport, 0);
		while (atomic_load(&f->fake.held) < 4)
			sched_yield();
	}
	assert_int_equal(atomic_load(&f->fake.total), 4);
	atomic_store(&f->fake.holding, false);
	fake_transport_kick(&f->transport, 0);
	fake_transport_wait_used(&f->transport, ring, (uint16_t)offered);
	assert_int_equal(atomic_load(&f->fake.total), offered);
}

/* A reset waits for what is under way, and gives it back to nobody. */
static void reset_with_requests_in_flight(void **state)
{
	static const struct driver_buffer buffers[] = {
		{HEADER, 16, false}, {DATA, 512, true}, {STATUS, 1, true}};
	struct fixture *f = *state;

	device_start(f, VIRTIO_F_VERSION_1, 8);
	header_put(f, T_IN, 0);
	atomic_store(&f->fake.holding, true);
	driver_ring_add(&f->ring[0], buffers, 3);
	fake_transport_kick(&f->transport, 0);
	while (atomic_load(&f->fake.held) < 1)
		sched_yield();
	/* The wake-up by the reset finds it released. */
	atomic_store(&f->fake.holding, false);
	fake_transport_reset(&f->transport);
	assert_int_equal(atomic_load(&f->fake.held), 0);
	device_start(f, VIRTIO_F_VERSION_1, 8);
	assert_int_equal(request_one(f, T_IN, 0, DATA, 512, true), S_OK);
}

static void *pausing(void *arg)
{
	struct fixture *f = arg;

	virtio_pause(f->vdev);
	atomic_store(&f->paused, true);
	return NULL;
}

/* A pause waits for what is in flight; what comes meanwhile is seen to behind the resume. */
static void paused_and_saved(void **state)
{
	struct fixture *f = *state;
	static const struct driver_buffer buffers[] = {
		{HEADER, 16, false}, {DATA, 512, true}, {STATUS, 1, true}};
	struct state_bytes s;
	pthread_t thread;
	bool early;

	device_start(f, f->vdev->offered, 16);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(request_one(f, T_IN, 0, DATA, 512, true), S_OK);
	atomic_store(&f->fake.holding, true);
	driver_ring_add(&f->ring[0], buffers, 3);
	fake_transport_kick(&f->transport, 0);
	while (atomic_load(&f->fake.held) != 1)
		sched_yield();
	assert_int_equal(pthread_create(&thread, NULL, pausing, f), 0);
	usleep(20000); /* which a pause that waits for nothing needs not */
	early = atomic_load(&f->paused);
	assert_int_equal(driver_ring_used_index(&f->ring[0]), 20);
	atomic_store(&f->fake.holding, false);
	fake_transport_kick(&f->transport, 0);
	pthread_join(thread, NULL);
	assert_false(early);
	assert_int_equal(driver_ring_used_index(&f->ring[0]), 21);
	driver_ring_add(&f->ring[0], buffers, 3);
	fake_transport_kick(&f->transport, 0);
	assert_int_equal(atomic_load(&f->fake.total), 21);
	s = state_save(state_virtio, f->vdev);
	virtio_blk_destroy(f->blk);
	fake_transport_fini(&f->transport);
	device_create(f, &f->fake.block, 1);
	state_arrive(state_virtio, f->vdev, &s);
	assert_int_equal(atomic_load(&f->fake.total), 21);
	virtio_resume(f->vdev);
	fake_transport_wait_used(&f->transport, &f->ring[0], 22);
	f->ring[0].seen = 22;
	assert_int_equal(request_one(f, T_IN, 0, DATA, 512, true), S_OK);
}

static void refused_state(struct fixture *f, struct state_bytes *s, const char *words)
{
	struct error err = {0};

	virtio_blk_destroy(f->blk);
	fake_transport_fini(&f->transport);
	device_create(f, &f->fake.block, 1);
	assert_true(state_load(state_virtio, f->vdev, s, &err) < 0);
	if (!strstr(err.what, words))
		fail_msg("'%s' is not in '%s'", words, err.what);
}

/* Fields from the start of the first section: see virtio_state.c. */
static void states_refused(void **state)
{
	const size_t queue = 12 + 32 + 8 + 1 + 1 + 1 + 4, desc = queue + 6, positions = desc + 24;
	struct fixture *f = *state;
	struct state_bytes s;

	device_start(f, f->vdev->offered, 16);
	virtio_pause(f->vdev);
	s = state_save(state_virtio, f->vdev);
	s.bytes[desc + 5] = 1;
	refused_state(f, &s, "queue 0 lies outside of memory");
	s.bytes[desc + 5] = 0;
	s.bytes[positions] ^= 17;
	refused_state(f, &s, "queue 0: an impossible position");
	s.bytes[positions] ^= 17;
	s.bytes[queue] ^= 1;
	refused_state(f, &s, "queue 0 lies outside of memory"); /* no power of two */
	s.bytes[queue] ^= 1;
	s.bytes[44 + 7] = 0x80;
	refused_state(f, &s, "features 0x8000000000000000");
	s.bytes[44 + 7] = 0;
	s.bytes[44 + 8] ^= VIRTIO_STATUS_DRIVER_OK;
	refused_state(f, &s, "without a driver");
	s.bytes[44 + 8] ^= VIRTIO_STATUS_DRIVER_OK;
	f->fake.block.info.size += 512;
	refused_state(f, &s, "had 2048 sectors, this one has 2049");
	free(s.bytes);
}

#define TEST(name)      cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_FAKE(name) cmocka_unit_test_setup_teardown(name, setup_fake, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(configuration),
		TEST(read_and_write),
		TEST(framing_header_split),
		TEST(framing_status_with_data),
		TEST(framing_header_with_data),
		TEST(framing_unaligned),
		TEST(nothing_to_transfer),
		TEST(data_in_wrong_direction),
		TEST(bad_ranges),
		TEST(header_too_short),
		TEST(no_room_for_status),
		TEST(unknown_types),
		TEST(flush),
		TEST(get_id),
		TEST(write_zeroes),
		TEST(discard),
		TEST(ranges_out_of_range),
		TEST(many_requests),
		TEST(malformed_chain),
		TEST(reset_and_start_again),
		cmocka_unit_test_setup_teardown(read_only_disk, setup_read_only, teardown),
		TEST_FAKE(rings_outside_of_memory),
		TEST_FAKE(disk_errors),
		TEST_FAKE(write_through_without_flush),
		TEST_FAKE(deeper_than_the_queue),
		TEST_FAKE(reset_with_requests_in_flight),
		cmocka_unit_test_setup_teardown(paused_and_saved, setup_fake, teardown),
		cmocka_unit_test_setup_teardown(states_refused, setup_fake, teardown),
	};

	log_set_level(LOG_ERROR); /* each bad request would say so */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
