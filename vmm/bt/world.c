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

#include "vmm/base/clock.h"
#include "vmm/bt/check.h"
#include "vmm/bt/guest_bytes.h"
#include "vmm/bt/interp.h"
#include "vmm/bt/native.h"
#include "vmm/bt/system.h"
#include "vmm/bt/translate.h"
#include "vmm/bt/vcpu.h"
#include "vmm/core/vcpu.h"

#define SIGNAL_STACK 65536u
#define INTERPRETED  10000u /* instructions at a time, of what is not translated at all */
#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

/* Flags that translated code has in the host's register. */
#define FLAGS_CARRIED ((uint64_t)(RFLAGS_ARITHMETIC | RFLAGS_DF))

int world_create(struct engine_vcpu *cpu)
{
	struct world *w = &cpu->world;

	atomic_store(&w->retired, IN_NO_CODE);
	w->vectors_away = w->x87_away = 1;
	w->host_mxcsr = 0x1f80;
	w->page_mask = ~4095ull;
	w->not_if = ~(uint64_t)RFLAGS_IF;
	w->not_ac = ~(uint64_t)RFLAGS_AC;
	w->carried = FLAGS_CARRIED;
	w->not_carried = ~FLAGS_CARRIED;
	cpu->vm->world_code.has_smap = cpu_has(cpu, 7, CPUID_EBX, 20);
	w->sign_mask = ~0ull << 47;
	w->mixed_mask = 0x1fffe;
	w->signal_stack = malloc(SIGNAL_STACK);
	return w->signal_stack ? lookaside_create(&w->lookaside) : -ENOMEM;
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

/* Blocks are invalid: nobody is to find them in a jump table any more. */
static void code_changed(struct engine_vm *vm)
{
	for (unsigned i = 0; i < vm->config.vcpus; i++)
		/* Our own will look before it goes on. */
		if (vm->vcpu[i] && !atomic_exchange(&vm->vcpu[i]->code_changed, true) &&
		    vm->vcpu[i] != in_world && atomic_load(&vm->vcpu[i]->in_guest))
			bt_vcpu_wake(vm->vcpu[i]);
}

/* Registers in the order of their numbers. */
static const uint8_t places[CPU_GPRS] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
					 REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
					 REG_R12, REG_R13, REG_R14, REG_R15};

/* A window's page is missing: is it there now? The access is done anew, with the distance. */
static bool window_fault(struct engine_vcpu *cpu, const struct fault_point *point, greg_t *g)
{
	uint64_t linear = (uint64_t)(int64_t)point->displacement, distance;
	enum window_fill done;

	if (point->base != INSN_NO_REGISTER)
		linear += (uint64_t)g[places[point->base]];
	done = windows_fill(cpu, linear, point->size, point->write, &distance);
	world_count(&cpu->world.counts.window_faults, 1);
	if (done == WINDOW_FAULT)
		cpu->world.missed = (struct world_missed){.rip = point->rip,
							  .linear = linear,
							  .size = point->size,
							  .write = point->write};
	if (code_cache_suspect(cpu->vm->code, (const uint8_t *)g[REG_RIP], done != WINDOW_REFUSED))
		code_changed(cpu->vm);
	if (done != WINDOW_FILLED || atomic_load(&cpu->code_changed))
		return false;
	g[REG_R11] = (greg_t)distance;
	return true;
}

/* A pointer of a string instruction's that is off by *distance: as window_fault. */
static enum window_fill string_fill(struct engine_vcpu *cpu, const struct fault_point *point,
				    greg_t *pointer, uint64_t *distance, bool write)
{
	uint64_t linear = (uint64_t)*pointer - *distance, now;
	enum window_fill done = windows_fill(cpu, linear, point->size, write, &now);

	*distance = now;
	linear += now;
	*pointer = (greg_t)linear;
	return done;
}

static bool string_fault(struct engine_vcpu *cpu, const struct fault_point *point, greg_t *g)
{
	struct world *w = &cpu->world;
	enum window_fill source = WINDOW_FAULT, target;
	bool good, refused;

	if (point->string & STRING_SOURCE)
		source = string_fill(cpu, point, &g[REG_RSI], &w->string_source, false);
	target = string_fill(cpu, point, &g[REG_RDI], &w->string_target,
			     point->string & STRING_WRITES);
	refused = source == WINDOW_REFUSED || target == WINDOW_REFUSED;
	good = !refused && (source == WINDOW_FILLED || target == WINDOW_FILLED);
	world_count(&w->counts.window_faults, 1);
	if (code_cache_suspect(cpu->vm->code, (const uint8_t *)g[REG_RIP], !refused))
		code_changed(cpu->vm);
	if (good && !atomic_load(&cpu->code_changed) && !atomic_load(&cpu->attention))
		return true;
	if (point->string & STRING_SOURCE)
		g[REG_RSI] -= (greg_t)w->string_source;
	g[REG_RDI] -= (greg_t)w->string_target;
	g[REG_R10] = g[REG_RCX];
	return false;
}

