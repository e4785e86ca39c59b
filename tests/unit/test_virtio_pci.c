/* SPDX-License-Identifier: MIT */
/* virtio over PCI as a driver sees it. Sections are of virtio 1.2. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "tests/unit/driver_pci.h"
#include "tests/unit/driver_ring.h"
#include "tests/unit/state_trip.h"

static void identity_and_structures(void **state)
{
	struct driver_pci *f = *state;

	assert_int_equal(pci_get(f, PCI_VENDOR, 2), 0x1af4);
	assert_int_equal(pci_get(f, PCI_DEVICE, 2), 0x1040 + 42);
	assert_true(pci_get(f, PCI_REVISION, 1) >= 1); /* 4.1.2.1 */
	for (unsigned type = 1; type <= 4; type++) {
		const struct structure *s = &f->structure[type];

		assert_int_not_equal(s->capability, 0);
		assert_int_equal(s->bar, 0);
		assert_true(s->length > 0);
		for (unsigned other = 1; other < type; other++)
			assert_false(range_overlaps(s->offset, s->length,
						    f->structure[other].offset,
						    f->structure[other].length));
	}
	assert_true(f->structure[1].length >= 0x38);
	assert_true(f->structure[2].length >= f->notify_stride * DRIVER_PCI_QUEUES);
	assert_int_equal(f->structure[4].length, DRIVER_PCI_CONFIG);
}

static void features_offered(void **state)
{
	struct driver_pci *f = *state;
	uint64_t features = 0;

	for (unsigned i = 0; i < 2; i++) {
		common_put(f, DEVICE_FEATURE_SELECT, 4, i);
		assert_int_equal(common_get(f, DEVICE_FEATURE_SELECT, 4), i);
		features |= common_get(f, DEVICE_FEATURE, 4) << 32 * i;
	}
	assert_int_equal(features, 1ull << 40 | 1 | VIRTIO_F_COMMON);
	common_put(f, DEVICE_FEATURE_SELECT, 4, 2);
	assert_int_equal(common_get(f, DEVICE_FEATURE, 4), 0);
	common_put(f, DEVICE_FEATURE_SELECT, 4, 0xffffffff);
	assert_int_equal(common_get(f, DEVICE_FEATURE, 4), 0);
	common_put(f, DEVICE_FEATURE_SELECT, 4, 0);
	common_put(f, DEVICE_FEATURE, 4, 0); /* read-only */
	assert_int_not_equal(common_get(f, DEVICE_FEATURE, 4), 0);
}

static void features_accepted(void **state)
{
	struct driver_pci *f = *state;

	features_write(f, VIRTIO_F_VERSION_1 | 1);
	common_put(f, DRIVER_FEATURE_SELECT, 4, 2);
	common_put(f, DRIVER_FEATURE, 4, 0xffffffff); /* there are no such */
	assert_int_equal(common_get(f, DRIVER_FEATURE, 4), 0);
	common_put(f, DRIVER_FEATURE_SELECT, 4, 1);
	assert_int_equal(common_get(f, DRIVER_FEATURE, 4), 1);
	assert_int_equal(status_set(f, 0xb), 0xb);
	/* 2.2.1: fixed from then on. */
	features_write(f, 0);
	assert_int_equal(f->vdev.accepted, VIRTIO_F_VERSION_1 | 1);
}

static void features_refused(void **state)
{
	static const uint64_t bad[] = {0, 1, VIRTIO_F_VERSION_1 | 2,
				       VIRTIO_F_VERSION_1 | 1ull << 63, ~0ull};
	struct driver_pci *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		status_set(f, 0);
		status_set(f, 3);
		features_write(f, bad[i]);
		assert_int_equal(status_set(f, 0xb), 3);
		/* 3.1.1: nor does it start. */
		assert_int_equal(status_set(f, 0xf) & 0xc, 0);
		assert_int_equal(f->starts, 0);
	}
	status_set(f, 0);
	negotiate(f);
}

