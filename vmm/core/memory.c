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
#include "vmm/core/memory_freeze.h"
#include "vmm/core/memory_source.h"

/* Guest memory is the guest's: keep it out of core dumps and of forked helpers. */
static void range_advise(const struct memory_range *range)
{
	madvise(range->host, range->size, MADV_DONTDUMP);
	madvise(range->host, range->size, MADV_DONTFORK);
	madvise(range->host, range->size, MADV_HUGEPAGE);
}

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
	range_advise(range);
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
		pthread_mutex_init(&memory->load_lock, NULL);
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
	memory_freeze_destroy(memory->freeze);
	memory_source_destroy(memory->source);
	free(memory->absent);
	pthread_mutex_destroy(&memory->load_lock);
	free(memory);
}

void *memory_page(const struct guest_memory *memory, uint64_t page)
{
	uint64_t offset = page * MEMORY_PAGE_SIZE;
	const struct memory_range *range = memory->range;

	if (offset >= range->size) {
		offset -= range->size;
		range++;
	}
	return range->host + offset;
}

/* Which page of all of them is at `offset` in a range. */
static uint64_t page_at(const struct guest_memory *memory, const struct memory_range *range,
			uint64_t offset)
{
	return (range == memory->range ? offset : memory->range[0].size + offset) /
	       MEMORY_PAGE_SIZE;
}

/* Restored memory. */

static void absent_fill(struct guest_memory *memory)
{
	for (uint64_t page = 0; page < memory_pages(memory); page++)
		if (memory->source->file_of[page])
			memory->absent[page / 64] |= 1ull << page % 64;
}

static int content_map(struct guest_memory *memory)
{
	int ret = 0;

	if (memory->fd >= 0) {
		memory->absent =
			calloc((size_t)(memory_pages(memory) + 63) / 64, sizeof(*memory->absent));
		if (!memory->absent)
			return -ENOMEM;
		absent_fill(memory);
		return 0;
	}
	for (unsigned i = 0; i < memory->count && ret == 0; i++) {
		struct memory_range *range = &memory->range[i];

		ret = memory_source_map(memory->source, page_at(memory, range, 0),
					range->size / MEMORY_PAGE_SIZE, range->host);
		range_advise(range); /* what was mapped over it */
	}
	return ret;
}

int memory_create_from(struct memory_source *source, bool shared, struct guest_memory **out,
		       struct error *err)
{
	struct guest_memory *memory = NULL;
	int ret = create(source->pages * MEMORY_PAGE_SIZE, shared, &memory, err);

	if (ret || !memory) {
		memory_source_destroy(source);
		return ret;
	}
	memory->source = source;
	ret = content_map(memory);
	if (ret) {
		memory_destroy(memory);
		return error_set(err, ret, "see lodge store check", "guest memory: restore: %s",
				 error_name(ret));
	}
	*out = memory;
	return 0;
}

static bool is_absent(const struct guest_memory *memory, uint64_t page)
{
	/* Acquire: the content is there where the bit is clear. */
	return __atomic_load_n(&memory->absent[page / 64], __ATOMIC_ACQUIRE) >> page % 64 & 1;
}

/* The lock is held. */
static void page_load(struct guest_memory *memory, uint64_t page)
{
	int ret = memory_source_read(memory->source, page, memory_page(memory, page));

	if (ret && memory->lost)
		memory->lost(memory->lost_arg, ret);
	__atomic_fetch_and(&memory->absent[page / 64], ~(1ull << page % 64), __ATOMIC_RELEASE);
}

/* What the memory has is brought here, not changed. */
static void page_want(const struct guest_memory *memory, uint64_t page)
{
	struct guest_memory *m = (struct guest_memory *)(uintptr_t)memory;

	if (!is_absent(memory, page))
		return;
	pthread_mutex_lock(&m->load_lock);
	if (is_absent(memory, page))
		page_load(m, page);
	pthread_mutex_unlock(&m->load_lock);
}

static void pages_load(const struct guest_memory *memory, const struct memory_range *range,
		       uint64_t offset, uint64_t length)
{
	uint64_t last = page_at(memory, range, offset + length - 1);

	for (uint64_t page = page_at(memory, range, offset); page <= last; page++)
		page_want(memory, page);
}

const void *memory_page_content(const struct guest_memory *memory, uint64_t page)
{
	if (memory->absent)
		page_want(memory, page);
	return memory_page(memory, page);
}

static void range_mark(const struct memory_range *range, uint64_t offset, uint64_t length)
{
	uint64_t last = (offset + length - 1) / MEMORY_PAGE_SIZE;

	/* Queues mark concurrently; nobody orders by these bits, they are read while paused. */
	for (uint64_t page = offset / MEMORY_PAGE_SIZE; page <= last; page++)
		__atomic_fetch_or(&range->dirty[page / 64], 1ull << (page % 64), __ATOMIC_RELAXED);
}

