/* SPDX-License-Identifier: MIT */
/*
 * The notation of the opcode tables. A row is one form of an instruction: where it is (map, byte),
 * what must hold for it, its operands, what it does to flags. Of several rows for a byte the first
 * that matches counts. Operands are written as in the manuals' opcode maps.
 */
#ifndef VMM_BT_OPCODE_H
#define VMM_BT_OPCODE_H

#include <stdint.h>

#include "vmm/bt/decode.h"
#include "vmm/bt/insn_id.h"
#include "vmm/bt/opcode_operand.h"

/*
 * What must hold. Bits of opcode.match; a field without a bit set matches all.
 */
#define IN_LEGACY (1u << 0) /* which encodings; none of the three: legacy only */
#define IN_VEX    (1u << 1)
#define IN_EVEX   (1u << 2)
#define P_NP      (1u << 3) /* the mandatory prefix; none of the four: any, and 66 is operand size */
#define P_66      (1u << 4)
#define P_F3      (1u << 5)
#define P_F2      (1u << 6)
#define MOD_MEM   (1u << 7)
#define MOD_REG   (1u << 8)
#define W0        (1u << 9) /* REX.W, VEX.W, EVEX.W */
#define W1        (1u << 10)
#define EW0       (1u << 11) /* EVEX.W, where other encodings ignore it */
#define EW1       (1u << 12)
#define L0        (1u << 13) /* the vector length: 128, 256, 512; several may be allowed */
#define L1        (1u << 14)
#define L2        (1u << 15)
#define ONLY_64   (1u << 16) /* 64-bit mode */
#define NOT_64    (1u << 17)
#define REG(n)    (1u << 18 | (uint32_t)(n) << 19) /* ModRM.reg is an extension of the opcode */
#define RM(n)     (1u << 22 | (uint32_t)(n) << 23) /* so is ModRM.rm */
#define NO_REX_B  (1u << 29)
#define NO_F3_F2  (1u << 30) /* 66 is operand size */

#define MATCH_ENCODINGS (IN_LEGACY | IN_VEX | IN_EVEX)
#define MATCH_PREFIXES  (P_NP | P_66 | P_F3 | P_F2)
#define MATCH_MODS      (MOD_MEM | MOD_REG)
#define MATCH_LENGTHS   (L0 | L1 | L2)
#define MATCH_REG       REG(7)
#define MATCH_RM        RM(7)
#define L01             (L0 | L1)
#define L12             (L1 | L2)
#define L012            (L0 | L1 | L2)
#define SSE_AVX         (IN_LEGACY | IN_VEX)
#define SSE_AVX512      (IN_LEGACY | IN_VEX | IN_EVEX)
#define AVX_AVX512      (IN_VEX | IN_EVEX)

/* Flags that an instruction reads, and those that it writes or leaves undefined. */
#define FLAG_C 0x01
#define FLAG_P 0x02
#define FLAG_A 0x04
#define FLAG_Z 0x08
#define FLAG_S 0x10
#define FLAG_O 0x20
#define FLAG_D 0x40
#define FLAG_I 0x80 /* and IOPL, NT, RF, VM, AC, ID: what POPF writes besides */

/* Attributes. */
#define A_LOCK (1u << 0)  /* a LOCK prefix is allowed where the first operand is memory */
#define A_REP  (1u << 1)  /* REP repeats it */
#define A_REPC (1u << 2)  /* REPE and REPNE repeat it and test ZF */
#define A_CPL0 (1u << 3)  /* #GP(0) outside level 0, before all else */
#define A_D64  (1u << 4)  /* the operand size is 64 bits in long mode, or 16 */
#define A_F64  (1u << 5)  /* the operand size is 64 bits in long mode */
#define A_BC4  (1u << 6)  /* EVEX.b with memory broadcasts 4 bytes */
#define A_BC8  (1u << 7)  /* 8 bytes */
#define A_ER   (1u << 8)  /* EVEX.b without memory: static rounding, 512 bits or a scalar */
#define A_SAE  (1u << 9)  /* EVEX.b without memory: no exceptions */
#define A_MASK (1u << 10) /* EVEX.aaa may name a mask */
#define A_Z    (1u << 11) /* and EVEX.z may be set */
#define A_KREQ (1u << 12) /* EVEX.aaa must name a mask */
#define A_N    (1u << 13) /* disp8 counts elements (4 bytes, 8 with W), not the whole operand */
#define A_BND  (1u << 14) /* a branch, or what else does not go on with the next instruction */

struct opcode {
	uint8_t map, code;
	uint16_t id; /* enum insn_id */
	uint32_t match;
	uint16_t operand[OPCODE_OPERANDS];
	uint8_t flags_read, flags_written;
	uint16_t attributes;
};

/* The tables, in no order but that of a byte's rows. */
struct opcode_table {
	const struct opcode *rows;
	unsigned count;
};

extern const struct opcode_table opcodes_integer, opcodes_vector_0f, opcodes_vector_0f38;

struct decoder;

/* opcode.c: do the rows of a byte have a ModRM byte? -EINVAL: it has no rows. */
int opcode_has_modrm(unsigned map, unsigned code);
/* The row that matches what was decoded so far, or NULL. */
const struct opcode *opcode_find(const struct decoder *d);

#endif
