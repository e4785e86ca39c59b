/* SPDX-License-Identifier: MIT */
/*
 * Filters and translation of addresses: one table of nftables, lodge's own, made anew of all
 * networks that are up, and one of each port that is filtered (network_filter.c), in one
 * transaction. How many rules a packet meets does not depend on how many networks and guests there
 * are: they are in sets and maps.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <nftables/libnftables.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/network_impl.h"
#include "vmm/base/process.h"

#define PENDING     NETWORK_RUN "/.pending" /* rules are not what they should be */
#define PORT_TABLE  "table netdev "
#define TABLES_TEXT 65536u

/* Which networks, and what of them. */
struct set {
	const char *name, *type;
	unsigned types; /* a bit each */
	void (*element)(FILE *out, const struct network *n);
};

static void element_bridge(FILE *out, const struct network *n)
{
	fprintf(out, "\"%s\"", n->bridge);
}

static void element_pair(FILE *out, const struct network *n)
{
	fprintf(out, "\"%s\" . \"%s\"", n->bridge, n->bridge);
}

static void element_range(FILE *out, const struct network *n)
{
	struct in_addr address = {htonl(n->address & ~0u << (32 - n->prefix))};
	char text[INET_ADDRSTRLEN];

	fprintf(out, "%s/%u", inet_ntop(AF_INET, &address, text, sizeof(text)), n->prefix);
}

static void element_range6(FILE *out, const struct network *n)
{
	struct in6_addr address = n->address6;
	char text[INET6_ADDRSTRLEN];

	memset(address.s6_addr + 8, 0, 8);
	fprintf(out, "%s/64", inet_ntop(AF_INET6, &address, text, sizeof(text)));
}

#define BIT(type) (1u << (type))
static const struct set sets[] = {
	{"networks", "ifname", BIT(NETWORK_NAT) | BIT(NETWORK_HOST_ONLY) | BIT(NETWORK_ISOLATED),
	 element_bridge},
	/* Where br_netfilter has a bridge's own traffic come by here. */
	{"within", "ifname . ifname",
	 BIT(NETWORK_NAT) | BIT(NETWORK_HOST_ONLY) | BIT(NETWORK_ISOLATED), element_pair},
	{"nat", "ifname", BIT(NETWORK_NAT), element_bridge},
	{"isolated", "ifname", BIT(NETWORK_ISOLATED), element_bridge},
	/* Whose guests go nowhere else. */
	{"closed", "ifname", BIT(NETWORK_ISOLATED) | BIT(NETWORK_HOST_ONLY), element_bridge},
	{"nat_ranges", "ipv4_addr; flags interval", BIT(NETWORK_NAT), element_range},
	{"nat_ranges6", "ipv6_addr; flags interval", BIT(NETWORK_NAT), element_range6},
};

