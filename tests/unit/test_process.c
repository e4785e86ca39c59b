/* SPDX-License-Identifier: MIT */
/* Other programs: how they end, what they say, and what they leave behind. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "vmm/base/clock.h"
#include "vmm/base/process.h"

static int shell(const char *script, int fd, char *output, size_t size, struct error *err)
{
	const char *const argv[] = {"sh", "-c", script, NULL};
	struct process process = {
		.argv = argv, .package = "dash", .fd = fd, .output = output, .size = size};

	return process_run(&process, err);
}

static void output(void **state)
{
	char text[64];

	(void)state;
	assert_int_equal(shell("echo out; echo err >&2", -1, text, sizeof(text), NULL), 0);
	assert_string_equal(text, "out\nerr\n");
	/* More than there is room for, and than a pipe holds. */
	assert_int_equal(shell("head -c 200000 /dev/zero | tr '\\0' x", -1, text, 8, NULL), 0);
	assert_string_equal(text, "xxxxxxx");
	assert_int_equal(shell("cat", -1, text, sizeof(text), NULL), 0);
	assert_string_equal(text, "");
}

static void failure(void **state)
{
	struct error err = {0};

	(void)state;
	assert_int_equal(
		shell("echo first; echo 'last words' >&2; echo; exit 3", -1, NULL, 0, &err), -EIO);
	assert_string_equal(err.what, "sh: last words (status 3)");
	err = (struct error){0};
	assert_int_equal(shell("exit 4", -1, NULL, 0, &err), -EIO);
	assert_string_equal(err.what, "sh: (status 4)");
	err = (struct error){0};
	assert_int_equal(shell("kill -9 $$", -1, NULL, 0, &err), -EIO);
	assert_string_equal(err.what, "sh: killed by signal 9");
	err = (struct error){0};
	assert_int_equal(
		shell("printf 'port in use\\nFailed to send 47 bytes to syslog\\n'; exit 1", -1,
		      NULL, 0, &err),
		-EIO);
	assert_string_equal(err.what, "sh: port in use (status 1)");
}

static void missing(void **state)
{
	const char *const argv[] = {"lodge-has-no-such-program", NULL};
	struct process process = {.argv = argv, .package = "it", .fd = -1};
	struct error err = {0};

	(void)state;
	assert_int_equal(process_run(&process, &err), -ENOENT);
	assert_string_equal(err.what, "program 'lodge-has-no-such-program': it is not there");
	assert_string_equal(err.remedy, "install it: apt install it");
}

/* One that holds the pipe does not hold us up. */
static void daemon_stays(void **state)
{
	char text[64];
	uint64_t begin = clock_monotonic_ns();

	(void)state;
	assert_int_equal(shell("sleep 20 & echo $!", -1, text, sizeof(text), NULL), 0);
	assert_true(clock_monotonic_ns() - begin < 10 * CLOCK_NS_PER_S);
	assert_int_equal(kill(atoi(text), SIGKILL), 0);
}

static void descriptor(void **state)
{
	char text[64] = "";
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(shell("echo hello >&3", fds[1], NULL, 0, NULL), 0);
	assert_int_equal(read(fds[0], text, sizeof(text)), 6);
	close(fds[0]);
	close(fds[1]);
}

/* What this thread blocks is no program's business. */
static void signals(void **state)
{
	struct error err = {0};
	sigset_t all, before;

	(void)state;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(shell("kill -PIPE $$; echo alive", -1, NULL, 0, &err), -EIO);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	signal(SIGPIPE, SIG_DFL);
	assert_string_equal(err.what, "sh: killed by signal 13");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(output),     cmocka_unit_test(failure),
		cmocka_unit_test(missing),    cmocka_unit_test(daemon_stays),
		cmocka_unit_test(descriptor), cmocka_unit_test(signals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
