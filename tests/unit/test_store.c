/* SPDX-License-Identifier: MIT */
/* The store: against a model with many seeds, and case by case on this host's files. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/random.h"
#include "tests/store_world.h"
#include "tests/unit/store_fixture.h"
#include "vmm/base/log.h"

#define SEEDS 40u
#define STEPS 120u

/* The model. */

static void model_simulated(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct sim_disk *disk = sim_disk_create(seed);
		struct world *w = world_create(seed, disk, NULL, NULL);

		assert_int_equal(world_begin(w), 0);
		w->doing = "steps";
		for (unsigned i = 0; i < STEPS; i++)
			world_step(w);
		world_end(w);
		assert_true(world_recover(w, false));
		world_end(w);
		sim_disk_power_cycle(disk, SIM_NOTHING);
		assert_true(world_recover(w, true));
		world_destroy(w);
		sim_disk_destroy(disk);
	}
}

static struct store_io *process_on_host(void *arg)
{
	const struct store_fixture *f = arg;
	struct store_io *io;
	char path[96];

	snprintf(path, sizeof(path), "%s/model", f->directory);
	assert_int_equal(store_io_posix(path, f->run, &io, NULL), 0);
	return io;
}

static void model_on_host(void **state)
{
	struct world *w = world_create(99, NULL, process_on_host, *state);

	assert_int_equal(world_begin(w), 0);
	for (unsigned i = 0; i < 2 * STEPS; i++)
		world_step(w);
	world_end(w);
	assert_true(world_recover(w, false));
	world_destroy(w);
}

/* Volumes. */

static void names_and_sizes(void **state)
{
	struct store_fixture *f = *state;
	const struct volume_base relative = {.path = "image", .format = "raw"};
	const struct volume_base escape = {.path = "/a\033b", .format = "raw"};
	struct volume_manifest m;

	assert_int_equal(volume_create(f->store, "../x", MIB, NULL, NULL), -EINVAL);
	assert_int_equal(volume_create(f->store, "", MIB, NULL, NULL), -EINVAL);
	assert_int_equal(volume_create(f->store, "a", 0, NULL, NULL), -EINVAL);
	assert_int_equal(volume_create(f->store, "a", MIB + 1, NULL, NULL), -EINVAL);
	assert_int_equal(volume_create(f->store, "a", UINT64_MAX - 511, NULL, NULL), -EINVAL);
	assert_int_equal(volume_create(f->store, "a", MIB, &relative, NULL), -EINVAL);
	assert_int_equal(volume_create(f->store, "a", MIB, &escape, NULL), -EINVAL);
	assert_int_equal(volume_find(f->store, "a", &m, NULL), -ENOENT);
	assert_int_equal(volume_create(f->store, "a", MIB, NULL, NULL), 0);
	assert_int_equal(volume_create(f->store, "a", MIB, NULL, NULL), -EEXIST);
	assert_int_equal(volume_find(f->store, "a", &m, NULL), 0);
	assert_int_equal(m.size, MIB);
	assert_int_equal(m.layer_count, 1);
	assert_int_equal(volume_remove(f->store, "a", NULL), 0);
	assert_int_equal(volume_remove(f->store, "a", NULL), -ENOENT);
}

static void one_writer(void **state)
{
	struct store_fixture *f = *state;
	struct store *other = store_fixture_open(f, f->run);
	struct volume *volume, *second;
	struct root root;

	assert_int_equal(volume_create(f->store, "a", MIB, NULL, NULL), 0);
	volume = volume_of(f->store, "a");
	snapshot_take(f->store, volume, "s", &root);
	assert_int_equal(volume_open(other, "a", false, &second, NULL), -EBUSY);
	assert_int_equal(volume_open(other, "a", true, &second, NULL), -EBUSY);
	assert_int_equal(volume_remove(other, "a", NULL), -EBUSY);
	assert_int_equal(volume_restore(other, "a", &root, 0, NULL), -EBUSY);
	assert_int_equal(volume_resize(other, "a", 2 * MIB, NULL), -EBUSY);
	assert_int_equal(volume_close(volume), 0);
	assert_int_equal(volume_open(f->store, "a", true, &volume, NULL), 0);
	assert_int_equal(volume_open(other, "a", true, &second, NULL), 0);
	assert_int_equal(volume_write(second, 0, 4, "fail"), -EROFS);
	volume_close(second);
	assert_int_equal(volume_open(other, "a", false, &second, NULL), -EBUSY);
	volume_close(volume);
	root_clear(&root);
	store_close(other);
}

