/* SPDX-License-Identifier: MIT */
/*
 * A stream against a list of fields: a byte says how long the list is, the list, then the stream.
 * What loads is saved again, and must load again with the same bytes.
 */
#include "snapshot/codec.h"
#include "tests/fuzz/fuzz.h"

#define FIELDS_MAX 64
#define BLOB_MAX   64

struct fields {
	uint8_t kind[FIELDS_MAX];
	unsigned count;
	uint64_t value[FIELDS_MAX];
	uint8_t bytes[FIELDS_MAX][8];
	uint8_t *blob[FIELDS_MAX];
	size_t size[FIELDS_MAX];
};

static void field(struct codec *c, struct fields *f, unsigned i)
{
	uint8_t u8 = (uint8_t)f->value[i];
	uint16_t u16 = (uint16_t)f->value[i];
	uint32_t u32 = (uint32_t)f->value[i];
	unsigned count = u32;
	bool flag = f->value[i] & 1;

	switch (f->kind[i] % 8) {
	case 0:
		codec_u8(c, &u8);
		f->value[i] = u8;
		break;
	case 1:
		codec_u16(c, &u16);
		f->value[i] = u16;
		break;
	case 2:
		codec_u32(c, &u32);
		f->value[i] = u32;
		break;
	case 3:
		codec_u64(c, &f->value[i]);
		break;
	case 4:
		codec_bool(c, &flag);
		f->value[i] = flag;
		break;
	case 5:
		codec_bytes(c, f->bytes[i], sizeof(f->bytes[i]));
		break;
	case 6:
		codec_count(c, &count, 1000, "elements");
		f->value[i] = count;
		FUZZ_CHECK(count <= 1000);
		break;
	default:
		codec_blob(c, &f->blob[i], &f->size[i], BLOB_MAX, "blob");
		FUZZ_CHECK(f->size[i] <= BLOB_MAX && (f->size[i] == 0) == (f->blob[i] == NULL));
		break;
	}
}

static int walk(struct codec *c, struct fields *f)
{
	unsigned section = 0;

	codec_begin(c, "fuzz", section, 1);
	for (unsigned i = 0; i < f->count; i++) {
		field(c, f, i);
		if (f->kind[i] & 0x80) {
			codec_end(c);
			codec_begin(c, "fuzz", ++section, 1);
		}
	}
	codec_end(c);
	return codec_finish(c, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	static struct fields f;
	struct codec c;
	uint8_t *again;
	size_t left;
	int ret;

	f = (struct fields){.count = input_u8(&in) % FIELDS_MAX};
	input_bytes(&in, f.kind, f.count);
	codec_init_load(&c, in.at, in.left);
	ret = walk(&c, &f);
	codec_fini(&c);
	if (ret == 0) {
		codec_init_save(&c);
		FUZZ_CHECK(walk(&c, &f) == 0);
		codec_take(&c, &again, &left);
		FUZZ_CHECK(left == in.left && memcmp(again, in.at, left) == 0);
		free(again);
	}
	for (unsigned i = 0; i < f.count; i++)
		free(f.blob[i]);
	return 0;
}
