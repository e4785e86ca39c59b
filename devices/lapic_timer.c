/* SPDX-License-Identifier: MIT */
/*
 * The local APIC's timer (SDM vol. 3, 11.5.4): a bus of 1 GHz, as KVM's, so that a tick of the
 * undivided count is a nanosecond. The count is computed when somebody looks. A masked timer runs,
 * but there is nothing to wake up for, and what it would have fired is lost.
 */
#include "devices/lapic_impl.h"
#include "vmm/base/clock.h"

#define FAR_NS          (1ull << 62) /* as good as never */
#define CLOCKS_APART_NS 1000u
#define MODE_ONESHOT    0u
#define NS_PER_MS       1000000u

static uint32_t mode(const struct lapic *lapic)
{
	return lapic->reg[REG_LVT_TIMER] & LVT_TIMER_MODE;
}

/* 0 to 3 and 8 to 11: by 2 to 128, and then 1 (figure 11-10). */
static uint64_t divisor(const struct lapic *lapic)
{
	uint32_t value = lapic->reg[REG_TIMER_DIVIDE];
	uint32_t power = (value & 3) | (value >> 1 & 4);

	return power == 7 ? 1 : 2ull << power;
}

static void fire(struct lapic *lapic)
{
	uint32_t lvt = lapic->reg[REG_LVT_TIMER];

	if (!(lvt & LVT_MASKED))
		lapic_raise(lapic, (uint8_t)(lvt & LVT_VECTOR), false);
}

static uint64_t tsc(const struct lapic *lapic)
{
	return lapic->config.ops->tsc(lapic->config.arg);
}

void lapic_timer_catch_up(struct lapic *lapic)
{
	uint64_t now = clock_monotonic_ns(), period;

	if (lapic->tsc_deadline && tsc(lapic) >= lapic->tsc_deadline) {
		lapic->tsc_deadline = 0;
		fire(lapic);
	}
	if (!lapic->expiry_ns || now < lapic->expiry_ns)
		return;
	if (mode(lapic) == LVT_PERIODIC) {
		period = lapic->reg[REG_TIMER_INITIAL] * divisor(lapic);
		lapic->expiry_ns += ((now - lapic->expiry_ns) / period + 1) * period;
		lapic->fired_ns = now;
	} else {
		lapic->expiry_ns = 0;
	}
	fire(lapic);
}

/* With `count` to go of the initial count. A periodic one that is at 0 is at its start. */
void lapic_timer_start(struct lapic *lapic, uint32_t count)
{
	uint32_t initial = lapic->reg[REG_TIMER_INITIAL];

	if (count == 0 && mode(lapic) == LVT_PERIODIC)
		count = initial;
	if (count > initial)
		count = initial;
	lapic->fired_ns = 0;
	lapic->expiry_ns = 0;
	if (count && (mode(lapic) == LVT_PERIODIC || mode(lapic) == MODE_ONESHOT))
		lapic->expiry_ns = clock_monotonic_ns() + count * divisor(lapic);
	lapic->todo.changed = true;
}

uint32_t lapic_timer_current(const struct lapic *lapic)
{
	uint64_t now = clock_monotonic_ns(), count;

	if (!lapic->expiry_ns || now >= lapic->expiry_ns)
		return 0;
	count = (lapic->expiry_ns - now + divisor(lapic) - 1) / divisor(lapic);
	return count > lapic->reg[REG_TIMER_INITIAL] ? lapic->reg[REG_TIMER_INITIAL]
						     : (uint32_t)count;
}

/* To and from TSC-deadline mode the timer is disarmed (11.5.4.1). */
void lapic_timer_mode_set(struct lapic *lapic, uint32_t lvt)
{
	uint32_t to = lvt & LVT_TIMER_MODE;
	bool counts = to == MODE_ONESHOT || to == LVT_PERIODIC;

	if (!counts || mode(lapic) == LVT_DEADLINE) {
		lapic->expiry_ns = 0;
		if (mode(lapic) != to)
			lapic->reg[REG_TIMER_INITIAL] = 0;
	}
	if (to != LVT_DEADLINE)
		lapic->tsc_deadline = 0;
	lapic->reg[REG_LVT_TIMER] = lvt;
	lapic->todo.changed = true;
}

/* What is left of the count runs on at the new rate. */
void lapic_timer_divide_set(struct lapic *lapic, uint32_t value)
{
	uint32_t left = lapic_timer_current(lapic);

	lapic->reg[REG_TIMER_DIVIDE] = value;
	if (left)
		lapic->expiry_ns = clock_monotonic_ns() + left * divisor(lapic);
	lapic->todo.changed = true;
}

/*
 * Two clocks, read one behind the other, never tell the same twice: what was told stays until it
 * has passed, or is off by more. A timer of the host's is set for it, which is not free.
 */
static uint64_t deadline_kept(struct lapic *lapic, uint64_t deadline, uint64_t now)
{
	if (lapic->told_ns <= now ||
	    deadline - lapic->told_ns + CLOCKS_APART_NS > 2 * CLOCKS_APART_NS)
		lapic->told_ns = deadline;
	return lapic->told_ns;
}

static uint64_t tsc_deadline_ns(struct lapic *lapic, uint64_t now)
{
	uint32_t khz = lapic->config.ops->tsc_khz(lapic->config.arg);
	uint64_t at = tsc(lapic);
	unsigned __int128 ns;

	if (at >= lapic->tsc_deadline)
		return now;
	if (khz == 0)
		return now + FAR_NS;
	ns = ((unsigned __int128)(lapic->tsc_deadline - at) * NS_PER_MS + khz - 1) / khz;
	return deadline_kept(lapic, now + (ns < FAR_NS ? (uint64_t)ns : FAR_NS), now);
}

uint64_t lapic_deadline(struct lapic *lapic)
{
	uint64_t deadline = 0;

	lapic_lock(lapic);
	if (lapic->reg[REG_LVT_TIMER] & LVT_MASKED) {
		deadline = 0;
	} else if (lapic->tsc_deadline) {
		deadline = tsc_deadline_ns(lapic, clock_monotonic_ns());
	} else if (lapic->expiry_ns) {
		deadline = lapic->expiry_ns;
		if (lapic->fired_ns && deadline < lapic->fired_ns + LAPIC_TICK_MIN_NS)
			deadline = lapic->fired_ns + LAPIC_TICK_MIN_NS;
	}
	lapic_unlock(lapic);
	return deadline;
}

void lapic_tick(struct lapic *lapic)
{
	lapic_lock(lapic);
	lapic_timer_catch_up(lapic);
	lapic_unlock(lapic);
}

uint64_t lapic_tsc_deadline(struct lapic *lapic)
{
	uint64_t value;

	lapic_lock(lapic);
	lapic_timer_catch_up(lapic);
	value = lapic->tsc_deadline;
	lapic_unlock(lapic);
	return value;
}

void lapic_tsc_deadline_set(struct lapic *lapic, uint64_t value)
{
	lapic_lock(lapic);
	if (mode(lapic) == LVT_DEADLINE) {
		lapic_timer_catch_up(lapic);
		lapic->tsc_deadline = value;
		lapic->todo.changed = true;
		lapic_timer_catch_up(lapic); /* one that has passed fires at once */
	}
	lapic_unlock(lapic);
}
