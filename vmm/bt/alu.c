/* SPDX-License-Identifier: MIT */
/*
 * A function for each arithmetic instruction: a switch over its sizes, and in each case the
 * instruction between two others that put the guest's flags in and take them out.
 */
#include "vmm/bt/alu.h"

#include <assert.h>
#include <errno.h>

#include "vmm/bt/x86.h"

/* AL + 0x7f overflows if AL is 1, which sets OF; SAHF sets the rest and leaves OF alone. */
#define FLAGS_IN  "addb $0x7f, %%al\n\tsahf\n\t"
#define FLAGS_OUT "\n\tlahf\n\tseto %%al"

#define CASE_2(type, text)                                                                         \
	do {                                                                                       \
		type x = (type)a;                                                                  \
		__asm__(FLAGS_IN text FLAGS_OUT                                                    \
			: [x] "+&q"(x), "+&a"(packed)                                              \
			: [b] "q"((type)b)                                                         \
			: "cc");                                                                   \
		result = x;                                                                        \
	} while (0)

#define CASE_1(type, text)                                                                         \
	do {                                                                                       \
		type x = (type)a;                                                                  \
		__asm__(FLAGS_IN text FLAGS_OUT : [x] "+&q"(x), "+&a"(packed) : : "cc");           \
		result = x;                                                                        \
	} while (0)

#define CASE_SHIFT(type, text)                                                                     \
	do {                                                                                       \
		type x = (type)a;                                                                  \
		__asm__(FLAGS_IN text FLAGS_OUT                                                    \
			: [x] "+&q"(x), "+&a"(packed)                                              \
			: "c"((uint8_t)b)                                                          \
			: "cc");                                                                   \
		result = x;                                                                        \
	} while (0)

/* What all functions share around their cases. */
#define ALU_BODY(...)                                                                              \
	{                                                                                          \
		uint16_t packed = *flags;                                                          \
		uint64_t result = 0;                                                               \
                                                                                                   \
		switch (size) {                                                                    \
			__VA_ARGS__                                                                \
		default:                                                                           \
			assert(!"a size that the instruction has not");                            \
		}                                                                                  \
		*flags = packed;                                                                   \
		return result;                                                                     \
	}

/* NOLINTBEGIN(bugprone-macro-parentheses): the action is a statement */
#define ON_SIZE(bytes, action)                                                                     \
	case bytes:                                                                                \
		action;                                                                            \
		break;
/* NOLINTEND(bugprone-macro-parentheses) */

#define ALU_2(name, text)                                                                          \
	uint64_t alu_##name(uint64_t a, uint64_t b, unsigned size, uint16_t *flags) ALU_BODY(      \
		ON_SIZE(1, CASE_2(uint8_t, text "b %[b], %[x]"))                                   \
			ON_SIZE(2, CASE_2(uint16_t, text "w %[b], %[x]"))                          \
				ON_SIZE(4, CASE_2(uint32_t, text "l %[b], %[x]"))                  \
					ON_SIZE(8, CASE_2(uint64_t, text "q %[b], %[x]")))

/* Without the size of a byte. */
#define ALU_2_WIDE(name, text)                                                                     \
	uint64_t alu_##name(uint64_t a, uint64_t b, unsigned size, uint16_t *flags)                \
		ALU_BODY(ON_SIZE(2, CASE_2(uint16_t, text "w %[b], %[x]"))                         \
				 ON_SIZE(4, CASE_2(uint32_t, text "l %[b], %[x]"))                 \
					 ON_SIZE(8, CASE_2(uint64_t, text "q %[b], %[x]")))

#define ALU_1(name, text)                                                                          \
	uint64_t alu_##name(uint64_t a, unsigned size, uint16_t *flags)                            \
		ALU_BODY(ON_SIZE(1, CASE_1(uint8_t, text "b %[x]"))                                \
				 ON_SIZE(2, CASE_1(uint16_t, text "w %[x]"))                       \
					 ON_SIZE(4, CASE_1(uint32_t, text "l %[x]"))               \
						 ON_SIZE(8, CASE_1(uint64_t, text "q %[x]")))

#define ALU_SHIFT(name, text)                                                                      \
	uint64_t alu_##name(uint64_t a, uint64_t b, unsigned size, uint16_t *flags) ALU_BODY(      \
		ON_SIZE(1, CASE_SHIFT(uint8_t, text "b %%cl, %[x]"))                               \
			ON_SIZE(2, CASE_SHIFT(uint16_t, text "w %%cl, %[x]"))                      \
				ON_SIZE(4, CASE_SHIFT(uint32_t, text "l %%cl, %[x]"))              \
					ON_SIZE(8, CASE_SHIFT(uint64_t, text "q %%cl, %[x]")))

