/* SPDX-License-Identifier: MIT */
/*
 * The board's devices. One table says which there are; making, resetting and taking them down walk
 * it, the last backwards. The addresses are board.h's.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/checked.h"
#include "vmm/machine/machine_impl.h"

const struct acpi_board board_acpi = {
	.lapic_base = BOARD_LAPIC,
	.ioapic_base = BOARD_IOAPIC,
	.ecam_base = BOARD_ECAM,
	.ecam_size = BOARD_ECAM_SIZE,
	.pm_event_port = BOARD_PM_PORT + ACPI_PM_EVENT,
	.pm_control_port = BOARD_PM_PORT + ACPI_PM_CONTROL,
	.pm_timer_port = BOARD_PM_PORT + ACPI_PM_TIMER,
	.reset_port = BOARD_PM_PORT + ACPI_PM_RESET,
	.reset_value = ACPI_PM_RESET_VALUE,
	.sci_irq = BOARD_SCI_IRQ,
};

static struct irq_line line(struct machine *m, unsigned gsi)
{
	return (struct irq_line){.vm = &m->vm, .gsi = gsi};
}

static int rtc_make(struct machine *m, struct error *err)
{
	struct irq_line irq = line(m, BOARD_RTC_IRQ);

	(void)err;
	return mc146818_create(m->vm.pio, &irq, m->loop, &m->rtc);
}

static void rtc_reset(struct machine *m)
{
	mc146818_reset(m->rtc);
}

static void rtc_unmake(struct machine *m)
{
	mc146818_destroy(m->rtc);
}

static int i8042_make(struct machine *m, struct error *err)
{
	(void)err;
	return i8042_create(m->vm.pio, &m->power, &m->i8042);
}

static void i8042_again(struct machine *m)
{
	i8042_reset(m->i8042);
}

static void i8042_unmake(struct machine *m)
{
	i8042_destroy(m->i8042);
}

static int com1_make(struct machine *m, struct error *err)
{
	struct irq_line irq = line(m, BOARD_COM1_IRQ);

	(void)err;
	return uart16550_create(m->vm.pio, BOARD_COM1_PORT, &irq, &m->config.com1, &m->com1);
}

static void com1_reset(struct machine *m)
{
	uart16550_reset(m->com1);
}

static void com1_unmake(struct machine *m)
{
	uart16550_destroy(m->com1);
}

static int pvpanic_make(struct machine *m, struct error *err)
{
	(void)err;
	return pvpanic_create(m->vm.pio, BOARD_PVPANIC_PORT, &m->power, &m->pvpanic);
}

static void pvpanic_reset(struct machine *m)
{
	(void)m; /* it has no state */
}

static void pvpanic_unmake(struct machine *m)
{
	pvpanic_destroy(m->pvpanic);
}

static int pm_make(struct machine *m, struct error *err)
{
	struct irq_line sci = line(m, BOARD_SCI_IRQ);

	(void)err;
	return acpi_pm_create(m->vm.pio, BOARD_PM_PORT, &sci, &m->power, &m->pm);
}

static void pm_reset(struct machine *m)
{
	acpi_pm_reset(m->pm);
}

static void pm_unmake(struct machine *m)
{
	acpi_pm_destroy(m->pm);
}

static int pci_make(struct machine *m, struct error *err)
{
	struct pci_config config = {
		.vm = &m->vm,
		.ecam_base = BOARD_ECAM,
		.ecam_size = BOARD_ECAM_SIZE,
		.window_base = BOARD_PCI_WINDOW,
		.window_size = BOARD_PCI_WINDOW_SIZE,
		.first_gsi = BOARD_PCI_FIRST_GSI,
		.gsi_count = BOARD_PCI_GSIS,
	};

	(void)err;
	return pci_bus_create(&config, &m->pci);
}

static void pci_again(struct machine *m)
{
	(void)m; /* each function is reset with its device */
}

static void pci_unmake(struct machine *m)
{
	pci_bus_destroy(m->pci);
}

static int rng_make(struct machine *m, struct error *err)
{
	int ret = virtio_rng_create(m->vm.memory, m->loop, &m->rng);

	(void)err;
	return ret ? ret
		   : virtio_pci_create(&m->vm, m->pci, BOARD_SLOT_RNG, virtio_rng_device(m->rng),
				       &m->rng_pci);
}

static void rng_reset(struct machine *m)
{
	virtio_pci_reset(m->rng_pci);
}

static void rng_unmake(struct machine *m)
{
	virtio_pci_destroy(m->rng_pci);
	virtio_rng_destroy(m->rng);
}

static int console_make(struct machine *m, struct error *err)
{
	int ret;

	(void)err;
	if (m->config.port_count == 0)
		return 0;
	ret = virtio_console_create(m->vm.memory, m->loop, m->config.port, m->config.port_count,
				    &m->console);
	return ret ? ret
		   : virtio_pci_create(&m->vm, m->pci, BOARD_SLOT_CONSOLE,
				       virtio_console_device(m->console), &m->console_pci);
}

static void console_reset(struct machine *m)
{
	if (m->console_pci)
		virtio_pci_reset(m->console_pci);
}

static void console_unmake(struct machine *m)
{
	virtio_pci_destroy(m->console_pci);
	virtio_console_destroy(m->console);
}

