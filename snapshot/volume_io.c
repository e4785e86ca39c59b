/* SPDX-License-Identifier: MIT */
/* Reads and writes of a volume, and what the fast path asks. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/volume_impl.h"
#include "vmm/base/checked.h"

void volume_lookup(const struct volume *volume, uint64_t first, uint64_t max, struct stack_run *out)
{
	stack_lookup(volume->stack, first, max, out);
}

bool volume_is_ours(const struct volume *volume, uint64_t first, uint64_t count)
{
	for (uint64_t i = first; i < first + count; i++)
		if (stack_holder(volume->stack, i) != volume->head_number)
			return false;
	return !volume->read_only;
}

static void holder_set(struct volume *volume, uint64_t first, uint64_t count, uint8_t holder)
{
	/* Released: who sees that a block is ours may rely on its bits being set. */
	for (uint64_t i = first; i < first + count; i++)
		atomic_store_explicit(&volume->stack->holder[i], holder, memory_order_release);
}

void volume_mark(struct volume *volume, uint64_t first, uint64_t count)
{
	int ret;

	if (volume_is_ours(volume, first, count))
		return;
	ret = layer_bits_mark(volume->head, first, count, LAYER_DATA);
	if (ret)
		volume_fail(volume, ret);
	else
		holder_set(volume, first, count, volume->head_number);
}

/* Does this block read as zeroes already, for all to come? */
static bool is_zero_block(const struct volume *volume, uint64_t block)
{
	uint8_t holder = stack_holder(volume->stack, block);

	return holder == HOLDER_ZERO || (holder == HOLDER_NONE && !volume->manifest.base.path[0]);
}

void volume_mark_zero(struct volume *volume, uint64_t first, uint64_t count)
{
	uint64_t end = first + count;

	while (first < end) {
		uint64_t stop;
		int ret;

		if (is_zero_block(volume, first)) {
			first++;
			continue;
		}
		for (stop = first + 1; stop < end && !is_zero_block(volume, stop); stop++)
			;
		ret = layer_bits_mark(volume->head, first, stop - first, LAYER_ZERO);
		if (ret) {
			volume_fail(volume, ret);
			return;
		}
		holder_set(volume, first, stop - first, HOLDER_ZERO);
		first = stop;
	}
}

/* Reads. */

static int below_read(struct volume *volume, uint64_t offset, size_t size, void *bytes)
{
	if (!volume->manifest.base.path[0]) {
		memset(bytes, 0, size);
		return 0;
	}
	return volume->base_read ? volume->base_read(volume->base_arg, offset, bytes, size)
				 : -ENXIO;
}

static int range_check(const struct volume *volume, uint64_t offset, uint64_t size)
{
	return range_within(offset, size, 0, volume->manifest.size) ? 0 : -EINVAL;
}

int volume_read(struct volume *volume, uint64_t offset, size_t size, void *bytes)
{
	char *to = bytes;
	int ret = range_check(volume, offset, size);

	while (size && ret == 0) {
		struct stack_run run;
		uint64_t n;

		stack_lookup(volume->stack, offset / STORE_BLOCK,
			     (offset % STORE_BLOCK + size + STORE_BLOCK - 1) / STORE_BLOCK, &run);
		n = run.count * STORE_BLOCK - offset % STORE_BLOCK;
		if (n > size)
			n = size;
		if (run.kind == STACK_LAYER)
			ret = layer_read_bytes(run.layer, offset, n, to);
		else if (run.kind == STACK_ZERO)
			memset(to, 0, n);
		else
			ret = below_read(volume, offset, n, to);
		to += n;
		offset += n;
		size -= n;
	}
	return ret;
}

/* Writes. */

