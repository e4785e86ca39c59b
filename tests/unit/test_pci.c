/* SPDX-License-Identifier: MIT */
/* The PCI bus, and MSI-X behind it: configuration space both ways, BARs, INTx. */
#include "tests/unit/unit.h"

#include "devices/pci/msix.h"
#include "devices/pci/pci.h"
#include "tests/fake_vm.h"

#define ECAM                 0xe0000000ull
#define ECAM_SIZE            0x100000ull
#define WINDOW               0xc0000000u
#define WINDOW_SIZE          0x100000u
#define BAR_SIZE             0x1000u
#define PORTS                0x2000u
#define PORTS_SIZE           0x100u
#define CONFIG(slot, offset) (ECAM + ((uint64_t)(slot) << 15) + (offset))

/* A function with two BARs, a capability and MSI-X in BAR 1. */
struct device {
	struct pci_function pci;
	struct msix msix;
	unsigned capability;
	uint64_t last_offset, last_value;
	unsigned last_bar, last_size;
	unsigned moves;
	uint64_t mapped_at[2]; /* as bar_moved tells; 0: not */
	unsigned config_writes;
};

struct fixture {
	struct fake_vm *fake;
	struct bus *mmio, *pio;
	struct pci_bus *pci;
	struct device a, b;
};

static uint64_t bar_read(void *arg, unsigned bar, uint64_t offset, unsigned size)
{
	struct device *d = arg;

	if (bar == 1 && offset < 0x800)
		return msix_table_read(&d->msix, offset, size);
	if (bar == 1)
		return msix_pba_read(&d->msix, offset - 0x800, size);
	return 0x1000 * (uint64_t)bar + offset;
}

static void bar_write(void *arg, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	struct device *d = arg;

	if (bar == 1)
		msix_table_write(&d->msix, offset, size, value);
	d->last_bar = bar;
	d->last_offset = offset;
	d->last_size = size;
	d->last_value = value;
}

static void bar_moved(void *arg, unsigned bar, uint64_t address, bool mapped)
{
	struct device *d = arg;

	assert_true(mapped ? d->mapped_at[bar] == 0 : d->mapped_at[bar] == address);
	d->mapped_at[bar] = mapped ? address : 0;
	d->moves++;
}

static void config_written(void *arg, unsigned offset, unsigned size)
{
	struct device *d = arg;

	d->config_writes++;
	msix_config_written(&d->msix, offset, size);
}

static const struct pci_ops ops = {
	.bar_read = bar_read,
	.bar_write = bar_write,
	.bar_moved = bar_moved,
	.config_written = config_written,
};

static void device_add(struct fixture *f, struct device *d, unsigned slot)
{
	static const struct pci_id id = {
		.vendor = 0x1af4,
		.device = 0x1042,
		.subsystem_vendor = 0x1234,
		.subsystem = 0x5678,
		.revision = 9,
		.class = 0x010203,
	};

	pci_function_init(&d->pci, &id, &ops, d);
	pci_function_add_bar(&d->pci, 0, BAR_SIZE);
	pci_function_add_bar(&d->pci, 1, BAR_SIZE);
	d->pci.config[PCI_IRQ_PIN] = 1;
	assert_int_equal(msix_init(&d->msix, &d->pci, 3, 1, 0, 0x800), 0);
	d->capability = pci_function_add_capability(&d->pci, 0x09, 10);
	assert_int_equal(pci_add(f->pci, slot, &d->pci), 0);
}

