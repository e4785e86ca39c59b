/* SPDX-License-Identifier: MIT */
/*
 * Disks: a raw image against what pread(2) says is in the file, on the file system of /tmp and on
 * tmpfs (which cannot zero a range); locks, errors, and a flush that fails.
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/block.h"
#include "tests/unit/fake_block.h"
#include "tests/unit/scratch.h"
#include "vmm/base/log.h"

#define DISK_SIZE (2 * MIB)
#define DEPTH     16

struct fixture {
	struct scratch scratch;
	char path[SCRATCH_PATH_MAX];
	int fd; /* the same file, for pread */
	int wake;
	struct block *block;
	struct block_queue *queue;
	struct fake_block fake;
};

/* A request that knows how it ended. */
struct job {
	struct block_request request;
	struct iovec iov[8];
	bool done;
	int result;
};

static void job_done(struct block_request *request, int result)
{
	struct job *job = (struct job *)request;

	assert_false(job->done);
	job->done = true;
	job->result = result;
}

static int setup_empty(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	scratch_make(&f->scratch);
	scratch_path(&f->scratch, "disk", f->path);
	f->fd = -1;
	f->wake = eventfd(0, EFD_CLOEXEC);
	*state = f;
	return 0;
}

static void open_disk(struct fixture *f, bool read_only)
{
	struct block_options options = {.path = f->path, .read_only = read_only};

	assert_int_equal(block_open("raw", &options, &f->block, NULL), 0);
	assert_int_equal(block_info(f->block)->size, DISK_SIZE);
	assert_int_equal(block_info(f->block)->read_only, read_only);
	assert_int_equal(block_queue_create(f->block, DEPTH, &f->queue, NULL), 0);
}

static void close_disk(struct fixture *f)
{
	block_queue_destroy(f->queue);
	block_close(f->block);
	f->queue = NULL;
	f->block = NULL;
}

static void fill(struct fixture *f)
{
	static uint8_t bytes[DISK_SIZE];

	for (size_t i = 0; i < DISK_SIZE; i++)
		bytes[i] = (uint8_t)(i * 7 + (i >> 9));
	assert_int_equal(pwrite(f->fd, bytes, DISK_SIZE, 0), DISK_SIZE);
}

