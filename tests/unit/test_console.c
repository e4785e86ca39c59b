/* SPDX-License-Identifier: MIT */
/* A guest's byte stream and its clients: late, slow, gone, or with more input than fits. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/unit/loop_turn.h"
#include "tests/unit/scratch.h"
#include "vmm/machine/console.h"

struct fixture {
	struct loop *loop;
	struct console *console;
	struct chardev device;
	int pair[2][2]; /* clients: [0] is ours, [1] the console's */
	/* The device's input. */
	char in[8192];
	size_t in_count, in_room;
	/* What the watch saw. */
	size_t watched;
	unsigned ended;
};

static size_t sink(void *arg, const uint8_t *bytes, size_t count)
{
	struct fixture *f = arg;
	size_t n = count < f->in_room ? count : f->in_room;

	assert_true(f->in_count + n <= sizeof(f->in));
	memcpy(f->in + f->in_count, bytes, n);
	f->in_count += n;
	f->in_room -= n;
	return n;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(loop_create(&f->loop), 0);
	assert_int_equal(console_create(f->loop, &f->console), 0);
	f->device = console_chardev(f->console);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
					    f->pair[i]),
				 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	console_destroy(f->console);
	for (unsigned i = 0; i < 4; i++)
		if (f->pair[i / 2][i % 2] >= 0)
			close(f->pair[i / 2][i % 2]);
	loop_destroy(f->loop);
	free(f);
	return 0;
}

static void attach(struct fixture *f, unsigned client)
{
	struct console_client_config config = {.in_fd = f->pair[client][1],
					       .out_fd = f->pair[client][1]};

	assert_int_equal(console_attach(f->console, &config, NULL), 0);
	loop_turn(f->loop);
}

static void output(struct fixture *f, const char *text)
{
	chardev_write(&f->device, (const uint8_t *)text, strlen(text));
	loop_turn(f->loop);
}

static size_t take(int fd, char *out, size_t size)
{
	ssize_t n = read(fd, out, size);

	return n > 0 ? (size_t)n : 0;
}

static void expect(struct fixture *f, unsigned client, const char *text)
{
	char got[4096];
	size_t n = take(f->pair[client][0], got, sizeof(got) - 1);

	got[n] = '\0';
	assert_string_equal(got, text);
}

/* Byte `i` of a long output. */
static uint8_t pattern(uint64_t i)
{
	return (uint8_t)(i * 31 + (i >> 8));
}

static void output_pattern(struct fixture *f, uint64_t from, uint64_t to)
{
	uint8_t bytes[1000];

	while (from < to) {
		size_t n = to - from < sizeof(bytes) ? to - from : sizeof(bytes);

		for (size_t i = 0; i < n; i++)
			bytes[i] = pattern(from + i);
		chardev_write(&f->device, bytes, n);
		from += n;
	}
}

static void to_all_clients(void **state)
{
	struct fixture *f = *state;

	attach(f, 0);
	output(f, "one ");
	attach(f, 1);
	output(f, "two");
	expect(f, 0, "one two");
	expect(f, 1, "one two"); /* late, but nothing is missing */
}

/* A client that comes after the ring went round gets what is kept, to the byte. */
static void late_client_gets_recent_output(void **state)
{
	struct fixture *f = *state;
	const uint64_t total = CONSOLE_KEEP + 54321;
	uint64_t at = total - CONSOLE_KEEP;
	char got[4096];

	output_pattern(f, 0, total);
	loop_turn(f->loop);
	attach(f, 0);
	for (;;) {
		size_t n = take(f->pair[0][0], got, sizeof(got));

		for (size_t i = 0; i < n; i++, at++)
			if ((uint8_t)got[i] != pattern(at))
				fail_msg("wrong at %llu", (unsigned long long)at);
		if (at == total)
			break;
		loop_turn(f->loop);
	}
	assert_int_equal(take(f->pair[0][0], got, 1), 0);
}

/* A client that does not read loses output, and holds up nobody. */
static void slow_client(void **state)
{
	struct fixture *f = *state;
	const uint64_t total = 4 * (uint64_t)CONSOLE_KEEP;
	uint64_t fast = 0;
	size_t slow = 0, n;
	char got[65536], last = 0;

	attach(f, 0);
	attach(f, 1);
	for (uint64_t done = 0; done < total; done += 8192) {
		output_pattern(f, done, done + 8192);
		loop_turn(f->loop);
		while ((n = take(f->pair[0][0], got, sizeof(got))))
			for (size_t i = 0; i < n; i++, fast++)
				assert_int_equal((uint8_t)got[i], pattern(fast));
	}
	assert_int_equal(fast, total);
	/* When it does read, it gets to the end. */
	do {
		n = take(f->pair[1][0], got, sizeof(got));
		slow += n;
		if (n)
			last = got[n - 1];
		loop_turn(f->loop);
	} while (n);
	assert_true(slow >= CONSOLE_KEEP && slow < total);
	assert_int_equal((uint8_t)last, pattern(total - 1));
}

