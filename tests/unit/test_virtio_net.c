/* SPDX-License-Identifier: MIT */
/*
 * virtio-net with a network of two socket pairs: frames go both ways whole, in one buffer or in
 * several; what is malformed, spoofed or for others does not; commands do what they say.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/virtio/net_impl.h"
#include "tests/unit/fake_transport.h"
#include "tests/unit/state_trip.h"
#include "vmm/base/bytes.h"

#define RINGS   0x1000ull
#define BUFFERS 0x100000ull
#define SENT    0x200000ull
#define COMMAND 0x300000ull
#define PAIRS   2u
#define ENTRIES 64u

static const uint8_t own[NET_MAC] = {0x52, 0x54, 0, 1, 2, 3};
static const uint8_t other[NET_MAC] = {0x52, 0x54, 0, 9, 9, 9};

struct fake_net {
	struct net net;
	int guest[PAIRS], world[PAIRS];
	_Atomic unsigned offloads, queues;
	_Atomic bool gone, slow;
	_Atomic unsigned begun, sent;
};

struct fixture {
	struct guest_memory *memory;
	struct fake_net fake;
	struct virtio_net *nic;
	struct virtio_device *vdev;
	struct fake_transport transport;
	struct driver_ring receive[PAIRS], send[PAIRS], control;
};

static ssize_t fake_receive(struct net *net, unsigned queue, struct iovec *iov, unsigned count)
{
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = count};
	struct fake_net *f = (struct fake_net *)net;
	ssize_t n = recvmsg(f->guest[queue], &message, MSG_DONTWAIT);

	if (atomic_load(&f->gone))
		return -ENETDOWN;
	if (n < 0)
		return -errno;
	return message.msg_flags & MSG_TRUNC ? -EMSGSIZE : n;
}

static int fake_send(struct net *net, unsigned queue, const struct iovec *iov, unsigned count)
{
	struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = count};
	struct fake_net *f = (struct fake_net *)net;
	int ret;

	atomic_fetch_add(&f->begun, 1);
	if (atomic_load(&f->slow))
		usleep(50000);
	ret = sendmsg(f->guest[queue], &message, MSG_DONTWAIT) < 0 ? -errno : 0;
	atomic_fetch_add(&f->sent, 1);
	return ret;
}

static int fake_fd(const struct net *net, unsigned queue)
{
	return ((const struct fake_net *)net)->guest[queue];
}

static int fake_set_offloads(struct net *net, unsigned offloads)
{
	((struct fake_net *)net)->offloads = offloads;
	return 0;
}

static int fake_set_queues(struct net *net, unsigned queues)
{
	((struct fake_net *)net)->queues = queues;
	return 0;
}

static const struct net_ops fake_ops = {
	.receive = fake_receive,
	.send = fake_send,
	.fd = fake_fd,
	.set_offloads = fake_set_offloads,
	.set_queues = fake_set_queues,
};

static void fake_net_init(struct fake_net *f)
{
	f->net = (struct net){.ops = &fake_ops,
			      .info = {.type = "fake",
				       .queues = PAIRS,
				       .mtu = 1500,
				       .offloads = NET_CSUM | NET_TSO4 | NET_TSO6}};
	for (unsigned i = 0; i < PAIRS; i++) {
		int fd[2], size = 1 << 20;

		assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, fd), 0);
		f->guest[i] = fd[0];
		f->world[i] = fd[1];
		setsockopt(fd[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
		setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	}
}

static void queues_give(struct fixture *f)
{
	uint64_t at = RINGS;

	for (unsigned i = 0; i < PAIRS; i++, at += 0x8000) {
		driver_ring_init(&f->receive[i], f->memory, ENTRIES, at);
		driver_ring_init(&f->send[i], f->memory, ENTRIES, at + 0x4000);
		fake_transport_queue(&f->transport, queue_receive(i), &f->receive[i]);
		fake_transport_queue(&f->transport, queue_send(i), &f->send[i]);
	}
	driver_ring_init(&f->control, f->memory, ENTRIES, at);
	fake_transport_queue(&f->transport, queue_control(f->nic), &f->control);
}

static struct fixture *create(uint64_t without)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct virtio_net_config config = {.net = &f->fake.net};

	assert_non_null(f);
	assert_int_equal(memory_create(8 * MIB, &f->memory, NULL), 0);
	fake_net_init(&f->fake);
	memcpy(config.mac, own, NET_MAC);
	assert_int_equal(virtio_net_create(f->memory, &config, &f->nic), 0);
	f->vdev = virtio_net_device(f->nic);
	fake_transport_init(&f->transport, f->vdev);
	assert_true(fake_transport_negotiate(&f->transport, f->vdev->offered & ~without));
	queues_give(f);
	fake_transport_driver_ok(&f->transport);
	return f;
}

static int setup(void **state)
{
	*state = create(0);
	return 0;
}

static int setup_without_announcing(void **state)
{
	*state = create(F_GUEST_ANNOUNCE);
	return 0;
}

static int setup_without_merging(void **state)
{
	*state = create(F_MRG_RXBUF);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	fake_transport_reset(&f->transport);
	virtio_net_destroy(f->nic);
	fake_transport_fini(&f->transport);
	for (unsigned i = 0; i < PAIRS; i++) {
		close(f->fake.guest[i]);
		close(f->fake.world[i]);
	}
	memory_destroy(f->memory);
	free(f);
	return 0;
}

/* A header and a frame whose bytes are known. */
static size_t frame_make(uint8_t *frame, const uint8_t *to, const uint8_t *from, size_t length)
{
	memset(frame, 0, NET_HEADER);
	memcpy(frame + NET_HEADER, to, NET_MAC);
	memcpy(frame + NET_HEADER + NET_MAC, from, NET_MAC);
	for (size_t i = 12; i < length; i++)
		frame[NET_HEADER + i] = (uint8_t)(i * 7);
	return NET_HEADER + length;
}

