/* SPDX-License-Identifier: MIT */
/* Published roots: their files, and what becomes of them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/layer.h"
#include "snapshot/root_impl.h"

#define PREFIX_MIN 4u

int root_load(struct store *store, const struct store_id *id, struct root *out, struct error *err)
{
	char path[STORE_IO_PATH_MAX], *text;
	struct root root;
	size_t size;
	int ret;

	store_path(path, STORE_ROOTS, id, STORE_JSON);
	ret = store_io_read_file(store->io, path, ROOT_MANIFEST_MAX, &text, &size);
	if (ret)
		return error_set(err, ret, "see lodge snapshot ls", "snapshot '%s': %s", path,
				 ret == -ENOENT ? "it is not there" : error_name(ret));
	ret = root_parse(text, size, &root, err);
	free(text);
	if (ret)
		return error_prefix(err, ret, "'%s'", path);
	if (!store_id_equal(&root.id, id)) {
		root_clear(&root);
		return error_set(err, -EINVAL, "remove the file", "'%s': it is another's", path);
	}
	*out = root;
	return 0;
}

/* All of them, oldest first. */

struct root_list {
	struct root *roots;
	size_t count;
};

static void root_list_free(struct root_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		root_clear(&list->roots[i]);
	free(list->roots);
}

static int root_order(const void *a, const void *b)
{
	const struct root *x = a, *y = b;

	if (x->time_ns != y->time_ns)
		return x->time_ns < y->time_ns ? -1 : 1;
	return memcmp(&x->id, &y->id, sizeof(x->id));
}

static int list_load(struct store *store, const struct name_list *names, struct root_list *list,
		     int (*damaged)(void *arg, const char *id, const struct error *why), void *arg,
		     struct error *err)
{
	for (size_t i = 0; i < names->count; i++) {
		char stem[STORE_ID_TEXT];
		struct error why = {0};
		struct store_id id;
		int ret;

		if (!name_stem(names->names[i], STORE_JSON, stem, sizeof(stem)) ||
		    store_id_parse(stem, &id))
			continue;
		ret = root_load(store, &id, &list->roots[list->count], &why);
		if (ret == 0)
			list->count++;
		else if (ret == -ENOENT) /* since */
			ret = 0;
		else if (damaged)
			ret = damaged(arg, stem, &why);
		else if (err)
			*err = why;
		if (ret)
			return ret;
	}
	if (list->count)
		qsort(list->roots, list->count, sizeof(*list->roots), root_order);
	return 0;
}

int root_for_each(struct store *store, int (*visit)(void *arg, const struct root *root),
		  int (*damaged)(void *arg, const char *id, const struct error *why), void *arg,
		  struct error *err)
{
	struct root_list list = {0};
	struct name_list names;
	int ret = name_list_read(store, STORE_ROOTS, &names, err);

	if (ret)
		return ret;
	list.roots = calloc(names.count + 1, sizeof(*list.roots));
	ret = list.roots ? list_load(store, &names, &list, damaged, arg, err)
			 : error_set(err, -ENOMEM, NULL, "store: no memory");
	for (size_t i = 0; i < list.count && ret == 0; i++)
		ret = visit(arg, &list.roots[i]);
	root_list_free(&list);
	name_list_free(&names);
	return ret;
}

/* Finding. */

struct find {
	enum root_kind kind;
	const char *key;
	bool by_name;
	unsigned matches;
	struct store_id id;
};

static int find_visit(void *arg, const struct root *root)
{
	struct find *find = arg;
	char text[STORE_ID_TEXT];

	if (strcmp(root_noun(root->kind), root_noun(find->kind)) != 0)
		return 0;
	store_id_text(&root->id, text);
	if (strcmp(root->name, find->key) == 0) {
		find->by_name = true;
		find->id = root->id;
		return 1;
	}
	if (root->kind != ROOT_HIBERNATION && strlen(find->key) >= PREFIX_MIN &&
	    strncmp(text, find->key, strlen(find->key)) == 0) {
		find->matches++;
		find->id = root->id;
	}
	return 0;
}

int root_pass_over(void *arg, const char *id, const struct error *why)
{
	(void)arg;
	(void)id;
	(void)why;
	return 0;
}

int root_find_kind(struct store *store, enum root_kind kind, const char *key, struct root *out,
		   struct error *err)
{
	static const char *const remedies[ROOT_KINDS] = {"see lodge snapshot ls",
							 "see lodge snapshot ls",
							 "see lodge image ls", "see lodge ls"};
	struct find find = {.kind = kind, .key = key};
	int ret = root_for_each(store, find_visit, root_pass_over, &find, err);

