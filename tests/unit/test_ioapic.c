/* SPDX-License-Identifier: MIT */
/* The I/O APIC against the 82093AA data sheet, and what KVM makes of it. */
#include "tests/unit/unit.h"

#include "devices/ioapic.h"

#define MASKED     0x10000ull
#define LEVEL      0x8000ull
#define REMOTE_IRR 0x4000ull
#define LOGICAL    0x800ull
#define MODE(mode) ((uint64_t)(mode) << 8)
#define TO(dest)   ((uint64_t)(dest) << 56)

struct fixture {
	struct bus *mmio;
	struct ioapic *ioapic;
	unsigned count; /* of messages */
	struct apic_message last;
};

static void deliver(void *arg, const struct apic_message *message)
{
	struct fixture *f = arg;

	f->count++;
	f->last = *message;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct ioapic_config config = {.deliver = deliver, .arg = f};

	assert_non_null(f);
	assert_int_equal(bus_create(&f->mmio), 0);
	assert_int_equal(ioapic_create(f->mmio, &config, &f->ioapic), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	ioapic_destroy(f->ioapic);
	ioapic_destroy(NULL);
	bus_destroy(f->mmio);
	free(f);
	return 0;
}

static uint32_t get(struct fixture *f, unsigned reg)
{
	bus_write(f->mmio, IOAPIC_BASE, 4, reg);
	return (uint32_t)bus_read(f->mmio, IOAPIC_BASE + 0x10, 4);
}

static void put(struct fixture *f, unsigned reg, uint32_t value)
{
	bus_write(f->mmio, IOAPIC_BASE, 4, reg);
	bus_write(f->mmio, IOAPIC_BASE + 0x10, 4, value);
}

static uint64_t entry(struct fixture *f, unsigned pin)
{
	return get(f, 0x10 + 2 * pin) | (uint64_t)get(f, 0x11 + 2 * pin) << 32;
}

static void entry_put(struct fixture *f, unsigned pin, uint64_t value)
{
	put(f, 0x11 + 2 * pin, (uint32_t)(value >> 32));
	put(f, 0x10 + 2 * pin, (uint32_t)value);
}

static void registers(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, 1), 0x170020);
	put(f, 1, ~0u);
	assert_int_equal(get(f, 1), 0x170020);
	put(f, 0, 0xff123456);
	assert_int_equal(get(f, 0), 0x0f000000);
	assert_int_equal(get(f, 2), 0x0f000000);
	assert_int_equal(bus_read(f->mmio, IOAPIC_BASE, 4), 2);
	for (unsigned pin = 0; pin < 24; pin++)
		assert_int_equal(entry(f, pin), MASKED);
	entry_put(f, 3, ~0ull);
	assert_int_equal(entry(f, 3), 0xff0000000001afff); /* status bits are read-only */
	for (unsigned reg = 3; reg < 256; reg++) {
		if (reg >= 0x10 && reg < 0x40)
			continue;
		put(f, reg, ~0u);
		assert_int_equal(get(f, reg), 0);
	}
	assert_int_equal(bus_read(f->mmio, IOAPIC_BASE + 0x20, 4), 0);
	ioapic_reset(f->ioapic);
	assert_int_equal(entry(f, 3), MASKED);
	assert_int_equal(get(f, 0), 0);
	assert_int_equal(f->count, 0);
}

static void edges(void **state)
{
	struct fixture *f = *state;

	entry_put(f, 4, TO(3) | 0x51);
	ioapic_set(f->ioapic, 4, true);
	assert_int_equal(f->count, 1);
	assert_int_equal(f->last.destination, 3);
	assert_int_equal(f->last.vector, 0x51);
	assert_int_equal(f->last.mode, APIC_FIXED);
	assert_false(f->last.logical);
	assert_false(f->last.level_triggered);
	assert_true(f->last.assert);
	assert_int_equal(entry(f, 4) & REMOTE_IRR, 0);
	ioapic_set(f->ioapic, 4, true);
	ioapic_eoi(f->ioapic, 0x51);
	assert_int_equal(f->count, 1);
	ioapic_set(f->ioapic, 4, false);
	ioapic_set(f->ioapic, 4, true);
	assert_int_equal(f->count, 2);
	ioapic_set(f->ioapic, 24, true);
	ioapic_set(f->ioapic, ~0u, true);
	assert_int_equal(f->count, 2);
}

