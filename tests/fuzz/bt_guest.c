/* SPDX-License-Identifier: MIT */
/* A small guest of engine bt: its board, its memory, and a vCPU's state in each mode. */
#include "tests/fuzz/bt_guest.h"

#include "devices/lapic.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/base/checked.h"
#include "vmm/bt/bt.h"
#include "vmm/bt/fpu.h"
#include "vmm/bt/segment.h"
#include "vmm/bt/system.h"

/* Where things are. Page tables: of the first 2 MiB, of 3 to 4 GiB, of the last 2 MiB. */
#define PAGE_ROOT    0x1000u /* PML4, PDPT of PAE at 0x2000, or page directory of 32 bits */
#define PAGE_POINTER 0x2000u
#define PAGE_LOW     0x3000u
#define PAGE_LOW_PT  0x4000u
#define PAGE_TOP     0x5000u
#define PAGE_TOP_PT  0x6000u
#define PAGE_HIGH    0x7000u /* the last entry of the PML4 */
#define GDT          0x8000u
#define GDT_LIMIT    0xffu
#define LDT          0x8400u
#define LDT_LIMIT    0x1fu
#define TSS          0x8800u
#define TSS_OTHER    0x8900u
#define TSS_16       0x8a00u
#define TSS_LIMIT    0x88u
#define IDT          0x9000u
#define HANDLER      0xa000u /* returns */
#define HANDLER_CODE 0xa010u /* returns, of those with an error code */
#define HANDLER_REAL 0x0800u
#define DATA         0xb000u
#define STACK_0      0x15000u
#define STACK        0x17ff0u
#define STACK_USER   0x19ff0u

enum selectors {
	CODE_32 = 0x08,
	DATA_32 = 0x10,
	CODE_16 = 0x18,
	DATA_16 = 0x20,
	CODE_64 = 0x28,
	CODE_32_USER = 0x33,
	DATA_USER = 0x3b,
	CODE_64_USER = 0x43,
	TASK = 0x48,
	TASK_OTHER = 0x58,
	TASK_16 = 0x60,
	LOCAL = 0x68,
	GATE = 0x78,
	GATE_TASK = 0x88,
	CODE_CONFORMING = 0x90,
	GATE_16 = 0x98,
	DATA_DOWN = 0xa0,
	CODE_32_LEVEL_1 = 0xa9,
	DATA_LEVEL_1 = 0xb1,
	NOT_PRESENT = 0xb8,
};

/* Descriptors. `flags`: G, D/B, L, AVL in bits 3 to 0. */
static uint64_t descriptor(uint32_t base, uint32_t limit, unsigned access, unsigned flags)
{
	return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)access << 40 |
	       (uint64_t)(limit >> 16 & 15) << 48 | (uint64_t)flags << 52 |
	       (uint64_t)(base >> 24) << 56;
}

static uint64_t gate(unsigned selector, uint32_t offset, unsigned access, unsigned ist)
{
	return (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)ist << 32 |
	       (uint64_t)access << 40 | (uint64_t)(offset >> 16) << 48;
}

static void put(struct bt_guest *g, uint32_t at, unsigned size, uint64_t value)
{
	le_put(g->memory.range[0].host + at, size, value);
}

