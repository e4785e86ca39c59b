/* SPDX-License-Identifier: MIT */
/*
 * The event loop. One epoll instance; a timer is a timerfd, a signal a signalfd, posted work a
 * list and an eventfd. A source that is removed while a batch of events is being handled may
 * still stand in that batch: it is marked dead and freed when the batch is done.
 */
#include "vmm/base/loop.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "vmm/base/clock.h"

#define LOOP_BATCH 32

enum source_kind { SOURCE_FD, SOURCE_TIMER, SOURCE_SIGNAL };

struct loop_source {
	struct loop *loop;
	enum source_kind kind;
	int fd;
	bool dead;
	loop_fn *fn;
	void *arg;
	struct loop_source *next_dead;
};

struct loop {
	int epoll_fd;
	int wake_fd;
	bool stopping;
	bool dispatching;
	struct loop_source *wake;
	struct loop_source *dead;
	pthread_mutex_t lock; /* guards all below */
	unsigned task_count;
	struct loop_task *tasks;
	struct loop_task **tasks_tail;
};

static void loop_wake(struct loop *loop)
{
	uint64_t one = 1;

	/* A full counter wakes the loop just as well. */
	if (write(loop->wake_fd, &one, sizeof(one)) < 0)
		assert(errno == EAGAIN);
}

/* The lock is held. */
static void task_unlink(struct loop *loop, struct loop_task **link)
{
	struct loop_task *task = *link;

	*link = task->next;
	if (loop->tasks_tail == &task->next)
		loop->tasks_tail = link;
	loop->task_count--;
	task->queued = 0;
}

/*
 * What was posted up to now. What comes meanwhile waits for the next turn: a vCPU that posts as
 * fast as its task runs must not keep the loop from its descriptors.
 */
static void loop_run_tasks(struct loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	for (unsigned left = loop->task_count; left && loop->tasks; left--) {
		struct loop_task *task = loop->tasks;

		task_unlink(loop, &loop->tasks);
		pthread_mutex_unlock(&loop->lock);
		task->run(task->arg);
		pthread_mutex_lock(&loop->lock);
	}
	if (loop->tasks)
		loop_wake(loop);
	pthread_mutex_unlock(&loop->lock);
}

static void loop_woken(void *arg, uint32_t events)
{
	struct loop *loop = arg;
	uint64_t count;

	(void)events;
	if (read(loop->wake_fd, &count, sizeof(count)) < 0)
		assert(errno == EAGAIN);
	loop_run_tasks(loop);
}

int loop_create(struct loop **out)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int ret;

	if (!loop)
		return -ENOMEM;
	pthread_mutex_init(&loop->lock, NULL);
	loop->tasks_tail = &loop->tasks;
	loop->wake_fd = -1;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0)
		goto fail_errno;
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->wake_fd < 0)
		goto fail_errno;
	ret = loop_add_fd(loop, loop->wake_fd, EPOLLIN, loop_woken, loop, &loop->wake);
	if (ret)
		goto fail;
	*out = loop;
	return 0;

fail_errno:
	ret = -errno;
fail:
	loop_destroy(loop);
	return ret;
}

static void loop_reap(struct loop *loop)
{
	while (loop->dead) {
		struct loop_source *source = loop->dead;

		loop->dead = source->next_dead;
		free(source);
	}
}

