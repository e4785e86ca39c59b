/* SPDX-License-Identifier: MIT */
/*
 * From an offset in a qcow2 image to what is there. Tables are read a slice at a time into a cache
 * of fixed size, so that what is held in memory depends on no number in the file. A table points to
 * a table or to data, never back: every look-up ends after two steps an image.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2_impl.h"
#include "vmm/base/checked.h"

struct piece {
	enum qcow2_kind kind;
	uint64_t length, host;
	uint32_t packed;
};

int qcow2_corrupt(struct qcow2 *q, const char *what, uint64_t value)
{
	log_limited(&q->limit, LOG_WARN, "disk '%s': %s (0x%llx); see what qemu-img check says",
		    q->block.path ? q->block.path : "", what, (unsigned long long)value);
	return -EIO;
}

/* The place for the slice at `offset`: it is there, or this is the one to give up for it. */
static struct qcow2_slice *slice_place(struct qcow2 *q, uint64_t offset)
{
	uint64_t set = offset / q->slice_size % (QCOW2_SLICES / QCOW2_SLICE_WAYS);
	struct qcow2_slice *way = &q->slice[set * QCOW2_SLICE_WAYS], *oldest = way;

	for (unsigned i = 0; i < QCOW2_SLICE_WAYS; i++) {
		if (way[i].offset == offset)
			return &way[i];
		if (way[i].used < oldest->used)
			oldest = &way[i];
	}
	return oldest;
}

/* The slice that has the byte at `offset` of the file, which is not the first slice. */
static int slice_get(struct qcow2 *q, uint64_t offset, const uint8_t **bytes)
{
	uint64_t start = offset - offset % q->slice_size;
	struct qcow2_slice *s = slice_place(q, start);
	uint64_t there = q->file_size - start;
	int ret;

	s->used = ++q->clock;
	*bytes = s->bytes;
	if (s->offset == start)
		return 0;
	s->offset = 0;
	if (!s->bytes)
		s->bytes = malloc(q->slice_size);
	if (!s->bytes)
		return -ENOMEM;
	*bytes = s->bytes;
	/* An L1 table may end with the file, within a slice. */
	if (there > q->slice_size)
		there = q->slice_size;
	memset(s->bytes + there, 0, q->slice_size - there);
	ret = file_read(q->fd, s->bytes, there, start);
	if (ret == 0)
		s->offset = start;
	return ret;
}

void qcow2_slices_free(struct qcow2 *q)
{
	for (unsigned i = 0; i < QCOW2_SLICES; i++)
		free(q->slice[i].bytes);
}

static int packed_piece(struct qcow2 *q, uint64_t entry, struct piece *p)
{
	unsigned shift = qcow2_packed_shift(q->cluster_bits);
	uint64_t sectors = (entry & (QCOW2_PACKED - 1)) >> shift, left;

	p->kind = QCOW2_STREAM;
	p->host = entry & ((1ull << shift) - 1);
	p->packed = (uint32_t)((sectors + 1) * 512 - p->host % 512);
	if (p->host == 0 || p->host >= q->file_size || q->external)
		return qcow2_corrupt(q, "a packed cluster is not in the file", p->host);
	/* The last sector may be cut short. */
	left = q->file_size - p->host;
	if (p->packed > left)
		p->packed = (uint32_t)left;
	return 0;
}

/* Of an extended entry: one bit says that the subcluster is there, another that it is zeroes. */
static int subcluster_kind(struct qcow2 *q, const uint8_t *entry, unsigned index, bool there,
			   enum qcow2_kind *kind)
{
	uint64_t bitmap = be64_get(entry + 8);
	bool allocated = bitmap >> index & 1, zero = bitmap >> QCOW2_SUBCLUSTERS >> index & 1;

	if (bitmap & bitmap >> QCOW2_SUBCLUSTERS || (!there && (uint32_t)bitmap))
		return qcow2_corrupt(q, "an L2 entry's bitmap makes no sense", bitmap);
	*kind = zero ? QCOW2_ZEROES : allocated ? QCOW2_DATA : QCOW2_ABSENT;
	return 0;
}

