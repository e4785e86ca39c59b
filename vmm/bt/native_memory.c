/* SPDX-License-Identifier: MIT */
/*
 * The memory operand of an instruction that the host runs: into a buffer before, out of it behind.
 * Which must be aligned, and which elements a mask keeps from faulting: SDM vol. 2, 2.4 and 2.8,
 * and what this CPU does (tests/oracle/native.c).
 */
#include <string.h>

#include "vmm/base/bytes.h"
#include "vmm/bt/alignment.h"
#include "vmm/bt/decode_impl.h"
#include "vmm/bt/native.h"
#include "vmm/bt/operand.h"

#define MXCSR_MM (1u << 17)

/* Those that fault on an address that is not a multiple of the size. */
static bool is_aligned_access(const struct engine_vcpu *cpu, const struct insn *insn, unsigned size)
{
	bool prefix_66 = insn->opcode->match & P_66;

	if (insn->map == INSN_MAP_0F) {
		switch (insn->code) {
		case 0x28:
		case 0x29:
		case 0x2b:
		case 0xe7:
			return size >= 16;
		case 0x6f:
		case 0x7f:
			return size >= 16 && prefix_66;
		case 0x10:
		case 0x11:
		case 0xf0:
			return false;
		default:
			break;
		}
	}
	if (insn->map == INSN_MAP_0F38 && insn->code == 0x2a)
		return true;
	/*
	 * All others of the legacy encodings, but for string comparisons, and SHA (seen on AMD's),
	 * and unless AMD's misaligned mode is on (AMD64 vol. 1, 4.3.2).
	 */
	return insn->encoding == INSN_LEGACY && size == 16 && !(cpu->vector.mxcsr & MXCSR_MM) &&
	       !(insn->map == INSN_MAP_0F3A && (insn->code & 0xfc) == 0x60) &&
	       (prefix_66 || insn->map == INSN_MAP_0F);
}

const struct operand *native_memory_operand(const struct insn *insn)
{
	for (unsigned i = 0; i < INSN_OPERANDS; i++)
		if (insn->operand[i].kind == OPERAND_MEMORY)
			return &insn->operand[i];
	return NULL;
}

/*
 * Masked memory. A mask keeps elements that it excludes from faulting, and memory they would be
 * written to from changing. Elements have 4 bytes, 8 with W, but for the opcodes below.
 */

struct element_rule {
	uint8_t map, code;
	uint8_t bytes; /* with W0 */
	uint8_t wide;  /* with W1 */
};

