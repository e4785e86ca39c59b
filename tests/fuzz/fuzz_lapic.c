/* SPDX-License-Identifier: MIT */
/*
 * Three local APICs: registers, MSRs, modes, messages, timers, states. What is pending is above the
 * processor's priority and legal, and what is saved can be restored.
 */
#include "devices/lapic.h"
#include "tests/fuzz/fuzz.h"

#define CPUS 3u

struct cpu {
	struct lapic *lapic;
	uint64_t tsc;
	unsigned calls;
};

static void note(void *arg)
{
	struct cpu *cpu = arg;

	cpu->calls++;
}

static void note_vector(void *arg, uint8_t vector)
{
	(void)vector;
	note(arg);
}

static uint64_t tsc(void *arg)
{
	return ((struct cpu *)arg)->tsc;
}

static uint32_t tsc_khz(void *arg)
{
	return (uint32_t)((struct cpu *)arg)->tsc;
}

static const struct lapic_ops ops = {
	.wake = note,
	.nmi = note,
	.init = note,
	.sipi = note_vector,
	.eoi = note_vector,
	.changed = note,
	.tsc = tsc,
	.tsc_khz = tsc_khz,
};

static void check(struct lapic *lapic)
{
	int vector = lapic_pending(lapic);
	struct lapic_state state;

	lapic_state_get(lapic, &state);
	FUZZ_CHECK(vector < 256 && (vector == -1 || vector >= 16));
	if (vector != -1)
		FUZZ_CHECK(vector >> 4 > state.page[0xa0] >> 4);
	FUZZ_CHECK(!(le32_get(&state.page[0x100]) & 0xffff));
	FUZZ_CHECK(!(le32_get(&state.page[0x200]) & 0xffff));
	FUZZ_CHECK(!(state.base & LAPIC_BASE_X2APIC) || state.base & LAPIC_BASE_ENABLE);
	FUZZ_CHECK(le32_get(&state.page[0x390]) <= le32_get(&state.page[0x380]));
}

/* All but the running count comes back. */
static void restore(struct lapic *lapic)
{
	struct lapic_state saved, again;

	lapic_state_get(lapic, &saved);
	FUZZ_CHECK(lapic_state_set(lapic, &saved) == 0);
	lapic_state_get(lapic, &again);
	FUZZ_CHECK(saved.base == again.base);
	FUZZ_CHECK(memcmp(saved.page, again.page, 0x200) == 0);
	FUZZ_CHECK(memcmp(&saved.page[0x280], &again.page[0x280], 0x390 - 0x280) == 0);
}

static void state_put(struct input *in, struct lapic *lapic, uint32_t id)
{
	struct lapic_state state = {.base = input_u64(in), .tsc_deadline = input_u64(in)};

	for (unsigned offset = 0; offset < CPU_LAPIC_SIZE; offset += 16)
		le32_put(&state.page[offset], input_u32(in));
	le32_put(&state.page[0x20], id << 24);
	lapic_state_set(lapic, &state);
}

static void vcpu_step(struct input *in, struct lapic *lapic, unsigned op)
{
	uint64_t value = 0;

	switch (op) {
	case 0:
		lapic_acknowledge(lapic);
		break;
	case 1:
		lapic_cr8_set(lapic, input_u8(in));
		FUZZ_CHECK(lapic_cr8(lapic) < 16);
		break;
	case 2:
		lapic_tick(lapic);
		lapic_deadline(lapic);
		break;
	case 3:
		lapic_tsc_deadline_set(lapic, input_u64(in));
		lapic_tsc_deadline(lapic);
		break;
	case 4:
		lapic_base_set(lapic, input_u64(in));
		break;
	case 5: /* a likely one */
		lapic_base_set(lapic, LAPIC_BASE | (uint64_t)(input_u8(in) & 3) << 10);
		break;
	case 6:
		lapic_init(lapic);
		break;
	case 7:
		lapic_reset(lapic);
		break;
	case 8:
		lapic_lint(lapic, input_u8(in) & 1, input_u8(in) & 1);
		break;
	case 9:
		lapic_extint_acknowledge(lapic);
		lapic_extint(lapic);
		break;
	case 10:
		restore(lapic);
		break;
	default:
		if (lapic_msr_read(lapic, 0x800 + input_u8(in), &value))
			FUZZ_CHECK(value == 0);
		break;
	}
}

static void step(struct input *in, struct apic_bus *bus, struct cpu cpus[CPUS])
{
	uint8_t op = input_u8(in);
	struct cpu *cpu = &cpus[(op & 3) % CPUS];
	struct apic_message message;
	uint64_t address;

	switch (op >> 5) {
	case 0:
	case 1:
		lapic_write(cpu->lapic, (uint32_t)input_u8(in) << 4, 4, input_u32(in));
		break;
	case 2:
		lapic_msr_write(cpu->lapic, 0x800 + input_u8(in), input_u64(in));
		break;
	case 3:
		lapic_read(cpu->lapic, input_u16(in) & 0xfff, input_size(in));
		break;
	case 4:
		address = 0xfee00000 | (input_u32(in) & 0xfffff);
		if (apic_message_from_msi(address, input_u16(in), &message))
			apic_bus_deliver(bus, &message);
		break;
	case 5:
		cpu->tsc = input_u64(in);
		break;
	case 6:
		state_put(in, cpu->lapic, (op & 3) % CPUS);
		break;
	default:
		vcpu_step(in, cpu->lapic, input_u8(in) % 12);
		break;
	}
	check(cpu->lapic);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct cpu cpus[CPUS] = {0};
	struct apic_bus *bus;

	FUZZ_CHECK(apic_bus_create(&bus) == 0);
	for (unsigned i = 0; i < CPUS; i++) {
		struct lapic_config config = {.ops = &ops,
					      .arg = &cpus[i],
					      .id = i,
					      .bsp = i == 0,
					      .directed_eoi = i == 2};

		FUZZ_CHECK(lapic_create(bus, &config, &cpus[i].lapic) == 0);
	}
	while (in.left)
		step(&in, bus, cpus);
	for (unsigned i = 0; i < CPUS; i++)
		lapic_destroy(cpus[i].lapic);
	apic_bus_destroy(bus);
	return 0;
}
