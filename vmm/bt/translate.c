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
 * That is for code that runs seldom. Each millisecond the page of code that runs is noted, and one
 * that was seen three times is hot (code_cache.c). Its blocks are translated anew: they go on
 * behind jumps that are not taken, loop within themselves, and their accesses are by windows
 * (windows.h), rorx $32, %rbx, %rcx; movzwl %cx, %ecx; mov %gs:distance(,%rcx,8), %r11 mov
 * 8(%rbx,%r11), %eax of which a second access by the same register needs the last line alone. A
 * page that is missing there is a SIGSEGV. Its handler (world_fault) finds the instruction by the
 * block's fault points, walks, maps the page and returns; or, if the walk faults, goes on at an
 * exit behind which the interpreter does the instruction, and faults.
 *
 * What has no lowering of its own leaves with WORLD_INSN and comes back behind it. Blocks are in
 * terms of their bytes, their address and the privilege: CPL 0 or 3, in 64-bit mode. What depends
 * on more is not translated.
 */
#include "vmm/bt/translate.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "vmm/bt/lower.h"
#include "vmm/bt/native.h"

#define FIELD(name) emit_field(offsetof(struct engine_vcpu, name))

/* More than any block becomes: of the longest instruction, body and cold part. */
#define INSN_ROOM  400u
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

static void emit_bytes(struct emit *e, const uint8_t *bytes, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		emit_byte(e, bytes[i]);
}

