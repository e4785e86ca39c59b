/* SPDX-License-Identifier: MIT */
/*
 * The interpreter: fetch, decode, carry out. Decoded instructions are kept by guest-physical
 * address, and used again only if the bytes there are still the same: so code may be written in any
 * way, by any vCPU, through any alias or by a device, and nobody has to tell.
 */
#include "vmm/bt/interp.h"

#include <errno.h>

#include "vmm/bt/handlers.h"

static insn_handler *const handlers[INSN_IDS] = {
	[INSN_NATIVE] = do_native,
	[INSN_X87] = do_native,
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
	[INSN_ROL] = do_binary,
	[INSN_ROR] = do_binary,
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
	[INSN_PAUSE] = do_nop,
	[INSN_PREFETCH] = do_nop,
	[INSN_AAA] = do_aaa,
	[INSN_AAS] = do_aaa,
	[INSN_DAA] = do_daa,
	[INSN_DAS] = do_daa,
	[INSN_AAM] = do_aam,
	[INSN_AAD] = do_aad,
	[INSN_BOUND] = do_bound,
	[INSN_LFENCE] = do_nop,
	[INSN_MFENCE] = do_nop,
	[INSN_SFENCE] = do_nop,
};

/* The linear address of the next byte of code, after the check of CS's limit. */
static uint64_t code_linear(struct engine_vcpu *cpu, uint64_t rip)
{
	if (cpu->mode == DECODE_64)
		return rip;
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

	memcpy(c->bytes, here, count);
	ret = decode(c->bytes, count, cpu->mode, &c->insn);
	if (ret != -EAGAIN || count == room)
		return ret;
	next = linear_fetch(cpu, linear + count, &gpa);
	if (!next)
		return -EINVAL;
	memcpy(c->bytes + count, next, room - count);
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
	    memcmp(c->bytes, at, c->insn.length) == 0)
		return &c->insn;
	memcpy(c->bytes, at, room);
	c->gpa = INSN_CACHE_NONE;
	decode_check(cpu, decode(c->bytes, room, cpu->mode, &c->insn));
	c->gpa = gpa;
	return &c->insn;
}

/* One instruction, or one turn of a repetition. */
static void step(struct engine_vcpu *cpu)
{
	const struct insn *insn = fetch(cpu);
	insn_handler *handler = handlers[insn->opcode->id];

	cpu->next_rip = cpu->rip + insn->length;
	if (cpu->mode != DECODE_64)
		cpu->next_rip &= cpu->mode == DECODE_32 ? 0xffffffff : 0xffff;
	if (!handler)
		cpu_fault(cpu, EXCEPTION_UD, NO_ERROR_CODE);
	handler(cpu, insn);
	cpu->rip = cpu->next_rip;
}

bool interp_has(unsigned id)
{
	return handlers[id];
}

bool interp_run(struct engine_vcpu *cpu, uint64_t instructions)
{
	volatile uint64_t left = instructions;

	if (sigsetjmp(cpu->escape, 0))
		return false;
	for (; left; left--)
		step(cpu);
	return true;
}