/* Those from `first` on, which is also their place in the ring. */
static void buffers_offer_from(struct fixture *f, unsigned pair, unsigned first, unsigned count,
			       uint32_t length)
{
	for (unsigned i = first; i < first + count; i++) {
		struct driver_buffer b = {BUFFERS + 0x80000 * pair + 0x2000ull * i, length, true};

		driver_ring_add(&f->receive[pair], &b, 1);
	}
	fake_transport_kick(&f->transport, queue_receive(pair));
}

static void buffers_offer(struct fixture *f, unsigned pair, unsigned count, uint32_t length)
{
	buffers_offer_from(f, pair, 0, count, length);
}

static void world_sends(struct fixture *f, unsigned pair, const uint8_t *frame, size_t bytes)
{
	assert_int_equal(send(f->fake.world[pair], frame, bytes, 0), bytes);
}

/* What the guest gets: the bytes of so many buffers, one behind the other. */
static size_t guest_gets(struct fixture *f, unsigned pair, unsigned buffers, uint8_t *to)
{
	struct driver_ring *ring = &f->receive[pair];
	size_t bytes = 0;

	fake_transport_wait_used(&f->transport, ring, (uint16_t)(ring->seen + buffers));
	for (unsigned i = 0; i < buffers; i++) {
		uint32_t id, length;
		uint64_t at;

		assert_true(driver_ring_take(ring, &id, &length));
		at = BUFFERS + 0x80000 * pair + 0x2000ull * id;
		memcpy(to + bytes, memory_at(f->memory, at, length), length);
		bytes += length;
	}
	assert_int_equal(le16_get(to + 10), buffers);
	return bytes;
}

static void frames_come(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[4096], got[4096];

	buffers_offer(f, 0, 8, 1526);
	for (unsigned i = 0; i < 3; i++) {
		size_t bytes = frame_make(frame, own, other, 1514 - i);

		world_sends(f, 0, frame, bytes);
		assert_int_equal(guest_gets(f, 0, 1, got), bytes);
		assert_memory_equal(got + NET_HEADER, frame + NET_HEADER, bytes - NET_HEADER);
	}
}

static void a_large_frame_is_merged(void **state)
{
	static uint8_t frame[70000], got[70000];
	struct fixture *f = *state;
	size_t bytes = frame_make(frame, own, other, 60000);

	buffers_offer(f, 0, 60, 1536);
	world_sends(f, 0, frame, bytes);
	assert_int_equal(guest_gets(f, 0, 40, got), bytes);
	assert_memory_equal(got + NET_HEADER, frame + NET_HEADER, bytes - NET_HEADER);
	/* And the next one begins in the buffer behind. */
	bytes = frame_make(frame, own, other, 100);
	world_sends(f, 0, frame, bytes);
	assert_int_equal(guest_gets(f, 0, 1, got), bytes);
}

