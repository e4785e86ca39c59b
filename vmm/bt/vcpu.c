/* SPDX-License-Identifier: MIT */
/*
 * A vCPU's life on its thread: instructions in batches, and between them whatever is pending:
 * kicks, INIT and SIPI, timers, interrupts. Other threads set a flag and `attention`, which ends a
 * batch, and wake a thread that sleeps in HLT.
 */
#include "vmm/bt/vcpu.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "devices/i8254.h"
#include "devices/i8259.h"
#include "devices/ioapic.h"
#include "devices/lapic.h"
#include "vmm/base/clock.h"
#include "vmm/bt/check.h"
#include "vmm/bt/interp.h"
#include "vmm/bt/native.h"
#include "vmm/bt/state.h"
#include "vmm/bt/system.h"

/* Instructions between two looks at the clock, about a tenth of a millisecond. */
#define BATCH          10000u
#define VCPU_ALIGNMENT _Alignof(struct engine_vcpu)

void bt_vcpu_wake(struct engine_vcpu *cpu)
{
	pthread_mutex_lock(&cpu->wait_lock);
	atomic_store(&cpu->attention, true);
	pthread_cond_signal(&cpu->wait_changed);
	pthread_mutex_unlock(&cpu->wait_lock);
}

void bt_vcpu_kick(struct engine_vcpu *cpu)
{
	atomic_store(&cpu->kicked, true);
	bt_vcpu_wake(cpu);
}

/* What the local APIC has for us. */

static void on_wake(void *arg)
{
	bt_vcpu_wake(arg);
}

static void on_nmi(void *arg)
{
	struct engine_vcpu *cpu = arg;

	atomic_store(&cpu->nmi_pending, true);
	bt_vcpu_wake(cpu);
}

static void on_init(void *arg)
{
	struct engine_vcpu *cpu = arg;

	/* A SIPI from before is void; one that follows may come before we have seen to this. */
	atomic_store(&cpu->sipi_vector, -1);
	atomic_store(&cpu->init_pending, true);
	bt_vcpu_wake(cpu);
}

static void on_sipi(void *arg, uint8_t vector)
{
	struct engine_vcpu *cpu = arg;

	atomic_store(&cpu->sipi_vector, vector);
	bt_vcpu_wake(cpu);
}

static void on_eoi(void *arg, uint8_t vector)
{
	struct engine_vcpu *cpu = arg;

	ioapic_eoi(cpu->vm->ioapic, vector);
}

static uint64_t on_tsc(void *arg)
{
	return cpu_tsc(arg);
}

static uint32_t on_tsc_khz(void *arg)
{
	struct engine_vcpu *cpu = arg;

	return cpu->vm->tsc_khz;
}

static const struct lapic_ops lapic_ops = {
	.wake = on_wake,
	.nmi = on_nmi,
	.init = on_init,
	.sipi = on_sipi,
	.eoi = on_eoi,
	.changed = on_wake,
	.tsc = on_tsc,
	.tsc_khz = on_tsc_khz,
};

/* INIT, and what follows it: SDM vol. 3, 10.4. */

static void take_init(struct engine_vcpu *cpu)
{
	bool bsp = cpu->index == 0;
	struct vector_state vector = cpu->vector;
	uint64_t offset = cpu->tsc_offset, xcr0 = cpu->xcr0;

	bt_state_reset(cpu);
	/* What INIT leaves alone. */
	cpu->vector = vector;
	cpu->tsc_offset = offset;
	cpu->xcr0 = xcr0;
	lapic_init(cpu->lapic);
	cpu_lapic_moved(cpu);
	cpu->activity = bsp ? CPU_RUNNING : CPU_WAIT_FOR_SIPI;
}

static void take_sipi(struct engine_vcpu *cpu, int vector)
{
	if (cpu->activity != CPU_WAIT_FOR_SIPI)
		return;
	cpu->segment[CPU_CS].selector = (uint16_t)(vector << 8);
	cpu->segment[CPU_CS].base = (uint64_t)vector << 12;
	cpu->rip = 0;
	cpu->activity = CPU_RUNNING;
}

static bool vector_waits(struct engine_vcpu *cpu)
{
	return lapic_pending(cpu->lapic) >= 0 || lapic_extint(cpu->lapic);
}

/* -1: there was none after all. */
static int vector_take(struct engine_vcpu *cpu)
{
	if (lapic_pending(cpu->lapic) >= 0)
		return lapic_acknowledge(cpu->lapic);
	if (!lapic_extint(cpu->lapic))
		return -1;
	lapic_extint_acknowledge(cpu->lapic);
	return i8259_acknowledge(cpu->vm->pic);
}

