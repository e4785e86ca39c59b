/* SPDX-License-Identifier: MIT */
/*
 * The interpreter, on a guest that is hostile in all it has: code, tables, registers. An input is
 *
 *	mode	bits 2 to 0: enum bt_guest_mode; 3: level 3; 4: a fault is not delivered, the next
 *		byte of code follows; 5: dirty pages are tracked; 6: interrupts come;
 *		7: at the end the state goes out and in again
 *	place	of the code, 16 bits: from BT_GUEST_CODE, below 0x4000; bit 15: the input is
 *		run twice, with other things on the host's stack
 *	N	bits 5 to 0: changes to the state: a field (enum field) and its value
 *	N	bits 3 to 0: changes to memory: an offset of 24 bits, a length, bytes
 *	code	the rest
 *
 * Behind each instruction what follows from the state is as it says, and no state is impossible.
 * One that faults has changed no general register but of those that go on where they were. At the
 * end no entry of the TLB is of what is not memory.
 */
#include "devices/lapic.h"
#include "tests/fuzz/bt_guest.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/base/checked.h"
#include "vmm/bt/bt.h"
#include "vmm/bt/interp.h"
#include "vmm/bt/system.h"

/* Instructions, and turns of repetitions, of an input; exceptions and interrupts of it. */
#define BUDGET     1000u
#define DELIVERIES 40u
#define SKIPS      160u /* and how many faults may be not delivered */

#define RFLAGS_VALID 0x3f7fd7u

/* The fields that are numbers: 0 to 15 are general registers, then these, then as below. */
static const struct {
	uint16_t offset, size;
} plain[] = {
#define PLAIN(field)                                                                               \
	{                                                                                          \
		offsetof(struct cpu_state, field), sizeof(((struct cpu_state *)0)->field)          \
	}
	PLAIN(rip),
	PLAIN(rflags),
	PLAIN(cr0),
	PLAIN(cr2),
	PLAIN(cr3),
	PLAIN(cr4),
	PLAIN(cr8),
	PLAIN(efer),
	PLAIN(xcr0),
	PLAIN(dr6),
	PLAIN(dr7),
	PLAIN(db[0]),
	PLAIN(db[1]),
	PLAIN(db[2]),
	PLAIN(db[3]),
	PLAIN(gdt.base),
	PLAIN(gdt.limit),
	PLAIN(idt.base),
	PLAIN(idt.limit),
	PLAIN(apic_base),
	PLAIN(events.shadow),
	PLAIN(activity),
	PLAIN(events.nmi_masked),
};
enum field {
	FIELD_PLAIN = CPU_GPRS,
	FIELD_MSR = 0x40,     /* 32 bits of index, 64 of value */
	FIELD_XSAVE = 0x41,   /* 16 bits of offset, 64 of value */
	FIELD_LAPIC = 0x42,   /* 16 bits of offset, 64 of value */
	FIELD_SEGMENT = 0x80, /* and 8 times enum cpu_segment_name, 6: TR, 7: LDT; a part of it */
};

static void segment_change(struct cpu_segment *s, unsigned part, uint64_t value)
{
	switch (part) {
	case 0:
		s->base = value;
		break;
	case 1:
		s->limit = (uint32_t)value;
		break;
	case 2:
		s->selector = (uint16_t)value;
		break;
	case 3:
		s->type = (uint8_t)value;
		break;
	case 4:
		s->dpl = (uint8_t)value;
		break;
	case 5:
		s->s = (uint8_t)value;
		break;
	case 6:
		s->unusable = value & 1;
		s->present = !s->unusable;
		break;
	default:
		s->db = value & 1;
		s->l = value >> 1 & 1;
		s->g = value >> 2 & 1;
		s->avl = (uint8_t)(value >> 3);
		break;
	}
}

