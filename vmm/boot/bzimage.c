/* SPDX-License-Identifier: MIT */
/*
 * bzImage: the compressed kernel, entered at its 64-bit entry point with paging on and an identity
 * map of the first 4 GiB (Documentation/arch/x86/boot.rst, "64-bit boot protocol"), or, where it
 * has none, at its 32-bit one with paging off ("32-bit boot protocol"). The setup code for real
 * mode is skipped. Section names below are that document's.
 */
#include <errno.h>
#include <string.h>

#include "vmm/base/bytes.h"
#include "vmm/base/checked.h"
#include "vmm/boot/boot_impl.h"

/* Offsets in the file, and in struct boot_params alike ("The Real-Mode Kernel Header"). */
#define HDR_SETUP_SECTS     0x1f1
#define HDR_SYSSIZE         0x1f4
#define HDR_BOOT_FLAG       0x1fe
#define HDR_JUMP            0x200
#define HDR_MAGIC           0x202
#define HDR_VERSION         0x206
#define HDR_LOADER_TYPE     0x210
#define HDR_LOADFLAGS       0x211
#define HDR_RAMDISK_IMAGE   0x218
#define HDR_RAMDISK_SIZE    0x21c
#define HDR_CMD_LINE_PTR    0x228
#define HDR_INITRD_ADDR_MAX 0x22c
#define HDR_ALIGNMENT       0x230
#define HDR_RELOCATABLE     0x234
#define HDR_XLOADFLAGS      0x236
#define HDR_CMDLINE_SIZE    0x238
#define HDR_PREF_ADDRESS    0x258
#define HDR_INIT_SIZE       0x260

#define BOOT_FLAG_MAGIC  0xaa55
#define HEADER_MAGIC     0x53726448 /* "HdrS" */
#define VERSION_2_12     0x020c
#define XLF_KERNEL_64    1u
#define LOADFLAG_HIGH    1u
#define LOADER_UNDEFINED 0xff
#define ENTRY_64         0x200
#define SECTOR           512u

/* Fields of struct boot_params ("The zero page", zero-page.rst). */
#define ZP_ACPI_RSDP    0x070
#define ZP_E820_ENTRIES 0x1e8
#define ZP_E820_TABLE   0x2d0
#define ZP_E820_ENTRY   20u
#define ZP_SIZE         4096u

#define BOOT_CS 0x10 /* "64-bit boot protocol": selectors of __BOOT_CS and __BOOT_DS */
#define BOOT_DS 0x18

static int bzimage_match(const struct boot *boot)
{
	return le16_get(boot->head + HDR_BOOT_FLAG) == BOOT_FLAG_MAGIC &&
	       le32_get(boot->head + HDR_MAGIC) == HEADER_MAGIC;
}

/* An x86-64 kernel; one for i386 has the 32-bit entry only. */
static bool is_64_bit(const struct boot *boot)
{
	return le16_get(boot->head + HDR_XLOADFLAGS) & XLF_KERNEL_64;
}

static int header_check(const struct boot *boot, struct error *err)
{
	const uint8_t *head = boot->head;

	if (boot->kernel.size < HDR_INIT_SIZE + 4)
		return boot_malformed(boot, "it ends within its header", err);
	if (le16_get(head + HDR_VERSION) < VERSION_2_12)
		return boot_malformed(boot, "older than boot protocol 2.12 (Linux 3.8)", err);
	if (!(head[HDR_LOADFLAGS] & LOADFLAG_HIGH))
		return boot_malformed(boot, "a zImage, which loads below 1 MiB", err);
	return 0;
}

/* Where to load: the address that the kernel prefers, else the lowest that it can be moved to. */
static int load_address(struct boot_image *image, uint64_t *out, struct error *err)
{
	const uint8_t *head = image->boot->head;
	uint64_t at = le64_get(head + HDR_PREF_ADDRESS);
	uint64_t need = le32_get(head + HDR_INIT_SIZE);
	uint64_t alignment = le32_get(head + HDR_ALIGNMENT);
	uint64_t size = image->memory->range[0].size;

	if (at >= BOOT_HIGH && range_within(at, need, 0, size)) {
		*out = at;
		return 0;
	}
	if (!head[HDR_RELOCATABLE] || alignment == 0 || (alignment & (alignment - 1)))
		return boot_too_small(image, "the kernel", at + need, err);
	at = align_up(BOOT_HIGH, alignment);
	if (!range_within(at, need, 0, size))
		return boot_too_small(image, "the kernel", at + need, err);
	*out = at;
	return 0;
}

static int bzimage_load(struct boot_image *image, struct error *err)
{
	struct boot *boot = image->boot;
	const uint8_t *head = boot->head;
	unsigned setup_sects = head[HDR_SETUP_SECTS] ? head[HDR_SETUP_SECTS] : 4;
	uint64_t setup_size = (setup_sects + 1) * SECTOR;
	uint64_t size = le32_get(head + HDR_SYSSIZE) * 16ull;
	uint64_t at = 0;
	int ret = header_check(boot, err);

	if (ret == 0)
		ret = load_address(image, &at, err);
	if (ret)
		return ret;
	/* syssize counts paragraphs: the file may end within the last one. */
	if (setup_size < boot->kernel.size && setup_size + size > boot->kernel.size &&
	    setup_size + size - boot->kernel.size < 16)
		size = boot->kernel.size - setup_size;
	if (size <= ENTRY_64)
		return boot_malformed(boot, "it holds no kernel behind its header", err);
	ret = boot_file_load(&boot->kernel, setup_size, size, image->memory, at, "the kernel", err);
	if (ret)
		return ret;
	image->entry = at + (is_64_bit(boot) ? ENTRY_64 : 0);
	image->kernel_end = at + le32_get(head + HDR_INIT_SIZE);
	if (image->kernel_end < at + size)
		image->kernel_end = at + size;
	return 0;
}

