/* SPDX-License-Identifier: MIT */
/*
 * Saving and restoring the x87 and vector units where the CPU itself cannot be asked
 * (tests/oracle/native.c): privileged instructions, other modes than 64-bit, faults by control
 * registers, the neutral state.
 */
#include "tests/unit/unit.h"

#include "vmm/bt/fpu.h"
#include "vmm/bt/interp.h"
#include "vmm/bt/native.h"
#include "vmm/core/cpu_state.h"

#define MEMORY (1 * MIB)
#define TABLES 0x1000u
#define CODE   0x8000u
#define DATA   0x10000u
#define NONE   (-1)

struct fixture {
	struct engine_vm vm;
	struct engine_vcpu *cpu;
	uint8_t *code, *data;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct error err = {0};

	assert_non_null(f);
	assert_int_equal(memory_create(MEMORY, &f->vm.config.memory, &err), 0);
	f->cpu = aligned_alloc(64, (sizeof(*f->cpu) + 63) & ~63ul);
	assert_non_null(f->cpu);
	memset(f->cpu, 0, sizeof(*f->cpu));
	assert_int_equal(native_create(&f->cpu->native), 0);
	f->cpu->vm = &f->vm;
	f->code = memory_at_write(f->vm.config.memory, CODE, 4096);
	f->data = memory_at_write(f->vm.config.memory, DATA, 8192);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	native_destroy(f->cpu->native);
	memory_destroy(f->vm.config.memory);
	free(f->cpu);
	free(f);
	return 0;
}

/* Four levels of tables, one large page. */
static void paging(struct fixture *f)
{
	uint8_t *tables = memory_at_write(f->vm.config.memory, TABLES, 3 * 4096);

	le64_put(tables, (TABLES + 4096) | 7);
	le64_put(tables + 4096, (TABLES + 8192) | 7);
	le64_put(tables + 8192, 0x87);
	f->cpu->cr3 = TABLES;
	f->cpu->efer = EFER_LME | EFER_LMA;
	f->cpu->cr4 |= CR4_PAE;
	f->cpu->cr0 |= CR0_PG;
}

enum mode { REAL, PROTECTED, LONG };

/* Level 0, all enabled, a different byte in each register. */
static void prepare(struct fixture *f, enum mode mode)
{
	struct engine_vcpu *cpu = f->cpu;
	struct cpu_segment flat = {
		.limit = ~0u, .type = 3, .s = 1, .present = 1, .db = mode == PROTECTED};

	fpu_reset(cpu);
	cpu->efer = 0;
	cpu->cr0 = CR0_NE | CR0_MP | (mode == REAL ? 0 : CR0_PE);
	cpu->cr4 = CR4_OSFXSR | CR4_OSXSAVE | CR4_OSXMMEXCPT;
	cpu->xcr0 = fpu_xcr0_supported(cpu);
	if (mode == LONG)
		paging(f);
	for (unsigned i = 0; i < CPU_SEGMENTS; i++)
		cpu->segment[i] = flat;
	cpu->segment[CPU_CS].type = 11;
	cpu->segment[CPU_CS].l = mode == LONG;
	cpu->segment[CPU_CS].selector = 0x1230;
	cpu->segment[CPU_DS].selector = 0x4560;
	cpu->rflags = RFLAGS_ONE;
	for (unsigned i = 0; i < INSN_CACHE; i++)
		cpu->cache[i].gpa = INSN_CACHE_NONE;
	cpu_mode_update(cpu);
	tlb_flush(cpu, true);
	memset(cpu->gpr, 0, sizeof(cpu->gpr));
	cpu->gpr[CPU_RBX] = DATA;
	cpu->gpr[CPU_RAX] = cpu->gpr[CPU_RDX] = 0xffffffff;
	memset(f->data, 0xcc, 8192);
	for (unsigned i = 0; i < sizeof(cpu->vector.zmm); i++)
		cpu->vector.zmm[i / 64][i % 64] = (uint8_t)(i / 7 + i + 1);
	for (unsigned i = 0; i < 8; i++)
		cpu->vector.k[i] = 0x0102030405060708 * (i + 1);
	cpu->vector.mxcsr = 0x1fa0;
	le16_put(cpu->vector.x87, 0x37f);
	le16_put(cpu->vector.x87 + 2, 5 << 11);
	cpu->vector.x87[4] = 0xe0;
	for (unsigned i = 0; i < 8; i++) {
		le64_put(cpu->vector.x87 + 32 + (size_t)16 * i, i << 4 | 1ull << 63);
		le16_put(cpu->vector.x87 + 40 + (size_t)16 * i, (uint16_t)(0x3fff + i));
	}
}

