/* SPDX-License-Identifier: MIT */
/*
 * A split virtqueue, device side (virtio 1.2, 2.7): indirect descriptors and event index. The rings
 * are the guest's and may change at any moment, so each index, length and address is read once and
 * checked; whatever makes no sense breaks the queue. One thread uses a queue at a time.
 */
#ifndef DEVICES_VIRTIO_VIRTQUEUE_H
#define DEVICES_VIRTIO_VIRTQUEUE_H

#include "vmm/core/memory.h"

#define VIRTQUEUE_SIZE_MAX 512
/* Most pieces of memory that one chain may have, table and ring together. */
#define VIRTQUEUE_IOV_MAX 514

struct virtqueue {
	struct guest_memory *memory;
	uint16_t size;    /* a power of two */
	bool event_index; /* VIRTIO_F_EVENT_IDX was negotiated */
	bool broken;      /* the device must be reset */
	uint64_t used_address;
	const uint8_t *desc, *avail;
	uint16_t next_avail; /* next chain to take */
	uint16_t next_used;  /* next element to fill in */
	uint16_t signalled;  /* next_used when the guest was last asked about an interrupt */
};

/*
 * A chain of buffers, translated. iov[0 .. out_count) is what the device reads, the in_count pieces
 * behind are what it writes. Lengths are in bytes and never wrap.
 */
struct virtqueue_chain {
	uint16_t head;
	unsigned out_count, in_count;
	uint32_t out_bytes, in_bytes;
	struct iovec iov[VIRTQUEUE_IOV_MAX];
	/* Of the pieces of `iov`, as the guest has them. */
	struct virtqueue_piece {
		uint64_t gpa;
		uint32_t length;
	} piece[VIRTQUEUE_IOV_MAX];
};

/*
 * Take the rings at the addresses that the guest gave. -EFAULT where they are no memory, -EINVAL
 * where size or alignment break 2.7.
 */
int virtqueue_start(struct virtqueue *vq, struct guest_memory *memory, uint16_t size,
		    bool event_index, uint64_t desc, uint64_t avail, uint64_t used);

/*
 * Go on from where a queue was saved, after a start. -EINVAL where more chains would be out than
 * the ring has, or more elements unpublished.
 */
int virtqueue_continue(struct virtqueue *vq, uint16_t next_avail, uint16_t next_used,
		       uint16_t signalled);

/* 1: a chain was taken, 0: there is none, -EPROTO: the queue is broken, now or since before. */
int virtqueue_pop(struct virtqueue *vq, struct virtqueue_chain *chain);

/*
 * Give the last `count` chains that were taken back untouched: they are taken again. None of them
 * was pushed, nor any chain taken since.
 */
void virtqueue_return(struct virtqueue *vq, uint16_t count);

/*
 * Something was written into pieces of a chain since it was taken: the memory's owner, who was told
 * then, is told again (vmm/core/memory.h). Ahead of push.
 */
void virtqueue_pieces_written(struct virtqueue *vq, const struct virtqueue_piece *piece,
			      unsigned count);
/* All of a chain's writable part. */
static inline void virtqueue_written(struct virtqueue *vq, const struct virtqueue_chain *chain)
{
	virtqueue_pieces_written(vq, chain->piece + chain->out_count, chain->in_count);
}

/* Give a chain back with `written` bytes in its writable part. The guest sees it at publish. */
void virtqueue_push(struct virtqueue *vq, uint16_t head, uint32_t written);

/* Show the guest what was pushed. True: the guest wants an interrupt for it. */
bool virtqueue_publish(struct virtqueue *vq);

/* Ask the guest not to ring while we are looking anyway. A hint. */
void virtqueue_quiet(struct virtqueue *vq);

/* Ask to be rung for the next chain. True: one is there already, look again. */
bool virtqueue_listen(struct virtqueue *vq);

/* Is there a chain to take? Cheap; for polling. */
bool virtqueue_pending(const struct virtqueue *vq);

/*
 * Copy from or to the front of `*iov`, and move `*iov` and `*count` behind it. Returns how many
 * bytes were copied, less than `size` where the pieces end.
 */
size_t iov_take(struct iovec **iov, unsigned *count, void *to, size_t size);
size_t iov_give(struct iovec **iov, unsigned *count, const void *from, size_t size);

#endif
