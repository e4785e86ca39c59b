/* SPDX-License-Identifier: MIT */
/*
 * Finds a Linux kernel's panic message in the stream of its console, for the reason to be told. The
 * stream is the guest's: what it says there is believed only to describe the guest's own end.
 */
#ifndef VMM_MACHINE_PANIC_WATCH_H
#define VMM_MACHINE_PANIC_WATCH_H

#include <stddef.h>
#include <stdint.h>

#define PANIC_LINE_MAX 200u

/* All zeroes to begin with. */
struct panic_watch {
	size_t length;
	char line[PANIC_LINE_MAX + 1]; /* the line so far, cut */
	char reason[PANIC_LINE_MAX + 1];
};

/* Feed output. Returns the reason, once, when a line with one is complete; else NULL. */
const char *panic_watch_feed(struct panic_watch *watch, const uint8_t *bytes, size_t count);

#endif
