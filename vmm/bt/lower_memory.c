/* SPDX-License-Identifier: MIT */
/*
 * A guest's access to memory: its linear address through the soft TLB (world.h) to the host's.
 *
 * The index comes from the access's first byte and what is compared from its last, so that one that
 * crosses a page is a miss. Nothing here touches flags. A miss goes out of line, to be filled and
 * tried again; where that cannot be (a device, a page of code, two pages), the interpreter has the
 * instruction.
 */
#include "vmm/bt/decode_impl.h"
#include "vmm/bt/lower.h"

#define FIELD(name) emit_field(offsetof(struct engine_vcpu, name))

unsigned lower_get(struct lowering *l, unsigned reg, unsigned scratch)
{
	if (!is_homed(reg))
		return host_of(reg);
	emit_load(&l->e, scratch, home_of(reg), 8);
	return scratch;
}

void lower_set(struct lowering *l, unsigned reg, unsigned from)
{
	if (is_homed(reg))
		emit_store(&l->e, home_of(reg), from, 8);
	else if (host_of(reg) != from)
		emit_move(&l->e, host_of(reg), from);
}

void lower_address(struct lowering *l, const struct insn *insn, uint64_t next_rip)
{
	const struct insn_memory *m = &insn->memory;
	unsigned size = insn->address_size;
	struct emit_memory a = {
		.base = INSN_NO_REGISTER, .index = INSN_NO_REGISTER, .scale = m->scale};
	bool far = m->displacement != (int32_t)m->displacement;

	if (m->base == INSN_RIP || (m->base == INSN_NO_REGISTER && m->index == INSN_NO_REGISTER)) {
		uint64_t at = (uint64_t)m->displacement + (m->base == INSN_RIP ? next_rip : 0);

		emit_constant(&l->e, GLUE_T, size == 4 ? (uint32_t)at : at);
	} else {
		if (m->base != INSN_NO_REGISTER)
			a.base = (uint8_t)lower_get(l, m->base, GLUE_T);
		if (m->index != INSN_NO_REGISTER)
			a.index = (uint8_t)lower_get(l, m->index, GLUE_C);
		a.displacement = far ? 0 : (int32_t)m->displacement;
		emit_lea(&l->e, GLUE_T, a, size);
	}
	if (m->segment >= CPU_FS) {
		emit_load(&l->e, GLUE_C,
			  emit_field(offsetof(struct engine_vcpu, segment) +
				     m->segment * sizeof(struct cpu_segment) +
				     offsetof(struct cpu_segment, base)),
			  8);
		a = emit_at(GLUE_T, 0);
		a.index = GLUE_C;
		a.scale = 1;
		emit_lea(&l->e, GLUE_T, a, 8);
	}
}

/* Base and displacement alone, of a register that the host has. */
static bool is_plain(const struct insn *insn, unsigned size)
{
	const struct insn_memory *m = &insn->memory;

	return m->base < CPU_GPRS && m->index == INSN_NO_REGISTER && !is_homed(m->base) &&
	       m->segment < CPU_FS && insn->address_size == 8 &&
	       m->displacement + size < INT32_MAX && m->displacement >= INT32_MIN;
}

/* So that the register alone says which window it is. */
static bool is_near(const struct insn *insn)
{
	int64_t at = insn->memory.displacement;

	return at > -WINDOW_REACH / 2 && at < WINDOW_REACH / 2 - 4096;
}

static void add_fill(struct lowering *l, const struct insn *insn, struct emit_memory m,
		     uint8_t *jump, uint8_t *retry, unsigned what)
{
	l->fill[l->fill_count++] = (struct cold_fill){
		.jump = jump, .retry = retry, .rip = l->rip, .insn = insn, .m = m, .what = what};
}

static struct emit_memory window_table(const struct lowering *l)
{
	unsigned who = l->user ? WINDOW_USER : WINDOW_SUPERVISOR;

	return emit_field(offsetof(struct engine_vcpu, windows.distance) +
			  sizeof(((struct window_table *)NULL)->distance[0]) * who);
}

