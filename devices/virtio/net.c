/* SPDX-License-Identifier: MIT */
/*
 * virtio-net. A frame crosses once: the network's read and write calls work on the guest's own
 * buffers. What is decided on, its header and its addresses, is copied first. Buffers for frames to
 * come are taken ahead and wait ("staged"), as nobody knows how many the next one takes: one that
 * needs several has them merged (virtio 1.2, 5.1.6.4).
 */
#include "devices/virtio/net.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/net_impl.h"
#include "vmm/base/bytes.h"
#include "vmm/base/checked.h"
#include "vmm/base/clock.h"

/* A turn: a guest, or a network, that is always busy must not keep a queue from the other one. */
#define TURN_FRAMES 64u

#define ETHERNET_SIZE 14u

/* 5.1.6: the header. */
enum { HEADER_FLAGS = 0, HEADER_GSO = 1, HEADER_LENGTH = 2, HEADER_GSO_SIZE = 4 };
enum { HEADER_CSUM_START = 6, HEADER_CSUM_OFFSET = 8, HEADER_BUFFERS = 10 };
#define NEEDS_CSUM 1u
enum { GSO_NONE = 0, GSO_TCPV4 = 1, GSO_TCPV6 = 4, GSO_UDP_L4 = 5, GSO_ECN = 0x80 };

/* What is cut into several counts as so many: by its header. */
static uint64_t frames_of(const uint8_t header[NET_HEADER], size_t length)
{
	uint16_t size = le16_get(header + HEADER_GSO_SIZE);

	return header[HEADER_GSO] == GSO_NONE || size == 0 ? 1 : (length + size - 1) / size;
}

/* Receiving. */

/* More than the largest frame that may come, where buffers can be merged. */
static size_t room_wanted(const struct net_pair *p)
{
	const struct virtio_net *n = p->net;
	bool large = net_guest_offloads(n->vdev.accepted) & ~(unsigned)NET_CSUM;

	if (!virtio_has(&n->vdev, F_MRG_RXBUF))
		return 1;
	if (p->held)
		return p->held;
	return NET_HEADER + (large ? NET_FRAME_MAX : n->net->info.mtu + ETHERNET_SIZE + 4);
}

static void staged_front(struct net_staged *s)
{
	memmove(s->chain, s->chain + s->first, s->count * sizeof(s->chain[0]));
	memmove(s->iov, s->iov + s->piece_first, s->piece_count * sizeof(s->iov[0]));
	memmove(s->piece, s->piece + s->piece_first, s->piece_count * sizeof(s->piece[0]));
	s->first = s->piece_first = 0;
}

/* False: it has too many pieces for what is free. */
static bool staged_add(struct net_staged *s, const struct virtqueue_chain *chain)
{
	unsigned at;

	/* One piece stays free: receive_frame puts one behind all. */
	if (s->first + s->count == STAGED_CHAINS ||
	    s->piece_first + s->piece_count + chain->in_count >= STAGED_PIECES)
		staged_front(s);
	if (s->piece_count + chain->in_count >= STAGED_PIECES)
		return false;
	at = s->piece_first + s->piece_count;
	memcpy(s->iov + at, chain->iov + chain->out_count, chain->in_count * sizeof(s->iov[0]));
	memcpy(s->piece + at, chain->piece + chain->out_count,
	       chain->in_count * sizeof(s->piece[0]));
	s->chain[s->first + s->count].head = chain->head;
	s->chain[s->first + s->count].pieces = chain->in_count;
	s->chain[s->first + s->count++].bytes = chain->in_bytes;
	s->piece_count += chain->in_count;
	s->bytes += chain->in_bytes;
	return true;
}

static bool has_room(const struct net_pair *p)
{
	return p->staged.bytes >= room_wanted(p);
}