/* Half of the buffers it needs are there when it comes. */
static void a_large_frame_waits_for_room(void **state)
{
	static uint8_t frame[70000], got[70000];
	struct net_counts counts;
	struct fixture *f = *state;
	size_t bytes = frame_make(frame, own, other, 60000);

	buffers_offer(f, 0, 20, 1536);
	world_sends(f, 0, frame, bytes);
	/* Until it is out of the network, and in no buffer. */
	while (poll(&(struct pollfd){.fd = f->fake.guest[0], .events = POLLIN}, 1, 0) == 1)
		sched_yield();
	buffers_offer_from(f, 0, 20, 30, 1536);
	assert_int_equal(guest_gets(f, 0, 40, got), bytes);
	assert_memory_equal(got + NET_HEADER, frame + NET_HEADER, bytes - NET_HEADER);
	bytes = frame_make(frame, own, other, 100);
	world_sends(f, 0, frame, bytes);
	assert_int_equal(guest_gets(f, 0, 1, got), bytes);
	virtio_net_counts(f->nic, &counts);
	assert_int_equal(counts.oversize, 0);
}

static void what_has_no_room_is_dropped(void **state)
{
	struct net_counts counts;
	struct fixture *f = *state;
	uint8_t frame[4096], got[4096];
	size_t bytes;

	buffers_offer(f, 0, 4, 1526);
	world_sends(f, 0, frame, frame_make(frame, own, other, 1515));
	world_sends(f, 0, frame, frame_make(frame, own, other, 1516));
	bytes = frame_make(frame, own, other, 1514);
	world_sends(f, 0, frame, bytes);
	assert_int_equal(guest_gets(f, 0, 1, got), bytes);
	virtio_net_counts(f->nic, &counts);
	assert_int_equal(counts.oversize, 2);
	assert_int_equal(counts.received, 1);
	assert_int_equal(counts.received_bytes, 1514);
}

static void what_is_for_others_is_not_seen(void **state)
{
	static const uint8_t broadcast[NET_MAC] = {255, 255, 255, 255, 255, 255};
	struct net_counts counts;
	struct fixture *f = *state;
	uint8_t frame[256], got[256];
	size_t bytes;

	buffers_offer(f, 0, 4, 1526);
	world_sends(f, 0, frame, frame_make(frame, other, other, 100));
	bytes = frame_make(frame, broadcast, other, 60);
	world_sends(f, 0, frame, bytes);
	assert_int_equal(guest_gets(f, 0, 1, got), bytes);
	virtio_net_counts(f->nic, &counts);
	assert_int_equal(counts.filtered, 1);
}

static void guest_sends(struct fixture *f, unsigned pair, const uint8_t *frame, size_t bytes)
{
	struct driver_ring *ring = &f->send[pair];
	struct driver_buffer b[] = {{SENT, NET_HEADER, false},
				    {SENT + NET_HEADER, (uint32_t)(bytes - NET_HEADER), false}};
	uint32_t id, length;

	memcpy(memory_at_write(f->memory, SENT, bytes), frame, bytes);
	driver_ring_add(ring, b, 2);
	fake_transport_kick(&f->transport, queue_send(pair));
	fake_transport_wait_used(&f->transport, ring, (uint16_t)(ring->seen + 1));
	assert_true(driver_ring_take(ring, &id, &length));
	assert_int_equal(length, 0);
}

static ssize_t world_gets(struct fixture *f, unsigned pair, uint8_t *to, size_t size)
{
	return recv(f->fake.world[pair], to, size, MSG_DONTWAIT);
}

static void frames_go(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[2048], got[2048];
	size_t bytes = frame_make(frame, other, own, 1514);

	guest_sends(f, 0, frame, bytes);
	assert_int_equal(world_gets(f, 0, got, sizeof(got)), bytes);
	assert_memory_equal(got, frame, bytes);
}

