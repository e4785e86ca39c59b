/* SPDX-License-Identifier: MIT */
/* Descriptors and the loading of segment registers. */
#include "vmm/bt/segment.h"

struct cpu_segment segment_of(uint16_t selector, uint64_t low)
{
	uint32_t limit = (uint32_t)((low & 0xffff) | (low >> 32 & 0xf0000));
	uint8_t g = low >> 55 & 1;

	return (struct cpu_segment){
		.selector = selector,
		.base = (low >> 16 & 0xffffff) | (low >> 32 & 0xff000000),
		.limit = g ? limit << 12 | 0xfff : limit,
		.type = low >> 40 & 15,
		.s = low >> 44 & 1,
		.dpl = low >> 45 & 3,
		.present = low >> 47 & 1,
		.avl = low >> 52 & 1,
		.l = low >> 53 & 1,
		.db = low >> 54 & 1,
		.g = g,
	};
}

bool descriptor_find(struct engine_vcpu *cpu, uint16_t selector, bool wide, struct descriptor *out)
{
	uint64_t base = cpu->gdt.base;
	uint32_t limit = cpu->gdt.limit, offset = selector & ~7u;

	if (selector & SELECTOR_LDT) {
		if (cpu->ldt.unusable)
			return false;
		base = cpu->ldt.base;
		limit = cpu->ldt.limit;
	}
	if (offset + 7 > limit)
		return false;
	*out = (struct descriptor){.linear = base + offset};
	if (!cpu->long_mode)
		out->linear &= 0xffffffff;
	out->low = system_read(cpu, out->linear, 8);
	out->segment = segment_of(selector, out->low);
	/* Only system descriptors are wide. */
	if (wide && !out->segment.s) {
		if (offset + 15 > limit)
			return false;
		out->high = system_read(cpu, out->linear + 8, 8);
		/* So that nobody takes the second half for a descriptor (AMD64 vol. 2, 4.8.3). */
		if (out->high >> 40 & 31)
			return false;
	}
	return true;
}

void descriptor_read(struct engine_vcpu *cpu, uint16_t selector, bool wide, enum exception vector,
		     struct descriptor *out)
{
	if (!descriptor_find(cpu, selector, wide, out))
		cpu_fault(cpu, vector, selector & ~SELECTOR_RPL);
}

void descriptor_touch(struct engine_vcpu *cpu, struct descriptor *d)
{
	if (d->segment.type & TYPE_ACCESSED)
		return;
	d->segment.type |= TYPE_ACCESSED;
	d->low |= 1ull << 40;
	system_write(cpu, d->linear + 5, 1, d->low >> 40);
}

uint64_t descriptor_base_64(const struct descriptor *d)
{
	return d->segment.base | d->high << 32;
}

void segment_load_real(struct engine_vcpu *cpu, unsigned segment, uint16_t selector)
{
	struct cpu_segment *s = &cpu->segment[segment];
	bool v86 = cpu->rflags & RFLAGS_VM;

	s->selector = selector;
	s->base = (uint64_t)selector << 4;
	s->unusable = 0;
	/* Real mode keeps limit and attributes as they were ("unreal" mode); virtual-8086 sets
	 * them. */
	if (v86) {
		s->limit = 0xffff;
		s->type = TYPE_WRITABLE | TYPE_ACCESSED;
		s->s = s->present = 1;
		s->dpl = 3;
		s->db = s->l = s->g = 0;
	} else if (segment == CPU_CS) {
		s->type = TYPE_WRITABLE | TYPE_ACCESSED;
		s->s = s->present = 1;
		s->db = s->l = 0;
	}
}

static void segment_null(struct engine_vcpu *cpu, unsigned segment, uint16_t selector)
{
	cpu->segment[segment] = (struct cpu_segment){.selector = selector, .unusable = 1};
}

void segment_load_stack(struct engine_vcpu *cpu, uint16_t selector, unsigned cpl,
			enum exception vector)
{
	int32_t error = selector & ~SELECTOR_RPL;
	struct descriptor d;

	if (is_null(selector)) {
		/* 64-bit mode below level 3 has no use for it. */
		if (!cpu->long_mode || cpl == 3 || (selector & SELECTOR_RPL) != cpl)
			cpu_fault(cpu, vector, 0);
		segment_null(cpu, CPU_SS, selector);
		cpu->segment[CPU_SS].dpl = (uint8_t)cpl;
		return;
	}
	descriptor_read(cpu, selector, false, vector, &d);
	if ((selector & SELECTOR_RPL) != cpl || !d.segment.s || d.segment.type & TYPE_IS_CODE ||
	    !(d.segment.type & TYPE_WRITABLE) || d.segment.dpl != cpl)
		cpu_fault(cpu, vector, error);
	if (!d.segment.present)
		cpu_fault(cpu, EXCEPTION_SS, error);
	descriptor_touch(cpu, &d);
	cpu->segment[CPU_SS] = d.segment;
}

