/* SPDX-License-Identifier: MIT */
/*
 * The translator in lock-step with the interpreter (--bt check).
 *
 * Blocks are not linked then and the table of known code stays empty, so each is left by a look-up,
 * and world.c runs one at a time. It begins with an empty soft TLB. Each page that it touches is
 * copied and the copy put there: what a block does to memory nobody sees. Then the vCPU is put
 * back, and the interpreter does the same on memory itself until registers and pages are what the
 * block left. What the interpreter did is what holds; the guest goes on from there.
 *
 * Where that never comes, other vCPUs or devices may have written meanwhile. So the interpreter is
 * asked again, on copies of what the block began with. If it differs there, too, the block was
 * wrong. A new block is held against that anyway: so a store is missed that the block forgot. Both
 * must differ more than once: page tables are copied only where the block touches them, so what
 * somebody else does to them, and an accessed bit that is set in between, are a difference once.
 *
 * While the block runs, walks of page tables read and mark its copies where there are any. What is
 * then in the TLB (mmu.c) is what only the block has done, and the TLB is emptied.
 *
 * This is about what translated code does. If links and the soft TLB forget in time what they
 * should is not seen here.
 */
#include "vmm/bt/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/checked.h"
#include "vmm/base/log.h"
#include "vmm/bt/guest_bytes.h"
#include "vmm/bt/interp.h"
#include "vmm/bt/vcpu.h"

#define PAGE        4096u
#define PAGES_MAX   256u
#define STEPS_MAX   1024u      /* instructions: more than a block has */
#define TURNS_MAX   (1u << 20) /* and of repetitions */
#define REPEATS     4u
#define SEEN_SIZE   65536u /* addresses of blocks */
#define SEEN_NEW    4u     /* a block is new so many times */
#define PTE_MARKS   0x60u  /* accessed, dirty */
#define CODE_SHOWN  64u
#define BYTES_SHOWN 16u

/* What the block and the interpreter may change of a vCPU, but for what serves one step only. */
static const struct range {
	size_t from, to;
} ranges[] = {
#define RANGE(from, to)                                                                            \
	{                                                                                          \
		offsetof(struct engine_vcpu, from), offsetof(struct engine_vcpu, to)               \
	}
	RANGE(gpr, next_rip), RANGE(rflags, tlb),         RANGE(vector, cache),
	RANGE(msr, stepping), RANGE(halted, transaction),
};

/* And what is compared: all of that but padding. */
#define SEGMENT_SIZE (offsetof(struct cpu_segment, unusable) + 1)
static const struct field {
	const char *name;
	size_t offset, size;
} fields[] = {
#define FIELD(name)                                                                                \
	{                                                                                          \
#name, offsetof(struct engine_vcpu, name), sizeof(((struct engine_vcpu *)0)->name) \
	}
#define SEGMENT(name)                                                                              \
	{                                                                                          \
#name, offsetof(struct engine_vcpu, name), SEGMENT_SIZE                            \
	}
	FIELD(gpr[CPU_RAX]),
	FIELD(gpr[CPU_RCX]),
	FIELD(gpr[CPU_RDX]),
	FIELD(gpr[CPU_RBX]),
	FIELD(gpr[CPU_RSP]),
	FIELD(gpr[CPU_RBP]),
	FIELD(gpr[CPU_RSI]),
	FIELD(gpr[CPU_RDI]),
	FIELD(gpr[8]),
	FIELD(gpr[9]),
	FIELD(gpr[10]),
	FIELD(gpr[11]),
	FIELD(gpr[12]),
	FIELD(gpr[13]),
	FIELD(gpr[14]),
	FIELD(gpr[15]),
	FIELD(rip),
	FIELD(rflags),
	FIELD(mode),
	FIELD(stack_size),
	FIELD(cpl),
	FIELD(tlb_mode),
	FIELD(checks),
	FIELD(long_mode),
	SEGMENT(segment[CPU_ES]),
	SEGMENT(segment[CPU_CS]),
	SEGMENT(segment[CPU_SS]),
	SEGMENT(segment[CPU_DS]),
	SEGMENT(segment[CPU_FS]),
	SEGMENT(segment[CPU_GS]),
	SEGMENT(tr),
	SEGMENT(ldt),
	FIELD(gdt.base),
	FIELD(gdt.limit),
	FIELD(idt.base),
	FIELD(idt.limit),
	FIELD(cr0),
	FIELD(cr2),
	FIELD(cr3),
	FIELD(cr4),
	FIELD(cr8),
	FIELD(efer),
	FIELD(pdpte),
	FIELD(db),
	FIELD(dr6),
	FIELD(dr7),
	FIELD(xcr0),
	FIELD(vector.zmm),
	FIELD(vector.k),
	FIELD(vector.mxcsr),
	FIELD(vector.x87_cs),
	FIELD(vector.x87_ds),
	{"vector.x87 (control)", offsetof(struct engine_vcpu, vector.x87), 24},
	{"vector.x87 (registers)", offsetof(struct engine_vcpu, vector.x87) + 32, 128},
	FIELD(msr),
	FIELD(tsc_offset),
	FIELD(tsc_adjust),
	FIELD(debug_pending),
	FIELD(halted),
	FIELD(nmi_masked),
	FIELD(shadow),
};

