/* SPDX-License-Identifier: MIT */
/*
 * TCP between a guest and its host; a line a pattern, "NAME FIGURE OPERATIONS":
 *	workload net serve ADDRESS			says "port N", and serves until it is killed
 *	workload net ADDRESS PORT SECONDS [PATTERN]	tcp-send and tcp-receive, bytes a second;
 *							round-trip, nanoseconds for a byte and back
 * A connection begins with a byte that says what it is for.
 */
#include "vmm/workload/workload.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK 65536u

enum { KIND_SINK = 's', KIND_SOURCE = 'r', KIND_ECHO = 'e' };

static char buffer[CHUNK];

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* The server's side. */

/* All that comes; then how much it was. */
static void serve_sink(int fd)
{
	uint64_t total = 0;
	ssize_t n;

	while ((n = read(fd, buffer, sizeof(buffer))) > 0)
		total += (uint64_t)n;
	if (write(fd, &total, sizeof(total)) < 0)
		return;
}

static void serve_source(int fd)
{
	while (write(fd, buffer, sizeof(buffer)) > 0)
		;
}

static void serve_echo(int fd)
{
	char byte;

	while (read(fd, &byte, 1) == 1 && write(fd, &byte, 1) == 1)
		;
}

static _Noreturn void serve_one(int fd)
{
	int on = 1;
	char kind = 0;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (read(fd, &kind, 1) == 1) {
		if (kind == KIND_SINK)
			serve_sink(fd);
		else if (kind == KIND_SOURCE)
			serve_source(fd);
		else if (kind == KIND_ECHO)
			serve_echo(fd);
	}
	_exit(0);
}

static bool address_of(const char *text, const char *port, struct sockaddr_in *out)
{
	*out = (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
	return inet_pton(AF_INET, text, &out->sin_addr) == 1;
}

static int serve(const char *address)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in at;
	socklen_t size = sizeof(at);

	signal(SIGCHLD, SIG_IGN);
	if (fd < 0 || !address_of(address, "0", &at) ||
	    bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 8) < 0 ||
	    getsockname(fd, (struct sockaddr *)&at, &size) < 0) {
		fprintf(stderr, "net: %s: %s\n", address, strerror(errno));
		return 2;
	}
	printf("port %u\n", ntohs(at.sin_port));
	for (;;) {
		int one = accept(fd, NULL, NULL);

		if (one >= 0 && fork() == 0)
			serve_one(one);
		if (one >= 0)
			close(one);
	}
}

/* The client's. */

static int connect_to(const struct sockaddr_in *to, char kind)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0) {
		fprintf(stderr, "net: connect: %s\n", strerror(errno));
		exit(2);
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (write(fd, &kind, 1) != 1)
		bench_fail("write");
	return fd;
}

/* What counts is what came to the other side. */
static double tcp_send(const struct sockaddr_in *to, double seconds, uint64_t *total)
{
	int fd = connect_to(to, KIND_SINK);
	double begin = now();

	while (now() - begin < seconds)
		if (write(fd, buffer, sizeof(buffer)) < 0)
			bench_fail("write");
	shutdown(fd, SHUT_WR);
	if (read(fd, total, sizeof(*total)) != (ssize_t)sizeof(*total))
		bench_fail("read");
	close(fd);
	return (double)*total / (now() - begin);
}

static double tcp_receive(const struct sockaddr_in *to, double seconds, uint64_t *total)
{
	int fd = connect_to(to, KIND_SOURCE);
	double begin = now();

	*total = 0;
	while (now() - begin < seconds) {
		ssize_t n = read(fd, buffer, sizeof(buffer));

		if (n <= 0)
			bench_fail("read");
		*total += (uint64_t)n;
	}
	seconds = now() - begin;
	close(fd);
	return (double)*total / seconds;
}

static double round_trip(const struct sockaddr_in *to, double seconds, uint64_t *total)
{
	int fd = connect_to(to, KIND_ECHO);
	double begin;
	char byte = 1;

	*total = 0;
	begin = now();
	while (now() - begin < seconds) {
		if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
			bench_fail("round trip");
		++*total;
	}
	seconds = now() - begin;
	close(fd);
	return seconds * 1e9 / (double)*total;
}

static const struct {
	const char *name;
	double (*run)(const struct sockaddr_in *to, double seconds, uint64_t *total);
} patterns[] = {
	{"tcp-send", tcp_send},
	{"tcp-receive", tcp_receive},
	{"round-trip", round_trip},
};

int net_main(int argc, char **argv)
{
	struct sockaddr_in to;

	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		return serve(argv[2]);
	if (argc < 4 || !address_of(argv[1], argv[2], &to)) {
		fprintf(stderr,
			"usage: workload net serve ADDRESS | ADDRESS PORT SECONDS [PATTERN]\n");
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	for (unsigned i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
		uint64_t total = 0;
		double figure;

		if (argc > 4 && strcmp(argv[4], patterns[i].name) != 0)
			continue;
		figure = patterns[i].run(&to, strtod(argv[3], NULL), &total);
		printf("%s %.0f %llu\n", patterns[i].name, figure, (unsigned long long)total);
	}
	return 0;
}
