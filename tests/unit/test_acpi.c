/* SPDX-License-Identifier: MIT */
/*
 * The ACPI tables as a guest finds them in memory, and the DSDT against the board. Sections are of
 * ACPI 6.4; resource descriptors are encoded as 6.4.2 and 6.4.3 say.
 */
#include "tests/unit/unit.h"

#include "devices/acpi_pm.h"
#include "vmm/boot/acpi.h"
#include "vmm/machine/machine_impl.h"

#define TABLES 0xe0000ull
#define ROOM   0x20000ull
#define VCPUS  5

struct fixture {
	struct guest_memory *memory;
	struct acpi_board board;
	uint64_t rsdp;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(memory_create(2 * MIB, &f->memory, NULL), 0);
	memset(memory_at_write(f->memory, 0, 2 * MIB), 0xcc, 2 * MIB); /* not zeroed by chance */
	f->board = board_acpi;
	f->board.vcpus = VCPUS;
	for (unsigned i = 0; i < ACPI_GENERATION_SIZE; i++)
		f->board.generation[i] = (uint8_t)(0x40 + i);
	assert_int_equal(acpi_write(&f->board, f->memory, TABLES, ROOM, &f->rsdp, NULL), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	memory_destroy(f->memory);
	free(f);
	return 0;
}

static uint8_t sum(const uint8_t *bytes, size_t size)
{
	uint8_t total = 0;

	for (size_t i = 0; i < size; i++)
		total = (uint8_t)(total + bytes[i]);
	return total;
}

static const uint8_t *at(struct fixture *f, uint64_t gpa, uint64_t size)
{
	const uint8_t *bytes = memory_at(f->memory, gpa, size);

	assert_non_null(bytes);
	assert_true(range_within(gpa, size, TABLES, ROOM));
	return bytes;
}

/* A table with a header, whole and with the right sum. */
static const uint8_t *table_at(struct fixture *f, uint64_t gpa, uint32_t *size)
{
	const uint8_t *table = at(f, gpa, 36);

	*size = le32_get(table + 4);
	assert_true(*size >= 36);
	table = at(f, gpa, *size);
	assert_int_equal(sum(table, *size), 0);
	return table;
}

/* By signature, by way of the XSDT. */
static const uint8_t *table_find(struct fixture *f, const char *signature, uint32_t *size)
{
	uint32_t xsdt_size;
	const uint8_t *xsdt = table_at(f, le64_get(at(f, f->rsdp, 36) + 24), &xsdt_size);

	assert_memory_equal(xsdt, "XSDT", 4);
	assert_int_equal((xsdt_size - 36) % 8, 0);
	for (uint32_t i = 36; i < xsdt_size; i += 8) {
		const uint8_t *table = table_at(f, le64_get(xsdt + i), size);

		if (memcmp(table, signature, 4) == 0)
			return table;
	}
	fail_msg("no table %s", signature);
	return NULL;
}

static const uint8_t *dsdt_find(struct fixture *f, uint32_t *size)
{
	uint32_t fadt_size;
	const uint8_t *fadt = table_find(f, "FACP", &fadt_size);
	const uint8_t *dsdt = table_at(f, le64_get(fadt + 140), size);

	assert_int_equal(le32_get(fadt + 40), le64_get(fadt + 140));
	assert_memory_equal(dsdt, "DSDT", 4);
	return dsdt;
}

static void rsdp(void **state)
{
	struct fixture *f = *state;
	const uint8_t *r = at(f, f->rsdp, 36);

	/* 5.2.5.1: found at a multiple of 16 between 0xe0000 and 0xfffff. */
	assert_int_equal(f->rsdp % 16, 0);
	assert_memory_equal(r, "RSD PTR ", 8);
	assert_int_equal(sum(r, 20), 0);
	assert_int_equal(sum(r, 36), 0);
	assert_int_equal(r[15], 2);
	assert_int_equal(le32_get(r + 20), 36);
}

static void fadt(void **state)
{
	struct fixture *f = *state;
	uint32_t size;
	const uint8_t *t = table_find(f, "FACP", &size);
	const uint8_t *facs = at(f, le32_get(t + 36), 64);

	assert_int_equal(size, 276);
	assert_memory_equal(facs, "FACS", 4);
	assert_int_equal(le32_get(facs + 4), 64);
	assert_int_equal(le32_get(t + 36) % 64, 0); /* 5.2.10 */
	assert_int_equal(le16_get(t + 46), BOARD_SCI_IRQ);
	assert_int_equal(le32_get(t + 48), 0); /* no SMI command: always in ACPI mode */
	assert_int_equal(le32_get(t + 56), BOARD_PM_PORT + ACPI_PM_EVENT);
	assert_int_equal(le32_get(t + 64), BOARD_PM_PORT + ACPI_PM_CONTROL);
	assert_int_equal(le32_get(t + 76), BOARD_PM_PORT + ACPI_PM_TIMER);
	assert_int_equal(le32_get(t + 80), BOARD_PM_PORT + ACPI_PM_GPE);
	assert_int_equal(t[92], 2);
	assert_int_equal(t[220], 1);
	assert_int_equal(le64_get(t + 224), BOARD_PM_PORT + ACPI_PM_GPE);
	assert_int_equal(le64_get(t + 120), BOARD_PM_PORT + ACPI_PM_RESET);
	assert_int_equal(t[128], ACPI_PM_RESET_VALUE);
	assert_int_equal(le32_get(t + 112) & 1u << 4, 0);      /* a fixed power button */
	assert_int_not_equal(le32_get(t + 112) & 1u << 10, 0); /* a reset register */
}

static void madt(void **state)
{
	struct fixture *f = *state;
	uint32_t size;
	const uint8_t *t = table_find(f, "APIC", &size);
	unsigned lapics = 0, ioapics = 0, overrides = 0;

	assert_int_equal(le32_get(t + 36), BOARD_LAPIC);
	for (uint32_t i = 44; i < size; i += t[i + 1]) {
		assert_true(t[i + 1] >= 2 && i + t[i + 1] <= size);
		if (t[i] == 0) {
			assert_int_equal(t[i + 3], lapics++); /* APIC ids as cpu_model gives them */
			assert_int_equal(le32_get(t + i + 4), 1);
		} else if (t[i] == 1) {
			assert_int_equal(le32_get(t + i + 4), BOARD_IOAPIC);
			assert_int_equal(le32_get(t + i + 8), 0);
			ioapics++;
		} else if (t[i] == 2) {
			assert_int_equal(t[i + 3], BOARD_SCI_IRQ);
			assert_int_equal(le16_get(t + i + 8), 0xd); /* level, active high */
			overrides++;
		}
	}
	assert_int_equal(lapics, VCPUS);
	assert_int_equal(ioapics, 1);
	assert_int_equal(overrides, 1);
}

static void mcfg(void **state)
{
	struct fixture *f = *state;
	uint32_t size;
	const uint8_t *t = table_find(f, "MCFG", &size);

	assert_int_equal(size, 60);
	assert_int_equal(le64_get(t + 44), BOARD_ECAM);
	assert_int_equal(t[54], 0);
	assert_int_equal((t[55] + 1u) << 20, BOARD_ECAM_SIZE);
}

static void dsdt_has(struct fixture *f, const char *what, const void *bytes, size_t count)
{
	uint32_t size;
	const uint8_t *dsdt = dsdt_find(f, &size);

	if (!memmem(dsdt, size, bytes, count))
		fail_msg("the DSDT lacks %s of the board", what);
}

static void dsdt_has_port(struct fixture *f, const char *what, uint16_t port, uint8_t length)
{
	uint8_t io[] = {0x47, 1, 0, 0, 0, 0, 1, length};

	le16_put(io + 2, port);
	le16_put(io + 4, port);
	dsdt_has(f, what, io, sizeof(io));
}

static void dsdt_has_irq(struct fixture *f, const char *what, unsigned irq)
{
	uint8_t mask[] = {0x22, 0, 0};

	le16_put(mask + 1, (uint16_t)(1u << irq));
	dsdt_has(f, what, mask, sizeof(mask));
}

static void dsdt_is_the_board(void **state)
{
	struct fixture *f = *state;
	uint8_t window[26] = {0x87, 23, 0, 0, 0x0c, 1};
	uint8_t ecam[12] = {0x86, 9, 0, 1};
	uint8_t route[] = {0x0c, 0xff, 0xff, 0, 0, 0, 0, 0x0a, 0};
	static const uint8_t s5[] = {'_', 'S', '5', '_', 0x12, 7, 4, 0x0a, 5};
	/* OperationRegion (REPL, SystemIO, WORD, 1); the name of a device and its _ADR, DWORD */
	uint8_t region[] = {'R', 'E', 'P', 'L', 1, 0x0b, 0, 0, 1};
	uint8_t nic[] = {'N', 'I', 'C', 0, 8, '_', 'A', 'D', 'R', 0x0c, 0, 0, 0, 0};

	le32_put(window + 10, BOARD_PCI_WINDOW);
	le32_put(window + 14, BOARD_PCI_WINDOW + BOARD_PCI_WINDOW_SIZE - 1);
	le32_put(window + 22, BOARD_PCI_WINDOW_SIZE);
	dsdt_has(f, "the PCI window", window, sizeof(window));
	le32_put(ecam + 4, BOARD_ECAM);
	le32_put(ecam + 8, BOARD_ECAM_SIZE);
	dsdt_has(f, "the ECAM", ecam, sizeof(ecam));
	for (unsigned slot = 1; slot < PCI_SLOTS; slot++) {
		route[3] = (uint8_t)slot;
		route[8] = (uint8_t)(BOARD_PCI_FIRST_GSI + slot % BOARD_PCI_GSIS);
		dsdt_has(f, "a slot's interrupt", route, sizeof(route));
	}
	dsdt_has_port(f, "COM1", BOARD_COM1_PORT, UART16550_PORTS);
	dsdt_has_irq(f, "COM1's interrupt", BOARD_COM1_IRQ);
	dsdt_has_port(f, "the clock", MC146818_PORT, 2);
	dsdt_has_irq(f, "the clock's interrupt", BOARD_RTC_IRQ);
	dsdt_has_port(f, "pvpanic", BOARD_PVPANIC_PORT, 1);
	dsdt_has_port(f, "PCI's ports", 0xcf8, 8);
	dsdt_has(f, "soft off", s5, sizeof(s5));
	le16_put(region + 6, BOARD_PM_PORT + ACPI_PM_REPLACED);
	dsdt_has(f, "NICs that were replaced", region, sizeof(region));
	for (unsigned i = 0; i < BOARD_NICS_MAX; i++) {
		le32_put(nic + 10, (BOARD_SLOT_NICS + i) << 16);
		nic[3] = (uint8_t)('0' + i);
		dsdt_has(f, "a NIC", nic, sizeof(nic));
	}
}

/* Microsoft's Virtual Machine Generation ID: how it is found, and where it is. */
static void generation_id(void **state)
{
	static const char names[] = "_CID\x0dVM_Gen_Counter", event[] = "_E00";
	/* Name (ADDR, Package () { DWORD, 0 }) */
	uint8_t address[] = {'A', 'D', 'D', 'R', 0x12, 8, 2, 0x0c, 0, 0, 0, 0, 0};
	struct fixture *f = *state;

	dsdt_has(f, "the generation ID's name", names, sizeof(names));
	dsdt_has(f, "the generation ID's event", event, 4);
	le32_put(address + 8, BOARD_GENERATION);
	dsdt_has(f, "the generation ID's place", address, sizeof(address));
	assert_int_equal(BOARD_GENERATION % 8, 0);
	assert_memory_equal(memory_at(f->memory, BOARD_GENERATION, ACPI_GENERATION_SIZE),
			    f->board.generation, ACPI_GENERATION_SIZE);
}

static void any_number_of_vcpus(void **state)
{
	struct fixture *f = *state;
	uint32_t size;

	for (f->board.vcpus = 1; f->board.vcpus <= ENGINE_VCPUS_MAX; f->board.vcpus++) {
		assert_int_equal(acpi_write(&f->board, f->memory, TABLES, ROOM, &f->rsdp, NULL), 0);
		table_find(f, "APIC", &size);
		table_find(f, "MCFG", &size);
		dsdt_find(f, &size);
	}
}

/* Whatever the room, nothing is written beyond it. */
static void too_little_room(void **state)
{
	struct fixture *f = *state;
	uint8_t *memory = memory_at_write(f->memory, 0, 2 * MIB);
	unsigned fits = 0;

	for (uint64_t room = 0; room < 8192; room += 31) {
		struct error err = {0};
		int ret;

		memset(memory + TABLES, 0xcc, ROOM);
		ret = acpi_write(&f->board, f->memory, TABLES, room, &f->rsdp, &err);
		assert_true(ret == 0 || ret == -ENOSPC);
		assert_true(ret == 0 || err.what[0]);
		fits += ret == 0;
		for (uint64_t i = TABLES + room; i < BOARD_GENERATION; i++)
			if (memory[i] != 0xcc)
				fail_msg("written at 0x%llx", (unsigned long long)i);
	}
	assert_true(fits > 0);
	/* Room that is no memory. */
	assert_int_equal(acpi_write(&f->board, f->memory, 2 * MIB, ROOM, &f->rsdp, NULL), -ENOSPC);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(rsdp),
		TEST(fadt),
		TEST(madt),
		TEST(mcfg),
		TEST(dsdt_is_the_board),
		TEST(generation_id),
		TEST(any_number_of_vcpus),
		TEST(too_little_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