static void status_rules(void **state)
{
	struct driver_pci *f = *state;

	assert_int_equal(common_get(f, STATUS, 1), 0);
	assert_int_equal(status_set(f, 1), 1);
	assert_int_equal(status_set(f, 3), 3);
	assert_int_equal(status_set(f, 2), 3); /* 2.1.1: bits are not cleared */
	assert_int_equal(status_set(f, 0x83), 0x83);
	assert_int_equal(status_set(f, 0), 0);
	driver_ok(f);
	assert_int_equal(f->starts, 1);
	status_set(f, 0xf); /* again: nothing */
	assert_int_equal(f->starts, 1);
	assert_int_equal(status_set(f, 0), 0);
	assert_int_equal(f->stops, 1);
	status_set(f, 0);
	assert_int_equal(f->stops, 1);
	assert_int_equal(f->vdev.accepted, 0);
	common_put(f, QUEUE_SELECT, 2, 0);
	assert_int_equal(common_get(f, QUEUE_ENABLE, 2), 0);
	assert_int_equal(common_get(f, QUEUE_SIZE, 2), 64);
	assert_int_equal(common_get(f, QUEUE_DESC, 8), 0);
	driver_ok(f);
}

static void start_fails(void **state)
{
	struct driver_pci *f = *state;

	f->start_result = -EIO;
	negotiate(f);
	assert_int_equal(status_set(f, 0xf), 0xf | VIRTIO_STATUS_NEEDS_RESET);
	assert_int_equal(f->fake->doorbell_count, 0);
	assert_int_equal(status_set(f, 0), 0);
	assert_int_equal(f->stops, 0);
}

static void queue_fields(void **state)
{
	struct driver_pci *f = *state;

	assert_int_equal(common_get(f, NUM_QUEUES, 2), DRIVER_PCI_QUEUES);
	for (uint16_t i = 0; i < DRIVER_PCI_QUEUES; i++) {
		common_put(f, QUEUE_SELECT, 2, i);
		assert_int_equal(common_get(f, QUEUE_SELECT, 2), i);
		assert_int_equal(common_get(f, QUEUE_SIZE, 2), 64);
		assert_int_equal(common_get(f, QUEUE_NOTIFY_OFF, 2), i);
		assert_int_equal(common_get(f, QUEUE_VECTOR, 2), 0xffff);
	}
	/* 4.1.4.3.1: a queue that is not there has the size 0. */
	common_put(f, QUEUE_SELECT, 2, DRIVER_PCI_QUEUES);
	assert_int_equal(common_get(f, QUEUE_SIZE, 2), 0);
	common_put(f, QUEUE_ENABLE, 2, 1);
	common_put(f, QUEUE_DESC, 8, 0x1000);
	assert_int_equal(common_get(f, QUEUE_ENABLE, 2), 0);
	common_put(f, QUEUE_SELECT, 2, 0xffff);
	assert_int_equal(common_get(f, QUEUE_SIZE, 2), 0);
}

static void queue_address_in_halves(void **state)
{
	struct driver_pci *f = *state;

	common_put(f, QUEUE_SELECT, 2, 1);
	common_put(f, QUEUE_DESC, 4, 0x89abcde0);
	common_put(f, QUEUE_DESC + 4, 4, 0x12345678);
	assert_int_equal(common_get(f, QUEUE_DESC, 8), 0x1234567889abcde0ull);
	common_put(f, QUEUE_DRIVER + 4, 4, 1);
	assert_int_equal(common_get(f, QUEUE_DRIVER, 8), 1ull << 32);
	common_put(f, QUEUE_DEVICE, 8, 0x1122334455667788ull);
	assert_int_equal(common_get(f, QUEUE_DEVICE + 4, 4), 0x11223344);
	common_put(f, QUEUE_SELECT, 2, 2);
	assert_int_equal(common_get(f, QUEUE_DESC, 8), 0);
	/* 4.1.3.1: the driver writes fields whole or in halves; other pieces do nothing. */
	common_put(f, QUEUE_DESC, 1, 0xff);
	common_put(f, QUEUE_DESC + 2, 2, 0xffff);
	common_put(f, QUEUE_DESC + 2, 4, 0xffffffff);
	assert_int_equal(common_get(f, QUEUE_DESC, 8), 0);
}