/* One instruction. NONE, or the exception it raises. */
static int run(struct fixture *f, const void *bytes, size_t count)
{
	memset(f->code, 0x90, 16);
	memcpy(f->code, bytes, count);
	f->cpu->rip = CODE;
	return interp_run(f->cpu, 1) ? NONE : f->cpu->fault.vector;
}

#define RUN(f, bytes) run(f, bytes, sizeof(bytes) - 1)

/* At [RBX]; EBX in 32-bit code. */
#define FXSAVE    "\x0f\xae\x03"
#define FXRSTOR   "\x0f\xae\x0b"
#define XSAVE64   "\x48\x0f\xae\x23"
#define XRSTOR64  "\x48\x0f\xae\x2b"
#define XSAVEOPT  "\x0f\xae\x33"
#define XSAVES64  "\x48\x0f\xc7\x2b"
#define XRSTORS64 "\x48\x0f\xc7\x1b"
#define XSAVE     "\x0f\xae\x23"
#define XRSTOR    "\x0f\xae\x2b"
#define FNSTENV   "\xd9\x33"
#define FLDENV    "\xd9\x23"
#define FLD1      "\xd9\xe8"
#define FWAIT     "\x9b"
#define XGETBV    "\x0f\x01\xd0"
#define O66       "\x66"
#define A67       "\x67"

static void vector_equal(const struct vector_state *a, const struct vector_state *b)
{
	assert_memory_equal(a->zmm, b->zmm, sizeof(a->zmm));
	assert_memory_equal(a->k, b->k, sizeof(a->k));
	assert_int_equal(a->mxcsr, b->mxcsr);
	assert_memory_equal(a->x87, b->x87, 6);
	assert_memory_equal(a->x87 + 32, b->x87 + 32, 128);
}

/* Registers that the host has not cannot come back. */
static bool has_all(const struct fixture *f)
{
	return fpu_xcr0_supported(f->cpu) == 0xe7;
}

static void xsaves_and_back(void **state)
{
	struct fixture *f = *state;
	struct vector_state before;
	uint64_t xcr0;

	prepare(f, LONG);
	if (!has_all(f))
		skip();
	xcr0 = f->cpu->xcr0;
	before = f->cpu->vector;
	assert_int_equal(RUN(f, XSAVES64), NONE);
	assert_int_equal(le64_get(f->data + 512), xcr0);
	assert_int_equal(le64_get(f->data + 520), xcr0 | 1ull << 63);
	assert_int_equal(f->data[528], 0xcc); /* not written */
	fpu_reset(f->cpu);
	assert_int_equal(RUN(f, XRSTORS64), EXCEPTION_GP);
	memset(f->data + 528, 0, 48);
	assert_int_equal(RUN(f, XRSTORS64), NONE);
	vector_equal(&f->cpu->vector, &before);
}

/* Without AVX what follows it moves up; what is not in use is left out. */
static void compaction(void **state)
{
	struct fixture *f = *state;

	prepare(f, LONG);
	if (!has_all(f))
		skip();
	f->cpu->gpr[CPU_RAX] = 0xe0;
	for (unsigned i = 0; i < 16; i++)
		memset(f->cpu->vector.zmm[i] + 32, 0, 32);
	assert_int_equal(RUN(f, XSAVES64), NONE);
	assert_int_equal(le64_get(f->data + 512), 0xa0);
	assert_int_equal(le64_get(f->data + 520), 0xe0 | 1ull << 63);
	assert_memory_equal(f->data + 576, f->cpu->vector.k, 64);
	assert_int_equal(f->data[640], 0xcc);
	assert_int_equal(f->data[640 + 511], 0xcc);
	assert_memory_equal(f->data + 640 + 512, f->cpu->vector.zmm[16], 1024);
	assert_int_equal(f->data[24], 0xcc); /* MXCSR goes with SSE */
}

