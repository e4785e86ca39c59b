/* SPDX-License-Identifier: MIT */
/* vCPU threads over an engine whose guests run until they are kicked. */
#include "tests/unit/unit.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "vmm/core/vcpu.h"

#define VCPUS 3

struct engine_vcpu {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool kicked; /* sticks until the run that it ends */
	_Atomic bool running;
	_Atomic unsigned runs;
	_Atomic int end_with; /* an enum vcpu_exit to return at once; -1: none */
};

struct fixture {
	struct engine_vcpu vcpu[VCPUS];
	struct engine_vcpu *list[VCPUS];
	struct vcpu_set *set;
	_Atomic unsigned ended[VCPUS];
	_Atomic int why;
	char what[64];
};

static enum vcpu_exit vcpu_run(struct engine_vcpu *v, struct error *err)
{
	int end = atomic_exchange(&v->end_with, -1);

	atomic_fetch_add(&v->runs, 1);
	if (end >= 0) {
		error_set(err, 0, NULL, "the engine says so");
		return (enum vcpu_exit)end;
	}
	pthread_mutex_lock(&v->lock);
	atomic_store(&v->running, true);
	while (!v->kicked)
		pthread_cond_wait(&v->cond, &v->lock);
	v->kicked = false;
	atomic_store(&v->running, false);
	pthread_mutex_unlock(&v->lock);
	return VCPU_EXIT_KICKED;
}

static void vcpu_kick(struct engine_vcpu *v)
{
	pthread_mutex_lock(&v->lock);
	v->kicked = true;
	pthread_cond_signal(&v->cond);
	pthread_mutex_unlock(&v->lock);
}

static const struct engine_ops ops = {.vcpu_run = vcpu_run, .vcpu_kick = vcpu_kick};

static void ended(void *arg, unsigned index, enum vcpu_exit why, const struct error *err)
{
	struct fixture *f = arg;

	snprintf(f->what, sizeof(f->what), "%s", err->what);
	atomic_store(&f->why, why);
	atomic_fetch_add(&f->ended[index], 1);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	for (unsigned i = 0; i < VCPUS; i++) {
		pthread_mutex_init(&f->vcpu[i].lock, NULL);
		pthread_cond_init(&f->vcpu[i].cond, NULL);
		atomic_store(&f->vcpu[i].end_with, -1);
		f->list[i] = &f->vcpu[i];
	}
	assert_int_equal(vcpu_set_create(&ops, f->list, VCPUS, ended, f, &f->set, NULL), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	vcpu_set_destroy(f->set);
	for (unsigned i = 0; i < VCPUS; i++) {
		assert_false(atomic_load(&f->vcpu[i].running));
		pthread_cond_destroy(&f->vcpu[i].cond);
		pthread_mutex_destroy(&f->vcpu[i].lock);
	}
	free(f);
	return 0;
}

static void wait_running(struct fixture *f, unsigned index)
{
	while (!atomic_load(&f->vcpu[index].running))
		sched_yield();
}

static void check_paused(struct fixture *f)
{
	for (unsigned i = 0; i < VCPUS; i++)
		assert_false(atomic_load(&f->vcpu[i].running));
}

static void made_paused(void **state)
{
	struct fixture *f = *state;

	vcpu_set_pause(f->set); /* already, and it comes back */
	check_paused(f);
	for (unsigned i = 0; i < VCPUS; i++)
		assert_int_equal(atomic_load(&f->vcpu[i].runs), 0);
}

static void pause_and_resume(void **state)
{
	struct fixture *f = *state;

	for (unsigned round = 0; round < 50; round++) {
		vcpu_set_resume(f->set);
		if (round % 2)
			for (unsigned i = 0; i < VCPUS; i++)
				wait_running(f, i);
		vcpu_set_pause(f->set); /* at once, or once all of them run */
		check_paused(f);
		vcpu_set_pause(f->set);
	}
	for (unsigned i = 0; i < VCPUS; i++)
		assert_int_equal(atomic_load(&f->ended[i]), 0);
}

/* A stray kick is no end: the vCPU goes on. */
static void kick_alone(void **state)
{
	struct fixture *f = *state;
	unsigned runs;

	vcpu_set_resume(f->set);
	wait_running(f, 1);
	runs = atomic_load(&f->vcpu[1].runs);
	vcpu_kick(&f->vcpu[1]);
	while (atomic_load(&f->vcpu[1].runs) == runs)
		sched_yield();
	wait_running(f, 1);
	vcpu_set_pause(f->set);
}

static void end_of_one(void **state)
{
	struct fixture *f = *state;

	atomic_store(&f->vcpu[2].end_with, VCPU_EXIT_SHUTDOWN);
	vcpu_set_resume(f->set);
	while (!atomic_load(&f->ended[2]))
		sched_yield();
	assert_int_equal(atomic_load(&f->why), VCPU_EXIT_SHUTDOWN);
	assert_string_equal(f->what, "the engine says so");
	/* The others run on; that one stays where it is, also through a resume alone. */
	wait_running(f, 0);
	wait_running(f, 1);
	assert_int_equal(atomic_load(&f->vcpu[2].runs), 1);
	vcpu_set_pause(f->set);
	check_paused(f);
	vcpu_set_resume(f->set);
	wait_running(f, 2);
	vcpu_set_pause(f->set);
	assert_int_equal(atomic_load(&f->ended[0]) + atomic_load(&f->ended[1]), 0);
	assert_int_equal(atomic_load(&f->ended[2]), 1);
}

static void end_of_all(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < VCPUS; i++)
		atomic_store(&f->vcpu[i].end_with, VCPU_EXIT_FAILED);
	vcpu_set_resume(f->set);
	for (unsigned i = 0; i < VCPUS; i++)
		while (!atomic_load(&f->ended[i]))
			sched_yield();
	vcpu_set_pause(f->set);
	check_paused(f);
}

static void destroyed_while_running(void **state)
{
	struct fixture *f = *state;

	vcpu_set_resume(f->set);
	wait_running(f, 0);
	/* teardown destroys it */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(made_paused), TEST(pause_and_resume), TEST(kick_alone),
		TEST(end_of_one),  TEST(end_of_all),       TEST(destroyed_while_running),
	};

	vcpu_set_destroy(NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
