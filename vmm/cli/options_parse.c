/* SPDX-License-Identifier: MIT */
/* Words of a command line become options, by the table of options.c. */
#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/cli/cli.h"

#define SPECS_MAX         128u
#define LONG_BASE         256 /* getopt's value of the first long option */
#define LONG_HELP         (LONG_BASE + (int)SPECS_MAX)
#define MEMORY_DEFAULT    (512ull << 20)
#define TIMEOUT_DEFAULT_S 30u

struct getopt_tables {
	char letters[2 * SPECS_MAX + 4];
	struct option longs[SPECS_MAX + 2];
};

/* Its place in the table, or that of an earlier one of its name, which another command has. */
static unsigned first_of_name(const struct option_spec *spec)
{
	unsigned i = 0;

	while (strcmp(option_at(i)->name, spec->name) != 0)
		i++;
	return i;
}

static void tables_fill(struct getopt_tables *t)
{
	const struct option_spec *spec;
	char *letter = t->letters;
	unsigned used = 0;

	*letter++ = ':'; /* a missing argument is told from an unknown option */
	for (unsigned i = 0; (spec = option_at(i)); i++) {
		assert(i < SPECS_MAX);
		if (first_of_name(spec) == i)
			t->longs[used++] = (struct option){
				.name = spec->name,
				.has_arg = spec->argument ? required_argument : no_argument,
				.val = LONG_BASE + (int)i,
			};
		if (!spec->letter)
			continue;
		*letter++ = spec->letter;
		if (spec->argument)
			*letter++ = ':';
	}
	*letter++ = 'h';
	*letter = '\0';
	t->longs[used] = (struct option){.name = "help", .val = LONG_HELP};
	t->longs[used + 1] = (struct option){0};
}

/* A letter or a name may mean one thing to one command and another to the next. */
static const struct option_spec *spec_of(int value, unsigned command)
{
	const struct option_spec *found = NULL, *spec;
	const char *name = value >= LONG_BASE && value < LONG_HELP
				   ? option_at((unsigned)(value - LONG_BASE))->name
				   : NULL;

	for (unsigned i = 0; (spec = option_at(i)); i++) {
		bool same = name ? strcmp(spec->name, name) == 0
				 : spec->letter && spec->letter == value;

		if (same && (!found || spec->commands & command))
			found = spec;
	}
	return found;
}

/* NULL: there is no more room. */
static char *said_copy(struct options *o, const char *text)
{
	size_t size = strlen(text) + 1;
	char *to = o->said_text + o->said_used;

	if (size > sizeof(o->said_text) - o->said_used)
		return NULL;
	memcpy(to, text, size);
	o->said_used += size;
	return to;
}

static int said_add(struct options *o, const struct option_spec *spec, const char *value,
		    struct error *err)
{
	const char *copy = said_copy(o, value ? value : "");

	if (!copy || o->said_count == OPTIONS_SAID_MAX)
		return error_set(err, -EINVAL, NULL, "too many options");
	o->said[o->said_count++] = (struct option_said){.name = spec->name, .value = copy};
	return 0;
}

static int option_apply(const struct command *command, const struct option_spec *spec,
			struct options *out, struct error *err)
{
	if (!(spec->commands & command->bit))
		return error_set(err, -EINVAL, "see lodge --help",
				 "option --%s: not for `lodge %s`", spec->name, command->name);
	if (command->bit == CMD_RUN && said_add(out, spec, spec->argument ? optarg : NULL, err))
		return -EINVAL;
	return spec->parse(out, spec->argument ? optarg : NULL, err);
}

int options_say(struct options *out, const char *name, const char *value, struct error *err)
{
	const struct option_spec *spec;

	for (unsigned i = 0; (spec = option_at(i)); i++) {
		char *copy;

		if (!(spec->commands & CMD_RUN) || strcmp(spec->name, name) != 0)
			continue;
		copy = said_copy(out, value);
		if (!copy || said_add(out, spec, value, err))
			return error_set(err, -EINVAL, NULL, "too many options");
		return spec->parse(out, spec->argument ? copy : NULL, err);
	}
	return error_set(err, -EINVAL, "use a newer lodge", "option --%s: unknown", name);
}