/* Headers: flags, GSO, length, GSO size, start of what is summed, and where the sum goes. */
static void what_lies_is_not_sent(void **state)
{
	static const struct {
		uint8_t flags, gso;
		uint16_t length, size, start, offset;
		bool good;
	} cases[] = {
		{1, 0, 0, 0, 34, 16, true},     {1, 0, 0, 0, 84, 14, true},
		{1, 0, 0, 0, 84, 15, false},    {1, 0, 0, 0, 0xffff, 0xffff, false},
		{1, 0, 0, 0, 14, 0, true},      {1, 0, 0, 0, 0, 6, false},
		{1, 1, 54, 1000, 34, 16, true}, {0, 1, 54, 1000, 34, 16, false},
		{1, 1, 54, 0, 34, 16, false},   {1, 1, 101, 1000, 34, 16, false},
		{1, 3, 54, 1000, 34, 6, false}, {1, 4, 54, 1000, 34, 16, true},
		{1, 5, 54, 1000, 34, 6, false}, {1, 0x81, 54, 1000, 34, 16, false},
		{0, 0x80, 0, 0, 0, 0, false},   {2, 0, 0, 0, 0, 0, true},
	};
	struct fixture *f = *state;
	uint8_t frame[256], got[256];
	size_t bytes = frame_make(frame, other, own, 100);

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		frame[0] = cases[i].flags;
		frame[1] = cases[i].gso;
		le16_put(frame + 2, cases[i].length);
		le16_put(frame + 4, cases[i].size);
		le16_put(frame + 6, cases[i].start);
		le16_put(frame + 8, cases[i].offset);
		guest_sends(f, 0, frame, bytes);
		if ((world_gets(f, 0, got, sizeof(got)) > 0) != cases[i].good)
			fail_msg("case %u", i);
	}
}

static void what_is_short_or_from_others_is_not_sent(void **state)
{
	struct net_counts counts;
	struct fixture *f = *state;
	uint8_t frame[256], got[256];

	guest_sends(f, 0, frame, frame_make(frame, own, other, 100));
	guest_sends(f, 0, frame, NET_HEADER + 13);
	assert_int_equal(world_gets(f, 0, got, sizeof(got)), -1);
	virtio_net_counts(f->nic, &counts);
	assert_int_equal(counts.spoofed, 1);
	assert_int_equal(counts.malformed, 1);
	assert_int_equal(counts.sent, 0);
}

static uint8_t command(struct fixture *f, const uint8_t *bytes, uint32_t size)
{
	struct driver_buffer b[] = {{COMMAND, size, false}, {COMMAND + 0x8000, 1, true}};
	uint8_t *ack = memory_at_write(f->memory, COMMAND + 0x8000, 1);
	uint32_t id, length;

	*ack = 0xee;
	memcpy(memory_at_write(f->memory, COMMAND, size), bytes, size);
	driver_ring_add(&f->control, b, 2);
	fake_transport_kick(&f->transport, queue_control(f->nic));
	fake_transport_wait_used(&f->transport, &f->control, (uint16_t)(f->control.seen + 1));
	assert_true(driver_ring_take(&f->control, &id, &length));
	assert_int_equal(length, 1);
	return *ack;
}

#define COMMAND_IS(f, ack, ...)                                                                    \
	assert_int_equal(command(f, (const uint8_t[]){__VA_ARGS__},                                \
				 sizeof((const uint8_t[]){__VA_ARGS__})),                          \
			 ack)

static void commands(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[256], got[256];
	size_t bytes = frame_make(frame, other, other, 100);

	COMMAND_IS(f, 1, 0);
	COMMAND_IS(f, 1, 9, 0, 1);
	COMMAND_IS(f, 1, 0, 6, 1);
	COMMAND_IS(f, 0, 0, 0, 1); /* all frames */
	buffers_offer(f, 0, 4, 1526);
	world_sends(f, 0, frame, bytes);
	assert_int_equal(guest_gets(f, 0, 1, got), bytes);
	COMMAND_IS(f, 0, 0, 0, 0);
	/* Tables: one unicast address, none of the other kind; and ones that lie about their
	 * length. */
	COMMAND_IS(f, 0, 1, 0, 1, 0, 0, 0, 0x52, 0x54, 0, 9, 9, 9, 0, 0, 0, 0);
	world_sends(f, 0, frame, bytes);
	assert_int_equal(guest_gets(f, 0, 1, got), bytes);
	COMMAND_IS(f, 1, 1, 0, 2, 0, 0, 0, 0x52, 0x54, 0, 9, 9, 9, 0, 0, 0, 0);
	COMMAND_IS(f, 1, 1, 0, 255, 255, 255, 255, 0x52, 0x54, 0, 9, 9, 9, 0, 0, 0, 0);
	/* Its own address is the host's to give. */
	COMMAND_IS(f, 1, 1, 1, 0x52, 0x54, 0, 9, 9, 9);
	COMMAND_IS(f, 0, 1, 1, 0x52, 0x54, 0, 1, 2, 3);
	/* Offloads of those that were negotiated. */
	COMMAND_IS(f, 0, 5, 0, 2, 0, 0, 0, 0, 0, 0, 0);
	assert_int_equal(f->fake.offloads, NET_CSUM);
	COMMAND_IS(f, 1, 5, 0, 0, 2, 0, 0, 0, 0, 0, 0);
	virtio_net_announce(f->nic);
	assert_int_equal(atomic_load(&f->nic->link), STATUS_LINK_UP | STATUS_ANNOUNCE);
	COMMAND_IS(f, 0, 3, 0);
	assert_int_equal(atomic_load(&f->nic->link), STATUS_LINK_UP);
}

