/* SPDX-License-Identifier: MIT */
/* What the host is, for who reads a report elsewhere. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "vmm/base/clock.h"
#include "vmm/cli/compare.h"
#include "vmm/cli/table.h"
#include "vmm/machine/machine.h"

/* The value of "key : value" in such a file of the kernel's; "". */
static void fact_read(const char *path, const char *key, char *out, size_t size)
{
	FILE *file = fopen(path, "re");
	char line[8192];

	out[0] = 0;
	while (file && !out[0] && fgets(line, sizeof(line), file)) {
		char *colon = strchr(line, ':');

		if (strncmp(line, key, strlen(key)) == 0 && colon)
			snprintf(out, size, "%s", colon + 1 + strspn(colon + 1, " \t"));
	}
	out[strcspn(out, "\n")] = 0;
	if (file)
		fclose(file);
}

/* As `lodge doctor` says it. */
static void add_kvm(struct json_object *to)
{
	const struct engine_ops *kvm = machine_engine_at(0);
	struct error why = {0};
	char line[sizeof(why)];
	int ret = kvm->probe(true, &why);

	error_format(&why, ret, line, sizeof(line));
	json_add_text(to, "kvm", ret == 0 ? "/dev/kvm runs stock kernels" : line);
}

struct json_object *compare_host(void)
{
	struct json_object *host = json_object_new_object();
	struct utsname name;
	struct sysinfo info;
	char text[256], flags[8192];

	fact_read("/proc/cpuinfo", "model name", text, sizeof(text));
	json_add_text(host, "cpu", text);
	json_add_number(host, "cpus", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
	fact_read("/proc/cpuinfo", "flags", flags, sizeof(flags));
	json_object_object_add(host, "virtual",
			       json_object_new_boolean(strstr(flags, " hypervisor") != NULL));
	if (uname(&name) == 0) {
		snprintf(text, sizeof(text), "%s %s %s", name.sysname, name.release, name.machine);
		json_add_text(host, "kernel", text);
		json_add_text(host, "kernel_version", name.version);
	}
	if (sysinfo(&info) == 0)
		json_add_number(host, "memory_bytes", (uint64_t)info.totalram * info.mem_unit);
	add_kvm(host);
	return host;
}

/* Seconds of all CPUs that were not idle; without guests' own, which are in user's. */
static double busy(void)
{
	char line[512] = "", *at = line + 3;
	FILE *file = fopen("/proc/stat", "re");
	double sum = 0;

	if (file && fgets(line, sizeof(line), file) && strncmp(line, "cpu ", 4) == 0)
		/* User, nice, system, idle, waiting, interrupts, soft ones, stolen. */
		for (unsigned i = 0; i < 8; i++) {
			unsigned long long ticks = strtoull(at, &at, 10);

			if (i != 3 && i != 4)
				sum += (double)ticks / (double)sysconf(_SC_CLK_TCK);
		}
	if (file)
		fclose(file);
	return sum;
}

static double seconds(const struct timeval *t)
{
	return (double)t->tv_sec + (double)t->tv_usec / 1e6;
}

static double own(void)
{
	struct rusage self, children;

	getrusage(RUSAGE_SELF, &self);
	getrusage(RUSAGE_CHILDREN, &children);
	return seconds(&self.ru_utime) + seconds(&self.ru_stime) + seconds(&children.ru_utime) +
	       seconds(&children.ru_stime);
}

double compare_host_others(struct compare_load *load)
{
	struct compare_load now = {busy(), own(), (double)clock_monotonic_ns() / 1e9};
	double used = load->at > 0
			      ? (now.all - load->all - (now.own - load->own)) / (now.at - load->at)
			      : 0;

	*load = now;
	return used < 0 ? 0 : used;
}
