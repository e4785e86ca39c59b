/* SPDX-License-Identifier: MIT */
/* See windows.h. */
#include "vmm/bt/windows.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm/base/clock.h"
#include "vmm/bt/bt_impl.h"
#include "vmm/bt/code_cache.h"

#define WINDOW_SIZE   (1ull << 32)
#define WINDOW_GAP    (2ull * WINDOW_REACH) /* behind each, and ahead of the first */
#define WINDOWS_MAX   1024u
#define SPACES_MAX    64u
#define GRANULE       (2ull << 20) /* no mapping crosses one, linear or physical */
#define GRANULES      (WINDOW_SIZE / GRANULE)
#define GRANULE_PAGES (GRANULE / 4096)
#define MAPPINGS_MAX  24576u /* the host allows 65530 in all */
#define NONE          0xffffu
#define BUCKETS       4096u
#define PRICE_ROUNDS  3u
#define PRICE_PAGES   16u
#define PRICE_NS      1500u /* of a fault; one of bare metal's takes about half of it */
#define PRICE_MAX     16u

/* Consecutive pages, in a window and in the guest's memory. */
struct mapping {
	uint64_t gpa;
	uint32_t page; /* in the window */
	uint16_t pages;
	uint16_t window;
	uint16_t next;      /* of the window's granule; of the free */
	uint16_t next_like; /* of the memory's granule */
	bool write, large;  /* part of a large page of the guest's */
};

struct window {
	uint64_t linear; /* its first address */
	uint8_t *host;
	struct window_space *space; /* NULL: the supervisor's */
	uint16_t *granule;          /* the first mapping of each */
	unsigned mapped;
	uint16_t next; /* of the space */
};

struct window_space {
	uint64_t root;
	bool taken;
	unsigned users; /* vCPUs that it is the present one of */
	uint64_t used;
	uint16_t first;
};

struct windows {
	struct engine_vm *vm;
	pthread_mutex_t lock;
	uint8_t *nowhere; /* a window's size of nothing */
	unsigned count;
	struct window window[WINDOWS_MAX];
	uint16_t free_window, supervisor;
	struct window_space space[SPACES_MAX];
	uint64_t time;
	bool huge; /* something is of a page of 1 GiB */
	uint16_t free_mapping, bucket[BUCKETS];
	struct mapping mapping[MAPPINGS_MAX];
};

