/* SPDX-License-Identifier: MIT */
/* The store's files on the host: a descriptor each, opened below two directories. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot/io.h"
#include "vmm/base/clock.h"

#define STORED_UNIT 512u /* of st_blocks (inode(7)) */
#define FILE_MODE   0600

struct posix_io {
	struct store_io io;
	int directory;
	int runtime; /* -1: none */
};

/* Which directory a path is in; *path becomes relative to that. */
static int place_of(const struct store_io *io, const char **path)
{
	const struct posix_io *posix = (const struct posix_io *)io;

	if (strncmp(*path, STORE_IO_RUN, strlen(STORE_IO_RUN)) != 0)
		return posix->directory;
	*path += strlen(STORE_IO_RUN);
	if (!**path)
		*path = ".";
	return posix->runtime;
}

static int result(int ret)
{
	return ret < 0 ? -errno : ret;
}

static int posix_open(struct store_io *io, const char *path, int flags)
{
	int place = place_of(io, &path);

	if (place < 0)
		return -ENOTSUP;
	return result(openat(place, path, flags | O_CLOEXEC | O_NOFOLLOW, FILE_MODE));
}

static void posix_close(struct store_io *io, int file)
{
	(void)io;
	close(file);
}

static ssize_t posix_pread(struct store_io *io, int file, void *bytes, size_t size, uint64_t offset)
{
	ssize_t n = pread(file, bytes, size, (off_t)offset);

	(void)io;
	return n < 0 ? -errno : n;
}

static ssize_t posix_pwrite(struct store_io *io, int file, const void *bytes, size_t size,
			    uint64_t offset)
{
	ssize_t n = pwrite(file, bytes, size, (off_t)offset);

	(void)io;
	return n < 0 ? -errno : n;
}

static int posix_datasync(struct store_io *io, int file)
{
	(void)io;
	return result(fdatasync(file));
}

static void posix_forget(struct store_io *io, int file)
{
	(void)io;
	/* Pages whose writing failed are clean, and go. */
	posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
}

static int posix_truncate(struct store_io *io, int file, uint64_t size)
{
	(void)io;
	return result(ftruncate(file, (off_t)size));
}

static int posix_punch(struct store_io *io, int file, uint64_t offset, uint64_t size)
{
	(void)io;
	return result(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
				(off_t)size));
}

static int posix_allocate(struct store_io *io, int file, uint64_t offset, uint64_t size)
{
	(void)io;
	return result(fallocate(file, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size));
}

static int64_t posix_seek(struct store_io *io, int file, uint64_t offset, int whence)
{
	off_t at = lseek(file, (off_t)offset, whence);

	(void)io;
	return at < 0 ? -errno : at;
}

