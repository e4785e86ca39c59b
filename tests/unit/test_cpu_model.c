/* SPDX-License-Identifier: MIT */
/* CPU models: what `portable` leaves of a CPU that has everything, and topology. */
#include "tests/unit/unit.h"

#include "vmm/core/cpu_model.h"

static void leaf_add(struct cpuid_table *t, uint32_t function, uint32_t index, bool indexed)
{
	t->leaf[t->count++] = (struct cpuid_leaf){
		.function = function,
		.index = index,
		.indexed = indexed,
		.reg = {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
	};
}

/* A CPU with every bit set. */
static struct cpuid_table *everything(void)
{
	static struct cpuid_table t;
	static const uint32_t plain[] = {0,          1,          2,          6,
					 0x15,       0x40000000, 0x40000001, 0x40000010,
					 0x80000000, 0x80000001, 0x80000007, 0x80000008,
					 0x8000001e, 0x80000021, 0x80000022};

	t.count = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(plain); i++)
		leaf_add(&t, plain[i], 0, false);
	for (uint32_t i = 0; i < 3; i++) {
		leaf_add(&t, 4, i, true);
		leaf_add(&t, 7, i, true);
		leaf_add(&t, 0xb, i, true);
		leaf_add(&t, 0x14, i, true);
	}
	for (uint32_t i = 0; i < 12; i++)
		leaf_add(&t, 0xd, i, true);
	return &t;
}

static const struct cpu_model *portable(void)
{
	return cpu_model_find("portable");
}

static void models(void **state)
{
	unsigned count = 0;

	(void)state;
	while (cpu_model_at(count)) {
		assert_ptr_equal(cpu_model_find(cpu_model_at(count)->name), cpu_model_at(count));
		count++;
	}
	assert_int_equal(count, 2);
	assert_null(cpu_model_find("Portable"));
	assert_null(cpu_model_find(""));
}

static void finding_leaves(void **state)
{
	struct cpuid_table *t = everything();

	(void)state;
	assert_int_equal(cpuid_find(t, 7, 1)->index, 1);
	assert_null(cpuid_find(t, 7, 3));
	assert_non_null(cpuid_find(t, 1, 77)); /* the sub-leaf says nothing there */
	assert_null(cpuid_find(t, 0x99, 0));
}

static void host_is_everything(void **state)
{
	struct cpuid_table *t = everything();
	struct cpuid_table before = *t;

	(void)state;
	assert_int_equal(cpu_model_apply(cpu_model_find("host"), true, t, NULL), 0);
	assert_memory_equal(t, &before, sizeof(before));
}

