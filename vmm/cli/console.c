/* SPDX-License-Identifier: MIT */
/* lodge console: the terminal on a guest's serial port. An ended guest shows its last output. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "vmm/base/instance.h"
#include "vmm/cli/cli.h"
#include "vmm/cli/record.h"
#include "vmm/cli/terminal.h"

static bool write_all(int fd, const uint8_t *bytes, size_t count)
{
	while (count) {
		ssize_t n = write(fd, bytes, count);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		bytes += n;
		count -= (size_t)n;
	}
	return true;
}

/* Copy both ways until the guest or the user leaves. */
static void relay(int socket, bool terminal)
{
	struct pollfd p[2] = {{.fd = socket, .events = POLLIN},
			      {.fd = STDIN_FILENO, .events = POLLIN}};
	struct terminal_escape escape = {0};
	uint8_t bytes[4096];

	for (;;) {
		ssize_t n;

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return;
		if (p[0].revents) {
			n = read(socket, bytes, sizeof(bytes));
			if (n <= 0 || !write_all(STDOUT_FILENO, bytes, (size_t)n))
				return;
		}
		if (p[1].revents) {
			n = read(STDIN_FILENO, bytes, sizeof(bytes));
			if (n <= 0) {
				p[1].fd = -1; /* go on showing output */
				continue;
			}
			if (terminal)
				n = (ssize_t)terminal_filter(&escape, bytes, (size_t)n);
			if (!write_all(socket, bytes, (size_t)n) || escape.left)
				return;
		}
	}
}

static int print_log(const char *name)
{
	struct error err = {0};
	char path[PATH_MAX];
	uint8_t bytes[4096];
	size_t n;
	FILE *log;

	if (record_log_path(name, path, sizeof(path), &err))
		return cli_fail(&err, -EIO, EXIT_HOST);
	log = fopen(path, "re");
	if (!log) {
		error_set(&err, -errno, NULL, "file '%s': %s", path, error_name(-errno));
		return cli_fail(&err, -errno, EXIT_HOST);
	}
	while ((n = fread(bytes, 1, sizeof(bytes), log)) > 0)
		fwrite(bytes, 1, n, stdout);
	fclose(log);
	return 0;
}

int cmd_console(const struct options *options)
{
	const char *name = options->word[0];
	struct json_object *facts;
	struct error err = {0};
	bool terminal;
	int fd;

	if (!instance_is_running(name, NULL) && (facts = record_read(name))) {
		json_object_put(facts);
		return print_log(name);
	}
	fd = instance_connect(name, INSTANCE_CONSOLE, &err);
	if (fd < 0)
		return cli_fail(&err, fd, EXIT_HOST);
	terminal = terminal_enter();
	relay(fd, terminal);
	terminal_leave();
	close(fd);
	if (terminal)
		printf("\n");
	return 0;
}
