/* SPDX-License-Identifier: MIT */
#include "vmm/cli/guest_config.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/cli/guest_nics.h"
#include "vmm/cli/store_open.h"

static void add_option(struct json_object *options, const char *name, const char *value)
{
	struct json_object *pair = json_object_new_array();

	json_object_array_add(pair, json_object_new_string(name));
	json_object_array_add(pair, json_object_new_string(value));
	json_object_array_add(options, pair);
}

static void add_path(struct json_object *options, const char *name, const char *path)
{
	char whole[PATH_MAX];

	add_option(options, name, realpath(path, whole) ? whole : path);
}

/* FILE[,ATTRIBUTE...], or a volume, which is then called one. */
static void add_disk(struct json_object *options, const char *value)
{
	size_t length = strcspn(value, ",");
	char path[PATH_MAX], whole[PATH_MAX], text[2 * PATH_MAX];

	snprintf(path, sizeof(path), "%.*s", (int)length, value);
	if (option_disk_is_volume(path) && !strstr(value, ",format="))
		snprintf(text, sizeof(text), "%s,format=volume", value);
	else if (!strstr(value, ",format=volume") && realpath(path, whole))
		snprintf(text, sizeof(text), "%s%s", whole, value + length);
	else
		snprintf(text, sizeof(text), "%s", value);
	add_option(options, "disk", text);
}

/* Ports of the host's as they are now. False: they are what was said. */
static bool add_ports(struct json_object *options, const struct options *o, const char *guest)
{
	const struct option_nic *nic = guest_nics_ports(o);
	struct network_nic_state state;
	char text[NET_FORWARD_TEXT];

	if (!nic || !nic->network ||
	    network_nic_state(nic->network, guest, (unsigned)(nic - o->nic), &state))
		return false;
	for (unsigned i = 0; i < state.forward_count; i++) {
		net_forward_text(&state.forward[i], text);
		add_option(options, "port", text);
	}
	return true;
}

/* Likewise, security groups, which all NICs on networks of the host's share. */
static bool add_groups(struct json_object *options, const struct options *o, const char *guest)
{
	struct network_nic_state state;
	unsigned at = 0;

	while (at < o->nic_count && !o->nic[at].network)
		at++;
	if (at == o->nic_count || network_nic_state(o->nic[at].network, guest, at, &state))
		return false;
	for (unsigned i = 0; i < state.group_count; i++)
		add_option(options, "sg", state.group[i]);
	return true;
}

static bool is_any(const char *name, const char *const *names)
{
	while (*names && strcmp(*names, name) != 0)
		names++;
	return *names;
}

struct json_object *guest_config_make(const struct guest_plan *plan, const char *guest)
{
	/* Told above, or none of the guest's. */
	static const char *const otherwise[] = {"kernel", "initrd", "detach", "log-level", NULL};
	const struct options *o = plan->options;
	struct json_object *config = json_object_new_object(), *options = json_object_new_array();
	bool ports, groups;

	add_path(options, "kernel", plan->kernel);
	if (plan->initrd)
		add_path(options, "initrd", plan->initrd);
	ports = add_ports(options, o, guest);
	groups = add_groups(options, o, guest);
	for (unsigned i = 0; i < o->said_count; i++) {
		const struct option_said *said = &o->said[i];

		if (is_any(said->name, otherwise) || (ports && strcmp(said->name, "port") == 0) ||
		    (groups && strcmp(said->name, "sg") == 0))
			continue;
		if (strcmp(said->name, "disk") == 0)
			add_disk(options, said->value);
		else
			add_option(options, said->name, said->value);
	}
	json_object_object_add(config, "guest", json_object_new_string(guest));
	json_object_object_add(config, "options", options);
	return config;
}

struct json_object *guest_config_of_volumes(const struct root *root)
{
	struct json_object *config = json_object_new_object(), *options = json_object_new_array();
	char text[TEXT_NAME_MAX + 32];

	for (unsigned i = 0; i < root->volume_count; i++) {
		snprintf(text, sizeof(text), "%s,format=volume", root->volumes[i].name);
		add_option(options, "disk", text);
	}
	json_object_object_add(config, "options", options);
	return config;
}

static const char *text_at(struct json_object *pair, size_t index)
{
	struct json_object *text = json_object_array_get_idx(pair, index);

	return json_object_is_type(text, json_type_string) ? json_object_get_string(text) : NULL;
}

int guest_config_parse(struct json_object *config,
		       const char *(*change)(void *arg, const char *name, const char *value),
		       void *arg, struct options *out, struct error *err)
{
	struct json_object *options = NULL;
	int ret = 0;

	options_default(out);
	if (!json_object_is_type(config, json_type_object) ||
	    !json_object_object_get_ex(config, "options", &options) ||
	    !json_object_is_type(options, json_type_array))
		return error_set(err, -EINVAL, NULL, "configuration: not a guest's");
	for (size_t i = 0; i < json_object_array_length(options) && ret == 0; i++) {
		struct json_object *pair = json_object_array_get_idx(options, i);
		const char *name, *value;

		if (!json_object_is_type(pair, json_type_array) ||
		    json_object_array_length(pair) != 2)
			return error_set(err, -EINVAL, NULL, "configuration: option %zu", i);
		name = text_at(pair, 0);
		value = text_at(pair, 1);
		if (!name || !value)
			return error_set(err, -EINVAL, NULL, "configuration: option %zu", i);
		if (change)
			value = change(arg, name, value);
		if (value)
			ret = options_say(out, name, value, err);
	}
	return ret;
}

const char *guest_config_name(struct json_object *config)
{
	struct json_object *guest = NULL;

	if (!json_object_is_type(config, json_type_object) ||
	    !json_object_object_get_ex(config, "guest", &guest) ||
	    !json_object_is_type(guest, json_type_string) ||
	    !text_is_name(json_object_get_string(guest)))
		return NULL;
	return json_object_get_string(guest);
}
