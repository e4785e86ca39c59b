/* SPDX-License-Identifier: MIT */
/* See bt_fixture.h. */
#include "tests/unit/bt_fixture.h"

#include "vmm/bt/bt.h"
#include "vmm/bt/system.h"

#define MEMORY (16 * MIB)
#define TABLES 0x1000u

void bt_fixture_begin(struct fixture *f)
{
	uint8_t *tables = memory_at_write(f->config.memory, TABLES, 3 * 4096);
	struct cpu_state *s = &f->state;
	struct error err = {0};

	le64_put(tables, (TABLES + 4096) | 7);
	le64_put(tables + 4096, (TABLES + 8192) | 7);
	le64_put(tables + 8192, 0x87);
	assert_int_equal(bt_engine_ops.vcpu_state_get(f->cpu, s, &err), 0);
	s->cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NE;
	s->cr3 = TABLES;
	s->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXSAVE;
	s->efer = EFER_LME | EFER_LMA;
	s->xcr0 = 7;
	s->idt = (struct cpu_table){0};
	for (unsigned i = 0; i < CPU_SEGMENTS; i++)
		s->segment[i] = (struct cpu_segment){.selector = 8,
						     .limit = ~0u,
						     .type = i == CPU_CS ? 11 : 3,
						     .s = 1,
						     .present = 1,
						     .l = i == CPU_CS,
						     .g = 1};
	s->rip = CODE;
	s->gpr[CPU_RBX] = DATA;
}

struct fixture *bt_fixture_create(enum translation translation)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct cpuid_table cpuid;
	struct error err = {0};

	assert_non_null(f);
	f->config = (struct vm_config){.vcpus = 1, .translation = translation};
	assert_int_equal(memory_create(MEMORY, &f->config.memory, &err), 0);
	assert_int_equal(bus_create(&f->config.pio), 0);
	assert_int_equal(bus_create(&f->config.mmio), 0);
	assert_int_equal(bt_engine_ops.cpuid_supported(&cpuid, &err), 0);
	assert_int_equal(bt_engine_ops.vm_create(&f->config, &f->vm, &err), 0);
	assert_int_equal(bt_engine_ops.vcpu_create(f->vm, 0, &cpuid, &f->cpu, &err), 0);
	bt_fixture_begin(f);
	return f;
}

void bt_fixture_destroy(struct fixture *f)
{
	bt_engine_ops.vm_destroy(f->vm);
	bus_destroy(f->config.pio);
	bus_destroy(f->config.mmio);
	memory_destroy(f->config.memory);
	free(f);
}
