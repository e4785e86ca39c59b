/* SPDX-License-Identifier: MIT */
/*
 * The NIC and its threads, on a network that the target plays: frames that are sent, frames that
 * come, commands. With the rules kept every frame that is sent and every command completes,
 * whatever they say; and what comes is what the network gave, in its order, as far as it comes at
 * all. What the network gets of a guest is well-formed and from its own address, rules or no rules.
 */
#include "devices/virtio/net.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/fuzz/virtio_guest.h"
#include "vmm/base/checked.h"
#include "vmm/base/log.h"

#define PAIRS      2u
#define QUEUES     (2u * PAIRS + 1)
#define MEMORY     (QUEUES * QUEUE_MEMORY)
#define FRAMES_MAX 64u
#define ETHERNET   14u
#define SEQUENCE   ETHERNET /* where a frame has its number, when it is long enough */
#define FILLED     (ETHERNET + 4)

/* Features (virtio 1.2, 5.1.3). */
#define F_CSUM       (1ull << 0)
#define F_HOST_TSO4  (1ull << 11)
#define F_HOST_TSO6  (1ull << 12)
#define F_HOST_ECN   (1ull << 13)
#define F_MRG_RXBUF  (1ull << 15)
#define F_CTRL_VQ    (1ull << 17)
#define F_MQ         (1ull << 22)
#define F_HOST_USO   (1ull << 56)
#define ALL_OFFLOADS (NET_CSUM | NET_TSO4 | NET_TSO6 | NET_TSO_ECN | NET_USO)

static const uint8_t own_mac[NET_MAC] = {0x52, 0x54, 0, 1, 2, 3};

/* The network. */

struct fake_net {
	struct net net;
	int fd;
	pthread_mutex_t lock; /* guards what follows */
	uint64_t accepted;    /* by the driver */
	bool any_source;
	unsigned full; /* so often there is no room */
	int result;    /* of sending */
	unsigned first, count;
	uint32_t next; /* number of the frame that is made next */
	uint32_t length[FRAMES_MAX], number[FRAMES_MAX];
	bool too_large_is_told; /* by -EMSGSIZE, or cut */
};

static struct fake_net *fake_of(struct net *net)
{
	return (struct fake_net *)net;
}

static uint8_t fill_of(uint32_t number, size_t at)
{
	return (uint8_t)(number * 7 + at);
}

FUZZ_NO_COVERAGE static void frame_make(uint8_t *to, uint32_t number, uint32_t length)
{
	memset(to, 0, NET_HEADER);
	to += NET_HEADER;
	for (uint32_t i = 0; i < length; i++)
		to[i] = fill_of(number, i);
	memset(to, 0xff, length < NET_MAC ? length : NET_MAC); /* to all */
	if (length >= FILLED)
		le32_put(to + SEQUENCE, number);
}

static ssize_t fake_receive(struct net *net, unsigned queue, struct iovec *iov, unsigned count)
{
	static _Thread_local uint8_t frame[NET_HEADER + NET_FRAME_MAX];
	struct fake_net *f = fake_of(net);
	size_t left, room = 0;
	uint64_t one;

	FUZZ_CHECK(queue < PAIRS && count >= 1);
	for (unsigned i = 0; i < count; i++)
		room += iov[i].iov_len;
	pthread_mutex_lock(&f->lock);
	if (f->count == 0) {
		pthread_mutex_unlock(&f->lock);
		return -EAGAIN;
	}
	left = NET_HEADER + f->length[f->first];
	frame_make(frame, f->number[f->first], f->length[f->first]);
	f->first = (f->first + 1) % FRAMES_MAX;
	if (--f->count == 0 && read(f->fd, &one, sizeof(one)) < 0)
		FUZZ_CHECK(errno == EAGAIN);
	pthread_mutex_unlock(&f->lock);
	if (left > room && f->too_large_is_told)
		return -EMSGSIZE;
	left = left < room ? left : room;
	room = 0;
	for (unsigned i = 0; room < left; i++) {
		size_t n = iov[i].iov_len < left - room ? iov[i].iov_len : left - room;

		memcpy(iov[i].iov_base, frame + room, n);
		room += n;
	}
	return (ssize_t)left;
}

