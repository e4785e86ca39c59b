/* SPDX-License-Identifier: MIT */
/*
 * What a guest sees in CPUID. A model is a table of features; the leaves shown are what the engine
 * supports, cut down to the model, with topology and identity filled in. Source: AMD64 manual
 * vol. 3 appendix D and E, Intel SDM vol. 2 CPUID.
 */
#ifndef VMM_CORE_CPU_MODEL_H
#define VMM_CORE_CPU_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/error.h"

enum cpuid_register { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };

struct cpuid_leaf {
	uint32_t function;
	uint32_t index;  /* sub-leaf; 0 where not significant */
	bool indexed;    /* is the sub-leaf significant? */
	uint32_t reg[4]; /* by enum cpuid_register */
};

#define CPUID_LEAVES_MAX 128
struct cpuid_table {
	unsigned count;
	struct cpuid_leaf leaf[CPUID_LEAVES_MAX];
};

/* The leaf, or NULL. */
struct cpuid_leaf *cpuid_find(struct cpuid_table *table, uint32_t function, uint32_t index);

struct cpu_model {
	const char *name;    /* what --cpu takes */
	const char *summary; /* for help and `lodge doctor` */
	bool everything;     /* all that the engine supports, instead of the feature table */
};

/* By name; NULL where there is none. cpu_model_at() lists them, NULL past the end. */
const struct cpu_model *cpu_model_find(const char *name);
const struct cpu_model *cpu_model_at(unsigned index);

/*
 * Cut `table` (what the engine supports) down to `model`. -ENOTSUP where the model needs a feature
 * that is not in it; the error names the feature.
 */
int cpu_model_apply(const struct cpu_model *model, bool paravirtual, struct cpuid_table *table,
		    struct error *err);

/* Fill in what differs by vCPU: APIC ids and topology, for vCPU `index` of `vcpus`. */
void cpu_model_place(struct cpuid_table *table, unsigned index, unsigned vcpus);

#endif
