/* SPDX-License-Identifier: MIT */
/*
 * The decoder against libzydis: random byte strings, or the instructions of a file's bytes from
 * every offset. Usage: decode [--seed N] [--count N] [--file FILE]. What the two see differently on
 * purpose is in the table `explained`.
 */
#include <Zydis/Zydis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/random.h"
#include "vmm/base/checked.h"
#include "vmm/bt/decode.h"
#include "vmm/bt/opcode.h"
#include "vmm/core/cpu_state.h"

#define REPORTS_MAX 100u

static ZydisDecoder decoders[9];
static uint64_t compared, undefined, reported, excused;
static unsigned reports;

static const struct {
	enum decode_mode mode;
	ZydisMachineMode machine;
	ZydisStackWidth stack;
} modes[] = {
	{DECODE_16, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
	{DECODE_32, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32},
	{DECODE_64, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
};

/* Extensions that lodge offers no guest: undefined for us. */
static const ZydisISASet left_out[] = {
	ZYDIS_ISA_SET_VTX,
	ZYDIS_ISA_SET_SVM,
	ZYDIS_ISA_SET_RTM,
	ZYDIS_ISA_SET_SMX,
	ZYDIS_ISA_SET_PKU,
	ZYDIS_ISA_SET_CET,
	ZYDIS_ISA_SET_SGX,
	ZYDIS_ISA_SET_SGX_ENCLV,
	ZYDIS_ISA_SET_XOP,
	ZYDIS_ISA_SET_FMA4,
	ZYDIS_ISA_SET_TBM,
	ZYDIS_ISA_SET_LWP,
	ZYDIS_ISA_SET_MPX,
	ZYDIS_ISA_SET_PT,
	ZYDIS_ISA_SET_MONITORX,
	ZYDIS_ISA_SET_RDPRU,
	ZYDIS_ISA_SET_WAITPKG,
	ZYDIS_ISA_SET_MOVDIR,
	ZYDIS_ISA_SET_ENQCMD,
	ZYDIS_ISA_SET_SERIALIZE,
	ZYDIS_ISA_SET_TSX_LDTRK,
	ZYDIS_ISA_SET_UINTR,
	ZYDIS_ISA_SET_HRESET,
	ZYDIS_ISA_SET_SNP,
	ZYDIS_ISA_SET_PCONFIG,
	ZYDIS_ISA_SET_KEYLOCKER,
	ZYDIS_ISA_SET_KEYLOCKER_WIDE,
	ZYDIS_ISA_SET_AMX_TILE,
	ZYDIS_ISA_SET_AMX_INT8,
	ZYDIS_ISA_SET_AMX_BF16,
	ZYDIS_ISA_SET_PADLOCK_ACE,
	ZYDIS_ISA_SET_PADLOCK_PHE,
	ZYDIS_ISA_SET_PADLOCK_PMM,
	ZYDIS_ISA_SET_PADLOCK_RNG,
	ZYDIS_ISA_SET_AMD3DNOW,
	ZYDIS_ISA_SET_AVX512_4FMAPS_512,
	ZYDIS_ISA_SET_AVX512_4FMAPS_SCALAR,
	ZYDIS_ISA_SET_AVX512_4VNNIW_512,
	ZYDIS_ISA_SET_AVX512ER_512,
	ZYDIS_ISA_SET_AVX512ER_SCALAR,
	ZYDIS_ISA_SET_AVX512PF_512,
	ZYDIS_ISA_SET_AVX512_FP16_128,
	ZYDIS_ISA_SET_AVX512_FP16_256,
	ZYDIS_ISA_SET_AVX512_FP16_512,
	ZYDIS_ISA_SET_AVX512_FP16_128N,
	ZYDIS_ISA_SET_AVX512_FP16_SCALAR,
	ZYDIS_ISA_SET_KNCE,
	ZYDIS_ISA_SET_KNCJKBR,
	ZYDIS_ISA_SET_KNCSTREAM,
	ZYDIS_ISA_SET_KNCV,
	ZYDIS_ISA_SET_KNC_MISC,
	ZYDIS_ISA_SET_KNC_PF_HINT,
	ZYDIS_ISA_SET_CLDEMOTE,
	ZYDIS_ISA_SET_MCOMMIT,
	ZYDIS_ISA_SET_TDX,
	ZYDIS_ISA_SET_AMD_INVLPGB,
	ZYDIS_ISA_SET_VMFUNC,
};

static bool is_left_out(const ZydisDecodedInstruction *z)
{
	/* The calls to a hypervisor, of Intel's and of AMD's guests. */
	if (z->mnemonic == ZYDIS_MNEMONIC_VMCALL || z->mnemonic == ZYDIS_MNEMONIC_VMMCALL)
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(left_out); i++)
		if (left_out[i] == z->meta.isa_set)
			return true;
	return false;
}

/* What the two see differently, and why. */
static bool is_explained(const struct insn *insn, const ZydisDecodedInstruction *z)
{
	/* Outside SMM it is undefined, and there is no SMM. */
	if (z && z->mnemonic == ZYDIS_MNEMONIC_RSM)
		return true;
	/* 0F 0D with a register: AMD's are undefined, Intel's do nothing. */
	if (z && z->meta.isa_set == ZYDIS_ISA_SET_PREFETCH_NOP)
		return true;
	/* VPTEST and VTESTP clear AF, PF, SF and OF as PTEST does; zydis 4.0 forgets it. */
	if (z && insn->encoding == INSN_VEX && insn->opcode && insn->map == INSN_MAP_0F38 &&
	    (insn->code == 0x17 || insn->code == 0x0e || insn->code == 0x0f))
		return true;
	if (!insn->opcode)
		return false;
	/* F3 90 with REX.B is no PAUSE but XCHG: the other oracle checks that natively. */
	if (insn->opcode->id == INSN_XCHG && insn->code == 0x90 && insn->repeat == INSN_REPEAT_E)
		return true;
	/* Outside 64-bit mode the source has 4 bytes whatever W says, and rounding is ignored. */
	if (!z && insn->encoding == INSN_EVEX && insn->mode != DECODE_64 && insn->rounding &&
	    (insn->code == 0x2a || insn->code == 0x7b))
		return true;
	switch (insn->opcode->id) {
	case INSN_BSF:
	case INSN_BSR: /* a zero leaves the target alone on every CPU: it is read */
	case INSN_LAR: /* so does a selector that is none */
	case INSN_LSL:
	case INSN_SYSCALL: /* saves the flags in R11 */
	case INSN_VMCALL:  /* of Intel's own it says, and not of hypercalls, that it writes flags */
		return true;
	default:
		/*
		 * Zydis 4.0 takes R13 for a base where mod 0 says that there is none, if a prefix
		 * 67 and REX.B are there; without 67 it does not. The CPU does as we do.
		 */
		return insn->mode == DECODE_64 && insn->address_size == 4 && insn->rex & 1 &&
		       insn->memory.base == INSN_NO_REGISTER;
	}
}

static void report(enum decode_mode mode, const uint8_t *bytes, const char *what,
		   const ZydisDecodedInstruction *z, const struct insn *insn)
{
	static const char *seen[ZYDIS_MNEMONIC_MAX_VALUE + 1];
	unsigned kind = z ? z->mnemonic : 0;

	if (is_explained(insn, z)) {
		excused++;
		return;
	}
	/* One of a kind, mostly. */
	reported++;
	if (seen[kind] == what || reports++ >= REPORTS_MAX)
		return;
	seen[kind] = what;
	printf("%2u bits:", mode * 8);
	for (unsigned i = 0; i < INSN_LENGTH_MAX; i++)
		printf(" %02x", bytes[i]);
	printf(": %s (zydis: %s %s, %u bytes; lodge: %s, %u bytes)\n", what,
	       z ? ZydisMnemonicGetString(z->mnemonic) : "undefined",
	       z ? ZydisISASetGetString(z->meta.isa_set) : "", z ? z->length : 0,
	       insn->opcode ? "defined" : "undefined", insn->length);
}

/* Registers. */

static bool same_gpr(const struct operand *o, const ZydisDecodedOperand *z)
{
	ZydisRegister r = z->reg.value;

	switch (o->size) {
	case 1:
		if (o->reg >= 16)
			return r == (ZydisRegister)(ZYDIS_REGISTER_AH + o->reg - 16);
		if (o->reg < 4)
			return r == (ZydisRegister)(ZYDIS_REGISTER_AL + o->reg);
		return r == (ZydisRegister)(ZYDIS_REGISTER_SPL + o->reg - 4);
	case 2:
		return r == (ZydisRegister)(ZYDIS_REGISTER_AX + o->reg);
	case 4:
		return r == (ZydisRegister)(ZYDIS_REGISTER_EAX + o->reg);
	default:
		return r == (ZydisRegister)(ZYDIS_REGISTER_RAX + o->reg);
	}
}

static bool same_register(const struct operand *o, const ZydisDecodedOperand *z)
{
	ZydisRegister r = z->reg.value;
	ZydisRegisterClass class = ZydisRegisterGetClass(r);
	ZyanI8 id = ZydisRegisterGetId(r);

	switch (o->kind) {
	case OPERAND_GPR:
		return same_gpr(o, z);
	case OPERAND_SEGMENT:
		return class == ZYDIS_REGCLASS_SEGMENT && id == o->reg;
	case OPERAND_CONTROL:
		return class == ZYDIS_REGCLASS_CONTROL && id == o->reg;
	case OPERAND_DEBUG:
		return class == ZYDIS_REGCLASS_DEBUG && id == o->reg;
	case OPERAND_X87:
		return class == ZYDIS_REGCLASS_X87 && id == o->reg;
	case OPERAND_MMX:
		return class == ZYDIS_REGCLASS_MMX && id == o->reg;
	case OPERAND_MASK:
		return class == ZYDIS_REGCLASS_MASK && id == o->reg;
	case OPERAND_VECTOR:
		return (class == ZYDIS_REGCLASS_XMM || class == ZYDIS_REGCLASS_YMM ||
			class == ZYDIS_REGCLASS_ZMM) &&
		       id == o->reg;
	default:
		return false;
	}
}

static bool same_address_register(uint8_t reg, ZydisRegister z, unsigned size)
{
	if (reg == INSN_NO_REGISTER)
		return z == ZYDIS_REGISTER_NONE;
	if (reg == INSN_RIP)
		return z == ZYDIS_REGISTER_RIP || z == ZYDIS_REGISTER_EIP;
	if (ZydisRegisterGetClass(z) >= ZYDIS_REGCLASS_XMM)
		return ZydisRegisterGetId(z) == reg;
	return z == (ZydisRegister)((size == 2   ? ZYDIS_REGISTER_AX
				     : size == 4 ? ZYDIS_REGISTER_EAX
						 : ZYDIS_REGISTER_RAX) +
				    reg);
}

static const char *compare_memory(const struct insn *insn, const struct operand *o,
				  const ZydisDecodedOperand *z)
{
	const struct insn_memory *m = &insn->memory;
	uint64_t address_mask = ~0ull >> (64 - 8 * insn->address_size);

	/* Without an access the segment does not count. */
	if (o->access && ZydisRegisterGetId(z->mem.segment) != m->segment)
		return "segment";
	if (!same_address_register(m->base, z->mem.base, insn->address_size))
		return "base";
	if (!same_address_register(m->index, z->mem.index, insn->address_size))
		return "index";
	if (m->index != INSN_NO_REGISTER && m->scale != z->mem.scale && z->mem.scale)
		return "scale";
	if ((((uint64_t)z->mem.disp.value ^ (uint64_t)m->displacement) & address_mask) != 0)
		return "displacement";
	if (o->size && z->mem.type == ZYDIS_MEMOP_TYPE_MEM && o->size * 8 != z->size)
		return "size of memory";
	return NULL;
}

static unsigned access_of(const ZydisDecodedOperand *z)
{
	ZydisOperandActions reads = ZYDIS_OPERAND_ACTION_MASK_READ;

	/* A register that may not be written must be kept. */
	if (z->type == ZYDIS_OPERAND_TYPE_REGISTER)
		reads |= ZYDIS_OPERAND_ACTION_CONDWRITE;

	return (z->actions & reads ? OPERAND_READ : 0) |
	       (z->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE ? OPERAND_WRITE : 0);
}

static bool is_encoded(const ZydisDecodedOperand *z)
{
	return z->type == ZYDIS_OPERAND_TYPE_POINTER ||
	       (z->visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT &&
		z->encoding != ZYDIS_OPERAND_ENCODING_NONE &&
		z->encoding != ZYDIS_OPERAND_ENCODING_MASK);
}

/* Ours that zydis lists as encoded, too. */
static bool is_ours_encoded(uint16_t code)
{
	switch (OPERAND_SOURCE(code)) {
	case SRC_AX:
	case SRC_CX:
	case SRC_DX:
	case SRC_ST0:
	case SRC_V0:
	case SRC_ONE:
	case SRC_X:
	case SRC_Y:
	case SRC_SEG:
		return false;
	default:
		return true;
	}
}

/* Of a vector register that is written in part we say that it is read as well, zydis mostly not. */
static bool same_access(const struct operand *o, unsigned theirs)
{
	return o->access == theirs ||
	       (o->kind == OPERAND_VECTOR && o->access == (theirs | OPERAND_READ));
}

static const char *compare_operand(const struct insn *insn, const struct operand *o,
				   const ZydisDecodedOperand *z)
{
	switch (o->kind) {
	case OPERAND_MEMORY:
		if (z->type != ZYDIS_OPERAND_TYPE_MEMORY)
			return "not memory";
		if (o->access && o->access != access_of(z))
			return "access to memory";
		return compare_memory(insn, o, z);
	case OPERAND_IMMEDIATE:
	case OPERAND_RELATIVE: {
		unsigned bits = z->type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? z->size : 0;
		uint64_t keep = bits && bits < 64 ? (1ull << bits) - 1 : ~0ull;

		if (z->type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
			return "not an immediate";
		return (z->imm.value.u & keep) == (insn->immediate & keep) ? NULL : "immediate";
	}
	case OPERAND_IMMEDIATE_2:
		return z->type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
				       z->imm.value.u == insn->immediate_2
			       ? NULL
			       : "second immediate";
	case OPERAND_FAR:
		return z->type == ZYDIS_OPERAND_TYPE_POINTER &&
				       z->ptr.offset == (uint32_t)insn->immediate &&
				       z->ptr.segment == insn->immediate_2
			       ? NULL
			       : "far pointer";
	default:
		if (z->type != ZYDIS_OPERAND_TYPE_REGISTER || !same_register(o, z))
			return "register";
		if (o->access && o->kind != OPERAND_X87 && !insn->mask &&
		    !same_access(o, access_of(z)))
			return "access to register";
		return NULL;
	}
}

static const char *compare_operands(const struct insn *insn, const ZydisDecodedInstruction *z,
				    const ZydisDecodedOperand *operands)
{
	unsigned at = 0, ours = 0;

	for (unsigned i = 0; i < OPCODE_OPERANDS && insn->opcode->operand[i]; i++) {
		uint16_t code = insn->opcode->operand[i];
		const char *what;

		if (OPERAND_SOURCE(code) == SRC_H && insn->encoding == INSN_LEGACY)
			continue;
		if (!is_ours_encoded(code)) {
			ours++;
			continue;
		}
		while (at < z->operand_count && !is_encoded(&operands[at]))
			at++;
		if (at == z->operand_count)
			return "an operand too many";
		what = compare_operand(insn, &insn->operand[ours++], &operands[at++]);
		if (what)
			return what;
	}
	while (at < z->operand_count && !is_encoded(&operands[at]))
		at++;
	return at == z->operand_count ? NULL : "an operand is missing";
}

static uint8_t flags_of(ZydisAccessedFlagsMask flags)
{
	static const struct {
		ZydisAccessedFlagsMask theirs;
		uint8_t ours;
	} table[] = {
		{ZYDIS_CPUFLAG_CF, FLAG_C}, {ZYDIS_CPUFLAG_PF, FLAG_P}, {ZYDIS_CPUFLAG_AF, FLAG_A},
		{ZYDIS_CPUFLAG_ZF, FLAG_Z}, {ZYDIS_CPUFLAG_SF, FLAG_S}, {ZYDIS_CPUFLAG_OF, FLAG_O},
		{ZYDIS_CPUFLAG_DF, FLAG_D},
	};
	uint8_t out = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
		if (flags & table[i].theirs)
			out |= table[i].ours;
	return out;
}

static const char *compare_flags(const struct insn *insn, const ZydisDecodedInstruction *z)
{
	const ZydisAccessedFlags *f = z->cpu_flags;
	const struct opcode *op = insn->opcode;
	uint8_t read = op->flags_read;

	/* A repetition tests the ZF that it made itself. */
	if (op->attributes & A_REPC && insn->repeat)
		read |= FLAG_Z;
	if (flags_of(f->tested) != (read & (uint8_t)~FLAG_I))
		return "flags read";
	if (flags_of(f->modified | f->set_0 | f->set_1 | f->undefined) !=
	    (op->flags_written & (uint8_t)~FLAG_I))
		return "flags written";
	return NULL;
}

static void compare(const uint8_t *bytes, size_t count, unsigned which)
{
	enum decode_mode mode = modes[which].mode;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction z;
	struct insn insn;
	int ret = decode(bytes, count, mode, &insn);
	bool theirs =
		ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoders[which], bytes, count, &z, operands));
	const char *what;

	compared++;
	if (theirs && is_left_out(&z))
		theirs = false;
	if (!theirs || ret) {
		undefined++;
		if (theirs != (ret == 0))
			report(mode, bytes, "defined or not", theirs ? &z : NULL, &insn);
		return;
	}
	what = z.length != insn.length ? "length" : NULL;
	if (!what && insn.opcode->id != INSN_NOP && insn.opcode->id != INSN_UD)
		what = compare_operands(&insn, &z, operands);
	if (!what)
		what = compare_flags(&insn, &z);
	if (what)
		report(mode, bytes, what, &z, &insn);
}

