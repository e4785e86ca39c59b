/* SPDX-License-Identifier: MIT */
/*
 * The commands of a disk, as a table, up to where they move data: that is the thread's (serve.c).
 * Sections are of ATA/ATAPI-7 volume 1. What is in no line is aborted (6.1), SMART, security,
 * packets and the host protected area among it.
 */
#include <string.h>

#include "devices/ide/ide_impl.h"
#include "vmm/base/bytes.h"
#include "vmm/base/checked.h"

enum { EXT = 1, WRITES = 2, DMA = 4, MULTIPLE = 8, VERIFIES = 16 };

struct ide_command {
	unsigned flags;
	/* 0: it is under way, or done; else what the error register says. */
	uint8_t (*start)(struct ide_channel *c, struct ide_drive *d, unsigned flags);
};

void ide_work_begin(struct ide_channel *c)
{
	c->phase = PHASE_WORK;
	c->drive[c->transfer.drive].status = STATUS_BUSY;
	ide_kick(c);
}

void ide_data_begin(struct ide_channel *c, enum ide_phase phase, unsigned bytes)
{
	c->phase = phase;
	c->transfer.at = 0;
	c->transfer.filled = bytes;
	c->drive[c->transfer.drive].status = STATUS_IDLE | STATUS_DATA;
}

void ide_data_end(struct ide_channel *c)
{
	const struct ide_transfer *t = &c->transfer;

	if (c->phase == PHASE_OUT || t->left) {
		ide_work_begin(c);
		return;
	}
	/* The last data is read: nothing tells but the status. */
	c->phase = PHASE_IDLE;
	c->drive[t->drive].status = STATUS_IDLE;
}

/* Ends. */

static void command_end(struct ide_channel *c, struct ide_drive *d, uint8_t status, uint8_t error)
{
	c->phase = PHASE_IDLE;
	c->transfer = (struct ide_transfer){0};
	d->status = STATUS_IDLE | status;
	d->error = error;
	ide_interrupt(c, d);
}

void ide_command_done(struct ide_channel *c)
{
	command_end(c, &c->drive[c->transfer.drive], 0, 0);
}

/* Where it failed, in the terms in which it was asked for. */
static void address_put(struct ide_drive *d, const struct ide_transfer *t)
{
	uint64_t sector = t->sector;

	d->reg[IDE_COUNT][0] = (uint8_t)t->left;
	if (t->ext) {
		d->reg[IDE_COUNT][1] = (uint8_t)(t->left >> 8);
		for (unsigned i = 0; i < 3; i++) {
			d->reg[IDE_LOW + i][0] = (uint8_t)(sector >> 8 * i);
			d->reg[IDE_LOW + i][1] = (uint8_t)(sector >> (24 + 8 * i));
		}
		return;
	}
	if (!(d->device & DEVICE_LBA)) {
		uint64_t cylinder = sector / ((unsigned)d->heads * d->track);
		uint64_t head = sector / d->track % d->heads;

		sector = head << 24 | (cylinder & 0xffff) << 8 | (sector % d->track + 1);
	}
	for (unsigned i = 0; i < 3; i++)
		d->reg[IDE_LOW + i][0] = (uint8_t)(sector >> 8 * i);
	d->device = (uint8_t)((d->device & ~DEVICE_HEAD) | (sector >> 24 & DEVICE_HEAD));
}

void ide_command_fail(struct ide_channel *c, uint8_t error, uint8_t status)
{
	struct ide_drive *d = &c->drive[c->transfer.drive];

	if (c->transfer.op == OP_READ || c->transfer.op == OP_WRITE || c->transfer.op == OP_VERIFY)
		address_put(d, &c->transfer);
	command_end(c, d, STATUS_ERROR | status, error);
}

/* Transfers. */

static uint64_t address48(const struct ide_drive *d)
{
	uint64_t address = 0;

	for (unsigned i = 0; i < 3; i++) {
		address |= (uint64_t)d->reg[IDE_LOW + i][0] << 8 * i;
		address |= (uint64_t)d->reg[IDE_LOW + i][1] << (24 + 8 * i);
	}
	return address;
}

