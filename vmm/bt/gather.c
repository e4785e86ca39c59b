/* SPDX-License-Identifier: MIT */
/*
 * Vector instructions that access memory element by element: gathers, scatters and moves under a
 * mask that is a vector. SDM vol. 2: VPGATHERDD and its kind, VPSCATTERDD, VMASKMOV, MASKMOVDQU.
 *
 * A gather or scatter does its elements in order and notes in the mask which are done, so after a
 * fault it goes on where it was. The other moves do all or nothing.
 */
#include "vmm/base/bytes.h"
#include "vmm/bt/alignment.h"
#include "vmm/bt/decode_impl.h"
#include "vmm/bt/handlers.h"
#include "vmm/bt/native.h"
#include "vmm/bt/operand.h"

#define VECTOR_BYTES 64u

/* A gather or scatter, in elements. */
struct elements {
	unsigned index_bytes, bytes, count;
	const uint8_t *index;
	uint8_t *data;
	unsigned size; /* of the vector of data */
};

static struct elements elements_of(struct engine_vcpu *cpu, const struct insn *insn,
				   const struct operand *data)
{
	struct elements e = {
		.index_bytes = insn->code & 1 ? 8 : 4,
		.bytes = insn->rex & REX_W ? 8 : 4,
		.index = cpu->vector.zmm[insn->memory.index],
		.data = cpu->vector.zmm[data->reg],
	};

	e.count = insn->vector_bytes / (e.index_bytes > e.bytes ? e.index_bytes : e.bytes);
	e.size = e.count * e.bytes;
	return e;
}

static uint64_t element_linear(struct engine_vcpu *cpu, const struct insn *insn,
			       const struct elements *e, unsigned i, bool write)
{
	const struct insn_memory *m = &insn->memory;
	uint64_t index =
		sign_extend(le_get(e->index + i * e->index_bytes, e->index_bytes), e->index_bytes);
	uint64_t offset = (uint64_t)m->displacement + index * m->scale;

	if (m->base != INSN_NO_REGISTER)
		offset += cpu->gpr[m->base];
	offset &= size_mask(insn->address_size);
	return segment_linear(cpu, m->segment, offset, e->bytes, write);
}

/*
 * EVEX clears what is above the vector's length with the first element, as AMD's CPUs do; what is
 * above the data, and with VEX all, is cleared with the last.
 */
static void element_gather(struct engine_vcpu *cpu, const struct insn *insn,
			   const struct elements *e, unsigned i)
{
	uint64_t linear = element_linear(cpu, insn, e, i, false);

	le_put(e->data + i * e->bytes, e->bytes, linear_read(cpu, linear, e->bytes));
	if (insn->encoding == INSN_EVEX)
		memset(e->data + insn->vector_bytes, 0, VECTOR_BYTES - insn->vector_bytes);
}

/* The mask is a vector: of each element the highest bit. */
static void gather_vex(struct engine_vcpu *cpu, const struct insn *insn, const struct elements *e)
{
	uint8_t *mask = cpu->vector.zmm[insn->vvvv];

	for (unsigned i = 0; i < e->count; i++) {
		uint8_t *at = mask + i * e->bytes;

		if (at[e->bytes - 1] & 0x80)
			element_gather(cpu, insn, e, i);
		memset(at, 0, e->bytes);
	}
	memset(mask, 0, VECTOR_BYTES);
}

void do_gather(struct engine_vcpu *cpu, const struct insn *insn)
{
	struct elements e = elements_of(cpu, insn, &insn->operand[0]);
	uint64_t *mask = &cpu->vector.k[insn->mask];

	native_unit_check(cpu, insn);
	if (insn->encoding == INSN_VEX) {
		gather_vex(cpu, insn, &e);
	} else {
		for (unsigned i = 0; i < e.count; i++) {
			if (*mask >> i & 1)
				element_gather(cpu, insn, &e, i);
			*mask &= ~(1ull << i);
		}
		*mask = 0;
	}
	memset(e.data + e.size, 0, VECTOR_BYTES - e.size);
}

void do_scatter(struct engine_vcpu *cpu, const struct insn *insn)
{
	struct elements e = elements_of(cpu, insn, &insn->operand[1]);
	uint64_t *mask = &cpu->vector.k[insn->mask];

	native_unit_check(cpu, insn);
	for (unsigned i = 0; i < e.count; i++) {
		if (*mask >> i & 1)
			linear_write(cpu, element_linear(cpu, insn, &e, i, true), e.bytes,
				     le_get(e.data + i * e.bytes, e.bytes));
		*mask &= ~(1ull << i);
	}
	*mask = 0;
}

