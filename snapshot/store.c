/* SPDX-License-Identifier: MIT */
/* The store's directory: ids, its lock, leases and blobs. */
#include "snapshot/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/digest.h"
#include "snapshot/store_impl.h"

#define LOCK "lock"

bool store_id_equal(const struct store_id *a, const struct store_id *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

bool store_id_is_zero(const struct store_id *id)
{
	return store_id_equal(id, &(struct store_id){{0}});
}

static void hex_text(const uint8_t *bytes, size_t count, char *out)
{
	for (size_t i = 0; i < count; i++)
		snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* All of the text, which must be that long. */
static int hex_parse(const char *text, uint8_t *out, size_t count)
{
	uint8_t bytes[STORE_DIGEST];

	if (strnlen(text, 2 * count + 1) != 2 * count)
		return -EINVAL;
	for (size_t i = 0; i < count; i++) {
		int high = digit_of(text[2 * i]), low = digit_of(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	memcpy(out, bytes, count);
	return 0;
}

void store_id_text(const struct store_id *id, char out[STORE_ID_TEXT])
{
	hex_text(id->bytes, STORE_ID_BYTES, out);
}

int store_id_parse(const char *text, struct store_id *out)
{
	return hex_parse(text, out->bytes, STORE_ID_BYTES);
}

void store_digest_text(const uint8_t digest[STORE_DIGEST], char out[STORE_DIGEST_TEXT])
{
	hex_text(digest, STORE_DIGEST, out);
}

int store_digest_parse(const char *text, uint8_t out[STORE_DIGEST])
{
	return hex_parse(text, out, STORE_DIGEST);
}

void store_path(char out[STORE_IO_PATH_MAX], const char *folder, const struct store_id *id,
		const char *suffix)
{
	char text[STORE_ID_TEXT];

	store_id_text(id, text);
	snprintf(out, STORE_IO_PATH_MAX, "%s/%s%s", folder, text, suffix);
}

/* Lists. */

int id_list_add(struct id_list *list, const struct store_id *id)
{
	if (list->count == list->room) {
		size_t room = list->room ? 2 * list->room : 64;
		struct store_id *ids = realloc(list->ids, room * sizeof(*ids));

		if (!ids)
			return -ENOMEM;
		list->ids = ids;
		list->room = room;
	}
	list->ids[list->count++] = *id;
	list->sorted = false;
	return 0;
}

int id_list_add_all(struct id_list *list, const struct store_id *ids, size_t count)
{
	int ret = 0;

	for (size_t i = 0; i < count && ret == 0; i++)
		ret = id_list_add(list, &ids[i]);
	return ret;
}

static int id_order(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct store_id));
}

bool id_list_has(struct id_list *list, const struct store_id *id)
{
	if (!list->count)
		return false;
	if (!list->sorted)
		qsort(list->ids, list->count, sizeof(*list->ids), id_order);
	list->sorted = true;
	return bsearch(id, list->ids, list->count, sizeof(*list->ids), id_order);
}

void id_list_free(struct id_list *list)
{
	free(list->ids);
	*list = (struct id_list){0};
}

static int name_add(void *arg, const char *name)
{
	struct name_list *list = arg;

	if (list->count == list->room) {
		size_t room = list->room ? 2 * list->room : 64;
		char **names = realloc(list->names, room * sizeof(*names));

		if (!names)
			return -ENOMEM;
		list->names = names;
		list->room = room;
	}
	list->names[list->count] = strdup(name);
	return list->names[list->count++] ? 0 : -ENOMEM;
}

static int name_order(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int name_list_read(struct store *store, const char *folder, struct name_list *out,
		   struct error *err)
{
	int ret;

	*out = (struct name_list){0};
	ret = store->io->ops->list(store->io, folder, name_add, out);
	if (ret) {
		name_list_free(out);
		return error_set(err, ret, "check the store's directory", "store: '%s': %s", folder,
				 error_name(ret));
	}
	if (out->count)
		qsort(out->names, out->count, sizeof(*out->names), name_order);
	return 0;
}

void name_list_free(struct name_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->names[i]);
	free(list->names);
	*list = (struct name_list){0};
}

bool name_stem(const char *name, const char *suffix, char *out, size_t size)
{
	size_t length = strlen(name), tail = strlen(suffix);

	if (length <= tail || length - tail >= size || strcmp(name + length - tail, suffix) != 0)
		return false;
	memcpy(out, name, length - tail);
	out[length - tail] = 0;
	return true;
}

/* The directory. */

int store_open(struct store_io *io, struct store **out, struct error *err)
{
	static const char *const folders[] = {STORE_LAYERS, STORE_BLOBS, STORE_VOLUMES, STORE_ROOTS,
					      STORE_LEASES};
	struct store *store = calloc(1, sizeof(*store));
	int ret = store ? 0 : -ENOMEM;

	for (unsigned i = 0; i < sizeof(folders) / sizeof(folders[0]) && ret == 0; i++)
		ret = io->ops->mkdir(io, folders[i]);
	if (ret == 0)
		ret = io->ops->sync_directory(io, ".");
	if (ret) {
		free(store);
		store_io_destroy(io);
		return error_set(err, ret, "check the directory's permissions and space",
				 "store: its folders: %s", error_name(ret));
	}
	store->io = io;
	*out = store;
	return 0;
}

void store_close(struct store *store)
{
	if (!store)
		return;
	store_io_destroy(store->io);
	free(store);
}

struct store_io *store_io(const struct store *store)
{
	return store->io;
}

int store_id_make(struct store *store, struct store_id *out, struct error *err)
{
	int ret = store->io->ops->random(store->io, out->bytes, sizeof(out->bytes));

	return ret ? error_set(err, ret, NULL, "store: random bytes: %s", error_name(ret)) : 0;
}

int store_lock(struct store *store, struct error *err)
{
	int file = store_io_open(store->io, LOCK, O_RDWR | O_CREAT);
	int ret = file < 0 ? file : store_io_lock(store->io, file, true, true);

	if (ret >= 0)
		return file;
	if (file >= 0)
		store->io->ops->close(store->io, file);
	return error_set(err, ret, "check the store's directory; its file system must have locks",
			 "store: lock: %s", error_name(ret));
}

void store_unlock(struct store *store, int lock)
{
	store->io->ops->close(store->io, lock);
}

/* Leases. */

struct store_lease {
	struct store *store;
	struct store_id id;
	int file;
	uint64_t end; /* of the file */
};

int store_lease_open(struct store *store, struct store_lease **out, struct error *err)
{
	struct store_lease *lease = calloc(1, sizeof(*lease));
	char path[STORE_IO_PATH_MAX];
	int lock, ret;

	if (!lease)
		return error_set(err, -ENOMEM, NULL, "store: lease: no memory");
	lease->store = store;
	ret = store_id_make(store, &lease->id, err);
	if (ret)
		goto fail;
	store_path(path, STORE_LEASES, &lease->id, "");
	/* Without the lock a sweep could take it for a dead one's, before it is locked. */
	lock = store_lock(store, err);
	ret = lock;
	if (ret < 0)
		goto fail;
	ret = lease->file = store_io_open(store->io, path, O_RDWR | O_CREAT | O_EXCL);
	if (ret >= 0) {
		ret = store_io_lock(store->io, lease->file, true, false);
		if (ret) {
			store->io->ops->unlink(store->io, path);
			store->io->ops->close(store->io, lease->file);
		}
	}
	store_unlock(store, lock);
	if (ret >= 0) {
		*out = lease;
		return 0;
	}
	error_set(err, ret, "check the store's directory and its space", "store: lease: %s",
		  error_name(ret));
fail:
	free(lease);
	return ret;
}

int store_lease_add(struct store_lease *lease, const struct store_id *id, struct error *err)
{
	char line[STORE_ID_TEXT + 1];
	int ret;

	store_id_text(id, line);
	line[STORE_ID_TEXT - 1] = '\n';
	ret = store_io_write(lease->store->io, lease->file, line, STORE_ID_TEXT, lease->end);
	if (ret)
		return error_set(err, ret, "check the store's directory and its space",
				 "store: lease: %s", error_name(ret));
	lease->end += STORE_ID_TEXT;
	return 0;
}

void store_lease_close(struct store_lease *lease)
{
	char path[STORE_IO_PATH_MAX];

	if (!lease)
		return;
	store_path(path, STORE_LEASES, &lease->id, "");
	lease->store->io->ops->unlink(lease->store->io, path);
	lease->store->io->ops->close(lease->store->io, lease->file);
	free(lease);
}

/* Blobs. */

int blob_put(struct store *store, struct store_lease *lease, const void *bytes, size_t size,
	     struct store_blob *out, struct error *err)
{
	struct store_blob blob = {.size = size};
	char path[STORE_IO_PATH_MAX];
	int ret, file;

	if (size > STORE_BLOB_MAX)
		return error_set(err, -EFBIG, NULL, "blob: %zu bytes are too many", size);
	ret = store_id_make(store, &blob.id, err);
	if (ret == 0)
		ret = store_lease_add(lease, &blob.id, err);
	if (ret)
		return ret;
	digest_of(bytes, size, blob.digest);
	store_path(path, STORE_BLOBS, &blob.id, "");
	file = ret = store_io_open(store->io, path, O_RDWR | O_CREAT | O_EXCL);
	if (file >= 0) {
		ret = store_io_write(store->io, file, bytes, size, 0);
		if (ret == 0)
			ret = store->io->ops->datasync(store->io, file);
		store->io->ops->close(store->io, file);
	}
	if (ret < 0)
		error_set(err, ret, "check the store's space", "blob: %s", error_name(ret));
	else
		ret = store_names_settle(store, STORE_BLOBS, err);
	if (ret) {
		if (file >= 0)
			store->io->ops->unlink(store->io, path);
		return ret;
	}
	*out = blob;
	return 0;
}

int blob_get(struct store *store, const struct store_blob *blob, void **bytes, struct error *err)
{
	uint8_t digest[STORE_DIGEST];
	char path[STORE_IO_PATH_MAX], *content = NULL;
	size_t size = 0;
	int ret;

	store_path(path, STORE_BLOBS, &blob->id, "");
	ret = store_io_read_file(store->io, path, STORE_BLOB_MAX, &content, &size);
	if (ret)
		return error_set(err, ret, "import the snapshot again from a backup", "'%s': %s",
				 path, error_name(ret));
	digest_of(content, size, digest);
	if (size != blob->size || memcmp(digest, blob->digest, sizeof(digest)) != 0) {
		free(content);
		return error_set(err, -EBADMSG, "import the snapshot again from a backup",
				 "'%s': it is damaged", path);
	}
	*bytes = content;
	return 0;
}
