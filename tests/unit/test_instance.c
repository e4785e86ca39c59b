/* SPDX-License-Identifier: MIT */
/*
 * Guests' directories between processes: claimed once, free after a kill at any moment. As root
 * they are in /run/lodge whatever the environment says, so names carry this process's pid.
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/scratch.h"
#include "vmm/base/instance.h"

struct fixture {
	struct scratch scratch;
	char name[TEXT_NAME_MAX + 1];
	struct instance instance;
};

static int setup(void **state)
{
	static unsigned number;
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	scratch_make(&f->scratch);
	setenv("XDG_RUNTIME_DIR", f->scratch.path, 1); /* for those who are not root */
	snprintf(f->name, sizeof(f->name), "test-%d-%u", (int)getpid(), number++);
	f->instance.lock_fd = -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char path[SCRATCH_PATH_MAX];

	instance_release(&f->instance);
	assert_false(instance_is_running(f->name, NULL));
	scratch_path(&f->scratch, "lodge", path);
	rmdir(path);
	scratch_remove(&f->scratch);
	free(f);
	return 0;
}

static void claimed_once(void **state)
{
	struct fixture *f = *state;
	const struct timespec old[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
	struct instance second = {.lock_fd = -1};
	struct error err = {0};
	struct stat st;
	pid_t pid = 0;

	assert_false(instance_is_running(f->name, &pid));
	assert_int_equal(instance_claim(f->name, &f->instance, NULL), 0);
	assert_string_equal(f->instance.name, f->name);
	assert_true(instance_is_running(f->name, &pid));
	assert_int_equal(pid, getpid());
	assert_int_equal(stat(f->instance.path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(instance_claim(f->name, &second, &err), -EBUSY);
	assert_non_null(strstr(err.what, f->name));
	assert_int_equal(second.lock_fd, -1);
	assert_true(instance_is_running(f->name, NULL)); /* looking did not harm it */
	instance_release(&f->instance);
	instance_release(&f->instance);
	assert_int_equal(stat(f->instance.path, &st), -1);
	/* A claim that was killed right after it made the directory. */
	assert_int_equal(mkdir(f->instance.path, 0700), 0);
	assert_int_equal(utimensat(AT_FDCWD, f->instance.path, old, 0), 0);
	assert_false(instance_is_running(f->name, NULL));
	assert_int_equal(stat(f->instance.path, &st), -1);
	assert_false(instance_is_running(f->name, NULL));
	assert_int_equal(instance_claim(f->name, &f->instance, NULL), 0);
}

static void names_are_checked(void **state)
{
	static const char *const bad[] = {"", ".", "..", "a/b", "../etc", "-x"};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(instance_claim(bad[i], &f->instance, NULL), -EINVAL);
		assert_false(instance_is_running(bad[i], NULL));
	}
}

static void pid_of_another(void **state)
{
	struct fixture *f = *state;
	pid_t pid = 0;

	assert_int_equal(instance_claim(f->name, &f->instance, NULL), 0);
	assert_int_equal(instance_set_pid(&f->instance, 12345, NULL), 0);
	assert_true(instance_is_running(f->name, &pid));
	assert_int_equal(pid, 12345);
}

/* In a child that a kill may hit anywhere: come and go, with all that a guest does. */
static void live(const char *name)
{
	for (;;) {
		struct instance instance;
		int fd;

		if (instance_claim(name, &instance, NULL))
			_exit(1);
		fd = instance_listen(&instance, INSTANCE_CONTROL, NULL);
		if (fd < 0)
			_exit(2);
		close(fd);
		instance_release(&instance);
	}
}

/* A guest that was killed; `path` is its socket's, which is still there. */
static void live_and_die(struct fixture *f, char path[PATH_MAX])
{
	pid_t child = fork();
	struct stat st;

	assert_true(child >= 0);
	if (child == 0) {
		if (instance_claim(f->name, &f->instance, NULL) ||
		    instance_listen(&f->instance, INSTANCE_CONTROL, NULL) < 0)
			_exit(1);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_int_equal(instance_path(f->name, INSTANCE_CONTROL, path, PATH_MAX, NULL), 0);
	assert_int_equal(stat(path, &st), 0);
}

/* Who looks at its name takes away what it left, socket, pid and lock; or who has its name next. */
static void remains_go(void **state)
{
	struct fixture *f = *state;
	char path[PATH_MAX];
	struct stat st;
	pid_t pid = 0;
	int fd;

	live_and_die(f, path);
	assert_false(instance_is_running(f->name, &pid));
	assert_int_equal(pid, 0);
	*strrchr(path, '/') = 0;
	assert_int_equal(stat(path, &st), -1);
	live_and_die(f, path);
	assert_int_equal(instance_claim(f->name, &f->instance, NULL), 0);
	fd = instance_listen(&f->instance, INSTANCE_CONTROL, NULL);
	assert_true(fd >= 0);
	close(fd);
}

static void killed_at_any_moment(void **state)
{
	struct fixture *f = *state;
	unsigned seed = 7;

	for (unsigned i = 0; i < 60; i++) {
		pid_t child = fork();
		int status, fd;

		assert_true(child >= 0);
		if (child == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			live(f->name);
		}
		/* Any moment will do: nothing is waited for. */
		usleep((useconds_t)rand_r(&seed) % 3000);
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status)); /* it never failed by itself */
		if (i % 2)
			assert_false(instance_is_running(f->name, NULL));
		assert_int_equal(instance_claim(f->name, &f->instance, NULL), 0);
		/* What it left is out of the way. */
		fd = instance_listen(&f->instance, INSTANCE_CONTROL, NULL);
		assert_true(fd >= 0);
		close(fd);
		instance_release(&f->instance);
	}
}

/*
 * Found by this test: `lodge ls`, which looks at a name, takes its lock for a moment, and a guest
 * that was being started failed with "it is running".
 */
static void claimed_while_others_look(void **state)
{
	struct fixture *f = *state;
	unsigned failed = 0;
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (child == 0)
		instance_is_running(f->name, NULL);
	for (unsigned i = 0; i < 500; i++) {
		struct error err = {0};

		if (instance_claim(f->name, &f->instance, &err)) {
			print_error("%s\n", err.what);
			failed++;
		}
		instance_release(&f->instance);
	}
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(failed, 0);
}

static void sockets(void **state)
{
	struct fixture *f = *state;
	struct error err = {0};
	struct stat st;
	char path[PATH_MAX];
	int listener, client;

	assert_int_equal(instance_connect(f->name, INSTANCE_CONTROL, &err), -ENOENT);
	assert_non_null(strstr(err.what, "not running"));
	assert_int_equal(instance_claim(f->name, &f->instance, NULL), 0);
	assert_int_equal(instance_connect(f->name, INSTANCE_CONTROL, NULL), -ENOENT);
	listener = instance_listen(&f->instance, INSTANCE_CONTROL, NULL);
	assert_true(listener >= 0);
	assert_int_equal(instance_path(f->name, INSTANCE_CONTROL, path, sizeof(path), NULL), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	client = instance_connect(f->name, INSTANCE_CONTROL, NULL);
	assert_true(client >= 0);
	close(client);
	assert_int_equal(instance_listen(&f->instance, INSTANCE_CONTROL, NULL), -EADDRINUSE);
	close(listener);
	assert_int_equal(instance_connect(f->name, INSTANCE_CONTROL, NULL), -ECONNREFUSED);
}

struct search {
	const char *name;
	unsigned found;
};

static int visit(void *arg, const char *name, pid_t pid)
{
	struct search *s = arg;

	if (strcmp(name, s->name) == 0) {
		assert_int_equal(pid, getpid());
		s->found++;
		return 5;
	}
	return 0;
}

static void listed_while_running(void **state)
{
	struct fixture *f = *state;
	struct search s = {.name = f->name};

	assert_int_equal(instance_for_each(visit, &s, NULL), 0);
	assert_int_equal(instance_claim(f->name, &f->instance, NULL), 0);
	assert_int_equal(instance_for_each(visit, &s, NULL), 5);
	assert_int_equal(s.found, 1);
	instance_release(&f->instance);
	assert_int_equal(instance_for_each(visit, &s, NULL), 0);
	assert_int_equal(s.found, 1);
}

static void files_are_written_whole(void **state)
{
	struct fixture *f = *state;
	char path[SCRATCH_PATH_MAX], text[32];
	struct error err = {0};
	int fd;

	scratch_path(&f->scratch, "file", path);
	assert_int_equal(instance_write_file(path, "first", 5, NULL), 0);
	assert_int_equal(instance_write_file(path, "2nd", 3, NULL), 0);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, text, sizeof(text)), 3);
	assert_memory_equal(text, "2nd", 3);
	close(fd);
	assert_int_equal(instance_write_file("/nonexistent/file", "x", 1, &err), -ENOENT);
	assert_non_null(strstr(err.what, "/nonexistent/file"));
	/* Where the target cannot be replaced, nothing is left behind. */
	scratch_path(&f->scratch, "directory", path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_not_equal(instance_write_file(path, "x", 1, NULL), 0);
	strcat(path, ".new");
	assert_int_equal(access(path, F_OK), -1);
	scratch_path(&f->scratch, "directory", path);
	rmdir(path);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(claimed_once), TEST(names_are_checked),    TEST(pid_of_another),
		TEST(remains_go),   TEST(killed_at_any_moment), TEST(claimed_while_others_look),
		TEST(sockets),      TEST(listed_while_running), TEST(files_are_written_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
