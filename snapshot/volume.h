/* SPDX-License-Identifier: MIT */
/*
 * A volume: a name, a size and a list of layers, newest first, whose first one, the head, takes the
 * writes; below all of them possibly a base image, which this folder does not read by itself.
 *
 * The head's map has a working copy in a runtime file, so that kill -9 loses nothing; the durable
 * one gets bits only after the data that they tell of was synced. After a failed sync of its files
 * a volume takes no writes and no flush any more: what the kernel dropped is unknown. Who opens it
 * next sees what the disk has.
 *
 * Threads: look-ups, volume_is_ours, volume_mark, reads, writes and flushes may run in any number
 * of threads. Writes that overlap and are in flight together leave either's bytes, as on any disk;
 * but where one of them is volume_write_partial to a block that is not ours yet, the other must not
 * be in flight for that block.
 */
#ifndef SNAPSHOT_VOLUME_H
#define SNAPSHOT_VOLUME_H

#include "snapshot/stack.h"
#include "snapshot/store.h"
#include "vmm/base/text.h"

#define VOLUME_SECTOR     512u
#define VOLUME_PATH_MAX   1024u
#define VOLUME_FORMAT_MAX 16u

/* A read-only image below all layers; behind its end there are zeroes. */
struct volume_base {
	char path[VOLUME_PATH_MAX];     /* absolute; empty: none */
	char format[VOLUME_FORMAT_MAX]; /* as block_open wants it */
};

/* What a volume's file says. */
struct volume_manifest {
	char name[TEXT_NAME_MAX + 1];
	uint64_t size; /* bytes, a multiple of VOLUME_SECTOR */
	struct volume_base base;
	bool has_parent;
	struct store_id parent; /* the root that it stands on; that may be gone */
	unsigned layer_count;   /* at least 1 */
	struct store_id layers[STORE_LAYERS_MAX];
};

/* Exposed for tests and fuzzers: text to manifest, checked in every field. -EINVAL. */
int volume_manifest_parse(const char *name, const char *text, size_t size,
			  struct volume_manifest *out, struct error *err);

/* -ENOENT. Needs no lock; what it says may change with the next snapshot. */
int volume_find(struct store *store, const char *name, struct volume_manifest *out,
		struct error *err);
/* Calls `visit` with each in the order of names until it returns not 0. */
int volume_for_each(struct store *store,
		    int (*visit)(void *arg, const struct volume_manifest *manifest), void *arg,
		    struct error *err);

/* A new, empty one. `base` may be NULL. -EEXIST. */
int volume_create(struct store *store, const char *name, uint64_t size,
		  const struct volume_base *base, struct error *err);
/* One that shows what volume `index` of a root does, at once. */
struct root;
int volume_clone(struct store *store, const char *name, const struct root *root, unsigned index,
		 struct error *err);
/* Back to what volume `index` of a root shows: a new head; the old one is garbage unless a root has
 * it. -EBUSY while it is open. */
int volume_restore(struct store *store, const char *name, const struct root *root, unsigned index,
		   struct error *err);
/* Larger only. -EBUSY while it is open. */
int volume_resize(struct store *store, const char *name, uint64_t size, struct error *err);
/* Its layers go with the next sweep, unless a root has them. -EBUSY while it is open. */
int volume_remove(struct store *store, const char *name, struct error *err);

struct volume;

/*
 * To write: one at a time, else -EBUSY. Takes up what a killed process left, and seals the heads
 * that it did not get to seal. Read-only: with other readers, not with a writer.
 */
int volume_open(struct store *store, const char *name, bool read_only, struct volume **out,
		struct error *err);
/* What volume `index` of a root shows, read-only; needs no lock. */
int volume_open_root(struct store *store, const struct root *root, unsigned index,
		     struct volume **out, struct error *err);
/* Flushes one that was written to; nothing may be in flight. The failure of that flush is the
 * result; it is closed all the same. NULL is allowed. */
int volume_close(struct volume *volume);
/* As of now; stays until the next switch or close. */
const struct volume_manifest *volume_manifest(const struct volume *volume);

/* How the base is read, for writes of parts of blocks and volume_read; any thread. 0 or -errno. */
void volume_base_reader(struct volume *volume,
			int (*read)(void *arg, uint64_t offset, void *bytes, size_t size),
			void *arg);

/* The fast path: blocks of STORE_BLOCK bytes. The last one of a volume may be longer than it. */

void volume_lookup(const struct volume *volume, uint64_t first, uint64_t max,
		   struct stack_run *out);
/* Are these blocks all data in the head? Then they may be overwritten, whole or in part. */
bool volume_is_ours(const struct volume *volume, uint64_t first, uint64_t count);
/* Where to write. Changes with a switch. */
struct layer *volume_head(const struct volume *volume);
/* Blocks that were written whole are ours from now on; the data is complete, though not synced. */
void volume_mark(struct volume *volume, uint64_t first, uint64_t count);
/* They read as zeroes from now on. */
void volume_mark_zero(struct volume *volume, uint64_t first, uint64_t count);
/* -EIO after a failed sync, -EROFS. Before each write. */
int volume_writable(const struct volume *volume);

/*
 * A flush: begin, then fdatasync the head's data (any descriptor), then finish with the result,
 * which is the flush's own result if that is a failure. begin notes what is to become durable:
 * all that was marked before it. Where a switch is not durable yet, begin sees to that first and
 * so may take its time; so may finish where blocks are new. After a begin that failed: no finish.
 */
struct volume_flush {
	uint64_t marks;
	unsigned count;
	struct volume_flush_page *pages;
};
int volume_flush_begin(struct volume *volume, struct volume_flush *flush);
int volume_flush_finish(struct volume *volume, struct volume_flush *flush, int sync_result);

/* The slow path: all of it, on this thread. Any range within the volume; bytes. 0 or -errno. */

/* Of any part of one block; the rest of it is copied from below where it is not ours. */
int volume_write_partial(struct volume *volume, uint64_t offset, size_t size, const void *bytes);
int volume_read(struct volume *volume, uint64_t offset, size_t size, void *bytes);
int volume_write(struct volume *volume, uint64_t offset, size_t size, const void *bytes);
/* Zeroes; with `unmap` storage of whole blocks is given back. */
int volume_zero(struct volume *volume, uint64_t offset, uint64_t size, bool unmap);
int volume_flush(struct volume *volume);

/*
 * A snapshot in three steps. prepare makes a new head and the manifest that names it, and syncs
 * both: before the pause. switch, with nothing in flight and none of the calls above running: the
 * old head is a layer from now on; no sync, O(1). finish makes that durable and seals the old head:
 * after the pause, while the guest writes on. Then volume_manifest's layers but the first are the
 * snapshot. abort gives up what was prepared. -EMFILE: STORE_LAYERS_MAX is reached.
 */
int volume_switch_prepare(struct volume *volume, struct error *err);
int volume_switch(struct volume *volume, struct error *err);
int volume_switch_finish(struct volume *volume, struct error *err);
void volume_switch_abort(struct volume *volume);

/* Merge the oldest layers of a volume that is not open, so that at most `depth` are left, head
 * included (at least 2). Roots keep the old ones. */
int volume_compact(struct store *store, const char *name, unsigned depth, struct error *err);

#endif
