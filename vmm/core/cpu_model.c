/* SPDX-License-Identifier: MIT */
/*
 * CPU models. `portable` is the x86-64-v3 level and what stock kernels like besides, the same on
 * every host; what it leaves out costs the translator much or differs between vendors (AVX-512,
 * CET, PKU, LA57, performance counters, vendor mitigations). Vendor, family and brand remain the
 * host's: a kernel picks its quirks by them. What it need not guard against
 * (IA32_ARCH_CAPABILITIES) is the engine's to say; a kernel asks once, when it boots.
 */
#include "vmm/core/cpu_model.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/checked.h"

#define LEAF_HYPERVISOR   0x40000000u
#define LEAF_KVM_FEATURES 0x40000001u
/* The clock in both of its forms, no delays at ports, a clock that is stable: what every engine
 * has. */
#define PORTABLE_KVM        (1u << 0 | 1u << 1 | 1u << 3 | 1u << 24)
#define LEAF_HYPERVISOR_END 0x400000ffu
#define LEAF_EXTENDED       0x80000000u

struct cpu_feature {
	const char *name;
	uint32_t function;
	uint32_t index;
	enum cpuid_register reg;
	uint8_t bit;
	bool optional; /* shown where the host has it; the model does not stand on it */
};

static const struct cpu_feature portable[] = {
	{"fpu", 1, 0, CPUID_EDX, 0, false},
	{"vme", 1, 0, CPUID_EDX, 1, true},
	{"de", 1, 0, CPUID_EDX, 2, false},
	{"pse", 1, 0, CPUID_EDX, 3, false},
	{"tsc", 1, 0, CPUID_EDX, 4, false},
	{"msr", 1, 0, CPUID_EDX, 5, false},
	{"pae", 1, 0, CPUID_EDX, 6, false},
	{"mce", 1, 0, CPUID_EDX, 7, true},
	{"cx8", 1, 0, CPUID_EDX, 8, false},
	{"apic", 1, 0, CPUID_EDX, 9, false},
	{"sep", 1, 0, CPUID_EDX, 11, false},
	{"mtrr", 1, 0, CPUID_EDX, 12, true},
	{"pge", 1, 0, CPUID_EDX, 13, false},
	{"mca", 1, 0, CPUID_EDX, 14, true},
	{"cmov", 1, 0, CPUID_EDX, 15, false},
	{"pat", 1, 0, CPUID_EDX, 16, false},
	{"pse36", 1, 0, CPUID_EDX, 17, false},
	{"clflush", 1, 0, CPUID_EDX, 19, false},
	{"mmx", 1, 0, CPUID_EDX, 23, false},
	{"fxsr", 1, 0, CPUID_EDX, 24, false},
	{"sse", 1, 0, CPUID_EDX, 25, false},
	{"sse2", 1, 0, CPUID_EDX, 26, false},
	{"htt", 1, 0, CPUID_EDX, 28, true},
	{"sse3", 1, 0, CPUID_ECX, 0, false},
	{"pclmulqdq", 1, 0, CPUID_ECX, 1, true},
	{"ssse3", 1, 0, CPUID_ECX, 9, false},
	{"fma", 1, 0, CPUID_ECX, 12, false},
	{"cx16", 1, 0, CPUID_ECX, 13, false},
	{"pcid", 1, 0, CPUID_ECX, 17, true},
	{"sse4.1", 1, 0, CPUID_ECX, 19, false},
	{"sse4.2", 1, 0, CPUID_ECX, 20, false},
	{"x2apic", 1, 0, CPUID_ECX, 21, true},
	{"movbe", 1, 0, CPUID_ECX, 22, false},
	{"popcnt", 1, 0, CPUID_ECX, 23, false},
	{"tsc-deadline", 1, 0, CPUID_ECX, 24, true},
	{"aes", 1, 0, CPUID_ECX, 25, true},
	{"xsave", 1, 0, CPUID_ECX, 26, false},
	{"avx", 1, 0, CPUID_ECX, 28, false},
	{"f16c", 1, 0, CPUID_ECX, 29, false},
	{"rdrand", 1, 0, CPUID_ECX, 30, true},
	{"hypervisor", 1, 0, CPUID_ECX, 31, false},
	{"arat", 6, 0, CPUID_EAX, 2, true},
	{"fsgsbase", 7, 0, CPUID_EBX, 0, true},
	{"tsc-adjust", 7, 0, CPUID_EBX, 1, true},
	{"bmi1", 7, 0, CPUID_EBX, 3, false},
	{"avx2", 7, 0, CPUID_EBX, 5, false},
	{"smep", 7, 0, CPUID_EBX, 7, true},
	{"bmi2", 7, 0, CPUID_EBX, 8, false},
	{"erms", 7, 0, CPUID_EBX, 9, true},
	{"invpcid", 7, 0, CPUID_EBX, 10, true},
	{"rdseed", 7, 0, CPUID_EBX, 18, true},
	{"adx", 7, 0, CPUID_EBX, 19, true},
	{"smap", 7, 0, CPUID_EBX, 20, true},
	{"clflushopt", 7, 0, CPUID_EBX, 23, true},
	{"clwb", 7, 0, CPUID_EBX, 24, true},
	{"sha-ni", 7, 0, CPUID_EBX, 29, true},
	{"umip", 7, 0, CPUID_ECX, 2, true},
	{"rdpid", 7, 0, CPUID_ECX, 22, true},
	{"fsrm", 7, 0, CPUID_EDX, 4, true},
	{"arch-capabilities", 7, 0, CPUID_EDX, 29, true},
	{"xsaveopt", 0xd, 1, CPUID_EAX, 0, true},
	{"xsavec", 0xd, 1, CPUID_EAX, 1, true},
	{"xgetbv1", 0xd, 1, CPUID_EAX, 2, true},
	{"lahf_lm", 0x80000001, 0, CPUID_ECX, 0, false},
	{"cr8_legacy", 0x80000001, 0, CPUID_ECX, 4, true},
	{"abm", 0x80000001, 0, CPUID_ECX, 5, false},
	{"3dnowprefetch", 0x80000001, 0, CPUID_ECX, 8, true},
	{"syscall", 0x80000001, 0, CPUID_EDX, 11, false},
	{"nx", 0x80000001, 0, CPUID_EDX, 20, false},
	{"pdpe1gb", 0x80000001, 0, CPUID_EDX, 26, true},
	{"rdtscp", 0x80000001, 0, CPUID_EDX, 27, true},
	{"lm", 0x80000001, 0, CPUID_EDX, 29, false},
	{"constant_tsc", 0x80000007, 0, CPUID_EDX, 8, true},
};

