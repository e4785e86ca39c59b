/* SPDX-License-Identifier: MIT */
/* The panic message: "Kernel panic - not syncing: reason" (Linux kernel/panic.c). */
#include "vmm/machine/panic_watch.h"

#include <stdio.h>
#include <string.h>

#define MARK     "Kernel panic - not syncing: "
#define END_MARK "---[ end Kernel panic" /* repeats the message */

static const char *line_complete(struct panic_watch *watch)
{
	const char *found;

	watch->line[watch->length] = '\0';
	watch->length = 0;
	found = strstr(watch->line, MARK);
	if (!found || watch->reason[0] || strstr(watch->line, END_MARK))
		return NULL;
	found += strlen(MARK);
	snprintf(watch->reason, sizeof(watch->reason), "%s", *found ? found : "no reason given");
	return watch->reason;
}

const char *panic_watch_feed(struct panic_watch *watch, const uint8_t *bytes, size_t count)
{
	const char *reason = NULL;

	for (size_t i = 0; i < count; i++) {
		if (bytes[i] == '\n') {
			const char *found = line_complete(watch);

			reason = found ? found : reason;
		} else if (bytes[i] != '\r' && bytes[i] && watch->length < PANIC_LINE_MAX) {
			watch->line[watch->length++] = (char)bytes[i];
		}
	}
	return reason;
}
