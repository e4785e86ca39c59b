/* SPDX-License-Identifier: MIT */
/* virtio over PCI, modern interface only (virtio 1.2, 4.1), with MSI-X and one doorbell a queue. */
#ifndef DEVICES_VIRTIO_VIRTIO_PCI_H
#define DEVICES_VIRTIO_VIRTIO_PCI_H

#include "devices/pci/pci.h"
#include "devices/virtio/virtio.h"

struct virtio_pci;

/* `vdev` is initialised and outlives the transport, which makes itself known to it. */
int virtio_pci_create(struct vm *vm, struct pci_bus *bus, unsigned slot, struct virtio_device *vdev,
		      struct virtio_pci **out);
void virtio_pci_destroy(struct virtio_pci *vp);
void virtio_pci_reset(struct virtio_pci *vp);

/* See virtio_pause, virtio_resume and virtio_state. The vCPUs are paused. */
void virtio_pci_pause(struct virtio_pci *vp);
void virtio_pci_resume(struct virtio_pci *vp);
void virtio_pci_state(struct virtio_pci *vp, struct codec *codec);

#endif