/* As the header's rules are, for whoever reads it next (the kernel). */
static void header_check(const struct fake_net *f, const uint8_t *header, size_t length)
{
	unsigned gso = header[1] & ~0x80u, start = le16_get(header + 6), at = le16_get(header + 8);

	FUZZ_CHECK((header[0] & ~1u) == 0 && le16_get(header + 10) == 0);
	FUZZ_CHECK(!header[0] || (f->accepted & F_CSUM && start + at + 2u <= length));
	FUZZ_CHECK(gso == 0 || gso == 1 || gso == 4 || gso == 5);
	FUZZ_CHECK(gso != 1 || f->accepted & F_HOST_TSO4);
	FUZZ_CHECK(gso != 4 || f->accepted & F_HOST_TSO6);
	FUZZ_CHECK(gso != 5 || f->accepted & F_HOST_USO);
	FUZZ_CHECK(!(header[1] & 0x80) || f->accepted & F_HOST_ECN);
	if (gso)
		FUZZ_CHECK(header[0] && le16_get(header + 4) && le16_get(header + 2) <= length);
}

static int fake_send(struct net *net, unsigned queue, const struct iovec *iov, unsigned count)
{
	static _Thread_local uint8_t frame[NET_HEADER + NET_FRAME_MAX];
	struct fake_net *f = fake_of(net);
	size_t length = 0;
	int ret;

	FUZZ_CHECK(queue < PAIRS && count >= 1);
	for (unsigned i = 0; i < count; i++) {
		FUZZ_CHECK(iov[i].iov_len <= sizeof(frame) - length);
		memcpy(frame + length, iov[i].iov_base, iov[i].iov_len);
		length += iov[i].iov_len;
	}
	FUZZ_CHECK(length >= NET_HEADER + ETHERNET);
	pthread_mutex_lock(&f->lock);
	header_check(f, frame, length - NET_HEADER);
	FUZZ_CHECK(f->any_source || memcmp(frame + NET_HEADER + NET_MAC, own_mac, NET_MAC) == 0);
	ret = f->full ? -EAGAIN : f->result;
	if (f->full)
		f->full--;
	pthread_mutex_unlock(&f->lock);
	return ret;
}

static int fake_fd(const struct net *net, unsigned queue)
{
	FUZZ_CHECK(queue < PAIRS);
	return ((const struct fake_net *)net)->fd;
}

static int fake_set_offloads(struct net *net, unsigned offloads)
{
	(void)net;
	FUZZ_CHECK((offloads & ~(unsigned)ALL_OFFLOADS) == 0);
	return 0;
}

static int fake_set_queues(struct net *net, unsigned queues)
{
	(void)net;
	FUZZ_CHECK(queues >= 1 && queues <= PAIRS);
	return 0;
}

static const struct net_ops fake_ops = {
	.receive = fake_receive,
	.send = fake_send,
	.fd = fake_fd,
	.set_offloads = fake_set_offloads,
	.set_queues = fake_set_queues,
};

/* The guest. */

struct state {
	struct fake_net fake;
	struct guest_memory *memory;
	struct virtio_net *nic;
	struct virtio_guest guest;
	uint64_t features;
	uint16_t size;
	unsigned shift;
	unsigned queue;    /* that is collected */
	uint32_t expected; /* the number of the next frame, at least */
	/* A frame that comes in several buffers. */
	unsigned buffers;
	size_t length;
	uint8_t frame[NET_HEADER + NET_FRAME_MAX];
};

static unsigned control_queue(const struct state *s)
{
	return s->features & F_MQ ? 2 * PAIRS : 2;
}

