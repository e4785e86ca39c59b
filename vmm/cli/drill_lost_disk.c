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

#include "vmm/base/clock.h"
#include "vmm/base/process.h"
#include "vmm/cli/drill.h"

/* Other versions of lodge have no backups. */
int drill_lost_disk_needs(const struct drill *drill, struct error *err)
{
	const struct command *command;

	(void)drill;
	for (unsigned i = 0; (command = command_at(i)); i++)
		if (strcmp(command->name, "snapshot") == 0 &&
		    strstr(command->arguments, "export|import"))
			return 0;
	return error_set(err, -ENOTSUP, NULL, "this lodge has no lodge snapshot export and import");
}

static int program_path(char out[PATH_MAX], struct error *err)
{
	ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);

	if (n < 0)
		return error_set(err, -errno, NULL, "/proc/self/exe: %s", error_name(-errno));
	out[n] = 0;
	return 0;
}

/* As the user's script would: lodge snapshot VERB WORD, with `file` for its stream. */
static int backup_do(const char *script, const char *word, const char *file, struct error *err)
{
	char lodge[PATH_MAX];
	const char *const argv[] = {"sh", "-c", script, lodge, word, file, NULL};
	const struct process process = {.argv = argv, .package = "dash", .fd = -1};
	int ret = program_path(lodge, err);

	return ret ? ret : process_run(&process, err);
}

int drill_export(struct drill_run *run, char backup[PATH_MAX], uint64_t *size, struct error *err)
{
	struct stat st;
	int ret = drill_join(backup, run->work, "backup", err);

	if (ret == 0)
		ret = backup_do("exec \"$0\" snapshot export \"$1\" >\"$2\"", run->root.name,
				backup, err);
	if (ret == 0 && stat(backup, &st) < 0)
		ret = error_set(err, -errno, NULL, "'%s': %s", backup, error_name(-errno));
	if (ret == 0)
		*size = (uint64_t)st.st_size;
	return ret;
}

int drill_import(const char *backup, struct error *err)
{
	return backup_do("exec \"$0\" snapshot import <\"$2\"", "", backup, err);
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
