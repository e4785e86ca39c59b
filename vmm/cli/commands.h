/* SPDX-License-Identifier: MIT */
/* The table of commands, and the commands, one in a file of its own. */
#ifndef VMM_CLI_COMMANDS_H
#define VMM_CLI_COMMANDS_H

#include <stdbool.h>

struct options;

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
	CMD_NET = 1 << 11,
	CMD_PORT = 1 << 12,
	CMD_SG = 1 << 13,
	CMD_BALANCER = 1 << 14,
	CMD_VOLUME = 1 << 15,
	CMD_SNAPSHOT = 1 << 16,
	CMD_STORE = 1 << 17,
	CMD_HIBERNATE = 1 << 18,
	CMD_START = 1 << 19,
	CMD_IMAGE = 1 << 20,
	CMD_DRILL = 1 << 21,
	CMD_COMPARE = 1 << 22,
	CMD_ALL = (1 << 23) - 1,
};

/* main.c; NULL past the end. */
const struct command *command_at(unsigned index);

/* They return the exit status. */
int cmd_run(const struct options *options);
int cmd_ls(const struct options *options);
int cmd_info(const struct options *options);
int cmd_console(const struct options *options);
int cmd_stop(const struct options *options);
int cmd_kill(const struct options *options);
int cmd_pause(const struct options *options);
int cmd_resume(const struct options *options);
int cmd_hibernate(const struct options *options);
int cmd_start(const struct options *options);
int cmd_rm(const struct options *options);
int cmd_doctor(const struct options *options);
int cmd_net(const struct options *options);
int cmd_port(const struct options *options);
int cmd_sg(const struct options *options);
int cmd_balancer(const struct options *options);
int cmd_volume(const struct options *options);
int cmd_snapshot(const struct options *options);
int cmd_image(const struct options *options);
int cmd_store(const struct options *options);
int cmd_drill(const struct options *options);
int cmd_compare(const struct options *options);
int cmd_completion(const struct options *options);

/* What drills that were killed left goes. */
void drill_sweep(void);

#endif