static void header_faults(void **state)
{
	static const struct {
		uint16_t at;
		uint8_t value;
		uint8_t standard, compacted; /* do they fault? */
	} bad[] = {
		{512, 0x08, 1, 1}, {515, 1, 1, 1}, {528, 1, 1, 1}, {535, 1, 1, 1}, {536, 1, 0, 1},
		{575, 1, 0, 1},    {26, 4, 1, 1},  {27, 1, 1, 1},  {28, 1, 0, 0},
	};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		for (unsigned compacted = 0; compacted < 2; compacted++) {
			bool wrong = compacted ? bad[i].compacted : bad[i].standard;
			struct vector_state before;

			prepare(f, LONG);
			memset(f->data, 0, 576);
			f->data[512] = 3;
			le64_put(f->data + 520, compacted ? 3 | 1ull << 63 : 0);
			assert_int_equal(RUN(f, XRSTOR64), NONE);
			assert_int_equal(RUN(f, XRSTORS64), compacted ? NONE : EXCEPTION_GP);
			f->data[bad[i].at] = bad[i].value;
			before = f->cpu->vector;
			assert_int_equal(RUN(f, XRSTOR64), wrong ? EXCEPTION_GP : NONE);
			vector_equal(&f->cpu->vector, &before);
		}
	/* The format must have what is in the area, and XCR0 what is in the format. */
	le64_put(f->data + 520, 1 | 1ull << 63);
	assert_int_equal(RUN(f, XRSTOR64), EXCEPTION_GP);
	le64_put(f->data + 520, 0x103 | 1ull << 63);
	assert_int_equal(RUN(f, XRSTOR64), EXCEPTION_GP);
	le64_put(f->data + 520, 3);
	assert_int_equal(RUN(f, XRSTOR64), EXCEPTION_GP);
}

/* Which exception, by what is not enabled. */
static void availability(void **state)
{
	static const struct {
		const char *bytes;
		uint8_t count;
		uint32_t cr0_set, cr4_clear;
		int exception;
	} cases[] = {
		{XSAVE64, 4, 0, CR4_OSXSAVE, EXCEPTION_UD},
		{XRSTORS64, 4, 0, CR4_OSXSAVE, EXCEPTION_UD},
		{XGETBV, 3, 0, CR4_OSXSAVE, EXCEPTION_UD},
		{XGETBV, 3, CR0_TS, 0, NONE},
		{XSAVE64, 4, CR0_TS, 0, EXCEPTION_NM},
		{XSAVE64, 4, CR0_EM, 0, NONE},
		{FXSAVE, 3, CR0_TS, 0, EXCEPTION_NM},
		{FXRSTOR, 3, CR0_EM, 0, EXCEPTION_NM},
		{FNSTENV, 2, CR0_EM, 0, EXCEPTION_NM},
		{FNSTENV, 2, CR0_TS, 0, EXCEPTION_NM},
		{FWAIT, 1, CR0_TS, 0, EXCEPTION_NM},
		{FWAIT, 1, CR0_EM, 0, NONE},
		{"\x0f\xae\x13", 3, CR0_EM, 0, EXCEPTION_UD}, /* LDMXCSR */
		{"\x0f\xae\x13", 3, 0, CR4_OSFXSR, EXCEPTION_UD},
		{"\x0f\xae\x1b", 3, CR0_TS, 0, EXCEPTION_NM}, /* STMXCSR */
		{"\x0f\xae\x13", 3, 0, 0, EXCEPTION_GP},      /* 0xcccccccc */
	};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		prepare(f, LONG);
		f->cpu->gpr[CPU_RCX] = 0;
		f->cpu->cr0 |= cases[i].cr0_set;
		f->cpu->cr4 &= ~(uint64_t)cases[i].cr4_clear;
		assert_int_equal(run(f, cases[i].bytes, cases[i].count), cases[i].exception);
	}
	prepare(f, LONG);
	f->cpu->gpr[CPU_RBX] += 32;
	assert_int_equal(RUN(f, XSAVE64), EXCEPTION_GP);
	assert_int_equal(RUN(f, FXSAVE), NONE);
	f->cpu->gpr[CPU_RBX] += 8;
	assert_int_equal(RUN(f, FXSAVE), EXCEPTION_GP);
	f->cpu->segment[CPU_SS].dpl = 3;
	f->cpu->gpr[CPU_RBX] = DATA;
	cpu_mode_update(f->cpu);
	assert_int_equal(RUN(f, XSAVES64), EXCEPTION_GP);
	assert_int_equal(RUN(f, XSAVE64), NONE);
}

