/* SPDX-License-Identifier: MIT */
/* The parts of a 82540EM: registers, EEPROM and PHY, sending, receiving. Sections: 317453. */
#ifndef DEVICES_E1000_E1000_IMPL_H
#define DEVICES_E1000_E1000_IMPL_H

#include <stdatomic.h>
#include <string.h>

#include "devices/e1000/i82540em.h"
#include "devices/e1000/registers.h"
#include "devices/worker.h"
#include "vmm/base/log.h"

#define EEPROM_WORDS 64u
#define PHY_COUNT    32u
#define ETHERNET     14u
#define TAG          4u

/* A serial EEPROM of the Microwire kind, as its wires tell (5.3). */
struct e1000_eeprom {
	uint16_t word[EEPROM_WORDS]; /* the NIC's own, in no state */
	uint16_t in, out;
	uint8_t in_bits, out_bits, address;
	bool reading;
};

/* What a context descriptor said (3.3.6). */
struct e1000_context {
	uint8_t ip_start, ip_offset, start, offset, header;
	uint16_t ip_end, end, mss;
	uint8_t command; /* TUCMD */
};

/*
 * The frame that is put together, or goes out in parts. A part is virtio's header, a copy of the
 * frame's first bytes, in which fields are changed, and bytes of the frame: so that it can be made
 * again. All that hardware changes is at offsets of eight bits.
 */
#define HEAD_MAX 260u
struct e1000_sending {
	struct e1000_context context[2]; /* for frames as they are, and for those that are cut */
	bool begun;                      /* a descriptor of it was taken */
	bool whole;                      /* the last one was, and it is to be sent */
	bool cut, checksum, ip_checksum, tagged, legacy_checksum, bad;
	uint8_t legacy_start, legacy_offset;
	uint16_t tag;
	uint32_t length;
	uint32_t done, number; /* bytes of what follows its header, and parts, that were made */
	uint8_t frame[NET_FRAME_MAX];
	/* The part, which may wait for room on the network; of no state. */
	bool made, blocked;
	uint32_t head_length, rest, rest_length, pieces;
	uint8_t header[NET_HEADER], head[HEAD_MAX + TAG];
};

struct e1000_receiving {
	uint32_t held; /* bytes of a frame that waits for buffers; 0: there is none */
	uint8_t frame[NET_HEADER + NET_FRAME_MAX + 1];
};

struct i82540em {
	struct pci_function pci;
	struct guest_memory *memory;
	struct net *net;
	bool any_source, paused;
	_Atomic bool master; /* the command register lets it reach memory */
	uint8_t mac[NET_MAC];
	struct ratelimit limit;
	struct throttle receiving_rate, sending_rate;
	struct worker worker;
	int kick_fd;
	pthread_mutex_t
		lock; /* guards all below; the line is driven and the network called under it */
	uint32_t reg[E1000_REGISTERS];
	uint32_t address[ADDRESS_WORDS], multicast[TABLE_WORDS], vlan[TABLE_WORDS];
	uint32_t statistic[STATISTICS];
	uint32_t io_address;
	uint16_t phy[PHY_COUNT];
	struct e1000_eeprom eeprom;
	bool cable, lost;
	bool link;             /* as the driver was told */
	uint8_t told[NET_MAC]; /* the MAC, likewise */
	bool level;
	uint64_t quiet_until; /* ns: until then its line does not rise (ITR) ... */
	bool interrupt_waits; /* ... though there is a cause */
	struct net_counts counts;
	struct e1000_sending sending;
	struct e1000_receiving receiving;
};

/* All of it with the lock held, unless it is said otherwise. */

/* registers.c. Not under the lock: 32 bits at a time. */
uint32_t e1000_register_read(struct i82540em *n, uint32_t offset);
void e1000_register_write(struct i82540em *n, uint32_t offset, uint32_t value);
/* What the driver asks for by CTRL; the PHY and the EEPROM keep what they have. */
void e1000_registers_reset(struct i82540em *n);

/* interrupt.c. */
void e1000_interrupt(struct i82540em *n, uint32_t causes);
void e1000_interrupt_update(struct i82540em *n);

/* eeprom.c. */
void e1000_eeprom_init(struct i82540em *n);
/* The control register's wires changed; and what is on the one that goes out. */
void e1000_eeprom_clock(struct i82540em *n, uint32_t old, uint32_t value);
uint32_t e1000_eeprom_wires(const struct i82540em *n);
/* A word, as the driver learns it. */
uint16_t e1000_eeprom_read(struct i82540em *n, unsigned address);

/* phy.c. */
void e1000_phy_reset(struct i82540em *n);
/* The management register: reads or writes, and returns what it is then. */
uint32_t e1000_phy_access(struct i82540em *n, uint32_t command);
/* Does the link stand? Tells the driver where it changed. */
void e1000_link_update(struct i82540em *n);
/* serve.c. The thread's function, not under the lock; and to wake it, any thread. */
void e1000_main(void *nic);
void e1000_kick(struct i82540em *n);

/* transmit.c: one step, a descriptor or a part. False: there is nothing to do, or no room. */
bool e1000_transmit(struct i82540em *n);
/* What is under way is lost. */
void e1000_transmit_reset(struct i82540em *n);
/* Is there a descriptor to take, or a frame to send? */
bool e1000_transmit_pending(const struct i82540em *n);

/* segment.c: the next part of a whole frame. False: that was the last. */
bool e1000_part_next(struct i82540em *n);
/* A part that was made and not sent is to be made again. */
void e1000_part_undo(struct i82540em *n);

/* receive.c: one frame. False: there is none, or nowhere to put it. */
bool e1000_receive(struct i82540em *n);
/* Is there a buffer, and the wish for frames? */
bool e1000_receive_ready(const struct i82540em *n);
/* Which of the status bits of a frame hold, and *errors (3.2.3). */
uint8_t e1000_frame_checks(const uint8_t *frame, uint32_t length, uint32_t wanted, uint8_t *errors);

/* state.c. Not under the lock. */
void e1000_state(struct i82540em *n, struct codec *codec);

/* Rings: how many descriptors, 0 where head or tail are none of it. */
static inline uint32_t e1000_ring_count(const struct i82540em *n, enum e1000_index length,
					enum e1000_index head, enum e1000_index tail)
{
	uint32_t count = n->reg[length] / DESCRIPTOR;

	return n->reg[head] < count && n->reg[tail] < count ? count : 0;
}

static inline uint64_t e1000_ring_at(const struct i82540em *n, enum e1000_index base,
				     enum e1000_index head)
{
	return (n->reg[base] | (uint64_t)n->reg[base + 1] << 32) + n->reg[head] * DESCRIPTOR;
}

/* statistics.c: a frame of `length` bytes, without its CRC, was sent, or received. */
void e1000_count_sent(struct i82540em *n, const uint8_t *frame, uint32_t length);
void e1000_count_received(struct i82540em *n, const uint8_t *frame, uint32_t length);
void e1000_count(struct i82540em *n, unsigned statistic);

/*
 * checksum.c: sums of the Internet's kind (RFC 1071), as numbers of the network's order. `odd`: a
 * byte precedes, in the same word. Not under the lock.
 */
uint64_t e1000_sum(uint64_t sum, const uint8_t *bytes, size_t length, bool odd);
uint16_t e1000_fold(uint64_t sum);

#endif