static void queue_is_fixed_once_enabled(void **state)
{
	struct driver_pci *f = *state;

	queue_setup(f, 0, 1);
	common_put(f, QUEUE_SIZE, 2, 16);
	common_put(f, QUEUE_DESC, 8, 0);
	common_put(f, QUEUE_ENABLE, 2, 0);
	assert_int_equal(common_get(f, QUEUE_SIZE, 2), 8);
	assert_int_equal(common_get(f, QUEUE_DESC, 8), 0x10000);
	assert_int_equal(common_get(f, QUEUE_ENABLE, 2), 1);
	common_put(f, QUEUE_VECTOR, 2, 2); /* but the vector may change */
	assert_int_equal(common_get(f, QUEUE_VECTOR, 2), 2);
}

static void queue_size_is_bounded(void **state)
{
	struct driver_pci *f = *state;

	common_put(f, QUEUE_SELECT, 2, 0);
	common_put(f, QUEUE_SIZE, 2, 65);
	assert_int_equal(common_get(f, QUEUE_SIZE, 2), 64);
	common_put(f, QUEUE_SIZE, 2, 0xffff);
	assert_int_equal(common_get(f, QUEUE_SIZE, 2), 64);
	/* No power of two: it cannot start. */
	negotiate(f);
	queue_setup(f, 1, 0);
	common_put(f, QUEUE_SELECT, 2, 0);
	common_put(f, QUEUE_SIZE, 2, 6);
	common_put(f, QUEUE_ENABLE, 2, 1);
	assert_true(status_set(f, 0xf) & VIRTIO_STATUS_NEEDS_RESET);
	assert_int_equal(f->starts, 0);
}

static void queue_outside_of_memory(void **state)
{
	struct driver_pci *f = *state;

	negotiate(f);
	common_put(f, QUEUE_DESC, 8, 0xfffffffffffffff0ull);
	common_put(f, QUEUE_ENABLE, 2, 1);
	assert_true(status_set(f, 0xf) & VIRTIO_STATUS_NEEDS_RESET);
	assert_int_equal(f->starts, 0);
	status_set(f, 0);
	driver_ok(f);
}

static void vectors(void **state)
{
	struct driver_pci *f = *state;

	/* 4.1.5.1.2.1: one that cannot be had reads back as none. */
	common_put(f, CONFIG_VECTOR, 2, DRIVER_PCI_QUEUES);
	assert_int_equal(common_get(f, CONFIG_VECTOR, 2), DRIVER_PCI_QUEUES);
	common_put(f, CONFIG_VECTOR, 2, DRIVER_PCI_QUEUES + 1);
	assert_int_equal(common_get(f, CONFIG_VECTOR, 2), 0xffff);
	common_put(f, QUEUE_VECTOR, 2, 0xfffe);
	assert_int_equal(common_get(f, QUEUE_VECTOR, 2), 0xffff);
	common_put(f, CONFIG_VECTOR, 2, 0);
	status_set(f, 0);
	assert_int_equal(common_get(f, CONFIG_VECTOR, 2), 0xffff);
}

/* The device's own configuration. */

static void device_config(void **state)
{
	struct driver_pci *f = *state;

	assert_int_equal(bus_read(f->mmio, structure_at(f, 4, 0), 4), 0x13121110);
	assert_int_equal(bus_read(f->mmio, structure_at(f, 4, 1), 2), 0x1211);
	assert_int_equal(bus_read(f->mmio, structure_at(f, 4, 4), 8), 0x1b1a191817161514ull);
	/* Over its end. */
	assert_int_equal(bus_read(f->mmio, structure_at(f, 4, 8), 8), 0);
	assert_int_equal(bus_read(f->mmio, structure_at(f, 4, DRIVER_PCI_CONFIG), 1), 0);
	bus_write(f->mmio, structure_at(f, 4, 11), 2, 0);
	assert_int_equal(f->config[11], 0x1b);
	bus_write(f->mmio, structure_at(f, 4, 3), 1, 0x99);
	assert_int_equal(f->config[3], 0x99);
}

