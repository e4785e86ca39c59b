/* SPDX-License-Identifier: MIT */
/*
 * A thread that serves queues and can be called off: to rest, or to end. Who calls it rings
 * whatever it sleeps on besides.
 */
#ifndef DEVICES_WORKER_H
#define DEVICES_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum worker_wish { WORKER_RUN, WORKER_REST, WORKER_END };

struct worker {
	pthread_t thread;
	bool started; /* of the thread that starts and ends it */
	void (*serve)(void *arg);
	void *arg;
	_Atomic unsigned wish;
	pthread_mutex_t lock; /* guards changes of `wish`, and all below */
	pthread_cond_t changed;
	bool resting; /* it waits, or has ended */
};

/* Its first wish is to rest. 0 or -errno. */
int worker_start(struct worker *worker, void (*serve)(void *arg), void *arg);

/* Says what is wanted, and does not wait. Nothing happens where it was not started. */
void worker_call(struct worker *worker, enum worker_wish wish);
/* After a call to rest: returns when it does. */
void worker_await(struct worker *worker);
/* After a call to end. */
void worker_join(struct worker *worker);

/* On the thread itself: has it been called? It puts its work in order, and rests. */
static inline bool worker_called(const struct worker *worker)
{
	return atomic_load(&worker->wish) != WORKER_RUN;
}

/* Sleeps while it is to rest. False: return from serve. */
bool worker_rest(struct worker *worker);

#endif
