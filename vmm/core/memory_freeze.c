/* SPDX-License-Identifier: MIT */
/*
 * See memory_freeze.h. Of shared memory a page is `pending` until its content is safe: taken by the
 * visitor, or copied aside by the first who wants to write there. Both do that with the page's lock
 * held and clear the bit behind it; whoever finds the bit clear may write. What is copied aside
 * waits for the visitor, and writers wait for him where that is too much.
 */
#include "vmm/core/memory_freeze.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOCKS       64u
#define BATCH       64u /* pages that are asked of the child at a time */
#define COPIES_MIN  16384u
#define COPIES_PART 8u /* of the memory's pages may lie aside, or COPIES_MIN */

struct memory_freeze {
	const struct guest_memory *memory;
	uint64_t count;              /* pages in all */
	uint64_t *set;               /* what is frozen */
	_Atomic uint64_t *pending;   /* of it: the content is still where it was */
	pthread_mutex_t lock[LOCKS]; /* by page; guards the bit's way to 0 and `copy` */
	uint8_t **copy;
	pthread_mutex_t room_lock; /* guards the three below; a leaf */
	pthread_cond_t room;
	uint64_t copies, copies_max;
	bool ending;
	pid_t child; /* of private memory; 0: none */
};

static bool bit_of(const uint64_t *bits, uint64_t page)
{
	return bits[page / 64] >> page % 64 & 1;
}

static bool is_pending(struct memory_freeze *f, uint64_t page)
{
	/* Acquire: what was written where the bit was cleared is seen. */
	return atomic_load_explicit(&f->pending[page / 64], memory_order_acquire) >> page % 64 & 1;
}

static void pending_clear(struct memory_freeze *f, uint64_t page)
{
	/* Release: the content is safe before anybody may write. */
	atomic_fetch_and_explicit(&f->pending[page / 64], ~(1ull << page % 64),
				  memory_order_release);
}

static size_t words_of(uint64_t pages)
{
	return (size_t)((pages + 63) / 64);
}

void memory_freeze_destroy(struct memory_freeze *f)
{
	if (!f)
		return;
	for (unsigned i = 0; i < LOCKS; i++)
		pthread_mutex_destroy(&f->lock[i]);
	pthread_mutex_destroy(&f->room_lock);
	pthread_cond_destroy(&f->room);
	free(f->set);
	free((void *)f->pending);
	free(f->copy);
	free(f);
}

/* It stays as long as the memory: a writer may be about to look at it. */
static int freeze_create(struct guest_memory *memory)
{
	struct memory_freeze *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->memory = memory;
	f->count = memory_pages(memory);
	f->copies_max = f->count / COPIES_PART > COPIES_MIN ? f->count / COPIES_PART : COPIES_MIN;
	for (unsigned i = 0; i < LOCKS; i++)
		pthread_mutex_init(&f->lock[i], NULL);
	pthread_mutex_init(&f->room_lock, NULL);
	pthread_cond_init(&f->room, NULL);
	f->set = calloc(words_of(f->count), sizeof(*f->set));
	f->pending = calloc(words_of(f->count), sizeof(*f->pending));
	f->copy = calloc((size_t)f->count, sizeof(*f->copy));
	if (!f->set || !f->pending || !f->copy) {
		memory_freeze_destroy(f);
		return -ENOMEM;
	}
	memory->freeze = f;
	return 0;
}

/* Private memory. */

/* Nothing here may take a lock that another thread of the parent had. */
_Noreturn static void child_main(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Locks on files and the guest's name are the parent's alone. */
	close_range(0, ~0u, 0);
	if (getppid() != parent)
		_exit(0);
	for (;;)
		pause();
}

static int fork_advise(const struct guest_memory *memory, int advice)
{
	for (unsigned i = 0; i < memory->count; i++)
		if (madvise(memory->range[i].host, memory->range[i].size, advice) < 0)
			return -errno;
	return 0;
}

static int child_start(struct memory_freeze *f)
{
	pid_t parent = getpid();
	int ret = fork_advise(f->memory, MADV_DOFORK);

	if (ret == 0) {
		f->child = fork();
		if (f->child == 0)
			child_main(parent);
		ret = f->child < 0 ? -errno : 0;
	}
	if (ret)
		f->child = 0;
	fork_advise(f->memory, MADV_DONTFORK);
	return ret;
}