	if (ret < 0)
		return ret;
	if (!find.by_name && find.matches > 1)
		return error_set(err, -EEXIST, "give more of the id",
				 "%s '%s': several ids begin so", root_noun(kind), key);
	if (!find.by_name && !find.matches)
		return error_set(err, -ENOENT, remedies[kind], "%s '%s': it is not there",
				 root_noun(kind), key);
	return root_load(store, &find.id, out, err);
}

int root_find(struct store *store, const char *key, struct root *out, struct error *err)
{
	return root_find_kind(store, ROOT_VM, key, out, err);
}

int root_find_named(struct store *store, const char *name, struct root *out, struct error *err)
{
	struct find find = {.kind = ROOT_VM, .key = name};
	int ret = root_for_each(store, find_visit, root_pass_over, &find, err);

	if (ret < 0 || !find.by_name)
		return ret;
	ret = root_load(store, &find.id, out, err);
	return ret ? ret : 1;
}

/* Publishing. */

int root_find_volume(struct store *store, const char *text, struct root *out, unsigned *index,
		     struct error *err)
{
	const char *slash = strchr(text, '/');
	char key[TEXT_NAME_MAX + 1];
	int ret, at = 0;

	snprintf(key, sizeof(key), "%.*s", slash ? (int)(slash - text) : (int)sizeof(key), text);
	ret = root_find(store, key, out, err);
	if (ret)
		return ret;
	if (slash)
		at = root_volume_index(out, slash + 1);
	if (at < 0 || out->volume_count == 0 || (!slash && out->volume_count > 1)) {
		ret = error_set(err, -EINVAL, "give SNAPSHOT/VOLUME; see lodge snapshot info",
				"snapshot '%s': which volume of its %u?", key, out->volume_count);
		root_clear(out);
		return ret;
	}
	*index = (unsigned)at;
	return 0;
}

/* Has another root this id? Then one with another. The store's lock is held. */
static int id_settle(struct store *store, struct root *root, struct error *err)
{
	char path[STORE_IO_PATH_MAX];
	int file;

	store_path(path, STORE_ROOTS, &root->id, STORE_JSON);
	file = store_io_open(store->io, path, O_RDONLY);
	if (file == -ENOENT)
		return 0;
	if (file < 0)
		return root_error(root, err, file, "check the store", error_name(file));
	store->io->ops->close(store->io, file);
	return store_id_make(store, &root->id, err);
}

int root_write(struct store *store, const struct root *root, struct error *err)
{
	char name[STORE_ID_TEXT + sizeof(STORE_JSON)], id[STORE_ID_TEXT], *text;
	struct root back;
	int ret = root_format(root, &text, err);

	if (ret)
		return ret;
	/* Nothing is published that could not be read again. */
	ret = root_parse(text, strlen(text), &back, NULL);
	if (ret) {
		free(text);
		return root_error(root, err, ret, NULL, "a field of it has no such value");
	}
	root_clear(&back);
	store_id_text(&root->id, id);
	snprintf(name, sizeof(name), "%s" STORE_JSON, id);
	ret = strlen(text) > ROOT_MANIFEST_MAX
		      ? -EFBIG
		      : store_write_file(store, STORE_ROOTS, name, text, strlen(text));
	free(text);
	return ret ? root_error(root, err, ret, "check the store's space", error_name(ret)) : 0;
}

struct list_check {
	struct store *store;
	struct error *err;
};

static int list_check(void *arg, const struct store_id *ids, unsigned count)
{
	const struct list_check *check = arg;
	int ret = 0;

	for (unsigned i = 0; i < count && ret == 0; i++) {
		struct layer *layer;

		ret = layer_open(check->store, &ids[i], &layer, check->err);
		if (ret)
			break;
		if (!layer_info(layer)->sealed)
			ret = error_set(check->err, -EBUSY, NULL,
					"store: a layer of it is not sealed");
		layer_close(layer);
	}
	return ret;
}

static int root_check(struct store *store, const struct root *root, struct error *err)
{
	struct list_check check = {.store = store, .err = err};

	if (!text_is_name(root->name))
		return root_error(root, err, -EINVAL, "use letters, digits, '-', '_' and '.'",
				  "no such name can be");
	return root_for_each_list(root, list_check, &check);
}

int root_publish(struct store *store, struct root *root, struct error *err)
{
	struct find find = {.kind = root->kind, .key = root->name};
	int lock, ret = 0;

	if (store_id_is_zero(&root->id))
		ret = store_id_make(store, &root->id, err);
	if (ret)
		return ret;
	lock = store_lock(store, err);
	if (lock < 0)
		return lock;
	ret = root_check(store, root, err);
	if (ret == 0)
		ret = root_for_each(store, find_visit, root_pass_over, &find, err);
	if (find.by_name)
		ret = root_error(root, err, -EEXIST, "choose another name", "it is there already");
	if (ret == 0)
		ret = id_settle(store, root, err);
	if (ret == 0)
		ret = root_write(store, root, err);
	store_unlock(store, lock);
	return ret;
}

