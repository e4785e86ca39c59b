/* SPDX-License-Identifier: MIT */
/* The bus: who answers where, overlaps, and regions that go while others read. */
#include "tests/unit/unit.h"

#include <pthread.h>
#include <stdatomic.h>

#include "vmm/core/bus.h"

struct device {
	uint64_t id, offset, value;
	unsigned size;
	_Atomic unsigned accesses;
};

static uint64_t device_read(void *arg, uint64_t offset, unsigned size)
{
	struct device *d = arg;

	(void)size;
	atomic_fetch_add(&d->accesses, 1);
	return d->id + offset;
}

static void device_write(void *arg, uint64_t offset, unsigned size, uint64_t value)
{
	struct device *d = arg;

	d->offset = offset;
	d->size = size;
	d->value = value;
}

static const struct bus_ops ops = {.read = device_read, .write = device_write};

static int setup(void **state)
{
	return bus_create((struct bus **)state);
}

static int teardown(void **state)
{
	bus_destroy(*state);
	return 0;
}

static void nobody_answers(void **state)
{
	struct bus *bus = *state;

	assert_int_equal(bus_read(bus, 0, 1), 0xff);
	assert_int_equal(bus_read(bus, 0, 2), 0xffff);
	assert_int_equal(bus_read(bus, 0, 4), 0xffffffff);
	assert_int_equal(bus_read(bus, ~0ull, 8), ~0ull);
	bus_write(bus, 0, 8, 0);
	bus_remove(bus, 0, NULL);
	bus_destroy(NULL);
}

static void edges(void **state)
{
	struct device a = {.id = 0x10}, b = {.id = 0x20};
	struct bus *bus = *state;

	assert_int_equal(bus_add(bus, 0x1000, 0x10, &ops, &a), 0);
	assert_int_equal(bus_add(bus, 0x1010, 0x10, &ops, &b), 0);
	assert_int_equal(bus_read(bus, 0xfff, 1), 0xff);
	assert_int_equal(bus_read(bus, 0x1000, 1), 0x10);
	assert_int_equal(bus_read(bus, 0x100f, 1), 0x1f);
	assert_int_equal(bus_read(bus, 0x1010, 1), 0x20);
	assert_int_equal(bus_read(bus, 0x101f, 1), 0x2f);
	assert_int_equal(bus_read(bus, 0x1020, 1), 0xff);
	/* An access lies within one region or is nobody's. */
	assert_int_equal(bus_read(bus, 0xfff, 2), 0xffff);
	assert_int_equal(bus_read(bus, 0x100f, 2), 0xffff);
	assert_int_equal(bus_read(bus, 0x101d, 4), 0xffffffff);
	assert_int_equal(bus_read(bus, 0x1018, 8), 0x28);
	a.id = 0x1234;
	assert_int_equal(bus_read(bus, 0x1000, 1), 0x34); /* no more than was asked for */
	bus_write(bus, 0x100e, 2, 0xabcd);
	assert_int_equal(a.offset, 0xe);
	assert_int_equal(a.size, 2);
	assert_int_equal(a.value, 0xabcd);
	bus_write(bus, 0x100f, 2, 0);
	assert_int_equal(a.offset, 0xe);
}

