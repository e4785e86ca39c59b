/* SPDX-License-Identifier: MIT */
/* virtio-net: the control queue (virtio 1.2, 5.1.6.5), and the filters that it sets. */
#include <errno.h>
#include <string.h>

#include "devices/virtio/net_impl.h"
#include "vmm/base/bytes.h"

#define ACK_OK  0u
#define ACK_ERR 1u

enum { CLASS_RX = 0, CLASS_MAC = 1, CLASS_ANNOUNCE = 3, CLASS_MQ = 4, CLASS_OFFLOADS = 5 };
enum { MAC_TABLE_SET = 0, MAC_ADDR_SET = 1 };

#define COMMAND_MAX 16384u

/* What the driver sends, as far as it was not looked at. */
struct message {
	const uint8_t *at;
	size_t left;
};

static const uint8_t *take(struct message *m, size_t bytes)
{
	const uint8_t *at = m->at;

	if (bytes > m->left)
		return NULL;
	m->at += bytes;
	m->left -= bytes;
	return at;
}

static void filter_changed(struct virtio_net *n)
{
	atomic_fetch_add(&n->filter_version, 1);
}

void net_filter_reset(struct virtio_net *n)
{
	pthread_mutex_lock(&n->lock);
	n->filter = (struct net_filter){0};
	memcpy(n->filter.mac, n->mac, NET_MAC);
	/* 5.1.6.5.1: without the feature all frames come. */
	n->filter.promiscuous = !virtio_has(&n->vdev, F_CTRL_RX);
	filter_changed(n);
	pthread_mutex_unlock(&n->lock);
}

static bool listed(const uint8_t (*list)[NET_MAC], unsigned count, const uint8_t *mac)
{
	for (unsigned i = 0; i < count; i++)
		if (memcmp(list[i], mac, NET_MAC) == 0)
			return true;
	return false;
}

bool net_filter_wants(const struct net_filter *f, const uint8_t destination[NET_MAC])
{
	static const uint8_t broadcast[NET_MAC] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	if (f->promiscuous)
		return true;
	if (memcmp(destination, broadcast, NET_MAC) == 0)
		return !f->no_broadcast;
	if (destination[0] & 1)
		return !f->no_multicast &&
		       (f->all_multicast || listed(f->multicast, f->multicast_count, destination));
	return !f->no_unicast && (f->all_unicast || memcmp(destination, f->mac, NET_MAC) == 0 ||
				  listed(f->unicast, f->unicast_count, destination));
}

/* 5.1.6.5.1. */
static bool set_rx(struct virtio_net *n, uint8_t command, struct message *m)
{
	struct net_filter *f = &n->filter;
	bool *const flags[] = {&f->promiscuous,  &f->all_multicast, &f->all_unicast,
			       &f->no_multicast, &f->no_unicast,    &f->no_broadcast};
	const uint8_t *on = take(m, 1);

	if (!on || command >= sizeof(flags) / sizeof(flags[0]))
		return false;
	*flags[command] = *on;
	return true;
}

/* A table that is too long for ours stands for all addresses of its kind. */
static bool table_take(struct message *m, uint8_t (*list)[NET_MAC], unsigned *count, bool *all)
{
	const uint8_t *entries = take(m, 4), *macs;
	uint32_t wanted = entries ? le32_get(entries) : 0;

	macs = entries ? take(m, (size_t)wanted * NET_MAC) : NULL;
	if (!macs)
		return false;
	*all = wanted > MACS_MAX;
	*count = *all ? 0 : wanted;
	memcpy(list, macs, (size_t)*count * NET_MAC);
	return true;
}

/* 5.1.6.5.2. */
static bool set_mac(struct virtio_net *n, uint8_t command, struct message *m)
{
	struct net_filter next = n->filter;
	bool unicast, multicast;
	const uint8_t *mac;

	if (command == MAC_ADDR_SET) {
		mac = take(m, NET_MAC);
		if (!mac || (mac[0] & 1) || (!n->any_source && memcmp(mac, n->mac, NET_MAC) != 0))
			return false;
		memcpy(n->filter.mac, mac, NET_MAC);
		return true;
	}
	if (command != MAC_TABLE_SET ||
	    !table_take(m, next.unicast, &next.unicast_count, &unicast) ||
	    !table_take(m, next.multicast, &next.multicast_count, &multicast))
		return false;
	next.all_unicast |= unicast;
	next.all_multicast |= multicast;
	n->filter = next;
	return true;
}

