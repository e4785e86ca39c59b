/* SPDX-License-Identifier: MIT */
/*
 * qcow2 images as lodge writes and reads them, and what becomes of both when the N-th system call
 * fails. Images of QEMU's are in tests/image.
 */
#include "tests/unit/unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/block.h"
#include "block/export.h"
#include "block/qcow2_format.h"
#include "tests/random.h"
#include "tests/unit/scratch.h"
#include "vmm/base/log.h"

#define CLUSTER   (64 * KIB)
#define DISK_SIZE (2 * MIB + 3 * 512)
#define DEPTH     4

/* System calls that fail: `left` more succeed. Negative: all. */
static struct {
	int left;
	bool failed;
	int code;
} fault = {.left = -1};

static bool fails(void)
{
	if (fault.left < 0 || fault.left-- > 0)
		return false;
	fault.failed = true;
	errno = fault.code;
	return true;
}

static void fault_arm(int left, int code)
{
	fault.left = left;
	fault.failed = false;
	fault.code = code;
}

static bool fault_disarm(void)
{
	fault.left = -1;
	return fault.failed;
}

#define WRAP(type, name, parameters, arguments)                                                    \
	type __real_##name parameters;                                                             \
	type __wrap_##name parameters;                                                             \
	type __wrap_##name parameters                                                              \
	{                                                                                          \
		return fails() ? -1 : __real_##name arguments;                                     \
	}

WRAP(ssize_t, pread64, (int fd, void *to, size_t n, off_t at), (fd, to, n, at))
WRAP(ssize_t, preadv64, (int fd, const struct iovec *v, int n, off_t at), (fd, v, n, at))
WRAP(ssize_t, pwrite64, (int fd, const void *from, size_t n, off_t at), (fd, from, n, at))
WRAP(int, ftruncate64, (int fd, off_t size), (fd, size))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, renameat2, (int a, const char *from, int b, const char *to, unsigned flags),
     (a, from, b, to, flags))

struct fixture {
	struct scratch scratch;
	char path[SCRATCH_PATH_MAX], other[SCRATCH_PATH_MAX];
	uint8_t *bytes; /* DISK_SIZE: what the image has */
	struct block *block;
};

/* Noise, text, zeroes and pieces of each, a cluster or less at a time. */
static void content_make(uint8_t *bytes)
{
	uint64_t seed = 1;

	for (size_t i = 0; i < DISK_SIZE; i++) {
		unsigned kind = (unsigned)(i / (CLUSTER / 2) % 7);

		if (kind < 2)
			bytes[i] = (uint8_t)random_step(&seed);
		else if (kind < 5)
			bytes[i] = (uint8_t)(i >> 8);
	}
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	scratch_make(&f->scratch);
	scratch_path(&f->scratch, "image", f->path);
	scratch_path(&f->scratch, "other", f->other);
	f->bytes = calloc(1, DISK_SIZE);
	assert_non_null(f->bytes);
	content_make(f->bytes);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	block_close(f->block);
	scratch_remove(&f->scratch);
	free(f->bytes);
	free(f);
	return 0;
}

/* A source of runs of a few sizes. */
struct source {
	const uint8_t *bytes;
	uint64_t at, step;
};

static int source_next(void *arg, struct export_run *run, struct error *err)
{
	struct source *s = arg;

	(void)err;
	run->length = s->step < DISK_SIZE - s->at ? s->step : DISK_SIZE - s->at;
	run->data = s->bytes + s->at;
	s->at += run->length;
	return 0;
}

static int write_image(struct fixture *f, const char *format, enum export_compression compression,
		       struct error *err)
{
	struct source s = {.bytes = f->bytes, .step = 100 * KIB + 77};
	struct export_source source = {.size = DISK_SIZE, .arg = &s, .next = source_next};
	struct export_options options = {.path = f->path, .compression = compression};

	return export_image(format, &options, &source, err);
}

