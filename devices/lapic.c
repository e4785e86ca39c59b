/* SPDX-License-Identifier: MIT */
/*
 * The local APIC: what it accepts, what is pending and in service, its modes, its saved state.
 * Section numbers are of Intel SDM vol. 3. There is no SMI, no arbitration id, no CMCI entry and no
 * performance or thermal event; delivery is at once, so no status is ever "pending". What the lock
 * guards is changed first, callbacks follow when it is free (lapic_unlock).
 */
#include "devices/lapic.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/lapic_impl.h"
#include "vmm/base/bytes.h"

#define VERSION          0x14u /* integrated, with x2APIC */
#define LVT_LAST_SHIFT   16
#define VERSION_DIRECTED (1u << 24)
#define XAPIC_ID_SHIFT   24
#define LVT_MODE_SHIFT   8
#define LVT_MODE         7u
#define DFR_MODEL_SHIFT  28
#define DFR_FLAT         0xfu
#define DFR_CLUSTER      0u
#define PHYSICAL_BITS    52
#define NO_VECTOR        (-1)

void lapic_lock(struct lapic *lapic)
{
	pthread_mutex_lock(&lapic->lock);
}

static bool bit_test(const struct lapic *lapic, unsigned set, uint8_t vector)
{
	return lapic->reg[set + vector / 32] & 1u << vector % 32;
}

static void bit_put(struct lapic *lapic, unsigned set, uint8_t vector, bool value)
{
	if (value)
		lapic->reg[set + vector / 32] |= 1u << vector % 32;
	else
		lapic->reg[set + vector / 32] &= ~(1u << vector % 32);
}

static int highest(const struct lapic *lapic, unsigned set)
{
	for (int i = 7; i >= 0; i--)
		if (lapic->reg[set + (unsigned)i])
			return 32 * i + 31 - __builtin_clz(lapic->reg[set + (unsigned)i]);
	return NO_VECTOR;
}

/* 11.8.3.1. */
uint8_t lapic_ppr(const struct lapic *lapic)
{
	int served = highest(lapic, REG_ISR);
	uint8_t tpr = (uint8_t)lapic->reg[REG_TPR];

	if (served == NO_VECTOR || tpr >> 4 >= served >> 4)
		return tpr;
	return (uint8_t)(served & 0xf0);
}

static int pending(const struct lapic *lapic)
{
	int vector = highest(lapic, REG_IRR);

	if (!lapic_present(lapic) || vector == NO_VECTOR || vector >> 4 <= lapic_ppr(lapic) >> 4)
		return NO_VECTOR;
	return vector;
}

static unsigned lvt_mode(uint32_t lvt)
{
	return lvt >> LVT_MODE_SHIFT & LVT_MODE;
}

/* Disabled, it is not there, and LINT0 is the processor's INTR (11.4.3). */
static bool extint(const struct lapic *lapic)
{
	uint32_t lvt = lapic->reg[REG_LVT_LINT0];

	if (!lapic_present(lapic))
		return lapic->lint[0];
	return lapic->extint ||
	       (lapic->lint[0] && !(lvt & LVT_MASKED) && lvt_mode(lvt) == APIC_EXTINT);
}

void lapic_unlock(struct lapic *lapic)
{
	const struct lapic_ops *ops = lapic->config.ops;
	void *arg = lapic->config.arg;
	struct lapic_todo todo = lapic->todo;

	lapic->todo = (struct lapic_todo){0};
	if (todo.wake)
		todo.wake = pending(lapic) != NO_VECTOR || extint(lapic);
	pthread_mutex_unlock(&lapic->lock);
	if (todo.nmi)
		ops->nmi(arg);
	if (todo.init)
		ops->init(arg);
	if (todo.sipi)
		ops->sipi(arg, todo.sipi_vector);
	if (todo.wake)
		ops->wake(arg);
	if (todo.changed)
		ops->changed(arg);
	if (todo.eoi)
		ops->eoi(arg, todo.eoi_vector);
	if (todo.ipi)
		apic_bus_send(lapic->bus, lapic, todo.shorthand, &todo.message);
}