/* Give back the first one. */
static void staged_push(struct net_pair *p, size_t written)
{
	struct virtqueue *ring = &p->net->vdev.queue[queue_receive(p->index)].ring;
	struct net_staged *s = &p->staged;
	unsigned pieces = s->chain[s->first].pieces;

	virtqueue_pieces_written(ring, s->piece + s->piece_first, pieces);
	virtqueue_push(ring, s->chain[s->first].head, (uint32_t)written);
	s->bytes -= s->chain[s->first].bytes;
	s->piece_first += pieces;
	s->piece_count -= pieces;
	s->first++;
	s->count--;
}

/*
 * Buffers without room have no frame to wait for. They go back in their turn, so that what is
 * staged is always what was taken last.
 */
static void empty_push(struct net_pair *p)
{
	while (p->staged.count && p->staged.chain[p->staged.first].bytes == 0)
		staged_push(p, 0);
}

/* Take buffers until there are enough. -EPROTO: the queue is broken. */
static int stage(struct net_pair *p)
{
	struct virtqueue *ring = &p->net->vdev.queue[queue_receive(p->index)].ring;
	struct net_staged *s = &p->staged;
	struct virtqueue_chain chain;

	empty_push(p);
	/* A chain may have so many pieces that it fits only where there are few others. */
	while (!has_room(p) && s->count < STAGED_CHAINS &&
	       s->piece_count + VIRTQUEUE_IOV_MAX < STAGED_PIECES) {
		int ret = virtqueue_pop(ring, &chain);

		if (ret <= 0)
			return ret;
		if (!staged_add(s, &chain))
			assert(false);
		empty_push(p);
	}
	return 0;
}
/* A byte of a frame that lies in buffers. */
static uint8_t *frame_byte(const struct iovec *iov, size_t offset)
{
	for (; offset >= iov->iov_len; iov++)
		offset -= iov->iov_len;
	return (uint8_t *)iov->iov_base + offset;
}

static void receive_spend(struct net_pair *p, size_t bytes)
{
	const struct net_staged *s = &p->staged;
	uint8_t header[NET_HEADER];

	for (unsigned i = 0; i < NET_HEADER; i++)
		header[i] = *frame_byte(s->iov + s->piece_first, i);
	throttle_spend(&p->net->receiving, bytes - NET_HEADER,
		       frames_of(header, bytes - NET_HEADER));
}

/* How many buffers it takes, in the header; then they are the guest's. */
static void frame_give(struct net_pair *p, size_t bytes)
{
	struct net_staged *s = &p->staged;
	unsigned chains = 0;

	if (throttle_holds(&p->net->receiving))
		receive_spend(p, bytes);
	for (size_t have = 0; have < bytes; chains++)
		have += s->chain[s->first + chains].bytes;
	*frame_byte(s->iov + s->piece_first, HEADER_BUFFERS) = (uint8_t)chains;
	*frame_byte(s->iov + s->piece_first, HEADER_BUFFERS + 1) = (uint8_t)(chains >> 8);
	net_count(&p->net->counts.received, 1);
	net_count(&p->net->counts.received_bytes, bytes - NET_HEADER);
	while (chains--) {
		size_t room = s->chain[s->first].bytes, written = bytes < room ? bytes : room;

		staged_push(p, written);
		bytes -= written;
	}
}

/* What the guest said until now holds for the frame at hand. */
static void filter_refresh(struct net_pair *p)
{
	struct virtio_net *n = p->net;

	if (p->filter_version == atomic_load(&n->filter_version))
		return;
	pthread_mutex_lock(&n->lock);
	p->filter_version = atomic_load(&n->filter_version);
	p->filter = n->filter;
	pthread_mutex_unlock(&n->lock);
}

/* No more buffers can be added to those that are staged. */
static bool is_most(const struct net_pair *p)
{
	const struct virtio_device *vdev = &p->net->vdev;
	const struct net_staged *s = &p->staged;

	return !virtio_has(vdev, F_MRG_RXBUF) ||
	       s->count == vdev->queue[queue_receive(p->index)].ring.size ||
	       s->count == STAGED_CHAINS || s->piece_count + VIRTQUEUE_IOV_MAX >= STAGED_PIECES;
}

