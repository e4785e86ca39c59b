/* SPDX-License-Identifier: MIT */
#include "vmm/cli/verbs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void names_of(const struct verb *verbs, char *out, size_t size)
{
	size_t at = 0;

	for (; verbs->word && at < size; verbs++)
		at += (size_t)snprintf(out + at, size - at, "%s%s", at ? ", " : "use ",
				       verbs->word);
}

int verbs_run(const char *command, const struct verb *verbs, const struct options *options)
{
	struct verb_words words = {.count = (unsigned)options->word_count - 1,
				   .word = options->word + 1};
	const char *word = options->word[0];
	struct error err = {0};
	char remedy[128];
	int ret;

	for (const struct verb *verb = verbs; verb->word; verb++) {
		if (strcmp(word, verb->word) != 0)
			continue;
		if (words.count < verb->min || words.count > verb->max) {
			snprintf(remedy, sizeof(remedy), "usage: lodge %s %s %s", command, word,
				 verb->arguments);
			error_set(&err, -EINVAL, remedy, "%s %s: %s", command, word,
				  words.count < verb->min ? "a word is missing"
							  : "one word too many");
			return cli_fail(&err, -EINVAL, EXIT_USAGE);
		}
		ret = verb->run(options, &words, &err);
		return ret ? cli_fail(&err, ret, EXIT_HOST) : 0;
	}
	names_of(verbs, remedy, sizeof(remedy));
	error_set(&err, -EINVAL, remedy, "%s '%s': unknown", command, word);
	return cli_fail(&err, -EINVAL, EXIT_USAGE);
}