static void child_end(struct memory_freeze *f)
{
	if (!f->child)
		return;
	kill(f->child, SIGKILL);
	while (waitpid(f->child, NULL, 0) < 0 && errno == EINTR)
		;
	f->child = 0;
}

/* The content of `count` pages of the set, which lie apart, into `to`. */
static int child_read(struct memory_freeze *f, const uint64_t *page, unsigned count, uint8_t *to)
{
	struct iovec local = {.iov_base = to, .iov_len = count * MEMORY_PAGE_SIZE};
	struct iovec remote[BATCH];
	ssize_t n;

	for (unsigned i = 0; i < count; i++)
		remote[i] = (struct iovec){.iov_base = memory_page(f->memory, page[i]),
					   .iov_len = MEMORY_PAGE_SIZE};
	n = process_vm_readv(f->child, &local, 1, remote, count, 0);
	if (n < 0)
		return -errno;
	return (size_t)n == local.iov_len ? 0 : -EIO;
}

typedef int visit_fn(void *arg, uint64_t page, const uint8_t *bytes);

static int batch_visit(struct memory_freeze *f, const uint64_t *page, unsigned count,
		       uint8_t *bytes, visit_fn *visit, void *arg)
{
	int ret = count ? child_read(f, page, count, bytes) : 0;

	for (unsigned i = 0; i < count && ret == 0; i++)
		ret = visit(arg, page[i], bytes + i * MEMORY_PAGE_SIZE);
	return ret;
}

/*
 * Which of 64 pages the child has at all (proc(5), pagemap): what nobody ever touched is zero, and
 * visited it would come into being. Where files are mapped, what is not there is in them.
 */
#define PAGEMAP_THERE (3ull << 62) /* present, or swapped out */

static uint64_t child_has(const struct memory_freeze *f, int pagemap, uint64_t first)
{
	uint64_t entry[64], bits = 0;
	uint64_t at = (uintptr_t)memory_page(f->memory, first) / MEMORY_PAGE_SIZE * sizeof(*entry);
	unsigned count = f->count - first < 64 ? (unsigned)(f->count - first) : 64;

	if (pagemap < 0 || pread(pagemap, entry, count * sizeof(*entry), (off_t)at) !=
				   (ssize_t)(count * sizeof(*entry)))
		return ~0ull;
	for (unsigned i = 0; i < count; i++)
		bits |= (uint64_t) !!(entry[i] & PAGEMAP_THERE) << i;
	return bits;
}

static int pagemap_open(const struct memory_freeze *f)
{
	char path[48];

	if (f->memory->source)
		return -1;
	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)f->child);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static int private_visit(struct memory_freeze *f, visit_fn *visit, void *arg)
{
	uint8_t *bytes = malloc(BATCH * MEMORY_PAGE_SIZE);
	int ret = bytes ? 0 : -ENOMEM, pagemap = pagemap_open(f);
	uint64_t page[BATCH];
	unsigned count = 0;

	for (uint64_t i = 0; i < f->count && ret == 0; i++) {
		if (i % 64 == 0 && f->set[i / 64])
			f->set[i / 64] &= child_has(f, pagemap, i);
		if (i % 64 == 0 && !f->set[i / 64]) {
			i += 63;
			continue;
		}
		if (!bit_of(f->set, i))
			continue;
		page[count++] = i;
		if (count == BATCH) {
			ret = batch_visit(f, page, count, bytes, visit, arg);
			count = 0;
		}
	}
	if (ret == 0)
		ret = batch_visit(f, page, count, bytes, visit, arg);
	if (pagemap >= 0)
		close(pagemap);
	free(bytes);
	return ret;
}

/* Shared memory. */

static void room_give(struct memory_freeze *f)
{
	pthread_mutex_lock(&f->room_lock);
	f->copies--;
	pthread_cond_broadcast(&f->room);
	pthread_mutex_unlock(&f->room_lock);
}

/* At the end nobody needs a copy any more. */
static void room_take(struct memory_freeze *f)
{
	pthread_mutex_lock(&f->room_lock);
	while (f->copies >= f->copies_max && !f->ending)
		pthread_cond_wait(&f->room, &f->room_lock);
	f->copies++;
	pthread_mutex_unlock(&f->room_lock);
}