struct draining {
	int fd;
	uint64_t count, wrong;
};

static void *drain_main(void *arg)
{
	struct draining *d = arg;
	char got[4096];
	ssize_t n;

	while ((n = read(d->fd, got, sizeof(got))) > 0)
		for (ssize_t i = 0; i < n; i++, d->count++)
			d->wrong += (uint8_t)got[i] != pattern(d->count);
	return NULL;
}

/* Nothing of it is lost, however fast the guest writes and though the loop does not run. */
static void lossless_client(void **state)
{
	struct fixture *f = *state;
	const uint64_t total = 4 * (uint64_t)CONSOLE_KEEP;
	struct console_client_config config = {.in_fd = -1, .lossless = true};
	struct draining d = {0};
	pthread_t thread;
	int fd[2];

	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	config.out_fd = fd[1];
	d.fd = fd[0];
	assert_int_equal(console_attach(f->console, &config, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, drain_main, &d), 0);
	output_pattern(f, 0, total);
	assert_int_equal(console_finish(f->console), 0);
	close(fd[1]);
	pthread_join(thread, NULL);
	assert_int_equal(d.count, total);
	assert_int_equal(d.wrong, 0);
	close(fd[0]);
}

static void output_failed(void *arg, int code)
{
	*(int *)arg = code;
}

/* Whoever must have all of it learns that it cannot be written: in time, or at the end. */
static void output_that_fails(void **state)
{
	struct fixture *f = *state;
	int code = 0, full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	struct console_client_config config = {.in_fd = -1,
					       .out_fd = full,
					       .lossless = true,
					       .output_failed = output_failed,
					       .arg = &code};

	assert_true(full >= 0);
	assert_int_equal(console_attach(f->console, &config, NULL), 0);
	loop_turn(f->loop);
	assert_int_equal(code, 0);
	output(f, "a");
	assert_int_equal(code, -ENOSPC);
	assert_int_equal(console_finish(f->console), 0); /* it is gone, and was told */
	assert_int_equal(console_attach(f->console, &config, NULL), 0);
	assert_int_equal(console_finish(f->console), -ENOSPC);
	close(full);
}

/* A client that goes away is forgotten, and its peer's end does not kill us. */
static void client_goes_away(void **state)
{
	struct fixture *f = *state;

	signal(SIGPIPE, SIG_IGN); /* as main does */
	attach(f, 0);
	attach(f, 1);
	output(f, "a");
	close(f->pair[0][0]);
	f->pair[0][0] = -1;
	output(f, "b");
	output(f, "c");
	expect(f, 1, "abc");
}

static void input_waits_for_the_device(void **state)
{
	struct fixture *f = *state;

	attach(f, 0);
	assert_int_equal(write(f->pair[0][0], "hello ", 6), 6);
	loop_turn(f->loop); /* there is no sink yet */
	f->in_room = 3;
	console_set_sink(f->console, sink, f);
	loop_turn(f->loop);
	assert_memory_equal(f->in, "hel", 3);
	assert_int_equal(f->in_count, 3);
	assert_int_equal(write(f->pair[0][0], "world", 5), 5);
	loop_turn(f->loop);
	assert_int_equal(f->in_count, 3);
	f->in_room = 100;
	chardev_ready(&f->device);
	loop_turn(f->loop);
	assert_int_equal(f->in_count, 11);
	assert_memory_equal(f->in, "hello world", 11);
}

/* More than the console's own buffer: it waits with the client, and comes in order. */
static void input_backpressure(void **state)
{
	struct fixture *f = *state;
	char text[6000];

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)pattern(i);
	console_set_sink(f->console, sink, f);
	attach(f, 0);
	assert_int_equal(write(f->pair[0][0], text, sizeof(text)), sizeof(text));
	loop_turn(f->loop);
	assert_int_equal(f->in_count, 0);
	while (f->in_count < sizeof(text)) {
		f->in_room = 7;
		chardev_ready(&f->device);
		loop_turn(f->loop);
		assert_int_equal(f->in_room, 0);
		if (sizeof(text) - f->in_count < 7)
			f->in_room = 7;
		if (sizeof(text) - f->in_count < 7) {
			chardev_ready(&f->device);
			loop_turn(f->loop);
		}
	}
	assert_memory_equal(f->in, text, sizeof(text));
}

static size_t no_spaces(void *arg, uint8_t *bytes, size_t count)
{
	size_t kept = 0;

	(void)arg;
	for (size_t i = 0; i < count; i++)
		if (bytes[i] != ' ')
			bytes[kept++] = bytes[i];
	return kept;
}

static void input_ended(void *arg)
{
	((struct fixture *)arg)->ended++;
}

