/* SPDX-License-Identifier: MIT */
/*
 * The local APIC's registers, as a page (SDM vol. 3, 11.4.1) and as MSRs (11.12.1). What is
 * reserved is an error in ESR in the page, and #GP as an MSR.
 */
#include <errno.h>

#include "devices/lapic_impl.h"

#define PAGE_READ  1u
#define PAGE_WRITE 2u
#define MSR_READ   4u
#define MSR_WRITE  8u
#define READ       (PAGE_READ | MSR_READ)
#define WRITE      (PAGE_WRITE | MSR_WRITE)

/* LVT entries: vector, mode, polarity, trigger, mask; delivery status and remote IRR are not ours.
 */
#define LVT_EVENT      (LVT_VECTOR | 0x700u | LVT_MASKED)
#define LVT_INPUT      (LVT_EVENT | 0x2000u | LVT_LEVEL)
#define LVT_STATUS     (1u << 12)
#define LVT_READ_ONLY  (LVT_STATUS | LVT_REMOTE_IRR)
#define SVR_FOCUS      (1u << 9)
#define XAPIC_ID_SHIFT 24

/* 11.6.1. */
#define ICR_MODE_SHIFT      8
#define ICR_MODE            7u
#define ICR_LOGICAL         (1u << 11)
#define ICR_STATUS          (1u << 12)
#define ICR_ASSERT          (1u << 14)
#define ICR_LEVEL           (1u << 15)
#define ICR_SHORTHAND_SHIFT 18
#define ICR_SHORTHAND       3u
#define ICR_WRITABLE        0xccfffu

/* Tables 11-1 and 11-6. */
static const struct reg {
	uint8_t access;
	uint32_t mask;    /* bits that a write sets */
	uint32_t ignored; /* reserved, but no #GP: software writes back what it read */
} regs[LAPIC_REGS] = {
	[REG_ID] = {READ | PAGE_WRITE, 0, 0}, /* some can be changed; this one cannot */
	[REG_VERSION] = {READ, 0, 0},
	[REG_TPR] = {READ | WRITE, 0xff, 0},
	[REG_APR] = {PAGE_READ, 0, 0},
	[REG_PPR] = {READ, 0, 0},
	[REG_EOI] = {WRITE, 0, 0},
	[REG_RRD] = {PAGE_READ, 0, 0},
	[REG_LDR] = {READ | PAGE_WRITE, 0xff000000, 0},
	[REG_DFR] = {PAGE_READ | PAGE_WRITE, 0xf0000000, 0},
	[REG_SVR] = {READ | WRITE, SVR_VECTOR | SVR_ENABLE | SVR_FOCUS, 0},
	[REG_ISR... REG_ISR + 7] = {READ, 0, 0},
	[REG_TMR... REG_TMR + 7] = {READ, 0, 0},
	[REG_IRR... REG_IRR + 7] = {READ, 0, 0},
	[REG_ESR] = {READ | WRITE, 0, 0},
	[REG_ICR] = {READ | WRITE, ICR_WRITABLE, ICR_STATUS},
	[REG_ICR_HIGH] = {PAGE_READ | PAGE_WRITE, 0xff000000, 0},
	[REG_LVT_TIMER] = {READ | WRITE, LVT_VECTOR | LVT_MASKED | LVT_TIMER_MODE, LVT_STATUS},
	[REG_LVT_THERMAL] = {READ | WRITE, LVT_EVENT, LVT_STATUS},
	[REG_LVT_PERFORMANCE] = {READ | WRITE, LVT_EVENT, LVT_STATUS},
	[REG_LVT_LINT0] = {READ | WRITE, LVT_INPUT, LVT_READ_ONLY},
	[REG_LVT_LINT1] = {READ | WRITE, LVT_INPUT, LVT_READ_ONLY},
	[REG_LVT_ERROR] = {READ | WRITE, LVT_VECTOR | LVT_MASKED, LVT_STATUS},
	[REG_TIMER_INITIAL] = {READ | WRITE, ~0u, 0},
	[REG_TIMER_CURRENT] = {READ, 0, 0},
	[REG_TIMER_DIVIDE] = {READ | WRITE, 0xb, 0},
	[REG_SELF_IPI] = {MSR_WRITE, 0xff, 0},
};

