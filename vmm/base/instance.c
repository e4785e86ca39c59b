/* SPDX-License-Identifier: MIT */
/*
 * Guests' directories. The lock is flock(2) on a file that is removed with its directory, so after
 * locking one looks whether the path still names the locked file; if not, another process was
 * cleaning up and it is tried again.
 */
#include "vmm/base/instance.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/checked.h"

#define LOCK_FILE    "lock"
#define PID_FILE     "pid"
#define PID_FILE_NEW "pid.new" /* while it is being written */
#define ATTEMPTS     50
/* Longer each time, more than a second in all: who looks at a name may lose its processor there. */
#define NAP_NS             1000000L
#define CONNECT_PATIENCE_S 10
#define STALE_S            2

/* All that a guest's directory can hold: nothing else is ever removed. */
static const char *const files[] = {INSTANCE_CONTROL, INSTANCE_CONSOLE, PID_FILE, PID_FILE_NEW,
				    LOCK_FILE};

static int path_join(char *out, size_t size, const char *a, const char *b, struct error *err)
{
	int n = snprintf(out, size, "%s%s%s", a, *b ? "/" : "", b);

	if (n < 0 || (size_t)n >= size)
		return error_set(err, -ENAMETOOLONG, "use a shorter name or directory",
				 "path '%s/%s': too long", a, b);
	return 0;
}

static int make_directory(const char *path, mode_t mode, struct error *err)
{
	char part[PATH_MAX];
	size_t length = strlen(path);

	if (length >= sizeof(part))
		return error_set(err, -ENAMETOOLONG, NULL, "directory '%s': too long", path);
	for (size_t i = 1; i <= length; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdir(part, i == length ? mode : 0755) < 0 && errno != EEXIST)
			return error_set(err, -errno,
					 errno == ENOSPC ? "free some space there"
							 : "check its permissions",
					 "directory '%s': %s", part, error_name(-errno));
	}
	return 0;
}

static void runtime_root(char *out, size_t size)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");

	if (geteuid() == 0)
		snprintf(out, size, "/run/lodge");
	else if (xdg && xdg[0] == '/')
		snprintf(out, size, "%s/lodge", xdg);
	else
		snprintf(out, size, "/tmp/lodge-%u", (unsigned)geteuid());
}

/* A directory in /tmp might be another user's trap: it must be ours alone. */
static int runtime_make(const char *suffix, char *out, size_t size, struct error *err)
{
	char root[PATH_MAX];
	struct stat st;
	int ret;

	runtime_root(root, sizeof(root));
	snprintf(out, size, "%s%s", root, suffix);
	ret = make_directory(out, 0700, err);
	if (ret)
		return ret;
	if (lstat(out, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid())
		return error_set(err, -EPERM, "set XDG_RUNTIME_DIR to a directory of your own",
				 "directory '%s': it belongs to somebody else", out);
	return 0;
}

int instance_path(const char *name, const char *file, char *out, size_t size, struct error *err)
{
	char root[PATH_MAX], directory[PATH_MAX];
	int ret;

	runtime_root(root, sizeof(root));
	ret = path_join(directory, sizeof(directory), root, name, err);
	return ret ? ret : path_join(out, size, directory, file, err);
}

int instance_runtime_path(char *out, size_t size, struct error *err)
{
	return runtime_make("", out, size, err);
}

int instance_store_path(char *out, size_t size, struct error *err)
{
	return runtime_make("-store", out, size, err);
}

/* Is `fd` still what `path` names? Another process may have cleaned up. */
static bool is_named(int fd, const char *path)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_ino == b.st_ino &&
	       a.st_dev == b.st_dev;
}

int instance_lock(const char *path, int flags, int mode)
{
	for (unsigned i = 0; i < ATTEMPTS; i++) {
		int fd = open(path, O_RDWR | O_CLOEXEC | flags, 0600);
		int ret;

		if (fd < 0)
			return -errno;
		if (flock(fd, mode | LOCK_NB) < 0) {
			ret = errno == EWOULDBLOCK ? -EBUSY : -errno;
			close(fd);
			return ret;
		}
		if (is_named(fd, path))
			return fd;
		close(fd);
	}
	return -EBUSY;
}

static void directory_clear(const char *directory, bool keep_lock)
{
	char path[PATH_MAX];

	for (unsigned i = 0; i < ARRAY_SIZE(files); i++) {
		if (keep_lock && strcmp(files[i], LOCK_FILE) == 0)
			continue;
		if (path_join(path, sizeof(path), directory, files[i], NULL) == 0)
			unlink(path);
	}
}

static pid_t pid_read(const char *directory)
{
	char path[PATH_MAX], text[32] = "";
	uint64_t pid = 0;
	FILE *file;

	if (path_join(path, sizeof(path), directory, PID_FILE, NULL))
		return 0;
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (fgets(text, sizeof(text), file)) {
		text[strcspn(text, "\n")] = '\0';
		if (text_to_number(text, 1, INT_MAX, &pid))
			pid = 0;
	}
	fclose(file);
	return (pid_t)pid;
}

