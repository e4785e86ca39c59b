/* SPDX-License-Identifier: MIT */
/*
 * A driver of the IDE controller, register by register: through the buses, by PIO and as a bus
 * master, on disks that are files or keep requests.
 */
#ifndef TESTS_UNIT_DRIVER_IDE_H
#define TESTS_UNIT_DRIVER_IDE_H

#include "devices/ide/ata.h"
#include "devices/ide/piix4_ide.h"
#include "tests/fake_vm.h"
#include "tests/unit/fake_block.h"

#define DRIVER_IDE_SLOT   3
#define DRIVER_IDE_MEMORY (8 * MIB)
#define DRIVER_IDE_TABLE  0x1000u   /* where the driver puts the bus master's table ... */
#define DRIVER_IDE_DATA   0x100000u /* ... and data */

struct driver_ide {
	struct fake_vm *fake;
	struct pci_bus *pci;
	struct piix4_ide *ide;
	uint32_t master; /* BAR 4 */
	struct piix4_ide_config config;
};

/* A controller with these disks, up to four; the driver found it, and it runs. */
struct driver_ide *driver_ide_create(struct block *const *disk, unsigned count);
void driver_ide_destroy(struct driver_ide *f);

/* Configuration space. */
uint32_t ide_config_get(struct driver_ide *f, unsigned offset, unsigned size);
void ide_config_put(struct driver_ide *f, unsigned offset, unsigned size, uint32_t value);

/* Registers of a channel, by their number; and the one behind them. */
uint8_t ide_get(struct driver_ide *f, unsigned channel, unsigned reg);
void ide_put(struct driver_ide *f, unsigned channel, unsigned reg, uint8_t value);
uint8_t ide_alternate(struct driver_ide *f, unsigned channel);
void ide_control(struct driver_ide *f, unsigned channel, uint8_t value);
uint32_t master_get(struct driver_ide *f, unsigned channel, unsigned offset, unsigned size);
void master_put(struct driver_ide *f, unsigned channel, unsigned offset, unsigned size,
		uint32_t value);

/* The alternate status, once it is not busy any more. */
uint8_t ide_ready(struct driver_ide *f, unsigned channel);

/* Task files: a command for drive 0 to 3, in LBA; `ext` writes each register twice. */
void ide_command(struct driver_ide *f, unsigned drive, uint8_t code, uint64_t sector,
		 unsigned count, bool ext);
/* The same where there is no address, with a feature. Returns the status once it is ready. */
uint8_t ide_simple(struct driver_ide *f, unsigned drive, uint8_t code, uint8_t feature,
		   uint8_t count);

/* Words of the data register. */
void ide_data_in(struct driver_ide *f, unsigned channel, void *to, size_t bytes);
void ide_data_out(struct driver_ide *f, unsigned channel, const void *from, size_t bytes);

/* An entry of the bus master's table. */
void ide_prd(struct driver_ide *f, unsigned index, uint32_t at, uint32_t bytes, bool last);
/* Let it begin, with its status cleared. */
void ide_master_begin(struct driver_ide *f, unsigned channel, bool to_memory);
/* Its status once the disk interrupted, and it is stopped. */
uint8_t ide_master_end(struct driver_ide *f, unsigned channel);

void *ide_memory(struct driver_ide *f, uint32_t at);
bool ide_line(struct driver_ide *f, unsigned channel);

#endif
