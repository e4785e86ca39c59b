/* SPDX-License-Identifier: MIT */
/*
 * An inode has its content as it is seen, as it is durable, and what was written between: at a
 * power failure each sector of each write in that list may or may not be there. Names likewise: a
 * list of changes for each folder. A file's size is durable with its data. A sync that fails
 * forgets what it was to sync, as Linux does: it stays in the page cache and never reaches the
 * disk.
 */
#include "tests/sim_disk.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/random.h"

#define SECTOR    512u
#define PAGE      4096u
#define NAMES_MAX 2048u
#define FILES_MAX 2048u
#define SIM_PATH  160u
#define SPARE     (128u << 10) /* most that a file may grow to */

struct sim_write {
	uint64_t offset;
	size_t size;
	uint8_t *bytes;
	bool truncate; /* to `offset` bytes */
	struct sim_write *next;
};

struct sim_inode {
	uint8_t *now, *durable; /* SPARE bytes each; zeroes behind the end */
	uint8_t *stopped;       /* of a runtime file: what it was when the disk stopped */
	uint64_t size, durable_size;
	struct sim_write *first, **last;
	unsigned opens, names; /* names: seen, durable or in a change */
	unsigned shared;
	int exclusive; /* the file that has it locked; -1 */
	struct sim_inode *next;
};

struct sim_name {
	char path[SIM_PATH];
	struct sim_inode *inode;
};

/* from -> inode is gone, to -> inode is there; either may be empty. */
struct sim_change {
	char from[SIM_PATH], to[SIM_PATH];
	struct sim_inode *inode;
};

struct sim_names {
	struct sim_name name[NAMES_MAX];
	unsigned count;
};

struct sim_file {
	struct sim_inode *inode; /* NULL: free */
	struct store_io *owner;
	bool writable, shares;
};

struct sim_disk {
	uint64_t random;
	unsigned calls, changes, boots;
	unsigned stop_at;
	bool stopped;
	unsigned fail_call;
	enum sim_fault fault;
	bool failed;
	struct sim_inode *inodes;
	struct sim_names now, durable;
	struct sim_change change[NAMES_MAX];
	unsigned change_count;
	struct sim_file file[FILES_MAX];
};

struct sim_process {
	struct store_io io;
	struct sim_disk *disk;
};

static struct sim_disk *disk_of(struct store_io *io)
{
	return ((struct sim_process *)io)->disk;
}

static void stop(struct sim_disk *disk);

/* Every call comes here first. `changes`: it changes something. 0, or what it fails with. */
static int enter(struct sim_disk *disk, bool changes, bool can_short, bool can_eintr, bool *cut)
{
	unsigned call = disk->calls++;

	if (changes && disk->changes++ >= disk->stop_at && !disk->stopped)
		stop(disk);
	if (disk->stopped)
		return -EIO;
	if (disk->fault == SIM_FAULT_NONE || call != disk->fail_call)
		return 0;
	switch (disk->fault) {
	case SIM_FAULT_EIO:
		disk->failed = true;
		return -EIO;
	case SIM_FAULT_ENOSPC:
		disk->failed = changes;
		return changes ? -ENOSPC : 0;
	case SIM_FAULT_EINTR:
		disk->failed = can_eintr;
		return can_eintr ? -EINTR : 0;
	default:
		disk->failed = can_short;
		if (cut)
			*cut = can_short;
		return 0;
	}
}

static bool is_volatile(const char *path)
{
	return strncmp(path, STORE_IO_RUN, strlen(STORE_IO_RUN)) == 0;
}

/* Names. */

static struct sim_name *name_find(struct sim_names *names, const char *path)
{
	for (unsigned i = 0; i < names->count; i++)
		if (strcmp(names->name[i].path, path) == 0)
			return &names->name[i];
	return NULL;
}

static void name_remove(struct sim_names *names, const char *path)
{
	struct sim_name *name = name_find(names, path);

	if (name)
		*name = names->name[--names->count];
}

static void name_set(struct sim_names *names, const char *path, struct sim_inode *inode)
{
	struct sim_name *name = name_find(names, path);

	if (!name) {
		assert(names->count < NAMES_MAX);
		name = &names->name[names->count++];
		snprintf(name->path, sizeof(name->path), "%s", path);
	}
	name->inode = inode;
}