uint32_t lapic_mask(const struct lapic *lapic, unsigned reg)
{
	uint32_t mask = regs[reg].mask;

	if (reg == REG_SVR && lapic->config.directed_eoi)
		mask |= SVR_DIRECTED_EOI;
	if (reg == REG_LVT_TIMER && !lapic->config.ops->tsc)
		mask &= ~LVT_DEADLINE;
	if (reg == REG_ICR_HIGH && lapic_is_x2apic(lapic))
		mask = ~0u;
	return mask;
}

static uint32_t reg_read(struct lapic *lapic, unsigned reg)
{
	switch (reg) {
	case REG_ID:
		return lapic_is_x2apic(lapic) ? lapic->config.id
					      : lapic->config.id << XAPIC_ID_SHIFT;
	case REG_PPR:
		return lapic_ppr(lapic);
	case REG_LDR:
		return lapic_ldr(lapic);
	case REG_TIMER_CURRENT:
		lapic_timer_catch_up(lapic);
		return lapic_timer_current(lapic);
	default:
		return lapic->reg[reg];
	}
}

/* 11.6.1: writing the low half sends. Deliveries are edges; a level is INIT's de-assert alone. */
static void icr_send(struct lapic *lapic)
{
	uint32_t low = lapic->reg[REG_ICR], high = lapic->reg[REG_ICR_HIGH];
	struct apic_message message = {
		.destination = lapic_is_x2apic(lapic)
				       ? high
				       : apic_destination((uint8_t)(high >> XAPIC_ID_SHIFT)),
		.logical = (low & ICR_LOGICAL) != 0,
		.mode = low >> ICR_MODE_SHIFT & ICR_MODE,
		.vector = (uint8_t)low,
		.assert = low & ICR_ASSERT || !(low & ICR_LEVEL),
	};

	if (message.mode == APIC_RESERVED || message.mode == APIC_EXTINT)
		return;
	if (message.mode <= APIC_LOWEST_PRIORITY && message.vector < VECTOR_MIN) {
		lapic_error(lapic, ESR_SEND_VECTOR);
		return;
	}
	lapic->todo.ipi = true;
	lapic->todo.shorthand = (enum apic_shorthand)(low >> ICR_SHORTHAND_SHIFT & ICR_SHORTHAND);
	lapic->todo.message = message;
}

/* Disabled by software, all entries are masked and stay so (11.4.7.2). */
static void svr_write(struct lapic *lapic, uint32_t value)
{
	lapic->reg[REG_SVR] = value;
	if (value & SVR_ENABLE)
		return;
	lapic_timer_catch_up(lapic);
	for (unsigned reg = REG_LVT_TIMER; reg <= REG_LVT_ERROR; reg++)
		lapic->reg[reg] |= LVT_MASKED;
	lapic->todo.changed = true;
}

static void lvt_write(struct lapic *lapic, unsigned reg, uint32_t value)
{
	if (!(lapic->reg[REG_SVR] & SVR_ENABLE))
		value |= LVT_MASKED;
	if (reg == REG_LVT_TIMER) {
		lapic_timer_catch_up(lapic);
		lapic_timer_mode_set(lapic, value);
		return;
	}
	lapic->reg[reg] = value | (lapic->reg[reg] & LVT_REMOTE_IRR);
	if (reg == REG_LVT_LINT0) {
		lapic_lint0_level(lapic);
		lapic->todo.wake = true; /* in case it lets the 8259s pass now */
	}
}

