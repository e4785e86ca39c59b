/* SPDX-License-Identifier: MIT */
/* A 16550A UART on eight I/O ports. Source: National Semiconductor PC16550D data sheet. */
#ifndef DEVICES_UART16550_H
#define DEVICES_UART16550_H

#include "snapshot/codec.h"
#include "vmm/core/chardev.h"
#include "vmm/core/vm.h"

#define UART16550_PORTS 8

struct uart16550;

/* `backend` is copied. The line is the UART's alone. */
int uart16550_create(struct bus *pio, uint16_t port, const struct irq_line *irq,
		     const struct chardev *backend, struct uart16550 **out);
void uart16550_destroy(struct uart16550 *uart);
void uart16550_reset(struct uart16550 *uart);
/* Saved state. Input that waits at the backend is the host's and no part of it. */
void uart16550_state(struct uart16550 *uart, struct codec *codec);

/* Input for the guest: takes as many bytes as there is room for and returns how many. Any thread.
 */
size_t uart16550_receive(struct uart16550 *uart, const uint8_t *bytes, size_t count);

#endif
