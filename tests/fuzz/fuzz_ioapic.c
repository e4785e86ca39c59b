/* SPDX-License-Identifier: MIT */
/* Register accesses, inputs, EOIs, states. A level is sent once until its EOI. */
#include "devices/ioapic.h"
#include "tests/fuzz/fuzz.h"

static void deliver(void *arg, const struct apic_message *message)
{
	unsigned *count = arg;

	(*count)++;
	FUZZ_CHECK(message->mode != APIC_SMI && message->mode != APIC_RESERVED);
	FUZZ_CHECK(message->mode <= APIC_EXTINT && message->assert);
	FUZZ_CHECK(message->destination < 0xff || message->destination == APIC_BROADCAST);
	FUZZ_CHECK(!message->level_triggered || message->mode <= APIC_LOWEST_PRIORITY);
}

static void input_set(struct ioapic *ioapic, unsigned pin, bool level, const unsigned *count)
{
	unsigned before = *count;

	ioapic_set(ioapic, pin, level);
	FUZZ_CHECK(*count - before <= (level ? 1u : 0u));
	before = *count;
	ioapic_set(ioapic, pin, level); /* nothing new */
	FUZZ_CHECK(*count == before);
}

static void restore(struct ioapic *ioapic)
{
	struct ioapic_state saved, again;

	ioapic_state_get(ioapic, &saved);
	FUZZ_CHECK(ioapic_state_set(ioapic, &saved) == 0);
	ioapic_state_get(ioapic, &again);
	FUZZ_CHECK(saved.id == again.id && saved.select == again.select);
	FUZZ_CHECK((again.irr & ~saved.irr) == 0);
}

static void step(struct input *in, struct bus *mmio, struct ioapic *ioapic, const unsigned *count)
{
	uint8_t op = input_u8(in);
	struct ioapic_state state;

	switch (op >> 5) {
	case 0:
	case 1:
		input_set(ioapic, op & 31, op >> 5 & 1, count);
		break;
	case 2:
		bus_write(mmio, IOAPIC_BASE, 4, input_u8(in));
		bus_write(mmio, IOAPIC_BASE + 0x10, 4, input_u32(in));
		break;
	case 3:
		bus_read(mmio, IOAPIC_BASE + input_u8(in), 1u << (op & 3));
		break;
	case 4:
		bus_write(mmio, IOAPIC_BASE + input_u8(in), 1u << (op & 3), input_u64(in));
		break;
	case 5:
		ioapic_eoi(ioapic, input_u8(in));
		break;
	case 6:
		restore(ioapic);
		break;
	default:
		input_bytes(in, &state, sizeof(state));
		state.base = IOAPIC_BASE;
		if (ioapic_state_set(ioapic, &state) && op & 1)
			ioapic_reset(ioapic);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned count = 0;
	struct ioapic_config config = {.deliver = deliver, .arg = &count};
	struct input in = {data, size};
	struct ioapic *ioapic;
	struct bus *mmio;

	FUZZ_CHECK(bus_create(&mmio) == 0);
	FUZZ_CHECK(ioapic_create(mmio, &config, &ioapic) == 0);
	while (in.left)
		step(&in, mmio, ioapic, &count);
	ioapic_destroy(ioapic);
	bus_destroy(mmio);
	return 0;
}
