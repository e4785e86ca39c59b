/* SPDX-License-Identifier: MIT */
/* The registers of an ATA disk (ATA/ATAPI-7 volume 2, 5) and of a bus master (SFF-8038i, 3). */
#ifndef DEVICES_IDE_ATA_H
#define DEVICES_IDE_ATA_H

/* Registers by their port, relative to the channel's first. */
enum ide_register {
	IDE_DATA,
	IDE_FEATURE,
	IDE_COUNT,
	IDE_LOW,
	IDE_MID,
	IDE_HIGH,
	IDE_DEVICE,
	IDE_COMMAND
};
#define IDE_ERROR  IDE_FEATURE /* read */
#define IDE_STATUS IDE_COMMAND

#define STATUS_ERROR 0x01
#define STATUS_DATA  0x08 /* DRQ */
#define STATUS_SEEK  0x10
#define STATUS_FAULT 0x20
#define STATUS_READY 0x40
#define STATUS_BUSY  0x80
#define STATUS_IDLE  (STATUS_READY | STATUS_SEEK)

#define ERROR_ABORT    0x04
#define ERROR_ID       0x10 /* no such sector */
#define ERROR_DATA     0x40 /* UNC */
#define ERROR_NO_ERROR 0x01 /* the diagnostic's code for a device that passed */

#define DEVICE_HEAD  0x0f
#define DEVICE_SLAVE 0x10
#define DEVICE_LBA   0x40

#define CONTROL_NO_INTERRUPT 0x02
#define CONTROL_RESET        0x04
#define CONTROL_PREVIOUS     0x80 /* HOB */

/* SFF-8038i, 3. */
#define MASTER_START     0x01
#define MASTER_TO_MEMORY 0x08
#define MASTER_ACTIVE    0x01
#define MASTER_ERROR     0x02
#define MASTER_INTERRUPT 0x04
#define MASTER_CAPABLE   0x60

#endif
