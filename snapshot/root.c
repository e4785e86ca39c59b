/* SPDX-License-Identifier: MIT */
/* Roots as structs and as text. */
#include "snapshot/root.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/manifest_impl.h"
#include "snapshot/root_impl.h"

#define FORMAT "lodge-root"

static const char *const kind_names[ROOT_KINDS] = {"disk", "vm", "image", "hibernation"};
static const char *const state_names[ROOT_STATES] = {"pending", "complete", "verified"};

const char *root_kind_name(enum root_kind kind)
{
	return kind_names[kind];
}

const char *root_state_name(enum root_state state)
{
	return state_names[state];
}

int root_error(const struct root *root, struct error *err, int code, const char *remedy,
	       const char *what)
{
	return error_set(err, code, remedy, "%s '%s': %s", root_noun(root->kind), root->name, what);
}

bool root_is_snapshot(const struct root *root)
{
	return root->kind == ROOT_DISK || root->kind == ROOT_VM;
}

const char *root_noun(enum root_kind kind)
{
	static const char *const nouns[ROOT_KINDS] = {"snapshot", "snapshot", "image",
						      "hibernated guest"};

	return nouns[kind];
}

bool root_as_parent(const struct root *root, struct store_id *out)
{
	bool itself = root->kind != ROOT_HIBERNATION;

	*out = itself ? root->id : root->parent;
	return itself || root->has_parent;
}

void root_clear(struct root *root)
{
	free(root->volumes);
	json_object_put(root->config);
	memset(root, 0, sizeof(*root));
}

struct root_volume *root_add_volume(struct root *root)
{
	struct root_volume *volumes;

	if (root->volume_count == ROOT_VOLUMES_MAX)
		return NULL;
	volumes = realloc(root->volumes, (root->volume_count + 1) * sizeof(*volumes));
	if (!volumes)
		return NULL;
	root->volumes = volumes;
	memset(&volumes[root->volume_count], 0, sizeof(*volumes));
	return &volumes[root->volume_count++];
}

int root_add_snapshot(struct root *root, const struct volume_manifest *manifest, struct error *err)
{
	struct root_volume *to;

	if (root_volume_index(root, manifest->name) >= 0)
		return root_error(root, err, -EEXIST, NULL, "one volume twice");
	to = root_add_volume(root);
	if (!to)
		return root_error(root, err, -ENOMEM, NULL, "no room for its volumes");
	memcpy(to->name, manifest->name, sizeof(to->name));
	to->size = manifest->size;
	to->base = manifest->base;
	to->layer_count = manifest->layer_count - 1;
	memcpy(to->layers, manifest->layers + 1, to->layer_count * sizeof(*to->layers));
	return 0;
}

int root_volume_index(const struct root *root, const char *name)
{
	for (unsigned i = 0; i < root->volume_count; i++)
		if (strcmp(root->volumes[i].name, name) == 0)
			return (int)i;
	return -1;
}

int root_for_each_list(const struct root *root,
		       int (*visit)(void *arg, const struct store_id *ids, unsigned count),
		       void *arg)
{
	int ret = 0;

	for (unsigned i = 0; i < root->volume_count && ret == 0; i++)
		ret = visit(arg, root->volumes[i].layers, root->volumes[i].layer_count);
	return ret ? ret : visit(arg, root->memory_layers, root->memory_layer_count);
}

static int add_ids(void *arg, const struct store_id *ids, unsigned count)
{
	return id_list_add_all(arg, ids, count);
}

int root_references(const struct root *root, struct id_list *out)
{
	int ret = root_for_each_list(root, add_ids, out);

	return ret == 0 && root->has_device_state ? id_list_add(out, &root->device_state.id) : ret;
}

static int layers_visit(const struct id_list *ids, int (*visit)(void *arg, const char *path),
			void *arg)
{
	static const char *const suffixes[] = {".data", ".map"};
	char path[STORE_IO_PATH_MAX];
	int ret = 0;

	for (size_t i = 0; i < ids->count; i++)
		for (unsigned k = 0; k < 2 && ret == 0; k++) {
			store_path(path, STORE_LAYERS, &ids->ids[i], suffixes[k]);
			ret = visit(arg, path);
		}
	return ret;
}

