/* SPDX-License-Identifier: MIT */
/* lodge port: ports of the host's that lead to guests. */
#include <errno.h>
#include <string.h>

#include "net/network.h"
#include "vmm/base/instance.h"
#include "vmm/cli/client.h"
#include "vmm/cli/table.h"
#include "vmm/cli/verbs.h"

static int port_change(const struct verb_words *w,
		       int (*how)(const char *guest, const struct net_forward *forward,
				  struct error *err),
		       struct error *err)
{
	struct net_forward forward;
	int ret = net_forward_parse(w->word[1], &forward, err);

	return ret ? ret : how(w->word[0], &forward, err);
}

static int port_add(const struct options *o, const struct verb_words *w, struct error *err)
{
	(void)o;
	return port_change(w, network_forward_add, err);
}

static int port_rm(const struct options *o, const struct verb_words *w, struct error *err)
{
	(void)o;
	return port_change(w, network_forward_remove, err);
}

struct listing {
	const char *guest; /* NULL: all */
	struct json_object *rows;
};

static void nic_list(struct json_object *rows, const char *guest, struct json_object *nic)
{
	struct json_object *ports = json_object_object_get(nic, "ports");

	for (size_t i = 0; ports && i < json_object_array_length(ports); i++) {
		struct json_object *row = json_object_new_object();

		json_object_object_add(row, "guest", json_object_new_string(guest));
		json_object_object_add(row, "network",
				       json_object_get(json_object_object_get(nic, "network")));
		json_object_object_add(row, "port",
				       json_object_get(json_object_array_get_idx(ports, i)));
		json_object_array_add(rows, row);
	}
}

static int guest_list(void *arg, const char *name, pid_t pid)
{
	struct listing *listing = arg;
	struct json_object *info = NULL, *nics;

	(void)pid;
	if (listing->guest && strcmp(listing->guest, name) != 0)
		return 0;
	if (client_request(name, "GET", "/v1/info", NULL, &info, NULL))
		return 0; /* it is starting, or ending */
	nics = json_object_object_get(info, "nics");
	for (size_t i = 0; nics && i < json_object_array_length(nics); i++)
		nic_list(listing->rows, name, json_object_array_get_idx(nics, i));
	json_object_put(info);
	return 0;
}

static int port_ls(const struct options *o, const struct verb_words *w, struct error *err)
{
	static const struct table_column columns[] = {
		{"GUEST", "guest"}, {"NETWORK", "network"}, {"PORT", "port"}, {NULL, NULL}};
	struct listing listing = {.guest = w->count ? w->word[0] : NULL,
				  .rows = json_object_new_array()};
	int ret = 0;

	if (listing.guest && !instance_is_running(listing.guest, NULL))
		ret = error_set(err, -ENOENT, "see lodge ls", "guest '%s': it is not running",
				listing.guest);
	if (ret == 0)
		ret = instance_for_each(guest_list, &listing, err);

	if (ret == 0 && o->json)
		json_print(listing.rows);
	else if (ret == 0)
		table_print(listing.rows, columns);
	json_object_put(listing.rows);
	return ret;
}

int cmd_port(const struct options *options)
{
	static const struct verb verbs[] = {
		{"add", "GUEST [ADDR:]HOST:GUEST[/udp]", 2, 2, port_add},
		{"rm", "GUEST [ADDR:]HOST:GUEST[/udp]", 2, 2, port_rm},
		{"ls", "[GUEST]", 0, 1, port_ls},
		{0},
	};

	return verbs_run("port", verbs, options);
}
