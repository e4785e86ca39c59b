/* SPDX-License-Identifier: MIT */
/*
 * The PCI bus. Configuration accesses of any size are taken apart into bytes under one lock; a
 * write changes the bits that the `writable` mask allows. After a write to the command register or
 * a BAR the function's mappings are brought in line. What is not there reads as all ones.
 */
#include "devices/pci/pci.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/bytes.h"
#include "vmm/base/checked.h"

#define PORT_ADDRESS  0xcf8
#define PORT_DATA     0xcfc
#define ADDRESS_VALID 0x80000000u

#define SLOT_SHIFT         15 /* ECAM: bus 27:20, device 19:15, function 14:12, register 11:0 */
#define FUNCTION_SHIFT     12
#define ECAM_REGISTER_MASK 0xfffu

#define FIRST_CAPABILITY 0x40
#define BAR_MEMORY_MASK  0xfffffff0u
#define BAR_PORTS_MASK   0x0000fffcu
#define BAR_IS_PORTS     1u

struct pci_bus {
	struct pci_config config;
	struct pci_function bridge;
	pthread_mutex_t lock; /* guards all below and every function's config; before bus locks */
	struct pci_function *slot[PCI_SLOTS];
	uint32_t window_next, ports_next;
	uint32_t address;          /* what port 0xcf8 holds */
	pthread_mutex_t intx_lock; /* guards all below; a leaf lock */
	uint32_t intx_driven;      /* a bit a slot: the function wants its line high ... */
	uint32_t intx_disabled;    /* ... and this: its command register does not let it */
};

/* BARs on their bus. */

static uint64_t bar_read(void *device, uint64_t offset, unsigned size)
{
	struct pci_bar *bar = device;

	return bar->function->ops->bar_read(bar->function->device, bar->index, offset, size);
}

static void bar_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci_bar *bar = device;

	bar->function->ops->bar_write(bar->function->device, bar->index, offset, size, value);
}

static const struct bus_ops bar_ops = {.read = bar_read, .write = bar_write};

static struct bus *bar_bus(const struct pci_bar *bar)
{
	const struct vm *vm = bar->function->bus->config.vm;

	return bar->io ? vm->pio : vm->mmio;
}

static void bar_unmap(struct pci_bar *bar)
{
	struct pci_function *f = bar->function;

	if (!bar->mapped)
		return;
	bar->mapped = false;
	if (f->ops->bar_moved)
		f->ops->bar_moved(f->device, bar->index, bar->address, false);
	bus_remove(bar_bus(bar), bar->address, bar);
}

/* A BAR answers only within the window: a guest cannot lay one over the board's own devices. */
static bool bar_may_map(const struct pci_bar *bar, uint32_t address)
{
	const struct pci_config *config = &bar->function->bus->config;

	if (bar->fixed)
		return true;
	if (bar->io)
		return range_within(address, bar->size, config->ports_base, config->ports_size);
	return range_within(address, bar->size, config->window_base, config->window_size);
}

static uint32_t bar_wanted(const struct pci_bar *bar)
{
	uint32_t value = le32_get(bar->function->config + PCI_BAR + 4 * (size_t)bar->index);

	if (bar->fixed)
		return bar->home;
	return value & (bar->io ? BAR_PORTS_MASK : BAR_MEMORY_MASK);
}

/* Into its register. */
static void bar_put(struct pci_bar *bar, uint32_t address)
{
	if (!bar->fixed)
		le32_put(bar->function->config + PCI_BAR + 4 * (size_t)bar->index,
			 address | (bar->io ? BAR_IS_PORTS : 0));
}

static void bar_update(struct pci_bar *bar)
{
	struct pci_function *f = bar->function;
	uint32_t address = bar_wanted(bar);
	bool enabled =
		le16_get(f->config + PCI_COMMAND) & (bar->io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY);

	if (bar->mapped && enabled && bar->address == address)
		return;
	bar_unmap(bar);
	bar->address = address;
	if (!enabled || !bar_may_map(bar, address))
		return;
	/* Two BARs at one address: the first keeps it. The guest harms only itself. */
	if (bus_add(bar_bus(bar), address, bar->size, &bar_ops, bar))
		return;
	bar->mapped = true;
	if (f->ops->bar_moved)
		f->ops->bar_moved(f->device, bar->index, address, true);
}

