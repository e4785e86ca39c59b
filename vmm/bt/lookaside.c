/* SPDX-License-Identifier: MIT */
/* See lookaside.h. */
#include "vmm/bt/lookaside.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/bt/bt_impl.h"

/* The negated page number of a page in the upper half has this bit clear. */
#define TAG_LOW_HALF(tag) (-(tag) >> 51 == 0)

/*
 * What an entry has that holds nothing. Zero would be a hit for page 0: at its own index, and for
 * an access that begins in the last page there is and ends there.
 */
static uint64_t empty_tag(unsigned index)
{
	return index == 0 || index == FAST_ENTRIES - 1;
}

/* And of known code: the negation of an address that has another index, in both ways. */
static uint64_t no_jump(unsigned index)
{
	return index == 0;
}

/* In memory that is all zeros. */
static void fast_init(struct fast_tlb *t)
{
	t->tag[0] = empty_tag(0);
	t->tag[FAST_ENTRIES - 1] = empty_tag(FAST_ENTRIES - 1);
}

static void jump_init(struct jump_table *t)
{
	t->way[0].entry[0].tag = t->way[1].entry[0].tag = no_jump(0);
}

static struct lookaside_space *space_new(void)
{
	struct lookaside_space *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	fast_init(&s->tlb[0]);
	fast_init(&s->tlb[1]);
	jump_init(&s->jump);
	return s;
}

static void present_set(struct lookaside *l, struct lookaside_space *s)
{
	l->present = s;
	l->tlb[TLB_USER][0] = &s->tlb[0];
	l->tlb[TLB_USER][1] = &s->tlb[1];
	l->jump[1] = &s->jump;
	s->epoch = l->epoch;
	s->write_epoch = l->write_epoch;
	s->used = ++l->time;
}

int lookaside_create(struct lookaside *l)
{
	l->epoch = 1;
	l->space[0] = space_new();
	l->jump[0] = calloc(1, sizeof(*l->jump[0]));
	if (!l->space[0] || !l->jump[0])
		return -ENOMEM;
	jump_init(l->jump[0]);
	for (unsigned i = 0; i < 4; i++) {
		l->tlb[i / 2][i % 2] = calloc(1, sizeof(struct fast_tlb));
		if (!l->tlb[i / 2][i % 2])
			return -ENOMEM;
		fast_init(l->tlb[i / 2][i % 2]);
	}
	present_set(l, l->space[0]);
	return 0;
}

void lookaside_destroy(struct lookaside *l)
{
	for (unsigned i = 0; i < LOOKASIDE_SPACES; i++)
		free(l->space[i]);
	for (unsigned i = 0; i < 4; i++)
		free(l->tlb[i / 2][i % 2]);
	free(l->jump[0]);
}

/* The soft TLB. */

static void fast_drop(struct fast_tlb *t, unsigned index)
{
	t->tag[index] = empty_tag(index);
}

static bool is_empty(const struct fast_tlb *t, unsigned index)
{
	return t->tag[index] == empty_tag(index);
}

static bool is_low(const struct fast_tlb *t, unsigned index)
{
	return TAG_LOW_HALF(t->tag[index]);
}

static void log_add(struct fast_log *log, unsigned index)
{
	if (log->count < FAST_LOG)
		log->index[log->count] = (uint16_t)index;
	log->count++;
}

static void log_drop(struct fast_tlb *t, bool low)
{
	struct fast_log *log = &t->log[low];

	for (unsigned i = 0; i < log->count; i++)
		if (is_low(t, log->index[i]) == low)
			fast_drop(t, log->index[i]);
	log->count = 0;
}

static void fast_clear(struct fast_tlb *t, bool global)
{
	if (t->log[0].count > FAST_LOG || t->log[1].count > FAST_LOG) {
		memset(t->tag, 0, sizeof(t->tag));
		fast_init(t);
		t->log[0].count = t->log[1].count = 0;
	}
	if (global || t->private_high) {
		log_drop(t, false);
		t->private_high = false;
	}
	log_drop(t, true);
}

