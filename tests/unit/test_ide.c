/* SPDX-License-Identifier: MIT */
/*
 * The IDE controller, by its registers: PIO and bus master against real files, resets and errors
 * against a disk that keeps requests. Disk 0 is a file, disk 1 one that is only read, disk 2 the
 * one that keeps requests; disk 3 is not there.
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "tests/unit/driver_ide.h"
#include "tests/unit/state_trip.h"

#define SECTORS      4096u
#define FAKE_SECTORS (1ull << 33)
#define HELD         2u /* the disk that keeps requests */

struct fixture {
	char path[64];
	int fd;
	struct block *file, *read_only;
	struct fake_block fake;
	struct driver_ide *d;
};

static void pattern(uint8_t *bytes, size_t size, unsigned seed)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(seed + i * 7 + (i >> 8));
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct block_options options = {.path = f ? f->path : NULL, .no_lock = true};
	uint8_t sector[BLOCK_SECTOR];

	assert_non_null(f);
	snprintf(f->path, sizeof(f->path), "/tmp/lodge-test-ide-XXXXXX");
	f->fd = mkostemp(f->path, O_CLOEXEC);
	assert_true(f->fd >= 0);
	for (unsigned i = 0; i < SECTORS; i++) {
		pattern(sector, sizeof(sector), i);
		assert_int_equal(pwrite(f->fd, sector, sizeof(sector), i * 512), 512);
	}
	assert_int_equal(block_open("raw", &options, &f->file, NULL), 0);
	options.read_only = true;
	assert_int_equal(block_open("raw", &options, &f->read_only, NULL), 0);
	fake_block_init(&f->fake, FAKE_SECTORS * 512);
	f->d = driver_ide_create((struct block *[]){f->file, f->read_only, &f->fake.block}, 3);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	atomic_store(&f->fake.holding, false);
	driver_ide_destroy(f->d);
	block_close(f->file);
	block_close(f->read_only);
	close(f->fd);
	unlink(f->path);
	free(f);
	return 0;
}

static void disk_has(struct fixture *f, uint64_t sector, const uint8_t *bytes, size_t size)
{
	uint8_t *on_disk = malloc(size);

	assert_non_null(on_disk);
	assert_int_equal(pread(f->fd, on_disk, size, (off_t)sector * 512), size);
	assert_memory_equal(on_disk, bytes, size);
	free(on_disk);
}

static void sector_is(const uint8_t *bytes, unsigned sector)
{
	uint8_t wanted[BLOCK_SECTOR];

	pattern(wanted, sizeof(wanted), sector);
	assert_memory_equal(bytes, wanted, sizeof(wanted));
}

/* The part. */

