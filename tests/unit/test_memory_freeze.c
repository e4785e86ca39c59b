/* SPDX-License-Identifier: MIT */
/*
 * Frozen guest memory, shared and private: what is visited is what was there at the moment, however
 * the guest and devices write meanwhile. And restored memory, from files of pages.
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/scratch.h"
#include "vmm/base/bytes.h"
#include "vmm/core/memory.h"
#include "vmm/core/memory_freeze.h"
#include "vmm/core/memory_source.h"

#define PAGES   2048u
#define WORDS   (PAGES / 64)
#define WRITERS 3u

static struct guest_memory *create(bool shared, uint64_t size)
{
	struct guest_memory *m;

	assert_int_equal(
		shared ? memory_create_shared(size, &m, NULL) : memory_create(size, &m, NULL), 0);
	return m;
}

static void page_fill(struct guest_memory *m, uint64_t page, uint64_t value)
{
	uint64_t *at = memory_at_write(m, page * MEMORY_PAGE_SIZE, MEMORY_PAGE_SIZE);

	for (unsigned i = 0; i < MEMORY_PAGE_SIZE / 8; i++)
		at[i] = value;
}

struct seen {
	uint64_t count, last, wrong;
	uint64_t add;   /* page p has p + add */
	int stop_after; /* visits; -1: never */
};

static int see(void *arg, uint64_t page, const uint8_t *bytes)
{
	struct seen *seen = arg;
	const uint64_t *words = (const void *)bytes;

	assert_true(seen->count == 0 || page > seen->last);
	seen->last = page;
	seen->count++;
	for (unsigned i = 0; i < MEMORY_PAGE_SIZE / 8; i++)
		seen->wrong += words[i] != page + seen->add;
	return seen->stop_after >= 0 && seen->count == (uint64_t)seen->stop_after ? -ENOSPC : 0;
}

struct writer {
	struct guest_memory *memory;
	pthread_t thread;
	uint64_t seed;
};

static _Atomic bool writing;

static void *write_all(void *arg)
{
	struct writer *w = arg;

	while (atomic_load(&writing)) {
		w->seed = w->seed * 6364136223846793005u + 1442695040888963407u;
		page_fill(w->memory, (w->seed >> 33) % PAGES, w->seed);
	}
	return NULL;
}

static void frozen_while_written(bool shared)
{
	struct guest_memory *m = create(shared, PAGES * MEMORY_PAGE_SIZE);
	struct writer writer[WRITERS];
	uint64_t pages[WORDS], wanted = 0;

	for (unsigned round = 0; round < 5; round++) {
		struct seen seen = {.add = 7, .stop_after = -1};

		for (uint64_t page = 0; page < PAGES; page++)
			page_fill(m, page, page + 7);
		/* All, or every third. */
		memset(pages, 0, sizeof(pages));
		wanted = 0;
		for (uint64_t page = 0; page < PAGES; page += round % 2 ? 3 : 1, wanted++)
			pages[page / 64] |= 1ull << page % 64;
		assert_int_equal(memory_freeze_begin(m, pages, NULL), 0);
		atomic_store(&writing, true);
		for (unsigned i = 0; i < WRITERS; i++) {
			writer[i] = (struct writer){.memory = m, .seed = round * 10 + i};
			pthread_create(&writer[i].thread, NULL, write_all, &writer[i]);
		}
		usleep(2000);
		assert_int_equal(memory_freeze_visit(m, see, &seen), 0);
		memory_freeze_end(m);
		atomic_store(&writing, false);
		for (unsigned i = 0; i < WRITERS; i++)
			pthread_join(writer[i].thread, NULL);
		assert_int_equal(seen.wrong, 0);
		assert_int_equal(seen.count, wanted);
	}
	memory_destroy(m);
}

static void shared_while_written(void **state)
{
	(void)state;
	frozen_while_written(true);
}

static void private_while_written(void **state)
{
	(void)state;
	frozen_while_written(false);
}