/* Of all prefixes; what a code means with others has no mask or the same elements. */
static const struct element_rule element_rules[] = {
	{INSN_MAP_0F, 0x60, 1, 1},   {INSN_MAP_0F, 0x61, 2, 2},   {INSN_MAP_0F, 0x64, 1, 1},
	{INSN_MAP_0F, 0x65, 2, 2},   {INSN_MAP_0F, 0x68, 1, 1},   {INSN_MAP_0F, 0x69, 2, 2},
	{INSN_MAP_0F, 0x71, 2, 2},   {INSN_MAP_0F, 0x74, 1, 1},   {INSN_MAP_0F, 0x75, 2, 2},
	{INSN_MAP_0F, 0xd5, 2, 2},   {INSN_MAP_0F, 0xd8, 1, 1},   {INSN_MAP_0F, 0xd9, 2, 2},
	{INSN_MAP_0F, 0xda, 1, 1},   {INSN_MAP_0F, 0xdc, 1, 1},   {INSN_MAP_0F, 0xdd, 2, 2},
	{INSN_MAP_0F, 0xde, 1, 1},   {INSN_MAP_0F, 0xe0, 1, 1},   {INSN_MAP_0F, 0xe3, 2, 2},
	{INSN_MAP_0F, 0xe4, 2, 2},   {INSN_MAP_0F, 0xe5, 2, 2},   {INSN_MAP_0F, 0xe8, 1, 1},
	{INSN_MAP_0F, 0xe9, 2, 2},   {INSN_MAP_0F, 0xea, 2, 2},   {INSN_MAP_0F, 0xec, 1, 1},
	{INSN_MAP_0F, 0xed, 2, 2},   {INSN_MAP_0F, 0xee, 2, 2},   {INSN_MAP_0F, 0xf8, 1, 1},
	{INSN_MAP_0F, 0xf9, 2, 2},   {INSN_MAP_0F, 0xfc, 1, 1},   {INSN_MAP_0F, 0xfd, 2, 2},
	{INSN_MAP_0F38, 0x0b, 2, 2}, {INSN_MAP_0F38, 0x1c, 1, 1}, {INSN_MAP_0F38, 0x1d, 2, 2},
	{INSN_MAP_0F38, 0x26, 1, 2}, {INSN_MAP_0F38, 0x38, 1, 1}, {INSN_MAP_0F38, 0x3a, 2, 2},
	{INSN_MAP_0F38, 0x3c, 1, 1}, {INSN_MAP_0F38, 0x3e, 2, 2}, {INSN_MAP_0F38, 0x54, 1, 2},
	{INSN_MAP_0F38, 0x62, 1, 2}, {INSN_MAP_0F38, 0x63, 1, 2}, {INSN_MAP_0F38, 0x66, 1, 2},
	{INSN_MAP_0F38, 0x70, 2, 2}, {INSN_MAP_0F38, 0x72, 4, 2}, {INSN_MAP_0F38, 0x8f, 1, 1},
	{INSN_MAP_0F38, 0xcf, 1, 1}, {INSN_MAP_0F3A, 0x1d, 2, 2}, {INSN_MAP_0F3A, 0x3e, 1, 2},
	{INSN_MAP_0F3A, 0x3f, 1, 2}, {INSN_MAP_0F3A, 0x70, 2, 2}, {INSN_MAP_0F3A, 0x72, 2, 2},
};

/* VPMOV from 8, 4 or 2 bytes to less, and (VPMOVZX, VPMOVSX) from less: the lesser is in memory. */
static unsigned conversion_bytes(const struct insn *insn)
{
	static const uint8_t narrow[6] = {1, 1, 1, 2, 2, 4};
	unsigned code = insn->code;

	if (insn->map != INSN_MAP_0F38 || code < 0x10 || code > 0x35 || (code & 15) > 5)
		return 0;
	/* 10 to 15 are conversions only with F3, 20 to 35 with 66 also. */
	if (!(insn->opcode->match & P_F3) && code < 0x20)
		return 0;
	return narrow[code & 15];
}

static unsigned element_bytes(const struct insn *insn, const struct operand *o)
{
	bool wide = insn->rex & REX_W;
	unsigned bytes = conversion_bytes(insn);

	if (bytes)
		return bytes;
	/* VMOVDQU8 and VMOVDQU16. */
	if (insn->map == INSN_MAP_0F && (insn->code & 0xef) == 0x6f && insn->opcode->match & P_F2)
		return wide ? 2 : 1;
	/* VPSRLVW, VPSRAVW, VPSLLVW; VCVTPH2PS. */
	if (insn->map == INSN_MAP_0F38 && insn->opcode->match & P_66 && insn->code >= 0x10 &&
	    insn->code <= 0x13 && (insn->code == 0x13 || wide))
		return 2;
	for (unsigned i = 0; i < sizeof(element_rules) / sizeof(element_rules[0]); i++)
		if (element_rules[i].map == insn->map && element_rules[i].code == insn->code)
			return wide ? element_rules[i].wide : element_rules[i].bytes;
	bytes = wide ? 8 : 4;
	return bytes < o->size ? bytes : o->size;
}

static uint64_t low_bits(unsigned count)
{
	return count >= 64 ? ~0ull : (1ull << count) - 1;
}