/* 11.5.3. An error entry with a bad vector is an error itself, but none that is reported again. */
void lapic_error(struct lapic *lapic, uint32_t bit)
{
	uint32_t lvt = lapic->reg[REG_LVT_ERROR];
	bool known = lapic->errors & bit;

	lapic->errors |= bit;
	if (known || lvt & LVT_MASKED)
		return;
	if ((lvt & LVT_VECTOR) < VECTOR_MIN)
		lapic->errors |= ESR_RECEIVE_VECTOR;
	else
		lapic_raise(lapic, (uint8_t)(lvt & LVT_VECTOR), false);
}

/* A vector arrives (11.8.4). */
void lapic_raise(struct lapic *lapic, uint8_t vector, bool level)
{
	if (vector < VECTOR_MIN) {
		lapic_error(lapic, ESR_RECEIVE_VECTOR);
		return;
	}
	bit_put(lapic, REG_IRR, vector, true);
	bit_put(lapic, REG_TMR, vector, level);
	lapic->todo.wake = true;
}

/* What an entry of the local vector table does with an edge. */
static void lvt_deliver(struct lapic *lapic, uint32_t lvt)
{
	if (lvt & LVT_MASKED)
		return;
	switch (lvt_mode(lvt)) {
	case APIC_FIXED:
		lapic_raise(lapic, (uint8_t)(lvt & LVT_VECTOR), false);
		break;
	case APIC_NMI:
		lapic->todo.nmi = true;
		break;
	case APIC_INIT:
		lapic->todo.init = true;
		break;
	default:
		break;
	}
}

static bool lint0_is_level(const struct lapic *lapic)
{
	uint32_t lvt = lapic->reg[REG_LVT_LINT0];

	return lvt & LVT_LEVEL && lvt_mode(lvt) == APIC_FIXED;
}

/* A level at LINT0 sends its vector, and again after EOI; at LINT1 there are edges only (11.5.1).
 */
void lapic_lint0_level(struct lapic *lapic)
{
	uint32_t *lvt = &lapic->reg[REG_LVT_LINT0];

	if (!lint0_is_level(lapic)) {
		*lvt &= ~LVT_REMOTE_IRR;
		return;
	}
	if (!lapic->lint[0] || *lvt & (LVT_MASKED | LVT_REMOTE_IRR))
		return;
	if ((*lvt & LVT_VECTOR) >= VECTOR_MIN) /* else nobody would ever end it */
		*lvt |= LVT_REMOTE_IRR;
	lapic_raise(lapic, (uint8_t)(*lvt & LVT_VECTOR), true);
}

void lapic_lint(struct lapic *lapic, unsigned pin, bool level)
{
	bool rose;

	assert(pin < 2);
	lapic_lock(lapic);
	rose = level && !lapic->lint[pin];
	lapic->lint[pin] = level;
	lapic->todo.wake = rose; /* in case it is ExtINT */
	if (!lapic_present(lapic))
		lapic->todo.nmi = pin == 1 && rose;
	else if (pin == 0 && lint0_is_level(lapic))
		lapic_lint0_level(lapic);
	else if (rose)
		lvt_deliver(lapic, lapic->reg[REG_LVT_LINT0 + pin]);
	lapic_unlock(lapic);
}

bool lapic_extint(struct lapic *lapic)
{
	bool wanted;

	lapic_lock(lapic);
	wanted = extint(lapic);
	lapic_unlock(lapic);
	return wanted;
}

void lapic_extint_acknowledge(struct lapic *lapic)
{
	lapic_lock(lapic);
	lapic->extint = false;
	lapic_unlock(lapic);
}

int lapic_pending(struct lapic *lapic)
{
	int vector;

	lapic_lock(lapic);
	vector = pending(lapic);
	lapic_unlock(lapic);
	return vector;
}

