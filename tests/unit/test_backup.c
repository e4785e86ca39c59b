/* SPDX-License-Identifier: MIT */
/* Backup streams: out of one store and into another. */
#include "tests/unit/unit.h"

#include "snapshot/layer.h"
#include "snapshot/stack.h"
#include "tests/unit/backup_fixture.h"
#include "vmm/base/log.h"

/* What two snapshots are made of: block 3 differs, 5 was zeroed, 7 is the first's alone. */
static void two_roots(struct side *side, struct root *one, struct root *two)
{
	struct volume *volume = disk_make(side->store);

	volume_put(volume, 3, 33);
	volume_put(volume, 5, 55);
	volume_put(volume, 7, 77);
	snapshot_take(side->store, volume, "one", one);
	volume_put(volume, 3, 34);
	assert_int_equal(volume_zero(volume, 5ull * STORE_BLOCK, STORE_BLOCK, true), 0);
	snapshot_take(side->store, volume, "two", two);
	assert_int_equal(volume_close(volume), 0);
}

static void assert_two(struct store *store, const char *name)
{
	assert_int_equal(root_get(store, name, 3), 34);
	assert_int_equal(root_get(store, name, 5), 0);
	assert_int_equal(root_get(store, name, 7), 77);
	assert_int_equal(root_get(store, name, 8), 0);
	assert_int_equal(problem_count(store), 0);
}

static void disk_round_trip(void **state)
{
	struct side from, to;
	struct root one, two, back;
	struct tape tape = {0};

	(void)state;
	side_make(&from);
	side_make(&to);
	two_roots(&from, &one, &two);
	give(from.store, &two, NULL, &tape);
	assert_takes(&to, &tape, NULL);
	assert_int_equal(to.report.layers, 2);
	assert_int_equal(to.report.shared, 0);
	assert_string_equal(to.report.name, "two");
	assert_two(to.store, "two");
	/* It is what it was, and of the same place in the tree. */
	assert_int_equal(root_find(to.store, "two", &back, NULL), 0);
	assert_true(store_id_equal(&back.id, &two.id));
	assert_int_equal(back.time_ns, two.time_ns);
	assert_int_equal(back.state, ROOT_COMPLETE);
	assert_int_equal(root_verify(to.store, &back.id, NULL), 0);
	root_clear(&back);
	root_clear(&one);
	root_clear(&two);
	free(tape.bytes);
	side_end(&from);
	side_end(&to);
}

static void vm_round_trip(void **state)
{
	struct side from, to;
	struct root root, back;
	struct tape tape = {0};
	struct stack *stack;
	struct stack_run run;
	uint8_t block[STORE_BLOCK];
	void *blob;

	(void)state;
	side_make(&from);
	side_make(&to);
	vm_make(from.store, &root);
	give(from.store, &root, NULL, &tape);
	assert_takes(&to, &tape, NULL);
	assert_int_equal(root_get(to.store, "vm", 2), 22);
	assert_int_equal(root_find(to.store, "vm", &back, NULL), 0);
	assert_int_equal(back.kind, ROOT_VM);
	assert_string_equal(back.comment, root.comment);
	assert_int_equal(blob_get(to.store, &back.device_state, &blob, NULL), 0);
	assert_memory_equal(blob, "devices", 7);
	free(blob);
	assert_int_equal(stack_open(to.store, back.memory_layers, back.memory_layer_count,
				    DISK_BLOCKS, &stack, NULL),
			 0);
	stack_lookup(stack, 9, DISK_BLOCKS, &run);
	assert_int_equal(run.kind, STACK_LAYER);
	assert_int_equal(run.count, 1);
	assert_int_equal(layer_read(run.layer, 9, 1, block, NULL), 0);
	assert_int_equal(le32_get(block + 4092), 99);
	stack_lookup(stack, 10, DISK_BLOCKS, &run);
	assert_int_equal(run.kind, STACK_ZERO);
	assert_int_equal(run.count, 4);
	stack_close(stack);
	assert_int_equal(problem_count(to.store), 0);
	root_clear(&back);
	root_clear(&root);
	free(tape.bytes);
	side_end(&from);
	side_end(&to);
}

