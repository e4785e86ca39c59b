/* SPDX-License-Identifier: MIT */
/*
 * The event loop of one thread: file descriptors, timers, signals and work posted by other
 * threads. Everything but loop_post() and loop_timer_arm() is for the loop's own thread. A callback
 * may remove any source, its own included.
 */
#ifndef VMM_BASE_LOOP_H
#define VMM_BASE_LOOP_H

#include <stdint.h>
#include <sys/epoll.h>

struct loop;
struct loop_source;

/* `events` is what epoll(7) reports; for timers and signals see below. */
typedef void loop_fn(void *arg, uint32_t events);

/* Work for the loop's thread. The poster owns the storage until it ran. All zeroes is idle. */
struct loop_task {
	void (*run)(void *arg);
	void *arg;
	struct loop_task *next;
	int queued;
};

int loop_create(struct loop **out);
void loop_destroy(struct loop *loop);

/* Returns 0 after loop_stop(), or -errno. */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/*
 * `events` as for epoll_ctl(2). The descriptor stays the caller's, who removes the source before it
 * closes the descriptor.
 */
int loop_add_fd(struct loop *loop, int fd, uint32_t events, loop_fn *fn, void *arg,
		struct loop_source **out);
int loop_set_events(struct loop_source *source, uint32_t events);

/* A disarmed timer; `fn` runs once for each time it was armed, `events` is 0. */
int loop_add_timer(struct loop *loop, loop_fn *fn, void *arg, struct loop_source **out);
/* Fire at `deadline_ns` (CLOCK_MONOTONIC); 0 disarms. Any thread. */
void loop_timer_arm(struct loop_source *timer, uint64_t deadline_ns);

/* `fn` gets the signal's number as `events`. The caller has blocked the signal in all threads. */
int loop_add_signal(struct loop *loop, int signal, loop_fn *fn, void *arg,
		    struct loop_source **out);

/* Forget a source. NULL is allowed. */
void loop_remove(struct loop_source *source);

/* Any thread. A task that is still queued is not queued twice. */
void loop_post(struct loop *loop, struct loop_task *task);
/* Take a task back that did not run yet, if it is queued. Nobody may post it any more. */
void loop_cancel(struct loop *loop, struct loop_task *task);

#endif
