/* SPDX-License-Identifier: MIT */
/* Local APICs and their bus against SDM vol. 3, chapter 11, under a clock that the test turns. */
#include "tests/unit/unit.h"

#include <time.h>

#include "devices/lapic.h"
#include "vmm/base/clock.h"

#define CPUS    4u
#define TSC_KHZ 3000000u /* three ticks a nanosecond */

enum {
	ID = 0x20,
	VERSION = 0x30,
	TPR = 0x80,
	PPR = 0xa0,
	END = 0xb0,
	LDR = 0xd0,
	DFR = 0xe0,
	SVR = 0xf0,
	ISR = 0x100,
	TMR = 0x180,
	IRR = 0x200,
	ESR = 0x280,
	ICR = 0x300,
	ICR_HIGH = 0x310,
	LVT_TIMER = 0x320,
	LVT_PERFORMANCE = 0x340,
	LVT_LINT0 = 0x350,
	LVT_LINT1 = 0x360,
	LVT_ERROR = 0x370,
	INITIAL = 0x380,
	CURRENT = 0x390,
	DIVIDE = 0x3e0,
};

#define MASKED   0x10000u
#define PERIODIC 0x20000u
#define DEADLINE 0x40000u
#define X2APIC   (LAPIC_BASE | LAPIC_BASE_ENABLE | LAPIC_BASE_X2APIC)
#define DIVIDE_1 0xb

static uint64_t monotonic_ns;

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	assert_int_equal(clock, CLOCK_MONOTONIC);
	ts->tv_sec = (time_t)(monotonic_ns / CLOCK_NS_PER_S);
	ts->tv_nsec = (long)(monotonic_ns % CLOCK_NS_PER_S);
	return 0;
}

struct cpu {
	struct lapic *lapic;
	unsigned wakes, nmis, inits, sipis, ends, changes;
	uint8_t sipi_vector, ended;
};

struct fixture {
	struct apic_bus *bus;
	struct cpu cpu[CPUS];
};

static void wake(void *arg)
{
	((struct cpu *)arg)->wakes++;
}

static void nmi(void *arg)
{
	((struct cpu *)arg)->nmis++;
}

static void init(void *arg)
{
	((struct cpu *)arg)->inits++;
}

static void sipi(void *arg, uint8_t vector)
{
	struct cpu *cpu = arg;

	cpu->sipis++;
	cpu->sipi_vector = vector;
}

static void ended(void *arg, uint8_t vector)
{
	struct cpu *cpu = arg;

	cpu->ends++;
	cpu->ended = vector;
}

static void changed(void *arg)
{
	((struct cpu *)arg)->changes++;
}

static uint64_t tsc(void *arg)
{
	(void)arg;
	return monotonic_ns * 3;
}

static uint32_t tsc_khz(void *arg)
{
	(void)arg;
	return TSC_KHZ;
}

static const struct lapic_ops ops = {
	.wake = wake,
	.nmi = nmi,
	.init = init,
	.sipi = sipi,
	.eoi = ended,
	.changed = changed,
	.tsc = tsc,
	.tsc_khz = tsc_khz,
};

static uint32_t get(struct lapic *lapic, uint32_t offset)
{
	return (uint32_t)lapic_read(lapic, offset, 4);
}

static void put(struct lapic *lapic, uint32_t offset, uint32_t value)
{
	lapic_write(lapic, offset, 4, value);
}

static uint64_t msr(struct lapic *lapic, uint32_t offset)
{
	uint64_t value = 0;

	assert_int_equal(lapic_msr_read(lapic, 0x800 + offset / 16, &value), 0);
	return value;
}

static int msr_put(struct lapic *lapic, uint32_t offset, uint64_t value)
{
	return lapic_msr_write(lapic, 0x800 + offset / 16, value);
}

/* All enabled, flat logical ids 1, 2, 4, 8. */
static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	monotonic_ns = 1000 * CLOCK_NS_PER_S;
	assert_int_equal(apic_bus_create(&f->bus), 0);
	for (unsigned i = 0; i < CPUS; i++) {
		struct lapic_config config = {&ops, &f->cpu[i], i, i == 0, false, false, 40};

		assert_int_equal(lapic_create(f->bus, &config, &f->cpu[i].lapic), 0);
		put(f->cpu[i].lapic, SVR, 0x1ff);
		put(f->cpu[i].lapic, LDR, 1u << (24 + i));
	}
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < CPUS; i++)
		lapic_destroy(f->cpu[i].lapic);
	lapic_destroy(NULL);
	apic_bus_destroy(f->bus);
	apic_bus_destroy(NULL);
	free(f);
	return 0;
}

static void deliver(struct fixture *f, uint32_t destination, uint8_t mode, uint8_t vector,
		    bool level)
{
	struct apic_message message = {.destination = destination,
				       .mode = mode,
				       .vector = vector,
				       .level_triggered = level,
				       .assert = true};

	apic_bus_deliver(f->bus, &message);
}

