/* SPDX-License-Identifier: MIT */
/* Into translated code and out of it. See world.h; translate.c has the theory. */
#include "vmm/bt/world.h"

#include <asm/prctl.h>
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "vmm/bt/interp.h"
#include "vmm/bt/translate.h"
#include "vmm/bt/vcpu.h"
#include "vmm/core/vcpu.h"

#define SIGNAL_STACK 65536u
#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

/* Flags that translated code has in the host's register. */
#define FLAGS_CARRIED ((uint64_t)(RFLAGS_ARITHMETIC | RFLAGS_DF))

/* The negated page number of a page in the upper half has this bit clear. */
#define TAG_LOW_HALF(tag) (-(tag) >> 51 == 0)

int world_create(struct engine_vcpu *cpu)
{
	struct world *w = &cpu->world;

	w->vectors_away = 1;
	w->host_mxcsr = 0x1f80;
	w->page_mask = ~4095ull;
	w->jump_mask = JUMP_ENTRIES - 1;
	w->signal_stack = malloc(SIGNAL_STACK);
	for (unsigned i = 0; i < 2; i++)
		w->jump[i].entry = calloc(JUMP_ENTRIES, sizeof(*w->jumps));
	for (unsigned i = 0; i < 6; i++)
		w->tlb[i / 2][i % 2] = calloc(1, sizeof(struct fast_tlb));
	for (unsigned i = 0; i < 6; i++)
		if (!w->jump[i / 3].entry || !w->signal_stack || !w->tlb[i / 2][i % 2])
			return -ENOMEM;
	for (unsigned i = 0; i < 6; i++)
		w->tlb[i / 2][i % 2]->tag[0] = 1;       /* a sum of zero would be page 0 */
	for (unsigned i = 0; i < 2 * JUMP_ENTRIES; i++) /* the negated address of no code */
		w->jump[i % 2].entry[i / 2].tag = 1;
	return 0;
}

/* Of this thread, on which nothing else runs translated code. */
static _Thread_local struct engine_vcpu *in_world;

/*
 * Handlers run on a stack of their own, as RSP is the guest's. Disarmed meanwhile: else a guest
 * whose RSP is in that stack would have the next frame there, over the first. We do not come back,
 * if the handler leaves by siglongjmp: so it is armed again at once.
 */
static void signal_stack_arm(struct engine_vcpu *cpu)
{
	stack_t stack = {.ss_sp = cpu->world.signal_stack,
			 .ss_size = SIGNAL_STACK,
			 .ss_flags = (int)SS_AUTODISARM};

	sigaltstack(&stack, NULL);
}

bool world_fault(void *context)
{
	ucontext_t *uc = context;
	greg_t *g = uc->uc_mcontext.gregs;
	uint64_t rip;

	if (!in_world)
		return false;
	if (!code_cache_has(in_world->vm->code, (const uint8_t *)g[REG_RIP], &rip) || !rip) {
		signal_stack_arm(in_world);
		return false;
	}
	in_world->world.exit_rip = rip;
	g[REG_RIP] = (greg_t)in_world->vm->world_code.fault;
	return true;
}

void world_thread_end(struct engine_vcpu *cpu)
{
	in_world = NULL;
	sigaltstack(&cpu->world.thread_stack, NULL);
}

