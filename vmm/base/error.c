/* SPDX-License-Identifier: MIT */
/* Failures as text. See error.h. */
#include "vmm/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *err, int code, const char *remedy, const char *format, ...)
{
	va_list args;

	if (!err || err->what[0])
		return code;
	va_start(args, format);
	vsnprintf(err->what, sizeof(err->what), format, args);
	va_end(args);
	snprintf(err->remedy, sizeof(err->remedy), "%s", remedy ? remedy : "");
	return code;
}

int error_prefix(struct error *err, int code, const char *format, ...)
{
	char old[sizeof(err->what)];
	va_list args;
	int n;

	if (!err)
		return code;
	snprintf(old, sizeof(old), "%s", err->what[0] ? err->what : error_name(code));
	va_start(args, format);
	n = vsnprintf(err->what, sizeof(err->what), format, args);
	va_end(args);
	if (n >= 0 && (size_t)n < sizeof(err->what))
		snprintf(err->what + n, sizeof(err->what) - (size_t)n, ": %s", old);
	return code;
}

const char *error_name(int code)
{
	const char *text = strerrordesc_np(code < 0 ? -code : code);

	return text ? text : "unknown error";
}

void error_format(const struct error *err, int code, char *out, unsigned long size)
{
	snprintf(out, size, "%s%s%s", err->what[0] ? err->what : error_name(code),
		 err->remedy[0] ? "; " : "", err->remedy);
	/* A name from the command line may hold anything: keep it to one line. */
	for (char *p = out; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
}

void error_print(const struct error *err, int code)
{
	char line[sizeof(err->what) + sizeof(err->remedy) + 4];

	error_format(err, code, line, sizeof(line));
	fprintf(stderr, "lodge: %s\n", line);
}
