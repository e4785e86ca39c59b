/* SPDX-License-Identifier: MIT */
#include "vmm/cli/guest_config.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

struct json_object *guest_config_make(const struct guest_plan *plan, const char *guest)
{
	const struct options *o = plan->options;
	struct json_object *config = json_object_new_object(), *options = json_object_new_array();

	add_path(options, "kernel", plan->kernel);
	if (plan->initrd)
		add_path(options, "initrd", plan->initrd);
	for (unsigned i = 0; i < o->said_count; i++) {
		const struct option_said *said = &o->said[i];

		if (strcmp(said->name, "kernel") == 0 || strcmp(said->name, "initrd") == 0 ||
		    strcmp(said->name, "detach") == 0 || strcmp(said->name, "log-level") == 0)
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

static const char *text_at(struct json_object *pair, size_t index)
{
	struct json_object *text = json_object_array_get_idx(pair, index);

	return json_object_is_type(text, json_type_string) ? json_object_get_string(text) : NULL;
}

static int option_parse(const char *name, const char *value,
			const char *(*disk)(void *arg, const char *name), void *arg,
			struct options *out, struct error *err)
{
	size_t length = strcspn(value, ",");
	char path[PATH_MAX], text[2 * PATH_MAX];
	const char *other = NULL;

	if (strcmp(name, "disk") == 0 && disk) {
		snprintf(path, sizeof(path), "%.*s", (int)length, value);
		other = disk(arg, path);
	}
	if (other) {
		snprintf(text, sizeof(text), "%s%s", other, value + length);
		value = text;
	}
	return options_say(out, name, value, err);
}

int guest_config_parse(struct json_object *config, const char *(*disk)(void *arg, const char *name),
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
		ret = option_parse(name, value, disk, arg, out, err);
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