static void change_apply(struct sim_names *names, const struct sim_change *change)
{
	if (change->from[0])
		name_remove(names, change->from);
	if (change->to[0])
		name_set(names, change->to, change->inode);
}

static void change_make(struct sim_disk *disk, const char *from, const char *to,
			struct sim_inode *inode)
{
	struct sim_change change = {.inode = inode};

	snprintf(change.from, sizeof(change.from), "%s", from);
	snprintf(change.to, sizeof(change.to), "%s", to);
	change_apply(&disk->now, &change);
	if (is_volatile(*to ? to : from)) {
		change_apply(&disk->durable, &change);
		return;
	}
	assert(disk->change_count < NAMES_MAX);
	disk->change[disk->change_count++] = change;
}

/* The process is dead, though its code still runs: what that does to shared memory is not so. */
static void stop(struct sim_disk *disk)
{
	disk->stopped = true;
	for (unsigned i = 0; i < disk->now.count; i++) {
		struct sim_inode *inode = disk->now.name[i].inode;

		if (!is_volatile(disk->now.name[i].path))
			continue;
		free(inode->stopped);
		inode->stopped = malloc(SPARE);
		assert(inode->stopped);
		memcpy(inode->stopped, inode->now, SPARE);
	}
}

/* In this folder, not below. */
static bool is_in(const char *path, const char *folder)
{
	size_t length = strlen(folder);

	if (strcmp(folder, ".") == 0)
		return !strchr(path, '/');
	while (length && folder[length - 1] == '/')
		length--;
	return strncmp(path, folder, length) == 0 && path[length] == '/' &&
	       !strchr(path + length + 1, '/');
}

/* Inodes. */

static struct sim_inode *inode_make(struct sim_disk *disk)
{
	struct sim_inode *inode = calloc(1, sizeof(*inode));

	assert(inode);
	inode->now = calloc(1, SPARE);
	inode->durable = calloc(1, SPARE);
	assert(inode->now && inode->durable);
	inode->last = &inode->first;
	inode->exclusive = -1;
	inode->next = disk->inodes;
	disk->inodes = inode;
	return inode;
}

static void writes_forget(struct sim_inode *inode)
{
	while (inode->first) {
		struct sim_write *next = inode->first->next;

		free(inode->first->bytes);
		free(inode->first);
		inode->first = next;
	}
	inode->last = &inode->first;
}

static void inode_free(struct sim_inode *inode)
{
	writes_forget(inode);
	free(inode->now);
	free(inode->durable);
	free(inode->stopped);
	free(inode);
}

static void write_note(struct sim_inode *inode, uint64_t offset, const void *bytes, size_t size,
		       bool truncate)
{
	struct sim_write *w = calloc(1, sizeof(*w));

	assert(w);
	w->offset = offset;
	w->size = size;
	w->truncate = truncate;
	w->bytes = malloc(size + 1);
	assert(w->bytes);
	if (size)
		memcpy(w->bytes, bytes, size);
	*inode->last = w;
	inode->last = &w->next;
}

static void inode_reap(struct sim_disk *disk)
{
	for (struct sim_inode *i = disk->inodes; i; i = i->next)
		i->names = 0;
	for (unsigned i = 0; i < disk->now.count; i++)
		disk->now.name[i].inode->names++;
	for (unsigned i = 0; i < disk->durable.count; i++)
		disk->durable.name[i].inode->names++;
	for (unsigned i = 0; i < disk->change_count; i++)
		if (disk->change[i].inode)
			disk->change[i].inode->names++;
	for (struct sim_inode **at = &disk->inodes; *at;) {
		struct sim_inode *inode = *at;

		if (inode->names || inode->opens) {
			at = &inode->next;
			continue;
		}
		*at = inode->next;
		inode_free(inode);
	}
}

/* The calls. */

