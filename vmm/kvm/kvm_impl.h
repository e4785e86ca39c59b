/* SPDX-License-Identifier: MIT */
/* What the files of engine kvm share. */
#ifndef VMM_KVM_KVM_IMPL_H
#define VMM_KVM_KVM_IMPL_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>

#include "vmm/base/log.h"
#include "vmm/core/engine.h"

#define KVM_MSI_LINES_MAX 1024

/* Exits that are counted; the last one is all others. */
enum kvm_exit_counter {
	COUNT_IO,
	COUNT_MMIO,
	COUNT_INTERRUPTED,
	COUNT_SHUTDOWN,
	COUNT_OTHER,
	COUNT_EXITS,
};

struct engine_vcpu {
	struct engine_vm *vm;
	unsigned index;
	int fd;
	int counts_fd;       /* see kernel_counts.c; -1: none */
	struct kvm_run *run; /* shared with the kernel */
	_Atomic uint64_t exits[COUNT_EXITS];
};

struct msi_line {
	struct engine_vm *vm;
	unsigned gsi;
	int fd;
	bool routed;
	struct msi_message message;
};

struct engine_vm {
	int kvm_fd;
	int fd;
	struct vm_config config;
	size_t run_size;
	struct engine_vcpu *vcpu[ENGINE_VCPUS_MAX];
	struct ratelimit limit;     /* of log lines that the guest can cause */
	pthread_mutex_t route_lock; /* guards line[] and the kernel's routing table */
	struct msi_line *line[KVM_MSI_LINES_MAX];
};

/* Open /dev/kvm and see that it has what the engine needs. The descriptor, or -errno. */
int kvm_open(struct error *err);

/* An ioctl failed with errno: its name, the cause and `remedy` (may be NULL). Returns -errno. */
int kvm_failed(struct error *err, const char *what, const char *remedy);

/* cpuid.c */
int kvm_cpuid_supported(struct cpuid_table *out, struct error *err);
int kvm_cpuid_set(struct engine_vcpu *vcpu, const struct cpuid_table *table, struct error *err);

/* probe.c */
int kvm_probe(bool thorough, struct error *why);

/* irq.c */
void kvm_irq_set(struct engine_vm *vm, unsigned gsi, bool level);
void kvm_msi_send(struct engine_vm *vm, const struct msi_message *message);
int kvm_msi_line_create(struct engine_vm *vm, struct msi_line **out, int *fd);
int kvm_msi_line_set(struct msi_line *line, const struct msi_message *message);
void kvm_msi_line_destroy(struct msi_line *line);
int kvm_doorbell_add(struct engine_vm *vm, const struct doorbell *doorbell);
void kvm_doorbell_remove(struct engine_vm *vm, const struct doorbell *doorbell);

/* vcpu.c */
int kvm_vcpu_create(struct engine_vm *vm, unsigned index, const struct cpuid_table *cpuid,
		    struct engine_vcpu **out, struct error *err);
void kvm_vcpu_destroy(struct engine_vcpu *vcpu);
enum vcpu_exit kvm_vcpu_run(struct engine_vcpu *vcpu, struct error *err);
void kvm_vcpu_kick(struct engine_vcpu *vcpu);
void kvm_statistics(struct engine_vm *vm, struct engine_counter *out, unsigned max);

/* vcpu_state.c, chips_state.c */
int kvm_vcpu_state_get(struct engine_vcpu *vcpu, struct cpu_state *out, struct error *err);
int kvm_vcpu_state_set(struct engine_vcpu *vcpu, const struct cpu_state *in, struct error *err);
uint32_t kvm_tsc_khz(struct engine_vm *vm);
int kvm_chips_state_get(struct engine_vm *vm, struct chips_state *out, struct error *err);
int kvm_chips_state_set(struct engine_vm *vm, const struct chips_state *in, struct error *err);

/* kernel_counts.c: what KVM counts itself; how many were added. */
#define KVM_KERNEL_COUNTS 4u
unsigned kvm_kernel_counts(struct engine_vm *vm, struct engine_counter *out, unsigned max);

#endif
