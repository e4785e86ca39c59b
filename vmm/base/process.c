/* SPDX-License-Identifier: MIT */
/* See process.h. A daemon may keep the pipe: the end is the program's, not the pipe's. */
#include "vmm/base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT_MAX 4096u /* that a failure's last words are looked for in */

extern char **environ;

/* A user's PATH has no sbin. */
static const char *const elsewhere[] = {"/usr/sbin/", "/sbin/", "/usr/local/sbin/"};

static int spawn(const struct process *p, const posix_spawn_file_actions_t *actions,
		 const posix_spawnattr_t *attributes, pid_t *pid)
{
	char *const *argv = (char *const *)p->argv;
	int ret = posix_spawnp(pid, argv[0], actions, attributes, argv, environ);

	for (unsigned i = 0; ret == ENOENT && i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++) {
		char path[PATH_MAX];

		snprintf(path, sizeof(path), "%s%s", elsewhere[i], argv[0]);
		ret = posix_spawn(pid, path, actions, attributes, argv, environ);
	}
	return -ret;
}

static int start(const struct process *p, int out, pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	int ret;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, out, 1);
	posix_spawn_file_actions_adddup2(&actions, out, 2);
	if (p->fd >= 0)
		posix_spawn_file_actions_adddup2(&actions, p->fd, PROCESS_FD);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &all);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	ret = spawn(p, &actions, &attributes, pid);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return ret;
}

/* What does not fit is read, too, and is gone. */
static bool take(int fd, char *output, size_t size, size_t *length)
{
	char rest[512];
	bool room = *length + 1 < size;
	ssize_t n =
		read(fd, room ? output + *length : rest, room ? size - *length - 1 : sizeof(rest));

	if (n > 0 && room)
		*length += (size_t)n;
	return n > 0 || (n < 0 && errno == EINTR);
}

/* Until the program ends, and all that it wrote till then was read. */
static int follow(pid_t pid, int fd, char *output, size_t size, int *status)
{
	struct pollfd wait[2] = {{.fd = fd, .events = POLLIN},
				 {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN}};
	size_t length = 0;
	bool ended = false;

	if (wait[1].fd < 0)
		return -errno;
	while (!ended) {
		if (poll(wait, 2, -1) < 0 && errno != EINTR)
			break;
		ended = wait[1].revents;
		if (wait[0].revents && !take(fd, output, size, &length))
			wait[0].fd = -1;
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (wait[0].fd >= 0 && take(fd, output, size, &length))
		;
	output[length] = 0;
	close(wait[1].fd);
	while (waitpid(pid, status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* Cuts the text behind its last line that says something. */
static const char *last_line(char *text)
{
	char *line;

	do {
		size_t length = strlen(text);

		while (length && strchr("\r\n \t", text[length - 1]))
			text[--length] = 0;
		line = strrchr(text, '\n');
		line = line ? line + 1 : text;
		/* Of a library, where there is no syslog. */
		if (strncmp(line, "Failed to send ", 15) != 0)
			return line;
		*line = 0;
	} while (line != text);
	return text;
}

static int failed(const struct process *p, int status, char *output, struct error *err)
{
	const char *words = last_line(output);

	if (WIFSIGNALED(status))
		return error_set(err, -EIO, NULL, "%s: killed by signal %d", p->argv[0],
				 WTERMSIG(status));
	return error_set(err, -EIO, NULL, "%s: %s%s(status %d)", p->argv[0], words,
			 *words ? " " : "", WEXITSTATUS(status));
}

static int not_begun(const struct process *p, int ret, struct error *err)
{
	char remedy[128];

	if (ret != -ENOENT)
		return error_set(err, ret, NULL, "program '%s': %s", p->argv[0], error_name(ret));
	snprintf(remedy, sizeof(remedy), "install it: apt install %s", p->package);
	return error_set(err, ret, remedy, "program '%s': it is not there", p->argv[0]);
}

static bool is_in(const char *directory, int length, const char *program)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%.*s/%s", length, directory, program);
	return access(path, X_OK) == 0;
}

int process_find(const char *program, const char *package, struct error *err)
{
	const struct process process = {.argv = &program, .package = package};
	const char *path = getenv("PATH");

	while (path && *path) {
		int length = (int)strcspn(path, ":");

		if (is_in(path, length, program))
			return 0;
		path += length + (path[length] == ':');
	}
	for (unsigned i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++)
		if (is_in(elsewhere[i], (int)strlen(elsewhere[i]), program))
			return 0;
	return not_begun(&process, -ENOENT, err);
}

int process_become(const struct process *process, struct error *err)
{
	char *const *argv = (char *const *)process->argv;
	char path[PATH_MAX];
	int ret;

	execvp(argv[0], argv);
	ret = -errno;
	for (unsigned i = 0; ret == -ENOENT && i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++) {
		snprintf(path, sizeof(path), "%s%s", elsewhere[i], argv[0]);
		execv(path, argv);
		ret = -errno;
	}
	return not_begun(process, ret, err);
}

int process_run(const struct process *process, struct error *err)
{
	const char *name = process->argv[0];
	char own[OUTPUT_MAX], *output = process->output ? process->output : own;
	size_t size = process->output ? process->size : sizeof(own);
	int pipes[2], status = 0, ret;
	pid_t pid;

	if (pipe2(pipes, O_CLOEXEC) < 0)
		return error_set(err, -errno, "raise ulimit -n", "%s: pipe: %s", name,
				 error_name(-errno));
	ret = start(process, pipes[1], &pid);
	close(pipes[1]);
	if (ret == 0) {
		ret = follow(pid, pipes[0], output, size, &status);
		if (ret)
			error_set(err, ret, NULL, "%s: %s", name, error_name(ret));
		else if (status)
			ret = failed(process, status, output, err);
	} else {
		not_begun(process, ret, err);
	}
	close(pipes[0]);
	return ret;
}
