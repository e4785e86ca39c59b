/* SPDX-License-Identifier: MIT */
/* What is the same on every disk: whole transfers, interrupted calls, small files. */
#include "snapshot/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A host that only ever says EINTR must not hold a thread for ever. */
#define INTERRUPTS_MAX 1000u

void store_io_destroy(struct store_io *io)
{
	if (io)
		io->ops->destroy(io);
}

int store_io_read(struct store_io *io, int file, void *bytes, size_t size, uint64_t offset)
{
	char *to = bytes;
	unsigned interrupts = 0;

	while (size) {
		ssize_t n = io->ops->pread(io, file, to, size, offset);

		if (n == -EINTR && interrupts++ < INTERRUPTS_MAX)
			continue;
		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		to += n;
		size -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

int store_io_write(struct store_io *io, int file, const void *bytes, size_t size, uint64_t offset)
{
	const char *from = bytes;
	unsigned interrupts = 0;

	while (size) {
		ssize_t n = io->ops->pwrite(io, file, from, size, offset);

		if (n == -EINTR && interrupts++ < INTERRUPTS_MAX)
			continue;
		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		from += n;
		size -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

int store_io_open(struct store_io *io, const char *path, int flags)
{
	int ret;

	for (unsigned i = 0; (ret = io->ops->open(io, path, flags)) == -EINTR; i++)
		if (i == INTERRUPTS_MAX)
			break;
	return ret;
}

int store_io_truncate(struct store_io *io, int file, uint64_t size)
{
	int ret;

	for (unsigned i = 0; (ret = io->ops->truncate(io, file, size)) == -EINTR; i++)
		if (i == INTERRUPTS_MAX)
			break;
	return ret;
}

int store_io_lock(struct store_io *io, int file, bool exclusive, bool wait)
{
	int ret;

	for (unsigned i = 0; (ret = io->ops->lock(io, file, exclusive, wait)) == -EINTR; i++)
		if (i == INTERRUPTS_MAX)
			break;
	return ret;
}

int store_io_next_data(struct store_io *io, int file, uint64_t end, uint64_t *start, uint64_t *stop)
{
	int64_t at;

	if (*start >= end)
		return 0;
	at = io->ops->seek(io, file, *start, SEEK_DATA);
	if (at == -ENXIO || at >= (int64_t)end)
		return 0;
	if (at < 0)
		return (int)at;
	*start = (uint64_t)at;
	at = io->ops->seek(io, file, *start, SEEK_HOLE);
	if (at < 0)
		return (int)at;
	*stop = (uint64_t)at < end ? (uint64_t)at : end;
	return *stop > *start ? 1 : -EIO;
}

int store_io_write_file(struct store_io *io, const char *folder, const char *name,
			const void *bytes, size_t size)
{
	char path[STORE_IO_PATH_MAX], temporary[STORE_IO_PATH_MAX];
	int file, ret;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	snprintf(temporary, sizeof(temporary), "%s/.%s", folder, name);
	file = store_io_open(io, temporary, O_RDWR | O_CREAT);
	if (file < 0)
		return file;
	ret = store_io_truncate(io, file, 0);
	if (ret == 0)
		ret = store_io_write(io, file, bytes, size, 0);
	if (ret == 0)
		ret = io->ops->datasync(io, file);
	io->ops->close(io, file);
	if (ret == 0)
		ret = io->ops->rename(io, temporary, path);
	if (ret)
		io->ops->unlink(io, temporary);
	return ret;
}

int store_io_read_file(struct store_io *io, const char *path, size_t max, char **out, size_t *size)
{
	struct store_stat st;
	char *bytes = NULL;
	int file = store_io_open(io, path, O_RDONLY), ret;

	if (file < 0)
		return file;
	ret = io->ops->stat(io, file, &st);
	if (ret == 0 && st.size > max)
		ret = -EFBIG;
	if (ret == 0) {
		bytes = malloc(st.size + 1);
		ret = bytes ? store_io_read(io, file, bytes, st.size, 0) : -ENOMEM;
	}
	io->ops->close(io, file);
	if (ret) {
		free(bytes);
		return ret;
	}
	bytes[st.size] = 0;
	*out = bytes;
	*size = st.size;
	return 0;
}
