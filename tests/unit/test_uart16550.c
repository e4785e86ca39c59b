/* SPDX-License-Identifier: MIT */
/* The UART as Linux's 8250 driver treats it, and its backend's side. */
#include "tests/unit/unit.h"

#include "devices/uart16550.h"
#include "tests/fake_vm.h"

#define PORT 0x3f8
#define GSI  4

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCRATCH, FCR = IIR };

#define IIR_NONE     0x01
#define IIR_TRANSMIT 0x02
#define IIR_RECEIVE  0x04
#define IIR_LINE     0x06
#define IIR_TIMEOUT  0x0c

struct fixture {
	struct fake_vm *fake;
	struct uart16550 *uart;
	char out[512];
	size_t out_count;
	unsigned ready;
};

static void backend_write(void *arg, const uint8_t *bytes, size_t count)
{
	struct fixture *f = arg;

	assert_true(f->out_count + count <= sizeof(f->out));
	memcpy(f->out + f->out_count, bytes, count);
	f->out_count += count;
}

static void backend_ready(void *arg)
{
	struct fixture *f = arg;

	f->ready++;
}

static const struct chardev_ops backend_ops = {.write = backend_write, .ready = backend_ready};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct chardev backend = {.ops = &backend_ops, .arg = f};
	struct irq_line irq;

	assert_non_null(f);
	f->fake = fake_vm_create(0);
	irq = (struct irq_line){.vm = &f->fake->vm, .gsi = GSI};
	assert_int_equal(uart16550_create(f->fake->vm.pio, PORT, &irq, &backend, &f->uart), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	uart16550_destroy(f->uart);
	fake_vm_destroy(f->fake);
	free(f);
	return 0;
}

static uint8_t get(struct fixture *f, unsigned reg)
{
	return (uint8_t)bus_read(f->fake->vm.pio, PORT + reg, 1);
}

static void put(struct fixture *f, unsigned reg, uint8_t value)
{
	bus_write(f->fake->vm.pio, PORT + reg, 1, value);
}

static size_t receive(struct fixture *f, const char *text)
{
	return uart16550_receive(f->uart, (const uint8_t *)text, strlen(text));
}

static bool irq(struct fixture *f)
{
	return f->fake->level[GSI];
}

/* As the driver leaves it: FIFOs on with this trigger, interrupts gated on. */
static void driver_open(struct fixture *f, uint8_t trigger)
{
	put(f, FCR, 0x01);
	put(f, FCR, 0x07);
	put(f, FCR, 0x01 | trigger);
	put(f, LCR, 0x03);
	put(f, MCR, 0x0b);
}

/* Linux drivers/tty/serial/8250/8250_port.c, autoconfig(), step by step. */
static void autoconfig(void **state)
{
	struct fixture *f = *state;
	uint8_t save_mcr, save_lcr;

	/* Is there a UART at all? */
	put(f, IER, 0);
	assert_int_equal(get(f, IER) & 0x0f, 0);
	put(f, IER, 0x0f);
	assert_int_equal(get(f, IER) & 0x0f, 0x0f);
	put(f, IER, 0);
	save_mcr = get(f, MCR);
	save_lcr = get(f, LCR);
	/* The loopback test: RTS and OUT2 come back as CTS and DCD. */
	put(f, MCR, 0x10 | 0x0a);
	assert_int_equal(get(f, MSR) & 0xf0, 0x90);
	put(f, MCR, save_mcr);
	/* No EFR, and FIFOs that say that they work: a 16550A. */
	put(f, LCR, 0xbf);
	put(f, FCR, 0);
	put(f, LCR, 0);
	put(f, FCR, 0x01);
	assert_int_equal(get(f, IIR) >> 6, 3);
	put(f, LCR, 0x80);
	assert_int_not_equal(get(f, IIR), 0); /* no EFR: not a 16650 */
	put(f, LCR, 0);
	/* No 64-byte FIFO: not a 16750. */
	put(f, FCR, 0x01 | 0x20);
	assert_int_equal(get(f, IIR) >> 5, 6);
	put(f, LCR, 0x80);
	put(f, FCR, 0x01 | 0x20);
	assert_int_equal(get(f, IIR) >> 5, 6);
	put(f, LCR, 0);
	put(f, FCR, 0x01);
	/* No UUE bit in IER: not an XScale. */
	put(f, IER, 0x40);
	assert_int_equal(get(f, IER) & 0x40, 0);
	put(f, LCR, save_lcr);
	put(f, MCR, save_mcr);
	assert_int_equal(f->out_count, 0);
	assert_int_equal(f->fake->rises[GSI], 0);
}

