/* SPDX-License-Identifier: MIT */
/*
 * Sending (317453, 3.3 to 3.5): descriptors are taken one by one and their data is copied, so that
 * a buffer is the driver's again as soon as its descriptor is done. The last one of a frame makes
 * it whole; it is judged then, and goes out in as many parts as it takes.
 */
#include <errno.h>

#include "devices/e1000/e1000_impl.h"
#include "vmm/base/bytes.h"

/* CMD, TUCMD and DCMD, 3.3.3 to 3.3.7. */
#define COMMAND_END      0x01u
#define COMMAND_CHECKSUM 0x04u /* of legacy descriptors: IC */
#define COMMAND_CUT      0x04u /* TSE */
#define COMMAND_REPORT   0x18u /* RS, RPS */
#define COMMAND_EXTENDED 0x20u
#define COMMAND_TAG      0x40u

#define OPTION_IP       0x01u /* POPTS: IXSM, TXSM */
#define OPTION_CHECKSUM 0x02u

#define DONE 0x01u

#define LEGACY_LENGTH   0xffffu
#define EXTENDED_LENGTH 0xfffffu

struct descriptor {
	uint64_t buffer;
	uint32_t lower, upper; /* the two words behind */
	uint8_t command;
};

static void frame_end(struct e1000_sending *s)
{
	s->begun = s->whole = s->made = s->blocked = false;
	s->cut = s->checksum = s->ip_checksum = s->tagged = s->legacy_checksum = s->bad = false;
	s->length = s->done = s->number = 0;
}

void e1000_transmit_reset(struct i82540em *n)
{
	frame_end(&n->sending);
	n->sending.context[0] = n->sending.context[1] = (struct e1000_context){0};
}

static uint32_t ring_count(const struct i82540em *n)
{
	return e1000_ring_count(n, E1000_TDLEN, E1000_TDH, E1000_TDT);
}

bool e1000_transmit_pending(const struct i82540em *n)
{
	return n->sending.whole || (n->reg[E1000_TCTL] & TCTL_ENABLE && ring_count(n) &&
				    n->reg[E1000_TDH] != n->reg[E1000_TDT]);
}

/* 3.3.6. There are two contexts: frames that are cut have one of their own (3.5.5). */
static void context_take(struct e1000_sending *s, const struct descriptor *d)
{
	uint64_t first = d->buffer;
	struct e1000_context *c = &s->context[d->command & COMMAND_CUT ? 1 : 0];

	*c = (struct e1000_context){
		.ip_start = (uint8_t)first,
		.ip_offset = (uint8_t)(first >> 8),
		.ip_end = (uint16_t)(first >> 16),
		.start = (uint8_t)(first >> 32),
		.offset = (uint8_t)(first >> 40),
		.end = (uint16_t)(first >> 48),
		.header = (uint8_t)(d->upper >> 8),
		.mss = (uint16_t)(d->upper >> 16),
		.command = d->command,
	};
}

static void data_add(struct i82540em *n, uint64_t buffer, uint32_t length)
{
	struct e1000_sending *s = &n->sending;

	if (length > sizeof(s->frame) - s->length ||
	    memory_read(n->memory, buffer, s->frame + s->length, length))
		s->bad = true;
	else
		s->length += length;
}

static void drop(struct i82540em *n, uint64_t *count)
{
	(*count)++;
	frame_end(&n->sending);
}

/* The frame is whole: may it go? */
static void judge(struct i82540em *n)
{
	struct e1000_sending *s = &n->sending;
	const struct e1000_context *c = &s->context[1];

	s->whole = true;
	if (s->bad || s->length < ETHERNET ||
	    (s->cut && (c->mss == 0 || c->header < ETHERNET || c->header > s->length)))
		drop(n, &n->counts.malformed);
	else if (!n->any_source && memcmp(s->frame + NET_MAC, n->mac, NET_MAC) != 0)
		drop(n, &n->counts.spoofed);
	else if (!n->link)
		drop(n, &n->counts.refused);
}

