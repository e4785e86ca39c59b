/* SPDX-License-Identifier: MIT */
/* An io_uring of one queue, which also waits for the queue's eventfd. One thread. */
#ifndef BLOCK_RING_H
#define BLOCK_RING_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/error.h"

struct ring {
	struct io_uring uring;
	bool armed; /* a read of the eventfd is in flight */
	uint64_t wake_count;
};

/* `entries`: most submissions in flight, the eventfd's not among them. */
int ring_open(struct ring *ring, unsigned entries, struct error *err);
void ring_close(struct ring *ring);

/* An entry to fill in; there is always one. Its data must not be NULL. */
struct io_uring_sqe *ring_entry(struct ring *ring);

/*
 * Submit, and hand over what completed; with `block` sleep until something did, or until `wake_fd`
 * was signalled. 0 or -errno.
 */
int ring_wait(struct ring *ring, int wake_fd, bool block,
	      void (*completed)(void *arg, void *data, int result), void *arg);

#endif
