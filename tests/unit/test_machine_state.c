/* SPDX-License-Identifier: MIT */
/*
 * Saved state of a whole machine on engine bt, with a guest that does not run: what comes along,
 * what is refused and in which words. That guests go on is tests/guest/run_restores' business.
 */
#include "tests/unit/unit.h"

#include "tests/unit/kernel_image.h"
#include "tests/unit/loop_turn.h"
#include "tests/unit/scratch.h"
#include "tests/unit/state_trip.h"
#include "vmm/base/clock.h"
#include "vmm/bt/bt_impl.h"
#include "vmm/machine/machine_impl.h"

#define TSC 0x10u

struct fixture {
	struct scratch scratch;
	char kernel[SCRATCH_PATH_MAX], disk[2][SCRATCH_PATH_MAX];
	struct loop *loop;
	struct machine_config config;
	struct machine *from, *to;
	unsigned ends;
	enum machine_end end;
};

static void swallow(void *arg, const uint8_t *bytes, size_t count)
{
	(void)arg;
	(void)bytes;
	(void)count;
}

static void ignore(void *arg)
{
	(void)arg;
}

static const struct chardev_ops chardev_ops = {.write = swallow, .ready = ignore};

static void ended(void *arg, enum machine_end end, const char *reason)
{
	struct fixture *f = arg;

	(void)reason;
	f->ends++;
	f->end = end;
}

static struct machine *machine_make(struct fixture *f, const struct machine_config *config)
{
	struct machine_events events = {.ended = ended, .arg = f};
	struct error err = {0};
	struct machine *m;

	if (machine_create(config, f->loop, &events, &m, &err))
		fail_msg("%s", err.what);
	return m;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	static struct kernel_image image;
	static uint8_t zeroes[65536];
	struct error why = {0}, err = {0};

	assert_non_null(f);
	scratch_make(&f->scratch);
	kernel_image_elf(&image);
	scratch_write(&f->scratch, "kernel", image.bytes, image.size);
	scratch_path(&f->scratch, "kernel", f->kernel);
	assert_int_equal(loop_create(&f->loop), 0);
	f->config = (struct machine_config){.engine = machine_engine_find("bt", &why, &err),
					    .model = cpu_model_find("portable"),
					    .paravirtual = true,
					    .vcpus = 2,
					    .memory = 64 * MIB,
					    .kernel = f->kernel,
					    .cmdline = "",
					    .disk_count = 1,
					    .com1 = {.ops = &chardev_ops},
					    .port_count = 2};
	assert_non_null(f->config.engine);
	for (unsigned i = 0; i < 2; i++) {
		char name[] = {'d', (char)('0' + i), 0};

		scratch_write(&f->scratch, name, zeroes, sizeof(zeroes) / (i + 1));
		scratch_path(&f->scratch, name, f->disk[i]);
		f->config.port[i].name = i ? "b" : "a";
		f->config.port[i].backend.ops = &chardev_ops;
		f->config.disk[i].path = f->disk[i];
		f->config.disk[i].format = "raw";
		f->config.disk[i].read_only = true; /* two machines have them */
	}
	f->from = machine_make(f, &f->config);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	machine_destroy(f->from);
	machine_destroy(f->to);
	loop_destroy(f->loop);
	scratch_remove(&f->scratch);
	free(f);
	return 0;
}

static struct state_bytes save(struct machine *m)
{
	struct error err = {0};
	struct state_bytes s;

	if (machine_state_save(m, &s.bytes, &s.size, &err))
		fail_msg("%s", err.what);
	return s;
}

static uint64_t tsc_of(struct machine *m, unsigned vcpu)
{
	static struct cpu_state s;

	assert_int_equal(m->vm.ops->vcpu_state_get(m->vcpu[vcpu], &s, NULL), 0);
	for (unsigned i = 0; i < s.msr_count; i++)
		if (s.msr[i].index == TSC)
			return s.msr[i].value;
	fail_msg("there is no TSC");
	return 0;
}

