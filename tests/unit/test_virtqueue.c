/* SPDX-License-Identifier: MIT */
/* The device's half of a virtqueue, with good drivers and bad ones. Sections are of virtio 1.2. */
#include "tests/unit/unit.h"

#include "devices/virtio/virtqueue.h"
#include "tests/unit/driver_ring.h"

#define MEMORY_SIZE (1 * MIB)
#define RING_AT     0x1000ull
#define DATA        0x10000ull
#define TABLE       0x8000ull /* an indirect one */
#define SIZE        8u

struct fixture {
	struct guest_memory *memory;
	struct driver_ring ring;
	struct virtqueue vq;
	struct virtqueue_chain chain;
};

static void begin(struct fixture *f, bool event_index)
{
	driver_ring_init(&f->ring, f->memory, SIZE, RING_AT);
	assert_int_equal(virtqueue_start(&f->vq, f->memory, SIZE, event_index, f->ring.desc,
					 f->ring.avail, f->ring.used),
			 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f || memory_create(MEMORY_SIZE, &f->memory, NULL))
		return -1;
	begin(f, false);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	memory_destroy(f->memory);
	free(f);
	return 0;
}

/* Where this process sees a guest address. */
static void *at(struct fixture *f, uint64_t gpa)
{
	return memory_at_write(f->memory, gpa, 1);
}

static void start_checks_addresses(void **state)
{
	static const struct {
		uint16_t size;
		uint64_t desc, avail, used;
		int result;
	} cases[] = {
		{8, 0x1000, 0x2000, 0x3000, 0},
		{256, 0x1000, 0x2000, 0x3000, 0},
		{1, 0x1000, 0x2000, 0x3000, 0},
		{0, 0x1000, 0x2000, 0x3000, -EINVAL},
		{6, 0x1000, 0x2000, 0x3000, -EINVAL},
		{512, 0x1000, 0x4000, 0x5000, 0},
		{1024, 0x1000, 0x6000, 0x7000, -EINVAL},
		{8, 0x1008, 0x2000, 0x3000, -EINVAL},
		{8, 0x1000, 0x2001, 0x3000, -EINVAL},
		{8, 0x1000, 0x2000, 0x3002, -EINVAL},
		/* To the last byte of memory, and one entry over. */
		{8, MEMORY_SIZE - 128, 0x2000, 0x3000, 0},
		{8, MEMORY_SIZE - 112, 0x2000, 0x3000, -EFAULT},
		{8, 0x1000, MEMORY_SIZE - 22, 0x3000, 0},
		{8, 0x1000, MEMORY_SIZE - 20, 0x3000, -EFAULT},
		{8, 0x1000, 0x2000, MEMORY_SIZE - 72, 0},
		{8, 0x1000, 0x2000, MEMORY_SIZE - 68, -EFAULT},
		/* Addresses that wrap. */
		{8, 0xfffffffffffffff0ull, 0x2000, 0x3000, -EFAULT},
		{8, 0x1000, 0xfffffffffffffffeull, 0x3000, -EFAULT},
		{8, 0x1000, 0x2000, 0xfffffffffffffffcull, -EFAULT},
	};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(virtqueue_start(&f->vq, f->memory, cases[i].size, false,
						 cases[i].desc, cases[i].avail, cases[i].used),
				 cases[i].result);
}

static void empty_queue_has_nothing(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(virtqueue_pop(&f->vq, &f->chain), 0);
	assert_false(virtqueue_pending(&f->vq));
	assert_false(virtqueue_listen(&f->vq));
	assert_false(virtqueue_publish(&f->vq));
	assert_false(f->vq.broken);
}

