/* SPDX-License-Identifier: MIT */
/* Guest memory: the hole, ranges, wrap, tracking. Large sizes are sparse. */
#include "tests/unit/unit.h"

#include "vmm/core/memory.h"

static struct guest_memory *create(uint64_t size)
{
	struct guest_memory *memory;

	assert_int_equal(memory_create(size, &memory, NULL), 0);
	return memory;
}

static void one_range(void **state)
{
	static const uint64_t sizes[] = {4 * KIB, 1 * MIB, 3 * GIB - 4 * KIB, 3 * GIB};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct guest_memory *m = create(sizes[i]);

		assert_int_equal(m->count, 1);
		assert_int_equal(m->range[0].base, 0);
		assert_int_equal(m->range[0].size, sizes[i]);
		assert_null(memory_at(m, MEMORY_HOLE_END, 1));
		memory_destroy(m);
	}
	memory_destroy(NULL);
}

static void around_the_hole(void **state)
{
	struct guest_memory *m = create(5 * GIB);
	uint64_t value;

	(void)state;
	assert_int_equal(m->count, 2);
	assert_int_equal(m->range[0].size, MEMORY_HOLE_START);
	assert_int_equal(m->range[1].base, MEMORY_HOLE_END);
	assert_int_equal(m->range[0].size + m->range[1].size, 5 * GIB);
	assert_non_null(memory_at(m, MEMORY_HOLE_START - 1, 1));
	assert_null(memory_at(m, MEMORY_HOLE_START - 1, 2));
	assert_null(memory_at(m, MEMORY_HOLE_START, 1));
	assert_null(memory_at(m, MEMORY_HOLE_END - 1, 1));
	assert_null(memory_at(m, MEMORY_HOLE_END - 1, 2));
	assert_non_null(memory_at(m, MEMORY_HOLE_END, 1));
	assert_non_null(memory_at(m, 6 * GIB - 8, 8));
	assert_null(memory_at(m, 6 * GIB - 8, 9));
	/* The ranges are different memory. */
	assert_int_equal(memory_write(m, MEMORY_HOLE_START - 8, "lowlowlo", 8), 0);
	assert_int_equal(memory_write(m, MEMORY_HOLE_END, "highhigh", 8), 0);
	assert_int_equal(memory_read(m, MEMORY_HOLE_START - 8, &value, 8), 0);
	assert_memory_equal(&value, "lowlowlo", 8);
	/* A page of the hole alone. */
	memory_destroy(m);
	m = create(3 * GIB + 4 * KIB);
	assert_non_null(memory_at(m, MEMORY_HOLE_END, 4 * KIB));
	assert_null(memory_at(m, MEMORY_HOLE_END, 4 * KIB + 1));
	memory_destroy(m);
}

static void ranges_that_wrap(void **state)
{
	static const struct {
		uint64_t gpa, length;
	} bad[] = {
		{~0ull, 1},
		{~0ull, 2},
		{~0ull, ~0ull},
		{0, ~0ull},
		{1, ~0ull},
		{0, MIB + 1},
		{MIB, 1},
		{MIB - 1, 2},
		{4096, ~0ull - 4095},
		{4096, ~0ull - 4094},
		{1ull << 63, 1ull << 63},
	};
	struct guest_memory *m = create(MIB);
	char byte = 'x';

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_null(memory_at(m, bad[i].gpa, bad[i].length));
		assert_null(memory_at_write(m, bad[i].gpa, bad[i].length));
		assert_int_equal(memory_read(m, bad[i].gpa, &byte, bad[i].length), -EFAULT);
		assert_int_equal(memory_write(m, bad[i].gpa, &byte, bad[i].length), -EFAULT);
	}
	assert_int_equal(byte, 'x');
	assert_non_null(memory_at(m, 0, MIB));
	assert_non_null(memory_at(m, MIB - 1, 1));
	memory_destroy(m);
}

static void cleared(void **state)
{
	struct guest_memory *m = create(MIB);
	const uint8_t *bytes;

	(void)state;
	memset(memory_at_write(m, 0, MIB), 0xaa, MIB);
	assert_int_equal(memory_clear(m, NULL), 0);
	bytes = memory_at(m, 0, MIB);
	for (unsigned i = 0; i < MIB; i++)
		assert_int_equal(bytes[i], 0);
	memory_destroy(m);
}

static unsigned count_dirty(const struct guest_memory *m, unsigned range)
{
	unsigned count = 0;

	for (uint64_t page = 0; page < m->range[range].size / MEMORY_PAGE_SIZE; page++)
		count += m->range[range].dirty[page / 64] >> page % 64 & 1;
	return count;
}

static bool is_dirty(const struct guest_memory *m, unsigned range, uint64_t page)
{
	return m->range[range].dirty[page / 64] >> page % 64 & 1;
}

static void tracking(void **state)
{
	struct guest_memory *m = create(3 * GIB + MIB);
	uint64_t value = 1;

	(void)state;
	memory_write(m, 0, &value, 8); /* before: not tracked */
	assert_int_equal(memory_track(m, true), 0);
	assert_int_equal(count_dirty(m, 0) + count_dirty(m, 1), 0);
	memory_read(m, 4096, &value, 8);
	assert_int_equal(count_dirty(m, 0), 0);
	memory_at_write(m, 4096, 0);
	assert_int_equal(count_dirty(m, 0), 0);
	memory_write(m, 4096, &value, 1);
	assert_true(is_dirty(m, 0, 1));
	memory_write(m, 3 * 4096 - 4, &value, 8);
	assert_true(is_dirty(m, 0, 2) && is_dirty(m, 0, 3));
	memory_at_write(m, 64 * 4096 - 1, 2 * 4096 + 2);
	assert_true(is_dirty(m, 0, 63) && is_dirty(m, 0, 66));
	assert_int_equal(count_dirty(m, 0), 3 + 4);
	memory_write(m, MEMORY_HOLE_START - 1, &value, 1);
	memory_write(m, MEMORY_HOLE_END + MIB - 1, &value, 1);
	assert_true(is_dirty(m, 0, MEMORY_HOLE_START / 4096 - 1));
	assert_true(is_dirty(m, 1, 255));
	assert_int_equal(count_dirty(m, 1), 1);
	assert_int_equal(memory_write(m, MEMORY_HOLE_START - 1, &value, 2), -EFAULT);
	/* Off keeps the bits, on clears them. */
	assert_int_equal(memory_track(m, false), 0);
	memory_write(m, 0, &value, 8);
	assert_false(is_dirty(m, 0, 0));
	assert_true(is_dirty(m, 0, 1));
	assert_int_equal(memory_track(m, true), 0);
	assert_int_equal(count_dirty(m, 0), 0);
	memory_destroy(m);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_range),        cmocka_unit_test(around_the_hole),
		cmocka_unit_test(ranges_that_wrap), cmocka_unit_test(cleared),
		cmocka_unit_test(tracking),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