/*
 * Is the lock held for a moment only, by somebody who looks at the name? A guest says its pid soon
 * after it has the lock.
 */
static bool is_held_briefly(const char *directory)
{
	pid_t pid = pid_read(directory);

	return pid <= 0 || (kill(pid, 0) < 0 && errno == ESRCH);
}

/* instance_lock, waiting for those who hold it briefly. */
static int lock_patiently(const char *directory, const char *path, int flags, int mode)
{
	int fd = instance_lock(path, flags, mode);

	for (unsigned i = 1; i < ATTEMPTS && fd == -EBUSY && is_held_briefly(directory); i++) {
		nanosleep(&(struct timespec){.tv_nsec = NAP_NS * i}, NULL);
		fd = instance_lock(path, flags, mode);
	}
	return fd;
}

static int claim_locked(struct instance *instance, struct error *err)
{
	char lock[PATH_MAX];
	int fd = -EBUSY;

	if (path_join(lock, sizeof(lock), instance->path, LOCK_FILE, err))
		return -ENAMETOOLONG;
	/* Whoever cleans up the directory of a dead guest may remove it under us: make it again. */
	for (unsigned i = 0; i < ATTEMPTS; i++) {
		int ret = make_directory(instance->path, 0700, err);

		if (ret)
			return ret;
		fd = lock_patiently(instance->path, lock, O_CREAT, LOCK_EX);
		if (fd != -ENOENT)
			break;
	}
	if (fd == -EBUSY)
		return error_set(err, fd, "choose another name, or stop it: lodge stop NAME",
				 "guest '%s': it is running (pid %d)", instance->name,
				 (int)pid_read(instance->path));
	if (fd < 0)
		return error_set(err, fd, "check the directory", "'%s': %s", lock, error_name(fd));
	instance->lock_fd = fd;
	return 0;
}

int instance_claim(const char *name, struct instance *out, struct error *err)
{
	struct instance instance = {.lock_fd = -1};
	char root[PATH_MAX];
	int ret;

	if (!text_is_name(name))
		return error_set(err, -EINVAL,
				 "use letters, digits, '-', '_' and '.', at most 48 of them",
				 "guest name '%s': not a name", name);
	snprintf(instance.name, sizeof(instance.name), "%s", name);
	ret = runtime_make("", root, sizeof(root), err);
	if (ret == 0)
		ret = path_join(instance.path, sizeof(instance.path), root, name, err);
	if (ret == 0)
		ret = claim_locked(&instance, err);
	if (ret)
		return ret;
	directory_clear(instance.path, true);
	*out = instance;
	ret = instance_set_pid(out, getpid(), err);
	if (ret)
		instance_release(out);
	return ret;
}

int instance_set_pid(const struct instance *instance, pid_t pid, struct error *err)
{
	char path[PATH_MAX], text[32];
	int n = snprintf(text, sizeof(text), "%d\n", (int)pid);

	if (path_join(path, sizeof(path), instance->path, PID_FILE, err))
		return -ENAMETOOLONG;
	return instance_write_file(path, text, (size_t)n, err);
}

void instance_release(struct instance *instance)
{
	if (instance->lock_fd < 0)
		return;
	/* The lock goes last: until then nobody else believes that the name is free. */
	directory_clear(instance->path, false);
	rmdir(instance->path);
	close(instance->lock_fd);
	instance->lock_fd = -1;
}

/*
 * A directory without a lock is of a claim that was killed before it made one, or that is about to:
 * the latter takes no time.
 */
static void stale_remove(const char *directory)
{
	struct stat st;

	if (stat(directory, &st) == 0 && st.st_mtime + STALE_S < time(NULL))
		rmdir(directory);
}

bool instance_is_running(const char *name, pid_t *pid)
{
	char directory[PATH_MAX], lock[PATH_MAX];
	int fd;

	if (!text_is_name(name) || instance_path(name, "", directory, sizeof(directory), NULL) ||
	    path_join(lock, sizeof(lock), directory, LOCK_FILE, NULL))
		return false;
	/* Shared, so that two who look do not take each other for the guest. */
	fd = lock_patiently(directory, lock, 0, LOCK_SH);
	if (fd == -EBUSY) {
		if (pid)
			*pid = pid_read(directory);
		return true;
	}
	if (fd == -ENOENT)
		stale_remove(directory);
	if (fd >= 0) {
		/*
		 * A killed guest's remains; whoever else looks at them leaves them to the last.
		 * flock(2) lets go in between: a guest may have come and gone.
		 */
		if (flock(fd, LOCK_EX | LOCK_NB) == 0 && is_named(fd, lock)) {
			directory_clear(directory, false);
			rmdir(directory);
		}
		close(fd);
	}
	return false;
}

int instance_for_each(int (*visit)(void *arg, const char *name, pid_t pid), void *arg,
		      struct error *err)
{
	char root[PATH_MAX];
	struct dirent **entries;
	int count, ret = 0;

