/* SPDX-License-Identifier: MIT */
/* Runs a bare-metal guest in the interpreter, without a machine: run_bt GUEST. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/acpi_pm.h"
#include "vmm/base/checked.h"
#include "vmm/boot/boot.h"
#include "vmm/bt/interp.h"
#include "vmm/bt/native.h"
#include "vmm/bt/state.h"
#include "vmm/machine/machine_impl.h"

#define MEMORY       (64ull << 20)
#define INSTRUCTIONS 1000000000ull

static char last_line[256];
static size_t last_length;
static bool off;

static uint64_t ones(void *device, uint64_t offset, unsigned size)
{
	(void)device;
	(void)offset;
	(void)size;
	return ~0ull;
}

static void com1_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)device;
	(void)size;
	if (offset != 0)
		return;
	putchar((int)value);
	if (value == '\n') {
		last_line[last_length] = '\0';
		last_length = 0;
	} else if (last_length < sizeof(last_line) - 1) {
		last_line[last_length++] = (char)value;
	}
}

static void pm_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)device;
	(void)size;
	off |= offset == ACPI_PM_CONTROL && value >> 13 & 1;
}

static const struct bus_ops com1_ops = {.read = ones, .write = com1_write};
static const struct bus_ops pm_ops = {.read = ones, .write = pm_write};

static int fail(const char *what, const struct error *err)
{
	fprintf(stderr, "run_bt: %s: %s\n", what, err->what);
	return 2;
}

/* What a guest of this kind looks for. */
static struct cpuid_table cpuid = {
	.count = 3,
	.leaf = {{.function = 1, .reg = {0xa20f10, 0, 1u << 26 | 1u << 17, 0x078bfbff}},
		 {.function = 7, .reg = {0, 1u << 20 | 1u << 10 | 1u << 7, 0, 0}},
		 {.function = 0x80000001, .reg = {0, 0, 0, 1u << 29 | 1u << 20 | 1u << 11}}}};

static int run(struct engine_vcpu *cpu)
{
	for (uint64_t i = 0; i < INSTRUCTIONS / 1000 && !off; i++) {
		if (!interp_run(cpu, 1000) && !interp_deliver_fault(cpu)) {
			printf("triple fault at rip %llx\n", (unsigned long long)cpu->rip);
			return 1;
		}
		if (cpu->debug_pending && !interp_deliver_debug(cpu))
			return 1;
		if (cpu->halted)
			break;
	}
	if (!off)
		printf("it did not end: rip %llx\n", (unsigned long long)cpu->rip);
	return !off || strcmp(last_line, "passed") != 0;
}

int main(int argc, char **argv)
{
	struct boot_config config = {.kernel = argc == 2 ? argv[1] : "", .cmdline = ""};
	struct acpi_board board = board_acpi;
	struct engine_vm vm = {0};
	struct engine_vcpu *cpu;
	static struct cpu_state state;
	struct error err = {0};
	struct boot *boot;
	int ret;

	if (argc != 2) {
		fprintf(stderr, "usage: run_bt GUEST\n");
		return 2;
	}
	board.vcpus = 1;
	if (memory_create(MEMORY, &vm.config.memory, &err) || bus_create(&vm.config.pio) ||
	    bus_create(&vm.config.mmio) || boot_open(&config, &boot, &err))
		return fail(argv[1], &err);
	bus_add(vm.config.pio, 0x3f8, 8, &com1_ops, &vm);
	bus_add(vm.config.pio, BOARD_PM_PORT, 16, &pm_ops, &vm);
	cpu = aligned_alloc(64, (sizeof(*cpu) + 63) & ~63ul);
	if (!cpu)
		return 2;
	memset(cpu, 0, sizeof(*cpu));
	cpu->vm = &vm;
	cpu->cpuid = &cpuid;
	if (native_create(&cpu->native))
		return 2;
	bt_state_reset(cpu);
	bt_state_get(cpu, &state);
	if (boot_load(boot, vm.config.memory, &board, &state, &err))
		return fail(argv[1], &err);
	if (bt_state_set(cpu, &state, NULL)) {
		fprintf(stderr, "run_bt: the state at entry is refused\n");
		return 2;
	}
	ret = run(cpu);
	native_destroy(cpu->native);
	free(cpu);
	boot_close(boot);
	bus_destroy(vm.config.pio);
	bus_destroy(vm.config.mmio);
	memory_destroy(vm.config.memory);
	return ret;
}
