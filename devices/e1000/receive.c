/* SPDX-License-Identifier: MIT */
/*
 * Receiving (317453, 3.2): one frame at a time is read from the network, judged by the filters and
 * copied to as many buffers as it takes. One for which there are too few waits for more; the
 * network is not asked for another one before. A frame's CRC is four zeroes.
 */
#include <errno.h>

#include "devices/e1000/e1000_impl.h"
#include "vmm/base/bytes.h"

#define CRC         4u
#define LENGTH_LONG 16384u /* with CRC */
#define LENGTH_MAX  1522u
#define LENGTH_MIN  60u /* without */
#define ADDRESSES   (2 * NET_MAC)

static uint32_t ring_count(const struct i82540em *n)
{
	return e1000_ring_count(n, E1000_RDLEN, E1000_RDH, E1000_RDT);
}

/* Descriptors that are the device's. */
static uint32_t ring_free(const struct i82540em *n)
{
	uint32_t count = ring_count(n);

	return count ? (n->reg[E1000_RDT] + count - n->reg[E1000_RDH]) % count : 0;
}

bool e1000_receive_ready(const struct i82540em *n)
{
	return n->reg[E1000_RCTL] & RCTL_ENABLE && n->link && ring_free(n);
}

/* Filters (3.2.1). */

static uint16_t be16_at(const uint8_t *from)
{
	return (uint16_t)(from[0] << 8 | from[1]);
}

static bool is_tagged(const struct i82540em *n, const uint8_t *frame, uint32_t length)
{
	return length >= ETHERNET + TAG &&
	       be16_at(frame + ADDRESSES) == (n->reg[E1000_VET] & 0xffff);
}

static bool address_listed(const struct i82540em *n, const uint8_t *destination)
{
	for (unsigned i = 0; i < ADDRESS_WORDS; i += 2)
		if (n->address[i + 1] & ADDRESS_VALID && n->address[i] == le32_get(destination) &&
		    (n->address[i + 1] & 0xffff) == le16_get(destination + 4))
			return true;
	return false;
}

/* 13.5.1: twelve bits of the address, by RCTL.MO, are a bit of the table. */
static bool multicast_listed(const struct i82540em *n, const uint8_t *destination)
{
	static const uint8_t shifts[] = {4, 3, 2, 0};
	unsigned hash = le16_get(destination + 4) >> shifts[n->reg[E1000_RCTL] >> 12 & 3] & 0xfff;

	return n->multicast[hash >> 5] >> (hash & 31) & 1;
}

static bool vlan_listed(const struct i82540em *n, const uint8_t *frame)
{
	unsigned id = be16_at(frame + ADDRESSES + 2) & 0xfff;

	return n->vlan[id >> 5] >> (id & 31) & 1;
}

/* *inexact: the driver is to look itself. */
static bool is_wanted(const struct i82540em *n, const uint8_t *frame, uint32_t length,
		      bool *inexact)
{
	static const uint8_t broadcast[NET_MAC] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	uint32_t control = n->reg[E1000_RCTL];
	bool several = frame[0] & 1;

	*inexact = false;
	if (control & RCTL_VLAN_FILTER && is_tagged(n, frame, length) && !vlan_listed(n, frame))
		return false;
	if (address_listed(n, frame))
		return true;
	if (control & RCTL_BROADCAST && memcmp(frame, broadcast, NET_MAC) == 0)
		return true;
	*inexact = true;
	if (several)
		return control & RCTL_ALL_MULTICAST || multicast_listed(n, frame);
	return control & RCTL_ALL_UNICAST;
}

/* Buffers. */

static uint32_t buffer_size(const struct i82540em *n)
{
	uint32_t control = n->reg[E1000_RCTL], size = 2048u >> (control >> 16 & 3);

	/* 13.4.22: times 16 there is no 2048. */
	return control & RCTL_SIZE_TIMES_16 && size < 2048 ? size * 16 : size;
}

struct frame {
	const uint8_t *bytes;
	uint32_t length; /* as it is given, CRC included unless it is stripped */
	uint8_t status, errors;
	uint16_t checksum, tag;
};

/* Of `frame`, from `from` on. Release: the status tells that the rest is there. */
static void descriptor_fill(struct i82540em *n, const struct frame *f, uint32_t from, bool last)
{
	uint64_t at = e1000_ring_at(n, E1000_RDBAL, E1000_RDH);
	uint32_t length = f->length - from < buffer_size(n) ? f->length - from : buffer_size(n);
	uint8_t status = (uint8_t)(f->status | RECEIVED_DONE | (last ? RECEIVED_END : 0));
	uint8_t bytes[8];
	uint64_t *done;
	uint32_t next;

	/* What is nowhere is lost; the ring goes on all the same. */
	if (memory_read(n->memory, at, bytes, sizeof(bytes)) == 0)
		memory_write(n->memory, le64_get(bytes), f->bytes + from, length);
	done = memory_at_write(n->memory, at + 8, sizeof(*done));
	if (done)
		__atomic_store_n(done,
				 htole64(length | (uint64_t)f->checksum << 16 |
					 (uint64_t)status << 32 | (uint64_t)f->errors << 40 |
					 (uint64_t)f->tag << 48),
				 __ATOMIC_RELEASE);
	next = n->reg[E1000_RDH] + 1;
	n->reg[E1000_RDH] = next < ring_count(n) ? next : 0;
}

