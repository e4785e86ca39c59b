/* SPDX-License-Identifier: MIT */
/* Other programs that do a part of the work. */
#ifndef VMM_BASE_PROCESS_H
#define VMM_BASE_PROCESS_H

#include <stdbool.h>
#include <stddef.h>

#include "vmm/base/error.h"

#define PROCESS_FD 3 /* what a program is given beside its standard streams is there */

struct process {
	const char *const *argv; /* NULL past the end; argv[0] is looked for in PATH, and sbin */
	const char *package;     /* that has it, to be told where it is not there */
	int fd;                  /* to be passed on as PROCESS_FD; -1: none */
	char *output; /* what it wrote, cut to `size` and ended by NUL; NULL: nobody asks */
	size_t size;
};

/*
 * Run it to its end, in which it may leave a daemon behind. 0: its status was 0. -ENOENT: it is not
 * there; -EIO: it failed, and its last words are in `err`; or another -errno. It begins without
 * signals blocked, and with nothing on its standard input.
 */
int process_run(const struct process *process, struct error *err);

/* Could it be begun? -ENOENT. */
int process_find(const char *program, const char *package, struct error *err);

/* Become it, with one's own streams; returns only where it cannot be begun. */
int process_become(const struct process *process, struct error *err);

#endif
