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

#define PART_SIZE (8u << 20)
#define HASH_BITS 18
#define HASH_SIZE (1u << HASH_BITS)
/* Of a part. */
#define BLOCKS_MAX (1u << 15)
#define POINTS_MAX (1u << 17)
#define INSNS_MAX  (1u << 14)
#define LINKS_MAX  (1u << 16)
#define ONE_BLOCK  512u /* more of anything than a block has */
/* Of a part's code; a part is a multiple of it. */
#define MAPPED_AHEAD (256u << 10)

#define HEAT_HOT     3u /* times seen */
#define BAN_FIRST    4u /* likewise; each one twice as long */
#define BAN_MAX      128u
#define CREDIT_FIRST 512u
#define CREDIT_MORE  16u
#define CREDIT_MAX   4096u
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

static bool part_create(struct code_part *p, uint8_t *begin)
{
	p->begin = p->used = p->mapped = begin;
	p->end = begin + PART_SIZE;
	p->blocks = calloc(BLOCKS_MAX, sizeof(*p->blocks));
	p->insns = calloc(INSNS_MAX, sizeof(*p->insns));
	p->links = calloc(LINKS_MAX, sizeof(*p->links));
	p->points = calloc(POINTS_MAX, sizeof(*p->points));
	return p->blocks && p->insns && p->links && p->points;
}

static void part_destroy(struct code_part *p)
{
	free(p->blocks);
	free(p->insns);
	free(p->links);
	free(p->points);
}

