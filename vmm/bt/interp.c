/* SPDX-License-Identifier: MIT */
/*
 * The interpreter: fetch, decode, carry out. Decoded instructions are kept by guest-physical
 * address, and used again only if the bytes there are still the same: so code may be written in any
 * way, by any vCPU, through any alias or by a device, and nobody has to tell.
 */
#include "vmm/bt/interp.h"

#include <assert.h>
#include <errno.h>

#include "vmm/bt/alignment.h"
#include "vmm/bt/debug.h"
#include "vmm/bt/guest_bytes.h"
#include "vmm/bt/handlers.h"
#include "vmm/bt/operand.h"
#include "vmm/bt/segment.h"
#include "vmm/bt/system.h"

#define ERROR_EXTERNAL 1

static insn_handler *const handlers[INSN_IDS] = {
	[INSN_NATIVE] = do_native,
	[INSN_X87] = do_native,
	[INSN_GATHER] = do_gather,
	[INSN_SCATTER] = do_scatter,
	[INSN_VMASKMOV] = do_vmaskmov,
	[INSN_MASKMOV] = do_maskmov,
	[INSN_FNSTENV] = do_fnstenv,
	[INSN_FLDENV] = do_fldenv,
	[INSN_FNSAVE] = do_fnsave,
	[INSN_FRSTOR] = do_frstor,
	[INSN_FWAIT] = do_fwait,
	[INSN_FXSAVE] = do_fxsave,
	[INSN_FXRSTOR] = do_fxrstor,
	[INSN_LDMXCSR] = do_ldmxcsr,
	[INSN_STMXCSR] = do_stmxcsr,
	[INSN_XSAVE] = do_xsave,
	[INSN_XSAVEOPT] = do_xsave,
	[INSN_XSAVEC] = do_xsave_compacted,
	[INSN_XSAVES] = do_xsave_compacted,
	[INSN_XRSTOR] = do_xrstor,
	[INSN_XRSTORS] = do_xrstor,
	[INSN_XGETBV] = do_xgetbv,
	[INSN_ADD] = do_binary,
	[INSN_OR] = do_binary,
	[INSN_ADC] = do_binary,
	[INSN_SBB] = do_binary,
	[INSN_AND] = do_binary,
	[INSN_SUB] = do_binary,
	[INSN_XOR] = do_binary,
	[INSN_CMP] = do_cmp,
	[INSN_TEST] = do_test,
	[INSN_INC] = do_inc,
	[INSN_DEC] = do_dec,
	[INSN_NEG] = do_neg,
	[INSN_NOT] = do_not,
	[INSN_MUL] = do_mul,
	[INSN_IMUL_1] = do_imul_1,
	[INSN_IMUL] = do_imul,
	[INSN_DIV] = do_div,
	[INSN_IDIV] = do_idiv,
	[INSN_MOV] = do_mov,
	[INSN_MOV_IMMEDIATE] = do_mov,
	[INSN_MOVZX] = do_mov,
	[INSN_MOVSX] = do_movsx,
	[INSN_LEA] = do_lea,
	[INSN_XCHG] = do_xchg,
	[INSN_CMPXCHG] = do_cmpxchg,
	[INSN_CMPXCHG8B] = do_cmpxchg8b,
	[INSN_XADD] = do_xadd,
	[INSN_BSWAP] = do_bswap,
	[INSN_MOVBE] = do_movbe,
	[INSN_CRC32] = do_crc32,
	[INSN_XLAT] = do_xlat,
	[INSN_SALC] = do_salc,
	[INSN_PUSH] = do_push,
	[INSN_POP] = do_pop,
	[INSN_PUSHA] = do_pusha,
	[INSN_POPA] = do_popa,
	[INSN_ENTER] = do_enter,
	[INSN_LEAVE] = do_leave,
	[INSN_CALL] = do_call,
	[INSN_CALL_INDIRECT] = do_call_indirect,
	[INSN_JMP] = do_jmp,
	[INSN_JMP_INDIRECT] = do_jmp_indirect,
	[INSN_RET] = do_ret,
	[INSN_JCC] = do_jcc,
	[INSN_SETCC] = do_setcc,
	[INSN_CMOVCC] = do_cmovcc,
	[INSN_LOOP] = do_loop,
	[INSN_LOOPE] = do_loop,
	[INSN_LOOPNE] = do_loop,
	[INSN_JCXZ] = do_jcxz,
	[INSN_ROL] = do_rotate,
	[INSN_ROR] = do_rotate,
	[INSN_RCL] = do_binary,
	[INSN_RCR] = do_binary,
	[INSN_SHL] = do_binary,
	[INSN_SHR] = do_binary,
	[INSN_SAR] = do_binary,
	[INSN_SHLD] = do_shld,
	[INSN_SHRD] = do_shrd,
	[INSN_BT] = do_bt,
	[INSN_BTS] = do_bit_modify,
	[INSN_BTR] = do_bit_modify,
	[INSN_BTC] = do_bit_modify,
	[INSN_BSF] = do_bit_scan,
	[INSN_BSR] = do_bit_scan,
	[INSN_TZCNT] = do_register_binary,
	[INSN_LZCNT] = do_register_binary,
	[INSN_POPCNT] = do_register_binary,
	[INSN_ADCX] = do_register_binary,
	[INSN_ADOX] = do_register_binary,
	[INSN_ANDN] = do_ternary,
	[INSN_BEXTR] = do_ternary,
	[INSN_BZHI] = do_ternary,
	[INSN_BLSI] = do_register_binary,
	[INSN_BLSMSK] = do_register_binary,
	[INSN_BLSR] = do_register_binary,
	[INSN_MULX] = do_mulx,
	[INSN_PDEP] = do_deposit,
	[INSN_PEXT] = do_deposit,
	[INSN_RORX] = do_shift_x,
	[INSN_SARX] = do_shift_x,
	[INSN_SHLX] = do_shift_x,
	[INSN_SHRX] = do_shift_x,
	[INSN_MOVS] = do_movs,
	[INSN_CMPS] = do_cmps,
	[INSN_STOS] = do_stos,
	[INSN_LODS] = do_lods,
	[INSN_SCAS] = do_scas,
	[INSN_CBW] = do_cbw,
	[INSN_CWD] = do_cwd,
	[INSN_SAHF] = do_sahf,
	[INSN_LAHF] = do_lahf,
	[INSN_CLC] = do_flag,
	[INSN_STC] = do_flag,
	[INSN_CMC] = do_flag,
	[INSN_CLD] = do_flag,
	[INSN_STD] = do_flag,
	[INSN_NOP] = do_nop,
	[INSN_PAUSE] = do_pause,
	[INSN_PREFETCH] = do_nop,
	[INSN_AAA] = do_aaa,
	[INSN_AAS] = do_aaa,
	[INSN_DAA] = do_daa,
	[INSN_DAS] = do_daa,
	[INSN_AAM] = do_aam,
	[INSN_AAD] = do_aad,
	[INSN_BOUND] = do_bound,
	[INSN_LFENCE] = do_nop,
	[INSN_MFENCE] = do_mfence,
	[INSN_SFENCE] = do_nop,
	[INSN_MOV_FROM_SEGMENT] = do_mov_from_segment,
	[INSN_MOV_TO_SEGMENT] = do_mov_to_segment,
	[INSN_MOV_FROM_CONTROL] = do_mov_from_control,
	[INSN_MOV_TO_CONTROL] = do_mov_to_control,
	[INSN_MOV_FROM_DEBUG] = do_mov_from_debug,
	[INSN_MOV_TO_DEBUG] = do_mov_to_debug,
	[INSN_PUSH_SEGMENT] = do_push_segment,
	[INSN_POP_SEGMENT] = do_pop_segment,
	[INSN_PUSHF] = do_pushf,
	[INSN_POPF] = do_popf,
	[INSN_CALL_FAR] = do_far,
	[INSN_JMP_FAR] = do_far,
	[INSN_CALL_FAR_INDIRECT] = do_far_indirect,
	[INSN_JMP_FAR_INDIRECT] = do_far_indirect,
	[INSN_RET_FAR] = do_ret_far,
	[INSN_IRET] = do_iret,
	[INSN_INT] = do_int,
	[INSN_INT3] = do_int,
	[INSN_INTO] = do_int,
	[INSN_INT1] = do_int,
	[INSN_INS] = do_ins,
	[INSN_OUTS] = do_outs,
	[INSN_IN] = do_in,
	[INSN_OUT] = do_out,
	[INSN_CLI] = do_cli,
	[INSN_STI] = do_sti,
	[INSN_HLT] = do_hlt,
	[INSN_ARPL] = do_arpl,
	[INSN_LOAD_FAR_POINTER] = do_load_far_pointer,
	[INSN_SLDT] = do_store_selector,
	[INSN_STR] = do_store_selector,
	[INSN_SMSW] = do_store_selector,
	[INSN_LLDT] = do_lldt,
	[INSN_LTR] = do_ltr,
	[INSN_VERR] = do_verify,
	[INSN_VERW] = do_verify,
	[INSN_SGDT] = do_store_table,
	[INSN_SIDT] = do_store_table,
	[INSN_LGDT] = do_load_table,
	[INSN_LIDT] = do_load_table,
	[INSN_LMSW] = do_lmsw,
	[INSN_INVLPG] = do_invlpg,
	[INSN_INVPCID] = do_invpcid,
	[INSN_INVD] = do_mfence,
	[INSN_WBINVD] = do_mfence,
	[INSN_CLTS] = do_clts,
	[INSN_LAR] = do_lar_lsl,
	[INSN_LSL] = do_lar_lsl,
	[INSN_SYSCALL] = do_syscall,
	[INSN_SYSRET] = do_sysret,
	[INSN_SYSENTER] = do_sysenter,
	[INSN_SYSEXIT] = do_sysexit,
	[INSN_SWAPGS] = do_swapgs,
	[INSN_MONITOR] = do_undefined,
	[INSN_MWAIT] = do_undefined,
	[INSN_CLAC] = do_clac_stac,
	[INSN_STAC] = do_clac_stac,
	[INSN_XSETBV] = do_xsetbv,
	[INSN_RDTSC] = do_rdtsc,
	[INSN_RDTSCP] = do_rdtsc,
	[INSN_RDPMC] = do_rdpmc,
	[INSN_RDPID] = do_rdpid,
	[INSN_RDMSR] = do_rdmsr,
	[INSN_WRMSR] = do_wrmsr,
	[INSN_CPUID] = do_cpuid,
	[INSN_RDRAND] = do_random,
	[INSN_RDSEED] = do_random,
	[INSN_RDFSBASE] = do_segment_base,
	[INSN_RDGSBASE] = do_segment_base,
	[INSN_WRFSBASE] = do_segment_base,
	[INSN_WRGSBASE] = do_segment_base,
	[INSN_CLFLUSH] = do_clflush,
	[INSN_CLFLUSHOPT] = do_clflush,
	[INSN_CLWB] = do_clflush,
	[INSN_CLZERO] = do_clzero,
	[INSN_VMCALL] = do_hypercall,
	[INSN_VMMCALL] = do_hypercall,
	[INSN_UD] = do_undefined,
};

