/* SPDX-License-Identifier: MIT */
/*
 * The decoder. Prefixes first, then the opcode byte; its rows (opcode.h) are tried in order, and
 * the one that matches says which operands follow and what else must hold.
 */
#include "vmm/bt/decode.h"

#include <errno.h>

#include "vmm/base/bytes.h"
#include "vmm/bt/decode_impl.h"
#include "vmm/core/cpu_state.h"

int decode_need(struct decoder *d, size_t bytes)
{
	if (d->at + bytes > INSN_LENGTH_MAX)
		return -E2BIG;
	return d->at + bytes > d->count ? -EAGAIN : 0;
}

int decode_take(struct decoder *d, uint8_t *out)
{
	int ret = decode_need(d, 1);

	if (ret == 0)
		*out = d->bytes[d->at++];
	return ret;
}

int decode_take_number(struct decoder *d, unsigned bytes, uint64_t *out)
{
	int ret = decode_need(d, bytes);

	if (ret)
		return ret;
	*out = le_get(d->bytes + d->at, bytes);
	d->at += bytes;
	return 0;
}

/* Prefixes. */

static uint8_t segment_of_prefix(uint8_t byte)
{
	switch (byte) {
	case 0x26:
		return CPU_ES;
	case 0x2e:
		return CPU_CS;
	case 0x36:
		return CPU_SS;
	case 0x3e:
		return CPU_DS;
	case 0x64:
		return CPU_FS;
	case 0x65:
		return CPU_GS;
	default:
		return INSN_NO_REGISTER;
	}
}

/* True: the byte is a prefix and was noted. */
static bool prefix_note(struct decoder *d, uint8_t byte)
{
	struct insn *insn = d->insn;
	uint8_t segment = segment_of_prefix(byte);

	if (segment != INSN_NO_REGISTER) {
		/* In 64-bit mode the other segments are flat whatever one says. */
		if (insn->mode != DECODE_64 || segment >= CPU_FS)
			insn->segment = segment;
	} else if (byte == 0x66) {
		d->size_prefix = insn->size_prefix = true;
	} else if (byte == 0x67) {
		d->address_prefix = true;
	} else if (byte == 0xf0) {
		insn->lock = true;
	} else if (byte == INSN_REPEAT_NE || byte == INSN_REPEAT_E) {
		insn->repeat = byte;
	} else if (insn->mode == DECODE_64 && (byte & 0xf0) == 0x40) {
		insn->has_rex = true;
		insn->rex = byte & 15;
		return true;
	} else {
		return false;
	}
	/* A REX that is not the last prefix does not count. */
	insn->has_rex = false;
	insn->rex = 0;
	return true;
}

static uint8_t prefix_of_pp(unsigned pp)
{
	static const uint8_t prefixes[4] = {P_NP, P_66, P_F3, P_F2};

	return prefixes[pp & 3];
}

/* VEX and EVEX are LES, LDS and BOUND elsewhere, unless what follows could be no memory operand. */
static int is_vector_escape(struct decoder *d, uint8_t byte)
{
	int ret;

	if (byte != 0xc4 && byte != 0xc5 && byte != 0x62)
		return false;
	ret = decode_need(d, 1);
	if (ret)
		return ret;
	return d->insn->mode == DECODE_64 || d->bytes[d->at] >= 0xc0;
}

static int vex_take(struct decoder *d, bool three)
{
	struct insn *insn = d->insn;
	uint8_t p0, p1;
	int ret = decode_take(d, &p0);

	p1 = p0;
	if (ret == 0 && three)
		ret = decode_take(d, &p1);
	if (ret)
		return ret;
	insn->encoding = INSN_VEX;
	insn->map = three ? p0 & 31 : INSN_MAP_0F;
	insn->rex = three ? (uint8_t)(~p0 >> 5 & 7) : (p0 & 0x80 ? 0 : REX_R);
	if (three && p1 & 0x80)
		insn->rex |= REX_W;
	insn->vvvv = ~p1 >> 3 & 15;
	d->length_code = p1 >> 2 & 1;
	d->prefix = prefix_of_pp(p1);
	return insn->map >= INSN_MAP_0F && insn->map < INSN_MAPS ? 0 : -EINVAL;
}