static void bars_update(struct pci_function *f)
{
	for (unsigned i = 0; i < PCI_BARS; i++)
		if (f->bar[i].size)
			bar_update(&f->bar[i]);
}

/* INTx. Slots share lines, so that one function's end is not the line's. */

static void intx_update(struct pci_bus *bus, unsigned slot, uint32_t *bits, bool on)
{
	unsigned line = slot % bus->config.gsi_count;
	struct irq_line irq = {.vm = bus->config.vm, .gsi = bus->config.first_gsi + line};
	bool level = false;
	uint32_t high;

	pthread_mutex_lock(&bus->intx_lock);
	*bits = on ? *bits | 1u << slot : *bits & ~(1u << slot);
	high = bus->intx_driven & ~bus->intx_disabled;
	for (unsigned i = line; i < PCI_SLOTS; i += bus->config.gsi_count)
		level = level || high >> i & 1;
	irq_line_set(&irq, level);
	pthread_mutex_unlock(&bus->intx_lock);
}

void pci_intx_set(struct pci_function *function, bool level)
{
	struct pci_bus *bus = function->bus;

	if (bus)
		intx_update(bus, function->slot, &bus->intx_driven, level);
}

/* Configuration space. The lock is held. */

static void command_written(struct pci_function *f)
{
	uint16_t command = le16_get(f->config + PCI_COMMAND);

	bars_update(f);
	intx_update(f->bus, f->slot, &f->bus->intx_disabled, command & PCI_COMMAND_NO_INTX);
	if (f->ops->command_changed)
		f->ops->command_changed(f->device, command);
}

/* PCI 3.0, 6.2.3: the interrupt is pending, whether or not it is enabled. */
static void status_compute(struct pci_function *f)
{
	struct pci_bus *bus = f->bus;
	bool driven;

	pthread_mutex_lock(&bus->intx_lock);
	driven = bus->intx_driven >> f->slot & 1;
	pthread_mutex_unlock(&bus->intx_lock);
	f->config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTX;
	f->config[PCI_STATUS] |= driven ? PCI_STATUS_INTX : 0;
}

static uint64_t config_read(struct pci_bus *bus, unsigned slot, unsigned offset, unsigned size)
{
	struct pci_function *f = bus->slot[slot];
	uint64_t value = 0;

	if (!f)
		return ~0ull;
	if (range_overlaps(offset, size, PCI_STATUS, 2))
		status_compute(f);
	if (f->ops->config_reading)
		f->ops->config_reading(f->device, offset, size);
	/* The extended space is there and empty. */
	for (unsigned i = 0; i < size; i++)
		if (offset + i < PCI_CONFIG_SIZE)
			value |= (uint64_t)f->config[offset + i] << 8 * i;
	return value;
}

static void config_write(struct pci_bus *bus, unsigned slot, unsigned offset, unsigned size,
			 uint64_t value)
{
	struct pci_function *f = bus->slot[slot];

	if (!f || offset >= PCI_CONFIG_SIZE)
		return;
	for (unsigned i = 0; i < size && offset + i < PCI_CONFIG_SIZE; i++) {
		uint8_t mask = f->writable[offset + i];
		uint8_t *at = &f->config[offset + i];

		*at = (uint8_t)((*at & ~mask) | ((uint8_t)(value >> 8 * i) & mask));
	}
	if (range_overlaps(offset, size, PCI_COMMAND, 2))
		command_written(f);
	if (range_overlaps(offset, size, PCI_BAR, 4 * PCI_BARS))
		bars_update(f);
	if (f->ops->config_written && offset + size > FIRST_CAPABILITY)
		f->ops->config_written(f->device, offset, size);
}

