/* SPDX-License-Identifier: MIT */
/*
 * Shared objects come and go: dlopen_churn DIR ROUNDS loads DIR/0.so to DIR/7.so, which were made
 * of this file with -DNUMBER=N, by turns, calls what is in them, and unloads them.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef NUMBER
int number(int (*callback)(int), int n);
static int table[1000] = {NUMBER};
int number(int (*callback)(int), int n)
{
	return callback(n * NUMBER) + table[n % 1000];
}
#else
static int callback(int n)
{
	return n + 7;
}

int main(int argc, char **argv)
{
	for (int i = 0; argc == 3 && i < atoi(argv[2]); i++) {
		int which = i * 5 % 8, n = 1 + i % 999, (*number)(int (*)(int), int), got;
		char path[4096];
		void *object;

		snprintf(path, sizeof(path), "%s/%d.so", argv[1], which);
		object = dlopen(path, i % 3 ? RTLD_NOW : RTLD_LAZY);
		if (!object) {
			printf("%s\n", dlerror());
			return 1;
		}
		*(void **)&number = dlsym(object, "number");
		got = number(callback, n);
		if (got != n * which + 7) {
			printf("round %d: %d, not %d\n", i, got, n * which + 7);
			return 1;
		}
		dlclose(object);
	}
	printf("passed\n");
	return 0;
}
#endif
