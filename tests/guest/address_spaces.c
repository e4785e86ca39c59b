/* SPDX-License-Identifier: MIT */
/*
 * Many address spaces, with and without PCIDs: pages that are other ones in each, and become others
 * at any time, in the present space or not; what is loaded, stored and run must be the page that
 * the tables name, if what the manuals ask for was done since they changed (AMD64 vol. 2, 5.5; SDM
 * vol. 3, 5.10).
 */
#include "vmm/workload/guest.h"

#define P 1ull
#define W 2ull
#define G 0x100ull

#define CR4_PGE   (1ull << 7)
#define CR4_PCIDE (1ull << 17)
#define NOFLUSH   (1ull << 63)

#define SPACES 40u
#define PAGES  8u  /* of a space: half of them in the upper half, the last of each half global */
#define FRAMES 16u /* that they are in */

static uint64_t roots[SPACES][512] __attribute__((aligned(4096)));
static uint64_t tables[SPACES][2][512] __attribute__((aligned(4096)));
static uint64_t leaves[SPACES][512] __attribute__((aligned(4096)));
static uint8_t frames[FRAMES][4096] __attribute__((aligned(4096)));

static unsigned holds[SPACES][PAGES]; /* the frame; FRAMES: none */
static bool stale[SPACES];            /* it must be flushed with the switch to it */
static unsigned present;
static bool has_invpcid, pcids;

static uint32_t seed = 1;

static uint32_t any(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % below;
}

static bool is_global(unsigned page)
{
	return page % 4 == 3;
}

/* Both halves have the same tables, the upper one its pages further on in them. */
static uint64_t place(unsigned page)
{
	return page < 4 ? 0x7f0000000000ull + 4096 * page : 0xffff900000100000 + 4096 * (page - 4);
}

static uint32_t cpuid(uint32_t leaf, unsigned reg)
{
	uint32_t r[4] = {leaf};

	__asm__ volatile("cpuid" : "+a"(r[0]), "=b"(r[1]), "+c"(r[2]), "=d"(r[3]));
	return r[reg];
}

static void invpcid(uint64_t type, uint64_t pcid, uint64_t at)
{
	struct {
		uint64_t pcid, address;
	} what = {pcid, at};

	__asm__ volatile("invpcid %0, %1" : : "m"(what), "r"(type) : "memory");
}

static uint64_t *entry(unsigned space, unsigned page)
{
	return &leaves[space][place(page) >> 12 & 511];
}

static void spaces_make(void)
{
	for (unsigned s = 0; s < SPACES; s++) {
		for (unsigned i = 0; i < 512; i++)
			roots[s][i] = table4[i];
		for (unsigned page = 0; page < PAGES; page += 4) {
			uint64_t at = place(page);

			roots[s][at >> 39 & 511] = (uint64_t)tables[s][0] | 7;
			tables[s][0][at >> 30 & 511] = (uint64_t)tables[s][1] | 7;
			tables[s][1][at >> 21 & 511] = (uint64_t)leaves[s] | 7;
		}
	}
}

static void set(unsigned space, unsigned page, unsigned frame)
{
	holds[space][page] = frame;
	*(volatile uint64_t *)entry(space, page) =
		frame == FRAMES ? 0 : (uint64_t)frames[frame] | P | W | (is_global(page) ? G : 0);
}

static uint64_t context(unsigned space)
{
	return pcids ? 100 + space : 0;
}

static void change_global(unsigned page)
{
	unsigned frame = any(FRAMES + 1);

	for (unsigned s = 0; s < SPACES; s++)
		set(s, page, frame);
	if (any(3)) {
		invlpg(place(page));
	} else if (has_invpcid && any(2)) {
		invpcid(2, 0, 0);
	} else {
		cr4_set(cr4_get() ^ CR4_PGE);
		cr4_set(cr4_get() ^ CR4_PGE);
	}
}

static void flush_present(unsigned page)
{
	switch (any(4)) {
	case 0:
		cr3_set((uint64_t)roots[present] | context(present));
		break;
	case 1:
		if (has_invpcid) {
			invpcid(any(2), context(present), place(page));
			break;
		}
		__attribute__((fallthrough));
	default:
		invlpg(place(page));
		break;
	}
}

static void change(unsigned space, unsigned page)
{
	set(space, page, any(FRAMES + 1));
	if (space == present)
		flush_present(page);
	else if (pcids && has_invpcid && any(2))
		invpcid(any(4), context(space), place(page));
	else
		stale[space] = true;
}

static void switch_to(unsigned space)
{
	uint64_t keep = pcids && !stale[space] && any(4) ? NOFLUSH : 0;

	cr3_set((uint64_t)roots[space] | context(space) | keep);
	stale[space] = false;
	present = space;
}

static void load(void *at)
{
	(void)*(volatile uint64_t *)at;
}

static void use(unsigned page)
{
	unsigned frame = holds[present][page];
	uint64_t at = place(page);
	static uint64_t count;

	if (frame == FRAMES) {
		trap_catch(load, (void *)(at + 8));
		CHECK_TRAP(14, 0);
		CHECK(trap_seen.cr2, at + 8);
		return;
	}
	switch (any(3)) {
	case 0:
		CHECK(*(volatile uint64_t *)(at + 8), frame);
		break;
	case 1:
		*(volatile uint64_t *)(at + 16) = ++count;
		CHECK(((volatile uint64_t *)(uint64_t)frames[frame])[2], count);
		break;
	default:
		/* Each page at an offset of its own: known code is found by low bits. */
		CHECK(((uint64_t(*)(void))(at + 0x100 + 0x40 * page))(), frame);
		break;
	}
}

static void anything(unsigned rounds)
{
	for (unsigned s = 0; s < SPACES; s++)
		for (unsigned page = 0; page < PAGES; page++)
			set(s, page, is_global(page) ? page : (s + page) % FRAMES);
	for (unsigned i = 0; i < SPACES; i++)
		stale[i] = true;
	switch_to(0);
	cr4_set(cr4_get() ^ CR4_PGE);
	cr4_set(cr4_get() | CR4_PGE);
	for (unsigned i = 0; i < rounds; i++) {
		unsigned page = any(PAGES);

		if (any(4) == 0)
			switch_to(any(any(2) ? SPACES : 4));
		if (any(8) == 0) {
			if (is_global(page))
				change_global(page);
			else
				change(any(2) ? present : any(SPACES), page);
		}
		for (unsigned k = 0; k < 4; k++)
			use(any(PAGES));
	}
}

void guest_main(void)
{
	uint64_t mine;

	guest_setup();
	mine = cr3_get();
	has_invpcid = cpuid(7, 1) & 1u << 10;
	spaces_make();
	for (unsigned i = 0; i < FRAMES; i++) {
		*(uint64_t *)(uint64_t)(frames[i] + 8) = i;
		for (unsigned page = 0; page < PAGES; page++) /* mov $i, %eax; ret */
			*(uint64_t *)(uint64_t)(frames[i] + 0x100 + 0x40 * page) =
				0xb8 | (uint64_t)i << 8 | 0xc3ull << 40;
	}
	anything(emulated ? 2000 : 20000);
	if (cpuid(1, 2) & 1u << 17) {
		cr3_set(mine);
		cr4_set(cr4_get() | CR4_PCIDE);
		pcids = true;
		anything(emulated ? 2000 : 20000);
		cr3_set(mine);
		cr4_set(cr4_get() & ~CR4_PCIDE);
	}
	cr3_set(mine);
	guest_end();
}
