/* SPDX-License-Identifier: MIT */
/* A kernel file as fuzz_bzimage and fuzz_elf load it. */
#ifndef TESTS_FUZZ_BOOT_INPUT_H
#define TESTS_FUZZ_BOOT_INPUT_H

#include "tests/fuzz/fuzz.h"

/*
 * The first four bytes say how much memory the guest has, how long the command line is and what
 * stands as initrd; the rest is the kernel's file. Whatever loads must have left the low memory as
 * boot_impl.h says.
 */
#define BOOT_INPUT_HEAD 4u
void boot_input_run(const uint8_t *data, size_t size);

#endif
