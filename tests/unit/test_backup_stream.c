/* SPDX-License-Identifier: MIT */
/* Backup streams that are cut off, damaged or forged: refused, and nothing is left of them. */
#include "tests/unit/unit.h"

#include "snapshot/backup_impl.h"
#include "tests/unit/backup_fixture.h"
#include "vmm/base/log.h"

static struct tape tape_part(const struct tape *tape, size_t size)
{
	return (struct tape){.bytes = tape->bytes, .size = size};
}

#ifdef __SANITIZE_ADDRESS__
#define EVERY 7 /* bytes, which take as long there */
#else
#define EVERY 1
#endif

static void cut_anywhere(void **state)
{
	struct side from, to;
	struct root root;
	struct tape tape = {0};

	(void)state;
	side_make(&from);
	vm_make(from.store, &root);
	give(from.store, &root, NULL, &tape);
	for (size_t size = 0; size < tape.size; size += EVERY) {
		struct tape part = tape_part(&tape, size);

		side_make(&to);
		assert_int_equal(take(&to, &part, NULL), -EBADMSG);
		assert_empty(&to);
		side_end(&to);
	}
	root_clear(&root);
	free(tape.bytes);
	side_end(&from);
}

static void flipped_anywhere(void **state)
{
	struct side from, to;
	struct root root;
	struct tape tape = {0};

	(void)state;
	side_make(&from);
	vm_make(from.store, &root);
	give(from.store, &root, NULL, &tape);
	print_message("%zu bytes\n", tape.size);
	for (size_t i = 0; i < tape.size; i += EVERY) {
		uint8_t bit = (uint8_t)(1u << i % 8);

		tape.bytes[i] ^= bit;
		side_make(&to);
		assert_true(take(&to, &tape, NULL) < 0);
		assert_empty(&to);
		side_end(&to);
		tape.bytes[i] ^= bit;
	}
	side_make(&to);
	assert_takes(&to, &tape, NULL);
	side_end(&to);
	root_clear(&root);
	free(tape.bytes);
	side_end(&from);
}

/* A second import goes on with the layers that came whole, also after a kill. */
static void resumed(void **state)
{
	struct side from, to;
	struct root root;
	struct tape tape = {0};
	unsigned most = 0;

	(void)state;
	side_make(&from);
	vm_make(from.store, &root);
	give(from.store, &root, NULL, &tape);
	for (size_t size = 0; size < tape.size; size += 7) {
		struct tape part = tape_part(&tape, size);
		unsigned kept;

		side_make(&to);
		assert_int_equal(take(&to, &part, NULL), -EBADMSG);
		/* What is not whole is gone already. */
		kept = sim_disk_count(to.disk, "layers");
		assert_int_equal(kept % 2, 0);
		assert_takes(&to, &tape, NULL);
		assert_int_equal(to.report.shared, kept / 2);
		assert_int_equal(to.report.layers, 2 - kept / 2);
		assert_int_equal(sim_disk_count(to.disk, "layers"), 4);
		assert_int_equal(problem_count(to.store), 0);
		most = kept > most ? kept : most;
		side_end(&to);
	}
	assert_int_equal(most, 4);
	root_clear(&root);
	free(tape.bytes);
	side_end(&from);
}

/* An image of the host's would be missing there; and a stream must not name one here. */
static void images_are_refused(void **state)
{
	const struct volume_base base = {.path = "/etc/shadow", .format = "raw"};
	struct backup_pipe pipe = {.write = tape_write};
	struct side from;
	struct root root;
	struct tape tape = {0};
	struct volume *volume;
	struct backup_report report;
	const struct backup_have none = {0};

	(void)state;
	side_make(&from);
	assert_int_equal(volume_create(from.store, "disk", DISK_SIZE, &base, NULL), 0);
	volume = volume_of(from.store, "disk");
	snapshot_take(from.store, volume, "on-image", &root);
	assert_int_equal(volume_close(volume), 0);
	pipe.arg = &tape;
	assert_int_equal(backup_export(from.store, &root.id, &none, &pipe, &report, NULL), -EINVAL);
	assert_int_equal(tape.size, 0);
	root_clear(&root);
	side_end(&from);
}

/* Streams that no exporter writes. */

struct forgery {
	struct backup_writer out;
	struct tape tape;
	struct backup_pipe pipe;
};

static void forge(struct forgery *f, enum backup_kind kind, const void *head, size_t head_size,
		  const void *raw, size_t raw_size)
{
	assert_int_equal(backup_put(&f->out, kind, head, head_size, raw, raw_size, NULL), 0);
}

static void forge_root(struct forgery *f)
{
	uint8_t head[BACKUP_ROOT_HEAD + 1] = {1};

	head[BACKUP_ROOT_HEAD] = 'x';
	memset(f, 0, sizeof(*f));
	f->pipe = (struct backup_pipe){.write = tape_write, .arg = &f->tape};
	assert_int_equal(backup_writer_begin(&f->out, &f->pipe, NULL), 0);
	forge(f, BACKUP_ROOT, head, sizeof(head), NULL, 0);
}

static void forge_layer(struct forgery *f, uint64_t blocks)
{
	uint8_t head[BACKUP_LAYER_HEAD] = {2};

	le64_put(head + BACKUP_BASE_HEAD, blocks);
	forge(f, BACKUP_LAYER, head, sizeof(head), NULL, 0);
}

