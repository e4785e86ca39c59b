/* SPDX-License-Identifier: MIT */
/*
 * A thread that serves queues and can be called off: to rest, or to end. Who calls it rings
 * whatever it sleeps on besides.
 */
#ifndef DEVICES_VIRTIO_WORKER_H
#define DEVICES_VIRTIO_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum virtio_worker_wish { WORKER_RUN, WORKER_REST, WORKER_END };

struct virtio_worker {
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
int virtio_worker_start(struct virtio_worker *worker, void (*serve)(void *arg), void *arg);

/* Says what is wanted, and does not wait. Nothing happens where it was not started. */
void virtio_worker_call(struct virtio_worker *worker, enum virtio_worker_wish wish);
/* After a call to rest: returns when it does. */
void virtio_worker_await(struct virtio_worker *worker);
/* After a call to end. */
void virtio_worker_join(struct virtio_worker *worker);

/* On the thread itself: has it been called? It puts its work in order, and rests. */
static inline bool virtio_worker_called(const struct virtio_worker *worker)
{
	return atomic_load(&worker->wish) != WORKER_RUN;
}

/* Sleeps while it is to rest. False: return from serve. */
bool virtio_worker_rest(struct virtio_worker *worker);

#endif
