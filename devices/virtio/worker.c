/* SPDX-License-Identifier: MIT */
/* Threads that serve queues. */
#include "devices/virtio/worker.h"

#include <signal.h>

static void *worker_main(void *arg)
{
	struct virtio_worker *w = arg;

	w->serve(w->arg);
	pthread_mutex_lock(&w->lock);
	w->resting = true;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

static void worker_fini(struct virtio_worker *w)
{
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->lock);
	w->started = false;
}

int virtio_worker_start(struct virtio_worker *w, void (*serve)(void *arg), void *arg)
{
	sigset_t all, old;
	int ret;

	w->serve = serve;
	w->arg = arg;
	w->resting = false;
	atomic_store(&w->wish, WORKER_REST);
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->changed, NULL);
	w->started = true;
	/* Signals are for others. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = -pthread_create(&w->thread, NULL, worker_main, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (ret)
		worker_fini(w);
	return ret;
}

void virtio_worker_call(struct virtio_worker *w, enum virtio_worker_wish wish)
{
	if (!w->started)
		return;
	pthread_mutex_lock(&w->lock);
	atomic_store(&w->wish, wish);
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

void virtio_worker_await(struct virtio_worker *w)
{
	if (!w->started)
		return;
	pthread_mutex_lock(&w->lock);
	while (!w->resting)
		pthread_cond_wait(&w->changed, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

void virtio_worker_join(struct virtio_worker *w)
{
	if (!w->started)
		return;
	pthread_join(w->thread, NULL);
	worker_fini(w);
}

bool virtio_worker_rest(struct virtio_worker *w)
{
	bool run;

	pthread_mutex_lock(&w->lock);
	w->resting = true;
	pthread_cond_broadcast(&w->changed);
	while (atomic_load(&w->wish) == WORKER_REST)
		pthread_cond_wait(&w->changed, &w->lock);
	run = atomic_load(&w->wish) == WORKER_RUN;
	w->resting = false;
	pthread_mutex_unlock(&w->lock);
	return run;
}
