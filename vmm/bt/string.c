/* SPDX-License-Identifier: MIT */
/*
 * String instructions. One element a time, registers committed after each, so that a fault or an
 * interrupt in the middle of a repetition finds the guest at a boundary. A repetition runs for some
 * elements and then lets the run loop look at interrupts: RIP stays on it until it is done. MOVS
 * and STOS go by pages where nothing can be seen of that: upwards, in memory, without overlap.
 */
#include "vmm/bt/guest_bytes.h"
#include "vmm/bt/handlers.h"
#include "vmm/bt/operand.h"

/* Elements between two looks at interrupts; under a debugger it is one. */
#define TURN 4096u

struct string {
	struct engine_vcpu *cpu;
	const struct insn *insn;
	unsigned size;  /* of an element */
	unsigned width; /* of the address registers */
	int64_t step;   /* size or -size, by DF */
	/* Optional: carry out several; how many. */
	uint64_t (*many)(const struct string *s, uint64_t count);
};

static struct string string_of(struct engine_vcpu *cpu, const struct insn *insn, unsigned size)
{
	return (struct string){.cpu = cpu,
			       .insn = insn,
			       .size = size,
			       .width = insn->address_size,
			       .step = cpu->rflags & RFLAGS_DF ? -(int64_t)size : (int64_t)size};
}

static uint64_t source_linear(const struct string *s)
{
	return segment_linear(s->cpu, s->insn->memory.segment, gpr_get(s->cpu, CPU_RSI, s->width),
			      s->size, false);
}

static uint64_t target_linear(const struct string *s, bool write)
{
	return segment_linear(s->cpu, CPU_ES, gpr_get(s->cpu, CPU_RDI, s->width), s->size, write);
}

static void advance(const struct string *s, unsigned reg)
{
	gpr_set(s->cpu, reg, s->width, s->cpu->gpr[reg] + (uint64_t)s->step);
}

static void movs_one(const struct string *s)
{
	struct engine_vcpu *cpu = s->cpu;
	uint64_t value = linear_read(cpu, source_linear(s), s->size);

	linear_write(cpu, target_linear(s, true), s->size, value);
	advance(s, CPU_RSI);
	advance(s, CPU_RDI);
}

static void stos_one(const struct string *s)
{
	linear_write(s->cpu, target_linear(s, true), s->size, s->cpu->gpr[CPU_RAX]);
	advance(s, CPU_RDI);
}

static void lods_one(const struct string *s)
{
	gpr_set(s->cpu, CPU_RAX, s->size, linear_read(s->cpu, source_linear(s), s->size));
	advance(s, CPU_RSI);
}

static void flags_compare(struct engine_vcpu *cpu, uint64_t a, uint64_t b, unsigned size)
{
	uint16_t flags = alu_flags_pack(cpu->rflags);

	alu_cmp(a, b, size, &flags);
	cpu->rflags = alu_flags_unpack(cpu->rflags, flags);
}

static void cmps_one(const struct string *s)
{
	struct engine_vcpu *cpu = s->cpu;
	uint64_t a = linear_read(cpu, source_linear(s), s->size);
	uint64_t b = linear_read(cpu, target_linear(s, false), s->size);

	flags_compare(cpu, a, b, s->size);
	advance(s, CPU_RSI);
	advance(s, CPU_RDI);
}

static void scas_one(const struct string *s)
{
	struct engine_vcpu *cpu = s->cpu;
	uint64_t b = linear_read(cpu, target_linear(s, false), s->size);

	flags_compare(cpu, cpu->gpr[CPU_RAX], b, s->size);
	advance(s, CPU_RDI);
}

/* Memory is probed before a device is read: what it gave must not be lost. */
static void ins_one(const struct string *s)
{
	struct engine_vcpu *cpu = s->cpu;
	uint16_t port = (uint16_t)cpu->gpr[CPU_RDX];
	uint64_t linear = target_linear(s, true);

	linear_probe_write(cpu, linear, s->size);
	linear_write(cpu, linear, s->size, port_read(cpu, port, s->size));
	advance(s, CPU_RDI);
}

static void outs_one(const struct string *s)
{
	struct engine_vcpu *cpu = s->cpu;
	uint16_t port = (uint16_t)cpu->gpr[CPU_RDX];

	port_write(cpu, port, s->size, linear_read(cpu, source_linear(s), s->size));
	advance(s, CPU_RSI);
}

/* Does REPE or REPNE end here? Only of those that compare. */
static bool repetition_ends(const struct string *s)
{
	bool zero = s->cpu->rflags & RFLAGS_ZF;

	if (!(s->insn->opcode->attributes & A_REPC))
		return false;
	return zero != (s->insn->repeat == INSN_REPEAT_E);
}

