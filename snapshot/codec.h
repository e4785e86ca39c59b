/* SPDX-License-Identifier: MIT */
/*
 * Saved state as sections of little-endian fields. One function a device describes its state for
 * both directions: it names a section, its fields one by one, and its checks.
 *
 *   stream:  magic (8), format (4), then sections up to the end
 *   section: kind (16, padded with zeroes), instance (4), version (4), length (8), fields
 *
 * Sections come in one fixed order; one that is missing, unknown, too new, too short or too long is
 * an error that names it. The first error is kept; from then on saved fields go nowhere and loaded
 * ones are zeroes, so that a caller asks once, with codec_good, ahead of using what it loaded:
 *
 *	struct fields f = {0};
 *
 *	if (!codec_loading(c))
 *		f = device's
 *	codec_begin(c, "kind", 0, 1);
 *	codec_u8(c, &f.index);
 *	codec_check(c, f.index < 16, "index");
 *	codec_end(c);
 *	if (codec_loading(c) && codec_good(c))
 *		device's = f
 *
 * What is loaded is hostile. One thread uses a codec.
 */
#ifndef SNAPSHOT_CODEC_H
#define SNAPSHOT_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/error.h"

#define CODEC_KIND_MAX 15           /* characters */
#define CODEC_SIZE_MAX (192u << 20) /* bytes of a stream; more than a board's devices can hold */

/* Fields are the codec's own. */
struct codec {
	bool loading;
	int code; /* of the first error, -errno; 0: none */
	struct error error;
	char kind[CODEC_KIND_MAX + 1]; /* the section that is open; empty: none */
	unsigned instance;
	uint8_t *out; /* what was saved, in `room` bytes */
	size_t room;
	size_t section;    /* where the open section's fields start */
	const uint8_t *in; /* what is loaded */
	size_t size;       /* of `out` or `in` */
	size_t at;         /* next byte of `in` ... */
	size_t end;        /* ... and where the open section's fields end */
};

void codec_init_save(struct codec *codec);
/* `bytes` must stay until the end. */
void codec_init_load(struct codec *codec, const void *bytes, size_t size);
void codec_fini(struct codec *codec);

/*
 * The end of a stream: nothing may be left. 0, or the first error's -errno with its words in `err`:
 * -EBADMSG for what cannot be a state, -ENOTSUP for one of another version, -ENOMEM, -EFBIG, or
 * what codec_fail was given.
 */
int codec_finish(struct codec *codec, struct error *err);
/* What was saved; the caller frees it. After a codec_finish that returned 0. */
void codec_take(struct codec *codec, uint8_t **bytes, size_t *size);

static inline bool codec_loading(const struct codec *codec)
{
	return codec->loading;
}

static inline bool codec_good(const struct codec *codec)
{
	return codec->code == 0;
}

/*
 * A section. Returns its version: `version`, the newest there is, when saving; what the stream says
 * when loading, 1 to `version`; 0 after an error.
 */
unsigned codec_begin(struct codec *codec, const char *kind, unsigned instance, unsigned version);
void codec_end(struct codec *codec);

void codec_u8(struct codec *codec, uint8_t *field);
void codec_u16(struct codec *codec, uint16_t *field);
void codec_u32(struct codec *codec, uint32_t *field);
void codec_u64(struct codec *codec, uint64_t *field);
void codec_i64(struct codec *codec, int64_t *field);
void codec_bool(struct codec *codec, bool *field); /* 0 or 1 */
void codec_bytes(struct codec *codec, void *field, size_t size);
/* A number of elements, at most `max`. */
void codec_count(struct codec *codec, unsigned *field, unsigned max, const char *what);
/*
 * `*size` bytes, at most `max`. Loading allocates them and replaces *bytes, which the caller frees;
 * NULL where there are none or after an error.
 */
void codec_blob(struct codec *codec, uint8_t **bytes, size_t *size, size_t max, const char *what);

/*
 * A rule that the fields obey, both ways: what could not be loaded is not saved. `what` names the
 * field or the rule.
 */
void codec_check(struct codec *codec, bool good, const char *what);

/* Fail with words of the caller's own. The section's name goes before them. */
void codec_fail(struct codec *codec, int code, const char *remedy, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

#endif
