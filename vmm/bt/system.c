/* SPDX-License-Identifier: MIT */
/*
 * System instructions: control and debug registers, descriptor tables, MSRs, flags, ports, fast
 * system calls. Privilege first (A_CPL0 in the tables is checked by the run loop), then operands.
 */
#include "vmm/bt/system.h"
#include "vmm/bt/debug.h"

#include <immintrin.h>

#include "vmm/bt/guest_bytes.h"
#include "vmm/bt/handlers.h"
#include "vmm/bt/operand.h"
#include "vmm/bt/segment.h"
#include "vmm/bt/vcpu.h"

#define DST (&insn->operand[0])
#define SRC (&insn->operand[1])

/* Of instructions that check something else first. */
static void privileged(struct engine_vcpu *cpu)
{
	if (cpu->cpl)
		cpu_fault(cpu, EXCEPTION_GP, 0);
}

static void gp_if(struct engine_vcpu *cpu, bool bad)
{
	if (bad)
		cpu_fault(cpu, EXCEPTION_GP, 0);
}

static void ud_if(struct engine_vcpu *cpu, bool bad)
{
	if (bad)
		cpu_fault(cpu, EXCEPTION_UD, NO_ERROR_CODE);
}

static unsigned iopl(const struct engine_vcpu *cpu)
{
	return cpu->rflags >> 12 & 3;
}

bool cpu_has(const struct engine_vcpu *cpu, uint32_t function, enum cpuid_register reg,
	     unsigned bit)
{
	const struct cpuid_leaf *leaf = cpuid_find(cpu->cpuid, function, 0);

	return leaf && leaf->reg[reg] >> bit & 1;
}

/* Control and debug registers. */

void do_mov_from_control(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint64_t value;

	switch (SRC->reg) {
	case 0:
		value = cpu->cr0;
		break;
	case 2:
		value = cpu->cr2;
		break;
	case 3:
		value = cpu->cr3;
		break;
	case 4:
		value = cpu->cr4;
		break;
	default:
		value = cpu_cr8(cpu);
		break;
	}
	gpr_set(cpu, DST->reg, DST->size, value);
}

void do_mov_to_control(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint64_t value = gpr_get(cpu, SRC->reg, SRC->size);
	int ret = 0;

	switch (DST->reg) {
	case 0:
		ret = cpu_set_cr0(cpu, value);
		break;
	case 2:
		cpu->cr2 = value;
		break;
	case 3:
		ret = cpu_set_cr3(cpu, value);
		break;
	case 4:
		ret = cpu_set_cr4(cpu, value);
		break;
	default:
		gp_if(cpu, value > 15);
		cpu_cr8_set(cpu, value);
		break;
	}
	gp_if(cpu, ret);
	if (DST->reg != 8)
		guest_fence();
}

/* DR7.GD: the next access to a debug register traps before it is done. */
static void debug_access(struct engine_vcpu *cpu, unsigned number)
{
	ud_if(cpu, cpu->cr4 & CR4_DE && (number == 4 || number == 5));
	if (cpu->dr7 & DR7_GD) {
		cpu->dr6 |= DR6_BD;
		cpu_fault(cpu, EXCEPTION_DB, NO_ERROR_CODE);
	}
}

void do_mov_from_debug(struct engine_vcpu *cpu, const struct insn *insn)
{
	debug_access(cpu, SRC->reg);
	gpr_set(cpu, DST->reg, DST->size, cpu_get_dr(cpu, SRC->reg));
}

void do_mov_to_debug(struct engine_vcpu *cpu, const struct insn *insn)
{
	debug_access(cpu, DST->reg);
	gp_if(cpu, cpu_set_dr(cpu, DST->reg, gpr_get(cpu, SRC->reg, SRC->size)));
}

void do_clts(struct engine_vcpu *cpu, const struct insn *insn)
{
	(void)insn;
	cpu->cr0 &= ~(uint64_t)CR0_TS;
}