/* Which CPUs have the vector pending, as bits; they take and end it. */
static unsigned takers(struct fixture *f, int vector)
{
	unsigned bits = 0;

	for (unsigned i = 0; i < CPUS; i++) {
		if (lapic_pending(f->cpu[i].lapic) != vector)
			continue;
		bits |= 1u << i;
		assert_int_equal(lapic_acknowledge(f->cpu[i].lapic), vector);
		if (!(lapic_base(f->cpu[i].lapic) & LAPIC_BASE_X2APIC))
			put(f->cpu[i].lapic, END, 0);
		else
			assert_int_equal(msr_put(f->cpu[i].lapic, END, 0), 0);
	}
	return bits;
}

static void reset_values(void **state)
{
	struct fixture *f = *state;
	struct lapic *lapic = f->cpu[3].lapic;

	put(lapic, TPR, 0x55);
	put(lapic, INITIAL, 100000);
	for (unsigned i = 0; i < 2; i++) {
		if (i)
			lapic_reset(lapic);
		else
			lapic_init(lapic);
		assert_int_equal(get(lapic, ID), 3u << 24);
		assert_int_equal(get(lapic, VERSION), 0x50014);
		assert_int_equal(get(lapic, TPR), 0);
		assert_int_equal(get(lapic, LDR), 0);
		assert_int_equal(get(lapic, DFR), ~0u);
		assert_int_equal(get(lapic, SVR), 0xff);
		for (uint32_t lvt = LVT_TIMER; lvt <= LVT_ERROR; lvt += 16)
			assert_int_equal(get(lapic, lvt), MASKED);
		assert_int_equal(get(lapic, INITIAL), 0);
		assert_int_equal(get(lapic, CURRENT), 0);
		assert_int_equal(get(lapic, DIVIDE), 0);
		assert_int_equal(lapic_base(lapic), LAPIC_BASE | LAPIC_BASE_ENABLE);
	}
	assert_int_equal(lapic_base(f->cpu[0].lapic),
			 LAPIC_BASE | LAPIC_BASE_ENABLE | LAPIC_BASE_BSP);
	assert_int_equal(lapic_deadline(lapic), 0);
}

static void priorities(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = &f->cpu[1];
	struct lapic *lapic = cpu->lapic;

	assert_int_equal(lapic_pending(lapic), -1);
	deliver(f, 1, APIC_FIXED, 0x51, false);
	assert_int_equal(cpu->wakes, 1);
	assert_int_equal(get(lapic, IRR + 0x20), 1u << 17);
	deliver(f, 1, APIC_FIXED, 0x62, false);
	assert_int_equal(lapic_pending(lapic), 0x62);
	assert_int_equal(lapic_acknowledge(lapic), 0x62);
	assert_int_equal(get(lapic, PPR), 0x60);
	assert_int_equal(get(lapic, ISR + 0x30), 1u << 2);
	assert_int_equal(lapic_pending(lapic), -1);
	deliver(f, 1, APIC_FIXED, 0x6f, false); /* the same class */
	assert_int_equal(lapic_pending(lapic), -1);
	deliver(f, 1, APIC_FIXED, 0x71, false);
	assert_int_equal(lapic_acknowledge(lapic), 0x71);
	put(lapic, END, 0);
	assert_int_equal(get(lapic, PPR), 0x60);
	put(lapic, END, 0);
	assert_int_equal(get(lapic, PPR), 0);
	assert_int_equal(cpu->ends, 0); /* edges */
	/* TPR and CR8. */
	put(lapic, TPR, 0x5f);
	assert_int_equal(get(lapic, PPR), 0x5f);
	assert_int_equal(lapic_cr8(lapic), 5);
	assert_int_equal(lapic_acknowledge(lapic), 0x6f);
	assert_int_equal(get(lapic, PPR), 0x60);
	put(lapic, END, 0);
	assert_int_equal(lapic_pending(lapic), -1);
	cpu->wakes = 0;
	lapic_cr8_set(lapic, 4);
	assert_int_equal(cpu->wakes, 1);
	assert_int_equal(get(lapic, TPR), 0x40);
	assert_int_equal(lapic_pending(lapic), 0x51);
	lapic_cr8_set(lapic, 15);
	assert_int_equal(lapic_acknowledge(lapic), 0xff); /* spurious: nothing in service */
	put(lapic, END, 0);
	lapic_cr8_set(lapic, 0);
	assert_int_equal(lapic_acknowledge(lapic), 0x51);
	put(lapic, END, 0);
	put(lapic, END, 0); /* one too many does nothing */
	assert_int_equal(lapic_pending(lapic), -1);
}

static void level_eoi(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = &f->cpu[0];
	struct lapic_config config = {&ops, cpu, 9, false, false, true, 0};
	struct lapic *other;

	deliver(f, 0, APIC_FIXED, 0x45, true);
	assert_int_equal(get(cpu->lapic, TMR + 0x20), 1u << 5);
	lapic_acknowledge(cpu->lapic);
	assert_int_equal(cpu->ends, 0);
	put(cpu->lapic, END, 0);
	assert_int_equal(cpu->ends, 1);
	assert_int_equal(cpu->ended, 0x45);
	deliver(f, 0, APIC_FIXED, 0x45, false); /* an edge now */
	assert_int_equal(get(cpu->lapic, TMR + 0x20), 0);
	lapic_acknowledge(cpu->lapic);
	put(cpu->lapic, END, 0);
	assert_int_equal(cpu->ends, 1);
	/* Suppressed, where that is on offer. */
	put(cpu->lapic, SVR, 0x11ff);
	assert_int_equal(get(cpu->lapic, SVR), 0x1ff);
	assert_int_equal(lapic_create(f->bus, &config, &other), 0);
	assert_int_equal(get(other, VERSION), 0x1050014);
	put(other, SVR, 0x11ff);
	assert_int_equal(get(other, SVR), 0x11ff);
	deliver(f, 9, APIC_FIXED, 0x45, true);
	assert_int_equal(lapic_acknowledge(other), 0x45);
	put(other, END, 0);
	assert_int_equal(cpu->ends, 1);
	lapic_destroy(other);
}

