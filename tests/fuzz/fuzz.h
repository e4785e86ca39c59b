/* SPDX-License-Identifier: MIT */
/*
 * What fuzz targets share. An input is a string of bytes that is taken from the front; behind its
 * end there are zeroes, so that every input is a complete one. A target aborts on a finding.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/bytes.h"

/* libFuzzer's, or replay.c's. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Not assert: a finding of the target's own, in words. */
#define FUZZ_CHECK(condition)                                                                      \
	do {                                                                                       \
		if (!(condition))                                                                  \
			fuzz_failed(#condition, __FILE__, __LINE__);                               \
	} while (0)

/* Of a target's own checks and loops: what they do says nothing about an input, and costs time. */
#ifdef __clang__
#define FUZZ_NO_COVERAGE __attribute__((no_sanitize("coverage")))
#else
#define FUZZ_NO_COVERAGE
#endif

_Noreturn void fuzz_failed(const char *what, const char *file, int line);

struct input {
	const uint8_t *at;
	size_t left;
};

static inline void input_bytes(struct input *in, void *to, size_t size)
{
	size_t n = size < in->left ? size : in->left;

	memset(to, 0, size);
	if (n)
		memcpy(to, in->at, n);
	in->at += n;
	in->left -= n;
}

static inline uint64_t input_number(struct input *in, unsigned size)
{
	uint8_t bytes[8] = {0};

	input_bytes(in, bytes, size);
	return le64_get(bytes);
}

static inline uint8_t input_u8(struct input *in)
{
	return (uint8_t)input_number(in, 1);
}

static inline uint16_t input_u16(struct input *in)
{
	return (uint16_t)input_number(in, 2);
}

static inline uint32_t input_u32(struct input *in)
{
	return (uint32_t)input_number(in, 4);
}

static inline uint64_t input_u64(struct input *in)
{
	return input_number(in, 8);
}

/* The size of a bus access. */
static inline unsigned input_size(struct input *in)
{
	return 1u << (input_u8(in) & 3);
}

/* An anonymous file with these bytes; the caller closes it. `path` is a name to open it by. */
#define FUZZ_PATH_MAX 32
int fuzz_file(const void *bytes, size_t size, char path[FUZZ_PATH_MAX]);

/* Let a loop do what is ready now. */
struct loop;
void fuzz_loop_turn(struct loop *loop);

#endif
