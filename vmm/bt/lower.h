/* SPDX-License-Identifier: MIT */
/* What the files of the translator share: a block under way. */
#ifndef VMM_BT_LOWER_H
#define VMM_BT_LOWER_H

#include "vmm/bt/opcode.h"
#include "vmm/bt/translate.h"

/* The glue's registers, and the guest's RCX. */
#define GLUE_C   CPU_RCX
#define GLUE_T   CPU_R15
#define GLUE_H   CPU_R11
#define HOST_RCX CPU_R14

#define BLOCK_INSNS 64u

/* A general register that an instruction of ModRM names. */
struct place {
	const struct operand *operand; /* NULL: the field names none */
	unsigned reg;                  /* the guest's */
	unsigned host;
};

/* An access's way out of line. */
struct cold_fill {
	uint8_t *jump;  /* the displacement that leads there */
	uint8_t *retry; /* where the access begins anew */
	uint64_t rip;
	const struct insn *insn; /* its memory operand; NULL: the stack at `m` */
	struct emit_memory m;
	unsigned what;
};

/* Pushes, or pops, in a row: one look-up, and each its own out of line where that fails. */
#define RUN_INSNS 16u
#define RUNS_MAX  4u

struct stack_run {
	bool push;
	unsigned count;
	struct insn insn[RUN_INSNS];
	uint64_t rip[RUN_INSNS];
	uint8_t *jump;        /* the displacement that leads out of line */
	const uint8_t *after; /* where both ways meet */
};

struct lowering {
	struct emit e;
	struct code_cache *cache;
	const struct world_code *world;
	uint64_t rip, next_rip; /* of the instruction */
	uint64_t first;         /* of the block */
	const uint8_t *raw;     /* its bytes */
	const uint8_t *end;     /* of the page's */
	const struct insn *insn;
	struct insn insns[BLOCK_INSNS]; /* they outlive their lowering, for the cold part */
	unsigned fill_count;
	struct cold_fill fill[2 * BLOCK_INSNS + RUNS_MAX * RUN_INSNS];
	struct {
		uint8_t *jump;
		uint64_t rip;
	} link[BLOCK_LINKS];
	unsigned link_count;
	/* Has it asked for the vector registers; where that was. */
	bool vectors;
	uint8_t *vectors_jump, *vectors_resume;
	uint64_t vectors_rip;
	unsigned point_count;
	struct {
		uint8_t *at;
		uint64_t rip;
	} point[BLOCK_INSNS];
	unsigned run_count;
	struct stack_run run[RUNS_MAX];
	bool ended; /* the last instruction does not go on to the next */
	/*
	 * The block is held against the interpreter (check.c). Left to that is what has another
	 * answer each time, as RDTSC has; memory is reached by the soft TLB alone, and the block
	 * does not loop within itself.
	 */
	bool checked;
};

/* Is it one of those that stay in memory? */
static inline bool is_homed(unsigned reg)
{
	return reg == CPU_R11 || reg == CPU_R14 || reg == CPU_R15;
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
/* Instructions from the present one on that are a run, with what it ends in: their bytes, or 0. */
unsigned lower_run(struct lowering *l);
void lower_cold_runs(struct lowering *l);
/* lower_vector.c: likewise. */
bool lower_vector(struct lowering *l);
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

/* The next instruction written may fault, as the guest's would. */
static inline void lower_may_fault(struct lowering *l)
{
	l->point[l->point_count].at = l->e.at;
	l->point[l->point_count++].rip = l->rip;
}

/*
 * lower_control.c: on to an address that is known, or that is in T. `undo`: what RSP must be moved
 * by if that is no address, and the instruction faults.
 */
void lower_goto(struct lowering *l, uint64_t rip);
void lower_goto_t(struct lowering *l, int32_t undo);
/* Leave by one of world_code's. */
void lower_leave(struct lowering *l, const uint8_t *to);

#endif
