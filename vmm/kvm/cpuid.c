/* SPDX-License-Identifier: MIT */
/* CPUID leaves to and from KVM. */
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/kvm/kvm_impl.h"

#define ECX_TSC_DEADLINE (1u << 24)
#define ECX_HYPERVISOR   (1u << 31)

static struct kvm_cpuid2 *cpuid_alloc(void)
{
	struct kvm_cpuid2 *cpuid =
		calloc(1, sizeof(*cpuid) + CPUID_LEAVES_MAX * sizeof(cpuid->entries[0]));

	if (cpuid)
		cpuid->nent = CPUID_LEAVES_MAX;
	return cpuid;
}

/* KVM can do these but leaves it to us to say so. */
static void add_unlisted(int kvm_fd, struct cpuid_table *table)
{
	struct cpuid_leaf *leaf = cpuid_find(table, 1, 0);

	if (!leaf)
		return;
	leaf->reg[CPUID_ECX] |= ECX_HYPERVISOR;
	if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0)
		leaf->reg[CPUID_ECX] |= ECX_TSC_DEADLINE;
}

static int supported_read(int kvm_fd, struct kvm_cpuid2 *cpuid, struct cpuid_table *out,
			  struct error *err)
{
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) < 0)
		return kvm_failed(err, "KVM_GET_SUPPORTED_CPUID", NULL);
	out->count = cpuid->nent;
	for (unsigned i = 0; i < cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		out->leaf[i] = (struct cpuid_leaf){
			.function = e->function,
			.index = e->index,
			.indexed = e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
			.reg = {e->eax, e->ebx, e->ecx, e->edx},
		};
	}
	add_unlisted(kvm_fd, out);
	return 0;
}

int kvm_cpuid_supported(struct cpuid_table *out, struct error *err)
{
	struct kvm_cpuid2 *cpuid = cpuid_alloc();
	int fd, ret = -ENOMEM;

	if (!cpuid)
		return error_set(err, ret, NULL, "CPUID table: out of memory");
	fd = kvm_open(err);
	ret = fd;
	if (fd >= 0) {
		ret = supported_read(fd, cpuid, out, err);
		close(fd);
	}
	free(cpuid);
	return ret;
}

int kvm_cpuid_set(struct engine_vcpu *vcpu, const struct cpuid_table *table, struct error *err)
{
	struct cpuid_table own = *table;
	struct kvm_cpuid2 *cpuid = cpuid_alloc();
	int ret = 0;

	if (!cpuid)
		return error_set(err, -ENOMEM, NULL, "CPUID table: out of memory");
	cpu_model_place(&own, vcpu->index, vcpu->vm->config.vcpus);
	cpuid->nent = own.count;
	for (unsigned i = 0; i < own.count; i++) {
		const struct cpuid_leaf *leaf = &own.leaf[i];

		cpuid->entries[i] = (struct kvm_cpuid_entry2){
			.function = leaf->function,
			.index = leaf->index,
			.flags = leaf->indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
			.eax = leaf->reg[CPUID_EAX],
			.ebx = leaf->reg[CPUID_EBX],
			.ecx = leaf->reg[CPUID_ECX],
			.edx = leaf->reg[CPUID_EDX],
		};
	}
	if (ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid) < 0)
		ret = kvm_failed(err, "KVM_SET_CPUID2", "use --cpu host");
	free(cpuid);
	return ret;
}