static int open_image(struct fixture *f, struct error *err)
{
	struct block_options options = {.path = f->path, .read_only = true};

	return block_open("qcow2", &options, &f->block, err);
}

static void close_image(struct fixture *f)
{
	block_close(f->block);
	f->block = NULL;
}

static void written_is_read(void **state)
{
	static const enum export_compression compressions[] = {EXPORT_PLAIN, EXPORT_DEFLATE,
							       EXPORT_ZSTD};
	struct fixture *f = *state;
	uint8_t *read = malloc(DISK_SIZE);
	off_t size[ARRAY_SIZE(compressions)];

	assert_non_null(read);
	for (unsigned i = 0; i < ARRAY_SIZE(compressions); i++) {
		struct stat st;

		assert_int_equal(write_image(f, "qcow2", compressions[i], NULL), 0);
		assert_int_equal(open_image(f, NULL), 0);
		assert_int_equal(block_info(f->block)->size, DISK_SIZE);
		assert_true(block_info(f->block)->read_only);
		memset(read, 0xa5, DISK_SIZE);
		assert_int_equal(block_read(f->block, 0, read, DISK_SIZE), 0);
		assert_memory_equal(read, f->bytes, DISK_SIZE);
		close_image(f);
		assert_int_equal(stat(f->path, &st), 0);
		size[i] = st.st_size;
		unlink(f->path);
	}
	free(read);
	/* Compression is more than a flag. */
	assert_true(size[1] < size[0] - (off_t)(4 * CLUSTER));
	assert_true(size[2] < size[0] - (off_t)(4 * CLUSTER));
}

/* Whole clusters of zeroes are not in the file, and map says so, in one run. */
static void zeroes_are_skipped(void **state)
{
	struct fixture *f = *state;
	enum block_status status;
	struct stat st;
	uint64_t run;

	memset(f->bytes, 0, DISK_SIZE);
	f->bytes[5 * CLUSTER] = 1;
	assert_int_equal(write_image(f, "qcow2", EXPORT_PLAIN, NULL), 0);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_size, 6 * CLUSTER); /* header, data, L2, L1, refcounts: two */
	assert_int_equal(open_image(f, NULL), 0);
	assert_int_equal(block_map(f->block, 0, DISK_SIZE, &status, &run), 0);
	assert_int_equal(status, BLOCK_ZERO);
	assert_int_equal(run, 5 * CLUSTER);
	assert_int_equal(block_map(f->block, run, DISK_SIZE - run, &status, &run), 0);
	assert_int_equal(status, BLOCK_DATA);
	assert_int_equal(run, CLUSTER);
	assert_int_equal(block_map(f->block, 6 * CLUSTER, 512, &status, &run), 0);
	assert_int_equal(status, BLOCK_ZERO);
	assert_int_equal(run, 512);
	assert_int_equal(block_map(f->block, DISK_SIZE, 1, &status, &run), -EINVAL);
	assert_int_equal(block_map(f->block, 0, 0, &status, &run), -EINVAL);
	assert_int_equal(block_map(f->block, 512, UINT64_MAX, &status, &run), -EINVAL);
	assert_int_equal(block_read(f->block, DISK_SIZE - 1, &run, 2), -EINVAL);
	assert_int_equal(block_read(f->block, DISK_SIZE, &run, 0), 0);
}

