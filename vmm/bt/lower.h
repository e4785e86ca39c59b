/* SPDX-License-Identifier: MIT */
/* What the files of the translator call of one another. */
#ifndef VMM_BT_LOWER_H
#define VMM_BT_LOWER_H

#include "vmm/bt/lowering.h"

/* Is it one of those that stay in memory? */
static inline bool is_homed(unsigned reg)
{
	return reg == CPU_R10 || reg == CPU_R11 || reg == CPU_R15;
}

/* Where a guest's register is that is not. */
static inline unsigned host_of(unsigned reg)
{
	return reg == CPU_RCX ? HOST_RCX : reg;
}

static inline struct emit_memory home_of(unsigned reg)
{
	return emit_field(offsetof(struct engine_vcpu, gpr) + 8ul * reg);
}

/* A guest's register's value in `scratch`, or where it is: which of both it is. */
unsigned lower_get(struct lowering *l, unsigned reg, unsigned scratch);
void lower_set(struct lowering *l, unsigned reg, unsigned from);

/*
 * lower_memory.c. The host's address of the instruction's memory operand; then C is free, and T if
 * the result does not name it.
 */
struct emit_memory lower_memory(struct lowering *l, unsigned size, bool write);
/* H becomes the distance to the window of what `base`, a register of the host's, points to. */
void lower_window_find(struct lowering *l, unsigned base);
/*
 * An access by the register and with the distance in H that the one before had, which was not by
 * the soft TLB.
 */
void lower_again(struct lowering *l, unsigned base, int32_t displacement, unsigned size,
		 bool write);
/* Of `size` bytes at base + displacement, a register that is in the host's. */
struct emit_memory lower_based(struct lowering *l, unsigned base, int32_t displacement,
			       unsigned size, bool write);
/*
 * The look-up alone, of a register and a displacement: H becomes what must be added, C and T are
 * used. Returns the displacement of the jump that a miss takes.
 */
uint8_t *lower_probe(struct lowering *l, struct emit_memory at, unsigned size, bool write);
/* The linear address of the instruction's memory operand, in T; C is used. */
void lower_address(struct lowering *l, const struct insn *insn, uint64_t next_rip);
void lower_cold_fills(struct lowering *l);
/* world.resume is a place of this block. T is used. */
void lower_resume(struct lowering *l, const uint8_t *at);

/* lower_integer.c, lower_control.c: false: not one that is translated, and nothing was written. */
bool lower_integer(struct lowering *l);
bool lower_control(struct lowering *l);
/* Instructions from the present one on that are a run, with what it ends in: so many, or 0. */
unsigned lower_run(struct lowering *l);
void lower_cold_runs(struct lowering *l);
/* lower_string.c: likewise. */
bool lower_string(struct lowering *l);
/* lower_system.c: likewise. */
bool lower_system(struct lowering *l);
/* Behind the instruction that STI shadows: interrupts may come; or it is the interpreter's. */
void lower_shadow_end(struct lowering *l);
void lower_shadow_keep(struct lowering *l);
/* translate.c: is what follows an instruction the next one, without leaving translated code? */
bool lower_goes_on(const struct lowering *l, const struct insn *insn);
/* lower_control.c: PUSH of world.scratch. */
void lower_push_scratch(struct lowering *l);
/* lower_vector.c: likewise. */
bool lower_vector(struct lowering *l);
bool lower_x87(struct lowering *l);
/*
 * Behind a visit to the interpreter: who loops may jump to where they were known to be there. Ahead
 * of a loop: those that it is going to want, once for all turns.
 */
void lower_vectors_away(struct lowering *l);
void lower_vectors_for_loop(struct lowering *l);
void lower_cold_vectors(struct lowering *l);
/* The operand that a field of the encoding names, if it is a general register. */
void lower_place_find(const struct insn *insn, enum opcode_source a, enum opcode_source b,
		      struct place *out);
/* Does it name CL, ECX or RCX without saying so in its encoding? */
bool lower_names_cx(const struct insn *insn);

/* The instruction at `at`, if it lies in the page. */
static inline bool lower_decode(const struct lowering *l, const uint8_t *at, struct insn *out)
{
	size_t left = (size_t)(l->end - at);

	return decode(at, left < INSN_LENGTH_MAX ? left : INSN_LENGTH_MAX, DECODE_64, out) == 0;
}

static inline bool lower_by_window(const struct lowering *l)
{
	return l->windowed && !l->user_memory;
}

/* The next instruction written may fault, as the guest's would; or for its window. */
static inline void lower_may_fault(struct lowering *l)
{
	l->access.at = code_cache_executed(l->cache, l->e.at);
	l->access.rip = l->rip;
	l->point[l->point_count++] = l->access;
	l->access = (struct fault_point){0};
}

/* The next instruction written is the access that was prepared. */
static inline void lower_touch(struct lowering *l)
{
	if (l->access.size)
		lower_may_fault(l);
}

/* lower_memory.c: nothing is known of H. Who writes to it by way of emit.h need not say so. */
static inline void lower_forget(struct lowering *l)
{
	l->known.what = KNOWN_NOTHING;
}
/* What the instruction has done to what is known. */
void lower_remember(struct lowering *l);
/* lower_control.c: the present instruction is a target: poll, if one further on jumps here. */
void lower_loop_head(struct lowering *l);
/*
 * The entry of known code whose index in that way is in C: H is where it is, and C zero if it is of
 * the address in T.
 */
void lower_jump_entry(struct emit *e, unsigned way);
void lower_cold_jumps(struct lowering *l);
/*
 * lower_control.c: on to an address that is known, or that is in T. `undo`: what RSP must be moved
 * by if that is no address, and the instruction faults.
 */
void lower_goto(struct lowering *l, uint64_t rip);
void lower_goto_t(struct lowering *l, int32_t undo);
/* To what may lie in two pages, and is not linked. */
void lower_goto_across(struct lowering *l, uint64_t rip);
/* Leave by one of world_code's. */
void lower_leave(struct lowering *l, const uint8_t *to);

#endif
