/* SPDX-License-Identifier: MIT */
/*
 * The ACPI tables as the reference compiler sees them: each is disassembled and compiled again, and
 * iasl must find no error. The RSDP is no table to iasl. Skipped where iasl is missing.
 */
#include "tests/unit/unit.h"

#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/scratch.h"
#include "vmm/boot/acpi.h"
#include "vmm/machine/machine_impl.h"

#define TABLES 0xe0000ull
#define ROOM   0x20000ull

static int run(const struct scratch *scratch, const char *option, const char *name,
	       const char *suffix)
{
	char command[256];
	int status;

	snprintf(command, sizeof(command), "cd %s && iasl %s %s%s >%s.log 2>&1", scratch->path,
		 option, name, suffix, name);
	status = system(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void show_log(const struct scratch *scratch, const char *name)
{
	char command[256];

	snprintf(command, sizeof(command), "cat %s/%s.log", scratch->path, name);
	if (system(command))
		return; /* it is for the reader only */
}

static void check(const struct scratch *scratch, const char *name, const uint8_t *table,
		  size_t size)
{
	char file[16];

	snprintf(file, sizeof(file), "%s.dat", name);
	scratch_write(scratch, file, table, size);
	if (run(scratch, "-d", name, ".dat")) {
		show_log(scratch, name);
		fail_msg("iasl cannot disassemble %s", name);
	}
	if (run(scratch, "-vs -tc", name, ".dsl")) {
		show_log(scratch, name);
		fail_msg("iasl cannot compile %s", name);
	}
}

static void iasl_agrees(void **state)
{
	struct acpi_board board = board_acpi;
	struct guest_memory *memory;
	struct scratch scratch;
	const uint8_t *xsdt, *fadt = NULL;
	uint64_t rsdp;

	(void)state;
	scratch_make(&scratch);
	board.vcpus = 3;
	assert_int_equal(memory_create(1 * MIB, &memory, NULL), 0);
	assert_int_equal(acpi_write(&board, memory, TABLES, ROOM, &rsdp, NULL), 0);
	xsdt = memory_at(memory, le64_get((const uint8_t *)memory_at(memory, rsdp, 36) + 24), 36);
	check(&scratch, "xsdt", xsdt, le32_get(xsdt + 4));
	for (unsigned i = 36; i < le32_get(xsdt + 4); i += 8) {
		const uint8_t *table = memory_at(memory, le64_get(xsdt + i), 36);
		char name[5] = {0};

		memcpy(name, table, 4);
		check(&scratch, name, table, le32_get(table + 4));
		if (memcmp(table, "FACP", 4) == 0)
			fadt = table;
	}
	assert_non_null(fadt);
	check(&scratch, "facs", memory_at(memory, le32_get(fadt + 36), 64), 64);
	xsdt = memory_at(memory, le64_get(fadt + 140), 36);
	check(&scratch, "dsdt", xsdt, le32_get(xsdt + 4));
	memory_destroy(memory);
	scratch_remove(&scratch);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {cmocka_unit_test(iasl_agrees)};

	if (system("command -v iasl >/dev/null")) {
		printf("skipped: there is no iasl; install acpica-tools\n");
		return EXIT_SKIP;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