static void chain_is_translated(void **state)
{
	static const struct driver_buffer buffers[] = {
		{DATA, 16, false},           {DATA + 0x1000, 0, false}, /* empty: left out */
		{DATA + 0x2000, 100, false}, {DATA + 0x3000, 512, true}, {DATA + 0x4001, 1, true},
	};
	struct fixture *f = *state;
	uint16_t head;
	uint32_t id, length;

	f->ring.next_desc = 6; /* wraps around the table */
	head = driver_ring_add(&f->ring, buffers, ARRAY_SIZE(buffers));
	assert_true(virtqueue_pending(&f->vq));
	assert_int_equal(virtqueue_pop(&f->vq, &f->chain), 1);
	assert_int_equal(f->chain.head, head);
	assert_int_equal(f->chain.out_count, 2);
	assert_int_equal(f->chain.in_count, 2);
	assert_int_equal(f->chain.out_bytes, 116);
	assert_int_equal(f->chain.in_bytes, 513);
	assert_ptr_equal(f->chain.iov[0].iov_base, at(f, DATA));
	assert_ptr_equal(f->chain.iov[1].iov_base, at(f, DATA + 0x2000));
	assert_int_equal(f->chain.iov[1].iov_len, 100);
	assert_ptr_equal(f->chain.iov[2].iov_base, at(f, DATA + 0x3000));
	assert_ptr_equal(f->chain.iov[3].iov_base, at(f, DATA + 0x4001));
	assert_int_equal(virtqueue_pop(&f->vq, &f->chain), 0);

	virtqueue_push(&f->vq, head, 513);
	assert_false(driver_ring_take(&f->ring, &id, &length)); /* not before publish */
	assert_true(virtqueue_publish(&f->vq));
	assert_true(driver_ring_take(&f->ring, &id, &length));
	assert_int_equal(id, head);
	assert_int_equal(length, 513);
	assert_false(virtqueue_publish(&f->vq)); /* there is nothing new */
}

static void memory_edges_are_memory(void **state)
{
	static const struct driver_buffer buffers[] = {
		{MEMORY_SIZE - 1, 1, false},
		{0, (uint32_t)MEMORY_SIZE, true},
	};
	struct fixture *f = *state;

	driver_ring_add(&f->ring, buffers, 2);
	assert_int_equal(virtqueue_pop(&f->vq, &f->chain), 1);
	assert_int_equal(f->chain.in_bytes, MEMORY_SIZE);
}

/* A chain of as many descriptors as the ring has. */
static void longest_chain(void **state)
{
	struct driver_buffer buffers[SIZE];
	struct fixture *f = *state;

	for (unsigned i = 0; i < SIZE; i++)
		buffers[i] = (struct driver_buffer){DATA + 64 * i, 64, i >= 4};
	driver_ring_add(&f->ring, buffers, SIZE);
	assert_int_equal(virtqueue_pop(&f->vq, &f->chain), 1);
	assert_int_equal(f->chain.out_count, 4);
	assert_int_equal(f->chain.in_count, 4);
}

static void indirect_chain(void **state)
{
	struct fixture *f = *state;

	/* In the inner table the order is by `next`, not by index. */
	driver_desc_put(f->memory, TABLE, 0, DATA, 16, DRIVER_NEXT, 2);
	driver_desc_put(f->memory, TABLE, 2, DATA + 0x100, 32, DRIVER_NEXT | DRIVER_WRITE, 1);
	driver_desc_put(f->memory, TABLE, 1, DATA + 0x200, 1, DRIVER_WRITE, 0);
	driver_ring_desc(&f->ring, 3, TABLE, 48, DRIVER_INDIRECT, 0);
	driver_ring_offer(&f->ring, 3);
	assert_int_equal(virtqueue_pop(&f->vq, &f->chain), 1);
	assert_int_equal(f->chain.head, 3);
	assert_int_equal(f->chain.out_count, 1);
	assert_int_equal(f->chain.in_count, 2);
	assert_ptr_equal(f->chain.iov[2].iov_base, at(f, DATA + 0x200));
}

