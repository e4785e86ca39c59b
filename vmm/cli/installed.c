/* SPDX-License-Identifier: MIT */
#include "vmm/cli/installed.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int installed_find(const char *built, const char *installed, char out[PATH_MAX], struct error *err)
{
	char program[PATH_MAX], path[2 * PATH_MAX], *directory;
	ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);

	if (length < 0)
		return error_set(err, -errno, NULL, "/proc/self/exe: %s", error_name(-errno));
	program[length] = '\0';
	directory = dirname(program);
	snprintf(path, sizeof(path), "%s/../%s", directory, built);
	if (realpath(path, out))
		return 0;
	snprintf(path, sizeof(path), "%s/%s", directory, installed);
	if (realpath(path, out))
		return 0;
	return error_set(err, -ENOENT, "install it with lodge: meson install",
			 "'%s': it is not there, nor '../%s'", path, built);
}
