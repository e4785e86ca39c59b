/* SPDX-License-Identifier: MIT */
/*
 * The board's devices. One table says which there are; making, resetting, pausing, saving, loading
 * and taking them down walk it, the last backwards. The addresses are board.h's.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "net/network.h"
#include "vmm/base/checked.h"
#include "vmm/base/log.h"
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
	.gpe_port = BOARD_PM_PORT + ACPI_PM_GPE,
	.reset_value = ACPI_PM_RESET_VALUE,
	.sci_irq = BOARD_SCI_IRQ,
	.generation_base = BOARD_GENERATION,
};

typedef void virtio_fn(struct virtio_pci *vp, void *arg);

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

static void rtc_state(struct machine *m, struct codec *codec)
{
	mc146818_state(m->rtc, codec);
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

static void i8042_saved(struct machine *m, struct codec *codec)
{
	i8042_state(m->i8042, codec);
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

static void com1_state(struct machine *m, struct codec *codec)
{
	uart16550_state(m->com1, codec);
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

static void pvpanic_state(struct machine *m, struct codec *codec)
{
	(void)m;
	(void)codec;
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

static void pm_state(struct machine *m, struct codec *codec)
{
	acpi_pm_state(m->pm, codec);
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
		.ports_base = BOARD_PCI_PORTS,
		.ports_size = BOARD_PCI_PORTS_SIZE,
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

static void pci_state(struct machine *m, struct codec *codec)
{
	pci_bus_state(m->pci, codec);
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

static void rng_each(struct machine *m, virtio_fn *act, void *arg)
{
	act(m->rng_pci, arg);
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

static void console_each(struct machine *m, virtio_fn *act, void *arg)
{
	if (m->console_pci)
		act(m->console_pci, arg);
}

static void console_unmake(struct machine *m)
{
	virtio_pci_destroy(m->console_pci);
	virtio_console_destroy(m->console);
}

static bool is_emulated(const struct machine *m)
{
	return m->config.io == MACHINE_IO_EMULATED;
}

#define SERIAL_SIZE 21u

static void disk_serial(unsigned index, char out[SERIAL_SIZE])
{
	snprintf(out, SERIAL_SIZE, "lodge-disk%u", index);
}

static int disk_open(struct machine *m, unsigned index, struct error *err)
{
	const struct machine_disk *config = &m->config.disk[index];
	struct block_options options = {.path = config->path,
					.read_only = config->read_only,
					.store = m->config.store,
					.allow_backing = config->allow_backing};

	return block_open(config->format, &options, &m->disk[index].block, err);
}

static int disk_make(struct machine *m, unsigned index)
{
	struct machine_disk_device *disk = &m->disk[index];
	struct virtio_blk_config blk = {.queues = m->config.disk[index].queues};
	char serial[SERIAL_SIZE];
	int ret;

	disk_serial(index, serial);
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

static int ide_check(const struct machine *m, struct error *err)
{
	if (m->config.disk_count > PIIX4_IDE_DISKS)
		return error_set(err, -EINVAL, "leave some out, or --io emulated",
				 "%u disks: an IDE controller has %u at most", m->config.disk_count,
				 PIIX4_IDE_DISKS);
	for (unsigned i = 0; i < m->config.disk_count; i++)
		if (m->config.disk[i].queues > 1)
			return error_set(err, -EINVAL, "leave queues=N out",
					 "disk '%s': as an IDE disk it has no queues",
					 m->config.disk[i].path);
	return 0;
}

static int disks_make(struct machine *m, struct error *err)
{
	int ret = is_emulated(m) ? ide_check(m, err) : 0;

	for (unsigned i = 0; i < m->config.disk_count && ret == 0; i++) {
		ret = disk_open(m, i, err);
		if (ret == 0 && !is_emulated(m))
			ret = disk_make(m, i);
	}
	return ret;
}

static void disks_each(struct machine *m, virtio_fn *act, void *arg)
{
	for (unsigned i = 0; i < m->config.disk_count && !is_emulated(m); i++)
		act(m->disk[i].pci, arg);
}

static void disks_unmake(struct machine *m)
{
	for (unsigned i = m->config.disk_count; i-- > 0;) {
		virtio_pci_destroy(m->disk[i].pci);
		virtio_blk_destroy(m->disk[i].blk);
		block_close(m->disk[i].block);
	}
}

/* The disks are open already. */
static int ide_make(struct machine *m, struct error *err)
{
	char serial[PIIX4_IDE_DISKS][SERIAL_SIZE];
	struct piix4_ide_config config = {0};

	(void)err;
	if (!is_emulated(m))
		return 0;
	for (unsigned i = 0; i < PIIX4_IDE_CHANNELS; i++)
		config.irq[i] = line(m, BOARD_IDE_IRQ + i);
	for (unsigned i = 0; i < m->config.disk_count; i++) {
		disk_serial(i, serial[i]);
		config.disk[i].block = m->disk[i].block;
		config.disk[i].serial = serial[i];
	}
	return piix4_ide_create(&m->vm, m->pci, BOARD_SLOT_IDE, &config, &m->ide);
}