static uint8_t *reserve(void)
{
	uint8_t *at = mmap(NULL, WINDOW_SIZE + 2 * WINDOW_GAP, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return at == MAP_FAILED ? NULL : at + WINDOW_GAP;
}

static void release(uint8_t *host)
{
	if (host)
		munmap(host - WINDOW_GAP, WINDOW_SIZE + 2 * WINDOW_GAP);
}

/* The best of a few rounds: others may run meanwhile. */
unsigned windows_fault_price(void)
{
	uint64_t best = UINT64_MAX;
	unsigned price;

	for (unsigned round = 0; round < PRICE_ROUNDS; round++) {
		volatile uint8_t *pages =
			mmap(NULL, PRICE_PAGES * MEMORY_PAGE_SIZE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		uint64_t begin, ns;

		if (pages == MAP_FAILED)
			return 1;
		madvise((void *)pages, PRICE_PAGES * MEMORY_PAGE_SIZE, MADV_NOHUGEPAGE);
		begin = clock_monotonic_ns();
		for (unsigned i = 0; i < PRICE_PAGES; i++)
			pages[i * MEMORY_PAGE_SIZE] = 1;
		ns = (clock_monotonic_ns() - begin) / PRICE_PAGES;
		if (ns < best)
			best = ns;
		munmap((void *)pages, PRICE_PAGES * MEMORY_PAGE_SIZE);
	}
	price = (unsigned)(best / PRICE_NS);
	return price < 1 ? 1 : price > PRICE_MAX ? PRICE_MAX : price;
}

struct windows *windows_create(struct engine_vm *vm)
{
	struct windows *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->vm = vm;
	w->nowhere = vm->config.memory->fd >= 0 ? reserve() : NULL;
	if (!w->nowhere) {
		free(w);
		return NULL;
	}
	pthread_mutex_init(&w->lock, NULL);
	for (unsigned i = 0; i < MAPPINGS_MAX; i++)
		w->mapping[i].next = (uint16_t)(i + 1 < MAPPINGS_MAX ? i + 1 : NONE);
	for (unsigned i = 0; i < BUCKETS; i++)
		w->bucket[i] = NONE;
	for (unsigned i = 0; i < SPACES_MAX; i++)
		w->space[i].first = NONE;
	w->free_window = w->supervisor = NONE;
	return w;
}

void windows_destroy(struct windows *w)
{
	if (!w)
		return;
	for (unsigned i = 0; i < w->count; i++) {
		release(w->window[i].host);
		free(w->window[i].granule);
	}
	release(w->nowhere);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

/* Tables of distances. */

static uint64_t entry_linear(unsigned entry)
{
	return (uint64_t)(int64_t)(int16_t)entry << 32;
}

static unsigned entry_of(uint64_t linear)
{
	return linear >> 32 & (WINDOW_ENTRIES - 1);
}

static void entry_set(struct engine_vcpu *cpu, enum window_privilege who, unsigned entry,
		      const uint8_t *host)
{
	cpu->windows.distance[who][entry] = (uint64_t)(uintptr_t)host - entry_linear(entry);
}

void windows_table_init(struct engine_vcpu *cpu)
{
	const struct windows *w = cpu->vm->windows;

	if (!w)
		return;
	for (unsigned i = 0; i < WINDOW_ENTRIES; i++) {
		entry_set(cpu, WINDOW_SUPERVISOR, i, w->nowhere);
		entry_set(cpu, WINDOW_USER, i, w->nowhere);
	}
}

/* Mappings. */

static unsigned bucket_of(uint64_t gpa)
{
	return gpa / GRANULE % BUCKETS;
}

static void mapping_forget(struct windows *w, uint16_t index)
{
	struct mapping *m = &w->mapping[index];
	struct window *in = &w->window[m->window];
	uint16_t *at = &in->granule[m->page / GRANULE_PAGES];

	while (*at != index)
		at = &w->mapping[*at].next;
	*at = m->next;
	at = &w->bucket[bucket_of(m->gpa)];
	while (*at != index)
		at = &w->mapping[*at].next_like;
	*at = m->next_like;
	m->next = w->free_mapping;
	w->free_mapping = index;
	in->mapped--;
}

static void pages_unmap(const struct window *in, uint32_t page, uint64_t pages)
{
	/* It can fail where the host has no more of them; what is there must go all the same. */
	if (mmap(in->host + 4096ull * page, 4096 * pages, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		abort();
}

static void mapping_remove(struct windows *w, uint16_t index)
{
	const struct mapping *m = &w->mapping[index];

	pages_unmap(&w->window[m->window], m->page, m->pages);
	mapping_forget(w, index);
}

static void window_clear(struct windows *w, struct window *in)
{
	if (!in->mapped)
		return;
	for (unsigned i = 0; i < GRANULES && in->mapped; i++)
		while (in->granule[i] != NONE)
			mapping_forget(w, in->granule[i]);
	pages_unmap(in, 0, WINDOW_SIZE / 4096);
}

static void list_clear(struct windows *w, uint16_t first)
{
	for (uint16_t i = first; i != NONE; i = w->window[i].next)
		window_clear(w, &w->window[i]);
}

static void all_clear(struct windows *w)
{
	for (unsigned i = 0; i < w->count; i++)
		window_clear(w, &w->window[i]);
}

/* What lies in a window from `page` on goes. */
static void range_clear(struct windows *w, struct window *in, uint32_t page, unsigned pages)
{
	uint16_t i = in->granule[page / GRANULE_PAGES], next;

	for (; i != NONE; i = next) {
		const struct mapping *m = &w->mapping[i];

		next = m->next;
		if (m->page < page + pages && page < m->page + m->pages)
			mapping_remove(w, i);
	}
}

static const struct mapping *mapping_find(const struct windows *w, const struct window *in,
					  uint32_t page)
{
	for (uint16_t i = in->granule[page / GRANULE_PAGES]; i != NONE; i = w->mapping[i].next)
		if (page >= w->mapping[i].page && page - w->mapping[i].page < w->mapping[i].pages)
			return &w->mapping[i];
	return NULL;
}

static void mapping_add(struct windows *w, struct window *in, const struct mapping *wanted)
{
	uint16_t index = w->free_mapping, *at = &in->granule[wanted->page / GRANULE_PAGES];
	uint16_t *like = &w->bucket[bucket_of(wanted->gpa)];
	struct mapping *m = &w->mapping[index];

	w->free_mapping = m->next;
	*m = *wanted;
	m->window = (uint16_t)(in - w->window);
	m->next = *at;
	*at = index;
	m->next_like = *like;
	*like = index;
	in->mapped++;
}

/* Windows. */

static struct window *window_new(struct windows *w, uint64_t linear, struct window_space *space)
{
	struct window *in;
	uint16_t *list = space ? &space->first : &w->supervisor;

	if (w->free_window != NONE) {
		in = &w->window[w->free_window];
		w->free_window = in->next;
	} else if (w->count < WINDOWS_MAX) {
		in = &w->window[w->count];
		in->granule = malloc(GRANULES * sizeof(*in->granule));
		in->host = in->granule ? reserve() : NULL;
		if (!in->host) {
			free(in->granule);
			return NULL;
		}
		w->count++;
		for (unsigned i = 0; i < GRANULES; i++)
			in->granule[i] = NONE;
	} else {
		return NULL;
	}
	in->linear = linear;
	in->space = space;
	in->next = *list;
	*list = (uint16_t)(in - w->window);
	return in;
}

static struct window *window_find(struct windows *w, uint16_t first, uint64_t linear)
{
	for (uint16_t i = first; i != NONE; i = w->window[i].next)
		if (w->window[i].linear == (linear & ~(WINDOW_SIZE - 1)))
			return &w->window[i];
	return NULL;
}

/* Address spaces. */

static struct window_space *space_find(struct windows *w, uint64_t root)
{
	for (unsigned i = 0; i < SPACES_MAX; i++)
		if (w->space[i].taken && w->space[i].root == root)
			return &w->space[i];
	return NULL;
}

/* Its windows are free for others, whose entries nobody has. */
static void space_drop(struct windows *w, struct window_space *space)
{
	list_clear(w, space->first);
	while (space->first != NONE) {
		struct window *in = &w->window[space->first];
		uint16_t index = space->first;

		space->first = in->next;
		in->next = w->free_window;
		w->free_window = index;
	}
	space->taken = false;
}

static struct window_space *space_new(struct windows *w, uint64_t root)
{
	struct window_space *oldest = NULL;

	for (unsigned i = 0; i < SPACES_MAX; i++) {
		struct window_space *s = &w->space[i];

		if (!s->users && (!oldest || s->used < oldest->used))
			oldest = s;
	}
	if (!oldest)
		return NULL;
	space_drop(w, oldest);
	oldest->root = root;
	oldest->taken = true;
	return oldest;
}

static void space_leave(struct windows *w, struct engine_vcpu *cpu)
{
	struct window_space *space = cpu->windows.space;

	if (!space)
		return;
	for (uint16_t i = space->first; i != NONE; i = w->window[i].next)
		entry_set(cpu, WINDOW_USER, entry_of(w->window[i].linear), w->nowhere);
	space->users--;
	cpu->windows.space = NULL;
}

static void space_enter(struct windows *w, struct engine_vcpu *cpu, struct window_space *space)
{
	cpu->windows.space = space;
	space->users++;
	space->used = ++w->time;
	for (uint16_t i = space->first; i != NONE; i = w->window[i].next)
		entry_set(cpu, WINDOW_USER, entry_of(w->window[i].linear), w->window[i].host);
}

/* The guest's side. */

void windows_flush(struct engine_vcpu *cpu, bool global)
{
	struct windows *w = cpu->vm->windows;

	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	for (unsigned i = 0; i < SPACES_MAX; i++)
		list_clear(w, w->space[i].first);
	if (global)
		list_clear(w, w->supervisor);
	pthread_mutex_unlock(&w->lock);
}

static void root_flush(struct windows *w, uint64_t root)
{
	struct window_space *space = space_find(w, root);

	if (space)
		list_clear(w, space->first);
}

void windows_switch(struct engine_vcpu *cpu, uint64_t root, bool flush, uint64_t stale)
{
	struct windows *w = cpu->vm->windows;
	struct window_space *space;

	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	if (flush) {
		root_flush(w, stale);
		root_flush(w, root);
	}
	space = space_find(w, root);
	if (space != cpu->windows.space) {
		space_leave(w, cpu);
		if (space)
			space_enter(w, cpu, space);
	}
	cpu->windows.root = root;
	pthread_mutex_unlock(&w->lock);
}

/* What is of large pages goes with any address of theirs. */
static void large_clear(struct windows *w, struct window *in, uint64_t granule)
{
	uint16_t next;

	for (uint16_t i = in->granule[granule]; i != NONE; i = next) {
		next = w->mapping[i].next;
		if (w->mapping[i].large)
			mapping_remove(w, i);
	}
}

static void list_invalidate(struct windows *w, uint16_t first, uint64_t linear)
{
	struct window *in = window_find(w, first, linear);
	uint64_t granule = linear % WINDOW_SIZE / GRANULE;

	if (!in)
		return;
	range_clear(w, in, (uint32_t)(linear % WINDOW_SIZE / 4096), 1);
	large_clear(w, in, granule);
	/* One of 1 GiB has pieces in as many granules. */
	for (uint64_t i = 0; i < GRANULES / 4 && w->huge; i++)
		large_clear(w, in, (granule & ~(GRANULES / 4 - 1)) + i);
}

/* By the root: others may have made the space since this vCPU went there. */
void windows_invalidate(struct engine_vcpu *cpu, uint64_t linear)
{
	struct windows *w = cpu->vm->windows;
	struct window_space *space;

	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	space = space_find(w, cpu->windows.root);
	list_invalidate(w, w->supervisor, linear);
	if (space)
		list_invalidate(w, space->first, linear);
	pthread_mutex_unlock(&w->lock);
}

void windows_protect(struct windows *w, uint64_t gpa)
{
	uint16_t next;

	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	for (uint16_t i = w->bucket[bucket_of(gpa)]; i != NONE; i = next) {
		const struct mapping *m = &w->mapping[i];

		next = m->next_like;
		if (m->write && gpa >= m->gpa && gpa - m->gpa < 4096ull * m->pages)
			mapping_remove(w, i);
	}
	pthread_mutex_unlock(&w->lock);
}

/* Filling. */

static bool dirty_is_tracked(const struct engine_vm *vm)
{
	return atomic_load(&vm->dirty[0]);
}

static bool has_code(const struct code_cache *c, uint64_t gpa, unsigned pages)
{
	for (unsigned i = 0; i < pages; i++)
		if (code_cache_is_code(c, gpa + 4096ull * i))
			return true;
	return false;
}

/* As many pages around it as can be mapped alike: a power of two of them, up to a granule. */
static void mapping_choose(struct windows *w, const struct page *p, uint64_t linear, bool write,
			   struct mapping *m)
{
	const struct guest_memory *memory = w->vm->config.memory;
	bool tracked = dirty_is_tracked(w->vm), code = code_cache_is_code(w->vm->code, p->gpa);
	unsigned pages = p->size > 4096 && !tracked ? GRANULE_PAGES : 1;

	m->write = p->writable && p->dirty && !code && (write || !tracked);
	m->large = p->size > 4096;
	w->huge |= p->size > GRANULE;
	if (!m->write && p->writable)
		pages = 1;
	for (;; pages /= 2) {
		m->gpa = p->gpa & ~(4096ull * pages - 1);
		if (pages == 1 || (memory_at(memory, m->gpa, 4096ull * pages) &&
				   !(m->write && has_code(w->vm->code, m->gpa, pages))))
			break;
	}
	m->pages = (uint16_t)pages;
	m->page = (uint32_t)(linear % WINDOW_SIZE / 4096) & ~(pages - 1);
}

static off_t offset_of(const struct guest_memory *memory, uint64_t gpa)
{
	uint64_t offset = 0;

	for (unsigned i = 0; i < memory->count; i++) {
		const struct memory_range *r = &memory->range[i];

		if (gpa - r->base < r->size)
			return (off_t)(offset + gpa - r->base);
		offset += r->size;
	}
	return -1;
}

static bool mapping_make(struct windows *w, struct window *in, const struct mapping *m)
{
	const struct guest_memory *memory = w->vm->config.memory;

	if (w->free_mapping == NONE)
		all_clear(w);
	range_clear(w, in, m->page, m->pages);
	if (mmap(in->host + 4096ull * m->page, 4096ull * m->pages,
		 m->write ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED | MAP_FIXED, memory->fd,
		 offset_of(memory, m->gpa)) == MAP_FAILED) {
		/* Whatever it left there. */
		pages_unmap(in, m->page, m->pages);
		return false;
	}
	mapping_add(w, in, m);
	return true;
}

/* The window of `linear`, which the vCPU has in its table from now on; NULL: it can have none. */
static struct window *window_get(struct windows *w, struct engine_vcpu *cpu, uint64_t linear,
				 enum window_privilege who)
{
	struct window_space *space = NULL;
	struct window *in;

	if (who == WINDOW_USER) {
		space = space_find(w, cpu->windows.root);
		if (!space)
			space = space_new(w, cpu->windows.root);
		if (!space)
			return NULL;
		if (cpu->windows.space != space)
			space_enter(w, cpu, space);
	}
	in = window_find(w, space ? space->first : w->supervisor, linear);
	if (!in)
		in = window_new(w, linear & ~(WINDOW_SIZE - 1), space);
	if (in)
		entry_set(cpu, who, entry_of(linear), in->host);
	return in;
}

/* One page. */
static enum window_fill page_fill(struct windows *w, struct engine_vcpu *cpu, uint64_t linear,
				  bool write, enum window_privilege who)
{
	const struct mapping *old;
	struct mapping m = {0};
	struct window *in;
	struct page p;

	/* It is the vCPU's own privilege that the walk is for, and each has half of the space. */
	if ((linear >> 63) == (who == WINDOW_USER) ||
	    !linear_walk(cpu, linear, write ? TLB_WRITE : TLB_READ, &p) ||
	    p.user != (who == WINDOW_USER) || p.global == (who == WINDOW_USER))
		return WINDOW_REFUSED;
	in = window_get(w, cpu, linear, who);
	if (!in)
		return WINDOW_REFUSED;
	old = mapping_find(w, in, (uint32_t)(linear % WINDOW_SIZE / 4096));
	if (old && (old->write || !write))
		return WINDOW_FAULT;
	mapping_choose(w, &p, linear, write, &m);
	if (write && !m.write)
		return WINDOW_REFUSED;
	if (!mapping_make(w, in, &m))
		return WINDOW_REFUSED;
	/* It is about to be used; and what memory has around it already comes with it. */
	madvise(in->host + linear % WINDOW_SIZE / 4096 * 4096, 4096, MADV_POPULATE_READ);
	return WINDOW_FILLED;
}

/* Of an access that is in two pages. */
static enum window_fill both(enum window_fill a, enum window_fill b)
{
	if (a == WINDOW_REFUSED || b == WINDOW_REFUSED)
		return WINDOW_REFUSED;
	return a == WINDOW_FILLED || b == WINDOW_FILLED ? WINDOW_FILLED : WINDOW_FAULT;
}

enum window_fill windows_fill(struct engine_vcpu *cpu, uint64_t linear, unsigned size, bool write,
			      uint64_t *distance)
{
	struct windows *w = cpu->vm->windows;
	enum window_privilege who = cpu->cpl == 3 ? WINDOW_USER : WINDOW_SUPERVISOR;
	uint64_t before = cpu->windows.distance[who][entry_of(linear)], last = linear + size - 1;
	sigjmp_buf escape;
	volatile enum window_fill done = WINDOW_FAULT;

	*distance = before;
	if (!is_canonical(linear))
		return WINDOW_FAULT;
	if (entry_of(linear) != entry_of(last))
		return WINDOW_REFUSED;
	memcpy(&escape, &cpu->escape, sizeof(escape));
	pthread_mutex_lock(&w->lock);
	/* If the walk faults, the interpreter finds the same. */
	if (!sigsetjmp(cpu->escape, 0)) {
		done = page_fill(w, cpu, linear, write, who);
		if (linear >> 12 != last >> 12)
			done = both(done, page_fill(w, cpu, last, write, who));
	} else {
		done = WINDOW_FAULT;
	}
	pthread_mutex_unlock(&w->lock);
	memcpy(&cpu->escape, &escape, sizeof(escape));
	*distance = cpu->windows.distance[who][entry_of(linear)];
	return done == WINDOW_FAULT && *distance != before ? WINDOW_FILLED : done;
}
