/* SPDX-License-Identifier: MIT */
/*
 * Paging: a walk of the guest's page tables where the soft TLB knows nothing, with accessed and
 * dirty bits, permissions and error codes as AMD64 vol. 2, chapter 5, and SDM vol. 3, chapter 4
 * have them.
 *
 * The TLB has an array for each kind of access and each privilege, so a hit needs no check but that
 * of the tag. A tag is the page and a context in its low bits; loading CR3 takes a new context, and
 * global pages have a context of their own. Only memory is in the TLB; a device is reached by the
 * walk each time.
 */
#include <assert.h>
#include <string.h>

#include "devices/lapic.h"
#include "vmm/base/bytes.h"
#include "vmm/bt/alignment.h"
#include "vmm/bt/check.h"
#include "vmm/bt/debug.h"
#include "vmm/bt/guest_bytes.h"
#include "vmm/bt/vcpu.h"

#define PAGE_MASK 4095ull

#define PTE_PRESENT  1ull
#define PTE_WRITE    2ull
#define PTE_USER     4ull
#define PTE_ACCESSED 0x20ull
#define PTE_DIRTY    0x40ull
#define PTE_LARGE    0x80ull
#define PTE_GLOBAL   0x100ull
#define PTE_NX       (1ull << 63)
#define PTE_ADDRESS  0x000ffffffffff000ull

#define ADDRESS_BITS 46 /* physical; bits above are reserved in page tables */
#define PTE_RESERVED (PTE_ADDRESS & ~((1ull << ADDRESS_BITS) - 1))

struct walk {
	struct engine_vcpu *cpu;
	uint64_t linear;
	enum tlb_access access;
	bool user;     /* the access is a user's */
	bool override; /* a supervisor may touch user pages: no SMAP, or AC */
	uint64_t entry_gpa[4], entry[4];
	unsigned levels, wide; /* how many were read; bytes of an entry */
};

/* Entries. */

static uint64_t entry_read(struct engine_vcpu *cpu, uint64_t gpa, unsigned wide)
{
	const void *at = memory_at(cpu->vm->config.memory, gpa, wide);

	/* No memory there: what a bus without a device gives, and that has reserved bits set. */
	if (!at)
		return ~0ull;
	return guest_load(check_view_entry(cpu, (void *)at), wide);
}

static void dirty_note(struct engine_vm *vm, uint64_t gpa)
{
	const struct guest_memory *memory = vm->config.memory;

	for (unsigned i = 0; i < memory->count; i++) {
		_Atomic uint64_t *bits = atomic_load_explicit(&vm->dirty[i], memory_order_acquire);
		uint64_t page = (gpa - memory->range[i].base) / 4096;

		if (bits && gpa - memory->range[i].base < memory->range[i].size)
			atomic_fetch_or(&bits[page / 64], 1ull << page % 64);
	}
}

/* Set bits in an entry if it is still what was read. False: it changed, walk again. */
static bool entry_mark(struct walk *w, unsigned level, uint64_t bits)
{
	void *at = memory_at_write(w->cpu->vm->config.memory, w->entry_gpa[level], w->wide);
	uint64_t old = w->entry[level];

	if (!at || (w->entry[level] & bits) == bits)
		return true;
	dirty_note(w->cpu->vm, w->entry_gpa[level]);
	return guest_exchange(check_view_entry(w->cpu, at), w->wide, &old, old | bits);
}

static bool has_nx(const struct engine_vcpu *cpu)
{
	return cpu->efer & EFER_NXE && cpu->cr4 & CR4_PAE;
}

_Noreturn static void walk_fault(struct walk *w, uint32_t error)
{
	const struct engine_vcpu *cpu = w->cpu;

	if (w->access == TLB_WRITE)
		error |= FAULT_WRITE;
	if (w->user)
		error |= FAULT_USER;
	if (w->access == TLB_FETCH && (has_nx(cpu) || cpu->cr4 & CR4_SMEP))
		error |= FAULT_FETCH;
	cpu_page_fault(w->cpu, w->linear, error);
}

