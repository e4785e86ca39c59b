/* SPDX-License-Identifier: MIT */
/*
 * Engine "kvm": hardware-assisted virtualization through /dev/kvm, with the kernel's interrupt
 * controllers and interval timer. Linux 5.10 or later. Source: Documentation/virt/kvm/api.rst.
 */
#ifndef VMM_KVM_KVM_H
#define VMM_KVM_KVM_H

#include "vmm/core/engine.h"

extern const struct engine_ops kvm_engine_ops;

#endif
