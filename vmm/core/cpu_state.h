/* SPDX-License-Identifier: MIT */
/*
 * The neutral state: all that a guest can observe of its vCPUs and interrupt chips, in terms of
 * the AMD64 and Intel manuals and of no engine. Both engines convert to and from it, which is why
 * a snapshot moves between them. Plain values; a struct of these may be copied.
 */
#ifndef VMM_CORE_CPU_STATE_H
#define VMM_CORE_CPU_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "snapshot/codec.h"

enum cpu_gpr {
	CPU_RAX,
	CPU_RCX,
	CPU_RDX,
	CPU_RBX,
	CPU_RSP,
	CPU_RBP,
	CPU_RSI,
	CPU_RDI,
	CPU_R8,
	CPU_R9,
	CPU_R10,
	CPU_R11,
	CPU_R12,
	CPU_R13,
	CPU_R14,
	CPU_R15,
	CPU_GPRS
};

/* Numbered as the instruction set numbers them. */
enum cpu_segment_name { CPU_ES, CPU_CS, CPU_SS, CPU_DS, CPU_FS, CPU_GS, CPU_SEGMENTS };

struct cpu_segment {
	uint64_t base;
	uint32_t limit; /* in bytes, granularity applied */
	uint16_t selector;
	uint8_t type; /* 4 bits */
	uint8_t s, dpl, present, avl, l, db, g;
	uint8_t unusable;
};

struct cpu_table {
	uint64_t base;
	uint16_t limit;
};

enum cpu_activity {
	CPU_RUNNING,
	CPU_HALTED,
	CPU_WAIT_FOR_INIT, /* an application processor before INIT */
	CPU_WAIT_FOR_SIPI,
};

/* Interrupts wait for one more instruction; after MOV SS and POP SS debug exceptions, too. */
#define CPU_SHADOW_MOV_SS 1u
#define CPU_SHADOW_STI    2u

/* Exceptions and interrupts between recognition and delivery. */
struct cpu_events {
	uint8_t exception_injected, exception_pending, exception_vector, exception_has_error;
	uint32_t exception_error;
	uint8_t exception_has_payload;
	uint64_t exception_payload;
	uint8_t interrupt_injected, interrupt_vector, interrupt_soft;
	uint8_t shadow; /* CPU_SHADOW_x */
	uint8_t nmi_injected, nmi_pending, nmi_masked;
	uint32_t sipi_vector;
};

struct cpu_msr {
	uint32_t index;
	uint64_t value;
};

#define CPU_MSRS_MAX   96
#define CPU_XSAVE_MAX  8192 /* bytes; standard (not compacted) XSAVE format */
#define CPU_LAPIC_SIZE 1024 /* the register page, registers at multiples of 16 */

struct cpu_state {
	uint64_t gpr[CPU_GPRS];
	uint64_t rip, rflags;
	struct cpu_segment segment[CPU_SEGMENTS];
	struct cpu_segment tr, ldt;
	struct cpu_table gdt, idt;
	uint64_t cr0, cr2, cr3, cr4, cr8, efer, apic_base;
	uint64_t db[4], dr6, dr7;
	uint64_t xcr0;
	enum cpu_activity activity;
	struct cpu_events events;
	uint32_t msr_count;
	struct cpu_msr msr[CPU_MSRS_MAX];
	uint8_t lapic[CPU_LAPIC_SIZE];
	uint32_t xsave_size;
	uint8_t xsave[CPU_XSAVE_MAX];
};

/* One 8259. Source: Intel 8259A data sheet. */
struct pic_state {
	uint8_t last_irr, irr, imr, isr, priority_add, irq_base, read_isr, poll, special_mask;
	uint8_t init_state, auto_eoi, rotate_on_auto_eoi, special_fully_nested, init4, elcr;
	uint8_t elcr_mask;
};

#define IOAPIC_PINS 24
struct ioapic_state {
	uint64_t base;
	uint32_t select, id, irr;
	uint64_t redirection[IOAPIC_PINS];
};

/* One channel of the 8254. Times are of the host's monotonic clock, nanoseconds. */
struct pit_channel_state {
	uint32_t count;
	uint16_t latched_count;
	uint8_t count_latched, status_latched, status, read_state, write_state, write_latch;
	uint8_t rw_mode, mode, bcd, gate;
	int64_t load_time;
};

struct chips_state {
	struct pic_state pic[2]; /* master, slave */
	struct ioapic_state ioapic;
	struct pit_channel_state pit[3];
	uint32_t pit_flags;
	uint64_t clock_ns; /* the paravirtual clock */
};

/* As a section of saved state, both ways. Loading fills in all fields that an engine sets. */
void cpu_state_code(struct cpu_state *state, unsigned index, struct codec *codec);
void chips_state_code(struct chips_state *state, struct codec *codec);

#endif
