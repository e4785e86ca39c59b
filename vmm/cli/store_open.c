/* SPDX-License-Identifier: MIT */
#include "vmm/cli/store_open.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "vmm/base/instance.h"

int cli_store_paths(char *directory, char *runtime, struct error *err)
{
	int ret = instance_state_path("store", "", directory, PATH_MAX, err);

	return ret ? ret : instance_store_path(runtime, PATH_MAX, err);
}

int cli_store_open(struct store **out, struct error *err)
{
	char directory[PATH_MAX], runtime[PATH_MAX];
	struct store_io *io;
	int ret = cli_store_paths(directory, runtime, err);

	if (ret == 0)
		ret = store_io_posix(directory, runtime, &io, err);
	return ret ? ret : store_open(io, out, err);
}

bool cli_store_exists(void)
{
	char path[PATH_MAX];
	struct error err = {0};

	return instance_state_path("", "store/roots", path, sizeof(path), &err) == 0 &&
	       access(path, F_OK) == 0;
}

bool cli_store_has_volume(const char *name)
{
	char file[TEXT_NAME_MAX + sizeof(".json")], path[PATH_MAX];
	struct error err = {0};

	if (!text_is_name(name))
		return false;
	snprintf(file, sizeof(file), "%s.json", name);
	return instance_state_path("store/volumes", file, path, sizeof(path), &err) == 0 &&
	       access(path, F_OK) == 0;
}
