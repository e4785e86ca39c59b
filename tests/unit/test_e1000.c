/* SPDX-License-Identifier: MIT */
/*
 * The 82540EM by its registers, on a network of a socket pair: what goes out and what comes in,
 * whole, cut, summed and filtered, against sums that are made here anew.
 */
#include "tests/unit/unit.h"

#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/e1000/e1000_impl.h"
#include "tests/fake_vm.h"
#include "tests/unit/state_trip.h"
#include "vmm/base/clock.h"

#define ECAM   0xe0000000ull
#define SLOT   5u
#define GSI    21u
#define MEMORY (4 * MIB)

#define SEND_RING    0x1000u
#define RECEIVE_RING 0x2000u
#define SEND_DATA    0x100000u
#define RECEIVE_DATA 0x200000u
#define BUFFER       2048u
#define ENTRIES      16u

enum { CTRL = 0, STATUS = 8, EECD = 0x10, EERD = 0x14, MDIC = 0x20 };
enum { ICR = 0xc0, ITR = 0xc4, ICS = 0xc8, IMS = 0xd0, IMC = 0xd8, RCTL = 0x100, TCTL = 0x400 };
enum { RDBAL = 0x2800, RDLEN = 0x2808, RDH = 0x2810, RDT = 0x2818 };
enum { TDBAL = 0x3800, TDLEN = 0x3808, TDH = 0x3810, TDT = 0x3818 };
enum { RXCSUM = 0x5000, MTA = 0x5200, RA = 0x5400, VFTA = 0x5600 };

enum { EOP = 1, IC = 4, TSE = 4, RS = 8, DEXT = 0x20, VLE = 0x40 };

static const uint8_t own[NET_MAC] = {0x52, 0x54, 0, 1, 2, 3};
static const uint8_t other[NET_MAC] = {0x52, 0x54, 0, 9, 9, 9};
static const uint8_t all[NET_MAC] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

struct fake_net {
	struct net net;
	int guest, world;
	_Atomic bool full;
	_Atomic int result;
};

struct nic {
	struct fake_vm *fake;
	struct pci_bus *pci;
	struct fake_net net;
	struct i82540em *nic;
	uint32_t memory, ports;
	unsigned tail; /* of what is sent */
};

static ssize_t fake_receive(struct net *net, unsigned queue, struct iovec *iov, unsigned count)
{
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = count};
	ssize_t n = recvmsg(((struct fake_net *)net)->guest, &message, MSG_DONTWAIT);

	assert_int_equal(queue, 0);
	return n < 0 ? -errno : n;
}

static int fake_send(struct net *net, unsigned queue, const struct iovec *iov, unsigned count)
{
	struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = count};
	struct fake_net *f = (struct fake_net *)net;

	assert_int_equal(queue, 0);
	if (atomic_load(&f->full))
		return -EAGAIN;
	if (atomic_load(&f->result))
		return atomic_load(&f->result);
	return sendmsg(f->guest, &message, MSG_DONTWAIT) < 0 ? -errno : 0;
}

static int fake_fd(const struct net *net, unsigned queue)
{
	(void)queue;
	return ((const struct fake_net *)net)->guest;
}

static int fake_set(struct net *net, unsigned value)
{
	(void)net;
	assert_true(value <= 1);
	return 0;
}

static const struct net_ops fake_ops = {
	.receive = fake_receive,
	.send = fake_send,
	.fd = fake_fd,
	.set_offloads = fake_set,
	.set_queues = fake_set,
};

static uint32_t config_get(struct nic *f, unsigned offset)
{
	return (uint32_t)bus_read(f->fake->vm.mmio, ECAM + (SLOT << 15) + offset, 4);
}

static void config_put(struct nic *f, unsigned offset, uint32_t value)
{
	bus_write(f->fake->vm.mmio, ECAM + (SLOT << 15) + offset, 2, value);
}

static uint32_t get(struct nic *f, uint32_t reg)
{
	return (uint32_t)bus_read(f->fake->vm.mmio, f->memory + reg, 4);
}

static void put(struct nic *f, uint32_t reg, uint32_t value)
{
	bus_write(f->fake->vm.mmio, f->memory + reg, 4, value);
}

static void *at(struct nic *f, uint32_t gpa)
{
	void *host = memory_at_write(f->fake->vm.memory, gpa, 1);

	assert_non_null(host);
	return host;
}

static struct nic *create(unsigned offloads, const uint8_t mac[NET_MAC])
{
	struct nic *f = calloc(1, sizeof(*f));
	struct i82540em_config config = {0};
	int fd[2], size = 1 << 20;
	struct pci_config pci;