/* 11.8.4; the spurious vector: 11.9. */
int lapic_acknowledge(struct lapic *lapic)
{
	int vector;

	lapic_lock(lapic);
	vector = pending(lapic);
	if (vector == NO_VECTOR) {
		vector = (int)(lapic->reg[REG_SVR] & SVR_VECTOR);
	} else {
		bit_put(lapic, REG_IRR, (uint8_t)vector, false);
		bit_put(lapic, REG_ISR, (uint8_t)vector, true);
	}
	lapic_unlock(lapic);
	return vector;
}

/* 11.8.5. */
void lapic_end(struct lapic *lapic)
{
	int vector = highest(lapic, REG_ISR);
	uint32_t *lvt = &lapic->reg[REG_LVT_LINT0];

	if (vector == NO_VECTOR)
		return;
	bit_put(lapic, REG_ISR, (uint8_t)vector, false);
	lapic->todo.wake = true;
	if (!bit_test(lapic, REG_TMR, (uint8_t)vector))
		return;
	if (!(lapic->reg[REG_SVR] & SVR_DIRECTED_EOI)) {
		lapic->todo.eoi = true;
		lapic->todo.eoi_vector = (uint8_t)vector;
	}
	if (*lvt & LVT_REMOTE_IRR && (*lvt & LVT_VECTOR) == (uint32_t)vector) {
		*lvt &= ~LVT_REMOTE_IRR;
		lapic_lint0_level(lapic);
	}
}

uint8_t lapic_cr8(struct lapic *lapic)
{
	uint8_t value;

	lapic_lock(lapic);
	value = (uint8_t)lapic->reg[REG_TPR] >> 4;
	lapic_unlock(lapic);
	return value;
}

/* 11.8.6. */
void lapic_cr8_set(struct lapic *lapic, uint8_t value)
{
	lapic_lock(lapic);
	lapic->reg[REG_TPR] = (uint32_t)(value & 15) << 4;
	lapic->todo.wake = true;
	lapic_unlock(lapic);
}

/* In x2APIC mode the logical id follows from the id (11.12.10.2). */
uint32_t lapic_ldr(const struct lapic *lapic)
{
	if (!lapic_is_x2apic(lapic))
		return lapic->reg[REG_LDR];
	return lapic->config.id >> 4 << 16 | 1u << (lapic->config.id & 15);
}

/* 11.6.2.2, 11.12.10. */
static bool logical_match(const struct lapic *lapic, uint32_t destination)
{
	uint32_t model = lapic->reg[REG_DFR] >> DFR_MODEL_SHIFT, ldr = lapic_ldr(lapic);

	if (lapic_is_x2apic(lapic))
		return destination >> 16 == ldr >> 16 && destination & ldr & 0xffff;
	ldr >>= XAPIC_ID_SHIFT;
	if (destination > 0xff)
		return false;
	if (model == DFR_FLAT)
		return destination & ldr;
	return model == DFR_CLUSTER && destination >> 4 == ldr >> 4 && destination & ldr & 0xf;
}

bool lapic_addressed(struct lapic *lapic, const struct apic_message *message)
{
	bool match;

	lapic_lock(lapic);
	if (message->destination == APIC_BROADCAST)
		match = true;
	else if (message->logical)
		match = logical_match(lapic, message->destination);
	else
		match = message->destination == lapic->config.id;
	lapic_unlock(lapic);
	return match;
}

bool lapic_arbitrates(struct lapic *lapic, uint8_t *priority)
{
	bool takes;

	lapic_lock(lapic);
	takes = lapic_present(lapic) && lapic->reg[REG_SVR] & SVR_ENABLE;
	*priority = lapic_ppr(lapic);
	lapic_unlock(lapic);
	return takes;
}