void do_lmsw(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint64_t value = operand_get(cpu, insn, DST) & 15;

	/* It sets PE, but does not clear it. */
	gp_if(cpu, cpu_set_cr0(cpu, (cpu->cr0 & ~14ull) | value));
}

/* Tables. SGDT, SIDT, SLDT, STR, SMSW are not for users under UMIP. */

static void umip_check(struct engine_vcpu *cpu)
{
	gp_if(cpu, cpu->cr4 & CR4_UMIP && cpu->cpl);
}

void do_store_table(struct engine_vcpu *cpu, const struct insn *insn)
{
	const struct cpu_table *t = insn->opcode->id == INSN_SGDT ? &cpu->gdt : &cpu->idt;
	unsigned wide = cpu->mode == DECODE_64 ? 8 : 4;
	uint64_t linear;

	umip_check(cpu);
	linear = operand_linear(cpu, insn, 2 + wide, true);
	linear_probe_write(cpu, linear, 2 + wide);
	linear_write(cpu, linear, 2, t->limit);
	linear_write(cpu, linear_after(cpu, linear, 2), wide, t->base);
}

void do_load_table(struct engine_vcpu *cpu, const struct insn *insn)
{
	struct cpu_table *t = insn->opcode->id == INSN_LGDT ? &cpu->gdt : &cpu->idt;
	unsigned wide = cpu->mode == DECODE_64 ? 8 : 4;
	uint64_t linear = operand_linear(cpu, insn, 2 + wide, false);
	uint16_t limit = (uint16_t)linear_read(cpu, linear, 2);
	uint64_t base = linear_read(cpu, linear_after(cpu, linear, 2), wide);

	gp_if(cpu, !is_canonical(base));
	/* With 16-bit operands the base has 24 bits. */
	if (cpu->mode != DECODE_64 && insn->operand_size == 2)
		base &= 0xffffff;
	*t = (struct cpu_table){.base = base, .limit = limit};
}

void do_store_selector(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint64_t value;

	umip_check(cpu);
	if (insn->opcode->id == INSN_SMSW) {
		value = cpu->cr0;
	} else {
		ud_if(cpu, !is_protected(cpu));
		value = insn->opcode->id == INSN_STR ? cpu->tr.selector : cpu->ldt.selector;
	}
	operand_set(cpu, insn, DST, value);
}

void do_lldt(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint16_t selector;
	struct descriptor d;
	int32_t error;

	ud_if(cpu, !is_protected(cpu));
	privileged(cpu);
	selector = (uint16_t)operand_get(cpu, insn, DST);
	error = selector & ~SELECTOR_RPL;
	if (is_null(selector)) {
		cpu->ldt = (struct cpu_segment){.selector = selector, .unusable = 1};
		return;
	}
	if (selector & SELECTOR_LDT)
		cpu_fault(cpu, EXCEPTION_GP, error);
	descriptor_read(cpu, selector, cpu->long_mode, EXCEPTION_GP, &d);
	if (d.segment.s || d.segment.type != TYPE_LDT)
		cpu_fault(cpu, EXCEPTION_GP, error);
	if (!d.segment.present)
		cpu_fault(cpu, EXCEPTION_NP, error);
	if (!is_canonical(descriptor_base_64(&d)))
		cpu_fault(cpu, EXCEPTION_GP, error);
	cpu->ldt = d.segment;
	cpu->ldt.base = descriptor_base_64(&d);
}

void do_ltr(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint16_t selector;
	struct descriptor d;
	int32_t error;

	ud_if(cpu, !is_protected(cpu));
	privileged(cpu);
	selector = (uint16_t)operand_get(cpu, insn, DST);
	error = selector & ~SELECTOR_RPL;
	gp_if(cpu, is_null(selector));
	if (selector & SELECTOR_LDT)
		cpu_fault(cpu, EXCEPTION_GP, error);
	descriptor_read(cpu, selector, cpu->long_mode, EXCEPTION_GP, &d);
	if (d.segment.s ||
	    !(d.segment.type == TYPE_TSS32 || (d.segment.type == TYPE_TSS16 && !cpu->long_mode)))
		cpu_fault(cpu, EXCEPTION_GP, error);
	if (!d.segment.present)
		cpu_fault(cpu, EXCEPTION_NP, error);
	if (!is_canonical(descriptor_base_64(&d)))
		cpu_fault(cpu, EXCEPTION_GP, error);
	d.segment.type |= 2; /* busy */
	system_write(cpu, d.linear + 5, 1, (d.low >> 40 & 0xff) | 2);
	cpu->tr = d.segment;
	cpu->tr.base = descriptor_base_64(&d);
}

