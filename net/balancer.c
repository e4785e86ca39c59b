/* SPDX-License-Identifier: MIT */
/* Balancers: their records, and the table of nftables that each has. */
#include "net/balancer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/balancer_impl.h"
#include "vmm/base/instance.h"

#define RECORDS "balancers"

/* Records. */

static int path_of(const char *name, char out[PATH_MAX], struct error *err)
{
	char file[TEXT_NAME_MAX + 8];

	if (!text_is_name(name))
		return error_set(err, -EINVAL, "see lodge balancer ls",
				 "balancer '%s': no such name can be", name);
	snprintf(file, sizeof(file), "%s.json", name);
	return instance_state_path(RECORDS, file, out, PATH_MAX, err);
}

static int target_parse(const char *text, struct balancer *b, struct error *err)
{
	struct balancer_target *target = &b->target[b->count];
	const char *colon = strrchr(text, ':');
	uint64_t port;

	if (b->count == BALANCER_TARGETS_MAX)
		return error_set(err, -E2BIG, NULL, "more than %u targets", BALANCER_TARGETS_MAX);
	snprintf(target->guest, sizeof(target->guest), "%.*s", colon ? (int)(colon - text) : 0,
		 text);
	if (!colon || (size_t)(colon - text) >= sizeof(target->guest) ||
	    !text_is_name(target->guest) || text_to_number(colon + 1, 1, 65535, &port))
		return error_set(err, -EINVAL, "give one as web1:8080", "target '%s'", text);
	target->port = (uint16_t)port;
	b->count++;
	return 0;
}

/* As a forward's, with a port of the guest's that nobody asks for. */
static int listen_parse(const char *text, struct balancer *b, struct error *err)
{
	struct net_forward forward;
	const char *slash = strchr(text, '/');
	char whole[NET_FORWARD_TEXT];

	snprintf(whole, sizeof(whole), "%.*s:1%s", slash ? (int)(slash - text) : (int)strlen(text),
		 text, slash ? slash : "");
	if (strlen(text) + 3 > sizeof(whole) || !strchr(text, ':') ||
	    net_forward_parse(whole, &forward, NULL) || strcmp(forward.address, "0.0.0.0") == 0 ||
	    strcmp(forward.address, "::") == 0)
		return error_set(err, -EINVAL,
				 "give one as 198.51.100.2:80 or [2001:db8::2]:53/udp",
				 "address and port '%s'", text);
	snprintf(b->address, sizeof(b->address), "%s", forward.address);
	b->port = forward.host;
	b->udp = forward.udp;
	return 0;
}

static int by_parse(const char *by, struct balancer *b, struct error *err)
{
	b->by_connections = strcmp(by, "connections") == 0;
	if (!b->by_connections && strcmp(by, "round-robin") != 0)
		return error_set(err, -EINVAL, "use round-robin or connections", "--by '%s'", by);
	return 0;
}

void balancer_listen_text(const struct balancer *b, char out[BALANCER_LISTEN_TEXT])
{
	bool six = strchr(b->address, ':');

	snprintf(out, BALANCER_LISTEN_TEXT, "%s%s%s:%u%s", six ? "[" : "", b->address,
		 six ? "]" : "", b->port, b->udp ? "/udp" : "");
}

static int balancer_write(const struct balancer *b, struct error *err)
{
	struct json_object *object, *targets = json_object_new_array();
	char path[PATH_MAX], text[NET_FORWARD_TEXT];
	const char *content;
	int ret = path_of(b->name, path, err);

	balancer_listen_text(b, text);
	object = json_object_new_object();
	json_object_object_add(object, "listen", json_object_new_string(text));
	json_object_object_add(
		object, "by",
		json_object_new_string(b->by_connections ? "connections" : "round-robin"));
	for (unsigned i = 0; i < b->count; i++) {
		snprintf(text, sizeof(text), "%s:%u", b->target[i].guest, b->target[i].port);
		json_object_array_add(targets, json_object_new_string(text));
	}
	json_object_object_add(object, "targets", targets);
	content = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY);
	if (ret == 0)
		ret = instance_write_file(path, content, strlen(content), err);
	json_object_put(object);
	return ret;
}

