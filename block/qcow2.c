/* SPDX-License-Identifier: MIT */
/*
 * qcow2 images, versions 2 and 3, to be read only: in-place writes are what corrupts them, so that
 * a guest writes to a volume instead. After QEMU's docs/interop/qcow2.txt. Reads are synchronous,
 * through the page cache, which guests on one image share; a run of clusters that lie side by side
 * is one preadv. Backing and data files are opened only where the caller trusts the image.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/qcow2_impl.h"
#include "vmm/base/checked.h"

#define MAP_STEPS   256u /* extents that one answer of map may join */
#define BLOCK_BYTES 4096u

struct qcow2_queue {
	struct block_queue queue;
	unsigned depth, first, count;
	struct block_request *pending[]; /* a ring */
};

/* Opening. */

static void qcow2_close(struct block *block)
{
	struct qcow2 *q = qcow2_of(block);

	block_close(q->backing);
	qcow2_unpacked_free(q);
	qcow2_slices_free(q);
	pthread_mutex_destroy(&q->lock);
	if (q->data_fd >= 0 && q->data_fd != q->fd)
		close(q->data_fd);
	if (q->fd >= 0)
		close(q->fd);
	free(q);
}

/* The path of a file that the image names: relative to the image's directory. */
static int name_resolve(const char *image, const char *name, char **path, struct error *err)
{
	const char *slash = strrchr(image, '/');
	size_t directory = slash && name[0] != '/' ? (size_t)(slash - image) + 1 : 0;
	size_t length = strlen(name);

	/* As "nbd:..." and "json:...": before the first slash there is a colon. */
	if (name[strcspn(name, ":/")] == ':')
		return error_set(err, -EOPNOTSUPP, "make it a file: qemu-img rebase -u -b FILE",
				 "disk '%s': its backing file '%s' is no file", image, name);
	*path = malloc(directory + length + 1);
	if (!*path)
		return error_set(err, -ENOMEM, NULL, "disk '%s': out of memory", image);
	memcpy(*path, image, directory);
	memcpy(*path + directory, name, length + 1);
	return 0;
}

static int other_files_check(const struct qcow2 *q, const struct block_options *options,
			     const struct qcow2_names *names, struct error *err)
{
	const char *name = q->external ? names->data_file : names->backing;

	if (!q->external && !names->backing[0])
		return 0;
	if (!options->allow_backing)
		return error_set(err, -EPERM,
				 "attach it with ,backing if you trust it, or make it one file: "
				 "qemu-img convert -O qcow2 OLD NEW",
				 "disk '%s': it names another file of the host's: '%s'",
				 options->path, name);
	if (q->external && !names->data_file[0])
		return error_set(err, -EINVAL, "see qemu-img amend -o data_file",
				 "disk '%s': it does not name its data file", options->path);
	if (!names->backing[0])
		return 0;
	if (!names->backing_format[0])
		return error_set(err, -EINVAL,
				 "write it down: qemu-img rebase -u -F FORMAT -b FILE IMAGE",
				 "disk '%s': it does not say what format its backing file has",
				 options->path);
	if (options->depth + 1 >= QCOW2_DEPTH_MAX)
		return error_set(err, -ELOOP, "flatten it: qemu-img convert -O qcow2 OLD NEW",
				 "disk '%s': more than %u backing files, or a loop of them",
				 options->path, QCOW2_DEPTH_MAX);
	return 0;
}

static int data_file_open(struct qcow2 *q, const struct block_options *options,
			  const struct qcow2_names *names, struct error *err)
{
	struct block_options data = {.read_only = true, .no_lock = options->no_lock};
	char *path = NULL;
	int ret;

	q->data_fd = q->fd;
	q->data_size = q->file_size;
	if (!q->external)
		return 0;
	q->data_fd = -1;
	ret = name_resolve(options->path, names->data_file, &path, err);
	data.path = path;
	data.as_backing = true;
	if (ret == 0)
		ret = file_open(&data, &q->data_fd, &q->data_size, err);
	if (ret)
		error_prefix(err, ret, "disk '%s': data file", options->path);
	free(path);
	return ret;
}

