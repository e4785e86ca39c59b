/* SPDX-License-Identifier: MIT */
#include "vmm/cli/store_open.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
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

int cli_with_root(enum root_kind kind, const char *key, cli_root_act *act, void *arg,
		  struct error *err)
{
	struct root *root = calloc(1, sizeof(*root));
	struct store *store;
	int ret = root ? cli_store_open(&store, err) : -ENOMEM;

	if (ret == 0) {
		ret = root_find_kind(store, kind, key, root, err);
		if (ret == 0) {
			ret = act(store, root, arg, err);
			root_clear(root);
		}
		store_close(store);
	}
	free(root);
	return ret;
}

int cli_root_rm(struct store *store, struct root *root, void *arg, struct error *err)
{
	struct store_swept swept;
	int ret = root_remove(store, &root->id, err);

	(void)arg;
	return ret ? ret : store_sweep(store, &swept, err);
}
