/* SPDX-License-Identifier: MIT */
/* virtio-rng: buffers are filled, and as far as it says. */
#include "tests/unit/unit.h"

#include "devices/virtio/rng.h"
#include "tests/unit/fake_transport.h"
#include "tests/unit/loop_turn.h"
#include "tests/unit/state_trip.h"

#define RING 0x1000ull
#define DATA 0x10000ull

struct fixture {
	struct guest_memory *memory;
	struct loop *loop;
	struct virtio_rng *rng;
	struct virtio_device *vdev;
	struct fake_transport transport;
	struct driver_ring ring;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(memory_create(1 * MIB, &f->memory, NULL), 0);
	assert_int_equal(loop_create(&f->loop), 0);
	assert_int_equal(virtio_rng_create(f->memory, f->loop, &f->rng), 0);
	f->vdev = virtio_rng_device(f->rng);
	fake_transport_init(&f->transport, f->vdev);
	assert_true(fake_transport_negotiate(&f->transport, f->vdev->offered));
	driver_ring_init(&f->ring, f->memory, 8, RING);
	fake_transport_queue(&f->transport, 0, &f->ring);
	fake_transport_driver_ok(&f->transport);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	virtio_rng_destroy(f->rng);
	fake_transport_fini(&f->transport);
	loop_destroy(f->loop);
	memory_destroy(f->memory);
	free(f);
	return 0;
}

static uint32_t request(struct fixture *f, const struct driver_buffer *buffers, unsigned count)
{
	uint32_t id, length;

	driver_ring_add(&f->ring, buffers, count);
	fake_transport_kick(&f->transport, 0);
	assert_int_equal(loop_turn(f->loop), 0);
	assert_true(driver_ring_take(&f->ring, &id, &length));
	return length;
}

static unsigned count_nonzero(struct fixture *f, uint64_t gpa, uint32_t length)
{
	const uint8_t *bytes = memory_at(f->memory, gpa, length);
	unsigned count = 0;

	for (uint32_t i = 0; i < length; i++)
		count += bytes[i] != 0;
	return count;
}

static void fills_buffers(void **state)
{
	static const struct driver_buffer buffers[] = {
		{DATA, 256, true}, {DATA + 0x1001, 512, true}, {DATA + 0x2000, 1, true}};
	struct fixture *f = *state;

	assert_int_equal(request(f, buffers, 3), 769);
	/* Half of them zeroes: not in the lifetime of this machine. */
	assert_true(count_nonzero(f, DATA, 256) > 128);
	assert_true(count_nonzero(f, DATA + 0x1001, 512) > 256);
	assert_int_equal(count_nonzero(f, DATA + 256, 256), 0);
	assert_int_equal(count_nonzero(f, DATA + 0x1001 + 512, 256), 0);
	assert_int_equal(atomic_load(&f->transport.queue_interrupts[0]), 1);
}

/* A large buffer is filled in part: the guest asks again. */
static void large_buffer(void **state)
{
	static const struct driver_buffer buffers[] = {{DATA, 0x10000, true},
						       {DATA + 0x10000, 0x10000, true}};
	struct fixture *f = *state;

	assert_int_equal(request(f, buffers, 2), 0x10000);
	assert_int_equal(count_nonzero(f, DATA + 0x10000, 0x10000), 0);
}

static void nothing_to_write(void **state)
{
	static const struct driver_buffer readable = {DATA, 64, false};
	static const struct driver_buffer empty = {DATA, 0, true};
	struct fixture *f = *state;

	assert_int_equal(request(f, &readable, 1), 0);
	assert_int_equal(request(f, &empty, 1), 0);
	assert_int_equal(count_nonzero(f, DATA, 64), 0);
}

static void malformed_chain(void **state)
{
	struct fixture *f = *state;

	driver_ring_offer(&f->ring, 8);
	fake_transport_kick(&f->transport, 0);
	loop_turn(f->loop);
	assert_true(atomic_load(&f->vdev->status) & VIRTIO_STATUS_NEEDS_RESET);
	assert_int_equal(atomic_load(&f->transport.config_interrupts), 1);
}

static void after_reset(void **state)
{
	static const struct driver_buffer buffer = {DATA, 64, true};
	struct fixture *f = *state;

	driver_ring_add(&f->ring, &buffer, 1);
	fake_transport_kick(&f->transport, 0);
	fake_transport_reset(&f->transport);
	loop_turn(f->loop);
	assert_int_equal(driver_ring_used_index(&f->ring), 0);
	assert_int_equal(count_nonzero(f, DATA, 64), 0);
}

/* Away from this device and to another one, which is paused. */
static void move(struct fixture *f)
{
	struct state_bytes s;

	virtio_pause(f->vdev);
	s = state_save(state_virtio, f->vdev);
	virtio_rng_destroy(f->rng);
	fake_transport_fini(&f->transport);
	assert_int_equal(virtio_rng_create(f->memory, f->loop, &f->rng), 0);
	f->vdev = virtio_rng_device(f->rng);
	fake_transport_init(&f->transport, f->vdev);
	state_arrive(state_virtio, f->vdev, &s);
}

static void saved_state(void **state)
{
	static const struct driver_buffer buffer = {DATA, 64, true};
	struct fixture *f = *state;
	uint32_t id, length;

	for (unsigned i = 0; i < 11; i++) /* more than the ring has */
		assert_int_equal(request(f, &buffer, 1), 64);
	move(f);
	driver_ring_add(&f->ring, &buffer, 1);
	fake_transport_kick(&f->transport, 0);
	assert_int_equal(loop_turn(f->loop), 0);
	assert_false(driver_ring_take(&f->ring, &id, &length));
	/* What was rung for while it was paused, or before it was saved, is seen to. */
	virtio_resume(f->vdev);
	assert_int_equal(f->transport.queue_interrupts[0], 1);
	assert_int_equal(f->transport.config_interrupts, 1);
	assert_int_equal(loop_turn(f->loop), 0);
	assert_true(driver_ring_take(&f->ring, &id, &length));
	assert_int_equal(request(f, &buffer, 1), 64);
	/* No more than once. */
	virtio_pause(f->vdev);
	virtio_pause(f->vdev);
	virtio_resume(f->vdev);
	virtio_resume(f->vdev);
	assert_int_equal(f->transport.config_interrupts, 1);
	assert_int_equal(request(f, &buffer, 1), 64);
}

static void reset_while_paused(void **state)
{
	struct fixture *f = *state;
	static const struct driver_buffer buffer = {DATA, 64, true};

	virtio_pause(f->vdev);
	fake_transport_reset(&f->transport);
	virtio_resume(f->vdev);
	assert_false(f->vdev->running);
	assert_true(fake_transport_negotiate(&f->transport, f->vdev->offered));
	driver_ring_init(&f->ring, f->memory, 8, RING);
	fake_transport_queue(&f->transport, 0, &f->ring);
	fake_transport_driver_ok(&f->transport);
	assert_int_equal(request(f, &buffer, 1), 64);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(fills_buffers),      TEST(large_buffer), TEST(nothing_to_write),
		TEST(malformed_chain),    TEST(after_reset),  TEST(saved_state),
		TEST(reset_while_paused),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