static const char *text_of(struct json_object *object)
{
	const char *text = json_object_get_string(object);

	return text ? text : "";
}

static int balancer_read(struct json_object *object, struct balancer *b)
{
	struct json_object *targets = json_object_object_get(object, "targets");
	int ret = listen_parse(text_of(json_object_object_get(object, "listen")), b, NULL);

	if (ret == 0)
		ret = by_parse(text_of(json_object_object_get(object, "by")), b, NULL);
	if (ret || !json_object_is_type(targets, json_type_array))
		return -EINVAL;
	for (size_t i = 0; i < json_object_array_length(targets) && ret == 0; i++)
		ret = target_parse(text_of(json_object_array_get_idx(targets, i)), b, NULL);
	return ret;
}

int balancer_find(const char *name, struct balancer *out, struct error *err)
{
	struct json_object *object;
	char path[PATH_MAX];
	int ret = path_of(name, path, err);

	if (ret)
		return ret;
	if (access(path, F_OK) < 0)
		return error_set(err, -ENOENT, "see lodge balancer ls",
				 "balancer '%s': it is not there", name);
	*out = (struct balancer){.count = 0};
	snprintf(out->name, sizeof(out->name), "%s", name);
	object = json_object_from_file(path);
	ret = json_object_is_type(object, json_type_object) ? balancer_read(object, out) : -EINVAL;
	json_object_put(object);
	if (ret)
		return error_set(err, ret, "remove the file", "balancer '%s': '%s' makes no sense",
				 name, path);
	return 0;
}

struct walk {
	int (*visit)(void *arg, const struct balancer *balancer);
	void *arg;
};

static int walk_visit(void *arg, const char *name)
{
	struct walk *walk = arg;
	struct balancer b;

	return balancer_find(name, &b, NULL) == 0 ? walk->visit(walk->arg, &b) : 0;
}

int balancer_for_each(int (*visit)(void *arg, const struct balancer *balancer), void *arg,
		      struct error *err)
{
	struct walk walk = {.visit = visit, .arg = arg};

	return instance_state_for_each(RECORDS, walk_visit, &walk, err);
}

int balancer_list(int (*visit)(void *arg, const struct balancer *balancer), void *arg,
		  struct error *err)
{
	/* Others have no networks of the host's, and no rules. */
	int lock = access(NETWORK_RUN, W_OK) == 0 ? network_lock(err) : 0, ret;

	if (lock < 0)
		return lock;
	ret = balancer_for_each(visit, arg, err);
	if (lock)
		close(lock);
	return ret;
}

static int has_listen(void *arg, const struct balancer *b)
{
	const struct balancer *other = arg;

	return strcmp(b->address, other->address) == 0 && b->port == other->port &&
	       b->udp == other->udp;
}

static int listen_check(const struct balancer *b, struct error *err)
{
	struct net_forward forward = {.host = b->port, .guest = 1, .udp = b->udp};
	char guest[TEXT_NAME_MAX + 1];

	snprintf(forward.address, sizeof(forward.address), "%s", b->address);
	if (strcmp(b->address, "::1") == 0)
		return error_set(err, -ENOTSUP, "give 127.0.0.1, or another address of the host's",
				 "IPv6's loopback cannot be forwarded");
	if (network_forward_holder(&forward, guest))
		return error_set(err, -EADDRINUSE, "give another, or see lodge port ls",
				 "port %u at %s: guest '%s' has it", b->port, b->address, guest);
	if (balancer_for_each(has_listen, (void *)(uintptr_t)b, NULL))
		return error_set(err, -EADDRINUSE, "give another, or see lodge balancer ls",
				 "port %u at %s: another balancer has it", b->port, b->address);
	return net_forward_check(&forward, err);
}

