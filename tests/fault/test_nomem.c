/* SPDX-License-Identifier: MIT */
/*
 * For each thing that is made: the N-th allocation on the way fails, for every N. It must say
 * -ENOMEM and leave neither blocks nor descriptors behind. Each case makes its thing whole, in
 * steps that may fail, and takes down what it got.
 */
#include "tests/unit/unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "block/export.h"
#include "devices/acpi_pm.h"
#include "devices/i8042.h"
#include "devices/mc146818.h"
#include "devices/pvpanic.h"
#include "devices/uart16550.h"
#include "devices/virtio/blk.h"
#include "devices/virtio/console.h"
#include "devices/virtio/rng.h"
#include "devices/virtio/virtio_pci.h"
#include "tests/fake_vm.h"
#include "tests/fault/fault.h"
#include "tests/unit/fake_block.h"
#include "tests/unit/fake_transport.h"
#include "tests/unit/kernel_image.h"
#include "tests/unit/loop_turn.h"
#include "tests/unit/scratch.h"
#include "vmm/boot/boot.h"
#include "vmm/core/vcpu.h"
#include "vmm/machine/console.h"
#include "vmm/machine/control.h"
#include "vmm/machine/machine_impl.h"

/* What is there before anything fails. */
static struct {
	struct fake_vm *vm;
	struct irq_line irq;
	struct loop *loop;
	struct chardev chardev;
	struct power power;
	struct pci_bus *pci;
	struct fake_block disk;
	struct scratch scratch;
	char kernel[SCRATCH_PATH_MAX];
	char image[SCRATCH_PATH_MAX];
	char qcow2[SCRATCH_PATH_MAX], exported[SCRATCH_PATH_MAX];
	struct kernel_image elf;
} env;

static void chardev_nothing(void *arg, const uint8_t *bytes, size_t count)
{
	(void)arg;
	(void)bytes;
	(void)count;
}

static void nothing(void *arg)
{
	(void)arg;
}

static const struct chardev_ops chardev_ops = {.write = chardev_nothing, .ready = nothing};
static const struct power_ops power_ops = {.off = nothing, .reset = nothing, .panicked = nothing};

/* Devices. */

static int make_uart(void)
{
	struct uart16550 *uart = NULL;
	int ret = uart16550_create(env.vm->vm.pio, 0x3f8, &env.irq, &env.chardev, &uart);

	uart16550_destroy(uart);
	return ret;
}

static int make_rtc(void)
{
	struct mc146818 *rtc = NULL;
	int ret = mc146818_create(env.vm->vm.pio, &env.irq, env.loop, &rtc);

	mc146818_destroy(rtc);
	return ret;
}

static int make_pm(void)
{
	struct acpi_pm *pm = NULL;
	int ret = acpi_pm_create(env.vm->vm.pio, 0x600, &env.irq, &env.power, &pm);

	acpi_pm_destroy(pm);
	return ret;
}

static int make_i8042(void)
{
	struct i8042 *chip = NULL;
	int ret = i8042_create(env.vm->vm.pio, &env.power, &chip);

	i8042_destroy(chip);
	return ret;
}

static int make_pvpanic(void)
{
	struct pvpanic *chip = NULL;
	int ret = pvpanic_create(env.vm->vm.pio, 0x505, &env.power, &chip);

	pvpanic_destroy(chip);
	return ret;
}

/* On buses of its own, so that they have to grow. */
static int make_pci(void)
{
	struct vm vm = {.ops = env.vm->vm.ops, .engine = env.vm->vm.engine};
	struct pci_config config = {.vm = &vm,
				    .ecam_base = 0xe0000000,
				    .ecam_size = 0x100000,
				    .window_base = 0xc0000000,
				    .window_size = 0x100000,
				    .first_gsi = 16,
				    .gsi_count = 8};
	struct pci_bus *pci = NULL;
	int ret = bus_create(&vm.pio);

	if (ret == 0)
		ret = bus_create(&vm.mmio);
	if (ret == 0)
		ret = pci_bus_create(&config, &pci);
	pci_bus_destroy(pci);
	bus_destroy(vm.mmio);
	bus_destroy(vm.pio);
	return ret;
}

