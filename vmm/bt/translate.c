/* SPDX-License-Identifier: MIT */
/*
 * The translator. Theory of operation.
 *
 * Guest and host are the same processor, so most instructions translate to themselves: `add %rbx,
 * %rax` is that in the block, too, with the guest's registers in the host's and the guest's flags
 * in the host's. What must change: memory operands, which are the guest's linear addresses
 * (lower_memory.c); registers that the glue works with (world.h); jumps (lower_control.c). Whatever
 * is not translated ends the block with an exit, and the interpreter does it: so the translator may
 * be as small as it likes, and never wrong about what it does not know.
 *
 * One instruction, from bytes to host code and back by a fault:
 *   mov 8(%rbx), %eax     at 0x401000
 * becomes
 *   lea 8(%rbx), %rcx; rorx $12, %ecx, %ecx; movzwl %cx, %ecx	the index of the page
 *   lea 11(%rbx), %r11; pext mask, %r11, %r11			the page of the last byte
 *   mov %gs:fast, %r15; lea (%r15,%rcx,8), %r15			the entry
 *   mov (%r15), %rcx; lea (%rcx,%r11), %rcx; mov addend(%r15), %r11
 *   jrcxz 1f; jmp cold; 1:						flags are untouched
 *   mov 8(%rbx,%r11), %eax
 * and, out of line,
 *   cold: fill_address = 8(%rbx); fill_what = 4 bytes, read; exit_rip = 0x401000; resume = the lea
 *         leave with WORLD_FILL
 * world.c then walks the guest's tables. It fills the entry and resumes; or the walk faults, and as
 * no register of the guest's has changed since the instruction began, the exception is delivered at
 * exit_rip as if the interpreter had found it.
 *
 * Blocks are in terms of nothing but their bytes and their address: no mode, no privilege. What
 * depends on those is not translated.
 */
#include "vmm/bt/translate.h"

#include <string.h>

#include "vmm/bt/lower.h"

#define FIELD(name) emit_field(offsetof(struct engine_vcpu, name))

/* More than any block becomes: of the longest instruction, body and cold part. */
#define INSN_ROOM  400u
#define BLOCK_ROOM (BLOCK_INSNS * INSN_ROOM + 1024)

/* Entry and exits. */

static const uint8_t saved[] = {CPU_RBX, CPU_RBP, CPU_R12, CPU_R13, CPU_R14, CPU_R15};

static void emit_push_pop(struct emit *e, unsigned opcode, unsigned reg)
{
	if (reg & 8)
		emit_byte(e, 0x41);
	emit_byte(e, opcode | (reg & 7));
}

/* PUSH (FF /6) or POP (8F /0) of a field. */
static void emit_stack_field(struct emit *e, unsigned opcode, unsigned extension, size_t offset)
{
	emit_byte(e, 0x65);
	emit_byte(e, opcode);
	emit_byte(e, extension << 3 | 4);
	emit_byte(e, 0x25);
	emit_number(e, offset, 4);
}

static bool is_carried(unsigned reg)
{
	return !is_homed(reg) && reg != CPU_RSP;
}

static void emit_enter(struct emit *e)
{
	for (unsigned i = 0; i < sizeof(saved); i++)
		emit_push_pop(e, 0x50, saved[i]);
	emit_store(e, FIELD(world.host_rsp), CPU_RSP, 8);
	emit_stack_field(e, 0xff, 6, offsetof(struct engine_vcpu, world.host_flags));
	emit_byte(e, 0x9d); /* POPFQ */
	for (unsigned reg = 0; reg < CPU_GPRS; reg++)
		if (is_carried(reg))
			emit_load(e, host_of(reg), home_of(reg), 8);
	emit_load(e, CPU_RSP, home_of(CPU_RSP), 8);
	emit_jump_memory(e, FIELD(world.target));
}

static void emit_leave(struct emit *e)
{
	for (unsigned reg = 0; reg < CPU_GPRS; reg++)
		if (is_carried(reg))
			emit_store(e, home_of(reg), host_of(reg), 8);
	emit_store(e, home_of(CPU_RSP), CPU_RSP, 8);
	emit_load(e, CPU_RSP, FIELD(world.host_rsp), 8);
	emit_byte(e, 0x9c); /* PUSHFQ */
	emit_stack_field(e, 0x8f, 0, offsetof(struct engine_vcpu, world.host_flags));
	emit_byte(e, 0xfc); /* CLD */
	for (unsigned i = sizeof(saved); i > 0; i--)
		emit_push_pop(e, 0x58, saved[i - 1]);
	emit_byte(e, 0xc3);
}

