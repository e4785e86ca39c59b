/* SPDX-License-Identifier: MIT */
/* The 8042: self-test, command byte, output port, and the reset line. */
#include "devices/i8042.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#define PORT_DATA   0x60
#define PORT_STATUS 0x64 /* reads status, writes a command */

#define STATUS_OUTPUT_FULL 0x01
#define STATUS_SYSTEM      0x04 /* self-test passed */

#define COMMAND_READ_BYTE    0x20
#define COMMAND_WRITE_BYTE   0x60
#define COMMAND_SELF_TEST    0xaa
#define COMMAND_TEST_PORT    0xab
#define COMMAND_READ_OUTPUT  0xd0
#define COMMAND_WRITE_OUTPUT 0xd1
#define COMMAND_PULSE_RESET  0xfe

#define OUTPUT_RESET 0x01 /* low resets the processor */
#define OUTPUT_A20   0x02
#define SELF_TEST_OK 0x55
#define NO_CLOCK     0x01 /* port test: nobody is attached */

struct i8042 {
	struct bus *pio;
	struct power power;
	pthread_mutex_t lock; /* guards all below */
	uint8_t command_byte;
	uint8_t awaiting; /* the command whose parameter comes next, or 0 */
	uint8_t output;
	bool output_full;
};

static void answer(struct i8042 *chip, uint8_t value)
{
	chip->output = value;
	chip->output_full = true;
}

static void command(struct i8042 *chip, uint8_t value)
{
	chip->awaiting = 0;
	switch (value) {
	case COMMAND_READ_BYTE:
		answer(chip, chip->command_byte);
		break;
	case COMMAND_WRITE_BYTE:
	case COMMAND_WRITE_OUTPUT:
		chip->awaiting = value;
		break;
	case COMMAND_SELF_TEST:
		answer(chip, SELF_TEST_OK);
		break;
	case COMMAND_TEST_PORT:
		answer(chip, NO_CLOCK);
		break;
	case COMMAND_READ_OUTPUT:
		answer(chip, OUTPUT_RESET | OUTPUT_A20);
		break;
	case COMMAND_PULSE_RESET:
		chip->power.ops->reset(chip->power.arg);
		break;
	default:
		break;
	}
}

static void data(struct i8042 *chip, uint8_t value)
{
	if (chip->awaiting == COMMAND_WRITE_BYTE)
		chip->command_byte = value;
	else if (chip->awaiting == COMMAND_WRITE_OUTPUT && !(value & OUTPUT_RESET))
		chip->power.ops->reset(chip->power.arg);
	chip->awaiting = 0;
}

static uint64_t data_read(void *device, uint64_t offset, unsigned size)
{
	struct i8042 *chip = device;
	uint8_t value;

	(void)offset;
	(void)size;
	pthread_mutex_lock(&chip->lock);
	value = chip->output;
	chip->output_full = false;
	pthread_mutex_unlock(&chip->lock);
	return value;
}

static void data_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct i8042 *chip = device;

	(void)offset;
	(void)size;
	pthread_mutex_lock(&chip->lock);
	data(chip, (uint8_t)value);
	pthread_mutex_unlock(&chip->lock);
}

static uint64_t status_read(void *device, uint64_t offset, unsigned size)
{
	struct i8042 *chip = device;
	bool full;

	(void)offset;
	(void)size;
	pthread_mutex_lock(&chip->lock);
	full = chip->output_full;
	pthread_mutex_unlock(&chip->lock);
	return STATUS_SYSTEM | (full ? STATUS_OUTPUT_FULL : 0);
}

static void status_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct i8042 *chip = device;

	(void)offset;
	(void)size;
	pthread_mutex_lock(&chip->lock);
	command(chip, (uint8_t)value);
	pthread_mutex_unlock(&chip->lock);
}

static const struct bus_ops data_ops = {.read = data_read, .write = data_write};
static const struct bus_ops status_ops = {.read = status_read, .write = status_write};

void i8042_reset(struct i8042 *chip)
{
	pthread_mutex_lock(&chip->lock);
	chip->command_byte = chip->awaiting = chip->output = 0;
	chip->output_full = false;
	pthread_mutex_unlock(&chip->lock);
}

void i8042_state(struct i8042 *chip, struct codec *c)
{
	uint8_t command_byte = 0, awaiting = 0, output = 0;
	bool full = false;

	pthread_mutex_lock(&chip->lock);
	if (!codec_loading(c)) {
		command_byte = chip->command_byte;
		awaiting = chip->awaiting;
		output = chip->output;
		full = chip->output_full;
	}
	codec_begin(c, "i8042", 0, 1);
	codec_u8(c, &command_byte);
	codec_u8(c, &awaiting);
	codec_u8(c, &output);
	codec_bool(c, &full);
	codec_check(c,
		    awaiting == 0 || awaiting == COMMAND_WRITE_BYTE ||
			    awaiting == COMMAND_WRITE_OUTPUT,
		    "it awaits a parameter of no command");
	codec_end(c);
	if (codec_loading(c) && codec_good(c)) {
		chip->command_byte = command_byte;
		chip->awaiting = awaiting;
		chip->output = output;
		chip->output_full = full;
	}
	pthread_mutex_unlock(&chip->lock);
}

int i8042_create(struct bus *pio, const struct power *power, struct i8042 **out)
{
	struct i8042 *chip = calloc(1, sizeof(*chip));
	int ret;

	if (!chip)
		return -ENOMEM;
	chip->pio = pio;
	chip->power = *power;
	pthread_mutex_init(&chip->lock, NULL);
	ret = bus_add(pio, PORT_DATA, 1, &data_ops, chip);
	if (ret == 0)
		ret = bus_add(pio, PORT_STATUS, 1, &status_ops, chip);
	if (ret) {
		i8042_destroy(chip);
		return ret;
	}
	*out = chip;
	return 0;
}

void i8042_destroy(struct i8042 *chip)
{
	if (!chip)
		return;
	bus_remove(chip->pio, PORT_DATA, chip);
	bus_remove(chip->pio, PORT_STATUS, chip);
	pthread_mutex_destroy(&chip->lock);
	free(chip);
}
