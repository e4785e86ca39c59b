/* SPDX-License-Identifier: MIT */
/* lodge balancer: one port in front of several guests. */
#include "net/balancer.h"

#include <stdio.h>

#include "vmm/cli/table.h"
#include "vmm/cli/verbs.h"

static int balancer_add(const struct options *o, const struct verb_words *w, struct error *err)
{
	return balancer_create(w->word[0], w->word[1], o->balancer_by, w->word + 2, w->count - 2,
			       err);
}

static int balancer_rm(const struct options *o, const struct verb_words *w, struct error *err)
{
	(void)o;
	return balancer_remove(w->word[0], err);
}

static int row_add(void *arg, const struct balancer *b)
{
	struct json_object *row = json_object_new_object(), *targets = json_object_new_array();
	char text[BALANCER_LISTEN_TEXT];

	for (unsigned i = 0; i < b->count; i++) {
		struct json_object *target = json_object_new_object();

		json_object_object_add(target, "guest", json_object_new_string(b->target[i].guest));
		json_object_object_add(target, "port", json_object_new_int(b->target[i].port));
		json_object_object_add(
			target, "up",
			json_object_new_boolean(balancer_target_is_up(b, &b->target[i])));
		json_object_array_add(targets, target);
	}
	balancer_listen_text(b, text);
	json_object_object_add(row, "name", json_object_new_string(b->name));
	json_object_object_add(row, "listen", json_object_new_string(text));
	json_object_object_add(
		row, "by",
		json_object_new_string(b->by_connections ? "connections" : "round-robin"));
	json_object_object_add(row, "targets", targets);
	json_object_array_add(arg, row);
	return 0;
}

/* "web1:80 up, web2:80 down" in place of the array. */
static void targets_flatten(struct json_object *row)
{
	struct json_object *targets = json_object_object_get(row, "targets");
	char text[BALANCER_TARGETS_MAX * (TEXT_NAME_MAX + 16)] = "";
	size_t at = 0;

	for (size_t i = 0; i < json_object_array_length(targets) && at < sizeof(text); i++) {
		struct json_object *t = json_object_array_get_idx(targets, i);
		bool up = json_object_get_boolean(json_object_object_get(t, "up"));

		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s:%d %s", i ? ", " : "",
				       json_object_get_string(json_object_object_get(t, "guest")),
				       json_object_get_int(json_object_object_get(t, "port")),
				       up ? "up" : "down");
	}
	json_object_object_add(row, "targets", json_object_new_string(text));
}

static int balancer_ls(const struct options *o, const struct verb_words *w, struct error *err)
{
	static const struct table_column columns[] = {{"NAME", "name"},
						      {"LISTEN", "listen"},
						      {"BY", "by"},
						      {"TARGETS", "targets"},
						      {NULL, NULL}};
	struct json_object *rows = json_object_new_array();
	int ret = balancer_list(row_add, rows, err);

	(void)w;
	if (ret == 0 && o->json) {
		json_print(rows);
	} else if (ret == 0) {
		for (size_t i = 0; i < json_object_array_length(rows); i++)
			targets_flatten(json_object_array_get_idx(rows, i));
		table_print(rows, columns);
	}
	json_object_put(rows);
	return ret;
}

int cmd_balancer(const struct options *options)
{
	static const struct verb verbs[] = {
		{"create", "NAME ADDR:PORT[/udp] GUEST:PORT ...", 3, 2 + BALANCER_TARGETS_MAX,
		 balancer_add},
		{"ls", "", 0, 0, balancer_ls},
		{"rm", "NAME", 1, 1, balancer_rm},
		{0},
	};

	return verbs_run("balancer", verbs, options);
}
