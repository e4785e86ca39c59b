/* SPDX-License-Identifier: MIT */
/*
 * A byte stream of a guest towards the host: it keeps recent output, and any number of clients
 * (a terminal, connections to a socket) may come and go. A client that comes late gets what is kept
 * first. Functions are for the loop's thread unless they say otherwise.
 */
#ifndef VMM_MACHINE_CONSOLE_H
#define VMM_MACHINE_CONSOLE_H

#include <stdbool.h>

#include "vmm/base/error.h"
#include "vmm/base/loop.h"
#include "vmm/core/chardev.h"

/* How much output is kept. */
#define CONSOLE_KEEP 262144u

struct console;
struct console_client;

/* Where input goes: takes what there is room for, see the devices' receive functions. */
typedef size_t console_sink_fn(void *arg, const uint8_t *bytes, size_t count);

struct console_client_config {
	int in_fd;     /* -1: none */
	int out_fd;    /* -1: none; may be in_fd */
	bool owned;    /* close the descriptors with the client */
	bool lossless; /* hold up the guest (a second at most each time) before output is lost */
	/* Optional: look at input; keep `count` bytes or fewer and return how many. */
	size_t (*filter)(void *arg, uint8_t *bytes, size_t count);
	/* Optional: in_fd ended. The client stays for its output unless `owned`. */
	void (*input_ended)(void *arg);
	/* Optional: out_fd takes no more, with -errno. The client is gone afterwards. */
	void (*output_failed)(void *arg, int code);
	void *arg;
};

int console_create(struct loop *loop, struct console **out);
void console_destroy(struct console *console);

/* What the device writes to. */
struct chardev console_chardev(struct console *console);
/* Where input goes. Until then it waits. */
void console_set_sink(struct console *console, console_sink_fn *sink, void *arg);
/* Optional: called with all output, on the device's thread. Set before the guest runs. */
void console_set_watch(struct console *console,
		       void (*watch)(void *arg, const uint8_t *bytes, size_t count), void *arg);

/* Optional: called on the loop when a device that was told to wait may write again. */
void console_set_drained(struct console *console, void (*drained)(void *arg), void *arg);

int console_attach(struct console *console, const struct console_client_config *config,
		   struct console_client **out);
/* Accept clients on a listening socket, which becomes the console's. */
int console_listen(struct console *console, int fd);

/*
 * At the end: from now on lossless clients are waited for as long as it takes, others a second at
 * most. Writes out what they have not got yet. Returns the -errno of a lossless client that could
 * not be given all of it, or 0.
 */
int console_finish(struct console *console);

/* Copy the last bytes of output, at most `size`. Any thread. */
size_t console_tail(struct console *console, char *out, size_t size);

#endif
