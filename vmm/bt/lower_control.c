/* SPDX-License-Identifier: MIT */
/*
 * Jumps, calls and returns, and the stack that they use. A jump within the page is linked to the
 * block that it leads to: while the page's code runs, it is where it is. Any other goes by a table
 * of known code, which the look-up here reads, and which is emptied when translations of addresses
 * change.
 */
#include <string.h>

#include "vmm/bt/decode_impl.h"
#include "vmm/bt/lower.h"

#define FIELD(name) emit_field(offsetof(struct engine_vcpu, name))

void lower_leave(struct lowering *l, const uint8_t *to)
{
	uint8_t *jump = emit_jump(&l->e);

	if (jump)
		*(int32_t *)(void *)jump = (int32_t)(to - code_cache_executed(l->cache, jump + 4));
}

/* Whoever loops comes by here, so that it can be stopped. T is where it goes on. */
static void poll(struct lowering *l)
{
	uint8_t *skip;

	emit_load(&l->e, GLUE_C, FIELD(attention), 1);
	skip = emit_skip_if_zero(&l->e);
	lower_leave(l, l->world->attention);
	emit_skip_end(&l->e, skip);
}

void lower_goto_t(struct lowering *l)
{
	struct emit *e = &l->e;
	struct emit_memory m = emit_at(GLUE_C, 0);
	uint8_t *skip;

	poll(l);
	emit_extract(e, GLUE_C, GLUE_T, FIELD(world.jump_mask));
	emit_load(e, GLUE_H, FIELD(world.jumps), 8);
	m.index = GLUE_C;
	emit_lea(e, GLUE_C, m, 8); /* twice: entries have 16 bytes */
	m = emit_at(GLUE_H, 0);
	m.index = GLUE_C;
	m.scale = 8;
	emit_lea(e, GLUE_H, m, 8);
	emit_load(e, GLUE_C, emit_at(GLUE_H, offsetof(struct jump_entry, tag)), 8);
	m = emit_at(GLUE_C, 0);
	m.index = GLUE_T;
	emit_lea(e, GLUE_C, m, 8);
	skip = emit_skip_if_zero(e);
	lower_leave(l, l->world->lookup);
	emit_skip_end(e, skip);
	emit_jump_memory(e, emit_at(GLUE_H, offsetof(struct jump_entry, code)));
}

/* A jump that can be linked, to a place out of line that looks the target up until then. */
static void add_link(struct lowering *l, uint8_t *jump, uint64_t rip)
{
	l->link[l->link_count].jump = jump;
	l->link[l->link_count++].rip = rip;
}

static bool is_near(const struct lowering *l, uint64_t rip)
{
	return rip >> 12 == l->first >> 12;
}

void lower_goto(struct lowering *l, uint64_t rip)
{
	bool back = rip <= l->rip;

	if (!is_near(l, rip)) {
		emit_constant(&l->e, GLUE_T, rip);
		lower_goto_t(l);
		return;
	}
	if (back) {
		emit_constant(&l->e, GLUE_T, rip);
		poll(l);
	}
	add_link(l, emit_jump(&l->e), rip);
}

/* The stack. */

static void stack_move(struct lowering *l, int32_t bytes)
{
	emit_lea(&l->e, CPU_RSP, emit_at(CPU_RSP, bytes), 8);
}

static bool lower_push(struct lowering *l)
{
	const struct operand *o = &l->insn->operand[0];
	struct emit_memory m;

	if (o->size != 8)
		return false;
	if (o->kind == OPERAND_MEMORY) {
		m = lower_memory(l, 8, false);
		emit_load(&l->e, GLUE_C, m, 8);
		emit_store(&l->e, FIELD(world.scratch), GLUE_C, 8);
	}
	m = lower_based(l, CPU_RSP, -8, 8, true);
	if (o->kind == OPERAND_IMMEDIATE)
		emit_store_constant(&l->e, m, (int32_t)l->insn->immediate);
	else if (o->kind == OPERAND_MEMORY)
		emit_load(&l->e, GLUE_C, FIELD(world.scratch), 8);
	if (o->kind == OPERAND_MEMORY)
		emit_store(&l->e, m, GLUE_C, 8);
	else if (o->kind == OPERAND_GPR)
		emit_store(&l->e, m, lower_get(l, o->reg, GLUE_C), 8);
	stack_move(l, -8);
	return true;
}

