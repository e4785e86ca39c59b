/* SPDX-License-Identifier: MIT */
/*
 * All file I/O of the store goes through here, so that tests can put a simulated disk in its place.
 * Paths are relative to the store's directory; those that begin with STORE_IO_RUN are in the
 * runtime directory, which a reboot empties or makes stale. All calls may come from any thread.
 */
#ifndef SNAPSHOT_IO_H
#define SNAPSHOT_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "vmm/base/error.h"

#define STORE_IO_RUN      "run/"
#define STORE_IO_PATH_MAX 160u
#define STORE_IO_BOOT_ID  37u /* with its NUL */

struct store_stat {
	uint64_t size;   /* bytes */
	uint64_t stored; /* bytes on the disk: less where there are holes */
};

struct store_io;

/*
 * What open(2) and the other manual pages say, with -errno for a result. All are required. A file
 * is a number that is not negative.
 */
struct store_io_ops {
	/* O_RDONLY or O_RDWR, and O_CREAT, O_EXCL, O_DIRECT. -ENOTSUP for runtime files without a
	 * runtime directory. */
	int (*open)(struct store_io *io, const char *path, int flags);
	void (*close)(struct store_io *io, int file);
	ssize_t (*pread)(struct store_io *io, int file, void *bytes, size_t size, uint64_t offset);
	ssize_t (*pwrite)(struct store_io *io, int file, const void *bytes, size_t size,
			  uint64_t offset);
	int (*datasync)(struct store_io *io, int file);
	/* What is read from now on is what the disk has, and what was written since the last sync.
	 */
	void (*forget)(struct store_io *io, int file);
	int (*truncate)(struct store_io *io, int file, uint64_t size);
	/* A range that reads as zeroes and is stored as a hole. -EOPNOTSUPP. */
	int (*punch)(struct store_io *io, int file, uint64_t offset, uint64_t size);
	/* Storage for a range, whose content stays. -EOPNOTSUPP. */
	int (*allocate)(struct store_io *io, int file, uint64_t offset, uint64_t size);
	/* `whence`: SEEK_DATA or SEEK_HOLE. -ENXIO behind the last data. */
	int64_t (*seek)(struct store_io *io, int file, uint64_t offset, int whence);
	int (*stat)(struct store_io *io, int file, struct store_stat *out);
	/* An open-file-description lock, gone with the file. Without `wait`: -EAGAIN. */
	int (*lock)(struct store_io *io, int file, bool exclusive, bool wait);
	/* Shared memory of a runtime file; what is in it outlives the process. */
	int (*map)(struct store_io *io, int file, size_t size, void **out);
	void (*unmap)(struct store_io *io, void *bytes, size_t size);
	/* 0 also where it is there already. */
	int (*mkdir)(struct store_io *io, const char *path);
	int (*rename)(struct store_io *io, const char *from, const char *to);
	int (*unlink)(struct store_io *io, const char *path);
	/* Names made, renamed or removed in this directory are durable. */
	int (*sync_directory)(struct store_io *io, const char *path);
	/* Calls `visit` for each name but "." and "..", until it returns not 0. */
	int (*list)(struct store_io *io, const char *path,
		    int (*visit)(void *arg, const char *name), void *arg);
	/* A descriptor for the fast path, the file's own until it is closed; -1 if there is none.
	 */
	int (*descriptor)(struct store_io *io, int file);
	int (*random)(struct store_io *io, void *bytes, size_t size);
	uint64_t (*now_ns)(struct store_io *io); /* since 1970-01-01 UTC */
	int (*boot_id)(struct store_io *io, char out[STORE_IO_BOOT_ID]);
	void (*destroy)(struct store_io *io);
};

struct store_io {
	const struct store_io_ops *ops;
};

/*
 * The host's files. `directory` is made, with those above it. `runtime`, too; it should be on a
 * tmpfs, and NULL is allowed: then what was not flushed is lost with the process.
 */
int store_io_posix(const char *directory, const char *runtime, struct store_io **out,
		   struct error *err);
void store_io_destroy(struct store_io *io);

/* Whole transfers: short ones go on, -EINTR is asked again. A file that ends early: -EIO. */
int store_io_read(struct store_io *io, int file, void *bytes, size_t size, uint64_t offset);
int store_io_write(struct store_io *io, int file, const void *bytes, size_t size, uint64_t offset);
/* The other calls that may be interrupted, asked again on -EINTR. datasync is not: it never is. */
int store_io_open(struct store_io *io, const char *path, int flags);
int store_io_truncate(struct store_io *io, int file, uint64_t size);
int store_io_lock(struct store_io *io, int file, bool exclusive, bool wait);

/* The next range that is not a hole in [*start, end): 1, or 0 if there is none. */
int store_io_next_data(struct store_io *io, int file, uint64_t end, uint64_t *start,
		       uint64_t *stop);

/* Write the small file `folder`/`name`, all or nothing; its name is for the caller to sync. */
int store_io_write_file(struct store_io *io, const char *folder, const char *name,
			const void *bytes, size_t size);
/* Read a whole file of at most `max` bytes; *out is the caller's, with a NUL behind. -EFBIG. */
int store_io_read_file(struct store_io *io, const char *path, size_t max, char **out, size_t *size);

#endif