static int make_rng(void)
{
	struct virtio_rng *rng = NULL;
	struct virtio_pci *pci = NULL;
	int ret = virtio_rng_create(env.vm->vm.memory, env.loop, &rng);

	if (ret == 0)
		ret = virtio_pci_create(&env.vm->vm, env.pci, 1, virtio_rng_device(rng), &pci);
	virtio_pci_destroy(pci);
	virtio_rng_destroy(rng);
	return ret;
}

static int make_virtio_console(void)
{
	struct virtio_console_port ports[2] = {{.name = "a", .backend = env.chardev},
					       {.name = "b", .backend = env.chardev}};
	struct virtio_console *console = NULL;
	struct virtio_pci *pci = NULL;
	int ret = virtio_console_create(env.vm->vm.memory, env.loop, ports, 2, &console);

	if (ret == 0)
		ret = virtio_pci_create(&env.vm->vm, env.pci, 2, virtio_console_device(console),
					&pci);
	virtio_pci_destroy(pci);
	virtio_console_destroy(console);
	return ret;
}

static int make_blk(void)
{
	struct virtio_blk_config config = {.block = &env.disk.block, .queues = 4, .serial = "s"};
	struct virtio_blk *blk = NULL;
	struct virtio_pci *pci = NULL;
	int ret = virtio_blk_create(env.vm->vm.memory, &config, &blk);

	if (ret == 0)
		ret = virtio_pci_create(&env.vm->vm, env.pci, 4, virtio_blk_device(blk), &pci);
	virtio_pci_destroy(pci);
	virtio_blk_destroy(blk);
	return ret;
}

/* The driver's DRIVER_OK makes queues; where one cannot be, the device wants a reset. */
static int start_blk(void)
{
	struct virtio_blk_config config = {.block = &env.disk.block, .queues = 2, .serial = "s"};
	struct fake_transport transport;
	struct driver_ring ring[2];
	struct virtio_device *vdev;
	struct virtio_blk *blk;
	int ret = virtio_blk_create(env.vm->vm.memory, &config, &blk);

	if (ret)
		return ret;
	vdev = virtio_blk_device(blk);
	fake_transport_init(&transport, vdev);
	fake_transport_negotiate(&transport, VIRTIO_F_VERSION_1);
	for (unsigned i = 0; i < 2; i++) {
		driver_ring_init(&ring[i], env.vm->vm.memory, 8, 0x10000 * (i + 1));
		fake_transport_queue(&transport, i, &ring[i]);
	}
	fake_transport_driver_ok(&transport);
	if (!vdev->running) {
		assert_true(atomic_load(&vdev->status) & VIRTIO_STATUS_NEEDS_RESET);
		ret = -ENOMEM;
	}
	virtio_blk_destroy(blk);
	/* A queue's thread that found no memory says so by itself, once it runs. */
	if (atomic_load(&transport.config_interrupts))
		ret = -ENOMEM;
	fake_transport_fini(&transport);
	return ret;
}

/* The core. */

static uint64_t read_nothing(void *device, uint64_t offset, unsigned size)
{
	(void)device;
	(void)offset;
	(void)size;
	return 0;
}

static void write_nothing(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)device;
	(void)offset;
	(void)size;
	(void)value;
}

static int make_bus(void)
{
	static const struct bus_ops ops = {.read = read_nothing, .write = write_nothing};
	struct bus *bus = NULL;
	int ret = bus_create(&bus);

	for (unsigned i = 0; i < 40 && ret == 0; i++) {
		ret = bus_add(bus, 16 * i, 16, &ops, NULL);
		/* One that failed is not there, the others are. */
		for (unsigned k = 0; k < 40; k++)
			assert_int_equal(bus_read(bus, 16 * k, 1),
					 k < i || (k == i && ret == 0) ? 0 : 0xff);
	}
	bus_destroy(bus);
	return ret;
}

static int make_memory(void)
{
	struct guest_memory *memory = NULL;
	int ret = memory_create(3 * GIB + MIB, &memory, NULL);

	/* Found by this test: tracking that could not be renewed stayed on, without its bits. */
	for (unsigned i = 0; i < 2 && ret == 0; i++)
		ret = memory_track(memory, true);
	if (memory) {
		assert_int_equal(memory_write(memory, 0, "x", 1), 0);
		assert_int_equal(memory_write(memory, MEMORY_HOLE_END, "x", 1), 0);
	}
	memory_destroy(memory);
	return ret;
}