static void frame_check(struct state *s)
{
	const uint8_t *frame = s->frame + NET_HEADER;
	size_t length = s->length - NET_HEADER;
	uint32_t number;

	FUZZ_CHECK(length >= ETHERNET && length <= NET_FRAME_MAX);
	if (length < FILLED)
		return;
	number = le32_get(frame + SEQUENCE);
	/* Two threads take them from the network: their order holds in one queue only. */
	FUZZ_CHECK(number < s->fake.next && (s->features & F_MQ || number >= s->expected));
	s->expected = number + 1;
	for (size_t i = FILLED; i < length; i++)
		FUZZ_CHECK(frame[i] == fill_of(number, i));
}

static void received(void *arg, uint16_t head, uint32_t bytes)
{
	struct state *s = arg;
	const struct guest_chain *chain = &s->guest.queue[s->queue].chain[head];
	uint32_t left = bytes;
	unsigned buffers;

	/* One that has no room comes back empty. */
	if (bytes == 0 && s->buffers == 0)
		return;
	s->buffers++;
	for (unsigned i = 0; i < chain->count && left; i++) {
		uint32_t n = chain->piece[i].length < left ? chain->piece[i].length : left;

		if (!chain->piece[i].write)
			continue;
		FUZZ_CHECK(s->length + n <= sizeof(s->frame));
		memcpy(s->frame + s->length, memory_at(s->memory, chain->piece[i].address, n), n);
		s->length += n;
		left -= n;
	}
	/* A header may be in several buffers itself. */
	if (s->length < NET_HEADER)
		return;
	buffers = le16_get(s->frame + 10);
	FUZZ_CHECK(buffers >= s->buffers && (s->features & F_MRG_RXBUF || buffers == 1));
	if (s->buffers < buffers)
		return;
	frame_check(s);
	s->length = s->buffers = 0;
}

static void interrupt_wait(struct state *s)
{
	struct pollfd p = {.fd = s->guest.interrupt_fd, .events = POLLIN};
	uint64_t count;

	if (poll(&p, 1, 2) == 1 && read(p.fd, &count, sizeof(count)) < 0)
		FUZZ_CHECK(errno == EAGAIN);
}

static bool has_frames(struct state *s)
{
	bool has;

	pthread_mutex_lock(&s->fake.lock);
	has = s->fake.count;
	pthread_mutex_unlock(&s->fake.lock);
	return has;
}

static void collect(struct state *s, unsigned queue)
{
	struct guest_queue *q = &s->guest.queue[queue];

	s->queue = queue;
	guest_queue_collect(q, received, s);
	for (unsigned i = 0; i < 4 && !q->wild && has_frames(s) && guest_queue_in_flight(q); i++) {
		if (!guest_queue_want_interrupt(q))
			interrupt_wait(s);
		guest_queue_collect(q, received, s);
	}
}

/* What must complete, and what came. */
static void settle(struct state *s)
{
	unsigned pairs = s->features & F_MQ ? PAIRS : 1;

	if (s->features & F_CTRL_VQ)
		virtio_guest_wait(&s->guest, control_queue(s), NULL, NULL);
	for (unsigned i = 0; i < pairs; i++)
		virtio_guest_wait(&s->guest, 2 * i + 1, NULL, NULL);
	for (unsigned i = 0; i < pairs; i++)
		collect(s, 2 * i);
}

