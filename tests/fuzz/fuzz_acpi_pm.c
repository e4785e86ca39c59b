/* SPDX-License-Identifier: MIT */
/* Register accesses, presses of the power button, resets. */
#include "devices/acpi_pm.h"
#include "tests/fake_vm.h"
#include "tests/fuzz/fuzz.h"

#define PORT   0x600
#define IRQ    9
#define EVENTS 0x0521u

static void note(void *arg)
{
	unsigned *count = arg;

	(*count)++;
}

static const struct power_ops power_ops = {.off = note, .reset = note, .panicked = note};

/* ACPI 4.8.3.1: the line follows status and enable. */
static void check(struct fake_vm *fake)
{
	uint64_t status = bus_read(fake->vm.pio, PORT, 2);
	uint64_t enable = bus_read(fake->vm.pio, PORT + 2, 2);

	FUZZ_CHECK(!(enable & ~(uint64_t)EVENTS));
	FUZZ_CHECK(fake->level[IRQ] == ((status & enable) != 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fake_vm *fake = fake_vm_create(MEMORY_PAGE_SIZE);
	struct irq_line sci = {.vm = &fake->vm, .gsi = IRQ};
	unsigned count = 0;
	struct power power = {.ops = &power_ops, .arg = &count};
	struct input in = {data, size};
	struct acpi_pm *pm;

	FUZZ_CHECK(acpi_pm_create(fake->vm.pio, PORT, &sci, &power, &pm) == 0);
	while (in.left) {
		unsigned op = input_u8(&in), port = PORT + (op & 15), bytes = 1u << (op >> 4 & 3);

		if (op >> 6 == 0)
			bus_read(fake->vm.pio, port, bytes);
		else if (op >> 6 < 3)
			bus_write(fake->vm.pio, port, bytes, input_number(&in, bytes));
		else if (op & 1)
			acpi_pm_press_power_button(pm);
		else if (op == 0xfe)
			acpi_pm_reset(pm);
		check(fake);
	}
	acpi_pm_reset(pm);
	check(fake);
	acpi_pm_destroy(pm);
	fake_vm_destroy(fake);
	return 0;
}
