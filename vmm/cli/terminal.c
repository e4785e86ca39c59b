/* SPDX-License-Identifier: MIT */
/* The terminal's modes and the escape character. */
#include "vmm/cli/terminal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#define ESCAPE 0x01 /* Ctrl-A */

/* There is one standard input a process, hence one saved mode. */
static struct termios saved;
static bool entered;

void terminal_leave(void)
{
	if (entered)
		tcsetattr(STDIN_FILENO, TCSANOW, &saved);
	entered = false;
}

bool terminal_enter(void)
{
	struct termios raw;

	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &saved) < 0)
		return false;
	raw = saved;
	cfmakeraw(&raw);
	/* The guest sends \r\n itself; our own messages still want \n translated. */
	raw.c_oflag = saved.c_oflag;
	if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) < 0)
		return false;
	if (!entered)
		atexit(terminal_leave);
	entered = true;
	return true;
}

/*
 * A terminal that is stopped (Ctrl-S) must not hold up the guest and its control socket. Its open
 * file is shared with the shell, so it is opened anew for writes that do not block.
 */
int terminal_output(int fd)
{
	char path[32];
	int own;

	if (!isatty(fd))
		return fd;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return own >= 0 ? own : fd;
}

size_t terminal_filter(struct terminal_escape *escape, uint8_t *bytes, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		if (!escape->pending && bytes[i] == ESCAPE) {
			escape->pending = true;
			continue;
		}
		if (escape->pending && bytes[i] == 'x')
			escape->left = true;
		else if (!escape->pending || bytes[i] == ESCAPE)
			bytes[kept++] = bytes[i];
		escape->pending = false;
	}
	return kept;
}