static void is_a_piix4(void **state)
{
	struct driver_ide *d = ((struct fixture *)*state)->d;

	assert_int_equal(ide_config_get(d, PCI_VENDOR, 4), 0x71118086);
	assert_int_equal(ide_config_get(d, PCI_REVISION, 4) >> 8, 0x010180);
	assert_int_equal(ide_config_get(d, PCI_IRQ_PIN, 1), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(ide_config_get(d, PCI_BAR + 4 * i, 4), 0);
	assert_int_equal(ide_config_get(d, PCI_BAR + 16, 4), 0x1001);
	ide_config_put(d, PCI_BAR + 16, 4, 0xffffffff);
	assert_int_equal(ide_config_get(d, PCI_BAR + 16, 4), 0xfff1);
	/* There it may not be: it would hide nothing, and answers nowhere. */
	ide_config_put(d, PCI_BAR + 16, 4, 0x3f0);
	assert_int_equal(bus_read(d->fake->vm.pio, 0x3f2, 1), 0xff);
	ide_config_put(d, PCI_BAR + 16, 4, 0xc000);
	master_put(d, 0, 4, 4, 0x12345678);
	d->master = 0xc000;
	assert_int_equal(master_get(d, 0, 4, 4), 0);
	master_put(d, 0, 4, 4, 0x12345677);
	master_put(d, 1, 4, 4, 0x87654321);
	assert_int_equal(master_get(d, 0, 4, 4), 0x12345674);
	assert_int_equal(master_get(d, 1, 4, 4), 0x87654320);
	assert_int_equal(master_get(d, 0, 5, 1), 0x56);
}

static void ports_answer_as_they_are_told(void **state)
{
	struct driver_ide *d = ((struct fixture *)*state)->d;

	assert_int_equal(ide_alternate(d, 0), STATUS_IDLE);
	assert_int_equal(ide_alternate(d, 1), STATUS_IDLE);
	ide_config_put(d, 0x41, 1, 0);
	assert_int_equal(ide_alternate(d, 0), 0xff);
	assert_int_equal(ide_alternate(d, 1), STATUS_IDLE);
	ide_config_put(d, 0x41, 1, 0x80);
	ide_config_put(d, PCI_COMMAND, 2, 0);
	assert_int_equal(ide_alternate(d, 0), 0xff);
	assert_int_equal(ide_get(d, 1, IDE_STATUS), 0xff);
	ide_config_put(d, PCI_COMMAND, 2, PCI_COMMAND_IO);
	ide_put(d, 0, IDE_COUNT, 0x55);
	assert_int_equal(ide_get(d, 0, IDE_COUNT), 0x55);
	piix4_ide_reset(d->ide);
	assert_int_equal(ide_get(d, 0, IDE_STATUS), 0xff);
	ide_config_put(d, PCI_COMMAND, 2, PCI_COMMAND_IO);
	assert_int_equal(ide_get(d, 0, IDE_COUNT), 1);
}

/* A disk that is not there has no status; the bus is pulled down by the one that is. */
static void absent_disks(void **state)
{
	struct fixture *f = *state;
	struct driver_ide *d = f->d, *empty = driver_ide_create(NULL, 0);

	ide_put(d, 1, IDE_DEVICE, 0xf0);
	assert_int_equal(ide_get(d, 1, IDE_STATUS), 0);
	assert_int_equal(ide_get(d, 1, IDE_COUNT), 0);
	ide_put(d, 1, IDE_COMMAND, 0xec);
	assert_int_equal(ide_get(d, 1, IDE_STATUS), 0);
	assert_false(ide_line(d, 1));
	ide_put(d, 1, IDE_DEVICE, 0xe0);
	assert_int_equal(ide_get(d, 1, IDE_STATUS), STATUS_IDLE);
	assert_int_equal(ide_get(empty, 0, IDE_STATUS), 0xff);
	ide_put(empty, 0, IDE_COMMAND, 0xec);
	ide_control(empty, 0, CONTROL_RESET);
	ide_control(empty, 0, 0);
	assert_int_equal(ide_alternate(empty, 0), 0xff);
	piix4_ide_pause(empty->ide);
	driver_ide_destroy(empty);
}

static void text_is(const uint8_t *data, unsigned word, unsigned words, const char *text)
{
	char got[41] = {0};

	for (unsigned i = 0; i < 2 * words; i++)
		got[i] = (char)data[(2 * word + i) ^ 1];
	for (unsigned i = 2 * words; i-- > 0 && got[i] == ' ';)
		got[i] = '\0';
	assert_string_equal(got, text);
}

static unsigned word(const uint8_t *data, unsigned number)
{
	return le16_get(data + 2 * number);
}

static void identify(struct driver_ide *d, unsigned drive, uint8_t data[BLOCK_SECTOR])
{
	unsigned channel = drive / 2;

	ide_simple(d, drive, 0xec, 0, 0);
	assert_int_equal(ide_alternate(d, channel), STATUS_IDLE | STATUS_DATA);
	ide_data_in(d, channel, data, BLOCK_SECTOR);
	assert_int_equal(ide_alternate(d, channel), STATUS_IDLE);
}

static void identifies(void **state)
{
	struct driver_ide *d = ((struct fixture *)*state)->d;
	uint8_t data[BLOCK_SECTOR], sum = 0;

	ide_put(d, 0, IDE_DEVICE, 0xe0);
	ide_put(d, 0, IDE_COMMAND, 0xec);
	assert_true(ide_line(d, 0));
	assert_int_equal(ide_get(d, 0, IDE_STATUS), STATUS_IDLE | STATUS_DATA);
	assert_false(ide_line(d, 0));
	ide_data_in(d, 0, data, sizeof(data));
	/* The end tells nobody; what is read behind it is nothing. */
	assert_false(ide_line(d, 0));
	assert_int_equal(bus_read(d->fake->vm.pio, 0x1f0, 2), 0xffff);
	for (unsigned i = 0; i < sizeof(data); i++)
		sum = (uint8_t)(sum + data[i]);
	assert_int_equal(sum, 0);
	text_is(data, 10, 10, "serial-0");
	text_is(data, 27, 20, "lodge disk");
	assert_int_equal(word(data, 0), 0x0040);
	assert_int_equal(le32_get(data + 120), SECTORS);
	assert_true(le64_get(data + 200) == SECTORS);
	assert_int_equal(word(data, 47) & 0xff, 16);
	assert_int_equal(word(data, 59), 0x110);
	assert_int_equal(word(data, 88), 0x3f);
	assert_int_equal(word(data, 83) & 0xc400, 0x4400);
	assert_int_equal(word(data, 1) * word(data, 3) * word(data, 6), SECTORS / 1008 * 1008);
	assert_int_equal(word(data, 169), 1);
	identify(d, 1, data);
	text_is(data, 10, 10, "serial-1");
	assert_int_equal(word(data, 169), 0);
	assert_int_equal(word(data, 93) & 0xff, 0);
	/* Larger than 28 bits can tell. */
	identify(d, HELD, data);
	assert_int_equal(le32_get(data + 120), 0x0fffffff);
	assert_true(le64_get(data + 200) == FAKE_SECTORS);
	assert_int_equal(word(data, 1), 16383);
}

/* PIO. */

static void pio_reads(void **state)
{
	struct driver_ide *d = ((struct fixture *)*state)->d;
	uint8_t data[BLOCK_SECTOR];

	for (unsigned drive = 0; drive < 2; drive++) {
		ide_command(d, drive, 0x20, 7, 3, false);
		for (unsigned i = 0; i < 3; i++) {
			assert_int_equal(ide_ready(d, 0), STATUS_IDLE | STATUS_DATA);
			assert_true(ide_line(d, 0));
			ide_get(d, 0, IDE_STATUS);
			assert_false(ide_line(d, 0));
			ide_data_in(d, 0, data, sizeof(data));
			sector_is(data, 7 + i);
		}
		assert_int_equal(ide_ready(d, 0), STATUS_IDLE);
		assert_false(ide_line(d, 0));
	}
	/* 256 of them, which are 0; the last one is the disk's last. */
	ide_command(d, 0, 0x24, SECTORS - 256, 256, true);
	for (unsigned i = 0; i < 256; i++) {
		assert_int_equal(ide_ready(d, 0), STATUS_IDLE | STATUS_DATA);
		ide_data_in(d, 0, data, sizeof(data));
		sector_is(data, SECTORS - 256 + i);
	}
	ide_command(d, 0, 0x20, SECTORS - 256, 0, false);
	for (unsigned i = 0; i < 256; i++) {
		ide_ready(d, 0);
		ide_data_in(d, 0, data, sizeof(data));
	}
	sector_is(data, SECTORS - 1);
	assert_int_equal(ide_ready(d, 0), STATUS_IDLE);
}

static void pio_writes(void **state)
{
	struct fixture *f = *state;
	uint8_t data[4 * BLOCK_SECTOR];

	pattern(data, sizeof(data), 99);
	ide_command(f->d, 0, 0x34, 100, 4, true);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(ide_ready(f->d, 0), STATUS_IDLE | STATUS_DATA);
		/* The first block is asked for by the status alone. */
		assert_int_equal(ide_line(f->d, 0), i > 0);
		ide_get(f->d, 0, IDE_STATUS);
		ide_data_out(f->d, 0, data + 512 * i, 512);
	}
	assert_int_equal(ide_ready(f->d, 0), STATUS_IDLE);
	assert_true(ide_line(f->d, 0));
	disk_has(f, 100, data, sizeof(data));
}

