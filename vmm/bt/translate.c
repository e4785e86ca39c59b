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

#include <assert.h>
#include <string.h>

#include "vmm/bt/lower.h"

#define FIELD(name) emit_field(offsetof(struct engine_vcpu, name))

/* More than any block becomes: of the longest instruction, body and cold part. */
#define INSN_ROOM  400u
#define WORLD_SIZE 16384u
#define BLOCK_ROOM ((BLOCK_INSNS + RUNS_MAX * RUN_INSNS) * INSN_ROOM + 1024)

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

/* Of the whole registers, as wide as the host has them. */
static void emit_vector_move(struct emit *e, unsigned reg, bool wide, bool store)
{
	size_t at = offsetof(struct engine_vcpu, vector.zmm) + (size_t)64 * reg;

	emit_byte(e, 0x65);
	if (wide) { /* VMOVDQU64 */
		emit_byte(e, 0x62);
		emit_byte(e, (reg & 8 ? 0 : 0x80) | 0x60 | (reg & 16 ? 0 : 0x10) | 1);
		emit_byte(e, 0xfe);
		emit_byte(e, 0x48);
	} else { /* VMOVDQU */
		emit_byte(e, 0xc5);
		emit_byte(e, (reg & 8 ? 0 : 0x80) | 0x7e);
	}
	emit_byte(e, store ? 0x7f : 0x6f);
	emit_byte(e, (reg & 7) << 3 | 4);
	emit_byte(e, 0x25);
	emit_number(e, at, 4);
}

/* KMOVQ */
static void emit_mask_move(struct emit *e, unsigned reg, bool store)
{
	static const uint8_t head[] = {0x65, 0xc4, 0xe1, 0xf8};

	for (unsigned i = 0; i < sizeof(head); i++)
		emit_byte(e, head[i]);
	emit_byte(e, store ? 0x91 : 0x90);
	emit_byte(e, reg << 3 | 4);
	emit_byte(e, 0x25);
	emit_number(e, offsetof(struct engine_vcpu, vector.k) + 8ul * reg, 4);
}

/* LDMXCSR (0F AE /2), STMXCSR (/3). */
static void emit_mxcsr(struct emit *e, size_t offset, bool store)
{
	emit_byte(e, 0x65);
	emit_byte(e, 0x0f);
	emit_byte(e, 0xae);
	emit_byte(e, (store ? 3u : 2u) << 3 | 4);
	emit_byte(e, 0x25);
	emit_number(e, offset, 4);
}

static void emit_vectors(struct emit *e, bool store)
{
	bool wide = __builtin_cpu_supports("avx512bw");

	for (unsigned reg = 0; reg < (wide ? 32u : 16u); reg++)
		emit_vector_move(e, reg, wide, store);
	for (unsigned reg = 0; reg < 8 && wide; reg++)
		emit_mask_move(e, reg, store);
	emit_mxcsr(e, offsetof(struct engine_vcpu, vector.mxcsr), store);
	if (store)
		emit_mxcsr(e, offsetof(struct engine_vcpu, world.host_mxcsr), false);
	emit_store_constant(e, FIELD(world.vectors_away), store);
}

static void emit_enter(struct emit *e, bool vectors)
{
	if (vectors)
		emit_vectors(e, false);
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
	uint8_t *away;

	for (unsigned reg = 0; reg < CPU_GPRS; reg++)
		if (is_carried(reg))
			emit_store(e, home_of(reg), host_of(reg), 8);
	emit_store(e, home_of(CPU_RSP), CPU_RSP, 8);
	emit_load(e, CPU_RSP, FIELD(world.host_rsp), 8);
	emit_byte(e, 0x9c); /* PUSHFQ */
	emit_stack_field(e, 0x8f, 0, offsetof(struct engine_vcpu, world.host_flags));
	emit_byte(e, 0xfc); /* CLD */
	/* Flags are saved: anything goes. */
	emit_load(e, GLUE_C, FIELD(world.vectors_away), 8);
	emit_byte(e, 0x48); /* TEST C, C */
	emit_byte(e, 0x85);
	emit_byte(e, 0xc9);
	away = emit_jump_if(e, 5);
	emit_vectors(e, true);
	emit_store_constant(e, FIELD(world.vectors_live), 1);
	emit_jump_aim(away, e->at);
	for (unsigned i = sizeof(saved); i > 0; i--)
		emit_push_pop(e, 0x58, saved[i - 1]);
	emit_byte(e, 0xc3);
}

