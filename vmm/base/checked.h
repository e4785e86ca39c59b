/* SPDX-License-Identifier: MIT */
/* Arithmetic on numbers that come from a guest or a file: false where the result would wrap. */
#ifndef VMM_BASE_CHECKED_H
#define VMM_BASE_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

static inline bool checked_add(uint64_t a, uint64_t b, uint64_t *sum)
{
	return !__builtin_add_overflow(a, b, sum);
}

static inline bool checked_mul(uint64_t a, uint64_t b, uint64_t *product)
{
	return !__builtin_mul_overflow(a, b, product);
}

/* Does [start, start + length) lie within [base, base + size)? No sum may wrap. */
static inline bool range_within(uint64_t start, uint64_t length, uint64_t base, uint64_t size)
{
	return start >= base && start - base <= size && length <= size - (start - base);
}

/* Do two ranges share a byte? An empty one shares none. */
static inline bool range_overlaps(uint64_t a, uint64_t a_length, uint64_t b, uint64_t b_length)
{
	if (a_length == 0 || b_length == 0)
		return false;
	return a < b ? b - a < a_length : a - b < b_length;
}

static inline uint64_t align_up(uint64_t value, uint64_t alignment)
{
	return (value + alignment - 1) & ~(alignment - 1);
}

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#endif