static enum vcpu_exit run_nothing(struct engine_vcpu *vcpu, struct error *err)
{
	(void)vcpu;
	(void)err;
	return VCPU_EXIT_KICKED;
}

static void kick_nothing(struct engine_vcpu *vcpu)
{
	(void)vcpu;
}

static void ended_nothing(void *arg, unsigned index, enum vcpu_exit why, const struct error *err)
{
	(void)arg;
	(void)index;
	(void)why;
	(void)err;
}

static int make_vcpus(void)
{
	static const struct engine_ops ops = {.vcpu_run = run_nothing, .vcpu_kick = kick_nothing};
	struct engine_vcpu *vcpus[2] = {NULL, NULL};
	struct vcpu_set *set = NULL;
	int ret = vcpu_set_create(&ops, vcpus, 2, ended_nothing, NULL, &set, NULL);

	vcpu_set_destroy(set);
	return ret;
}

static void event_nothing(void *arg, uint32_t events)
{
	(void)arg;
	(void)events;
}

static int make_loop(void)
{
	struct loop_source *source[3] = {NULL};
	struct loop *loop = NULL;
	int fd = eventfd(0, EFD_CLOEXEC), ret = loop_create(&loop);

	if (ret == 0)
		ret = loop_add_fd(loop, fd, EPOLLIN, event_nothing, NULL, &source[0]);
	if (ret == 0)
		ret = loop_add_timer(loop, event_nothing, NULL, &source[1]);
	if (ret == 0)
		ret = loop_add_signal(loop, SIGUSR2, event_nothing, NULL, &source[2]);
	for (unsigned i = 0; i < 3; i++)
		loop_remove(source[i]);
	loop_destroy(loop);
	close(fd);
	return ret;
}

/* Files. */

static int make_disk(void)
{
	struct block_options options = {.path = env.image};
	struct block_queue *queue = NULL;
	struct block *block = NULL;
	struct error err = {0};
	int ret = block_open("raw", &options, &block, &err);

	if (ret == 0)
		ret = block_queue_create(block, 8, &queue, &err);
	assert_true(ret == 0 || err.what[0]);
	block_queue_destroy(queue);
	block_close(block);
	return ret;
}

/* Read, too: tables and what unpacks clusters are made when they are needed. */
static int make_qcow2(void)
{
	struct block_options options = {.path = env.qcow2, .read_only = true};
	struct block_queue *queue = NULL;
	struct block *block = NULL;
	struct error err = {0};
	uint8_t byte;
	int ret = block_open("qcow2", &options, &block, &err);

	if (ret == 0)
		ret = block_queue_create(block, 8, &queue, &err);
	assert_true(ret == 0 || err.what[0]);
	if (ret == 0)
		ret = block_read(block, 0, &byte, 1);
	block_queue_destroy(queue);
	block_close(block);
	return ret;
}

static int export_from(const char *image, const char *to)
{
	struct block_options options = {.path = image, .read_only = true};
	struct export_options export = {.path = to, .compression = EXPORT_DEFLATE};
	struct block *block = NULL;
	struct error err = {0};
	int ret = block_open("raw", &options, &block, &err);

	if (ret == 0)
		ret = export_block("qcow2", &export, block, &err);
	assert_true(ret == 0 || err.what[0]);
	block_close(block);
	return ret;
}

static int make_export(void)
{
	int ret = export_from(env.image, env.exported);

	assert_int_equal(unlink(env.exported), ret ? -1 : 0);
	return ret;
}

static int make_boot(void)
{
	struct boot_config config = {.kernel = env.kernel,
				     .initrd = env.image,
				     .cmdline = "quiet",
				     .overlay = "overlay",
				     .overlay_size = 7};
	static struct cpu_state cpu;
	struct acpi_board board = board_acpi;
	struct boot *boot = NULL;
	struct error err = {0};
	int ret = boot_open(&config, &boot, &err);

	board.vcpus = 1;
	if (ret == 0)
		ret = boot_load(boot, env.vm->vm.memory, &board, &cpu, &err);
	assert_true(ret == 0 || err.what[0]);
	boot_close(boot);
	return ret;
}

