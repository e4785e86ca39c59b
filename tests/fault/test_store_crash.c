/* SPDX-License-Identifier: MIT */
/*
 * The store on a disk that stops at each point where something changes, by power failure or because
 * its process is killed, and on one whose k-th call fails.
 */
#include "tests/unit/unit.h"

#include "snapshot/backup.h"
#include "tests/store_world.h"
#include "vmm/base/log.h"

/* Lives of a store, and of their crash points and calls each so many'th: arguments say otherwise.
 */
static uint64_t seeds = 1;
static unsigned every = 1;

typedef void world_life(struct world *w);
static world_life *const lives[] = {world_script, world_script_backup};
/* Where calls fail. */
static const struct {
	world_life *life;
	uint64_t seed;
	bool syncs; /* here for their sake: of those the most sweep meanwhile */
} faults[] = {{world_script, 7, false},
	      {world_script, 8, true},
	      {world_script, 11, true},
	      {world_script_backup, 9, false}};

/* Run the script until the disk stops, and end the process. False: it did not stop any more. */
static bool run_until(struct world *w, world_life *life, unsigned stop)
{
	bool stopped;

	sim_disk_stop_at(w->disk, stop);
	if (world_begin(w) == 0) {
		life(w);
		world_end(w);
	} else {
		w->store = NULL;
	}
	stopped = sim_disk_has_stopped(w->disk);
	return stopped;
}

static void restart(struct sim_disk *disk, bool kill, unsigned survival)
{
	if (kill)
		sim_disk_revive(disk);
	else
		sim_disk_power_cycle(disk, (enum sim_survival)survival);
}

/*
 * One crash in the script, another in the recovery if there is one that late, and then none. Each
 * is a kill or a power failure.
 */
static bool crash_once(world_life *life, uint64_t seed, unsigned stop, bool kill, bool kill_again,
		       unsigned survival)
{
	struct sim_disk *disk = sim_disk_create(seed);
	struct world *w = world_create(seed, disk, NULL, NULL);
	bool stopped = run_until(w, life, stop);

	restart(disk, kill, survival);
	sim_disk_stop_at(disk, sim_disk_changes(disk) + stop % 23);
	if (!world_recover(w, !kill)) {
		if (w->store)
			world_end(w);
		restart(disk, kill_again, survival);
		assert_true(world_recover(w, !kill_again));
	}
	sim_disk_stop_at(disk, ~0u);
	world_end(w);
	/* What was recovered is durable: recovery again finds the same. */
	sim_disk_power_cycle(disk, SIM_NOTHING);
	assert_true(world_recover(w, true));
	for (unsigned i = 0; i < 10; i++)
		world_step(w);
	world_destroy(w);
	sim_disk_destroy(disk);
	return stopped;
}

static void crash_all(bool kill, bool kill_again, unsigned survival)
{
	for (unsigned i = 0; i < ARRAY_SIZE(lives); i++) {
		unsigned points = 0;

		for (uint64_t seed = 1; seed <= seeds; seed++)
			for (unsigned stop = (survival * 2 + kill) % every;
			     crash_once(lives[i], seed * 1000 + survival * 2 + kill, stop, kill,
					kill_again, survival);
			     stop += every)
				points++;
		print_message("%u crash points\n", points);
		assert_true(points * every > 100);
	}
}

static void nothing_survives(void **state)
{
	(void)state;
	crash_all(false, false, SIM_NOTHING);
}

static void everything_survives(void **state)
{
	(void)state;
	crash_all(false, false, SIM_EVERYTHING);
}

static void a_prefix_survives(void **state)
{
	(void)state;
	crash_all(false, false, SIM_PREFIX);
}

static void anything_survives(void **state)
{
	(void)state;
	crash_all(false, false, SIM_ANYTHING);
}

static void killed(void **state)
{
	(void)state;
	crash_all(true, true, SIM_NOTHING);
}

static void killed_then_power(void **state)
{
	(void)state;
	crash_all(true, false, SIM_NOTHING);
}

/* An import that is killed anywhere, and then done again, which goes on with what came. */