void do_invlpg(struct engine_vcpu *cpu, const struct insn *insn)
{
	tlb_invalidate(cpu, operand_address(cpu, insn));
	guest_fence();
}

void do_invpcid(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint64_t type = gpr_get(cpu, DST->reg, DST->size), linear, pcid, address;

	ud_if(cpu, !cpu_has(cpu, 7, CPUID_EBX, 10));
	privileged(cpu);
	linear = operand_linear(cpu, insn, 16, false);
	pcid = linear_read(cpu, linear, 8);
	address = linear_read(cpu, linear_after(cpu, linear, 8), 8);
	gp_if(cpu, type > 3 || (type < 2 && pcid >> 12) || (pcid && !(cpu->cr4 & CR4_PCIDE)));
	gp_if(cpu, type == 0 && !is_canonical(address));
	/* One address, one context, all, all but global: we keep the present context only. */
	if (type == 0 && pcid == (cpu->cr3 & 0xfff))
		tlb_invalidate(cpu, address);
	else
		tlb_flush(cpu, type == 2);
	guest_fence();
}

/* Segments. */

void do_mov_from_segment(struct engine_vcpu *cpu, const struct insn *insn)
{
	operand_set(cpu, insn, DST, cpu->segment[SRC->reg].selector);
}

static void shadow_after(struct engine_vcpu *cpu, unsigned segment)
{
	if (segment == CPU_SS)
		cpu->shadow = CPU_SHADOW_MOV_SS;
}

void do_mov_to_segment(struct engine_vcpu *cpu, const struct insn *insn)
{
	segment_load(cpu, DST->reg, (uint16_t)operand_get(cpu, insn, SRC), EXCEPTION_GP);
	shadow_after(cpu, DST->reg);
}

void do_push_segment(struct engine_vcpu *cpu, const struct insn *insn)
{
	stack_push(cpu, insn->operand_size, cpu->segment[DST->reg].selector);
}

void do_pop_segment(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint16_t selector = (uint16_t)stack_peek(cpu, 0, insn->operand_size);
	unsigned width = cpu->stack_size;

	segment_load(cpu, DST->reg, selector, EXCEPTION_GP);
	gpr_set(cpu, CPU_RSP, width, cpu->gpr[CPU_RSP] + insn->operand_size);
	shadow_after(cpu, DST->reg);
}

void do_load_far_pointer(struct engine_vcpu *cpu, const struct insn *insn)
{
	static const struct {
		uint8_t map, code, segment;
	} targets[] = {{INSN_MAP_1BYTE, 0xc4, CPU_ES},
		       {INSN_MAP_1BYTE, 0xc5, CPU_DS},
		       {INSN_MAP_0F, 0xb2, CPU_SS},
		       {INSN_MAP_0F, 0xb4, CPU_FS},
		       {INSN_MAP_0F, 0xb5, CPU_GS}};
	unsigned size = insn->operand_size;
	uint64_t linear = operand_linear(cpu, insn, size + 2, false);
	uint64_t offset = linear_read(cpu, linear, size);
	uint16_t selector = (uint16_t)linear_read(cpu, linear_after(cpu, linear, size), 2);

	for (unsigned i = 0; i < 5; i++)
		if (targets[i].map == insn->map && targets[i].code == insn->code)
			segment_load(cpu, targets[i].segment, selector, EXCEPTION_GP);
	gpr_set(cpu, DST->reg, DST->size, offset);
}

