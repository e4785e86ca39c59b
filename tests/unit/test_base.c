/* SPDX-License-Identifier: MIT */
/* Small things of vmm/base: checked arithmetic, text, errors, the log and its limit. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/clock.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/text.h"

static uint64_t now_ns = CLOCK_NS_PER_S;

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	(void)clock;
	ts->tv_sec = (time_t)(now_ns / CLOCK_NS_PER_S);
	ts->tv_nsec = (long)(now_ns % CLOCK_NS_PER_S);
	return 0;
}

static void ranges(void **state)
{
	uint64_t out;

	(void)state;
	assert_true(range_within(0, 0, 0, 0));
	assert_true(range_within(10, 5, 10, 5));
	assert_false(range_within(10, 6, 10, 5));
	assert_false(range_within(9, 1, 10, 5));
	assert_true(range_within(15, 0, 10, 5));
	assert_false(range_within(16, 0, 10, 5));
	assert_false(range_within(12, ~0ull, 10, 5));
	assert_true(range_within(~0ull, 1, ~0ull, 1));
	assert_true(range_overlaps(0, 2, 1, 1));
	assert_false(range_overlaps(0, 1, 1, 1));
	assert_false(range_overlaps(1, 0, 0, 10));
	assert_true(range_overlaps(~0ull, 1, 0, ~0ull + 0ull) == false);
	assert_true(range_overlaps(~0ull - 1, 2, ~0ull, 1));
	assert_false(checked_add(~0ull, 1, &out));
	assert_true(checked_add(~0ull, 0, &out));
	assert_false(checked_mul(1ull << 32, 1ull << 32, &out));
	assert_true(checked_mul(1ull << 32, (1ull << 32) - 1, &out));
	assert_int_equal(align_up(1, 4096), 4096);
	assert_int_equal(align_up(4096, 4096), 4096);
	assert_int_equal(align_up(0, 4), 0);
}

static void bytes(void **state)
{
	uint8_t b[9] = {0};

	(void)state;
	le64_put(b + 1, 0x1122334455667788ull); /* unaligned */
	assert_int_equal(b[1], 0x88);
	assert_int_equal(le64_get(b + 1), 0x1122334455667788ull);
	assert_int_equal(le32_get(b + 1), 0x55667788);
	assert_int_equal(le16_get(b + 2), 0x6677);
	assert_int_equal(le_get(b + 1, 3), 0x667788);
	le_put(b + 1, 2, 0xffffabcd);
	assert_int_equal(le32_get(b + 1), 0x5566abcd);
}

static void numbers(void **state)
{
	static const char *const bad[] = {"",
					  " 1",
					  "+1",
					  "-1",
					  "1 ",
					  "0x10",
					  "1.5",
					  "abc",
					  "1e3",
					  "11",
					  "18446744073709551616",
					  "99999999999999999999999"};
	uint64_t out = 77;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(text_to_number(bad[i], 0, 10, &out), -EINVAL);
	assert_int_equal(out, 77);
	assert_int_equal(text_to_number("10", 1, 10, &out), 0);
	assert_int_equal(out, 10);
	assert_int_equal(text_to_number("010", 1, 10, &out), 0); /* decimal */
	assert_int_equal(out, 10);
	assert_int_equal(text_to_number("0", 1, 10, &out), -EINVAL);
	assert_int_equal(text_to_number("18446744073709551615", 0, ~0ull, &out), 0);
	assert_int_equal(out, ~0ull);
}

static void sizes(void **state)
{
	static const struct {
		const char *text;
		int result;
		uint64_t value;
	} cases[] = {
		{"0", 0, 0},
		{"512", 0, 512},
		{"1k", 0, 1024},
		{"1K", 0, 1024},
		{"512M", 0, 512 * MIB},
		{"4g", 0, 4 * GIB},
		{"1T", 0, 1024 * GIB},
		{"16777215T", 0, 16777215ull << 40},
		{"16777216T", -ERANGE, 0},
		{"18446744073709551615", 0, ~0ull},
		{"18446744073709551616", -ERANGE, 0},
		{"", -EINVAL, 0},
		{"M", -EINVAL, 0},
		{"-1M", -EINVAL, 0},
		{" 1M", -EINVAL, 0},
		{"1MB", -EINVAL, 0},
		{"1 M", -EINVAL, 0},
		{"1P", -EINVAL, 0},
		{"0x10", -EINVAL, 0},
		{"1.5G", -EINVAL, 0},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t out = 0;

		assert_int_equal(text_to_size(cases[i].text, &out), cases[i].result);
		assert_int_equal(out, cases[i].value);
	}
}

static void names(void **state)
{
	static const char *const good[] = {"a", "0", "web-1", "a.b_c", "Z9"};
	static const char *const bad[] = {"",    ".",   "..",       "-a",  "_a",   "a/b", "../a",
					  "a b", "a\n", "\xc3\xa4", "a:b", "a\\b", "a;b", "$a"};
	char longest[TEXT_NAME_MAX + 2];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(text_is_name(good[i]));
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(text_is_name(bad[i]));
	memset(longest, 'n', sizeof(longest));
	longest[TEXT_NAME_MAX] = '\0';
	assert_true(text_is_name(longest));
	longest[TEXT_NAME_MAX] = 'n';
	longest[TEXT_NAME_MAX + 1] = '\0';
	assert_false(text_is_name(longest));
}

