/* SPDX-License-Identifier: MIT */
/*
 * Console streams. Output goes into a ring at once, on the device's thread; a task on the loop
 * copies it to the clients, each of which has its own position. Input from all clients goes through
 * one small buffer to the device, and clients are not read while it is full.
 */
#include "vmm/machine/console.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/base/clock.h"

#define INPUT_SIZE  4096u
#define TURN_PIECES 16u
#define WRITE_SIZE  4096u /* a pipe that is writable takes this much without blocking */
#define PATIENCE_MS 1000
#define CLIENTS_MAX 16u

struct console_client {
	struct console *console;
	struct console_client_config config;
	struct loop_source *in, *out; /* NULL while there is nothing to wait for */
	uint64_t position;            /* of the next byte of output to write */
	bool input_done;
	bool announced; /* the end of input */
	bool late;      /* it had its time; it gets no more until it has caught up */
	_Atomic bool dead;
	int write_error; /* -errno that it died of, or 0 */
	struct console_client *next;
};

struct console {
	struct loop *loop;
	struct loop_source *listener;
	int listen_fd;
	console_sink_fn *sink;
	void *sink_arg;
	void (*watch)(void *arg, const uint8_t *bytes, size_t count);
	void *watch_arg;
	void (*drained)(void *arg);
	void *drained_arg;
	size_t input_count;
	uint8_t input[INPUT_SIZE];
	struct loop_task output_task, input_task;
	pthread_mutex_t lock; /* guards all below; never held while a device is called */
	struct console_client *clients;
	unsigned client_count;
	bool stalled;     /* the device waits for `drained` */
	bool finishing;   /* nothing will be lost for impatience any more */
	uint64_t written; /* bytes since the start; the ring holds the last CONSOLE_KEEP */
	uint8_t ring[CONSOLE_KEEP];
};

static uint64_t oldest(const struct console *c)
{
	return c->written > CONSOLE_KEEP ? c->written - CONSOLE_KEEP : 0;
}

static bool wait_writable(int fd, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	/* An error counts: the write tells it. A full pipe without a reader is no more than that.
	 */
	return poll(&p, 1, timeout_ms) == 1;
}

static void client_fail(struct console_client *client, int code)
{
	client->write_error = code;
	client->dead = true;
}

/*
 * Write what the client has not got, for `patience_ms` at most. The lock is held. False: more is
 * left. The descriptor may be shared with others, so it is not switched to non-blocking.
 */
static bool client_write(struct console_client *client, int patience_ms)
{
	struct console *c = client->console;
	uint64_t patience_ns = client->late ? 0 : (uint64_t)patience_ms * CLOCK_NS_PER_MS;
	uint64_t deadline = clock_monotonic_ns() + patience_ns;
	bool forever = c->finishing && client->config.lossless;

	if (client->position < oldest(c))
		client->position = oldest(c);
	while (!client->dead && client->position < c->written) {
		size_t at = client->position % CONSOLE_KEEP;
		size_t n = c->written - client->position;
		uint64_t now = patience_ns ? clock_monotonic_ns() : deadline;
		int wait_ms = now < deadline ? (int)((deadline - now) / CLOCK_NS_PER_MS) + 1 : 0;
		ssize_t done;

		if (n > CONSOLE_KEEP - at)
			n = CONSOLE_KEEP - at;
		if (n > WRITE_SIZE)
			n = WRITE_SIZE;
		if (!wait_writable(client->config.out_fd, forever ? -1 : wait_ms)) {
			client->late |= patience_ns != 0;
			return false;
		}
		done = write(client->config.out_fd, c->ring + at, n);
		if (done >= 0)
			client->position += (uint64_t)done;
		else if (errno != EINTR && errno != EAGAIN)
			client_fail(client, -errno);
		else if (!forever)
			return false;
	}
	client->late = false;
	return true;
}

static void client_free(struct console_client *client)
{
	loop_remove(client->in);
	loop_remove(client->out);
	if (client->config.owned && client->config.in_fd >= 0)
		close(client->config.in_fd);
	if (client->config.owned && client->config.out_fd >= 0 &&
	    client->config.out_fd != client->config.in_fd)
		close(client->config.out_fd);
	free(client);
}

/* Take out the clients that are gone. On the loop, the lock is held. */
static struct console_client *clients_reap(struct console *c)
{
	struct console_client **link = &c->clients, *reaped = NULL;

	while (*link) {
		struct console_client *client = *link;

		if (client->dead) {
			*link = client->next;
			c->client_count--;
			client->next = reaped;
			reaped = client;
		} else {
			link = &client->next;
		}
	}
	return reaped;
}

