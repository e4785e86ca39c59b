/* SPDX-License-Identifier: MIT */
/* The chips through which a guest turns its machine off: acpi_pm, i8042, pvpanic. */
#include "tests/unit/unit.h"

#include "devices/acpi_pm.h"
#include "devices/i8042.h"
#include "devices/pvpanic.h"
#include "tests/fake_vm.h"

#define PM      0x600
#define PVPANIC 0x505
#define SCI     9

struct fixture {
	struct fake_vm *fake;
	struct bus *pio;
	struct acpi_pm *pm;
	struct i8042 *i8042;
	struct pvpanic *pvpanic;
	unsigned offs, resets, panics;
};

static void power_off(void *arg)
{
	((struct fixture *)arg)->offs++;
}

static void power_reset(void *arg)
{
	((struct fixture *)arg)->resets++;
}

static void power_panicked(void *arg)
{
	((struct fixture *)arg)->panics++;
}

static const struct power_ops power_ops = {
	.off = power_off, .reset = power_reset, .panicked = power_panicked};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct power power = {.ops = &power_ops, .arg = f};
	struct irq_line sci;

	assert_non_null(f);
	f->fake = fake_vm_create(0);
	f->pio = f->fake->vm.pio;
	sci = (struct irq_line){.vm = &f->fake->vm, .gsi = SCI};
	assert_int_equal(acpi_pm_create(f->pio, PM, &sci, &power, &f->pm), 0);
	assert_int_equal(i8042_create(f->pio, &power, &f->i8042), 0);
	assert_int_equal(pvpanic_create(f->pio, PVPANIC, &power, &f->pvpanic), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	acpi_pm_destroy(f->pm);
	i8042_destroy(f->i8042);
	pvpanic_destroy(f->pvpanic);
	fake_vm_destroy(f->fake);
	free(f);
	return 0;
}

static void pm_soft_off(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(bus_read(f->pio, PM + 4, 2), 1); /* SCI_EN */
	bus_write(f->pio, PM + 4, 2, 5 << 10);            /* a type, but not the enable bit */
	assert_int_equal(f->offs, 0);
	assert_int_equal(bus_read(f->pio, PM + 4, 2), 5 << 10 | 1);
	bus_write(f->pio, PM + 4, 2, 3 << 10 | 1 << 13); /* S3 is not offered */
	assert_int_equal(f->offs, 0);
	bus_write(f->pio, PM + 4, 2, 5 << 10 | 1 << 13);
	assert_int_equal(f->offs, 1);
	assert_int_equal(bus_read(f->pio, PM + 4, 2) & 1 << 13, 0); /* write-only */
	/* In bytes. */
	bus_write(f->pio, PM + 4, 1, 0);
	bus_write(f->pio, PM + 5, 1, 5 << 2 | 1 << 5);
	assert_int_equal(f->offs, 2);
}

static void pm_power_button(void **state)
{
	struct fixture *f = *state;

	acpi_pm_press_power_button(f->pm);
	assert_int_equal(bus_read(f->pio, PM, 2), 0x100);
	assert_false(f->fake->level[SCI]); /* not enabled */
	bus_write(f->pio, PM + 2, 2, 0x100);
	assert_true(f->fake->level[SCI]);
	bus_write(f->pio, PM, 2, 0x20); /* another bit */
	assert_true(f->fake->level[SCI]);
	bus_write(f->pio, PM, 2, 0x100); /* a one clears */
	assert_false(f->fake->level[SCI]);
	assert_int_equal(bus_read(f->pio, PM, 4), 0x01000000);
	acpi_pm_press_power_button(f->pm);
	assert_true(f->fake->level[SCI]);
	bus_write(f->pio, PM + 1, 1, 1); /* the byte that holds it */
	assert_false(f->fake->level[SCI]);
	/* Only events that there are can be enabled. */
	bus_write(f->pio, PM + 2, 2, 0xffff);
	assert_int_equal(bus_read(f->pio, PM + 2, 2), 0x0521);
	acpi_pm_press_power_button(f->pm);
	acpi_pm_reset(f->pm);
	assert_false(f->fake->level[SCI]);
	assert_int_equal(bus_read(f->pio, PM, 4), 0);
}

static void pm_events(void **state)
{
	struct fixture *f = *state;
	const uint64_t gpe = PM + ACPI_PM_GPE;

	acpi_pm_raise(f->pm, ACPI_PM_GPE_GENERATION);
	assert_int_equal(bus_read(f->pio, gpe, 1), 1);
	assert_false(f->fake->level[SCI]); /* not enabled */
	bus_write(f->pio, gpe + 1, 1, 0xff);
	assert_int_equal(bus_read(f->pio, gpe + 1, 1), 3); /* only events that there are */
	assert_true(f->fake->level[SCI]);
	acpi_pm_press_power_button(f->pm);
	bus_write(f->pio, PM + 2, 2, 0x100);
	bus_write(f->pio, PM, 2, 0x100);
	assert_true(f->fake->level[SCI]); /* the line is both's */
	bus_write(f->pio, gpe, 1, 0xfe);
	assert_true(f->fake->level[SCI]);
	bus_write(f->pio, gpe, 1, 1);
	assert_false(f->fake->level[SCI]);
	acpi_pm_replace(f->pm, 0x81);
	assert_true(f->fake->level[SCI]);
	assert_int_equal(bus_read(f->pio, gpe, 1), 2);
	bus_write(f->pio, PM + ACPI_PM_REPLACED, 1, 1);
	assert_int_equal(bus_read(f->pio, PM + ACPI_PM_REPLACED, 1), 0x80);
	acpi_pm_reset(f->pm);
	assert_int_equal(bus_read(f->pio, PM + ACPI_PM_REPLACED, 1), 0);
	assert_false(f->fake->level[SCI]);
	assert_int_equal(bus_read(f->pio, gpe, 2), 0);
}

