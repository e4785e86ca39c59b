/* SPDX-License-Identifier: MIT */
/*
 * MSI-X of a PCI function: its capability, vector table and pending bits (PCI 3.0, 6.8.2). The
 * device gives the table a place in one of its BARs.
 */
#ifndef DEVICES_PCI_MSIX_H
#define DEVICES_PCI_MSIX_H

#include "devices/pci/pci.h"
#include "vmm/base/log.h"

#define MSIX_VECTORS_MAX 128
#define MSIX_ENTRY_SIZE  16u
#define MSIX_NO_VECTOR   0xffff

struct msix_vector {
	uint8_t entry[MSIX_ENTRY_SIZE]; /* address, data, control */
	struct msi_line *line;          /* made when first used */
	int fd;
	bool pending;
};

struct msix {
	struct pci_function *function;
	unsigned capability; /* its offset */
	unsigned count;
	pthread_mutex_t lock; /* guards all below; after the PCI bus's lock */
	bool enabled, masked;
	struct msix_vector *vector;
	struct ratelimit limit;
};

/* `table` and `pba` are offsets in `bar`; the caller routes accesses to them here. */
int msix_init(struct msix *msix, struct pci_function *function, unsigned count, unsigned bar,
	      uint32_t table, uint32_t pba);
void msix_destroy(struct msix *msix);
void msix_reset(struct msix *msix);

/*
 * Saved state, behind the function's: its control word, on or off, masked or not, is part of the
 * configuration space. Loading makes lines for the vectors that are open.
 */
void msix_state(struct msix *msix, struct codec *codec);

/* From pci_ops: the capability may have been written. */
void msix_config_written(struct msix *msix, unsigned offset, unsigned size);

/* Accesses relative to the table's and the pending bits' start. */
uint64_t msix_table_read(struct msix *msix, uint64_t offset, unsigned size);
void msix_table_write(struct msix *msix, uint64_t offset, unsigned size, uint64_t value);
uint64_t msix_pba_read(struct msix *msix, uint64_t offset, unsigned size);

/*
 * Send a vector's message, now or when it is unmasked. Any thread. False: MSI-X is off and the
 * device must use INTx. A vector that does not exist is nothing to send.
 */
bool msix_signal(struct msix *msix, unsigned vector);

#endif
