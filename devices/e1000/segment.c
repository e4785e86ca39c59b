/* SPDX-License-Identifier: MIT */
/*
 * From a frame to its parts (317453, 3.4 and 3.5): a tag is put in, sums are filled in, and what is
 * to be cut is cut. What the network takes over is left to it, by virtio's header; the rest is done
 * here, whatever the frame is: offsets are the driver's, and change nothing but their frame.
 */
#include "devices/e1000/e1000_impl.h"
#include "vmm/base/bytes.h"
#include "vmm/base/checked.h"

/* virtio 1.2, 5.1.6. */
enum { HEADER_FLAGS = 0, HEADER_GSO = 1, HEADER_LENGTH = 2, HEADER_GSO_SIZE = 4 };
enum { HEADER_CSUM_START = 6, HEADER_CSUM_OFFSET = 8 };
#define NEEDS_CSUM 1u
enum { GSO_TCPV4 = 1, GSO_TCPV6 = 4, GSO_ECN = 0x80 };

#define CONTEXT_TCP 0x01u
#define CONTEXT_IP4 0x02u

#define TCP_CHECKSUM 16u /* offset in its header */
#define TCP_FLAGS    13u
#define TCP_FIN_PUSH 0x09u
#define TCP_CWR      0x80u

#define PADDED    60u
#define ADDRESSES (2 * NET_MAC)

static uint16_t be16_at(const uint8_t *from)
{
	return (uint16_t)(from[0] << 8 | from[1]);
}

static void be16_to(uint8_t *to, unsigned value)
{
	to[0] = (uint8_t)(value >> 8);
	to[1] = (uint8_t)value;
}

/*
 * So many bytes in the part's own copy. The addresses were judged, and are none of what the driver
 * may have changed behind that.
 */
static bool is_changeable(const struct e1000_sending *s, uint32_t offset, uint32_t bytes)
{
	return range_within(offset, bytes, ETHERNET, s->head_length - ETHERNET);
}

/* A field of two bytes there, or NULL. */
static uint8_t *field(struct e1000_sending *s, uint32_t offset)
{
	return is_changeable(s, offset, 2) ? s->head + offset : NULL;
}

static void field_put(struct e1000_sending *s, uint32_t offset, unsigned value)
{
	uint8_t *at = field(s, offset);

	if (at)
		be16_to(at, value);
}

static void field_add(struct e1000_sending *s, uint32_t offset, unsigned more)
{
	uint8_t *at = field(s, offset);

	if (at)
		be16_to(at, be16_at(at) + more);
}

/* From `from` to before `to`, over both pieces. */
static uint16_t part_sum(const struct e1000_sending *s, uint32_t from, uint32_t to)
{
	uint32_t middle = s->head_length;
	uint64_t sum = 0;

	if (from < middle)
		sum = e1000_sum(sum, s->head + from, (to < middle ? to : middle) - from, false);
	if (to > middle) {
		uint32_t begin = from > middle ? from : middle;

		sum = e1000_sum(sum, s->frame + s->rest + (begin - middle), to - begin,
				(begin - from) & 1);
	}
	return e1000_fold(sum);
}

/* 3.5.3: of the bytes up to and including `end`, or to the frame's (0). */
static void sum_put(struct e1000_sending *s, uint32_t start, uint32_t end, uint32_t offset)
{
	uint32_t length = s->head_length + s->rest_length;
	uint32_t to = end && end < length ? end + 1 : length;
	uint8_t *at = field(s, offset);

	if (at && start < to)
		be16_to(at, (uint16_t)~part_sum(s, start, to));
}

/* Of TCP and UDP: a sum of zero is told as its other zero (RFC 768). */
static void segment_sum_put(struct e1000_sending *s, const struct e1000_context *c)
{
	uint8_t *at = field(s, c->offset);

	sum_put(s, c->start, c->end, c->offset);
	if (at && !(c->command & CONTEXT_TCP) && be16_at(at) == 0)
		be16_to(at, 0xffff);
}