static void pm_timer(void **state)
{
	struct fixture *f = *state;
	uint32_t a = (uint32_t)bus_read(f->pio, PM + 8, 4), b = a;

	while (b == a) /* it counts */
		b = (uint32_t)bus_read(f->pio, PM + 8, 4);
	assert_true(b - a < 0x80000000u);
	bus_write(f->pio, PM + 8, 4, 0); /* and nothing stops it */
}

static void pm_reset_register(void **state)
{
	struct fixture *f = *state;

	bus_write(f->pio, PM + ACPI_PM_RESET, 1, 0);
	bus_write(f->pio, PM + ACPI_PM_RESET, 1, 6);
	assert_int_equal(f->resets, 0);
	bus_write(f->pio, PM + ACPI_PM_RESET, 1, ACPI_PM_RESET_VALUE);
	assert_int_equal(f->resets, 1);
}

static void pm_odd_accesses(void **state)
{
	struct fixture *f = *state;

	for (unsigned size = 1; size <= 8; size *= 2) {
		for (unsigned port = PM - 8; port < PM + ACPI_PM_PORTS + 8; port++) {
			bus_read(f->pio, port, size);
			bus_write(f->pio, port, size, 0);
		}
	}
	assert_int_equal(bus_read(f->pio, PM + 6, 2), 0); /* a gap */
	assert_int_equal(f->offs + f->resets, 0);
}

static uint8_t answer(struct fixture *f)
{
	assert_int_equal(bus_read(f->pio, 0x64, 1) & 1, 1);
	return (uint8_t)bus_read(f->pio, 0x60, 1);
}

static void i8042_commands(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(bus_read(f->pio, 0x64, 1), 4); /* nothing to read, ready to be written */
	bus_write(f->pio, 0x64, 1, 0xaa);
	assert_int_equal(answer(f), 0x55);
	assert_int_equal(bus_read(f->pio, 0x64, 1) & 1, 0);
	bus_write(f->pio, 0x64, 1, 0x60);
	bus_write(f->pio, 0x60, 1, 0x47);
	bus_write(f->pio, 0x60, 1, 0xf4); /* to a keyboard that is not there */
	bus_write(f->pio, 0x64, 1, 0x20);
	assert_int_equal(answer(f), 0x47);
	bus_write(f->pio, 0x64, 1, 0xab);
	assert_int_not_equal(answer(f), 0);
	bus_write(f->pio, 0x64, 1, 0xd0);
	assert_int_equal(answer(f) & 3, 3);
	for (unsigned i = 0; i < 256; i++)
		if (i != 0xfe)
			bus_write(f->pio, 0x64, 1, i);
	assert_int_equal(f->resets, 0);
}

static void i8042_resets(void **state)
{
	struct fixture *f = *state;

	bus_write(f->pio, 0x64, 1, 0xfe);
	assert_int_equal(f->resets, 1);
	bus_write(f->pio, 0x64, 1, 0xd1);
	bus_write(f->pio, 0x60, 1, 0x03); /* A20, no reset */
	assert_int_equal(f->resets, 1);
	bus_write(f->pio, 0x60, 1, 0x02); /* nobody waits for it */
	assert_int_equal(f->resets, 1);
	bus_write(f->pio, 0x64, 1, 0xd1);
	bus_write(f->pio, 0x60, 1, 0x02);
	assert_int_equal(f->resets, 2);
	bus_write(f->pio, 0x64, 1, 0xd1);
	i8042_reset(f->i8042);
	bus_write(f->pio, 0x60, 1, 0x00);
	assert_int_equal(f->resets, 2);
}

static void pvpanic_events(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(bus_read(f->pio, PVPANIC, 1), 1);
	bus_write(f->pio, PVPANIC, 1, 2);
	assert_int_equal(f->panics, 0);
	bus_write(f->pio, PVPANIC, 1, 1);
	assert_int_equal(f->panics, 1);
}

/* Ports that are taken: the chip is not made, and takes nothing with it. */
static void ports_taken(void **state)
{
	struct fixture *f = *state;
	struct power power = {.ops = &power_ops, .arg = f};
	struct irq_line sci = {.vm = &f->fake->vm, .gsi = SCI};
	struct acpi_pm *pm;
	struct pvpanic *pvpanic;

	assert_int_equal(acpi_pm_create(f->pio, PM + 8, &sci, &power, &pm), -EEXIST);
	assert_int_equal(pvpanic_create(f->pio, PVPANIC, &power, &pvpanic), -EEXIST);
	assert_int_equal(bus_read(f->pio, PVPANIC, 1), 1);
	assert_int_equal(bus_read(f->pio, PM + 4, 2), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(pm_soft_off),       TEST(pm_power_button), TEST(pm_timer),
		TEST(pm_reset_register), TEST(pm_odd_accesses), TEST(i8042_commands),
		TEST(i8042_resets),      TEST(pvpanic_events),  TEST(ports_taken),
		TEST(pm_events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
