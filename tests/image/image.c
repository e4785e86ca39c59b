/* SPDX-License-Identifier: MIT */
/*
 * The block library's side of the image tests (qcow2_images): opens images as lodge does, and says
 * whether what it reads is what is in a raw file. Exit status 0, 1 (not so) or 2 (usage).
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/block.h"
#include "block/export.h"
#include "block/file.h"
#include "tests/random.h"
#include "vmm/base/log.h"

#define THREADS    2
#define DEPTH      8
#define REQUESTS   300
#define PIECES     6
#define BYTES_MAX  (256u << 10)
#define PROBE_MAX  (16u << 20)
#define SYNTH_SIZE (1300ull << 20) /* three L2 tables */

struct raw {
	const uint8_t *bytes;
	uint64_t size;
};

static int fail(const char *what, const char *path, uint64_t offset)
{
	printf("%s: %s at 0x%llx\n", path, what, (unsigned long long)offset);
	return 1;
}

static struct block *image_open(const char *format, const char *path, bool backing)
{
	struct block_options options = {.path = path, .read_only = true, .allow_backing = backing};
	struct block *block = NULL;
	struct error err = {0};

	if (block_open(format, &options, &block, &err) == 0)
		return block;
	printf("%s: refused: %s; %s\n", path, err.what, err.remedy);
	return NULL;
}

/* From the front to the end, by what map says. */
static int compare_mapped(struct block *block, const char *path, const struct raw *raw)
{
	static uint8_t buffer[BYTES_MAX];
	uint64_t run, n;

	for (uint64_t at = 0; at < raw->size; at += run) {
		enum block_status status;

		if (block_map(block, at, raw->size - at, &status, &run))
			return fail("map fails", path, at);
		if (run == 0 || run > raw->size - at)
			return fail("map gives a bad run", path, at);
		if (status == BLOCK_ZERO && !file_is_zero(raw->bytes + at, run))
			return fail("map says zeroes", path, at);
		for (uint64_t in = 0; in < run; in += n) {
			n = run - in < sizeof(buffer) ? run - in : sizeof(buffer);
			memset(buffer, 0xa5, n);
			if (block_read(block, at + in, buffer, n))
				return fail("read fails", path, at + in);
			if (memcmp(buffer, raw->bytes + at + in, n) != 0)
				return fail("read differs", path, at + in);
		}
	}
	return 0;
}

struct job {
	struct block_request request;
	struct iovec iov[PIECES];
	struct reader *reader;
	uint8_t bytes[BYTES_MAX];
};

struct reader {
	pthread_t thread;
	struct block *block;
	const char *path;
	const struct raw *raw;
	uint64_t seed;
	unsigned left, failed;
	struct block_queue *queue;
	struct job job[DEPTH];
};

static uint64_t below(struct reader *r, uint64_t limit)
{
	return random_step(&r->seed) % limit;
}

static void job_next(struct job *job)
{
	struct reader *r = job->reader;
	struct block_request *b = &job->request;
	uint64_t sectors = r->raw->size / BLOCK_SECTOR, most = BYTES_MAX / BLOCK_SECTOR, start, n;
	size_t at = 0;

	start = below(r, sectors);
	if (most > sectors - start)
		most = sectors - start;
	n = 1 + below(r, below(r, 4) ? (most < 16 ? most : 16) : most);
	b->op = BLOCK_READ;
	b->offset = start * BLOCK_SECTOR;
	b->length = n * BLOCK_SECTOR;
	b->iov = job->iov;
	b->iov_count = 1 + (unsigned)below(r, PIECES);
	memset(job->bytes, 0xa5, b->length);
	for (unsigned i = 0; i < b->iov_count; i++) {
		size_t left = b->length - at;

		if (i + 1 < b->iov_count)
			left = below(r, left + 1);
		job->iov[i] = (struct iovec){.iov_base = job->bytes + at, .iov_len = left};
		at += left;
	}
	r->left--;
	block_submit(r->queue, b);
}

