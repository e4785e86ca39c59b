/* SPDX-License-Identifier: MIT */
/*
 * The 8259As, after Intel's data sheet, with what chipsets changed: trigger modes are per line, in
 * ELCR, so that LTIM in ICW1 counts for nothing; and the pair is always cascaded, so that SNGL does
 * neither (ICH10, 13.4.2). A request of an edge-triggered line stays latched when the line falls,
 * as KVM and QEMU do it: timers pulse. The MCS-80 mode and buffered mode are not there.
 */
#include "devices/i8259.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define CASCADE   2u /* the master's line at which the slave is */
#define NO_LINE   (-1)
#define SPURIOUS  7
#define LOWEST    8u /* lower than any priority */
#define BIT(line) ((uint8_t)(1u << (line)))

/* The first byte of an initialization, and the three operation command words. */
#define ICW1          0x10
#define ICW1_IC4      0x01
#define ICW2_BASE     0xf8
#define ICW4_AUTO_EOI 0x02
#define ICW4_NESTED   0x10
#define OCW3          0x08
#define OCW3_READ     0x02
#define OCW3_READ_ISR 0x01
#define OCW3_POLL     0x04
#define OCW3_SPECIAL  0x40
#define OCW3_SET      0x20
#define POLL_REQUEST  0x80

/* Which ICW the data port takes next. */
enum { INIT_DONE, INIT_ICW2, INIT_ICW3, INIT_ICW4 };

/* OCW2, bits 5 to 7. */
enum {
	ROTATE_AUTO_EOI_CLEAR,
	EOI,
	NO_OPERATION,
	EOI_SPECIFIC,
	ROTATE_AUTO_EOI_SET,
	ROTATE_EOI,
	SET_PRIORITY,
	ROTATE_EOI_SPECIFIC,
};

/* Lines of a PC that are edge-triggered for good: 0, 1, 2, 8 and 13. */
static const uint8_t elcr_mask[2] = {0xf8, 0xde};

struct i8259 {
	struct bus *pio;
	struct i8259_config config;
	/* Guards all below. Taken under a device's lock; the APICs' locks come after it. */
	pthread_mutex_t lock;
	struct pic_state chip[2];
	bool output;
};

/* How far `lines`' most urgent is from the top, 0 to 7; LOWEST: there are none. */
static unsigned priority_of(const struct pic_state *chip, uint8_t lines)
{
	for (unsigned priority = 0; priority < 8; priority++)
		if (lines & BIT((priority + chip->priority_add) & 7))
			return priority;
	return LOWEST;
}

/* The in-service bits that hold back others and that an EOI finds ("Special mask mode"). */
static uint8_t in_service(const struct pic_state *chip)
{
	return chip->special_mask ? chip->isr & (uint8_t)~chip->imr : chip->isr;
}

/* The line that this chip asks for service of. */
static int request(const struct pic_state *chip)
{
	unsigned wanted = priority_of(chip, chip->irr & (uint8_t)~chip->imr);
	unsigned served = priority_of(chip, in_service(chip));
	unsigned line = (wanted + chip->priority_add) & 7;

	if (wanted == LOWEST)
		return NO_LINE;
	if (wanted < served)
		return (int)line;
	/* "The special fully nested mode": a slave in service may ask again. Only a master has it.
	 */
	if (wanted == served && chip->special_fully_nested && line == CASCADE &&
	    chip->elcr_mask == elcr_mask[0])
		return (int)line;
	return NO_LINE;
}

static void output_set(struct i8259 *pic, bool level)
{
	if (pic->output == level)
		return;
	pic->output = level;
	pic->config.intr(pic->config.arg, level);
}

static void update(struct i8259 *pic)
{
	if (request(&pic->chip[1]) != NO_LINE)
		pic->chip[0].irr |= BIT(CASCADE);
	output_set(pic, request(&pic->chip[0]) != NO_LINE);
}

static void rotate(struct pic_state *chip, unsigned lowest)
{
	chip->priority_add = (lowest + 1) & 7;
}

static void serve(struct pic_state *chip, unsigned line)
{
	if (!(chip->elcr & BIT(line)))
		chip->irr &= (uint8_t)~BIT(line);
	if (!chip->auto_eoi)
		chip->isr |= BIT(line);
	else if (chip->rotate_on_auto_eoi)
		rotate(chip, line);
}

int i8259_acknowledge(struct i8259 *pic)
{
	const struct pic_state *from = &pic->chip[0];
	int line, vector;

	pthread_mutex_lock(&pic->lock);
	line = request(&pic->chip[0]);
	if (line != NO_LINE)
		serve(&pic->chip[0], (unsigned)line);
	if (line == CASCADE) {
		from = &pic->chip[1];
		line = request(&pic->chip[1]);
		if (line != NO_LINE)
			serve(&pic->chip[1], (unsigned)line);
	}
	vector = from->irq_base + (line == NO_LINE ? SPURIOUS : line);
	output_set(pic, false);
	update(pic);
	pthread_mutex_unlock(&pic->lock);
	return vector;
}

