/* SPDX-License-Identifier: MIT */
/* Threads that serve queues. */
#include "devices/worker.h"

#include <signal.h>

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	w->serve(w->arg);
	pthread_mutex_lock(&w->lock);
	w->resting = true;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

static void worker_fini(struct worker *w)
{
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->lock);
	w->started = false;
}

int worker_start(struct worker *w, void (*serve)(void *arg), void *arg)
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

void worker_call(struct worker *w, enum worker_wish wish)
{
	if (!w->started)
		return;
	pthread_mutex_lock(&w->lock);
	atomic_store(&w->wish, wish);
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

void worker_await(struct worker *w)
{
	if (!w->started)
		return;
	pthread_mutex_lock(&w->lock);
	while (!w->resting)
		pthread_cond_wait(&w->changed, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

void worker_join(struct worker *w)
{
	if (!w->started)
		return;
	pthread_join(w->thread, NULL);
	worker_fini(w);
}

bool worker_rest(struct worker *w)
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
