/* SPDX-License-Identifier: MIT */
/*
 * A channel's saved state. What is in flight was waited for, so that all of it is registers and a
 * buffer.
 */
#include <errno.h>
#include <string.h>

#include "devices/ide/ide_impl.h"
#include "vmm/base/checked.h"

struct channel_fields {
	struct ide_drive drive[IDE_DRIVES];
	uint8_t selected, control, phase;
	struct ide_transfer transfer;
	uint8_t op, master_command, master_status;
	uint32_t master_table;
	struct ide_cursor cursor;
	uint8_t buffer[IDE_BUFFER];
};

static bool mode_good(uint8_t mode)
{
	return mode == 0 || (mode >= 0x20 && mode <= 0x22) || (mode >= 0x40 && mode <= 0x45);
}

static void drive_code(struct ide_drive *d, struct codec *c)
{
	uint64_t sectors = d->sectors;

	codec_u64(c, &sectors);
	if (codec_good(c) && sectors != d->sectors)
		codec_fail(c, -EINVAL, "give the guest the disks that it was saved with",
			   "the disk had %llu sectors, this one has %llu",
			   (unsigned long long)sectors, (unsigned long long)d->sectors);
	codec_bytes(c, d->reg, sizeof(d->reg));
	codec_u8(c, &d->device);
	codec_u8(c, &d->status);
	codec_u8(c, &d->error);
	codec_bool(c, &d->interrupt);
	codec_u8(c, &d->heads);
	codec_u8(c, &d->track);
	codec_u8(c, &d->multiple);
	codec_u8(c, &d->mode);
	codec_bool(c, &d->write_cache);
	codec_bool(c, &d->look_ahead);
	codec_bool(c, &d->keeps_settings);
	codec_bool(c, &d->standby);
	codec_check(c, d->heads >= 1 && d->heads <= 16 && d->track >= 1, "geometry");
	codec_check(c, !(d->multiple & (d->multiple - 1)) && d->multiple <= IDE_MULTIPLE_MAX,
		    "sectors of a block");
	codec_check(c, mode_good(d->mode), "mode of transfers");
}

static bool buffer_good(const struct ide_transfer *t, unsigned phase)
{
	unsigned most = t->op == OP_NONE ? BLOCK_SECTOR : IDE_MULTIPLE_MAX * BLOCK_SECTOR;
	bool whole = t->filled && t->filled % BLOCK_SECTOR == 0 && t->filled <= most;

	switch (phase) {
	case PHASE_IN:
		return whole && t->at % 2 == 0 && t->at < t->filled && !t->dma &&
		       (t->op == OP_READ || (t->op == OP_NONE && t->left == 0));
	case PHASE_OUT:
		return whole && t->at % 2 == 0 && t->at < t->filled && !t->dma &&
		       t->op == OP_WRITE && t->filled / BLOCK_SECTOR <= t->left;
	case PHASE_WORK:
		if (t->op == OP_WRITE && !t->dma)
			return whole && t->filled / BLOCK_SECTOR <= t->left;
		if (t->op == OP_TRIM)
			return t->left ? t->left == 1 && t->entry == 0 : t->filled == BLOCK_SECTOR;
		return t->op != OP_NONE && (!t->dma || t->op == OP_READ || t->op == OP_WRITE);
	case PHASE_DMA:
		return t->dma && t->left && t->entry == 0 &&
		       (t->op == OP_READ || t->op == OP_WRITE || t->op == OP_TRIM);
	default:
		return true;
	}
}

static bool transfer_good(const struct channel_fields *f)
{
	const struct ide_transfer *t = &f->transfer;
	const struct ide_drive *d = &f->drive[t->drive];
	bool moves = t->op == OP_READ || t->op == OP_WRITE || t->op == OP_VERIFY;

	if (f->phase == PHASE_IDLE || f->phase == PHASE_RESET)
		return true;
	if (!d->block || (d->read_only && (t->op == OP_WRITE || t->op == OP_TRIM)))
		return false;
	if (moves && !range_within(t->sector, t->left, 0, d->sectors))
		return false;
	/* What is to be done is never nothing, but for what is only to be read. */
	if (moves && t->left == 0 && f->phase != PHASE_IN)
		return false;
	return t->block >= 1 && t->block <= IDE_MULTIPLE_MAX && buffer_good(t, f->phase);
}