static uint32_t address28(const struct ide_drive *d)
{
	return d->reg[IDE_LOW][0] | (uint32_t)d->reg[IDE_MID][0] << 8 |
	       (uint32_t)d->reg[IDE_HIGH][0] << 16 | (uint32_t)(d->device & DEVICE_HEAD) << 24;
}

/* By cylinder, head and sector, which count from 1; false: there is none such. */
static bool address_of_geometry(const struct ide_drive *d, uint64_t *sector)
{
	uint32_t number = d->reg[IDE_LOW][0], head = d->device & DEVICE_HEAD;
	uint32_t cylinder = d->reg[IDE_MID][0] | (uint32_t)d->reg[IDE_HIGH][0] << 8;

	if (number == 0 || number > d->track || head >= d->heads)
		return false;
	*sector = ((uint64_t)cylinder * d->heads + head) * d->track + number - 1;
	return true;
}

/* What is asked for, into the transfer; a count of zero is the most that there can be. */
static uint8_t address_take(struct ide_transfer *t, const struct ide_drive *d, unsigned flags)
{
	uint32_t count = d->reg[IDE_COUNT][0];

	if (flags & EXT) {
		if (!(d->device & DEVICE_LBA))
			return ERROR_ABORT;
		count |= (uint32_t)d->reg[IDE_COUNT][1] << 8;
		t->left = count ? count : 0x10000;
		t->sector = address48(d);
	} else {
		t->left = count ? count : 0x100;
		t->sector = address28(d);
		if (!(d->device & DEVICE_LBA) && !address_of_geometry(d, &t->sector))
			return ERROR_ID;
	}
	t->ext = flags & EXT;
	return range_within(t->sector, t->left, 0, d->sectors) ? 0 : ERROR_ID;
}

static void dma_begin(struct ide_channel *c)
{
	c->phase = PHASE_DMA;
	c->drive[c->transfer.drive].status = STATUS_IDLE | STATUS_DATA;
	if (c->master_status & MASTER_ACTIVE)
		ide_work_begin(c);
}

static uint8_t start_transfer(struct ide_channel *c, struct ide_drive *d, unsigned flags)
{
	struct ide_transfer *t = &c->transfer;
	uint8_t error;

	if ((flags & MULTIPLE && !d->multiple) || (flags & WRITES && d->read_only))
		return ERROR_ABORT;
	t->op = flags & WRITES ? OP_WRITE : flags & VERIFIES ? OP_VERIFY : OP_READ;
	t->dma = flags & DMA;
	t->block = flags & MULTIPLE ? d->multiple : 1;
	error = address_take(t, d, flags);
	if (error)
		return error;
	d->standby = false;
	if (t->dma)
		dma_begin(c);
	else if (t->op == OP_WRITE) /* the first block is asked for without an interrupt */
		ide_data_begin(c, PHASE_OUT,
			       BLOCK_SECTOR * (t->left < t->block ? t->left : t->block));
	else
		ide_work_begin(c);
	return 0;
}

/* 6.14, DATA SET MANAGEMENT (ATA8-ACS, 7.9): one block of ranges. */
static uint8_t start_trim(struct ide_channel *c, struct ide_drive *d, unsigned flags)
{
	struct ide_transfer *t = &c->transfer;

	(void)flags;
	if (d->read_only || d->reg[IDE_FEATURE][0] != 1 || d->reg[IDE_COUNT][0] != 1 ||
	    d->reg[IDE_COUNT][1])
		return ERROR_ABORT;
	t->op = OP_TRIM;
	t->dma = true;
	t->left = t->block = 1;
	dma_begin(c);
	return 0;
}

static uint8_t start_flush(struct ide_channel *c, struct ide_drive *d, unsigned flags)
{
	(void)d;
	(void)flags;
	c->transfer.op = OP_FLUSH;
	c->transfer.block = 1;
	ide_work_begin(c);
	return 0;
}

