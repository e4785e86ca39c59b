/* SPDX-License-Identifier: MIT */
/*
 * Runs a bare-metal guest in one machine after the other: run_restores HOW CPUS MS GUEST. Every MS
 * milliseconds the machine is paused, its state is saved, and a new machine with a copy of its
 * memory goes on in its stead. The guest does not notice: it ends as it ends alone.
 *
 * With INITRD and DISK behind GUEST that is a Linux kernel, which gets a disk and a console port.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/checked.h"
#include "vmm/base/clock.h"
#include "vmm/machine/machine_impl.h"

#define MEMORY       (64ull << 20)
#define MEMORY_LINUX (256ull << 20)
#define MACHINES_MAX 40u /* then the last one runs to its end */

struct run {
	struct loop *loop;
	struct loop_source *timer;
	struct machine_config config;
	const struct engine_ops *engine[2];
	struct machine *machine;
	uint8_t *memory; /* between machines: one at a time has the disk */
	unsigned machines;
	uint64_t interval_ns;
	char last_line[256];
	size_t last_length;
	bool off, passed;
};

static const struct {
	const char *name;
	enum translation how;
	const char *engine[2]; /* in turns */
} ways[] = {
	{"interp", TRANSLATION_NONE, {"bt", "bt"}},     {"translate", TRANSLATION_ON, {"bt", "bt"}},
	{"windows", TRANSLATION_WINDOWS, {"bt", "bt"}}, {"kvm", TRANSLATION_ON, {"kvm", "kvm"}},
	{"both", TRANSLATION_ON, {"kvm", "bt"}},
};

static _Noreturn void fail(const char *what, const struct error *err)
{
	printf("run_restores: %s: %s\n", what, err ? err->what : "");
	exit(2);
}

static void com1_write(void *arg, const uint8_t *bytes, size_t count)
{
	struct run *r = arg;

	fwrite(bytes, 1, count, stdout);
	for (size_t i = 0; i < count; i++) {
		if (bytes[i] == '\n') {
			r->last_line[r->last_length] = '\0';
			r->last_length = 0;
			r->passed |= strcmp(r->last_line, "passed") == 0;
		} else if (r->last_length < sizeof(r->last_line) - 1) {
			r->last_line[r->last_length++] = (char)bytes[i];
		}
	}
}

static void com1_ready(void *arg)
{
	(void)arg; /* there is no input */
}

static const struct chardev_ops com1_ops = {.write = com1_write, .ready = com1_ready};

static void ended(void *arg, enum machine_end end, const char *reason)
{
	struct run *r = arg;

	r->off = end == MACHINE_OFF;
	if (!r->off)
		printf("it ended: %s\n", reason);
	loop_stop(r->loop);
}

static struct machine *machine_new(struct run *r)
{
	struct machine_events events = {.ended = ended, .arg = r};
	struct error err = {0};
	struct machine *m;

	r->config.engine = r->engine[r->machines % 2];
	if (machine_create(&r->config, r->loop, &events, &m, &err))
		fail("machine", &err);
	r->machines++;
	return m;
}

static void memory_keep(struct run *r)
{
	if (memory_read(r->machine->vm.memory, 0, r->memory, r->config.memory))
		fail("memory", NULL);
}

static void memory_give(struct run *r)
{
	if (memory_write(r->machine->vm.memory, 0, r->memory, r->config.memory))
		fail("memory", NULL);
}

/* The state of what has just been loaded, but for what time has done to it, is what was loaded. */
static void check_size(struct machine *m, size_t size)
{
	struct error err = {0};
	uint8_t *bytes;
	size_t again;

	if (machine_state_save(m, &bytes, &again, &err))
		fail("save again", &err);
	if (again != size)
		fail("it is of another size when saved again", NULL);
	free(bytes);
}

static void change(void *arg, uint32_t events)
{
	struct run *r = arg;
	struct error err = {0};
	uint8_t *bytes;
	size_t size;

	(void)events;
	machine_pause(r->machine);
	if (machine_state_save(r->machine, &bytes, &size, &err))
		fail("save", &err);
	memory_keep(r);
	machine_destroy(r->machine);
	r->machine = machine_new(r);
	memory_give(r);
	if (machine_state_load(r->machine, bytes, size, &err))
		fail("load", &err);
	check_size(r->machine, size);
	free(bytes);
	machine_resume(r->machine);
	if (r->machines < MACHINES_MAX)
		loop_timer_arm(r->timer, clock_monotonic_ns() + r->interval_ns);
}

static void way_set(struct run *r, const char *name)
{
	struct error why = {0}, err = {0};

	for (unsigned i = 0; i < ARRAY_SIZE(ways); i++) {
		if (strcmp(name, ways[i].name) != 0)
			continue;
		r->config.translation = ways[i].how;
		for (unsigned k = 0; k < 2; k++) {
			r->engine[k] = machine_engine_find(ways[i].engine[k], &why, &err);
			if (!r->engine[k])
				fail(ways[i].engine[k], &err);
		}
	}
	if (!r->engine[0])
		fail("there is no such way", NULL);
}

static void linux_set(struct run *r, const char *initrd, const char *disk)
{
	r->config.cmdline = "console=ttyS0 quiet panic=-1";
	r->config.memory = MEMORY_LINUX;
	r->config.initrd = initrd;
	r->config.disk_count = 1;
	r->config.disk[0] = (struct machine_disk){.path = disk, .format = "raw"};
	r->config.port_count = 1;
	r->config.port[0].name = "lodge.stdout";
	r->config.port[0].backend = r->config.com1;
}

int main(int argc, char **argv)
{
	struct run r = {0};
	struct error err = {0};
	char cmdline[32];

	if (argc != 5 && argc != 7)
		fail("usage: run_restores HOW CPUS MS GUEST [INITRD DISK]", NULL);
	way_set(&r, argv[1]);
	r.config.vcpus = (unsigned)atoi(argv[2]);
	r.interval_ns = (uint64_t)atoi(argv[3]) * CLOCK_NS_PER_MS;
	r.config.kernel = argv[4];
	snprintf(cmdline, sizeof(cmdline), "cpus=%s", argv[2]);
	r.config.cmdline = cmdline;
	r.config.model = cpu_model_find("portable");
	r.config.paravirtual = true;
	r.config.memory = MEMORY;
	r.config.com1 = (struct chardev){.ops = &com1_ops, .arg = &r};
	if (argc == 7)
		linux_set(&r, argv[5], argv[6]);
	r.memory = malloc(r.config.memory);
	if (!r.memory || loop_create(&r.loop) || loop_add_timer(r.loop, change, &r, &r.timer))
		fail("set-up", &err);
	r.machine = machine_new(&r);
	loop_timer_arm(r.timer, clock_monotonic_ns() + r.interval_ns);
	machine_resume(r.machine);
	loop_run(r.loop);
	loop_remove(r.timer);
	machine_destroy(r.machine);
	loop_destroy(r.loop);
	free(r.memory);
	printf("%u machines\n", r.machines);
	return !r.off || !r.passed || r.machines < 2;
}
