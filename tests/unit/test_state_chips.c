/* SPDX-License-Identifier: MIT */
/*
 * Saved state of the chips and of the neutral state, under a clock that the test turns: the host
 * that loads is another one, with another uptime.
 */
#include "tests/unit/unit.h"

#include <time.h>

#include "devices/acpi_pm.h"
#include "devices/i8042.h"
#include "devices/mc146818.h"
#include "devices/pci/pci.h"
#include "devices/uart16550.h"
#include "tests/fake_vm.h"
#include "tests/unit/state_trip.h"
#include "vmm/base/clock.h"

#define START    1709251198ull /* 2024-02-29 23:59:58 UTC */
#define PM       0x600
#define PM_TIMER (PM + ACPI_PM_TIMER)
#define COM1     0x3f8
#define SCI      9
#define RTC      8
#define SERIAL   4

static uint64_t realtime_ns, monotonic_ns, deadline;

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_loop_add_timer(struct loop *loop, loop_fn *fn, void *arg, struct loop_source **out);
void __wrap_loop_timer_arm(struct loop_source *source, uint64_t deadline_ns);
void __wrap_loop_remove(struct loop_source *source);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	uint64_t now = clock == CLOCK_REALTIME ? realtime_ns : monotonic_ns;

	ts->tv_sec = (time_t)(now / CLOCK_NS_PER_S);
	ts->tv_nsec = (long)(now % CLOCK_NS_PER_S);
	return 0;
}

int __wrap_loop_add_timer(struct loop *loop, loop_fn *fn, void *arg, struct loop_source **out)
{
	(void)loop;
	(void)fn;
	(void)arg;
	*out = NULL;
	return 0;
}

void __wrap_loop_timer_arm(struct loop_source *source, uint64_t deadline_ns)
{
	(void)source;
	deadline = deadline_ns;
}

void __wrap_loop_remove(struct loop_source *source)
{
	(void)source;
}

/* A host with all chips. */
struct board {
	struct fake_vm *fake;
	struct bus *pio;
	struct mc146818 *rtc;
	struct i8042 *i8042;
	struct uart16550 *uart;
	struct acpi_pm *pm;
	struct pci_bus *pci;
	unsigned resets, ready;
};

static void ignore(void *arg)
{
	(void)arg;
}

static void count_reset(void *arg)
{
	((struct board *)arg)->resets++;
}

static void swallow(void *arg, const uint8_t *bytes, size_t count)
{
	(void)arg;
	(void)bytes;
	(void)count;
}

static void count_ready(void *arg)
{
	((struct board *)arg)->ready++;
}

static const struct power_ops power_ops = {.off = ignore, .reset = count_reset, .panicked = ignore};
static const struct chardev_ops chardev_ops = {.write = swallow, .ready = count_ready};

static void *board_make(void *arg)
{
	struct board *b = calloc(1, sizeof(*b));
	struct power power = {.ops = &power_ops, .arg = b};
	struct chardev backend = {.ops = &chardev_ops, .arg = b};
	struct irq_line irq;
	struct pci_config config;

	(void)arg;
	assert_non_null(b);
	b->fake = fake_vm_create(0);
	b->pio = b->fake->vm.pio;
	irq = (struct irq_line){.vm = &b->fake->vm, .gsi = RTC};
	assert_int_equal(mc146818_create(b->pio, &irq, NULL, &b->rtc), 0);
	assert_int_equal(i8042_create(b->pio, &power, &b->i8042), 0);
	irq.gsi = SERIAL;
	assert_int_equal(uart16550_create(b->pio, COM1, &irq, &backend, &b->uart), 0);
	irq.gsi = SCI;
	assert_int_equal(acpi_pm_create(b->pio, PM, &irq, &power, &b->pm), 0);
	config = (struct pci_config){.vm = &b->fake->vm,
				     .ecam_base = 0xe0000000,
				     .ecam_size = 0x100000,
				     .window_base = 0xc0000000,
				     .window_size = 0x100000,
				     .first_gsi = 16,
				     .gsi_count = 8};
	assert_int_equal(pci_bus_create(&config, &b->pci), 0);
	return b;
}

