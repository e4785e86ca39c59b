/* SPDX-License-Identifier: MIT */
/*
 * Filters of a guest's port: a table of nftables' netdev family for the TAP, named as it is. What
 * leaves by it, to the guest, is chain "in", what comes from the guest is "out", whatever the rest
 * of the way is: other guests, the host, routes, bridges. So a packet meets its own guest's rules
 * only.
 *
 * In a chain come what no network works without; the network's access list, for what crosses its
 * border; what belongs to a connection that was allowed; and the rules of the guest's security
 * groups. Connections are kept in sets of the table, which stay when all else is made anew:
 * connection tracking is not to be had here, nor on a bridge of every kernel. A key has the guest's
 * side first.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "net/network_impl.h"

/*
 * Protocols are numbers, for not every host has their names (/etc/protocols): 1 is ICMP, 2 IGMP, 6
 * TCP, 17 UDP, 58 ICMPv6.
 */

/* Of a guest's connections, the number that is remembered in each set. */
#define FLOWS_MAX 65536

static const char flow_sets[] =
	"	set flows4 {\n"
	"		type ipv4_addr . ipv4_addr . inet_proto . inet_service . inet_service\n"
	"		size %1$d; flags dynamic,timeout;\n"
	"	}\n"
	"	set flows6 {\n"
	"		type ipv6_addr . ipv6_addr . inet_proto . inet_service . inet_service\n"
	"		size %1$d; flags dynamic,timeout;\n"
	"	}\n"
	/* TCP that one side ended: what is left of it is for minutes. */
	"	set ended4 {\n"
	"		type ipv4_addr . ipv4_addr . inet_service . inet_service\n"
	"		size %1$d; flags dynamic,timeout;\n"
	"	}\n"
	"	set ended6 {\n"
	"		type ipv6_addr . ipv6_addr . inet_service . inet_service\n"
	"		size %1$d; flags dynamic,timeout;\n"
	"	}\n"
	/* By who asks: both may use the same number. */
	"	set pings4_in {\n"
	"		typeof ip saddr . ip daddr . icmp id\n"
	"		size %1$d; flags dynamic,timeout;\n"
	"	}\n"
	"	set pings6_in {\n"
	"		typeof ip6 saddr . ip6 daddr . icmpv6 id\n"
	"		size %1$d; flags dynamic,timeout;\n"
	"	}\n"
	"	set pings4_out {\n"
	"		typeof ip saddr . ip daddr . icmp id\n"
	"		size %1$d; flags dynamic,timeout;\n"
	"	}\n"
	"	set pings6_out {\n"
	"		typeof ip6 saddr . ip6 daddr . icmpv6 id\n"
	"		size %1$d; flags dynamic,timeout;\n"
	"	}\n"
	"	set others4 {\n"
	"		type ipv4_addr . ipv4_addr . inet_proto\n"
	"		size %1$d; flags dynamic,timeout;\n"
	"	}\n"
	"	set others6 {\n"
	"		type ipv6_addr . ipv6_addr . inet_proto\n"
	"		size %1$d; flags dynamic,timeout;\n"
	"	}\n";

/* What they are called in packets of a direction. */
static const struct way {
	bool out;
	const char *name, *hook, *own, *remote, *own_port, *remote_port;
} ways[] = {
	{false, "in", "egress", "daddr", "saddr", "dport", "sport"},
	{true, "out", "ingress", "saddr", "daddr", "sport", "dport"},
};

struct filter {
	FILE *out;
	const struct network *network;
	const struct network_member *member;
	const struct way *way;
	struct filter_list access; /* the network's */
	struct error *err;
	int ret;
};

/* Rules. */

struct macs {
	FILE *out;
	const char *group; /* NULL: whatever they have */
	unsigned count;
};

static bool has_group(const struct network_member *m, const char *group)
{
	for (unsigned i = 0; i < m->group_count; i++)
		if (strcmp(m->group[i], group) == 0)
			return true;
	return false;
}

