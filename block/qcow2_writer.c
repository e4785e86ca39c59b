/* SPDX-License-Identifier: MIT */
/*
 * qcow2 images for export. Clusters go to the file as they come, each span's L2 table behind them;
 * at the end the L1 table, the refcounts and, last of all, the header. Packed streams lie one
 * behind the other, as in QEMU: a cluster of the file that has several counts each of them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "block/export_impl.h"
#include "block/file.h"
#include "block/qcow2_format.h"
#include "vmm/base/checked.h"

#define CLUSTER_BITS  16u
#define CLUSTER       (1u << CLUSTER_BITS)
#define SPAN_BITS     (CLUSTER_BITS + CLUSTER_BITS - 3) /* of what an L2 table maps */
#define COUNTS        (CLUSTER / 2)                     /* 16-bit refcounts in a block of them */
#define TABLE_ENTRIES (CLUSTER / 8)
#define WINDOW_BITS   12 /* what QEMU unpacks */
#define MEMORY_LEVEL  9
#define ZSTD_LEVEL    3
#define REFCOUNT_16   4 /* the order: 2^4 bits */

struct qcow2_writer {
	struct output *file;
	enum export_compression compression;
	uint64_t size, at;  /* in the image; `at` is on a cluster's border */
	uint32_t filled;    /* bytes of `cluster` that are there, the ones behind `at` */
	uint64_t end;       /* of the file, a cluster's border */
	uint64_t packed_at; /* where the next stream may go; on a border: nowhere */
	bool l2_used;
	uint64_t l1_entries;
	uint8_t *l1;
	uint16_t *counts; /* of each cluster of the file */
	uint64_t counts_room;
	z_stream deflate;
	bool deflating;
	ZSTD_CCtx *zstd;
	uint8_t cluster[CLUSTER], l2[CLUSTER], packed[CLUSTER];
};

static void qcow2_end(void *state)
{
	struct qcow2_writer *w = state;

	if (w->deflating)
		deflateEnd(&w->deflate);
	ZSTD_freeCCtx(w->zstd);
	free(w->counts);
	free(w->l1);
	free(w);
}

