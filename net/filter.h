/* SPDX-License-Identifier: MIT */
/*
 * What may pass to and from guests: rules as people write them, and lists of them, which are
 * records in the state directory. A security group is a list of what is allowed, for the guests
 * that it is attached to, and its order does not matter. An access list is a network's: its first
 * rule that matches decides, and no connection is remembered.
 */
#ifndef NET_FILTER_H
#define NET_FILTER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/error.h"
#include "vmm/base/text.h"

#define FILTER_RULES_MAX  256u
#define FILTER_NUMBER_MAX 65535u
#define FILTER_TEXT       160u

struct filter_rule {
	unsigned number; /* 1 to FILTER_NUMBER_MAX */
	bool out;        /* by the guest, else to it */
	bool deny;
	uint8_t protocol;              /* 0: any; IPPROTO_ICMP: of either family */
	uint16_t first, last;          /* ports of the destination; 0 and 0: any */
	sa_family_t family;            /* 0: any */
	struct in6_addr address;       /* of the other side; IPv4 in its first four bytes */
	uint8_t prefix;                /* bits */
	char group[TEXT_NAME_MAX + 1]; /* the other side is of that security group; or "" */
};

struct filter_list {
	unsigned count;
	struct filter_rule rule[FILTER_RULES_MAX]; /* by their numbers, upwards */
};

enum filter_kind { FILTER_GROUP, FILTER_ACCESS };

/*
 * "in|out [allow|deny] any|icmp|tcp|udp[:PORT[-PORT]] [ADDRESS[/BITS]|group:NAME]", a word each.
 * -EINVAL.
 */
int filter_rule_parse(char *const *word, unsigned words, struct filter_rule *out,
		      struct error *err);
void filter_rule_text(const struct filter_rule *rule, char out[FILTER_TEXT]);

/* -ENOENT; -EINVAL: the record makes no sense. */
int filter_list_read(enum filter_kind kind, const char *name, struct filter_list *out,
		     struct error *err);
int filter_list_write(enum filter_kind kind, const char *name, const struct filter_list *list,
		      struct error *err);
int filter_list_remove(enum filter_kind kind, const char *name, struct error *err);
int filter_for_each(enum filter_kind kind, int (*visit)(void *arg, const char *name), void *arg,
		    struct error *err);

/* Its number is the next one where it is 0. -EEXIST, -ENOSPC. */
int filter_list_add(struct filter_list *list, const struct filter_rule *rule, struct error *err);
/* -ENOENT */
int filter_list_take(struct filter_list *list, unsigned number, struct error *err);

#endif
