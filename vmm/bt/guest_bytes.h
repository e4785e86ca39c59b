/* SPDX-License-Identifier: MIT */
/*
 * Guest memory at its host address, as the guest's instructions read and write it: while other
 * vCPUs and devices do the same. What is torn or lost then is torn or lost as on hardware: accesses
 * of 1, 2, 4 and 8 bytes are one access each, which x86 makes whole if it is aligned, and the
 * host's order of memory is the guest's.
 *
 * To C these are data races, and to ThreadSanitizer they would be lodge's; but they are the
 * guest's, by design. So none of this is instrumented, and nothing else may touch guest memory on a
 * vCPU's thread: all that is instrumented is lodge's own.
 */
#ifndef VMM_BT_GUEST_BYTES_H
#define VMM_BT_GUEST_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define GUEST_BYTES_TSAN 1
#endif
#endif
#ifdef __SANITIZE_THREAD__
#define GUEST_BYTES_TSAN 1
#endif

/* Not to be inlined where it would be instrumented. */
#ifdef GUEST_BYTES_TSAN
#define GUEST_BYTES __attribute__((no_sanitize("thread"), noinline, unused)) static
#else
#define GUEST_BYTES static inline
#endif

typedef uint16_t __attribute__((aligned(1), may_alias)) guest_word;
typedef uint32_t __attribute__((aligned(1), may_alias)) guest_dword;
typedef uint64_t __attribute__((aligned(1), may_alias)) guest_qword;

GUEST_BYTES void guest_copy(void *to, const void *from, unsigned size)
{
#ifdef GUEST_BYTES_TSAN /* memcpy is intercepted wherever it is called */
	volatile uint8_t *t = to;
	const volatile uint8_t *f = from;

	for (unsigned i = 0; i < size; i++)
		t[i] = f[i];
#else
	memcpy(to, from, size);
#endif
}

/* Memory to memory; they may overlap. */
GUEST_BYTES void guest_move(void *to, const void *from, unsigned size)
{
#ifdef GUEST_BYTES_TSAN
	volatile uint8_t *t = to;
	const volatile uint8_t *f = from;

	for (unsigned i = 0; i < size; i++) {
		unsigned at = (uintptr_t)to > (uintptr_t)from ? size - 1 - i : i;

		t[at] = f[at];
	}
#else
	memmove(to, from, size);
#endif
}

GUEST_BYTES void guest_fill(void *to, uint8_t value, unsigned size)
{
#ifdef GUEST_BYTES_TSAN
	volatile uint8_t *t = to;

	for (unsigned i = 0; i < size; i++)
		t[i] = value;
#else
	memset(to, value, size);
#endif
}

GUEST_BYTES bool guest_equal(const void *memory, const void *bytes, unsigned size)
{
#ifdef GUEST_BYTES_TSAN
	const volatile uint8_t *m = memory;
	const uint8_t *b = bytes;

	for (unsigned i = 0; i < size; i++)
		if (m[i] != b[i])
			return false;
	return true;
#else
	return memcmp(memory, bytes, size) == 0;
#endif
}

/* The low `size` bytes of a register, 1 to 8. */
GUEST_BYTES uint64_t guest_load(const void *from, unsigned size)
{
	uint64_t value = 0;

	switch (size) {
	case 1:
		return *(const volatile uint8_t *)from;
	case 2:
		return *(const volatile guest_word *)from;
	case 4:
		return *(const volatile guest_dword *)from;
	case 8:
		return *(const volatile guest_qword *)from;
	default:
		guest_copy(&value, from, size);
		return value;
	}
}

GUEST_BYTES void guest_store(void *to, unsigned size, uint64_t value)
{
	switch (size) {
	case 1:
		*(volatile uint8_t *)to = (uint8_t)value;
		break;
	case 2:
		*(volatile guest_word *)to = (uint16_t)value;
		break;
	case 4:
		*(volatile guest_dword *)to = (uint32_t)value;
		break;
	case 8:
		*(volatile guest_qword *)to = value;
		break;
	default:
		guest_copy(to, &value, size);
		break;
	}
}

/*
 * Compare and exchange, locked: `value`, if *old is there. False: it is not, and *old is what is.
 */
bool guest_exchange(void *at, unsigned size, uint64_t *old, uint64_t value);

/*
 * What this vCPU has stored is seen by all before it goes on: MFENCE, and instructions that
 * serialize (SDM vol. 3, 9.3). Guests order by them: a store, a fence, a load of what another vCPU
 * stores.
 */
static inline void guest_fence(void)
{
	__asm__ volatile("mfence" : : : "memory");
}

#endif
