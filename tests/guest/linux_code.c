/* SPDX-License-Identifier: MIT */
/*
 * A program for Linux guests, and for any Linux: code that comes and goes as that of a compiler at
 * run time does. linux_code churn ROUNDS [THREADS]: by mprotect, munmap, mremap, two mappings,
 * fork. linux_code dma DISK ROUNDS: read from a disk, whose contents are lost, into pages whose
 * code runs meanwhile. Prints "passed" or what went wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE  4096u
#define SLOT  16u
#define SLOTS (PAGE / SLOT)
#define BOTH  (PROT_READ | PROT_EXEC)

static unsigned rounds = 100, wrong;

static void check(const char *what, unsigned round, uint32_t value, uint32_t expected)
{
	if (value == expected)
		return;
	if (__atomic_add_fetch(&wrong, 1, __ATOMIC_RELAXED) <= 20)
		printf("%s, round %u: %#x, not %#x\n", what, round, value, expected);
}

static void require(bool good, const char *what)
{
	if (good)
		return;
	printf("%s: %s\n", what, strerror(errno));
	exit(2);
}

/* A function that returns a number: MOV to EAX, RET. */
static void put(uint8_t *at, uint32_t value)
{
	static const uint8_t ret = 0xc3;

	at[0] = 0xb8;
	memcpy(at + 1, &value, 4);
	memcpy(at + 5, &ret, 1);
}

static uint32_t call(const uint8_t *at)
{
	uint32_t (*fn)(void);

	memcpy(&fn, &at, sizeof(fn));
	return fn();
}

static uint8_t *map(void *at, size_t length, int protection, int flags, int fd)
{
	void *p = mmap(at, length, protection, flags, fd, 0);

	require(p != MAP_FAILED, "mmap");
	return p;
}

/* Churn. */

static void by_mprotect(uint32_t number, unsigned i)
{
	uint8_t *p = map(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	for (unsigned k = 0; k < 4; k++) {
		uint8_t *at = p + SLOT * (37 * (i + k) % (2 * SLOTS));

		require(mprotect(p, 2 * PAGE, PROT_READ | PROT_WRITE) == 0, "mprotect");
		put(at, number + k);
		require(mprotect(p, 2 * PAGE, BOTH) == 0, "mprotect");
		check("mprotect", i, call(at), number + k);
	}
	munmap(p, 2 * PAGE);
}

/* At one address, other code each time. */
static void by_munmap(uint8_t *at, uint32_t number, unsigned i)
{
	uint8_t *p = map(at, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1);

	put(p, number);
	put(p + PAGE - SLOT, number + 1);
	check("munmap", i, call(p), number);
	check("munmap, end", i, call(p + PAGE - SLOT), number + 1);
	munmap(p, PAGE);
}

static void by_mremap(uint8_t *at, uint32_t number, unsigned i)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, all = BOTH | PROT_WRITE;
	uint8_t *a = map(at, PAGE, all, flags, -1), *b = map(at + PAGE, PAGE, all, flags, -1);

	put(a, number);
	put(b, number + 1);
	check("mremap, before", i, call(a), number);
	check("mremap, before", i, call(b), number + 1);
	require(mremap(a, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, b) == b, "mremap");
	check("mremap", i, call(b), number);
	munmap(b, PAGE);
}

