/* SPDX-License-Identifier: MIT */
/*
 * The clock chip under a clock that the test turns: clock_gettime and the loop's timer are replaced
 * (-Wl,--wrap), so that nothing here waits or depends on the time of day.
 */
#include "tests/unit/unit.h"

#include <time.h>

#include "devices/mc146818.h"
#include "tests/fake_vm.h"
#include "vmm/base/clock.h"

#define GSI 8

enum {
	SECONDS,
	SECONDS_ALARM,
	MINUTES,
	MINUTES_ALARM,
	HOURS,
	HOURS_ALARM,
	WEEKDAY,
	DAY,
	MONTH,
	YEAR,
	A,
	B,
	C,
	D,
	CENTURY = 0x32,
};

#define B_SET      0x80
#define B_PERIODIC 0x40
#define B_ALARM    0x20
#define B_UPDATE   0x10
#define B_BINARY   0x04
#define B_24H      0x02

/* 2024-02-29 23:59:58 UTC, a Thursday. */
#define START 1709251198ull

static uint64_t realtime_ns, monotonic_ns;

static struct {
	loop_fn *fn;
	void *arg;
	uint64_t deadline;
} timer;

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_loop_add_timer(struct loop *loop, loop_fn *fn, void *arg, struct loop_source **out);
void __wrap_loop_timer_arm(struct loop_source *source, uint64_t deadline_ns);
void __wrap_loop_remove(struct loop_source *source);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	uint64_t now = clock == CLOCK_REALTIME ? realtime_ns : monotonic_ns;

	ts->tv_sec = (time_t)(now / CLOCK_NS_PER_S);
	ts->tv_nsec = (long)(now % CLOCK_NS_PER_S);
	return 0;
}

int __wrap_loop_add_timer(struct loop *loop, loop_fn *fn, void *arg, struct loop_source **out)
{
	(void)loop;
	timer.fn = fn;
	timer.arg = arg;
	*out = (struct loop_source *)(void *)&timer;
	return 0;
}

void __wrap_loop_timer_arm(struct loop_source *source, uint64_t deadline_ns)
{
	assert_ptr_equal(source, &timer);
	timer.deadline = deadline_ns;
}

void __wrap_loop_remove(struct loop_source *source)
{
	(void)source;
}

struct fixture {
	struct fake_vm *fake;
	struct mc146818 *rtc;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct irq_line irq;

