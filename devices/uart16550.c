/* SPDX-License-Identifier: MIT */
/*
 * 16550A UART. The transmitter is always empty: a byte is with the backend before the guest's next
 * instruction. Baud rate and framing are stored and have no effect. Modem inputs say that a peer is
 * there, or mirror the outputs in loopback mode, which is how drivers recognise the part.
 */
#include "devices/uart16550.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Registers; 0 and 1 are the divisor where LCR.DLAB is set. */
enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCRATCH };

#define IER_RECEIVE  0x01
#define IER_TRANSMIT 0x02
#define IER_LINE     0x04
#define IER_MASK     0x0f

#define IIR_NONE     0x01
#define IIR_TRANSMIT 0x02
#define IIR_RECEIVE  0x04
#define IIR_LINE     0x06
#define IIR_TIMEOUT  0x0c
#define IIR_FIFO     0xc0

#define FCR_ENABLE        0x01
#define FCR_CLEAR_RECEIVE 0x02

#define LCR_DLAB 0x80

#define MCR_DTR  0x01
#define MCR_RTS  0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08 /* gates the interrupt on a PC */
#define MCR_LOOP 0x10
#define MCR_MASK 0x1f

#define LSR_DATA_READY     0x01
#define LSR_OVERRUN        0x02
#define LSR_TRANSMIT_EMPTY 0x60

#define MSR_CTS 0x10
#define MSR_DSR 0x20
#define MSR_RI  0x40
#define MSR_DCD 0x80

#define FIFO_SIZE 16u

struct uart16550 {
	struct bus *pio;
	uint16_t port;
	struct irq_line irq;
	struct chardev backend;
	pthread_mutex_t lock; /* guards all below; held while the backend is called */
	uint8_t ier, lcr, mcr, scratch, fcr;
	uint8_t divisor[2];
	bool overrun;
	bool transmit_pending; /* the transmitter's interrupt was not acknowledged yet */
	bool level;
	bool starved; /* input waits at the backend */
	unsigned fifo_head, fifo_count;
	uint8_t fifo[FIFO_SIZE];
};

static unsigned fifo_capacity(const struct uart16550 *uart)
{
	return uart->fcr & FCR_ENABLE ? FIFO_SIZE : 1;
}

static unsigned fifo_trigger(const struct uart16550 *uart)
{
	static const uint8_t levels[] = {1, 4, 8, 14};

	return uart->fcr & FCR_ENABLE ? levels[uart->fcr >> 6] : 1;
}

/* The interrupt of the highest priority (data sheet, table III). */
static uint8_t interrupt_id(const struct uart16550 *uart)
{
	if (uart->ier & IER_LINE && uart->overrun)
		return IIR_LINE;
	if (uart->ier & IER_RECEIVE && uart->fifo_count)
		return uart->fifo_count >= fifo_trigger(uart) ? IIR_RECEIVE : IIR_TIMEOUT;
	if (uart->ier & IER_TRANSMIT && uart->transmit_pending)
		return IIR_TRANSMIT;
	return IIR_NONE;
}

static void interrupt_update(struct uart16550 *uart)
{
	bool level = interrupt_id(uart) != IIR_NONE && uart->mcr & MCR_OUT2;

	if (level == uart->level)
		return;
	uart->level = level;
	irq_line_set(&uart->irq, level);
}

/* Ask for input that waits once there is room, whatever made it: reads, a cleared FIFO, a reset. */
static void input_update(struct uart16550 *uart)
{
	if (!uart->starved || uart->fifo_count || uart->mcr & MCR_LOOP)
		return;
	uart->starved = false;
	chardev_ready(&uart->backend);
}

static void fifo_push(struct uart16550 *uart, uint8_t byte)
{
	if (uart->fifo_count == fifo_capacity(uart)) {
		uart->overrun = true;
		return;
	}
	uart->fifo[(uart->fifo_head + uart->fifo_count) % FIFO_SIZE] = byte;
	uart->fifo_count++;
}

static uint8_t fifo_pop(struct uart16550 *uart)
{
	uint8_t byte = uart->fifo[uart->fifo_head];

	if (uart->fifo_count == 0)
		return 0;
	uart->fifo_head = (uart->fifo_head + 1) % FIFO_SIZE;
	uart->fifo_count--;
	return byte;
}

