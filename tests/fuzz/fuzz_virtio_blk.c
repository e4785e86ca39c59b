/* SPDX-License-Identifier: MIT */
/*
 * Requests of all types to the real device on a small disk, its threads and io_uring included. With
 * the rules kept every request completes, well-formed ones succeed, and what is read is what was
 * written. Resets come at any time; nothing may be written to memory after one.
 */
#include "devices/virtio/blk.h"

#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/virtio_guest.h"
#include "vmm/base/checked.h"

#define DISK_SIZE   0x10000u
#define QUEUES      2u
#define BIG         (QUEUES * QUEUE_MEMORY) /* a buffer that all may share */
#define BIG_SIZE    0x100000u
#define MEMORY      (BIG + BIG_SIZE)
#define HEADER_AT   0u /* in a chain's own buffer */
#define STATUS_AT   64u
#define DATA_AT     512u
#define UNTOUCHED   0xa5
#define BATCH_MAX   64u
#define F_FLUSH     (1ull << 9)
#define F_MQ        (1ull << 12)
#define STATUS_NONE 0xff

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum expectation { ANY, SUCCESS, FAILURE };

struct request {
	enum expectation expectation;
	uint32_t type;
	uint64_t sector;
	uint64_t status_at; /* guest-physical; 0: not to be checked */
	uint32_t data_bytes;
	uint32_t sectors; /* of a range */
	bool own_data;    /* in its own buffer, in one piece */
};

struct fuzz_disk {
	int fd;
	struct block *block[2]; /* writable, read-only */
};

struct state {
	const struct fuzz_disk *disk;
	struct guest_memory *memory;
	struct virtio_blk *blk;
	struct virtio_guest guest;
	uint64_t features;
	uint16_t size;
	unsigned shift;
	bool read_only;
	bool alone;    /* what is in flight was submitted by itself */
	bool followed; /* and the shadow disk knows what it writes */
	struct request request[QUEUES][VIRTQUEUE_SIZE_MAX];
	unsigned queue; /* whose completions are being collected */
	uint8_t shadow[DISK_SIZE];
};

/* One for the process: what a target leaves on it is read before it is relied on. */
static const struct fuzz_disk *disk_open(void)
{
	static struct fuzz_disk disk;
	static uint8_t zeroes[DISK_SIZE];
	struct block_options options = {.no_lock = true};
	char path[FUZZ_PATH_MAX];
	struct error err = {0};

	if (disk.block[0])
		return &disk;
	disk.fd = fuzz_file(zeroes, sizeof(zeroes), path);
	options.path = path;
	FUZZ_CHECK(block_open("raw", &options, &disk.block[0], &err) == 0);
	options.read_only = true;
	FUZZ_CHECK(block_open("raw", &options, &disk.block[1], &err) == 0);
	return &disk;
}

static void shadow_refresh(struct state *s)
{
	FUZZ_CHECK(pread(s->disk->fd, s->shadow, DISK_SIZE, 0) == DISK_SIZE);
}

/* Completions. */

static void data_check(struct state *s, const struct request *r, uint64_t buffer)
{
	const uint8_t *data = memory_at(s->memory, buffer + DATA_AT, r->data_bytes);
	uint8_t *shadow = s->shadow + r->sector * 512;

	if (r->type == T_IN)
		FUZZ_CHECK(memcmp(data, shadow, r->data_bytes) == 0);
	else
		memcpy(shadow, data, r->data_bytes);
}

/* Zeroes must be on the disk; what a discard leaves there is anything. */
static void range_check(struct state *s, const struct request *r)
{
	uint8_t before[DISK_SIZE];

	memcpy(before, s->shadow, sizeof(before));
	shadow_refresh(s);
	if (r->type == T_WRITE_ZEROES)
		memset(before + r->sector * 512, 0, r->sectors * 512ull);
	else
		memcpy(before + r->sector * 512, s->shadow + r->sector * 512, r->sectors * 512ull);
	FUZZ_CHECK(memcmp(before, s->shadow, sizeof(before)) == 0);
}

static void done(void *arg, uint16_t head, uint32_t bytes)
{
	struct state *s = arg;
	const struct guest_queue *q = &s->guest.queue[s->queue];
	const struct request *r = &s->request[s->queue][head];
	const uint8_t *status;

	if (!r->status_at)
		return;
	status = memory_at(s->memory, r->status_at, 1);
	FUZZ_CHECK(*status <= 2 && bytes >= 1);
	FUZZ_CHECK(r->expectation == ANY || (*status == 0) == (r->expectation == SUCCESS));
	if (r->expectation != SUCCESS || !s->alone)
		return;
	if (r->type == T_DISCARD || r->type == T_WRITE_ZEROES)
		range_check(s, r);
	else if (r->own_data)
		data_check(s, r, q->base + QUEUE_BUFFERS + (uint64_t)QUEUE_BUFFER * head);
}

