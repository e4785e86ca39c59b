/* SPDX-License-Identifier: MIT */
/*
 * Guest instructions written anew: random ones, decoded, written with nothing or something changed,
 * and decoded again. What was not to change is the same.
 */
#include "tests/unit/unit.h"

#include "tests/random.h"
#include "vmm/bt/emit.h"
#include "vmm/bt/lower.h"

#define INSNS 2000000u

static uint64_t random_state = 1;

static uint64_t random_next(void)
{
	return random_step(&random_state);
}

/* Bytes that are an instruction more often than others. */
static void random_bytes(uint8_t bytes[16])
{
	static const uint8_t prefixes[] = {0x66, 0xf2, 0xf3, 0xf0, 0x40, 0x41, 0x44, 0x48};
	uint64_t a = random_next(), b = random_next(), how = random_next();
	unsigned at = 0;

	le64_put(bytes, a);
	le64_put(bytes + 8, b);
	while ((how & 3) == 0 && at < 3) {
		bytes[at++] = prefixes[how >> 2 & 7];
		how >>= 5;
	}
	switch (how >> 2 & 7) {
	case 0:
	case 1:
		bytes[at] = 0x0f;
		break;
	case 2:
		bytes[at] = 0x0f;
		bytes[at + 1] = how & 32 ? 0x38 : 0x3a;
		break;
	case 3:
		bytes[0] = 0xc5;
		break;
	case 4:
		bytes[0] = 0xc4;
		bytes[1] = (uint8_t)((bytes[1] & 0xe0) | (1 + (how >> 5) % 3));
		break;
	default:
		break;
	}
}

static void describe(const char *what, const uint8_t *in, const struct insn *insn,
		     const struct emit *e, const uint8_t *out)
{
	print_error("%s:", what);
	for (unsigned i = 0; i < insn->length; i++)
		print_error(" %02x", in[i]);
	print_error(" became");
	for (const uint8_t *at = out; at < e->at; at++)
		print_error(" %02x", *at);
	print_error("\n");
	fail();
}

static bool same_operand(const struct operand *a, const struct operand *b)
{
	return a->kind == b->kind && a->reg == b->reg && a->access == b->access &&
	       a->size == b->size;
}

static bool same_operands(const struct insn *a, const struct insn *b)
{
	for (unsigned i = 0; i < INSN_OPERANDS; i++)
		if (!same_operand(&a->operand[i], &b->operand[i]))
			return false;
	return true;
}

/* All that says what it does, but for operands. */
static bool same_insn(const struct insn *a, const struct insn *b)
{
	return a->opcode == b->opcode && a->operand_size == b->operand_size &&
	       a->encoding == b->encoding && a->map == b->map && a->code == b->code &&
	       a->lock == b->lock && a->size_prefix == b->size_prefix && a->repeat == b->repeat &&
	       a->immediate == b->immediate && a->immediate_2 == b->immediate_2 &&
	       (a->encoding == INSN_LEGACY || a->vector_bytes == b->vector_bytes);
}

static bool is_memory(const struct emit_memory *a, const struct insn_memory *b)
{
	return a->base == b->base && a->index == b->index &&
	       (a->index == INSN_NO_REGISTER || a->scale == b->scale) &&
	       a->displacement == b->displacement;
}

/* One with ModRM that can be written anew, and its memory operand. */
static bool random_insn(uint8_t bytes[16], struct insn *insn, struct emit_change *change)
{
	const struct insn_memory *m = &insn->memory;

	random_bytes(bytes);
	if (decode(bytes, INSN_LENGTH_MAX, DECODE_64, insn) || !insn->has_modrm ||
	    insn->encoding == INSN_EVEX)
		return false;
	*change = (struct emit_change){
		.rm = INSN_NO_REGISTER, .reg = INSN_NO_REGISTER, .vvvv = INSN_NO_REGISTER};
	change->memory = insn->modrm >> 6 != 3;
	change->m = (struct emit_memory){.base = m->base,
					 .index = m->index,
					 .scale = m->scale,
					 .displacement = (int32_t)m->displacement};
	return !change->memory || m->base != INSN_RIP;
}

