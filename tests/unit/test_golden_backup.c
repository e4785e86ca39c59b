/* SPDX-License-Identifier: MIT */
/*
 * Backup streams in tests/golden, one a version of the format, are imported for ever. They were
 * made by this program: test_golden_backup --write FILE.
 */
#include "tests/unit/unit.h"

#include "tests/unit/backup_fixture.h"
#include "vmm/base/log.h"

static const char *path;

static void golden_write(void **state)
{
	struct tape tape = {0};
	struct side from;
	struct root root;
	FILE *file = fopen(path, "w");

	(void)state;
	assert_non_null(file);
	side_make(&from);
	vm_make(from.store, &root);
	give(from.store, &root, NULL, &tape);
	assert_int_equal(fwrite(tape.bytes, 1, tape.size, file), tape.size);
	assert_int_equal(fclose(file), 0);
	root_clear(&root);
	free(tape.bytes);
	side_end(&from);
}

static void golden_read(void **state)
{
	static uint8_t bytes[64 * KIB];
	FILE *file = fopen(path, "r");
	struct tape tape = {.bytes = bytes};
	struct side to;
	struct root root;
	void *blob;

	(void)state;
	assert_non_null(file);
	tape.size = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	side_make(&to);
	assert_takes(&to, &tape, NULL);
	assert_int_equal(root_get(to.store, "vm", 2), 22);
	assert_int_equal(root_find(to.store, "vm", &root, NULL), 0);
	assert_int_equal(root.memory_size, DISK_SIZE);
	assert_int_equal(blob_get(to.store, &root.device_state, &blob, NULL), 0);
	assert_memory_equal(blob, "devices", 7);
	assert_int_equal(root_verify(to.store, &root.id, NULL), 0);
	free(blob);
	root_clear(&root);
	side_end(&to);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest writing[] = {cmocka_unit_test(golden_write)};
	const struct CMUnitTest reading[] = {cmocka_unit_test(golden_read)};

	log_set_level(LOG_ERROR);
	path = argc > 1 ? argv[argc - 1] : "";
	if (argc == 3 && strcmp(argv[1], "--write") == 0)
		return cmocka_run_group_tests(writing, NULL, NULL);
	return cmocka_run_group_tests(reading, NULL, NULL);
}
