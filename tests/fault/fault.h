/* SPDX-License-Identifier: MIT */
/*
 * Memory that runs out. The program is linked with malloc, calloc, realloc, strdup and free
 * replaced (-Wl,--wrap): calls of lodge's own code come here, those of shared libraries do not.
 */
#ifndef TESTS_FAULT_FAULT_H
#define TESTS_FAULT_FAULT_H

#include <stdbool.h>

/* Let `allowed` more allocations succeed, then one fail. Negative: none fails. */
void fault_arm(int allowed);
/* Stop; did one fail? */
bool fault_disarm(void);

/* Blocks allocated less blocks freed, so far. */
long fault_live_blocks(void);

#endif
