/* SPDX-License-Identifier: MIT */
/*
 * A bus with three virtio functions (entropy, console, none of whose queues need a thread, and a
 * disk): configuration space by ECAM and by ports, BARs wherever they were moved, MSI-X tables,
 * common configuration, doorbells, guest memory, turns of the loop, resets of the machine.
 */
#include "devices/pci/pci.h"
#include "devices/virtio/blk.h"
#include "devices/virtio/console.h"
#include "devices/virtio/rng.h"
#include "devices/virtio/virtio_pci.h"
#include "tests/fake_vm.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"

#define MEMORY      0x10000u
#define WINDOW      0xc0000000u
#define WINDOW_SIZE 0x00100000u
#define ECAM        0xe0000000u
#define DEVICES     3u
#define COMMON_SIZE 0x38u
#define FIRST_GSI   16
#define GSIS        2

struct state {
	struct fake_vm *fake;
	struct loop *loop;
	struct pci_bus *bus;
	struct virtio_rng *rng;
	struct virtio_console *console;
	struct virtio_blk *blk;
	struct virtio_pci *pci[DEVICES];
};

static void backend_write(void *arg, const uint8_t *bytes, size_t count)
{
	(void)arg;
	FUZZ_CHECK(bytes && count);
}

static void backend_ready(void *arg)
{
	(void)arg;
}

static const struct chardev_ops backend_ops = {.write = backend_write, .ready = backend_ready};

static struct block *disk_open(void)
{
	static struct block *disk;
	static const uint8_t zeroes[0x4000];
	struct block_options options = {.no_lock = true};
	char path[FUZZ_PATH_MAX];
	struct error err = {0};

	if (disk)
		return disk;
	fuzz_file(zeroes, sizeof(zeroes), path);
	options.path = path;
	FUZZ_CHECK(block_open("raw", &options, &disk, &err) == 0);
	return disk;
}

static void board_make(struct state *s)
{
	struct pci_config config = {.vm = &s->fake->vm,
				    .ecam_base = ECAM,
				    .ecam_size = 0x100000,
				    .window_base = WINDOW,
				    .window_size = WINDOW_SIZE,
				    .first_gsi = FIRST_GSI,
				    .gsi_count = GSIS};
	struct virtio_console_port port = {.name = "p", .backend = {&backend_ops, NULL}};
	struct virtio_blk_config blk = {.block = disk_open(), .queues = 2, .serial = "fuzz"};
	struct guest_memory *memory = s->fake->vm.memory;

	FUZZ_CHECK(pci_bus_create(&config, &s->bus) == 0);
	FUZZ_CHECK(virtio_rng_create(memory, s->loop, &s->rng) == 0);
	FUZZ_CHECK(virtio_console_create(memory, s->loop, &port, 1, &s->console) == 0);
	FUZZ_CHECK(virtio_blk_create(memory, &blk, &s->blk) == 0);
	FUZZ_CHECK(virtio_pci_create(&s->fake->vm, s->bus, 1, virtio_rng_device(s->rng),
				     &s->pci[0]) == 0);
	FUZZ_CHECK(virtio_pci_create(&s->fake->vm, s->bus, 2, virtio_console_device(s->console),
				     &s->pci[1]) == 0);
	FUZZ_CHECK(virtio_pci_create(&s->fake->vm, s->bus, 3, virtio_blk_device(s->blk),
				     &s->pci[2]) == 0);
}

static void board_unmake(struct state *s)
{
	for (unsigned i = DEVICES; i-- > 0;)
		virtio_pci_destroy(s->pci[i]);
	virtio_blk_destroy(s->blk);
	virtio_console_destroy(s->console);
	virtio_rng_destroy(s->rng);
	pci_bus_destroy(s->bus);
}

static uint64_t config_address(unsigned slot, unsigned reg)
{
	return ECAM + ((uint64_t)slot << 15) + reg;
}

static uint32_t bar_address(struct state *s, unsigned slot, unsigned bar)
{
	uint64_t value = bus_read(s->fake->vm.mmio, config_address(slot, PCI_BAR + 4 * bar), 4);

	return (uint32_t)value & ~15u;
}

static void access(struct state *s, struct input *in, uint64_t address, bool write)
{
	unsigned size = input_size(in);

	if (write)
		fake_vm_mmio_write(s->fake, address, size, input_number(in, size));
	else
		bus_read(s->fake->vm.mmio, address, size);
}

static void port_access(struct state *s, struct input *in, bool write)
{
	unsigned shape = input_u8(in), size = 1u << (shape >> 4 & 3);

	if (write)
		bus_write(s->fake->vm.pio, 0xcf8 + (shape & 7), size, input_number(in, size));
	else
		bus_read(s->fake->vm.pio, 0xcf8 + (shape & 7), size);
}