static void portable_mask(void **state)
{
	struct cpuid_table *t = everything();
	static const struct {
		const char *what;
		uint32_t function, index;
		enum cpuid_register reg;
		uint8_t bit;
		bool shown;
	} bits[] = {
		{"sse2", 1, 0, CPUID_EDX, 26, true},
		{"cx16", 1, 0, CPUID_ECX, 13, true},
		{"avx", 1, 0, CPUID_ECX, 28, true},
		{"xsave", 1, 0, CPUID_ECX, 26, true},
		{"vmx", 1, 0, CPUID_ECX, 5, false},
		{"monitor", 1, 0, CPUID_ECX, 3, false},
		{"pdcm", 1, 0, CPUID_ECX, 15, false},
		{"avx2", 7, 0, CPUID_EBX, 5, true},
		{"bmi2", 7, 0, CPUID_EBX, 8, true},
		{"avx512f", 7, 0, CPUID_EBX, 16, false},
		{"mpx", 7, 0, CPUID_EBX, 14, false},
		{"pku", 7, 0, CPUID_ECX, 3, false},
		{"cet_ss", 7, 0, CPUID_ECX, 7, false},
		{"la57", 7, 0, CPUID_ECX, 16, false},
		{"ibt", 7, 0, CPUID_EDX, 20, false},
		{"avx_vnni", 7, 1, CPUID_EAX, 4, false},
		{"xsaves", 0xd, 1, CPUID_EAX, 3, false},
		{"lm", 0x80000001, 0, CPUID_EDX, 29, true},
		{"svm", 0x80000001, 0, CPUID_ECX, 2, false},
		{"fma4", 0x80000001, 0, CPUID_ECX, 16, false},
	};

	(void)state;
	assert_int_equal(cpu_model_apply(portable(), true, t, NULL), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(bits); i++) {
		const struct cpuid_leaf *leaf = cpuid_find(t, bits[i].function, bits[i].index);

		assert_non_null(leaf);
		if ((leaf->reg[bits[i].reg] >> bits[i].bit & 1) != bits[i].shown)
			fail_msg("%s", bits[i].what);
	}
	/* One vendor's leaves, and parts of XSAVE that the model lacks. */
	assert_null(cpuid_find(t, 0x14, 0));
	assert_null(cpuid_find(t, 0x80000022, 0));
	assert_null(cpuid_find(t, 0xd, 5));
	assert_int_equal(cpuid_find(t, 0xd, 0)->reg[CPUID_EAX], 7);
	assert_int_equal(cpuid_find(t, 0xd, 0)->reg[CPUID_EDX], 0);
	assert_int_equal(cpuid_find(t, 0xd, 0)->reg[CPUID_EBX], 832);
	assert_int_equal(cpuid_find(t, 0xd, 1)->reg[CPUID_ECX], 0);
}

/* Applied twice it changes nothing more: the model is a fixed point. */
static void portable_is_stable(void **state)
{
	struct cpuid_table *t = everything(), once;

	(void)state;
	assert_int_equal(cpu_model_apply(portable(), true, t, NULL), 0);
	once = *t;
	assert_int_equal(cpu_model_apply(portable(), true, t, NULL), 0);
	assert_int_equal(t->count, once.count);
	assert_memory_equal(t->leaf, once.leaf, once.count * sizeof(once.leaf[0]));
}

static void missing_feature_is_named(void **state)
{
	static const struct {
		uint32_t function;
		enum cpuid_register reg;
		uint8_t bit;
		const char *name;
	} needed[] = {
		{1, CPUID_ECX, 13, "cx16"},
		{1, CPUID_ECX, 26, "xsave"},
		{7, CPUID_EBX, 5, "avx2"},
		{0x80000001, CPUID_EDX, 29, "lm"},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(needed); i++) {
		struct cpuid_table *t = everything();
		struct error err = {0};

		cpuid_find(t, needed[i].function, 0)->reg[needed[i].reg] &= ~(1u << needed[i].bit);
		assert_int_equal(cpu_model_apply(portable(), true, t, &err), -ENOTSUP);
		assert_non_null(strstr(err.what, needed[i].name));
		assert_non_null(strstr(err.remedy, "--cpu host"));
		assert_int_equal(cpu_model_apply(cpu_model_find("host"), true, t, NULL), 0);
	}
}

/* An optional feature is not missed, and not made up either. */
static void optional_feature_is_not_made_up(void **state)
{
	struct cpuid_table *t = everything();
	const uint32_t aes = 1u << 25;

	(void)state;
	cpuid_find(t, 1, 0)->reg[CPUID_ECX] &= ~aes;
	assert_int_equal(cpu_model_apply(portable(), true, t, NULL), 0);
	assert_int_equal(cpuid_find(t, 1, 0)->reg[CPUID_ECX] & aes, 0);
}

static void without_paravirtualization(void **state)
{
	struct cpuid_table *t = everything();

	(void)state;
	assert_int_equal(cpu_model_apply(portable(), false, t, NULL), 0);
	assert_null(cpuid_find(t, 0x40000000, 0));
	assert_null(cpuid_find(t, 0x40000001, 0));
	assert_non_null(cpuid_find(t, 0x80000000, 0));
	t = everything();
	assert_int_equal(cpu_model_apply(cpu_model_find("host"), false, t, NULL), 0);
	assert_null(cpuid_find(t, 0x40000010, 0));
}