void options_default(struct options *out)
{
	*out = (struct options){.engine = "auto",
				.translation = TRANSLATION_ON,
				.cpu = "portable",
				.paravirtual = true,
				.append = "",
				.comment = "",
				.cpus = 1,
				.memory = MEMORY_DEFAULT,
				.timeout_s = TIMEOUT_DEFAULT_S};
}

static int words_check(const struct command *command, const struct options *o, struct error *err)
{
	char remedy[128];

	snprintf(remedy, sizeof(remedy), "usage: lodge %s %s", command->name, command->arguments);
	if (o->command_count && !command->takes_command)
		return error_set(err, -EINVAL, remedy, "'--': `lodge %s` runs no command",
				 command->name);
	if (o->command_count && o->detach)
		return error_set(err, -EINVAL, "leave out --detach, or the command",
				 "'--detach': a command has this process's streams and status");
	if (o->word_count < command->words_min)
		return error_set(err, -EINVAL, remedy, "`lodge %s`: a name is missing",
				 command->name);
	if (o->word_count > command->words_max)
		return error_set(err, -EINVAL, remedy, "'%s': one word too many",
				 o->word[command->words_max]);
	return 0;
}

static void split_command(int *argc, char **argv, struct options *out)
{
	for (int i = 0; i < *argc; i++) {
		if (strcmp(argv[i], "--") != 0)
			continue;
		out->command = argv + i + 1;
		out->command_count = *argc - i - 1;
		argv[i] = NULL;
		*argc = i;
		return;
	}
}

/* Who says nothing has a network all the same. */
static int nic_default(struct options *o, struct error *err)
{
	const char *wanted = getenv("LODGE_NETWORK");

	if (o->nic_count && o->no_nic)
		return error_set(err, -EINVAL, "leave one out", "-n none: there are NICs besides");
	if (o->nic_count || o->no_nic)
		return 0;
	if (!wanted)
		wanted = geteuid() == 0 ? NETWORK_DEFAULT : "user";
	if (options_say(o, "net", wanted, err))
		return error_prefix(err, -EINVAL, "LODGE_NETWORK");
	/* What leads to it was asked for. */
	o->nic[0].optional = !o->forward_count && !o->group_count;
	return 0;
}

/* TAPs have no ports of the host's; and only networks of the host's have filters. */
static int nics_check(const struct options *o, struct error *err)
{
	bool forwards = false, groups = false;

	for (unsigned i = 0; i < o->nic_count; i++) {
		forwards |= !o->nic[i].tap;
		groups |= o->nic[i].network != NULL;
	}
	if (o->forward_count && !forwards)
		return error_set(err, -EINVAL, "give -n user, or -n NETWORK",
				 "host port %u: no NIC can forward it", o->forward[0].host);
	if (o->group_count && !groups)
		return error_set(err, -EINVAL, "give -n NETWORK",
				 "security group '%s': no NIC can have it", o->group[0]);
	return 0;
}

int options_check_nics(struct options *options, struct error *err)
{
	return nic_default(options, err) || nics_check(options, err) ? -EINVAL : 0;
}

int options_parse(const struct command *command, int argc, char **argv, struct options *out,
		  bool *help, struct error *err)
{
	struct getopt_tables tables;
	int value;

	options_default(out);
	*help = false;
	tables_fill(&tables);
	split_command(&argc, argv, out);
	opterr = 0;
	optind = 1;
	while ((value = getopt_long(argc, argv, tables.letters, tables.longs, NULL)) != -1) {
		const struct option_spec *spec = spec_of(value, command->bit);
		int ret;

		if (value == 'h' || value == LONG_HELP) {
			*help = true;
			return 0;
		}
		if (value == ':')
			return error_set(err, -EINVAL, "see lodge --help",
					 "option '%s': its argument is missing", argv[optind - 1]);
		if (!spec)
			return error_set(err, -EINVAL, "see lodge --help", "option '%s': unknown",
					 argv[optind - 1]);
		ret = option_apply(command, spec, out, err);
		if (ret)
			return ret;
	}
	out->word = argv + optind;
	out->word_count = argc - optind;
	/* What an image has is not known yet. */
	if (command->bit == CMD_RUN && !out->image && options_check_nics(out, err))
		return -EINVAL;
	return words_check(command, out, err);
}
