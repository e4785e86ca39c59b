/* SPDX-License-Identifier: MIT */
/*
 * Windows: the host's MMU in place of the soft TLB, for code that is hot. A window is 4 GiB of the
 * host's address space for 4 GiB of an address space of the guest's; pages of the guest's memory
 * are mapped there as its page tables have them, when they are first touched. An access is then the
 * guest's own instruction, with the distance from one to the other added to its address. What is
 * not mapped faults (world_fault), and is mapped, or is the interpreter's.
 *
 * Each vCPU has a table of distances for each privilege, by bits 32 to 47 of a linear address. An
 * address whose higher bits are not those that the table's entry is for comes out non-canonical on
 * the host, and faults. Entries of what has no window lead to a place where nothing ever is.
 *
 * A VM's vCPUs share windows, as they share memory: a page that one of them invalidates is gone for
 * all. User windows belong to an address space, by the root of its page tables. The supervisor's
 * are of global pages only. Any vCPU's thread; one lock for all.
 */
#ifndef VMM_BT_WINDOWS_H
#define VMM_BT_WINDOWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct engine_vcpu;
struct engine_vm;
struct window_space;
struct windows;

#define WINDOW_ENTRIES 65536u
/* How far from its register's an access may be: within what lies between two windows. */
#define WINDOW_REACH (1 << 20)

enum window_privilege { WINDOW_SUPERVISOR, WINDOW_USER, WINDOW_PRIVILEGES };

struct window_table {
	uint64_t distance[WINDOW_PRIVILEGES][WINDOW_ENTRIES]; /* from linear to host */
	struct window_space *space; /* whose user windows are in it; NULL: nobody's */
	uint64_t root;              /* of the present address space */
};

/* NULL where the host has no room: then nothing is hot. */
struct windows *windows_create(struct engine_vm *vm);
void windows_destroy(struct windows *w);
void windows_table_init(struct engine_vcpu *cpu);

/*
 * What a page fault costs on this host: 1 where it is as fast as on bare metal, up to 16 where the
 * host is itself a guest of one that shadows its page tables. Measured, in less than a millisecond.
 */
unsigned windows_fault_price(void);

/* What became of a fault. */
enum window_fill {
	WINDOW_FILLED,  /* something was done about it: try again */
	WINDOW_FAULT,   /* it is the guest's own, or none of a page's */
	WINDOW_REFUSED, /* what is there cannot be in a window */
};

/*
 * A page fault of the host's at an access to `size` bytes at `linear`. *distance is the entry then.
 * It does not fault itself.
 */
enum window_fill windows_fill(struct engine_vcpu *cpu, uint64_t linear, unsigned size, bool write,
			      uint64_t *distance);

/* What the guest does to translations: mmu.h. */
void windows_flush(struct engine_vcpu *cpu, bool global);
void windows_switch(struct engine_vcpu *cpu, uint64_t root, bool flush, uint64_t stale);
void windows_invalidate(struct engine_vcpu *cpu, uint64_t linear);
/* A guest-physical page is one of code: nobody writes there any more without a fault. */
void windows_protect(struct windows *w, uint64_t gpa);

#endif
