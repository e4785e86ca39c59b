/* SPDX-License-Identifier: MIT */
/*
 * The layout of qcow2 files, after QEMU's docs/interop/qcow2.txt: what reader and writer share.
 * All numbers are big-endian.
 */
#ifndef BLOCK_QCOW2_FORMAT_H
#define BLOCK_QCOW2_FORMAT_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define QCOW2_MAGIC            0x514649fbu
#define QCOW2_CLUSTER_BITS_MIN 9u
#define QCOW2_CLUSTER_BITS_MAX 21u
#define QCOW2_L1_BYTES_MAX     (32u << 20) /* as QEMU has it */
#define QCOW2_REFCOUNT_MAX     (8u << 20)  /* bytes of the refcount table, likewise */
#define QCOW2_NAME_MAX         1023u       /* bytes of a backing file's name */

/* Places in the header. From incompatible features on: version 3 only. */
enum {
	QCOW2_AT_MAGIC = 0,
	QCOW2_AT_VERSION = 4,
	QCOW2_AT_BACKING_OFFSET = 8,
	QCOW2_AT_BACKING_SIZE = 16,
	QCOW2_AT_CLUSTER_BITS = 20,
	QCOW2_AT_SIZE = 24,
	QCOW2_AT_CRYPT = 32,
	QCOW2_AT_L1_SIZE = 36,
	QCOW2_AT_L1_OFFSET = 40,
	QCOW2_AT_REFCOUNT_OFFSET = 48,
	QCOW2_AT_REFCOUNT_CLUSTERS = 56,
	QCOW2_HEADER_V2 = 72, /* bytes */
	QCOW2_AT_INCOMPATIBLE = 72,
	QCOW2_AT_REFCOUNT_ORDER = 96,
	QCOW2_AT_LENGTH = 100,
	QCOW2_HEADER_V3 = 104, /* bytes, at least */
	QCOW2_AT_COMPRESSION = 104,
	QCOW2_HEADER_FULL = 112, /* with all that is known */
};

/* Incompatible features. */
#define QCOW2_DIRTY       (1ull << 0) /* refcounts may be off */
#define QCOW2_CORRUPT     (1ull << 1)
#define QCOW2_DATA_FILE   (1ull << 2)
#define QCOW2_COMPRESSION (1ull << 3) /* the type is not deflate */
#define QCOW2_EXTENDED_L2 (1ull << 4)

/* Header extensions: type and length, 4 bytes each, then data, padded to 8. */
#define QCOW2_EXTENSION_END       0u
#define QCOW2_EXTENSION_FORMAT    0xe2792acau /* of the backing file */
#define QCOW2_EXTENSION_DATA_FILE 0x44415441u

enum qcow2_compression { QCOW2_DEFLATE = 0, QCOW2_ZSTD = 1 };

/* Entries of L1 and L2 tables. */
#define QCOW2_OFFSET_MASK 0x00fffffffffffe00ull
#define QCOW2_COPIED      (1ull << 63)
#define QCOW2_PACKED      (1ull << 62)
#define QCOW2_ZERO_FLAG   (1ull << 0)
#define QCOW2_SUBCLUSTERS 32u /* of a cluster with extended L2 entries */

/* A packed cluster's entry: where its stream begins, and above this bit its further sectors. */
static inline unsigned qcow2_packed_shift(unsigned cluster_bits)
{
	return 62 - (cluster_bits - 8);
}

static inline uint32_t be32_get(const void *from)
{
	uint32_t value;

	memcpy(&value, from, sizeof(value));
	return be32toh(value);
}

static inline uint64_t be64_get(const void *from)
{
	uint64_t value;

	memcpy(&value, from, sizeof(value));
	return be64toh(value);
}

static inline void be16_put(void *to, uint16_t value)
{
	value = htobe16(value);
	memcpy(to, &value, sizeof(value));
}

static inline void be32_put(void *to, uint32_t value)
{
	value = htobe32(value);
	memcpy(to, &value, sizeof(value));
}

static inline void be64_put(void *to, uint64_t value)
{
	value = htobe64(value);
	memcpy(to, &value, sizeof(value));
}

#endif
