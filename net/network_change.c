/* SPDX-License-Identifier: MIT */
/*
 * What changes while guests run: forwarded ports, security groups, access lists. Records come
 * first; where the rules cannot follow, they are put back.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/balancer.h"
#include "net/network_impl.h"
#include "vmm/base/instance.h"

#define NICS_MAX 32u

/* A guest's NICs on networks. */
struct port {
	struct network network;
	struct network_member member;
};

struct ports {
	const char *guest;
	unsigned count;
	const struct network *network; /* that is looked through */
	struct port port[NICS_MAX];
};

static int find_member(void *arg, const struct network_member *m)
{
	struct ports *ports = arg;

	if (strcmp(m->guest, ports->guest) == 0 && ports->count < NICS_MAX)
		ports->port[ports->count++] =
			(struct port){.network = *ports->network, .member = *m};
	return 0;
}

static int find_network(void *arg, const struct network *n)
{
	struct ports *ports = arg;

	ports->network = n;
	return network_member_for_each(n->name, find_member, ports);
}

/* Of a running guest; -ENOENT where it has none. */
static int ports_find(struct ports *ports, struct error *err)
{
	int ret = network_for_each(find_network, ports, err);

	if (ret || ports->count)
		return ret;
	if (!instance_is_running(ports->guest, NULL))
		return error_set(err, -ENOENT, "see lodge ls", "guest '%s': it is not running",
				 ports->guest);
	return error_set(err, -ENOENT,
			 "attach it to one with -n; -n user knows only what it began with",
			 "guest '%s': it is on no network of the host's", ports->guest);
}

static int ports_write(const struct ports *ports, struct error *err)
{
	int ret = 0;

	for (unsigned i = 0; i < ports->count && ret == 0; i++)
		ret = network_member_write(ports->port[i].network.name, &ports->port[i].member,
					   err);
	return ret;
}

typedef int edit_fn(struct ports *ports, const void *what, struct error *err);

/* `ports` is room for two of it: what was, and what is to be. */
static int change_locked(struct ports *ports, edit_fn *edit, const void *what, struct error *err)
{
	int ret;

	network_sweep_locked();
	ret = ports_find(ports, err);
	if (ret)
		return ret;
	ports[1] = ports[0];
	ret = edit(&ports[1], what, err);
	if (ret)
		return ret;
	ret = network_rules_begin(err);
	if (ret == 0)
		ret = ports_write(&ports[1], err);
	if (ret == 0)
		ret = network_rules_apply(err);
	if (ret && ports_write(&ports[0], NULL) == 0)
		network_rules_apply(NULL);
	return ret;
}

/* One change of a guest's ports. */
static int change(const char *guest, edit_fn *edit, const void *what, struct error *err)
{
	struct ports *ports = calloc(2, sizeof(*ports));
	int lock, ret;

	if (!ports)
		return error_set(err, -ENOMEM, NULL, "guest '%s': out of memory", guest);
	ports->guest = guest;
	lock = ret = network_lock(err);
	if (lock >= 0) {
		ret = change_locked(ports, edit, what, err);
		close(lock);
	}
	free(ports);
	return ret;
}

/* Forwarded ports. */

static bool can_forward(const struct network *n)
{
	return n->type == NETWORK_NAT || n->type == NETWORK_HOST_ONLY;
}

bool network_can_forward(const char *name)
{
	struct network n;
	int ret = network_find(name, &n, NULL);

	/* One that is not there yet is the default one, or an error that is told elsewhere. */
	return ret == -ENOENT || (ret == 0 && can_forward(&n));
}

static bool is_loopback_or_any(const char *address)
{
	return strncmp(address, "127.", 4) == 0 || strcmp(address, "0.0.0.0") == 0 ||
	       strcmp(address, "::1") == 0 || strcmp(address, "::") == 0;
}

struct holder {
	const struct net_forward *forward;
	char guest[TEXT_NAME_MAX + 1];
};

static int holder_member(void *arg, const struct network_member *m)
{
	struct holder *holder = arg;

	for (unsigned i = 0; i < m->forward_count; i++)
		if (net_forward_is_same(&m->forward[i], holder->forward)) {
			snprintf(holder->guest, sizeof(holder->guest), "%s", m->guest);
			return 1;
		}
	return 0;
}

