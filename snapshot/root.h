/* SPDX-License-Identifier: MIT */
/*
 * A root: what a snapshot or an image consists of. It names all of its layers itself, so that any
 * other root may be removed. Published roots do not change, except for their state.
 */
#ifndef SNAPSHOT_ROOT_H
#define SNAPSHOT_ROOT_H

#include "snapshot/store.h"
#include "snapshot/volume.h"

#define ROOT_VOLUMES_MAX  32u
#define ROOT_COMMENT_MAX  1024u
#define ROOT_MANIFEST_MAX (2u << 20) /* bytes */

enum root_kind {
	ROOT_DISK,  /* a snapshot of volumes */
	ROOT_VM,    /* and one of a guest's memory and devices, too */
	ROOT_IMAGE, /* what new guests are made of; its parent is the snapshot that it was made of
		     */
	ROOT_HIBERNATION, /* a guest that ended and goes on later; it has the guest's name */
	ROOT_KINDS
};
enum root_state {
	ROOT_PENDING,  /* layers are sealed, sums are not there */
	ROOT_COMPLETE, /* all layers have their sums */
	ROOT_VERIFIED, /* and they were compared */
	ROOT_STATES
};

struct root_volume {
	char name[TEXT_NAME_MAX + 1];
	uint64_t size;
	struct volume_base base;
	unsigned layer_count; /* may be 0 */
	struct store_id layers[STORE_LAYERS_MAX];
};

struct json_object;

/* About 10 KiB a volume: not for the stack. */
struct root {
	struct store_id id;           /* made by root_publish if all zeroes, or in use */
	char name[TEXT_NAME_MAX + 1]; /* unique among snapshots, images, hibernated guests */
	char comment[ROOT_COMMENT_MAX + 1];
	uint64_t time_ns; /* when the guest stood still; since 1970-01-01 UTC */
	enum root_kind kind;
	enum root_state state;
	bool has_parent;
	struct store_id parent; /* for trees and differences; may be gone */
	unsigned volume_count;
	struct root_volume *volumes; /* malloc'ed */
	uint64_t memory_size;        /* bytes of the memory's address space; 0: none */
	unsigned memory_layer_count;
	struct store_id memory_layers[STORE_LAYERS_MAX]; /* newest first */
	bool has_device_state;
	struct store_blob device_state;
	struct json_object *config; /* an object, the caller's own matter; may be NULL */
};

const char *root_kind_name(enum root_kind kind);
const char *root_state_name(enum root_state state);
bool root_is_snapshot(const struct root *root);
/*
 * What stands on it has this parent: itself; of a hibernation, which goes when its guest goes on,
 * its own. False: none.
 */
bool root_as_parent(const struct root *root, struct store_id *out);

/* Free what it points to and zero it. */
void root_clear(struct root *root);
/* Append one with all zeroes. NULL: no memory, or ROOT_VOLUMES_MAX. */
struct root_volume *root_add_volume(struct root *root);
/* Append what an open or found volume shows but for its head: what a switch just made a layer. */
int root_add_snapshot(struct root *root, const struct volume_manifest *manifest, struct error *err);
/*
 * Calls `visit` with each file that it consists of, its own last, as a path in the store's
 * directory, until that returns not 0. What is shared may be named twice. But for its own all are
 * immutable once sums are there; that one is replaced, not written to. -ENOMEM.
 */
int root_for_each_file(const struct root *root, int (*visit)(void *arg, const char *path),
		       void *arg);
/* -1 if there is none of that name. */
int root_volume_index(const struct root *root, const char *name);

/* Text to root, checked in every field. -EINVAL. *out needs no root_clear where it fails. */
int root_parse(const char *text, size_t size, struct root *out, struct error *err);
/* The other way; *text is the caller's. */
int root_format(const struct root *root, char **text, struct error *err);

/*
 * Make it durable and visible. All of its layers must be there and sealed, names in use are
 * -EEXIST. Fills in an id that nobody has, where this one is zero or another root's.
 */
int root_publish(struct store *store, struct root *root, struct error *err);
/* Change the state of a published one, durably. */
int root_set_state(struct store *store, const struct store_id *id, enum root_state state,
		   struct error *err);
/* Have the sums of all layers computed, and then say so: pending becomes complete. */
int root_complete(struct store *store, const struct store_id *id, struct error *err);
/* Compare all layers and the blob with their digests; then it is verified. -EBADMSG. */
int root_verify(struct store *store, const struct store_id *id, struct error *err);

/* A snapshot, by name, id, or the beginning of an id of at least 4 digits. -ENOENT; -EEXIST: of
 * several. */
int root_find(struct store *store, const char *key, struct root *out, struct error *err);
/* Likewise, what shares its names with this kind; a hibernation by its name only. */
int root_find_kind(struct store *store, enum root_kind kind, const char *key, struct root *out,
		   struct error *err);
/* SNAPSHOT[/VOLUME], the former as root_find has it: of several volumes one must be named. */
int root_find_volume(struct store *store, const char *text, struct root *out, unsigned *index,
		     struct error *err);
int root_load(struct store *store, const struct store_id *id, struct root *out, struct error *err);
/*
 * Calls `visit` with each, oldest first, until it returns not 0. One that cannot be read is handed
 * to `damaged` (NULL: that fails it) and passed over.
 */
int root_for_each(struct store *store, int (*visit)(void *arg, const struct root *root),
		  int (*damaged)(void *arg, const char *id, const struct error *why), void *arg,
		  struct error *err);

/* For `damaged`: they are passed over. */
int root_pass_over(void *arg, const char *id, const struct error *why);

/* Unlink it, durably; its storage goes with the next sweep. -EBUSY: an image is made of it. */
int root_remove(struct store *store, const struct store_id *id, struct error *err);

/* Bytes on the disk: of all it names, and of what goes if it is removed now. */
struct root_usage {
	uint64_t stored;
	uint64_t exclusive;
};
int root_usage(struct store *store, const struct root *root, struct root_usage *out,
	       struct error *err);

/*
 * Calls `visit` with each run of blocks that may differ between two lists of layers, in order,
 * until it returns not 0: what the layers say that only one of them has. O(changed). Bases are not
 * looked at.
 */
int root_diff(struct store *store, const struct store_id *a, unsigned a_count,
	      const struct store_id *b, unsigned b_count,
	      int (*visit)(void *arg, uint64_t first, uint64_t count), void *arg,
	      struct error *err);

/* What a page of the memory of `b` is, against the same one of `a`. */
enum root_page {
	ROOT_PAGE_ZERO,    /* zeroes in both */
	ROOT_PAGE_SAME,    /* stored once for both */
	ROOT_PAGE_EQUAL,   /* stored twice, with the same content */
	ROOT_PAGE_CHANGED, /* to other content */
	ROOT_PAGE_CLEARED, /* to zeroes */
	ROOT_PAGES
};

struct root_pages {
	uint64_t count[ROOT_PAGES];
	uint64_t with_others; /* of b's, in layers that roots other than these two have, too */
};

/* `map` has room for an enum root_page for each page of memory, a byte each; NULL is allowed. */
int root_pages_compare(struct store *store, const struct root *a, const struct root *b,
		       uint8_t *map, struct root_pages *out, struct error *err);

#endif