static void ide_reset(struct machine *m)
{
	if (m->ide)
		piix4_ide_reset(m->ide);
}

static void ide_pause(struct machine *m)
{
	if (m->ide)
		piix4_ide_pause(m->ide);
}

static void ide_resume(struct machine *m)
{
	if (m->ide)
		piix4_ide_resume(m->ide);
}

static void ide_state(struct machine *m, struct codec *codec)
{
	if (m->ide)
		piix4_ide_state(m->ide, codec);
}

static void ide_unmake(struct machine *m)
{
	piix4_ide_destroy(m->ide);
}

static unsigned nic_queues(const struct machine *m, const struct machine_nic *config)
{
	unsigned queues = config->queues ? config->queues : m->config.vcpus;

	if (is_emulated(m))
		return 1;
	return queues < NET_QUEUES_MAX ? queues : NET_QUEUES_MAX;
}

/* An interface that was made without several queues has one. */
static int tap_attach(const struct machine *m, const struct machine_nic *config, struct net **out,
		      struct error *err)
{
	struct tap_options options = {.name = config->tap, .queues = nic_queues(m, config)};
	int ret = tap_open(&options, out, err);

	if (ret == -EINVAL && config->queues == 0 && options.queues > 1) {
		options.queues = 1;
		ret = tap_open(&options, out, err);
	}
	return ret;
}

static int user_attach(const struct machine_nic *config, struct net **out, struct error *err)
{
	struct user_options options = {.forward_count = config->forward_count,
				       .forward = config->forward};

	if (config->queues > 1)
		return error_set(err, -EINVAL, "leave queues=N out",
				 "network 'user': it has one queue");
	return user_open(&options, out, err);
}

static struct network_nic network_nic(const struct machine *m, unsigned index)
{
	const struct machine_nic *config = &m->config.nic[index];
	struct network_nic nic = {.network = config->network,
				  .guest = config->guest,
				  .index = index,
				  .queues = nic_queues(m, config),
				  .address = config->address,
				  .forward_count = config->forward_count,
				  .forward = config->forward,
				  .group_count = config->group_count,
				  .group = config->group};

	memcpy(nic.mac, config->mac, NET_MAC);
	return nic;
}

static int network_join(struct machine *m, unsigned index, struct error *err)
{
	struct network_nic nic = network_nic(m, index);
	int ret = network_attach(&nic, &m->nic[index].net, err);

	m->nic[index].attached = ret == 0;
	return ret;
}

static int nic_open(struct machine *m, unsigned index, struct error *err)
{
	const struct machine_nic *config = &m->config.nic[index];
	struct machine_nic_device *nic = &m->nic[index];

	if (is_emulated(m) && config->queues > 1)
		return error_set(err, -EINVAL, "leave queues=N out",
				 "NIC %u: an emulated one has one queue", index);
	if (config->tap)
		return tap_attach(m, config, &nic->net, err);
	return config->network ? network_join(m, index, err) : user_attach(config, &nic->net, err);
}

