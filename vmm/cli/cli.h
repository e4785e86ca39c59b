/* SPDX-License-Identifier: MIT */
/* The command line: the table of options, and what a command gets to see of them. */
#ifndef VMM_CLI_CLI_H
#define VMM_CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "net/net.h"
#include "net/network.h"
#include "vmm/base/error.h"
#include "vmm/base/throttle.h"
#include "vmm/core/engine.h"
#include "vmm/machine/board.h"

enum exit_status {
	EXIT_GUEST_OFF = 0,
	EXIT_USAGE = 1,
	EXIT_HOST = 2, /* host or configuration */
	EXIT_GUEST_CRASH = 3,
	EXIT_INTERNAL = 4,
};

struct option_disk {
	const char *path;
	const char *format;
	bool read_only;
	bool allow_backing; /* the image may name other files */
	unsigned queues;    /* 0: as many as vCPUs */
};

struct option_nic {
	/* One of them. */
	const char *tap, *network;
	bool user;
	bool optional; /* nobody asked for it */
	bool has_mac;
	uint8_t mac[NET_MAC];
	unsigned queues; /* 0: as many as vCPUs */
	bool spoof;
	uint32_t address; /* in host order; 0: any */
	struct throttle_rates rates;
};

/* Options of `run` as they were given, so that a snapshot can say them again. */
#define OPTIONS_SAID_MAX  96u
#define OPTIONS_SAID_TEXT 16384u
struct option_said {
	const char *name, *value; /* "" for a switch */
};

#define OPTIONS_SINCE_MAX 64u

/* All options, whatever the command; unset ones have their defaults. */
struct options {
	const char *kernel, *initrd, *append;
	unsigned disk_count;
	struct option_disk disk[BOARD_DISKS_MAX];
	bool no_nic; /* "none" */
	unsigned nic_count;
	struct option_nic nic[BOARD_NICS_MAX];
	const char *net_type, *net_cidr, *net_bridge, *net_public; /* of a network that is made */
	const char *net_file;                                      /* of a capture */
	const char *balancer_by;
	unsigned forward_count;
	struct net_forward forward[NET_FORWARDS_MAX];
	unsigned group_count;
	const char *group[NETWORK_GROUPS_MAX]; /* security groups */
	unsigned cpus;
	uint64_t memory; /* bytes */
	const char *engine, *cpu;
	enum translation translation;
	bool engine_given, translation_given, paravirtual, emulated_io, detach, force, json;
	unsigned timeout_s;
	/* Of snapshots, volumes and images. */
	const char *comment, *as, *from, *image;
	bool disk_only, discard, tree, pages;
	const char *picture;              /* of pages: a file's path */
	const char *output, *name, *have; /* of backups */
	unsigned since_count;
	const char *since[OPTIONS_SINCE_MAX];
	const char *drill_scenarios, *drill_ready, *drill_check; /* NULL: not given */
	unsigned drill_port;                                     /* 0: not given */
	const char *compare_engines, *compare_pv, *compare_io, *compare_workloads; /* lists */
	unsigned compare_runs; /* 0: not given */
	unsigned said_count;
	struct option_said said[OPTIONS_SAID_MAX];
	size_t said_used;
	char said_text[OPTIONS_SAID_TEXT];
	/* Words that are no options, and those behind "--". */
	int word_count;
	char **word;
	int command_count;
	char **command;
};

struct command;

struct option_spec {
	char letter; /* 0: long only */
	const char *name;
	const char *argument; /* NULL: a switch */
	const char *help;
	unsigned commands;
	/* `value` is NULL for a switch. -EINVAL with the reason. */
	int (*parse)(struct options *options, const char *value, struct error *err);
};

/* Is it the name of a volume, and not of a file in this directory? */
bool option_disk_is_volume(const char *path);

/* options.c; NULL past the end. */
const struct option_spec *option_at(unsigned index);

/*
 * options_parse.c. Parse the words behind the command's name. 0, or -EINVAL; *help tells that
 * --help was among them.
 */
int options_parse(const struct command *command, int argc, char **argv, struct options *out,
		  bool *help, struct error *err);

/*
 * Options of `run` that were said before (struct option_said), as if they were given now. Copies
 * what it needs. 0, or -EINVAL with the reason.
 */
int options_say(struct options *out, const char *name, const char *value, struct error *err);
/* With nothing given. */
void options_default(struct options *out);
/* Of `run`, once all is said: a NIC where none is. */
int options_check_nics(struct options *options, struct error *err);

/* Print the error and return the status. */
int cli_fail(const struct error *err, int code, enum exit_status status);

#include "vmm/cli/commands.h"

#endif
