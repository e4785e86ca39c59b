/* SPDX-License-Identifier: MIT */
/*
 * Theory of the working copy. The bits of a layer that is written to are in pages that are made
 * when a block in them is first marked, in a runtime file if there is one, so that they outlive the
 * process: memory that the kernel holds for a file is written to by nothing that could be lost.
 * A flush copies the pages that changed since they were last durable, then lets the caller sync the
 * data, then writes the copies to ID.map and syncs that: a bit is never durable before its data.
 *
 * The runtime file begins with a header: magic "LODGERUN", at 8 the boot id, at 48 the session, at
 * 56 the blocks, at 64 the layer's id; bits follow at 4096. It is believed if it is of this boot
 * and of the session that ID.map's header names, or the one after that: who opens a layer to write
 * makes a new session, in the runtime file first. So what a process left in one runtime directory
 * is not believed after another wrote with a different one.
 *
 * Locks: `mutex` is held over making pages and over writing the map. Marks take none.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "snapshot/layer_impl.h"
#include "snapshot/volume.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"

#define RUN_MAGIC  "LODGERUN"
#define RUN_HEADER 4096u
#define RUN_ID_END 80u /* of what the header says */

static void run_path(const struct layer *layer, char out[STORE_IO_PATH_MAX])
{
	char text[STORE_ID_TEXT];

	store_id_text(&layer->info.id, text);
	snprintf(out, STORE_IO_PATH_MAX, STORE_IO_RUN "head-%s", text);
}

static int run_header(struct layer *layer, uint8_t out[RUN_ID_END])
{
	char boot[STORE_IO_BOOT_ID] = {0};
	int ret = layer->io->ops->boot_id(layer->io, boot);

	memset(out, 0, RUN_ID_END);
	memcpy(out, RUN_MAGIC, 8);
	memcpy(out + 8, boot, STORE_IO_BOOT_ID - 1);
	le64_put(out + 48, layer->session);
	le64_put(out + 56, layer->info.blocks);
	memcpy(out + 64, &layer->info.id, sizeof(layer->info.id));
	return ret;
}

static void run_close(struct layer *layer)
{
	if (layer->run)
		layer->io->ops->unmap(layer->io, layer->run, layer->run_size);
	if (layer->run_file >= 0)
		layer->io->ops->close(layer->io, layer->run_file);
	layer->run = NULL;
	layer->run_file = -1;
}

/* Open and map the runtime file: -EINVAL for one of another size. */
static int run_open(struct layer *layer, int flags)
{
	char path[STORE_IO_PATH_MAX];
	struct store_stat st;
	void *bytes = NULL;
	int ret;

	run_path(layer, path);
	ret = store_io_open(layer->io, path, O_RDWR | flags);
	if (ret < 0)
		return ret;
	layer->run_file = ret;
	layer->run_size = RUN_HEADER + layer_page_count(layer) * MAP_PAGE;
	ret = 0;
	if (flags & O_CREAT)
		ret = store_io_truncate(layer->io, layer->run_file, layer->run_size);
	if (ret == 0)
		ret = layer->io->ops->stat(layer->io, layer->run_file, &st);
	if (ret == 0 && st.size != layer->run_size)
		ret = -EINVAL;
	/* A full tmpfs says so now, instead of killing us when the page is touched. */
	if (ret == 0)
		ret = layer->io->ops->allocate(layer->io, layer->run_file, 0, RUN_HEADER);
	if (ret == 0)
		ret = layer->io->ops->map(layer->io, layer->run_file, layer->run_size, &bytes);
	layer->run = bytes;
	if (ret)
		run_close(layer);
	return ret;
}

/* Is what a killed process left to be believed? 0, 1 or -errno. */
static int run_believed(struct layer *layer)
{
	uint8_t expected[RUN_ID_END];
	uint64_t session = le64_get(layer->run + 48);
	int ret = run_header(layer, expected);

	if (ret)
		return ret;
	le64_put(expected + 48, session);
	return memcmp(layer->run, expected, sizeof(expected)) == 0 &&
	       (session == layer->session || session == layer->session + 1);
}

void layer_bits_distrust(struct layer *layer)
{
	if (layer->run)
		memset(layer->run, 0, RUN_ID_END);
}

bool layer_bits_distrusted(struct layer *layer)
{
	char path[STORE_IO_PATH_MAX];
	uint8_t first = 0;
	int file, ret;

	run_path(layer, path);
	file = store_io_open(layer->io, path, O_RDONLY);
	if (file < 0)
		return false;
	ret = store_io_read(layer->io, file, &first, 1, 0);
	layer->io->ops->close(layer->io, file);
	return ret || first == 0;
}

