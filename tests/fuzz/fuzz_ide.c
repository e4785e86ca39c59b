/* SPDX-License-Identifier: MIT */
/*
 * The IDE controller with its threads and real disks: registers, tables of the bus master, resets
 * and saved states in any order. Whatever came before, a command ends; and after a software reset
 * what is written one way is read the other way.
 */
#include "devices/ide/ata.h"
#include "devices/ide/piix4_ide.h"

#include <sched.h>
#include <time.h>

#include "tests/fake_vm.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/base/clock.h"
#include "vmm/base/log.h"

#define DISK_SIZE  0x10000u
#define SECTORS    (DISK_SIZE / 512)
#define MEMORY     0x40000u
#define ECAM       0xe0000000ull
#define SLOT       3u
#define TABLE      0x1000u
#define DATA       0x2000u
#define PATIENCE_S 10u

static const uint16_t command_port[] = {0x1f0, 0x170}, control_port[] = {0x3f6, 0x376};

struct state {
	struct fake_vm *fake;
	struct pci_bus *pci;
	struct piix4_ide_config config;
	struct piix4_ide *ide;
};

/* One for the process: writable, and only to be read. */
static struct block *const *disks_open(void)
{
	static struct block *disk[2];
	static uint8_t zeroes[DISK_SIZE];
	struct block_options options = {.no_lock = true};
	char path[FUZZ_PATH_MAX];
	struct error err = {0};

	if (disk[0])
		return disk;
	fuzz_file(zeroes, sizeof(zeroes), path);
	options.path = path;
	FUZZ_CHECK(block_open("raw", &options, &disk[0], &err) == 0);
	options.read_only = true;
	FUZZ_CHECK(block_open("raw", &options, &disk[1], &err) == 0);
	return disk;
}

static void board_make(struct state *s)
{
	struct pci_config config = {.vm = &s->fake->vm,
				    .ecam_base = ECAM,
				    .ecam_size = 0x100000,
				    .window_base = 0xc0000000,
				    .window_size = 0x100000,
				    .ports_base = 0x1000,
				    .ports_size = 0xf000,
				    .first_gsi = 16,
				    .gsi_count = 8};
	struct block *const *disk = disks_open();

	FUZZ_CHECK(pci_bus_create(&config, &s->pci) == 0);
	for (unsigned i = 0; i < PIIX4_IDE_CHANNELS; i++)
		s->config.irq[i] = (struct irq_line){.vm = &s->fake->vm, .gsi = 14 + i};
	for (unsigned i = 0; i < 3; i++) {
		s->config.disk[i].block = disk[i == 1];
		s->config.disk[i].serial = "fuzz";
	}
	FUZZ_CHECK(piix4_ide_create(&s->fake->vm, s->pci, SLOT, &s->config, &s->ide) == 0);
	piix4_ide_resume(s->ide);
}

static void config_put(struct state *s, unsigned offset, unsigned size, uint64_t value)
{
	bus_write(s->fake->vm.mmio, ECAM + (SLOT << 15) + offset, size, value);
}

static uint64_t config_get(struct state *s, unsigned offset, unsigned size)
{
	return bus_read(s->fake->vm.mmio, ECAM + (SLOT << 15) + offset, size);
}

static uint32_t master_at(struct state *s, unsigned channel)
{
	return ((uint32_t)config_get(s, PCI_BAR + 16, 4) & ~3u) + 8 * channel;
}

static void put(struct state *s, unsigned channel, unsigned reg, uint8_t value)
{
	bus_write(s->fake->vm.pio, command_port[channel] + reg, 1, value);
}

static uint8_t alternate(struct state *s, unsigned channel)
{
	return (uint8_t)bus_read(s->fake->vm.pio, control_port[channel], 1);
}

/* Whoever is busy ends, but for a reset that is still asked for. The channels answer. */
FUZZ_NO_COVERAGE static uint8_t settle(struct state *s, unsigned channel)
{
	uint64_t deadline = clock_monotonic_ns() + PATIENCE_S * CLOCK_NS_PER_S;
	uint8_t status;

	while ((status = alternate(s, channel)) & STATUS_BUSY && status != 0xff) {
		FUZZ_CHECK(clock_monotonic_ns() < deadline);
		sched_yield();
	}
	return status;
}

/* So that registers lead somewhere. */
static void find(struct state *s)
{
	config_put(s, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MASTER);
	config_put(s, 0x40, 4, 0x80008000);
	config_put(s, PCI_BAR + 16, 4, 0x1000);
}