static void software_disable(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = &f->cpu[2];

	put(cpu->lapic, LVT_ERROR, 0xfe);
	deliver(f, 2, APIC_FIXED, 0x45, false);
	put(cpu->lapic, SVR, 0x0ff);
	assert_int_equal(get(cpu->lapic, LVT_ERROR), MASKED | 0xfe);
	put(cpu->lapic, LVT_ERROR, 0xfd);
	assert_int_equal(get(cpu->lapic, LVT_ERROR), MASKED | 0xfd);
	deliver(f, 2, APIC_FIXED, 0x46, false);
	assert_int_equal(lapic_acknowledge(cpu->lapic), 0x45); /* what was there is held */
	put(cpu->lapic, END, 0);
	assert_int_equal(lapic_pending(cpu->lapic), -1);
	deliver(f, 2, APIC_NMI, 0, false);
	deliver(f, 2, APIC_INIT, 0, false);
	deliver(f, 2, APIC_STARTUP, 0x9a, false);
	deliver(f, 2, APIC_SMI, 0, false);
	deliver(f, 2, APIC_RESERVED, 0, false);
	assert_int_equal(cpu->nmis, 1);
	assert_int_equal(cpu->inits, 1);
	assert_int_equal(cpu->sipis, 1);
	assert_int_equal(cpu->sipi_vector, 0x9a);
	put(cpu->lapic, SVR, 0x1ff);
	assert_int_equal(get(cpu->lapic, LVT_ERROR), MASKED | 0xfd);
}

static void errors(void **state)
{
	struct fixture *f = *state;
	struct lapic *lapic = f->cpu[0].lapic;

	put(lapic, LVT_ERROR, 0xfe);
	deliver(f, 0, APIC_FIXED, 0x0f, false);
	assert_int_equal(get(lapic, ESR), 0); /* not before a write */
	assert_int_equal(lapic_acknowledge(lapic), 0xfe);
	put(lapic, END, 0);
	put(lapic, ESR, 0);
	assert_int_equal(get(lapic, ESR), 0x40);
	put(lapic, ICR, 0x40005); /* to itself, a bad vector */
	put(lapic, 0x40, 0);      /* a reserved register */
	get(lapic, 0x3f0);
	get(lapic, 0xff0);
	put(lapic, ESR, 0);
	assert_int_equal(get(lapic, ESR), 0xa0);
	put(lapic, ESR, ~0u);
	assert_int_equal(get(lapic, ESR), 0);
	/* An entry for errors that is an error. */
	put(lapic, LVT_ERROR, 0x02);
	get(lapic, 0x40);
	put(lapic, ESR, 0);
	assert_int_equal(get(lapic, ESR), 0xc0);
}

static void ipi(struct lapic *from, uint32_t to, uint32_t low)
{
	if (lapic_base(from) & LAPIC_BASE_X2APIC) {
		assert_int_equal(msr_put(from, ICR, (uint64_t)to << 32 | low), 0);
		return;
	}
	put(from, ICR_HIGH, to << 24);
	put(from, ICR, low);
}

static void interprocessor(void **state)
{
	static const struct {
		uint32_t to, low;
		unsigned takers;
	} cases[] = {
		{2, 0x00051, 4},     {1, 0x40051, 1}, {1, 0x80051, 15}, {1, 0xc0051, 14},
		{0xff, 0x00051, 15}, {5, 0x00051, 0}, {6, 0x00851, 6},  {0xff, 0x00851, 15},
		{0x10, 0x00851, 0},  {1, 0x04051, 2}, {9, 0x04851, 9},
	};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		ipi(f->cpu[0].lapic, cases[i].to, cases[i].low);
		assert_int_equal(takers(f, 0x51), cases[i].takers);
		assert_int_equal(get(f->cpu[0].lapic, ICR), cases[i].low);
	}
}

/* Linux's way to start a processor: INIT, de-assert, SIPI, SIPI. */
static void start_up(void **state)
{
	struct fixture *f = *state;

	ipi(f->cpu[0].lapic, 1, 0xc500);
	assert_int_equal(f->cpu[1].inits, 1);
	lapic_init(f->cpu[1].lapic);
	ipi(f->cpu[0].lapic, 1, 0x8500);
	assert_int_equal(f->cpu[1].inits, 1);
	ipi(f->cpu[0].lapic, 1, 0x4699);
	assert_int_equal(f->cpu[1].sipis, 1);
	assert_int_equal(f->cpu[1].sipi_vector, 0x99);
	ipi(f->cpu[0].lapic, 0, 0xc0400); /* NMI to all others */
	assert_int_equal(f->cpu[0].nmis, 0);
	for (unsigned i = 1; i < CPUS; i++)
		assert_int_equal(f->cpu[i].nmis, 1);
	assert_int_equal(f->cpu[2].inits + f->cpu[3].inits + f->cpu[0].inits, 0);
	ipi(f->cpu[0].lapic, 1, 0x4300); /* reserved modes */
	ipi(f->cpu[0].lapic, 1, 0x4720);
	assert_false(lapic_extint(f->cpu[1].lapic));
}