static const uint8_t *emit_exit(struct code_cache *c, struct emit *e, enum world_exit reason,
				bool rip_in_t)
{
	const uint8_t *at = code_cache_executed(c, e->at);

	if (rip_in_t)
		emit_store(e, FIELD(world.exit_rip), REG_T, 8);
	emit_store_constant(e, FIELD(world.exit_reason), (int32_t)reason);
	emit_leave(e);
	return at;
}

void translate_world(struct code_cache *c, struct world_code *out)
{
	struct emit e = {.at = c->write, .end = c->write + 4096};

	out->enter = code_cache_executed(c, e.at);
	emit_enter(&e);
	out->lookup = emit_exit(c, &e, WORLD_LOOKUP, true);
	out->interpret = emit_exit(c, &e, WORLD_INTERPRET, true);
	out->attention = emit_exit(c, &e, WORLD_ATTENTION, true);
	out->fill = emit_exit(c, &e, WORLD_FILL, false);
	out->fault = emit_exit(c, &e, WORLD_INTERPRET, false);
	c->kept = c->used = 4096;
}

/* Blocks. */

static bool lower(struct lowering *l)
{
	return lower_control(l) || lower_integer(l);
}

/* Out of line: where a jump goes until it is linked. */
static void lower_links(struct lowering *l, uint8_t *stubs[BLOCK_LINKS], struct block_link *links)
{
	for (unsigned i = 0; i < l->link_count; i++) {
		stubs[i] = l->e.at;
		emit_constant(&l->e, REG_T, (uintptr_t)&links[i]);
		emit_store(&l->e, FIELD(world.exit_link), REG_T, 8);
		emit_constant(&l->e, REG_T, l->link[i].rip);
		lower_leave(l, l->world->lookup);
		if (!l->e.full)
			*(int32_t *)(void *)l->link[i].jump =
				(int32_t)(stubs[i] - (l->link[i].jump + 4));
	}
}

/* The straight line from `at` on. Returns the guest's bytes. */
static unsigned lower_block(struct lowering *l, const uint8_t *at, unsigned room)
{
	unsigned done = 0;

	for (unsigned i = 0; i < BLOCK_INSNS && !l->ended; i++) {
		struct insn *insn = &l->insns[i];
		bool good = decode(at + done,
				   room - done < INSN_LENGTH_MAX ? room - done : INSN_LENGTH_MAX,
				   DECODE_64, insn) == 0;

		l->insn = insn;
		l->raw = at + done;
		l->rip = l->first + done;
		l->next_rip = l->rip + (good ? insn->length : 0);
		if (!good || !lower(l)) {
			emit_constant(&l->e, REG_T, l->rip);
			lower_leave(l, l->world->interpret);
			l->ended = true;
			break;
		}
		done += insn->length;
	}
	if (!l->ended)
		lower_goto(l, l->first + done);
	return done;
}

struct block *translate_block(struct code_cache *c, const struct world_code *world,
			      const uint8_t *page, uint64_t gpa, uint64_t rip)
{
	static _Thread_local struct lowering lowering;
	struct lowering *l = &lowering;
	uint8_t *room = code_cache_room(c, BLOCK_ROOM), *stubs[BLOCK_LINKS] = {0};
	unsigned offset = rip & 4095, length;
	uint8_t bytes[4096];
	struct block *b;

	if (!room)
		return NULL;
	/* The guest may write meanwhile: it is one and the same that is decoded and copied. */
	memcpy(bytes + offset, page + offset, sizeof(bytes) - offset);
	l->e = (struct emit){.at = room, .end = room + BLOCK_ROOM};
	l->cache = c;
	l->world = world;
	l->first = rip;
	l->fill_count = l->link_count = l->point_count = 0;
	l->ended = false;
	length = lower_block(l, bytes + offset, 4096 - offset);
	lower_cold_fills(l);
	lower_links(l, stubs, c->blocks[c->block_count].link);
	if (l->e.full)
		return NULL;
	for (unsigned i = 0; i < l->point_count; i++)
		if (!code_cache_add_point(c, l->point[i].at, l->point[i].rip))
			return NULL;
	b = code_cache_add(c, gpa, rip, length, room, l->e.at);
	for (unsigned i = 0; b && i < l->link_count; i++)
		b->link[i] = (struct block_link){.displacement = l->link[i].jump, .stub = stubs[i]};
	return b;
}