static void warn_volatile(int code)
{
	log_warn("store: runtime directory: %s; if this process is killed, what was not flushed is "
		 "lost",
		 error_name(code));
}

/* Of a page that is not there: where its bits are from now on. */
static uint8_t *page_make(struct layer *layer, uint64_t index)
{
	struct layer_page *page = &layer->pages[index];
	uint64_t offset = RUN_HEADER + index * MAP_PAGE;
	uint8_t *bits;

	pthread_mutex_lock(&layer->mutex);
	bits = atomic_load_explicit(&page->bits, memory_order_relaxed);
	if (!bits && layer->run) {
		int ret = layer->io->ops->allocate(layer->io, layer->run_file, offset, MAP_PAGE);

		if (ret == 0) {
			bits = layer->run + offset;
		} else if (layer->writable && layer->run[0]) {
			warn_volatile(ret);
			layer_bits_distrust(layer);
		}
	}
	if (!bits) {
		bits = calloc(1, MAP_PAGE);
		page->own = bits;
	}
	/* The page is zeroes before others see it. */
	atomic_store_explicit(&page->bits, bits, memory_order_release);
	pthread_mutex_unlock(&layer->mutex);
	return bits;
}

static uint8_t *page_get(struct layer *layer, uint64_t index)
{
	uint8_t *bits = atomic_load_explicit(&layer->pages[index].bits, memory_order_acquire);

	return bits ? bits : page_make(layer, index);
}

static int pages_make(struct layer *layer, struct error *err)
{
	layer->pages = calloc(layer_page_count(layer), sizeof(*layer->pages));
	if (layer->pages)
		return 0;
	layer_error(layer, err, -ENOMEM, "no memory for its map");
	return -ENOMEM;
}

/* Begin a session: from here on the runtime file is to be believed, if there is one. */
static int session_begin(struct layer *layer, struct error *err)
{
	uint8_t header[RUN_ID_END];
	int ret;

	layer->session++;
	if (layer->run) {
		ret = run_header(layer, header);
		if (ret == 0)
			memcpy(layer->run, header, sizeof(header));
		else
			layer_bits_distrust(layer);
	}
	atomic_thread_fence(memory_order_seq_cst);
	ret = layer_header_write(layer, layer->map);
	return ret ? layer_error(layer, err, ret, error_name(ret)) : 0;
}

static void run_create(struct layer *layer)
{
	char path[STORE_IO_PATH_MAX];
	int ret;

	run_path(layer, path);
	layer->io->ops->unlink(layer->io, path);
	ret = run_open(layer, O_CREAT | O_EXCL);
	if (ret && ret != -ENOTSUP)
		warn_volatile(ret);
}

int layer_bits_make(struct layer *layer, bool run, struct error *err)
{
	int ret = pages_make(layer, err);

	if (ret)
		return ret;
	if (run)
		run_create(layer);
	return session_begin(layer, err);
}

struct bits_load {
	struct layer *layer;
	bool durable; /* the bits are those of ID.map */
};

/* Bits from elsewhere: states are checked by who walks them. */
static int load_page(void *arg, uint64_t index, const uint8_t *bits)
{
	struct bits_load *load = arg;
	struct layer_page *page = &load->layer->pages[index];
	uint8_t *to = page_get(load->layer, index);

	if (!to)
		return -ENOMEM;
	if (to != bits)
		memcpy(to, bits, MAP_PAGE);
	if (!load->durable) {
		atomic_fetch_add(&page->marks, 1);
		atomic_fetch_add(&load->layer->marks, 1);
	}
	return 0;
}

int layer_bits_put(struct layer *layer, uint64_t index, const uint8_t *bits)
{
	struct bits_load load = {.layer = layer};

	return load_page(&load, index, bits);
}

/* What a killed process left, where the runtime file has pages. */
static int run_load(struct layer *layer)
{
	struct bits_load load = {.layer = layer};
	uint64_t at = RUN_HEADER, stop;
	int ret;

	assert(layer->run);
	while ((ret = store_io_next_data(layer->io, layer->run_file, layer->run_size, &at, &stop)) >
	       0) {
		for (at -= at % MAP_PAGE; at < stop; at += MAP_PAGE) {
			ret = load_page(&load, (at - RUN_HEADER) / MAP_PAGE, layer->run + at);
			if (ret)
				return ret;
		}
	}
	return ret;
}