static uint8_t start_identify(struct ide_channel *c, struct ide_drive *d, unsigned flags)
{
	(void)flags;
	ide_identify(d, d == &c->drive[1], c->buffer);
	c->transfer.block = 1;
	ide_data_begin(c, PHASE_IN, BLOCK_SECTOR);
	ide_interrupt(c, d);
	return 0;
}

/* What is done at once. */

static uint8_t start_nothing(struct ide_channel *c, struct ide_drive *d, unsigned flags)
{
	(void)d;
	(void)flags;
	ide_command_done(c);
	return 0;
}

/* 6.46, SEEK: it must be possible. */
static uint8_t start_seek(struct ide_channel *c, struct ide_drive *d, unsigned flags)
{
	struct ide_transfer t = {0};
	struct ide_drive one = *d;

	one.reg[IDE_COUNT][0] = 1;
	if (address_take(&t, &one, flags))
		return ERROR_ID;
	return start_nothing(c, d, flags);
}

/* 9.10: both disks, whichever is selected, and the first one answers. */
static void diagnostic(struct ide_channel *c)
{
	c->phase = PHASE_IDLE;
	c->transfer = (struct ide_transfer){0};
	c->selected = 0;
	for (unsigned i = 0; i < IDE_DRIVES; i++)
		ide_signature_put(&c->drive[i]);
	if (c->drive[0].block)
		ide_interrupt(c, &c->drive[0]);
}

/* 6.18, INITIALIZE DEVICE PARAMETERS. */
static uint8_t start_geometry(struct ide_channel *c, struct ide_drive *d, unsigned flags)
{
	if (d->reg[IDE_COUNT][0] == 0)
		return ERROR_ABORT;
	d->heads = (uint8_t)((d->device & DEVICE_HEAD) + 1);
	d->track = d->reg[IDE_COUNT][0];
	return start_nothing(c, d, flags);
}

static uint8_t start_set_multiple(struct ide_channel *c, struct ide_drive *d, unsigned flags)
{
	uint8_t count = d->reg[IDE_COUNT][0];

	if (count > IDE_MULTIPLE_MAX || count & (count - 1))
		return ERROR_ABORT;
	d->multiple = count;
	return start_nothing(c, d, flags);
}

/* 6.8, CHECK POWER MODE. */
static uint8_t start_power_check(struct ide_channel *c, struct ide_drive *d, unsigned flags)
{
	d->reg[IDE_COUNT][0] = d->standby ? 0x00 : 0xff;
	return start_nothing(c, d, flags);
}

static uint8_t start_idle(struct ide_channel *c, struct ide_drive *d, unsigned flags)
{
	d->standby = false;
	return start_nothing(c, d, flags);
}

/* What is in its cache goes to the disk first. */
static uint8_t start_standby(struct ide_channel *c, struct ide_drive *d, unsigned flags)
{
	d->standby = true;
	return start_flush(c, d, flags);
}

/* 6.47, SET FEATURES: 03h. */
static bool mode_set(struct ide_drive *d, uint8_t mode)
{
	if (mode <= 1 || (mode >= 0x08 && mode <= 0x0c))
		d->mode = 0;
	else if ((mode >= 0x20 && mode <= 0x22) || (mode >= 0x40 && mode <= 0x45))
		d->mode = mode;
	else
		return false;
	return true;
}

static uint8_t start_features(struct ide_channel *c, struct ide_drive *d, unsigned flags)
{
	switch (d->reg[IDE_FEATURE][0]) {
	case 0x02:
		d->write_cache = true;
		break;
	case 0x82: /* what is in it goes to the disk first */
		d->write_cache = false;
		return start_flush(c, d, flags);
	case 0x03:
		if (!mode_set(d, d->reg[IDE_COUNT][0]))
			return ERROR_ABORT;
		break;
	case 0xaa:
		d->look_ahead = true;
		break;
	case 0x55:
		d->look_ahead = false;
		break;
	case 0x66:
		d->keeps_settings = true;
		break;
	case 0xcc:
		d->keeps_settings = false;
		break;
	default:
		return ERROR_ABORT;
	}
	return start_nothing(c, d, flags);
}

