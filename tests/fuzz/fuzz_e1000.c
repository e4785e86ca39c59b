/* SPDX-License-Identifier: MIT */
/*
 * The 82540EM with its thread, on a network that the target plays: registers, rings, frames and
 * saved states in any order. What the network gets is well-formed and from the NIC's own address;
 * what a sound ring has is sent; and the line says what the registers say.
 */
#include "devices/e1000/i82540em.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/e1000/registers.h"
#include "tests/fake_vm.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/base/clock.h"
#include "vmm/base/log.h"

#define MEMORY       0x40000u
#define ECAM         0xe0000000ull
#define SLOT         5u
#define GSI          21u
#define PATIENCE_S   10u
#define ETHERNET     14u
#define SEND_RING    0x1000u
#define RECEIVE_RING 0x2000u
#define BUFFERS      0x4000u
#define ENTRIES      32u

enum { CTRL = 0, ICR = 0xc0, ITR = 0xc4, IMS = 0xd0, IMC = 0xd8, RCTL = 0x100, TCTL = 0x400 };
enum { RDBAL = 0x2800, RDLEN = 0x2808, RDH = 0x2810, RDT = 0x2818 };
enum { TDBAL = 0x3800, TDLEN = 0x3808, TDH = 0x3810, TDT = 0x3818 };

static const uint8_t own[NET_MAC] = {0x52, 0x54, 0, 1, 2, 3};

/* The network. */
struct fake_net {
	struct net net;
	int fd;
	pthread_mutex_t lock; /* guards what follows */
	unsigned full;        /* so often there is no room */
	int result;
	unsigned count; /* frames that wait for the guest ... */
	uint32_t length;
	uint8_t shape; /* ... and of which kind */
};

struct state {
	struct fake_vm *fake;
	struct pci_bus *pci;
	struct fake_net net;
	struct i82540em *nic;
};

static ssize_t fake_receive(struct net *net, unsigned queue, struct iovec *iov, unsigned count)
{
	struct fake_net *f = (struct fake_net *)net;
	uint8_t *frame = iov[0].iov_base;
	ssize_t length = -EAGAIN;
	uint64_t one;

	FUZZ_CHECK(queue == 0 && count == 1 && iov[0].iov_len > NET_HEADER + NET_FRAME_MAX);
	pthread_mutex_lock(&f->lock);
	if (f->count) {
		length = NET_HEADER + f->length;
		memset(frame, f->shape, (size_t)length);
		if (f->shape & 1)
			memset(frame + NET_HEADER, 0xff, NET_MAC);
		else
			memcpy(frame + NET_HEADER, own, NET_MAC);
		if (f->shape & 2 && length > NET_HEADER + 60) {
			memcpy(frame + NET_HEADER + 12, "\x08\0\x45\0\0\x2c", 6);
			frame[NET_HEADER + 23] = f->shape & 4 ? 6 : 17;
		} else if (f->shape & 8 && length > NET_HEADER + 60) {
			memcpy(frame + NET_HEADER + 12, "\x81\0\x20\5\x86\xdd\x60\0\0\0\0\x14\6",
			       13);
		}
		if (--f->count == 0 && read(f->fd, &one, sizeof(one)) < 0)
			FUZZ_CHECK(errno == EAGAIN);
		if (length > (ssize_t)iov[0].iov_len)
			length = f->shape & 0x10 ? -EMSGSIZE : (ssize_t)iov[0].iov_len;
	}
	pthread_mutex_unlock(&f->lock);
	return length;
}

/* As the header's rules are, for whoever reads it next (the kernel). */
static void sent_check(const struct fake_net *f, const uint8_t *frame, size_t length)
{
	unsigned gso = frame[1] & ~0x80u, start = le16_get(frame + 6), at = le16_get(frame + 8);
	bool offloads = f->net.info.offloads;

	length -= NET_HEADER;
	FUZZ_CHECK(length >= ETHERNET && length <= NET_FRAME_MAX + 4);
	FUZZ_CHECK(memcmp(frame + NET_HEADER + NET_MAC, own, NET_MAC) == 0);
	FUZZ_CHECK((frame[0] & ~1u) == 0 && le16_get(frame + 10) == 0);
	FUZZ_CHECK(!frame[0] || (offloads && start + at + 2u <= length));
	FUZZ_CHECK(gso == 0 || gso == 1 || gso == 4);
	if (gso)
		FUZZ_CHECK(frame[0] && le16_get(frame + 4) && le16_get(frame + 2) <= length);
}

