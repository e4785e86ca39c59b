/* SPDX-License-Identifier: MIT */
/* lodge volume: disks in the store. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/block.h"
#include "block/export.h"
#include "block/volume.h"
#include "snapshot/root.h"
#include "snapshot/volume.h"
#include "vmm/base/checked.h"
#include "vmm/base/process.h"
#include "vmm/cli/installed.h"
#include "vmm/cli/store_open.h"
#include "vmm/cli/table.h"
#include "vmm/cli/verbs.h"

#define COPY_SIZE (1u << 20)

static int name_check(const char *name, struct error *err)
{
	if (text_is_name(name))
		return 0;
	return error_set(err, -EINVAL, "use letters, digits, . _ and -",
			 "volume '%s': no such name can be", name);
}

static int size_parse(const char *text, uint64_t *out, struct error *err)
{
	if (text_to_size(text, out) || *out == 0 || *out % VOLUME_SECTOR ||
	    *out / STORE_BLOCK >= STORE_BLOCKS_MAX)
		return error_set(err, -EINVAL, "give a size such as 10G, up to 64T", "size '%s'",
				 text);
	return 0;
}

/* FILE[,format=F][,compress=C][,replace]: of an image that is read or written. */
struct image {
	char path[PATH_MAX];
	const char *format;
	enum export_compression compression;
	bool replace;
};

static int image_word(struct image *image, const char *word, struct error *err)
{
	if (strcmp(word, "format=raw") == 0 || strcmp(word, "format=qcow2") == 0)
		image->format = word[7] == 'r' ? "raw" : "qcow2";
	else if (strcmp(word, "compress=zstd") == 0)
		image->compression = EXPORT_ZSTD;
	else if (strcmp(word, "compress=deflate") == 0)
		image->compression = EXPORT_DEFLATE;
	else if (strcmp(word, "replace") == 0)
		image->replace = true;
	else
		return error_set(err, -EINVAL,
				 "use format=raw or qcow2, compress=zstd or deflate, replace",
				 "image attribute '%s': unknown", word);
	return 0;
}

static int image_parse(char *text, struct image *image, struct error *err)
{
	char *rest = text, *word = strsep(&rest, ",");

	*image = (struct image){.format = "raw", .compression = EXPORT_PLAIN};
	snprintf(image->path, sizeof(image->path), "%s", word);
	while ((word = strsep(&rest, ","))) {
		int ret = image_word(image, word, err);

		if (ret)
			return ret;
	}
	if (image->compression != EXPORT_PLAIN && strcmp(image->format, "qcow2") != 0)
		return error_set(err, -EINVAL, "give format=qcow2",
				 "image '%s': compress=", image->path);
	return 0;
}

/* SIZE, or the image below it and its size. */
static int base_parse(char *text, struct volume_base *base, uint64_t *size, struct error *err)
{
	struct block_options options = {.read_only = true};
	char path[PATH_MAX];
	struct image image;
	struct block *block;
	int ret = image_parse(text, &image, err);

	if (ret)
		return ret;
	if (!realpath(image.path, path))
		return error_set(err, -errno, "give a size such as 10G, or an image",
				 "base image '%s': %s", image.path, error_name(-errno));
	if (strlen(path) >= sizeof(base->path))
		return error_set(err, -ENAMETOOLONG, "move it", "base image '%s'", image.path);
	memcpy(base->path, path, strlen(path) + 1);
	snprintf(base->format, sizeof(base->format), "%s", image.format);
	options.path = base->path;
	ret = block_open(base->format, &options, &block, err);
	if (ret)
		return ret;
	if (*size == 0)
		*size = block_info(block)->size;
	block_close(block);
	return 0;
}

static int volume_cmd_create(const struct options *o, const struct verb_words *w, struct error *err)
{
	struct volume_base base = {.path = ""};
	struct store *store;
	uint64_t size = 0;
	int ret = name_check(w->word[0], err);

	(void)o;
	if (ret == 0 && text_to_size(w->word[1], &size))
		ret = base_parse(w->word[1], &base, &size, err);
	else if (ret == 0)
		ret = size_parse(w->word[1], &size, err);
	if (ret == 0 && w->count > 2)
		ret = base_parse(w->word[2], &base, &size, err);
	if (ret == 0)
		ret = cli_store_open(&store, err);
	if (ret)
		return ret;
	ret = volume_create(store, w->word[0], size, base.path[0] ? &base : NULL, err);
	store_close(store);
	return ret;
}

struct listing {
	struct store *store;
	struct json_object *rows;
	struct error *err;
};

static void stored_add(struct store *store, const struct volume_manifest *m, struct json_object *to)
{
	uint64_t stored = 0, bytes;

	for (unsigned i = 0; i < m->layer_count; i++) {
		struct error err = {0};
		struct layer *layer;

		/* One that is missing is store check's to tell. */
		if (layer_open(store, &m->layers[i], &layer, &err))
			continue;
		if (layer_stored(layer, &bytes, &err) == 0)
			stored += bytes;
		layer_close(layer);
	}
	json_add_number(to, "stored_bytes", stored);
}

