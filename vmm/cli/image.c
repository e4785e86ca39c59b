/* SPDX-License-Identifier: MIT */
/*
 * lodge image: what new guests are made of: the disks of a snapshot, which guest's disk is which
 * (its disk options, in their order), and with what it is run. Guests boot from it; to go on in the
 * middle is what snapshot restore --as is for. An image names all of its layers itself, and its
 * snapshot by id, which is kept as long as there is the image.
 */
#include "vmm/cli/image.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/clock.h"
#include "vmm/cli/clone.h"
#include "vmm/cli/guest_config.h"
#include "vmm/cli/snapshot.h"
#include "vmm/cli/store_open.h"
#include "vmm/cli/table.h"
#include "vmm/cli/verbs.h"

/* Creating. */

/* A snapshot becomes an image of it. */
static int image_make(struct root *root, const struct options *o, const char *name,
		      struct error *err)
{
	if (strlen(name) > TEXT_NAME_MAX || strlen(o->comment) > ROOT_COMMENT_MAX)
		return error_set(err, -ENAMETOOLONG, "shorten it", "image '%.64s': its %s", name,
				 strlen(name) > TEXT_NAME_MAX ? "name" : "comment");
	if (root->volume_count == 0)
		return error_set(err, -EINVAL, "take one of a guest that has volumes",
				 "snapshot '%s': it has no disks", root->name);
	if (!root->config)
		root->config = guest_config_of_volumes(root);
	root->has_parent = true;
	root->parent = root->id;
	memset(&root->id, 0, sizeof(root->id));
	root->kind = ROOT_IMAGE;
	root->time_ns = clock_realtime_ns();
	root->memory_size = 0;
	root->memory_layer_count = 0;
	root->has_device_state = false;
	snprintf(root->name, sizeof(root->name), "%s", name);
	snprintf(root->comment, sizeof(root->comment), "%s", o->comment);
	return 0;
}

static int image_cmd_create(const struct options *o, const struct verb_words *w, struct error *err)
{
	struct root *root = calloc(1, sizeof(*root));
	struct store *store;
	int ret = root ? 0 : -ENOMEM;

	if (ret == 0 && !o->from)
		ret = error_set(err, -EINVAL, "give --from SNAPSHOT", "image '%s': of what?",
				w->word[0]);
	if (ret == 0)
		ret = cli_store_open(&store, err);
	if (ret == 0) {
		ret = root_find(store, o->from, root, err);
		if (ret == 0)
			ret = image_make(root, o, w->word[0], err);
		if (ret == 0)
			ret = root_publish(store, root, err);
		if (ret == 0)
			ret = root_complete(store, &root->id, err);
		root_clear(root);
		store_close(store);
	}
	free(root);
	return ret;
}

/* Listing. */

/* A snapshot's row, as far as it holds for an image. */
static struct json_object *image_row(struct store *store, const struct root *root)
{
	struct json_object *row = snapshot_row(store, root);
	struct error ignored = {0};
	char id[STORE_ID_TEXT];
	struct root of;

	json_object_object_del(row, "memory_bytes");
	if (root_load(store, &root->parent, &of, &ignored) == 0) {
		json_add_text(row, "snapshot", of.name);
		root_clear(&of);
	} else {
		store_id_text(&root->parent, id);
		json_add_text(row, "snapshot", id);
	}
	return row;
}

struct listing {
	struct store *store;
	struct json_object *rows;
};

static int list_one(void *arg, const struct root *root)
{
	struct listing *listing = arg;

	if (root->kind == ROOT_IMAGE)
		json_object_array_add(listing->rows, image_row(listing->store, root));
	return 0;
}