static int holder_network(void *arg, const struct network *n)
{
	return network_member_for_each(n->name, holder_member, arg);
}

bool network_forward_holder(const struct net_forward *forward, char out[TEXT_NAME_MAX + 1])
{
	struct holder holder = {.forward = forward};
	bool found = network_for_each(holder_network, &holder, NULL) > 0;

	memcpy(out, holder.guest, sizeof(holder.guest));
	return found;
}

static int balancer_has(void *arg, const struct balancer *b)
{
	const struct net_forward *forward = arg;

	return b->udp == forward->udp && b->port == forward->host &&
	       strcmp(b->address, forward->address) == 0;
}

/* Has the same NIC it already, or another address of the family? */
static bool has_like(const struct net_forward *had, unsigned count,
		     const struct net_forward *forward)
{
	for (unsigned i = 0; i < count; i++)
		if (net_forward_is_same(&had[i], forward) ||
		    (!had[i].host && !forward->host &&
		     !strchr(had[i].address, ':') == !strchr(forward->address, ':')))
			return true;
	return false;
}

int network_forward_check(const struct network *network, const struct net_forward *had,
			  unsigned count, const struct net_forward *forward, struct error *err)
{
	char text[NET_FORWARD_TEXT], guest[TEXT_NAME_MAX + 1];

	net_forward_text(forward, text);
	if (!can_forward(network))
		return error_set(err, -ENOTSUP, "use a network of type nat or host-only",
				 "port '%s': network '%s' is %s", text, network->name,
				 network_type_name(network->type));
	/* It may be routed here, without being the host's. */
	if (!forward->host &&
	    (network->type != NETWORK_NAT || is_loopback_or_any(forward->address)))
		return error_set(err, -ENOTSUP, "give one more address of the host's, on type nat",
				 "port '%s': it cannot be a guest's", text);
	if (strcmp(forward->address, "::1") == 0)
		return error_set(err, -ENOTSUP, "give 127.0.0.1, or another address of the host's",
				 "port '%s': IPv6's loopback cannot be forwarded", text);
	if (has_like(had, count, forward))
		return error_set(err, -EADDRINUSE, "give each once, and one address:all",
				 "port '%s': the guest has it, or another address", text);
	if (network_forward_holder(forward, guest))
		return error_set(err, -EADDRINUSE, "give another, or see lodge port ls",
				 "port '%s': guest '%s' has it", text, guest);
	if (balancer_for_each(balancer_has, (void *)(uintptr_t)forward, NULL) > 0)
		return error_set(err, -EADDRINUSE, "give another, or see lodge balancer ls",
				 "port '%s': a balancer has it", text);
	return forward->host ? net_forward_check(forward, err) : 0;
}

static int forward_add(struct ports *ports, const void *what, struct error *err)
{
	const struct net_forward *forward = what;
	struct port *port = &ports->port[0];
	int ret;

	/* Its first NIC that can. */
	for (unsigned i = ports->count; i-- > 0;)
		if (can_forward(&ports->port[i].network) &&
		    (!can_forward(&port->network) ||
		     ports->port[i].member.index < port->member.index))
			port = &ports->port[i];
	if (port->member.forward_count == NET_FORWARDS_MAX)
		return error_set(err, -E2BIG, "remove some", "guest '%s': it has %u ports",
				 ports->guest, NET_FORWARDS_MAX);
	ret = network_forward_check(&port->network, port->member.forward,
				    port->member.forward_count, forward, err);
	if (ret == 0)
		port->member.forward[port->member.forward_count++] = *forward;
	return ret;
}

static int forward_remove(struct ports *ports, const void *what, struct error *err)
{
	const struct net_forward *forward = what;
	char text[NET_FORWARD_TEXT];

	for (unsigned i = 0; i < ports->count; i++) {
		struct network_member *m = &ports->port[i].member;

		for (unsigned j = 0; j < m->forward_count; j++) {
			if (!net_forward_is_same(&m->forward[j], forward) ||
			    m->forward[j].guest != forward->guest)
				continue;
			m->forward[j] = m->forward[--m->forward_count];
			return 0;
		}
	}
	net_forward_text(forward, text);
	return error_set(err, -ENOENT, "see lodge port ls", "guest '%s': it has no port '%s'",
			 ports->guest, text);
}