struct copied_page {
	const uint8_t *host;
	bool writable;           /* the block asked for that */
	uint8_t *before, *block; /* as it was; as the block has it */
	uint8_t *replay;         /* as the interpreter has it that begins with the same */
};

/* Whose memory a walk and the interpreter see. */
enum view { VIEW_MEMORY, VIEW_BLOCK, VIEW_REPLAY };

struct check {
	struct engine_vcpu *before, *block, *after; /* of these, only `ranges` are in use */
	bool alive;                                 /* how the block ended */
	struct fault fault;
	enum view view;
	bool walked; /* a walk saw a copy */
	unsigned page_count;
	struct copied_page page[PAGES_MAX];
	uint8_t *memory;         /* the pages' */
	uint8_t seen[SEEN_SIZE]; /* by a hash of RIP: how often */
	char failure[128];
};

int check_create(struct check **out)
{
	struct check *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->before = aligned_alloc(64, sizeof(*c->before));
	c->block = aligned_alloc(64, sizeof(*c->block));
	c->after = aligned_alloc(64, sizeof(*c->after));
	c->memory = aligned_alloc(PAGE, 3ul * PAGES_MAX * PAGE);
	if (!c->before || !c->block || !c->after || !c->memory) {
		check_destroy(c);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < PAGES_MAX; i++) {
		c->page[i].before = c->memory + 3ul * i * PAGE;
		c->page[i].block = c->page[i].before + PAGE;
		c->page[i].replay = c->page[i].block + PAGE;
	}
	*out = c;
	return 0;
}

void check_destroy(struct check *c)
{
	if (!c)
		return;
	free(c->before);
	free(c->block);
	free(c->after);
	free(c->memory);
	free(c);
}

/* State. */

static bool range_equal(const struct engine_vcpu *a, const struct engine_vcpu *b,
			const struct range *r)
{
	return memcmp((const char *)a + r->from, (const char *)b + r->from, r->to - r->from) == 0;
}

/* Most of it does not change, and what is not written is not in the way. */
static void state_copy(struct engine_vcpu *to, const struct engine_vcpu *from)
{
	for (unsigned i = 0; i < ARRAY_SIZE(ranges); i++)
		if (!range_equal(to, from, &ranges[i]))
			memcpy((char *)to + ranges[i].from, (const char *)from + ranges[i].from,
			       ranges[i].to - ranges[i].from);
}

static bool field_equal(const struct engine_vcpu *a, const struct engine_vcpu *b,
			const struct field *f)
{
	return memcmp((const char *)a + f->offset, (const char *)b + f->offset, f->size) == 0;
}