/* An area in which nothing is in use loads as initial, and only what is asked for. */
static void initial(void **state)
{
	struct fixture *f = *state;
	struct vector_state before;

	prepare(f, LONG);
	before = f->cpu->vector;
	memset(f->data, 0, 4096);
	f->cpu->gpr[CPU_RAX] = 1;
	assert_int_equal(RUN(f, XRSTOR64), NONE);
	assert_int_equal(le16_get(f->cpu->vector.x87), 0x37f);
	assert_int_equal(f->cpu->vector.x87[4], 0);
	assert_memory_equal(f->cpu->vector.zmm, before.zmm, sizeof(before.zmm));
	assert_int_equal(f->cpu->vector.mxcsr, 0x1fa0);
	f->cpu->gpr[CPU_RAX] = 2;
	assert_int_equal(RUN(f, XRSTOR64), NONE);
	assert_int_equal(f->cpu->vector.zmm[3][0], 0);
	assert_int_equal(f->cpu->vector.zmm[3][16], before.zmm[3][16]);
	assert_int_equal(f->cpu->vector.mxcsr, 0);
	/* Of the compacted format MXCSR is a part like others. */
	f->cpu->gpr[CPU_RAX] = 7;
	le64_put(f->data + 520, 1ull << 63);
	assert_int_equal(RUN(f, XRSTOR64), NONE);
	assert_int_equal(f->cpu->vector.mxcsr, 0x1f80);
	/* All of it is initial now: XSAVEOPT writes the header only, and MXCSR. */
	f->cpu->gpr[CPU_RAX] = 3;
	memset(f->data, 0xcc, 512);
	memset(f->data + 512, 0, 64);
	f->data[512] = 3;
	assert_int_equal(RUN(f, XSAVEOPT), NONE);
	assert_int_equal(f->data[512], 0);
	assert_int_equal(f->data[0], 0xcc);
	assert_int_equal(f->data[160], 0xcc);
	assert_int_equal(le32_get(f->data + 24), 0x1f80);
}

/* Outside 64-bit mode there are eight registers, and the others stay as they are. */
static void eight_registers(void **state)
{
	struct fixture *f = *state;
	struct vector_state before;

	prepare(f, PROTECTED);
	before = f->cpu->vector;
	assert_int_equal(RUN(f, FXSAVE), NONE);
	assert_memory_equal(f->data + 160 + 7 * 16, before.zmm[7], 16);
	assert_int_equal(f->data[160 + 8 * 16], 0xcc);
	memset(f->data + 160, 0x11, 256);
	assert_int_equal(RUN(f, FXRSTOR), NONE);
	assert_int_equal(f->cpu->vector.zmm[7][0], 0x11);
	assert_memory_equal(f->cpu->vector.zmm[8], before.zmm[8], 64);
	memset(f->data, 0xcc, 4096);
	memset(f->data + 512, 0, 64);
	assert_int_equal(RUN(f, XSAVE), NONE);
	assert_int_equal(f->data[160 + 8 * 16], 0xcc);
	/* ZMM16 to 31 are nowhere, but in use: so this CPU has it. */
	if (has_all(f))
		assert_int_equal(f->data[512], 0xe7);
	f->data[512] = 0;
	le32_put(f->data + 24, 0x1f80);
	assert_int_equal(RUN(f, XRSTOR), NONE);
	assert_int_equal(f->cpu->vector.zmm[7][0], 0);
	assert_memory_equal(f->cpu->vector.zmm[8], before.zmm[8], 64);
	assert_memory_equal(f->cpu->vector.zmm[20], before.zmm[20], 64);
}

