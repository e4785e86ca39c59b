/* SPDX-License-Identifier: MIT */
/*
 * Backup streams: a root with its layers, its blob and its manifest as one string of bytes, for
 * another store or for keeping. A layer is the same in two stores where its digest is; those that
 * the other side has may be left out. Either side goes over a stream once, from its front to its
 * end, and holds some MiB of it, but for a layer's map and the blob. The format is in
 * backup_stream.c.
 */
#ifndef SNAPSHOT_BACKUP_H
#define SNAPSHOT_BACKUP_H

#include "snapshot/root.h"

/* One of them, for each direction. All of it: 0 or -errno; a stream that ends early: -ENODATA. */
struct backup_pipe {
	int (*write)(void *arg, const void *bytes, size_t size);
	int (*read)(void *arg, void *bytes, size_t size);
	void *arg;
};

/* Layers that the other side has. */
struct backup_had {
	uint8_t digest[STORE_DIGEST];
	char root[TEXT_NAME_MAX + 1]; /* that it has them of; empty: not known */
};
struct backup_have {
	struct backup_had *layers;
	size_t count, room;
};
/* 0 or -ENOMEM. */
int backup_have_digest(struct backup_have *have, const uint8_t digest[STORE_DIGEST]);
/* All that a root of this store names. */
int backup_have_root(struct backup_have *have, struct store *store, const struct root *root,
		     struct error *err);
void backup_have_free(struct backup_have *have);

struct backup_report {
	char name[TEXT_NAME_MAX + 1]; /* of the root */
	struct store_id id;
	unsigned layers; /* sent, or stored */
	unsigned shared; /* left out, or found */
	bool was_there;  /* the root itself */
	uint64_t bytes;  /* of the stream */
};

/* -EINVAL: the root stands on images, which are not the store's, and is not exported. */
int backup_root_check(const struct root *root, struct error *err);

/*
 * Blocks are compared with their layer's digest on the way: -EBADMSG, and a stream without an end,
 * for one that is damaged. backup_root_check's.
 */
int backup_export(struct store *store, const struct store_id *root, const struct backup_have *have,
		  const struct backup_pipe *to, struct backup_report *out, struct error *err);

/*
 * Nothing is published before all of the stream is there and right. Layers that came whole before
 * it failed, or was cut off, stay until the next sweep, and are found the next time. `name`:
 * instead of the root's; NULL: as it is. A root that is the same and has that name is a success.
 * -EEXIST: one that is another; -ENOENT: a layer that was left out is not here; -EBADMSG;
 * -EPROTONOSUPPORT.
 */
int backup_import(struct store *store, const char *name, const struct backup_pipe *from,
		  struct backup_report *out, struct error *err);

#endif
