/* SPDX-License-Identifier: MIT */
/*
 * Of the system instructions those that a kernel runs most: they are a few loads and stores of the
 * vCPU's state, and leaving for them would cost ten times that. At CPL 0 unless it says otherwise;
 * elsewhere, and where one would have to fault, they are the interpreter's.
 *
 * Bits of RFLAGS that the host's register does not have are in engine_vcpu.rflags. They are set and
 * cleared without touching flags: PEXT and PDEP by the same mask keep what is in it.
 */
#include "vmm/bt/decode_impl.h"
#include "vmm/bt/lower.h"
#include "vmm/bt/native.h"

#define FIELD(name) emit_field(offsetof(struct engine_vcpu, name))

/* `reg` keeps the bits of a mask. */
static void keep(struct lowering *l, unsigned reg, size_t mask)
{
	emit_extract(&l->e, reg, reg, emit_field(mask));
	emit_deposit(&l->e, reg, reg, emit_field(mask));
}

#define KEEP(l, reg, name) keep(l, reg, offsetof(struct engine_vcpu, world.name))

static void flag_set(struct lowering *l, size_t others, int32_t flag)
{
	emit_load(&l->e, GLUE_C, FIELD(rflags), 8);
	keep(l, GLUE_C, others);
	if (flag)
		emit_lea(&l->e, GLUE_C, emit_at(GLUE_C, flag), 8);
	emit_store(&l->e, FIELD(rflags), GLUE_C, 8);
}

static void lower_cli(struct lowering *l)
{
	flag_set(l, offsetof(struct engine_vcpu, world.not_if), 0);
}

/*
 * Interrupts wait for the instruction behind it, so that has to be one of ours, which goes on:
 * then it is asked if there are any (lower_block).
 */
static bool lower_sti(struct lowering *l)
{
	if (l->at + 1 >= l->count || !lower_goes_on(l, &l->insns[l->at + 1]))
		return false;
	flag_set(l, offsetof(struct engine_vcpu, world.not_if), RFLAGS_IF);
	l->shadow = true;
	return true;
}

void lower_shadow_end(struct lowering *l)
{
	uint8_t *skip;

	l->shadow = false;
	/* attention, and waiting behind it */
	emit_load(&l->e, GLUE_C, FIELD(attention), 2);
	skip = emit_skip_if_zero(&l->e);
	l->poll[l->poll_count++] =
		(struct lowered_jump){.jump = emit_jump(&l->e), .rip = l->next_rip, .from = l->rip};
	emit_skip_end(&l->e, skip);
}

void lower_shadow_keep(struct lowering *l)
{
	emit_constant(&l->e, GLUE_C, CPU_SHADOW_STI);
	emit_store(&l->e, FIELD(shadow), GLUE_C, 1);
}

static void lower_swapgs(struct lowering *l)
{
	struct emit_memory base = FIELD(segment[CPU_GS].base);

	emit_load(&l->e, GLUE_C, base, 8);
	emit_load(&l->e, GLUE_T, FIELD(msr.kernel_gs_base), 8);
	emit_store(&l->e, FIELD(msr.kernel_gs_base), GLUE_C, 8);
	emit_store(&l->e, base, GLUE_T, 8);
}

/* It is a mode of its own for the soft TLB. */
static void lower_ac(struct lowering *l, bool on)
{
	enum tlb_mode mode = on ? TLB_SUPERVISOR_AC : TLB_SUPERVISOR;

	flag_set(l, offsetof(struct engine_vcpu, world.not_ac), on ? RFLAGS_AC : 0);
	emit_constant(&l->e, GLUE_C, mode);
	emit_store(&l->e, FIELD(tlb_mode), GLUE_C, 1);
	for (unsigned i = 0; i < 2; i++) {
		size_t step = i * sizeof(struct fast_tlb *);

		emit_load(&l->e, GLUE_C,
			  emit_field(offsetof(struct engine_vcpu, world.lookaside.tlb) +
				     2 * mode * sizeof(struct fast_tlb *) + step),
			  8);
		emit_store(&l->e, emit_field(offsetof(struct engine_vcpu, world.fast) + step),
			   GLUE_C, 8);
	}
	l->user_memory = on;
}

