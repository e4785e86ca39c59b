/* SPDX-License-Identifier: MIT */
/*
 * What KVM itself counts of a vCPU, exits that it serves without us among them: the binary
 * statistics of Linux 5.14 and later (Documentation/virt/kvm/api.rst, 4.133). Where the kernel has
 * none, or not that one, there is nothing of it. A vCPU has a descriptor for them from its start:
 * to ask for one waits until the vCPU leaves the guest, and one that is halted need never do so.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/checked.h"
#include "vmm/kvm/kvm_impl.h"

#define NAME_MAX_SIZE 256u
#define COUNTS_MAX    1024u

/* The kernel's names, and ours. */
static const char *const names[KVM_KERNEL_COUNTS][2] = {
	{"exits", "exits"},
	{"halt_exits", "halts"},
	{"irq_exits", "host_interrupts"},
	{"hypercalls", "hypercalls"},
};

/* Adds to each of `out` that a descriptor names. */
static void add(int fd, const struct kvm_stats_header *header, const struct kvm_stats_desc *desc,
		struct engine_counter *out)
{
	uint64_t value;

	for (unsigned i = 0; i < KVM_KERNEL_COUNTS; i++) {
		if (strncmp(desc->name, names[i][0], header->name_size) != 0)
			continue;
		if (pread(fd, &value, sizeof(value), header->data_offset + desc->offset) !=
		    (ssize_t)sizeof(value))
			continue;
		out[i].name = names[i][1];
		out[i].count += value;
	}
}

static void read_all(int fd, struct engine_counter *out)
{
	struct kvm_stats_header header;
	struct kvm_stats_desc *desc;
	size_t size;

	if (pread(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header) ||
	    header.name_size == 0 || header.name_size > NAME_MAX_SIZE ||
	    header.num_desc > COUNTS_MAX)
		return;
	size = sizeof(*desc) + header.name_size;
	desc = malloc(size);
	for (unsigned i = 0; desc && i < header.num_desc; i++)
		if (pread(fd, desc, size, (off_t)(header.desc_offset + i * size)) == (ssize_t)size)
			add(fd, &header, desc, out);
	free(desc);
}

unsigned kvm_kernel_counts(struct engine_vm *vm, struct engine_counter *out, unsigned max)
{
	struct engine_counter all[KVM_KERNEL_COUNTS] = {{0}};
	unsigned count = 0;

	for (unsigned i = 0; i < ENGINE_VCPUS_MAX; i++)
		if (vm->vcpu[i] && vm->vcpu[i]->counts_fd >= 0)
			read_all(vm->vcpu[i]->counts_fd, all);
	for (unsigned i = 0; i < KVM_KERNEL_COUNTS && count < max; i++)
		if (all[i].name)
			out[count++] = all[i];
	return count;
}
