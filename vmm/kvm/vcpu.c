/* SPDX-License-Identifier: MIT */
/*
 * A vCPU of KVM: KVM_RUN and its exits, one handler each in a table. Port and memory-mapped I/O go
 * to the buses; the answer to a read reaches the guest at the next KVM_RUN.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/base/bytes.h"
#include "vmm/base/checked.h"
#include "vmm/kvm/kvm_impl.h"

int kvm_vcpu_create(struct engine_vm *vm, unsigned index, const struct cpuid_table *cpuid,
		    struct engine_vcpu **out, struct error *err)
{
	struct engine_vcpu *vcpu = calloc(1, sizeof(*vcpu));
	void *run;
	int ret;

	if (!vcpu)
		return error_set(err, -ENOMEM, NULL, "vCPU %u: out of memory", index);
	vcpu->vm = vm;
	vcpu->index = index;
	vcpu->counts_fd = -1;
	vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, index);
	if (vcpu->fd < 0) {
		ret = kvm_failed(err, "KVM_CREATE_VCPU", "ask for fewer with -c");
		goto fail;
	}
	run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (run == MAP_FAILED) {
		ret = kvm_failed(err, "mmap of a vCPU", NULL);
		goto fail;
	}
	vcpu->run = run;
	vcpu->counts_fd = ioctl(vcpu->fd, KVM_GET_STATS_FD, NULL); /* not there before Linux 5.14 */
	ret = kvm_cpuid_set(vcpu, cpuid, err);
	if (ret)
		goto fail;
	vm->vcpu[index] = vcpu;
	*out = vcpu;
	return 0;
fail:
	kvm_vcpu_destroy(vcpu);
	return ret;
}

void kvm_vcpu_destroy(struct engine_vcpu *vcpu)
{
	if (!vcpu)
		return;
	if (vcpu->run)
		munmap(vcpu->run, vcpu->vm->run_size);
	if (vcpu->counts_fd >= 0)
		close(vcpu->counts_fd);
	if (vcpu->fd >= 0)
		close(vcpu->fd);
	free(vcpu);
}

void kvm_vcpu_kick(struct engine_vcpu *vcpu)
{
	/* The kernel reads it on entry: an exit is certain even if the signal came too early. */
	__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_RELAXED);
}

/* An exit's handler: go on (KICKED is not asked for) or come back to the caller. */
enum exit_action { EXIT_GO_ON, EXIT_SHUTDOWN, EXIT_FAILED };

static enum exit_action exit_io(struct engine_vcpu *vcpu, struct error *err)
{
	struct kvm_run *run = vcpu->run;
	struct bus *pio = vcpu->vm->config.pio;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	unsigned size = run->io.size;

	(void)err;
	for (uint32_t i = 0; i < run->io.count; i++, data += size) {
		if (run->io.direction == KVM_EXIT_IO_OUT)
			bus_write(pio, run->io.port, size, le_get(data, size));
		else
			le_put(data, size, bus_read(pio, run->io.port, size));
	}
	return EXIT_GO_ON;
}

/* The widest access that `length` bytes allow: 8, 4, 2 or 1. */
static unsigned access_size(unsigned length)
{
	unsigned size = 8;

	while (size > length)
		size /= 2;
	return size;
}

static enum exit_action exit_mmio(struct engine_vcpu *vcpu, struct error *err)
{
	struct kvm_run *run = vcpu->run;
	struct bus *mmio = vcpu->vm->config.mmio;
	unsigned size;

	(void)err;
	/* An access that crosses a page comes in pieces of any length up to 8. */
	for (unsigned at = 0; at < run->mmio.len; at += size) {
		uint64_t address = run->mmio.phys_addr + at;

		size = access_size(run->mmio.len - at);
		if (run->mmio.is_write)
			bus_write(mmio, address, size, le_get(run->mmio.data + at, size));
		else
			le_put(run->mmio.data + at, size, bus_read(mmio, address, size));
	}
	return EXIT_GO_ON;
}

static enum exit_action exit_interrupted(struct engine_vcpu *vcpu, struct error *err)
{
	(void)vcpu;
	(void)err;
	return EXIT_GO_ON;
}

static enum exit_action exit_shutdown(struct engine_vcpu *vcpu, struct error *err)
{
	(void)vcpu;
	(void)err;
	return EXIT_SHUTDOWN;
}

static uint64_t vcpu_rip(struct engine_vcpu *vcpu)
{
	struct kvm_regs regs;

	return ioctl(vcpu->fd, KVM_GET_REGS, &regs) < 0 ? 0 : regs.rip;
}

static enum exit_action exit_internal(struct engine_vcpu *vcpu, struct error *err)
{
	static const char *const names[] = {"", "an instruction that KVM cannot emulate",
					    "simultaneous exceptions",
					    "an exit during event delivery"};
	uint32_t suberror = vcpu->run->internal.suberror;