static uint64_t bzimage_initrd_limit(const struct boot_image *image)
{
	return le32_get(image->boot->head + HDR_INITRD_ADDR_MAX) + 1ull;
}

static void zero_page_fill(const struct boot_image *image, uint8_t *zp)
{
	const uint8_t *head = image->boot->head;
	/* The header ends where its jump leads; later fields are not ours to copy. */
	size_t header_end = HDR_MAGIC + head[HDR_JUMP + 1];

	memcpy(zp + HDR_SETUP_SECTS, head + HDR_SETUP_SECTS, header_end - HDR_SETUP_SECTS);
	zp[HDR_LOADER_TYPE] = LOADER_UNDEFINED;
	le32_put(zp + HDR_RAMDISK_IMAGE, (uint32_t)image->initrd_at);
	le32_put(zp + HDR_RAMDISK_SIZE, (uint32_t)image->initrd_size);
	le32_put(zp + HDR_CMD_LINE_PTR, (uint32_t)BOOT_CMDLINE);
	le64_put(zp + ZP_ACPI_RSDP, image->rsdp);
	zp[ZP_E820_ENTRIES] = (uint8_t)image->range_count;
	for (unsigned i = 0; i < image->range_count; i++) {
		uint8_t *entry = zp + ZP_E820_TABLE + (size_t)i * ZP_E820_ENTRY;

		le64_put(entry, image->range[i].base);
		le64_put(entry + 8, image->range[i].size);
		le32_put(entry + 16, image->range[i].type);
	}
}

/* An identity map of 4 GiB in 2 MiB pages. */
static void page_tables_write(struct guest_memory *memory)
{
	const uint64_t present_write = 3, large = 0x80;
	uint8_t *page = memory_at_write(memory, BOOT_PAGE_TABLES, 6 * MEMORY_PAGE_SIZE);

	le64_put(page, (BOOT_PAGE_TABLES + MEMORY_PAGE_SIZE) | present_write);
	for (unsigned i = 0; i < 4; i++)
		le64_put(page + MEMORY_PAGE_SIZE + 8 * (size_t)i,
			 (BOOT_PAGE_TABLES + (2 + i) * MEMORY_PAGE_SIZE) | present_write);
	for (unsigned i = 0; i < 4 * 512; i++)
		le64_put(page + 2 * MEMORY_PAGE_SIZE + 8 * (size_t)i,
			 (uint64_t)i << 21 | present_write | large);
}

/* The table with the two segments asked for. */
static void segments_write(struct guest_memory *memory, bool wide)
{
	uint8_t *gdt = memory_at_write(memory, BOOT_GDT, 32);

	le64_put(gdt + BOOT_CS, wide ? 0x00af9b000000ffffull : 0x00cf9b000000ffffull);
	le64_put(gdt + BOOT_DS, 0x00cf93000000ffffull);
}

static int bzimage_enter(struct boot_image *image, struct cpu_state *cpu, struct error *err)
{
	uint32_t cmdline_max = le32_get(image->boot->head + HDR_CMDLINE_SIZE);
	uint8_t *zp = memory_at_write(image->memory, BOOT_ZERO_PAGE, ZP_SIZE);
	struct cpu_segment data = boot_segment(BOOT_DS, 3, false);
	bool wide = is_64_bit(image->boot);

	if (strlen(image->boot->cmdline) > cmdline_max)
		return error_set(err, -E2BIG, "shorten it",
				 "kernel command line: this kernel takes %u bytes", cmdline_max);
	zero_page_fill(image, zp);
	segments_write(image->memory, wide);
	cpu->segment[CPU_CS] = boot_segment(BOOT_CS, 11, wide);
	cpu->segment[CPU_DS] = cpu->segment[CPU_ES] = cpu->segment[CPU_SS] = data;
	cpu->segment[CPU_FS] = cpu->segment[CPU_GS] = data;
	cpu->gdt = (struct cpu_table){BOOT_GDT, 31};
	cpu->cr0 |= 1; /* PE */
	if (wide) {
		page_tables_write(image->memory);
		cpu->cr0 |= 0x80000000; /* PG */
		cpu->cr4 |= 0x20;       /* PAE */
		cpu->cr3 = BOOT_PAGE_TABLES;
		cpu->efer |= 0x500; /* LMA, LME */
	}
	cpu->rip = image->entry;
	cpu->rflags = 2;
	cpu->gpr[CPU_RSI] = BOOT_ZERO_PAGE;
	return 0;
}

const struct kernel_format bzimage_format = {
	.name = "bzImage",
	.match = bzimage_match,
	.load = bzimage_load,
	.initrd_limit = bzimage_initrd_limit,
	.enter = bzimage_enter,
};
