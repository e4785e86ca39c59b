/* SPDX-License-Identifier: MIT */
/*
 * Direct boot of a Linux kernel: no firmware runs. The kernel file is a bzImage (64-bit or
 * 32-bit entry, Linux boot protocol 2.12) or an ELF vmlinux with a PVH note. Files are read
 * straight into guest memory and are as untrusted as the guest: every field is checked. Sources:
 * Documentation/arch/x86/boot.rst, xen/include/public/arch-x86/hvm/start_info.h.
 */
#ifndef VMM_BOOT_BOOT_H
#define VMM_BOOT_BOOT_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/base/error.h"
#include "vmm/boot/acpi.h"
#include "vmm/core/cpu_state.h"
#include "vmm/core/memory.h"

struct boot;

struct boot_config {
	const char *kernel;  /* path */
	const char *initrd;  /* path, or NULL */
	const char *cmdline; /* "" for none */
	/* An archive to lay behind the initrd: the kernel unpacks both. NULL for none; copied. */
	const void *overlay;
	size_t overlay_size;
};

/* Open the files and see what they are. They stay open, so that a reboot loads the same bytes. */
int boot_open(const struct boot_config *config, struct boot **out, struct error *err);
void boot_close(struct boot *boot);

/*
 * Put kernel, initrd, command line, memory map and ACPI tables into (cleared) guest memory, and
 * turn `cpu`, the bootstrap processor's reset state, into the state at the kernel's entry.
 */
int boot_load(struct boot *boot, struct guest_memory *memory, const struct acpi_board *board,
	      struct cpu_state *cpu, struct error *err);

#endif