static bool state_equal(const struct engine_vcpu *a, const struct engine_vcpu *b)
{
	unsigned i = 0;

	while (i < ARRAY_SIZE(ranges) && range_equal(a, b, &ranges[i]))
		i++;
	if (i == ARRAY_SIZE(ranges))
		return true;
	for (i = 0; i < ARRAY_SIZE(fields) && field_equal(a, b, &fields[i]);)
		i++;
	return i == ARRAY_SIZE(fields);
}

static bool fault_equal(const struct fault *a, const struct fault *b)
{
	return a->vector == b->vector && a->error == b->error &&
	       (a->vector != EXCEPTION_PF || a->address == b->address);
}

/* Pages. */

static struct copied_page *page_find(struct check *c, const uint8_t *host)
{
	for (unsigned i = 0; i < c->page_count; i++)
		if (c->page[i].host == host)
			return &c->page[i];
	return NULL;
}

static struct copied_page *page_add(struct check *c, const uint8_t *host)
{
	struct copied_page *p = &c->page[c->page_count];

	if (c->page_count == PAGES_MAX)
		return NULL;
	c->page_count++;
	p->host = host;
	p->writable = false;
	guest_copy(p->before, host, PAGE);
	memcpy(p->block, p->before, PAGE);
	return p;
}

uint8_t *check_page(struct engine_vcpu *cpu, const uint8_t *host, bool write)
{
	struct copied_page *p = page_find(cpu->check, host);

	if (!p)
		p = page_add(cpu->check, host);
	if (!p)
		return NULL;
	p->writable |= write;
	return p->block;
}

void *check_view_entry(struct engine_vcpu *cpu, void *entry)
{
	struct check *c = cpu->check;
	size_t offset = (uintptr_t)entry % PAGE;
	struct copied_page *p;

	if (!c || c->view == VIEW_MEMORY)
		return entry;
	p = page_find(c, (uint8_t *)entry - offset);
	if (!p)
		return entry;
	c->walked = true;
	p->writable = true; /* it may be marked */
	return (c->view == VIEW_BLOCK ? p->block : p->replay) + offset;
}

uint8_t *check_view_page(struct engine_vcpu *cpu, uint8_t *host)
{
	struct check *c = cpu->check;
	struct copied_page *p;

	if (!c || c->view != VIEW_REPLAY)
		return host;
	p = page_find(c, host);
	if (!p) {
		p = page_add(c, host);
		if (!p)
			return host; /* it comes to nothing: the block could not have had it */
		memcpy(p->replay, p->before, PAGE);
	}
	return p->replay;
}

/*
 * Are they the same but for accessed and dirty bits? A block may have looked up what it then leaves
 * to the interpreter.
 */
static bool tables_equal(const uint8_t *a, const uint8_t *b)
{
	uint8_t x[PAGE], y[PAGE];

	guest_copy(x, a, PAGE);
	guest_copy(y, b, PAGE);
	for (unsigned i = 0; i < PAGE; i += 4) {
		x[i] |= PTE_MARKS;
		y[i] |= PTE_MARKS;
	}
	return memcmp(x, y, PAGE) == 0;
}

static bool page_equal(const struct check *c, const struct copied_page *p)
{
	const uint8_t *other = c->view == VIEW_MEMORY ? p->host : p->replay;

	/* Written to without leave? */
	if (c->view == VIEW_REPLAY && !p->writable && memcmp(p->block, p->before, PAGE) != 0)
		return false;
	return guest_equal(other, p->block, PAGE) || (c->walked && tables_equal(other, p->block));
}

/* The two. */

/* The block, on its copies, from where `before` is. */
static void block_run(struct engine_vcpu *cpu, bool (*run)(struct engine_vcpu *cpu))
{
	struct check *c = cpu->check;

	c->page_count = 0;
	c->walked = false;
	lookaside_flush(cpu, true);
	c->view = VIEW_BLOCK;
	c->alive = run(cpu);
	c->view = VIEW_MEMORY;
	c->fault = cpu->fault;
	state_copy(c->block, cpu);
	state_copy(cpu, c->before);
	/* It may have loaded CR3 and the like. */
	if (c->walked || c->block->cr3 != cpu->cr3 || c->block->cr0 != cpu->cr0 ||
	    c->block->cr4 != cpu->cr4)
		tlb_flush(cpu, true);
}

