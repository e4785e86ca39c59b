/* SPDX-License-Identifier: MIT */
/*
 * virtio over PCI. BAR 0 holds the four structures of 4.1.4, BAR 1 the MSI-X table. A queue's
 * doorbell goes straight to its eventfd while the device runs; a write that still arrives here does
 * the same by hand. Sections are of virtio 1.2.
 */
#include "devices/virtio/virtio_pci.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/pci/msix.h"
#include "vmm/base/bytes.h"
#include "vmm/base/checked.h"

#define VIRTIO_VENDOR        0x1af4
#define VIRTIO_DEVICE_MODERN 0x1040 /* plus the device's id */

/* BAR 0. */
#define BAR_STRUCTURES 0
#define BAR_SIZE       0x4000u
#define COMMON_AT      0x0000u
#define COMMON_SIZE    0x38u
#define ISR_AT         0x0800u
#define ISR_SIZE       1u
#define CONFIG_AT      0x1000u
#define NOTIFY_AT      0x2000u
#define NOTIFY_STRIDE  4u

/* BAR 1. */
#define BAR_MSIX      1
#define MSIX_BAR_SIZE 0x1000u
#define MSIX_PBA_AT   0x0800u

/* 4.1.4: vendor-specific capabilities. */
#define CAP_VENDOR        0x09
#define CAP_LENGTH        16u
#define CAP_NOTIFY_LENGTH 20u
#define CAP_PCI_LENGTH    20u
enum { CFG_COMMON = 1, CFG_NOTIFY, CFG_ISR, CFG_DEVICE, CFG_PCI };

/* 4.1.4.3: the common configuration. */
enum {
	COMMON_DEVICE_FEATURE_SELECT = 0x00,
	COMMON_DEVICE_FEATURE = 0x04,
	COMMON_DRIVER_FEATURE_SELECT = 0x08,
	COMMON_DRIVER_FEATURE = 0x0c,
	COMMON_CONFIG_VECTOR = 0x10,
	COMMON_QUEUES = 0x12,
	COMMON_STATUS = 0x14,
	COMMON_GENERATION = 0x15,
	COMMON_QUEUE_SELECT = 0x16,
	COMMON_QUEUE_SIZE = 0x18,
	COMMON_QUEUE_VECTOR = 0x1a,
	COMMON_QUEUE_ENABLE = 0x1c,
	COMMON_QUEUE_NOTIFY_OFF = 0x1e,
	COMMON_QUEUE_DESC = 0x20,
	COMMON_QUEUE_DRIVER = 0x28,
	COMMON_QUEUE_DEVICE = 0x30,
};

#define ISR_QUEUE  1u
#define ISR_CONFIG 2u

struct virtio_pci {
	struct vm *vm;
	struct virtio_device *vdev;
	struct pci_function pci;
	struct msix msix;
	unsigned pci_cap; /* offset of the configuration-access capability */
	_Atomic uint8_t isr;
	_Atomic uint16_t config_vector;
	pthread_mutex_t lock; /* guards all below and vdev; after the PCI bus's lock */
	uint32_t device_feature_select, driver_feature_select;
	uint16_t queue_select;
	uint64_t bar_address;
	bool bar_mapped;
	bool doorbells; /* installed at bar_address */
};

/* Interrupts: any thread. */

static void interrupt(struct virtio_pci *vp, uint16_t vector, uint8_t reason)
{
	if (msix_signal(&vp->msix, vector))
		return;
	atomic_fetch_or(&vp->isr, reason);
	pci_intx_set(&vp->pci, true);
}

static void queue_interrupt(void *transport, unsigned queue)
{
	struct virtio_pci *vp = transport;

	interrupt(vp, atomic_load_explicit(&vp->vdev->queue[queue].vector, memory_order_relaxed),
		  ISR_QUEUE);
}

static void config_interrupt(void *transport)
{
	struct virtio_pci *vp = transport;

	interrupt(vp, atomic_load_explicit(&vp->config_vector, memory_order_relaxed), ISR_CONFIG);
}

