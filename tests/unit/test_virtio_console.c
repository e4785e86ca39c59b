/* SPDX-License-Identifier: MIT */
/* virtio-console: the multiport handshake as Linux does it, data, and a driver without buffers. */
#include "tests/unit/unit.h"

#include "devices/virtio/console.h"
#include "tests/unit/fake_transport.h"
#include "tests/unit/loop_turn.h"
#include "tests/unit/state_trip.h"

#define F_MULTIPORT 2ull

enum { IN0, OUT0, CONTROL_IN, CONTROL_OUT, IN1, OUT1, QUEUES };
enum { READY = 0, ADD = 1, PORT_READY = 3, CONSOLE = 4, OPEN = 6, NAME = 7 };

#define RINGS   0x10000ull /* one each 0x4000 */
#define BUFFERS 0x40000ull /* for each queue 0x10000; control messages 64 bytes each */
#define OUTPUT  0x100000ull

struct side {
	char out[256];
	size_t count;
	unsigned ready;
	bool full;
};

struct fixture {
	struct guest_memory *memory;
	struct loop *loop;
	struct virtio_console *console;
	struct virtio_device *vdev;
	struct fake_transport transport;
	struct driver_ring ring[QUEUES];
	struct side side[2];
};

static void backend_write(void *arg, const uint8_t *bytes, size_t count)
{
	struct side *s = arg;

	assert_true(s->count + count <= sizeof(s->out));
	memcpy(s->out + s->count, bytes, count);
	s->count += count;
}

static void backend_ready(void *arg)
{
	((struct side *)arg)->ready++;
}

static bool backend_full(void *arg)
{
	return ((struct side *)arg)->full;
}

static const struct chardev_ops backend_ops = {
	.write = backend_write, .full = backend_full, .ready = backend_ready};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct virtio_console_port ports[2] = {
		{.name = "console", .console = true},
		{.name = "org.lodge.data"},
	};

	assert_non_null(f);
	assert_int_equal(memory_create(2 * MIB, &f->memory, NULL), 0);
	assert_int_equal(loop_create(&f->loop), 0);
	for (unsigned i = 0; i < 2; i++)
		ports[i].backend = (struct chardev){.ops = &backend_ops, .arg = &f->side[i]};
	assert_int_equal(virtio_console_create(f->memory, f->loop, ports, 2, &f->console), 0);
	f->vdev = virtio_console_device(f->console);
	assert_int_equal(f->vdev->queue_count, QUEUES);
	fake_transport_init(&f->transport, f->vdev);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	virtio_console_destroy(f->console);
	fake_transport_fini(&f->transport);
	loop_destroy(f->loop);
	memory_destroy(f->memory);
	free(f);
	return 0;
}

static void start(struct fixture *f, uint64_t features)
{
	assert_true(fake_transport_negotiate(&f->transport, features | VIRTIO_F_VERSION_1));
	for (unsigned i = 0; i < QUEUES; i++) {
		driver_ring_init(&f->ring[i], f->memory, 16, RINGS + 0x4000ull * i);
		fake_transport_queue(&f->transport, i, &f->ring[i]);
	}
	fake_transport_driver_ok(&f->transport);
}

static void kick(struct fixture *f, unsigned queue)
{
	fake_transport_kick(&f->transport, queue);
	assert_int_equal(loop_turn(f->loop), 0);
}

static uint64_t buffer_of(unsigned queue, unsigned index)
{
	return BUFFERS + 0x10000ull * queue + 64ull * index;
}

/* Give the device `count` buffers of `size` (64 at most) to write to. */
static void buffers_add(struct fixture *f, unsigned queue, unsigned count, uint32_t size)
{
	for (unsigned i = 0; i < count; i++) {
		struct driver_buffer buffer = {.length = size, .write = true};

		buffer.address = buffer_of(queue, f->ring[queue].next_desc % 16);
		driver_ring_add(&f->ring[queue], &buffer, 1);
	}
	kick(f, queue);
}

/* What the device put into its next buffer; the test fails where there is none. */
static const uint8_t *buffer_take(struct fixture *f, unsigned queue, uint32_t *length)
{
	uint32_t id;

	assert_true(driver_ring_take(&f->ring[queue], &id, length));
	return memory_at(f->memory, buffer_of(queue, id), 64);
}