/* Random bytes, but with prefixes, escapes and the rare maps more often than by chance. */
static uint64_t random_state;

static uint64_t random_next(void)
{
	return random_step(&random_state);
}

static void random_bytes(uint8_t bytes[16])
{
	static const uint8_t prefixes[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x26, 0x2e, 0x36,
					   0x3e, 0x64, 0x65, 0x40, 0x48, 0x41, 0x44, 0x4f};
	uint64_t a = random_next(), b = random_next(), how = random_next();
	unsigned at = 0;

	memcpy(bytes, &a, 8);
	memcpy(bytes + 8, &b, 8);
	while ((how & 3) == 3 && at < 4) {
		bytes[at++] = prefixes[how >> 2 & 15];
		how >>= 6;
	}
	how = random_next();
	switch (how & 7) {
	case 0:
	case 1:
		bytes[at] = 0x0f;
		break;
	case 2:
		bytes[at] = 0x0f;
		bytes[at + 1] = how & 8 ? 0x38 : 0x3a;
		break;
	case 3:
		bytes[at] = how & 8 ? 0xc4 : 0xc5;
		if (how & 8)
			bytes[at + 1] = (bytes[at + 1] & 0xe0) | (1 + (how >> 4) % 3);
		/* Often no second source, as most have it. */
		if (how & 0x100)
			bytes[at + (how & 8 ? 2 : 1)] |= 0x78;
		break;
	case 4:
	case 5:
		bytes[at] = 0x62;
		bytes[at + 1] = (bytes[at + 1] & 0xf0) | (1 + (how >> 4) % 3);
		bytes[at + 2] |= 4;
		if (how & 0x100)
			bytes[at + 2] |= 0x78;
		if (how & 0x200)
			bytes[at + 3] |= 8;
		break;
	default:
		break;
	}
}