static void settle(struct state *s)
{
	for (s->queue = 0; s->queue < QUEUES; s->queue++)
		virtio_guest_wait(&s->guest, s->queue, done, s);
}

/* Requests. */

static uint32_t type_of(struct input *in, uint8_t shape)
{
	static const uint8_t types[] = {T_IN,      T_OUT,          T_FLUSH, T_GET_ID,
					T_DISCARD, T_WRITE_ZEROES, T_IN,    T_OUT};

	return shape & 8 ? input_u32(in) : types[shape & 7];
}

static bool carries_data_out(uint32_t type)
{
	return type == T_OUT || type == T_DISCARD || type == T_WRITE_ZEROES;
}

/* One piece in the chain's own buffer, or several anywhere in the big one. */
static void data_add(struct state *s, struct input *in, struct guest_queue *q, uint16_t head,
		     uint64_t buffer, struct request *r)
{
	uint8_t shape = input_u8(in);
	bool write = !carries_data_out(r->type);

	r->own_data = !(shape & 0x80);
	if (r->own_data) {
		r->data_bytes =
			(shape & 7) * 504u + (shape & 0x40 ? shape & 0x38 : (shape & 7) * 8u);
		memset(memory_at_write(s->memory, buffer + DATA_AT, r->data_bytes), shape ^ head,
		       r->data_bytes);
		guest_queue_piece(q, head, buffer + DATA_AT, r->data_bytes, write);
		return;
	}
	s->followed = false;
	for (unsigned i = 0; i < (shape & 7u); i++) {
		uint32_t length = input_u8(in) * (shape & 0x40 ? 509u : 512u);

		guest_queue_piece(q, head, BIG + input_u8(in) * 512u, length, write);
		r->data_bytes += length;
	}
}

static void segment_add(struct state *s, struct input *in, struct guest_queue *q, uint16_t head,
			uint64_t buffer, struct request *r)
{
	uint8_t *segment = memory_at_write(s->memory, buffer + DATA_AT, 16);
	uint32_t sectors = input_u8(in);
	uint32_t flags = input_u8(in);
	uint8_t shape = input_u8(in);

	if (shape & 1)
		sectors = input_u32(in);
	r->sectors = sectors;
	le64_put(segment, r->sector);
	le32_put(segment + 8, sectors);
	le32_put(segment + 12, flags);
	r->data_bytes = shape & 2 ? shape : 16;
	guest_queue_piece(q, head, buffer + DATA_AT, r->data_bytes, false);
	if (flags > 1 || (flags && r->type == T_DISCARD) || r->data_bytes != 16 || s->read_only ||
	    sectors > DISK_SIZE / 512 || r->sector > DISK_SIZE / 512 - sectors)
		r->expectation = FAILURE;
	else
		r->expectation = SUCCESS;
}

static void transfer_expect(const struct state *s, struct request *r)
{
	bool good = r->data_bytes % 512 == 0 && r->sector <= DISK_SIZE / 512 &&
		    r->data_bytes <= DISK_SIZE - r->sector * 512 &&
		    !(r->type == T_OUT && s->read_only);

	r->expectation = good ? SUCCESS : FAILURE;
}

/* The header whole or in two pieces; or cut, and then the request fails. */
static void header_add(struct state *s, struct guest_queue *q, uint16_t head, uint64_t buffer,
		       const struct request *r, uint8_t shape)
{
	uint8_t *header = memory_at_write(s->memory, buffer + HEADER_AT, 16);
	unsigned first = shape & 0x10 ? 5 : 16;

	le32_put(header, r->type);
	le32_put(header + 4, 0);
	le64_put(header + 8, r->sector);
	guest_queue_piece(q, head, buffer + HEADER_AT, first, false);
	if (first < 16 && !(shape & 0x20))
		guest_queue_piece(q, head, buffer + HEADER_AT + first, 16 - first, false);
}

