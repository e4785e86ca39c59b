/* SPDX-License-Identifier: MIT */
/* Layouts are of virtio 1.2, 2.7. */
#include "tests/fuzz/guest_queue.h"

#include <stdatomic.h>

#define DESC_SIZE     16u
#define DESC_NEXT     1u
#define DESC_WRITE    2u
#define DESC_INDIRECT 4u
#define NO_NOTIFY     1u

static uint16_t *index_at(struct guest_queue *q, uint64_t gpa)
{
	return memory_at_write(q->memory, gpa, 2);
}

static uint16_t index_load(struct guest_queue *q, uint64_t gpa)
{
	return le16toh(__atomic_load_n(index_at(q, gpa), __ATOMIC_ACQUIRE));
}

static void index_store(struct guest_queue *q, uint64_t gpa, uint16_t value)
{
	__atomic_store_n(index_at(q, gpa), htole16(value), __ATOMIC_RELEASE);
}

void guest_queue_init(struct guest_queue *q, struct guest_memory *memory, unsigned index,
		      uint16_t size, bool event_index, unsigned shift)
{
	uint64_t rings;

	memset(q, 0, sizeof(*q));
	q->memory = memory;
	q->size = size;
	q->event_index = event_index;
	q->base = (uint64_t)QUEUE_MEMORY * index;
	q->desc = q->base + (uint64_t)shift % 1024 * 16;
	q->avail = q->desc + DESC_SIZE * (uint64_t)size + (uint64_t)shift % 64 * 2;
	q->used = (q->avail + 4 + 2 * (uint64_t)size + 2 + (uint64_t)shift % 1024 * 4 + 3) & ~3ull;
	rings = q->used + 4 + 8 * (uint64_t)size + 2 - q->base;
	FUZZ_CHECK(rings <= QUEUE_TABLES);
	memset(memory_at_write(memory, q->base, rings), 0, rings);
	for (unsigned i = size; i-- > 0;)
		q->free[q->free_count++] = (uint16_t)i;
}

bool guest_queue_begin(struct guest_queue *q, uint16_t *head, uint64_t *buffer)
{
	if (q->free_count == 0)
		return false;
	*head = q->free[--q->free_count];
	*buffer = q->base + QUEUE_BUFFERS + (uint64_t)QUEUE_BUFFER * *head;
	memset(&q->chain[*head], 0, sizeof(q->chain[*head]));
	q->chain[*head].descriptors = 1;
	return true;
}

void guest_queue_piece(struct guest_queue *q, uint16_t head, uint64_t address, uint32_t length,
		       bool write)
{
	struct guest_chain *c = &q->chain[head];

	FUZZ_CHECK(c->count < QUEUE_PIECES);
	c->piece[c->count++] = (struct guest_piece){address, length, write};
	if (write)
		c->in_bytes += length;
	else
		c->out_bytes += length;
}

static void desc_put(struct guest_queue *q, uint64_t at, const struct guest_piece *p,
		     unsigned flags, unsigned next)
{
	uint8_t *d = memory_at_write(q->memory, at, DESC_SIZE);

	le64_put(d, p->address);
	le32_put(d + 8, p->length);
	le16_put(d + 12, (uint16_t)(flags | (p->write ? DESC_WRITE : 0)));
	le16_put(d + 14, (uint16_t)next);
}

static void chain_free(struct guest_queue *q, uint16_t head)
{
	uint16_t at = head;

	q->chain[head].in_flight = false;
	for (unsigned i = 0; i < q->chain[head].descriptors; i++) {
		const uint8_t *d = memory_at(q->memory, q->desc + DESC_SIZE * (uint64_t)at, 16);

		q->free[q->free_count++] = at;
		at = le16_get(d + 14) % q->size;
	}
}

/* The pieces from `first` on, as a table. */
static struct guest_piece table_put(struct guest_queue *q, uint16_t head, unsigned first)
{
	struct guest_chain *c = &q->chain[head];
	uint64_t table = q->base + QUEUE_TABLES + (uint64_t)head * QUEUE_PIECES * DESC_SIZE;
	unsigned count = c->count - first;

	for (unsigned i = 0; i < count; i++)
		desc_put(q, table + DESC_SIZE * (uint64_t)i, &c->piece[first + i],
			 i + 1 < count ? DESC_NEXT : 0, i + 1);
	return (struct guest_piece){.address = table, .length = DESC_SIZE * count};
}

