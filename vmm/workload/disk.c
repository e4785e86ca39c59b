/* SPDX-License-Identifier: MIT */
/*
 * Reads a disk, or overwrites it; a line a pattern, "NAME OPERATIONS-PER-SECOND OPERATIONS", with
 * "write-" before NAME where it writes:
 *	workload disk DEVICE SECONDS [write] [PATTERN]
 * DEVICE may be a file. With O_DIRECT and io_uring; the offsets come from a fixed generator, so
 *that each VMM gets the same.
 */
#include "vmm/workload/workload.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <linux/fs.h>

static const struct pattern {
	const char *name;
	unsigned depth;
	unsigned size;
	int random;
} patterns[] = {
	{"rand4k-depth1", 1, 4096, 1},
	{"rand4k-depth32", 32, 4096, 1},
	{"seq1m", 4, 1 << 20, 0},
};

struct job {
	const struct pattern *pattern;
	int fd;
	bool writes;
	uint64_t blocks; /* of the pattern's size on the disk */
	uint64_t next;
	uint64_t state;
	struct io_uring ring;
	uint8_t *buffer[32];
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void start_one(struct job *job, unsigned slot)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&job->ring);
	uint64_t block = job->pattern->random ? next_random(&job->state) % job->blocks
					      : job->next++ % job->blocks;

	io_uring_prep_rw(job->writes ? IORING_OP_WRITE : IORING_OP_READ, sqe, job->fd,
			 job->buffer[slot], job->pattern->size, block * job->pattern->size);
	io_uring_sqe_set_data64(sqe, slot);
}

/* Operations done, and those in a second. */
static uint64_t run(struct job *job, double seconds, double *rate)
{
	double begin = now();
	uint64_t done = 0;

	for (unsigned i = 0; i < job->pattern->depth; i++)
		start_one(job, i);
	while (now() - begin < seconds) {
		struct io_uring_cqe *cqe;
		unsigned head, count = 0;

		if (io_uring_submit_and_wait(&job->ring, 1) < 0)
			exit(2);
		io_uring_for_each_cqe(&job->ring, head, cqe)
		{
			if (cqe->res != (int)job->pattern->size) {
				fprintf(stderr, "disk: %s: %d\n", job->pattern->name, cqe->res);
				exit(2);
			}
			start_one(job, (unsigned)cqe->user_data);
			count++;
		}
		io_uring_cq_advance(&job->ring, count);
		done += count;
	}
	*rate = (double)done / (now() - begin);
	return done;
}

static int pattern_run(const struct pattern *pattern, int fd, uint64_t size, double seconds,
		       bool writes)
{
	struct job job = {.pattern = pattern, .fd = fd, .writes = writes, .state = RANDOM_SEED};
	uint64_t done;
	double rate;

	job.blocks = size / pattern->size;
	if (job.blocks == 0 || io_uring_queue_init(64, &job.ring, 0) < 0)
		return 2;
	for (unsigned b = 0; b < pattern->depth; b++) {
		job.buffer[b] = aligned_alloc(4096, pattern->size);
		if (!job.buffer[b])
			return 2;
		memset(job.buffer[b], (int)b + 1, pattern->size);
	}
	done = run(&job, seconds, &rate);
	printf("%s%s %.0f %llu\n", writes ? "write-" : "", pattern->name, rate,
	       (unsigned long long)done);
	io_uring_queue_exit(&job.ring); /* waits for what is in flight */
	for (unsigned b = 0; b < pattern->depth; b++)
		free(job.buffer[b]);
	return 0;
}

static uint64_t size_of(int fd)
{
	struct stat st;
	uint64_t size = 0;

	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return (uint64_t)st.st_size;
	return ioctl(fd, BLKGETSIZE64, &size) < 0 ? 0 : size;
}

int disk_main(int argc, char **argv)
{
	bool writes = argc > 3 && strcmp(argv[3], "write") == 0;
	const char *only = argc > 3 + writes ? argv[3 + writes] : NULL;
	double seconds = argc > 2 ? strtod(argv[2], NULL) : 0;
	int fd = argc > 2 ? open(argv[1], (writes ? O_RDWR : O_RDONLY) | O_DIRECT) : -1;
	uint64_t size = fd < 0 ? 0 : size_of(fd);
	int failed = 0;

	if (size == 0 || seconds <= 0) {
		fprintf(stderr, "disk: %s: %s\n", argc > 2 ? argv[1] : "which?",
			fd < 0 ? strerror(errno) : "nothing to do");
		return 1;
	}
	for (unsigned i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++)
		if (!only || strcmp(patterns[i].name, only) == 0)
			failed |= pattern_run(&patterns[i], fd, size, seconds, writes);
	close(fd);
	return failed;
}