static void job_done(struct block_request *request, int result)
{
	struct job *job = (struct job *)request;
	struct reader *r = job->reader;

	if (result || memcmp(job->bytes, r->raw->bytes + request->offset, request->length) != 0)
		r->failed = (unsigned)fail(result ? "request fails" : "request differs", r->path,
					   request->offset);
	if (r->left)
		job_next(job);
}

static void *reader_run(void *arg)
{
	struct reader *r = arg;
	int wake = eventfd(0, EFD_CLOEXEC);

	r->failed = block_queue_create(r->block, DEPTH, &r->queue, NULL) != 0;
	for (unsigned i = 0; i < DEPTH && !r->failed; i++) {
		r->job[i].reader = r;
		r->job[i].request.done = job_done;
		job_next(&r->job[i]);
	}
	while (!r->failed && block_in_flight(r->queue))
		if (block_wait(r->queue, wake, true))
			r->failed = (unsigned)fail("wait fails", r->path, 0);
	while (r->queue && block_in_flight(r->queue)) {
		r->left = 0;
		block_wait(r->queue, wake, true);
	}
	block_queue_destroy(r->queue);
	close(wake);
	return NULL;
}

/* Anywhere, on queues of several threads, in pieces of any size. */
static int compare_random(struct block *block, const char *path, const struct raw *raw,
			  uint64_t seed)
{
	struct reader *r = calloc(THREADS, sizeof(*r));
	unsigned failed = 0;

	if (!r)
		return 1;
	for (unsigned i = 0; i < THREADS; i++) {
		r[i] = (struct reader){.block = block,
				       .path = path,
				       .raw = raw,
				       .seed = seed + i,
				       .left = REQUESTS};
		if (pthread_create(&r[i].thread, NULL, reader_run, &r[i]))
			abort();
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(r[i].thread, NULL);
		failed += r[i].failed;
	}
	free(r);
	return failed != 0;
}

/* Bytes that begin and end anywhere. */
static int compare_odd(struct block *block, const char *path, const struct raw *raw, uint64_t seed)
{
	uint8_t buffer[4096];

	for (unsigned i = 0; i < REQUESTS; i++) {
		uint64_t at = random_step(&seed) % raw->size;
		size_t n = random_step(&seed) % sizeof(buffer);

		if (n > raw->size - at)
			n = raw->size - at;
		if (block_read(block, at, buffer, n) || memcmp(buffer, raw->bytes + at, n) != 0)
			return fail("odd read", path, at);
	}
	return 0;
}

static int raw_map(const char *path, struct raw *raw)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return fail(strerror(errno), path, 0);
	raw->size = (uint64_t)st.st_size;
	raw->bytes = mmap(NULL, raw->size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	return raw->bytes == MAP_FAILED ? fail("mmap", path, 0) : 0;
}

/* compare FORMAT FILE RAW SEED [backing] */
static int compare(int argc, char **argv)
{
	bool backing = argc > 4 && strcmp(argv[4], "backing") == 0;
	uint64_t seed = strtoull(argv[3], NULL, 0);
	struct block *block = image_open(argv[0], argv[1], backing);
	struct raw raw;
	int ret;

	if (!block || raw_map(argv[2], &raw))
		return 1;
	if (block_info(block)->size != raw.size)
		return fail("size differs", argv[1], block_info(block)->size);
	ret = compare_mapped(block, argv[1], &raw);
	if (ret == 0)
		ret = compare_random(block, argv[1], &raw, seed);
	if (ret == 0)
		ret = compare_odd(block, argv[1], &raw, seed);
	munmap((void *)(uintptr_t)raw.bytes, raw.size);
	block_close(block);
	return ret;
}

/* All that map says is data, or as much as is reasonable. */
static int probe_read(struct block *block)
{
	static uint8_t buffer[BYTES_MAX];
	uint64_t size = block_info(block)->size, run, done = 0;
	int ret = 0;

	for (uint64_t at = 0; at < size && done < PROBE_MAX; at += run) {
		enum block_status status;
		int one = block_map(block, at, size - at, &status, &run);

		if (one || run > sizeof(buffer))
			run = sizeof(buffer);
		if (run > size - at)
			run = size - at;
		one = block_read(block, at, buffer, run);
		ret = one ? one : ret;
		done += run;
	}
	return ret;
}

