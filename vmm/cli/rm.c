/* SPDX-License-Identifier: MIT */
/* lodge rm: forget a guest that ended, or give up one that is hibernated. */
#include <errno.h>
#include <stddef.h>

#include "vmm/base/instance.h"
#include "vmm/cli/cli.h"
#include "vmm/cli/record.h"
#include "vmm/cli/snapshot.h"

int cmd_rm(const struct options *options)
{
	const char *name = options->word[0];
	struct error err = {0};
	bool found;
	int ret;

	if (instance_is_running(name, NULL)) {
		if (!options->force) {
			error_set(&err, -EBUSY, "stop it first, or use --force",
				  "guest '%s': it is running", name);
			return cli_fail(&err, -EBUSY, EXIT_HOST);
		}
		if (cmd_kill(options))
			return EXIT_HOST;
	}
	ret = options->discard ? hibernation_discard(name, &err) : hibernation_check(name, &err);
	found = ret == 0 && options->discard;
	if (ret && ret != -ENOENT)
		return cli_fail(&err, ret, EXIT_HOST);
	err = (struct error){0};
	found |= record_remove(name);
	if (!found && !options->force) {
		error_set(&err, -ENOENT, "see `lodge ls`", "guest '%s': there is none", name);
		return cli_fail(&err, -ENOENT, EXIT_HOST);
	}
	return 0;
}
