/* SPDX-License-Identifier: MIT */
/*
 * Guest memory, seen by the guest as one or two ranges around the hole below 4 GiB.
 * Every access by guest-physical address goes through here and is checked for range and wrap.
 * Lookups are thread-safe; the ranges do not change while a guest exists.
 */
#ifndef VMM_CORE_MEMORY_H
#define VMM_CORE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/base/error.h"

#define MEMORY_PAGE_SIZE  4096ull
#define MEMORY_HOLE_START 0xc0000000ull  /* 3 GiB: devices live from here ... */
#define MEMORY_HOLE_END   0x100000000ull /* ... to 4 GiB */
#define MEMORY_RANGES_MAX 2

struct memory_range {
	uint64_t base;   /* guest-physical, page-aligned */
	uint64_t size;   /* bytes, a multiple of the page size */
	uint8_t *host;   /* where this process sees it */
	uint64_t *dirty; /* a bit a page: written by this process while tracking is on */
};

struct guest_memory {
	int fd;        /* the memfd, range 1 follows range 0 in it; or -1 */
	uint64_t size; /* bytes in all ranges */
	unsigned count;
	struct memory_range range[MEMORY_RANGES_MAX];
	bool tracking; /* changed only while the guest is paused */
	/*
	 * Told before this process writes, and again behind what others write on its behalf; any
	 * thread. NULL: nobody asked. Set before vCPUs run.
	 */
	void (*writing)(void *arg, uint64_t gpa, uint64_t length);
	void *writing_arg;
};

/*
 * `size`: bytes, a multiple of the page size. Pages come into being as they are touched, huge ones
 * where the host has them.
 */
int memory_create(uint64_t size, struct guest_memory **out, struct error *err);
/*
 * The same on a memfd, which can be mapped at further addresses. Linux gives it no huge pages
 * unless the administrator says so (transparent_hugepage/shmem_enabled), and nested page tables are
 * slower with small ones.
 */
int memory_create_shared(uint64_t size, struct guest_memory **out, struct error *err);
void memory_destroy(struct guest_memory *memory);

/* All bytes zero again, and the host's pages given back. The guest must not run. */
int memory_clear(struct guest_memory *memory, struct error *err);

/*
 * `length` bytes at `gpa` as this process sees them, or NULL where they are not all memory of one
 * range. What is read there may change under the reader: copy first, then decide.
 */
const void *memory_at(const struct guest_memory *memory, uint64_t gpa, uint64_t length);
/* The same for writing; marks the pages dirty, so ask again for each write. */
void *memory_at_write(struct guest_memory *memory, uint64_t gpa, uint64_t length);

/* Copies. 0, or -EFAULT and nothing was copied. */
int memory_read(const struct guest_memory *memory, uint64_t gpa, void *to, uint64_t length);
int memory_write(struct guest_memory *memory, uint64_t gpa, const void *from, uint64_t length);

/* Track this process's own writes (an engine tracks the guest's). Turning it on clears the bits. */
int memory_track(struct guest_memory *memory, bool on);

#endif