static void device_remove(struct device *d)
{
	pci_remove(&d->pci);
	msix_destroy(&d->msix);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct pci_config config;

	assert_non_null(f);
	f->fake = fake_vm_create(0);
	f->mmio = f->fake->vm.mmio;
	f->pio = f->fake->vm.pio;
	config = (struct pci_config){
		.vm = &f->fake->vm,
		.ecam_base = ECAM,
		.ecam_size = ECAM_SIZE,
		.window_base = WINDOW,
		.window_size = WINDOW_SIZE,
		.ports_base = PORTS,
		.ports_size = PORTS_SIZE,
		.first_gsi = 16,
		.gsi_count = 8,
	};
	assert_int_equal(pci_bus_create(&config, &f->pci), 0);
	device_add(f, &f->a, 1);
	device_add(f, &f->b, 10);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	device_remove(&f->a);
	device_remove(&f->b);
	pci_bus_destroy(f->pci);
	fake_vm_destroy(f->fake);
	free(f);
	return 0;
}

static uint32_t get(struct fixture *f, unsigned slot, unsigned offset, unsigned size)
{
	return (uint32_t)bus_read(f->mmio, CONFIG(slot, offset), size);
}

static void put(struct fixture *f, unsigned slot, unsigned offset, unsigned size, uint64_t value)
{
	bus_write(f->mmio, CONFIG(slot, offset), size, value);
}

static uint32_t port_get(struct fixture *f, uint16_t port, unsigned size)
{
	return (uint32_t)(bus_read(f->pio, port, size) & ~0ull >> (64 - 8 * size));
}

static uint32_t bar_get(struct fixture *f, unsigned slot, unsigned bar)
{
	return get(f, slot, PCI_BAR + 4 * bar, 4);
}

static void bar_put(struct fixture *f, unsigned slot, unsigned bar, uint32_t value)
{
	put(f, slot, PCI_BAR + 4 * bar, 4, value);
}

static void memory_enable(struct fixture *f, unsigned slot)
{
	put(f, slot, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
}

static void header(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, 1, PCI_VENDOR, 4), 0x10421af4);
	assert_int_equal(get(f, 1, PCI_REVISION, 4), 0x01020309);
	assert_int_equal(get(f, 1, PCI_SUBSYS_VENDOR, 4), 0x56781234);
	assert_int_equal(get(f, 1, PCI_IRQ_PIN, 1), 1);
	assert_int_equal(get(f, 1, PCI_IRQ_LINE, 1), 17);
	assert_int_equal(get(f, 10, PCI_IRQ_LINE, 1), 18);
	assert_int_equal(get(f, 1, PCI_STATUS, 2), PCI_STATUS_CAPABILITIES);
	/* The host bridge. */
	assert_int_equal(get(f, 0, PCI_CLASS + 1, 2), 0x0600);
	assert_int_equal(get(f, 0, PCI_STATUS, 2), 0);
	/* Read-only fields stay. */
	put(f, 1, PCI_VENDOR, 4, 0);
	put(f, 1, PCI_IRQ_PIN, 1, 4);
	put(f, 1, PCI_STATUS, 2, 0xffff);
	assert_int_equal(get(f, 1, PCI_VENDOR, 4), 0x10421af4);
	assert_int_equal(get(f, 1, PCI_IRQ_PIN, 1), 1);
	assert_int_equal(get(f, 1, PCI_STATUS, 2), PCI_STATUS_CAPABILITIES);
	/* The interrupt line is the guest's to write. */
	put(f, 1, PCI_IRQ_LINE, 1, 5);
	assert_int_equal(get(f, 1, PCI_IRQ_LINE, 1), 5);
}

static void capabilities_are_a_list(void **state)
{
	struct fixture *f = *state;
	unsigned at = get(f, 1, PCI_CAPABILITIES, 1);

	assert_int_equal(at, f->a.msix.capability);
	assert_int_equal(get(f, 1, at, 1), 0x11);
	at = get(f, 1, at + 1, 1);
	assert_int_equal(at, f->a.capability);
	assert_int_equal(at % 4, 0);
	assert_int_equal(get(f, 1, at, 1), 0x09);
	assert_int_equal(get(f, 1, at + 1, 1), 0);
}

