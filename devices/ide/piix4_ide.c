/* SPDX-License-Identifier: MIT */
/*
 * The PCI function: which of its ports lead to which channel. It is in compatibility mode, without
 * the native one, and knows no firmware but itself: both channels answer from the start, once the
 * command register lets them (290562, 2.3.9). Timings are kept and have no effect.
 */
#include "devices/ide/piix4_ide.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/ide/ide_impl.h"
#include "vmm/base/bytes.h"

enum { BAR_FIRST, BAR_FIRST_CONTROL, BAR_SECOND, BAR_SECOND_CONTROL, BAR_MASTER };
#define MASTER_PORTS 16u /* eight a channel */

/* Configuration space. */
#define TIMING        0x40 /* two bytes a channel */
#define TIMING_DECODE 0x8000
#define TIMING_END    0x4c

struct piix4_ide {
	struct pci_function pci;
	_Atomic bool decodes[PIIX4_IDE_CHANNELS];
	bool paused;
	struct ide_channel channel[PIIX4_IDE_CHANNELS];
};

static uint64_t master_read(struct piix4_ide *ide, unsigned offset, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = offset; i < offset + size; i++)
		value |= (uint64_t)ide_master_read(&ide->channel[i / 8], i % 8) << 8 * (i - offset);
	return value;
}

static uint64_t bar_read(void *device, unsigned bar, uint64_t offset, unsigned size)
{
	struct piix4_ide *ide = device;

	if (bar == BAR_MASTER)
		return master_read(ide, (unsigned)offset, size);
	if (!atomic_load(&ide->decodes[bar / 2]))
		return ~0ull;
	if (bar == BAR_FIRST_CONTROL || bar == BAR_SECOND_CONTROL)
		return ide_control_read(&ide->channel[bar / 2]);
	return ide_channel_read(&ide->channel[bar / 2], (unsigned)offset, size);
}

static void bar_write(void *device, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	struct piix4_ide *ide = device;
	unsigned at = (unsigned)offset;

	if (bar == BAR_MASTER)
		for (unsigned i = 0; i < size; i++)
			ide_master_write(&ide->channel[(at + i) / 8], (at + i) % 8,
					 (uint8_t)(value >> 8 * i));
	else if (!atomic_load(&ide->decodes[bar / 2]))
		return;
	else if (bar == BAR_FIRST_CONTROL || bar == BAR_SECOND_CONTROL)
		ide_control_write(&ide->channel[bar / 2], (uint8_t)value);
	else
		ide_channel_write(&ide->channel[bar / 2], at, size, value);
}

/* 2.3.9, IDETIM: a channel answers on its ports, or does not. */
static void decode_update(struct piix4_ide *ide)
{
	for (unsigned i = 0; i < PIIX4_IDE_CHANNELS; i++)
		atomic_store(&ide->decodes[i],
			     le16_get(ide->pci.config + TIMING + 2 * (size_t)i) & TIMING_DECODE);
}

static void config_written(void *device, unsigned offset, unsigned size)
{
	(void)offset;
	(void)size;
	decode_update(device);
}

static const struct pci_ops ide_pci_ops = {
	.bar_read = bar_read,
	.bar_write = bar_write,
	.config_written = config_written,
};

static void timings_reset(struct piix4_ide *ide)
{
	memset(ide->pci.config + TIMING, 0, TIMING_END - TIMING);
	for (unsigned i = 0; i < PIIX4_IDE_CHANNELS; i++)
		le16_put(ide->pci.config + TIMING + 2 * (size_t)i, TIMING_DECODE);
	decode_update(ide);
}

static void function_init(struct piix4_ide *ide)
{
	/* Bus master, both channels in compatibility mode. */
	static const struct pci_id id = {
		.vendor = 0x8086, .device = 0x7111, .revision = 1, .class = 0x010180};

	pci_function_init(&ide->pci, &id, &ide_pci_ops, ide);
	pci_function_add_ports(&ide->pci, BAR_FIRST, 0x1f0, 8);
	pci_function_add_ports(&ide->pci, BAR_FIRST_CONTROL, 0x3f6, 1);
	pci_function_add_ports(&ide->pci, BAR_SECOND, 0x170, 8);
	pci_function_add_ports(&ide->pci, BAR_SECOND_CONTROL, 0x376, 1);
	pci_function_add_io_bar(&ide->pci, BAR_MASTER, MASTER_PORTS);
	memset(ide->pci.writable + TIMING, 0xff, TIMING_END - TIMING);
	timings_reset(ide);
}