/* size_fifo(): in loopback as many bytes are kept as the FIFO holds. */
static void fifo_size(void **state)
{
	struct fixture *f = *state;
	unsigned count = 0;

	put(f, FCR, 0x07);
	put(f, MCR, 0x10);
	for (unsigned i = 0; i < 256; i++)
		put(f, DATA, (uint8_t)i);
	while (get(f, LSR) & 1)
		assert_int_equal(get(f, DATA), count++);
	assert_int_equal(count, 16);
	assert_int_equal(f->out_count, 0);
}

/* serial8250_THRE_test(): enabling the interrupt raises it, every time. */
static void transmitter_interrupt(void **state)
{
	struct fixture *f = *state;

	driver_open(f, 0);
	put(f, IER, 2);
	assert_true(irq(f));
	assert_int_equal(get(f, IIR) & 0x0f, IIR_TRANSMIT);
	assert_false(irq(f)); /* the read acknowledged it */
	assert_int_equal(get(f, IIR) & 0x0f, IIR_NONE);
	put(f, IER, 2); /* it was on */
	assert_false(irq(f));
	put(f, IER, 0);
	put(f, IER, 2);
	assert_int_equal(get(f, IIR) & 0x0f, IIR_TRANSMIT);
	/* A byte sent raises it again. */
	put(f, DATA, 'x');
	assert_true(irq(f));
	assert_int_equal(get(f, LSR) & 0x60, 0x60);
	assert_true(irq(f));
	put(f, IER, 0);
	assert_false(irq(f));
	assert_memory_equal(f->out, "x", 1);
}

static void interrupt_is_gated(void **state)
{
	struct fixture *f = *state;

	put(f, IER, 2);
	assert_int_equal(get(f, IIR) & 1, 0); /* pending in the part ... */
	put(f, IER, 0);
	put(f, IER, 2);
	assert_false(irq(f)); /* ... but OUT2 is off */
	put(f, MCR, 0x08);
	assert_true(irq(f));
	put(f, MCR, 0);
	assert_false(irq(f));
}

static void divisor_latch(void **state)
{
	struct fixture *f = *state;

	put(f, LCR, 0x83);
	put(f, DATA, 1);
	put(f, IER, 0xff);
	assert_int_equal(get(f, DATA), 1);
	assert_int_equal(get(f, IER), 0xff);
	assert_int_equal(f->out_count, 0);
	put(f, LCR, 0x03);
	assert_int_equal(get(f, IER), 0);
	put(f, DATA, 'a');
	assert_int_equal(f->out_count, 1);
	put(f, SCRATCH, 0x5a);
	assert_int_equal(get(f, SCRATCH), 0x5a);
	put(f, LSR, 0);
	put(f, MSR, 0);
	assert_int_equal(get(f, LSR), 0x60);
	assert_int_equal(get(f, MSR), 0xb0); /* a peer is there */
}

static void fifo_trigger_and_timeout(void **state)
{
	static const struct {
		uint8_t fcr;
		unsigned level;
	} triggers[] = {{0x00, 1}, {0x40, 4}, {0x80, 8}, {0xc0, 14}};
	struct fixture *f = *state;

	for (unsigned t = 0; t < ARRAY_SIZE(triggers); t++) {
		put(f, FCR, 0);
		driver_open(f, triggers[t].fcr);
		put(f, IER, 1);
		for (unsigned i = 1; i <= 16; i++) {
			assert_int_equal(receive(f, "a"), 1);
			assert_true(irq(f)); /* below the level it is the timeout's */
			assert_int_equal(get(f, IIR), 0xc0 | (i < triggers[t].level ? IIR_TIMEOUT
										    : IIR_RECEIVE));
		}
		for (unsigned i = 16; i > 0; i--) {
			assert_int_equal(get(f, LSR) & 1, 1);
			assert_true(irq(f));
			assert_int_equal(get(f, DATA), 'a');
		}
		assert_false(irq(f));
		assert_int_equal(get(f, IIR), 0xc0 | IIR_NONE);
		assert_int_equal(get(f, DATA), 0);
	}
}

