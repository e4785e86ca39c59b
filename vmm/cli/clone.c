/* SPDX-License-Identifier: MIT */
#include "vmm/cli/clone.h"

#include <stdio.h>
#include <string.h>

static void volume_name(const char *guest, const char *volume, char out[TEXT_NAME_MAX + 1])
{
	snprintf(out, TEXT_NAME_MAX + 1, "%.30s.%.32s", guest, volume);
}

/* Of a network of the host's the rest holds for any guest. */
static const char *net_option(struct clone *c, const char *value)
{
	char rest[sizeof(c->text)], *at = rest, *word;
	size_t used = 0;

	snprintf(rest, sizeof(rest), "%s", value);
	while ((word = strsep(&at, ",")))
		if (strncmp(word, "mac=", 4) != 0 && strncmp(word, "ip=", 3) != 0)
			used += (size_t)snprintf(c->text + used, sizeof(c->text) - used, "%s%s",
						 used ? "," : "", word);
	return c->text;
}

static const char *disk_option(struct clone *c, const char *value)
{
	char volume[TEXT_NAME_MAX + 1];
	size_t length = strcspn(value, ",");

	if (length > TEXT_NAME_MAX)
		return value;
	snprintf(volume, sizeof(volume), "%.*s", (int)length, value);
	if (root_volume_index(c->root, volume) < 0)
		return value;
	volume_name(c->guest, volume, c->text);
	snprintf(c->text + strlen(c->text), sizeof(c->text) - strlen(c->text), "%s",
		 value + length);
	return c->text;
}

const char *clone_option(void *arg, const char *name, const char *value)
{
	struct clone *c = arg;

	if (strcmp(name, "disk") == 0)
		return disk_option(c, value);
	for (unsigned i = 0; c->given && i < c->given->said_count; i++)
		if (strcmp(c->given->said[i].name, name) == 0)
			return NULL;
	if (strcmp(name, "port") == 0)
		return NULL;
	return strcmp(name, "net") == 0 ? net_option(c, value) : value;
}

static void remove_first(struct store *store, const struct root *root, unsigned count,
			 const char *guest)
{
	struct store_swept swept;
	struct error ignored = {0};
	char name[TEXT_NAME_MAX + 1];

	for (unsigned i = 0; i < count; i++) {
		volume_name(guest, root->volumes[i].name, name);
		volume_remove(store, name, &ignored);
	}
	if (count)
		store_sweep(store, &swept, &ignored);
}

int clone_volumes(struct store *store, const struct root *root, const char *guest,
		  struct error *err)
{
	char name[TEXT_NAME_MAX + 1];

	for (unsigned i = 0; i < root->volume_count; i++) {
		int ret;

		volume_name(guest, root->volumes[i].name, name);
		ret = volume_clone(store, name, root, i, err);
		if (ret) {
			remove_first(store, root, i, guest);
			return ret;
		}
	}
	return 0;
}

void clone_volumes_remove(struct store *store, const struct root *root, const char *guest)
{
	remove_first(store, root, root->volume_count, guest);
}
