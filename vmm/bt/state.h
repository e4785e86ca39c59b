/* SPDX-License-Identifier: MIT */
/* A vCPU's state from and to the neutral one (cpu_state.h). The vCPU must not run. */
#ifndef VMM_BT_STATE_H
#define VMM_BT_STATE_H

#include "vmm/bt/bt_impl.h"

/* 0, or -EINVAL for a state that no processor is in, with the reason, and nothing has changed. */
int bt_state_set(struct engine_vcpu *cpu, const struct cpu_state *in, struct error *err);
void bt_state_get(const struct engine_vcpu *cpu, struct cpu_state *out);

/* As at power-on: SDM vol. 3, table 10-1. Memory and CPUID stay. */
void bt_state_reset(struct engine_vcpu *cpu);

#endif
