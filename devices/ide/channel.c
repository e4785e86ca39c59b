/* SPDX-License-Identifier: MIT */
/*
 * A channel's registers and interrupt (ATA/ATAPI-7 volume 2, 5 and 9). What is written goes to both
 * disks, what is read comes from the selected one. While a command is the thread's (BSY) registers
 * cannot be written; a software reset is taken at any time, and ends once the host is done with
 * what was under way: until then the disks are busy.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/ide/ide_impl.h"
#include "vmm/base/bytes.h"

#define DEVICE_ONES 0xa0 /* obsolete, and read as ones */

#define HEADS_DEFAULT 16
#define TRACK_DEFAULT 63

struct ide_drive *ide_selected(struct ide_channel *c)
{
	struct ide_drive *d = &c->drive[c->selected];

	return d->block ? d : NULL;
}

void ide_interrupt_update(struct ide_channel *c)
{
	const struct ide_drive *d = ide_selected(c);
	bool level = d && d->interrupt && !(c->control & CONTROL_NO_INTERRUPT);

	if (level == c->level)
		return;
	c->level = level;
	if (level)
		c->master_status |= MASTER_INTERRUPT;
	irq_line_set(&c->irq, level);
}

void ide_interrupt(struct ide_channel *c, struct ide_drive *d)
{
	d->interrupt = true;
	ide_interrupt_update(c);
}

