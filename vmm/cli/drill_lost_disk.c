/* SPDX-License-Identifier: MIT */
/*
 * Scenario lost-disk: the snapshot goes into a file, and comes back from there into an empty store.
 * By commands of lodge's own, as a user's script would.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot/backup.h"
#include "vmm/base/clock.h"
#include "vmm/base/process.h"
#include "vmm/cli/drill.h"

int drill_lost_disk_needs(const struct drill *drill, struct error *err)
{
	return backup_root_check(&drill->root, err);
}

static int program_path(char out[PATH_MAX], struct error *err)
{
	ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);

	if (n < 0)
		return error_set(err, -errno, NULL, "/proc/self/exe: %s", error_name(-errno));
	out[n] = 0;
	return 0;
}

/* lodge snapshot WORD [WORD ...] */
static int snapshot_do(const char *const words[4], struct error *err)
{
	char lodge[PATH_MAX];
	const char *const argv[] = {lodge,    "snapshot", words[0], words[1],
				    words[2], words[3],   NULL};
	const struct process process = {.argv = argv, .package = "lodge", .fd = -1};
	int ret = program_path(lodge, err);

	return ret ? ret : process_run(&process, err);
}

int drill_export(struct drill_run *run, char backup[PATH_MAX], uint64_t *size, struct error *err)
{
	const char *const words[4] = {"export", run->root.name, "-o", backup};
	struct stat st;
	int ret = drill_join(backup, run->work, "backup", err);

	if (ret == 0)
		ret = snapshot_do(words, err);
	if (ret == 0 && stat(backup, &st) < 0)
		ret = error_set(err, -errno, NULL, "'%s': %s", backup, error_name(-errno));
	if (ret == 0)
		*size = (uint64_t)st.st_size;
	return ret;
}

int drill_import(const char *backup, struct error *err)
{
	const char *const words[4] = {"import", backup};

	return snapshot_do(words, err);
}

static int store_lose(struct drill_run *run, struct error *err)
{
	char empty[PATH_MAX];
	int ret = drill_join(empty, run->work, "empty", err);

	if (ret == 0 && mkdir(empty, 0700) < 0)
		ret = error_set(err, -errno, NULL, "'%s': %s", empty, error_name(-errno));
	return ret ? ret : drill_world_store(empty, err);
}

int drill_lost_disk(struct drill_run *run, struct error *err)
{
	char backup[PATH_MAX];
	uint64_t size = 0;
	int ret = drill_export(run, backup, &size, err);

	json_object_object_add(run->facts, "backup_bytes", json_object_new_uint64(size));
	if (ret == 0)
		ret = store_lose(run, err);
	if (ret)
		return ret;
	run->began_ns = clock_monotonic_ns();
	ret = drill_import(backup, err);
	if (ret == 0)
		ret = drill_world_reopen(run, err);
	if (ret == 0)
		ret = drill_world_find(run, err);
	if (ret == 0)
		ret = drill_recover(run, NULL, err);
	drill_guest_kill(run);
	return ret ? ret : drill_verify(run, err);
}
