/* SPDX-License-Identifier: MIT */
/* A virtual machine without an engine: it records what devices ask of one. */
#ifndef TESTS_UNIT_FAKE_VM_H
#define TESTS_UNIT_FAKE_VM_H

#include "vmm/core/vm.h"

#define FAKE_GSIS          24
#define FAKE_DOORBELLS_MAX 64
#define FAKE_LINES_MAX     128

struct msi_line {
	struct fake_vm *vm;
	int fd;
	bool set; /* a message was ever set */
	struct msi_message message;
};

struct fake_vm {
	struct vm vm;
	bool level[FAKE_GSIS];
	unsigned rises[FAKE_GSIS]; /* from low to high */
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

/* With `memory` bytes of guest memory (0: none). Fails the test. */
struct fake_vm *fake_vm_create(uint64_t memory);
/* Fails the test where a device left a line or a doorbell behind. */
void fake_vm_destroy(struct fake_vm *fake);

/* Signals of a line's eventfd since the last call. */
unsigned fake_line_signals(const struct msi_line *line);
/* The line whose message has that data, or NULL. */
struct msi_line *fake_line_find(struct fake_vm *fake, uint32_t data);
/* The doorbell at an address, or NULL. */
const struct doorbell *fake_doorbell_find(const struct fake_vm *fake, uint64_t address);

#endif