static void absent_functions(void **state)
{
	struct fixture *f = *state;

	for (unsigned size = 1; size <= 4; size *= 2) {
		uint32_t ones = (uint32_t)(~0ull >> (64 - 8 * size));
		uint64_t mask = ~0ull >> (64 - 8 * size);

		assert_int_equal(get(f, 2, PCI_VENDOR, size) & mask, ones);
		/* Function 1 of a slot that is there; another bus. */
		assert_int_equal(bus_read(f->mmio, CONFIG(1, 0x1000), size) & mask, ones);
		put(f, 2, PCI_COMMAND, size, 0);
		bus_write(f->mmio, CONFIG(1, 0x1000), size, 0);
	}
	assert_int_equal(bus_read(f->mmio, ECAM + ECAM_SIZE, 4), 0xffffffff);
}

static void extended_space_is_empty(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, 1, 0x100, 4), 0);
	put(f, 1, 0x100, 4, ~0u);
	assert_int_equal(get(f, 1, 0x100, 4), 0);
	assert_int_equal(get(f, 1, 0xfff, 1), 0);
	assert_int_equal(get(f, 1, 0xfe, 4), 0); /* over the edge */
	put(f, 1, 0xfe, 4, ~0u);
}

/* Any access is the bytes it covers. */
static void unaligned_and_odd_sizes(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, 1, 1, 2), 0x421a);
	assert_int_equal(get(f, 1, 3, 4), 0x10000010);
	assert_int_equal(bus_read(f->mmio, CONFIG(1, 0), 8), 0x0010000010421af4ull);
	put(f, 1, PCI_COMMAND, 1, PCI_COMMAND_MASTER);
	put(f, 1, PCI_COMMAND + 1, 1, PCI_COMMAND_NO_INTX >> 8);
	assert_int_equal(get(f, 1, PCI_COMMAND, 2), PCI_COMMAND_MASTER | PCI_COMMAND_NO_INTX);
	/* Only bits that there are. */
	put(f, 1, PCI_COMMAND, 2, 0xffff);
	assert_int_equal(get(f, 1, PCI_COMMAND, 2),
			 PCI_COMMAND_MASTER | PCI_COMMAND_NO_INTX | PCI_COMMAND_MEMORY);
}

static void ports(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(port_get(f, 0xcfc, 4), 0xffffffff); /* nothing was selected */
	bus_write(f->pio, 0xcf8, 4, 0x80000000u | 1 << 11);
	assert_int_equal(port_get(f, 0xcf8, 4), 0x80000800u);
	assert_int_equal(port_get(f, 0xcfc, 4), 0x10421af4);
	assert_int_equal(port_get(f, 0xcfc, 2), 0x1af4);
	assert_int_equal(port_get(f, 0xcfe, 2), 0x1042);
	assert_int_equal(port_get(f, 0xcff, 1), 0x10);
	assert_int_equal(port_get(f, 0xcff, 2), 0xffff); /* over the edge */
	/* Bytes and words at 0xcf8 are not the address register. */
	bus_write(f->pio, 0xcf8, 1, 0);
	bus_write(f->pio, 0xcf9, 1, 0);
	bus_write(f->pio, 0xcfa, 2, 0);
	assert_int_equal(port_get(f, 0xcf8, 4), 0x80000800u);
	assert_int_equal(port_get(f, 0xcf8, 1), 0xff);
	/* Writes. */
	bus_write(f->pio, 0xcf8, 4, 0x80000000u | 1 << 11 | PCI_COMMAND);
	bus_write(f->pio, 0xcfc, 2, PCI_COMMAND_MASTER);
	assert_int_equal(get(f, 1, PCI_COMMAND, 2), PCI_COMMAND_MASTER);
	/* Disabled, another bus, another function, an empty slot. */
	bus_write(f->pio, 0xcf8, 4, 1 << 11);
	assert_int_equal(port_get(f, 0xcfc, 4), 0xffffffff);
	bus_write(f->pio, 0xcfc, 4, 0);
	bus_write(f->pio, 0xcf8, 4, 0x80000000u | 1 << 16 | 1 << 11);
	assert_int_equal(port_get(f, 0xcfc, 4), 0xffffffff);
	bus_write(f->pio, 0xcf8, 4, 0x80000000u | 1 << 11 | 1 << 8);
	assert_int_equal(port_get(f, 0xcfc, 4), 0xffffffff);
	bus_write(f->pio, 0xcf8, 4, 0x80000000u | 31 << 11);
	assert_int_equal(port_get(f, 0xcfc, 4), 0xffffffff);
}