/* VBROADCASTx and VPBROADCASTx: an element of memory becomes several of the register. */
static bool is_broadcast(const struct insn *insn)
{
	if (insn->map != INSN_MAP_0F38)
		return false;
	return (insn->code >= 0x18 && insn->code <= 0x1b) ||
	       (insn->code >= 0x58 && insn->code <= 0x5b) || insn->code == 0x78 ||
	       insn->code == 0x79;
}

/* How many elements the instruction has, where EVEX.b says that memory is one of them. */
static unsigned broadcast_elements(const struct insn *insn, const struct operand *o)
{
	unsigned bytes = insn->vector_bytes;

	for (unsigned i = 0; i < OPCODE_OPERANDS; i++)
		if (OPERAND_SOURCE(insn->opcode->operand[i]) == SRC_W &&
		    OPERAND_SIZE(insn->opcode->operand[i]) == SIZE_XH)
			bytes /= 2;
	return bytes / o->size;
}

/* Which of `count` elements of the memory operand are touched. */
static uint64_t elements_touched(const struct engine_vcpu *cpu, const struct insn *insn,
				 const struct operand *o, unsigned count)
{
	uint64_t mask = cpu->vector.k[insn->mask], touched = 0;

	if (insn->broadcast)
		return (mask & low_bits(broadcast_elements(insn, o))) != 0;
	if (is_broadcast(insn)) {
		unsigned elements = insn->vector_bytes / (o->size / count);

		for (unsigned i = 0; i < elements; i++)
			touched |= (mask >> i & 1) << i % count;
		return touched;
	}
	mask &= low_bits(count);
	/* Expansion and compression touch as many elements as are active, in a row. */
	if (insn->opcode->attributes & A_N)
		return low_bits((unsigned)__builtin_popcountll(mask));
	return mask;
}

enum transfer { TRANSFER_READ, TRANSFER_PROBE, TRANSFER_WRITE };

static void masked_transfer(struct engine_vcpu *cpu, const struct insn *insn,
			    const struct operand *o, uint8_t *buffer, enum transfer how)
{
	unsigned bytes = element_bytes(insn, o), count = o->size / bytes;
	uint64_t touched = elements_touched(cpu, insn, o, count);

	for (unsigned i = 0; i < count; i++) {
		uint64_t linear;

		if (!(touched >> i & 1))
			continue;
		linear = segment_linear(cpu, insn->memory.segment,
					operand_offset(cpu, insn) + i * bytes, bytes,
					how != TRANSFER_READ);
		if (how == TRANSFER_READ)
			le_put(buffer + i * bytes, bytes, linear_read(cpu, linear, bytes));
		else if (how == TRANSFER_PROBE)
			linear_probe_write(cpu, linear, bytes);
		else
			linear_write(cpu, linear, bytes, le_get(buffer + i * bytes, bytes));
	}
}

/* All of the operand. */
static void whole_access(struct engine_vcpu *cpu, const struct insn *insn, const struct operand *o,
			 uint8_t *buffer)
{
	uint64_t linear = operand_linear(cpu, insn, o->size, o->access & OPERAND_WRITE);

	if (o->access & OPERAND_READ)
		linear_read_bytes(cpu, linear, buffer, o->size);
	else
		linear_probe_write(cpu, linear, o->size);
}

/* The same; false: it faults, and we come back. */
static bool try_whole_access(struct engine_vcpu *cpu, const struct insn *insn,
			     const struct operand *o, uint8_t *buffer)
{
	sigjmp_buf escape;
	volatile bool done = false;

	memcpy(&escape, &cpu->escape, sizeof(escape));
	if (sigsetjmp(cpu->escape, 0) == 0) {
		whole_access(cpu, insn, o, buffer);
		done = true;
	}
	memcpy(&cpu->escape, &escape, sizeof(escape));
	return done;
}

/*
 * Those whose results are not each of one element of memory: no element is excluded from faulting
 * (SDM vol. 2, 2.8.1: the exception classes with NF).
 */