/* On the loop, without the lock. */
static void clients_free(struct console_client *client)
{
	while (client) {
		struct console_client *next = client->next;

		if (client->write_error && client->config.output_failed)
			client->config.output_failed(client->config.arg, client->write_error);
		client_free(client);
		client = next;
	}
}

static void client_event(void *arg, uint32_t events);

/*
 * Wait for `events`. For none the descriptor is taken out: a peer that hung up would be reported
 * again and again. Where epoll cannot watch, the descriptor is a file and always ready.
 */
static void source_set(struct console_client *client, struct loop_source **source, int fd,
		       uint32_t events)
{
	if (events && *source) {
		loop_set_events(*source, events);
	} else if (events) {
		int ret = loop_add_fd(client->console->loop, fd, events, client_event, client,
				      source);

		if (ret && ret != -EPERM)
			client->dead = true;
	} else {
		loop_remove(*source);
		*source = NULL;
	}
}

/* A socket has one source for both directions. On the loop, the lock is held. */
static void client_watch(struct console_client *client, bool want_out)
{
	const struct console_client_config *config = &client->config;
	bool want_in = !client->input_done && client->console->input_count < INPUT_SIZE;
	uint32_t in = want_in ? EPOLLIN : 0, out = want_out ? EPOLLOUT : 0;

	if (config->in_fd == config->out_fd) {
		source_set(client, &client->in, config->in_fd, in | out);
		return;
	}
	if (config->in_fd >= 0)
		source_set(client, &client->in, config->in_fd, in);
	if (config->out_fd >= 0)
		source_set(client, &client->out, config->out_fd, out);
}

/* How far the slowest client behind that must not lose anything. The lock is held. */
static uint64_t lossless_lag(const struct console *c)
{
	uint64_t lag = 0;

	for (const struct console_client *k = c->clients; k; k = k->next)
		if (k->config.lossless && !k->dead && c->written - k->position > lag)
			lag = c->written - k->position;
	return lag;
}

static void output_run(void *arg)
{
	struct console *c = arg;
	struct console_client *reaped;
	bool drained;

	pthread_mutex_lock(&c->lock);
	for (struct console_client *client = c->clients; client; client = client->next)
		client_watch(client, client->config.out_fd >= 0 && !client_write(client, 0));
	reaped = clients_reap(c);
	drained = c->stalled && lossless_lag(c) < CONSOLE_KEEP / 4;
	if (drained)
		c->stalled = false;
	pthread_mutex_unlock(&c->lock);
	clients_free(reaped);
	if (drained && c->drained)
		c->drained(c->drained_arg);
}

/* The device's side. */

static bool backend_full(void *arg)
{
	struct console *c = arg;
	bool full;

	pthread_mutex_lock(&c->lock);
	full = lossless_lag(c) > CONSOLE_KEEP / 2;
	c->stalled |= full;
	pthread_mutex_unlock(&c->lock);
	return full;
}

static void backend_write(void *arg, const uint8_t *bytes, size_t count)
{
	struct console *c = arg;

	if (c->watch)
		c->watch(c->watch_arg, bytes, count);
	pthread_mutex_lock(&c->lock);
	for (size_t done = 0; done < count;) {
		size_t at = c->written % CONSOLE_KEEP;
		size_t n = count - done < WRITE_SIZE ? count - done : WRITE_SIZE;

		if (n > CONSOLE_KEEP - at)
			n = CONSOLE_KEEP - at;
		for (struct console_client *k = c->clients; k; k = k->next)
			if (k->config.lossless && c->written + n - k->position > CONSOLE_KEEP)
				client_write(k, PATIENCE_MS);
		memcpy(c->ring + at, bytes + done, n);
		c->written += n;
		done += n;
	}
	pthread_mutex_unlock(&c->lock);
	loop_post(c->loop, &c->output_task);
}

static void backend_ready(void *arg)
{
	struct console *c = arg;

	loop_post(c->loop, &c->input_task);
}

static const struct chardev_ops backend_ops = {
	.write = backend_write,
	.full = backend_full,
	.ready = backend_ready,
};

struct chardev console_chardev(struct console *console)
{
	return (struct chardev){.ops = &backend_ops, .arg = console};
}

/* Input. On the loop. */

static void input_push(struct console *c)
{
	size_t taken;

	if (!c->sink || c->input_count == 0)
		return;
	taken = c->sink(c->sink_arg, c->input, c->input_count);
	memmove(c->input, c->input + taken, c->input_count - taken);
	c->input_count -= taken;
}

static bool is_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/*
 * Take what the client has, as far as there is room, for some pieces a turn: a client and a guest
 * that are both quick must not keep the loop from the others.
 */
