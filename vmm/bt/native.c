/* SPDX-License-Identifier: MIT */
/*
 * Vector, MMX and x87 instructions, run by the host on the guest's registers.
 *
 * Theory of operation. The instruction is written anew into a stub with other registers: its vector
 * operands become host registers 1 to 4, general ones R8 to R10, mask registers K1 to K5, and
 * memory becomes (%rsi), a buffer of ours. So one piece of assembly serves all: load these
 * registers from the guest's image, call the stub, store them back; then only what the row says is
 * written goes into the image. x87 and MMX instructions keep their registers: all of that unit is
 * loaded and saved.
 *
 * Registers are loaded and stored in full width, so what a legacy instruction leaves of a register,
 * and what VEX clears of it, comes out as the host does it. An exception of the unit is a SIGFPE in
 * the stub: native_fault turns it into the guest's, and the image is untouched.
 */
#include "vmm/bt/native.h"

#include <assert.h>
#include <cpuid.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "vmm/base/bytes.h"
#include "vmm/bt/decode_impl.h"
#include "vmm/bt/handlers.h"
#include "vmm/bt/operand.h"

/* Where operands go. XMM0 is itself, as some instructions mean it without saying so. */
enum { HOST_V0, HOST_V, HOST_H, HOST_W, HOST_L, HOST_VECTORS };
enum { HOST_MASK = 1, HOST_KG, HOST_KG_PAIR, HOST_KE, HOST_KB, HOST_MASKS };
enum { HOST_G = 8, HOST_E = 9, HOST_B = 10 };

#define MXCSR_HOST 0x1f80u

#define X87_MASKS   0x3fu /* of the control word: all exceptions masked */

/* Offsets in the image of x87. */
#define X87_REGISTERS 32

struct native_frame {
	_Alignas(64) uint8_t vector[HOST_VECTORS][64];
	uint64_t mask[HOST_MASKS];
	uint64_t rax, rcx, rdx, g, e, b;
	uint64_t rflags;
	uint8_t *memory;
	uint32_t mxcsr, host_mxcsr;
};

/* Each level of host has its own way to move a whole register. */
#define MOVE_ALL(load_or_store)                                                                    \
	load_or_store(0) load_or_store(1) load_or_store(2) load_or_store(3) load_or_store(4)
#define LOAD_512(n)  "vmovdqu64 " #n "*64(%%rdi), %%zmm" #n "\n\t"
#define STORE_512(n) "vmovdqu64 %%zmm" #n ", " #n "*64(%%rdi)\n\t"
#define LOAD_256(n)  "vmovdqu " #n "*64(%%rdi), %%ymm" #n "\n\t"
#define STORE_256(n) "vmovdqu %%ymm" #n ", " #n "*64(%%rdi)\n\t"
#define LOAD_128(n)  "movdqu " #n "*64(%%rdi), %%xmm" #n "\n\t"
#define STORE_128(n) "movdqu %%xmm" #n ", " #n "*64(%%rdi)\n\t"
#define LOAD_MASKS                                                                                 \
	"kmovq %c[mask]+8(%%rdi), %%k1\n\tkmovq %c[mask]+16(%%rdi), %%k2\n\t"                      \
	"kmovq %c[mask]+24(%%rdi), %%k3\n\tkmovq %c[mask]+32(%%rdi), %%k4\n\t"                     \
	"kmovq %c[mask]+40(%%rdi), %%k5\n\t"
#define STORE_MASKS                                                                                \
	"kmovq %%k1, %c[mask]+8(%%rdi)\n\tkmovq %%k2, %c[mask]+16(%%rdi)\n\t"                      \
	"kmovq %%k3, %c[mask]+24(%%rdi)\n\tkmovq %%k4, %c[mask]+32(%%rdi)\n\t"                     \
	"kmovq %%k5, %c[mask]+40(%%rdi)\n\t"