static int posix_stat(struct store_io *io, int file, struct store_stat *out)
{
	struct stat st;

	(void)io;
	if (fstat(file, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	out->size = (uint64_t)st.st_size;
	out->stored = (uint64_t)st.st_blocks * STORED_UNIT;
	return 0;
}

static int posix_lock(struct store_io *io, int file, bool exclusive, bool wait)
{
	struct flock lock = {.l_type = exclusive ? F_WRLCK : F_RDLCK};
	int ret = result(fcntl(file, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock));

	(void)io;
	return ret == -EACCES ? -EAGAIN : ret;
}

static int posix_map(struct store_io *io, int file, size_t size, void **out)
{
	void *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

	(void)io;
	if (bytes == MAP_FAILED)
		return -errno;
	*out = bytes;
	return 0;
}

static void posix_unmap(struct store_io *io, void *bytes, size_t size)
{
	(void)io;
	munmap(bytes, size);
}

static int posix_mkdir(struct store_io *io, const char *path)
{
	int place = place_of(io, &path);

	if (place < 0)
		return -ENOTSUP;
	return mkdirat(place, path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static int posix_rename(struct store_io *io, const char *from, const char *to)
{
	int place = place_of(io, &from);

	return result(renameat(place, from, place_of(io, &to), to));
}

static int posix_unlink(struct store_io *io, const char *path)
{
	int place = place_of(io, &path);

	if (place < 0)
		return -ENOENT;
	return result(unlinkat(place, path, 0));
}

static int directory_open(struct store_io *io, const char *path)
{
	int place = place_of(io, &path);

	if (place < 0)
		return -ENOTSUP;
	return result(openat(place, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static int posix_sync_directory(struct store_io *io, const char *path)
{
	int fd = directory_open(io, path), ret;

	if (fd < 0)
		return fd;
	ret = result(fsync(fd));
	close(fd);
	return ret;
}

static int posix_list(struct store_io *io, const char *path,
		      int (*visit)(void *arg, const char *name), void *arg)
{
	int fd = directory_open(io, path), ret = 0;
	struct dirent *entry;
	DIR *dir;

	if (fd < 0)
		return fd;
	dir = fdopendir(fd);
	if (!dir) {
		ret = -errno;
		close(fd);
		return ret;
	}
	for (;;) {
		errno = 0;
		entry = readdir(dir);
		if (!entry) {
			ret = -errno;
			break;
		}
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		ret = visit(arg, entry->d_name);
		if (ret)
			break;
	}
	closedir(dir);
	return ret;
}

static int posix_descriptor(struct store_io *io, int file)
{
	(void)io;
	return file;
}

static int posix_random(struct store_io *io, void *bytes, size_t size)
{
	(void)io;
	return getrandom(bytes, size, 0) == (ssize_t)size ? 0 : -EIO;
}

static uint64_t posix_now_ns(struct store_io *io)
{
	(void)io;
	return clock_realtime_ns();
}

static int posix_boot_id(struct store_io *io, char out[STORE_IO_BOOT_ID])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	(void)io;
	if (fd < 0)
		return -errno;
	n = read(fd, out, STORE_IO_BOOT_ID - 1);
	close(fd);
	if (n != (ssize_t)STORE_IO_BOOT_ID - 1)
		return -EIO;
	out[n] = 0;
	return 0;
}

static void posix_destroy(struct store_io *io)
{
	struct posix_io *posix = (struct posix_io *)io;

	if (posix->directory >= 0)
		close(posix->directory);
	if (posix->runtime >= 0)
		close(posix->runtime);
	free(posix);
}

static const struct store_io_ops posix_ops = {
	.open = posix_open,
	.close = posix_close,
	.pread = posix_pread,
	.pwrite = posix_pwrite,
	.datasync = posix_datasync,
	.forget = posix_forget,
	.truncate = posix_truncate,
	.punch = posix_punch,
	.allocate = posix_allocate,
	.seek = posix_seek,
	.stat = posix_stat,
	.lock = posix_lock,
	.map = posix_map,
	.unmap = posix_unmap,
	.mkdir = posix_mkdir,
	.rename = posix_rename,
	.unlink = posix_unlink,
	.sync_directory = posix_sync_directory,
	.list = posix_list,
	.descriptor = posix_descriptor,
	.random = posix_random,
	.now_ns = posix_now_ns,
	.boot_id = posix_boot_id,
	.destroy = posix_destroy,
};

/* Make the directory and those above it; a descriptor, or -errno. */
static int folder_make(const char *path, struct error *err)
{
	char copy[PATH_MAX];
	int fd, code;

	if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy) || !copy[0])
		return error_set(err, -ENAMETOOLONG, "choose a shorter one",
				 "directory '%.60s': its name", path);
	for (char *at = copy + 1; *at; at++) {
		if (*at != '/')
			continue;
		*at = 0;
		if (mkdir(copy, 0755) < 0 && errno != EEXIST)
			break;
		*at = '/';
	}
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		fd = -1;
	else
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	code = -errno;
	return error_set(err, code, "check its permissions, or choose another",
			 "directory '%s': %s", path, error_name(code));
}

int store_io_posix(const char *directory, const char *runtime, struct store_io **out,
		   struct error *err)
{
	struct posix_io *posix = calloc(1, sizeof(*posix));
	int ret = 0;

	if (!posix)
		return error_set(err, -ENOMEM, NULL, "store '%s': no memory", directory);
	posix->io.ops = &posix_ops;
	posix->runtime = -1;
	posix->directory = folder_make(directory, err);
	if (posix->directory < 0)
		ret = posix->directory;
	if (ret == 0 && runtime) {
		posix->runtime = folder_make(runtime, err);
		if (posix->runtime < 0)
			ret = posix->runtime;
	}
	if (ret) {
		posix_destroy(&posix->io);
		return ret;
	}
	*out = &posix->io;
	return 0;
}