static int evex_take(struct decoder *d)
{
	struct insn *insn = d->insn;
	uint8_t p[3];
	int ret = 0;

	for (unsigned i = 0; i < 3 && ret == 0; i++)
		ret = decode_take(d, &p[i]);
	if (ret)
		return ret;
	insn->encoding = INSN_EVEX;
	insn->map = p[0] & 7;
	insn->rex = (uint8_t)(~p[0] >> 5 & 7) | (p[1] & 0x80 ? REX_W : 0);
	insn->vvvv = (uint8_t)((~p[1] >> 3 & 15) | (p[2] & 8 ? 0 : 16));
	insn->mask = p[2] & 7;
	insn->zeroing = p[2] & 0x80;
	d->high = p[0] & 0x10 ? 0 : 16;
	d->length_code = p[2] >> 5 & 3;
	d->evex_b = p[2] & 0x10;
	d->prefix = prefix_of_pp(p[1]);
	if (p[0] & 8 || !(p[1] & 4) || insn->map < INSN_MAP_0F || insn->map >= INSN_MAPS)
		return -EINVAL;
	return 0;
}

/* Prefixes and the opcode byte. */
static int opcode_take(struct decoder *d)
{
	struct insn *insn = d->insn;
	uint8_t byte;
	int ret;

	do {
		ret = decode_take(d, &byte);
		if (ret)
			return ret;
	} while (prefix_note(d, byte));
	ret = is_vector_escape(d, byte);
	if (ret < 0)
		return ret;
	if (ret) {
		if (insn->has_rex || insn->lock || insn->repeat || d->size_prefix)
			return -EINVAL;
		ret = byte == 0x62 ? evex_take(d) : vex_take(d, byte == 0xc4);
		d->vvvv = insn->vvvv;
		/* Outside 64-bit mode there are eight registers of each kind, and no V'. */
		if (ret == 0 && insn->mode != DECODE_64) {
			if (insn->vvvv & 16)
				return -EINVAL;
			insn->rex &= REX_W;
			insn->vvvv &= 7;
			d->high = 0;
		}
		return ret ? ret : decode_take(d, &insn->code);
	}
	d->prefix = insn->repeat == INSN_REPEAT_E    ? P_F3
		    : insn->repeat == INSN_REPEAT_NE ? P_F2
		    : d->size_prefix                 ? P_66
						     : P_NP;
	insn->map = INSN_MAP_1BYTE;
	if (byte == 0x0f) {
		insn->map = INSN_MAP_0F;
		ret = decode_take(d, &byte);
		if (ret == 0 && (byte == 0x38 || byte == 0x3a)) {
			insn->map = byte == 0x38 ? INSN_MAP_0F38 : INSN_MAP_0F3A;
			ret = decode_take(d, &byte);
		}
	}
	insn->code = byte;
	return ret;
}

/* What must hold besides. */

static bool row_has(const struct opcode *op, enum opcode_source source)
{
	for (unsigned i = 0; i < OPCODE_OPERANDS; i++)
		if (OPERAND_SOURCE(op->operand[i]) == source)
			return true;
	return false;
}

static int lock_check(const struct insn *insn)
{
	if (!insn->lock)
		return 0;
	return insn->opcode->attributes & A_LOCK && insn->operand[0].kind == OPERAND_MEMORY
		       ? 0
		       : -EINVAL;
}

static int vvvv_check(const struct decoder *d)
{
	const struct insn *insn = d->insn;
	const struct opcode *op = insn->opcode;

	if (insn->encoding == INSN_LEGACY || row_has(op, SRC_H) || row_has(op, SRC_B) ||
	    row_has(op, SRC_KB))
		return 0;
	return d->vvvv & (row_has(op, SRC_MV) ? 15 : 31) ? -EINVAL : 0;
}