static void tsc_put(struct machine *m, unsigned vcpu, uint64_t value)
{
	static struct cpu_state s;

	assert_int_equal(m->vm.ops->vcpu_state_get(m->vcpu[vcpu], &s, NULL), 0);
	for (unsigned i = 0; i < s.msr_count; i++)
		if (s.msr[i].index == TSC)
			s.msr[i].value = value;
	s.gpr[CPU_RBX] = 0x1234 + vcpu;
	assert_int_equal(m->vm.ops->vcpu_state_set(m->vcpu[vcpu], &s, NULL), 0);
}

/* Another host's counter: far ahead of ours, and far behind. */
static void time_goes_on(void **state)
{
	static const uint64_t starts[] = {1ull << 60, 1000000};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(starts); i++) {
		struct chips_state before, after;
		struct state_bytes s;
		uint64_t tsc, second = 4000000000ull; /* at most */

		tsc_put(f->from, 0, starts[i]);
		tsc_put(f->from, 1, starts[i] + 50);
		assert_int_equal(f->from->vcpu[0]->tsc_offset, f->from->vcpu[1]->tsc_offset);
		tsc = tsc_of(f->from, 1);
		assert_true(tsc >= starts[i] && tsc - starts[i] < 60 * second);
		f->from->vm.ops->chips_state_get(f->from->vm.engine, &before, NULL);
		s = save(f->from);
		f->to = machine_make(f, &f->config);
		assert_int_equal(machine_state_load(f->to, s.bytes, s.size, NULL), 0);
		f->to->vm.ops->chips_state_get(f->to->vm.engine, &after, NULL);
		assert_true(after.clock_ns >= before.clock_ns);
		assert_true(tsc_of(f->to, 0) >= tsc && tsc_of(f->to, 0) - tsc < 60 * second);
		/* They were in step, and still are. */
		assert_int_equal(f->to->vcpu[0]->tsc_offset, f->to->vcpu[1]->tsc_offset);
		assert_int_equal(f->to->vcpu[1]->gpr[CPU_RBX], 0x1235);
		free(s.bytes);
		machine_destroy(f->to);
		f->to = NULL;
	}
}

/* A guest that is restored an hour later: its clocks say so, and it is another one than before. */
static void another_life(void **state)
{
	const uint64_t hour_ms = 3600000;
	struct fixture *f = *state;
	struct chips_state before, after;
	uint8_t was[ACPI_GENERATION_SIZE], is[ACPI_GENERATION_SIZE];
	struct state_bytes s;
	uint64_t tsc;

	tsc_put(f->from, 0, 1ull << 50);
	tsc_put(f->from, 1, 1ull << 50);
	tsc = tsc_of(f->from, 0);
	f->from->vm.ops->chips_state_get(f->from->vm.engine, &before, NULL);
	assert_int_equal(memory_read(f->from->vm.memory, BOARD_GENERATION, was, sizeof(was)), 0);
	assert_memory_equal(was, f->from->generation, sizeof(was));
	bus_write(f->from->vm.pio, BOARD_PM_PORT + ACPI_PM_GPE + 1, 1, 1);
	s = save(f->from);
	f->to = machine_make(f, &f->config);
	assert_memory_not_equal(f->to->generation, was, sizeof(was));
	assert_int_equal(memory_write(f->to->vm.memory, BOARD_GENERATION, was, sizeof(was)), 0);
	assert_int_equal(
		machine_state_restore(f->to, s.bytes, s.size, hour_ms * CLOCK_NS_PER_MS, NULL), 0);
	f->to->vm.ops->chips_state_get(f->to->vm.engine, &after, NULL);
	assert_true(after.clock_ns - before.clock_ns >= hour_ms * CLOCK_NS_PER_MS);
	assert_true(tsc_of(f->to, 0) - tsc >= hour_ms * f->to->vm.engine->tsc_khz);
	assert_true(tsc_of(f->to, 0) - tsc < 2 * hour_ms * f->to->vm.engine->tsc_khz);
	assert_int_equal(f->to->vcpu[0]->tsc_offset, f->to->vcpu[1]->tsc_offset);
	assert_int_equal(memory_read(f->to->vm.memory, BOARD_GENERATION, is, sizeof(is)), 0);
	assert_memory_equal(is, f->to->generation, sizeof(is));
	assert_int_equal(bus_read(f->to->vm.pio, BOARD_PM_PORT + ACPI_PM_GPE, 1), 1);
	free(s.bytes);
	/* What only moved is the same. */
	s = save(f->to);
	machine_destroy(f->to);
	f->to = machine_make(f, &f->config);
	assert_int_equal(machine_state_load(f->to, s.bytes, s.size, NULL), 0);
	assert_int_equal(bus_read(f->to->vm.pio, BOARD_PM_PORT + ACPI_PM_GPE, 1), 1);
	bus_write(f->to->vm.pio, BOARD_PM_PORT + ACPI_PM_GPE, 1, 1);
	assert_int_equal(bus_read(f->to->vm.pio, BOARD_PM_PORT + ACPI_PM_GPE, 1), 0);
	free(s.bytes);
}