	assert_non_null(f);
	realtime_ns = START * CLOCK_NS_PER_S;
	monotonic_ns = 1000 * CLOCK_NS_PER_S;
	memset(&timer, 0, sizeof(timer));
	f->fake = fake_vm_create(0);
	irq = (struct irq_line){.vm = &f->fake->vm, .gsi = GSI};
	assert_int_equal(mc146818_create(f->fake->vm.pio, &irq, NULL, &f->rtc), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	mc146818_destroy(f->rtc);
	fake_vm_destroy(f->fake);
	free(f);
	return 0;
}

/* Let time pass; the timer fires where it should. */
static void pass(uint64_t ns)
{
	uint64_t end = monotonic_ns + ns;

	while (timer.deadline && timer.deadline <= end) {
		uint64_t step = timer.deadline > monotonic_ns ? timer.deadline - monotonic_ns : 0;

		monotonic_ns += step;
		realtime_ns += step;
		timer.deadline = 0;
		timer.fn(timer.arg, 0);
	}
	realtime_ns += end - monotonic_ns;
	monotonic_ns = end;
}

static uint8_t get(struct fixture *f, uint8_t reg)
{
	bus_write(f->fake->vm.pio, MC146818_PORT, 1, reg);
	return (uint8_t)bus_read(f->fake->vm.pio, MC146818_PORT + 1, 1);
}

static void put(struct fixture *f, uint8_t reg, uint8_t value)
{
	bus_write(f->fake->vm.pio, MC146818_PORT, 1, reg);
	bus_write(f->fake->vm.pio, MC146818_PORT + 1, 1, value);
}

/* Register C but for the periodic flag, which comes at its rate whether enabled or not. */
static uint8_t flags(struct fixture *f)
{
	return get(f, C) & (uint8_t)~B_PERIODIC;
}

static void check_time(struct fixture *f, const uint8_t expected[8])
{
	static const uint8_t regs[] = {SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CENTURY};

	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(get(f, regs[i]), expected[i]);
}

static void bcd_24_hours(void **state)
{
	struct fixture *f = *state;

	check_time(f, (uint8_t[]){0x58, 0x59, 0x23, 5, 0x29, 2, 0x24, 0x20});
	pass(2 * CLOCK_NS_PER_S);
	check_time(f, (uint8_t[]){0, 0, 0, 6, 1, 3, 0x24, 0x20});
	assert_int_equal(get(f, D), 0x80);
}

static void binary(void **state)
{
	struct fixture *f = *state;

	put(f, B, B_24H | B_BINARY);
	check_time(f, (uint8_t[]){58, 59, 23, 5, 29, 2, 24, 20});
}

static void hours_of_12(void **state)
{
	static const struct {
		unsigned hour;
		uint8_t bcd, binary;
	} cases[] = {{0, 0x12, 12},    {1, 0x01, 1},     {11, 0x11, 11},
		     {12, 0x92, 0x8c}, {13, 0x81, 0x81}, {23, 0x91, 0x8b}};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		realtime_ns = (START - 23 * 3600 + cases[i].hour * 3600ull) * CLOCK_NS_PER_S;
		put(f, B, 0);
		assert_int_equal(get(f, HOURS), cases[i].bcd);
		put(f, B, B_BINARY);
		assert_int_equal(get(f, HOURS), cases[i].binary);
	}
}

/* Linux's way: SET, write all, clear SET. The clock stands still meanwhile. */
static void set_the_clock(void **state)
{
	static const uint8_t when[][2] = {{SECONDS, 0x30}, {MINUTES, 0x59}, {HOURS, 0x08},
					  {DAY, 0x31},     {MONTH, 0x12},   {YEAR, 0x99},
					  {CENTURY, 0x19}};
	struct fixture *f = *state;

	put(f, B, B_24H | B_SET);
	for (unsigned i = 0; i < ARRAY_SIZE(when); i++) {
		put(f, when[i][0], when[i][1]);
		pass(CLOCK_NS_PER_S);
	}
	assert_int_equal(get(f, SECONDS), 0x30);
	put(f, B, B_24H);
	check_time(f, (uint8_t[]){0x30, 0x59, 0x08, 6, 0x31, 0x12, 0x99, 0x19});
	pass(15 * 3600ull * CLOCK_NS_PER_S + 30 * CLOCK_NS_PER_S);
	check_time(f, (uint8_t[]){0, 0, 0, 7, 1, 1, 0, 0x20});
}

/* Without SET a register counts at once. */
static void set_one_register(void **state)
{
	struct fixture *f = *state;

	put(f, MINUTES, 0x10);
	check_time(f, (uint8_t[]){0x58, 0x10, 0x23, 5, 0x29, 2, 0x24, 0x20});
	pass(3 * CLOCK_NS_PER_S);
	check_time(f, (uint8_t[]){0x01, 0x11, 0x23, 5, 0x29, 2, 0x24, 0x20});
}

/* Any bytes may be written: the clock shows some time, and does not crash. */
static void nonsense_times(void **state)
{
	struct fixture *f = *state;

	for (unsigned value = 0; value < 256; value++) {
		for (uint8_t reg = 0; reg < 10; reg++)
			put(f, reg, (uint8_t)(value * 7 + reg));
		put(f, CENTURY, (uint8_t)value);
		put(f, B, (uint8_t)value & ~(uint8_t)0x70);
		for (uint8_t reg = 0; reg < 14; reg++)
			get(f, reg);
	}
	put(f, B, 0);
	assert_true(get(f, MONTH) >= 1 && get(f, MONTH) <= 0x12);
}

