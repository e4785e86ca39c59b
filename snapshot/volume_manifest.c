/* SPDX-License-Identifier: MIT */
/* Volumes' manifests, and who holds a volume. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/manifest_impl.h"
#include "snapshot/volume_impl.h"

#define FORMAT "lodge-volume"

int volume_error(const char *name, struct error *err, int code, const char *remedy,
		 const char *what)
{
	return error_set(err, code, remedy, "volume '%s': %s", name, what);
}

void volume_path(char out[STORE_IO_PATH_MAX], const char *name, const char *suffix)
{
	snprintf(out, STORE_IO_PATH_MAX, STORE_VOLUMES "/%s%s", name, suffix);
}

static int fields_parse(struct json_object *object, struct volume_manifest *m)
{
	if (manifest_number(object, "size", VOLUME_SECTOR, STORE_BLOCKS_MAX * STORE_BLOCK,
			    &m->size) ||
	    m->size % VOLUME_SECTOR || manifest_base(object, &m->base) ||
	    manifest_id_if(object, "parent", &m->has_parent, &m->parent) ||
	    manifest_ids(object, "layers", 1, m->layers, &m->layer_count))
		return -EINVAL;
	return 0;
}

int volume_manifest_parse(const char *name, const char *text, size_t size,
			  struct volume_manifest *out, struct error *err)
{
	struct volume_manifest m = {0};
	struct json_object *object;
	int ret = manifest_parse(text, size, FORMAT, &object);

	if (ret == 0) {
		ret = fields_parse(object, &m);
		json_object_put(object);
	}
	if (ret)
		return volume_error(name, err, ret, "restore it from a snapshot",
				    ret == -EPROTONOSUPPORT ? "its format is a newer lodge's"
							    : "its manifest makes no sense");
	snprintf(m.name, sizeof(m.name), "%s", name);
	*out = m;
	return 0;
}

int volume_manifest_format(const struct volume_manifest *m, char **text, size_t *size,
			   struct error *err)
{
	struct json_object *object = manifest_new(FORMAT);
	int ret = -ENOMEM;

	if (object && manifest_add_number(object, "size", m->size) == 0 &&
	    manifest_add_base(object, &m->base) == 0 &&
	    (!m->has_parent || manifest_add_id(object, "parent", &m->parent) == 0) &&
	    manifest_add_ids(object, "layers", m->layers, m->layer_count) == 0)
		ret = manifest_text(object, text, size);
	json_object_put(object);
	return ret ? volume_error(m->name, err, ret, NULL, error_name(ret)) : 0;
}

int volume_manifest_write(struct store *store, const struct volume_manifest *m, struct error *err)
{
	char name[TEXT_NAME_MAX + sizeof(STORE_JSON)], *text = NULL;
	struct volume_manifest back;
	size_t size = 0;
	int ret = volume_manifest_format(m, &text, &size, err);

	if (ret)
		return ret;
	/* Nothing is written that could not be read again. */
	ret = volume_manifest_parse(m->name, text, size, &back, NULL);
	if (ret) {
		free(text);
		return volume_error(m->name, err, ret, "check its base image's path and format",
				    "a field of it has no such value");
	}
	snprintf(name, sizeof(name), "%s" STORE_JSON, m->name);
	ret = store_write_file(store, STORE_VOLUMES, name, text, size);
	free(text);
	return ret ? volume_error(m->name, err, ret, "check the store's space", error_name(ret))
		   : 0;
}

int volume_manifest_settle(struct store *store, const struct volume_manifest *m, struct error *err)
{
	int lock = store_lock(store, err), ret;

	if (lock < 0)
		return lock;
	ret = store_names_doubtful(store, STORE_VOLUMES);
	if (ret == 0)
		ret = store_change_sync(store, STORE_VOLUMES);
	if (ret < 0)
		volume_error(m->name, err, ret, "check the disk", error_name(ret));
	/* Another's sync, in between, may have lost its name. */
	if (ret > 0)
		ret = volume_manifest_write(store, m, err);
	store_unlock(store, lock);
	return ret;
}

int volume_find(struct store *store, const char *name, struct volume_manifest *out,
		struct error *err)
{
	char path[STORE_IO_PATH_MAX], *text;
	size_t size;
	int ret;

	if (!text_is_name(name))
		return volume_error(name, err, -EINVAL, "see lodge volume ls",
				    "no such name can be");
	volume_path(path, name, STORE_JSON);
	ret = store_io_read_file(store->io, path, VOLUME_MANIFEST_MAX, &text, &size);
	if (ret == -ENOENT)
		return volume_error(name, err, ret,
				    "see lodge volume ls, or make it with lodge volume create",
				    "it is not there");
	if (ret)
		return volume_error(name, err, ret, "check the store's directory", error_name(ret));
	ret = volume_manifest_parse(name, text, size, out, err);
	free(text);
	return ret;
}

int volume_for_each(struct store *store,
		    int (*visit)(void *arg, const struct volume_manifest *manifest), void *arg,
		    struct error *err)
{
	struct volume_manifest m;
	struct name_list names;
	int ret = name_list_read(store, STORE_VOLUMES, &names, err);

	for (size_t i = 0; ret == 0 && i < names.count; i++) {
		char name[TEXT_NAME_MAX + 1];

		if (!name_stem(names.names[i], STORE_JSON, name, sizeof(name)) ||
		    !text_is_name(name))
			continue;
		ret = volume_find(store, name, &m, err);
		if (ret == -ENOENT) { /* since */
			ret = 0;
			continue;
		}
		if (ret == 0)
			ret = visit(arg, &m);
	}
	name_list_free(&names);
	return ret;
}

int volume_claim_locked(struct store *store, const char *name, bool exclusive,
			struct volume_manifest *out, struct error *err)
{
	char path[STORE_IO_PATH_MAX];
	int file, ret = volume_find(store, name, out, err);

	if (ret)
		return ret;
	volume_path(path, name, ".lock");
	file = ret = store_io_open(store->io, path, O_RDWR | O_CREAT);
	if (ret >= 0)
		ret = store_io_lock(store->io, file, exclusive, false);
	if (ret >= 0)
		return file;
	if (file >= 0)
		store->io->ops->close(store->io, file);
	if (ret == -EAGAIN)
		return volume_error(name, err, -EBUSY, "stop the guest that has it",
				    "in use by another process");
	return volume_error(name, err, ret, "check the store's directory", error_name(ret));
}

int volume_claim(struct store *store, const char *name, bool exclusive, struct volume_manifest *out,
		 struct error *err)
{
	int lock = store_lock(store, err), ret;

	if (lock < 0)
		return lock;
	ret = volume_claim_locked(store, name, exclusive, out, err);
	store_unlock(store, lock);
	return ret;
}
