/* SPDX-License-Identifier: MIT */
/* A test program's files. */
#include "tests/unit/scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "tests/unit/unit.h"

void scratch_make(struct scratch *s)
{
	snprintf(s->path, sizeof(s->path), "/tmp/lodge-test-XXXXXX");
	assert_non_null(mkdtemp(s->path));
}

void scratch_path(const struct scratch *s, const char *name, char out[SCRATCH_PATH_MAX])
{
	assert_true(snprintf(out, SCRATCH_PATH_MAX, "%s/%s", s->path, name) < SCRATCH_PATH_MAX);
}

void scratch_remove(struct scratch *s)
{
	DIR *directory = opendir(s->path);
	struct dirent *entry;

	while (directory && (entry = readdir(directory)))
		unlinkat(dirfd(directory), entry->d_name, 0);
	if (directory)
		closedir(directory);
	rmdir(s->path);
}

void scratch_write(const struct scratch *s, const char *name, const void *bytes, size_t size)
{
	char path[SCRATCH_PATH_MAX];
	int fd;

	scratch_path(s, name, path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), size);
	close(fd);
}