static int sim_open(struct store_io *io, const char *path, int flags)
{
	struct sim_disk *disk = disk_of(io);
	struct sim_name *name = name_find(&disk->now, path);
	bool makes = !name && flags & O_CREAT;
	struct sim_inode *inode;
	int ret = enter(disk, makes && !is_volatile(path), false, true, NULL);

	if (ret)
		return ret;
	if (flags & O_DIRECT)
		return -EINVAL;
	if (!name && !(flags & O_CREAT))
		return -ENOENT;
	if (name && flags & O_EXCL)
		return -EEXIST;
	inode = name ? name->inode : inode_make(disk);
	if (makes)
		change_make(disk, "", path, inode);
	for (int i = 0; i < (int)FILES_MAX; i++) {
		if (disk->file[i].inode)
			continue;
		disk->file[i] = (struct sim_file){
			.inode = inode, .owner = io, .writable = (flags & O_ACCMODE) == O_RDWR};
		inode->opens++;
		return i;
	}
	return -EMFILE;
}

static void file_close(struct sim_disk *disk, int file)
{
	struct sim_file *f = &disk->file[file];

	assert(f->inode);
	if (f->inode->exclusive == file)
		f->inode->exclusive = -1;
	if (f->shares)
		f->inode->shared--;
	f->inode->opens--;
	f->inode = NULL;
}

static void sim_close(struct store_io *io, int file)
{
	assert(disk_of(io)->file[file].owner == io);
	file_close(disk_of(io), file);
}

static struct sim_inode *inode_of(struct store_io *io, int file)
{
	struct sim_file *f = &disk_of(io)->file[file];

	assert(file >= 0 && file < (int)FILES_MAX && f->inode && f->owner == io);
	return f->inode;
}

static ssize_t sim_pread(struct store_io *io, int file, void *bytes, size_t size, uint64_t offset)
{
	struct sim_inode *inode = inode_of(io, file);
	bool cut = false;
	int ret = enter(disk_of(io), false, size > 1, true, &cut);

	if (ret)
		return ret;
	if (offset >= inode->size)
		return 0;
	if (size > inode->size - offset)
		size = inode->size - offset;
	if (cut)
		size /= 2;
	memcpy(bytes, inode->now + offset, size);
	return (ssize_t)size;
}

static ssize_t sim_pwrite(struct store_io *io, int file, const void *bytes, size_t size,
			  uint64_t offset)
{
	struct sim_inode *inode = inode_of(io, file);
	bool cut = false;
	int ret = enter(disk_of(io), true, size > 1, true, &cut);

	assert(disk_of(io)->file[file].writable);
	if (ret)
		return ret;
	assert(offset + size <= SPARE);
	if (cut)
		size /= 2;
	write_note(inode, offset, bytes, size, false);
	memcpy(inode->now + offset, bytes, size);
	if (inode->size < offset + size)
		inode->size = offset + size;
	return (ssize_t)size;
}

static void writes_apply(const struct sim_inode *inode, uint8_t *to)
{
	for (struct sim_write *w = inode->first; w; w = w->next) {
		if (!w->truncate)
			memcpy(to + w->offset, w->bytes, w->size);
		else if (w->offset < SPARE)
			memset(to + w->offset, 0, SPARE - w->offset);
	}
}

static int sim_datasync(struct store_io *io, int file)
{
	struct sim_inode *inode = inode_of(io, file);
	int ret = enter(disk_of(io), true, false, false, NULL);

	if (disk_of(io)->stopped)
		return ret;
	if (ret == 0) {
		/* Not simply what is seen: an earlier sync may have lost some of that. */
		writes_apply(inode, inode->durable);
		inode->durable_size = inode->size;
	}
	writes_forget(inode);
	return ret;
}

/* A size stays as it is seen, as that of a file in memory does. */
static void sim_forget(struct store_io *io, int file)
{
	struct sim_inode *inode = inode_of(io, file);

	if (enter(disk_of(io), false, false, false, NULL))
		return;
	memcpy(inode->now, inode->durable, SPARE);
	writes_apply(inode, inode->now);
}

static int sim_truncate(struct store_io *io, int file, uint64_t size)
{
	struct sim_inode *inode = inode_of(io, file);
	int ret = enter(disk_of(io), true, false, true, NULL);

	if (ret)
		return ret;
	if (size > SPARE)
		return -EFBIG;
	write_note(inode, size, NULL, 0, true);
	if (size < inode->size)
		memset(inode->now + size, 0, inode->size - size);
	inode->size = size;
	return 0;
}