	runtime_root(root, sizeof(root));
	count = scandir(root, &entries, NULL, alphasort);
	if (count < 0)
		return errno == ENOENT ? 0
				       : error_set(err, -errno, NULL, "directory '%s': %s", root,
						   error_name(-errno));
	for (int i = 0; i < count; i++) {
		const char *name = entries[i]->d_name;
		pid_t pid = 0;

		if (ret == 0 && text_is_name(name) && instance_is_running(name, &pid))
			ret = visit(arg, name, pid);
		free(entries[i]);
	}
	free(entries);
	return ret;
}

static int socket_address(const char *path, struct sockaddr_un *address, struct error *err)
{
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(address->sun_path))
		return error_set(err, -ENAMETOOLONG, "use a shorter name or XDG_RUNTIME_DIR",
				 "socket '%s': longer than %zu bytes", path,
				 sizeof(address->sun_path) - 1);
	memcpy(address->sun_path, path, strlen(path) + 1);
	return 0;
}

int instance_listen(const struct instance *instance, const char *file, struct error *err)
{
	struct sockaddr_un address;
	char path[PATH_MAX];
	int fd, ret;

	ret = path_join(path, sizeof(path), instance->path, file, err);
	if (ret == 0)
		ret = socket_address(path, &address, err);
	if (ret)
		return ret;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    chmod(path, 0600) < 0 || listen(fd, 16) < 0) {
		ret = -errno;
		if (fd >= 0)
			close(fd);
		return error_set(err, ret, "check the directory", "socket '%s': %s", path,
				 error_name(ret));
	}
	return fd;
}

int instance_connect(const char *name, const char *file, struct error *err)
{
	const struct timeval patience = {.tv_sec = CONNECT_PATIENCE_S};
	struct sockaddr_un address;
	char path[PATH_MAX];
	int fd, ret;

	if (!instance_is_running(name, NULL))
		return error_set(err, -ENOENT, "see `lodge ls`", "guest '%s': it is not running",
				 name);
	ret = instance_path(name, file, path, sizeof(path), err);
	if (ret == 0)
		ret = socket_address(path, &address, err);
	if (ret)
		return ret;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* A guest that hangs does not accept: connect(2) and send(2) must not wait for ever. */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		ret = -errno;
		if (fd >= 0)
			close(fd);
		return error_set(err, ret, "it may be starting or ending: try again",
				 "guest '%s': connect to '%s': %s", name, path, error_name(ret));
	}
	return fd;
}

int instance_state_path(const char *sub, const char *file, char *out, size_t size,
			struct error *err)
{
	const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	char root[PATH_MAX], directory[PATH_MAX];
	int ret;

	if (geteuid() == 0)
		snprintf(root, sizeof(root), "/var/lib/lodge");
	else if (xdg && xdg[0] == '/')
		snprintf(root, sizeof(root), "%s/lodge", xdg);
	else if (home && home[0] == '/')
		snprintf(root, sizeof(root), "%s/.local/state/lodge", home);
	else
		return error_set(err, -ENOENT, "set HOME or XDG_STATE_HOME",
				 "state directory: there is no home directory");
	ret = path_join(directory, sizeof(directory), root, sub, err);
	if (ret == 0)
		ret = make_directory(directory, 0700, err);
	return ret ? ret : path_join(out, size, directory, file, err);
}

int instance_walk(const char *directory, int (*visit)(void *arg, const char *name), void *arg,
		  struct error *err)
{
	struct dirent **entries;
	int count = scandir(directory, &entries, NULL, alphasort), ret = 0;

	if (count < 0)
		return error_set(err, -errno, "check its permissions", "directory '%s': %s",
				 directory, error_name(-errno));
	for (int i = 0; i < count; i++) {
		char *suffix = strrchr(entries[i]->d_name, '.');

		if (ret == 0 && suffix && strcmp(suffix, ".json") == 0) {
			*suffix = '\0';
			ret = visit(arg, entries[i]->d_name);
		}
		free(entries[i]);
	}
	free(entries);
	return ret;
}

int instance_state_for_each(const char *sub, int (*visit)(void *arg, const char *name), void *arg,
			    struct error *err)
{
	char directory[PATH_MAX];
	int ret = instance_state_path(sub, "", directory, sizeof(directory), err);

	return ret ? ret : instance_walk(directory, visit, arg, err);
}

static int write_all(int fd, const void *bytes, size_t size)
{
	const char *at = bytes;

	while (size) {
		ssize_t n = write(fd, at, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		size -= (size_t)n;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

int instance_write_file(const char *path, const void *bytes, size_t size, struct error *err)
{
	char temporary[PATH_MAX];
	int fd, ret;

	if (snprintf(temporary, sizeof(temporary), "%s.new", path) >= (int)sizeof(temporary))
		return error_set(err, -ENAMETOOLONG, NULL, "file '%s': name too long", path);
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		ret = -errno;
	} else {
		ret = write_all(fd, bytes, size);
		close(fd);
		if (ret == 0 && rename(temporary, path) < 0)
			ret = -errno;
		if (ret)
			unlink(temporary);
	}
	if (ret)
		return error_set(err, ret, ret == -ENOSPC ? "free some space there" : NULL,
				 "file '%s': %s", path, error_name(ret));
	return 0;
}
