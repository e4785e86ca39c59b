/* SPDX-License-Identifier: MIT */
/*
 * Frames that come over a stream, as passt sends them, or whoever took its place: in pieces, with
 * lengths that lie, into rooms of any size. What comes out is what a plain reading of the same
 * bytes says.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net.h"
#include "tests/fuzz/fuzz.h"

#define BYTES_MAX  (1u << 19)
#define PIECES_MAX 8u

struct state {
	struct net *net;
	int peer;
	size_t written, read; /* of bytes */
	uint8_t bytes[BYTES_MAX];
	uint8_t room[NET_HEADER + NET_FRAME_MAX + 64];
};

static void write_all(struct state *s, size_t count)
{
	ssize_t n = send(s->peer, s->bytes + s->written, count, MSG_DONTWAIT);

	if (n > 0)
		s->written += (size_t)n;
}

/* Bytes as they are, or a frame's length and as many bytes, of which a few are the input's. */
static void peer_writes(struct state *s, struct input *in, uint8_t op)
{
	uint8_t *to = s->bytes + s->written;
	uint32_t count = op & 8 ? input_u16(in) * 2u : input_u8(in);

	if (BYTES_MAX - s->written < count + 4u)
		return;
	memset(to, op, count + 4);
	if (op & 0x10) {
		uint32_t length = htonl(op & 0x20 ? count : input_u32(in));

		memcpy(to, &length, sizeof(length));
		input_bytes(in, to + 4, count < 8 ? count : 8);
		count += 4;
	} else {
		input_bytes(in, to, count < 16 ? count : 16);
	}
	write_all(s, count);
}

/* The frame that is next; 0: not all of it is there. Its bytes are behind its length. */
static ssize_t expected(const struct state *s)
{
	uint32_t length;

	if (s->written - s->read < sizeof(length))
		return 0;
	memcpy(&length, s->bytes + s->read, sizeof(length));
	length = ntohl(length);
	if (length == 0 || length > NET_FRAME_MAX)
		return -EPROTO;
	return s->written - s->read - 4 < length ? 0 : (ssize_t)length;
}

static unsigned pieces_make(struct state *s, struct input *in, struct iovec *iov, size_t *size)
{
	unsigned count = 1 + input_u8(in) % PIECES_MAX;

	*size = 0;
	for (unsigned i = 0; i < count; i++) {
		uint8_t shape = input_u8(in);
		size_t most = sizeof(s->room) - *size, n = shape < 200 ? shape : most;

		n = n < most ? n : most;
		iov[i] = (struct iovec){s->room + *size, n};
		*size += n;
	}
	return count;
}

static void receive(struct state *s, struct input *in)
{
	static const uint8_t header[NET_HEADER];
	struct iovec iov[PIECES_MAX];
	size_t size, kept;
	unsigned count = pieces_make(s, in, iov, &size);
	ssize_t want = expected(s), got;

	memset(s->room, 0xa5, sizeof(s->room));
	got = s->net->ops->receive(s->net, 0, iov, count);
	if (want <= 0) {
		FUZZ_CHECK(got == (want ? want : -EAGAIN));
		return;
	}
	s->read += 4;
	FUZZ_CHECK(got == (size < NET_HEADER + (size_t)want ? -EMSGSIZE : want + (int)NET_HEADER));
	kept = size < NET_HEADER + (size_t)want ? size : NET_HEADER + (size_t)want;
	FUZZ_CHECK(memcmp(s->room, header, kept < NET_HEADER ? kept : NET_HEADER) == 0);
	if (kept > NET_HEADER)
		FUZZ_CHECK(memcmp(s->room + NET_HEADER, s->bytes + s->read, kept - NET_HEADER) ==
			   0);
	for (size_t i = kept; i < kept + 64 && i < sizeof(s->room); i++)
		FUZZ_CHECK(s->room[i] == 0xa5);
	s->read += (size_t)want;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct net_info info = {.type = "stream", .name = "fuzz", .mtu = 1500};
	struct state *s = calloc(1, sizeof(*s));
	struct input in = {data, size};
	int fds[2];

	FUZZ_CHECK(s && socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
	FUZZ_CHECK(stream_create(fds[0], &info, &s->net) == 0);
	s->peer = fds[1];
	while (in.left) {
		uint8_t op = input_u8(&in);

		if (op & 1)
			peer_writes(s, &in, op);
		else
			receive(s, &in);
	}
	close(s->peer);
	net_close(s->net);
	free(s);
	return 0;
}
