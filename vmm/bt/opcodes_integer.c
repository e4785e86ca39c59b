/* SPDX-License-Identifier: MIT */
/*
 * The opcode table, first part: integer, control-flow, system and x87 instructions. Notation:
 * opcode.h. Sources: SDM vol. 2, appendix A; AMD64 manual vol. 3, appendix A. Left out because no
 * guest is offered them: VMX, SVM but for VMMCALL, SMM, TSX, MPX, CET, PKU, key locker, XOP.
 */
#include "vmm/bt/opcode.h"

#define ROW(map, code, name, match, attributes, read, written, ...)                                \
	{                                                                                          \
		INSN_MAP_##map, code, INSN_##name, match, {__VA_ARGS__}, read, written, attributes \
	}
/* Without flags, and without anything but operands. */
#define PLAIN(map, code, name, match, attributes, ...)                                             \
	ROW(map, code, name, match, attributes, 0, 0, __VA_ARGS__)

#define ARITH (FLAG_C | FLAG_P | FLAG_A | FLAG_Z | FLAG_S | FLAG_O)
#define NO_C  (ARITH & ~FLAG_C)
#define NO_Z  (ARITH & ~FLAG_Z)
#define LOW5  (ARITH & ~FLAG_O)

/* A row is a line. */
/* clang-format off */

/* The eight operations of the upper quarter of the one-byte map. */
#define ALU(base, name, attributes, read, access)                                                  \
	ROW(1BYTE, (base) + 0, name, 0, attributes, read, ARITH, OP(E, B, access), OP(G, B, r)),   \
	ROW(1BYTE, (base) + 1, name, 0, attributes, read, ARITH, OP(E, V, access), OP(G, V, r)),   \
	ROW(1BYTE, (base) + 2, name, 0, 0, read, ARITH, OP(G, B, access), OP(E, B, r)),            \
	ROW(1BYTE, (base) + 3, name, 0, 0, read, ARITH, OP(G, V, access), OP(E, V, r)),            \
	ROW(1BYTE, (base) + 4, name, 0, 0, read, ARITH, OP(AX, B, access), OP(I, B, r)),           \
	ROW(1BYTE, (base) + 5, name, 0, 0, read, ARITH, OP(AX, V, access), OP(IS, Z, r)),          \
	ROW(1BYTE, 0x80, name, REG((base) >> 3), attributes, read, ARITH, OP(E, B, access), OP(I, B, r)), \
	ROW(1BYTE, 0x81, name, REG((base) >> 3), attributes, read, ARITH, OP(E, V, access), OP(IS, Z, r)), \
	ROW(1BYTE, 0x82, name, REG((base) >> 3) | NOT_64, attributes, read, ARITH, OP(E, B, access), OP(I, B, r)), \
	ROW(1BYTE, 0x83, name, REG((base) >> 3), attributes, read, ARITH, OP(E, V, access), OP(IS, B, r))

#define SHIFT(reg, name, read, written)                                                            \
	ROW(1BYTE, 0xc0, name, REG(reg), 0, read, written, OP(E, B, rw), OP(I, B, r)),             \
	ROW(1BYTE, 0xc1, name, REG(reg), 0, read, written, OP(E, V, rw), OP(I, B, r)),             \
	ROW(1BYTE, 0xd0, name, REG(reg), 0, read, written, OP(E, B, rw), OP(ONE, B, r)),           \
	ROW(1BYTE, 0xd1, name, REG(reg), 0, read, written, OP(E, V, rw), OP(ONE, B, r)),           \
	ROW(1BYTE, 0xd2, name, REG(reg), 0, read, written, OP(E, B, rw), OP(CX, B, r)),            \
	ROW(1BYTE, 0xd3, name, REG(reg), 0, read, written, OP(E, V, rw), OP(CX, B, r))

#define EIGHT(macro, base)                                                                         \
	macro((base) + 0), macro((base) + 1), macro((base) + 2), macro((base) + 3),                \
	macro((base) + 4), macro((base) + 5), macro((base) + 6), macro((base) + 7)

#define INC_Z(code)  ROW(1BYTE, code, INC, NOT_64, 0, 0, NO_C, OP(Z, V, rw))
#define DEC_Z(code)  ROW(1BYTE, code, DEC, NOT_64, 0, 0, NO_C, OP(Z, V, rw))
#define PUSH_Z(code) PLAIN(1BYTE, code, PUSH, 0, A_D64, OP(Z, V, r))
#define POP_Z(code)  PLAIN(1BYTE, code, POP, 0, A_D64, OP(Z, V, w))
#define XCHG_Z(code) PLAIN(1BYTE, code, XCHG, 0, 0, OP(Z, V, rw), OP(AX, V, rw))
#define MOV_ZB(code) PLAIN(1BYTE, code, MOV_IMMEDIATE, 0, 0, OP(Z, B, w), OP(I, B, r))
#define MOV_ZV(code) PLAIN(1BYTE, code, MOV_IMMEDIATE, 0, 0, OP(Z, V, w), OP(I, V, r))
#define BSWAP_Z(code) PLAIN(0F, code, BSWAP, 0, 0, OP(Z, V, rw))

/* By condition: O C Z BE S P L LE, each with its negation behind it. */
#define BY_CONDITION(macro, base)                                                                  \
	macro((base) + 0, FLAG_O), macro((base) + 1, FLAG_O), macro((base) + 2, FLAG_C),           \
	macro((base) + 3, FLAG_C), macro((base) + 4, FLAG_Z), macro((base) + 5, FLAG_Z),           \
	macro((base) + 6, FLAG_C | FLAG_Z), macro((base) + 7, FLAG_C | FLAG_Z),                    \
	macro((base) + 8, FLAG_S), macro((base) + 9, FLAG_S), macro((base) + 10, FLAG_P),          \
	macro((base) + 11, FLAG_P), macro((base) + 12, FLAG_S | FLAG_O),                           \
	macro((base) + 13, FLAG_S | FLAG_O), macro((base) + 14, FLAG_S | FLAG_O | FLAG_Z),         \
	macro((base) + 15, FLAG_S | FLAG_O | FLAG_Z)
#define JCC_B(code, read) ROW(1BYTE, code, JCC, 0, A_F64 | A_BND, read, 0, OP(J, B, r))
#define JCC_Z(code, read) ROW(0F, code, JCC, 0, A_F64 | A_BND, read, 0, OP(J, Z, r))
#define SETCC(code, read) ROW(0F, code, SETCC, 0, 0, read, 0, OP(E, B, w))
#define CMOV(code, read)  ROW(0F, code, CMOVCC, 0, 0, read, 0, OP(G, V, rw), OP(E, V, r))

