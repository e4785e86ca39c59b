/* SPDX-License-Identifier: MIT */
/*
 * Starts a program and waits for a line of its output:
 *	first_line TEXT GUEST-MIB COMMAND [ARGUMENT ...]
 * prints "MILLISECONDS KIB": the wall time from exec to the line that contains TEXT, and the
 *program's private memory then, less the mapping whose name contains MEMFD (the guest's memory).
 *Ends the program.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TIMEOUT_MS 120000

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

/* Sum of Private_* in smaps, without the guest's memory, known by its size. */
static long private_kib(pid_t pid, long guest_mib)
{
	unsigned long from, to;
	long sum = 0, kib;
	char path[64], line[512];
	int skip = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			skip = to - from == (unsigned long)guest_mib << 20;
		if (!skip && (sscanf(line, "Private_Clean: %ld", &kib) == 1 ||
			      sscanf(line, "Private_Dirty: %ld", &kib) == 1))
			sum += kib;
	}
	fclose(f);
	return sum;
}

static pid_t start(char **command, int *out)
{
	int pipes[2];
	pid_t pid;

	if (pipe(pipes) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		dup2(pipes[1], STDOUT_FILENO);
		close(pipes[0]);
		close(pipes[1]);
		execvp(command[0], command);
		_exit(127);
	}
	close(pipes[1]);
	*out = pipes[0];
	return pid;
}

/* Read until the text came; 0, or -1 at the end or after the timeout. */
static int wait_for(int fd, const char *text, double deadline)
{
	static char seen[1 << 20];
	size_t length = 0;

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		double left = deadline - now_ms();
		ssize_t n;

		if (left <= 0 || poll(&p, 1, (int)left + 1) <= 0)
			return -1;
		n = read(fd, seen + length, sizeof(seen) - 1 - length);
		if (n <= 0)
			return -1;
		length += (size_t)n;
		seen[length] = '\0';
		if (strstr(seen, text))
			return 0;
	}
}

int main(int argc, char **argv)
{
	double begin = now_ms(), end;
	long kib;
	int fd = -1, failed;
	pid_t pid;

	if (argc < 4) {
		fprintf(stderr, "usage: first_line TEXT GUEST-MIB COMMAND ...\n");
		return 1;
	}
	pid = start(argv + 3, &fd);
	if (pid < 0)
		return 2;
	failed = wait_for(fd, argv[1], begin + TIMEOUT_MS);
	end = now_ms();
	kib = private_kib(pid, atol(argv[2]));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	if (failed) {
		fprintf(stderr, "first_line: no line with '%s' came from %s\n", argv[1], argv[3]);
		return 2;
	}
	printf("%.1f %ld\n", end - begin, kib);
	return 0;
}
