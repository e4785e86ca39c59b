/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/base/loop.h"

void fuzz_failed(const char *what, const char *file, int line)
{
	fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
	abort();
}

int fuzz_file(const void *bytes, size_t size, char path[FUZZ_PATH_MAX])
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	FUZZ_CHECK(fd >= 0);
	FUZZ_CHECK(size == 0 || write(fd, bytes, size) == (ssize_t)size);
	snprintf(path, FUZZ_PATH_MAX, "/proc/self/fd/%d", fd);
	return fd;
}

static void stop(void *arg)
{
	loop_stop(arg);
}

void fuzz_loop_turn(struct loop *loop)
{
	struct loop_task task = {.run = stop, .arg = loop};

	loop_post(loop, &task);
	FUZZ_CHECK(loop_run(loop) == 0);
}
