/* SPDX-License-Identifier: MIT */
/* What every unit test includes: cmocka, which wants its headers in this order. */
#ifndef TESTS_UNIT_UNIT_H
#define TESTS_UNIT_UNIT_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Behind the headers above: cmocka's own wants them. */
#include <cmocka.h>

#include "vmm/base/bytes.h"
#include "vmm/base/checked.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

/* What meson takes for "skipped"; the reason goes to standard output. */
#define EXIT_SKIP 77

#endif