static int tape_read(void *arg, void *bytes, size_t size)
{
	struct world_backup *from = arg;

	if (size > from->size - from->at)
		return -ENODATA;
	memcpy(bytes, from->bytes + from->at, size);
	from->at += size;
	return 0;
}

/* In a process of its own. */
static int import_once(struct sim_disk *disk, struct world_backup *tape,
		       struct backup_report *report)
{
	const struct backup_pipe pipe = {.read = tape_read, .arg = tape};
	struct store *store;
	int ret = store_open(sim_disk_process(disk), &store, NULL);

	tape->at = 0;
	if (ret)
		return ret;
	ret = backup_import(store, NULL, &pipe, report, NULL);
	store_close(store);
	return ret;
}

static bool import_crash(struct world_backup *tape, unsigned stop, unsigned *shared)
{
	struct sim_disk *disk = sim_disk_create(stop + 1);
	struct backup_report report;
	struct store *store;
	struct root root;
	bool stopped;

	sim_disk_stop_at(disk, stop);
	import_once(disk, tape, &report);
	stopped = sim_disk_has_stopped(disk);
	sim_disk_revive(disk);
	assert_int_equal(import_once(disk, tape, &report), 0);
	*shared += report.was_there ? 0 : report.shared;
	/* What the first one had not synced the second one did. */
	sim_disk_power_cycle(disk, SIM_NOTHING);
	assert_int_equal(store_open(sim_disk_process(disk), &store, NULL), 0);
	assert_int_equal(root_find(store, tape->root.name, &root, NULL), 0);
	assert_int_equal(root_verify(store, &root.id, NULL), 0);
	assert_int_equal(store_check(store, true, NULL, NULL, NULL), 0);
	root_clear(&root);
	store_close(store);
	sim_disk_destroy(disk);
	return stopped;
}

static void imports_go_on(void **state)
{
	struct sim_disk *disk = sim_disk_create(5);
	struct world *w = world_create(5, disk, NULL, NULL);
	unsigned stop = 0, shared = 0;

	(void)state;
	assert_int_equal(world_begin(w), 0);
	world_script_backup(w);
	world_end(w);
	while (import_crash(&w->backup[0], stop, &shared))
		stop++;
	print_message("%u crash points, %u layers found\n", stop, shared);
	assert_true(stop > 30 && shared > 20);
	world_destroy(w);
	sim_disk_destroy(disk);
}

/*
 * The k-th call fails. Other processes go on, for which names may be what no longer becomes
 * durable: what they say is right also after the power failure.
 */
static bool fail_once(world_life *life, uint64_t seed, unsigned call, enum sim_fault fault)
{
	struct sim_disk *disk = sim_disk_create(seed);
	struct world *w = world_create(seed, disk, NULL, NULL);
	bool failed, reached;

	sim_disk_fail_at(disk, call, fault);
	if (world_begin(w) == 0) {
		life(w);
		world_end(w);
	} else {
		w->store = NULL;
	}
	failed = sim_disk_has_failed(disk);
	reached = sim_disk_calls(disk) > call;
	/* Interrupted calls and short transfers are nobody's failure. */
	if (failed && (fault == SIM_FAULT_EINTR || fault == SIM_FAULT_SHORT))
		assert_false(w->broken);
	if (call % 3) {
		bool whole;

		sim_disk_revive(disk);
		whole = world_recover(w, true);
		for (unsigned i = 0; i < 10 && whole && !w->broken; i++)
			world_step(w);
		if (w->store)
			world_end(w);
	}
	sim_disk_power_cycle(disk, call % 4);
	assert_true(world_recover(w, true));
	world_destroy(w);
	sim_disk_destroy(disk);
	return reached;
}

static struct volume *volume_of(struct store *store, const char *name)
{
	struct volume *volume;

	assert_int_equal(volume_open(store, name, false, &volume, NULL), 0);
	return volume;
}

