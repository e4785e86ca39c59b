/* SPDX-License-Identifier: MIT */
/*
 * The sweep: what no root, volume or living lease names is removed. In the store's lock, so that
 * nobody adds a reference to what is about to go; what is unlinked is held open until the lock is
 * free again, because freeing the blocks of a large file takes long.
 *
 * It acts on names that it sees, so these are made durable first: else a crash could bring back a
 * manifest whose layers are gone. Where a sync of them failed nobody can, and nothing is swept
 * until the next boot (names.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/root_impl.h"
#include "snapshot/volume.h"

#define HELD_MAX 128u /* files that are unlinked in one go */
#define RUN_HEAD "head-"

struct sweep {
	struct store *store;
	struct id_list named;
	int held[HELD_MAX];
	unsigned held_count;
	struct store_swept swept;
};

static int volume_visit(void *arg, const struct volume_manifest *m)
{
	return id_list_add_all(arg, m->layers, m->layer_count);
}

static int root_visit(void *arg, const struct root *root)
{
	return root_references(root, arg);
}

int store_references(struct store *store, struct id_list *out, struct error *err)
{
	int ret = volume_for_each(store, volume_visit, out, err);

	return ret ? ret : root_for_each(store, root_visit, NULL, out, err);
}

/* A living lease's ids; a dead one goes. */
static int lease_read(struct sweep *sweep, const char *name, struct error *err)
{
	struct store_io *io = sweep->store->io;
	char path[STORE_IO_PATH_MAX], *text = NULL;
	struct store_id id;
	size_t size = 0;
	int file, ret;

	if (store_id_parse(name, &id))
		return 0;
	store_path(path, STORE_LEASES, &id, "");
	file = store_io_open(io, path, O_RDWR);
	if (file == -ENOENT)
		return 0;
	ret = file < 0 ? file : store_io_lock(io, file, true, false);
	if (ret == 0) {
		io->ops->unlink(io, path);
	} else if (ret == -EAGAIN) {
		ret = store_io_read_file(io, path, SIZE_MAX / 2, &text, &size);
		if (ret == -ENOENT) /* since: its maker does not need it any more */
			ret = 0;
		for (char *line = text, *end; ret == 0 && line && (end = strchr(line, '\n'));
		     line = end + 1) {
			*end = 0;
			if (store_id_parse(line, &id) == 0)
				ret = id_list_add(&sweep->named, &id);
		}
		free(text);
	}
	if (file >= 0)
		io->ops->close(io, file);
	return ret ? error_set(err, ret, "check the store's directory", "store: '%s': %s", path,
			       error_name(ret))
		   : 0;
}

/* Unlink, and hold it open. */
static int file_drop(struct sweep *sweep, const char *path, struct error *err)
{
	struct store_io *io = sweep->store->io;
	int file = store_io_open(io, path, O_RDONLY), ret;
	struct store_stat st = {0};

	if (file >= 0)
		io->ops->stat(io, file, &st);
	ret = io->ops->unlink(io, path);
	if (ret == 0) {
		sweep->swept.files++;
		sweep->swept.bytes += st.stored;
	}
	if (file >= 0)
		sweep->held[sweep->held_count++] = file;
	return ret && ret != -ENOENT ? error_set(err, ret, "check the store's directory",
						 "store: '%s': %s", path, error_name(ret))
				     : 0;
}

static bool is_garbage(struct sweep *sweep, const char *name, const char *suffix,
		       struct store_id *id)
{
	char stem[STORE_ID_TEXT];

	if (*suffix ? !name_stem(name, suffix, stem, sizeof(stem)) || store_id_parse(stem, id)
		    : store_id_parse(name, id))
		return false;
	return !id_list_has(&sweep->named, id);
}

static int folder_sweep(struct sweep *sweep, const char *folder, const struct name_list *names,
			struct error *err)
{
	static const char *const suffixes[] = {".data", ".map", ""};
	char path[STORE_IO_PATH_MAX];
	struct store_id id;
	int ret = 0;