/* At any privilege. The host's flags by way of its own stack. */
static bool lower_pushf(struct lowering *l)
{
	if (l->insn->operand_size != 8)
		return false;
	emit_store(&l->e, FIELD(world.scratch), CPU_RSP, 8);
	emit_load(&l->e, CPU_RSP, FIELD(world.host_rsp), 8);
	emit_byte(&l->e, 0x9c); /* PUSHFQ */
	emit_byte(&l->e, 0x41); /* POP T */
	emit_byte(&l->e, 0x58 | (GLUE_T & 7));
	emit_load(&l->e, CPU_RSP, FIELD(world.scratch), 8);
	KEEP(l, GLUE_T, carried);
	emit_load(&l->e, GLUE_C, FIELD(rflags), 8);
	KEEP(l, GLUE_C, not_carried);
	emit_lea(&l->e, GLUE_T, (struct emit_memory){.base = GLUE_T, .index = GLUE_C, .scale = 1},
		 8);
	emit_store(&l->e, FIELD(world.scratch), GLUE_T, 8);
	lower_push_scratch(l);
	return true;
}

/* EDX:EAX += offset. */
static bool lower_rdtsc(struct lowering *l)
{
	struct emit_memory sum = {.base = GLUE_T, .index = CPU_RAX, .scale = 1};

	if (l->checked)
		return false;
	emit_byte(&l->e, 0x0f);
	emit_byte(&l->e, 0x31);
	emit_rorx(&l->e, GLUE_T, CPU_RDX, 32, 8);
	emit_lea(&l->e, GLUE_T, sum, 8);
	emit_load(&l->e, CPU_RAX, FIELD(tsc_offset), 8);
	emit_lea(&l->e, GLUE_T, sum, 8);
	emit_lea(&l->e, CPU_RAX, emit_at(GLUE_T, 0), 4);
	emit_rorx(&l->e, GLUE_T, GLUE_T, 32, 8);
	emit_lea(&l->e, CPU_RDX, emit_at(GLUE_T, 0), 4);
	lower_forget(l);
	return true;
}

static bool lower_mov_from_segment(struct lowering *l)
{
	const struct operand *to = &l->insn->operand[0], *from = &l->insn->operand[1];

	if (to->kind != OPERAND_GPR || to->size < 4)
		return false;
	emit_load(&l->e, GLUE_T,
		  emit_field(offsetof(struct engine_vcpu, segment) +
			     from->reg * sizeof(struct cpu_segment) +
			     offsetof(struct cpu_segment, selector)),
		  2);
	lower_set(l, to->reg, GLUE_T);
	return true;
}

/* CMPXCHG8B and 16B: RCX is elsewhere. */
static bool lower_cmpxchg8b(struct lowering *l)
{
	const struct operand *memory = native_memory_operand(l->insn);
	struct emit_change change = {.memory = true,
				     .rm = INSN_NO_REGISTER,
				     .reg = INSN_NO_REGISTER,
				     .vvvv = INSN_NO_REGISTER};

	if (!memory)
		return false;
	change.m = lower_memory(l, memory->size, true);
	emit_move(&l->e, GLUE_C, HOST_RCX);
	lower_may_fault(l);
	if (!emit_insn(&l->e, l->insn, l->raw, &change))
		l->e.full = true;
	return true;
}

static bool lower_supervisor(struct lowering *l)
{
	switch (l->insn->opcode->id) {
	case INSN_CLI:
		lower_cli(l);
		return true;
	case INSN_STI:
		return lower_sti(l);
	case INSN_SWAPGS:
		lower_swapgs(l);
		return true;
	case INSN_STAC:
	case INSN_CLAC:
		if (l->world->has_smap)
			lower_ac(l, l->insn->opcode->id == INSN_STAC);
		return l->world->has_smap;
	case INSN_RDTSC:
		return lower_rdtsc(l);
	default:
		return false;
	}
}

bool lower_system(struct lowering *l)
{
	switch (l->insn->opcode->id) {
	case INSN_PUSHF:
		return lower_pushf(l);
	case INSN_CMPXCHG8B:
		return lower_cmpxchg8b(l);
	case INSN_MOV_FROM_SEGMENT:
		return lower_mov_from_segment(l);
	case INSN_LFENCE:
	case INSN_MFENCE:
	case INSN_SFENCE:
		emit_verbatim(&l->e, l->insn, l->raw);
		return true;
	default:
		return !l->user && lower_supervisor(l);
	}
}
