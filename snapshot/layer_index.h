/* SPDX-License-Identifier: MIT */
/* Layers by their digests: what a store has already. One thread uses an index. */
#ifndef SNAPSHOT_LAYER_INDEX_H
#define SNAPSHOT_LAYER_INDEX_H

#include "snapshot/layer.h"

/* What layer_for_each_digested visits, and what came since. To be freed with layer_index_free. */
struct layer_index {
	struct layer_info *infos;
	size_t count, room;
};
int layer_index_read(struct layer_index *index, struct store *store, bool digest,
		     struct error *err);
int layer_index_add(struct layer_index *index, const struct layer_info *info);
void layer_index_free(struct layer_index *index);
/* One that has this digest, `like` itself if that is one, durable and in the lease from now on: 1,
 * or 0 if there is none. */
int layer_index_hold(struct layer_index *index, struct store *store, struct store_lease *lease,
		     const uint8_t digest[STORE_DIGEST], const struct store_id *like,
		     struct store_id *out, struct error *err);

#endif