/* The linear address of the next byte of code, after the check of CS's limit. */
static uint64_t code_linear(struct engine_vcpu *cpu, uint64_t rip)
{
	if (cpu->mode == DECODE_64) {
		/* SYSRET may return there, and code may run into it. */
		if (!is_canonical(rip))
			cpu_fault(cpu, EXCEPTION_GP, 0);
		return rip;
	}
	if (rip > cpu->segment[CPU_CS].limit)
		cpu_fault(cpu, EXCEPTION_GP, 0);
	return (cpu->segment[CPU_CS].base + rip) & 0xffffffff;
}

static unsigned room_in_segment(const struct engine_vcpu *cpu)
{
	uint64_t left;

	if (cpu->mode == DECODE_64)
		return INSN_LENGTH_MAX;
	left = cpu->segment[CPU_CS].limit - cpu->rip + 1;
	return left < INSN_LENGTH_MAX ? (unsigned)left : INSN_LENGTH_MAX;
}

/* Over a page's end: what is there of the next page is fetched only if the instruction goes on. */
static int decode_across(struct engine_vcpu *cpu, uint64_t linear, const uint8_t *here,
			 unsigned count, unsigned room)
{
	struct cached_insn *c = &cpu->across;
	const uint8_t *next;
	uint64_t gpa;
	int ret;

	guest_copy(c->bytes, here, count);
	ret = decode(c->bytes, count, cpu->mode, &c->insn);
	if (ret != -EAGAIN || count == room)
		return ret;
	linear = linear_after(cpu, linear, count);
	if (!is_canonical(linear))
		cpu_fault(cpu, EXCEPTION_GP, 0);
	next = linear_fetch(cpu, linear, &gpa);
	if (!next)
		return -EINVAL;
	guest_copy(c->bytes + count, next, room - count);
	return decode(c->bytes, room, cpu->mode, &c->insn);
}