/* What the first one says holds for the frame (3.3.7.3), and what the last one says of tags. */
static void options_take(struct e1000_sending *s, const struct descriptor *d)
{
	if (!s->begun && d->command & COMMAND_EXTENDED) {
		s->cut = d->command & COMMAND_CUT;
		s->ip_checksum = d->upper >> 8 & OPTION_IP;
		s->checksum = d->upper >> 8 & OPTION_CHECKSUM;
	}
	s->begun = true;
	if (!(d->command & COMMAND_END))
		return;
	s->tagged = d->command & COMMAND_TAG;
	s->tag = (uint16_t)(d->upper >> 16);
	if (d->command & COMMAND_EXTENDED || !(d->command & COMMAND_CHECKSUM))
		return;
	s->legacy_checksum = true;
	s->legacy_offset = (uint8_t)(d->lower >> 16);
	s->legacy_start = (uint8_t)(d->upper >> 8);
}

static void descriptor_use(struct i82540em *n, const struct descriptor *d)
{
	bool extended = d->command & COMMAND_EXTENDED;

	if (extended && (d->lower >> 20 & 15) == 0) {
		context_take(&n->sending, d);
		return;
	}
	options_take(&n->sending, d);
	data_add(n, d->buffer, d->lower & (extended ? EXTENDED_LENGTH : LEGACY_LENGTH));
	if (d->command & COMMAND_END)
		judge(n);
}

/* Release: what was read of the buffer, and what the descriptor asked for, is over. */
static void report(struct i82540em *n, uint64_t at, const struct descriptor *d)
{
	uint8_t *status = memory_at_write(n->memory, at + 12, 1);

	if (status)
		__atomic_store_n(status, (uint8_t)(d->upper | DONE), __ATOMIC_RELEASE);
}

static bool descriptor_take(struct i82540em *n)
{
	uint32_t count = ring_count(n), causes = 0;
	uint64_t at = e1000_ring_at(n, E1000_TDBAL, E1000_TDH);
	uint8_t bytes[DESCRIPTOR];
	struct descriptor d;

	if (memory_read(n->memory, at, bytes, sizeof(bytes))) {
		/* A ring that is nowhere is empty. */
		n->reg[E1000_TDH] = n->reg[E1000_TDT];
		n->counts.malformed++;
		return true;
	}
	d = (struct descriptor){le64_get(bytes), le32_get(bytes + 8), le32_get(bytes + 12),
				bytes[11]};
	descriptor_use(n, &d);
	if (d.command & COMMAND_REPORT) {
		report(n, at, &d);
		causes |= CAUSE_SENT;
	}
	n->reg[E1000_TDH] = (n->reg[E1000_TDH] + 1) % count;
	if (n->reg[E1000_TDH] == n->reg[E1000_TDT])
		causes |= CAUSE_SEND_EMPTY;
	if (causes)
		e1000_interrupt(n, causes);
	return true;
}

static uint32_t part_bytes(const struct e1000_sending *s)
{
	return s->head_length + s->rest_length;
}

/* How the network took it. */
static void part_count(struct i82540em *n, int ret)
{
	struct e1000_sending *s = &n->sending;

	if (ret) {
		n->counts.malformed += ret == -EINVAL;
		n->counts.refused += ret != -EINVAL;
		return;
	}
	n->counts.sent++;
	n->counts.sent_bytes += part_bytes(s);
	e1000_count_sent(n, s->frame, part_bytes(s));
	throttle_spend(&n->sending_rate, part_bytes(s), s->pieces);
}

static bool part_send(struct i82540em *n)
{
	struct e1000_sending *s = &n->sending;
	struct iovec iov[3] = {
		{s->header, sizeof(s->header)},
		{s->head, s->head_length},
		{s->frame + s->rest, s->rest_length},
	};
	int ret = n->net->ops->send(n->net, 0, iov, s->rest_length ? 3 : 2);

	s->blocked = ret == -EAGAIN;
	if (s->blocked)
		return false;
	part_count(n, ret);
	s->made = false;
	return true;
}

bool e1000_transmit(struct i82540em *n)
{
	struct e1000_sending *s = &n->sending;

	if (!e1000_transmit_pending(n))
		return false;
	if (!s->whole)
		return descriptor_take(n);
	if (!s->made && !e1000_part_next(n)) {
		frame_end(s);
		return true;
	}
	s->made = true;
	return part_send(n);
}