static int mac_render(void *arg, const struct network_member *m)
{
	struct macs *macs = arg;
	char mac[18];

	if (macs->group && !has_group(m, macs->group))
		return 0;
	net_mac_text(m->mac, mac);
	fprintf(macs->out, "%s%s", macs->count++ ? ", " : "", mac);
	return 0;
}

/* "{ MAC, ... }" of the network's members, of which one, without any group, is always there. */
static void members_render(const struct filter *f, const char *group)
{
	struct macs macs = {.out = f->out, .group = group};

	fputs("{ ", f->out);
	network_member_for_each(f->network->name, mac_render, &macs);
	/* Nobody's. */
	fputs(macs.count ? " }" : "00:00:00:00:00:00 }", f->out);
}

static void rule_render(const struct filter *f, const struct filter_rule *r, const char *verdict)
{
	static const char *const protocols[] = {[0] = "",
						[IPPROTO_ICMP] = "meta l4proto { 1, 58 } ",
						[IPPROTO_TCP] = "meta l4proto 6 ",
						[IPPROTO_UDP] = "meta l4proto 17 "};
	char text[INET6_ADDRSTRLEN];

	fputs("		", f->out);
	if (r->group[0]) {
		fprintf(f->out, "ether %s ", f->way->remote);
		members_render(f, r->group);
		fputs(" ", f->out);
	} else if (r->family && r->prefix == 0) {
		fprintf(f->out, "ether type %s ", r->family == AF_INET6 ? "ip6" : "ip");
	} else if (r->family) {
		fprintf(f->out, "%s %s %s/%u ", r->family == AF_INET6 ? "ip6" : "ip",
			f->way->remote, inet_ntop(r->family, &r->address, text, sizeof(text)),
			r->prefix);
	}
	fputs(protocols[r->protocol], f->out);
	if (r->first && r->first == r->last)
		fprintf(f->out, "th dport %u ", r->first);
	else if (r->first)
		fprintf(f->out, "th dport %u-%u ", r->first, r->last);
	fprintf(f->out, "%s\n", verdict);
}

/* Those of the way's direction; returns how many. */
static unsigned list_render(const struct filter *f, const struct filter_list *list,
			    const char *verdict)
{
	unsigned count = 0;

	for (unsigned i = 0; i < list->count; i++) {
		if (list->rule[i].out != f->way->out)
			continue;
		rule_render(f, &list->rule[i], list->rule[i].deny ? "drop" : verdict);
		count++;
	}
	return count;
}

/* Chains. */

/* Connections that are allowed from now on, or still. */
static void allow_render(const struct filter *f)
{
	static const char *const families[] = {"ip", "ip6"};

	fprintf(f->out, "	chain allow_%s {\n", f->way->name);
	for (unsigned i = 0; i < 2; i++) {
		const char *ip = families[i], *icmp = i ? "icmpv6" : "icmp", set = i ? '6' : '4';
		char ends[128], flow[192], ended[192];

		snprintf(ends, sizeof(ends), "%s %s . %s %s", ip, f->way->own, ip, f->way->remote);
		snprintf(flow, sizeof(flow), "%s . meta l4proto . th %s . th %s", ends,
			 f->way->own_port, f->way->remote_port);
		snprintf(ended, sizeof(ended), "%s . tcp %s . tcp %s", ends, f->way->own_port,
			 f->way->remote_port);
		fprintf(f->out,
			"		tcp flags & (fin | rst) != 0 update @ended%c { %s timeout "
			"2m }\n"
			"		%s @ended%c update @flows%c { %s timeout 2m } accept\n"
			/* Until it is answered. */
			"		tcp flags & syn != 0 update @flows%c { %s timeout 2m } "
			"accept\n"
			"		meta l4proto 6 update @flows%c { %s timeout 3h } accept\n"
			"		meta l4proto 17 update @flows%c { %s timeout 3m } accept\n"
			"		%s type echo-request update @pings%c_%s { %s . %s id "
			"timeout 30s } accept\n"
			"		meta l4proto != { 1, 58, 6, 17 } update "
			"@others%c { "
			"%s . meta l4proto timeout 10m } accept\n",
			set, ended, ended, set, set, flow, set, flow, set, flow, set, flow, icmp,
			set, f->way->name, ends, icmp, set, ends);
	}
	fputs("		accept\n	}\n", f->out);
}