/* 2.7.5.3.2: normal descriptors and then a table; the table's own WRITE flag says nothing. */
static void indirect_behind_direct(void **state)
{
	struct fixture *f = *state;

	driver_ring_desc(&f->ring, 0, DATA, 16, DRIVER_NEXT, 1);
	driver_ring_desc(&f->ring, 1, TABLE, 16, DRIVER_INDIRECT | DRIVER_WRITE, 0);
	driver_desc_put(f->memory, TABLE, 0, DATA + 0x100, 8, 0, 0);
	driver_ring_offer(&f->ring, 0);
	assert_int_equal(virtqueue_pop(&f->vq, &f->chain), 1);
	assert_int_equal(f->chain.out_count, 2);
	assert_int_equal(f->chain.in_count, 0);
	assert_int_equal(f->chain.out_bytes, 24);
}

/* A table may be longer than the ring, as far as there are pieces to a chain. */
static void indirect_pieces_limit(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < VIRTQUEUE_IOV_MAX; i++)
		driver_desc_put(f->memory, TABLE, i, DATA, 1,
				i + 1 < VIRTQUEUE_IOV_MAX ? DRIVER_NEXT : 0, (uint16_t)(i + 1));
	driver_ring_desc(&f->ring, 0, TABLE, 16 * VIRTQUEUE_IOV_MAX, DRIVER_INDIRECT, 0);
	driver_ring_offer(&f->ring, 0);
	assert_int_equal(virtqueue_pop(&f->vq, &f->chain), 1);
	assert_int_equal(f->chain.out_count, VIRTQUEUE_IOV_MAX);
}

/* The indices are 16 bits and go round; the ring's place is index modulo size. */
static void indices_wrap(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 70000; i++) {
		struct driver_buffer buffer = {DATA + i % 4096, 1, true};
		uint16_t head = driver_ring_add(&f->ring, &buffer, 1);
		uint32_t id, length;

		assert_int_equal(virtqueue_pop(&f->vq, &f->chain), 1);
		assert_int_equal(f->chain.head, head);
		virtqueue_push(&f->vq, head, i);
		assert_true(virtqueue_publish(&f->vq));
		assert_true(driver_ring_take(&f->ring, &id, &length));
		assert_int_equal(id, head);
		assert_int_equal(length, i);
	}
	assert_int_equal(virtqueue_pop(&f->vq, &f->chain), 0);
}

/* A ring that is filled to the brim is taken in order. */
static void full_ring_in_order(void **state)
{
	struct fixture *f = *state;

	driver_ring_set_index(&f->ring, 0);
	for (unsigned i = 0; i < SIZE; i++) {
		driver_ring_desc(&f->ring, i, DATA, i + 1, 0, 0);
		driver_ring_offer(&f->ring, (uint16_t)(SIZE - 1 - i));
	}
	for (unsigned i = 0; i < SIZE; i++) {
		assert_int_equal(virtqueue_pop(&f->vq, &f->chain), 1);
		assert_int_equal(f->chain.head, SIZE - 1 - i);
	}
	assert_int_equal(virtqueue_pop(&f->vq, &f->chain), 0);
}

/* Interrupts. */

static bool publish_one(struct fixture *f)
{
	virtqueue_push(&f->vq, 0, 0);
	return virtqueue_publish(&f->vq);
}

static void interrupt_by_flag(void **state)
{
	struct fixture *f = *state;

	assert_true(publish_one(f));
	driver_ring_set_flags(&f->ring, 1); /* NO_INTERRUPT */
	assert_false(publish_one(f));
	driver_ring_set_flags(&f->ring, 0);
	assert_true(publish_one(f));
}