static struct json_object *volume_row(struct store *store, const struct volume_manifest *m)
{
	struct json_object *row = json_object_new_object();
	char id[STORE_ID_TEXT];

	json_add_text(row, "name", m->name);
	json_add_number(row, "size_bytes", m->size);
	stored_add(store, m, row);
	json_add_number(row, "layers", m->layer_count);
	if (m->base.path[0]) {
		json_add_text(row, "base", m->base.path);
		json_add_text(row, "base_format", m->base.format);
	}
	if (m->has_parent) {
		store_id_text(&m->parent, id);
		json_add_text(row, "parent", id);
	}
	return row;
}

static int list_one(void *arg, const struct volume_manifest *manifest)
{
	struct listing *listing = arg;

	json_object_array_add(listing->rows, volume_row(listing->store, manifest));
	return 0;
}

static int volume_cmd_ls(const struct options *o, const struct verb_words *w, struct error *err)
{
	static const struct table_column columns[] = {
		{"NAME", "name"},     {"SIZE", "size_bytes"}, {"STORED", "stored_bytes"},
		{"LAYERS", "layers"}, {"BASE", "base"},       {NULL, NULL}};
	struct listing listing = {.rows = json_object_new_array(), .err = err};
	int ret = cli_store_open(&listing.store, err);

	(void)w;
	if (ret == 0) {
		ret = volume_for_each(listing.store, list_one, &listing, err);
		store_close(listing.store);
	}
	if (ret == 0 && o->json)
		json_print(listing.rows);
	else if (ret == 0)
		table_print(listing.rows, columns);
	json_object_put(listing.rows);
	return ret;
}

static int volume_cmd_info(const struct options *o, const struct verb_words *w, struct error *err)
{
	struct volume_manifest *manifest = calloc(1, sizeof(*manifest));
	struct json_object *row;
	struct store *store;
	int ret = manifest ? cli_store_open(&store, err) : -ENOMEM;

	(void)o;
	if (ret == 0) {
		ret = volume_find(store, w->word[0], manifest, err);
		if (ret == 0) {
			row = volume_row(store, manifest);
			json_print(row);
			json_object_put(row);
		}
		store_close(store);
	}
	free(manifest);
	return ret;
}

static int volume_cmd_rm(const struct options *o, const struct verb_words *w, struct error *err)
{
	struct store_swept swept;
	struct store *store;
	int ret = cli_store_open(&store, err);

	(void)o;
	if (ret)
		return ret;
	ret = volume_remove(store, w->word[0], err);
	if (ret == 0)
		ret = store_sweep(store, &swept, err);
	store_close(store);
	return ret;
}

static int volume_cmd_resize(const struct options *o, const struct verb_words *w, struct error *err)
{
	struct store *store;
	uint64_t size;
	int ret = size_parse(w->word[1], &size, err);

	(void)o;
	if (ret == 0)
		ret = cli_store_open(&store, err);
	if (ret)
		return ret;
	ret = volume_resize(store, w->word[0], size, err);
	store_close(store);
	return ret;
}

static int volume_cmd_clone(const struct options *o, const struct verb_words *w, struct error *err)
{
	struct store *store;
	unsigned index = 0;
	struct root *root = calloc(1, sizeof(*root));
	int ret = root ? name_check(w->word[1], err) : -ENOMEM;

	(void)o;
	if (ret == 0)
		ret = cli_store_open(&store, err);
	if (ret == 0) {
		ret = root_find_volume(store, w->word[0], root, &index, err);
		if (ret == 0) {
			ret = volume_clone(store, w->word[1], root, index, err);
			root_clear(root);
		}
		store_close(store);
	}
	free(root);
	return ret;
}

static int run_copy(struct block *from, struct volume *to, uint64_t offset, uint64_t length,
		    uint8_t *bytes)
{
	int ret = 0;

	while (length && ret == 0) {
		size_t n = length < COPY_SIZE ? (size_t)length : COPY_SIZE;

		ret = block_read(from, offset, bytes, n);
		if (ret == 0)
			ret = volume_write(to, offset, n, bytes);
		offset += n;
		length -= n;
	}
	return ret;
}

static int image_copy(struct block *from, struct volume *to)
{
	uint64_t size = block_info(from)->size, run;
	uint8_t *bytes = malloc(COPY_SIZE);
	int ret = bytes ? 0 : -ENOMEM;

	for (uint64_t at = 0; at < size && ret == 0; at += run) {
		enum block_status status;

		ret = block_map(from, at, size - at, &status, &run);
		if (ret == 0 && status == BLOCK_DATA)
			ret = run_copy(from, to, at, run, bytes);
	}
	free(bytes);
	return ret;
}

