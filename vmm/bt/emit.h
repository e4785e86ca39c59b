/* SPDX-License-Identifier: MIT */
/*
 * Writing host code: a buffer, the few instructions that the translator's glue is made of, and a
 * guest's instruction written anew with other registers and another memory operand. Glue leaves
 * flags alone. What does not fit sets `full`, and nothing is written any more.
 */
#ifndef VMM_BT_EMIT_H
#define VMM_BT_EMIT_H

#include <string.h>

#include "vmm/bt/decode.h"

struct emit {
	uint8_t *at, *end; /* where the code is written */
	bool full;
	uint32_t written; /* GPRs that this code writes itself, or has the guest's write instead */
};

/* A memory operand of the host's: [base + index * scale + displacement]. */
struct emit_memory {
	uint8_t base, index; /* a GPR, or INSN_NO_REGISTER */
	uint8_t scale;       /* 1, 2, 4, 8 */
	bool state;          /* GS: in struct engine_vcpu, by its offset */
	int32_t displacement;
};

/* A field of the vCPU. */
static inline struct emit_memory emit_field(size_t offset)
{
	return (struct emit_memory){.base = INSN_NO_REGISTER,
				    .index = INSN_NO_REGISTER,
				    .scale = 1,
				    .state = true,
				    .displacement = (int32_t)offset};
}

static inline struct emit_memory emit_at(unsigned base, int32_t displacement)
{
	return (struct emit_memory){.base = (uint8_t)base,
				    .index = INSN_NO_REGISTER,
				    .scale = 1,
				    .displacement = displacement};
}

static inline void emit_byte(struct emit *e, unsigned byte)
{
	if (e->at == e->end)
		e->full = true;
	else
		*e->at++ = (uint8_t)byte;
}

/* Its low 1 to 8 bytes. */
static inline void emit_number(struct emit *e, uint64_t value, unsigned bytes)
{
	if ((size_t)(e->end - e->at) < bytes) {
		e->full = true;
		e->at = e->end;
		return;
	}
	memcpy(e->at, &value, bytes);
	e->at += bytes;
}

/* MOV; sizes in bytes. 4 bytes clear the upper half of a register; loads of 1 and 2 do, too. */
void emit_load(struct emit *e, unsigned reg, struct emit_memory from, unsigned size);
void emit_store(struct emit *e, struct emit_memory to, unsigned reg, unsigned size);
void emit_move(struct emit *e, unsigned to, unsigned from);
void emit_not(struct emit *e, unsigned reg);
void emit_constant(struct emit *e, unsigned reg, uint64_t value);
/* A 64-bit field; the value is sign-extended. */
void emit_store_constant(struct emit *e, struct emit_memory to, int32_t value);
void emit_lea(struct emit *e, unsigned reg, struct emit_memory m, unsigned size);
/* LEA of a place in this code: emit_jump_aim says which. */
uint8_t *emit_lea_ahead(struct emit *e, unsigned reg);
/* RORX of 4 or 8 bytes; MOVZX of 16 bits; PEXT by a mask in memory. */
void emit_rorx(struct emit *e, unsigned to, unsigned from, unsigned count, unsigned size);
void emit_extend_16(struct emit *e, unsigned to, unsigned from);
void emit_extract(struct emit *e, unsigned to, unsigned from, struct emit_memory mask);
/* PDEP likewise. */
void emit_deposit(struct emit *e, unsigned to, unsigned from, struct emit_memory mask);

/*
 * Jumps. JRCXZ over what follows: emit_skip_end says where that ends, 127 bytes on at most. A jump
 * to code returns where its displacement is: 4 bytes, aligned, relative to their end.
 */
uint8_t *emit_skip_if_zero(struct emit *e);
void emit_skip_end(struct emit *e, uint8_t *skip);
uint8_t *emit_jump(struct emit *e);
uint8_t *emit_jump_if(struct emit *e, unsigned condition);
/* Let one of them lead to `target`, which is as written. NULL, where there was no room: nothing. */
void emit_jump_aim(uint8_t *jump, const uint8_t *target);
void emit_jump_memory(struct emit *e, struct emit_memory target);

/* A guest's instruction as it is. */
void emit_verbatim(struct emit *e, const struct insn *insn, const uint8_t *raw);

/* A guest's instruction with some of its parts replaced. */
struct emit_change {
	bool memory; /* rm is memory: `m`; else it is the register `rm` */
	struct emit_memory m;
	uint8_t rm, reg, vvvv; /* GPRs of the host; INSN_NO_REGISTER: as it was */
};

/*
 * `raw`: its bytes. False: it cannot be written so (AH to DH beside a register that needs REX), and
 * nothing was.
 */
bool emit_insn(struct emit *e, const struct insn *insn, const uint8_t *raw,
	       const struct emit_change *change);
/* One without ModRM whose opcode names a register: with another, unless INSN_NO_REGISTER. */
void emit_short(struct emit *e, const struct insn *insn, const uint8_t *raw, unsigned reg);

#endif
