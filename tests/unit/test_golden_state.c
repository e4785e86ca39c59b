/* SPDX-License-Identifier: MIT */
/*
 * States in tests/golden, one a version of the format, load for ever. They were made by this
 * program: test_golden_state --write FILE. A change that makes today's state another one than the
 * newest of them needs another version of a section and another file.
 */
#include "tests/unit/unit.h"

#include <time.h>

#include "tests/state_board.h"
#include "tests/unit/state_trip.h"
#include "vmm/base/clock.h"

#define START 1709251198ull

static const char *const *files; /* oldest first, NULL behind the newest */
static uint64_t realtime_ns, monotonic_ns;

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	uint64_t now = clock == CLOCK_REALTIME ? realtime_ns : monotonic_ns;

	ts->tv_sec = (time_t)(now / CLOCK_NS_PER_S);
	ts->tv_nsec = (long)(now % CLOCK_NS_PER_S);
	return 0;
}

static void board_state(void *thing, struct codec *c)
{
	state_board_state(thing, c);
}

static void engine_fill(struct state_board *b)
{
	struct cpu_state *s = &b->cpu;

	for (unsigned i = 0; i < CPU_GPRS; i++)
		s->gpr[i] = 0x1111111111111111ull * i;
	s->rip = 0xffffffff81000000ull;
	s->rflags = 0x246;
	s->segment[CPU_CS] = (struct cpu_segment){
		.limit = ~0u, .selector = 0x10, .type = 11, .s = 1, .present = 1, .l = 1, .g = 1};
	s->gdt = (struct cpu_table){0xfffffe0000001000ull, 0x7f};
	s->cr0 = 0x80050033;
	s->efer = 0xd01;
	s->activity = CPU_HALTED;
	s->events.nmi_pending = 1;
	s->msr_count = 2;
	s->msr[0] = (struct cpu_msr){0x10, 123456789};
	s->msr[1] = (struct cpu_msr){0xc0000082, 0xffffffff81a00000ull};
	s->lapic[0x20] = 1;
	s->xsave_size = 576;
	s->xsave[24] = 0x80;
	s->xsave[25] = 0x1f;
	b->chips.pic[0].imr = 0xfb;
	b->chips.ioapic.base = 0xfec00000;
	b->chips.ioapic.redirection[4] = 0x0100000000000034ull;
	b->chips.pit[0] = (struct pit_channel_state){.count = 4772, .mode = 2, .gate = 1};
	b->chips.pit[0].load_time = (int64_t)monotonic_ns - 1000000;
	b->chips.clock_ns = 5000000000ull;
}

static void cmos_set(struct state_board *b, uint8_t reg, uint8_t value)
{
	bus_write(b->fake->vm.pio, 0x70, 1, reg);
	bus_write(b->fake->vm.pio, 0x71, 1, value);
}

static struct state_board *board_filled(void)
{
	struct state_board *b = state_board_make();

	engine_fill(b);
	cmos_set(b, 0x40, 0xa5);
	bus_write(b->fake->vm.pio, 0x3f8 + 2, 1, 0x01);
	assert_int_equal(uart16550_receive(b->uart, (const uint8_t *)"golden", 6), 6);
	acpi_pm_press_power_button(b->pm);
	bus_write(b->fake->vm.pio, 0x64, 1, 0xaa);
	bus_write(b->fake->vm.pio, 0xcf8, 4, 0x80000810);
	state_board_drivers(b);
	state_board_pause(b);
	return b;
}

static struct state_bytes file_read(const char *path)
{
	struct state_bytes s = {malloc(MIB), 0};
	FILE *f = fopen(path, "rb");

	assert_non_null(s.bytes);
	if (!f)
		fail_msg("%s: %s", path, strerror(errno));
	s.size = fread(s.bytes, 1, MIB, f);
	fclose(f);
	return s;
}

static int clocks_set(void **state)
{
	(void)state;
	realtime_ns = START * CLOCK_NS_PER_S;
	monotonic_ns = 1000 * CLOCK_NS_PER_S;
	return 0;
}

static void file_loads(const char *file, bool newest)
{
	struct state_bytes s = file_read(file);
	struct state_board *b = state_board_make();
	char text[7] = {0};

	print_message("%s\n", file);
	monotonic_ns = 77 * CLOCK_NS_PER_S; /* another host */
	if (newest) {
		state_arrive(board_state, b, &s);
	} else {
		assert_int_equal(state_load(board_state, b, &s, NULL), 0);
		free(s.bytes);
	}
	assert_true(b->cpu.gpr[CPU_R15] == ~0ull && b->cpu.rip == 0xffffffff81000000ull);
	assert_int_equal(b->cpu.activity, CPU_HALTED);
	assert_true(b->cpu.msr[1].value == 0xffffffff81a00000ull);
	assert_int_equal(b->chips.pit[0].load_time, monotonic_ns - 1000000);
	bus_write(b->fake->vm.pio, 0x70, 1, 0x40);
	assert_int_equal(bus_read(b->fake->vm.pio, 0x71, 1), 0xa5);
	for (unsigned i = 0; i < 6; i++)
		text[i] = (char)bus_read(b->fake->vm.pio, 0x3f8, 1);
	assert_string_equal(text, "golden");
	assert_int_equal(bus_read(b->fake->vm.pio, 0x600, 2), 1u << 8);
	assert_int_equal(bus_read(b->fake->vm.pio, 0x60, 1), 0x55);
	for (unsigned i = 0; i < STATE_BOARD_DEVICES; i++)
		assert_true(b->vdev[i]->running && b->vdev[i]->paused);
	state_board_resume(b);
	state_board_unmake(b);
}

static void loads(void **state)
{
	(void)state;
	for (unsigned i = 0; files[i]; i++) {
		clocks_set(NULL);
		file_loads(files[i], !files[i + 1]);
	}
}

static void is_todays(void **state)
{
	unsigned newest = 0;
	struct state_bytes s, today;
	struct state_board *b = board_filled();

	(void)state;
	while (files[newest + 1])
		newest++;
	s = file_read(files[newest]);
	today = state_save(board_state, b);
	assert_int_equal(s.size, today.size);
	assert_memory_equal(s.bytes, today.bytes, s.size);
	state_board_unmake(b);
	free(s.bytes);
	free(today.bytes);
}

static int write_file(const char *path)
{
	FILE *f = fopen(path, "wb");
	struct state_board *b;
	struct state_bytes s;

	clocks_set(NULL);
	b = board_filled();
	s = state_save(board_state, b);
	state_board_unmake(b);
	if (!f || fwrite(s.bytes, 1, s.size, f) != s.size || fclose(f)) {
		perror(path);
		return 1;
	}
	free(s.bytes);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(loads, clocks_set),
		cmocka_unit_test_setup(is_todays, clocks_set),
	};

	if (argc == 3 && strcmp(argv[1], "--write") == 0)
		return write_file(argv[2]);
	if (argc < 2)
		return 2;
	files = (const char *const *)argv + 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