static void pio_in_blocks(void **state)
{
	struct fixture *f = *state;
	uint8_t data[20 * BLOCK_SECTOR];

	/* Not where there are to be none. */
	assert_int_equal(ide_simple(f->d, 0, 0xc6, 0, 0), STATUS_IDLE);
	assert_int_equal(ide_simple(f->d, 0, 0xc4, 0, 1), STATUS_IDLE | STATUS_ERROR);
	assert_int_equal(ide_get(f->d, 0, IDE_ERROR), ERROR_ABORT);
	assert_int_equal(ide_simple(f->d, 0, 0xc6, 0, 3), STATUS_IDLE | STATUS_ERROR);
	assert_int_equal(ide_simple(f->d, 0, 0xc6, 0, 32), STATUS_IDLE | STATUS_ERROR);
	assert_int_equal(ide_simple(f->d, 0, 0xc6, 0, 8), STATUS_IDLE);
	ide_command(f->d, 0, 0xc4, 30, 20, false);
	for (unsigned i = 0; i < 20; i += 8) {
		assert_int_equal(ide_ready(f->d, 0), STATUS_IDLE | STATUS_DATA);
		ide_data_in(f->d, 0, data + 512 * i, 512 * (20 - i < 8 ? 20 - i : 8));
	}
	assert_int_equal(ide_ready(f->d, 0), STATUS_IDLE);
	for (unsigned i = 0; i < 20; i++)
		sector_is(data + 512 * i, 30 + i);
	pattern(data, sizeof(data), 3);
	ide_command(f->d, 0, 0x39, 300, 20, true);
	for (unsigned i = 0; i < 20; i += 8) {
		assert_int_equal(ide_ready(f->d, 0), STATUS_IDLE | STATUS_DATA);
		ide_data_out(f->d, 0, data + 512 * i, 512 * (20 - i < 8 ? 20 - i : 8));
	}
	assert_int_equal(ide_ready(f->d, 0), STATUS_IDLE);
	disk_has(f, 300, data, sizeof(data));
}

/* The bus master. */

static void dma_moves(void **state)
{
	struct fixture *f = *state;
	struct driver_ide *d = f->d;
	uint8_t *memory = ide_memory(d, DRIVER_IDE_DATA);

	/* Three regions, of which none is whole sectors. */
	ide_prd(d, 0, DRIVER_IDE_DATA, 1000, false);
	ide_prd(d, 1, DRIVER_IDE_DATA + 1000, 2, false);
	ide_prd(d, 2, DRIVER_IDE_DATA + 1002, 8 * 512 - 1002, true);
	ide_command(d, 0, 0xc8, 40, 8, false);
	assert_int_equal(ide_ready(d, 0), STATUS_IDLE | STATUS_DATA);
	ide_master_begin(d, 0, true);
	assert_int_equal(ide_master_end(d, 0), MASTER_INTERRUPT);
	assert_int_equal(ide_get(d, 0, IDE_STATUS), STATUS_IDLE);
	for (unsigned i = 0; i < 8; i++)
		sector_is(memory + 512 * i, 40 + i);
	/* 64 KiB is written as 0; and the master may be there before the command. */
	pattern(memory, 128 * KIB, 17);
	ide_prd(d, 0, DRIVER_IDE_DATA, 0, false);
	ide_prd(d, 1, DRIVER_IDE_DATA + 0x10000, 0, true);
	ide_master_begin(d, 0, false);
	assert_int_equal(master_get(d, 0, 2, 1), MASTER_ACTIVE);
	ide_command(d, 0, 0x35, 1000, 256, true);
	assert_int_equal(ide_master_end(d, 0), MASTER_INTERRUPT);
	assert_int_equal(ide_get(d, 0, IDE_STATUS), STATUS_IDLE);
	disk_has(f, 1000, memory, 128 * KIB);
}

/* Two bytes at a time, anywhere: more pieces than one request has. */
static void dma_in_crumbs(void **state)
{
	struct fixture *f = *state;
	struct driver_ide *d = f->d;
	uint8_t data[5 * BLOCK_SECTOR];

	for (unsigned i = 0; i < sizeof(data) / 2; i++)
		ide_prd(d, i, DRIVER_IDE_DATA + 6 * i, 2, i == sizeof(data) / 2 - 1);
	ide_command(d, 0, 0xc8, 50, 5, false);
	ide_master_begin(d, 0, true);
	assert_int_equal(ide_master_end(d, 0), MASTER_INTERRUPT);
	for (unsigned i = 0; i < sizeof(data) / 2; i++)
		memcpy(data + 2 * i, ide_memory(d, DRIVER_IDE_DATA + 6 * i), 2);
	for (unsigned i = 0; i < 5; i++)
		sector_is(data + 512 * i, 50 + i);
}

