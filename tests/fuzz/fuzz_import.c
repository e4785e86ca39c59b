/* SPDX-License-Identifier: MIT */
/*
 * Anything as a backup stream into an empty store. What is refused leaves nothing; what is taken is
 * sane, is taken again as being there, and comes out and in again. The first byte says whether the
 * rest is the stream itself, also with its last digest put right; or a list of records to make one
 * of, each a kind, the sizes of its head and of what is packed, and their bytes.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "tests/fuzz/fuzz.h"

#include <errno.h>

#include "snapshot/backup_impl.h"
#include "snapshot/digest.h"
#include "tests/sim_disk.h"

#define HEADER  16u
#define RAW_MAX (4u * STORE_BLOCK)

enum how { HOW_PLAIN, HOW_DIGEST, HOW_RECORDS, HOWS };

struct tape {
	uint8_t *bytes;
	size_t size, at;
};

static int tape_write(void *arg, const void *bytes, size_t size)
{
	struct tape *tape = arg;

	tape->bytes = realloc(tape->bytes, tape->size + size + 1);
	FUZZ_CHECK(tape->bytes);
	if (size)
		memcpy(tape->bytes + tape->size, bytes, size);
	tape->size += size;
	return 0;
}

static int tape_read(void *arg, void *bytes, size_t size)
{
	struct tape *tape = arg;

	if (size > tape->size - tape->at)
		return -ENODATA;
	if (size)
		memcpy(bytes, tape->bytes + tape->at, size);
	tape->at += size;
	return 0;
}

/* Where the records say that the end is. */
static void digest_make(struct tape *tape)
{
	size_t at = HEADER;

	while (at + 8 <= tape->size) {
		uint32_t kind = le32_get(tape->bytes + at), size = le32_get(tape->bytes + at + 4);

		at += 8;
		if (size > tape->size - at)
			return;
		if (kind == BACKUP_END && size == STORE_DIGEST)
			digest_of(tape->bytes, at, tape->bytes + at);
		at += size;
	}
}

/* Sums of blocks are put right in those that say so. */
static void record_make(struct backup_writer *out, struct input *in)
{
	static uint8_t raw[RAW_MAX], head[BACKUP_HEAD_MAX];
	uint8_t kind = input_u8(in);
	size_t head_size = input_u8(in), raw_size = input_u16(in) % (RAW_MAX + 1);

	input_bytes(in, head, head_size);
	input_bytes(in, raw, raw_size);
	if (kind & 0x80 && raw_size >= STORE_BLOCK) {
		raw_size -= raw_size % STORE_BLOCK;
		head_size = 4 + 8 * (raw_size / STORE_BLOCK);
		le32_put(head, (uint32_t)(raw_size / STORE_BLOCK));
		for (size_t i = 0; i < raw_size / STORE_BLOCK; i++)
			le64_put(head + 4 + 8 * i, XXH3_64bits(raw + i * STORE_BLOCK, STORE_BLOCK));
	}
	FUZZ_CHECK(backup_put(out, (enum backup_kind)(kind & 0x7f), head, head_size, raw, raw_size,
			      NULL) == 0);
}

static void records_make(struct tape *tape, struct input *in)
{
	const struct backup_pipe pipe = {.write = tape_write, .arg = tape};
	struct backup_writer out;

	FUZZ_CHECK(backup_writer_begin(&out, &pipe, NULL) == 0);
	while (in->left)
		record_make(&out, in);
	FUZZ_CHECK(backup_put_end(&out, NULL) == 0);
	backup_writer_end(&out);
}

static int take(struct store *store, struct tape *tape, struct backup_report *report)
{
	const struct backup_pipe pipe = {.read = tape_read, .arg = tape};
	struct error err = {0};
	int ret;

	tape->at = 0;
	ret = backup_import(store, NULL, &pipe, report, &err);
	FUZZ_CHECK(ret == 0 || (ret < 0 && err.what[0]));
	return ret;
}

static struct store *store_make(struct sim_disk *disk)
{
	struct store *store;

	FUZZ_CHECK(store_open(sim_disk_process(disk), &store, NULL) == 0);
	return store;
}

static void taken(struct store *store, struct tape *tape, struct backup_report *report)
{
	const struct backup_have none = {0};
	struct tape again = {0};
	const struct backup_pipe pipe = {.write = tape_write, .arg = &again};
	struct sim_disk *disk = sim_disk_create(2);
	struct store *other = store_make(disk);

	FUZZ_CHECK(store_check(store, true, NULL, NULL, NULL) == 0);
	FUZZ_CHECK(take(store, tape, report) == 0 && report->was_there);
	FUZZ_CHECK(backup_export(store, &report->id, &none, &pipe, report, NULL) == 0);
	FUZZ_CHECK(take(other, &again, report) == 0 && !report->was_there);
	FUZZ_CHECK(store_check(other, true, NULL, NULL, NULL) == 0);
	free(again.bytes);
	store_close(other);
	sim_disk_destroy(disk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sim_disk *disk = sim_disk_create(1);
	struct store *store = store_make(disk);
	struct backup_report report;
	struct input in = {data, size};
	enum how how = (enum how)(input_u8(&in) % HOWS);
	struct tape tape = {0};

	if (how == HOW_RECORDS)
		records_make(&tape, &in);
	else
		tape_write(&tape, in.at, in.left);
	if (how == HOW_DIGEST)
		digest_make(&tape);
	if (take(store, &tape, &report) == 0) {
		taken(store, &tape, &report);
	} else {
		FUZZ_CHECK(sim_disk_count(disk, "roots") == 0);
		FUZZ_CHECK(store_sweep(store, NULL, NULL) == 0);
		FUZZ_CHECK(sim_disk_count(disk, "layers") == 0);
		FUZZ_CHECK(sim_disk_count(disk, "blobs") == 0);
	}
	free(tape.bytes);
	store_close(store);
	sim_disk_destroy(disk);
	return 0;
}
