/* SPDX-License-Identifier: MIT */
/* Layers by their digests, from the headers of their maps. */
#include "snapshot/layer_index.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/layer_impl.h"

/* Not whole, not sane, or gone since: no layer to build on. */
static bool is_no_layer(int ret)
{
	return ret == -ENOENT || ret == -EBADMSG || ret == -EPROTONOSUPPORT;
}

static int info_read(struct store *store, const struct store_id *id, struct layer_info *out,
		     struct error *err)
{
	char path[STORE_IO_PATH_MAX];
	uint8_t bytes[LAYER_HEADER];
	struct layer_header header;
	struct store_stat st;
	int map, ret;

	store_path(path, STORE_LAYERS, id, ".map");
	map = store_io_open(store->io, path, O_RDONLY);
	if (map < 0) {
		ret = map;
	} else {
		ret = store->io->ops->stat(store->io, map, &st);
		if (ret == 0 && st.size < sizeof(bytes))
			ret = -EBADMSG;
		if (ret == 0)
			ret = store_io_read(store->io, map, bytes, sizeof(bytes), 0);
		if (ret == 0)
			ret = layer_header_parse(bytes, id, &header);
		store->io->ops->close(store->io, map);
	}
	if (ret == 0)
		*out = header.info;
	return ret == 0 || is_no_layer(ret)
		       ? ret
		       : error_set(err, ret, "check the disk that the store is on", "'%s': %s",
				   path, error_name(ret));
}

static int info_digest(struct store *store, struct layer_info *info, struct error *err)
{
	struct error why = {0};
	struct layer *layer;
	int ret = layer_open(store, &info->id, &layer, &why);

	if (ret == 0) {
		ret = layer_digest(layer, &why);
		*info = *layer_info(layer);
		layer_close(layer);
	}
	return ret == 0 || is_no_layer(ret) ? ret : error_set(err, ret, why.remedy, "%s", why.what);
}

int layer_for_each_digested(struct store *store, bool digest,
			    int (*visit)(void *arg, const struct layer_info *info), void *arg,
			    struct error *err)
{
	struct name_list names;
	int ret = name_list_read(store, STORE_LAYERS, &names, err);

	for (size_t i = 0; i < names.count && ret == 0; i++) {
		char stem[STORE_ID_TEXT];
		struct layer_info info = {0};
		struct store_id id;

		if (!name_stem(names.names[i], ".map", stem, sizeof(stem)) ||
		    store_id_parse(stem, &id))
			continue;
		ret = info_read(store, &id, &info, err);
		if (ret == 0 && info.sealed && !info.digested && digest)
			ret = info_digest(store, &info, err);
		if (ret == 0 && info.digested)
			ret = visit(arg, &info);
		else if (is_no_layer(ret))
			ret = 0;
	}
	name_list_free(&names);
	return ret;
}

int layer_index_add(struct layer_index *index, const struct layer_info *info)
{
	if (index->count == index->room) {
		size_t room = index->room ? 2 * index->room : 64;
		struct layer_info *infos = realloc(index->infos, room * sizeof(*infos));

		if (!infos)
			return -ENOMEM;
		index->infos = infos;
		index->room = room;
	}
	index->infos[index->count++] = *info;
	return 0;
}

static int index_visit(void *arg, const struct layer_info *info)
{
	return layer_index_add(arg, info);
}

int layer_index_read(struct layer_index *index, struct store *store, bool digest, struct error *err)
{
	int ret;

	index->count = 0;
	ret = layer_for_each_digested(store, digest, index_visit, index, err);
	return ret ? error_set(err, ret, NULL, "store: its layers: %s", error_name(ret)) : 0;
}

void layer_index_free(struct layer_index *index)
{
	free(index->infos);
	*index = (struct layer_index){0};
}

/* 1: it is there, and stays. 0: it went. */
static int layer_hold(struct store *store, struct store_lease *lease, const struct store_id *id,
		      struct error *err)
{
	struct error why = {0};
	struct layer *layer = NULL;
	/* So that no sweep decides over it meanwhile. */
	int lock = store_lock(store, err), ret;

	if (lock < 0)
		return lock;
	ret = layer_open(store, id, &layer, &why);
	if (ret == 0)
		ret = store_lease_add(lease, id, &why);
	store_unlock(store, lock);
	/* Who made it may have been killed before its last syncs. */
	if (ret == 0) {
		layer->map = layer_map_open(layer, O_RDONLY);
		ret = layer->map < 0 ? layer_error(layer, &why, layer->map, error_name(layer->map))
				     : layer_make_durable(layer, &why);
	}
	layer_close(layer);
	if (is_no_layer(ret))
		return 0;
	return ret ? error_set(err, ret, why.remedy, "%s", why.what) : 1;
}

int layer_index_hold(struct layer_index *index, struct store *store, struct store_lease *lease,
		     const uint8_t digest[STORE_DIGEST], const struct store_id *like,
		     struct store_id *out, struct error *err)
{
	int ret = 0;

	for (unsigned others = 0; others < 2; others++)
		for (size_t i = 0; i < index->count && ret == 0; i++) {
			const struct layer_info *info = &index->infos[i];

			if (memcmp(info->digest, digest, STORE_DIGEST) != 0 ||
			    store_id_equal(&info->id, like) == (bool)others)
				continue;
			ret = layer_hold(store, lease, &info->id, err);
			if (ret > 0)
				*out = info->id;
		}
	return ret;
}
