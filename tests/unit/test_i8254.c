/* SPDX-License-Identifier: MIT */
/* The timer against the 8254 data sheet, under a clock that the test turns. */
#include "tests/unit/unit.h"

#include <time.h>

#include "devices/i8254.h"
#include "vmm/base/clock.h"

#define START_NS (1000 * CLOCK_NS_PER_S)
#define CONTROL  0x43
#define PORT_61  0x61

static uint64_t monotonic_ns;

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	assert_int_equal(clock, CLOCK_MONOTONIC);
	ts->tv_sec = (time_t)(monotonic_ns / CLOCK_NS_PER_S);
	ts->tv_nsec = (long)(monotonic_ns % CLOCK_NS_PER_S);
	return 0;
}

struct fixture {
	struct bus *pio;
	struct i8254 *pit;
	bool level;
	unsigned rises, changes;
	uint64_t zero_ns, ticks; /* where the clock's ticks are counted from */
};

static void irq(void *arg, bool level)
{
	struct fixture *f = arg;

	assert_int_not_equal(f->level, level);
	f->level = level;
	f->rises += level;
}

static void changed(void *arg)
{
	((struct fixture *)arg)->changes++;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct i8254_config config = {.irq = irq, .changed = changed, .arg = f};

	assert_non_null(f);
	monotonic_ns = START_NS;
	assert_int_equal(bus_create(&f->pio), 0);
	assert_int_equal(i8254_create(f->pio, &config, &f->pit), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	assert_false(f->level);
	i8254_destroy(f->pit);
	i8254_destroy(NULL);
	bus_destroy(f->pio);
	free(f);
	return 0;
}

static void put(struct fixture *f, uint16_t port, uint8_t value)
{
	bus_write(f->pio, port, 1, value);
}

static uint8_t get(struct fixture *f, uint16_t port)
{
	return (uint8_t)bus_read(f->pio, port, 1);
}

/* A control word and a 16-bit count; ticks count from here. */
static void program(struct fixture *f, unsigned channel, unsigned mode, uint16_t count)
{
	put(f, CONTROL, (uint8_t)(channel << 6 | 0x30 | mode << 1));
	put(f, (uint16_t)(0x40 + channel), (uint8_t)count);
	put(f, (uint16_t)(0x40 + channel), (uint8_t)(count >> 8));
	f->zero_ns = monotonic_ns;
	f->ticks = 0;
}

static void recount(struct fixture *f)
{
	f->zero_ns = monotonic_ns;
	f->ticks = 0;
}

/* The first nanosecond of that many ticks later. */
static void ticks(struct fixture *f, uint64_t count)
{
	f->ticks += count;
	monotonic_ns = f->zero_ns +
		       (uint64_t)(((unsigned __int128)f->ticks * CLOCK_NS_PER_S + I8254_HZ - 1) /
				  I8254_HZ);
}

static uint16_t counter(struct fixture *f, unsigned channel)
{
	uint16_t value;

	put(f, CONTROL, (uint8_t)(channel << 6));
	value = get(f, (uint16_t)(0x40 + channel));
	return (uint16_t)(value | get(f, (uint16_t)(0x40 + channel)) << 8);
}

static uint8_t status(struct fixture *f, unsigned channel)
{
	put(f, CONTROL, (uint8_t)(0xe0 | 2u << channel));
	return get(f, (uint16_t)(0x40 + channel));
}

static bool out(struct fixture *f, unsigned channel)
{
	return status(f, channel) & 0x80;
}

/* Let time pass; the timer is told when it wants to be. */
static unsigned pass(struct fixture *f, uint64_t ns)
{
	uint64_t end = monotonic_ns + ns, deadline;
	unsigned before = f->rises;

	while ((deadline = i8254_deadline(f->pit)) != 0 && deadline <= end) {
		if (deadline > monotonic_ns)
			monotonic_ns = deadline;
		i8254_tick(f->pit);
	}
	monotonic_ns = end;
	return f->rises - before;
}

static void mode_0(void **state)
{
	struct fixture *f = *state;

	put(f, CONTROL, 0x30);
	assert_false(out(f, 0));
	assert_int_equal(status(f, 0), 0x70); /* no count yet */
	assert_int_equal(i8254_deadline(f->pit), 0);
	program(f, 0, 0, 1000);
	assert_int_equal(status(f, 0), 0x30);
	ticks(f, 400);
	assert_int_equal(counter(f, 0), 600);
	ticks(f, 599);
	assert_false(out(f, 0));
	assert_int_equal(f->rises, 0);
	ticks(f, 1);
	assert_int_equal(i8254_deadline(f->pit), monotonic_ns);
	i8254_tick(f->pit);
	assert_int_equal(f->rises, 1);
	assert_true(out(f, 0));
	ticks(f, 10); /* counts on */
	assert_int_equal(counter(f, 0), 65526);
	assert_int_equal(pass(f, CLOCK_NS_PER_S), 0);
	assert_int_equal(i8254_deadline(f->pit), 0);
	/* The first byte of another stops it, the second starts again. */
	put(f, 0x40, 0x10);
	assert_false(out(f, 0));
	assert_int_equal(i8254_deadline(f->pit), 0);
	put(f, 0x40, 0);
	recount(f);
	ticks(f, 16);
	assert_true(out(f, 0));
	assert_int_equal(f->rises, 2); /* an access notices as well */
}

static void mode_0_gate(void **state)
{
	struct fixture *f = *state;

	program(f, 2, 0, 1000); /* gate low */
	ticks(f, 500);
	assert_int_equal(counter(f, 2), 1000);
	put(f, PORT_61, 1);
	recount(f);
	ticks(f, 300);
	put(f, PORT_61, 0);
	ticks(f, 5000);
	assert_int_equal(counter(f, 2), 700);
	put(f, PORT_61, 1);
	recount(f);
	ticks(f, 699);
	assert_int_equal(get(f, PORT_61) & 0x21, 1);
	ticks(f, 1);
	assert_int_equal(get(f, PORT_61) & 0x21, 0x21); /* Linux's calibration waits for that */
	assert_int_equal(f->rises, 0);
}

static void mode_1(void **state)
{
	struct fixture *f = *state;

	program(f, 2, 1, 100);
	assert_int_equal(status(f, 2), 0xf2); /* not loaded before a trigger */
	ticks(f, 500);
	assert_true(out(f, 2));
	put(f, PORT_61, 1);
	recount(f);
	assert_int_equal(status(f, 2), 0x32);
	ticks(f, 60);
	put(f, PORT_61, 0); /* the level says nothing */
	ticks(f, 39);
	assert_false(out(f, 2));
	ticks(f, 1);
	assert_true(out(f, 2));
	put(f, PORT_61, 1);
	recount(f);
	ticks(f, 50);
	put(f, 0x42, 200); /* for the next trigger */
	put(f, 0x42, 0);
	put(f, PORT_61, 0);
	put(f, PORT_61, 1); /* which is now */
	recount(f);
	ticks(f, 199);
	assert_false(out(f, 2));
	ticks(f, 1);
	assert_true(out(f, 2));
	/* Counter 0's gate never rises. */
	program(f, 0, 1, 10);
	assert_int_equal(pass(f, CLOCK_NS_PER_S), 0);
}

static void mode_2(void **state)
{
	struct fixture *f = *state;

	program(f, 0, 2, 1000);
	assert_true(out(f, 0));
	ticks(f, 998);
	assert_int_equal(counter(f, 0), 2);
	assert_true(out(f, 0));
	ticks(f, 1);
	assert_int_equal(counter(f, 0), 1);
	assert_false(out(f, 0));
	assert_int_equal(f->rises, 0);
	ticks(f, 1);
	assert_int_equal(i8254_deadline(f->pit), monotonic_ns);
	assert_true(out(f, 0));
	assert_int_equal(f->rises, 1);
	assert_int_equal(counter(f, 0), 1000);
	/* A new count is for the next period. */
	ticks(f, 500);
	put(f, 0x40, 0xd0);
	put(f, 0x40, 0x07);
	assert_int_equal(status(f, 0) & 0x40, 0x40);
	assert_int_equal(counter(f, 0), 500);
	ticks(f, 500);
	assert_int_equal(counter(f, 0), 2000);
	assert_int_equal(status(f, 0) & 0x40, 0);
	assert_int_equal(f->rises, 2);
	/* A hundred a second, and missed ones are one. */
	program(f, 0, 2, 11932);
	assert_int_equal(pass(f, 10 * CLOCK_NS_PER_S), 999);
	monotonic_ns += CLOCK_NS_PER_S;
	assert_int_equal(pass(f, 0), 1);
	/* 65536. */
	program(f, 0, 2, 0);
	ticks(f, 1);
	assert_int_equal(counter(f, 0), 65535);
	assert_int_equal(pass(f, CLOCK_NS_PER_S), 18);
	/* Faster than anyone can want. */
	program(f, 0, 2, 1);
	assert_in_range(pass(f, 100 * I8254_TICK_MIN_NS), 99, 101);
}

static void mode_3(void **state)
{
	struct fixture *f = *state;

	for (unsigned count = 1000; count <= 1001; count++) {
		unsigned before, high = count - count / 2;

		program(f, 0, 3, (uint16_t)count);
		before = f->rises;
		assert_true(out(f, 0));
		ticks(f, 1);
		assert_int_equal(counter(f, 0), 998);
		ticks(f, high - 2);
		assert_true(out(f, 0));
		ticks(f, 1);
		assert_false(out(f, 0));
		assert_int_equal(counter(f, 0), 1000);
		ticks(f, 1);
		assert_int_equal(counter(f, 0), 998);
		ticks(f, count - high - 2);
		assert_false(out(f, 0));
		assert_int_equal(f->rises - before, 0);
		ticks(f, 1);
		assert_true(out(f, 0));
		assert_int_equal(f->rises - before, 1);
	}
	/* The speaker's gate: low forces the output high, and a rise starts anew. */
	program(f, 2, 7, 1000);
	assert_int_equal(status(f, 2) & 0x0e, 14); /* as written */
	put(f, PORT_61, 3);
	recount(f);
	ticks(f, 700);
	assert_int_equal(get(f, PORT_61) & 0x23, 3);
	put(f, PORT_61, 2);
	assert_int_equal(get(f, PORT_61) & 0x23, 0x22);
	put(f, PORT_61, 3);
	recount(f);
	ticks(f, 499);
	assert_true(out(f, 2));
	ticks(f, 1);
	assert_false(out(f, 2));
}

static void modes_4_and_5(void **state)
{
	struct fixture *f = *state;

	program(f, 0, 4, 100);
	ticks(f, 99);
	assert_true(out(f, 0));
	ticks(f, 1);
	assert_false(out(f, 0));
	assert_int_equal(f->rises, 0);
	assert_int_equal(pass(f, 800), 0);
	assert_int_equal(pass(f, 100), 1); /* behind the strobe */
	assert_true(out(f, 0));
	assert_int_equal(pass(f, CLOCK_NS_PER_S), 0);
	program(f, 2, 5, 100);
	ticks(f, 1000);
	assert_true(out(f, 2));
	put(f, PORT_61, 1);
	recount(f);
	ticks(f, 100);
	assert_false(out(f, 2));
	ticks(f, 1);
	assert_true(out(f, 2));
}

static void bcd(void **state)
{
	struct fixture *f = *state;

	put(f, CONTROL, 0x35);
	put(f, 0x40, 0x00);
	put(f, 0x40, 0x10); /* 1000 */
	recount(f);
	ticks(f, 1);
	assert_int_equal(counter(f, 0), 0x0999);
	ticks(f, 999);
	assert_int_equal(counter(f, 0), 0x1000);
	assert_int_equal(f->rises, 1);
	put(f, CONTROL, 0x31);
	put(f, 0x40, 0);
	put(f, 0x40, 0); /* 10000 */
	recount(f);
	assert_int_equal(counter(f, 0), 0);
	ticks(f, 1);
	assert_int_equal(counter(f, 0), 0x9999);
	ticks(f, 9998);
	assert_false(out(f, 0));
	ticks(f, 1);
	assert_true(out(f, 0));
	ticks(f, 1);
	assert_int_equal(counter(f, 0), 0x9999); /* wraps as BCD does */
}

static void access_and_latches(void **state)
{
	struct fixture *f = *state;

	/* Low byte only, high byte only. */
	put(f, CONTROL, 0x14);
	put(f, 0x40, 0x80);
	assert_int_equal(get(f, 0x40), 0x80);
	assert_int_equal(get(f, 0x40), 0x80);
	put(f, CONTROL, 0x24);
	put(f, 0x40, 0x12);
	assert_int_equal(get(f, 0x40), 0x12);
	recount(f);
	ticks(f, 1);
	assert_int_equal(get(f, 0x40), 0x11);
	/* A latch holds until it is read, and the first one counts. */
	program(f, 1, 2, 0x1234);
	put(f, CONTROL, 0x40);
	ticks(f, 0x100);
	put(f, CONTROL, 0x40);
	assert_int_equal(get(f, 0x41), 0x34);
	assert_int_equal(get(f, 0x41), 0x12);
	assert_int_equal(get(f, 0x41), 0x34);
	assert_int_equal(get(f, 0x41), 0x11);
	/* Read-back of several, counts and status: status first. */
	put(f, CONTROL, 0xc6);
	ticks(f, 0x100);
	assert_int_equal(get(f, 0x41), 0xb4);
	assert_int_equal(get(f, 0x41), 0x34);
	assert_int_equal(get(f, 0x41), 0x11);
	assert_int_equal(get(f, 0x40), 0xa4);
	assert_int_equal(get(f, 0x40), 0x10);
	/* A control word forgets a latch. */
	put(f, CONTROL, 0x40);
	put(f, CONTROL, 0x74);
	put(f, 0x41, 0x78);
	put(f, 0x41, 0x56);
	assert_int_equal(bus_read(f->pio, 0x41, 1), 0x78);
	assert_int_equal(get(f, 0x41), 0x56);
	assert_int_equal(get(f, CONTROL), 0xff);
	assert_true(f->changes > 0);
}

static void control_port(void **state)
{
	struct fixture *f = *state;
	unsigned toggles = 0;
	uint8_t last = get(f, PORT_61) & 0x10;

	assert_int_equal(get(f, PORT_61) & 0x23, 0);
	put(f, PORT_61, 0xff);
	assert_int_equal(get(f, PORT_61) & 0xcf, 3);
	for (unsigned us = 0; us < 1000; us++) {
		uint8_t now = get(f, PORT_61) & 0x10;

		toggles += now != last;
		last = now;
		monotonic_ns += 1000;
	}
	assert_in_range(toggles, 65, 67);
}

static void save_and_restore(void **state)
{
	struct fixture *f = *state;
	struct pit_channel_state saved[3], again[3];
	uint32_t flags;

	program(f, 2, 0, 5000);
	put(f, PORT_61, 3);
	program(f, 0, 2, 10000);
	put(f, 0x41, 0x55);
	ticks(f, 12500);
	put(f, CONTROL, 0xc2); /* both latches of counter 0 */
	put(f, 0x40, 0x77);    /* half a count */
	i8254_state_get(f->pit, saved, &flags);
	assert_int_equal(f->rises, 1);
	assert_int_equal(flags, I8254_FLAG_SPEAKER);
	assert_int_equal(saved[0].count, 10000);
	assert_int_equal(saved[0].mode, 2);
	assert_int_equal(saved[0].rw_mode, 3);
	assert_int_equal(saved[0].count_latched, 3);
	assert_int_equal(saved[0].latched_count, 7500);
	assert_int_equal(saved[0].status, 0xb4);
	assert_int_equal(saved[0].write_state, 4);
	assert_int_equal(saved[0].write_latch, 0x77);
	assert_int_equal(saved[0].load_time, START_NS);
	assert_int_equal(saved[2].load_time, -1); /* has expired */
	i8254_reset(f->pit);
	assert_int_equal(i8254_deadline(f->pit), 0);
	assert_int_equal(i8254_state_set(f->pit, saved, flags), 0);
	i8254_state_get(f->pit, again, &flags);
	assert_memory_equal(saved, again, sizeof(saved));
	assert_int_equal(get(f, 0x40), 0xb4);
	assert_int_equal(get(f, 0x40), 7500 & 0xff);
	assert_int_equal(get(f, 0x40), 7500 >> 8);
	assert_int_equal(counter(f, 0), 7500);
	assert_int_equal(get(f, PORT_61) & 0x23, 0x23);
	ticks(f, 7499);
	assert_int_equal(pass(f, 0), 0);
	ticks(f, 1);
	assert_int_equal(pass(f, 0), 1);
	/* A one-shot that was due meanwhile comes late, one that was over does not. */
	program(f, 0, 0, 100);
	i8254_state_get(f->pit, saved, &flags);
	ticks(f, 100000);
	i8254_state_set(f->pit, saved, flags);
	assert_int_equal(pass(f, 0), 1);
	i8254_state_get(f->pit, saved, &flags);
	i8254_state_set(f->pit, saved, flags);
	assert_int_equal(pass(f, CLOCK_NS_PER_S), 0);
	assert_true(out(f, 0));
	/* KVM does not say when it loaded counter 0. */
	saved[0].load_time = 0;
	i8254_state_set(f->pit, saved, flags);
	assert_int_equal(counter(f, 0), 100);
	assert_int_equal(pass(f, CLOCK_NS_PER_S), 1);
}

static void states_refused(void **state)
{
	struct fixture *f = *state;
	struct pit_channel_state good[3], bad[3];
	uint32_t flags;

	program(f, 0, 2, 1000);
	i8254_state_get(f->pit, good, &flags);
	assert_int_equal(i8254_state_set(f->pit, good, 1), -EINVAL);
#define REFUSED(channel, field, value)                                                             \
	do {                                                                                       \
		memcpy(bad, good, sizeof(bad));                                                    \
		bad[channel].field = (value);                                                      \
		assert_int_equal(i8254_state_set(f->pit, bad, 0), -EINVAL);                        \
	} while (0)
	REFUSED(0, gate, 0);
	REFUSED(2, gate, 2);
	REFUSED(0, count, 0x10001);
	REFUSED(1, mode, 8);
	REFUSED(1, rw_mode, 4);
	REFUSED(1, read_state, 5);
	REFUSED(1, write_state, 5);
	REFUSED(1, count_latched, 4);
	assert_int_equal(counter(f, 0), 1000);
	/* Times of another host. */
	memcpy(bad, good, sizeof(bad));
	bad[0].load_time = INT64_MAX;
	assert_int_equal(i8254_state_set(f->pit, bad, 0), 0);
	assert_int_equal(pass(f, CLOCK_NS_PER_S), 1193);
	bad[0].load_time = INT64_MIN;
	assert_int_equal(i8254_state_set(f->pit, bad, 0), 0);
	assert_in_range(pass(f, CLOCK_NS_PER_S), 1193, 1194);
}

static void ports_taken(void **state)
{
	struct fixture *f = *state;
	struct i8254_config config = {.irq = irq, .changed = changed, .arg = f};
	struct i8254 *other = NULL;

	assert_int_equal(i8254_create(f->pio, &config, &other), -EEXIST);
	assert_null(other);
	program(f, 0, 2, 1000);
	assert_int_equal(counter(f, 0), 1000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(mode_0),
		TEST(mode_0_gate),
		TEST(mode_1),
		TEST(mode_2),
		TEST(mode_3),
		TEST(modes_4_and_5),
		TEST(bcd),
		TEST(access_and_latches),
		TEST(control_port),
		TEST(save_and_restore),
		TEST(states_refused),
		TEST(ports_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
