/* SPDX-License-Identifier: MIT */
/*
 * Workloads for a CPU, its kernel and its devices: the same statically linked program on the host
 * and in guests. A figure is a line, "NAME FIGURE CHECKSUM":
 *	workload compute|kernel [-t MS] [-u UNITS] [NAME]	nanoseconds an operation: the best
 *of UNITS units (5), or more until MS milliseconds (300) are over workload smp		nanoseconds
 *of a compute process alone, then of two on two CPUs
 *	workload nano		cycles of the TSC: what of nano.c needs no privileges
 *	workload disk ..., net ...: see disk.c and net.c
 *	workload true		nothing: what the kernel benchmarks execute
 * ends with "cpu NANOSECONDS 0" and "wall NANOSECONDS 0", its own idea of what it used and of how
 * long it ran, for who looks from outside.
 */
#include "vmm/workload/workload.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SMP_ROUNDS 3
#define SMP_UNITS  2
#define NANO_LOOPS 20000
#define NANO_TRIES 10u

static double milliseconds = 300;
static unsigned units_min = 5;

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

	for (unsigned i = 0; i < units_min || sum < milliseconds * 1e6; i++) {
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
				 : "rax", "rbx", "rcx", "rdx", "r11", "memory", "cc");             \
		__builtin_ia32_rdtsc() - begin_;                                                   \
	})

static void run_nano(void)
{
	static const char *const names[] = {"", "syscall", "callret", "cpuid", "rdtsc"};
	enum { KINDS = sizeof(names) / sizeof(names[0]) };
	uint64_t best[KINDS];

	memset(best, 0xff, sizeof(best));
	for (unsigned i = 0; i < NANO_TRIES; i++) {
		uint64_t took[KINDS] = {CYCLES(""), CYCLES("mov $-1, %%eax\n\tsyscall"),
					CYCLES("call 3b"), CYCLES("xor %%eax, %%eax\n\tcpuid"),
					CYCLES("rdtsc")};

		for (unsigned k = 0; k < KINDS; k++)
			if (took[k] < best[k])
				best[k] = took[k];
	}
	for (unsigned k = 1; k < KINDS; k++)
		printf("%s %.1f 0\n", names[k], ((double)best[k] - (double)best[0]) / NANO_LOOPS);
}

/* Of this process and of those that it waited for. */
static double cpu_used(void)
{
	static const int whose[] = {RUSAGE_SELF, RUSAGE_CHILDREN};
	double sum = 0;

	for (unsigned i = 0; i < 2; i++) {
		struct rusage use;

		getrusage(whose[i], &use);
		sum += (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e9 +
		       (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1e3;
	}
	return sum;
}

static int usage(void)
{
	fprintf(stderr, "usage: workload compute|kernel [-t MS] [-u UNITS] [NAME] | smp | nano | "
			"disk DEVICE SECONDS [write] [PATTERN] | net ... | true\n");
	return 1;
}

static int suite(const struct bench *benches, int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "t:u:")) != -1) {
		if (option == 't')
			milliseconds = strtod(optarg, NULL);
		else if (option == 'u')
			units_min = (unsigned)strtoul(optarg, NULL, 10);
		else
			return usage();
	}
	return run_all(benches, argv[optind]);
}

/* `argv` begins with what to do. */
static int dispatch(int argc, char **argv)
{
	if (strcmp(argv[0], "compute") == 0)
		return suite(compute_benches, argc, argv);
	if (strcmp(argv[0], "kernel") == 0)
		return suite(kernel_benches, argc, argv);
	if (strcmp(argv[0], "disk") == 0)
		return disk_main(argc, argv);
	if (strcmp(argv[0], "net") == 0)
		return net_main(argc, argv);
	if (strcmp(argv[0], "smp") == 0)
		return run_smp();
	if (strcmp(argv[0], "nano") != 0)
		return usage();
	run_nano();
	return 0;
}

int main(int argc, char **argv)
{
	double begin = now();
	int failed;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 2)
		return usage();
	if (strcmp(argv[1], "true") == 0)
		return 0;
	puts("workload begins");
	failed = dispatch(argc - 1, argv + 1);
	printf("cpu %.0f 0\nwall %.0f 0\n", cpu_used(), now() - begin);
	return failed;
}