static void update_in_progress(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, A) & 0x80, 0);
	pass(CLOCK_NS_PER_S - 245000);
	assert_int_equal(get(f, A) & 0x80, 0);
	pass(2000);
	assert_int_equal(get(f, A) & 0x80, 0x80);
	/* SET keeps updates away. */
	put(f, B, B_24H | B_SET);
	assert_int_equal(get(f, A) & 0x80, 0);
	put(f, B, B_24H);
	pass(243000);
	assert_int_equal(get(f, A) & 0x80, 0);
	put(f, A, 0xff); /* the bit is read-only */
	assert_int_equal(get(f, A), 0x7f);
}

static void update_interrupt(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(timer.deadline, 0); /* nobody wants to know: no timer runs */
	put(f, B, B_24H | B_UPDATE);
	assert_false(f->fake->level[GSI]);
	pass(CLOCK_NS_PER_S);
	assert_true(f->fake->level[GSI]);
	assert_int_equal(flags(f), 0x80 | B_UPDATE);
	assert_false(f->fake->level[GSI]);
	assert_int_equal(flags(f), 0);
	pass(3 * CLOCK_NS_PER_S);
	assert_int_equal(f->fake->rises[GSI], 2); /* not acknowledged in between */
	get(f, C);
	put(f, B, B_24H);
	pass(3 * CLOCK_NS_PER_S);
	assert_int_equal(f->fake->rises[GSI], 2);
	assert_int_equal(timer.deadline, 0);
	/* The flag is there for those who poll. */
	assert_int_equal(flags(f), B_UPDATE);
}

static void alarm_interrupt(void **state)
{
	struct fixture *f = *state;

	put(f, SECONDS_ALARM, 0x05);
	put(f, MINUTES_ALARM, 0x00);
	put(f, HOURS_ALARM, 0x00);
	put(f, B, B_24H | B_ALARM);
	pass(6 * CLOCK_NS_PER_S);
	assert_int_equal(f->fake->rises[GSI], 0);
	pass(CLOCK_NS_PER_S);
	assert_int_equal(f->fake->rises[GSI], 1);
	assert_int_equal(flags(f), 0x80 | B_ALARM | B_UPDATE);
	pass(3600 * CLOCK_NS_PER_S);
	assert_int_equal(f->fake->rises[GSI], 1);
}

/* Host time jumps over the alarm's second, also past midnight: it is late, not lost. */
static void alarm_is_late(void **state)
{
	struct fixture *f = *state;

	put(f, SECONDS_ALARM, 0x05);
	put(f, MINUTES_ALARM, 0x00);
	put(f, HOURS_ALARM, 0x00);
	realtime_ns += 90 * CLOCK_NS_PER_S;
	assert_int_equal(flags(f), B_ALARM | B_UPDATE);
	realtime_ns += 3600 * CLOCK_NS_PER_S;
	assert_int_equal(flags(f), B_UPDATE);
	realtime_ns += 86400 * CLOCK_NS_PER_S;
	assert_int_equal(flags(f), B_ALARM | B_UPDATE);
	realtime_ns += 1000 * 86400 * CLOCK_NS_PER_S;
	assert_int_equal(flags(f), B_ALARM | B_UPDATE);
	/* It was set back: what is repeated is no second alarm but at its very second. */
	realtime_ns -= 600 * CLOCK_NS_PER_S;
	assert_int_equal(flags(f), B_UPDATE);
}

/* Any value with both top bits set matches all. */
static void alarm_wildcards(void **state)
{
	struct fixture *f = *state;

	put(f, SECONDS_ALARM, 0x10);
	put(f, MINUTES_ALARM, 0xff);
	put(f, HOURS_ALARM, 0xc0);
	put(f, B, B_24H | B_ALARM);
	for (unsigned i = 1; i <= 3; i++) {
		pass(60 * CLOCK_NS_PER_S);
		assert_int_equal(f->fake->rises[GSI], i);
		get(f, C);
	}
}