/* One level down: read the entry at `gpa`, check it, gather its permissions. */
static uint64_t walk_entry(struct walk *w, uint64_t gpa, uint64_t reserved, struct page *page)
{
	uint64_t entry = entry_read(w->cpu, gpa, w->wide);

	if (!(entry & PTE_PRESENT))
		walk_fault(w, 0);
	if (!has_nx(w->cpu) && w->wide == 8)
		reserved |= PTE_NX;
	if (entry & reserved)
		walk_fault(w, FAULT_PRESENT | FAULT_RESERVED);
	w->entry_gpa[w->levels] = gpa;
	w->entry[w->levels++] = entry;
	page->writable &= !!(entry & PTE_WRITE);
	page->user &= !!(entry & PTE_USER);
	page->executable &= w->wide == 4 || !(entry & PTE_NX);
	return entry;
}

static void page_found(const struct walk *w, uint64_t entry, uint64_t base, uint64_t size,
		       struct page *page)
{
	page->size = size;
	page->gpa = base + (w->linear & (size - 1));
	page->global = entry & PTE_GLOBAL && w->cpu->cr4 & CR4_PGE;
	page->dirty = entry & PTE_DIRTY || w->access == TLB_WRITE;
}

/* 32-bit paging: SDM vol. 3, 4.3. */
static void walk_2_levels(struct walk *w, struct page *page)
{
	uint64_t table = w->cpu->cr3 & 0xfffff000;
	uint64_t entry;

	w->wide = 4;
	entry = walk_entry(w, table + (w->linear >> 22 & 1023) * 4, 0, page);
	if (entry & PTE_LARGE && w->cpu->cr4 & CR4_PSE) {
		/* PSE-36: bits 13 to 20 are bits 32 to 39 of the address; 21 is reserved. */
		if (entry & 1u << 21)
			walk_fault(w, FAULT_PRESENT | FAULT_RESERVED);
		page_found(w, entry, (entry & 0xffc00000) | (entry >> 13 & 0xff) << 32, 4u << 20,
			   page);
		return;
	}
	entry = walk_entry(w, (entry & 0xfffff000) + (w->linear >> 12 & 1023) * 4, 0, page);
	page_found(w, entry, entry & 0xfffff000, 4096, page);
}

/* From level 1 (512 entries a table) down; `table` is the first. */
static void walk_9_bits(struct walk *w, uint64_t table, unsigned level, uint64_t high_reserved,
			struct page *page)
{
	for (;; level--) {
		unsigned shift = 12 + 9 * level;
		uint64_t reserved = PTE_RESERVED | high_reserved, size = 1ull << shift;
		uint64_t gpa = table + (w->linear >> shift & 511) * 8, entry;

		if (level == 3)
			reserved |= PTE_LARGE;
		entry = walk_entry(w, gpa, reserved, page);
		if (level == 0 || (level < 3 && entry & PTE_LARGE)) {
			/* Bit 12 of a large page is PAT; those above, up to its size, are reserved.
			 */
			if (level && entry & (size - 1) & PTE_ADDRESS & ~(1ull << 12))
				walk_fault(w, FAULT_PRESENT | FAULT_RESERVED);
			page_found(w, entry, entry & PTE_ADDRESS & ~(size - 1), size, page);
			return;
		}
		table = entry & PTE_ADDRESS;
	}
}

static void walk_pae(struct walk *w, struct page *page)
{
	uint64_t entry = w->cpu->pdpte[w->linear >> 30 & 3];

	w->wide = 8;
	if (!(entry & PTE_PRESENT))
		walk_fault(w, 0);
	/* Bits 62 to 52 are reserved outside long mode. */
	walk_9_bits(w, entry & PTE_ADDRESS, 1, 0x7ff0000000000000ull, page);
}

