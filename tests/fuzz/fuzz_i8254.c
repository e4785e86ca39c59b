/* SPDX-License-Identifier: MIT */
/* Port accesses, ticks and states, in the host's own time. What is saved can be restored. */
#include "devices/i8254.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/base/clock.h"

struct line {
	bool level;
	unsigned rises;
};

static void irq(void *arg, bool level)
{
	struct line *line = arg;

	FUZZ_CHECK(line->level != level);
	line->level = level;
	line->rises += level;
}

static void changed(void *arg)
{
	(void)arg;
}

/* At most one edge an access; a tick at once after another has nothing to do but the new. */
static void check(struct i8254 *pit, const struct line *line, unsigned before)
{
	uint64_t deadline;

	FUZZ_CHECK(!line->level);
	FUZZ_CHECK(line->rises - before <= 16);
	i8254_tick(pit);
	deadline = i8254_deadline(pit);
	FUZZ_CHECK(deadline < clock_monotonic_ns() + CLOCK_NS_PER_S);
}

static void restore(struct i8254 *pit)
{
	struct pit_channel_state saved[3], again[3];
	uint32_t flags, flags_again;

	i8254_state_get(pit, saved, &flags);
	FUZZ_CHECK(i8254_state_set(pit, saved, flags) == 0);
	i8254_state_get(pit, again, &flags_again);
	FUZZ_CHECK(flags == flags_again);
	for (unsigned i = 0; i < 3; i++) {
		FUZZ_CHECK(saved[i].count == again[i].count && saved[i].mode == again[i].mode);
		FUZZ_CHECK(saved[i].rw_mode == again[i].rw_mode && saved[i].bcd == again[i].bcd);
		FUZZ_CHECK(saved[i].count_latched == again[i].count_latched);
		FUZZ_CHECK(saved[i].gate == again[i].gate);
	}
}

static void state_put(struct input *in, struct i8254 *pit)
{
	struct pit_channel_state state[3];

	for (unsigned i = 0; i < 3; i++)
		state[i] = (struct pit_channel_state){
			.count = input_u32(in) & 0x1ffff,
			.latched_count = input_u16(in),
			.count_latched = input_u8(in) & 3,
			.status_latched = input_u8(in) & 1,
			.read_state = input_u8(in) & 7,
			.write_state = input_u8(in) & 7,
			.rw_mode = input_u8(in) & 3,
			.mode = input_u8(in) & 15,
			.bcd = input_u8(in) & 1,
			.gate = i < 2 || input_u8(in) & 1,
			.load_time = (int64_t)input_u64(in),
		};
	i8254_state_set(pit, state, input_u8(in) & 3);
}

static void step(struct input *in, struct bus *pio, struct i8254 *pit)
{
	uint8_t op = input_u8(in);
	uint16_t port = (uint16_t)(I8254_PORT + (op & 3));
	unsigned size = 1u << (op >> 2 & 1);

	switch (op >> 4) {
	case 0:
	case 1:
		bus_read(pio, port, size);
		break;
	case 2:
		bus_write(pio, I8254_CONTROL_PORT, 1, op);
		bus_read(pio, I8254_CONTROL_PORT, 1);
		break;
	case 3:
		restore(pit);
		break;
	case 4:
		state_put(in, pit);
		break;
	case 5:
		i8254_reset(pit);
		FUZZ_CHECK(i8254_deadline(pit) == 0);
		break;
	default:
		bus_write(pio, port, size, input_number(in, size));
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct line line = {0};
	struct i8254_config config = {.irq = irq, .changed = changed, .arg = &line};
	struct input in = {data, size};
	struct i8254 *pit;
	struct bus *pio;

	FUZZ_CHECK(bus_create(&pio) == 0);
	FUZZ_CHECK(i8254_create(pio, &config, &pit) == 0);
	while (in.left) {
		unsigned before = line.rises;

		step(&in, pio, pit);
		check(pit, &line, before);
	}
	i8254_destroy(pit);
	bus_destroy(pio);
	return 0;
}
