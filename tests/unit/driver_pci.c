/* SPDX-License-Identifier: MIT */
#include "tests/unit/driver_pci.h"

#include "tests/unit/unit.h"

#define ECAM 0xe0000000ull

static void device_config_read(void *device, unsigned offset, uint8_t *to, unsigned size)
{
	struct driver_pci *f = device;

	assert_true(offset + size <= DRIVER_PCI_CONFIG);
	memcpy(to, f->config + offset, size);
}

static void device_config_write(void *device, unsigned offset, const uint8_t *from, unsigned size)
{
	struct driver_pci *f = device;

	assert_true(offset + size <= DRIVER_PCI_CONFIG);
	memcpy(f->config + offset, from, size);
}

static int device_start(void *device)
{
	struct driver_pci *f = device;

	f->starts++;
	return f->start_result;
}

static void device_stop(void *device)
{
	struct driver_pci *f = device;

	f->stops++;
}

static void device_resume(void *device)
{
	struct driver_pci *f = device;

	f->resumes++;
}

static void device_pause(void *device)
{
	struct driver_pci *f = device;

	f->pauses++;
}

static void device_state(void *device, unsigned instance, struct codec *codec)
{
	struct driver_pci *f = device;

	codec_begin(codec, "test", instance, 1);
	codec_bytes(codec, f->config, DRIVER_PCI_CONFIG);
	codec_end(codec);
}

static const struct virtio_ops ops = {
	.name = "test",
	.id = 42,
	.class = 0x020000,
	.config_size = DRIVER_PCI_CONFIG,
	.config_read = device_config_read,
	.config_write = device_config_write,
	.start = device_start,
	.stop = device_stop,
	.resume = device_resume,
	.pause = device_pause,
	.state = device_state,
};

uint64_t pci_get(struct driver_pci *f, unsigned offset, unsigned size)
{
	return bus_read(f->mmio, ECAM + (DRIVER_PCI_SLOT << 15) + offset, size);
}

void pci_put(struct driver_pci *f, unsigned offset, unsigned size, uint64_t value)
{
	bus_write(f->mmio, ECAM + (DRIVER_PCI_SLOT << 15) + offset, size, value);
}

uint32_t bar(struct driver_pci *f, unsigned index)
{
	return (uint32_t)pci_get(f, PCI_BAR + 4 * index, 4);
}

static void structures_find(struct driver_pci *f)
{
	unsigned at = (unsigned)pci_get(f, PCI_CAPABILITIES, 1);

	for (; at; at = (unsigned)pci_get(f, at + 1, 1)) {
		unsigned type = (unsigned)pci_get(f, at + 3, 1);

		if (pci_get(f, at, 1) != 0x09)
			continue;
		assert_true(type >= 1 && type <= 5);
		assert_int_equal(f->structure[type].capability, 0);
		f->structure[type] = (struct structure){
			.capability = at,
			.bar = (uint8_t)pci_get(f, at + 4, 1),
			.offset = (uint32_t)pci_get(f, at + 8, 4),
			.length = (uint32_t)pci_get(f, at + 12, 4),
		};
		assert_int_equal(pci_get(f, at + 2, 1), type == 2 || type == 5 ? 20 : 16);
	}
	f->notify_stride = (uint32_t)pci_get(f, f->structure[2].capability + 16, 4);
}

uint64_t structure_at(struct driver_pci *f, unsigned type, unsigned offset)
{
	return bar(f, f->structure[type].bar) + f->structure[type].offset + (uint64_t)offset;
}

uint64_t common_get(struct driver_pci *f, unsigned offset, unsigned size)
{
	return bus_read(f->mmio, structure_at(f, 1, offset), size);
}

void common_put(struct driver_pci *f, unsigned offset, unsigned size, uint64_t value)
{
	bus_write(f->mmio, structure_at(f, 1, offset), size, value);
}

uint8_t isr_read(struct driver_pci *f)
{
	return (uint8_t)bus_read(f->mmio, structure_at(f, 3, 0), 1);
}

int driver_pci_setup(void **state)
{
	struct driver_pci *f = calloc(1, sizeof(*f));
	struct pci_config config;

	assert_non_null(f);
	f->fake = fake_vm_create(1 * MIB);
	f->mmio = f->fake->vm.mmio;
	config = (struct pci_config){.vm = &f->fake->vm,
				     .ecam_base = ECAM,
				     .ecam_size = 0x100000,
				     .window_base = DRIVER_PCI_WINDOW,
				     .window_size = 0x100000,
				     .first_gsi = 16,
				     .gsi_count = 8};
	assert_int_equal(pci_bus_create(&config, &f->pci), 0);
	assert_int_equal(virtio_init(&f->vdev, &ops, f, f->fake->vm.memory, 1ull << 40 | 1,
				     DRIVER_PCI_QUEUES, 64),
			 0);
	assert_int_equal(virtio_pci_create(&f->fake->vm, f->pci, DRIVER_PCI_SLOT, &f->vdev, &f->vp),
			 0);
	pci_put(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	structures_find(f);
	for (unsigned i = 0; i < DRIVER_PCI_CONFIG; i++)
		f->config[i] = (uint8_t)(0x10 + i);
	*state = f;
	return 0;
}

int driver_pci_teardown(void **state)
{
	struct driver_pci *f = *state;

	virtio_pci_destroy(f->vp);
	virtio_fini(&f->vdev);
	assert_int_equal(f->starts - (f->start_result != 0), f->stops);
	pci_bus_destroy(f->pci);
	fake_vm_destroy(f->fake);
	free(f);
	return 0;
}

void features_write(struct driver_pci *f, uint64_t features)
{
	for (unsigned i = 0; i < 2; i++) {
		common_put(f, DRIVER_FEATURE_SELECT, 4, i);
		common_put(f, DRIVER_FEATURE, 4, features >> 32 * i & 0xffffffff);
	}
}

uint8_t status_set(struct driver_pci *f, uint8_t status)
{
	common_put(f, STATUS, 1, status);
	return (uint8_t)common_get(f, STATUS, 1);
}

void negotiate(struct driver_pci *f)
{
	status_set(f, 1);
	status_set(f, 3);
	features_write(f, VIRTIO_F_VERSION_1);
	assert_int_equal(status_set(f, 0xb), 0xb);
}

void queue_setup(struct driver_pci *f, uint16_t queue, uint16_t vector)
{
	uint64_t at = 0x10000 * (queue + 1ull);

	common_put(f, QUEUE_SELECT, 2, queue);
	common_put(f, QUEUE_SIZE, 2, 8);
	common_put(f, QUEUE_VECTOR, 2, vector);
	common_put(f, QUEUE_DESC, 4, at);
	common_put(f, QUEUE_DESC + 4, 4, 0);
	common_put(f, QUEUE_DRIVER, 4, at + 0x1000);
	common_put(f, QUEUE_DRIVER + 4, 4, 0);
	common_put(f, QUEUE_DEVICE, 4, at + 0x2000);
	common_put(f, QUEUE_DEVICE + 4, 4, 0);
	common_put(f, QUEUE_ENABLE, 2, 1);
}

void driver_ok(struct driver_pci *f)
{
	negotiate(f);
	for (uint16_t i = 0; i < DRIVER_PCI_QUEUES; i++)
		queue_setup(f, i, i + 1);
	assert_int_equal(status_set(f, 0xf), 0xf);
	assert_true(f->vdev.running);
}