/* Elements from `linear` to the end of its page. */
static uint64_t to_page_end(const struct string *s, uint64_t linear)
{
	return (4096 - (linear & 4095)) / s->size;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Segments that check nothing within a page. */
static bool is_flat(const struct engine_vcpu *cpu, unsigned segment)
{
	const struct cpu_segment *s = &cpu->segment[segment];

	return cpu->mode == DECODE_64 || (s->limit == ~0u && s->base == 0 && !s->unusable);
}

/* Several elements at once, fewer than `count` perhaps; 0: it must go by one. */
static uint64_t movs_many(const struct string *s, uint64_t count)
{
	struct engine_vcpu *cpu = s->cpu;
	uint64_t source, target;
	uint8_t *from, *to;

	if (s->step < 0 || !is_flat(cpu, s->insn->memory.segment) || !is_flat(cpu, CPU_ES))
		return 0;
	/* What the source faults with comes before all of the target's. */
	source = source_linear(s);
	count = least(count, to_page_end(s, source));
	from = count < 2 ? NULL : linear_host(cpu, source, (unsigned)(count * s->size), TLB_READ);
	if (!from)
		return 0;
	target = target_linear(s, true);
	count = least(count, to_page_end(s, target));
	to = count < 2 ? NULL : linear_host(cpu, target, (unsigned)(count * s->size), TLB_WRITE);
	/* Upwards into itself it repeats a pattern, which memcpy does not. */
	if (!to || (to > from && to < from + count * s->size))
		return 0;
	guest_move(to, from, (unsigned)(count * s->size));
	gpr_set(cpu, CPU_RSI, s->width, cpu->gpr[CPU_RSI] + count * s->size);
	gpr_set(cpu, CPU_RDI, s->width, cpu->gpr[CPU_RDI] + count * s->size);
	return count;
}

static uint64_t stos_many(const struct string *s, uint64_t count)
{
	struct engine_vcpu *cpu = s->cpu;
	uint64_t target;
	uint8_t *to;

	if (s->step < 0 || !is_flat(cpu, CPU_ES))
		return 0;
	target = target_linear(s, true);
	count = least(count, to_page_end(s, target));
	to = count < 2 ? NULL : linear_host(cpu, target, (unsigned)(count * s->size), TLB_WRITE);
	if (!to)
		return 0;
	if (s->size == 1)
		guest_fill(to, (uint8_t)cpu->gpr[CPU_RAX], (unsigned)count);
	else
		for (uint64_t i = 0; i < count; i++)
			guest_store(to + i * s->size, s->size, cpu->gpr[CPU_RAX]);
	gpr_set(cpu, CPU_RDI, s->width, cpu->gpr[CPU_RDI] + count * s->size);
	return count;
}

static void repeat(const struct string *s, void (*one)(const struct string *s))
{
	struct engine_vcpu *cpu = s->cpu;
	bool debugged = cpu->stepping || cpu->checks & ~(unsigned)CHECK_CODE;

	if (!s->insn->repeat) {
		one(s);
		return;
	}
	for (unsigned i = 0; i < (debugged ? 1 : TURN); i++) {
		uint64_t count = gpr_get(cpu, CPU_RCX, s->width), done = 0;

		if (count == 0)
			return;
		if (s->many && !debugged)
			done = s->many(s, count);
		if (done == 0) {
			one(s);
			done = 1;
		}
		gpr_set(cpu, CPU_RCX, s->width, count - done);
		if (count == done || repetition_ends(s))
			return;
		/* A page counts for as much as it has. */
		i += (unsigned)done - 1;
	}
	cpu->next_rip = cpu->rip; /* to be continued */
	cpu->rflags |= RFLAGS_RF; /* its breakpoint was met */
}

void do_movs(struct engine_vcpu *cpu, const struct insn *insn)
{
	struct string s = string_of(cpu, insn, insn->operand[0].size);

	s.many = movs_many;
	repeat(&s, movs_one);
}

void do_stos(struct engine_vcpu *cpu, const struct insn *insn)
{
	struct string s = string_of(cpu, insn, insn->operand[0].size);

	s.many = stos_many;
	repeat(&s, stos_one);
}

void do_lods(struct engine_vcpu *cpu, const struct insn *insn)
{
	struct string s = string_of(cpu, insn, insn->operand[1].size);

	repeat(&s, lods_one);
}

void do_cmps(struct engine_vcpu *cpu, const struct insn *insn)
{
	struct string s = string_of(cpu, insn, insn->operand[0].size);

	repeat(&s, cmps_one);
}

void do_scas(struct engine_vcpu *cpu, const struct insn *insn)
{
	struct string s = string_of(cpu, insn, insn->operand[1].size);

	repeat(&s, scas_one);
}

void do_ins(struct engine_vcpu *cpu, const struct insn *insn)
{
	struct string s = string_of(cpu, insn, insn->operand[0].size);

	/* The port is checked even if there is nothing to repeat. */
	port_check(cpu, (uint16_t)cpu->gpr[CPU_RDX], s.size);
	repeat(&s, ins_one);
}

void do_outs(struct engine_vcpu *cpu, const struct insn *insn)
{
	struct string s = string_of(cpu, insn, insn->operand[1].size);

	port_check(cpu, (uint16_t)cpu->gpr[CPU_RDX], s.size);
	repeat(&s, outs_one);
}
