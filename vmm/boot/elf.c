/* SPDX-License-Identifier: MIT */
/*
 * ELF vmlinux: segments at their physical addresses, entered in 32-bit protected mode at the
 * address that the PVH note names (xen/include/public/elfnote.h, XEN_ELFNOTE_PHYS32_ENTRY), with a
 * start info in EBX (xen/include/public/arch-x86/hvm/start_info.h, version 1).
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/bytes.h"
#include "vmm/base/checked.h"
#include "vmm/boot/boot_impl.h"

#define PROGRAM_HEADERS_MAX 64
#define NOTES_MAX           65536u /* bytes */
#define NOTE_NAME           "Xen"
#define NOTE_PHYS32_ENTRY   18

#define START_INFO_MAGIC   0x336ec578
#define START_INFO_VERSION 1
#define START_INFO_SIZE    56u
#define MODULE_SIZE        32u
#define MEMMAP_ENTRY_SIZE  24u
#define MODULE_AT          (BOOT_START_INFO + 64)
#define MEMMAP_AT          (BOOT_START_INFO + 128)

static int elf_match(const struct boot *boot)
{
	return memcmp(boot->head, ELFMAG, SELFMAG) == 0;
}

static int header_read(const struct boot *boot, Elf64_Ehdr *out, struct error *err)
{
	Elf64_Ehdr ehdr;

	memcpy(&ehdr, boot->head, sizeof(ehdr));
	if (ehdr.e_ident[EI_CLASS] != ELFCLASS64 || ehdr.e_ident[EI_DATA] != ELFDATA2LSB ||
	    ehdr.e_machine != EM_X86_64)
		return boot_malformed(boot, "an ELF file, but not for x86-64", err);
	if (ehdr.e_phentsize != sizeof(Elf64_Phdr) || ehdr.e_phnum == 0 ||
	    ehdr.e_phnum > PROGRAM_HEADERS_MAX)
		return boot_malformed(boot, "its ELF program headers make no sense", err);
	*out = ehdr;
	return 0;
}

/* The entry named by a PVH note in `notes`; 0 where there is none. */
static uint64_t notes_find_entry(const uint8_t *notes, size_t size)
{
	size_t at = 0;

	while (range_within(at, sizeof(Elf64_Nhdr), 0, size)) {
		uint32_t name_size = le32_get(notes + at);
		uint32_t desc_size = le32_get(notes + at + 4);
		uint32_t type = le32_get(notes + at + 8);
		uint64_t name = at + sizeof(Elf64_Nhdr);
		uint64_t desc = name + align_up(name_size, 4);

		if (!range_within(name, name_size, 0, size) ||
		    !range_within(desc, desc_size, 0, size))
			return 0;
		if (type == NOTE_PHYS32_ENTRY && name_size == sizeof(NOTE_NAME) &&
		    memcmp(notes + name, NOTE_NAME, sizeof(NOTE_NAME)) == 0 && desc_size >= 4)
			return le32_get(notes + desc);
		at = desc + align_up(desc_size, 4);
	}
	return 0;
}

static int note_segment_read(struct boot_image *image, const Elf64_Phdr *phdr, struct error *err)
{
	uint8_t *notes;
	int ret;

	if (phdr->p_filesz > NOTES_MAX)
		return boot_malformed(image->boot, "its ELF notes are too long", err);
	notes = malloc(phdr->p_filesz + 1);
	if (!notes)
		return error_set(err, -ENOMEM, NULL, "kernel: out of memory");
	ret = boot_file_read(&image->boot->kernel, phdr->p_offset, notes, phdr->p_filesz);
	if (ret)
		ret = boot_malformed(image->boot, "its ELF notes are cut off", err);
	else if (!image->entry)
		image->entry = notes_find_entry(notes, phdr->p_filesz);
	free(notes);
	return ret;
}