/* One block, whole, out of what is below and the part that is written. */
static int block_make(struct volume *volume, uint64_t block, uint64_t at, size_t size,
		      const void *bytes)
{
	uint64_t start = block * STORE_BLOCK, left = volume->manifest.size - start;
	uint8_t *whole = calloc(1, STORE_BLOCK);
	int ret = whole ? 0 : -ENOMEM;

	if (ret == 0)
		ret = volume_read(volume, start, left < STORE_BLOCK ? left : STORE_BLOCK, whole);
	if (ret == 0) {
		memcpy(whole + at, bytes, size);
		ret = layer_write_bytes(volume->head, start, STORE_BLOCK, whole);
	}
	if (ret == 0) {
		volume_mark(volume, block, 1);
		ret = volume_writable(volume);
	}
	free(whole);
	return ret;
}

int volume_write_partial(struct volume *volume, uint64_t offset, size_t size, const void *bytes)
{
	uint64_t block = offset / STORE_BLOCK, at = offset % STORE_BLOCK;
	pthread_mutex_t *cow = &volume->cow[block % VOLUME_COW_LOCKS];
	int ret = volume_writable(volume);

	if (ret == 0)
		ret = range_check(volume, offset, size);
	if (ret == 0 && at + size > STORE_BLOCK)
		ret = -EINVAL;
	if (ret)
		return ret;
	pthread_mutex_lock(cow);
	if (volume_is_ours(volume, block, 1))
		ret = layer_write_bytes(volume->head, offset, size, bytes);
	else
		ret = block_make(volume, block, at, size, bytes);
	pthread_mutex_unlock(cow);
	return ret;
}

int volume_write(struct volume *volume, uint64_t offset, size_t size, const void *bytes)
{
	const char *from = bytes;
	int ret = volume_writable(volume);

	if (ret == 0)
		ret = range_check(volume, offset, size);
	while (size && ret == 0) {
		uint64_t at = offset % STORE_BLOCK, n = STORE_BLOCK - at;

		if (at || size < STORE_BLOCK) {
			n = n < size ? n : size;
			ret = volume_write_partial(volume, offset, n, from);
		} else {
			n = size - size % STORE_BLOCK;
			ret = layer_write_bytes(volume->head, offset, n, from);
			if (ret == 0) {
				volume_mark(volume, offset / STORE_BLOCK, n / STORE_BLOCK);
				ret = volume_writable(volume);
			}
		}
		from += n;
		offset += n;
		size -= n;
	}
	return ret;
}

/* Whole blocks. */
static int blocks_zero(struct volume *volume, uint64_t first, uint64_t count, bool unmap)
{
	struct store_io *io = volume->store->io;
	struct stack_run run;

	/* Marked before the hole is there: nobody sees less than zeroes. */
	while (count && volume_writable(volume) == 0) {
		bool ours;

		stack_lookup(volume->stack, first, count, &run);
		ours = run.kind == STACK_LAYER && run.layer == volume->head;
		volume_mark_zero(volume, first, run.count);
		/* Where holes cannot be had, the space stays taken: no failure. */
		if (ours && unmap)
			io->ops->punch(io, volume->head->data, first * STORE_BLOCK,
				       run.count * STORE_BLOCK);
		first += run.count;
		count -= run.count;
	}
	return volume_writable(volume);
}

int volume_zero(struct volume *volume, uint64_t offset, uint64_t size, bool unmap)
{
	static const uint8_t zeroes[STORE_BLOCK];
	uint64_t end = offset + size, from, to;
	int ret = volume_writable(volume);

	if (ret == 0)
		ret = range_check(volume, offset, size);
	if (ret || !size)
		return ret;
	from = align_up(offset, STORE_BLOCK);
	/* The last block ends where the volume does. */
	to = end == volume->manifest.size ? align_up(end, STORE_BLOCK) : end - end % STORE_BLOCK;
	if (from >= to) {
		from = end - end % STORE_BLOCK;
		if (from <= offset)
			return volume_write_partial(volume, offset, size, zeroes);
		to = from;
	}
	if (offset < from)
		ret = volume_write_partial(volume, offset, from - offset, zeroes);
	if (ret == 0)
		ret = blocks_zero(volume, from / STORE_BLOCK, (to - from) / STORE_BLOCK, unmap);
	if (ret == 0 && end > to)
		ret = volume_write_partial(volume, to, end - to, zeroes);
	return ret;
}