	assert_non_null(f);
	f->fake = fake_vm_create(MEMORY);
	pci = (struct pci_config){.vm = &f->fake->vm,
				  .ecam_base = ECAM,
				  .ecam_size = 0x100000,
				  .window_base = 0xc0000000,
				  .window_size = 0x100000,
				  .ports_base = 0x1000,
				  .ports_size = 0xf000,
				  .first_gsi = 16,
				  .gsi_count = 8};
	assert_int_equal(pci_bus_create(&pci, &f->pci), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, fd), 0);
	f->net = (struct fake_net){.guest = fd[0], .world = fd[1]};
	f->net.net = (struct net){
		.ops = &fake_ops,
		.info = {.type = "fake", .queues = 1, .mtu = 1500, .offloads = offloads}};
	for (unsigned i = 0; i < 2; i++)
		setsockopt(fd[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	config.net = &f->net.net;
	memcpy(config.mac, mac, NET_MAC);
	assert_int_equal(i82540em_create(&f->fake->vm, f->pci, SLOT, &config, &f->nic), 0);
	return f;
}

/* A driver that has found it, with rings, and interrupts for all. */
static void drive(struct nic *f)
{
	i82540em_resume(f->nic);
	config_put(f, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	f->memory = config_get(f, PCI_BAR) & ~15u;
	f->ports = config_get(f, PCI_BAR + 8) & ~3u;
	put(f, CTRL, get(f, CTRL) | CTRL_LINK_UP);
	put(f, TDBAL, SEND_RING);
	put(f, TDLEN, ENTRIES * 16);
	put(f, RDBAL, RECEIVE_RING);
	put(f, RDLEN, ENTRIES * 16);
	put(f, TCTL, TCTL_ENABLE);
	put(f, RCTL, RCTL_ENABLE | RCTL_BROADCAST);
	put(f, IMS, CAUSES);
	for (unsigned i = 0; i < ENTRIES; i++)
		le64_put(at(f, RECEIVE_RING + 16 * i), RECEIVE_DATA + BUFFER * i);
}

static int setup_with(void **state, unsigned offloads)
{
	struct nic *f = create(offloads, own);

	drive(f);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return setup_with(state, NET_CSUM | NET_TSO4 | NET_TSO6);
}

/* A network that takes nothing over. */
static int setup_plain(void **state)
{
	return setup_with(state, 0);
}

static void destroy(struct nic *f)
{
	i82540em_destroy(f->nic);
	pci_bus_destroy(f->pci);
	fake_vm_destroy(f->fake);
	close(f->net.guest);
	close(f->net.world);
	free(f);
}

static int teardown(void **state)
{
	destroy(*state);
	return 0;
}

static bool line(struct nic *f)
{
	return atomic_load(&f->fake->level[GSI]);
}

static void wait_for_line(struct nic *f)
{
	while (!line(f))
		sched_yield();
}

/* Sending. */

static void descriptor(struct nic *f, uint64_t buffer, uint32_t lower, uint32_t upper)
{
	uint8_t *d = at(f, SEND_RING + 16 * f->tail);

	le64_put(d, buffer);
	le32_put(d + 8, lower);
	le32_put(d + 12, upper);
	f->tail = (f->tail + 1) % ENTRIES;
}

static void legacy(struct nic *f, uint32_t buffer, uint32_t length, unsigned command,
		   uint32_t upper)
{
	descriptor(f, buffer, length | command << 24, upper);
}

static void go(struct nic *f)
{
	put(f, TDT, f->tail);
	while (get(f, TDH) != f->tail)
		sched_yield();
}

/* What the network got: its header, and the frame behind. */
static size_t sent(struct nic *f, uint8_t *frame, size_t room)
{
	struct pollfd p = {.fd = f->net.world, .events = POLLIN};
	ssize_t n;

	assert_int_equal(poll(&p, 1, 10000), 1);
	n = recv(f->net.world, frame, room, 0);
	assert_true(n >= NET_HEADER);
	return (size_t)n - NET_HEADER;
}

static void nothing_sent(struct nic *f)
{
	struct pollfd p = {.fd = f->net.world, .events = POLLIN};

	i82540em_pause(f->nic);
	i82540em_resume(f->nic);
	assert_int_equal(poll(&p, 1, 0), 0);
}

static void addresses(uint8_t *frame, const uint8_t *to, const uint8_t *from)
{
	memcpy(frame, to, NET_MAC);
	memcpy(frame + NET_MAC, from, NET_MAC);
}

static uint8_t *frame_make(struct nic *f, uint32_t length)
{
	uint8_t *frame = at(f, SEND_DATA);

	for (unsigned i = 0; i < length; i++)
		frame[i] = (uint8_t)(i * 7 + (i >> 8));
	addresses(frame, other, own);
	return frame;
}

/* As RFC 1071 has it, byte by byte. */
static uint16_t naive(uint32_t sum, const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		sum += i & 1 ? bytes[i] : (uint32_t)bytes[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static unsigned be16(const uint8_t *from)
{
	return from[0] << 8 | from[1];
}

static void be16_set(uint8_t *to, unsigned value)
{
	to[0] = (uint8_t)(value >> 8);
	to[1] = (uint8_t)value;
}

/* TCP over IPv4 or IPv6 behind the Ethernet header, as a driver leaves it, its sums undone. */
static uint32_t tcp_make(struct nic *f, bool v6, uint32_t payload)
{
	uint32_t ip_bytes = v6 ? 40 : 20, length = 14 + ip_bytes + 20 + payload;
	uint8_t *frame = frame_make(f, length), *ip = frame + 14, *tcp = ip + ip_bytes;

	be16_set(frame + 12, v6 ? 0x86dd : 0x0800);
	memset(ip, 0, ip_bytes);
	ip[0] = v6 ? 0x60 : 0x45;
	if (!v6) {
		be16_set(ip + 4, 0x1234);
		ip[8] = 64;
		ip[9] = 6;
		memcpy(ip + 12, "\x0a\1\2\3\x0a\4\5\6", 8);
	} else {
		ip[6] = 6;
		memset(ip + 8, 0x20, 32);
	}
	memset(tcp, 0, 20);
	le32_put(tcp + 4, 0xf0ffffff); /* 0xfffffff0 */
	tcp[12] = 0x50;
	tcp[13] = 0x19; /* ACK, PSH, FIN */
	be16_set(tcp + 16, naive(6, v6 ? ip + 8 : ip + 12, v6 ? 32 : 8));
	return length;
}

static void context(struct nic *f, bool v6, unsigned command, uint32_t payload, uint32_t mss)
{
	uint32_t start = 14 + (v6 ? 40 : 20);
	uint64_t first = 14 | 24u << 8 | (v6 ? 0 : (start - 1) << 16);

	first |= (uint64_t)(start | (start + 16) << 8) << 32;
	descriptor(f, first, payload | (DEXT | command | (v6 ? 0 : 2) | 1) << 24,
		   (start + 20) << 8 | mss << 16);
}

static void data(struct nic *f, uint32_t buffer, uint32_t length, unsigned command,
		 unsigned options)
{
	descriptor(f, buffer, length | 1u << 20 | (DEXT | command) << 24, options << 8);
}

static void segment_is_summed(const uint8_t *frame, uint32_t length, bool v6)
{
	const uint8_t *ip = frame + 14, *tcp = ip + (v6 ? 40 : 20);
	uint32_t bytes = length - 14 - (v6 ? 40 : 20);

	if (!v6) {
		assert_int_equal(be16(ip + 2), length - 14);
		assert_int_equal(naive(0, ip, 20), 0xffff);
	} else {
		assert_int_equal(be16(ip + 4), bytes);
	}
	assert_int_equal(naive(naive(6 + bytes, v6 ? ip + 8 : ip + 12, v6 ? 32 : 8), tcp, bytes),
			 0xffff);
}

/* The part. */

static void is_a_82540em(void **state)
{
	struct nic *f = *state;

	assert_int_equal(config_get(f, 0), 0x100e8086);
	assert_int_equal(config_get(f, 8) >> 8, 0x020000);
	assert_int_equal(config_get(f, PCI_IRQ_LINE) >> 8 & 0xff, 1);
	assert_int_equal(get(f, STATUS), 0x83);
	put(f, CTRL, get(f, CTRL) & ~CTRL_LINK_UP);
	assert_int_equal(get(f, STATUS), 0x81);
	assert_int_equal(get(f, RA), 0x01005452);
	assert_int_equal(get(f, RA + 4), 0x80000302);
	assert_int_equal(get(f, RA + 8), 0);
	/* Other sizes, and what is not there. */
	assert_int_equal(bus_read(f->fake->vm.mmio, f->memory + RA + 1, 1), 0x54);
	assert_int_equal(bus_read(f->fake->vm.mmio, f->memory + RA, 8), 0x8000030201005452ull);
	bus_write(f->fake->vm.mmio, f->memory + RA, 2, 0xffff);
	assert_int_equal(get(f, RA), 0x01005452);
	put(f, 0x1fffc, 5);
	assert_int_equal(get(f, 0x1fffc), 0);
	/* By ports; a reset by ports, too, as Linux does it. */
	bus_write(f->fake->vm.pio, f->ports, 4, RA);
	assert_int_equal(bus_read(f->fake->vm.pio, f->ports + 4, 4), 0x01005452);
	bus_write(f->fake->vm.pio, f->ports + 4, 4, 7);
	assert_int_equal(get(f, RA), 7);
	assert_int_equal(bus_read(f->fake->vm.pio, f->ports + 4, 2), 0xffff);
	bus_write(f->fake->vm.pio, f->ports, 4, CTRL);
	bus_write(f->fake->vm.pio, f->ports + 4, 4, CTRL_RESET);
	assert_int_equal(get(f, RA), 0x01005452);
	assert_int_equal(get(f, IMS), 0);
	assert_int_equal(get(f, CTRL), 0x201);
}

/* Bits out, bits in, as a driver moves the wires. */
static unsigned wires(struct nic *f, unsigned out, unsigned bits)
{
	unsigned in = 0;

	while (bits-- > 0) {
		uint32_t wire = EECD_REQUEST | EECD_SELECT | (out >> bits & 1 ? EECD_IN : 0);

		put(f, EECD, wire);
		put(f, EECD, wire | EECD_CLOCK);
		in = in << 1 | (get(f, EECD) & EECD_OUT ? 1 : 0);
		put(f, EECD, wire);
	}
	return in;
}

static void eeprom(void **state)
{
	struct nic *f = *state;
	uint16_t sum = 0;

	for (unsigned i = 0; i < 64; i++) {
		put(f, EERD, i << 8 | 1);
		assert_int_equal(get(f, EERD) & 0xff10, i << 8 | 0x10);
		sum = (uint16_t)(sum + (get(f, EERD) >> 16));
	}
	assert_int_equal(sum, 0xbaba);
	put(f, EECD, EECD_REQUEST);
	assert_int_equal(get(f, EECD) & 0x3c0, 0x1c0);
	for (unsigned i = 0; i < 64; i++) {
		unsigned word;

		wires(f, 6u << 6 | i, 9);
		assert_int_equal(get(f, EECD) & EECD_OUT, 0);
		word = wires(f, 0, 16);
		put(f, EERD, i << 8 | 1);
		assert_int_equal(word, get(f, EERD) >> 16);
		put(f, EECD, EECD_REQUEST);
	}
	/* The next word follows, behind the last one the first. Writes are not. */
	wires(f, 6u << 6 | 63, 9);
	wires(f, 0, 16);
	assert_int_equal(wires(f, 0, 16), 0x5452);
	put(f, EECD, EECD_REQUEST);
	wires(f, 5u << 6, 9);
	wires(f, 0xffff, 16);
	put(f, EECD, EECD_REQUEST);
	put(f, EERD, 1);
	assert_int_equal(get(f, EERD) >> 16, 0x5452);
}

static uint32_t mdic(struct nic *f, uint32_t op, unsigned phy, unsigned reg, unsigned value)
{
	put(f, MDIC, op | phy << 21 | reg << 16 | value);
	assert_true(get(f, MDIC) & MDIC_READY);
	return get(f, MDIC);
}

static unsigned phy_get(struct nic *f, unsigned reg)
{
	return mdic(f, MDIC_READ, 1, reg, 0) & 0xffff;
}

static void phy_and_link(void **state)
{
	struct nic *f = *state;

	assert_int_equal(phy_get(f, 2), 0x0141);
	assert_int_equal(phy_get(f, 3), 0x0c20);
	assert_int_equal(phy_get(f, 1), 0x796d);
	assert_int_equal(phy_get(f, 17), 0xac00);
	assert_true(mdic(f, MDIC_READ, 2, 2, 0) & MDIC_ERROR);
	mdic(f, MDIC_WRITE | MDIC_INTERRUPT, 1, 4, 0x01e1);
	assert_int_equal(phy_get(f, 4), 0x01e1);
	assert_int_equal(get(f, ICR), CAUSE_PHY);
	mdic(f, MDIC_WRITE, 1, 2, 0);
	assert_int_equal(phy_get(f, 2), 0x0141);
	/* The cable goes, and comes. */
	i82540em_set_link(f->nic, false);
	assert_true(line(f));
	assert_int_equal(get(f, ICR), CAUSE_LINK);
	assert_false(line(f));
	assert_int_equal(get(f, STATUS) & STATUS_LINK, 0);
	assert_int_equal(phy_get(f, 1), 0x7949);
	frame_make(f, 100);
	legacy(f, SEND_DATA, 100, EOP | RS, 0);
	go(f);
	nothing_sent(f);
	i82540em_set_link(f->nic, true);
	assert_true(get(f, ICR) & CAUSE_LINK);
	/* Power down, and a reset, which is power up; negotiation tells. */
	mdic(f, MDIC_WRITE, 1, 0, 0x0800);
	assert_int_equal(get(f, ICR), CAUSE_LINK);
	assert_int_equal(get(f, STATUS) & STATUS_LINK, 0);
	mdic(f, MDIC_WRITE, 1, 0, 0x8000);
	assert_int_equal(get(f, ICR), CAUSE_LINK);
	assert_int_equal(phy_get(f, 0), 0x1140);
	mdic(f, MDIC_WRITE, 1, 0, 0x1200);
	assert_int_equal(get(f, ICR), CAUSE_LINK);
	assert_int_equal(phy_get(f, 4), 0x0de1);
}

static void interrupts(void **state)
{
	struct nic *f = *state;
	uint64_t began;

	put(f, IMC, ~0u);
	put(f, ICS, 0x105);
	assert_false(line(f));
	put(f, IMS, 4);
	assert_true(line(f));
	put(f, IMC, 4);
	assert_false(line(f));
	put(f, IMS, 0x101);
	put(f, ICR, 0x101);
	assert_false(line(f));
	assert_int_equal(get(f, ICR), 4);
	assert_int_equal(get(f, ICR), 0);
	/* So long between two of them, and no less. */
	put(f, ITR, 40000); /* 10 ms */
	put(f, ICS, 1);
	began = clock_monotonic_ns();
	assert_true(line(f));
	assert_int_equal(get(f, ICR), 1);
	put(f, ICS, 1);
	assert_false(line(f));
	wait_for_line(f);
	assert_true(clock_monotonic_ns() - began >= 9 * CLOCK_NS_PER_MS);
	assert_int_equal(get(f, ICR), 1);
	/* A cause that goes meanwhile needs none. */
	put(f, ICS, 1);
	get(f, ICR);
	usleep(25000);
	assert_false(line(f));
}

static void legacy_frames(void **state)
{
	struct nic *f = *state;
	uint8_t got[4096], *frame = frame_make(f, 1000);
	struct net_counts counts;

	legacy(f, SEND_DATA, 300, RS, 0);
	legacy(f, SEND_DATA + 300, 0, 0, 0);
	legacy(f, SEND_DATA + 300, 700, EOP | RS, 0);
	go(f);
	assert_int_equal(sent(f, got, sizeof(got)), 1000);
	assert_memory_equal(got + NET_HEADER, frame, 1000);
	for (unsigned i = 0; i < NET_HEADER; i++)
		assert_int_equal(got[i], 0);
	assert_int_equal(*(uint8_t *)at(f, SEND_RING + 12), 1);
	assert_int_equal(*(uint8_t *)at(f, SEND_RING + 16 + 12), 0);
	assert_int_equal(*(uint8_t *)at(f, SEND_RING + 32 + 12), 1);
	assert_true(line(f));
	assert_int_equal(get(f, ICR), CAUSE_SENT | CAUSE_SEND_EMPTY);
	/* A sum from here to the end, to there: left to the network. */
	legacy(f, SEND_DATA, 1000 | 50 << 16, EOP | IC, 34 << 8);
	go(f);
	sent(f, got, sizeof(got));
	assert_int_equal(got[0], 1);
	assert_int_equal(le16_get(got + 6), 34);
	assert_int_equal(le16_get(got + 8), 16);
	/* Padded, if that is asked for. */
	put(f, TCTL, TCTL_ENABLE | TCTL_PAD);
	legacy(f, SEND_DATA, 20, EOP, 0);
	go(f);
	memset(got, 0xcc, sizeof(got));
	assert_int_equal(sent(f, got, sizeof(got)), 60);
	assert_memory_equal(got + NET_HEADER, frame, 20);
	assert_int_equal(got[NET_HEADER + 59], 0);
	/* From another address, too short, too long, from nowhere. */
	addresses(frame, other, other);
	legacy(f, SEND_DATA, 100, EOP, 0);
	addresses(frame + 200, other, own);
	legacy(f, SEND_DATA + 200, 13, EOP, 0);
	legacy(f, 0xfffff000, 100, EOP, 0);
	legacy(f, SEND_DATA + 200, 0xffff, 0, 0);
	legacy(f, SEND_DATA + 200, 100, EOP, 0);
	go(f);
	nothing_sent(f);
	i82540em_counts(f->nic, &counts);
	assert_int_equal(counts.sent, 3);
	assert_int_equal(counts.sent_bytes, 2060);
	assert_int_equal(counts.spoofed, 1);
	assert_int_equal(counts.malformed, 3);
	assert_int_equal(get(f, 0x40d4), 3);                /* TPT */
	assert_int_equal(get(f, 0x40d4), 0);                /* which is clear now */
	assert_int_equal(get(f, 0x4090), 1004 + 1004 + 64); /* GOTCL, without */
	assert_int_equal(get(f, 0x4090), 1004 + 1004 + 64);
	get(f, 0x4094);
	assert_int_equal(get(f, 0x4090), 0);
}

static void tags(void **state)
{
	struct nic *f = *state;
	uint8_t got[4096], *frame = frame_make(f, 100);

	/* Not where the controller is not told so. */
	for (unsigned i = 0; i < 2; i++) {
		legacy(f, SEND_DATA, 100 | 50 << 16, EOP | VLE | IC, 34 << 8 | 0x2005u << 16);
		go(f);
		assert_int_equal(sent(f, got, sizeof(got)), i ? 104 : 100);
		put(f, CTRL, get(f, CTRL) | CTRL_VLAN);
	}
	assert_memory_equal(got + NET_HEADER, frame, 12);
	assert_int_equal(be16(got + NET_HEADER + 12), 0x8100);
	assert_int_equal(be16(got + NET_HEADER + 14), 0x2005);
	assert_memory_equal(got + NET_HEADER + 16, frame + 12, 88);
	assert_int_equal(le16_get(got + 6), 38);
}

static void sums(void **state)
{
	struct nic *f = *state;
	bool left = f->net.net.info.offloads;
	uint8_t got[4096];

	for (unsigned v6 = 0; v6 < 2; v6++) {
		uint32_t length = tcp_make(f, v6, 501), bytes = length - 14 - (v6 ? 40 : 20);
		uint8_t *sum = (uint8_t *)at(f, SEND_DATA) + 14 + (v6 ? 40 : 20) + 16;

		/* What is not cut has its lengths already. */
		be16_set(sum, naive(be16(sum) + bytes, NULL, 0));
		if (!v6)
			be16_set(at(f, SEND_DATA + 16), length - 14);
		else
			be16_set(at(f, SEND_DATA + 18), bytes);
		context(f, v6, 0, 0, 0);
		data(f, SEND_DATA, 60, 0, v6 ? 2 : 3);
		data(f, SEND_DATA + 60, length - 60, EOP | RS, 0);
		go(f);
		assert_int_equal(sent(f, got, sizeof(got)), length);
		assert_int_equal(got[0], left);
		if (!left) {
			segment_is_summed(got + NET_HEADER, length, v6);
			continue;
		}
		assert_int_equal(le16_get(got + 6), 14 + (v6 ? 40 : 20));
		assert_int_equal(le16_get(got + 8), 16);
		assert_true(v6 || naive(0, got + NET_HEADER + 14, 20) == 0xffff);
	}
}

static void cut_by_the_network(void **state)
{
	struct nic *f = *state;
	static uint8_t got[NET_HEADER + NET_FRAME_MAX];

	for (unsigned v6 = 0; v6 < 2; v6++) {
		uint32_t ip = v6 ? 40 : 20, length = tcp_make(f, v6, 60000);
		const uint8_t *frame = got + NET_HEADER;

		context(f, v6, TSE, 60000, 1448);
		data(f, SEND_DATA, 30000, TSE, v6 ? 2 : 3);
		data(f, SEND_DATA + 30000, length - 30000, TSE | EOP | RS, 0);
		go(f);
		assert_int_equal(sent(f, got, sizeof(got)), length);
		assert_int_equal(got[0], 1);
		assert_int_equal(got[1], v6 ? 4 : 1);
		assert_int_equal(le16_get(got + 2), 14 + ip + 20);
		assert_int_equal(le16_get(got + 4), 1448);
		assert_int_equal(le16_get(got + 6), 14 + ip);
		/* The kernel wants the lengths of all of it. */
		assert_int_equal(be16(frame + 14 + (v6 ? 4 : 2)), length - 14 - (v6 ? 40 : 0));
		assert_true(v6 || naive(0, frame + 14, 20) == 0xffff);
		assert_int_equal(
			be16(frame + 14 + ip + 16),
			naive(6 + length - 14 - ip, frame + 14 + (v6 ? 8 : 12), v6 ? 32 : 8));
		/* What fits one frame is only summed. */
		length = tcp_make(f, v6, 100);
		context(f, v6, TSE, 100, 1448);
		data(f, SEND_DATA, length, TSE | EOP, v6 ? 2 : 3);
		go(f);
		assert_int_equal(sent(f, got, sizeof(got)), length);
		assert_int_equal(got[1], 0);
		assert_int_equal(got[0], 1);
	}
}

static void cut_here(void **state)
{
	struct nic *f = *state;
	uint8_t got[4096];

	for (unsigned v6 = 0; v6 < 2; v6++) {
		uint32_t ip = v6 ? 40 : 20, header = 14 + ip + 20, length = tcp_make(f, v6, 3001);
		const uint8_t *frame = got + NET_HEADER;

		context(f, v6, TSE, 3001, 1000);
		data(f, SEND_DATA, length, TSE | EOP | RS, v6 ? 2 : 3);
		go(f);
		for (unsigned i = 0; i < 4; i++) {
			uint32_t part = i < 3 ? 1000 : 1;
			const uint8_t *tcp = frame + 14 + ip;

			assert_int_equal(sent(f, got, sizeof(got)), header + part);
			assert_int_equal(got[0] | got[1], 0);
			segment_is_summed(frame, header + part, v6);
			assert_memory_equal(frame + header,
					    (uint8_t *)at(f, SEND_DATA) + header + 1000 * i, part);
			if (!v6)
				assert_int_equal(be16(frame + 18), 0x1234 + i);
			assert_int_equal((uint32_t)be16(tcp + 4) << 16 | be16(tcp + 6),
					 0xfffffff0u + 1000 * i);
			assert_int_equal(tcp[13], i < 3 ? 0x10 : 0x19);
		}
	}
	/* Contexts that make no sense: no size, more header than frame. */
	context(f, false, TSE, 1, 0);
	data(f, SEND_DATA, 200, TSE | EOP, 3);
	descriptor(f, 0, DEXT << 24 | TSE << 24, 250u << 8 | 9u << 16);
	data(f, SEND_DATA, 200, TSE | EOP, 3);
	go(f);
	nothing_sent(f);
	/* Offsets that are nowhere change nothing. */
	descriptor(f, ~0ull, (DEXT | TSE | 3) << 24, 20u << 8 | 90u << 16);
	data(f, SEND_DATA, 200, TSE | EOP, 3);
	go(f);
	assert_int_equal(sent(f, got, sizeof(got)), 110);
	assert_int_equal(sent(f, got, sizeof(got)), 110);
}

/* No sum and no length goes to where the addresses are, which were judged before. */
static void addresses_stay(void **state)
{
	struct nic *f = *state;
	const uint8_t *frame = frame_make(f, 200);
	uint8_t got[4096];

	for (unsigned at_byte = 0; at_byte < 14; at_byte++) {
		uint64_t first = 0xffull << 16 | at_byte << 8 | (uint64_t)at_byte << 40;

		legacy(f, SEND_DATA, 200 | at_byte << 16, EOP | IC, 0);
		descriptor(f, first, (DEXT | 3u) << 24, 0);
		data(f, SEND_DATA, 200, EOP, 3);
		descriptor(f, first | at_byte | (uint64_t)at_byte << 32,
			   (DEXT | TSE | at_byte % 4) << 24, 40u << 8 | 100u << 16);
		data(f, SEND_DATA, 200, EOP | TSE, 3);
		go(f);
		for (unsigned i = 0; i < 4; i++) {
			assert_true(sent(f, got, sizeof(got)) >= 100);
			assert_memory_equal(got + NET_HEADER, frame, 14);
			assert_int_equal(got[0], 0);
		}
	}
}

/* A network without room: the frame waits, whole or cut, and its buffers do not. */
static void blocked(void **state)
{
	struct nic *f = *state;
	uint32_t length = tcp_make(f, false, 2500);
	uint8_t got[4096];

	atomic_store(&f->net.full, true);
	context(f, false, TSE, 2500, 1000);
	data(f, SEND_DATA, length, TSE | EOP | RS, 3);
	legacy(f, SEND_DATA, 100, EOP | RS, 0);
	put(f, TDT, f->tail);
	while (get(f, TDH) != 2)
		sched_yield();
	memset(at(f, SEND_DATA + 100), 0, 2000);
	atomic_store(&f->net.full, false);
	for (unsigned i = 0; i < 3; i++) {
		sent(f, got, sizeof(got));
		segment_is_summed(got + NET_HEADER, i < 2 ? 1054 : 554, false);
		assert_int_equal(got[NET_HEADER + 200],
				 (uint8_t)((1000 * i + 200) * 7 + ((1000 * i + 200) >> 8)));
	}
	assert_int_equal(sent(f, got, sizeof(got)), 100);
}

/* Receiving. */

static void arrive(struct nic *f, const uint8_t *to, uint32_t length, unsigned seed)
{
	uint8_t frame[NET_HEADER + 20000] = {0};

	for (unsigned i = 0; i < length; i++)
		frame[NET_HEADER + i] = (uint8_t)(seed + i * 7);
	addresses(frame + NET_HEADER, to, other);
	be16_set(frame + NET_HEADER + 12, 0x1234);
	assert_int_equal(send(f->net.world, frame, NET_HEADER + length, 0), NET_HEADER + length);
}

static void arrive_bytes(struct nic *f, const uint8_t *bytes, uint32_t length)
{
	uint8_t frame[NET_HEADER + 4096] = {0};

	memcpy(frame + NET_HEADER, bytes, length);
	assert_int_equal(send(f->net.world, frame, NET_HEADER + length, 0), NET_HEADER + length);
}

static uint64_t result(struct nic *f, unsigned index)
{
	const uint8_t *status = at(f, RECEIVE_RING + 16 * index + 12);

	while (!(__atomic_load_n(status, __ATOMIC_ACQUIRE) & RECEIVED_DONE))
		sched_yield();
	return le64_get(at(f, RECEIVE_RING + 16 * index + 8));
}

static unsigned status_of(uint64_t r)
{
	return r >> 32 & 0xff;
}

static void nothing_came(struct nic *f, unsigned head)
{
	uint8_t frame[NET_HEADER + 64] = {0};

	/* One that does come goes behind. */
	addresses(frame + NET_HEADER, all, other);
	send(f->net.world, frame, sizeof(frame), 0);
	assert_int_equal(result(f, head) & 0xffff, 68);
	assert_int_equal(get(f, RDH), (head + 1) % ENTRIES);
	memset(at(f, RECEIVE_RING + 16 * head + 8), 0, 8);
}

static void receives(void **state)
{
	struct nic *f = *state;
	struct net_counts counts;
	const uint8_t *bytes = at(f, RECEIVE_DATA);

	put(f, RDT, 8);
	arrive(f, own, 1000, 3);
	assert_int_equal(result(f, 0), 1004ull | 7ull << 32 | (result(f, 0) & 0xffff0000));
	for (unsigned i = 16; i < 1000; i++)
		assert_int_equal(bytes[i], (uint8_t)(3 + i * 7));
	assert_int_equal(result(f, 0) >> 16 & 0xffff, naive(0, bytes, 1000));
	wait_for_line(f);
	assert_int_equal(get(f, ICR), CAUSE_RECEIVED);
	/* A short one is padded; the CRC may be stripped. */
	put(f, RCTL, get(f, RCTL) | RCTL_STRIP_CRC);
	memset(at(f, RECEIVE_DATA + BUFFER), 0xcc, BUFFER);
	arrive(f, all, 20, 4);
	assert_int_equal(result(f, 1) & 0xffff, 60);
	assert_int_equal(bytes[BUFFER + 59], 0);
	assert_int_equal(bytes[BUFFER + 60], 0xcc);
	put(f, RCTL, get(f, RCTL) & ~RCTL_STRIP_CRC);
	/* Others' are not wanted; nor what is longer than the driver takes. */
	arrive(f, other, 100, 0);
	arrive(f, own, 1519, 0);
	nothing_came(f, 2);
	arrive(f, own, 1518, 0);
	assert_int_equal(result(f, 3) & 0xffff, 1522);
	i82540em_counts(f->nic, &counts);
	assert_int_equal(counts.received, 4);
	assert_int_equal(counts.filtered, 1);
	assert_int_equal(counts.oversize, 1);
	assert_int_equal(get(f, 0x40d0), 4); /* TPR */
	assert_int_equal(get(f, 0x4078), 2); /* BPRC */
	assert_int_equal(get(f, 0x40ac), 1); /* ROC */
	assert_int_equal(get(f, 0x405c), 1); /* PRC64 */
	assert_int_equal(get(f, 0x4074), 4); /* GPRC */
}

/* Over several buffers; one that finds too few waits for more, and what never fits is gone. */
static void receives_in_pieces(void **state)
{
	struct nic *f = *state;
	uint8_t got[9100];

	put(f, RCTL, RCTL_ENABLE | RCTL_BROADCAST | RCTL_LONG | 3u << 16); /* 256 bytes each */
	put(f, RDT, 3);
	arrive(f, own, 1000, 5);
	while (get(f, 0x40a0) == 0) /* RNBC */
		sched_yield();
	assert_int_equal(get(f, RDH), 0);
	put(f, RDT, 8);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t r = result(f, i);

		assert_int_equal(r & 0xffff, i < 3 ? 256 : 1004 - 768);
		assert_int_equal(status_of(r) & 3, i < 3 ? 1 : 3);
		memcpy(got + 256 * i, at(f, RECEIVE_DATA + BUFFER * i), 256);
	}
	for (unsigned i = 16; i < 1000; i++)
		assert_int_equal(got[i], (uint8_t)(5 + i * 7));
	arrive(f, own, 9000, 5);
	nothing_came(f, 4);
	/* Times sixteen; and few descriptors are told of. */
	put(f, RCTL, RCTL_ENABLE | RCTL_LONG | RCTL_SIZE_TIMES_16 | 1u << 16);
	get(f, ICR);
	arrive(f, own, 9000, 5);
	assert_int_equal(result(f, 5) & 0xffff, 9004);
	wait_for_line(f);
	assert_int_equal(get(f, ICR), CAUSE_RECEIVED);
	put(f, RDT, 15); /* nine: one more than half */
	arrive(f, own, 100, 5);
	result(f, 6);
	while (!(get(f, ICR) & CAUSE_RECEIVE_LOW))
		sched_yield();
}

static void filters(void **state)
{
	static const uint8_t group[NET_MAC] = {1, 0, 0x5e, 0x12, 0x34, 0xa6};
	struct nic *f = *state;
	unsigned index = 0, high = 0xa634;

	put(f, RDT, 15);
	/* Another address of its own, and one that is not valid. */
	put(f, RA + 8, le32_get(other));
	put(f, RA + 12, le16_get(other + 4));
	arrive(f, other, 100, 0);
	nothing_came(f, index++);
	put(f, RA + 12, le16_get(other + 4) | ADDRESS_VALID);
	arrive(f, other, 100, 0);
	assert_int_equal(status_of(result(f, index++)), 7);
	/* Groups by the table, which is asked in four ways. */
	for (unsigned mo = 0; mo < 4; mo++) {
		unsigned hash = high >> (mo == 3 ? 0 : 4 - mo) & 0xfff;

		put(f, RCTL, RCTL_ENABLE | RCTL_BROADCAST | mo << 12);
		arrive(f, group, 100, 0);
		nothing_came(f, index++);
		put(f, MTA + 4 * (hash >> 5), 1u << (hash & 31));
		arrive(f, group, 100, 0);
		assert_int_equal(status_of(result(f, index++)), 0x87);
		put(f, MTA + 4 * (hash >> 5), 0);
	}
	put(f, RCTL, RCTL_ENABLE | RCTL_ALL_MULTICAST);
	arrive(f, all, 100, 0);
	result(f, index++);
	put(f, RCTL, RCTL_ENABLE | RCTL_ALL_UNICAST | RCTL_BROADCAST);
	arrive(f, group, 100, 0);
	put(f, RA + 12, 0);
	arrive(f, other, 100, 0);
	assert_int_equal(status_of(result(f, index++)), 0x87);
}

static void tags_received(void **state)
{
	struct nic *f = *state;
	uint8_t frame[100];
	const uint8_t *bytes;

	memset(frame, 0xab, sizeof(frame));
	addresses(frame, own, other);
	be16_set(frame + 12, 0x8100);
	be16_set(frame + 14, 0x6123);
	put(f, RDT, 15);
	arrive_bytes(f, frame, sizeof(frame));
	assert_int_equal(result(f, 0) & 0xffff, 104);
	put(f, CTRL, get(f, CTRL) | CTRL_VLAN);
	arrive_bytes(f, frame, sizeof(frame));
	assert_int_equal(result(f, 1) & 0xffff, 100);
	assert_int_equal(status_of(result(f, 1)) & RECEIVED_TAG, RECEIVED_TAG);
	assert_int_equal(result(f, 1) >> 48, 0x6123);
	bytes = at(f, RECEIVE_DATA + BUFFER);
	assert_memory_equal(bytes, frame, 12);
	assert_memory_equal(bytes + 12, frame + 16, 84);
	arrive_bytes(f, frame, 50);
	assert_int_equal(result(f, 2) & 0xffff, 64);
	put(f, RCTL, get(f, RCTL) | RCTL_VLAN_FILTER);
	arrive_bytes(f, frame, sizeof(frame));
	nothing_came(f, 3);
	put(f, VFTA + 4 * (0x123 >> 5), 1u << (0x123 & 31));
	arrive_bytes(f, frame, sizeof(frame));
	result(f, 4);
}

static void checks(void **state)
{
	struct nic *f = *state;
	uint8_t frame[300];

	put(f, RXCSUM, RXCSUM_IP | RXCSUM_TCP);
	put(f, RDT, 15);
	for (unsigned v6 = 0; v6 < 2; v6++) {
		uint32_t ip = v6 ? 40 : 20, length = tcp_make(f, v6, 101), bytes = length - 14 - ip;
		unsigned first = 4 * v6;

		memcpy(frame, at(f, SEND_DATA), length);
		addresses(frame, own, other);
		be16_set(frame + 14 + (v6 ? 4 : 2), v6 ? bytes : length - 14);
		if (!v6)
			be16_set(frame + 24, (uint16_t)~naive(0, frame + 14, 20));
		be16_set(frame + 30 + ip, 0);
		be16_set(frame + 30 + ip,
			 (uint16_t)~naive(naive(6 + bytes, frame + 14 + (v6 ? 8 : 12), v6 ? 32 : 8),
					  frame + 14 + ip, bytes));
		arrive_bytes(f, frame, length);
		assert_int_equal(status_of(result(f, first)), v6 ? 0x23 : 0x63);
		assert_int_equal(result(f, first) >> 40 & 0xff, 0);
		frame[length - 1] ^= 1;
		arrive_bytes(f, frame, length);
		assert_int_equal(result(f, first + 1) >> 40 & 0xff, RECEIVED_TCP_BAD);
		frame[14 + (v6 ? 6 : 8)] ^= 1; /* another protocol; another time to live */
		arrive_bytes(f, frame, length);
		assert_int_equal(status_of(result(f, first + 2)), v6 ? 0x07 : 0x63);
		assert_int_equal(result(f, first + 2) >> 40 & 0xff,
				 v6 ? 0 : RECEIVED_TCP_BAD | RECEIVED_IP_BAD);
		/* Longer than it is. */
		be16_set(frame + 14 + (v6 ? 4 : 2), 1000);
		arrive_bytes(f, frame, length);
		assert_int_equal(status_of(result(f, first + 3)), 0x07);
	}
}

/* Rings and buffers that are nowhere. */
static void nonsense(void **state)
{
	struct nic *f = *state;
	uint8_t got[4096];

	put(f, TDBAL, 0xfffff000);
	put(f, TDT, 5);
	while (get(f, TDH) != 5)
		sched_yield();
	put(f, TDBAL, SEND_RING);
	put(f, TDT, 40);
	put(f, TDH, 50);
	nothing_sent(f);
	put(f, TDH, 0);
	f->tail = 0;
	frame_make(f, 100);
	legacy(f, SEND_DATA, 100, EOP, 0);
	go(f);
	assert_int_equal(sent(f, got, sizeof(got)), 100);
	/* A frame without an end fills the ring, many times over. */
	for (unsigned i = 0; i < ENTRIES; i++)
		legacy(f, SEND_DATA, 16000, 0, 0);
	for (unsigned i = 0; i < 40; i++) {
		f->tail = (f->tail + 7) % ENTRIES;
		go(f);
	}
	legacy(f, SEND_DATA, 100, EOP, 0);
	legacy(f, SEND_DATA, 100, EOP, 0);
	go(f);
	assert_int_equal(sent(f, got, sizeof(got)), 100);
	le64_put(at(f, RECEIVE_RING), 0xfffff000);
	put(f, RDT, 2);
	arrive(f, own, 100, 0);
	result(f, 0);
	put(f, RDBAL, 0xfffff000);
	arrive(f, own, 100, 0);
	while (get(f, RDH) != 2)
		sched_yield();
	put(f, RDLEN, 0);
	arrive(f, own, 100, 0);
	put(f, RDT, 1);
	nothing_sent(f);
}

/* Without the command register's leave it reaches no memory; after a reset nothing is left. */
static void not_a_master(void **state)
{
	struct nic *f = *state;
	uint8_t got[4096];

	config_put(f, PCI_COMMAND, PCI_COMMAND_MEMORY);
	frame_make(f, 100);
	legacy(f, SEND_DATA, 100, EOP | RS, 0);
	put(f, TDT, f->tail);
	nothing_sent(f);
	assert_int_equal(get(f, TDH), 0);
	config_put(f, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	assert_int_equal(sent(f, got, sizeof(got)), 100);
	wait_for_line(f);
	i82540em_reset(f->nic);
	assert_false(line(f));
	assert_int_equal(config_get(f, PCI_COMMAND) & 0xffff, 0);
	drive(f);
	assert_int_equal(get(f, TDH), 0);
	f->tail = 0;
	legacy(f, SEND_DATA, 100, EOP | RS, 0);
	go(f);
	assert_int_equal(sent(f, got, sizeof(got)), 100);
}

/* Saved state. */

static void state_of(void *thing, struct codec *c)
{
	i82540em_state(((struct nic *)thing)->nic, c);
}

/* A part is sent, one waits, and a third is to come; behind them half a frame. */
static void state_amid_a_frame(void **state)
{
	struct nic *f = *state, *to = create(0, own);
	uint32_t length = tcp_make(f, false, 2500);
	uint8_t got[4096];

	put(f, MTA + 8, 0x1234);
	put(f, VFTA + 8, 0x4321);
	atomic_store(&f->net.full, true);
	context(f, false, TSE, 2500, 1000);
	data(f, SEND_DATA, length, TSE | EOP | RS, 3);
	put(f, TDT, f->tail);
	while (get(f, TDH) != f->tail)
		sched_yield();
	i82540em_pause(f->nic);
	state_trip(state_of, f, to);
	to->tail = f->tail;
	to->memory = f->memory;
	i82540em_resume(to->nic);
	assert_true(line(to));
	for (unsigned i = 0; i < 3; i++) {
		sent(to, got, sizeof(got));
		segment_is_summed(got + NET_HEADER, i < 2 ? 1054 : 554, false);
		assert_int_equal(be16(got + NET_HEADER + 18), 0x1234 + i);
	}
	assert_int_equal(get(to, MTA + 8), 0x1234);
	assert_int_equal(get(to, VFTA + 8), 0x4321);
	/* Half a frame goes along. */
	frame_make(to, 400);
	legacy(to, SEND_DATA, 300, RS, 0);
	go(to);
	i82540em_pause(to->nic);
	destroy(f);
	*state = f = create(0, own);
	state_trip(state_of, to, f);
	f->tail = to->tail;
	f->memory = to->memory;
	destroy(to);
	i82540em_resume(f->nic);
	frame_make(f, 400);
	legacy(f, SEND_DATA + 300, 100, EOP | RS, 0);
	go(f);
	assert_int_equal(sent(f, got, sizeof(got)), 400);
	assert_memory_equal(got + NET_HEADER, at(f, SEND_DATA), 400);
}

/* In a NIC with another address the driver is to learn it, from the EEPROM. */
static void another_address(void **state)
{
	struct nic *f = *state, *to = create(0, other);

	assert_true(i82540em_is_known(f->nic));
	i82540em_pause(f->nic);
	state_trip(state_of, f, to);
	assert_false(i82540em_is_known(to->nic));
	to->memory = f->memory;
	assert_int_equal(get(to, RA), le32_get(own));
	put(to, EERD, 2 << 8 | 1);
	assert_int_equal(get(to, EERD) >> 16, le16_get(other + 4));
	assert_true(i82540em_is_known(to->nic));
	destroy(to);
}

static void *torture_make(void *arg)
{
	(void)arg;
	return create(0, own);
}

static void torture_unmake(void *thing)
{
	struct nic *f = thing;

	i82540em_resume(f->nic);
	destroy(f);
}

static void hostile_states(void **state)
{
	struct nic *f = *state;
	struct state_bytes s;

	atomic_store(&f->net.full, true);
	tcp_make(f, false, 90);
	context(f, false, TSE, 90, 30);
	data(f, SEND_DATA, 144, TSE | EOP | RS, 3);
	go(f);
	i82540em_pause(f->nic);
	s = state_save(state_of, f);
	state_torture(state_of, &s, torture_make, torture_unmake, NULL);
	free(s.bytes);
}

#define TEST(name)       cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_PLAIN(name) cmocka_unit_test_setup_teardown(name, setup_plain, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(is_a_82540em),
		TEST(eeprom),
		TEST(phy_and_link),
		TEST(interrupts),
		TEST(legacy_frames),
		TEST(tags),
		TEST(sums),
		TEST_PLAIN(sums),
		TEST(cut_by_the_network),
		TEST_PLAIN(cut_here),
		TEST(addresses_stay),
		TEST_PLAIN(addresses_stay),
		TEST_PLAIN(blocked),
		TEST(receives),
		TEST(receives_in_pieces),
		TEST(filters),
		TEST(tags_received),
		TEST(checks),
		TEST(nonsense),
		TEST(not_a_master),
		TEST_PLAIN(state_amid_a_frame),
		TEST(another_address),
		TEST_PLAIN(hostile_states),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