/* Function 0 of a slot on bus 0, or nothing. */
static bool ecam_decode(uint64_t offset, unsigned *slot, unsigned *reg)
{
	*slot = (unsigned)(offset >> SLOT_SHIFT);
	*reg = (unsigned)(offset & ECAM_REGISTER_MASK);
	return *slot < PCI_SLOTS && (offset >> FUNCTION_SHIFT & 7) == 0;
}

static uint64_t ecam_read(void *device, uint64_t offset, unsigned size)
{
	struct pci_bus *bus = device;
	uint64_t value = ~0ull;
	unsigned slot, reg;

	if (!ecam_decode(offset, &slot, &reg))
		return value;
	pthread_mutex_lock(&bus->lock);
	value = config_read(bus, slot, reg, size);
	pthread_mutex_unlock(&bus->lock);
	return value;
}

static void ecam_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci_bus *bus = device;
	unsigned slot, reg;

	if (!ecam_decode(offset, &slot, &reg))
		return;
	pthread_mutex_lock(&bus->lock);
	config_write(bus, slot, reg, size, value);
	pthread_mutex_unlock(&bus->lock);
}

static const struct bus_ops ecam_ops = {.read = ecam_read, .write = ecam_write};

/* PCI 3.0, 3.2.2.3.2: only a whole doubleword at 0xcf8 is the address register. */
static uint64_t address_read(void *device, uint64_t offset, unsigned size)
{
	struct pci_bus *bus = device;
	uint64_t value = ~0ull;

	if (offset == 0 && size == 4) {
		pthread_mutex_lock(&bus->lock);
		value = bus->address;
		pthread_mutex_unlock(&bus->lock);
	}
	return value;
}

static void address_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci_bus *bus = device;

	if (offset != 0 || size != 4)
		return;
	pthread_mutex_lock(&bus->lock);
	bus->address = (uint32_t)value;
	pthread_mutex_unlock(&bus->lock);
}

static const struct bus_ops address_ops = {.read = address_read, .write = address_write};

/* The address register in terms of ECAM; the lock is held. */
static bool data_decode(const struct pci_bus *bus, uint64_t offset, unsigned *slot, unsigned *reg)
{
	uint64_t ecam = (uint64_t)(bus->address >> 8 & 0xffff) << FUNCTION_SHIFT;

	if (!(bus->address & ADDRESS_VALID))
		return false;
	return ecam_decode(ecam | (bus->address & 0xfc) | offset, slot, reg);
}

static uint64_t data_read(void *device, uint64_t offset, unsigned size)
{
	struct pci_bus *bus = device;
	uint64_t value = ~0ull;
	unsigned slot, reg;

	pthread_mutex_lock(&bus->lock);
	if (data_decode(bus, offset, &slot, &reg))
		value = config_read(bus, slot, reg, size);
	pthread_mutex_unlock(&bus->lock);
	return value;
}

static void data_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci_bus *bus = device;
	unsigned slot, reg;

	pthread_mutex_lock(&bus->lock);
	if (data_decode(bus, offset, &slot, &reg))
		config_write(bus, slot, reg, size, value);
	pthread_mutex_unlock(&bus->lock);
}

static const struct bus_ops data_ops = {.read = data_read, .write = data_write};

/* Functions. */

void pci_function_init(struct pci_function *function, const struct pci_id *id,
		       const struct pci_ops *ops, void *device)
{
	uint8_t *config = function->config;

	memset(function, 0, sizeof(*function));
	function->ops = ops;
	function->device = device;
	function->next_capability = FIRST_CAPABILITY;
	le16_put(config + PCI_VENDOR, id->vendor);
	le16_put(config + PCI_DEVICE, id->device);
	config[PCI_REVISION] = id->revision;
	config[PCI_CLASS] = (uint8_t)id->class;
	config[PCI_CLASS + 1] = (uint8_t)(id->class >> 8);
	config[PCI_CLASS + 2] = (uint8_t)(id->class >> 16);
	le16_put(config + PCI_SUBSYS_VENDOR, id->subsystem_vendor);
	le16_put(config + PCI_SUBSYS, id->subsystem);
	le16_put(function->writable + PCI_COMMAND,
		 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_NO_INTX);
	function->writable[PCI_IRQ_LINE] = 0xff;
}