void i8259_set(struct i8259 *pic, unsigned line, bool level)
{
	struct pic_state *chip = &pic->chip[line >= 8];
	uint8_t bit = BIT(line & 7);

	if (line >= I8259_LINES || line == CASCADE)
		return;
	pthread_mutex_lock(&pic->lock);
	if (level && (chip->elcr & bit || !(chip->last_irr & bit)))
		chip->irr |= bit;
	else if (!level && chip->elcr & bit)
		chip->irr &= (uint8_t)~bit;
	if (level)
		chip->last_irr |= bit;
	else
		chip->last_irr &= (uint8_t)~bit;
	update(pic);
	pthread_mutex_unlock(&pic->lock);
}

/*
 * "Initialization command words": the edge detectors start afresh (a line that is high has to fall
 * first), the mask is clear, line 7 is the lowest, reads give IRR. ICW4's functions go if there is
 * to be none.
 */
static void initialize(struct pic_state *chip, uint8_t icw1)
{
	chip->irr &= chip->elcr;
	chip->isr = 0;
	chip->imr = 0;
	chip->priority_add = 0;
	chip->special_mask = 0;
	chip->read_isr = 0;
	chip->poll = 0;
	chip->rotate_on_auto_eoi = 0;
	chip->init4 = icw1 & ICW1_IC4;
	if (!chip->init4) {
		chip->special_fully_nested = 0;
		chip->auto_eoi = 0;
	}
	chip->init_state = INIT_ICW2;
}

static void ocw2_write(struct pic_state *chip, uint8_t value)
{
	unsigned command = value >> 5, line = value & 7;

	if (command == EOI || command == ROTATE_EOI) {
		unsigned priority = priority_of(chip, in_service(chip));

		if (priority == LOWEST)
			return;
		line = (priority + chip->priority_add) & 7;
	}
	if (command == EOI || command == EOI_SPECIFIC || command == ROTATE_EOI ||
	    command == ROTATE_EOI_SPECIFIC)
		chip->isr &= (uint8_t)~BIT(line);
	if (command == ROTATE_EOI || command == ROTATE_EOI_SPECIFIC || command == SET_PRIORITY)
		rotate(chip, line);
	if (command == ROTATE_AUTO_EOI_SET || command == ROTATE_AUTO_EOI_CLEAR)
		chip->rotate_on_auto_eoi = command == ROTATE_AUTO_EOI_SET;
}

static void ocw3_write(struct pic_state *chip, uint8_t value)
{
	if (value & OCW3_POLL)
		chip->poll = 1;
	if (value & OCW3_READ)
		chip->read_isr = value & OCW3_READ_ISR;
	if (value & OCW3_SPECIAL)
		chip->special_mask = (value & OCW3_SET) != 0;
}

static void command_write(struct pic_state *chip, uint8_t value)
{
	if (value & ICW1)
		initialize(chip, value);
	else if (value & OCW3)
		ocw3_write(chip, value);
	else
		ocw2_write(chip, value);
}

static void data_write(struct pic_state *chip, uint8_t value)
{
	switch (chip->init_state) {
	case INIT_ICW2:
		chip->irq_base = value & ICW2_BASE;
		chip->init_state = INIT_ICW3;
		break;
	case INIT_ICW3: /* who is where is fixed */
		chip->init_state = chip->init4 ? INIT_ICW4 : INIT_DONE;
		break;
	case INIT_ICW4:
		chip->special_fully_nested = (value & ICW4_NESTED) != 0;
		chip->auto_eoi = (value & ICW4_AUTO_EOI) != 0;
		chip->init_state = INIT_DONE;
		break;
	default:
		chip->imr = value;
		break;
	}
}

/* "Poll command": the next read acknowledges, and says whether and what. */
static uint8_t poll_read(struct i8259 *pic, struct pic_state *chip)
{
	int line = request(chip);

	chip->poll = 0;
	if (line == NO_LINE)
		return SPURIOUS;
	serve(chip, (unsigned)line);
	if (chip == &pic->chip[1]) /* what the master had latched is being seen to */
		pic->chip[0].irr &= (uint8_t)~BIT(CASCADE);
	return (uint8_t)(POLL_REQUEST | line);
}

static uint8_t port_read(struct i8259 *pic, struct pic_state *chip, uint64_t port)
{
	if (chip->poll)
		return poll_read(pic, chip);
	if (port == 1)
		return chip->imr;
	return chip->read_isr ? chip->isr : chip->irr;
}

static uint64_t chip_read(struct i8259 *pic, unsigned which, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	pthread_mutex_lock(&pic->lock);
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)port_read(pic, &pic->chip[which], offset + i) << 8 * i;
	update(pic);
	pthread_mutex_unlock(&pic->lock);
	return value;
}