static void ranges_are_checked(void **state)
{
	struct store_fixture *f = *state;
	uint8_t bytes[STORE_BLOCK] = {0};
	struct volume *volume;

	assert_int_equal(volume_create(f->store, "a", 10240, NULL, NULL), 0);
	volume = volume_of(f->store, "a");
	assert_int_equal(volume_write(volume, 10240, 512, bytes), -EINVAL);
	assert_int_equal(volume_write(volume, UINT64_MAX - 100, 512, bytes), -EINVAL);
	assert_int_equal(volume_read(volume, 9000, 2000, bytes), -EINVAL);
	assert_int_equal(volume_zero(volume, 512, UINT64_MAX, false), -EINVAL);
	assert_int_equal(volume_write_partial(volume, 4000, 200, bytes), -EINVAL);
	assert_int_equal(volume_write(volume, 9728, 512, bytes), 0);
	assert_int_equal(volume_close(volume), 0);
}

/* A hypervisor that is killed with writes that nobody flushed: all are there. */
static void killed_without_loss(void **state)
{
	struct store_fixture *f = *state;
	struct volume *volume;
	struct root root;
	int status, ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(volume_create(f->store, "a", 256 * MIB, NULL, NULL), 0);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		volume = volume_of(f->store, "a");
		for (uint32_t i = 0; i < 50; i++)
			volume_put(volume, i * 1300, i + 1);
		snapshot_take(f->store, volume, "s", &root);
		if (volume_switch_prepare(volume, NULL) || volume_switch(volume, NULL))
			_exit(1);
		for (uint32_t i = 0; i < 25; i++)
			volume_put(volume, i * 1300, i + 1001);
		/* And one that is between switch and finish. */
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		pause();
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(ready[0]);
	close(ready[1]);
	volume = volume_of(f->store, "a");
	for (uint32_t i = 0; i < 50; i++)
		assert_int_equal(volume_get(volume, i * 1300), i < 25 ? i + 1001 : i + 1);
	assert_int_equal(volume_get(volume, 1), 0);
	assert_int_equal(volume_close(volume), 0);
	/* Nothing is left in the runtime directory. */
	assert_int_equal(rmdir(f->run), 0);
}

