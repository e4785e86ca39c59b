/* SPDX-License-Identifier: MIT */
/*
 * A volume from the inside. Locks: `mutex` is held over a switch becoming durable; a cow lock over
 * the making of one block out of parts. A cow lock may be held while the layer's mutex is taken.
 */
#ifndef SNAPSHOT_VOLUME_IMPL_H
#define SNAPSHOT_VOLUME_IMPL_H

#include "snapshot/stack_impl.h"
#include "snapshot/volume.h"

#define VOLUME_COW_LOCKS    64u
#define VOLUME_MANIFEST_MAX (64u << 10) /* bytes */

/* A head that is prepared: the manifest beside the present one is durable. */
struct volume_next {
	struct layer *layer;
	struct store_lease *lease;
	struct volume_manifest manifest;
};

struct volume {
	struct store *store;
	struct volume_manifest manifest;
	bool read_only;
	int lock; /* -1: a root's */
	struct stack *stack;
	struct layer *head; /* NULL if read-only; on top of the stack */
	uint8_t head_number;
	_Atomic int failed; /* what a sync said, for ever */
	int (*base_read)(void *arg, uint64_t offset, void *bytes, size_t size);
	void *base_arg;
	pthread_mutex_t mutex;
	pthread_mutex_t cow[VOLUME_COW_LOCKS];
	struct volume_next *next; /* between prepare and switch */
	/* Something that a flush must see to first: the manifest's name is not known to be durable,
	 * or the old head (if there is one) is not sealed. */
	_Atomic bool unsettled;
	struct layer *old_head;         /* in the stack as well */
	struct store_lease *next_lease; /* until then */
};

static inline uint64_t volume_blocks(uint64_t size)
{
	return (size + STORE_BLOCK - 1) / STORE_BLOCK;
}

/* An errno into words. */
int volume_error(const char *name, struct error *err, int code, const char *remedy,
		 const char *what);
int volume_manifest_format(const struct volume_manifest *manifest, char **text, size_t *size,
			   struct error *err);
void volume_path(char out[STORE_IO_PATH_MAX], const char *name, const char *suffix);
/* Write the manifest, visible and durable. The store's lock is held. */
int volume_manifest_write(struct store *store, const struct volume_manifest *manifest,
			  struct error *err);
/* The manifest that is seen, which is this one, durable; takes the store's lock. */
int volume_manifest_settle(struct store *store, const struct volume_manifest *manifest,
			   struct error *err);
/* Hold the volume and read its manifest: a file, or -errno. -EBUSY. */
int volume_claim(struct store *store, const char *name, bool exclusive, struct volume_manifest *out,
		 struct error *err);
/* Likewise with the store's lock held already. */
int volume_claim_locked(struct store *store, const char *name, bool exclusive,
			struct volume_manifest *out, struct error *err);

/* Does what a flush must see to first. A sync that fails fails the volume. */
int volume_settle(struct volume *volume, struct error *err);
void volume_fail(struct volume *volume, int code);
/* As volume_switch_prepare, with a size. */
int volume_prepare(struct volume *volume, uint64_t size, struct error *err);

#endif
