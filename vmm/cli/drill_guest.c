/* SPDX-License-Identifier: MIT */
/*
 * A drill's guest: restored, and asked. What counts as its answer is what comes on its console
 * after a newline was typed there, or a connection that it accepts.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/network.h"
#include "vmm/base/checked.h"
#include "vmm/base/clock.h"
#include "vmm/base/instance.h"
#include "vmm/cli/drill.h"

#define TYPE_AGAIN_NS CLOCK_NS_PER_S
#define ATTEMPT_MS    250 /* of a connection */
#define CHECK_MAX     2048u

static void add_number(struct drill_run *run, const char *key, uint64_t number)
{
	json_object_object_add(run->facts, key, json_object_new_uint64(number));
}

static void add_time(struct drill_run *run, const char *key)
{
	add_number(run, key, clock_monotonic_ns() - run->began_ns);
}

/* Its process. */

/* The last line of what it said, without our own name. */
static void words_read(const char *path, char *out, size_t size)
{
	FILE *file = fopen(path, "re");
	char line[1024];

	out[0] = 0;
	while (file && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		if (line[0])
			snprintf(out, size, "%s",
				 strncmp(line, "lodge: ", 7) == 0 ? line + 7 : line);
	}
	if (file)
		fclose(file);
}

static void guest_main(struct drill_run *run, const char *words, int ready)
{
	int said = open(words, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (said >= 0)
		dup2(said, STDERR_FILENO);
	setsid();
	run->restore.plan.ready_fd = ready;
	_exit(guest_run(&run->restore.plan));
}

/* The child says that it runs, or why it does not. */
static int guest_begin(struct drill_run *run, struct error *err)
{
	char words[PATH_MAX], line[512], byte;
	int ready[2];
	bool runs;

	if (drill_join(words, run->work, "words", err))
		return -ENAMETOOLONG;
	if (pipe2(ready, O_CLOEXEC) < 0)
		return error_set(err, -errno, "raise ulimit -n", "pipe: %s", error_name(-errno));
	run->pid = fork();
	if (run->pid == 0) {
		close(ready[0]);
		guest_main(run, words, ready[1]);
	}
	close(ready[1]);
	runs = run->pid > 0 && read(ready[0], &byte, 1) == 1;
	close(ready[0]);
	if (runs)
		return 0;
	if (run->pid < 0)
		return error_set(err, -errno, "raise ulimit -u", "fork: %s", error_name(-errno));
	drill_guest_kill(run);
	words_read(words, line, sizeof(line));
	return error_set(err, -EIO, NULL, "%s", line[0] ? line : "the guest did not start");
}

void drill_guest_kill(struct drill_run *run)
{
	if (run->console >= 0)
		close(run->console);
	run->console = -1;
	if (run->pid <= 0)
		return;
	kill(run->pid, SIGKILL);
	while (waitpid(run->pid, NULL, 0) < 0 && errno == EINTR)
		;
	run->pid = 0;
	/* What it left of itself goes. */
	instance_is_running(run->restore.plan.name, NULL);
}

int drill_guest_start(struct drill_run *run, const char *engine, struct error *err)
{
	static const char *const measures[] = {"open_ns", "run_ns", "answer_ns", "read_bytes",
					       "check_status"};
	struct restore *r = &run->restore;
	int ret;

	/* Of the one before. */
	for (unsigned i = 0; i < ARRAY_SIZE(measures); i++)
		json_object_object_del(run->facts, measures[i]);
	if (!run->began_ns)
		run->began_ns = clock_monotonic_ns();
	*r = (struct restore){.root = &run->root, .engine = engine};
	ret = restore_prepare(run->store, r, err);
	for (unsigned i = 0; i < r->run.nic_count; i++)
		if (r->run.nic[i].network)
			r->run.nic[i].address = run->drill->address[i];
	if (ret == 0)
		add_time(run, "open_ns");
	if (ret == 0)
		ret = guest_begin(run, err);
	if (ret == 0)
		add_time(run, "run_ns");
	return ret;
}

/* Does it live? */
static int guest_look(struct drill_run *run, struct error *err)
{
	if (waitpid(run->pid, NULL, WNOHANG) != run->pid)
		return 0;
	run->pid = 0;
	return error_set(err, -EIO, "restore it by hand and see lodge console",
			 "guest '%s': it ended after its restore", run->restore.plan.name);
}

static uint64_t deadline(const struct drill_run *run)
{
	return clock_monotonic_ns() + run->drill->options->timeout_s * CLOCK_NS_PER_S;
}

/* Its console. */

/* What comes within so many milliseconds; of much only what came last stays. */
static int console_read(struct drill_run *run, int wait_ms, struct error *err)
{
	struct pollfd p = {.fd = run->console, .events = POLLIN};
	ssize_t n;

	if (poll(&p, 1, wait_ms) <= 0)
		return guest_look(run, err);
	if (run->said > sizeof(run->text) / 2) {
		run->said -= sizeof(run->text) / 4;
		memmove(run->text, run->text + sizeof(run->text) / 4, run->said);
	}
	n = read(run->console, run->text + run->said, sizeof(run->text) - 1 - run->said);
	if (n <= 0)
		return error_set(err, -EIO, NULL, "guest '%s': its console ended",
				 run->restore.plan.name);
	/* It is searched as text. */
	for (ssize_t i = 0; i < n; i++)
		if (!run->text[run->said + (size_t)i])
			run->text[run->said + (size_t)i] = ' ';
	run->said += (size_t)n;
	run->text[run->said] = 0;
	return 0;
}

static int console_write(struct drill_run *run, const char *text, struct error *err)
{
	run->said = 0;
	run->text[0] = 0;
	if (send(run->console, text, strlen(text), MSG_NOSIGNAL) != (ssize_t)strlen(text))
		return error_set(err, -EIO, NULL, "guest '%s': its console takes no input",
				 run->restore.plan.name);
	return 0;
}

static int console_answer(struct drill_run *run, struct error *err)
{
	const struct options *o = run->drill->options;
	uint64_t end = deadline(run), type = 0;
	int ret = 0;

	while (ret == 0 && clock_monotonic_ns() < end) {
		if (run->said && (!o->drill_ready || strstr(run->text, o->drill_ready)))
			return 0;
		if (clock_monotonic_ns() >= type) {
			type = clock_monotonic_ns() + TYPE_AGAIN_NS;
			ret = console_write(run, "\n", err);
		}
		if (ret == 0)
			ret = console_read(run, 20, err);
	}
	return ret ? ret
		   : error_set(err, -ETIMEDOUT,
			       "give what its console says as --ready, or a longer --timeout",
			       "guest '%s': no answer on its console within %u s",
			       run->restore.plan.name, o->timeout_s);
}

/* "MARK-STATUS" and an end of the line. */
static bool status_find(const char *text, const char *mark, int *status)
{
	const char *at = strstr(text, mark);
	char *end;
	long number;

	if (!at)
		return false;
	at += strlen(mark);
	number = strtol(at, &end, 10);
	if (end == at || !strchr("\r\n", *end) || !*end)
		return false;
	*status = (int)number;
	return true;
}

/* The mark is a sum, so that what the console echoes is not taken for it. */
static int check_run(struct drill_run *run, struct error *err)
{
	const struct options *o = run->drill->options;
	char command[CHECK_MAX + 64], mark[32];
	uint64_t end = deadline(run);
	uint16_t random = 0;
	int ret, status = -1;

	if (getrandom(&random, sizeof(random), 0) < 0)
		return error_set(err, -errno, NULL, "random: %s", error_name(-errno));
	snprintf(mark, sizeof(mark), "drill-%u-", random + 1u);
	snprintf(command, sizeof(command), "( %s ); echo drill-$((%u + 1))-$?\n", o->drill_check,
		 random);
	ret = console_write(run, command, err);
	while (ret == 0 && !status_find(run->text, mark, &status)) {
		if (clock_monotonic_ns() >= end)
			return error_set(err, -ETIMEDOUT,
					 "is there a shell on its console? or give --timeout",
					 "guest '%s': its check is not done within %u s",
					 run->restore.plan.name, o->timeout_s);
		ret = console_read(run, 20, err);
	}
	if (ret)
		return ret;
	json_object_object_add(run->facts, "check_status", json_object_new_int(status));
	return status ? error_set(err, -EBADMSG, NULL, "guest '%s': its check ended with status %d",
				  run->restore.plan.name, status)
		      : 0;
}

/* Its port. */

static int port_address(const struct drill_run *run, struct sockaddr_in *out, struct error *err)
{
	const struct restore *r = &run->restore;
	unsigned port = run->drill->options->drill_port;

	for (unsigned i = 0; i < r->run.nic_count; i++) {
		struct network_nic_state state;

		*out = (struct sockaddr_in){.sin_family = AF_INET,
					    .sin_port = htons((uint16_t)port)};
		if (r->run.nic[i].network &&
		    network_nic_state(r->run.nic[i].network, r->plan.name, i, &state) == 0 &&
		    inet_pton(AF_INET, state.address, &out->sin_addr) == 1)
			return 0;
	}
	return error_set(err, -ENOTSUP, "give --ready TEXT",
			 "port %u: the guest has no address on a network of the host's", port);
}

static bool port_connect(const struct sockaddr_in *to)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), code = -1;
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	socklen_t size = sizeof(code);

	if (fd < 0)
		return false;
	if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) == 0)
		code = 0;
	else if (errno == EINPROGRESS && poll(&p, 1, ATTEMPT_MS) == 1)
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size);
	close(fd);
	return code == 0;
}