static void lowest_priority(void **state)
{
	struct fixture *f = *state;
	unsigned seen = 0;

	put(f->cpu[0].lapic, TPR, 0x20);
	put(f->cpu[1].lapic, TPR, 0x10);
	put(f->cpu[2].lapic, TPR, 0x30);
	put(f->cpu[3].lapic, SVR, 0xff); /* would be the lowest */
	for (unsigned i = 0; i < 4; i++) {
		ipi(f->cpu[0].lapic, 0xff, 0x00951);
		assert_int_equal(takers(f, 0x51), 2);
	}
	ipi(f->cpu[0].lapic, 0xd, 0x00951); /* 0, 2 and 3 */
	assert_int_equal(takers(f, 0x51), 1);
	/* Equals take turns. */
	put(f->cpu[0].lapic, TPR, 0x10);
	for (unsigned i = 0; i < 8; i++) {
		unsigned bits;

		ipi(f->cpu[0].lapic, 0xff, 0x00951);
		bits = takers(f, 0x51);
		assert_true(bits == 1 || bits == 2);
		seen |= bits;
	}
	assert_int_equal(seen, 3);
}

static void cluster_model(void **state)
{
	static const uint32_t ldr[CPUS] = {0x11000000, 0x12000000, 0x21000000, 0x28000000};
	static const struct {
		uint32_t to;
		unsigned takers;
	} cases[] = {{0x11, 1}, {0x13, 3}, {0x23, 4}, {0x29, 12}, {0x31, 0}, {0xff, 15}};
	struct fixture *f = *state;

	for (unsigned i = 0; i < CPUS; i++) {
		put(f->cpu[i].lapic, DFR, 0x0fffffff);
		put(f->cpu[i].lapic, LDR, ldr[i]);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		ipi(f->cpu[0].lapic, cases[i].to, 0x00851);
		assert_int_equal(takers(f, 0x51), cases[i].takers);
	}
}

static void messages(void **state)
{
	struct fixture *f = *state;
	struct apic_message message;

	assert_true(apic_message_from_msi(0xfee03000, 0x0041, &message));
	assert_int_equal(message.destination, 3);
	assert_int_equal(message.mode, APIC_FIXED);
	assert_false(message.logical);
	apic_bus_deliver(f->bus, &message);
	assert_int_equal(takers(f, 0x41), 8);
	assert_true(apic_message_from_msi(0xfeeff00c, 0xc042, &message));
	assert_int_equal(message.destination, APIC_BROADCAST);
	assert_int_equal(message.mode, APIC_LOWEST_PRIORITY);
	assert_true(message.logical && message.level_triggered);
	assert_true(apic_message_from_msi(0xfee05004, 0x0041, &message));
	apic_bus_deliver(f->bus, &message);
	assert_int_equal(takers(f, 0x41), 5);
	assert_true(apic_message_from_msi(0xfee01000, 0x0400, &message));
	apic_bus_deliver(f->bus, &message);
	assert_int_equal(f->cpu[1].nmis, 1);
	assert_false(apic_message_from_msi(0xfee01000, 0x8041, &message)); /* de-assert */
	assert_false(apic_message_from_msi(0xfee01000, 0x0300, &message));
	assert_false(apic_message_from_msi(0xfee01000, 0x0600, &message));
	assert_false(apic_message_from_msi(0xfed01000, 0x0041, &message));
	assert_false(apic_message_from_msi(0x1fee01000, 0x0041, &message));
}

static void base_transitions(void **state)
{
	struct fixture *f = *state;
	struct lapic *lapic = f->cpu[1].lapic;
	uint64_t value;

	assert_int_equal(lapic_base_set(lapic, LAPIC_BASE | LAPIC_BASE_X2APIC), -EINVAL);
	assert_int_equal(lapic_base_set(lapic, X2APIC | 1), -EINVAL);
	assert_int_equal(lapic_base_set(lapic, X2APIC | 1ull << 40), -EINVAL);
	assert_int_equal(lapic_msr_read(lapic, 0x802, &value), -EINVAL);
	assert_int_equal(lapic_base_set(lapic, X2APIC), 0);
	assert_int_equal(get(lapic, ID), ~0u); /* the page is gone */
	put(lapic, TPR, 0x50);
	assert_int_equal(lapic_cr8(lapic), 0);
	assert_int_equal(msr(lapic, ID), 1);
	assert_int_equal(msr(lapic, SVR), 0x1ff); /* the rest stays */
	assert_int_equal(lapic_base_set(lapic, LAPIC_BASE | LAPIC_BASE_ENABLE), -EINVAL);
	lapic_init(lapic);
	assert_int_equal(lapic_base(lapic), X2APIC);
	assert_int_equal(lapic_base_set(lapic, LAPIC_BASE), 0);
	assert_int_equal(lapic_base_set(lapic, X2APIC), -EINVAL);
	deliver(f, 1, APIC_NMI, 0, false);
	assert_int_equal(f->cpu[1].nmis, 0); /* not there */
	assert_int_equal(lapic_base_set(lapic, 0x12345000 | LAPIC_BASE_ENABLE), 0);
	assert_int_equal(get(lapic, SVR), 0xff); /* as after a reset */
	assert_int_equal(get(lapic, ID), 1u << 24);
}

