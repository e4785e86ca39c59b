/* SPDX-License-Identifier: MIT */
/* Commands, parameters and reads in any order. */
#include "devices/i8042.h"
#include "tests/fake_vm.h"
#include "tests/fuzz/fuzz.h"

#define PORT_DATA   0x60
#define PORT_STATUS 0x64
#define STATUS_FULL 0x01

static void note(void *arg)
{
	unsigned *count = arg;

	(*count)++;
}

static const struct power_ops power_ops = {.off = note, .reset = note, .panicked = note};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned count = 0;
	struct power power = {.ops = &power_ops, .arg = &count};
	struct input in = {data, size};
	struct bus *pio;
	struct i8042 *chip;

	FUZZ_CHECK(bus_create(&pio) == 0 && i8042_create(pio, &power, &chip) == 0);
	while (in.left) {
		unsigned op = input_u8(&in), port = op & 1 ? PORT_STATUS : PORT_DATA;

		if (op & 2)
			bus_write(pio, port, 1u << (op >> 2 & 3), input_u8(&in));
		else
			bus_read(pio, port, 1u << (op >> 2 & 3));
		if (op == 0xf0)
			i8042_reset(chip);
	}
	bus_read(pio, PORT_DATA, 1);
	FUZZ_CHECK(!(bus_read(pio, PORT_STATUS, 1) & STATUS_FULL));
	i8042_destroy(chip);
	bus_destroy(pio);
	return 0;
}