/* "Edge-sensitive interrupts signaled on a masked interrupt pin are ignored." */
static void masked_edges(void **state)
{
	struct fixture *f = *state;

	entry_put(f, 5, MASKED | 0x60);
	ioapic_set(f->ioapic, 5, true);
	entry_put(f, 5, 0x60);
	assert_int_equal(f->count, 0);
	ioapic_set(f->ioapic, 5, true);
	assert_int_equal(f->count, 0);
	ioapic_set(f->ioapic, 5, false);
	ioapic_set(f->ioapic, 5, true);
	assert_int_equal(f->count, 1);
}

static void levels(void **state)
{
	struct fixture *f = *state;

	entry_put(f, 10, LEVEL | LOGICAL | TO(0xff) | 0x71);
	ioapic_set(f->ioapic, 10, true);
	assert_int_equal(f->count, 1);
	assert_true(f->last.level_triggered);
	assert_true(f->last.logical);
	assert_int_equal(f->last.destination, APIC_BROADCAST);
	assert_int_equal(entry(f, 10) & REMOTE_IRR, REMOTE_IRR);
	ioapic_set(f->ioapic, 10, true);
	ioapic_set(f->ioapic, 10, false);
	ioapic_set(f->ioapic, 10, true);
	assert_int_equal(f->count, 1); /* one is under way */
	ioapic_eoi(f->ioapic, 0x70);
	assert_int_equal(f->count, 1);
	ioapic_eoi(f->ioapic, 0x71); /* still asserted: again */
	assert_int_equal(f->count, 2);
	ioapic_set(f->ioapic, 10, false);
	ioapic_eoi(f->ioapic, 0x71);
	assert_int_equal(f->count, 2);
	assert_int_equal(entry(f, 10) & REMOTE_IRR, 0);
	/* Masked: waits for the mask to go, unless it is gone itself. */
	entry_put(f, 10, MASKED | LEVEL | 0x71);
	ioapic_set(f->ioapic, 10, true);
	assert_int_equal(f->count, 2);
	entry_put(f, 10, LEVEL | 0x71);
	assert_int_equal(f->count, 3);
	entry_put(f, 10, MASKED | LEVEL | 0x71);
	ioapic_eoi(f->ioapic, 0x71);
	assert_int_equal(f->count, 3);
	ioapic_set(f->ioapic, 10, false);
	entry_put(f, 10, LEVEL | 0x71);
	assert_int_equal(f->count, 3);
}

static void ends_of_levels(void **state)
{
	struct fixture *f = *state;

	entry_put(f, 11, LEVEL | 0x72);
	ioapic_set(f->ioapic, 11, true);
	bus_write(f->mmio, IOAPIC_BASE + 0x40, 4, 0x72); /* the EOI register */
	assert_int_equal(f->count, 2);
	ioapic_set(f->ioapic, 11, false);
	/* Linux without it: edge and back. */
	entry_put(f, 11, MASKED | 0x72);
	assert_int_equal(entry(f, 11), MASKED | 0x72);
	entry_put(f, 11, MASKED | LEVEL | 0x72);
	assert_int_equal(entry(f, 11), MASKED | LEVEL | 0x72);
	/* A change to edge while asserted is no edge. */
	entry_put(f, 11, LEVEL | 0x72);
	ioapic_set(f->ioapic, 11, true);
	assert_int_equal(f->count, 3);
	entry_put(f, 11, 0x72);
	assert_int_equal(f->count, 3);
	/* And back: the level counts. */
	entry_put(f, 11, LEVEL | 0x72);
	assert_int_equal(f->count, 4);
	/* Two entries with one vector: one EOI is for both. */
	entry_put(f, 12, LEVEL | 0x72);
	ioapic_set(f->ioapic, 12, true);
	assert_int_equal(f->count, 5);
	ioapic_eoi(f->ioapic, 0x72);
	assert_int_equal(f->count, 7);
}

