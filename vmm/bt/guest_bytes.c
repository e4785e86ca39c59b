/* SPDX-License-Identifier: MIT */
/* Locked accesses to guest memory. Never inlined, so that ThreadSanitizer does not see them. */
#include "vmm/bt/guest_bytes.h"

#ifdef GUEST_BYTES_TSAN
__attribute__((no_sanitize("thread")))
#endif
bool guest_exchange(void *at, unsigned size, uint64_t *old, uint64_t value)
{
	uint8_t b = (uint8_t)*old;
	uint16_t w = (uint16_t)*old;
	uint32_t d = (uint32_t)*old;
	bool done;

	switch (size) {
	case 1:
		done = __atomic_compare_exchange_n((uint8_t *)at, &b, (uint8_t)value, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
		*old = b;
		return done;
	case 2:
		done = __atomic_compare_exchange_n((uint16_t *)at, &w, (uint16_t)value, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
		*old = w;
		return done;
	case 4:
		done = __atomic_compare_exchange_n((uint32_t *)at, &d, (uint32_t)value, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
		*old = d;
		return done;
	default:
		return __atomic_compare_exchange_n((uint64_t *)at, old, value, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	}
}
