/* SPDX-License-Identifier: MIT */
/*
 * A rate that is not exceeded: so many bytes and pieces a second, as a token bucket of a tenth of a
 * second. A piece may pass while there is any token, and takes as many as it is large; so pieces
 * that are larger than the bucket pass, too, and what comes next waits the longer. Thread-safe.
 */
#ifndef VMM_BASE_THROTTLE_H
#define VMM_BASE_THROTTLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* What a second may bring, up to THROTTLE_MAX; 0: any number. */
#define THROTTLE_MAX (1ull << 40)
struct throttle_rates {
	uint64_t bytes, pieces;
};

struct throttle {
	struct throttle_rates rates;
	pthread_mutex_t lock;  /* guards what follows */
	uint64_t at_ns;        /* up to then tokens were given */
	int64_t bytes, pieces; /* tokens, in units of 1 ns at the rate; below 0: a debt */
};

/* Is there anything to hold? Where not, nobody need ask. */
static inline bool throttle_holds(const struct throttle *throttle)
{
	return throttle->rates.bytes || throttle->rates.pieces;
}

void throttle_init(struct throttle *throttle, const struct throttle_rates *rates);
void throttle_fini(struct throttle *throttle);
/* 0: a piece may pass now (CLOCK_MONOTONIC, ns). Else after that many ns it is worth to ask again.
 */
uint64_t throttle_wait(struct throttle *throttle, uint64_t now_ns);
/* It passed; or so many did, as one. */
void throttle_spend(struct throttle *throttle, uint64_t bytes, uint64_t pieces);

#endif
