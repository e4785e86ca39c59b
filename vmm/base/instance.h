/* SPDX-License-Identifier: MIT */
/*
 * Where guests live on the host. A running guest owns a directory of its name with its sockets; a
 * lock in it, held by the process, tells a running guest from what a killed one left. As root the
 * directories are /run/lodge and /var/lib/lodge, else $XDG_RUNTIME_DIR/lodge (or /tmp/lodge-UID)
 * and $XDG_STATE_HOME/lodge (or ~/.local/state/lodge).
 */
#ifndef VMM_BASE_INSTANCE_H
#define VMM_BASE_INSTANCE_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "vmm/base/error.h"
#include "vmm/base/text.h"

/* Sockets in a guest's directory. */
#define INSTANCE_CONTROL "socket"
#define INSTANCE_CONSOLE "console"

struct instance {
	char name[TEXT_NAME_MAX + 1];
	char path[PATH_MAX]; /* its directory */
	int lock_fd;
};

/*
 * Become the guest `name`: make its directory, clear away what a killed process left. -EBUSY where
 * that guest runs. `out` is usable only on 0.
 */
int instance_claim(const char *name, struct instance *out, struct error *err);
/* After a fork the child that goes on as the guest says so: writes its pid. */
int instance_set_pid(const struct instance *instance, pid_t pid, struct error *err);
/* Remove the directory and let go of the name. */
void instance_release(struct instance *instance);

/* Does a process hold that name? Its pid goes to *pid (0 where it did not say). */
bool instance_is_running(const char *name, pid_t *pid);

/* Call `visit` for each running guest until it returns not 0; dead ones are cleared away. */
int instance_for_each(int (*visit)(void *arg, const char *name, pid_t pid), void *arg,
		      struct error *err);

/* The path of a file of a guest. -ENAMETOOLONG where a socket address could not hold it. */
int instance_path(const char *name, const char *file, char *out, size_t size, struct error *err);

/* Listen on, or connect to, the socket `file` of a guest. A descriptor, or -errno. */
int instance_listen(const struct instance *instance, const char *file, struct error *err);
int instance_connect(const char *name, const char *file, struct error *err);

/* The directory of guests' directories; it is made. */
int instance_runtime_path(char *out, size_t size, struct error *err);
/* The store's own runtime directory, beside that of guests; it is made. */
int instance_store_path(char *out, size_t size, struct error *err);

/* A path below the state directory, whose folders are made. `sub` may be "". */
int instance_state_path(const char *sub, const char *file, char *out, size_t size,
			struct error *err);

/*
 * Call `visit` with the NAME of each NAME.json in folder `sub` of the state directory, in order,
 * until it returns not 0.
 */
int instance_state_for_each(const char *sub, int (*visit)(void *arg, const char *name), void *arg,
			    struct error *err);
/* Likewise, of any directory; -ENOENT where it is not there. */
int instance_walk(const char *directory, int (*visit)(void *arg, const char *name), void *arg,
		  struct error *err);

/*
 * Open and lock (flock(2)) a file that is removed by who holds it, and only so; `flags` as O_CREAT.
 * `mode`: LOCK_EX or LOCK_SH. A descriptor, -EBUSY where another process has it, or -errno.
 */
int instance_lock(const char *path, int flags, int mode);

/* Write a whole small file, all or nothing: temporary file, sync, rename. */
int instance_write_file(const char *path, const void *bytes, size_t size, struct error *err);

#endif
