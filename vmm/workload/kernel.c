/* SPDX-License-Identifier: MIT */
/* Operations of the kernel's: system calls, faults, signals, processes. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/workload/workload.h"

#define PAGE 4096ul

/* A system call that does next to nothing. */
#define GETPPIDS 50000u

static uint64_t getppid_unit(void)
{
	uint64_t failures = 0;

	for (unsigned i = 0; i < GETPPIDS; i++)
		failures += syscall(SYS_getppid) <= 0;
	return failures;
}

/* 4 KiB from a file of tmpfs (a memfd). */
#define READS 20000u

static int file = -1;

static void read_before(void)
{
	static char page[PAGE];

	for (unsigned i = 0; i < PAGE; i++)
		page[i] = (char)i;
	file = memfd_create("workload", 0);
	if (file < 0 || write(file, page, PAGE) != (ssize_t)PAGE)
		bench_fail("memfd");
}

static uint64_t read_unit(void)
{
	static char page[PAGE];
	uint64_t sum = 0;

	for (unsigned i = 0; i < READS; i++) {
		if (pread(file, page, PAGE, 0) != (ssize_t)PAGE)
			bench_fail("pread");
		sum += (unsigned char)page[i % PAGE];
	}
	return sum;
}

static void read_after(void)
{
	close(file);
}

/* A path is walked. */
#define ACCESSES 20000u

static uint64_t access_unit(void)
{
	uint64_t failures = 0;

	for (unsigned i = 0; i < ACCESSES; i++)
		failures += access("/dev/null", R_OK) != 0;
	return failures;
}

/* The first touch of anonymous pages. */
#define FAULTS 4096u

static char *region;

static void region_before(void)
{
	region = mmap(NULL, FAULTS * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		      0);
	if (region == MAP_FAILED)
		bench_fail("mmap");
	madvise(region, FAULTS * PAGE, MADV_NOHUGEPAGE); /* no matter if it knows none */
}

static uint64_t fault_unit(void)
{
	for (unsigned i = 0; i < FAULTS; i++)
		region[i * PAGE] = (char)i;
	return (unsigned char)region[(FAULTS - 1) * PAGE];
}

static void region_after(void)
{
	munmap(region, FAULTS * PAGE);
}

/* A page made read-only, read, made writable again and read. */
#define PROTECTS 10000u

static void protect_before(void)
{
	region_before();
	fault_unit();
}

static uint64_t protect_unit(void)
{
	volatile unsigned char *at = (unsigned char *)region;
	uint64_t sum = 0;

	for (unsigned i = 0; i < PROTECTS; i++) {
		if (mprotect(region, PAGE, PROT_READ))
			bench_fail("mprotect");
		sum += *at;
		if (mprotect(region, PAGE, PROT_READ | PROT_WRITE))
			bench_fail("mprotect");
		sum += at[1];
	}
	return sum;
}

/* 64 KiB that nobody touches. */
#define MAPS 10000u

static uint64_t map_unit(void)
{
	for (unsigned i = 0; i < MAPS; i++) {
		void *at = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (at == MAP_FAILED || munmap(at, 16 * PAGE))
			bench_fail("mmap");
	}
	return MAPS;
}

/* A signal to itself, caught. */
#define SIGNALS 10000u

static volatile sig_atomic_t caught;

static void catch (int number)
{
	(void)number;
	caught++;
}

static uint64_t signal_unit(void)
{
	pid_t self = getpid();

	signal(SIGUSR1, catch);
	caught = 0;
	for (unsigned i = 0; i < SIGNALS; i++)
		kill(self, SIGUSR1);
	return (uint64_t)caught;
}

/* A byte to another process and back. */
#define ROUNDTRIPS 2000u

static int there[2], back[2];
static pid_t echo;

static void echo_bytes(void)
{
	char byte;

	close(there[1]);
	while (read(there[0], &byte, 1) == 1)
		if (write(back[1], &byte, 1) != 1)
			break;
	_exit(0);
}

static void pipe_before(void)
{
	if (pipe(there) || pipe(back))
		bench_fail("pipe");
	echo = fork();
	if (echo < 0)
		bench_fail("fork");
	if (echo == 0)
		echo_bytes();
}

static uint64_t pipe_unit(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < ROUNDTRIPS; i++) {
		unsigned char byte = (unsigned char)i;

		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			bench_fail("pipe");
		sum += byte;
	}
	return sum;
}

static void pipe_after(void)
{
	for (unsigned i = 0; i < 2; i++) {
		close(there[i]);
		close(back[i]);
	}
	waitpid(echo, NULL, 0);
}

/* A process that ends at once, and one that first executes this program anew. */
#define FORKS 100u
#define EXECS 20u

static uint64_t processes(unsigned count, int anew)
{
	uint64_t failures = 0;

	for (unsigned i = 0; i < count; i++) {
		int status = 1;
		pid_t pid = fork();

		if (pid == 0) {
			if (anew)
				execl("/proc/self/exe", "workload", "true", NULL);
			_exit(anew);
		}
		failures += waitpid(pid, &status, 0) != pid || status != 0;
	}
	return failures;
}

static uint64_t fork_unit(void)
{
	return processes(FORKS, 0);
}

static uint64_t exec_unit(void)
{
	return processes(EXECS, 1);
}

const struct bench kernel_benches[] = {
	{"getppid", GETPPIDS, getppid_unit, NULL, NULL},
	{"read-4k", READS, read_unit, read_before, read_after},
	{"access", ACCESSES, access_unit, NULL, NULL},
	{"page-fault", FAULTS, fault_unit, region_before, region_after},
	{"mprotect-pair", PROTECTS, protect_unit, protect_before, region_after},
	{"mmap+munmap", MAPS, map_unit, NULL, NULL},
	{"signal", SIGNALS, signal_unit, NULL, NULL},
	{"pipe", ROUNDTRIPS, pipe_unit, pipe_before, pipe_after},
	{"fork+wait", FORKS, fork_unit, NULL, NULL},
	{"exec+wait", EXECS, exec_unit, NULL, NULL},
	{NULL, 0, NULL, NULL, NULL},
};