/* Receive goes before transmit. */
static void priorities(void **state)
{
	struct fixture *f = *state;

	driver_open(f, 0);
	put(f, IER, 7);
	receive(f, "a");
	assert_int_equal(get(f, IIR) & 0x0f, IIR_RECEIVE);
	get(f, DATA);
	assert_int_equal(get(f, IIR) & 0x0f, IIR_TRANSMIT);
	assert_int_equal(get(f, IIR) & 0x0f, IIR_NONE);
}

/* The line cannot overrun, as the backend waits; loopback can. */
static void overrun(void **state)
{
	struct fixture *f = *state;

	put(f, FCR, 0);
	put(f, MCR, 0x18);
	put(f, IER, 4);
	put(f, DATA, 'a');
	assert_int_equal(get(f, LSR), 0x61);
	put(f, DATA, 'b');
	assert_true(irq(f));
	assert_int_equal(get(f, IIR) & 0x0f, IIR_LINE);
	assert_int_equal(get(f, LSR), 0x63);
	assert_int_equal(get(f, LSR), 0x61); /* reading acknowledged it */
	assert_false(irq(f));
	assert_int_equal(get(f, DATA), 'a');
}

static void receive_backpressure(void **state)
{
	struct fixture *f = *state;

	/* Without FIFOs there is room for one byte. */
	assert_int_equal(receive(f, "abc"), 1);
	assert_int_equal(receive(f, "bc"), 0);
	assert_int_equal(f->ready, 0);
	assert_int_equal(get(f, DATA), 'a');
	assert_int_equal(f->ready, 1);
	driver_open(f, 0);
	assert_int_equal(receive(f, "0123456789abcdefXYZ"), 16);
	for (unsigned i = 0; i < 16; i++) {
		assert_int_equal(f->ready, 1);
		assert_int_equal(get(f, DATA), "0123456789abcdef"[i]);
	}
	assert_int_equal(f->ready, 2);
	/* Nobody waits: nobody is told. */
	assert_int_equal(receive(f, "a"), 1);
	get(f, DATA);
	assert_int_equal(f->ready, 2);
}

/* Found by this test: the backend was not told of room that a clear of the FIFO made. */
static void cleared_fifo_has_room(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(receive(f, "typed before the driver came"), 1);
	driver_open(f, 0); /* clears the FIFO, as Linux does at start-up */
	assert_true(f->ready > 0);
	assert_int_equal(receive(f, "x"), 1);
}

static void loopback_lets_input_wait(void **state)
{
	struct fixture *f = *state;

	driver_open(f, 0);
	put(f, MCR, 0x1b);
	assert_int_equal(receive(f, "abc"), 0);
	put(f, DATA, 'L');
	assert_int_equal(get(f, DATA), 'L');
	assert_int_equal(f->out_count, 0);
	assert_int_equal(f->ready, 0);
	put(f, MCR, 0x0b);
	assert_int_equal(f->ready, 1);
	assert_int_equal(receive(f, "abc"), 3);
}

static void reset_has_room(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(receive(f, "abc"), 1);
	uart16550_reset(f->uart);
	assert_int_equal(f->ready, 1);
	assert_int_equal(get(f, LSR), 0x60);
	driver_open(f, 0);
	put(f, IER, 3);
	assert_true(irq(f));
	uart16550_reset(f->uart);
	assert_false(irq(f));
	assert_int_equal(get(f, IER), 0);
	assert_int_equal(get(f, IIR), IIR_NONE);
}

/* A wider access is that many narrow ones. */
static void wide_accesses(void **state)
{
	struct fixture *f = *state;
	struct bus *pio = f->fake->vm.pio;

	bus_write(pio, PORT + LCR, 2, 0x0803);
	assert_int_equal(get(f, LCR), 3);
	assert_int_equal(get(f, MCR), 8);
	assert_int_equal(bus_read(pio, PORT + LCR, 2), 0x0803);
	bus_write(pio, PORT + DATA, 1, 'q');
	assert_int_equal(bus_read(pio, PORT + SCRATCH, 2), 0xffff); /* over the end */
	bus_read(pio, PORT, 8);
	bus_write(pio, PORT, 8, ~0ull);
	assert_int_equal(get(f, SCRATCH), 0xff);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(autoconfig),
		TEST(fifo_size),
		TEST(transmitter_interrupt),
		TEST(interrupt_is_gated),
		TEST(divisor_latch),
		TEST(fifo_trigger_and_timeout),
		TEST(priorities),
		TEST(overrun),
		TEST(receive_backpressure),
		TEST(cleared_fifo_has_room),
		TEST(loopback_lets_input_wait),
		TEST(reset_has_room),
		TEST(wide_accesses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
