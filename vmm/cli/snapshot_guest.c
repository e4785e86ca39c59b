/* SPDX-License-Identifier: MIT */
#include "vmm/cli/snapshot_guest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "vmm/base/instance.h"
#include "vmm/cli/client.h"
#include "vmm/cli/guest_config.h"
#include "vmm/cli/store_open.h"

#define POLL_NS    20000000L
#define STOP_TRIES 500u /* ten seconds */

static void nap(void)
{
	const struct timespec time = {.tv_nsec = POLL_NS};

	nanosleep(&time, NULL);
}

/* Taking. */

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
		nap();
	}
}

int snapshot_guest_take(const char *guest, const char *name, const char *comment, bool disk_only,
			struct json_object **facts, struct error *err)
{
	struct json_object *body = json_object_new_object(), *answer;
	int ret;

	json_object_object_add(body, "name", json_object_new_string(name));
	json_object_object_add(body, "comment", json_object_new_string(comment));
	json_object_object_add(body, "disk_only", json_object_new_boolean(disk_only));
	ret = client_request(guest, "POST", "/v1/snapshot", json_object_to_json_string(body),
			     &answer, err);
	json_object_put(body);
	if (ret)
		return ret;
	json_object_put(answer);
	return guest_wait(guest, facts, err);
}

/* Restoring. */

/* A volume that goes by another name in a guest that is one more. */
static const char *volume_as(struct restore *r, const char *name)
{
	snprintf(r->volume, sizeof(r->volume), "%.30s.%.32s", r->as, name);
	return r->volume;
}

static int guest_end(const struct restore *r, struct error *err)
{
	struct json_object *answer;
	int ret;

	if (!instance_is_running(r->guest, NULL))
		return 0;
	if (!r->discard)
		return error_set(err, -EBUSY,
				 "take a snapshot of it first, then give --discard; or --as NAME",
				 "guest '%s': it runs, and its present state would be lost",
				 r->guest);
	ret = client_request(r->guest, "POST", "/v1/stop", "{\"force\": true}", &answer, err);
	if (ret)
		return ret;
	json_object_put(answer);
	for (unsigned i = 0; i < STOP_TRIES; i++) {
		if (!instance_is_running(r->guest, NULL))
			return 0;
		nap();
	}
	return error_set(err, -ETIMEDOUT, "see lodge info", "guest '%s': it does not end",
			 r->guest);
}

static int volumes_place(struct store *store, struct restore *r, struct error *err)
{
	const struct root *root = r->root;
	int ret = 0;

	for (unsigned i = 0; i < root->volume_count && ret == 0; i++) {
		const char *name = root->volumes[i].name;

		if (r->as)
			ret = volume_clone(store, volume_as(r, name), root, i, err);
		else if (cli_store_has_volume(name))
			ret = volume_restore(store, name, root, i, err);
		else
			ret = volume_clone(store, name, root, i, err);
	}
	return ret;
}

static const char *disk_as(void *arg, const char *name)
{
	struct restore *r = arg;

	return root_volume_index(r->root, name) >= 0 ? volume_as(r, name) : NULL;
}

static int options_restore(struct restore *r, struct error *err)
{
	const struct root *root = r->root;
	int ret = guest_config_parse(root->config, r->as ? disk_as : NULL, r, &r->run, err);

	if (ret)
		return error_prefix(err, ret, "snapshot '%s'", root->name);
	if (r->engine)
		r->run.engine = r->engine;
	r->run.detach = true;
	r->plan = (struct guest_plan){.options = &r->run,
				      .name = r->as ? r->as : r->guest,
				      .kernel = r->run.kernel,
				      .initrd = r->run.initrd,
				      .from = root,
				      .ready_fd = -1};
	if (!r->run.kernel)
		return error_set(err, -EINVAL, NULL, "snapshot '%s': its guest has no kernel",
				 root->name);
	return 0;
}

int restore_prepare(struct store *store, struct restore *r, struct error *err)
{
	const struct root *root = r->root;
	int ret;

	r->guest = guest_config_name(root->config);
	if (root->kind != ROOT_VM || !r->guest)
		return error_set(err, -EINVAL, "restore its volumes: lodge volume clone",
				 "snapshot '%s': it has disks only", root->name);
	if (r->as && instance_is_running(r->as, NULL))
		return error_set(err, -EBUSY, "give another name", "guest '%s': it runs", r->as);
	ret = options_restore(r, err);
	if (ret == 0 && !r->as)
		ret = guest_end(r, err);
	return ret ? ret : volumes_place(store, r, err);
}
