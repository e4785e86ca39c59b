/* SPDX-License-Identifier: MIT */
/* lodge info: all facts about one guest, running, hibernated or ended. */
#include <errno.h>
#include <stdio.h>

#include "vmm/base/instance.h"
#include "vmm/cli/cli.h"
#include "vmm/cli/client.h"
#include "vmm/cli/record.h"
#include "vmm/cli/snapshot.h"
#include "vmm/cli/table.h"

static void print_facts(struct json_object *facts)
{
	json_object_object_foreach(facts, key, value)
	{
		const char *text = json_object_is_type(value, json_type_string)
					   ? json_object_get_string(value)
					   : json_object_to_json_string_ext(
						     value, JSON_C_TO_STRING_SPACED |
								    JSON_C_TO_STRING_NOSLASHESCAPE);

		printf("%-16s %s\n", key, text);
	}
}

int cmd_info(const struct options *options)
{
	const char *name = options->word[0];
	struct json_object *facts = NULL;
	struct error err = {0};
	int ret = 0;

	if (!instance_is_running(name, NULL)) {
		facts = hibernation_read(name);
		if (!facts)
			facts = record_read(name);
	}
	if (!facts)
		ret = client_request(name, "GET", "/v1/info", NULL, &facts, &err);
	if (ret)
		return cli_fail(&err, ret, EXIT_HOST);
	if (options->json)
		json_print(facts);
	else
		print_facts(facts);
	json_object_put(facts);
	return 0;
}