static void board_unmake(void *thing)
{
	struct board *b = thing;

	mc146818_destroy(b->rtc);
	i8042_destroy(b->i8042);
	uart16550_destroy(b->uart);
	acpi_pm_destroy(b->pm);
	pci_bus_destroy(b->pci);
	fake_vm_destroy(b->fake);
	free(b);
}

static void board_state(void *thing, struct codec *c)
{
	struct board *b = thing;

	mc146818_state(b->rtc, c);
	i8042_state(b->i8042, c);
	uart16550_state(b->uart, c);
	acpi_pm_state(b->pm, c);
	pci_bus_state(b->pci, c);
}

struct fixture {
	struct board *from, *to;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	realtime_ns = START * CLOCK_NS_PER_S;
	monotonic_ns = 1000 * CLOCK_NS_PER_S;
	f->from = board_make(NULL);
	f->to = board_make(NULL);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	board_unmake(f->from);
	board_unmake(f->to);
	free(f);
	return 0;
}

static uint64_t in(const struct board *b, uint16_t port, unsigned size)
{
	return bus_read(b->pio, port, size);
}

static void out(const struct board *b, uint16_t port, unsigned size, uint64_t value)
{
	bus_write(b->pio, port, size, value);
}

static uint8_t cmos(const struct board *b, uint8_t reg)
{
	out(b, 0x70, 1, reg);
	return (uint8_t)in(b, 0x71, 1);
}

static void cmos_set(const struct board *b, uint8_t reg, uint8_t value)
{
	out(b, 0x70, 1, reg);
	out(b, 0x71, 1, value);
}

/* A host that was started an hour ago. */
static void other_host(void)
{
	monotonic_ns = 3600 * CLOCK_NS_PER_S;
}

static void test_fresh(void **state)
{
	struct fixture *f = *state;

	state_trip(board_state, f->from, f->to);
}

static void test_rtc_time(void **state)
{
	struct fixture *f = *state;
	struct state_bytes s;

	/* The guest lives in another year. */
	cmos_set(f->from, 0x0b, 0x06); /* binary, 24 hours */
	cmos_set(f->from, 0x0b, 0x86); /* SET */
	cmos_set(f->from, 9, 31);
	cmos_set(f->from, 0x0b, 0x06);
	cmos_set(f->from, 0x40, 0x5a); /* memory */
	assert_int_equal(cmos(f->from, 0), 58);
	s = state_save(board_state, f->from);
	other_host();
	realtime_ns += 3 * CLOCK_NS_PER_S; /* midnight passed meanwhile */
	assert_int_equal(state_load(board_state, f->to, &s, NULL), 0);
	assert_int_equal(in(f->to, 0x71, 1), 1); /* seconds, which were selected */
	assert_int_equal(cmos(f->to, 9), 31);
	assert_int_equal(cmos(f->to, 0x40), 0x5a);
	realtime_ns += CLOCK_NS_PER_S;
	assert_int_equal(cmos(f->to, 0), 2);
	free(s.bytes);
}

/* A request that nobody has seen to keeps its line high. */
static void test_rtc_interrupt(void **state)
{
	struct fixture *f = *state;
	struct state_bytes s;

	cmos_set(f->from, 0x0b, 0x42); /* periodic */
	monotonic_ns += CLOCK_NS_PER_S;
	cmos(f->from, 0);
	cmos_set(f->from, 0x0b, 0x42);
	assert_true(f->from->fake->level[RTC]);
	s = state_save(board_state, f->from);
	other_host();
	assert_int_equal(state_load(board_state, f->to, &s, NULL), 0);
	assert_true(f->to->fake->level[RTC]);
	assert_int_equal(deadline, 0);
	assert_int_equal(cmos(f->to, 0x0c), 0xc0);
	assert_false(f->to->fake->level[RTC]);
	/* Its next period ends within one. */
	assert_in_range(deadline, monotonic_ns, monotonic_ns + CLOCK_NS_PER_S / 1024 + 1);
	free(s.bytes);
}

