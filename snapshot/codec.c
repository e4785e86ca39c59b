/* SPDX-License-Identifier: MIT */
/*
 * The codec of saved state. Every access to a loaded stream goes through `load`, which is the one
 * place that knows where the open section ends.
 */
#include "snapshot/codec.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/bytes.h"
#include "vmm/base/checked.h"

#define MAGIC       "LODGEST\n"
#define MAGIC_SIZE  8u
#define FORMAT      1u
#define STREAM_HEAD (MAGIC_SIZE + 4)

enum { HEAD_INSTANCE = 16, HEAD_VERSION = 20, HEAD_LENGTH = 24, HEAD_SIZE = 32 };

#define DAMAGED "it is damaged or no saved state: use another one"
#define NEWER   "use the version of lodge that saved it, or a later one"

void codec_fail(struct codec *c, int code, const char *remedy, const char *format, ...)
{
	char words[sizeof(c->error.what)];
	va_list args;

	assert(code < 0);
	if (c->code)
		return;
	va_start(args, format);
	vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	c->code = code;
	if (c->kind[0])
		error_set(&c->error, code, remedy, "saved state: section '%s' %u: %s", c->kind,
			  c->instance, words);
	else
		error_set(&c->error, code, remedy, "saved state: %s", words);
}

/* Room for `size` bytes more; NULL after an error. */
static uint8_t *grow(struct codec *c, size_t size)
{
	uint8_t *at;

	if (c->code)
		return NULL;
	if (size > CODEC_SIZE_MAX - c->size) {
		codec_fail(c, -EFBIG, NULL, "it has more than %u bytes", CODEC_SIZE_MAX);
		return NULL;
	}
	if (c->size + size > c->room) {
		size_t room = c->room ? 2 * c->room : 4096;
		uint8_t *out;

		if (room < c->size + size)
			room = c->size + size;
		out = realloc(c->out, room);
		if (!out) {
			codec_fail(c, -ENOMEM, NULL, "out of memory");
			return NULL;
		}
		c->out = out;
		c->room = room;
	}
	at = c->out + c->size;
	c->size += size;
	return at;
}

/* The next `size` bytes of the open section; NULL after an error. */
static const uint8_t *load(struct codec *c, size_t size)
{
	const uint8_t *at;

	if (c->code)
		return NULL;
	if (size > c->end - c->at) {
		codec_fail(c, -EBADMSG, DAMAGED, "it is too short");
		return NULL;
	}
	at = c->in + c->at;
	c->at += size;
	return at;
}

void codec_init_save(struct codec *c)
{
	uint8_t *head;

	*c = (struct codec){0};
	head = grow(c, STREAM_HEAD);
	if (!head)
		return;
	memcpy(head, MAGIC, MAGIC_SIZE);
	le32_put(head + MAGIC_SIZE, FORMAT);
}

void codec_init_load(struct codec *c, const void *bytes, size_t size)
{
	const uint8_t *head;

	*c = (struct codec){.loading = true, .in = bytes, .size = size, .end = size};
	head = load(c, STREAM_HEAD);
	if (!head)
		return;
	if (size > CODEC_SIZE_MAX || memcmp(head, MAGIC, MAGIC_SIZE) != 0)
		codec_fail(c, -EBADMSG, DAMAGED, "it does not look like one");
	else if (le32_get(head + MAGIC_SIZE) != FORMAT)
		codec_fail(c, -ENOTSUP, NEWER, "format %u is not known",
			   le32_get(head + MAGIC_SIZE));
}

void codec_fini(struct codec *c)
{
	free(c->out);
	c->out = NULL;
}

int codec_finish(struct codec *c, struct error *err)
{
	assert(!c->kind[0] || c->code);
	if (c->loading && c->code == 0 && c->at != c->size)
		codec_fail(c, -EBADMSG, DAMAGED, "more follows behind its last section");
	if (c->code)
		error_set(err, c->code, c->error.remedy[0] ? c->error.remedy : NULL, "%s",
			  c->error.what);
	return c->code;
}

void codec_take(struct codec *c, uint8_t **bytes, size_t *size)
{
	assert(!c->loading && c->code == 0);
	*bytes = c->out;
	*size = c->size;
	c->out = NULL;
}

static void section_save(struct codec *c, unsigned version)
{
	uint8_t *head = grow(c, HEAD_SIZE);

	if (!head)
		return;
	memset(head, 0, HEAD_SIZE);
	memcpy(head, c->kind, strlen(c->kind));
	le32_put(head + HEAD_INSTANCE, c->instance);
	le32_put(head + HEAD_VERSION, version);
	c->section = c->size;
}

/* For a message: what a stream has for a name may be anything. */
static void name_print(const uint8_t *kind, char out[CODEC_KIND_MAX + 1])
{
	memset(out, 0, CODEC_KIND_MAX + 1);
	for (unsigned i = 0; i < CODEC_KIND_MAX && kind[i]; i++)
		out[i] = kind[i] > ' ' && kind[i] < 0x7f ? (char)kind[i] : '?';
}

