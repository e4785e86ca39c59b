/* SPDX-License-Identifier: MIT */
/*
 * Linear addresses: the soft TLB and accesses by way of it, on the vCPU's own thread. Each access
 * faults as the guest's would, and then does not return (bt_impl.h).
 */
#ifndef VMM_BT_MMU_H
#define VMM_BT_MMU_H

#include <stdbool.h>
#include <stdint.h>

struct engine_vcpu;

/* The soft TLB: linear pages to host pages, of pages that are memory and may be accessed so. */
enum tlb_access { TLB_READ, TLB_WRITE, TLB_FETCH, TLB_ACCESSES };
/* For whom: SMAP lets the supervisor touch user pages only while AC is set. */
enum tlb_mode { TLB_SUPERVISOR, TLB_SUPERVISOR_AC, TLB_USER, TLB_MODES };

#define TLB_ENTRIES 256u
#define TLB_GLOBAL  0u           /* as a context: pages of every address space */
#define TLB_NOTHING (1ull << 62) /* a tag that no address has: it would not be canonical */
#define TLB_CONTEXT 0xfffull     /* the low bits of a tag */
#define LARGE_BITS  4096u

struct tlb_entry {
	uint64_t tag; /* linear page | context; an entry that holds nothing has a tag no page has */
	uint8_t *host;
	uint64_t gpa; /* of the page */
};

struct tlb {
	struct tlb_entry entry[TLB_MODES][TLB_ACCESSES][TLB_ENTRIES];
	uint16_t context; /* 1 to 4095: of the present address space */
	/*
	 * Where large pages have entries, of which INVLPG drops all: a bit for 2 MiB, by the low
	 * bits of its number. And is there one of more?
	 */
	uint64_t large[LARGE_BITS / 64];
	bool huge;
};

uint64_t linear_read(struct engine_vcpu *cpu, uint64_t address, unsigned size);
void linear_write(struct engine_vcpu *cpu, uint64_t address, unsigned size, uint64_t value);
/* As the processor itself does it for descriptors and task states, whatever CPL is. */
uint64_t system_read(struct engine_vcpu *cpu, uint64_t address, unsigned size);
void system_write(struct engine_vcpu *cpu, uint64_t address, unsigned size, uint64_t value);
/* Any number of bytes: all pages are checked before the first byte moves. */
void linear_read_bytes(struct engine_vcpu *cpu, uint64_t address, void *to, unsigned size);
void linear_write_bytes(struct engine_vcpu *cpu, uint64_t address, const void *from, unsigned size);
/* Would a write of `size` bytes fault? Then it does. */
void linear_probe_write(struct engine_vcpu *cpu, uint64_t address, unsigned size);
/*
 * Bytes of up to two pages, memory or a device, that may be written. Once they are found, reading
 * and writing them does not fault, whatever happens to the page tables; it holds for the
 * instruction under way.
 */
struct span {
	struct span_part {
		uint8_t *host; /* or NULL: a device */
		uint64_t gpa;
		unsigned size; /* of the second: 0 if there is none */
	} part[2];
};
void span_for_write(struct engine_vcpu *cpu, uint64_t address, unsigned size, struct span *out);
void span_read(struct engine_vcpu *cpu, const struct span *span, void *to);
void span_write(struct engine_vcpu *cpu, const struct span *span, const void *from);
/*
 * The bytes at `address` on the host, or NULL: they are no memory, or in two pages. For writing
 * they are read and written as one.
 */
uint8_t *linear_host(struct engine_vcpu *cpu, uint64_t address, unsigned size,
		     enum tlb_access access);
/*
 * The host's page of `address`, for a soft TLB: NULL if it is no memory, or must not be kept in
 * one. *global: the translation holds in all address spaces.
 */
uint8_t *linear_page(struct engine_vcpu *cpu, uint64_t address, enum tlb_access access,
		     bool *global);
/* A page as the guest's tables have it. */
struct page {
	uint64_t gpa;  /* of the byte that was asked for */
	uint64_t size; /* of the page */
	bool writable, user, executable, global;
	bool dirty; /* so it is marked */
};
/*
 * The same by a walk, which marks it accessed, or dirty. False: no memory, or its accesses are
 * looked at one by one.
 */
bool linear_walk(struct engine_vcpu *cpu, uint64_t address, enum tlb_access access,
		 struct page *out);
/* The page of code at `address`: its host address and its guest-physical one. NULL: no memory. */
const uint8_t *linear_fetch(struct engine_vcpu *cpu, uint64_t address, uint64_t *gpa);

/* All translations, or all but the global ones, of every address space. */
void tlb_flush(struct engine_vcpu *cpu, bool global);
/* What is known of where may be written, but in windows. */
void tlb_flush_writes(struct engine_vcpu *cpu);
/* CR3 is about to be `cr3`; its address space's translations may be kept, or not. */
void tlb_switch(struct engine_vcpu *cpu, uint64_t cr3, bool keep);
void tlb_invalidate(struct engine_vcpu *cpu, uint64_t address);

#endif
