/* SPDX-License-Identifier: MIT */
/* lodge completion: a bash script made from the tables of commands and options. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/cli/cli.h"

static void print_command_options(const struct command *command)
{
	const struct option_spec *spec;

	printf("\t%s) words='", command->name);
	for (unsigned i = 0; (spec = option_at(i)); i++)
		if (spec->commands & command->bit)
			printf("--%s ", spec->name);
	printf("--help' ;;\n");
}

int cmd_completion(const struct options *options)
{
	const struct command *command;
	struct error err = {0};

	if (strcmp(options->word[0], "bash") != 0) {
		error_set(&err, -EINVAL, "use bash", "shell '%s': no completion for it",
			  options->word[0]);
		return cli_fail(&err, -EINVAL, EXIT_USAGE);
	}
	printf("# bash completion for lodge: source <(lodge completion bash)\n"
	       "_lodge() {\n"
	       "\tlocal cur=${COMP_WORDS[COMP_CWORD]} words\n"
	       "\tCOMPREPLY=()\n"
	       "\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n"
	       "\t\twords='");
	for (unsigned i = 0; (command = command_at(i)); i++)
		printf("%s ", command->name);
	printf("--help --version'\n"
	       "\t\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
	       "\t\treturn\n"
	       "\tfi\n"
	       "\tcase ${COMP_WORDS[1]} in\n");
	for (unsigned i = 0; (command = command_at(i)); i++)
		print_command_options(command);
	printf("\t*) return ;;\n"
	       "\tesac\n"
	       "\tcase $cur in\n"
	       "\t-*) mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\") ;;\n"
	       "\t*)\n"
	       "\t\tcase ${COMP_WORDS[1]} in\n"
	       "\t\tinfo | console | stop | kill | pause | resume | hibernate | start | rm)\n"
	       "\t\t\twords=$(lodge ls 2>/dev/null | awk 'NR > 1 { print $1 }')\n"
	       "\t\t\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\") ;;\n"
	       "\t\t*) mapfile -t COMPREPLY < <(compgen -f -- \"$cur\") ;;\n"
	       "\t\tesac ;;\n"
	       "\tesac\n"
	       "}\n"
	       "complete -o filenames -F _lodge lodge\n");
	return 0;
}