/* Where the last instruction was, with an exception pending: selectors without REX.W. */
static void pointers(void **state)
{
	struct fixture *f = *state;

	prepare(f, PROTECTED);
	assert_int_equal(RUN(f, FXSAVE), NONE);
	assert_int_equal(le16_get(f->data + 6), 0);
	f->data[0] = 0x7e;
	le16_put(f->data + 2, 1);
	le16_put(f->data + 6, 0xffff);
	le64_put(f->data + 8, 0xeeee123401020304);
	le64_put(f->data + 16, 0xdddd567805060708);
	assert_int_equal(RUN(f, FXRSTOR), NONE);
	memset(f->data, 0xcc, 512);
	assert_int_equal(RUN(f, FXSAVE), NONE);
	assert_int_equal(le16_get(f->data + 2), 0x8081); /* pending, whatever the image said */
	assert_int_equal(le16_get(f->data + 6), 0x7ff);
	assert_int_equal(le64_get(f->data + 8), 0x123401020304);
	assert_int_equal(le64_get(f->data + 16), 0x567805060708);
	assert_int_equal(RUN(f, FWAIT), EXCEPTION_MF);
	assert_int_equal(RUN(f, FLDENV), EXCEPTION_MF);
	assert_int_equal(RUN(f, FNSTENV), NONE); /* masks all */
	assert_int_equal(RUN(f, FWAIT), NONE);
	assert_int_equal(f->cpu->vector.x87[0] & 0x3f, 0x3f);
}

/* The four layouts of FNSTENV: SDM vol. 1, 8.1.10. */
static void environments(void **state)
{
	static const uint32_t protected_32[] = {0xffff037f, 0xffff3800, 0xffff3fff, CODE,
						0x05431230, DATA,       0xffff4560};
	static const uint32_t real_32[] = {0xffff037f, 0xffff3800, 0xffff3fff, 0xffffa300,
					   0x00001543, 0xffff5600, 0x00005000};
	static const uint16_t protected_16[] = {0x37f,  0x3800, 0x3fff, CODE & 0xffff,
						0x1230, 0,      0x4560};
	static const uint16_t real_16[] = {0x37f, 0x3800, 0x3fff, 0xa300, 0x1543, 0x5600, 0x5000};
	static const struct {
		const char *store, *load;
		const void *image;
		uint8_t count, mode, size;
	} cases[] = {
		{FNSTENV, FLDENV, protected_32, 2, PROTECTED, 28},
		{O66 FNSTENV, O66 FLDENV, protected_16, 3, PROTECTED, 14},
		{A67 FNSTENV, A67 FLDENV, real_16, 3, REAL, 14},
		{O66 A67 FNSTENV, O66 A67 FLDENV, real_32, 4, REAL, 28},
	};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t *x87 = f->cpu->vector.x87;

		prepare(f, cases[i].mode);
		le16_put(x87 + 2, 7 << 11);
		x87[4] = 0x80;
		le16_put(x87 + 6, 0x543);
		le64_put(x87 + 8, CODE);
		le64_put(x87 + 16, DATA);
		f->cpu->vector.x87_cs = 0x1230;
		f->cpu->vector.x87_ds = 0x4560;
		assert_int_equal(run(f, cases[i].store, cases[i].count), NONE);
		assert_memory_equal(f->data, cases[i].image, cases[i].size);
		assert_int_equal(f->data[cases[i].size], 0xcc);
		memset(x87, 0, 24);
		assert_int_equal(run(f, cases[i].load, cases[i].count), NONE);
		assert_int_equal(run(f, cases[i].store, cases[i].count), NONE);
		/* The opcode is not in the short one of protected mode. */
		assert_memory_equal(f->data, cases[i].image, cases[i].size);
	}
}

