/* SPDX-License-Identifier: MIT */
/* Guest memory. See memory.h. */
#include "vmm/core/memory.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/base/checked.h"

static int range_map(struct guest_memory *memory, uint64_t base, uint64_t size, uint64_t offset)
{
	struct memory_range *range = &memory->range[memory->count];
	int flags = memory->fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
	void *host = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, memory->fd,
			  memory->fd >= 0 ? (off_t)offset : 0);

	if (host == MAP_FAILED)
		return -errno;
	*range = (struct memory_range){.base = base, .size = size, .host = host};
	memory->count++;
	/* Guest memory is the guest's: keep it out of core dumps and of forked helpers. */
	madvise(host, size, MADV_DONTDUMP);
	madvise(host, size, MADV_DONTFORK);
	madvise(host, size, MADV_HUGEPAGE);
	return 0;
}

static int ranges_create(struct guest_memory *memory, bool shared)
{
	uint64_t low = memory->size < MEMORY_HOLE_START ? memory->size : MEMORY_HOLE_START;
	int ret;

	if (shared) {
		memory->fd = memfd_create("lodge-guest-memory", MFD_CLOEXEC);
		if (memory->fd < 0 || ftruncate(memory->fd, (off_t)memory->size) < 0)
			return -errno;
	}
	ret = range_map(memory, 0, low, 0);
	if (ret == 0 && low < memory->size)
		ret = range_map(memory, MEMORY_HOLE_END, memory->size - low, low);
	return ret;
}

static int create(uint64_t size, bool shared, struct guest_memory **out, struct error *err)
{
	struct guest_memory *memory = calloc(1, sizeof(*memory));
	int ret = -ENOMEM;

	assert(size && size % MEMORY_PAGE_SIZE == 0);
	if (memory) {
		memory->size = size;
		memory->fd = -1;
		ret = ranges_create(memory, shared);
	}
	if (ret) {
		memory_destroy(memory);
		return error_set(err, ret, "ask for less with -m", "guest memory of %llu MiB: %s",
				 (unsigned long long)(size >> 20), error_name(ret));
	}
	*out = memory;
	return 0;
}

int memory_create(uint64_t size, struct guest_memory **out, struct error *err)
{
	return create(size, false, out, err);
}

int memory_create_shared(uint64_t size, struct guest_memory **out, struct error *err)
{
	return create(size, true, out, err);
}

void memory_destroy(struct guest_memory *memory)
{
	if (!memory)
		return;
	for (unsigned i = 0; i < memory->count; i++) {
		munmap(memory->range[i].host, memory->range[i].size);
		free(memory->range[i].dirty);
	}
	if (memory->fd >= 0)
		close(memory->fd);
	free(memory);
}

int memory_clear(struct guest_memory *memory, struct error *err)
{
	int ret = 0;

	/* MADV_REMOVE punches a hole into the memfd. */
	for (unsigned i = 0; i < memory->count && ret == 0; i++)
		if (madvise(memory->range[i].host, memory->range[i].size,
			    memory->fd >= 0 ? MADV_REMOVE : MADV_DONTNEED) < 0)
			ret = -errno;
	if (ret)
		return error_set(err, ret, NULL, "clear guest memory: %s", error_name(ret));
	for (unsigned i = 0; i < memory->count && memory->writing; i++)
		memory->writing(memory->writing_arg, memory->range[i].base, memory->range[i].size);
	return 0;
}

static const struct memory_range *range_find(const struct guest_memory *memory, uint64_t gpa,
					     uint64_t length)
{
	for (unsigned i = 0; i < memory->count; i++) {
		const struct memory_range *range = &memory->range[i];

		if (range_within(gpa, length, range->base, range->size))
			return range;
	}
	return NULL;
}

const void *memory_at(const struct guest_memory *memory, uint64_t gpa, uint64_t length)
{
	const struct memory_range *range = range_find(memory, gpa, length);

	return range ? range->host + (gpa - range->base) : NULL;
}

static void range_mark(const struct memory_range *range, uint64_t offset, uint64_t length)
{
	uint64_t last = (offset + length - 1) / MEMORY_PAGE_SIZE;

	/* Queues mark concurrently; nobody orders by these bits, they are read while paused. */
	for (uint64_t page = offset / MEMORY_PAGE_SIZE; page <= last; page++)
		__atomic_fetch_or(&range->dirty[page / 64], 1ull << (page % 64), __ATOMIC_RELAXED);
}

void *memory_at_write(struct guest_memory *memory, uint64_t gpa, uint64_t length)
{
	const struct memory_range *range = range_find(memory, gpa, length);

	if (!range)
		return NULL;
	if (memory->tracking && length)
		range_mark(range, gpa - range->base, length);
	if (memory->writing && length)
		memory->writing(memory->writing_arg, gpa, length);
	return range->host + (gpa - range->base);
}

int memory_read(const struct guest_memory *memory, uint64_t gpa, void *to, uint64_t length)
{
	const void *from = memory_at(memory, gpa, length);

	if (!from)
		return -EFAULT;
	memcpy(to, from, length);
	return 0;
}

int memory_write(struct guest_memory *memory, uint64_t gpa, const void *from, uint64_t length)
{
	void *to = memory_at_write(memory, gpa, length);

	if (!to)
		return -EFAULT;
	memcpy(to, from, length);
	return 0;
}

int memory_track(struct guest_memory *memory, bool on)
{
	/* Off until all ranges have their bits: without memory for one there is nothing to mark. */
	memory->tracking = false;
	for (unsigned i = 0; on && i < memory->count; i++) {
		struct memory_range *range = &memory->range[i];
		size_t words = (range->size / MEMORY_PAGE_SIZE + 63) / 64;

		free(range->dirty);
		range->dirty = calloc(words, sizeof(uint64_t));
		if (!range->dirty)
			return -ENOMEM;
	}
	memory->tracking = on;
	return 0;
}
