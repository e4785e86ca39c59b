/* SPDX-License-Identifier: MIT */
/* A volume's life, and its flushes. */
#include "snapshot/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/root.h"
#include "snapshot/volume_impl.h"

static struct volume *volume_alloc(struct store *store, bool read_only)
{
	struct volume *volume = calloc(1, sizeof(*volume));

	if (!volume)
		return NULL;
	volume->store = store;
	volume->read_only = read_only;
	volume->lock = -1;
	pthread_mutex_init(&volume->mutex, NULL);
	for (unsigned i = 0; i < VOLUME_COW_LOCKS; i++)
		pthread_mutex_init(&volume->cow[i], NULL);
	return volume;
}

static void volume_free(struct volume *volume)
{
	stack_close(volume->stack);
	if (volume->lock >= 0)
		volume->store->io->ops->close(volume->store->io, volume->lock);
	pthread_mutex_destroy(&volume->mutex);
	for (unsigned i = 0; i < VOLUME_COW_LOCKS; i++)
		pthread_mutex_destroy(&volume->cow[i]);
	free(volume);
}

/* A layer below the head that a killed process did not get to seal. */
static int layer_finish(struct volume *volume, const struct store_id *id, struct layer **layer,
			struct error *err)
{
	bool fatal = false;
	int ret;

	/* Sealed, it could not be written to if the manifest with it as the head came back. */
	ret = volume_manifest_settle(volume->store, &volume->manifest, err);
	if (ret)
		return ret;
	layer_close(*layer);
	*layer = NULL;
	ret = layer_open_writable(volume->store, id, layer, err);
	if (ret)
		return ret;
	(*layer)->keep_run = true;
	ret = layer_seal_data(*layer, &fatal, err);
	if (fatal)
		layer_bits_distrust(*layer);
	return ret;
}

static int layers_open(struct volume *volume, struct error *err)
{
	const struct volume_manifest *m = &volume->manifest;
	unsigned i = m->layer_count, last = volume->read_only ? 0 : 1;
	struct layer *layer = NULL;
	int ret = 0;

	volume->stack = stack_create(volume->store, volume_blocks(m->size), err);
	if (!volume->stack)
		return -ENOMEM;
	while (i > last && ret == 0) {
		ret = layer_open(volume->store, &m->layers[--i], &layer, err);
		if (ret == 0 && !volume->read_only && !layer->info.sealed)
			ret = layer_finish(volume, &m->layers[i], &layer, err);
		if (ret == 0)
			ret = stack_put(volume->stack, layer, err);
		else
			layer_close(layer);
		layer = NULL;
	}
	return ret;
}

static int head_open(struct volume *volume, struct error *err)
{
	const struct volume_manifest *m = &volume->manifest;
	struct layer *layer;
	int ret = layer_open_writable(volume->store, &m->layers[0], &layer, err);

	if (ret)
		return ret;
	layer->keep_run = true;
	if (layer->info.blocks != volume_blocks(m->size)) {
		layer_close(layer);
		return volume_error(m->name, err, -EBADMSG, "restore it from a snapshot",
				    "its head is not of its size");
	}
	ret = stack_put(volume->stack, layer, err);
	volume->head = layer;
	volume->head_number = (uint8_t)volume->stack->count;
	return ret;
}

int volume_open(struct store *store, const char *name, bool read_only, struct volume **out,
		struct error *err)
{
	struct volume *volume = volume_alloc(store, read_only);
	char path[STORE_IO_PATH_MAX];
	int ret;

	if (!volume)
		return volume_error(name, err, -ENOMEM, NULL, "no memory");
	ret = volume->lock = volume_claim(store, name, !read_only, &volume->manifest, err);
	if (ret >= 0)
		ret = layers_open(volume, err);
	if (ret == 0 && !read_only) {
		ret = head_open(volume, err);
		/* Who was killed over renaming the manifest did not get to sync that. */
		volume->unsettled = true;
		/* And whose snapshot was only prepared left a manifest. */
		volume_path(path, name, ".next");
		store->io->ops->unlink(store->io, path);
	}
	if (ret) {
		error_prefix(err, ret, "volume '%s'", name);
		volume_free(volume);
		return ret;
	}
	*out = volume;
	return 0;
}