/* 5.1.6.5.5. */
static bool set_pairs(struct virtio_net *n, uint8_t command, struct message *m)
{
	const uint8_t *pairs = take(m, 2);
	unsigned count = pairs ? le16_get(pairs) : 0;

	if (command != 0 || count < 1 || count > n->net->info.queues)
		return false;
	for (unsigned i = 0; i < count; i++)
		if (!n->vdev.queue[queue_receive(i)].enabled ||
		    !n->vdev.queue[queue_send(i)].enabled)
			return false;
	if (n->net->ops->set_queues(n->net, count))
		return false;
	atomic_store(&n->active, count);
	net_wake_all(n);
	return true;
}

unsigned net_guest_offloads(uint64_t features)
{
	unsigned offloads = 0;

	if (!(features & F_GUEST_CSUM))
		return 0;
	offloads |= NET_CSUM;
	offloads |= features & F_GUEST_TSO4 ? NET_TSO4 : 0u;
	offloads |= features & F_GUEST_TSO6 ? NET_TSO6 : 0u;
	offloads |= features & F_GUEST_ECN ? NET_TSO_ECN : 0u;
	if ((features & (F_GUEST_USO4 | F_GUEST_USO6)) == (F_GUEST_USO4 | F_GUEST_USO6))
		offloads |= NET_USO;
	return offloads;
}

/* 5.1.6.5.6: of what was negotiated. */
static bool set_offloads(struct virtio_net *n, uint8_t command, struct message *m)
{
	const uint8_t *wanted = take(m, 8);
	uint64_t features = wanted ? le64_get(wanted) : 0;

	if (command != 0 || !wanted || features & ~n->vdev.accepted)
		return false;
	if (n->net->ops->set_offloads(n->net, net_guest_offloads(features)))
		return false;
	n->guest_offloads = features;
	return true;
}

static bool set_announced(struct virtio_net *n, uint8_t command)
{
	if (command != 0)
		return false;
	atomic_fetch_and(&n->link, (uint16_t)~STATUS_ANNOUNCE);
	return true;
}

static bool carry_out(struct virtio_net *n, uint8_t class, uint8_t command, struct message *m)
{
	switch (class) {
	case CLASS_RX:
		return virtio_has(&n->vdev, command < 2 ? F_CTRL_RX : F_CTRL_RX_EXTRA) &&
		       set_rx(n, command, m);
	case CLASS_MAC:
		return virtio_has(&n->vdev, command == MAC_ADDR_SET ? F_CTRL_MAC : F_CTRL_RX) &&
		       set_mac(n, command, m);
	case CLASS_ANNOUNCE:
		return virtio_has(&n->vdev, F_GUEST_ANNOUNCE) && set_announced(n, command);
	case CLASS_MQ:
		return virtio_has(&n->vdev, F_MQ) && set_pairs(n, command, m);
	case CLASS_OFFLOADS:
		return virtio_has(&n->vdev, F_GUEST_OFFLOADS) && set_offloads(n, command, m);
	default:
		return false;
	}
}

/* Class, command, and what belongs to them; one copy, the guest may be changing it. */
static uint8_t answer(struct virtio_net *n, struct virtqueue_chain *chain)
{
	uint8_t bytes[COMMAND_MAX];
	struct iovec *out = chain->iov;
	unsigned count = chain->out_count;
	struct message m = {.at = bytes};
	const uint8_t *head;
	bool done;

	if (chain->out_bytes > sizeof(bytes))
		return ACK_ERR;
	m.left = iov_take(&out, &count, bytes, sizeof(bytes));
	head = take(&m, 2);
	if (!head)
		return ACK_ERR;
	pthread_mutex_lock(&n->lock);
	done = carry_out(n, head[0], head[1], &m);
	if (done)
		filter_changed(n);
	pthread_mutex_unlock(&n->lock);
	return done ? ACK_OK : ACK_ERR;
}

int net_control_serve(struct virtio_net *n)
{
	struct virtqueue *ring = &n->vdev.queue[queue_control(n)].ring;
	struct virtqueue_chain *chain = &n->control;
	int ret = 1;

	for (unsigned i = 0; i < ring->size && ret > 0; i++) {
		struct iovec *in;
		unsigned count;
		uint8_t ack;

		ret = virtqueue_pop(ring, chain);
		if (ret <= 0)
			break;
		in = chain->iov + chain->out_count;
		count = chain->in_count;
		ack = answer(n, chain);
		iov_give(&in, &count, &ack, 1);
		virtqueue_written(ring, chain);
		virtqueue_push(ring, chain->head, chain->in_count ? 1 : 0);
	}
	virtio_queue_publish(&n->vdev, queue_control(n));
	return ret < 0 ? ret : 0;
}
