/* SPDX-License-Identifier: MIT */
/* What `workload` measures: tables of benchmarks, each of units of fixed work, and parts of their
 * own. */
#ifndef VMM_WORKLOAD_WORKLOAD_H
#define VMM_WORKLOAD_WORKLOAD_H

#include <stddef.h>
#include <stdint.h>

struct bench {
	const char *name;
	uint64_t operations;    /* in a unit, about 10 ms on the host */
	uint64_t (*unit)(void); /* a checksum of what it worked out, the same each time */
	void (*before)(void);   /* not timed; before and after may be NULL */
	void (*after)(void);
};

extern const struct bench compute_benches[], kernel_benches[]; /* until one without a name */

/* xorshift64: Marsaglia 2003. */
static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

#define RANDOM_SEED 88172645463325252ull

/* Ends the program: a system call that a benchmark stands on failed. */
_Noreturn void bench_fail(const char *what);

/* With their own words; the program's exit status. */
int disk_main(int argc, char **argv);
int net_main(int argc, char **argv);

#endif
