/* SPDX-License-Identifier: MIT */
/*
 * The code cache: translated blocks and their host code, shared by a VM's vCPUs. A block is the
 * straight line from one address to the next jump, within a page. It is found by where it lies in
 * guest-physical memory and at which linear address it was translated, since that is in its code.
 *
 * Any vCPU's thread; a lock guards everything but the running of code. The code is written through
 * one mapping and executed through another: nothing is ever writable and executable.
 *
 * Its parts are filled in turns. When one is half full the next one is retired: nothing leads to
 * its blocks any more, and vCPUs are told to forget them; when it is needed all have done so.
 */
#ifndef VMM_BT_CODE_CACHE_H
#define VMM_BT_CODE_CACHE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/bt/emit.h"
#include "vmm/core/memory.h"

/* A jump out of a block to a known address; unlinked it goes to a stub that asks for a look-up. */
struct block_link {
	uint8_t *displacement; /* of the jump, to be written; NULL: there is none */
	uint8_t *stub;         /* where the jump goes while it is not linked (as written) */
	uint64_t page;         /* of the guest's memory, that the jump is in */
	struct block *to;
	struct block_link *next, **at; /* of those to the same block; what leads here */
};

struct block {
	uint64_t gpa, rip; /* of its first byte */
	uint64_t second;   /* the page that its one instruction goes on in, or 0 */
	bool user;         /* it runs at CPL 3, else at CPL 0 */
	uint8_t *code;     /* as executed */
	unsigned length;   /* of the guest's code, in bytes */
	uint8_t vain;      /* accesses that no window could be had for */
	bool dead;         /* invalidated; its code stays until its part is filled anew */
	struct block *hash_next, *page_next, **page_at;
	struct block *of;        /* this is not one, but stands for that one in its second page */
	struct block_link *link; /* its jumps */
	unsigned link_count;
	struct block_link *incoming;
};

#define ASTRAY_MAX 1024u

/* Where the host may fault on a guest's own account, and which of its instructions that is. */
struct fault_point {
	const uint8_t *at; /* as executed */
	uint64_t rip;
	/* In a window: `size` bytes at base, a register of the host's or none, + displacement. */
	int32_t displacement;
	uint8_t base, size; /* 0: not in one */
	bool write;
	uint8_t string; /* not 0: of a string instruction instead, with elements of `size` bytes */
};

/* Whose RSI and RDI are the host's (world.string_source, string_target). */
enum fault_string { STRING_SOURCE = 1, STRING_TARGET = 2, STRING_WRITES = 4 };

/*
 * How often code of a page was seen running: more than a few times, it is hot. Then it has a credit
 * of faults, some to begin with, and some more each time that it is seen. Without any left windows
 * cost more than they gain, and it is as it was before, for a while: longer each time, as a new
 * process faults for a moment only. Where a fault of the host's costs more, it takes more of it.
 */
struct page_heat {
	uint8_t seen, banned, ban; /* how long the next time */
	uint16_t credit;
};

#define CODE_PARTS 8u
#define CODE_KEPT  (64u << 10)

struct code_part {
	uint8_t *begin, *end, *used, *mapped; /* as written; the host has pages up to the last */
	struct block *blocks;
	struct insn *insns; /* of which code knows the addresses */
	struct block_link *links;
	struct fault_point *points; /* in the order of their addresses */
	unsigned block_count, insn_count, link_count;
	_Atomic unsigned point_count;
	uint64_t retired; /* the number of that; 0: it is not */
};

