/* SPDX-License-Identifier: MIT */
/*
 * A KVM virtual machine: the device file, memory slots, the dirty log, and the table of engine ops.
 * One memory slot for each range of guest memory, numbered alike.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/base/checked.h"
#include "vmm/base/log.h"
#include "vmm/kvm/kvm.h"
#include "vmm/kvm/kvm_impl.h"

/* Intel without unrestricted guest wants three pages for a TSS and one for an identity map. */
#define IDENTITY_MAP_ADDRESS 0xfffbc000ull
#define TSS_ADDRESS          0xfffbd000ull

static const struct {
	int cap;
	const char *name;
} required[] = {
	{KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
	{KVM_CAP_PIT2, "KVM_CAP_PIT2"},
	{KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
	{KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING"},
	{KVM_CAP_IRQFD, "KVM_CAP_IRQFD"},
	{KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD"},
	{KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI"},
	{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
	{KVM_CAP_XSAVE, "KVM_CAP_XSAVE"},
	{KVM_CAP_XCRS, "KVM_CAP_XCRS"},
	{KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS"},
	{KVM_CAP_ADJUST_CLOCK, "KVM_CAP_ADJUST_CLOCK"},
	{KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
};

int kvm_failed(struct error *err, const char *what, const char *remedy)
{
	int code = -errno;

	return error_set(err, code, remedy, "/dev/kvm: %s: %s", what, error_name(code));
}

static int open_failed(struct error *err)
{
	static const struct {
		int code;
		const char *cause, *remedy;
	} causes[] = {
		{ENOENT, "there is no such device",
		 "load kvm-intel or kvm-amd, or switch virtualization on in the firmware"},
		{ENODEV, "the kernel has no KVM for this CPU",
		 "load kvm-intel or kvm-amd, or switch virtualization on in the firmware"},
		{EACCES, "permission denied",
		 "join its group: sudo adduser $USER kvm, then log in anew"},
		{EPERM, "permission denied",
		 "let this process use the device (container settings)"},
		{EBUSY, "in use by another hypervisor", "stop that hypervisor"},
	};
	int code = errno;

	for (unsigned i = 0; i < ARRAY_SIZE(causes); i++)
		if (causes[i].code == code)
			return error_set(err, -code, causes[i].remedy, "/dev/kvm: %s",
					 causes[i].cause);
	return error_set(err, -code, NULL, "/dev/kvm: %s", error_name(-code));
}

int kvm_open(struct error *err)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int version;

	if (fd < 0)
		return open_failed(err);
	version = ioctl(fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION) {
		close(fd);
		return error_set(err, -ENOTSUP, "use a Linux kernel's own KVM",
				 "/dev/kvm: speaks API version %d, not %d", version,
				 KVM_API_VERSION);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(required); i++) {
		if (ioctl(fd, KVM_CHECK_EXTENSION, required[i].cap) > 0)
			continue;
		close(fd);
		return error_set(err, -ENOTSUP, "use Linux 5.10 or later", "/dev/kvm: lacks %s",
				 required[i].name);
	}
	return fd;
}

static int slot_set(struct engine_vm *vm, unsigned index, bool log, struct error *err)
{
	const struct memory_range *range = &vm->config.memory->range[index];
	struct kvm_userspace_memory_region region = {
		.slot = index,
		.flags = log ? KVM_MEM_LOG_DIRTY_PAGES : 0,
		.guest_phys_addr = range->base,
		.memory_size = range->size,
		.userspace_addr = (uintptr_t)range->host,
	};

	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return kvm_failed(err, "KVM_SET_USER_MEMORY_REGION", "ask for less with -m");
	return 0;
}

static int vm_setup(struct engine_vm *vm, struct error *err)
{
	struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
	uint64_t identity = IDENTITY_MAP_ADDRESS;
	int size, ret;

	size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < 0)
		return kvm_failed(err, "KVM_GET_VCPU_MMAP_SIZE", NULL);
	vm->run_size = (size_t)size;
	if (ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0)
		return kvm_failed(err, "KVM_SET_IDENTITY_MAP_ADDR", NULL);
	if (ioctl(vm->fd, KVM_SET_TSS_ADDR, TSS_ADDRESS) < 0)
		return kvm_failed(err, "KVM_SET_TSS_ADDR", NULL);
	if (ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return kvm_failed(err, "KVM_CREATE_IRQCHIP", NULL);
	if (ioctl(vm->fd, KVM_CREATE_PIT2, &pit) < 0)
		return kvm_failed(err, "KVM_CREATE_PIT2", NULL);
	for (unsigned i = 0; i < vm->config.memory->count; i++) {
		ret = slot_set(vm, i, false, err);
		if (ret)
			return ret;
	}
	return 0;
}

static void kvm_vm_destroy(struct engine_vm *vm)
{
	if (!vm)
		return;
	for (unsigned i = 0; i < ENGINE_VCPUS_MAX; i++)
		kvm_vcpu_destroy(vm->vcpu[i]);
	if (vm->fd >= 0)
		close(vm->fd);
	if (vm->kvm_fd >= 0)
		close(vm->kvm_fd);
	pthread_mutex_destroy(&vm->route_lock);
	free(vm);
}

static int vcpus_check(int kvm_fd, unsigned vcpus, struct error *err)
{
	int max = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);

	if (max > 0 && vcpus > (unsigned)max)
		return error_set(err, -EINVAL, "ask for fewer with -c",
				 "%u vCPUs: KVM on this host allows %d", vcpus, max);
	return 0;
}

static int kvm_vm_create(const struct vm_config *config, struct engine_vm **out, struct error *err)
{
	struct engine_vm *vm = calloc(1, sizeof(*vm));
	int ret;

	if (!vm)
		return error_set(err, -ENOMEM, NULL, "virtual machine: out of memory");
	pthread_mutex_init(&vm->route_lock, NULL);
	vm->config = *config;
	vm->fd = -1;
	vm->kvm_fd = kvm_open(err);
	ret = vm->kvm_fd;
	if (ret < 0)
		goto fail;
	ret = vcpus_check(vm->kvm_fd, config->vcpus, err);
	if (ret)
		goto fail;
	/* Interrupted by a signal, KVM_CREATE_VM gives up: it is the caller who asks again. */
	do {
		vm->fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	} while (vm->fd < 0 && errno == EINTR);
	if (vm->fd < 0) {
		ret = kvm_failed(err, "KVM_CREATE_VM",
				 "see dmesg; another hypervisor may hold the CPU");
		goto fail;
	}
	ret = vm_setup(vm, err);
	if (ret)
		goto fail;
	*out = vm;
	return 0;
fail:
	kvm_vm_destroy(vm);
	return ret;
}

static int kvm_dirty_start(struct engine_vm *vm, struct error *err)
{
	/* Protect again only what was fetched: cheaper for a big guest. Old kernels lack it. */
	struct kvm_enable_cap manual = {
		.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
		.args[0] = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE,
	};
	int ret = 0;

	if (ioctl(vm->fd, KVM_ENABLE_CAP, &manual) < 0)
		return kvm_failed(err, "KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2",
				  "use Linux 5.10 or later");
	for (unsigned i = 0; i < vm->config.memory->count && ret == 0; i++)
		ret = slot_set(vm, i, true, err);
	return ret;
}

static void kvm_dirty_stop(struct engine_vm *vm)
{
	struct error err = {0};

	for (unsigned i = 0; i < vm->config.memory->count; i++)
		if (slot_set(vm, i, false, &err))
			log_error("%s", err.what);
}

static int kvm_dirty_fetch(struct engine_vm *vm, unsigned range, uint64_t *bits, struct error *err)
{
	uint64_t pages = vm->config.memory->range[range].size / MEMORY_PAGE_SIZE;
	size_t words = (size_t)align_up(pages, 64) / 64;
	uint64_t *new = calloc(words, sizeof(*new));
	struct kvm_dirty_log log = {.slot = range, .dirty_bitmap = new};
	struct kvm_clear_dirty_log clear = {
		.slot = range,
		.num_pages = (uint32_t)pages,
		.dirty_bitmap = new,
	};
	int ret = 0;

	if (!new)
		return error_set(err, -ENOMEM, NULL, "dirty log: out of memory");
	if (ioctl(vm->fd, KVM_GET_DIRTY_LOG, &log) < 0)
		ret = kvm_failed(err, "KVM_GET_DIRTY_LOG", NULL);
	else if (ioctl(vm->fd, KVM_CLEAR_DIRTY_LOG, &clear) < 0)
		ret = kvm_failed(err, "KVM_CLEAR_DIRTY_LOG", NULL);
	for (size_t i = 0; ret == 0 && i < words; i++)
		bits[i] |= new[i];
	free(new);
	return ret;
}

const struct engine_ops kvm_engine_ops = {
	.name = "kvm",
	.summary = "hardware-assisted virtualization through /dev/kvm",
	.probe = kvm_probe,
	.cpuid_supported = kvm_cpuid_supported,
	.vm_create = kvm_vm_create,
	.vm_destroy = kvm_vm_destroy,
	.vcpu_create = kvm_vcpu_create,
	.vcpu_run = kvm_vcpu_run,
	.vcpu_kick = kvm_vcpu_kick,
	.vcpu_state_get = kvm_vcpu_state_get,
	.vcpu_state_set = kvm_vcpu_state_set,
	.tsc_khz = kvm_tsc_khz,
	.chips_state_get = kvm_chips_state_get,
	.chips_state_set = kvm_chips_state_set,
	.irq_set = kvm_irq_set,
	.msi_send = kvm_msi_send,
	.msi_line_create = kvm_msi_line_create,
	.msi_line_set = kvm_msi_line_set,
	.msi_line_destroy = kvm_msi_line_destroy,
	.doorbell_add = kvm_doorbell_add,
	.doorbell_remove = kvm_doorbell_remove,
	.dirty_start = kvm_dirty_start,
	.dirty_fetch = kvm_dirty_fetch,
	.dirty_stop = kvm_dirty_stop,
	.statistics = kvm_statistics,
};