/* Registers that hold feature bits: whatever the table above does not name is cleared in them. */
static const struct {
	uint32_t function, index;
	enum cpuid_register reg;
} feature_words[] = {
	{1, 0, CPUID_ECX},          {1, 0, CPUID_EDX},          {6, 0, CPUID_EAX},
	{6, 0, CPUID_ECX},          {7, 0, CPUID_EBX},          {7, 0, CPUID_ECX},
	{7, 0, CPUID_EDX},          {7, 1, CPUID_EAX},          {7, 1, CPUID_EBX},
	{7, 1, CPUID_ECX},          {7, 1, CPUID_EDX},          {0xd, 1, CPUID_EAX},
	{0x80000001, 0, CPUID_ECX}, {0x80000001, 0, CPUID_EDX}, {0x80000007, 0, CPUID_EBX},
	{0x80000007, 0, CPUID_EDX}, {0x80000008, 0, CPUID_EBX}, {0x80000021, 0, CPUID_EAX},
};

/* Leaves that a portable guest sees; the rest is about one vendor's parts. */
static const uint32_t portable_leaves[] = {
	0x0,        0x1,        0x2,        0x4,        0x6,        0x7,        0xb,
	0xd,        0x15,       0x16,       0x1f,       0x40000000, 0x40000001, 0x40000010,
	0x80000000, 0x80000001, 0x80000002, 0x80000003, 0x80000004, 0x80000005, 0x80000006,
	0x80000007, 0x80000008, 0x8000001d, 0x8000001e,
};