/* The stack pointer moves down first: a call would write over the compiler's red zone. */
#define RUN(load, store)                                                                           \
	__asm__ volatile(load "ldmxcsr %c[mxcsr](%%rdi)\n\t"                                       \
			      "movb %c[rflags](%%rdi), %%ah\n\t"                                   \
			      "sahf\n\t" /* FCMOVcc; what follows leaves flags alone */            \
			      "movq %c[rax](%%rdi), %%rax\n\t"                                     \
			      "movq %c[rcx](%%rdi), %%rcx\n\t"                                     \
			      "movq %c[rdx](%%rdi), %%rdx\n\t"                                     \
			      "movq %c[g](%%rdi), %%r8\n\t"                                        \
			      "movq %c[e](%%rdi), %%r9\n\t"                                        \
			      "movq %c[b](%%rdi), %%r10\n\t"                                       \
			      "leaq -128(%%rsp), %%rsp\n\t"                                        \
			      "call *%%r11\n\t"                                                    \
			      "pushfq\n\t"                                                         \
			      "popq %c[rflags](%%rdi)\n\t"                                         \
			      "leaq 128(%%rsp), %%rsp\n\t"                                         \
			      "movq %%rcx, %c[rcx](%%rdi)\n\t"                                     \
			      "movq %%r8, %c[g](%%rdi)\n\t"                                        \
			      "movq %%r9, %c[e](%%rdi)\n\t"                                        \
			      "stmxcsr %c[mxcsr](%%rdi)\n\t"                                       \
			      "ldmxcsr %c[host_mxcsr](%%rdi)\n\t" store                            \
			 : "+D"(frame), "+S"(memory), "+r"(stub)                                   \
			 : FRAME(mask), FRAME(mxcsr), FRAME(host_mxcsr), FRAME(rax), FRAME(rcx),   \
			   FRAME(rdx), FRAME(g), FRAME(e), FRAME(b), FRAME(rflags)                 \
			 : "rax", "rcx", "rdx", "r8", "r9", "r10", "xmm0", "xmm1", "xmm2", "xmm3", \
			   "xmm4", "cc", "memory")
#define FRAME(field) [field] "i"(offsetof(struct native_frame, field))

static void run_512(struct native_frame *frame, const void *code)
{
	uint8_t *memory = frame->memory;
	register const void *stub __asm__("r11") = code;

	RUN(MOVE_ALL(LOAD_512) LOAD_MASKS, MOVE_ALL(STORE_512) STORE_MASKS "vzeroupper\n\t");
}

static void run_256(struct native_frame *frame, const void *code)
{
	uint8_t *memory = frame->memory;
	register const void *stub __asm__("r11") = code;

	RUN(MOVE_ALL(LOAD_256), MOVE_ALL(STORE_256) "vzeroupper\n\t");
}

static void run_128(struct native_frame *frame, const void *code)
{
	uint8_t *memory = frame->memory;
	register const void *stub __asm__("r11") = code;

	RUN(MOVE_ALL(LOAD_128), MOVE_ALL(STORE_128));
}

/* What this host has: mask registers of 64 bits come with AVX-512 BW. */
static void (*run_of_host(void))(struct native_frame *, const void *)
{
	unsigned a, b, c, d;
	uint32_t low, high;

	__cpuid(1, a, b, c, d);
	if (!(c & bit_OSXSAVE) || !(c & bit_AVX))
		return run_128;
	__asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
		b = 0;
	if (b & bit_AVX512F && b & bit_AVX512BW && (low & XCR0_AVX512) == XCR0_AVX512)
		return run_512;
	return (low & XCR0_AVX) ? run_256 : run_128;
}

/* The whole of the x87 unit. Functions of their own: the registers of SSE go with it. */
__attribute__((noinline)) static void x87_load(const struct vector_state *v)
{
	__asm__ volatile("fxrstor64 %0" : : "m"(v->x87));
}

