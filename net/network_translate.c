/* SPDX-License-Identifier: MIT */
/*
 * What of the host's leads to which guest, and what guests are outside: maps, of each family. Ports
 * are of one address or of any; an address is a guest's, there and back; a network's guests may
 * have one for all of them.
 */
#include <arpa/inet.h>
#include <string.h>

#include "net/network_impl.h"

struct map;

struct render {
	FILE *out;
	const struct map *map;
	const struct network *network;
	unsigned count;
};

enum scope { SCOPE_PORT, SCOPE_ANY, SCOPE_ADDRESS };

struct map {
	const char *name, *type;
	bool six;
	enum scope scope;
	void (*element)(const struct render *r, const char *guest, const struct net_forward *f);
};

static void port_element(const struct render *r, const char *guest, const struct net_forward *f)
{
	if (r->map->scope == SCOPE_PORT)
		fprintf(r->out, "%s . ", f->address);
	fprintf(r->out, "%d . %u : %s . %u", f->udp ? IPPROTO_UDP : IPPROTO_TCP, f->host, guest,
		f->guest);
}

static void address_element(const struct render *r, const char *guest, const struct net_forward *f)
{
	fprintf(r->out, "%s : %s", f->address, guest);
}

static void source_element(const struct render *r, const char *guest, const struct net_forward *f)
{
	fprintf(r->out, "%s : %s", guest, f->address);
}

#define PORT4 "ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service"
#define PORT6 "ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service"
static const struct map maps[] = {
	{"ports4", PORT4, false, SCOPE_PORT, port_element},
	{"ports6", PORT6, true, SCOPE_PORT, port_element},
	{"any4", "inet_proto . inet_service : ipv4_addr . inet_service", false, SCOPE_ANY,
	 port_element},
	{"any6", "inet_proto . inet_service : ipv6_addr . inet_service", true, SCOPE_ANY,
	 port_element},
	{"addresses4", "ipv4_addr : ipv4_addr", false, SCOPE_ADDRESS, address_element},
	{"addresses6", "ipv6_addr : ipv6_addr", true, SCOPE_ADDRESS, address_element},
	{"sources4", "ipv4_addr : ipv4_addr", false, SCOPE_ADDRESS, source_element},
	{"sources6", "ipv6_addr : ipv6_addr", true, SCOPE_ADDRESS, source_element},
};

static enum scope scope_of(const struct net_forward *f)
{
	if (!f->host)
		return SCOPE_ADDRESS;
	return strcmp(f->address, "0.0.0.0") == 0 || strcmp(f->address, "::") == 0 ? SCOPE_ANY
										   : SCOPE_PORT;
}

static void separate(struct render *r)
{
	fputs(r->count++ ? ", " : "		elements = { ", r->out);
}

static int member_elements(void *arg, const struct network_member *m)
{
	struct render *r = arg;
	struct in6_addr six = network_member_address6(r->network, m);
	char guest[INET6_ADDRSTRLEN];

	network_member_address_text(m, guest);
	if (r->map->six)
		inet_ntop(AF_INET6, &six, guest, sizeof(guest));
	for (unsigned i = 0; i < m->forward_count; i++) {
		const struct net_forward *f = &m->forward[i];

		if (r->map->six != !!strchr(f->address, ':') || r->map->scope != scope_of(f))
			continue;
		separate(r);
		r->map->element(r, guest, f);
	}
	return 0;
}

static int network_elements(void *arg, const struct network *n)
{
	struct render *r = arg;

	r->network = n;
	return network_member_for_each(n->name, member_elements, r);
}

static int public_element(void *arg, const struct network *n)
{
	struct render *r = arg;
	struct in_addr range = {htonl(n->address & ~0u << (32 - n->prefix))};
	char text[INET_ADDRSTRLEN], address[NETWORK_TEXT];

	network_public_text(n, address);
	if (!address[0] || !network_is_ready(n))
		return 0;
	separate(r);
	fprintf(r->out, "%s/%u : %s", inet_ntop(AF_INET, &range, text, sizeof(text)), n->prefix,
		address);
	return 0;
}

static void map_render(FILE *out, const char *name, const char *type, const struct map *map,
		       int (*visit)(void *arg, const struct network *network))
{
	struct render r = {.out = out, .map = map};

	fprintf(out, "	map %s {\n		type %s;\n", name, type);
	network_for_each(visit, &r, NULL);
	fputs(r.count ? " }\n	}\n" : "	}\n", out);
}

void network_translate_render(FILE *out)
{
	for (unsigned i = 0; i < sizeof(maps) / sizeof(maps[0]); i++)
		map_render(out, maps[i].name, maps[i].type, &maps[i], network_elements);
	map_render(out, "publics", "ipv4_addr : ipv4_addr; flags interval", NULL, public_element);
}