static void bars_are_placed(void **state)
{
	struct fixture *f = *state;
	uint32_t seen[4] = {bar_get(f, 1, 0), bar_get(f, 1, 1), bar_get(f, 10, 0),
			    bar_get(f, 10, 1)};

	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(seen[i] % BAR_SIZE, 0);
		assert_true(range_within(seen[i], BAR_SIZE, WINDOW, WINDOW_SIZE));
		for (unsigned k = 0; k < i; k++)
			assert_false(range_overlaps(seen[i], BAR_SIZE, seen[k], BAR_SIZE));
		/* Nothing answers before the guest says so. */
		assert_int_equal(bus_read(f->mmio, seen[i], 4), 0xffffffff);
	}
	assert_int_equal(bar_get(f, 1, 2), 0);
	bar_put(f, 1, 2, ~0u);
	assert_int_equal(bar_get(f, 1, 2), 0);
}

static void bar_sizing(void **state)
{
	struct fixture *f = *state;
	uint32_t old = bar_get(f, 1, 0);

	for (unsigned enabled = 0; enabled < 2; enabled++) {
		if (enabled)
			memory_enable(f, 1);
		bar_put(f, 1, 0, ~0u);
		assert_int_equal(bar_get(f, 1, 0), ~(BAR_SIZE - 1));
		bar_put(f, 1, 0, old);
		assert_int_equal(bar_get(f, 1, 0), old);
	}
	assert_int_equal(bus_read(f->mmio, old + 8ull, 4), 8);
}

static void bar_maps_moves_and_goes(void **state)
{
	struct fixture *f = *state;
	uint32_t old = bar_get(f, 1, 0), new = WINDOW + WINDOW_SIZE - BAR_SIZE;

	memory_enable(f, 1);
	assert_int_equal(f->a.moves, 2);
	assert_int_equal(f->a.mapped_at[0], old);
	assert_int_equal(bus_read(f->mmio, old + 0x10ull, 4), 0x10);
	bus_write(f->mmio, old + BAR_SIZE - 2, 2, 0xbeef);
	assert_int_equal(f->a.last_offset, BAR_SIZE - 2);
	assert_int_equal(f->a.last_value, 0xbeef);
	/* A write that changes nothing moves nothing. */
	memory_enable(f, 1);
	bar_put(f, 1, 0, old | 0xf);
	assert_int_equal(f->a.moves, 2);
	/* To the window's end. */
	bar_put(f, 1, 0, new);
	assert_int_equal(f->a.mapped_at[0], new);
	assert_int_equal(bus_read(f->mmio, old, 4), 0xffffffff);
	assert_int_equal(bus_read(f->mmio, new + 4ull, 4), 4);
	/* Off. */
	put(f, 1, PCI_COMMAND, 2, 0);
	assert_int_equal(f->a.mapped_at[0], 0);
	assert_int_equal(f->a.mapped_at[1], 0);
	assert_int_equal(bus_read(f->mmio, new, 4), 0xffffffff);
}

/* A BAR may be written in bytes; in between it is wherever that is. */
static void bar_written_in_pieces(void **state)
{
	struct fixture *f = *state;
	uint32_t new = WINDOW + 0x45000;

	memory_enable(f, 1);
	for (unsigned i = 0; i < 4; i++)
		put(f, 1, PCI_BAR + i, 1, new >> 8 * i & 0xff);
	assert_int_equal(bar_get(f, 1, 0), new);
	assert_int_equal(f->a.mapped_at[0], new);
}