/* XSAVE components of the portable model: x87, SSE, AVX (SDM vol. 1, 13.1). */
#define PORTABLE_XCR0      0x7u
#define PORTABLE_XCR0_SIZE 832u /* 512 + 64 of legacy area and header, 256 of YMM halves */

static const struct cpu_model models[] = {
	{"portable", "x86-64-v3, the same on every host", false},
	{"host", "everything that the host's CPU and the engine can show", true},
};

const struct cpu_model *cpu_model_at(unsigned index)
{
	return index < ARRAY_SIZE(models) ? &models[index] : NULL;
}

const struct cpu_model *cpu_model_find(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(models); i++)
		if (strcmp(models[i].name, name) == 0)
			return &models[i];
	return NULL;
}

struct cpuid_leaf *cpuid_find(struct cpuid_table *table, uint32_t function, uint32_t index)
{
	for (unsigned i = 0; i < table->count; i++) {
		struct cpuid_leaf *leaf = &table->leaf[i];

		if (leaf->function == function && (!leaf->indexed || leaf->index == index))
			return leaf;
	}
	return NULL;
}

static bool leaf_is_portable(const struct cpuid_leaf *leaf)
{
	for (unsigned i = 0; i < ARRAY_SIZE(portable_leaves); i++) {
		if (portable_leaves[i] != leaf->function)
			continue;
		/* Sub-leaves of 0xd above 2 describe components that the model lacks. */
		return leaf->function != 0xd || leaf->index <= 2;
	}
	return false;
}

static void table_drop(struct cpuid_table *table, bool (*keep)(const struct cpuid_leaf *))
{
	unsigned kept = 0;

	for (unsigned i = 0; i < table->count; i++)
		if (keep(&table->leaf[i]))
			table->leaf[kept++] = table->leaf[i];
	table->count = kept;
}

static uint32_t portable_mask(uint32_t function, uint32_t index, enum cpuid_register reg)
{
	uint32_t mask = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(portable); i++) {
		const struct cpu_feature *f = &portable[i];

		if (f->function == function && f->index == index && f->reg == reg)
			mask |= 1u << f->bit;
	}
	return mask;
}

static int portable_check(struct cpuid_table *table, struct error *err)
{
	for (unsigned i = 0; i < ARRAY_SIZE(portable); i++) {
		const struct cpu_feature *f = &portable[i];
		const struct cpuid_leaf *leaf = cpuid_find(table, f->function, f->index);

		if (f->optional || (leaf && leaf->reg[f->reg] & 1u << f->bit))
			continue;
		return error_set(err, -ENOTSUP, "use --cpu host",
				 "CPU model portable: this host's CPU lacks %s", f->name);
	}
	return 0;
}