/* It goes without it. */
static void nic_renounce(struct machine *m, unsigned index, int code, struct error *err)
{
	char line[sizeof(*err)];

	error_format(err, code, line, sizeof(line));
	log_warn("the guest has no network: %s", line);
	*err = (struct error){0};
	m->config.nic_count = index;
}

static int nic_make(struct machine *m, unsigned index)
{
	const struct machine_nic *config = &m->config.nic[index];
	struct machine_nic_device *nic = &m->nic[index];
	struct virtio_net_config net = {.any_source = config->any_source, .rates = config->rates};
	int ret;

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

	for (unsigned i = 0; i < m->config.nic_count && ret == 0; i++) {
		ret = nic_open(m, i, err);
		if (ret && m->config.nic[i].optional) {
			nic_renounce(m, i, ret, err);
			return 0;
		}
		if (ret == 0 && !is_emulated(m))
			ret = nic_make(m, i);
	}
	return ret;
}

static void nics_each(struct machine *m, virtio_fn *act, void *arg)
{
	for (unsigned i = 0; i < m->config.nic_count && !is_emulated(m); i++)
		act(m->nic[i].pci, arg);
}

static void nics_unmake(struct machine *m)
{
	for (unsigned i = m->config.nic_count; i-- > 0;) {
		virtio_pci_destroy(m->nic[i].pci);
		virtio_net_destroy(m->nic[i].nic);
		/* While its interface is there: nobody else has the name. */
		if (m->nic[i].attached) {
			struct network_nic nic = network_nic(m, i);

			network_detach(&nic);
		}
		net_close(m->nic[i].net);
	}
}

static int e1000_make(struct machine *m, unsigned index)
{
	const struct machine_nic *config = &m->config.nic[index];
	struct machine_nic_device *nic = &m->nic[index];
	struct i82540em_config e1000 = {
		.net = nic->net, .any_source = config->any_source, .rates = config->rates};

	memcpy(e1000.mac, config->mac, NET_MAC);
	return i82540em_create(&m->vm, m->pci, BOARD_SLOT_NICS + index, &e1000, &nic->e1000);
}

/* Their networks are there already. */
static int e1000s_make(struct machine *m, struct error *err)
{
	int ret = 0;

	(void)err;
	for (unsigned i = 0; i < m->config.nic_count && is_emulated(m) && ret == 0; i++)
		ret = e1000_make(m, i);
	return ret;
}

static void e1000s_reset(struct machine *m)
{
	for (unsigned i = 0; i < m->config.nic_count && is_emulated(m); i++)
		i82540em_reset(m->nic[i].e1000);
}

static void e1000s_pause(struct machine *m)
{
	for (unsigned i = 0; i < m->config.nic_count && is_emulated(m); i++)
		i82540em_pause(m->nic[i].e1000);
}

static void e1000s_resume(struct machine *m)
{
	for (unsigned i = 0; i < m->config.nic_count && is_emulated(m); i++)
		i82540em_resume(m->nic[i].e1000);
}

static void e1000s_state(struct machine *m, struct codec *codec)
{
	for (unsigned i = 0; i < m->config.nic_count && is_emulated(m); i++)
		i82540em_state(m->nic[i].e1000, codec);
}

static void e1000s_unmake(struct machine *m)
{
	for (unsigned i = m->config.nic_count; i-- > 0;)
		i82540em_destroy(m->nic[i].e1000);
}

/*
 * A device, or several that are virtio's: these are all reset, paused and saved alike. Of disks and
 * NICs there are those of virtio, or those that are emulated.
 */
