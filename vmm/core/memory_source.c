/* SPDX-License-Identifier: MIT */
/* See memory_source.h. */
#include "vmm/core/memory_source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block/file.h"
#include "vmm/core/memory.h"

/* Shorter runs of pages are copied: the host has only so many mappings, and each takes its time. */
#define RUN_MAPPED 64u

int memory_source_create(uint64_t pages, struct memory_source **out)
{
	struct memory_source *source = calloc(1, sizeof(*source));

	if (source)
		source->file_of = calloc((size_t)pages, 1);
	if (!source || !source->file_of) {
		free(source);
		return -ENOMEM;
	}
	source->pages = pages;
	*out = source;
	return 0;
}

void memory_source_destroy(struct memory_source *source)
{
	if (!source)
		return;
	for (unsigned i = 0; i < source->count; i++)
		close(source->file[i]);
	free(source->file_of);
	free(source);
}

int memory_source_read(const struct memory_source *source, uint64_t page, uint8_t *to)
{
	unsigned file = source->file_of[page];

	if (file == 0) {
		memset(to, 0, MEMORY_PAGE_SIZE);
		return 0;
	}
	return file_read(source->file[file - 1], to, MEMORY_PAGE_SIZE, page * MEMORY_PAGE_SIZE);
}

static int run_map(const struct memory_source *source, uint64_t page, uint64_t count, uint8_t *host)
{
	int fd = source->file[source->file_of[page] - 1];
	uint64_t offset = page * MEMORY_PAGE_SIZE;

	if (count < RUN_MAPPED)
		return file_read(fd, host, count * MEMORY_PAGE_SIZE, offset);
	if (mmap(host, count * MEMORY_PAGE_SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd, (off_t)offset) == MAP_FAILED)
		return -errno;
	return 0;
}

int memory_source_map(const struct memory_source *source, uint64_t first, uint64_t count,
		      uint8_t *host)
{
	uint64_t end = first + count;
	int ret = 0;

	for (uint64_t page = first, run; page < end && ret == 0; page += run) {
		for (run = 1; page + run < end; run++)
			if (source->file_of[page + run] != source->file_of[page])
				break;
		if (source->file_of[page])
			ret = run_map(source, page, run, host + (page - first) * MEMORY_PAGE_SIZE);
	}
	return ret;
}
