/* SPDX-License-Identifier: MIT */
/* Translated blocks. See code_cache.h. */
#include "vmm/bt/code_cache.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/base/bytes.h"

#define CACHE_SIZE (64u << 20)
#define BLOCKS_MAX (1u << 18)
#define HASH_BITS  18
#define HASH_SIZE  (1u << HASH_BITS)
#define POINTS_MAX (1u << 20)
#define INSNS_MAX  (1u << 17)
#define LINKS_MAX  (1u << 19)

#define HEAT_HOT     3u   /* times seen */
#define HEAT_BANNED  100u /* likewise */
#define CREDIT_FIRST 512u
#define CREDIT_MORE  16u
#define VAIN_MAX     3u  /* of a block */
#define VAIN_PRICE   32u /* and of its page */

static int memory_map(struct code_cache *c)
{
	int fd = memfd_create("lodge-code", MFD_CLOEXEC), ret = 0;

	c->write = c->execute = MAP_FAILED;
	if (fd < 0 || ftruncate(fd, (off_t)c->size) < 0) {
		ret = -errno;
	} else {
		c->write = mmap(NULL, c->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		c->execute = mmap(NULL, c->size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
		if (c->write == MAP_FAILED || c->execute == MAP_FAILED)
			ret = -errno;
	}
	if (fd >= 0)
		close(fd);
	return ret;
}

int code_cache_create(const struct guest_memory *memory, struct code_cache **out)
{
	struct code_cache *c = calloc(1, sizeof(*c));
	const struct memory_range *last = &memory->range[memory->count - 1];
	int ret;

	if (!c)
		return -ENOMEM;
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->claim_lock, NULL);
	c->size = CACHE_SIZE;
	c->block_max = BLOCKS_MAX;
	c->page_count = (last->base + last->size) / MEMORY_PAGE_SIZE;
	ret = memory_map(c);
	c->blocks = calloc(c->block_max, sizeof(*c->blocks));
	c->hash = calloc(HASH_SIZE, sizeof(struct block *));
	c->points = calloc(POINTS_MAX, sizeof(*c->points));
	c->links = calloc(LINKS_MAX, sizeof(*c->links));
	c->insns = calloc(INSNS_MAX, sizeof(*c->insns));
	c->pages = calloc(c->page_count, sizeof(struct block *));
	c->heat = calloc(c->page_count, sizeof(*c->heat));
	c->is_code = calloc(c->page_count / 64 + 1, sizeof(_Atomic uint64_t));
	c->is_settled = calloc(c->page_count / 64 + 1, sizeof(_Atomic uint64_t));
	if (ret == 0 && (!c->blocks || !c->points || !c->links || !c->insns || !c->hash ||
			 !c->pages || !c->heat || !c->is_code || !c->is_settled))
		ret = -ENOMEM;
	if (ret) {
		code_cache_destroy(c);
		return ret;
	}
	*out = c;
	return 0;
}

void code_cache_destroy(struct code_cache *c)
{
	if (!c)
		return;
	if (c->write != MAP_FAILED)
		munmap(c->write, c->size);
	if (c->execute != MAP_FAILED)
		munmap(c->execute, c->size);
	free(c->blocks);
	free(c->hash);
	free(c->points);
	free(c->links);
	free(c->insns);
	free(c->pages);
	free(c->heat);
	free(c->is_code);
	free(c->is_settled);
	pthread_mutex_destroy(&c->lock);
	pthread_mutex_destroy(&c->claim_lock);
	free(c);
}

uint8_t *code_cache_executed(const struct code_cache *c, uint8_t *at)
{
	return c->execute + (at - c->write);
}

uint8_t *code_cache_written(const struct code_cache *c, const uint8_t *at)
{
	return c->write + (at - c->execute);
}

static bool bit_get(const struct code_cache *c, _Atomic uint64_t *bits, uint64_t gpa)
{
	uint64_t page = gpa / MEMORY_PAGE_SIZE;

	return page < c->page_count &&
	       atomic_load_explicit(&bits[page / 64], memory_order_acquire) >> page % 64 & 1;
}

static void bit_set(const struct code_cache *c, _Atomic uint64_t *bits, uint64_t gpa)
{
	uint64_t page = gpa / MEMORY_PAGE_SIZE;

	if (page < c->page_count)
		atomic_fetch_or(&bits[page / 64], 1ull << page % 64);
}

bool code_cache_is_code(const struct code_cache *c, uint64_t gpa)
{
	return bit_get(c, c->is_code, gpa);
}

bool code_cache_is_settled(const struct code_cache *c, uint64_t gpa)
{
	return bit_get(c, c->is_settled, gpa);
}

void code_cache_claim(struct code_cache *c, uint64_t gpa)
{
	bit_set(c, c->is_code, gpa);
}

void code_cache_settle(struct code_cache *c, uint64_t gpa)
{
	pthread_mutex_lock(&c->lock);
	if (code_cache_is_code(c, gpa))
		bit_set(c, c->is_settled, gpa);
	pthread_mutex_unlock(&c->lock);
}

/* Settled no more first: whoever finds it so finds it to be code as well. */
static void page_forget(struct code_cache *c, uint64_t page)
{
	c->pages[page] = NULL;
	atomic_fetch_and(&c->is_settled[page / 64], ~(1ull << page % 64));
	atomic_fetch_and(&c->is_code[page / 64], ~(1ull << page % 64));
}

static struct block **bucket(struct code_cache *c, uint64_t gpa, uint64_t rip)
{
	uint64_t key = (gpa ^ rip >> 12 ^ rip << 7) * 0x9e3779b97f4a7c15ull;

	return &c->hash[key >> (64 - HASH_BITS)];
}

struct block *code_cache_find(struct code_cache *c, const struct block *like)
{
	struct block *b = *bucket(c, like->gpa, like->rip);

	while (b && (b->gpa != like->gpa || b->rip != like->rip || b->user != like->user ||
		     b->second != like->second))
		b = b->hash_next;
	return b;
}

uint8_t *code_cache_room(struct code_cache *c, size_t bytes)
{
	if (c->used + bytes > c->size || c->block_count + 2 > c->block_max)
		return NULL;
	return c->write + c->used;
}

const struct insn *code_cache_add_insn(struct code_cache *c, const struct insn *insn)
{
	if (c->insn_count == INSNS_MAX)
		return NULL;
	c->insns[c->insn_count] = *insn;
	return &c->insns[c->insn_count++];
}

struct block_link *code_cache_links(struct code_cache *c, unsigned count)
{
	return c->link_count + count <= LINKS_MAX ? c->links + c->link_count : NULL;
}

struct block *code_cache_add(struct code_cache *c, const struct block *block, uint8_t *room,
			     const uint8_t *end)
{
	uint64_t page = block->gpa / MEMORY_PAGE_SIZE;
	struct block **in = bucket(c, block->gpa, block->rip), *b;

	if (c->block_count + 2 > c->block_max || page >= c->page_count)
		return NULL;
	c->link_count += block->link_count;
	b = &c->blocks[c->block_count++];
	*b = *block;
	b->code = code_cache_executed(c, room);
	b->hash_next = *in;
	b->page_next = c->pages[page];
	*in = b;
	c->pages[page] = b;
	if (block->second) {
		struct block *in_second = &c->blocks[c->block_count++];

		page = block->second / MEMORY_PAGE_SIZE;
		*in_second = (struct block){.gpa = block->second,
					    .code = b->code,
					    .of = b,
					    .page_next = c->pages[page]};
		c->pages[page] = in_second;
	}
	c->used = (size_t)(end - c->write + 15) & ~(size_t)15;
	c->translated++;
	return b;
}

/* In one store: others may be running it. */
static void jump_set(const struct block_link *link, const uint8_t *target)
{
	uint32_t distance = (uint32_t)(target - (link->displacement + 4));

	__atomic_store_n((uint32_t *)(void *)link->displacement, distance, __ATOMIC_RELEASE);
}

void code_cache_link(struct code_cache *c, struct block_link *link, struct block *to)
{
	if (link->to || to->dead || to->second)
		return;
	link->to = to;
	link->next = to->incoming;
	to->incoming = link;
	jump_set(link, code_cache_written(c, to->code));
}

static void unlink_incoming(struct block *b)
{
	for (struct block_link *link = b->incoming; link; link = link->next) {
		link->to = NULL;
		jump_set(link, link->stub);
	}
	b->incoming = NULL;
}

static void hash_remove(struct code_cache *c, struct block *b)
{
	struct block **at = bucket(c, b->gpa, b->rip);

	while (*at != b)
		at = &(*at)->hash_next;
	*at = b->hash_next;
}

/* Its own links stay in the lists of where they lead: that block may unlink them, to no effect. */
void code_cache_drop(struct code_cache *c, uint64_t gpa)
{
	uint64_t page = gpa / MEMORY_PAGE_SIZE;

	if (page >= c->page_count)
		return;
	for (struct block *in_page = c->pages[page]; in_page; in_page = in_page->page_next) {
		struct block *b = in_page->of ? in_page->of : in_page;

		if (b->dead)
			continue;
		unlink_incoming(b);
		hash_remove(c, b);
		b->dead = true;
	}
	c->pages[page] = NULL;
}

void code_cache_invalidate(struct code_cache *c, uint64_t gpa)
{
	uint64_t page = gpa / MEMORY_PAGE_SIZE;

	if (page >= c->page_count)
		return;
	code_cache_drop(c, gpa);
	c->heat[page] = (struct page_heat){0};
	page_forget(c, page);
}

void code_cache_empty(struct code_cache *c)
{
	for (unsigned i = 0; i < c->block_count; i++)
		page_forget(c, c->blocks[i].gpa / MEMORY_PAGE_SIZE);
	memset(c->hash, 0, HASH_SIZE * sizeof(struct block *));
	c->block_count = 0;
	c->link_count = 0;
	c->insn_count = 0;
	c->used = c->kept;
	c->point_count = 0;
	c->emptied++;
}

static uint64_t *astray_slot(struct code_cache *c, uint64_t rip)
{
	return &c->astray[(rip ^ rip >> 10 ^ rip >> 20) % ASTRAY_MAX];
}

bool code_cache_is_hot(struct code_cache *c, uint64_t gpa, uint64_t rip)
{
	uint64_t page = gpa / MEMORY_PAGE_SIZE;

	return page < c->page_count && (c->eager || c->heat[page].seen >= HEAT_HOT) &&
	       *astray_slot(c, rip) != rip;
}

bool code_cache_heat(struct code_cache *c, uint64_t gpa)
{
	uint64_t page = gpa / MEMORY_PAGE_SIZE;
	struct page_heat *h = &c->heat[page];

	if (page >= c->page_count || c->eager)
		return false;
	if (h->banned) {
		h->banned--;
		return false;
	}
	if (h->seen >= HEAT_HOT) {
		h->credit = (uint16_t)(h->credit + (h->credit < CREDIT_FIRST ? CREDIT_MORE : 0));
		return false;
	}
	if (++h->seen < HEAT_HOT)
		return false;
	h->credit = CREDIT_FIRST;
	code_cache_drop(c, gpa);
	return true;
}

/* The block whose code is there: they lie in the order in which they were made. */
static struct block *block_at(const struct code_cache *c, const uint8_t *at)
{
	unsigned low = 0, high = c->block_count;

	while (high - low > 1) {
		unsigned middle = (low + high) / 2;

		if (c->blocks[middle].code <= at)
			low = middle;
		else
			high = middle;
	}
	return c->blocks[low].of ? c->blocks[low].of : &c->blocks[low];
}

bool code_cache_suspect(struct code_cache *c, const uint8_t *at, bool good)
{
	struct page_heat *h;
	struct block *b;
	unsigned price = good ? 1 : VAIN_PRICE;
	bool cold = false;

	pthread_mutex_lock(&c->lock);
	b = block_at(c, at);
	h = &c->heat[b->gpa / MEMORY_PAGE_SIZE];
	if (!good) {
		cold = ++b->vain == VAIN_MAX;
		if (cold)
			*astray_slot(c, b->rip) = b->rip;
	}
	if (h->credit >= price) {
		h->credit = (uint16_t)(h->credit - price);
	} else if (h->seen >= HEAT_HOT) {
		*h = (struct page_heat){.banned = HEAT_BANNED};
		cold = true;
	}
	if (cold)
		code_cache_drop(c, b->gpa);
	pthread_mutex_unlock(&c->lock);
	return cold;
}

bool code_cache_add_point(struct code_cache *c, const struct fault_point *point)
{
	unsigned count = atomic_load(&c->point_count);

	if (count == POINTS_MAX)
		return false;
	c->points[count] = *point;
	atomic_store(&c->point_count, count + 1);
	return true;
}

/* In a signal handler: it locks nothing. */
bool code_cache_has(const struct code_cache *c, const uint8_t *at, const struct fault_point **point)
{
	unsigned low = 0, high = atomic_load(&c->point_count);

	if (at < c->execute || at >= c->execute + c->size)
		return false;
	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (c->points[middle].at < at)
			low = middle + 1;
		else
			high = middle;
	}
	*point = low < atomic_load(&c->point_count) && c->points[low].at == at ? &c->points[low]
									       : NULL;
	return true;
}