/* May the selector be used so? For LAR, LSL, VERR, VERW: no faults, only ZF. */
static bool selector_visible(struct engine_vcpu *cpu, uint16_t selector, struct descriptor *d)
{
	unsigned rpl = selector & SELECTOR_RPL;
	bool conforming;

	if (is_null(selector) || !descriptor_find(cpu, selector, false, d))
		return false;
	conforming =
		d->segment.s && d->segment.type & TYPE_IS_CODE && d->segment.type & TYPE_CONFORMING;
	return conforming || (d->segment.dpl >= cpu->cpl && d->segment.dpl >= rpl);
}

static void zero_flag(struct engine_vcpu *cpu, bool set)
{
	cpu->rflags = set ? cpu->rflags | RFLAGS_ZF : cpu->rflags & ~(uint64_t)RFLAGS_ZF;
}

void do_lar_lsl(struct engine_vcpu *cpu, const struct insn *insn)
{
	/* System descriptors that LAR knows, by type; LSL knows those with a limit. */
	static const uint16_t lar = 0x1a3e, lar_long = 0x1a04, lsl = 0x0a0e, lsl_long = 0x0a04;
	bool is_lar = insn->opcode->id == INSN_LAR;
	uint16_t selector = (uint16_t)operand_get(cpu, insn, SRC), known;
	struct descriptor d;
	bool visible;

	ud_if(cpu, !is_protected(cpu));
	visible = selector_visible(cpu, selector, &d);
	if (cpu->long_mode)
		known = is_lar ? lar_long : lsl_long;
	else
		known = is_lar ? lar : lsl;
	if (visible && !d.segment.s)
		visible = known >> d.segment.type & 1;
	zero_flag(cpu, visible);
	if (visible)
		gpr_set(cpu, DST->reg, DST->size,
			is_lar ? d.low >> 32 & 0xf0ff00 : d.segment.limit);
}

void do_verify(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint16_t selector = (uint16_t)operand_get(cpu, insn, DST);
	struct descriptor d;
	bool ok;

	ud_if(cpu, !is_protected(cpu));
	ok = selector_visible(cpu, selector, &d) && d.segment.s;
	if (ok && insn->opcode->id == INSN_VERW)
		ok = !(d.segment.type & TYPE_IS_CODE) && d.segment.type & TYPE_WRITABLE;
	else if (ok)
		ok = !(d.segment.type & TYPE_IS_CODE) || d.segment.type & TYPE_READABLE;
	zero_flag(cpu, ok);
}

void do_arpl(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint64_t a, b = gpr_get(cpu, SRC->reg, 2) & SELECTOR_RPL;

	ud_if(cpu, !is_protected(cpu));
	a = operand_get(cpu, insn, DST);
	if (DST->kind == OPERAND_MEMORY)
		linear_probe_write(cpu, operand_linear(cpu, insn, 2, true), 2);
	zero_flag(cpu, (a & SELECTOR_RPL) < b);
	if ((a & SELECTOR_RPL) < b)
		operand_set(cpu, insn, DST, (a & ~(uint64_t)SELECTOR_RPL) | b);
}

/* Flags. */

static bool is_v86(const struct engine_vcpu *cpu)
{
	return cpu->cr0 & CR0_PE && cpu->rflags & RFLAGS_VM;
}

void do_pushf(struct engine_vcpu *cpu, const struct insn *insn)
{
	gp_if(cpu, is_v86(cpu) && iopl(cpu) < 3);
	stack_push(cpu, insn->operand_size, cpu->rflags & ~(uint64_t)(RFLAGS_VM | RFLAGS_RF));
}

void do_popf(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint64_t mask = flags_writable(cpu, insn->operand_size), value;

	gp_if(cpu, is_v86(cpu) && iopl(cpu) < 3);
	value = stack_pop(cpu, insn->operand_size);
	cpu->rflags = (cpu->rflags & ~(mask | RFLAGS_RF)) | (value & mask) | RFLAGS_ONE;
	cpu_mode_update(cpu); /* AC */
}

