/* SPDX-License-Identifier: MIT */
/* The codec of saved state: what is saved loads again, and nothing else does. */
#include "tests/unit/unit.h"

#include "snapshot/codec.h"

#define FORMAT_AT  8
#define SECTION_AT 12 /* the first one */
#define FIELDS_AT  (SECTION_AT + 32)

struct sample {
	uint8_t a;
	uint16_t b;
	uint32_t c;
	uint64_t d;
	int64_t e;
	bool f;
	uint8_t g[3];
	unsigned count;
	uint8_t *blob;
	size_t blob_size;
};

static void sample_state(struct codec *c, struct sample *s)
{
	codec_begin(c, "sample", 7, 2);
	codec_u8(c, &s->a);
	codec_u16(c, &s->b);
	codec_u32(c, &s->c);
	codec_u64(c, &s->d);
	codec_i64(c, &s->e);
	codec_bool(c, &s->f);
	codec_bytes(c, s->g, sizeof(s->g));
	codec_count(c, &s->count, 10, "elements");
	codec_blob(c, &s->blob, &s->blob_size, 100, "blob");
	codec_check(c, s->a != 99, "a");
	codec_end(c);
}

static struct sample sample(void)
{
	static uint8_t blob[] = "a blob";

	return (struct sample){.a = 1,
			       .b = 0x0203,
			       .c = 0x04050607,
			       .d = 0x08090a0b0c0d0e0full,
			       .e = -5,
			       .f = true,
			       .g = {9, 8, 7},
			       .count = 10,
			       .blob = blob,
			       .blob_size = sizeof(blob)};
}

static size_t save(struct sample s, uint8_t **bytes)
{
	struct codec c;
	size_t size;

	codec_init_save(&c);
	sample_state(&c, &s);
	assert_int_equal(codec_finish(&c, NULL), 0);
	codec_take(&c, bytes, &size);
	codec_fini(&c);
	return size;
}

/* The error's code, and that its words have `words`. */
static int load(const uint8_t *bytes, size_t size, struct sample *out, const char *words)
{
	struct error err = {0};
	struct codec c;
	int ret;

	*out = (struct sample){0};
	codec_init_load(&c, bytes, size);
	sample_state(&c, out);
	ret = codec_finish(&c, &err);
	codec_fini(&c);
	if (words && !strstr(err.what, words))
		fail_msg("'%s' is not in '%s'", words, err.what);
	return ret;
}

static void refused(const uint8_t *bytes, size_t size, int code, const char *words)
{
	struct sample s;

	assert_int_equal(load(bytes, size, &s, words), code);
	free(s.blob);
}

static void test_round_trip(void **state)
{
	struct sample s = sample(), got;
	uint8_t *bytes;
	size_t size = save(s, &bytes);

	(void)state;
	assert_int_equal(load(bytes, size, &got, NULL), 0);
	assert_int_equal(got.a, s.a);
	assert_int_equal(got.b, s.b);
	assert_int_equal(got.c, s.c);
	assert_true(got.d == s.d && got.e == s.e && got.f);
	assert_memory_equal(got.g, s.g, sizeof(s.g));
	assert_int_equal(got.count, 10);
	assert_int_equal(got.blob_size, s.blob_size);
	assert_memory_equal(got.blob, s.blob, s.blob_size);
	free(got.blob);
	free(bytes);
}

/* The format, byte for byte: a change of it needs another number. */
static void test_layout(void **state)
{
	static const uint8_t head[] = {'L', 'O', 'D', 'G', 'E', 'S', 'T', '\n', 1, 0, 0, 0,
				       's', 'a', 'm', 'p', 'l', 'e', 0,   0,    0, 0, 0, 0,
				       0,   0,   0,   0,   7,   0,   0,   0,    2, 0, 0, 0};
	static const uint8_t fields[] = {1, 3, 2, 7, 6, 5, 4, 15, 14, 13, 12, 11, 10, 9, 8, 0xfb};
	uint8_t *bytes;
	size_t size = save(sample(), &bytes);

	(void)state;
	assert_memory_equal(bytes, head, sizeof(head));
	assert_int_equal(le64_get(bytes + FIELDS_AT - 8), size - FIELDS_AT);
	assert_memory_equal(bytes + FIELDS_AT, fields, sizeof(fields));
	free(bytes);
}

static void test_cut_off(void **state)
{
	uint8_t *bytes;
	size_t size = save(sample(), &bytes);

	(void)state;
	for (size_t i = 0; i < size; i++) {
		/* A copy of its own size, so that a sanitizer sees a read behind it. */
		uint8_t *cut = malloc(i + 1);

		assert_non_null(cut);
		memcpy(cut, bytes, i);
		refused(cut, i, -EBADMSG, "saved state");
		free(cut);
	}
	free(bytes);
}

static void test_trailing(void **state)
{
	uint8_t *bytes;
	size_t size = save(sample(), &bytes);

	(void)state;
	bytes = realloc(bytes, size + 1);
	assert_non_null(bytes);
	bytes[size] = 0;
	refused(bytes, size + 1, -EBADMSG, "more follows");
	/* Within the section. */
	le64_put(bytes + FIELDS_AT - 8, size + 1 - FIELDS_AT);
	refused(bytes, size + 1, -EBADMSG, "section 'sample' 7: it is too long");
	le64_put(bytes + FIELDS_AT - 8, size - 1 - FIELDS_AT);
	refused(bytes, size + 1, -EBADMSG, "section 'sample' 7: it is too short");
	le64_put(bytes + FIELDS_AT - 8, UINT64_MAX);
	refused(bytes, size + 1, -EBADMSG, "section 'sample' 7: it is cut off");
	free(bytes);
}

