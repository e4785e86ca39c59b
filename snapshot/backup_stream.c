/* SPDX-License-Identifier: MIT */
/*
 * The format of backup streams, little-endian: "LODGEBAK", version (32 bits, 1), 32 bits of zeroes,
 * and then records: kind and size of the rest (32 bits each), a head, and packed bytes, which are
 * one zstd frame of at most 1 MiB. Kinds in this order:
 *
 *	1 root		id, time in ns (64 bits), name
 *	2 base		of each layer that was left out: id, digest, name of a root that has it, if
 *known 3 layer		of each of the others: id, digest, blocks of its address space (64 bits),
 *and then
 *	4 map		 of each page of its map (layer_map.c) that is not all zeroes, in order:
 *number (64 bits); packed: the page
 *	5 data		 all its data blocks in order, so that a block's offset is its rank in the
 *map: how many (32 bits, at most 256), XXH3-64 of each; packed: the blocks
 *	6 blob		packed: the next MiB of the state of devices
 *	7 manifest	packed: the next MiB of the root's manifest
 *	8 end		SHA-256 of all before it
 *
 * Ids are the sender's: they tie layers to the manifest and say no more. All of it may come from
 * anybody: each size is checked before there is memory for it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "snapshot/backup_impl.h"
#include "vmm/base/bytes.h"

#define MAGIC       "LODGEBAK"
#define VERSION     1u
#define LEVEL       1
#define HEADER      16u
#define RECORD_HEAD 8u
#define BODY_MAX    (BACKUP_HEAD_MAX + ZSTD_COMPRESSBOUND(BACKUP_RAW_MAX))

int backup_damaged(struct error *err, const char *what)
{
	return error_set(err, -EBADMSG, "make it, or fetch it, again", "backup stream: %s", what);
}

int backup_root_check(const struct root *root, struct error *err)
{
	for (unsigned i = 0; i < root->volume_count; i++)
		if (root->volumes[i].base.path[0])
			return error_set(
				err, -EINVAL, "import the image into a volume, and use that",
				"snapshot '%s': its volume '%s' stands on the image '%s', "
				"which is not in the store",
				root->name, root->volumes[i].name, root->volumes[i].base.path);
	return 0;
}

static int no_memory(struct error *err)
{
	return error_set(err, -ENOMEM, NULL, "backup stream: no memory");
}

/* Writing. */

static int bytes_write(struct backup_writer *w, const void *bytes, size_t size, struct error *err)
{
	int ret = w->to->write(w->to->arg, bytes, size);

	if (ret)
		return error_set(err, ret, NULL, "backup stream: write: %s", error_name(ret));
	w->bytes += size;
	sha256_update(&w->sum, size, bytes);
	return 0;
}

int backup_writer_begin(struct backup_writer *w, const struct backup_pipe *to, struct error *err)
{
	uint8_t header[HEADER] = {0};

	*w = (struct backup_writer){.to = to};
	sha256_init(&w->sum);
	w->packer = ZSTD_createCCtx();
	w->record = malloc(RECORD_HEAD + BODY_MAX);
	if (!w->packer || !w->record)
		return no_memory(err);
	memcpy(header, MAGIC, 8);
	le32_put(header + 8, VERSION);
	return bytes_write(w, header, sizeof(header), err);
}

void backup_writer_end(struct backup_writer *w)
{
	ZSTD_freeCCtx(w->packer);
	free(w->record);
}

int backup_put(struct backup_writer *w, enum backup_kind kind, const void *head, size_t head_size,
	       const void *raw, size_t raw_size, struct error *err)
{
	uint8_t *body = w->record + RECORD_HEAD;
	size_t size = head_size;

	if (head_size)
		memcpy(body, head, head_size);
	if (raw_size) {
		size_t packed = ZSTD_compressCCtx(w->packer, body + size, BODY_MAX - size, raw,
						  raw_size, LEVEL);

		if (ZSTD_isError(packed))
			return no_memory(err);
		size += packed;
	}
	le32_put(w->record, kind);
	le32_put(w->record + 4, (uint32_t)size);
	return bytes_write(w, w->record, RECORD_HEAD + size, err);
}