/* Disabled by software it takes INIT, NMI and SIPI still (11.4.7.2); by hardware, nothing. */
void lapic_accept(struct lapic *lapic, const struct apic_message *message)
{
	lapic_lock(lapic);
	switch (lapic_present(lapic) ? message->mode : APIC_RESERVED) {
	case APIC_FIXED:
	case APIC_LOWEST_PRIORITY:
		if (lapic->reg[REG_SVR] & SVR_ENABLE)
			lapic_raise(lapic, message->vector, message->level_triggered);
		break;
	case APIC_NMI:
		lapic->todo.nmi = true;
		break;
	case APIC_INIT:
		lapic->todo.init = message->assert;
		break;
	case APIC_STARTUP:
		lapic->todo.sipi = true;
		lapic->todo.sipi_vector = message->vector;
		break;
	case APIC_EXTINT:
		lapic->extint = true;
		lapic->todo.wake = true;
		break;
	default:
		break;
	}
	lapic_unlock(lapic);
}

/* 11.4.7.1 and 11.4.7.3. */
static void registers_init(struct lapic *lapic)
{
	memset(lapic->reg, 0, sizeof(lapic->reg));
	lapic->reg[REG_VERSION] = VERSION | (REG_LVT_ERROR - REG_LVT_TIMER) << LVT_LAST_SHIFT |
				  (lapic->config.directed_eoi ? VERSION_DIRECTED : 0);
	lapic->reg[REG_DFR] = ~0u;
	lapic->reg[REG_SVR] = SVR_VECTOR;
	for (unsigned reg = REG_LVT_TIMER; reg <= REG_LVT_ERROR; reg++)
		lapic->reg[reg] = LVT_MASKED;
	if (lapic->config.virtual_wire)
		lapic->reg[REG_LVT_LINT0] = APIC_EXTINT << LVT_MODE_SHIFT;
	lapic->errors = 0;
	lapic->extint = false;
	lapic->expiry_ns = 0;
	lapic->fired_ns = 0;
	lapic->tsc_deadline = 0;
	lapic->todo.wake = true;
}

void lapic_init(struct lapic *lapic)
{
	lapic_lock(lapic);
	registers_init(lapic);
	lapic_unlock(lapic);
}

void lapic_reset(struct lapic *lapic)
{
	lapic_lock(lapic);
	lapic->base = LAPIC_BASE | LAPIC_BASE_ENABLE | (lapic->config.bsp ? LAPIC_BASE_BSP : 0);
	registers_init(lapic);
	lapic_unlock(lapic);
}

uint64_t lapic_base(struct lapic *lapic)
{
	uint64_t value;

	lapic_lock(lapic);
	value = lapic->base;
	lapic_unlock(lapic);
	return value;
}

static bool base_valid(const struct lapic *lapic, uint64_t value)
{
	unsigned bits = lapic->config.physical_bits ? lapic->config.physical_bits : PHYSICAL_BITS;
	uint64_t address = ~0ull >> (64 - bits) & ~(uint64_t)(LAPIC_PAGE - 1);

	if (value & ~(address | LAPIC_BASE_BSP | LAPIC_BASE_X2APIC | LAPIC_BASE_ENABLE))
		return false;
	return value & LAPIC_BASE_ENABLE || !(value & LAPIC_BASE_X2APIC);
}

/* The transitions of 11.12.5, figure 11-27. */
int lapic_base_set(struct lapic *lapic, uint64_t value)
{
	bool enable = value & LAPIC_BASE_ENABLE, x2apic = value & LAPIC_BASE_X2APIC;
	int ret = -EINVAL;

	lapic_lock(lapic);
	if (!base_valid(lapic, value))
		goto out;
	if (lapic_is_x2apic(lapic) && enable && !x2apic)
		goto out;
	if (!lapic_present(lapic) && x2apic)
		goto out;
	if (lapic_present(lapic) && !enable)
		registers_init(lapic);
	if (x2apic && !lapic_is_x2apic(lapic))
		lapic->reg[REG_ICR_HIGH] = 0;
	lapic->base = value;
	lapic->todo.wake = true;
	ret = 0;
out:
	lapic_unlock(lapic);
	return ret;
}