void world_thread_begin(struct engine_vcpu *cpu)
{
	sigset_t set;

	in_world = cpu;
	sigaltstack(NULL, &cpu->world.thread_stack);
	syscall(SYS_arch_prctl, ARCH_SET_GS, cpu);
	signal_stack_arm(cpu);
	/* Only what translated code raises itself may come. */
	sigemptyset(&set);
	sigaddset(&set, VCPU_KICK_SIGNAL);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

void world_destroy(struct engine_vcpu *cpu)
{
	struct world *w = &cpu->world;

	for (unsigned i = 0; i < 6; i++)
		free(w->tlb[i / 2][i % 2]);
	free(w->jump[0].entry);
	free(w->jump[1].entry);
	free(w->signal_stack);
}

/* The soft TLB. */

static void fast_drop(struct fast_tlb *t, unsigned index)
{
	t->tag[index] = index == 0;
}

static bool is_empty(const struct fast_tlb *t, unsigned index)
{
	return t->tag[index] == (index == 0);
}

static void fast_clear(struct fast_tlb *t, bool global)
{
	unsigned kept = 0;

	if (t->filled > FAST_LOG) {
		memset(t->tag, 0, sizeof(t->tag));
		t->tag[0] = 1;
		t->filled = 0;
	}
	for (unsigned i = 0; i < t->filled; i++) {
		unsigned index = t->log[i];

		if (!global && !t->private_high && !is_empty(t, index) &&
		    !TAG_LOW_HALF(t->tag[index]))
			t->log[kept++] = (uint16_t)index;
		else
			fast_drop(t, index);
	}
	t->filled = kept;
	t->private_high = false;
}

static void fast_fill(struct fast_tlb *t, uint64_t linear, const uint8_t *host, bool global)
{
	unsigned index = linear >> 12 & (FAST_ENTRIES - 1);
	uint64_t page = linear & ~4095ull;

	if (is_empty(t, index)) {
		if (t->filled < FAST_LOG)
			t->log[t->filled] = (uint16_t)index;
		t->filled++;
	}
	t->tag[index] = -(linear >> 12);
	t->addend[index] = (uint64_t)(uintptr_t)host - page;
	t->private_high |= !global && linear >> 63;
}

static void jumps_clear(struct world *w, uint64_t low, uint64_t high)
{
	for (unsigned mode = 0; mode < 2; mode++) {
		struct jump_table *t = &w->jump[mode];
		unsigned kept = 0;

		for (unsigned i = 0; i < t->count; i++) {
			struct jump_entry *j = &t->entry[t->log[i]];
			uint64_t rip = -j->tag;

			if (rip < low || rip > high)
				t->log[kept++] = t->log[i];
			else
				j->tag = 1;
		}
		t->count = kept;
	}
}

/* Those of all address spaces, or all but those that are global: they are in the upper half. */
static void jumps_flush(struct world *w, bool global)
{
	bool all = global || w->jump_private_high;

	jumps_clear(w, 0, all ? ~0ull : ~0ull >> 1);
	w->jump_private_high &= !all;
}

static void jump_fill(struct engine_vcpu *cpu, const uint8_t *code)
{
	struct jump_table *t = &cpu->world.jump[cpu->cpl == 3];
	unsigned index = cpu->rip & (JUMP_ENTRIES - 1);
	struct jump_entry *j = &t->entry[index];
	bool global;

	if (j->tag == 1)
		t->log[t->count++] = (uint16_t)index;
	*j = (struct jump_entry){.tag = -cpu->rip, .code = code};
	if (cpu->rip >> 63 && !(linear_page(cpu, cpu->rip, TLB_FETCH, &global) && global))
		cpu->world.jump_private_high = true;
}

void world_flush(struct engine_vcpu *cpu, bool global)
{
	struct world *w = &cpu->world;

	if (!w->jump[1].entry)
		return;
	for (unsigned i = 0; i < 6; i++)
		fast_clear(w->tlb[i / 2][i % 2], global);
	jumps_flush(w, global);
}

void world_invalidate(struct engine_vcpu *cpu, uint64_t linear)
{
	struct world *w = &cpu->world;
	unsigned index = linear >> 12 & (FAST_ENTRIES - 1);

	if (!w->jump[1].entry)
		return;
	/* It stays in the log: to clear it twice does no harm. */
	for (unsigned i = 0; i < 6; i++) {
		struct fast_tlb *t = w->tlb[i / 2][i % 2];

		if (t->tag[index] == -(linear >> 12))
			fast_drop(t, index);
	}
	jumps_clear(w, linear & ~4095ull, linear | 4095);
}

/* Writes to code. */

/* From here on the soft TLBs are in use; what others wanted forgotten is. */
static void guest_begin(struct engine_vcpu *cpu)
{
	atomic_store(&cpu->in_guest, true);
	if (atomic_exchange(&cpu->flush_pending, false))
		tlb_flush(cpu, true);
}

/*
 * A page becomes one of code: whoever writes to it comes by world_memory_writing from now on. No
 * vCPU may have it in a soft TLB, so all empty theirs, and we wait: what they wrote until then is
 * there to be translated. Without the cache's lock, which they may be waiting for.
 */
static void code_protect(struct engine_vcpu *cpu, uint64_t gpa)
{
	struct engine_vm *vm = cpu->vm;

	atomic_store(&cpu->in_guest, false);
	pthread_mutex_lock(&vm->code->claim_lock);
	code_cache_claim(vm->code, gpa);
	for (unsigned i = 0; i < vm->config.vcpus; i++) {
		struct engine_vcpu *other = vm->vcpu[i];

		if (!other)
			continue;
		atomic_store(&other->flush_pending, true);
		if (other == cpu)
			continue;
		bt_vcpu_wake(other);
		while (atomic_load(&other->in_guest) && atomic_load(&other->flush_pending))
			sched_yield();
	}
	code_cache_settle(vm->code, gpa);
	pthread_mutex_unlock(&vm->code->claim_lock);
	guest_begin(cpu);
}

void world_memory_writing(void *arg, uint64_t gpa, uint64_t length)
{
	struct engine_vm *vm = arg;
	uint64_t end = gpa + length;

	for (uint64_t page = gpa & ~4095ull; page < end; page += 4096) {
		if (!code_cache_is_code(vm->code, page))
			continue;
		pthread_mutex_lock(&vm->code->lock);
		code_cache_invalidate(vm->code, page);
		pthread_mutex_unlock(&vm->code->lock);
		for (unsigned i = 0; i < vm->config.vcpus; i++)
			if (vm->vcpu[i])
				atomic_store(&vm->vcpu[i]->code_changed, true);
	}
}

/* Blocks. */

/* The block at RIP, translated if need be. NULL: exit_reason says why. */
static const uint8_t *block_code(struct engine_vcpu *cpu)
{
	struct code_cache *c = cpu->vm->code;
	struct world *w = &cpu->world;
	struct block *b;
	uint64_t gpa;
	const uint8_t *page;

	/* No address, or code in a device's memory. */
	w->exit_reason = WORLD_INTERPRET;
	page = is_canonical(cpu->rip) ? linear_fetch(cpu, cpu->rip, &gpa) : NULL;
	if (!page)
		return NULL;
	if (!code_cache_is_settled(c, gpa)) {
		code_protect(cpu, gpa);
		page = linear_fetch(cpu, cpu->rip, &gpa);
	}
	pthread_mutex_lock(&c->lock);
	b = code_cache_find(c, gpa, cpu->rip);
	/* Written to again already: later. */
	if (!b && code_cache_is_settled(c, gpa)) {
		b = translate_block(c, &cpu->vm->world_code, page, gpa, cpu->rip);
		if (!b)
			w->exit_reason = WORLD_LOOKUP;
	}
	if (b && w->exit_link)
		code_cache_link(c, w->exit_link, b);
	pthread_mutex_unlock(&c->lock);
	if (!b)
		return NULL;
	jump_fill(cpu, b->code);
	return b->code;
}

/*
 * Who waits for vm->in_code is not in the guest: who holds it may be waiting for that in
 * code_protect.
 */
static void code_lock(struct engine_vcpu *cpu)
{
	struct engine_vm *vm = cpu->vm;

	if (pthread_rwlock_tryrdlock(&vm->in_code) == 0)
		return;
	atomic_store(&cpu->in_guest, false);
	pthread_rwlock_rdlock(&vm->in_code);
	guest_begin(cpu);
}

/* The cache is full: all leave it, it starts anew, unless another one was faster. */
static void cache_renew(struct engine_vcpu *cpu)
{
	struct engine_vm *vm = cpu->vm;

	atomic_store(&cpu->in_guest, false);
	for (unsigned i = 0; i < vm->config.vcpus; i++)
		if (vm->vcpu[i])
			bt_vcpu_wake(vm->vcpu[i]);
	pthread_rwlock_wrlock(&vm->in_code);
	if (cpu->world.emptied == vm->code->emptied)
		code_cache_empty(vm->code);
	pthread_rwlock_unlock(&vm->in_code);
	guest_begin(cpu);
}

/* An access that found nothing in the soft TLB. False: it is not for memory that can be there. */
static bool fill(struct engine_vcpu *cpu)
{
	struct world *w = &cpu->world;
	bool write = w->fill_what & FILL_WRITE, global;
	unsigned size = w->fill_what & (FILL_WRITE - 1);
	const uint8_t *host;

	if ((w->fill_address & 4095) + size > 4096 || !is_canonical(w->fill_address))
		return false;
	host = linear_page(cpu, w->fill_address, write ? TLB_WRITE : TLB_READ, &global);
	if (!host)
		return false;
	fast_fill(w->tlb[cpu->tlb_mode][write], w->fill_address, host, global);
	return true;
}

/* Neither #UD nor #NM can come of them. */
static bool vectors_usable(const struct engine_vcpu *cpu)
{
	const uint32_t wanted = XCR0_SSE | XCR0_AVX;

	return !(cpu->cr0 & (CR0_EM | CR0_TS)) && cpu->cr4 & CR4_OSFXSR && cpu->cr4 & CR4_OSXSAVE &&
	       (cpu->xcr0 & wanted) == wanted;
}

static void enter(struct engine_vcpu *cpu, const uint8_t *code)
{
	struct world *w = &cpu->world;
	/* In the middle of a block it has them already. */
	bool vectors = w->vectors_live && code == w->resume;
	void (*run)(void);

	w->vectors_live = 0;
	w->vectors_unusable = !vectors_usable(cpu);
	w->exit_link = NULL;
	w->target = code;
	w->fast[0] = w->tlb[cpu->tlb_mode][0];
	w->fast[1] = w->tlb[cpu->tlb_mode][1];
	w->jumps = w->jump[cpu->cpl == 3].entry;
	w->host_flags = (cpu->rflags & FLAGS_CARRIED) | RFLAGS_IF | RFLAGS_ONE;
	memcpy(&run, vectors ? &cpu->vm->world_code.enter_vectors : &cpu->vm->world_code.enter,
	       sizeof(run));
	run();
	cpu->rflags = (cpu->rflags & ~FLAGS_CARRIED) | (w->host_flags & FLAGS_CARRIED);
	cpu->rip = w->exit_rip;
}

/* What translated code does not know about. */
static bool is_translatable(const struct engine_vcpu *cpu)
{
	return cpu->mode == DECODE_64 && !cpu->checks && !cpu->shadow && !cpu->waiting &&
	       !(cpu->rflags & (RFLAGS_TF | RFLAGS_RF));
}

/* The way out of a fault outside of the interpreter. */
static bool run_code(struct engine_vcpu *cpu)
{
	const uint8_t *code;

	if (sigsetjmp(cpu->escape, 0))
		return false;
	code = block_code(cpu);
	while (code && !atomic_load(&cpu->attention)) {
		if (atomic_exchange(&cpu->code_changed, false))
			jumps_clear(&cpu->world, 0, ~0ull);
		enter(cpu, code);
		/* A block that is about to write to itself ends there. */
		if (cpu->world.exit_reason == WORLD_LOOKUP)
			code = block_code(cpu);
		else if (cpu->world.exit_reason == WORLD_FILL && fill(cpu) &&
			 !atomic_load(&cpu->code_changed))
			code = cpu->world.resume;
		else
			code = NULL;
	}
	return true;
}

bool world_run(struct engine_vcpu *cpu)
{
	struct engine_vm *vm = cpu->vm;
	bool alive = true;

	guest_begin(cpu);
	while (alive && !cpu->halted && !cpu->debug_pending && !atomic_load(&cpu->attention)) {
		if (!is_translatable(cpu)) {
			alive = interp_run(cpu, 64);
			break;
		}
		code_lock(cpu);
		if (cpu->world.emptied != vm->code->emptied) {
			jumps_clear(&cpu->world, 0, ~0ull);
			cpu->world.emptied = vm->code->emptied;
		}
		cpu->world.exit_reason = WORLD_INTERPRET;
		cpu->world.exit_link = NULL;
		alive = run_code(cpu);
		pthread_rwlock_unlock(&vm->in_code);
		if (alive && cpu->world.exit_reason == WORLD_LOOKUP)
			cache_renew(cpu);
		else if (alive && cpu->world.exit_reason != WORLD_ATTENTION)
			alive = interp_run(cpu, 1);
	}
	atomic_store(&cpu->in_guest, false);
	return alive;
}