/* 4.1.4.3.1: the generation changes with it, and the driver is told. */
static void config_changes(void **state)
{
	struct driver_pci *f = *state;
	uint8_t before = (uint8_t)common_get(f, GENERATION, 1);

	virtio_config_changed(&f->vdev);
	assert_int_not_equal(common_get(f, GENERATION, 1), before);
	assert_true(f->fake->level[DRIVER_PCI_GSI]);
	assert_int_equal(isr_read(f), 2);
	assert_false(f->fake->level[DRIVER_PCI_GSI]);
	assert_int_equal(isr_read(f), 0);
}

/* Odd accesses anywhere in the BAR neither crash nor change what they should not. */
static void odd_accesses(void **state)
{
	struct driver_pci *f = *state;
	uint64_t base = bar(f, 0);

	driver_ok(f);
	for (unsigned size = 1; size <= 8; size *= 2) {
		for (unsigned offset = 0; offset + size <= 0x4000; offset += 7) {
			if (range_overlaps(offset, size, STATUS, 1))
				continue;
			bus_read(f->mmio, base + offset, size);
			bus_write(f->mmio, base + offset, size, ~0ull);
			bus_write(f->mmio, base + offset, size, 0);
		}
	}
	assert_int_equal(common_get(f, STATUS, 1), 0xf);
	/* A read of the structure of any size is a piece of it. */
	common_put(f, QUEUE_SELECT, 2, 1);
	assert_int_equal(common_get(f, QUEUE_SIZE, 1), 8);
	assert_int_equal(common_get(f, NUM_QUEUES + 1, 2), 0xf00);
	/* Over its end. */
	assert_int_equal(common_get(f, 0x34, 8), 0);
	assert_int_equal(common_get(f, 0x38, 4), 0);
}

/* Interrupts. */

static void intx_and_isr(void **state)
{
	struct driver_pci *f = *state;

	driver_ok(f);
	assert_int_equal(isr_read(f), 0);
	f->vdev.transport_ops->queue_interrupt(f->vp, 0);
	f->vdev.transport_ops->queue_interrupt(f->vp, 2);
	assert_true(f->fake->level[DRIVER_PCI_GSI]);
	assert_int_equal(f->fake->rises[DRIVER_PCI_GSI], 1);
	f->vdev.transport_ops->config_interrupt(f->vp);
	assert_int_equal(isr_read(f), 3);
	assert_false(f->fake->level[DRIVER_PCI_GSI]);
	assert_int_equal(isr_read(f), 0);
	/* A reset takes the line down. */
	f->vdev.transport_ops->queue_interrupt(f->vp, 0);
	status_set(f, 0);
	assert_false(f->fake->level[DRIVER_PCI_GSI]);
	assert_int_equal(isr_read(f), 0);
}

/* As a queue's thread does: the bus keeps it waiting while it drives the line for the other. */
struct interrupter {
	struct driver_pci *f;
	pthread_t thread;
};

static void *interrupter_main(void *arg)
{
	struct interrupter *i = arg;

	i->f->vdev.transport_ops->queue_interrupt(i->f->vp, 0);
	return NULL;
}

static void interrupt_again(void *arg)
{
	struct interrupter *i = arg;

	assert_int_equal(pthread_create(&i->thread, NULL, interrupter_main, i), 0);
}

/*
 * Found by reading: a queue's thread interrupted between the driver's read of the ISR and the fall
 * of the line. The line fell with the bit set, and no interrupt came any more.
 */
static void interrupt_during_isr_read(void **state)
{
	struct driver_pci *f = *state;
	struct interrupter i = {.f = f};
	uint8_t seen;

	driver_ok(f);
	f->vdev.transport_ops->queue_interrupt(f->vp, 0);
	f->fake->before_irq = interrupt_again;
	f->fake->before_irq_arg = &i;
	seen = isr_read(f);
	assert_int_equal(pthread_join(i.thread, NULL), 0);
	assert_int_equal(seen, 1);
	/* Either the read saw the second one too, or it is still to be seen. */
	assert_true(f->fake->level[DRIVER_PCI_GSI] || isr_read(f) == 0);
}

