/* SPDX-License-Identifier: MIT */
/*
 * Operands. Segmentation follows SDM vol. 3, 5.3 and 5.8.3.1: in 64-bit mode only FS and GS have a
 * base and addresses must be canonical; elsewhere limits and types are checked.
 */
#include "vmm/bt/operand.h"

#include <pthread.h>
#include <string.h>

#include "vmm/base/bytes.h"
#include "vmm/bt/guest_bytes.h"

#define ACCESS_DOWN 4u /* expand-down data */
#define TYPE_CODE   8u
#define TYPE_WRITE  2u /* of data; of code: readable */

/* Locked accesses that cross a page, or meet a device, exclude one another. */
static pthread_mutex_t split_lock = PTHREAD_MUTEX_INITIALIZER;

uint64_t operand_offset(const struct engine_vcpu *cpu, const struct insn *insn)
{
	const struct insn_memory *m = &insn->memory;
	uint64_t offset = (uint64_t)m->displacement;

	if (m->base == INSN_RIP)
		offset += cpu->next_rip;
	else if (m->base != INSN_NO_REGISTER)
		offset += cpu->gpr[m->base];
	if (m->index != INSN_NO_REGISTER)
		offset += cpu->gpr[m->index] * m->scale;
	return offset & size_mask(insn->address_size);
}

_Noreturn static void segment_fault(struct engine_vcpu *cpu, unsigned segment)
{
	const struct transaction *t = &cpu->transaction;

	if (segment == CPU_SS)
		cpu_fault(cpu, EXCEPTION_SS, t->open ? t->stack_error : 0);
	cpu_fault(cpu, EXCEPTION_GP, 0);
}

static bool within_limit(const struct cpu_segment *s, uint64_t offset, unsigned size)
{
	uint64_t last = offset + size - 1;

	if (!(s->type & TYPE_CODE) && s->type & ACCESS_DOWN)
		return offset > s->limit && last <= (s->db ? 0xffffffffu : 0xffffu);
	return last <= s->limit;
}

uint64_t segment_linear(struct engine_vcpu *cpu, unsigned segment, uint64_t offset, unsigned size,
			bool write)
{
	const struct cpu_segment *s = &cpu->segment[segment];
	bool protected = cpu->cr0 & CR0_PE && !(cpu->rflags & RFLAGS_VM);
	uint64_t linear;

	if (cpu->mode == DECODE_64) {
		linear = offset + (segment >= CPU_FS ? s->base : 0);
		if (!is_canonical(linear) || !is_canonical(linear + size - 1))
			segment_fault(cpu, segment);
		return linear;
	}
	if (protected) {
		bool code = s->type & TYPE_CODE;

		if (s->unusable || !s->present)
			segment_fault(cpu, segment);
		if (write ? code || !(s->type & TYPE_WRITE) : code && !(s->type & TYPE_WRITE))
			segment_fault(cpu, segment);
	}
	if (!within_limit(s, offset, size))
		segment_fault(cpu, segment);
	return (s->base + offset) & 0xffffffff;
}

uint64_t operand_address(const struct engine_vcpu *cpu, const struct insn *insn)
{
	unsigned segment = insn->memory.segment;
	bool flat = cpu->mode == DECODE_64 && segment < CPU_FS;

	return operand_offset(cpu, insn) + (flat ? 0 : cpu->segment[segment].base);
}

uint64_t operand_linear(struct engine_vcpu *cpu, const struct insn *insn, unsigned size, bool write)
{
	return segment_linear(cpu, insn->memory.segment, operand_offset(cpu, insn), size, write);
}

uint64_t operand_get(struct engine_vcpu *cpu, const struct insn *insn, const struct operand *o)
{
	switch (o->kind) {
	case OPERAND_GPR:
		return gpr_get(cpu, o->reg, o->size);
	case OPERAND_MEMORY:
		return linear_read(cpu, operand_linear(cpu, insn, o->size, false), o->size);
	case OPERAND_ONE:
		return 1;
	default:
		return insn->immediate;
	}
}

void operand_set(struct engine_vcpu *cpu, const struct insn *insn, const struct operand *o,
		 uint64_t value)
{
	if (o->kind == OPERAND_GPR)
		gpr_set(cpu, o->reg, o->size, value);
	else
		linear_write(cpu, operand_linear(cpu, insn, o->size, true), o->size, value);
}