static void test_rtc_alarm_in_between(void **state)
{
	struct fixture *f = *state;
	struct state_bytes s;

	cmos_set(f->from, 1, 0xff);
	cmos_set(f->from, 3, 0x30);
	cmos_set(f->from, 5, 0xff);
	cmos_set(f->from, 0x0b, 0x22);
	s = state_save(board_state, f->from);
	other_host();
	realtime_ns += 7200 * CLOCK_NS_PER_S;
	assert_int_equal(state_load(board_state, f->to, &s, NULL), 0);
	assert_int_equal(cmos(f->to, 0x0c) & 0x20, 0x20);
	free(s.bytes);
}

static void test_i8042(void **state)
{
	struct fixture *f = *state;

	out(f->from, 0x64, 1, 0xaa); /* self-test: the answer was not read */
	out(f->from, 0x64, 1, 0xd1); /* the next byte is the output port's */
	state_trip(board_state, f->from, f->to);
	assert_int_equal(in(f->to, 0x64, 1) & 1, 1);
	assert_int_equal(in(f->to, 0x60, 1), 0x55);
	assert_int_equal(f->to->resets, 0);
	out(f->to, 0x60, 1, 0);
	assert_int_equal(f->to->resets, 1);
}

static void test_uart(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[20];

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)('a' + i);
	out(f->from, COM1 + 2, 1, 0x81); /* FIFO, trigger at 8 */
	out(f->from, COM1 + 4, 1, 0x0b);
	out(f->from, COM1 + 7, 1, 0x77);
	/* Turn the FIFO, so that it does not begin at its beginning. */
	assert_int_equal(uart16550_receive(f->from->uart, bytes, 10), 10);
	for (unsigned i = 0; i < 10; i++)
		in(f->from, COM1, 1);
	assert_int_equal(uart16550_receive(f->from->uart, bytes, sizeof(bytes)), 16);
	out(f->from, COM1 + 1, 1, 0x01);
	assert_true(f->from->fake->level[SERIAL]);
	state_trip(board_state, f->from, f->to);
	assert_true(f->to->fake->level[SERIAL]);
	assert_int_equal(in(f->to, COM1 + 2, 1), 0xc4);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(in(f->to, COM1, 1), bytes[i]);
	assert_false(f->to->fake->level[SERIAL]);
	assert_int_equal(in(f->to, COM1 + 7, 1), 0x77);
	assert_int_equal(in(f->to, COM1 + 5, 1), 0x60);
}

/* The new host's input has waited, and now there is room. */
static void test_uart_starved(void **state)
{
	struct fixture *f = *state;
	const uint8_t bytes[2] = {1, 2};

	assert_int_equal(uart16550_receive(f->to->uart, bytes, 2), 1);
	state_trip(board_state, f->from, f->to);
	assert_int_equal(f->to->ready, 1);
}

static void test_pm(void **state)
{
	struct fixture *f = *state;
	struct state_bytes s;
	uint32_t before;

	out(f->from, PM + 2, 2, 1u << 8);
	acpi_pm_press_power_button(f->from->pm);
	out(f->from, PM + ACPI_PM_GPE + 1, 1, 1);
	acpi_pm_raise(f->from->pm, ACPI_PM_GPE_GENERATION);
	acpi_pm_replace(f->from->pm, 5);
	out(f->from, PM + 4, 2, 5u << 10);
	monotonic_ns += 123456789;
	before = (uint32_t)in(f->from, PM_TIMER, 4);
	s = state_save(board_state, f->from);
	other_host();
	assert_int_not_equal(in(f->to, PM_TIMER, 4), before);
	assert_int_equal(state_load(board_state, f->to, &s, NULL), 0);
	assert_int_equal(in(f->to, PM_TIMER, 4), before);
	monotonic_ns += CLOCK_NS_PER_S;
	assert_int_equal(in(f->to, PM_TIMER, 4), (uint32_t)(before + 3579545));
	assert_true(f->to->fake->level[SCI]);
	assert_int_equal(in(f->to, PM, 2), 1u << 8);
	out(f->to, PM, 2, 1u << 8);
	assert_true(f->to->fake->level[SCI]);
	assert_int_equal(in(f->to, PM + ACPI_PM_GPE, 2), 0x0103);
	assert_int_equal(in(f->to, PM + ACPI_PM_REPLACED, 1), 5);
	out(f->to, PM + ACPI_PM_GPE, 1, 3);
	assert_false(f->to->fake->level[SCI]);
	assert_int_equal(in(f->to, PM + 4, 2), 5u << 10 | 1);
	free(s.bytes);
}

