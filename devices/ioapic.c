/* SPDX-License-Identifier: MIT */
/*
 * The I/O APIC. An edge sends a message if the entry is not masked, else it is lost
 * (82093AA, 3.2.4, "Interrupt mask"). A level sends one and waits for its EOI (remote IRR). The
 * delivery status is never "pending", the arbitration register is the id, and polarity is not
 * looked at, as in KVM.
 */
#include "devices/ioapic.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

/* Offsets, and indexes behind them. */
#define SELECT          0x00u
#define WINDOW          0x10u
#define EOI             0x40u
#define REG_ID          0x00u
#define REG_VERSION     0x01u
#define REG_ARBITRATION 0x02u
#define REG_REDIRECTION 0x10u
#define ID_SHIFT        24
#define ID_MASK         0x0fu
#define LAST_PIN_SHIFT  16

/* A redirection entry (82093AA, 3.2.4). */
#define ENTRY_VECTOR       0xffull
#define ENTRY_MODE_SHIFT   8
#define ENTRY_MODE         7u
#define ENTRY_LOGICAL      (1ull << 11)
#define ENTRY_PENDING      (1ull << 12)
#define ENTRY_REMOTE_IRR   (1ull << 14)
#define ENTRY_LEVEL        (1ull << 15)
#define ENTRY_MASKED       (1ull << 16)
#define ENTRY_DESTINATION  56
#define ENTRY_LOW_DEFINED  0x1ffffull
#define ENTRY_HIGH_DEFINED (0xffull << ENTRY_DESTINATION)
#define ENTRY_DEFINED      (ENTRY_LOW_DEFINED | ENTRY_HIGH_DEFINED)
#define ENTRY_READ_ONLY    (ENTRY_PENDING | ENTRY_REMOTE_IRR)

#define PINS_MASK ((1u << IOAPIC_PINS) - 1)

struct ioapic {
	struct bus *mmio;
	struct ioapic_config config;
	/* Guards all below. Taken under a device's or the 8259s' lock; local APICs' come after it.
	 */
	pthread_mutex_t lock;
	uint8_t select, id;
	uint32_t asserted;
	uint32_t seen; /* inputs whose last edge was sent, or lost to the mask */
	uint64_t entry[IOAPIC_PINS];
};

static unsigned entry_mode(uint64_t entry)
{
	return entry >> ENTRY_MODE_SHIFT & ENTRY_MODE;
}

/* SMI, NMI, INIT and ExtINT are edges whatever the entry says (82093AA, 3.2.4, "Delivery mode"). */
static bool is_level(uint64_t entry)
{
	return entry & ENTRY_LEVEL &&
	       (entry_mode(entry) == APIC_FIXED || entry_mode(entry) == APIC_LOWEST_PRIORITY);
}

static void send(struct ioapic *ioapic, uint64_t entry)
{
	struct apic_message message = {
		.destination = apic_destination((uint8_t)(entry >> ENTRY_DESTINATION)),
		.logical = (entry & ENTRY_LOGICAL) != 0,
		.mode = (uint8_t)entry_mode(entry),
		.vector = (uint8_t)(entry & ENTRY_VECTOR),
		.level_triggered = is_level(entry),
		.assert = true,
	};

	if (message.mode == APIC_SMI || message.mode == APIC_RESERVED ||
	    message.mode == APIC_STARTUP)
		return;
	ioapic->config.deliver(ioapic->config.arg, &message);
}

/* Send for an asserted level that no message is under way for. */
static void level_serve(struct ioapic *ioapic, unsigned pin)
{
	uint64_t entry = ioapic->entry[pin];

	if (!is_level(entry) || entry & (ENTRY_MASKED | ENTRY_REMOTE_IRR) ||
	    !(ioapic->asserted & 1u << pin))
		return;
	/* First, as a processor may be quick. */
	ioapic->entry[pin] |= ENTRY_REMOTE_IRR;
	send(ioapic, entry);
}

static void pin_set(struct ioapic *ioapic, unsigned pin, bool level)
{
	uint32_t bit = 1u << pin;
	bool edge = level && !(ioapic->asserted & bit);

	if (!level) {
		ioapic->asserted &= ~bit;
		ioapic->seen &= ~bit;
		return;
	}
	ioapic->asserted |= bit;
	if (is_level(ioapic->entry[pin])) {
		level_serve(ioapic, pin);
	} else if (edge) {
		ioapic->seen |= bit;
		if (!(ioapic->entry[pin] & ENTRY_MASKED))
			send(ioapic, ioapic->entry[pin]);
	}
}

void ioapic_set(struct ioapic *ioapic, unsigned pin, bool level)
{
	if (pin >= IOAPIC_PINS)
		return;
	pthread_mutex_lock(&ioapic->lock);
	pin_set(ioapic, pin, level);
	pthread_mutex_unlock(&ioapic->lock);
}

static void vector_eoi(struct ioapic *ioapic, uint8_t vector)
{
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		if ((ioapic->entry[pin] & ENTRY_VECTOR) != vector ||
		    !(ioapic->entry[pin] & ENTRY_REMOTE_IRR))
			continue;
		ioapic->entry[pin] &= ~ENTRY_REMOTE_IRR;
		level_serve(ioapic, pin);
	}
}

void ioapic_eoi(struct ioapic *ioapic, uint8_t vector)
{
	pthread_mutex_lock(&ioapic->lock);
	vector_eoi(ioapic, vector);
	pthread_mutex_unlock(&ioapic->lock);
}