static const struct virtio_transport_ops transport_ops = {
	.queue_interrupt = queue_interrupt,
	.config_interrupt = config_interrupt,
};

/* Doorbells. The lock is held. */

static struct doorbell doorbell_of(const struct virtio_pci *vp, unsigned queue)
{
	return (struct doorbell){
		.mmio = true,
		.address = vp->bar_address + NOTIFY_AT + NOTIFY_STRIDE * (uint64_t)queue,
		.fd = vp->vdev->queue[queue].kick_fd,
	};
}

static void doorbells_remove(struct virtio_pci *vp, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct doorbell d = doorbell_of(vp, i);

		vm_doorbell_remove(vp->vm, &d);
	}
}

/* Without doorbells the device still works, by way of notify_write: all or none. */
static void doorbells_update(struct virtio_pci *vp)
{
	bool want = vp->bar_mapped && vp->vdev->running;

	if (want == vp->doorbells)
		return;
	if (!want) {
		doorbells_remove(vp, vp->vdev->queue_count);
		vp->doorbells = false;
		return;
	}
	for (unsigned i = 0; i < vp->vdev->queue_count; i++) {
		struct doorbell d = doorbell_of(vp, i);

		if (vm_doorbell_add(vp->vm, &d)) {
			doorbells_remove(vp, i);
			return;
		}
	}
	vp->doorbells = true;
}

static void bar_moved(void *device, unsigned bar, uint64_t address, bool mapped)
{
	struct virtio_pci *vp = device;

	if (bar != BAR_STRUCTURES)
		return;
	pthread_mutex_lock(&vp->lock);
	vp->bar_mapped = mapped && vp->bar_mapped;
	doorbells_update(vp);
	vp->bar_mapped = mapped;
	vp->bar_address = address;
	doorbells_update(vp);
	pthread_mutex_unlock(&vp->lock);
}

/* 4.1.4.3: the common configuration structure. The lock is held. */

static uint32_t feature_word(uint64_t features, uint32_t select)
{
	return select < 2 ? (uint32_t)(features >> 32 * select) : 0;
}

static struct virtio_queue *selected_queue(struct virtio_pci *vp)
{
	return vp->queue_select < vp->vdev->queue_count ? &vp->vdev->queue[vp->queue_select] : NULL;
}

/* The structure as bytes, so that any access is a copy of a part. */
static void common_image(struct virtio_pci *vp, uint8_t *image)
{
	struct virtio_device *vdev = vp->vdev;
	const struct virtio_queue *q = selected_queue(vp);

	memset(image, 0, COMMON_SIZE);
	le32_put(image + COMMON_DEVICE_FEATURE_SELECT, vp->device_feature_select);
	le32_put(image + COMMON_DEVICE_FEATURE,
		 feature_word(vdev->offered, vp->device_feature_select));
	le32_put(image + COMMON_DRIVER_FEATURE_SELECT, vp->driver_feature_select);
	le32_put(image + COMMON_DRIVER_FEATURE,
		 feature_word(vdev->accepted, vp->driver_feature_select));
	le16_put(image + COMMON_CONFIG_VECTOR, atomic_load(&vp->config_vector));
	le16_put(image + COMMON_QUEUES, (uint16_t)vdev->queue_count);
	image[COMMON_STATUS] = atomic_load(&vdev->status);
	image[COMMON_GENERATION] = atomic_load(&vdev->generation);
	le16_put(image + COMMON_QUEUE_SELECT, vp->queue_select);
	if (!q)
		return; /* 4.1.4.3.1: size 0 where there is no such queue */
	le16_put(image + COMMON_QUEUE_SIZE, q->size);
	le16_put(image + COMMON_QUEUE_VECTOR, atomic_load(&q->vector));
	le16_put(image + COMMON_QUEUE_ENABLE, q->enabled);
	le16_put(image + COMMON_QUEUE_NOTIFY_OFF, vp->queue_select);
	le64_put(image + COMMON_QUEUE_DESC, q->desc);
	le64_put(image + COMMON_QUEUE_DRIVER, q->avail);
	le64_put(image + COMMON_QUEUE_DEVICE, q->used);
}

