/* SPDX-License-Identifier: MIT */
/* A panic message in a stream that is the guest's. */
#include "tests/unit/unit.h"

#include "vmm/machine/panic_watch.h"

static const char *feed(struct panic_watch *w, const char *text)
{
	return panic_watch_feed(w, (const uint8_t *)text, strlen(text));
}

static void found_once(void **state)
{
	struct panic_watch w = {0};
	const char *reason;

	(void)state;
	assert_null(feed(&w, "[    0.1] Booting\n"));
	assert_null(feed(&w, "[    1.0] Kernel panic - not syncing: VFS: no root"));
	reason = feed(&w, "\r\n");
	assert_non_null(reason);
	assert_string_equal(reason, "VFS: no root");
	assert_null(feed(&w, "Kernel panic - not syncing: another\n"));
}

static void end_mark_is_no_panic(void **state)
{
	struct panic_watch w = {0};

	(void)state;
	assert_null(feed(&w, "---[ end Kernel panic - not syncing: x ]---\n"));
	assert_non_null(feed(&w, "Kernel panic - not syncing: x\n"));
}

/* In pieces of any size, with NULs and carriage returns in between. */
static void any_pieces(void **state)
{
	static const char text[] = "a\nKernel panic - not syncing: in pieces\nb\n";

	(void)state;
	for (size_t piece = 1; piece < sizeof(text); piece++) {
		struct panic_watch w = {0};
		const char *reason = NULL;

		for (size_t at = 0; at < sizeof(text) - 1; at += piece) {
			size_t left = sizeof(text) - 1 - at, n = left < piece ? left : piece;
			const char *found = panic_watch_feed(&w, (const uint8_t *)text + at, n);

			panic_watch_feed(&w, (const uint8_t *)"\0\r", 2);
			reason = found ? found : reason;
		}
		assert_non_null(reason);
		assert_string_equal(reason, "in pieces");
	}
}

static void endless_lines(void **state)
{
	struct panic_watch w = {0};

	(void)state;
	for (unsigned i = 0; i < 100000; i++)
		assert_null(feed(&w, "x"));
	assert_null(feed(&w, "Kernel panic - not syncing: too late on the line\n"));
	assert_string_equal(feed(&w, "Kernel panic - not syncing: \n"), "no reason given");
}

static void long_reason_is_cut(void **state)
{
	struct panic_watch w = {0};
	const char *reason;

	(void)state;
	assert_null(feed(&w, "Kernel panic - not syncing: "));
	for (unsigned i = 0; i < 1000; i++)
		assert_null(feed(&w, "y"));
	reason = feed(&w, "\n");
	assert_non_null(reason);
	assert_true(strlen(reason) > 100 && strlen(reason) <= PANIC_LINE_MAX);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(found_once),         cmocka_unit_test(end_mark_is_no_panic),
		cmocka_unit_test(any_pieces),         cmocka_unit_test(endless_lines),
		cmocka_unit_test(long_reason_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