static int setup(void **state)
{
	struct fixture *f;

	setup_empty(state);
	f = *state;
	f->fd = open(f->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(f->fd >= 0);
	fill(f);
	open_disk(f, false);
	return 0;
}

static int setup_tmpfs(void **state)
{
	struct fixture *f;

	setup_empty(state);
	f = *state;
	f->fd = memfd_create("lodge-test-disk", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_true(f->fd >= 0);
	snprintf(f->path, sizeof(f->path), "/proc/self/fd/%d", f->fd);
	fill(f);
	open_disk(f, false);
	return 0;
}

static int setup_fake(void **state)
{
	struct fixture *f;

	setup_empty(state);
	f = *state;
	fake_block_init(&f->fake, DISK_SIZE);
	assert_int_equal(block_queue_create(&f->fake.block, DEPTH, &f->queue, NULL), 0);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	close_disk(f);
	if (f->fd >= 0)
		close(f->fd);
	close(f->wake);
	scratch_remove(&f->scratch);
	free(f);
	return 0;
}

static void submit(struct fixture *f, struct job *job)
{
	job->request.done = job_done;
	job->done = false;
	block_submit(f->queue, &job->request);
}

static void finish(struct fixture *f)
{
	while (block_in_flight(f->queue))
		assert_int_equal(block_wait(f->queue, f->wake, true), 0);
}

/* One request with one buffer; returns the result. */
static int run(struct fixture *f, enum block_op op, uint64_t offset, void *bytes, uint64_t length)
{
	struct job job = {.request = {.op = op, .offset = offset, .length = length}};

	job.iov[0] = (struct iovec){bytes, length};
	job.request.iov = job.iov;
	job.request.iov_count = length && bytes ? 1 : 0;
	submit(f, &job);
	finish(f);
	assert_true(job.done);
	return job.result;
}

/* Cut `length` bytes at `bytes` into pieces of any length, also odd ones. */
static unsigned cut(struct iovec *iov, unsigned max, uint8_t *bytes, size_t length, unsigned *seed)
{
	unsigned count = 0;

	while (length) {
		size_t n = 1 + (size_t)rand_r(seed) % length;

		if (rand_r(seed) % 2 && n > 512)
			n &= ~(size_t)511;
		if (count == max - 1)
			n = length;
		iov[count++] = (struct iovec){bytes, n};
		bytes += n;
		length -= n;
	}
	return count;
}

static void random_requests(void **state)
{
	static uint8_t oracle[DISK_SIZE], now[DISK_SIZE];
	static uint8_t buffer[65536 + 4096] __attribute__((aligned(4096)));
	struct fixture *f = *state;
	unsigned seed = 42;

	assert_int_equal(pread(f->fd, oracle, DISK_SIZE, 0), DISK_SIZE);
	for (unsigned n = 0; n < 600; n++) {
		static const enum block_op ops[] = {BLOCK_READ,        BLOCK_READ,    BLOCK_WRITE,
						    BLOCK_WRITE,       BLOCK_DISCARD, BLOCK_FLUSH,
						    BLOCK_WRITE_ZEROES};
		struct job job = {.request = {.op = ops[(unsigned)rand_r(&seed) % 7]}};
		unsigned unit = rand_r(&seed) % 2 ? 4096 : 512;
		uint64_t length = (1 + (uint64_t)rand_r(&seed) % (65536 / unit)) * unit;
		uint64_t offset = (uint64_t)rand_r(&seed) % ((DISK_SIZE - length) / unit) * unit;
		uint8_t *bytes = buffer + (rand_r(&seed) % 2 ? 0 : rand_r(&seed) % 4096);
		enum block_op op = job.request.op;

		if (op == BLOCK_FLUSH)
			length = offset = 0;
		job.request.offset = offset;
		job.request.length = length;
		job.request.unmap = rand_r(&seed) % 2;
		job.request.durable =
			(op == BLOCK_WRITE || op == BLOCK_WRITE_ZEROES) && rand_r(&seed) % 8 == 0;
		if (op == BLOCK_READ || op == BLOCK_WRITE) {
			job.request.iov = job.iov;
			job.request.iov_count = cut(job.iov, 8, bytes, length, &seed);
		}
		for (uint64_t i = 0; i < length; i++)
			bytes[i] = (uint8_t)(n + i * 13);
		submit(f, &job);
		finish(f);
		assert_int_equal(job.result, 0);
		if (op == BLOCK_READ)
			assert_memory_equal(bytes, oracle + offset, length);
		if (op == BLOCK_WRITE)
			memcpy(oracle + offset, bytes, length);
		if (op == BLOCK_WRITE_ZEROES)
			memset(oracle + offset, 0, length);
		/* What a discard leaves is not said: take it as it is. */
		if (op == BLOCK_DISCARD)
			assert_int_equal(pread(f->fd, oracle + offset, length, (off_t)offset),
					 length);
	}
	assert_int_equal(pread(f->fd, now, DISK_SIZE, 0), DISK_SIZE);
	assert_memory_equal(now, oracle, DISK_SIZE);
}

static void many_in_flight(void **state)
{
	static struct job jobs[DEPTH];
	static uint8_t buffers[DEPTH][8192];
	uint8_t expected[8192];
	struct fixture *f = *state;

	for (unsigned round = 0; round < 10; round++) {
		for (unsigned i = 0; i < DEPTH; i++) {
			memset(buffers[i], (int)(round * DEPTH + i), sizeof(buffers[i]));
			jobs[i] = (struct job){.request = {.op = BLOCK_WRITE,
							   .offset = 8192ull * (i + round),
							   .length = 8192,
							   .iov_count = 1}};
			jobs[i].iov[0] = (struct iovec){buffers[i], 8192};
			jobs[i].request.iov = jobs[i].iov;
			submit(f, &jobs[i]);
		}
		assert_int_equal(block_in_flight(f->queue), DEPTH);
		finish(f);
		for (unsigned i = 0; i < DEPTH; i++) {
			assert_true(jobs[i].done);
			assert_int_equal(jobs[i].result, 0);
			assert_int_equal(pread(f->fd, expected, 8192, 8192 * (off_t)(i + round)),
					 8192);
			assert_memory_equal(expected, buffers[i], 8192);
		}
	}
}

static void bad_requests(void **state)
{
	static const struct {
		uint64_t offset, length;
		int result;
	} cases[] = {
		{0, 1, -EINVAL},
		{1, 512, -EINVAL},
		{511, 513, -EINVAL},
		{DISK_SIZE, 512, -EINVAL},
		{DISK_SIZE - 512, 1024, -EINVAL},
		{~0ull - 511, 512, -EINVAL},
		{~0ull - 511, 1024, -EINVAL},
		{512, ~0ull - 511, -EINVAL},
		{DISK_SIZE, 0, 0},
		{DISK_SIZE + 512, 0, -EINVAL},
		{DISK_SIZE - 512, 512, 0},
		{0, 0, 0},
	};
	static const enum block_op ops[] = {BLOCK_READ, BLOCK_WRITE, BLOCK_DISCARD,
					    BLOCK_WRITE_ZEROES};
	static uint8_t bytes[512];
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
		for (unsigned k = 0; k < ARRAY_SIZE(ops); k++)
			assert_int_equal(run(f, ops[k], cases[i].offset, bytes, cases[i].length),
					 cases[i].result);
}

static void wake_up(void **state)
{
	struct fixture *f = *state;
	uint64_t one = 1;

	assert_int_equal(block_wait(f->queue, f->wake, false), 0); /* it does not sleep */
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(write(f->wake, &one, sizeof(one)), sizeof(one));
		assert_int_equal(block_wait(f->queue, f->wake, true), 0);
	}
	/* The last signal was consumed: another wait would sleep. Nothing else is left. */
	assert_int_equal(block_in_flight(f->queue), 0);
}

static void read_only_disk(void **state)
{
	static uint8_t bytes[512];
	struct fixture *f = *state;

	close_disk(f);
	open_disk(f, true);
	assert_int_equal(run(f, BLOCK_READ, 512, bytes, 512), 0);
	assert_int_equal(bytes[1], (uint8_t)(513 * 7 + 1));
	assert_int_equal(run(f, BLOCK_WRITE, 0, bytes, 512), -EROFS);
	assert_int_equal(run(f, BLOCK_WRITE, 0, bytes, 0), -EROFS);
	assert_int_equal(run(f, BLOCK_DISCARD, 0, NULL, 512), -EROFS);
	assert_int_equal(run(f, BLOCK_WRITE_ZEROES, 0, NULL, 512), -EROFS);
	assert_int_equal(run(f, BLOCK_FLUSH, 0, NULL, 0), 0);
}

/* A file that shrinks under us has lost sectors: they are errors, not zeroes. */
static void shrunken_file(void **state)
{
	static uint8_t bytes[8192];
	struct fixture *f = *state;

	assert_int_equal(ftruncate(f->fd, DISK_SIZE - 4096), 0);
	assert_int_equal(run(f, BLOCK_READ, DISK_SIZE - 4096, bytes, 4096), -EIO);
	assert_int_equal(run(f, BLOCK_READ, DISK_SIZE - 8192, bytes, 8192), -EIO);
	assert_int_equal(run(f, BLOCK_READ, DISK_SIZE - 8192, bytes, 4096), 0);
	assert_int_equal(run(f, BLOCK_WRITE, DISK_SIZE - 4096, bytes, 4096), 0);
	assert_int_equal(run(f, BLOCK_READ, DISK_SIZE - 8192, bytes, 8192), 0);
}

/* A file that takes no writes any more, although it is open for writing. */
static void sealed_file(void **state)
{
	static uint8_t bytes[512];
	struct fixture *f = *state;

	if (fcntl(f->fd, F_ADD_SEALS, F_SEAL_WRITE) < 0)
		skip();
	assert_int_equal(run(f, BLOCK_WRITE, 0, bytes, 512), -EPERM);
	assert_int_equal(run(f, BLOCK_WRITE_ZEROES, 0, NULL, 512), -EPERM);
	assert_int_equal(run(f, BLOCK_READ, 0, bytes, 512), 0);
}

/* What a failed sync lost is unknown: nothing is written any more, and no later sync succeeds. */
static void flush_fails(void **state)
{
	static uint8_t bytes[512];
	struct fixture *f = *state;

	assert_int_equal(run(f, BLOCK_WRITE, 0, bytes, 512), 0);
	atomic_store(&f->fake.result, -EIO);
	assert_int_equal(run(f, BLOCK_READ, 0, bytes, 512), -EIO);
	atomic_store(&f->fake.result, 0);
	assert_int_equal(run(f, BLOCK_WRITE, 0, bytes, 512), 0); /* a bad sector is not that */
	atomic_store(&f->fake.result, -ENOSPC);
	assert_int_equal(run(f, BLOCK_FLUSH, 0, NULL, 0), -ENOSPC);
	atomic_store(&f->fake.result, 0);
	assert_int_equal(run(f, BLOCK_FLUSH, 0, NULL, 0), -EIO);
	assert_int_equal(run(f, BLOCK_WRITE, 0, bytes, 512), -EIO);
	assert_int_equal(run(f, BLOCK_DISCARD, 0, NULL, 512), -EIO);
	assert_int_equal(run(f, BLOCK_WRITE_ZEROES, 0, NULL, 512), -EIO);
	assert_int_equal(run(f, BLOCK_READ, 0, bytes, 512), 0);
}

/* Opening. */

static int try_open(const char *path, bool read_only, struct error *err)
{
	struct block_options options = {.path = path, .read_only = read_only};
	struct block *block;
	int ret = block_open("raw", &options, &block, err);

	if (ret == 0)
		block_close(block);
	return ret;
}

/* Found by these tests: the lock outlived the disk for as long as its ring took to go away. */
static void locks(void **state)
{
	struct fixture *f = *state;
	struct block_options no_lock = {.path = f->path, .no_lock = true};
	struct block *block;
	struct error err = {0};

	assert_int_equal(try_open(f->path, false, &err), -EBUSY);
	assert_non_null(strstr(err.what, f->path));
	assert_int_equal(try_open(f->path, true, NULL), -EBUSY);
	assert_int_equal(block_open("raw", &no_lock, &block, NULL), 0);
	block_close(block);
	assert_int_equal(try_open(f->path, true, NULL), -EBUSY); /* closing that freed nothing */
	close_disk(f);
	open_disk(f, true);
	assert_int_equal(try_open(f->path, true, NULL), 0); /* readers share */
	assert_int_equal(try_open(f->path, false, NULL), -EBUSY);
	close_disk(f);
	assert_int_equal(try_open(f->path, false, NULL), 0);
	block_close(NULL);
}

static void files_that_are_no_disks(void **state)
{
	struct fixture *f = *state;
	struct block_options options = {.path = f->path};
	struct block *block;
	struct error err = {0};
	static uint8_t bytes[1000];

	assert_int_equal(try_open(f->path, false, &err), -ENOENT);
	assert_true(err.remedy[0]);
	scratch_write(&f->scratch, "disk", bytes, 0);
	assert_int_equal(try_open(f->path, false, NULL), -EINVAL);
	scratch_write(&f->scratch, "disk", bytes, 1000);
	assert_int_equal(try_open(f->path, false, NULL), -EINVAL);
	scratch_write(&f->scratch, "disk", bytes, 512);
	assert_int_equal(try_open(f->path, false, NULL), 0);
	assert_int_equal(block_open("qcow3", &options, &block, NULL), -EINVAL);
	assert_int_equal(block_open("", &options, &block, NULL), -EINVAL);
	assert_int_equal(try_open(f->scratch.path, true, NULL), -EINVAL);
	assert_int_equal(try_open(f->scratch.path, false, NULL), -EISDIR);
	assert_int_equal(try_open("/dev/null", false, NULL), -EINVAL);
	unlink(f->path);
	assert_int_equal(mkfifo(f->path, 0600), 0);
	assert_int_equal(try_open(f->path, true, NULL), -EINVAL); /* and does not hang */
	assert_int_equal(try_open(f->path, false, NULL), -EINVAL);
	assert_string_equal(block_format_at(0), "raw");
	assert_null(block_format_at(100));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_TMPFS(name)                                                                           \
	{                                                                                          \
#name "_tmpfs", name, setup_tmpfs, teardown, NULL                                  \
	}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(random_requests),
		TEST_TMPFS(random_requests),
		TEST(many_in_flight),
		TEST_TMPFS(many_in_flight),
		TEST(bad_requests),
		TEST(wake_up),
		TEST(read_only_disk),
		TEST(shrunken_file),
		TEST_TMPFS(sealed_file),
		cmocka_unit_test_setup_teardown(flush_fails, setup_fake, teardown),
		TEST(locks),
		cmocka_unit_test_setup_teardown(files_that_are_no_disks, setup_empty, teardown),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
