/* SPDX-License-Identifier: MIT */
/*
 * Networks of the host's: a bridge, with what makes it useful (an address, DHCP and DNS, rules).
 * One is a record in the state directory, and comes up when a guest first uses it; it goes when it
 * is removed. For who has CAP_NET_ADMIN. Commands change them one at a time (a lock file).
 */
#ifndef NET_NETWORK_H
#define NET_NETWORK_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "net/filter.h"
#include "net/net.h"
#include "vmm/base/text.h"

enum network_type {
	NETWORK_NAT,       /* out by the host's addresses; nobody comes in */
	NETWORK_HOST_ONLY, /* the host and each other */
	NETWORK_ISOLATED,  /* each other */
	NETWORK_BRIDGED,   /* whatever is on a bridge of the host's */
	NETWORK_TYPES
};

/* This one comes into being when it is first used: of type nat. */
#define NETWORK_DEFAULT "default"

struct network {
	char name[TEXT_NAME_MAX + 1];
	enum network_type type;
	char bridge[16];          /* the interface; the host's own where it is bridged */
	uint32_t address;         /* the bridge's, the first of the range; in host order; 0: none */
	unsigned prefix;          /* bits */
	struct in6_addr address6; /* likewise, of 64 bits */
	uint32_t public_address;  /* that its guests have outside; 0: the host's that leads there */
};

/* As the user gave it; NULL where he did not. */
struct network_wish {
	const char *name, *type, *cidr, *bridge, *public_address;
};

const char *network_type_name(enum network_type type);

/* The bridge's addresses, as "10.77.0.1/24" and "fd00::1/64". */
#define NETWORK_TEXT 64u
void network_address_text(const struct network *network, char out[NETWORK_TEXT]);
void network_address6_text(const struct network *network, char out[NETWORK_TEXT]);
/* The address that its guests have outside; "": the host's that leads there. */
void network_public_text(const struct network *network, char out[NETWORK_TEXT]);

/*
 * -EEXIST; -EINVAL: a name, type, CIDR or bridge that cannot be; -EADDRINUSE: the CIDR overlaps a
 * route of the host's or another network's; -ENODEV: the bridge is not there; as network_check.
 */
int network_create(const struct network_wish *wish, struct error *err);
/* -ENOENT */
int network_find(const char *name, struct network *out, struct error *err);
/* In the order of their names, until `visit` returns not 0. */
int network_for_each(int (*visit)(void *arg, const struct network *network), void *arg,
		     struct error *err);
/* -EBUSY: a guest is on it. */
int network_remove(const char *name, struct error *err);
/* Does the host have it now? */
bool network_is_up(const struct network *network);

#define NETWORK_GROUPS_MAX 16u

/*
 * A guest's NIC on it: a TAP, which ends with the process. DHCP and DNS know it by the guest's
 * name.
 */
struct network_nic {
	const char *network, *guest;
	unsigned index; /* of the guest's NICs */
	uint8_t mac[NET_MAC];
	unsigned queues;
	uint32_t address; /* that it is to have, in host order; 0: any */
	unsigned forward_count;
	const struct net_forward *forward; /* of ports of the host's to it */
	unsigned group_count;
	const char *const *group; /* security groups */
};

/* What it has now, in words. */
struct network_nic_state {
	char interface[16], address[16]; /* "": not given by lodge */
	unsigned forward_count, group_count;
	struct net_forward forward[NET_FORWARDS_MAX];
	char group[NETWORK_GROUPS_MAX][TEXT_NAME_MAX + 1];
};

/*
 * All that passes on a network that is up, to a file of pcap's ("-": standard output), by
 * tcpdump(8), which this process becomes; `filter` is of its words, as in pcap-filter(7). Returns
 * only an error.
 */
int network_capture(const char *name, const char *path, char *const *filter, unsigned words,
		    struct error *err);

/* Do ports of the host's lead to guests there? */
bool network_can_forward(const char *name);
/* Can this process have networks of the host's, also such as give addresses? Else what is missing.
 */
int network_check(bool gives_addresses, struct error *err);

int network_attach(const struct network_nic *nic, struct net **out, struct error *err);
void network_detach(const struct network_nic *nic);
/* Each guest's NIC on it, until `visit` returns not 0. */
int network_nic_for_each(const char *network,
			 int (*visit)(void *arg, const char *guest,
				      const struct network_nic_state *state),
			 void *arg);
/* -ENOENT */
int network_nic_state(const char *network, const char *guest, unsigned index,
		      struct network_nic_state *out);

/*
 * What changes while guests run; connections that are there stay. -ENOENT: there is no such guest,
 * group, rule or port; -EADDRINUSE: the port is in use; -ENOTSUP: its networks cannot do that.
 */
int network_forward_add(const char *guest, const struct net_forward *forward, struct error *err);
int network_forward_remove(const char *guest, const struct net_forward *forward, struct error *err);
/* To all of the guest's NICs on networks. */
int network_group_attach(const char *guest, const char *group, struct error *err);
int network_group_detach(const char *guest, const char *group, struct error *err);
/* A list that guests have, or that is a network's; *number is the rule's, or 0: the next one. */
int network_rule_add(enum filter_kind kind, const char *name, struct filter_rule *rule,
		     struct error *err);
int network_rule_remove(enum filter_kind kind, const char *name, unsigned number,
			struct error *err);
int network_group_create(const char *name, struct error *err);
/* -EBUSY: a guest has it, or a rule names it. */
int network_group_remove(const char *name, struct error *err);
/* Each guest that has the group, until `visit` returns not 0. */
int network_group_members(const char *group, int (*visit)(void *arg, const char *guest), void *arg);

/*
 * For a process with a network namespace and a mount namespace of its own (unshare(2)): no network
 * of the host's is up there, and each can come up anew, with its name, range and addresses, as it
 * can on the host; none of it leads out. `outside` (0: none) is an address that is to be the
 * host's there, on an interface that leads nowhere, without which network user does not begin.
 */
int network_isolate(uint32_t outside, struct error *err);
/* The address by which the host has a route out, in host order; 0: it has none. */
uint32_t network_outside_address(void);

/* What guests that were killed left on the host goes, and what a killed command began is ended. */
void network_sweep(void);

#endif