static int port_answer(struct drill_run *run, struct error *err)
{
	uint64_t end = deadline(run);
	struct sockaddr_in to;
	int ret = port_address(run, &to, err);

	while (ret == 0 && clock_monotonic_ns() < end) {
		if (port_connect(&to))
			return 0;
		ret = guest_look(run, err);
		poll(NULL, 0, 20); /* one that refuses does so at once */
	}
	return ret ? ret
		   : error_set(err, -ETIMEDOUT, "does it listen there? or give a longer --timeout",
			       "guest '%s': no connection to port %u within %u s",
			       run->restore.plan.name, run->drill->options->drill_port,
			       run->drill->options->timeout_s);
}

/* All of it. */

/* What was not in the host's memory (proc(5)). */
static void add_reads(struct drill_run *run)
{
	static const char key[] = "read_bytes: ";
	char path[64], line[128];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/io", (int)run->pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, key, strlen(key)) == 0)
			add_number(run, "read_bytes", strtoull(line + strlen(key), NULL, 10));
	if (file)
		fclose(file);
}

int drill_recover(struct drill_run *run, const char *engine, struct error *err)
{
	const struct options *o = run->drill->options;
	int ret = drill_guest_start(run, engine, err);

	if (ret)
		return ret;
	run->said = 0;
	run->console = instance_connect(run->restore.plan.name, INSTANCE_CONSOLE, err);
	if (run->console < 0)
		return run->console;
	ret = o->drill_port ? port_answer(run, err) : console_answer(run, err);
	if (ret)
		return ret;
	add_time(run, "answer_ns");
	add_reads(run);
	return o->drill_check ? check_run(run, err) : 0;
}