static int compression_begin(struct qcow2_writer *w)
{
	if (w->compression == EXPORT_ZSTD) {
		w->zstd = ZSTD_createCCtx();
		return w->zstd ? 0 : -ENOMEM;
	}
	if (w->compression == EXPORT_DEFLATE) {
		if (deflateInit2(&w->deflate, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -WINDOW_BITS,
				 MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
			return -ENOMEM;
		w->deflating = true;
	}
	return 0;
}

static int qcow2_begin(struct output *o, const struct export_options *options, uint64_t size,
		       void **state)
{
	struct qcow2_writer *w;
	int ret = 0;

	if (size > (uint64_t)QCOW2_L1_BYTES_MAX / 8 << SPAN_BITS)
		return -EFBIG;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->file = o;
	w->compression = options->compression;
	w->size = size;
	w->end = CLUSTER; /* the header's */
	w->l1_entries = align_up(size, 1ull << SPAN_BITS) >> SPAN_BITS;
	w->l1 = calloc(w->l1_entries, 8);
	if (!w->l1)
		ret = -ENOMEM;
	if (ret == 0)
		ret = compression_begin(w);
	if (ret) {
		qcow2_end(w);
		return ret;
	}
	*state = w;
	return 0;
}

/* The file. */

static int count_one(struct qcow2_writer *w, uint64_t offset)
{
	uint64_t index = offset >> CLUSTER_BITS, room = w->counts_room;

	if (index >= room) {
		uint16_t *more;

		while (room <= index)
			room += COUNTS;
		more = realloc(w->counts, room * sizeof(*more));
		if (!more)
			return -ENOMEM;
		memset(more + w->counts_room, 0, (room - w->counts_room) * sizeof(*more));
		w->counts = more;
		w->counts_room = room;
	}
	w->counts[index]++;
	return 0;
}

/* `clusters` of the file, one behind the other, each counted once. */
static int allocate(struct qcow2_writer *w, uint64_t clusters, uint64_t *offset)
{
	int ret = 0;

	*offset = w->end;
	for (uint64_t i = 0; i < clusters && ret == 0; i++) {
		ret = count_one(w, w->end);
		w->end += CLUSTER;
	}
	return ret;
}

/* Tables. */

static void l2_set(struct qcow2_writer *w, uint64_t entry)
{
	uint64_t index = (w->at & ((1ull << SPAN_BITS) - 1)) >> CLUSTER_BITS;

	be64_put(w->l2 + index * 8, entry);
	w->l2_used = true;
}

static int l2_flush(struct qcow2_writer *w)
{
	uint64_t offset;
	int ret;

	if (!w->l2_used)
		return 0;
	ret = allocate(w, 1, &offset);
	if (ret == 0)
		ret = output_write(w->file, w->l2, CLUSTER, offset);
	if (ret)
		return ret;
	be64_put(w->l1 + (w->at >> SPAN_BITS) * 8, offset | QCOW2_COPIED);
	memset(w->l2, 0, CLUSTER);
	w->l2_used = false;
	return 0;
}

/* Past what was written, or is zeroes: a whole number of clusters. */
static int advance(struct qcow2_writer *w, uint64_t bytes)
{
	int ret = 0;

	if (w->at >> SPAN_BITS != (w->at + bytes) >> SPAN_BITS)
		ret = l2_flush(w);
	w->at += bytes;
	return ret;
}

/* Clusters. */

/* Bytes in w->packed; 0: it does not get smaller. */
static size_t pack(struct qcow2_writer *w, const uint8_t *bytes)
{
	size_t n;

	if (w->compression == EXPORT_ZSTD) {
		n = ZSTD_compressCCtx(w->zstd, w->packed, CLUSTER - 1, bytes, CLUSTER, ZSTD_LEVEL);
		return ZSTD_isError(n) ? 0 : n;
	}
	if (w->compression != EXPORT_DEFLATE || deflateReset(&w->deflate) != Z_OK)
		return 0;
	w->deflate.next_in = (Bytef *)(uintptr_t)bytes;
	w->deflate.avail_in = CLUSTER;
	w->deflate.next_out = w->packed;
	w->deflate.avail_out = CLUSTER - 1;
	if (deflate(&w->deflate, Z_FINISH) != Z_STREAM_END)
		return 0;
	return CLUSTER - 1 - w->deflate.avail_out;
}

/* Behind the last stream, if the file has room there; it may go on in the file's next cluster. */
static int packed_write(struct qcow2_writer *w, size_t size)
{
	uint64_t border = align_up(w->packed_at, CLUSTER), sectors, at;
	int ret;

	if (w->packed_at + size > border && border != w->end)
		w->packed_at = w->end;
	at = w->packed_at;
	w->packed_at = at + size;
	if (align_up(w->packed_at, CLUSTER) > w->end)
		w->end = align_up(w->packed_at, CLUSTER);
	ret = count_one(w, at);
	if (ret == 0 && at >> CLUSTER_BITS != (w->packed_at - 1) >> CLUSTER_BITS)
		ret = count_one(w, w->packed_at - 1);
	if (ret == 0)
		ret = output_write(w->file, w->packed, size, at);
	sectors = (w->packed_at - 1) / 512 - at / 512;
	l2_set(w, QCOW2_PACKED | sectors << qcow2_packed_shift(CLUSTER_BITS) | at);
	return ret;
}

static int cluster_write(struct qcow2_writer *w, const uint8_t *bytes)
{
	uint64_t offset;
	size_t packed;
	int ret;

	if (file_is_zero(bytes, CLUSTER))
		return advance(w, CLUSTER);
	packed = pack(w, bytes);
	if (packed) {
		ret = packed_write(w, packed);
	} else {
		ret = allocate(w, 1, &offset);
		if (ret == 0)
			ret = output_write(w->file, bytes, CLUSTER, offset);
		l2_set(w, offset | QCOW2_COPIED);
	}
	return ret ? ret : advance(w, CLUSTER);
}

/* Bytes, or zeroes where `bytes` is NULL, into the cluster that is being filled. */
static int fill(struct qcow2_writer *w, const uint8_t *bytes, uint32_t length)
{
	if (bytes)
		memcpy(w->cluster + w->filled, bytes, length);
	else
		memset(w->cluster + w->filled, 0, length);
	w->filled += length;
	if (w->filled < CLUSTER)
		return 0;
	w->filled = 0;
	return cluster_write(w, w->cluster);
}

static uint32_t room(const struct qcow2_writer *w, uint64_t length)
{
	return length < CLUSTER - w->filled ? (uint32_t)length : CLUSTER - w->filled;
}

static int qcow2_data(void *state, const uint8_t *bytes, uint64_t length)
{
	struct qcow2_writer *w = state;
	int ret = 0;

	while (length && ret == 0) {
		uint32_t n = room(w, length);

		ret = n == CLUSTER ? cluster_write(w, bytes) : fill(w, bytes, n);
		bytes += n;
		length -= n;
	}
	return ret;
}

static int qcow2_zeroes(void *state, uint64_t length)
{
	struct qcow2_writer *w = state;
	uint64_t whole;
	int ret = 0;

	if (w->filled) {
		uint32_t n = room(w, length);

		ret = fill(w, NULL, n);
		length -= n;
	}
	whole = length & ~(uint64_t)(CLUSTER - 1);
	if (ret == 0 && whole)
		ret = advance(w, whole);
	if (ret == 0 && length > whole)
		ret = fill(w, NULL, (uint32_t)(length - whole));
	return ret;
}

/* The end. */

static int refcounts_write(struct qcow2_writer *w, uint64_t *table_at, uint64_t *table_clusters)
{
	uint64_t blocks = 0, clusters = 1, used = w->end >> CLUSTER_BITS, table, block;
	uint8_t *bytes = w->cluster;
	int ret;

	/* Table and blocks are counted themselves. */
	while (blocks * COUNTS < used + blocks + clusters) {
		blocks++;
		clusters = (blocks + TABLE_ENTRIES - 1) / TABLE_ENTRIES;
	}
	ret = allocate(w, clusters, &table);
	if (ret == 0)
		ret = allocate(w, blocks, &block);
	*table_at = table;
	*table_clusters = clusters;
	for (uint64_t i = 0; i < clusters && ret == 0; i++) {
		memset(bytes, 0, CLUSTER);
		for (uint64_t n = 0; n < TABLE_ENTRIES && i * TABLE_ENTRIES + n < blocks; n++)
			be64_put(bytes + n * 8, block + (i * TABLE_ENTRIES + n) * CLUSTER);
		ret = output_write(w->file, bytes, CLUSTER, table + i * CLUSTER);
	}
	for (uint64_t i = 0; i < blocks && ret == 0; i++) {
		for (uint64_t n = 0; n < COUNTS; n++) {
			uint64_t index = i * COUNTS + n;

			be16_put(bytes + n * 2, index < w->counts_room ? w->counts[index] : 0);
		}
		ret = output_write(w->file, bytes, CLUSTER, block + i * CLUSTER);
	}
	return ret;
}

static int header_write(struct qcow2_writer *w, uint64_t l1, uint64_t refcounts, uint64_t clusters)
{
	uint8_t h[QCOW2_HEADER_FULL] = {0};

	be32_put(h + QCOW2_AT_MAGIC, QCOW2_MAGIC);
	be32_put(h + QCOW2_AT_VERSION, 3);
	be32_put(h + QCOW2_AT_CLUSTER_BITS, CLUSTER_BITS);
	be64_put(h + QCOW2_AT_SIZE, w->size);
	be32_put(h + QCOW2_AT_L1_SIZE, (uint32_t)w->l1_entries);
	be64_put(h + QCOW2_AT_L1_OFFSET, l1);
	be64_put(h + QCOW2_AT_REFCOUNT_OFFSET, refcounts);
	be32_put(h + QCOW2_AT_REFCOUNT_CLUSTERS, (uint32_t)clusters);
	be32_put(h + QCOW2_AT_REFCOUNT_ORDER, REFCOUNT_16);
	be32_put(h + QCOW2_AT_LENGTH, QCOW2_HEADER_FULL);
	if (w->compression == EXPORT_ZSTD) {
		be64_put(h + QCOW2_AT_INCOMPATIBLE, QCOW2_COMPRESSION);
		h[QCOW2_AT_COMPRESSION] = QCOW2_ZSTD;
	}
	return output_write(w->file, h, sizeof(h), 0);
}

static int qcow2_finish(void *state)
{
	struct qcow2_writer *w = state;
	uint64_t l1, refcounts, clusters;
	int ret = count_one(w, 0);

	if (ret == 0 && w->filled)
		ret = fill(w, NULL, CLUSTER - w->filled);
	if (ret == 0)
		ret = l2_flush(w);
	if (ret == 0)
		ret = allocate(w, align_up(w->l1_entries * 8, CLUSTER) >> CLUSTER_BITS, &l1);
	if (ret == 0)
		ret = output_write(w->file, w->l1, w->l1_entries * 8, l1);
	if (ret == 0)
		ret = refcounts_write(w, &refcounts, &clusters);
	if (ret == 0)
		ret = header_write(w, l1, refcounts, clusters);
	return ret;
}

const struct export_format qcow2_writer = {
	.name = "qcow2",
	.begin = qcow2_begin,
	.data = qcow2_data,
	.zeroes = qcow2_zeroes,
	.finish = qcow2_finish,
	.end = qcow2_end,
};
