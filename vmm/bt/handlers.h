/* SPDX-License-Identifier: MIT */
/*
 * The handlers of the interpreter: each carries out one kind of instruction. It may leave by
 * cpu_fault; otherwise the run loop moves on to cpu->next_rip.
 */
#ifndef VMM_BT_HANDLERS_H
#define VMM_BT_HANDLERS_H

#include <string.h>

#include "vmm/bt/bt_impl.h"
#include "vmm/bt/opcode.h"

typedef void insn_handler(struct engine_vcpu *cpu, const struct insn *insn);

/* integer.c */
insn_handler do_mov, do_movsx, do_lea, do_xchg, do_xadd, do_cmpxchg, do_cmpxchg8b, do_bswap;
insn_handler do_movbe, do_crc32, do_xlat, do_binary, do_rotate, do_cmp, do_test, do_inc, do_dec,
	do_neg;
insn_handler do_not, do_register_binary, do_bit_scan, do_ternary, do_imul, do_deposit, do_mulx,
	do_shift_x;
insn_handler do_shld, do_shrd, do_bt, do_bit_modify, do_mul, do_imul_1, do_div, do_idiv, do_cbw;
insn_handler do_cwd, do_sahf, do_lahf, do_flag, do_setcc, do_cmovcc, do_daa, do_aaa, do_aam;
insn_handler do_aad, do_salc, do_bound, do_mfence, do_nop, do_pause;
bool condition_holds(const struct engine_vcpu *cpu, unsigned condition);

/* native.c */
insn_handler do_native;

/* gather.c */
insn_handler do_gather, do_scatter, do_vmaskmov, do_maskmov;

/* fpu.c, xsave.c */
insn_handler do_fnstenv, do_fldenv, do_fnsave, do_frstor, do_fwait, do_fxsave, do_fxrstor;
insn_handler do_ldmxcsr, do_stmxcsr, do_xsave, do_xsave_compacted, do_xrstor, do_xgetbv;

/* string.c */
insn_handler do_movs, do_stos, do_lods, do_cmps, do_scas, do_ins, do_outs;

/* far.c */
insn_handler do_far, do_far_indirect, do_ret_far, do_iret;
uint64_t flags_writable(const struct engine_vcpu *cpu, unsigned size);

/* system.c */
insn_handler do_mov_from_control, do_mov_to_control, do_mov_from_debug, do_mov_to_debug, do_clts;
insn_handler do_lmsw, do_store_table, do_load_table, do_store_selector, do_lldt, do_ltr, do_invlpg;
insn_handler do_invpcid, do_mov_from_segment, do_mov_to_segment, do_push_segment, do_pop_segment;
insn_handler do_load_far_pointer, do_lar_lsl, do_verify, do_arpl, do_pushf, do_popf, do_cli, do_sti;
insn_handler do_clac_stac, do_hlt, do_in, do_out, do_syscall, do_sysret, do_sysenter, do_sysexit;
insn_handler do_swapgs, do_int, do_rdtsc, do_rdpid, do_rdmsr, do_wrmsr, do_xsetbv;
insn_handler do_segment_base, do_cpuid, do_random, do_clzero, do_rdpmc, do_clflush, do_undefined;
insn_handler do_hypercall;
/* Through a port of the task's, or #GP. */
void port_check(struct engine_vcpu *cpu, uint16_t port, unsigned size);
uint64_t port_read(struct engine_vcpu *cpu, uint16_t port, unsigned size);
void port_write(struct engine_vcpu *cpu, uint16_t port, unsigned size, uint64_t value);

/* control.c */
insn_handler do_jcc, do_jmp, do_jmp_indirect, do_call, do_call_indirect, do_ret, do_loop, do_jcxz;
insn_handler do_push, do_pop, do_pusha, do_popa, do_enter, do_leave;

#endif