int balancer_create(const char *name, const char *listen, const char *by, char *const *target,
		    unsigned targets, struct error *err)
{
	struct balancer b = {.count = 0}, other;
	int lock = network_lock(err), ret;

	if (lock < 0)
		return lock;
	network_sweep_locked();
	ret = balancer_find(name, &other, NULL);
	if (ret == 0)
		ret = error_set(err, -EEXIST, "give another name, or lodge balancer rm it",
				"it is there");
	else if (ret == -ENOENT)
		ret = listen_parse(listen, &b, err);
	snprintf(b.name, sizeof(b.name), "%s", name);
	if (ret == 0 && by)
		ret = by_parse(by, &b, err);
	for (unsigned i = 0; i < targets && ret == 0; i++)
		ret = target_parse(target[i], &b, err);
	if (ret == 0)
		ret = listen_check(&b, err);
	if (ret == 0)
		ret = network_rules_begin(err);
	if (ret == 0)
		ret = balancer_write(&b, err);
	if (ret == 0)
		ret = network_rules_apply(err);
	close(lock);
	return ret ? error_prefix(err, ret, "balancer '%s'", name) : 0;
}

int balancer_remove(const char *name, struct error *err)
{
	struct balancer b;
	char path[PATH_MAX];
	int lock = network_lock(err), ret;

	if (lock < 0)
		return lock;
	network_sweep_locked();
	ret = balancer_find(name, &b, err);
	if (ret == 0)
		ret = path_of(name, path, err);
	if (ret == 0)
		ret = network_rules_begin(err);
	if (ret == 0 && unlink(path) < 0)
		ret = error_set(err, -errno, NULL, "file '%s': %s", path, error_name(-errno));
	if (ret == 0)
		ret = network_rules_apply(err);
	close(lock);
	return ret;
}

static int names(void *arg, const struct balancer *b)
{
	for (unsigned i = 0; i < b->count; i++)
		if (strcmp(b->target[i].guest, arg) == 0)
			return 1;
	return 0;
}

bool balancer_names(const char *guest)
{
	return balancer_for_each(names, (void *)(uintptr_t)guest, NULL) > 0;
}

/* Targets that answer. */

struct search {
	const struct balancer *balancer;
	const struct balancer_target *target;
	bool six;
	char address[INET6_ADDRSTRLEN];
	const struct network *network;
};

static int search_member(void *arg, const struct network_member *m)
{
	struct search *s = arg;
	struct in6_addr six = network_member_address6(s->network, m);
	bool serves = s->balancer->udp;

	if (strcmp(m->guest, s->target->guest) != 0 || !m->address)
		return 0;
	for (unsigned i = 0; i < m->serving_count; i++)
		serves |= m->serving[i] == s->target->port;
	if (!serves)
		return 0;
	network_member_address_text(m, s->address);
	if (s->six)
		inet_ntop(AF_INET6, &six, s->address, sizeof(s->address));
	return 1;
}

static int search_network(void *arg, const struct network *n)
{
	struct search *s = arg;

	s->network = n;
	return network_member_for_each(n->name, search_member, s);
}

bool balancer_target_address(const struct balancer *balancer, const struct balancer_target *target,
			     char out[INET6_ADDRSTRLEN])
{
	struct search s = {
		.balancer = balancer, .target = target, .six = strchr(balancer->address, ':')};

	if (network_for_each(search_network, &s, NULL) <= 0)
		return false;
	memcpy(out, s.address, sizeof(s.address));
	return true;
}

bool balancer_target_is_up(const struct balancer *balancer, const struct balancer_target *target)
{
	char address[INET6_ADDRSTRLEN];

	return balancer_target_address(balancer, target, address);
}

/* Rules. */

struct render {
	FILE *out;
	const char *tables; /* of the kernel's, a line each */
};