int network_forward_add(const char *guest, const struct net_forward *forward, struct error *err)
{
	return change(guest, forward_add, forward, err);
}

int network_forward_remove(const char *guest, const struct net_forward *forward, struct error *err)
{
	return change(guest, forward_remove, forward, err);
}

/* Security groups of guests. */

static unsigned group_find(const struct network_member *m, const char *group)
{
	unsigned i = 0;

	while (i < m->group_count && strcmp(m->group[i], group) != 0)
		i++;
	return i;
}

static int group_attach(struct ports *ports, const void *what, struct error *err)
{
	struct filter_list list;
	int ret = filter_list_read(FILTER_GROUP, what, &list, err);

	if (ret)
		return ret;
	for (unsigned i = 0; i < ports->count; i++) {
		struct network_member *m = &ports->port[i].member;

		if (group_find(m, what) < m->group_count)
			continue;
		if (m->group_count == NETWORK_GROUPS_MAX)
			return error_set(err, -E2BIG, "detach one first",
					 "guest '%s': it has %u security groups", ports->guest,
					 NETWORK_GROUPS_MAX);
		snprintf(m->group[m->group_count++], sizeof(m->group[0]), "%s", (const char *)what);
	}
	return 0;
}

static int group_detach(struct ports *ports, const void *what, struct error *err)
{
	bool found = false;

	for (unsigned i = 0; i < ports->count; i++) {
		struct network_member *m = &ports->port[i].member;
		unsigned at = group_find(m, what);

		if (at == m->group_count)
			continue;
		m->group_count--;
		memmove(m->group[at], m->group[at + 1],
			(m->group_count - at) * sizeof(m->group[0]));
		found = true;
	}
	if (found)
		return 0;
	return error_set(err, -ENOENT, "see lodge sg ls",
			 "guest '%s': it has no security group '%s'", ports->guest,
			 (const char *)what);
}

int network_group_attach(const char *guest, const char *group, struct error *err)
{
	return change(guest, group_attach, group, err);
}

int network_group_detach(const char *guest, const char *group, struct error *err)
{
	return change(guest, group_detach, group, err);
}

/* Lists. */

/* What an access list and a group's cannot have. */
static int rule_check(enum filter_kind kind, const char *name, const struct filter_rule *rule,
		      struct error *err)
{
	struct filter_list other;
	struct network n;

	if (kind == FILTER_ACCESS && rule->group[0])
		return error_set(err, -EINVAL, "give addresses",
				 "rule: access lists know no security groups");
	if (kind == FILTER_GROUP && rule->deny)
		return error_set(err, -EINVAL, "use an access list: lodge net acl",
				 "rule: a security group only allows");
	if (rule->group[0] && filter_list_read(FILTER_GROUP, rule->group, &other, err))
		return -ENOENT;
	return kind == FILTER_ACCESS ? network_find(name, &n, err) : 0;
}

/* An access list without rules is none. */
static int list_write(enum filter_kind kind, const char *name, const struct filter_list *list,
		      struct error *err)
{
	int ret;

	if (list->count || kind == FILTER_GROUP)
		return filter_list_write(kind, name, list, err);
	ret = filter_list_remove(kind, name, NULL);
	return ret == -ENOENT ? 0 : ret;
}

/* The list as it is to be; it is as it was where the rules cannot be had. */
static int list_commit(enum filter_kind kind, const char *name, const struct filter_list *old,
		       const struct filter_list *list, struct error *err)
{
	bool up = access(NETWORK_RUN, F_OK) == 0;
	int ret = network_rules_begin(err);

	if (ret == 0)
		ret = list_write(kind, name, list, err);
	if (ret == 0 && up)
		ret = network_rules_apply(err);
	if (ret && list_write(kind, name, old, NULL) == 0 && up)
		network_rules_apply(NULL);
	return ret;
}