static void forge_map(struct forgery *f, uint64_t page, uint8_t bits)
{
	uint8_t head[BACKUP_MAP_HEAD], raw[4096] = {bits};

	le64_put(head, page);
	forge(f, BACKUP_MAP, head, sizeof(head), raw, sizeof(raw));
}

static void forge_manifest(struct forgery *f, const char *volumes)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "{\"format\": \"lodge-root\", \"version\": 1, \"id\": "
		 "\"01000000000000000000000000000000\", \"name\": \"x\", \"comment\": \"\", "
		 "\"time_ns\": 0, \"kind\": \"disk\", \"state\": \"verified\", \"volumes\": [%s]}",
		 volumes);
	forge(f, BACKUP_MANIFEST, NULL, 0, text, strlen(text));
}

/* The end of a stream that must be refused, in words like these. */
static void forged(struct forgery *f, const char *words)
{
	struct side to;

	assert_int_equal(backup_put_end(&f->out, NULL), 0);
	backup_writer_end(&f->out);
	side_make(&to);
	assert_true(take(&to, &f->tape, NULL) < 0);
	if (!strstr(to.err.what, words))
		fail_msg("'%s' is not in: %s", words, to.err.what);
	assert_empty(&to);
	side_end(&to);
	free(f->tape.bytes);
}

static void forgeries(void **state)
{
	struct forgery f;
	uint8_t many[4 + 8 * 3] = {3};
	static uint8_t raw[3 * STORE_BLOCK];
	char mib[64] = "";
	struct side to;

	(void)state;
	/* One that is right, so that the others fail for what is wrong with them. */
	forge_root(&f);
	forge_manifest(&f, "");
	assert_int_equal(backup_put_end(&f.out, NULL), 0);
	backup_writer_end(&f.out);
	side_make(&to);
	assert_takes(&to, &f.tape, NULL);
	side_end(&to);
	free(f.tape.bytes);

	forge_root(&f);
	forged(&f, "manifest makes no sense");
	forge_root(&f);
	forge_manifest(&f, "{\"name\": \"d\", \"size\": 4096, \"layers\": "
			   "[\"02000000000000000000000000000000\"]}");
	forged(&f, "has not all layers");
	forge_root(&f);
	forge_manifest(&f, "{\"name\": \"d\", \"size\": 4096, \"base\": {\"path\": \"/etc/shadow\","
			   " \"format\": \"raw\"}, \"layers\": []}");
	forged(&f, "stands on the image '/etc/shadow'");
	forge_root(&f);
	forge(&f, BACKUP_BLOB, NULL, 0, "state", 5);
	forge_manifest(&f, "");
	forged(&f, "state of devices");
	forge_root(&f);
	forge_layer(&f, 0);
	forged(&f, "layer's size");
	forge_root(&f);
	forge_layer(&f, STORE_BLOCKS_MAX + 1);
	forged(&f, "layer's size");
	forge_root(&f);
	forge_layer(&f, 8);
	forge_map(&f, 1, 1);
	forged(&f, "map makes no sense");
	forge_root(&f);
	forge_layer(&f, 8);
	forge_map(&f, 0, 0);
	forged(&f, "map makes no sense");
	forge_root(&f);
	forge_layer(&f, 8);
	forge_map(&f, 0, 1);
	forge_map(&f, 0, 1);
	forged(&f, "map makes no sense");
	forge_root(&f);
	forge_layer(&f, 8);
	forge_map(&f, 0, 3);
	forged(&f, "map is damaged");
	forge_root(&f);
	forge_layer(&f, 2);
	forge_map(&f, 0, 0x20); /* block 2 */
	forged(&f, "map is damaged");
	forge_root(&f);
	forge_layer(&f, 8);
	forge_map(&f, 0, 1);
	forged(&f, "blocks of a layer are missing");
	forge_root(&f);
	forge_layer(&f, 8);
	forge_map(&f, 0, 1);
	forge(&f, BACKUP_DATA, many, sizeof(many), raw, sizeof(raw));
	forged(&f, "a block is not what its sum says");
	forge_root(&f);
	forge_layer(&f, 8);
	forge_map(&f, 0, 1);
	forge(&f, BACKUP_DATA, many, sizeof(many), raw, STORE_BLOCK);
	forged(&f, "does not unpack");
	forge_root(&f);
	forge_layer(&f, 8);
	forge(&f, BACKUP_DATA, many, sizeof(many), raw, sizeof(raw));
	forged(&f, "not what its digest says");
	forge_root(&f);
	forge(&f, BACKUP_BLOB, mib, 4, NULL, 0);
	forged(&f, "does not unpack");
	forge_root(&f);
	forge(&f, (enum backup_kind)77, mib, 4, NULL, 0);
	forged(&f, "has no place");
	forge_root(&f);
	forge_manifest(&f, "");
	forge_layer(&f, 8);
	forged(&f, "has no place");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cut_anywhere), cmocka_unit_test(flipped_anywhere),
		cmocka_unit_test(resumed),      cmocka_unit_test(images_are_refused),
		cmocka_unit_test(forgeries),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