/* SFF-8038i, 3.1: what is left of a table leaves the master active; a disk can wait for another. */
static void dma_tables_of_other_sizes(void **state)
{
	struct fixture *f = *state;
	struct driver_ide *d = f->d;
	uint8_t *memory = ide_memory(d, DRIVER_IDE_DATA);

	ide_prd(d, 0, DRIVER_IDE_DATA, 4096, true);
	ide_command(d, 0, 0xc8, 60, 2, false);
	ide_master_begin(d, 0, true);
	assert_int_equal(ide_master_end(d, 0), MASTER_INTERRUPT | MASTER_ACTIVE);
	assert_int_equal(master_get(d, 0, 2, 1), MASTER_INTERRUPT);
	sector_is(memory + 512, 61);
	ide_get(d, 0, IDE_STATUS);
	ide_prd(d, 0, DRIVER_IDE_DATA, 1024 + 100, true);
	ide_command(d, 0, 0xc8, 70, 4, false);
	ide_master_begin(d, 0, true);
	while (master_get(d, 0, 2, 1) & MASTER_ACTIVE)
		sched_yield();
	assert_int_equal(master_get(d, 0, 2, 1), 0);
	assert_int_equal(ide_ready(d, 0), STATUS_IDLE | STATUS_DATA);
	assert_false(ide_line(d, 0));
	ide_prd(d, 0, DRIVER_IDE_DATA + 1024, 1024, true);
	master_put(d, 0, 0, 1, 0);
	ide_master_begin(d, 0, true);
	assert_int_equal(ide_master_end(d, 0), MASTER_INTERRUPT);
	for (unsigned i = 0; i < 4; i++)
		sector_is(memory + 512 * i, 70 + i);
}

static void dma_fails(struct driver_ide *d, bool to_memory)
{
	ide_command(d, 0, 0xc8, 1, 2, false);
	ide_master_begin(d, 0, to_memory);
	assert_int_equal(ide_master_end(d, 0), MASTER_INTERRUPT | MASTER_ERROR);
	assert_int_equal(ide_get(d, 0, IDE_STATUS), STATUS_IDLE | STATUS_ERROR);
	assert_int_equal(ide_get(d, 0, IDE_ERROR), ERROR_ABORT);
}

static void dma_nonsense(void **state)
{
	struct fixture *f = *state;
	struct driver_ide *d = f->d;

	ide_prd(d, 0, 0xfffffff0, 1024, true); /* no memory */
	dma_fails(d, true);
	ide_prd(d, 0, DRIVER_IDE_MEMORY - 512, 1024, true); /* its end */
	dma_fails(d, true);
	ide_prd(d, 0, DRIVER_IDE_DATA, 1024, true); /* the other direction */
	dma_fails(d, false);
	/* A table that is nowhere, and that has no end. */
	ide_command(d, 0, 0xc8, 1, 2, false);
	master_put(d, 0, 2, 1, MASTER_INTERRUPT | MASTER_ERROR);
	master_put(d, 0, 4, 4, 0xfffffff0);
	master_put(d, 0, 0, 1, MASTER_START | MASTER_TO_MEMORY);
	assert_int_equal(ide_master_end(d, 0), MASTER_INTERRUPT | MASTER_ERROR);
	for (unsigned i = 0; i < 8192; i++)
		le32_put((uint8_t *)ide_memory(d, 0x10000 + 8 * i) + 4, 2);
	ide_command(d, 0, 0xc8, 1, 0, false);
	master_put(d, 0, 2, 1, MASTER_INTERRUPT | MASTER_ERROR);
	master_put(d, 0, 4, 4, 0x10000);
	master_put(d, 0, 0, 1, MASTER_START | MASTER_TO_MEMORY);
	assert_int_equal(ide_master_end(d, 0), MASTER_INTERRUPT | MASTER_ACTIVE);
}

/* Stopped in the middle the disk waits, and goes on where it was. */
static void dma_stopped(void **state)
{
	struct fixture *f = *state;
	struct driver_ide *d = f->d;

	ide_prd(d, 0, DRIVER_IDE_DATA, 0, false);
	for (unsigned i = 1; i < 32; i++)
		ide_prd(d, i, DRIVER_IDE_DATA + 0x10000 * (i % 16), 0, i == 31);
	atomic_store(&f->fake.holding, true);
	ide_command(d, HELD, 0x25, 0, 4096, true);
	ide_master_begin(d, 1, true);
	while (atomic_load(&f->fake.held) == 0)
		sched_yield();
	assert_true(f->fake.last.length == MIB);
	master_put(d, 1, 0, 1, MASTER_TO_MEMORY);
	atomic_store(&f->fake.holding, false);
	ide_put(d, 1, IDE_COUNT, 0); /* ignored: it is busy */
	piix4_ide_pause(d->ide);
	piix4_ide_resume(d->ide);
	assert_int_equal(ide_ready(d, 1), STATUS_IDLE | STATUS_DATA);
	assert_int_equal(atomic_load(&f->fake.total), 1);
	ide_master_begin(d, 1, true);
	ide_master_end(d, 1);
	assert_int_equal(atomic_load(&f->fake.total), 2);
	assert_true(f->fake.last.offset == MIB && f->fake.last.length == MIB);
	assert_int_equal(ide_get(d, 1, IDE_STATUS), STATUS_IDLE);
}

/* Addresses. */

static void refused(struct driver_ide *d, uint8_t error)
{
	assert_int_equal(ide_ready(d, 0), STATUS_IDLE | STATUS_ERROR);
	assert_true(ide_line(d, 0));
	assert_int_equal(ide_get(d, 0, IDE_STATUS), STATUS_IDLE | STATUS_ERROR);
	assert_int_equal(ide_get(d, 0, IDE_ERROR), error);
}