void lower_window_find(struct lowering *l, unsigned base)
{
	struct emit_memory entry = window_table(l);

	emit_rorx(&l->e, GLUE_C, base, 32, 8);
	emit_extend_16(&l->e, GLUE_C, GLUE_C);
	entry.index = GLUE_C;
	entry.scale = 8;
	emit_load(&l->e, GLUE_H, entry, 8);
}

void lower_again(struct lowering *l, unsigned base, int32_t displacement, unsigned size, bool write)
{
	if (lower_by_window(l))
		l->access = (struct fault_point){.base = (uint8_t)base,
						 .displacement = displacement,
						 .size = (uint8_t)size,
						 .write = write};
}

/* Registers that instructions write without naming them. */
static bool writes_implied(const struct insn *insn, unsigned reg)
{
	if (insn->encoding != INSN_LEGACY)
		return false;
	switch (insn->opcode->id) {
	case INSN_MUL:
	case INSN_IMUL_1:
	case INSN_DIV:
	case INSN_IDIV:
	case INSN_CMPXCHG:
	case INSN_CMPXCHG8B:
	case INSN_CBW:
	case INSN_CWD:
	case INSN_LAHF:
		return reg == CPU_RAX || reg == CPU_RDX;
	case INSN_LEAVE:
		return reg == CPU_RSP || reg == CPU_RBP;
	default:
		return false;
	}
}

static bool writes(const struct insn *insn, unsigned reg)
{
	for (unsigned i = 0; i < INSN_OPERANDS; i++) {
		const struct operand *o = &insn->operand[i];

		/* AH to DH have numbers of their own. */
		if (o->kind == OPERAND_GPR && o->access & OPERAND_WRITE &&
		    (o->reg == reg || o->reg == reg + CPU_GPRS))
			return true;
	}
	return writes_implied(insn, reg);
}

/* How far an instruction moves a register that it adds a number to; 0: it does something else. */
static int64_t moves_by(const struct insn *insn, unsigned reg)
{
	const struct operand *o = insn->operand;

	if (reg == CPU_RSP && insn->opcode->id == INSN_PUSH)
		return -8;
	/* Not so POP of RSP itself. */
	if (reg == CPU_RSP && insn->opcode->id == INSN_POP)
		return o[0].reg == CPU_RSP ? 0 : 8;
	if (insn->opcode->id != INSN_ADD && insn->opcode->id != INSN_SUB)
		return 0;
	if (o[0].kind != OPERAND_GPR || o[0].reg != reg || o[0].size != 8 ||
	    o[1].kind != OPERAND_IMMEDIATE)
		return 0;
	return insn->opcode->id == INSN_ADD ? (int64_t)insn->immediate : -(int64_t)insn->immediate;
}

void lower_remember(struct lowering *l)
{
	struct distance_known *k = &l->known;
	unsigned reg = k->reg == HOST_RCX ? CPU_RCX : k->reg;
	int64_t by;

	if (k->what == KNOWN_MEMORY &&
	    (writes(l->insn, k->memory.base) || writes(l->insn, k->memory.index)))
		lower_forget(l);
	if (k->what != KNOWN_REGISTER)
		return;
	by = moves_by(l->insn, reg);
	if (by && by > -WINDOW_REACH && by < WINDOW_REACH)
		k->moved += by;
	else if (writes(l->insn, reg))
		lower_forget(l);
	if (k->moved <= -WINDOW_REACH / 2 || k->moved >= WINDOW_REACH / 2)
		lower_forget(l);
}

static bool is_kept(const struct lowering *l, enum known what)
{
	return l->known.what == what && !(l->e.written & 1u << GLUE_H);
}

static bool t_is_kept(const struct lowering *l)
{
	return !(l->e.written & 1u << GLUE_T);
}

static void kept_from_now(struct lowering *l, enum known what)
{
	l->known.what = what;
	l->known.moved = 0;
	l->known.has_address = false;
	l->e.written = 0;
}

/* [base + displacement], with the distance in H. */
static struct emit_memory window_access(struct lowering *l, unsigned base, int32_t displacement,
					unsigned size, bool write)
{
	struct emit_memory at = emit_at(base, displacement);

	lower_again(l, base, displacement, size, write);
	at.index = GLUE_H;
	return at;
}

