/* SPDX-License-Identifier: MIT */
#include "tests/state_board.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define ECAM        0xe0000000u
#define WINDOW      0xc0000000u
#define MEMORY      (1ull << 20)
#define QUEUE_AT(n) (0x4000ull * (n))
#define DISK        65536
#define PORTS       2u
#define PAIRS       2u
#define DEVICES     STATE_BOARD_DEVICES

/* Not assert: set-up must not vanish. */
#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

static void nothing(void *arg)
{
	(void)arg;
}

static void swallow(void *arg, const uint8_t *bytes, size_t count)
{
	(void)arg;
	(void)bytes;
	(void)count;
}

static const struct power_ops power_ops = {.off = nothing, .reset = nothing, .panicked = nothing};
static const struct chardev_ops chardev_ops = {.write = swallow, .ready = nothing};

static ssize_t net_receive(struct net *net, unsigned queue, struct iovec *iov, unsigned count)
{
	(void)net;
	(void)iov;
	CHECK(queue < PAIRS && count >= 1);
	return -EAGAIN;
}

static int net_send(struct net *net, unsigned queue, const struct iovec *iov, unsigned count)
{
	(void)net;
	(void)iov;
	CHECK(queue < PAIRS && count >= 1);
	return 0;
}

static int net_fd(const struct net *net, unsigned queue)
{
	(void)net;
	(void)queue;
	return -1;
}

static int net_set_offloads(struct net *net, unsigned offloads)
{
	CHECK((offloads & ~net->info.offloads) == 0);
	return 0;
}

static int net_set_queues(struct net *net, unsigned queues)
{
	(void)net;
	CHECK(queues >= 1 && queues <= PAIRS);
	return 0;
}

static const struct net_ops net_ops = {
	.receive = net_receive,
	.send = net_send,
	.fd = net_fd,
	.set_offloads = net_set_offloads,
	.set_queues = net_set_queues,
};

/* One of each for the process. */
static struct net *net_of(void)
{
	static struct net net = {.ops = &net_ops,
				 .info = {.type = "fake",
					  .queues = PAIRS,
					  .mtu = 1500,
					  .offloads = NET_CSUM | NET_TSO4 | NET_TSO6}};

	return &net;
}

static struct block *block_of(void)
{
	static struct block *block;
	struct block_options options = {.no_lock = true};
	char path[32];
	int fd;

	if (block)
		return block;
	fd = memfd_create("disk", MFD_CLOEXEC);
	CHECK(fd >= 0 && ftruncate(fd, DISK) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	options.path = path;
	CHECK(block_open("raw", &options, &block, NULL) == 0);
	return block;
}

static void chips_make(struct state_board *b)
{
	struct irq_line irq = {.vm = &b->fake->vm, .gsi = 8};
	struct chardev chardev = {.ops = &chardev_ops};
	struct power power = {.ops = &power_ops};
	struct bus *pio = b->fake->vm.pio;
	struct pci_config config = {.vm = &b->fake->vm,
				    .ecam_base = ECAM,
				    .ecam_size = 0x100000,
				    .window_base = WINDOW,
				    .window_size = 0x100000,
				    .first_gsi = 16,
				    .gsi_count = 8};

	CHECK(mc146818_create(pio, &irq, b->loop, &b->rtc) == 0);
	CHECK(i8042_create(pio, &power, &b->i8042) == 0);
	irq.gsi = 4;
	CHECK(uart16550_create(pio, 0x3f8, &irq, &chardev, &b->uart) == 0);
	irq.gsi = 9;
	CHECK(acpi_pm_create(pio, 0x600, &irq, &power, &b->pm) == 0);
	CHECK(pci_bus_create(&config, &b->pci) == 0);
}

static void virtio_make(struct state_board *b)
{
	struct virtio_console_port port[PORTS] = {
		{.name = "console", .console = true, .backend = {.ops = &chardev_ops}},
		{.name = "data", .backend = {.ops = &chardev_ops}},
	};
	struct virtio_blk_config blk = {.block = block_of(), .queues = 1, .serial = "fuzz"};
	struct virtio_net_config net = {.net = net_of(), .mac = {0x52, 0x54, 0, 1, 2, 3}};
	struct guest_memory *memory = b->fake->vm.memory;

	CHECK(virtio_rng_create(memory, b->loop, &b->rng) == 0);
	CHECK(virtio_console_create(memory, b->loop, port, PORTS, &b->console) == 0);
	CHECK(virtio_blk_create(memory, &blk, &b->blk) == 0);
	CHECK(virtio_net_create(memory, &net, &b->nic) == 0);
	b->vdev[0] = virtio_rng_device(b->rng);
	b->vdev[1] = virtio_console_device(b->console);
	b->vdev[2] = virtio_blk_device(b->blk);
	b->vdev[3] = virtio_net_device(b->nic);
	for (unsigned i = 0; i < DEVICES; i++)
		CHECK(virtio_pci_create(&b->fake->vm, b->pci, i + 1, b->vdev[i], &b->vp[i]) == 0);
}

struct state_board *state_board_make(void)
{
	struct state_board *b = calloc(1, sizeof(*b));

