/* SPDX-License-Identifier: MIT */
/*
 * A small guest of engine bt for fuzz_interp and fuzz_translate: one vCPU with its chips, a device,
 * and memory with tables for each mode of the processor. Made once; an input starts it afresh.
 */
#ifndef TESTS_FUZZ_BT_GUEST_H
#define TESTS_FUZZ_BT_GUEST_H

#include "vmm/bt/bt_impl.h"

/*
 * Memory, guest-physical: 0 to LOW, and HIGH from 4 GiB on. Linear addresses are the same up to
 * LOW, but for the pages below BT_GUEST_LOW that bt_guest.c names; behind it are a device's page,
 * the local APIC's, what has no memory, HIGH, an alias of LOW's last page, and the I/O APIC's.
 */
#define BT_GUEST_LOW    0x20000ull
#define BT_GUEST_HIGH   0x2000ull
#define BT_GUEST_CODE   0x10000ull /* four pages, HLT throughout */
#define BT_GUEST_DEVICE 0xd0000000ull
#define BT_GUEST_PORT   0x100u

enum bt_guest_mode {
	BT_GUEST_REAL,
	BT_GUEST_16,   /* protected, segments of 16 bits */
	BT_GUEST_FLAT, /* 32 bits without paging */
	BT_GUEST_32,   /* 32-bit paging */
	BT_GUEST_PAE,
	BT_GUEST_V86,
	BT_GUEST_LONG,
	BT_GUEST_COMPATIBILITY,
	BT_GUEST_MODES
};

struct bt_guest {
	struct guest_memory memory;
	struct bus *pio, *mmio;
	struct engine_vm *vm;
	struct engine_vcpu *cpu;
	struct cpu_state first; /* as at power-on */
	struct chips_state chips;
	uint8_t *image[BT_GUEST_MODES]; /* of LOW */
	uint8_t device[8];              /* what was written to it last */
};

/* `check`: translated, and held against the interpreter. */
struct bt_guest *bt_guest_create(bool check);

/*
 * Memory and chips as at the beginning. `state` is the vCPU's in `mode`, at level 3 if `user` and
 * the mode has levels, for the caller to change and set.
 */
void bt_guest_reset(struct bt_guest *guest, enum bt_guest_mode mode, bool user,
		    struct cpu_state *state);

/* `size` bytes at an offset into LOW and, behind it, HIGH; cut where they end. */
void bt_guest_poke(struct bt_guest *guest, uint64_t offset, const uint8_t *bytes, size_t size);

#endif
