/* SPDX-License-Identifier: MIT */
/*
 * Interrupts into the kernel's chips. Lines 0 to 23 are the I/O APIC's pins (0 to 15 the 8259s' as
 * well), identity-mapped as KVM does by default. An MSI line is a GSI above them with an irqfd; the
 * kernel takes the whole routing table at once, so it is rebuilt from line[] at each change.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/base/log.h"
#include "vmm/kvm/kvm_impl.h"

#define PIC_PINS 8

void kvm_irq_set(struct engine_vm *vm, unsigned gsi, bool level)
{
	struct kvm_irq_level line = {.irq = gsi, .level = level};

	if (ioctl(vm->fd, KVM_IRQ_LINE, &line) < 0)
		log_limited(&vm->limit, LOG_ERROR, "KVM_IRQ_LINE %u: %s", gsi, error_name(-errno));
}

void kvm_msi_send(struct engine_vm *vm, const struct msi_message *message)
{
	struct kvm_msi msi = {
		.address_lo = (uint32_t)message->address,
		.address_hi = (uint32_t)(message->address >> 32),
		.data = message->data,
	};

	/* It fails where the guest named no vCPU that exists: its own loss. */
	ioctl(vm->fd, KVM_SIGNAL_MSI, &msi);
}

static void route_add(struct kvm_irq_routing *table, unsigned gsi, unsigned chip, unsigned pin)
{
	table->entries[table->nr++] = (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_IRQCHIP,
		.u.irqchip = {.irqchip = chip, .pin = pin},
	};
}

/* The lock is held. */
static int routes_write(struct engine_vm *vm)
{
	size_t max = IOAPIC_PINS + 2 * PIC_PINS + KVM_MSI_LINES_MAX;
	struct kvm_irq_routing *table = calloc(1, sizeof(*table) + max * sizeof(table->entries[0]));
	int ret;

	if (!table)
		return -ENOMEM;
	for (unsigned pin = 0; pin < PIC_PINS; pin++) {
		route_add(table, pin, KVM_IRQCHIP_PIC_MASTER, pin);
		route_add(table, PIC_PINS + pin, KVM_IRQCHIP_PIC_SLAVE, pin);
	}
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		route_add(table, pin, KVM_IRQCHIP_IOAPIC, pin);
	for (unsigned i = 0; i < KVM_MSI_LINES_MAX; i++) {
		const struct msi_line *line = vm->line[i];

		if (!line || !line->routed)
			continue;
		table->entries[table->nr++] = (struct kvm_irq_routing_entry){
			.gsi = line->gsi,
			.type = KVM_IRQ_ROUTING_MSI,
			.u.msi = {.address_lo = (uint32_t)line->message.address,
				  .address_hi = (uint32_t)(line->message.address >> 32),
				  .data = line->message.data},
		};
	}
	ret = ioctl(vm->fd, KVM_SET_GSI_ROUTING, table) < 0 ? -errno : 0;
	free(table);
	return ret;
}

/* A free place in line[], or -ENOSPC. The lock is held. */
static int line_place(struct engine_vm *vm, struct msi_line *line)
{
	for (unsigned i = 0; i < KVM_MSI_LINES_MAX; i++) {
		if (vm->line[i])
			continue;
		vm->line[i] = line;
		line->gsi = IOAPIC_PINS + i;
		return 0;
	}
	return -ENOSPC;
}

static int line_irqfd(struct msi_line *line, uint32_t flags)
{
	struct kvm_irqfd irqfd = {.fd = (uint32_t)line->fd, .gsi = line->gsi, .flags = flags};

	return ioctl(line->vm->fd, KVM_IRQFD, &irqfd) < 0 ? -errno : 0;
}

int kvm_msi_line_create(struct engine_vm *vm, struct msi_line **out, int *fd)
{
	struct msi_line *line = calloc(1, sizeof(*line));
	int ret;

	if (!line)
		return -ENOMEM;
	line->vm = vm;
	line->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (line->fd < 0) {
		ret = -errno;
		free(line);
		return ret;
	}
	pthread_mutex_lock(&vm->route_lock);
	ret = line_place(vm, line);
	pthread_mutex_unlock(&vm->route_lock);
	if (ret == 0)
		ret = line_irqfd(line, 0);
	if (ret) {
		kvm_msi_line_destroy(line);
		return ret;
	}
	*out = line;
	*fd = line->fd;
	return 0;
}

static bool message_equal(const struct msi_message *a, const struct msi_message *b)
{
	return a->address == b->address && a->data == b->data;
}

int kvm_msi_line_set(struct msi_line *line, const struct msi_message *message)
{
	struct engine_vm *vm = line->vm;
	int ret = 0;

	pthread_mutex_lock(&vm->route_lock);
	/* Linux masks and unmasks vectors without changing them: nothing to tell the kernel then.
	 */
	if (!message && line->routed) {
		line->routed = false;
		ret = routes_write(vm);
	} else if (message && !(line->routed && message_equal(&line->message, message))) {
		line->message = *message;
		line->routed = true;
		ret = routes_write(vm);
	}
	pthread_mutex_unlock(&vm->route_lock);
	return ret;
}

void kvm_msi_line_destroy(struct msi_line *line)
{
	struct engine_vm *vm;

	if (!line)
		return;
	vm = line->vm;
	if (line->gsi) {
		line_irqfd(line, KVM_IRQFD_FLAG_DEASSIGN);
		pthread_mutex_lock(&vm->route_lock);
		vm->line[line->gsi - IOAPIC_PINS] = NULL;
		pthread_mutex_unlock(&vm->route_lock);
	}
	close(line->fd);
	free(line);
}

static int doorbell_ioctl(struct engine_vm *vm, const struct doorbell *doorbell, uint32_t flags)
{
	struct kvm_ioeventfd io = {
		.addr = doorbell->address,
		.len = doorbell->size,
		.fd = doorbell->fd,
		.flags = flags | (doorbell->mmio ? 0 : KVM_IOEVENTFD_FLAG_PIO),
	};

	return ioctl(vm->fd, KVM_IOEVENTFD, &io) < 0 ? -errno : 0;
}

int kvm_doorbell_add(struct engine_vm *vm, const struct doorbell *doorbell)
{
	return doorbell_ioctl(vm, doorbell, 0);
}

void kvm_doorbell_remove(struct engine_vm *vm, const struct doorbell *doorbell)
{
	int ret = doorbell_ioctl(vm, doorbell, KVM_IOEVENTFD_FLAG_DEASSIGN);

	if (ret)
		log_error("KVM_IOEVENTFD: %s", error_name(ret));
}
