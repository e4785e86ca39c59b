/* SPDX-License-Identifier: MIT */
/*
 * Benchmarks of a CPU and its kernel, the same statically linked program on the host and in guests:
 *	btbench compute|kernel	a line each: "NAME NANOSECONDS CHECKSUM", the best of several units
 *	btbench smp		a compute process alone, then two on two CPUs: "one|two NANOSECONDS
 *0" btbench nano		system call and call/ret: "NAME CYCLES 0", in cycles of the TSC
 *	btbench true		nothing: what the kernel benchmarks execute
 * ends with "wall NANOSECONDS 0", its own idea of how long it ran, for who looks from outside.
 */
#include "tests/bench/btbench.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECONDS_WANTED 0.3
#define UNITS_MIN      5
#define SMP_ROUNDS     3
#define SMP_UNITS      2
#define NANO_LOOPS     100000

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

_Noreturn void bench_fail(const char *what)
{
	perror(what);
	exit(2);
}

/* The time of a unit, in nanoseconds. */
static double run_unit(const struct bench *bench, uint64_t *checksum)
{
	double begin, took;

	if (bench->before)
		bench->before();
	begin = now();
	*checksum = bench->unit();
	took = now() - begin;
	if (bench->after)
		bench->after();
	return took;
}

static int run(const struct bench *bench)
{
	double best = 0, sum = 0;
	uint64_t first = 0, checksum;

	for (unsigned i = 0; i < UNITS_MIN || sum < SECONDS_WANTED * 1e9; i++) {
		double took = run_unit(bench, &checksum);

		if (i == 0)
			first = checksum;
		if (checksum != first) {
			printf("%s differs from itself: %016llx, %016llx\n", bench->name,
			       (unsigned long long)first, (unsigned long long)checksum);
			return 1;
		}
		if (i == 0 || took < best)
			best = took;
		sum += took;
	}
	printf("%s %.3f %016llx\n", bench->name, best / (double)bench->operations,
	       (unsigned long long)first);
	return 0;
}

/* Those of a name, or all. */
static int run_all(const struct bench *bench, const char *name)
{
	int failed = 0;

	for (; bench->name; bench++)
		if (!name || strcmp(bench->name, name) == 0)
			failed |= run(bench);
	return failed;
}

/* A process that computes, bound to a CPU. */
static pid_t compute_on(int cpu)
{
	uint64_t checksum;
	cpu_set_t set;
	pid_t pid = fork();

	if (pid < 0)
		bench_fail("fork");
	if (pid)
		return pid;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		bench_fail("sched_setaffinity");
	for (const struct bench *bench = compute_benches; bench->name; bench++)
		for (unsigned i = 0; i < SMP_UNITS; i++)
			run_unit(bench, &checksum);
	_exit(0);
}

static double compute_on_first(int cpus)
{
	double begin = now();
	int status, failed = 0;

	for (int cpu = 0; cpu < cpus; cpu++)
		compute_on(cpu);
	for (int cpu = 0; cpu < cpus; cpu++)
		if (wait(&status) < 0 || status)
			failed = 1;
	if (failed)
		bench_fail("smp");
	return now() - begin;
}

static int run_smp(void)
{
	double best[2] = {0, 0};

	for (unsigned i = 0; i < SMP_ROUNDS; i++)
		for (unsigned two = 0; two < 2; two++) {
			double took = compute_on_first((int)two + 1);

			if (i == 0 || took < best[two])
				best[two] = took;
		}
	printf("one %.0f 0\ntwo %.0f 0\n", best[0], best[1]);
	return 0;
}

/* Cycles for NANO_LOOPS rounds of some instructions. */
#define CYCLES(text)                                                                               \
	__extension__({                                                                            \
		uint64_t loops_ = NANO_LOOPS, begin_ = __builtin_ia32_rdtsc();                     \
		__asm__ volatile("jmp 2f\n3: ret\n2: " text "\n\tdec %0\n\tjnz 2b"                 \
				 : "+r"(loops_)                                                    \
				 :                                                                 \
				 : "rax", "rcx", "r11", "memory", "cc");                           \
		__builtin_ia32_rdtsc() - begin_;                                                   \
	})

static int run_nano(void)
{
	uint64_t best[3] = {~0ull, ~0ull, ~0ull};

	for (unsigned i = 0; i < 20; i++) {
		uint64_t took[3] = {CYCLES(""), CYCLES("mov $-1, %%eax\n\tsyscall"),
				    CYCLES("call 3b")};

		for (unsigned k = 0; k < 3; k++)
			if (took[k] < best[k])
				best[k] = took[k];
	}
	printf("syscall %.1f 0\n", ((double)best[1] - (double)best[0]) / NANO_LOOPS);
	printf("callret %.1f 0\n", ((double)best[2] - (double)best[0]) / NANO_LOOPS);
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	double begin = now();
	int failed = 1;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (strcmp(what, "true") == 0)
		return 0;
	puts("btbench begins");
	if (strcmp(what, "compute") == 0)
		failed = run_all(compute_benches, argv[2]);
	else if (strcmp(what, "kernel") == 0)
		failed = run_all(kernel_benches, argv[2]);
	else if (strcmp(what, "smp") == 0)
		failed = run_smp();
	else if (strcmp(what, "nano") == 0)
		failed = run_nano();
	else
		fprintf(stderr, "usage: btbench compute|kernel [NAME] | smp | nano | true\n");
	printf("wall %.0f 0\n", now() - begin);
	return failed;
}
