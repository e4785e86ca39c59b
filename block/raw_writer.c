/* SPDX-License-Identifier: MIT */
/* Raw images for export: what is zero is left out, a page at a time. */
#include <errno.h>
#include <stdlib.h>

#include "block/export_impl.h"
#include "block/file.h"

#define HOLE 4096u

struct raw_writer {
	struct output *file;
	uint64_t at;
};

static int raw_begin(struct output *o, const struct export_options *options, uint64_t size,
		     void **state)
{
	struct raw_writer *w = calloc(1, sizeof(*w));
	int ret;

	(void)options;
	if (!w)
		return -ENOMEM;
	ret = output_size(o, size);
	if (ret) {
		free(w);
		return ret;
	}
	w->file = o;
	*state = w;
	return 0;
}

/* To the end of the page of the file, or of what there is. */
static uint64_t page_left(uint64_t at, uint64_t length)
{
	uint64_t left = HOLE - at % HOLE;

	return left < length ? left : length;
}

static int raw_data(void *state, const uint8_t *bytes, uint64_t length)
{
	struct raw_writer *w = state;

	while (length) {
		uint64_t n = page_left(w->at, length);
		bool zero = file_is_zero(bytes, n);
		int ret;

		while (n < length) {
			uint64_t more = page_left(w->at + n, length - n);

			if (file_is_zero(bytes + n, more) != zero)
				break;
			n += more;
		}
		ret = zero ? 0 : output_write(w->file, bytes, n, w->at);
		if (ret)
			return ret;
		w->at += n;
		bytes += n;
		length -= n;
	}
	return 0;
}

static int raw_zeroes(void *state, uint64_t length)
{
	((struct raw_writer *)state)->at += length;
	return 0;
}

static int raw_finish(void *state)
{
	(void)state;
	return 0;
}

const struct export_format raw_writer = {
	.name = "raw",
	.begin = raw_begin,
	.data = raw_data,
	.zeroes = raw_zeroes,
	.finish = raw_finish,
	.end = free,
};
