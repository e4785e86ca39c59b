/* SPDX-License-Identifier: MIT */
/*
 * Packed clusters of qcow2: a raw deflate stream, or zstd frames, of exactly one cluster. A few of
 * them are kept unpacked, since who reads in small steps comes back to the same one.
 */
#include <errno.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "block/qcow2_impl.h"

#define UNPACKED_BYTES (4u << 20) /* of all, unless two clusters are more */

int qcow2_unpacked_init(struct qcow2 *q)
{
	q->unpacked_count = UNPACKED_BYTES >> q->cluster_bits;
	if (q->unpacked_count > QCOW2_UNPACKED_MAX)
		q->unpacked_count = QCOW2_UNPACKED_MAX;
	for (unsigned i = 0; i < q->unpacked_count; i++) {
		int ret = pthread_mutex_init(&q->unpacked[i].lock, NULL);

		if (ret) {
			q->unpacked_count = i;
			return -ret;
		}
	}
	return 0;
}

static void context_free(const struct qcow2 *q, struct qcow2_unpacked *u)
{
	if (!u->context)
		return;
	if (q->compression == QCOW2_ZSTD) {
		ZSTD_freeDCtx(u->context);
		return;
	}
	inflateEnd(u->context);
	free(u->context);
}

void qcow2_unpacked_free(struct qcow2 *q)
{
	for (unsigned i = 0; i < q->unpacked_count; i++) {
		struct qcow2_unpacked *u = &q->unpacked[i];

		context_free(q, u);
		free(u->bytes);
		pthread_mutex_destroy(&u->lock);
	}
}

static int context_make(const struct qcow2 *q, struct qcow2_unpacked *u)
{
	z_stream *z;

	if (q->compression == QCOW2_ZSTD) {
		u->context = ZSTD_createDCtx();
		return u->context ? 0 : -ENOMEM;
	}
	z = calloc(1, sizeof(*z));
	if (!z)
		return -ENOMEM;
	/* Raw, and of any window. */
	if (inflateInit2(z, -MAX_WBITS) != Z_OK) {
		free(z);
		return -ENOMEM;
	}
	u->context = z;
	return 0;
}

/* The cluster must come out whole; what the stream has behind it, as padding, does not matter. */
static bool inflate_cluster(const struct qcow2 *q, struct qcow2_unpacked *u, uint8_t *packed,
			    size_t size)
{
	z_stream *z = u->context;
	int ret;

	if (inflateReset(z) != Z_OK)
		return false;
	z->next_in = packed;
	z->avail_in = (uInt)size;
	z->next_out = u->bytes;
	z->avail_out = q->cluster_size;
	ret = inflate(z, Z_FINISH);
	return (ret == Z_STREAM_END || ret == Z_BUF_ERROR || ret == Z_OK) && z->avail_out == 0;
}

/* In one go a frame, so that what a frame says of its window is not allocated. */
static bool zstd_cluster(const struct qcow2 *q, struct qcow2_unpacked *u, const uint8_t *packed,
			 size_t size)
{
	size_t done = 0;

	while (done < q->cluster_size) {
		size_t frame = ZSTD_findFrameCompressedSize(packed, size), made;

		if (ZSTD_isError(frame) || frame == 0 || frame > size)
			return false;
		made = ZSTD_decompressDCtx(u->context, u->bytes + done, q->cluster_size - done,
					   packed, frame);
		if (ZSTD_isError(made))
			return false;
		done += made;
		packed += frame;
		size -= frame;
	}
	return true;
}

static int unpack(const struct qcow2_extent *e, struct qcow2_unpacked *u)
{
	struct qcow2 *q = e->owner;
	uint8_t *packed;
	bool whole;
	int ret = 0;

	if (u->host == e->host)
		return 0;
	u->host = 0;
	if (!u->bytes)
		u->bytes = malloc(3ull << q->cluster_bits);
	if (!u->bytes)
		return -ENOMEM;
	if (!u->context)
		ret = context_make(q, u);
	packed = u->bytes + q->cluster_size;
	if (ret == 0)
		ret = file_read(q->fd, packed, e->packed, e->host);
	if (ret)
		return ret;
	whole = q->compression == QCOW2_ZSTD ? zstd_cluster(q, u, packed, e->packed)
					     : inflate_cluster(q, u, packed, e->packed);
	if (!whole)
		return qcow2_corrupt(q, "a packed cluster does not unpack", e->host);
	u->host = e->host;
	return 0;
}

int qcow2_stream_read(const struct qcow2_extent *extent, uint64_t offset, struct file_vector *to)
{
	struct qcow2 *q = extent->owner;
	struct qcow2_unpacked *u = &q->unpacked[(offset >> q->cluster_bits) % q->unpacked_count];
	int ret;

	pthread_mutex_lock(&u->lock);
	ret = unpack(extent, u);
	if (ret == 0)
		file_vector_copy(to, u->bytes + (offset & (q->cluster_size - 1)), extent->length);
	pthread_mutex_unlock(&u->lock);
	return ret;
}
