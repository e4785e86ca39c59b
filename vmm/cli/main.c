/* SPDX-License-Identifier: MIT */
/* lodge: the table of commands, and help. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "net/balancer.h"
#include "vmm/base/checked.h"
#include "vmm/cli/cli.h"
#include "vmm/cli/version.h"

static const struct command commands[] = {
	{"run", "[NAME] [OPTION ...] [-- CMD ...]",
	 "run a guest; with CMD: run it in the default guest and exit with its status", CMD_RUN, 0,
	 1, true, cmd_run},
	{"ls", "", "list guests", CMD_LS, 0, 0, false, cmd_ls},
	{"info", "NAME", "tell what a guest is and how it does", CMD_INFO, 1, 1, false, cmd_info},
	{"console", "NAME", "connect the terminal to a guest's serial port; Ctrl-A x leaves",
	 CMD_CONSOLE, 1, 1, false, cmd_console},
	{"stop", "NAME", "press the power button; force the guest after a timeout", CMD_STOP, 1, 1,
	 false, cmd_stop},
	{"kill", "NAME", "end a guest at once", CMD_KILL, 1, 1, false, cmd_kill},
	{"pause", "NAME", "stop a guest's vCPUs", CMD_PAUSE, 1, 1, false, cmd_pause},
	{"resume", "NAME", "let a paused guest go on", CMD_RESUME, 1, 1, false, cmd_resume},
	{"hibernate", "NAME", "end a guest so that it can go on where it was", CMD_HIBERNATE, 1, 1,
	 false, cmd_hibernate},
	{"start", "NAME", "let a hibernated guest go on", CMD_START, 1, 1, false, cmd_start},
	{"rm", "NAME", "forget a guest that ended", CMD_RM, 1, 1, false, cmd_rm},
	{"doctor", "", "tell what this host can do for lodge, and what to change", CMD_DOCTOR, 0, 0,
	 false, cmd_doctor},
	{"net", "create|ls|info|rm|acl|capture [NAME]",
	 "make, list, show or remove networks; say what crosses their border", CMD_NET, 1, 8, false,
	 cmd_net},
	{"port", "add|rm|ls [GUEST] [PORT]", "ports of the host's that lead to running guests",
	 CMD_PORT, 1, 3, false, cmd_port},
	{"balancer", "create|ls|rm", "one port in front of several guests", CMD_BALANCER, 1,
	 3 + BALANCER_TARGETS_MAX, false, cmd_balancer},
	{"sg", "create|rule|ls|rm|attach|detach",
	 "security groups: what may reach the guests that have them", CMD_SG, 1, 8, false, cmd_sg},
	{"volume", "create|ls|info|rm|resize|clone|import|export",
	 "disks in lodge's store, of which there can be snapshots", CMD_VOLUME, 1, 4, false,
	 cmd_volume},
	{"snapshot", "create|ls|info|restore|rm|diff|verify|export|import",
	 "guests and volumes as they are now, and back to that", CMD_SNAPSHOT, 1, 3, false,
	 cmd_snapshot},
	{"image", "create|ls|info|rm", "disks and a configuration that new guests are made of",
	 CMD_IMAGE, 1, 2, false, cmd_image},
	{"store", "check|sweep|layers",
	 "where volumes and snapshots are: is it sound, free what is unused", CMD_STORE, 1, 2,
	 false, cmd_store},
	{"drill", "SNAPSHOT|GUEST, ls, info DRILL",
	 "does a recovery from a snapshot work here, and how long does it take", CMD_DRILL, 1, 2,
	 false, cmd_drill},
	{"compare", "[OPTION ...] [--from SNAPSHOT -- CMD ...]",
	 "the same guest under each engine: what costs what", CMD_COMPARE, 0, 0, true, cmd_compare},
	{"completion", "bash", "print a completion script for the shell", CMD_COMPLETION, 1, 1,
	 false, cmd_completion},
};

const struct command *command_at(unsigned index)
{
	return index < ARRAY_SIZE(commands) ? &commands[index] : NULL;
}

int cli_fail(const struct error *err, int code, enum exit_status status)
{
	error_print(err, code);
	return (int)status;
}

#define HELP_COLUMN 33
#define HELP_INDENT "\n                                   "

static void print_options(unsigned mask)
{
	const struct option_spec *spec;

	for (unsigned i = 0; (spec = option_at(i)); i++) {
		char words[64];

		if (!(spec->commands & mask))
			continue;
		snprintf(words, sizeof(words), "%c%c%c --%s%s%s", spec->letter ? '-' : ' ',
			 spec->letter ? spec->letter : ' ', spec->letter ? ',' : ' ', spec->name,
			 spec->argument ? " " : "", spec->argument ? spec->argument : "");
		printf("  %-*s%s%s\n", HELP_COLUMN, words,
		       strlen(words) < HELP_COLUMN ? "" : HELP_INDENT, spec->help);
	}
}

static void print_command_help(const struct command *command)
{
	printf("usage: lodge %s %s\n\n%s\n\n", command->name, command->arguments, command->summary);
	print_options(command->bit);
}

static void print_help(void)
{
	printf("lodge runs Linux guests.\n\nusage: lodge COMMAND [ARGUMENT ...]\n\ncommands:\n");
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
		printf("  %-10s %-34s %s\n", commands[i].name, commands[i].arguments,
		       commands[i].summary);
	printf("\noptions:\n");
	print_options(CMD_ALL);
	printf("\nexit status: 0 the guest powered off, 1 usage, 2 host or configuration,\n"
	       "3 the guest crashed, 4 internal error; with -- CMD: CMD's status\n");
}

static const struct command *command_find(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

int main(int argc, char **argv)
{
	const struct command *command;
	struct options options;
	struct error err = {0};
	bool help;
	int ret;

	/* A peer that goes away is an error of the write, not the end of us. */
	signal(SIGPIPE, SIG_IGN);
	/* Who started us may ignore it: then no program that we run would have a status. */
	signal(SIGCHLD, SIG_DFL);
	if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0) {
		print_help();
		return argc < 2 ? EXIT_USAGE : 0;
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("lodge %s\n", LODGE_VERSION);
		return 0;
	}
	command = command_find(argv[1]);
	if (!command) {
		error_set(&err, -EINVAL, "see lodge --help", "command '%s': unknown", argv[1]);
		return cli_fail(&err, -EINVAL, EXIT_USAGE);
	}
	ret = options_parse(command, argc - 1, argv + 1, &options, &help, &err);
	if (ret)
		return cli_fail(&err, ret, EXIT_USAGE);
	if (help) {
		print_command_help(command);
		return 0;
	}
	/* Whatever was killed before. */
	network_sweep();
	drill_sweep();
	return command->run(&options);
}
