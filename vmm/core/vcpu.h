/* SPDX-License-Identifier: MIT */
/*
 * The vCPU threads of one VM. A set is made paused; resume and pause are for one controlling
 * thread. pause returns when every vCPU is out of guest code and of device handlers.
 */
#ifndef VMM_CORE_VCPU_H
#define VMM_CORE_VCPU_H

#include <signal.h>

#include "vmm/core/engine.h"

/* Interrupts a vCPU's thread in a system call. vcpu_set_create installs an empty handler. */
#define VCPU_KICK_SIGNAL SIGUSR1

/*
 * A vCPU stopped by itself (`why` is not VCPU_EXIT_KICKED). On the vCPU's thread, nothing held; the
 * vCPU stays where it is until the next pause and resume.
 */
typedef void vcpu_ended_fn(void *arg, unsigned index, enum vcpu_exit why, const struct error *err);

struct vcpu_set;

/* `vcpus`: created by `ops`, outlive the set; the array is copied. */
int vcpu_set_create(const struct engine_ops *ops, struct engine_vcpu *const *vcpus, unsigned count,
		    vcpu_ended_fn *ended, void *arg, struct vcpu_set **out, struct error *err);
/* Stops and joins the threads. */
void vcpu_set_destroy(struct vcpu_set *set);
void vcpu_set_pause(struct vcpu_set *set);
void vcpu_set_resume(struct vcpu_set *set);

#endif
