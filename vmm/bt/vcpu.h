/* SPDX-License-Identifier: MIT */
/* Engine bt's parts beyond the interpreter: vCPUs, interrupts, ports and devices. */
#ifndef VMM_BT_VCPU_H
#define VMM_BT_VCPU_H

#include "vmm/bt/bt_impl.h"

/* vcpu.c */
int bt_vcpu_create(struct engine_vm *vm, unsigned index, const struct cpuid_table *cpuid,
		   struct engine_vcpu **out, struct error *err);
void bt_vcpu_destroy(struct engine_vcpu *cpu);
enum vcpu_exit bt_vcpu_run(struct engine_vcpu *cpu, struct error *err);
void bt_vcpu_kick(struct engine_vcpu *cpu);
/* Any thread: the run loop looks at what is pending, awake or not. */
void bt_vcpu_wake(struct engine_vcpu *cpu);
/* INIT and SIPI that came. On its thread, or while it does not run. */
void bt_vcpu_take_requests(struct engine_vcpu *cpu);

/* msr.c: IA32_APIC_BASE has changed. */
void cpu_lapic_moved(struct engine_vcpu *cpu);

/* irq.c */
int bt_irq_start(struct engine_vm *vm);
void bt_irq_stop(struct engine_vm *vm);
/* A timer that wakes the vCPU: at a time of CLOCK_MONOTONIC, 0 never. On its own thread. */
int bt_timer_create(struct engine_vcpu *cpu);
void bt_timer_set(struct engine_vcpu *cpu, uint64_t deadline_ns);
/* Some vCPU runs translated code: world_sample is called now and then, while any does. */
void bt_sampling_start(struct engine_vm *vm);
void bt_msi_send(struct engine_vm *vm, const struct msi_message *message);
int bt_msi_line_create(struct engine_vm *vm, struct msi_line **out, int *fd);
int bt_msi_line_set(struct msi_line *line, const struct msi_message *message);
void bt_msi_line_destroy(struct msi_line *line);
int bt_doorbell_add(struct engine_vm *vm, const struct doorbell *doorbell);
void bt_doorbell_remove(struct engine_vm *vm, const struct doorbell *doorbell);
/* A write that is a doorbell's: it rang. */
bool bt_doorbell_ring(struct engine_vm *vm, bool mmio, uint64_t address, unsigned size);

/* cpuid.c */
int bt_cpuid_supported(struct cpuid_table *out, struct error *err);
/* What is this engine's own, whatever the CPU model. */
void bt_cpuid_own(struct cpuid_table *table);

/* kvmclock.c: the paravirtual MSRs; -EINVAL where `index` is none or they are not shown. */
int kvmclock_msr_read(struct engine_vcpu *cpu, uint32_t index, uint64_t *value);
int kvmclock_msr_write(struct engine_vcpu *cpu, uint32_t index, uint64_t value);
/* Its next look at the clock shows it that it was stopped. */
void kvmclock_tell_stop(struct engine_vcpu *cpu);
uint64_t kvmclock_ns(const struct engine_vm *vm);

#endif