static bool lower_pop(struct lowering *l)
{
	const struct operand *o = &l->insn->operand[0];
	struct emit_memory m;

	if (o->size != 8 || o->kind != OPERAND_GPR || o->reg == CPU_RSP)
		return false;
	m = lower_based(l, CPU_RSP, 0, 8, false);
	if (is_homed(o->reg)) {
		emit_load(&l->e, GLUE_C, m, 8);
		lower_set(l, o->reg, GLUE_C);
	} else {
		emit_load(&l->e, host_of(o->reg), m, 8);
	}
	stack_move(l, 8);
	return true;
}

static bool lower_leave_frame(struct lowering *l)
{
	struct emit_memory m;

	if (l->insn->operand_size != 8)
		return false;
	m = lower_based(l, CPU_RBP, 0, 8, false);
	emit_load(&l->e, GLUE_C, m, 8);
	emit_lea(&l->e, CPU_RSP, emit_at(CPU_RBP, 8), 8);
	emit_move(&l->e, CPU_RBP, GLUE_C);
	return true;
}

/* Jumps. */

static void push_return(struct lowering *l)
{
	struct emit_memory m = lower_based(l, CPU_RSP, -8, 8, true);

	emit_constant(&l->e, GLUE_C, l->next_rip);
	emit_store(&l->e, m, GLUE_C, 8);
	stack_move(l, -8);
}

static bool lower_call(struct lowering *l)
{
	push_return(l);
	lower_goto(l, l->next_rip + l->insn->immediate);
	return true;
}

/* What an indirect jump or call names, in T. */
static bool target_get(struct lowering *l)
{
	const struct operand *o = &l->insn->operand[0];

	if (o->size != 8)
		return false;
	if (o->kind == OPERAND_MEMORY) {
		struct emit_memory m = lower_memory(l, 8, false);

		emit_load(&l->e, GLUE_T, m, 8);
	} else if (is_homed(o->reg)) {
		emit_load(&l->e, GLUE_T, home_of(o->reg), 8);
	} else {
		emit_move(&l->e, GLUE_T, host_of(o->reg));
	}
	return true;
}

static bool lower_call_indirect(struct lowering *l)
{
	if (!target_get(l))
		return false;
	emit_store(&l->e, FIELD(world.scratch), GLUE_T, 8);
	push_return(l);
	emit_load(&l->e, GLUE_T, FIELD(world.scratch), 8);
	lower_goto_t(l);
	return true;
}

static bool lower_ret(struct lowering *l)
{
	struct emit_memory m;

	if (l->insn->operand_size != 8)
		return false;
	m = lower_based(l, CPU_RSP, 0, 8, false);
	emit_load(&l->e, GLUE_T, m, 8);
	stack_move(l, 8 + (int32_t)(l->insn->immediate & 0xffff));
	lower_goto_t(l);
	return true;
}

static bool lower_jcc(struct lowering *l)
{
	uint64_t target = l->next_rip + l->insn->immediate;
	unsigned condition = l->insn->code & 15;
	uint8_t *taken = emit_jump_if(&l->e, condition);

	/* The next instruction may be in the next page. */
	lower_goto(l, l->next_rip);
	if (taken && !l->e.full)
		*(int32_t *)(void *)taken = (int32_t)(l->e.at - (taken + 4));
	lower_goto(l, target);
	return true;
}

bool lower_control(struct lowering *l)
{
	bool done;

	switch (l->insn->opcode->id) {
	case INSN_PUSH:
		return lower_push(l);
	case INSN_POP:
		return lower_pop(l);
	case INSN_LEAVE:
		return lower_leave_frame(l);
	case INSN_CALL:
		done = l->insn->operand_size == 8 && lower_call(l);
		break;
	case INSN_CALL_INDIRECT:
		done = lower_call_indirect(l);
		break;
	case INSN_JMP:
		lower_goto(l, l->next_rip + l->insn->immediate);
		done = true;
		break;
	case INSN_JMP_INDIRECT:
		done = target_get(l);
		if (done)
			lower_goto_t(l);
		break;
	case INSN_RET:
		done = lower_ret(l);
		break;
	case INSN_JCC:
		done = lower_jcc(l);
		break;
	default:
		return false;
	}
	l->ended = done;
	return done;
}