static void expect_control(struct fixture *f, uint32_t port, uint16_t event, uint16_t value)
{
	uint32_t length;
	const uint8_t *m = buffer_take(f, CONTROL_IN, &length);

	assert_true(length >= 8);
	assert_int_equal(le32_get(m), port);
	assert_int_equal(le16_get(m + 4), event);
	assert_int_equal(le16_get(m + 6), value);
}

static void expect_name(struct fixture *f, uint32_t port, const char *name)
{
	uint32_t length;
	const uint8_t *m = buffer_take(f, CONTROL_IN, &length);

	assert_int_equal(le32_get(m), port);
	assert_int_equal(le16_get(m + 4), NAME);
	assert_int_equal(length, 8 + strlen(name));
	assert_memory_equal(m + 8, name, strlen(name));
}

static void expect_nothing(struct fixture *f, unsigned queue)
{
	uint32_t id, length;

	assert_false(driver_ring_take(&f->ring[queue], &id, &length));
}

static void send_raw(struct fixture *f, unsigned queue, const void *bytes, uint32_t size)
{
	struct driver_buffer buffer = {OUTPUT, size, false};
	uint32_t id, length;

	assert_int_equal(memory_write(f->memory, OUTPUT, bytes, size), 0);
	driver_ring_add(&f->ring[queue], &buffer, 1);
	kick(f, queue);
	assert_true(driver_ring_take(&f->ring[queue], &id, &length));
	assert_int_equal(length, 0);
}

static void control(struct fixture *f, uint32_t port, uint16_t event, uint16_t value)
{
	uint8_t message[8];

	le32_put(message, port);
	le16_put(message + 4, event);
	le16_put(message + 6, value);
	send_raw(f, CONTROL_OUT, message, sizeof(message));
}

/* Linux drivers/char/virtio_console.c: virtcons_probe(), handle_control_message(). */
static void handshake(struct fixture *f)
{
	buffers_add(f, CONTROL_IN, 8, 64);
	control(f, 0xffffffff, READY, 1);
	expect_control(f, 0, ADD, 1);
	expect_control(f, 1, ADD, 1);
	control(f, 0, PORT_READY, 1);
	expect_control(f, 0, CONSOLE, 1);
	expect_name(f, 0, "console");
	expect_control(f, 0, OPEN, 1);
	control(f, 1, PORT_READY, 1);
	expect_name(f, 1, "org.lodge.data");
	expect_control(f, 1, OPEN, 1);
	expect_nothing(f, CONTROL_IN);
	buffers_add(f, CONTROL_IN, 8, 64);
	expect_nothing(f, CONTROL_IN);
}

static size_t receive(struct fixture *f, unsigned port, const char *text)
{
	return virtio_console_receive(f->console, port, (const uint8_t *)text, strlen(text));
}

static void configuration(void **state)
{
	struct fixture *f = *state;
	uint8_t c[8];

	f->vdev->ops->config_read(f->console, 0, c, sizeof(c));
	assert_int_equal(le32_get(c + 4), 2);
	assert_true(f->vdev->offered & F_MULTIPORT);
}

static void multiport_handshake(void **state)
{
	struct fixture *f = *state;

	start(f, F_MULTIPORT);
	handshake(f);
	/* And again after a reset. */
	fake_transport_reset(&f->transport);
	start(f, F_MULTIPORT);
	handshake(f);
}

static void with_event_index(void **state)
{
	struct fixture *f = *state;

	start(f, F_MULTIPORT | VIRTIO_F_EVENT_IDX);
	handshake(f);
}

static void data_out(void **state)
{
	struct fixture *f = *state;

	start(f, F_MULTIPORT);
	handshake(f);
	send_raw(f, OUT1, "to the host", 11);
	send_raw(f, OUT0, "x", 1);
	assert_int_equal(f->side[1].count, 11);
	assert_memory_equal(f->side[1].out, "to the host", 11);
	assert_int_equal(f->side[0].count, 1);
}

