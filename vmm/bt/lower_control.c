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
#include "vmm/bt/translate.h"

#define FIELD(name) emit_field(offsetof(struct engine_vcpu, name))

void lower_leave(struct lowering *l, const uint8_t *to)
{
	emit_jump_aim(emit_jump(&l->e), code_cache_written(l->cache, to));
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

/* Where to, if what it goes to turns out to be no address. */
static void leave_branch(struct lowering *l, const uint8_t *to, int32_t undo)
{
	emit_constant(&l->e, GLUE_C, l->rip);
	emit_store(&l->e, FIELD(world.branch_rip), GLUE_C, 8);
	emit_store_constant(&l->e, FIELD(world.branch_undo), undo);
	lower_leave(l, to);
}

void lower_jump_entry(struct emit *e, unsigned way)
{
	struct emit_memory m = emit_at(GLUE_C, 0);

	emit_load(e, GLUE_H, FIELD(world.jumps), 8);
	m.index = GLUE_C;
	emit_lea(e, GLUE_C, m, 8); /* twice: entries have 16 bytes */
	m = emit_at(GLUE_H, (int32_t)(way * sizeof(struct jump_way)));
	m.index = GLUE_C;
	m.scale = 8;
	emit_lea(e, GLUE_H, m, 8);
	emit_load(e, GLUE_C, emit_at(GLUE_H, offsetof(struct jump_entry, tag)), 8);
	m = emit_at(GLUE_C, 0);
	m.index = GLUE_T;
	emit_lea(e, GLUE_C, m, 8);
}

void lower_goto_t(struct lowering *l, int32_t undo)
{
	struct emit *e = &l->e;
	uint8_t *skip;

	emit_load(e, GLUE_C, FIELD(attention), 1);
	skip = emit_skip_if_zero(e);
	leave_branch(l, l->world->attention, undo);
	emit_skip_end(e, skip);
	emit_extend_16(e, GLUE_C, GLUE_T); /* the low bits of JUMP_ENTRIES */
	lower_jump_entry(e, 0);
	skip = emit_skip_if_zero(e);
	leave_branch(l, l->world->second, undo);
	emit_skip_end(e, skip);
	emit_jump_memory(e, emit_at(GLUE_H, offsetof(struct jump_entry, code)));
}

/* The same of an address that is known here, and is in T. */
static void goto_known(struct lowering *l, uint64_t rip)
{
	struct emit *e = &l->e;
	int32_t at = (int32_t)((rip & (JUMP_ENTRIES - 1)) * sizeof(struct jump_entry));
	struct emit_memory m = emit_at(GLUE_C, 0);
	uint8_t *skip;

	emit_load(e, GLUE_H, FIELD(world.jumps), 8);
	emit_load(e, GLUE_C, emit_at(GLUE_H, at + (int32_t)offsetof(struct jump_entry, tag)), 8);
	m.index = GLUE_T;
	emit_lea(e, GLUE_C, m, 8);
	skip = emit_skip_if_zero(e);
	lower_leave(l, l->world->second);
	emit_skip_end(e, skip);
	emit_jump_memory(e, emit_at(GLUE_H, at + (int32_t)offsetof(struct jump_entry, code)));
}

void lower_goto_across(struct lowering *l, uint64_t rip)
{
	emit_constant(&l->e, GLUE_T, rip);
	goto_known(l, rip);
}

/* A jump that can be linked, to a place out of line that looks the target up until then. */
static void add_link(struct lowering *l, uint8_t *jump, uint64_t rip)
{
	l->link[l->link_count++] = (struct lowered_jump){.jump = jump, .rip = rip, .from = l->rip};
}

/* In the same page, and so is all of the instruction there. */
static bool is_near(const struct lowering *l, uint64_t rip)
{
	unsigned left = 4096 - (rip & 4095);

	if (rip >> 12 != l->first >> 12)
		return false;
	return rip < l->first || left >= INSN_LENGTH_MAX ||
	       !translate_is_across(l->line + (rip - l->first), left);
}

/* Where an instruction of this block's own begins; NULL: it is none, or is yet to come. */
static uint8_t *own_start(const struct lowering *l, uint64_t rip)
{
	for (unsigned i = 0; i <= l->at && i < l->count && l->loops; i++)
		if (l->rips[i] == rip && l->target[i])
			return l->start[i];
	return NULL;
}

void lower_loop_head(struct lowering *l)
{
	uint8_t *skip;

	if (l->target[l->at])
		lower_vectors_for_loop(l);
	l->start[l->at] = l->e.at;
	if (!l->target[l->at])
		return;
	lower_forget(l);
	emit_load(&l->e, GLUE_C, FIELD(attention), 1);
	skip = emit_skip_if_zero(&l->e);
	l->poll[l->poll_count++] =
		(struct lowered_jump){.jump = emit_jump(&l->e), .rip = l->rip, .from = l->rip};
	emit_skip_end(&l->e, skip);
}

void lower_cold_jumps(struct lowering *l)
{
	for (unsigned i = 0; i < l->side_count && !l->e.full; i++) {
		emit_jump_aim(l->side[i].jump, l->e.at);
		l->rip = l->side[i].from;
		lower_goto(l, l->side[i].rip);
	}
	for (unsigned i = 0; i < l->poll_count && !l->e.full; i++) {
		emit_jump_aim(l->poll[i].jump, l->e.at);
		emit_constant(&l->e, GLUE_T, l->poll[i].rip);
		lower_leave(l, l->world->attention);
	}
}

void lower_goto(struct lowering *l, uint64_t rip)
{
	bool near = is_near(l, rip), back = rip <= l->rip;
	uint8_t *own = own_start(l, rip);

	if (own) {
		emit_jump_aim(emit_jump(&l->e), own);
		return;
	}

	if (!near || back)
		emit_constant(&l->e, GLUE_T, rip);
	if (back)
		poll(l);
	if (!near)
		goto_known(l, rip);
	else
		add_link(l, emit_jump(&l->e), rip);
}

/*
 * The stack. Pushes in a row, and a call behind them, are one look-up, and so are pops and a
 * return: what H holds is a page's, however RSP moves meanwhile. If they lie in two pages each has
 * its own look-up, out of line.
 */

static bool is_plain_push(const struct insn *insn)
{
	const struct operand *o = &insn->operand[0];

	if (insn->opcode->id != INSN_PUSH || insn->operand_size != 8)
		return false;
	return o->kind == OPERAND_GPR || o->kind == OPERAND_IMMEDIATE;
}

static bool is_plain_pop(const struct insn *insn)
{
	const struct operand *o = &insn->operand[0];

	return insn->opcode->id == INSN_POP && o->size == 8 && o->kind == OPERAND_GPR &&
	       o->reg != CPU_RSP;
}

static void stack_move(struct lowering *l, int32_t bytes)
{
	emit_lea(&l->e, CPU_RSP, emit_at(CPU_RSP, bytes), 8);
}

static struct emit_memory with_h(struct emit_memory m)
{
	m.index = GLUE_H;
	return m;
}

/* What is behind the look-up: H is there. CALL leaves its jump to come, RET its target in T. */

static void push_do(struct lowering *l, const struct insn *insn, uint64_t next_rip)
{
	struct emit_memory top = with_h(emit_at(CPU_RSP, -8));
	const struct operand *o = &insn->operand[0];

	if (insn->opcode->id != INSN_PUSH) {
		emit_constant(&l->e, GLUE_C, next_rip);
		lower_touch(l);
		emit_store(&l->e, top, GLUE_C, 8);
	} else if (o->kind == OPERAND_IMMEDIATE) {
		lower_touch(l);
		emit_store_constant(&l->e, top, (int32_t)insn->immediate);
	} else {
		unsigned from = lower_get(l, o->reg, GLUE_C);

		lower_touch(l);
		emit_store(&l->e, top, from, 8);
	}
	stack_move(l, -8);
}

/* How RET moves RSP. */
static int32_t ret_bytes(const struct insn *insn)
{
	return 8 + (int32_t)(insn->immediate & 0xffff);
}

static void pop_do(struct lowering *l, const struct insn *insn)
{
	struct emit_memory top = with_h(emit_at(CPU_RSP, 0));
	const struct operand *o = &insn->operand[0];
	int32_t bytes = 8;

	lower_touch(l);
	if (insn->opcode->id == INSN_RET) {
		emit_load(&l->e, GLUE_T, top, 8);
		bytes = ret_bytes(insn);
	} else if (is_homed(o->reg)) {
		emit_load(&l->e, GLUE_C, top, 8);
		lower_set(l, o->reg, GLUE_C);
	} else {
		emit_load(&l->e, host_of(o->reg), top, 8);
	}
	stack_move(l, bytes);
}

static void stack_probe_push(struct lowering *l)
{
	lower_based(l, CPU_RSP, -8, 8, true);
}

static void stack_probe_pop(struct lowering *l)
{
	lower_based(l, CPU_RSP, 0, 8, false);
}

/* The end of a run: it goes on elsewhere. */
static bool is_last(const struct insn *insn, bool push)
{
	return push ? insn->opcode->id == INSN_CALL && insn->operand_size == 8
		    : insn->opcode->id == INSN_RET && insn->operand_size == 8;
}

/* How many there are in a row from the present one on. */
static void run_find(const struct lowering *l, struct stack_run *run)
{
	unsigned i = l->at;

	for (run->count = 0; run->count < RUN_INSNS && i < l->count; i++) {
		const struct insn *insn = &l->insns[i];

		if (run->count && l->target[i])
			break;
		if (!is_last(insn, run->push) &&
		    !(run->push ? is_plain_push(insn) : is_plain_pop(insn)))
			break;
		run->rip[run->count] = l->rips[i];
		run->insn[run->count++] = *insn;
		if (is_last(insn, run->push))
			break;
	}
}

static void run_do(struct lowering *l, const struct stack_run *run, unsigned i)
{
	if (run->push)
		push_do(l, &run->insn[i], run->rip[i] + run->insn[i].length);
	else
		pop_do(l, &run->insn[i]);
}

/* The look-up for all of it. */
static void run_begin(struct lowering *l, struct stack_run *run)
{
	struct emit_memory low = emit_at(CPU_RSP, run->push ? -8 * (int32_t)run->count : 0);

	run->jump = NULL;
	if (lower_by_window(l))
		lower_based(l, CPU_RSP, 0, 8, run->push);
	else
		run->jump = lower_probe(l, low, 8 * run->count, run->push);
}

unsigned lower_run(struct lowering *l)
{
	bool push = is_plain_push(l->insn);
	struct stack_run *run = &l->run[l->run_count];
	const struct insn *last;

	if ((!push && !is_plain_pop(l->insn)) || l->run_count == RUNS_MAX)
		return 0;
	run->push = push;
	run_find(l, run);
	if (run->count < 2)
		return 0;
	l->run_count++;
	run_begin(l, run);
	for (unsigned i = 0; i < run->count; i++) {
		l->rip = run->rip[i];
		if (!run->jump)
			lower_again(l, CPU_RSP, push ? -8 : 0, 8, push);
		run_do(l, run, i);
	}
	run->after = l->e.at;
	last = &run->insn[run->count - 1];
	l->rip = run->rip[run->count - 1];
	if (last->opcode->id == INSN_CALL)
		lower_goto(l, l->rip + last->length + last->immediate);
	else if (last->opcode->id == INSN_RET)
		lower_goto_t(l, -ret_bytes(last));
	l->ended = is_last(last, push);
	return run->count;
}

void lower_cold_runs(struct lowering *l)
{
	l->user_memory = true; /* those that are left were so */
	for (unsigned i = 0; i < l->run_count && !l->e.full; i++) {
		const struct stack_run *run = &l->run[i];

		if (!run->jump)
			continue;
		emit_jump_aim(run->jump, l->e.at);
		for (unsigned k = 0; k < run->count; k++) {
			l->rip = run->rip[k];
			if (run->push)
				stack_probe_push(l);
			else
				stack_probe_pop(l);
			run_do(l, run, k);
		}
		emit_jump_aim(emit_jump(&l->e), run->after);
	}
}

void lower_push_scratch(struct lowering *l)
{
	stack_probe_push(l);
	emit_load(&l->e, GLUE_C, FIELD(world.scratch), 8);
	lower_touch(l);
	emit_store(&l->e, with_h(emit_at(CPU_RSP, -8)), GLUE_C, 8);
	stack_move(l, -8);
}

/* PUSH of memory: two accesses, of which the second may fail. */
static bool lower_push_memory(struct lowering *l)
{
	struct emit_memory m = lower_memory(l, 8, false);

	lower_touch(l);
	emit_load(&l->e, GLUE_C, m, 8);
	emit_store(&l->e, FIELD(world.scratch), GLUE_C, 8);
	lower_push_scratch(l);
	return true;
}

static bool lower_push(struct lowering *l)
{
	if (l->insn->operand[0].size == 8 && l->insn->operand[0].kind == OPERAND_MEMORY)
		return lower_push_memory(l);
	if (!is_plain_push(l->insn))
		return false;
	stack_probe_push(l);
	push_do(l, l->insn, l->next_rip);
	return true;
}

static bool lower_pop(struct lowering *l)
{
	const struct operand *o = &l->insn->operand[0];

	if (l->insn->opcode->id == INSN_POP && o->size == 8 && o->kind == OPERAND_GPR &&
	    o->reg == CPU_RSP) {
		stack_probe_pop(l);
		lower_touch(l);
		emit_load(&l->e, CPU_RSP, with_h(emit_at(CPU_RSP, 0)), 8);
		lower_forget(l);
		return true;
	}
	if (!is_plain_pop(l->insn))
		return false;
	stack_probe_pop(l);
	pop_do(l, l->insn);
	return true;
}

static bool lower_leave_frame(struct lowering *l)
{
	struct emit_memory m;

	if (l->insn->operand_size != 8)
		return false;
	m = lower_based(l, CPU_RBP, 0, 8, false);
	lower_touch(l);
	emit_load(&l->e, GLUE_C, m, 8);
	emit_lea(&l->e, CPU_RSP, emit_at(CPU_RBP, 8), 8);
	emit_move(&l->e, CPU_RBP, GLUE_C);
	return true;
}

/* Jumps. */

static bool lower_call(struct lowering *l)
{
	stack_probe_push(l);
	push_do(l, l->insn, l->next_rip);
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

		lower_touch(l);
		emit_load(&l->e, GLUE_T, m, 8);
	} else if (is_homed(o->reg)) {
		emit_load(&l->e, GLUE_T, home_of(o->reg), 8);
	} else {
		emit_move(&l->e, GLUE_T, host_of(o->reg));
	}
	return true;
}

