/* SPDX-License-Identifier: MIT */
/* The console's bytes, in pieces of any length. */
#include "tests/fuzz/fuzz.h"
#include "vmm/machine/panic_watch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct panic_watch watch = {0};
	unsigned found = 0;

	while (in.left) {
		size_t n = 1 + input_u8(&in);
		const char *reason;

		if (n > in.left)
			n = in.left;
		reason = panic_watch_feed(&watch, in.at, n);
		in.at += n;
		in.left -= n;
		FUZZ_CHECK(watch.length <= PANIC_LINE_MAX);
		if (!reason)
			continue;
		found++;
		FUZZ_CHECK(strlen(reason) <= PANIC_LINE_MAX);
	}
	FUZZ_CHECK(found <= 1);
	return 0;
}
