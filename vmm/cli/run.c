/* SPDX-License-Identifier: MIT */
/* lodge run: choose the kernel and the name, and run the guest here or in a process of its own. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/base/instance.h"
#include "vmm/cli/cli.h"
#include "vmm/cli/guest.h"
#include "vmm/cli/record.h"

#define DEFAULT_GUEST "guest" /* below the state directory; scripts/guest makes it */

static int default_guest(char *kernel, char *initrd, struct error *err)
{
	int ret = instance_state_path(DEFAULT_GUEST, "vmlinux", kernel, PATH_MAX, err);

	if (ret == 0)
		ret = instance_state_path(DEFAULT_GUEST, "initramfs", initrd, PATH_MAX, err);
	if (ret == 0 && (access(kernel, R_OK) < 0 || access(initrd, R_OK) < 0))
		ret = error_set(err, -ENOENT, "make it with scripts/guest, or give -k KERNEL",
				"default guest '%s': it is not there", kernel);
	return ret;
}

/* In a child, which lives on; the parent waits for the word that the guest runs. */
static int run_detached(struct guest_plan *plan)
{
	struct error err = {0};
	int ready[2], status;
	char byte;
	pid_t pid;

	if (pipe(ready) < 0) {
		error_set(&err, -errno, NULL, "pipe: %s", error_name(-errno));
		return cli_fail(&err, -errno, EXIT_HOST);
	}
	pid = fork();
	if (pid < 0) {
		error_set(&err, -errno, "raise ulimit -u", "fork: %s", error_name(-errno));
		return cli_fail(&err, -errno, EXIT_HOST);
	}
	if (pid == 0) {
		close(ready[0]);
		setsid();
		plan->ready_fd = ready[1];
		return guest_run(plan);
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) == 1) {
		printf("%s\n", plan->name);
		return 0;
	}
	/* The child ended early, and said why. */
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_INTERNAL;
}

int cmd_run(const struct options *options)
{
	char kernel[PATH_MAX], initrd[PATH_MAX], name[TEXT_NAME_MAX + 1];
	struct guest_plan plan = {.options = options,
				  .kernel = options->kernel,
				  .initrd = options->initrd,
				  .ready_fd = -1};
	struct error err = {0};

	if (!options->kernel) {
		int ret = default_guest(kernel, initrd, &err);

		if (ret)
			return cli_fail(&err, ret, EXIT_HOST);
		plan.kernel = kernel;
		if (!options->initrd)
			plan.initrd = initrd;
	} else if (options->command_count) {
		error_set(&err, -EINVAL, "leave out -k",
			  "'-- %s': a command runs in the default guest only", options->command[0]);
		return cli_fail(&err, -EINVAL, EXIT_USAGE);
	}
	snprintf(name, sizeof(name), "guest-%d", (int)getpid());
	plan.name = options->word_count ? options->word[0] : name;
	/* What is left of an earlier guest of that name is out of date now. */
	if (!instance_is_running(plan.name, NULL))
		record_remove(plan.name);
	return options->detach ? run_detached(&plan) : guest_run(&plan);
}