static void test_pci_bus(void **state)
{
	struct fixture *f = *state;

	out(f->from, 0xcf8, 4, 0x80000000);
	assert_int_equal(in(f->from, 0xcfc, 4), 0x00081b36);
	out(f->from, 0xcfc + 4, 2, 0);
	state_trip(board_state, f->from, f->to);
	assert_int_equal(in(f->to, 0xcfc, 4), 0x00081b36);
}

static void test_torture(void **state)
{
	struct fixture *f = *state;
	const uint8_t byte = 'x';
	struct state_bytes s;

	uart16550_receive(f->from->uart, &byte, 1);
	s = state_save(board_state, f->from);
	state_torture(board_state, &s, board_make, board_unmake, NULL);
	free(s.bytes);
}

/* The neutral state. */

static void cpu_state_fn(void *thing, struct codec *c)
{
	cpu_state_code(thing, 3, c);
}

static void chips_state_fn(void *thing, struct codec *c)
{
	chips_state_code(thing, c);
}

static void *cpu_make(void *arg)
{
	(void)arg;
	return calloc(1, sizeof(struct cpu_state));
}

/* Every byte something else, as far as it may be. */
static struct cpu_state *cpu_full(void)
{
	struct cpu_state *s = calloc(1, sizeof(*s));
	uint8_t *bytes = (uint8_t *)s;

	assert_non_null(s);
	for (size_t i = 0; i < sizeof(*s); i++)
		bytes[i] = (uint8_t)(i * 37 + i / 256);
	for (unsigned i = 0; i < CPU_SEGMENTS + 2; i++) {
		struct cpu_segment *seg = i < CPU_SEGMENTS    ? &s->segment[i]
					  : i == CPU_SEGMENTS ? &s->tr
							      : &s->ldt;

		seg->type = (uint8_t)(i + 3);
		seg->dpl = 3;
		seg->s = seg->avl = seg->g = i & 1;
		seg->present = seg->l = seg->db = seg->unusable = !(i & 1);
	}
	s->activity = CPU_WAIT_FOR_SIPI;
	s->events = (struct cpu_events){.exception_injected = 1,
					.exception_vector = 14,
					.exception_has_error = 1,
					.exception_error = 6,
					.exception_has_payload = 1,
					.exception_payload = 0x1234,
					.interrupt_injected = 1,
					.interrupt_vector = 0xec,
					.shadow = CPU_SHADOW_STI,
					.nmi_pending = 2,
					.nmi_masked = 1,
					.sipi_vector = 0x9a};
	s->msr_count = CPU_MSRS_MAX;
	s->xsave_size = CPU_XSAVE_MAX;
	return s;
}

static void test_cpu(void **state)
{
	struct cpu_state *s = cpu_full(), *to = calloc(1, sizeof(*to));

	(void)state;
	assert_non_null(to);
	state_trip(cpu_state_fn, s, to);
	assert_memory_equal(to->gpr, s->gpr, sizeof(s->gpr));
	for (unsigned i = 0; i < CPU_SEGMENTS; i++) {
		assert_int_equal(to->segment[i].base, s->segment[i].base);
		assert_int_equal(to->segment[i].limit, s->segment[i].limit);
		assert_int_equal(to->segment[i].selector, s->segment[i].selector);
		assert_int_equal(to->segment[i].unusable, s->segment[i].unusable);
	}
	assert_int_equal(to->tr.type, s->tr.type);
	assert_int_equal(to->ldt.type, s->ldt.type);
	assert_int_equal(to->gdt.base, s->gdt.base);
	assert_int_equal(to->idt.limit, s->idt.limit);
	assert_true(to->rip == s->rip && to->rflags == s->rflags && to->cr0 == s->cr0 &&
		    to->cr2 == s->cr2 && to->cr3 == s->cr3 && to->cr4 == s->cr4 &&
		    to->cr8 == s->cr8 && to->efer == s->efer && to->apic_base == s->apic_base &&
		    to->dr6 == s->dr6 && to->dr7 == s->dr7 && to->xcr0 == s->xcr0);
	assert_memory_equal(to->db, s->db, sizeof(s->db));
	assert_int_equal(to->activity, CPU_WAIT_FOR_SIPI);
	assert_int_equal(to->events.exception_payload, 0x1234);
	assert_int_equal(to->events.sipi_vector, 0x9a);
	for (unsigned i = 0; i < CPU_MSRS_MAX; i++) {
		assert_int_equal(to->msr[i].index, s->msr[i].index);
		assert_true(to->msr[i].value == s->msr[i].value);
	}
	assert_memory_equal(to->lapic, s->lapic, sizeof(s->lapic));
	assert_memory_equal(to->xsave, s->xsave, sizeof(s->xsave));
	free(s);
	free(to);
}

