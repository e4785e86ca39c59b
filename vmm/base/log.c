/* SPDX-License-Identifier: MIT */
/* Log lines. One write(2) a line, so that threads do not mix within a line. */
#include "vmm/base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/clock.h"

static const char *const level_names[] = {"error", "warn", "info", "debug"};
#define LEVELS (sizeof(level_names) / sizeof(level_names[0]))

/* The process has one standard error, hence one level. */
static _Atomic int log_level = LOG_WARN;

static struct {
	pthread_mutex_t lock;
	unsigned count; /* of lines ever; the last LOG_KEPT are there */
	char line[LOG_KEPT][LOG_LINE_MAX];
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER};

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&log_level, (int)level, memory_order_relaxed);
}

int log_level_from_name(const char *name, enum log_level *out)
{
	for (unsigned i = 0; i < LEVELS; i++) {
		if (strcmp(name, level_names[i]) == 0) {
			*out = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

static int log_enabled(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&log_level, memory_order_relaxed);
}

static void log_keep(const char *line)
{
	pthread_mutex_lock(&kept.lock);
	memcpy(kept.line[kept.count++ % LOG_KEPT], line, strlen(line) + 1);
	pthread_mutex_unlock(&kept.lock);
}

bool log_kept(unsigned index, char out[LOG_LINE_MAX])
{
	unsigned first;
	bool found;

	pthread_mutex_lock(&kept.lock);
	first = kept.count > LOG_KEPT ? kept.count - LOG_KEPT : 0;
	found = index < kept.count - first;
	if (found)
		memcpy(out, kept.line[(first + index) % LOG_KEPT], LOG_LINE_MAX);
	pthread_mutex_unlock(&kept.lock);
	return found;
}

__attribute__((format(printf, 2, 0))) static void log_write(enum log_level level,
							    const char *format, va_list args)
{
	char line[LOG_LINE_MAX];
	int n = snprintf(line, sizeof(line), "lodge: %s: ", level_names[level]);
	int m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, format, args);
	size_t length;

	if (m < 0)
		return;
	log_keep(line);
	length = strlen(line);
	line[length++] = '\n';
	if (write(STDERR_FILENO, line, length) < 0)
		return; /* there is nowhere else to say it */
}

void log_line(enum log_level level, const char *format, ...)
{
	va_list args;

	if (!log_enabled(level))
		return;
	va_start(args, format);
	log_write(level, format, args);
	va_end(args);
}

void log_limited(struct ratelimit *limit, enum log_level level, const char *format, ...)
{
	uint64_t second = clock_monotonic_ns() / CLOCK_NS_PER_S + 1;
	uint64_t last = atomic_load_explicit(&limit->second, memory_order_relaxed);
	unsigned count;
	va_list args;

	if (!log_enabled(level))
		return;
	/* Two threads may both start the new second: a few lines too many do no harm. */
	if (last != second) {
		atomic_store_explicit(&limit->second, second, memory_order_relaxed);
		count = atomic_exchange_explicit(&limit->count, 0, memory_order_relaxed);
		if (count > RATELIMIT_BURST)
			log_line(level, "%u similar lines left out", count - RATELIMIT_BURST);
	}
	count = atomic_fetch_add_explicit(&limit->count, 1, memory_order_relaxed);
	if (count >= RATELIMIT_BURST)
		return;
	va_start(args, format);
	log_write(level, format, args);
	va_end(args);
}
