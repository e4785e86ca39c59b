/* SPDX-License-Identifier: MIT */
#include "tests/unit/store_fixture.h"

#include <ftw.h>
#include <unistd.h>

#include "tests/unit/unit.h"

int store_fixture_setup(void **state)
{
	struct store_fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	snprintf(f->directory, sizeof(f->directory), "/tmp/lodge-test-store.XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	snprintf(f->data, sizeof(f->data), "%s/store", f->directory);
	snprintf(f->run, sizeof(f->run), "%s/run", f->directory);
	f->store = store_fixture_open(f, f->run);
	*state = f;
	return 0;
}

static int entry_remove(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

int store_fixture_teardown(void **state)
{
	struct store_fixture *f = *state;

	store_close(f->store);
	nftw(f->directory, entry_remove, 16, FTW_DEPTH | FTW_PHYS);
	free(f);
	return 0;
}

struct store *store_fixture_open(const struct store_fixture *f, const char *run)
{
	struct store_io *io;
	struct store *store;

	assert_int_equal(store_io_posix(f->data, run, &io, NULL), 0);
	assert_int_equal(store_open(io, &store, NULL), 0);
	return store;
}

void block_fill(uint8_t block[STORE_BLOCK], uint32_t value)
{
	for (unsigned i = 0; i < STORE_BLOCK; i += 4)
		le32_put(block + i, value);
}

void volume_put(struct volume *volume, uint64_t block, uint32_t value)
{
	uint8_t bytes[STORE_BLOCK];

	block_fill(bytes, value);
	assert_int_equal(volume_write(volume, block * STORE_BLOCK, STORE_BLOCK, bytes), 0);
}

uint32_t volume_get(struct volume *volume, uint64_t block)
{
	uint8_t bytes[STORE_BLOCK];

	assert_int_equal(volume_read(volume, block * STORE_BLOCK, STORE_BLOCK, bytes), 0);
	for (unsigned i = 4; i < STORE_BLOCK; i += 4)
		assert_int_equal(le32_get(bytes + i), le32_get(bytes));
	return le32_get(bytes);
}

struct volume *volume_of(struct store *store, const char *name)
{
	struct error err = {0};
	struct volume *volume = NULL;

	if (volume_open(store, name, false, &volume, &err))
		fail_msg("%s", err.what);
	return volume;
}

void snapshot_take(struct store *store, struct volume *volume, const char *name, struct root *out)
{
	struct error err = {0};
	static uint64_t time;

	memset(out, 0, sizeof(*out));
	snprintf(out->name, sizeof(out->name), "%s", name);
	out->time_ns = ++time;
	if (volume_switch_prepare(volume, &err) || volume_switch(volume, &err) ||
	    volume_switch_finish(volume, &err) ||
	    root_add_snapshot(out, volume_manifest(volume), &err) || root_publish(store, out, &err))
		fail_msg("%s", err.what);
}