static void tables_make(struct bt_guest *g, bool wide)
{
	const struct {
		unsigned selector;
		uint64_t value;
	} rows[] = {
		{CODE_32, descriptor(0, 0xfffff, 0x9b, 0xc)},
		{DATA_32, descriptor(0, 0xfffff, 0x93, 0xc)},
		{CODE_16, descriptor(BT_GUEST_CODE, 0xffff, 0x9b, 0)},
		{DATA_16, descriptor(0xb000, 0xffff, 0x93, 0)},
		{CODE_64, descriptor(0, 0xfffff, 0x9b, 0xa)},
		{CODE_32_USER, descriptor(0, 0xfffff, 0xfb, 0xc)},
		{DATA_USER, descriptor(0, 0xfffff, 0xf3, 0xc)},
		{CODE_64_USER, descriptor(0, 0xfffff, 0xfb, 0xa)},
		{TASK, descriptor(TSS, TSS_LIMIT, 0x8b, 0)},
		{TASK_OTHER, descriptor(TSS_OTHER, TSS_LIMIT, 0x89, 0)},
		{TASK_16, descriptor(TSS_16, 43, 0x81, 0)},
		{LOCAL, descriptor(LDT, LDT_LIMIT, 0x82, 0)},
		{GATE, gate(wide ? CODE_64 : CODE_32, BT_GUEST_CODE, 0xec, wide ? 0 : 2)},
		{GATE_TASK, gate(TASK_OTHER, 0, 0xe5, 0)},
		{CODE_CONFORMING, descriptor(0, 0xfffff, 0x9f, 0xc)},
		{GATE_16, gate(CODE_16, 0, 0xe4, 1)},
		{DATA_DOWN, descriptor(0, 0xf, 0x97, 0xc)},
		{CODE_32_LEVEL_1, descriptor(0, 0xfffff, 0xbb, 0xc)},
		{DATA_LEVEL_1, descriptor(0, 0xfffff, 0xb3, 0xc)},
		{NOT_PRESENT, descriptor(0, 0xfffff, 0x13, 0xc)},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		put(g, GDT + (rows[i].selector & ~7u), 8, rows[i].value);
	put(g, LDT, 8, descriptor(0, 0xfffff, 0xfb, 0xc));
	put(g, LDT + 8, 8, descriptor(0xb000, 0xfff, 0xf3, 0x4));
}

static bool has_error_code(unsigned vector)
{
	return vector == EXCEPTION_DF || vector == EXCEPTION_AC ||
	       (vector >= EXCEPTION_TS && vector <= EXCEPTION_PF);
}

/* Users may call 3, 4 and 0x80; 0x20 is a task, 0x21 goes to level 1. */
static void idt_make(struct bt_guest *g, enum bt_guest_mode mode)
{
	bool wide = mode >= BT_GUEST_LONG, narrow = mode == BT_GUEST_16;

	for (unsigned i = 0; i < 256; i++) {
		unsigned level = i == 3 || i == 4 || i == 0x80 ? 0x60 : 0;
		unsigned ist = wide && (i == 2 || i == 8) ? i / 2 : 0;
		uint32_t offset = has_error_code(i) ? HANDLER_CODE : HANDLER;
		uint64_t low = gate(wide ? CODE_64 : CODE_32, offset,
				    0x80 | level | (narrow && i & 1 ? 6 : 14), ist);

		if (i == 0x20 && !wide)
			low = gate(TASK_OTHER, 0, 0x85, 0);
		if (i == 0x21 && !wide)
			low = gate(CODE_32_LEVEL_1, offset, 0xef, 0);
		put(g, IDT + i * (wide ? 16 : 8), 8, low);
		put(g, i * 4, 4, HANDLER_REAL);
	}
}

static void handlers_make(struct bt_guest *g, bool wide)
{
	/* add esp, 4; iret */
	static const uint8_t code_32[] = {0x83, 0xc4, 0x04, 0xcf};
	static const uint8_t code_64[] = {0x48, 0x83, 0xc4, 0x08, 0x48, 0xcf};
	uint8_t *host = g->memory.range[0].host;

	host[HANDLER_REAL] = 0xcf;
	memcpy(host + HANDLER, wide ? code_64 + 4 : code_32 + 3, wide ? 2 : 1);
	memcpy(host + HANDLER_CODE, wide ? code_64 : code_32, wide ? 6 : 4);
	memset(host + BT_GUEST_CODE, 0xf4, 0x4000);
}

/* Stacks of the levels, and two tasks besides to switch to. */
static void tasks_make(struct bt_guest *g, bool wide)
{
	static const unsigned data[] = {72, 80, 84, 88, 92}; /* ES, SS, DS, FS, GS */

	for (unsigned i = 0; wide && i < 10; i++)
		put(g, TSS + 4 + 8 * i, 8, STACK_0 - 0x100 * i);
	for (unsigned i = 0; !wide && i < 3; i++) {
		put(g, TSS + 4 + 8 * i, 4, STACK_0 - 0x100 * i);
		put(g, TSS + 8 + 8 * i, 2, i == 1 ? DATA_LEVEL_1 : DATA_32);
	}
	put(g, TSS, 2, TASK_OTHER);
	put(g, TSS + 102, 2, 104);
	put(g, TSS_OTHER + 28, 4, PAGE_ROOT);
	put(g, TSS_OTHER + 32, 4, BT_GUEST_CODE);
	put(g, TSS_OTHER + 36, 4, RFLAGS_ONE);
	put(g, TSS_OTHER + 56, 4, STACK);
	put(g, TSS_OTHER + 76, 4, CODE_32);
	for (unsigned i = 0; i < ARRAY_SIZE(data); i++)
		put(g, TSS_OTHER + data[i], 4, DATA_32);
	put(g, TSS_OTHER + 96, 4, LOCAL);
	put(g, TSS_16 + 16, 2, RFLAGS_ONE);
	put(g, TSS_16 + 26, 2, 0x1000);
	put(g, TSS_16 + 36, 2, CODE_16);
	for (unsigned i = 34; i < 42; i += 2)
		put(g, TSS_16 + i, 2, i == 36 ? CODE_16 : DATA_16);
}

/* What the pages of the first 2 MiB are: flags of an entry, and where if elsewhere. */
static uint64_t page_of(unsigned page, bool wide)
{
	switch (page) {
	case 0xd: /* to be read only */
		return 0xd005;
	case 0xe: /* no code */
		return 0xe007 | (wide ? 1ull << 63 : 0);
	case 0xf: /* not there */
		return 0;
	case 0x1d: /* for the supervisor, to be read only */
		return 0x1d001;
	case 0x20:
		return BT_GUEST_DEVICE | 7;
	case 0x21:
		return LAPIC_BASE | 7;
	case 0x22:
		return BT_GUEST_LOW | 7;
	case 0x23:
		return wide ? MEMORY_HOLE_END | 7 : 0;
	case 0x24:
		return wide ? (MEMORY_HOLE_END + 0x1000) | 7 : 0;
	case 0x25:
		return (BT_GUEST_LOW - 0x1000) | 7;
	case 0x26:
		return 0xfec00007;
	default:
		return (uint64_t)page << 12 | (page < 0xa ? 3 : page < 0x27 ? 7 : 0);
	}
}

/* The local APIC's 2 MiB page and the last 2 MiB, which wrap to the first. */
static void paging_make(struct bt_guest *g, enum bt_guest_mode mode)
{
	bool wide = mode >= BT_GUEST_LONG || mode == BT_GUEST_PAE;
	unsigned bytes = wide ? 8 : 4;

	for (unsigned i = 0; i < 0x40; i++) {
		put(g, PAGE_LOW_PT + i * bytes, bytes, page_of(i, wide));
		put(g, PAGE_TOP_PT + ((wide ? 512 : 1024) - 0x40 + i) * bytes, bytes,
		    0x10007 + (i & 15) * 0x1000);
	}
	if (!wide) {
		put(g, PAGE_ROOT, 4, PAGE_LOW_PT | 7);
		put(g, PAGE_ROOT + 1023 * 4, 4, PAGE_TOP_PT | 7);
		put(g, PAGE_ROOT + (LAPIC_BASE >> 22) * 4, 4, (LAPIC_BASE & 0xffc00000) | 0x87);
		return;
	}
	put(g, PAGE_ROOT, 8, PAGE_POINTER | 7);
	put(g, PAGE_ROOT + 255 * 8, 8, PAGE_HIGH | 7);
	put(g, PAGE_ROOT + 511 * 8, 8, PAGE_HIGH | 7);
	put(g, PAGE_HIGH + 511 * 8, 8, PAGE_TOP | 7);
	put(g, PAGE_POINTER, 8, PAGE_LOW | (mode == BT_GUEST_PAE ? 1 : 7));
	put(g, PAGE_POINTER + 3 * 8, 8, PAGE_TOP | (mode == BT_GUEST_PAE ? 1 : 7));
	put(g, PAGE_LOW, 8, PAGE_LOW_PT | 7);
	put(g, PAGE_LOW + 8, 8, 0x87); /* once more, large */
	put(g, PAGE_TOP + (LAPIC_BASE >> 21 & 511) * 8, 8, LAPIC_BASE | 0x87);
	put(g, PAGE_TOP + 511 * 8, 8, PAGE_TOP_PT | 7);
}

/* The vCPU. */

static void segment_set(struct bt_guest *g, struct cpu_segment *s, unsigned selector)
{
	uint64_t low = le64_get(g->memory.range[0].host + GDT + (selector & ~7u));

	*s = segment_of((uint16_t)selector, low);
}

static void segments_set(struct bt_guest *g, struct cpu_state *s, enum bt_guest_mode mode,
			 bool user)
{
	unsigned code = user ? CODE_32_USER : CODE_32, data = user ? DATA_USER : DATA_32;

	if (mode == BT_GUEST_LONG)
		code = user ? CODE_64_USER : CODE_64;
	if (mode == BT_GUEST_16)
		code = CODE_16, data = DATA_16;
	for (unsigned i = 0; i < CPU_SEGMENTS; i++)
		segment_set(g, &s->segment[i], i == CPU_CS ? code : data);
	segment_set(g, &s->tr, TASK);
	segment_set(g, &s->ldt, LOCAL);
}

static void segments_set_real(struct cpu_state *s, bool v86)
{
	for (unsigned i = 0; i < CPU_SEGMENTS; i++) {
		uint16_t selector = i == CPU_CS ? BT_GUEST_CODE >> 4 : i == CPU_SS ? 0x1400 : 0xb00;

		s->segment[i] = (struct cpu_segment){.selector = selector,
						     .base = (uint64_t)selector << 4,
						     .limit = 0xffff,
						     .type = 3,
						     .s = 1,
						     .present = 1,
						     .dpl = v86 ? 3 : 0};
	}
}

static void registers_set(struct cpu_state *s, bool wide, bool user)
{
	static const uint64_t gpr[CPU_GPRS] = {
		[CPU_RAX] = 0x8000000041424344,
		[CPU_RCX] = 9,
		[CPU_RDX] = BT_GUEST_PORT,
		[CPU_RBX] = DATA,
		[CPU_RBP] = 0x17fe0,
		[CPU_RSI] = 0xcffc,
		[CPU_RDI] = 0x1fff8,
		[CPU_R8] = 0x1fffc,
		[CPU_R9] = 0x20000,
		[CPU_R10] = 0x21fff,
		[CPU_R11] = 0x202,
		[CPU_R12] = 0x7ffffffffffc,
		[CPU_R13] = ~7ull,
		[CPU_R14] = 0xcfff,
		[CPU_R15] = 0x800000000000,
	};

	for (unsigned i = 0; i < CPU_GPRS; i++)
		s->gpr[i] = wide ? gpr[i] : (uint32_t)gpr[i];
	s->gpr[CPU_RSP] = user ? STACK_USER : STACK;
}

static void control_set(struct cpu_state *s, enum bt_guest_mode mode)
{
	s->cr0 = CR0_ET | CR0_NE | CR0_WP;
	s->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_PSE | CR4_PGE;
	s->cr3 = mode == BT_GUEST_PAE ? PAGE_POINTER : PAGE_ROOT;
	if (mode != BT_GUEST_REAL)
		s->cr0 |= CR0_PE;
	if (mode >= BT_GUEST_32)
		s->cr0 |= CR0_PG;
	if (mode == BT_GUEST_PAE || mode >= BT_GUEST_LONG) {
		s->cr4 |= CR4_PAE | CR4_FSGSBASE;
		s->efer = EFER_NXE | EFER_SCE;
	}
	if (mode >= BT_GUEST_LONG)
		s->efer |= EFER_LME | EFER_LMA;
}

static void msr_set(struct cpu_state *s, uint32_t index, uint64_t value)
{
	for (unsigned i = 0; i < s->msr_count; i++)
		if (s->msr[i].index == index)
			s->msr[i].value = value;
}

static void state_make(struct bt_guest *g, enum bt_guest_mode mode, bool user, struct cpu_state *s)
{
	bool wide = mode == BT_GUEST_LONG;

	*s = g->first;
	control_set(s, mode);
	user &= mode >= BT_GUEST_FLAT;
	registers_set(s, wide, user);
	if (mode == BT_GUEST_REAL || mode == BT_GUEST_V86) {
		segments_set_real(s, mode == BT_GUEST_V86);
		s->gpr[CPU_RSP] = 0x3ff0;
		s->gpr[CPU_RSI] = 0x1ffc;
		s->gpr[CPU_RDI] = 0xfffc;
		if (mode == BT_GUEST_V86) {
			s->rflags |= RFLAGS_VM | (user ? 0 : RFLAGS_IOPL);
			segment_set(g, &s->tr, TASK);
		}
	} else {
		segments_set(g, s, mode, user);
	}
	s->rip = mode == BT_GUEST_REAL || mode == BT_GUEST_V86 || mode == BT_GUEST_16
			 ? 0
			 : BT_GUEST_CODE;
	s->gdt = (struct cpu_table){.base = GDT, .limit = GDT_LIMIT};
	s->idt = (struct cpu_table){.base = mode == BT_GUEST_REAL ? 0 : IDT, .limit = 0xfff};
	s->xcr0 = fpu_xcr0_supported(g->cpu);
	msr_set(s, 0x174, CODE_32);
	msr_set(s, 0x175, STACK_0);
	msr_set(s, 0x176, HANDLER);
	msr_set(s, 0xc0000081, (uint64_t)DATA_32 << 48 | (uint64_t)CODE_32 << 32 | HANDLER);
	msr_set(s, 0xc0000082, HANDLER);
	msr_set(s, 0xc0000083, HANDLER);
}

/* The board. */

static uint64_t device_read(void *device, uint64_t offset, unsigned size)
{
	const uint8_t *bytes = device;

	FUZZ_CHECK(size == 1 || size == 2 || size == 4 || size == 8);
	return le64_get(bytes) + offset;
}

static void device_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	FUZZ_CHECK(size == 1 || size == 2 || size == 4 || size == 8);
	FUZZ_CHECK(size == 8 || value >> 8 * size == 0);
	le64_put(device, value + offset);
}