static int compare_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	static uint8_t bytes[64 << 20];
	size_t size;

	if (!file) {
		fprintf(stderr, "%s: cannot be opened\n", path);
		return 2;
	}
	size = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	for (size_t i = 0; i + INSN_LENGTH_MAX <= size; i++)
		compare(bytes + i, INSN_LENGTH_MAX, 2);
	return 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: decode [--seed N] [--count N] [--file FILE]\n");
	return 2;
}

int main(int argc, char **argv)
{
	uint64_t count = 1000000, seed = (uint64_t)time(NULL);
	int ret = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		ZydisDecoderInit(&decoders[i], modes[i].machine, modes[i].stack);
		ZydisDecoderEnableMode(&decoders[i], ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
		ZydisDecoderEnableMode(&decoders[i], ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
		ZydisDecoderEnableMode(&decoders[i], ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
		ZydisDecoderEnableMode(&decoders[i], ZYDIS_DECODER_MODE_WBNOINVD, ZYAN_FALSE);
	}
	for (int i = 1; i < argc; i += 2) {
		if (i + 1 == argc)
			return usage();
		if (strcmp(argv[i], "--seed") == 0)
			seed = strtoull(argv[i + 1], NULL, 0);
		else if (strcmp(argv[i], "--count") == 0)
			count = strtoull(argv[i + 1], NULL, 0);
		else if (strcmp(argv[i], "--file") == 0)
			ret |= compare_file(argv[i + 1]);
		else
			return usage();
	}
	random_state = seed;
	for (uint64_t i = 0; i < count; i++) {
		uint8_t bytes[16];

		random_bytes(bytes);
		compare(bytes, INSN_LENGTH_MAX, (unsigned)(i % ARRAY_SIZE(modes)));
	}
	printf("seed %" PRIu64 ": %" PRIu64 " compared, %" PRIu64 " undefined, %" PRIu64
	       " explained, %" PRIu64 " different\n",
	       seed, compared, undefined, excused, reported);
	return ret ? ret : reported ? 1 : 0;
}
