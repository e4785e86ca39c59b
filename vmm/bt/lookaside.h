/* SPDX-License-Identifier: MIT */
/*
 * What translated code looks up itself: where pages of the guest's are on the host, and where known
 * code is. For the supervisor there is one of each, of which a CR3 write takes what is not global.
 * Of the user's each address space has its own, so that one that comes back finds what it had. On
 * the vCPU's own thread.
 */
#ifndef VMM_BT_LOOKASIDE_H
#define VMM_BT_LOOKASIDE_H

#include <stdbool.h>
#include <stdint.h>

struct engine_vcpu;

/*
 * The soft TLB of translated code: for the page of an address, by its low 16 bits, what to add to a
 * linear address for the host's. A tag is the negated page number, so that a sum of zero is a hit.
 */
#define FAST_ENTRIES 65536u
#define FAST_LOG     16384u

/* Entries that may be in use; more than FAST_LOG: anything may be. */
struct fast_log {
	unsigned count;
	uint16_t index[FAST_LOG];
};

struct fast_tlb {
	uint64_t tag[FAST_ENTRIES];
	uint64_t addend[FAST_ENTRIES];
	bool private_high;      /* one of the upper half that is not global */
	struct fast_log log[2]; /* of the upper half, of the lower: what a CR3 write drops */
};

/*
 * Known code: the negated address, and where its translation runs. First by the address's low 16
 * bits, which translated code looks up in line; those where functions begin are often the same.
 * What is not there is looked for by the sum of the address and of itself shifted.
 */
#define JUMP_ENTRIES 65536u
#define JUMP_SHIFT   11u

struct jump_entry {
	uint64_t tag;
	const uint8_t *code;
};

struct jump_way {
	struct jump_entry entry[JUMP_ENTRIES];
	unsigned count;
	uint16_t log[JUMP_ENTRIES];
};

struct jump_table {
	struct jump_way way[2];
	bool private;        /* one is not of a global page */
	uint64_t page[1024]; /* a bit a page that one is of, by its number's low bits */
};

/* A user's address space. */
#define LOOKASIDE_SPACES 8u

struct lookaside_space {
	uint64_t root; /* of its page tables */
	uint64_t used;
	uint64_t epoch, write_epoch; /* of the lookaside, when it was last up to date */
	struct fast_tlb tlb[2];
	struct jump_table jump;
};

struct lookaside {
	struct fast_tlb *tlb[3][2];                      /* by enum tlb_mode; to read, to write */
	struct jump_table *jump[2];                      /* the supervisor's, the user's */
	struct lookaside_space *space[LOOKASIDE_SPACES]; /* those after the first come into being */
	struct lookaside_space *present;
	uint64_t time, epoch, write_epoch;
	uint64_t cleared; /* how often something went */
};

int lookaside_create(struct lookaside *l);
void lookaside_destroy(struct lookaside *l);

/* A page of memory, for the vCPU's present mode, and code at its RIP; `across`: in two pages. */
void lookaside_fill(struct engine_vcpu *cpu, uint64_t linear, bool write, const uint8_t *host,
		    bool global);
void lookaside_add_code(struct engine_vcpu *cpu, const uint8_t *code, bool across);
/* Code at RIP, or NULL. */
const uint8_t *lookaside_code(const struct engine_vcpu *cpu);
/* No code is known any more. */
void lookaside_forget_code(struct engine_vcpu *cpu);

/*
 * mmu.c tells: translations are gone; of all address spaces, all that are not global, or all; those
 * of some addresses in the present one; or another becomes the present one. `flush`: it is to be
 * empty, and so is that of the root `stale`.
 */
void lookaside_flush(struct engine_vcpu *cpu, bool global);
/* Where may be written, in all address spaces. */
void lookaside_flush_writes(struct engine_vcpu *cpu);
void lookaside_invalidate(struct engine_vcpu *cpu, uint64_t linear, uint64_t size);
void lookaside_switch(struct engine_vcpu *cpu, uint64_t root, bool flush, uint64_t stale);

#endif
