/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/boot_input.h"

#include <unistd.h>

#include "vmm/boot/boot_impl.h"

static const struct acpi_board board = {
	.vcpus = 2,
	.lapic_base = 0xfee00000,
	.ioapic_base = 0xfec00000,
	.ecam_base = 0xe0000000,
	.ecam_size = 0x100000,
	.pm_event_port = 0x600,
	.pm_control_port = 0x604,
	.pm_timer_port = 0x608,
	.reset_port = 0x60c,
	.reset_value = 1,
	.sci_irq = 9,
};

static void loaded_check(const struct guest_memory *memory, const struct cpu_state *cpu,
			 const char *cmdline)
{
	const char *rsdp = memory_at(memory, BOOT_ACPI, 8);
	const char *line = memory_at(memory, BOOT_CMDLINE, BOOT_CMDLINE_MAX);

	FUZZ_CHECK(memcmp(rsdp, "RSD PTR ", 8) == 0);
	FUZZ_CHECK(strcmp(line, cmdline) == 0);
	FUZZ_CHECK(cpu->cr0 & 1 && cpu->rflags == 2);
}

static void load(const struct boot_config *config, uint64_t memory_size)
{
	struct guest_memory *memory = NULL;
	struct error err = {0};
	struct boot *boot = NULL;

	if (boot_open(config, &boot, &err))
		return;
	FUZZ_CHECK(memory_create(memory_size, &memory, &err) == 0);
	/* As a reset does: the same files once more. */
	for (unsigned i = 0; i < 2; i++) {
		struct cpu_state cpu = {0};
		int ret = boot_load(boot, memory, &board, &cpu, &err);

		if (ret == 0)
			loaded_check(memory, &cpu, config->cmdline);
		else
			FUZZ_CHECK(ret < 0 && err.what[0]);
		FUZZ_CHECK(memory_clear(memory, &err) == 0);
	}
	memory_destroy(memory);
	boot_close(boot);
}

void boot_input_run(const uint8_t *data, size_t size)
{
	static const uint64_t sizes[] = {1 << 20, 2 << 20, 3 << 20, 64 << 20};
	char kernel[FUZZ_PATH_MAX], initrd[FUZZ_PATH_MAX], cmdline[BOOT_CMDLINE_MAX + 1] = "";
	struct input in = {data, size};
	uint8_t shape = input_u8(&in), overlay_size = input_u8(&in);
	uint16_t length = input_u16(&in) % (BOOT_CMDLINE_MAX + 1);
	int kernel_fd = fuzz_file(in.at, in.left, kernel);
	/* The kernel's file stands as initrd as well, cut to any length. */
	int initrd_fd = fuzz_file(in.at, shape & 4 ? in.left / 2 : in.left, initrd);
	static const uint8_t overlay[256];
	struct boot_config config = {
		.kernel = kernel,
		.initrd = shape & 8 ? initrd : NULL,
		.cmdline = cmdline,
		.overlay = overlay,
		.overlay_size = overlay_size,
	};

	memset(cmdline, 'x', length);
	if (shape & 16) /* as large as memory, or nearly so */
		FUZZ_CHECK(ftruncate(initrd_fd, (off_t)(sizes[shape & 3] - 4096u * (shape >> 5))) ==
			   0);
	load(&config, sizes[shape & 3]);
	close(kernel_fd);
	close(initrd_fd);
}
