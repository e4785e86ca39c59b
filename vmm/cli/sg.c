/* SPDX-License-Identifier: MIT */
/* lodge sg: security groups. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "net/network.h"
#include "vmm/base/checked.h"
#include "vmm/cli/rules.h"
#include "vmm/cli/table.h"
#include "vmm/cli/verbs.h"

static int sg_create(const struct options *o, const struct verb_words *w, struct error *err)
{
	(void)o;
	return network_group_create(w->word[0], err);
}

static int sg_rm(const struct options *o, const struct verb_words *w, struct error *err)
{
	(void)o;
	return network_group_remove(w->word[0], err);
}

static int sg_attach(const struct options *o, const struct verb_words *w, struct error *err)
{
	(void)o;
	return network_group_attach(w->word[1], w->word[0], err);
}

static int sg_detach(const struct options *o, const struct verb_words *w, struct error *err)
{
	(void)o;
	return network_group_detach(w->word[1], w->word[0], err);
}

static int sg_rule(const struct options *o, const struct verb_words *w, struct error *err)
{
	return rules_command(FILTER_GROUP, o, w, err);
}

/* A guest with several NICs has it several times. */
static int guest_add(void *arg, const char *guest)
{
	for (size_t i = 0; i < json_object_array_length(arg); i++)
		if (strcmp(json_object_get_string(json_object_array_get_idx(arg, i)), guest) == 0)
			return 0;
	json_object_array_add(arg, json_object_new_string(guest));
	return 0;
}

static int group_add(void *arg, const char *name)
{
	struct json_object *row = json_object_new_object(), *guests = json_object_new_array();
	struct filter_list list = {.count = 0};

	filter_list_read(FILTER_GROUP, name, &list, NULL);
	network_group_members(name, guest_add, guests);
	json_object_object_add(row, "name", json_object_new_string(name));
	json_object_object_add(row, "rules", json_object_new_int((int)list.count));
	json_object_object_add(row, "guests", guests);
	json_object_array_add(arg, row);
	return 0;
}

static int sg_ls(const struct options *o, const struct verb_words *w, struct error *err)
{
	static const struct table_column columns[] = {
		{"NAME", "name"}, {"RULES", "rules"}, {"GUESTS", "guests"}, {NULL, NULL}};
	struct json_object *rows;
	int ret;

	if (w->count)
		return rules_print(FILTER_GROUP, w->word[0], o, err);
	rows = json_object_new_array();
	ret = filter_for_each(FILTER_GROUP, group_add, rows, err);
	if (ret == 0 && o->json)
		json_print(rows);
	else if (ret == 0)
		table_print(rows, columns);
	json_object_put(rows);
	return ret;
}

int cmd_sg(const struct options *options)
{
	static const struct verb verbs[] = {
		{"create", "NAME", 1, 1, sg_create},
		{"rule", "NAME add [NUMBER] RULE | NAME rm NUMBER", 2, 7, sg_rule},
		{"ls", "[NAME]", 0, 1, sg_ls},
		{"rm", "NAME", 1, 1, sg_rm},
		{"attach", "NAME GUEST", 2, 2, sg_attach},
		{"detach", "NAME GUEST", 2, 2, sg_detach},
		{0},
	};

	return verbs_run("sg", verbs, options);
}