/* Memory beyond the file's part of a segment (.bss) is zero already. */
static int load_segment(struct boot_image *image, const Elf64_Phdr *phdr, struct error *err)
{
	uint64_t end;

	if (phdr->p_memsz == 0)
		return 0;
	if (phdr->p_filesz > phdr->p_memsz || phdr->p_paddr < BOOT_HIGH ||
	    !checked_add(phdr->p_paddr, phdr->p_memsz, &end))
		return boot_malformed(image->boot, "an ELF segment lies where none can be", err);
	if (end > image->memory->range[0].size)
		return boot_too_small(image, "the kernel", end, err);
	if (end > image->kernel_end)
		image->kernel_end = end;
	return boot_file_load(&image->boot->kernel, phdr->p_offset, phdr->p_filesz, image->memory,
			      phdr->p_paddr, "a segment of the kernel", err);
}

static int elf_load(struct boot_image *image, struct error *err)
{
	Elf64_Phdr phdr[PROGRAM_HEADERS_MAX];
	Elf64_Ehdr ehdr = {0};
	int ret = header_read(image->boot, &ehdr, err);

	if (ret)
		return ret;
	ret = boot_file_read(&image->boot->kernel, ehdr.e_phoff, phdr,
			     ehdr.e_phnum * sizeof(phdr[0]));
	if (ret)
		return boot_malformed(image->boot, "its ELF program headers are cut off", err);
	for (unsigned i = 0; i < ehdr.e_phnum && ret == 0; i++) {
		if (phdr[i].p_type == PT_LOAD)
			ret = load_segment(image, &phdr[i], err);
		else if (phdr[i].p_type == PT_NOTE)
			ret = note_segment_read(image, &phdr[i], err);
	}
	if (ret)
		return ret;
	if (image->kernel_end == 0)
		return boot_malformed(image->boot, "an ELF file with nothing to load", err);
	if (image->entry == 0)
		return boot_malformed(image->boot, "an ELF file without a PVH entry note", err);
	return 0;
}

static uint64_t elf_initrd_limit(const struct boot_image *image)
{
	(void)image;
	return 0x80000000ull; /* initrd_addr_max of the kernels that have the note */
}

static void start_info_write(const struct boot_image *image, struct guest_memory *memory)
{
	uint8_t *info = memory_at_write(memory, BOOT_START_INFO, START_INFO_SIZE);
	uint8_t *module = memory_at_write(memory, MODULE_AT, MODULE_SIZE);
	uint8_t *map = memory_at_write(memory, MEMMAP_AT, BOOT_RANGES_MAX * MEMMAP_ENTRY_SIZE);

	le32_put(info, START_INFO_MAGIC);
	le32_put(info + 4, START_INFO_VERSION);
	le32_put(info + 12, image->initrd_size ? 1 : 0);
	le64_put(info + 16, MODULE_AT);
	le64_put(info + 24, BOOT_CMDLINE);
	le64_put(info + 32, image->rsdp);
	le64_put(info + 40, MEMMAP_AT);
	le32_put(info + 48, image->range_count);
	le64_put(module, image->initrd_at);
	le64_put(module + 8, image->initrd_size);
	for (unsigned i = 0; i < image->range_count; i++) {
		uint8_t *entry = map + (size_t)i * MEMMAP_ENTRY_SIZE;

		le64_put(entry, image->range[i].base);
		le64_put(entry + 8, image->range[i].size);
		le32_put(entry + 16, image->range[i].type);
	}
}

/* start_info.h: flat 32-bit segments, paging off, EBX the start info; the rest is undefined. */
static int elf_enter(struct boot_image *image, struct cpu_state *cpu, struct error *err)
{
	struct cpu_segment data = boot_segment(0x18, 3, false);

	(void)err;
	start_info_write(image, image->memory);
	cpu->segment[CPU_CS] = boot_segment(0x10, 11, false);
	cpu->segment[CPU_DS] = cpu->segment[CPU_ES] = cpu->segment[CPU_SS] = data;
	cpu->segment[CPU_FS] = cpu->segment[CPU_GS] = data;
	cpu->tr = (struct cpu_segment){.limit = 0x67, .type = 11, .present = 1};
	cpu->cr0 |= 1; /* PE */
	cpu->rip = image->entry;
	cpu->rflags = 2;
	cpu->gpr[CPU_RBX] = BOOT_START_INFO;
	return 0;
}

const struct kernel_format elf_format = {
	.name = "ELF",
	.match = elf_match,
	.load = elf_load,
	.initrd_limit = elf_initrd_limit,
	.enter = elf_enter,
};