/* SDM vol. 2, 2.7.11. Before the operands: says how large the vector is. */
static int evex_note(struct decoder *d)
{
	struct insn *insn = d->insn;
	unsigned attributes = insn->opcode->attributes;
	bool memory = insn->has_modrm && modrm_mod(insn) != 3;

	if (insn->encoding != INSN_EVEX)
		return 0;
	insn->broadcast = d->evex_b && memory;
	insn->rounding = d->evex_b && !memory;
	if (insn->broadcast && !(attributes & (A_BC4 | A_BC8)))
		return -EINVAL;
	if (insn->rounding && !(attributes & (A_ER | A_SAE)))
		return -EINVAL;
	if (d->length_code == 3 && !insn->rounding)
		return -EINVAL;
	if (insn->mask && !(attributes & A_MASK))
		return -EINVAL;
	if (!insn->mask && attributes & A_KREQ)
		return -EINVAL;
	return insn->zeroing && (!(attributes & A_Z) || !insn->mask) ? -EINVAL : 0;
}

static int evex_check(const struct insn *insn)
{
	const struct operand *target = &insn->operand[0];

	if (insn->zeroing && (target->kind == OPERAND_MEMORY || target->kind == OPERAND_MASK))
		return -EINVAL;
	/* What a merge leaves is read. */
	return 0;
}

/* Registers of a gather must differ (SDM vol. 2, VGATHERDPS). */
static int gather_check(const struct insn *insn)
{
	unsigned target = insn->operand[0].reg, index = insn->memory.index;

	if (insn->opcode->id != INSN_GATHER)
		return 0;
	if (target == index)
		return -EINVAL;
	if (insn->encoding == INSN_VEX && (insn->vvvv == target || insn->vvvv == index))
		return -EINVAL;
	return 0;
}

static int segment_check(const struct insn *insn)
{
	return insn->opcode->id == INSN_MOV_TO_SEGMENT && insn->operand[0].reg == CPU_CS ? -EINVAL
											 : 0;
}

static int body_take(struct decoder *d)
{
	struct insn *insn = d->insn;
	bool is_system_move = insn->encoding == INSN_LEGACY && insn->map == INSN_MAP_0F &&
			      (insn->code & 0xfc) == 0x20;
	int ret = opcode_has_modrm(insn->map, insn->code);

	if (ret < 0)
		return ret;
	if (ret) {
		insn->modrm_at = (uint8_t)d->at;
		insn->has_modrm = true;
		ret = decode_take(d, &insn->modrm);
		if (ret)
			return ret;
		/* MOV to and from CRn and DRn: registers, whatever mod says. */
		if (is_system_move)
			insn->modrm |= 0xc0;
	}
	insn->opcode = opcode_find(d);
	if (!insn->opcode)
		return -EINVAL;
	ret = evex_note(d);
	if (ret)
		return ret;
	decode_sizes(d);
	ret = decode_memory(d);
	return ret ? ret : decode_operands(d);
}

int decode(const uint8_t *bytes, size_t count, enum decode_mode mode, struct insn *out)
{
	struct decoder d = {.bytes = bytes, .count = count, .insn = out};
	int ret;

	*out = (struct insn){.mode = (uint8_t)mode, .segment = INSN_NO_REGISTER};
	ret = opcode_take(&d);
	/* 16 and 32 exchange; 64 becomes 32. */
	out->address_size = mode == DECODE_32  ? (d.address_prefix ? 2 : 4)
			    : d.address_prefix ? 4
					       : (uint8_t)mode;
	if (ret == 0)
		ret = body_take(&d);
	if (ret == 0)
		ret = lock_check(out);
	if (ret == 0)
		ret = vvvv_check(&d);
	if (ret == 0)
		ret = evex_check(out);
	if (ret == 0)
		ret = gather_check(out);
	if (ret == 0)
		ret = segment_check(out);
	if (ret) {
		out->opcode = NULL;
		return ret;
	}
	out->length = (uint8_t)d.at;
	return 0;
}
