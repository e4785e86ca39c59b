/* SPDX-License-Identifier: MIT */
/*
 * A NIC's way to the network, whatever it is: frames of Ethernet go through its queues, each with a
 * header of virtio's ahead (virtio 1.2, 5.1.6, NET_HEADER bytes). A queue is one thread's at a
 * time.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "vmm/base/error.h"

#define NET_MAC        6u
#define NET_HEADER     12u
#define NET_QUEUES_MAX 16u
/* A frame without its header: what TSO makes of 64 KiB, with a VLAN's tag. */
#define NET_FRAME_MAX (65535u + 14 + 4)
#define NET_MTU_MIN   68u
#define NET_MTU_MAX   65535u

/* What a frame's header may leave to the other side: checksums, and cutting it to the MTU. */
enum net_offload {
	NET_CSUM = 1,
	NET_TSO4 = 2,
	NET_TSO6 = 4,
	NET_TSO_ECN = 8,
	NET_USO = 16, /* of IPv4 and IPv6 */
};

struct net_info {
	const char *type;
	char name[32];     /* what it is called on the host */
	unsigned queues;   /* 1 to NET_QUEUES_MAX */
	unsigned offloads; /* enum net_offload; that it takes, and may be asked to give */
	unsigned mtu;
};

struct net;

/*
 * A backend. Its struct begins with struct net. All but receive and send may be called while queues
 * are in use.
 */
struct net_ops {
	void (*close)(struct net *net);
	/*
	 * One frame into `iov`, header included. Returns its bytes, -EAGAIN where none waits,
	 * -EMSGSIZE where it had no room and is gone, or another -errno: the network is gone.
	 */
	ssize_t (*receive)(struct net *net, unsigned queue, struct iovec *iov, unsigned count);
	/*
	 * One frame of `iov`, header included. 0; -EAGAIN where there is no room now; -EINVAL where
	 * it is malformed, and is dropped; or another -errno.
	 */
	int (*send)(struct net *net, unsigned queue, const struct iovec *iov, unsigned count);
	/* For poll(2): readable, or writable after -EAGAIN. */
	int (*fd)(const struct net *net, unsigned queue);
	/* Frames given from now on may leave this to the guest. */
	int (*set_offloads)(struct net *net, unsigned offloads);
	/* So many queues get frames from now on, the first ones. */
	int (*set_queues)(struct net *net, unsigned queues);
};

struct net {
	const struct net_ops *ops;
	struct net_info info;
};

struct tap_options {
	const char *name; /* of the interface; NULL: the kernel names it */
	unsigned queues;
};

/* A TAP of the kernel's, made here unless it is persistent. */
int tap_open(const struct tap_options *options, struct net **out, struct error *err);

/* NULL is allowed. */
static inline void net_close(struct net *net)
{
	if (net)
		net->ops->close(net);
}

#endif