void do_cli(struct engine_vcpu *cpu, const struct insn *insn)
{
	(void)insn;
	gp_if(cpu, cpu->cr0 & CR0_PE && iopl(cpu) < cpu->cpl);
	cpu->rflags &= ~(uint64_t)RFLAGS_IF;
}

void do_sti(struct engine_vcpu *cpu, const struct insn *insn)
{
	(void)insn;
	gp_if(cpu, cpu->cr0 & CR0_PE && iopl(cpu) < cpu->cpl);
	if (!(cpu->rflags & RFLAGS_IF))
		cpu->shadow = CPU_SHADOW_STI;
	cpu->rflags |= RFLAGS_IF;
}

void do_clac_stac(struct engine_vcpu *cpu, const struct insn *insn)
{
	ud_if(cpu, !cpu_has(cpu, 7, CPUID_EBX, 20) || cpu->cpl);
	if (insn->opcode->id == INSN_STAC)
		cpu->rflags |= RFLAGS_AC;
	else
		cpu->rflags &= ~(uint64_t)RFLAGS_AC;
	cpu_mode_update(cpu);
}

void do_hlt(struct engine_vcpu *cpu, const struct insn *insn)
{
	(void)insn;
	cpu->halted = true;
}

/* Ports: by IOPL, else by the task's bit map (SDM vol. 1, 19.5.2). */

void port_check(struct engine_vcpu *cpu, uint16_t port, unsigned size)
{
	uint64_t map, bits;

	if (!(cpu->cr0 & CR0_PE) || (!is_v86(cpu) && cpu->cpl <= iopl(cpu)))
		return;
	/* A TSS of 16 bits has no map. */
	gp_if(cpu, cpu->tr.unusable || cpu->tr.limit < 103 || cpu->tr.type < TYPE_TSS32);
	map = system_read(cpu, cpu->tr.base + 102, 2) + port / 8;
	gp_if(cpu, map + 1 > cpu->tr.limit);
	bits = system_read(cpu, cpu->tr.base + map, 2) >> port % 8;
	gp_if(cpu, bits & ((1u << size) - 1));
}

uint64_t port_read(struct engine_vcpu *cpu, uint16_t port, unsigned size)
{
	if (cpu->checks & CHECK_PORT)
		debug_port(cpu, port, size);
	world_count(&cpu->world.counts.io, 1);
	return bus_read(cpu->vm->config.pio, port, size);
}

void port_write(struct engine_vcpu *cpu, uint16_t port, unsigned size, uint64_t value)
{
	if (cpu->checks & CHECK_PORT)
		debug_port(cpu, port, size);
	world_count(&cpu->world.counts.io, 1);
	if (!bt_doorbell_ring(cpu->vm, false, port, size))
		bus_write(cpu->vm->config.pio, port, size, value);
}

static uint16_t port_of(struct engine_vcpu *cpu, const struct insn *insn, const struct operand *o)
{
	return (uint16_t)(o->kind == OPERAND_IMMEDIATE ? insn->immediate : cpu->gpr[CPU_RDX]);
}

void do_in(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint16_t port = port_of(cpu, insn, SRC);

	port_check(cpu, port, DST->size);
	gpr_set(cpu, CPU_RAX, DST->size, port_read(cpu, port, DST->size));
}

void do_out(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint16_t port = port_of(cpu, insn, DST);

	port_check(cpu, port, SRC->size);
	port_write(cpu, port, SRC->size, gpr_get(cpu, CPU_RAX, SRC->size));
}

/* Fast system calls. */

static struct cpu_segment flat(uint16_t selector, bool code, unsigned dpl, bool wide)
{
	return (struct cpu_segment){
		.selector = selector,
		.limit = ~0u,
		.type = code ? TYPE_IS_CODE | TYPE_READABLE | TYPE_ACCESSED
			     : TYPE_WRITABLE | TYPE_ACCESSED,
		.s = 1,
		.dpl = (uint8_t)dpl,
		.present = 1,
		.l = code && wide,
		.db = !(code && wide),
		.g = 1,
	};
}

