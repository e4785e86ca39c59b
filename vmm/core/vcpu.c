/* SPDX-License-Identifier: MIT */
/*
 * vCPU threads. One lock and two conditions serve all of them: they are taken only on the way into
 * and out of a pause, never between two exits.
 */
#include "vmm/core/vcpu.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct vcpu_thread {
	struct vcpu_set *set;
	struct engine_vcpu *vcpu;
	unsigned index;
	pthread_t thread;
	bool ended; /* needs a pause and a resume to run again */
};

struct vcpu_set {
	const struct engine_ops *ops;
	vcpu_ended_fn *ended;
	void *arg;
	pthread_mutex_t lock;   /* guards all below */
	pthread_cond_t parked;  /* a thread parked */
	pthread_cond_t changed; /* paused or quit changed */
	bool paused;
	bool quit;
	unsigned parked_count;
	unsigned count; /* threads that were started */
	struct vcpu_thread thread[ENGINE_VCPUS_MAX];
};

static void kick_handler(int signal)
{
	(void)signal;
}

/* Returns false when the thread must end. The lock is held. */
static bool thread_park(struct vcpu_thread *self)
{
	struct vcpu_set *set = self->set;

	set->parked_count++;
	pthread_cond_signal(&set->parked);
	while ((set->paused || self->ended) && !set->quit)
		pthread_cond_wait(&set->changed, &set->lock);
	set->parked_count--;
	return !set->quit;
}

static void *thread_main(void *arg)
{
	struct vcpu_thread *self = arg;
	struct vcpu_set *set = self->set;
	char name[16];

	snprintf(name, sizeof(name), "vcpu%u", self->index);
	pthread_setname_np(pthread_self(), name);
	pthread_mutex_lock(&set->lock);
	while (thread_park(self)) {
		struct error err = {0};
		enum vcpu_exit why;

		pthread_mutex_unlock(&set->lock);
		why = set->ops->vcpu_run(self->vcpu, &err);
		if (why != VCPU_EXIT_KICKED)
			set->ended(set->arg, self->index, why, &err);
		pthread_mutex_lock(&set->lock);
		self->ended = why != VCPU_EXIT_KICKED;
	}
	pthread_mutex_unlock(&set->lock);
	return NULL;
}

static int set_start_threads(struct vcpu_set *set, struct engine_vcpu *const *vcpus, unsigned count)
{
	sigset_t all, old;
	int ret = 0;

	/* Only the kick reaches a vCPU's thread; the rest is for the loop's signalfds. */
	sigfillset(&all);
	sigdelset(&all, VCPU_KICK_SIGNAL);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (unsigned i = 0; i < count && ret == 0; i++) {
		struct vcpu_thread *thread = &set->thread[i];

		*thread = (struct vcpu_thread){.set = set, .vcpu = vcpus[i], .index = i};
		ret = -pthread_create(&thread->thread, NULL, thread_main, thread);
		if (ret == 0)
			set->count++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ret;
}

int vcpu_set_create(const struct engine_ops *ops, struct engine_vcpu *const *vcpus, unsigned count,
		    vcpu_ended_fn *ended, void *arg, struct vcpu_set **out, struct error *err)
{
	struct sigaction action = {.sa_handler = kick_handler};
	struct vcpu_set *set = calloc(1, sizeof(*set));
	int ret;

	assert(count >= 1 && count <= ENGINE_VCPUS_MAX);
	if (!set)
		return error_set(err, -ENOMEM, NULL, "vCPU threads: out of memory");
	set->ops = ops;
	set->ended = ended;
	set->arg = arg;
	set->paused = true;
	pthread_mutex_init(&set->lock, NULL);
	pthread_cond_init(&set->parked, NULL);
	pthread_cond_init(&set->changed, NULL);
	sigaction(VCPU_KICK_SIGNAL, &action, NULL);
	ret = set_start_threads(set, vcpus, count);
	if (ret) {
		vcpu_set_destroy(set);
		return error_set(err, ret, "raise the limit on processes (ulimit -u)",
				 "start thread of a vCPU: %s", error_name(ret));
	}
	*out = set;
	return 0;
}

/* Every thread that runs the guest leaves it soon. The lock is held. */
static void set_kick(struct vcpu_set *set)
{
	for (unsigned i = 0; i < set->count; i++) {
		set->ops->vcpu_kick(set->thread[i].vcpu);
		pthread_kill(set->thread[i].thread, VCPU_KICK_SIGNAL);
	}
}

void vcpu_set_pause(struct vcpu_set *set)
{
	pthread_mutex_lock(&set->lock);
	if (!set->paused) {
		set->paused = true;
		set_kick(set);
	}
	while (set->parked_count < set->count)
		pthread_cond_wait(&set->parked, &set->lock);
	pthread_mutex_unlock(&set->lock);
}

void vcpu_set_resume(struct vcpu_set *set)
{
	pthread_mutex_lock(&set->lock);
	set->paused = false;
	for (unsigned i = 0; i < set->count; i++)
		set->thread[i].ended = false;
	pthread_cond_broadcast(&set->changed);
	pthread_mutex_unlock(&set->lock);
}

void vcpu_set_destroy(struct vcpu_set *set)
{
	if (!set)
		return;
	pthread_mutex_lock(&set->lock);
	set->quit = true;
	set_kick(set);
	pthread_cond_broadcast(&set->changed);
	pthread_mutex_unlock(&set->lock);
	for (unsigned i = 0; i < set->count; i++)
		pthread_join(set->thread[i].thread, NULL);
	pthread_cond_destroy(&set->parked);
	pthread_cond_destroy(&set->changed);
	pthread_mutex_destroy(&set->lock);
	free(set);
}