void loop_destroy(struct loop *loop)
{
	if (!loop)
		return;
	loop_remove(loop->wake);
	loop_reap(loop);
	if (loop->wake_fd >= 0)
		close(loop->wake_fd);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

static void source_dispatch(struct loop_source *source, uint32_t events)
{
	struct signalfd_siginfo info;
	uint64_t expirations;

	switch (source->kind) {
	case SOURCE_FD:
		break;
	case SOURCE_TIMER:
		/* Disarmed or re-armed after it fired: nothing to read, nothing to do. */
		if (read(source->fd, &expirations, sizeof(expirations)) < 0)
			return;
		events = 0;
		break;
	case SOURCE_SIGNAL:
		if (read(source->fd, &info, sizeof(info)) != sizeof(info))
			return;
		events = info.ssi_signo;
		break;
	}
	source->fn(source->arg, events);
}

int loop_run(struct loop *loop)
{
	struct epoll_event events[LOOP_BATCH];

	while (!loop->stopping) {
		int count = epoll_wait(loop->epoll_fd, events, LOOP_BATCH, -1);

		if (count < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		loop->dispatching = true;
		for (int i = 0; i < count; i++) {
			struct loop_source *source = events[i].data.ptr;

			if (!source->dead)
				source_dispatch(source, events[i].events);
		}
		loop->dispatching = false;
		loop_reap(loop);
	}
	loop->stopping = false;
	return 0;
}

void loop_stop(struct loop *loop)
{
	loop->stopping = true;
}

static int loop_add(struct loop *loop, enum source_kind kind, int fd, uint32_t events, loop_fn *fn,
		    void *arg, struct loop_source **out)
{
	struct loop_source *source = calloc(1, sizeof(*source));
	struct epoll_event event = {.events = events, .data.ptr = source};
	int ret;

	if (!source)
		return -ENOMEM;
	*source = (struct loop_source){.loop = loop, .kind = kind, .fd = fd, .fn = fn, .arg = arg};
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		ret = -errno;
		free(source);
		return ret;
	}
	*out = source;
	return 0;
}

int loop_add_fd(struct loop *loop, int fd, uint32_t events, loop_fn *fn, void *arg,
		struct loop_source **out)
{
	return loop_add(loop, SOURCE_FD, fd, events, fn, arg, out);
}

int loop_set_events(struct loop_source *source, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = source};

	if (epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event) < 0)
		return -errno;
	return 0;
}

/* Add a source around a descriptor of the loop's own. */
static int loop_add_owned(struct loop *loop, enum source_kind kind, int fd, loop_fn *fn, void *arg,
			  struct loop_source **out)
{
	int ret;

	if (fd < 0)
		return -errno;
	ret = loop_add(loop, kind, fd, EPOLLIN, fn, arg, out);
	if (ret)
		close(fd);
	return ret;
}

int loop_add_timer(struct loop *loop, loop_fn *fn, void *arg, struct loop_source **out)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	return loop_add_owned(loop, SOURCE_TIMER, fd, fn, arg, out);
}

void loop_timer_arm(struct loop_source *timer, uint64_t deadline_ns)
{
	struct itimerspec when = {
		.it_value.tv_sec = (time_t)(deadline_ns / CLOCK_NS_PER_S),
		.it_value.tv_nsec = (long)(deadline_ns % CLOCK_NS_PER_S),
	};
	int ret;

	assert(timer->kind == SOURCE_TIMER);
	ret = timerfd_settime(timer->fd, TFD_TIMER_ABSTIME, &when, NULL);
	assert(ret == 0);
}

int loop_add_signal(struct loop *loop, int signal, loop_fn *fn, void *arg, struct loop_source **out)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, signal);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return loop_add_owned(loop, SOURCE_SIGNAL, fd, fn, arg, out);
}

void loop_remove(struct loop_source *source)
{
	if (!source || source->dead)
		return;
	/* The owner of a plain descriptor may have closed it already; epoll forgot it then. */
	epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	if (source->kind != SOURCE_FD)
		close(source->fd);
	if (!source->loop->dispatching) {
		free(source);
		return;
	}
	source->dead = true;
	source->next_dead = source->loop->dead;
	source->loop->dead = source;
}

void loop_post(struct loop *loop, struct loop_task *task)
{
	bool first;

	pthread_mutex_lock(&loop->lock);
	/* A list that is not empty has its wake-up under way already. */
	first = !loop->tasks;
	if (!task->queued) {
		task->queued = 1;
		task->next = NULL;
		*loop->tasks_tail = task;
		loop->tasks_tail = &task->next;
		loop->task_count++;
	}
	pthread_mutex_unlock(&loop->lock);
	if (first)
		loop_wake(loop);
}

void loop_cancel(struct loop *loop, struct loop_task *task)
{
	pthread_mutex_lock(&loop->lock);
	for (struct loop_task **link = &loop->tasks; *link; link = &(*link)->next) {
		if (*link == task) {
			task_unlink(loop, link);
			break;
		}
	}
	pthread_mutex_unlock(&loop->lock);
}
