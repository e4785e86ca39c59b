/* SPDX-License-Identifier: MIT */
/* Numbers and names as people write them. */
#ifndef VMM_BASE_TEXT_H
#define VMM_BASE_TEXT_H

#include <stdbool.h>
#include <stdint.h>

/* A decimal number from `low` to `high`. -EINVAL for anything else. */
int text_to_number(const char *text, uint64_t low, uint64_t high, uint64_t *out);

/* Bytes: a decimal number with an optional suffix K, M, G or T (powers of 1024). -EINVAL, -ERANGE.
 */
int text_to_size(const char *text, uint64_t *out);

#define TEXT_NAME_MAX 48
/* A guest's name: letters, digits, '-', '_' and '.', but not first; TEXT_NAME_MAX at most. */
bool text_is_name(const char *text);

#endif