static struct emit_memory window_by_register(struct lowering *l, unsigned base,
					     int32_t displacement, unsigned size, bool write)
{
	if (!is_kept(l, KNOWN_REGISTER) || l->known.reg != base) {
		lower_window_find(l, base);
		kept_from_now(l, KNOWN_REGISTER);
		l->known.reg = (uint8_t)base;
	}
	return window_access(l, base, displacement, size, write);
}

/* An address that is known here: which entry it has needs no look-up, nor has it to be in a
 * register. */
static struct emit_memory window_by_address(struct lowering *l, uint64_t linear, unsigned size,
					    bool write)
{
	struct distance_known *k = &l->known;
	unsigned entry = linear >> 32 & (WINDOW_ENTRIES - 1);
	int64_t away = (int64_t)(linear - k->address);

	if (!is_kept(l, KNOWN_ENTRY) || k->entry != entry) {
		struct emit_memory at = window_table(l);

		at.displacement += (int32_t)(entry * sizeof(uint64_t));
		emit_load(&l->e, GLUE_H, at, 8);
		kept_from_now(l, KNOWN_ENTRY);
		k->entry = entry;
	}
	if ((int64_t)linear == (int32_t)linear) {
		lower_again(l, INSN_NO_REGISTER, (int32_t)linear, size, write);
		return emit_at(GLUE_H, (int32_t)linear);
	}
	if (!k->has_address || !t_is_kept(l) || away != (int32_t)away) {
		emit_constant(&l->e, GLUE_T, linear);
		l->e.written = 0;
		k->has_address = true;
		k->address = linear;
		away = 0;
	}
	return window_access(l, GLUE_T, (int32_t)away, size, write);
}

/* Its registers are the same, and it is not far away. Not by RSP, which moves by itself. */
static bool is_beside(const struct insn_memory *a, const struct insn_memory *b)
{
	int64_t away = (int64_t)((uint64_t)a->displacement - (uint64_t)b->displacement);

	return a->base == b->base && a->index == b->index && a->scale == b->scale &&
	       a->base != CPU_RSP && away > -WINDOW_REACH / 2 && away < WINDOW_REACH / 2 - 4096;
}

static struct emit_memory window_by_operand(struct lowering *l, const struct insn *insn,
					    unsigned size, bool write)
{
	const struct insn_memory *m = &insn->memory;
	struct distance_known *k = &l->known;
	bool simple = m->segment < CPU_FS && insn->address_size == 8;

	if (simple && is_kept(l, KNOWN_MEMORY) && t_is_kept(l) && is_beside(m, &k->memory))
		return window_access(l, GLUE_T, (int32_t)(m->displacement - k->memory.displacement),
				     size, write);
	lower_address(l, insn, l->next_rip);
	lower_window_find(l, GLUE_T);
	kept_from_now(l, simple ? KNOWN_MEMORY : KNOWN_NOTHING);
	k->memory = *m;
	return window_access(l, GLUE_T, 0, size, write);
}

/* No register has a part in it: then *linear is where. */
static bool is_address(const struct lowering *l, uint64_t *linear)
{
	const struct insn_memory *m = &l->insn->memory;
	bool relative = m->base == INSN_RIP;

	*linear = (uint64_t)m->displacement + (relative ? l->next_rip : 0);
	return (relative || (m->base == INSN_NO_REGISTER && m->index == INSN_NO_REGISTER)) &&
	       m->segment < CPU_FS && l->insn->address_size == 8;
}

