/* SPDX-License-Identifier: MIT */
/* pvpanic: one port without state. */
#include "devices/pvpanic.h"

#include <errno.h>
#include <stdlib.h>

#define EVENT_PANICKED 0x01

struct pvpanic {
	struct bus *pio;
	uint16_t port;
	struct power power;
};

/* A read tells which events are understood. */
static uint64_t pvpanic_read(void *device, uint64_t offset, unsigned size)
{
	(void)device;
	(void)offset;
	(void)size;
	return EVENT_PANICKED;
}

static void pvpanic_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pvpanic *chip = device;

	(void)offset;
	(void)size;
	if (value & EVENT_PANICKED)
		chip->power.ops->panicked(chip->power.arg);
}

static const struct bus_ops pvpanic_ops = {.read = pvpanic_read, .write = pvpanic_write};

int pvpanic_create(struct bus *pio, uint16_t port, const struct power *power, struct pvpanic **out)
{
	struct pvpanic *chip = calloc(1, sizeof(*chip));
	int ret;

	if (!chip)
		return -ENOMEM;
	*chip = (struct pvpanic){.pio = pio, .port = port, .power = *power};
	ret = bus_add(pio, port, 1, &pvpanic_ops, chip);
	if (ret) {
		free(chip);
		return ret;
	}
	*out = chip;
	return 0;
}

void pvpanic_destroy(struct pvpanic *chip)
{
	if (!chip)
		return;
	bus_remove(chip->pio, chip->port, chip);
	free(chip);
}