/* The guest cannot lay a BAR over RAM or the board's own devices. */
static void bar_outside_of_window(void **state)
{
	static const uint32_t addresses[] = {
		0,           0x1000,      WINDOW - BAR_SIZE, WINDOW + WINDOW_SIZE,
		0xe0000000u, 0xfee00000u, 0xfffff000u,
	};
	struct fixture *f = *state;

	memory_enable(f, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(addresses); i++) {
		bar_put(f, 1, 0, addresses[i]);
		assert_int_equal(bar_get(f, 1, 0), addresses[i]);
		assert_int_equal(f->a.mapped_at[0], 0);
	}
	assert_int_equal(get(f, 1, PCI_VENDOR, 4), 0x10421af4); /* ECAM is still there */
	bar_put(f, 1, 0, WINDOW + 0x8000);
	assert_int_equal(f->a.mapped_at[0], WINDOW + 0x8000);
}

static void bars_overlap(void **state)
{
	struct fixture *f = *state;
	uint32_t first = bar_get(f, 1, 0), second = bar_get(f, 10, 0);

	memory_enable(f, 1);
	memory_enable(f, 10);
	bar_put(f, 10, 0, first);
	assert_int_equal(f->a.mapped_at[0], first); /* who was there stays */
	assert_int_equal(f->b.mapped_at[0], 0);
	bus_write(f->mmio, first, 4, 1);
	assert_int_equal(f->a.last_value, 1);
	/* The second going away does not take the first along. */
	put(f, 10, PCI_COMMAND, 2, 0);
	assert_int_equal(bus_read(f->mmio, first + 4ull, 4), 4);
	bar_put(f, 10, 0, second);
	memory_enable(f, 10);
	assert_int_equal(f->b.mapped_at[0], second);
}

static void slots_and_window_are_finite(void **state)
{
	struct fixture *f = *state;
	static const struct pci_id id = {.vendor = 1};
	struct pci_function *function = calloc(1, sizeof(*function));

	assert_non_null(function);
	pci_function_init(function, &id, &ops, &f->a);
	assert_int_equal(pci_add(f->pci, 1, function), -EEXIST);
	assert_int_equal(pci_add(f->pci, 0, function), -EEXIST);
	pci_remove(function); /* was never added */
	pci_function_add_bar(function, 0, WINDOW_SIZE);
	assert_int_equal(pci_add(f->pci, 2, function), -ENOSPC);
	assert_int_equal(get(f, 2, 0, 2) & 0xffff, 0xffff);
	assert_int_equal(get(f, 1, PCI_VENDOR, 4), 0x10421af4);
	free(function);
}

static void removed_function_is_gone(void **state)
{
	struct fixture *f = *state;
	uint32_t at = bar_get(f, 1, 0);

	memory_enable(f, 1);
	pci_remove(&f->a.pci);
	assert_int_equal(get(f, 1, PCI_VENDOR, 2) & 0xffff, 0xffff);
	assert_int_equal(bus_read(f->mmio, at, 4), 0xffffffff);
	assert_int_equal(f->a.mapped_at[0], 0);
	assert_int_equal(pci_add(f->pci, 1, &f->a.pci), 0);
}

/* Found by this test: the BARs stayed where the guest had put them. */
static void reset_puts_bars_back(void **state)
{
	struct fixture *f = *state;
	uint32_t old = bar_get(f, 1, 0);

	memory_enable(f, 1);
	bar_put(f, 1, 0, WINDOW + 0x80000);
	pci_function_reset(&f->a.pci);
	assert_int_equal(get(f, 1, PCI_COMMAND, 2), 0);
	assert_int_equal(f->a.mapped_at[0], 0);
	assert_int_equal(bar_get(f, 1, 0), old);
	memory_enable(f, 1);
	assert_int_equal(f->a.mapped_at[0], old);
}