#define BIT_TEST(code, reg, name, attributes, access)                                              \
	ROW(0F, code, name, 0, attributes, 0, NO_Z, OP(E, V, access), OP(G, V, r)),                \
	ROW(0F, 0xba, name, REG(reg), attributes, 0, NO_Z, OP(E, V, access), OP(I, B, r))

#define X87_MEMORY(code, reg, size, access)                                                        \
	PLAIN(1BYTE, code, X87, MOD_MEM | REG(reg), 0, OP(M, size, access))
#define X87_REGISTER(code, reg) PLAIN(1BYTE, code, X87, MOD_REG | REG(reg), 0, OP(ST, T, rw))
#define X87_FLAGS(code, reg)                                                                       \
	ROW(1BYTE, code, X87, MOD_REG | REG(reg), 0, 0, ARITH, OP(ST, T, r))
#define X87_CMOV(code, reg, read)                                                                  \
	ROW(1BYTE, code, X87, MOD_REG | REG(reg), 0, read, 0, OP(ST, T, r))
#define X87_ONE(code, reg, rm) PLAIN(1BYTE, code, X87, MOD_REG | REG(reg) | RM(rm), 0, 0)
#define X87_EIGHT_MEMORY(code, size)                                                               \
	X87_MEMORY(code, 0, size, r), X87_MEMORY(code, 1, size, r), X87_MEMORY(code, 2, size, r),  \
	X87_MEMORY(code, 3, size, r), X87_MEMORY(code, 4, size, r), X87_MEMORY(code, 5, size, r),  \
	X87_MEMORY(code, 6, size, r), X87_MEMORY(code, 7, size, r)

