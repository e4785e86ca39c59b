/* SPDX-License-Identifier: MIT */
/* A block under way: what the files that lower instructions share of it. */
#ifndef VMM_BT_LOWERING_H
#define VMM_BT_LOWERING_H

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

/* What H is the distance for, while nothing else is written there. */
enum known {
	KNOWN_NOTHING,
	KNOWN_REGISTER, /* what `reg`, a register of the host's that has moved so far, points to */
	KNOWN_MEMORY,   /* `memory`, whose linear address is in T */
	KNOWN_ENTRY,    /* all addresses of an entry of the window table; `address` may be in T */
};

struct distance_known {
	enum known what;
	uint8_t reg;
	int64_t moved;
	struct insn_memory memory;
	unsigned entry;
	bool has_address;
	uint64_t address;
};

struct lowering {
	struct emit e;
	struct code_cache *cache;
	const struct world_code *world;
	uint64_t rip, next_rip; /* of the instruction */
	uint64_t first;         /* of the block */
	const uint8_t *line;    /* the bytes there */
	const uint8_t *raw;     /* the instruction's */
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
	bool single;               /* one instruction, in two pages */
	bool is_long;              /* the line goes on behind a jump that is not taken */
	bool shadow;               /* the instruction before was STI */
	bool user_memory;          /* behind STAC: accesses are by the soft TLB for a while */
	bool windowed;             /* accesses are by windows, else by the soft TLB */
	struct fault_point access; /* in a window, that the next lower_touch is of; size 0: none */
	unsigned point_count;
	struct fault_point point[3 * BLOCK_INSNS + RUNS_MAX * RUN_INSNS];
	struct distance_known known;
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

#endif