static bool is_whole_access(const struct insn *insn)
{
	static const uint8_t whole[INSN_MAPS][32] = {
		[INSN_MAP_0F] = {0x12, 0x14, 0x15, 0x16, 0x60, 0x61, 0x62, 0x63, 0x67,
				 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x70, 0xc6, 0xd1,
				 0xd2, 0xd3, 0xe1, 0xe2, 0xf1, 0xf2, 0xf3, 0xf5},
		[INSN_MAP_0F38] = {0x00, 0x04, 0x0c, 0x0d, 0x16, 0x2b, 0x36, 0x75, 0x76, 0x77, 0x7d,
				   0x7e, 0x7f, 0x83, 0x8d, 0xc4},
		[INSN_MAP_0F3A] = {0x00, 0x01, 0x03, 0x04, 0x05, 0x0f, 0x18, 0x19, 0x1a, 0x1b, 0x23,
				   0x38, 0x39, 0x3a, 0x3b, 0x42, 0x43, 0xce, 0xcf},
	};
	const uint8_t *codes = whole[insn->map];

	/* VCVTNE2PS2BF16. */
	if (insn->map == INSN_MAP_0F38 && insn->code == 0x72 && insn->opcode->match & P_F2)
		return true;
	/* 0 is a code of two maps, and ends no list before its first place. */
	for (unsigned i = 0; i < sizeof(whole[0]) && (codes[i] || i == 0); i++)
		if (codes[i] == insn->code)
			return true;
	return false;
}

/*
 * Legacy instructions that use the lower half of their 16 bytes only: UNPCKLx and PUNPCKLx, and
 * shifts by a count in memory. In misaligned mode they read no more.
 */
static bool is_half_access(const struct insn *insn)
{
	static const uint8_t codes[] = {0x14, 0x60, 0x61, 0x62, 0x6c, 0xd1, 0xd2,
					0xd3, 0xe1, 0xe2, 0xf1, 0xf2, 0xf3};

	return insn->encoding == INSN_LEGACY && insn->map == INSN_MAP_0F &&
	       memchr(codes, insn->code, sizeof(codes));
}

/* #GP or #AC. A mask makes elements what counts. */
static void alignment_demand(struct engine_vcpu *cpu, const struct insn *insn,
			     const struct operand *o)
{
	bool masked = insn->mask && !is_whole_access(insn);
	unsigned bytes = element_bytes(insn, o);

	if (masked && !elements_touched(cpu, insn, o, o->size / bytes))
		return;
	if (is_aligned_access(cpu, insn, o->size) && operand_address(cpu, insn) % o->size)
		cpu_fault(cpu, EXCEPTION_GP, 0);
	alignment_check(cpu, operand_linear(cpu, insn, o->size, o->access & OPERAND_WRITE),
			masked ? bytes : o->size);
}

void native_memory_load(struct engine_vcpu *cpu, const struct insn *insn, const struct operand *o,
			uint8_t *buffer)
{
	struct operand half = *o;

	alignment_demand(cpu, insn, o);
	if (o->size == 16 && cpu->vector.mxcsr & MXCSR_MM && is_half_access(insn)) {
		half.size = 8;
		memset(buffer, 0, o->size);
		whole_access(cpu, insn, &half, buffer);
		return;
	}
	if (!insn->mask || is_whole_access(insn)) {
		whole_access(cpu, insn, o, buffer);
		return;
	}
	/* What the mask excludes does not count in the result; the buffer has something there. */
	memset(buffer, 0, o->size);
	if (!try_whole_access(cpu, insn, o, buffer))
		masked_transfer(cpu, insn, o, buffer,
				o->access & OPERAND_READ ? TRANSFER_READ : TRANSFER_PROBE);
}

void native_memory_store(struct engine_vcpu *cpu, const struct insn *insn, const struct operand *o,
			 uint8_t *buffer)
{
	if (!(o->access & OPERAND_WRITE))
		return;
	if (insn->mask)
		masked_transfer(cpu, insn, o, buffer, TRANSFER_WRITE);
	else
		linear_write_bytes(cpu, operand_linear(cpu, insn, o->size, true), buffer, o->size);
}