static const struct bus_ops device_ops = {.read = device_read, .write = device_write};

/* On the heap, where a sanitizer sees what is written beside it. */
static void memory_make(struct guest_memory *memory)
{
	memory->fd = -1;
	memory->size = BT_GUEST_LOW + BT_GUEST_HIGH;
	memory->count = 2;
	memory->range[0] = (struct memory_range){.size = BT_GUEST_LOW};
	memory->range[1] = (struct memory_range){.base = MEMORY_HOLE_END, .size = BT_GUEST_HIGH};
	for (unsigned i = 0; i < memory->count; i++) {
		memory->range[i].host = aligned_alloc(4096, memory->range[i].size);
		FUZZ_CHECK(memory->range[i].host);
	}
}

struct bt_guest *bt_guest_create(bool check)
{
	struct bt_guest *g = calloc(1, sizeof(*g));
	const struct engine_ops *ops = &bt_engine_ops;
	struct vm_config config = {.vcpus = 1,
				   .translation = check ? TRANSLATION_CHECKED : TRANSLATION_NONE};
	struct cpuid_table cpuid;
	struct error err = {0};

	FUZZ_CHECK(g && bus_create(&g->pio) == 0 && bus_create(&g->mmio) == 0);
	memory_make(&g->memory);
	config.memory = &g->memory;
	config.pio = g->pio;
	config.mmio = g->mmio;
	FUZZ_CHECK(ops->cpuid_supported(&cpuid, &err) == 0);
	FUZZ_CHECK(ops->vm_create(&config, &g->vm, &err) == 0);
	FUZZ_CHECK(ops->vcpu_create(g->vm, 0, &cpuid, &g->cpu, &err) == 0);
	FUZZ_CHECK(bus_add(g->pio, BT_GUEST_PORT, 0x100, &device_ops, g->device) == 0);
	FUZZ_CHECK(bus_add(g->mmio, BT_GUEST_DEVICE, 0x1000, &device_ops, g->device) == 0);
	/* Right behind memory, so that an access may begin in one and end in the other. */
	FUZZ_CHECK(bus_add(g->mmio, BT_GUEST_LOW, 0x800, &device_ops, g->device) == 0);
	FUZZ_CHECK(ops->vcpu_state_get(g->cpu, &g->first, &err) == 0);
	FUZZ_CHECK(ops->chips_state_get(g->vm, &g->chips, &err) == 0);
	/* The clock's MSRs are 0: their structures are not at address 0. */
	memset(g->memory.range[0].host, 0, BT_GUEST_LOW);
	FUZZ_CHECK(ops->vcpu_state_set(g->cpu, &g->first, &err) == 0);
	for (unsigned i = 0; i < 64; i++)
		FUZZ_CHECK(g->memory.range[0].host[i] == 0);
	return g;
}

