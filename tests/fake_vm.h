/* SPDX-License-Identifier: MIT */
/*
 * A virtual machine without an engine, for tests of devices: guest memory, two buses, and an engine
 * that remembers what it was told. Wrong use (a doorbell removed that is not there, a line left
 * over at the end) is an assertion.
 */
#ifndef TESTS_FAKE_VM_H
#define TESTS_FAKE_VM_H

#include <stdatomic.h>

#include "vmm/core/vm.h"

#define FAKE_GSIS      24
#define FAKE_DOORBELLS 256

struct fake_vm {
	struct vm vm; /* its engine is the fake itself */
	_Atomic bool level[FAKE_GSIS];
	_Atomic unsigned edges[FAKE_GSIS]; /* rises of each line */
	unsigned line_count;               /* MSI lines that exist */
	bool doorbells_fail;               /* -ENOSPC for each new doorbell */
	bool lines_fail;                   /* the same for MSI lines */
	unsigned doorbell_count;
	struct doorbell doorbell[FAKE_DOORBELLS];
};

/* Aborts where the host fails. `memory`: bytes, a multiple of the page size. */
struct fake_vm *fake_vm_create(uint64_t memory);
void fake_vm_destroy(struct fake_vm *fake);

/* A guest's write to memory-mapped I/O: a doorbell where there is one, else the bus. */
void fake_vm_mmio_write(struct fake_vm *fake, uint64_t address, unsigned size, uint64_t value);

#endif