/*
 * A host that is a guest of PVM's cannot return to a program whose RSP is no address, as a guest's
 * may be, not even from an interrupt: the program has #GP or #UD where it should go on. So it is
 * returned to with another one, and goes on by a jump.
 */
static void rsp_return(struct engine_vcpu *cpu, greg_t *g)
{
	struct world *w = &cpu->world;
	const uint8_t *back = cpu->vm->world_code.back, *rip = (const uint8_t *)g[REG_RIP];

	if (is_canonical((uint64_t)g[REG_RSP]))
		return;
	/* Ahead of the jump itself it is done again. */
	if (rip < back || rip >= cpu->vm->world_code.back_end)
		w->back_rip = rip;
	w->back_rsp = (uint64_t)g[REG_RSP];
	g[REG_RSP] = 0;
	g[REG_RIP] = (greg_t)back;
}

bool world_fault(int signal, void *context)
{
	const struct fault_point *point;
	ucontext_t *uc = context;
	greg_t *g = uc->uc_mcontext.gregs;
	bool memory = signal == SIGSEGV || signal == SIGBUS, ours;

	if (!in_world)
		return false;
	ours = code_cache_has(in_world->vm->code, (const uint8_t *)g[REG_RIP], &point);
	if (ours && !point)
		ours = !is_canonical((uint64_t)g[REG_RSP]);
	if (!ours) {
		signal_stack_arm(in_world);
		return false;
	}
	if (point && !(point->string ? string_fault(in_world, point, g)
				     : memory && point->size && window_fault(in_world, point, g))) {
		in_world->world.exit_rip = point->rip;
		g[REG_RIP] = (greg_t)in_world->vm->world_code.fault;
	}
	rsp_return(in_world, g);
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

	lookaside_destroy(&w->lookaside);
	free(w->signal_stack);
}

/* Writes to code. */

void world_begin(struct engine_vcpu *cpu)
{
	atomic_store(&cpu->in_guest, true);
	if (atomic_exchange(&cpu->flush_pending, false))
		tlb_flush(cpu, true);
	if (atomic_exchange(&cpu->writes_pending, false))
		tlb_flush_writes(cpu);
}

/*
 * A page becomes one of code: whoever writes to it comes by world_memory_writing from now on. No
 * vCPU may know that it may write there, so all forget where they may, and we wait: what they wrote
 * until then is there to be translated. Without the cache's lock, which they may be waiting for.
 */
static void code_protect(struct engine_vcpu *cpu, uint64_t gpa)
{
	struct engine_vm *vm = cpu->vm;

	atomic_store(&cpu->in_guest, false);
	pthread_mutex_lock(&vm->code->claim_lock);
	code_cache_claim(vm->code, gpa);
	windows_protect(vm->windows, gpa);
	for (unsigned i = 0; i < vm->config.vcpus; i++) {
		struct engine_vcpu *other = vm->vcpu[i];

		if (!other)
			continue;
		atomic_store(&other->writes_pending, true);
		if (other == cpu)
			continue;
		bt_vcpu_wake(other);
		while (atomic_load(&other->in_guest) && atomic_load(&other->writes_pending))
			sched_yield();
	}
	code_cache_settle(vm->code, gpa);
	pthread_mutex_unlock(&vm->code->claim_lock);
	world_begin(cpu);
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
		code_changed(vm);
	}
}

/* Blocks. */

/* The block at RIP, translated if need be. NULL: exit_reason says why. */
/* A page of code, which everybody tells of writes to. NULL: it is a device's, or none. */
static const uint8_t *page_of_code(struct engine_vcpu *cpu, uint64_t rip, uint64_t *gpa)
{
	const uint8_t *page = is_canonical(rip) ? linear_fetch(cpu, rip, gpa) : NULL;

	if (page && !code_cache_is_settled(cpu->vm->code, *gpa)) {
		code_protect(cpu, *gpa);
		page = linear_fetch(cpu, rip, gpa);
	}
	return page;
}