/* 13.4.22, RDMTS: few are left, as of now. */
static uint32_t low_mark(const struct i82540em *n)
{
	return ring_count(n) >> (1 + (n->reg[E1000_RCTL] >> 8 & 3));
}

static void frame_give(struct i82540em *n, const struct frame *f, uint32_t descriptors)
{
	uint32_t before = ring_free(n), size = buffer_size(n), causes = CAUSE_RECEIVED;

	for (uint32_t i = 0; i < descriptors; i++)
		descriptor_fill(n, f, i * size, i == descriptors - 1);
	if (before > low_mark(n) && ring_free(n) <= low_mark(n))
		causes |= CAUSE_RECEIVE_LOW;
	e1000_interrupt(n, causes);
}

/* Frames. */

/* 3.2.9, and the sum of all from a place on, whatever it is. */
static void checks_make(const struct i82540em *n, struct frame *f, uint32_t length)
{
	uint32_t control = n->reg[E1000_RXCSUM], start = control & 0xff;

	f->status |= RECEIVED_UNCHECKED;
	if (control & (RXCSUM_IP | RXCSUM_TCP))
		f->status = (uint8_t)((f->status & ~RECEIVED_UNCHECKED) |
				      e1000_frame_checks(f->bytes, length, control, &f->errors));
	if (start < length)
		f->checksum = e1000_fold(e1000_sum(0, f->bytes + start, length - start, false));
}

/* 3.2.7: the tag goes from the frame to its descriptor. Returns where the frame begins then. */
static uint8_t *tag_take(const struct i82540em *n, uint8_t *frame, uint32_t *length,
			 struct frame *f)
{
	if (!(n->reg[E1000_CTRL] & CTRL_VLAN) || !is_tagged(n, frame, *length))
		return frame;
	f->status |= RECEIVED_TAG;
	f->tag = be16_at(frame + ADDRESSES + 2);
	memmove(frame + TAG, frame, ADDRESSES);
	*length -= TAG;
	return frame + TAG;
}

/* Into what is held. False: there is none, or the network is gone. */
static bool frame_read(struct i82540em *n)
{
	struct e1000_receiving *r = &n->receiving;
	struct iovec iov = {r->frame, sizeof(r->frame)};
	ssize_t bytes = n->net->ops->receive(n->net, 0, &iov, 1);

	if (bytes < 0 && bytes != -EMSGSIZE) {
		n->lost = bytes != -EAGAIN;
		if (n->lost) {
			log_limited(&n->limit, LOG_WARN, "e1000: network '%s' is gone",
				    n->net->info.name);
			e1000_link_update(n);
		}
		return false;
	}
	if (bytes < 0 || (size_t)bytes == sizeof(r->frame)) {
		n->counts.oversize++;
		e1000_count(n, COUNT_OVERSIZE);
		r->held = 0;
	} else {
		r->held = (uint32_t)bytes;
	}
	return true;
}

/* Too long for what the driver takes, or for all of its ring. */
static bool is_oversize(const struct i82540em *n, uint32_t length, uint32_t descriptors)
{
	uint32_t most = n->reg[E1000_RCTL] & RCTL_LONG ? LENGTH_LONG : LENGTH_MAX;

	return length + CRC > most || descriptors >= ring_count(n);
}

/* False: it waits. */
static bool frame_deliver(struct i82540em *n, uint8_t *bytes, uint32_t length, bool inexact)
{
	bool crc = !(n->reg[E1000_RCTL] & RCTL_STRIP_CRC);
	/* Short ones were padded by whoever sent them. */
	uint32_t padded = length < LENGTH_MIN ? LENGTH_MIN : length;
	uint32_t descriptors = (padded + (crc ? CRC : 0) + buffer_size(n) - 1) / buffer_size(n);
	uint32_t all = length;
	struct frame f = {.status = inexact ? RECEIVED_INEXACT : 0};

	if (is_oversize(n, padded, descriptors)) {
		n->counts.oversize++;
		e1000_count(n, COUNT_OVERSIZE);
		return true;
	}
	if (descriptors > ring_free(n)) {
		e1000_count(n, COUNT_NO_BUFFER);
		return false;
	}
	memset(bytes + length, 0, padded - length + CRC + TAG);
	n->counts.received++;
	n->counts.received_bytes += length;
	e1000_count_received(n, bytes, padded);
	bytes = tag_take(n, bytes, &all, &f);
	f.bytes = bytes;
	f.length = (all < LENGTH_MIN ? LENGTH_MIN : all) + (crc ? CRC : 0);
	checks_make(n, &f, all);
	frame_give(n, &f, (f.length + buffer_size(n) - 1) / buffer_size(n));
	throttle_spend(&n->receiving_rate, length, 1);
	return true;
}

bool e1000_receive(struct i82540em *n)
{
	struct e1000_receiving *r = &n->receiving;
	uint8_t *bytes = r->frame + NET_HEADER;
	uint32_t length;
	bool inexact;

	if (!e1000_receive_ready(n) || (!r->held && !frame_read(n)))
		return false;
	if (r->held < NET_HEADER + ETHERNET) {
		r->held = 0;
		return true;
	}
	length = r->held - NET_HEADER;
	if (!is_wanted(n, bytes, length, &inexact))
		n->counts.filtered++;
	else if (!frame_deliver(n, bytes, length, inexact))
		return false;
	r->held = 0;
	return true;
}
