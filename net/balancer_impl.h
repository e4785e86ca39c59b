/* SPDX-License-Identifier: MIT */
/* Balancers: what their parts share. */
#ifndef NET_BALANCER_IMPL_H
#define NET_BALANCER_IMPL_H

#include "net/balancer.h"
#include "net/network_impl.h"

/* What was counted, and what its table is, NAME.counts and NAME.nft. */
#define BALANCERS_RUN  NETWORK_RUN "/.balancers"
#define BALANCER_TABLE "lodge-balancer-" /* and its name */

/* How far ahead it is said who gets the next connections. */
#define BALANCER_TURNS 512u

/* The address of a target that is up, of the balancer's family. */
bool balancer_target_address(const struct balancer *balancer, const struct balancer_target *target,
			     char out[INET6_ADDRSTRLEN]);

/* balancer_watch.c. Turns for those that are up (indices of targets); returns how many turns. */
unsigned balancer_turns(const struct balancer *balancer, const unsigned *up, unsigned count,
			unsigned turn[BALANCER_TURNS]);

#endif
