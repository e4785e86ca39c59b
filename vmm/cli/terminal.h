/* SPDX-License-Identifier: MIT */
/* The user's terminal while a guest has it: raw, with an escape to get out. One a process. */
#ifndef VMM_CLI_TERMINAL_H
#define VMM_CLI_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Raw mode if standard input is a terminal; undone at exit. Returns whether it is one. */
bool terminal_enter(void);
void terminal_leave(void);

/*
 * A descriptor to write what belongs on `fd`, 1 or 2: where that is a terminal, one of our own that
 * does not block; else `fd`. It lasts as long as the process.
 */
int terminal_output(int fd);

/* The escape, Ctrl-A. All zeroes to begin with. */
struct terminal_escape {
	bool pending;
	bool left; /* Ctrl-A x was typed */
};

/* Take the escape out of input. Returns how many bytes remain. Ctrl-A Ctrl-A is one Ctrl-A. */
size_t terminal_filter(struct terminal_escape *escape, uint8_t *bytes, size_t count);

#endif