int root_for_each_file(const struct root *root, int (*visit)(void *arg, const char *path),
		       void *arg)
{
	char path[STORE_IO_PATH_MAX];
	struct id_list ids = {0};
	int ret = root_for_each_list(root, add_ids, &ids);

	if (ret == 0)
		ret = layers_visit(&ids, visit, arg);
	id_list_free(&ids);
	if (ret == 0 && root->has_device_state) {
		store_path(path, STORE_BLOBS, &root->device_state.id, "");
		ret = visit(arg, path);
	}
	store_path(path, STORE_ROOTS, &root->id, STORE_JSON);
	return ret ? ret : visit(arg, path);
}

/* Text to struct. */

static int word_parse(struct json_object *object, const char *key, const char *const *words,
		      unsigned count, unsigned *out)
{
	char text[16];

	if (manifest_string(object, key, false, text, sizeof(text)))
		return -EINVAL;
	for (unsigned i = 0; i < count; i++)
		if (strcmp(text, words[i]) == 0) {
			*out = i;
			return 0;
		}
	return -EINVAL;
}

static int volume_parse(struct json_object *object, struct root *root)
{
	struct root_volume volume = {0}, *to;

	if (!json_object_is_type(object, json_type_object) ||
	    manifest_name(object, "name", volume.name) ||
	    manifest_number(object, "size", VOLUME_SECTOR, STORE_BLOCKS_MAX * STORE_BLOCK,
			    &volume.size) ||
	    volume.size % VOLUME_SECTOR || manifest_base(object, &volume.base) ||
	    manifest_ids(object, "layers", 0, volume.layers, &volume.layer_count) ||
	    root_volume_index(root, volume.name) >= 0)
		return -EINVAL;
	to = root_add_volume(root);
	if (!to)
		return -ENOMEM;
	*to = volume;
	return 0;
}

static int volumes_parse(struct json_object *object, struct root *root)
{
	struct json_object *array = NULL;
	int ret = 0;

	json_object_object_get_ex(object, "volumes", &array);
	if (!json_object_is_type(array, json_type_array) ||
	    json_object_array_length(array) > ROOT_VOLUMES_MAX)
		return -EINVAL;
	for (size_t i = 0; i < json_object_array_length(array) && ret == 0; i++)
		ret = volume_parse(json_object_array_get_idx(array, i), root);
	return ret;
}

static int memory_parse(struct json_object *object, struct root *root)
{
	struct json_object *memory = NULL;

	if (!json_object_object_get_ex(object, "memory", &memory))
		return 0;
	if (!json_object_is_type(memory, json_type_object) ||
	    manifest_number(memory, "size", STORE_BLOCK, STORE_BLOCKS_MAX * STORE_BLOCK,
			    &root->memory_size) ||
	    root->memory_size % STORE_BLOCK)
		return -EINVAL;
	return manifest_ids(memory, "layers", 1, root->memory_layers, &root->memory_layer_count);
}

static int device_state_parse(struct json_object *object, struct root *root)
{
	struct json_object *blob = NULL;

	root->has_device_state = json_object_object_get_ex(object, "device_state", &blob);
	if (!root->has_device_state)
		return 0;
	if (!json_object_is_type(blob, json_type_object) ||
	    manifest_id(blob, "id", &root->device_state.id) ||
	    manifest_number(blob, "size", 0, STORE_BLOB_MAX, &root->device_state.size) ||
	    manifest_digest(blob, "sha256", root->device_state.digest))
		return -EINVAL;
	return 0;
}

static int config_parse(struct json_object *object, struct root *root)
{
	struct json_object *config = NULL;

	if (!json_object_object_get_ex(object, "config", &config))
		return 0;
	if (!json_object_is_type(config, json_type_object))
		return -EINVAL;
	root->config = json_object_get(config);
	return 0;
}