static void chip_write(struct i8259 *pic, unsigned which, uint64_t offset, unsigned size,
		       uint64_t value)
{
	pthread_mutex_lock(&pic->lock);
	for (unsigned i = 0; i < size; i++) {
		if (offset + i == 0)
			command_write(&pic->chip[which], (uint8_t)value);
		else
			data_write(&pic->chip[which], (uint8_t)(value >> 8 * i));
	}
	update(pic);
	pthread_mutex_unlock(&pic->lock);
}

static uint64_t master_read(void *device, uint64_t offset, unsigned size)
{
	return chip_read(device, 0, offset, size);
}

static void master_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	chip_write(device, 0, offset, size, value);
}

static uint64_t slave_read(void *device, uint64_t offset, unsigned size)
{
	return chip_read(device, 1, offset, size);
}

static void slave_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	chip_write(device, 1, offset, size, value);
}

static uint64_t elcr_read(void *device, uint64_t offset, unsigned size)
{
	struct i8259 *pic = device;
	uint64_t value = 0;

	pthread_mutex_lock(&pic->lock);
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)pic->chip[(offset + i) & 1].elcr << 8 * i;
	pthread_mutex_unlock(&pic->lock);
	return value;
}

static void elcr_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct i8259 *pic = device;

	pthread_mutex_lock(&pic->lock);
	for (unsigned i = 0; i < size; i++) {
		struct pic_state *chip = &pic->chip[(offset + i) & 1];

		chip->elcr = (uint8_t)(value >> 8 * i) & chip->elcr_mask;
		/* A level-triggered request is the line itself. */
		chip->irr = (uint8_t)((chip->irr & ~chip->elcr) | (chip->last_irr & chip->elcr));
	}
	update(pic);
	pthread_mutex_unlock(&pic->lock);
}

static const struct bus_ops master_ops = {.read = master_read, .write = master_write};
static const struct bus_ops slave_ops = {.read = slave_read, .write = slave_write};
static const struct bus_ops elcr_ops = {.read = elcr_read, .write = elcr_write};

void i8259_reset(struct i8259 *pic)
{
	pthread_mutex_lock(&pic->lock);
	for (unsigned i = 0; i < 2; i++)
		pic->chip[i] = (struct pic_state){.elcr_mask = elcr_mask[i]};
	update(pic);
	pthread_mutex_unlock(&pic->lock);
}

void i8259_state_get(struct i8259 *pic, struct pic_state out[2])
{
	pthread_mutex_lock(&pic->lock);
	memcpy(out, pic->chip, sizeof(pic->chip));
	pthread_mutex_unlock(&pic->lock);
}

static bool state_valid(const struct pic_state *state, uint8_t mask)
{
	return state->priority_add < 8 && state->init_state <= INIT_ICW4 &&
	       !(state->irq_base & ~ICW2_BASE) && !(state->elcr & ~mask) && state->read_isr <= 1 &&
	       state->poll <= 1 && state->special_mask <= 1 && state->auto_eoi <= 1 &&
	       state->rotate_on_auto_eoi <= 1 && state->special_fully_nested <= 1 &&
	       state->init4 <= 1;
}

int i8259_state_set(struct i8259 *pic, const struct pic_state in[2])
{
	for (unsigned i = 0; i < 2; i++)
		if (!state_valid(&in[i], elcr_mask[i]))
			return -EINVAL;
	pthread_mutex_lock(&pic->lock);
	for (unsigned i = 0; i < 2; i++) {
		pic->chip[i] = in[i];
		pic->chip[i].elcr_mask = elcr_mask[i];
	}
	update(pic);
	pthread_mutex_unlock(&pic->lock);
	return 0;
}

int i8259_create(struct bus *pio, const struct i8259_config *config, struct i8259 **out)
{
	struct i8259 *pic = calloc(1, sizeof(*pic));
	int ret;

	if (!pic)
		return -ENOMEM;
	pic->pio = pio;
	pic->config = *config;
	pthread_mutex_init(&pic->lock, NULL);
	i8259_reset(pic);
	ret = bus_add(pio, I8259_MASTER_PORT, 2, &master_ops, pic);
	if (ret == 0)
		ret = bus_add(pio, I8259_SLAVE_PORT, 2, &slave_ops, pic);
	if (ret == 0)
		ret = bus_add(pio, I8259_ELCR_PORT, 2, &elcr_ops, pic);
	if (ret) {
		i8259_destroy(pic);
		return ret;
	}
	*out = pic;
	return 0;
}

void i8259_destroy(struct i8259 *pic)
{
	if (!pic)
		return;
	bus_remove(pic->pio, I8259_MASTER_PORT, pic);
	bus_remove(pic->pio, I8259_SLAVE_PORT, pic);
	bus_remove(pic->pio, I8259_ELCR_PORT, pic);
	pthread_mutex_destroy(&pic->lock);
	free(pic);
}