/* Linux resets the device when it powers off: what a full backend left in the ring is not lost. */
static void output_outlives_reset(void **state)
{
	struct fixture *f = *state;
	struct driver_buffer buffer = {OUTPUT, 6, false};

	start(f, F_MULTIPORT);
	handshake(f);
	f->side[1].full = true;
	assert_int_equal(memory_write(f->memory, OUTPUT, "one-a two-b ", 12), 0);
	driver_ring_add(&f->ring[OUT1], &buffer, 1);
	buffer.address += 6;
	driver_ring_add(&f->ring[OUT1], &buffer, 1);
	kick(f, OUT1);
	fake_transport_reset(&f->transport);
	assert_int_equal(f->side[1].count, 0);
	virtio_console_output_ready(f->console, 1);
	assert_int_equal(f->side[1].count, 0);
	f->side[1].full = false;
	virtio_console_output_ready(f->console, 1);
	assert_int_equal(f->side[1].count, 12);
	assert_memory_equal(f->side[1].out, "one-a two-b ", 12);
	/* Once; and by the drain at the end of a guest, full or not. */
	virtio_console_output_ready(f->console, 1);
	assert_int_equal(f->side[1].count, 12);
	start(f, F_MULTIPORT);
	handshake(f);
	f->side[1].full = true;
	driver_ring_add(&f->ring[OUT1], &buffer, 1);
	kick(f, OUT1);
	fake_transport_reset(&f->transport);
	virtio_console_drain(f->console);
	assert_int_equal(f->side[1].count, 18);
}

static void data_in(void **state)
{
	struct fixture *f = *state;
	uint32_t length;

	start(f, F_MULTIPORT);
	handshake(f);
	/* Not before the guest opens the port. */
	buffers_add(f, IN1, 2, 4);
	assert_int_equal(receive(f, 1, "0123456789"), 0);
	assert_int_equal(f->side[1].ready, 0);
	control(f, 1, OPEN, 1);
	assert_int_equal(f->side[1].ready, 1);
	assert_int_equal(receive(f, 1, "0123456789"), 8);
	assert_memory_equal(buffer_take(f, IN1, &length), "0123", 4);
	assert_int_equal(length, 4);
	assert_memory_equal(buffer_take(f, IN1, &length), "4567", 4);
	expect_nothing(f, IN1);
	assert_int_equal(f->side[1].ready, 1);
	/* Room again: the backend is told once. */
	buffers_add(f, IN1, 1, 64);
	assert_int_equal(f->side[1].ready, 2);
	assert_int_equal(receive(f, 1, "89"), 2);
	assert_memory_equal(buffer_take(f, IN1, &length), "89", 2);
	assert_int_equal(length, 2);
	buffers_add(f, IN1, 1, 64);
	assert_int_equal(f->side[1].ready, 2);
	/* Closed by the guest. */
	control(f, 1, OPEN, 0);
	assert_int_equal(receive(f, 1, "x"), 0);
	assert_int_equal(f->side[0].ready, 0);
}

/* The host's end closes: the guest is told, and told again after a reset. */
static void close_is_port_open_0(void **state)
{
	struct fixture *f = *state;
	uint32_t length;

	start(f, F_MULTIPORT);
	handshake(f);
	control(f, 1, OPEN, 1);
	buffers_add(f, IN1, 1, 64);
	assert_int_equal(receive(f, 1, "last"), 4);
	virtio_console_close(f->console, 1);
	assert_memory_equal(buffer_take(f, IN1, &length), "last", 4);
	expect_control(f, 1, OPEN, 0);
	expect_nothing(f, CONTROL_IN);
	fake_transport_reset(&f->transport);
	start(f, F_MULTIPORT);
	buffers_add(f, CONTROL_IN, 8, 64);
	control(f, 1, PORT_READY, 1);
	expect_name(f, 1, "org.lodge.data");
	expect_control(f, 1, OPEN, 0);
}

/* Messages wait for buffers, in order, and come as the buffers come. */
static void messages_are_owed(void **state)
{
	struct fixture *f = *state;

	start(f, F_MULTIPORT);
	control(f, 0xffffffff, READY, 1);
	control(f, 0, PORT_READY, 1);
	expect_nothing(f, CONTROL_IN);
	virtio_console_close(f->console, 0);
	buffers_add(f, CONTROL_IN, 1, 64);
	expect_control(f, 0, ADD, 1);
	expect_nothing(f, CONTROL_IN);
	buffers_add(f, CONTROL_IN, 2, 64);
	expect_control(f, 0, CONSOLE, 1);
	expect_name(f, 0, "console");
	buffers_add(f, CONTROL_IN, 4, 64);
	expect_control(f, 0, OPEN, 0); /* as it is now */
	expect_control(f, 1, ADD, 1);
	expect_nothing(f, CONTROL_IN);
}