static void enter_flat(struct engine_vcpu *cpu, uint16_t cs, uint16_t ss, unsigned cpl, bool wide)
{
	cpu->segment[CPU_CS] = flat((uint16_t)((cs & ~SELECTOR_RPL) | cpl), true, cpl, wide);
	cpu->segment[CPU_SS] = flat((uint16_t)((ss & ~SELECTOR_RPL) | cpl), false, cpl, false);
	cpu_mode_update(cpu);
}

void do_syscall(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint16_t cs = (uint16_t)(cpu->msr.star >> 32);
	bool was_64 = cpu->mode == DECODE_64;

	(void)insn;
	ud_if(cpu, !(cpu->efer & EFER_SCE) || !(cpu->cr0 & CR0_PE));
	cpu->gpr[CPU_RCX] = cpu->long_mode ? cpu->next_rip : (uint32_t)cpu->next_rip;
	if (cpu->long_mode) {
		cpu->gpr[CPU_R11] = cpu->rflags & ~(uint64_t)RFLAGS_RF;
		cpu->rflags = (cpu->rflags & ~(cpu->msr.sfmask | RFLAGS_RF)) | RFLAGS_ONE;
		cpu->next_rip = was_64 ? cpu->msr.lstar : cpu->msr.cstar;
	} else {
		cpu->rflags &= ~(uint64_t)(RFLAGS_VM | RFLAGS_IF | RFLAGS_RF);
		cpu->next_rip = (uint32_t)cpu->msr.star;
	}
	/* TF as it is left counts, not as it was: KVM, "fix singlestepping over syscall". */
	cpu->stepping = cpu->rflags & RFLAGS_TF;
	enter_flat(cpu, cs, (uint16_t)(cs + 8), 0, cpu->long_mode);
}

void do_sysret(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint16_t base = (uint16_t)(cpu->msr.star >> 48);
	bool to_64 = insn->operand_size == 8;
	uint64_t rip = to_64 ? cpu->gpr[CPU_RCX] : (uint32_t)cpu->gpr[CPU_RCX];

	ud_if(cpu, !(cpu->efer & EFER_SCE));
	gp_if(cpu, !(cpu->cr0 & CR0_PE) || cpu->cpl);
	if (cpu->long_mode)
		cpu->rflags = (cpu->gpr[CPU_R11] & 0x3c7fd7) | RFLAGS_ONE;
	else
		cpu->rflags |= RFLAGS_IF;
	cpu->stepping = cpu->rflags & RFLAGS_TF; /* as SYSCALL */
	cpu->next_rip = rip;
	enter_flat(cpu, (uint16_t)(base + (to_64 ? 16 : 0)), (uint16_t)(base + 8), 3, to_64);
}

void do_sysenter(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint16_t cs = (uint16_t)cpu->msr.sysenter_cs;

	(void)insn;
	gp_if(cpu, !(cpu->cr0 & CR0_PE) || is_null(cs));
	cpu->rflags &= ~(uint64_t)(RFLAGS_VM | RFLAGS_IF | RFLAGS_RF);
	enter_flat(cpu, cs, (uint16_t)(cs + 8), 0, cpu->long_mode);
	gpr_set(cpu, CPU_RSP, cpu->long_mode ? 8 : 4, cpu->msr.sysenter_esp);
	cpu->next_rip = cpu->long_mode ? cpu->msr.sysenter_eip : (uint32_t)cpu->msr.sysenter_eip;
}

void do_sysexit(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint16_t cs = (uint16_t)cpu->msr.sysenter_cs;
	bool wide = insn->operand_size == 8;
	uint64_t rip = wide ? cpu->gpr[CPU_RDX] : (uint32_t)cpu->gpr[CPU_RDX];
	uint64_t rsp = wide ? cpu->gpr[CPU_RCX] : (uint32_t)cpu->gpr[CPU_RCX];

	gp_if(cpu, !(cpu->cr0 & CR0_PE) || is_null(cs));
	gp_if(cpu, wide && (!is_canonical(rip) || !is_canonical(rsp)));
	cs = (uint16_t)(cs + (wide ? 32 : 16));
	enter_flat(cpu, cs, (uint16_t)(cs + 8), 3, wide);
	cpu->gpr[CPU_RSP] = rsp;
	cpu->next_rip = rip;
}