/* What was left in one runtime directory is not believed after another process wrote without it. */
static void stale_runtime_file(void **state)
{
	struct store_fixture *f = *state;
	struct store *other = store_fixture_open(f, NULL);
	struct volume *volume;
	int status;
	pid_t pid;

	assert_int_equal(volume_create(f->store, "a", MIB, NULL, NULL), 0);
	pid = fork();
	if (pid == 0) {
		volume = volume_of(f->store, "a");
		volume_put(volume, 1, 1);
		if (volume_flush(volume))
			_exit(1);
		_exit(0); /* without closing it */
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	volume = volume_of(other, "a");
	volume_put(volume, 2, 2);
	assert_int_equal(volume_zero(volume, STORE_BLOCK, STORE_BLOCK, false), 0);
	assert_int_equal(volume_close(volume), 0);
	volume = volume_of(f->store, "a");
	assert_int_equal(volume_get(volume, 1), 0);
	assert_int_equal(volume_get(volume, 2), 2);
	assert_int_equal(volume_close(volume), 0);
	store_close(other);
}

/* Acknowledged flushes of several threads, without the runtime file: the durable map has it all. */

#define WRITERS     4u
#define PER_WRITER  600u
#define THREAD_STEP 37u

struct writer {
	struct volume *volume;
	unsigned number;
};

static void *writer_run(void *arg)
{
	const struct writer *w = arg;

	for (uint32_t i = 0; i < PER_WRITER; i++) {
		volume_put(w->volume, ((uint64_t)i * WRITERS + w->number) * THREAD_STEP,
			   i * WRITERS + w->number + 1);
		if (i % 50 == 49 || i == PER_WRITER - 1)
			assert_int_equal(volume_flush(w->volume), 0);
	}
	return NULL;
}

static void flushes_of_threads(void **state)
{
	struct store_fixture *f = *state;
	struct store *other;
	pthread_t thread[WRITERS];
	struct writer writer[WRITERS];
	struct volume *volume;
	int status;
	pid_t pid;

	assert_int_equal(volume_create(f->store, "a", GIB, NULL, NULL), 0);
	pid = fork();
	if (pid == 0) {
		volume = volume_of(f->store, "a");
		for (unsigned i = 0; i < WRITERS; i++) {
			writer[i] = (struct writer){volume, i};
			pthread_create(&thread[i], NULL, writer_run, &writer[i]);
		}
		for (unsigned i = 0; i < WRITERS; i++)
			pthread_join(thread[i], NULL);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	other = store_fixture_open(f, NULL);
	volume = volume_of(other, "a");
	for (uint32_t i = 0; i < WRITERS * PER_WRITER; i++)
		assert_int_equal(volume_get(volume, (uint64_t)i * THREAD_STEP), i + 1);
	assert_int_equal(volume_close(volume), 0);
	store_close(other);
}

/* Parts of one new block from several threads: none is lost. */
static void *part_run(void *arg)
{
	const struct writer *w = arg;

	for (unsigned block = 0; block < 64; block++) {
		uint64_t offset = (uint64_t)block * STORE_BLOCK + w->number * VOLUME_SECTOR;
		uint8_t bytes[VOLUME_SECTOR];

		memset(bytes, (int)w->number + 1, sizeof(bytes));
		assert_int_equal(volume_write(w->volume, offset, sizeof(bytes), bytes), 0);
	}
	return NULL;
}

static void parts_of_a_block(void **state)
{
	struct store_fixture *f = *state;
	uint8_t bytes[STORE_BLOCK];
	pthread_t thread[8];
	struct writer writer[8];
	struct volume *volume;

	assert_int_equal(volume_create(f->store, "a", MIB, NULL, NULL), 0);
	volume = volume_of(f->store, "a");
	for (unsigned i = 0; i < 8; i++) {
		writer[i] = (struct writer){volume, i};
		assert_int_equal(pthread_create(&thread[i], NULL, part_run, &writer[i]), 0);
	}
	for (unsigned i = 0; i < 8; i++)
		pthread_join(thread[i], NULL);
	for (unsigned block = 0; block < 64; block++) {
		assert_int_equal(
			volume_read(volume, (uint64_t)block * STORE_BLOCK, STORE_BLOCK, bytes), 0);
		for (unsigned i = 0; i < STORE_BLOCK; i++)
			assert_int_equal(bytes[i], i / VOLUME_SECTOR + 1);
	}
	assert_int_equal(volume_close(volume), 0);
}

static void depth_and_compaction(void **state)
{
	struct store_fixture *f = *state;
	struct volume_manifest m;
	struct volume *volume;
	struct error err = {0};

	assert_int_equal(volume_create(f->store, "a", MIB, NULL, NULL), 0);
	volume = volume_of(f->store, "a");
	for (uint32_t i = 0; i + 1 < STORE_LAYERS_MAX; i++) {
		volume_put(volume, i % 200, i + 1);
		assert_int_equal(volume_switch_prepare(volume, NULL), 0);
		assert_int_equal(volume_switch(volume, NULL), 0);
		assert_int_equal(volume_switch_finish(volume, NULL), 0);
	}
	assert_int_equal(volume_switch_prepare(volume, &err), -EMFILE);
	assert_int_equal(volume_get(volume, 100), 101);
	assert_int_equal(volume_get(volume, 10), 211);
	assert_int_equal(volume_close(volume), 0);
	assert_int_equal(volume_compact(f->store, "a", 10, NULL), 0);
	assert_int_equal(volume_find(f->store, "a", &m, NULL), 0);
	assert_int_equal(m.layer_count, 10);
	volume = volume_of(f->store, "a");
	for (uint32_t i = 0; i < 200; i++)
		assert_int_equal(volume_get(volume, i),
				 i + 201 < STORE_LAYERS_MAX ? i + 201 : i + 1);
	assert_int_equal(volume_switch_prepare(volume, NULL), 0);
	assert_int_equal(volume_close(volume), 0);
	assert_int_equal(store_check(f->store, true, NULL, NULL, NULL), 0);
}

static void grows(void **state)
{
	struct store_fixture *f = *state;
	struct volume *volume;

	assert_int_equal(volume_create(f->store, "a", MIB - 512, NULL, NULL), 0);
	volume = volume_of(f->store, "a");
	volume_put(volume, 7, 7);
	assert_int_equal(volume_close(volume), 0);
	assert_int_equal(volume_resize(f->store, "a", 512, NULL), -EINVAL);
	assert_int_equal(volume_resize(f->store, "a", 3 * MIB, NULL), 0);
	volume = volume_of(f->store, "a");
	assert_int_equal(volume_manifest(volume)->size, 3 * MIB);
	assert_int_equal(volume_get(volume, 7), 7);
	assert_int_equal(volume_get(volume, 700), 0);
	volume_put(volume, 767, 5);
	assert_int_equal(volume_get(volume, 767), 5);
	assert_int_equal(volume_close(volume), 0);
}

/* A flush that finds no room for the map fails, loses nothing, and is made up for. */
static void full_disk_loses_nothing(void **state)
{
	unsigned kept = 0;

	(void)state;
	for (unsigned call = 0; call < 20; call++) {
		struct sim_disk *disk = sim_disk_create(call);
		struct store *store;
		struct volume *volume;
		int ret;

		assert_int_equal(store_open(sim_disk_process(disk), &store, NULL), 0);
		assert_int_equal(volume_create(store, "a", 65536, NULL, NULL), 0);
		volume = volume_of(store, "a");
		assert_int_equal(volume_flush(volume), 0);
		volume_put(volume, 5, 55);
		sim_disk_fail_at(disk, call, SIM_FAULT_ENOSPC);
		ret = volume_flush(volume);
		if (ret && volume_writable(volume) == 0) {
			sim_disk_fail_at(disk, call, SIM_FAULT_ENOSPC);
			assert_int_equal(volume_close(volume), -ENOSPC);
			volume = volume_of(store, "a");
			assert_int_equal(volume_get(volume, 5), 55);
			assert_int_equal(volume_flush(volume), 0);
			kept++;
		} else if (ret) {
			/* A sync: it is not asked again. */
			assert_int_equal(volume_flush(volume), -EIO);
			assert_int_equal(volume_write(volume, 0, 1, "x"), -EIO);
			assert_int_equal(volume_switch_prepare(volume, NULL), -EIO);
		}
		volume_close(volume);
		store_close(store);
		sim_disk_destroy(disk);
	}
	assert_int_equal(kept, 1);
}

/*
 * After a failed sync the runtime file is not believed: it would tell of a block whose data is in
 * the page cache only, and the next flush would make that durable without the data.
 */
static void failed_sync_is_not_believed(void **state)
{
	struct sim_disk *disk = sim_disk_create(1);
	struct store *store;
	struct volume *volume;

	(void)state;
	assert_int_equal(store_open(sim_disk_process(disk), &store, NULL), 0);
	assert_int_equal(volume_create(store, "a", 65536, NULL, NULL), 0);
	volume = volume_of(store, "a");
	volume_put(volume, 5, 11);
	assert_int_equal(volume_switch_prepare(volume, NULL), 0);
	assert_int_equal(volume_switch(volume, NULL), 0);
	assert_int_equal(volume_switch_finish(volume, NULL), 0);
	volume_put(volume, 5, 55);
	sim_disk_fail_at(disk, 0, SIM_FAULT_EIO);
	assert_int_equal(volume_flush(volume), -EIO);
	assert_int_equal(volume_flush(volume), -EIO);
	/* It dies before it could clear up. */
	sim_disk_stop_at(disk, 0);
	assert_int_equal(store_sweep(store, NULL, NULL), -EIO);
	volume_close(volume);
	store_close(store);
	sim_disk_revive(disk);
	assert_int_equal(store_open(sim_disk_process(disk), &store, NULL), 0);
	volume = volume_of(store, "a");
	assert_int_equal(volume_get(volume, 5), 11);
	assert_int_equal(volume_close(volume), 0);
	store_close(store);
	sim_disk_power_cycle(disk, SIM_NOTHING);
	assert_int_equal(store_open(sim_disk_process(disk), &store, NULL), 0);
	volume = volume_of(store, "a");
	assert_int_equal(volume_get(volume, 5), 11);
	assert_int_equal(volume_close(volume), 0);
	store_close(store);
	sim_disk_destroy(disk);
}

/* An open that fails leaves what a killed process left to the next. */
static void failed_open_loses_nothing(void **state)
{
	unsigned failures = 0;

	(void)state;
	for (unsigned call = 0; call < 60; call++) {
		struct sim_disk *disk = sim_disk_create(call);
		struct store *store;
		struct volume *volume;

		assert_int_equal(store_open(sim_disk_process(disk), &store, NULL), 0);
		assert_int_equal(volume_create(store, "a", 65536, NULL, NULL), 0);
		volume = volume_of(store, "a");
		volume_put(volume, 5, 55);
		sim_disk_stop_at(disk, 0);
		assert_int_equal(volume_close(volume), -EIO);
		store_close(store);
		sim_disk_revive(disk);
		assert_int_equal(store_open(sim_disk_process(disk), &store, NULL), 0);
		sim_disk_fail_at(disk, call, SIM_FAULT_EIO);
		if (volume_open(store, "a", false, &volume, NULL)) {
			failures++;
			volume = volume_of(store, "a");
		}
		sim_disk_fail_at(disk, 0, SIM_FAULT_NONE);
		assert_int_equal(volume_get(volume, 5), 55);
		volume_close(volume);
		store_close(store);
		sim_disk_destroy(disk);
	}
	assert_true(failures > 10);
}

/* Layers and roots. */

static void damage_is_found(void **state)
{
	struct store_fixture *f = *state;
	char path[200], id[STORE_ID_TEXT];
	struct volume *volume;
	struct error err = {0};
	struct root root;
	uint8_t byte;
	int fd;

	assert_int_equal(volume_create(f->store, "a", MIB, NULL, NULL), 0);
	volume = volume_of(f->store, "a");
	for (uint32_t i = 0; i < 100; i++)
		volume_put(volume, 2 * i, i);
	snapshot_take(f->store, volume, "s", &root);
	assert_int_equal(root_verify(f->store, &root.id, NULL), -ENODATA);
	assert_int_equal(root_complete(f->store, &root.id, NULL), 0);
	assert_int_equal(root_verify(f->store, &root.id, NULL), 0);
	assert_int_equal(store_check(f->store, true, NULL, NULL, NULL), 0);
	store_id_text(&root.volumes[0].layers[0], id);
	snprintf(path, sizeof(path), "%s/layers/%s.data", f->data, id);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, 60 * STORE_BLOCK + 99), 1);
	byte ^= 4;
	assert_int_equal(pwrite(fd, &byte, 1, 60 * STORE_BLOCK + 99), 1);
	close(fd);
	assert_int_equal(root_verify(f->store, &root.id, &err), -EBADMSG);
	assert_non_null(strstr(err.what, "block 60 "));
	assert_int_equal(store_check(f->store, false, NULL, NULL, NULL), 0);
	/* Of the volume and of the snapshot. */
	assert_int_equal(store_check(f->store, true, NULL, NULL, NULL), 2);
	/* In the map: found by whoever opens it. */
	snprintf(path, sizeof(path), "%s/layers/%s.map", f->data, id);
	fd = open(path, O_RDWR);
	assert_int_equal(pwrite(fd, "\x11", 1, 4096), 1);
	assert_int_equal(pwrite(fd, "\x14", 1, 4097), 1);
	close(fd);
	assert_true(store_check(f->store, false, NULL, NULL, NULL) > 0);
	assert_int_equal(volume_close(volume), 0);
	assert_int_equal(volume_open(f->store, "a", false, &volume, NULL), -EBADMSG);
	root_clear(&root);
}