#define DIAGNOSTIC 0x90

static const struct ide_command commands[256] = {
	[0x06] = {0, start_trim},
	[0x10] = {0, start_nothing}, /* RECALIBRATE, which had 16 codes once */
	[0x11] = {0, start_nothing},
	[0x12] = {0, start_nothing},
	[0x13] = {0, start_nothing},
	[0x14] = {0, start_nothing},
	[0x15] = {0, start_nothing},
	[0x16] = {0, start_nothing},
	[0x17] = {0, start_nothing},
	[0x18] = {0, start_nothing},
	[0x19] = {0, start_nothing},
	[0x1a] = {0, start_nothing},
	[0x1b] = {0, start_nothing},
	[0x1c] = {0, start_nothing},
	[0x1d] = {0, start_nothing},
	[0x1e] = {0, start_nothing},
	[0x1f] = {0, start_nothing},
	[0x20] = {0, start_transfer}, /* READ SECTORS, with and without retries */
	[0x21] = {0, start_transfer},
	[0x24] = {EXT, start_transfer},
	[0x25] = {EXT | DMA, start_transfer},
	[0x29] = {EXT | MULTIPLE, start_transfer},
	[0x30] = {WRITES, start_transfer}, /* WRITE SECTORS */
	[0x31] = {WRITES, start_transfer},
	[0x34] = {WRITES | EXT, start_transfer},
	[0x35] = {WRITES | EXT | DMA, start_transfer},
	[0x39] = {WRITES | EXT | MULTIPLE, start_transfer},
	[0x40] = {VERIFIES, start_transfer},
	[0x41] = {VERIFIES, start_transfer},
	[0x42] = {VERIFIES | EXT, start_transfer},
	[0x70] = {0, start_seek},
	[0x91] = {0, start_geometry},
	[0x94] = {0, start_standby}, /* power management by its old codes */
	[0x95] = {0, start_idle},
	[0x96] = {0, start_standby},
	[0x97] = {0, start_idle},
	[0x98] = {0, start_power_check},
	[0x99] = {0, start_standby},
	[0xc4] = {MULTIPLE, start_transfer},
	[0xc5] = {WRITES | MULTIPLE, start_transfer},
	[0xc6] = {0, start_set_multiple},
	[0xc8] = {DMA, start_transfer},
	[0xc9] = {DMA, start_transfer},
	[0xca] = {WRITES | DMA, start_transfer},
	[0xcb] = {WRITES | DMA, start_transfer},
	[0xe0] = {0, start_standby}, /* STANDBY IMMEDIATE, IDLE IMMEDIATE, STANDBY, IDLE */
	[0xe1] = {0, start_idle},
	[0xe2] = {0, start_standby},
	[0xe3] = {0, start_idle},
	[0xe5] = {0, start_power_check},
	[0xe6] = {0, start_standby}, /* SLEEP: any command wakes it */
	[0xe7] = {0, start_flush},
	[0xea] = {0, start_flush},
	[0xec] = {0, start_identify},
	[0xef] = {0, start_features},
};

/* A command amid another one's data is that one's end. */
static void transfer_drop(struct ide_channel *c)
{
	if (c->phase != PHASE_IDLE)
		c->drive[c->transfer.drive].status = STATUS_IDLE;
	c->phase = PHASE_IDLE;
}

void ide_command_write(struct ide_channel *c, uint8_t code)
{
	const struct ide_command *command = &commands[code];
	struct ide_drive *d = ide_selected(c);
	uint8_t error;

	if (code == DIAGNOSTIC) {
		diagnostic(c);
		return;
	}
	if (!d)
		return;
	transfer_drop(c);
	c->transfer = (struct ide_transfer){.drive = c->selected};
	d->interrupt = false;
	d->error = 0;
	error = command->start ? command->start(c, d, command->flags) : ERROR_ABORT;
	if (error)
		command_end(c, d, STATUS_ERROR, error);
}
