/* SPDX-License-Identifier: MIT */
/* What the decoder's files share: the state of decoding one instruction. */
#ifndef VMM_BT_DECODE_IMPL_H
#define VMM_BT_DECODE_IMPL_H

#include "vmm/bt/opcode.h"
#include "vmm/bt/x86.h"

#define REX_W 8u
#define REX_R 4u
#define REX_X 2u
#define REX_B 1u

/* What is being decoded. */
struct decoder {
	const uint8_t *bytes;
	size_t count, at;
	struct insn *insn;
	bool size_prefix, address_prefix;
	uint8_t prefix; /* the mandatory prefix that holds: P_NP, P_66, P_F3, P_F2 */
	uint8_t high;   /* EVEX: R' in bit 2, X in bit 1 where there is no index, V' in bit 0 */
	uint8_t length_code; /* L or L'L */
	bool evex_b;
	uint8_t vvvv; /* as it is written, also outside 64-bit mode */
};

static inline unsigned modrm_mod(const struct insn *insn)
{
	return insn->modrm >> 6;
}

static inline unsigned modrm_reg(const struct insn *insn)
{
	return insn->modrm >> 3 & 7;
}

static inline unsigned modrm_rm(const struct insn *insn)
{
	return insn->modrm & 7;
}

/* The next byte or bytes. 0, or what decode returns. */
int decode_need(struct decoder *d, size_t bytes);
int decode_take(struct decoder *d, uint8_t *out);
int decode_take_number(struct decoder *d, unsigned bytes, uint64_t *out);

/* decode_operand.c, when the row is known: operand and vector sizes; memory; all operands. */
void decode_sizes(struct decoder *d);
int decode_memory(struct decoder *d);
int decode_operands(struct decoder *d);

#endif