static void scrub_resumes(void **state)
{
	struct store_fixture *f = *state;
	struct volume *volume;
	struct layer *layer;
	struct root root;
	uint64_t next = 0, rounds = 0;

	assert_int_equal(volume_create(f->store, "a", MIB, NULL, NULL), 0);
	volume = volume_of(f->store, "a");
	for (uint32_t i = 0; i < 50; i++)
		volume_put(volume, 3 * i, i);
	snapshot_take(f->store, volume, "s", &root);
	assert_int_equal(root_complete(f->store, &root.id, NULL), 0);
	assert_int_equal(layer_open(f->store, &root.volumes[0].layers[0], &layer, NULL), 0);
	while (next < layer_info(layer)->blocks) {
		assert_int_equal(layer_scrub(layer, &next, 7, NULL), 0);
		rounds++;
	}
	assert_int_equal(rounds, 8);
	layer_close(layer);
	volume_close(volume);
	root_clear(&root);
}

static void layers_are_immutable(void **state)
{
	struct store_fixture *f = *state;
	uint8_t page[STORE_BLOCK] = {1};
	struct store_lease *lease;
	struct layer *layer;
	struct store_id id;

	assert_int_equal(store_lease_open(f->store, &lease, NULL), 0);
	assert_int_equal(layer_create(f->store, lease, 0, &layer, NULL), -EINVAL);
	assert_int_equal(layer_create(f->store, lease, 16, &layer, NULL), 0);
	assert_int_equal(layer_write(layer, 16, 1, page, NULL), -ERANGE);
	assert_int_equal(layer_mark_zero(layer, 1, UINT64_MAX, NULL), -ERANGE);
	assert_int_equal(layer_write(layer, 15, 1, page, NULL), 0);
	assert_int_equal(layer_seal(layer, NULL), 0);
	assert_int_equal(layer_write(layer, 3, 1, page, NULL), -EROFS);
	id = layer_info(layer)->id;
	assert_int_equal(layer_info(layer)->data_blocks, 1);
	layer_close(layer);
	assert_int_equal(layer_open(f->store, &id, &layer, NULL), 0);
	assert_int_equal(layer_write(layer, 3, 1, page, NULL), -EROFS);
	assert_int_equal(layer_seal(layer, NULL), -EROFS);
	layer_close(layer);
	/* One that is not sealed goes with its writer. */
	assert_int_equal(layer_create(f->store, lease, 16, &layer, NULL), 0);
	id = layer_info(layer)->id;
	layer_close(layer);
	assert_int_equal(layer_open(f->store, &id, &layer, NULL), -ENOENT);
	store_lease_close(lease);
}

