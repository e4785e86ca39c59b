/* SPDX-License-Identifier: MIT */
/*
 * A drill's files. Whoever holds its lock may have some; the next command after its death finds
 * the lock free, and removes what goes by its name. Processes of its worlds hold it, too.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/instance.h"
#include "vmm/cli/client.h"
#include "vmm/cli/commands.h"
#include "vmm/cli/drill.h"
#include "vmm/cli/store_open.h"

#define LOCK     ".lock"
#define PREFIX   "drill-"
#define FILES_AT 16 /* open at once while a tree is removed */

static int entry_remove(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	remove(path);
	return 0;
}

static void tree_remove(const char *path)
{
	nftw(path, entry_remove, FILES_AT, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static int paths(const char *name, char lock[PATH_MAX], char work[PATH_MAX], struct error *err)
{
	char file[TEXT_NAME_MAX + sizeof(LOCK)];
	int ret;

	snprintf(file, sizeof(file), "%s" LOCK, name);
	ret = instance_state_path(DRILLS, file, lock, PATH_MAX, err);
	return ret ? ret : instance_state_path("store/" DRILLS, name, work, PATH_MAX, err);
}

/* Does the guest that its lock's file names still store a snapshot? */
static bool is_pending(int lock)
{
	char guest[TEXT_NAME_MAX + 1] = "";
	struct json_object *answer;
	const char *state;
	bool pending;

	if (pread(lock, guest, sizeof(guest) - 1, 0) <= 0 || !instance_is_running(guest, NULL) ||
	    client_request(guest, "GET", "/v1/snapshot", NULL, &answer, NULL))
		return false;
	state = json_object_get_string(json_object_object_get(answer, "state"));
	pending = state && strcmp(state, "pending") == 0;
	json_object_put(answer);
	return pending;
}

/* What it cannot remove yet it leaves to the next command. */
static void clear(const char *name, int held)
{
	char lock[PATH_MAX], work[PATH_MAX];
	struct root root = {0};
	struct store *store;

	if (is_pending(held) || paths(name, lock, work, NULL))
		return;
	tree_remove(work);
	if (cli_store_open(&store, NULL) == 0) {
		if (root_find(store, name, &root, NULL) == 0) {
			root_remove(store, &root.id, NULL);
			root_clear(&root);
			store_sweep(store, NULL, NULL);
		}
		store_close(store);
	}
	unlink(lock);
}

static void sweep_one(const char *directory, const char *file)
{
	size_t stem = strlen(file) > strlen(LOCK) ? strlen(file) - strlen(LOCK) : 0;
	char path[PATH_MAX], name[TEXT_NAME_MAX + 1];
	int lock;

	if (strncmp(file, PREFIX, strlen(PREFIX)) != 0 || stem > TEXT_NAME_MAX ||
	    strcmp(file + stem, LOCK) != 0 ||
	    snprintf(path, sizeof(path), "%s/%s", directory, file) >= (int)sizeof(path))
		return;
	lock = instance_lock(path, 0, LOCK_EX);
	if (lock < 0)
		return;
	snprintf(name, sizeof(name), "%.*s", (int)stem, file);
	clear(name, lock);
	close(lock);
}

void drill_sweep(void)
{
	char directory[PATH_MAX];
	struct dirent *entry;
	DIR *drills;

	if (instance_state_path("", DRILLS, directory, sizeof(directory), NULL))
		return;
	drills = opendir(directory);
	while (drills && (entry = readdir(drills)))
		sweep_one(directory, entry->d_name);
	if (drills)
		closedir(drills);
}

int drill_begin(struct drill *d, struct error *err)
{
	time_t now = time(NULL);
	char lock[PATH_MAX];
	struct tm tm;
	int ret;

	gmtime_r(&now, &tm);
	snprintf(d->name, sizeof(d->name), PREFIX "%04d%02d%02d-%02d%02d%02d-%d", tm.tm_year + 1900,
		 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)getpid());
	ret = paths(d->name, lock, d->work, err);
	if (ret)
		return ret;
	d->lock = instance_lock(lock, O_CREAT, LOCK_EX);
	if (d->lock < 0)
		return error_set(err, d->lock, "check the directory", "'%s': %s", lock,
				 error_name(d->lock));
	if (mkdir(d->work, 0700) < 0)
		return error_set(err, -errno, "check the store's directory", "directory '%s': %s",
				 d->work, error_name(-errno));
	return 0;
}

void drill_end(struct drill *d)
{
	if (d->lock < 0)
		return;
	clear(d->name, d->lock);
	close(d->lock);
	d->lock = -1;
}

int drill_note_guest(const struct drill *d, const char *guest, struct error *err)
{
	if (pwrite(d->lock, guest, strlen(guest), 0) != (ssize_t)strlen(guest))
		return error_set(err, -EIO, "free some space there",
				 "drill '%s': its lock cannot be written", d->name);
	return 0;
}

/* The store. */

struct links {
	int from, to;
	struct error *err;
};

static int file_link(void *arg, const char *path)
{
	struct links *links = arg;

	if (linkat(links->from, path, links->to, path, 0) < 0 && errno != EEXIST)
		return error_set(links->err, -errno, "have the store on one file system",
				 "store: link of '%s': %s", path, error_name(-errno));
	return 0;
}

/* The folders of an empty one. */
static int store_begin(const char *path, struct error *err)
{
	struct store_io *io;
	struct store *store;
	int ret = store_io_posix(path, NULL, &io, err);

	if (ret == 0)
		ret = store_open(io, &store, err);
	if (ret == 0)
		store_close(store);
	return ret;
}

int drill_store_make(struct drill *d, struct error *err)
{
	char from[PATH_MAX], to[PATH_MAX];
	struct links links = {.err = err};
	int ret = instance_state_path("store", "", from, sizeof(from), err);

	if (ret)
		return ret;
	tree_remove(d->work);
	ret = drill_join(to, d->work, "store", err);
	if (ret == 0)
		ret = store_begin(to, err);
	if (ret)
		return ret;
	links.from = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	links.to = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ret = root_for_each_file(&d->root, file_link, &links);
	close(links.from);
	close(links.to);
	return ret;
}
