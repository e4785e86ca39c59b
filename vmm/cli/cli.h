/* SPDX-License-Identifier: MIT */
/* The command line: tables of commands and options, and what a command gets to see of them. */
#ifndef VMM_CLI_CLI_H
#define VMM_CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "net/net.h"
#include "vmm/base/error.h"
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
	unsigned queues; /* 0: as many as vCPUs */
};

struct option_nic {
	const char *tap;
	bool has_mac;
	uint8_t mac[NET_MAC];
	unsigned queues; /* 0: as many as vCPUs */
	bool spoof;
};

/* All options, whatever the command; unset ones have their defaults. */
struct options {
	const char *kernel, *initrd, *append;
	unsigned disk_count;
	struct option_disk disk[BOARD_DISKS_MAX];
	unsigned nic_count;
	struct option_nic nic[BOARD_NICS_MAX];
	unsigned cpus;
	uint64_t memory; /* bytes */
	const char *engine, *cpu;
	enum translation translation;
	bool paravirtual;
	bool detach;
	bool force;
	bool json;
	unsigned timeout_s;
	/* Words that are no options, and those behind "--". */
	int word_count;
	char **word;
	int command_count;
	char **command;
};

struct command {
	const char *name;
	const char *arguments; /* for help: "[NAME] [-- CMD ...]" */
	const char *summary;
	unsigned bit; /* in struct option_spec's commands */
	int words_min, words_max;
	bool takes_command;
	int (*run)(const struct options *options); /* returns the exit status */
};

/* Bits of commands. */
enum {
	CMD_RUN = 1 << 0,
	CMD_LS = 1 << 1,
	CMD_INFO = 1 << 2,
	CMD_CONSOLE = 1 << 3,
	CMD_STOP = 1 << 4,
	CMD_KILL = 1 << 5,
	CMD_PAUSE = 1 << 6,
	CMD_RESUME = 1 << 7,
	CMD_RM = 1 << 8,
	CMD_DOCTOR = 1 << 9,
	CMD_COMPLETION = 1 << 10,
	CMD_ALL = (1 << 11) - 1,
};

struct option_spec {
	char letter; /* 0: long only */
	const char *name;
	const char *argument; /* NULL: a switch */
	const char *help;
	unsigned commands;
	/* `value` is NULL for a switch. -EINVAL with the reason. */
	int (*parse)(struct options *options, const char *value, struct error *err);
};

/* options.c; NULL past the end. */
const struct option_spec *option_at(unsigned index);
/* Parse the words behind the command's name. 0, or -EINVAL; *help tells that --help was among them.
 */
int options_parse(const struct command *command, int argc, char **argv, struct options *out,
		  bool *help, struct error *err);

/* main.c; NULL past the end. */
const struct command *command_at(unsigned index);

/* Print the error and return the status. */
int cli_fail(const struct error *err, int code, enum exit_status status);

int cmd_run(const struct options *options);
int cmd_ls(const struct options *options);
int cmd_info(const struct options *options);
int cmd_console(const struct options *options);
int cmd_stop(const struct options *options);
int cmd_kill(const struct options *options);
int cmd_pause(const struct options *options);
int cmd_resume(const struct options *options);
int cmd_rm(const struct options *options);
int cmd_doctor(const struct options *options);
int cmd_completion(const struct options *options);

#endif