static const char chains[] =
	"chain forward {\n"
	"	type filter hook forward priority filter; policy accept;\n"
	"	iifname != @networks oifname != @networks accept\n"
	"	ct state vmap { established : accept, related : accept, invalid : drop }\n"
	"	iifname . oifname @within accept\n"
	"	iifname @closed drop\n"
	"	iifname @nat oifname != @networks accept\n"
	"	ct status dnat accept\n"
	"	drop\n"
	"}\n"
	"chain input {\n"
	"	type filter hook input priority filter; policy accept;\n"
	"	iifname @isolated drop\n"
	"}\n"
	/* Of the host's loopback, which bridges route for the sake of forwarded ports. */
	"chain early {\n"
	"	type filter hook prerouting priority raw; policy accept;\n"
	"	iifname @networks ip daddr 127.0.0.0/8 drop\n"
	"}\n"
	"chain ports {\n"
	"	dnat ip to ip daddr . meta l4proto . th dport map @ports4\n"
	"	dnat ip6 to ip6 daddr . meta l4proto . th dport map @ports6\n"
	"	dnat ip to ip daddr map @addresses4\n"
	"	dnat ip6 to ip6 daddr map @addresses6\n"
	"	meta nfproto ipv4 fib daddr type local dnat ip to meta l4proto . th dport map "
	"@any4\n"
	"	meta nfproto ipv6 fib daddr type local dnat ip6 to meta l4proto . th dport map "
	"@any6\n"
	"}\n"
	"chain arrive {\n"
	"	type nat hook prerouting priority dstnat; policy accept;\n"
	/* What is of the host's loopback comes from the host only, and not by here. */
	"	ip daddr 127.0.0.0/8 return\n"
	"	iifname @isolated return\n"
	"	jump ports\n"
	"}\n"
	"chain depart {\n"
	"	type nat hook output priority -100; policy accept;\n"
	"	jump ports\n"
	"}\n"
	"chain translate {\n"
	"	type nat hook postrouting priority srcnat; policy accept;\n"
	"	oifname != @networks snat ip to ip saddr map @sources4\n"
	"	oifname != @networks snat ip6 to ip6 saddr map @sources6\n"
	"	oifname != @networks snat ip to ip saddr map @publics\n"
	"	ip saddr @nat_ranges oifname != @networks masquerade\n"
	"	ip6 saddr @nat_ranges6 oifname != @networks masquerade\n"
	/* From the host's loopback, and from guests by the host's address: answers come back here.
	 */
	"	ct status dnat oifname @networks ip saddr 127.0.0.0/8 masquerade\n"
	"	ct status dnat oifname @networks ip saddr @nat_ranges masquerade\n"
	"	ct status dnat oifname @networks ip6 saddr @nat_ranges6 masquerade\n"
	/* Guests that know no way out answer to nobody but the host. */
	"	ct status dnat oifname @closed masquerade\n"
	"}\n";

struct render {
	FILE *out;
	const struct set *set;
	const struct network *network;
	struct error *err;
	unsigned count;
};

static int element_render(void *arg, const struct network *n)
{
	struct render *r = arg;

	if (!(r->set->types & BIT(n->type)) || !network_is_ready(n))
		return 0;
	fputs(r->count++ ? ", " : "	elements = { ", r->out);
	r->set->element(r->out, n);
	return 0;
}

static int networks_render(FILE *out, struct error *err)
{
	unsigned networks = 0;
	int ret = 0;

	/* Whether it is there or not. */
	fputs("table inet lodge {}\ndelete table inet lodge\n", out);
	fputs("table inet lodge {\n", out);
	for (unsigned i = 0; i < sizeof(sets) / sizeof(sets[0]) && ret == 0; i++) {
		struct render r = {.out = out, .set = &sets[i]};

		fprintf(out, "set %s {\n	type %s;\n", sets[i].name, sets[i].type);
		ret = network_for_each(element_render, &r, err);
		fputs(r.count ? " }\n}\n" : "}\n", out);
		networks += r.count;
	}
	network_translate_render(out);
	fputs(chains, out);
	fputs("}\n", out);
	if (networks == 0)
		fputs("delete table inet lodge\n", out);
	return ret;
}

/* Ports. */

static int port_render(void *arg, const struct network_member *m)
{
	struct render *r = arg;

	/* Its guest is going, or was killed. */
	if (!if_nametoindex(m->tap))
		return 0;
	return network_filter_render(r->out, r->network, m, r->err);
}

static int ports_render(void *arg, const struct network *n)
{
	struct render *r = arg;

	r->network = n;
	return network_member_for_each(n->name, port_render, r);
}

/* Where the kernel has none of it the library ends the process. */
static int netlink_check(struct error *err)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);

	if (fd < 0)
		return error_set(err, -errno, "load the kernel's module nf_tables", "nftables: %s",
				 error_name(-errno));
	close(fd);
	return 0;
}

/* nftables' own words: what it prints goes to `output` unless that is NULL, cut to `size`. */
static int run(const char *text, char *output, size_t size, struct error *err)
{
	struct nft_ctx *nft;
	int ret = netlink_check(err);

	if (output && size)
		output[0] = 0;
	if (ret)
		return ret;
	nft = nft_ctx_new(NFT_CTX_DEFAULT);
	if (!nft)
		return error_set(err, -ENOMEM, NULL, "nftables: out of memory");
	nft_ctx_buffer_error(nft);
	nft_ctx_buffer_output(nft);
	if (nft_run_cmd_from_buffer(nft, text)) {
		char what[200];

		snprintf(what, sizeof(what), "%s", nft_ctx_get_error_buffer(nft));
		what[strcspn(what, "\n")] = 0;
		ret = error_set(err, -EIO, "load the kernel's module nf_tables, or be root",
				"nftables: %s", what);
	}
	if (output)
		snprintf(output, size, "%s", nft_ctx_get_output_buffer(nft));
	nft_ctx_free(nft);
	return ret;
}