/* Left to the network, if it takes that. */
static bool sum_left(struct i82540em *n, uint32_t start, uint32_t end, uint32_t offset)
{
	struct e1000_sending *s = &n->sending;

	if (!(n->net->info.offloads & NET_CSUM) || end || start < ETHERNET || offset < start ||
	    !is_changeable(s, offset, 2))
		return false;
	s->header[HEADER_FLAGS] = NEEDS_CSUM;
	le16_put(s->header + HEADER_CSUM_START, (uint16_t)start);
	le16_put(s->header + HEADER_CSUM_OFFSET, (uint16_t)(offset - start));
	return true;
}

/* Puts the part together: `head` bytes of the frame, copied, and `length` bytes from `rest`. */
static void part_begin(struct e1000_sending *s, uint32_t head, uint32_t rest, uint32_t length)
{
	memset(s->header, 0, sizeof(s->header));
	memcpy(s->head, s->frame, head);
	s->head_length = head;
	s->rest = rest;
	s->rest_length = length;
	s->pieces = 1;
}

static void pad(struct e1000_sending *s)
{
	if (s->head_length + s->rest_length >= PADDED)
		return;
	/* So short a frame is all head. */
	memset(s->head + s->head_length, 0, PADDED - s->head_length);
	s->head_length = PADDED;
}

/* 3.4.1.2. Behind all that counts from the frame's start. */
static void tag_put(struct i82540em *n)
{
	struct e1000_sending *s = &n->sending;

	if (!s->tagged || !(n->reg[E1000_CTRL] & CTRL_VLAN))
		return;
	memmove(s->head + ADDRESSES + TAG, s->head + ADDRESSES, s->head_length - ADDRESSES);
	be16_to(s->head + ADDRESSES, n->reg[E1000_VET] & 0xffff);
	be16_to(s->head + ADDRESSES + 2, s->tag);
	s->head_length += TAG;
	if (s->header[HEADER_FLAGS])
		le16_put(s->header + HEADER_CSUM_START,
			 (uint16_t)(le16_get(s->header + HEADER_CSUM_START) + TAG));
	if (s->header[HEADER_GSO])
		le16_put(s->header + HEADER_LENGTH,
			 (uint16_t)(le16_get(s->header + HEADER_LENGTH) + TAG));
}

/* A frame as it is. */
static bool whole_next(struct i82540em *n)
{
	struct e1000_sending *s = &n->sending;
	const struct e1000_context *c = &s->context[0];
	uint32_t head = s->length < HEAD_MAX ? s->length : HEAD_MAX;

	if (s->number++)
		return false;
	part_begin(s, head, head, s->length - head);
	if (s->ip_checksum)
		sum_put(s, c->ip_start, c->ip_end, c->ip_offset);
	if (s->checksum && !sum_left(n, c->start, c->end, c->offset))
		segment_sum_put(s, c);
	if (s->legacy_checksum && !sum_left(n, s->legacy_start, 0, s->legacy_offset))
		sum_put(s, s->legacy_start, 0, s->legacy_offset);
	if (n->reg[E1000_TCTL] & TCTL_PAD)
		pad(s);
	tag_put(n);
	return true;
}

/* Cutting, by the network: only what is plainly TCP over IP, with offsets that say the same. */

static bool is_ipv4(const struct e1000_sending *s)
{
	return s->context[1].command & CONTEXT_IP4;
}

static bool is_plain(const struct e1000_sending *s)
{
	const struct e1000_context *c = &s->context[1];
	uint32_t ip_least = is_ipv4(s) ? 20 : 40;
	const uint8_t *ip = s->frame + c->ip_start;

	if (!(c->command & CONTEXT_TCP) || !s->checksum || c->end || c->ip_start < ETHERNET ||
	    c->start < c->ip_start + ip_least || c->header < c->start + 20u ||
	    c->offset != c->start + TCP_CHECKSUM)
		return false;
	if (c->header != c->start + (s->frame[c->start + 12] >> 4) * 4u)
		return false;
	if (is_ipv4(s))
		return s->ip_checksum && be16_at(ip - 2) == 0x0800 && ip[0] >> 4 == 4 &&
		       c->start == c->ip_start + (ip[0] & 15u) * 4 && ip[9] == 6;
	return be16_at(ip - 2) == 0x86dd && ip[0] >> 4 == 6 && ip[6] == 6 &&
	       c->start == c->ip_start + 40u;
}

