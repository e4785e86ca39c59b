/* SPDX-License-Identifier: MIT */
/* What the store's parts share. Directories of the store, its lock, and lists of ids. */
#ifndef SNAPSHOT_STORE_IMPL_H
#define SNAPSHOT_STORE_IMPL_H

#include "snapshot/store.h"

#define STORE_LAYERS  "layers"
#define STORE_BLOBS   "blobs"
#define STORE_VOLUMES "volumes"
#define STORE_ROOTS   "roots"
#define STORE_LEASES  "leases"
#define STORE_JSON    ".json"

struct store {
	struct store_io *io;
	_Atomic unsigned doubts; /* this process knows of; see names.c */
};

/* FOLDER/IDsuffix */
void store_path(char out[STORE_IO_PATH_MAX], const char *folder, const struct store_id *id,
		const char *suffix);

/*
 * Held by who adds references to what another may be about to remove, by who removes some, and by
 * the sweep; for milliseconds. A file, or -errno.
 */
int store_lock(struct store *store, struct error *err);
void store_unlock(struct store *store, int lock);

/*
 * names.c: names that are durable. All of it with the store's lock held, since a sync that fails
 * may be anybody's. `folder` is one of those above.
 */

/* Is what names it has after a power failure unknown? 0, 1 or -errno. */
int store_names_doubtful(struct store *store, const char *folder);
/* The change of a name that was made under this very hold of the lock, doubts or not. */
int store_change_sync(struct store *store, const char *folder);
/* All names that are seen in it, whoever made them: -EIO if it is in doubt. */
int store_names_sync(struct store *store, const char *folder, struct error *err);
/* The same, takes the lock. */
int store_names_settle(struct store *store, const char *folder, struct error *err);
/* Write the small file `folder`/`name`, all or nothing, durably. */
int store_write_file(struct store *store, const char *folder, const char *name, const void *bytes,
		     size_t size);

/* A list of ids, to be freed with id_list_free. */
struct id_list {
	struct store_id *ids;
	size_t count, room;
	bool sorted;
};
int id_list_add(struct id_list *list, const struct store_id *id);
int id_list_add_all(struct id_list *list, const struct store_id *ids, size_t count);
bool id_list_has(struct id_list *list, const struct store_id *id);
void id_list_free(struct id_list *list);

/* Names in a folder, collected, so that they may be removed meanwhile. */
struct name_list {
	char **names; /* sorted */
	size_t count, room;
};
int name_list_read(struct store *store, const char *folder, struct name_list *out,
		   struct error *err);
void name_list_free(struct name_list *list);
/* Is it STEMsuffix? Then the stem goes to `out`. */
bool name_stem(const char *name, const char *suffix, char *out, size_t size);

/* What roots and volumes name: layers and blobs in one list. Held lock asked for by the sweep. */
int store_references(struct store *store, struct id_list *out, struct error *err);

/* Remove both of a layer's files, if they are there. */
void layer_unlink(struct store *store, const struct store_id *id);

#endif