static int fake_send(struct net *net, unsigned queue, const struct iovec *iov, unsigned count)
{
	static _Thread_local uint8_t frame[NET_HEADER + NET_FRAME_MAX + 4];
	struct fake_net *f = (struct fake_net *)net;
	size_t length = 0;
	int ret;

	FUZZ_CHECK(queue == 0 && count >= 2);
	for (unsigned i = 0; i < count; i++) {
		FUZZ_CHECK(iov[i].iov_len <= sizeof(frame) - length);
		memcpy(frame + length, iov[i].iov_base, iov[i].iov_len);
		length += iov[i].iov_len;
	}
	sent_check(f, frame, length);
	pthread_mutex_lock(&f->lock);
	ret = f->full ? -EAGAIN : f->result;
	f->full -= f->full > 0;
	pthread_mutex_unlock(&f->lock);
	return ret;
}

/* It is never readable; and writable when somebody says so, that is at once. */
static int fake_fd(const struct net *net, unsigned queue)
{
	FUZZ_CHECK(queue == 0);
	return ((const struct fake_net *)net)->fd;
}

static int fake_set(struct net *net, unsigned value)
{
	(void)net;
	FUZZ_CHECK(value <= 1);
	return 0;
}

static const struct net_ops net_ops = {
	.receive = fake_receive,
	.send = fake_send,
	.fd = fake_fd,
	.set_offloads = fake_set,
	.set_queues = fake_set,
};

static void net_arrive(struct fake_net *f, uint32_t length, uint8_t shape)
{
	uint64_t one = 1;

	pthread_mutex_lock(&f->lock);
	f->count++;
	f->length = length;
	f->shape = shape;
	FUZZ_CHECK(write(f->fd, &one, sizeof(one)) == sizeof(one));
	pthread_mutex_unlock(&f->lock);
}

static void net_make(struct fake_net *f, bool offloads)
{
	f->net = (struct net){
		.ops = &net_ops,
		.info = {.type = "fake",
			 .queues = 1,
			 .mtu = 1500,
			 .offloads = offloads ? NET_CSUM | NET_TSO4 | NET_TSO6 | NET_TSO_ECN : 0}};
	f->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	FUZZ_CHECK(f->fd >= 0);
	pthread_mutex_init(&f->lock, NULL);
}

static void board_make(struct state *s)
{
	struct pci_config config = {.vm = &s->fake->vm,
				    .ecam_base = ECAM,
				    .ecam_size = 0x100000,
				    .window_base = 0xc0000000,
				    .window_size = 0x100000,
				    .ports_base = 0x1000,
				    .ports_size = 0xf000,
				    .first_gsi = 16,
				    .gsi_count = 8};
	struct i82540em_config nic = {.net = &s->net.net};

	memcpy(nic.mac, own, NET_MAC);
	FUZZ_CHECK(pci_bus_create(&config, &s->pci) == 0);
	FUZZ_CHECK(i82540em_create(&s->fake->vm, s->pci, SLOT, &nic, &s->nic) == 0);
	i82540em_resume(s->nic);
}

static void config_put(struct state *s, unsigned offset, unsigned size, uint64_t value)
{
	bus_write(s->fake->vm.mmio, ECAM + (SLOT << 15) + offset, size, value);
}

static uint32_t config_get(struct state *s, unsigned offset)
{
	return (uint32_t)bus_read(s->fake->vm.mmio, ECAM + (SLOT << 15) + offset, 4);
}

static uint64_t memory_at_bar(struct state *s, uint32_t reg)
{
	return (config_get(s, PCI_BAR) & ~15u) + reg;
}

static uint32_t get(struct state *s, uint32_t reg)
{
	return (uint32_t)bus_read(s->fake->vm.mmio, memory_at_bar(s, reg), 4);
}