static const struct opcode rows[] = {
	ALU(0x00, ADD, A_LOCK, 0, rw),
	PLAIN(1BYTE, 0x06, PUSH_SEGMENT, NOT_64, 0, OP(SEG, V, r)),
	PLAIN(1BYTE, 0x07, POP_SEGMENT, NOT_64, 0, OP(SEG, V, w)),
	ALU(0x08, OR, A_LOCK, 0, rw),
	PLAIN(1BYTE, 0x0e, PUSH_SEGMENT, NOT_64, 0, OP(SEG, V, r)),
	ALU(0x10, ADC, A_LOCK, FLAG_C, rw),
	PLAIN(1BYTE, 0x16, PUSH_SEGMENT, NOT_64, 0, OP(SEG, V, r)),
	PLAIN(1BYTE, 0x17, POP_SEGMENT, NOT_64, 0, OP(SEG, V, w)),
	ALU(0x18, SBB, A_LOCK, FLAG_C, rw),
	PLAIN(1BYTE, 0x1e, PUSH_SEGMENT, NOT_64, 0, OP(SEG, V, r)),
	PLAIN(1BYTE, 0x1f, POP_SEGMENT, NOT_64, 0, OP(SEG, V, w)),
	ALU(0x20, AND, A_LOCK, 0, rw),
	ROW(1BYTE, 0x27, DAA, NOT_64, 0, FLAG_A | FLAG_C, ARITH, 0),
	ALU(0x28, SUB, A_LOCK, 0, rw),
	ROW(1BYTE, 0x2f, DAS, NOT_64, 0, FLAG_A | FLAG_C, ARITH, 0),
	ALU(0x30, XOR, A_LOCK, 0, rw),
	ROW(1BYTE, 0x37, AAA, NOT_64, 0, FLAG_A, ARITH, 0),
	ALU(0x38, CMP, 0, 0, r),
	ROW(1BYTE, 0x3f, AAS, NOT_64, 0, FLAG_A, ARITH, 0),
	EIGHT(INC_Z, 0x40),
	EIGHT(DEC_Z, 0x48),
	EIGHT(PUSH_Z, 0x50),
	EIGHT(POP_Z, 0x58),
	PLAIN(1BYTE, 0x60, PUSHA, NOT_64, 0, 0),
	PLAIN(1BYTE, 0x61, POPA, NOT_64, 0, 0),
	PLAIN(1BYTE, 0x62, BOUND, NOT_64 | MOD_MEM, 0, OP(G, V, r), OP(M, PAIR, r)),
	ROW(1BYTE, 0x63, ARPL, NOT_64, 0, 0, FLAG_Z, OP(E, W, rw), OP(G, W, r)),
	PLAIN(1BYTE, 0x63, MOVSX, ONLY_64 | MOD_MEM, 0, OP(G, V, w), OP(M, D, r)),
	PLAIN(1BYTE, 0x63, MOVSX, ONLY_64 | MOD_REG, 0, OP(G, V, w), OP(R, Z, r)),
	PLAIN(1BYTE, 0x68, PUSH, 0, A_D64, OP(IS, Z, r)),
	ROW(1BYTE, 0x69, IMUL, 0, 0, 0, ARITH, OP(G, V, w), OP(E, V, r), OP(IS, Z, r)),
	PLAIN(1BYTE, 0x6a, PUSH, 0, A_D64, OP(IS, B, r)),
	ROW(1BYTE, 0x6b, IMUL, 0, 0, 0, ARITH, OP(G, V, w), OP(E, V, r), OP(IS, B, r)),
	ROW(1BYTE, 0x6c, INS, 0, A_REP, FLAG_D, 0, OP(Y, B, w), OP(DX, W, r)),
	ROW(1BYTE, 0x6d, INS, 0, A_REP, FLAG_D, 0, OP(Y, Z, w), OP(DX, W, r)),
	ROW(1BYTE, 0x6e, OUTS, 0, A_REP, FLAG_D, 0, OP(DX, W, r), OP(X, B, r)),
	ROW(1BYTE, 0x6f, OUTS, 0, A_REP, FLAG_D, 0, OP(DX, W, r), OP(X, Z, r)),
	BY_CONDITION(JCC_B, 0x70),
	ROW(1BYTE, 0x84, TEST, 0, 0, 0, ARITH, OP(E, B, r), OP(G, B, r)),
	ROW(1BYTE, 0x85, TEST, 0, 0, 0, ARITH, OP(E, V, r), OP(G, V, r)),
	PLAIN(1BYTE, 0x86, XCHG, 0, A_LOCK, OP(E, B, rw), OP(G, B, rw)),
	PLAIN(1BYTE, 0x87, XCHG, 0, A_LOCK, OP(E, V, rw), OP(G, V, rw)),
	PLAIN(1BYTE, 0x88, MOV, 0, 0, OP(E, B, w), OP(G, B, r)),
	PLAIN(1BYTE, 0x89, MOV, 0, 0, OP(E, V, w), OP(G, V, r)),
	PLAIN(1BYTE, 0x8a, MOV, 0, 0, OP(G, B, w), OP(E, B, r)),
	PLAIN(1BYTE, 0x8b, MOV, 0, 0, OP(G, V, w), OP(E, V, r)),
	PLAIN(1BYTE, 0x8c, MOV_FROM_SEGMENT, MOD_MEM, 0, OP(M, W, w), OP(S, W, r)),
	PLAIN(1BYTE, 0x8c, MOV_FROM_SEGMENT, MOD_REG, 0, OP(R, V, w), OP(S, W, r)),
	PLAIN(1BYTE, 0x8d, LEA, MOD_MEM, 0, OP(G, V, w), OP(M, 0, n)),
	PLAIN(1BYTE, 0x8e, MOV_TO_SEGMENT, 0, 0, OP(S, W, w), OP(E, W, r)),
	PLAIN(1BYTE, 0x8f, POP, REG(0), A_D64, OP(E, V, w)),
	PLAIN(1BYTE, 0x90, PAUSE, P_F3 | NO_REX_B, 0, 0),
	PLAIN(1BYTE, 0x90, NOP, NO_REX_B, 0, 0),
	EIGHT(XCHG_Z, 0x90),
	PLAIN(1BYTE, 0x98, CBW, 0, 0, 0),
	PLAIN(1BYTE, 0x99, CWD, 0, 0, 0),
	PLAIN(1BYTE, 0x9a, CALL_FAR, NOT_64, A_BND, OP(A, FAR, r)),
	PLAIN(1BYTE, 0x9b, FWAIT, 0, 0, 0),
	ROW(1BYTE, 0x9c, PUSHF, 0, A_D64, ARITH | FLAG_D | FLAG_I, 0, 0),
	ROW(1BYTE, 0x9d, POPF, 0, A_D64, FLAG_I, ARITH | FLAG_D | FLAG_I, 0),
	ROW(1BYTE, 0x9e, SAHF, 0, 0, 0, LOW5, 0),
	ROW(1BYTE, 0x9f, LAHF, 0, 0, LOW5, 0, 0),
	PLAIN(1BYTE, 0xa0, MOV, 0, 0, OP(AX, B, w), OP(O, B, r)),
	PLAIN(1BYTE, 0xa1, MOV, 0, 0, OP(AX, V, w), OP(O, V, r)),
	PLAIN(1BYTE, 0xa2, MOV, 0, 0, OP(O, B, w), OP(AX, B, r)),
	PLAIN(1BYTE, 0xa3, MOV, 0, 0, OP(O, V, w), OP(AX, V, r)),
	ROW(1BYTE, 0xa4, MOVS, 0, A_REP, FLAG_D, 0, OP(Y, B, w), OP(X, B, r)),
	ROW(1BYTE, 0xa5, MOVS, 0, A_REP, FLAG_D, 0, OP(Y, V, w), OP(X, V, r)),
	ROW(1BYTE, 0xa6, CMPS, 0, A_REPC, FLAG_D, ARITH, OP(X, B, r), OP(Y, B, r)),
	ROW(1BYTE, 0xa7, CMPS, 0, A_REPC, FLAG_D, ARITH, OP(X, V, r), OP(Y, V, r)),
	ROW(1BYTE, 0xa8, TEST, 0, 0, 0, ARITH, OP(AX, B, r), OP(I, B, r)),
	ROW(1BYTE, 0xa9, TEST, 0, 0, 0, ARITH, OP(AX, V, r), OP(IS, Z, r)),
	ROW(1BYTE, 0xaa, STOS, 0, A_REP, FLAG_D, 0, OP(Y, B, w), OP(AX, B, r)),
	ROW(1BYTE, 0xab, STOS, 0, A_REP, FLAG_D, 0, OP(Y, V, w), OP(AX, V, r)),
	ROW(1BYTE, 0xac, LODS, 0, A_REP, FLAG_D, 0, OP(AX, B, w), OP(X, B, r)),
	ROW(1BYTE, 0xad, LODS, 0, A_REP, FLAG_D, 0, OP(AX, V, w), OP(X, V, r)),
	ROW(1BYTE, 0xae, SCAS, 0, A_REPC, FLAG_D, ARITH, OP(AX, B, r), OP(Y, B, r)),
	ROW(1BYTE, 0xaf, SCAS, 0, A_REPC, FLAG_D, ARITH, OP(AX, V, r), OP(Y, V, r)),
	EIGHT(MOV_ZB, 0xb0),
	EIGHT(MOV_ZV, 0xb8),
	SHIFT(0, ROL, 0, FLAG_C | FLAG_O),
	SHIFT(1, ROR, 0, FLAG_C | FLAG_O),
	SHIFT(2, RCL, FLAG_C, FLAG_C | FLAG_O),
	SHIFT(3, RCR, FLAG_C, FLAG_C | FLAG_O),
	SHIFT(4, SHL, 0, ARITH),
	SHIFT(5, SHR, 0, ARITH),
	SHIFT(6, SHL, 0, ARITH), /* an alias that every CPU has */
	SHIFT(7, SAR, 0, ARITH),
	PLAIN(1BYTE, 0xc2, RET, 0, A_F64 | A_BND, OP(I, W, r)),
	PLAIN(1BYTE, 0xc3, RET, 0, A_F64 | A_BND, 0),
	PLAIN(1BYTE, 0xc4, LOAD_FAR_POINTER, NOT_64 | MOD_MEM, 0, OP(G, V, w), OP(M, FAR, r)),
	PLAIN(1BYTE, 0xc5, LOAD_FAR_POINTER, NOT_64 | MOD_MEM, 0, OP(G, V, w), OP(M, FAR, r)),
	PLAIN(1BYTE, 0xc6, MOV, REG(0), 0, OP(E, B, w), OP(I, B, r)),
	PLAIN(1BYTE, 0xc7, MOV, REG(0), 0, OP(E, V, w), OP(IS, Z, r)),
	PLAIN(1BYTE, 0xc8, ENTER, 0, A_D64, OP(I, W, r), OP(I2, B, r)),
	PLAIN(1BYTE, 0xc9, LEAVE, 0, A_D64, 0),
	PLAIN(1BYTE, 0xca, RET_FAR, 0, A_BND, OP(I, W, r)),
	PLAIN(1BYTE, 0xcb, RET_FAR, 0, A_BND, 0),
	ROW(1BYTE, 0xcc, INT3, 0, A_BND, FLAG_I, FLAG_I, 0),
	ROW(1BYTE, 0xcd, INT, 0, A_BND, FLAG_I, FLAG_I, OP(I, B, r)),
	ROW(1BYTE, 0xce, INTO, NOT_64, A_BND, FLAG_O | FLAG_I, FLAG_I, 0),
	ROW(1BYTE, 0xcf, IRET, 0, A_BND, FLAG_I, ARITH | FLAG_D | FLAG_I, 0),
	ROW(1BYTE, 0xd4, AAM, NOT_64, 0, 0, ARITH, OP(I, B, r)),
	ROW(1BYTE, 0xd5, AAD, NOT_64, 0, 0, ARITH, OP(I, B, r)),
	ROW(1BYTE, 0xd6, SALC, NOT_64, 0, FLAG_C, 0, 0),
	PLAIN(1BYTE, 0xd7, XLAT, 0, 0, 0),

	/* x87. */
	X87_EIGHT_MEMORY(0xd8, D),
	X87_REGISTER(0xd8, 0), X87_REGISTER(0xd8, 1), X87_REGISTER(0xd8, 2), X87_REGISTER(0xd8, 3),
	X87_REGISTER(0xd8, 4), X87_REGISTER(0xd8, 5), X87_REGISTER(0xd8, 6), X87_REGISTER(0xd8, 7),
	X87_MEMORY(0xd9, 0, D, r), X87_MEMORY(0xd9, 2, D, w), X87_MEMORY(0xd9, 3, D, w),
	PLAIN(1BYTE, 0xd9, FLDENV, MOD_MEM | REG(4), 0, OP(M, ENV, r)),
	X87_MEMORY(0xd9, 5, W, r),
	PLAIN(1BYTE, 0xd9, FNSTENV, MOD_MEM | REG(6), 0, OP(M, ENV, w)),
	X87_MEMORY(0xd9, 7, W, w),
	X87_REGISTER(0xd9, 0), X87_REGISTER(0xd9, 1), X87_ONE(0xd9, 2, 0), X87_REGISTER(0xd9, 3),
	X87_ONE(0xd9, 4, 0), X87_ONE(0xd9, 4, 1), X87_ONE(0xd9, 4, 4), X87_ONE(0xd9, 4, 5),
	X87_ONE(0xd9, 5, 0), X87_ONE(0xd9, 5, 1), X87_ONE(0xd9, 5, 2), X87_ONE(0xd9, 5, 3),
	X87_ONE(0xd9, 5, 4), X87_ONE(0xd9, 5, 5), X87_ONE(0xd9, 5, 6),
	PLAIN(1BYTE, 0xd9, X87, MOD_REG | REG(6), 0, 0),
	PLAIN(1BYTE, 0xd9, X87, MOD_REG | REG(7), 0, 0),
	X87_EIGHT_MEMORY(0xda, D),
	X87_CMOV(0xda, 0, FLAG_C), X87_CMOV(0xda, 1, FLAG_Z), X87_CMOV(0xda, 2, FLAG_C | FLAG_Z),
	X87_CMOV(0xda, 3, FLAG_P), X87_ONE(0xda, 5, 1),
	X87_MEMORY(0xdb, 0, D, r), X87_MEMORY(0xdb, 1, D, w), X87_MEMORY(0xdb, 2, D, w),
	X87_MEMORY(0xdb, 3, D, w), X87_MEMORY(0xdb, 5, T, r), X87_MEMORY(0xdb, 7, T, w),
	X87_CMOV(0xdb, 0, FLAG_C), X87_CMOV(0xdb, 1, FLAG_Z), X87_CMOV(0xdb, 2, FLAG_C | FLAG_Z),
	X87_CMOV(0xdb, 3, FLAG_P),
	X87_ONE(0xdb, 4, 0), X87_ONE(0xdb, 4, 1), X87_ONE(0xdb, 4, 2), X87_ONE(0xdb, 4, 3),
	X87_ONE(0xdb, 4, 4), X87_FLAGS(0xdb, 5), X87_FLAGS(0xdb, 6),
	X87_EIGHT_MEMORY(0xdc, Q),
	X87_REGISTER(0xdc, 0), X87_REGISTER(0xdc, 1), X87_REGISTER(0xdc, 2), X87_REGISTER(0xdc, 3),
	X87_REGISTER(0xdc, 4), X87_REGISTER(0xdc, 5), X87_REGISTER(0xdc, 6), X87_REGISTER(0xdc, 7),
	X87_MEMORY(0xdd, 0, Q, r), X87_MEMORY(0xdd, 1, Q, w), X87_MEMORY(0xdd, 2, Q, w),
	X87_MEMORY(0xdd, 3, Q, w),
	PLAIN(1BYTE, 0xdd, FRSTOR, MOD_MEM | REG(4), 0, OP(M, SAVE, r)),
	PLAIN(1BYTE, 0xdd, FNSAVE, MOD_MEM | REG(6), 0, OP(M, SAVE, w)),
	X87_MEMORY(0xdd, 7, W, w),
	X87_REGISTER(0xdd, 0), X87_REGISTER(0xdd, 1), X87_REGISTER(0xdd, 2), X87_REGISTER(0xdd, 3),
	X87_REGISTER(0xdd, 4), X87_REGISTER(0xdd, 5),
	X87_EIGHT_MEMORY(0xde, W),
	X87_REGISTER(0xde, 0), X87_REGISTER(0xde, 1), X87_REGISTER(0xde, 2), X87_ONE(0xde, 3, 1),
	X87_REGISTER(0xde, 4), X87_REGISTER(0xde, 5), X87_REGISTER(0xde, 6), X87_REGISTER(0xde, 7),
	X87_MEMORY(0xdf, 0, W, r), X87_MEMORY(0xdf, 1, W, w), X87_MEMORY(0xdf, 2, W, w),
	X87_MEMORY(0xdf, 3, W, w), X87_MEMORY(0xdf, 4, T, r), X87_MEMORY(0xdf, 5, Q, r),
	X87_MEMORY(0xdf, 6, T, w), X87_MEMORY(0xdf, 7, Q, w),
	X87_REGISTER(0xdf, 0), X87_REGISTER(0xdf, 1), X87_REGISTER(0xdf, 2), X87_REGISTER(0xdf, 3),
	X87_ONE(0xdf, 4, 0), X87_FLAGS(0xdf, 5), X87_FLAGS(0xdf, 6),

	ROW(1BYTE, 0xe0, LOOPNE, 0, A_F64 | A_BND, FLAG_Z, 0, OP(J, B, r)),
	ROW(1BYTE, 0xe1, LOOPE, 0, A_F64 | A_BND, FLAG_Z, 0, OP(J, B, r)),
	PLAIN(1BYTE, 0xe2, LOOP, 0, A_F64 | A_BND, OP(J, B, r)),
	PLAIN(1BYTE, 0xe3, JCXZ, 0, A_F64 | A_BND, OP(J, B, r)),
	PLAIN(1BYTE, 0xe4, IN, 0, 0, OP(AX, B, w), OP(I, B, r)),
	PLAIN(1BYTE, 0xe5, IN, 0, 0, OP(AX, Z, w), OP(I, B, r)),
	PLAIN(1BYTE, 0xe6, OUT, 0, 0, OP(I, B, r), OP(AX, B, r)),
	PLAIN(1BYTE, 0xe7, OUT, 0, 0, OP(I, B, r), OP(AX, Z, r)),
	PLAIN(1BYTE, 0xe8, CALL, 0, A_F64 | A_BND, OP(J, Z, r)),
	PLAIN(1BYTE, 0xe9, JMP, 0, A_F64 | A_BND, OP(J, Z, r)),
	PLAIN(1BYTE, 0xea, JMP_FAR, NOT_64, A_BND, OP(A, FAR, r)),
	PLAIN(1BYTE, 0xeb, JMP, 0, A_F64 | A_BND, OP(J, B, r)),
	PLAIN(1BYTE, 0xec, IN, 0, 0, OP(AX, B, w), OP(DX, W, r)),
	PLAIN(1BYTE, 0xed, IN, 0, 0, OP(AX, Z, w), OP(DX, W, r)),
	PLAIN(1BYTE, 0xee, OUT, 0, 0, OP(DX, W, r), OP(AX, B, r)),
	PLAIN(1BYTE, 0xef, OUT, 0, 0, OP(DX, W, r), OP(AX, Z, r)),
	ROW(1BYTE, 0xf1, INT1, 0, A_BND, FLAG_I, FLAG_I, 0),
	PLAIN(1BYTE, 0xf4, HLT, 0, A_CPL0, 0),
	ROW(1BYTE, 0xf5, CMC, 0, 0, FLAG_C, FLAG_C, 0),
	ROW(1BYTE, 0xf6, TEST, REG(0), 0, 0, ARITH, OP(E, B, r), OP(I, B, r)),
	ROW(1BYTE, 0xf6, TEST, REG(1), 0, 0, ARITH, OP(E, B, r), OP(I, B, r)),
	PLAIN(1BYTE, 0xf6, NOT, REG(2), A_LOCK, OP(E, B, rw)),
	ROW(1BYTE, 0xf6, NEG, REG(3), A_LOCK, 0, ARITH, OP(E, B, rw)),
	ROW(1BYTE, 0xf6, MUL, REG(4), 0, 0, ARITH, OP(E, B, r)),
	ROW(1BYTE, 0xf6, IMUL_1, REG(5), 0, 0, ARITH, OP(E, B, r)),
	ROW(1BYTE, 0xf6, DIV, REG(6), 0, 0, ARITH, OP(E, B, r)),
	ROW(1BYTE, 0xf6, IDIV, REG(7), 0, 0, ARITH, OP(E, B, r)),
	ROW(1BYTE, 0xf7, TEST, REG(0), 0, 0, ARITH, OP(E, V, r), OP(IS, Z, r)),
	ROW(1BYTE, 0xf7, TEST, REG(1), 0, 0, ARITH, OP(E, V, r), OP(IS, Z, r)),
	PLAIN(1BYTE, 0xf7, NOT, REG(2), A_LOCK, OP(E, V, rw)),
	ROW(1BYTE, 0xf7, NEG, REG(3), A_LOCK, 0, ARITH, OP(E, V, rw)),
	ROW(1BYTE, 0xf7, MUL, REG(4), 0, 0, ARITH, OP(E, V, r)),
	ROW(1BYTE, 0xf7, IMUL_1, REG(5), 0, 0, ARITH, OP(E, V, r)),
	ROW(1BYTE, 0xf7, DIV, REG(6), 0, 0, ARITH, OP(E, V, r)),
	ROW(1BYTE, 0xf7, IDIV, REG(7), 0, 0, ARITH, OP(E, V, r)),
	ROW(1BYTE, 0xf8, CLC, 0, 0, 0, FLAG_C, 0),
	ROW(1BYTE, 0xf9, STC, 0, 0, 0, FLAG_C, 0),
	ROW(1BYTE, 0xfa, CLI, 0, 0, FLAG_I, FLAG_I, 0),
	ROW(1BYTE, 0xfb, STI, 0, 0, FLAG_I, FLAG_I, 0),
	ROW(1BYTE, 0xfc, CLD, 0, 0, 0, FLAG_D, 0),
	ROW(1BYTE, 0xfd, STD, 0, 0, 0, FLAG_D, 0),
	ROW(1BYTE, 0xfe, INC, REG(0), A_LOCK, 0, NO_C, OP(E, B, rw)),
	ROW(1BYTE, 0xfe, DEC, REG(1), A_LOCK, 0, NO_C, OP(E, B, rw)),
	ROW(1BYTE, 0xff, INC, REG(0), A_LOCK, 0, NO_C, OP(E, V, rw)),
	ROW(1BYTE, 0xff, DEC, REG(1), A_LOCK, 0, NO_C, OP(E, V, rw)),
	PLAIN(1BYTE, 0xff, CALL_INDIRECT, REG(2), A_F64 | A_BND, OP(E, V, r)),
	PLAIN(1BYTE, 0xff, CALL_FAR_INDIRECT, REG(3) | MOD_MEM, A_BND, OP(M, FAR, r)),
	PLAIN(1BYTE, 0xff, JMP_INDIRECT, REG(4), A_F64 | A_BND, OP(E, V, r)),
	PLAIN(1BYTE, 0xff, JMP_FAR_INDIRECT, REG(5) | MOD_MEM, A_BND, OP(M, FAR, r)),
	PLAIN(1BYTE, 0xff, PUSH, REG(6), A_D64, OP(E, V, r)),

	/* 0F: system. */
	PLAIN(0F, 0x00, SLDT, REG(0) | MOD_MEM, 0, OP(M, W, w)),
	PLAIN(0F, 0x00, SLDT, REG(0) | MOD_REG, 0, OP(R, V, w)),
	PLAIN(0F, 0x00, STR, REG(1) | MOD_MEM, 0, OP(M, W, w)),
	PLAIN(0F, 0x00, STR, REG(1) | MOD_REG, 0, OP(R, V, w)),
	PLAIN(0F, 0x00, LLDT, REG(2), 0, OP(E, W, r)),
	PLAIN(0F, 0x00, LTR, REG(3), 0, OP(E, W, r)),
	ROW(0F, 0x00, VERR, REG(4), 0, 0, FLAG_Z, OP(E, W, r)),
	ROW(0F, 0x00, VERW, REG(5), 0, 0, FLAG_Z, OP(E, W, r)),
	PLAIN(0F, 0x01, SGDT, REG(0) | MOD_MEM, 0, OP(M, DT, w)),
	PLAIN(0F, 0x01, SIDT, REG(1) | MOD_MEM, 0, OP(M, DT, w)),
	PLAIN(0F, 0x01, LGDT, REG(2) | MOD_MEM, A_CPL0, OP(M, DT, r)),
	PLAIN(0F, 0x01, LIDT, REG(3) | MOD_MEM, A_CPL0, OP(M, DT, r)),
	PLAIN(0F, 0x01, SMSW, REG(4) | MOD_MEM, 0, OP(M, W, w)),
	PLAIN(0F, 0x01, SMSW, REG(4) | MOD_REG, 0, OP(R, V, w)),
	PLAIN(0F, 0x01, LMSW, REG(6), A_CPL0, OP(E, W, r)),
	PLAIN(0F, 0x01, INVLPG, REG(7) | MOD_MEM, A_CPL0, OP(M, 0, n)),
	PLAIN(0F, 0x01, VMCALL, P_NP | REG(0) | RM(1) | MOD_REG, 0, 0),
	PLAIN(0F, 0x01, MONITOR, P_NP | REG(1) | RM(0) | MOD_REG, 0, 0),
	PLAIN(0F, 0x01, MWAIT, P_NP | REG(1) | RM(1) | MOD_REG, 0, 0),
	ROW(0F, 0x01, CLAC, P_NP | REG(1) | RM(2) | MOD_REG, 0, 0, FLAG_I, 0),
	ROW(0F, 0x01, STAC, P_NP | REG(1) | RM(3) | MOD_REG, 0, 0, FLAG_I, 0),
	PLAIN(0F, 0x01, XGETBV, P_NP | REG(2) | RM(0) | MOD_REG, 0, 0),
	PLAIN(0F, 0x01, XSETBV, P_NP | REG(2) | RM(1) | MOD_REG, 0, 0),
	PLAIN(0F, 0x01, VMMCALL, REG(3) | RM(1) | MOD_REG, 0, 0),
	PLAIN(0F, 0x01, SWAPGS, ONLY_64 | REG(7) | RM(0) | MOD_REG, A_CPL0, 0),
	PLAIN(0F, 0x01, RDTSCP, REG(7) | RM(1) | MOD_REG, 0, 0),
	PLAIN(0F, 0x01, CLZERO, REG(7) | RM(4) | MOD_REG, 0, 0),
	ROW(0F, 0x02, LAR, MOD_MEM, 0, 0, FLAG_Z, OP(G, V, rw), OP(M, W, r)),
	ROW(0F, 0x02, LAR, MOD_REG, 0, 0, FLAG_Z, OP(G, V, rw), OP(R, V, r)),
	ROW(0F, 0x03, LSL, MOD_MEM, 0, 0, FLAG_Z, OP(G, V, rw), OP(M, W, r)),
	ROW(0F, 0x03, LSL, MOD_REG, 0, 0, FLAG_Z, OP(G, V, rw), OP(R, V, r)),
	ROW(0F, 0x05, SYSCALL, 0, A_BND, ARITH | FLAG_D | FLAG_I, FLAG_I | FLAG_D, 0),
	PLAIN(0F, 0x06, CLTS, 0, A_CPL0, 0),
	ROW(0F, 0x07, SYSRET, 0, A_BND, 0, ARITH | FLAG_D | FLAG_I, 0),
	PLAIN(0F, 0x08, INVD, 0, A_CPL0, 0),
	PLAIN(0F, 0x09, WBINVD, 0, A_CPL0, 0),
	PLAIN(0F, 0x0b, UD, 0, A_BND, 0),
	PLAIN(0F, 0x0d, PREFETCH, MOD_MEM, 0, OP(M, 0, n)),
	PLAIN(0F, 0x18, PREFETCH, MOD_MEM | REG(0), 0, OP(M, 0, n)),
	PLAIN(0F, 0x18, PREFETCH, MOD_MEM | REG(1), 0, OP(M, 0, n)),
	PLAIN(0F, 0x18, PREFETCH, MOD_MEM | REG(2), 0, OP(M, 0, n)),
	PLAIN(0F, 0x18, PREFETCH, MOD_MEM | REG(3), 0, OP(M, 0, n)),
	PLAIN(0F, 0x18, NOP, 0, 0, OP(E, V, n), OP(G, V, n)),
	PLAIN(0F, 0x19, NOP, 0, 0, OP(E, V, n), OP(G, V, n)),
	PLAIN(0F, 0x1a, NOP, 0, 0, OP(E, V, n), OP(G, V, n)),
	PLAIN(0F, 0x1b, NOP, 0, 0, OP(E, V, n), OP(G, V, n)),
	PLAIN(0F, 0x1c, NOP, 0, 0, OP(E, V, n), OP(G, V, n)),
	PLAIN(0F, 0x1d, NOP, 0, 0, OP(E, V, n), OP(G, V, n)),
	PLAIN(0F, 0x1e, NOP, 0, 0, OP(E, V, n), OP(G, V, n)),
	PLAIN(0F, 0x1f, NOP, 0, 0, OP(E, V, n), OP(G, V, n)),
	PLAIN(0F, 0x20, MOV_FROM_CONTROL, 0, A_CPL0, OP(R, N, w), OP(C, N, r)),
	PLAIN(0F, 0x21, MOV_FROM_DEBUG, 0, A_CPL0, OP(R, N, w), OP(D, N, r)),
	PLAIN(0F, 0x22, MOV_TO_CONTROL, 0, A_CPL0, OP(C, N, w), OP(R, N, r)),
	PLAIN(0F, 0x23, MOV_TO_DEBUG, 0, A_CPL0, OP(D, N, w), OP(R, N, r)),
	PLAIN(0F, 0x30, WRMSR, 0, A_CPL0, 0),
	PLAIN(0F, 0x31, RDTSC, 0, 0, 0),
	PLAIN(0F, 0x32, RDMSR, 0, A_CPL0, 0),
	PLAIN(0F, 0x33, RDPMC, 0, 0, 0),
	ROW(0F, 0x34, SYSENTER, 0, A_BND, 0, FLAG_I, 0),
	PLAIN(0F, 0x35, SYSEXIT, 0, A_CPL0 | A_BND, 0),
	BY_CONDITION(CMOV, 0x40),
	BY_CONDITION(JCC_Z, 0x80),
	BY_CONDITION(SETCC, 0x90),
	PLAIN(0F, 0xa0, PUSH_SEGMENT, 0, A_D64, OP(SEG, V, r)),
	PLAIN(0F, 0xa1, POP_SEGMENT, 0, A_D64, OP(SEG, V, w)),
	PLAIN(0F, 0xa2, CPUID, 0, 0, 0),
	BIT_TEST(0xa3, 4, BT, 0, r),
	ROW(0F, 0xa4, SHLD, 0, 0, 0, ARITH, OP(E, V, rw), OP(G, V, r), OP(I, B, r)),
	ROW(0F, 0xa5, SHLD, 0, 0, 0, ARITH, OP(E, V, rw), OP(G, V, r), OP(CX, B, r)),
	PLAIN(0F, 0xa8, PUSH_SEGMENT, 0, A_D64, OP(SEG, V, r)),
	PLAIN(0F, 0xa9, POP_SEGMENT, 0, A_D64, OP(SEG, V, w)),
	BIT_TEST(0xab, 5, BTS, A_LOCK, rw),
	ROW(0F, 0xac, SHRD, 0, 0, 0, ARITH, OP(E, V, rw), OP(G, V, r), OP(I, B, r)),
	ROW(0F, 0xad, SHRD, 0, 0, 0, ARITH, OP(E, V, rw), OP(G, V, r), OP(CX, B, r)),
	PLAIN(0F, 0xae, FXSAVE, P_NP | MOD_MEM | REG(0), 0, OP(M, 512, w)),
	PLAIN(0F, 0xae, FXRSTOR, P_NP | MOD_MEM | REG(1), 0, OP(M, 512, r)),
	PLAIN(0F, 0xae, LDMXCSR, P_NP | MOD_MEM | REG(2), 0, OP(M, D, r)),
	PLAIN(0F, 0xae, STMXCSR, P_NP | MOD_MEM | REG(3), 0, OP(M, D, w)),
	PLAIN(0F, 0xae, LDMXCSR, IN_VEX | P_NP | L0 | MOD_MEM | REG(2), 0, OP(M, D, r)),
	PLAIN(0F, 0xae, STMXCSR, IN_VEX | P_NP | L0 | MOD_MEM | REG(3), 0, OP(M, D, w)),
	PLAIN(0F, 0xae, XSAVE, P_NP | MOD_MEM | REG(4), 0, OP(M, 0, rw)),
	PLAIN(0F, 0xae, XRSTOR, P_NP | MOD_MEM | REG(5), 0, OP(M, 0, r)),
	PLAIN(0F, 0xae, XSAVEOPT, P_NP | MOD_MEM | REG(6), 0, OP(M, 0, rw)),
	PLAIN(0F, 0xae, CLFLUSH, P_NP | MOD_MEM | REG(7), 0, OP(M, 0, n)),
	PLAIN(0F, 0xae, CLWB, P_66 | MOD_MEM | REG(6), 0, OP(M, 0, n)),
	PLAIN(0F, 0xae, CLFLUSHOPT, P_66 | MOD_MEM | REG(7), 0, OP(M, 0, n)),
	PLAIN(0F, 0xae, LFENCE, P_NP | MOD_REG | REG(5), 0, 0),
	PLAIN(0F, 0xae, MFENCE, P_NP | MOD_REG | REG(6), 0, 0),
	PLAIN(0F, 0xae, SFENCE, P_NP | MOD_REG | REG(7), 0, 0),
	PLAIN(0F, 0xae, RDFSBASE, P_F3 | MOD_REG | REG(0) | ONLY_64, 0, OP(R, Y, w)),
	PLAIN(0F, 0xae, RDGSBASE, P_F3 | MOD_REG | REG(1) | ONLY_64, 0, OP(R, Y, w)),
	PLAIN(0F, 0xae, WRFSBASE, P_F3 | MOD_REG | REG(2) | ONLY_64, 0, OP(R, Y, r)),
	PLAIN(0F, 0xae, WRGSBASE, P_F3 | MOD_REG | REG(3) | ONLY_64, 0, OP(R, Y, r)),
	ROW(0F, 0xaf, IMUL, 0, 0, 0, ARITH, OP(G, V, rw), OP(E, V, r)),
	ROW(0F, 0xb0, CMPXCHG, 0, A_LOCK, 0, ARITH, OP(E, B, rw), OP(G, B, r)),
	ROW(0F, 0xb1, CMPXCHG, 0, A_LOCK, 0, ARITH, OP(E, V, rw), OP(G, V, r)),
	PLAIN(0F, 0xb2, LOAD_FAR_POINTER, MOD_MEM, 0, OP(G, V, w), OP(M, FAR, r)),
	BIT_TEST(0xb3, 6, BTR, A_LOCK, rw),
	PLAIN(0F, 0xb4, LOAD_FAR_POINTER, MOD_MEM, 0, OP(G, V, w), OP(M, FAR, r)),
	PLAIN(0F, 0xb5, LOAD_FAR_POINTER, MOD_MEM, 0, OP(G, V, w), OP(M, FAR, r)),
	PLAIN(0F, 0xb6, MOVZX, 0, 0, OP(G, V, w), OP(E, B, r)),
	PLAIN(0F, 0xb7, MOVZX, 0, 0, OP(G, V, w), OP(E, W, r)),
	ROW(0F, 0xb8, POPCNT, P_F3, 0, 0, ARITH, OP(G, V, w), OP(E, V, r)),
	PLAIN(0F, 0xb9, UD, 0, A_BND, OP(G, V, n), OP(E, V, n)),
	BIT_TEST(0xbb, 7, BTC, A_LOCK, rw),
	ROW(0F, 0xbc, TZCNT, P_F3, 0, 0, ARITH, OP(G, V, w), OP(E, V, r)),
	ROW(0F, 0xbc, BSF, 0, 0, 0, ARITH, OP(G, V, rw), OP(E, V, r)),
	ROW(0F, 0xbd, LZCNT, P_F3, 0, 0, ARITH, OP(G, V, w), OP(E, V, r)),
	ROW(0F, 0xbd, BSR, 0, 0, 0, ARITH, OP(G, V, rw), OP(E, V, r)),
	PLAIN(0F, 0xbe, MOVSX, 0, 0, OP(G, V, w), OP(E, B, r)),
	PLAIN(0F, 0xbf, MOVSX, 0, 0, OP(G, V, w), OP(E, W, r)),
	ROW(0F, 0xc0, XADD, 0, A_LOCK, 0, ARITH, OP(E, B, rw), OP(G, B, rw)),
	ROW(0F, 0xc1, XADD, 0, A_LOCK, 0, ARITH, OP(E, V, rw), OP(G, V, rw)),
	ROW(0F, 0xc7, CMPXCHG8B, REG(1) | MOD_MEM | W1 | ONLY_64, A_LOCK, 0, FLAG_Z, OP(M, DQ, rw)),
	ROW(0F, 0xc7, CMPXCHG8B, REG(1) | MOD_MEM, A_LOCK, 0, FLAG_Z, OP(M, Q, rw)),
	PLAIN(0F, 0xc7, XRSTORS, P_NP | REG(3) | MOD_MEM, 0, OP(M, 0, r)),
	PLAIN(0F, 0xc7, XSAVEC, P_NP | REG(4) | MOD_MEM, 0, OP(M, 0, w)),
	PLAIN(0F, 0xc7, XSAVES, P_NP | REG(5) | MOD_MEM, 0, OP(M, 0, w)),
	PLAIN(0F, 0xc7, RDPID, P_F3 | REG(7) | MOD_REG, 0, OP(R, N, w)),
	ROW(0F, 0xc7, RDRAND, NO_F3_F2 | REG(6) | MOD_REG, 0, 0, ARITH, OP(R, V, w)),
	ROW(0F, 0xc7, RDSEED, NO_F3_F2 | REG(7) | MOD_REG, 0, 0, ARITH, OP(R, V, w)),
	EIGHT(BSWAP_Z, 0xc8),
	PLAIN(0F, 0xff, UD, 0, A_BND, OP(G, V, n), OP(E, V, n)),

	/* 0F 38 and 0F 3A. */
	PLAIN(0F38, 0x82, INVPCID, P_66 | MOD_MEM, 0, OP(G, N, r), OP(M, DQ, r)),
	ROW(0F38, 0xf0, CRC32, P_F2, 0, 0, 0, OP(G, Y, rw), OP(E, B, r)),
	PLAIN(0F38, 0xf0, MOVBE, NO_F3_F2 | MOD_MEM, 0, OP(G, V, w), OP(M, V, r)),
	ROW(0F38, 0xf1, CRC32, P_F2, 0, 0, 0, OP(G, Y, rw), OP(E, V, r)),
	PLAIN(0F38, 0xf1, MOVBE, NO_F3_F2 | MOD_MEM, 0, OP(M, V, w), OP(G, V, r)),
	ROW(0F38, 0xf6, ADCX, P_66, 0, FLAG_C, FLAG_C, OP(G, Y, rw), OP(E, Y, r)),
	ROW(0F38, 0xf6, ADOX, P_F3, 0, FLAG_O, FLAG_O, OP(G, Y, rw), OP(E, Y, r)),
	ROW(0F38, 0xf2, ANDN, IN_VEX | P_NP | L0, 0, 0, ARITH, OP(G, Y, w), OP(B, Y, r), OP(E, Y, r)),
	ROW(0F38, 0xf3, BLSR, IN_VEX | P_NP | L0 | REG(1), 0, 0, ARITH, OP(B, Y, w), OP(E, Y, r)),
	ROW(0F38, 0xf3, BLSMSK, IN_VEX | P_NP | L0 | REG(2), 0, 0, ARITH, OP(B, Y, w), OP(E, Y, r)),
	ROW(0F38, 0xf3, BLSI, IN_VEX | P_NP | L0 | REG(3), 0, 0, ARITH, OP(B, Y, w), OP(E, Y, r)),
	ROW(0F38, 0xf5, BZHI, IN_VEX | P_NP | L0, 0, 0, ARITH, OP(G, Y, w), OP(E, Y, r), OP(B, Y, r)),
	PLAIN(0F38, 0xf5, PEXT, IN_VEX | P_F3 | L0, 0, OP(G, Y, w), OP(B, Y, r), OP(E, Y, r)),
	PLAIN(0F38, 0xf5, PDEP, IN_VEX | P_F2 | L0, 0, OP(G, Y, w), OP(B, Y, r), OP(E, Y, r)),
	PLAIN(0F38, 0xf6, MULX, IN_VEX | P_F2 | L0, 0, OP(G, Y, w), OP(B, Y, w), OP(E, Y, r)),
	ROW(0F38, 0xf7, BEXTR, IN_VEX | P_NP | L0, 0, 0, ARITH, OP(G, Y, w), OP(E, Y, r), OP(B, Y, r)),
	PLAIN(0F38, 0xf7, SHLX, IN_VEX | P_66 | L0, 0, OP(G, Y, w), OP(E, Y, r), OP(B, Y, r)),
	PLAIN(0F38, 0xf7, SARX, IN_VEX | P_F3 | L0, 0, OP(G, Y, w), OP(E, Y, r), OP(B, Y, r)),
	PLAIN(0F38, 0xf7, SHRX, IN_VEX | P_F2 | L0, 0, OP(G, Y, w), OP(E, Y, r), OP(B, Y, r)),
	PLAIN(0F3A, 0xf0, RORX, IN_VEX | P_F2 | L0, 0, OP(G, Y, w), OP(E, Y, r), OP(I, B, r)),
};
/* clang-format on */

const struct opcode_table opcodes_integer = {rows, sizeof(rows) / sizeof(rows[0])};