/* Of BMI and ADX: the operands as `args` say, at 4 and 8 bytes. */
#define ALU_2_LONG(name, text, args)                                                               \
	uint64_t alu_##name(uint64_t a, uint64_t b, unsigned size, uint16_t *flags)                \
		ALU_BODY(ON_SIZE(4, CASE_2(uint32_t, text "l " args))                              \
				 ON_SIZE(8, CASE_2(uint64_t, text "q " args)))

ALU_2(add, "add")
ALU_2(or, "or")
ALU_2(adc, "adc")
ALU_2(sbb, "sbb")
ALU_2(and, "and")
ALU_2(sub, "sub")
ALU_2(xor, "xor")
ALU_2(cmp, "cmp")
ALU_2(test, "test")
ALU_1(inc, "inc")
ALU_1(dec, "dec")
ALU_1(neg, "neg")
ALU_1(not, "not")
ALU_SHIFT(rol, "rol")
ALU_SHIFT(ror, "ror")
ALU_SHIFT(rcl, "rcl")
ALU_SHIFT(rcr, "rcr")
ALU_SHIFT(shl, "shl")
ALU_SHIFT(shr, "shr")
ALU_SHIFT(sar, "sar")
ALU_2_WIDE(bt, "bt")
ALU_2_WIDE(bts, "bts")
ALU_2_WIDE(btr, "btr")
ALU_2_WIDE(btc, "btc")
ALU_2_WIDE(imul, "imul")
ALU_2_WIDE(bsf, "bsf")
ALU_2_WIDE(bsr, "bsr")
ALU_2_WIDE(tzcnt, "tzcnt")
ALU_2_WIDE(lzcnt, "lzcnt")
ALU_2_WIDE(popcnt, "popcnt")
ALU_2_LONG(adcx, "adcx", "%[b], %[x]")
ALU_2_LONG(adox, "adox", "%[b], %[x]")
ALU_2_LONG(andn, "andn", "%[b], %[x], %[x]")
ALU_2_LONG(bextr, "bextr", "%[b], %[x], %[x]")
ALU_2_LONG(bzhi, "bzhi", "%[b], %[x], %[x]")
ALU_2_LONG(blsi, "blsi", "%[b], %[x]")
ALU_2_LONG(blsmsk, "blsmsk", "%[b], %[x]")
ALU_2_LONG(blsr, "blsr", "%[b], %[x]")

#define CASE_DOUBLE(type, text)                                                                    \
	do {                                                                                       \
		type x = (type)a;                                                                  \
		__asm__(FLAGS_IN text " %%cl, %[b], %[x]" FLAGS_OUT                                \
			: [x] "+&r"(x), "+&a"(packed)                                              \
			: [b] "r"((type)b), "c"(count)                                             \
			: "cc");                                                                   \
		result = x;                                                                        \
	} while (0)

#define ALU_DOUBLE(name, text)                                                                     \
	uint64_t alu_##name(uint64_t a, uint64_t b, uint8_t count, unsigned size, uint16_t *flags) \
		ALU_BODY(ON_SIZE(2, CASE_DOUBLE(uint16_t, text "w"))                               \
				 ON_SIZE(4, CASE_DOUBLE(uint32_t, text "l"))                       \
					 ON_SIZE(8, CASE_DOUBLE(uint64_t, text "q")))

ALU_DOUBLE(shld, "shld")
ALU_DOUBLE(shrd, "shrd")

/*
 * Multiplication and division work on rAX and rDX, where the flags come from and go to: they are
 * moved there by instructions that leave flags alone. A byte's pair is AX.
 */
#define CASE_PAIR(type, text)                                                                      \
	do {                                                                                       \
		uint64_t low = pair->low, high = pair->high;                                       \
		__asm__(FLAGS_IN "movq %[low], %%rax\n\t" text                                     \
				 " %[b]\n\tmovq %%rax, %[low]" FLAGS_OUT                           \
			: [low] "+&r"(low), "+&d"(high), "+&a"(packed)                             \
			: [b] "r"((type)b)                                                         \
			: "cc");                                                                   \
		pair->low = low;                                                                   \
		pair->high = high;                                                                 \
	} while (0)