static int sim_punch(struct store_io *io, int file, uint64_t offset, uint64_t size)
{
	struct sim_inode *inode = inode_of(io, file);
	int ret = enter(disk_of(io), true, false, false, NULL);

	if (ret)
		return ret;
	assert(offset + size <= SPARE);
	memset(inode->now + offset, 0, size);
	write_note(inode, offset, inode->now + offset, size, false);
	return 0;
}

static int sim_allocate(struct store_io *io, int file, uint64_t offset, uint64_t size)
{
	(void)offset;
	(void)size;
	inode_of(io, file);
	return enter(disk_of(io), true, false, false, NULL);
}

static bool page_is_data(const struct sim_inode *inode, uint64_t page)
{
	static const uint8_t zeroes[PAGE];

	return memcmp(inode->now + page * PAGE, zeroes, PAGE) != 0;
}

static int64_t sim_seek(struct store_io *io, int file, uint64_t offset, int whence)
{
	struct sim_inode *inode = inode_of(io, file);
	int ret = enter(disk_of(io), false, false, false, NULL);

	if (ret)
		return ret;
	while (offset < inode->size && page_is_data(inode, offset / PAGE) != (whence == SEEK_DATA))
		offset = (offset / PAGE + 1) * PAGE;
	if (offset >= inode->size)
		return whence == SEEK_DATA ? -ENXIO : (int64_t)inode->size;
	return (int64_t)offset;
}

static int sim_stat(struct store_io *io, int file, struct store_stat *out)
{
	struct sim_inode *inode = inode_of(io, file);
	int ret = enter(disk_of(io), false, false, false, NULL);

	if (ret)
		return ret;
	out->size = inode->size;
	out->stored = 0;
	for (uint64_t i = 0; i * PAGE < inode->size; i++)
		out->stored += page_is_data(inode, i) ? PAGE : 0;
	return 0;
}

static int sim_lock(struct store_io *io, int file, bool exclusive, bool wait)
{
	struct sim_inode *inode = inode_of(io, file);
	struct sim_file *f = &disk_of(io)->file[file];
	int ret = enter(disk_of(io), false, false, wait, NULL);

	if (ret)
		return ret;
	if ((inode->exclusive >= 0 && inode->exclusive != file) ||
	    (exclusive && inode->shared > f->shares)) {
		assert(!wait);
		return -EAGAIN;
	}
	if (exclusive) {
		inode->exclusive = file;
	} else if (!f->shares) {
		f->shares = true;
		inode->shared++;
	}
	return 0;
}

static int sim_map(struct store_io *io, int file, size_t size, void **out)
{
	struct sim_inode *inode = inode_of(io, file);
	int ret = enter(disk_of(io), false, false, false, NULL);

	if (ret)
		return ret;
	assert(size <= inode->size);
	*out = inode->now;
	return 0;
}

static void sim_unmap(struct store_io *io, void *bytes, size_t size)
{
	(void)io;
	(void)bytes;
	(void)size;
}

/* Folders are not objects of their own: all are there. */
static int sim_mkdir(struct store_io *io, const char *path)
{
	(void)path;
	return enter(disk_of(io), true, false, false, NULL);
}

static int sim_rename(struct store_io *io, const char *from, const char *to)
{
	struct sim_disk *disk = disk_of(io);
	struct sim_name *name = name_find(&disk->now, from);
	int ret = enter(disk, true, false, false, NULL);

	if (ret)
		return ret;
	if (!name)
		return -ENOENT;
	change_make(disk, from, to, name->inode);
	return 0;
}

static int sim_unlink(struct store_io *io, const char *path)
{
	struct sim_disk *disk = disk_of(io);
	int ret = enter(disk, true, false, false, NULL);

	if (ret)
		return ret;
	if (!name_find(&disk->now, path))
		return -ENOENT;
	change_make(disk, path, "", NULL);
	return 0;
}