/* May the access be? SDM vol. 3, 4.6. */
static void permissions_check(struct walk *w, const struct page *page)
{
	const struct engine_vcpu *cpu = w->cpu;
	bool ok = true;

	if (w->user)
		ok = page->user && (w->access != TLB_WRITE || page->writable);
	else if (w->access == TLB_FETCH)
		ok = !(page->user && cpu->cr4 & CR4_SMEP);
	else
		ok = (!page->user || w->override) &&
		     (w->access != TLB_WRITE || page->writable || !(cpu->cr0 & CR0_WP));
	if (w->access == TLB_FETCH && !page->executable)
		ok = false;
	if (!ok)
		walk_fault(w, FAULT_PRESENT);
}

static bool marks_set(struct walk *w)
{
	for (unsigned i = 0; i < w->levels; i++) {
		uint64_t bits = PTE_ACCESSED;

		if (i + 1 == w->levels && w->access == TLB_WRITE)
			bits |= PTE_DIRTY;
		if (!entry_mark(w, i, bits))
			return false;
	}
	return true;
}

/* Where `linear` is, or a page fault. */
static void translate(struct engine_vcpu *cpu, uint64_t linear, enum tlb_access access,
		      enum tlb_mode mode, struct page *page)
{
	struct walk w = {.cpu = cpu,
			 .linear = linear,
			 .access = access,
			 .user = mode == TLB_USER,
			 .override = mode == TLB_SUPERVISOR_AC || !(cpu->cr4 & CR4_SMAP)};

	do {
		*page = (struct page){.writable = true, .user = true, .executable = true};
		w.levels = 0;
		if (!(cpu->cr0 & CR0_PG)) {
			page->gpa = linear & 0xffffffff;
			page->size = 4096;
			return;
		}
		if (!(cpu->cr4 & CR4_PAE)) {
			walk_2_levels(&w, page);
		} else if (!cpu->long_mode) {
			walk_pae(&w, page);
		} else {
			w.wide = 8;
			walk_9_bits(&w, cpu->cr3 & PTE_ADDRESS, 3, 0, page);
		}
		permissions_check(&w, page);
	} while (!marks_set(&w));
}

/* The TLB. */

static struct tlb_entry *tlb_slot(struct engine_vcpu *cpu, uint64_t linear, enum tlb_access access,
				  enum tlb_mode mode)
{
	return &cpu->tlb.entry[mode][access][(linear >> 12) % TLB_ENTRIES];
}

static bool tlb_hit(const struct engine_vcpu *cpu, const struct tlb_entry *entry, uint64_t linear)
{
	uint64_t page = linear & ~PAGE_MASK;

	return entry->tag == (page | cpu->tlb.context) || entry->tag == (page | TLB_GLOBAL);
}

#define LARGE_SHIFT 21

static void large_note(struct tlb *tlb, uint64_t linear, uint64_t size)
{
	unsigned bit = linear >> LARGE_SHIFT & (LARGE_BITS - 1);

	/* Pages of 4 MiB are two. */
	tlb->large[bit / 64] |=
		(size > 1u << LARGE_SHIFT ? 3ull << (bit & ~1u) % 64 : 1ull << bit % 64);
	tlb->huge |= size > 4u << 20;
}

static bool large_has(const struct tlb *tlb, uint64_t linear)
{
	unsigned bit = linear >> LARGE_SHIFT & (LARGE_BITS - 1);

	return tlb->large[bit / 64] >> bit % 64 & 1;
}

static void large_forget(struct tlb *tlb)
{
	memset(tlb->large, 0, sizeof(tlb->large));
	tlb->huge = false;
}

static void tlb_forget(struct engine_vcpu *cpu, bool global)
{
	struct tlb *tlb = &cpu->tlb;

	if (!global && tlb->context && tlb->context < TLB_CONTEXT) {
		tlb->context++;
		return;
	}
	for (unsigned i = 0; i < TLB_MODES * TLB_ACCESSES * TLB_ENTRIES; i++)
		tlb->entry[i / TLB_ENTRIES / TLB_ACCESSES][i / TLB_ENTRIES % TLB_ACCESSES]
			  [i % TLB_ENTRIES]
				  .tag = TLB_NOTHING;
	tlb->context = 1;
}

