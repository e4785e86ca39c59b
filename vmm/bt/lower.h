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
#define HOST_RCX CPU_R10

#define BLOCK_INSNS 64u
#define JUMPS_MAX   (2 * BLOCK_INSNS)

/* A general register that an instruction of ModRM names. */
struct place {
	const struct operand *operand; /* NULL: the field names none */
	unsigned reg;                  /* the guest's */
	unsigned host;
};

/* A jump, by its displacement, to a guest's address; which instruction's it is. */
struct lowered_jump {
	uint8_t *jump;
	uint64_t rip, from;
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
	struct insn insns[BLOCK_INSNS]; /* all, and their addresses */
	uint64_t rips[BLOCK_INSNS];
	unsigned fill_count;
	struct cold_fill fill[2 * BLOCK_INSNS + RUNS_MAX * RUN_INSNS];
	unsigned link_count;
	struct lowered_jump link[JUMPS_MAX];
	/* Jumps that leave the line: on from out of line, or to be attended to. */
	unsigned side_count, poll_count;
	struct lowered_jump side[JUMPS_MAX], poll[BLOCK_INSNS];
	/* Where instructions begin in the host's code, in order; NULL: inside of a run. */
	bool loops;
	uint8_t *start[BLOCK_INSNS];
	bool target[BLOCK_INSNS]; /* one further on jumps there */
	/* Are the vector registers there; where they were asked for. */
	bool vectors;
	bool x87; /* likewise */
	unsigned want_count;
	struct {
		uint8_t *jump, *resume;
		uint64_t rip;
		const uint8_t *exit;
	} want[2 * BLOCK_INSNS];
	unsigned count;            /* of insns */
	unsigned at;               /* the present one */
	bool user;                 /* see struct block */
	bool is_long;              /* the line goes on behind a jump that is not taken */
	bool shadow;               /* the instruction before was STI */
	bool user_memory;          /* behind STAC: accesses are by the soft TLB for a while */
	bool windowed;             /* accesses are by windows, else by the soft TLB */
	struct fault_point access; /* in a window, that the next lower_touch is of; size 0: none */
	unsigned point_count;
	struct fault_point point[3 * BLOCK_INSNS + RUNS_MAX * RUN_INSNS];
	/* H is the distance for this register of the host's, which has moved so far since. */
	uint8_t known;
	int64_t moved;
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
	l->access.size = 0;
}

/* The next instruction written is the access that was prepared. */
static inline void lower_touch(struct lowering *l)
{
	if (l->access.size)
		lower_may_fault(l);
}

/* lower_memory.c: H may be something else now. */
static inline void lower_forget(struct lowering *l)
{
	l->known = INSN_NO_REGISTER;
}
/* What the instruction has done to what is known. */
void lower_remember(struct lowering *l);
/* lower_control.c: the present instruction is a target: poll, if one further on jumps here. */
void lower_loop_head(struct lowering *l);
void lower_cold_jumps(struct lowering *l);
/*
 * lower_control.c: on to an address that is known, or that is in T. `undo`: what RSP must be moved
 * by if that is no address, and the instruction faults.
 */
void lower_goto(struct lowering *l, uint64_t rip);
void lower_goto_t(struct lowering *l, int32_t undo);
/* Leave by one of world_code's. */
void lower_leave(struct lowering *l, const uint8_t *to);

#endif