static void state_change(struct input *in, struct cpu_state *s)
{
	unsigned field = input_u8(in), index, offset;

	if (field == FIELD_MSR) {
		index = input_u32(in);
		if (s->msr_count < CPU_MSRS_MAX)
			s->msr[s->msr_count++] = (struct cpu_msr){index, input_u64(in)};
	} else if (field == FIELD_XSAVE) {
		offset = input_u16(in) % (CPU_XSAVE_MAX - 8);
		le64_put(s->xsave + offset, input_u64(in));
	} else if (field == FIELD_LAPIC) {
		offset = input_u16(in) % (CPU_LAPIC_SIZE - 8);
		le64_put(s->lapic + offset, input_u64(in));
	} else if (field >= FIELD_SEGMENT) {
		index = field >> 3 & 7;
		segment_change(index == 7   ? &s->ldt
			       : index == 6 ? &s->tr
					    : &s->segment[index],
			       field & 7, input_u64(in));
	} else if (field < FIELD_PLAIN) {
		s->gpr[field] = input_u64(in);
	} else if (field - FIELD_PLAIN < ARRAY_SIZE(plain)) {
		uint64_t value = input_u64(in);

		memcpy((char *)s + plain[field - FIELD_PLAIN].offset, &value,
		       plain[field - FIELD_PLAIN].size);
	}
}

/* What an instruction may find changed if it faults. */
struct before {
	uint64_t gpr[CPU_GPRS], rip, rcx;
	struct cpu_segment segment[CPU_SEGMENTS];
	bool tasks; /* a task switch may be: what faults then is the new task */
};

FUZZ_NO_COVERAGE static void before_note(const struct engine_vcpu *cpu, struct before *b)
{
	memcpy(b->gpr, cpu->gpr, sizeof(b->gpr));
	memcpy(b->segment, cpu->segment, sizeof(b->segment));
	b->rip = cpu->rip;
	b->tasks = cpu->cr0 & CR0_PE && !cpu->long_mode;
}

FUZZ_NO_COVERAGE static void check_segment(const struct cpu_segment *s)
{
	FUZZ_CHECK(s->type < 16 && s->dpl < 4);
	FUZZ_CHECK(s->s < 2 && s->present < 2 && s->avl < 2 && s->l < 2 && s->db < 2 && s->g < 2);
	FUZZ_CHECK(s->unusable < 2);
}

/* What follows from the state is as cpu_mode_update would have it. */
FUZZ_NO_COVERAGE static void check_derived(struct engine_vcpu *cpu)
{
	uint8_t mode = cpu->mode, stack_size = cpu->stack_size, cpl = cpu->cpl;
	uint8_t tlb_mode = cpu->tlb_mode;
	bool long_mode = cpu->long_mode;

	cpu_mode_update(cpu);
	FUZZ_CHECK(cpu->mode == mode && cpu->stack_size == stack_size && cpu->cpl == cpl);
	FUZZ_CHECK(cpu->tlb_mode == tlb_mode && cpu->long_mode == long_mode);
}

FUZZ_NO_COVERAGE static void check(struct engine_vcpu *cpu)
{
	bool paging = cpu->cr0 & CR0_PG;

	check_derived(cpu);
	FUZZ_CHECK(!cpu->transaction.open);
	FUZZ_CHECK(cpu->cpl < 4);
	FUZZ_CHECK(!paging || cpu->cr0 & CR0_PE);
	FUZZ_CHECK(!!(cpu->efer & EFER_LMA) == (paging && cpu->efer & EFER_LME));
	FUZZ_CHECK(!cpu->long_mode || cpu->cr4 & CR4_PAE);
	FUZZ_CHECK(cpu->rflags & RFLAGS_ONE && !(cpu->rflags & ~(uint64_t)RFLAGS_VALID));
	FUZZ_CHECK(!cpu->long_mode || !(cpu->rflags & RFLAGS_VM));
	FUZZ_CHECK(cpu->mode == DECODE_64 || cpu->rip >> 32 == 0);
	for (unsigned i = 0; i < CPU_SEGMENTS; i++)
		check_segment(&cpu->segment[i]);
	check_segment(&cpu->tr);
	check_segment(&cpu->ldt);
	FUZZ_CHECK(is_canonical(cpu->segment[CPU_FS].base));
	FUZZ_CHECK(is_canonical(cpu->segment[CPU_GS].base));
}