/* What had no room, to where it belongs. */
static void held_copy(struct net_pair *p, size_t all)
{
	const struct net_staged *s = &p->staged;
	const struct iovec *iov = s->iov + s->piece_first;
	size_t done = p->held_in_buffers, begin = 0;

	for (; done < all; begin += iov->iov_len, iov++) {
		size_t end = begin + iov->iov_len, bytes = (end < all ? end : all) - done;

		if (end <= done)
			continue;
		memcpy((uint8_t *)iov->iov_base + (done - begin),
		       p->held_rest + (done - p->held_in_buffers), bytes);
		done += bytes;
	}
}

/* Into `held`: 0 if it was lost. False: there is none, or the network is gone. */
static bool frame_hold(struct net_pair *p)
{
	struct virtio_net *n = p->net;
	struct net_staged *s = &p->staged;
	ssize_t bytes;

	s->iov[s->piece_first + s->piece_count] =
		(struct iovec){p->held_rest, sizeof(p->held_rest)};
	bytes = n->net->ops->receive(n->net, p->index, s->iov + s->piece_first, s->piece_count + 1);
	p->dry = bytes == -EAGAIN;
	if (bytes < 0 && bytes != -EMSGSIZE) {
		p->lost = bytes != -EAGAIN;
		return false;
	}
	if (bytes < 0)
		net_count(&n->counts.oversize, 1);
	p->held = bytes < 0 ? 0 : (size_t)bytes;
	p->held_in_buffers = s->bytes;
	return true;
}

/* 1: there was one, 0: there is none, it waits for more buffers, or the network is gone. */
static int receive_frame(struct net_pair *p)
{
	struct virtio_net *n = p->net;
	const struct net_staged *s = &p->staged;
	uint8_t destination[NET_MAC];
	size_t bytes;

	if (!p->held && !frame_hold(p))
		return 0;
	bytes = p->held;
	if (bytes > s->bytes && !is_most(p))
		return 0;
	p->held = 0;
	if (bytes > s->bytes) {
		net_count(&n->counts.oversize, 1);
		return 1;
	}
	if (bytes < NET_HEADER + ETHERNET_SIZE)
		return 1;
	held_copy(p, bytes);
	for (unsigned i = 0; i < NET_MAC; i++)
		destination[i] = *frame_byte(s->iov + s->piece_first, NET_HEADER + i);
	filter_refresh(p);
	if (net_filter_wants(&p->filter, destination))
		frame_give(p, bytes);
	else
		net_count(&n->counts.filtered, 1);
	return 1;
}

/* *rest is how long to wait, else. Most NICs have no rates, and need no clock. */
static bool may_pass(struct throttle *throttle, uint64_t *rest)
{
	if (!throttle_holds(throttle))
		return true;
	*rest = throttle_wait(throttle, clock_monotonic_ns());
	return *rest == 0;
}

static bool is_active(const struct net_pair *p)
{
	return p->index < atomic_load(&p->net->active) && !p->lost;
}

/*
 * Did anything come? -EPROTO: the queue is broken. Where nothing waited, and the turn has brought
 * nothing since (`sent`), poll says if something does now: it is asked next.
 */
static int receive_serve(struct net_pair *p, bool sent)
{
	unsigned frames = 0, most = p->dry && !p->held && !sent ? 0 : TURN_FRAMES;
	int ret = stage(p);

	p->receive_rest = 0;
	while (ret == 0 && frames < most && p->staged.count && is_active(p) &&
	       may_pass(&p->net->receiving, &p->receive_rest) && receive_frame(p)) {
		frames++;
		ret = stage(p);
	}
	virtio_queue_publish(&p->net->vdev, queue_receive(p->index));
	return ret < 0 ? ret : frames > 0;
}

/* Sending. */