static int backing_open(struct qcow2 *q, const struct block_options *options,
			const struct qcow2_names *names, struct error *err)
{
	struct block_options backing = {
		.read_only = true,
		.no_lock = options->no_lock,
		.allow_backing = true,
		.as_backing = true,
		.depth = options->depth + 1,
	};
	char *path = NULL;
	int ret;

	if (!names->backing[0])
		return 0;
	ret = name_resolve(options->path, names->backing, &path, err);
	backing.path = path;
	if (ret == 0)
		ret = block_open(names->backing_format, &backing, &q->backing, err);
	free(path);
	return ret;
}

static int image_open(struct qcow2 *q, const struct block_options *options, struct error *err)
{
	struct qcow2_names *names;
	int ret;

	if (!options->read_only)
		return error_set(err, -EROFS,
				 "attach it with ,ro, or import it: lodge volume import NAME "
				 "FILE,format=qcow2",
				 "disk '%s': a qcow2 image is only read", options->path);
	ret = file_open(options, &q->fd, &q->file_size, err);
	if (ret)
		return ret;
	names = calloc(1, sizeof(*names));
	if (!names)
		return error_set(err, -ENOMEM, NULL, "disk '%s': out of memory", options->path);
	ret = qcow2_header_read(q, options, names, err);
	if (ret == 0)
		ret = other_files_check(q, options, names, err);
	if (ret == 0)
		ret = data_file_open(q, options, names, err);
	if (ret == 0)
		ret = backing_open(q, options, names, err);
	free(names);
	return ret;
}

static int qcow2_open(const struct block_options *options, struct block **out, struct error *err)
{
	struct qcow2 *q = calloc(1, sizeof(*q));
	int ret;

	if (!q)
		return error_set(err, -ENOMEM, NULL, "disk '%s': out of memory", options->path);
	q->fd = q->data_fd = -1;
	ret = -pthread_mutex_init(&q->lock, NULL);
	if (ret) {
		free(q);
		return error_set(err, ret, NULL, "disk '%s': lock: %s", options->path,
				 error_name(ret));
	}
	ret = image_open(q, options, err);
	if (ret == 0)
		ret = qcow2_unpacked_init(q);
	if (ret) {
		qcow2_close(&q->block);
		return error_set(err, ret, NULL, "disk '%s': %s", options->path, error_name(ret));
	}
	q->block.info.format = "qcow2";
	q->block.info.read_only = true;
	q->block.info.block_size = q->cluster_size < BLOCK_BYTES ? BLOCK_SECTOR : BLOCK_BYTES;
	*out = &q->block;
	return 0;
}

/* Without a queue. */

static int data_read(const struct qcow2_extent *e, struct file_vector *to)
{
	const struct qcow2 *q = e->owner;
	uint64_t there = q->data_size > e->host ? q->data_size - e->host : 0;
	int ret = 0;

	/* A file may end within its last cluster, of which nobody wrote the rest. */
	if (there > e->length)
		there = e->length;
	if (there)
		ret = file_read_vector(q->data_fd, to, there, e->host);
	if (ret == 0)
		file_vector_zero(to, e->length - there);
	return ret;
}

static int extent_read(const struct qcow2_extent *e, uint64_t offset, struct file_vector *to)
{
	switch (e->kind) {
	case QCOW2_DATA:
		return data_read(e, to);
	case QCOW2_STREAM:
		return qcow2_stream_read(e, offset, to);
	case QCOW2_BACKING:
		return e->backing->format->read(e->backing, offset, to, e->length);
	default:
		file_vector_zero(to, e->length);
		return 0;
	}
}

static int qcow2_read(struct block *block, uint64_t offset, struct file_vector *to, uint64_t length)
{
	struct qcow2_extent e;
	int ret = 0;

	while (ret == 0 && length) {
		ret = qcow2_extent_find(qcow2_of(block), offset, length, &e);
		if (ret == 0)
			ret = extent_read(&e, offset, to);
		if (ret == 0) {
			offset += e.length;
			length -= e.length;
		}
	}
	return ret;
}