static void x2apic_registers(void **state)
{
	/* Those that are there, with the bits that a write may set; 0: read-only. */
	static const struct {
		uint32_t offset;
		uint32_t writable;
	} regs[] = {
		{ID, 0},
		{VERSION, 0},
		{PPR, 0},
		{LDR, 0},
		{TMR, 0},
		{CURRENT, 0},
		{TPR, 0xff},
		{SVR, 0x3ff},
		{LVT_TIMER, 0x710ff},
		{INITIAL, ~0u},
		{LVT_ERROR, 0x110ff},
		{LVT_LINT0, 0x1f7ff},
		{DIVIDE, 0xb},
		{LVT_PERFORMANCE, 0x117ff},
	};
	static const uint32_t absent[] = {0x090, 0x0c0, DFR, ICR_HIGH, 0x000, 0x040, 0x2f0, 0x3a0};
	struct fixture *f = *state;
	struct lapic *lapic = f->cpu[1].lapic;
	uint64_t value;

	assert_int_equal(lapic_base_set(lapic, X2APIC), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
		uint64_t before = msr(lapic, regs[i].offset);

		if (!regs[i].writable) {
			assert_int_equal(msr_put(lapic, regs[i].offset, before), -EINVAL);
			continue;
		}
		assert_int_equal(msr_put(lapic, regs[i].offset, before), 0);
		for (unsigned bit = 0; bit < 64; bit++)
			assert_int_equal(msr_put(lapic, regs[i].offset, before | 1ull << bit),
					 (before | regs[i].writable) & 1ull << bit ? 0 : -EINVAL);
		assert_int_equal(msr_put(lapic, regs[i].offset, before), 0);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(absent); i++) {
		assert_int_equal(lapic_msr_read(lapic, 0x800 + absent[i] / 16, &value), -EINVAL);
		assert_int_equal(msr_put(lapic, absent[i], 0), -EINVAL);
	}
	assert_int_equal(lapic_msr_read(lapic, 0x80b, &value), -EINVAL);
	assert_int_equal(msr_put(lapic, END, 1), -EINVAL);
	assert_int_equal(msr_put(lapic, ESR, 1), -EINVAL);
	assert_int_equal(msr_put(lapic, ESR, 0), 0);
	assert_int_equal(lapic_msr_read(lapic, 0x7ff, &value), -EINVAL);
	assert_int_equal(lapic_msr_read(lapic, 0x840, &value), -EINVAL);
	assert_int_equal(msr_put(lapic, ICR, 0x100000), -EINVAL);
	/* The self IPI. */
	assert_int_equal(lapic_msr_read(lapic, 0x83f, &value), -EINVAL);
	assert_int_equal(lapic_msr_write(lapic, 0x83f, 0x61), 0);
	assert_int_equal(takers(f, 0x61), 2);
	assert_int_equal(lapic_msr_write(lapic, 0x83f, 0x161), -EINVAL);
}

static void x2apic_messages(void **state)
{
	struct fixture *f = *state;
	struct lapic_config config = {&ops, &f->cpu[0], 0x25, false, false, false, 0};
	struct lapic *other;

	assert_int_equal(lapic_create(f->bus, &config, &other), 0);
	assert_int_equal(lapic_base_set(other, X2APIC), 0);
	assert_int_equal(msr(other, LDR), 0x20020);
	assert_int_equal(msr_put(other, SVR, 0x1ff), 0);
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(lapic_base_set(f->cpu[i].lapic, X2APIC), 0);
	assert_int_equal(msr(f->cpu[2].lapic, LDR), 4);
	ipi(f->cpu[0].lapic, 0x25, 0x61);
	assert_int_equal(lapic_acknowledge(other), 0x61);
	assert_int_equal(msr(f->cpu[0].lapic, ICR), 0x2500000061);
	assert_int_equal(msr_put(other, END, 0), 0);
	ipi(f->cpu[0].lapic, 0x20021, 0x861);
	assert_int_equal(lapic_pending(other), 0x61);
	assert_int_equal(takers(f, 0x61), 0);
	ipi(f->cpu[0].lapic, 6, 0x861);
	assert_int_equal(takers(f, 0x61), 6);
	ipi(f->cpu[0].lapic, 0xff, 0x61); /* an id, here */
	assert_int_equal(takers(f, 0x61), 0);
	ipi(f->cpu[0].lapic, 0xffffffff, 0x61);
	assert_int_equal(takers(f, 0x61), 15);
	deliver(f, apic_destination(0xff), APIC_FIXED, 0x62, false); /* of 8 bits */
	assert_int_equal(takers(f, 0x62), 15);
	lapic_destroy(other);
}