/* All entries of 2 MiB around; of all there is, if there are larger pages than 4 MiB. */
static void large_invalidate(struct engine_vcpu *cpu, uint64_t address)
{
	struct tlb *tlb = &cpu->tlb;
	uint64_t low = address >> (LARGE_SHIFT + 1) << (LARGE_SHIFT + 1);
	uint64_t size = 2ull << LARGE_SHIFT;

	if (tlb->huge) {
		low = address >> 30 << 30;
		size = 1ull << 30;
	}
	for (unsigned i = 0; i < TLB_MODES * TLB_ACCESSES * TLB_ENTRIES; i++) {
		struct tlb_entry *e = &tlb->entry[i / TLB_ENTRIES / TLB_ACCESSES]
						 [i / TLB_ENTRIES % TLB_ACCESSES][i % TLB_ENTRIES];

		if (e->tag - low < size)
			e->tag = TLB_NOTHING;
	}
	lookaside_invalidate(cpu, low, size);
}

void tlb_flush(struct engine_vcpu *cpu, bool global)
{
	tlb_forget(cpu, global);
	/* Only here: what is known elsewhere of large pages outlives contexts. */
	if (global)
		large_forget(&cpu->tlb);
	lookaside_flush(cpu, global);
	windows_flush(cpu, global);
}

void tlb_flush_writes(struct engine_vcpu *cpu)
{
	for (unsigned mode = 0; mode < TLB_MODES; mode++)
		for (unsigned i = 0; i < TLB_ENTRIES; i++)
			cpu->tlb.entry[mode][TLB_WRITE][i].tag = TLB_NOTHING;
	lookaside_flush_writes(cpu);
}

/*
 * What a context had of another root goes, and what it has of this one, unless that is kept. The
 * TLB here knows no contexts but one.
 */
void tlb_switch(struct engine_vcpu *cpu, uint64_t cr3, bool keep)
{
	uint64_t root = cr3 & ~PAGE_MASK;
	uint64_t *owner = &cpu->pcid_root[cpu->cr4 & CR4_PCIDE ? cr3 & PAGE_MASK : 0];
	uint64_t stale = *owner;
	/* What is kept by root is not known by context: another one of the same root begins anew.
	 */
	bool again = cpu->cr3 != cr3 && (cpu->cr3 & ~PAGE_MASK) == root;
	bool flush = !keep || stale != root || again;

	*owner = root;
	if (flush || cpu->cr3 != cr3)
		tlb_forget(cpu, false);
	lookaside_switch(cpu, root, flush, stale);
	windows_switch(cpu, root, flush, stale);
}

void tlb_invalidate(struct engine_vcpu *cpu, uint64_t address)
{
	struct tlb *tlb = &cpu->tlb;

	windows_invalidate(cpu, address);
	/* A page of 1 GiB is noted where it was touched only: all of it may be meant. */
	if (large_has(tlb, address) || tlb->huge) {
		large_invalidate(cpu, address);
		return;
	}
	lookaside_invalidate(cpu, address & ~PAGE_MASK, 4096);
	for (unsigned mode = 0; mode < TLB_MODES; mode++)
		for (unsigned access = 0; access < TLB_ACCESSES; access++) {
			struct tlb_entry *e = tlb_slot(cpu, address, access, mode);

			if (tlb_hit(cpu, e, address))
				e->tag = TLB_NOTHING;
		}
}

/* Must each access be seen? */
static bool is_looked_at(const struct engine_vcpu *cpu, uint64_t linear, enum tlb_mode mode)
{
	return (cpu->checks & CHECK_DATA && debug_in_page(cpu, linear)) ||
	       (mode == TLB_USER && alignment_is_on(cpu));
}

/* The host's page of a guest's that was walked to. NULL: no memory. */
static uint8_t *page_memory(struct engine_vcpu *cpu, uint64_t gpa, enum tlb_access access)
{
	struct guest_memory *memory = cpu->vm->config.memory;
	uint8_t *host;

	if (access != TLB_WRITE)
		return (void *)memory_at(memory, gpa & ~PAGE_MASK, 4096);
	host = memory_at_write(memory, gpa & ~PAGE_MASK, 4096);
	if (host)
		dirty_note(cpu->vm, gpa);
	return host;
}

