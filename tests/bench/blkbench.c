/* SPDX-License-Identifier: MIT */
/*
 * Reads a disk in a guest, or overwrites it, and prints a line a pattern, "NAME
 * OPERATIONS-PER-SECOND"; write-NAME where it writes:
 *	blkbench DEVICE SECONDS [write]
 * With O_DIRECT and io_uring; the offsets come from a fixed generator, so that each VMM gets the
 *same.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
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

/* xorshift64: Marsaglia 2003. */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
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

static double run(struct job *job, double seconds)
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
				fprintf(stderr, "blkbench: %d\n", cqe->res);
				exit(2);
			}
			start_one(job, (unsigned)cqe->user_data);
			count++;
		}
		io_uring_cq_advance(&job->ring, count);
		done += count;
	}
	return (double)done / (now() - begin);
}

int main(int argc, char **argv)
{
	bool writes = argc == 4 && strcmp(argv[3], "write") == 0;
	double seconds = argc >= 3 ? atof(argv[2]) : 0;
	uint64_t size = 0;
	int fd = argc == 3 + writes ? open(argv[1], (writes ? O_RDWR : O_RDONLY) | O_DIRECT) : -1;

	if (fd < 0 || seconds <= 0 || ioctl(fd, BLKGETSIZE64, &size) < 0) {
		fprintf(stderr, "usage: blkbench DEVICE SECONDS [write]\n");
		return 1;
	}
	for (unsigned i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
		struct job job = {.pattern = &patterns[i],
				  .fd = fd,
				  .writes = writes,
				  .state = 88172645463325252ull};

		job.blocks = size / patterns[i].size;
		if (io_uring_queue_init(64, &job.ring, 0) < 0)
			return 2;
		for (unsigned b = 0; b < patterns[i].depth; b++)
			job.buffer[b] = aligned_alloc(4096, patterns[i].size);
		printf("%s%s %.0f\n", writes ? "write-" : "", patterns[i].name, run(&job, seconds));
		fflush(stdout);
		io_uring_queue_exit(&job.ring); /* waits for what is in flight */
	}
	return 0;
}
