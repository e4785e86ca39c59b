/* SPDX-License-Identifier: MIT */
/*
 * The header of a qcow2 image and its extensions. Each field is checked here, once, against the
 * format and the size of the file; snapshots, bitmaps and refcounts are not read at all.
 */
#include <errno.h>
#include <string.h>

#include "block/qcow2_impl.h"
#include "vmm/base/checked.h"

#define EXTENSIONS_MAX 64u
#define KNOWN_FEATURES                                                                             \
	(QCOW2_DIRTY | QCOW2_CORRUPT | QCOW2_DATA_FILE | QCOW2_COMPRESSION | QCOW2_EXTENDED_L2)

struct header {
	uint8_t bytes[QCOW2_HEADER_FULL];
	uint32_t length;
	uint64_t incompatible;
};

static uint32_t field32(const struct header *h, unsigned at)
{
	return be32_get(h->bytes + at);
}

static uint64_t field64(const struct header *h, unsigned at)
{
	return be64_get(h->bytes + at);
}

static int header_load(const struct qcow2 *q, struct header *h, const struct block_options *options,
		       struct error *err)
{
	size_t there = q->file_size < sizeof(h->bytes) ? q->file_size : sizeof(h->bytes);
	int ret = there ? file_read(q->fd, h->bytes, there, 0) : 0;

	if (ret)
		return error_set(err, ret, NULL, "disk '%s': header: %s", options->path,
				 error_name(ret));
	if (there < QCOW2_HEADER_V2 || field32(h, QCOW2_AT_MAGIC) != QCOW2_MAGIC)
		return error_set(err, -EINVAL, "give the format that it has, as format=raw",
				 "disk '%s': it is no qcow2 image", options->path);
	return 0;
}

/* What is not as the format wants it; NULL: nothing. */
static const char *fault_of_lengths(struct header *h)
{
	uint32_t version = field32(h, QCOW2_AT_VERSION);
	uint32_t cluster_bits = field32(h, QCOW2_AT_CLUSTER_BITS);

	if (version != 2 && version != 3)
		return "its version is neither 2 nor 3";
	if (cluster_bits < QCOW2_CLUSTER_BITS_MIN || cluster_bits > QCOW2_CLUSTER_BITS_MAX)
		return "its cluster size";
	h->length = version == 2 ? QCOW2_HEADER_V2 : field32(h, QCOW2_AT_LENGTH);
	if (version == 3 &&
	    (h->length < QCOW2_HEADER_V3 || h->length % 8 || h->length > 1u << cluster_bits))
		return "its header's length";
	h->incompatible = version == 2 ? 0 : field64(h, QCOW2_AT_INCOMPATIBLE);
	if (version == 3 && field32(h, QCOW2_AT_REFCOUNT_ORDER) > 6)
		return "its refcounts' width";
	return NULL;
}

static int features_check(const struct header *h, const struct block_options *options,
			  struct error *err)
{
	uint64_t unknown = h->incompatible & ~KNOWN_FEATURES;

	if (unknown)
		return error_set(err, -EOPNOTSUPP, "convert it: qemu-img convert -O qcow2 OLD NEW",
				 "disk '%s': it has features that lodge does not know (0x%llx)",
				 options->path, (unsigned long long)unknown);
	if (h->incompatible & QCOW2_CORRUPT)
		return error_set(err, -EINVAL, "repair it: qemu-img check -r all FILE",
				 "disk '%s': it is marked as corrupt", options->path);
	if (field32(h, QCOW2_AT_CRYPT))
		return error_set(err, -EOPNOTSUPP, "decrypt it with qemu-img convert",
				 "disk '%s': it is encrypted", options->path);
	return 0;
}

/* Of the compression type and of what extended L2 entries ask for. */
static const char *fault_of_features(struct qcow2 *q, const struct header *h)
{
	uint8_t type = h->length > QCOW2_AT_COMPRESSION ? h->bytes[QCOW2_AT_COMPRESSION] : 0;

	q->extended = h->incompatible & QCOW2_EXTENDED_L2;
	q->external = h->incompatible & QCOW2_DATA_FILE;
	if (type != QCOW2_DEFLATE && type != QCOW2_ZSTD)
		return "its compression type is unknown";
	if ((type != QCOW2_DEFLATE) != !!(h->incompatible & QCOW2_COMPRESSION))
		return "its compression type and features disagree";
	q->compression = type;
	q->version = field32(h, QCOW2_AT_VERSION);
	q->cluster_bits = field32(h, QCOW2_AT_CLUSTER_BITS);
	q->cluster_size = 1u << q->cluster_bits;
	q->entry_size = q->extended ? 16 : 8;
	q->piece_bits = q->cluster_bits - (q->extended ? 5 : 0);
	q->span_bits = q->cluster_bits + q->cluster_bits - (q->extended ? 4 : 3);
	q->slice_size = q->cluster_size < QCOW2_SLICE_MAX ? q->cluster_size : QCOW2_SLICE_MAX;
	if (q->piece_bits < QCOW2_CLUSTER_BITS_MIN)
		return "its clusters are too small for extended L2 entries";
	return NULL;
}

