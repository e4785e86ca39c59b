/* SPDX-License-Identifier: MIT */
/* lodge snapshot: of guests and volumes, and back. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "snapshot/root.h"
#include "vmm/base/clock.h"
#include "vmm/base/instance.h"
#include "vmm/cli/backup.h"
#include "vmm/cli/client.h"
#include "vmm/cli/guest_config.h"
#include "vmm/cli/snapshot.h"
#include "vmm/cli/snapshot_pages.h"
#include "vmm/cli/store_open.h"
#include "vmm/cli/table.h"
#include "vmm/cli/verbs.h"

#define POLL_NS 20000000L

void snapshot_nap(void)
{
	const struct timespec time = {.tv_nsec = POLL_NS};

	nanosleep(&time, NULL);
}

static uint64_t number_of(struct json_object *object, const char *key)
{
	return json_object_get_uint64(json_object_object_get(object, key));
}

/* Creating. */

void snapshot_name_make(const char *of, char out[TEXT_NAME_MAX + 1])
{
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	snprintf(out, TEXT_NAME_MAX + 1, "%.32s-%04d%02d%02d-%02d%02d%02d", of, tm.tm_year + 1900,
		 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

/* Until the guest says how it ended. */
static int guest_wait(const char *guest, struct json_object **out, struct error *err)
{
	for (;;) {
		struct json_object *answer;
		const char *state;
		int ret = client_request(guest, "GET", "/v1/snapshot", NULL, &answer, err);

		if (ret)
			return ret;
		state = json_object_get_string(json_object_object_get(answer, "state"));
		if (state && strcmp(state, "complete") == 0) {
			*out = answer;
			return 0;
		}
		if (!state || strcmp(state, "pending") != 0) {
			const char *why =
				json_object_get_string(json_object_object_get(answer, "error"));

			error_set(err, -EIO, NULL, "snapshot: %s", why ? why : "it failed");
			json_object_put(answer);
			return -EIO;
		}
		json_object_put(answer);
		snapshot_nap();
	}
}

int snapshot_of_guest(const char *guest, const char *name, const char *comment, bool disk_only,
		      struct json_object **out, struct error *err)
{
	struct json_object *body = json_object_new_object(), *answer;
	int ret;

	json_add_text(body, "name", name);
	json_add_text(body, "comment", comment);
	json_object_object_add(body, "disk_only", json_object_new_boolean(disk_only));
	ret = client_request(guest, "POST", "/v1/snapshot", json_object_to_json_string(body),
			     &answer, err);
	json_object_put(body);
	if (ret)
		return ret;
	json_object_put(answer);
	return guest_wait(guest, out, err);
}

/* Of a volume that no guest has. */
static int volume_snapshot(const struct options *o, struct store *store, const char *volume,
			   const char *name, struct json_object **out, struct error *err)
{
	struct root *root = calloc(1, sizeof(*root));
	struct volume *v;
	int ret = root ? volume_open(store, volume, false, &v, err) : -ENOMEM;

	if (ret) {
		free(root);
		return ret;
	}
	snprintf(root->name, sizeof(root->name), "%s", name);
	snprintf(root->comment, sizeof(root->comment), "%s", o->comment);
	root->kind = ROOT_DISK;
	root->time_ns = clock_realtime_ns();
	root->has_parent = volume_manifest(v)->has_parent;
	root->parent = volume_manifest(v)->parent;
	ret = volume_switch_prepare(v, err);
	if (ret == 0)
		ret = volume_switch(v, err);
	if (ret == 0)
		ret = volume_switch_finish(v, err);
	if (ret == 0)
		ret = root_add_snapshot(root, volume_manifest(v), err);
	if (ret == 0)
		ret = root_publish(store, root, err);
	volume_close(v);
	if (ret == 0) {
		char id[STORE_ID_TEXT];

		store_id_text(&root->id, id);
		*out = json_object_new_object();
		json_add_text(*out, "name", name);
		json_add_text(*out, "id", id);
	}
	root_clear(root);
	free(root);
	return ret;
}

static void created_print(const struct options *o, struct json_object *facts)
{
	if (o->json) {
		json_print(facts);
		return;
	}
	printf("%s\n", json_object_get_string(json_object_object_get(facts, "name")));
	if (json_object_object_get(facts, "pause_ns"))
		printf("guest paused %.1f ms, durable after %.0f ms, %.1f MiB of memory\n",
		       (double)number_of(facts, "pause_ns") / 1e6,
		       (double)number_of(facts, "total_ns") / 1e6,
		       (double)number_of(facts, "memory_bytes") / 1048576.0);
}

static int snapshot_create_words(const struct options *o, const struct verb_words *w,
				 struct error *err)
{
	const char *of = w->word[0];
	char name[TEXT_NAME_MAX + 1];
	struct json_object *facts = NULL;
	struct store *store;
	struct store_id id;
	int ret = cli_store_open(&store, err);

	if (ret)
		return ret;
	if (w->count > 1)
		snprintf(name, sizeof(name), "%s", w->word[1]);
	else
		snapshot_name_make(of, name);
	if (!text_is_name(name))
		ret = error_set(err, -EINVAL, "use letters, digits, . _ and -",
				"snapshot '%s': no such name can be", name);
	else if (instance_is_running(of, NULL))
		ret = snapshot_of_guest(of, name, o->comment, o->disk_only, &facts, err);
	else if (cli_store_has_volume(of))
		ret = volume_snapshot(o, store, of, name, &facts, err);
	else
		ret = error_set(err, -ENOENT, "see lodge ls and lodge volume ls",
				"'%s': no guest that runs, nor a volume", of);
	if (ret == 0) {
		created_print(o, facts);
		fflush(stdout);
		/* It is durable; what is left is to know that it stays as it is. */
		if (store_id_parse(json_object_get_string(json_object_object_get(facts, "id")),
				   &id) == 0)
			ret = root_complete(store, &id, err);
		json_object_put(facts);
	}
	store_close(store);
	return ret;
}

/* Listing. */

struct json_object *snapshot_row(struct store *store, const struct root *root)
{
	struct json_object *row = json_object_new_object();
	struct root_usage usage;
	struct error err = {0};
	char id[STORE_ID_TEXT], text[32];
	time_t seconds = (time_t)(root->time_ns / CLOCK_NS_PER_S);
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	json_add_text(row, "name", root->name);
	store_id_text(&root->id, id);
	json_add_text(row, "id", id);
	json_add_text(row, "kind", root_kind_name(root->kind));
	json_add_text(row, "state", root_state_name(root->state));
	json_add_text(row, "time", text);
	json_add_number(row, "volumes", root->volume_count);
	json_add_number(row, "memory_bytes", root->memory_size);
	if (root_usage(store, root, &usage, &err) == 0) {
		json_add_number(row, "stored_bytes", usage.stored);
		json_add_number(row, "exclusive_bytes", usage.exclusive);
	}
	if (root->has_parent) {
		store_id_text(&root->parent, id);
		json_add_text(row, "parent", id);
	}
	if (guest_config_name(root->config))
		json_add_text(row, "guest", guest_config_name(root->config));
	json_add_text(row, "comment", root->comment);
	return row;
}

struct listing {
	struct store *store;
	struct json_object *rows;
};

static int root_list(void *arg, const struct root *root)
{
	struct listing *listing = arg;

	if (root_is_snapshot(root))
		json_object_array_add(listing->rows, snapshot_row(listing->store, root));
	return 0;
}

static int root_damaged(void *arg, const char *id, const struct error *why)
{
	struct listing *listing = arg;
	struct json_object *row = json_object_new_object();

	json_add_text(row, "name", "-");
	json_add_text(row, "id", id);
	json_add_text(row, "state", "damaged");
	json_add_text(row, "comment", why->what);
	json_object_array_add(listing->rows, row);
	return 0;
}

static bool has_row(struct json_object *rows, const char *id)
{
	for (size_t i = 0; i < json_object_array_length(rows); i++)
		if (strcmp(json_text(json_object_array_get_idx(rows, i), "id"), id) == 0)
			return true;
	return false;
}

/* Those below `parent` ("": those whose parent is gone or never was), which come after it. */
static void tree_add(struct json_object *rows, const char *parent, unsigned depth,
		     struct json_object *to)
{
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		struct json_object *row = json_object_array_get_idx(rows, i);
		const char *above = json_text(row, "parent");
		char name[2 * TEXT_NAME_MAX + 8];

		if (!has_row(rows, above))
			above = "";
		if (strcmp(above, parent) != 0)
			continue;
		snprintf(name, sizeof(name), "%*s%s", (int)(2 * (depth < 32 ? depth : 32)), "",
			 json_text(row, "name"));
		json_add_text(row, "tree", name);
		json_object_array_add(to, json_object_get(row));
		if (depth < json_object_array_length(rows))
			tree_add(rows, json_text(row, "id"), depth + 1, to);
	}
}

static int snapshot_ls(const struct options *o, const struct verb_words *w, struct error *err)
{
	static const struct table_column list[] = {
		{"NAME", "name"},   {"KIND", "kind"},           {"STATE", "state"},
		{"TIME", "time"},   {"STORED", "stored_bytes"}, {"EXCLUSIVE", "exclusive_bytes"},
		{"GUEST", "guest"}, {"COMMENT", "comment"},     {NULL, NULL},
	};
	static const struct table_column tree[] = {
		{"SNAPSHOT", "tree"},   {"KIND", "kind"},
		{"TIME", "time"},       {"EXCLUSIVE", "exclusive_bytes"},
		{"COMMENT", "comment"}, {NULL, NULL},
	};
	struct listing listing = {.rows = json_object_new_array()};
	struct json_object *ordered = json_object_new_array();
	int ret = cli_store_open(&listing.store, err);

	(void)w;
	if (ret == 0) {
		ret = root_for_each(listing.store, root_list, root_damaged, &listing, err);
		store_close(listing.store);
	}
	if (ret == 0 && o->tree)
		tree_add(listing.rows, "", 0, ordered);
	if (ret == 0 && o->json)
		json_print(o->tree ? ordered : listing.rows);
	else if (ret == 0)
		table_print(o->tree ? ordered : listing.rows, o->tree ? tree : list);
	json_object_put(ordered);
	json_object_put(listing.rows);
	return ret;
}

static int root_info(struct store *store, struct root *root, void *arg, struct error *err)
{
	struct json_object *row = snapshot_row(store, root), *volumes = json_object_new_array();

	(void)arg;
	(void)err;
	for (unsigned i = 0; i < root->volume_count; i++) {
		struct json_object *volume = json_object_new_object();

		json_add_text(volume, "name", root->volumes[i].name);
		json_add_number(volume, "size_bytes", root->volumes[i].size);
		json_add_number(volume, "layers", root->volumes[i].layer_count);
		json_object_array_add(volumes, volume);
	}
	json_object_object_add(row, "volumes", volumes);
	json_add_number(row, "memory_layers", root->memory_layer_count);
	json_object_object_add(row, "config", json_object_get(root->config));
	json_print(row);
	json_object_put(row);
	return 0;
}

static int snapshot_info(const struct options *o, const struct verb_words *w, struct error *err)
{
	(void)o;
	return cli_with_root(ROOT_VM, w->word[0], root_info, NULL, err);
}

static int snapshot_rm(const struct options *o, const struct verb_words *w, struct error *err)
{
	(void)o;
	return cli_with_root(ROOT_VM, w->word[0], cli_root_rm, NULL, err);
}

static int root_check(struct store *store, struct root *root, void *arg, struct error *err)
{
	int ret = root->state == ROOT_PENDING ? root_complete(store, &root->id, err) : 0;

	(void)arg;
	return ret ? ret : root_verify(store, &root->id, err);
}

static int snapshot_verify(const struct options *o, const struct verb_words *w, struct error *err)
{
	(void)o;
	return cli_with_root(ROOT_VM, w->word[0], root_check, NULL, err);
}

/* Differences. */

static int run_count(void *arg, uint64_t first, uint64_t count)
{
	(void)first;
	*(uint64_t *)arg += count;
	return 0;
}

static int diff_add(struct store *store, struct json_object *rows, const char *name,
		    const struct store_id *a, unsigned a_count, const struct store_id *b,
		    unsigned b_count, struct error *err)
{
	struct json_object *row;
	uint64_t blocks = 0;
	int ret = root_diff(store, a, a_count, b, b_count, run_count, &blocks, err);

	if (ret)
		return ret;
	row = json_object_new_object();
	json_add_text(row, "name", name);
	json_add_number(row, "bytes", blocks * STORE_BLOCK);
	json_object_array_add(rows, row);
	return 0;
}

static int roots_diff(struct store *store, const struct root *a, const struct root *b,
		      struct json_object *rows, struct error *err)
{
	int ret = 0;

	for (unsigned i = 0; i < a->volume_count && ret == 0; i++) {
		const struct root_volume *v = &a->volumes[i];
		int at = root_volume_index(b, v->name);

		if (at >= 0)
			ret = diff_add(store, rows, v->name, v->layers, v->layer_count,
				       b->volumes[at].layers, b->volumes[at].layer_count, err);
	}
	if (ret == 0 && a->memory_size && b->memory_size)
		ret = diff_add(store, rows, "(memory)", a->memory_layers, a->memory_layer_count,
			       b->memory_layers, b->memory_layer_count, err);
	return ret;
}

struct diff {
	const struct options *options;
	const char *other;
	struct json_object *rows;
};

static int diff_with(struct store *store, struct root *root, void *arg, struct error *err)
{
	struct root *other = calloc(1, sizeof(*other));
	struct diff *diff = arg;
	int ret = other ? root_find(store, diff->other, other, err) : -ENOMEM;

	if (ret == 0) {
		ret = diff->options->pages ? snapshot_pages(diff->options, store, root, other, err)
					   : roots_diff(store, root, other, diff->rows, err);
		root_clear(other);
	}
	free(other);
	return ret;
}

static int snapshot_diff(const struct options *o, const struct verb_words *w, struct error *err)
{
	static const struct table_column columns[] = {
		{"VOLUME", "name"}, {"CHANGED", "bytes"}, {NULL, NULL}};
	struct diff diff = {.options = o, .other = w->word[1], .rows = json_object_new_array()};
	int ret = cli_with_root(ROOT_VM, w->word[0], diff_with, &diff, err);

	if (ret == 0 && !o->pages && o->json)
		json_print(diff.rows);
	else if (ret == 0 && !o->pages)
		table_print(diff.rows, columns);
	json_object_put(diff.rows);
	return ret;
}

static int snapshot_restore(const struct options *o, const struct verb_words *w, struct error *err)
{
	struct root *root = calloc(1, sizeof(*root));
	struct store *store;
	int ret = root ? cli_store_open(&store, err) : -ENOMEM;

	if (ret == 0) {
		ret = root_find(store, w->word[0], root, err);
		if (ret == 0)
			ret = restore_root(o, store, root, err);
		else
			store_close(store);
		root_clear(root);
	}
	free(root);
	return ret;
}

int cmd_snapshot(const struct options *options)
{
	static const struct verb verbs[] = {
		{"create", "GUEST|VOLUME [NAME]", 1, 2, snapshot_create_words},
		{"ls", "", 0, 0, snapshot_ls},
		{"info", "SNAPSHOT", 1, 1, snapshot_info},
		{"restore", "SNAPSHOT", 1, 1, snapshot_restore},
		{"rm", "SNAPSHOT", 1, 1, snapshot_rm},
		{"diff", "SNAPSHOT SNAPSHOT", 2, 2, snapshot_diff},
		{"verify", "SNAPSHOT", 1, 1, snapshot_verify},
		{"export", "SNAPSHOT", 1, 1, backup_cmd_export},
		{"import", "[FILE]", 0, 1, backup_cmd_import},
		{0},
	};

	return verbs_run("snapshot", verbs, options);
}