/* 2.7.7.2: an interrupt exactly when the used index passes used_event. */
static void interrupt_by_event(void **state)
{
	static const struct {
		uint16_t start, event, count;
		bool wanted;
	} cases[] = {
		{0, 0, 1, true},
		{0, 1, 1, false},
		{0, 1, 2, true},
		{0, 0xffff, 1, false},
		{5, 4, 1, false},
		{5, 5, 1, true},
		{5, 7, 3, true},
		{5, 8, 3, false},
		{0xfffe, 0xffff, 2, true},
		{0xfffe, 0, 2, false},
		{0xfffe, 0, 3, true},
		{0xffff, 0xffff, 1, true},
		{0xffff, 0xfffe, 1, false},
	};
	struct fixture *f = *state;

	begin(f, true);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		f->vq.next_used = f->vq.signalled = cases[i].start;
		driver_ring_set_used_event(&f->ring, cases[i].event);
		driver_ring_set_flags(&f->ring, 1); /* the flag does not count then */
		for (unsigned n = 0; n < cases[i].count; n++)
			virtqueue_push(&f->vq, 0, 0);
		assert_int_equal(virtqueue_publish(&f->vq), cases[i].wanted);
		assert_int_equal(driver_ring_used_index(&f->ring),
				 (uint16_t)(cases[i].start + cases[i].count));
	}
}

static void notify_by_flag(void **state)
{
	static const struct driver_buffer buffer = {DATA, 1, false};
	struct fixture *f = *state;

	virtqueue_quiet(&f->vq);
	assert_int_equal(driver_ring_used_flags(&f->ring), 1);
	assert_false(virtqueue_listen(&f->vq));
	assert_int_equal(driver_ring_used_flags(&f->ring), 0);
	driver_ring_add(&f->ring, &buffer, 1);
	assert_true(virtqueue_listen(&f->vq));
}

static void notify_by_event(void **state)
{
	static const struct driver_buffer buffer = {DATA, 1, false};
	struct fixture *f = *state;

	begin(f, true);
	virtqueue_quiet(&f->vq);
	assert_int_equal(driver_ring_used_flags(&f->ring), 0);
	for (unsigned i = 0; i < 3; i++) {
		driver_ring_add(&f->ring, &buffer, 1);
		assert_true(virtqueue_listen(&f->vq));
		assert_int_equal(virtqueue_pop(&f->vq, &f->chain), 1);
	}
	assert_false(virtqueue_listen(&f->vq));
	assert_int_equal(driver_ring_avail_event(&f->ring), 3);
}

/* Drivers that break the rules: each breaks the queue and nothing else. */

static void head_out_of_range(struct fixture *f)
{
	driver_ring_desc(&f->ring, 0, DATA, 1, 0, 0);
	driver_ring_offer(&f->ring, SIZE);
}

static void head_far_out_of_range(struct fixture *f)
{
	driver_ring_offer(&f->ring, 0xffff);
}

static void index_jumps(struct fixture *f)
{
	driver_ring_desc(&f->ring, 0, DATA, 1, 0, 0);
	driver_ring_set_index(&f->ring, SIZE + 1);
}

static void index_goes_back(struct fixture *f)
{
	driver_ring_set_index(&f->ring, 0xffff);
}

static void next_out_of_range(struct fixture *f)
{
	driver_ring_desc(&f->ring, 0, DATA, 1, DRIVER_NEXT, SIZE);
	driver_ring_offer(&f->ring, 0);
}

static void loops_to_itself(struct fixture *f)
{
	driver_ring_desc(&f->ring, 0, DATA, 1, DRIVER_NEXT, 0);
	driver_ring_offer(&f->ring, 0);
}

static void loops_empty(struct fixture *f)
{
	driver_ring_desc(&f->ring, 0, DATA, 0, DRIVER_NEXT, 1);
	driver_ring_desc(&f->ring, 1, DATA, 0, DRIVER_NEXT, 0);
	driver_ring_offer(&f->ring, 0);
}

static void readable_behind_writable(struct fixture *f)
{
	static const struct driver_buffer buffers[] = {{DATA, 1, true}, {DATA, 1, false}};

	driver_ring_add(&f->ring, buffers, 2);
}

