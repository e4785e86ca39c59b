/* SPDX-License-Identifier: MIT */
/* Files and block devices below the formats: open, lock, size; reads that are whole or fail. */
#ifndef BLOCK_FILE_H
#define BLOCK_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/base/error.h"

struct block_options;

/*
 * A regular file or block device, locked unless `no_lock` against writers (a writer: against all).
 * `*size` is in bytes, whatever it is. The caller closes `*fd`.
 */
int file_open(const struct block_options *options, int *fd, uint64_t *size, struct error *err);

/* Any thread. 0 or -errno; -EIO where the file ends before. */
int file_read(int fd, void *to, size_t length, uint64_t offset);

/* Where the next byte of a scattered buffer goes. */
struct file_vector {
	const struct iovec *iov;
	unsigned count;
	size_t skip; /* bytes of iov[0] that are done with */
};

/* These take `length` bytes, which must be there, from the front of `to`. */
int file_read_vector(int fd, struct file_vector *to, uint64_t length, uint64_t offset);
void file_vector_copy(struct file_vector *to, const void *from, uint64_t length);
void file_vector_zero(struct file_vector *to, uint64_t length);

/* Is there nothing but zeroes? */
bool file_is_zero(const void *bytes, size_t length);

#endif
