/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation.
 *
 * The guest (driver) owns the descriptor table and the available ring, the device the used ring.
 *
 *   driver:  fills descriptors -> avail.ring[idx % size] = head -> barrier -> avail.idx++
 *   device:  reads avail.idx -> barrier -> head, descriptors -> works
 *            used.ring[idx % size] = {head, bytes} -> barrier -> used.idx++
 *
 * A barrier is an acquire load or release store of the index. With the event index each side says
 * at which index of the other it wants to hear: avail_event (behind the used ring) is ours,
 * used_event (behind the available ring) the driver's. Both use "store my wish, full barrier, look
 * again": without the barrier the two sides could each miss the other's last step and sleep.
 *
 * Section numbers are of virtio 1.2.
 */
#include "devices/virtio/virtqueue.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "vmm/base/bytes.h"
#include "vmm/base/checked.h"

#define DESC_SIZE     16u
#define DESC_NEXT     1u
#define DESC_WRITE    2u
#define DESC_INDIRECT 4u

#define AVAIL_NO_INTERRUPT 1u
#define USED_NO_NOTIFY     1u

#define RING_FLAGS  0
#define RING_INDEX  2
#define RING_START  4
#define AVAIL_ENTRY 2u
#define USED_ENTRY  8u

struct descriptor {
	uint64_t address;
	uint32_t length;
	uint16_t flags, next;
};

/* Rings are aligned to two bytes at least, so that an index or flags are one access. */
static uint16_t ring_load_acquire(const uint8_t *at)
{
	return le16toh(__atomic_load_n((const uint16_t *)(const void *)at, __ATOMIC_ACQUIRE));
}

static uint16_t ring_load(const uint8_t *at)
{
	return le16toh(__atomic_load_n((const uint16_t *)(const void *)at, __ATOMIC_RELAXED));
}

/*
 * A field of the used ring at `offset`. Asked for anew each time, so that its page is marked dirty;
 * it was memory when the queue started.
 */
static uint8_t *used_at(struct virtqueue *vq, uint64_t offset, uint64_t length)
{
	uint8_t *at = memory_at_write(vq->memory, vq->used_address + offset, length);

	assert(at);
	return at;
}

static void used_store_release(struct virtqueue *vq, uint64_t offset, uint16_t value)
{
	uint8_t *at = used_at(vq, offset, sizeof(value));

	__atomic_store_n((uint16_t *)(void *)at, htole16(value), __ATOMIC_RELEASE);
}

int virtqueue_start(struct virtqueue *vq, struct guest_memory *memory, uint16_t size,
		    bool event_index, uint64_t desc, uint64_t avail, uint64_t used)
{
	/* 2.7: a power of two; descriptors aligned to 16, available ring to 2, used ring to 4. */
	if (size == 0 || size > VIRTQUEUE_SIZE_MAX || (size & (size - 1)))
		return -EINVAL;
	if (desc % 16 || avail % 2 || used % 4)
		return -EINVAL;
	*vq = (struct virtqueue){
		.memory = memory,
		.size = size,
		.event_index = event_index,
		.used_address = used,
		.desc = memory_at(memory, desc, (uint64_t)size * DESC_SIZE),
		.avail = memory_at(memory, avail, RING_START + (uint64_t)size * AVAIL_ENTRY + 2),
	};
	if (!vq->desc || !vq->avail ||
	    !memory_at(memory, used, RING_START + (uint64_t)size * USED_ENTRY + 2))
		return -EFAULT;
	return 0;
}

int virtqueue_continue(struct virtqueue *vq, uint16_t next_avail, uint16_t next_used,
		       uint16_t signalled)
{
	if ((uint16_t)(next_avail - next_used) > vq->size ||
	    (uint16_t)(next_used - signalled) > vq->size)
		return -EINVAL;
	vq->next_avail = next_avail;
	vq->next_used = next_used;
	vq->signalled = signalled;
	return 0;
}

static int broken(struct virtqueue *vq)
{
	vq->broken = true;
	return -EPROTO;
}

static struct descriptor desc_read(const uint8_t *table, unsigned index)
{
	uint8_t raw[DESC_SIZE];

	/* One copy: the guest may be changing it. */
	memcpy(raw, table + (size_t)index * DESC_SIZE, sizeof(raw));
	return (struct descriptor){
		.address = le64_get(raw),
		.length = le32_get(raw + 8),
		.flags = le16_get(raw + 12),
		.next = le16_get(raw + 14),
	};
}

static int chain_add(struct virtqueue *vq, struct virtqueue_chain *chain,
		     const struct descriptor *d)
{
	bool in = d->flags & DESC_WRITE;
	uint32_t *bytes = in ? &chain->in_bytes : &chain->out_bytes;
	unsigned at = chain->out_count + chain->in_count;
	void *host;

	/* 2.7.4.2: what the device writes comes behind all that it reads. */
	if (!in && chain->in_count)
		return broken(vq);
	if (d->length == 0)
		return 0;
	if (at == VIRTQUEUE_IOV_MAX || __builtin_add_overflow(*bytes, d->length, bytes))
		return broken(vq);
	host = in ? memory_at_write(vq->memory, d->address, d->length)
		  : (void *)(uintptr_t)memory_at(vq->memory, d->address, d->length);
	if (!host)
		return broken(vq);
	chain->iov[at] = (struct iovec){host, d->length};
	chain->piece[at] = (struct virtqueue_piece){d->address, d->length};
	if (in)
		chain->in_count++;
	else
		chain->out_count++;
	return 0;
}

/*
 * Walk `table` from `index`. A loop ends after `entries` steps, and a long table of empty buffers
 * after as many as a chain may have pieces (2.7.5.3.1 allows no more than the queue's size).
 */