#define EMIT_BYTES(e, ...)                                                                         \
	emit_bytes(e, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* How much of a vector register. */
enum width { WIDTH_128, WIDTH_256, WIDTH_512 };

static enum width host_width(void)
{
	return __builtin_cpu_supports("avx512bw") ? WIDTH_512 : WIDTH_256;
}

/* VMOVDQU, VMOVDQU64. */
static void emit_vector_move(struct emit *e, unsigned reg, enum width width, bool store)
{
	size_t at = offsetof(struct engine_vcpu, vector.zmm) + (size_t)64 * reg;

	emit_byte(e, 0x65);
	if (width == WIDTH_512) {
		emit_byte(e, 0x62);
		emit_byte(e, (reg & 8 ? 0 : 0x80) | 0x60 | (reg & 16 ? 0 : 0x10) | 1);
		emit_byte(e, 0xfe);
		emit_byte(e, 0x48);
	} else {
		emit_byte(e, 0xc5);
		emit_byte(e, (reg & 8 ? 0 : 0x80) | 0x7a | (width == WIDTH_256 ? 4 : 0));
	}
	emit_byte(e, store ? 0x7f : 0x6f);
	emit_byte(e, (reg & 7) << 3 | 4);
	emit_byte(e, 0x25);
	emit_number(e, at, 4);
}

/* VPORQ ZMM0, ZMM0, or VPOR YMM0, YMM0, with a register's place in memory. */
static void emit_vector_or(struct emit *e, unsigned reg, enum width width)
{
	emit_byte(e, 0x65);
	if (width == WIDTH_512)
		EMIT_BYTES(e, 0x62, 0xf1, 0xfd, 0x48, 0xeb, 0x04, 0x25);
	else
		EMIT_BYTES(e, 0xc5, 0xfd, 0xeb, 0x04, 0x25);
	emit_number(e, offsetof(struct engine_vcpu, vector.zmm) + (size_t)64 * reg, 4);
}

/* C becomes 0 if all that registers 0 to 15 have above their low 128 bits, in memory, is 0. */
static void emit_upper_halves(struct emit *e, enum width width)
{
	emit_vector_move(e, 0, width, false);
	for (unsigned reg = 1; reg < 16; reg++)
		emit_vector_or(e, reg, width);
	if (width == WIDTH_512) {
		EMIT_BYTES(e, 0x62, 0xf3, 0xfd, 0x48, 0x3b, 0xc1,
			   1);                                  /* VEXTRACTI64X4 1, ZMM0, YMM1 */
		EMIT_BYTES(e, 0xc4, 0xe3, 0x7d, 0x39, 0xc2, 1); /* VEXTRACTI128 1, YMM0, XMM2 */
		EMIT_BYTES(e, 0xc4, 0xe3, 0x7d, 0x39, 0xcb, 1); /* VEXTRACTI128 1, YMM1, XMM3 */
		EMIT_BYTES(e, 0xc5, 0xf1, 0xeb, 0xca);          /* VPOR XMM2, XMM1, XMM1 */
		EMIT_BYTES(e, 0xc5, 0xf1, 0xeb, 0xcb);          /* VPOR XMM3, XMM1, XMM1 */
	} else {
		EMIT_BYTES(e, 0xc4, 0xe3, 0x7d, 0x39, 0xc1, 1); /* VEXTRACTI128 1, YMM0, XMM1 */
	}
	EMIT_BYTES(e, 0xc5, 0xf1, 0x6d, 0xd1);       /* VPUNPCKHQDQ XMM1, XMM1, XMM2 */
	EMIT_BYTES(e, 0xc5, 0xf1, 0xeb, 0xca);       /* VPOR XMM2, XMM1, XMM1 */
	EMIT_BYTES(e, 0xc4, 0xe1, 0xf9, 0x7e, 0xc9); /* VMOVQ XMM1, RCX */
}

#define EMIT_VZEROUPPER(e) EMIT_BYTES(e, 0xc5, 0xf8, 0x77)

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

/* What only AVX-512 has. */
static void emit_vectors_more(struct emit *e, bool store)
{
	if (host_width() != WIDTH_512)
		return;
	for (unsigned reg = 16; reg < 32; reg++)
		emit_vector_move(e, reg, WIDTH_512, store);
	for (unsigned reg = 0; reg < 8; reg++)
		emit_mask_move(e, reg, store);
}

static void emit_vectors_store(struct emit *e)
{
	for (unsigned reg = 0; reg < 16; reg++)
		emit_vector_move(e, reg, host_width(), true);
	emit_vectors_more(e, true);
	EMIT_VZEROUPPER(e);
	emit_mxcsr(e, offsetof(struct engine_vcpu, vector.mxcsr), true);
	emit_mxcsr(e, offsetof(struct engine_vcpu, world.host_mxcsr), false);
	emit_store_constant(e, FIELD(world.vectors_away), 1);
}

/*
 * Upper halves that are all zeros must be so for the host's processor, too: had they been loaded,
 * each instruction of SSE would have to keep them, and so wait for its destination's old value.
 */
static void emit_vectors_load(struct emit *e)
{
	uint8_t *narrow, *jump, *done;

	emit_vectors_more(e, false);
	emit_upper_halves(e, host_width());
	narrow = emit_skip_if_zero(e);
	jump = emit_jump(e);
	emit_skip_end(e, narrow);
	EMIT_VZEROUPPER(e);
	for (unsigned reg = 0; reg < 16; reg++)
		emit_vector_move(e, reg, WIDTH_128, false);
	done = emit_jump(e);
	emit_jump_aim(jump, e->at);
	for (unsigned reg = 0; reg < 16; reg++)
		emit_vector_move(e, reg, host_width(), false);
	emit_jump_aim(done, e->at);
	emit_mxcsr(e, offsetof(struct engine_vcpu, vector.mxcsr), false);
	emit_store_constant(e, FIELD(world.vectors_away), 0);
}

/* XSAVE64 (0F AE /4) or XRSTOR64 (/5) of x87's part alone: EDX:EAX is 1. */
static void emit_x87_image(struct emit *e, unsigned extension)
{
	emit_constant(e, CPU_RAX, 1);
	emit_constant(e, CPU_RDX, 0);
	emit_byte(e, 0x65);
	emit_byte(e, 0x48);
	emit_byte(e, 0x0f);
	emit_byte(e, 0xae);
	emit_byte(e, extension << 3 | 4);
	emit_byte(e, 0x25);
	emit_number(e, offsetof(struct engine_vcpu, vector.x87), 4);
}

/* RAX and RDX are stored. Of the last instruction the host has its own idea: ours is kept. */
static void emit_x87_save(struct emit *e)
{
	struct emit_memory opcode = FIELD(vector.x87[X87_AT_OPCODE]),
			   ip = FIELD(vector.x87[X87_AT_IP]), dp = FIELD(vector.x87[X87_AT_DP]);

	emit_load(e, GLUE_C, ip, 8);
	emit_load(e, GLUE_T, dp, 8);
	emit_load(e, GLUE_H, opcode, 2);
	emit_x87_image(e, 4);
	emit_store(e, ip, GLUE_C, 8);
	emit_store(e, dp, GLUE_T, 8);
	emit_store(e, opcode, GLUE_H, 2);
	emit_store_constant(e, FIELD(world.x87_away), 1);
}

/* Where flags do not matter: over what follows if a field is not zero, or if it is. */
static uint8_t *emit_skip_if_field(struct emit *e, struct emit_memory field, bool zero)
{
	emit_load(e, GLUE_C, field, 8);
	emit_byte(e, 0x48); /* TEST C, C */
	emit_byte(e, 0x85);
	emit_byte(e, 0xc9);
	return emit_jump_if(e, zero ? 4 : 5);
}

/* x87's registers are loaded. RAX and RDX change. */
static void emit_x87_load(struct emit *e)
{
	emit_store_constant(e, FIELD(vector.x87_header), 1);
	emit_x87_image(e, 5);
	emit_store_constant(e, FIELD(world.x87_away), 0);
}

static void emit_enter(struct emit *e)
{
	uint8_t *skip = emit_skip_if_field(e, FIELD(world.vectors_back), true);

	emit_vectors_load(e);
	emit_jump_aim(skip, e->at);
	skip = emit_skip_if_field(e, FIELD(world.x87_back), true);
	emit_x87_load(e);
	emit_jump_aim(skip, e->at);
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
	away = emit_skip_if_field(e, FIELD(world.x87_away), false);
	emit_x87_save(e);
	emit_store_constant(e, FIELD(world.x87_live), 1);
	emit_jump_aim(away, e->at);
	away = emit_skip_if_field(e, FIELD(world.vectors_away), false);
	emit_vectors_store(e);
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
	emit_vectors_load(e);
	emit_jump_memory(e, FIELD(world.resume));
	return at;
}

/* A block wants x87's registers. */
static const uint8_t *emit_x87_wanted(struct code_cache *c, struct emit *e, const uint8_t *fault)
{
	const uint8_t *at = code_cache_executed(c, e->at);
	uint8_t *skip;

	emit_store(e, FIELD(world.exit_rip), GLUE_T, 8);
	emit_load(e, GLUE_C, FIELD(world.x87_unusable), 8);
	skip = emit_skip_if_zero(e);
	emit_jump_aim(emit_jump(e), code_cache_written(c, fault));
	emit_skip_end(e, skip);
	emit_move(e, GLUE_T, CPU_RAX);
	emit_move(e, GLUE_H, CPU_RDX);
	emit_x87_load(e);
	emit_move(e, CPU_RAX, GLUE_T);
	emit_move(e, CPU_RDX, GLUE_H);
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

/* The second way of known code, behind the first (lower_goto_t). RIP is in T. */
static const uint8_t *emit_second(struct code_cache *c, struct emit *e, const uint8_t *lookup)
{
	const uint8_t *at = code_cache_executed(c, e->at);
	struct emit_memory m = emit_at(GLUE_C, 0);
	uint8_t *skip;

	emit_rorx(e, GLUE_C, GLUE_T, JUMP_SHIFT, 8);
	m.index = GLUE_T;
	emit_lea(e, GLUE_C, m, 8);
	emit_extend_16(e, GLUE_C, GLUE_C);
	lower_jump_entry(e, 1);
	skip = emit_skip_if_zero(e);
	emit_jump_aim(emit_jump(e), code_cache_written(c, lookup));
	emit_skip_end(e, skip);
	emit_store_constant(e, FIELD(world.branch_rip), 0);
	emit_jump_memory(e, emit_at(GLUE_H, offsetof(struct jump_entry, code)));
	return at;
}

void translate_world(struct code_cache *c, struct world_code *out)
{
	struct emit e = {.at = c->write, .end = c->write + CODE_KEPT};

	out->enter = code_cache_executed(c, e.at);
	emit_enter(&e);
	out->lookup = emit_exit(c, &e, WORLD_LOOKUP, true);
	out->second = emit_second(c, &e, out->lookup);
	out->interpret = emit_exit(c, &e, WORLD_INTERPRET, true);
	out->attention = emit_exit(c, &e, WORLD_ATTENTION, true);
	out->fill = emit_exit(c, &e, WORLD_FILL, false);
	out->insn = emit_exit(c, &e, WORLD_INSN, true);
	out->fault = emit_exit(c, &e, WORLD_INTERPRET, false);
	out->vectors = emit_vectors_wanted(c, &e, out->fault);
	out->x87 = emit_x87_wanted(c, &e, out->fault);
	out->back = code_cache_executed(c, e.at);
	emit_load(&e, CPU_RSP, FIELD(world.back_rsp), 8);
	emit_jump_memory(&e, FIELD(world.back_rip));
	out->back_end = code_cache_executed(c, e.at);
	assert(!e.full);
}

/* Blocks. */

static bool lower(struct lowering *l)
{
	return lower_control(l) || lower_integer(l) || lower_vector(l) || lower_x87(l) ||
	       lower_string(l) || lower_system(l);
}

/* Out of line: where a jump goes until it is linked. */
static void lower_links(struct lowering *l, struct block_link *links)
{
	for (unsigned i = 0; i < l->link_count; i++) {
		uint8_t *stub = l->e.at;

		if (l->e.full)
			return;
		emit_constant(&l->e, GLUE_T, (uintptr_t)&links[i]);
		emit_store(&l->e, FIELD(world.exit_link), GLUE_T, 8);
		emit_constant(&l->e, GLUE_T, l->link[i].rip);
		lower_leave(l, l->world->lookup);
		emit_jump_aim(l->link[i].jump, stub);
		links[i] = (struct block_link){.displacement = l->link[i].jump, .stub = stub};
	}
}

/* Is what follows certainly elsewhere, or in another mode? */
static bool goes_elsewhere(const struct insn *insn)
{
	switch (insn->opcode->id) {
	case INSN_SYSCALL:
	case INSN_SYSRET:
	case INSN_IRET:
	case INSN_HLT:
	case INSN_INT:
	case INSN_INT3:
	case INSN_INT1:
	case INSN_UD:
	case INSN_LOOP:
	case INSN_LOOPE:
	case INSN_LOOPNE:
	case INSN_JCXZ:
	case INSN_CALL:
	case INSN_CALL_INDIRECT:
	case INSN_JMP:
	case INSN_JMP_INDIRECT:
	case INSN_RET:
	case INSN_RET_FAR:
	case INSN_JMP_FAR_INDIRECT:
	case INSN_CALL_FAR_INDIRECT:
		return true;
	default:
		return false;
	}
}

/* Does the line end with it? */
static bool is_end(const struct lowering *l, const struct insn *insn)
{
	return insn->opcode->id == INSN_JCC ? !l->is_long : goes_elsewhere(insn);
}

bool lower_goes_on(const struct lowering *l, const struct insn *insn)
{
	return !is_end(l, insn) && insn->opcode->id != INSN_JCC && insn->opcode->id != INSN_STI;
}

/* It jumps to an instruction ahead of it on the line. */
static void target_note(struct lowering *l, const struct insn *insn, uint64_t next)
{
	uint64_t target = next + insn->immediate;

	if (!l->loops || (insn->opcode->id != INSN_JCC && insn->opcode->id != INSN_JMP))
		return;
	for (unsigned i = 0; i < l->count; i++)
		l->target[i] |= l->rips[i] == target;
}

/* The line from `at` on: to the end of the page, of what is decoded, or where it must end. */
static void line_find(struct lowering *l, const uint8_t *at)
{
	bool ended = false;

	for (l->count = 0; l->count < BLOCK_INSNS && !ended;) {
		struct insn *insn = &l->insns[l->count];
		uint64_t rip = l->first + (uint64_t)(at - l->raw);

		if (!lower_decode(l, at, insn))
			return;
		l->rips[l->count] = rip;
		l->target[l->count++] = false;
		at += insn->length;
		target_note(l, insn, rip + insn->length);
		ended = is_end(l, insn) || l->single;
	}
}

/*
 * Leave for one instruction, decoded as it is, and come back behind it. False: not where each block
 * is run twice.
 */
static bool lower_by_interpreter(struct lowering *l)
{
	const struct insn *insn;
	uint8_t *behind = NULL;

	/* native.c has a stub for each that its vCPU has decoded. */
	if (l->shadow || l->checked || l->insn->opcode->id == INSN_NATIVE ||
	    l->insn->opcode->id == INSN_X87)
		return false;
	insn = code_cache_add_insn(l->cache, l->insn);
	if (!insn)
		return false;
	emit_constant(&l->e, GLUE_T, (uintptr_t)insn);
	emit_store(&l->e, FIELD(world.exit_insn), GLUE_T, 8);
	l->ended = goes_elsewhere(insn);
	if (l->ended) {
		emit_store_constant(&l->e, FIELD(world.resume), 0);
	} else {
		behind = emit_lea_ahead(&l->e, GLUE_T);
		emit_store(&l->e, FIELD(world.resume), GLUE_T, 8);
	}
	emit_constant(&l->e, GLUE_T, l->rip);
	lower_leave(l, l->world->insn);
	emit_jump_aim(behind, l->e.at);
	lower_forget(l);
	if (!l->ended)
		lower_vectors_away(l);
	return true;
}

bool translate_is_across(const uint8_t *bytes, unsigned left)
{
	struct insn insn;

	return decode(bytes, left, DECODE_64, &insn) == -EAGAIN;
}

/* Returns the guest's bytes. */
static unsigned lower_block(struct lowering *l, const uint8_t *first)
{
	uint64_t end = l->first;

	l->raw = l->line = first;
	line_find(l, first);
	for (l->at = 0; l->at < l->count && !l->ended;) {
		unsigned run;
		bool shadowed;

		l->insn = &l->insns[l->at];
		l->rip = l->rips[l->at];
		l->raw = first + (l->rip - l->first);
		l->next_rip = l->rip + l->insn->length;
		lower_loop_head(l);
		shadowed = l->shadow;
		run = shadowed ? 0 : lower_run(l);
		if (!run && !lower(l) && !lower_by_interpreter(l))
			break;
		if (!run)
			lower_remember(l);
		if (shadowed)
			lower_shadow_end(l);
		l->at += run ? run : 1;
		end = l->rips[l->at - 1] + l->insns[l->at - 1].length;
	}
	if (!l->ended && l->count && l->at == l->count &&
	    (l->count == BLOCK_INSNS || l->single || end % 4096 == 0)) {
		lower_goto(l, end);
	} else if (!l->ended && l->count && l->at == l->count &&
		   end % 4096 > 4096 - INSN_LENGTH_MAX) {
		lower_goto_across(l, end);
	} else if (!l->ended) {
		if (l->shadow)
			lower_shadow_keep(l);
		emit_constant(&l->e, GLUE_T, end);
		lower_leave(l, l->world->interpret);
	}
	return (unsigned)(end - l->first);
}

struct block *translate_block(struct code_cache *c, const struct world_code *world,
			      const uint8_t *page, const uint8_t *second,
			      const struct block *wanted, bool windowed)
{
	static _Thread_local struct lowering lowering;
	struct lowering *l = &lowering;
	uint8_t *room = code_cache_room(c, BLOCK_ROOM);
	unsigned offset = wanted->rip & 4095;
	struct block block = *wanted;
	uint8_t bytes[4096 + INSN_LENGTH_MAX];

	if (!room)
		return NULL;
	/* The guest may write meanwhile: it is one and the same that is decoded and copied. */
	memcpy(bytes + offset, page + offset, 4096 - offset);
	if (second)
		memcpy(bytes + 4096, second, INSN_LENGTH_MAX);
	l->e = (struct emit){.at = room, .end = room + BLOCK_ROOM};
	l->cache = c;
	l->world = world;
	l->checked = c->checked;
	l->first = wanted->rip;
	l->user = wanted->user;
	l->windowed = windowed;
	l->is_long = windowed || c->checked;
	l->loops = windowed && !c->checked;
	l->access = (struct fault_point){0};
	lower_forget(l);
	l->fill_count = l->link_count = l->point_count = l->side_count = l->poll_count = 0;
	l->ended = l->vectors = l->x87 = false;
	l->shadow = l->user_memory = false;
	l->want_count = 0;
	l->run_count = 0;
	l->end = bytes + 4096 + (second ? INSN_LENGTH_MAX : 0);
	l->single = second;
	block.length = lower_block(l, bytes + offset);
	lower_cold_jumps(l);
	lower_cold_runs(l);
	lower_cold_fills(l);
	lower_cold_vectors(l);
	block.link_count = l->link_count;
	block.link = code_cache_links(c, l->link_count);
	if (!block.link)
		return NULL;
	lower_links(l, block.link);
	if (l->e.full)
		return NULL;
	for (unsigned i = 0; i < l->point_count; i++)
		if (!code_cache_add_point(c, &l->point[i]))
			return NULL;
	return code_cache_add(c, &block, room, l->e.at);
}