/* A visitor that gives up lets all go on, and the next freeze is whole. */
static void given_up(void **state)
{
	(void)state;
	for (unsigned shared = 0; shared < 2; shared++) {
		struct guest_memory *m = create(shared, PAGES * MEMORY_PAGE_SIZE);
		struct seen seen = {.add = 1, .stop_after = 10};
		uint64_t pages[WORDS];

		memset(pages, 0xff, sizeof(pages));
		for (uint64_t page = 0; page < PAGES; page++)
			page_fill(m, page, page + 1);
		assert_int_equal(memory_freeze_begin(m, pages, NULL), 0);
		page_fill(m, PAGES - 1, 5);
		page_fill(m, 3, 5);
		assert_int_equal(memory_freeze_visit(m, see, &seen), -ENOSPC);
		memory_freeze_end(m);
		page_fill(m, 3, 3 + 1);
		page_fill(m, PAGES - 1, PAGES);
		seen = (struct seen){.add = 1, .stop_after = -1};
		assert_int_equal(memory_freeze_begin(m, pages, NULL), 0);
		/* A reset of the guest meanwhile. */
		assert_int_equal(memory_clear(m, NULL), 0);
		assert_int_equal(memory_freeze_visit(m, see, &seen), 0);
		memory_freeze_end(m);
		assert_int_equal(seen.count, PAGES);
		assert_int_equal(seen.wrong, 0);
		memory_destroy(m);
	}
}

/* Above the hole: pages go on counting where range 0 ends. */
static void two_ranges(void **state)
{
	(void)state;
	for (unsigned shared = 0; shared < 2; shared++) {
		struct guest_memory *m = create(shared, 4 * GIB);
		uint64_t page = 3 * GIB / MEMORY_PAGE_SIZE + 5, words = memory_pages(m) / 64;
		uint64_t *pages = calloc(words, sizeof(*pages));
		struct seen seen = {.stop_after = -1};

		assert_int_equal(memory_track(m, true), 0);
		for (unsigned i = 0; i < MEMORY_PAGE_SIZE / 8; i++)
			assert_int_equal(
				memory_write(m, MEMORY_HOLE_END + 5 * MEMORY_PAGE_SIZE + i * 8,
					     &page, 8),
				0);
		memory_track_fetch(m, pages);
		for (uint64_t i = 0; i < words; i++)
			assert_int_equal(pages[i], i == page / 64 ? 1ull << page % 64 : 0);
		assert_ptr_equal(memory_page(m, page),
				 memory_at(m, MEMORY_HOLE_END + 5 * MEMORY_PAGE_SIZE, 1));
		assert_int_equal(memory_freeze_begin(m, pages, NULL), 0);
		assert_int_equal(memory_write(m, MEMORY_HOLE_END + 5 * MEMORY_PAGE_SIZE, &words, 8),
				 0);
		assert_int_equal(memory_freeze_visit(m, see, &seen), 0);
		memory_freeze_end(m);
		assert_int_equal(seen.count, 1);
		assert_int_equal(seen.wrong, 0);
		memset(pages, 0, words * sizeof(*pages));
		if (shared) {
			assert_int_equal(memory_present(m, pages), 0);
			assert_int_equal(pages[page / 64] >> page % 64 & 1, 1);
			assert_int_equal(pages[0], 0);
		}
		free(pages);
		memory_destroy(m);
	}
}

/* Page p of the file number f has p * 10 + f. */
static int file_make(unsigned number, uint64_t from, uint64_t to, uint64_t step)
{
	int fd = memfd_create("layer", MFD_CLOEXEC);
	uint64_t words[MEMORY_PAGE_SIZE / 8];

	assert_int_equal(ftruncate(fd, PAGES * MEMORY_PAGE_SIZE), 0);
	for (uint64_t page = from; page < to; page += step) {
		for (unsigned i = 0; i < MEMORY_PAGE_SIZE / 8; i++)
			words[i] = page * 10 + number;
		assert_int_equal(pwrite(fd, words, sizeof(words), (off_t)(page * sizeof(words))),
				 sizeof(words));
	}
	return fd;
}