/* A guest that provokes messages without taking them costs nothing and gets each once. */
static void messages_do_not_pile_up(void **state)
{
	struct fixture *f = *state;

	start(f, F_MULTIPORT);
	for (unsigned i = 0; i < 1000; i++) {
		control(f, 0xffffffff, READY, 1);
		control(f, 1, PORT_READY, 1);
	}
	buffers_add(f, CONTROL_IN, 16, 64);
	expect_control(f, 0, ADD, 1);
	expect_control(f, 1, ADD, 1);
	expect_name(f, 1, "org.lodge.data");
	expect_control(f, 1, OPEN, 1);
	expect_nothing(f, CONTROL_IN);
}

static void buffers_too_small(void **state)
{
	struct fixture *f = *state;
	uint32_t length;

	start(f, F_MULTIPORT);
	buffers_add(f, CONTROL_IN, 3, 10);
	control(f, 1, PORT_READY, 1);
	buffer_take(f, CONTROL_IN, &length);
	assert_int_equal(length, 10); /* the name is cut */
	expect_control(f, 1, OPEN, 1);
}

static void hostile_control_messages(void **state)
{
	struct fixture *f = *state;

	start(f, F_MULTIPORT);
	handshake(f);
	control(f, 2, PORT_READY, 1);
	control(f, 0xffffffff, PORT_READY, 1);
	control(f, 2, OPEN, 1);
	control(f, 0x80000000, OPEN, 0);
	control(f, 0, PORT_READY, 0); /* it could not add the port */
	control(f, 0, READY, 0);
	for (uint16_t event = 8; event < 300; event++)
		control(f, 0, event, 1);
	control(f, 0, 0xffff, 0xffff);
	send_raw(f, CONTROL_OUT, "short", 5);
	expect_nothing(f, CONTROL_IN);
	assert_false(atomic_load(&f->vdev->status) & VIRTIO_STATUS_NEEDS_RESET);
}

/* A driver without multiport has port 0, open as soon as it is there. */
static void without_multiport(void **state)
{
	struct fixture *f = *state;
	uint32_t length;

	assert_int_equal(receive(f, 0, "early"), 0);
	start(f, 0);
	buffers_add(f, IN0, 1, 64);
	assert_int_equal(f->side[0].ready, 1);
	assert_int_equal(receive(f, 0, "hello"), 5);
	assert_memory_equal(buffer_take(f, IN0, &length), "hello", 5);
	buffers_add(f, IN1, 1, 64);
	assert_int_equal(receive(f, 1, "hello"), 0);
	send_raw(f, OUT0, "out", 3);
	assert_memory_equal(f->side[0].out, "out", 3);
	buffers_add(f, CONTROL_IN, 2, 64);
	control(f, 0xffffffff, READY, 1);
	virtio_console_close(f->console, 0);
	expect_nothing(f, CONTROL_IN);
}

static void malformed_chains(void **state)
{
	static const unsigned queues[] = {CONTROL_OUT, CONTROL_IN, OUT0, OUT1};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(queues); i++) {
		start(f, F_MULTIPORT);
		if (queues[i] == CONTROL_IN)
			control(f, 0xffffffff, READY, 1);
		driver_ring_offer(&f->ring[queues[i]], 16);
		kick(f, queues[i]);
		assert_true(atomic_load(&f->vdev->status) & VIRTIO_STATUS_NEEDS_RESET);
		fake_transport_reset(&f->transport);
	}
	start(f, F_MULTIPORT);
	handshake(f);
	control(f, 1, OPEN, 1);
	driver_ring_offer(&f->ring[IN1], 16);
	assert_int_equal(receive(f, 1, "x"), 0);
	assert_true(atomic_load(&f->vdev->status) & VIRTIO_STATUS_NEEDS_RESET);
}

/* Nothing is touched before the start, after the reset, and in queues that are not enabled. */
static void idle_device(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < QUEUES; i++)
		kick(f, i);
	assert_int_equal(receive(f, 0, "x"), 0);
	virtio_console_close(f->console, 0);
	assert_true(fake_transport_negotiate(&f->transport, F_MULTIPORT | VIRTIO_F_VERSION_1));
	fake_transport_driver_ok(&f->transport);
	for (unsigned i = 0; i < QUEUES; i++)
		kick(f, i);
	assert_int_equal(receive(f, 0, "x"), 0);
	fake_transport_reset(&f->transport);
	for (unsigned i = 0; i < QUEUES; i++)
		kick(f, i);
}