/* Standard input that ends leaves standard output alone. */
static void filter_and_end_of_input(void **state)
{
	struct fixture *f = *state;
	int in[2], out[2];
	char got[64] = {0};
	struct console_client_config config = {
		.filter = no_spaces, .input_ended = input_ended, .arg = f};

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC | O_NONBLOCK), 0);
	config.in_fd = in[0];
	config.out_fd = out[1];
	f->in_room = 100;
	console_set_sink(f->console, sink, f);
	assert_int_equal(console_attach(f->console, &config, NULL), 0);
	assert_int_equal(write(in[1], "a b c", 5), 5);
	loop_turn(f->loop);
	assert_int_equal(f->in_count, 3);
	assert_memory_equal(f->in, "abc", 3);
	close(in[1]);
	loop_turn(f->loop);
	loop_turn(f->loop);
	assert_int_equal(f->ended, 1); /* once */
	output(f, "still there");
	assert_int_equal(take(out[0], got, sizeof(got) - 1), 11);
	/* The console goes before its descriptors. */
	console_destroy(f->console);
	f->console = NULL;
	close(in[0]);
	close(out[0]);
	close(out[1]);
}

/* Input from a plain file, which epoll cannot watch. */
static void input_from_a_file(void **state)
{
	struct fixture *f = *state;
	struct console_client_config config = {.out_fd = -1, .input_ended = input_ended, .arg = f};
	FILE *file = tmpfile();

	assert_non_null(file);
	for (unsigned i = 0; i < 6000; i++)
		fputc(pattern(i), file);
	fflush(file);
	lseek(fileno(file), 0, SEEK_SET);
	config.in_fd = fileno(file);
	console_set_sink(f->console, sink, f);
	assert_int_equal(console_attach(f->console, &config, NULL), 0);
	for (unsigned i = 0; i < 100 && f->in_count < 6000; i++) {
		f->in_room = 100;
		chardev_ready(&f->device);
		loop_turn(f->loop);
	}
	assert_int_equal(f->in_count, 6000);
	loop_turn(f->loop);
	assert_int_equal(f->ended, 1);
	console_destroy(f->console);
	f->console = NULL;
	fclose(file);
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void listening(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct fixture *f = *state;
	struct scratch scratch;
	char path[SCRATCH_PATH_MAX], got[64];
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), fd[20];

	scratch_make(&scratch);
	scratch_path(&scratch, "console", path);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 16), 0);
	assert_int_equal(console_listen(f->console, listener), 0);
	f->in_room = 100;
	console_set_sink(f->console, sink, f);
	output(f, "before");
	for (unsigned round = 0; round < 3; round++) {
		/* More than are let in: the others are turned away, and room is made again. */
		for (unsigned i = 0; i < 20; i++) {
			fd[i] = connect_to(path);
			loop_turn(f->loop);
			loop_turn(f->loop);
		}
		assert_int_equal(take(fd[0], got, sizeof(got)), 6);
		assert_int_equal(take(fd[15], got, sizeof(got)), 6);
		assert_int_equal(read(fd[19], got, sizeof(got)), 0); /* end of file */
		for (unsigned i = 0; i < 20; i++)
			close(fd[i]);
		loop_turn(f->loop);
		loop_turn(f->loop);
	}
	fd[0] = connect_to(path);
	assert_int_equal(write(fd[0], "in", 2), 2);
	loop_turn(f->loop);
	loop_turn(f->loop);
	assert_memory_equal(f->in, "in", 2);
	close(fd[0]);
	scratch_remove(&scratch);
}

static void watch(void *arg, const uint8_t *bytes, size_t count)
{
	struct fixture *f = arg;

	(void)bytes;
	f->watched += count;
}

static void watch_and_tail(void **state)
{
	struct fixture *f = *state;
	char *tail = malloc(CONSOLE_KEEP + 100);

	assert_non_null(tail);
	console_set_watch(f->console, watch, f);
	assert_int_equal(console_tail(f->console, tail, 100), 0);
	output(f, "0123456789");
	assert_int_equal(f->watched, 10);
	assert_int_equal(console_tail(f->console, tail, 4), 4);
	assert_memory_equal(tail, "6789", 4);
	assert_int_equal(console_tail(f->console, tail, 100), 10);
	output_pattern(f, 0, CONSOLE_KEEP + 7);
	assert_int_equal(console_tail(f->console, tail, CONSOLE_KEEP + 100), CONSOLE_KEEP);
	for (unsigned i = 0; i < CONSOLE_KEEP; i++)
		assert_int_equal((uint8_t)tail[i], pattern(i + 7));
	assert_int_equal(f->watched, CONSOLE_KEEP + 17);
	free(tail);
	console_destroy(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(to_all_clients),
		TEST(late_client_gets_recent_output),
		TEST(slow_client),
		TEST(lossless_client),
		TEST(output_that_fails),
		TEST(client_goes_away),
		TEST(input_waits_for_the_device),
		TEST(input_backpressure),
		TEST(filter_and_end_of_input),
		TEST(input_from_a_file),
		TEST(listening),
		TEST(watch_and_tail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
