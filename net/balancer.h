/* SPDX-License-Identifier: MIT */
/*
 * Balancers: one address and port of the host's in front of several guests. A balancer is a record
 * in the state directory; nftables spreads the connections. Who answers is looked after by the
 * guests' own processes (network_watch_start): each tries its guest's ports every second, and all
 * of them see that another one is gone. By "connections" the first of them counts, too, four times
 * a second, and what comes next goes where there are the fewest.
 */
#ifndef NET_BALANCER_H
#define NET_BALANCER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/error.h"
#include "vmm/base/text.h"

#define BALANCER_TARGETS_MAX 64u

struct balancer_target {
	char guest[TEXT_NAME_MAX + 1];
	uint16_t port;
};

struct balancer {
	char name[TEXT_NAME_MAX + 1];
	char address[INET6_ADDRSTRLEN]; /* of the host's */
	uint16_t port;
	bool udp;            /* it is not tried: a guest that lives is taken to answer */
	bool by_connections; /* to who has the fewest, else to each in turn */
	unsigned count;
	struct balancer_target target[BALANCER_TARGETS_MAX];
};

/*
 * `listen` is "ADDRESS:PORT[/udp]", `by` "round-robin" (NULL: so) or "connections", a target
 * "GUEST:PORT". -EINVAL, -EEXIST, -EADDRINUSE: the port is.
 */
int balancer_create(const char *name, const char *listen, const char *by, char *const *target,
		    unsigned targets, struct error *err);
/* -ENOENT */
int balancer_find(const char *name, struct balancer *out, struct error *err);
int balancer_remove(const char *name, struct error *err);
int balancer_for_each(int (*visit)(void *arg, const struct balancer *balancer), void *arg,
		      struct error *err);
/* Likewise, not in the middle of a change: rules are as the targets are found to be. */
int balancer_list(int (*visit)(void *arg, const struct balancer *balancer), void *arg,
		  struct error *err);
/* Its address and port, as it was given. */
#define BALANCER_LISTEN_TEXT 80u
void balancer_listen_text(const struct balancer *balancer, char out[BALANCER_LISTEN_TEXT]);
/* Does any lead to that guest? */
bool balancer_names(const char *guest);
/* Does it get connections now? */
bool balancer_target_is_up(const struct balancer *balancer, const struct balancer_target *target);

/* The part of a guest's process in it: a thread. */
struct network_watch;
int network_watch_start(const char *guest, struct network_watch **out);
/* NULL is allowed. */
void network_watch_stop(struct network_watch *watch);

#endif