static int disk_make(struct machine *m, unsigned index, struct error *err)
{
	const struct machine_disk *config = &m->config.disk[index];
	struct machine_disk_device *disk = &m->disk[index];
	struct block_options options = {.path = config->path, .read_only = config->read_only};
	struct virtio_blk_config blk = {.queues = config->queues};
	char serial[VIRTIO_BLK_SERIAL_SIZE + 1];
	int ret;

	ret = block_open(config->format, &options, &disk->block, err);
	if (ret)
		return ret;
	snprintf(serial, sizeof(serial), "lodge-disk%u", index);
	blk.block = disk->block;
	blk.serial = serial;
	if (blk.queues == 0)
		blk.queues = m->config.vcpus < VIRTIO_BLK_QUEUES_MAX ? m->config.vcpus
								     : VIRTIO_BLK_QUEUES_MAX;
	ret = virtio_blk_create(m->vm.memory, &blk, &disk->blk);
	if (ret == 0)
		ret = virtio_pci_create(&m->vm, m->pci, BOARD_SLOT_DISKS + index,
					virtio_blk_device(disk->blk), &disk->pci);
	return ret;
}

static int disks_make(struct machine *m, struct error *err)
{
	int ret = 0;

	for (unsigned i = 0; i < m->config.disk_count && ret == 0; i++)
		ret = disk_make(m, i, err);
	return ret;
}

static void disks_reset(struct machine *m)
{
	for (unsigned i = 0; i < m->config.disk_count; i++)
		virtio_pci_reset(m->disk[i].pci);
}

static void disks_unmake(struct machine *m)
{
	for (unsigned i = m->config.disk_count; i-- > 0;) {
		virtio_pci_destroy(m->disk[i].pci);
		virtio_blk_destroy(m->disk[i].blk);
		block_close(m->disk[i].block);
	}
}

/* An interface that was made without several queues has one. */
static int tap_attach(const struct machine_nic *config, unsigned vcpus, struct net **out,
		      struct error *err)
{
	struct tap_options options = {.name = config->tap, .queues = config->queues};
	int ret;

	if (options.queues == 0)
		options.queues = vcpus < NET_QUEUES_MAX ? vcpus : NET_QUEUES_MAX;
	ret = tap_open(&options, out, err);
	if (ret == -EINVAL && config->queues == 0 && options.queues > 1) {
		options.queues = 1;
		ret = tap_open(&options, out, err);
	}
	return ret;
}

static int nic_make(struct machine *m, unsigned index, struct error *err)
{
	const struct machine_nic *config = &m->config.nic[index];
	struct machine_nic_device *nic = &m->nic[index];
	struct virtio_net_config net = {.any_source = config->any_source};
	int ret = tap_attach(config, m->config.vcpus, &nic->net, err);

	if (ret)
		return ret;
	net.net = nic->net;
	memcpy(net.mac, config->mac, NET_MAC);
	ret = virtio_net_create(m->vm.memory, &net, &nic->nic);
	if (ret == 0)
		ret = virtio_pci_create(&m->vm, m->pci, BOARD_SLOT_NICS + index,
					virtio_net_device(nic->nic), &nic->pci);
	return ret;
}

static int nics_make(struct machine *m, struct error *err)
{
	int ret = 0;

	for (unsigned i = 0; i < m->config.nic_count && ret == 0; i++)
		ret = nic_make(m, i, err);
	return ret;
}

static void nics_reset(struct machine *m)
{
	for (unsigned i = 0; i < m->config.nic_count; i++)
		virtio_pci_reset(m->nic[i].pci);
}

static void nics_unmake(struct machine *m)
{
	for (unsigned i = m->config.nic_count; i-- > 0;) {
		virtio_pci_destroy(m->nic[i].pci);
		virtio_net_destroy(m->nic[i].nic);
		net_close(m->nic[i].net);
	}
}

static const struct board_device {
	const char *name;
	int (*make)(struct machine *machine, struct error *err);
	void (*reset)(struct machine *machine);
	void (*unmake)(struct machine *machine); /* also of what was half made */
} devices[] = {
	{"mc146818", rtc_make, rtc_reset, rtc_unmake},
	{"i8042", i8042_make, i8042_again, i8042_unmake},
	{"uart16550", com1_make, com1_reset, com1_unmake},
	{"pvpanic", pvpanic_make, pvpanic_reset, pvpanic_unmake},
	{"acpi_pm", pm_make, pm_reset, pm_unmake},
	{"pci", pci_make, pci_again, pci_unmake},
	{"virtio-rng", rng_make, rng_reset, rng_unmake},
	{"virtio-console", console_make, console_reset, console_unmake},
	{"disks", disks_make, disks_reset, disks_unmake},
	{"NICs", nics_make, nics_reset, nics_unmake},
};

int board_create(struct machine *machine, struct error *err)
{
	for (unsigned i = 0; i < ARRAY_SIZE(devices); i++) {
		int ret = devices[i].make(machine, err);

		if (ret)
			return error_set(err, ret, NULL, "device %s: %s", devices[i].name,
					 error_name(ret));
	}
	return 0;
}

void board_destroy(struct machine *machine)
{
	for (unsigned i = ARRAY_SIZE(devices); i-- > 0;)
		devices[i].unmake(machine);
}

void board_reset(struct machine *machine)
{
	for (unsigned i = 0; i < ARRAY_SIZE(devices); i++)
		devices[i].reset(machine);
}
