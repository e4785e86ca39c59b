/* SPDX-License-Identifier: MIT */
/* A backup stream's records, written and read. */
#ifndef SNAPSHOT_BACKUP_IMPL_H
#define SNAPSHOT_BACKUP_IMPL_H

#include <nettle/sha2.h>

#include "snapshot/backup.h"

#define BACKUP_BLOCKS     256u /* of a record at most */
#define BACKUP_RAW_MAX    (BACKUP_BLOCKS * STORE_BLOCK)
#define BACKUP_HEAD_MAX   (4 + 8 * BACKUP_BLOCKS)
#define BACKUP_LAYERS_MAX ((ROOT_VOLUMES_MAX + 1) * STORE_LAYERS_MAX) /* that a root can name */

enum backup_kind {
	BACKUP_ROOT = 1,
	BACKUP_BASE,
	BACKUP_LAYER,
	BACKUP_MAP,
	BACKUP_DATA,
	BACKUP_BLOB,
	BACKUP_MANIFEST,
	BACKUP_END,
};

/* What records begin with. */
enum {
	BACKUP_ROOT_HEAD = STORE_ID_BYTES + 8,
	BACKUP_BASE_HEAD = STORE_ID_BYTES + STORE_DIGEST,
	BACKUP_LAYER_HEAD = STORE_ID_BYTES + STORE_DIGEST + 8,
	BACKUP_MAP_HEAD = 8,
};

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

struct backup_writer {
	const struct backup_pipe *to;
	struct sha256_ctx sum; /* of all so far */
	struct ZSTD_CCtx_s *packer;
	uint8_t *record;
	uint64_t bytes;
};

/* Writes what a stream begins with. To be ended also where it fails. */
int backup_writer_begin(struct backup_writer *w, const struct backup_pipe *to, struct error *err);
void backup_writer_end(struct backup_writer *w);
/* A record: a head as it is, and behind it, unless it is empty, what is packed. */
int backup_put(struct backup_writer *w, enum backup_kind kind, const void *head, size_t head_size,
	       const void *raw, size_t raw_size, struct error *err);
/* The last one. */
int backup_put_end(struct backup_writer *w, struct error *err);

struct backup_reader {
	const struct backup_pipe *from;
	struct sha256_ctx sum;
	struct ZSTD_DCtx_s *unpacker;
	enum backup_kind kind; /* of the record that is here */
	uint8_t *record;
	size_t size, at; /* of what is behind its kind and size */
	uint64_t bytes;
};

/* Reads what a stream begins with, and the first record. To be ended also where it fails. */
int backup_reader_begin(struct backup_reader *r, const struct backup_pipe *from, struct error *err);
void backup_reader_end(struct backup_reader *r);
/* Of the last one: it has the right digest. */
int backup_next(struct backup_reader *r, struct error *err);
/* The next bytes of the record; NULL, and words, where it has not as many. */
const uint8_t *backup_head(struct backup_reader *r, size_t size, struct error *err);
/* The rest of the record, which is a name or, if `empty`, nothing. */
int backup_name(struct backup_reader *r, bool empty, char out[TEXT_NAME_MAX + 1],
		struct error *err);
/* The rest of the record, unpacked: exactly `size` bytes, or with `some` at most and at least 1;
 * *size is what it is. */
int backup_unpack(struct backup_reader *r, void *out, size_t *size, bool some, struct error *err);

/* -EBADMSG in words. */
int backup_damaged(struct error *err, const char *what);

#endif
