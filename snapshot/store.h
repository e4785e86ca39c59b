/* SPDX-License-Identifier: MIT */
/*
 * The store: a directory of layers, blobs, volumes and roots that is correct without a database or
 * a daemon. Any number of processes and threads may work on it at once.
 *
 *	layers/ID.data, ID.map	layers (layer.h)
 *	blobs/ID		state of devices, and the like
 *	volumes/NAME.json	volumes (volume.h), and NAME.lock, held by who has it open
 *	roots/ID.json		snapshots (root.h)
 *	leases/ID		ids in the making, a line each; locked while their maker lives
 *	drills/NAME		stores of drills (vmm/cli/drill.h), nothing to this one
 *	lock			held, for milliseconds, by who adds or removes references
 *
 * What no root, volume or lease names is garbage and goes with the next sweep.
 */
#ifndef SNAPSHOT_STORE_H
#define SNAPSHOT_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "snapshot/io.h"
#include "vmm/base/error.h"

#define STORE_ID_BYTES    16u
#define STORE_ID_TEXT     33u /* hexadecimal, with its NUL */
#define STORE_BLOCK       4096u
#define STORE_BLOCKS_MAX  (1ull << 34) /* of an address space: 64 TiB */
#define STORE_LAYERS_MAX  254u
#define STORE_DIGEST      32u /* SHA-256 */
#define STORE_DIGEST_TEXT 65u /* hexadecimal, with its NUL */
#define STORE_BLOB_MAX    (256u << 20)

struct store_id {
	uint8_t bytes[STORE_ID_BYTES];
};

bool store_id_equal(const struct store_id *a, const struct store_id *b);
bool store_id_is_zero(const struct store_id *id);
void store_id_text(const struct store_id *id, char out[STORE_ID_TEXT]);
/* Exactly 32 lower case digits. -EINVAL. */
int store_id_parse(const char *text, struct store_id *out);

void store_digest_text(const uint8_t digest[STORE_DIGEST], char out[STORE_DIGEST_TEXT]);
/* Exactly 64 lower case digits. -EINVAL. */
int store_digest_parse(const char *text, uint8_t out[STORE_DIGEST]);

struct store;

/* Takes `io` over, also where it fails. */
int store_open(struct store_io *io, struct store **out, struct error *err);
/* All that was opened in it must be closed. */
void store_close(struct store *store);
struct store_io *store_io(const struct store *store);
int store_id_make(struct store *store, struct store_id *out, struct error *err);

/*
 * A lease keeps what is being made from the sweep, until something names it. It dies with its
 * process. One thread at a time.
 */
struct store_lease;
int store_lease_open(struct store *store, struct store_lease **out, struct error *err);
/* Before the file is made. */
int store_lease_add(struct store_lease *lease, const struct store_id *id, struct error *err);
/* NULL is allowed. */
void store_lease_close(struct store_lease *lease);

/* Blobs: opaque bytes, whole in memory. */
struct store_blob {
	struct store_id id;
	uint64_t size;
	uint8_t digest[STORE_DIGEST]; /* SHA-256 of its bytes */
};
/* Durable on return. */
int blob_put(struct store *store, struct store_lease *lease, const void *bytes, size_t size,
	     struct store_blob *out, struct error *err);
/* *bytes is the caller's. -EBADMSG where size or digest differ. */
int blob_get(struct store *store, const struct store_blob *blob, void **bytes, struct error *err);

/*
 * Remove what nothing names. Roots or volumes that cannot be read fail it before it removes
 * anything: they may name anything. May be interrupted at any point, and repeated.
 */
struct store_swept {
	uint64_t files;
	uint64_t bytes; /* stored */
};
int store_sweep(struct store *store, struct store_swept *out, struct error *err);

/*
 * Is all there that roots and volumes name, and sane? With `contents`, layers' and blobs' digests
 * are computed anew. Calls `report` with each problem; NULL is allowed. The number of problems, or
 * -errno.
 */
int store_check(struct store *store, bool contents,
		void (*report)(void *arg, const struct error *problem), void *arg,
		struct error *err);

#endif
