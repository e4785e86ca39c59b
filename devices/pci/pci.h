/* SPDX-License-Identifier: MIT */
/*
 * A PCI bus behind a host bridge: configuration space by ECAM and by ports 0xcf8/0xcfc, base
 * address registers, INTx. One bus, 32 slots, function 0 only. Sources: PCI Local Bus 3.0, PCI
 * Express 5.0 7.2.2 (ECAM).
 */
#ifndef DEVICES_PCI_PCI_H
#define DEVICES_PCI_PCI_H

#include <pthread.h>

#include "snapshot/codec.h"
#include "vmm/core/vm.h"

#define PCI_SLOTS       32
#define PCI_BARS        6
#define PCI_CONFIG_SIZE 256u

/* Configuration space, type 0 header. */
#define PCI_VENDOR        0x00
#define PCI_DEVICE        0x02
#define PCI_COMMAND       0x04
#define PCI_STATUS        0x06
#define PCI_REVISION      0x08
#define PCI_CLASS         0x09 /* 3: programming interface, subclass, class */
#define PCI_BAR           0x10
#define PCI_SUBSYS_VENDOR 0x2c
#define PCI_SUBSYS        0x2e
#define PCI_CAPABILITIES  0x34
#define PCI_IRQ_LINE      0x3c
#define PCI_IRQ_PIN       0x3d

#define PCI_COMMAND_IO          0x0001
#define PCI_COMMAND_MEMORY      0x0002
#define PCI_COMMAND_MASTER      0x0004
#define PCI_COMMAND_NO_INTX     0x0400
#define PCI_STATUS_INTX         0x0008 /* computed when it is read */
#define PCI_STATUS_CAPABILITIES 0x0010

struct pci_function;

/* What a device on the bus does. Called on a vCPU's thread. */
struct pci_ops {
	/* Required if it has BARs: an access within BAR `bar`, as in struct bus_ops; nothing held.
	 */
	uint64_t (*bar_read)(void *device, unsigned bar, uint64_t offset, unsigned size);
	void (*bar_write)(void *device, unsigned bar, uint64_t offset, unsigned size,
			  uint64_t value);
	/*
	 * Optional: BAR `bar` answers at `address` from now on, or no longer (`mapped` false). The
	 * bus's lock is held: call nothing of pci.h.
	 */
	void (*bar_moved)(void *device, unsigned bar, uint64_t address, bool mapped);
	/* Optional: configuration space within a capability was written; the bus's lock is held. */
	void (*config_written)(void *device, unsigned offset, unsigned size);
	/*
	 * Optional: configuration space from `offset` on is about to be read, so that a register
	 * that is computed can be put there; the bus's lock is held.
	 */
	void (*config_reading)(void *device, unsigned offset, unsigned size);
	/* Optional: what the command register is from now on; the bus's lock is held. */
	void (*command_changed)(void *device, uint16_t command);
};

struct pci_bar {
	struct pci_function *function;
	unsigned index;
	uint32_t size; /* bytes; 0: no BAR */
	bool io;       /* of ports, else of memory */
	bool fixed;    /* it is where it is, and in no register */
	uint32_t home; /* where it was placed first */
	uint32_t address;
	bool mapped;
};

/* A device embeds one. Set up with pci_function_init, then BARs and capabilities, then pci_add. */
struct pci_function {
	struct pci_bus *bus;
	unsigned slot;
	const struct pci_ops *ops;
	void *device;
	struct irq_line irq;
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t writable[PCI_CONFIG_SIZE]; /* bits that a guest's write changes */
	uint8_t next_capability;           /* where the next one goes */
	struct pci_bar bar[PCI_BARS];
};

struct pci_id {
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint8_t revision;
	uint32_t class; /* 24 bits: class, subclass, programming interface */
};

void pci_function_init(struct pci_function *function, const struct pci_id *id,
		       const struct pci_ops *ops, void *device);
/* A 32-bit memory BAR of `size` bytes, a power of two, at least 16. */
void pci_function_add_bar(struct pci_function *function, unsigned bar, uint32_t size);
/* Ports: a BAR of `size`, a power of two, at least 4; or the ones that such a part always had. */
void pci_function_add_io_bar(struct pci_function *function, unsigned bar, uint32_t size);
void pci_function_add_ports(struct pci_function *function, unsigned bar, uint16_t base,
			    uint32_t count);
/* Room for a capability; returns its offset. `length` includes the two header bytes. */
unsigned pci_function_add_capability(struct pci_function *function, uint8_t id, unsigned length);

struct pci_bus;

struct pci_config {
	struct vm *vm;
	uint64_t ecam_base, ecam_size;
	uint32_t window_base, window_size; /* where BARs go */
	uint32_t ports_base, ports_size;   /* and those of ports */
	unsigned first_gsi, gsi_count;     /* INTA of slot n is first + n % count */
};

/* Makes the bus and its host bridge, slot 0. */
int pci_bus_create(const struct pci_config *config, struct pci_bus **out);
/* All functions must have been removed. */
void pci_bus_destroy(struct pci_bus *bus);

/* Give BARs their addresses and let the function answer in `slot`. -EEXIST, -ENOSPC. */
int pci_add(struct pci_bus *bus, unsigned slot, struct pci_function *function);
void pci_remove(struct pci_function *function);

/* The function as after power-on: command zero, BARs where they were first. */
void pci_function_reset(struct pci_function *function);

/*
 * Saved state. A function's is its configuration space; loading maps its BARs as a guest's writes
 * would, in a function that is as after power-on. What a guest cannot write must be the same.
 */
void pci_bus_state(struct pci_bus *bus, struct codec *codec);
void pci_function_state(struct pci_function *function, struct codec *codec);

/*
 * Drive INTA. The line is high while any function that shares it and has INTx enabled drives it.
 * Any thread; takes only a leaf lock.
 */
void pci_intx_set(struct pci_function *function, bool level);

#endif