static void raw_is_sparse(void **state)
{
	struct fixture *f = *state;
	struct block_options options = {.path = f->path, .read_only = true};
	uint64_t run, data = 0;
	enum block_status status;
	struct stat st;

	memset(f->bytes, 0, DISK_SIZE);
	f->bytes[MIB] = 1;
	f->bytes[DISK_SIZE - 1] = 2;
	assert_int_equal(write_image(f, "raw", EXPORT_PLAIN, NULL), 0);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_size, DISK_SIZE);
	assert_true(st.st_blocks * 512 < (off_t)(64 * KIB));
	assert_int_equal(block_open("raw", &options, &f->block, NULL), 0);
	for (uint64_t at = 0; at < DISK_SIZE; at += run) {
		assert_int_equal(block_map(f->block, at, DISK_SIZE - at, &status, &run), 0);
		assert_true(run > 0 && run <= DISK_SIZE - at);
		if (status == BLOCK_DATA)
			data += run;
		assert_true(status == BLOCK_DATA || !(at <= MIB && MIB < at + run));
	}
	assert_true(data >= 513 && data < 64 * KIB);
	/* What a file has lost is no hole. */
	assert_int_equal(truncate(f->path, MIB), 0);
	assert_int_equal(block_map(f->block, MIB + 512, 512, &status, &run), -EIO);
	assert_int_equal(block_read(f->block, MIB, &run, 1), -EIO);
	close_image(f);
	unlink(f->path);
	assert_int_equal(write_image(f, "raw", EXPORT_PLAIN, NULL), 0);
	/* And the other way round, by what map says. */
	assert_int_equal(block_open("raw", &options, &f->block, NULL), 0);
	assert_int_equal(
		export_block("qcow2", &(struct export_options){.path = f->other}, f->block, NULL),
		0);
	assert_int_equal(stat(f->other, &st), 0);
	assert_int_equal(st.st_size, 7 * CLUSTER);
}

/* Reading: each N-th read fails once; nothing wrong is remembered. */
static void reads_fail(void **state)
{
	struct fixture *f = *state;
	uint8_t *read = malloc(DISK_SIZE);
	bool failed = true;
	int n;

	assert_non_null(read);
	assert_int_equal(write_image(f, "qcow2", EXPORT_DEFLATE, NULL), 0);
	for (n = 0; failed; n++) {
		struct error err = {0};
		int ret;

		assert_true(n < 1000);
		fault_arm(n, EIO);
		ret = open_image(f, &err);
		if (ret) {
			assert_int_equal(ret, -EIO);
			assert_non_null(strstr(err.what, f->path));
			failed = fault_disarm();
			assert_true(failed);
			continue;
		}
		ret = block_read(f->block, 0, read, DISK_SIZE);
		failed = fault_disarm();
		assert_int_equal(ret, failed ? -EIO : 0);
		assert_int_equal(block_read(f->block, 0, read, DISK_SIZE), 0);
		assert_memory_equal(read, f->bytes, DISK_SIZE);
		close_image(f);
	}
	assert_true(n > 10);
	free(read);
}

static void interrupted_reads(void **state)
{
	struct fixture *f = *state;
	uint8_t *read = malloc(DISK_SIZE);

	assert_non_null(read);
	assert_int_equal(write_image(f, "qcow2", EXPORT_PLAIN, NULL), 0);
	for (int n = 0; n < 20; n++) {
		fault_arm(n, EINTR);
		assert_int_equal(open_image(f, NULL), 0);
		assert_int_equal(block_read(f->block, 0, read, DISK_SIZE), 0);
		fault_disarm();
		assert_memory_equal(read, f->bytes, DISK_SIZE);
		close_image(f);
	}
	free(read);
}

/* A file that shrinks under us has lost sectors: an error, not zeroes. */
static void shrunken_file(void **state)
{
	struct fixture *f = *state;
	uint8_t byte;

	assert_int_equal(write_image(f, "qcow2", EXPORT_PLAIN, NULL), 0);
	assert_int_equal(open_image(f, NULL), 0);
	assert_int_equal(block_read(f->block, 0, &byte, 1), 0);
	assert_int_equal(truncate(f->path, CLUSTER), 0);
	assert_int_equal(block_read(f->block, 1, &byte, 1), -EIO);
}

