/* SPDX-License-Identifier: MIT */
/* A VM of engine bt with one vCPU, in 64-bit mode at CPL 0, its first 2 MiB mapped where they are.
 */
#ifndef TESTS_UNIT_BT_FIXTURE_H
#define TESTS_UNIT_BT_FIXTURE_H

#include "tests/unit/unit.h"

#include "vmm/bt/bt_impl.h"

/* CODE is where RIP is, DATA what RBX points to. */
#define CODE 0x8000u
#define DATA 0x10000u

struct fixture {
	struct vm_config config;
	struct engine_vm *vm;
	struct engine_vcpu *cpu;
	struct cpu_state state; /* to begin with */
};

struct fixture *bt_fixture_create(enum translation translation);
/* Page tables and `state` as they are at the begin: no IDT, so any exception is the end. */
void bt_fixture_begin(struct fixture *f);
void bt_fixture_destroy(struct fixture *f);

#endif
