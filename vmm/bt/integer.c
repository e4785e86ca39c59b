/* SPDX-License-Identifier: MIT */
/*
 * Handlers of integer instructions: moves, arithmetic, bits, conversions. Each reads what it needs
 * (and may fault), then writes registers. AMD64 manual vol. 3; SDM vol. 2.
 */
#include "vmm/base/bytes.h"
#include "vmm/bt/guest_bytes.h"
#include "vmm/bt/handlers.h"
#include "vmm/bt/operand.h"
#include <sched.h>

#define DST (&insn->operand[0])
#define SRC (&insn->operand[1])

/* Moves. */

void do_mov(struct engine_vcpu *cpu, const struct insn *insn)
{
	operand_set(cpu, insn, DST, operand_get(cpu, insn, SRC));
}

void do_movsx(struct engine_vcpu *cpu, const struct insn *insn)
{
	operand_set(cpu, insn, DST, sign_extend(operand_get(cpu, insn, SRC), SRC->size));
}

void do_lea(struct engine_vcpu *cpu, const struct insn *insn)
{
	gpr_set(cpu, DST->reg, DST->size, operand_offset(cpu, insn));
}

/* fn of an exchange: the new value, whatever was there. */
static uint64_t take_second(uint64_t a, uint64_t b, unsigned size, uint16_t *flags)
{
	(void)a;
	(void)size;
	(void)flags;
	return b;
}

void do_xchg(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint64_t value = gpr_get(cpu, SRC->reg, SRC->size);
	uint64_t old = operand_modify(cpu, insn, DST, take_second, value, true);

	gpr_set(cpu, SRC->reg, SRC->size, old);
}

void do_xadd(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint64_t value = gpr_get(cpu, SRC->reg, SRC->size), old;

	/* XADD of a register with itself: the sum wins. */
	if (DST->kind == OPERAND_GPR) {
		uint16_t flags = alu_flags_pack(cpu->rflags);

		old = gpr_get(cpu, DST->reg, DST->size);
		gpr_set(cpu, SRC->reg, SRC->size, old);
		gpr_set(cpu, DST->reg, DST->size, alu_add(old, value, DST->size, &flags));
		cpu->rflags = alu_flags_unpack(cpu->rflags, flags);
		return;
	}
	old = operand_modify(cpu, insn, DST, alu_add, value, false);
	gpr_set(cpu, SRC->reg, SRC->size, old);
}

/* The target is written in any case, so a page that is not writable faults in any case. */
void do_cmpxchg(struct engine_vcpu *cpu, const struct insn *insn)
{
	unsigned size = DST->size;
	uint64_t expected = gpr_get(cpu, CPU_RAX, size), value = gpr_get(cpu, SRC->reg, size);
	uint64_t old;
	uint16_t flags = alu_flags_pack(cpu->rflags);

	if (DST->kind == OPERAND_GPR) {
		old = gpr_get(cpu, DST->reg, size);
		/* Unequal leaves all of a register alone, the upper half too (seen on AMD's). */
		if (old == expected)
			gpr_set(cpu, DST->reg, size, value);
	} else {
		uint64_t linear = operand_linear(cpu, insn, size, true);
		uint8_t *host = linear_host(cpu, linear, size, TLB_WRITE);

		if (host) {
			old = expected;
			guest_exchange(host, size, &old, value);
		} else {
			uint8_t seen[8], wanted[8];

			le64_put(seen, expected);
			le64_put(wanted, value);
			split_exchange(cpu, linear, size, seen, wanted);
			old = le_get(seen, size);
		}
	}
	alu_cmp(expected, old, size, &flags);
	cpu->rflags = alu_flags_unpack(cpu->rflags, flags);
	if (old != expected)
		gpr_set(cpu, CPU_RAX, size, old);
}