uint8_t *lower_probe(struct lowering *l, struct emit_memory at, unsigned size, bool write)
{
	struct emit *e = &l->e;
	struct emit_memory last = at, entry = emit_at(GLUE_T, 0);
	unsigned from = at.base;
	uint8_t *skip, *jump;

	if (at.displacement) {
		emit_lea(e, GLUE_C, at, 8);
		from = GLUE_C;
	}
	last.displacement += (int32_t)size - 1;
	if (last.displacement == at.displacement) {
		emit_extract(e, GLUE_H, from, FIELD(world.page_mask));
	} else {
		emit_lea(e, GLUE_H, last, 8);
		emit_extract(e, GLUE_H, GLUE_H, FIELD(world.page_mask));
	}
	emit_rorx(e, GLUE_C, from, 12, 4);
	emit_extend_16(e, GLUE_C, GLUE_C);
	emit_load(e, GLUE_T, emit_field(offsetof(struct engine_vcpu, world.fast) + (write ? 8 : 0)),
		  8);
	entry.index = GLUE_C;
	entry.scale = 8;
	emit_lea(e, GLUE_T, entry, 8);
	emit_load(e, GLUE_C, emit_at(GLUE_T, offsetof(struct fast_tlb, tag)), 8);
	entry = emit_at(GLUE_C, 0);
	entry.index = GLUE_H;
	emit_lea(e, GLUE_C, entry, 8);
	emit_load(e, GLUE_H, emit_at(GLUE_T, offsetof(struct fast_tlb, addend)), 8);
	skip = emit_skip_if_zero(e);
	jump = emit_jump(e);
	emit_skip_end(e, skip);
	return jump;
}

struct emit_memory lower_based(struct lowering *l, unsigned base, int32_t displacement,
			       unsigned size, bool write)
{
	struct emit_memory at = emit_at(base, displacement);
	uint8_t *retry = l->e.at, *jump;

	if (lower_by_window(l))
		return window_by_register(l, base, displacement, size, write);
	jump = lower_probe(l, at, size, write);
	add_fill(l, NULL, at, jump, retry, size | (write ? FILL_WRITE : 0));
	at.index = GLUE_H;
	return at;
}

struct emit_memory lower_memory(struct lowering *l, unsigned size, bool write)
{
	const struct insn *insn = l->insn;
	struct emit_memory at;
	uint8_t *retry = l->e.at, *jump;
	uint64_t linear;

	if (is_plain(insn, size) && (!lower_by_window(l) || is_near(insn)))
		return lower_based(l, host_of(insn->memory.base),
				   (int32_t)insn->memory.displacement, size, write);
	if (lower_by_window(l))
		return is_address(l, &linear) ? window_by_address(l, linear, size, write)
					      : window_by_operand(l, insn, size, write);
	lower_address(l, insn, l->next_rip);
	/* T becomes the entry's address: the linear one is made again behind it. */
	jump = lower_probe(l, emit_at(GLUE_T, 0), size, write);
	add_fill(l, insn, (struct emit_memory){0}, jump, retry, size | (write ? FILL_WRITE : 0));
	lower_address(l, insn, l->next_rip);
	at = emit_at(GLUE_T, 0);
	at.index = GLUE_H;
	return at;
}

void lower_resume(struct lowering *l, const uint8_t *at)
{
	struct emit *e = &l->e;

	/* LEA T, [RIP + at] */
	emit_byte(e, 0x40 | REX_W | REX_R);
	emit_byte(e, 0x8d);
	emit_byte(e, 5 | (GLUE_T & 7) << 3);
	emit_number(e, (uint32_t)(at - (e->at + 4)), 4);
	emit_store(e, FIELD(world.resume), GLUE_T, 8);
}

/* jump -> here: tell what is wanted, and leave. */
static void cold_fill(struct lowering *l, const struct cold_fill *f)
{
	struct emit *e = &l->e;

	if (e->full)
		return;
	emit_jump_aim(f->jump, e->at);
	if (f->insn)
		lower_address(l, f->insn, f->rip + f->insn->length);
	else
		emit_lea(e, GLUE_T, f->m, 8);
	emit_store(e, FIELD(world.fill_address), GLUE_T, 8);
	emit_store_constant(e, FIELD(world.fill_what), (int32_t)f->what);
	emit_constant(e, GLUE_T, f->rip);
	emit_store(e, FIELD(world.exit_rip), GLUE_T, 8);
	lower_resume(l, f->retry);
	lower_leave(l, l->world->fill);
}

void lower_cold_fills(struct lowering *l)
{
	for (unsigned i = 0; i < l->fill_count; i++)
		cold_fill(l, &l->fill[i]);
}
