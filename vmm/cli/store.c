/* SPDX-License-Identifier: MIT */
/* lodge store: the place of volumes and snapshots as a whole. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "snapshot/layer.h"
#include "vmm/cli/store_open.h"
#include "vmm/cli/table.h"
#include "vmm/cli/verbs.h"

static void problem_add(void *arg, const struct error *problem)
{
	char line[sizeof(*problem)];

	error_format(problem, 0, line, sizeof(line));
	json_object_array_add(arg, json_object_new_string(line));
}

static void lines_print(const struct options *o, struct json_object *lines)
{
	if (o->json) {
		json_print(lines);
		return;
	}
	for (size_t i = 0; i < json_object_array_length(lines); i++)
		printf("%s\n", json_object_get_string(json_object_array_get_idx(lines, i)));
}

/* With "contents": all that has sums is read. */
static int store_cmd_check(const struct options *o, const struct verb_words *w, struct error *err)
{
	bool contents = w->count && strcmp(w->word[0], "contents") == 0;
	struct json_object *problems;
	struct store *store;
	int ret;

	if (w->count && !contents)
		return error_set(err, -EINVAL, "use contents, or nothing", "'%s': unknown",
				 w->word[0]);
	ret = cli_store_open(&store, err);
	if (ret)
		return ret;
	problems = json_object_new_array();
	ret = store_check(store, contents, problem_add, problems, err);
	store_close(store);
	if (ret >= 0)
		lines_print(o, problems);
	json_object_put(problems);
	if (ret > 0)
		return error_set(err, -EBADMSG, "restore what is named from a backup",
				 "the store has %d problem%s", ret, ret == 1 ? "" : "s");
	return ret;
}

static int store_cmd_sweep(const struct options *o, const struct verb_words *w, struct error *err)
{
	struct store_swept swept = {0};
	struct json_object *out;
	struct store *store;
	int ret = cli_store_open(&store, err);

	(void)w;
	if (ret)
		return ret;
	ret = store_sweep(store, &swept, err);
	store_close(store);
	if (ret)
		return ret;
	if (!o->json) {
		printf("%llu files, %llu bytes\n", (unsigned long long)swept.files,
		       (unsigned long long)swept.bytes);
		return 0;
	}
	out = json_object_new_object();
	json_object_object_add(out, "files", json_object_new_uint64(swept.files));
	json_object_object_add(out, "bytes", json_object_new_uint64(swept.bytes));
	json_print(out);
	json_object_put(out);
	return 0;
}

static int layer_add(void *arg, const struct layer_info *info)
{
	char text[STORE_DIGEST_TEXT];

	store_digest_text(info->digest, text);
	return json_object_array_add(arg, json_object_new_string(text)) ? -ENOMEM : 0;
}

/* What an export to this store may leave out. */
static int store_cmd_layers(const struct options *o, const struct verb_words *w, struct error *err)
{
	struct json_object *digests;
	struct store *store;
	int ret = cli_store_open(&store, err);

	(void)w;
	if (ret)
		return ret;
	digests = json_object_new_array();
	ret = layer_for_each_digested(store, true, layer_add, digests, err);
	store_close(store);
	if (ret == 0)
		lines_print(o, digests);
	json_object_put(digests);
	return ret;
}

int cmd_store(const struct options *options)
{
	static const struct verb verbs[] = {
		{"check", "[contents]", 0, 1, store_cmd_check},
		{"sweep", "", 0, 0, store_cmd_sweep},
		{"layers", "", 0, 0, store_cmd_layers},
		{0},
	};

	return verbs_run("store", verbs, options);
}