static int root_fields(struct json_object *object, struct root *root)
{
	unsigned kind = 0, state = 0;
	int ret;

	if (manifest_id(object, "id", &root->id) || store_id_is_zero(&root->id) ||
	    manifest_name(object, "name", root->name) ||
	    manifest_string(object, "comment", true, root->comment, sizeof(root->comment)) ||
	    manifest_number(object, "time_ns", 0, INT64_MAX, &root->time_ns) ||
	    word_parse(object, "kind", kind_names, ROOT_KINDS, &kind) ||
	    word_parse(object, "state", state_names, ROOT_STATES, &state) ||
	    manifest_id_if(object, "parent", &root->has_parent, &root->parent))
		return -EINVAL;
	root->kind = (enum root_kind)kind;
	root->state = (enum root_state)state;
	ret = volumes_parse(object, root);
	if (ret == 0)
		ret = memory_parse(object, root);
	if (ret == 0)
		ret = device_state_parse(object, root);
	return ret ? ret : config_parse(object, root);
}

int root_parse(const char *text, size_t size, struct root *out, struct error *err)
{
	struct root root = {0};
	struct json_object *object;
	int ret = size > ROOT_MANIFEST_MAX ? -EFBIG : manifest_parse(text, size, FORMAT, &object);

	if (ret == 0) {
		ret = root_fields(object, &root);
		json_object_put(object);
	}
	if (ret) {
		root_clear(&root);
		return error_set(err, ret, "import it again from a backup, or remove the file",
				 ret == -EPROTONOSUPPORT ? "snapshot: its format is a newer lodge's"
							 : "snapshot: its manifest makes no sense");
	}
	*out = root;
	return 0;
}

/* Struct to text. */

static int volume_format(const struct root_volume *volume, struct json_object *array)
{
	struct json_object *object = json_object_new_object();

	if (object && manifest_add_string(object, "name", volume->name) == 0 &&
	    manifest_add_number(object, "size", volume->size) == 0 &&
	    manifest_add_base(object, &volume->base) == 0 &&
	    manifest_add_ids(object, "layers", volume->layers, volume->layer_count) == 0 &&
	    json_object_array_add(array, object) == 0)
		return 0;
	json_object_put(object);
	return -ENOMEM;
}

static int volumes_format(const struct root *root, struct json_object *object)
{
	struct json_object *array = json_object_new_array();
	int ret = array ? 0 : -ENOMEM;

	for (unsigned i = 0; i < root->volume_count && ret == 0; i++)
		ret = volume_format(&root->volumes[i], array);
	if (ret) {
		json_object_put(array);
		return ret;
	}
	return manifest_add(object, "volumes", array);
}

static int memory_format(const struct root *root, struct json_object *object)
{
	struct json_object *memory;

	if (!root->memory_size)
		return 0;
	memory = json_object_new_object();
	if (memory && manifest_add_number(memory, "size", root->memory_size) == 0 &&
	    manifest_add_ids(memory, "layers", root->memory_layers, root->memory_layer_count) == 0)
		return manifest_add(object, "memory", memory);
	json_object_put(memory);
	return -ENOMEM;
}

static int device_state_format(const struct root *root, struct json_object *object)
{
	struct json_object *blob;

	if (!root->has_device_state)
		return 0;
	blob = json_object_new_object();
	if (blob && manifest_add_id(blob, "id", &root->device_state.id) == 0 &&
	    manifest_add_number(blob, "size", root->device_state.size) == 0 &&
	    manifest_add_digest(blob, "sha256", root->device_state.digest) == 0)
		return manifest_add(object, "device_state", blob);
	json_object_put(blob);
	return -ENOMEM;
}

int root_format(const struct root *root, char **text, struct error *err)
{
	struct json_object *object = manifest_new(FORMAT);
	size_t size;
	int ret = -ENOMEM;

	if (object && manifest_add_id(object, "id", &root->id) == 0 &&
	    manifest_add_string(object, "name", root->name) == 0 &&
	    manifest_add_string(object, "comment", root->comment) == 0 &&
	    manifest_add_number(object, "time_ns", root->time_ns) == 0 &&
	    manifest_add_string(object, "kind", kind_names[root->kind]) == 0 &&
	    manifest_add_string(object, "state", state_names[root->state]) == 0 &&
	    (!root->has_parent || manifest_add_id(object, "parent", &root->parent) == 0) &&
	    volumes_format(root, object) == 0 && memory_format(root, object) == 0 &&
	    device_state_format(root, object) == 0 &&
	    (!root->config || manifest_add(object, "config", json_object_get(root->config)) == 0))
		ret = manifest_text(object, text, &size);
	json_object_put(object);
	return ret ? root_error(root, err, ret, NULL, error_name(ret)) : 0;
}
