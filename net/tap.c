/* SPDX-License-Identifier: MIT */
/*
 * TAP (Documentation/networking/tuntap.rst): a descriptor for each queue, with the header that
 * virtio has, so that the kernel does what the guest leaves to it, and the other way round.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net.h"

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

struct tap {
	struct net net;
	unsigned attached; /* queues that get frames */
	int fd[NET_QUEUES_MAX];
};

static struct tap *tap_of(struct net *net)
{
	return (struct tap *)net;
}

static void tap_close(struct net *net)
{
	struct tap *tap = tap_of(net);

	for (unsigned i = 0; i < tap->net.info.queues; i++)
		if (tap->fd[i] >= 0)
			close(tap->fd[i]);
	free(tap);
}

static ssize_t tap_receive(struct net *net, unsigned queue, struct iovec *iov, unsigned count)
{
	ssize_t n;

	do
		n = readv(tap_of(net)->fd[queue], iov, (int)count);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static int tap_send(struct net *net, unsigned queue, const struct iovec *iov, unsigned count)
{
	ssize_t n;

	do
		n = writev(tap_of(net)->fd[queue], iov, (int)count);
	while (n < 0 && errno == EINTR);
	/* An interface that is down takes nothing, as a cable that is not plugged in. */
	return n >= 0 || errno == EIO ? 0 : -errno;
}

static int tap_fd(const struct net *net, unsigned queue)
{
	return ((const struct tap *)net)->fd[queue];
}

static unsigned tun_flags(unsigned offloads)
{
	return (offloads & NET_CSUM ? TUN_F_CSUM : 0u) | (offloads & NET_TSO4 ? TUN_F_TSO4 : 0u) |
	       (offloads & NET_TSO6 ? TUN_F_TSO6 : 0u) |
	       (offloads & NET_TSO_ECN ? TUN_F_TSO_ECN : 0u) |
	       (offloads & NET_USO ? TUN_F_USO4 | TUN_F_USO6 : 0u);
}

static int tap_set_offloads(struct net *net, unsigned offloads)
{
	return ioctl(tap_of(net)->fd[0], TUNSETOFFLOAD, (unsigned long)tun_flags(offloads)) ? -errno
											    : 0;
}

static int tap_set_queues(struct net *net, unsigned queues)
{
	struct tap *tap = tap_of(net);

	while (tap->attached != queues) {
		bool attach = tap->attached < queues;
		struct ifreq request = {
			.ifr_flags = (short)(attach ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE)};

		if (ioctl(tap->fd[attach ? tap->attached : tap->attached - 1], TUNSETQUEUE,
			  &request))
			return -errno;
		tap->attached += attach ? 1 : -1u;
	}
	return 0;
}

static const struct net_ops tap_ops = {
	.close = tap_close,
	.receive = tap_receive,
	.send = tap_send,
	.fd = tap_fd,
	.set_offloads = tap_set_offloads,
	.set_queues = tap_set_queues,
};

static int queue_open(struct tap *tap, unsigned queue, const char *name, struct error *err)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int header = NET_HEADER, fd;

	if (tap->net.info.queues > 1)
		request.ifr_flags |= IFF_MULTI_QUEUE;
	snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
	fd = tap->fd[queue] = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, -errno,
				 errno == ENOENT ? "load the kernel's module tun"
						 : "be root, or use network user",
				 "/dev/net/tun: %s", error_name(-errno));
	if (ioctl(fd, TUNSETIFF, &request))
		return error_set(err, -errno,
				 errno == EBUSY    ? "another guest has it; name a free one"
				 : errno == EINVAL ? "it is no TAP, or not with so many queues"
						   : "CAP_NET_ADMIN is needed, or be its owner",
				 "interface '%s': %s", name, error_name(-errno));
	if (ioctl(fd, TUNSETVNETHDRSZ, &header))
		return error_set(err, -errno, NULL, "interface '%s': virtio's header: %s", name,
				 error_name(-errno));
	memcpy(tap->net.info.name, request.ifr_name, IFNAMSIZ);
	return 0;
}

/* All that this kernel's TAP can do; then nothing is asked for until a guest says so. */
static int offloads_probe(struct net *net)
{
	static const unsigned wanted[] = {NET_CSUM | NET_TSO4 | NET_TSO6 | NET_TSO_ECN | NET_USO,
					  NET_CSUM | NET_TSO4 | NET_TSO6 | NET_TSO_ECN, NET_CSUM};

	for (unsigned i = 0; i < sizeof(wanted) / sizeof(wanted[0]) && !net->info.offloads; i++)
		if (tap_set_offloads(net, wanted[i]) == 0)
			net->info.offloads = wanted[i];
	return tap_set_offloads(net, 0);
}

static int mtu_get(struct net *net)
{
	struct ifreq request = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), ret = 0;

	if (fd < 0)
		return -errno;
	memcpy(request.ifr_name, net->info.name, IFNAMSIZ);
	if (ioctl(fd, SIOCGIFMTU, &request))
		ret = -errno;
	else
		net->info.mtu = (unsigned)request.ifr_mtu;
	close(fd);
	return ret;
}

int tap_open(const struct tap_options *options, struct net **out, struct error *err)
{
	struct tap *tap = calloc(1, sizeof(*tap));
	const char *name = options->name ? options->name : "";
	int ret = 0;

	if (strlen(name) >= IFNAMSIZ) {
		free(tap);
		return error_set(err, -ENAMETOOLONG, "15 characters at most", "interface '%s': %s",
				 name, error_name(-ENAMETOOLONG));
	}
	if (!tap)
		return error_set(err, -ENOMEM, NULL, "interface '%s': out of memory", name);
	tap->net =
		(struct net){.ops = &tap_ops, .info = {.type = "tap", .queues = options->queues}};
	for (unsigned i = 0; i < NET_QUEUES_MAX; i++)
		tap->fd[i] = -1;
	for (unsigned i = 0; i < options->queues && ret == 0; i++) {
		ret = queue_open(tap, i, name, err);
		name = tap->net.info.name;
		tap->attached = i + 1;
	}
	if (ret == 0) {
		ret = offloads_probe(&tap->net);
		if (ret == 0)
			ret = mtu_get(&tap->net);
		if (ret)
			error_set(err, ret, NULL, "interface '%s': %s", name, error_name(ret));
	}
	if (ret) {
		tap_close(&tap->net);
		return ret;
	}
	*out = &tap->net;
	return 0;
}
