/* SPDX-License-Identifier: MIT */
/* See store_world.h. Sectors hold their value over and over; 0 is zeroes. */
#include "tests/store_world_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/layer.h"
#include "tests/random.h"
#include "vmm/base/bytes.h"

#define BASE_SECTORS 75u /* the image below is shorter than the volume */
#define BASE_VALUE   0x80000000u

#define WORLD_CHECK(w, condition)                                                                  \
	do {                                                                                       \
		if (!(condition))                                                                  \
			world_failed(w, #condition, __LINE__);                                     \
	} while (0)

static _Noreturn void world_failed(const struct world *w, const char *what, int line)
{
	fprintf(stderr, "store_world.c:%d: not so: %s (after: %s)\n", line, what, w->doing);
	abort();
}

static unsigned chance(struct world *w, unsigned n)
{
	return (unsigned)(random_step(&w->random) % n);
}

static const char *volume_name(unsigned i)
{
	static const char *const names[WORLD_VOLUMES] = {"alpha", "beta", "gamma"};

	return names[i];
}

static void sector_fill(uint8_t *to, uint32_t value)
{
	for (unsigned i = 0; i < VOLUME_SECTOR; i += 4)
		le32_put(to + i, value);
}

static uint32_t sector_value(struct world *w, const uint8_t *from)
{
	uint32_t value = le32_get(from);

	for (unsigned i = 0; i < VOLUME_SECTOR; i += 4)
		WORLD_CHECK(w, le32_get(from + i) == value);
	return value;
}

static uint32_t base_value(uint64_t sector)
{
	return sector < BASE_SECTORS ? BASE_VALUE + (uint32_t)sector : 0;
}

static int base_read(void *arg, uint64_t offset, void *bytes, size_t size)
{
	uint8_t sector[VOLUME_SECTOR], *to = bytes;

	(void)arg;
	while (size) {
		uint64_t at = offset % VOLUME_SECTOR, n = VOLUME_SECTOR - at;

		n = n < size ? n : size;
		sector_fill(sector, base_value(offset / VOLUME_SECTOR));
		memcpy(to, sector + at, n);
		to += n;
		offset += n;
		size -= n;
	}
	return 0;
}

/* The model of sectors. */

static void value_add(struct world_volume *v, uint64_t sector, uint32_t value)
{
	for (unsigned i = 0; i < v->value_count[sector]; i++)
		if (v->values[sector][i] == value)
			return;
	v->values[sector][v->value_count[sector]++] = value;
}

static void values_settle(struct world_volume *v)
{
	for (unsigned s = 0; s < WORLD_SECTORS; s++) {
		v->values[s][0] = v->value[s];
		v->value_count[s] = 1;
	}
}

static bool values_full(const struct world_volume *v)
{
	for (unsigned s = 0; s < WORLD_SECTORS; s++)
		if (v->value_count[s] + 2u > WORLD_VALUES)
			return true;
	return false;
}

bool world_done(struct world *w, int ret)
{
	/* What a process did after its death has no witness. */
	if (ret == 0 && !(w->disk && sim_disk_has_stopped(w->disk)))
		return true;
	WORLD_CHECK(w, w->disk && (sim_disk_has_stopped(w->disk) || sim_disk_has_failed(w->disk)));
	w->broken = true;
	return false;
}

/* Operations. */

void op_write(struct world *w, struct world_volume *v, bool zero)
{
	uint64_t first = chance(w, WORLD_SECTORS), count = 1 + chance(w, zero ? 40 : 20);
	uint8_t *bytes = malloc(count * VOLUME_SECTOR);
	int ret;

	w->doing = "write";
	if (first + count > WORLD_SECTORS)
		count = WORLD_SECTORS - first;
	for (uint64_t s = first; s < first + count; s++) {
		uint32_t value = zero ? 0 : ++w->next_value;

		v->other[s] = v->value[s];
		v->value[s] = value;
		value_add(v, s, value);
		sector_fill(bytes + (s - first) * VOLUME_SECTOR, value);
	}
	if (zero)
		ret = volume_zero(v->open, first * VOLUME_SECTOR, count * VOLUME_SECTOR,
				  chance(w, 2));
	else
		ret = volume_write(v->open, first * VOLUME_SECTOR, count * VOLUME_SECTOR, bytes);
	free(bytes);
	if (world_done(w, ret))
		memcpy(v->other, v->value, sizeof(v->other));
}

static bool op_flush(struct world *w, struct world_volume *v)
{
	w->doing = "flush";
	if (!world_done(w, volume_flush(v->open)))
		return false;
	values_settle(v);
	return true;
}

static void volume_compare(struct world *w, struct volume *volume, const uint32_t *value)
{
	static uint8_t bytes[WORLD_SIZE];
	int ret = volume_read(volume, 0, sizeof(bytes), bytes);

	if (!world_done(w, ret))
		return;
	for (unsigned s = 0; s < WORLD_SECTORS; s++)
		WORLD_CHECK(w, sector_value(w, bytes + s * VOLUME_SECTOR) == value[s]);
}

/* Some reads, of any size. */
static void op_read(struct world *w, struct world_volume *v)
{
	uint64_t first = chance(w, WORLD_SECTORS), count = 1 + chance(w, WORLD_SECTORS);
	uint8_t bytes[WORLD_SIZE];

	if (first + count > WORLD_SECTORS)
		count = WORLD_SECTORS - first;
	if (!world_done(w,
			volume_read(v->open, first * VOLUME_SECTOR, count * VOLUME_SECTOR, bytes)))
		return;
	for (uint64_t s = first; s < first + count; s++)
		WORLD_CHECK(w, sector_value(w, bytes + (s - first) * VOLUME_SECTOR) == v->value[s]);
}

static bool volume_reopen(struct world *w, unsigned i)
{
	struct world_volume *v = &w->volume[i];

	int ret = volume_open(w->store, volume_name(i), false, &v->open, NULL);

	if (ret)
		v->open = NULL;
	else
		volume_base_reader(v->open, base_read, NULL);
	return world_done(w, ret);
}

static bool volume_shut(struct world *w, unsigned i)
{
	struct world_volume *v = &w->volume[i];
	int ret = volume_close(v->open);

	v->open = NULL;
	if (!world_done(w, ret))
		return false;
	values_settle(v);
	return true;
}

void op_create(struct world *w, unsigned i)
{
	const struct volume_base base = {.path = "/base", .format = "raw"};
	struct world_volume *v = &w->volume[i];

	w->doing = "create";
	v->has_base = i == 1;
	v->is = WORLD_MAYBE;
	for (unsigned s = 0; s < WORLD_SECTORS; s++)
		v->value[s] = v->other[s] = v->has_base ? base_value(s) : 0;
	values_settle(v);
	if (!world_done(w, volume_create(w->store, volume_name(i), WORLD_SIZE,
					 v->has_base ? &base : NULL, NULL)))
		return;
	v->is = WORLD_THERE;
	volume_reopen(w, i);
}

/* Memory: some pages, some zeroes, as the machine writes them. */
static int memory_store(struct world *w, struct world_root *r, struct root *root,
			struct store_lease *lease)
{
	uint8_t page[STORE_BLOCK];
	struct layer *layer;
	int ret = layer_create(w->store, lease, WORLD_BLOCKS, &layer, NULL);

	if (ret)
		return ret;
	memset(r->memory, 0, sizeof(r->memory));
	for (unsigned i = 0; i < 5 && ret == 0; i++) {
		uint64_t block = chance(w, WORLD_BLOCKS);

		r->memory[block] = ++w->next_value;
		for (unsigned k = 0; k < STORE_BLOCK; k += VOLUME_SECTOR)
			sector_fill(page + k, r->memory[block]);
		ret = layer_write(layer, block, 1, page, NULL);
	}
	if (ret == 0)
		ret = layer_mark_zero(layer, 3, 2, NULL);
	r->memory[3] = r->memory[4] = 0;
	if (ret == 0)
		ret = layer_seal(layer, NULL);
	if (ret == 0) {
		root->memory_size = WORLD_BLOCKS * STORE_BLOCK;
		root->memory_layer_count = 1;
		root->memory_layers[0] = layer_info(layer)->id;
		r->has_memory = true;
	}
	layer_close(layer);
	if (ret == 0)
		ret = blob_put(w->store, lease, r->name, sizeof(r->name), &root->device_state,
			       NULL);
	root->has_device_state = true;
	return ret;
}

static int snapshot_publish(struct world *w, struct world_volume *v, struct world_root *r)
{
	struct store_lease *lease = NULL;
	struct root root = {.kind = ROOT_VM};
	int ret = store_lease_open(w->store, &lease, NULL);

	memcpy(root.name, r->name, sizeof(r->name));
	root.time_ns = ++w->next_value;
	if (ret == 0)
		ret = root_add_snapshot(&root, volume_manifest(v->open), NULL);
	if (ret == 0 && chance(w, 2))
		ret = memory_store(w, r, &root, lease);
	if (ret == 0 && chance(w, 3) == 0)
		ret = store_sweep(w->store, NULL, NULL);
	r->is = WORLD_MAYBE;
	if (ret == 0)
		ret = root_publish(w->store, &root, NULL);
	store_lease_close(lease);
	if (ret == 0) {
		r->is = WORLD_THERE;
		if (chance(w, 2))
			world_done(w, root_complete(w->store, &root.id, NULL));
	}
	root_clear(&root);
	return ret;
}

void op_sweep(struct world *w)
{
	w->doing = "sweep";
	world_done(w, store_sweep(w->store, NULL, NULL));
}

/* Of one volume, with writes and a flush before the switch is settled, as a guest does them. */
void op_snapshot(struct world *w, struct world_volume *v)
{
	struct world_root *r = NULL;

	for (unsigned i = 0; i < WORLD_ROOTS && !r; i++)
		if (w->root[i].is == WORLD_ABSENT)
			r = &w->root[i];
	if (!r)
		return;
	memset(r, 0, sizeof(*r));
	snprintf(r->name, sizeof(r->name), "root%u", w->next_root++);
	if (!world_done(w, volume_switch_prepare(v->open, NULL)))
		return;
	if (chance(w, 4) == 0) {
		volume_switch_abort(v->open);
		return;
	}
	op_write(w, v, false);
	if (!w->broken && chance(w, 3) == 0)
		op_sweep(w);
	memcpy(r->value, v->value, sizeof(r->value));
	r->has_base = v->has_base;
	if (w->broken || !world_done(w, volume_switch(v->open, NULL)))
		return;
	op_write(w, v, chance(w, 2));
	if (!w->broken && chance(w, 2))
		op_flush(w, v);
	if (!w->broken && chance(w, 3) == 0)
		op_sweep(w);
	if (w->broken || !world_done(w, volume_switch_finish(v->open, NULL)))
		return;
	op_write(w, v, false);
	if (!w->broken)
		world_done(w, snapshot_publish(w, v, r));
}

static struct world_root *root_pick(struct world *w)
{
	for (unsigned n = 0; n < 8; n++) {
		struct world_root *r = &w->root[chance(w, WORLD_ROOTS)];

		if (r->is == WORLD_THERE)
			return r;
	}
	return NULL;
}

/* Into a volume: one that is there goes back, else it is made. */
static void op_restore(struct world *w, unsigned i)
{
	struct world_volume *v = &w->volume[i];
	struct world_root *r = root_pick(w);
	bool clone = v->is == WORLD_ABSENT;
	struct root root;
	int ret;

	w->doing = "restore";
	if (!r)
		return;
	if (!clone && !volume_shut(w, i))
		return;
	ret = root_find(w->store, r->name, &root, NULL);
	if (ret) {
		world_done(w, ret);
		return;
	}
	if (clone) {
		v->is = WORLD_MAYBE;
		memcpy(v->value, r->value, sizeof(v->value));
		values_settle(v);
	}
	memcpy(v->other, r->value, sizeof(v->other));
	for (unsigned s = 0; s < WORLD_SECTORS; s++)
		value_add(v, s, r->value[s]);
	ret = clone ? volume_clone(w->store, volume_name(i), &root, 0, NULL)
		    : volume_restore(w->store, volume_name(i), &root, 0, NULL);
	root_clear(&root);
	if (!world_done(w, ret))
		return;
	v->is = WORLD_THERE;
	v->has_base = r->has_base;
	memcpy(v->value, r->value, sizeof(v->value));
	values_settle(v);
	volume_reopen(w, i);
}

void op_root_remove(struct world *w)
{
	struct world_root *r = root_pick(w);
	struct root root;
	int ret = r ? root_find(w->store, r->name, &root, NULL) : 0;

	w->doing = "root_remove";
	if (!r || ret) {
		world_done(w, ret);
		return;
	}
	r->is = WORLD_MAYBE;
	if (world_done(w, root_remove(w->store, &root.id, NULL)))
		r->is = WORLD_ABSENT;
	root_clear(&root);
}

void op_volume_remove(struct world *w, unsigned i)
{
	w->doing = "volume_remove";
	if (!volume_shut(w, i))
		return;
	w->volume[i].is = WORLD_MAYBE;
	if (world_done(w, volume_remove(w->store, volume_name(i), NULL)))
		w->volume[i].is = WORLD_ABSENT;
}

static void op_compact(struct world *w, unsigned i)
{
	w->doing = "compact";
	if (volume_shut(w, i) &&
	    world_done(w, volume_compact(w->store, volume_name(i), 2 + chance(w, 2), NULL)))
		volume_reopen(w, i);
}

static void volume_step(struct world *w, unsigned i, unsigned what)
{
	struct world_volume *v = &w->volume[i];

	if (v->is == WORLD_ABSENT) {
		if (chance(w, 2))
			op_create(w, i);
		else
			op_restore(w, i);
		return;
	}
	if (values_full(v) && !op_flush(w, v))
		return;
	if (what < 30)
		op_write(w, v, what >= 22);
	else if (what < 40)
		op_read(w, v);
	else if (what < 46)
		op_flush(w, v);
	else if (what < 54)
		op_snapshot(w, v);
	else if (what < 58)
		op_restore(w, i);
	else if (what == 58)
		op_volume_remove(w, i);
	else if (what < 62)
		op_compact(w, i);
	else if (volume_shut(w, i))
		volume_reopen(w, i);
}

void world_step(struct world *w)
{
	unsigned what = chance(w, 74);

	if (what < 64)
		volume_step(w, chance(w, WORLD_VOLUMES), what);
	else if (what < 66)
		op_root_remove(w);
	else if (what < 68)
		op_export(w, chance(w, WORLD_BACKUPS));
	else if (what < 70)
		op_import(w, chance(w, WORLD_BACKUPS));
	else
		op_sweep(w);
}

void world_script(struct world *w)
{
	static const uint8_t what[] = {0,  30, 0,  40, 22, 50, 0, 40, 63, 22, 50, 0,  70, 54,
				       22, 50, 71, 70, 60, 40, 0, 50, 54, 71, 70, 58, 70};

	op_create(w, 0);
	for (unsigned i = 0; i < sizeof(what) && !w->broken; i++) {
		if (what[i] == 70)
			op_sweep(w);
		else if (what[i] == 71)
			op_root_remove(w);
		else
			volume_step(w, i < 12 ? i % 2 : 0, what[i]);
	}
}

/* Processes. */

int world_begin(struct world *w)
{
	struct store_io *io = w->disk ? sim_disk_process(w->disk) : w->process(w->arg);

	w->broken = false;
	return store_open(io, &w->store, NULL);
}

void world_end(struct world *w)
{
	for (unsigned i = 0; i < WORLD_VOLUMES; i++) {
		struct world_volume *v = &w->volume[i];

		if (v->open && volume_close(v->open) == 0 && !w->broken)
			values_settle(v);
		v->open = NULL;
	}
	store_close(w->store);
	w->store = NULL;
}

/* Recovery. */

static void memory_compare(struct world *w, const struct world_root *r, const struct root *root)
{
	uint8_t page[STORE_BLOCK];
	struct stack *stack;
	int ret = stack_open(w->store, root->memory_layers, root->memory_layer_count, WORLD_BLOCKS,
			     &stack, NULL);

	if (ret) {
		world_done(w, ret);
		return;
	}
	for (unsigned i = 0; i < WORLD_BLOCKS && !w->broken; i++) {
		struct stack_run run;

		stack_lookup(stack, i, 1, &run);
		WORLD_CHECK(w, (run.kind == STACK_LAYER) == (r->memory[i] != 0));
		if (run.kind == STACK_LAYER &&
		    world_done(w, layer_read(run.layer, i, 1, page, NULL)))
			WORLD_CHECK(w, sector_value(w, page) == r->memory[i]);
	}
	stack_close(stack);
}

static void root_compare(struct world *w, const struct world_root *r, const struct root *root)
{
	struct volume *volume;
	void *blob = NULL;
	int ret = volume_open_root(w->store, root, 0, &volume, NULL);

	if (ret) {
		world_done(w, ret);
		return;
	}
	volume_base_reader(volume, base_read, NULL);
	volume_compare(w, volume, r->value);
	volume_close(volume);
	WORLD_CHECK(w, r->has_memory == (root->memory_size != 0));
	if (!r->has_memory || w->broken)
		return;
	memory_compare(w, r, root);
	if (!w->broken && world_done(w, blob_get(w->store, &root->device_state, &blob, NULL)))
		WORLD_CHECK(w, memcmp(blob, r->name, sizeof(r->name)) == 0);
	free(blob);
}

/* `settled`: what names there are is durable, so that it cannot change any more. */
static void root_recover(struct world *w, struct world_root *r, bool settled)
{
	struct root root;
	int ret = root_find(w->store, r->name, &root, NULL);

	if (ret == -ENOENT) {
		WORLD_CHECK(w, r->is != WORLD_THERE);
		if (settled)
			r->is = WORLD_ABSENT;
		return;
	}
	if (ret) {
		world_done(w, ret);
		return;
	}
	WORLD_CHECK(w, r->is != WORLD_ABSENT);
	if (settled)
		r->is = WORLD_THERE;
	root_compare(w, r, &root);
	root_clear(&root);
}

/* Each sector is what it was, or what it may have become. */
static void volume_recover(struct world *w, unsigned i, bool lost)
{
	struct world_volume *v = &w->volume[i];
	struct volume_manifest m;
	uint8_t bytes[WORLD_SIZE];
	int ret = volume_find(w->store, volume_name(i), &m, NULL);

	if (ret == -ENOENT) {
		WORLD_CHECK(w, v->is != WORLD_THERE);
		return;
	}
	if (!world_done(w, ret) || !volume_reopen(w, i))
		return;
	WORLD_CHECK(w, v->is != WORLD_ABSENT);
	v->has_base = m.base.path[0];
	if (!world_done(w, volume_read(v->open, 0, sizeof(bytes), bytes)))
		return;
	for (unsigned s = 0; s < WORLD_SECTORS; s++) {
		uint32_t value = sector_value(w, bytes + s * VOLUME_SECTOR);
		bool known = !lost && (value == v->value[s] || value == v->other[s]);

		for (unsigned k = 0; k < v->value_count[s] && lost; k++)
			known |= v->values[s][k] == value;
		if (!known)
			fprintf(stderr, "%s: sector %u is %x, not %x\n", volume_name(i), s, value,
				v->value[s]);
		WORLD_CHECK(w, known);
		v->value[s] = v->other[s] = value;
	}
	if (op_flush(w, v))
		v->is = WORLD_THERE;
}

/* After a sweep, which syncs names. */
static void volume_settle_absent(struct world_volume *v)
{
	if (v->is == WORLD_MAYBE)
		v->is = WORLD_ABSENT;
}

static void report(void *arg, const struct error *problem)
{
	const struct world *w = arg;

	if (!w->disk || !sim_disk_has_stopped(w->disk))
		fprintf(stderr, "check: %s\n", problem->what);
}

static void store_recover(struct world *w)
{
	int ret = store_check(w->store, true, report, w, NULL);

	/* A disk that stopped in the middle has problems, but not of this kind. */
	WORLD_CHECK(w, ret <= 0 || (w->disk && sim_disk_has_stopped(w->disk)));
	world_done(w, ret);
}

bool world_recover(struct world *w, bool lost)
{
	if (!world_done(w, world_begin(w))) {
		w->store = NULL;
		return false;
	}
	store_recover(w);
	for (unsigned i = 0; i < WORLD_VOLUMES && !w->broken; i++)
		volume_recover(w, i, lost);
	/* With volumes open, so that what they are is known; twice, so that nothing reachable goes:
	 * the sweep, which also syncs the names of roots, is in between. */
	for (unsigned n = 0; n < 2 && !w->broken; n++) {
		for (unsigned i = 0; i < WORLD_ROOTS && !w->broken; i++)
			if (w->root[i].name[0])
				root_recover(w, &w->root[i], n == 1);
		if (!w->broken && n == 0)
			op_sweep(w);
	}
	for (unsigned i = 0; i < WORLD_VOLUMES && !w->broken; i++)
		volume_settle_absent(&w->volume[i]);
	if (!w->broken)
		store_recover(w);
	return !w->broken;
}

struct world *world_create(uint64_t seed, struct sim_disk *disk,
			   struct store_io *(*process)(void *arg), void *arg)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		abort();
	w->random = seed;
	w->disk = disk;
	w->process = process;
	w->arg = arg;
	w->doing = "nothing";
	return w;
}

void world_destroy(struct world *w)
{
	if (w->store)
		world_end(w);
	for (unsigned i = 0; i < WORLD_BACKUPS; i++)
		free(w->backup[i].bytes);
	free(w);
}