bool linear_walk(struct engine_vcpu *cpu, uint64_t address, enum tlb_access access,
		 struct page *out)
{
	translate(cpu, address, access, cpu->tlb_mode, out);
	return page_memory(cpu, out->gpa, access) && !is_looked_at(cpu, address, cpu->tlb_mode);
}

/* The host page of `linear`, by the TLB or by a walk. NULL: no memory, *gpa says where. */
static uint8_t *page_host(struct engine_vcpu *cpu, uint64_t linear, enum tlb_access access,
			  enum tlb_mode mode, uint64_t *gpa)
{
	struct tlb_entry *entry = tlb_slot(cpu, linear, access, mode);
	struct page page;
	uint8_t *host;

	if (tlb_hit(cpu, entry, linear)) {
		*gpa = entry->gpa | (linear & PAGE_MASK);
		return entry->host;
	}
	translate(cpu, linear, access, mode, &page);
	*gpa = page.gpa;
	host = page_memory(cpu, page.gpa, access);
	if (!host)
		return NULL;
	host = check_view_page(cpu, host);
	if (access != TLB_FETCH && is_looked_at(cpu, linear, mode))
		return host;
	if (page.size > 4096)
		large_note(&cpu->tlb, linear, page.size);
	*entry = (struct tlb_entry){
		.tag = (linear & ~PAGE_MASK) | (page.global ? TLB_GLOBAL : cpu->tlb.context),
		.host = host,
		.gpa = page.gpa & ~PAGE_MASK,
	};
	return host;
}

/* Accesses. */

static bool crosses_page(uint64_t address, unsigned size)
{
	return (address & PAGE_MASK) + size > 4096;
}

/* Outside long mode addresses wrap at 4 GiB. */
static uint64_t next_page(const struct engine_vcpu *cpu, uint64_t address)
{
	uint64_t next = (address & ~PAGE_MASK) + 4096;

	return cpu->long_mode ? next : next & 0xffffffff;
}

/* The local APIC's page belongs to the vCPU; doorbells ring; the rest is on the bus. */

static bool is_lapic(const struct engine_vcpu *cpu, uint64_t gpa)
{
	return cpu->lapic && (gpa & ~PAGE_MASK) == cpu->lapic_page;
}

static uint64_t piece_read(struct engine_vcpu *cpu, uint64_t gpa, unsigned size)
{
	struct world_counts *counts = &cpu->world.counts;

	world_count(is_lapic(cpu, gpa) ? &counts->apic : &counts->mmio, 1);
	if (is_lapic(cpu, gpa))
		return lapic_read(cpu->lapic, gpa & PAGE_MASK, size);
	return bus_read(cpu->vm->config.mmio, gpa, size);
}

static void piece_write(struct engine_vcpu *cpu, uint64_t gpa, unsigned size, uint64_t value)
{
	struct world_counts *counts = &cpu->world.counts;

	if (is_lapic(cpu, gpa)) {
		world_count(&counts->apic, 1);
		lapic_write(cpu->lapic, gpa & PAGE_MASK, size, value);
	} else if (bt_doorbell_ring(cpu->vm, true, gpa, size)) {
		world_count(&counts->doorbells, 1);
	} else {
		world_count(&counts->mmio, 1);
		bus_write(cpu->vm->config.mmio, gpa, size, value);
	}
}

/* As large pieces as the bus takes. */
static unsigned piece_size(unsigned size)
{
	return size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : 1;
}

static void device_read(struct engine_vcpu *cpu, uint64_t gpa, uint8_t *to, unsigned size)
{
	while (size) {
		unsigned n = piece_size(size);

		le_put(to, n, piece_read(cpu, gpa, n));
		to += n;
		gpa += n;
		size -= n;
	}
}

