/* SPDX-License-Identifier: MIT */
/*
 * The decoder. The first byte says the mode, the others are code, decoded one instruction behind
 * the other. What comes out is within its ranges and in the bytes that were given; fewer bytes give
 * the same or ask for more.
 */
#include "vmm/bt/decode.h"

#include <errno.h>

#include "tests/fuzz/fuzz.h"
#include "vmm/bt/interp.h"
#include "vmm/bt/opcode.h"
#include "vmm/core/cpu_state.h"

/* Of its own on the heap: a sanitizer sees what is read before and behind it. */
static uint8_t *window;

/* Decode `count` bytes that end where the window ends. */
static int decode_exactly(const uint8_t *bytes, size_t count, enum decode_mode mode,
			  struct insn *out)
{
	uint8_t *at = window + INSN_LENGTH_MAX - count;
	int ret;

	if (count)
		memcpy(at, bytes, count);
	memset(out, 0xa5, sizeof(*out)); /* nothing of it may stay */
	ret = decode(at, count, mode, out);
	FUZZ_CHECK(ret == 0 || ret == -EAGAIN || ret == -EINVAL || ret == -E2BIG);
	FUZZ_CHECK((ret == 0) == (out->opcode != NULL));
	return ret;
}

static bool same_operand(const struct operand *a, const struct operand *b)
{
	return a->kind == b->kind && a->reg == b->reg && a->access == b->access &&
	       a->size == b->size;
}

static bool same_memory(const struct insn_memory *a, const struct insn_memory *b)
{
	return a->segment == b->segment && a->base == b->base && a->index == b->index &&
	       a->scale == b->scale && a->displacement == b->displacement;
}

static bool same_parts(const struct insn *a, const struct insn *b)
{
	return a->modrm == b->modrm && a->has_modrm == b->has_modrm && a->modrm_at == b->modrm_at &&
	       a->displacement_at == b->displacement_at &&
	       a->displacement_bytes == b->displacement_bytes &&
	       a->immediate_at == b->immediate_at && a->rex == b->rex && a->has_rex == b->has_rex &&
	       a->vvvv == b->vvvv && a->vector_bytes == b->vector_bytes && a->mask == b->mask &&
	       a->zeroing == b->zeroing && a->broadcast == b->broadcast &&
	       a->rounding == b->rounding;
}

static bool same(const struct insn *a, const struct insn *b)
{
	for (unsigned i = 0; i < INSN_OPERANDS; i++)
		if (!same_operand(&a->operand[i], &b->operand[i]))
			return false;
	return a->opcode == b->opcode && a->length == b->length && a->mode == b->mode &&
	       a->operand_size == b->operand_size && a->address_size == b->address_size &&
	       a->encoding == b->encoding && a->map == b->map && a->code == b->code &&
	       a->lock == b->lock && a->size_prefix == b->size_prefix && a->repeat == b->repeat &&
	       a->segment == b->segment && same_parts(a, b) &&
	       same_memory(&a->memory, &b->memory) && a->immediate == b->immediate &&
	       a->immediate_2 == b->immediate_2;
}

static bool is_size(unsigned size)
{
	return size == 1 || size == 2 || size == 4 || size == 8;
}

static void check_gpr(const struct insn *insn, const struct operand *o)
{
	unsigned count = insn->mode == DECODE_64 ? CPU_GPRS : 8;

	FUZZ_CHECK(is_size(o->size));
	FUZZ_CHECK(o->size < 8 || insn->mode == DECODE_64);
	FUZZ_CHECK(o->reg < count || (o->size == 1 && o->reg >= CPU_GPRS && o->reg < 20));
}

static void check_memory(const struct insn *insn, const struct operand *o)
{
	const struct insn_memory *m = &insn->memory;
	unsigned count = insn->mode == DECODE_64 ? CPU_GPRS : 8;
	unsigned id = insn->opcode->id;
	bool vector_index = id == INSN_GATHER || id == INSN_SCATTER;

	FUZZ_CHECK(m->segment < CPU_SEGMENTS);
	FUZZ_CHECK(m->base < count || m->base == INSN_NO_REGISTER ||
		   (m->base == INSN_RIP && insn->mode == DECODE_64));
	FUZZ_CHECK(m->index < (vector_index ? 32 : count) ||
		   (m->index == INSN_NO_REGISTER && !vector_index));
	FUZZ_CHECK(is_size(m->scale));
	/* What the host runs has a buffer of 128 bytes (native.h). */
	FUZZ_CHECK(o->size <= (id == INSN_NATIVE || id == INSN_X87 ? 128 : 512));
}

