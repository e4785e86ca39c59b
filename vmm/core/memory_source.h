/* SPDX-License-Identifier: MIT */
/*
 * Where the content of restored guest memory is: files whose offset is that of the memory (range 1
 * behind range 0), sparse, of which each has some of the pages.
 */
#ifndef VMM_CORE_MEMORY_SOURCE_H
#define VMM_CORE_MEMORY_SOURCE_H

#include "vmm/base/error.h"

#include <stdint.h>

#define MEMORY_SOURCE_FILES_MAX 255u

struct memory_source {
	uint64_t pages;
	uint8_t *file_of; /* for each page: 1 + the index of its file; 0: the page is zero */
	unsigned count;
	int file[MEMORY_SOURCE_FILES_MAX]; /* the source's own */
};

/* All pages zero, no files. -ENOMEM */
int memory_source_create(uint64_t pages, struct memory_source **out);
/* Closes the files. NULL is allowed. */
void memory_source_destroy(struct memory_source *source);

/* A page's content. -EIO: its file does not have it any more. Any thread. */
int memory_source_read(const struct memory_source *source, uint64_t page, uint8_t *to);

/*
 * Map the pages from `first` on at `host`, private and writable: what is read comes from the host's
 * page cache, which all who have the files share.
 */
int memory_source_map(const struct memory_source *source, uint64_t first, uint64_t count,
		      uint8_t *host);

#endif
