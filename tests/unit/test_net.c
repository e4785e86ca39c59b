/* SPDX-License-Identifier: MIT */
/* Backends of the network: frames over a stream, and port forwards as people write them. */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net.h"

struct fixture {
	int peer;
	struct net *net;
};

static int setup(void **state)
{
	static const struct net_info info = {.type = "stream", .name = "test", .mtu = 1500};
	struct fixture *f = calloc(1, sizeof(*f));
	int fds[2];

	if (!f || socketpair(AF_UNIX, SOCK_STREAM, 0, fds) || stream_create(fds[0], &info, &f->net))
		return -1;
	f->peer = fds[1];
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	net_close(f->net);
	close(f->peer);
	free(f);
	return 0;
}

static void peer_writes(struct fixture *f, const void *bytes, size_t count)
{
	assert_int_equal(write(f->peer, bytes, count), count);
}

static void peer_writes_length(struct fixture *f, uint32_t length)
{
	length = htonl(length);
	peer_writes(f, &length, sizeof(length));
}

static void peer_reads(struct fixture *f, void *to, size_t count)
{
	assert_int_equal(recv(f->peer, to, count, MSG_WAITALL), count);
}

/* In two pieces, of which the first is cut within the header. */
static ssize_t receive(struct fixture *f, uint8_t *room, size_t size)
{
	struct iovec iov[2] = {{room, 5}, {room + 5, size - 5}};

	return f->net->ops->receive(f->net, 0, iov, 2);
}

static void received_in_pieces(void **state)
{
	struct fixture *f = *state;
	uint8_t room[NET_HEADER + 100];
	char frame[60];

	memset(frame, 0x5a, sizeof(frame));
	memset(room, 0xff, sizeof(room));
	assert_int_equal(receive(f, room, sizeof(room)), -EAGAIN);
	peer_writes(f, "\0", 1);
	assert_int_equal(receive(f, room, sizeof(room)), -EAGAIN);
	peer_writes(f, "\0\0\074", 3);
	assert_int_equal(receive(f, room, sizeof(room)), -EAGAIN);
	peer_writes(f, frame, 59);
	assert_int_equal(receive(f, room, sizeof(room)), -EAGAIN);
	peer_writes(f, frame, 1);
	assert_int_equal(receive(f, room, sizeof(room)), NET_HEADER + 60);
	for (unsigned i = 0; i < NET_HEADER; i++)
		assert_int_equal(room[i], 0);
	assert_memory_equal(room + NET_HEADER, frame, sizeof(frame));
	assert_int_equal(room[NET_HEADER + 60], 0xff);
	assert_int_equal(receive(f, room, sizeof(room)), -EAGAIN);
}

/* One without room is gone, and the next comes whole. */
static void received_without_room(void **state)
{
	struct fixture *f = *state;
	uint8_t room[NET_HEADER + 64];
	char frame[200];

	for (unsigned i = 0; i < sizeof(frame); i++)
		frame[i] = (char)i;
	peer_writes_length(f, sizeof(frame));
	peer_writes(f, frame, sizeof(frame));
	peer_writes_length(f, 64);
	peer_writes(f, frame, 64);
	assert_int_equal(receive(f, room, sizeof(room)), -EMSGSIZE);
	assert_int_equal(receive(f, room, sizeof(room)), NET_HEADER + 64);
	assert_memory_equal(room + NET_HEADER, frame, 64);
}

/* Frames of all sizes, many in each read. */
static void received_many(void **state)
{
	struct fixture *f = *state;
	static uint8_t frame[NET_FRAME_MAX], room[NET_HEADER + NET_FRAME_MAX];
	unsigned sizes[] = {1, 14, 1514, 4092, NET_FRAME_MAX};

	for (unsigned round = 0; round < 40; round++) {
		unsigned size = sizes[round % 5];

		memset(frame, (int)round, size);
		peer_writes_length(f, size);
		peer_writes(f, frame, size);
		if (round % 5 != 4)
			continue;
		for (unsigned i = 0; i < 5; i++) {
			assert_int_equal(receive(f, room, sizeof(room)), NET_HEADER + sizes[i]);
			assert_int_equal(room[NET_HEADER], round - 4 + i);
			assert_int_equal(room[NET_HEADER + sizes[i] - 1], round - 4 + i);
		}
	}
}

static void received_garbage(void **state)
{
	struct fixture *f = *state;
	uint8_t room[256];

	peer_writes_length(f, NET_FRAME_MAX + 1);
	assert_int_equal(receive(f, room, sizeof(room)), -EPROTO);
	assert_int_equal(receive(f, room, sizeof(room)), -EPROTO);
}

static void received_nothing_more(void **state)
{
	struct fixture *f = *state;
	uint8_t room[256];

	shutdown(f->peer, SHUT_WR);
	assert_int_equal(receive(f, room, sizeof(room)), -ENETDOWN);
}

/* Header and frame cut anywhere. */
static int send_frame(struct fixture *f, uint8_t *bytes, size_t size, size_t cut)
{
	struct iovec iov[3] = {{bytes, cut}, {bytes, 0}, {bytes + cut, size - cut}};

	return f->net->ops->send(f->net, 0, iov, 3);
}

static void sent_behind_its_length(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[NET_HEADER + 60], got[64];

	for (unsigned i = 0; i < sizeof(frame); i++)
		frame[i] = (uint8_t)i;
	for (size_t cut = 0; cut <= sizeof(frame); cut++) {
		assert_int_equal(send_frame(f, frame, sizeof(frame), cut), 0);
		peer_reads(f, got, sizeof(got));
		assert_memory_equal(got, "\0\0\0\074", 4);
		assert_memory_equal(got + 4, frame + NET_HEADER, 60);
	}
}

