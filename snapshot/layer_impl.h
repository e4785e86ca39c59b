/* SPDX-License-Identifier: MIT */
/* A layer from the inside: its map's file, and the working copy of one that is written to. */
#ifndef SNAPSHOT_LAYER_IMPL_H
#define SNAPSHOT_LAYER_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "snapshot/layer.h"
#include "snapshot/store_impl.h"

/* The map goes to and from its file in pages of this many bytes: two bits a block. */
#define MAP_PAGE        4096u
#define BLOCKS_PER_BYTE 4u
#define BLOCKS_PER_PAGE ((uint64_t)MAP_PAGE * BLOCKS_PER_BYTE)
#define MAP_BITS        4096u /* where they begin in the file, behind the header */

/*
 * A page of the working copy. `marks` counts changes to it; `durable` is what it was when what the
 * durable map has was copied.
 */
struct layer_page {
	_Atomic(uint8_t *) bits; /* NULL: all absent */
	_Atomic uint64_t marks;
	_Atomic uint64_t durable;
	bool own; /* malloc'ed, not in the runtime file */
};

struct layer {
	struct store *store;
	struct store_io *io;
	struct layer_info info;
	uint64_t session; /* counts who opened it to write; see layer_bits.c */
	uint64_t bits_sum, sums_sum;
	int data, direct;
	bool writable;
	bool abandoned; /* its files go with it: it was made here and is not sealed */
	bool keep_run;  /* what is in the runtime file is for the next process */
	/* The working copy: of layers that are not sealed. */
	struct layer_page *pages;
	int map; /* the file, open while the layer is writable; else -1 */
	_Atomic uint64_t marks, durable;
	pthread_mutex_t mutex; /* of pages that are made, and of writing the map */
	int run_file;          /* -1: none */
	uint8_t *run;          /* the runtime file: a header, then pages */
	size_t run_size;
};

struct volume_flush_page {
	uint64_t index, marks;
	uint8_t bits[MAP_PAGE];
};
struct volume_flush;

static inline uint64_t layer_page_count(const struct layer *layer)
{
	return (layer->info.blocks + BLOCKS_PER_PAGE - 1) / BLOCKS_PER_PAGE;
}

/* Where the sums begin in a map's file, behind the bits. */
static inline uint64_t layer_sums_offset(const struct layer *layer)
{
	return MAP_BITS + layer_page_count(layer) * MAP_PAGE;
}

/* error_set with the layer's id in it. */
int layer_error(const struct layer *layer, struct error *err, int code, const char *what);

/* layer.c */

/* A new one: both files made, in this lease, and their sizes; not synced. With a run file the
 * working copy outlives the process. */
int layer_make(struct store *store, struct store_lease *lease, uint64_t blocks, bool run,
	       struct layer **out, struct error *err);
/* Both files and their names durable: nothing is in it yet. */
int layer_make_durable(struct layer *layer, struct error *err);
/* To write on, with what a killed process left in the runtime file. -EROFS: it is sealed. */
int layer_open_writable(struct store *store, const struct store_id *id, struct layer **out,
			struct error *err);
/* A sync of it failed: what it has is what the disk has, for who opens it next. */
void layer_forget(struct layer *layer);
/* For bytes of part of a block. 0 or -errno. */
int layer_read_bytes(struct layer *layer, uint64_t offset, size_t size, void *bytes);
int layer_write_bytes(struct layer *layer, uint64_t offset, size_t size, const void *bytes);

/* layer_map.c */

int layer_header_read(struct layer *layer, int map, struct error *err);
int layer_header_write(struct layer *layer, int map);

#define LAYER_HEADER 512u
struct layer_header {
	struct layer_info info;
	uint64_t session, bits_sum, sums_sum;
};
/* Untrusted bytes to header; `id` is whose it must be. -EBADMSG, -EPROTONOSUPPORT: newer. */
int layer_header_parse(const void *bytes, const struct store_id *id, struct layer_header *out);

typedef int layer_visit(void *arg, uint64_t first, uint64_t count, enum layer_state state);

/* Puts runs together that lie in several pieces of a map. */
struct run_merger {
	layer_visit *visit;
	void *arg;
	uint64_t first, count;
	enum layer_state state;
	uint64_t data, zero;         /* blocks so far */
	uint64_t data_max, zero_max; /* more are -EBADMSG */
};
/* The map's bytes for blocks from `block` on; only `blocks` exist. -EBADMSG for a bad state. */
int run_merger_add(struct run_merger *m, uint64_t block, const uint8_t *bytes, size_t size,
		   uint64_t blocks);
/* After the last. */
int run_merger_end(struct run_merger *m);

/* A file, or -errno. */
int layer_map_open(struct layer *layer, int flags);

/* Calls `visit` with each page of a map's file that is not all zeroes. */
int layer_map_pages(struct layer *layer, int map,
		    int (*visit)(void *arg, uint64_t index, const uint8_t *bits), void *arg);

/* The sum over a map's bits: of each page that is not all zeroes, in order. */
struct bits_sum {
	void *state;
};
int bits_sum_begin(struct bits_sum *sum);
void bits_sum_add(struct bits_sum *sum, uint64_t index, const uint8_t *bits);
uint64_t bits_sum_end(struct bits_sum *sum);

bool page_is_zero(const uint8_t *bits);

/* layer_sum.c */

/*
 * Where the content of data blocks comes from while they are summed: asked for in order, some at a
 * time. 0 or -errno, which ends it.
 */
typedef int layer_fetch(void *arg, uint64_t first, uint64_t count, void *bytes);
/* Seal one whose bits are there, with its sums; `fetch` also writes its content. -EBADMSG,
 * without words, where that has another digest. */
int layer_fill(struct layer *layer, layer_fetch *fetch, void *arg,
	       const uint8_t digest[STORE_DIGEST], struct error *err);
/* layer_verify of what `fetch` hands over. */
int layer_verify_by(struct layer *layer, layer_fetch *fetch, void *arg, struct error *err);

/* layer_bits.c */

/* A working copy, empty or from the files. `run`: with a runtime file if that can be had. */
int layer_bits_make(struct layer *layer, bool run, struct error *err);
int layer_bits_load(struct layer *layer, struct error *err);
/* The runtime file goes with it if `remove`, else it stays for the next. */
void layer_bits_free(struct layer *layer, bool remove);
/* What a killed process leaves from now on is not to be believed. */
void layer_bits_distrust(struct layer *layer);
/* Did one leave it so? */
bool layer_bits_distrusted(struct layer *layer);
/* 0 or -ENOMEM. Any thread. */
int layer_bits_mark(struct layer *layer, uint64_t first, uint64_t count, enum layer_state state);
/* A page of bits from elsewhere, whose states are checked by who walks them. 0 or -ENOMEM. */
int layer_bits_put(struct layer *layer, uint64_t index, const uint8_t *bits);
/* As volume.h's; finish wants the data synced. *fatal: it was a sync that failed. */
int layer_bits_begin(struct layer *layer, struct volume_flush *flush);
int layer_bits_finish(struct layer *layer, struct volume_flush *flush, bool *fatal);
int layer_bits_runs(struct layer *layer, layer_visit *visit, void *arg);

/* As layer_seal; *fatal as above. */
int layer_seal_data(struct layer *layer, bool *fatal, struct error *err);

#endif