static void device_write(struct engine_vcpu *cpu, uint64_t gpa, const uint8_t *from, unsigned size)
{
	while (size) {
		unsigned n = piece_size(size);

		piece_write(cpu, gpa, n, le_get(from, n));
		from += n;
		gpa += n;
		size -= n;
	}
}

/* Within one page. */
static void page_read(struct engine_vcpu *cpu, uint64_t address, uint8_t *to, unsigned size,
		      enum tlb_mode mode)
{
	uint64_t gpa;
	const uint8_t *host = page_host(cpu, address, TLB_READ, mode, &gpa);

	if (cpu->checks & CHECK_DATA)
		debug_data(cpu, address, size, false);
	if (host)
		guest_copy(to, host + (address & PAGE_MASK), size);
	else
		device_read(cpu, gpa, to, size);
}

/* Within one page, as was found. */
static void part_read(struct engine_vcpu *cpu, const struct span_part *p, uint8_t *to)
{
	if (p->host)
		guest_copy(to, p->host, p->size);
	else
		device_read(cpu, p->gpa, to, p->size);
}

static void part_write(struct engine_vcpu *cpu, const struct span_part *p, const uint8_t *from)
{
	if (p->host)
		guest_copy(p->host, from, p->size);
	else
		device_write(cpu, p->gpa, from, p->size);
}

static void part_find(struct engine_vcpu *cpu, uint64_t address, unsigned size, enum tlb_mode mode,
		      struct span_part *p)
{
	p->size = size;
	p->host = page_host(cpu, address, TLB_WRITE, mode, &p->gpa);
	if (cpu->checks & CHECK_DATA)
		debug_data(cpu, address, size, true);
	if (p->host)
		p->host += address & PAGE_MASK;
}

static void span_find(struct engine_vcpu *cpu, uint64_t address, unsigned size, enum tlb_mode mode,
		      struct span *out)
{
	unsigned first =
		crosses_page(address, size) ? (unsigned)(4096 - (address & PAGE_MASK)) : size;

	assert(size - first <= 4096);
	part_find(cpu, address, first, mode, &out->part[0]);
	out->part[1].size = 0;
	if (first < size)
		part_find(cpu, next_page(cpu, address), size - first, mode, &out->part[1]);
}

void span_for_write(struct engine_vcpu *cpu, uint64_t address, unsigned size, struct span *out)
{
	span_find(cpu, address, size, cpu->tlb_mode, out);
}

void span_read(struct engine_vcpu *cpu, const struct span *span, void *to)
{
	part_read(cpu, &span->part[0], to);
	if (span->part[1].size)
		part_read(cpu, &span->part[1], (uint8_t *)to + span->part[0].size);
}

void span_write(struct engine_vcpu *cpu, const struct span *span, const void *from)
{
	part_write(cpu, &span->part[0], from);
	if (span->part[1].size)
		part_write(cpu, &span->part[1], (const uint8_t *)from + span->part[0].size);
}

static void bytes_read(struct engine_vcpu *cpu, uint64_t address, uint8_t *to, unsigned size,
		       enum tlb_mode mode)
{
	while (crosses_page(address, size)) {
		unsigned n = (unsigned)(4096 - (address & PAGE_MASK));

		page_read(cpu, address, to, n, mode);
		to += n;
		size -= n;
		address = next_page(cpu, address);
	}
	if (size)
		page_read(cpu, address, to, size, mode);
}

/* All pages are written to, or none. */
static void bytes_write(struct engine_vcpu *cpu, uint64_t address, const uint8_t *from,
			unsigned size, enum tlb_mode mode)
{
	struct span span;

	span_find(cpu, address, size, mode, &span);
	span_write(cpu, &span, from);
}

uint8_t *linear_host(struct engine_vcpu *cpu, uint64_t address, unsigned size,
		     enum tlb_access access)
{
	struct tlb_entry *entry = tlb_slot(cpu, address, access, cpu->tlb_mode);
	uint8_t *host;
	uint64_t gpa;

