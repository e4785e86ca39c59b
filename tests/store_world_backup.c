/* SPDX-License-Identifier: MIT */
/* Backups of a world: each stays beside the store, whatever becomes of that. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/backup.h"
#include "tests/store_world_impl.h"

static int backup_write(void *arg, const void *bytes, size_t size)
{
	struct world_backup *to = arg;
	uint8_t *all = realloc(to->bytes, to->size + size);

	if (!all)
		abort();
	memcpy(all + to->size, bytes, size);
	to->bytes = all;
	to->size += size;
	return 0;
}

static int backup_read(void *arg, void *bytes, size_t size)
{
	struct world_backup *from = arg;

	if (size > from->size - from->at)
		return -ENODATA;
	memcpy(bytes, from->bytes + from->at, size);
	from->at += size;
	return 0;
}

/* The latest one that stands on no image: others are not exported. */
static struct world_root *root_latest(struct world *w)
{
	struct world_root *latest = NULL;

	for (unsigned i = 0; i < WORLD_ROOTS; i++) {
		struct world_root *r = &w->root[i];

		if (r->is == WORLD_THERE && !r->has_base &&
		    (!latest || strverscmp(r->name, latest->name) > 0))
			latest = r;
	}
	return latest;
}

/* With `since`: but for the layers of that root. */
static int export_to(struct world *w, const char *name, const char *since, struct world_backup *to)
{
	const struct backup_pipe pipe = {.write = backup_write, .arg = to};
	struct backup_have have = {0};
	struct backup_report report;
	struct root root;
	int ret = 0;

	if (since) {
		ret = root_find(w->store, since, &root, NULL);
		/* It may be gone. */
		if (ret == 0) {
			ret = backup_have_root(&have, w->store, &root, NULL);
			root_clear(&root);
		} else if (ret == -ENOENT) {
			ret = 0;
		}
	}
	if (ret == 0)
		ret = root_find(w->store, name, &root, NULL);
	if (ret == 0) {
		ret = backup_export(w->store, &root.id, &have, &pipe, &report, NULL);
		root_clear(&root);
	}
	backup_have_free(&have);
	return ret;
}

void op_export(struct world *w, unsigned i)
{
	const char *since = i && w->backup[0].bytes ? w->backup[0].root.name : NULL;
	struct world_root *r = root_latest(w);
	struct world_backup backup = {0};

	w->doing = "export";
	if (!r)
		return;
	backup.root = *r;
	if (!world_done(w, export_to(w, r->name, since, &backup))) {
		free(backup.bytes);
		return;
	}
	free(w->backup[i].bytes);
	w->backup[i] = backup;
}

void op_import(struct world *w, unsigned i)
{
	struct world_backup *backup = &w->backup[i];
	const struct backup_pipe pipe = {.read = backup_read, .arg = backup};
	struct world_root *r = NULL;
	struct backup_report report;
	int ret;

	w->doing = "import";
	for (unsigned k = 0; k < WORLD_ROOTS; k++)
		if (strcmp(w->root[k].name, backup->root.name) == 0 ||
		    (!r && w->root[k].is == WORLD_ABSENT))
			r = &w->root[k];
	if (!backup->bytes || !r)
		return;
	if (r->is == WORLD_ABSENT) {
		*r = backup->root;
		r->is = WORLD_MAYBE;
	}
	backup->at = 0;
	ret = backup_import(w->store, NULL, &pipe, &report, NULL);
	/* What was left out may be gone. */
	if (i && ret == -ENOENT)
		r->is = WORLD_ABSENT;
	else if (world_done(w, ret))
		r->is = WORLD_THERE;
}

/* One that is not given up. */
static void snapshot_surely(struct world *w, struct world_volume *v)
{
	const struct world_root *before = root_latest(w);

	while (!w->broken && root_latest(w) == before) {
		op_write(w, v, false);
		if (!w->broken)
			op_snapshot(w, v);
	}
}

static void everything_remove(struct world *w)
{
	while (!w->broken && root_latest(w))
		op_root_remove(w);
	if (!w->broken)
		op_volume_remove(w, 0);
	if (!w->broken)
		op_sweep(w);
}

void world_script_backup(struct world *w)
{
	op_create(w, 0);
	for (unsigned i = 0; i < WORLD_BACKUPS && !w->broken; i++) {
		snapshot_surely(w, &w->volume[0]);
		if (!w->broken)
			op_export(w, i);
	}
	everything_remove(w);
	/* The second one's base is missing; then it is not. */
	for (unsigned i = 0; i < 3 && !w->broken; i++)
		op_import(w, (i + 1) % WORLD_BACKUPS);
	if (!w->broken)
		op_sweep(w);
}