static uint32_t window_read(const struct ioapic *ioapic)
{
	unsigned pin = (ioapic->select - REG_REDIRECTION) / 2;

	switch (ioapic->select) {
	case REG_ID:
	case REG_ARBITRATION:
		return (uint32_t)ioapic->id << ID_SHIFT;
	case REG_VERSION:
		return (IOAPIC_PINS - 1) << LAST_PIN_SHIFT | ioapic->config.version;
	default:
		if (ioapic->select < REG_REDIRECTION || pin >= IOAPIC_PINS)
			return 0;
		return (uint32_t)(ioapic->entry[pin] >> (ioapic->select & 1 ? 32 : 0));
	}
}

static void entry_write(struct ioapic *ioapic, unsigned pin, uint32_t value)
{
	uint64_t *entry = &ioapic->entry[pin];
	uint64_t kept = *entry & ENTRY_READ_ONLY;

	if (ioapic->select & 1) {
		*entry =
			(*entry & ENTRY_LOW_DEFINED) | ((uint64_t)value << 32 & ENTRY_HIGH_DEFINED);
		return;
	}
	*entry = (*entry & ENTRY_HIGH_DEFINED) | (value & ENTRY_LOW_DEFINED & ~ENTRY_READ_ONLY) |
		 kept;
	/* Linux ends a level this way where it finds no EOI register. */
	if (!(*entry & ENTRY_LEVEL))
		*entry &= ~ENTRY_REMOTE_IRR;
	if (!is_level(*entry))
		ioapic->seen |= ioapic->asserted & 1u << pin;
	level_serve(ioapic, pin);
}

static void window_write(struct ioapic *ioapic, uint32_t value)
{
	unsigned pin = (ioapic->select - REG_REDIRECTION) / 2;

	if (ioapic->select == REG_ID)
		ioapic->id = value >> ID_SHIFT & ID_MASK;
	else if (ioapic->select >= REG_REDIRECTION && pin < IOAPIC_PINS)
		entry_write(ioapic, pin, value);
}

/* Registers are 32 bits wide; of a narrower or wider access the low part counts. */
static uint64_t ioapic_read(void *device, uint64_t offset, unsigned size)
{
	struct ioapic *ioapic = device;
	uint64_t value = 0;

	(void)size;
	pthread_mutex_lock(&ioapic->lock);
	if (offset == SELECT)
		value = ioapic->select;
	else if (offset == WINDOW)
		value = window_read(ioapic);
	pthread_mutex_unlock(&ioapic->lock);
	return value;
}

static void ioapic_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct ioapic *ioapic = device;

	value &= ~0ull >> (64 - 8 * size);
	pthread_mutex_lock(&ioapic->lock);
	if (offset == SELECT)
		ioapic->select = (uint8_t)value;
	else if (offset == WINDOW)
		window_write(ioapic, (uint32_t)value);
	else if (offset == EOI && ioapic->config.version >= IOAPIC_VERSION_EOI)
		vector_eoi(ioapic, (uint8_t)value);
	pthread_mutex_unlock(&ioapic->lock);
}

static const struct bus_ops ioapic_ops = {.read = ioapic_read, .write = ioapic_write};

void ioapic_reset(struct ioapic *ioapic)
{
	pthread_mutex_lock(&ioapic->lock);
	ioapic->select = 0;
	ioapic->id = 0;
	ioapic->asserted = 0;
	ioapic->seen = 0;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		ioapic->entry[pin] = ENTRY_MASKED;
	pthread_mutex_unlock(&ioapic->lock);
}

void ioapic_state_get(struct ioapic *ioapic, struct ioapic_state *out)
{
	pthread_mutex_lock(&ioapic->lock);
	*out = (struct ioapic_state){
		.base = IOAPIC_BASE,
		.select = ioapic->select,
		.id = ioapic->id,
	};
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		uint32_t bit = 1u << pin;

		out->redirection[pin] = ioapic->entry[pin];
		if (is_level(ioapic->entry[pin]) || !(ioapic->seen & bit))
			out->irr |= ioapic->asserted & bit;
	}
	pthread_mutex_unlock(&ioapic->lock);
}

int ioapic_state_set(struct ioapic *ioapic, const struct ioapic_state *in)
{
	if (in->base != IOAPIC_BASE || in->select > UINT8_MAX || in->id > ID_MASK ||
	    in->irr & ~PINS_MASK)
		return -EINVAL;
	pthread_mutex_lock(&ioapic->lock);
	ioapic->select = (uint8_t)in->select;
	ioapic->id = (uint8_t)in->id;
	ioapic->asserted = 0;
	ioapic->seen = 0;
	/* KVM keeps what guests write to reserved bits; here it is dropped. */
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		ioapic->entry[pin] = in->redirection[pin] & ENTRY_DEFINED & ~ENTRY_PENDING;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		if (in->irr & 1u << pin)
			pin_set(ioapic, pin, true);
	pthread_mutex_unlock(&ioapic->lock);
	return 0;
}

int ioapic_create(struct bus *mmio, const struct ioapic_config *config, struct ioapic **out)
{
	struct ioapic *ioapic = calloc(1, sizeof(*ioapic));
	int ret;

	if (!ioapic)
		return -ENOMEM;
	ioapic->mmio = mmio;
	ioapic->config = *config;
	if (!ioapic->config.version)
		ioapic->config.version = IOAPIC_VERSION_EOI;
	pthread_mutex_init(&ioapic->lock, NULL);
	ioapic_reset(ioapic);
	ret = bus_add(mmio, IOAPIC_BASE, IOAPIC_LENGTH, &ioapic_ops, ioapic);
	if (ret) {
		pthread_mutex_destroy(&ioapic->lock);
		free(ioapic);
		return ret;
	}
	*out = ioapic;
	return 0;
}

void ioapic_destroy(struct ioapic *ioapic)
{
	if (!ioapic)
		return;
	bus_remove(ioapic->mmio, IOAPIC_BASE, ioapic);
	pthread_mutex_destroy(&ioapic->lock);
	free(ioapic);
}