/* A frame that is good but for what the input says. */
static void send_add(struct state *s, struct input *in, unsigned queue)
{
	struct guest_queue *q = &s->guest.queue[queue];
	uint8_t shape = input_u8(in);
	uint32_t length = NET_HEADER + ETHERNET + (shape & 3 ? input_u8(in) * (shape & 3u) : 0),
		 at = 0;
	uint16_t old = q->avail_index, head;
	uint64_t buffer;
	uint8_t *frame;

	if (!guest_queue_begin(q, &head, &buffer))
		return;
	frame = memory_at_write(s->memory, buffer, QUEUE_BUFFER);
	memset(frame, shape, length);
	memset(frame, 0, NET_HEADER);
	memcpy(frame + NET_HEADER + NET_MAC, own_mac, NET_MAC);
	if (shape & 4)
		input_bytes(in, frame, NET_HEADER);
	if (shape & 8)
		frame[NET_HEADER + NET_MAC + input_u8(in) % NET_MAC] ^= 1;
	for (unsigned i = 0; i < (shape >> 4 & 3u); i++) {
		uint32_t piece = input_u8(in);

		piece = piece < length - at ? piece : length - at;
		guest_queue_piece(q, head, buffer + at, piece, false);
		at += piece;
	}
	if (shape & 0x40) /* the same again, up to what is too much */
		for (unsigned i = input_u8(in) % 12; i; i--)
			guest_queue_piece(q, head, buffer, QUEUE_BUFFER, false);
	else
		guest_queue_piece(q, head, buffer + at, length - at, false);
	if (guest_queue_add(q, head, shape & 0x80 ? 1 : QUEUE_PIECES))
		virtio_guest_ring_if_asked(&s->guest, queue, old);
}

static void buffers_add(struct state *s, struct input *in, unsigned queue, unsigned count)
{
	struct guest_queue *q = &s->guest.queue[queue];
	uint8_t shape = input_u8(in);

	while (count--) {
		uint16_t old = q->avail_index, head;
		uint32_t length = shape & 1 ? QUEUE_BUFFER : input_u8(in) * 8u;
		uint64_t buffer;

		if (!guest_queue_begin(q, &head, &buffer))
			return;
		if (shape & 2 && length > 5)
			guest_queue_piece(q, head, buffer, 5, true);
		guest_queue_piece(q, head, buffer + 8,
				  length < QUEUE_BUFFER ? length : QUEUE_BUFFER - 8, true);
		if (guest_queue_add(q, head, shape & 4 ? 0 : QUEUE_PIECES))
			virtio_guest_ring_if_asked(&s->guest, queue, old);
	}
}

static void frames_come(struct state *s, struct input *in, unsigned count)
{
	struct fake_net *f = &s->fake;
	uint8_t shape = input_u8(in);

	pthread_mutex_lock(&f->lock);
	f->too_large_is_told = shape & 1;
	while (count-- && f->count < FRAMES_MAX) {
		unsigned at = (f->first + f->count++) % FRAMES_MAX;

		f->number[at] = f->next++;
		f->length[at] = shape & 2 ? input_u16(in) : input_u8(in) * 6u;
	}
	pthread_mutex_unlock(&f->lock);
	FUZZ_CHECK(eventfd_write(f->fd, 1) == 0);
}

/* Class, command and data as they come; or a good one, of the commonest. */
static void command_add(struct state *s, struct input *in)
{
	struct guest_queue *q = &s->guest.queue[control_queue(s)];
	uint8_t shape = input_u8(in), length = input_u8(in);
	uint16_t old = q->avail_index, head;
	uint64_t buffer;
	uint8_t *command;

	if (!(s->features & F_CTRL_VQ) || !guest_queue_begin(q, &head, &buffer))
		return;
	command = memory_at_write(s->memory, buffer, QUEUE_BUFFER);
	memset(command, 0, 512);
	command[0] = shape & 7;
	command[1] = shape >> 3 & 7;
	input_bytes(in, command + 2, length < 32 ? length : 32);
	if (shape & 0x40) {
		guest_queue_piece(q, head, buffer, 1, false);
		guest_queue_piece(q, head, buffer + 1, 1 + length, false);
	} else {
		guest_queue_piece(q, head, buffer, 2u + length, false);
	}
	if (!(shape & 0x80))
		guest_queue_piece(q, head, buffer + 1024, 1, true);
	if (guest_queue_add(q, head, QUEUE_PIECES))
		virtio_guest_ring_if_asked(&s->guest, control_queue(s), old);
}