static void decode_check(struct engine_vcpu *cpu, int ret)
{
	if (ret == -EINVAL)
		cpu_fault(cpu, EXCEPTION_UD, NO_ERROR_CODE);
	if (ret) /* too long, or beyond the segment */
		cpu_fault(cpu, EXCEPTION_GP, 0);
}

static const struct insn *fetch(struct engine_vcpu *cpu)
{
	uint64_t gpa, linear = code_linear(cpu, cpu->rip);
	const uint8_t *page = linear_fetch(cpu, linear, &gpa), *at;
	unsigned left = 4096 - (linear & 4095), room = room_in_segment(cpu);
	struct cached_insn *c = &cpu->cache[(gpa ^ gpa >> 12) % INSN_CACHE];

	/* Code in a device's memory: nobody has that. */
	if (!page)
		cpu_fault(cpu, EXCEPTION_UD, NO_ERROR_CODE);
	at = page + (linear & 4095);
	if (left < room) {
		decode_check(cpu, decode_across(cpu, linear, at, left, room));
		return &cpu->across.insn;
	}
	if (c->gpa == gpa && c->insn.mode == cpu->mode && c->insn.length <= room &&
	    guest_equal(at, c->bytes, c->insn.length))
		return &c->insn;
	guest_copy(c->bytes, at, room);
	c->gpa = INSN_CACHE_NONE;
	decode_check(cpu, decode(c->bytes, room, cpu->mode, &c->insn));
	c->gpa = gpa;
	return &c->insn;
}