/* False: there is no memory for a copy. */
static bool page_set_aside(struct memory_freeze *f, uint64_t page)
{
	pthread_mutex_t *lock = &f->lock[page % LOCKS];
	uint8_t *copy = malloc(MEMORY_PAGE_SIZE);

	if (!copy)
		return false;
	room_take(f);
	pthread_mutex_lock(lock);
	if (is_pending(f, page)) {
		memcpy(copy, memory_page_content(f->memory, page), MEMORY_PAGE_SIZE);
		f->copy[page] = copy;
		copy = NULL;
		pending_clear(f, page);
	}
	pthread_mutex_unlock(lock);
	/* Somebody was faster. */
	if (copy) {
		free(copy);
		room_give(f);
	}
	return true;
}

void memory_freeze_writing(struct memory_freeze *f, uint64_t first, uint64_t last)
{
	for (uint64_t page = first; page <= last; page++)
		while (is_pending(f, page) && !page_set_aside(f, page))
			sched_yield(); /* the visitor comes by */
}

static int shared_visit(struct memory_freeze *f, visit_fn *visit, void *arg)
{
	_Alignas(4096) uint8_t here[MEMORY_PAGE_SIZE];
	int ret = 0;

	for (uint64_t page = 0; page < f->count && ret == 0; page++) {
		pthread_mutex_t *lock = &f->lock[page % LOCKS];
		uint8_t *copy;

		if (page % 64 == 0 && !f->set[page / 64]) {
			page += 63;
			continue;
		}
		if (!bit_of(f->set, page))
			continue;
		pthread_mutex_lock(lock);
		copy = f->copy[page];
		f->copy[page] = NULL;
		if (!copy) {
			assert(is_pending(f, page));
			memcpy(here, memory_page_content(f->memory, page), MEMORY_PAGE_SIZE);
			pending_clear(f, page);
		}
		pthread_mutex_unlock(lock);
		ret = visit(arg, page, copy ? copy : here);
		if (copy) {
			free(copy);
			room_give(f);
		}
	}
	return ret;
}

static void copies_drop(struct memory_freeze *f)
{
	for (uint64_t page = 0; page < f->count; page++) {
		pthread_mutex_t *lock = &f->lock[page % LOCKS];
		uint8_t *copy;

		if (page % 64 == 0 && !f->set[page / 64]) {
			page += 63;
			continue;
		}
		pthread_mutex_lock(lock);
		pending_clear(f, page);
		copy = f->copy[page];
		f->copy[page] = NULL;
		pthread_mutex_unlock(lock);
		if (copy) {
			free(copy);
			room_give(f);
		}
	}
}

/* Both. */

int memory_freeze_begin(struct guest_memory *memory, const uint64_t *pages, struct error *err)
{
	struct memory_freeze *f;
	int ret = memory->freeze ? 0 : freeze_create(memory);

	if (ret)
		return error_set(err, ret, NULL, "snapshot of guest memory: %s", error_name(ret));
	f = memory->freeze;
	memcpy(f->set, pages, words_of(f->count) * sizeof(*pages));
	f->ending = false;
	if (memory->fd < 0) {
		ret = child_start(f);
		if (ret)
			return error_set(err, ret, "free memory, or raise ulimit -u",
					 "snapshot of guest memory: fork: %s", error_name(ret));
		return 0;
	}
	for (size_t i = 0; i < words_of(f->count); i++)
		atomic_store_explicit(&f->pending[i], pages[i], memory_order_relaxed);
	return 0;
}

int memory_freeze_visit(struct guest_memory *memory, visit_fn *visit, void *arg)
{
	struct memory_freeze *f = memory->freeze;

	return f->child ? private_visit(f, visit, arg) : shared_visit(f, visit, arg);
}

void memory_freeze_end(struct guest_memory *memory)
{
	struct memory_freeze *f = memory->freeze;

	if (!f)
		return;
	child_end(f);
	pthread_mutex_lock(&f->room_lock);
	f->ending = true;
	pthread_cond_broadcast(&f->room);
	pthread_mutex_unlock(&f->room_lock);
	if (memory->fd >= 0)
		copies_drop(f);
}
