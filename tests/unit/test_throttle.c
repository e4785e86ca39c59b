/* SPDX-License-Identifier: MIT */
/* Rates hold over any seconds, whatever the size of pieces. */
#include "tests/unit/unit.h"

#include "vmm/base/clock.h"
#include "vmm/base/throttle.h"

#define MS CLOCK_NS_PER_MS

/* What passes in `seconds`, where somebody always has a piece of `size`; it waits as it is told. */
static uint64_t pieces_in(const struct throttle_rates *rates, uint64_t size, unsigned seconds)
{
	uint64_t now = 77 * MS, end = now + seconds * CLOCK_NS_PER_S, count = 0;
	struct throttle t;

	throttle_init(&t, rates);
	while (now < end) {
		uint64_t wait = throttle_wait(&t, now);

		now += wait;
		if (wait)
			continue;
		throttle_spend(&t, size, 1);
		count++;
		now += 1000; /* it takes some time itself */
	}
	throttle_fini(&t);
	return count;
}

static void bytes_hold(void **state)
{
	const struct throttle_rates rates = {.bytes = 1000000};

	(void)state;
	/* A bucket of a tenth of a second besides. */
	assert_in_range(pieces_in(&rates, 1000, 10) * 1000, 10000000, 10102000);
	assert_in_range(pieces_in(&rates, 1, 1), 990000, 1000000);
	/* Pieces that are larger than what a second brings. */
	assert_in_range(pieces_in(&rates, 3000000, 30) * 3, 30, 33);
}

static void pieces_hold(void **state)
{
	const struct throttle_rates rates = {.pieces = 100},
				    both = {.bytes = 500000, .pieces = 100};

	(void)state;
	assert_in_range(pieces_in(&rates, 60000, 10), 1000, 1011);
	/* Whichever is reached first. */
	assert_in_range(pieces_in(&both, 100, 10), 1000, 1011);
	assert_in_range(pieces_in(&both, 50000, 10), 100, 102);
}

static void nothing_holds(void **state)
{
	const struct throttle_rates rates = {0};
	struct throttle t;

	(void)state;
	throttle_init(&t, &rates);
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(throttle_wait(&t, 5), 0);
		throttle_spend(&t, 1u << 30, 1);
	}
	throttle_fini(&t);
}

/* Who was idle has a bucket, not all that he did not use; a clock that stands gives nothing. */
static void idle(void **state)
{
	const struct throttle_rates rates = {.pieces = 1000};
	struct throttle t;
	unsigned count = 0;

	(void)state;
	throttle_init(&t, &rates);
	assert_int_equal(throttle_wait(&t, MS), 0);
	assert_int_equal(throttle_wait(&t, 3600 * CLOCK_NS_PER_S), 0);
	for (; throttle_wait(&t, 3600 * CLOCK_NS_PER_S) == 0; count++)
		throttle_spend(&t, 1, 1);
	assert_int_equal(count, 100);
	assert_in_range(throttle_wait(&t, 3600 * CLOCK_NS_PER_S), 1, MS);
	/* Ten as one: nine more are owed. */
	assert_int_equal(throttle_wait(&t, 3601 * CLOCK_NS_PER_S), 0);
	throttle_spend(&t, 1, 110);
	assert_in_range(throttle_wait(&t, 3601 * CLOCK_NS_PER_S), 10 * MS, 10 * MS + 1);
	throttle_fini(&t);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_hold),
		cmocka_unit_test(pieces_hold),
		cmocka_unit_test(nothing_holds),
		cmocka_unit_test(idle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