void lookaside_fill(struct engine_vcpu *cpu, uint64_t linear, bool write, const uint8_t *host,
		    bool global)
{
	struct fast_tlb *t = cpu->world.lookaside.tlb[cpu->tlb_mode][write];
	unsigned index = linear >> 12 & (FAST_ENTRIES - 1);
	uint64_t page = linear & ~4095ull;
	bool low = !(linear >> 63);

	if (is_empty(t, index) || is_low(t, index) != low)
		log_add(&t->log[low], index);
	t->tag[index] = -(linear >> 12);
	t->addend[index] = (uint64_t)(uintptr_t)host - page;
	t->private_high |= !global && !low;
}

static void fast_invalidate(struct fast_tlb *t, uint64_t linear, uint64_t size)
{
	struct fast_log *log = &t->log[!(linear >> 63)];

	/* Each stays in the log: to clear it twice does no harm. */
	for (unsigned i = 0; i < log->count && i < FAST_LOG && size > 4096; i++)
		if (-t->tag[log->index[i]] - (linear >> 12) < size >> 12)
			fast_drop(t, log->index[i]);
	if (log->count > FAST_LOG && size > 4096)
		fast_clear(t, true);
	if (t->tag[linear >> 12 & (FAST_ENTRIES - 1)] == -(linear >> 12))
		fast_drop(t, linear >> 12 & (FAST_ENTRIES - 1));
}

/* Known code. */

static unsigned jump_index(unsigned way, uint64_t rip)
{
	return (way ? rip + (rip >> JUMP_SHIFT) : rip) & (JUMP_ENTRIES - 1);
}

static void way_empty(struct jump_way *w)
{
	for (unsigned i = 0; i < w->count; i++)
		w->entry[w->log[i]].tag = no_jump(w->log[i]);
	w->count = 0;
}

static void table_empty(struct jump_table *t)
{
	way_empty(&t->way[0]);
	way_empty(&t->way[1]);
	t->private = false;
	memset(t->page, 0, sizeof(t->page));
}

static bool table_has(const struct jump_table *t, uint64_t linear, uint64_t size)
{
	for (uint64_t page = linear >> 12; page <= (linear + size - 1) >> 12; page++)
		if (t->page[page / 64 % 1024] >> page % 64 & 1)
			return true;
	return false;
}

static void way_clear(struct jump_way *w, uint64_t linear, uint64_t size)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < w->count; i++) {
		struct jump_entry *j = &w->entry[w->log[i]];

		if (-j->tag - linear >= size)
			w->log[kept++] = w->log[i];
		else
			j->tag = no_jump(w->log[i]);
	}
	w->count = kept;
}

static void table_clear(struct jump_table *t, uint64_t linear, uint64_t size)
{
	if (!table_has(t, linear, size))
		return;
	/* What begins ahead of it may be in it. */
	linear -= INSN_LENGTH_MAX - 1;
	size += INSN_LENGTH_MAX - 1;
	way_clear(&t->way[0], linear, size);
	way_clear(&t->way[1], linear, size);
}

static void way_add(struct jump_way *w, unsigned index, const struct jump_entry *entry)
{
	if (w->entry[index].tag == no_jump(index))
		w->log[w->count++] = (uint16_t)index;
	w->entry[index] = *entry;
}

void lookaside_add_code(struct engine_vcpu *cpu, const uint8_t *code, bool across)
{
	struct jump_table *t = cpu->world.lookaside.jump[cpu->cpl == 3];
	struct jump_entry entry = {.tag = -cpu->rip, .code = code};
	uint64_t page = cpu->rip >> 12;
	bool global;

	/* It may fault: the entry comes last. */
	for (uint64_t i = page; i <= page + across; i++) {
		t->page[i / 64 % 1024] |= 1ull << i % 64;
		t->private |= !linear_page(cpu, i << 12, TLB_FETCH, &global) || !global;
	}
	way_add(&t->way[0], jump_index(0, cpu->rip), &entry);
	way_add(&t->way[1], jump_index(1, cpu->rip), &entry);
}