static int is_of_tap(void *arg, const struct network_member *m)
{
	return strcmp(m->tap, arg) == 0;
}

static int has_tap(void *arg, const struct network *n)
{
	return network_member_for_each(n->name, is_of_tap, arg);
}

/* Tables of ports that are gone: lines "table netdev NAME". */
static void stale_render(FILE *out, char *tables)
{
	char *line;

	while ((line = strsep(&tables, "\n"))) {
		char *name = line + strlen(PORT_TABLE);

		if (strncmp(line, PORT_TABLE TAP_PREFIX, strlen(PORT_TABLE TAP_PREFIX)) == 0 &&
		    network_for_each(has_tap, name, NULL) == 0)
			fprintf(out, "delete table netdev %s\n", name);
	}
}

/* All of it. */

int network_check(bool gives_addresses, struct error *err)
{
	int ret = process_find("ip", "iproute2", err);

	if (ret == 0 && gives_addresses)
		ret = process_find("dnsmasq", "dnsmasq-base", err);
	if (ret == 0 && access("/dev/net/tun", R_OK | W_OK) < 0)
		ret = error_set(err, -errno,
				errno == EACCES ? "be root, or use network user"
						: "load the kernel's module tun",
				"/dev/net/tun: %s", error_name(-errno));
	return ret ? ret : run("list tables", NULL, 0, err);
}

int network_rules_begin(struct error *err)
{
	int fd;

	if (access(NETWORK_RUN, F_OK) < 0)
		return 0;
	fd = open(PENDING, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_set(err, -errno, "be root", "file '%s': %s", PENDING,
				 error_name(-errno));
	close(fd);
	return 0;
}

static int is_ready(void *arg, const struct network *n)
{
	(void)arg;
	return n->type != NETWORK_BRIDGED && network_is_ready(n);
}

/* Who starts the host's firewall again may flush all. */
bool network_rules_are_pending(void)
{
	char tables[TABLES_TEXT];

	if (access(PENDING, F_OK) == 0)
		return true;
	return network_for_each(is_ready, NULL, NULL) > 0 &&
	       run("list tables inet", tables, sizeof(tables), NULL) == 0 &&
	       !strstr(tables, "table inet lodge\n");
}

static int balancers_render(FILE *out)
{
	char tables[TABLES_TEXT];

	run("list tables inet", tables, sizeof(tables), NULL);
	return network_balancers_render(out, tables, network_for_each(is_ready, NULL, NULL) > 0);
}

static int all_render(FILE *out, struct error *err)
{
	struct render r = {.err = err, .out = out};
	char tables[TABLES_TEXT];
	int ret;

	run("list tables netdev", tables, sizeof(tables), NULL);
	ret = networks_render(out, err);
	stale_render(out, tables);
	if (ret == 0)
		ret = network_for_each(ports_render, &r, err);
	return ret ? ret : balancers_render(out);
}

static int only_balancers_render(FILE *out, struct error *err)
{
	(void)err;
	return balancers_render(out);
}

static int apply(int (*render)(FILE *out, struct error *err), struct error *err)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	int ret = out ? render(out, err) : -ENOMEM;

	if (out && fclose(out) && ret == 0)
		ret = -ENOMEM;
	if (ret == 0)
		ret = run(text, NULL, 0, err);
	else
		error_set(err, ret, NULL, "rules: %s", error_name(ret));
	if (ret)
		network_balancers_forget();
	free(text);
	return ret;
}

int network_balancers_apply(struct error *err)
{
	return apply(only_balancers_render, err);
}

int network_rules_apply(struct error *err)
{
	int ret = network_rules_begin(err);

	if (ret == 0)
		ret = apply(all_render, err);
	if (ret == 0) {
		unlink(PENDING);
		rmdir(NETWORK_RUN); /* where no network is up */
	}
	return ret;
}