/* The first that may be taken. False: a triple fault. */
static bool take_interrupt(struct engine_vcpu *cpu)
{
	int vector;

	if (cpu->shadow)
		return true;
	if (!cpu->nmi_masked && atomic_exchange(&cpu->nmi_pending, false)) {
		cpu->nmi_masked = true;
		return interp_deliver(cpu, EXCEPTION_NMI, INTERRUPT_HARDWARE, NO_ERROR_CODE);
	}
	if (!(cpu->rflags & RFLAGS_IF))
		return true;
	vector = vector_take(cpu);
	return vector < 0 ||
	       interp_deliver(cpu, (unsigned)vector, INTERRUPT_HARDWARE, NO_ERROR_CODE);
}

/*
 * What cannot be taken yet ends the batch as soon as it can: it may be for a moment only, as
 * between STI, NOP and CLI. What comes meanwhile calls for attention.
 */
static bool take_interrupts(struct engine_vcpu *cpu)
{
	bool alive = take_interrupt(cpu);

	cpu->waiting = (vector_waits(cpu) ? WAITING_VECTOR : 0) |
		       (atomic_load(&cpu->nmi_pending) ? WAITING_NMI : 0);
	return alive;
}

/* Is there something that ends a HLT? */
static bool has_event(struct engine_vcpu *cpu)
{
	if (atomic_load(&cpu->nmi_pending) && !cpu->nmi_masked)
		return true;
	return cpu->rflags & RFLAGS_IF && vector_waits(cpu);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return !a ? b : !b ? a : a < b ? a : b;
}

/* The first vCPU sees to the timer that is nobody's. */
static uint64_t next_deadline(struct engine_vcpu *cpu)
{
	uint64_t deadline = lapic_deadline(cpu->lapic);

	return cpu->index == 0 ? earlier(deadline, i8254_deadline(cpu->vm->pit)) : deadline;
}

static void run_timers(struct engine_vcpu *cpu)
{
	uint64_t at = lapic_deadline(cpu->lapic);

	/* The clock is read behind the deadline, which may be "now". */
	if (at && at <= clock_monotonic_ns())
		lapic_tick(cpu->lapic);
	if (cpu->index)
		return;
	at = i8254_deadline(cpu->vm->pit);
	if (at && at <= clock_monotonic_ns())
		i8254_tick(cpu->vm->pit);
}

/* Until attention is called for, or the next timer. */
static void sleep_until_woken(struct engine_vcpu *cpu)
{
	uint64_t deadline = next_deadline(cpu);
	struct timespec until = {.tv_sec = (time_t)(deadline / CLOCK_NS_PER_S),
				 .tv_nsec = (long)(deadline % CLOCK_NS_PER_S)};
	int ret = 0;

	pthread_mutex_lock(&cpu->wait_lock);
	while (!atomic_load(&cpu->attention) && ret != ETIMEDOUT)
		ret = deadline ? pthread_cond_timedwait(&cpu->wait_changed, &cpu->wait_lock, &until)
			       : pthread_cond_wait(&cpu->wait_changed, &cpu->wait_lock);
	pthread_mutex_unlock(&cpu->wait_lock);
}

void bt_vcpu_take_requests(struct engine_vcpu *cpu)
{
	int vector;

	if (atomic_exchange(&cpu->init_pending, false))
		take_init(cpu);
	vector = atomic_exchange(&cpu->sipi_vector, -1);
	if (vector >= 0)
		take_sipi(cpu, vector);
}

/* One batch. False: a triple fault. */
static bool run_batch(struct engine_vcpu *cpu)
{
	bool alive = true;

	if (!cpu->vm->code)
		alive = interp_run(cpu, BATCH) || interp_deliver_fault(cpu);
	/* A fault is no reason to look at timers. */
	while (cpu->vm->code && alive && !world_run(cpu))
		alive = interp_deliver_fault(cpu);
	/* A load of SS keeps its own breakpoint, too, for behind the next instruction. */
	if (cpu->debug_pending && cpu->shadow == CPU_SHADOW_MOV_SS) {
		uint32_t held = cpu->debug_pending;

		cpu->debug_pending = 0;
		if (interp_run(cpu, 1))
			cpu->debug_pending |= held;
		else
			alive = interp_deliver_fault(cpu);
	}
	if (alive && cpu->debug_pending)
		alive = interp_deliver_debug(cpu);
	return alive;
}

