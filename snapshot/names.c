/* SPDX-License-Identifier: MIT */
/*
 * Theory of doubts. A sync of a folder that fails may forget what it was to make durable, as one of
 * a file does: names stay as they are seen, a later sync finds nothing to do and succeeds, and a
 * power failure brings back what was before. That sync may have been another process's, a sweep's
 * for one. So whoever meets with such a failure leaves a doubt of that folder, in a runtime file
 * that holds until the next boot, by which what is seen is again what is durable.
 *
 * Meanwhile a change that is made and synced under one hold of the store's lock is durable all the
 * same: nobody's sync came between. So manifests can be written anew, and removed. What relies on
 * names of others, a sweep, or on names made earlier, those of layers and blobs, is refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "snapshot/store_impl.h"

#define REMEDY "check the disk, then boot anew: names that a sync lost may come back until then"

static unsigned doubt_bit(const char *folder)
{
	static const char *const folders[] = {STORE_LAYERS, STORE_BLOBS, STORE_VOLUMES,
					      STORE_ROOTS};
	unsigned i = 0;

	while (strcmp(folders[i], folder) != 0)
		i++;
	return 1u << i;
}

static void doubt_path(char out[STORE_IO_PATH_MAX], const char *folder)
{
	snprintf(out, STORE_IO_PATH_MAX, STORE_IO_RUN "doubt-%s", folder);
}

int store_names_doubtful(struct store *store, const char *folder)
{
	char path[STORE_IO_PATH_MAX], boot[STORE_IO_BOOT_ID] = {0}, left[STORE_IO_BOOT_ID] = {0};
	struct store_io *io = store->io;
	int file, ret;

	if (atomic_load(&store->doubts) & doubt_bit(folder))
		return 1;
	doubt_path(path, folder);
	file = store_io_open(io, path, O_RDONLY);
	if (file == -ENOENT || file == -ENOTSUP)
		return 0;
	if (file < 0)
		return file;
	ret = store_io_read(io, file, left, sizeof(left) - 1, 0);
	io->ops->close(io, file);
	if (ret == 0)
		ret = io->ops->boot_id(io, boot);
	return ret ? ret : strcmp(left, boot) == 0;
}

static void doubt_leave(struct store *store, const char *folder)
{
	char path[STORE_IO_PATH_MAX], boot[STORE_IO_BOOT_ID];
	struct store_io *io = store->io;
	int file;

	atomic_fetch_or(&store->doubts, doubt_bit(folder));
	doubt_path(path, folder);
	file = store_io_open(io, path, O_RDWR | O_CREAT);
	if (file < 0)
		return;
	if (io->ops->boot_id(io, boot) == 0)
		store_io_write(io, file, boot, sizeof(boot) - 1, 0);
	io->ops->close(io, file);
}

int store_change_sync(struct store *store, const char *folder)
{
	int ret = store->io->ops->sync_directory(store->io, folder);

	/* Without these it did not come to a sync. */
	if (ret && ret != -EMFILE && ret != -ENFILE && ret != -ENOMEM)
		doubt_leave(store, folder);
	return ret;
}

int store_names_sync(struct store *store, const char *folder, struct error *err)
{
	int ret = store_names_doubtful(store, folder);

	if (ret > 0)
		return error_set(err, -EIO, REMEDY, "store: '%s': a sync of it failed", folder);
	if (ret == 0)
		ret = store_change_sync(store, folder);
	return ret ? error_set(err, ret, "check the disk", "store: '%s': %s", folder,
			       error_name(ret))
		   : 0;
}

int store_names_settle(struct store *store, const char *folder, struct error *err)
{
	int lock = store_lock(store, err), ret;

	if (lock < 0)
		return lock;
	ret = store_names_sync(store, folder, err);
	store_unlock(store, lock);
	return ret;
}

int store_write_file(struct store *store, const char *folder, const char *name, const void *bytes,
		     size_t size)
{
	int ret = store_io_write_file(store->io, folder, name, bytes, size);

	return ret ? ret : store_change_sync(store, folder);
}
