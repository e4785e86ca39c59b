/* SPDX-License-Identifier: MIT */
/*
 * The code cache: translated blocks and their host code, shared by a VM's vCPUs. A block is the
 * straight line from one address to the next jump, within a page. It is found by where it lies in
 * guest-physical memory and at which linear address it was translated, since that is in its code.
 *
 * Any vCPU's thread; a lock guards everything but the running of code. The code is written through
 * one mapping and executed through another: nothing is ever writable and executable.
 */
#ifndef VMM_BT_CODE_CACHE_H
#define VMM_BT_CODE_CACHE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/bt/emit.h"
#include "vmm/core/memory.h"

#define BLOCK_LINKS 2u
#define LINK_NONE   (~0u)

/* A jump out of a block to a known address; unlinked it goes to a stub that asks for a look-up. */
struct block_link {
	uint8_t *displacement; /* of the jump, to be written; NULL: there is none */
	uint8_t *stub;         /* where the jump goes while it is not linked (as written) */
	struct block *to;
	struct block_link *next; /* of those to the same block */
};

struct block {
	uint64_t gpa, rip; /* of its first byte */
	uint8_t *code;     /* as executed */
	unsigned length;   /* of the guest's code, in bytes */
	bool dead;         /* invalidated; its code stays until the cache is emptied */
	struct block *hash_next, *page_next;
	struct block_link link[BLOCK_LINKS];
	struct block_link *incoming;
};

/* Where the host may fault on a guest's own account, and which of its instructions that is. */
struct fault_point {
	const uint8_t *at; /* as executed */
	uint64_t rip;
};

struct code_cache {
	pthread_mutex_t lock;
	uint8_t *write, *execute; /* the same memory */
	size_t size, used;
	size_t kept; /* of it, what is not blocks' and always stays: entry, exit */
	struct block *blocks;
	unsigned block_count, block_max;
	struct block **hash;
	struct block **pages;         /* by guest page: those that begin there */
	_Atomic uint64_t *is_code;    /* a bit a guest page: it has blocks, or is about to */
	_Atomic uint64_t *is_settled; /* and nobody writes there any more without telling */
	pthread_mutex_t claim_lock;   /* of whoever claims a page until it is settled; the outer */
	uint64_t page_count;
	struct fault_point *points; /* in the order of their addresses */
	_Atomic unsigned point_count;
	uint64_t translated, emptied; /* blocks ever made; how often the cache was full */
};

int code_cache_create(const struct guest_memory *memory, struct code_cache **out);
void code_cache_destroy(struct code_cache *c);

/* A block by its place, or NULL. The lock is held in all that follow. */
struct block *code_cache_find(struct code_cache *c, uint64_t gpa, uint64_t rip);
/* Room for code, as written; NULL: the cache is full. */
uint8_t *code_cache_room(struct code_cache *c, size_t bytes);
/* A new block with code from `room` to `end`; NULL: full. The page is one of code from now on. */
struct block *code_cache_add(struct code_cache *c, uint64_t gpa, uint64_t rip, unsigned length,
			     uint8_t *room, const uint8_t *end);
void code_cache_link(struct code_cache *c, struct block_link *link, struct block *to);
/* `at`, as written, behind all that there are. False: there is no room. */
bool code_cache_add_point(struct code_cache *c, uint8_t *at, uint64_t rip);
/* The blocks of a guest page are not found any more, and no jump leads to them. */
void code_cache_invalidate(struct code_cache *c, uint64_t gpa);
/* Forget all blocks. No vCPU may be in the code. */
void code_cache_empty(struct code_cache *c);

/*
 * Without the lock: a guest page is one of code, if it has blocks or not. Behind a claim all are
 * made to tell before they write there; then it is settled, if nobody wrote meanwhile.
 */
void code_cache_claim(struct code_cache *c, uint64_t gpa);
void code_cache_settle(struct code_cache *c, uint64_t gpa);
bool code_cache_is_code(const struct code_cache *c, uint64_t gpa);
bool code_cache_is_settled(const struct code_cache *c, uint64_t gpa);
/* Is the host's address one of code? Then *rip is the guest's there, or 0: it cannot fault. */
bool code_cache_has(const struct code_cache *c, const uint8_t *at, uint64_t *rip);
/* What is written at `at` is executed there. */
uint8_t *code_cache_executed(const struct code_cache *c, uint8_t *at);
/* And the other way round. */
uint8_t *code_cache_written(const struct code_cache *c, const uint8_t *at);

#endif
