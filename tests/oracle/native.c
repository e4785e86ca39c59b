/* SPDX-License-Identifier: MIT */
/*
 * The interpreter against this CPU, and the translator against the interpreter. Random unprivileged
 * instructions, a few in a row, run natively in this process (a trap sets all registers, another
 * takes them) and in the interpreter; registers, flags, memory and faults must be the same. Then
 * they are translated, and all must be the same again. Usage: native [--engine HOW] [--seed N]
 * [--first N] [--count N] [--special N] [--vendor NAME]: HOW is interp (the CPU and the
 * interpreter), translate (the interpreter and the translator) or all, the default. With a vendor
 * it is skipped (status 77) on other CPUs. What it expects beyond the manuals was seen on AMD's.
 *
 * Memory is mapped at the same linear addresses on both sides: a page of code, two of data, one of
 * data that cannot be written, and nothing around them.
 */
#include <cpuid.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "tests/random.h"
#include "vmm/base/bytes.h"
#include "vmm/base/checked.h"
#include "vmm/bt/fpu.h"
#include "vmm/bt/handlers.h"
#include "vmm/bt/interp.h"
#include "vmm/bt/native.h"
#include "vmm/bt/translate.h"

#define PAGE        4096ull
#define CODE        0x10000000ull
#define DATA        0x10010000ull
#define DATA_PAGES  3u          /* the last one is read-only */
#define TABLES      0x100000ull /* guest-physical: four tables */
#define CODE_GPA    0x200000ull
#define DATA_GPA    0x201000ull
#define MEMORY      (16ull << 20)
#define SEQUENCE    4u
#define STACK_MOST  24u /* of pushes and pops; their bytes are fewer */
#define REPORTS_MAX 60u
#define RUNS_MAX    4u
#define DATA_CASES                                                                                 \
	256u /* without the CPU itself: how long the data are what the last case left              \
	      */

/* Flags that a user sees and that are compared: not TF, not RF, which the kernel plays with. */
#define FLAGS_SEEN (RFLAGS_ARITHMETIC | RFLAGS_DF | RFLAGS_IF)

struct result {
	uint64_t gpr[CPU_GPRS], rip, rflags;
	struct vector_state vector_state;
	int vector, error; /* of the trap that ended it; 3: it came to its end */
	uint64_t address;
};

struct sequence {
	uint8_t bytes[STACK_MOST * 8 + 2 * INSN_LENGTH_MAX];
	unsigned length;
	uint64_t gpr[CPU_GPRS], rflags;
	struct vector_state vector;
	bool has_area;   /* an area for XRSTOR is wanted */
	bool has_xgetbv; /* and ECX 0 or 1 */
};

static struct engine_vm vm;
/* INVPCID and SMAP are there: their instructions fault by privilege. */
static struct cpuid_table cpuid = {
	.count = 1, .leaf = {{.function = 7, .reg = {[CPUID_EBX] = 1u << 10 | 1u << 20}}}};
static struct engine_vcpu *cpu;
static uint8_t *guest_code, *guest_data;
static uint8_t data_before[DATA_PAGES * PAGE], code_before[PAGE];
static uint64_t random_state;

static uint64_t case_number, reports;
static bool by_native = true, by_translator = true;
static uint64_t special; /* of 16 instructions, how many more are of those that chance misses */

static uint64_t random_next(void)
{
	return random_step(&random_state);
}

/* This CPU. */

