/* SPDX-License-Identifier: MIT */
/* Kernels that are none: images with just the headers that the loaders look at. */
#ifndef TESTS_UNIT_KERNEL_IMAGE_H
#define TESTS_UNIT_KERNEL_IMAGE_H

#include <elf.h>
#include <stddef.h>
#include <stdint.h>

#define KERNEL_IMAGE_MAX 65536u

struct kernel_image {
	size_t size;
	uint8_t bytes[KERNEL_IMAGE_MAX];
};

/* A bzImage: one setup sector, 4 KiB of kernel behind at BZIMAGE_KERNEL, loaded at 16 MiB. */
#define BZIMAGE_KERNEL      1024u
#define BZIMAGE_KERNEL_SIZE 4096u
#define BZIMAGE_PREFERRED   0x1000000ull
void kernel_image_bz(struct kernel_image *image);

/*
 * An ELF file with three program headers, to be changed: code (4 KiB at ELF_CODE, loaded at 1 MiB),
 * data (256 bytes at ELF_DATA, at 2 MiB, with .bss to 8 KiB), notes (at ELF_NOTES) of which the
 * second is PVH's and names 1 MiB + 0x100.
 */
#define ELF_CODE  0x1000u
#define ELF_DATA  0x2000u
#define ELF_NOTES 0x2100u
#define ELF_ENTRY 0x100100u
void kernel_image_elf(struct kernel_image *image);
Elf64_Ehdr *kernel_image_ehdr(struct kernel_image *image);
Elf64_Phdr *kernel_image_phdr(struct kernel_image *image, unsigned index);

#endif
