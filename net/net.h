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

#define NET_MAC          6u
#define NET_HEADER       12u
#define NET_QUEUES_MAX   16u
#define NET_FORWARDS_MAX 64u
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
	 * One frame into `iov`, header included. Returns its bytes; -EAGAIN where none waits; or
	 * another -errno: the network is gone. One that has no room is gone: it is -EMSGSIZE, or
	 * cut, and fills all of `iov`: the caller gives more than the longest frame has.
	 */
	ssize_t (*receive)(struct net *net, unsigned queue, struct iovec *iov, unsigned count);
	/*
	 * One frame of `iov`, header included. 0; -EAGAIN where there is no room now: the same
	 * frame is next, or set_queues; -EINVAL where it is malformed, and is dropped; or another
	 * -errno.
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

/* What passed a NIC: frames and bytes, without their headers. */
struct net_counts {
	uint64_t received, received_bytes, sent, sent_bytes;
	uint64_t filtered;  /* received for others */
	uint64_t oversize;  /* received, without room for them */
	uint64_t malformed; /* not sent: headers that lie, frames too short */
	uint64_t spoofed;   /* not sent: from an address that is not the guest's */
	uint64_t refused;   /* not sent: by the network */
};

struct tap_options {
	const char *name; /* of the interface; NULL: the kernel names it */
	unsigned queues;
};

/* A TAP of the kernel's, made here unless it is persistent. */
int tap_open(const struct tap_options *options, struct net **out, struct error *err);

/*
 * Frames over a stream socket, behind their lengths (QEMU's -netdev stream): one queue, and nothing
 * left to the other side. `info` has type, name and MTU. Takes `fd` over if it is 0. -ENOMEM.
 */
int stream_create(int fd, const struct net_info *info, struct net **out);

/* What comes to a port of the host's goes to one of the guest's. */
struct net_forward {
	char address[46];     /* of the host; as inet_pton(3) takes it */
	uint16_t host, guest; /* 0 where all of the address is the guest's, in both directions */
	bool udp;
};

/* "[ADDRESS:]HOST:GUEST[/udp]", from 127.0.0.1 unless an address is given; "ADDRESS:all". -EINVAL.
 */
int net_forward_parse(const char *text, struct net_forward *out, struct error *err);
/* Likewise, with its address. */
#define NET_FORWARD_TEXT 80u
void net_forward_text(const struct net_forward *forward, char out[NET_FORWARD_TEXT]);
/* Can the host's port be had? -EADDRINUSE, -EACCES, -EADDRNOTAVAIL: it is not the host's address.
 */
int net_forward_check(const struct net_forward *forward, struct error *err);
/* Do both have the same port of the host's? */
bool net_forward_is_same(const struct net_forward *a, const struct net_forward *b);

void net_mac_text(const uint8_t mac[NET_MAC], char out[18]);

struct user_options {
	unsigned forward_count;
	const struct net_forward *forward;
};

/*
 * The host's own connections, by passt(1), which needs no privileges: one queue, and nothing left
 * to the other side. The guest has the host's address, by DHCP or DHCPv6; passt ends with the
 * backend.
 */
int user_open(const struct user_options *options, struct net **out, struct error *err);

/* NULL is allowed. */
static inline void net_close(struct net *net)
{
	if (net)
		net->ops->close(net);
}

#endif
