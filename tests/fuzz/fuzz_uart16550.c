/* SPDX-License-Identifier: MIT */
/*
 * Register accesses of any size, input that comes in pieces, resets. Input that had to wait must be
 * asked for again once the FIFO is empty, whatever the guest did to empty it.
 */
#include "devices/uart16550.h"
#include "tests/fake_vm.h"
#include "tests/fuzz/fuzz.h"

#define PORT     0x3f8
#define IRQ      4
#define REG_MCR  4
#define REG_LSR  5
#define MCR_LOOP 0x10
#define LSR_DATA 0x01

struct host {
	size_t waiting; /* bytes that the UART had no room for */
	bool ready;     /* it asked for them */
};

static void host_write(void *arg, const uint8_t *bytes, size_t count)
{
	(void)arg;
	FUZZ_CHECK(bytes && count);
}

static void host_ready(void *arg)
{
	struct host *host = arg;

	host->ready = true;
}

static const struct chardev_ops host_ops = {.write = host_write, .ready = host_ready};

static void host_send(struct host *host, struct uart16550 *uart, size_t count)
{
	static const uint8_t bytes[255];
	size_t taken = uart16550_receive(uart, bytes, count);

	FUZZ_CHECK(taken <= count);
	host->waiting = count - taken;
	host->ready = false;
}

static void check(const struct host *host, struct bus *pio)
{
	bool loop = bus_read(pio, PORT + REG_MCR, 1) & MCR_LOOP;
	bool data = bus_read(pio, PORT + REG_LSR, 1) & LSR_DATA;

	FUZZ_CHECK(!host->waiting || host->ready || loop || data);
}

static void step(struct input *in, struct fake_vm *fake, struct uart16550 *uart, struct host *host)
{
	unsigned op = input_u8(in), port = PORT + (op >> 2 & 7), size = 1u << (op >> 5 & 3);

	switch (op & 3) {
	case 0:
		bus_read(fake->vm.pio, port, size);
		break;
	case 1:
		bus_write(fake->vm.pio, port, size, input_number(in, size));
		break;
	case 2:
		host_send(host, uart, op >> 2 == 0 ? 200 : op >> 2);
		break;
	default:
		if (op == 0xff)
			uart16550_reset(uart);
		else if (host->ready && host->waiting)
			host_send(host, uart, host->waiting);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fake_vm *fake = fake_vm_create(MEMORY_PAGE_SIZE);
	struct irq_line irq = {.vm = &fake->vm, .gsi = IRQ};
	struct host host = {0};
	struct chardev backend = {.ops = &host_ops, .arg = &host};
	struct input in = {data, size};
	struct uart16550 *uart;

	FUZZ_CHECK(uart16550_create(fake->vm.pio, PORT, &irq, &backend, &uart) == 0);
	while (in.left) {
		step(&in, fake, uart, &host);
		check(&host, fake->vm.pio);
	}
	uart16550_reset(uart);
	FUZZ_CHECK(!fake->level[IRQ]);
	uart16550_destroy(uart);
	fake_vm_destroy(fake);
	return 0;
}