/* SDM vol. 2 CPUID, AMD64 vol. 3 appendix E: one thread a core, one package. */
static void topology(void **state)
{
	static const struct {
		unsigned vcpus, width;
	} cases[] = {{1, 0}, {2, 1}, {3, 2}, {4, 2}, {5, 3}, {64, 6}};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned vcpus = cases[i].vcpus, last = vcpus - 1;
		struct cpuid_table *t = everything();
		struct cpuid_leaf *leaf;

		cpuid_find(t, 4, 0)->reg[CPUID_EAX] = 1 | 1 << 5; /* L1, data */
		cpuid_find(t, 4, 1)->reg[CPUID_EAX] = 3 | 3 << 5; /* L3 */
		cpuid_find(t, 4, 2)->reg[CPUID_EAX] = 0;
		cpu_model_place(t, last, vcpus);
		leaf = cpuid_find(t, 1, 0);
		assert_int_equal(leaf->reg[CPUID_EBX] >> 24, last);
		assert_int_equal(leaf->reg[CPUID_EBX] >> 16 & 0xff, vcpus);
		assert_int_equal(leaf->reg[CPUID_EBX] & 0xffff, 0xffff);
		assert_int_equal(leaf->reg[CPUID_EDX] >> 28 & 1, vcpus > 1);
		assert_int_equal(leaf->reg[CPUID_ECX] >> 31, 1);
		leaf = cpuid_find(t, 4, 0);
		assert_int_equal(leaf->reg[CPUID_EAX] >> 26, last);
		assert_int_equal(leaf->reg[CPUID_EAX] >> 14 & 0xfff, 0);
		assert_int_equal(leaf->reg[CPUID_EAX] & 0x3fff, 1 | 1 << 5);
		leaf = cpuid_find(t, 4, 1);
		assert_int_equal(leaf->reg[CPUID_EAX] >> 14 & 0xfff, last);
		assert_int_equal(cpuid_find(t, 4, 2)->reg[CPUID_EAX], 0);
		leaf = cpuid_find(t, 0xb, 0);
		assert_int_equal(leaf->reg[CPUID_EAX], 0);
		assert_int_equal(leaf->reg[CPUID_EBX], 1);
		assert_int_equal(leaf->reg[CPUID_ECX], 1 << 8);
		assert_int_equal(leaf->reg[CPUID_EDX], last);
		leaf = cpuid_find(t, 0xb, 1);
		assert_int_equal(leaf->reg[CPUID_EAX], cases[i].width);
		assert_int_equal(leaf->reg[CPUID_EBX], vcpus);
		assert_int_equal(leaf->reg[CPUID_ECX], 2 << 8 | 1);
		leaf = cpuid_find(t, 0xb, 2);
		assert_int_equal(leaf->reg[CPUID_EBX], 0);
		assert_int_equal(leaf->reg[CPUID_ECX], 2);
		leaf = cpuid_find(t, 0x80000008, 0);
		assert_int_equal(leaf->reg[CPUID_ECX] & 0xff, last);
		assert_int_equal(leaf->reg[CPUID_ECX] >> 12 & 15, cases[i].width);
		assert_int_equal(cpuid_find(t, 0x8000001e, 0)->reg[CPUID_EAX], last);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(models),
		cmocka_unit_test(finding_leaves),
		cmocka_unit_test(host_is_everything),
		cmocka_unit_test(portable_mask),
		cmocka_unit_test(portable_is_stable),
		cmocka_unit_test(missing_feature_is_named),
		cmocka_unit_test(optional_feature_is_not_made_up),
		cmocka_unit_test(without_paravirtualization),
		cmocka_unit_test(topology),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