/* A block wants the vector registers. Flags are the guest's. */
static const uint8_t *emit_vectors_wanted(struct code_cache *c, struct emit *e,
					  const uint8_t *fault)
{
	const uint8_t *at = code_cache_executed(c, e->at);
	uint8_t *skip;

	emit_store(e, FIELD(world.exit_rip), GLUE_T, 8);
	emit_load(e, GLUE_C, FIELD(world.vectors_unusable), 8);
	skip = emit_skip_if_zero(e);
	emit_jump_aim(emit_jump(e), code_cache_written(c, fault));
	emit_skip_end(e, skip);
	emit_vectors(e, false);
	emit_jump_memory(e, FIELD(world.resume));
	return at;
}

static const uint8_t *emit_exit(struct code_cache *c, struct emit *e, enum world_exit reason,
				bool rip_in_t)
{
	const uint8_t *at = code_cache_executed(c, e->at);

	if (rip_in_t)
		emit_store(e, FIELD(world.exit_rip), GLUE_T, 8);
	emit_store_constant(e, FIELD(world.exit_reason), (int32_t)reason);
	emit_leave(e);
	return at;
}

void translate_world(struct code_cache *c, struct world_code *out)
{
	struct emit e = {.at = c->write, .end = c->write + WORLD_SIZE};

	out->enter = code_cache_executed(c, e.at);
	emit_enter(&e, false);
	out->enter_vectors = code_cache_executed(c, e.at);
	emit_enter(&e, true);
	out->lookup = emit_exit(c, &e, WORLD_LOOKUP, true);
	out->interpret = emit_exit(c, &e, WORLD_INTERPRET, true);
	out->attention = emit_exit(c, &e, WORLD_ATTENTION, true);
	out->fill = emit_exit(c, &e, WORLD_FILL, false);
	out->fault = emit_exit(c, &e, WORLD_INTERPRET, false);
	out->vectors = emit_vectors_wanted(c, &e, out->fault);
	assert(!e.full);
	c->kept = c->used = WORLD_SIZE;
}

/* Blocks. */

static bool lower(struct lowering *l)
{
	return lower_control(l) || lower_integer(l) || lower_vector(l);
}

/* Out of line: where a jump goes until it is linked. */
static void lower_links(struct lowering *l, uint8_t *stubs[BLOCK_LINKS], struct block_link *links)
{
	for (unsigned i = 0; i < l->link_count; i++) {
		stubs[i] = l->e.at;
		emit_constant(&l->e, GLUE_T, (uintptr_t)&links[i]);
		emit_store(&l->e, FIELD(world.exit_link), GLUE_T, 8);
		emit_constant(&l->e, GLUE_T, l->link[i].rip);
		lower_leave(l, l->world->lookup);
		emit_jump_aim(l->link[i].jump, stubs[i]);
	}
}

/* The straight line from `at` on. Returns the guest's bytes. */
static unsigned lower_block(struct lowering *l, const uint8_t *at)
{
	unsigned done = 0;

	for (unsigned i = 0; i < BLOCK_INSNS && !l->ended; i++) {
		struct insn *insn = &l->insns[i];
		bool good = lower_decode(l, at + done, insn);
		unsigned run;

		l->insn = insn;
		l->raw = at + done;
		l->rip = l->first + done;
		l->next_rip = l->rip + (good ? insn->length : 0);
		run = good ? lower_run(l) : 0;
		if (run) {
			done += run;
			continue;
		}
		if (!good || !lower(l)) {
			emit_constant(&l->e, GLUE_T, l->rip);
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
	l->checked = c->checked;
	l->first = rip;
	l->fill_count = l->link_count = l->point_count = 0;
	l->ended = l->vectors = false;
	l->run_count = 0;
	l->end = bytes + sizeof(bytes);
	length = lower_block(l, bytes + offset);
	lower_cold_runs(l);
	lower_cold_fills(l);
	lower_cold_vectors(l);
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