/* Two pages, or a device. Nothing may fault while the lock is held. */
static uint64_t split_modify(struct engine_vcpu *cpu, uint64_t address, unsigned size, alu2_fn *fn,
			     uint64_t b, uint16_t *flags)
{
	uint8_t bytes[8] = {0};
	struct span span;
	uint64_t old;

	span_for_write(cpu, address, size, &span);
	pthread_mutex_lock(&split_lock);
	span_read(cpu, &span, bytes);
	old = le64_get(bytes);
	le64_put(bytes, fn(old, b, size, flags));
	span_write(cpu, &span, bytes);
	pthread_mutex_unlock(&split_lock);
	return old;
}

bool split_exchange(struct engine_vcpu *cpu, uint64_t address, unsigned size, uint8_t *old,
		    const uint8_t *value)
{
	uint8_t seen[16];
	struct span span;
	bool equal;

	span_for_write(cpu, address, size, &span);
	pthread_mutex_lock(&split_lock);
	span_read(cpu, &span, seen);
	equal = memcmp(seen, old, size) == 0;
	span_write(cpu, &span, equal ? value : seen);
	pthread_mutex_unlock(&split_lock);
	memcpy(old, seen, size);
	return equal;
}

uint64_t linear_modify(struct engine_vcpu *cpu, uint64_t address, unsigned size, alu2_fn *fn,
		       uint64_t b, bool locked)
{
	uint8_t *host = linear_host(cpu, address, size, TLB_WRITE);
	uint16_t before = alu_flags_pack(cpu->rflags), flags = before;
	uint64_t old;

	if (!host) {
		old = split_modify(cpu, address, size, fn, b, &flags);
	} else if (locked) {
		uint64_t value;

		old = guest_load(host, size);
		do {
			flags = before;
			value = fn(old, b, size, &flags);
		} while (!guest_exchange(host, size, &old, value));
	} else {
		old = guest_load(host, size);
		guest_store(host, size, fn(old, b, size, &flags));
	}
	cpu->rflags = alu_flags_unpack(cpu->rflags, flags);
	return old;
}

uint64_t operand_modify(struct engine_vcpu *cpu, const struct insn *insn, const struct operand *o,
			alu2_fn *fn, uint64_t b, bool locked)
{
	uint16_t flags = alu_flags_pack(cpu->rflags);
	uint64_t old;

	if (o->kind == OPERAND_MEMORY)
		return linear_modify(cpu, operand_linear(cpu, insn, o->size, true), o->size, fn, b,
				     locked || insn->lock);
	old = gpr_get(cpu, o->reg, o->size);
	gpr_set(cpu, o->reg, o->size, fn(old, b, o->size, &flags));
	cpu->rflags = alu_flags_unpack(cpu->rflags, flags);
	return old;
}

/* The stack. */

static uint64_t stack_mask(const struct engine_vcpu *cpu)
{
	return size_mask(cpu->stack_size);
}

void stack_adjust(struct engine_vcpu *cpu, int64_t bytes)
{
	gpr_set(cpu, CPU_RSP, cpu->stack_size, cpu->gpr[CPU_RSP] + (uint64_t)bytes);
}

void stack_push(struct engine_vcpu *cpu, unsigned size, uint64_t value)
{
	uint64_t offset = (cpu->gpr[CPU_RSP] - size) & stack_mask(cpu);

	linear_write(cpu, segment_linear(cpu, CPU_SS, offset, size, true), size, value);
	stack_adjust(cpu, -(int64_t)size);
}

void stack_probe(struct engine_vcpu *cpu, uint64_t depth, unsigned size)
{
	uint64_t offset = (cpu->gpr[CPU_RSP] - depth) & stack_mask(cpu);

	linear_probe_write(cpu, segment_linear(cpu, CPU_SS, offset, size, true), size);
}

uint64_t stack_peek(struct engine_vcpu *cpu, uint64_t depth, unsigned size)
{
	uint64_t offset = (cpu->gpr[CPU_RSP] + depth) & stack_mask(cpu);

	return linear_read(cpu, segment_linear(cpu, CPU_SS, offset, size, false), size);
}

uint64_t stack_pop(struct engine_vcpu *cpu, unsigned size)
{
	uint64_t value = stack_peek(cpu, 0, size);

	stack_adjust(cpu, size);
	return value;
}