static void nothing_changes(void **state)
{
	uint8_t in[16], out[64];
	unsigned count = 0;

	(void)state;
	for (unsigned i = 0; i < INSNS; i++) {
		struct emit e = {.at = out, .end = out + sizeof(out)};
		struct emit_change change;
		struct insn insn, again;

		if (!random_insn(in, &insn, &change))
			continue;
		if (!emit_insn(&e, &insn, in, &change))
			describe("not written", in, &insn, &e, out);
		if (e.full || decode(out, (size_t)(e.at - out), DECODE_64, &again) ||
		    again.length != e.at - out)
			describe("no instruction", in, &insn, &e, out);
		if (!same_insn(&insn, &again) || !same_operands(&insn, &again) ||
		    (change.memory && !is_memory(&change.m, &again.memory)))
			describe("another", in, &insn, &e, out);
		count++;
	}
	assert_true(count > INSNS / 10);
}

/* No REX may be beside AH to BH: those are not to be changed. */
static bool has_high_byte(const struct insn *insn)
{
	for (unsigned i = 0; i < INSN_OPERANDS; i++)
		if (insn->operand[i].kind == OPERAND_GPR && insn->operand[i].reg >= CPU_GPRS)
			return true;
	return false;
}

static struct emit_memory random_memory(void)
{
	uint64_t r = random_next();
	struct emit_memory m = {.base = (uint8_t)(r & 15),
				.index = (uint8_t)(r >> 4 & 15),
				.scale = (uint8_t)(1 << (r >> 8 & 3)),
				.displacement = (int32_t)(r >> 32)};

	if ((r >> 10 & 7) == 0)
		m.base = INSN_NO_REGISTER;
	if ((r >> 13 & 7) == 0 || m.index == CPU_RSP)
		m.index = INSN_NO_REGISTER;
	if ((r >> 16 & 3) == 0)
		m.displacement = (int8_t)m.displacement;
	if ((r >> 18 & 7) == 0)
		m.displacement = 0;
	/* GS: an offset into the vCPU. */
	if ((r >> 21 & 7) == 0)
		m.state = true;
	return m;
}

/* A register of the glue's in place of what a field of the encoding names, if it names one. */
static uint8_t random_change(const struct insn *insn, enum opcode_source a, enum opcode_source b,
			     struct insn *wanted)
{
	static const uint8_t glue[] = {GLUE_C, GLUE_T, GLUE_H, HOST_RCX};
	uint8_t reg = glue[random_next() % ARRAY_SIZE(glue)];
	struct place place;

	lower_place_find(insn, a, b, &place);
	if (!place.operand || random_next() & 1)
		return INSN_NO_REGISTER;
	wanted->operand[place.operand - insn->operand].reg = reg;
	return reg;
}

/* Registers and memory are what they were to become, and nothing else is. */
static void parts_change(void **state)
{
	uint8_t in[16], out[64];
	unsigned count = 0;

	(void)state;
	for (unsigned i = 0; i < INSNS; i++) {
		struct emit e = {.at = out, .end = out + sizeof(out)};
		struct insn insn, wanted, again;
		struct emit_change change;

		if (!random_insn(in, &insn, &change) || has_high_byte(&insn))
			continue;
		/* An index that is a vector; a field that is an extension for some values only. */
		if (insn.opcode->id == INSN_GATHER || insn.opcode->id == INSN_NOP)
			continue;
		wanted = insn;
		change.reg = random_change(&insn, SRC_G, SRC_G, &wanted);
		change.rm = random_change(&insn, SRC_E, SRC_R, &wanted);
		change.vvvv = random_change(&insn, SRC_B, SRC_B, &wanted);
		if (change.memory)
			change.m = random_memory();
		if (!emit_insn(&e, &insn, in, &change))
			describe("not written", in, &insn, &e, out);
		if (e.full || decode(out, (size_t)(e.at - out), DECODE_64, &again) ||
		    again.length != e.at - out)
			describe("no instruction", in, &insn, &e, out);
		if (!same_insn(&insn, &again) || !same_operands(&wanted, &again) ||
		    (change.memory && (!is_memory(&change.m, &again.memory) ||
				       change.m.state != (again.segment == CPU_GS))))
			describe("another", in, &insn, &e, out);
		count++;
	}
	assert_true(count > INSNS / 20);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_changes),
		cmocka_unit_test(parts_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