/* probe FORMAT WORD FILE...: a line each: FILE: ok, refused, or a read's error. */
static int probe(int argc, char **argv)
{
	bool backing = strcmp(argv[1], "backing") == 0;

	for (int i = 2; i < argc; i++) {
		struct block *block = image_open(argv[0], argv[i], backing);
		int ret;

		if (!block)
			continue;
		ret = probe_read(block);
		printf("%s: %s\n", argv[i], ret ? error_name(ret) : "ok");
		block_close(block);
	}
	return 0;
}

static enum export_compression compression_of(const char *word)
{
	if (strcmp(word, "zlib") == 0)
		return EXPORT_DEFLATE;
	return strcmp(word, "zstd") == 0 ? EXPORT_ZSTD : EXPORT_PLAIN;
}

static int exported(int ret, const struct error *err)
{
	if (ret)
		printf("export: %s; %s\n", err->what, err->remedy);
	return ret != 0;
}

/* export FORMAT FILE OUT OUT-FORMAT COMPRESSION */
static int export(int argc, char **argv)
{
	struct block *block = image_open(argv[0], argv[1], true);
	struct export_options options = {.path = argv[2], .compression = compression_of(argv[4])};
	struct error err = {0};
	int ret;

	(void)argc;
	if (!block)
		return 1;
	ret = export_block(argv[3], &options, block, &err);
	block_close(block);
	return exported(ret, &err);
}

/* Runs whose borders are nobody's, of bytes that compress, do not, or are zero. */
struct synth {
	uint64_t seed, at;
	int raw;
	uint8_t bytes[BYTES_MAX];
};

static int synth_next(void *arg, struct export_run *run, struct error *err)
{
	struct synth *s = arg;
	uint64_t kind = random_step(&s->seed) % 8;

	run->length = 1 + random_step(&s->seed) % (kind == 7 ? 64ull << 20 : BYTES_MAX);
	if (run->length > SYNTH_SIZE - s->at)
		run->length = SYNTH_SIZE - s->at;
	if (kind != 7 && run->length > BYTES_MAX)
		run->length = BYTES_MAX;
	if (kind != 7) {
		run->data = s->bytes;
		for (uint64_t i = 0; i < run->length; i++)
			s->bytes[i] = kind == 6  ? 0
				      : kind < 3 ? (uint8_t)random_step(&s->seed)
						 : (uint8_t)((s->at + i) >> 7);
		if (pwrite(s->raw, s->bytes, run->length, (off_t)s->at) != (ssize_t)run->length)
			return error_set(err, -EIO, NULL, "raw file: write");
	}
	s->at += run->length;
	return 0;
}

/* synth SEED RAW OUT OUT-FORMAT COMPRESSION */
static int synth(int argc, char **argv)
{
	static struct synth s;
	struct export_source source = {.size = SYNTH_SIZE, .arg = &s, .next = synth_next};
	struct export_options options = {.path = argv[2], .compression = compression_of(argv[4])};
	struct error err = {0};
	int ret;

	(void)argc;
	s.seed = strtoull(argv[0], NULL, 0);
	s.raw = open(argv[1], O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (s.raw < 0 || ftruncate(s.raw, (off_t)SYNTH_SIZE) < 0)
		return fail(strerror(errno), argv[1], 0);
	ret = export_image(argv[3], &options, &source, &err);
	close(s.raw);
	return exported(ret, &err);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int arguments;
		int (*run)(int argc, char **argv);
	} commands[] = {
		{"compare", 4, compare},
		{"probe", 3, probe},
		{"export", 5, export},
		{"synth", 5, synth},
	};

	setvbuf(stdout, NULL, _IOLBF, 0); /* whole lines among those of the log */
	for (unsigned i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (argc > 1 && strcmp(argv[1], commands[i].name) == 0 &&
		    argc - 2 >= commands[i].arguments)
			return commands[i].run(argc - 2, argv + 2);
	fprintf(stderr, "usage: image compare|probe|export|synth ARGUMENT...\n");
	return 2;
}