int root_set_state(struct store *store, const struct store_id *id, enum root_state state,
		   struct error *err)
{
	struct root root = {0};
	int lock = store_lock(store, err), ret;

	if (lock < 0)
		return lock;
	ret = root_load(store, id, &root, err);
	if (ret == 0) {
		root.state = state;
		ret = root_write(store, &root, err);
		root_clear(&root);
	}
	store_unlock(store, lock);
	return ret;
}

/* Removing. */

struct use {
	const struct store_id *id;
	char name[TEXT_NAME_MAX + 1];
	char image[TEXT_NAME_MAX + 1]; /* that is made of it; empty: none */
};

static int use_visit(void *arg, const struct root *root)
{
	struct use *use = arg;

	if (store_id_equal(&root->id, use->id))
		memcpy(use->name, root->name, sizeof(use->name));
	if (root->kind == ROOT_IMAGE && root->has_parent && store_id_equal(&root->parent, use->id))
		memcpy(use->image, root->name, sizeof(use->image));
	return 0;
}

static int remove_locked(struct store *store, const struct store_id *id, struct error *err)
{
	struct use use = {.id = id};
	char path[STORE_IO_PATH_MAX];
	int ret = root_for_each(store, use_visit, root_pass_over, &use, err);

	if (ret)
		return ret;
	if (use.image[0])
		return error_set(err, -EBUSY, "remove that first: lodge image rm",
				 "snapshot '%s': image '%s' is made of it", use.name, use.image);
	store_path(path, STORE_ROOTS, id, STORE_JSON);
	ret = store->io->ops->unlink(store->io, path);
	if (ret == 0)
		ret = store_change_sync(store, STORE_ROOTS);
	return ret ? error_set(err, ret, "see lodge snapshot ls", "snapshot '%s': %s", path,
			       ret == -ENOENT ? "it is not there" : error_name(ret))
		   : 0;
}

int root_remove(struct store *store, const struct store_id *id, struct error *err)
{
	int lock = store_lock(store, err), ret;

	if (lock < 0)
		return lock;
	ret = remove_locked(store, id, err);
	store_unlock(store, lock);
	return ret;
}

/* Sums. */

int root_for_each_layer(struct store *store, const struct root *root,
			int (*work)(void *arg, struct layer *layer, struct error *err), void *arg,
			struct error *err)
{
	struct id_list ids = {0};
	struct root bare = *root;
	int ret;

	bare.has_device_state = false;
	ret = root_references(&bare, &ids);
	if (ret)
		error_set(err, ret, NULL, "store: no memory");
	id_list_has(&ids, &root->id); /* sorts, so that what is named twice is next to itself */
	for (size_t i = 0; i < ids.count && ret == 0; i++) {
		struct layer *layer;

		if (i && store_id_equal(&ids.ids[i], &ids.ids[i - 1]))
			continue;
		ret = layer_open(store, &ids.ids[i], &layer, err);
		if (ret == 0) {
			ret = work(arg, layer, err);
			layer_close(layer);
		}
	}
	id_list_free(&ids);
	return ret;
}

static int digest_work(void *arg, struct layer *layer, struct error *err)
{
	(void)arg;
	return layer_digest(layer, err);
}

static int verify_work(void *arg, struct layer *layer, struct error *err)
{
	(void)arg;
	return layer_verify(layer, err);
}

int root_complete(struct store *store, const struct store_id *id, struct error *err)
{
	struct root root = {0};
	int ret = root_load(store, id, &root, err);

	if (ret)
		return ret;
	ret = root_for_each_layer(store, &root, digest_work, NULL, err);
	if (ret == 0 && root.state == ROOT_PENDING)
		ret = root_set_state(store, id, ROOT_COMPLETE, err);
	root_clear(&root);
	return ret;
}

int root_verify(struct store *store, const struct store_id *id, struct error *err)
{
	struct root root = {0};
	void *bytes = NULL;
	int ret = root_load(store, id, &root, err);

	if (ret)
		return ret;
	ret = root_for_each_layer(store, &root, verify_work, NULL, err);
	if (ret == 0 && root.has_device_state)
		ret = blob_get(store, &root.device_state, &bytes, err);
	free(bytes);
	if (ret == 0 && root.state != ROOT_VERIFIED)
		ret = root_set_state(store, id, ROOT_VERIFIED, err);
	root_clear(&root);
	return ret;
}