static bool parts_create(struct code_cache *c)
{
	bool done = true;

	for (unsigned i = 0; i < CODE_PARTS; i++)
		done = part_create(&c->part[i], c->write + CODE_KEPT + (size_t)i * PART_SIZE) &&
		       done;
	return done;
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
	c->size = CODE_KEPT + (size_t)CODE_PARTS * PART_SIZE;
	c->page_count = (last->base + last->size) / MEMORY_PAGE_SIZE;
	ret = memory_map(c);
	c->fault_price = 1;
	c->hash = calloc(HASH_SIZE, sizeof(struct block *));
	c->pages = calloc(c->page_count, sizeof(struct block *));
	c->heat = calloc(c->page_count, sizeof(*c->heat));
	c->is_code = calloc(c->page_count / 64 + 1, sizeof(_Atomic uint64_t));
	c->is_settled = calloc(c->page_count / 64 + 1, sizeof(_Atomic uint64_t));
	if (ret == 0 && (!parts_create(c) || !c->hash || !c->pages || !c->heat || !c->is_code ||
			 !c->is_settled))
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
	for (unsigned i = 0; i < CODE_PARTS; i++)
		part_destroy(&c->part[i]);
	free(c->hash);
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

static struct code_part *filling(struct code_cache *c)
{
	return &c->part[c->filling];
}

/* Pages for code that is to come, many at a time: a fault each takes longer, and there are two. */
static void map_ahead(const struct code_cache *c, struct code_part *p, size_t bytes)
{
	while (p->used + bytes > p->mapped) {
		madvise(p->mapped, MAPPED_AHEAD, MADV_POPULATE_WRITE);
		madvise(code_cache_executed(c, p->mapped), MAPPED_AHEAD, MADV_POPULATE_READ);
		p->mapped += MAPPED_AHEAD;
	}
}

uint8_t *code_cache_room(struct code_cache *c, size_t bytes)
{
	struct code_part *p = filling(c);

	if (bytes > (size_t)(p->end - p->used) || p->block_count + 2 > BLOCKS_MAX ||
	    p->insn_count + ONE_BLOCK > INSNS_MAX || p->link_count + ONE_BLOCK > LINKS_MAX ||
	    p->point_count + ONE_BLOCK > POINTS_MAX)
		return NULL;
	map_ahead(c, p, bytes);
	return p->used;
}

const struct insn *code_cache_add_insn(struct code_cache *c, const struct insn *insn)
{
	struct code_part *p = filling(c);

	if (p->insn_count == INSNS_MAX)
		return NULL;
	p->insns[p->insn_count] = *insn;
	return &p->insns[p->insn_count++];
}

struct block_link *code_cache_links(struct code_cache *c, unsigned count)
{
	struct code_part *p = filling(c);

	return p->link_count + count <= LINKS_MAX ? p->links + p->link_count : NULL;
}

static void page_add(struct code_cache *c, struct block *b)
{
	struct block **head = &c->pages[b->gpa / MEMORY_PAGE_SIZE];

	b->page_next = *head;
	b->page_at = head;
	if (*head)
		(*head)->page_at = &b->page_next;
	*head = b;
}

static void page_remove(struct block *b)
{
	*b->page_at = b->page_next;
	if (b->page_next)
		b->page_next->page_at = b->page_at;
}

struct block *code_cache_add(struct code_cache *c, const struct block *block, uint8_t *room,
			     const uint8_t *end)
{
	struct code_part *p = filling(c);
	struct block **in = bucket(c, block->gpa, block->rip), *b;
	uint64_t second = block->second;

	if (p->block_count + 2 > BLOCKS_MAX || block->gpa / MEMORY_PAGE_SIZE >= c->page_count ||
	    second / MEMORY_PAGE_SIZE >= c->page_count)
		return NULL;
	p->link_count += block->link_count;
	for (unsigned i = 0; i < block->link_count; i++)
		block->link[i].page = block->gpa / MEMORY_PAGE_SIZE;
	b = &p->blocks[p->block_count++];
	*b = *block;
	b->code = code_cache_executed(c, room);
	b->hash_next = *in;
	*in = b;
	page_add(c, b);
	if (second) {
		struct block *in_second = &p->blocks[p->block_count++];

		*in_second = (struct block){.gpa = second, .code = b->code, .of = b};
		page_add(c, in_second);
	}
	p->used = room + ((size_t)(end - room + 15) & ~(size_t)15);
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
	/* It is for one page: not if that is another one by now. */
	if (link->to || to->dead || to->second || link->page != to->gpa / MEMORY_PAGE_SIZE)
		return;
	link->to = to;
	link->next = to->incoming;
	link->at = &to->incoming;
	if (link->next)
		link->next->at = &link->next;
	to->incoming = link;
	jump_set(link, code_cache_written(c, to->code));
}

static void link_remove(struct block_link *link)
{
	*link->at = link->next;
	if (link->next)
		link->next->at = link->at;
	link->to = NULL;
}

static void unlink_incoming(struct block *b)
{
	while (b->incoming) {
		struct block_link *link = b->incoming;

		link_remove(link);
		jump_set(link, link->stub);
	}
}

static void hash_remove(struct code_cache *c, struct block *b)
{
	struct block **at = bucket(c, b->gpa, b->rip);

	while (*at != b)
		at = &(*at)->hash_next;
	*at = b->hash_next;
}

/* Its own links stay in the lists of where they lead: that block may unlink them, to no effect. */
static void block_drop(struct code_cache *c, struct block *b)
{
	if (b->dead)
		return;
	unlink_incoming(b);
	hash_remove(c, b);
	b->dead = true;
}

void code_cache_drop(struct code_cache *c, uint64_t gpa)
{
	uint64_t page = gpa / MEMORY_PAGE_SIZE;

	while (page < c->page_count && c->pages[page]) {
		struct block *b = c->pages[page];

		block_drop(c, b->of ? b->of : b);
		page_remove(b);
		b->page_at = NULL;
	}
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

static bool is_half_full(const struct code_part *p)
{
	return p->used - p->begin > PART_SIZE / 2 || p->block_count > BLOCKS_MAX / 2 ||
	       p->insn_count > INSNS_MAX / 2 || p->link_count > LINKS_MAX / 2 ||
	       p->point_count > POINTS_MAX / 2;
}

static struct code_part *next_part(struct code_cache *c)
{
	return &c->part[(c->filling + 1) % CODE_PARTS];
}

/* Its pages stay pages of code. */
static void part_retire(struct code_cache *c, struct code_part *p)
{
	for (unsigned i = 0; i < p->block_count; i++) {
		struct block *b = &p->blocks[i];

		if (!b->of)
			block_drop(c, b);
		if (b->page_at)
			page_remove(b);
	}
	for (unsigned i = 0; i < p->link_count; i++)
		if (p->links[i].to)
			link_remove(&p->links[i]);
	p->retired = atomic_fetch_add(&c->retired, 1) + 1;
}

bool code_cache_retire(struct code_cache *c)
{
	struct code_part *p = next_part(c);

	if (p->retired || p->block_count == 0 || !is_half_full(filling(c)))
		return false;
	part_retire(c, p);
	return true;
}

uint64_t code_cache_next_retired(struct code_cache *c, unsigned full)
{
	struct code_part *p = next_part(c);

	if (c->filling != full)
		return 0;
	if (!p->retired)
		part_retire(c, p);
	return p->retired;
}

void code_cache_advance(struct code_cache *c, unsigned full)
{
	struct code_part *p = next_part(c);

	if (c->filling != full)
		return;
	p->used = p->begin;
	p->block_count = p->insn_count = p->link_count = 0;
	atomic_store(&p->point_count, 0);
	p->retired = 0;
	c->filling = (c->filling + 1) % CODE_PARTS;
}

/* Whose code it is. NULL: none's. */
static struct code_part *part_of(const struct code_cache *c, const uint8_t *executed)
{
	size_t offset = (size_t)(executed - c->execute);

	if (executed < c->execute || offset < CODE_KEPT || offset >= c->size)
		return NULL;
	return (struct code_part *)&c->part[(offset - CODE_KEPT) / PART_SIZE];
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
		if (h->credit < CREDIT_MAX)
			h->credit = (uint16_t)(h->credit + CREDIT_MORE);
		if (h->credit > CREDIT_FIRST)
			h->ban /= 2;
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
	const struct code_part *p = part_of(c, at);
	unsigned low = 0, high = p->block_count;

	while (high - low > 1) {
		unsigned middle = (low + high) / 2;

		if (p->blocks[middle].code <= at)
			low = middle;
		else
			high = middle;
	}
	return p->blocks[low].of ? p->blocks[low].of : &p->blocks[low];
}

static void page_ban(struct page_heat *h)
{
	uint8_t ban = h->ban ? h->ban : BAN_FIRST;

	*h = (struct page_heat){.banned = ban, .ban = ban < BAN_MAX ? 2 * ban : BAN_MAX};
}

bool code_cache_suspect(struct code_cache *c, const uint8_t *at, bool good)
{
	struct page_heat *h;
	struct block *b;
	unsigned price = (good ? 1 : VAIN_PRICE) * c->fault_price;
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
		page_ban(h);
		cold = true;
	}
	if (cold)
		code_cache_drop(c, b->gpa);
	pthread_mutex_unlock(&c->lock);
	return cold;
}

bool code_cache_add_point(struct code_cache *c, const struct fault_point *point)
{
	struct code_part *p = filling(c);
	unsigned count = atomic_load(&p->point_count);

	if (count == POINTS_MAX)
		return false;
	p->points[count] = *point;
	atomic_store(&p->point_count, count + 1);
	return true;
}

/* In a signal handler: it locks nothing. */
bool code_cache_has(const struct code_cache *c, const uint8_t *at, const struct fault_point **point)
{
	const struct code_part *p = part_of(c, at);
	unsigned low = 0, high = p ? atomic_load(&p->point_count) : 0;

	*point = NULL;
	if (at < c->execute || at >= c->execute + c->size)
		return false;
	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (p->points[middle].at < at)
			low = middle + 1;
		else
			high = middle;
	}
	if (p && low < atomic_load(&p->point_count) && p->points[low].at == at)
		*point = &p->points[low];
	return true;
}
