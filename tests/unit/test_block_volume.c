/* SPDX-License-Identifier: MIT */
/*
 * Volumes as disks: random requests in flight together against what a plain array says, on one
 * queue and on several, with snapshots between, above images, and opened again.
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "block/block.h"
#include "block/volume.h"
#include "tests/unit/store_fixture.h"

#define SIZE    (4 * MIB - 1536) /* its last block is shorter */
#define DEPTH   16u
#define PIECES  40u /* more than a submission takes */
#define ROUNDS  300u
#define THREADS 4u

struct job {
	struct block_request request;
	struct iovec iov[PIECES];
	uint8_t *bytes;
	bool done;
	int result;
};

struct disk {
	struct block *block;
	struct block_queue *queue;
	int wake;
	uint64_t seed;
};

static uint64_t chance(struct disk *d, uint64_t limit)
{
	d->seed = d->seed * 6364136223846793005u + 1442695040888963407u;
	return (d->seed >> 33) % limit;
}

static void on_done(struct block_request *request, int result)
{
	struct job *job = (struct job *)request;

	assert_false(job->done);
	job->done = true;
	job->result = result;
}

static void disk_open(struct store_fixture *f, const char *name, struct disk *d)
{
	struct block_options options = {.path = name, .store = f->store};
	struct error err = {0};

	assert_int_equal(block_open("volume", &options, &d->block, &err), 0);
	assert_int_equal(block_queue_create(d->block, DEPTH, &d->queue, &err), 0);
	d->wake = eventfd(0, EFD_CLOEXEC);
}

static void disk_close(struct disk *d)
{
	block_queue_destroy(d->queue);
	block_close(d->block);
	close(d->wake);
}

static void all_wait(struct disk *d)
{
	while (block_in_flight(d->queue))
		assert_int_equal(block_wait(d->queue, d->wake, true), 0);
}

/* Buffers in parts, at any address. */
static void job_cut(struct disk *d, struct job *job, uint64_t length)
{
	uint64_t at = 0;
	unsigned parts = 1 + (unsigned)chance(d, PIECES), n = 0;

	while (at < length) {
		uint64_t left = length - at, size = left;

		if (n + 1 < parts && left > 1)
			size = 1 + chance(d, left);
		job->iov[n++] = (struct iovec){job->bytes + at, (size_t)size};
		at += size;
	}
	job->request.iov = job->iov;
	job->request.iov_count = n;
}

static void job_submit(struct disk *d, struct job *job, enum block_op op, uint64_t offset,
		       uint64_t length)
{
	job->request = (struct block_request){.op = op,
					      .offset = offset,
					      .length = length,
					      .done = on_done,
					      .unmap = length / 512 & 1,
					      .durable = length / 512 % 7 == 3};
	job->done = false;
	if (op == BLOCK_READ || op == BLOCK_WRITE)
		job_cut(d, job, length);
	block_submit(d->queue, &job->request);
}

/* A range that nobody else has meanwhile: its own slice of the disk, or of `slices` one. */
static void range_choose(struct disk *d, uint64_t slice, uint64_t slices, uint64_t *offset,
			 uint64_t *length)
{
	uint64_t sectors = SIZE / 512 / slices, first = slice * sectors;
	uint64_t at = chance(d, sectors), most = sectors - at;

	if (most > 256)
		most = 256;
	*offset = (first + at) * 512;
	*length = (1 + chance(d, most)) * 512;
	if (chance(d, 3) == 0) { /* whole blocks, as file systems have them */
		*offset &= ~4095ull;
		*length = *length < 4096 ? 4096 : *length & ~4095ull;
	}
	if (*offset < first * 512)
		*offset = first * 512;
	if (*offset + *length > (first + sectors) * 512)
		*length = (first + sectors) * 512 - *offset;
}

static void model_change(uint8_t *model, enum block_op op, uint64_t offset, uint64_t length,
			 const uint8_t *bytes)
{
	if (op == BLOCK_WRITE)
		memcpy(model + offset, bytes, length);
	else if (op == BLOCK_WRITE_ZEROES)
		memset(model + offset, 0, length);
}

/* A few requests at once, which do not overlap; reads are held against the model. */
static void round_run(struct disk *d, uint8_t *model, struct job *job, uint64_t part,
		      uint64_t parts)
{
	static const enum block_op ops[] = {BLOCK_READ, BLOCK_WRITE,        BLOCK_WRITE,
					    BLOCK_READ, BLOCK_WRITE_ZEROES, BLOCK_FLUSH};
	unsigned count = 8;

	for (unsigned i = 0; i < count; i++) {
		enum block_op op = ops[chance(d, ARRAY_SIZE(ops))];
		uint64_t offset, length;

		range_choose(d, part * count + i, parts * count, &offset, &length);
		if (op == BLOCK_FLUSH)
			offset = length = 0;
		for (uint64_t k = 0; k < length && op == BLOCK_WRITE; k++)
			job[i].bytes[k] = (uint8_t)chance(d, 256);
		model_change(model, op, offset, length, job[i].bytes);
		job_submit(d, &job[i], op, offset, length);
	}
	all_wait(d);
	for (unsigned i = 0; i < count; i++) {
		assert_true(job[i].done);
		assert_int_equal(job[i].result, 0);
		if (job[i].request.op == BLOCK_READ)
			assert_memory_equal(job[i].bytes, model + job[i].request.offset,
					    job[i].request.length);
	}
}

static void jobs_make(struct job *job)
{
	for (unsigned i = 0; i < DEPTH; i++)
		job[i].bytes = malloc(256 * 512 + 4096);
}

static void jobs_free(struct job *job)
{
	for (unsigned i = 0; i < DEPTH; i++)
		free(job[i].bytes);
}

