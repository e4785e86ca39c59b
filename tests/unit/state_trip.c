/* SPDX-License-Identifier: MIT */
#include "tests/unit/state_trip.h"

#include "devices/virtio/virtio.h"
#include "tests/unit/unit.h"

struct state_bytes state_save(state_fn *fn, void *thing)
{
	struct state_bytes s = {0};
	struct error err = {0};
	struct codec c;

	codec_init_save(&c);
	fn(thing, &c);
	if (codec_finish(&c, &err))
		fail_msg("%s", err.what);
	codec_take(&c, &s.bytes, &s.size);
	codec_fini(&c);
	return s;
}

int state_load(state_fn *fn, void *thing, const struct state_bytes *state, struct error *err)
{
	struct codec c;
	int ret;

	codec_init_load(&c, state->bytes, state->size);
	fn(thing, &c);
	ret = codec_finish(&c, err);
	codec_fini(&c);
	return ret;
}

void state_virtio(void *vdev, struct codec *codec)
{
	virtio_state(vdev, 7, codec);
}

void state_arrive(state_fn *fn, void *thing, struct state_bytes *state)
{
	struct error err = {0};
	struct state_bytes again;

	if (state_load(fn, thing, state, &err))
		fail_msg("%s", err.what);
	again = state_save(fn, thing);
	assert_int_equal(state->size, again.size);
	assert_memory_equal(state->bytes, again.bytes, again.size);
	free(again.bytes);
	free(state->bytes);
}

void state_trip(state_fn *fn, void *from, void *to)
{
	struct state_bytes state = state_save(fn, from);

	state_arrive(fn, to, &state);
}

static void torture_one(state_fn *fn, const struct state_bytes *state, void *thing)
{
	struct error err = {0};

	if (state_load(fn, thing, state, &err) == 0)
		free(state_save(fn, thing).bytes);
	else
		assert_true(err.what[0]);
}

void state_torture(state_fn *fn, const struct state_bytes *state, void *(*make)(void *arg),
		   void (*unmake)(void *thing), void *arg)
{
	static const uint8_t flips[] = {0x01, 0x80, 0xff};

	for (size_t i = 0; i < state->size * ARRAY_SIZE(flips); i++) {
		size_t at = i / ARRAY_SIZE(flips);
		void *thing = make(arg);

		state->bytes[at] ^= flips[i % ARRAY_SIZE(flips)];
		torture_one(fn, state, thing);
		state->bytes[at] ^= flips[i % ARRAY_SIZE(flips)];
		unmake(thing);
	}
	for (size_t size = 0; size < state->size; size++) {
		/* A block of its own, so that a sanitizer sees a read behind it. */
		struct state_bytes cut = {malloc(size + 1), size};
		void *thing = make(arg);

		assert_non_null(cut.bytes);
		memcpy(cut.bytes, state->bytes, size);
		torture_one(fn, &cut, thing);
		free(cut.bytes);
		unmake(thing);
	}
}
