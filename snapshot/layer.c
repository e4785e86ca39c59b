/* SPDX-License-Identifier: MIT */
/* A layer's life: made, written to, sealed; or opened and read. */
#include "snapshot/layer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/layer_impl.h"
#include "vmm/base/checked.h"

int layer_error(const struct layer *layer, struct error *err, int code, const char *what)
{
	char text[STORE_ID_TEXT];
	const char *remedy = "check the disk that the store is on";

	if (code == -EBADMSG || code == -ENOENT)
		remedy = "import what it belongs to again from a backup";
	else if (code == -ENOSPC || code == -EDQUOT)
		remedy = "make space: remove snapshots, then sweep";
	else if (code == -EMFILE)
		remedy = "raise the limit of open files: ulimit -n";
	store_id_text(&layer->info.id, text);
	return error_set(err, code, remedy, "layer '%s': %s", text, what);
}

void layer_unlink(struct store *store, const struct store_id *id)
{
	char path[STORE_IO_PATH_MAX];

	store_path(path, STORE_LAYERS, id, ".data");
	store->io->ops->unlink(store->io, path);
	store_path(path, STORE_LAYERS, id, ".map");
	store->io->ops->unlink(store->io, path);
}

static struct layer *layer_alloc(struct store *store, const struct store_id *id)
{
	struct layer *layer = calloc(1, sizeof(*layer));

	if (!layer)
		return NULL;
	layer->store = store;
	layer->io = store->io;
	layer->info.id = *id;
	layer->data = layer->direct = layer->map = layer->run_file = -1;
	pthread_mutex_init(&layer->mutex, NULL);
	return layer;
}

static void file_close(struct layer *layer, int *file)
{
	if (*file >= 0)
		layer->io->ops->close(layer->io, *file);
	*file = -1;
}

static void layer_free(struct layer *layer, bool remove_run)
{
	layer_bits_free(layer, remove_run);
	file_close(layer, &layer->data);
	file_close(layer, &layer->direct);
	file_close(layer, &layer->map);
	pthread_mutex_destroy(&layer->mutex);
	free(layer);
}

static int files_open(struct layer *layer, int flags)
{
	char path[STORE_IO_PATH_MAX];

	store_path(path, STORE_LAYERS, &layer->info.id, ".map");
	layer->map = store_io_open(layer->io, path, flags);
	if (layer->map < 0)
		return layer->map;
	store_path(path, STORE_LAYERS, &layer->info.id, ".data");
	layer->data = store_io_open(layer->io, path, flags);
	if (layer->data < 0)
		return layer->data;
	/* A matter of speed: not all file systems have it. */
	layer->direct = store_io_open(layer->io, path, (flags & ~(O_CREAT | O_EXCL)) | O_DIRECT);
	return 0;
}

int layer_make(struct store *store, struct store_lease *lease, uint64_t blocks, bool run,
	       struct layer **out, struct error *err)
{
	struct store_id id;
	struct layer *layer;
	int ret = store_id_make(store, &id, err);

	if (ret == 0)
		ret = store_lease_add(lease, &id, err);
	if (ret)
		return ret;
	if (!blocks || blocks > STORE_BLOCKS_MAX)
		return error_set(err, -EINVAL, NULL, "layer: %llu blocks",
				 (unsigned long long)blocks);
	layer = layer_alloc(store, &id);
	if (!layer)
		return error_set(err, -ENOMEM, NULL, "layer: no memory");
	layer->info.blocks = blocks;
	layer->writable = true;
	ret = files_open(layer, O_RDWR | O_CREAT | O_EXCL);
	if (ret == 0)
		ret = store_io_truncate(layer->io, layer->data, blocks * STORE_BLOCK);
	if (ret == 0)
		ret = store_io_truncate(layer->io, layer->map, layer_sums_offset(layer));
	if (ret)
		layer_error(layer, err, ret, error_name(ret));
	if (ret == 0)
		ret = layer_bits_make(layer, run, err);
	if (ret) {
		layer_free(layer, true);
		layer_unlink(store, &id);
		return ret;
	}
	*out = layer;
	return 0;
}

int layer_make_durable(struct layer *layer, struct error *err)
{
	int ret = layer->io->ops->datasync(layer->io, layer->data);

	if (ret == 0)
		ret = layer->io->ops->datasync(layer->io, layer->map);
	if (ret)
		return layer_error(layer, err, ret, error_name(ret));
	return store_names_settle(layer->store, STORE_LAYERS, err);
}

int layer_create(struct store *store, struct store_lease *lease, uint64_t blocks,
		 struct layer **out, struct error *err)
{
	int ret = layer_make(store, lease, blocks, false, out, err);

	if (ret == 0)
		(*out)->abandoned = true;
	return ret;
}

void layer_forget(struct layer *layer)
{
	layer->io->ops->forget(layer->io, layer->data);
	if (layer->map >= 0)
		layer->io->ops->forget(layer->io, layer->map);
}

static int open_any(struct store *store, const struct store_id *id, bool writable,
		    struct layer **out, struct error *err)
{
	struct layer *layer = layer_alloc(store, id);
	struct store_stat st;
	int ret;

