/* SPDX-License-Identifier: MIT */
/*
 * The translator in lock-step with the interpreter: what is right passes, and what is wrong is
 * found. A guest runs, the host code that came of it is changed by hand, and it runs again.
 */
#include "tests/unit/unit.h"

#include "tests/unit/bt_fixture.h"
#include "vmm/bt/bt.h"
#include "vmm/bt/bt_impl.h"
#include "vmm/bt/code_cache.h"
#include "vmm/bt/system.h"

static const uint8_t program[] = {
	0x48, 0x05, 0x78, 0x56, 0x34, 0x12, /* add $0x12345678, %rax */
	0xc7, 0x03, 0x44, 0x33, 0x22, 0x11, /* movl $0x11223344, (%rbx) */
	0x66, 0x0f, 0x76, 0xc0,             /* pcmpeqd %xmm0, %xmm0 */
	0x3d, 0xa4, 0xa3, 0xa2, 0xa1,       /* cmp $0xa1a2a3a4, %eax */
	0xeb, 0x00,                         /* jmp .+2 */
	0x0f, 0x0b,                         /* ud2: a triple fault */
};

static int setup(void **state)
{
	struct fixture *f = bt_fixture_create(TRANSLATION_CHECKED);

	memcpy(memory_at_write(f->config.memory, CODE, 4096), program, sizeof(program));
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	bt_fixture_destroy(*state);
	return 0;
}

static enum vcpu_exit run(struct fixture *f, struct error *err)
{
	assert_int_equal(bt_engine_ops.vcpu_state_set(f->cpu, &f->state, err), 0);
	return bt_engine_ops.vcpu_run(f->cpu, err);
}

/* In host code, the byte behind `size` others. */
static uint8_t *find(const struct code_cache *c, const uint8_t *bytes, size_t size)
{
	const struct code_part *p = &c->part[c->filling];
	uint8_t *at = memmem(p->begin, (size_t)(p->used - p->begin), bytes, size);

	assert_non_null(at);
	return at + size;
}

/* The translation of `program[at]` is another one. */
static void wrong(void **state, unsigned at, unsigned first, uint8_t value)
{
	struct fixture *f = *state;
	struct error err = {0};

	assert_int_equal(run(f, &err), VCPU_EXIT_SHUTDOWN);
	*find(f->vm->code, program + first, at - first) = value;
	assert_int_equal(run(f, &err), VCPU_EXIT_FAILED);
	assert_string_equal(err.what, "engine bt: translated code at 8000 does not do what the "
				      "interpreter does");
	/* And it stays so. */
	assert_int_equal(run(f, &err), VCPU_EXIT_FAILED);
}

static void what_is_right_passes(void **state)
{
	struct fixture *f = *state;
	struct error err = {0};

	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(run(f, &err), VCPU_EXIT_SHUTDOWN);
		assert_int_equal(f->cpu->rip, CODE + sizeof(program) - 2);
		assert_int_equal(f->cpu->gpr[CPU_RAX], 0x12345678);
		assert_int_equal(le32_get(memory_at(f->config.memory, DATA, 4)), 0x11223344);
	}
	assert_true(f->vm->code->translated > 0);
}

static void a_wrong_register_is_found(void **state)
{
	wrong(state, 5, 2, 0x13);
}

static void wrong_memory_is_found(void **state)
{
	struct fixture *f = *state;

	wrong(state, 11, 8, 0x10);
	/* What the interpreter did is what holds. */
	assert_int_equal(le32_get(memory_at(f->config.memory, DATA, 4)), 0x11223344);
}

static void a_wrong_vector_is_found(void **state)
{
	wrong(state, 15, 12, 0xc9);
}

static void wrong_flags_are_found(void **state)
{
	wrong(state, 20, 17, 0x01);
}

static void program_set(struct fixture *f, const uint8_t *bytes, size_t size)
{
	memcpy(memory_at_write(f->config.memory, CODE, 4096), bytes, size);
}

/* The rest of a block that writes to itself is what was written. */
static void a_block_that_changes_itself(void **state)
{
	static const uint8_t changing[] = {
		0xc6, 0x05, 0x01, 0, 0, 0, 7, /* movb $7, 1(%rip) */
		0xb0, 0x01,                   /* mov $1, %al */
		0x0f, 0x0b,                   /* ud2 */
	};
	struct fixture *f = *state;
	struct error err = {0};

	for (unsigned i = 0; i < 3; i++) {
		program_set(f, changing, sizeof(changing));
		assert_int_equal(run(f, &err), VCPU_EXIT_SHUTDOWN);
		assert_int_equal(f->cpu->gpr[CPU_RAX], 7);
	}
}

struct writer {
	_Atomic uint64_t *at;
	_Atomic bool stop;
};

static void *writer_run(void *arg)
{
	struct writer *w = arg;

	while (!atomic_load(&w->stop))
		atomic_fetch_add(w->at, 1);
	return NULL;
}

/* Memory that somebody else writes to is another each time. */
static void a_device_that_writes_is_no_difference(void **state)
{
	static const uint8_t copying[] = {
		0x48, 0x8b, 0x03,                   /* 1: mov (%rbx), %rax */
		0x48, 0x89, 0x83, 0x08, 0x10, 0, 0, /* mov %rax, 0x1008(%rbx) */
		0xff, 0xc9,                         /* dec %ecx */
		0x75, 0xf2,                         /* jnz 1b */
		0x0f, 0x0b,                         /* ud2 */
	};
	struct fixture *f = *state;
	struct writer w = {.at = memory_at_write(f->config.memory, DATA, 8)};
	struct error err = {0};
	pthread_t thread;

	program_set(f, copying, sizeof(copying));
	f->state.gpr[CPU_RCX] = 5000;
	assert_int_equal(pthread_create(&thread, NULL, writer_run, &w), 0);
	assert_int_equal(run(f, &err), VCPU_EXIT_SHUTDOWN);
	atomic_store(&w.stop, true);
	pthread_join(thread, NULL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_right_passes, setup, teardown),
		cmocka_unit_test_setup_teardown(a_wrong_register_is_found, setup, teardown),
		cmocka_unit_test_setup_teardown(wrong_memory_is_found, setup, teardown),
		cmocka_unit_test_setup_teardown(a_wrong_vector_is_found, setup, teardown),
		cmocka_unit_test_setup_teardown(wrong_flags_are_found, setup, teardown),
		cmocka_unit_test_setup_teardown(a_block_that_changes_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(a_device_that_writes_is_no_difference, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