void do_swapgs(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint64_t base = cpu->segment[CPU_GS].base;

	(void)insn;
	cpu->segment[CPU_GS].base = cpu->msr.kernel_gs_base;
	cpu->msr.kernel_gs_base = base;
}

/* Software interrupts. */

static void software_interrupt(struct engine_vcpu *cpu, unsigned vector, enum interrupt_kind kind)
{
	interrupt_deliver(cpu, vector, kind, cpu->next_rip, NO_ERROR_CODE);
	cpu->next_rip = cpu->rip;
	cpu->stepping = false; /* TF is clear by now */
}

void do_int(struct engine_vcpu *cpu, const struct insn *insn)
{
	switch (insn->opcode->id) {
	case INSN_INT3:
		software_interrupt(cpu, EXCEPTION_BP, INTERRUPT_SOFTWARE);
		break;
	case INSN_INTO:
		if (cpu->rflags & RFLAGS_OF)
			software_interrupt(cpu, EXCEPTION_OF, INTERRUPT_SOFTWARE);
		break;
	case INSN_INT1:
		software_interrupt(cpu, EXCEPTION_DB, INTERRUPT_ICEBP);
		break;
	default:
		gp_if(cpu, is_v86(cpu) && iopl(cpu) < 3);
		software_interrupt(cpu, (unsigned)insn->immediate, INTERRUPT_SOFTWARE);
		break;
	}
}

/* Counters, identification, random numbers. */

static void pair_set(struct engine_vcpu *cpu, uint64_t value)
{
	cpu->gpr[CPU_RAX] = (uint32_t)value;
	cpu->gpr[CPU_RDX] = value >> 32;
}

static uint64_t pair_get(const struct engine_vcpu *cpu)
{
	return (uint32_t)cpu->gpr[CPU_RAX] | cpu->gpr[CPU_RDX] << 32;
}

void do_rdtsc(struct engine_vcpu *cpu, const struct insn *insn)
{
	gp_if(cpu, cpu->cr4 & CR4_TSD && cpu->cpl);
	pair_set(cpu, cpu_tsc(cpu));
	if (insn->opcode->id == INSN_RDTSCP)
		cpu->gpr[CPU_RCX] = (uint32_t)cpu->msr.tsc_aux;
}

void do_rdpid(struct engine_vcpu *cpu, const struct insn *insn)
{
	gpr_set(cpu, DST->reg, DST->size, cpu->msr.tsc_aux);
}

void do_rdmsr(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint64_t value = 0;

	(void)insn;
	gp_if(cpu, msr_read(cpu, (uint32_t)cpu->gpr[CPU_RCX], &value));
	pair_set(cpu, value);
}

void do_wrmsr(struct engine_vcpu *cpu, const struct insn *insn)
{
	(void)insn;
	gp_if(cpu, msr_write(cpu, (uint32_t)cpu->gpr[CPU_RCX], pair_get(cpu)));
	guest_fence();
}

void do_xsetbv(struct engine_vcpu *cpu, const struct insn *insn)
{
	(void)insn;
	ud_if(cpu, !(cpu->cr4 & CR4_OSXSAVE));
	privileged(cpu);
	gp_if(cpu, (uint32_t)cpu->gpr[CPU_RCX] != 0 || cpu_set_xcr0(cpu, pair_get(cpu)));
}

void do_segment_base(struct engine_vcpu *cpu, const struct insn *insn)
{
	unsigned id = insn->opcode->id;
	unsigned segment = id == INSN_RDFSBASE || id == INSN_WRFSBASE ? CPU_FS : CPU_GS;
	uint64_t value;

	ud_if(cpu, !(cpu->cr4 & CR4_FSGSBASE));
	if (id == INSN_RDFSBASE || id == INSN_RDGSBASE) {
		gpr_set(cpu, DST->reg, DST->size, cpu->segment[segment].base);
		return;
	}
	value = gpr_get(cpu, DST->reg, DST->size);
	gp_if(cpu, !is_canonical(value));
	cpu->segment[segment].base = value;
}

