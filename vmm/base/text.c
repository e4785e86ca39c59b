/* SPDX-License-Identifier: MIT */
/* Numbers and names. */
#include "vmm/base/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/checked.h"

int text_to_number(const char *text, uint64_t low, uint64_t high, uint64_t *out)
{
	unsigned long long value;
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL; /* strtoull would take a sign and blanks */
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || *end || value < low || value > high)
		return -EINVAL;
	*out = value;
	return 0;
}

int text_to_size(const char *text, uint64_t *out)
{
	static const char suffixes[] = "KMGT";
	const char *suffix;
	uint64_t value;
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno)
		return -ERANGE;
	if (*end) {
		suffix = strchr(suffixes, toupper((unsigned char)*end));
		if (!suffix || end[1])
			return -EINVAL;
		if (!checked_mul(value, 1ull << 10 * (suffix - suffixes + 1), &value))
			return -ERANGE;
	}
	*out = value;
	return 0;
}

bool text_is_name(const char *text)
{
	size_t length = strlen(text);

	if (length == 0 || length > TEXT_NAME_MAX || !isalnum((unsigned char)text[0]))
		return false;
	for (size_t i = 0; i < length; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr("-_.", text[i]))
			return false;
	return true;
}