static void test_wrong_names(void **state)
{
	uint8_t *bytes;
	size_t size = save(sample(), &bytes);

	(void)state;
	bytes[0] ^= 1;
	refused(bytes, size, -EBADMSG, "does not look like one");
	bytes[0] ^= 1;
	bytes[FORMAT_AT] = 2;
	refused(bytes, size, -ENOTSUP, "format 2");
	bytes[FORMAT_AT] = 1;
	bytes[SECTION_AT] = 'S';
	refused(bytes, size, -EBADMSG, "section 'sample' 7: it is missing; section 'Sample' 7");
	bytes[SECTION_AT] = 's';
	bytes[SECTION_AT + 15] = 1;
	refused(bytes, size, -EBADMSG, "section 'sample' 7: it is missing");
	bytes[SECTION_AT + 15] = 0;
	bytes[SECTION_AT + 16] = 8;
	refused(bytes, size, -EBADMSG, "section 'sample' 8 is there");
	bytes[SECTION_AT + 16] = 7;
	bytes[SECTION_AT + 20] = 3;
	refused(bytes, size, -ENOTSUP, "section 'sample' 7: version 3");
	bytes[SECTION_AT + 20] = 0;
	refused(bytes, size, -ENOTSUP, "version 0");
	bytes[SECTION_AT + 20] = 1;
	refused(bytes, size, 0, NULL); /* an older one is the device's to understand */
	free(bytes);
}

static void test_values(void **state)
{
	const size_t flag_at = FIELDS_AT + 23, count_at = flag_at + 4, blob_at = count_at + 4;
	uint8_t *bytes;
	size_t size = save(sample(), &bytes);

	(void)state;
	bytes[flag_at] = 2;
	refused(bytes, size, -EBADMSG, "a flag");
	bytes[flag_at] = 0;
	bytes[count_at] = 11;
	refused(bytes, size, -EBADMSG, "elements: 11 is more than 10");
	bytes[count_at] = 0;
	bytes[blob_at] = 101;
	refused(bytes, size, -EBADMSG, "blob");
	bytes[blob_at] = 100;
	refused(bytes, size, -EBADMSG, "too short");
	bytes[blob_at] = 7;
	bytes[FIELDS_AT] = 99;
	refused(bytes, size, -EBADMSG, "section 'sample' 7: a");
	free(bytes);
}

/* What could not be loaded is not saved. */
static void test_refused_on_save(void **state)
{
	struct error err = {0};
	struct sample s = sample();
	struct codec c;

	(void)state;
	s.a = 99;
	codec_init_save(&c);
	sample_state(&c, &s);
	sample_state(&c, &s);
	assert_int_equal(codec_finish(&c, &err), -EBADMSG);
	assert_non_null(strstr(err.what, "section 'sample' 7: a"));
	codec_fini(&c);
}

/* The first error is the one that is told, and nothing is loaded behind it. */
static void test_latched(void **state)
{
	struct error err = {0};
	uint32_t value = 5;
	uint8_t *bytes;
	size_t size = save(sample(), &bytes);
	struct codec c;

	(void)state;
	codec_init_load(&c, bytes, size);
	assert_int_equal(codec_begin(&c, "sample", 7, 2), 2);
	codec_fail(&c, -EXDEV, "do", "first %d", 1);
	codec_fail(&c, -EPERM, NULL, "second");
	codec_u32(&c, &value);
	assert_int_equal(value, 0);
	codec_end(&c);
	assert_int_equal(codec_begin(&c, "next", 0, 1), 0);
	codec_end(&c);
	assert_false(codec_good(&c));
	assert_int_equal(codec_finish(&c, &err), -EXDEV);
	assert_string_equal(err.what, "saved state: section 'sample' 7: first 1");
	assert_string_equal(err.remedy, "do");
	codec_fini(&c);
	free(bytes);
}

static void test_missing(void **state)
{
	uint8_t *bytes;
	size_t size = save(sample(), &bytes);
	struct error err = {0};
	struct sample s = {0};
	struct codec c;

	(void)state;
	codec_init_load(&c, bytes, size);
	sample_state(&c, &s);
	free(s.blob);
	assert_true(codec_good(&c));
	sample_state(&c, &s);
	assert_int_equal(codec_finish(&c, &err), -EBADMSG);
	assert_non_null(strstr(err.what, "it is missing"));
	assert_null(s.blob);
	codec_fini(&c);
	free(bytes);
}

static void test_too_large(void **state)
{
	size_t size = CODEC_SIZE_MAX;
	uint8_t *bytes = calloc(1, size);
	struct error err = {0};
	struct codec c;

	(void)state;
	assert_non_null(bytes);
	codec_init_save(&c);
	codec_begin(&c, "large", 0, 1);
	codec_bytes(&c, bytes, size);
	codec_end(&c);
	assert_int_equal(codec_finish(&c, &err), -EFBIG);
	codec_fini(&c);
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),      cmocka_unit_test(test_layout),
		cmocka_unit_test(test_cut_off),         cmocka_unit_test(test_trailing),
		cmocka_unit_test(test_wrong_names),     cmocka_unit_test(test_values),
		cmocka_unit_test(test_refused_on_save), cmocka_unit_test(test_latched),
		cmocka_unit_test(test_missing),         cmocka_unit_test(test_too_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
