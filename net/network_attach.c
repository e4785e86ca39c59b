/* SPDX-License-Identifier: MIT */
/* Guests come to networks, and go, in whatever way. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "net/balancer.h"
#include "net/network_impl.h"

/* What must be right before anything is made. */
static int nic_check(const struct network *n, const struct network_nic *nic, struct error *err)
{
	struct filter_list list;
	int ret = 0;

	if (nic->group_count > NETWORK_GROUPS_MAX)
		return error_set(err, -E2BIG, NULL, "more than %u security groups",
				 NETWORK_GROUPS_MAX);
	for (unsigned i = 0; i < nic->group_count && ret == 0; i++)
		ret = filter_list_read(FILTER_GROUP, nic->group[i], &list, err);
	for (unsigned i = 0; i < nic->forward_count && ret == 0; i++)
		ret = network_forward_check(n, nic->forward, i, &nic->forward[i], err);
	if (ret == 0 && nic->address && !n->prefix)
		ret = error_set(err, -EINVAL, "leave ip= out",
				"network '%s': lodge gives no addresses there", n->name);
	return ret;
}

static void member_fill(struct network_member *m, const struct network_nic *nic)
{
	*m = (struct network_member){.index = nic->index,
				     .pid = getpid(),
				     .address = nic->address,
				     .group_count = nic->group_count,
				     .forward_count = nic->forward_count};
	snprintf(m->guest, sizeof(m->guest), "%s", nic->guest);
	memcpy(m->mac, nic->mac, NET_MAC);
	for (unsigned i = 0; i < nic->group_count; i++)
		snprintf(m->group[i], sizeof(m->group[i]), "%s", nic->group[i]);
	for (unsigned i = 0; i < nic->forward_count; i++)
		m->forward[i] = nic->forward[i];
}

static int has_groups(void *arg, const struct network_member *m)
{
	(void)arg;
	return m->group_count;
}

/* Do rules say anything of it? Where one of a network's ports is filtered, all members are named.
 */
static bool has_rules(const struct network *n, const struct network_member *m)
{
	struct filter_list list;

	return m->group_count || m->forward_count || balancer_names(m->guest) ||
	       filter_list_read(FILTER_ACCESS, n->name, &list, NULL) == 0 ||
	       network_member_for_each(n->name, has_groups, NULL) > 0;
}

/* Whoever had an interface of that name has it no more. */
struct namesake {
	const struct network_member *of;
	const struct network *network;
};

static int namesake_remove(void *arg, const struct network_member *m)
{
	struct namesake *n = arg;

	if (strcmp(m->tap, n->of->tap) == 0 &&
	    (strcmp(m->guest, n->of->guest) != 0 || m->index != n->of->index))
		network_member_remove(n->network->name, m->guest, m->index);
	return 0;
}

static int namesakes_remove(void *arg, const struct network *network)
{
	struct namesake *n = arg;

	n->network = network;
	return network_member_for_each(network->name, namesake_remove, n);
}

static int member_join(const struct network *n, struct network_member *m, struct net *net,
		       struct error *err)
{
	struct namesake namesake = {.of = m};
	int ret;

	snprintf(m->tap, sizeof(m->tap), "%s", net->info.name);
	network_for_each(namesakes_remove, &namesake, NULL);
	ret = network_member_write(n->name, m, err);
	/* Before the first frame can pass. */
	if (ret == 0 && has_rules(n, m))
		ret = network_rules_apply(err);
	return ret ? ret : network_port_join(n, m, err);
}

static void member_leave(const struct network *n, const struct network_member *m)
{
	bool ruled = has_rules(n, m);

	if (ruled)
		network_rules_begin(NULL);
	network_member_remove(n->name, m->guest, m->index);
	if (ruled)
		network_rules_apply(NULL);
}

static int attach(const struct network *n, const struct network_nic *nic, struct net **out,
		  struct error *err)
{
	struct network_member m;
	struct net *net;
	int ret = nic_check(n, nic, err);

