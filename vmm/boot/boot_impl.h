/* SPDX-License-Identifier: MIT */
/* What the loaders share: the map of low memory, and files that are read into guest memory. */
#ifndef VMM_BOOT_BOOT_IMPL_H
#define VMM_BOOT_BOOT_IMPL_H

#include "vmm/boot/boot.h"

/* Below 1 MiB, the way firmware would leave it. */
#define BOOT_GDT         0x1000ull
#define BOOT_START_INFO  0x6000ull /* PVH: start info, module list and memory map */
#define BOOT_ZERO_PAGE   0x7000ull /* bzImage: struct boot_params */
#define BOOT_PAGE_TABLES 0x9000ull /* six pages: PML4, PDPT, four page directories */
#define BOOT_CMDLINE     0x20000ull
#define BOOT_CMDLINE_MAX 4096u      /* with its NUL; the kernel's own limit is 2048 */
#define BOOT_EBDA        0x9fc00ull /* end of conventional memory */
#define BOOT_ACPI        0xe0000ull /* ACPI tables, to 1 MiB */
#define BOOT_HIGH        0x100000ull

enum boot_range_type { BOOT_RAM = 1, BOOT_RESERVED = 2 }; /* as in e820 */

struct boot_range {
	uint64_t base, size;
	enum boot_range_type type;
};

#define BOOT_RANGES_MAX 8
#define BOOT_HEAD_SIZE  4096u

struct boot_file {
	char *path;
	int fd;
	uint64_t size;
};

struct boot {
	struct boot_file kernel;
	struct boot_file initrd; /* fd -1: none */
	char *cmdline;
	void *overlay;
	size_t overlay_size;
	const struct kernel_format *format;
	uint8_t head[BOOT_HEAD_SIZE]; /* the kernel file's first bytes, zero-padded */
};

/* What a loader learns on its way and leaves for its successor. */
struct boot_image {
	struct boot *boot;
	struct guest_memory *memory;
	uint64_t kernel_end; /* first byte that the running kernel does not need at first */
	uint64_t entry;
	uint64_t rsdp;
	uint64_t initrd_at;
	uint64_t initrd_size; /* initrd and overlay; 0: none */
	unsigned range_count;
	struct boot_range range[BOOT_RANGES_MAX];
};

/* A kernel format: a line in the table in boot.c. */
struct kernel_format {
	const char *name;
	/* Is it this format? Decides on boot->head alone. */
	int (*match)(const struct boot *boot);
	/* Put the kernel into memory; sets entry and kernel_end. */
	int (*load)(struct boot_image *image, struct error *err);
	/* The highest address that an initrd may end at. */
	uint64_t (*initrd_limit)(const struct boot_image *image);
	/* Parameters for the kernel, and the processor's state at its entry. */
	int (*enter)(struct boot_image *image, struct cpu_state *cpu, struct error *err);
};

extern const struct kernel_format bzimage_format;
extern const struct kernel_format elf_format;

/* `length` bytes of the file from `offset` to `gpa`; the error says what they are (`part`). */
int boot_file_load(const struct boot_file *file, uint64_t offset, uint64_t length,
		   struct guest_memory *memory, uint64_t gpa, const char *part, struct error *err);
int boot_file_read(const struct boot_file *file, uint64_t offset, void *to, size_t length);

/* A kernel that is not what it says. Returns -ENOEXEC. */
int boot_malformed(const struct boot *boot, const char *cause, struct error *err);

/* The guest's memory is too small for `what`, which ends at `end`. Returns -ENOMEM. */
int boot_too_small(const struct boot_image *image, const char *what, uint64_t end,
		   struct error *err);

/* A flat segment as protected-mode entry wants it. */
struct cpu_segment boot_segment(uint16_t selector, uint8_t type, bool wide);

#endif
