/* SPDX-License-Identifier: MIT */
/* Anything as an ELF kernel: what every x86-64 ELF file has is put in, unless told not to. */
#include <elf.h>

#include "tests/fuzz/boot_input.h"

#define AS_IS 0x80

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy;
	Elf64_Ehdr ehdr;

	if (size < BOOT_INPUT_HEAD + sizeof(ehdr) || data[0] & AS_IS) {
		boot_input_run(data, size);
		return 0;
	}
	copy = malloc(size);
	FUZZ_CHECK(copy);
	memcpy(copy, data, size);
	memcpy(&ehdr, copy + BOOT_INPUT_HEAD, sizeof(ehdr));
	memcpy(ehdr.e_ident, ELFMAG, SELFMAG);
	ehdr.e_ident[EI_CLASS] = ELFCLASS64;
	ehdr.e_ident[EI_DATA] = ELFDATA2LSB;
	ehdr.e_machine = EM_X86_64;
	ehdr.e_phentsize = sizeof(Elf64_Phdr);
	ehdr.e_phnum %= 65;
	memcpy(copy + BOOT_INPUT_HEAD, &ehdr, sizeof(ehdr));
	boot_input_run(copy, size);
	free(copy);
	return 0;
}
