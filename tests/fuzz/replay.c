/* SPDX-License-Identifier: MIT */
/* Without libFuzzer: run a target once on each file of its corpus. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

static void file_run(int folder, const char *name)
{
	int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
	struct stat st;
	uint8_t *bytes;
	ssize_t size;

	FUZZ_CHECK(fd >= 0 && fstat(fd, &st) == 0);
	/* Exactly as large as the file, so that a sanitizer sees what lies behind it. */
	bytes = malloc(st.st_size ? (size_t)st.st_size : 1);
	FUZZ_CHECK(bytes);
	size = read(fd, bytes, (size_t)st.st_size);
	FUZZ_CHECK(size == st.st_size);
	printf("%s\n", name);
	fflush(stdout);
	LLVMFuzzerTestOneInput(bytes, (size_t)size);
	free(bytes);
	close(fd);
}

int main(int argc, char **argv)
{
	struct dirent **names = NULL;
	int folder, count;

	if (argc != 2) {
		fprintf(stderr, "usage: %s CORPUS\n", argv[0]);
		return 2;
	}
	folder = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	count = folder < 0 ? -1 : scandir(argv[1], &names, NULL, alphasort);
	if (count < 0) {
		perror(argv[1]);
		return 2;
	}
	for (int i = 0; i < count; i++) {
		if (names[i]->d_name[0] != '.')
			file_run(folder, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	close(folder);
	return 0;
}