static uint8_t modem_status(const struct uart16550 *uart)
{
	uint8_t status = 0;

	if (!(uart->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	if (uart->mcr & MCR_RTS)
		status |= MSR_CTS;
	if (uart->mcr & MCR_DTR)
		status |= MSR_DSR;
	if (uart->mcr & MCR_OUT1)
		status |= MSR_RI;
	if (uart->mcr & MCR_OUT2)
		status |= MSR_DCD;
	return status;
}

static uint8_t line_status(struct uart16550 *uart)
{
	uint8_t status = LSR_TRANSMIT_EMPTY;

	if (uart->fifo_count)
		status |= LSR_DATA_READY;
	if (uart->overrun)
		status |= LSR_OVERRUN;
	uart->overrun = false; /* reading acknowledges it */
	return status;
}

static uint8_t identification(struct uart16550 *uart)
{
	uint8_t id = interrupt_id(uart);

	if (id == IIR_TRANSMIT)
		uart->transmit_pending = false; /* reading acknowledges it */
	return id | (uart->fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static uint8_t register_read(struct uart16550 *uart, unsigned reg)
{
	bool divisor = uart->lcr & LCR_DLAB;

	switch (reg) {
	case REG_DATA:
		return divisor ? uart->divisor[0] : fifo_pop(uart);
	case REG_IER:
		return divisor ? uart->divisor[1] : uart->ier;
	case REG_IIR_FCR:
		return identification(uart);
	case REG_LCR:
		return uart->lcr;
	case REG_MCR:
		return uart->mcr;
	case REG_LSR:
		return line_status(uart);
	case REG_MSR:
		return modem_status(uart);
	default:
		return uart->scratch;
	}
}

static void transmit(struct uart16550 *uart, uint8_t byte)
{
	if (uart->mcr & MCR_LOOP)
		fifo_push(uart, byte);
	else
		chardev_write(&uart->backend, &byte, 1);
	uart->transmit_pending = true;
}

static void fcr_write(struct uart16550 *uart, uint8_t value)
{
	/* Switching the FIFOs on or off empties them. */
	if (value & FCR_CLEAR_RECEIVE || (value ^ uart->fcr) & FCR_ENABLE)
		uart->fifo_count = 0;
	uart->fcr = value;
}

static void ier_write(struct uart16550 *uart, uint8_t value)
{
	/* Enabling the transmitter's interrupt raises it: the transmitter is empty. */
	if (~uart->ier & value & IER_TRANSMIT)
		uart->transmit_pending = true;
	uart->ier = value & IER_MASK;
}

static void register_write(struct uart16550 *uart, unsigned reg, uint8_t value)
{
	bool divisor = uart->lcr & LCR_DLAB;

	switch (reg) {
	case REG_DATA:
		if (divisor)
			uart->divisor[0] = value;
		else
			transmit(uart, value);
		break;
	case REG_IER:
		if (divisor)
			uart->divisor[1] = value;
		else
			ier_write(uart, value);
		break;
	case REG_IIR_FCR:
		fcr_write(uart, value);
		break;
	case REG_LCR:
		uart->lcr = value;
		break;
	case REG_MCR:
		uart->mcr = value & MCR_MASK;
		break;
	case REG_SCRATCH:
		uart->scratch = value;
		break;
	default:
		break; /* LSR and MSR are read-only */
	}
}

/* A wider access than a byte is that many accesses, as on the ISA bus. */
static uint64_t uart_read(void *device, uint64_t offset, unsigned size)
{
	struct uart16550 *uart = device;
	uint64_t value = 0;

	pthread_mutex_lock(&uart->lock);
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)register_read(uart, (unsigned)offset + i) << 8 * i;
	input_update(uart);
	interrupt_update(uart);
	pthread_mutex_unlock(&uart->lock);
	return value;
}

static void uart_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct uart16550 *uart = device;

	pthread_mutex_lock(&uart->lock);
	for (unsigned i = 0; i < size; i++)
		register_write(uart, (unsigned)offset + i, (uint8_t)(value >> 8 * i));
	input_update(uart);
	interrupt_update(uart);
	pthread_mutex_unlock(&uart->lock);
}

static const struct bus_ops uart_ops = {.read = uart_read, .write = uart_write};

size_t uart16550_receive(struct uart16550 *uart, const uint8_t *bytes, size_t count)
{
	size_t taken = 0;

	pthread_mutex_lock(&uart->lock);
	/* In loopback the line's input is disconnected: let it wait. */
	if (!(uart->mcr & MCR_LOOP)) {
		while (taken < count && uart->fifo_count < fifo_capacity(uart))
			fifo_push(uart, bytes[taken++]);
	}
	if (taken < count)
		uart->starved = true;
	interrupt_update(uart);
	pthread_mutex_unlock(&uart->lock);
	return taken;
}

void uart16550_reset(struct uart16550 *uart)
{
	pthread_mutex_lock(&uart->lock);
	uart->ier = uart->lcr = uart->mcr = uart->scratch = uart->fcr = 0;
	uart->divisor[0] = 12; /* 9600 baud */
	uart->divisor[1] = 0;
	uart->overrun = uart->transmit_pending = false;
	uart->fifo_head = uart->fifo_count = 0;
	input_update(uart);
	interrupt_update(uart);
	pthread_mutex_unlock(&uart->lock);
}

struct uart_fields {
	uint8_t ier, lcr, mcr, scratch, fcr, divisor[2];
	bool overrun, transmit_pending;
	unsigned fifo_count;
	uint8_t fifo[FIFO_SIZE]; /* oldest first */
};

static struct uart_fields fields_of(const struct uart16550 *uart)
{
	struct uart_fields f = {
		.ier = uart->ier,
		.lcr = uart->lcr,
		.mcr = uart->mcr,
		.scratch = uart->scratch,
		.fcr = uart->fcr,
		.divisor = {uart->divisor[0], uart->divisor[1]},
		.overrun = uart->overrun,
		.transmit_pending = uart->transmit_pending,
		.fifo_count = uart->fifo_count,
	};

	for (unsigned i = 0; i < f.fifo_count; i++)
		f.fifo[i] = uart->fifo[(uart->fifo_head + i) % FIFO_SIZE];
	return f;
}

static void fields_code(struct uart_fields *f, unsigned port, struct codec *c)
{
	codec_begin(c, "uart16550", port, 1);
	codec_u8(c, &f->ier);
	codec_u8(c, &f->lcr);
	codec_u8(c, &f->mcr);
	codec_u8(c, &f->scratch);
	codec_u8(c, &f->fcr);
	codec_bytes(c, f->divisor, sizeof(f->divisor));
	codec_bool(c, &f->overrun);
	codec_bool(c, &f->transmit_pending);
	codec_count(c, &f->fifo_count, f->fcr & FCR_ENABLE ? FIFO_SIZE : 1, "FIFO");
	codec_bytes(c, f->fifo, f->fifo_count);
	codec_check(c, !(f->ier & ~IER_MASK), "interrupt enable register");
	codec_check(c, !(f->mcr & ~MCR_MASK), "modem control register");
	codec_end(c);
}

static void fields_commit(struct uart16550 *uart, const struct uart_fields *f)
{
	uart->ier = f->ier;
	uart->lcr = f->lcr;
	uart->mcr = f->mcr;
	uart->scratch = f->scratch;
	uart->fcr = f->fcr;
	memcpy(uart->divisor, f->divisor, sizeof(uart->divisor));
	uart->overrun = f->overrun;
	uart->transmit_pending = f->transmit_pending;
	uart->fifo_head = 0;
	uart->fifo_count = f->fifo_count;
	memcpy(uart->fifo, f->fifo, sizeof(uart->fifo));
	input_update(uart);
	interrupt_update(uart);
}

void uart16550_state(struct uart16550 *uart, struct codec *c)
{
	struct uart_fields f = {0};

	pthread_mutex_lock(&uart->lock);
	if (!codec_loading(c))
		f = fields_of(uart);
	fields_code(&f, uart->port, c);
	if (codec_loading(c) && codec_good(c))
		fields_commit(uart, &f);
	pthread_mutex_unlock(&uart->lock);
}

int uart16550_create(struct bus *pio, uint16_t port, const struct irq_line *irq,
		     const struct chardev *backend, struct uart16550 **out)
{
	struct uart16550 *uart = calloc(1, sizeof(*uart));
	int ret;

	if (!uart)
		return -ENOMEM;
	uart->pio = pio;
	uart->port = port;
	uart->irq = *irq;
	uart->backend = *backend;
	pthread_mutex_init(&uart->lock, NULL);
	uart16550_reset(uart);
	ret = bus_add(pio, port, UART16550_PORTS, &uart_ops, uart);
	if (ret) {
		pthread_mutex_destroy(&uart->lock);
		free(uart);
		return ret;
	}
	*out = uart;
	return 0;
}

void uart16550_destroy(struct uart16550 *uart)
{
	if (!uart)
		return;
	bus_remove(uart->pio, uart->port, uart);
	pthread_mutex_destroy(&uart->lock);
	free(uart);
}
