/* SPDX-License-Identifier: MIT */
/*
 * The IDE function of the PIIX4 (82371AB): two channels on the ports and lines that they always
 * had, each with two disks that transfer by PIO or as bus masters. Sources: Intel 290562 (the
 * part), SFF-8038i (bus master), ATA/ATAPI-7 volume 1 (the disks).
 */
#ifndef DEVICES_IDE_PIIX4_IDE_H
#define DEVICES_IDE_PIIX4_IDE_H

#include "block/block.h"
#include "devices/pci/pci.h"

#define PIIX4_IDE_CHANNELS    2u
#define PIIX4_IDE_DISKS       4u
#define PIIX4_IDE_SERIAL_SIZE 20u

struct piix4_ide;

struct piix4_ide_config {
	struct irq_line irq[PIIX4_IDE_CHANNELS];
	/* Master and slave of the first channel, then those of the second. */
	struct {
		struct block *block; /* outlives the device; NULL: there is none */
		const char *serial;  /* copied, and cut */
	} disk[PIIX4_IDE_DISKS];
};

/* Its threads rest until it is resumed. */
int piix4_ide_create(struct vm *vm, struct pci_bus *bus, unsigned slot,
		     const struct piix4_ide_config *config, struct piix4_ide **out);
void piix4_ide_destroy(struct piix4_ide *ide);
/* As after power-on; waits for what the host is at. */
void piix4_ide_reset(struct piix4_ide *ide);

/* Waits for what the host is at; commands stay where they are until it is resumed. */
void piix4_ide_pause(struct piix4_ide *ide);
void piix4_ide_resume(struct piix4_ide *ide);
/* Saved state, of one that is paused. */
void piix4_ide_state(struct piix4_ide *ide, struct codec *codec);

#endif
