/* SPDX-License-Identifier: MIT */
/*
 * Theory of the switch. Before the pause the new head's files and the manifest that begins with it
 * are made durable under another name. In the pause that is renamed over the present one, which is
 * all that it takes; nothing is synced. After it the rename is made durable, and only then the old
 * head is sealed. Whoever flushes the new head before that does it first: else a crash could bring
 * back the old manifest, without what was acknowledged.
 *
 * A crash before the rename is durable: the old head is the head, as if nothing had been. After it:
 * the old head is a layer that is not sealed, which the next volume_open does, with what the
 * flushes made durable or, when only the process was killed, with all that was written.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/volume_impl.h"

static int next_write(struct volume *volume, const struct volume_manifest *manifest,
		      struct error *err)
{
	struct store_io *io = volume->store->io;
	char path[STORE_IO_PATH_MAX], *text;
	size_t size;
	int file, ret = volume_manifest_format(manifest, &text, &size, err);

	if (ret)
		return ret;
	volume_path(path, manifest->name, ".next");
	file = ret = store_io_open(io, path, O_RDWR | O_CREAT);
	if (file >= 0) {
		ret = store_io_truncate(io, file, 0);
		if (ret == 0)
			ret = store_io_write(io, file, text, size, 0);
		if (ret == 0)
			ret = io->ops->datasync(io, file);
		io->ops->close(io, file);
		if (ret)
			io->ops->unlink(io, path);
	}
	free(text);
	return ret ? volume_error(manifest->name, err, ret, "check the store's space",
				  error_name(ret))
		   : 0;
}

static void next_free(struct volume_next *next)
{
	if (!next)
		return;
	if (next->layer) {
		next->layer->abandoned = true;
		layer_close(next->layer);
	}
	store_lease_close(next->lease);
	free(next);
}

int volume_prepare(struct volume *volume, uint64_t size, struct error *err)
{
	struct volume_manifest *m;
	struct volume_next *next;
	int ret = volume_writable(volume);

	if (ret)
		return volume_error(volume->manifest.name, err, ret, "restore it from a snapshot",
				    "it takes no writes");
	if (volume->next)
		return volume_error(volume->manifest.name, err, -EALREADY, NULL,
				    "a snapshot is being made");
	if (volume->stack->count >= STORE_LAYERS_MAX)
		return volume_error(volume->manifest.name, err, -EMFILE, "compact it",
				    "it has as many layers as can be");
	/* One old head at a time. */
	ret = volume_settle(volume, err);
	if (ret)
		return ret;
	next = calloc(1, sizeof(*next));
	if (!next)
		return volume_error(volume->manifest.name, err, -ENOMEM, NULL, "no memory");
	m = &next->manifest;
	*m = volume->manifest;
	m->size = size;
	ret = store_lease_open(volume->store, &next->lease, err);
	if (ret == 0)
		ret = layer_make(volume->store, next->lease, volume_blocks(size), true,
				 &next->layer, err);
	if (ret == 0)
		ret = layer_make_durable(next->layer, err);
	if (ret == 0) {
		next->layer->keep_run = true;
		memmove(m->layers + 1, m->layers, m->layer_count * sizeof(*m->layers));
		m->layers[0] = next->layer->info.id;
		m->layer_count++;
		ret = next_write(volume, m, err);
	}
	if (ret) {
		next_free(next);
		return ret;
	}
	volume->next = next;
	return 0;
}

int volume_switch_prepare(struct volume *volume, struct error *err)
{
	return volume_prepare(volume, volume->manifest.size, err);
}

int volume_switch(struct volume *volume, struct error *err)
{
	struct volume_next *next = volume->next;
	char from[STORE_IO_PATH_MAX], to[STORE_IO_PATH_MAX];
	int ret = next ? volume_writable(volume) : -EINVAL;

	if (ret == 0) {
		volume_path(from, volume->manifest.name, ".next");
		volume_path(to, volume->manifest.name, STORE_JSON);
		ret = volume->store->io->ops->rename(volume->store->io, from, to);
	}
	if (ret)
		return volume_error(volume->manifest.name, err, ret, NULL, error_name(ret));
	volume->old_head = volume->head;
	volume->head = next->layer;
	volume->stack->layer[++volume->stack->count] = next->layer;
	volume->head_number = (uint8_t)volume->stack->count;
	volume->manifest = next->manifest;
	volume->next_lease = next->lease;
	volume->next = NULL;
	free(next);
	atomic_store_explicit(&volume->unsettled, true, memory_order_release);
	return 0;
}

static int settle_locked(struct volume *volume, struct error *err)
{
	bool fatal = false;
	int ret;

	if (!atomic_load(&volume->unsettled))
		return 0;
	/* If that fails it may be tried again: the manifest is written anew then. */
	ret = volume_manifest_settle(volume->store, &volume->manifest, err);
	if (ret == 0 && volume->old_head)
		ret = layer_seal_data(volume->old_head, &fatal, err);
	if (fatal)
		volume_fail(volume, ret);
	if (ret)
		return ret;
	volume->old_head = NULL;
	store_lease_close(volume->next_lease);
	volume->next_lease = NULL;
	atomic_store_explicit(&volume->unsettled, false, memory_order_release);
	return 0;
}

int volume_settle(struct volume *volume, struct error *err)
{
	int ret;

	pthread_mutex_lock(&volume->mutex);
	ret = volume_writable(volume);
	if (ret)
		volume_error(volume->manifest.name, err, ret, "restore it from a snapshot",
			     "it takes no writes");
	else
		ret = settle_locked(volume, err);
	pthread_mutex_unlock(&volume->mutex);
	return ret;
}

int volume_switch_finish(struct volume *volume, struct error *err)
{
	return volume_settle(volume, err);
}

void volume_switch_abort(struct volume *volume)
{
	char path[STORE_IO_PATH_MAX];

	if (!volume->next)
		return;
	volume_path(path, volume->manifest.name, ".next");
	volume->store->io->ops->unlink(volume->store->io, path);
	next_free(volume->next);
	volume->next = NULL;
}