/* 5.1.6.2: what the driver asks for is what was negotiated, and lies within the frame. */
static bool header_good(const struct virtio_net *n, uint8_t header[NET_HEADER], size_t length)
{
	unsigned gso = header[HEADER_GSO] & ~(unsigned)GSO_ECN;
	uint64_t needed = header[HEADER_GSO] & GSO_ECN ? F_HOST_ECN : 0;
	size_t summed = le16_get(header + HEADER_CSUM_START);
	size_t checksum = summed + le16_get(header + HEADER_CSUM_OFFSET);

	header[HEADER_FLAGS] &= NEEDS_CSUM;
	le16_put(header + HEADER_BUFFERS, 0);
	if (gso == GSO_TCPV4)
		needed |= F_HOST_TSO4;
	else if (gso == GSO_TCPV6)
		needed |= F_HOST_TSO6;
	else if (gso == GSO_UDP_L4)
		needed |= F_HOST_USO;
	else if (gso != GSO_NONE)
		return false;
	if (header[HEADER_FLAGS])
		needed |= F_CSUM;
	if ((n->vdev.accepted & needed) != needed)
		return false;
	/* A sum in the frame's own header would change whose frame it is. */
	if (header[HEADER_FLAGS] && (summed < ETHERNET_SIZE || checksum + 2 > length))
		return false;
	if (gso == GSO_NONE)
		return header[HEADER_GSO] == GSO_NONE;
	return header[HEADER_FLAGS] && le16_get(header + HEADER_GSO_SIZE) &&
	       le16_get(header + HEADER_LENGTH) <= length;
}

/* The frame of p->chain, in p->out, with its head copied. False: it is dropped. */
static bool frame_take(struct net_pair *p)
{
	struct virtio_net *n = p->net;
	struct iovec *iov = p->chain.iov;
	unsigned count = p->chain.out_count;
	size_t length = p->chain.out_bytes - NET_HEADER;

	if (p->chain.out_bytes < sizeof(p->head) ||
	    p->chain.out_bytes > NET_HEADER + NET_FRAME_MAX ||
	    iov_take(&iov, &count, p->head, sizeof(p->head)) != sizeof(p->head) ||
	    !header_good(n, p->head, length)) {
		net_count(&n->counts.malformed, 1);
		return false;
	}
	if (!n->any_source && memcmp(p->head + NET_HEADER + NET_MAC, n->mac, NET_MAC) != 0) {
		net_count(&n->counts.spoofed, 1);
		return false;
	}
	p->out[0] = (struct iovec){p->head, sizeof(p->head)};
	memcpy(p->out + 1, iov, count * sizeof(*iov));
	p->out_count = count + 1;
	return true;
}

static void frame_done(struct net_pair *p)
{
	virtqueue_push(&p->net->vdev.queue[queue_send(p->index)].ring, p->chain.head, 0);
}

/* False: there is no room, it waits. */
static bool frame_send(struct net_pair *p)
{
	struct virtio_net *n = p->net;
	int ret = n->net->ops->send(n->net, p->index, p->out, p->out_count);

	/* For a pair that frames do not come to nobody waits: it is refused. */
	p->blocked = ret == -EAGAIN && is_active(p);
	if (p->blocked)
		return false;
	if (ret == 0) {
		net_count(&n->counts.sent, 1);
		net_count(&n->counts.sent_bytes, p->chain.out_bytes - NET_HEADER);
		throttle_spend(&n->sending, p->chain.out_bytes - NET_HEADER,
			       frames_of(p->head, p->chain.out_bytes - NET_HEADER));
	} else {
		net_count(ret == -EINVAL ? &n->counts.malformed : &n->counts.refused, 1);
	}
	frame_done(p);
	return true;
}

/* As receive_serve. */
static int send_serve(struct net_pair *p)
{
	struct virtqueue *ring = &p->net->vdev.queue[queue_send(p->index)].ring;
	unsigned frames = 0;
	int ret = 1;

	p->send_rest = 0;
	if (p->blocked && frame_send(p))
		frames++;
	while (frames < TURN_FRAMES && !p->blocked && may_pass(&p->net->sending, &p->send_rest)) {
		ret = virtqueue_pop(ring, &p->chain);
		if (ret <= 0)
			break;
		frames++;
		if (frame_take(p))
			frame_send(p);
		else
			frame_done(p);
	}
	virtio_queue_publish(&p->net->vdev, queue_send(p->index));
	return ret < 0 ? ret : frames > 0 && !p->blocked && !p->send_rest;
}