/* Does the instruction at RIP go on in the next page? */
static bool is_across(const struct engine_vcpu *cpu, const uint8_t *page)
{
	unsigned offset = cpu->rip & 4095, left = 4096 - offset;
	uint8_t bytes[INSN_LENGTH_MAX];

	if (left >= INSN_LENGTH_MAX)
		return false;
	guest_copy(bytes, page + offset, left);
	return translate_is_across(bytes, left);
}

static const uint8_t *block_code(struct engine_vcpu *cpu)
{
	struct code_cache *c = cpu->vm->code;
	struct world *w = &cpu->world;
	struct block *b, wanted = {.rip = cpu->rip, .user = cpu->cpl == 3};
	const uint8_t *page, *second = NULL;
	uint64_t gpa;

	/* The interpreter knows what comes of code in a device's memory, or where nothing can be.
	 */
	w->exit_reason = WORLD_INTERPRET;
	page = page_of_code(cpu, cpu->rip, &gpa);
	if (!page)
		return NULL;
	if (is_across(cpu, page)) {
		second = page_of_code(cpu, (cpu->rip | 4095) + 1, &wanted.second);
		if (!second || !wanted.second)
			return NULL;
	}
	world_count(&w->counts.lookups, 1);
	pthread_mutex_lock(&c->lock);
	wanted.gpa = gpa;
	if (atomic_exchange(&cpu->sampled, false) && code_cache_heat(c, gpa))
		code_changed(cpu->vm);
	b = code_cache_find(c, &wanted);
	/* Written to again already: later. */
	if (!b && code_cache_is_settled(c, gpa) &&
	    (!second || code_cache_is_settled(c, wanted.second))) {
		uint64_t begin = clock_monotonic_ns();

		b = translate_block(c, &cpu->vm->world_code, page, second, &wanted,
				    cpu->vm->windows && code_cache_is_hot(c, gpa, cpu->rip));
		world_count(&w->counts.blocks, 1);
		world_count(&w->counts.translate_ns, clock_monotonic_ns() - begin);
		if (!b) {
			w->exit_reason = WORLD_LOOKUP;
			w->full = c->filling;
		}
	}
	if (code_cache_retire(c))
		code_changed(cpu->vm);
	/* The link's own block may be retired. */
	if (b && w->exit_link && !cpu->check && !atomic_load(&cpu->code_changed))
		code_cache_link(c, w->exit_link, b);
	pthread_mutex_unlock(&c->lock);
	if (!b)
		return NULL;
	if (!cpu->check)
		lookaside_add_code(cpu, b->code, second);
	return b->code;
}

/* Others have told that code is invalid, or retired. */
static void code_forget(struct engine_vcpu *cpu)
{
	uint64_t retired = atomic_load(&cpu->vm->code->retired);

	atomic_store(&cpu->code_changed, false);
	lookaside_forget_code(cpu);
	cpu->world.exit_link = NULL;
	cpu->world.forgotten = retired;
	atomic_store(&cpu->world.retired, retired);
}

/* From here on blocks that were found may be run; those that were retired until now are not. */
static void code_begin(struct engine_vcpu *cpu)
{
	struct world *w = &cpu->world;
	uint64_t retired = atomic_load(&cpu->vm->code->retired);

	/* Whoever waits for it sees that we are here, or we see that something was retired. */
	atomic_store(&w->retired, retired);
	/* A part is retired a little before all are told. */
	if (retired != w->forgotten || atomic_load(&cpu->code_changed))
		code_forget(cpu);
}

static void code_end(struct engine_vcpu *cpu)
{
	atomic_store(&cpu->world.retired, IN_NO_CODE);
}

/* A part of the code cache is full, and the next one, retired long ago as a rule, is filled. */
static void cache_advance(struct engine_vcpu *cpu)
{
	struct engine_vm *vm = cpu->vm;
	struct code_cache *c = vm->code;
	uint64_t retired;

	atomic_store(&cpu->in_guest, false);
	pthread_mutex_lock(&c->lock);
	retired = code_cache_next_retired(c, cpu->world.full);
	if (retired)
		code_changed(vm);
	pthread_mutex_unlock(&c->lock);
	for (unsigned i = 0; i < vm->config.vcpus; i++) {
		struct engine_vcpu *other = vm->vcpu[i];

		if (!other || other == cpu)
			continue;
		bt_vcpu_wake(other);
		while (atomic_load(&other->world.retired) < retired)
			sched_yield();
	}
	pthread_mutex_lock(&c->lock);
	code_cache_advance(c, cpu->world.full);
	pthread_mutex_unlock(&c->lock);
	world_begin(cpu);
}