static struct memory_source *source_make(void)
{
	struct memory_source *s;

	assert_int_equal(memory_source_create(PAGES, &s), 0);
	s->file[0] = file_make(0, 0, 1500, 1);
	s->file[1] = file_make(1, 100, 200, 3);
	s->count = 2;
	memset(s->file_of, 1, 1500);
	for (unsigned page = 100; page < 200; page += 3)
		s->file_of[page] = 2;
	s->file_of[7] = 0; /* a page that became zero */
	return s;
}

static uint64_t expected(uint64_t page)
{
	if (page >= 1500 || page == 7)
		return 0;
	return page * 10 + (page >= 100 && page < 200 && (page - 100) % 3 == 0);
}

static int is_expected(void *arg, uint64_t page, const uint8_t *bytes)
{
	unsigned *with_content = arg;

	assert_int_equal(le64_get(bytes + 4088), expected(page));
	*with_content += expected(page) != 0;
	return 0;
}

static void restored(void **state)
{
	(void)state;
	for (unsigned shared = 0; shared < 2; shared++) {
		struct guest_memory *m;
		uint64_t value, there[WORDS] = {0};
		unsigned with_content = 0;

		assert_int_equal(memory_create_from(source_make(), shared, &m, NULL), 0);
		/* What nobody read yet is there, too, for a snapshot of all of it. */
		assert_int_equal(memory_present(m, there), 0);
		for (uint64_t page = 0; page < 1500; page++)
			assert_true(page == 7 || there[page / 64] >> page % 64 & 1);
		assert_int_equal(memory_freeze_begin(m, there, NULL), 0);
		assert_int_equal(memory_freeze_visit(m, is_expected, &with_content), 0);
		memory_freeze_end(m);
		assert_int_equal(with_content, 1498); /* but pages 0 and 7 */
		/* A part of a page is written before the rest was read. */
		value = 42;
		assert_int_equal(memory_write(m, 300 * MEMORY_PAGE_SIZE + 8, &value, 8), 0);
		for (uint64_t page = 0; page < PAGES; page++) {
			assert_int_equal(memory_read(m, page * MEMORY_PAGE_SIZE + 4088, &value, 8),
					 0);
			assert_int_equal(value, expected(page));
		}
		assert_int_equal(memory_read(m, 300 * MEMORY_PAGE_SIZE + 8, &value, 8), 0);
		assert_int_equal(value, 42);
		assert_int_equal(memory_clear(m, NULL), 0);
		for (uint64_t page = 0; page < PAGES; page++) {
			assert_int_equal(memory_read(m, page * MEMORY_PAGE_SIZE, &value, 8), 0);
			assert_int_equal(value, 0);
		}
		memory_destroy(m);
	}
}

static int lost_code;

static void on_lost(void *arg, int code)
{
	(void)arg;
	lost_code = code;
}

/* A file that somebody cut: the guest is told to be lost, nobody dies of SIGBUS. */
static void cut_file(void **state)
{
	struct memory_source *s = source_make();
	struct guest_memory *m;
	uint64_t value;
	int fd = dup(s->file[0]);

	(void)state;
	assert_int_equal(memory_create_from(s, true, &m, NULL), 0);
	m->lost = on_lost;
	assert_int_equal(ftruncate(fd, 1000 * MEMORY_PAGE_SIZE), 0);
	assert_int_equal(memory_read(m, 999 * MEMORY_PAGE_SIZE, &value, 8), 0);
	assert_int_equal(lost_code, 0);
	assert_int_equal(memory_read(m, 1000 * MEMORY_PAGE_SIZE, &value, 8), 0);
	assert_int_equal(lost_code, -EIO);
	close(fd);
	memory_destroy(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shared_while_written),
		cmocka_unit_test(private_while_written),
		cmocka_unit_test(given_up),
		cmocka_unit_test(two_ranges),
		cmocka_unit_test(restored),
		cmocka_unit_test(cut_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
