/* SPDX-License-Identifier: MIT */
/* A guest goes on from a snapshot, in place or as one more, or from its hibernation. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/instance.h"
#include "vmm/cli/client.h"
#include "vmm/cli/clone.h"
#include "vmm/cli/guest_config.h"
#include "vmm/cli/record.h"
#include "vmm/cli/snapshot.h"
#include "vmm/cli/store_open.h"

#define STOP_TRIES 500u /* ten seconds */

static int guest_end(const struct restore *r, struct error *err)
{
	struct json_object *answer;
	int ret;

	ret = client_request(r->guest, "POST", "/v1/stop", "{\"force\": true}", &answer, err);
	if (ret)
		return ret;
	json_object_put(answer);
	for (unsigned i = 0; i < STOP_TRIES; i++) {
		if (!instance_is_running(r->guest, NULL))
			return 0;
		snapshot_nap();
	}
	return error_set(err, -ETIMEDOUT, "see lodge info", "guest '%s': it does not end",
			 r->guest);
}

static int present_keep(struct store *store, const struct restore *r, struct error *err)
{
	char name[TEXT_NAME_MAX + 1];
	struct json_object *facts;
	struct store_id id;
	int ret;

	snapshot_name_make(r->guest, name);
	ret = snapshot_of_guest(r->guest, name, "", false, &facts, err);
	if (ret)
		return ret;
	fprintf(stderr, "kept as snapshot '%s'\n", name);
	if (store_id_parse(json_object_get_string(json_object_object_get(facts, "id")), &id) == 0)
		ret = root_complete(store, &id, err);
	json_object_put(facts);
	return ret;
}

/* Whoever sits there decides. What is no answer, or the end of input, gives up. */
static int present_ask(struct store *store, const struct restore *r, struct error *err)
{
	char answer[16] = "";

	fprintf(stderr,
		"guest '%s' runs. Keep its present state as a snapshot first? [yes/no/abort] ",
		r->guest);
	if (fgets(answer, sizeof(answer), stdin))
		answer[strcspn(answer, "\n")] = '\0';
	if (strcmp(answer, "no") == 0 || strcmp(answer, "n") == 0)
		return 0;
	if (strcmp(answer, "yes") == 0 || strcmp(answer, "y") == 0)
		return present_keep(store, r, err);
	return error_set(err, -ECANCELED, "answer yes or no", "guest '%s': it goes on as it was",
			 r->guest);
}

/* In place: what the guest is now is lost, if it was given up. */
static int present_end(struct store *store, const struct restore *r, struct error *err)
{
	bool runs = instance_is_running(r->guest, NULL);
	int ret = 0;

	if (!runs)
		return r->discard ? 0 : hibernation_check(r->guest, err);
	if (!r->discard && r->ask)
		ret = present_ask(store, r, err);
	else if (!r->discard)
		ret = error_set(err, -EBUSY,
				"take a snapshot of it first, then give --discard; or --as NAME",
				"guest '%s': it runs, and its present state would be lost",
				r->guest);
	return ret ? ret : guest_end(r, err);
}

/* In place. */
static int volumes_place(struct store *store, const struct root *root, struct error *err)
{
	int ret = 0;

	for (unsigned i = 0; i < root->volume_count && ret == 0; i++) {
		const char *name = root->volumes[i].name;

		if (cli_store_has_volume(name))
			ret = volume_restore(store, name, root, i, err);
		else
			ret = volume_clone(store, name, root, i, err);
	}
	return ret;
}

static int options_restore(struct restore *r, struct error *err)
{
	const struct root *root = r->root;
	struct clone clone = {.root = root, .guest = r->as};
	int ret =
		guest_config_parse(root->config, r->as ? clone_option : NULL, &clone, &r->run, err);

	if (ret)
		return error_prefix(err, ret, "snapshot '%s'", root->name);
	if (r->engine)
		r->run.engine = r->engine;
	if (r->translation)
		r->run.translation = *r->translation;
	r->run.detach = true;
	r->plan = (struct guest_plan){.options = &r->run,
				      .name = r->as ? r->as : r->guest,
				      .kernel = r->run.kernel,
				      .initrd = r->run.initrd,
				      .from = root,
				      .clone_of = r->as ? root : NULL,
				      .ready_fd = -1};
	if (!r->run.kernel)
		return error_set(err, -EINVAL, NULL, "snapshot '%s': its guest has no kernel",
				 root->name);
	return 0;
}

int restore_prepare(struct store *store, struct restore *r, struct error *err)
{
	const struct root *root = r->root;
	int ret = 0;

	r->guest = guest_config_name(root->config);
	if (root->kind == ROOT_DISK || !r->guest)
		return error_set(err, -EINVAL, "restore its volumes: lodge volume clone",
				 "snapshot '%s': it has disks only", root->name);
	if (r->as && instance_is_running(r->as, NULL))
		return error_set(err, -EBUSY, "give another name", "guest '%s': it runs", r->as);
	if (r->as)
		ret = hibernation_check(r->as, err);
	if (ret == 0)
		ret = options_restore(r, err);
	if (ret == 0 && !r->as && root->kind == ROOT_VM)
		ret = present_end(store, r, err);
	return ret || r->as ? ret : volumes_place(store, root, err);
}

int restore_root(const struct options *o, struct store *store, struct root *root, struct error *err)
{
	struct restore *r = calloc(1, sizeof(*r));
	int ret = r ? 0 : -ENOMEM;

	if (ret == 0) {
		*r = (struct restore){.root = root,
				      .as = o->as,
				      .engine = o->engine_given ? o->engine : NULL,
				      .translation = o->translation_given ? &o->translation : NULL,
				      .discard = o->discard,
				      .ask = isatty(STDIN_FILENO)};
		ret = restore_prepare(store, r, err);
	}
	/* The guest's process opens it for itself. */
	store_close(store);
	if (ret == 0) {
		record_remove(r->plan.name);
		/* It said itself what went wrong. */
		ret = guest_run_detached(&r->plan);
		if (ret)
			_exit(ret);
	}
	free(r);
	return ret;
}
