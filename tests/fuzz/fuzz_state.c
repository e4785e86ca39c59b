/* SPDX-License-Identifier: MIT */
/*
 * A saved state against a board of chips and virtio devices. An input is a stream, or changes of
 * one that was saved of such a board with drivers (which a fuzzer cannot guess): an offset, a byte.
 * What loads runs, is saved again, and that loads, too.
 */
#include "tests/state_board.h"

#include "tests/fuzz/fuzz.h"
#include "vmm/base/log.h"

/* What could not be saved would be a state that a guest brings about to be safe from snapshots. */
static uint8_t *board_save(struct state_board *b, size_t *size)
{
	uint8_t *bytes;
	struct codec c;

	state_board_pause(b);
	codec_init_save(&c);
	state_board_state(b, &c);
	FUZZ_CHECK(codec_finish(&c, NULL) == 0);
	codec_take(&c, &bytes, size);
	codec_fini(&c);
	return bytes;
}

static int board_load(struct state_board *b, const uint8_t *bytes, size_t size)
{
	struct error err = {0};
	struct codec c;
	int ret;

	codec_init_load(&c, bytes, size);
	state_board_state(b, &c);
	ret = codec_finish(&c, &err);
	FUZZ_CHECK(ret == 0 || err.what[0]);
	codec_fini(&c);
	return ret;
}

/* The stream to begin with, of the first call for all that follow. */
static const uint8_t *pristine(size_t *size)
{
	static uint8_t *bytes;
	static size_t have;

	if (!bytes) {
		struct state_board *b = state_board_make();

		b->cpu.msr_count = 2;
		b->cpu.xsave_size = 576;
		state_board_drivers(b);
		bytes = board_save(b, &have);
		state_board_unmake(b);
	}
	*size = have;
	return bytes;
}

static uint8_t *stream_of(struct input *in, size_t *size)
{
	uint8_t *bytes;

	if (input_u8(in) & 1) {
		*size = in->left;
		bytes = malloc(*size ? *size : 1);
		FUZZ_CHECK(bytes);
		input_bytes(in, bytes, *size);
		return bytes;
	}
	bytes = malloc(*size);
	FUZZ_CHECK(bytes);
	memcpy(bytes, pristine(size), *size);
	while (in->left) {
		size_t at = input_u16(in);

		if (at < *size)
			bytes[at] = input_u8(in);
	}
	return bytes;
}

static void go_on(struct state_board *b)
{
	state_board_resume(b);
	fuzz_loop_turn(b->loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct state_board *first, *second;
	uint8_t *bytes, *again;
	size_t again_size;

	log_set_level(LOG_ERROR);
	pristine(&size);
	bytes = stream_of(&in, &size);
	first = state_board_make();
	if (board_load(first, bytes, size) == 0) {
		go_on(first);
		again = board_save(first, &again_size);
		second = state_board_make();
		FUZZ_CHECK(board_load(second, again, again_size) == 0);
		state_board_unmake(second);
		free(again);
	}
	state_board_unmake(first);
	free(bytes);
	return 0;
}