/* `rule` is added, or the one of its number removed. */
static int list_change(enum filter_kind kind, const char *name, struct filter_rule *rule,
		       bool removed, struct error *err)
{
	struct filter_list old, list;
	int ret = filter_list_read(kind, name, &old, kind == FILTER_ACCESS ? NULL : err);

	if (ret == -ENOENT && kind == FILTER_ACCESS) {
		old.count = 0;
		ret = 0;
	}
	if (ret)
		return error_set(err, ret, NULL, "access list '%s': it makes no sense", name);
	list = old;
	ret = removed ? filter_list_take(&list, rule->number, err)
		      : filter_list_add(&list, rule, err);
	return ret ? error_prefix(err, ret, "'%s'", name)
		   : list_commit(kind, name, &old, &list, err);
}

int network_rule_add(enum filter_kind kind, const char *name, struct filter_rule *rule,
		     struct error *err)
{
	int lock = network_lock(err), ret;

	if (lock < 0)
		return lock;
	network_sweep_locked();
	ret = rule_check(kind, name, rule, err);
	if (ret == 0)
		ret = list_change(kind, name, rule, false, err);
	close(lock);
	return ret;
}

int network_rule_remove(enum filter_kind kind, const char *name, unsigned number, struct error *err)
{
	struct filter_rule rule = {.number = number};
	int lock = network_lock(err), ret;

	if (lock < 0)
		return lock;
	network_sweep_locked();
	ret = list_change(kind, name, &rule, true, err);
	close(lock);
	return ret;
}

int network_group_create(const char *name, struct error *err)
{
	struct filter_list list = {.count = 0};
	int lock = network_lock(err), ret;

	if (lock < 0)
		return lock;
	ret = filter_list_read(FILTER_GROUP, name, &list, NULL);
	if (ret == -ENOENT)
		ret = filter_list_write(FILTER_GROUP, name, &list, err);
	else if (ret == 0)
		ret = error_set(err, -EEXIST, "give another name, or lodge sg rm it",
				"security group '%s': it is there", name);
	else
		ret = filter_list_read(FILTER_GROUP, name, &list, err); /* says why */
	close(lock);
	return ret;
}

struct users {
	const char *group;
	int (*visit)(void *arg, const char *guest);
	void *arg;
};

static int user_member(void *arg, const struct network_member *m)
{
	struct users *users = arg;

	return group_find(m, users->group) < m->group_count ? users->visit(users->arg, m->guest)
							    : 0;
}

static int user_network(void *arg, const struct network *n)
{
	return network_member_for_each(n->name, user_member, arg);
}

int network_group_members(const char *group, int (*visit)(void *arg, const char *guest), void *arg)
{
	struct users users = {.group = group, .visit = visit, .arg = arg};

	return network_for_each(user_network, &users, NULL);
}

struct mention {
	const char *group;
	char by[TEXT_NAME_MAX + 1];
};

static int mention_guest(void *arg, const char *guest)
{
	struct mention *mention = arg;

	snprintf(mention->by, sizeof(mention->by), "%s", guest);
	return 1;
}

static int mention_group(void *arg, const char *name)
{
	struct mention *mention = arg;
	struct filter_list list;

	if (strcmp(name, mention->group) == 0 || filter_list_read(FILTER_GROUP, name, &list, NULL))
		return 0;
	for (unsigned i = 0; i < list.count; i++)
		if (strcmp(list.rule[i].group, mention->group) == 0)
			return mention_guest(mention, name);
	return 0;
}

int network_group_remove(const char *name, struct error *err)
{
	struct mention mention = {.group = name};
	int lock = network_lock(err), ret = 0;

	if (lock < 0)
		return lock;
	network_sweep_locked();
	if (network_group_members(name, mention_guest, &mention))
		ret = error_set(err, -EBUSY, "detach it first",
				"security group '%s': guest '%s' has it", name, mention.by);
	else if (filter_for_each(FILTER_GROUP, mention_group, &mention, NULL))
		ret = error_set(err, -EBUSY, "remove that rule first",
				"security group '%s': a rule of '%s' names it", name, mention.by);
	if (ret == 0)
		ret = filter_list_remove(FILTER_GROUP, name, err);
	close(lock);
	return ret;
}