static void roots_are_found(void **state)
{
	struct store_fixture *f = *state;
	char id[STORE_ID_TEXT];
	struct volume *volume;
	struct root root, found, second;

	assert_int_equal(volume_create(f->store, "a", MIB, NULL, NULL), 0);
	volume = volume_of(f->store, "a");
	snapshot_take(f->store, volume, "first", &root);
	root.config = json_object_new_object();
	store_id_text(&root.id, id);
	assert_int_equal(root_find(f->store, "first", &found, NULL), 0);
	assert_true(store_id_equal(&found.id, &root.id));
	assert_int_equal(found.volumes[0].layer_count, 1);
	root_clear(&found);
	id[6] = 0;
	assert_int_equal(root_find(f->store, id, &found, NULL), 0);
	root_clear(&found);
	id[3] = 0;
	assert_int_equal(root_find(f->store, id, &found, NULL), -ENOENT);
	assert_int_equal(root_find(f->store, "nothing", &found, NULL), -ENOENT);
	memset(&second, 0, sizeof(second));
	strcpy(second.name, "first");
	assert_int_equal(root_publish(f->store, &second, NULL), -EEXIST);
	strcpy(second.name, "../x");
	assert_int_equal(root_publish(f->store, &second, NULL), -EINVAL);
	strcpy(second.name, "second");
	strcpy(second.comment, "\033[2J");
	assert_int_equal(root_publish(f->store, &second, NULL), -EINVAL);
	/* A head is no layer yet. */
	second.comment[0] = 0;
	assert_non_null(root_add_volume(&second));
	strcpy(second.volumes[0].name, "a");
	second.volumes[0].size = MIB;
	second.volumes[0].layer_count = 1;
	second.volumes[0].layers[0] = volume_manifest(volume)->layers[0];
	assert_int_equal(root_publish(f->store, &second, NULL), -EBUSY);
	second.volumes[0].layers[0].bytes[0] ^= 1;
	assert_int_equal(root_publish(f->store, &second, NULL), -ENOENT);
	root_clear(&second);
	root_clear(&root);
	assert_int_equal(volume_close(volume), 0);
}