static void disk_init(struct ide_drive *d, struct block *block, const char *serial)
{
	const struct block_info *info;

	if (!block)
		return;
	info = block_info(block);
	d->block = block;
	d->sectors = info->size / BLOCK_SECTOR;
	d->read_only = info->read_only;
	snprintf(d->serial, sizeof(d->serial), "%s", serial);
}

static int channels_init(struct piix4_ide *ide, struct vm *vm,
			 const struct piix4_ide_config *config)
{
	int ret = 0;

	for (unsigned i = 0; i < PIIX4_IDE_CHANNELS; i++)
		ide->channel[i].kick_fd = -1;
	for (unsigned i = 0; i < PIIX4_IDE_CHANNELS; i++) {
		int made = ide_channel_init(&ide->channel[i], vm->memory, &config->irq[i], i);

		ret = ret ? ret : made;
	}
	for (unsigned i = 0; i < PIIX4_IDE_DISKS; i++)
		disk_init(&ide->channel[i / IDE_DRIVES].drive[i % IDE_DRIVES],
			  config->disk[i].block, config->disk[i].serial);
	for (unsigned i = 0; i < PIIX4_IDE_CHANNELS && ret == 0; i++)
		ret = ide_channel_start(&ide->channel[i]);
	return ret;
}

int piix4_ide_create(struct vm *vm, struct pci_bus *bus, unsigned slot,
		     const struct piix4_ide_config *config, struct piix4_ide **out)
{
	struct piix4_ide *ide = calloc(1, sizeof(*ide));
	int ret;

	if (!ide)
		return -ENOMEM;
	ide->paused = true;
	function_init(ide);
	ret = channels_init(ide, vm, config);
	if (ret == 0)
		ret = pci_add(bus, slot, &ide->pci);
	if (ret) {
		piix4_ide_destroy(ide);
		return ret;
	}
	*out = ide;
	return 0;
}

void piix4_ide_destroy(struct piix4_ide *ide)
{
	if (!ide)
		return;
	pci_remove(&ide->pci);
	for (unsigned i = 0; i < PIIX4_IDE_CHANNELS; i++)
		ide_channel_fini(&ide->channel[i]);
	free(ide);
}

static void channels_call(struct piix4_ide *ide, enum worker_wish wish)
{
	for (unsigned i = 0; i < PIIX4_IDE_CHANNELS; i++)
		ide_channel_call(&ide->channel[i], wish);
}

static void channels_rest(struct piix4_ide *ide)
{
	channels_call(ide, WORKER_REST);
	for (unsigned i = 0; i < PIIX4_IDE_CHANNELS; i++)
		worker_await(&ide->channel[i].worker);
}

void piix4_ide_pause(struct piix4_ide *ide)
{
	ide->paused = true;
	channels_rest(ide);
}

void piix4_ide_resume(struct piix4_ide *ide)
{
	ide->paused = false;
	channels_call(ide, WORKER_RUN);
}

void piix4_ide_reset(struct piix4_ide *ide)
{
	channels_rest(ide);
	for (unsigned i = 0; i < PIIX4_IDE_CHANNELS; i++)
		ide_channel_reset(&ide->channel[i]);
	timings_reset(ide);
	pci_function_reset(&ide->pci);
	if (!ide->paused)
		channels_call(ide, WORKER_RUN);
}

void piix4_ide_state(struct piix4_ide *ide, struct codec *codec)
{
	pci_function_state(&ide->pci, codec);
	decode_update(ide);
	for (unsigned i = 0; i < PIIX4_IDE_CHANNELS; i++)
		ide_channel_state(&ide->channel[i], codec);
}