/* What a driver does first, so that inputs need not find out. */
static void bring_up(struct state *s, struct input *in, unsigned slot)
{
	static const uint8_t common[][3] = {
		/* offset, size, value: reset, driver, features, FEATURES_OK */
		{0x14, 1, 0}, {0x14, 1, 3}, {0x08, 4, 1}, {0x0c, 4, 1}, {0x14, 1, 11},
	};
	struct bus *mmio = s->fake->vm.mmio;
	uint8_t queues = input_u8(in), vectors = input_u8(in);
	uint32_t base;

	bus_write(mmio, config_address(slot, PCI_COMMAND), 2, 6);
	base = bar_address(s, slot, 0);
	for (unsigned i = 0; i < sizeof(common) / sizeof(common[0]); i++)
		bus_write(mmio, base + common[i][0], common[i][1], common[i][2]);
	for (unsigned i = 0; i < 4; i++) {
		bus_write(mmio, base + 0x16, 2, i);
		bus_write(mmio, base + 0x18, 2, 8);
		bus_write(mmio, base + 0x1a, 2, vectors >> 2 * i & 3);
		bus_write(mmio, base + 0x20, 8, 0x1000 * (uint64_t)i);
		bus_write(mmio, base + 0x28, 8, 0x1000 * (uint64_t)i + 0x400);
		bus_write(mmio, base + 0x30, 8, 0x1000 * (uint64_t)i + 0x800);
		if (queues >> i & 1)
			bus_write(mmio, base + 0x1c, 2, 1);
	}
	bus_write(mmio, base + 0x14, 1, 15);
}

static void step(struct state *s, struct input *in)
{
	uint8_t op = input_u8(in);
	unsigned slot = op >> 4 & 3;
	bool write = op & 0x40;
	uint8_t bytes[64];
	uint16_t at;

	switch (op & 15) {
	case 0:
	case 1: /* configuration space, nearby and anywhere */
		access(s, in, config_address(slot, input_u8(in)), write);
		break;
	case 2:
		access(s, in, ECAM + (input_u32(in) & 0xfffff), write);
		break;
	case 3:
		port_access(s, in, write);
		break;
	case 4:
	case 5:
	case 6: /* common configuration */
		access(s, in, bar_address(s, slot, 0) + input_u8(in) % COMMON_SIZE, write);
		break;
	case 7: /* BAR 0 anywhere, doorbells among it */
		access(s, in, bar_address(s, slot, 0) + input_u16(in) % 0x4010, write);
		break;
	case 8: /* a doorbell */
		fake_vm_mmio_write(s->fake, bar_address(s, slot, 0) + 0x2000 + 4u * (op >> 6), 2,
				   0);
		break;
	case 9:
	case 10: /* the MSI-X table and what is behind it */
		access(s, in, bar_address(s, slot, 1) + (input_u16(in) & 0x8ff), write);
		break;
	case 11: /* guest memory: rings, too */
		input_bytes(in, bytes, sizeof(bytes));
		at = input_u16(in);
		memory_write(s->fake->vm.memory, at, bytes, input_u8(in) % 64);
		break;
	case 12:
		bring_up(s, in, slot);
		break;
	case 13:
		virtio_pci_reset(s->pci[slot % DEVICES]);
		break;
	case 14:
		s->fake->doorbells_left = op & 0x10 ? 0 : -1;
		s->fake->lines_left = op & 0x20 ? 0 : -1;
		break;
	default:
		fuzz_loop_turn(s->loop);
		break;
	}
}

/* A line is high while a function that shares it drives it and may. Slots 1 and 3 share one. */
static void lines_check(struct state *s)
{
	bool level[GSIS] = {false};

	/* The disk's queues interrupt when they like: stop it first. */
	virtio_pci_reset(s->pci[2]);
	for (unsigned slot = 1; slot <= DEVICES; slot++) {
		uint64_t both = bus_read(s->fake->vm.mmio, config_address(slot, PCI_COMMAND), 4);

		if (both >> 16 & PCI_STATUS_INTX && !(both & PCI_COMMAND_NO_INTX))
			level[slot % GSIS] = true;
	}
	for (unsigned i = 0; i < GSIS; i++)
		FUZZ_CHECK(s->fake->level[FIRST_GSI + i] == level[i]);
}

/* A machine's reset: nothing is mapped, rung or asserted, and BARs are where they were first. */
static void reset_check(struct state *s, const uint32_t first[DEVICES])
{
	for (unsigned i = 0; i < DEVICES; i++)
		virtio_pci_reset(s->pci[i]);
	FUZZ_CHECK(s->fake->doorbell_count == 0);
	for (unsigned i = 0; i < FAKE_GSIS; i++)
		FUZZ_CHECK(!s->fake->level[i]);
	for (unsigned i = 0; i < DEVICES; i++) {
		FUZZ_CHECK(bar_address(s, i + 1, 0) == first[i]);
		FUZZ_CHECK(bus_read(s->fake->vm.mmio, first[i], 4) == 0xffffffff);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint32_t first[DEVICES];
	struct state s = {0};

	log_set_level(LOG_ERROR);
	s.fake = fake_vm_create(MEMORY);
	FUZZ_CHECK(loop_create(&s.loop) == 0);
	board_make(&s);
	for (unsigned i = 0; i < DEVICES; i++)
		first[i] = bar_address(&s, i + 1, 0);
	while (in.left)
		step(&s, &in);
	lines_check(&s);
	reset_check(&s, first);
	board_unmake(&s);
	loop_destroy(s.loop);
	fake_vm_destroy(s.fake);
	return 0;
}
