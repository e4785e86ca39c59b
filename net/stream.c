/* SPDX-License-Identifier: MIT */
/*
 * Frames over a stream socket, each behind its length (32 bits, big-endian), as QEMU's -netdev
 * stream has them, and passt. What comes is read ahead, as much as there is, and copied once; what
 * goes is written from where it lies.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net.h"

#define LENGTH      4u
#define READ_AHEAD  (4u * (LENGTH + NET_FRAME_MAX))
#define SOCKET_ROOM (1 << 20)
#define PIECES_MAX  1026u /* more than a frame has */

struct stream {
	struct net net;
	int fd;
	size_t size; /* of the frame at hand, with its length */
	size_t sent; /* of it, where there was no room for more */
	size_t owed; /* of one that was given up then */
	size_t begin, end;
	uint8_t ahead[READ_AHEAD];
};

static struct stream *stream_of(struct net *net)
{
	return (struct stream *)net;
}

static void stream_close(struct net *net)
{
	struct stream *s = stream_of(net);

	if (s->fd >= 0)
		close(s->fd);
	free(s);
}

/* Receiving. */

/* The bytes of the frame at the beginning; 0: not all are there. -EPROTO: it is none. */
static ssize_t frame_length(const struct stream *s)
{
	uint32_t length;

	if (s->end - s->begin < LENGTH)
		return 0;
	memcpy(&length, s->ahead + s->begin, LENGTH);
	length = ntohl(length);
	if (length == 0 || length > NET_FRAME_MAX)
		return -EPROTO;
	return s->end - s->begin - LENGTH < length ? 0 : (ssize_t)length;
}

/* -EAGAIN: nothing waits. */
static int read_ahead(struct stream *s)
{
	ssize_t n;

	memmove(s->ahead, s->ahead + s->begin, s->end - s->begin);
	s->end -= s->begin;
	s->begin = 0;
	do
		n = recv(s->fd, s->ahead + s->end, sizeof(s->ahead) - s->end, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 ? -errno : -ENETDOWN;
	s->end += (size_t)n;
	return 0;
}

/* As much as there is room for. Returns what was left. */
static size_t scatter(const uint8_t *from, size_t size, size_t offset, const struct iovec *iov,
		      unsigned count)
{
	for (unsigned i = 0; i < count && size; i++) {
		size_t room = iov[i].iov_len;

		if (offset >= room) {
			offset -= room;
			continue;
		}
		room -= offset;
		if (room > size)
			room = size;
		memcpy((uint8_t *)iov[i].iov_base + offset, from, room);
		from += room;
		size -= room;
		offset = 0;
	}
	return size;
}

static ssize_t stream_receive(struct net *net, unsigned queue, struct iovec *iov, unsigned count)
{
	static const uint8_t header[NET_HEADER];
	struct stream *s = stream_of(net);
	ssize_t length;
	size_t left;

	(void)queue;
	while ((length = frame_length(s)) == 0) {
		int ret = read_ahead(s);

		if (ret)
			return ret;
	}
	if (length < 0)
		return length;
	left = scatter(header, sizeof(header), 0, iov, count);
	left += scatter(s->ahead + s->begin + LENGTH, (size_t)length, NET_HEADER, iov, count);
	s->begin += LENGTH + (size_t)length;
	return left ? -EMSGSIZE : (ssize_t)NET_HEADER + length;
}

/* Sending. */

static ssize_t write_some(int fd, struct iovec *iov, unsigned count)
{
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = count};
	ssize_t n;

	do
		n = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* `iov` without its first bytes. */
static void skip(struct iovec **iov, unsigned *count, size_t bytes)
{
	while (*count && bytes >= (*iov)->iov_len) {
		bytes -= (*iov)->iov_len;
		++*iov;
		--*count;
	}
	if (*count) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + bytes;
		(*iov)->iov_len -= bytes;
	}
}

/* The rest of a frame that was given up, of which the length was told. */
static int pay(struct stream *s)
{
	static uint8_t zeros[4096];

	while (s->owed) {
		struct iovec iov = {zeros, s->owed < sizeof(zeros) ? s->owed : sizeof(zeros)};
		ssize_t n = write_some(s->fd, &iov, 1);

		if (n < 0)
			return (int)n;
		s->owed -= (size_t)n;
	}
	return 0;
}

static int stream_send(struct net *net, unsigned queue, const struct iovec *iov, unsigned count)
{
	struct stream *s = stream_of(net);
	struct iovec pieces[PIECES_MAX], *rest = pieces + 1;
	unsigned left = count;
	uint32_t length;
	int ret = pay(s);

	(void)queue;
	if (ret)
		return ret;
	if (count + 1 > PIECES_MAX)
		return -EINVAL;
	memcpy(rest, iov, count * sizeof(*iov));
	/* The header says nothing, as nothing was offered. */
	skip(&rest, &left, NET_HEADER);
	s->size = LENGTH;
	for (unsigned i = 0; i < left; i++)
		s->size += rest[i].iov_len;
	length = htonl((uint32_t)(s->size - LENGTH));
	*--rest = (struct iovec){&length, LENGTH};
	left++;
	skip(&rest, &left, s->sent);
	while (left) {
		ssize_t n = write_some(s->fd, rest, left);

		if (n < 0)
			return (int)n;
		s->sent += (size_t)n;
		skip(&rest, &left, (size_t)n);
	}
	s->sent = 0;
	return 0;
}

static int stream_fd(const struct net *net, unsigned queue)
{
	(void)queue;
	return ((const struct stream *)net)->fd;
}

static int stream_set_offloads(struct net *net, unsigned offloads)
{
	(void)net;
	return offloads ? -ENOTSUP : 0;
}

static int stream_set_queues(struct net *net, unsigned queues)
{
	struct stream *s = stream_of(net);

	if (queues != 1)
		return -EINVAL;
	if (s->sent)
		s->owed = s->size - s->sent;
	s->sent = 0;
	return 0;
}

static const struct net_ops stream_ops = {
	.close = stream_close,
	.receive = stream_receive,
	.send = stream_send,
	.fd = stream_fd,
	.set_offloads = stream_set_offloads,
	.set_queues = stream_set_queues,
};

int stream_create(int fd, const struct net_info *info, struct net **out)
{
	struct stream *s = calloc(1, sizeof(*s));
	int room = SOCKET_ROOM;

	if (!s)
		return -ENOMEM;
	/* If it may not be so large, it is as it is. */
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	s->fd = fd;
	s->net = (struct net){.ops = &stream_ops, .info = *info};
	s->net.info.queues = 1;
	*out = &s->net;
	return 0;
}