const uint8_t *lookaside_code(const struct engine_vcpu *cpu)
{
	const struct jump_table *t = cpu->world.lookaside.jump[cpu->cpl == 3];

	for (unsigned way = 0; way < 2; way++) {
		const struct jump_entry *j = &t->way[way].entry[jump_index(way, cpu->rip)];

		if (j->tag == -cpu->rip)
			return j->code;
	}
	return NULL;
}

void lookaside_forget_code(struct engine_vcpu *cpu)
{
	struct lookaside *l = &cpu->world.lookaside;

	table_empty(l->jump[0]);
	table_empty(l->jump[1]);
	/* The others' when it is their turn. */
	l->present->epoch = ++l->epoch;
}

/* All. */

static void space_empty(struct lookaside_space *s)
{
	fast_clear(&s->tlb[0], true);
	fast_clear(&s->tlb[1], true);
	table_empty(&s->jump);
}

static void supervisor_flush(struct lookaside *l, bool global)
{
	for (unsigned i = 0; i < 4; i++)
		fast_clear(l->tlb[i / 2][i % 2], global);
	if (global || l->jump[0]->private)
		table_empty(l->jump[0]);
}

void lookaside_flush(struct engine_vcpu *cpu, bool global)
{
	struct lookaside *l = &cpu->world.lookaside;

	if (!l->present)
		return;
	l->cleared++;
	supervisor_flush(l, global);
	space_empty(l->present);
	l->present->epoch = ++l->epoch;
}

void lookaside_flush_writes(struct engine_vcpu *cpu)
{
	struct lookaside *l = &cpu->world.lookaside;

	if (!l->present)
		return;
	for (unsigned mode = 0; mode < 3; mode++)
		fast_clear(l->tlb[mode][1], true);
	l->present->write_epoch = ++l->write_epoch;
}

void lookaside_invalidate(struct engine_vcpu *cpu, uint64_t linear, uint64_t size)
{
	struct lookaside *l = &cpu->world.lookaside;

	if (!l->present)
		return;
	l->cleared++;
	for (unsigned i = 0; i < 6; i++)
		fast_invalidate(l->tlb[i / 2][i % 2], linear, size);
	table_clear(l->jump[0], linear, size);
	table_clear(l->jump[1], linear, size);
}

/* The space of a root, or the one that was not used for longest, with nothing in it. */
static struct lookaside_space *space_find(struct lookaside *l, uint64_t root)
{
	struct lookaside_space *oldest = l->present;

	for (unsigned i = 0; i < LOOKASIDE_SPACES; i++) {
		if (!l->space[i])
			l->space[i] = space_new();
		if (!l->space[i])
			break;
		if (l->space[i]->root == root)
			return l->space[i];
		if (l->space[i]->used < oldest->used)
			oldest = l->space[i];
	}
	oldest->root = root;
	oldest->epoch = 0;
	return oldest;
}

void lookaside_switch(struct engine_vcpu *cpu, uint64_t root, bool flush, uint64_t stale)
{
	struct lookaside *l = &cpu->world.lookaside;
	struct lookaside_space *s;

	if (!l->present || (!flush && root == l->present->root))
		return;
	l->cleared++;
	supervisor_flush(l, false);
	for (unsigned i = 0; i < LOOKASIDE_SPACES && flush; i++)
		if (l->space[i] && (l->space[i]->root == root || l->space[i]->root == stale))
			l->space[i]->epoch = 0;
	s = space_find(l, root);
	if (s->epoch != l->epoch)
		space_empty(s);
	else if (s->write_epoch != l->write_epoch)
		fast_clear(&s->tlb[1], true);
	present_set(l, s);
}