static void periodic_interrupt(void **state)
{
	static const struct {
		uint8_t rate;
		uint64_t hz;
	} rates[] = {{1, 256}, {2, 128}, {3, 8192}, {6, 1024}, {15, 2}};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(rates); i++) {
		unsigned before = f->fake->rises[GSI], count = 0;

		put(f, A, 0x20 | rates[i].rate);
		get(f, C);
		put(f, B, B_24H | B_PERIODIC);
		for (uint64_t n = 0; n < 4 * rates[i].hz; n++) {
			pass(CLOCK_NS_PER_S / rates[i].hz);
			count += (get(f, C) & B_PERIODIC) != 0;
		}
		put(f, B, B_24H);
		assert_in_range(count, 4 * rates[i].hz - 1, 4 * rates[i].hz + 1);
		assert_in_range(f->fake->rises[GSI] - before, count - 1, count + 1);
	}
	/* Rate 0 is none. */
	put(f, A, 0x20);
	get(f, C);
	put(f, B, B_24H | B_PERIODIC);
	pass(10 * CLOCK_NS_PER_S);
	assert_int_equal(get(f, C) & B_PERIODIC, 0);
	assert_int_equal(timer.deadline, 0);
}

/* The line follows the enable bits, and an interrupt that nobody sees to costs no more timers. */
static void left_unattended(void **state)
{
	struct fixture *f = *state;

	put(f, A, 0x23); /* 8192 Hz */
	get(f, C);
	put(f, B, B_24H | B_PERIODIC);
	pass(CLOCK_NS_PER_S);
	assert_int_equal(f->fake->rises[GSI], 1);
	assert_true(f->fake->level[GSI]);
	assert_int_equal(timer.deadline, 0);
	put(f, B, B_24H);
	assert_false(f->fake->level[GSI]);
	put(f, B, B_24H | B_PERIODIC);
	assert_true(f->fake->level[GSI]);
	assert_int_equal(get(f, C) & (B_PERIODIC | 0x80), B_PERIODIC | 0x80);
	assert_false(f->fake->level[GSI]);
	assert_int_not_equal(timer.deadline, 0);
}

static void memory_and_index(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0x0e; i < 128; i++)
		if (i != CENTURY)
			put(f, (uint8_t)i, (uint8_t)(i * 3));
	for (unsigned i = 0x0e; i < 128; i++)
		if (i != CENTURY)
			assert_int_equal(get(f, (uint8_t)i), (uint8_t)(i * 3));
	assert_int_equal(get(f, 0x80 | 0x10), 0x30); /* the NMI bit is no part of the index */
	assert_int_equal(bus_read(f->fake->vm.pio, MC146818_PORT, 1), 0xff);
	put(f, C, 0xff);
	put(f, D, 0);
	assert_int_equal(get(f, D), 0x80);
	/* A word is index and data. */
	bus_write(f->fake->vm.pio, MC146818_PORT, 2, 0x7711);
	assert_int_equal(get(f, 0x11), 0x77);
}

static void reset_keeps_the_battery(void **state)
{
	struct fixture *f = *state;

	put(f, 0x40, 0x12);
	put(f, MINUTES, 0x10);
	put(f, B, B_24H | B_UPDATE);
	pass(CLOCK_NS_PER_S);
	assert_true(f->fake->level[GSI]);
	mc146818_reset(f->rtc);
	assert_false(f->fake->level[GSI]);
	assert_int_equal(timer.deadline, 0);
	assert_int_equal(get(f, B), B_24H);
	assert_int_equal(get(f, 0x40), 0x12);
	assert_int_equal(get(f, MINUTES), 0x10);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(bcd_24_hours),       TEST(binary),           TEST(hours_of_12),
		TEST(set_the_clock),      TEST(set_one_register), TEST(nonsense_times),
		TEST(update_in_progress), TEST(update_interrupt), TEST(alarm_interrupt),
		TEST(alarm_is_late),      TEST(alarm_wildcards),  TEST(periodic_interrupt),
		TEST(left_unattended),    TEST(memory_and_index), TEST(reset_keeps_the_battery),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
