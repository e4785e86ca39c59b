/* SPDX-License-Identifier: MIT */
/* The operands of an opcode table's row: a source, a size and an access in 16 bits. */
#ifndef VMM_BT_OPCODE_OPERAND_H
#define VMM_BT_OPCODE_OPERAND_H

#include <stdint.h>

/* Where an operand comes from. */
enum opcode_source {
	SRC_NONE,
	SRC_E,  /* ModRM.rm: a GPR, or memory */
	SRC_G,  /* ModRM.reg: a GPR */
	SRC_M,  /* ModRM.rm: memory only */
	SRC_R,  /* ModRM.rm: a GPR only */
	SRC_Z,  /* the opcode's low three bits: a GPR */
	SRC_B,  /* VEX.vvvv: a GPR */
	SRC_I,  /* an immediate, zero-extended */
	SRC_IS, /* an immediate, sign-extended to the operand size */
	SRC_I2, /* a second immediate byte */
	SRC_J,  /* a displacement from the next instruction */
	SRC_A,  /* a far pointer */
	SRC_O,  /* memory at an address in the instruction */
	SRC_X,  /* segment:rSI */
	SRC_Y,  /* ES:rDI */
	SRC_S,  /* ModRM.reg: a segment register */
	SRC_C,  /* ModRM.reg: a control register */
	SRC_D,  /* ModRM.reg: a debug register */
	SRC_V,  /* ModRM.reg: a vector register */
	SRC_W,  /* ModRM.rm: a vector register, or memory */
	SRC_U,  /* ModRM.rm: a vector register only */
	SRC_H,  /* VEX.vvvv: a vector register; not there in legacy encodings, where */
		/* the first operand is read in its place */
	SRC_L,  /* bits 7 to 4 of the immediate byte: a vector register */
	SRC_P,  /* ModRM.reg: an MMX register */
	SRC_Q,  /* ModRM.rm: an MMX register, or memory */
	SRC_N,  /* ModRM.rm: an MMX register only */
	SRC_KG, /* ModRM.reg: a mask register */
	SRC_KE, /* ModRM.rm: a mask register, or memory */
	SRC_KR, /* ModRM.rm: a mask register only */
	SRC_KB, /* VEX.vvvv: a mask register */
	SRC_MV, /* memory with a vector of indexes, as long as operand sizes say */
	SRC_AX, /* fixed registers */
	SRC_CX,
	SRC_DX,
	SRC_ST0,
	SRC_ST,  /* ST(ModRM.rm) */
	SRC_SEG, /* by bits 5 to 3 of the opcode */
	SRC_V0,  /* XMM0 */
	SRC_ONE, /* the constant 1 */
};

/* How large it is. */
enum opcode_size {
	SIZE_0, /* no access, or one that varies */
	SIZE_B, /* 1, 2, 4, 8, 16, 32, 64 bytes */
	SIZE_W,
	SIZE_D,
	SIZE_Q,
	SIZE_DQ,
	SIZE_QQ,
	SIZE_OQ,
	SIZE_T,    /* 10 bytes */
	SIZE_V,    /* the operand size */
	SIZE_Z,    /* the operand size, 4 bytes at most */
	SIZE_Y,    /* 4 bytes, or 8 with W in 64-bit mode */
	SIZE_N,    /* 4 bytes, in 64-bit mode 8 */
	SIZE_F,    /* the operand size; in 64-bit mode 8, or 2 with prefix 66 */
	SIZE_X,    /* the vector: 16 in legacy encodings, else as VEX or EVEX say */
	SIZE_XH,   /* half of it */
	SIZE_XQ,   /* a quarter */
	SIZE_XE,   /* an eighth */
	SIZE_FAR,  /* a selector and an offset of the operand size */
	SIZE_DT,   /* a limit and a base: 6 bytes, in 64-bit mode 10 */
	SIZE_PAIR, /* two of the operand size */
	SIZE_ENV,  /* of x87: 14 or 28 */
	SIZE_SAVE, /* of x87: 94 or 108 */
	SIZE_512,  /* 512 bytes */
	SIZE_EW,   /* an element: 4 bytes, or 8 with W */
};

#define OPCODE_OPERANDS 4
#define OPERAND(source, size, access)                                                              \
	((uint16_t)((unsigned)(source) | (unsigned)(size) << 6 | (unsigned)(access) << 12))
#define OPERAND_SOURCE(operand) ((enum opcode_source)((operand)&63))
#define OPERAND_SIZE(operand)   ((enum opcode_size)((operand) >> 6 & 63))
#define OPERAND_ACCESS(operand) ((operand) >> 12 & 3)

/* Operands are written OP(source, size, access): r read, w written, rw both, n neither. */
#define ACCESS_n                 0
#define ACCESS_r                 1
#define ACCESS_w                 2
#define ACCESS_rw                3
#define OP(source, size, access) OPERAND(SRC_##source, SIZE_##size, ACCESS_##access)

#endif