static void incremental(void **state)
{
	struct side from, to;
	struct root one, two;
	struct tape first = {0}, second = {0};
	char id[STORE_ID_TEXT];

	(void)state;
	side_make(&from);
	side_make(&to);
	two_roots(&from, &one, &two);
	give(from.store, &one, NULL, &first);
	give_since(from.store, &two, &one, &second);
	/* Its base is missing: what is, and of what, is said; nothing is kept. */
	assert_int_equal(take(&to, &second, NULL), -ENOENT);
	store_id_text(&one.volumes[0].layers[0], id);
	assert_non_null(strstr(to.err.what, id));
	assert_non_null(strstr(to.err.what, "'one'"));
	assert_empty(&to);
	assert_takes(&to, &first, NULL);
	assert_takes(&to, &second, NULL);
	assert_int_equal(to.report.layers, 1);
	assert_int_equal(to.report.shared, 1);
	assert_int_equal(sim_disk_count(to.disk, "layers"), 4);
	assert_two(to.store, "two");
	/* Any of both may go. */
	assert_int_equal(root_remove(to.store, &one.id, NULL), 0);
	assert_int_equal(store_sweep(to.store, NULL, NULL), 0);
	assert_two(to.store, "two");
	root_clear(&one);
	root_clear(&two);
	free(first.bytes);
	free(second.bytes);
	side_end(&from);
	side_end(&to);
}

static int list_visit(void *arg, const struct layer_info *info)
{
	return backup_have_digest(arg, info->digest);
}

/* What the other side's list has is left out, and nothing else. */
static void what_is_there(void **state)
{
	struct side from, to;
	struct root one, two;
	struct tape first = {0}, second = {0};
	struct backup_have have = {0};

	(void)state;
	side_make(&from);
	side_make(&to);
	two_roots(&from, &one, &two);
	give(from.store, &one, NULL, &first);
	assert_takes(&to, &first, "renamed");
	assert_int_equal(layer_for_each_digested(to.store, true, list_visit, &have, NULL), 0);
	assert_int_equal(have.count, 1);
	give(from.store, &two, &have, &second);
	assert_takes(&to, &second, NULL);
	assert_int_equal(to.report.layers, 1);
	assert_int_equal(to.report.shared, 1);
	assert_two(to.store, "two");
	backup_have_free(&have);
	root_clear(&one);
	root_clear(&two);
	free(first.bytes);
	free(second.bytes);
	side_end(&from);
	side_end(&to);
}

/* A base that is here, though its digest was not computed yet. */
static void base_without_digest(void **state)
{
	struct side from, to;
	struct root one, two, same, gone;
	struct tape tape = {0};

	(void)state;
	side_make(&from);
	side_make(&to);
	two_roots(&from, &one, &two);
	two_roots(&to, &same, &gone);
	assert_int_equal(volume_remove(to.store, "disk", NULL), 0);
	assert_int_equal(root_remove(to.store, &gone.id, NULL), 0);
	assert_int_equal(store_sweep(to.store, NULL, NULL), 0);
	give_since(from.store, &two, &one, &tape);
	assert_takes(&to, &tape, NULL);
	assert_int_equal(to.report.shared, 1);
	assert_two(to.store, "two");
	root_clear(&one);
	root_clear(&two);
	root_clear(&same);
	root_clear(&gone);
	free(tape.bytes);
	side_end(&from);
	side_end(&to);
}

