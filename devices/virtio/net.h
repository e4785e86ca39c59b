/* SPDX-License-Identifier: MIT */
/*
 * virtio-net: a NIC (virtio 1.2, 5.1). Each pair of queues has a thread of its own; the first one's
 * serves the control queue, too.
 */
#ifndef DEVICES_VIRTIO_NET_H
#define DEVICES_VIRTIO_NET_H

#include "devices/virtio/virtio.h"
#include "net/net.h"
#include "vmm/base/throttle.h"

struct virtio_net;

struct virtio_net_config {
	struct net *net; /* outlives the device; as many pairs as it has queues */
	uint8_t mac[NET_MAC];
	bool any_source; /* the guest may send from other addresses, and change its own */
	struct throttle_rates rates; /* each way, of all its queues; what it sends waits, what comes
				      * is up to the network */
};

int virtio_net_create(struct guest_memory *memory, const struct virtio_net_config *config,
		      struct virtio_net **out);
/* After its transport. */
void virtio_net_destroy(struct virtio_net *n);
struct virtio_device *virtio_net_device(struct virtio_net *n);

/* Any thread. */
void virtio_net_counts(const struct virtio_net *n, struct net_counts *out);
/* Is there a cable? */
void virtio_net_set_link(struct virtio_net *n, bool up);
/* Is its MAC what the driver was told? Not after another NIC's state was loaded. Of one that is
 * paused. */
bool virtio_net_is_known(const struct virtio_net *n);
/* The guest is somewhere else now, and is to tell its neighbours (5.1.6.5.4), if it knows how. */
void virtio_net_announce(struct virtio_net *n);

#endif