static uint16_t vector_accept(const struct virtio_pci *vp, uint64_t vector)
{
	return vector < vp->msix.count ? (uint16_t)vector : MSIX_NO_VECTOR;
}

/* A 64-bit address may be written whole or in halves (4.1.3.1). */
static void address_write(uint64_t *address, unsigned offset, unsigned size, uint64_t value)
{
	if (size == 8 && offset == 0)
		*address = value;
	else if (size == 4 && offset == 0)
		*address = (*address & ~0xffffffffull) | (uint32_t)value;
	else if (size == 4 && offset == 4)
		*address = (*address & 0xffffffffull) | value << 32;
}

static void queue_write(struct virtio_pci *vp, unsigned offset, unsigned size, uint64_t value)
{
	struct virtio_queue *q = selected_queue(vp);

	if (!q)
		return;
	if (offset == COMMON_QUEUE_VECTOR) {
		atomic_store(&q->vector, vector_accept(vp, value));
		return;
	}
	/* 4.1.4.3.2: the rest is fixed once the queue is enabled; 3.1.1: so is all at DRIVER_OK. */
	if (q->enabled || atomic_load(&vp->vdev->status) & VIRTIO_STATUS_DRIVER_OK)
		return;
	if (offset == COMMON_QUEUE_SIZE && value <= q->size_max)
		q->size = (uint16_t)value;
	else if (offset == COMMON_QUEUE_ENABLE && value == 1)
		q->enabled = true;
	else if (offset >= COMMON_QUEUE_DEVICE)
		address_write(&q->used, offset - COMMON_QUEUE_DEVICE, size, value);
	else if (offset >= COMMON_QUEUE_DRIVER)
		address_write(&q->avail, offset - COMMON_QUEUE_DRIVER, size, value);
	else if (offset >= COMMON_QUEUE_DESC)
		address_write(&q->desc, offset - COMMON_QUEUE_DESC, size, value);
}

static void driver_feature_write(struct virtio_pci *vp, uint32_t value)
{
	struct virtio_device *vdev = vp->vdev;
	unsigned shift = 32 * vp->driver_feature_select;

	/* 2.2.1: fixed once FEATURES_OK is set. */
	if (vp->driver_feature_select > 1 || atomic_load(&vdev->status) & VIRTIO_STATUS_FEATURES_OK)
		return;
	vdev->accepted = (vdev->accepted & ~(0xffffffffull << shift)) | (uint64_t)value << shift;
}

static void device_reset(struct virtio_pci *vp)
{
	/* No doorbell may ring a queue that is being taken down. */
	bool mapped = vp->bar_mapped;

	vp->bar_mapped = false;
	doorbells_update(vp);
	vp->bar_mapped = mapped;
	virtio_status_write(vp->vdev, 0);
	/* Only now: until it had stopped, its queues could still interrupt. */
	atomic_store(&vp->config_vector, MSIX_NO_VECTOR);
	atomic_store(&vp->isr, 0);
	pci_intx_set(&vp->pci, false);
}

static void status_write(struct virtio_pci *vp, uint8_t value)
{
	if (value == 0) {
		device_reset(vp);
		return;
	}
	virtio_status_write(vp->vdev, value);
	doorbells_update(vp);
}

static void common_write(struct virtio_pci *vp, unsigned offset, unsigned size, uint64_t value)
{
	switch (offset) {
	case COMMON_DEVICE_FEATURE_SELECT:
		vp->device_feature_select = (uint32_t)value;
		break;
	case COMMON_DRIVER_FEATURE_SELECT:
		vp->driver_feature_select = (uint32_t)value;
		break;
	case COMMON_DRIVER_FEATURE:
		driver_feature_write(vp, (uint32_t)value);
		break;
	case COMMON_CONFIG_VECTOR:
		atomic_store(&vp->config_vector, vector_accept(vp, value));
		break;
	case COMMON_STATUS:
		status_write(vp, (uint8_t)value);
		break;
	case COMMON_QUEUE_SELECT:
		vp->queue_select = (uint16_t)value;
		break;
	default:
		queue_write(vp, offset, size, value);
		break;
	}
}

