/* SPDX-License-Identifier: MIT */
/*
 * The x86 decoder: from bytes to an instruction with its operands. It knows what a CPU of the
 * x86-64-v4 level with the usual extensions has; anything else is undefined. It judges the encoding
 * only: privilege, modes of execution and the features that a guest was offered are the caller's to
 * check. Pure functions; any thread. AMD64 manual vol. 3; SDM vol. 2.
 */
#ifndef VMM_BT_DECODE_H
#define VMM_BT_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INSN_LENGTH_MAX 15u
#define INSN_OPERANDS   5u

/* The size of code that CS says: 2, 4 or 8 bytes. */
enum decode_mode { DECODE_16 = 2, DECODE_32 = 4, DECODE_64 = 8 };

enum insn_encoding { INSN_LEGACY, INSN_VEX, INSN_EVEX };

/* Opcode maps, by the number that VEX and EVEX give them; 0 is the one-byte map. */
enum insn_map { INSN_MAP_1BYTE, INSN_MAP_0F, INSN_MAP_0F38, INSN_MAP_0F3A, INSN_MAPS };

enum operand_kind {
	OPERAND_NONE,
	OPERAND_GPR,           /* reg 0 to 15; size 1: 16 to 19 are AH, CH, DH, BH */
	OPERAND_SEGMENT,       /* reg as enum cpu_segment_name */
	OPERAND_CONTROL,       /* CRn */
	OPERAND_DEBUG,         /* DRn */
	OPERAND_X87,           /* ST(n) */
	OPERAND_MMX,           /* MMn */
	OPERAND_VECTOR,        /* XMM, YMM, ZMM by size; reg 0 to 31 */
	OPERAND_MASK,          /* Kn */
	OPERAND_MEMORY,        /* insn.memory; size 0: varies (an XSAVE area) or no access (LEA) */
	OPERAND_STRING_SOURCE, /* segment:rSI */
	OPERAND_STRING_TARGET, /* ES:rDI */
	OPERAND_IMMEDIATE,     /* insn.immediate, extended to 64 bits as the instruction does */
	OPERAND_IMMEDIATE_2,   /* insn.immediate_2: ENTER's and EXTRQ's second */
	OPERAND_RELATIVE,      /* insn.immediate, to be added to the next instruction's address */
	OPERAND_FAR,           /* insn.immediate the offset, insn.immediate_2 the selector */
	OPERAND_ONE,           /* the constant 1 of a shift */
};

enum operand_access { OPERAND_READ = 1, OPERAND_WRITE = 2 };

struct operand {
	uint8_t kind;
	uint8_t reg;
	uint8_t access;
	uint16_t size; /* bytes */
};

#define INSN_NO_REGISTER 0xff
#define INSN_RIP         0x20 /* as a base */

struct insn_memory {
	uint8_t segment; /* enum cpu_segment_name: the one that holds, override or default */
	uint8_t base,
		index; /* GPRs, INSN_RIP, INSN_NO_REGISTER; a VSIB index is a vector register */
	uint8_t scale; /* 1, 2, 4 or 8 */
	int64_t displacement;
};

enum insn_repeat { INSN_REPEAT_NONE, INSN_REPEAT_NE = 0xf2, INSN_REPEAT_E = 0xf3 };

struct opcode;

struct insn {
	const struct opcode *opcode;        /* NULL: undefined */
	uint8_t length;                     /* bytes, 1 to 15 */
	uint8_t mode;                       /* enum decode_mode */
	uint8_t operand_size, address_size; /* bytes: 2, 4, 8 */
	uint8_t encoding;                   /* enum insn_encoding */
	uint8_t map, code;                  /* which map, which byte of it */
	uint8_t modrm;
	bool has_modrm;
	bool lock, size_prefix;
	uint8_t repeat;  /* the last F2 or F3 */
	uint8_t segment; /* override, or INSN_NO_REGISTER */
	uint8_t rex;     /* REX or its equivalent of VEX and EVEX: W R X B in bits 3 to 0 */
	bool has_rex;
	uint8_t vvvv;          /* the register that VEX or EVEX names besides */
	uint16_t vector_bytes; /* VEX and EVEX: 16, 32, 64 */
	uint8_t mask;          /* EVEX: the mask register, 0: none */
	bool zeroing;          /* EVEX.z */
	bool broadcast;        /* EVEX: memory is one element for all */
	bool rounding;         /* EVEX: exceptions suppressed, rounding as told */
	/* Where the parts are, for whoever rewrites them: 0 where there is none. */
	uint8_t modrm_at, displacement_at, displacement_bytes, immediate_at;
	struct insn_memory memory;
	uint64_t immediate;
	uint32_t immediate_2;
	struct operand operand[INSN_OPERANDS];
};

/*
 * Decode the instruction at `bytes`, of which `count` are there. 0; -EAGAIN: it goes on behind
 * them; -EINVAL: there is no such instruction (#UD); -E2BIG: it is longer than 15 bytes (#GP).
 */
int decode(const uint8_t *bytes, size_t count, enum decode_mode mode, struct insn *out);

#endif
