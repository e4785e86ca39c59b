/* SPDX-License-Identifier: MIT */
/* lodge run: choose the name, an image and the kernel, and run the guest here or in a process of
 * its own. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/base/instance.h"
#include "vmm/cli/cli.h"
#include "vmm/cli/guest.h"
#include "vmm/cli/image.h"
#include "vmm/cli/record.h"
#include "vmm/cli/snapshot.h"

#define DEFAULT_GUEST "guest" /* below the state directory; scripts/guest makes it */

/* A file of the default guest. `remedy` says how to do without it. */
static int default_file(const char *file, char *out, const char *remedy, struct error *err)
{
	int ret = instance_state_path(DEFAULT_GUEST, file, out, PATH_MAX, err);

	if (ret == 0 && access(out, R_OK) < 0)
		ret = error_set(err, -ENOENT, remedy, "default guest '%s': it is not there", out);
	return ret;
}

/* In a child, which lives on; the parent waits for the word that the guest runs. */
int guest_run_detached(struct guest_plan *plan)
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

/* The kernel and the initrd, as chosen or the default guest's. */
static int boot_choose(const struct options *o, struct guest_plan *plan, char kernel[PATH_MAX],
		       char initrd[PATH_MAX], struct error *err)
{
	int ret = 0;

	plan->options = o;
	plan->kernel = o->kernel;
	plan->initrd = o->initrd;
	if (!o->kernel) {
		plan->kernel = kernel;
		ret = default_file("vmlinux", kernel,
				   "make it with scripts/guest, or give -k KERNEL", err);
	}
	/* A command needs an initrd that runs it: the default guest's, with any kernel. */
	if (ret == 0 && !o->initrd && (!o->kernel || o->command_count)) {
		plan->initrd = initrd;
		ret = default_file("initramfs", initrd, "make it with scripts/guest", err);
	}
	return ret;
}

/* By plan->name, of an image. */
struct of_image {
	struct options options;
	struct root root;
};

static int image_choose(const struct options **o, struct guest_plan *plan, struct of_image **out,
			struct error *err)
{
	int ret;

	*out = calloc(1, sizeof(**out));
	if (!*out)
		return error_set(err, -ENOMEM, NULL, "image '%s': out of memory", (*o)->image);
	ret = image_options(*o, plan->name, &(*out)->root, &(*out)->options, err);
	*o = &(*out)->options;
	plan->clone_of = &(*out)->root;
	return ret;
}

int cmd_run(const struct options *options)
{
	char kernel[PATH_MAX], initrd[PATH_MAX], name[TEXT_NAME_MAX + 1];
	struct guest_plan plan = {.ready_fd = -1};
	struct of_image *image = NULL;
	struct error err = {0};
	int ret = 0;

	snprintf(name, sizeof(name), "guest-%d", (int)getpid());
	plan.name = options->word_count ? options->word[0] : name;
	if (options->word_count)
		ret = hibernation_check(plan.name, &err);
	if (ret == 0 && options->image)
		ret = image_choose(&options, &plan, &image, &err);
	if (ret == 0)
		ret = boot_choose(options, &plan, kernel, initrd, &err);
	/* What is left of an earlier guest of that name is out of date now. */
	if (ret == 0 && !instance_is_running(plan.name, NULL))
		record_remove(plan.name);
	if (ret)
		ret = cli_fail(&err, ret, EXIT_HOST);
	else
		ret = options->detach ? guest_run_detached(&plan) : guest_run(&plan);
	if (image)
		root_clear(&image->root);
	free(image);
	return ret;
}