static unsigned files_in(const struct scratch *scratch)
{
	DIR *directory = opendir(scratch->path);
	unsigned count = 0;

	assert_non_null(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count - 2; /* . and .. */
}

/* Writing: whatever fails, there is either the whole image or nothing. */
static void writes_fail_for(struct fixture *f, const char *format, int code)
{
	bool failed = true;
	int n;

	for (n = 0; failed; n++) {
		struct error err = {0};
		int ret;

		assert_true(n < 1000);
		fault_arm(n, code);
		ret = write_image(f, format, EXPORT_PLAIN, &err);
		failed = fault_disarm();
		assert_int_equal(ret, failed ? -code : 0);
		assert_true(!failed || strstr(err.what, f->path));
		assert_true(!failed || code != ENOSPC || err.remedy[0]);
		assert_int_equal(files_in(&f->scratch), failed ? 0 : 1);
	}
	assert_true(n > 5);
	unlink(f->path);
}

static void writes_fail(void **state)
{
	writes_fail_for(*state, "qcow2", ENOSPC);
	writes_fail_for(*state, "qcow2", EIO);
	writes_fail_for(*state, "raw", ENOSPC);
}

static void existing_files(void **state)
{
	struct fixture *f = *state;
	struct source s = {.bytes = f->bytes, .step = MIB};
	struct export_source source = {.size = DISK_SIZE, .arg = &s, .next = source_next};
	struct export_options options = {.path = f->path, .replace = true};
	struct stat st;

	scratch_write(&f->scratch, "image", "mine", 4);
	assert_int_equal(write_image(f, "qcow2", EXPORT_PLAIN, NULL), -EEXIST);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_size, 4);
	assert_int_equal(export_image("raw", &options, &source, NULL), 0);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_size, DISK_SIZE);
	assert_int_equal(files_in(&f->scratch), 1);
	/* What is no file is not replaced, nor is anything made beside it. */
	options.path = "/dev/null";
	assert_int_equal(export_image("raw", &options, &source, NULL), -EEXIST);
	options.path = "/nowhere/at/all";
	assert_int_equal(export_image("raw", &options, &source, NULL), -ENOENT);
}

static int next_nothing(void *arg, struct export_run *run, struct error *err)
{
	(void)arg;
	(void)err;
	run->length = 0;
	return 0;
}

static int next_too_much(void *arg, struct export_run *run, struct error *err)
{
	(void)arg;
	(void)err;
	run->length = DISK_SIZE + 1;
	return 0;
}

static int next_fails(void *arg, struct export_run *run, struct error *err)
{
	(void)arg;
	(void)run;
	return error_set(err, -ESTALE, NULL, "the source is gone");
}

static void bad_sources(void **state)
{
	struct fixture *f = *state;
	struct export_source source = {.size = DISK_SIZE, .next = next_nothing};
	struct export_options options = {.path = f->path};
	struct error err = {0};

	assert_int_equal(export_image("qcow2", &options, &source, NULL), -EINVAL);
	source.next = next_too_much;
	assert_int_equal(export_image("qcow2", &options, &source, NULL), -EINVAL);
	source.next = next_fails;
	assert_int_equal(export_image("qcow2", &options, &source, &err), -ESTALE);
	assert_string_equal(err.what, "the source is gone");
	source.size = 0;
	assert_int_equal(export_image("qcow2", &options, &source, NULL), -EINVAL);
	source.size = 1000;
	assert_int_equal(export_image("raw", &options, &source, NULL), -EINVAL);
	source.size = 1ull << 62;
	assert_int_equal(export_image("qcow2", &options, &source, NULL), -EFBIG);
	source.size = DISK_SIZE;
	options.compression = EXPORT_ZSTD;
	assert_int_equal(export_image("raw", &options, &source, NULL), -EINVAL);
	assert_int_equal(export_image("vmdk", &options, &source, NULL), -EINVAL);
	assert_int_equal(files_in(&f->scratch), 0);
}

/* The queue's contract. */

struct job {
	struct block_request request;
	struct iovec iov[2];
	struct block_queue *queue;
	unsigned done;
	int result;
	bool again;
};

