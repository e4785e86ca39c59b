/* SPDX-License-Identifier: MIT */
/* The interrupt controllers against the 8259A data sheet. */
#include "tests/unit/unit.h"

#include "devices/i8259.h"

#define MASTER 0x20
#define SLAVE  0xa0
#define ELCR   0x4d0

#define EOI         0x20
#define EOI_OF      0x60
#define ROTATE_EOI  0xa0
#define SET_LOWEST  0xc0
#define ROTATE_OF   0xe0
#define READ_IRR    0x0a
#define READ_ISR    0x0b
#define POLL        0x0c
#define SPECIAL     0x68
#define SPECIAL_OFF 0x48

struct fixture {
	struct bus *pio;
	struct i8259 *pic;
	bool intr;
	unsigned rises;
};

static void intr(void *arg, bool level)
{
	struct fixture *f = arg;

	assert_int_not_equal(level, f->intr); /* changes only */
	f->intr = level;
	f->rises += level;
}

static void put(struct fixture *f, uint16_t port, uint8_t value)
{
	bus_write(f->pio, port, 1, value);
}

static uint8_t get(struct fixture *f, uint16_t port)
{
	return (uint8_t)bus_read(f->pio, port, 1);
}

static uint8_t get_register(struct fixture *f, uint16_t port, uint8_t which)
{
	put(f, port, which);
	return get(f, port);
}

/* As Linux does it: vectors 0x30 and 0x38. */
static void initialize(struct fixture *f, uint8_t icw4)
{
	put(f, MASTER, 0x11);
	put(f, MASTER + 1, 0x30);
	put(f, MASTER + 1, 0x04);
	put(f, MASTER + 1, icw4);
	put(f, SLAVE, 0x11);
	put(f, SLAVE + 1, 0x38);
	put(f, SLAVE + 1, 0x02);
	put(f, SLAVE + 1, icw4 & 0xef);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct i8259_config config = {.intr = intr, .arg = f};

	assert_non_null(f);
	assert_int_equal(bus_create(&f->pio), 0);
	assert_int_equal(i8259_create(f->pio, &config, &f->pic), 0);
	initialize(f, 0x01);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	i8259_destroy(f->pic);
	i8259_destroy(NULL);
	bus_destroy(f->pio);
	free(f);
	return 0;
}

static void pulse(struct fixture *f, unsigned line)
{
	i8259_set(f->pic, line, true);
	i8259_set(f->pic, line, false);
}

static void every_line(void **state)
{
	struct fixture *f = *state;

	for (unsigned line = 0; line < 16; line++) {
		if (line == 2)
			continue;
		assert_false(f->intr);
		i8259_set(f->pic, line, true);
		assert_true(f->intr);
		assert_int_equal(i8259_acknowledge(f->pic), 0x30 + line);
		assert_false(f->intr);
		if (line >= 8) {
			assert_int_equal(get_register(f, SLAVE, READ_ISR), 1 << (line - 8));
			assert_int_equal(get_register(f, MASTER, READ_ISR), 4);
			put(f, SLAVE, EOI);
		} else {
			assert_int_equal(get_register(f, MASTER, READ_ISR), 1 << line);
		}
		put(f, MASTER, EOI);
		assert_false(f->intr); /* still high: an edge counts once */
		i8259_set(f->pic, line, false);
	}
	i8259_set(f->pic, 2, true);
	i8259_set(f->pic, 16, true);
	i8259_set(f->pic, ~0u, true);
	assert_false(f->intr);
}

static void fully_nested(void **state)
{
	struct fixture *f = *state;

	pulse(f, 4);
	assert_int_equal(i8259_acknowledge(f->pic), 0x34);
	pulse(f, 5);
	pulse(f, 4);
	assert_false(f->intr);
	pulse(f, 12); /* by way of line 2: more urgent */
	assert_true(f->intr);
	assert_int_equal(i8259_acknowledge(f->pic), 0x3c);
	pulse(f, 1);
	assert_int_equal(i8259_acknowledge(f->pic), 0x31);
	assert_int_equal(get_register(f, MASTER, READ_ISR), 0x16);
	assert_int_equal(get_register(f, MASTER, READ_IRR), 0x30);
	put(f, MASTER, EOI);
	assert_int_equal(get_register(f, MASTER, READ_ISR), 0x14);
	put(f, SLAVE, EOI);
	put(f, MASTER, EOI);
	assert_false(f->intr);
	put(f, MASTER, EOI_OF | 4);
	assert_true(f->intr);
	assert_int_equal(i8259_acknowledge(f->pic), 0x34);
	put(f, MASTER, EOI);
	assert_int_equal(i8259_acknowledge(f->pic), 0x35);
}

static void masks(void **state)
{
	struct fixture *f = *state;

	put(f, MASTER + 1, 0xfb);
	put(f, SLAVE + 1, 0xff);
	assert_int_equal(get(f, MASTER + 1), 0xfb);
	assert_int_equal(get(f, SLAVE + 1), 0xff);
	pulse(f, 3);
	pulse(f, 9);
	assert_false(f->intr);
	put(f, SLAVE + 1, 0xfd);
	assert_true(f->intr);
	assert_int_equal(i8259_acknowledge(f->pic), 0x39);
	put(f, SLAVE, EOI);
	put(f, MASTER, EOI);
	put(f, MASTER + 1, 0);
	assert_int_equal(i8259_acknowledge(f->pic), 0x33);
}