	if (ret)
		return ret;
	member_fill(&m, nic);
	ret = network_up(n, err);
	if (ret == 0 && n->prefix) {
		ret = network_member_address(n, &m, err);
		if (ret == 0)
			ret = network_member_tell(n, &m, err);
	}
	if (ret == 0)
		ret = network_port_open(n, nic->queues, &net, err);
	if (ret) {
		network_member_remove(n->name, m.guest, m.index);
		return ret;
	}
	ret = member_join(n, &m, net, err);
	if (ret) {
		net_close(net);
		member_leave(n, &m);
		return ret;
	}
	*out = net;
	return 0;
}

int network_attach(const struct network_nic *nic, struct net **out, struct error *err)
{
	bool is_default = strcmp(nic->network, NETWORK_DEFAULT) == 0;
	struct network_wish wish = {.name = nic->network};
	struct network n = {0};
	int lock = network_lock(err), ret;

	if (lock < 0)
		return lock;
	network_sweep_locked();
	ret = network_find(nic->network, &n, is_default ? NULL : err);
	if (ret == -ENOENT && is_default)
		ret = network_create_locked(&wish, &n, err);
	if (ret == 0)
		ret = attach(&n, nic, out, err);
	close(lock);
	return ret;
}

void network_detach(const struct network_nic *nic)
{
	struct network_member m;
	struct network n;
	int lock = network_lock(NULL);

	if (lock < 0)
		return;
	if (network_find(nic->network, &n, NULL) == 0 &&
	    network_member_read(n.name, nic->guest, nic->index, &m) == 0)
		member_leave(&n, &m);
	close(lock);
}

static struct network_nic_state state_of(const struct network_member *m)
{
	struct network_nic_state state = {.forward_count = m->forward_count,
					  .group_count = m->group_count};

	memcpy(state.interface, m->tap, sizeof(state.interface));
	network_member_address_text(m, state.address);
	memcpy(state.forward, m->forward, sizeof(state.forward));
	memcpy(state.group, m->group, sizeof(state.group));
	return state;
}

int network_nic_state(const char *network, const char *guest, unsigned index,
		      struct network_nic_state *out)
{
	struct network_member m;
	int ret = network_member_read(network, guest, index, &m);

	if (ret == 0)
		*out = state_of(&m);
	return ret;
}

struct walk {
	int (*visit)(void *arg, const char *guest, const struct network_nic_state *state);
	void *arg;
};

static int walk_member(void *arg, const struct network_member *m)
{
	struct network_nic_state state = state_of(m);
	struct walk *walk = arg;

	return walk->visit(walk->arg, m->guest, &state);
}

int network_nic_for_each(const char *network,
			 int (*visit)(void *arg, const char *guest,
				      const struct network_nic_state *state),
			 void *arg)
{
	struct walk walk = {.visit = visit, .arg = arg};

	return network_member_for_each(network, walk_member, &walk);
}

/* Sweeping. */

struct sweep {
	const struct network *network;
	bool dirty;
};

static int sweep_member(void *arg, const struct network_member *m)
{
	struct sweep *sweep = arg;

	if (network_member_lives(m))
		return 0;
	if (has_rules(sweep->network, m)) {
		sweep->dirty = true;
		network_rules_begin(NULL);
	}
	network_member_remove(sweep->network->name, m->guest, m->index);
	return 0;
}

static int sweep_network(void *arg, const struct network *n)
{
	struct sweep *sweep = arg;
	char path[PATH_MAX];

	network_run_path(n->name, "", path);
	if (access(path, F_OK) < 0)
		return 0;
	sweep->network = n;
	if (network_is_ready(n)) {
		network_member_sweep(n->name);
		return network_member_for_each(n->name, sweep_member, sweep);
	}
	/* Whoever made it was killed, or somebody else took its bridge away. */
	network_rules_begin(NULL);
	network_down(n);
	sweep->dirty = true;
	return 0;
}

void network_sweep_locked(void)
{
	struct sweep sweep = {.dirty = false};

	if (access(NETWORK_RUN, F_OK) < 0)
		return;
	network_for_each(sweep_network, &sweep, NULL);
	if (sweep.dirty || network_rules_are_pending())
		network_rules_apply(NULL);
}

void network_sweep(void)
{
	int lock;

	/* Others have no networks of the host's. */
	if (access(NETWORK_RUN, W_OK) < 0)
		return;
	lock = network_lock(NULL);
	if (lock < 0)
		return;
	network_sweep_locked();
	close(lock);
}
