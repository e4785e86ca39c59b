/* SPDX-License-Identifier: MIT */
/* Rules of security groups and access lists on the command line. */
#ifndef VMM_CLI_RULES_H
#define VMM_CLI_RULES_H

#include "net/filter.h"
#include "vmm/cli/verbs.h"

/* NAME add [NUMBER] RULE, NAME rm NUMBER, or NAME alone, which prints them. */
int rules_command(enum filter_kind kind, const struct options *options,
		  const struct verb_words *words, struct error *err);
int rules_print(enum filter_kind kind, const char *name, const struct options *options,
		struct error *err);

#endif