/* Written at one address, run at another. */
static void by_alias(uint32_t number, unsigned i)
{
	int fd = memfd_create("code", 0);
	uint8_t *w, *x;

	require(fd >= 0 && ftruncate(fd, PAGE) == 0, "memfd");
	w = map(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	x = map(NULL, PAGE, BOTH, MAP_SHARED, fd);
	for (unsigned k = 0; k < 8; k++) {
		put(w + SLOT * (k % 3), number + k);
		check("alias", i, call(x + SLOT * (k % 3)), number + k);
	}
	put(w, number);
	require(pwrite(fd, "\xb8\1\0\0\0\xc3", 6, SLOT) == 6, "pwrite");
	check("pwrite", i, call(x + SLOT), 1);
	check("alias, other", i, call(x), number);
	munmap(w, PAGE);
	munmap(x, PAGE);
	close(fd);
}

/* A child's code is its own from its first write on. */
static void by_fork(uint8_t *p, uint32_t number, unsigned i)
{
	pid_t child;
	int status;

	put(p, number);
	check("fork, before", i, call(p), number);
	child = fork();
	require(child >= 0, "fork");
	if (child == 0) {
		bool good = call(p) == number;

		put(p, ~number);
		_exit(good && call(p) == ~number ? 0 : 1);
	}
	check("fork, meanwhile", i, call(p), number);
	require(waitpid(child, &status, 0) == child, "waitpid");
	check("fork, child", i, (uint32_t)status, 0);
	check("fork", i, call(p), number);
}

static void *churn(void *arg)
{
	uint32_t number = (uint32_t)(uintptr_t)arg << 24;
	/* Where nobody else's mappings come while it is free. */
	uint8_t *at = (uint8_t *)0x100000000000 + ((uint64_t)number << 12);
	uint8_t *own = map(NULL, PAGE, BOTH | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	for (unsigned i = 0; i < rounds; i++) {
		by_mprotect(number + 16 * i, i);
		by_munmap(at, number + 16 * i, i);
		by_mremap(at, number + 16 * i, i);
		by_alias(number + 16 * i, i);
		if (i % 8 == 0)
			by_fork(own, number + 16 * i, i);
	}
	return NULL;
}

/* Code from a disk. */

static uint8_t *dma_page;
static volatile bool dma_over;

static void *dma_run(void *arg)
{
	while (!dma_over)
		for (unsigned slot = 0; slot < SLOTS; slot += 16)
			call(dma_page + SLOT * slot);
	return arg;
}

static void dma(const char *disk)
{
	int fd = open(disk, O_RDWR | O_DIRECT);
	uint8_t *image = map(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	pthread_t runner;

	require(fd >= 0, disk);
	for (uint32_t block = 0; block < 64; block++) {
		for (uint32_t slot = 0; slot < SLOTS; slot++)
			put(image + SLOT * slot, block << 16 | slot);
		require(pwrite(fd, image, PAGE, (off_t)PAGE * block) == PAGE, "pwrite");
	}
	dma_page = map(NULL, PAGE, BOTH | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	require(pread(fd, dma_page, PAGE, 0) == PAGE, "pread");
	require(pthread_create(&runner, NULL, dma_run, NULL) == 0, "pthread_create");
	for (uint32_t i = 1; i <= rounds; i++) {
		uint32_t block = i * 7 % 64;

		require(pread(fd, dma_page, PAGE, (off_t)PAGE * block) == PAGE, "pread");
		for (uint32_t slot = 0; slot < SLOTS; slot += 5)
			check("dma", i, call(dma_page + SLOT * slot), block << 16 | slot);
	}
	dma_over = true;
	pthread_join(runner, NULL);
}

int main(int argc, char **argv)
{
	unsigned threads = 2;
	pthread_t thread[16];

	if (argc >= 3 && strcmp(argv[1], "churn") == 0) {
		rounds = (unsigned)atoi(argv[2]);
		threads = argc > 3 ? (unsigned)atoi(argv[3]) % 16 : threads;
		for (unsigned i = 0; i < threads; i++)
			require(pthread_create(&thread[i], NULL, churn,
					       (void *)(uintptr_t)(i + 1)) == 0,
				"pthread_create");
		for (unsigned i = 0; i < threads; i++)
			pthread_join(thread[i], NULL);
	} else if (argc == 4 && strcmp(argv[1], "dma") == 0) {
		rounds = (unsigned)atoi(argv[3]);
		dma(argv[2]);
	} else {
		fprintf(stderr, "usage: linux_code churn ROUNDS [THREADS] | dma DISK ROUNDS\n");
		return 1;
	}
	printf(wrong ? "failed\n" : "passed\n");
	return wrong ? 1 : 0;
}
