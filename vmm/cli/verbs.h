/* SPDX-License-Identifier: MIT */
/* Commands that have commands of their own: lodge net create NAME. */
#ifndef VMM_CLI_VERBS_H
#define VMM_CLI_VERBS_H

#include "vmm/cli/cli.h"

/* Words behind the verb. */
struct verb_words {
	unsigned count;
	char **word;
};

struct verb {
	const char *word;
	const char *arguments; /* for the usage */
	unsigned min, max;     /* words */
	int (*run)(const struct options *o, const struct verb_words *words, struct error *err);
};

/* Ends with a verb without a word. Returns the exit status. */
int verbs_run(const char *command, const struct verb *verbs, const struct options *options);

#endif