static void start_over(struct state *s, unsigned channel)
{
	find(s);
	bus_write(s->fake->vm.pio, control_port[channel], 1, CONTROL_RESET);
	bus_write(s->fake->vm.pio, control_port[channel], 1, 0);
	settle(s, channel);
	bus_write(s->fake->vm.pio, master_at(s, channel), 1, 0);
	bus_write(s->fake->vm.pio, master_at(s, channel) + 2, 1, 6);
}

static void command(struct state *s, unsigned drive, uint8_t code, uint64_t sector, unsigned count,
		    bool ext)
{
	unsigned channel = drive / 2;

	put(s, channel, IDE_DEVICE,
	    (uint8_t)(0xe0 | (drive & 1) << 4 | (ext ? 0 : sector >> 24 & 15)));
	for (unsigned i = ext ? 2 : 1; i-- > 0;) {
		put(s, channel, IDE_COUNT, (uint8_t)(count >> 8 * i));
		put(s, channel, IDE_LOW, (uint8_t)(sector >> 24 * i));
		put(s, channel, IDE_MID, (uint8_t)(sector >> (24 * i + 8)));
		put(s, channel, IDE_HIGH, (uint8_t)(sector >> (24 * i + 16)));
	}
	put(s, channel, IDE_COMMAND, code);
}

/* A table for `bytes` at DATA, cut where the input says. */
static void table_make(struct state *s, struct input *in, uint32_t bytes)
{
	uint32_t at = 0;

	for (unsigned i = 0; at < bytes; i++) {
		uint32_t length = (input_u8(in) + 1u) * 2 * (input_u8(in) & 15 ? 64 : 1);
		uint8_t entry[8];

		/* The table has room for so many. */
		if (length > bytes - at || i == 500)
			length = bytes - at;
		le32_put(entry, DATA + at);
		at += length;
		le32_put(entry + 4, (length & 0xffff) | (at == bytes ? 0x80000000u : 0));
		memory_write(s->fake->vm.memory, TABLE + 8 * i, entry, sizeof(entry));
	}
}

static void dma(struct state *s, unsigned drive, uint8_t code, unsigned sector, unsigned count,
		bool to_memory)
{
	uint32_t master = master_at(s, drive / 2);
	uint8_t direction = to_memory ? MASTER_TO_MEMORY : 0;

	bus_write(s->fake->vm.pio, master + 4, 4, TABLE);
	command(s, drive, code, sector, count, false);
	bus_write(s->fake->vm.pio, master, 1, direction | MASTER_START);
	FUZZ_CHECK(settle(s, drive / 2) == STATUS_IDLE);
	FUZZ_CHECK(bus_read(s->fake->vm.pio, master + 2, 1) == MASTER_INTERRUPT);
	bus_write(s->fake->vm.pio, master, 1, 0);
}

static void pio(struct state *s, unsigned channel, uint8_t *bytes, unsigned count, bool out)
{
	for (unsigned i = 0; i < count; i++) {
		FUZZ_CHECK(settle(s, channel) == (STATUS_IDLE | STATUS_DATA));
		for (unsigned k = 512 * i; k < 512 * (i + 1); k += 2)
			if (out)
				bus_write(s->fake->vm.pio, command_port[channel], 2,
					  le16_get(bytes + k));
			else
				le16_put(bytes + k, (uint16_t)bus_read(s->fake->vm.pio,
								       command_port[channel], 2));
	}
	FUZZ_CHECK(settle(s, channel) == STATUS_IDLE);
}

/* Written one way and read the other. */
static void transfer(struct state *s, struct input *in)
{
	static uint8_t bytes[32 * 512], again[32 * 512];
	uint8_t shape = input_u8(in), fill = input_u8(in);
	unsigned count = 1 + (shape & 31), sector = input_u8(in) % (SECTORS - 32);
	unsigned drive = shape & 0x40 ? 2 : 0;

	start_over(s, drive / 2);
	for (unsigned i = 0; i < 512 * count; i++)
		bytes[i] = (uint8_t)(fill + i * 7 + (i >> 8));
	table_make(s, in, 512 * count);
	if (shape & 0x80) {
		memory_write(s->fake->vm.memory, DATA, bytes, 512ull * count);
		dma(s, drive, 0xca, sector, count, false);
		command(s, drive, 0x20, sector, count, false);
		pio(s, drive / 2, again, count, false);
	} else {
		command(s, drive, 0x30, sector, count, false);
		pio(s, drive / 2, bytes, count, true);
		bus_write(s->fake->vm.pio, master_at(s, drive / 2) + 2, 1, 6);
		dma(s, drive, 0xc8, sector, count, true);
		memory_read(s->fake->vm.memory, DATA, again, 512ull * count);
	}
	FUZZ_CHECK(memcmp(bytes, again, 512ull * count) == 0);
}