/* Until the socket is full; returns how many were sent. */
static unsigned fill(struct fixture *f, uint8_t *frame, size_t size)
{
	unsigned count = 0;

	while (send_frame(f, frame, size, NET_HEADER) == 0)
		count++;
	assert_int_equal(send_frame(f, frame, size, NET_HEADER), -EAGAIN);
	return count;
}

static uint32_t length_read(struct fixture *f)
{
	uint32_t length;

	peer_reads(f, &length, sizeof(length));
	return ntohl(length);
}

/* What was begun goes on where it was. */
static void sent_when_there_is_room(void **state)
{
	struct fixture *f = *state;
	static uint8_t frame[NET_HEADER + 60001], got[60001];
	unsigned count;

	memset(frame, 0x33, sizeof(frame));
	count = fill(f, frame, sizeof(frame));
	for (unsigned i = 0; i <= count; i++) {
		assert_int_equal(length_read(f), 60001);
		if (i == count)
			break;
		peer_reads(f, got, sizeof(got));
		assert_memory_equal(got, frame + NET_HEADER, sizeof(got));
		/* A little room, and the frame that waits: it may need more of it. */
		if (i + 1 == count)
			assert_int_equal(send_frame(f, frame, sizeof(frame), NET_HEADER), 0);
	}
	peer_reads(f, got, sizeof(got));
	assert_memory_equal(got, frame + NET_HEADER, sizeof(got));
}

/* A frame that was begun, and given up as the guest was reset: the next is where it should be. */
static void given_up_half_sent(void **state)
{
	struct fixture *f = *state;
	static uint8_t frame[NET_HEADER + 60001], got[60001];
	unsigned count, whole = 0;
	bool last = false;

	memset(frame, 0x33, sizeof(frame));
	count = fill(f, frame, sizeof(frame));
	assert_int_equal(f->net->ops->set_queues(f->net, 1), 0);
	memset(frame, 0x44, sizeof(frame));
	for (bool sent = false; !last;) {
		uint32_t length;
		struct pollfd poll_peer = {.fd = f->peer, .events = POLLIN};

		if (!sent)
			sent = send_frame(f, frame, NET_HEADER + 100, NET_HEADER) == 0;
		assert_int_equal(poll(&poll_peer, 1, 5000), 1);
		length = length_read(f);
		last = length == 100;
		assert_true(last || length == 60001);
		for (size_t done = 0; done < length;) {
			ssize_t n = recv(f->peer, got + done, length - done, MSG_DONTWAIT);

			if (n > 0)
				done += (size_t)n;
			else if (!sent)
				sent = send_frame(f, frame, NET_HEADER + 100, NET_HEADER) == 0;
		}
		whole += !last;
	}
	assert_in_range(whole, count, count + 1);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(got[i], 0x44);
}

static void sent_to_nobody(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[NET_HEADER + 60] = {0};

	shutdown(f->peer, SHUT_RDWR);
	assert_int_equal(send_frame(f, frame, sizeof(frame), 0), -EPIPE);
}

static void forwards(void **state)
{
	static const struct {
		const char *text;
		struct net_forward want;
	} good[] = {
		{"8080:80", {"127.0.0.1", 8080, 80, false}},
		{"8080:80/tcp", {"127.0.0.1", 8080, 80, false}},
		{"53:5353/udp", {"127.0.0.1", 53, 5353, true}},
		{"0.0.0.0:1:65535", {"0.0.0.0", 1, 65535, false}},
		{"[::1]:8080:80/udp", {"::1", 8080, 80, true}},
		{"[2001:db8::1]:22:22", {"2001:db8::1", 22, 22, false}},
	};
	static const char *const bad[] = {
		"",
		"80",
		":",
		"80:",
		":80",
		"0:80",
		"80:0",
		"65536:80",
		"80:65536",
		"8080:80/sctp",
		"8080:80/",
		"x:80",
		"1.2.3:80:80",
		"1.2.3.4.5:80:80",
		"::1:8080:80",
		"[::1:80:80",
		"[]:80:80",
		"[1.2.3.4]:80:80",
		"-1:80",
		"80:80:80",
		"a.b:80:80",
		" 80:80",
		"80:80 ",
		"80:+80",
		"[::1]80:80",
	};
	struct net_forward f;
	struct error err;

	(void)state;
	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(net_forward_parse(good[i].text, &f, NULL), 0);
		assert_string_equal(f.address, good[i].want.address);
		assert_int_equal(f.host, good[i].want.host);
		assert_int_equal(f.guest, good[i].want.guest);
		assert_int_equal(f.udp, good[i].want.udp);
	}
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		err = (struct error){0};
		assert_int_equal(net_forward_parse(bad[i], &f, &err), -EINVAL);
		assert_non_null(strstr(err.what, "port forward '"));
		assert_true(err.remedy[0]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(received_in_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(received_without_room, setup, teardown),
		cmocka_unit_test_setup_teardown(received_many, setup, teardown),
		cmocka_unit_test_setup_teardown(received_garbage, setup, teardown),
		cmocka_unit_test_setup_teardown(received_nothing_more, setup, teardown),
		cmocka_unit_test_setup_teardown(sent_behind_its_length, setup, teardown),
		cmocka_unit_test_setup_teardown(sent_when_there_is_room, setup, teardown),
		cmocka_unit_test_setup_teardown(given_up_half_sent, setup, teardown),
		cmocka_unit_test_setup_teardown(sent_to_nobody, setup, teardown),
		cmocka_unit_test(forwards),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
