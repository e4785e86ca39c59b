/* SPDX-License-Identifier: MIT */
/*
 * The driver's half of virtio over PCI, through the buses, on a device that counts its starts and
 * stops. Sections are of virtio 1.2.
 */
#ifndef TESTS_UNIT_DRIVER_PCI_H
#define TESTS_UNIT_DRIVER_PCI_H

#include "devices/pci/pci.h"
#include "devices/virtio/virtio.h"
#include "devices/virtio/virtio_pci.h"
#include "tests/fake_vm.h"

#define DRIVER_PCI_SLOT   3
#define DRIVER_PCI_GSI    19
#define DRIVER_PCI_QUEUES 3
#define DRIVER_PCI_CONFIG 12
#define DRIVER_PCI_WINDOW 0xc0000000u /* where BARs may lie, 1 MiB */

/* 4.1.4.3. */
enum {
	DEVICE_FEATURE_SELECT = 0x00,
	DEVICE_FEATURE = 0x04,
	DRIVER_FEATURE_SELECT = 0x08,
	DRIVER_FEATURE = 0x0c,
	CONFIG_VECTOR = 0x10,
	NUM_QUEUES = 0x12,
	STATUS = 0x14,
	GENERATION = 0x15,
	QUEUE_SELECT = 0x16,
	QUEUE_SIZE = 0x18,
	QUEUE_VECTOR = 0x1a,
	QUEUE_ENABLE = 0x1c,
	QUEUE_NOTIFY_OFF = 0x1e,
	QUEUE_DESC = 0x20,
	QUEUE_DRIVER = 0x28,
	QUEUE_DEVICE = 0x30,
};

/* Where a structure is, as its capability says. */
struct structure {
	unsigned capability;
	uint8_t bar;
	uint32_t offset, length;
};

struct driver_pci {
	struct fake_vm *fake;
	struct bus *mmio;
	struct pci_bus *pci;
	struct virtio_device vdev;
	struct virtio_pci *vp;
	struct structure structure[6]; /* by type */
	uint32_t notify_stride;
	unsigned starts, stops, resumes, pauses;
	int start_result;
	uint8_t config[DRIVER_PCI_CONFIG];
};

/* A test's state: the device is plugged in, decodes memory and may be a bus master. */
int driver_pci_setup(void **state);
int driver_pci_teardown(void **state);

/* The function's configuration space, by ECAM. */
uint64_t pci_get(struct driver_pci *f, unsigned offset, unsigned size);
void pci_put(struct driver_pci *f, unsigned offset, unsigned size, uint64_t value);
uint32_t bar(struct driver_pci *f, unsigned index);

/* The guest-physical address in a structure: 1 common, 2 notify, 3 ISR, 4 device. */
uint64_t structure_at(struct driver_pci *f, unsigned type, unsigned offset);
uint64_t common_get(struct driver_pci *f, unsigned offset, unsigned size);
void common_put(struct driver_pci *f, unsigned offset, unsigned size, uint64_t value);
uint8_t isr_read(struct driver_pci *f);

void features_write(struct driver_pci *f, uint64_t features);
/* Returns what the device makes of it. */
uint8_t status_set(struct driver_pci *f, uint8_t status);
/* Up to FEATURES_OK. */
void negotiate(struct driver_pci *f);
/* Enable a queue of 8 with its rings at 0x10000 times (`queue` + 1). */
void queue_setup(struct driver_pci *f, uint16_t queue, uint16_t vector);
/* All of it: queue i has vector i + 1. */
void driver_ok(struct driver_pci *f);

#endif
