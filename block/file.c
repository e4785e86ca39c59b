/* SPDX-License-Identifier: MIT */
/* Files below the formats. Locks are of open file descriptions: they go at kill -9, too. */
#include "block/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "block/block.h"

#define LOCK_ATTEMPTS 20 /* a fifth of a second in all */
#define LOCK_NAP_NS   10000000L
#define VECTOR_MAX    64u /* pieces of one preadv */

static int lock_file(int fd, const struct block_options *options, struct error *err)
{
	struct flock lock = {.l_type = options->read_only ? F_RDLCK : F_WRLCK};
	const struct timespec nap = {.tv_nsec = LOCK_NAP_NS};
	int code = 0;

	/* io_uring lets go of its own lock a moment after the process is gone. */
	for (unsigned i = 0; i < LOCK_ATTEMPTS; i++) {
		if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
			return 0;
		code = -errno;
		if (code != -EAGAIN && code != -EACCES)
			break;
		nanosleep(&nap, NULL);
	}
	if (code == -EAGAIN || code == -EACCES)
		return error_set(err, -EBUSY,
				 "stop the guest that has it, or attach it to both with ,ro",
				 "disk '%s': in use by another process", options->path);
	return error_set(err, code, "use a file system that has locks", "disk '%s': lock: %s",
			 options->path, error_name(code));
}

static int open_failed(const struct block_options *options, struct error *err)
{
	int code = -errno;
	const char *remedy = NULL;

	if (code == -ENOENT)
		remedy = options->as_backing ? "check the path"
					     : "check the path, or make one: truncate -s 10G FILE";
	else if (code == -EACCES || code == -EROFS || code == -EPERM)
		remedy = options->read_only ? "check its permissions" : "attach it with ,ro";
	return error_set(err, code, remedy, "disk '%s': %s", options->path, error_name(code));
}

static int check_opened(int fd, const struct block_options *options, uint64_t *size,
			struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || fcntl(fd, F_SETFL, 0) < 0)
		return open_failed(options, err);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return error_set(err, -EINVAL, "give a file or a block device", "disk '%s': %s",
				 options->path,
				 S_ISDIR(st.st_mode) ? "a directory" : "neither file nor disk");
	*size = (uint64_t)st.st_size;
	if (S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, size) < 0)
		return error_set(err, -errno, NULL, "disk '%s': size: %s", options->path,
				 error_name(-errno));
	return 0;
}

int file_open(const struct block_options *options, int *fd, uint64_t *size, struct error *err)
{
	int flags = (options->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC;
	struct stat st;
	int opened, ret;

	/* Not blocking, so that a FIFO named by mistake does not hold us up. */
	opened = open(options->path, flags | O_NONBLOCK);
	if (opened < 0 && errno == EISDIR && stat(options->path, &st) == 0)
		return error_set(err, -EISDIR, "give a file or a block device",
				 "disk '%s': a directory", options->path);
	if (opened < 0)
		return open_failed(options, err);
	ret = check_opened(opened, options, size, err);
	if (ret == 0 && !options->no_lock)
		ret = lock_file(opened, options, err);
	if (ret) {
		close(opened);
		return ret;
	}
	*fd = opened;
	return 0;
}

int file_read(int fd, void *to, size_t length, uint64_t offset)
{
	struct iovec iov = {.iov_base = to, .iov_len = length};
	struct file_vector vector = {.iov = &iov, .count = 1};

	return file_read_vector(fd, &vector, length, offset);
}

static void advance(struct file_vector *v, size_t bytes)
{
	v->skip += bytes;
	while (v->count && v->skip >= v->iov->iov_len) {
		v->skip -= v->iov->iov_len;
		v->iov++;
		v->count--;
	}
}

/* The front of `v`, at most `length` bytes, as a vector for the kernel. */
static unsigned front(const struct file_vector *v, uint64_t length, struct iovec out[VECTOR_MAX])
{
	size_t skip = v->skip;
	unsigned n = 0;

	for (; n < v->count && n < VECTOR_MAX && length; n++) {
		size_t piece = v->iov[n].iov_len - skip;

		out[n].iov_base = (uint8_t *)v->iov[n].iov_base + skip;
		out[n].iov_len = piece < length ? piece : length;
		length -= out[n].iov_len;
		skip = 0;
	}
	return n;
}

int file_read_vector(int fd, struct file_vector *to, uint64_t length, uint64_t offset)
{
	while (length) {
		struct iovec iov[VECTOR_MAX];
		unsigned count = front(to, length, iov);
		ssize_t n;

		assert(count);
		n = count == 1 ? pread(fd, iov->iov_base, iov->iov_len, (off_t)offset)
			       : preadv(fd, iov, (int)count, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		advance(to, (size_t)n);
		length -= (uint64_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

void file_vector_copy(struct file_vector *to, const void *from, uint64_t length)
{
	const uint8_t *bytes = from;

	while (length) {
		size_t piece = to->count ? to->iov->iov_len - to->skip : 0;

		assert(to->count);
		if (piece > length)
			piece = length;
		if (piece)
			memcpy((uint8_t *)to->iov->iov_base + to->skip, bytes, piece);
		bytes += piece;
		length -= piece;
		advance(to, piece);
	}
}

void file_vector_zero(struct file_vector *to, uint64_t length)
{
	while (length) {
		size_t piece = to->count ? to->iov->iov_len - to->skip : 0;

		assert(to->count);
		if (piece > length)
			piece = length;
		if (piece)
			memset((uint8_t *)to->iov->iov_base + to->skip, 0, piece);
		length -= piece;
		advance(to, piece);
	}
}

bool file_is_zero(const void *bytes, size_t length)
{
	const uint8_t *b = bytes;

	/* Each byte equals the one before it, and the first is zero: memcmp does it fast. */
	return length == 0 || (b[0] == 0 && memcmp(b, b + 1, length - 1) == 0);
}