/* In the turns of a cycle, those who answer, or who is to get the next connections. */
static void spread_render(FILE *out, const struct balancer *b)
{
	char address[BALANCER_TARGETS_MAX][INET6_ADDRSTRLEN];
	unsigned up[BALANCER_TARGETS_MAX], turn[BALANCER_TURNS], count = 0, turns;

	for (unsigned i = 0; i < b->count; i++)
		if (balancer_target_address(b, &b->target[i], address[i]))
			up[count++] = i;
	turns = balancer_turns(b, up, count, turn);
	for (unsigned i = 0; i < turns; i++) {
		const struct balancer_target *target = &b->target[turn[i]];

		if (i == 0)
			fprintf(out,
				"		meta l4proto %d dnat %s to numgen inc mod %u map "
				"{ ",
				b->udp ? IPPROTO_UDP : IPPROTO_TCP,
				strchr(b->address, ':') ? "ip6" : "ip", turns);
		fprintf(out, "%s%u : %s . %u", i ? ", " : "", i, address[turn[i]], target->port);
	}
	fputs(turns ? " }\n" : "", out);
}

static void hook_render(FILE *out, const struct balancer *b, const char *hook, int priority)
{
	fprintf(out,
		"	chain %s {\n"
		"		type nat hook %s priority %d; policy accept;\n"
		"		%s daddr %s meta l4proto %d th dport %u goto spread\n"
		"	}\n",
		hook, hook, priority, strchr(b->address, ':') ? "ip6" : "ip", b->address,
		b->udp ? IPPROTO_UDP : IPPROTO_TCP, b->port);
}

/* Ahead of forwarded ports (network_rules.c). */
static void table_render(FILE *out, const struct balancer *b)
{
	fprintf(out, "table inet " BALANCER_TABLE "%s {\n	chain spread {\n", b->name);
	spread_render(out, b);
	fputs("	}\n", out);
	/* The host's loopback is the host's own. */
	if (strncmp(b->address, "127.", 4) != 0)
		hook_render(out, b, "prerouting", -101);
	hook_render(out, b, "output", -101);
	fputs("}\n", out);
}

/* Is it what was made last? It is kept, to be told so the next time. */
static bool is_as_before(const struct balancer *b, const char *text, size_t size)
{
	char path[PATH_MAX], *before = malloc(size + 1);
	FILE *file;
	bool same;

	snprintf(path, sizeof(path), "%s/%s.nft", BALANCERS_RUN, b->name);
	file = fopen(path, "re");
	same = before && file && fread(before, 1, size + 1, file) == size &&
	       memcmp(before, text, size) == 0;
	if (file)
		fclose(file);
	free(before);
	if (!same)
		instance_write_file(path, text, size, NULL);
	return same;
}

static bool has_table(const char *tables, const char *name)
{
	char line[TEXT_NAME_MAX + 64];

	snprintf(line, sizeof(line), "table inet " BALANCER_TABLE "%s\n", name);
	return strstr(tables, line);
}

/* A balancer's turns begin anew where its table does: it stays if nothing of it changed. */
static int balancer_render(void *arg, const struct balancer *b)
{
	struct render *r = arg;
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return -ENOMEM;
	table_render(out, b);
	if (fclose(out) == 0 && (!is_as_before(b, text, size) || !has_table(r->tables, b->name)))
		fprintf(r->out,
			"add table inet " BALANCER_TABLE "%s\ndelete table inet " BALANCER_TABLE
			"%s\n%s",
			b->name, b->name, text);
	free(text);
	return 0;
}

/* Of those that are not there any more. */
static void stale_render(FILE *out, const char *tables, bool all)
{
	static const char begin[] = "table inet " BALANCER_TABLE;
	struct balancer b;

	for (const char *at = tables; (at = strstr(at, begin)); at++) {
		char name[TEXT_NAME_MAX + 1];

		snprintf(name, sizeof(name), "%.*s", (int)strcspn(at + sizeof(begin) - 1, "\n"),
			 at + sizeof(begin) - 1);
		if (all || balancer_find(name, &b, NULL))
			fprintf(out, "delete table inet " BALANCER_TABLE "%s\n", name);
	}
}

int network_balancers_render(FILE *out, const char *tables, bool up)
{
	struct render r = {.out = out, .tables = tables};

	stale_render(out, tables, !up);
	if (!up) {
		network_balancers_forget();
		return 0;
	}
	mkdir(BALANCERS_RUN, 0700);
	return balancer_for_each(balancer_render, &r, NULL);
}

void network_balancers_forget(void)
{
	network_directory_remove(BALANCERS_RUN);
}