struct code_cache {
	pthread_mutex_t lock;
	uint8_t *write,
		*execute; /* the same memory: CODE_KEPT for entry and exit, then the parts */
	size_t size;
	struct code_part part[CODE_PARTS];
	unsigned filling, fault_price; /* the latter in credit: at least 1 */
	_Atomic uint64_t retired;      /* how often a part was */
	struct block **hash;
	struct block **pages;         /* by guest page: those that begin there */
	struct page_heat *heat;       /* likewise */
	_Atomic uint64_t *is_code;    /* a bit a guest page: it has blocks, or is about to */
	_Atomic uint64_t *is_settled; /* and nobody writes there any more without telling */
	pthread_mutex_t claim_lock;   /* of whoever claims a page until it is settled; the outer */
	uint64_t page_count;
	uint64_t astray[ASTRAY_MAX]; /* blocks that go where no window is; by their address */
	uint64_t translated;         /* blocks ever made */
	bool checked;                /* blocks are for --bt check (lower.h) */
	bool eager;                  /* all pages are hot from the first, and stay so */
};

int code_cache_create(const struct guest_memory *memory, struct code_cache **out);
void code_cache_destroy(struct code_cache *c);

/* The block like another in gpa, rip, user, second, or NULL. The lock is held, here and below. */
struct block *code_cache_find(struct code_cache *c, const struct block *like);
/* Room for code, as written; NULL: the part is full. */
uint8_t *code_cache_room(struct code_cache *c, size_t bytes);
/* An instruction that stays as long as the part; NULL: there are too many. */
const struct insn *code_cache_add_insn(struct code_cache *c, const struct insn *insn);
/* Jumps for a block; NULL: there are not so many. They are the next block's, if this fails. */
struct block_link *code_cache_links(struct code_cache *c, unsigned count);
/* A new block, of which all is given but its code, which is from `room` to `end`. NULL: full. */
struct block *code_cache_add(struct code_cache *c, const struct block *block, uint8_t *room,
			     const uint8_t *end);
/* Not if `to` is in two pages: that is known only as long as jump tables know it. */
void code_cache_link(struct code_cache *c, struct block_link *link, struct block *to);
/* One behind all that there are. False: there is no room. */
bool code_cache_add_point(struct code_cache *c, const struct fault_point *point);
/* The blocks of a guest page are not found any more, and no jump leads to them. */
void code_cache_drop(struct code_cache *c, uint64_t gpa);
/* The same, and it is no page of code any more. */
void code_cache_invalidate(struct code_cache *c, uint64_t gpa);
/*
 * The part that is next, if it is time: then all vCPUs must be told that code has changed. A vCPU
 * that notes c->retired, and then forgets what code it knows, will not come to what was retired
 * till then.
 */
bool code_cache_retire(struct code_cache *c);
/*
 * The part `full` has no room. What must have been noted by all that run code before the next one
 * can be filled, 0 if it is already; all vCPUs must be told. Then fill it, if that is still to do.
 */
uint64_t code_cache_next_retired(struct code_cache *c, unsigned full);
void code_cache_advance(struct code_cache *c, unsigned full);

/* A page was seen running. True: it is hot from now on, and without blocks. */
bool code_cache_heat(struct code_cache *c, uint64_t gpa);
bool code_cache_is_hot(struct code_cache *c, uint64_t gpa, uint64_t rip);
/*
 * Without the lock: an access of code at `at` faulted, and could be helped or not. True: it has
 * done so too often; its block, or all of its page, is not hot any more, and the page has none.
 */
bool code_cache_suspect(struct code_cache *c, const uint8_t *at, bool good);

/*
 * Without the lock: a guest page is one of code, if it has blocks or not. Behind a claim all are
 * made to tell before they write there; then it is settled, if nobody wrote meanwhile.
 */
void code_cache_claim(struct code_cache *c, uint64_t gpa);
void code_cache_settle(struct code_cache *c, uint64_t gpa);
bool code_cache_is_code(const struct code_cache *c, uint64_t gpa);
bool code_cache_is_settled(const struct code_cache *c, uint64_t gpa);
/* Is the host's address one of code? Then *point is what is there; NULL: it cannot fault. */
bool code_cache_has(const struct code_cache *c, const uint8_t *at,
		    const struct fault_point **point);
/* What is written at `at` is executed there. */
uint8_t *code_cache_executed(const struct code_cache *c, uint8_t *at);
/* And the other way round. */
uint8_t *code_cache_written(const struct code_cache *c, const uint8_t *at);

#endif