static void names(void **state)
{
	struct side from, to;
	struct root one, two, back;
	struct tape first = {0}, second = {0};

	(void)state;
	side_make(&from);
	side_make(&to);
	two_roots(&from, &one, &two);
	give(from.store, &one, NULL, &first);
	give(from.store, &two, NULL, &second);
	assert_takes(&to, &first, NULL);
	/* Once more is a success, and changes nothing. */
	assert_takes(&to, &first, NULL);
	assert_true(to.report.was_there);
	assert_int_equal(to.report.layers, 0);
	assert_int_equal(sim_disk_count(to.disk, "layers"), 2);
	assert_int_equal(sim_disk_count(to.disk, "roots"), 1);
	/* Another one's name, before anything is stored. */
	assert_int_equal(take(&to, &second, "one"), -EEXIST);
	assert_non_null(strstr(to.err.what, "'one'"));
	assert_int_equal(sim_disk_count(to.disk, "layers"), 2);
	assert_int_equal(take(&to, &second, "../one"), -EINVAL);
	assert_int_equal(take(&to, &second, ""), -EINVAL);
	/* Beside itself, by another name and id. */
	assert_takes(&to, &first, "again");
	assert_false(to.report.was_there);
	assert_int_equal(root_find(to.store, "again", &back, NULL), 0);
	assert_false(store_id_equal(&back.id, &one.id));
	assert_int_equal(root_get(to.store, "again", 7), 77);
	root_clear(&back);
	assert_takes(&to, &first, "again");
	assert_true(to.report.was_there);
	/* Where it comes from, it is there. */
	assert_takes(&from, &second, NULL);
	assert_true(from.report.was_there);
	/* Same name and time, and yet another. */
	assert_int_equal(root_remove(to.store, &one.id, NULL), 0);
	back = two;
	back.id = (struct store_id){{0}};
	back.time_ns = one.time_ns;
	strcpy(back.name, "one");
	back.volume_count = 0;
	assert_int_equal(root_publish(to.store, &back, NULL), 0);
	assert_int_equal(take(&to, &first, NULL), -EEXIST);
	root_clear(&one);
	root_clear(&two);
	free(first.bytes);
	free(second.bytes);
	side_end(&from);
	side_end(&to);
}

/* Snapshots between which nothing was written have layers that are the same. */
static void equal_layers(void **state)
{
	struct side from, to;
	struct root one, two, three, back;
	struct tape tape = {0};
	struct volume *volume;

	(void)state;
	side_make(&from);
	side_make(&to);
	volume = disk_make(from.store);
	volume_put(volume, 1, 11);
	snapshot_take(from.store, volume, "one", &one);
	snapshot_take(from.store, volume, "two", &two);
	snapshot_take(from.store, volume, "three", &three);
	assert_int_equal(volume_close(volume), 0);
	assert_int_equal(three.volumes[0].layer_count, 3);
	give(from.store, &three, NULL, &tape);
	assert_takes(&to, &tape, NULL);
	assert_int_equal(to.report.layers, 2);
	assert_int_equal(root_get(to.store, "three", 1), 11);
	assert_int_equal(root_find(to.store, "three", &back, NULL), 0);
	assert_int_equal(back.volumes[0].layer_count, 2);
	root_clear(&back);
	assert_takes(&to, &tape, NULL);
	assert_true(to.report.was_there);
	assert_takes(&from, &tape, NULL);
	assert_true(from.report.was_there);
	root_clear(&one);
	root_clear(&two);
	root_clear(&three);
	free(tape.bytes);
	side_end(&from);
	side_end(&to);
}

static void damage_is_not_exported(void **state)
{
	const struct backup_have none = {0};
	struct side from;
	struct root one, two;
	struct tape tape = {0};
	struct backup_pipe pipe = {.write = tape_write, .arg = &tape};
	struct backup_report report;
	struct error err = {0};
	char path[64], id[STORE_ID_TEXT];

	(void)state;
	side_make(&from);
	two_roots(&from, &one, &two);
	assert_int_equal(root_complete(from.store, &two.id, NULL), 0);
	store_id_text(&two.volumes[0].layers[1], id);
	snprintf(path, sizeof(path), "layers/%s.data", id);
	assert_true(sim_disk_flip(from.disk, path, (7 * STORE_BLOCK + 100) * 8));
	assert_int_equal(backup_export(from.store, &two.id, &none, &pipe, &report, &err), -EBADMSG);
	assert_non_null(strstr(err.what, "block 7 is damaged"));
	root_clear(&one);
	root_clear(&two);
	free(tape.bytes);
	side_end(&from);
}