void do_cmpxchg8b(struct engine_vcpu *cpu, const struct insn *insn)
{
	unsigned size = DST->size, half = size / 2;
	uint8_t old[16], value[16], *host;
	uint64_t linear;
	bool equal;

	if (size == 16 && operand_address(cpu, insn) % 16)
		cpu_fault(cpu, EXCEPTION_GP, 0);
	linear = operand_linear(cpu, insn, size, true);
	le_put(old, half, cpu->gpr[CPU_RAX]);
	le_put(old + half, half, cpu->gpr[CPU_RDX]);
	le_put(value, half, cpu->gpr[CPU_RBX]);
	le_put(value + half, half, cpu->gpr[CPU_RCX]);
	host = linear_host(cpu, linear, size, TLB_WRITE);
	if (host && size == 16) {
		uint64_t low = le64_get(old), high = le64_get(old + 8);

		__asm__ volatile("lock cmpxchg16b %[at]\n\tsete %b[equal]"
				 : [at] "+m"(*(unsigned __int128 *)(void *)host), "+a"(low),
				   "+d"(high), [equal] "=&r"(equal)
				 : "b"(le64_get(value)), "c"(le64_get(value + 8))
				 : "cc", "memory");
		le64_put(old, low);
		le64_put(old + 8, high);
	} else if (host) {
		uint64_t seen = le64_get(old);

		equal = guest_exchange(host, 8, &seen, le64_get(value));
		le64_put(old, seen);
	} else {
		equal = split_exchange(cpu, linear, size, old, value);
	}
	cpu->rflags = equal ? cpu->rflags | RFLAGS_ZF : cpu->rflags & ~(uint64_t)RFLAGS_ZF;
	if (!equal) {
		gpr_set(cpu, CPU_RAX, half, le_get(old, half));
		gpr_set(cpu, CPU_RDX, half, le_get(old + half, half));
	}
}

void do_bswap(struct engine_vcpu *cpu, const struct insn *insn)
{
	gpr_set(cpu, DST->reg, DST->size, alu_bswap(gpr_get(cpu, DST->reg, DST->size), DST->size));
}

void do_movbe(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint64_t value = __builtin_bswap64(operand_get(cpu, insn, SRC));

	operand_set(cpu, insn, DST, value >> (64 - 8 * SRC->size));
}

void do_crc32(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint64_t b = operand_get(cpu, insn, SRC);

	gpr_set(cpu, DST->reg, DST->size, alu_crc32((uint32_t)cpu->gpr[DST->reg], b, SRC->size));
}

void do_xlat(struct engine_vcpu *cpu, const struct insn *insn)
{
	unsigned segment = insn->segment == INSN_NO_REGISTER ? CPU_DS : insn->segment;
	uint64_t offset = cpu->gpr[CPU_RBX] + (cpu->gpr[CPU_RAX] & 0xff);
	uint64_t linear =
		segment_linear(cpu, segment, offset & size_mask(insn->address_size), 1, false);

	gpr_set(cpu, CPU_RAX, 1, linear_read(cpu, linear, 1));
}

/* Arithmetic: one function for all that have the shape of ADD, and so on. */

static alu2_fn *const binary[INSN_IDS] = {
	[INSN_ADD] = alu_add, [INSN_OR] = alu_or,   [INSN_ADC] = alu_adc, [INSN_SBB] = alu_sbb,
	[INSN_AND] = alu_and, [INSN_SUB] = alu_sub, [INSN_XOR] = alu_xor, [INSN_ROL] = alu_rol,
	[INSN_ROR] = alu_ror, [INSN_RCL] = alu_rcl, [INSN_RCR] = alu_rcr, [INSN_SHL] = alu_shl,
	[INSN_SHR] = alu_shr, [INSN_SAR] = alu_sar, [INSN_BTS] = alu_bts, [INSN_BTR] = alu_btr,
	[INSN_BTC] = alu_btc,
};

void do_binary(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint64_t b = operand_get(cpu, insn, SRC);

	operand_modify(cpu, insn, DST, binary[insn->opcode->id], b, false);
}

/*
 * Rotated by an immediate that is not 1, OF is what the CPU makes of it, as everything is that the
 * manuals leave open: Intel's leave it as it was where a register is rotated, and neither where
 * memory is nor by CL.
 */
static bool rotate_keeps_overflow(void)
{
	uint32_t value = 1u << 30; /* the top bit and CF will differ */
	uint8_t overflow;

	__asm__("testl %[value], %[value]\n\troll $2, %[value]\n\tseto %[overflow]"
		: [value] "+r"(value), [overflow] "=q"(overflow)
		:
		: "cc");
	return !overflow;
}