static void out_of_step(void **state)
{
	struct fixture *f = *state;
	struct state_bytes s;

	tsc_put(f->from, 0, 1ull << 50);
	tsc_put(f->from, 1, 1ull << 40);
	s = save(f->from);
	f->to = machine_make(f, &f->config);
	assert_int_equal(machine_state_load(f->to, s.bytes, s.size, NULL), 0);
	assert_true(tsc_of(f->to, 0) >= 1ull << 50);
	assert_true(tsc_of(f->to, 1) >= 1ull << 40 && tsc_of(f->to, 1) < 1ull << 45);
	free(s.bytes);
}

/* What the guest has asked for is done where it goes on. */
static void requests_come_along(void **state)
{
	struct fixture *f = *state;
	struct state_bytes s;

	machine_note_panic(f->from, "a reason");
	f->from->power.ops->off(f->from->power.arg);
	s = save(f->from);
	f->to = machine_make(f, &f->config);
	assert_int_equal(machine_state_load(f->to, s.bytes, s.size, NULL), 0);
	assert_string_equal(f->to->panic, "a reason");
	machine_destroy(f->from);
	f->from = NULL;
	assert_int_equal(loop_turn(f->loop), 0);
	assert_int_equal(f->ends, 1);
	assert_int_equal(f->end, MACHINE_OFF);
	free(s.bytes);
}

static void an_end_is_not_saved(void **state)
{
	struct fixture *f = *state;
	struct error err = {0};
	struct state_bytes s;

	f->from->power.ops->off(f->from->power.arg);
	assert_int_equal(loop_turn(f->loop), 0);
	assert_int_equal(f->ends, 1);
	assert_int_equal(machine_state_save(f->from, &s.bytes, &s.size, &err), -ESRCH);
	assert_non_null(strstr(err.what, "ended"));
}

static void refused(struct fixture *f, const struct machine_config *config, const char *words)
{
	struct state_bytes s = save(f->from);
	struct error err = {0};

	f->to = machine_make(f, config);
	assert_true(machine_state_load(f->to, s.bytes, s.size, &err) < 0);
	if (!strstr(err.what, words))
		fail_msg("'%s' is not in '%s'", words, err.what);
	machine_destroy(f->to);
	f->to = NULL;
	free(s.bytes);
}