/* The thread's signals: faults of stubs come to us (native.h). */
static void signals_unblock(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGFPE);
	sigaddset(&set, SIGILL);
	sigaddset(&set, SIGSEGV);
	sigaddset(&set, SIGBUS);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static enum vcpu_exit run(struct engine_vcpu *cpu)
{
	bool alive;

	for (;;) {
		atomic_store(&cpu->attention, false);
		if (atomic_exchange(&cpu->kicked, false))
			return VCPU_EXIT_KICKED;
		bt_vcpu_take_requests(cpu);
		run_timers(cpu);
		if (cpu->activity != CPU_RUNNING) {
			sleep_until_woken(cpu);
			continue;
		}
		if (cpu->halted && !has_event(cpu)) {
			sleep_until_woken(cpu);
			continue;
		}
		cpu->halted = false;
		if (cpu->vm->code)
			bt_timer_set(cpu, next_deadline(cpu));
		world_begin(cpu);
		alive = take_interrupts(cpu) && run_batch(cpu);
		world_end(cpu);
		if (!alive)
			return VCPU_EXIT_SHUTDOWN;
	}
}

enum vcpu_exit bt_vcpu_run(struct engine_vcpu *cpu, struct error *err)
{
	enum vcpu_exit why;

	signals_unblock();
	if (cpu->vm->code)
		world_thread_begin(cpu);
	why = run(cpu);
	if (cpu->vm->code)
		world_thread_end(cpu);
	return check_failed(cpu, err) ? VCPU_EXIT_FAILED : why;
}

static void *align_up(void *at, size_t alignment)
{
	return (char *)at + (-(uintptr_t)at & (alignment - 1));
}

int bt_vcpu_create(struct engine_vm *vm, unsigned index, const struct cpuid_table *cpuid,
		   struct engine_vcpu **out, struct error *err)
{
	struct lapic_config config = {
		.ops = &lapic_ops, .id = index, .bsp = index == 0, .virtual_wire = index == 0};
	/* Not aligned_alloc: of large tables little is touched, and these are zeros already. */
	void *room = calloc(1, sizeof(struct engine_vcpu) + VCPU_ALIGNMENT - 1);
	struct engine_vcpu *cpu;
	pthread_condattr_t attributes;
	int ret;

	if (!room)
		return error_set(err, -ENOMEM, NULL, "vCPU: out of memory");
	cpu = align_up(room, VCPU_ALIGNMENT);
	cpu->room = room;
	cpu->vm = vm;
	cpu->index = index;
	cpu->own_cpuid = *cpuid;
	bt_cpuid_own(&cpu->own_cpuid);
	cpu_model_place(&cpu->own_cpuid, index, vm->config.vcpus);
	cpu->cpuid = &cpu->own_cpuid;
	atomic_store(&cpu->sipi_vector, -1);
	pthread_mutex_init(&cpu->wait_lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&cpu->wait_changed, &attributes);
	pthread_condattr_destroy(&attributes);
	config.arg = cpu;
	windows_table_init(cpu);
	ret = native_create(&cpu->native);
	if (ret == 0 && vm->code)
		ret = world_create(cpu);
	if (ret == 0 && vm->code)
		ret = bt_timer_create(cpu);
	if (ret == 0 && vm->code && vm->config.translation == TRANSLATION_CHECKED)
		ret = check_create(&cpu->check);
	if (ret == 0)
		ret = lapic_create(vm->apics, &config, &cpu->lapic);
	if (ret) {
		bt_vcpu_destroy(cpu);
		return error_set(err, ret, NULL, "vCPU %u: %s", index, error_name(ret));
	}
	bt_state_reset(cpu);
	cpu_lapic_moved(cpu);
	cpu->activity = index ? CPU_WAIT_FOR_INIT : CPU_RUNNING;
	vm->vcpu[index] = cpu;
	*out = cpu;
	return 0;
}

void bt_vcpu_destroy(struct engine_vcpu *cpu)
{
	if (!cpu)
		return;
	lapic_destroy(cpu->lapic);
	native_destroy(cpu->native);
	world_destroy(cpu);
	check_destroy(cpu->check);
	if (cpu->timer_fd > 0)
		close(cpu->timer_fd);
	pthread_cond_destroy(&cpu->wait_changed);
	pthread_mutex_destroy(&cpu->wait_lock);
	free(cpu->room);
}