static int portable_apply(struct cpuid_table *table, struct error *err)
{
	struct cpuid_leaf *leaf;
	int ret = portable_check(table, err);

	if (ret)
		return ret;
	table_drop(table, leaf_is_portable);
	for (unsigned i = 0; i < ARRAY_SIZE(feature_words); i++) {
		uint32_t function = feature_words[i].function, index = feature_words[i].index;
		enum cpuid_register reg = feature_words[i].reg;

		leaf = cpuid_find(table, function, index);
		if (leaf)
			leaf->reg[reg] &= portable_mask(function, index, reg);
	}
	leaf = cpuid_find(table, 0xd, 0);
	if (leaf) {
		leaf->reg[CPUID_EAX] &= PORTABLE_XCR0;
		leaf->reg[CPUID_EDX] = 0;
		leaf->reg[CPUID_EBX] = PORTABLE_XCR0_SIZE;
		leaf->reg[CPUID_ECX] = PORTABLE_XCR0_SIZE;
	}
	leaf = cpuid_find(table, 0xd, 1);
	if (leaf) {
		leaf->reg[CPUID_EBX] = PORTABLE_XCR0_SIZE;
		leaf->reg[CPUID_ECX] = 0;
		leaf->reg[CPUID_EDX] = 0;
	}
	leaf = cpuid_find(table, LEAF_KVM_FEATURES, 0);
	if (leaf)
		leaf->reg[CPUID_EAX] &= PORTABLE_KVM;
	return 0;
}

static bool leaf_not_paravirtual(const struct cpuid_leaf *leaf)
{
	return leaf->function < LEAF_HYPERVISOR || leaf->function > LEAF_HYPERVISOR_END;
}

int cpu_model_apply(const struct cpu_model *model, bool paravirtual, struct cpuid_table *table,
		    struct error *err)
{
	if (!model->everything) {
		int ret = portable_apply(table, err);

		if (ret)
			return ret;
	}
	if (!paravirtual)
		table_drop(table, leaf_not_paravirtual);
	return 0;
}

/* Bits needed to number `count` things. */
static unsigned id_width(unsigned count)
{
	unsigned width = 0;

	while ((1u << width) < count)
		width++;
	return width;
}

/* One level of leaves 0xb and 0x1f: one thread a core, all cores in one package. */
static void place_topology(struct cpuid_leaf *leaf, unsigned apic_id, unsigned vcpus)
{
	bool core = leaf->index == 1;

	leaf->reg[CPUID_EAX] = core ? id_width(vcpus) : 0;
	leaf->reg[CPUID_EBX] = core ? vcpus : leaf->index == 0;
	leaf->reg[CPUID_ECX] = leaf->index | (leaf->index == 0 ? 1u << 8 : core ? 2u << 8 : 0);
	leaf->reg[CPUID_EDX] = apic_id;
}

void cpu_model_place(struct cpuid_table *table, unsigned index, unsigned vcpus)
{
	for (unsigned i = 0; i < table->count; i++) {
		struct cpuid_leaf *leaf = &table->leaf[i];
		uint32_t *reg = leaf->reg;

		switch (leaf->function) {
		case 0x1:
			/* EBX: local APIC id, logical processors in the package (SDM CPUID.1). */
			reg[CPUID_EBX] = (reg[CPUID_EBX] & 0xffff) | index << 24 | vcpus << 16;
			reg[CPUID_ECX] |= 1u << 31;
			if (vcpus > 1)
				reg[CPUID_EDX] |= 1u << 28;
			else
				reg[CPUID_EDX] &= ~(1u << 28);
			break;
		case 0x4:
			/* EAX[31:26]: cores in the package less one; [25:14]: sharing threads. */
			if ((reg[CPUID_EAX] & 0x1f) == 0)
				break;
			reg[CPUID_EAX] = (reg[CPUID_EAX] & 0x3fff) | (vcpus - 1) << 26;
			if ((reg[CPUID_EAX] >> 5 & 7) == 3)
				reg[CPUID_EAX] |= (vcpus - 1) << 14;
			break;
		case 0xb:
		case 0x1f:
			place_topology(leaf, index, vcpus);
			break;
		case 0x80000008:
			/* ECX: cores less one, and the width of a core's id (AMD64 vol. 3). */
			reg[CPUID_ECX] = id_width(vcpus) << 12 | (vcpus - 1);
			break;
		case 0x8000001e:
			reg[CPUID_EAX] = index;
			reg[CPUID_EBX] = index;
			reg[CPUID_ECX] = 0;
			break;
		default:
			break;
		}
	}
}