static const struct board_device {
	const char *name;
	int (*make)(struct machine *machine, struct error *err);
	void (*unmake)(struct machine *machine); /* also of what was half made */
	void (*each)(struct machine *machine, virtio_fn *act, void *arg);
	/* Where there is no `each`: */
	void (*reset)(struct machine *machine);
	void (*state)(struct machine *machine, struct codec *codec);
	/* Optional: of those that have threads. */
	void (*pause)(struct machine *machine);
	void (*resume)(struct machine *machine);
} devices[] = {
	{"mc146818", rtc_make, rtc_unmake, NULL, rtc_reset, rtc_state, NULL, NULL},
	{"i8042", i8042_make, i8042_unmake, NULL, i8042_again, i8042_saved, NULL, NULL},
	{"uart16550", com1_make, com1_unmake, NULL, com1_reset, com1_state, NULL, NULL},
	{"pvpanic", pvpanic_make, pvpanic_unmake, NULL, pvpanic_reset, pvpanic_state, NULL, NULL},
	{"acpi_pm", pm_make, pm_unmake, NULL, pm_reset, pm_state, NULL, NULL},
	{"pci", pci_make, pci_unmake, NULL, pci_again, pci_state, NULL, NULL},
	{"virtio-rng", rng_make, rng_unmake, rng_each, NULL, NULL, NULL, NULL},
	{"virtio-console", console_make, console_unmake, console_each, NULL, NULL, NULL, NULL},
	{"disks", disks_make, disks_unmake, disks_each, NULL, NULL, NULL, NULL},
	{"82371AB", ide_make, ide_unmake, NULL, ide_reset, ide_state, ide_pause, ide_resume},
	{"NICs", nics_make, nics_unmake, nics_each, NULL, NULL, NULL, NULL},
	{"82540EM", e1000s_make, e1000s_unmake, NULL, e1000s_reset, e1000s_state, e1000s_pause,
	 e1000s_resume},
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

static void reset_one(struct virtio_pci *vp, void *arg)
{
	(void)arg;
	virtio_pci_reset(vp);
}

static void pause_one(struct virtio_pci *vp, void *arg)
{
	(void)arg;
	virtio_pci_pause(vp);
}

static void resume_one(struct virtio_pci *vp, void *arg)
{
	(void)arg;
	virtio_pci_resume(vp);
}

static void state_one(struct virtio_pci *vp, void *arg)
{
	virtio_pci_state(vp, arg);
}

void board_reset(struct machine *machine)
{
	for (unsigned i = 0; i < ARRAY_SIZE(devices); i++)
		if (devices[i].each)
			devices[i].each(machine, reset_one, NULL);
		else
			devices[i].reset(machine);
}

void board_pause(struct machine *machine)
{
	for (unsigned i = 0; i < ARRAY_SIZE(devices); i++)
		if (devices[i].each)
			devices[i].each(machine, pause_one, NULL);
		else if (devices[i].pause)
			devices[i].pause(machine);
}

void board_resume(struct machine *machine)
{
	for (unsigned i = 0; i < ARRAY_SIZE(devices); i++)
		if (devices[i].each)
			devices[i].each(machine, resume_one, NULL);
		else if (devices[i].resume)
			devices[i].resume(machine);
}

/* False: it is another one than the driver knows. One of virtio's announces itself, too. */
static bool nic_moved(struct machine *machine, unsigned index)
{
	struct machine_nic_device *nic = &machine->nic[index];

	if (nic->e1000)
		return i82540em_is_known(nic->e1000);
	if (!virtio_net_is_known(nic->nic))
		return false;
	virtio_net_announce(nic->nic);
	return true;
}

void board_moved(struct machine *machine)
{
	unsigned replaced = 0;

	acpi_pm_raise(machine->pm, ACPI_PM_GPE_GENERATION);
	for (unsigned i = 0; i < machine->config.nic_count; i++)
		if (!nic_moved(machine, i))
			replaced |= 1u << i;
	if (replaced)
		acpi_pm_replace(machine->pm, (uint8_t)replaced);
}

void board_state(struct machine *machine, struct codec *codec)
{
	for (unsigned i = 0; i < ARRAY_SIZE(devices); i++)
		if (devices[i].each)
			devices[i].each(machine, state_one, codec);
		else
			devices[i].state(machine, codec);
}