static void client_read(struct console_client *client)
{
	struct console *c = client->console;
	unsigned pieces = 0;

	while (!client->input_done && c->input_count < INPUT_SIZE &&
	       is_readable(client->config.in_fd)) {
		uint8_t *at = c->input + c->input_count;
		ssize_t n;

		if (pieces++ == TURN_PIECES) {
			loop_post(c->loop, &c->input_task);
			return;
		}
		n = read(client->config.in_fd, at, INPUT_SIZE - c->input_count);

		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			return;
		if (n <= 0) {
			client->input_done = true;
			client->dead = client->config.owned;
			return;
		}
		if (client->config.filter)
			n = (ssize_t)client->config.filter(client->config.arg, at, (size_t)n);
		c->input_count += (size_t)n;
		input_push(c);
	}
}

/* The end comes behind the last byte that the device took. */
static void end_announce(struct console_client *client)
{
	if (!client->input_done || client->announced || client->console->input_count)
		return;
	client->announced = true;
	if (client->config.input_ended)
		client->config.input_ended(client->config.arg);
}

static void input_run(void *arg)
{
	struct console *c = arg;

	input_push(c);
	for (struct console_client *client = c->clients; client; client = client->next) {
		if (client->config.in_fd >= 0 && !client->dead)
			client_read(client);
		end_announce(client);
	}
	/* Watch again those that were not, and drop those that ended. */
	output_run(c);
}

static void client_event(void *arg, uint32_t events)
{
	struct console_client *client = arg;

	(void)events;
	input_run(client->console);
}

int console_attach(struct console *c, const struct console_client_config *config,
		   struct console_client **out)
{
	struct console_client *client = calloc(1, sizeof(*client));

	if (!client)
		return -ENOMEM;
	client->console = c;
	client->config = *config;
	client->input_done = client->announced = config->in_fd < 0;
	client->position = oldest(c);
	pthread_mutex_lock(&c->lock);
	client->next = c->clients;
	c->clients = client;
	c->client_count++;
	pthread_mutex_unlock(&c->lock);
	loop_post(c->loop, &c->input_task);
	if (out)
		*out = client;
	return 0;
}

static void accept_client(void *arg, uint32_t events)
{
	struct console *c = arg;
	int fd;

	(void)events;
	while ((fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
		struct console_client_config config = {.in_fd = fd, .out_fd = fd, .owned = true};

		if (c->client_count >= CLIENTS_MAX || console_attach(c, &config, NULL))
			close(fd);
	}
}

int console_listen(struct console *c, int fd)
{
	c->listen_fd = fd;
	/* By edge: where descriptors have run out, the one that waits is not reported for ever. */
	return loop_add_fd(c->loop, fd, EPOLLIN | EPOLLET, accept_client, c, &c->listener);
}

void console_set_sink(struct console *c, console_sink_fn *sink, void *arg)
{
	c->sink = sink;
	c->sink_arg = arg;
	loop_post(c->loop, &c->input_task);
}

void console_set_watch(struct console *c,
		       void (*watch)(void *arg, const uint8_t *bytes, size_t count), void *arg)
{
	c->watch = watch;
	c->watch_arg = arg;
}

void console_set_drained(struct console *c, void (*drained)(void *arg), void *arg)
{
	c->drained = drained;
	c->drained_arg = arg;
}

int console_finish(struct console *c)
{
	int ret = 0;

	pthread_mutex_lock(&c->lock);
	c->finishing = true;
	for (struct console_client *client = c->clients; client; client = client->next) {
		if (client->config.out_fd >= 0)
			client_write(client, PATIENCE_MS);
		if (client->config.lossless && client->write_error)
			ret = client->write_error;
	}
	pthread_mutex_unlock(&c->lock);
	return ret;
}

size_t console_tail(struct console *c, char *out, size_t size)
{
	size_t count;

	pthread_mutex_lock(&c->lock);
	count = c->written - oldest(c) < size ? c->written - oldest(c) : size;
	for (size_t i = 0; i < count; i++)
		out[i] = (char)c->ring[(c->written - count + i) % CONSOLE_KEEP];
	pthread_mutex_unlock(&c->lock);
	return count;
}

int console_create(struct loop *loop, struct console **out)
{
	struct console *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->loop = loop;
	c->listen_fd = -1;
	c->output_task = (struct loop_task){.run = output_run, .arg = c};
	c->input_task = (struct loop_task){.run = input_run, .arg = c};
	pthread_mutex_init(&c->lock, NULL);
	*out = c;
	return 0;
}

void console_destroy(struct console *c)
{
	if (!c)
		return;
	loop_remove(c->listener);
	loop_cancel(c->loop, &c->output_task);
	loop_cancel(c->loop, &c->input_task);
	if (c->listen_fd >= 0)
		close(c->listen_fd);
	while (c->clients) {
		struct console_client *client = c->clients;

		c->clients = client->next;
		client_free(client);
	}
	pthread_mutex_destroy(&c->lock);
	free(c);
}