static void intx(void **state)
{
	struct fixture *f = *state;

	pci_intx_set(&f->a.pci, true);
	assert_true(f->fake->level[17]);
	assert_false(f->fake->level[18]);
	pci_intx_set(&f->a.pci, false);
	assert_false(f->fake->level[17]);
	put(f, 1, PCI_COMMAND, 2, PCI_COMMAND_NO_INTX);
	pci_intx_set(&f->a.pci, true);
	assert_false(f->fake->level[17]);
	pci_intx_set(&f->a.pci, false);
}

/* MSI-X. */

#define CONTROL(f)    ((f)->a.msix.capability + 2)
#define ENABLE        0x8000u
#define FUNCTION_MASK 0x4000u
#define TABLE(f)      (bar_get(f, 1, 1))
#define ENTRY_CONTROL 12
#define PBA           0x800

static void entry_put(struct fixture *f, unsigned vector, unsigned offset, uint32_t value)
{
	bus_write(f->mmio, TABLE(f) + 16ull * vector + offset, 4, value);
}

static void entry_fill(struct fixture *f, unsigned vector, uint32_t data)
{
	entry_put(f, vector, 0, 0xfee01000);
	entry_put(f, vector, 4, 0);
	entry_put(f, vector, 8, data);
}

static void msix_layout(void **state)
{
	struct fixture *f = *state;
	unsigned cap = f->a.msix.capability;

	assert_int_equal(get(f, 1, cap + 2, 2), 2); /* vectors less one, off */
	assert_int_equal(get(f, 1, cap + 4, 4), 1); /* BAR 1, from its start */
	assert_int_equal(get(f, 1, cap + 8, 4), 0x801);
	put(f, 1, cap + 2, 2, 0xffff);
	assert_int_equal(get(f, 1, cap + 2, 2), 2 | ENABLE | FUNCTION_MASK);
	put(f, 1, cap + 4, 4, 0);
	assert_int_equal(get(f, 1, cap + 4, 4), 1);
	memory_enable(f, 1);
	assert_int_equal(bus_read(f->mmio, TABLE(f) + 12ull, 4), 1); /* masked at first */
}

static void msix_sends(void **state)
{
	struct fixture *f = *state;
	struct msi_line *line;

	memory_enable(f, 1);
	assert_false(msix_signal(&f->a.msix, 1)); /* off: it is for INTx */
	put(f, 1, CONTROL(f), 2, ENABLE);
	entry_fill(f, 1, 0x4041);
	assert_int_equal(f->fake->line_count, 0); /* still masked: no line is used up */
	entry_put(f, 1, ENTRY_CONTROL, 0);
	assert_int_equal(f->fake->line_count, 1);
	line = fake_line_find(f->fake, 0x4041);
	assert_non_null(line);
	assert_int_equal(line->message.address, 0xfee01000);
	assert_true(msix_signal(&f->a.msix, 1));
	assert_int_equal(fake_line_signals(line), 1);
	/* A vector that is not there is nothing, and is not INTx either. */
	assert_true(msix_signal(&f->a.msix, 3));
	assert_true(msix_signal(&f->a.msix, MSIX_NO_VECTOR));
	assert_int_equal(fake_line_signals(line), 0);
	/* A changed message goes to the line. */
	entry_put(f, 1, 8, 0x4042);
	assert_int_equal(line->message.data, 0x4042);
}