void pci_function_add_bar(struct pci_function *function, unsigned bar, uint32_t size)
{
	assert(bar < PCI_BARS && size >= 16 && (size & (size - 1)) == 0);
	function->bar[bar] = (struct pci_bar){.function = function, .index = bar, .size = size};
	/* Address bits below the size read as zero: that is how the size is told. */
	le32_put(function->writable + PCI_BAR + 4 * (size_t)bar, ~(size - 1));
}

void pci_function_add_io_bar(struct pci_function *function, unsigned bar, uint32_t size)
{
	assert(bar < PCI_BARS && size >= 4 && (size & (size - 1)) == 0);
	function->bar[bar] =
		(struct pci_bar){.function = function, .index = bar, .size = size, .io = true};
	function->writable[PCI_COMMAND] |= PCI_COMMAND_IO;
	bar_put(&function->bar[bar], 0);
	/* PCI 3.0, 6.2.5.1: a part for PCs has no upper half. */
	le32_put(function->writable + PCI_BAR + 4 * (size_t)bar, ~(size - 1) & BAR_PORTS_MASK);
}

void pci_function_add_ports(struct pci_function *function, unsigned bar, uint16_t base,
			    uint32_t count)
{
	assert(bar < PCI_BARS);
	function->bar[bar] = (struct pci_bar){.function = function,
					      .index = bar,
					      .size = count,
					      .io = true,
					      .fixed = true,
					      .home = base};
	function->writable[PCI_COMMAND] |= PCI_COMMAND_IO;
}

unsigned pci_function_add_capability(struct pci_function *function, uint8_t id, unsigned length)
{
	unsigned at = function->next_capability;
	uint8_t *link = &function->config[PCI_CAPABILITIES];

	assert(at + length <= PCI_CONFIG_SIZE);
	while (*link)
		link = &function->config[*link + 1];
	*link = (uint8_t)at;
	function->config[at] = id;
	function->config[PCI_STATUS] |= PCI_STATUS_CAPABILITIES;
	function->next_capability = (uint8_t)align_up(at + length, 4);
	return at;
}

static int bar_place(struct pci_bus *bus, struct pci_bar *bar)
{
	uint32_t *next = bar->io ? &bus->ports_next : &bus->window_next;
	uint64_t at = align_up(*next, bar->size);

	if (bar->fixed)
		return 0;
	if (!bar_may_map(bar, (uint32_t)at))
		return -ENOSPC;
	bar->address = bar->home = (uint32_t)at;
	bar_put(bar, bar->address);
	*next = (uint32_t)(at + bar->size);
	return 0;
}

int pci_add(struct pci_bus *bus, unsigned slot, struct pci_function *function)
{
	int ret = 0;

	assert(slot < PCI_SLOTS);
	pthread_mutex_lock(&bus->lock);
	if (bus->slot[slot])
		ret = -EEXIST;
	function->bus = bus;
	for (unsigned i = 0; i < PCI_BARS && ret == 0; i++)
		if (function->bar[i].size)
			ret = bar_place(bus, &function->bar[i]);
	if (ret) {
		function->bus = NULL;
	} else {
		function->slot = slot;
		function->irq.vm = bus->config.vm;
		function->irq.gsi = bus->config.first_gsi + slot % bus->config.gsi_count;
		if (function->config[PCI_IRQ_PIN])
			function->config[PCI_IRQ_LINE] = (uint8_t)function->irq.gsi;
		bus->slot[slot] = function;
	}
	pthread_mutex_unlock(&bus->lock);
	return ret;
}

void pci_remove(struct pci_function *function)
{
	struct pci_bus *bus = function->bus;

	if (!bus)
		return;
	pci_intx_set(function, false);
	pthread_mutex_lock(&bus->lock);
	for (unsigned i = 0; i < PCI_BARS; i++)
		bar_unmap(&function->bar[i]);
	for (unsigned i = 0; i < PCI_SLOTS; i++)
		if (bus->slot[i] == function)
			bus->slot[i] = NULL;
	pthread_mutex_unlock(&bus->lock);
	function->bus = NULL;
}

