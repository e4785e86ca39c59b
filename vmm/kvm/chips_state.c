/* SPDX-License-Identifier: MIT */
/* The kernel's 8259s, I/O APIC, 8254 and clock to and from the neutral state. */
#include <errno.h>
#include <sys/ioctl.h>

#include "vmm/base/checked.h"
#include "vmm/kvm/kvm_impl.h"

static void pic_get(struct pic_state *to, const struct kvm_pic_state *from)
{
	*to = (struct pic_state){
		.last_irr = from->last_irr,
		.irr = from->irr,
		.imr = from->imr,
		.isr = from->isr,
		.priority_add = from->priority_add,
		.irq_base = from->irq_base,
		.read_isr = from->read_reg_select,
		.poll = from->poll,
		.special_mask = from->special_mask,
		.init_state = from->init_state,
		.auto_eoi = from->auto_eoi,
		.rotate_on_auto_eoi = from->rotate_on_auto_eoi,
		.special_fully_nested = from->special_fully_nested_mode,
		.init4 = from->init4,
		.elcr = from->elcr,
		.elcr_mask = from->elcr_mask,
	};
}

static struct kvm_pic_state pic_set(const struct pic_state *from)
{
	return (struct kvm_pic_state){
		.last_irr = from->last_irr,
		.irr = from->irr,
		.imr = from->imr,
		.isr = from->isr,
		.priority_add = from->priority_add,
		.irq_base = from->irq_base,
		.read_reg_select = from->read_isr,
		.poll = from->poll,
		.special_mask = from->special_mask,
		.init_state = from->init_state,
		.auto_eoi = from->auto_eoi,
		.rotate_on_auto_eoi = from->rotate_on_auto_eoi,
		.special_fully_nested_mode = from->special_fully_nested,
		.init4 = from->init4,
		.elcr = from->elcr,
		.elcr_mask = from->elcr_mask,
	};
}

static int irqchips_get(struct engine_vm *vm, struct chips_state *out, struct error *err)
{
	struct kvm_irqchip chip;

	for (unsigned i = 0; i < 2; i++) {
		chip = (struct kvm_irqchip){.chip_id = i ? KVM_IRQCHIP_PIC_SLAVE
							 : KVM_IRQCHIP_PIC_MASTER};
		if (ioctl(vm->fd, KVM_GET_IRQCHIP, &chip) < 0)
			return kvm_failed(err, "KVM_GET_IRQCHIP", NULL);
		pic_get(&out->pic[i], &chip.chip.pic);
	}
	chip = (struct kvm_irqchip){.chip_id = KVM_IRQCHIP_IOAPIC};
	if (ioctl(vm->fd, KVM_GET_IRQCHIP, &chip) < 0)
		return kvm_failed(err, "KVM_GET_IRQCHIP", NULL);
	out->ioapic = (struct ioapic_state){
		.base = chip.chip.ioapic.base_address,
		.select = chip.chip.ioapic.ioregsel,
		.id = chip.chip.ioapic.id,
		.irr = chip.chip.ioapic.irr,
	};
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		out->ioapic.redirection[pin] = chip.chip.ioapic.redirtbl[pin].bits;
	return 0;
}

static int irqchips_set(struct engine_vm *vm, const struct chips_state *in, struct error *err)
{
	struct kvm_irqchip chip;

	for (unsigned i = 0; i < 2; i++) {
		chip = (struct kvm_irqchip){.chip_id = i ? KVM_IRQCHIP_PIC_SLAVE
							 : KVM_IRQCHIP_PIC_MASTER,
					    .chip.pic = pic_set(&in->pic[i])};
		if (ioctl(vm->fd, KVM_SET_IRQCHIP, &chip) < 0)
			return kvm_failed(err, "KVM_SET_IRQCHIP", NULL);
	}
	chip = (struct kvm_irqchip){
		.chip_id = KVM_IRQCHIP_IOAPIC,
		.chip.ioapic = {.base_address = in->ioapic.base,
				.ioregsel = in->ioapic.select,
				.id = in->ioapic.id,
				.irr = in->ioapic.irr},
	};
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		chip.chip.ioapic.redirtbl[pin].bits = in->ioapic.redirection[pin];
	if (ioctl(vm->fd, KVM_SET_IRQCHIP, &chip) < 0)
		return kvm_failed(err, "KVM_SET_IRQCHIP", NULL);
	return 0;
}

static int pit_get(struct engine_vm *vm, struct chips_state *out, struct error *err)
{
	struct kvm_pit_state2 pit;

	if (ioctl(vm->fd, KVM_GET_PIT2, &pit) < 0)
		return kvm_failed(err, "KVM_GET_PIT2", NULL);
	out->pit_flags = pit.flags;
	for (unsigned i = 0; i < ARRAY_SIZE(out->pit); i++) {
		const struct kvm_pit_channel_state *c = &pit.channels[i];

		out->pit[i] = (struct pit_channel_state){
			.count = c->count,
			.latched_count = c->latched_count,
			.count_latched = c->count_latched,
			.status_latched = c->status_latched,
			.status = c->status,
			.read_state = c->read_state,
			.write_state = c->write_state,
			.write_latch = c->write_latch,
			.rw_mode = c->rw_mode,
			.mode = c->mode,
			.bcd = c->bcd,
			.gate = c->gate,
			.load_time = c->count_load_time,
		};
	}
	return 0;
}

static int pit_set(struct engine_vm *vm, const struct chips_state *in, struct error *err)
{
	struct kvm_pit_state2 pit = {.flags = in->pit_flags};

	for (unsigned i = 0; i < ARRAY_SIZE(in->pit); i++) {
		const struct pit_channel_state *c = &in->pit[i];

		pit.channels[i] = (struct kvm_pit_channel_state){
			.count = c->count,
			.latched_count = c->latched_count,
			.count_latched = c->count_latched,
			.status_latched = c->status_latched,
			.status = c->status,
			.read_state = c->read_state,
			.write_state = c->write_state,
			.write_latch = c->write_latch,
			.rw_mode = c->rw_mode,
			.mode = c->mode,
			.bcd = c->bcd,
			.gate = c->gate,
			.count_load_time = c->load_time,
		};
	}
	if (ioctl(vm->fd, KVM_SET_PIT2, &pit) < 0)
		return kvm_failed(err, "KVM_SET_PIT2", NULL);
	return 0;
}

uint32_t kvm_tsc_khz(struct engine_vm *vm)
{
	int khz = ioctl(vm->vcpu[0]->fd, KVM_GET_TSC_KHZ, 0);

	return khz > 0 ? (uint32_t)khz : 0;
}

int kvm_chips_state_get(struct engine_vm *vm, struct chips_state *out, struct error *err)
{
	struct kvm_clock_data clock;

	if (irqchips_get(vm, out, err) || pit_get(vm, out, err))
		return -EIO;
	if (ioctl(vm->fd, KVM_GET_CLOCK, &clock) < 0)
		return kvm_failed(err, "KVM_GET_CLOCK", NULL);
	out->clock_ns = clock.clock;
	return 0;
}

int kvm_chips_state_set(struct engine_vm *vm, const struct chips_state *in, struct error *err)
{
	struct kvm_clock_data clock = {.clock = in->clock_ns};

	if (irqchips_set(vm, in, err) || pit_set(vm, in, err))
		return -EIO;
	if (ioctl(vm->fd, KVM_SET_CLOCK, &clock) < 0)
		return kvm_failed(err, "KVM_SET_CLOCK", NULL);
	return 0;
}