void lapic_state_get(struct lapic *lapic, struct lapic_state *out)
{
	memset(out, 0, sizeof(*out));
	lapic_lock(lapic);
	lapic_timer_catch_up(lapic);
	for (unsigned reg = 0; reg < LAPIC_REGS; reg++)
		le32_put(&out->page[16 * reg], lapic->reg[reg]);
	le32_put(&out->page[16 * REG_ID], lapic->config.id << XAPIC_ID_SHIFT);
	le32_put(&out->page[16 * REG_PPR], lapic_ppr(lapic));
	le32_put(&out->page[16 * REG_LDR], lapic_ldr(lapic));
	le32_put(&out->page[16 * REG_TIMER_CURRENT], lapic_timer_current(lapic));
	out->base = lapic->base;
	out->tsc_deadline = lapic->tsc_deadline;
	lapic_unlock(lapic);
}

/* Bits that a register can have set, whoever set them. */
static uint32_t state_mask(const struct lapic *lapic, unsigned reg)
{
	if (reg == REG_ISR || reg == REG_TMR || reg == REG_IRR)
		return ~0u << VECTOR_MIN;
	if (reg > REG_ISR && reg < REG_ESR)
		return ~0u;
	if (reg == REG_ESR)
		return ESR_SEND_VECTOR | ESR_RECEIVE_VECTOR | ESR_REGISTER;
	if (reg == REG_LVT_LINT0)
		return lapic_mask(lapic, reg) | LVT_REMOTE_IRR;
	return lapic_mask(lapic, reg);
}

int lapic_state_set(struct lapic *lapic, const struct lapic_state *in)
{
	bool deadline;

	if (!base_valid(lapic, in->base) ||
	    le32_get(&in->page[16 * REG_ID]) != lapic->config.id << XAPIC_ID_SHIFT)
		return -EINVAL;
	lapic_lock(lapic);
	lapic->base = in->base;
	registers_init(lapic);
	for (unsigned reg = 0; reg < LAPIC_REGS; reg++)
		if (reg != REG_VERSION)
			lapic->reg[reg] = le32_get(&in->page[16 * reg]) & state_mask(lapic, reg);
	lapic->reg[REG_DFR] |= ~0u >> 4;
	lapic->reg[REG_EOI] = 0;
	lapic->reg[REG_SELF_IPI] = 0;
	if (lapic_is_x2apic(lapic)) /* is not kept, but computed: xAPIC mode starts at 0 again */
		lapic->reg[REG_LDR] = 0;
	if (!lint0_is_level(lapic))
		lapic->reg[REG_LVT_LINT0] &= ~LVT_REMOTE_IRR;
	deadline = (lapic->reg[REG_LVT_TIMER] & LVT_TIMER_MODE) == LVT_DEADLINE;
	lapic->tsc_deadline = deadline ? in->tsc_deadline : 0;
	lapic_timer_start(lapic, le32_get(&in->page[16 * REG_TIMER_CURRENT]));
	lapic->todo.wake = true;
	lapic_unlock(lapic);
	return 0;
}

int lapic_create(struct apic_bus *bus, const struct lapic_config *config, struct lapic **out)
{
	struct lapic *lapic;
	int ret;

	assert(!config->ops->tsc == !config->ops->tsc_khz);
	if (config->id > LAPIC_ID_MAX)
		return -EINVAL;
	lapic = calloc(1, sizeof(*lapic));
	if (!lapic)
		return -ENOMEM;
	lapic->bus = bus;
	lapic->config = *config;
	lapic->base = LAPIC_BASE | LAPIC_BASE_ENABLE | (config->bsp ? LAPIC_BASE_BSP : 0);
	registers_init(lapic);
	lapic->todo.wake = false;
	pthread_mutex_init(&lapic->lock, NULL);
	ret = apic_bus_join(bus, lapic);
	if (ret) {
		pthread_mutex_destroy(&lapic->lock);
		free(lapic);
		return ret;
	}
	*out = lapic;
	return 0;
}

void lapic_destroy(struct lapic *lapic)
{
	if (!lapic)
		return;
	apic_bus_leave(lapic->bus, lapic);
	pthread_mutex_destroy(&lapic->lock);
	free(lapic);
}