static void addresses(void **state)
{
	struct driver_ide *d = ((struct fixture *)*state)->d;
	uint8_t data[BLOCK_SECTOR];

	ide_command(d, 0, 0x20, SECTORS - 1, 2, false);
	refused(d, ERROR_ID);
	ide_command(d, 0, 0x25, 1ull << 47, 1, true);
	refused(d, ERROR_ID);
	ide_command(d, 0, 0xca, SECTORS, 1, false);
	refused(d, ERROR_ID);
	/* 48 bits without LBA are none. */
	ide_put(d, 0, IDE_DEVICE, 0xa0);
	ide_put(d, 0, IDE_COMMAND, 0x24);
	refused(d, ERROR_ABORT);
	/* Cylinder 1, head 2, sector 5, with the geometry of the reset, and with another. */
	for (unsigned i = 0; i < 2; i++) {
		ide_put(d, 0, IDE_DEVICE, 0xa2);
		ide_put(d, 0, IDE_COUNT, 1);
		ide_put(d, 0, IDE_LOW, 5);
		ide_put(d, 0, IDE_MID, 1);
		ide_put(d, 0, IDE_HIGH, 0);
		ide_put(d, 0, IDE_COMMAND, 0x20);
		ide_ready(d, 0);
		ide_data_in(d, 0, data, sizeof(data));
		sector_is(data, i ? (8 + 2) * 17 + 4 : (16 + 2) * 63 + 4);
		ide_put(d, 0, IDE_DEVICE, 0xa7);
		ide_put(d, 0, IDE_COUNT, 17);
		ide_put(d, 0, IDE_COMMAND, 0x91);
		assert_int_equal(ide_get(d, 0, IDE_STATUS), STATUS_IDLE);
	}
	ide_put(d, 0, IDE_DEVICE, 0xa8);
	ide_put(d, 0, IDE_COMMAND, 0x20);
	refused(d, ERROR_ID);
	ide_put(d, 0, IDE_DEVICE, 0xa0);
	ide_put(d, 0, IDE_LOW, 0);
	ide_put(d, 0, IDE_COMMAND, 0x20);
	refused(d, ERROR_ID);
}

static void previous_registers(void **state)
{
	struct driver_ide *d = ((struct fixture *)*state)->d;

	ide_put(d, 0, IDE_LOW, 0x11);
	ide_put(d, 0, IDE_LOW, 0x22);
	assert_int_equal(ide_get(d, 0, IDE_LOW), 0x22);
	ide_control(d, 0, CONTROL_PREVIOUS);
	assert_int_equal(ide_get(d, 0, IDE_LOW), 0x11);
	ide_put(d, 0, IDE_MID, 0);
	assert_int_equal(ide_get(d, 0, IDE_LOW), 0x22);
}

/* Commands without data. */

static void small_commands(void **state)
{
	struct driver_ide *d = ((struct fixture *)*state)->d;
	static const uint8_t good[] = {0x10, 0x1f, 0x40, 0x42, 0x70, 0xe1, 0xe3, 0xe7, 0xea};
	static const uint8_t aborted[] = {0x00, 0x08, 0x27, 0x2f, 0x3d, 0x60, 0x61, 0xa0,
					  0xa1, 0xb0, 0xe4, 0xe8, 0xf1, 0xf5, 0xf8, 0xff};
	uint8_t data[BLOCK_SECTOR];

	for (unsigned i = 0; i < sizeof(good); i++)
		assert_int_equal(ide_simple(d, 0, good[i], 0, 9), STATUS_IDLE);
	for (unsigned i = 0; i < sizeof(aborted); i++) {
		assert_int_equal(ide_simple(d, 0, aborted[i], 0, 0), STATUS_IDLE | STATUS_ERROR);
		assert_int_equal(ide_get(d, 0, IDE_ERROR), ERROR_ABORT);
	}
	ide_simple(d, 0, 0xe5, 0, 0);
	assert_int_equal(ide_get(d, 0, IDE_COUNT), 0xff);
	assert_int_equal(ide_simple(d, 0, 0xe0, 0, 0), STATUS_IDLE);
	ide_simple(d, 0, 0xe5, 0, 0);
	assert_int_equal(ide_get(d, 0, IDE_COUNT), 0);
	/* Features: what is set is told. */
	assert_int_equal(ide_simple(d, 0, 0xef, 0x82, 0), STATUS_IDLE);
	assert_int_equal(ide_simple(d, 0, 0xef, 0x55, 0), STATUS_IDLE);
	assert_int_equal(ide_simple(d, 0, 0xef, 0x03, 0x42), STATUS_IDLE);
	identify(d, 0, data);
	assert_int_equal(word(data, 85) & 0x60, 0);
	assert_int_equal(word(data, 88), 0x043f);
	assert_int_equal(ide_simple(d, 0, 0xef, 0x02, 0), STATUS_IDLE);
	assert_int_equal(ide_simple(d, 0, 0xef, 0xaa, 0), STATUS_IDLE);
	assert_int_equal(ide_simple(d, 0, 0xef, 0x03, 0x21), STATUS_IDLE);
	identify(d, 0, data);
	assert_int_equal(word(data, 85) & 0x60, 0x60);
	assert_int_equal(word(data, 63), 0x0207);
	assert_int_equal(word(data, 88), 0x003f);
	assert_int_equal(ide_simple(d, 0, 0xef, 0x03, 0x46), STATUS_IDLE | STATUS_ERROR);
	assert_int_equal(ide_simple(d, 0, 0xef, 0x05, 1), STATUS_IDLE | STATUS_ERROR);
	/* Both disks have their own status. */
	ide_put(d, 0, IDE_DEVICE, 0xf0);
	assert_int_equal(ide_get(d, 0, IDE_STATUS), STATUS_IDLE);
	ide_put(d, 0, IDE_DEVICE, 0xe0);
	assert_int_equal(ide_get(d, 0, IDE_STATUS), STATUS_IDLE | STATUS_ERROR);
}

