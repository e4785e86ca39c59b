/* SPDX-License-Identifier: MIT */
/* What system instructions act upon: control registers, MSRs, CPUID, ports. */
#ifndef VMM_BT_SYSTEM_H
#define VMM_BT_SYSTEM_H

#include "vmm/bt/bt_impl.h"

#define CR0_ET (1u << 4)
#define CR0_NW (1u << 29)
#define CR0_CD (1u << 30)

#define CR4_MCE (1u << 6)
#define CR4_PCE (1u << 8)

/* Shadows: cpu_state.h, struct cpu_events. */
#define CPU_SHADOW_MOV_SS 1u
#define CPU_SHADOW_STI    2u

#define DR6_ONES 0xffff0ff0ull
#define DR6_BD   (1u << 13)
#define DR6_BS   (1u << 14)
#define DR6_BT   (1u << 15)
#define DR7_ONES 0x400ull
#define DR7_GD   (1u << 13)

/* control_registers.c: 0, or -EINVAL, which is #GP(0), and nothing has changed. */
int cpu_set_cr0(struct engine_vcpu *cpu, uint64_t value);
int cpu_set_cr3(struct engine_vcpu *cpu, uint64_t value);
int cpu_set_cr4(struct engine_vcpu *cpu, uint64_t value);
int cpu_set_efer(struct engine_vcpu *cpu, uint64_t value);
int cpu_set_xcr0(struct engine_vcpu *cpu, uint64_t value);
uint64_t cpu_get_dr(const struct engine_vcpu *cpu, unsigned number);
int cpu_set_dr(struct engine_vcpu *cpu, unsigned number, uint64_t value);

/* msr.c: likewise. */
int msr_read(struct engine_vcpu *cpu, uint32_t index, uint64_t *value);
int msr_write(struct engine_vcpu *cpu, uint32_t index, uint64_t value);

/* CR8 is the local APIC's; a vCPU without one keeps it itself. */
uint64_t cpu_cr8(const struct engine_vcpu *cpu);
void cpu_cr8_set(struct engine_vcpu *cpu, uint64_t value);

/* Does CPUID show the guest this feature? */
bool cpu_has(const struct engine_vcpu *cpu, uint32_t function, enum cpuid_register reg,
	     unsigned bit);

/* The guest's time-stamp counter. */
uint64_t cpu_tsc(const struct engine_vcpu *cpu);
/* From a saved state. TSC_ADJUST is of the state, too, and stays. The vCPU does not run. */
void cpu_tsc_restore(struct engine_vcpu *cpu, uint64_t value);

#endif
