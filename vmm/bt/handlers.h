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
insn_handler do_movbe, do_crc32, do_xlat, do_binary, do_cmp, do_test, do_inc, do_dec, do_neg;
insn_handler do_not, do_register_binary, do_bit_scan, do_ternary, do_imul, do_deposit, do_mulx,
	do_shift_x;
insn_handler do_shld, do_shrd, do_bt, do_bit_modify, do_mul, do_imul_1, do_div, do_idiv, do_cbw;
insn_handler do_cwd, do_sahf, do_lahf, do_flag, do_setcc, do_cmovcc, do_daa, do_aaa, do_aam;
insn_handler do_aad, do_salc, do_bound, do_nop;
bool condition_holds(const struct engine_vcpu *cpu, unsigned condition);

/* native.c */
insn_handler do_native;

/* string.c */
insn_handler do_movs, do_stos, do_lods, do_cmps, do_scas;

/* control.c */
insn_handler do_jcc, do_jmp, do_jmp_indirect, do_call, do_call_indirect, do_ret, do_loop, do_jcxz;
insn_handler do_push, do_pop, do_pusha, do_popa, do_enter, do_leave;

#endif