static int sim_sync_directory(struct store_io *io, const char *path)
{
	struct sim_disk *disk = disk_of(io);
	unsigned kept = 0;
	int ret = enter(disk, true, false, false, NULL);

	if (disk->stopped)
		return ret;
	for (unsigned i = 0; i < disk->change_count; i++) {
		const struct sim_change *change = &disk->change[i];

		if (!is_in(change->to[0] ? change->to : change->from, path))
			disk->change[kept++] = *change;
		else if (ret == 0)
			change_apply(&disk->durable, change);
	}
	disk->change_count = kept;
	inode_reap(disk);
	return ret;
}

static int sim_list(struct store_io *io, const char *path,
		    int (*visit)(void *arg, const char *name), void *arg)
{
	struct sim_disk *disk = disk_of(io);
	int ret = enter(disk, false, false, false, NULL);

	for (unsigned i = 0; i < disk->now.count && ret == 0; i++)
		if (is_in(disk->now.name[i].path, path))
			ret = visit(arg, strrchr(disk->now.name[i].path, '/') + 1);
	return ret;
}

static int sim_descriptor(struct store_io *io, int file)
{
	inode_of(io, file);
	return -1;
}

static int sim_random(struct store_io *io, void *bytes, size_t size)
{
	uint8_t *to = bytes;
	int ret = enter(disk_of(io), false, false, false, NULL);

	if (ret)
		return ret;
	for (size_t i = 0; i < size; i++)
		to[i] = (uint8_t)random_step(&disk_of(io)->random);
	return 0;
}

static uint64_t sim_now_ns(struct store_io *io)
{
	return disk_of(io)->calls;
}

static int sim_boot_id(struct store_io *io, char out[STORE_IO_BOOT_ID])
{
	int ret = enter(disk_of(io), false, false, false, NULL);

	snprintf(out, STORE_IO_BOOT_ID, "%036u", disk_of(io)->boots);
	return ret;
}

static void sim_destroy(struct store_io *io)
{
	struct sim_disk *disk = disk_of(io);

	for (int i = 0; i < (int)FILES_MAX; i++)
		if (disk->file[i].inode && disk->file[i].owner == io)
			file_close(disk, i);
	free(io);
}

static const struct store_io_ops sim_ops = {
	.open = sim_open,
	.close = sim_close,
	.pread = sim_pread,
	.pwrite = sim_pwrite,
	.datasync = sim_datasync,
	.forget = sim_forget,
	.truncate = sim_truncate,
	.punch = sim_punch,
	.allocate = sim_allocate,
	.seek = sim_seek,
	.stat = sim_stat,
	.lock = sim_lock,
	.map = sim_map,
	.unmap = sim_unmap,
	.mkdir = sim_mkdir,
	.rename = sim_rename,
	.unlink = sim_unlink,
	.sync_directory = sim_sync_directory,
	.list = sim_list,
	.descriptor = sim_descriptor,
	.random = sim_random,
	.now_ns = sim_now_ns,
	.boot_id = sim_boot_id,
	.destroy = sim_destroy,
};

/* The disk. */

struct sim_disk *sim_disk_create(uint64_t seed)
{
	struct sim_disk *disk = calloc(1, sizeof(*disk));

	assert(disk);
	disk->random = seed;
	disk->stop_at = ~0u;
	return disk;
}

void sim_disk_destroy(struct sim_disk *disk)
{
	while (disk->inodes) {
		struct sim_inode *next = disk->inodes->next;

		inode_free(disk->inodes);
		disk->inodes = next;
	}
	free(disk);
}

struct store_io *sim_disk_process(struct sim_disk *disk)
{
	struct sim_process *process = calloc(1, sizeof(*process));

	assert(process);
	process->io.ops = &sim_ops;
	process->disk = disk;
	return &process->io;
}

unsigned sim_disk_changes(const struct sim_disk *disk)
{
	return disk->changes;
}

unsigned sim_disk_calls(const struct sim_disk *disk)
{
	return disk->calls;
}

void sim_disk_stop_at(struct sim_disk *disk, unsigned change)
{
	disk->stop_at = change;
}

bool sim_disk_has_stopped(const struct sim_disk *disk)
{
	return disk->stopped;
}