	error_set(err, -EIO, "see dmesg",
		  "vCPU %u at rip 0x%llx: KVM gave up on %s (internal error %u)", vcpu->index,
		  (unsigned long long)vcpu_rip(vcpu),
		  suberror < ARRAY_SIZE(names) ? names[suberror] : "the guest", suberror);
	return EXIT_FAILED;
}

static enum exit_action exit_fail_entry(struct engine_vcpu *vcpu, struct error *err)
{
	error_set(err, -EIO, "see dmesg",
		  "vCPU %u at rip 0x%llx: the CPU refused to enter the guest (reason 0x%llx)",
		  vcpu->index, (unsigned long long)vcpu_rip(vcpu),
		  (unsigned long long)vcpu->run->fail_entry.hardware_entry_failure_reason);
	return EXIT_FAILED;
}

static enum exit_action exit_unknown(struct engine_vcpu *vcpu, struct error *err)
{
	error_set(err, -EIO, "use an older kernel or report a bug",
		  "vCPU %u: KVM exit %u is not known to lodge", vcpu->index,
		  vcpu->run->exit_reason);
	return EXIT_FAILED;
}

static const struct exit_kind {
	uint32_t reason;
	enum kvm_exit_counter counter;
	enum exit_action (*handle)(struct engine_vcpu *vcpu, struct error *err);
} exit_kinds[] = {
	{KVM_EXIT_MMIO, COUNT_MMIO, exit_mmio},
	{KVM_EXIT_IO, COUNT_IO, exit_io},
	{KVM_EXIT_INTR, COUNT_INTERRUPTED, exit_interrupted},
	{KVM_EXIT_SHUTDOWN, COUNT_SHUTDOWN, exit_shutdown},
	{KVM_EXIT_INTERNAL_ERROR, COUNT_OTHER, exit_internal},
	{KVM_EXIT_FAIL_ENTRY, COUNT_OTHER, exit_fail_entry},
};

static const struct exit_kind unknown_kind = {0, COUNT_OTHER, exit_unknown};

static const char *const counter_names[COUNT_EXITS] = {
	[COUNT_IO] = "io",
	[COUNT_MMIO] = "mmio",
	[COUNT_INTERRUPTED] = "interrupted",
	[COUNT_SHUTDOWN] = "shutdown",
	[COUNT_OTHER] = "other",
};

static const struct exit_kind *exit_find(uint32_t reason)
{
	for (unsigned i = 0; i < ARRAY_SIZE(exit_kinds); i++)
		if (exit_kinds[i].reason == reason)
			return &exit_kinds[i];
	return &unknown_kind;
}

static void exit_count(struct engine_vcpu *vcpu, enum kvm_exit_counter counter)
{
	/* One writer: a plain load and store that readers on other threads see whole. */
	uint64_t count = atomic_load_explicit(&vcpu->exits[counter], memory_order_relaxed);

	atomic_store_explicit(&vcpu->exits[counter], count + 1, memory_order_relaxed);
}

enum vcpu_exit kvm_vcpu_run(struct engine_vcpu *vcpu, struct error *err)
{
	struct kvm_run *run = vcpu->run;

	for (;;) {
		const struct exit_kind *kind;

		if (ioctl(vcpu->fd, KVM_RUN, 0) < 0) {
			if (errno == EAGAIN)
				continue; /* an AP that got its INIT */
			if (errno != EINTR) {
				kvm_failed(err, "KVM_RUN", "see dmesg");
				return VCPU_EXIT_FAILED;
			}
			exit_count(vcpu, COUNT_INTERRUPTED);
			if (!__atomic_exchange_n(&run->immediate_exit, 0, __ATOMIC_RELAXED))
				continue; /* a debugger's signal, say */
			return VCPU_EXIT_KICKED;
		}
		kind = exit_find(run->exit_reason);
		exit_count(vcpu, kind->counter);
		switch (kind->handle(vcpu, err)) {
		case EXIT_GO_ON:
			break;
		case EXIT_SHUTDOWN:
			return VCPU_EXIT_SHUTDOWN;
		case EXIT_FAILED:
			return VCPU_EXIT_FAILED;
		}
	}
}

void kvm_statistics(struct engine_vm *vm, struct engine_counter *out, unsigned max)
{
	unsigned count = max < COUNT_EXITS ? max : COUNT_EXITS;

	for (unsigned c = 0; c < count; c++) {
		out[c] = (struct engine_counter){.name = counter_names[c]};
		for (unsigned i = 0; i < ENGINE_VCPUS_MAX; i++)
			if (vm->vcpu[i])
				out[c].count += atomic_load_explicit(&vm->vcpu[i]->exits[c],
								     memory_order_relaxed);
	}
	count += kvm_kernel_counts(vm, out + count, max - count);
	out[count].name = NULL;
}
