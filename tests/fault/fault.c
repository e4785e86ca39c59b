/* SPDX-License-Identifier: MIT */
/* Allocation functions that count, and fail once on demand. Other threads may allocate as well. */
#include "tests/fault/fault.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

static _Atomic int left = -1;
static _Atomic bool failed;
static _Atomic long live;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);
void __wrap_free(void *block);

void fault_arm(int allowed)
{
	atomic_store(&failed, false);
	atomic_store(&left, allowed);
}

bool fault_disarm(void)
{
	atomic_store(&left, -1);
	return atomic_load(&failed);
}

long fault_live_blocks(void)
{
	return atomic_load(&live);
}

static bool fails_now(void)
{
	int now = atomic_load(&left);

	while (now >= 0 && !atomic_compare_exchange_weak(&left, &now, now - 1))
		;
	if (now != 0)
		return false;
	atomic_store(&failed, true);
	errno = ENOMEM;
	return true;
}

static void *counted(void *block)
{
	if (block)
		atomic_fetch_add(&live, 1);
	return block;
}

void *__wrap_malloc(size_t size)
{
	return fails_now() ? NULL : counted(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails_now() ? NULL : counted(__real_calloc(count, size));
}

void *__wrap_realloc(void *old, size_t size)
{
	void *new;

	if (fails_now())
		return NULL;
	new = __real_realloc(old, size);
	return old ? new : counted(new);
}

char *__wrap_strdup(const char *text)
{
	return fails_now() ? NULL : counted(__real_strdup(text));
}

void __wrap_free(void *block)
{
	if (block)
		atomic_fetch_sub(&live, 1);
	__real_free(block);
}