	CHECK(b && loop_create(&b->loop) == 0);
	b->fake = fake_vm_create(MEMORY);
	chips_make(b);
	virtio_make(b);
	return b;
}

void state_board_unmake(struct state_board *b)
{
	for (unsigned i = DEVICES; i-- > 0;)
		virtio_pci_destroy(b->vp[i]);
	virtio_net_destroy(b->nic);
	virtio_blk_destroy(b->blk);
	virtio_console_destroy(b->console);
	virtio_rng_destroy(b->rng);
	pci_bus_destroy(b->pci);
	acpi_pm_destroy(b->pm);
	uart16550_destroy(b->uart);
	i8042_destroy(b->i8042);
	mc146818_destroy(b->rtc);
	loop_destroy(b->loop);
	fake_vm_destroy(b->fake);
	free(b);
}

void state_board_state(struct state_board *b, struct codec *c)
{
	cpu_state_code(&b->cpu, 0, c);
	chips_state_code(&b->chips, c);
	mc146818_state(b->rtc, c);
	i8042_state(b->i8042, c);
	uart16550_state(b->uart, c);
	acpi_pm_state(b->pm, c);
	pci_bus_state(b->pci, c);
	for (unsigned i = 0; i < DEVICES; i++)
		virtio_pci_state(b->vp[i], c);
}

void state_board_pause(struct state_board *b)
{
	for (unsigned i = 0; i < DEVICES; i++)
		virtio_pci_pause(b->vp[i]);
}

void state_board_resume(struct state_board *b)
{
	for (unsigned i = 0; i < DEVICES; i++)
		virtio_pci_resume(b->vp[i]);
}

void state_board_drivers(struct state_board *b)
{
	const uint8_t ready =
		VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK;
	unsigned queue = 0;

	for (unsigned i = 0; i < DEVICES; i++) {
		struct virtio_device *vdev = b->vdev[i];

		bus_write(b->fake->vm.mmio, ECAM + ((i + 1) << 15) + PCI_COMMAND, 2,
			  PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
		vdev->accepted = vdev->offered;
		for (unsigned k = 0; k < vdev->queue_count; k++, queue++) {
			vdev->queue[k].size = 16;
			vdev->queue[k].enabled = true;
			vdev->queue[k].desc = QUEUE_AT(queue);
			vdev->queue[k].avail = QUEUE_AT(queue) + 0x1000;
			vdev->queue[k].used = QUEUE_AT(queue) + 0x2000;
		}
		virtio_status_write(vdev, ready);
		virtio_status_write(vdev, ready | VIRTIO_STATUS_DRIVER_OK);
		CHECK(vdev->running);
	}
	CHECK(QUEUE_AT(queue) <= MEMORY);
}