static void known_render(const struct filter *f)
{
	static const char *const families[] = {"ip", "ip6"};

	for (unsigned i = 0; i < 2; i++) {
		const char *ip = families[i], *icmp = i ? "icmpv6" : "icmp", set = i ? '6' : '4';
		char ends[128];

		snprintf(ends, sizeof(ends), "%s %s . %s %s", ip, f->way->own, ip, f->way->remote);
		fprintf(f->out,
			"		%1$s . meta l4proto . th %2$s . th %3$s @flows%4$c goto "
			"allow_%5$s\n"
			"		%6$s type echo-request %1$s . %6$s id @pings%4$c_%5$s goto "
			"allow_%5$s\n"
			"		%6$s type echo-reply %1$s . %6$s id @pings%4$c_%7$s "
			"accept\n"
			"		%1$s . meta l4proto @others%4$c goto allow_%5$s\n",
			ends, f->way->own_port, f->way->remote_port, set, f->way->name, icmp,
			f->way->out ? "in" : "out");
	}
	/* Errors about connections; and, to the guest, pieces of what began with ports. */
	fputs("		icmp type { destination-unreachable, time-exceeded, parameter-problem } "
	      "accept\n"
	      "		icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, "
	      "parameter-problem } accept\n",
	      f->out);
	if (!f->way->out)
		fputs("		ip frag-off & 0x1fff != 0 accept\n"
		      "		frag frag-off != 0 accept\n",
		      f->out);
}

/*
 * Where the host, or what is outside, gives addresses, no member does: an answer comes from nobody
 * of them.
 */
static void not_of_members(const struct filter *f)
{
	if (f->network->type == NETWORK_ISOLATED)
		return;
	fputs("ether saddr != ", f->out);
	members_render(f, NULL);
	fputs(" ", f->out);
}

static void addresses_in_render(const struct filter *f)
{
	static const char *const rules[] = {"meta l4proto 17 th sport 67 th dport 68 accept\n",
					    "meta l4proto 17 th sport 547 th dport 546 accept\n",
					    "icmpv6 type nd-router-advert accept\n"};

	for (unsigned i = 0; i < 3; i++) {
		fputs("		", f->out);
		not_of_members(f);
		fputs(rules[i], f->out);
	}
}

static void addresses_out_render(const struct filter *f, const char *gateway)
{
	fputs("		icmpv6 type nd-router-solicit accept\n"
	      "		ip6 daddr ff02::1:2 meta l4proto 17 th sport 546 th dport 547 accept\n"
	      "		",
	      f->out);
	/* Whoever gave a lease is asked again by his own address; outside nobody knows it. */
	if (gateway[0])
		fprintf(f->out, "ip daddr { 255.255.255.255, %s } ", gateway);
	fputs("meta l4proto 17 th sport 68 th dport 67 accept\n", f->out);
}

/* Of the network's own server: what is asked, and only what was. */
static void names_render(const struct filter *f, const char *ip, const char *server)
{
	fprintf(f->out, "		%s %s %s meta l4proto { 6, 17 } th %s 53 ", ip,
		f->way->remote, server, f->way->remote_port);
	if (f->way->out)
		fputs("goto allow_out\n", f->out);
	else
		fprintf(f->out,
			"%s daddr . %s saddr . meta l4proto . th dport . th sport @flows%c "
			"accept\n",
			ip, ip, strcmp(ip, "ip6") == 0 ? '6' : '4');
}