/* An access that found nothing in the soft TLB. False: it is not for memory that can be there. */
static bool fill(struct engine_vcpu *cpu)
{
	struct world *w = &cpu->world;
	bool write = w->fill_what & FILL_WRITE, global;
	unsigned size = w->fill_what & (FILL_WRITE - 1);
	const uint8_t *host;

	/* One access lies in two pages, or is a fault of another kind. */
	if ((w->fill_address & 4095) + size > 4096 || !is_canonical(w->fill_address))
		return false;
	host = linear_page(cpu, w->fill_address, write ? TLB_WRITE : TLB_READ, &global);
	/*
	 * The page was one of code, and the rest of this block may be what is about to be written.
	 */
	if (write && atomic_load(&cpu->code_changed))
		return false;
	if (host && cpu->check)
		host = check_page(cpu, host, write);
	if (!host)
		return false;
	world_count(&w->counts.fills, 1);
	lookaside_fill(cpu, w->fill_address, write, host, global);
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
	/* In the middle of a block; behind an instruction of the interpreter's it asks again. */
	bool middle = code == w->resume && w->exit_reason == WORLD_FILL;
	void (*run)(void);

	w->vectors_back = w->vectors_live && middle;
	w->x87_back = w->x87_live && middle;
	w->vectors_live = w->x87_live = 0;
	w->vectors_unusable = !vectors_usable(cpu);
	w->x87_unusable = cpu->cr0 & (CR0_EM | CR0_TS);
	w->exit_link = NULL;
	w->branch_rip = 0;
	w->target = code;
	w->fast[0] = w->lookaside.tlb[cpu->tlb_mode][0];
	w->fast[1] = w->lookaside.tlb[cpu->tlb_mode][1];
	w->jumps = w->lookaside.jump[cpu->cpl == 3]->way;
	w->host_flags = (cpu->rflags & FLAGS_CARRIED) | RFLAGS_IF | RFLAGS_ONE;
	memcpy(&run, &cpu->vm->world_code.enter, sizeof(run));
	run();
	cpu->rflags = (cpu->rflags & ~FLAGS_CARRIED) | (w->host_flags & FLAGS_CARRIED);
	cpu->rip = w->exit_rip;
	/* A branch to what is no address has done nothing yet when it faults. */
	if (w->branch_rip && !is_canonical(cpu->rip)) {
		cpu->rip = w->branch_rip;
		cpu->gpr[CPU_RSP] += w->branch_undo;
		w->exit_reason = WORLD_INTERPRET;
	}
}

/* What translated code does not know about. */
static bool is_translatable(const struct engine_vcpu *cpu)
{
	return cpu->mode == DECODE_64 && !cpu->checks && !cpu->shadow && cpu->cpl % 3 == 0 &&
	       !(cpu->rflags & (RFLAGS_TF | RFLAGS_RF));
}

static void missed_fill(struct engine_vcpu *cpu)
{
	struct world_missed *m = &cpu->world.missed;
	uint64_t distance;

	windows_fill(cpu, m->linear, m->size, m->write, &distance);
	m->size = 0;
}

/* The same, if it was run here before: no lock is needed. */
static const uint8_t *block_known(struct engine_vcpu *cpu)
{
	const uint8_t *code = lookaside_code(cpu);

	if (cpu->world.missed.size && cpu->rip == cpu->world.missed.rip)
		missed_fill(cpu);
	if (code && !atomic_load(&cpu->code_changed) && !atomic_load(&cpu->sampled))
		return code;
	return block_code(cpu);
}

/* In check mode one is all. */
static const uint8_t *next_block(struct engine_vcpu *cpu)
{
	if (!cpu->check)
		return block_code(cpu);
	cpu->world.exit_reason = WORLD_ATTENTION;
	return NULL;
}

/* An interrupt may be taken, or something else is to be looked at before code goes on. */
static bool must_stop(const struct engine_vcpu *cpu)
{
	return atomic_load(&cpu->attention) || cpu->halted || cpu->debug_pending ||
	       (cpu->waiting && interp_window_opens(cpu));
}

/* exit_insn; then the code where it goes on, or NULL. */
static const uint8_t *instruction(struct engine_vcpu *cpu)
{
	struct world *w = &cpu->world;
	const struct insn *insn = w->exit_insn;
	uint64_t behind = cpu->rip + insn->length, cleared = w->lookaside.cleared;
	uint8_t cpl = cpu->cpl;

	interp_one(cpu, insn);
	w->exit_reason = WORLD_ATTENTION;
	if (!is_translatable(cpu) || must_stop(cpu))
		return NULL;
	if (atomic_load(&cpu->code_changed))
		code_forget(cpu);
	else if (w->resume && cpu->rip == behind && cpu->cpl == cpl &&
		 w->lookaside.cleared == cleared)
		return w->resume;
	w->exit_link = NULL;
	return block_known(cpu);
}