/*
 * One instruction, or one turn of a repetition. RF holds for one; it is cleared ahead, because IRET
 * may set it, and a fault sets it in the flags that it pushes.
 */
static void step(struct engine_vcpu *cpu)
{
	const struct insn *insn;
	insn_handler *handler;
	bool own_alignment;

	if (cpu->checks & CHECK_CODE)
		debug_code(cpu, code_linear(cpu, cpu->rip));
	insn = fetch(cpu);
	handler = handlers[insn->opcode->id];
	cpu->next_rip = cpu->rip + insn->length;
	/* 16-bit code does not wrap: it runs into its segment's limit. */
	if (cpu->mode != DECODE_64)
		cpu->next_rip &= 0xffffffff;
	if (insn->opcode->attributes & A_CPL0 && cpu->cpl)
		cpu_fault(cpu, EXCEPTION_GP, 0);
	own_alignment = cpu->checks & CHECK_ALIGNMENT && alignment_is_own(insn);
	if (own_alignment)
		cpu->checks &= ~(unsigned)CHECK_ALIGNMENT;
	assert(handler);
	cpu->shadow = 0;
	cpu->stepping = cpu->rflags & RFLAGS_TF;
	cpu->rflags &= ~(uint64_t)RFLAGS_RF;
	handler(cpu, insn);
	if (own_alignment)
		cpu->checks |= CHECK_ALIGNMENT;
	cpu->rip = cpu->next_rip;
	if (cpu->stepping && !(cpu->shadow & CPU_SHADOW_MOV_SS))
		cpu->debug_pending |= DR6_BS;
}

bool interp_has(unsigned id)
{
	return handlers[id];
}

/* For statistics, which other threads read. */
static void count_add(struct engine_vcpu *cpu, uint64_t instructions)
{
	uint64_t now = atomic_load_explicit(&cpu->instructions, memory_order_relaxed);

	atomic_store_explicit(&cpu->instructions, now + instructions, memory_order_relaxed);
}

void interp_one(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint64_t rip = cpu->rip;

	if (insn->opcode->attributes & A_CPL0 && cpu->cpl)
		cpu_fault(cpu, EXCEPTION_GP, 0);
	cpu->stepping = false;
	do {
		cpu->next_rip = rip + insn->length;
		handlers[insn->opcode->id](cpu, insn);
		cpu->rip = cpu->next_rip;
	} while (insn->repeat && cpu->rip == rip && !atomic_load(&cpu->attention));
	if (cpu->stepping)
		cpu->debug_pending |= DR6_BS;
	count_add(cpu, 1);
}

bool interp_window_opens(const struct engine_vcpu *cpu)
{
	if (cpu->shadow)
		return false;
	return (cpu->waiting & WAITING_VECTOR && cpu->rflags & RFLAGS_IF) ||
	       (cpu->waiting & WAITING_NMI && !cpu->nmi_masked);
}