static void old_version(void **state)
{
	struct fixture *f = *state;
	struct ioapic_config config = {deliver, f, IOAPIC_VERSION_82093AA};
	struct ioapic *other = NULL;

	assert_int_equal(ioapic_create(f->mmio, &config, &other), -EEXIST);
	assert_null(other);
	ioapic_destroy(f->ioapic);
	assert_int_equal(ioapic_create(f->mmio, &config, &f->ioapic), 0);
	assert_int_equal(get(f, 1), 0x170011);
	entry_put(f, 11, LEVEL | 0x72);
	ioapic_set(f->ioapic, 11, true);
	bus_write(f->mmio, IOAPIC_BASE + 0x40, 4, 0x72);
	assert_int_equal(f->count, 1);
}

static void modes(void **state)
{
	static const bool sent[8] = {true, true, false, false, true, true, false, true};
	struct fixture *f = *state;

	for (unsigned mode = 0; mode < 8; mode++) {
		unsigned before = f->count;
		bool level = mode == APIC_FIXED || mode == APIC_LOWEST_PRIORITY;

		entry_put(f, mode, LEVEL | MODE(mode) | TO(1) | 0x80);
		ioapic_set(f->ioapic, mode, true);
		assert_int_equal(f->count - before, sent[mode]);
		if (!sent[mode])
			continue;
		assert_int_equal(f->last.mode, mode);
		/* The others are edges, and nobody ends them. */
		assert_int_equal(f->last.level_triggered, level);
		assert_int_equal(entry(f, mode) & REMOTE_IRR, level ? REMOTE_IRR : 0);
	}
}

static void save_and_restore(void **state)
{
	struct fixture *f = *state;
	struct ioapic_state saved, again;

	put(f, 0, 0x05000000);
	entry_put(f, 4, TO(1) | 0x51);
	entry_put(f, 10, LEVEL | TO(2) | 0x71);
	entry_put(f, 11, LEVEL | MASKED | 0x72);
	ioapic_set(f->ioapic, 4, true);
	ioapic_set(f->ioapic, 10, true);
	ioapic_set(f->ioapic, 11, true);
	ioapic_state_get(f->ioapic, &saved);
	assert_int_equal(saved.base, IOAPIC_BASE);
	assert_int_equal(saved.id, 5);
	assert_int_equal(saved.select, 0x10 + 22);
	assert_int_equal(saved.irr, 0xc00); /* the edge has been sent */
	assert_int_equal(saved.redirection[10], LEVEL | REMOTE_IRR | TO(2) | 0x71);
	ioapic_reset(f->ioapic);
	f->count = 0;
	assert_int_equal(ioapic_state_set(f->ioapic, &saved), 0);
	assert_int_equal(f->count, 0);
	ioapic_state_get(f->ioapic, &again);
	assert_memory_equal(&saved, &again, sizeof(saved));
	ioapic_eoi(f->ioapic, 0x71);
	assert_int_equal(f->count, 1);
	/* KVM saves inputs that are asserted and not yet served. */
	saved.irr = 0x10;
	saved.redirection[10] &= ~REMOTE_IRR;
	assert_int_equal(ioapic_state_set(f->ioapic, &saved), 0);
	assert_int_equal(f->count, 2);
	assert_int_equal(f->last.vector, 0x51);
	saved.irr = 1u << 24;
	assert_int_equal(ioapic_state_set(f->ioapic, &saved), -EINVAL);
	saved.irr = 0;
	saved.base = 0;
	assert_int_equal(ioapic_state_set(f->ioapic, &saved), -EINVAL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(registers),      TEST(edges),       TEST(masked_edges), TEST(levels),
		TEST(ends_of_levels), TEST(old_version), TEST(modes),        TEST(save_and_restore),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
