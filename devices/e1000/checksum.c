/* SPDX-License-Identifier: MIT */
/* Sums of the Internet's kind (RFC 1071), and what a received frame's say (317453, 3.2.9). */
#include <endian.h>
#include <string.h>

#include "devices/e1000/e1000_impl.h"
#include "vmm/base/bytes.h"

#define TYPE_IPV4 0x0800
#define TYPE_IPV6 0x86dd
#define TYPE_TAG  0x8100

#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17

uint16_t e1000_fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* Of words as the host has them: a swap at the end makes it the network's (RFC 1071, 2.B). */
static uint16_t sum_even(const uint8_t *bytes, size_t length)
{
	uint64_t sum = 0;
	uint16_t word;

	for (; length >= 4; bytes += 4, length -= 4) {
		uint32_t both;

		memcpy(&both, bytes, sizeof(both));
		sum += both;
	}
	if (length >= 2) {
		memcpy(&word, bytes, sizeof(word));
		sum += word;
		bytes += 2;
	}
	if (length & 1) {
		word = 0;
		memcpy(&word, bytes, 1);
		sum += word;
	}
	return be16toh(e1000_fold(sum));
}

uint64_t e1000_sum(uint64_t sum, const uint8_t *bytes, size_t length, bool odd)
{
	if (odd && length) {
		sum += *bytes++;
		length--;
	}
	return sum + sum_even(bytes, length);
}

static uint16_t be16_at(const uint8_t *from)
{
	return (uint16_t)(from[0] << 8 | from[1]);
}

/* Does the segment's sum hold, with a pseudo header of addresses, protocol and length? */
static bool segment_good(const uint8_t *addresses, size_t address_bytes, uint8_t protocol,
			 const uint8_t *segment, uint32_t length)
{
	uint64_t sum = e1000_sum(protocol + (uint64_t)length, addresses, address_bytes, false);

	return e1000_fold(e1000_sum(sum, segment, length, false)) == 0xffff;
}

/* A segment of TCP or UDP: is there a sum, and does it hold? */
static uint8_t segment_check(const uint8_t *addresses, size_t address_bytes, uint8_t protocol,
			     const uint8_t *segment, uint32_t length, uint8_t *errors)
{
	uint32_t least = protocol == PROTOCOL_TCP ? 20 : 8;

	if ((protocol != PROTOCOL_TCP && protocol != PROTOCOL_UDP) || length < least)
		return 0;
	/* UDP may have none (RFC 768). */
	if (protocol == PROTOCOL_UDP && be16_at(segment + 6) == 0)
		return 0;
	if (!segment_good(addresses, address_bytes, protocol, segment, length))
		*errors |= RECEIVED_TCP_BAD;
	return RECEIVED_TCP;
}

static uint8_t ipv4_check(const uint8_t *ip, uint32_t length, uint32_t wanted, uint8_t *errors)
{
	uint32_t header = length >= 20 ? (ip[0] & 15u) * 4 : 0, total;
	uint8_t checked = 0;

	if (header < 20 || header > length || ip[0] >> 4 != 4)
		return 0;
	total = be16_at(ip + 2);
	if (total < header || total > length)
		return 0;
	if (wanted & RXCSUM_IP) {
		checked |= RECEIVED_IP;
		if (e1000_fold(e1000_sum(0, ip, header, false)) != 0xffff)
			*errors |= RECEIVED_IP_BAD;
	}
	/* Of fragments nobody knows the rest. */
	if (wanted & RXCSUM_TCP && !(be16_at(ip + 6) & 0x3fff))
		checked |= segment_check(ip + 12, 8, ip[9], ip + header, total - header, errors);
	return checked;
}

static uint8_t ipv6_check(const uint8_t *ip, uint32_t length, uint32_t wanted, uint8_t *errors)
{
	uint32_t payload;

	if (length < 40 || ip[0] >> 4 != 6 || !(wanted & RXCSUM_TCP))
		return 0;
	payload = be16_at(ip + 4);
	if (payload > length - 40)
		return 0;
	return segment_check(ip + 8, 32, ip[6], ip + 40, payload, errors);
}

uint8_t e1000_frame_checks(const uint8_t *frame, uint32_t length, uint32_t wanted, uint8_t *errors)
{
	uint32_t at = ETHERNET;
	uint8_t checked = 0;

	*errors = 0;
	if (length >= at + TAG && be16_at(frame + at - 2) == TYPE_TAG)
		at += TAG;
	if (be16_at(frame + at - 2) == TYPE_IPV4)
		checked = ipv4_check(frame + at, length - at, wanted, errors);
	else if (be16_at(frame + at - 2) == TYPE_IPV6)
		checked = ipv6_check(frame + at, length - at, wanted, errors);
	return checked ? checked : RECEIVED_UNCHECKED;
}