/* Anonymous memory where files were mapped. */
static int source_leave(struct guest_memory *memory)
{
	for (unsigned i = 0; i < memory->count; i++) {
		struct memory_range *range = &memory->range[i];

		if (mmap(range->host, range->size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
			 0) == MAP_FAILED)
			return -errno;
		range_advise(range);
	}
	memory_source_destroy(memory->source);
	memory->source = NULL;
	return 0;
}

int memory_clear(struct guest_memory *memory, struct error *err)
{
	int ret = 0;

	if (memory->freeze)
		memory_freeze_writing(memory->freeze, 0, memory_pages(memory) - 1);
	/* MADV_REMOVE punches a hole into the memfd. */
	for (unsigned i = 0; i < memory->count && ret == 0; i++)
		if (madvise(memory->range[i].host, memory->range[i].size,
			    memory->fd >= 0 ? MADV_REMOVE : MADV_DONTNEED) < 0)
			ret = -errno;
	if (ret)
		return error_set(err, ret, NULL, "clear guest memory: %s", error_name(ret));
	/* A private mapping would show its file again. */
	if (memory->source && memory->fd < 0)
		ret = source_leave(memory);
	else if (memory->absent)
		memset(memory->absent, 0, (size_t)(memory_pages(memory) + 63) / 64 * 8);
	if (ret)
		return error_set(err, ret, NULL, "clear guest memory: %s", error_name(ret));
	for (unsigned i = 0; i < memory->count && memory->tracking; i++)
		range_mark(&memory->range[i], 0, memory->range[i].size);
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

	if (!range)
		return NULL;
	if (memory->absent && length)
		pages_load(memory, range, gpa - range->base, length);
	return range->host + (gpa - range->base);
}

void *memory_at_write(struct guest_memory *memory, uint64_t gpa, uint64_t length)
{
	const struct memory_range *range = range_find(memory, gpa, length);

	if (!range)
		return NULL;
	if (memory->absent && length)
		pages_load(memory, range, gpa - range->base, length);
	if (memory->tracking && length)
		range_mark(range, gpa - range->base, length);
	if (memory->freeze && length)
		memory_freeze_writing(memory->freeze, page_at(memory, range, gpa - range->base),
				      page_at(memory, range, gpa - range->base + length - 1));
	if (memory->writing && length)
		memory->writing(memory->writing_arg, gpa, length);
	return range->host + (gpa - range->base);
}

void memory_expect(const struct guest_memory *memory, uint64_t gpa, uint64_t length)
{
	const struct memory_range *range = range_find(memory, gpa, length);
	uint64_t start, end;

	if (!range)
		return;
	start = align_up(gpa - range->base, MEMORY_PAGE_SIZE);
	end = (gpa - range->base + length) & ~(MEMORY_PAGE_SIZE - 1);
	/* Linux before 5.14 does not know it; then they come one by one. */
	if (start < end)
		madvise(range->host + start, end - start, MADV_POPULATE_WRITE);
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

void memory_bits_add(const struct guest_memory *memory, unsigned range, const uint64_t *of_range,
		     uint64_t *bits)
{
	/* Ranges are whole in words but for the last: 3 GiB are. */
	uint64_t first = page_at(memory, &memory->range[range], 0);
	uint64_t words = (memory->range[range].size / MEMORY_PAGE_SIZE + 63) / 64;

	assert(first % 64 == 0);
	for (uint64_t i = 0; i < words; i++)
		bits[first / 64 + i] |= of_range[i];
}

void memory_track_fetch(struct guest_memory *memory, uint64_t *bits)
{
	for (unsigned i = 0; i < memory->count && memory->tracking; i++) {
		struct memory_range *range = &memory->range[i];
		size_t words = (range->size / MEMORY_PAGE_SIZE + 63) / 64;

		memory_bits_add(memory, i, range->dirty, bits);
		memset(range->dirty, 0, words * sizeof(*range->dirty));
	}
}

static void bits_set(uint64_t *bits, uint64_t first, uint64_t end)
{
	for (uint64_t page = first; page < end; page++)
		bits[page / 64] |= 1ull << page % 64;
}

int memory_present(const struct guest_memory *memory, uint64_t *bits)
{
	off_t at = 0, end;

	if (memory->fd < 0) {
		bits_set(bits, 0, memory_pages(memory));
		return 0;
	}
	for (uint64_t i = 0; i < (memory_pages(memory) + 63) / 64 && memory->absent; i++)
		bits[i] |= __atomic_load_n(&memory->absent[i], __ATOMIC_RELAXED);
	/* A hole of a memfd is a page that nobody ever touched. */
	while ((at = lseek(memory->fd, at, SEEK_DATA)) >= 0) {
		end = lseek(memory->fd, at, SEEK_HOLE);
		if (end < 0)
			return -errno;
		bits_set(bits, (uint64_t)at / MEMORY_PAGE_SIZE, (uint64_t)end / MEMORY_PAGE_SIZE);
		at = end;
	}
	return errno == ENXIO ? 0 : -errno;
}