static void check_operand(const struct insn *insn, const struct operand *o)
{
	bool wide = insn->mode == DECODE_64;

	FUZZ_CHECK(!(o->access & ~(OPERAND_READ | OPERAND_WRITE)));
	switch (o->kind) {
	case OPERAND_GPR:
		check_gpr(insn, o);
		break;
	case OPERAND_SEGMENT:
		FUZZ_CHECK(o->reg < CPU_SEGMENTS);
		break;
	case OPERAND_CONTROL:
		FUZZ_CHECK(o->reg == 0 || (o->reg >= 2 && o->reg <= 4) || (o->reg == 8 && wide));
		break;
	case OPERAND_DEBUG:
	case OPERAND_X87:
	case OPERAND_MMX:
	case OPERAND_MASK:
		FUZZ_CHECK(o->reg < 8);
		break;
	case OPERAND_VECTOR:
		FUZZ_CHECK(o->reg < (wide ? insn->encoding == INSN_EVEX ? 32 : 16 : 8));
		FUZZ_CHECK(o->size <= 64);
		break;
	case OPERAND_MEMORY:
		check_memory(insn, o);
		break;
	case OPERAND_STRING_SOURCE:
		FUZZ_CHECK(insn->memory.segment < CPU_SEGMENTS);
		FUZZ_CHECK(is_size(o->size));
		break;
	case OPERAND_STRING_TARGET:
		FUZZ_CHECK(is_size(o->size));
		break;
	default:
		FUZZ_CHECK(o->kind <= OPERAND_ONE);
		break;
	}
}

/* Where the parts are. */
static void check_places(const struct insn *insn, const uint8_t *bytes)
{
	unsigned end = insn->length;
	bool is_system_move = insn->map == INSN_MAP_0F && (insn->code & 0xfc) == 0x20;

	FUZZ_CHECK(insn->has_modrm == (insn->modrm_at != 0));
	FUZZ_CHECK(insn->modrm_at < end && insn->immediate_at < end);
	FUZZ_CHECK(insn->displacement_at + insn->displacement_bytes <= (int)end);
	if (insn->has_modrm)
		FUZZ_CHECK(bytes[insn->modrm_at] == insn->modrm || is_system_move);
	if (insn->displacement_at)
		FUZZ_CHECK(insn->displacement_at > insn->modrm_at);
	if (insn->immediate_at)
		FUZZ_CHECK(insn->immediate_at > insn->modrm_at &&
			   insn->immediate_at >= insn->displacement_at + insn->displacement_bytes);
}

static void check(const struct insn *insn, enum decode_mode mode, const uint8_t *bytes)
{
	unsigned memory = 0;

	FUZZ_CHECK(insn->length >= 1 && insn->length <= INSN_LENGTH_MAX);
	FUZZ_CHECK(insn->mode == mode && insn->map < INSN_MAPS && insn->encoding <= INSN_EVEX);
	FUZZ_CHECK(insn->operand_size == 2 || insn->operand_size == 4 ||
		   (insn->operand_size == 8 && mode == DECODE_64));
	FUZZ_CHECK(insn->address_size == 2 ? mode != DECODE_64
					   : insn->address_size == 4 || mode == DECODE_64);
	FUZZ_CHECK(insn->segment < CPU_SEGMENTS || insn->segment == INSN_NO_REGISTER);
	FUZZ_CHECK(insn->vvvv < 32 && insn->mask < 8 && insn->rex < 16);
	FUZZ_CHECK(insn->vector_bytes == 16 || insn->vector_bytes == 32 ||
		   insn->vector_bytes == 64);
	FUZZ_CHECK(!insn->lock || insn->operand[0].kind == OPERAND_MEMORY);
	FUZZ_CHECK(interp_has(insn->opcode->id));
	for (unsigned i = 0; i < INSN_OPERANDS; i++) {
		check_operand(insn, &insn->operand[i]);
		memory += insn->operand[i].kind == OPERAND_MEMORY;
	}
	FUZZ_CHECK(memory <= 1);
	check_places(insn, bytes);
}

/* Of fewer bytes: more are asked for until the answer is known, and from there it is the same. */
static void check_shorter(const uint8_t *bytes, size_t count, enum decode_mode mode, int ret,
			  const struct insn *whole)
{
	struct insn insn;
	bool known = false;

	for (size_t n = 0; n < count; n++) {
		int short_ret = decode_exactly(bytes, n, mode, &insn);

		FUZZ_CHECK(short_ret == (known ? ret : -EAGAIN) || short_ret == ret);
		known = short_ret == ret;
		if (ret == 0)
			FUZZ_CHECK(known == (n >= whole->length));
		if (ret == 0 && known)
			FUZZ_CHECK(same(&insn, whole));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum decode_mode modes[] = {DECODE_16, DECODE_32, DECODE_64, DECODE_64};
	struct input in = {data, size};
	enum decode_mode mode = modes[input_u8(&in) & 3];

	if (!window)
		window = malloc(INSN_LENGTH_MAX);
	FUZZ_CHECK(window);
	while (in.left) {
		size_t count = in.left < INSN_LENGTH_MAX ? in.left : INSN_LENGTH_MAX;
		struct insn insn, again;
		int ret = decode_exactly(in.at, count, mode, &insn);

		FUZZ_CHECK(decode_exactly(in.at, count, mode, &again) == ret);
		FUZZ_CHECK(ret != -EAGAIN || count < INSN_LENGTH_MAX);
		if (ret == 0) {
			FUZZ_CHECK(insn.length <= count && same(&insn, &again));
			check(&insn, mode, in.at);
		}
		check_shorter(in.at, count, mode, ret, &insn);
		input_bytes(&in, &again, ret == 0 ? insn.length : 1);
	}
	return 0;
}
