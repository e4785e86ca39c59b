/* SPDX-License-Identifier: MIT */
/* lodge rm: forget a guest that ended. */
#include <errno.h>
#include <stddef.h>

#include "vmm/base/instance.h"
#include "vmm/cli/cli.h"
#include "vmm/cli/record.h"

int cmd_rm(const struct options *options)
{
	const char *name = options->word[0];
	struct error err = {0};

	if (instance_is_running(name, NULL)) {
		if (!options->force) {
			error_set(&err, -EBUSY, "stop it first, or use --force",
				  "guest '%s': it is running", name);
			return cli_fail(&err, -EBUSY, EXIT_HOST);
		}
		if (cmd_kill(options))
			return EXIT_HOST;
	}
	if (!record_remove(name) && !options->force) {
		error_set(&err, -ENOENT, "see `lodge ls`", "guest '%s': there is none", name);
		return cli_fail(&err, -ENOENT, EXIT_HOST);
	}
	return 0;
}
