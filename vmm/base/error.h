/* SPDX-License-Identifier: MIT */
/*
 * A failure on its way to the user: what failed and why, and what to do about it.
 * Functions return 0 or -errno; whoever knows the object fills in the words, once,
 * and the command line prints them as one line.
 */
#ifndef VMM_BASE_ERROR_H
#define VMM_BASE_ERROR_H

struct error {
	char what[512];   /* the object and the cause; empty: nothing was said */
	char remedy[256]; /* what the user can do; empty: nothing helps */
};

/*
 * Record a failure and return `code` (a negative errno). `err` may be NULL. The first
 * record wins, because the place nearest to the cause knows most. `remedy` may be NULL.
 */
int error_set(struct error *err, int code, const char *remedy, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Put "prefix: " before what was said (or say it alone). Returns `code`. */
int error_prefix(struct error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The words for a negative errno. Thread-safe. */
const char *error_name(int code);

/* Print "lodge: what; remedy" as one line on standard error; control bytes are escaped. */
void error_print(const struct error *err, int code);

/* The same line without "lodge: ", for a record or a response. */
void error_format(const struct error *err, int code, char *out, unsigned long size);

#endif