	if (!layer)
		return error_set(err, -ENOMEM, NULL, "layer: no memory");
	ret = files_open(layer, writable ? O_RDWR : O_RDONLY);
	if (ret < 0) {
		layer_error(layer, err, ret, error_name(ret));
		goto fail;
	}
	if (writable && layer_bits_distrusted(layer))
		layer_forget(layer);
	ret = layer_header_read(layer, layer->map, err);
	if (ret)
		goto fail;
	ret = store->io->ops->stat(store->io, layer->data, &st);
	if (ret == 0 && st.size < layer->info.blocks * STORE_BLOCK)
		ret = -EBADMSG;
	if (ret) {
		layer_error(layer, err, ret,
			    ret == -EBADMSG ? "its data was cut off" : error_name(ret));
		goto fail;
	}
	if (writable && layer->info.sealed) {
		ret = layer_error(layer, err, -EROFS, "it is sealed already");
		goto fail;
	}
	layer->writable = writable;
	if (!layer->info.sealed)
		ret = layer_bits_load(layer, err);
	if (ret)
		goto fail;
	if (!writable)
		file_close(layer, &layer->map);
	*out = layer;
	return 0;
fail:
	layer_free(layer, false);
	return ret;
}

int layer_open(struct store *store, const struct store_id *id, struct layer **out,
	       struct error *err)
{
	return open_any(store, id, false, out, err);
}

int layer_open_writable(struct store *store, const struct store_id *id, struct layer **out,
			struct error *err)
{
	return open_any(store, id, true, out, err);
}

void layer_close(struct layer *layer)
{
	struct store *store;
	struct store_id id;
	bool unlink;

	if (!layer)
		return;
	store = layer->store;
	id = layer->info.id;
	unlink = layer->abandoned;
	layer_free(layer, unlink || !layer->keep_run);
	if (unlink)
		layer_unlink(store, &id);
}

const struct layer_info *layer_info(const struct layer *layer)
{
	return &layer->info;
}

int layer_descriptor(const struct layer *layer)
{
	return layer->io->ops->descriptor(layer->io, layer->data);
}

int layer_descriptor_direct(const struct layer *layer)
{
	return layer->direct < 0 ? -1 : layer->io->ops->descriptor(layer->io, layer->direct);
}

/* Content. */

int layer_read_bytes(struct layer *layer, uint64_t offset, size_t size, void *bytes)
{
	return store_io_read(layer->io, layer->data, bytes, size, offset);
}

int layer_write_bytes(struct layer *layer, uint64_t offset, size_t size, const void *bytes)
{
	return store_io_write(layer->io, layer->data, bytes, size, offset);
}

static int range_check(const struct layer *layer, uint64_t first, uint64_t count, struct error *err)
{
	if (!range_within(first, count, 0, layer->info.blocks))
		return layer_error(layer, err, -ERANGE, "blocks behind its end");
	return 0;
}

static int writable_check(const struct layer *layer, uint64_t first, uint64_t count,
			  struct error *err)
{
	if (!layer->writable)
		return layer_error(layer, err, -EROFS, "it is not being written");
	return range_check(layer, first, count, err);
}

int layer_write(struct layer *layer, uint64_t first, uint64_t count, const void *bytes,
		struct error *err)
{
	int ret = writable_check(layer, first, count, err);

	if (ret)
		return ret;
	ret = layer_write_bytes(layer, first * STORE_BLOCK, count * STORE_BLOCK, bytes);
	if (ret == 0)
		ret = layer_bits_mark(layer, first, count, LAYER_DATA);
	return ret ? layer_error(layer, err, ret, error_name(ret)) : 0;
}

int layer_mark_zero(struct layer *layer, uint64_t first, uint64_t count, struct error *err)
{
	int ret = writable_check(layer, first, count, err);

	if (ret)
		return ret;
	ret = layer_bits_mark(layer, first, count, LAYER_ZERO);
	return ret ? layer_error(layer, err, ret, error_name(ret)) : 0;
}

int layer_seal(struct layer *layer, struct error *err)
{
	bool fatal = false;
	int ret = writable_check(layer, 0, 0, err);

	if (ret == 0)
		ret = layer_seal_data(layer, &fatal, err);
	if (ret)
		return ret;
	ret = store_names_settle(layer->store, STORE_LAYERS, err);
	if (ret == 0)
		layer->abandoned = false;
	return ret;
}

int layer_read(struct layer *layer, uint64_t first, uint64_t count, void *bytes, struct error *err)
{
	int ret = range_check(layer, first, count, err);

	if (ret)
		return ret;
	ret = layer_read_bytes(layer, first * STORE_BLOCK, count * STORE_BLOCK, bytes);
	return ret ? layer_error(layer, err, ret, error_name(ret)) : 0;
}

int layer_stored(struct layer *layer, uint64_t *out, struct error *err)
{
	struct store_stat data, map;
	int ret = layer->io->ops->stat(layer->io, layer->data, &data), file;

	if (ret == 0) {
		file = layer_map_open(layer, O_RDONLY);
		ret = file < 0 ? file : layer->io->ops->stat(layer->io, file, &map);
		if (file >= 0)
			layer->io->ops->close(layer->io, file);
	}
	if (ret)
		return layer_error(layer, err, ret, error_name(ret));
	*out = data.stored + map.stored;
	return 0;
}