static void msix_interrupts(void **state)
{
	struct driver_pci *f = *state;
	unsigned cap = (unsigned)pci_get(f, PCI_CAPABILITIES, 1);

	while (pci_get(f, cap, 1) != 0x11)
		cap = (unsigned)pci_get(f, cap + 1, 1);
	assert_int_equal(pci_get(f, cap + 2, 2) & 0x7ff, DRIVER_PCI_QUEUES); /* less one */
	for (unsigned i = 0; i <= DRIVER_PCI_QUEUES; i++) {
		bus_write(f->mmio, bar(f, 1) + 16ull * i + 8, 4, 0x40 + i);
		bus_write(f->mmio, bar(f, 1) + 16ull * i + 12, 4, 0);
	}
	pci_put(f, cap + 2, 2, 0x8000);
	driver_ok(f);
	common_put(f, CONFIG_VECTOR, 2, 0);
	for (unsigned i = 0; i < DRIVER_PCI_QUEUES; i++) {
		f->vdev.transport_ops->queue_interrupt(f->vp, i);
		for (unsigned k = 0; k <= DRIVER_PCI_QUEUES; k++)
			assert_int_equal(fake_line_signals(fake_line_find(f->fake, 0x40 + k)),
					 k == i + 1);
	}
	f->vdev.transport_ops->config_interrupt(f->vp);
	assert_int_equal(fake_line_signals(fake_line_find(f->fake, 0x40)), 1);
	/* No vector: nothing, and no INTx either. */
	common_put(f, QUEUE_SELECT, 2, 0);
	common_put(f, QUEUE_VECTOR, 2, 0xffff);
	f->vdev.transport_ops->queue_interrupt(f->vp, 0);
	assert_false(f->fake->level[DRIVER_PCI_GSI]);
	assert_int_equal(isr_read(f), 0);
}

static void broken_device_tells(void **state)
{
	struct driver_pci *f = *state;

	virtio_broken(&f->vdev, "before DRIVER_OK");
	assert_false(
		f->fake->level[DRIVER_PCI_GSI]); /* 2.1.2: only a driver that is there is told */
	assert_int_equal(common_get(f, STATUS, 1), VIRTIO_STATUS_NEEDS_RESET);
	status_set(f, 0);
	driver_ok(f);
	virtio_broken(&f->vdev, "once");
	virtio_broken(&f->vdev, "twice");
	assert_int_equal(common_get(f, STATUS, 1), 0xf | VIRTIO_STATUS_NEEDS_RESET);
	assert_int_equal(f->fake->rises[DRIVER_PCI_GSI], 1);
	assert_int_equal(isr_read(f), 2);
}

/* Doorbells. */

static bool kicked(struct driver_pci *f, unsigned queue)
{
	struct pollfd p = {.fd = f->vdev.queue[queue].kick_fd, .events = POLLIN};
	bool ready = poll(&p, 1, 0) == 1;

	if (ready)
		virtio_queue_drain_kick(&f->vdev, queue);
	return ready;
}

static void check_doorbells(struct driver_pci *f)
{
	assert_int_equal(f->fake->doorbell_count, DRIVER_PCI_QUEUES);
	for (unsigned i = 0; i < DRIVER_PCI_QUEUES; i++) {
		const struct doorbell *d =
			fake_doorbell_find(f->fake, structure_at(f, 2, i * f->notify_stride));

		assert_non_null(d);
		assert_true(d->mmio);
		assert_int_equal(d->fd, f->vdev.queue[i].kick_fd);
	}
}