static void transfer_code(struct channel_fields *f, struct codec *c)
{
	struct ide_transfer *t = &f->transfer;

	codec_u8(c, &f->op);
	codec_check(c, f->op <= OP_TRIM, "command");
	t->op = codec_good(c) ? (enum ide_op)f->op : OP_NONE;
	codec_bool(c, &t->dma);
	codec_bool(c, &t->ext);
	codec_u8(c, &t->drive);
	codec_u8(c, &t->block);
	codec_u64(c, &t->sector);
	codec_u32(c, &t->left);
	codec_count(c, &t->at, IDE_BUFFER, "place in the buffer");
	codec_count(c, &t->filled, IDE_BUFFER, "bytes in the buffer");
	codec_count(c, &t->entry, BLOCK_SECTOR / 8, "range to trim");
	codec_bytes(c, f->buffer, t->filled);
	codec_check(c, t->drive < IDE_DRIVES, "disk of the command");
	codec_check(c, f->phase <= PHASE_RESET, "what it is at");
	if (codec_good(c))
		codec_check(c, transfer_good(f), "command under way");
}

static void fields_code(struct channel_fields *f, unsigned index, struct codec *c)
{
	codec_begin(c, "ide", index, 1);
	for (unsigned i = 0; i < IDE_DRIVES; i++)
		drive_code(&f->drive[i], c);
	codec_u8(c, &f->selected);
	codec_u8(c, &f->control);
	codec_u8(c, &f->phase);
	transfer_code(f, c);
	codec_u8(c, &f->master_command);
	codec_u8(c, &f->master_status);
	codec_u32(c, &f->master_table);
	codec_u32(c, &f->cursor.next);
	codec_u32(c, &f->cursor.at);
	codec_u32(c, &f->cursor.left);
	codec_bool(c, &f->cursor.last);
	codec_check(c, f->selected < IDE_DRIVES, "selected disk");
	codec_check(c, f->cursor.left <= 0x10000, "bus master's region");
	codec_end(c);
}

static void fields_get(const struct ide_channel *c, struct channel_fields *f)
{
	memcpy(f->drive, c->drive, sizeof(f->drive));
	f->selected = c->selected;
	f->control = c->control;
	f->phase = (uint8_t)c->phase;
	f->transfer = c->transfer;
	f->op = (uint8_t)c->transfer.op;
	f->master_command = c->master_command;
	f->master_status = c->master_status;
	f->master_table = c->master_table;
	f->cursor = c->cursor;
	memcpy(f->buffer, c->buffer, c->transfer.filled);
}

static void fields_commit(struct ide_channel *c, const struct channel_fields *f)
{
	memcpy(c->drive, f->drive, sizeof(c->drive));
	c->selected = f->selected;
	c->control = f->control;
	c->phase = (enum ide_phase)f->phase;
	c->transfer = f->transfer;
	c->master_command = f->master_command;
	c->master_table = f->master_table;
	c->cursor = f->cursor;
	memcpy(c->buffer, f->buffer, f->transfer.filled);
	ide_interrupt_update(c);
	/* Behind the line, whose rise leaves its mark there. */
	c->master_status = f->master_status;
}

void ide_channel_state(struct ide_channel *c, struct codec *codec)
{
	static const struct channel_fields none;
	struct channel_fields f = none;

	pthread_mutex_lock(&c->lock);
	if (codec_loading(codec))
		/* What no driver sets: the disks themselves. */
		memcpy(f.drive, c->drive, sizeof(f.drive));
	else
		fields_get(c, &f);
	fields_code(&f, c->index, codec);
	if (codec_loading(codec) && codec_good(codec))
		fields_commit(c, &f);
	pthread_mutex_unlock(&c->lock);
}