static void test_cpu_torture(void **state)
{
	struct cpu_state *s = cpu_full();
	struct state_bytes bytes;

	(void)state;
	s->msr_count = 2;
	s->xsave_size = 576;
	bytes = state_save(cpu_state_fn, s);
	state_torture(cpu_state_fn, &bytes, cpu_make, free, NULL);
	free(bytes.bytes);
	free(s);
}

static void test_cpu_refused(void **state)
{
	struct cpu_state *s = cpu_full();
	struct error err = {0};
	struct codec c;

	(void)state;
	s->events.interrupt_injected = 2;
	codec_init_save(&c);
	cpu_state_code(s, 3, &c);
	assert_int_equal(codec_finish(&c, &err), -EBADMSG);
	assert_non_null(strstr(err.what, "section 'vcpu' 3"));
	codec_fini(&c);
	free(s);
}

static void test_chips(void **state)
{
	struct chips_state s = {
		.pic = {{.irr = 1, .imr = 0xfe, .elcr_mask = 0xf8}, {.isr = 2, .irq_base = 0x70}},
		.ioapic = {.base = 0xfec00000, .select = 0x10, .id = 1, .irr = 0x200},
		.pit = {{.count = 0x10000, .mode = 2, .gate = 1, .rw_mode = 3},
			{.count = 10, .mode = 0, .gate = 1, .load_time = -1},
			{.count = 20, .mode = 3}},
		.pit_flags = 1,
		.clock_ns = 0x123456789abcull,
	};
	struct chips_state to = {0};
	struct state_bytes bytes;

	(void)state;
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		s.ioapic.redirection[i] = 0x0100000000010030ull + i;
	s.pit[0].load_time = (int64_t)monotonic_ns - 5000000;
	state_trip(chips_state_fn, &s, &to);
	bytes = state_save(chips_state_fn, &s);
	other_host();
	assert_int_equal(state_load(chips_state_fn, &to, &bytes, NULL), 0);
	assert_memory_equal(to.pic, s.pic, sizeof(s.pic));
	assert_memory_equal(&to.ioapic, &s.ioapic, sizeof(s.ioapic));
	assert_true(to.clock_ns == s.clock_ns && to.pit_flags == 1);
	assert_int_equal(to.pit[0].count, 0x10000);
	assert_int_equal(to.pit[0].load_time, monotonic_ns - 5000000); /* its age is the same */
	assert_int_equal(to.pit[1].load_time, -1);
	assert_int_equal(to.pit[2].load_time, 0);
	/* Older than that host's clock: a period starts again. */
	monotonic_ns = 4000000;
	assert_int_equal(state_load(chips_state_fn, &to, &bytes, NULL), 0);
	assert_int_equal(to.pit[0].load_time, monotonic_ns);
	free(bytes.bytes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_fresh),         TEST(test_rtc_time),
		TEST(test_rtc_interrupt), TEST(test_rtc_alarm_in_between),
		TEST(test_i8042),         TEST(test_uart),
		TEST(test_uart_starved),  TEST(test_pm),
		TEST(test_pci_bus),       TEST(test_torture),
		TEST(test_cpu),           TEST(test_cpu_torture),
		TEST(test_cpu_refused),   TEST(test_chips),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