static void trims(void **state)
{
	struct fixture *f = *state;
	uint8_t *list = ide_memory(f->d, DRIVER_IDE_DATA);

	memset(list, 0, 512);
	le64_put(list + 8, 3ull << 48 | 1000);
	le64_put(list + 504, 0xffffull << 48 | 2000);
	ide_prd(f->d, 0, DRIVER_IDE_DATA, 300, false);
	ide_prd(f->d, 1, DRIVER_IDE_DATA + 300, 212, true);
	ide_put(f->d, 1, IDE_FEATURE, 1);
	ide_command(f->d, HELD, 0x06, 0, 1, true);
	ide_master_begin(f->d, 1, false);
	assert_int_equal(ide_master_end(f->d, 1), MASTER_INTERRUPT);
	assert_int_equal(ide_get(f->d, 1, IDE_STATUS), STATUS_IDLE);
	assert_int_equal(atomic_load(&f->fake.total), 2);
	assert_int_equal(f->fake.last.op, BLOCK_DISCARD);
	assert_true(f->fake.last.offset == 2000 * 512 && f->fake.last.length == 0xffff * 512);
	/* A hint that nobody follows is none the less taken; a range that is not there is not. */
	atomic_store(&f->fake.result, -EOPNOTSUPP);
	ide_command(f->d, HELD, 0x06, 0, 1, true);
	ide_master_begin(f->d, 1, false);
	ide_master_end(f->d, 1);
	assert_int_equal(ide_get(f->d, 1, IDE_STATUS), STATUS_IDLE);
	le64_put(list, 2ull << 48 | (FAKE_SECTORS - 1));
	ide_command(f->d, HELD, 0x06, 0, 1, true);
	ide_master_begin(f->d, 1, false);
	ide_master_end(f->d, 1);
	assert_int_equal(ide_get(f->d, 1, IDE_STATUS), STATUS_IDLE | STATUS_ERROR);
	assert_int_equal(ide_get(f->d, 1, IDE_ERROR), ERROR_ID);
}

/* Errors. */

static void read_only_disks(void **state)
{
	struct fixture *f = *state;
	static const uint8_t codes[] = {0x30, 0x34, 0x35, 0xca, 0x06};

	for (unsigned i = 0; i < sizeof(codes); i++) {
		ide_put(f->d, 0, IDE_FEATURE, 1);
		ide_command(f->d, 1, codes[i], 3, 1, false);
		refused(f->d, ERROR_ABORT);
	}
	assert_int_equal(ide_simple(f->d, 1, 0xe7, 0, 0), STATUS_IDLE);
}

static void host_errors(void **state)
{
	struct fixture *f = *state;
	struct driver_ide *d = f->d;
	uint8_t data[512] = {0};

	atomic_store(&f->fake.result, -EIO);
	ide_command(d, HELD, 0x24, 0x123456789, 5, true);
	assert_int_equal(ide_ready(d, 1), STATUS_IDLE | STATUS_ERROR);
	assert_int_equal(ide_get(d, 1, IDE_ERROR), ERROR_DATA);
	assert_int_equal(ide_get(d, 1, IDE_LOW), 0x89);
	assert_int_equal(ide_get(d, 1, IDE_COUNT), 5);
	ide_control(d, 1, CONTROL_PREVIOUS);
	assert_int_equal(ide_get(d, 1, IDE_LOW), 0x23);
	assert_int_equal(ide_get(d, 1, IDE_MID), 0x01);
	ide_command(d, HELD, 0x40, 0x1234567, 5, false);
	assert_int_equal(ide_ready(d, 1), STATUS_IDLE | STATUS_ERROR);
	assert_int_equal(ide_get(d, 1, IDE_ERROR), ERROR_DATA);
	assert_int_equal(ide_get(d, 1, IDE_DEVICE) & 15, 1);
	atomic_store(&f->fake.result, -ENOSPC);
	ide_command(d, HELD, 0x30, 77, 2, false);
	ide_ready(d, 1);
	ide_data_out(d, 1, data, sizeof(data));
	assert_int_equal(ide_ready(d, 1), STATUS_IDLE | STATUS_ERROR | STATUS_FAULT);
	assert_int_equal(ide_get(d, 1, IDE_ERROR), ERROR_ABORT);
	ide_prd(d, 0, DRIVER_IDE_DATA, 1024, true);
	ide_command(d, HELD, 0xca, 77, 2, false);
	ide_master_begin(d, 1, false);
	ide_master_end(d, 1);
	assert_int_equal(ide_get(d, 1, IDE_STATUS), STATUS_IDLE | STATUS_ERROR | STATUS_FAULT);
	assert_int_equal(ide_simple(d, HELD, 0xea, 0, 0),
			 STATUS_IDLE | STATUS_ERROR | STATUS_FAULT);
	/* The next one finds nothing of it. */
	assert_int_equal(ide_simple(d, HELD, 0xe5, 0, 0), STATUS_IDLE);
	assert_int_equal(ide_get(d, 1, IDE_ERROR), 0);
}

/* With its cache off what was written is there for good. */
static void write_cache(void **state)
{
	struct fixture *f = *state;
	uint8_t data[512] = {0};

	for (unsigned i = 0; i < 2; i++) {
		ide_command(f->d, HELD, 0x30, 5, 1, false);
		ide_data_out(f->d, 1, data, sizeof(data));
		assert_int_equal(ide_ready(f->d, 1), STATUS_IDLE);
		assert_int_equal(f->fake.last.durable, i == 1);
		ide_simple(f->d, HELD, 0xef, 0x82, 0);
	}
}

/* Interrupts and resets. */

static void interrupts(void **state)
{
	struct driver_ide *d = ((struct fixture *)*state)->d;

	ide_control(d, 0, CONTROL_NO_INTERRUPT);
	ide_put(d, 0, IDE_DEVICE, 0xe0);
	ide_put(d, 0, IDE_COMMAND, 0xe5);
	assert_false(ide_line(d, 0));
	assert_int_equal(master_get(d, 0, 2, 1), 0);
	ide_control(d, 0, 0);
	assert_true(ide_line(d, 0));
	assert_int_equal(master_get(d, 0, 2, 1), MASTER_INTERRUPT);
	ide_alternate(d, 0);
	assert_true(ide_line(d, 0));
	/* Who is not selected is quiet. */
	ide_put(d, 0, IDE_DEVICE, 0xf0);
	assert_false(ide_line(d, 0));
	ide_put(d, 0, IDE_DEVICE, 0xe0);
	assert_true(ide_line(d, 0));
	ide_get(d, 0, IDE_STATUS);
	assert_false(ide_line(d, 0));
	master_put(d, 0, 2, 1, 0x60 | MASTER_INTERRUPT);
	assert_int_equal(master_get(d, 0, 2, 1), 0x60);
	assert_false(ide_line(d, 1));
}

