/* SPDX-License-Identifier: MIT */
/*
 * The bus master's walk through its table of physical regions (SFF-8038i, 1.2). Entries are
 * copied before they are believed. Regions may be of any even length: what is given out are whole
 * sectors, so that a region can be left in the middle, and the walk goes on there.
 */
#include <errno.h>

#include "devices/ide/ide_impl.h"
#include "vmm/base/bytes.h"

#define ENTRY_SIZE 8u
#define ENTRY_LAST 0x80000000u

void ide_cursor_begin(struct ide_channel *c)
{
	c->cursor = (struct ide_cursor){.next = c->master_table};
}

/* The table lies within 64 KiB: only the lower half of its address counts. */
static int entry_take(const struct guest_memory *memory, struct ide_cursor *cursor)
{
	uint8_t entry[ENTRY_SIZE];
	uint32_t flags;

	if (memory_read(memory, cursor->next, entry, sizeof(entry)))
		return -EFAULT;
	flags = le32_get(entry + 4);
	cursor->at = le32_get(entry) & ~1u;
	cursor->left = flags & 0xfffe ? flags & 0xfffe : 0x10000;
	cursor->last = flags & ENTRY_LAST;
	cursor->next = (cursor->next & 0xffff0000) | ((cursor->next + ENTRY_SIZE) & 0xffff);
	return 0;
}

/* As much of the region as there is, but not beyond a sector's end with what is no whole one. */
static uint32_t piece_length(const struct ide_cursor *cursor, uint32_t got, uint32_t want)
{
	uint32_t length = cursor->left < want - got ? cursor->left : want - got;
	uint32_t begun = got % BLOCK_SECTOR, end = begun + length;

	return end >= BLOCK_SECTOR ? length - end % BLOCK_SECTOR : length;
}

static int piece_add(struct ide_channel *c, unsigned at, uint32_t gpa, uint32_t length,
		     bool to_memory)
{
	/* What is read here is written by nobody; an iovec knows no const. */
	void *host = to_memory ? memory_at_write(c->memory, gpa, length)
			       : (void *)(uintptr_t)memory_at(c->memory, gpa, length);

	if (!host)
		return -EFAULT;
	c->iov[at] = (struct iovec){host, length};
	c->piece[at] = (struct ide_piece){gpa, length};
	return 0;
}

int64_t ide_cursor_take(struct ide_channel *c, uint32_t want, bool to_memory)
{
	struct ide_cursor cursor = c->cursor;
	uint32_t got = 0, whole = 0;
	unsigned count = 0;

	c->piece_count = 0;
	while (got < want && count < IDE_PIECES) {
		uint32_t length;

		if (cursor.left == 0 && cursor.last)
			break;
		if (cursor.left == 0 && entry_take(c->memory, &cursor))
			return -EFAULT;
		length = piece_length(&cursor, got, want);
		if (piece_add(c, count++, cursor.at, length, to_memory))
			return -EFAULT;
		cursor.at += length;
		cursor.left -= length;
		got += length;
		if (got % BLOCK_SECTOR)
			continue;
		whole = got;
		c->piece_count = count;
		c->cursor = cursor;
	}
	return whole;
}