static void errors(void **state)
{
	struct error err = {0};
	char line[1024];

	(void)state;
	error_format(&err, -ENOENT, line, sizeof(line));
	assert_string_equal(line, "No such file or directory");
	assert_int_equal(error_set(&err, -EIO, "try %s", "disk '%s': %d", "a", 7), -EIO);
	assert_string_equal(err.what, "disk 'a': 7");
	assert_string_equal(err.remedy, "try %s"); /* it is no format */
	/* The first record wins. */
	assert_int_equal(error_set(&err, -ENOMEM, NULL, "later"), -ENOMEM);
	assert_string_equal(err.what, "disk 'a': 7");
	assert_int_equal(error_prefix(&err, -EIO, "guest %s", "g"), -EIO);
	error_format(&err, -EIO, line, sizeof(line));
	assert_string_equal(line, "guest g: disk 'a': 7; try %s");
	assert_int_equal(error_set(NULL, -EIO, NULL, "nobody listens"), -EIO);
	assert_int_equal(error_prefix(NULL, -EIO, "nobody"), -EIO);
	err = (struct error){0};
	error_prefix(&err, -ENOENT, "x");
	assert_string_equal(err.what, "x: No such file or directory");
	assert_string_equal(error_name(-100000), "unknown error");
}

static void errors_stay_one_line(void **state)
{
	struct error err = {0};
	char huge[2000], line[sizeof(err.what) + sizeof(err.remedy) + 4];

	(void)state;
	error_set(&err, -EINVAL, "a\tb", "name 'x\n\x1b[2J\x7f'");
	error_format(&err, -EINVAL, line, sizeof(line));
	assert_string_equal(line, "name 'x??[2J?'; a?b");
	/* Cut, not overrun. */
	memset(huge, 'h', sizeof(huge) - 1);
	huge[sizeof(huge) - 1] = '\0';
	err = (struct error){0};
	error_set(&err, -EINVAL, huge, "%s", huge);
	assert_int_equal(strlen(err.what), sizeof(err.what) - 1);
	assert_int_equal(strlen(err.remedy), sizeof(err.remedy) - 1);
	error_prefix(&err, -EINVAL, "%s", huge);
	error_format(&err, -EINVAL, line, 10);
	assert_int_equal(strlen(line), 9);
}

/* Standard error into a pipe and back. */

static int saved_stderr, log_pipe[2];

static void capture(void)
{
	assert_int_equal(pipe2(log_pipe, O_CLOEXEC | O_NONBLOCK), 0);
	saved_stderr = dup(STDERR_FILENO);
	dup2(log_pipe[1], STDERR_FILENO);
}

static void captured(char *out, size_t size)
{
	ssize_t n;

	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	n = read(log_pipe[0], out, size - 1);
	out[n > 0 ? n : 0] = '\0';
	close(log_pipe[0]);
	close(log_pipe[1]);
}

static unsigned count_lines(const char *text)
{
	unsigned count = 0;

	for (; *text; text++)
		count += *text == '\n';
	return count;
}

static void log_levels(void **state)
{
	enum log_level level = LOG_DEBUG;
	char text[8192], huge[3000];

	(void)state;
	assert_int_equal(log_level_from_name("error", &level), 0);
	assert_int_equal(level, LOG_ERROR);
	assert_int_equal(log_level_from_name("Error", &level), -EINVAL);
	memset(huge, 'h', sizeof(huge) - 1);
	huge[sizeof(huge) - 1] = '\0';
	log_set_level(LOG_WARN);
	capture();
	log_error("e %d", 1);
	log_warn("w");
	log_info("i");
	log_debug("d");
	log_error("%s", huge);
	captured(text, sizeof(text));
	assert_int_equal(strncmp(text, "lodge: error: e 1\nlodge: warn: w\nlodge: error: hhh", 48),
			 0);
	assert_int_equal(count_lines(text), 3);
	assert_int_equal(text[strlen(text) - 1], '\n');
}

/* The last of them can be asked for, whole and in order. */
static void log_keeps_the_last(void **state)
{
	char text[8192], line[LOG_LINE_MAX];

	(void)state;
	log_set_level(LOG_WARN);
	capture();
	for (unsigned i = 0; i < LOG_KEPT + 3; i++)
		log_warn("number %u", i);
	log_info("not printed");
	captured(text, sizeof(text));
	for (unsigned i = 0; i < LOG_KEPT; i++) {
		char expected[64];

		snprintf(expected, sizeof(expected), "lodge: warn: number %u", i + 3);
		assert_true(log_kept(i, line));
		assert_string_equal(line, expected);
	}
	assert_false(log_kept(LOG_KEPT, line));
}

static void log_limit(void **state)
{
	struct ratelimit limit = {0};
	char text[8192];

	(void)state;
	log_set_level(LOG_WARN);
	capture();
	for (unsigned i = 0; i < 100; i++)
		log_limited(&limit, LOG_WARN, "guest did %u", i);
	captured(text, sizeof(text));
	assert_int_equal(count_lines(text), RATELIMIT_BURST);
	/* A second later it speaks again, and says what was left out. */
	now_ns += CLOCK_NS_PER_S;
	capture();
	log_limited(&limit, LOG_WARN, "guest did it again");
	captured(text, sizeof(text));
	assert_string_equal(text, "lodge: warn: 95 similar lines left out\n"
				  "lodge: warn: guest did it again\n");
	/* Lines that are not printed do not count. */
	now_ns += CLOCK_NS_PER_S;
	capture();
	for (unsigned i = 0; i < 100; i++)
		log_limited(&limit, LOG_DEBUG, "x");
	log_limited(&limit, LOG_WARN, "y");
	captured(text, sizeof(text));
	assert_string_equal(text, "lodge: warn: y\n");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges),
		cmocka_unit_test(bytes),
		cmocka_unit_test(numbers),
		cmocka_unit_test(sizes),
		cmocka_unit_test(names),
		cmocka_unit_test(errors),
		cmocka_unit_test(errors_stay_one_line),
		cmocka_unit_test(log_levels),
		cmocka_unit_test(log_keeps_the_last),
		cmocka_unit_test(log_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
