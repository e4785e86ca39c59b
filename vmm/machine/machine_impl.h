/* SPDX-License-Identifier: MIT */
/* What machine.c and the board share. */
#ifndef VMM_MACHINE_MACHINE_IMPL_H
#define VMM_MACHINE_MACHINE_IMPL_H

#include "block/block.h"
#include "devices/acpi_pm.h"
#include "devices/e1000/i82540em.h"
#include "devices/i8042.h"
#include "devices/ide/piix4_ide.h"
#include "devices/mc146818.h"
#include "devices/pci/pci.h"
#include "devices/pvpanic.h"
#include "devices/uart16550.h"
#include "devices/virtio/blk.h"
#include "devices/virtio/console.h"
#include "devices/virtio/net.h"
#include "devices/virtio/rng.h"
#include "devices/virtio/virtio_pci.h"
#include "vmm/boot/boot.h"
#include "vmm/core/vcpu.h"
#include "vmm/core/vm.h"
#include "vmm/machine/machine.h"

#define MACHINE_REASON_MAX 256

struct machine_disk_device {
	struct block *block;
	struct virtio_blk *blk; /* or it is the IDE controller's, as its PCI function */
	struct virtio_pci *pci;
};

struct machine_nic_device {
	struct net *net;
	bool attached;          /* to a network */
	struct virtio_net *nic; /* with its PCI function, or */
	struct i82540em *e1000;
	struct virtio_pci *pci;
};

/* What the guest asked for; bits, so that the first and gravest can be told. */
enum { REQUEST_OFF = 1, REQUEST_RESET = 2, REQUEST_PANIC = 4, REQUEST_ENDED = 8 };

struct machine {
	struct machine_config config;
	struct loop *loop;
	struct machine_events events;
	struct vm vm;
	struct power power;
	struct boot *boot;
	unsigned vcpu_count;
	struct engine_vcpu *vcpu[ENGINE_VCPUS_MAX];
	struct vcpu_set *threads;
	bool paused;
	bool ended;
	/* As the engine made them: what a reset goes back to. */
	struct cpu_state *initial_cpu; /* vcpu_count of them */
	struct chips_state initial_chips;
	uint8_t generation[ACPI_GENERATION_SIZE]; /* this life's: others after a restore */

	struct mc146818 *rtc;
	struct i8042 *i8042;
	struct uart16550 *com1;
	struct pvpanic *pvpanic;
	struct acpi_pm *pm;
	struct pci_bus *pci;
	struct virtio_rng *rng;
	struct virtio_pci *rng_pci;
	struct virtio_console *console;
	struct virtio_pci *console_pci;
	struct piix4_ide *ide;
	struct machine_disk_device disk[BOARD_DISKS_MAX];
	struct machine_nic_device nic[BOARD_NICS_MAX];

	pthread_mutex_t lock; /* guards all below; a leaf lock */
	struct loop_task task;
	unsigned requests;
	enum machine_end end; /* with REQUEST_ENDED */
	char panic[MACHINE_REASON_MAX];
	char reason[MACHINE_REASON_MAX];
};

/* board.c: the devices, in the order of the board's table. */
int board_create(struct machine *machine, struct error *err);
void board_destroy(struct machine *machine);
void board_reset(struct machine *machine);
/*
 * Quiesce the devices that serve queues, and go on: see virtio_pause. The vCPUs are paused. State
 * is saved of a paused board; loading leaves one.
 */
void board_pause(struct machine *machine);
void board_resume(struct machine *machine);
void board_state(struct machine *machine, struct codec *codec);
/* After a state was loaded: the guest is to look at its generation ID, and to tell its neighbours.
 */
void board_moved(struct machine *machine);
/* But for the number of vCPUs and the generation ID. */
extern const struct acpi_board board_acpi;

/*
 * machine_state_load, of a guest that may have gone on elsewhere, and stood still here for so long:
 * its clocks went on, as over a pause, it has another generation ID, and it is told of both.
 */
int machine_state_restore(struct machine *machine, const uint8_t *bytes, size_t size,
			  uint64_t stood_ns, struct error *err);

#endif