static bool is_left(const struct i82540em *n)
{
	const struct e1000_sending *s = &n->sending;
	unsigned needed = NET_CSUM | (is_ipv4(s) ? NET_TSO4 : NET_TSO6);

	return (n->net->info.offloads & needed) == needed && is_plain(s) &&
	       s->length - s->context[1].ip_start <= 0xffff;
}

/*
 * The driver left lengths out, as hardware puts them in (3.5.7); the kernel wants them of the frame
 * as if nobody cut it.
 */
static void left_next(struct i82540em *n)
{
	struct e1000_sending *s = &n->sending;
	const struct e1000_context *c = &s->context[1];
	uint32_t payload = s->length - c->header;

	part_begin(s, c->header, c->header, payload);
	sum_left(n, c->start, 0, c->offset);
	if (is_ipv4(s)) {
		field_put(s, c->ip_start + 2u, s->length - c->ip_start);
		field_put(s, c->ip_start + 10u, 0);
		sum_put(s, c->ip_start, c->start - 1u, c->ip_start + 10u);
	} else {
		field_put(s, c->ip_start + 4u, s->length - c->start);
	}
	field_put(s, c->offset,
		  e1000_fold(be16_at(s->head + c->offset) + (uint64_t)s->length - c->start));
	if (payload > c->mss) {
		s->header[HEADER_GSO] = is_ipv4(s) ? GSO_TCPV4 : GSO_TCPV6;
		if (s->head[c->start + TCP_FLAGS] & TCP_CWR && n->net->info.offloads & NET_TSO_ECN)
			s->header[HEADER_GSO] |= GSO_ECN;
		le16_put(s->header + HEADER_GSO_SIZE, c->mss);
		le16_put(s->header + HEADER_LENGTH, c->header);
		s->pieces = (payload + c->mss - 1) / c->mss;
	}
	s->done += payload;
}

/* Cutting, here. 3.5.7: what is another one in each part. */
static void part_change(struct e1000_sending *s, uint32_t number, uint32_t before, bool last)
{
	const struct e1000_context *c = &s->context[1];
	uint32_t length = s->head_length + s->rest_length;

	if (is_ipv4(s)) {
		field_put(s, c->ip_start + 2u, length - c->ip_start);
		field_add(s, c->ip_start + 4u, number);
	} else {
		field_put(s, c->ip_start + 4u, length - c->ip_start - 40);
	}
	if (!(c->command & CONTEXT_TCP)) {
		field_put(s, c->start + 4u, length - c->start);
	} else if (is_changeable(s, c->start, 20)) {
		uint8_t *tcp = s->head + c->start;
		uint32_t sequence = (uint32_t)be16_at(tcp + 4) << 16 | be16_at(tcp + 6);

		be16_to(tcp + 4, (sequence + before) >> 16);
		be16_to(tcp + 6, sequence + before);
		if (!last)
			tcp[TCP_FLAGS] &= (uint8_t)~TCP_FIN_PUSH;
	}
	if (s->ip_checksum)
		sum_put(s, c->ip_start, c->ip_end, c->ip_offset);
	if (s->checksum && field(s, c->offset)) {
		field_put(s, c->offset,
			  e1000_fold(be16_at(s->head + c->offset) + (uint64_t)(length - c->start)));
		segment_sum_put(s, c);
	}
}

static bool cut_next(struct i82540em *n)
{
	struct e1000_sending *s = &n->sending;
	const struct e1000_context *c = &s->context[1];
	uint32_t left = s->length - c->header - s->done;
	uint32_t length = left < c->mss ? left : c->mss;

	if (s->number && left == 0)
		return false;
	if (s->number == 0)
		e1000_count(n, COUNT_CUT);
	if (s->number == 0 && is_left(n)) {
		left_next(n);
	} else {
		part_begin(s, c->header, c->header + s->done, length);
		part_change(s, s->number, s->done, length == left);
		s->done += length;
	}
	s->number++;
	tag_put(n);
	return true;
}

bool e1000_part_next(struct i82540em *n)
{
	return n->sending.cut ? cut_next(n) : whole_next(n);
}

void e1000_part_undo(struct i82540em *n)
{
	struct e1000_sending *s = &n->sending;

	if (!s->made)
		return;
	s->made = s->blocked = false;
	s->number--;
	s->done -= s->cut ? s->rest_length : 0;
}
