/* SPDX-License-Identifier: MIT */
/* The qcow2 reader's parts: header (qcow2_header.c), tables (qcow2_map.c), packed clusters. */
#ifndef BLOCK_QCOW2_IMPL_H
#define BLOCK_QCOW2_IMPL_H

#include <pthread.h>

#include "block/block_impl.h"
#include "block/file.h"
#include "block/qcow2_format.h"
#include "vmm/base/log.h"

#define QCOW2_DEPTH_MAX    64u   /* images of one chain; what is in a loop ends there, too */
#define QCOW2_SLICES       1024u /* pieces of tables that are kept: 4 MiB */
#define QCOW2_SLICE_WAYS   4u
#define QCOW2_SLICE_MAX    4096u
#define QCOW2_UNPACKED_MAX 8u

/* A piece of an L1 or L2 table, of at most QCOW2_SLICE_MAX bytes. */
struct qcow2_slice {
	uint64_t offset; /* in the file; 0: none */
	uint64_t used;   /* when */
	uint8_t *bytes;
};

/* A packed cluster and what unpacked it. */
struct qcow2_unpacked {
	pthread_mutex_t lock;
	uint64_t host;  /* where its stream is in the file; 0: none */
	uint8_t *bytes; /* a cluster, and behind it room for the longest stream */
	void *context;  /* the library's */
};

/* Names of other files, as the image gives them; empty: none. */
struct qcow2_names {
	char backing[QCOW2_NAME_MAX + 1];
	char backing_format[32];
	char data_file[QCOW2_NAME_MAX + 1];
};

/* All of it is constant after opening, but for the two caches. */
struct qcow2 {
	struct block block;
	int fd, data_fd; /* data_fd: fd, or the external data file */
	uint64_t file_size, data_size;
	struct block *backing; /* may be NULL */

	uint32_t version;
	unsigned cluster_bits;
	unsigned span_bits;  /* of the bytes that one L2 table maps */
	unsigned piece_bits; /* of what one entry, or bit of an extended one, maps */
	uint32_t cluster_size;
	uint32_t entry_size; /* of an L2 table */
	uint32_t slice_size;
	bool extended, external;
	enum qcow2_compression compression;
	uint64_t l1_offset;
	struct ratelimit limit; /* of lines about corruption */

	/* Held while a slice is looked up, read and scanned; no other lock is taken meanwhile. */
	pthread_mutex_t lock;
	struct qcow2_slice slice[QCOW2_SLICES];
	uint64_t clock;

	unsigned unpacked_count;
	struct qcow2_unpacked unpacked[QCOW2_UNPACKED_MAX];
};

static inline struct qcow2 *qcow2_of(struct block *block)
{
	return (struct qcow2 *)block;
}

/*
 * Read and check the header: sets what follows from it, and the names that the image gives, which
 * have been checked to be text and nothing else. Messages begin with `options->path`.
 */
int qcow2_header_read(struct qcow2 *q, const struct block_options *options,
		      struct qcow2_names *names, struct error *err);

enum qcow2_kind {
	QCOW2_ABSENT, /* of one image: see its backing file */
	QCOW2_ZEROES,
	QCOW2_DATA,    /* in owner->data_fd at `host`; what is past its end is zero */
	QCOW2_STREAM,  /* packed in owner->fd at `host`, `packed` bytes */
	QCOW2_BACKING, /* in `backing`, of another format, at the same offset */
};

struct qcow2_extent {
	enum qcow2_kind kind;
	uint64_t length; /* at least 1 */
	uint64_t host;
	uint32_t packed;
	struct qcow2 *owner;
	struct block *backing;
};

/* What is at `offset` for up to `length` bytes, at least one, in the image. Never QCOW2_ABSENT. */
int qcow2_extent_find(struct qcow2 *q, uint64_t offset, uint64_t length, struct qcow2_extent *out);
void qcow2_slices_free(struct qcow2 *q);

/* Read a QCOW2_STREAM extent, which is at `offset` in the image. */
int qcow2_stream_read(const struct qcow2_extent *extent, uint64_t offset, struct file_vector *to);
int qcow2_unpacked_init(struct qcow2 *q);
void qcow2_unpacked_free(struct qcow2 *q);

/* Rate-limited; returns -EIO. */
int qcow2_corrupt(struct qcow2 *q, const char *what, uint64_t value);

#endif