/* Where the last instruction was is the guest's and stays; so does an MXCSR that can be loaded. */
__attribute__((noinline)) static void x87_save(struct vector_state *v)
{
	uint8_t last[X87_REGISTERS - X87_AT_OPCODE];

	memcpy(last, v->x87 + X87_AT_OPCODE, sizeof(last));
	__asm__ volatile("fxsave64 %0\n\tfninit" : "+m"(v->x87));
	memcpy(v->x87 + X87_AT_OPCODE, last, sizeof(last));
}

void native_x87_settle(struct vector_state *v)
{
	x87_load(v);
	x87_save(v);
}

/* Those of x87 and MMX: their unit is loaded and saved whole. */
static bool keeps_registers(const struct insn *insn)
{
	if (insn->opcode->id == INSN_X87)
		return true;
	for (unsigned i = 0; i < INSN_OPERANDS; i++)
		if (insn->operand[i].kind == OPERAND_MMX)
			return true;
	return false;
}

/* The vCPU whose stub this thread runs, and what that is. */
static _Thread_local struct engine_vcpu *in_stub;
static _Thread_local const struct insn *in_insn;

/* The image counts from the top of the stack: register i is ST(i - top). */
void native_mmx_get(const struct vector_state *v, uint8_t mm[8][16])
{
	unsigned top = le16_get(v->x87 + 2) >> 11 & 7;

	for (unsigned i = 0; i < 8; i++)
		memcpy(mm[i], v->x87 + 32 + (size_t)16 * ((i - top) & 7), 16);
}

void native_mmx_enter(struct vector_state *v)
{
	uint8_t mm[8][16];

	native_mmx_get(v, mm);
	memcpy(v->x87 + 32, mm, sizeof(mm));
	v->x87[3] &= (uint8_t)~0x38u;
	v->x87[4] = 0xff;
}

bool native_fault(const ucontext_t *context)
{
	struct engine_vcpu *cpu = in_stub;

	if (!cpu)
		return false;
	in_stub = NULL;
	/* Signals as they were: who stands before our handler (ThreadSanitizer) may block all. */
	pthread_sigmask(SIG_SETMASK, &context->uc_sigmask, NULL);
	/* An instruction that this host has not. */
	if (context->uc_mcontext.gregs[REG_TRAPNO] == EXCEPTION_UD)
		cpu_fault(cpu, EXCEPTION_UD, NO_ERROR_CODE);
	/* Of SSE the flags that tell why are written; x87 raises what an earlier one left. */
	if (context->uc_mcontext.gregs[REG_TRAPNO] == EXCEPTION_MF)
		cpu_fault(cpu, EXCEPTION_MF, NO_ERROR_CODE);
	cpu->vector.mxcsr = context->uc_mcontext.fpregs->mxcsr;
	/* Of conversions to and from MMX the switch to that state is done all the same. */
	if (keeps_registers(in_insn))
		native_mmx_enter(&cpu->vector);
	cpu_fault(cpu, cpu->cr4 & CR4_OSXMMEXCPT ? EXCEPTION_XM : EXCEPTION_UD, NO_ERROR_CODE);
}

/* Stubs. */

#define STUB_SIZE 32u