static void another_machine(void **state)
{
	struct fixture *f = *state;
	struct machine_config c = f->config;

	c.vcpus = 1;
	refused(f, &c, "vCPUs: the guest had 2, this machine has 1");
	c = f->config;
	c.memory = 128 * MIB;
	refused(f, &c, "bytes of memory: the guest had 67108864, this machine has 134217728");
	c = f->config;
	c.memory = 4 * GIB;
	refused(f, &c, "ranges of memory: the guest had 1, this machine has 2");
	c = f->config;
	c.disk_count = 2;
	refused(f, &c, "disks: the guest had 1, this machine has 2");
	c = f->config;
	c.disk[0].path = f->disk[1];
	refused(f, &c, "the disk had 128 sectors, this one has 64");
	c = f->config;
	c.port_count = 1;
	refused(f, &c, "ports of the console: the guest had 2, this machine has 1");
	c = f->config;
	c.port[1].name = "c";
	refused(f, &c, "it has not got port 'c' in its place");
	c = f->config;
	c.paravirtual = false;
	refused(f, &c, "paravirtualization: the guest had 1, this machine has 0");
	c = f->config;
	c.io = MACHINE_IO_EMULATED;
	refused(f, &c, "emulated I/O: the guest had 0, this machine has 1");
	c = f->config;
	c.model = cpu_model_find("host");
	refused(f, &c, "CPU model 'host'");
}

/* Disks are an IDE controller's: up to four, without queues. */
static void emulated(void **state)
{
	struct fixture *f = *state;
	struct machine_events events = {.ended = ended, .arg = f};
	struct machine_config c = f->config;
	struct error err = {0};
	struct state_bytes s, again;

	c.io = MACHINE_IO_EMULATED;
	machine_destroy(f->from);
	f->from = machine_make(f, &c);
	s = save(f->from);
	f->to = machine_make(f, &c);
	assert_int_equal(machine_state_load(f->to, s.bytes, s.size, NULL), 0);
	assert_non_null(f->to->ide);
	again = save(f->to);
	assert_int_equal(s.size, again.size);
	free(again.bytes);
	free(s.bytes);
	machine_destroy(f->to);
	c.disk_count = 5;
	for (unsigned i = 1; i < c.disk_count; i++)
		c.disk[i] = c.disk[0];
	f->to = NULL;
	assert_int_equal(machine_create(&c, f->loop, &events, &f->to, &err), -EINVAL);
	assert_non_null(strstr(err.what, "5 disks: an IDE controller has 4 at most"));
	err = (struct error){0};
	c.disk_count = 1;
	c.disk[0].queues = 2;
	assert_int_equal(machine_create(&c, f->loop, &events, &f->to, &err), -EINVAL);
	assert_non_null(strstr(err.what, "it has no queues"));
}

/* Bytes here and there: it loads or is refused, and the machine can be destroyed. */
static void hostile_states(void **state)
{
	struct fixture *f = *state;
	struct state_bytes s = save(f->from);
	unsigned loaded = 0, bad = 0;

	for (size_t i = 0; i < s.size; i += 61) {
		struct error err = {0};
		uint8_t was = s.bytes[i];

		s.bytes[i] ^= (uint8_t)(1 + i % 255);
		f->to = machine_make(f, &f->config);
		if (machine_state_load(f->to, s.bytes, s.size, &err) == 0) {
			machine_devices_resume(f->to);
			loaded++;
		} else {
			assert_true(err.what[0]);
			bad++;
		}
		machine_destroy(f->to);
		f->to = NULL;
		s.bytes[i] = was;
	}
	assert_true(loaded && bad);
	free(s.bytes);
}

/* Again and again, and a guest that goes on in between. */
static void saved_and_resumed(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 20; i++) {
		struct state_bytes s = save(f->from);

		free(s.bytes);
		if (i % 2)
			machine_devices_resume(f->from);
	}
	assert_true(machine_is_paused(f->from));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(time_goes_on),        TEST(out_of_step),       TEST(requests_come_along),
		TEST(an_end_is_not_saved), TEST(another_machine),   TEST(emulated),
		TEST(hostile_states),      TEST(saved_and_resumed), TEST(another_life),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
