/* SPDX-License-Identifier: MIT */
/* lodge net: networks. */
#include <errno.h>
#include <stdio.h>

#include "net/network.h"
#include "vmm/cli/rules.h"
#include "vmm/cli/table.h"
#include "vmm/cli/verbs.h"

static struct json_object *facts_of(const struct network *n)
{
	struct json_object *facts = json_object_new_object();
	char text[NETWORK_TEXT];

	json_object_object_add(facts, "name", json_object_new_string(n->name));
	json_object_object_add(facts, "type", json_object_new_string(network_type_name(n->type)));
	json_object_object_add(facts, "state",
			       json_object_new_string(network_is_up(n) ? "up" : "down"));
	json_object_object_add(facts, "interface", json_object_new_string(n->bridge));
	if (n->prefix) {
		network_address_text(n, text);
		json_object_object_add(facts, "address", json_object_new_string(text));
		network_address6_text(n, text);
		json_object_object_add(facts, "address6", json_object_new_string(text));
		network_public_text(n, text);
		if (text[0])
			json_object_object_add(facts, "public", json_object_new_string(text));
	}
	return facts;
}

static int net_create(const struct options *o, const struct verb_words *w, struct error *err)
{
	struct network_wish wish = {.name = w->word[0],
				    .type = o->net_type,
				    .cidr = o->net_cidr,
				    .bridge = o->net_bridge,
				    .public_address = o->net_public};

	return network_create(&wish, err);
}

static int visit(void *arg, const struct network *n)
{
	json_object_array_add(arg, facts_of(n));
	return 0;
}

static int net_ls(const struct options *o, const struct verb_words *w, struct error *err)
{
	static const struct table_column columns[] = {
		{"NAME", "name"},       {"TYPE", "type"},
		{"STATE", "state"},     {"INTERFACE", "interface"},
		{"ADDRESS", "address"}, {"ADDRESS6", "address6"},
		{NULL, NULL},
	};
	struct json_object *rows = json_object_new_array();
	int ret = network_for_each(visit, rows, err);

	(void)w;
	if (ret == 0 && o->json)
		json_print(rows);
	else if (ret == 0)
		table_print(rows, columns);
	json_object_put(rows);
	return ret;
}

static int guest_add(void *arg, const char *guest, const struct network_nic_state *state)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "name", json_object_new_string(guest));
	json_object_object_add(object, "interface", json_object_new_string(state->interface));
	json_object_object_add(object, "address", json_object_new_string(state->address));
	json_object_array_add(arg, object);
	return 0;
}

static int net_info(const struct options *o, const struct verb_words *w, struct error *err)
{
	struct network n;
	struct json_object *facts, *guests;
	int ret = network_find(w->word[0], &n, err);

	if (ret)
		return ret;
	facts = facts_of(&n);
	guests = json_object_new_array();
	network_nic_for_each(n.name, guest_add, guests);
	json_object_object_add(facts, "guests", guests);
	if (o->json) {
		json_print(facts);
	} else {
		json_object_object_foreach(facts, key, value)
		{
			printf("%-10s %s\n", key, json_object_get_string(value));
		}
	}
	json_object_put(facts);
	return 0;
}

static int net_rm(const struct options *o, const struct verb_words *w, struct error *err)
{
	(void)o;
	return network_remove(w->word[0], err);
}

static int net_acl(const struct options *o, const struct verb_words *w, struct error *err)
{
	return rules_command(FILTER_ACCESS, o, w, err);
}

static int net_capture(const struct options *o, const struct verb_words *w, struct error *err)
{
	if (!o->net_file)
		return error_set(err, -EINVAL, "give -w FILE, or -w -", "net capture: no file");
	return network_capture(w->word[0], o->net_file, w->word + 1, w->count - 1, err);
}

int cmd_net(const struct options *options)
{
	static const struct verb verbs[] = {
		{"create", "NAME", 1, 1, net_create},
		{"ls", "", 0, 0, net_ls},
		{"info", "NAME", 1, 1, net_info},
		{"rm", "NAME", 1, 1, net_rm},
		{"capture", "NAME -w FILE [FILTER]", 1, 7, net_capture},
		{"acl", "NAME [add [NUMBER] RULE | rm NUMBER]", 1, 7, net_acl},
		{0},
	};

	return verbs_run("net", verbs, options);
}
