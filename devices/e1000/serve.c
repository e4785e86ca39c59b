/* SPDX-License-Identifier: MIT */
/*
 * The NIC's thread: sends and receives by turns, a step each under the lock, and sleeps until the
 * driver kicks, the network is ready, a rate allows the next frame or an interrupt may rise.
 */
#include <poll.h>
#include <unistd.h>

#include "devices/e1000/e1000_impl.h"
#include "vmm/base/checked.h"
#include "vmm/base/clock.h"

/* Steps of a turn: a guest, or a network, that is always busy must not keep the other from it. */
#define TURN 64u

struct wait {
	short events; /* of the network */
	bool busy;    /* do not sleep at all */
	/* ns that sending, receiving and an interrupt are to rest; 0: they are not */
	uint64_t send, receive, interrupt;
};

void e1000_kick(struct i82540em *n)
{
	uint64_t one = 1;

	if (write(n->kick_fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: it rings anyway */
}

static bool may_pass(struct throttle *throttle, uint64_t *rest)
{
	*rest = throttle_holds(throttle) ? throttle_wait(throttle, clock_monotonic_ns()) : 0;
	return *rest == 0;
}

static bool step(struct i82540em *n, bool (*act)(struct i82540em *n))
{
	bool done;

	pthread_mutex_lock(&n->lock);
	done = act(n);
	pthread_mutex_unlock(&n->lock);
	return done;
}

/* Are there more than fit into a turn? */
static bool turn(struct i82540em *n, struct throttle *throttle, bool (*act)(struct i82540em *n),
		 uint64_t *rest)
{
	for (unsigned i = 0; i < TURN; i++)
		if (!atomic_load(&n->master) || !may_pass(throttle, rest) || !step(n, act))
			return false;
	return true;
}

/* An interrupt that had to wait may rise now, or has so long to go. */
static uint64_t interrupt_rest(struct i82540em *n)
{
	uint64_t now;

	if (!n->interrupt_waits)
		return 0;
	e1000_interrupt_update(n);
	now = clock_monotonic_ns();
	if (!n->interrupt_waits)
		return 0;
	return n->quiet_until > now ? n->quiet_until - now : 1;
}

static void wait_plan(struct i82540em *n, struct wait *w)
{
	bool in, out;

	pthread_mutex_lock(&n->lock);
	in = e1000_receive_ready(n) && !n->receiving.held && !w->receive;
	out = n->sending.blocked && !w->send;
	if (atomic_load(&n->master) && !n->lost)
		w->events = (short)((in ? POLLIN : 0) | (out ? POLLOUT : 0));
	w->interrupt = interrupt_rest(n);
	pthread_mutex_unlock(&n->lock);
}

/* The soonest; NULL: none rests. */
static const struct timespec *rest_of(const struct wait *w, struct timespec *out)
{
	const uint64_t rests[] = {w->send, w->receive, w->interrupt};
	uint64_t rest = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(rests); i++)
		if (rests[i] && (rest == 0 || rests[i] < rest))
			rest = rests[i];
	*out = (struct timespec){.tv_sec = (time_t)(rest / CLOCK_NS_PER_S),
				 .tv_nsec = (long)(rest % CLOCK_NS_PER_S)};
	return rest ? out : NULL;
}

static void sleep_for(struct i82540em *n, const struct wait *w)
{
	struct pollfd fd[2] = {
		{.fd = n->kick_fd, .events = POLLIN},
		{.fd = w->events ? n->net->ops->fd(n->net, 0) : -1, .events = w->events},
	};
	struct timespec rest;
	uint64_t count;

	if (ppoll(fd, 2, rest_of(w, &rest), NULL) > 0 && fd[0].revents & POLLIN &&
	    read(n->kick_fd, &count, sizeof(count)) < 0)
		return; /* somebody was quicker */
}

void e1000_main(void *nic)
{
	struct i82540em *n = nic;

	pthread_setname_np(pthread_self(), "e1000");
	for (;;) {
		struct wait w = {0};

		if (worker_called(&n->worker)) {
			if (!worker_rest(&n->worker))
				return;
			continue;
		}
		w.busy = turn(n, &n->sending_rate, e1000_transmit, &w.send);
		w.busy = turn(n, &n->receiving_rate, e1000_receive, &w.receive) || w.busy;
		wait_plan(n, &w);
		if (!w.busy)
			sleep_for(n, &w);
	}
}
