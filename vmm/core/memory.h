/* SPDX-License-Identifier: MIT */
/*
 * Guest memory, seen by the guest as one or two ranges around the hole below 4 GiB.
 * Every access by guest-physical address goes through here and is checked for range and wrap.
 * Lookups are thread-safe; the ranges do not change while a guest exists.
 */
#ifndef VMM_CORE_MEMORY_H
#define VMM_CORE_MEMORY_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/base/error.h"

struct memory_freeze;
struct memory_source;

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
	bool tracking;                /* changed only while the guest is paused */
	struct memory_freeze *freeze; /* memory_freeze.h; NULL: there was none yet */
	/*
	 * Restored memory that is shared: pages whose bits are set in `absent` are still to be read
	 * from the source, by whoever asks for them first. NULL: nothing is.
	 */
	struct memory_source *source;
	uint64_t *absent;
	pthread_mutex_t load_lock;
	/* A page cannot be read from its source: the guest cannot go on. Any thread. */
	void (*lost)(void *arg, int code);
	void *lost_arg;
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
/*
 * Memory with the content of `source`, which has as many pages and becomes the memory's, also on
 * failure. Nothing is read here but what lies in pieces.
 */
int memory_create_from(struct memory_source *source, bool shared, struct guest_memory **out,
		       struct error *err);
void memory_destroy(struct guest_memory *memory);

/* Pages of all ranges; range 1 follows range 0. */
static inline uint64_t memory_pages(const struct guest_memory *memory)
{
	return memory->size / MEMORY_PAGE_SIZE;
}
/* Where this process sees a page by that number. What restored memory has there may be absent. */
void *memory_page(const struct guest_memory *memory, uint64_t page);
/* The same to read its content. Any thread. */
const void *memory_page_content(const struct guest_memory *memory, uint64_t page);
/* OR the pages that may be other ones than zero into `bits`, by number. */
int memory_present(const struct guest_memory *memory, uint64_t *bits);

/* All bytes zero again, and the host's pages given back. The guest must not run. */
int memory_clear(struct guest_memory *memory, struct error *err);

/*
 * `length` bytes at `gpa` as this process sees them, or NULL where they are not all memory of one
 * range. What is read there may change under the reader: copy first, then decide.
 */
const void *memory_at(const struct guest_memory *memory, uint64_t gpa, uint64_t length);
/* The same for writing; marks the pages dirty, so ask again for each write. */
void *memory_at_write(struct guest_memory *memory, uint64_t gpa, uint64_t length);

/* All of it is about to be written: the host's pages come at once. A hint. */
void memory_expect(const struct guest_memory *memory, uint64_t gpa, uint64_t length);

/* Copies. 0, or -EFAULT and nothing was copied. */
int memory_read(const struct guest_memory *memory, uint64_t gpa, void *to, uint64_t length);
int memory_write(struct guest_memory *memory, uint64_t gpa, const void *from, uint64_t length);

/* Track this process's own writes (an engine tracks the guest's). Turning it on clears the bits. */
int memory_track(struct guest_memory *memory, bool on);
/* OR them into `bits`, by number (memory_page), and begin afresh. The guest is paused. */
void memory_track_fetch(struct guest_memory *memory, uint64_t *bits);
/* OR a range's bits into those of all pages. */
void memory_bits_add(const struct guest_memory *memory, unsigned range, const uint64_t *of_range,
		     uint64_t *bits);

#endif