static void local_inputs(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = &f->cpu[0];
	struct lapic *lapic = cpu->lapic;

	lapic_lint(lapic, 0, true);
	assert_false(lapic_extint(lapic));
	assert_int_equal(cpu->wakes, 0);
	put(lapic, LVT_LINT0, 0x700);
	assert_true(lapic_extint(lapic));
	assert_int_equal(cpu->wakes, 1);
	assert_int_equal(lapic_pending(lapic), -1);
	lapic_extint_acknowledge(lapic);
	assert_true(lapic_extint(lapic)); /* while the 8259s ask */
	lapic_lint(lapic, 0, false);
	assert_false(lapic_extint(lapic));
	put(lapic, LVT_LINT1, 0x400);
	lapic_lint(lapic, 1, true);
	lapic_lint(lapic, 1, true);
	assert_int_equal(cpu->nmis, 1);
	lapic_lint(lapic, 1, false);
	put(lapic, LVT_LINT1, MASKED | 0x400);
	lapic_lint(lapic, 1, true);
	assert_int_equal(cpu->nmis, 1);
	/* A fixed edge, and a level with its remote IRR. */
	put(lapic, LVT_LINT0, 0x41);
	lapic_lint(lapic, 0, true);
	assert_int_equal(takers(f, 0x41), 1);
	put(lapic, LVT_LINT0, 0x8042);
	assert_int_equal(get(lapic, LVT_LINT0), 0xc042);
	assert_int_equal(lapic_acknowledge(lapic), 0x42);
	put(lapic, END, 0);
	assert_int_equal(lapic_acknowledge(lapic), 0x42); /* still high */
	lapic_lint(lapic, 0, false);
	put(lapic, END, 0);
	assert_int_equal(lapic_pending(lapic), -1);
	assert_int_equal(get(lapic, LVT_LINT0), 0x8042);
	/* Switched off, the pins are the processor's. */
	assert_int_equal(lapic_base_set(lapic, LAPIC_BASE), 0);
	lapic_lint(lapic, 0, true);
	assert_true(lapic_extint(lapic));
	lapic_lint(lapic, 1, false);
	lapic_lint(lapic, 1, true);
	assert_int_equal(cpu->nmis, 2);
	/* By message. */
	deliver(f, 2, APIC_EXTINT, 0, false);
	assert_true(lapic_extint(f->cpu[2].lapic));
	lapic_extint_acknowledge(f->cpu[2].lapic);
	assert_false(lapic_extint(f->cpu[2].lapic));
}

/* Let time pass; the timer is told when it wants to be. Vectors are counted, and ended. */
static unsigned pass(struct lapic *lapic, uint64_t ns)
{
	uint64_t end = monotonic_ns + ns, deadline;
	unsigned count = 0;

	while ((deadline = lapic_deadline(lapic)) != 0 && deadline <= end) {
		if (deadline > monotonic_ns)
			monotonic_ns = deadline;
		lapic_tick(lapic);
		if (lapic_pending(lapic) != 0xec)
			break;
		lapic_acknowledge(lapic);
		put(lapic, END, 0);
		count++;
	}
	monotonic_ns = end;
	return count;
}

static void timer_one_shot(void **state)
{
	static const struct {
		uint32_t value, by;
	} divide[] = {{0, 2}, {1, 4}, {2, 8}, {3, 16}, {8, 32}, {9, 64}, {10, 128}, {11, 1}};
	struct fixture *f = *state;
	struct lapic *lapic = f->cpu[0].lapic;

	put(lapic, LVT_TIMER, 0xec);
	for (unsigned i = 0; i < ARRAY_SIZE(divide); i++) {
		put(lapic, DIVIDE, divide[i].value);
		assert_int_equal(get(lapic, DIVIDE), divide[i].value);
		put(lapic, INITIAL, 1000000);
		assert_int_equal(get(lapic, CURRENT), 1000000);
		assert_int_equal(pass(lapic, 400000ull * divide[i].by), 0);
		assert_int_equal(get(lapic, CURRENT), 600000);
		assert_int_equal(lapic_deadline(lapic), monotonic_ns + 600000ull * divide[i].by);
		assert_int_equal(pass(lapic, 600000ull * divide[i].by), 1);
		assert_int_equal(get(lapic, CURRENT), 0);
		assert_int_equal(get(lapic, INITIAL), 1000000);
		assert_int_equal(lapic_deadline(lapic), 0);
	}
	assert_true(f->cpu[0].changes >= 16);
	put(lapic, INITIAL, 500);
	put(lapic, INITIAL, 0); /* stops it */
	assert_int_equal(lapic_deadline(lapic), 0);
	/* Another rate under way: the count goes on. */
	put(lapic, DIVIDE, DIVIDE_1);
	put(lapic, INITIAL, 1000);
	pass(lapic, 200);
	put(lapic, DIVIDE, 0);
	assert_int_equal(get(lapic, CURRENT), 800);
	assert_int_equal(lapic_deadline(lapic), monotonic_ns + 1600);
}