	if (!crosses_page(address, size) && tlb_hit(cpu, entry, address))
		return entry->host + (address & PAGE_MASK);
	if (cpu->checks & CHECK_ALIGNMENT)
		alignment_check(cpu, address, size);
	if (crosses_page(address, size))
		return NULL;
	host = page_host(cpu, address, access, cpu->tlb_mode, &gpa);
	if (host && cpu->checks & CHECK_DATA)
		debug_data(cpu, address, size, access == TLB_WRITE);
	return host ? host + (address & PAGE_MASK) : NULL;
}

uint8_t *linear_page(struct engine_vcpu *cpu, uint64_t address, enum tlb_access access,
		     bool *global)
{
	struct tlb_entry *entry = tlb_slot(cpu, address, access, cpu->tlb_mode);
	uint64_t gpa;

	if (!page_host(cpu, address, access, cpu->tlb_mode, &gpa) || !tlb_hit(cpu, entry, address))
		return NULL;
	*global = (entry->tag & TLB_CONTEXT) == TLB_GLOBAL;
	return entry->host;
}

const uint8_t *linear_fetch(struct engine_vcpu *cpu, uint64_t address, uint64_t *gpa)
{
	/* AC does not count for fetches. */
	enum tlb_mode mode = cpu->cpl == 3 ? TLB_USER : TLB_SUPERVISOR;

	return page_host(cpu, address, TLB_FETCH, mode, gpa);
}

static uint64_t number_read(struct engine_vcpu *cpu, uint64_t address, unsigned size,
			    enum tlb_mode mode)
{
	uint8_t bytes[8] = {0};

	assert(size <= sizeof(bytes));
	bytes_read(cpu, address, bytes, size, mode);
	return le64_get(bytes);
}

uint64_t linear_read(struct engine_vcpu *cpu, uint64_t address, unsigned size)
{
	const uint8_t *host = linear_host(cpu, address, size, TLB_READ);

	return host ? guest_load(host, size) : number_read(cpu, address, size, cpu->tlb_mode);
}

void linear_write(struct engine_vcpu *cpu, uint64_t address, unsigned size, uint64_t value)
{
	uint8_t *host = linear_host(cpu, address, size, TLB_WRITE);
	uint8_t bytes[8];

	if (host) {
		guest_store(host, size, value);
		return;
	}
	le64_put(bytes, value);
	bytes_write(cpu, address, bytes, size, cpu->tlb_mode);
}

/* Tables may lie across the end of 4 GiB, and up to what is no address. */
static uint64_t system_address(struct engine_vcpu *cpu, uint64_t address, unsigned size)
{
	if (!cpu->long_mode)
		return address & 0xffffffff;
	if (!is_canonical(address) || !is_canonical(address + size - 1))
		cpu_fault(cpu, EXCEPTION_GP, 0);
	return address;
}

uint64_t system_read(struct engine_vcpu *cpu, uint64_t address, unsigned size)
{
	return number_read(cpu, system_address(cpu, address, size), size, TLB_SUPERVISOR);
}

void system_write(struct engine_vcpu *cpu, uint64_t address, unsigned size, uint64_t value)
{
	uint8_t bytes[8];

	le64_put(bytes, value);
	bytes_write(cpu, system_address(cpu, address, size), bytes, size, TLB_SUPERVISOR);
}

void linear_read_bytes(struct engine_vcpu *cpu, uint64_t address, void *to, unsigned size)
{
	bytes_read(cpu, address, to, size, cpu->tlb_mode);
}

void linear_write_bytes(struct engine_vcpu *cpu, uint64_t address, const void *from, unsigned size)
{
	bytes_write(cpu, address, from, size, cpu->tlb_mode);
}

void linear_probe_write(struct engine_vcpu *cpu, uint64_t address, unsigned size)
{
	uint64_t gpa;

	if (cpu->checks & CHECK_ALIGNMENT)
		alignment_check(cpu, address, size);
	page_host(cpu, address, TLB_WRITE, cpu->tlb_mode, &gpa);
	if (crosses_page(address, size))
		page_host(cpu, next_page(cpu, address), TLB_WRITE, cpu->tlb_mode, &gpa);
}
