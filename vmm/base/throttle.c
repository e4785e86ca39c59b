/* SPDX-License-Identifier: MIT */
#include "vmm/base/throttle.h"

#include "vmm/base/clock.h"

/* Tokens are time: a bucket holds what so much of it brings. */
#define BUCKET_NS ((int64_t)(CLOCK_NS_PER_S / 10))

void throttle_init(struct throttle *t, const struct throttle_rates *rates)
{
	*t = (struct throttle){.rates = *rates, .bytes = BUCKET_NS, .pieces = BUCKET_NS};
	pthread_mutex_init(&t->lock, NULL);
}

void throttle_fini(struct throttle *t)
{
	pthread_mutex_destroy(&t->lock);
}

static int64_t filled(int64_t tokens, uint64_t passed_ns)
{
	/* A debt may be seconds long. */
	if (passed_ns >= (uint64_t)(BUCKET_NS - tokens))
		return BUCKET_NS;
	return tokens + (int64_t)passed_ns;
}

uint64_t throttle_wait(struct throttle *t, uint64_t now_ns)
{
	int64_t least;

	if (!throttle_holds(t))
		return 0;
	pthread_mutex_lock(&t->lock);
	if (t->at_ns == 0)
		t->at_ns = now_ns;
	if (now_ns > t->at_ns) {
		t->bytes = filled(t->bytes, now_ns - t->at_ns);
		t->pieces = filled(t->pieces, now_ns - t->at_ns);
		t->at_ns = now_ns;
	}
	least = t->bytes < t->pieces ? t->bytes : t->pieces;
	pthread_mutex_unlock(&t->lock);
	return least > 0 ? 0 : (uint64_t)-least + 1;
}

void throttle_spend(struct throttle *t, uint64_t bytes, uint64_t pieces)
{
	if (!throttle_holds(t))
		return;
	pthread_mutex_lock(&t->lock);
	if (t->rates.bytes)
		t->bytes -= (int64_t)(bytes * CLOCK_NS_PER_S / t->rates.bytes);
	if (t->rates.pieces)
		t->pieces -= (int64_t)(pieces * CLOCK_NS_PER_S / t->rates.pieces);
	pthread_mutex_unlock(&t->lock);
}