/* What is no part of the neutral state. */
static void pending_forget(struct engine_vcpu *cpu)
{
	atomic_store(&cpu->attention, false);
	atomic_store(&cpu->kicked, false);
	atomic_store(&cpu->nmi_pending, false);
	atomic_store(&cpu->init_pending, false);
	atomic_store(&cpu->sipi_vector, -1);
}

/* What memory is in a mode: made once. */
static void image_make(struct bt_guest *g, enum bt_guest_mode mode)
{
	uint8_t *host = g->memory.range[0].host;

	memset(host, 0, BT_GUEST_LOW);
	tables_make(g, mode >= BT_GUEST_LONG);
	idt_make(g, mode);
	handlers_make(g, mode >= BT_GUEST_LONG);
	tasks_make(g, mode >= BT_GUEST_LONG);
	paging_make(g, mode);
	g->image[mode] = malloc(BT_GUEST_LOW);
	FUZZ_CHECK(g->image[mode]);
	memcpy(g->image[mode], host, BT_GUEST_LOW);
}

void bt_guest_reset(struct bt_guest *g, enum bt_guest_mode mode, bool user, struct cpu_state *state)
{
	struct error err = {0};

	if (!g->image[mode])
		image_make(g, mode);
	memcpy(g->memory.range[0].host, g->image[mode], BT_GUEST_LOW);
	memset(g->memory.range[1].host, 0, BT_GUEST_HIGH);
	memset(g->device, 0, sizeof(g->device));
	FUZZ_CHECK(bt_engine_ops.chips_state_set(g->vm, &g->chips, &err) == 0);
	lapic_reset(g->cpu->lapic);
	pending_forget(g->cpu);
	state_make(g, mode, user, state);
}

FUZZ_NO_COVERAGE void bt_guest_poke(struct bt_guest *g, uint64_t offset, const uint8_t *bytes,
				    size_t size)
{
	for (size_t i = 0; i < size; i++, offset++) {
		if (offset < BT_GUEST_LOW)
			g->memory.range[0].host[offset] = bytes[i];
		else if (offset - BT_GUEST_LOW < BT_GUEST_HIGH)
			g->memory.range[1].host[offset - BT_GUEST_LOW] = bytes[i];
	}
}
