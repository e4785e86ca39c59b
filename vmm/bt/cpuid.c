/* SPDX-License-Identifier: MIT */
/*
 * What engine bt can show a guest: the host's CPUID, without what the interpreter does not do, and
 * KVM's leaves for the paravirtual clock.
 */
#include <cpuid.h>
#include <string.h>

#include "vmm/base/checked.h"
#include "vmm/bt/vcpu.h"

#define LEAF_HYPERVISOR 0x40000000u
#define LEAF_FEATURES   0x40000001u

#define PV_CLOCKSOURCE  (1u << 0)
#define PV_NOP_IO_DELAY (1u << 1)
#define PV_CLOCKSOURCE2 (1u << 3)
#define PV_CLOCK_STABLE (1u << 24)

/* Features that the interpreter has; others are cleared. */
static const struct {
	uint32_t function, index;
	enum cpuid_register reg;
	uint32_t mask; /* of the host's */
	uint32_t own;  /* there whatever the host says */
} words[] = {
	/* FPU DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE
	   SSE2 */
	{1, 0, CPUID_EDX, 0x178bfbfd & ~(1u << 28), 1u << 9},
	/* SSE3 PCLMUL SSSE3 FMA CX16 PCID SSE4 x2APIC MOVBE POPCNT deadline AES XSAVE AVX F16C
	   RDRAND */
	{1, 0, CPUID_ECX, 0x77fa3203 & ~(1u << 3), 1u << 31 | 1u << 24 | 1u << 21 | 1u << 17},
	{6, 0, CPUID_EAX, 0, 1u << 2}, /* ARAT: our timer never stops */
	{6, 0, CPUID_ECX, 0, 0},
	/* FSGSBASE TSC_ADJUST BMI1 AVX2 SMEP BMI2 ERMS INVPCID AVX512 RDSEED ADX SMAP CLFLUSHOPT
	 * CLWB SHA */
	{7, 0, CPUID_EBX, 0xf1bf07a9 & ~(1u << 22) & ~(1u << 14) & ~(1u << 26) & ~(1u << 27),
	 1u << 0 | 1u << 1 | 1u << 7 | 1u << 9 | 1u << 10 | 1u << 20},
	/* VBMI UMIP VBMI2 GFNI VAES VPCLMUL VNNI BITALG VPOPCNT RDPID */
	{7, 0, CPUID_ECX, 0x00405f46 & ~(1u << 13), 1u << 2},
	{7, 0, CPUID_EDX, 1u << 4 | 1u << 8, 1u << 4}, /* FSRM, VP2INTERSECT */
	{7, 1, CPUID_EAX, 1u << 4 | 1u << 5, 0},       /* AVX-VNNI, BF16 */
	{7, 1, CPUID_EBX, 0, 0},
	{7, 1, CPUID_ECX, 0, 0},
	{7, 1, CPUID_EDX, 0, 0},
	{0xd, 1, CPUID_EAX, 7, 0}, /* XSAVEOPT, XSAVEC, XGETBV 1 */
	/* LAHF CR8 ABM SSE4A 3DNOWPREFETCH */
	{0x80000001, 0, CPUID_ECX, 0x00000171, 0},
	/* SYSCALL NX MMXEXT 1G RDTSCP LM */
	{0x80000001, 0, CPUID_EDX, (0x2c100800 | 0x0183f3ff) & ~(1u << 25),
	 1u << 11 | 1u << 20 | 1u << 26 | 1u << 27},
	{0x80000007, 0, CPUID_EBX, 0, 0},
	{0x80000007, 0, CPUID_ECX, 0, 0},
	{0x80000007, 0, CPUID_EDX, 1u << 8, 0}, /* the TSC is constant */
	{0x80000008, 0, CPUID_EBX, 1u << 0, 0}, /* CLZERO */
	{0x80000021, 0, CPUID_EAX, 0, 0},
};

static void add(struct cpuid_table *table, uint32_t function, uint32_t index, bool indexed)
{
	struct cpuid_leaf *leaf = &table->leaf[table->count];

	if (table->count == CPUID_LEAVES_MAX)
		return;
	*leaf = (struct cpuid_leaf){.function = function, .index = index, .indexed = indexed};
	__cpuid_count(function, index, leaf->reg[CPUID_EAX], leaf->reg[CPUID_EBX],
		      leaf->reg[CPUID_ECX], leaf->reg[CPUID_EDX]);
	table->count++;
}

/* How many sub-leaves are asked for; 0: the leaf has none. */
static unsigned sub_leaves(uint32_t function)
{
	switch (function) {
	case 4:
	case 0x8000001d:
		return 5;
	case 7:
	case 0xb:
	case 0x1f:
		return 2;
	case 0xd:
		return 10;
	default:
		return 0;
	}
}

static void add_range(struct cpuid_table *table, uint32_t first, uint32_t last)
{
	for (uint32_t function = first; function <= last; function++) {
		unsigned count = sub_leaves(function);

		/* Of no use to a guest: tracing, SGX, resource control, SVM, encryption. */
		if ((function >= 0xf && function <= 0x14) || function == 0xa ||
		    (function >= 0x17 && function <= 0x1e) || function == 0x8000000a ||
		    function == 0x8000001f || function == 0x80000020)
			continue;
		for (unsigned i = 0; i < (count ? count : 1); i++)
			add(table, function, i, count);
	}
}

static void mask_words(struct cpuid_table *table)
{
	for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
		struct cpuid_leaf *leaf = cpuid_find(table, words[i].function, words[i].index);

		if (leaf)
			leaf->reg[words[i].reg] =
				(leaf->reg[words[i].reg] & words[i].mask) | words[i].own;
	}
}

static void add_hypervisor(struct cpuid_table *table)
{
	struct cpuid_leaf head = {.function = LEAF_HYPERVISOR, .reg = {LEAF_FEATURES}};
	struct cpuid_leaf features = {
		.function = LEAF_FEATURES,
		.reg = {PV_CLOCKSOURCE | PV_NOP_IO_DELAY | PV_CLOCKSOURCE2 | PV_CLOCK_STABLE}};

	memcpy(&head.reg[CPUID_EBX], "KVMKVMKVM\0\0\0", 12);
	table->leaf[table->count++] = head;
	table->leaf[table->count++] = features;
}

int bt_cpuid_supported(struct cpuid_table *out, struct error *err)
{
	unsigned basic = __get_cpuid_max(0, NULL), extended = __get_cpuid_max(0x80000000, NULL);

	(void)err;
	*out = (struct cpuid_table){0};
	add_range(out, 0, basic < 0x1f ? basic : 0x1f);
	add_hypervisor(out);
	add_range(out, 0x80000000, extended < 0x80000021 ? extended : 0x80000021);
	mask_words(out);
	return 0;
}

void bt_cpuid_own(struct cpuid_table *table)
{
	const struct cpuid_leaf *vendor = cpuid_find(table, 0, 0);
	struct cpuid_leaf *features = cpuid_find(table, 7, 0);

	/* IA32_ARCH_CAPABILITIES (msr.c), of which kernels on other CPUs do not ask. */
	if (features && vendor && vendor->reg[CPUID_EBX] == 0x756e6547 /* "Genu" */)
		features->reg[CPUID_EDX] |= 1u << 29;
}