bool guest_queue_add(struct guest_queue *q, uint16_t head, unsigned indirect)
{
	struct guest_chain *c = &q->chain[head];
	bool table = indirect < c->count;
	unsigned direct = table ? indirect : c->count, at = head;

	if (c->count == 0 || direct + (table ? 1u : 0u) > q->free_count + 1) {
		q->free[q->free_count++] = head;
		return false;
	}
	for (unsigned i = 0; i < direct; i++) {
		bool more = i + 1 < direct || table;
		unsigned next = more ? q->free[--q->free_count] : 0;

		desc_put(q, q->desc + DESC_SIZE * (uint64_t)at, &c->piece[i], more ? DESC_NEXT : 0,
			 next);
		c->descriptors += more ? 1 : 0;
		at = more ? next : at;
	}
	if (table) {
		struct guest_piece p = table_put(q, head, direct);

		desc_put(q, q->desc + DESC_SIZE * (uint64_t)at, &p, DESC_INDIRECT, 0);
	}
	c->in_flight = true;
	le16_put(memory_at_write(q->memory, q->avail + 4 + 2u * (q->avail_index % q->size), 2),
		 head);
	index_store(q, q->avail + 2, ++q->avail_index);
	return true;
}

bool guest_queue_add_input(struct guest_queue *q, struct input *in)
{
	uint8_t shape = input_u8(in), order = input_u8(in);
	unsigned count = shape % QUEUE_PIECES, room = QUEUE_BUFFER;
	uint64_t buffer;
	uint16_t head;

	if (!guest_queue_begin(q, &head, &buffer))
		return false;
	for (unsigned i = 0; i < count; i++) {
		uint32_t length = input_u8(in) * 8u;
		/* Read first, then written, from a place on that the input says. */
		bool write = i >= (order & 15u);

		if (length > room)
			length = room;
		if (order == 0xff) {
			write = input_u8(in) & 1;
			q->wild = true;
		}
		guest_queue_piece(q, head, buffer + QUEUE_BUFFER - room, length, write);
		room -= length;
	}
	return guest_queue_add(q, head, shape & 0x10 ? order >> 4 : QUEUE_PIECES);
}

bool guest_queue_must_ring(struct guest_queue *q, uint16_t old)
{
	uint16_t event;

	/* 2.7.10.1: the index is out before the wish is read. */
	atomic_thread_fence(memory_order_seq_cst);
	if (!q->event_index)
		return !(index_load(q, q->used) & NO_NOTIFY);
	event = index_load(q, q->used + 4 + 8 * (uint64_t)q->size);
	return (uint16_t)(q->avail_index - event - 1) < (uint16_t)(q->avail_index - old);
}

void guest_queue_collect(struct guest_queue *q,
			 void (*done)(void *arg, uint16_t head, uint32_t bytes), void *arg)
{
	uint16_t index = index_load(q, q->used + 2);

	if (q->wild)
		return;
	FUZZ_CHECK((uint16_t)(index - q->used_index) <= guest_queue_in_flight(q));
	for (; q->used_index != index; q->used_index++) {
		const uint8_t *element =
			memory_at(q->memory, q->used + 4 + 8u * (q->used_index % q->size), 8);
		uint32_t head = le32_get(element), bytes = le32_get(element + 4);

		FUZZ_CHECK(head < q->size && q->chain[head].in_flight);
		FUZZ_CHECK(bytes <= q->chain[head].in_bytes);
		chain_free(q, (uint16_t)head);
		if (done)
			done(arg, (uint16_t)head, bytes);
	}
}

bool guest_queue_want_interrupt(struct guest_queue *q)
{
	if (q->event_index)
		index_store(q, q->avail + 4 + 2 * (uint64_t)q->size, q->used_index);
	else
		index_store(q, q->avail, 0);
	/* 2.7.7.1: the wish is out before the index is read again. */
	atomic_thread_fence(memory_order_seq_cst);
	return index_load(q, q->used + 2) != q->used_index;
}

unsigned guest_queue_in_flight(const struct guest_queue *q)
{
	unsigned count = 0;

	for (unsigned i = 0; i < q->size; i++)
		count += q->chain[i].in_flight;
	return count;
}

void guest_queue_corrupt(struct guest_queue *q, struct input *in)
{
	uint8_t what = input_u8(in), length = input_u8(in) % 32;
	uint64_t base, at;
	uint8_t bytes[32];

	switch (what & 7) {
	case 0:
		base = q->avail;
		break;
	case 1:
		base = q->used;
		break;
	case 2:
		base = q->base + QUEUE_TABLES;
		break;
	case 3:
		base = q->base + QUEUE_BUFFERS;
		break;
	default:
		base = q->desc;
		break;
	}
	at = base + (what & 0x80 ? input_u16(in) : input_u8(in));
	input_bytes(in, bytes, sizeof(bytes) < length ? sizeof(bytes) : length);
	memory_write(q->memory, at, bytes, length);
	q->wild = true;
}