static void state_code(struct state *s, struct codec *c)
{
	piix4_ide_state(s->ide, c);
}

/* Saved, and gone on with in another one. */
static void move(struct state *s)
{
	struct error err = {0};
	uint8_t *bytes;
	struct codec c;
	size_t size;

	piix4_ide_pause(s->ide);
	codec_init_save(&c);
	state_code(s, &c);
	FUZZ_CHECK(codec_finish(&c, &err) == 0);
	codec_take(&c, &bytes, &size);
	codec_fini(&c);
	piix4_ide_destroy(s->ide);
	pci_bus_destroy(s->pci);
	board_make(s);
	piix4_ide_pause(s->ide);
	codec_init_load(&c, bytes, size);
	state_code(s, &c);
	FUZZ_CHECK(codec_finish(&c, &err) == 0);
	codec_fini(&c);
	free(bytes);
	piix4_ide_resume(s->ide);
}

static void access(struct state *s, struct input *in, uint64_t port)
{
	uint8_t shape = input_u8(in);
	unsigned size = 1u << (shape & 3);

	if (shape & 0x80)
		bus_write(s->fake->vm.pio, port, size, input_number(in, size));
	else
		bus_read(s->fake->vm.pio, port, size);
}

static void step(struct state *s, struct input *in)
{
	uint8_t op = input_u8(in), bytes[64];
	unsigned channel = op >> 4 & 1, count;

	switch (op & 15) {
	case 0:
	case 1:
		access(s, in, command_port[channel] + (op >> 5));
		break;
	case 2: /* words of data */
		for (count = input_u8(in) * 2u; count-- > 0;)
			bus_read(s->fake->vm.pio, command_port[channel], 2);
		break;
	case 3:
		for (count = input_u8(in) * 2u; count-- > 0;)
			bus_write(s->fake->vm.pio, command_port[channel], 2, count);
		break;
	case 4:
	case 5:
		access(s, in, master_at(s, 0) + input_u8(in) % 16);
		break;
	case 6: /* a table's entry */
		input_bytes(in, bytes, 8);
		memory_write(s->fake->vm.memory, TABLE + 8 * (op >> 4), bytes, 8);
		break;
	case 7:
		input_bytes(in, bytes, sizeof(bytes));
		memory_write(s->fake->vm.memory, input_u32(in) % MEMORY, bytes, input_u8(in) % 64);
		break;
	case 8:
	case 9: /* nearly a command */
		bytes[0] = input_u8(in);
		count = input_u16(in);
		command(s, op >> 4 & 3, bytes[0], input_u8(in), count, op & 0x40);
		break;
	case 10:
		bus_write(s->fake->vm.pio, control_port[channel], 1, input_u8(in));
		break;
	case 11:
		move(s);
		break;
	case 12:
		piix4_ide_reset(s->ide);
		find(s);
		break;
	case 13:
		count = input_u8(in);
		config_put(s, count, 1u << (op >> 4 & 3), input_u32(in));
		break;
	case 14:
		if (op & 0x80) {
			piix4_ide_pause(s->ide);
			piix4_ide_resume(s->ide);
		}
		find(s);
		bus_write(s->fake->vm.pio, master_at(s, channel) + 4, 4, TABLE);
		break;
	default:
		transfer(s, in);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct state s = {0};

	log_set_level(LOG_ERROR);
	s.fake = fake_vm_create(MEMORY);
	board_make(&s);
	find(&s);
	while (in.left)
		step(&s, &in);
	for (unsigned i = 0; i < PIIX4_IDE_CHANNELS; i++) {
		find(&s);
		bus_write(s.fake->vm.pio, control_port[i], 1, 0);
		settle(&s, i);
	}
	piix4_ide_destroy(s.ide);
	pci_bus_destroy(s.pci);
	fake_vm_destroy(s.fake);
	return 0;
}