/* Threads. */

static bool has_control(const struct net_pair *p)
{
	return p->index == 0 && p->net->vdev.queue[queue_control(p->net)].enabled &&
	       virtio_has(&p->net->vdev, F_CTRL_VQ);
}

static void drain(struct net_pair *p, const struct pollfd *fd, unsigned queue)
{
	if (fd->revents & POLLIN)
		virtio_queue_drain_kick(&p->net->vdev, queue);
}

/* Is there something to do that nobody would ring for? */
static bool is_pending(struct net_pair *p)
{
	struct virtio_device *vdev = &p->net->vdev;

	return (!has_room(p) && virtqueue_listen(&vdev->queue[queue_receive(p->index)].ring)) ||
	       (!p->blocked && !p->send_rest &&
		virtqueue_listen(&vdev->queue[queue_send(p->index)].ring)) ||
	       (has_control(p) && virtqueue_listen(&vdev->queue[queue_control(p->net)].ring));
}

/* The sooner of both; NULL: nothing rests. */
static const struct timespec *rest_of(const struct net_pair *p, struct timespec *out)
{
	uint64_t rest = p->receive_rest;

	if (rest == 0 || (p->send_rest && p->send_rest < rest))
		rest = p->send_rest;
	*out = (struct timespec){.tv_sec = (time_t)(rest / CLOCK_NS_PER_S),
				 .tv_nsec = (long)(rest % CLOCK_NS_PER_S)};
	return rest ? out : NULL;
}

static void wait_for_work(struct net_pair *p)
{
	struct virtio_device *vdev = &p->net->vdev;
	struct net *net = p->net->net;
	unsigned queue[3] = {queue_send(p->index), queue_receive(p->index), queue_control(p->net)};
	struct timespec rest;
	struct pollfd fd[4];
	short events = 0;

	if (is_pending(p)) {
		p->dry = false;
		return;
	}
	if (is_active(p))
		events = (short)((p->staged.count && !p->receive_rest && !p->held ? POLLIN : 0) |
				 (p->blocked ? POLLOUT : 0));
	for (unsigned i = 0; i < 3; i++)
		fd[i] = (struct pollfd){.fd = vdev->queue[queue[i]].kick_fd, .events = POLLIN};
	if (!has_control(p))
		fd[2].fd = -1;
	fd[3] = (struct pollfd){.fd = events ? net->ops->fd(net, p->index) : -1, .events = events};
	if (ppoll(fd, 4, rest_of(p, &rest), NULL) < 0)
		return;
	for (unsigned i = 0; i < 3; i++)
		drain(p, &fd[i], queue[i]);
	if (fd[3].revents)
		p->dry = false;
}

/* Leave the queues as if nothing had been taken that was not given back. */
static void pair_unwind(struct net_pair *p)
{
	struct virtio_device *vdev = &p->net->vdev;

	virtqueue_return(&vdev->queue[queue_receive(p->index)].ring, (uint16_t)p->staged.count);
	p->staged.first = p->staged.count = p->staged.piece_first = p->staged.piece_count = 0;
	p->staged.bytes = p->held = 0;
	virtqueue_return(&vdev->queue[queue_send(p->index)].ring, p->blocked);
	p->blocked = p->dry = false;
}

/* One turn. -EPROTO: a queue is broken. */
static int pair_turn(struct net_pair *p)
{
	struct virtio_net *n = p->net;
	int sent, received, ret = has_control(p) ? net_control_serve(n) : 0;

	sent = send_serve(p);
	received = receive_serve(p, sent > 0);
	if (ret < 0 || sent < 0 || received < 0)
		return -EPROTO;
	if (p->lost && !p->told) {
		log_limited(&n->limit, LOG_WARN, "virtio-net: network '%s' is gone",
			    n->net->info.name);
		virtio_net_set_link(n, false);
	}
	p->told = p->lost;
	if (!sent && !received)
		wait_for_work(p);
	return 0;
}