/* Repetitions go on where they were. */
FUZZ_NO_COVERAGE static void check_fault(const struct engine_vcpu *cpu, const struct before *b)
{
	if (b->tasks)
		return;
	FUZZ_CHECK(cpu->rip == b->rip);
	for (unsigned i = 0; i < CPU_GPRS; i++)
		if (i != CPU_RCX && i != CPU_RSI && i != CPU_RDI)
			FUZZ_CHECK(cpu->gpr[i] == b->gpr[i]);
	FUZZ_CHECK(memcmp(cpu->segment, b->segment, sizeof(b->segment)) == 0);
}

/* Of each entry, that it is of an address there is, of memory, and of that memory. */
FUZZ_NO_COVERAGE static void check_tlb(struct bt_guest *g)
{
	const struct tlb_entry *entry = &g->cpu->tlb.entry[0][0][0];

	for (unsigned i = 0; i < TLB_MODES * TLB_ACCESSES * TLB_ENTRIES; i++) {
		if (entry[i].tag == TLB_NOTHING)
			continue;
		FUZZ_CHECK(is_canonical(entry[i].tag));
		FUZZ_CHECK(entry[i].host == memory_at(&g->memory, entry[i].gpa, 4096));
	}
}

static void check_state(struct bt_guest *g)
{
	static struct cpu_state out, again;
	struct error err = {0};

	FUZZ_CHECK(bt_engine_ops.vcpu_state_get(g->cpu, &out, &err) == 0);
	FUZZ_CHECK(bt_engine_ops.vcpu_state_set(g->cpu, &out, &err) == 0);
	check(g->cpu);
	FUZZ_CHECK(bt_engine_ops.vcpu_state_get(g->cpu, &again, &err) == 0);
	FUZZ_CHECK(memcmp(&out, &again, offsetof(struct cpu_state, msr_count)) == 0);
	FUZZ_CHECK(out.xsave_size == again.xsave_size);
	FUZZ_CHECK(memcmp(out.xsave, again.xsave, out.xsave_size) == 0);
}

/* An interrupt between two instructions. False: a triple fault. */
static bool interrupt(struct engine_vcpu *cpu, unsigned turn)
{
	int vector = turn & 1 ? 0x20 + (int)(turn >> 1 & 7) : lapic_pending(cpu->lapic);

	if (cpu->shadow || !(cpu->rflags & RFLAGS_IF) || vector < 0)
		return true;
	return interp_deliver(cpu, (unsigned)vector, INTERRUPT_HARDWARE, NO_ERROR_CODE);
}

/* What is behind a step. False: the guest is at an end. */
static bool events(struct engine_vcpu *cpu, bool alive, unsigned *skips, unsigned *deliveries)
{
	if (!alive && *skips) {
		--*skips;
		cpu->rip = (cpu->rip + 1) & (cpu->mode == DECODE_64 ? ~0ull : 0xffffffff);
		alive = true;
	} else if (!alive) {
		alive = interp_deliver_fault(cpu);
		++*deliveries;
		check(cpu);
	}
	if (alive && cpu->debug_pending) {
		alive = interp_deliver_debug(cpu);
		++*deliveries;
		check(cpu);
	}
	return alive && *deliveries < DELIVERIES;
}

/* Of what rCX was counted down by: the interpreter has no more than 4096 turns at a time. */
static unsigned cost(uint64_t turns, unsigned budget)
{
	unsigned n = turns > 1 && turns <= 4096 ? (unsigned)turns : 1;

	return n < budget ? n : budget;
}