int volume_open_root(struct store *store, const struct root *root, unsigned index,
		     struct volume **out, struct error *err)
{
	const struct root_volume *from = &root->volumes[index];
	struct volume *volume;
	int ret;

	if (index >= root->volume_count)
		return error_set(err, -ENOENT, "see lodge snapshot info",
				 "snapshot '%s': no volume %u", root->name, index);
	volume = volume_alloc(store, true);
	if (!volume)
		return volume_error(from->name, err, -ENOMEM, NULL, "no memory");
	memcpy(volume->manifest.name, from->name, sizeof(from->name));
	volume->manifest.size = from->size;
	volume->manifest.base = from->base;
	volume->manifest.layer_count = from->layer_count;
	memcpy(volume->manifest.layers, from->layers, from->layer_count * sizeof(*from->layers));
	ret = layers_open(volume, err);
	if (ret) {
		volume_free(volume);
		return ret;
	}
	*out = volume;
	return 0;
}

int volume_close(struct volume *volume)
{
	int ret = 0;

	if (!volume)
		return 0;
	if (!volume->read_only) {
		volume_switch_abort(volume);
		ret = volume_flush(volume);
		/* What is not durable is for the next process; after a failed sync nothing is. */
		volume->head->keep_run = ret && !atomic_load(&volume->failed);
		if (atomic_load(&volume->failed)) {
			layer_forget(volume->head);
			if (volume->old_head)
				layer_forget(volume->old_head);
		}
		store_lease_close(volume->next_lease);
	}
	volume_free(volume);
	return ret;
}

const struct volume_manifest *volume_manifest(const struct volume *volume)
{
	return &volume->manifest;
}

void volume_base_reader(struct volume *volume,
			int (*read)(void *arg, uint64_t offset, void *bytes, size_t size),
			void *arg)
{
	volume->base_read = read;
	volume->base_arg = arg;
}

struct layer *volume_head(const struct volume *volume)
{
	return volume->head;
}

int volume_writable(const struct volume *volume)
{
	if (volume->read_only)
		return -EROFS;
	return atomic_load_explicit(&volume->failed, memory_order_relaxed) ? -EIO : 0;
}

void volume_fail(struct volume *volume, int code)
{
	int none = 0;

	if (atomic_compare_exchange_strong(&volume->failed, &none, code ? code : -EIO)) {
		/* What the maps say of blocks that were not synced may be untrue from now on. */
		layer_bits_distrust(volume->head);
		if (volume->old_head)
			layer_bits_distrust(volume->old_head);
	}
}

/* Flushes. */

int volume_flush_begin(struct volume *volume, struct volume_flush *flush)
{
	int ret = volume_writable(volume);

	if (ret == 0 && atomic_load_explicit(&volume->unsettled, memory_order_acquire))
		ret = volume_settle(volume, NULL);
	return ret ? ret : layer_bits_begin(volume->head, flush);
}

int volume_flush_finish(struct volume *volume, struct volume_flush *flush, int sync_result)
{
	bool fatal = sync_result != 0;
	int ret = sync_result;

	/* Another's sync may have failed meanwhile: then ours is worth nothing. */
	if (ret == 0)
		ret = volume_writable(volume);
	if (ret) {
		free(flush->pages);
		flush->pages = NULL;
	} else {
		ret = layer_bits_finish(volume->head, flush, &fatal);
	}
	if (fatal)
		volume_fail(volume, ret);
	return ret;
}

int volume_flush(struct volume *volume)
{
	struct store_io *io = volume->store->io;
	struct volume_flush flush;
	int ret = volume_flush_begin(volume, &flush);

	return ret ? ret
		   : volume_flush_finish(volume, &flush, io->ops->datasync(io, volume->head->data));
}