/* Snapshots, images and hibernated guests of one name; and whose snapshot stays. */
static void roots_of_each_kind(void **state)
{
	static const enum root_kind kinds[] = {ROOT_IMAGE, ROOT_HIBERNATION};
	struct store_fixture *f = *state;
	struct error err = {0};
	struct volume *volume;
	struct root root, found, again;
	struct store_id id;

	assert_int_equal(volume_create(f->store, "a", MIB, NULL, NULL), 0);
	volume = volume_of(f->store, "a");
	snapshot_take(f->store, volume, "web", &root);
	for (unsigned i = 0; i < 2; i++) {
		struct root other = root;

		memset(&other.id, 0, sizeof(other.id));
		other.kind = kinds[i];
		other.has_parent = true;
		other.parent = root.id;
		assert_int_equal(root_publish(f->store, &other, NULL), 0);
		again = other;
		memset(&again.id, 0, sizeof(again.id));
		assert_int_equal(root_publish(f->store, &again, NULL), -EEXIST);
		assert_int_equal(root_find_kind(f->store, kinds[i], "web", &found, NULL), 0);
		assert_int_equal(found.kind, kinds[i]);
		assert_true(store_id_equal(&found.parent, &root.id));
		assert_false(root_is_snapshot(&found));
		assert_true(root_as_parent(&found, &id));
		assert_true(store_id_equal(&id, i ? &root.id : &other.id));
		root_clear(&found);
		assert_int_equal(root_find_kind(f->store, kinds[i], "other", &found, &err),
				 -ENOENT);
		assert_non_null(strstr(err.what, i ? "hibernated guest 'other'" : "image 'other'"));
		err = (struct error){0};
	}
	assert_int_equal(root_find(f->store, "web", &found, NULL), 0);
	assert_true(root_is_snapshot(&found));
	root_clear(&found);
	assert_int_equal(root_remove(f->store, &root.id, &err), -EBUSY);
	assert_string_equal(err.what, "snapshot 'web': image 'web' is made of it");
	assert_int_equal(root_find_kind(f->store, ROOT_IMAGE, "web", &found, NULL), 0);
	assert_int_equal(root_remove(f->store, &found.id, NULL), 0);
	root_clear(&found);
	/* A hibernation does not hold it. */
	assert_int_equal(root_remove(f->store, &root.id, NULL), 0);
	assert_int_equal(root_find_kind(f->store, ROOT_HIBERNATION, "web", &found, NULL), 0);
	assert_int_equal(volume_close(volume), 0);
	/* What goes on from it stands on what it stood on, which is gone. */
	assert_int_equal(volume_restore(f->store, "a", &found, 0, NULL), 0);
	volume = volume_of(f->store, "a");
	assert_true(store_id_equal(&volume_manifest(volume)->parent, &root.id));
	assert_int_equal(volume_close(volume), 0);
	root_clear(&found);
	root_clear(&root);
}

static int changed_add(void *arg, uint64_t first, uint64_t count)
{
	uint64_t *sum = arg;

	sum[0] += count;
	sum[1] = sum[1] * 31 + first;
	return 0;
}