/*
 * 4.1.4.5: reading acknowledges. The line falls before the bits are taken: an interrupt in between
 * then is seen now, with at worst a spurious one later; the other way round it would be lost.
 */
static uint8_t isr_read(struct virtio_pci *vp)
{
	pci_intx_set(&vp->pci, false);
	return atomic_exchange(&vp->isr, 0);
}

static void notify_write(struct virtio_pci *vp, unsigned offset)
{
	unsigned queue = offset / NOTIFY_STRIDE;
	uint64_t one = 1;

	if (queue < vp->vdev->queue_count && vp->vdev->running &&
	    write(vp->vdev->queue[queue].kick_fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: it rings anyway */
}

static uint64_t structures_read(struct virtio_pci *vp, unsigned offset, unsigned size)
{
	const struct virtio_ops *ops = vp->vdev->ops;
	uint8_t bytes[8] = {0};

	if (range_within(offset, size, COMMON_AT, COMMON_SIZE)) {
		uint8_t image[COMMON_SIZE];

		common_image(vp, image);
		memcpy(bytes, image + offset - COMMON_AT, size);
	} else if (offset == ISR_AT) {
		bytes[0] = isr_read(vp);
	} else if (range_within(offset, size, CONFIG_AT, ops->config_size)) {
		ops->config_read(vp->vdev->device, offset - CONFIG_AT, bytes, size);
	}
	return le64_get(bytes);
}

static void structures_write(struct virtio_pci *vp, unsigned offset, unsigned size, uint64_t value)
{
	const struct virtio_ops *ops = vp->vdev->ops;
	uint8_t bytes[8];

	le64_put(bytes, value);
	if (range_within(offset, size, COMMON_AT, COMMON_SIZE))
		common_write(vp, offset - COMMON_AT, size, value);
	else if (offset >= NOTIFY_AT)
		notify_write(vp, offset - NOTIFY_AT);
	else if (ops->config_write && range_within(offset, size, CONFIG_AT, ops->config_size))
		ops->config_write(vp->vdev->device, offset - CONFIG_AT, bytes, size);
}

static uint64_t msix_read(struct virtio_pci *vp, uint64_t offset, unsigned size)
{
	if (offset < MSIX_PBA_AT)
		return msix_table_read(&vp->msix, offset, size);
	return msix_pba_read(&vp->msix, offset - MSIX_PBA_AT, size);
}

static uint64_t vp_bar_read(void *device, unsigned bar, uint64_t offset, unsigned size)
{
	struct virtio_pci *vp = device;
	uint64_t value;

	if (bar == BAR_MSIX)
		return msix_read(vp, offset, size);
	pthread_mutex_lock(&vp->lock);
	value = structures_read(vp, (unsigned)offset, size);
	pthread_mutex_unlock(&vp->lock);
	return value;
}

static void vp_bar_write(void *device, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	struct virtio_pci *vp = device;

	if (bar == BAR_MSIX) {
		if (offset < MSIX_PBA_AT)
			msix_table_write(&vp->msix, offset, size, value);
		return;
	}
	pthread_mutex_lock(&vp->lock);
	structures_write(vp, (unsigned)offset, size, value);
	pthread_mutex_unlock(&vp->lock);
}

/* 4.1.4.9: BAR accesses by way of configuration space. */

static bool pci_cap_window(const struct virtio_pci *vp, unsigned *bar, uint32_t *offset,
			   uint32_t *size)
{
	const uint8_t *cap = vp->pci.config + vp->pci_cap;

	*bar = cap[4];
	*offset = le32_get(cap + 8);
	*size = le32_get(cap + 12);
	return *bar < PCI_BARS && (*size == 1 || *size == 2 || *size == 4) &&
	       *offset % *size == 0 && range_within(*offset, *size, 0, vp->pci.bar[*bar].size);
}

static void config_reading(void *device, unsigned offset, unsigned size)
{
	struct virtio_pci *vp = device;
	uint32_t at, length;
	unsigned bar;

	if (range_overlaps(offset, size, vp->pci_cap + CAP_LENGTH, 4) &&
	    pci_cap_window(vp, &bar, &at, &length))
		le32_put(vp->pci.config + vp->pci_cap + CAP_LENGTH,
			 (uint32_t)vp_bar_read(vp, bar, at, length));
}

static void config_written(void *device, unsigned offset, unsigned size)
{
	struct virtio_pci *vp = device;
	uint32_t at, length;
	unsigned bar;

	msix_config_written(&vp->msix, offset, size);
	if (range_overlaps(offset, size, vp->pci_cap + CAP_LENGTH, 4) &&
	    pci_cap_window(vp, &bar, &at, &length))
		vp_bar_write(vp, bar, at, length,
			     le32_get(vp->pci.config + vp->pci_cap + CAP_LENGTH));
}

static const struct pci_ops vp_pci_ops = {
	.bar_read = vp_bar_read,
	.bar_write = vp_bar_write,
	.bar_moved = bar_moved,
	.config_written = config_written,
	.config_reading = config_reading,
};

static unsigned capability_add(struct virtio_pci *vp, uint8_t type, unsigned length, uint32_t at,
			       uint32_t size)
{
	unsigned offset = pci_function_add_capability(&vp->pci, CAP_VENDOR, length);
	uint8_t *cap = vp->pci.config + offset;

	cap[2] = (uint8_t)length;
	cap[3] = type;
	cap[4] = BAR_STRUCTURES;
	le32_put(cap + 8, at);
	le32_put(cap + 12, size);
	return offset;
}

static void capabilities_add(struct virtio_pci *vp)
{
	unsigned offset;

	capability_add(vp, CFG_COMMON, CAP_LENGTH, COMMON_AT, COMMON_SIZE);
	capability_add(vp, CFG_ISR, CAP_LENGTH, ISR_AT, ISR_SIZE);
	if (vp->vdev->ops->config_size)
		capability_add(vp, CFG_DEVICE, CAP_LENGTH, CONFIG_AT, vp->vdev->ops->config_size);
	offset = capability_add(vp, CFG_NOTIFY, CAP_NOTIFY_LENGTH, NOTIFY_AT,
				NOTIFY_STRIDE * vp->vdev->queue_count);
	le32_put(vp->pci.config + offset + 16, NOTIFY_STRIDE);
	vp->pci_cap = capability_add(vp, CFG_PCI, CAP_PCI_LENGTH, 0, 0);
	memset(vp->pci.writable + vp->pci_cap + 4, 0xff, 1);
	memset(vp->pci.writable + vp->pci_cap + 8, 0xff, 12);
}

int virtio_pci_create(struct vm *vm, struct pci_bus *bus, unsigned slot, struct virtio_device *vdev,
		      struct virtio_pci **out)
{
	struct pci_id id = {
		.vendor = VIRTIO_VENDOR,
		.device = (uint16_t)(VIRTIO_DEVICE_MODERN + vdev->ops->id),
		.subsystem_vendor = VIRTIO_VENDOR,
		.subsystem = (uint16_t)(0x1100 + vdev->ops->id),
		.revision = 1,
		.class = vdev->ops->class,
	};
	struct virtio_pci *vp = calloc(1, sizeof(*vp));
	int ret;

	if (!vp)
		return -ENOMEM;
	vp->vm = vm;
	vp->vdev = vdev;
	atomic_store(&vp->config_vector, MSIX_NO_VECTOR);
	pthread_mutex_init(&vp->lock, NULL);
	pci_function_init(&vp->pci, &id, &vp_pci_ops, vp);
	pci_function_add_bar(&vp->pci, BAR_STRUCTURES, BAR_SIZE);
	pci_function_add_bar(&vp->pci, BAR_MSIX, MSIX_BAR_SIZE);
	vp->pci.config[PCI_IRQ_PIN] = 1;
	vdev->transport_ops = &transport_ops;
	vdev->transport = vp;
	ret = msix_init(&vp->msix, &vp->pci, vdev->queue_count + 1, BAR_MSIX, 0, MSIX_PBA_AT);
	if (ret == 0) {
		capabilities_add(vp);
		ret = pci_add(bus, slot, &vp->pci);
	}
	if (ret) {
		virtio_pci_destroy(vp);
		return ret;
	}
	*out = vp;
	return 0;
}

void virtio_pci_reset(struct virtio_pci *vp)
{
	pthread_mutex_lock(&vp->lock);
	device_reset(vp);
	vp->device_feature_select = vp->driver_feature_select = 0;
	vp->queue_select = 0;
	pthread_mutex_unlock(&vp->lock);
	msix_reset(&vp->msix);
	pci_function_reset(&vp->pci);
}

void virtio_pci_pause(struct virtio_pci *vp)
{
	pthread_mutex_lock(&vp->lock);
	virtio_pause(vp->vdev);
	pthread_mutex_unlock(&vp->lock);
}

void virtio_pci_resume(struct virtio_pci *vp)
{
	pthread_mutex_lock(&vp->lock);
	virtio_resume(vp->vdev);
	pthread_mutex_unlock(&vp->lock);
}

struct transport_fields {
	uint32_t device_feature_select, driver_feature_select;
	uint16_t queue_select, config_vector;
	uint8_t isr;
};

static void transport_code(const struct virtio_pci *vp, struct transport_fields *f, struct codec *c)
{
	codec_begin(c, "virtio-pci", vp->pci.slot, 1);
	codec_u32(c, &f->device_feature_select);
	codec_u32(c, &f->driver_feature_select);
	codec_u16(c, &f->queue_select);
	codec_u16(c, &f->config_vector);
	codec_u8(c, &f->isr);
	codec_check(c, vector_accept(vp, f->config_vector) == f->config_vector,
		    "interrupt vector of the configuration");
	codec_check(c, !(f->isr & ~(ISR_QUEUE | ISR_CONFIG)), "interrupt status");
	codec_end(c);
}

/* Its line is high where there is an interrupt status: whoever sets one sets both. */
static void transport_commit(struct virtio_pci *vp, const struct transport_fields *f)
{
	vp->device_feature_select = f->device_feature_select;
	vp->driver_feature_select = f->driver_feature_select;
	vp->queue_select = f->queue_select;
	atomic_store(&vp->config_vector, f->config_vector);
	atomic_store(&vp->isr, f->isr);
	pci_intx_set(&vp->pci, f->isr != 0);
}

void virtio_pci_state(struct virtio_pci *vp, struct codec *c)
{
	struct transport_fields f = {0};

	pci_function_state(&vp->pci, c);
	msix_state(&vp->msix, c);
	pthread_mutex_lock(&vp->lock);
	if (!codec_loading(c))
		f = (struct transport_fields){
			.device_feature_select = vp->device_feature_select,
			.driver_feature_select = vp->driver_feature_select,
			.queue_select = vp->queue_select,
			.config_vector = atomic_load(&vp->config_vector),
			.isr = atomic_load(&vp->isr),
		};
	transport_code(vp, &f, c);
	if (codec_loading(c) && codec_good(c))
		transport_commit(vp, &f);
	virtio_state(vp->vdev, vp->pci.slot, c);
	doorbells_update(vp);
	pthread_mutex_unlock(&vp->lock);
}

void virtio_pci_destroy(struct virtio_pci *vp)
{
	if (!vp)
		return;
	if (vp->pci.bus)
		virtio_pci_reset(vp);
	pci_remove(&vp->pci);
	msix_destroy(&vp->msix);
	pthread_mutex_destroy(&vp->lock);
	free(vp);
}
