/* SPDX-License-Identifier: MIT */
/* A file under a temporary name beside its place, until it is whole: write, fsync, rename, fsync.
 */
#include "vmm/base/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_ROOM 32 /* ".part-", 16 digits and the end */

static int failed(const struct output *o, int code, const char *what, struct error *err)
{
	const char *remedy = NULL;

	if (code == -ENOSPC || code == -EDQUOT)
		remedy = "make room, or export to another file system";
	else if (code == -EACCES || code == -EROFS || code == -ENOENT)
		remedy = "check the directory";
	return error_set(err, code, remedy, "%s '%s': %s: %s", o->noun, o->path, what,
			 error_name(code));
}

/* What has the name must be ours to replace: no device, and no file unless told so. */
static int place_check(const struct output *o, struct error *err)
{
	struct stat st;

	if (lstat(o->path, &st) < 0)
		return errno == ENOENT ? 0 : failed(o, -errno, "look", err);
	if (!S_ISREG(st.st_mode))
		return error_set(err, -EEXIST, "give a new name",
				 "%s '%s': there is something that is no file", o->noun, o->path);
	if (!o->replace)
		return error_set(err, -EEXIST, "remove it, or give a new name",
				 "%s '%s': there is such a file", o->noun, o->path);
	return 0;
}

int output_open(struct output *o, const char *noun, const char *path, bool replace,
		struct error *err)
{
	size_t room = strlen(path) + NAME_ROOM;
	uint64_t number;
	int ret;

	*o = (struct output){.noun = noun, .path = path, .replace = replace, .fd = -1};
	ret = place_check(o, err);
	if (ret)
		return ret;
	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		return failed(o, -EIO, "random number", err);
	o->temporary = malloc(room);
	if (!o->temporary)
		return failed(o, -ENOMEM, "create", err);
	snprintf(o->temporary, room, "%s.part-%016llx", path, (unsigned long long)number);
	o->fd = open(o->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (o->fd < 0) {
		ret = failed(o, -errno, "create", err);
		free(o->temporary);
		o->temporary = NULL;
	}
	return ret;
}

int output_write(struct output *o, const void *bytes, size_t length, uint64_t offset)
{
	const uint8_t *at = bytes;

	while (length) {
		ssize_t n = pwrite(o->fd, at, length, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		at += n;
		length -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

int output_size(struct output *o, uint64_t size)
{
	return ftruncate(o->fd, (off_t)size) < 0 ? -errno : 0;
}

void output_abort(struct output *o)
{
	if (o->fd >= 0)
		close(o->fd);
	if (o->temporary)
		unlink(o->temporary);
	free(o->temporary);
	o->fd = -1;
	o->temporary = NULL;
}

static int directory_sync(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *directory = strdup(slash ? path : ".");
	int fd, ret = 0;

	if (!directory)
		return -ENOMEM;
	if (slash)
		directory[slash - path + 1] = '\0';
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		ret = -errno;
	if (fd >= 0)
		close(fd);
	free(directory);
	return ret;
}

static int rename_to(const struct output *o)
{
	unsigned flags = o->replace ? 0 : RENAME_NOREPLACE;

	if (renameat2(AT_FDCWD, o->temporary, AT_FDCWD, o->path, flags) == 0)
		return 0;
	/* Some file systems do not know the flag. */
	if (errno != EINVAL || !flags)
		return -errno;
	return rename(o->temporary, o->path) < 0 ? -errno : 0;
}

int output_commit(struct output *o, struct error *err)
{
	int ret = fsync(o->fd) < 0 ? -errno : 0;

	if (ret) {
		ret = failed(o, ret, "sync", err);
		output_abort(o);
		return ret;
	}
	ret = rename_to(o);
	if (ret) {
		ret = failed(o, ret, "rename", err);
		output_abort(o);
		return ret;
	}
	close(o->fd);
	free(o->temporary);
	o->fd = -1;
	o->temporary = NULL;
	ret = directory_sync(o->path);
	if (ret) {
		unlink(o->path);
		return failed(o, ret, "sync of the directory", err);
	}
	return 0;
}
