/* SPDX-License-Identifier: MIT */
/* Let a loop do what is ready, and come back. */
#ifndef TESTS_UNIT_LOOP_TURN_H
#define TESTS_UNIT_LOOP_TURN_H

#include "vmm/base/loop.h"

static inline void loop_turn_stop(void *arg)
{
	loop_stop(arg);
}

/* All that is ready now is done, and the tasks that were posted; nothing is waited for. */
static inline int loop_turn(struct loop *loop)
{
	struct loop_task task = {.run = loop_turn_stop, .arg = loop};

	loop_post(loop, &task);
	return loop_run(loop);
}

#endif
