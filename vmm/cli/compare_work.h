/* SPDX-License-Identifier: MIT */
/* Workloads of `lodge compare`: what is measured of a guest that runs, and of the host. */
#ifndef VMM_CLI_COMPARE_WORK_H
#define VMM_CLI_COMPARE_WORK_H

#include "vmm/cli/compare.h"

enum compare_guest_kind {
	COMPARE_SHELL, /* the default guest, at its shell, with a disk */
	COMPARE_NANO,  /* vmm/workload/nano.c */
	COMPARE_NET,   /* the default guest with a NIC */
};

/* Where a workload runs: a configuration and its guest, whose process is there. */
struct compare_place {
	struct compare *c;
	const struct compare_config *config;
	struct compare_process *process;
	uint64_t init_ns, shell_ns; /* since the process began */
};

struct compare_workload {
	const char *name, *summary;
	enum compare_guest_kind kind;
	bool io;   /* it matters which devices a guest has */
	bool mean; /* its figures are times of the same kind */
	/* Of a guest; and of the host, where `native_why` is NULL. */
	int (*guest)(struct compare_place *place, struct error *err);
	int (*native)(struct compare_place *place, struct error *err);
	const char *native_why;
};

/* NULL past the end. */
const struct compare_workload *compare_workload_at(unsigned index);

/* compare_work.c, compare_devices.c */
int compare_boot(struct compare_place *place, struct error *err);
int compare_cost(struct compare_place *place, struct error *err);
int compare_nano(struct compare_place *place, struct error *err);
int compare_nano_native(struct compare_place *place, struct error *err);
int compare_compute(struct compare_place *place, struct error *err);
int compare_kernel(struct compare_place *place, struct error *err);
int compare_disk(struct compare_place *place, struct error *err);
int compare_net(struct compare_place *place, struct error *err);
int compare_snapshot(struct compare_place *place, struct error *err);

/* A figure of the place's. */
void compare_add(struct compare_place *place, const char *workload, const char *name,
		 const char *unit, bool more, double value);

/* What the program of vmm/workload says: "NAME FIGURE CHECKSUM". */
struct compare_figure {
	char name[48], checksum[24];
	double value;
};
#define COMPARE_FIGURES_MAX 32u
struct compare_figures {
	unsigned count;
	struct compare_figure figure[COMPARE_FIGURES_MAX];
	double cpu_ns, wall_ns;       /* by its own clock */
	uint64_t begin_ns, end_ns;    /* by ours */
	char words[COMPARE_LINE_MAX]; /* its last line that was none of these */
};
/*
 * Run it with these words in the place's guest, or on the host where the place has none; `words`
 * are for a shell.
 */
int compare_program(struct compare_place *place, const char *words, struct compare_figures *out,
		    struct error *err);
/* Exits of the guest until now: of engine bt, its accesses to devices. */
int compare_exits(struct compare_place *place, double *out, struct error *err);

#endif