/* Neighbours, addresses and names: without them there is no network. */
static void necessary_render(const struct filter *f)
{
	char four[INET_ADDRSTRLEN] = "", six[INET6_ADDRSTRLEN];
	struct in_addr address = {htonl(f->network->address)};

	if (f->network->prefix)
		inet_ntop(AF_INET, &address, four, sizeof(four));
	fputs("		ether type arp accept\n"
	      "		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query, "
	      "mld-listener-report, mld2-listener-report } accept\n"
	      "		ip protocol 2 ip daddr 224.0.0.0/4 accept\n",
	      f->out);
	if (f->way->out)
		addresses_out_render(f, four);
	else
		addresses_in_render(f);
	if (!four[0])
		return;
	names_render(f, "ip", four);
	inet_ntop(AF_INET6, &f->network->address6, six, sizeof(six));
	names_render(f, "ip6", six);
}

static bool has_rules(const struct filter_list *list, bool out)
{
	for (unsigned i = 0; i < list->count; i++)
		if (list->rule[i].out == out)
			return true;
	return false;
}

static void access_render(const struct filter *f)
{
	if (!has_rules(&f->access, f->way->out))
		return;
	fprintf(f->out, "	chain access_%s {\n", f->way->name);
	list_render(f, &f->access, "return");
	fputs("		counter drop\n	}\n", f->out);
}

/* Rules of all of its groups; then how it ends for what none of them allows. */
static void groups_render(struct filter *f)
{
	struct filter_list list;
	char verdict[24];
	unsigned count = 0;

	snprintf(verdict, sizeof(verdict), "goto allow_%s", f->way->name);
	for (unsigned i = 0; i < f->member->group_count && f->ret == 0; i++) {
		f->ret = filter_list_read(FILTER_GROUP, f->member->group[i], &list, f->err);
		if (f->ret == 0)
			count += list_render(f, &list, verdict);
	}
	/* To the guest nothing else; from it all, unless something is restricted. */
	if (count || !f->way->out)
		fputs("		counter drop\n", f->out);
	else
		fprintf(f->out, "		%s\n", verdict);
}

static void way_render(struct filter *f)
{
	allow_render(f);
	access_render(f);
	fprintf(f->out,
		"	chain %s {\n"
		"		type filter hook %s device \"%s\" priority filter; policy "
		"accept;\n",
		f->way->name, f->way->hook, f->member->tap);
	necessary_render(f);
	if (has_rules(&f->access, f->way->out)) {
		fprintf(f->out, "		ether %s != ", f->way->remote);
		members_render(f, NULL);
		fprintf(f->out, " jump access_%s\n", f->way->name);
	}
	if (f->member->group_count) {
		known_render(f);
		groups_render(f);
	}
	fputs("	}\n", f->out);
}

int network_filter_render(FILE *out, const struct network *network,
			  const struct network_member *member, struct error *err)
{
	struct filter f = {.out = out, .network = network, .member = member, .err = err};
	int ret = filter_list_read(FILTER_ACCESS, network->name, &f.access, NULL);

	if (ret && ret != -ENOENT)
		return filter_list_read(FILTER_ACCESS, network->name, &f.access, err);
	if (!f.access.count && !member->group_count) {
		/* Whether it is there or not. */
		fprintf(out, "add table netdev %s\ndelete table netdev %s\n", member->tap,
			member->tap);
		return 0;
	}
	/* Of one that is there the sets stay. */
	fprintf(out, "add table netdev %s\nflush table netdev %s\ntable netdev %s {\n", member->tap,
		member->tap, member->tap);
	fprintf(out, flow_sets, FLOWS_MAX);
	for (unsigned i = 0; i < 2; i++) {
		f.way = &ways[i];
		way_render(&f);
	}
	fputs("}\n", out);
	return f.ret;
}