static int image_cmd_ls(const struct options *o, const struct verb_words *w, struct error *err)
{
	static const struct table_column columns[] = {
		{"NAME", "name"},
		{"SNAPSHOT", "snapshot"},
		{"TIME", "time"},
		{"STORED", "stored_bytes"},
		{"EXCLUSIVE", "exclusive_bytes"},
		{"COMMENT", "comment"},
		{NULL, NULL},
	};
	struct listing listing = {.rows = json_object_new_array()};
	int ret = cli_store_open(&listing.store, err);

	(void)w;
	if (ret == 0) {
		ret = root_for_each(listing.store, list_one, root_pass_over, &listing, err);
		store_close(listing.store);
	}
	if (ret == 0 && o->json)
		json_print(listing.rows);
	else if (ret == 0)
		table_print(listing.rows, columns);
	json_object_put(listing.rows);
	return ret;
}

/* What the guest finds where: the first disk is /dev/vda. */
static struct json_object *disks_of(const struct root *root, const struct options *o)
{
	struct json_object *disks = json_object_new_array();

	for (unsigned i = 0; i < o->disk_count; i++) {
		struct json_object *disk = json_object_new_object();
		int at = root_volume_index(root, o->disk[i].path);
		char device[] = {'v', 'd', (char)('a' + i), 0};

		json_add_text(disk, "device", device);
		json_add_text(disk, at < 0 ? "path" : "volume", o->disk[i].path);
		if (at >= 0)
			json_add_number(disk, "size_bytes", root->volumes[at].size);
		json_object_object_add(disk, "read_only",
				       json_object_new_boolean(o->disk[i].read_only));
		json_object_array_add(disks, disk);
	}
	return disks;
}

static int image_info(struct store *store, struct root *root, void *arg, struct error *err)
{
	struct options *o = malloc(sizeof(*o));
	int ret = o ? guest_config_parse(root->config, NULL, NULL, o, err) : -ENOMEM;

	(void)arg;
	if (ret == 0) {
		struct json_object *row = image_row(store, root);

		json_add_number(row, "cpus", o->cpus);
		json_add_number(row, "memory_bytes", o->memory);
		json_object_object_add(row, "disks", disks_of(root, o));
		json_object_object_add(row, "config", json_object_get(root->config));
		json_print(row);
		json_object_put(row);
	}
	free(o);
	return ret;
}

static int image_cmd_info(const struct options *o, const struct verb_words *w, struct error *err)
{
	(void)o;
	return cli_with_root(ROOT_IMAGE, w->word[0], image_info, NULL, err);
}

static int image_cmd_rm(const struct options *o, const struct verb_words *w, struct error *err)
{
	(void)o;
	return cli_with_root(ROOT_IMAGE, w->word[0], cli_root_rm, NULL, err);
}

int cmd_image(const struct options *options)
{
	static const struct verb verbs[] = {
		{"create", "NAME --from SNAPSHOT", 1, 1, image_cmd_create},
		{"ls", "", 0, 0, image_cmd_ls},
		{"info", "NAME", 1, 1, image_cmd_info},
		{"rm", "NAME", 1, 1, image_cmd_rm},
		{0},
	};

	return verbs_run("image", verbs, options);
}

/* Running. */

int image_options(const struct options *given, const char *guest, struct root *root,
		  struct options *out, struct error *err)
{
	struct clone clone = {.root = root, .guest = guest, .given = given};
	struct store *store;
	int ret = cli_store_open(&store, err);

	if (ret)
		return ret;
	ret = root_find_kind(store, ROOT_IMAGE, given->image, root, err);
	store_close(store);
	if (ret == 0) {
		ret = guest_config_parse(root->config, clone_option, &clone, out, err);
		if (ret)
			error_prefix(err, ret, "image '%s'", root->name);
	}
	for (unsigned i = 0; i < given->said_count && ret == 0; i++)
		if (strcmp(given->said[i].name, "image") != 0)
			ret = options_say(out, given->said[i].name, given->said[i].value, err);
	if (ret)
		return ret;
	out->word = given->word;
	out->word_count = given->word_count;
	out->command = given->command;
	out->command_count = given->command_count;
	return options_check_nics(out, err);
}
