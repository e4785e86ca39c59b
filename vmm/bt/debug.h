/* SPDX-License-Identifier: MIT */
/*
 * Breakpoints: DR0 to DR3 as DR7 arms them (AMD64 vol. 2, 13.1; SDM vol. 3, 17.2). What of it costs
 * is asked for in engine_vcpu.checks only: an instruction in its step, a port in IN and OUT; and
 * pages with watched data are never in the soft TLB, so that each access to them comes by the walk.
 */
#ifndef VMM_BT_DEBUG_H
#define VMM_BT_DEBUG_H

#include "vmm/bt/bt_impl.h"

/* DR7, DR0 to DR3 or CR4.DE have changed. */
void debug_update(struct engine_vcpu *cpu);
/* #DB, a fault, if an instruction at the linear address is a breakpoint. */
void debug_code(struct engine_vcpu *cpu, uint64_t linear);
/* These only note what becomes #DB behind the instruction. */
void debug_data(struct engine_vcpu *cpu, uint64_t linear, unsigned size, bool write);
void debug_port(struct engine_vcpu *cpu, uint16_t port, unsigned size);
/* Is there a byte of watched data in the 4 KiB page? */
bool debug_in_page(const struct engine_vcpu *cpu, uint64_t linear);

#endif
