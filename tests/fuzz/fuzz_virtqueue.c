/* SPDX-License-Identifier: MIT */
/*
 * The device's side of a ring, on one thread. While the driver keeps the rules, chains must come
 * out as they were put in; once it does not, every piece must at least be guest memory.
 */
#include "tests/fuzz/guest_queue.h"

struct state {
	struct guest_queue guest;
	struct virtqueue vq;
	struct virtqueue_chain chain;
	unsigned expected_count; /* heads that are available */
	uint16_t expected[VIRTQUEUE_SIZE_MAX];
	unsigned taken_count; /* popped and not pushed yet */
	struct {
		uint16_t head;
		uint32_t bytes;
	} taken[VIRTQUEUE_SIZE_MAX];
};

/* Touch all of it: reads the sum of what the device reads, fills what it writes. */
static uint8_t pieces_touch(const struct guest_memory *memory, const struct virtqueue_chain *chain)
{
	const struct memory_range *range = &memory->range[0];
	unsigned count = chain->out_count + chain->in_count;
	uint64_t out_bytes = 0, in_bytes = 0;
	uint8_t sum = 0;

	FUZZ_CHECK(count <= VIRTQUEUE_IOV_MAX);
	for (unsigned i = 0; i < count; i++) {
		uint8_t *at = chain->iov[i].iov_base;
		size_t length = chain->iov[i].iov_len;

		FUZZ_CHECK(length && at >= range->host &&
			   length <= range->size - (size_t)(at - range->host));
		if (i < chain->out_count) {
			out_bytes += length;
			sum = (uint8_t)(sum + at[0] + at[length - 1]);
		} else {
			in_bytes += length;
		}
	}
	FUZZ_CHECK(out_bytes == chain->out_bytes && in_bytes == chain->in_bytes);
	return sum;
}

/* With the rules kept: the oldest chain, and its pieces less the empty ones. */
static void expected_check(struct state *s)
{
	const struct guest_chain *c = &s->guest.chain[s->chain.head];
	const struct iovec *v = s->chain.iov;

	FUZZ_CHECK(s->expected_count && s->expected[0] == s->chain.head);
	FUZZ_CHECK(s->chain.out_bytes == c->out_bytes && s->chain.in_bytes == c->in_bytes);
	for (unsigned i = 0; i < c->count; i++) {
		if (c->piece[i].length == 0)
			continue;
		FUZZ_CHECK(v->iov_len == c->piece[i].length &&
			   v->iov_base ==
				   memory_at(s->guest.memory, c->piece[i].address, v->iov_len));
		v++;
	}
	s->expected_count--;
	memmove(s->expected, s->expected + 1, s->expected_count * sizeof(s->expected[0]));
}

static void pop(struct state *s)
{
	int ret;

	/* A driver that cheats has more in flight than a device has requests for. */
	if (s->taken_count == VIRTQUEUE_SIZE_MAX)
		return;
	ret = virtqueue_pop(&s->vq, &s->chain);
	FUZZ_CHECK(ret == 1 || ret == 0 || ret == -71 /* EPROTO */);
	if (!s->guest.wild)
		FUZZ_CHECK(ret == (s->expected_count ? 1 : 0));
	if (ret < 0)
		FUZZ_CHECK(s->vq.broken && !virtqueue_pending(&s->vq));
	if (ret != 1)
		return;
	FUZZ_CHECK(s->chain.head < s->vq.size);
	pieces_touch(s->guest.memory, &s->chain);
	if (!s->guest.wild)
		expected_check(s);
	s->taken[s->taken_count].head = s->chain.head;
	s->taken[s->taken_count++].bytes = s->chain.in_bytes;
}

static void push(struct state *s, unsigned which)
{
	if (s->taken_count == 0)
		return;
	which %= s->taken_count;
	virtqueue_push(&s->vq, s->taken[which].head, s->taken[which].bytes);
	s->taken[which] = s->taken[--s->taken_count];
}

static void copy(struct state *s, struct input *in)
{
	struct iovec *v = s->chain.iov;
	unsigned count = s->chain.out_count;
	uint8_t bytes[64] = {0};
	size_t size = input_u8(in) % sizeof(bytes), n;

	if (s->taken_count == 0)
		return;
	n = iov_take(&v, &count, bytes, size);
	FUZZ_CHECK(n <= size && count <= s->chain.out_count);
	v = s->chain.iov + s->chain.out_count;
	count = s->chain.in_count;
	n = iov_give(&v, &count, bytes, size);
	FUZZ_CHECK(n <= size && count <= s->chain.in_count);
	/* The pieces were moved: forget the chain. */
	s->chain.out_count = s->chain.in_count = 0;
}

static void add(struct state *s, struct input *in)
{
	uint16_t old = s->guest.avail_index;
	bool listening = !virtqueue_listen(&s->vq);

	if (!guest_queue_add_input(&s->guest, in) || s->guest.wild)
		return;
	s->expected[s->expected_count++] = le16_get((const uint8_t *)memory_at(
		s->guest.memory, s->guest.avail + 4 + 2u * (old % s->guest.size), 2));
	FUZZ_CHECK(virtqueue_pending(&s->vq));
	/* It asked to be rung while the ring was empty, so it must be. */
	FUZZ_CHECK(!listening || guest_queue_must_ring(&s->guest, old));
}

static void step(struct state *s, struct input *in)
{
	uint8_t op = input_u8(in);

	switch (op & 7) {
	case 0:
	case 1:
		add(s, in);
		break;
	case 2:
	case 3:
		pop(s);
		break;
	case 4:
		push(s, op >> 3);
		break;
	case 5:
		virtqueue_publish(&s->vq);
		guest_queue_collect(&s->guest, NULL, NULL);
		break;
	case 6:
		if (op & 8)
			virtqueue_quiet(&s->vq);
		else
			copy(s, in);
		break;
	default:
		if (op & 0x80)
			guest_queue_corrupt(&s->guest, in);
		break;
	}
}

/* Rings anywhere, of any size: taken or refused, and then nothing of them is touched. */
static bool start_anywhere(struct state *s, struct input *in)
{
	uint16_t size = input_u16(in);
	uint64_t desc = input_u64(in), avail = input_u64(in), used = input_u64(in);

	s->guest.wild = true;
	return virtqueue_start(&s->vq, s->guest.memory, size, size & 1, desc, avail, used) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint8_t shape = input_u8(&in);
	struct state *s = calloc(1, sizeof(*s));
	struct guest_memory *memory = NULL;
	struct error err = {0};

	FUZZ_CHECK(s && memory_create(QUEUE_MEMORY, &memory, &err) == 0);
	guest_queue_init(&s->guest, memory, 0, (uint16_t)(1u << (shape % 9)), shape & 0x10,
			 input_u8(&in) * 4u);
	if (shape & 0x80 && start_anywhere(s, &in)) {
		s->guest.desc = QUEUE_TABLES; /* only for where corruption goes */
	} else {
		s->guest.wild = false;
		FUZZ_CHECK(virtqueue_start(&s->vq, memory, s->guest.size, s->guest.event_index,
					   s->guest.desc, s->guest.avail, s->guest.used) == 0);
	}
	while (in.left)
		step(s, &in);
	memory_destroy(memory);
	free(s);
	return 0;
}