static void last_instruction(void **state)
{
	struct fixture *f = *state;

	prepare(f, PROTECTED);
	assert_int_equal(RUN(f, FLD1), NONE);
	assert_int_equal(RUN(f, FNSTENV), NONE);
	assert_int_equal(le32_get(f->data + 12), CODE);
	assert_int_equal(le32_get(f->data + 16), 0x01e81230);
	assert_int_equal(RUN(f, "\xd9\x03"), NONE); /* FLD m32 */
	assert_int_equal(RUN(f, FNSTENV), NONE);
	assert_int_equal(le32_get(f->data + 16), 0x01031230);
	assert_int_equal(le32_get(f->data + 20), DATA);
	assert_int_equal(le32_get(f->data + 24), 0xffff4560);
	assert_int_equal(RUN(f, "\xdb\xe3"), NONE); /* FNINIT */
	assert_int_equal(RUN(f, FNSTENV), NONE);
	assert_int_equal(le32_get(f->data + 16), 0);
}

static void neutral_state(void **state)
{
	static const struct {
		uint16_t at;
		uint8_t value;
	} bad[] = {{512, 0x0b}, {519, 0x80}, {520, 1}, {527, 0x80}, {528, 1}, {575, 1}, {27, 1}};
	struct fixture *f = *state;
	struct cpu_state *s = calloc(1, sizeof(*s)), *again = calloc(1, sizeof(*s));
	struct vector_state before;

	assert_non_null(s);
	assert_non_null(again);
	prepare(f, PROTECTED); /* all registers, whatever the mode */
	le64_put(f->cpu->vector.x87 + 8, CODE);
	before = f->cpu->vector;
	fpu_state_get(f->cpu, s);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		*again = *s;
		again->xsave[bad[i].at] = bad[i].value;
		assert_int_equal(fpu_state_set(f->cpu, again), -EINVAL);
		vector_equal(&f->cpu->vector, &before);
	}
	*again = *s;
	again->xsave_size = 575;
	assert_int_equal(fpu_state_set(f->cpu, again), -EINVAL);
	again->xsave_size = CPU_XSAVE_MAX + 1;
	assert_int_equal(fpu_state_set(f->cpu, again), -EINVAL);
	fpu_reset(f->cpu);
	assert_int_equal(fpu_state_set(f->cpu, s), 0);
	if (has_all(f)) {
		vector_equal(&f->cpu->vector, &before);
		assert_int_equal(le64_get(f->cpu->vector.x87 + 8), CODE);
	}
	memset(again, 0, sizeof(*again));
	fpu_state_get(f->cpu, again);
	if (has_all(f))
		assert_memory_equal(again, s, sizeof(*s));
	/* Nothing in use: initial. */
	memset(s->xsave, 0, sizeof(s->xsave));
	assert_int_equal(fpu_state_set(f->cpu, s), 0);
	assert_int_equal(f->cpu->vector.mxcsr, 0x1f80);
	assert_int_equal(le16_get(f->cpu->vector.x87), 0x37f);
	assert_int_equal(f->cpu->vector.zmm[20][5], 0);
	free(s);
	free(again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(xsaves_and_back, setup, teardown),
		cmocka_unit_test_setup_teardown(compaction, setup, teardown),
		cmocka_unit_test_setup_teardown(header_faults, setup, teardown),
		cmocka_unit_test_setup_teardown(availability, setup, teardown),
		cmocka_unit_test_setup_teardown(initial, setup, teardown),
		cmocka_unit_test_setup_teardown(eight_registers, setup, teardown),
		cmocka_unit_test_setup_teardown(pointers, setup, teardown),
		cmocka_unit_test_setup_teardown(environments, setup, teardown),
		cmocka_unit_test_setup_teardown(last_instruction, setup, teardown),
		cmocka_unit_test_setup_teardown(neutral_state, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