static void console_make(struct fixture *f)
{
	struct virtio_console_port ports[2] = {
		{.name = "console", .console = true},
		{.name = "org.lodge.data"},
	};

	for (unsigned i = 0; i < 2; i++)
		ports[i].backend = (struct chardev){.ops = &backend_ops, .arg = &f->side[i]};
	assert_int_equal(virtio_console_create(f->memory, f->loop, ports, 2, &f->console), 0);
	f->vdev = virtio_console_device(f->console);
	fake_transport_init(&f->transport, f->vdev);
}

/* Away from this device and to another one, which is paused. */
static void move(struct fixture *f)
{
	struct state_bytes s;

	virtio_pause(f->vdev);
	s = state_save(state_virtio, f->vdev);
	virtio_console_destroy(f->console);
	fake_transport_fini(&f->transport);
	console_make(f);
	state_arrive(state_virtio, f->vdev, &s);
}

static void saved_state(void **state)
{
	struct fixture *f = *state;
	uint32_t length;

	start(f, F_MULTIPORT);
	handshake(f);
	control(f, 1, OPEN, 1);
	buffers_add(f, IN1, 2, 64);
	f->side[0].full = true;
	driver_ring_add(&f->ring[OUT0], &(struct driver_buffer){OUTPUT, 3, false}, 1);
	assert_int_equal(memory_write(f->memory, OUTPUT, "abc", 3), 0);
	kick(f, OUT0);
	move(f);
	/* It takes nothing in, and asks again later. */
	assert_int_equal(receive(f, 1, "early"), 0);
	f->side[0].full = false;
	assert_int_equal(loop_turn(f->loop), 0);
	assert_int_equal(f->side[0].count, 0);
	virtio_resume(f->vdev);
	assert_int_equal(loop_turn(f->loop), 0);
	assert_int_equal(f->side[0].count, 3);
	assert_memory_equal(f->side[0].out, "abc", 3);
	assert_int_equal(f->side[1].ready, 1);
	assert_int_equal(receive(f, 1, "late"), 4);
	assert_memory_equal(buffer_take(f, IN1, &length), "late", 4);
}

/* Held output comes along; that the host's end is open again is told. */
static void saved_output(void **state)
{
	struct fixture *f = *state;
	struct state_bytes s, again;
	uint32_t id, length;

	start(f, F_MULTIPORT);
	handshake(f);
	virtio_console_close(f->console, 1);
	expect_control(f, 1, OPEN, 0);
	f->side[0].full = true;
	driver_ring_add(&f->ring[OUT0], &(struct driver_buffer){OUTPUT, 3, false}, 1);
	assert_int_equal(memory_write(f->memory, OUTPUT, "abc", 3), 0);
	fake_transport_reset(&f->transport); /* keeps it */
	start(f, F_MULTIPORT);
	virtio_pause(f->vdev);
	s = state_save(state_virtio, f->vdev);
	virtio_console_destroy(f->console);
	fake_transport_fini(&f->transport);
	console_make(f);
	assert_int_equal(state_load(state_virtio, f->vdev, &s, NULL), 0);
	again = state_save(state_virtio, f->vdev);
	assert_int_equal(s.size, again.size);
	free(s.bytes);
	free(again.bytes);
	buffers_add(f, CONTROL_IN, 8, 64);
	f->side[0].full = false;
	virtio_resume(f->vdev);
	assert_int_equal(loop_turn(f->loop), 0);
	assert_int_equal(f->side[0].count, 3);
	expect_control(f, 1, OPEN, 1);
	assert_false(driver_ring_take(&f->ring[CONTROL_IN], &id, &length));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(configuration),     TEST(multiport_handshake),
		TEST(with_event_index),  TEST(data_out),
		TEST(data_in),           TEST(close_is_port_open_0),
		TEST(messages_are_owed), TEST(messages_do_not_pile_up),
		TEST(buffers_too_small), TEST(hostile_control_messages),
		TEST(without_multiport), TEST(malformed_chains),
		TEST(idle_device),       TEST(output_outlives_reset),
		TEST(saved_state),       TEST(saved_output),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
