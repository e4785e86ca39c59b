/* SPDX-License-Identifier: MIT */
/* virtio-net: what the queues' threads and the control queue share. */
#ifndef DEVICES_VIRTIO_NET_IMPL_H
#define DEVICES_VIRTIO_NET_IMPL_H

#include "devices/virtio/net.h"
#include "devices/worker.h"

/* 5.1.3: features. */
#define F_CSUM           (1ull << 0)
#define F_GUEST_CSUM     (1ull << 1)
#define F_GUEST_OFFLOADS (1ull << 2)
#define F_MTU            (1ull << 3)
#define F_MAC            (1ull << 5)
#define F_GUEST_TSO4     (1ull << 7)
#define F_GUEST_TSO6     (1ull << 8)
#define F_GUEST_ECN      (1ull << 9)
#define F_HOST_TSO4      (1ull << 11)
#define F_HOST_TSO6      (1ull << 12)
#define F_HOST_ECN       (1ull << 13)
#define F_MRG_RXBUF      (1ull << 15)
#define F_STATUS         (1ull << 16)
#define F_CTRL_VQ        (1ull << 17)
#define F_CTRL_RX        (1ull << 18)
#define F_CTRL_RX_EXTRA  (1ull << 20)
#define F_GUEST_ANNOUNCE (1ull << 21)
#define F_MQ             (1ull << 22)
#define F_CTRL_MAC       (1ull << 23)
#define F_GUEST_USO4     (1ull << 54)
#define F_GUEST_USO6     (1ull << 55)
#define F_HOST_USO       (1ull << 56)

#define QUEUE_SIZE 256
#define MACS_MAX   64u

/* 5.1.4: configuration. */
enum { CONFIG_MAC = 0, CONFIG_STATUS = 6, CONFIG_PAIRS = 8, CONFIG_MTU = 10, CONFIG_SIZE = 12 };
#define STATUS_LINK_UP  1u
#define STATUS_ANNOUNCE 2u

/* Which frames the guest wants (5.1.6.5.1, 5.1.6.5.2). */
struct net_filter {
	uint8_t mac[NET_MAC];
	bool promiscuous, all_multicast, all_unicast, no_multicast, no_unicast, no_broadcast;
	unsigned unicast_count, multicast_count;
	uint8_t unicast[MACS_MAX][NET_MAC], multicast[MACS_MAX][NET_MAC];
};

/* Buffers of the receive queue that were taken, in order, and wait for frames. */
#define STAGED_CHAINS 128u
#define STAGED_PIECES 768u

struct net_staged {
	unsigned first, count; /* chains */
	unsigned piece_first, piece_count;
	size_t bytes;
	struct {
		uint16_t head;
		unsigned pieces;
		size_t bytes;
	} chain[STAGED_CHAINS];
	struct iovec iov[STAGED_PIECES];
	struct virtqueue_piece piece[STAGED_PIECES];
};

struct net_pair {
	struct virtio_net *net;
	unsigned index;
	struct worker worker;
	bool blocked;                     /* a frame waits in `out` for room on the network */
	bool lost, told;                  /* the network is gone, and somebody was told */
	bool dry;                         /* no frame waited when it was looked at last */
	uint64_t receive_rest, send_rest; /* ns: as long nothing may pass */
	unsigned filter_version;
	struct net_filter filter; /* this thread's copy */
	struct net_staged staged;
	/* A frame that came when there was no room for all of it, and waits for more buffers. */
	size_t held, held_in_buffers; /* its bytes, 0: there is none; and how many are in those */
	uint8_t held_rest[NET_HEADER + NET_FRAME_MAX];
	struct virtqueue_chain
		chain; /* the frame that is sent; its header and addresses; all of it */
	uint8_t head[NET_HEADER + 14];
	unsigned out_count;
	struct iovec out[VIRTQUEUE_IOV_MAX + 1];
};

struct virtio_net {
	struct virtio_device vdev;
	struct net *net;
	bool any_source;
	uint8_t mac[NET_MAC];  /* the NIC's own */
	uint8_t told[NET_MAC]; /* what the driver takes for that */
	_Atomic uint16_t link; /* STATUS_* */
	pthread_mutex_t lock;  /* guards `filter` */
	struct net_filter filter;
	_Atomic unsigned filter_version;
	struct ratelimit limit;
	struct throttle receiving, sending;
	struct {
		_Atomic uint64_t received, received_bytes, sent, sent_bytes, filtered, oversize,
			malformed, spoofed, refused;
	} counts;
	_Atomic unsigned active; /* pairs that frames come to */
	uint64_t guest_offloads; /* features that the network may use now; the first pair's */
	struct net_pair *pair[NET_QUEUES_MAX];
	struct virtqueue_chain control; /* of the first pair's thread */
};

static inline unsigned queue_receive(unsigned pair)
{
	return 2 * pair;
}

static inline unsigned queue_send(unsigned pair)
{
	return 2 * pair + 1;
}

/* 5.1.2: behind all pairs, or behind the first where the driver knows no more. */
static inline unsigned queue_control(const struct virtio_net *n)
{
	return virtio_has(&n->vdev, F_MQ) ? 2 * n->net->info.queues : 2;
}

static inline void net_count(_Atomic uint64_t *count, uint64_t more)
{
	atomic_fetch_add_explicit(count, more, memory_order_relaxed);
}

/* net_state.c: see struct virtio_ops. */
void net_state(void *device, unsigned instance, struct codec *codec);

/* net_control.c. Filters as they are after a reset. */
void net_filter_reset(struct virtio_net *n);
/* Commands that wait: on the first pair's thread. -EPROTO: the queue is broken. */
int net_control_serve(struct virtio_net *n);
/* Does the guest want a frame to `destination`? */
bool net_filter_wants(const struct net_filter *f, const uint8_t destination[NET_MAC]);
/* All threads look again. */
void net_wake_all(struct virtio_net *n);
/* What the backend may leave to a guest with these features. */
unsigned net_guest_offloads(uint64_t features);

#endif