static int make_machine_console(void)
{
	struct console_client_config client = {.in_fd = -1, .out_fd = -1};
	struct console *console = NULL;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), ret, listened = -1;

	ret = console_create(env.loop, &console);
	if (ret == 0)
		ret = console_attach(console, &client, NULL);
	if (ret == 0)
		ret = listened = console_listen(console, fd);
	/* Tasks that it posted run before it goes. */
	loop_turn(env.loop);
	/* The descriptor is the console's from console_listen on, whatever came of it. */
	if (!console || (ret && listened == -1))
		close(fd);
	console_destroy(console);
	return ret;
}

static int make_control(void)
{
	static const struct control_ops ops = {0};
	struct control *control = NULL;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), ret;

	ret = control_create(env.loop, fd, &ops, NULL, &control);
	control_destroy(control);
	return ret;
}

static unsigned count_fds(void)
{
	DIR *directory = opendir("/proc/self/fd");
	unsigned count = 0;

	assert_non_null(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

struct maker {
	const char *name;
	int (*make)(void);
};

static void every_allocation_fails(void **state)
{
	const struct maker *maker = *state;
	unsigned faults = 0;
	bool failed = true;

	assert_int_equal(maker->make(), 0); /* the first time may leave caches */
	for (int n = 0; failed; n++) {
		long blocks = fault_live_blocks();
		unsigned fds = count_fds();
		int ret;

		assert_true(n < 1000);
		fault_arm(n);
		ret = maker->make();
		failed = fault_disarm();
		faults += failed;
		assert_int_equal(ret, failed ? -ENOMEM : 0);
		assert_int_equal(fault_live_blocks(), blocks);
		assert_int_equal(count_fds(), fds);
	}
	/* A case in which nothing can fail tests nothing. */
	assert_true(faults > 0);
}

static int env_make(void **state)
{
	struct pci_config config = {.ecam_base = 0xe0000000,
				    .ecam_size = 0x100000,
				    .window_base = 0xc0000000,
				    .window_size = 0x1000000,
				    .first_gsi = 16,
				    .gsi_count = 8};

	(void)state;
	env.vm = fake_vm_create(64 * MIB);
	env.irq = (struct irq_line){.vm = &env.vm->vm, .gsi = 4};
	env.chardev = (struct chardev){.ops = &chardev_ops};
	env.power = (struct power){.ops = &power_ops};
	assert_int_equal(loop_create(&env.loop), 0);
	config.vm = &env.vm->vm;
	assert_int_equal(pci_bus_create(&config, &env.pci), 0);
	fake_block_init(&env.disk, MIB);
	scratch_make(&env.scratch);
	scratch_path(&env.scratch, "kernel", env.kernel);
	scratch_path(&env.scratch, "image", env.image);
	kernel_image_elf(&env.elf);
	scratch_write(&env.scratch, "kernel", env.elf.bytes, env.elf.size);
	scratch_write(&env.scratch, "image", env.elf.bytes, 4096);
	scratch_path(&env.scratch, "qcow2", env.qcow2);
	scratch_path(&env.scratch, "exported", env.exported);
	assert_int_equal(export_from(env.image, env.qcow2), 0);
	return 0;
}

static int env_unmake(void **state)
{
	(void)state;
	scratch_remove(&env.scratch);
	pci_bus_destroy(env.pci);
	loop_destroy(env.loop);
	fake_vm_destroy(env.vm);
	return 0;
}

#define MAKER(name)                                                                                \
	{                                                                                          \
#name, name                                                                        \
	}

int main(void)
{
	static struct maker makers[] = {
		MAKER(make_uart),
		MAKER(make_rtc),
		MAKER(make_pm),
		MAKER(make_i8042),
		MAKER(make_pvpanic),
		MAKER(make_pci),
		MAKER(make_rng),
		MAKER(make_virtio_console),
		MAKER(make_blk),
		MAKER(start_blk),
		MAKER(make_bus),
		MAKER(make_memory),
		MAKER(make_vcpus),
		MAKER(make_loop),
		MAKER(make_disk),
		MAKER(make_qcow2),
		MAKER(make_export),
		MAKER(make_boot),
		MAKER(make_machine_console),
		MAKER(make_control),
	};
	struct CMUnitTest tests[ARRAY_SIZE(makers)];

	for (unsigned i = 0; i < ARRAY_SIZE(makers); i++)
		tests[i] = (struct CMUnitTest){.name = makers[i].name,
					       .test_func = every_allocation_fails,
					       .initial_state = &makers[i]};
	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, env_make, env_unmake);
}