static void signature_is_there(struct driver_ide *d, unsigned channel)
{
	assert_int_equal(ide_get(d, channel, IDE_COUNT), 1);
	assert_int_equal(ide_get(d, channel, IDE_LOW), 1);
	assert_int_equal(ide_get(d, channel, IDE_MID), 0);
	assert_int_equal(ide_get(d, channel, IDE_HIGH), 0);
	assert_int_equal(ide_get(d, channel, IDE_ERROR), 1);
	assert_int_equal(ide_alternate(d, channel), STATUS_IDLE);
}

static void resets(void **state)
{
	struct fixture *f = *state;
	struct driver_ide *d = f->d;
	uint8_t data[512];

	ide_simple(d, 0, 0xc6, 0, 4);
	ide_simple(d, 1, 0xef, 0x66, 0);
	ide_simple(d, 1, 0xc6, 0, 4);
	ide_command(d, 0, 0x20, 1, 2, false);
	ide_ready(d, 0);
	ide_control(d, 0, CONTROL_RESET);
	assert_int_equal(ide_alternate(d, 0), STATUS_BUSY);
	assert_false(ide_line(d, 0));
	ide_put(d, 0, IDE_COMMAND, 0xec);
	ide_control(d, 0, 0);
	signature_is_there(d, 0);
	assert_int_equal(bus_read(d->fake->vm.pio, 0x1f0, 2), 0xffff);
	ide_put(d, 0, IDE_DEVICE, 0xf0);
	assert_int_equal(ide_get(d, 0, IDE_STATUS), STATUS_IDLE);
	/* Settings went, unless they were to stay. */
	identify(d, 0, data);
	assert_int_equal(word(data, 59), 0x110);
	identify(d, 1, data);
	assert_int_equal(word(data, 59), 0x104);
	ide_put(d, 0, IDE_COMMAND, 0x90);
	assert_true(ide_line(d, 0));
	signature_is_there(d, 0);
}

/* What the host is at ends first: until then the disk is busy, and nothing is heard of it after. */
static void reset_in_flight(void **state)
{
	struct fixture *f = *state;
	struct driver_ide *d = f->d;

	for (unsigned i = 0; i < 2; i++) {
		atomic_store(&f->fake.holding, true);
		ide_command(d, HELD, 0x20, 5, 1, false);
		while (atomic_load(&f->fake.held) == 0)
			sched_yield();
		ide_control(d, 1, CONTROL_RESET);
		if (i == 0)
			ide_control(d, 1, 0);
		assert_int_equal(ide_alternate(d, 1), STATUS_BUSY);
		atomic_store(&f->fake.holding, false);
		ide_config_get(d, 0, 4);
		piix4_ide_pause(d->ide);
		piix4_ide_resume(d->ide);
		if (i == 1) {
			assert_int_equal(ide_alternate(d, 1), STATUS_BUSY);
			ide_control(d, 1, 0);
		}
		assert_int_equal(ide_ready(d, 1), STATUS_IDLE);
		assert_false(ide_line(d, 1));
		signature_is_there(d, 1);
	}
	/* A machine's reset waits itself. */
	atomic_store(&f->fake.holding, true);
	ide_command(d, HELD, 0x20, 5, 1, false);
	while (atomic_load(&f->fake.held) == 0)
		sched_yield();
	atomic_store(&f->fake.holding, false);
	piix4_ide_reset(d->ide);
	ide_config_put(d, PCI_COMMAND, 2, PCI_COMMAND_IO);
	signature_is_there(d, 1);
	assert_int_equal(ide_simple(d, HELD, 0xe7, 0, 0), STATUS_IDLE);
}

/* A command amid another one's data. */
static void command_over_command(void **state)
{
	struct fixture *f = *state;
	uint8_t data[512];

	ide_command(f->d, 0, 0x20, 1, 2, false);
	ide_ready(f->d, 0);
	ide_data_in(f->d, 0, data, 100);
	identify(f->d, 0, data);
	text_is(data, 10, 10, "serial-0");
	ide_command(f->d, 0, 0xc8, 1, 2, false);
	identify(f->d, 1, data);
	ide_put(f->d, 0, IDE_DEVICE, 0xe0);
	assert_int_equal(ide_get(f->d, 0, IDE_STATUS), STATUS_IDLE);
	ide_master_begin(f->d, 0, true);
	assert_int_equal(ide_alternate(f->d, 0), STATUS_IDLE);
}

/* Saved state. */

static void state_of(void *thing, struct codec *c)
{
	piix4_ide_state(((struct driver_ide *)thing)->ide, c);
}

static struct driver_ide *another(struct fixture *f)
{
	struct driver_ide *to =
		driver_ide_create((struct block *[]){f->file, f->read_only, &f->fake.block}, 3);

	piix4_ide_pause(to->ide);
	ide_config_put(to, PCI_COMMAND, 2, 0);
	return to;
}

static void moves_to(struct fixture *f, struct driver_ide *to)
{
	piix4_ide_pause(f->d->ide);
	state_trip(state_of, f->d, to);
	driver_ide_destroy(f->d);
	f->d = to;
	piix4_ide_resume(to->ide);
}