static void usage_and_difference(void **state)
{
	struct store_fixture *f = *state;
	uint64_t changed[2] = {0};
	struct root_usage usage;
	struct store_swept swept;
	struct volume *volume;
	struct root one, two;

	assert_int_equal(volume_create(f->store, "a", 256 * MIB, NULL, NULL), 0);
	volume = volume_of(f->store, "a");
	for (uint32_t i = 0; i < 64; i++)
		volume_put(volume, 1000 * i, i + 1);
	snapshot_take(f->store, volume, "one", &one);
	volume_put(volume, 5, 1);
	volume_put(volume, 6, 1);
	assert_int_equal(volume_zero(volume, 1000 * STORE_BLOCK, STORE_BLOCK, true), 0);
	snapshot_take(f->store, volume, "two", &two);
	assert_int_equal(root_diff(f->store, one.volumes[0].layers, one.volumes[0].layer_count,
				   two.volumes[0].layers, two.volumes[0].layer_count, changed_add,
				   changed, NULL),
			 0);
	assert_int_equal(changed[0], 3);
	assert_int_equal(changed[1], 5 * 31 + 1000);
	assert_int_equal(root_usage(f->store, &one, &usage, NULL), 0);
	assert_true(usage.stored >= 64ull * STORE_BLOCK);
	assert_int_equal(usage.exclusive, 0);
	assert_int_equal(volume_close(volume), 0);
	assert_int_equal(volume_remove(f->store, "a", NULL), 0);
	assert_int_equal(root_remove(f->store, &one.id, NULL), 0);
	assert_int_equal(root_usage(f->store, &two, &usage, NULL), 0);
	assert_int_equal(usage.exclusive, usage.stored);
	assert_int_equal(store_sweep(f->store, &swept, NULL), 0);
	assert_int_equal(swept.files, 2); /* the head */
	assert_int_equal(root_remove(f->store, &two.id, NULL), 0);
	assert_int_equal(store_sweep(f->store, &swept, NULL), 0);
	assert_int_equal(swept.files, 4);
	assert_true(swept.bytes >= 66ull * STORE_BLOCK);
	assert_int_equal(store_sweep(f->store, &swept, NULL), 0);
	assert_int_equal(swept.files, 0);
	root_clear(&one);
	root_clear(&two);
}

/* A layer that only this process's lease names, until it is killed. */
_Noreturn static void lease_and_wait(const struct store_fixture *f, int ready)
{
	struct store *store = store_fixture_open(f, f->run);
	uint8_t page[STORE_BLOCK] = {1};
	struct store_lease *lease;
	struct layer *layer;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (store_lease_open(store, &lease, NULL) || layer_create(store, lease, 16, &layer, NULL) ||
	    layer_write(layer, 3, 1, page, NULL) || layer_seal(layer, NULL))
		_exit(1);
	layer_close(layer);
	if (write(ready, "", 1) != 1)
		_exit(2);
	for (;;)
		pause();
}

