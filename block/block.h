/* SPDX-License-Identifier: MIT */
/*
 * A disk image behind one interface, whatever its format. A `struct block` is opened once; each
 * thread that does I/O makes a queue of its own on it. Requests complete on the thread that runs
 * the queue, in any order; a flush covers the requests that completed before it was submitted.
 */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/base/error.h"

#define BLOCK_SECTOR 512u

enum block_op {
	BLOCK_READ,
	BLOCK_WRITE,
	BLOCK_FLUSH,        /* what completed is on stable storage */
	BLOCK_DISCARD,      /* the content does not matter any more; a hint */
	BLOCK_WRITE_ZEROES, /* reads as zeroes from now on */
};

struct block_request {
	enum block_op op;
	uint64_t offset;   /* bytes, a multiple of BLOCK_SECTOR */
	uint64_t length;   /* bytes, likewise; the sum of iov for reads and writes */
	struct iovec *iov; /* the caller's until done; the queue may change it */
	unsigned iov_count;
	bool durable; /* a write (of zeroes) that is on stable storage when it completes */
	bool unmap;   /* zeroes may give the storage back */
	/* On the queue's thread. `result`: 0 or -errno. The request may be reused at once. */
	void (*done)(struct block_request *request, int result);
};

/* What block_map finds. */
enum block_status {
	BLOCK_DATA,
	BLOCK_ZERO, /* a hole, or known to be zeroes: need not be read */
};

struct block;
struct block_queue;
struct store;
struct file_vector;

struct block_info {
	const char *format;
	uint64_t size;       /* bytes, a multiple of BLOCK_SECTOR */
	uint32_t block_size; /* bytes that an aligned access should cover, at least BLOCK_SECTOR */
	bool read_only;
};

struct block_options {
	const char *path;
	bool read_only;
	bool no_lock;        /* for a file that somebody trusted holds for us */
	struct store *store; /* of volumes, whose `path` is their name */
	bool snapshot;       /* `path` is SNAPSHOT[/VOLUME] instead, to be read */
	/* The image may name other files of the host's: who made it is trusted. They are read. */
	bool allow_backing;
	/* Of formats, for such a file: its size is rounded up to sectors and may be 0; no queues.
	 */
	bool as_backing;
	unsigned depth; /* how many images are above it */
};

/*
 * A format: a line in the table in block.c. Opened blocks and queues of a format begin with the
 * struct of block_impl.h.
 */
struct block_format {
	const char *name;
	int (*open)(const struct block_options *options, struct block **out, struct error *err);
	void (*close)(struct block *block);
	/* On the thread that will use the queue. `depth`: most requests in flight. */
	int (*queue_create)(struct block *block, unsigned depth, struct block_queue **out,
			    struct error *err);
	/* Nothing may be in flight. */
	void (*queue_destroy)(struct block_queue *queue);
	/*
	 * Accept a request; it starts with the next wait at the latest. Never fails: done tells.
	 * Fewer than `depth` may be in flight.
	 */
	void (*submit)(struct block_queue *queue, struct block_request *request);
	/*
	 * Start what was accepted, complete what is ready. With `block` sleep until something
	 * completed or the eventfd `wake_fd` was signalled (and consume the signal). 0 or -errno.
	 */
	int (*wait)(struct block_queue *queue, int wake_fd, bool block);
	/*
	 * Optional, both; any thread, several at once; the range is in the image and not empty.
	 * `to` has room for `length`. 0 or -errno.
	 */
	int (*read)(struct block *block, uint64_t offset, struct file_vector *to, uint64_t length);
	int (*map)(struct block *block, uint64_t offset, uint64_t length, enum block_status *status,
		   uint64_t *run);
};

/*
 * Open the image `options->path` of format `name` ("raw", "qcow2", "volume"). Formats are never
 * guessed: a guest writes what it likes into its disk. Fails with -EBUSY where another process has
 * it open for writing.
 */
int block_open(const char *name, const struct block_options *options, struct block **out,
	       struct error *err);
/* All queues must be gone. */
void block_close(struct block *block);
const struct block_info *block_info(const struct block *block);

/* Names of formats, NULL past the end. */
const char *block_format_at(unsigned index);

/* As in struct block_format. A request's range is checked here; a bad one is done with -EINVAL. */
int block_queue_create(struct block *block, unsigned depth, struct block_queue **out,
		       struct error *err);
void block_queue_destroy(struct block_queue *queue);
void block_submit(struct block_queue *queue, struct block_request *request);
int block_wait(struct block_queue *queue, int wake_fd, bool block);

/*
 * Without a queue, on any thread, several at once: read any bytes, sleeping until they are there.
 * 0 or -errno; -EINVAL for a range that is not in the image.
 */
int block_read(struct block *block, uint64_t offset, void *to, size_t length);

/*
 * The status of what is at `offset`, and for how many bytes from there it holds: `*run`, 1 to
 * `length`; what follows may have the same. As block_read; `length` of 0 is -EINVAL.
 */
int block_map(struct block *block, uint64_t offset, uint64_t length, enum block_status *status,
	      uint64_t *run);

/* Requests accepted and not done. */
unsigned block_in_flight(const struct block_queue *queue);

#endif