static void section_load(struct codec *c, unsigned *version)
{
	unsigned newest = *version;
	uint8_t kind[CODEC_KIND_MAX + 1] = {0};
	const uint8_t *head;
	uint64_t length;

	*version = 0;
	if (c->code)
		return;
	if (c->at == c->size) {
		codec_fail(c, -EBADMSG, DAMAGED, "it is missing");
		return;
	}
	head = load(c, HEAD_SIZE);
	if (!head)
		return;
	memcpy(kind, c->kind, strlen(c->kind));
	if (memcmp(head, kind, sizeof(kind)) != 0 ||
	    le32_get(head + HEAD_INSTANCE) != c->instance) {
		char found[CODEC_KIND_MAX + 1];

		name_print(head, found);
		codec_fail(c, -EBADMSG, "give the guest the devices that it was saved with",
			   "it is missing; section '%s' %u is there", found,
			   le32_get(head + HEAD_INSTANCE));
		return;
	}
	*version = le32_get(head + HEAD_VERSION);
	if (*version == 0 || *version > newest) {
		codec_fail(c, -ENOTSUP, NEWER, "version %u is not known", *version);
		*version = 0;
		return;
	}
	length = le64_get(head + HEAD_LENGTH);
	if (length > c->size - c->at) {
		codec_fail(c, -EBADMSG, DAMAGED, "it is cut off");
		*version = 0;
		return;
	}
	c->end = c->at + (size_t)length;
}

unsigned codec_begin(struct codec *c, const char *kind, unsigned instance, unsigned version)
{
	assert(strlen(kind) <= CODEC_KIND_MAX && (!c->kind[0] || c->code) && version >= 1);
	if (c->code)
		return 0; /* the error's section keeps its name */
	snprintf(c->kind, sizeof(c->kind), "%s", kind);
	c->instance = instance;
	if (c->loading)
		section_load(c, &version);
	else
		section_save(c, version);
	return c->code ? 0 : version;
}

void codec_end(struct codec *c)
{
	if (c->code)
		return;
	assert(c->kind[0]);
	if (!c->loading)
		le64_put(c->out + c->section - HEAD_SIZE + HEAD_LENGTH, c->size - c->section);
	else if (c->at != c->end)
		codec_fail(c, -EBADMSG, DAMAGED, "it is too long");
	else
		c->end = c->size;
	if (c->code == 0)
		c->kind[0] = 0;
}

void codec_bytes(struct codec *c, void *field, size_t size)
{
	if (c->loading) {
		const uint8_t *from = load(c, size);

		if (!from)
			memset(field, 0, size);
		else if (size)
			memcpy(field, from, size);
	} else {
		uint8_t *to = grow(c, size);

		if (to && size)
			memcpy(to, field, size);
	}
}

static uint64_t number(struct codec *c, uint64_t value, unsigned size)
{
	uint8_t raw[8] = {0};

	le_put(raw, size, value);
	codec_bytes(c, raw, size);
	return le_get(raw, size);
}

void codec_u8(struct codec *c, uint8_t *field)
{
	*field = (uint8_t)number(c, *field, 1);
}

void codec_u16(struct codec *c, uint16_t *field)
{
	*field = (uint16_t)number(c, *field, 2);
}

void codec_u32(struct codec *c, uint32_t *field)
{
	*field = (uint32_t)number(c, *field, 4);
}

void codec_u64(struct codec *c, uint64_t *field)
{
	*field = number(c, *field, 8);
}

void codec_i64(struct codec *c, int64_t *field)
{
	*field = (int64_t)number(c, (uint64_t)*field, 8);
}

void codec_bool(struct codec *c, bool *field)
{
	uint64_t value = number(c, *field, 1);

	codec_check(c, value <= 1, "a flag is neither 0 nor 1");
	*field = value;
}

void codec_count(struct codec *c, unsigned *field, unsigned max, const char *what)
{
	uint64_t value = number(c, *field, 4);

	if (value > max) {
		codec_fail(c, -EBADMSG, DAMAGED, "%s: %u is more than %u", what, (unsigned)value,
			   max);
		value = 0;
	}
	*field = (unsigned)value;
}

void codec_blob(struct codec *c, uint8_t **bytes, size_t *size, size_t max, const char *what)
{
	uint64_t length = number(c, *size, 8);
	uint8_t *copy = NULL;

	codec_check(c, length <= max, what);
	if (!c->loading) {
		codec_bytes(c, *bytes, *size);
		return;
	}
	*size = 0;
	*bytes = NULL;
	/* What the stream has not got is not allocated for. */
	if (c->code == 0 && length > c->end - c->at)
		codec_fail(c, -EBADMSG, DAMAGED, "it is too short");
	if (c->code || length == 0)
		return;
	copy = malloc((size_t)length);
	if (!copy) {
		codec_fail(c, -ENOMEM, NULL, "out of memory");
		return;
	}
	codec_bytes(c, copy, (size_t)length);
	*bytes = copy;
	*size = (size_t)length;
}

void codec_check(struct codec *c, bool good, const char *what)
{
	if (!good)
		codec_fail(c, -EBADMSG, DAMAGED, "%s", what);
}