static int import_into(struct store *store, const char *name, struct block *from, struct error *err)
{
	struct volume *to;
	int ret, closed;

	ret = volume_create(store, name, block_info(from)->size, NULL, err);
	if (ret)
		return ret;
	ret = volume_open(store, name, false, &to, err);
	if (ret == 0) {
		ret = image_copy(from, to);
		if (ret)
			error_set(err, ret, NULL, "volume '%s': import: %s", name, error_name(ret));
		closed = volume_close(to);
		if (ret == 0 && closed)
			ret = error_set(err, closed, NULL, "volume '%s': %s", name,
					error_name(closed));
	}
	if (ret) {
		struct store_swept swept;
		struct error other = {0};

		volume_remove(store, name, &other);
		store_sweep(store, &swept, &other);
	}
	return ret;
}

static int volume_cmd_import(const struct options *o, const struct verb_words *w, struct error *err)
{
	struct block_options options = {.read_only = true};
	struct image image;
	struct store *store;
	struct block *from;
	int ret = name_check(w->word[0], err);

	(void)o;
	if (ret == 0)
		ret = image_parse(w->word[1], &image, err);
	if (ret == 0) {
		options.path = image.path;
		ret = block_open(image.format, &options, &from, err);
	}
	if (ret)
		return ret;
	ret = cli_store_open(&store, err);
	if (ret == 0) {
		ret = import_into(store, w->word[0], from, err);
		store_close(store);
	}
	block_close(from);
	return ret;
}

/* A volume, or else a snapshot's. */
static void source_of(const char *text, struct block_options *options)
{
	options->path = text;
	options->snapshot = !cli_store_has_volume(text);
	options->read_only = true;
}

static int volume_cmd_export(const struct options *o, const struct verb_words *w, struct error *err)
{
	struct block_options options = {0};
	struct export_options to = {0};
	struct image image;
	struct store *store;
	struct block *block;
	int ret = image_parse(w->word[1], &image, err);

	(void)o;
	if (ret == 0)
		ret = cli_store_open(&store, err);
	if (ret)
		return ret;
	source_of(w->word[0], &options);
	options.store = store;
	to.path = image.path;
	to.replace = image.replace;
	to.compression = image.compression;
	ret = block_open("volume", &options, &block, err);
	if (ret == 0) {
		ret = export_block(image.format, &to, block, err);
		block_close(block);
	}
	store_close(store);
	return ret;
}

/* Becomes nbdkit, until it is told to end. */
static int volume_cmd_serve(const struct options *o, const struct verb_words *w, struct error *err)
{
	char directory[PATH_MAX], runtime[PATH_MAX], plugin[PATH_MAX];
	char words[3][PATH_MAX + sizeof("snapshot=")];
	const char *argv[] = {"nbdkit", "--foreground", "--readonly", "--unix", w->word[1],
			      plugin,   words[0],       words[1],     words[2], NULL};
	const struct process nbdkit = {.argv = argv, .package = "nbdkit", .fd = -1};
	struct block_options source = {0};
	struct store *store;
	struct block *block;
	int ret = installed_find("../block/lodge-nbd.so", PLUGIN_FROM_BIN, plugin, NULL);

	(void)o;
	if (ret)
		ret = error_set(err, ret, "install nbdkit-plugin-dev, then build lodge anew",
				"nbdkit's plugin lodge-nbd.so: it was not built");
	if (ret == 0)
		ret = cli_store_open(&store, err);
	if (ret)
		return ret;
	/* Its errors are told in our words. */
	source_of(w->word[0], &source);
	source.store = store;
	ret = block_open("volume", &source, &block, err);
	if (ret == 0)
		block_close(block);
	store_close(store);
	if (ret == 0)
		ret = cli_store_paths(directory, runtime, err);
	if (ret)
		return ret;
	snprintf(words[0], sizeof(words[0]), "store=%s", directory);
	snprintf(words[1], sizeof(words[1]), "runtime=%s", runtime);
	snprintf(words[2], sizeof(words[2]), "%s=%s", source.snapshot ? "snapshot" : "volume",
		 w->word[0]);
	return process_become(&nbdkit, err);
}

int cmd_volume(const struct options *options)
{
	static const struct verb verbs[] = {
		{"create", "NAME SIZE | NAME [SIZE] IMAGE[,format=qcow2]", 2, 3, volume_cmd_create},
		{"ls", "", 0, 0, volume_cmd_ls},
		{"info", "NAME", 1, 1, volume_cmd_info},
		{"rm", "NAME", 1, 1, volume_cmd_rm},
		{"resize", "NAME SIZE", 2, 2, volume_cmd_resize},
		{"clone", "SNAPSHOT[/VOLUME] NAME", 2, 2, volume_cmd_clone},
		{"import", "NAME IMAGE[,format=qcow2]", 2, 2, volume_cmd_import},
		{"export", "NAME|SNAPSHOT[/VOLUME] IMAGE[,format=qcow2][,compress=zstd][,replace]",
		 2, 2, volume_cmd_export},
		{"serve", "NAME|SNAPSHOT[/VOLUME] SOCKET", 2, 2, volume_cmd_serve},
		{0},
	};

	return verbs_run("volume", verbs, options);
}
