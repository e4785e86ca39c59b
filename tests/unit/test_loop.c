/* SPDX-License-Identifier: MIT */
/* The event loop: removal from within callbacks, timers, signals, work from other threads. */
#include "tests/unit/unit.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/unit/loop_turn.h"
#include "vmm/base/clock.h"

#define SOURCES 8

struct fixture {
	struct loop *loop;
	int fd[SOURCES];
	struct loop_source *source[SOURCES];
	unsigned calls[SOURCES];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(loop_create(&f->loop), 0);
	for (unsigned i = 0; i < SOURCES; i++) {
		f->fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		assert_true(f->fd[i] >= 0);
	}
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < SOURCES; i++) {
		loop_remove(f->source[i]);
		close(f->fd[i]);
	}
	loop_destroy(f->loop);
	free(f);
	return 0;
}

static void ring(int fd)
{
	uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

struct watcher {
	struct fixture *f;
	unsigned index;
	bool remove_self, remove_all;
};

static void watcher_called(void *arg, uint32_t events)
{
	struct watcher *w = arg;
	struct fixture *f = w->f;
	uint64_t count;

	assert_true(events & EPOLLIN);
	assert_int_equal(read(f->fd[w->index], &count, sizeof(count)), sizeof(count));
	f->calls[w->index]++;
	for (unsigned i = 0; i < SOURCES; i++) {
		if (w->remove_all || (w->remove_self && i == w->index)) {
			loop_remove(f->source[i]);
			f->source[i] = NULL;
		}
	}
}

static void watch_all(struct fixture *f, struct watcher *w)
{
	for (unsigned i = 0; i < SOURCES; i++) {
		w[i].f = f;
		w[i].index = i;
		assert_int_equal(loop_add_fd(f->loop, f->fd[i], EPOLLIN, watcher_called, &w[i],
					     &f->source[i]),
				 0);
		ring(f->fd[i]);
	}
}

static unsigned total_calls(const struct fixture *f)
{
	unsigned total = 0;

	for (unsigned i = 0; i < SOURCES; i++)
		total += f->calls[i];
	return total;
}

static void each_source_is_called(void **state)
{
	struct watcher w[SOURCES] = {0};
	struct fixture *f = *state;

	watch_all(f, w);
	assert_int_equal(loop_turn(f->loop), 0);
	for (unsigned i = 0; i < SOURCES; i++)
		assert_int_equal(f->calls[i], 1);
	loop_turn(f->loop);
	assert_int_equal(total_calls(f), SOURCES);
}

static void removes_itself(void **state)
{
	struct watcher w[SOURCES] = {{.remove_self = true}};
	struct fixture *f = *state;

	watch_all(f, w);
	loop_turn(f->loop);
	for (unsigned i = 0; i < SOURCES; i++)
		ring(f->fd[i]);
	loop_turn(f->loop);
	assert_int_equal(f->calls[0], 1);
	assert_int_equal(f->calls[1], 2);
}

/* The first of a batch removes the others: they are not called any more. */
static void removes_the_others(void **state)
{
	struct watcher w[SOURCES] = {0};
	struct fixture *f = *state;

	for (unsigned i = 0; i < SOURCES; i++)
		w[i].remove_all = true;
	watch_all(f, w);
	loop_turn(f->loop);
	assert_int_equal(total_calls(f), 1);
	loop_remove(NULL);
}

static void events_change(void **state)
{
	struct watcher w[SOURCES] = {0};
	struct fixture *f = *state;

	watch_all(f, w);
	assert_int_equal(loop_set_events(f->source[3], 0), 0);
	loop_turn(f->loop);
	assert_int_equal(f->calls[3], 0);
	assert_int_equal(loop_set_events(f->source[3], EPOLLIN), 0);
	loop_turn(f->loop);
	assert_int_equal(f->calls[3], 1);
}

static void bad_descriptors(void **state)
{
	struct fixture *f = *state;
	struct loop_source *source;

	assert_int_equal(loop_add_fd(f->loop, -1, EPOLLIN, watcher_called, NULL, &source), -EBADF);
	assert_int_equal(
		loop_add_fd(f->loop, f->fd[0], EPOLLIN, watcher_called, NULL, &f->source[0]), 0);
	assert_int_equal(loop_add_fd(f->loop, f->fd[0], EPOLLIN, watcher_called, NULL, &source),
			 -EEXIST);
}

/* Timers. */

struct timing {
	struct fixture *f;
	unsigned fired, stop_at;
};

static void timer_fired(void *arg, uint32_t events)
{
	struct timing *t = arg;

	assert_int_equal(events, 0);
	t->fired++;
	if (t->fired == t->stop_at)
		loop_stop(t->f->loop);
	else
		loop_timer_arm(t->f->source[0], clock_monotonic_ns());
}

static void timer_fires_as_armed(void **state)
{
	struct fixture *f = *state;
	struct timing t = {.f = f, .stop_at = 3};

	assert_int_equal(loop_add_timer(f->loop, timer_fired, &t, &f->source[0]), 0);
	loop_turn(f->loop);
	assert_int_equal(t.fired, 0);    /* it is born disarmed */
	loop_timer_arm(f->source[0], 1); /* long past */
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(t.fired, 3);
	loop_turn(f->loop);
	assert_int_equal(t.fired, 3);
	loop_timer_arm(f->source[0], clock_monotonic_ns() + 3600 * CLOCK_NS_PER_S);
	loop_timer_arm(f->source[0], 0);
	loop_turn(f->loop);
	assert_int_equal(t.fired, 3);
}

/* Expired, but disarmed before the loop came round to it. */
static void timer_disarmed_in_time(void **state)
{
	struct fixture *f = *state;
	struct timing t = {.f = f, .stop_at = 1};

	assert_int_equal(loop_add_timer(f->loop, timer_fired, &t, &f->source[0]), 0);
	loop_timer_arm(f->source[0], 1);
	loop_timer_arm(f->source[0], 0);
	loop_turn(f->loop);
	assert_int_equal(t.fired, 0);
}

static void signal_came(void *arg, uint32_t events)
{
	unsigned *seen = arg;

	*seen = events;
}

static void signals(void **state)
{
	struct fixture *f = *state;
	unsigned seen = 0;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	assert_int_equal(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
	assert_int_equal(loop_add_signal(f->loop, SIGUSR2, signal_came, &seen, &f->source[0]), 0);
	assert_int_equal(kill(getpid(), SIGUSR2), 0);
	loop_turn(f->loop);
	assert_int_equal(seen, SIGUSR2);
}

/* Tasks. */

struct counting {
	struct loop_task task;
	struct loop *loop;
	unsigned runs, again;
};

static void count_run(void *arg)
{
	struct counting *c = arg;

	c->runs++;
	if (c->again) {
		c->again--;
		loop_post(c->loop, &c->task);
	}
}

static void task_runs_once_per_queueing(void **state)
{
	struct fixture *f = *state;
	struct counting c = {.task = {.run = count_run, .arg = &c}, .loop = f->loop};

	for (unsigned i = 0; i < 10; i++)
		loop_post(f->loop, &c.task);
	loop_turn(f->loop);
	assert_int_equal(c.runs, 1);
	/* It may post itself, and then runs in the next turn: other sources have theirs between. */
	c.again = 3;
	loop_post(f->loop, &c.task);
	for (unsigned i = 0; i < 3; i++)
		loop_turn(f->loop);
	assert_int_equal(c.runs, 4);
	loop_turn(f->loop);
	assert_int_equal(c.runs, 5);
}

static void cancel_other(void *arg)
{
	struct counting *other = arg;

	loop_cancel(other->loop, &other->task);
}

/* First, middle and last in the list, one that is not in it, and one out of another's run. */
static void cancelled(void **state)
{
	struct fixture *f = *state;
	struct counting c[4];
	struct loop_task canceller = {.run = cancel_other, .arg = &c[2]};

	for (unsigned out = 0; out < 5; out++) {
		for (unsigned i = 0; i < 4; i++)
			c[i] = (struct counting){.task = {.run = count_run, .arg = &c[i]},
						 .loop = f->loop};
		if (out == 4)
			loop_post(f->loop, &canceller);
		for (unsigned i = 0; i < 3; i++)
			loop_post(f->loop, &c[i].task);
		if (out < 4)
			loop_cancel(f->loop, &c[out].task);
		loop_post(f->loop, &c[3].task);
		loop_turn(f->loop);
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(c[i].runs, out == 4 ? i != 2 : i != out || i == 3);
	}
}

#define THREADS 4
#define POSTS   2000u

struct poster {
	struct loop *loop;
	struct loop_task task;
	_Atomic unsigned posted, seen;
	bool done;
	unsigned *running; /* posters that go on */
};

static void poster_seen(void *arg)
{
	struct poster *p = arg;

	atomic_store(&p->seen, atomic_load(&p->posted));
	if (!p->done && atomic_load(&p->seen) == POSTS) {
		p->done = true;
		if (--*p->running == 0)
			loop_stop(p->loop);
	}
}

static void *poster_main(void *arg)
{
	struct poster *p = arg;

	for (unsigned i = 0; i < POSTS; i++) {
		atomic_fetch_add(&p->posted, 1);
		loop_post(p->loop, &p->task);
	}
	return NULL;
}

/* The last post of each thread is never lost; a lost one would hang the test. */
static void posts_from_threads(void **state)
{
	struct fixture *f = *state;
	struct poster posters[THREADS];
	pthread_t threads[THREADS];
	unsigned running = THREADS;

	for (unsigned i = 0; i < THREADS; i++) {
		posters[i] = (struct poster){.loop = f->loop, .running = &running};
		posters[i].task = (struct loop_task){.run = poster_seen, .arg = &posters[i]};
		assert_int_equal(pthread_create(&threads[i], NULL, poster_main, &posters[i]), 0);
	}
	assert_int_equal(loop_run(f->loop), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(atomic_load(&posters[i].seen), POSTS);
	}
}

static void stopped_before_it_runs(void **state)
{
	struct fixture *f = *state;

	loop_stop(f->loop);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(loop_turn(f->loop), 0);
	loop_destroy(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(each_source_is_called),
		TEST(removes_itself),
		TEST(removes_the_others),
		TEST(events_change),
		TEST(bad_descriptors),
		TEST(timer_fires_as_armed),
		TEST(timer_disarmed_in_time),
		TEST(signals),
		TEST(task_runs_once_per_queueing),
		TEST(cancelled),
		TEST(posts_from_threads),
		TEST(stopped_before_it_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