/* What the L2 entry says of `offset` and the rest of its cluster or subcluster. */
static int piece_of(struct qcow2 *q, const uint8_t *bytes, uint64_t offset, struct piece *p)
{
	uint64_t entry = be64_get(bytes), host = entry & QCOW2_OFFSET_MASK;
	uint32_t in_cluster = offset & (q->cluster_size - 1);
	uint32_t piece_size = 1u << q->piece_bits;
	bool there = host || (q->external && entry & QCOW2_COPIED);
	int ret;

	if (entry & QCOW2_PACKED) {
		p->length = q->cluster_size - in_cluster;
		return packed_piece(q, entry, p);
	}
	p->length = piece_size - (in_cluster & (piece_size - 1));
	p->host = host + in_cluster;
	p->kind = there ? QCOW2_DATA : QCOW2_ABSENT;
	if (q->extended) {
		ret = subcluster_kind(q, bytes, in_cluster >> q->piece_bits, there, &p->kind);
		if (ret)
			return ret;
	} else if (entry & QCOW2_ZERO_FLAG) {
		if (q->version < 3)
			return qcow2_corrupt(q, "an entry of version 3 in an older image", entry);
		p->kind = QCOW2_ZEROES;
	}
	if (host % q->cluster_size)
		return qcow2_corrupt(q, "a cluster is not aligned", host);
	if (p->kind == QCOW2_DATA && host >= q->data_size)
		return qcow2_corrupt(q, "a cluster is not in the file", host);
	return 0;
}

/* What the L1 table has: an L2 table at *l2, or nothing, for how long. The lock is held. */
static int l1_find(struct qcow2 *q, uint64_t offset, uint64_t length, struct qcow2_extent *e,
		   uint64_t *l2)
{
	uint64_t at = q->l1_offset + (offset >> q->span_bits) * 8, span = 1ull << q->span_bits;
	const uint8_t *bytes;
	uint32_t in = at % q->slice_size;
	int ret = slice_get(q, at, &bytes);

	if (ret)
		return ret;
	*l2 = be64_get(bytes + in) & QCOW2_OFFSET_MASK;
	if (*l2) {
		if (*l2 % q->cluster_size || !range_within(*l2, q->cluster_size, 0, q->file_size))
			return qcow2_corrupt(q, "an L2 table is not in the file", *l2);
		return 0;
	}
	e->kind = QCOW2_ABSENT;
	e->length = span - (offset & (span - 1));
	for (in += 8; e->length < length && in < q->slice_size; in += 8) {
		if (be64_get(bytes + in) & QCOW2_OFFSET_MASK)
			break;
		e->length += span;
	}
	if (e->length > length)
		e->length = length;
	return 0;
}

static bool goes_on(const struct qcow2_extent *e, const struct piece *p)
{
	if (p->kind != e->kind || p->kind == QCOW2_STREAM)
		return false;
	return p->kind != QCOW2_DATA || p->host == e->host + e->length;
}

/* As many entries of one slice of the L2 table as go on in the file. The lock is held. */
static int l2_find(struct qcow2 *q, uint64_t l2, uint64_t offset, uint64_t length,
		   struct qcow2_extent *e)
{
	uint64_t index = (offset & ((1ull << q->span_bits) - 1)) >> q->cluster_bits;
	uint64_t at = l2 + index * q->entry_size;
	const uint8_t *bytes;
	uint32_t in = at % q->slice_size;
	int ret = slice_get(q, at, &bytes);

	e->length = 0;
	while (ret == 0 && e->length < length && in < q->slice_size) {
		struct piece p = {0};

		ret = piece_of(q, bytes + in, offset + e->length, &p);
		if (ret)
			/* What is before it can be read. */
			return e->length ? 0 : ret;
		if (e->length == 0) {
			e->kind = p.kind;
			e->host = p.host;
			e->packed = p.packed;
		} else if (!goes_on(e, &p)) {
			break;
		}
		e->length += p.length;
		if ((offset + e->length) % q->cluster_size == 0)
			in += q->entry_size;
	}
	if (e->length > length)
		e->length = length;
	return ret;
}

/* In this image alone. */
static int image_find(struct qcow2 *q, uint64_t offset, uint64_t length, struct qcow2_extent *e)
{
	uint64_t l2 = 0;
	int ret;

	pthread_mutex_lock(&q->lock);
	ret = l1_find(q, offset, length, e, &l2);
	if (ret == 0 && l2)
		ret = l2_find(q, l2, offset, length, e);
	pthread_mutex_unlock(&q->lock);
	e->owner = q;
	return ret;
}

int qcow2_extent_find(struct qcow2 *q, uint64_t offset, uint64_t length, struct qcow2_extent *out)
{
	for (;;) {
		struct block *backing = q->backing;
		int ret = image_find(q, offset, length, out);

		if (ret || out->kind != QCOW2_ABSENT)
			return ret;
		/* Past the end of a backing file there are zeroes. */
		if (!backing || offset >= backing->info.size) {
			out->kind = QCOW2_ZEROES;
			return 0;
		}
		length = out->length;
		if (length > backing->info.size - offset)
			length = backing->info.size - offset;
		if (backing->format != &qcow2_format) {
			out->kind = QCOW2_BACKING;
			out->length = length;
			out->backing = backing;
			return 0;
		}
		q = qcow2_of(backing);
	}
}
