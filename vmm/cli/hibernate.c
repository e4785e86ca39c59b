/* SPDX-License-Identifier: MIT */
/*
 * lodge hibernate and start: a guest ends with its memory, devices and disks in the store, and goes
 * on later. The store's root of the guest's name is all that tells that it is hibernated: it is
 * there from the moment on from which the guest does not run any more, and until it runs again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vmm/base/clock.h"
#include "vmm/base/instance.h"
#include "vmm/cli/client.h"
#include "vmm/cli/guest_config.h"
#include "vmm/cli/record.h"
#include "vmm/cli/snapshot.h"
#include "vmm/cli/store_open.h"
#include "vmm/cli/table.h"

/* What is hibernated. */

static struct json_object *facts_of(const struct root *root)
{
	struct json_object *facts = json_object_new_object(), *volumes = json_object_new_array();
	struct options *o = malloc(sizeof(*o));
	struct error ignored = {0};
	char id[STORE_ID_TEXT];

	json_add_text(facts, "name", root->name);
	json_add_text(facts, "state", "hibernated");
	if (o && guest_config_parse(root->config, NULL, NULL, o, &ignored) == 0)
		json_add_number(facts, "cpus", o->cpus);
	free(o);
	json_add_number(facts, "memory_bytes", root->memory_size);
	json_add_number(facts, "hibernated_at", root->time_ns / CLOCK_NS_PER_S);
	store_id_text(&root->id, id);
	json_add_text(facts, "id", id);
	for (unsigned i = 0; i < root->volume_count; i++)
		json_object_array_add(volumes, json_object_new_string(root->volumes[i].name));
	json_object_object_add(facts, "volumes", volumes);
	return facts;
}

struct walk {
	void (*visit)(void *arg, const char *name, struct json_object *facts);
	void *arg;
};

static int walk_visit(void *arg, const struct root *root)
{
	struct walk *walk = arg;
	struct json_object *facts;

	/* A guest that has just begun to go on is still there, but is none. */
	if (root->kind != ROOT_HIBERNATION || instance_is_running(root->name, NULL))
		return 0;
	facts = facts_of(root);
	walk->visit(walk->arg, root->name, facts);
	json_object_put(facts);
	return 0;
}

int hibernation_for_each(void (*visit)(void *arg, const char *name, struct json_object *facts),
			 void *arg, struct error *err)
{
	struct walk walk = {.visit = visit, .arg = arg};
	struct store *store;
	int ret = cli_store_exists() ? cli_store_open(&store, err) : -ENOENT;

	if (ret)
		return ret == -ENOENT ? 0 : ret;
	ret = root_for_each(store, walk_visit, root_pass_over, &walk, err);
	store_close(store);
	return ret;
}

/* One guest's; -ENOENT where it is not hibernated. */
static int with_hibernation(const char *guest, cli_root_act *act, void *arg, struct error *err)
{
	return cli_store_exists() ? cli_with_root(ROOT_HIBERNATION, guest, act, arg, err) : -ENOENT;
}

static int facts_take(struct store *store, struct root *root, void *arg, struct error *err)
{
	struct json_object **facts = arg;

	(void)store;
	(void)err;
	*facts = facts_of(root);
	return 0;
}

struct json_object *hibernation_read(const char *guest)
{
	struct json_object *facts = NULL;
	struct error ignored = {0};

	with_hibernation(guest, facts_take, &facts, &ignored);
	return facts;
}

int hibernation_check(const char *guest, struct error *err)
{
	struct json_object *facts = hibernation_read(guest);

	if (!facts)
		return 0;
	json_object_put(facts);
	return error_set(err, -EBUSY, "start it: lodge start, or give it up: lodge rm --discard",
			 "guest '%s': it is hibernated", guest);
}

struct disks_check {
	const struct options *options;
	const char *guest;
	struct error *err;
};

static int disks_visit(void *arg, const struct root *root)
{
	const struct disks_check *check = arg;
	const struct options *o = check->options;

	if (root->kind != ROOT_HIBERNATION || strcmp(root->name, check->guest) == 0)
		return 0;
	for (unsigned i = 0; i < o->disk_count; i++)
		if (strcmp(o->disk[i].format, "volume") == 0 && !o->disk[i].read_only &&
		    root_volume_index(root, o->disk[i].path) >= 0)
			return error_set(check->err, -EBUSY,
					 "start that, or give it up: lodge rm --discard",
					 "volume '%s': guest '%s' has it, which is hibernated",
					 o->disk[i].path, root->name);
	return 0;
}

int hibernation_check_disks(struct store *store, const struct options *o, const char *guest,
			    struct error *err)
{
	struct disks_check check = {.options = o, .guest = guest, .err = err};

	return root_for_each(store, disks_visit, root_pass_over, &check, err);
}

int hibernation_discard(const char *guest, struct error *err)
{
	return with_hibernation(guest, cli_root_rm, NULL, err);
}

/* Hibernating. */

/* Did it fail? A guest that ends meanwhile does not answer, and its root tells. */
static int failed(const char *guest, struct error *err)
{
	struct json_object *answer, *why = NULL;
	struct error ignored = {0};

	if (client_request(guest, "GET", "/v1/snapshot", NULL, &answer, &ignored))
		return 0;
	if (json_object_object_get_ex(answer, "error", &why))
		error_set(err, -EIO, NULL, "guest '%s': it goes on: %s", guest,
			  json_object_get_string(why));
	json_object_put(answer);
	return why ? -EIO : 0;
}

static int hibernate(const char *guest, struct error *err)
{
	struct json_object *answer;
	int ret = client_request(guest, "POST", "/v1/hibernate", NULL, &answer, err);

	if (ret)
		return ret;
	json_object_put(answer);
	while (ret == 0 && instance_is_running(guest, NULL)) {
		snapshot_nap();
		ret = failed(guest, err);
	}
	if (ret)
		return ret;
	answer = hibernation_read(guest);
	if (!answer)
		return error_set(err, -EIO, "see lodge info",
				 "guest '%s': it ended before it was hibernated", guest);
	json_object_put(answer);
	return 0;
}

int cmd_hibernate(const struct options *options)
{
	struct error err = {0};
	int ret = hibernate(options->word[0], &err);

	return ret ? cli_fail(&err, ret, EXIT_HOST) : 0;
}

/* Starting. */

int cmd_start(const struct options *options)
{
	const char *name = options->word[0];
	struct root *root = calloc(1, sizeof(*root));
	struct error err = {0};
	struct store *store = NULL;
	int ret = root ? 0 : -ENOMEM;

	if (ret == 0 && instance_is_running(name, NULL))
		ret = error_set(&err, -EBUSY, NULL, "guest '%s': it is running", name);
	if (ret == 0)
		ret = cli_store_exists() ? cli_store_open(&store, &err) : -ENOENT;
	if (ret == 0)
		ret = root_find_kind(store, ROOT_HIBERNATION, name, root, &err);
	if (ret == -ENOENT) {
		err = (struct error){0};
		error_set(&err, ret, "see lodge ls; a guest that ended is run again: lodge run",
			  "guest '%s': it is not hibernated", name);
	}
	if (ret == 0)
		ret = restore_root(options, store, root, &err);
	else
		store_close(store);
	if (root)
		root_clear(root);
	free(root);
	return ret ? cli_fail(&err, ret, EXIT_HOST) : 0;
}