static void timer_periodic(void **state)
{
	struct fixture *f = *state;
	struct lapic *lapic = f->cpu[0].lapic;

	put(lapic, LVT_TIMER, PERIODIC | 0xec);
	put(lapic, DIVIDE, DIVIDE_1);
	put(lapic, INITIAL, 1000000);
	assert_int_equal(pass(lapic, 10500000), 10);
	assert_int_equal(get(lapic, CURRENT), 500000);
	/* Late: one for all, and in step again. */
	monotonic_ns += 7000000;
	lapic_tick(lapic);
	assert_int_equal(takers(f, 0xec), 1);
	lapic_tick(lapic);
	assert_int_equal(lapic_pending(lapic), -1);
	assert_int_equal(lapic_deadline(lapic), monotonic_ns + 500000);
	/* Masked it runs on, silently, and what passed is lost. */
	put(lapic, LVT_TIMER, MASKED | PERIODIC | 0xec);
	assert_int_equal(lapic_deadline(lapic), 0);
	monotonic_ns += 2000000;
	put(lapic, LVT_TIMER, PERIODIC | 0xec);
	assert_int_equal(lapic_pending(lapic), -1);
	assert_int_equal(lapic_deadline(lapic), monotonic_ns + 500000);
	/* A period that nobody can want does not keep the host busy. */
	put(lapic, INITIAL, 1);
	assert_in_range(pass(lapic, 10 * LAPIC_TICK_MIN_NS), 9, 11);
	/* To one-shot: it ends with this period. */
	put(lapic, INITIAL, 1000000);
	put(lapic, LVT_TIMER, 0xec);
	assert_int_equal(pass(lapic, 5000000), 1);
}

static void timer_deadline(void **state)
{
	struct fixture *f = *state;
	struct lapic *lapic = f->cpu[0].lapic;

	lapic_tsc_deadline_set(lapic, 12345); /* not in that mode */
	assert_int_equal(lapic_tsc_deadline(lapic), 0);
	put(lapic, LVT_TIMER, 0xec);
	put(lapic, INITIAL, 1000000);
	put(lapic, LVT_TIMER, DEADLINE | 0xec);
	assert_int_equal(lapic_deadline(lapic), 0); /* disarmed */
	put(lapic, INITIAL, 1000000);
	assert_int_equal(get(lapic, INITIAL), 0);
	lapic_tsc_deadline_set(lapic, tsc(NULL) + 3001);
	assert_int_equal(lapic_deadline(lapic), monotonic_ns + 1001); /* rounded up */
	assert_int_equal(get(lapic, CURRENT), 0);
	assert_int_equal(pass(lapic, 1000), 0);
	assert_int_not_equal(lapic_tsc_deadline(lapic), 0);
	assert_int_equal(pass(lapic, 1), 1);
	assert_int_equal(lapic_tsc_deadline(lapic), 0);
	lapic_tsc_deadline_set(lapic, 1); /* long past: at once */
	assert_int_equal(takers(f, 0xec), 1);
	lapic_tsc_deadline_set(lapic, ~0ull);
	assert_true(lapic_deadline(lapic) > monotonic_ns + (1ull << 60));
	lapic_tsc_deadline_set(lapic, 0);
	assert_int_equal(lapic_deadline(lapic), 0);
	lapic_tsc_deadline_set(lapic, tsc(NULL) + 3000);
	put(lapic, LVT_TIMER, PERIODIC | 0xec);
	assert_int_equal(lapic_deadline(lapic), 0);
	put(lapic, LVT_TIMER, DEADLINE | PERIODIC | 0xec); /* reserved: none */
	put(lapic, INITIAL, 1000);
	lapic_tsc_deadline_set(lapic, tsc(NULL) + 3000);
	assert_int_equal(lapic_deadline(lapic), 0);
}

static void page_accesses(void **state)
{
	struct fixture *f = *state;
	struct lapic *lapic = f->cpu[0].lapic;

	assert_int_equal(lapic_read(lapic, VERSION + 2, 1), 5);
	assert_int_equal(lapic_read(lapic, VERSION, 2), 0x14);
	assert_int_equal(lapic_read(lapic, VERSION, 8), 0x50014);
	assert_int_equal(lapic_read(lapic, VERSION + 4, 4), 0);
	lapic_write(lapic, TPR, 1, 0x30);
	lapic_write(lapic, TPR, 8, 0x30);
	lapic_write(lapic, TPR + 4, 4, 0x30);
	assert_int_equal(get(lapic, TPR), 0);
	put(lapic, ID, 0x07000000);
	put(lapic, VERSION, 0);
	assert_int_equal(get(lapic, ID), 0);
	assert_int_equal(get(lapic, VERSION), 0x50014);
	put(lapic, LVT_LINT0, ~0u);
	assert_int_equal(get(lapic, LVT_LINT0), 0x1a7ff);
	put(lapic, DFR, 0);
	assert_int_equal(get(lapic, DFR), 0x0fffffff);
	put(lapic, TPR, ~0u);
	assert_int_equal(get(lapic, TPR), 0xff);
}