FUZZ_NO_COVERAGE static void run(struct engine_vcpu *cpu, unsigned options)
{
	unsigned deliveries = 0, skips = options & 0x10 ? SKIPS : 0;
	bool alive = true;

	for (unsigned budget = BUDGET; alive && !cpu->halted && budget;) {
		uint64_t rcx = cpu->gpr[CPU_RCX];
		struct before before;
		bool ok;

		before_note(cpu, &before);
		atomic_store(&cpu->attention, false);
		ok = interp_run(cpu, 1);
		check(cpu);
		if (!ok)
			check_fault(cpu, &before);
		budget -= cost(rcx - cpu->gpr[CPU_RCX], budget);
		alive = events(cpu, ok, &skips, &deliveries);
		if (alive && options & 0x40 && budget % 8 == 0)
			alive = interrupt(cpu, budget / 8);
	}
}

/* FNV-1a, by words; of what the guest has. */
FUZZ_NO_COVERAGE static uint64_t hash(uint64_t h, const void *bytes, size_t size)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i + 8 <= size; i += 8)
		h = (h ^ le64_get(p + i)) * 0x100000001b3;
	return h;
}

static uint64_t outcome(const struct bt_guest *g)
{
	const struct engine_vcpu *cpu = g->cpu;
	uint64_t h = hash(0xcbf29ce484222325, cpu->gpr, sizeof(cpu->gpr));

	h = hash(h, &cpu->rip, sizeof(cpu->rip));
	h = hash(h, cpu->vector.zmm, sizeof(cpu->vector.zmm));
	h = hash(h, cpu->vector.k, sizeof(cpu->vector.k));
	h = hash(h, cpu->vector.x87, 160);
	for (unsigned i = 0; i < g->memory.count; i++)
		h = hash(h, g->memory.range[i].host, g->memory.range[i].size);
	return h;
}

/* What a function that comes next finds in variables that it does not set. */
__attribute__((noinline)) static void stack_fill(uint8_t value)
{
	volatile uint8_t bytes[32768];

	memset((void *)bytes, value, sizeof(bytes));
}

/* All of an input. How it came out; 0: the state was refused. */
static uint64_t play(struct bt_guest *guest, struct input in, uint8_t fill)
{
	static struct cpu_state state;
	unsigned options = input_u8(&in), place = input_u16(&in) & 0x3fff, changes;
	struct error err = {0};
	uint64_t result;

	bt_guest_reset(guest, options & 7, options & 8, &state);
	state.rip += place;
	for (changes = input_u8(&in) & 63; changes; changes--)
		state_change(&in, &state);
	for (changes = input_u8(&in) & 15; changes; changes--) {
		uint64_t offset = input_number(&in, 3) % (BT_GUEST_LOW + BT_GUEST_HIGH);
		uint8_t bytes[255];
		unsigned length = input_u8(&in);

		input_bytes(&in, bytes, length);
		bt_guest_poke(guest, offset, bytes, length);
	}
	bt_guest_poke(guest, BT_GUEST_CODE + place, in.at, in.left);
	if (bt_engine_ops.vcpu_state_set(guest->cpu, &state, &err))
		return 0;
	check(guest->cpu);
	if (options & 0x20)
		FUZZ_CHECK(bt_engine_ops.dirty_start(guest->vm, &err) == 0);
	stack_fill(fill);
	run(guest->cpu, options);
	check_tlb(guest);
	result = outcome(guest);
	if (options & 0x80)
		check_state(guest);
	bt_engine_ops.dirty_stop(guest->vm);
	return result;
}

/*
 * Nothing of this process may show in the guest: what comes out does not depend on what was on the
 * stack. What a clock or a random number did is not the same again.
 */
static void check_stack(struct bt_guest *guest, struct input in, uint64_t first)
{
	uint64_t second = play(guest, in, 0x55);

	for (unsigned i = 0; i < 8 && first != second; i++)
		if (play(guest, in, 0xaa) != first || play(guest, in, 0x55) != second)
			return;
	FUZZ_CHECK(first == second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct bt_guest *guest;
	struct input in = {data, size};
	uint64_t first;

	if (!guest)
		guest = bt_guest_create(false);
	first = play(guest, in, 0xaa);
	if (size > 2 && data[2] & 0x80)
		check_stack(guest, in, first);
	return 0;
}