static const int greg_of[CPU_GPRS] = {
	REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

static enum { IDLE, START, RUNNING } phase;
static const struct sequence *running;
static struct result native_result;
static gregset_t home;

/* The vector state in a signal's frame: XSAVE's standard format (SDM vol. 1, 13.4). */

#define XSAVE_BITS 512 /* offset of the components that are not in their initial state */

static unsigned xsave_offset[XSAVE_COMPONENTS]; /* 0: this host has it not */
static uint8_t home_vector[CPU_XSAVE_MAX];
static unsigned vector_size; /* of the area in the frame */

static void xsave_layout(void)
{
	unsigned a, c, d;

	for (unsigned i = XSAVE_AVX; i < XSAVE_COMPONENTS; i++) {
		unsigned size = 0, offset = 0;

		if (__get_cpuid_count(0xd, i, &size, &offset, &c, &d) && size)
			xsave_offset[i] = offset;
	}
	__get_cpuid_count(0xd, 0, &a, &vector_size, &c, &d);
}

/* Piece `n` of register `reg`: XMM, upper half of YMM, upper half of ZMM; registers from 16 whole.
 */
static uint8_t *xsave_piece(uint8_t *area, unsigned reg, unsigned n, unsigned *size,
			    unsigned *component)
{
	static const struct {
		unsigned component, size;
	} pieces[] = {{1, 16}, {XSAVE_AVX, 16}, {XSAVE_ZMM_HIGH, 32}};

	if (reg >= 16) {
		*component = XSAVE_ZMM_16;
		*size = n == 0 ? 64 : 0;
		return area + xsave_offset[XSAVE_ZMM_16] + (reg - 16) * 64;
	}
	*component = pieces[n].component;
	*size = pieces[n].size;
	if (n == 0)
		return area + 160 + reg * 16;
	return area + xsave_offset[*component] + reg * *size;
}

static void frame_vectors(uint8_t *area, struct vector_state *v, bool store)
{
	uint64_t bits = le64_get(area + XSAVE_BITS);

	for (unsigned reg = 0; reg < 32; reg++) {
		unsigned at = 0, size, component;

		for (unsigned n = 0; n < 3; n++, at += size) {
			uint8_t *piece = xsave_piece(area, reg, n, &size, &component);

			if (component >= XSAVE_AVX && !xsave_offset[component])
				continue;
			if (store)
				memcpy(piece, v->zmm[reg] + at, size);
			else if (bits >> component & 1)
				memcpy(v->zmm[reg] + at, piece, size);
			else
				memset(v->zmm[reg] + at, 0, size);
		}
	}
	for (unsigned i = 0; i < 8 && xsave_offset[XSAVE_MASKS]; i++) {
		uint8_t *piece = area + xsave_offset[XSAVE_MASKS] + 8 * i;

		if (store)
			le64_put(piece, v->k[i]);
		else
			v->k[i] = bits >> XSAVE_MASKS & 1 ? le64_get(piece) : 0;
	}
}

static void frame_store(uint8_t *area, const struct vector_state *v)
{
	frame_vectors(area, (struct vector_state *)v, true);
	memcpy(area, v->x87, 24);
	memcpy(area + 32, v->x87 + 32, 128);
	le32_put(area + 24, v->mxcsr);
	le64_put(area + XSAVE_BITS,
		 le64_get(area + XSAVE_BITS) | 7 | (xsave_offset[XSAVE_ZMM_16] ? 0xe0 : 0));
}

static void frame_load(uint8_t *area, struct vector_state *v)
{
	frame_vectors(area, v, false);
	memcpy(v->x87, area, 160);
	v->mxcsr = le32_get(area + 24);
	if (!(le64_get(area + XSAVE_BITS) & 1)) {
		memset(v->x87, 0, 24);
		le16_put(v->x87, 0x37f);
		memset(v->x87 + 32, 0, 128);
	}
}

_Noreturn static void die(const char *why)
{
	fprintf(stderr, "native: %s, in case %" PRIu64 ":", why, case_number);
	for (unsigned i = 0; i < sizeof(running->bytes); i++)
		fprintf(stderr, " %02x", guest_code[i]);
	fprintf(stderr, "\n");
	_exit(2);
}

/* What runs behind it was not made for #AC. */
static void alignment_off(void)
{
	__asm__ volatile("pushfq; andl %0, (%%rsp); popfq" : : "i"(~RFLAGS_AC) : "memory", "cc");
}

/*
 * By a jump: a host that is a guest of PVM's cannot return from a signal to where RSP is no
 * address. Should it be interrupted there, same_at_last() comes again.
 */
uint64_t start_rsp, start_rip = CODE;
extern const char start_code[];
__asm__(".pushsection .text\n"
	"start_code:\n\t"
	"mov start_rsp(%rip), %rsp\n\t"
	"jmp *start_rip(%rip)\n"
	".popsection");

static void on_trap(int signal, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	greg_t *g = uc->uc_mcontext.gregs;

	(void)info;
	alignment_off();
	if (phase == START) {
		memcpy(home, g, sizeof(home));
		memcpy(home_vector, uc->uc_mcontext.fpregs, vector_size);
		frame_store((uint8_t *)uc->uc_mcontext.fpregs, &running->vector);
		for (unsigned i = 0; i < CPU_GPRS; i++)
			g[greg_of[i]] = (greg_t)running->gpr[i];
		start_rsp = running->gpr[CPU_RSP];
		g[REG_RSP] = 0;
		g[REG_RIP] = (greg_t)start_code;
		g[REG_EFL] = (greg_t)running->rflags;
		phase = RUNNING;
		return;
	}
	if (phase == IDLE && world_fault(signal, uc))
		return;
	if ((signal == SIGFPE || signal == SIGILL) && phase == IDLE)
		native_fault(uc);
	if (phase != RUNNING)
		die(signal == SIGSEGV ? "SIGSEGV by itself" : "a signal by itself");
	for (unsigned i = 0; i < CPU_GPRS; i++)
		native_result.gpr[i] = (uint64_t)g[greg_of[i]];
	native_result.rip = (uint64_t)g[REG_RIP];
	native_result.rflags = (uint64_t)g[REG_EFL];
	native_result.vector = (int)g[REG_TRAPNO];
	native_result.error = (int)g[REG_ERR];
	native_result.address = (uint64_t)g[REG_CR2];
	frame_load((uint8_t *)uc->uc_mcontext.fpregs, &native_result.vector_state);
	memcpy(g, home, sizeof(home));
	memcpy(uc->uc_mcontext.fpregs, home_vector, vector_size);
	phase = IDLE;
}

static void native_setup(void)
{
	static uint8_t stack[65536];
	stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction action = {.sa_sigaction = on_trap,
				   .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
	static const int signals[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE};

	xsave_layout();
	sigaltstack(&alternate, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &action, NULL);
	if (mmap((void *)CODE, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED ||
	    mmap((void *)DATA, DATA_PAGES * PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED) {
		perror("native: mmap");
		exit(2);
	}
}

static void native_run(const struct sequence *s)
{
	running = s;
	phase = START;
	__asm__ volatile("int3" : : : "memory");
}

/* The interpreter. */

static void table_entry(uint64_t table, unsigned index, uint64_t value)
{
	memory_write(vm.config.memory, table + 8 * index, &value, 8);
}

static uint64_t host_xcr0(void)
{
	uint32_t low, high;

	__asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (uint64_t)high << 32 | low;
}

static void guest_setup(void)
{
	struct error err = {0};
	uint64_t present = 7 | 1ull << 63;

	if (memory_create(MEMORY, &vm.config.memory, &err)) {
		error_print(&err, -1);
		exit(2);
	}
	cpu = aligned_alloc(64, (sizeof(*cpu) + 63) & ~63ul);
	memset(cpu, 0, sizeof(*cpu));
	if (native_create(&cpu->native)) {
		fprintf(stderr, "native: no memory for stubs\n");
		exit(2);
	}
	cpu->cpuid = &cpuid;
	cpu->vector.mxcsr = 0x1f80;
	le16_put(cpu->vector.x87, 0x37f);
	le32_put(cpu->vector.x87 + 24, 0x1f80);
	cpu->vm = &vm;
	for (unsigned i = 0; i < INSN_CACHE; i++)
		cpu->cache[i].gpa = INSN_CACHE_NONE;
	/* Four levels; code and data are below one gigabyte, in two tables of the last level. */
	table_entry(TABLES, 0, (TABLES + PAGE) | 7);
	table_entry(TABLES + PAGE, 0, (TABLES + 2 * PAGE) | 7);
	table_entry(TABLES + 2 * PAGE, CODE >> 21, (TABLES + 3 * PAGE) | 7);
	table_entry(TABLES + 3 * PAGE, CODE >> 12 & 511, CODE_GPA | 7);
	for (unsigned i = 0; i < DATA_PAGES; i++)
		table_entry(TABLES + 3 * PAGE, (DATA >> 12 & 511) + i,
			    (DATA_GPA + i * PAGE) |
				    (i + 1 < DATA_PAGES ? present : present & ~2ull));
	guest_code = memory_at_write(vm.config.memory, CODE_GPA, PAGE);
	guest_data = memory_at_write(vm.config.memory, DATA_GPA, DATA_PAGES * PAGE);
	cpu->cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_WP | CR0_AM;
	cpu->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	cpu->xcr0 = host_xcr0() & fpu_xcr0_supported(cpu);
	cpu->cr3 = TABLES;
	cpu->efer = EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE;
	cpu->segment[CPU_CS] = (struct cpu_segment){
		.selector = 0x33, .limit = ~0u, .type = 11, .s = 1, .dpl = 3, .present = 1, .l = 1};
	for (unsigned i = 0; i < CPU_SEGMENTS; i++)
		if (i != CPU_CS)
			cpu->segment[i] = (struct cpu_segment){.selector = i == CPU_SS ? 0x2b : 0,
							       .limit = ~0u,
							       .type = 3,
							       .s = 1,
							       .dpl = 3,
							       .present = 1,
							       .db = 1};
	cpu->rflags = RFLAGS_ONE;
	cpu_mode_update(cpu);
	tlb_flush(cpu, true);
}

static void guest_begin(const struct sequence *s)
{
	memcpy(cpu->gpr, s->gpr, sizeof(cpu->gpr));
	cpu->vector = s->vector;
	cpu->rip = CODE;
	cpu->rflags = s->rflags;
	cpu_mode_update(cpu);
}

static void guest_end(bool alive, struct result *out)
{
	out->vector = -1;
	if (!alive) {
		out->vector = cpu->fault.vector;
		out->error = cpu->fault.error == NO_ERROR_CODE ? 0 : cpu->fault.error;
		out->address = cpu->fault.address;
	}
	memcpy(out->gpr, cpu->gpr, sizeof(out->gpr));
	out->rip = cpu->rip;
	out->rflags = cpu->rflags;
	out->vector_state = cpu->vector;
}

static void interpreter_run(const struct sequence *s, struct result *out)
{
	guest_begin(s);
	atomic_store(&cpu->attention, false); /* the code cache was full */
	/* A repetition may take many turns; a loop may not. */
	guest_end(interp_run(cpu, 100000), out);
}

/* The translator. */

static void on_alarm(int signal)
{
	(void)signal;
	die("it does not come to its end");
}

static void translator_setup(void)
{
	vm.config.vcpus = 1;
	vm.vcpu[0] = cpu;
	if (code_cache_create(vm.config.memory, &vm.code) || world_create(cpu)) {
		fprintf(stderr, "native: no memory for translated code\n");
		exit(2);
	}
	translate_world(vm.code, &vm.world_code);
	vm.config.memory->writing_arg = &vm;
	vm.config.memory->writing = world_memory_writing;
	signal(SIGALRM, on_alarm);
}

static void translator_run(const struct sequence *s, struct result *out)
{
	bool alive = true;

	guest_begin(s);
	alarm(20);
	world_thread_begin(cpu);
	while (alive) {
		atomic_store(&cpu->attention, false); /* the code cache was full */
		alive = world_run(cpu);
	}
	world_thread_end(cpu);
	alarm(0);
	guest_end(alive, out);
}

/* Sequences. */

/* What a user may do and what has one answer. */
static bool is_wanted(const struct insn *insn)
{
	static const uint16_t unwanted[] = {
		INSN_INT,
		INSN_INT3,
		INSN_INTO,
		INSN_INT1,
		INSN_POPF,
		INSN_PUSHF,
		INSN_VMCALL,
		INSN_VMMCALL,
		INSN_IRET,
		INSN_SYSCALL,
		INSN_SYSENTER,
		INSN_SYSRET,
		INSN_SYSEXIT, /* #GP here; on AMD's #UD, unless a hypervisor makes it #GP */
		INSN_LFENCE,
		/* Segments are the host's. */
		INSN_MOV_TO_SEGMENT,
		INSN_MOV_FROM_SEGMENT,
		INSN_PUSH_SEGMENT,
		INSN_POP_SEGMENT,
		INSN_LOAD_FAR_POINTER,
		INSN_CALL_FAR_INDIRECT,
		INSN_JMP_FAR_INDIRECT,
		INSN_RET_FAR,
		INSN_LAR,
		INSN_LSL,
		INSN_VERR,
		INSN_VERW,
		INSN_SLDT,
		INSN_STR,
		INSN_SMSW,
		INSN_SGDT,
		INSN_SIDT,
		INSN_RDFSBASE,
		INSN_RDGSBASE,
		INSN_WRFSBASE,
		INSN_WRGSBASE,
		/* Each time another answer, or one that depends on the host's kernel. */
		INSN_RDTSC,
		INSN_RDTSCP,
		INSN_RDPID,
		INSN_RDPMC,
		INSN_RDRAND,
		INSN_RDSEED,
		INSN_CPUID,
		INSN_CLZERO,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(unwanted); i++)
		if (insn->opcode->id == unwanted[i])
			return false;
	/* AMD's CPUs cut RIP to 16 bits there, Intel's and we do not. */
	if (insn->opcode->attributes & A_F64 && insn->size_prefix)
		return false;
	/* And take the condition of LOOPcc from a prefix F2 or F3. */
	if (insn->repeat && (insn->opcode->id == INSN_LOOPE || insn->opcode->id == INSN_LOOPNE))
		return false;
	/* FS is the C library's. */
	if (insn->segment == CPU_FS || insn->segment == CPU_GS)
		return false;
	return interp_has(insn->opcode->id);
}

/* Displacements that reach the data; branches that stay among the traps behind the sequence. */
static void tame(uint8_t *bytes, const struct insn *insn, uint64_t rip)
{
	uint64_t r = random_next();

	if (insn->displacement_bytes >= 4 && insn->memory.base == INSN_RIP) {
		uint64_t target = DATA + r % (DATA_PAGES * PAGE);

		le32_put(bytes + insn->displacement_at, (uint32_t)(target - rip - insn->length));
	} else if (insn->displacement_bytes == 4 && insn->memory.base == INSN_NO_REGISTER &&
		   insn->memory.index == INSN_NO_REGISTER) {
		le32_put(bytes + insn->displacement_at, (uint32_t)(DATA + r % (DATA_PAGES * PAGE)));
	} else if (insn->displacement_bytes == 4) {
		le32_put(bytes + insn->displacement_at, (uint32_t)(int32_t)(int8_t)r);
	} else if (insn->displacement_bytes == 8) {
		le64_put(bytes + insn->displacement_at, DATA + r % (DATA_PAGES * PAGE));
	}
	if (insn->operand[0].kind == OPERAND_RELATIVE)
		le_put(bytes + insn->immediate_at, insn->operand[0].size, r % 8);
	/*
	 * EVEX.X has no meaning beside a general register. With it set this CPU (Zen 5) takes RSP
	 * as it was before a PUSH or POP ahead; no assembler writes that.
	 */
	if (insn->encoding == INSN_EVEX && insn->modrm >> 6 == 3)
		for (unsigned i = 0; i < INSN_OPERANDS; i++)
			if (insn->operand[i].kind == OPERAND_GPR)
				bytes[insn->modrm_at - 4] |= 0x40;
}

/* Instructions that chance would hardly ever find. */

static void random_modrm(uint8_t *at, unsigned reg)
{
	uint8_t modrm = (uint8_t)(random_next() & 0xc7);

	/* In the address of RBX there is an aligned place of the data. */
	if ((modrm >= 0xc0) || random_next() & 7)
		modrm = CPU_RBX;
	*at = (uint8_t)(modrm | reg << 3);
}

static void random_gather(uint8_t *at, uint64_t how)
{
	if ((how & 0x70) == 0)
		*at++ = 0x67;
	if (how & 1) {
		at[0] = 0x62;
		at[1] = (at[1] & 0xf0) | 2;
		at[2] = (at[2] & 0x80) | 0x7d;
		at[3] = (at[3] & 0x6f) | (at[3] & 7 ? 0 : 1);
		at[4] = (uint8_t)((how & 2 ? 0x90 : 0xa0) | (how >> 2 & 3));
		at[5] = (at[5] & 0xf8) | 4;
	} else {
		at[0] = 0xc4;
		at[1] = (at[1] & 0xe0) | 2;
		at[2] = (at[2] & 0xfc) | 1;
		at[3] = (uint8_t)(0x90 | (how >> 2 & 3));
		at[4] = (at[4] & 0xf8) | 4;
	}
}

static void random_masked_move(uint8_t *at, uint64_t how)
{
	static const uint8_t codes[] = {0x2c, 0x2d, 0x2e, 0x2f, 0x8c, 0x8e, 0x8c, 0x8e};

	if (how & 1) {
		at[0] = 0xc4;
		at[1] = (at[1] & 0xe0) | 2;
		at[2] = (at[2] & 0xfc) | 1;
		at[3] = codes[how >> 1 & 7];
		return;
	}
	if (how & 2)
		*at++ = how & 4 ? 0x66 : 0x67;
	if (how & 8)
		*at++ = 0x40 | (how >> 4 & 15);
	at[0] = 0x0f;
	at[1] = 0xf7;
	at[2] |= 0xc0;
	if ((how & 0x300) == 0) {
		at[0] = 0xc5;
		at[1] = 0xf9;
		at[2] = 0xf7;
		at[3] |= 0xc0;
	}
}

static void random_state_insn(uint8_t *at, uint64_t how)
{
	if ((how & 3) == 0)
		*at++ = 0x48;
	at[0] = 0x0f;
	at[1] = 0xae;
	random_modrm(at + 2, (how >> 2) % 7);
	if ((how >> 2) % 7 == 0 && how & 0x10000) {
		at[1] = 0xc7; /* XSAVEC */
		at[2] |= 4 << 3;
	}
	if ((how & 0xf000) == 0) {
		at[0] = 0x0f; /* XGETBV */
		at[1] = 0x01;
		at[2] = 0xd0;
	} else if ((how & 0xf00) == 0) {
		at[0] = 0xc5; /* VLDMXCSR, VSTMXCSR */
		at[1] = 0xf8;
		at[2] = 0xae;
		random_modrm(at + 3, 2 + (how >> 12 & 1));
	}
}

static void random_x87_state(uint8_t *at, uint64_t how)
{
	if ((how & 7) == 0)
		*at++ = 0x66;
	if ((how & 0x78) == 0)
		*at++ = 0x48;
	if ((how & 0x380) == 0) {
		at[0] = 0x9b;
		return;
	}
	at[0] = how & 0x400 ? 0xd9 : 0xdd;
	random_modrm(at + 1, how & 0x800 ? 4 : 6);
}

static void random_special(uint8_t *at)
{
	uint64_t how = random_next();

	switch (how & 3) {
	case 0:
		random_gather(at, how >> 2);
		break;
	case 1:
		random_masked_move(at, how >> 2);
		break;
	case 2:
		random_state_insn(at, how >> 2);
		break;
	default:
		random_x87_state(at, how >> 2);
		break;
	}
}

static void random_bytes(uint8_t bytes[16])
{
	static const uint8_t prefixes[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x3e, 0x40, 0x48,
					   0x41, 0x44, 0x4f, 0x49, 0x4c, 0x66, 0x48, 0x48};
	uint64_t a = random_next(), b = random_next(), how = random_next();
	unsigned at = 0;

	memcpy(bytes, &a, 8);
	memcpy(bytes + 8, &b, 8);
	while ((how & 1) && at < 3) {
		bytes[at++] = prefixes[how >> 1 & 15];
		how >>= 5;
	}
	if ((how >> 40 & 15) < special) {
		random_special(bytes);
		return;
	}
	switch (how >> 1 & 15) {
	case 0:
	case 1:
	case 4:
	case 5:
		bytes[at] = 0x0f;
		break;
	case 6:
		bytes[0] = how & 32 ? 0xc4 : 0xc5;
		if (how & 32)
			bytes[1] = (bytes[1] & 0xe0) | (1 + (how >> 6) % 3);
		if (how & 0x100)
			bytes[how & 32 ? 2 : 1] |= 0x78;
		break;
	case 7:
	case 8:
		bytes[0] = 0x62;
		bytes[1] = (bytes[1] & 0xf0) | (1 + (how >> 6) % 3);
		bytes[2] |= 4;
		if (how & 0x100)
			bytes[2] |= 0x78;
		if (how & 0x200)
			bytes[3] |= 8;
		break;
	case 2:
		bytes[at] = 0x0f;
		bytes[at + 1] = how & 16 ? 0x38 : 0x3a;
		break;
	case 3:
		bytes[at] = 0xc4;
		bytes[at + 1] = (bytes[at + 1] & 0xe0) | (2 + (how >> 4 & 1));
		bytes[at + 2] &= 0xfb;
		bytes[at + 3] = 0xf0 | (bytes[at + 3] & 7);
		break;
	case 9:
		random_special(bytes);
		break;
	case 10:
		bytes[at] = 0xd8 | (bytes[at] & 7);
		break;
	default:
		break;
	}
}

/* Pushes and pops in a row, which the translator takes together, and what they end in. */
static void random_stack(uint8_t bytes[16], bool pop)
{
	uint64_t how = random_next(), value = random_next();

	le64_put(bytes, value);
	le64_put(bytes + 8, ~value);
	if ((how & 3) == 0)
		*bytes++ = 0x41;
	switch (how >> 2 & 15) {
	case 0:
		bytes[0] = 0x68;
		break;
	case 1:
		bytes[0] = 0x6a;
		break;
	case 2:
		bytes[0] = how & 64 ? 0xc2 : 0xc3;
		break;
	case 3:
		bytes[0] = how & 64 ? 0xe8 : 0xc9;
		break;
	case 4:
		bytes[0] = 0xff;
		bytes[1] = (uint8_t)((bytes[1] & 0xc7) | 6 << 3);
		break;
	case 5:
		bytes[0] = 0x8f;
		bytes[1] &= 0xc7;
		break;
	default:
		/* The same kind as others in the row, mostly. */
		bytes[0] = (uint8_t)(0x50 | (pop != ((how & 0x380) == 0)) << 3 | (value & 7));
		break;
	}
}

static uint64_t random_value(void)
{
	static const uint64_t odd[] = {0,          1,          ~0ull,  1ull << 63, ~(1ull << 63),
				       0x80000000, 0x7fffffff, 0x8000, 0x7fff,     0x80,
				       0x7f,       0xffffffff};
	uint64_t r = random_next();

	switch (r & 7) {
	case 0:
		return random_next();
	case 1:
		return odd[(r >> 8) % ARRAY_SIZE(odd)];
	case 2:
		return (r >> 8) % 256;
	default: {
		/* In the data, mostly about its pages' borders. */
		uint64_t border = DATA + (1 + (r >> 8) % DATA_PAGES) * PAGE;

		return r & 8 ? border - 32 + (r >> 16) % 64
			     : DATA + (r >> 16) % (DATA_PAGES * PAGE);
	}
	}
}

/* Registers that this CPU has not hold nothing. */
static void not_there_clear(struct vector_state *v)
{
	for (unsigned i = 0; i < 32 && !xsave_offset[XSAVE_ZMM_16]; i++)
		memset(v->zmm[i] + (i < 16 ? 32 : 0), 0, i < 16 ? 32 : 64);
	if (!xsave_offset[XSAVE_MASKS])
		memset(v->k, 0, sizeof(v->k));
}

/* Numbers that a vector unit finds hard, and others. */
static void random_vectors(struct vector_state *v)
{
	static const uint64_t odd[] = {
		0,
		1,
		0x3ff0000000000000,
		0xbff0000000000000,
		0x7ff0000000000000,
		0xfff8000000000000,
		0x7ff0000000000001,
		0x000fffffffffffff,
		0x3f8000003f800000,
		0x7f8000017fc00000,
		0x0000000100800000,
		0xff7fffff80000000,
		~0ull,
		0x0123456789abcdef,
		0x4059000000000000,
		0x41dfffffffc00000,
	};

	for (unsigned i = 0; i < 32 * 8; i++) {
		uint64_t r = random_next();

		le64_put(v->zmm[i / 8] + i % 8 * 8, r & 3 ? odd[(r >> 8) % ARRAY_SIZE(odd)] : r);
	}
	/* Indexes. */
	for (unsigned i = 0; i < 32; i++) {
		uint64_t r = random_next();
		unsigned size = r & 4 ? 4 : 8;

		for (unsigned j = 0; (r & 3) == 0 && j < 64; j += size)
			le_put(v->zmm[i] + j, size, random_next() % 512 - 128);
	}
	for (unsigned i = 0; i < 8; i++)
		v->k[i] = random_next();
	not_there_clear(v);
	/* Rounding and denormals at random, exceptions mostly masked. */
	v->mxcsr = (uint32_t)random_next() & 0xffff;
	if (random_next() & 7)
		v->mxcsr |= 0x1f80;
	if ((random_next() & 15) == 0)
		v->mxcsr |= 1u << 17 & cpu->native->layout.mxcsr_mask;
	memset(v->x87, 0, sizeof(v->x87));
	memset(v->x87_header, 0, sizeof(v->x87_header));
	le16_put(v->x87, (uint16_t)((random_next() & 0xf00) | 0x7f));
	le16_put(v->x87 + 2, (uint16_t)(random_next() & 0x7f7f));
	v->x87[4] = (uint8_t)random_next();
	if ((random_next() & 15) == 0)
		v->x87[0] &= (uint8_t)(0x40 | random_next());
	le16_put(v->x87 + 6, random_next() & 0x7ff);
	/* Of 48 bits, of which some CPUs make all others. */
	le64_put(v->x87 + 8, random_next() >> 17);
	le64_put(v->x87 + 16, random_next() >> (random_next() & 1 ? 17 : 40));
	v->x87_cs = v->x87_ds = 0;
	le32_put(v->x87 + 24, 0x1f80);
	for (unsigned i = 0; i < 8; i++) {
		uint64_t r = random_next();

		le64_put(v->x87 + 32 + 16 * i,
			 r & 3 ? r | 1ull << 63 : odd[(r >> 8) % ARRAY_SIZE(odd)]);
		le16_put(v->x87 + 40 + 16 * i,
			 (uint16_t)(r & 4 ? 0x3fff + (r >> 32 & 63) - 32 : r >> 40));
	}
	native_x87_settle(v);
}

/* At RBX, in both memories, what XRSTOR takes, or nearly so. */
static void random_area(struct sequence *s)
{
	uint64_t r = random_next(), all = fpu_xcr0_supported(cpu), bits = r >> 8 & all;
	uint64_t at = (s->gpr[CPU_RBX] - DATA) % PAGE / 64 * 64;
	uint8_t header[64] = {0}, *area = guest_data + at;

	le64_put(header, bits);
	if (r & 1)
		le64_put(header + 8, 1ull << 63 | bits | (r >> 16 & all));
	if ((r & 0xe) == 0)
		header[r >> 32 & 63] ^= (uint8_t)(1 << (r >> 38 & 7));
	memcpy(area + XSAVE_BITS, header, sizeof(header));
	le32_put(area + 24, (uint32_t)random_next() & (r & 0x70 ? 0xffff : 0x3ffff));
	memcpy((uint8_t *)DATA + at, area, XSAVE_BITS + 64);
	s->gpr[CPU_RBX] = DATA + at;
	s->gpr[CPU_RAX] |= r >> 48 & 0xff;
}

/*
 * Does what `id` stores depend on which components the CPU takes to be in use? After XRSTOR has
 * initialised some, that is more than have other values, as soon as anything was computed in
 * between; and XSAVEOPT may leave out what was not modified.
 */
static bool tells_use(unsigned id, unsigned last)
{
	if (id == INSN_XSAVE || id == INSN_XSAVEC || id == INSN_XGETBV)
		return last != INSN_XRSTOR;
	return id == INSN_XSAVEOPT;
}

/* This CPU has components that lodge shows no guest, and tells of them. */
static bool tells_others(unsigned id)
{
	return (id == INSN_XSAVE || id == INSN_XSAVEC || id == INSN_XSAVEOPT || id == INSN_XRSTOR ||
		id == INSN_XGETBV) &&
	       host_xcr0() & ~fpu_xcr0_supported(cpu);
}

static void make(struct sequence *s)
{
	unsigned wanted = 1 + random_next() % SEQUENCE;
	unsigned last = INSN_NATIVE;
	uint64_t flags = random_next();
	bool stack = (random_next() & 15) == 0, pop = flags >> 55 & 1;

	s->length = 0;
	if (stack)
		wanted = 1 + random_next() % STACK_MOST;
	s->has_area = s->has_xgetbv = false;
	for (unsigned n = 0; n < wanted;) {
		uint8_t *at = s->bytes + s->length;
		struct insn insn;

		if (stack)
			random_stack(at, pop);
		else
			random_bytes(at);
		if (decode(at, INSN_LENGTH_MAX, DECODE_64, &insn) || !is_wanted(&insn))
			continue;
		if (tells_others(insn.opcode->id) ||
		    (s->has_area && tells_use(insn.opcode->id, last)))
			continue;
		last = insn.opcode->id;
		tame(at, &insn, CODE + s->length);
		s->has_xgetbv |= insn.opcode->id == INSN_XGETBV;
		s->has_area |= insn.opcode->id == INSN_XRSTOR || insn.opcode->id == INSN_FXRSTOR;
		s->length += insn.length;
		n++;
		if (insn.operand[0].kind == OPERAND_RELATIVE)
			break; /* whatever is behind it is a trap */
	}
	random_vectors(&s->vector);
	memset(s->bytes + s->length, 0xcc, sizeof(s->bytes) - s->length);
	for (unsigned i = 0; i < CPU_GPRS; i++)
		s->gpr[i] = random_value();
	/* Repetitions that end. */
	if (flags & 1ull << 40)
		s->gpr[CPU_RCX] %= 64;
	else
		s->gpr[CPU_RCX] %= 1u << 14;
	s->rflags = (flags & (RFLAGS_ARITHMETIC | RFLAGS_DF)) | RFLAGS_IF | RFLAGS_ONE;
	if (!(flags & 15ull << 52))
		s->rflags |= RFLAGS_AC;
	if (flags & 1ull << 41)
		s->rflags &= ~(uint64_t)RFLAGS_DF;
	if (flags & 7ull << 42)
		s->gpr[CPU_RBX] = DATA + (flags >> 45) % (DATA_PAGES * PAGE) / 64 * 64;
	if (s->has_area && random_next() & 3)
		random_area(s);
	if (s->has_xgetbv && random_next() & 3)
		s->gpr[CPU_RCX] &= 1;
}

/*
 * Where x87's last instruction and its operand were is in the frame only with an exception. CPUs
 * whose addresses have 48 bits make the others of them.
 */
static bool same_vectors(const struct vector_state *a, const struct vector_state *b)
{
	if (a->x87[2] & 0x80 &&
	    (memcmp(a->x87 + 6, b->x87 + 6, 8) != 0 || memcmp(a->x87 + 16, b->x87 + 16, 6) != 0))
		return false;
	return memcmp(a->zmm, b->zmm, sizeof(a->zmm)) == 0 &&
	       memcmp(a->k, b->k, sizeof(a->k)) == 0 && a->mxcsr == b->mxcsr &&
	       memcmp(a->x87, b->x87, 5) == 0 && memcmp(a->x87 + 32, b->x87 + 32, 128) == 0;
}

static bool insn_at(uint64_t rip, struct insn *insn)
{
	return rip - CODE < PAGE - INSN_LENGTH_MAX &&
	       decode(guest_code + (rip - CODE), INSN_LENGTH_MAX, DECODE_64, insn) == 0;
}

static bool is_memory_fault(int vector)
{
	return vector == EXCEPTION_PF || vector == EXCEPTION_GP || vector == EXCEPTION_SS ||
	       vector == EXCEPTION_AC;
}

/*
 * Which of two faults CPUs differ in: of CMPS, both of whose operands are nowhere; and of an
 * instruction that this CPU has not, which the interpreter finds out when it runs it.
 */
static bool is_other_fault(const struct result *native, const struct result *guest)
{
	struct insn insn;

	if (!is_memory_fault(guest->vector) || native->rip != guest->rip ||
	    !insn_at(guest->rip, &insn))
		return false;
	if (insn.opcode->id == INSN_CMPS)
		return is_memory_fault(native->vector);
	return insn.opcode->id == INSN_NATIVE && native->vector == EXCEPTION_UD;
}

/*
 * A page fault within an image of more than one register: which of its bytes are touched first, and
 * which were written already, is the microcode's business.
 */
static bool is_image_fault(const struct result *r)
{
	struct insn insn;

	if (r->vector != EXCEPTION_PF || !insn_at(r->rip, &insn))
		return false;
	switch (insn.opcode->id) {
	case INSN_FXSAVE:
	case INSN_FXRSTOR:
	case INSN_XSAVE:
	case INSN_XSAVEC:
	case INSN_XSAVEOPT:
	case INSN_XRSTOR:
	case INSN_FNSTENV:
	case INSN_FLDENV:
	case INSN_FNSAVE:
	case INSN_FRSTOR:
		return true;
	default:
		return false;
	}
}

/* `a` is native. */
static bool same(const struct result *a, const struct result *b)
{
	if (!same_vectors(&a->vector_state, &b->vector_state))
		return false;
	if (a->rip != b->rip || (a->rflags ^ b->rflags) & FLAGS_SEEN ||
	    memcmp(a->gpr, b->gpr, sizeof(a->gpr)) != 0)
		return false;
	if (is_other_fault(a, b))
		return true;
	if (a->vector != b->vector)
		return false;
	/* With addresses of 32 bits the other end may be behind the 4 GiB. */
	if (is_image_fault(a))
		return (uint32_t)(a->address - b->address) + 4096u < 8192;
	if (a->vector == EXCEPTION_PF) {
		/* In the upper half, and right below it, there is the host's kernel. */
		int host = a->address >= 0x7ffffffff000 ? (int)FAULT_PRESENT : 0;

		return a->address == b->address && (a->error | host) == (b->error | host);
	}
	return a->vector < EXCEPTION_TS || a->vector > EXCEPTION_GP || a->error == b->error;
}

static void print_result(const char *who, const struct result *r)
{
	printf("  %s: vector %d error %x address %" PRIx64 " rip %" PRIx64 " rflags %" PRIx64
	       "\n   ",
	       who, r->vector, (unsigned)r->error, r->address, r->rip, r->rflags & FLAGS_SEEN);
	for (unsigned i = 0; i < CPU_GPRS; i++)
		printf(" %" PRIx64, r->gpr[i]);
	printf("\n");
}

/* One of two that were to be the same: who it is, what came out, its data. */
struct side {
	const char *name;
	const struct result *result;
	const uint8_t *data;
};

static void print_zmm(const char *name, const uint8_t *zmm)
{
	printf("  %s:", name);
	for (unsigned i = 0; i < 8; i++)
		printf(" %016" PRIx64, le64_get(zmm + 8 * i));
	printf("\n");
}

static void print_vectors(const struct vector_state *before, const struct side *one,
			  const struct side *other)
{
	const struct vector_state *a = &one->result->vector_state;
	const struct vector_state *b = &other->result->vector_state;

	for (unsigned i = 0; i < 32; i++) {
		if (memcmp(a->zmm[i], b->zmm[i], 64) == 0)
			continue;
		printf("  zmm%u\n", i);
		print_zmm("before", before->zmm[i]);
		print_zmm(one->name, a->zmm[i]);
		print_zmm(other->name, b->zmm[i]);
	}
	for (unsigned i = 0; i < 8; i++)
		if (a->k[i] != b->k[i])
			printf("  k%u: %s %" PRIx64 ", %s %" PRIx64 "\n", i, one->name, a->k[i],
			       other->name, b->k[i]);
	if (a->mxcsr != b->mxcsr)
		printf("  mxcsr: %s %x, %s %x\n", one->name, a->mxcsr, other->name, b->mxcsr);
	for (unsigned i = 0; i < 160; i++)
		if (a->x87[i] != b->x87[i] && (a->x87[2] & 0x80 || i < 5 || i >= 32))
			printf("  x87[%u]: before %02x, %s %02x, %s %02x\n", i, before->x87[i],
			       one->name, a->x87[i], other->name, b->x87[i]);
}

static void print_difference(const struct sequence *s, const struct side *one,
			     const struct side *other)
{
	struct result before = {.rip = CODE, .rflags = s->rflags};
	unsigned shown = 0;

	if (++reports > REPORTS_MAX)
		return;
	memcpy(before.gpr, s->gpr, sizeof(before.gpr));
	printf("case %" PRIu64 ":", case_number);
	for (unsigned i = 0; i < s->length; i++)
		printf(" %02x", s->bytes[i]);
	printf("\n");
	print_result("before", &before);
	print_result(one->name, one->result);
	print_result(other->name, other->result);
	print_vectors(&s->vector, one, other);
	for (uint64_t i = 0; i < DATA_PAGES * PAGE && shown < 16; i++)
		if (one->data[i] != other->data[i]) {
			printf("  memory at %llx: %s %02x, %s %02x\n", DATA + i, one->name,
			       one->data[i], other->name, other->data[i]);
			shown++;
		}
}

/* Both sides have the same data again. */
static void data_fill(void)
{
	mprotect((void *)DATA, DATA_PAGES * PAGE, PROT_READ | PROT_WRITE);
	for (uint64_t i = 0; i < DATA_PAGES * PAGE; i += 8) {
		uint64_t value = random_value();

		memcpy((uint8_t *)DATA + i, &value, 8);
	}
	memcpy(guest_data, (void *)DATA, DATA_PAGES * PAGE);
	mprotect((void *)(DATA + (DATA_PAGES - 1) * PAGE), PAGE, PROT_READ);
}

static uint8_t code_at(uint64_t rip)
{
	return rip - CODE < PAGE ? guest_code[rip - CODE] : 0;
}

/* A return into the middle of an instruction met one that is not wanted. */
static bool is_stray(uint64_t rip)
{
	struct insn insn;

	return insn_at(rip, &insn) && !is_wanted(&insn);
}

/*
 * XSAVE and its like ask for the whole area ahead, into a next page too, of which they then may
 * write nothing; the interpreter asks for what it writes.
 */
static bool is_probe(const struct result *native, const struct result *guest)
{
	return is_image_fault(native) && guest->vector != EXCEPTION_PF && guest->rip > native->rip;
}

/*
 * Again, from the same data: the kernel loses x87's pointers when it switches threads, where a CPU
 * saves them only with an exception.
 */
static bool same_at_last(const struct sequence *s, const struct result *guest)
{
	for (unsigned i = 0; i < RUNS_MAX; i++) {
		if (same(&native_result, guest) &&
		    (is_image_fault(guest) ||
		     memcmp((void *)DATA, guest_data, DATA_PAGES * PAGE) == 0))
			return true;
		memcpy((void *)DATA, data_before, (DATA_PAGES - 1) * PAGE);
		native_run(s);
	}
	return false;
}

static uint64_t endless;

/* Natively, and all is as the interpreter has it. */
static bool run_native(const struct sequence *s, struct result *guest)
{
	const struct side native = {"native", &native_result, (void *)DATA};
	const struct side lodge = {"interpreted", guest, guest_data};
	bool equal;

	native_run(s);
	if (is_probe(&native_result, guest)) {
		data_fill();
		return true;
	}
	/* The end of the sequence: INT3, for which the interpreter's guest has no vector. */
	if (guest->vector == EXCEPTION_GP && code_at(guest->rip) == 0xcc) {
		guest->vector = EXCEPTION_BP;
		guest->rip++;
	} else if (is_stray(guest->rip)) {
		data_fill();
		return true;
	}
	equal = same_at_last(s, guest);
	if (!equal)
		print_difference(s, &native, &lodge);
	if (!equal || is_image_fault(guest))
		data_fill();
	return equal;
}

/* But for RF behind a fault, which sets it in the flags that it pushes, whatever it was. */
static bool identical(const struct result *a, const struct result *b)
{
	const struct vector_state *v = &a->vector_state, *w = &b->vector_state;
	uint64_t flags = a->vector < 0 ? ~0ull : ~(uint64_t)RFLAGS_RF;

	return a->vector == b->vector && a->rip == b->rip &&
	       ((a->rflags ^ b->rflags) & flags) == 0 && (a->vector < 0 || a->error == b->error) &&
	       (a->vector != EXCEPTION_PF || a->address == b->address) &&
	       memcmp(a->gpr, b->gpr, sizeof(a->gpr)) == 0 &&
	       memcmp(v->zmm, w->zmm, sizeof(v->zmm)) == 0 &&
	       memcmp(v->k, w->k, sizeof(v->k)) == 0 && v->mxcsr == w->mxcsr &&
	       memcmp(v->x87, w->x87, 24) == 0 && memcmp(v->x87 + 32, w->x87 + 32, 128) == 0;
}

/* Translated, and all is as the interpreter has it, to the last bit. That is there again then. */
static bool run_translated(const struct sequence *s, const struct result *guest)
{
	static uint8_t data_after[DATA_PAGES * PAGE];
	struct result result = {0};
	const struct side one = {"interpreted", guest, data_after};
	const struct side other = {"translated", &result, guest_data};
	bool equal;

	memcpy(data_after, guest_data, sizeof(data_after));
	memcpy(guest_data, data_before, sizeof(data_before));
	/* It may have been written to. */
	memory_write(vm.config.memory, CODE_GPA, code_before, PAGE);
	translator_run(s, &result);
	equal = identical(&result, guest) &&
		memcmp(guest_data, data_after, sizeof(data_after)) == 0;
	if (!equal)
		print_difference(s, &one, &other);
	memcpy(guest_data, data_after, sizeof(data_after));
	return equal;
}

static bool run_case(void)
{
	struct result guest = {0};
	struct sequence s;
	bool equal = true;

	make(&s);
	memcpy(data_before, guest_data, sizeof(data_before));
	memcpy((void *)CODE, s.bytes, sizeof(s.bytes));
	memcpy(guest_code, s.bytes, sizeof(s.bytes));
	memcpy(code_before, guest_code, PAGE);
	interpreter_run(&s, &guest);
	/* A jump to itself: nobody comes to an end. */
	if (guest.vector == -1) {
		endless++;
		data_fill();
		return true;
	}
	if (by_translator)
		equal = run_translated(&s, &guest);
	if (by_native)
		return run_native(&s, &guest) && equal;
	if (case_number % DATA_CASES == 0)
		data_fill();
	return equal;
}

static bool is_vendor(const char *name)
{
	unsigned reg[4] = {0};

	return __get_cpuid(0, &reg[0], &reg[1], &reg[3], &reg[2]) && strlen(name) == 12 &&
	       memcmp(name, &reg[1], 4) == 0 && memcmp(name + 4, &reg[2], 4) == 0 &&
	       memcmp(name + 8, &reg[3], 4) == 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: native [--engine interp|translate|all] [--seed N] [--first N] "
			"[--count N]\n"
			"              [--special N] [--vendor NAME]\n");
	return 2;
}

int main(int argc, char **argv)
{
	uint64_t count = 100000, seed = (uint64_t)time(NULL), first = 0, different = 0;

	for (int i = 1; i < argc; i += 2) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";

		if (strcmp(argv[i], "--seed") == 0) {
			seed = strtoull(value, NULL, 0);
		} else if (strcmp(argv[i], "--first") == 0) {
			first = strtoull(value, NULL, 0);
		} else if (strcmp(argv[i], "--count") == 0) {
			count = strtoull(value, NULL, 0);
		} else if (strcmp(argv[i], "--special") == 0) {
			special = strtoull(value, NULL, 0);
		} else if (strcmp(argv[i], "--engine") == 0) {
			by_native = strcmp(value, "translate") != 0;
			by_translator = strcmp(value, "interp") != 0;
		} else if (strcmp(argv[i], "--vendor") != 0) {
			return usage();
		} else if (!is_vendor(value)) {
			printf("skipped: this CPU is not from %s\n", value);
			return 77;
		}
	}
	native_setup();
	guest_setup();
	if (by_translator)
		translator_setup();
	data_fill();
	for (uint64_t i = first; i < first + count; i++) {
		case_number = i;
		random_state = seed + i * 0x632be59bd9b4e019ull;
		if (!run_case())
			different++;
	}
	printf("seed %" PRIu64 ": %" PRIu64 " sequences (%" PRIu64 " endless), %" PRIu64
	       " different\n",
	       seed, count, endless, different);
	return different ? 1 : 0;
}
