/* SPDX-License-Identifier: MIT */
/*
 * The translator in lock-step with the interpreter, on a guest that is hostile in all it has. It is
 * in 64-bit mode when it begins. An input is
 *
 *	options	bit 3: level 3; bit 4: a fault is not delivered, the next byte of code follows;
 *		bit 6: interrupts come
 *	place	of the code, 16 bits: from BT_GUEST_CODE, below 0x4000
 *	N	bits 4 to 0: general registers that change: a number and a value
 *	N	bits 3 to 0: changes to memory: an offset of 24 bits, a length, bytes
 *	code	the rest
 *
 * No block does what the interpreter does not, and none kills us.
 */
#include <signal.h>
#include <time.h>

#include "tests/fuzz/bt_guest.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/bt/bt.h"
#include "vmm/bt/check.h"
#include "vmm/bt/interp.h"

#define DELIVERIES 100u
#define TIME_NS    3000000l /* that a guest may loop */

static struct bt_guest *guest;
static _Atomic bool expired;

static void on_time(int signal)
{
	(void)signal;
	atomic_store(&expired, true);
	atomic_store(&guest->cpu->attention, true);
}

/* Translated code has no stack for a signal: bt's has. */
static timer_t timer_make(void)
{
	struct sigaction action = {.sa_handler = on_time, .sa_flags = SA_ONSTACK | SA_RESTART};
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
	timer_t timer;

	FUZZ_CHECK(sigaction(SIGUSR2, &action, NULL) == 0);
	FUZZ_CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
	return timer;
}

/* What is behind a batch. False: the guest is at an end. */
static bool events(struct engine_vcpu *cpu, bool ok, unsigned options, unsigned turn)
{
	bool alive = true;

	if (!ok && options & 0x10)
		cpu->rip++;
	else if (!ok)
		alive = interp_deliver_fault(cpu);
	else if (cpu->debug_pending)
		alive = interp_deliver_debug(cpu);
	if (alive && options & 0x40 && turn % 4 == 0 && cpu->rflags & RFLAGS_IF && !cpu->shadow)
		alive = interp_deliver(cpu, 0x30 + turn, INTERRUPT_HARDWARE, NO_ERROR_CODE);
	return alive;
}

static void run(struct engine_vcpu *cpu, unsigned options)
{
	static timer_t timer;
	static bool has_timer;
	struct itimerspec time = {.it_value.tv_nsec = TIME_NS};
	bool alive = true;

	if (!has_timer)
		timer = timer_make();
	has_timer = true;
	atomic_store(&expired, false);
	atomic_store(&cpu->attention, false);
	timer_settime(timer, 0, &time, NULL);
	world_thread_begin(cpu);
	for (unsigned i = 0; i < DELIVERIES && alive && !cpu->halted; i++) {
		bool ok = world_run(cpu);

		/* Chips call for it, too. */
		atomic_store(&cpu->attention, false);
		if (atomic_load(&expired) || check_failed(cpu, NULL))
			break;
		alive = events(cpu, ok, options, i);
	}
	world_thread_end(cpu);
	time.it_value.tv_nsec = 0;
	timer_settime(timer, 0, &time, NULL);
}

/* Memory was written to behind the translator's back. */
static void forget(struct bt_guest *g)
{
	for (unsigned i = 0; i < g->memory.count; i++)
		world_memory_writing(g->vm, g->memory.range[i].base, g->memory.range[i].size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct cpu_state state;
	struct input in = {data, size};
	unsigned options = input_u8(&in), place = input_u16(&in) & 0x3fff, changes;
	struct error err = {0};

	if (!guest)
		guest = bt_guest_create(true);
	bt_guest_reset(guest, BT_GUEST_LONG, options & 8, &state);
	state.rip += place;
	for (changes = input_u8(&in) & 31; changes; changes--) {
		unsigned reg = input_u8(&in) % CPU_GPRS;

		state.gpr[reg] = input_u64(&in);
	}
	for (changes = input_u8(&in) & 15; changes; changes--) {
		uint64_t offset = input_number(&in, 3) % (BT_GUEST_LOW + BT_GUEST_HIGH);
		uint8_t bytes[255];
		unsigned length = input_u8(&in);

		input_bytes(&in, bytes, length);
		bt_guest_poke(guest, offset, bytes, length);
	}
	bt_guest_poke(guest, BT_GUEST_CODE + place, in.at, in.left);
	forget(guest);
	FUZZ_CHECK(bt_engine_ops.vcpu_state_set(guest->cpu, &state, &err) == 0);
	run(guest->cpu, options);
	FUZZ_CHECK(check_failed(guest->cpu, &err) == 0);
	return 0;
}