static void put(struct state *s, uint32_t reg, uint32_t value)
{
	bus_write(s->fake->vm.mmio, memory_at_bar(s, reg), 4, value);
}

/* So that registers lead somewhere. */
static void find(struct state *s)
{
	config_put(s, PCI_BAR, 4, 0xc0000000);
	config_put(s, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

/* Rings with buffers, all of it on. */
static void drive(struct state *s)
{
	uint8_t entry[16] = {0};

	find(s);
	put(s, TCTL, 0);
	put(s, RCTL, 0);
	put(s, TDBAL, SEND_RING);
	put(s, TDBAL + 4, 0);
	put(s, TDLEN, ENTRIES * 16);
	put(s, TDH, 0);
	put(s, TDT, 0);
	put(s, RDBAL, RECEIVE_RING);
	put(s, RDBAL + 4, 0);
	put(s, RDLEN, ENTRIES * 16);
	put(s, RDH, 0);
	put(s, RDT, ENTRIES - 1);
	for (unsigned i = 0; i < ENTRIES; i++) {
		le64_put(entry, BUFFERS + 0x800 * i);
		memory_write(s->fake->vm.memory, RECEIVE_RING + 16 * i, entry, sizeof(entry));
	}
	memory_write(s->fake->vm.memory, BUFFERS + NET_MAC, own, NET_MAC);
	put(s, IMS, 0xffff);
	put(s, TCTL, 2);
	put(s, RCTL, 0x8002);
}

/* Descriptors as the input has them, nearly sound. */
static void descriptors_add(struct state *s, struct input *in)
{
	unsigned tail = get(s, TDT) % ENTRIES;

	for (unsigned count = 1 + input_u8(in) % 4; count-- > 0; tail = (tail + 1) % ENTRIES) {
		uint8_t d[16], shape = input_u8(in);

		input_bytes(in, d, sizeof(d));
		/* Not a context: of memory that is there. */
		if (!(shape & 0x80)) {
			le64_put(d, BUFFERS + (le64_get(d) & 0xfff) * !(shape & 0x40));
			le32_put(d + 8, (le32_get(d + 8) & 0xff003fff) | 1u << 20);
		} else if (shape & 1) {
			d[10] &= 0x0f;
			d[11] |= 0x20;
		}
		memory_write(s->fake->vm.memory, SEND_RING + 16 * tail, d, sizeof(d));
	}
	put(s, TDT, tail);
}

static void move(struct state *s)
{
	struct error err = {0};
	uint8_t *bytes;
	struct codec c;
	size_t size;

	i82540em_pause(s->nic);
	codec_init_save(&c);
	i82540em_state(s->nic, &c);
	FUZZ_CHECK(codec_finish(&c, &err) == 0);
	codec_take(&c, &bytes, &size);
	codec_fini(&c);
	i82540em_destroy(s->nic);
	pci_bus_destroy(s->pci);
	board_make(s);
	i82540em_pause(s->nic);
	codec_init_load(&c, bytes, size);
	i82540em_state(s->nic, &c);
	FUZZ_CHECK(codec_finish(&c, &err) == 0);
	codec_fini(&c);
	free(bytes);
	i82540em_resume(s->nic);
}

static uint32_t register_of(struct input *in)
{
	static const uint16_t often[] = {
		0x0000, 0x0010, 0x0014, 0x0020, 0x00c0, 0x00c4, 0x00c8, 0x00d0,
		0x00d8, 0x0100, 0x0400, 0x2800, 0x2808, 0x2810, 0x2818, 0x3800,
		0x3808, 0x3810, 0x3818, 0x5000, 0x5200, 0x5400, 0x5404, 0x5600,
		0x4074, 0x4088, 0x408c, 0x40d4, 0x0008, 0x0038, 0x2820, 0x3828,
	};
	uint8_t shape = input_u8(in);

	return shape & 0x80 ? input_u32(in) & 0x1ffff : often[shape & 31];
}

static void step(struct state *s, struct input *in)
{
	uint8_t op = input_u8(in), bytes[64];
	unsigned size;

	switch (op & 15) {
	case 0:
	case 1:
		size = 1u << (op >> 4 & 3);
		bus_write(s->fake->vm.mmio, memory_at_bar(s, register_of(in)), op & 0x80 ? size : 4,
			  input_u32(in));
		break;
	case 2:
		size = 1u << (op >> 4 & 3);
		bus_read(s->fake->vm.mmio, memory_at_bar(s, register_of(in)), op & 0x80 ? size : 4);
		break;
	case 3:
	case 4:
	case 5:
		descriptors_add(s, in);
		break;
	case 6:
	case 7:
		net_arrive(&s->net,
			   op & 0x80 ? input_u32(in) % (NET_FRAME_MAX + 1) : input_u8(in) * 8u,
			   input_u8(in));
		break;
	case 8:
		put(s, RDT, (get(s, RDH) + (op >> 4)) % ENTRIES);
		break;
	case 9:
		input_bytes(in, bytes, sizeof(bytes));
		memory_write(s->fake->vm.memory, input_u32(in) % MEMORY, bytes, input_u8(in) % 64);
		break;
	case 10: /* by ports */
		size = (config_get(s, PCI_BAR + 8) & ~3u) + (op >> 4 & 7);
		if (op & 0x80)
			bus_write(s->fake->vm.pio, size, 4, input_u32(in));
		else
			bus_read(s->fake->vm.pio, size, 4);
		break;
	case 11:
		move(s);
		break;
	case 12:
		if (op & 0x10)
			i82540em_reset(s->nic);
		drive(s);
		break;
	case 13:
		config_put(s, input_u8(in), 1u << (op >> 4 & 3), input_u32(in));
		find(s);
		break;
	case 14:
		pthread_mutex_lock(&s->net.lock);
		s->net.full = op >> 4;
		s->net.result = op & 0x80 ? -EIO : 0;
		pthread_mutex_unlock(&s->net.lock);
		break;
	default:
		i82540em_set_link(s->nic, op & 0x10);
		if (op & 0x20)
			i82540em_pause(s->nic);
		if (op & 0x20)
			i82540em_resume(s->nic);
		break;
	}
}

/* A ring that is sound is emptied, and what the line has is what the registers have. */
FUZZ_NO_COVERAGE static void settle(struct state *s)
{
	uint64_t deadline = clock_monotonic_ns() + PATIENCE_S * CLOCK_NS_PER_S;
	uint32_t causes;

	pthread_mutex_lock(&s->net.lock);
	s->net.full = 0;
	pthread_mutex_unlock(&s->net.lock);
	find(s);
	put(s, ITR, 0);
	put(s, TDBAL, SEND_RING);
	put(s, TDBAL + 4, 0);
	put(s, TDLEN, ENTRIES * 16);
	put(s, TDH, get(s, TDH) % ENTRIES);
	put(s, TDT, get(s, TDT) % ENTRIES);
	put(s, TCTL, 2);
	while (get(s, TDH) != get(s, TDT)) {
		FUZZ_CHECK(clock_monotonic_ns() < deadline);
		sched_yield();
	}
	i82540em_pause(s->nic);
	put(s, IMS, CAUSE_LINK);
	put(s, 0xc8, CAUSE_LINK);
	FUZZ_CHECK(atomic_load(&s->fake->level[GSI]));
	causes = get(s, ICR);
	FUZZ_CHECK(causes & CAUSE_LINK && get(s, ICR) == 0);
	FUZZ_CHECK(!atomic_load(&s->fake->level[GSI]));
	i82540em_resume(s->nic);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	struct input in = {input, size};
	struct state s = {0};

	log_set_level(LOG_ERROR);
	s.fake = fake_vm_create(MEMORY);
	net_make(&s.net, input_u8(&in) & 1);
	board_make(&s);
	drive(&s);
	while (in.left)
		step(&s, &in);
	settle(&s);
	i82540em_destroy(s.nic);
	pci_bus_destroy(s.pci);
	fake_vm_destroy(s.fake);
	pthread_mutex_destroy(&s.net.lock);
	close(s.net.fd);
	return 0;
}