/* Is the vCPU where the block was left? */
static bool is_there(struct engine_vcpu *cpu)
{
	const struct check *c = cpu->check;

	if (cpu->rip != c->block->rip || !state_equal(cpu, c->block))
		return false;
	for (unsigned i = 0; i < c->page_count; i++)
		if (!page_equal(c, &c->page[i]))
			return false;
	return true;
}

/*
 * Interpret until the vCPU is where the block was left, and faults if that did. False: it never
 * was; it is somewhere behind. *alive is as of interp_run. `first`: only until RIP is as it should.
 */
static bool follow(struct engine_vcpu *cpu, bool first, bool *alive)
{
	const struct check *c = cpu->check;
	unsigned steps = 0;

	*alive = true;
	for (unsigned turns = 0; turns < TURNS_MAX && steps < STEPS_MAX; turns++) {
		uint64_t rip = cpu->rip;
		bool there = is_there(cpu);

		if (there && c->alive)
			return true;
		if ((first && turns && rip == c->block->rip) || cpu->halted || cpu->debug_pending)
			return false;
		*alive = interp_step(cpu);
		if (!*alive)
			return there && !c->alive && fault_equal(&cpu->fault, &c->fault);
		steps += cpu->rip != rip;
	}
	return false;
}

/* As follow, on copies of what the block began with. */
static bool replay(struct engine_vcpu *cpu, bool first, bool *alive)
{
	struct check *c = cpu->check;
	bool found;

	for (unsigned i = 0; i < c->page_count; i++)
		memcpy(c->page[i].replay, c->page[i].before, PAGE);
	state_copy(cpu, c->before);
	tlb_flush(cpu, true);
	c->view = VIEW_REPLAY;
	found = follow(cpu, first, alive);
	tlb_flush(cpu, true);
	return found;
}

/* Reports. */