static void msix_masks(void **state)
{
	struct fixture *f = *state;
	struct msi_line *line;

	memory_enable(f, 1);
	put(f, 1, CONTROL(f), 2, ENABLE);
	entry_fill(f, 2, 0x55);
	/* Pending while masked, and sent once when it is unmasked. */
	msix_signal(&f->a.msix, 2);
	msix_signal(&f->a.msix, 2);
	assert_int_equal(bus_read(f->mmio, TABLE(f) + PBA, 8), 1 << 2);
	entry_put(f, 2, ENTRY_CONTROL, 0);
	line = fake_line_find(f->fake, 0x55);
	assert_non_null(line);
	assert_int_equal(fake_line_signals(line), 1);
	assert_int_equal(bus_read(f->mmio, TABLE(f) + PBA, 8), 0);
	/* The function's mask. */
	put(f, 1, CONTROL(f), 2, ENABLE | FUNCTION_MASK);
	assert_true(msix_signal(&f->a.msix, 2));
	assert_int_equal(fake_line_signals(line), 0);
	assert_int_equal(bus_read(f->mmio, TABLE(f) + PBA, 1), 1 << 2);
	/* A message that is written under the mask counts when it is lifted. */
	entry_put(f, 2, 8, 0x56);
	assert_int_equal(line->message.data, 0x55);
	put(f, 1, CONTROL(f), 2, ENABLE);
	assert_int_equal(line->message.data, 0x56);
	assert_int_equal(fake_line_signals(line), 1);
	/* The pending bits are read-only. */
	bus_write(f->mmio, TABLE(f) + PBA, 4, ~0u);
	assert_int_equal(bus_read(f->mmio, TABLE(f) + PBA, 4), 0);
}

static void msix_odd_accesses(void **state)
{
	struct fixture *f = *state;
	uint32_t table;

	memory_enable(f, 1);
	table = TABLE(f);
	bus_write(f->mmio, table, 8, 0x1122334455667788ull);
	assert_int_equal(bus_read(f->mmio, table, 4), 0x55667788);
	assert_int_equal(bus_read(f->mmio, table + 3, 2), 0x4455);
	bus_write(f->mmio, table + 1, 1, 0xaa);
	assert_int_equal(bus_read(f->mmio, table, 8), 0x112233445566aa88ull);
	/* Over an entry's end, behind the table, behind the pending bits. */
	assert_int_equal(bus_read(f->mmio, table + 14, 4), 0);
	bus_write(f->mmio, table + 14, 4, ~0u);
	assert_int_equal(bus_read(f->mmio, table + 16, 4), 0);
	assert_int_equal(bus_read(f->mmio, table + 48, 4), 0);
	bus_write(f->mmio, table + 48, 4, ~0u);
	assert_int_equal(bus_read(f->mmio, table + BAR_SIZE - 8, 8), 0);
}

/* Lines run out: the vector is mute, the device lives. */
static void msix_without_lines(void **state)
{
	struct fixture *f = *state;

	f->fake->lines_left = 0;
	memory_enable(f, 1);
	put(f, 1, CONTROL(f), 2, ENABLE);
	entry_fill(f, 0, 1);
	entry_put(f, 0, ENTRY_CONTROL, 0);
	assert_int_equal(f->fake->line_count, 0);
	assert_true(msix_signal(&f->a.msix, 0));
}

static void msix_reset_forgets(void **state)
{
	struct fixture *f = *state;
	struct msi_line *line;

	memory_enable(f, 1);
	put(f, 1, CONTROL(f), 2, ENABLE);
	entry_fill(f, 0, 7);
	entry_put(f, 0, ENTRY_CONTROL, 0);
	msix_signal(&f->a.msix, 1);
	line = fake_line_find(f->fake, 7);
	msix_reset(&f->a.msix);
	assert_int_equal(get(f, 1, CONTROL(f), 2), 2);
	assert_int_equal(bus_read(f->mmio, TABLE(f) + 12ull, 4), 1);
	assert_int_equal(bus_read(f->mmio, TABLE(f), 8), 0);
	assert_int_equal(bus_read(f->mmio, TABLE(f) + PBA, 8), 0);
	assert_false(msix_signal(&f->a.msix, 0));
	assert_int_equal(fake_line_signals(line), 0);
}

/* Found by this test: a write that began before the first capability was not told of. */
static void wide_write_reaches_capability(void **state)
{
	struct fixture *f = *state;

	put(f, 1, 0x3c, 8, (uint64_t)ENABLE << 48);
	assert_int_equal(get(f, 1, CONTROL(f), 2), 2 | ENABLE);
	assert_true(msix_signal(&f->a.msix, 0));
}

