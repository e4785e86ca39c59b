/* SPDX-License-Identifier: MIT */
/*
 * The engine: what runs guest code. Everything else in lodge sees an engine only through these
 * ops, by way of struct vm (vm.h). Times and orders that hold for every engine:
 *
 *   vm_create, vcpu_create x N, vcpu_state_set x N, ... then vcpu_run on N threads.
 *
 * Callbacks return 0 or -errno unless they say otherwise; those with `err` put the failing call,
 * the cause and the remedy there.
 */
#ifndef VMM_CORE_ENGINE_H
#define VMM_CORE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/error.h"
#include "vmm/core/bus.h"
#include "vmm/core/cpu_model.h"
#include "vmm/core/cpu_state.h"
#include "vmm/core/memory.h"

#define ENGINE_VCPUS_MAX 64 /* what the board's tables are made for */

struct engine_vm;
struct engine_vcpu;
struct msi_line;

/* What engine bt does with code. No matter to others. */
enum translation {
	TRANSLATION_NONE,    /* it is interpreted */
	TRANSLATION_ON,      /* translated; hot code reaches memory by the host's MMU */
	TRANSLATION_TLB,     /* by the soft TLB alone */
	TRANSLATION_WINDOWS, /* all code by the host's MMU, as far as can be */
	TRANSLATION_CHECKED, /* translated, and held against the interpreter */
};

struct vm_config {
	struct guest_memory *memory; /* outlives the VM */
	struct bus *pio;             /* outlive the VM; accessed on vCPU threads */
	struct bus *mmio;
	unsigned vcpus; /* 1 to ENGINE_VCPUS_MAX */
	enum translation translation;
};

/* Why vcpu_run came back. */
enum vcpu_exit {
	VCPU_EXIT_KICKED,   /* vcpu_kick: the caller decides what to do */
	VCPU_EXIT_SHUTDOWN, /* triple fault */
	VCPU_EXIT_FAILED,   /* the engine cannot go on; the error says why */
};

struct msi_message {
	uint64_t address;
	uint32_t data;
};

/* A guest's write of `size` bytes (0: any size) at `address` signals `fd` instead of the bus. */
struct doorbell {
	bool mmio; /* else a port */
	uint64_t address;
	unsigned size;
	int fd; /* an eventfd */
};

/* A named counter; arrays of these end with a NULL name. */
struct engine_counter {
	const char *name;
	uint64_t count;
};

struct engine_ops {
	const char *name;    /* what --engine takes */
	const char *summary; /* for `lodge doctor` */
	bool shared_memory;  /* it maps guest memory again: memory_create_shared */

	/*
	 * Can this host run a stock kernel? 0, or -errno with the reason in words. With `thorough`
	 * it runs guest code to find out (up to a second); else it may trust the host's CPU flags.
	 */
	int (*probe)(bool thorough, struct error *why);
	/* What the engine can show a guest: CPUID leaves, sorted. Fails as probe does. */
	int (*cpuid_supported)(struct cpuid_table *out, struct error *err);

	/* On failure *out is untouched. vm_destroy(NULL) is allowed; all vCPUs must have stopped.
	 */
	int (*vm_create)(const struct vm_config *config, struct engine_vm **out, struct error *err);
	void (*vm_destroy)(struct engine_vm *vm);

	/* Index 0 is the bootstrap processor. The VM owns its vCPUs. Called on the setup thread. */
	int (*vcpu_create)(struct engine_vm *vm, unsigned index, const struct cpuid_table *cpuid,
			   struct engine_vcpu **out, struct error *err);
	/* Runs guest code until something in enum vcpu_exit. Only on the vCPU's own thread. */
	enum vcpu_exit (*vcpu_run)(struct engine_vcpu *vcpu, struct error *err);
	/*
	 * Make vcpu_run return soon, or at once when it is next called. Any thread; the vCPU's
	 * thread may get the signal VCPU_KICK_SIGNAL (vcpu.h) besides.
	 */
	void (*vcpu_kick)(struct engine_vcpu *vcpu);

	/*
	 * The neutral state (cpu_state.h). The vCPU must not run. Once it is set the guest is told
	 * by its paravirtual clock that it was stopped: its watchdogs do not bark.
	 */
	int (*vcpu_state_get)(struct engine_vcpu *vcpu, struct cpu_state *out, struct error *err);
	int (*vcpu_state_set)(struct engine_vcpu *vcpu, const struct cpu_state *in,
			      struct error *err);
	/* The rate of the guest's time stamp counters; 0: unknown. */
	uint32_t (*tsc_khz)(struct engine_vm *vm);
	/* Interrupt controllers, timer and clock. No vCPU may run. */
	int (*chips_state_get)(struct engine_vm *vm, struct chips_state *out, struct error *err);
	int (*chips_state_set)(struct engine_vm *vm, const struct chips_state *in,
			       struct error *err);

	/*
	 * Drive line `gsi` (0 to 23: the I/O APIC's inputs). Any thread; the caller may hold a
	 * device's or a bus's lock, so this calls nothing back.
	 */
	void (*irq_set)(struct engine_vm *vm, unsigned gsi, bool level);
	/* Any thread. */
	void (*msi_send)(struct engine_vm *vm, const struct msi_message *message);

	/*
	 * An MSI that is sent when an eventfd is signalled, from any thread and without a system
	 * call more. `message` NULL: signals are lost until one is set. The line owns its eventfd.
	 */
	int (*msi_line_create)(struct engine_vm *vm, struct msi_line **out, int *fd);
	int (*msi_line_set)(struct msi_line *line, const struct msi_message *message);
	void (*msi_line_destroy)(struct msi_line *line);

	/* Any thread. -EEXIST where the address has a doorbell already. */
	int (*doorbell_add)(struct engine_vm *vm, const struct doorbell *doorbell);
	void (*doorbell_remove)(struct engine_vm *vm, const struct doorbell *doorbell);

	/*
	 * Dirty pages of guest memory, guest writes only. fetch ORs the pages written since the
	 * last fetch into `bits` (a bit a page of range `range`, little end first) and starts
	 * afresh.
	 */
	int (*dirty_start)(struct engine_vm *vm, struct error *err);
	int (*dirty_fetch)(struct engine_vm *vm, unsigned range, uint64_t *bits, struct error *err);
	void (*dirty_stop)(struct engine_vm *vm);

	/* Exits by reason over all vCPUs since creation. At most `max` entries and the end mark. */
	void (*statistics)(struct engine_vm *vm, struct engine_counter *out, unsigned max);
};

#endif