static bool table_within(const struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
	return offset && offset % q->cluster_size == 0 &&
	       range_within(offset, bytes, 0, q->file_size);
}

static const char *fault_of_tables(struct qcow2 *q, const struct header *h)
{
	uint64_t size = field64(h, QCOW2_AT_SIZE), l1_size = field32(h, QCOW2_AT_L1_SIZE);
	uint64_t refcounts = (uint64_t)field32(h, QCOW2_AT_REFCOUNT_CLUSTERS) << q->cluster_bits;

	if (size > INT64_MAX)
		return "its size";
	/* As QEMU does it: what is less than a sector is not there. */
	q->block.info.size = size - size % BLOCK_SECTOR;
	q->l1_offset = field64(h, QCOW2_AT_L1_OFFSET);
	if (l1_size > QCOW2_L1_BYTES_MAX / 8 ||
	    (l1_size && !table_within(q, q->l1_offset, l1_size * 8)))
		return "its L1 table is not in the file";
	if (l1_size < (size >> q->span_bits) + !!(size & ((1ull << q->span_bits) - 1)))
		return "its L1 table is too small for its size";
	if (refcounts == 0 || refcounts > QCOW2_REFCOUNT_MAX ||
	    !table_within(q, field64(h, QCOW2_AT_REFCOUNT_OFFSET), refcounts))
		return "its refcount table is not in the file";
	return NULL;
}

/* `size` bytes of text at `offset`. */
static const char *text_read(const struct qcow2 *q, uint64_t offset, uint32_t size, char *to,
			     size_t room, int *ret)
{
	if (size >= room || !range_within(offset, size, 0, q->file_size))
		return "the name of another file in it is too long";
	*ret = size ? file_read(q->fd, to, size, offset) : 0;
	to[*ret ? 0 : size] = '\0';
	return strlen(to) == size || *ret ? NULL : "the name of another file in it is no text";
}

static const char *extensions_read(const struct qcow2 *q, const struct header *h, uint64_t end,
				   struct qcow2_names *names, int *ret)
{
	uint64_t at = h->length;

	for (unsigned i = 0; at + 8 <= end && at + 8 <= q->file_size; i++) {
		const char *fault = NULL;
		uint8_t head[8];
		uint32_t type, size;

		*ret = file_read(q->fd, head, sizeof(head), at);
		if (*ret)
			return NULL;
		type = be32_get(head);
		size = be32_get(head + 4);
		at += sizeof(head);
		if (type == QCOW2_EXTENSION_END)
			return NULL;
		if (size > end - at || i == EXTENSIONS_MAX)
			return "its header extensions";
		if (type == QCOW2_EXTENSION_FORMAT)
			fault = text_read(q, at, size, names->backing_format,
					  sizeof(names->backing_format), ret);
		else if (type == QCOW2_EXTENSION_DATA_FILE)
			fault = text_read(q, at, size, names->data_file, sizeof(names->data_file),
					  ret);
		if (fault || *ret)
			return fault;
		at += align_up(size, 8);
	}
	return NULL;
}

static const char *names_read(const struct qcow2 *q, const struct header *h,
			      struct qcow2_names *names, int *ret)
{
	uint64_t offset = field64(h, QCOW2_AT_BACKING_OFFSET);
	uint32_t size = field32(h, QCOW2_AT_BACKING_SIZE);
	const char *fault = NULL;

	*names = (struct qcow2_names){0};
	if (offset && !range_within(offset, size, 0, q->cluster_size))
		return "the name of its backing file is not in the header";
	if (offset)
		fault = text_read(q, offset, size, names->backing, sizeof(names->backing), ret);
	if (fault || *ret)
		return fault;
	return extensions_read(q, h, offset ? offset : q->cluster_size, names, ret);
}

int qcow2_header_read(struct qcow2 *q, const struct block_options *options,
		      struct qcow2_names *names, struct error *err)
{
	struct header h = {0};
	const char *fault;
	int ret = header_load(q, &h, options, err);

	if (ret)
		return ret;
	fault = fault_of_lengths(&h);
	if (!fault) {
		ret = features_check(&h, options, err);
		if (ret)
			return ret;
		fault = fault_of_features(q, &h);
	}
	if (!fault)
		fault = fault_of_tables(q, &h);
	if (!fault)
		fault = names_read(q, &h, names, &ret);
	if (ret)
		return error_set(err, ret, NULL, "disk '%s': header: %s", options->path,
				 error_name(ret));
	if (fault)
		return error_set(err, -EINVAL, "see what qemu-img check says of it",
				 "disk '%s': no sound qcow2 image: %s", options->path, fault);
	if (q->block.info.size == 0 && !options->as_backing)
		return error_set(err, -EINVAL, "give it a size: qemu-img resize FILE 10G",
				 "disk '%s': it is empty", options->path);
	return 0;
}
