/* SPDX-License-Identifier: MIT */
/*
 * String instructions in windows: the host's own, with RSI and RDI where the host has what they
 * point to, and RCX in its place. They go on over page borders as long as pages are mapped. A fault
 * finds them at a boundary of elements, as the guest's would be: world.c maps the page and lets
 * them go on, or puts the registers back and leaves.
 *
 * Without windows they are the interpreter's, which goes by pages, too.
 */
#include "vmm/bt/decode_impl.h"
#include "vmm/bt/lower.h"

#define FIELD(name) emit_field(offsetof(struct engine_vcpu, name))

/* A pointer to the host's. `distance` keeps what was added. */
static void there(struct lowering *l, unsigned reg, struct emit_memory distance)
{
	struct emit_memory sum = emit_at(reg, 0);

	lower_window_find(l, reg);
	emit_store(&l->e, distance, GLUE_H, 8);
	sum.index = GLUE_H;
	emit_lea(&l->e, reg, sum, 8);
}

/* And back: NOT and 1 more is its negative, and touches no flags. */
static void back(struct lowering *l, unsigned reg, struct emit_memory distance)
{
	struct emit_memory difference = emit_at(reg, 1);

	emit_load(&l->e, GLUE_H, distance, 8);
	emit_not(&l->e, GLUE_H);
	difference.index = GLUE_H;
	emit_lea(&l->e, reg, difference, 8);
}

bool lower_string(struct lowering *l)
{
	const struct insn *insn = l->insn;
	struct emit_memory source = FIELD(world.string_source), target = FIELD(world.string_target);
	unsigned what;

	switch (insn->opcode->id) {
	case INSN_MOVS:
		what = STRING_SOURCE | STRING_TARGET | STRING_WRITES;
		break;
	case INSN_STOS:
		what = STRING_TARGET | STRING_WRITES;
		break;
	case INSN_CMPS:
		what = STRING_SOURCE | STRING_TARGET;
		break;
	case INSN_SCAS:
		what = STRING_TARGET;
		break;
	default:
		return false;
	}
	if (!lower_by_window(l) || insn->address_size != 8 || insn->segment != INSN_NO_REGISTER)
		return false;
	if (what & STRING_SOURCE)
		there(l, CPU_RSI, source);
	there(l, CPU_RDI, target);
	emit_move(&l->e, GLUE_C, HOST_RCX);
	l->access = (struct fault_point){.string = (uint8_t)what, .size = insn->operand[0].size};
	lower_may_fault(l);
	emit_verbatim(&l->e, insn, l->raw);
	emit_move(&l->e, HOST_RCX, GLUE_C);
	if (what & STRING_SOURCE)
		back(l, CPU_RSI, source);
	back(l, CPU_RDI, target);
	lower_forget(l);
	return true;
}