static void state_amid_pio(void **state)
{
	struct fixture *f = *state;
	uint8_t data[4 * BLOCK_SECTOR];

	ide_simple(f->d, 0, 0xc6, 0, 2);
	ide_simple(f->d, HELD, 0xef, 0x03, 0x42);
	ide_command(f->d, 0, 0xc4, 20, 4, false);
	ide_ready(f->d, 0);
	ide_data_in(f->d, 0, data, 700);
	moves_to(f, another(f));
	assert_true(ide_line(f->d, 0));
	ide_data_in(f->d, 0, data + 700, 1024 - 700);
	ide_ready(f->d, 0);
	ide_data_in(f->d, 0, data + 1024, 1024);
	for (unsigned i = 0; i < 4; i++)
		sector_is(data + 512 * i, 20 + i);
	pattern(data, sizeof(data), 8);
	ide_command(f->d, 0, 0xc5, 20, 4, false);
	ide_data_out(f->d, 0, data, 1000);
	moves_to(f, another(f));
	ide_data_out(f->d, 0, data + 1000, 24);
	ide_ready(f->d, 0);
	ide_data_out(f->d, 0, data + 1024, 1024);
	assert_int_equal(ide_ready(f->d, 0), STATUS_IDLE);
	disk_has(f, 20, data, sizeof(data));
	identify(f->d, HELD, data);
	assert_int_equal(word(data, 88), 0x043f);
}

static void *release(void *arg)
{
	struct fixture *f = arg;

	usleep(20000);
	atomic_store(&f->fake.holding, false);
	/* Somebody has to wake the thread: it sleeps for its kick. */
	piix4_ide_pause(f->d->ide);
	return NULL;
}

/* Between two pieces of one command, the first of which the host had; and before the first. */
static void state_amid_dma(void **state)
{
	struct fixture *f = *state;
	struct driver_ide *to = another(f);
	pthread_t thread;

	for (unsigned i = 0; i < 32; i++) {
		ide_prd(f->d, i, DRIVER_IDE_DATA, 0, i == 31);
		ide_prd(to, i, DRIVER_IDE_DATA, 0, i == 31);
	}
	atomic_store(&f->fake.holding, true);
	ide_command(f->d, HELD, 0x35, 8192, 4096, true);
	ide_master_begin(f->d, 1, false);
	while (atomic_load(&f->fake.held) == 0)
		sched_yield();
	assert_int_equal(pthread_create(&thread, NULL, release, f), 0);
	pthread_join(thread, NULL);
	assert_int_equal(ide_alternate(f->d, 1), STATUS_BUSY);
	moves_to(f, to);
	assert_int_equal(ide_master_end(f->d, 1), MASTER_INTERRUPT);
	assert_int_equal(atomic_load(&f->fake.total), 2);
	assert_true(f->fake.last.offset == 8192 * 512 + MIB && f->fake.last.length == MIB);
	ide_get(f->d, 1, IDE_STATUS);
	/* While it is paused a command waits. */
	to = another(f);
	piix4_ide_pause(f->d->ide);
	ide_command(f->d, HELD, 0x20, 5, 1, false);
	assert_int_equal(ide_alternate(f->d, 1), STATUS_BUSY);
	moves_to(f, to);
	assert_int_equal(ide_ready(f->d, 1), STATUS_IDLE | STATUS_DATA);
}

static void other_disks_are_refused(void **state)
{
	struct fixture *f = *state;
	struct driver_ide *to = driver_ide_create((struct block *[]){f->file}, 1);
	struct error err = {0};
	struct state_bytes s;

	piix4_ide_pause(f->d->ide);
	piix4_ide_pause(to->ide);
	ide_config_put(to, PCI_COMMAND, 2, 0);
	s = state_save(state_of, f->d);
	assert_int_equal(state_load(state_of, to, &s, &err), -EINVAL);
	assert_non_null(strstr(err.what, "sectors"));
	free(s.bytes);
	driver_ide_destroy(to);
}

static struct fake_block tortured;

static void *torture_make(void *arg)
{
	struct driver_ide *d = driver_ide_create((struct block *[]){&tortured.block}, 1);

	(void)arg;
	piix4_ide_pause(d->ide);
	ide_config_put(d, PCI_COMMAND, 2, 0);
	return d;
}

static void torture_unmake(void *thing)
{
	struct driver_ide *d = thing;

	piix4_ide_resume(d->ide);
	driver_ide_destroy(d);
}

static void hostile_states(void **state)
{
	static const uint8_t codes[] = {0x20, 0xca};
	struct state_bytes s;

	(void)state;
	fake_block_init(&tortured, 64 * 512);
	for (unsigned i = 0; i < sizeof(codes); i++) {
		struct driver_ide *d = driver_ide_create((struct block *[]){&tortured.block}, 1);

		piix4_ide_pause(d->ide);
		ide_command(d, 0, codes[i], 5, 3, false);
		s = state_save(state_of, d);
		driver_ide_destroy(d);
		state_torture(state_of, &s, torture_make, torture_unmake, NULL);
		free(s.bytes);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(is_a_piix4),
		TEST(ports_answer_as_they_are_told),
		TEST(absent_disks),
		TEST(identifies),
		TEST(pio_reads),
		TEST(pio_writes),
		TEST(pio_in_blocks),
		TEST(dma_moves),
		TEST(dma_in_crumbs),
		TEST(dma_tables_of_other_sizes),
		TEST(dma_nonsense),
		TEST(dma_stopped),
		TEST(addresses),
		TEST(previous_registers),
		TEST(small_commands),
		TEST(trims),
		TEST(read_only_disks),
		TEST(host_errors),
		TEST(write_cache),
		TEST(interrupts),
		TEST(resets),
		TEST(reset_in_flight),
		TEST(command_over_command),
		TEST(state_amid_pio),
		TEST(state_amid_dma),
		TEST(other_disks_are_refused),
		cmocka_unit_test(hostile_states),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