/* Between a switch and its end a call of another's sweep fails. False: it has no such call. */
static bool sweep_fails(unsigned call, unsigned *refused)
{
	struct sim_disk *disk = sim_disk_create(call + 1);
	struct store *store, *other;
	struct volume *volume;
	uint32_t value = 1;
	bool failed;
	int ret;

	assert_int_equal(store_open(sim_disk_process(disk), &store, NULL), 0);
	assert_int_equal(store_open(sim_disk_process(disk), &other, NULL), 0);
	assert_int_equal(volume_create(store, "a", 65536, NULL, NULL), 0);
	volume = volume_of(store, "a");
	assert_int_equal(volume_flush(volume), 0);
	assert_int_equal(volume_switch_prepare(volume, NULL), 0);
	assert_int_equal(volume_switch(volume, NULL), 0);
	sim_disk_fail_at(disk, call, SIM_FAULT_EIO);
	ret = store_sweep(other, NULL, NULL);
	failed = sim_disk_has_failed(disk);
	sim_disk_fail_at(disk, 0, SIM_FAULT_NONE);
	store_close(other);
	/* A sync that failed is not made good by one that does not, nor by another process. */
	assert_int_equal(store_open(sim_disk_process(disk), &other, NULL), 0);
	*refused += ret && store_sweep(other, NULL, NULL);
	store_close(other);
	assert_int_equal(volume_write(volume, 5 * STORE_BLOCK, sizeof(value), &value), 0);
	assert_int_equal(volume_switch_finish(volume, NULL), 0);
	assert_int_equal(volume_flush(volume), 0);
	assert_int_equal(volume_close(volume), 0);
	store_close(store);
	sim_disk_power_cycle(disk, SIM_NOTHING);
	assert_int_equal(store_open(sim_disk_process(disk), &store, NULL), 0);
	volume = volume_of(store, "a");
	value = 0;
	assert_int_equal(volume_read(volume, 5 * STORE_BLOCK, sizeof(value), &value), 0);
	assert_int_equal(value, 1);
	assert_int_equal(volume_close(volume), 0);
	assert_int_equal(store_sweep(store, NULL, NULL), 0);
	store_close(store);
	sim_disk_destroy(disk);
	return failed;
}

static void syncs_of_others_fail(void **state)
{
	unsigned call = 0, refused = 0;

	(void)state;
	while (sweep_fails(call, &refused))
		call++;
	assert_true(call > 10);
	/* Those of two folders. */
	assert_int_equal(refused, 2);
}

static void fail_all(enum sim_fault fault)
{
	for (unsigned i = 0; i < ARRAY_SIZE(faults); i++) {
		unsigned call = (unsigned)fault % every;

		if (faults[i].syncs && fault != SIM_FAULT_EIO)
			continue;
		while (fail_once(faults[i].life, faults[i].seed, call, fault))
			call += every;
		print_message("%u calls\n", call);
		assert_true(call > 200);
	}
}

static void calls_fail(void **state)
{
	(void)state;
	fail_all(SIM_FAULT_EIO);
}

static void disk_is_full(void **state)
{
	(void)state;
	fail_all(SIM_FAULT_ENOSPC);
}

static void calls_are_interrupted(void **state)
{
	(void)state;
	fail_all(SIM_FAULT_EINTR);
}

static void transfers_are_short(void **state)
{
	(void)state;
	fail_all(SIM_FAULT_SHORT);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_survives),
		cmocka_unit_test(everything_survives),
		cmocka_unit_test(a_prefix_survives),
		cmocka_unit_test(anything_survives),
		cmocka_unit_test(killed),
		cmocka_unit_test(killed_then_power),
		cmocka_unit_test(imports_go_on),
		cmocka_unit_test(syncs_of_others_fail),
		cmocka_unit_test(calls_fail),
		cmocka_unit_test(disk_is_full),
		cmocka_unit_test(calls_are_interrupted),
		cmocka_unit_test(transfers_are_short),
	};

	if (argc > 1)
		seeds = strtoul(argv[1], NULL, 10);
	if (argc > 2 && atoi(argv[2]) > 0)
		every = (unsigned)atoi(argv[2]);
	if (argc > 3)
		cmocka_set_test_filter(argv[3]);
	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
