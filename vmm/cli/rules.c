/* SPDX-License-Identifier: MIT */
#include "vmm/cli/rules.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "net/network.h"
#include "vmm/cli/table.h"

int rules_print(enum filter_kind kind, const char *name, const struct options *options,
		struct error *err)
{
	static const struct table_column columns[] = {
		{"NUMBER", "number"}, {"RULE", "rule"}, {NULL, NULL}};
	struct json_object *rows;
	struct filter_list list;
	char text[FILTER_TEXT];
	int ret = filter_list_read(kind, name, &list, err);

	if (ret)
		return ret;
	rows = json_object_new_array();
	for (unsigned i = 0; i < list.count; i++) {
		struct json_object *row = json_object_new_object();

		filter_rule_text(&list.rule[i], text);
		json_object_object_add(row, "number",
				       json_object_new_int((int)list.rule[i].number));
		json_object_object_add(row, "rule", json_object_new_string(text));
		json_object_array_add(rows, row);
	}
	if (options->json)
		json_print(rows);
	else
		table_print(rows, columns);
	json_object_put(rows);
	return 0;
}

static int number_parse(const char *word, unsigned *out, struct error *err)
{
	uint64_t number;

	if (text_to_number(word, 1, FILTER_NUMBER_MAX, &number))
		return error_set(err, -EINVAL, "give 1 to 65535", "rule number '%s'", word);
	*out = (unsigned)number;
	return 0;
}

static int rule_add(enum filter_kind kind, const struct verb_words *words, struct error *err)
{
	bool numbered = words->count > 2 && strspn(words->word[2], "0123456789");
	unsigned number = 0, first = numbered ? 3 : 2;
	struct filter_rule rule;
	int ret = numbered ? number_parse(words->word[2], &number, err) : 0;

	if (ret == 0)
		ret = filter_rule_parse(words->word + first, words->count - first, &rule, err);
	if (ret)
		return ret;
	rule.number = number;
	return network_rule_add(kind, words->word[0], &rule, err);
}

int rules_command(enum filter_kind kind, const struct options *options,
		  const struct verb_words *words, struct error *err)
{
	unsigned number = 0;
	int ret;

	if (words->count == 1)
		return rules_print(kind, words->word[0], options, err);
	if (strcmp(words->word[1], "add") == 0)
		return rule_add(kind, words, err);
	if (strcmp(words->word[1], "rm") != 0 || words->count != 3)
		return error_set(err, -EINVAL, "use add [NUMBER] RULE, or rm NUMBER", "rule '%s'",
				 words->word[1]);
	ret = number_parse(words->word[2], &number, err);
	return ret ? ret : network_rule_remove(kind, words->word[0], number, err);
}