void ide_kick(struct ide_channel *c)
{
	uint64_t one = 1;

	if (write(c->kick_fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: it rings anyway */
}

/* Resets. */

/* 9.12: the signature of a disk that takes no packets. */
void ide_signature_put(struct ide_drive *d)
{
	memset(d->reg, 0, sizeof(d->reg));
	d->reg[IDE_COUNT][0] = d->reg[IDE_LOW][0] = 1;
	d->device = DEVICE_ONES;
	d->error = ERROR_NO_ERROR;
	d->status = STATUS_IDLE;
}

static void settings_default(struct ide_drive *d)
{
	d->heads = HEADS_DEFAULT;
	d->track = TRACK_DEFAULT;
	d->multiple = IDE_MULTIPLE_MAX; /* Linux uses what is set, and sets nothing */
	d->write_cache = d->look_ahead = true;
}

static void reset_begin(struct ide_channel *c)
{
	c->abandoned = c->in_flight;
	c->phase = PHASE_RESET;
	for (unsigned i = 0; i < IDE_DRIVES; i++) {
		c->drive[i].status = STATUS_BUSY;
		c->drive[i].interrupt = false;
	}
}

void ide_reset_finish(struct ide_channel *c)
{
	c->phase = PHASE_IDLE;
	c->transfer = (struct ide_transfer){0};
	c->selected = 0;
	for (unsigned i = 0; i < IDE_DRIVES; i++) {
		if (!c->drive[i].keeps_settings)
			settings_default(&c->drive[i]);
		c->drive[i].standby = false;
		ide_signature_put(&c->drive[i]);
	}
}

void ide_channel_reset(struct ide_channel *c)
{
	pthread_mutex_lock(&c->lock);
	assert(!c->in_flight);
	c->control = 0;
	c->master_command = c->master_status = 0;
	c->master_table = 0;
	c->cursor = (struct ide_cursor){0};
	for (unsigned i = 0; i < IDE_DRIVES; i++) {
		c->drive[i].keeps_settings = c->drive[i].interrupt = false;
		c->drive[i].mode = 0;
	}
	ide_reset_finish(c);
	ide_interrupt_update(c);
	pthread_mutex_unlock(&c->lock);
}

/* The data register. */

static bool is_moving(const struct ide_channel *c, enum ide_phase phase)
{
	return c->phase == phase && c->selected == c->transfer.drive;
}

static uint16_t data_read(struct ide_channel *c)
{
	struct ide_transfer *t = &c->transfer;
	uint16_t word;

	if (!is_moving(c, PHASE_IN))
		return 0xffff;
	word = le16_get(c->buffer + t->at);
	t->at += 2;
	if (t->at == t->filled)
		ide_data_end(c);
	return word;
}

static void data_write(struct ide_channel *c, uint16_t word)
{
	struct ide_transfer *t = &c->transfer;

	if (!is_moving(c, PHASE_OUT))
		return;
	le16_put(c->buffer + t->at, word);
	t->at += 2;
	if (t->at == t->filled)
		ide_data_end(c);
}

/* The other ones. */

static uint8_t register_read(struct ide_channel *c, unsigned reg)
{
	struct ide_drive *d = ide_selected(c);

	/* The other disk pulls all lines down for one that is not there; else they float. */
	if (!d)
		return c->drive[0].block || c->drive[1].block ? 0 : 0xff;
	switch (reg) {
	case IDE_STATUS:
		d->interrupt = false;
		return d->status;
	case IDE_ERROR:
		return d->error;
	case IDE_DEVICE:
		return (uint8_t)((d->device & ~DEVICE_SLAVE) | (c->selected ? DEVICE_SLAVE : 0));
	default:
		return d->reg[reg][c->control & CONTROL_PREVIOUS ? 1 : 0];
	}
}

static void register_write(struct ide_channel *c, unsigned reg, uint8_t value)
{
	c->control &= (uint8_t)~CONTROL_PREVIOUS;
	if (c->phase == PHASE_WORK || c->phase == PHASE_RESET)
		return;
	if (reg == IDE_COMMAND) {
		ide_command_write(c, value);
		return;
	}
	if (reg == IDE_DEVICE)
		c->selected = value & DEVICE_SLAVE ? 1 : 0;
	for (unsigned i = 0; i < IDE_DRIVES; i++) {
		struct ide_drive *d = &c->drive[i];

		if (reg == IDE_DEVICE) {
			d->device = value | DEVICE_ONES;
			continue;
		}
		d->reg[reg][1] = d->reg[reg][0];
		d->reg[reg][0] = value;
	}
}

/* A wider access than a byte is that many accesses, as on the ISA bus, but for data. */
static uint64_t wide_read(struct ide_channel *c, unsigned offset, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)(offset + i == IDE_DATA ? data_read(c) & 0xff
							   : register_read(c, offset + i))
			 << 8 * i;
	return value;
}

static void wide_write(struct ide_channel *c, unsigned offset, unsigned size, uint64_t value)
{
	for (unsigned i = 0; i < size; i++) {
		uint8_t byte = (uint8_t)(value >> 8 * i);

		if (offset + i == IDE_DATA)
			data_write(c, byte);
		else
			register_write(c, offset + i, byte);
	}
}

uint64_t ide_channel_read(struct ide_channel *c, unsigned offset, unsigned size)
{
	uint64_t value = 0;

	pthread_mutex_lock(&c->lock);
	if (offset == IDE_DATA && (size == 2 || size == 4))
		for (unsigned i = 0; i < size; i += 2)
			value |= (uint64_t)data_read(c) << 8 * i;
	else
		value = wide_read(c, offset, size);
	ide_interrupt_update(c);
	pthread_mutex_unlock(&c->lock);
	return value;
}

void ide_channel_write(struct ide_channel *c, unsigned offset, unsigned size, uint64_t value)
{
	pthread_mutex_lock(&c->lock);
	if (offset == IDE_DATA && (size == 2 || size == 4))
		for (unsigned i = 0; i < size; i += 2)
			data_write(c, (uint16_t)(value >> 8 * i));
	else
		wide_write(c, offset, size, value);
	ide_interrupt_update(c);
	pthread_mutex_unlock(&c->lock);
}

/* The status once more, which acknowledges nothing. */
uint8_t ide_control_read(struct ide_channel *c)
{
	const struct ide_drive *d;
	uint8_t value;

	pthread_mutex_lock(&c->lock);
	d = ide_selected(c);
	value = d ? d->status : register_read(c, IDE_STATUS);
	pthread_mutex_unlock(&c->lock);
	return value;
}

void ide_control_write(struct ide_channel *c, uint8_t value)
{
	pthread_mutex_lock(&c->lock);
	if (~c->control & value & CONTROL_RESET)
		reset_begin(c);
	else if (c->control & ~value & CONTROL_RESET && !c->in_flight)
		ide_reset_finish(c);
	c->control = value & (CONTROL_NO_INTERRUPT | CONTROL_RESET | CONTROL_PREVIOUS);
	ide_interrupt_update(c);
	pthread_mutex_unlock(&c->lock);
}

/* The bus master's (SFF-8038i, 3). */

enum { MASTER_COMMAND = 0, MASTER_STATUS = 2, MASTER_TABLE = 4 };

uint8_t ide_master_read(struct ide_channel *c, unsigned offset)
{
	uint8_t value = 0;

	pthread_mutex_lock(&c->lock);
	if (offset == MASTER_COMMAND)
		value = c->master_command;
	else if (offset == MASTER_STATUS)
		value = c->master_status;
	else if (offset >= MASTER_TABLE)
		value = (uint8_t)(c->master_table >> 8 * (offset - MASTER_TABLE));
	pthread_mutex_unlock(&c->lock);
	return value;
}

static void master_command(struct ide_channel *c, uint8_t value)
{
	uint8_t old = c->master_command;

	c->master_command = value & (MASTER_START | MASTER_TO_MEMORY);
	if (old & ~value & MASTER_START)
		c->master_status &= (uint8_t)~MASTER_ACTIVE;
	if (!(~old & value & MASTER_START))
		return;
	ide_cursor_begin(c);
	c->master_status |= MASTER_ACTIVE;
	if (c->phase == PHASE_DMA)
		ide_work_begin(c);
}

void ide_master_write(struct ide_channel *c, unsigned offset, uint8_t value)
{
	unsigned shift = 8 * (offset - MASTER_TABLE);

	pthread_mutex_lock(&c->lock);
	if (offset == MASTER_COMMAND) {
		master_command(c, value);
	} else if (offset == MASTER_STATUS) {
		c->master_status &= (uint8_t) ~(value & (MASTER_ERROR | MASTER_INTERRUPT));
		c->master_status =
			(uint8_t)((c->master_status & ~MASTER_CAPABLE) | (value & MASTER_CAPABLE));
	} else if (offset >= MASTER_TABLE) {
		c->master_table &= ~(0xffu << shift);
		c->master_table |= ((uint32_t)value << shift) & ~3u;
	}
	pthread_mutex_unlock(&c->lock);
}

/* A channel and its thread. */

static bool has_drives(const struct ide_channel *c)
{
	return c->drive[0].block || c->drive[1].block;
}

int ide_channel_init(struct ide_channel *c, struct guest_memory *memory, const struct irq_line *irq,
		     unsigned index)
{
	c->memory = memory;
	c->irq = *irq;
	c->index = index;
	pthread_mutex_init(&c->lock, NULL);
	c->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return c->kick_fd < 0 ? -errno : 0;
}

int ide_channel_start(struct ide_channel *c)
{
	ide_channel_reset(c);
	return has_drives(c) ? worker_start(&c->worker, ide_channel_main, c) : 0;
}

void ide_channel_fini(struct ide_channel *c)
{
	if (c->worker.started) {
		ide_channel_call(c, WORKER_END);
		worker_join(&c->worker);
	}
	if (c->kick_fd >= 0)
		close(c->kick_fd);
	pthread_mutex_destroy(&c->lock);
}

void ide_channel_call(struct ide_channel *c, enum worker_wish wish)
{
	worker_call(&c->worker, wish);
	ide_kick(c);
}
