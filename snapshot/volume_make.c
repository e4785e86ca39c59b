/* SPDX-License-Identifier: MIT */
/* Volumes made, restored, resized and removed: all by one new head over layers that are there. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/root.h"
#include "snapshot/volume_impl.h"

/* In the store's lock: layers that a sweep took meanwhile are not to be named. */
static int layers_exist(struct store *store, const struct volume_manifest *m, struct error *err)
{
	for (unsigned i = 0; i < m->layer_count; i++) {
		struct layer *layer;
		int ret = layer_open(store, &m->layers[i], &layer, err);

		if (ret)
			return ret;
		if (i && !layer->info.sealed)
			ret = layer_error(layer, err, -EBADMSG, "it is not sealed");
		layer_close(layer);
		if (ret)
			return ret;
	}
	return 0;
}

/* `m` without its head: make one. `held`: whether the volume is there, and ours. */
static int install_locked(struct store *store, const struct volume_manifest *m, bool held,
			  struct error *err)
{
	struct volume_manifest present;
	int ret;

	if (!held) {
		ret = volume_find(store, m->name, &present, NULL);
		if (ret != -ENOENT)
			return volume_error(m->name, err, -EEXIST, "choose another name",
					    "it is there already");
	}
	ret = layers_exist(store, m, err);
	return ret ? ret : volume_manifest_write(store, m, err);
}

static int install(struct store *store, struct volume_manifest *m, bool held, struct error *err)
{
	struct store_lease *lease;
	struct layer *head = NULL;
	int ret, lock;

	if (m->layer_count >= STORE_LAYERS_MAX)
		return volume_error(m->name, err, -EMFILE, "compact it",
				    "it has as many layers as can be");
	ret = store_lease_open(store, &lease, err);
	if (ret)
		return ret;
	ret = layer_make(store, lease, volume_blocks(m->size), false, &head, err);
	if (ret == 0)
		ret = layer_make_durable(head, err);
	if (ret == 0) {
		memmove(m->layers + 1, m->layers, m->layer_count * sizeof(*m->layers));
		m->layers[0] = head->info.id;
		m->layer_count++;
		ret = lock = store_lock(store, err);
		if (lock >= 0) {
			ret = install_locked(store, m, held, err);
			store_unlock(store, lock);
		}
	}
	layer_close(head);
	store_lease_close(lease);
	return ret;
}

static int name_check(const char *name, struct error *err)
{
	return text_is_name(name)
		       ? 0
		       : volume_error(name, err, -EINVAL, "use letters, digits, '-', '_' and '.'",
				      "no such name can be");
}

int volume_create(struct store *store, const char *name, uint64_t size,
		  const struct volume_base *base, struct error *err)
{
	struct volume_manifest m = {.size = size};
	int ret = name_check(name, err);

	if (ret)
		return ret;
	if (!size || size % VOLUME_SECTOR || size > STORE_BLOCKS_MAX * STORE_BLOCK)
		return volume_error(name, err, -EINVAL, "give a multiple of 512 bytes",
				    "no such size can be");
	if (base && base->path[0] != '/')
		return volume_error(name, err, -EINVAL, "give its whole path",
				    "its base image has no absolute path");
	memcpy(m.name, name, strlen(name) + 1);
	if (base)
		m.base = *base;
	return install(store, &m, false, err);
}

static int from_root(const struct root *root, unsigned index, struct volume_manifest *m,
		     struct error *err)
{
	const struct root_volume *from;

	if (index >= root->volume_count)
		return error_set(err, -ENOENT, "see lodge snapshot info",
				 "snapshot '%s': no volume %u", root->name, index);
	from = &root->volumes[index];
	m->size = from->size;
	m->base = from->base;
	m->has_parent = root_as_parent(root, &m->parent);
	m->layer_count = from->layer_count;
	memcpy(m->layers, from->layers, from->layer_count * sizeof(*from->layers));
	return 0;
}

int volume_clone(struct store *store, const char *name, const struct root *root, unsigned index,
		 struct error *err)
{
	struct volume_manifest m = {0};
	int ret = name_check(name, err);

	if (ret == 0)
		ret = from_root(root, index, &m, err);
	if (ret)
		return ret;
	memcpy(m.name, name, strlen(name) + 1);
	return install(store, &m, false, err);
}

int volume_restore(struct store *store, const char *name, const struct root *root, unsigned index,
		   struct error *err)
{
	struct volume_manifest m;
	int held = volume_claim(store, name, true, &m, err), ret;

	if (held < 0)
		return held;
	ret = from_root(root, index, &m, err);
	if (ret == 0)
		ret = install(store, &m, true, err);
	store->io->ops->close(store->io, held);
	return ret;
}

int volume_resize(struct store *store, const char *name, uint64_t size, struct error *err)
{
	struct volume *volume;
	int ret, closed;

	if (size % VOLUME_SECTOR || size > STORE_BLOCKS_MAX * STORE_BLOCK)
		return volume_error(name, err, -EINVAL, "give a multiple of 512 bytes",
				    "no such size can be");
	ret = volume_open(store, name, false, &volume, err);
	if (ret)
		return ret;
	if (size < volume->manifest.size)
		ret = volume_error(name, err, -EINVAL, "make a new one and copy",
				   "a volume cannot become smaller");
	else if (size > volume->manifest.size)
		ret = volume_prepare(volume, size, err);
	if (ret == 0 && volume->next)
		ret = volume_switch(volume, err);
	if (ret == 0)
		ret = volume_switch_finish(volume, err);
	closed = volume_close(volume);
	if (closed)
		volume_error(name, err, closed, NULL, error_name(closed));
	return ret ? ret : closed;
}

int volume_remove(struct store *store, const char *name, struct error *err)
{
	static const char *const suffixes[] = {STORE_JSON, ".next", ".lock"};
	struct store_io *io = store->io;
	struct volume_manifest m;
	char path[STORE_IO_PATH_MAX];
	int ret, held, lock = store_lock(store, err);

	if (lock < 0)
		return lock;
	held = ret = volume_claim_locked(store, name, true, &m, err);
	if (ret == -EINVAL || ret == -EPROTONOSUPPORT) {
		/* One that makes no sense is removed as well; nobody can have it open. */
		if (text_is_name(name))
			ret = 0;
	}
	for (unsigned i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]) && ret >= 0; i++) {
		volume_path(path, name, suffixes[i]);
		ret = io->ops->unlink(io, path);
		if (ret == -ENOENT)
			ret = 0;
	}
	if (ret >= 0)
		ret = store_change_sync(store, STORE_VOLUMES);
	if (held >= 0)
		io->ops->close(io, held);
	store_unlock(store, lock);
	return ret < 0 ? volume_error(name, err, ret, "check the store's directory",
				      error_name(ret))
		       : 0;
}