int layer_bits_load(struct layer *layer, struct error *err)
{
	struct bits_load load = {.layer = layer, .durable = true};
	int ret = pages_make(layer, err), believed;

	if (ret)
		return ret;
	believed = run_open(layer, 0);
	if (believed == 0)
		believed = run_believed(layer);
	/* One that is there and cannot be had may hold what is nowhere else. */
	if (believed < 0 && believed != -ENOENT && believed != -ENOTSUP && believed != -EINVAL)
		return layer_error(layer, err, believed, "its runtime file cannot be opened");
	if (believed > 0) {
		ret = run_load(layer);
	} else {
		run_close(layer);
		if (layer->writable)
			run_create(layer);
		ret = layer_map_pages(layer, layer->map, load_page, &load);
	}
	if (ret)
		return layer_error(layer, err, ret, error_name(ret));
	if (layer->writable)
		return session_begin(layer, err);
	return 0;
}

void layer_bits_free(struct layer *layer, bool remove)
{
	char path[STORE_IO_PATH_MAX];

	for (uint64_t i = 0; layer->pages && i < layer_page_count(layer); i++)
		if (layer->pages[i].own)
			free(atomic_load(&layer->pages[i].bits));
	free(layer->pages);
	layer->pages = NULL;
	if (layer->run && remove && layer->writable) {
		run_path(layer, path);
		layer_bits_distrust(layer);
		layer->io->ops->unlink(layer->io, path);
	}
	run_close(layer);
}

/* Marks. */

static bool byte_set(uint8_t *byte, unsigned mask, unsigned value)
{
	uint8_t old = __atomic_load_n(byte, __ATOMIC_RELAXED), new;

	do {
		new = (uint8_t)((old & ~mask) | value);
		if (new == old)
			return false;
	} while (!__atomic_compare_exchange_n(byte, &old, new, true, __ATOMIC_RELEASE,
					      __ATOMIC_RELAXED));
	return true;
}

/* Blocks of one page, counted from its first. */
static bool page_mark(uint8_t *bits, uint64_t first, uint64_t count, enum layer_state state)
{
	bool changed = false;

	while (count) {
		unsigned at = first % BLOCKS_PER_BYTE;
		unsigned n = BLOCKS_PER_BYTE - at;
		unsigned mask;

		if (n > count)
			n = (unsigned)count;
		mask = ((1u << 2 * n) - 1) << 2 * at;
		changed |= byte_set(bits + first / BLOCKS_PER_BYTE, mask,
				    (unsigned)state * 0x55u & mask);
		first += n;
		count -= n;
	}
	return changed;
}

int layer_bits_mark(struct layer *layer, uint64_t first, uint64_t count, enum layer_state state)
{
	while (count) {
		uint64_t index = first / BLOCKS_PER_PAGE, at = first % BLOCKS_PER_PAGE;
		uint64_t n = BLOCKS_PER_PAGE - at;
		uint8_t *bits = page_get(layer, index);

		if (!bits)
			return -ENOMEM;
		if (n > count)
			n = count;
		if (page_mark(bits, at, n, state)) {
			/* Who sees the count sees the bits, and who sees the layer's the page's. */
			atomic_fetch_add_explicit(&layer->pages[index].marks, 1,
						  memory_order_release);
			atomic_fetch_add_explicit(&layer->marks, 1, memory_order_release);
		}
		first += n;
		count -= n;
	}
	return 0;
}

/* Flushes. */

static bool page_is_new(struct layer_page *page)
{
	return atomic_load_explicit(&page->marks, memory_order_acquire) !=
	       atomic_load_explicit(&page->durable, memory_order_acquire);
}

static void page_copy(struct layer_page *page, uint64_t index, struct volume_flush_page *to)
{
	uint8_t *bits;

	/* The count first: bits that come while we copy are told of once more. */
	to->marks = atomic_load_explicit(&page->marks, memory_order_acquire);
	to->index = index;
	bits = atomic_load_explicit(&page->bits, memory_order_acquire);
	for (unsigned i = 0; i < MAP_PAGE; i += 8) {
		uint64_t word = __atomic_load_n((uint64_t *)(void *)(bits + i), __ATOMIC_ACQUIRE);

		memcpy(to->bits + i, &word, sizeof(word));
	}
}

static int flush_add(struct layer *layer, uint64_t index, struct volume_flush *flush,
		     unsigned *room)
{
	if (flush->count == *room) {
		unsigned more = *room ? 2 * *room : 1;
		struct volume_flush_page *pages = realloc(flush->pages, more * sizeof(*pages));

		if (!pages)
			return -ENOMEM;
		flush->pages = pages;
		*room = more;
	}
	page_copy(&layer->pages[index], index, &flush->pages[flush->count++]);
	return 0;
}

int layer_bits_begin(struct layer *layer, struct volume_flush *flush)
{
	uint64_t total = layer_page_count(layer);
	unsigned room = 0;

	flush->marks = atomic_load_explicit(&layer->marks, memory_order_acquire);
	flush->count = 0;
	flush->pages = NULL;
	if (flush->marks == atomic_load_explicit(&layer->durable, memory_order_acquire))
		return 0;
	for (uint64_t i = 0; i < total; i++) {
		if (!page_is_new(&layer->pages[i]) || flush_add(layer, i, flush, &room) == 0)
			continue;
		free(flush->pages);
		flush->pages = NULL;
		return -ENOMEM;
	}
	return 0;
}