static int extent_status(const struct qcow2_extent *e, uint64_t offset, enum block_status *status,
			 uint64_t *run)
{
	if (e->kind == QCOW2_BACKING)
		return e->backing->format->map(e->backing, offset, e->length, status, run);
	*status = e->kind == QCOW2_ZEROES ? BLOCK_ZERO : BLOCK_DATA;
	*run = e->length;
	return 0;
}

static int qcow2_map(struct block *block, uint64_t offset, uint64_t length,
		     enum block_status *status, uint64_t *run)
{
	uint64_t found = 0;

	for (unsigned i = 0; i < MAP_STEPS && found < length; i++) {
		enum block_status next;
		struct qcow2_extent e;
		uint64_t more;
		int ret = qcow2_extent_find(qcow2_of(block), offset + found, length - found, &e);

		if (ret == 0)
			ret = extent_status(&e, offset + found, &next, &more);
		if (ret && found == 0)
			return ret;
		if (ret || (found && next != *status))
			break;
		*status = next;
		found += more;
	}
	*run = found;
	return 0;
}

/* Queues: what was accepted is done in the next wait, in order. */

static int qcow2_queue_create(struct block *block, unsigned depth, struct block_queue **out,
			      struct error *err)
{
	struct qcow2_queue *q = calloc(1, sizeof(*q) + depth * sizeof(struct block_request *));

	(void)block;
	if (!q)
		return error_set(err, -ENOMEM, NULL, "disk queue: out of memory");
	q->depth = depth;
	*out = &q->queue;
	return 0;
}

static void qcow2_queue_destroy(struct block_queue *queue)
{
	free(queue);
}

static void qcow2_submit(struct block_queue *queue, struct block_request *request)
{
	struct qcow2_queue *q = (struct qcow2_queue *)queue;

	assert(q->count < q->depth); /* block_submit counts */
	q->pending[(q->first + q->count++) % q->depth] = request;
}

/* Nothing else than reads and flushes gets here: the image is read-only. */
static int request_run(struct block *block, const struct block_request *request)
{
	struct file_vector to = {.iov = request->iov, .count = request->iov_count};

	if (request->op != BLOCK_READ)
		return request->op == BLOCK_FLUSH ? 0 : -EROFS;
	return qcow2_read(block, request->offset, &to, request->length);
}

/* Several requests wait: the disk below may as well look for all of them at once. */
static void read_ahead(struct qcow2_queue *q)
{
	for (unsigned i = 0; i < q->count; i++) {
		const struct block_request *r = q->pending[(q->first + i) % q->depth];
		struct qcow2 *image = qcow2_of(q->queue.block);
		struct qcow2_extent e;

		if (r->op == BLOCK_READ &&
		    qcow2_extent_find(image, r->offset, r->length, &e) == 0 && e.kind == QCOW2_DATA)
			posix_fadvise(e.owner->data_fd, (off_t)e.host, (off_t)e.length,
				      POSIX_FADV_WILLNEED);
	}
}

static int wake_take(int wake_fd, bool block)
{
	struct pollfd p = {.fd = wake_fd, .events = POLLIN};
	int ret = poll(&p, 1, block ? -1 : 0);
	uint64_t count;

	if (ret < 0)
		return errno == EINTR ? 0 : -errno;
	if (ret && read(wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN && errno != EINTR)
		return -errno;
	return 0;
}

static int qcow2_wait(struct block_queue *queue, int wake_fd, bool block)
{
	struct qcow2_queue *q = (struct qcow2_queue *)queue;
	unsigned now = q->count;
	int ret = wake_take(wake_fd, block && now == 0);

	if (now > 1)
		read_ahead(q);
	/* What done submits waits for the next turn. */
	while (now--) {
		struct block_request *request = q->pending[q->first];

		q->first = (q->first + 1) % q->depth;
		q->count--;
		block_complete(queue, request, request_run(queue->block, request));
	}
	return ret;
}

const struct block_format qcow2_format = {
	.name = "qcow2",
	.open = qcow2_open,
	.close = qcow2_close,
	.queue_create = qcow2_queue_create,
	.queue_destroy = qcow2_queue_destroy,
	.submit = qcow2_submit,
	.wait = qcow2_wait,
	.read = qcow2_read,
	.map = qcow2_map,
};