	for (size_t i = 0; i < names->count && ret == 0; i++)
		for (unsigned k = 0; k < sizeof(suffixes) / sizeof(suffixes[0]); k++) {
			if (!is_garbage(sweep, names->names[i], suffixes[k], &id))
				continue;
			if (sweep->held_count == HELD_MAX)
				return 0;
			store_path(path, folder, &id, suffixes[k]);
			ret = file_drop(sweep, path, err);
			break;
		}
	return ret;
}

/* Manifests that were not finished: their writers hold the lock. */
static void temporaries_sweep(struct sweep *sweep, const char *folder)
{
	char path[STORE_IO_PATH_MAX], stem[STORE_IO_PATH_MAX];
	struct name_list names;

	if (name_list_read(sweep->store, folder, &names, NULL))
		return;
	for (size_t i = 0; i < names.count; i++) {
		const char *name = names.names[i];

		if (name[0] != '.' || !name_stem(name, STORE_JSON, stem, sizeof(stem)) ||
		    strlen(folder) + strlen(name) + 2 > sizeof(path))
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, name);
		sweep->store->io->ops->unlink(sweep->store->io, path);
	}
	name_list_free(&names);
}

/* Runtime files of heads that are gone; there may be no runtime directory. */
static void runtime_sweep(struct sweep *sweep)
{
	struct name_list names;

	if (name_list_read(sweep->store, STORE_IO_RUN, &names, NULL))
		return;
	for (size_t i = 0; i < names.count; i++) {
		char path[STORE_IO_PATH_MAX];
		const char *id_text = names.names[i] + strlen(RUN_HEAD);
		struct store_id id;

		if (strncmp(names.names[i], RUN_HEAD, strlen(RUN_HEAD)) != 0 ||
		    store_id_parse(id_text, &id) || id_list_has(&sweep->named, &id))
			continue;
		snprintf(path, sizeof(path), STORE_IO_RUN RUN_HEAD "%s", id_text);
		sweep->store->io->ops->unlink(sweep->store->io, path);
	}
	name_list_free(&names);
}

/* What is named, after what is there was listed. */
static int names_collect(struct sweep *sweep, struct error *err)
{
	static const char *const folders[] = {STORE_ROOTS, STORE_VOLUMES};
	struct name_list leases;
	int ret = name_list_read(sweep->store, STORE_LEASES, &leases, err);

	if (ret)
		return ret;
	for (size_t i = 0; i < leases.count && ret == 0; i++)
		ret = lease_read(sweep, leases.names[i], err);
	name_list_free(&leases);
	for (unsigned i = 0; i < 2 && ret == 0; i++)
		ret = store_names_sync(sweep->store, folders[i], err);
	return ret ? ret : store_references(sweep->store, &sweep->named, err);
}

static int sweep_locked(struct sweep *sweep, struct error *err)
{
	struct name_list layers, blobs = {0};
	int ret = name_list_read(sweep->store, STORE_LAYERS, &layers, err);

	if (ret)
		return ret;
	ret = name_list_read(sweep->store, STORE_BLOBS, &blobs, err);
	if (ret == 0)
		ret = names_collect(sweep, err);
	if (ret == 0)
		ret = folder_sweep(sweep, STORE_LAYERS, &layers, err);
	if (ret == 0)
		ret = folder_sweep(sweep, STORE_BLOBS, &blobs, err);
	if (ret == 0) {
		temporaries_sweep(sweep, STORE_ROOTS);
		temporaries_sweep(sweep, STORE_VOLUMES);
		runtime_sweep(sweep);
	}
	name_list_free(&layers);
	name_list_free(&blobs);
	return ret;
}

int store_sweep(struct store *store, struct store_swept *out, struct error *err)
{
	struct sweep sweep = {.store = store};
	bool more;
	int ret;

	do {
		int lock = store_lock(store, err);

		if (lock < 0)
			return lock;
		ret = sweep_locked(&sweep, err);
		store_unlock(store, lock);
		more = sweep.held_count == HELD_MAX;
		while (sweep.held_count)
			store->io->ops->close(store->io, sweep.held[--sweep.held_count]);
		id_list_free(&sweep.named);
	} while (ret == 0 && more);
	if (out)
		*out = sweep.swept;
	return ret;
}
