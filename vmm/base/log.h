/* SPDX-License-Identifier: MIT */
/*
 * Log lines on standard error. The level is the process's one setting; everything else that
 * a guest can trigger is limited by a struct ratelimit that its owner holds. Thread-safe.
 *
 *   error  a feature is lost      warn  something is off
 *   info   once per VM event      debug  for the developer
 */
#ifndef VMM_BASE_LOG_H
#define VMM_BASE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* What is printed: `level` and everything graver. The default is LOG_WARN. */
void log_set_level(enum log_level level);

/* "error", "warn", "info" or "debug"; returns -EINVAL for another word. */
int log_level_from_name(const char *name, enum log_level *out);

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * The last lines are kept, for a guest whose standard error nobody sees: copy number `index` of
 * them, oldest first, without its newline. False past the end.
 */
#define LOG_KEPT     16u
#define LOG_LINE_MAX 1024u /* longer ones are cut */
bool log_kept(unsigned index, char out[LOG_LINE_MAX]);

/* At most RATELIMIT_BURST lines each second; all zeroes is a fresh limit. */
#define RATELIMIT_BURST 5
struct ratelimit {
	_Atomic uint64_t second;
	_Atomic unsigned count;
};

/* For lines that a guest can cause. Says how many were left out when it speaks again. */
void log_limited(struct ratelimit *limit, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

#endif
