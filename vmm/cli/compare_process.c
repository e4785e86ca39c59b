/* SPDX-License-Identifier: MIT */
/*
 * Processes that are measured: guests in the foreground, whose console is on pipes, and programs of
 * the host's. They do not outlive this one.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/clock.h"
#include "vmm/base/instance.h"
#include "vmm/base/process.h"
#include "vmm/cli/compare.h"

#define TYPE_AGAIN_S 2u
#define RUNS_WORDS   " its vCPUs run" /* vmm/cli/guest.c logs it */

/* Words. */

void compare_words_add(struct compare_words *w, const char *word)
{
	size_t size = strlen(word) + 1;

	if (w->count == COMPARE_WORDS_MAX || size > sizeof(w->text) - w->used)
		return;
	memcpy(w->text + w->used, word, size);
	w->word[w->count++] = w->text + w->used;
	w->word[w->count] = NULL;
	w->used += size;
}

char *compare_words_text(const struct compare_words *w)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789_-+./,:=@%";
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	for (unsigned i = 0; to && i < w->count; i++) {
		const char *word = w->word[i];

		fputs(i ? " " : "", to);
		if (*word && word[strspn(word, plain)] == 0) {
			fputs(word, to);
			continue;
		}
		fputc('\'', to);
		for (; *word; word++)
			fputs(*word == '\'' ? "'\\''" : (char[]){*word, 0}, to);
		fputc('\'', to);
	}
	if (to)
		fclose(to);
	return text;
}

/* Beginning and end. */