void pci_function_reset(struct pci_function *function)
{
	struct pci_bus *bus = function->bus;

	pthread_mutex_lock(&bus->lock);
	le16_put(function->config + PCI_COMMAND, 0);
	for (unsigned i = 0; i < PCI_BARS; i++)
		if (function->bar[i].size)
			bar_put(&function->bar[i], function->bar[i].home);
	command_written(function);
	pthread_mutex_unlock(&bus->lock);
}

/* Saved state. */

static bool config_fits(const struct pci_function *f, const uint8_t *config)
{
	for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++)
		if ((config[i] ^ f->config[i]) & (uint8_t)~f->writable[i])
			return false;
	return true;
}

void pci_function_state(struct pci_function *f, struct codec *c)
{
	uint8_t config[PCI_CONFIG_SIZE] = {0};

	pthread_mutex_lock(&f->bus->lock);
	f->config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTX;
	if (!codec_loading(c))
		memcpy(config, f->config, sizeof(config));
	codec_begin(c, "pci-function", f->slot, 1);
	codec_bytes(c, config, sizeof(config));
	if (codec_good(c) && !config_fits(f, config))
		codec_fail(c, -EINVAL, "give the guest the devices that it was saved with",
			   "it is of another device than the one in this slot");
	codec_end(c);
	if (codec_loading(c) && codec_good(c)) {
		memcpy(f->config, config, sizeof(config));
		command_written(f);
	}
	pthread_mutex_unlock(&f->bus->lock);
}

void pci_bus_state(struct pci_bus *bus, struct codec *c)
{
	uint32_t address = 0;

	pthread_mutex_lock(&bus->lock);
	if (!codec_loading(c))
		address = bus->address;
	codec_begin(c, "pci", 0, 1);
	codec_u32(c, &address);
	codec_end(c);
	if (codec_loading(c) && codec_good(c))
		bus->address = address;
	pthread_mutex_unlock(&bus->lock);
	pci_function_state(&bus->bridge, c);
}

/* The bus and its bridge. */

static const struct pci_ops bridge_ops = {0};

int pci_bus_create(const struct pci_config *config, struct pci_bus **out)
{
	/* The part number of Red Hat's generic host bridge: it wants no driver. */
	static const struct pci_id id = {.vendor = 0x1b36,
					 .device = 0x0008,
					 .class = 0x060000,
					 .subsystem_vendor = 0x1af4,
					 .subsystem = 0x1100};
	struct pci_bus *bus = calloc(1, sizeof(*bus));
	int ret;

	if (!bus)
		return -ENOMEM;
	bus->config = *config;
	bus->window_next = config->window_base;
	bus->ports_next = config->ports_base;
	pthread_mutex_init(&bus->lock, NULL);
	pthread_mutex_init(&bus->intx_lock, NULL);
	pci_function_init(&bus->bridge, &id, &bridge_ops, bus);
	ret = pci_add(bus, 0, &bus->bridge);
	if (ret == 0)
		ret = bus_add(config->vm->mmio, config->ecam_base, config->ecam_size, &ecam_ops,
			      bus);
	if (ret == 0)
		ret = bus_add(config->vm->pio, PORT_ADDRESS, 4, &address_ops, bus);
	if (ret == 0)
		ret = bus_add(config->vm->pio, PORT_DATA, 4, &data_ops, bus);
	if (ret) {
		pci_bus_destroy(bus);
		return ret;
	}
	*out = bus;
	return 0;
}

void pci_bus_destroy(struct pci_bus *bus)
{
	if (!bus)
		return;
	bus_remove(bus->config.vm->mmio, bus->config.ecam_base, bus);
	bus_remove(bus->config.vm->pio, PORT_ADDRESS, bus);
	bus_remove(bus->config.vm->pio, PORT_DATA, bus);
	pci_remove(&bus->bridge);
	pthread_mutex_destroy(&bus->intx_lock);
	pthread_mutex_destroy(&bus->lock);
	free(bus);
}
