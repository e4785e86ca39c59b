/* SPDX-License-Identifier: MIT */
/* Anything as a bzImage: its magic numbers are put in, unless the first byte says not to. */
#include "tests/fuzz/boot_input.h"

#define BOOT_FLAG 0x1fe
#define MAGIC     0x202
#define ENOUGH    (BOOT_INPUT_HEAD + 0x264)
#define AS_IS     0x80

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy;

	if (size < ENOUGH || data[0] & AS_IS) {
		boot_input_run(data, size);
		return 0;
	}
	copy = malloc(size);
	FUZZ_CHECK(copy);
	memcpy(copy, data, size);
	le16_put(copy + BOOT_INPUT_HEAD + BOOT_FLAG, 0xaa55);
	memcpy(copy + BOOT_INPUT_HEAD + MAGIC, "HdrS", 4);
	boot_input_run(copy, size);
	free(copy);
	return 0;
}