static void pair_main(void *arg)
{
	struct net_pair *p = arg;
	char name[16];
	int ret = 0;

	snprintf(name, sizeof(name), "net%u", p->index);
	pthread_setname_np(pthread_self(), name);
	while (ret == 0) {
		if (!worker_called(&p->worker)) {
			ret = pair_turn(p);
			continue;
		}
		pair_unwind(p);
		if (!worker_rest(&p->worker))
			return;
	}
	virtio_broken(&p->net->vdev, "a malformed chain");
	pair_unwind(p);
}

static int pair_start(struct virtio_net *n, unsigned index)
{
	struct net_pair *p = n->pair[index];

	if (!p) {
		p = n->pair[index] = calloc(1, sizeof(*p));
		if (!p)
			return -ENOMEM;
	}
	*p = (struct net_pair){.net = n, .index = index};
	p->filter_version = atomic_load(&n->filter_version) - 1;
	return worker_start(&p->worker, pair_main, p);
}

static void pairs_call(struct virtio_net *n, enum worker_wish wish)
{
	for (unsigned i = 0; i < n->net->info.queues; i++) {
		if (!n->pair[i] || !n->pair[i]->worker.started)
			continue;
		worker_call(&n->pair[i]->worker, wish);
		virtio_queue_ring(&n->vdev, queue_send(i));
	}
}

static void net_stop(void *device)
{
	struct virtio_net *n = device;

	pairs_call(n, WORKER_END);
	for (unsigned i = 0; i < n->net->info.queues; i++)
		if (n->pair[i])
			worker_join(&n->pair[i]->worker);
}

static void net_resume(void *device)
{
	pairs_call(device, WORKER_RUN);
}

static void net_pause(void *device)
{
	struct virtio_net *n = device;

	pairs_call(n, WORKER_REST);
	for (unsigned i = 0; i < n->net->info.queues; i++)
		if (n->pair[i])
			worker_await(&n->pair[i]->worker);
}

void net_wake_all(struct virtio_net *n)
{
	for (unsigned i = 0; i < n->net->info.queues; i++)
		if (n->pair[i] && n->pair[i]->worker.started)
			virtio_queue_ring(&n->vdev, queue_send(i));
}

/* Until the driver asks for more it has one pair (5.1.5). */
static int net_start(void *device)
{
	struct virtio_net *n = device;
	unsigned pairs = virtio_has(&n->vdev, F_MQ) ? n->net->info.queues : 1;
	int ret;

	net_filter_reset(n);
	memcpy(n->told, n->mac, NET_MAC);
	atomic_store(&n->active, 1);
	n->guest_offloads = n->vdev.accepted;
	ret = n->net->ops->set_queues(n->net, 1);
	if (ret == 0)
		ret = n->net->ops->set_offloads(n->net, net_guest_offloads(n->vdev.accepted));
	for (unsigned i = 0; i < pairs && ret == 0; i++)
		if (n->vdev.queue[queue_receive(i)].enabled && n->vdev.queue[queue_send(i)].enabled)
			ret = pair_start(n, i);
	if (ret)
		net_stop(n);
	return ret;
}

/* Configuration. */

static void net_config_read(void *device, unsigned offset, uint8_t *to, unsigned size)
{
	const struct virtio_net *n = device;
	uint8_t c[CONFIG_SIZE];

	memcpy(c + CONFIG_MAC, n->mac, NET_MAC);
	le16_put(c + CONFIG_STATUS, atomic_load(&n->link));
	le16_put(c + CONFIG_PAIRS, (uint16_t)n->net->info.queues);
	le16_put(c + CONFIG_MTU, (uint16_t)n->net->info.mtu);
	memcpy(to, c + offset, size);
}

static const struct virtio_ops net_device_ops = {
	.name = "net",
	.id = 1,
	.class = 0x020000,
	.config_size = CONFIG_SIZE,
	.config_read = net_config_read,
	.start = net_start,
	.stop = net_stop,
	.resume = net_resume,
	.pause = net_pause,
	.state = net_state,
};

