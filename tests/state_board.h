/* SPDX-License-Identifier: MIT */
/*
 * A board without an engine, of every chip and virtio device that has a saved state, on backends
 * that do nothing; for tests and fuzzers. Where the host fails, or a device, it aborts.
 */
#ifndef TESTS_STATE_BOARD_H
#define TESTS_STATE_BOARD_H

#include "devices/acpi_pm.h"
#include "devices/i8042.h"
#include "devices/mc146818.h"
#include "devices/uart16550.h"
#include "devices/virtio/blk.h"
#include "devices/virtio/console.h"
#include "devices/virtio/net.h"
#include "devices/virtio/rng.h"
#include "devices/virtio/virtio_pci.h"
#include "tests/fake_vm.h"

#define STATE_BOARD_DEVICES 4u /* rng, console, blk, net: in slots 1 to 4 */

struct state_board {
	struct fake_vm *fake;
	struct loop *loop;
	struct mc146818 *rtc;
	struct i8042 *i8042;
	struct uart16550 *uart; /* at 0x3f8 */
	struct acpi_pm *pm;     /* at 0x600 */
	struct pci_bus *pci;
	struct virtio_rng *rng;
	struct virtio_console *console;
	struct virtio_blk *blk;
	struct virtio_net *nic;
	struct virtio_device *vdev[STATE_BOARD_DEVICES];
	struct virtio_pci *vp[STATE_BOARD_DEVICES];
	struct cpu_state cpu;
	struct chips_state chips;
};

struct state_board *state_board_make(void);
void state_board_unmake(struct state_board *board);

/* A driver for each device, with rings in memory that is all zeroes. */
void state_board_drivers(struct state_board *board);

void state_board_pause(struct state_board *board);
void state_board_resume(struct state_board *board);
/* Of all of it; while it is paused. */
void state_board_state(struct state_board *board, struct codec *codec);

#endif
