/* SPDX-License-Identifier: MIT */
/* The opcode tables: an index over their rows, and which row holds. */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "vmm/bt/decode_impl.h"

#define ROWS_MAX 2048u
#define NO_ROW   0xffffu

/* The rows of a byte, in the order of the tables: made once, never changed. */
static struct {
	uint16_t first[INSN_MAPS][256];
	uint16_t next[ROWS_MAX];
	const struct opcode *row[ROWS_MAX];
	bool has_modrm[INSN_MAPS][256];
} index_of;

static bool source_has_modrm(enum opcode_source source)
{
	switch (source) {
	case SRC_NONE:
	case SRC_Z:
	case SRC_B:
	case SRC_I:
	case SRC_IS:
	case SRC_I2:
	case SRC_J:
	case SRC_A:
	case SRC_O:
	case SRC_X:
	case SRC_Y:
	case SRC_H:
	case SRC_L:
	case SRC_KB:
	case SRC_AX:
	case SRC_CX:
	case SRC_DX:
	case SRC_ST0:
	case SRC_SEG:
	case SRC_V0:
	case SRC_ONE:
		return false;
	default:
		return true;
	}
}

static bool row_has_modrm(const struct opcode *row)
{
	if (row->match & (MATCH_MODS | REG(0) | RM(0)))
		return true;
	for (unsigned i = 0; i < OPCODE_OPERANDS; i++)
		if (source_has_modrm(OPERAND_SOURCE(row->operand[i])))
			return true;
	return false;
}

/* Returns how many rows are in the index then. */
static unsigned index_add(const struct opcode_table *table, unsigned from)
{
	assert(from + table->count <= ROWS_MAX);
	/* From the last to the first, so that the chain of a byte is in order. */
	for (unsigned i = table->count; i-- > 0;) {
		const struct opcode *row = &table->rows[i];
		uint16_t *first = &index_of.first[row->map][row->code];

		index_of.row[from + i] = row;
		index_of.next[from + i] = *first;
		*first = (uint16_t)(from + i);
		index_of.has_modrm[row->map][row->code] |= row_has_modrm(row);
	}
	return from + table->count;
}

static void index_make(void)
{
	unsigned count;

	memset(index_of.first, 0xff, sizeof(index_of.first));
	count = index_add(&opcodes_vector_0f, 0);
	count = index_add(&opcodes_vector_0f38, count);
	index_add(&opcodes_integer, count);
}

int opcode_has_modrm(unsigned map, unsigned code)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, index_make);
	return index_of.first[map][code] == NO_ROW ? -EINVAL : index_of.has_modrm[map][code];
}

static bool match_encoding(const struct decoder *d, uint32_t match)
{
	static const uint32_t bits[] = {IN_LEGACY, IN_VEX, IN_EVEX};

	if (!(match & MATCH_ENCODINGS))
		match |= IN_LEGACY;
	return match & bits[d->insn->encoding];
}

static bool match_vector(const struct decoder *d, uint32_t match)
{
	const struct insn *insn = d->insn;
	bool w = insn->rex & REX_W;

	if (insn->encoding == INSN_LEGACY)
		return true;
	if (insn->encoding == INSN_EVEX && match & (EW0 | EW1) && !(match & (w ? EW1 : EW0)))
		return false;
	/* With static rounding L'L says how, and the vector is a whole one. */
	if (match & MATCH_LENGTHS &&
	    !(insn->encoding == INSN_EVEX && d->evex_b && insn->has_modrm && modrm_mod(insn) == 3))
		return d->length_code < 3 && match & L0 << d->length_code;
	return true;
}

static bool match_modrm(const struct insn *insn, uint32_t match)
{
	if (match & MATCH_MODS && !(match & (modrm_mod(insn) == 3 ? MOD_REG : MOD_MEM)))
		return false;
	if (match & REG(0) && (match & MATCH_REG) != REG(modrm_reg(insn)))
		return false;
	return !(match & RM(0)) || (match & MATCH_RM) == RM(modrm_rm(insn));
}

static bool match_row(const struct decoder *d, uint32_t match)
{
	const struct insn *insn = d->insn;
	bool w = insn->rex & REX_W;

	if (!match_encoding(d, match) || !match_vector(d, match) || !match_modrm(insn, match))
		return false;
	if (match & MATCH_PREFIXES && !(match & d->prefix))
		return false;
	if (match & NO_F3_F2 && d->prefix & (P_F3 | P_F2))
		return false;
	if (match & (W0 | W1) && !(match & (w ? W1 : W0)))
		return false;
	if (match & NO_REX_B && insn->rex & REX_B)
		return false;
	return !(match & (insn->mode == DECODE_64 ? NOT_64 : ONLY_64));
}

const struct opcode *opcode_find(const struct decoder *d)
{
	unsigned at = index_of.first[d->insn->map][d->insn->code];

	for (; at != NO_ROW; at = index_of.next[at])
		if (match_row(d, index_of.row[at]->match))
			return index_of.row[at];
	return NULL;
}