static void command_changed(void *arg, uint16_t command)
{
	struct device *d = arg;

	d->last_value = command;
}

/* A BAR of ports, and ports that a part always had: both where the command register says. */
static void ports_of_functions(void **state)
{
	static const struct pci_ops port_ops = {
		.bar_read = bar_read, .bar_write = bar_write, .command_changed = command_changed};
	static const struct pci_id id = {.vendor = 1, .device = 2};
	struct fixture *f = *state;
	struct device c = {0}, none = {0};

	pci_function_init(&c.pci, &id, &port_ops, &c);
	pci_function_add_io_bar(&c.pci, 2, 8);
	pci_function_add_ports(&c.pci, 3, 0x1f0, 7);
	assert_int_equal(pci_add(f->pci, 5, &c.pci), 0);
	assert_int_equal(bar_get(f, 5, 2), PORTS | 1);
	assert_int_equal(bar_get(f, 5, 3), 0);
	bar_put(f, 5, 2, ~0u);
	assert_int_equal(bar_get(f, 5, 2), 0xfff9);
	bar_put(f, 5, 3, ~0u);
	assert_int_equal(bar_get(f, 5, 3), 0);
	bar_put(f, 5, 2, PORTS + 0x40);
	assert_int_equal(port_get(f, PORTS + 0x41, 1), 0xff);
	put(f, 5, PCI_COMMAND, 2, 0xffff);
	assert_int_equal(get(f, 5, PCI_COMMAND, 2), 0x407);
	assert_int_equal(c.last_value, 0x407);
	assert_int_equal(port_get(f, PORTS + 0x41, 2), 0x2001);
	assert_int_equal(port_get(f, 0x1f5, 2), 0x3005);
	assert_int_equal(port_get(f, 0x1f6, 2), 0xffff);
	bus_write(f->pio, 0x1f6, 1, 9);
	assert_true(c.last_bar == 3 && c.last_offset == 6 && c.last_value == 9);
	/* Outside of the window it answers nowhere; nor do others' ports. */
	bar_put(f, 5, 2, PORTS + PORTS_SIZE);
	assert_int_equal(port_get(f, PORTS + PORTS_SIZE, 4), ~0u);
	put(f, 1, PCI_COMMAND, 2, 0xffff);
	assert_int_equal(get(f, 1, PCI_COMMAND, 2), 0x406);
	pci_function_reset(&c.pci);
	assert_int_equal(bar_get(f, 5, 2), PORTS | 1);
	assert_int_equal(port_get(f, 0x1f5, 1), 0xff);
	/* There is room for so many. */
	pci_function_init(&none.pci, &id, &port_ops, &none);
	pci_function_add_io_bar(&none.pci, 0, 0x100);
	assert_int_equal(pci_add(f->pci, 6, &none.pci), -ENOSPC);
	assert_int_equal(get(f, 6, PCI_VENDOR, 4), ~0u);
	put(f, 5, PCI_COMMAND, 2, PCI_COMMAND_IO);
	pci_remove(&c.pci);
	assert_int_equal(port_get(f, 0x1f5, 1), 0xff);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(header),
		TEST(capabilities_are_a_list),
		TEST(absent_functions),
		TEST(extended_space_is_empty),
		TEST(unaligned_and_odd_sizes),
		TEST(ports),
		TEST(bars_are_placed),
		TEST(bar_sizing),
		TEST(bar_maps_moves_and_goes),
		TEST(bar_written_in_pieces),
		TEST(bar_outside_of_window),
		TEST(bars_overlap),
		TEST(slots_and_window_are_finite),
		TEST(removed_function_is_gone),
		TEST(ports_of_functions),
		TEST(reset_puts_bars_back),
		TEST(intx),
		TEST(msix_layout),
		TEST(msix_sends),
		TEST(msix_masks),
		TEST(msix_odd_accesses),
		TEST(msix_without_lines),
		TEST(msix_reset_forgets),
		TEST(wide_write_reaches_capability),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