static int table_walk(struct virtqueue *vq, struct virtqueue_chain *chain, const uint8_t *table,
		      unsigned entries, unsigned index, bool indirect)
{
	unsigned steps = entries < VIRTQUEUE_IOV_MAX ? entries : VIRTQUEUE_IOV_MAX;

	for (unsigned step = 0; step < steps; step++) {
		struct descriptor d;

		if (index >= entries)
			return broken(vq);
		d = desc_read(table, index);
		if (d.flags & DESC_INDIRECT) {
			const uint8_t *inner;

			/* 2.7.5.3.1: no table within a table, none in the middle of a chain. */
			if (indirect || d.flags & DESC_NEXT || d.length % DESC_SIZE)
				return broken(vq);
			inner = memory_at(vq->memory, d.address, d.length);
			if (!inner || d.length == 0)
				return broken(vq);
			return table_walk(vq, chain, inner, d.length / DESC_SIZE, 0, true);
		}
		if (chain_add(vq, chain, &d))
			return -EPROTO;
		if (!(d.flags & DESC_NEXT))
			return 1;
		index = d.next;
	}
	return broken(vq);
}

int virtqueue_pop(struct virtqueue *vq, struct virtqueue_chain *chain)
{
	uint16_t count, head;

	if (vq->broken)
		return -EPROTO;
	/* Acquire: the ring's entry and the descriptors were written before the index. */
	count = (uint16_t)(ring_load_acquire(vq->avail + RING_INDEX) - vq->next_avail);
	if (count == 0)
		return 0;
	if (count > vq->size)
		return broken(vq);
	head = ring_load(vq->avail + RING_START + AVAIL_ENTRY * (vq->next_avail % vq->size));
	if (head >= vq->size)
		return broken(vq);
	vq->next_avail++;
	chain->head = head;
	chain->out_count = chain->in_count = 0;
	chain->out_bytes = chain->in_bytes = 0;
	return table_walk(vq, chain, vq->desc, vq->size, head, false);
}

void virtqueue_return(struct virtqueue *vq, uint16_t count)
{
	/* A thread that has taken nothing yet writes nothing: others look at its queue. */
	if (count)
		vq->next_avail = (uint16_t)(vq->next_avail - count);
}

void virtqueue_pieces_written(struct virtqueue *vq, const struct virtqueue_piece *piece,
			      unsigned count)
{
	for (unsigned i = 0; i < count && vq->memory->writing; i++)
		memory_at_write(vq->memory, piece[i].gpa, piece[i].length);
}

void virtqueue_push(struct virtqueue *vq, uint16_t head, uint32_t written)
{
	uint64_t offset = RING_START + USED_ENTRY * (uint64_t)(vq->next_used % vq->size);
	uint8_t *entry = used_at(vq, offset, USED_ENTRY);

	le32_put(entry, head);
	le32_put(entry + 4, written);
	vq->next_used++;
}

/* 2.7.7.2: has the index passed `event` since `old`? */
static bool event_passed(uint16_t event, uint16_t new, uint16_t old)
{
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

bool virtqueue_publish(struct virtqueue *vq)
{
	uint16_t old = vq->signalled;

	if (vq->next_used == old)
		return false;
	/* Release: the driver must find the elements filled in once it sees the index. */
	used_store_release(vq, RING_INDEX, vq->next_used);
	vq->signalled = vq->next_used;
	/* Full barrier: the index above is out before the driver's wish is read. */
	atomic_thread_fence(memory_order_seq_cst);
	if (vq->event_index)
		return event_passed(ring_load(vq->avail + RING_START + AVAIL_ENTRY * vq->size),
				    vq->next_used, old);
	return !(ring_load(vq->avail + RING_FLAGS) & AVAIL_NO_INTERRUPT);
}

void virtqueue_quiet(struct virtqueue *vq)
{
	/* With the event index, an avail_event that lies behind is never passed. */
	if (!vq->event_index)
		used_store_release(vq, RING_FLAGS, USED_NO_NOTIFY);
}

bool virtqueue_listen(struct virtqueue *vq)
{
	if (vq->broken)
		return false;
	if (vq->event_index)
		used_store_release(vq, RING_START + USED_ENTRY * vq->size, vq->next_avail);
	else
		used_store_release(vq, RING_FLAGS, 0);
	/* Full barrier: the wish is out before the index is read again. */
	atomic_thread_fence(memory_order_seq_cst);
	return virtqueue_pending(vq);
}

bool virtqueue_pending(const struct virtqueue *vq)
{
	return !vq->broken && ring_load(vq->avail + RING_INDEX) != vq->next_avail;
}

static size_t iov_copy(struct iovec **iov, unsigned *count, uint8_t *bytes, size_t size, bool take)
{
	size_t done = 0;

	while (done < size && *count) {
		struct iovec *v = *iov;
		size_t n = v->iov_len < size - done ? v->iov_len : size - done;

		if (take)
			memcpy(bytes + done, v->iov_base, n);
		else
			memcpy(v->iov_base, bytes + done, n);
		done += n;
		v->iov_base = (uint8_t *)v->iov_base + n;
		v->iov_len -= n;
		if (v->iov_len == 0) {
			(*iov)++;
			(*count)--;
		}
	}
	return done;
}

size_t iov_take(struct iovec **iov, unsigned *count, void *to, size_t size)
{
	return iov_copy(iov, count, to, size, true);
}

size_t iov_give(struct iovec **iov, unsigned *count, const void *from, size_t size)
{
	return iov_copy(iov, count, (uint8_t *)(uintptr_t)from, size, false);
}