static void segment_load_data(struct engine_vcpu *cpu, unsigned segment, uint16_t selector,
			      enum exception vector)
{
	int32_t error = selector & ~SELECTOR_RPL;
	struct descriptor d;
	unsigned type, rpl = selector & SELECTOR_RPL;

	if (is_null(selector)) {
		segment_null(cpu, segment, selector);
		return;
	}
	descriptor_read(cpu, selector, false, vector, &d);
	type = d.segment.type;
	if (!d.segment.s || (type & TYPE_IS_CODE && !(type & TYPE_READABLE)))
		cpu_fault(cpu, vector, error);
	/* Conforming code may be read from anywhere. */
	if (!(type & TYPE_IS_CODE && type & TYPE_CONFORMING) &&
	    (rpl > d.segment.dpl || cpu->cpl > d.segment.dpl))
		cpu_fault(cpu, vector, error);
	if (!d.segment.present)
		cpu_fault(cpu, EXCEPTION_NP, error);
	descriptor_touch(cpu, &d);
	cpu->segment[segment] = d.segment;
}

void segment_load(struct engine_vcpu *cpu, unsigned segment, uint16_t selector,
		  enum exception vector)
{
	if (!is_protected(cpu))
		segment_load_real(cpu, segment, selector);
	else if (segment == CPU_SS)
		segment_load_stack(cpu, selector, cpu->cpl, vector);
	else
		segment_load_data(cpu, segment, selector, vector);
	if (segment == CPU_SS)
		cpu_mode_update(cpu);
}

void segment_load_code(struct engine_vcpu *cpu, uint16_t selector, unsigned cpl,
		       struct descriptor *d)
{
	descriptor_touch(cpu, d);
	cpu->segment[CPU_CS] = d->segment;
	cpu->segment[CPU_CS].selector = (uint16_t)((selector & ~SELECTOR_RPL) | cpl);
}

void segments_drop(struct engine_vcpu *cpu)
{
	static const unsigned data[] = {CPU_ES, CPU_DS, CPU_FS, CPU_GS};

	for (unsigned i = 0; i < sizeof(data) / sizeof(data[0]); i++) {
		const struct cpu_segment *s = &cpu->segment[data[i]];
		bool conforming = s->type & TYPE_IS_CODE && s->type & TYPE_CONFORMING;

		if (!s->unusable && !conforming && s->dpl < cpu->cpl)
			segment_null(cpu, data[i], 0);
	}
}

/* The task state's stacks: SDM vol. 3, 8.2.1 (32-bit), 8.6 (16-bit), 8.7 (64-bit). */

static bool tss_is_16(const struct engine_vcpu *cpu)
{
	return cpu->tr.type == TYPE_TSS16 || cpu->tr.type == TYPE_TSS16_BUSY;
}

static void tss_check(struct engine_vcpu *cpu, unsigned offset, unsigned size)
{
	if (cpu->tr.unusable || offset + size - 1 > cpu->tr.limit)
		cpu_fault(cpu, EXCEPTION_TS, cpu->tr.selector & ~SELECTOR_RPL);
}

void task_stack(struct engine_vcpu *cpu, unsigned cpl, uint16_t *ss, uint64_t *sp)
{
	uint64_t base = cpu->tr.base;

	if (cpu->long_mode) {
		tss_check(cpu, 4 + 8 * cpl, 8);
		*ss = (uint16_t)cpl;
		*sp = system_read(cpu, base + 4 + 8 * cpl, 8);
	} else if (tss_is_16(cpu)) {
		tss_check(cpu, 2 + 4 * cpl, 4);
		*sp = system_read(cpu, base + 2 + 4 * cpl, 2);
		*ss = (uint16_t)system_read(cpu, base + 4 + 4 * cpl, 2);
	} else {
		tss_check(cpu, 4 + 8 * cpl, 6);
		*sp = system_read(cpu, base + 4 + 8 * cpl, 4);
		*ss = (uint16_t)system_read(cpu, base + 8 + 8 * cpl, 2);
	}
}

uint64_t task_interrupt_stack(struct engine_vcpu *cpu, unsigned ist)
{
	tss_check(cpu, 0x1c + 8 * ist, 8);
	return system_read(cpu, cpu->tr.base + 0x1c + 8 * ist, 8);
}