int backup_put_end(struct backup_writer *w, struct error *err)
{
	uint8_t head[RECORD_HEAD], digest[STORE_DIGEST];
	int ret;

	le32_put(head, BACKUP_END);
	le32_put(head + 4, STORE_DIGEST);
	ret = bytes_write(w, head, sizeof(head), err);
	if (ret)
		return ret;
	sha256_digest(&w->sum, sizeof(digest), digest);
	ret = w->to->write(w->to->arg, digest, sizeof(digest));
	w->bytes += sizeof(digest);
	return ret ? error_set(err, ret, NULL, "backup stream: write: %s", error_name(ret)) : 0;
}

/* Reading. */

static int bytes_read(struct backup_reader *r, void *bytes, size_t size, struct error *err)
{
	int ret = r->from->read(r->from->arg, bytes, size);

	r->bytes += size;
	if (ret == -ENODATA)
		return backup_damaged(err, "it is cut off");
	return ret ? error_set(err, ret, NULL, "backup stream: read: %s", error_name(ret)) : 0;
}

int backup_reader_begin(struct backup_reader *r, const struct backup_pipe *from, struct error *err)
{
	uint8_t header[HEADER];
	int ret;

	*r = (struct backup_reader){.from = from};
	sha256_init(&r->sum);
	r->unpacker = ZSTD_createDCtx();
	r->record = malloc(BODY_MAX);
	if (!r->unpacker || !r->record)
		return no_memory(err);
	ret = bytes_read(r, header, sizeof(header), err);
	if (ret)
		return ret;
	if (memcmp(header, MAGIC, 8) != 0)
		return error_set(err, -EBADMSG, "give what lodge snapshot export wrote",
				 "backup stream: it is none");
	if (le32_get(header + 8) != VERSION || le32_get(header + 12) != 0)
		return error_set(err, -EPROTONOSUPPORT, "use a newer lodge",
				 "backup stream: its format is a newer lodge's");
	sha256_update(&r->sum, sizeof(header), header);
	return backup_next(r, err);
}

void backup_reader_end(struct backup_reader *r)
{
	ZSTD_freeDCtx(r->unpacker);
	free(r->record);
}

int backup_next(struct backup_reader *r, struct error *err)
{
	uint8_t head[RECORD_HEAD], digest[STORE_DIGEST];
	int ret = bytes_read(r, head, sizeof(head), err);

	if (ret)
		return ret;
	sha256_update(&r->sum, sizeof(head), head);
	r->kind = (enum backup_kind)le32_get(head);
	r->size = le32_get(head + 4);
	r->at = 0;
	if (r->size > BODY_MAX || (r->kind == BACKUP_END && r->size != STORE_DIGEST))
		return backup_damaged(err, "a record's size makes no sense");
	ret = bytes_read(r, r->record, r->size, err);
	if (ret)
		return ret;
	if (r->kind != BACKUP_END) {
		sha256_update(&r->sum, r->size, r->record);
		return 0;
	}
	sha256_digest(&r->sum, sizeof(digest), digest);
	return memcmp(digest, r->record, sizeof(digest)) == 0
		       ? 0
		       : backup_damaged(err, "its digest is not its content's");
}

const uint8_t *backup_head(struct backup_reader *r, size_t size, struct error *err)
{
	const uint8_t *at = r->record + r->at;

	if (size > r->size - r->at) {
		backup_damaged(err, "a record is too short");
		return NULL;
	}
	r->at += size;
	return at;
}

int backup_name(struct backup_reader *r, bool empty, char out[TEXT_NAME_MAX + 1], struct error *err)
{
	size_t size = r->size - r->at;

	if (size <= TEXT_NAME_MAX) {
		memcpy(out, r->record + r->at, size);
		out[size] = 0;
		if (strlen(out) == size && (text_is_name(out) || (empty && !size)))
			return 0;
	}
	return backup_damaged(err, "a name makes no sense");
}

int backup_unpack(struct backup_reader *r, void *out, size_t *size, bool some, struct error *err)
{
	/* In one go, so that what a frame says of its window is not allocated. */
	size_t n = ZSTD_decompressDCtx(r->unpacker, out, *size, r->record + r->at, r->size - r->at);

	if (ZSTD_isError(n) || n == 0 || (!some && n != *size))
		return backup_damaged(err, "a record does not unpack");
	*size = n;
	return 0;
}