/*
 * A fill that faults may be of a vector that should be aligned, or of x87 with an exception of its
 * own that waits. Those are other faults, and come first: the interpreter knows.
 */
static bool leaves_fault(struct engine_vcpu *cpu)
{
	struct world *w = &cpu->world;
	unsigned size = w->fill_what & (FILL_WRITE - 1);
	bool unaligned = size >= 16 && w->fill_address & (size - 1);
	bool waits = cpu->vector.x87[X87_AT_STATUS] & X87_SUMMARY;

	if (w->exit_reason != WORLD_FILL || (!unaligned && !waits))
		return false;
	w->exit_reason = WORLD_INTERPRET;
	return true;
}

/*
 * Code that was sampled was on its way from a branch, whose page has run as well: it may be of a
 * function that has no loop of its own, and is never where a sample goes on.
 */
static void sample_branch(struct engine_vcpu *cpu)
{
	struct code_cache *c = cpu->vm->code;
	sigjmp_buf escape;
	uint64_t gpa;

	memcpy(&escape, &cpu->escape, sizeof(escape));
	/* It may be gone meanwhile, which is no fault of the guest's. */
	if (!sigsetjmp(cpu->escape, 0) && linear_fetch(cpu, cpu->world.branch_rip, &gpa)) {
		pthread_mutex_lock(&c->lock);
		if (code_cache_heat(c, gpa))
			code_changed(cpu->vm);
		pthread_mutex_unlock(&c->lock);
	}
	memcpy(&cpu->escape, &escape, sizeof(escape));
}

/* The way out of a fault outside of the interpreter. */
static bool run_code(struct engine_vcpu *cpu)
{
	const uint8_t *code;

	if (sigsetjmp(cpu->escape, 0))
		return leaves_fault(cpu);
	code = block_known(cpu);
	while (code && !atomic_load(&cpu->attention)) {
		/* What was found may be among it; in check mode one is all, and not looked up
		 * again. */
		if (atomic_load(&cpu->code_changed) && !cpu->check) {
			code_forget(cpu);
			code = block_code(cpu);
			continue;
		}
		if (cpu->check)
			atomic_store(&cpu->code_changed, false);
		enter(cpu, code);
		if (cpu->world.branch_rip && atomic_load(&cpu->sampled))
			sample_branch(cpu);
		/* A block that is about to write to itself ends there. */
		if (cpu->world.exit_reason == WORLD_LOOKUP)
			code = next_block(cpu);
		else if (cpu->world.exit_reason == WORLD_INSN)
			code = instruction(cpu);
		else if (cpu->world.exit_reason == WORLD_FILL && fill(cpu) &&
			 !atomic_load(&cpu->code_changed))
			code = cpu->world.resume;
		else
			code = NULL;
	}
	return true;
}

/* What runs now is asked for attention; what its thread then looks up was running. */
bool world_sample(struct engine_vm *vm)
{
	bool any = false;

	for (unsigned i = 0; i < vm->config.vcpus; i++) {
		struct engine_vcpu *cpu = vm->vcpu[i];

		if (!cpu || !atomic_load(&cpu->in_guest))
			continue;
		any = true;
		atomic_store(&cpu->sampled, true);
		bt_vcpu_wake(cpu);
	}
	return any;
}

bool world_run(struct engine_vcpu *cpu)
{
	struct engine_vm *vm = cpu->vm;
	bool alive = true;

	bt_sampling_start(vm);
	while (alive && !must_stop(cpu)) {
		if (!is_translatable(cpu)) {
			/* A shadow is one instruction's, and so is RF; other modes last. */
			alive = interp_run(cpu, cpu->mode == DECODE_64 ? 1 : INTERPRETED);
			break;
		}
		code_begin(cpu);
		cpu->world.exit_reason = WORLD_INTERPRET;
		cpu->world.exit_link = NULL;
		alive = cpu->check ? check_run(cpu, run_code) : run_code(cpu);
		code_end(cpu);
		if (alive && cpu->world.exit_reason == WORLD_LOOKUP)
			cache_advance(cpu);
		else if (alive && cpu->world.exit_reason != WORLD_ATTENTION)
			alive = interp_run(cpu, 1);
	}
	return alive;
}

void world_end(struct engine_vcpu *cpu)
{
	atomic_store(&cpu->in_guest, false);
}
