/* SPDX-License-Identifier: MIT */
/*
 * Integer arithmetic by the host's own instructions, which are the guest's: results and all flags,
 * those that the manuals leave undefined as well, are what this CPU makes of them. Flags go in and
 * out packed as LAHF and SETO give them: SF ZF AF PF CF in the high byte, OF in bit 0.
 */
#ifndef VMM_BT_ALU_H
#define VMM_BT_ALU_H

#include <stdint.h>

/* Sizes are 1, 2, 4 or 8 bytes; of `a` and `b` the low ones count, the result has no others. */
typedef uint64_t alu1_fn(uint64_t a, unsigned size, uint16_t *flags);
typedef uint64_t alu2_fn(uint64_t a, uint64_t b, unsigned size, uint16_t *flags);

#define ALU_LOW_FLAGS 0xd5u /* of RFLAGS: what LAHF has */

static inline uint16_t alu_flags_pack(uint64_t rflags)
{
	return (uint16_t)((rflags & ALU_LOW_FLAGS) << 8 | (rflags >> 11 & 1));
}

static inline uint64_t alu_flags_unpack(uint64_t rflags, uint16_t flags)
{
	return (rflags & ~(uint64_t)(ALU_LOW_FLAGS | 1u << 11)) | (flags >> 8 & ALU_LOW_FLAGS) |
	       (uint64_t)(flags & 1) << 11;
}

alu2_fn alu_add, alu_or, alu_adc, alu_sbb, alu_and, alu_sub, alu_xor, alu_cmp, alu_test;
alu1_fn alu_inc, alu_dec, alu_neg, alu_not;
/* `b` is the count. */
alu2_fn alu_rol, alu_ror, alu_rcl, alu_rcr, alu_shl, alu_shr, alu_sar;
/* Sizes 2, 4, 8. The bit is `b` modulo the size. */
alu2_fn alu_bt, alu_bts, alu_btr, alu_btc;
/* Sizes 2, 4, 8. `a` is the old target. */
alu2_fn alu_imul, alu_bsf, alu_bsr, alu_tzcnt, alu_lzcnt, alu_popcnt;
/* Sizes 4 and 8. */
alu2_fn alu_adcx, alu_adox, alu_andn, alu_bextr, alu_bzhi, alu_blsi, alu_blsmsk, alu_blsr;
uint64_t alu_shld(uint64_t a, uint64_t b, uint8_t count, unsigned size, uint16_t *flags);
uint64_t alu_shrd(uint64_t a, uint64_t b, uint8_t count, unsigned size, uint16_t *flags);

/* The pair high:low times `b`, or divided by it: quotient to low, remainder to high. */
struct alu_pair {
	uint64_t low, high;
};

void alu_mul(struct alu_pair *pair, uint64_t b, unsigned size, uint16_t *flags);
void alu_imul_wide(struct alu_pair *pair, uint64_t b, unsigned size, uint16_t *flags);
/* -EDOM: #DE. */
int alu_div(struct alu_pair *pair, uint64_t b, unsigned size, uint16_t *flags);
int alu_idiv(struct alu_pair *pair, uint64_t b, unsigned size, uint16_t *flags);

uint64_t alu_pdep(uint64_t a, uint64_t mask);
uint64_t alu_pext(uint64_t a, uint64_t mask);
uint32_t alu_crc32(uint32_t crc, uint64_t b, unsigned size);
uint64_t alu_bswap(uint64_t a, unsigned size);

#endif
