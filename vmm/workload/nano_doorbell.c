/* SPDX-License-Identifier: MIT */
/*
 * The least of a driver that makes a virtio device listen to its doorbell: virtio 1.2, 3.1.1
 * and 4.1. Configuration space by ports; BARs are where firmware or the VMM put them.
 */
#include "vmm/workload/nano.h"

#include "vmm/workload/guest.h"

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA    0xcfc
#define SLOTS          32u

#define PCI_COMMAND      0x04u
#define PCI_BAR          0x10u
#define PCI_CAPABILITIES 0x34u
#define PCI_MEMORY       0x6u /* and bus master */
#define VENDOR_VIRTIO    0x1af4u
#define DEVICE_FIRST     0x1000u
#define CAPABILITY       0x09u

enum { KIND_COMMON = 1, KIND_NOTIFY = 2 };

/* The common configuration: 4.1.4.3. */
#define FEATURE_SELECT 8
#define FEATURE        12
#define STATUS         20
#define QUEUE_SELECT   22
#define QUEUE_SIZE     24
#define QUEUE_ENABLE   28
#define QUEUE_NOTIFY   30
#define QUEUE_RINGS    32 /* three addresses */

#define ENTRIES 16u

static uint8_t rings[3][4096] __attribute__((aligned(4096)));

static uint32_t config_read(unsigned slot, unsigned offset)
{
	uint32_t value;

	__asm__ volatile("outl %0, %1"
			 :
			 : "a"(0x80000000u | slot << 11 | (offset & ~3u)),
			   "d"((uint16_t)CONFIG_ADDRESS));
	__asm__ volatile("inl %1, %0" : "=a"(value) : "d"((uint16_t)CONFIG_DATA));
	return value >> 8 * (offset & 3);
}

static void config_write(unsigned slot, unsigned offset, uint32_t value)
{
	__asm__ volatile("outl %0, %1"
			 :
			 : "a"(0x80000000u | slot << 11 | offset), "d"((uint16_t)CONFIG_ADDRESS));
	__asm__ volatile("outl %0, %1" : : "a"(value), "d"((uint16_t)CONFIG_DATA));
}

/* Where that BAR is, if the tables map it. */
static uint64_t bar_address(unsigned slot, unsigned bar)
{
	uint32_t low = config_read(slot, PCI_BAR + 4 * bar), high = 0;

	if (low & 1)
		return 0;
	if ((low & 6) == 4)
		high = config_read(slot, PCI_BAR + 4 * bar + 4);
	return high ? 0 : low & ~15u;
}

static void capabilities(unsigned slot, uint64_t *common, uint64_t *notify, uint32_t *multiplier)
{
	unsigned at = config_read(slot, PCI_CAPABILITIES) & 0xfc;

	/* A list of more is a loop. */
	for (unsigned i = 0; at && i < 48; i++) {
		uint32_t head = config_read(slot, at);
		uint64_t base = bar_address(slot, config_read(slot, at + 4) & 0xff);
		uint32_t offset = config_read(slot, at + 8);

		if ((head & 0xff) == CAPABILITY && base && head >> 24 == KIND_COMMON)
			*common = base + offset;
		if ((head & 0xff) == CAPABILITY && base && head >> 24 == KIND_NOTIFY) {
			*notify = base + offset;
			*multiplier = config_read(slot, at + 16);
		}
		at = head >> 8 & 0xfc;
	}
}

static volatile uint8_t *reg8(uint64_t common, unsigned offset)
{
	return (volatile uint8_t *)(common + offset);
}

static volatile uint16_t *reg16(uint64_t common, unsigned offset)
{
	return (volatile uint16_t *)(common + offset);
}

static volatile uint32_t *reg32(uint64_t common, unsigned offset)
{
	return (volatile uint32_t *)(common + offset);
}

static uint64_t make_ready(uint64_t common, uint64_t notify, uint32_t multiplier)
{
	*reg8(common, STATUS) = 0;
	while (*reg8(common, STATUS))
		;
	*reg8(common, STATUS) = 3; /* ACKNOWLEDGE, DRIVER */
	*reg32(common, FEATURE_SELECT) = 1;
	*reg32(common, FEATURE) = 1; /* VERSION_1 */
	*reg32(common, FEATURE_SELECT) = 0;
	*reg32(common, FEATURE) = 0;
	*reg8(common, STATUS) = 11; /* FEATURES_OK */
	*reg16(common, QUEUE_SELECT) = 0;
	if (*reg16(common, QUEUE_SIZE) > ENTRIES)
		*reg16(common, QUEUE_SIZE) = ENTRIES;
	for (unsigned i = 0; i < 3; i++) {
		*reg32(common, QUEUE_RINGS + 8 * i) = (uint32_t)(uint64_t)rings[i];
		*reg32(common, QUEUE_RINGS + 8 * i + 4) = 0;
	}
	*reg16(common, QUEUE_ENABLE) = 1;
	*reg8(common, STATUS) = 15; /* DRIVER_OK */
	return notify + (uint64_t)*reg16(common, QUEUE_NOTIFY) * multiplier;
}

uint64_t nano_doorbell(void)
{
	for (unsigned slot = 0; slot < SLOTS; slot++) {
		uint32_t id = config_read(slot, 0), multiplier = 0;
		uint64_t common = 0, notify = 0;

		if ((id & 0xffff) != VENDOR_VIRTIO || id >> 16 < DEVICE_FIRST)
			continue;
		config_write(slot, PCI_COMMAND, config_read(slot, PCI_COMMAND) | PCI_MEMORY);
		capabilities(slot, &common, &notify, &multiplier);
		if (common && notify)
			return make_ready(common, notify, multiplier);
	}
	return 0;
}