void do_rotate(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint64_t before = cpu->rflags;
	unsigned count = insn->immediate & (DST->size == 8 ? 63 : 31);

	do_binary(cpu, insn);
	if ((insn->code & 0xfe) == 0xc0 && insn->modrm >> 6 == 3 && count != 1 &&
	    rotate_keeps_overflow())
		cpu->rflags = (cpu->rflags & ~(uint64_t)RFLAGS_OF) | (before & RFLAGS_OF);
}

/* The result is dropped: only flags. */
static void compare(struct engine_vcpu *cpu, const struct insn *insn, alu2_fn *fn)
{
	uint64_t a = operand_get(cpu, insn, DST), b = operand_get(cpu, insn, SRC);
	uint16_t flags = alu_flags_pack(cpu->rflags);

	fn(a, b, DST->size, &flags);
	cpu->rflags = alu_flags_unpack(cpu->rflags, flags);
}

void do_cmp(struct engine_vcpu *cpu, const struct insn *insn)
{
	compare(cpu, insn, alu_cmp);
}

void do_test(struct engine_vcpu *cpu, const struct insn *insn)
{
	compare(cpu, insn, alu_test);
}

#define UNARY(name)                                                                                \
	static uint64_t unary_##name(uint64_t a, uint64_t b, unsigned size, uint16_t *flags)       \
	{                                                                                          \
		(void)b;                                                                           \
		return alu_##name(a, size, flags);                                                 \
	}                                                                                          \
	void do_##name(struct engine_vcpu *cpu, const struct insn *insn)                           \
	{                                                                                          \
		operand_modify(cpu, insn, DST, unary_##name, 0, false);                            \
	}

UNARY(inc)
UNARY(dec)
UNARY(neg)
UNARY(not )

/* Target and source differ, the target is a register: BSF, POPCNT, ADCX, the two-operand IMUL. */
static alu2_fn *const register_binary[INSN_IDS] = {
	[INSN_IMUL] = alu_imul,   [INSN_BSF] = alu_bsf,       [INSN_BSR] = alu_bsr,
	[INSN_TZCNT] = alu_tzcnt, [INSN_LZCNT] = alu_lzcnt,   [INSN_POPCNT] = alu_popcnt,
	[INSN_ADCX] = alu_adcx,   [INSN_ADOX] = alu_adox,     [INSN_ANDN] = alu_andn,
	[INSN_BEXTR] = alu_bextr, [INSN_BZHI] = alu_bzhi,     [INSN_BLSI] = alu_blsi,
	[INSN_BLSR] = alu_blsr,   [INSN_BLSMSK] = alu_blsmsk,
};

static void register_result(struct engine_vcpu *cpu, const struct insn *insn, uint64_t a,
			    uint64_t b)
{
	uint16_t flags = alu_flags_pack(cpu->rflags);
	uint64_t value = register_binary[insn->opcode->id](a, b, DST->size, &flags);

	cpu->rflags = alu_flags_unpack(cpu->rflags, flags);
	gpr_set(cpu, DST->reg, DST->size, value);
}

void do_register_binary(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint64_t b = operand_get(cpu, insn, SRC), a = gpr_get(cpu, DST->reg, DST->size);

	register_result(cpu, insn, a, b);
}

/* The target is not a source: ANDN, BEXTR, BZHI, IMUL with an immediate. */
void do_ternary(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint64_t a = operand_get(cpu, insn, SRC), b = operand_get(cpu, insn, &insn->operand[2]);

	register_result(cpu, insn, a, b);
}

/* BSF and BSR of nothing leave all of the register alone, the upper half too. */
void do_bit_scan(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint64_t b = operand_get(cpu, insn, SRC), a = cpu->gpr[DST->reg];

	register_result(cpu, insn, a, b);
	if (b == 0)
		cpu->gpr[DST->reg] = a;
}

void do_imul(struct engine_vcpu *cpu, const struct insn *insn)
{
	if (insn->operand[2].kind)
		do_ternary(cpu, insn);
	else
		do_register_binary(cpu, insn);
}

void do_deposit(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint64_t mask = operand_get(cpu, insn, &insn->operand[2]);
	uint64_t a = operand_get(cpu, insn, SRC);

	gpr_set(cpu, DST->reg, DST->size,
		insn->opcode->id == INSN_PDEP ? alu_pdep(a, mask) : alu_pext(a, mask));
}

void do_mulx(struct engine_vcpu *cpu, const struct insn *insn)
{
	unsigned size = DST->size;
	unsigned __int128 product = (unsigned __int128)gpr_get(cpu, CPU_RDX, size) *
				    operand_get(cpu, insn, &insn->operand[2]);

	/* If both targets are one register, the high half wins. */
	gpr_set(cpu, SRC->reg, size, (uint64_t)product);
	gpr_set(cpu, DST->reg, size, (uint64_t)(product >> (8 * size)));
}

/* RORX, SARX, SHLX, SHRX: shifts that leave flags alone. */
void do_shift_x(struct engine_vcpu *cpu, const struct insn *insn)
{
	static alu2_fn *const shifts[INSN_IDS] = {[INSN_RORX] = alu_ror,
						  [INSN_SARX] = alu_sar,
						  [INSN_SHLX] = alu_shl,
						  [INSN_SHRX] = alu_shr};
	uint64_t a = operand_get(cpu, insn, SRC), count = operand_get(cpu, insn, &insn->operand[2]);
	uint16_t flags = 0;

	gpr_set(cpu, DST->reg, DST->size, shifts[insn->opcode->id](a, count, DST->size, &flags));
}

/* SHLD and SHRD: fn with the third operand bound, as the functions take two. */
static void shift_double(struct engine_vcpu *cpu, const struct insn *insn,
			 uint64_t (*fn)(uint64_t, uint64_t, uint8_t, unsigned, uint16_t *))
{
	uint8_t count = (uint8_t)operand_get(cpu, insn, &insn->operand[2]);
	uint64_t b = gpr_get(cpu, SRC->reg, SRC->size), value;
	uint16_t flags = alu_flags_pack(cpu->rflags);

	if (DST->kind == OPERAND_MEMORY)
		linear_probe_write(cpu, operand_linear(cpu, insn, DST->size, true), DST->size);
	value = fn(operand_get(cpu, insn, DST), b, count, DST->size, &flags);
	operand_set(cpu, insn, DST, value);
	cpu->rflags = alu_flags_unpack(cpu->rflags, flags);
}

void do_shld(struct engine_vcpu *cpu, const struct insn *insn)
{
	shift_double(cpu, insn, alu_shld);
}

void do_shrd(struct engine_vcpu *cpu, const struct insn *insn)
{
	shift_double(cpu, insn, alu_shrd);
}

/* With a register for the bit's number, memory is a string of bits without end. */
static uint64_t bit_linear(struct engine_vcpu *cpu, const struct insn *insn, uint64_t bit,
			   bool write)
{
	unsigned size = DST->size;
	uint64_t offset = operand_offset(cpu, insn);

	if (SRC->kind == OPERAND_GPR) {
		int64_t units = (int64_t)sign_extend(bit, size) >> (size == 2   ? 4
								    : size == 4 ? 5
										: 6);

		offset += (uint64_t)(units * (int64_t)size);
		offset &= size_mask(insn->address_size);
	}
	return segment_linear(cpu, insn->memory.segment, offset, size, write);
}

void do_bt(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint64_t bit = operand_get(cpu, insn, SRC), value;
	uint16_t flags = alu_flags_pack(cpu->rflags);

	if (DST->kind == OPERAND_MEMORY)
		value = linear_read(cpu, bit_linear(cpu, insn, bit, false), DST->size);
	else
		value = gpr_get(cpu, DST->reg, DST->size);
	alu_bt(value, bit, DST->size, &flags);
	cpu->rflags = alu_flags_unpack(cpu->rflags, flags);
}

void do_bit_modify(struct engine_vcpu *cpu, const struct insn *insn)
{
	alu2_fn *fn = binary[insn->opcode->id];
	uint64_t bit = operand_get(cpu, insn, SRC);

	if (DST->kind == OPERAND_MEMORY)
		linear_modify(cpu, bit_linear(cpu, insn, bit, true), DST->size, fn, bit,
			      insn->lock);
	else
		operand_modify(cpu, insn, DST, fn, bit, false);
}

/* Multiplication and division of the pair rDX:rAX, or of AX. */
static void pair_operation(struct engine_vcpu *cpu, const struct insn *insn,
			   int (*fn)(struct alu_pair *, uint64_t, unsigned, uint16_t *))
{
	struct alu_pair pair = {.low = cpu->gpr[CPU_RAX], .high = cpu->gpr[CPU_RDX]};
	uint16_t flags = alu_flags_pack(cpu->rflags);
	uint64_t b = operand_get(cpu, insn, DST);
	unsigned size = DST->size;

	if (fn(&pair, b, size, &flags))
		cpu_fault(cpu, EXCEPTION_DE, NO_ERROR_CODE);
	cpu->rflags = alu_flags_unpack(cpu->rflags, flags);
	if (size == 1) {
		gpr_set(cpu, CPU_RAX, 2, pair.low);
		return;
	}
	gpr_set(cpu, CPU_RAX, size, pair.low);
	gpr_set(cpu, CPU_RDX, size, pair.high);
}

static int pair_mul(struct alu_pair *pair, uint64_t b, unsigned size, uint16_t *flags)
{
	alu_mul(pair, b, size, flags);
	return 0;
}

static int pair_imul(struct alu_pair *pair, uint64_t b, unsigned size, uint16_t *flags)
{
	alu_imul_wide(pair, b, size, flags);
	return 0;
}

void do_mul(struct engine_vcpu *cpu, const struct insn *insn)
{
	pair_operation(cpu, insn, pair_mul);
}

void do_imul_1(struct engine_vcpu *cpu, const struct insn *insn)
{
	pair_operation(cpu, insn, pair_imul);
}

void do_div(struct engine_vcpu *cpu, const struct insn *insn)
{
	pair_operation(cpu, insn, alu_div);
}

void do_idiv(struct engine_vcpu *cpu, const struct insn *insn)
{
	pair_operation(cpu, insn, alu_idiv);
}

/* Conversions and flags. */

void do_cbw(struct engine_vcpu *cpu, const struct insn *insn)
{
	unsigned size = insn->operand_size;

	gpr_set(cpu, CPU_RAX, size, sign_extend(cpu->gpr[CPU_RAX], size / 2));
}

void do_cwd(struct engine_vcpu *cpu, const struct insn *insn)
{
	unsigned size = insn->operand_size;

	gpr_set(cpu, CPU_RDX, size,
		(uint64_t)((int64_t)sign_extend(cpu->gpr[CPU_RAX], size) >> 63));
}

void do_sahf(struct engine_vcpu *cpu, const struct insn *insn)
{
	(void)insn;
	cpu->rflags =
		(cpu->rflags & ~(uint64_t)ALU_LOW_FLAGS) | (cpu->gpr[CPU_RAX] >> 8 & ALU_LOW_FLAGS);
}

void do_lahf(struct engine_vcpu *cpu, const struct insn *insn)
{
	(void)insn;
	gpr_set(cpu, CPU_GPRS, 1, (cpu->rflags & ALU_LOW_FLAGS) | RFLAGS_ONE);
}

void do_flag(struct engine_vcpu *cpu, const struct insn *insn)
{
	switch (insn->opcode->id) {
	case INSN_CLC:
		cpu->rflags &= ~(uint64_t)RFLAGS_CF;
		break;
	case INSN_STC:
		cpu->rflags |= RFLAGS_CF;
		break;
	case INSN_CMC:
		cpu->rflags ^= RFLAGS_CF;
		break;
	case INSN_CLD:
		cpu->rflags &= ~(uint64_t)RFLAGS_DF;
		break;
	default:
		cpu->rflags |= RFLAGS_DF;
		break;
	}
}

/* The condition of Jcc, SETcc, CMOVcc: the low four bits of the opcode. */
bool condition_holds(const struct engine_vcpu *cpu, unsigned condition)
{
	uint64_t f = cpu->rflags;
	bool less = !(f & RFLAGS_SF) != !(f & RFLAGS_OF), holds;

	switch (condition >> 1 & 7) {
	case 0:
		holds = f & RFLAGS_OF;
		break;
	case 1:
		holds = f & RFLAGS_CF;
		break;
	case 2:
		holds = f & RFLAGS_ZF;
		break;
	case 3:
		holds = f & (RFLAGS_CF | RFLAGS_ZF);
		break;
	case 4:
		holds = f & RFLAGS_SF;
		break;
	case 5:
		holds = f & RFLAGS_PF;
		break;
	case 6:
		holds = less;
		break;
	default:
		holds = less || f & RFLAGS_ZF;
		break;
	}
	return holds != (condition & 1);
}

void do_setcc(struct engine_vcpu *cpu, const struct insn *insn)
{
	operand_set(cpu, insn, DST, condition_holds(cpu, insn->code));
}

/* The source is read whether it is moved or not; 4 bytes clear the upper half in any case. */
void do_cmovcc(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint64_t value = operand_get(cpu, insn, SRC);

	if (!condition_holds(cpu, insn->code))
		value = gpr_get(cpu, DST->reg, DST->size);
	gpr_set(cpu, DST->reg, DST->size, value);
}

/* Decimal adjustments: SDM vol. 2. Outside 64-bit mode only. */

static void decimal_flags(struct engine_vcpu *cpu, uint8_t al, bool adjust, bool carry)
{
	uint16_t flags = 0;

	alu_test(al, al, 1, &flags);
	cpu->rflags = alu_flags_unpack(cpu->rflags, flags);
	if (adjust)
		cpu->rflags |= RFLAGS_AF;
	if (carry)
		cpu->rflags |= RFLAGS_CF;
}

void do_daa(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint8_t old = (uint8_t)cpu->gpr[CPU_RAX], al = old;
	bool subtract = insn->opcode->id == INSN_DAS;
	bool adjust = (old & 15) > 9 || cpu->rflags & RFLAGS_AF;
	bool had_carry = cpu->rflags & RFLAGS_CF, carry = had_carry || old > 0x99;
	bool borrow = subtract && adjust && old < 6;

	if (adjust)
		al = (uint8_t)(subtract ? al - 6 : al + 6);
	if (carry)
		al = (uint8_t)(subtract ? al - 0x60 : al + 0x60);
	gpr_set(cpu, CPU_RAX, 1, al);
	decimal_flags(cpu, al, adjust, carry || borrow);
}

void do_aaa(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint16_t ax = (uint16_t)cpu->gpr[CPU_RAX];
	bool adjust = (ax & 15) > 9 || cpu->rflags & RFLAGS_AF;

	if (adjust)
		ax = (uint16_t)(insn->opcode->id == INSN_AAA ? ax + 0x106 : ax - 0x106);
	ax &= 0xff0f;
	gpr_set(cpu, CPU_RAX, 2, ax);
	decimal_flags(cpu, (uint8_t)ax, adjust, adjust);
}

void do_aam(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint8_t al = (uint8_t)cpu->gpr[CPU_RAX], base = (uint8_t)insn->immediate;

	if (base == 0)
		cpu_fault(cpu, EXCEPTION_DE, NO_ERROR_CODE);
	gpr_set(cpu, CPU_RAX, 2, (uint64_t)(al / base) << 8 | al % base);
	decimal_flags(cpu, al % base, false, false);
}

void do_aad(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint8_t al =
		(uint8_t)(gpr_get(cpu, CPU_RAX, 1) + gpr_get(cpu, CPU_GPRS, 1) * insn->immediate);

	gpr_set(cpu, CPU_RAX, 2, al);
	decimal_flags(cpu, al, false, false);
}

void do_salc(struct engine_vcpu *cpu, const struct insn *insn)
{
	(void)insn;
	gpr_set(cpu, CPU_RAX, 1, cpu->rflags & RFLAGS_CF ? 0xff : 0);
}

/* #BR outside the two signed bounds. */
void do_bound(struct engine_vcpu *cpu, const struct insn *insn)
{
	unsigned size = DST->size;
	uint64_t linear = operand_linear(cpu, insn, 2 * size, false);
	int64_t low = (int64_t)sign_extend(linear_read(cpu, linear, size), size);
	int64_t high =
		(int64_t)sign_extend(linear_read(cpu, linear_after(cpu, linear, size), size), size);
	int64_t value = (int64_t)sign_extend(cpu->gpr[DST->reg], size);

	if (value < low || value > high)
		cpu_fault(cpu, EXCEPTION_BR, NO_ERROR_CODE);
}

void do_mfence(struct engine_vcpu *cpu, const struct insn *insn)
{
	(void)cpu;
	(void)insn;
	guest_fence();
}

void do_nop(struct engine_vcpu *cpu, const struct insn *insn)
{
	(void)cpu;
	(void)insn;
}

/* Others may have what this one spins for. */
void do_pause(struct engine_vcpu *cpu, const struct insn *insn)
{
	(void)cpu;
	(void)insn;
	sched_yield();
}