static void two_pairs(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[256], got[256];
	size_t bytes = frame_make(frame, own, other, 100);

	assert_int_equal(f->fake.queues, 1);
	COMMAND_IS(f, 1, 4, 0, 0, 0);
	COMMAND_IS(f, 1, 4, 0, 3, 0);
	COMMAND_IS(f, 0, 4, 0, 2, 0);
	assert_int_equal(f->fake.queues, 2);
	for (unsigned pair = 0; pair < PAIRS; pair++) {
		buffers_offer(f, pair, 2, 1526);
		world_sends(f, pair, frame, bytes);
		assert_int_equal(guest_gets(f, pair, 1, got), bytes);
	}
	frame_make(frame, other, own, 100);
	guest_sends(f, 1, frame, bytes);
	assert_int_equal(world_gets(f, 1, got, sizeof(got)), bytes);
}

/* More than the network takes: the rest waits in the ring, and none is lost. */
static void a_full_network_is_waited_for(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[1600], got[1600];
	size_t bytes = frame_make(frame, other, own, 1514);
	struct driver_buffer b = {SENT, (uint32_t)bytes, false};
	unsigned came = 0;

	memcpy(memory_at_write(f->memory, SENT, bytes), frame, bytes);
	for (unsigned i = 0; i < ENTRIES; i++)
		driver_ring_add(&f->send[0], &b, 1);
	fake_transport_kick(&f->transport, queue_send(0));
	while (came < ENTRIES) {
		struct pollfd fd = {.fd = f->fake.world[0], .events = POLLIN};

		assert_int_equal(poll(&fd, 1, 10000), 1);
		assert_int_equal(world_gets(f, 0, got, sizeof(got)), bytes);
		came++;
	}
	fake_transport_wait_used(&f->transport, &f->send[0], ENTRIES);
}

static void a_malformed_chain_breaks_it(void **state)
{
	struct fixture *f = *state;

	driver_ring_offer(&f->send[0], ENTRIES);
	fake_transport_kick(&f->transport, queue_send(0));
	fake_transport_wait(&f->transport);
	assert_true(atomic_load(&f->vdev->status) & VIRTIO_STATUS_NEEDS_RESET);
}

static void configuration(void **state)
{
	struct fixture *f = *state;
	uint8_t c[CONFIG_SIZE];

	f->vdev->ops->config_read(f->nic, 0, c, sizeof(c));
	assert_memory_equal(c, own, NET_MAC);
	assert_int_equal(le16_get(c + 6), 1);
	assert_int_equal(le16_get(c + 8), PAIRS);
	assert_int_equal(le16_get(c + 10), 1500);
	virtio_net_set_link(f->nic, false);
	f->vdev->ops->config_read(f->nic, 6, c, 2);
	assert_int_equal(le16_get(c), 0);
	assert_int_equal(atomic_load(&f->transport.config_interrupts), 1);
}

