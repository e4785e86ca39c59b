/* SPDX-License-Identifier: MIT */
/* What is counted for the driver (317453, 13.7). Counters stay at their end, and reading clears. */
#include "devices/e1000/e1000_impl.h"

#define CRC 4u

static const uint32_t sizes[] = {64, 127, 255, 511, 1023}; /* and larger */

void e1000_count(struct i82540em *n, unsigned statistic)
{
	if (n->statistic[statistic] != UINT32_MAX)
		n->statistic[statistic]++;
}

/* Of two words, the lower one first. */
static void count_bytes(struct i82540em *n, unsigned statistic, uint32_t bytes)
{
	uint32_t *word = &n->statistic[statistic];

	if (__builtin_add_overflow(word[0], bytes, &word[0]) && word[1] != UINT32_MAX)
		word[1]++;
}

/* The one of six that a frame belongs to; the driver's lengths have the CRC. */
static unsigned size_class(uint32_t length)
{
	unsigned i = 0;

	while (i < sizeof(sizes) / sizeof(sizes[0]) && length + CRC > sizes[i])
		i++;
	return i;
}

/* 0: to one, 1: to all, 2: to several. */
static unsigned kind_of(const uint8_t *frame)
{
	uint8_t all = 0xff;

	for (unsigned i = 0; i < NET_MAC; i++)
		all &= frame[i];
	return all == 0xff ? 1 : (frame[0] & 1) * 2u;
}

void e1000_count_sent(struct i82540em *n, const uint8_t *frame, uint32_t length)
{
	unsigned kind = kind_of(frame);

	e1000_count(n, COUNT_SENT);
	e1000_count(n, COUNT_ALL_SENT);
	e1000_count(n, COUNT_SENT_64 + size_class(length));
	count_bytes(n, COUNT_SENT_BYTES, length + CRC);
	count_bytes(n, COUNT_ALL_SENT_BYTES, length + CRC);
	if (kind)
		e1000_count(n, kind == 1 ? COUNT_SENT_BROADCAST : COUNT_SENT_MULTICAST);
}

void e1000_count_received(struct i82540em *n, const uint8_t *frame, uint32_t length)
{
	unsigned kind = kind_of(frame);

	e1000_count(n, COUNT_RECEIVED);
	e1000_count(n, COUNT_ALL_RECEIVED);
	e1000_count(n, COUNT_RECEIVED_64 + size_class(length));
	count_bytes(n, COUNT_RECEIVED_BYTES, length + CRC);
	count_bytes(n, COUNT_ALL_RECEIVED_BYTES, length + CRC);
	if (kind)
		e1000_count(n, COUNT_RECEIVED + kind);
}