/* Even an empty one. */
static void empty_readable_behind_writable(struct fixture *f)
{
	static const struct driver_buffer buffers[] = {{DATA, 1, true}, {DATA, 0, false}};

	driver_ring_add(&f->ring, buffers, 2);
}

static void buffer_behind_memory(struct fixture *f)
{
	static const struct driver_buffer buffer = {MEMORY_SIZE, 1, false};

	driver_ring_add(&f->ring, &buffer, 1);
}

static void buffer_over_the_end(struct fixture *f)
{
	static const struct driver_buffer buffer = {MEMORY_SIZE - 1, 2, true};

	driver_ring_add(&f->ring, &buffer, 1);
}

static void buffer_wraps(struct fixture *f)
{
	static const struct driver_buffer buffer = {~0ull, 2, true};

	driver_ring_add(&f->ring, &buffer, 1);
}

static void indirect(struct fixture *f, uint64_t table, uint32_t length, uint16_t flags)
{
	driver_ring_desc(&f->ring, 0, table, length, DRIVER_INDIRECT | flags, 1);
	driver_ring_desc(&f->ring, 1, DATA, 1, 0, 0);
	driver_ring_offer(&f->ring, 0);
}

static void indirect_with_next(struct fixture *f)
{
	driver_desc_put(f->memory, TABLE, 0, DATA, 1, 0, 0);
	indirect(f, TABLE, 16, DRIVER_NEXT);
}

static void indirect_odd_length(struct fixture *f)
{
	driver_desc_put(f->memory, TABLE, 0, DATA, 1, 0, 0);
	indirect(f, TABLE, 24, 0);
}

static void indirect_empty(struct fixture *f)
{
	indirect(f, TABLE, 0, 0);
}

static void indirect_nested(struct fixture *f)
{
	driver_desc_put(f->memory, TABLE, 0, TABLE + 0x100, 16, DRIVER_INDIRECT, 0);
	driver_desc_put(f->memory, TABLE, 16, DATA, 1, 0, 0);
	indirect(f, TABLE, 16, 0);
}

static void indirect_next_out_of_range(struct fixture *f)
{
	driver_desc_put(f->memory, TABLE, 0, DATA, 1, DRIVER_NEXT, 1);
	driver_desc_put(f->memory, TABLE, 1, DATA, 1, 0, 0);
	indirect(f, TABLE, 16, 0);
}

static void indirect_loops(struct fixture *f)
{
	driver_desc_put(f->memory, TABLE, 0, DATA, 0, DRIVER_NEXT, 1);
	driver_desc_put(f->memory, TABLE, 1, DATA, 0, DRIVER_NEXT, 0);
	indirect(f, TABLE, 32, 0);
}

static void indirect_behind_memory(struct fixture *f)
{
	indirect(f, MEMORY_SIZE - 16, 32, 0);
}

static void indirect_wraps(struct fixture *f)
{
	indirect(f, 0xfffffffffffffff0ull, 32, 0);
}

static void indirect_too_many_pieces(struct fixture *f)
{
	for (unsigned i = 0; i <= VIRTQUEUE_IOV_MAX; i++)
		driver_desc_put(f->memory, TABLE, i, DATA, 1,
				i < VIRTQUEUE_IOV_MAX ? DRIVER_NEXT : 0, (uint16_t)(i + 1));
	indirect(f, TABLE, 16 * (VIRTQUEUE_IOV_MAX + 1), 0);
}

/*
 * Found by this test: empty descriptors cost no piece, so a table of millions of them (it may be as
 * large as memory) was walked to its end, on the main loop.
 */
static void indirect_long_and_empty(struct fixture *f)
{
	for (unsigned i = 0; i < 1000; i++)
		driver_desc_put(f->memory, TABLE, i, DATA, 0, i < 999 ? DRIVER_NEXT : 0,
				(uint16_t)(i + 1));
	indirect(f, TABLE, 16 * 1000, 0);
}