/* An answer as CPUID gives it: beyond the highest leaf that of the highest basic one. */
void do_cpuid(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint32_t function = (uint32_t)cpu->gpr[CPU_RAX], index = (uint32_t)cpu->gpr[CPU_RCX];
	const struct cpuid_leaf *leaf = cpuid_find(cpu->cpuid, function, index);
	uint32_t reg[4] = {0};

	(void)insn;
	if (leaf)
		memcpy(reg, leaf->reg, sizeof(reg));
	/* Bits that follow the control registers. */
	if (function == 1 && cpu->cr4 & CR4_OSXSAVE)
		reg[CPUID_ECX] |= 1u << 27;
	else if (function == 1)
		reg[CPUID_ECX] &= ~(1u << 27);
	cpu->gpr[CPU_RAX] = reg[CPUID_EAX];
	cpu->gpr[CPU_RBX] = reg[CPUID_EBX];
	cpu->gpr[CPU_RCX] = reg[CPUID_ECX];
	cpu->gpr[CPU_RDX] = reg[CPUID_EDX];
	guest_fence();
}

/* The host's own; CF tells whether there was one. */
__attribute__((target("rdrnd,rdseed"))) void do_random(struct engine_vcpu *cpu,
						       const struct insn *insn)
{
	unsigned long long value = 0;
	bool seed = insn->opcode->id == INSN_RDSEED;
	bool ok;

	ud_if(cpu, seed ? !cpu_has(cpu, 7, CPUID_EBX, 18) : !cpu_has(cpu, 1, CPUID_ECX, 30));
	ok = seed ? _rdseed64_step(&value) : _rdrand64_step(&value);
	gpr_set(cpu, DST->reg, DST->size, ok ? value : 0);
	cpu->rflags = (cpu->rflags & ~(uint64_t)RFLAGS_ARITHMETIC) | (ok ? RFLAGS_CF : 0);
}

/* 64 bytes at rAX, of a line. */
void do_clzero(struct engine_vcpu *cpu, const struct insn *insn)
{
	static const uint8_t zeroes[64];
	unsigned segment = insn->segment == INSN_NO_REGISTER ? CPU_DS : insn->segment;
	uint64_t offset = gpr_get(cpu, CPU_RAX, insn->address_size) & ~63ull;

	ud_if(cpu, !cpu_has(cpu, 0x80000008, CPUID_EBX, 0));
	linear_write_bytes(cpu, segment_linear(cpu, segment, offset, 64, true), zeroes, 64);
}

/* Hypercalls of KVM's (Documentation/virt/kvm/x86/hypercalls.rst): none is known here. */
void do_hypercall(struct engine_vcpu *cpu, const struct insn *insn)
{
	bool allowed = cpu->cpl == 0;

	(void)insn;
	ud_if(cpu, !cpu_has(cpu, 1, CPUID_ECX, 31));
	cpu->gpr[CPU_RAX] = (uint64_t)(allowed ? -1000 : -1); /* ENOSYS, EPERM in KVM's numbers */
}

/* There are no performance counters. */
void do_rdpmc(struct engine_vcpu *cpu, const struct insn *insn)
{
	(void)insn;
	cpu_fault(cpu, EXCEPTION_GP, 0);
}

/* Flushing a line of a cache that memory is coherent with: only the address counts. */
void do_clflush(struct engine_vcpu *cpu, const struct insn *insn)
{
	linear_read(cpu, operand_linear(cpu, insn, 1, false), 1);
}

void do_undefined(struct engine_vcpu *cpu, const struct insn *insn)
{
	(void)insn;
	cpu_fault(cpu, EXCEPTION_UD, NO_ERROR_CODE);
}