/* `value` has no bits that the register has not. */
static void reg_write(struct lapic *lapic, unsigned reg, uint32_t value)
{
	switch (reg) {
	case REG_ID:
		break;
	case REG_TPR:
		lapic->reg[reg] = value;
		lapic->todo.wake = true;
		break;
	case REG_EOI:
		lapic_end(lapic);
		break;
	case REG_DFR:
		lapic->reg[reg] = value | ~0u >> 4;
		break;
	case REG_SVR:
		svr_write(lapic, value);
		break;
	case REG_ESR: /* what has gathered shows, and gathers anew (11.5.3) */
		lapic->reg[reg] = lapic->errors;
		lapic->errors = 0;
		break;
	case REG_ICR:
		lapic->reg[reg] = value;
		icr_send(lapic);
		break;
	case REG_LVT_TIMER ... REG_LVT_ERROR:
		lvt_write(lapic, reg, value);
		break;
	case REG_TIMER_INITIAL: /* does nothing in TSC-deadline mode (11.5.4.1) */
		if (lapic->reg[REG_LVT_TIMER] & LVT_DEADLINE)
			break;
		lapic_timer_catch_up(lapic);
		lapic->reg[reg] = value;
		lapic_timer_start(lapic, value);
		break;
	case REG_TIMER_DIVIDE:
		lapic_timer_catch_up(lapic);
		lapic_timer_divide_set(lapic, value);
		break;
	case REG_SELF_IPI: /* 11.12.11 */
		if (lapic->reg[REG_SVR] & SVR_ENABLE)
			lapic_raise(lapic, (uint8_t)value, false);
		break;
	default:
		lapic->reg[reg] = value;
		break;
	}
}

static bool in_page_mode(const struct lapic *lapic)
{
	return lapic_present(lapic) && !lapic_is_x2apic(lapic);
}

uint64_t lapic_read(struct lapic *lapic, uint32_t offset, unsigned size)
{
	unsigned reg = offset / 16, byte = offset % 16;
	uint64_t value = 0;

	lapic_lock(lapic);
	if (!in_page_mode(lapic))
		value = ~0ull >> (64 - 8 * size);
	else if (reg >= LAPIC_REGS || !(regs[reg].access & (PAGE_READ | PAGE_WRITE)))
		lapic_error(lapic, ESR_REGISTER);
	else if (byte < 4 && regs[reg].access & PAGE_READ)
		value = reg_read(lapic, reg) >> 8 * byte & ~0ull >> (64 - 8 * size);
	lapic_unlock(lapic);
	return value;
}

void lapic_write(struct lapic *lapic, uint32_t offset, unsigned size, uint64_t value)
{
	unsigned reg = offset / 16;

	lapic_lock(lapic);
	if (!in_page_mode(lapic))
		goto out;
	if (reg >= LAPIC_REGS || !(regs[reg].access & (PAGE_READ | PAGE_WRITE)))
		lapic_error(lapic, ESR_REGISTER);
	else if (size == 4 && offset % 16 == 0 && regs[reg].access & PAGE_WRITE)
		reg_write(lapic, reg, (uint32_t)value & lapic_mask(lapic, reg));
out:
	lapic_unlock(lapic);
}

int lapic_msr_read(struct lapic *lapic, uint32_t index, uint64_t *value)
{
	uint32_t reg = index - LAPIC_MSR_FIRST;
	int ret = -EINVAL;

	lapic_lock(lapic);
	if (lapic_is_x2apic(lapic) && reg < LAPIC_REGS && regs[reg].access & MSR_READ) {
		*value = reg_read(lapic, reg);
		if (reg == REG_ICR)
			*value |= (uint64_t)lapic->reg[REG_ICR_HIGH] << 32;
		ret = 0;
	}
	lapic_unlock(lapic);
	return ret;
}

int lapic_msr_write(struct lapic *lapic, uint32_t index, uint64_t value)
{
	uint32_t reg = index - LAPIC_MSR_FIRST, mask;
	int ret = -EINVAL;

	lapic_lock(lapic);
	if (!lapic_is_x2apic(lapic) || reg >= LAPIC_REGS || !(regs[reg].access & MSR_WRITE))
		goto out;
	mask = lapic_mask(lapic, reg);
	if ((uint32_t)value & ~(mask | regs[reg].ignored) || (reg != REG_ICR && value >> 32))
		goto out;
	if (reg == REG_ICR)
		lapic->reg[REG_ICR_HIGH] = (uint32_t)(value >> 32);
	reg_write(lapic, reg, (uint32_t)value & mask);
	ret = 0;
out:
	lapic_unlock(lapic);
	return ret;
}
