/* SPDX-License-Identifier: MIT */
/*
 * A virtual machine as devices see it: memory, two buses, and ways to interrupt. Thin wrappers
 * around the engine's ops; all of them may be called from any thread.
 */
#ifndef VMM_CORE_VM_H
#define VMM_CORE_VM_H

#include "vmm/core/engine.h"

struct vm {
	const struct engine_ops *ops;
	struct engine_vm *engine;
	struct guest_memory *memory;
	struct bus *pio;
	struct bus *mmio;
};

/* An input of the I/O APIC, as a device is handed it. */
struct irq_line {
	struct vm *vm;
	unsigned gsi;
};

static inline void irq_line_set(const struct irq_line *line, bool level)
{
	line->vm->ops->irq_set(line->vm->engine, line->gsi, level);
}

/* An edge. */
static inline void irq_line_pulse(const struct irq_line *line)
{
	irq_line_set(line, true);
	irq_line_set(line, false);
}

static inline int vm_doorbell_add(struct vm *vm, const struct doorbell *doorbell)
{
	return vm->ops->doorbell_add(vm->engine, doorbell);
}

static inline void vm_doorbell_remove(struct vm *vm, const struct doorbell *doorbell)
{
	vm->ops->doorbell_remove(vm->engine, doorbell);
}

#endif