static void job_done(struct block_request *request, int result)
{
	struct job *job = (struct job *)request;

	job->done++;
	job->result = result;
	if (job->again) {
		job->again = false;
		block_submit(job->queue, request);
	}
}

static void queue_contract(void **state)
{
	static uint8_t bytes[2 * CLUSTER];
	struct fixture *f = *state;
	struct job job[DEPTH];
	struct block_queue *queue;
	int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	uint64_t count = 1;

	assert_int_equal(write_image(f, "qcow2", EXPORT_ZSTD, NULL), 0);
	assert_int_equal(open_image(f, NULL), 0);
	assert_int_equal(block_queue_create(f->block, DEPTH, &queue, NULL), 0);
	for (unsigned i = 0; i < DEPTH; i++) {
		uint64_t length = sizeof(bytes) / DEPTH;
		uint8_t *to = bytes + i * length;

		job[i] = (struct job){
			.queue = queue,
			.iov = {{.iov_base = to, .iov_len = 7},
				{.iov_base = to + 7, .iov_len = length - 7}},
			.again = i == 0,
		};
		job[i].request = (struct block_request){.op = BLOCK_READ,
							.offset = i * length,
							.length = length,
							.iov = job[i].iov,
							.iov_count = 2,
							.done = job_done};
		block_submit(queue, &job[i].request);
		assert_int_equal(job[i].done, 0);
	}
	/* What done submits is for the next turn. */
	assert_int_equal(block_wait(queue, wake, true), 0);
	assert_int_equal(block_in_flight(queue), 1);
	assert_int_equal(block_wait(queue, wake, true), 0);
	assert_int_equal(job[0].done, 2);
	assert_memory_equal(bytes, f->bytes, sizeof(bytes));
	/* A signal wakes it, and is taken. */
	assert_int_equal(write(wake, &count, sizeof(count)), sizeof(count));
	assert_int_equal(block_wait(queue, wake, true), 0);
	assert_int_equal(read(wake, &count, sizeof(count)), -1);
	assert_int_equal(block_wait(queue, wake, false), 0);
	/* It is read-only; to flush it is nothing. */
	job[1].request.op = BLOCK_WRITE;
	block_submit(queue, &job[1].request);
	assert_int_equal(job[1].result, -EROFS);
	job[1].request.op = BLOCK_FLUSH;
	block_submit(queue, &job[1].request);
	assert_int_equal(block_wait(queue, wake, true), 0);
	assert_int_equal(job[1].result, 0);
	assert_int_equal(block_in_flight(queue), 0);
	block_queue_destroy(queue);
	close(wake);
}

static void opening(void **state)
{
	struct fixture *f = *state;
	struct block_options options = {.path = f->path};
	struct block *block;
	struct error err = {0};

	assert_int_equal(write_image(f, "qcow2", EXPORT_PLAIN, NULL), 0);
	/* To write to one is refused, with words. */
	assert_int_equal(block_open("qcow2", &options, &block, &err), -EROFS);
	assert_non_null(strstr(err.remedy, ",ro"));
	/* Who writes to the file waits until the readers are gone. */
	assert_int_equal(open_image(f, NULL), 0);
	assert_int_equal(block_open("raw", &options, &block, NULL), -EBUSY);
	close_image(f);
	assert_int_equal(block_open("raw", &options, &block, NULL), 0);
	assert_int_equal(open_image(f, NULL), -EBUSY);
	block_close(block);
	/* Never guessed. */
	scratch_write(&f->scratch, "image", f->bytes, MIB);
	assert_int_equal(open_image(f, NULL), -EINVAL);
	unlink(f->path);
	assert_int_equal(open_image(f, NULL), -ENOENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(written_is_read),   TEST(zeroes_are_skipped),
		TEST(raw_is_sparse),     TEST(reads_fail),
		TEST(interrupted_reads), TEST(shrunken_file),
		TEST(writes_fail),       TEST(existing_files),
		TEST(bad_sources),       TEST(queue_contract),
		TEST(opening),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