static void doorbells_come_and_go(void **state)
{
	struct driver_pci *f = *state;
	uint32_t old = bar(f, 0);

	assert_int_equal(f->fake->doorbell_count, 0);
	driver_ok(f);
	check_doorbells(f);
	pci_put(f, PCI_BAR, 4, DRIVER_PCI_WINDOW + 0x80000);
	check_doorbells(f);
	pci_put(f, PCI_BAR, 4, 0x1000); /* outside of the window */
	assert_int_equal(f->fake->doorbell_count, 0);
	pci_put(f, PCI_BAR, 4, old);
	check_doorbells(f);
	pci_put(f, PCI_COMMAND, 2, 0);
	assert_int_equal(f->fake->doorbell_count, 0);
	pci_put(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	check_doorbells(f);
	status_set(f, 0);
	assert_int_equal(f->fake->doorbell_count, 0);
	driver_ok(f);
	check_doorbells(f);
	virtio_pci_reset(f->vp);
	assert_int_equal(f->fake->doorbell_count, 0);
	assert_int_equal(f->stops, 2);
}

/* A write that arrives here rings as well. */
static void notify_by_hand(void **state)
{
	struct driver_pci *f = *state;

	bus_write(f->mmio, structure_at(f, 2, 0), 2, 0);
	assert_false(kicked(f, 0)); /* not before DRIVER_OK */
	driver_ok(f);
	for (unsigned i = 0; i < DRIVER_PCI_QUEUES; i++) {
		bus_write(f->mmio, structure_at(f, 2, i * f->notify_stride), 2, i);
		for (unsigned k = 0; k < DRIVER_PCI_QUEUES; k++)
			assert_int_equal(kicked(f, k), k == i);
	}
	bus_write(f->mmio, structure_at(f, 2, DRIVER_PCI_QUEUES * f->notify_stride), 2, 0);
	bus_write(f->mmio, bar(f, 0) + 0x3ffcull, 4, 0);
	for (unsigned k = 0; k < DRIVER_PCI_QUEUES; k++)
		assert_false(kicked(f, k));
}

/* Doorbells run out half way: none is left, and the device works by hand. */
static void doorbells_run_out(void **state)
{
	struct driver_pci *f = *state;

	f->fake->doorbells_left = 2;
	driver_ok(f);
	assert_int_equal(f->fake->doorbell_count, 0);
	bus_write(f->mmio, structure_at(f, 2, 0), 2, 0);
	assert_true(kicked(f, 0));
	f->fake->doorbells_left = -1;
	status_set(f, 0);
	driver_ok(f);
	check_doorbells(f);
}

/* 4.1.4.9: the way in for those who cannot map BARs. */

static void window_set(struct driver_pci *f, uint8_t bar_index, uint32_t offset, uint32_t length)
{
	unsigned cap = f->structure[5].capability;

	pci_put(f, cap + 4, 1, bar_index);
	pci_put(f, cap + 8, 4, offset);
	pci_put(f, cap + 12, 4, length);
}

static void config_access_window(void **state)
{
	struct driver_pci *f = *state;
	unsigned data = f->structure[5].capability + 16;

	pci_put(f, PCI_COMMAND, 2, 0); /* it does not need the BAR mapped */
	window_set(f, 0, f->structure[1].offset + NUM_QUEUES, 2);
	assert_int_equal(pci_get(f, data, 2), DRIVER_PCI_QUEUES);
	window_set(f, 0, f->structure[1].offset + QUEUE_SELECT, 2);
	pci_put(f, data, 2, 2);
	assert_int_equal(pci_get(f, data, 2), 2);
	window_set(f, 0, f->structure[1].offset + STATUS, 1);
	pci_put(f, data, 1, 3);
	assert_int_equal(atomic_load(&f->vdev.status), 3);
	window_set(f, 0, f->structure[4].offset, 4);
	assert_int_equal(pci_get(f, data, 4), 0x13121110);
	window_set(f, 1, 12, 4); /* the MSI-X table */
	assert_int_equal(pci_get(f, data, 4), 1);
}

static void config_access_window_refuses(void **state)
{
	static const struct {
		uint8_t bar;
		uint32_t offset, length;
	} bad[] = {
		{0, STATUS, 0}, {0, STATUS, 3},     {0, STATUS, 8}, {0, STATUS, 0xffffffff},
		{0, 0x15, 2},   {2, 0, 4},          {6, 0, 4},      {255, 0, 4},
		{0, 0x4000, 4}, {0, 0xfffffffc, 4}, {0, 0x3ffe, 4}, {1, 0x1000, 1},
	};
	struct driver_pci *f = *state;
	unsigned data = f->structure[5].capability + 16;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		window_set(f, bad[i].bar, bad[i].offset, bad[i].length);
		pci_put(f, data, 4, 0x03030303);
		pci_get(f, data, 4);
		pci_put(f, data, 1, 3);
	}
	assert_int_equal(atomic_load(&f->vdev.status), 0);
}