static void spurious(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(i8259_acknowledge(f->pic), 0x37);
	assert_int_equal(get_register(f, MASTER, READ_ISR), 0);
	/* Gone while on its way, by the mask, behind the slave: 15, and the master serves 2. */
	pulse(f, 10);
	put(f, SLAVE + 1, 0xff);
	assert_int_equal(i8259_acknowledge(f->pic), 0x3f);
	assert_int_equal(get_register(f, SLAVE, READ_ISR), 0);
	assert_int_equal(get_register(f, MASTER, READ_ISR), 4);
	put(f, MASTER, EOI);
	assert_false(f->intr);
}

static void level_triggered(void **state)
{
	struct fixture *f = *state;

	bus_write(f->pio, ELCR, 2, 0xffff);
	assert_int_equal(bus_read(f->pio, ELCR, 2), 0xdef8); /* 0, 1, 2, 8, 13 stay */
	i8259_set(f->pic, 5, true);
	assert_int_equal(i8259_acknowledge(f->pic), 0x35);
	put(f, MASTER, EOI);
	assert_true(f->intr); /* still high */
	i8259_set(f->pic, 5, false);
	assert_false(f->intr);
	assert_int_equal(i8259_acknowledge(f->pic), 0x37);
	i8259_set(f->pic, 11, true);
	assert_int_equal(i8259_acknowledge(f->pic), 0x3b);
	put(f, SLAVE, EOI);
	put(f, MASTER, EOI);
	assert_int_equal(i8259_acknowledge(f->pic), 0x3b);
	/* Line 1 is an edge all the same. */
	i8259_set(f->pic, 1, true);
	assert_int_equal(i8259_acknowledge(f->pic), 0x31);
	assert_int_equal(get_register(f, MASTER, READ_IRR) & 2, 0);
}

static void rotation(void **state)
{
	struct fixture *f = *state;

	pulse(f, 1);
	i8259_acknowledge(f->pic);
	put(f, MASTER, ROTATE_EOI); /* 1 is the lowest now, 2 the highest */
	pulse(f, 0);
	pulse(f, 1);
	pulse(f, 7);
	assert_int_equal(i8259_acknowledge(f->pic), 0x37);
	put(f, MASTER, EOI);
	assert_int_equal(i8259_acknowledge(f->pic), 0x30);
	put(f, MASTER, ROTATE_OF); /* a specific one: 0 */
	assert_int_equal(get_register(f, MASTER, READ_ISR), 0);
	assert_int_equal(i8259_acknowledge(f->pic), 0x31);
	put(f, MASTER, EOI);
	put(f, MASTER, SET_LOWEST | 4);
	pulse(f, 4);
	pulse(f, 5);
	assert_int_equal(i8259_acknowledge(f->pic), 0x35);
	put(f, MASTER, EOI);
	assert_int_equal(i8259_acknowledge(f->pic), 0x34);
}

static void automatic_eoi(void **state)
{
	struct fixture *f = *state;

	initialize(f, 0x03);
	pulse(f, 3);
	pulse(f, 6);
	assert_int_equal(i8259_acknowledge(f->pic), 0x33);
	assert_int_equal(get_register(f, MASTER, READ_ISR), 0);
	assert_int_equal(i8259_acknowledge(f->pic), 0x36);
	put(f, MASTER, 0x80); /* rotate in automatic EOI mode */
	pulse(f, 3);
	assert_int_equal(i8259_acknowledge(f->pic), 0x33);
	pulse(f, 3);
	pulse(f, 4);
	assert_int_equal(i8259_acknowledge(f->pic), 0x34);
	put(f, MASTER, 0x00);
	assert_int_equal(i8259_acknowledge(f->pic), 0x33);
	pulse(f, 4);
	pulse(f, 5);
	assert_int_equal(i8259_acknowledge(f->pic), 0x35); /* 4 is the lowest still */
}

/* A masked line in service holds nobody back, and a non-specific EOI does not find it. */
static void special_mask(void **state)
{
	struct fixture *f = *state;

	pulse(f, 3);
	i8259_acknowledge(f->pic);
	pulse(f, 6);
	assert_false(f->intr);
	put(f, MASTER + 1, 0x08);
	assert_false(f->intr);
	put(f, MASTER, SPECIAL);
	assert_true(f->intr);
	assert_int_equal(i8259_acknowledge(f->pic), 0x36);
	put(f, MASTER, EOI);
	assert_int_equal(get_register(f, MASTER, READ_ISR), 0x08);
	put(f, MASTER, EOI);
	assert_int_equal(get_register(f, MASTER, READ_ISR), 0x08);
	put(f, MASTER, SPECIAL_OFF);
	pulse(f, 6);
	assert_false(f->intr);
	put(f, MASTER, EOI_OF | 3);
	assert_true(f->intr);
}

