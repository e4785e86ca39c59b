/* SPDX-License-Identifier: MIT */
/*
 * Vector instructions of SSE and AVX, as themselves on the host's registers. Those hold the guest's
 * only from a block's first vector instruction on: it asks whether they are there, and has them
 * loaded if not; leaving translated code saves them. So code that uses none pays nothing.
 *
 * x87 is the same, with registers of its own. What its last instruction was is noted behind each,
 * as the host says that of its own code.
 *
 * They run so only while their unit is on (world.c, vectors_usable). An exception of theirs, or
 * an operand that should be aligned, is a fault of the host's: the interpreter finds out which.
 */
#include "vmm/bt/decode_impl.h"
#include "vmm/bt/lower.h"
#include "vmm/bt/native.h"

#define FIELD(name) emit_field(offsetof(struct engine_vcpu, name))

static bool is_known(const struct insn *insn)
{
	if (insn->opcode->id == INSN_LDMXCSR || insn->opcode->id == INSN_STMXCSR)
		return true;
	if (insn->opcode->id != INSN_NATIVE || insn->encoding == INSN_EVEX)
		return false;
	if (lower_names_cx(insn))
		return false;
	for (unsigned i = 0; i < INSN_OPERANDS; i++)
		if (insn->operand[i].kind == OPERAND_MMX || insn->operand[i].kind == OPERAND_MASK)
			return false;
	return insn->has_modrm || insn->encoding == INSN_VEX;
}

/* Once, and behind each visit to the interpreter. `rip`: of what comes. */
static void want(struct lowering *l, bool *there, struct emit_memory away, const uint8_t *exit,
		 uint64_t rip)
{
	uint8_t *skip;

	if (*there)
		return;
	*there = true;
	lower_forget(l); /* H is used on the way */
	emit_load(&l->e, GLUE_C, away, 8);
	skip = emit_skip_if_zero(&l->e);
	l->want[l->want_count].jump = emit_jump(&l->e);
	emit_skip_end(&l->e, skip);
	l->want[l->want_count].resume = l->e.at;
	l->want[l->want_count].exit = exit;
	l->want[l->want_count++].rip = rip;
}

static void want_vectors(struct lowering *l, uint64_t rip)
{
	want(l, &l->vectors, FIELD(world.vectors_away), l->world->vectors, rip);
}

static void want_x87(struct lowering *l, uint64_t rip)
{
	want(l, &l->x87, FIELD(world.x87_away), l->world->x87, rip);
}

void lower_vectors_away(struct lowering *l)
{
	bool vectors = l->vectors && l->loops, x87 = l->x87 && l->loops;

	l->vectors = l->x87 = false;
	if (vectors)
		want_vectors(l, l->next_rip);
	if (x87)
		want_x87(l, l->next_rip);
}

void lower_vectors_for_loop(struct lowering *l)
{
	for (unsigned i = l->at; i < l->count; i++)
		if (is_known(&l->insns[i]))
			want_vectors(l, l->rip);
		else if (l->insns[i].opcode->id == INSN_X87)
			want_x87(l, l->rip);
}

void lower_cold_vectors(struct lowering *l)
{
	for (unsigned i = 0; i < l->want_count && !l->e.full; i++) {
		emit_jump_aim(l->want[i].jump, l->e.at);
		lower_resume(l, l->want[i].resume);
		emit_constant(&l->e, GLUE_T, l->want[i].rip);
		lower_leave(l, l->want[i].exit);
	}
}

bool lower_vector(struct lowering *l)
{
	const struct insn *insn = l->insn;
	struct emit_change change = {
		.rm = INSN_NO_REGISTER, .reg = INSN_NO_REGISTER, .vvvv = INSN_NO_REGISTER};
	const struct operand *memory;
	struct place reg, rm;

	if (!is_known(insn))
		return false;
	memory = native_memory_operand(insn);
	lower_place_find(insn, SRC_G, SRC_G, &reg);
	lower_place_find(insn, SRC_E, SRC_R, &rm);
	if (reg.operand && rm.operand && is_homed(reg.reg) && is_homed(rm.reg))
		return false;
	want_vectors(l, l->rip);
	if (!insn->has_modrm) { /* VZEROUPPER, VZEROALL */
		emit_verbatim(&l->e, insn, l->raw);
		return true;
	}
	if (memory) {
		change.memory = true;
		change.m = lower_memory(l, memory->size, memory->access & OPERAND_WRITE);
	}
	if (reg.operand)
		change.reg = (uint8_t)lower_get(l, reg.reg, GLUE_C);
	if (rm.operand)
		change.rm = (uint8_t)lower_get(l, rm.reg, GLUE_C);
	lower_may_fault(l);
	if (!emit_insn(&l->e, insn, l->raw, &change))
		l->e.full = true;
	if (reg.operand && is_homed(reg.reg) && reg.operand->access & OPERAND_WRITE)
		lower_set(l, reg.reg, GLUE_C);
	if (rm.operand && is_homed(rm.reg) && rm.operand->access & OPERAND_WRITE)
		lower_set(l, rm.reg, GLUE_C);
	return true;
}

/* x87. */

static void note_selector(struct lowering *l, unsigned segment, size_t to)
{
	emit_load(&l->e, GLUE_C,
		  emit_field(offsetof(struct engine_vcpu, segment) +
			     segment * sizeof(struct cpu_segment) +
			     offsetof(struct cpu_segment, selector)),
		  2);
	emit_store(&l->e, emit_field(to), GLUE_C, 2);
}

static void note(struct lowering *l, bool memory)
{
	const struct insn *insn = l->insn;

	if (memory) {
		lower_address(l, insn, l->next_rip);
		emit_store(&l->e, FIELD(vector.x87[X87_AT_DP]), GLUE_T, 8);
		note_selector(l, insn->memory.segment, offsetof(struct engine_vcpu, vector.x87_ds));
	}
	emit_constant(&l->e, GLUE_T, l->rip);
	emit_store(&l->e, FIELD(vector.x87[X87_AT_IP]), GLUE_T, 8);
	emit_constant(&l->e, GLUE_T, (insn->code & 7u) << 8 | insn->modrm);
	emit_store(&l->e, FIELD(vector.x87[X87_AT_OPCODE]), GLUE_T, 2);
	note_selector(l, CPU_CS, offsetof(struct engine_vcpu, vector.x87_cs));
}

bool lower_x87(struct lowering *l)
{
	const struct insn *insn = l->insn;
	struct emit_change change = {
		.rm = INSN_NO_REGISTER, .reg = INSN_NO_REGISTER, .vvvv = INSN_NO_REGISTER};
	const struct operand *memory;

	if (insn->opcode->id != INSN_X87 || !insn->has_modrm || insn->memory.segment >= CPU_FS)
		return false;
	memory = native_memory_operand(insn);
	/* FNINIT; and memory that is none of the operands. */
	if ((insn->code == 0xdb && insn->modrm == 0xe3) || (!memory && insn->modrm >> 6 != 3))
		return false;
	want_x87(l, l->rip);
	if (memory) {
		change.memory = true;
		change.m = lower_memory(l, memory->size, memory->access & OPERAND_WRITE);
	}
	lower_may_fault(l);
	if (!emit_insn(&l->e, insn, l->raw, &change))
		l->e.full = true;
	if (insn->code == 0xdf && insn->modrm == 0xe0) /* FNSTSW AX */
		lower_forget(l);
	else if (!native_is_control(insn))
		note(l, memory);
	return true;
}
