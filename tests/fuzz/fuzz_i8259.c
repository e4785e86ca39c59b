/* SPDX-License-Identifier: MIT */
/* Port accesses, lines, acknowledges, resets; what is saved can be restored. */
#include "devices/i8259.h"
#include "tests/fuzz/fuzz.h"

static void intr(void *arg, bool level)
{
	bool *output = arg;

	FUZZ_CHECK(*output != level);
	*output = level;
}

static void restore(struct i8259 *pic, const bool *output)
{
	struct pic_state saved[2], again[2];
	bool before = *output;

	i8259_state_get(pic, saved);
	FUZZ_CHECK(i8259_state_set(pic, saved) == 0);
	FUZZ_CHECK(*output == before);
	i8259_state_get(pic, again);
	FUZZ_CHECK(memcmp(saved, again, sizeof(saved)) == 0);
}

/* After an acknowledge something is in service, unless it was spurious or EOI is automatic. */
static void acknowledge(struct i8259 *pic, const bool *output)
{
	struct pic_state saved[2];
	bool before = *output;
	int vector = i8259_acknowledge(pic);

	i8259_state_get(pic, saved);
	FUZZ_CHECK(vector >= 0 && vector < 256);
	FUZZ_CHECK(before || (vector & 7) == 7);
	FUZZ_CHECK(!before || saved[0].auto_eoi || saved[0].isr);
}

static void step(struct input *in, struct bus *pio, struct i8259 *pic, const bool *output)
{
	static const uint16_t ports[] = {I8259_MASTER_PORT, I8259_SLAVE_PORT, I8259_ELCR_PORT};
	uint8_t op = input_u8(in);
	struct pic_state state[2];
	uint16_t port = (uint16_t)(ports[(op & 15) % 3] + (op >> 3 & 1));
	unsigned size = op >> 2 & 1 ? 2 : 1;

	switch (op >> 4) {
	case 0:
		bus_read(pio, port, size);
		break;
	case 1:
		i8259_set(pic, input_u8(in), op & 1);
		break;
	case 2:
		acknowledge(pic, output);
		break;
	case 3:
		restore(pic, output);
		break;
	case 4:
		input_bytes(in, state, sizeof(state));
		i8259_state_set(pic, state);
		break;
	case 5:
		i8259_reset(pic);
		FUZZ_CHECK(!*output);
		break;
	case 6:
	case 7:
		i8259_set(pic, op & 15, op >> 4 & 1);
		break;
	default:
		bus_write(pio, port, size, input_number(in, size));
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool output = false;
	struct i8259_config config = {.intr = intr, .arg = &output};
	struct input in = {data, size};
	struct i8259 *pic;
	struct bus *pio;

	FUZZ_CHECK(bus_create(&pio) == 0);
	FUZZ_CHECK(i8259_create(pio, &config, &pic) == 0);
	while (in.left)
		step(&in, pio, pic, &output);
	i8259_destroy(pic);
	bus_destroy(pio);
	return 0;
}