typedef void spoil_fn(struct fixture *f);

static void check_broken(struct fixture *f, spoil_fn *spoil)
{
	uint8_t before[4 + 8 * SIZE];

	begin(f, false);
	spoil(f);
	memcpy(before, at(f, f->ring.used), sizeof(before));
	assert_int_equal(virtqueue_pop(&f->vq, &f->chain), -EPROTO);
	assert_true(f->vq.broken);
	/* It stays broken, and says so to all who ask. */
	assert_int_equal(virtqueue_pop(&f->vq, &f->chain), -EPROTO);
	assert_false(virtqueue_pending(&f->vq));
	assert_false(virtqueue_listen(&f->vq));
	assert_false(virtqueue_publish(&f->vq));
	assert_memory_equal(before, at(f, f->ring.used), sizeof(before));
	/* A new start mends it. */
	begin(f, false);
	assert_int_equal(virtqueue_pop(&f->vq, &f->chain), 0);
}

#define DRIVER(name)                                                                               \
	{                                                                                          \
#name, name                                                                        \
	}

static void bad_drivers(void **state)
{
	static const struct {
		const char *name;
		spoil_fn *spoil;
	} drivers[] = {
		DRIVER(head_out_of_range),
		DRIVER(head_far_out_of_range),
		DRIVER(index_jumps),
		DRIVER(index_goes_back),
		DRIVER(next_out_of_range),
		DRIVER(loops_to_itself),
		DRIVER(loops_empty),
		DRIVER(readable_behind_writable),
		DRIVER(empty_readable_behind_writable),
		DRIVER(buffer_behind_memory),
		DRIVER(buffer_over_the_end),
		DRIVER(buffer_wraps),
		DRIVER(indirect_with_next),
		DRIVER(indirect_odd_length),
		DRIVER(indirect_empty),
		DRIVER(indirect_nested),
		DRIVER(indirect_next_out_of_range),
		DRIVER(indirect_loops),
		DRIVER(indirect_behind_memory),
		DRIVER(indirect_wraps),
		DRIVER(indirect_too_many_pieces),
		DRIVER(indirect_long_and_empty),
	};

	for (unsigned i = 0; i < ARRAY_SIZE(drivers); i++) {
		print_message("%s\n", drivers[i].name);
		check_broken(*state, drivers[i].spoil);
	}
}

/* 2.7.4.2: the lengths of a chain do not add up to more than 32 bits. */
static void length_sum_overflows(void **state)
{
	static const struct driver_buffer buffers[] = {
		{0, 0x80000000u, true},
		{0, 0x7fffffffu, true},
		{0, 1, true},
	};
	struct fixture *f = *state;
	struct driver_ring ring;

	/* Sparse, but as large as the lengths say. */
	memory_destroy(f->memory);
	f->memory = NULL;
	assert_int_equal(memory_create(2 * GIB, &f->memory, NULL), 0);
	driver_ring_init(&ring, f->memory, SIZE, RING_AT);
	assert_int_equal(
		virtqueue_start(&f->vq, f->memory, SIZE, false, ring.desc, ring.avail, ring.used),
		0);
	driver_ring_add(&ring, buffers, 2);
	assert_int_equal(virtqueue_pop(&f->vq, &f->chain), 1);
	assert_int_equal(f->chain.in_bytes, 0xffffffffu);
	driver_ring_add(&ring, buffers, 3);
	assert_int_equal(virtqueue_pop(&f->vq, &f->chain), -EPROTO);
}

/* A chain that was good before its neighbour broke the queue can still be given back. */
static void push_to_broken_queue(void **state)
{
	static const struct driver_buffer buffer = {DATA, 1, true};
	struct fixture *f = *state;
	uint32_t id, length;

	driver_ring_add(&f->ring, &buffer, 1);
	driver_ring_offer(&f->ring, SIZE);
	assert_int_equal(virtqueue_pop(&f->vq, &f->chain), 1);
	assert_int_equal(virtqueue_pop(&f->vq, &f->chain), -EPROTO);
	virtqueue_push(&f->vq, 0, 1);
	virtqueue_publish(&f->vq);
	assert_true(driver_ring_take(&f->ring, &id, &length));
	assert_int_equal(id, 0);
}