/* Moves under a mask: `count` elements of `bytes`, of which those count that have the highest bit
 * set in `mask`. */
struct masked {
	unsigned segment, bytes, count;
	uint64_t offset, wrap; /* of the address size */
	const uint8_t *mask;
};

static bool is_active(const struct masked *m, unsigned i)
{
	return m->mask[(i + 1) * m->bytes - 1] & 0x80;
}

static uint64_t masked_linear(struct engine_vcpu *cpu, const struct masked *m, unsigned i,
			      bool write)
{
	return segment_linear(cpu, m->segment, (m->offset + i * m->bytes) & m->wrap, m->bytes,
			      write);
}

static void masked_read(struct engine_vcpu *cpu, const struct masked *m, uint8_t *to)
{
	memset(to, 0, m->count * m->bytes);
	for (unsigned i = 0; i < m->count; i++)
		if (is_active(m, i))
			le_put(to + i * m->bytes, m->bytes,
			       linear_read(cpu, masked_linear(cpu, m, i, false), m->bytes));
}

static void masked_write(struct engine_vcpu *cpu, const struct masked *m, const uint8_t *from)
{
	/* All that may fault first. */
	for (unsigned i = 0; i < m->count; i++)
		if (is_active(m, i))
			linear_probe_write(cpu, masked_linear(cpu, m, i, true), m->bytes);
	for (unsigned i = 0; i < m->count; i++)
		if (is_active(m, i))
			linear_write(cpu, masked_linear(cpu, m, i, true), m->bytes,
				     le_get(from + i * m->bytes, m->bytes));
}

void do_vmaskmov(struct engine_vcpu *cpu, const struct insn *insn)
{
	bool load = insn->operand[0].kind == OPERAND_VECTOR;
	/* 2D and 2F are of doubles; 8C and 8E have W. */
	bool wide = insn->code < 0x80 ? insn->code & 1 : !!(insn->rex & REX_W);
	unsigned bytes = wide ? 8 : 4;
	struct masked m = {.segment = insn->memory.segment,
			   .bytes = bytes,
			   .count = insn->vector_bytes / bytes,
			   .offset = operand_offset(cpu, insn),
			   .wrap = size_mask(insn->address_size),
			   .mask = cpu->vector.zmm[insn->operand[1].reg]};
	uint8_t buffer[VECTOR_BYTES] = {0};

	native_unit_check(cpu, insn);
	if (load) {
		masked_read(cpu, &m, buffer);
		memcpy(cpu->vector.zmm[insn->operand[0].reg], buffer, VECTOR_BYTES);
	} else {
		masked_write(cpu, &m, cpu->vector.zmm[insn->operand[2].reg]);
	}
}

/*
 * MASKMOVQ and MASKMOVDQU: bytes, to segment:rDI. All of it must be accessible whatever the mask
 * says, and MMX comes into use even if it is not, as on AMD's CPUs.
 */
void do_maskmov(struct engine_vcpu *cpu, const struct insn *insn)
{
	bool mmx = insn->operand[0].kind == OPERAND_MMX;
	struct vector_state *v = &cpu->vector;
	unsigned size = insn->operand[0].size;
	unsigned segment = insn->segment != INSN_NO_REGISTER ? insn->segment : CPU_DS;
	uint64_t linear, offset = cpu->gpr[CPU_RDI] & size_mask(insn->address_size);
	const uint8_t *source, *mask;

	native_unit_check(cpu, insn);
	if (mmx) {
		native_x87_check(cpu);
		native_mmx_enter(v);
	}
	source = mmx ? v->x87 + 32 + 16 * insn->operand[0].reg : v->zmm[insn->operand[0].reg];
	mask = mmx ? v->x87 + 32 + 16 * insn->operand[1].reg : v->zmm[insn->operand[1].reg];
	linear = segment_linear(cpu, segment, offset, size, true);
	alignment_check(cpu, linear, 8);
	linear_probe_write(cpu, linear, size);
	for (unsigned i = 0; i < size; i++)
		if (mask[i] & 0x80)
			linear_write(cpu, linear_after(cpu, linear, i), 1, source[i]);
}