static void special_fully_nested(void **state)
{
	struct fixture *f = *state;

	pulse(f, 12);
	i8259_acknowledge(f->pic);
	pulse(f, 9);
	assert_false(f->intr); /* the slave is in service at the master */
	initialize(f, 0x11);
	pulse(f, 12);
	assert_int_equal(i8259_acknowledge(f->pic), 0x3c);
	pulse(f, 14);
	assert_false(f->intr); /* the slave's own order holds */
	pulse(f, 3);
	assert_false(f->intr); /* and so does the master's */
	pulse(f, 9);
	assert_true(f->intr);
	assert_int_equal(i8259_acknowledge(f->pic), 0x39);
}

static void poll(void **state)
{
	struct fixture *f = *state;

	put(f, MASTER, POLL);
	assert_int_equal(get(f, MASTER) & 0x80, 0);
	pulse(f, 6);
	put(f, MASTER, POLL);
	assert_int_equal(get(f, MASTER), 0x86);
	assert_false(f->intr);
	assert_int_equal(get_register(f, MASTER, READ_ISR), 0x40);
	put(f, MASTER, EOI);
	pulse(f, 13);
	put(f, SLAVE, POLL);
	assert_int_equal(get(f, SLAVE + 1), 0x85); /* either port */
	assert_false(f->intr);
	assert_int_equal(get(f, SLAVE + 1), 0); /* once: the mask again */
}

/* ICW1 forgets edges, service, mask and rotation; a line that is high has to fall first. */
static void initialization(void **state)
{
	struct fixture *f = *state;

	put(f, MASTER, SET_LOWEST | 3);
	put(f, MASTER + 1, 0x10);
	put(f, MASTER, READ_ISR);
	i8259_set(f->pic, 5, true);
	i8259_acknowledge(f->pic);
	i8259_set(f->pic, 3, true);
	put(f, MASTER, 0x10); /* no ICW4 */
	assert_int_equal(get(f, MASTER + 1), 0);
	assert_int_equal(get(f, MASTER), 0);
	put(f, MASTER + 1, 0x47); /* the low bits are the line's */
	put(f, MASTER + 1, 0x04);
	put(f, MASTER + 1, 0x80); /* a mask already */
	assert_int_equal(get(f, MASTER + 1), 0x80);
	assert_false(f->intr);
	i8259_set(f->pic, 3, true);
	assert_false(f->intr);
	pulse(f, 3);
	i8259_set(f->pic, 0, true);
	assert_int_equal(i8259_acknowledge(f->pic), 0x40);
}

static void save_and_restore(void **state)
{
	struct fixture *f = *state;
	struct pic_state saved[2], again[2];

	bus_write(f->pio, ELCR + 1, 1, 0x0a);
	i8259_set(f->pic, 11, true);
	pulse(f, 4);
	i8259_acknowledge(f->pic);
	i8259_state_get(f->pic, saved);
	assert_int_equal(saved[0].isr, 4);
	assert_int_equal(saved[0].irr, 0x10);
	assert_int_equal(saved[0].irq_base, 0x30);
	assert_int_equal(saved[1].elcr, 0x0a);
	assert_int_equal(saved[1].elcr_mask, 0xde);
	assert_int_equal(saved[1].irr, 0x08);
	i8259_reset(f->pic);
	i8259_set(f->pic, 1, true);
	assert_true(f->intr);
	assert_int_equal(i8259_state_set(f->pic, saved), 0);
	assert_false(f->intr);
	i8259_state_get(f->pic, again);
	assert_memory_equal(saved, again, sizeof(saved));
	put(f, SLAVE, EOI);
	put(f, MASTER, EOI);
	assert_int_equal(i8259_acknowledge(f->pic), 0x3b); /* level: still high */
	saved[0].priority_add = 8;
	assert_int_equal(i8259_state_set(f->pic, saved), -EINVAL);
	saved[0].priority_add = 0;
	saved[1].elcr = 1;
	assert_int_equal(i8259_state_set(f->pic, saved), -EINVAL);
	i8259_state_get(f->pic, again);
	assert_int_equal(again[1].elcr, 0x0a);
}

static void ports_taken(void **state)
{
	struct fixture *f = *state;
	struct i8259_config config = {.intr = intr, .arg = f};
	struct i8259 *other = NULL;
	struct bus *pio;

	assert_int_equal(i8259_create(f->pio, &config, &other), -EEXIST);
	assert_null(other);
	assert_int_equal(get(f, MASTER + 1), 0); /* the first is unharmed */
	assert_int_equal(bus_create(&pio), 0);
	assert_int_equal(i8259_create(pio, &config, &other), 0);
	i8259_destroy(other);
	assert_int_equal(bus_read(pio, MASTER + 1, 1), 0xff);
	bus_destroy(pio);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(every_line),    TEST(fully_nested),    TEST(masks),
		TEST(spurious),      TEST(level_triggered), TEST(rotation),
		TEST(automatic_eoi), TEST(special_mask),    TEST(special_fully_nested),
		TEST(poll),          TEST(initialization),  TEST(save_and_restore),
		TEST(ports_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