/* What the device writes is marked for the next snapshot. */
static void writes_mark_pages(void **state)
{
	static const struct driver_buffer buffers[] = {{DATA, 8, false}, {DATA + 0x1ffc, 8, true}};
	struct fixture *f = *state;
	uint64_t expected = 3ull << (DATA / MEMORY_PAGE_SIZE + 1);

	assert_int_equal(memory_track(f->memory, true), 0);
	driver_ring_chain(&f->ring, buffers, 2);
	driver_ring_offer(&f->ring, 0);
	memset(f->memory->range[0].dirty, 0, 8 * (MEMORY_SIZE / MEMORY_PAGE_SIZE / 64));
	assert_int_equal(virtqueue_pop(&f->vq, &f->chain), 1);
	assert_int_equal(f->memory->range[0].dirty[0], expected);
	virtqueue_push(&f->vq, 0, 8);
	expected |= 1ull << f->ring.used / MEMORY_PAGE_SIZE;
	assert_int_equal(f->memory->range[0].dirty[0], expected);
}

static void iov_copies(void **state)
{
	char a[4] = "abcd", b[3] = "efg", out[16] = {0};
	struct iovec iov[2] = {{a, 4}, {b, 3}}, *at_iov = iov;
	unsigned count = 2;

	(void)state;
	assert_int_equal(iov_take(&at_iov, &count, out, 0), 0);
	assert_int_equal(iov_take(&at_iov, &count, out, 3), 3);
	assert_int_equal(count, 2);
	assert_int_equal(iov_take(&at_iov, &count, out + 3, 1), 1);
	assert_int_equal(count, 1);
	assert_ptr_equal(at_iov, &iov[1]);
	assert_int_equal(iov_take(&at_iov, &count, out + 4, 12), 3);
	assert_int_equal(count, 0);
	assert_string_equal(out, "abcdefg");
	assert_int_equal(iov_take(&at_iov, &count, out, 1), 0);

	iov[0] = (struct iovec){a, 4};
	iov[1] = (struct iovec){b, 3};
	at_iov = iov;
	count = 2;
	assert_int_equal(iov_give(&at_iov, &count, "123456789", 6), 6);
	assert_memory_equal(a, "1234", 4);
	assert_memory_equal(b, "56g", 3);
	assert_int_equal(count, 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(start_checks_addresses, setup, teardown),
		cmocka_unit_test_setup_teardown(empty_queue_has_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(chain_is_translated, setup, teardown),
		cmocka_unit_test_setup_teardown(memory_edges_are_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(longest_chain, setup, teardown),
		cmocka_unit_test_setup_teardown(indirect_chain, setup, teardown),
		cmocka_unit_test_setup_teardown(indirect_behind_direct, setup, teardown),
		cmocka_unit_test_setup_teardown(indirect_pieces_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(indices_wrap, setup, teardown),
		cmocka_unit_test_setup_teardown(full_ring_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(interrupt_by_flag, setup, teardown),
		cmocka_unit_test_setup_teardown(interrupt_by_event, setup, teardown),
		cmocka_unit_test_setup_teardown(notify_by_flag, setup, teardown),
		cmocka_unit_test_setup_teardown(notify_by_event, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_drivers, setup, teardown),
		cmocka_unit_test_setup_teardown(length_sum_overflows, setup, teardown),
		cmocka_unit_test_setup_teardown(push_to_broken_queue, setup, teardown),
		cmocka_unit_test_setup_teardown(writes_mark_pages, setup, teardown),
		cmocka_unit_test(iov_copies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