bool interp_run(struct engine_vcpu *cpu, uint64_t instructions)
{
	volatile uint64_t left = instructions;

	if (sigsetjmp(cpu->escape, 0)) {
		/* Traps come behind an instruction, and this one was not completed. */
		cpu->debug_pending = 0;
		count_add(cpu, instructions - left);
		return false;
	}
	for (; left && !cpu->halted && !cpu->debug_pending &&
	       !(cpu->waiting && interp_window_opens(cpu)) &&
	       !atomic_load_explicit(&cpu->attention, memory_order_relaxed);
	     left--)
		step(cpu);
	count_add(cpu, instructions - left);
	return true;
}

bool interp_step(struct engine_vcpu *cpu)
{
	if (sigsetjmp(cpu->escape, 0)) {
		cpu->debug_pending = 0;
		return false;
	}
	step(cpu);
	count_add(cpu, 1);
	return true;
}

/*
 * Which exceptions make a double fault if the second comes while the first is delivered: SDM vol.
 * 3, table 7-5.
 */
static bool is_contributory(unsigned vector)
{
	return vector == EXCEPTION_DE || (vector >= EXCEPTION_TS && vector <= EXCEPTION_GP);
}

static bool is_double(unsigned first, unsigned second)
{
	if (first == EXCEPTION_PF)
		return is_contributory(second) || second == EXCEPTION_PF;
	return is_contributory(first) && is_contributory(second);
}

/*
 * An error code of a fault on the way says if what was delivered came from outside: AMD64 vol. 2,
 * 8.4.1. Intel counts exceptions as external to the program, too.
 */
static int32_t error_of(const struct fault *fault, enum interrupt_kind delivered)
{
	bool selector = fault->vector >= EXCEPTION_TS && fault->vector <= EXCEPTION_GP;

	if (delivered != INTERRUPT_HARDWARE || !selector || fault->error == NO_ERROR_CODE)
		return fault->error;
	return fault->error | ERROR_EXTERNAL;
}

/* Traps come behind their instruction, faults before it: those set RF in the flags they push. */
static bool is_trap(unsigned vector)
{
	return vector == EXCEPTION_DB || vector == EXCEPTION_BP || vector == EXCEPTION_OF;
}

bool interp_deliver(struct engine_vcpu *cpu, unsigned vector, enum interrupt_kind kind,
		    int32_t error)
{
	volatile unsigned v = vector;
	volatile enum interrupt_kind k = kind;
	volatile int32_t e = error;
	uint64_t resume = cpu->rflags & RFLAGS_RF;

	while (sigsetjmp(cpu->escape, 0)) {
		/* All else is what it was, or a new task's. */
		cpu->rflags = (cpu->rflags & ~(uint64_t)RFLAGS_RF) | resume;
		if (k == INTERRUPT_EXCEPTION && v == EXCEPTION_DF)
			return false;
		if (k == INTERRUPT_EXCEPTION && is_double(v, cpu->fault.vector)) {
			v = EXCEPTION_DF;
			e = 0;
		} else {
			v = cpu->fault.vector;
			e = error_of(&cpu->fault, k);
			if (v == EXCEPTION_PF)
				cpu->cr2 = cpu->fault.address;
		}
		k = INTERRUPT_EXCEPTION;
	}
	if (k == INTERRUPT_EXCEPTION && !is_trap(v))
		cpu->rflags |= RFLAGS_RF;
	if (k == INTERRUPT_EXCEPTION && v == EXCEPTION_DB)
		cpu->dr7 &= ~(uint64_t)DR7_GD;
	interrupt_deliver(cpu, v, k, cpu->rip, e);
	cpu->shadow = 0;
	cpu->halted = false;
	return true;
}

bool interp_deliver_fault(struct engine_vcpu *cpu)
{
	if (cpu->fault.vector == EXCEPTION_PF)
		cpu->cr2 = cpu->fault.address;
	return interp_deliver(cpu, cpu->fault.vector, INTERRUPT_EXCEPTION, cpu->fault.error);
}

bool interp_deliver_debug(struct engine_vcpu *cpu)
{
	cpu->dr6 |= cpu->debug_pending;
	cpu->debug_pending = 0;
	return interp_deliver(cpu, EXCEPTION_DB, INTERRUPT_EXCEPTION, NO_ERROR_CODE);
}
