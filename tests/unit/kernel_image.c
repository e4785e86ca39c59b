/* SPDX-License-Identifier: MIT */
/* Sources: Linux Documentation/arch/x86/boot.rst; elf(5); Xen's elfnote.h. */
#include "tests/unit/kernel_image.h"

#include <string.h>

#include "vmm/base/bytes.h"

static void fill(uint8_t *bytes, size_t size, unsigned seed)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(i * 11 + (i >> 8) + seed);
}

void kernel_image_bz(struct kernel_image *image)
{
	uint8_t *b = image->bytes;

	memset(image, 0, sizeof(*image));
	image->size = BZIMAGE_KERNEL + BZIMAGE_KERNEL_SIZE;
	b[0x1f1] = 1; /* setup_sects */
	le32_put(b + 0x1f4, BZIMAGE_KERNEL_SIZE / 16);
	le16_put(b + 0x1fe, 0xaa55);
	b[0x200] = 0xeb;
	b[0x201] = 0x6a;
	le32_put(b + 0x202, 0x53726448);
	le16_put(b + 0x206, 0x020f);
	b[0x211] = 1; /* loaded high */
	le32_put(b + 0x22c, 0x7fffffff);
	le32_put(b + 0x230, 0x200000); /* alignment */
	b[0x234] = 1;                  /* relocatable */
	le16_put(b + 0x236, 1);        /* a 64-bit entry */
	le32_put(b + 0x238, 2047);
	le64_put(b + 0x258, BZIMAGE_PREFERRED);
	le32_put(b + 0x260, 0x100000); /* init_size */
	fill(b + BZIMAGE_KERNEL, BZIMAGE_KERNEL_SIZE, 3);
}

Elf64_Ehdr *kernel_image_ehdr(struct kernel_image *image)
{
	return (Elf64_Ehdr *)(void *)image->bytes;
}

Elf64_Phdr *kernel_image_phdr(struct kernel_image *image, unsigned index)
{
	return (Elf64_Phdr *)(void *)(image->bytes + sizeof(Elf64_Ehdr)) + index;
}

static uint8_t *note_put(uint8_t *at, const char *name, uint32_t type, uint32_t value)
{
	uint32_t length = (uint32_t)strlen(name) + 1;

	le32_put(at, length);
	le32_put(at + 4, 4);
	le32_put(at + 8, type);
	memcpy(at + 12, name, length);
	at += 12 + ((length + 3) & ~3u);
	le32_put(at, value);
	return at + 4;
}

void kernel_image_elf(struct kernel_image *image)
{
	uint8_t *notes = image->bytes + ELF_NOTES, *end;

	memset(image, 0, sizeof(*image));
	*kernel_image_ehdr(image) = (Elf64_Ehdr){
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, 1},
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = 1,
		.e_phoff = sizeof(Elf64_Ehdr),
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 3,
	};
	*kernel_image_phdr(image, 0) = (Elf64_Phdr){.p_type = PT_LOAD,
						    .p_offset = ELF_CODE,
						    .p_vaddr = 0xffffffff80100000ull,
						    .p_paddr = 0x100000,
						    .p_filesz = 0x1000,
						    .p_memsz = 0x1000};
	*kernel_image_phdr(image, 1) = (Elf64_Phdr){.p_type = PT_LOAD,
						    .p_offset = ELF_DATA,
						    .p_vaddr = 0xffffffff80200000ull,
						    .p_paddr = 0x200000,
						    .p_filesz = 0x100,
						    .p_memsz = 0x2000};
	end = note_put(notes, "Linux", 0x100, 1);
	end = note_put(end, "Xen", 18, ELF_ENTRY);
	*kernel_image_phdr(image, 2) = (Elf64_Phdr){.p_type = PT_NOTE,
						    .p_offset = ELF_NOTES,
						    .p_filesz = (uint64_t)(end - notes),
						    .p_memsz = (uint64_t)(end - notes)};
	fill(image->bytes + ELF_CODE, 0x1000, 5);
	fill(image->bytes + ELF_DATA, 0x100, 9);
	image->size = (size_t)(end - image->bytes);
}