static void overlaps(void **state)
{
	static const struct {
		uint64_t base, length;
		int result;
	} cases[] = {
		{0x1000, 0x10, -EEXIST}, {0x1000, 1, -EEXIST},
		{0x100f, 1, -EEXIST},    {0xfff, 2, -EEXIST},
		{0xfff, 1, 0},           {0x1010, 1, 0},
		{0x0, 0x2000, -EEXIST},  {0x1008, 0x100, -EEXIST},
		{0x500, 0, -EINVAL},     {~0ull, 2, -EINVAL},
		{1, ~0ull, -EINVAL},     {0x1020, 0xffff, 0},
	};
	struct device a = {.id = 1}, other = {.id = 2};
	struct bus *bus = *state;

	assert_int_equal(bus_add(bus, 0x1000, 0x10, &ops, &a), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(bus_add(bus, cases[i].base, cases[i].length, &ops, &other),
				 cases[i].result);
	assert_int_equal(bus_read(bus, 0x1000, 1), 1);
}

static void removal(void **state)
{
	struct device a = {.id = 1}, b = {.id = 2};
	struct bus *bus = *state;

	assert_int_equal(bus_add(bus, 0x1000, 0x10, &ops, &a), 0);
	bus_remove(bus, 0x1001, &a); /* not a start */
	bus_remove(bus, 0xfff, &a);
	bus_remove(bus, 0x1000, &b); /* another's */
	assert_int_equal(bus_read(bus, 0x1000, 1), 1);
	bus_remove(bus, 0x1000, &a);
	bus_remove(bus, 0x1000, &a);
	assert_int_equal(bus_read(bus, 0x1000, 1), 0xff);
	assert_int_equal(bus_add(bus, 0x1008, 0x10, &ops, &b), 0);
	assert_int_equal(bus_read(bus, 0x1008, 1), 2);
}

/* Many regions, added in no order: each is found, also after half of them went. */
static void many_regions(void **state)
{
	static struct device devices[200];
	struct bus *bus = *state;

	for (unsigned i = 0; i < 200; i++) {
		unsigned at = i * 77 % 200;

		devices[at].id = 0x1000 * at;
		assert_int_equal(bus_add(bus, 0x100 * at, 0x80, &ops, &devices[at]), 0);
	}
	for (unsigned i = 0; i < 200; i += 2)
		bus_remove(bus, 0x100 * i, &devices[i]);
	for (unsigned i = 0; i < 200; i++) {
		uint64_t expected = i % 2 ? 0x1000 * i + 4 : 0xffffffff;

		assert_int_equal(bus_read(bus, 0x100 * i + 4, 4), expected);
		assert_int_equal(bus_read(bus, 0x100 * i + 0x80, 4), 0xffffffff);
	}
}

struct reader {
	struct bus *bus;
	_Atomic bool stop;
	_Atomic unsigned wrong;
};

static void *reader_main(void *arg)
{
	struct reader *r = arg;

	while (!atomic_load(&r->stop)) {
		uint64_t fixed = bus_read(r->bus, 0x2004, 4), moving = bus_read(r->bus, 0x1004, 4);

		if (fixed != 0x5004 || (moving != 0x7004 && moving != 0xffffffff))
			atomic_fetch_add(&r->wrong, 1);
	}
	return NULL;
}

static void removal_while_reading(void **state)
{
	static struct device fixed = {.id = 0x5000}, moving = {.id = 0x7000}, low;
	struct reader reader = {.bus = *state};
	pthread_t thread;

	assert_int_equal(bus_add(reader.bus, 0x2000, 0x100, &ops, &fixed), 0);
	assert_int_equal(pthread_create(&thread, NULL, reader_main, &reader), 0);
	for (unsigned i = 0; i < 2000 || atomic_load(&fixed.accesses) < 1000; i++) {
		assert_int_equal(bus_add(reader.bus, 0x1000, 0x100, &ops, &moving), 0);
		assert_int_equal(bus_add(reader.bus, 0x100, 0x100, &ops, &low), 0);
		bus_remove(reader.bus, 0x1000, &moving);
		bus_remove(reader.bus, 0x100, &low);
	}
	atomic_store(&reader.stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(atomic_load(&reader.wrong), 0);
}

/* A device may change the bus from within an access, as a PCI command register does. */
static struct bus *changing_bus;

static void changing_write(void *arg, uint64_t offset, unsigned size, uint64_t value)
{
	static struct device added = {.id = 0x42};

	(void)offset;
	(void)size;
	(void)value;
	bus_remove(changing_bus, 0x1000, arg);
	assert_int_equal(bus_add(changing_bus, 0x3000, 1, &ops, &added), 0);
}

static void device_changes_the_bus(void **state)
{
	static const struct bus_ops changing = {.read = device_read, .write = changing_write};
	struct device d = {.id = 1};

	changing_bus = *state;
	assert_int_equal(bus_add(changing_bus, 0x1000, 1, &changing, &d), 0);
	bus_write(changing_bus, 0x1000, 1, 0);
	assert_int_equal(bus_read(changing_bus, 0x1000, 1), 0xff);
	assert_int_equal(bus_read(changing_bus, 0x3000, 1), 0x42);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(nobody_answers),
		TEST(edges),
		TEST(overlaps),
		TEST(removal),
		TEST(many_regions),
		TEST(removal_while_reading),
		TEST(device_changes_the_bus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