static void report_bytes(const char *what, const uint8_t *bytes, size_t size)
{
	char text[2 * CODE_SHOWN + 1] = "";

	for (size_t i = 0; i < size && i < CODE_SHOWN; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	log_error("bt: check: %s %s", what, text);
}

static void report_field(const struct check *c, const struct engine_vcpu *cpu,
			 const struct field *f)
{
	const struct engine_vcpu *from[] = {c->before, c->block, cpu};
	static const char *const what[] = {"before", "translated", "interpreted"};
	size_t size = f->size < 64 ? f->size : 64, at = 0;

	/* Of long ones, where the difference is. */
	while (at + size < f->size && memcmp((const char *)c->block + f->offset + at,
					     (const char *)cpu + f->offset + at, size) == 0)
		at += size;
	if (at + size > f->size)
		size = f->size - at;
	for (unsigned i = 0; i < ARRAY_SIZE(from); i++) {
		const uint8_t *bytes = (const uint8_t *)from[i] + f->offset + at;
		char name[80];
		uint64_t value = 0;

		snprintf(name, sizeof(name), "%s+%zu %s:", f->name, at, what[i]);
		if (f->size <= 8) {
			memcpy(&value, bytes, size);
			log_error("bt: check: %s %" PRIx64, name, value);
		} else {
			report_bytes(name, bytes, size);
		}
	}
}

static uint64_t gpa_of(const struct engine_vcpu *cpu, const uint8_t *host)
{
	const struct guest_memory *m = cpu->vm->config.memory;

	for (unsigned i = 0; i < m->count; i++)
		if (host >= m->range[i].host && host < m->range[i].host + m->range[i].size)
			return m->range[i].base + (uint64_t)(host - m->range[i].host);
	return ~0ull;
}

static void report_page(const struct engine_vcpu *cpu, const struct copied_page *p)
{
	unsigned shown = 0;

	for (unsigned i = 0; i < PAGE && shown < BYTES_SHOWN; i++)
		if (p->replay[i] != p->block[i]) {
			log_error("bt: check: memory at %" PRIx64
				  ": before %02x, translated %02x, interpreted %02x",
				  gpa_of(cpu, p->host) + i, p->before[i], p->block[i],
				  p->replay[i]);
			shown++;
		}
}

static void report_code(struct engine_vcpu *cpu)
{
	uint64_t rip = cpu->check->before->rip, gpa;
	unsigned left = PAGE - rip % PAGE;
	const uint8_t *page;

	if (sigsetjmp(cpu->escape, 0))
		return;
	page = linear_fetch(cpu, rip, &gpa);
	if (page)
		report_bytes("code:", page + rip % PAGE, left < CODE_SHOWN ? left : CODE_SHOWN);
}

/* The interpreter's way is gone again, up to where the block was left. */
static void report(struct engine_vcpu *cpu)
{
	struct check *c = cpu->check;
	bool alive;

	replay(cpu, true, &alive);
	snprintf(c->failure, sizeof(c->failure), "translated code at %" PRIx64, c->before->rip);
	log_error("bt: check: %s, left at %" PRIx64 " (interpreted: %" PRIx64 ")", c->failure,
		  c->block->rip, cpu->rip);
	report_code(cpu);
	for (unsigned i = 0; i < ARRAY_SIZE(fields); i++)
		if (!field_equal(cpu, c->block, &fields[i]))
			report_field(c, cpu, &fields[i]);
	for (unsigned i = 0; i < c->page_count; i++)
		if (!page_equal(c, &c->page[i]))
			report_page(cpu, &c->page[i]);
	if (!c->alive)
		log_error("bt: check: translated: exception %u, error %x, address %" PRIx64,
			  c->fault.vector, (unsigned)c->fault.error, c->fault.address);
	if (!alive)
		log_error("bt: check: interpreted: exception %u, error %x, address %" PRIx64,
			  cpu->fault.vector, (unsigned)cpu->fault.error, cpu->fault.address);
}

int check_failed(const struct engine_vcpu *cpu, struct error *err)
{
	if (!cpu->check || !cpu->check->failure[0])
		return 0;
	return error_set(err, -EIO, "run it with --bt interp, and report the lines above",
			 "engine bt: %s does not do what the interpreter does",
			 cpu->check->failure);
}

static bool is_new(struct check *c)
{
	uint64_t rip = c->before->rip;
	uint8_t *seen = &c->seen[(rip ^ rip >> 16) % SEEN_SIZE];

	return *seen < SEEN_NEW && (*seen)++ < SEEN_NEW;
}

/* The interpreter on copies, and behind it all is as before. */
static void judge(struct engine_vcpu *cpu, bool (*run)(struct engine_vcpu *cpu))
{
	struct check *c = cpu->check;
	struct fault fault = cpu->fault;
	bool found = false, alive;

	state_copy(c->after, cpu);
	for (unsigned i = 0; i < REPEATS && !found; i++) {
		if (i) { /* its TLB is empty, as the interpreter's is going to be */
			state_copy(cpu, c->before);
			block_run(cpu, run);
		}
		found = replay(cpu, false, &alive);
	}
	if (!found) {
		report(cpu);
		bt_vcpu_kick(cpu);
	}
	c->view = VIEW_MEMORY;
	tlb_flush(cpu, true);
	state_copy(cpu, c->after);
	cpu->fault = fault;
}

bool check_run(struct engine_vcpu *cpu, bool (*run)(struct engine_vcpu *cpu))
{
	struct check *c = cpu->check;
	bool alive, found;
	uint64_t reason;

	state_copy(c->before, cpu);
	block_run(cpu, run);
	reason = cpu->world.exit_reason;
	found = follow(cpu, false, &alive);
	if (!found || is_new(c))
		judge(cpu, run);
	/* If they did not meet, the interpreter went on where it would. */
	cpu->world.exit_reason = found ? reason : WORLD_ATTENTION;
	return alive;
}