static void bind_last_cpu(void)
{
	cpu_set_t all, one;

	if (sched_getaffinity(0, sizeof(all), &all))
		return;
	for (int cpu = CPU_SETSIZE - 1; cpu >= 0; cpu--) {
		if (!CPU_ISSET((size_t)cpu, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET((size_t)cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
		return;
	}
}

static _Noreturn void child_main(const struct compare_words *w, const int *in, const int *out,
				 const int *errors, bool bound)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(in[0], STDIN_FILENO);
	dup2(out[1], STDOUT_FILENO);
	dup2(errors[1], STDERR_FILENO);
	if (bound)
		bind_last_cpu();
	execv(w->word[0], (char *const *)w->word);
	dprintf(STDERR_FILENO, "%s: %s\n", w->word[0], error_name(-errno));
	_exit(127);
}

int compare_process_start(const struct compare_words *w, bool bound, struct compare_process *p,
			  struct error *err)
{
	int pipes[3][2];

	*p = (struct compare_process){.in = -1, .out = -1, .errors = -1};
	for (unsigned i = 0; i < 3; i++)
		if (pipe2(pipes[i], O_CLOEXEC) < 0) {
			int code = -errno;

			while (i--) {
				close(pipes[i][0]);
				close(pipes[i][1]);
			}
			return error_set(err, code, "raise ulimit -n", "pipe: %s",
					 error_name(code));
		}
	p->started_ns = clock_monotonic_ns();
	p->pid = fork();
	if (p->pid == 0)
		child_main(w, pipes[0], pipes[1], pipes[2], bound);
	p->in = pipes[0][1];
	p->out = pipes[1][0];
	p->errors = pipes[2][0];
	close(pipes[0][0]);
	close(pipes[1][1]);
	close(pipes[2][1]);
	if (p->pid > 0)
		return 0;
	p->pid = 0;
	compare_process_end(p);
	return error_set(err, -EAGAIN, "raise ulimit -u", "fork: %s", error_name(-EAGAIN));
}

void compare_process_end(struct compare_process *p)
{
	int *const fds[] = {&p->in, &p->out, &p->errors};

	if (p->pid > 0) {
		kill(p->pid, SIGKILL);
		while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	p->pid = 0;
	for (unsigned i = 0; i < 3; i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

/* Lines. */

/* What a reader makes of one; true: it was the last that is waited for. */
struct reading {
	struct compare_process *p;
	compare_line *see;
	void *arg;
};

static bool take_output(struct reading *r, char *line, uint64_t at_ns)
{
	return r->see && r->see(r->arg, line, at_ns);
}

static bool take_errors(struct reading *r, char *line, uint64_t at_ns)
{
	struct compare_process *p = r->p;

	if (strstr(line, RUNS_WORDS))
		p->runs_ns = at_ns;
	else if (line[0])
		snprintf(p->words, sizeof(p->words), "%s",
			 strncmp(line, "lodge: ", 7) == 0 ? line + 7 : line);
	return false;
}

/* Once. A line that is too long is cut, and its rest is the next. 0: the stream's end. */
static ssize_t read_lines(int fd, char *line, size_t *used, struct reading *r,
			  bool (*take)(struct reading *, char *, uint64_t), bool *done)
{
	char bytes[4096];
	ssize_t n = read(fd, bytes, sizeof(bytes));
	uint64_t now = clock_monotonic_ns();

	for (ssize_t i = 0; i < n; i++) {
		if (bytes[i] != '\n' && bytes[i] && bytes[i] != '\r')
			line[(*used)++] = bytes[i];
		if (bytes[i] != '\n' && *used < COMPARE_LINE_MAX - 1)
			continue;
		line[*used] = 0;
		*used = 0;
		if (!*done)
			*done = take(r, line, now);
	}
	return n;
}

/* What it said last, or how it ended. */
static int ended(struct compare_process *p, bool wanted, struct error *err)
{
	int status = 0;

	while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
		;
	p->pid = 0;
	if (wanted && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (p->words[0])
		return error_set(err, -EIO, NULL, "%s", p->words);
	if (WIFSIGNALED(status))
		return error_set(err, -EIO, NULL, "killed by signal %d", WTERMSIG(status));
	return error_set(err, -EIO, NULL, "it ended with status %d", WEXITSTATUS(status));
}

int compare_process_read(const struct compare *c, struct compare_process *p, unsigned patience_s,
			 bool to_end, compare_line *see, void *arg, struct error *err)
{
	struct reading r = {.p = p, .see = see, .arg = arg};
	struct pollfd wait[3] = {{.fd = p->out, .events = POLLIN},
				 {.fd = p->errors, .events = POLLIN},
				 {.fd = c->signals, .events = POLLIN}};
	uint64_t deadline = clock_monotonic_ns() + patience_s * CLOCK_NS_PER_S;
	bool done = false, never = false;

	while (!done && (wait[0].fd >= 0 || wait[1].fd >= 0)) {
		uint64_t now = clock_monotonic_ns();

		if (now >= deadline)
			return error_set(err, -ETIMEDOUT, NULL, "it took longer than %u s",
					 patience_s);
		if (poll(wait, 3, (int)((deadline - now) / CLOCK_NS_PER_MS) + 1) < 0)
			continue;
		if (wait[2].revents)
			return error_set(err, -EINTR, NULL, "interrupted");
		/* Errors first: what they tell was before what follows on the console. */
		if (wait[1].revents && read_lines(p->errors, p->errors_line, &p->errors_used, &r,
						  take_errors, &never) <= 0)
			wait[1].fd = -1;
		if (wait[0].revents &&
		    read_lines(p->out, p->line, &p->used, &r, take_output, &done) <= 0)
			wait[0].fd = -1;
	}
	return done && !to_end ? 0 : ended(p, to_end, err);
}

/* A guest's shell. */

struct typed {
	char mark[48];
	int status;
	compare_line *see;
	void *arg;
};

static bool see_typed(void *arg, const char *line, uint64_t at_ns)
{
	struct typed *t = arg;
	const char *at = strstr(line, t->mark);

	if (at) {
		t->status = (int)strtol(at + strlen(t->mark), NULL, 10);
		return true;
	}
	if (t->see)
		t->see(t->arg, line, at_ns);
	return false;
}

/* The mark is a sum, so that what the console echoes is not taken for it. */
int compare_shell(const struct compare *c, struct compare_process *p, unsigned patience_s,
		  const char *command, compare_line *see, void *arg, struct error *err)
{
	struct typed t = {.see = see, .arg = arg};
	unsigned number = 1000 + ++p->commands;
	char text[4096];
	int ret, length;

	snprintf(t.mark, sizeof(t.mark), "said-%u-", number);
	length =
		snprintf(text, sizeof(text), "%s\necho said-$((%u + 1))-$?\n", command, number - 1);
	if (length >= (int)sizeof(text))
		return error_set(err, -E2BIG, "give a shorter one", "command: too long");
	if (write(p->in, text, (size_t)length) != length)
		return error_set(err, -EIO, NULL, "guest '%s': %s", p->name,
				 p->words[0] ? p->words : "its console takes no input");
	ret = compare_process_read(c, p, patience_s, false, see_typed, &t, err);
	if (ret == 0 && t.status)
		ret = error_set(err, -EBADMSG, NULL, "'%.200s' ended with status %d", command,
				t.status);
	return ret;
}

/* What is typed too early is lost. */
int compare_shell_ready(const struct compare *c, struct compare_process *p, unsigned patience_s,
			struct error *err)
{
	uint64_t deadline = clock_monotonic_ns() + patience_s * CLOCK_NS_PER_S;

	for (;;) {
		struct error why = {0};
		int ret = compare_shell(c, p, TYPE_AGAIN_S, "true", NULL, NULL, &why);

		if (ret != -ETIMEDOUT)
			return ret ? error_set(err, ret, why.remedy, "%s", why.what) : 0;
		if (clock_monotonic_ns() >= deadline)
			return error_set(err, ret, "is there a shell on its console?",
					 "guest '%s': no answer within %u s", p->name, patience_s);
	}
}

int compare_console(const char *name, struct compare_process *p, struct error *err)
{
	pid_t pid = 0;
	int fd;

	*p = (struct compare_process){.in = -1, .out = -1, .errors = -1};
	fd = instance_connect(name, INSTANCE_CONSOLE, err);
	if (fd < 0)
		return fd;
	p->out = fd;
	p->in = dup(fd);
	instance_is_running(name, &pid);
	p->pid = pid;
	snprintf(p->name, sizeof(p->name), "%s", name);
	return 0;
}

/* What it costs. */

double compare_process_cpu(const struct compare_process *p)
{
	struct timespec used = {0};
	clockid_t clock;

	if (p->pid <= 0 || clock_getcpuclockid(p->pid, &clock) || clock_gettime(clock, &used))
		return 0;
	return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

double compare_process_memory(pid_t pid, uint64_t memory)
{
	char path[64], line[4096];
	unsigned long from, to, sum = 0;
	bool guests = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		char *end;

		from = strtoul(line, &end, 16);
		if (end != line && *end == '-') {
			to = strtoul(end + 1, NULL, 16);
			guests = to - from == memory || strstr(line, "lodge-guest-memory");
		} else if (!guests && strncmp(line, "Pss:", 4) == 0) {
			sum += strtoul(line + 4, NULL, 10);
		}
	}
	if (file)
		fclose(file);
	return (double)sum / 1024;
}

/* Commands. */

int compare_lodge(const struct compare *c, char *output, size_t size, struct error *err,
		  const char *word, ...)
{
	const char *argv[COMPARE_WORDS_MAX + 2] = {c->own};
	struct process process = {
		.argv = argv, .package = "lodge", .fd = -1, .output = output, .size = size};
	unsigned count = 1;
	va_list args;

	va_start(args, word);
	for (; word && count <= COMPARE_WORDS_MAX; word = va_arg(args, const char *))
		argv[count++] = word;
	va_end(args);
	return process_run(&process, err);
}