static void leases_end_with_their_process(void **state)
{
	struct store_fixture *f = *state;
	struct store_swept swept;
	char leases[96];
	int ready[2];
	pid_t child;
	char byte;

	assert_int_equal(pipe(ready), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		lease_and_wait(f, ready[1]);
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	assert_int_equal(store_sweep(f->store, &swept, NULL), 0);
	assert_int_equal(swept.files, 0);
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_int_equal(store_sweep(f->store, &swept, NULL), 0);
	assert_int_equal(swept.files, 2);
	snprintf(leases, sizeof(leases), "%s/leases", f->data);
	assert_int_equal(rmdir(leases), 0); /* empty */
}

#define PAGES 16u

/* Pages of memory, 0: zeroes; those with -1 are not in the layer. */
static struct store_id memory_layer(struct store *store, struct store_lease *lease,
				    const int values[PAGES])
{
	uint8_t page[STORE_BLOCK];
	struct layer *layer;
	struct store_id id;

	assert_int_equal(layer_create(store, lease, PAGES, &layer, NULL), 0);
	for (unsigned i = 0; i < PAGES; i++) {
		block_fill(page, (uint32_t)values[i]);
		if (values[i] >= 0)
			assert_int_equal(layer_write(layer, i, 1, page, NULL), 0);
	}
	assert_int_equal(layer_mark_zero(layer, 4, 1, NULL), 0);
	assert_int_equal(layer_seal(layer, NULL), 0);
	id = layer_info(layer)->id;
	layer_close(layer);
	return id;
}

static void memory_root(struct store *store, const char *name, const struct store_id *layers,
			unsigned count, struct root *out)
{
	memset(out, 0, sizeof(*out));
	strcpy(out->name, name);
	out->kind = ROOT_VM;
	out->memory_size = PAGES * STORE_BLOCK;
	out->memory_layer_count = count;
	memcpy(out->memory_layers, layers, count * sizeof(*layers));
	assert_int_equal(root_publish(store, out, NULL), 0);
}

static void pages_are_compared(void **state)
{
	static const int below[PAGES] = {1,  2,  5,  6,  -1, -1, -1, -1,
					 -1, -1, -1, -1, -1, -1, -1, -1};
	static const int above[PAGES] = {-1, -1, 5, 7, -1, 0, 8, 0, -1, -1, -1, -1, -1, -1, -1, 9};
	static const uint8_t there[PAGES] = {
		ROOT_PAGE_SAME, ROOT_PAGE_SAME, ROOT_PAGE_EQUAL,   ROOT_PAGE_CHANGED,
		ROOT_PAGE_ZERO, ROOT_PAGE_ZERO, ROOT_PAGE_CHANGED, ROOT_PAGE_ZERO,
		ROOT_PAGE_ZERO, ROOT_PAGE_ZERO, ROOT_PAGE_ZERO,    ROOT_PAGE_ZERO,
		ROOT_PAGE_ZERO, ROOT_PAGE_ZERO, ROOT_PAGE_ZERO,    ROOT_PAGE_CHANGED};
	struct store_fixture *f = *state;
	struct root_pages counts;
	uint8_t map[PAGES];
	struct store_lease *lease;
	struct store_id layers[2];
	struct root a, b, other;

	assert_int_equal(store_lease_open(f->store, &lease, NULL), 0);
	layers[1] = memory_layer(f->store, lease, below);
	layers[0] = memory_layer(f->store, lease, above);
	memory_root(f->store, "a", layers + 1, 1, &a);
	memory_root(f->store, "b", layers, 2, &b);
	assert_int_equal(root_pages_compare(f->store, &a, &b, map, &counts, NULL), 0);
	assert_memory_equal(map, there, sizeof(there));
	assert_int_equal(counts.count[ROOT_PAGE_SAME], 2);
	assert_int_equal(counts.count[ROOT_PAGE_ZERO], 10);
	assert_int_equal(counts.count[ROOT_PAGE_CHANGED], 3);
	assert_int_equal(counts.with_others, 0);
	/* The other way round. */
	assert_int_equal(root_pages_compare(f->store, &b, &a, map, &counts, NULL), 0);
	assert_int_equal(map[15], ROOT_PAGE_CLEARED);
	assert_int_equal(counts.count[ROOT_PAGE_CLEARED], 2);
	memory_root(f->store, "other", layers, 1, &other);
	assert_int_equal(root_pages_compare(f->store, &a, &b, NULL, &counts, NULL), 0);
	assert_int_equal(counts.with_others, 6);
	other.memory_size *= 2;
	assert_int_equal(root_pages_compare(f->store, &a, &other, NULL, &counts, NULL), -EINVAL);
	store_lease_close(lease);
	root_clear(&a);
	root_clear(&b);
	root_clear(&other);
}

/* A manifest that cannot be read may name anything: nothing is swept, and check says so. */
static void sweep_and_damage(void **state)
{
	struct store_fixture *f = *state;
	struct volume *volume;
	struct root root;
	char path[200];
	int fd;

	assert_int_equal(volume_create(f->store, "a", MIB, NULL, NULL), 0);
	volume = volume_of(f->store, "a");
	snapshot_take(f->store, volume, "s", &root);
	assert_int_equal(volume_close(volume), 0);
	assert_int_equal(volume_remove(f->store, "a", NULL), 0);
	snprintf(path, sizeof(path), "%s/roots/%032x.json", f->data, 7);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	assert_int_equal(write(fd, "{", 1), 1);
	close(fd);
	assert_true(store_sweep(f->store, NULL, NULL) < 0);
	assert_int_equal(store_check(f->store, false, NULL, NULL, NULL), 1);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(store_sweep(f->store, NULL, NULL), 0);
	assert_int_equal(store_check(f->store, false, NULL, NULL, NULL), 0);
	root_clear(&root);
}

int main(int argc, char **argv)
{
#define ON_HOST(test)                                                                              \
	cmocka_unit_test_setup_teardown(test, store_fixture_setup, store_fixture_teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(model_simulated),
		ON_HOST(model_on_host),
		ON_HOST(names_and_sizes),
		ON_HOST(one_writer),
		ON_HOST(ranges_are_checked),
		ON_HOST(killed_without_loss),
		ON_HOST(stale_runtime_file),
		ON_HOST(flushes_of_threads),
		ON_HOST(parts_of_a_block),
		ON_HOST(depth_and_compaction),
		ON_HOST(grows),
		cmocka_unit_test(full_disk_loses_nothing),
		cmocka_unit_test(failed_open_loses_nothing),
		cmocka_unit_test(failed_sync_is_not_believed),
		ON_HOST(damage_is_found),
		ON_HOST(scrub_resumes),
		ON_HOST(layers_are_immutable),
		ON_HOST(leases_end_with_their_process),
		ON_HOST(roots_are_found),
		ON_HOST(roots_of_each_kind),
		ON_HOST(usage_and_difference),
		ON_HOST(pages_are_compared),
		ON_HOST(sweep_and_damage),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