static void whole_reset(void **state)
{
	struct driver_pci *f = *state;

	driver_ok(f);
	common_put(f, DEVICE_FEATURE_SELECT, 4, 1);
	f->vdev.transport_ops->queue_interrupt(f->vp, 0);
	virtio_pci_reset(f->vp);
	assert_int_equal(f->stops, 1);
	assert_false(f->fake->level[DRIVER_PCI_GSI]);
	assert_int_equal(pci_get(f, PCI_COMMAND, 2), 0);
	pci_put(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(common_get(f, STATUS, 1), 0);
	assert_int_equal(common_get(f, DEVICE_FEATURE_SELECT, 4), 0);
	assert_int_equal(common_get(f, QUEUE_SELECT, 2), 0);
	driver_ok(f);
}

static void pci_state(void *thing, struct codec *c)
{
	struct driver_pci *f = thing;

	pci_bus_state(f->pci, c);
	virtio_pci_state(f->vp, c);
}

static void *pci_make(void *arg)
{
	void *f = NULL;

	(void)arg;
	driver_pci_setup(&f);
	pci_put(f, PCI_COMMAND, 2, 0); /* as after power-on */
	return f;
}

static void pci_unmake(void *thing)
{
	driver_pci_teardown(&thing);
}

/* A driver with MSI-X, whose BAR lies where it put it. */
static void msix_driver(struct driver_pci *f)
{
	unsigned cap = 0;

	pci_put(f, PCI_BAR, 4, DRIVER_PCI_WINDOW + 0x80000);
	for (unsigned at = (unsigned)pci_get(f, PCI_CAPABILITIES, 1); at && !cap;
	     at = (unsigned)pci_get(f, at + 1, 1))
		if (pci_get(f, at, 1) == 0x11)
			cap = at;
	driver_ok(f);
	common_put(f, CONFIG_VECTOR, 2, 0);
	for (unsigned i = 0; i <= DRIVER_PCI_QUEUES; i++) {
		bus_write(f->mmio, bar(f, 1) + 16 * i, 4, 0xfee00000);
		bus_write(f->mmio, bar(f, 1) + 16 * i + 8, 4, 0x40 + i);
		bus_write(f->mmio, bar(f, 1) + 16 * i + 12, 4, i == 2); /* one stays masked */
	}
	pci_put(f, cap + 2, 2, 0x8000);
	virtio_queue_publish(&f->vdev, 0);
}

static void saved_with_msix(void **state)
{
	struct driver_pci *f = *state, *to = pci_make(NULL);
	uint64_t doorbell;

	msix_driver(f);
	f->vdev.transport_ops->queue_interrupt(f->vdev.transport, 1); /* masked: it waits */
	virtio_pci_pause(f->vp);
	assert_int_equal(f->pauses, 1);
	f->config[3] = 0x99;
	state_trip(pci_state, f, to);
	assert_int_equal(bar(to, 0), DRIVER_PCI_WINDOW + 0x80000);
	assert_int_equal(common_get(to, STATUS, 1), 0xf);
	assert_int_equal(to->starts, 1);
	assert_int_equal(to->resumes, 0);
	assert_int_equal(to->config[3], 0x99);
	for (unsigned i = 0; i <= DRIVER_PCI_QUEUES; i++) {
		struct msi_line *line = fake_line_find(to->fake, 0x40 + i);

		assert_true((line != NULL) == (i != 2));
		if (line)
			assert_int_equal(fake_line_signals(line), 0);
	}
	doorbell = structure_at(to, 2, to->notify_stride);
	assert_non_null(fake_doorbell_find(to->fake, doorbell));
	assert_int_equal(to->fake->doorbell_count, DRIVER_PCI_QUEUES);
	/* Each queue is rung, and each vector sent, once. */
	virtio_pci_resume(to->vp);
	assert_int_equal(to->resumes, 1);
	for (unsigned i = 0; i < DRIVER_PCI_QUEUES; i++) {
		struct pollfd p = {.fd = to->vdev.queue[i].kick_fd, .events = POLLIN};

		assert_int_equal(poll(&p, 1, 0), 1);
	}
	for (unsigned i = 0; i <= DRIVER_PCI_QUEUES; i++)
		if (i != 2)
			assert_int_equal(fake_line_signals(fake_line_find(to->fake, 0x40 + i)), 1);
	bus_write(to->mmio, bar(to, 1) + 16 * 2 + 12, 4, 0);
	assert_int_equal(fake_line_signals(fake_line_find(to->fake, 0x42)), 1);
	pci_unmake(to);
}

static void saved_with_intx(void **state)
{
	struct driver_pci *f = *state, *to = pci_make(NULL);

	driver_ok(f);
	f->vdev.transport_ops->queue_interrupt(f->vdev.transport, 0);
	virtio_pci_pause(f->vp);
	assert_true(f->fake->level[DRIVER_PCI_GSI]);
	state_trip(pci_state, f, to);
	assert_true(to->fake->level[DRIVER_PCI_GSI]);
	assert_int_equal(isr_read(to), 1);
	assert_false(to->fake->level[DRIVER_PCI_GSI]);
	pci_unmake(to);
}

static void saved_before_its_driver(void **state)
{
	struct driver_pci *f = *state, *to = pci_make(NULL);

	negotiate(f);
	queue_setup(f, 1, 2);
	virtio_pci_pause(f->vp);
	assert_int_equal(f->pauses, 0);
	state_trip(pci_state, f, to);
	virtio_pci_resume(to->vp);
	assert_int_equal(to->resumes, 0);
	assert_int_equal(to->starts, 0);
	assert_int_equal(common_get(to, QUEUE_SELECT, 2), 1);
	assert_int_equal(common_get(to, QUEUE_DESC, 8), 0x20000);
	assert_int_equal(status_set(to, 0xf), 0xf);
	assert_int_equal(to->starts, 1);
	assert_int_equal(to->resumes, 1);
	pci_unmake(to);
}

static void another_device_is_refused(void **state)
{
	struct driver_pci *f = *state, *to = pci_make(NULL);
	struct error err = {0};
	struct state_bytes s;

	to->vdev.queue[0].size_max = 4; /* nothing that PCI shows */
	driver_ok(f);
	virtio_pci_pause(f->vp);
	s = state_save(pci_state, f);
	assert_true(state_load(pci_state, to, &s, &err) < 0);
	assert_non_null(strstr(err.what, "section 'virtio' 3: size of a queue"));
	s.bytes[12 + 36 + 2 * (32 + 256) - 256] ^= 1; /* the vendor */
	err = (struct error){0};
	pci_unmake(to);
	to = pci_make(NULL);
	assert_int_equal(state_load(pci_state, to, &s, &err), -EINVAL);
	assert_non_null(strstr(err.what, "section 'pci-function' 3: it is of another device"));
	free(s.bytes);
	pci_unmake(to);
}

static void hostile_states(void **state)
{
	struct driver_pci *f = *state;
	struct state_bytes s;

	msix_driver(f);
	virtio_pci_pause(f->vp);
	s = state_save(pci_state, f);
	state_torture(pci_state, &s, pci_make, pci_unmake, NULL);
	free(s.bytes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, driver_pci_setup, driver_pci_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(identity_and_structures),
		TEST(features_offered),
		TEST(features_accepted),
		TEST(features_refused),
		TEST(status_rules),
		TEST(start_fails),
		TEST(queue_fields),
		TEST(queue_address_in_halves),
		TEST(queue_is_fixed_once_enabled),
		TEST(queue_size_is_bounded),
		TEST(queue_outside_of_memory),
		TEST(vectors),
		TEST(device_config),
		TEST(config_changes),
		TEST(odd_accesses),
		TEST(intx_and_isr),
		TEST(interrupt_during_isr_read),
		TEST(msix_interrupts),
		TEST(broken_device_tells),
		TEST(doorbells_come_and_go),
		TEST(notify_by_hand),
		TEST(doorbells_run_out),
		TEST(config_access_window),
		TEST(config_access_window_refuses),
		TEST(whole_reset),
		TEST(saved_with_msix),
		TEST(saved_with_intx),
		TEST(saved_before_its_driver),
		TEST(another_device_is_refused),
		TEST(hostile_states),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