static void save_and_restore(void **state)
{
	struct fixture *f = *state;
	struct lapic *lapic = f->cpu[1].lapic;
	struct lapic_state saved, again;

	put(lapic, LVT_TIMER, PERIODIC | 0xec);
	put(lapic, DIVIDE, DIVIDE_1);
	put(lapic, INITIAL, 1000000);
	pass(lapic, 400000);
	deliver(f, 1, APIC_FIXED, 0x71, true);
	deliver(f, 1, APIC_FIXED, 0x31, false);
	lapic_acknowledge(lapic);
	put(lapic, TPR, 0x20);
	ipi(lapic, 2, 0x4099);
	lapic_state_get(lapic, &saved);
	assert_int_equal(le32_get(&saved.page[ID]), 1u << 24);
	assert_int_equal(le32_get(&saved.page[VERSION]), 0x50014);
	assert_int_equal(le32_get(&saved.page[PPR]), 0x70);
	assert_int_equal(le32_get(&saved.page[ISR + 0x30]), 1u << 17);
	assert_int_equal(le32_get(&saved.page[TMR + 0x30]), 1u << 17);
	assert_int_equal(le32_get(&saved.page[IRR + 0x10]), 1u << 17);
	assert_int_equal(le32_get(&saved.page[LDR]), 2u << 24);
	assert_int_equal(le32_get(&saved.page[ICR_HIGH]), 2u << 24);
	assert_int_equal(le32_get(&saved.page[CURRENT]), 600000);
	lapic_reset(lapic);
	monotonic_ns += 12345678;
	assert_int_equal(lapic_state_set(lapic, &saved), 0);
	lapic_state_get(lapic, &again);
	assert_memory_equal(&saved, &again, sizeof(saved));
	assert_int_equal(lapic_deadline(lapic), monotonic_ns + 600000);
	put(lapic, END, 0);
	assert_int_equal(f->cpu[1].ended, 0x71);
	assert_int_equal(lapic_acknowledge(lapic), 0x31);
	/* Not ours. */
	le32_put(&saved.page[ID], 2u << 24);
	assert_int_equal(lapic_state_set(lapic, &saved), -EINVAL);
	le32_put(&saved.page[ID], 1u << 24);
	saved.base = LAPIC_BASE | LAPIC_BASE_X2APIC;
	assert_int_equal(lapic_state_set(lapic, &saved), -EINVAL);
	/* Nonsense: whatever cannot be is dropped. */
	memset(&saved, 0xff, sizeof(saved));
	le32_put(&saved.page[ID], 1u << 24);
	saved.base = LAPIC_BASE | LAPIC_BASE_ENABLE;
	assert_int_equal(lapic_state_set(lapic, &saved), 0);
	assert_int_equal(get(lapic, IRR), 0xffff0000);
	assert_int_equal(get(lapic, VERSION), 0x50014);
	assert_int_equal(get(lapic, LVT_ERROR), 0x100ff);
}

static void save_and_restore_x2apic(void **state)
{
	struct fixture *f = *state;
	struct lapic *lapic = f->cpu[1].lapic;
	struct lapic_state saved, again;

	assert_int_equal(lapic_base_set(lapic, X2APIC), 0);
	ipi(lapic, 0x12345678, 0x99);
	assert_int_equal(msr_put(lapic, LVT_TIMER, DEADLINE | 0xec), 0);
	lapic_tsc_deadline_set(lapic, tsc(NULL) + 3000);
	lapic_state_get(lapic, &saved);
	assert_int_equal(saved.base, X2APIC);
	assert_int_equal(le32_get(&saved.page[ID]), 1u << 24); /* KVM's way */
	assert_int_equal(le32_get(&saved.page[ICR_HIGH]), 0x12345678);
	assert_int_equal(le32_get(&saved.page[LDR]), 2);
	lapic_reset(lapic);
	assert_int_equal(lapic_state_set(lapic, &saved), 0);
	lapic_state_get(lapic, &again);
	assert_memory_equal(&saved, &again, sizeof(saved));
	assert_int_equal(msr(lapic, ID), 1);
	assert_int_equal(lapic_deadline(lapic), monotonic_ns + 1000);
}

static void creation(void **state)
{
	struct fixture *f = *state;
	struct lapic_config config = {&ops, &f->cpu[0], 2, false, true, false, 0};
	struct lapic *other = NULL;
	struct apic_bus *bus;

	assert_int_equal(lapic_create(f->bus, &config, &other), -EEXIST);
	config.id = 255;
	assert_int_equal(lapic_create(f->bus, &config, &other), -EINVAL);
	assert_null(other);
	config.id = 254;
	assert_int_equal(apic_bus_create(&bus), 0);
	deliver(f, 254, APIC_FIXED, 0x51, false); /* to nobody */
	assert_int_equal(lapic_create(bus, &config, &other), 0);
	assert_int_equal(get(other, LVT_LINT0), 0x700); /* as firmware leaves it */
	lapic_lint(other, 0, true);
	assert_true(lapic_extint(other));
	lapic_destroy(other);
	apic_bus_deliver(bus, &(struct apic_message){.mode = APIC_LOWEST_PRIORITY});
	apic_bus_destroy(bus);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(reset_values),     TEST(priorities),
		TEST(level_eoi),        TEST(software_disable),
		TEST(errors),           TEST(interprocessor),
		TEST(start_up),         TEST(lowest_priority),
		TEST(cluster_model),    TEST(messages),
		TEST(base_transitions), TEST(x2apic_registers),
		TEST(x2apic_messages),  TEST(local_inputs),
		TEST(timer_one_shot),   TEST(timer_periodic),
		TEST(timer_deadline),   TEST(page_accesses),
		TEST(save_and_restore), TEST(save_and_restore_x2apic),
		TEST(creation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