static void start(struct state *s)
{
	pthread_mutex_lock(&s->fake.lock);
	s->fake.accepted = s->features & virtio_net_device(s->nic)->offered;
	pthread_mutex_unlock(&s->fake.lock);
	s->length = s->buffers = 0;
	virtio_guest_start(&s->guest, s->features, s->features & F_MQ ? 0x1f : 0x07, s->size,
			   s->shift);
}

static void features_choose(struct state *s, struct input *in)
{
	/* Without the control queue its index is one of nothing. */
	s->features = input_u64(in) | (input_u8(in) & 1 ? F_MRG_RXBUF | F_CTRL_VQ : 0);
	if (!(s->features & F_CTRL_VQ))
		s->features &= ~F_MQ;
}

static void step(struct state *s, struct input *in)
{
	uint8_t op = input_u8(in);
	unsigned pair = s->features & F_MQ ? op >> 7 : 0, count = 1 + (op >> 3 & 15u);

	switch (op & 7) {
	case 0:
		while (count--)
			send_add(s, in, 2 * pair + 1);
		break;
	case 1:
		pthread_mutex_lock(&s->fake.lock);
		s->fake.full = count & 3;
		s->fake.result = count & 4 ? -(int)(count & 8 ? EINVAL : EIO) : 0;
		pthread_mutex_unlock(&s->fake.lock);
		break;
	case 2:
		buffers_add(s, in, 2 * pair, count);
		break;
	case 3:
		frames_come(s, in, count);
		break;
	case 4:
		command_add(s, in);
		break;
	case 5: {
		unsigned queue = op & 0x40 ? control_queue(s) : 2 * pair + 1;

		if ((queue != control_queue(s) || s->features & F_CTRL_VQ) &&
		    guest_queue_add_input(&s->guest.queue[queue], in))
			virtio_guest_ring(&s->guest, queue);
		break;
	}
	case 6:
		if (count & 1) {
			settle(s);
			return;
		}
		virtio_guest_reset(&s->guest);
		features_choose(s, in);
		start(s);
		break;
	default:
		if (count & 1)
			virtio_net_set_link(s->nic, count & 2);
		else if (count & 2)
			virtio_net_announce(s->nic);
		else if (op & 0x80) {
			for (unsigned i = 0; i < QUEUES; i++)
				s->guest.queue[i].wild = true;
			guest_queue_corrupt(&s->guest.queue[op >> 5 & 3], in);
			virtio_guest_ring(&s->guest, op >> 5 & 3);
		}
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct virtio_net_config config = {.any_source = false};
	struct state *s = calloc(1, sizeof(*s));
	struct input in = {data, size};
	uint8_t shape = input_u8(&in);
	struct error err = {0};

	log_set_level(LOG_ERROR);
	FUZZ_CHECK(s && memory_create(MEMORY, &s->memory, &err) == 0);
	s->fake.net = (struct net){.ops = &fake_ops,
				   .info = {.type = "fake",
					    .name = "fake",
					    .queues = PAIRS,
					    .offloads = ALL_OFFLOADS,
					    .mtu = 1500}};
	s->fake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&s->fake.lock, NULL);
	config.any_source = s->fake.any_source = shape & 0x10;
	config.net = &s->fake.net;
	memcpy(config.mac, own_mac, NET_MAC);
	s->size = (uint16_t)(1u << (shape & 7));
	s->shift = input_u8(&in);
	features_choose(s, &in);
	FUZZ_CHECK(virtio_net_create(s->memory, &config, &s->nic) == 0);
	virtio_guest_init(&s->guest, virtio_net_device(s->nic), QUEUES);
	start(s);
	while (in.left)
		step(s, &in);
	settle(s);
	virtio_net_destroy(s->nic);
	virtio_guest_fini(&s->guest);
	close(s->fake.fd);
	pthread_mutex_destroy(&s->fake.lock);
	memory_destroy(s->memory);
	free(s);
	return 0;
}