static void request_add(struct state *s, struct input *in, unsigned queue)
{
	struct guest_queue *q = &s->guest.queue[queue];
	uint8_t shape = input_u8(in), more = input_u8(in);
	uint16_t old = q->avail_index, head;
	uint64_t buffer;
	struct request *r;

	if (!guest_queue_begin(q, &head, &buffer))
		return;
	r = &s->request[queue][head];
	*r = (struct request){.type = type_of(in, shape), .sector = input_u8(in)};
	if (more & 0x40)
		r->sector = input_u64(in);
	header_add(s, q, head, buffer, r, shape);
	if (r->type == T_DISCARD || r->type == T_WRITE_ZEROES)
		segment_add(s, in, q, head, buffer, r);
	else if (r->type != T_FLUSH)
		data_add(s, in, q, head, buffer, r);
	if (r->type == T_IN || r->type == T_OUT)
		transfer_expect(s, r);
	if ((shape & 0x30) == 0x30)
		r->expectation = ANY;
	if (more & 0x80) {
		s->followed = false;
	} else {
		r->status_at = buffer + STATUS_AT;
		*(uint8_t *)memory_at_write(s->memory, r->status_at, 1) = STATUS_NONE;
		guest_queue_piece(q, head, r->status_at, 1, true);
	}
	if (guest_queue_add(q, head, shape & 0x40 ? more & 3 : QUEUE_PIECES))
		virtio_guest_ring_if_asked(&s->guest, queue, old);
}

/* Several at once, then all of them back. */
static void batch(struct state *s, struct input *in, unsigned count)
{
	s->alone = s->followed = count == 1;
	for (unsigned i = 0; i < count; i++)
		request_add(s, in, count > 1 && s->features & F_MQ ? i % QUEUES : 0);
	settle(s);
	/* Writes that were not followed one by one. */
	if (!s->followed)
		shadow_refresh(s);
}

static void start(struct state *s)
{
	virtio_guest_start(&s->guest, s->features, s->features & F_MQ ? 3 : 1, s->size, s->shift);
}

/* While I/O is in flight: once it returns, the device writes nowhere. */
static void reset(struct state *s)
{
	uint64_t at[] = {0, QUEUE_BUFFERS, QUEUE_MEMORY, QUEUE_MEMORY + QUEUE_BUFFERS, BIG};
	const size_t length = 0x4000;

	virtio_guest_reset(&s->guest);
	for (unsigned i = 0; i < ARRAY_SIZE(at); i++)
		memset(memory_at_write(s->memory, at[i], length), UNTOUCHED, length);
	shadow_refresh(s);
	for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
		const uint8_t *bytes = memory_at(s->memory, at[i], length);

		for (size_t k = 0; k < length; k++)
			FUZZ_CHECK(bytes[k] == UNTOUCHED);
	}
	start(s);
}

static void step(struct state *s, struct input *in)
{
	uint8_t op = input_u8(in);

	switch (op & 7) {
	case 0:
	case 1:
	case 2:
		batch(s, in, 1);
		break;
	case 3:
	case 4:
		batch(s, in, 1 + op / 8u % BATCH_MAX);
		break;
	case 5: /* left in flight */
		for (unsigned i = 0; i < op / 8u; i++)
			request_add(s, in, 0);
		reset(s);
		break;
	case 6:
		virtio_guest_ring(&s->guest, op >> 3 & 1);
		break;
	default:
		if (op & 0x80) {
			guest_queue_corrupt(&s->guest.queue[0], in);
			s->guest.queue[1].wild = true;
			virtio_guest_ring(&s->guest, 0);
		}
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct virtio_blk_config config = {.queues = QUEUES, .serial = "fuzz"};
	struct state *s = calloc(1, sizeof(*s));
	struct input in = {data, size};
	uint8_t shape = input_u8(&in);
	struct error err = {0};

	log_set_level(LOG_ERROR);
	FUZZ_CHECK(s && memory_create(MEMORY, &s->memory, &err) == 0);
	s->disk = disk_open();
	s->read_only = shape & 0x40;
	s->size = (uint16_t)(1u << (shape & 7));
	s->shift = input_u8(&in);
	s->features = (shape & 8 ? VIRTIO_F_EVENT_IDX : 0) | (shape & 0x10 ? F_FLUSH : 0) |
		      (shape & 0x20 ? F_MQ : 0);
	config.block = s->disk->block[s->read_only];
	FUZZ_CHECK(virtio_blk_create(s->memory, &config, &s->blk) == 0);
	virtio_guest_init(&s->guest, virtio_blk_device(s->blk), QUEUES);
	shadow_refresh(s);
	start(s);
	while (in.left)
		step(s, &in);
	settle(s);
	virtio_blk_destroy(s->blk);
	virtio_guest_fini(&s->guest);
	memory_destroy(s->memory);
	free(s);
	return 0;
}
