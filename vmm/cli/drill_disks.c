/* SPDX-License-Identifier: MIT */
/*
 * Scenarios of disks. One that is full: a store in memory whose room is taken but for so much; the
 * snapshot's files are bound into it, so that it needs room for what is new only. One that is lost:
 * the snapshot goes into a file, and comes back from there into an empty store.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "vmm/base/clock.h"
#include "vmm/base/instance.h"
#include "vmm/base/process.h"
#include "vmm/cli/drill.h"

#define DISK_OPTIONS "mode=700,size=512m"
#define FILLER       "filler"
#define LEVELS       8u /* of room, from none to nearly enough */

static int join(char out[PATH_MAX], const char *directory, const char *file, struct error *err)
{
	if (snprintf(out, PATH_MAX, "%s/%s", directory, file) >= PATH_MAX)
		return error_set(err, -ENAMETOOLONG, NULL, "'%s/%s': too long", directory, file);
	return 0;
}

/* Let another directory be the store. */
static int store_replace(const char *directory, struct error *err)
{
	char store[PATH_MAX];
	int ret = instance_state_path("store", "", store, sizeof(store), err);

	return ret ? ret : drill_world_bind(directory, store, err);
}

/* A full one. */

struct files {
	const char *from, *to;
	struct error *err;
};

static int manifest_copy(const char *from, const char *to, struct error *err)
{
	static char text[ROOT_MANIFEST_MAX];
	int fd = open(from, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));

	if (fd >= 0)
		close(fd);
	if (n < 0)
		return error_set(err, -EIO, NULL, "'%s': it cannot be read", from);
	return instance_write_file(to, text, (size_t)n, err);
}

/* A manifest is replaced by the next one, which nothing can be that is mounted. */
static int file_bind(void *arg, const char *path)
{
	const struct files *files = arg;
	char from[PATH_MAX], to[PATH_MAX];
	int fd, ret = join(from, files->from, path, files->err);

	if (ret == 0)
		ret = join(to, files->to, path, files->err);
	if (ret)
		return ret;
	if (strncmp(path, "roots/", 6) == 0)
		return manifest_copy(from, to, files->err);
	fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno == EEXIST ? 0
				       : error_set(files->err, -errno, NULL, "'%s': %s", to,
						   error_name(-errno));
	close(fd);
	return drill_world_bind(from, to, files->err);
}

static int disk_make(struct drill_run *run, char disk[PATH_MAX], struct error *err)
{
	static const char *const folders[] = {"layers", "blobs", "roots"};
	char from[PATH_MAX], path[PATH_MAX];
	struct files files = {.from = from, .to = disk, .err = err};
	int ret = join(disk, run->work, "disk", err);

	if (ret == 0)
		ret = join(from, run->work, "store", err);
	if (ret)
		return ret;
	if (mkdir(disk, 0700) < 0 ||
	    mount("lodge", disk, "tmpfs", MS_NOSUID | MS_NODEV, DISK_OPTIONS) < 0)
		return error_set(err, -errno, NULL, "disk '%s': %s", disk, error_name(-errno));
	for (unsigned i = 0; i < 3 && ret == 0; i++) {
		ret = join(path, disk, folders[i], err);
		if (ret == 0 && mkdir(path, 0700) < 0)
			ret = error_set(err, -errno, NULL, "'%s': %s", path, error_name(-errno));
	}
	if (ret == 0)
		ret = root_for_each_file(&run->root, file_bind, &files);
	if (ret == 0)
		ret = store_replace(disk, err);
	return ret ? ret : drill_world_open(run, err);
}

static int disk_room(const char *disk, uint64_t *room, struct error *err)
{
	struct statvfs fs;

	if (statvfs(disk, &fs) < 0)
		return error_set(err, -errno, NULL, "disk '%s': %s", disk, error_name(-errno));
	*room = (uint64_t)fs.f_bavail * fs.f_frsize;
	return 0;
}

/* All but `left` bytes are taken. */
static int disk_fill(const char *disk, uint64_t left, struct error *err)
{
	char path[PATH_MAX];
	uint64_t room = 0;
	int fd, ret = join(path, disk, FILLER, err);

	if (ret == 0)
		ret = disk_room(disk, &room, err);
	if (ret || room <= left)
		return ret;
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || posix_fallocate(fd, 0, (off_t)(room - left)))
		ret = error_set(err, -EIO, NULL, "disk '%s': it could not be filled", disk);
	if (fd >= 0)
		close(fd);
	return ret;
}

static int disk_drain(const char *disk, struct error *err)
{
	char path[PATH_MAX];
	int ret = join(path, disk, FILLER, err);

	if (ret == 0 && unlink(path) < 0 && errno != ENOENT)
		ret = error_set(err, -errno, NULL, "'%s': %s", path, error_name(-errno));
	return ret;
}

