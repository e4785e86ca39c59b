/* SPDX-License-Identifier: MIT */
/* virtio-net: saved state, which is what the control queue sets. */
#include <string.h>

#include "devices/virtio/net_impl.h"

struct net_fields {
	uint16_t link;
	unsigned active;
	uint64_t guest_offloads;
	struct net_filter filter;
	uint8_t told[NET_MAC];
};

static void macs_code(uint8_t (*list)[NET_MAC], unsigned *count, const char *what, struct codec *c)
{
	codec_count(c, count, MACS_MAX, what);
	for (unsigned i = 0; i < *count; i++)
		codec_bytes(c, list[i], NET_MAC);
}

static void filter_code(struct net_filter *f, struct codec *c)
{
	codec_bytes(c, f->mac, NET_MAC);
	codec_bool(c, &f->promiscuous);
	codec_bool(c, &f->all_multicast);
	codec_bool(c, &f->all_unicast);
	codec_bool(c, &f->no_multicast);
	codec_bool(c, &f->no_unicast);
	codec_bool(c, &f->no_broadcast);
	macs_code(f->unicast, &f->unicast_count, "unicast addresses", c);
	macs_code(f->multicast, &f->multicast_count, "multicast addresses", c);
}

/* As the control queue would have it (5.1.6.5.5). */
static bool pairs_enabled(const struct virtio_net *n, unsigned count)
{
	for (unsigned i = 1; i < count; i++)
		if (!n->vdev.queue[queue_receive(i)].enabled ||
		    !n->vdev.queue[queue_send(i)].enabled)
			return false;
	return true;
}

static void fields_code(const struct virtio_net *n, struct net_fields *f, unsigned instance,
			struct codec *c)
{
	unsigned version = codec_begin(c, "virtio-net", instance, 2);

	codec_u16(c, &f->link);
	codec_count(c, &f->active, n->net->info.queues, "pairs of queues");
	codec_u64(c, &f->guest_offloads);
	filter_code(&f->filter, c);
	if (version >= 2)
		codec_bytes(c, f->told, NET_MAC);
	else
		memcpy(f->told, f->filter.mac, NET_MAC);
	codec_check(c, !(f->link & ~(STATUS_LINK_UP | STATUS_ANNOUNCE)), "link status");
	if (n->vdev.running) {
		codec_check(c, f->active >= 1 && pairs_enabled(n, f->active), "pairs of queues");
		codec_check(c, !(f->guest_offloads & ~n->vdev.accepted), "offloads");
	}
	codec_end(c);
}

/* The threads rest. */
static void fields_commit(struct virtio_net *n, const struct net_fields *f, struct codec *c)
{
	int ret;

	atomic_store(&n->link, f->link);
	if (!n->vdev.running)
		return; /* a start sets the rest */
	ret = n->net->ops->set_queues(n->net, f->active);
	if (ret == 0)
		ret = n->net->ops->set_offloads(n->net, net_guest_offloads(f->guest_offloads));
	if (ret) {
		codec_fail(c, ret, NULL, "virtio-net: network '%s': %s", n->net->info.name,
			   error_name(ret));
		return;
	}
	memcpy(n->told, f->told, NET_MAC);
	atomic_store(&n->active, f->active);
	n->guest_offloads = f->guest_offloads;
	pthread_mutex_lock(&n->lock);
	n->filter = f->filter;
	atomic_fetch_add(&n->filter_version, 1);
	pthread_mutex_unlock(&n->lock);
}

void net_state(void *device, unsigned instance, struct codec *c)
{
	struct virtio_net *n = device;
	struct net_fields f = {0};

	/* What a driver that is gone had set is none of the next one's. */
	if (!codec_loading(c)) {
		f.link = atomic_load(&n->link);
		if (n->vdev.running) {
			memcpy(f.told, n->told, NET_MAC);
			f.active = atomic_load(&n->active);
			f.guest_offloads = n->guest_offloads;
			f.filter = n->filter;
		}
	}
	fields_code(n, &f, instance, c);
	if (codec_loading(c) && codec_good(c))
		fields_commit(n, &f, c);
}