/* Away from this device and to another one, which is paused. */
static void move(struct fixture *f, const uint8_t mac[NET_MAC])
{
	struct virtio_net_config config = {.net = &f->fake.net};
	struct state_bytes s;

	virtio_pause(f->vdev);
	s = state_save(state_virtio, f->vdev);
	virtio_net_destroy(f->nic);
	fake_transport_fini(&f->transport);
	f->fake.queues = f->fake.offloads = 0;
	memcpy(config.mac, mac, NET_MAC);
	assert_int_equal(virtio_net_create(f->memory, &config, &f->nic), 0);
	f->vdev = virtio_net_device(f->nic);
	fake_transport_init(&f->transport, f->vdev);
	state_arrive(state_virtio, f->vdev, &s);
}

static void saved_state(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[2048], got[2048];
	size_t bytes = frame_make(frame, own, other, 100);

	COMMAND_IS(f, 0, 4, 0, 2, 0);
	COMMAND_IS(f, 0, 5, 0, 2, 0, 0, 0, 0, 0, 0, 0);
	COMMAND_IS(f, 0, 1, 0, 1, 0, 0, 0, 0x52, 0x54, 0, 9, 9, 9, 0, 0, 0, 0);
	for (unsigned pair = 0; pair < PAIRS; pair++) {
		buffers_offer(f, pair, 8, 1526);
		world_sends(f, pair, frame, bytes);
		assert_int_equal(guest_gets(f, pair, 1, got), bytes);
	}
	virtio_pause(f->vdev);
	for (unsigned i = 0; i < 2 * PAIRS + 1; i++) /* what was staged is back */
		assert_int_equal(f->vdev->queue[i].ring.next_avail,
				 f->vdev->queue[i].ring.next_used);
	move(f, own);
	assert_int_equal(f->fake.queues, 2);
	assert_int_equal(f->fake.offloads, NET_CSUM);
	/* The filter: an address of the table's, and one that nobody asked for. */
	bytes = frame_make(frame, other, own, 90);
	world_sends(f, 1, frame, bytes);
	frame[NET_HEADER + 5] = 8;
	world_sends(f, 0, frame, bytes);
	frame[NET_HEADER + 5] = 9;
	world_sends(f, 0, frame, bytes);
	virtio_resume(f->vdev);
	for (unsigned pair = 0; pair < PAIRS; pair++) {
		assert_int_equal(guest_gets(f, pair, 1, got), bytes);
		assert_memory_equal(got + NET_HEADER, frame + NET_HEADER, bytes - NET_HEADER);
	}
	assert_int_equal(atomic_load(&f->nic->counts.filtered), 1);
	guest_sends(f, 1, frame, frame_make(frame, other, own, 100));
	assert_true(world_gets(f, 1, got, sizeof(got)) > 0);
}

/* What the driver was told once does not change under it: it must be told that this is another NIC.
 */
static void another_mac(void **state)
{
	struct fixture *f = *state;

	assert_true(virtio_net_is_known(f->nic));
	move(f, own);
	assert_true(virtio_net_is_known(f->nic));
	move(f, other);
	assert_false(virtio_net_is_known(f->nic));
	virtio_resume(f->vdev);
	fake_transport_reset(&f->transport);
	assert_true(virtio_net_is_known(f->nic));
}

/* Restored elsewhere: the guest is to tell, once, if it said that it can. */
static void announced_after_a_move(void **state)
{
	struct fixture *f = *state;
	bool can = virtio_has(f->vdev, F_GUEST_ANNOUNCE);
	uint8_t status[2];

	move(f, own);
	virtio_net_announce(f->nic);
	virtio_resume(f->vdev);
	/* One that every restored device sends, and its own. */
	assert_int_equal(atomic_load(&f->transport.config_interrupts), 1 + can);
	f->vdev->ops->config_read(f->nic, CONFIG_STATUS, status, 2);
	assert_int_equal(le16_get(status), STATUS_LINK_UP | (can ? STATUS_ANNOUNCE : 0));
	COMMAND_IS(f, !can, 3, 0);
	f->vdev->ops->config_read(f->nic, CONFIG_STATUS, status, 2);
	assert_int_equal(le16_get(status), STATUS_LINK_UP);
}

