/* SPDX-License-Identifier: MIT */
/*
 * The board: what sits where. Addresses are guest-physical; the DSDT (vmm/boot/dsdt.asl) says the
 * same to the guest, and a unit test holds the two against each other.
 *
 *   ports		device			interrupt
 *   0x020 0x0a0 0x4d0	two 8259s		(engine)
 *   0x040 - 0x043	8254			0 (engine)
 *   0x060 0x064	i8042			none: it only resets
 *   0x070 - 0x071	mc146818		8
 *   0x3f8 - 0x3ff	uart16550, COM1		4
 *   0x170 0x1f0 ...	82371AB's IDE		15, 14, where I/O is emulated
 *   0x505		pvpanic			none
 *   0x600 - 0x60f	ACPI PM, reset		9, level
 *   0xcf8 - 0xcff	PCI configuration	none
 *   0x1000 -		PCI window, to 64 KiB
 *
 *   memory
 *   0 - 3 GiB		RAM, low range
 *   0x000fff00		VM generation ID, above the ACPI tables
 *   0xc0000000		PCI window, 512 MiB	INTA of slot n: 16 + n % 8
 *   0xe0000000		PCI ECAM, 1 MiB
 *   0xfec00000		I/O APIC		(engine)
 *   0xfee00000		local APICs		(engine)
 *   4 GiB -		RAM, high range
 *
 *   PCI slot
 *   0			host bridge
 *   1			virtio-rng
 *   2			virtio-console
 *   3			82371AB's IDE, and 0 to 4 disks: where I/O is emulated; or
 *   4 - 23		disks, of virtio
 *   24 - 31		NICs, of virtio or emulated
 */
#ifndef VMM_MACHINE_BOARD_H
#define VMM_MACHINE_BOARD_H

#define BOARD_COM1_PORT    0x3f8
#define BOARD_COM1_IRQ     4
#define BOARD_RTC_IRQ      8
#define BOARD_IDE_IRQ      14 /* of the first channel; the second has the next */
#define BOARD_PVPANIC_PORT 0x505
#define BOARD_PM_PORT      0x600
#define BOARD_SCI_IRQ      9

#define BOARD_GENERATION 0x000fff00u

#define BOARD_PCI_WINDOW      0xc0000000u
#define BOARD_PCI_WINDOW_SIZE 0x20000000u
#define BOARD_PCI_PORTS       0x1000u
#define BOARD_PCI_PORTS_SIZE  0xf000u
#define BOARD_PCI_FIRST_GSI   16
#define BOARD_PCI_GSIS        8
#define BOARD_ECAM            0xe0000000u
#define BOARD_ECAM_SIZE       0x00100000u
#define BOARD_IOAPIC          0xfec00000u
#define BOARD_LAPIC           0xfee00000u

#define BOARD_SLOT_RNG     1
#define BOARD_SLOT_CONSOLE 2
#define BOARD_SLOT_IDE     3
#define BOARD_SLOT_DISKS   4
#define BOARD_DISKS_MAX    20
#define BOARD_SLOT_NICS    24
#define BOARD_NICS_MAX     8

#endif