static int pages_write(struct layer *layer, struct volume_flush *flush, bool *fatal)
{
	bool wrote = false;
	int ret;

	for (unsigned i = 0; i < flush->count; i++) {
		struct volume_flush_page *copy = &flush->pages[i];

		/* Another flush wrote a later copy, which has these bits as well. */
		if (copy->marks <= atomic_load(&layer->pages[copy->index].durable))
			continue;
		ret = store_io_write(layer->io, layer->map, copy->bits, MAP_PAGE,
				     MAP_BITS + copy->index * MAP_PAGE);
		if (ret)
			return ret;
		wrote = true;
	}
	if (!wrote)
		return 0;
	ret = layer->io->ops->datasync(layer->io, layer->map);
	if (ret) {
		*fatal = true;
		return ret;
	}
	for (unsigned i = 0; i < flush->count; i++) {
		struct layer_page *page = &layer->pages[flush->pages[i].index];

		if (flush->pages[i].marks > atomic_load(&page->durable))
			atomic_store_explicit(&page->durable, flush->pages[i].marks,
					      memory_order_release);
	}
	return 0;
}

int layer_bits_finish(struct layer *layer, struct volume_flush *flush, bool *fatal)
{
	int ret = 0;

	if (flush->count) {
		pthread_mutex_lock(&layer->mutex);
		ret = pages_write(layer, flush, fatal);
		if (ret == 0 && flush->marks > atomic_load(&layer->durable))
			atomic_store_explicit(&layer->durable, flush->marks, memory_order_release);
		pthread_mutex_unlock(&layer->mutex);
	}
	free(flush->pages);
	flush->pages = NULL;
	flush->count = 0;
	return ret;
}

int layer_bits_runs(struct layer *layer, layer_visit *visit, void *arg)
{
	struct run_merger merger = {
		.visit = visit, .arg = arg, .data_max = UINT64_MAX, .zero_max = UINT64_MAX};
	int ret = 0;

	for (uint64_t i = 0; i < layer_page_count(layer) && ret == 0; i++) {
		const uint8_t *bits = atomic_load(&layer->pages[i].bits);

		if (bits)
			ret = run_merger_add(&merger, i * BLOCKS_PER_PAGE, bits, MAP_PAGE,
					     layer->info.blocks);
	}
	return ret ? ret : run_merger_end(&merger);
}

/* Sealing. */

static int count_run(void *arg, uint64_t first, uint64_t count, enum layer_state state)
{
	struct layer_info *info = arg;

	(void)first;
	if (state == LAYER_DATA)
		info->data_blocks += count;
	else
		info->zero_blocks += count;
	return 0;
}

/* What the header says of the bits. */
static int seal_sums(struct layer *layer)
{
	struct bits_sum sum;
	int ret = bits_sum_begin(&sum);

	if (ret)
		return ret;
	for (uint64_t i = 0; i < layer_page_count(layer); i++) {
		const uint8_t *bits = atomic_load(&layer->pages[i].bits);

		if (bits && !page_is_zero(bits))
			bits_sum_add(&sum, i, bits);
	}
	layer->bits_sum = bits_sum_end(&sum);
	layer->info.data_blocks = layer->info.zero_blocks = 0;
	return layer_bits_runs(layer, count_run, &layer->info);
}

int layer_seal_data(struct layer *layer, bool *fatal, struct error *err)
{
	struct volume_flush flush;
	int ret = layer_bits_begin(layer, &flush);

	if (ret == 0) {
		ret = layer->io->ops->datasync(layer->io, layer->data);
		if (ret) {
			*fatal = true;
			free(flush.pages);
		} else {
			ret = layer_bits_finish(layer, &flush, fatal);
		}
	}
	if (ret == 0)
		ret = seal_sums(layer);
	if (ret)
		return layer_error(layer, err, ret,
				   ret == -EBADMSG ? "its map is damaged" : error_name(ret));
	layer->info.sealed = true;
	ret = layer_header_write(layer, layer->map);
	if (ret == 0) {
		ret = layer->io->ops->datasync(layer->io, layer->map);
		*fatal |= ret != 0;
	}
	if (ret) {
		layer->info.sealed = false;
		return layer_error(layer, err, ret, error_name(ret));
	}
	layer->io->ops->close(layer->io, layer->map);
	layer->map = -1;
	layer_bits_free(layer, true);
	layer->writable = false;
	return 0;
}