int native_create(struct native **out)
{
	size_t size = (size_t)STUB_SIZE * (INSN_CACHE + 1);
	struct native *n = calloc(1, sizeof(*n));
	int fd, ret = 0;

	if (!n)
		return -ENOMEM;
	/* Two views of the same pages: what can be written is never what can be executed. */
	fd = memfd_create("lodge-stubs", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		ret = -errno;
	n->size = size;
	n->write = n->execute = MAP_FAILED;
	if (ret == 0) {
		n->write = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		n->execute = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
		if (n->write == MAP_FAILED || n->execute == MAP_FAILED)
			ret = -errno;
	}
	if (fd >= 0)
		close(fd);
	n->run = run_of_host();
	fpu_layout_read(&n->layout);
	if (ret) {
		native_destroy(n);
		return ret;
	}
	*out = n;
	return 0;
}

void native_destroy(struct native *n)
{
	if (!n)
		return;
	if (n->write != MAP_FAILED)
		munmap(n->write, n->size);
	if (n->execute != MAP_FAILED)
		munmap(n->execute, n->size);
	free(n);
}

/* The host's registers in place of the guest's, as the fields of the encoding have them. */
struct renamed {
	uint8_t modrm;
	uint8_t rex; /* R and B; X and W stay */
	uint8_t vvvv;
	uint8_t mask;
	uint8_t immediate_high; /* the register in an immediate's high half, or 0 */
};

static void rename_reg(struct renamed *r, unsigned reg)
{
	r->modrm = (uint8_t)((r->modrm & ~0x38u) | (reg & 7) << 3);
	r->rex = (uint8_t)((r->rex & ~REX_R) | (reg & 8 ? REX_R : 0));
}

static void rename_rm(struct renamed *r, unsigned rm)
{
	r->modrm = (uint8_t)((r->modrm & 0x38u) | 0xc0 | (rm & 7));
	r->rex = (uint8_t)((r->rex & ~(REX_B | REX_X)) | (rm & 8 ? REX_B : 0));
}

static void rename_operand(struct renamed *r, enum opcode_source source, bool memory)
{
	switch (source) {
	case SRC_V:
		rename_reg(r, HOST_V);
		break;
	case SRC_G:
		rename_reg(r, HOST_G);
		break;
	case SRC_KG:
		rename_reg(r, HOST_KG);
		break;
	case SRC_W:
	case SRC_U:
		if (!memory)
			rename_rm(r, HOST_W);
		break;
	case SRC_E:
	case SRC_R:
		if (!memory)
			rename_rm(r, HOST_E);
		break;
	case SRC_KE:
	case SRC_KR:
		if (!memory)
			rename_rm(r, HOST_KE);
		break;
	case SRC_H:
		r->vvvv = HOST_H;
		break;
	case SRC_B:
		r->vvvv = HOST_B;
		break;
	case SRC_KB:
		r->vvvv = HOST_KB;
		break;
	case SRC_L:
		r->immediate_high = HOST_L << 4;
		break;
	default:
		break;
	}
}

static struct renamed rename_all(const struct insn *insn)
{
	bool memory = insn->modrm >> 6 != 3;
	struct renamed r = {
		.modrm = insn->modrm, .rex = insn->rex & REX_W, .mask = insn->mask ? HOST_MASK : 0};

	if (memory)
		r.modrm = (uint8_t)((insn->modrm & 0x38) | CPU_RSI);
	/* MMX and x87 registers have no more than three bits. */
	for (unsigned i = 0; i < OPCODE_OPERANDS; i++)
		rename_operand(&r, OPERAND_SOURCE(insn->opcode->operand[i]), memory);
	return r;
}

static uint8_t *emit_escape(uint8_t *at, unsigned map)
{
	if (map != INSN_MAP_1BYTE)
		*at++ = 0x0f;
	if (map == INSN_MAP_0F38)
		*at++ = 0x38;
	if (map == INSN_MAP_0F3A)
		*at++ = 0x3a;
	return at;
}

static uint8_t *emit_legacy(uint8_t *at, const struct insn *insn, const struct renamed *r)
{
	if (insn->size_prefix)
		*at++ = 0x66;
	if (insn->repeat)
		*at++ = insn->repeat;
	if (r->rex)
		*at++ = 0x40 | r->rex;
	return emit_escape(at, insn->map);
}

/* `raw`: the instruction as the guest has it; what is not renamed is taken from there. */
static uint8_t *emit_vex(uint8_t *at, const uint8_t *raw, const struct insn *insn,
			 const struct renamed *r)
{
	uint8_t last = raw[insn->modrm_at - 2];

	*at++ = 0xc4;
	*at++ = (uint8_t)((~r->rex & 7) << 5 | insn->map);
	*at++ = (uint8_t)((r->rex & REX_W ? 0x80 : 0) | (~r->vvvv & 15) << 3 | (last & 7));
	return at;
}

static uint8_t *emit_evex(uint8_t *at, const uint8_t *raw, const struct insn *insn,
			  const struct renamed *r)
{
	const uint8_t *p = raw + insn->modrm_at - 4;

	*at++ = 0x62;
	*at++ = (uint8_t)((~r->rex & 7) << 5 | 0x10 | insn->map);
	*at++ = (uint8_t)((p[1] & 0x87) | (~r->vvvv & 15) << 3);
	*at++ = (uint8_t)((p[2] & 0xf0) | 8 | r->mask);
	return at;
}

static void stub_make(uint8_t *at, const uint8_t *raw, const struct insn *insn)
{
	struct renamed r = rename_all(insn);

	switch (insn->encoding) {
	case INSN_VEX:
		at = emit_vex(at, raw, insn, &r);
		break;
	case INSN_EVEX:
		at = emit_evex(at, raw, insn, &r);
		break;
	default:
		at = emit_legacy(at, insn, &r);
		break;
	}
	*at++ = insn->code;
	if (insn->has_modrm)
		*at++ = r.modrm;
	/* One immediate byte, or EXTRQ's two. */
	for (unsigned i = insn->immediate_at; i && i < insn->length; i++)
		*at++ = (uint8_t)(r.immediate_high ? (raw[i] & 15) | r.immediate_high : raw[i]);
	*at = 0xc3;
}

/* May it run? SDM vol. 3, 2.5 and 13.1; vol. 2, 2.8. */
void native_unit_check(struct engine_vcpu *cpu, const struct insn *insn)
{
	bool x87 = keeps_registers(insn);
	uint32_t wanted = XCR0_SSE | XCR0_AVX;

	if (insn->opcode->id == INSN_X87) {
		if (cpu->cr0 & (CR0_EM | CR0_TS))
			cpu_fault(cpu, EXCEPTION_NM, NO_ERROR_CODE);
		return;
	}
	if (insn->encoding == INSN_LEGACY) {
		if (cpu->cr0 & CR0_EM || (!x87 && !(cpu->cr4 & CR4_OSFXSR)))
			cpu_fault(cpu, EXCEPTION_UD, NO_ERROR_CODE);
	} else {
		if (insn->encoding == INSN_EVEX || insn->operand[0].kind == OPERAND_MASK)
			wanted |= XCR0_AVX512;
		if (!(cpu->cr4 & CR4_OSXSAVE) || (cpu->xcr0 & wanted) != wanted ||
		    !(cpu->cr0 & CR0_PE) || cpu->rflags & RFLAGS_VM)
			cpu_fault(cpu, EXCEPTION_UD, NO_ERROR_CODE);
	}
	if (cpu->cr0 & CR0_TS)
		cpu_fault(cpu, EXCEPTION_NM, NO_ERROR_CODE);
}

void native_x87_check(struct engine_vcpu *cpu)
{
	if (cpu->vector.x87[2] & X87_SUMMARY && cpu->cr0 & CR0_NE)
		cpu_fault(cpu, EXCEPTION_MF, NO_ERROR_CODE);
}

/* Registers in and out of the frame. */

static int vector_place(enum opcode_source source)
{
	switch (source) {
	case SRC_V:
		return HOST_V;
	case SRC_H:
		return HOST_H;
	case SRC_W:
	case SRC_U:
		return HOST_W;
	case SRC_L:
		return HOST_L;
	default:
		return HOST_V0;
	}
}

static uint64_t *gpr_place(struct native_frame *f, enum opcode_source source)
{
	switch (source) {
	case SRC_G:
		return &f->g;
	case SRC_B:
		return &f->b;
	case SRC_CX:
		return &f->rcx;
	default:
		return &f->e;
	}
}

static unsigned mask_place(enum opcode_source source)
{
	return source == SRC_KG ? HOST_KG : source == SRC_KB ? HOST_KB : HOST_KE;
}

/* For each operand of the row that the encoding has. */
#define FOR_OPERANDS(insn, o, source)                                                              \
	for (unsigned row_ = 0, at_ = 0; row_ < OPCODE_OPERANDS && (insn)->opcode->operand[row_];  \
	     row_++)                                                                               \
		if (((source) = OPERAND_SOURCE((insn)->opcode->operand[row_])) == SRC_H &&         \
		    (insn)->encoding == INSN_LEGACY)                                               \
			continue;                                                                  \
		else if (((o) = &(insn)->operand[at_++])->kind != OPERAND_NONE)

static void frame_load(struct native_frame *f, const struct engine_vcpu *cpu,
		       const struct insn *insn)
{
	const struct vector_state *v = &cpu->vector;
	enum opcode_source source;
	const struct operand *o;

	memset(f->mask, 0, sizeof(f->mask));
	f->rax = cpu->gpr[CPU_RAX];
	f->rcx = cpu->gpr[CPU_RCX];
	f->rdx = cpu->gpr[CPU_RDX];
	f->rflags = cpu->rflags;
	f->mxcsr = v->mxcsr;
	f->host_mxcsr = MXCSR_HOST;
	f->mask[HOST_MASK] = v->k[insn->mask];
	FOR_OPERANDS(insn, o, source)
	{
		if (o->kind == OPERAND_VECTOR)
			memcpy(f->vector[vector_place(source)], v->zmm[o->reg], 64);
		else if (o->kind == OPERAND_GPR)
			*gpr_place(f, source) = cpu->gpr[o->reg % CPU_GPRS];
		else if (o->kind == OPERAND_MASK)
			f->mask[mask_place(source)] = v->k[o->reg];
	}
}

static void frame_store(const struct native_frame *f, struct engine_vcpu *cpu,
			const struct insn *insn)
{
	struct vector_state *v = &cpu->vector;
	enum opcode_source source;
	const struct operand *o;

	v->mxcsr = f->mxcsr;
	FOR_OPERANDS(insn, o, source)
	{
		if (!(o->access & OPERAND_WRITE))
			continue;
		if (o->kind == OPERAND_VECTOR)
			memcpy(v->zmm[o->reg], f->vector[vector_place(source)], 64);
		else if (o->kind == OPERAND_GPR)
			gpr_set(cpu, o->reg, o->size, *gpr_place((struct native_frame *)f, source));
		else if (o->kind == OPERAND_MASK)
			v->k[o->reg] = f->mask[mask_place(source)];
		/* VP2INTERSECT writes two. */
		if (source == SRC_KG && insn->map == INSN_MAP_0F38 && insn->code == 0x68) {
			v->k[o->reg & ~1] = f->mask[HOST_KG];
			v->k[o->reg | 1] = f->mask[HOST_KG_PAIR];
		}
	}
	if (insn->opcode->flags_written)
		cpu->rflags = (cpu->rflags & ~(uint64_t)RFLAGS_ARITHMETIC) |
			      (f->rflags & RFLAGS_ARITHMETIC);
}

/* VZEROUPPER, VZEROALL. */
static void zero_vectors(struct engine_vcpu *cpu, bool all)
{
	unsigned count = cpu->mode == DECODE_64 ? 16 : 8, from = all ? 0 : 16;

	for (unsigned i = 0; i < count; i++)
		memset(cpu->vector.zmm[i] + from, 0, 64 - from);
}

/* Does it wait for (and so raise) what an earlier instruction of x87 left? */
static bool is_waiting(const struct insn *insn)
{
	unsigned reg = insn->modrm >> 3 & 7;
	bool memory = insn->modrm >> 6 != 3;

	if (insn->opcode->id != INSN_X87)
		return true; /* MMX */
	if (memory)
		return !((insn->code == 0xd9 && reg == 7) || (insn->code == 0xdd && reg == 7));
	return !(insn->code == 0xdb && reg == 4); /* FNCLEX, FNINIT and old ones */
}

/* Those that only control the unit are not what its last instruction is: SDM vol. 1, 8.1.8. */
bool native_is_control(const struct insn *insn)
{
	unsigned reg = insn->modrm >> 3 & 7;

	if (insn->modrm >> 6 != 3)
		return (insn->code == 0xd9 && (reg == 5 || reg == 7)) ||
		       (insn->code == 0xdd && reg == 7);
	return insn->code == 0xdb && reg == 4;
}

/* The last instruction of x87 is this one. `operand`: its offset in memory. */
static void x87_note(struct engine_vcpu *cpu, const struct insn *insn, const struct operand *memory,
		     uint64_t operand)
{
	struct vector_state *v = &cpu->vector;

	if (insn->code == 0xdb && insn->modrm == 0xe3) { /* FNINIT */
		memset(v->x87 + X87_AT_OPCODE, 0, X87_AT_DP + 8 - X87_AT_OPCODE);
		v->x87_cs = v->x87_ds = 0;
	}
	if (native_is_control(insn))
		return;
	le16_put(v->x87 + X87_AT_OPCODE, (uint16_t)((insn->code & 7) << 8 | insn->modrm));
	le64_put(v->x87 + X87_AT_IP, cpu->rip);
	v->x87_cs = cpu->segment[CPU_CS].selector;
	if (memory) {
		le64_put(v->x87 + X87_AT_DP, operand);
		v->x87_ds = cpu->segment[insn->memory.segment].selector;
	}
}

/* Can it be that nothing is stored, as the exception that it raises is not masked? */
static bool may_not_store(const struct engine_vcpu *cpu, const struct insn *insn,
			  const struct operand *memory)
{
	return insn->opcode->id == INSN_X87 && memory && memory->access == OPERAND_WRITE &&
	       (cpu->vector.x87[0] & X87_MASKS) != X87_MASKS;
}

void do_native(struct engine_vcpu *cpu, const struct insn *insn)
{
	const struct cached_insn *cached =
		(const void *)((const char *)insn - offsetof(struct cached_insn, insn));
	size_t slot = (size_t)(cached - cpu->cache) * STUB_SIZE;
	const struct operand *memory = native_memory_operand(insn);
	_Alignas(64) uint8_t buffer[128];
	struct native_frame frame;
	bool x87 = keeps_registers(insn) || (insn->encoding == INSN_LEGACY && !insn->has_modrm);

	if (cached == &cpu->across)
		slot = (size_t)INSN_CACHE * STUB_SIZE;
	native_unit_check(cpu, insn);
	/* FNSTSW AX: the one of x87 that writes a general register. */
	if (insn->opcode->id == INSN_X87 && insn->code == 0xdf && insn->modrm == 0xe0) {
		gpr_set(cpu, CPU_RAX, 2, le16_get(cpu->vector.x87 + 2));
		return;
	}
	if (insn->encoding != INSN_LEGACY && !insn->has_modrm) {
		zero_vectors(cpu, insn->vector_bytes == 32);
		return;
	}
	if (x87 && is_waiting(insn))
		native_x87_check(cpu);
	frame_load(&frame, cpu, insn);
	frame.memory = buffer;
	if (memory)
		native_memory_load(cpu, insn, memory, buffer);
	if (may_not_store(cpu, insn, memory)) /* then what is there comes back */
		linear_read_bytes(cpu, operand_linear(cpu, insn, memory->size, true), buffer,
				  memory->size);
	stub_make(cpu->native->write + slot, cached->bytes, insn);
	in_stub = cpu;
	in_insn = insn;
	if (x87)
		x87_load(&cpu->vector);
	cpu->native->run(&frame, cpu->native->execute + slot);
	if (x87)
		x87_save(&cpu->vector);
	in_stub = NULL;
	if (insn->opcode->id == INSN_X87)
		x87_note(cpu, insn, memory, memory ? operand_offset(cpu, insn) : 0);
	if (memory)
		native_memory_store(cpu, insn, memory, buffer);
	frame_store(&frame, cpu, insn);
}