static uint64_t features_of(const struct net_info *info)
{
	uint64_t features = F_MAC | F_MTU | F_STATUS | F_MRG_RXBUF | F_CTRL_VQ | F_CTRL_RX |
			    F_CTRL_RX_EXTRA | F_CTRL_MAC | F_GUEST_ANNOUNCE;

	if (info->queues > 1)
		features |= F_MQ;
	if (info->offloads & NET_CSUM)
		features |= F_CSUM | F_GUEST_CSUM | F_GUEST_OFFLOADS;
	if (info->offloads & NET_TSO4)
		features |= F_HOST_TSO4 | F_GUEST_TSO4;
	if (info->offloads & NET_TSO6)
		features |= F_HOST_TSO6 | F_GUEST_TSO6;
	if (info->offloads & NET_TSO_ECN)
		features |= F_HOST_ECN | F_GUEST_ECN;
	if (info->offloads & NET_USO)
		features |= F_HOST_USO | F_GUEST_USO4 | F_GUEST_USO6;
	return features;
}

static void net_free(struct virtio_net *n)
{
	throttle_fini(&n->receiving);
	throttle_fini(&n->sending);
	pthread_mutex_destroy(&n->lock);
	free(n);
}

int virtio_net_create(struct guest_memory *memory, const struct virtio_net_config *config,
		      struct virtio_net **out)
{
	const struct net_info *info = &config->net->info;
	struct virtio_net *n = calloc(1, sizeof(*n));
	int ret;

	assert(info->queues >= 1 && info->queues <= NET_QUEUES_MAX);
	if (!n)
		return -ENOMEM;
	pthread_mutex_init(&n->lock, NULL);
	n->net = config->net;
	n->any_source = config->any_source;
	throttle_init(&n->receiving, &config->rates);
	throttle_init(&n->sending, &config->rates);
	memcpy(n->mac, config->mac, NET_MAC);
	atomic_store(&n->link, STATUS_LINK_UP);
	ret = virtio_init(&n->vdev, &net_device_ops, n, memory, features_of(info),
			  2 * info->queues + 1, QUEUE_SIZE);
	if (ret) {
		net_free(n);
		return ret;
	}
	*out = n;
	return 0;
}

void virtio_net_destroy(struct virtio_net *n)
{
	if (!n)
		return;
	virtio_fini(&n->vdev);
	for (unsigned i = 0; i < NET_QUEUES_MAX; i++)
		free(n->pair[i]);
	net_free(n);
}

struct virtio_device *virtio_net_device(struct virtio_net *n)
{
	return &n->vdev;
}

void virtio_net_counts(const struct virtio_net *n, struct net_counts *out)
{
	*out = (struct net_counts){
		.received = atomic_load(&n->counts.received),
		.received_bytes = atomic_load(&n->counts.received_bytes),
		.sent = atomic_load(&n->counts.sent),
		.sent_bytes = atomic_load(&n->counts.sent_bytes),
		.filtered = atomic_load(&n->counts.filtered),
		.oversize = atomic_load(&n->counts.oversize),
		.malformed = atomic_load(&n->counts.malformed),
		.spoofed = atomic_load(&n->counts.spoofed),
		.refused = atomic_load(&n->counts.refused),
	};
}

void virtio_net_set_link(struct virtio_net *n, bool up)
{
	if (up)
		atomic_fetch_or(&n->link, STATUS_LINK_UP);
	else
		atomic_fetch_and(&n->link, (uint16_t)~STATUS_LINK_UP);
	virtio_config_changed(&n->vdev);
}

bool virtio_net_is_known(const struct virtio_net *n)
{
	return !n->vdev.running || memcmp(n->told, n->mac, NET_MAC) == 0;
}

void virtio_net_announce(struct virtio_net *n)
{
	if (!virtio_has(&n->vdev, F_GUEST_ANNOUNCE))
		return;
	atomic_fetch_or(&n->link, STATUS_ANNOUNCE);
	virtio_config_changed(&n->vdev);
}
