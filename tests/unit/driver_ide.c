/* SPDX-License-Identifier: MIT */
#include "tests/unit/driver_ide.h"

#include <sched.h>

#include "tests/unit/unit.h"

#define ECAM 0xe0000000ull

static const uint16_t command_port[] = {0x1f0, 0x170}, control_port[] = {0x3f6, 0x376};

uint32_t ide_config_get(struct driver_ide *f, unsigned offset, unsigned size)
{
	return (uint32_t)bus_read(f->fake->vm.mmio, ECAM + (DRIVER_IDE_SLOT << 15) + offset, size);
}

void ide_config_put(struct driver_ide *f, unsigned offset, unsigned size, uint32_t value)
{
	bus_write(f->fake->vm.mmio, ECAM + (DRIVER_IDE_SLOT << 15) + offset, size, value);
}

struct driver_ide *driver_ide_create(struct block *const *disk, unsigned count)
{
	static const char *const serials[] = {"serial-0", "serial-1", "serial-2",
					      "serial-3-which-is-too-long-by-far"};
	struct driver_ide *f = calloc(1, sizeof(*f));
	struct pci_config pci;

	assert_non_null(f);
	f->fake = fake_vm_create(DRIVER_IDE_MEMORY);
	pci = (struct pci_config){.vm = &f->fake->vm,
				  .ecam_base = ECAM,
				  .ecam_size = 0x100000,
				  .window_base = 0xc0000000,
				  .window_size = 0x100000,
				  .ports_base = 0x1000,
				  .ports_size = 0xf000,
				  .first_gsi = 16,
				  .gsi_count = 8};
	assert_int_equal(pci_bus_create(&pci, &f->pci), 0);
	for (unsigned i = 0; i < PIIX4_IDE_CHANNELS; i++)
		f->config.irq[i] = (struct irq_line){.vm = &f->fake->vm, .gsi = 14 + i};
	for (unsigned i = 0; i < count; i++) {
		f->config.disk[i].block = disk[i];
		f->config.disk[i].serial = serials[i];
	}
	assert_int_equal(
		piix4_ide_create(&f->fake->vm, f->pci, DRIVER_IDE_SLOT, &f->config, &f->ide), 0);
	piix4_ide_resume(f->ide);
	ide_config_put(f, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MASTER);
	f->master = ide_config_get(f, PCI_BAR + 16, 4) & ~3u;
	return f;
}

void driver_ide_destroy(struct driver_ide *f)
{
	piix4_ide_destroy(f->ide);
	pci_bus_destroy(f->pci);
	fake_vm_destroy(f->fake);
	free(f);
}

uint8_t ide_get(struct driver_ide *f, unsigned channel, unsigned reg)
{
	return (uint8_t)bus_read(f->fake->vm.pio, command_port[channel] + reg, 1);
}

void ide_put(struct driver_ide *f, unsigned channel, unsigned reg, uint8_t value)
{
	bus_write(f->fake->vm.pio, command_port[channel] + reg, 1, value);
}

uint8_t ide_alternate(struct driver_ide *f, unsigned channel)
{
	return (uint8_t)bus_read(f->fake->vm.pio, control_port[channel], 1);
}

void ide_control(struct driver_ide *f, unsigned channel, uint8_t value)
{
	bus_write(f->fake->vm.pio, control_port[channel], 1, value);
}

uint32_t master_get(struct driver_ide *f, unsigned channel, unsigned offset, unsigned size)
{
	return (uint32_t)bus_read(f->fake->vm.pio, f->master + 8 * channel + offset, size);
}

void master_put(struct driver_ide *f, unsigned channel, unsigned offset, unsigned size,
		uint32_t value)
{
	bus_write(f->fake->vm.pio, f->master + 8 * channel + offset, size, value);
}

uint8_t ide_ready(struct driver_ide *f, unsigned channel)
{
	uint8_t status;

	while ((status = ide_alternate(f, channel)) & STATUS_BUSY)
		sched_yield();
	return status;
}

void ide_command(struct driver_ide *f, unsigned drive, uint8_t code, uint64_t sector,
		 unsigned count, bool ext)
{
	unsigned channel = drive / 2;
	uint8_t select = (uint8_t)(0xe0 | (drive & 1) << 4);

	ide_put(f, channel, IDE_DEVICE, ext ? select : (uint8_t)(select | (sector >> 24 & 15)));
	for (unsigned i = ext ? 2 : 1; i-- > 0;) {
		ide_put(f, channel, IDE_COUNT, (uint8_t)(count >> 8 * i));
		ide_put(f, channel, IDE_LOW, (uint8_t)(sector >> 24 * i));
		ide_put(f, channel, IDE_MID, (uint8_t)(sector >> (24 * i + 8)));
		ide_put(f, channel, IDE_HIGH, (uint8_t)(sector >> (24 * i + 16)));
	}
	ide_put(f, channel, IDE_COMMAND, code);
}

uint8_t ide_simple(struct driver_ide *f, unsigned drive, uint8_t code, uint8_t feature,
		   uint8_t count)
{
	unsigned channel = drive / 2;

	ide_put(f, channel, IDE_DEVICE, (uint8_t)(0xe0 | (drive & 1) << 4));
	ide_put(f, channel, IDE_FEATURE, feature);
	ide_put(f, channel, IDE_COUNT, count);
	ide_put(f, channel, IDE_COMMAND, code);
	ide_ready(f, channel);
	return ide_get(f, channel, IDE_STATUS);
}

void ide_data_in(struct driver_ide *f, unsigned channel, void *to, size_t bytes)
{
	uint8_t *at = to;

	for (size_t i = 0; i < bytes; i += 2)
		le16_put(at + i, (uint16_t)bus_read(f->fake->vm.pio, command_port[channel], 2));
}

void ide_data_out(struct driver_ide *f, unsigned channel, const void *from, size_t bytes)
{
	const uint8_t *at = from;

	for (size_t i = 0; i < bytes; i += 4)
		bus_write(f->fake->vm.pio, command_port[channel], 4, le32_get(at + i));
}

void ide_prd(struct driver_ide *f, unsigned index, uint32_t at, uint32_t bytes, bool last)
{
	uint8_t *entry = ide_memory(f, DRIVER_IDE_TABLE + 8 * index);

	le32_put(entry, at);
	le32_put(entry + 4, (bytes & 0xffff) | (last ? 0x80000000u : 0));
}

void ide_master_begin(struct driver_ide *f, unsigned channel, bool to_memory)
{
	uint8_t direction = to_memory ? MASTER_TO_MEMORY : 0;

	master_put(f, channel, 4, 4, DRIVER_IDE_TABLE);
	master_put(f, channel, 2, 1, MASTER_ERROR | MASTER_INTERRUPT);
	master_put(f, channel, 0, 1, direction);
	master_put(f, channel, 0, 1, direction | MASTER_START);
}

uint8_t ide_master_end(struct driver_ide *f, unsigned channel)
{
	uint8_t status;

	while (!((status = (uint8_t)master_get(f, channel, 2, 1)) & MASTER_INTERRUPT))
		sched_yield();
	master_put(f, channel, 0, 1, 0);
	return status;
}

void *ide_memory(struct driver_ide *f, uint32_t at)
{
	void *host = memory_at_write(f->fake->vm.memory, at, 1);

	assert_non_null(host);
	return host;
}

bool ide_line(struct driver_ide *f, unsigned channel)
{
	return atomic_load(&f->fake->level[14 + channel]);
}