static void sweep_meanwhile(void *arg)
{
	assert_int_equal(store_sweep(arg, NULL, NULL), 0);
}

struct removal {
	struct side *side;
	struct root *root;
	unsigned calls;
};

static void remove_meanwhile(void *arg)
{
	struct removal *removal = arg;

	if (removal->calls++ == 0) {
		assert_int_equal(volume_remove(removal->side->store, "disk", NULL), 0);
		assert_int_equal(root_remove(removal->side->store, &removal->root->id, NULL), 0);
	}
	sweep_meanwhile(removal->side->store);
}

/* What is exported may be removed, and others may sweep, on either side. */
static void others_at_work(void **state)
{
	struct side from, to;
	struct root root;
	struct removal removal = {.side = &from, .root = &root};
	struct tape tape = {.meanwhile = remove_meanwhile, .arg = &removal};

	(void)state;
	side_make(&from);
	side_make(&to);
	vm_make(from.store, &root);
	give(from.store, &root, NULL, &tape);
	tape.meanwhile = sweep_meanwhile;
	tape.arg = to.store;
	assert_empty(&from);
	assert_takes(&to, &tape, NULL);
	assert_int_equal(problem_count(to.store), 0);
	assert_int_equal(root_get(to.store, "vm", 2), 22);
	root_clear(&root);
	free(tape.bytes);
	side_end(&from);
	side_end(&to);
}

/* On the host's files: a large layer with holes stays one, and takes several records. */
static void large_and_sparse(void **state)
{
	struct store_fixture *f = *state;
	struct backup_have none = {0};
	struct tape tape = {0};
	struct store_io *io;
	struct store *other;
	struct volume *volume;
	struct root root;
	struct root_usage usage;
	struct side side = {0};
	char path[96];

	assert_int_equal(volume_create(f->store, "disk", 20 * GIB, NULL, NULL), 0);
	volume = volume_of(f->store, "disk");
	for (uint32_t i = 0; i < 700; i++)
		volume_put(volume, i < 300 ? i : (uint64_t)i * 7000, i + 1);
	snapshot_take(f->store, volume, "large", &root);
	assert_int_equal(volume_close(volume), 0);
	give(f->store, &root, &none, &tape);
	assert_true(tape.size < 200 * KIB);
	snprintf(path, sizeof(path), "%s/other", f->directory);
	assert_int_equal(store_io_posix(path, NULL, &io, NULL), 0);
	assert_int_equal(store_open(io, &other, NULL), 0);
	side.store = other;
	assert_takes(&side, &tape, NULL);
	assert_int_equal(root_usage(other, &root, &usage, NULL),
			 -ENOENT); /* its layers are others */
	root_clear(&root);
	assert_int_equal(root_find(other, "large", &root, NULL), 0);
	assert_int_equal(root_usage(other, &root, &usage, NULL), 0);
	assert_true(usage.stored >= 700 * STORE_BLOCK);
	assert_true(usage.stored < 16 * MIB);
	for (uint32_t i = 0; i < 700; i += 99)
		assert_int_equal(root_get(other, "large", i < 300 ? i : (uint64_t)i * 7000), i + 1);
	assert_int_equal(problem_count(other), 0);
	root_clear(&root);
	free(tape.bytes);
	store_close(other);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(disk_round_trip),
		cmocka_unit_test(vm_round_trip),
		cmocka_unit_test(incremental),
		cmocka_unit_test(what_is_there),
		cmocka_unit_test(base_without_digest),
		cmocka_unit_test(names),
		cmocka_unit_test(equal_layers),
		cmocka_unit_test(damage_is_not_exported),
		cmocka_unit_test(others_at_work),
		cmocka_unit_test_setup_teardown(large_and_sparse, store_fixture_setup,
						store_fixture_teardown),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
