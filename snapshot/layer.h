/* SPDX-License-Identifier: MIT */
/*
 * A layer: some of the 4 KiB blocks of an address space (a disk, or a guest's memory), immutable
 * once sealed. ID.data is sparse: a block's offset in it is its offset in the address space. ID.map
 * tells for each block whether the layer has it; its format is in layer_map.c.
 */
#ifndef SNAPSHOT_LAYER_H
#define SNAPSHOT_LAYER_H

#include "snapshot/store.h"

enum layer_state {
	LAYER_ABSENT = 0, /* what is below shows */
	LAYER_DATA = 1,
	LAYER_ZERO = 2, /* zeroes, whatever is below */
};

struct layer_info {
	struct store_id id;
	uint64_t blocks; /* of the address space */
	bool sealed;
	bool digested;        /* sums and digest are there */
	uint64_t data_blocks; /* when sealed */
	uint64_t zero_blocks;
	uint8_t digest[STORE_DIGEST]; /* when digested: SHA-256 over all it says, see layer_sum.c */
};

struct layer;

/*
 * A new, empty one to write to, by one thread. It is garbage unless it is sealed and something that
 * is durable names it before the lease ends.
 */
int layer_create(struct store *store, struct store_lease *lease, uint64_t blocks,
		 struct layer **out, struct error *err);
/* An existing one, to read. -EBADMSG where its map makes no sense. */
int layer_open(struct store *store, const struct store_id *id, struct layer **out,
	       struct error *err);
/* Without sealing a new one is abandoned. NULL is allowed. */
void layer_close(struct layer *layer);
const struct layer_info *layer_info(const struct layer *layer);

/* Blocks to a layer that is not sealed. -ERANGE behind its end, -EROFS once sealed. */
int layer_write(struct layer *layer, uint64_t first, uint64_t count, const void *bytes,
		struct error *err);
int layer_mark_zero(struct layer *layer, uint64_t first, uint64_t count, struct error *err);
/* Data, then map, then the word "sealed" are durable on return. After a failure: abandon it. */
int layer_seal(struct layer *layer, struct error *err);

/*
 * Compute sums and digest of a sealed layer and put them into its map, durably; a layer that has
 * them is left alone. Reads all of it: in the background, at leisure. Two may do so at once.
 */
int layer_digest(struct layer *layer, struct error *err);

/*
 * Scrub: do the blocks from *next on have their sums? At most `blocks` of its data blocks are read;
 * *next tells where to go on, and is the layer's number of blocks at the end. -EBADMSG: the first
 * that does not, in the error's words. -ENODATA: not digested.
 */
int layer_scrub(struct layer *layer, uint64_t *next, uint64_t blocks, struct error *err);
/* Compare all of it with the digest. -EBADMSG, -ENODATA. */
int layer_verify(struct layer *layer, struct error *err);

/* Content of blocks that are data (others: zeroes or undefined). -ERANGE. */
int layer_read(struct layer *layer, uint64_t first, uint64_t count, void *bytes, struct error *err);

/* Calls `visit` with each run of blocks of one state that is not absent, in order, until not 0. */
int layer_for_each_run(struct layer *layer,
		       int (*visit)(void *arg, uint64_t first, uint64_t count,
				    enum layer_state state),
		       void *arg, struct error *err);

/*
 * Calls `visit` with each layer that has a digest, whether anything names it or not, until it
 * returns not 0. With `digest` those that are sealed and have none get theirs. What is damaged is
 * passed over.
 */
int layer_for_each_digested(struct store *store, bool digest,
			    int (*visit)(void *arg, const struct layer_info *info), void *arg,
			    struct error *err);

/* ID.data, the layer's own: to map or to read. -1 where the disk is simulated. */
int layer_descriptor(const struct layer *layer);
/* With O_DIRECT; -1 where that cannot be had. */
int layer_descriptor_direct(const struct layer *layer);

/* Bytes on the disk, data and map. */
int layer_stored(struct layer *layer, uint64_t *out, struct error *err);

#endif