/*
 * A call to what is no address must not have pushed anything: the upper 17 bits of T are all the
 * same, or the interpreter has it. All of them plus one has then none of bits 1 to 16 set.
 */
static void check_target(struct lowering *l)
{
	struct emit *e = &l->e;
	uint8_t *skip;

	emit_extract(e, GLUE_C, GLUE_T, FIELD(world.sign_mask));
	emit_lea(e, GLUE_C, emit_at(GLUE_C, 1), 8);
	emit_extract(e, GLUE_C, GLUE_C, FIELD(world.mixed_mask));
	skip = emit_skip_if_zero(e);
	emit_constant(e, GLUE_T, l->rip);
	lower_leave(l, l->world->interpret);
	emit_skip_end(e, skip);
}

static bool lower_call_indirect(struct lowering *l)
{
	if (!target_get(l))
		return false;
	check_target(l);
	emit_store(&l->e, FIELD(world.scratch), GLUE_T, 8);
	stack_probe_push(l);
	push_do(l, l->insn, l->next_rip);
	emit_load(&l->e, GLUE_T, FIELD(world.scratch), 8);
	lower_goto_t(l, 0);
	return true;
}

static bool lower_ret(struct lowering *l)
{
	if (l->insn->operand_size != 8)
		return false;
	stack_probe_pop(l);
	pop_do(l, l->insn);
	lower_goto_t(l, -ret_bytes(l->insn));
	return true;
}

static bool lower_jcc(struct lowering *l)
{
	uint64_t target = l->next_rip + l->insn->immediate;
	unsigned condition = l->insn->code & 15;
	uint8_t *taken = emit_jump_if(&l->e, condition), *own = own_start(l, target);

	if (own)
		emit_jump_aim(taken, own);
	else if (is_near(l, target) && target > l->rip)
		add_link(l, taken, target);
	else
		l->side[l->side_count++] =
			(struct lowered_jump){.jump = taken, .rip = target, .from = l->rip};
	/* The next instruction may be in the next page. */
	if (l->at + 1 < l->count)
		return false;
	lower_goto(l, l->next_rip);
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
			lower_goto_t(l, 0);
		break;
	case INSN_RET:
		done = lower_ret(l);
		break;
	case INSN_JCC:
		l->ended = lower_jcc(l);
		return true;
	default:
		return false;
	}
	l->ended = done;
	return done;
}
