/* SPDX-License-Identifier: MIT */
/* Little-endian fields in untyped bytes: no alignment is asked for, no struct is overlaid. */
#ifndef VMM_BASE_BYTES_H
#define VMM_BASE_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t le16_get(const void *from)
{
	uint16_t value;

	memcpy(&value, from, sizeof(value));
	return le16toh(value);
}

static inline uint32_t le32_get(const void *from)
{
	uint32_t value;

	memcpy(&value, from, sizeof(value));
	return le32toh(value);
}

static inline uint64_t le64_get(const void *from)
{
	uint64_t value;

	memcpy(&value, from, sizeof(value));
	return le64toh(value);
}

static inline void le16_put(void *to, uint16_t value)
{
	value = htole16(value);
	memcpy(to, &value, sizeof(value));
}

static inline void le32_put(void *to, uint32_t value)
{
	value = htole32(value);
	memcpy(to, &value, sizeof(value));
}

static inline void le64_put(void *to, uint64_t value)
{
	value = htole64(value);
	memcpy(to, &value, sizeof(value));
}

/* The low `size` (1 to 8) bytes of a register, as a bus carries them. */
static inline uint64_t le_get(const void *from, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, from, size);
	return le64toh(value);
}

static inline void le_put(void *to, unsigned size, uint64_t value)
{
	value = htole64(value);
	memcpy(to, &value, size);
}

#endif
