/* SPDX-License-Identifier: MIT */
#include "tests/unit/backup_fixture.h"

#include "snapshot/layer.h"
#include "tests/unit/unit.h"

int tape_write(void *arg, const void *bytes, size_t size)
{
	struct tape *tape = arg;

	if (tape->meanwhile)
		tape->meanwhile(tape->arg);
	if (tape->size + size > tape->room) {
		tape->room = 2 * (tape->size + size);
		tape->bytes = realloc(tape->bytes, tape->room);
		assert_non_null(tape->bytes);
	}
	memcpy(tape->bytes + tape->size, bytes, size);
	tape->size += size;
	return 0;
}

static int tape_read(void *arg, void *bytes, size_t size)
{
	struct tape *tape = arg;

	if (tape->meanwhile)
		tape->meanwhile(tape->arg);
	if (size > tape->size - tape->at)
		return -ENODATA;
	if (size)
		memcpy(bytes, tape->bytes + tape->at, size);
	tape->at += size;
	return 0;
}

void side_make(struct side *side)
{
	static uint64_t seed;

	memset(side, 0, sizeof(*side));
	side->disk = sim_disk_create(++seed);
	assert_int_equal(store_open(sim_disk_process(side->disk), &side->store, NULL), 0);
}

void side_end(struct side *side)
{
	store_close(side->store);
	sim_disk_destroy(side->disk);
}

int take(struct side *side, const struct tape *tape, const char *name)
{
	struct tape from = *tape;
	const struct backup_pipe pipe = {.read = tape_read, .arg = &from};
	int ret;

	from.at = 0;
	memset(&side->err, 0, sizeof(side->err));
	ret = backup_import(side->store, name, &pipe, &side->report, &side->err);
	/* It reads as much as there is, and not beyond; and says what is wrong. */
	assert_true(ret || from.at == from.size);
	assert_true(ret == 0 || side->err.what[0]);
	return ret;
}

void assert_takes(struct side *side, const struct tape *tape, const char *name)
{
	if (take(side, tape, name))
		fail_msg("%s", side->err.what);
}

void give(struct store *store, const struct root *root, const struct backup_have *have,
	  struct tape *out)
{
	const struct backup_have none = {0};
	const struct backup_pipe pipe = {.write = tape_write, .arg = out};
	struct backup_report report;
	struct error err = {0};

	if (backup_export(store, &root->id, have ? have : &none, &pipe, &report, &err))
		fail_msg("%s", err.what);
	assert_int_equal(report.bytes, out->size);
}

void give_since(struct store *store, const struct root *root, const struct root *since,
		struct tape *out)
{
	struct backup_have have = {0};

	assert_int_equal(backup_have_root(&have, store, since, NULL), 0);
	give(store, root, &have, out);
	backup_have_free(&have);
}

int problem_count(struct store *store)
{
	return store_check(store, true, NULL, NULL, NULL);
}

static int root_count_visit(void *arg, const struct root *root)
{
	(void)root;
	++*(unsigned *)arg;
	return 0;
}

void assert_empty(struct side *side)
{
	unsigned roots = 0;

	assert_int_equal(root_for_each(side->store, root_count_visit, NULL, &roots, NULL), 0);
	assert_int_equal(roots, 0);
	assert_int_equal(store_sweep(side->store, NULL, NULL), 0);
	assert_int_equal(sim_disk_count(side->disk, "layers"), 0);
	assert_int_equal(sim_disk_count(side->disk, "blobs"), 0);
	assert_int_equal(sim_disk_count(side->disk, "leases"), 0);
}

struct volume *disk_make(struct store *store)
{
	assert_int_equal(volume_create(store, "disk", DISK_SIZE, NULL, NULL), 0);
	return volume_of(store, "disk");
}

uint32_t root_get(struct store *store, const char *name, uint64_t block)
{
	struct volume *volume;
	struct root root;
	uint32_t value;

	assert_int_equal(root_find(store, name, &root, NULL), 0);
	assert_int_equal(volume_open_root(store, &root, 0, &volume, NULL), 0);
	value = volume_get(volume, block);
	volume_close(volume);
	root_clear(&root);
	return value;
}

void vm_make(struct store *store, struct root *root)
{
	uint8_t block[STORE_BLOCK];
	struct store_lease *lease;
	struct layer *layer;
	struct volume *volume = disk_make(store);

	volume_put(volume, 2, 22);
	assert_int_equal(volume_switch_prepare(volume, NULL), 0);
	assert_int_equal(volume_switch(volume, NULL), 0);
	assert_int_equal(volume_switch_finish(volume, NULL), 0);
	memset(root, 0, sizeof(*root));
	strcpy(root->name, "vm");
	strcpy(root->comment, "first line\nsecond");
	root->kind = ROOT_VM;
	root->time_ns = 17;
	assert_int_equal(root_add_snapshot(root, volume_manifest(volume), NULL), 0);
	assert_int_equal(volume_close(volume), 0);
	assert_int_equal(store_lease_open(store, &lease, NULL), 0);
	assert_int_equal(layer_create(store, lease, DISK_BLOCKS, &layer, NULL), 0);
	block_fill(block, 99);
	assert_int_equal(layer_write(layer, 9, 1, block, NULL), 0);
	assert_int_equal(layer_mark_zero(layer, 10, 4, NULL), 0);
	assert_int_equal(layer_seal(layer, NULL), 0);
	root->memory_size = DISK_SIZE;
	root->memory_layer_count = 1;
	root->memory_layers[0] = layer_info(layer)->id;
	layer_close(layer);
	root->has_device_state = true;
	assert_int_equal(blob_put(store, lease, "devices", 7, &root->device_state, NULL), 0);
	assert_int_equal(root_publish(store, root, NULL), 0);
	store_lease_close(lease);
}