/* A snapshot of the guest; is it whole? */
static int snapshot_try(struct drill_run *run, const char *name, struct error *err)
{
	struct root *root = calloc(1, sizeof(*root));
	struct json_object *facts;
	int ret = root ? snapshot_guest_take(run->restore.plan.name, name, "", false, &facts, err)
		       : error_set(err, -ENOMEM, NULL, "drill: out of memory");

	if (ret == 0) {
		json_object_put(facts);
		ret = root_find(run->store, name, root, err);
	}
	if (ret == 0) {
		ret = root_complete(run->store, &root->id, err);
		if (ret == 0)
			ret = root_verify(run->store, &root->id, err);
		root_clear(root);
	}
	free(root);
	return ret;
}

/* If it is there. */
static int snapshot_remove(struct drill_run *run, const char *name, struct error *err)
{
	struct root *root = calloc(1, sizeof(*root));
	int ret = root ? root_find(run->store, name, root, NULL)
		       : error_set(err, -ENOMEM, NULL, "drill: out of memory");

	if (ret == 0) {
		ret = root_remove(run->store, &root->id, err);
		root_clear(root);
	}
	free(root);
	if (ret && ret != -ENOENT)
		return ret;
	return store_sweep(run->store, NULL, err);
}

#define SNAPSHOT "full"

/* Restore and snapshot with so much room; all that comes of it is either right, or an error. */
static int level_try(struct drill_run *run, const char *disk, uint64_t left, bool *refused,
		     struct error *err)
{
	struct error told = {0};
	int ret = disk_fill(disk, left, err), tried;

	if (ret)
		return ret;
	tried = drill_guest_start(run, NULL, &told);
	if (tried == 0)
		tried = snapshot_try(run, SNAPSHOT, &told);
	drill_guest_kill(run);
	ret = disk_drain(disk, err);
	if (ret == 0 && tried && !told.what[0])
		ret = error_set(err, -EBADMSG, "tell lodge's makers", "it failed without a word");
	if (ret == 0)
		ret = drill_check(run, err);
	*refused = tried != 0;
	return ret ? error_prefix(err, ret, "with room for %llu bytes", (unsigned long long)left)
		   : 0;
}

/* What all of it needs. */
static int need_find(struct drill_run *run, const char *disk, uint64_t *need, struct error *err)
{
	uint64_t before = 0, after = 0;
	int ret = disk_room(disk, &before, err);

	if (ret == 0)
		ret = drill_guest_start(run, NULL, err);
	if (ret == 0)
		ret = snapshot_try(run, SNAPSHOT, err);
	drill_guest_kill(run);
	if (ret == 0)
		ret = disk_room(disk, &after, err);
	if (ret == 0)
		*need = before - after;
	return ret ? ret : snapshot_remove(run, SNAPSHOT, err);
}

static int levels_try(struct drill_run *run, const char *disk, struct error *err)
{
	uint64_t need = 0;
	int count = 0, ret = need_find(run, disk, &need, err);

	for (unsigned i = 0; i < LEVELS && ret == 0; i++) {
		bool refused = false;

		ret = level_try(run, disk, need * i / LEVELS, &refused, err);
		if (ret == 0)
			ret = snapshot_remove(run, SNAPSHOT, err);
		count += refused;
	}
	json_object_object_add(run->facts, "needed_bytes", json_object_new_uint64(need));
	json_object_object_add(run->facts, "refused", json_object_new_int(count));
	if (ret == 0 && !count)
		ret = error_set(err, -EBADMSG, "tell lodge's makers",
				"nothing failed on a disk without room");
	return ret;
}

int drill_full_disk(struct drill_run *run, struct error *err)
{
	char disk[PATH_MAX];
	int ret = disk_make(run, disk, err);

	if (ret == 0)
		ret = levels_try(run, disk, err);
	if (ret)
		return ret;
	/* There is room again. */
	run->began_ns = 0;
	ret = drill_recover(run, NULL, err);
	if (ret == 0)
		ret = snapshot_try(run, SNAPSHOT, err);
	drill_guest_kill(run);
	return ret ? ret : drill_verify(run, err);
}

/* A lost one. */

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

static int store_lose(struct drill_run *run, struct error *err)
{
	char empty[PATH_MAX];
	int ret = join(empty, run->work, "empty", err);

	if (ret == 0 && mkdir(empty, 0700) < 0)
		ret = error_set(err, -errno, NULL, "'%s': %s", empty, error_name(-errno));
	return ret ? ret : store_replace(empty, err);
}

int drill_lost_disk(struct drill_run *run, struct error *err)
{
	char file[PATH_MAX];
	struct stat st;
	int ret = join(file, run->work, "backup", err);

	if (ret == 0)
		ret = backup_do("exec \"$0\" snapshot export \"$1\" >\"$2\"", run->root.name, file,
				err);
	if (ret == 0 && stat(file, &st) == 0)
		json_object_object_add(run->facts, "backup_bytes",
				       json_object_new_uint64((uint64_t)st.st_size));
	if (ret == 0)
		ret = store_lose(run, err);
	if (ret)
		return ret;
	run->began_ns = clock_monotonic_ns();
	ret = backup_do("exec \"$0\" snapshot import <\"$2\"", "", file, err);
	if (ret == 0)
		ret = drill_world_open(run, err);
	if (ret == 0)
		ret = drill_recover(run, NULL, err);
	drill_guest_kill(run);
	return ret ? ret : drill_verify(run, err);
}