/* Frames that the network has no room for are sent behind the move, each once. */
static void saved_while_blocked(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[1600], got[1600];
	size_t bytes = frame_make(frame, other, own, 1514);
	struct driver_buffer b = {SENT, (uint32_t)bytes, false};
	unsigned came = 0;

	memcpy(memory_at_write(f->memory, SENT, bytes), frame, bytes);
	for (unsigned i = 0; i < ENTRIES; i++)
		driver_ring_add(&f->send[0], &b, 1);
	fake_transport_kick(&f->transport, queue_send(0));
	for (unsigned moves = 0; came < ENTRIES; moves++) {
		struct pollfd fd = {.fd = f->fake.world[0], .events = POLLIN};

		assert_int_equal(poll(&fd, 1, 10000), 1);
		assert_int_equal(world_gets(f, 0, got, sizeof(got)), bytes);
		came++;
		if (moves % 4 == 0) {
			move(f, own);
			virtio_resume(f->vdev);
		}
	}
	fake_transport_wait_used(&f->transport, &f->send[0], ENTRIES);
	assert_int_equal(world_gets(f, 0, got, sizeof(got)), -1);
}

/* What the host has in hands is done before a pause is. */
static void paused_while_sending(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[256];
	size_t bytes = frame_make(frame, other, own, 100);
	struct driver_buffer b = {SENT, (uint32_t)bytes, false};

	memcpy(memory_at_write(f->memory, SENT, bytes), frame, bytes);
	atomic_store(&f->fake.slow, true);
	driver_ring_add(&f->send[0], &b, 1);
	fake_transport_kick(&f->transport, queue_send(0));
	while (!atomic_load(&f->fake.begun))
		usleep(100);
	virtio_pause(f->vdev);
	assert_int_equal(atomic_load(&f->fake.sent), 1);
	assert_int_equal(driver_ring_used_index(&f->send[0]), 1);
	assert_int_equal(world_gets(f, 0, frame, sizeof(frame)), bytes);
	virtio_resume(f->vdev);
}

/* Buffers without room go back in their turn, and a pause gives back what was taken last. */
static void empty_buffers_keep_their_place(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[256];
	size_t bytes = frame_make(frame, own, other, 100);
	uint32_t id, length;

	for (unsigned i = 0; i < 6; i++) {
		struct driver_buffer d = {BUFFERS + 0x2000ull * i, i % 2 ? 0 : 1526, true};

		driver_ring_add(&f->receive[0], &d, 1);
	}
	fake_transport_kick(&f->transport, queue_receive(0));
	move(f, own);
	virtio_resume(f->vdev);
	for (unsigned i = 0; i < 3; i++) {
		world_sends(f, 0, frame, bytes);
		fake_transport_wait_used(&f->transport, &f->receive[0], (uint16_t)(2 * i + 2));
		for (unsigned k = 0; k < 2; k++) {
			assert_true(driver_ring_take(&f->receive[0], &id, &length));
			assert_int_equal(id, 2 * i + k);
			assert_int_equal(length, k ? 0 : bytes);
		}
		move(f, own);
		virtio_resume(f->vdev);
	}
}

/* As a cable that somebody pulled. */
static void a_network_that_is_gone(void **state)
{
	struct fixture *f = *state;
	uint8_t status[2];

	atomic_store(&f->fake.gone, true);
	buffers_offer(f, 0, 1, 2048);
	for (unsigned i = 0; i < 5000 && !atomic_load(&f->transport.config_interrupts); i++)
		usleep(1000);
	assert_int_equal(atomic_load(&f->transport.config_interrupts), 1);
	f->vdev->ops->config_read(f->nic, 6, status, 2);
	assert_int_equal(le16_get(status), 0);
	assert_false(atomic_load(&f->vdev->status) & VIRTIO_STATUS_NEEDS_RESET);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(frames_come),
		TEST(a_large_frame_is_merged),
		TEST(a_large_frame_waits_for_room),
		cmocka_unit_test_setup_teardown(what_has_no_room_is_dropped, setup_without_merging,
						teardown),
		TEST(what_is_for_others_is_not_seen),
		TEST(frames_go),
		TEST(what_lies_is_not_sent),
		TEST(what_is_short_or_from_others_is_not_sent),
		TEST(commands),
		TEST(two_pairs),
		TEST(a_full_network_is_waited_for),
		TEST(a_malformed_chain_breaks_it),
		TEST(configuration),
		TEST(saved_state),
		TEST(announced_after_a_move),
		TEST(another_mac),
		cmocka_unit_test_setup_teardown(announced_after_a_move, setup_without_announcing,
						teardown),
		TEST(saved_while_blocked),
		TEST(paused_while_sending),
		TEST(empty_buffers_keep_their_place),
		TEST(a_network_that_is_gone),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
