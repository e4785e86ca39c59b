/* SPDX-License-Identifier: MIT */
/* Is all there that roots and volumes name? Problems are counted and told, not mended. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/layer.h"
#include "snapshot/root_impl.h"
#include "snapshot/volume.h"

struct check {
	struct store *store;
	bool contents;
	void (*report)(void *arg, const struct error *problem);
	void *arg;
	int problems;
	struct id_list done; /* layers that were looked at */
};

static void problem(struct check *check, const struct error *why)
{
	check->problems++;
	if (check->report)
		check->report(check->arg, why);
}

static int ignore_run(void *arg, uint64_t first, uint64_t count, enum layer_state state)
{
	(void)arg;
	(void)first;
	(void)count;
	(void)state;
	return 0;
}

static int layer_check(struct check *check, const struct store_id *id, struct error *why)
{
	struct layer *layer;
	int ret = layer_open(check->store, id, &layer, why);

	if (ret)
		return ret;
	ret = layer_for_each_run(layer, ignore_run, NULL, why);
	if (ret == 0 && check->contents && layer_info(layer)->digested) {
		uint64_t next = 0;

		ret = layer_scrub(layer, &next, UINT64_MAX, why);
		if (ret == 0)
			ret = layer_verify(layer, why);
	}
	layer_close(layer);
	return ret;
}

/* 0, or -ENOMEM: what is wrong with a layer is a problem, not a failure. */
static int layers_check(struct check *check, const struct store_id *ids, unsigned count,
			const char *of)
{
	for (unsigned i = 0; i < count; i++) {
		struct error why = {0};
		int ret;

		if (id_list_has(&check->done, &ids[i]))
			continue;
		ret = layer_check(check, &ids[i], &why);
		if (ret == 0)
			ret = id_list_add(&check->done, &ids[i]);
		if (ret == -ENOMEM)
			return ret;
		if (ret) {
			error_prefix(&why, ret, "%s", of);
			problem(check, &why);
		}
	}
	return 0;
}

static int check_volume(void *arg, const struct volume_manifest *m)
{
	return layers_check(arg, m->layers, m->layer_count, m->name);
}

struct root_check {
	struct check *check;
	const struct root *root;
};

static int check_list(void *arg, const struct store_id *ids, unsigned count)
{
	struct root_check *of = arg;

	return layers_check(of->check, ids, count, of->root->name);
}

static int check_root(void *arg, const struct root *root)
{
	struct root_check of = {.check = arg, .root = root};
	struct error why = {0};
	void *bytes = NULL;
	int ret = root_for_each_list(root, check_list, &of);

	if (ret || !root->has_device_state)
		return ret;
	if (blob_get(of.check->store, &root->device_state, &bytes, &why))
		problem(arg, &why);
	free(bytes);
	return 0;
}

static int check_damaged(void *arg, const char *id, const struct error *why)
{
	(void)id;
	problem(arg, why);
	return 0;
}

/* Each volume by itself: one that makes no sense does not hide the next. */
static int volumes_check(struct check *check, struct error *err)
{
	struct volume_manifest m;
	struct name_list names;
	int ret = name_list_read(check->store, STORE_VOLUMES, &names, err);

	for (size_t i = 0; ret == 0 && i < names.count; i++) {
		char name[TEXT_NAME_MAX + 1];
		struct error why = {0};

		if (!name_stem(names.names[i], STORE_JSON, name, sizeof(name)) ||
		    !text_is_name(name))
			continue;
		if (volume_find(check->store, name, &m, &why) == 0)
			ret = check_volume(check, &m);
		else
			problem(check, &why);
	}
	name_list_free(&names);
	return ret;
}

int store_check(struct store *store, bool contents,
		void (*report)(void *arg, const struct error *problem), void *arg,
		struct error *err)
{
	struct check check = {.store = store, .contents = contents, .report = report, .arg = arg};
	int ret = volumes_check(&check, err);

	if (ret == 0)
		ret = root_for_each(store, check_root, check_damaged, &check, err);
	id_list_free(&check.done);
	return ret ? ret : check.problems;
}