void sim_disk_fail_at(struct sim_disk *disk, unsigned call, enum sim_fault fault)
{
	disk->fail_call = disk->calls + call;
	disk->fault = fault;
	disk->failed = false;
}

bool sim_disk_has_failed(const struct sim_disk *disk)
{
	return disk->failed;
}

static bool survives(struct sim_disk *disk, enum sim_survival survival, bool *cut)
{
	switch (survival) {
	case SIM_NOTHING:
		return false;
	case SIM_EVERYTHING:
		return true;
	case SIM_PREFIX: /* until a coin says that this is the end */
		*cut |= random_step(&disk->random) % 8 == 0;
		return !*cut;
	default:
		return random_step(&disk->random) & 1;
	}
}

static void inode_settle(struct sim_disk *disk, struct sim_inode *inode, enum sim_survival survival)
{
	bool cut = false;

	for (struct sim_write *w = inode->first; w; w = w->next) {
		if (w->truncate && survives(disk, survival, &cut)) {
			memset(inode->durable + w->offset, 0, SPARE - w->offset);
			inode->durable_size = w->offset;
		}
		for (size_t at = 0; at < w->size;) {
			size_t n = SECTOR - (w->offset + at) % SECTOR;

			n = n < w->size - at ? n : w->size - at;
			if (survives(disk, survival, &cut)) {
				memcpy(inode->durable + w->offset + at, w->bytes + at, n);
				if (inode->durable_size < w->offset + at + n)
					inode->durable_size = w->offset + at + n;
			}
			at += n;
		}
	}
	writes_forget(inode);
	memcpy(inode->now, inode->durable, SPARE);
	memset(inode->now + inode->durable_size, 0, SPARE - inode->durable_size);
	memcpy(inode->durable, inode->now, SPARE);
	inode->size = inode->durable_size;
}

/* A runtime directory: empty after a boot, unless it is on a disk. */
static void run_settle(struct sim_disk *disk, bool keep)
{
	for (unsigned i = 0; i < disk->durable.count;) {
		struct sim_name *name = &disk->durable.name[i];

		if (is_volatile(name->path) && !keep) {
			*name = disk->durable.name[--disk->durable.count];
			continue;
		}
		if (is_volatile(name->path)) {
			memcpy(name->inode->durable, name->inode->now, SPARE);
			name->inode->durable_size = name->inode->size;
			writes_forget(name->inode);
		}
		i++;
	}
}

void sim_disk_power_cycle(struct sim_disk *disk, enum sim_survival survival)
{
	bool cut = false;

	sim_disk_revive(disk);
	for (unsigned i = 0; i < FILES_MAX; i++)
		assert(!disk->file[i].inode);
	for (unsigned i = 0; i < disk->change_count; i++)
		if (survives(disk, survival, &cut))
			change_apply(&disk->durable, &disk->change[i]);
	disk->change_count = 0;
	run_settle(disk, random_step(&disk->random) & 1);
	disk->now = disk->durable;
	for (struct sim_inode *inode = disk->inodes; inode; inode = inode->next)
		inode_settle(disk, inode, survival);
	inode_reap(disk);
	disk->boots++;
}

void sim_disk_revive(struct sim_disk *disk)
{
	disk->stopped = false;
	disk->stop_at = ~0u;
	disk->fault = SIM_FAULT_NONE;
	for (struct sim_inode *inode = disk->inodes; inode; inode = inode->next) {
		if (inode->stopped)
			memcpy(inode->now, inode->stopped, SPARE);
		free(inode->stopped);
		inode->stopped = NULL;
	}
}

bool sim_disk_flip(struct sim_disk *disk, const char *path, uint64_t bit)
{
	struct sim_name *name = name_find(&disk->now, path);

	if (!name || bit / 8 >= name->inode->size)
		return false;
	name->inode->now[bit / 8] ^= (uint8_t)(1u << bit % 8);
	return true;
}

unsigned sim_disk_count(struct sim_disk *disk, const char *folder)
{
	unsigned count = 0;

	for (unsigned i = 0; i < disk->now.count; i++)
		count += is_in(disk->now.name[i].path, folder);
	return count;
}
