/* SPDX-License-Identifier: MIT */
/* A VM of engine bt, as its files share it. */
#ifndef VMM_BT_VM_IMPL_H
#define VMM_BT_VM_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "vmm/core/engine.h"

/* Where translated code is entered, and where it goes when it leaves: as it is executed. */
struct world_code {
	const uint8_t *enter;              /* a function of no arguments; GS is set */
	const uint8_t *lookup, *interpret; /* exit_rip is in T (lower.h) */
	const uint8_t *second;          /* likewise: ahead of that, the second way of known code */
	const uint8_t *attention;       /* so it is here */
	const uint8_t *vectors, *x87;   /* to load them: exit_rip is in T, resume is stored */
	const uint8_t *fill, *insn;     /* exit_rip is stored */
	const uint8_t *fault;           /* likewise: the interpreter finds out what it is */
	const uint8_t *back, *back_end; /* to world.back_rip, with world.back_rsp */
	bool has_smap;                  /* the guest's processors have STAC and CLAC */
};

#define DOORBELLS_MAX 1024u

struct engine_vm {
	struct vm_config config;
	struct engine_vcpu *vcpu[ENGINE_VCPUS_MAX];
	struct apic_bus *apics;
	struct ioapic *ioapic;
	struct i8259 *pic;
	struct i8254 *pit;
	uint64_t made_ns, made_tsc; /* CLOCK_MONOTONIC and the TSC at one moment */
	_Atomic uint32_t tsc_khz;   /* 0: not measured yet (vm_tsc_khz) */
	uint64_t tsc_offset;        /* of the first vCPU, when its state was set last */
	uint64_t clock_origin_ns;   /* CLOCK_MONOTONIC at which the paravirtual clock was 0 */

	/* irq.c: eventfds that become messages, on a thread of their own. */
	int epoll_fd, stop_fd;
	pthread_t irq_thread;
	bool irq_started;
	pthread_mutex_t line_lock; /* guards the list; held while a message is sent */
	struct msi_line *lines;

	pthread_rwlock_t doorbell_lock; /* guards the two below */
	unsigned doorbell_count;
	struct doorbell doorbell[DOORBELLS_MAX];

	/* Pages written, a bit each, by range; NULL while nobody asks. */
	_Atomic(_Atomic uint64_t *) dirty[MEMORY_RANGES_MAX];
	_Atomic uint64_t *dirty_bits[MEMORY_RANGES_MAX]; /* where they are, once there were any */

	/* Translated code; NULL: all is interpreted. */
	struct code_cache *code;
	struct world_code world_code;
	struct windows *windows; /* NULL: none */
	int sample_fd;           /* irq.c: a timer, while vCPUs run */
	_Atomic bool sampling;
};

/* vm.c: how fast the TSC counts. The first to ask may wait for some milliseconds. Any thread. */
uint32_t vm_tsc_khz(struct engine_vm *vm);

/* vm.c: all vCPUs forget what they know about addresses, soon. */
void bt_flush_all(struct engine_vm *vm);

#endif
