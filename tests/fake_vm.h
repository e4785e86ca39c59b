/* SPDX-License-Identifier: MIT */
/*
 * A virtual machine without an engine, for tests and fuzzers of devices: guest memory, two buses,
 * and an engine that records what it is asked for. Wrong use (a doorbell removed that is not there,
 * a line left over at the end) is an assertion.
 */
#ifndef TESTS_FAKE_VM_H
#define TESTS_FAKE_VM_H

#include <stdatomic.h>

#include "vmm/core/vm.h"

#define FAKE_GSIS          24
#define FAKE_DOORBELLS_MAX 256
#define FAKE_LINES_MAX     128

struct msi_line {
	struct fake_vm *vm;
	int fd;
	bool set; /* a message was ever set */
	struct msi_message message;
};

struct fake_vm {
	struct vm vm;
	_Atomic bool level[FAKE_GSIS];
	_Atomic unsigned rises[FAKE_GSIS]; /* from low to high */
	unsigned line_count;
	struct msi_line *line[FAKE_LINES_MAX]; /* those that exist */
	unsigned doorbell_count;
	struct doorbell doorbell[FAKE_DOORBELLS_MAX];
	/* Faults: this many more succeed; negative: all. */
	int lines_left, doorbells_left;
	/* Called before a line changes, as if another thread were that quick; once. */
	void (*before_irq)(void *arg);
	void *before_irq_arg;
};

/* With `memory` bytes of guest memory (0: none). Aborts where the host fails. */
struct fake_vm *fake_vm_create(uint64_t memory);
/* Aborts where a device left a line or a doorbell behind. */
void fake_vm_destroy(struct fake_vm *fake);

/* A guest's write to memory-mapped I/O: a doorbell where there is one, else the bus. */
void fake_vm_mmio_write(struct fake_vm *fake, uint64_t address, unsigned size, uint64_t value);

/* Signals of a line's eventfd since the last call. */
unsigned fake_line_signals(const struct msi_line *line);
/* The line whose message has that data, or NULL. */
struct msi_line *fake_line_find(struct fake_vm *fake, uint32_t data);
/* The doorbell at an address, or NULL. */
const struct doorbell *fake_doorbell_find(const struct fake_vm *fake, uint64_t address);

#endif
