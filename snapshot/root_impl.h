/* SPDX-License-Identifier: MIT */
/* Roots from the inside. */
#ifndef SNAPSHOT_ROOT_IMPL_H
#define SNAPSHOT_ROOT_IMPL_H

#include "snapshot/layer.h"
#include "snapshot/root.h"
#include "snapshot/store_impl.h"

/* What it is to users. Kinds with one noun share their names. */
const char *root_noun(enum root_kind kind);
int root_error(const struct root *root, struct error *err, int code, const char *remedy,
	       const char *what);
/* Calls `visit` with each list of layers: of its volumes, and of the memory. Until not 0. */
int root_for_each_list(const struct root *root,
		       int (*visit)(void *arg, const struct store_id *ids, unsigned count),
		       void *arg);
/* All that it names, layers and blob. 0 or -ENOMEM. */
int root_references(const struct root *root, struct id_list *out);
/* Calls `work` with each of its layers, once and opened, until not 0. */
int root_for_each_layer(struct store *store, const struct root *root,
			int (*work)(void *arg, struct layer *layer, struct error *err), void *arg,
			struct error *err);
/* By its name alone: 1, or 0 if there is none. */
int root_find_named(struct store *store, const char *name, struct root *out, struct error *err);
/* Write it, visible and durable. The store's lock is held. */
int root_write(struct store *store, const struct root *root, struct error *err);

#endif
