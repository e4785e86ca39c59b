/* SPDX-License-Identifier: MIT */
/*
 * As test_golden_state, of the devices that are there where I/O is emulated: an IDE controller with
 * a command in the middle, and a 82540EM with half a frame. Made by test_golden_emulated --write
 * FILE.
 */
#include "tests/unit/unit.h"

#include "devices/e1000/i82540em.h"
#include "devices/e1000/registers.h"
#include "tests/unit/driver_ide.h"
#include "tests/unit/state_trip.h"

#define NIC_SLOT 5u
#define NIC_BAR  0xc0000000u
#define RING     0x1000u

static const char *const *files; /* oldest first, NULL behind the newest */

struct board {
	struct fake_block disk;
	struct driver_ide *d;
	struct net net;
	struct i82540em *nic;
};

static ssize_t net_receive(struct net *net, unsigned queue, struct iovec *iov, unsigned count)
{
	(void)net;
	(void)queue;
	(void)iov;
	(void)count;
	return -EAGAIN;
}

static int net_send(struct net *net, unsigned queue, const struct iovec *iov, unsigned count)
{
	(void)net;
	(void)queue;
	(void)iov;
	(void)count;
	return 0;
}

static int net_fd(const struct net *net, unsigned queue)
{
	(void)net;
	(void)queue;
	return -1;
}

static int net_set(struct net *net, unsigned value)
{
	(void)net;
	(void)value;
	return 0;
}

static const struct net_ops net_ops = {
	.receive = net_receive,
	.send = net_send,
	.fd = net_fd,
	.set_offloads = net_set,
	.set_queues = net_set,
};

static void board_state(void *thing, struct codec *c)
{
	struct board *b = thing;

	piix4_ide_state(b->d->ide, c);
	i82540em_state(b->nic, c);
}

/* Paused, as after power-on. */
static struct board *board_make(void)
{
	struct board *b = calloc(1, sizeof(*b));
	struct i82540em_config config = {.mac = {0x52, 0x54, 0, 1, 2, 3}};

	assert_non_null(b);
	fake_block_init(&b->disk, 4096 * 512);
	b->d = driver_ide_create((struct block *[]){&b->disk.block}, 1);
	piix4_ide_pause(b->d->ide);
	b->net = (struct net){.ops = &net_ops, .info = {.type = "fake", .queues = 1}};
	config.net = &b->net;
	assert_int_equal(i82540em_create(&b->d->fake->vm, b->d->pci, NIC_SLOT, &config, &b->nic),
			 0);
	return b;
}

static void board_unmake(struct board *b)
{
	i82540em_destroy(b->nic);
	driver_ide_destroy(b->d);
	free(b);
}

static uint32_t nic_get(struct board *b, uint32_t reg)
{
	return (uint32_t)bus_read(b->d->fake->vm.mmio, NIC_BAR + reg, 4);
}

static void nic_put(struct board *b, uint32_t reg, uint32_t value)
{
	bus_write(b->d->fake->vm.mmio, NIC_BAR + reg, 4, value);
}

static void nic_fill(struct board *b)
{
	uint8_t *ring = ide_memory(b->d, RING);

	bus_write(b->d->fake->vm.mmio, 0xe0000000ull + (NIC_SLOT << 15) + PCI_COMMAND, 2,
		  PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	nic_put(b, 0x3800, RING);
	nic_put(b, 0x3808, 128);
	nic_put(b, 0x5200, 0x12345678);
	nic_put(b, 0xd0, 4);
	nic_put(b, 0xc8, 4);
	nic_put(b, 0x400, TCTL_ENABLE);
	for (unsigned i = 0; i < 100; i++)
		((uint8_t *)ide_memory(b->d, DRIVER_IDE_DATA))[i] = (uint8_t)i;
	le64_put(ring, DRIVER_IDE_DATA);
	le32_put(ring + 8, 100);
	i82540em_resume(b->nic);
	nic_put(b, 0x3818, 1);
	while (nic_get(b, 0x3810) != 1)
		;
	i82540em_pause(b->nic);
}

static struct board *board_filled(void)
{
	struct board *b = board_make();
	struct driver_ide *d = b->d;
	uint8_t data[300] = "golden";

	piix4_ide_resume(d->ide);
	assert_int_equal(ide_simple(d, 0, 0xef, 0x03, 0x42), STATUS_IDLE);
	assert_int_equal(ide_simple(d, 0, 0xc6, 0, 4), STATUS_IDLE);
	ide_command(d, 0, 0xc5, 1000, 8, false);
	ide_data_out(d, 0, data, sizeof(data));
	master_put(d, 1, 4, 4, 0x12345678);
	piix4_ide_pause(d->ide);
	nic_fill(b);
	return b;
}

static struct state_bytes file_read(const char *path)
{
	struct state_bytes s = {malloc(MIB), 0};
	FILE *f = fopen(path, "rb");

	assert_non_null(s.bytes);
	if (!f)
		fail_msg("%s: %s", path, strerror(errno));
	s.size = fread(s.bytes, 1, MIB, f);
	fclose(f);
	return s;
}

/* What was under way goes on. */
static void file_loads(const char *file)
{
	struct state_bytes s = file_read(file);
	struct board *b = board_make();
	uint8_t data[2048] = {0};

	print_message("%s\n", file);
	ide_config_put(b->d, PCI_COMMAND, 2, 0);
	assert_int_equal(state_load(board_state, b, &s, NULL), 0);
	free(s.bytes);
	piix4_ide_resume(b->d->ide);
	i82540em_resume(b->nic);
	assert_int_equal(master_get(b->d, 1, 4, 4), 0x12345678);
	for (unsigned at = 300; at < 8 * 512; at += at == 300 ? 1748 : 2048) {
		assert_int_equal(ide_ready(b->d, 0), STATUS_IDLE | STATUS_DATA);
		ide_data_out(b->d, 0, data, at == 300 ? 1748 : 2048);
	}
	assert_int_equal(ide_ready(b->d, 0), STATUS_IDLE);
	assert_true(b->disk.last.offset == 1004 * 512 && b->disk.last.length == 2048);
	assert_int_equal(nic_get(b, 0x5200), 0x12345678);
	assert_int_equal(nic_get(b, 0x3810), 1);
	assert_int_equal(nic_get(b, 0xc0), CAUSE_LINK | CAUSE_SEND_EMPTY);
	assert_true(i82540em_is_known(b->nic));
	board_unmake(b);
}

static void loads(void **state)
{
	(void)state;
	for (unsigned i = 0; files[i]; i++)
		file_loads(files[i]);
}

static void is_todays(void **state)
{
	unsigned newest = 0;
	struct state_bytes s, today;
	struct board *b = board_filled();

	(void)state;
	while (files[newest + 1])
		newest++;
	s = file_read(files[newest]);
	today = state_save(board_state, b);
	assert_int_equal(s.size, today.size);
	assert_memory_equal(s.bytes, today.bytes, s.size);
	board_unmake(b);
	free(s.bytes);
	free(today.bytes);
}

static int write_file(const char *path)
{
	FILE *f = fopen(path, "wb");
	struct board *b = board_filled();
	struct state_bytes s = state_save(board_state, b);

	board_unmake(b);
	if (!f || fwrite(s.bytes, 1, s.size, f) != s.size || fclose(f)) {
		perror(path);
		return 1;
	}
	free(s.bytes);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loads),
		cmocka_unit_test(is_todays),
	};

	if (argc == 3 && strcmp(argv[1], "--write") == 0)
		return write_file(argv[2]);
	if (argc < 2)
		return 2;
	files = (const char *const *)argv + 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