static void disk_is(struct disk *d, const uint8_t *model)
{
	uint8_t *bytes = malloc(SIZE);

	assert_int_equal(block_read(d->block, 0, bytes, SIZE), 0);
	assert_memory_equal(bytes, model, SIZE);
	free(bytes);
}

static void random_requests(void **state)
{
	struct store_fixture *f = *state;
	struct disk d = {.seed = 1};
	struct job job[DEPTH];
	uint8_t *model = calloc(1, SIZE), *then = malloc(SIZE);
	struct root root = {0};
	struct error err = {0};

	assert_int_equal(volume_create(f->store, "v", SIZE, NULL, &err), 0);
	jobs_make(job);
	disk_open(f, "v", &d);
	for (unsigned i = 0; i < ROUNDS; i++) {
		round_run(&d, model, job, 0, 1);
		if (i % 40 == 17) { /* what was the head's is below from now on */
			char name[16];

			snprintf(name, sizeof(name), "s%u", i);
			snapshot_take(f->store, block_volume(d.block), name, &root);
			root_clear(&root);
		}
		if (i == 57)
			memcpy(then, model, SIZE);
		if (i % 50 == 49) {
			disk_close(&d);
			disk_open(f, "v", &d);
			disk_is(&d, model);
		}
	}
	disk_is(&d, model);
	disk_close(&d);
	/* Back. */
	assert_int_equal(root_find(f->store, "s57", &root, &err), 0);
	assert_int_equal(volume_restore(f->store, "v", &root, 0, &err), 0);
	root_clear(&root);
	disk_open(f, "v", &d);
	disk_is(&d, then);
	disk_close(&d);
	jobs_free(job);
	free(model);
	free(then);
}

/* Threads share no sector, but blocks: each makes whole what another one writes to. */
struct sharer {
	struct disk d;
	pthread_t thread;
	unsigned index;
	uint8_t *model;
};

static void *share(void *arg)
{
	struct sharer *s = arg;
	struct job job = {.bytes = malloc(512)};
	struct error err = {0};

	assert_int_equal(block_queue_create(s->d.block, DEPTH, &s->d.queue, &err), 0);
	for (unsigned i = 0; i < SIZE / 512; i++) {
		uint64_t offset = (uint64_t)i * 512;

		if (i % THREADS != s->index)
			continue;
		memset(job.bytes, (int)(i * 3 + 1), 512);
		memset(s->model + offset, (int)(i * 3 + 1), 512);
		job_submit(&s->d, &job, BLOCK_WRITE, offset, 512);
		all_wait(&s->d);
		assert_int_equal(job.result, 0);
	}
	block_queue_destroy(s->d.queue);
	free(job.bytes);
	return NULL;
}

static void blocks_of_several(void **state)
{
	struct store_fixture *f = *state;
	struct sharer sharer[THREADS];
	uint8_t *model = calloc(1, SIZE);
	struct error err = {0};
	struct disk d = {.seed = 2};

	assert_int_equal(volume_create(f->store, "v", SIZE, NULL, &err), 0);
	disk_open(f, "v", &d);
	for (unsigned i = 0; i < THREADS; i++) {
		sharer[i] = (struct sharer){.d = d, .index = i, .model = model};
		sharer[i].d.wake = eventfd(0, EFD_CLOEXEC);
		pthread_create(&sharer[i].thread, NULL, share, &sharer[i]);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(sharer[i].thread, NULL);
		close(sharer[i].d.wake);
	}
	disk_is(&d, model);
	disk_close(&d);
	free(model);
}

/* Above an image that is shorter than it. */
static void above_an_image(void **state)
{
	struct store_fixture *f = *state;
	struct volume_base base = {.format = "raw"};
	uint8_t *model = calloc(1, SIZE);
	uint64_t base_size = MIB + 512, run;
	struct disk d = {.seed = 3};
	struct error err = {0};
	struct job job[DEPTH];
	enum block_status status;
	int fd;

	for (uint64_t i = 0; i < base_size; i++)
		model[i] = (uint8_t)(i * 7 + (i >> 9));
	snprintf(base.path, sizeof(base.path), "%s/image", f->directory);
	fd = open(base.path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, model, base_size), base_size);
	close(fd);
	assert_int_equal(volume_create(f->store, "v", SIZE, &base, &err), 0);
	disk_open(f, "v", &d);
	disk_is(&d, model);
	assert_int_equal(block_map(d.block, 2 * MIB, MIB, &status, &run), 0);
	assert_int_equal(status, BLOCK_ZERO);
	jobs_make(job);
	for (unsigned i = 0; i < ROUNDS / 3; i++)
		round_run(&d, model, job, 0, 1);
	jobs_free(job);
	disk_is(&d, model);
	disk_close(&d);
	free(model);
	unlink(base.path);
}

static void refused(void **state)
{
	struct store_fixture *f = *state;
	struct block_options options = {.path = "none", .store = f->store};
	struct block *block;
	struct error err = {0};
	struct disk d = {.seed = 4};

	assert_true(block_open("volume", &options, &block, &err) < 0);
	options.store = NULL;
	assert_int_equal(block_open("volume", &options, &block, &err), -EINVAL);
	assert_int_equal(volume_create(f->store, "v", SIZE, NULL, &err), 0);
	disk_open(f, "v", &d);
	options = (struct block_options){.path = "v", .store = f->store};
	assert_int_equal(block_open("volume", &options, &block, &err), -EBUSY);
	disk_close(&d);
}

#define TEST(name)                                                                                 \
	cmocka_unit_test_setup_teardown(name, store_fixture_setup, store_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(random_requests),
		TEST(blocks_of_several),
		TEST(above_an_image),
		TEST(refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
