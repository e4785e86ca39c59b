/* SPDX-License-Identifier: MIT */
/* Networks: what their parts share. The lock is held in all that changes something. */
#ifndef NET_NETWORK_IMPL_H
#define NET_NETWORK_IMPL_H

#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/types.h>

#include "net/filter.h"
#include "net/network.h"

/*
 * A directory a network that is up: NAME/members has a record a NIC, NAME/hosts what dnsmasq knows
 * of it, NAME/ready that all of it was made. Names with a dot are
 * of no network.
 */
#define NETWORK_RUN     "/run/lodge-net"
#define NETWORK_RECORDS "networks"  /* below the state directory */
#define TAP_PREFIX      "lodge-tap" /* and a number: interfaces, and tables of nftables */

#define NETWORK_SERVING_MAX 32u

/* A NIC on a network, from network_attach to network_detach, or to its process's death. */
struct network_member {
	char guest[TEXT_NAME_MAX + 1];
	unsigned index;
	pid_t pid; /* the guest's process */
	uint8_t mac[NET_MAC];
	char tap[IFNAMSIZ];
	uint32_t address; /* that it is given, in host order; 0: not by us */
	unsigned group_count;
	char group[NETWORK_GROUPS_MAX][TEXT_NAME_MAX + 1];
	unsigned forward_count;
	struct net_forward forward[NET_FORWARDS_MAX];
	unsigned serving_count; /* ports of balancers that answer */
	uint16_t serving[NETWORK_SERVING_MAX];
};

/* network.c. A descriptor that holds the lock until it is closed, or -errno. */
int network_lock(struct error *err);
/* The record as it is to be; nothing is checked. */
int network_record_write(const struct network *network, struct error *err);
int network_create_locked(const struct network_wish *wish, struct network *out, struct error *err);
/* network_attach.c. As network_sweep, under the lock. */
void network_sweep_locked(void);

/* network_host.c. It is up from then on; it may be already. */
int network_up(const struct network *network, struct error *err);
void network_down(const struct network *network);
/* A TAP of the guest's, which is not on the network's bridge yet; and then it is. */
int network_port_open(const struct network *network, unsigned queues, struct net **out,
		      struct error *err);
int network_port_join(const struct network *network, const struct network_member *member,
		      struct error *err);
bool network_bridge_is_there(const char *name);
/* The path of a file of the network that is up; "" is its directory. */
void network_run_path(const char *network, const char *file, char out[PATH_MAX]);
/* Is it up, and was it made to its end? */
bool network_is_ready(const struct network *network);

/* network_member.c */
int network_member_write(const char *network, const struct network_member *member,
			 struct error *err);
/* What DHCP and DNS know of it goes, too. */
void network_member_remove(const char *network, const char *guest, unsigned index);
/* What never became a member's, or was left half written. */
void network_member_sweep(const char *network);
/* -ENOENT */
int network_member_read(const char *network, const char *guest, unsigned index,
			struct network_member *out);
/* In an order that stays, until `visit` returns not 0, which is returned. */
int network_member_for_each(const char *network,
			    int (*visit)(void *arg, const struct network_member *member),
			    void *arg);
/* Does its guest live? */
bool network_member_lives(const struct network_member *member);
/* An address of the network's that stays the guest's, and that nobody else has. -EADDRNOTAVAIL */
int network_member_address(const struct network *network, struct network_member *member,
			   struct error *err);
/* DHCP and DNS are to know it. */
int network_member_tell(const struct network *network, const struct network_member *member,
			struct error *err);
/* "" where it has none. */
void network_member_address_text(const struct network_member *member, char out[INET_ADDRSTRLEN]);
/* By its MAC, where it takes no other. */
struct in6_addr network_member_address6(const struct network *network,
					const struct network_member *member);

/*
 * network_rules.c: nftables' tables become what networks and members need, in one transaction. What
 * was begun and not ended by a process that was killed is done with the next one.
 */
int network_rules_apply(struct error *err);
/*
 * Before records change that rules follow: whoever is killed then, the next command makes the
 * rules. Nothing to do where no network is up.
 */
int network_rules_begin(struct error *err);
/* Were they not made to the end, or did somebody take them away? */
bool network_rules_are_pending(void);

/* network_change.c: can that port be had, and lead to a NIC there that has these already? */
int network_forward_check(const struct network *network, const struct net_forward *had,
			  unsigned count, const struct net_forward *forward, struct error *err);

/* Has a guest that port of the host's? */
bool network_forward_holder(const struct net_forward *forward, char out[TEXT_NAME_MAX + 1]);

/* network_filter.c: the table of a member's port; nothing where nothing filters it. */
int network_filter_render(FILE *out, const struct network *network,
			  const struct network_member *member, struct error *err);
/* network_translate.c: what the maps of forwarded ports have, and others like it. */
void network_translate_render(FILE *out);
/*
 * balancer.c: what changes of their tables; `tables` is what there is of family inet. Where no
 * network is `up` there are none. Where it cannot be made it is to be forgotten.
 */
int network_balancers_render(FILE *out, const char *tables, bool up);
void network_balancers_forget(void);
/* network_rules.c: only those. */
int network_balancers_apply(struct error *err);
/* network_host.c: with its files. */
void network_directory_remove(const char *path);

#endif
