/* SPDX-License-Identifier: MIT */
/*
 * What the parts of `lodge compare` share: configurations, workloads, the report, and processes
 * that are measured. Guests are processes of this program's own file, one at a time.
 */
#ifndef VMM_CLI_COMPARE_H
#define VMM_CLI_COMPARE_H

#include <limits.h>
#include <sys/types.h>

#include "vmm/cli/cli.h"
#include "vmm/cli/compare_report.h"

/* Guests, snapshots, volumes and networks that are made begin so; one compare is under way at a
 * time. */
#define COMPARE_NAME "lodge-compare"
#define COMPARE_TWIN "lodge-compare-twin"

#define COMPARE_CONFIGS_MAX 16u
#define COMPARE_WORDS_MAX   64u
#define COMPARE_LINE_MAX    1024u

struct compare_config {
	char name[COMPARE_CONFIG_TEXT]; /* "bt", "kvm/pv-off/emulated" */
	const char *engine, *how;       /* for --engine and --bt; engine NULL: the host itself */
	bool paravirtual, emulated;
	bool first_io;    /* workloads without I/O are measured with the first one only */
	char reason[768]; /* why it cannot be had; "": it can */
};

struct compare_load {
	double all, own, at; /* seconds: of all CPUs, of ours, and when that was */
};

struct compare {
	const struct options *options;
	struct json_object *report;
	unsigned config_count, runs, round;
	struct compare_config config[COMPARE_CONFIGS_MAX];
	bool wanted[COMPARE_WORKLOADS_MAX];
	int lock, signals; /* descriptors; -1 */
	uint64_t began_ns;
	struct compare_load load;
	bool network;                           /* of the host's; else user */
	char network_why[768];                  /* why there is none */
	char own[PATH_MAX];                     /* this program */
	char program[PATH_MAX], nano[PATH_MAX]; /* of vmm/workload */
	char work[PATH_MAX];                    /* a directory: --output's, or a temporary one */
	char kernel[PATH_MAX], initrd[PATH_MAX], disk[PATH_MAX];
};

/* compare_plan.c */

/* What the options ask for; -EINVAL. Engines that cannot be had have their reasons then. */
int compare_plan(struct compare *c, struct error *err);
/* With the files that guests need; they are in c->work. */
int compare_files_make(struct compare *c, struct error *err);

/* compare_process.c */

struct compare_process {
	pid_t pid; /* 0: none */
	int in, out, errors;
	uint64_t started_ns,
		runs_ns; /* when exec was called; when a guest's vCPUs began, 0: not yet */
	char name[TEXT_NAME_MAX + 1]; /* a guest's; "" */
	unsigned commands;            /* typed at its shell */
	size_t used, errors_used;
	char line[COMPARE_LINE_MAX], errors_line[COMPARE_LINE_MAX];
	char words[COMPARE_LINE_MAX]; /* the last line of standard error */
};

/* Words of a command line, copied. */
struct compare_words {
	unsigned count;
	size_t used;
	const char *word[COMPARE_WORDS_MAX + 1];
	char text[8192];
};
void compare_words_add(struct compare_words *w, const char *word);
/* Quoted for sh; the caller frees it. */
char *compare_words_text(const struct compare_words *w);

/* Begin; `bound`: on one CPU. */
int compare_process_start(const struct compare_words *w, bool bound, struct compare_process *p,
			  struct error *err);
/* By SIGKILL, and forget it. */
void compare_process_end(struct compare_process *p);

/* A line of its output, without its end; true: that was the last one to be waited for. */
typedef bool compare_line(void *arg, const char *line, uint64_t at_ns);
/*
 * Until `see` says true, or the program's end where `to_end`. -ETIMEDOUT, -EINTR by a signal to us,
 * -EIO with the program's last words where it ended.
 */
int compare_process_read(const struct compare *c, struct compare_process *p, unsigned patience_s,
			 bool to_end, compare_line *see, void *arg, struct error *err);
/* Typed at a guest's shell, whose lines `see` gets; -EBADMSG where its status is not 0. */
int compare_shell(const struct compare *c, struct compare_process *p, unsigned patience_s,
		  const char *command, compare_line *see, void *arg, struct error *err);

/* Until it answers. */
int compare_shell_ready(const struct compare *c, struct compare_process *p, unsigned patience_s,
			struct error *err);
/* The console of a guest that runs in the background; compare_process_end kills it. */
int compare_console(const char *name, struct compare_process *p, struct error *err);

/* Seconds of CPU time that it used. */
double compare_process_cpu(const struct compare_process *p);
/* MiB that it has beside its guest's memory of `memory` bytes, with a part of what is shared. */
double compare_process_memory(pid_t pid, uint64_t memory);
/* A command of this program's, to its end; its output, or NULL. */
int compare_lodge(const struct compare *c, char *output, size_t size, struct error *err,
		  const char *word, ...) __attribute__((sentinel));

/* compare_guest.c */

/* "-k ... --engine ...", as all guests of a configuration have it. */
void compare_guest_words(const struct compare *c, const struct compare_config *config,
			 struct compare_words *w);
/* Runs all that is wanted of a configuration once. -EINTR. */
int compare_round(struct compare *c, const struct compare_config *config, struct error *err);
/* What is under way, on a terminal. */
void compare_progress(const struct compare *c, const struct compare_config *config,
		      const char *workload);
/* What is left of a compare goes. */
void compare_sweep(const struct compare *c);

/* compare_from.c: a snapshot, and a command in it. */
int compare_from(struct compare *c, struct error *err);

/* compare_host.c */
struct json_object *compare_host(void);
/* CPUs that others than this process and its children used since the last call; 0 at the first. */
double compare_host_others(struct compare_load *load);

#endif
