/* SPDX-License-Identifier: MIT */
/*
 * Scenario full-disk: a store on a small disk in memory, whose room is taken but for so much. The
 * snapshot's files are bound into it, so that it needs room only for what is new; but for an
 * import, whose disk has all that comes.
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
/* Imports: of snapshots up to this size, as memory is what holds them; and other room they may
 * need.
 */
#define IMPORT_MAX   (1ull << 30)
#define ROOM_BESIDES (64ull << 20)

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
	int fd, ret = drill_join(from, files->from, path, files->err);

	if (ret == 0)
		ret = drill_join(to, files->to, path, files->err);
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
	int ret = drill_join(disk, run->work, "disk", err);

	if (ret == 0)
		ret = drill_join(from, run->work, "store", err);
	if (ret)
		return ret;
	if (mkdir(disk, 0700) < 0 ||
	    mount("lodge", disk, "tmpfs", MS_NOSUID | MS_NODEV, DISK_OPTIONS) < 0)
		return error_set(err, -errno, NULL, "disk '%s': %s", disk, error_name(-errno));
	for (unsigned i = 0; i < 3 && ret == 0; i++) {
		ret = drill_join(path, disk, folders[i], err);
		if (ret == 0 && mkdir(path, 0700) < 0)
			ret = error_set(err, -errno, NULL, "'%s': %s", path, error_name(-errno));
	}
	if (ret == 0)
		ret = root_for_each_file(&run->root, file_bind, &files);
	if (ret == 0)
		ret = drill_world_store(disk, err);
	if (ret == 0)
		ret = drill_world_reopen(run, err);
	return ret ? ret : drill_world_find(run, err);
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
	int fd, ret = drill_join(path, disk, FILLER, err);

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
	int ret = drill_join(path, disk, FILLER, err);

	if (ret == 0 && unlink(path) < 0 && errno != ENOENT)
		ret = error_set(err, -errno, NULL, "'%s': %s", path, error_name(-errno));
	return ret;
}

/* A snapshot of the guest; is it whole? */
static int snapshot_try(struct drill_run *run, const char *name, struct error *err)
{
	struct root *root = calloc(1, sizeof(*root));
	struct json_object *facts = NULL;
	int ret = root ? snapshot_of_guest(run->restore.plan.name, name, "", false, &facts, err)
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

/* Imports. */

static int disk_resize(const char *disk, uint64_t size, struct error *err)
{
	char text[64];

	snprintf(text, sizeof(text), "size=%llu", (unsigned long long)size);
	if (mount("lodge", disk, "tmpfs", MS_REMOUNT | MS_NOSUID | MS_NODEV, text) < 0)
		return error_set(err, -errno, NULL, "disk '%s': %s", disk, error_name(-errno));
	return 0;
}

/* It is imported, or fails with words; either way the store is sound. */
static int import_try(struct drill_run *run, const char *backup, uint64_t room, bool *refused,
		      struct error *err)
{
	struct error told = {0};
	int tried = drill_import(backup, &told), ret = 0;

	/* Behind the program's path. */
	if (tried && !strstr(told.what, ": lodge: "))
		ret = error_set(err, -EBADMSG, "tell lodge's makers",
				"it failed without a word: %s", told.what);
	if (ret == 0)
		ret = drill_check(run, err);
	if (ret == 0)
		ret = store_sweep(run->store, NULL, err);
	*refused = tried != 0;
	return ret ? error_prefix(err, ret, "import with room for %llu bytes",
				  (unsigned long long)room)
		   : 0;
}

static int import_levels_try(struct drill_run *run, const char *disk, const char *backup,
			     uint64_t need, struct error *err)
{
	int count = 0, ret = 0;

	for (unsigned i = 0; i < LEVELS && ret == 0; i++) {
		uint64_t room = need * i / LEVELS + STORE_BLOCK;
		bool refused = false;

		ret = disk_resize(disk, room, err);
		if (ret == 0)
			ret = import_try(run, backup, room, &refused, err);
		count += refused;
	}
	json_object_object_add(run->facts, "imports_refused", json_object_new_int(count));
	if (ret == 0 && !count)
		ret = error_set(err, -EBADMSG, "tell lodge's makers",
				"no import failed on a disk without room");
	return ret;
}

/* Into an empty store on a disk that grows, up to one that is large enough. */
static int imports_try(struct drill_run *run, struct error *err)
{
	char disk[PATH_MAX], backup[PATH_MAX];
	struct root_usage usage;
	uint64_t size;
	int ret = drill_join(disk, run->work, "import", err);

	if (ret == 0)
		ret = root_usage(run->store, &run->root, &usage, err);
	if (ret || usage.stored > IMPORT_MAX)
		return ret;
	ret = drill_export(run, backup, &size, err);
	if (ret)
		return ret;
	if (mkdir(disk, 0700) < 0 ||
	    mount("lodge", disk, "tmpfs", MS_NOSUID | MS_NODEV, DISK_OPTIONS) < 0)
		return error_set(err, -errno, NULL, "disk '%s': %s", disk, error_name(-errno));
	ret = drill_world_store(disk, err);
	if (ret == 0)
		ret = drill_world_reopen(run, err);
	if (ret == 0)
		ret = import_levels_try(run, disk, backup, usage.stored, err);
	if (ret == 0)
		ret = disk_resize(disk, 2 * usage.stored + ROOM_BESIDES, err);
	if (ret == 0)
		ret = drill_import(backup, err);
	if (ret == 0)
		ret = drill_world_find(run, err);
	return ret ? ret : root_verify(run->store, &run->root.id, err);
}

/* All of it. */

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
	if (ret == 0)
		ret = drill_verify(run, err);
	/* Where it can be exported. */
	if (ret == 0 && drill_lost_disk_needs(run->drill, NULL) == 0)
		ret = imports_try(run, err);
	return ret;
}