#define ALU_PAIR(name, text)                                                                       \
	static void pair_##name(struct alu_pair *pair, uint64_t b, unsigned size, uint16_t *flags) \
	{                                                                                          \
		uint16_t packed = *flags;                                                          \
                                                                                                   \
		switch (size) {                                                                    \
			ON_SIZE(1, CASE_PAIR(uint8_t, text "b"))                                   \
			ON_SIZE(2, CASE_PAIR(uint16_t, text "w"))                                  \
			ON_SIZE(4, CASE_PAIR(uint32_t, text "l"))                                  \
			ON_SIZE(8, CASE_PAIR(uint64_t, text "q"))                                  \
		default:                                                                           \
			assert(!"a size that the instruction has not");                            \
		}                                                                                  \
		*flags = packed;                                                                   \
	}

ALU_PAIR(mul, "mul")
ALU_PAIR(imul, "imul")
ALU_PAIR(div, "div")
ALU_PAIR(idiv, "idiv")

void alu_mul(struct alu_pair *pair, uint64_t b, unsigned size, uint16_t *flags)
{
	pair_mul(pair, b, size, flags);
}

void alu_imul_wide(struct alu_pair *pair, uint64_t b, unsigned size, uint16_t *flags)
{
	pair_imul(pair, b, size, flags);
}

/* The dividend: high:low of the size, AX for a byte. */
static unsigned __int128 dividend(const struct alu_pair *pair, unsigned size)
{
	uint64_t mask = size_mask(size);

	if (size == 1)
		return pair->low & 0xffff;
	return (unsigned __int128)(pair->high & mask) << (8 * size) | (pair->low & mask);
}

int alu_div(struct alu_pair *pair, uint64_t b, unsigned size, uint16_t *flags)
{
	b &= size_mask(size);
	/* The quotient fits if the high half is less than the divisor; that covers 0. */
	if ((uint64_t)(dividend(pair, size) >> (8 * size)) >= b)
		return -EDOM;
	pair_div(pair, b, size, flags);
	return 0;
}

static __int128 extend_signed(unsigned __int128 value, unsigned bits)
{
	return (__int128)(value << (128 - bits)) >> (128 - bits);
}

int alu_idiv(struct alu_pair *pair, uint64_t b, unsigned size, uint16_t *flags)
{
	__int128 divisor = extend_signed(b & size_mask(size), 8 * size);
	__int128 value = extend_signed(dividend(pair, size), 16 * size);
	__int128 limit = (__int128)1 << (8 * size - 1), quotient;

	/* The lowest of all values by -1 is what even this division cannot do. */
	if (divisor == 0 || (divisor == -1 && value < -limit))
		return -EDOM;
	quotient = value / divisor;
	if (quotient < -limit || quotient >= limit)
		return -EDOM;
	pair_idiv(pair, b, size, flags);
	return 0;
}

uint64_t alu_pdep(uint64_t a, uint64_t mask)
{
	uint64_t result;

	__asm__("pdepq %[mask], %[a], %[result]"
		: [result] "=r"(result)
		: [mask] "r"(mask), [a] "r"(a));
	return result;
}

uint64_t alu_pext(uint64_t a, uint64_t mask)
{
	uint64_t result;

	__asm__("pextq %[mask], %[a], %[result]"
		: [result] "=r"(result)
		: [mask] "r"(mask), [a] "r"(a));
	return result;
}

uint32_t alu_crc32(uint32_t crc, uint64_t b, unsigned size)
{
	uint64_t wide = crc;

	switch (size) {
	case 1:
		__asm__("crc32b %[b], %k[crc]" : [crc] "+r"(wide) : [b] "q"((uint8_t)b));
		break;
	case 2:
		__asm__("crc32w %[b], %k[crc]" : [crc] "+r"(wide) : [b] "r"((uint16_t)b));
		break;
	case 4:
		__asm__("crc32l %[b], %k[crc]" : [crc] "+r"(wide) : [b] "r"((uint32_t)b));
		break;
	default:
		__asm__("crc32q %[b], %[crc]" : [crc] "+r"(wide) : [b] "r"(b));
		break;
	}
	return (uint32_t)wide;
}

uint64_t alu_bswap(uint64_t a, unsigned size)
{
	uint16_t word = (uint16_t)a;

	switch (size) {
	case 2:
		/* Undefined; the host's answer is the guest's. */
		__asm__(".byte 0x66\n\tbswapl %k[x]" : [x] "+r"(word));
		return word;
	case 4:
		return __builtin_bswap32((uint32_t)a);
	default:
		return __builtin_bswap64(a);
	}
}
