/* SPDX-License-Identifier: MIT */
/*
 * Faults at each memory access of straight code. A piece of code accesses one page after another;
 * with each page in turn not there, or read only, it runs twice: step by step, and at full speed.
 * Both must fault at the same instruction with the same registers and memory, and end the same when
 * the page is there again.
 */
#include "vmm/workload/guest.h"

#define PAGES 26u
#define TF    0x100u
/* What is the same step by step: not TF and RF. */
#define FLAGS 0xcd5u

struct state {
	uint64_t gpr[16]; /* in the processor's order */
	uint64_t rip, rflags, error, cr2;
	uint64_t vector[16][4];
	uint64_t x87; /* the top of the stack, as a double */
	uint32_t mxcsr;
};

uint8_t page[PAGES][4096] __attribute__((aligned(4096)));
static uint64_t *entry;

/* The assembler's: what is loaded at first, and what was there at a fault and at the end. */
struct state initial, at_fault, at_end;
uint64_t has_avx, saved_rsp, steps;
uint64_t held[16]; /* a handler's own */
void piece_run(void (*piece)(void), uint64_t rflags);
extern const char piece_end[], on_fault[], on_step[];

/* Offsets in struct state. */
#define RIP    "128"
#define FLAGS_ "136"
#define ERROR  "144"
#define VECTOR "160"
#define X87    "672"
#define MXCSR  "680"

_Static_assert(__builtin_offsetof(struct state, vector) == 160, "VECTOR");
_Static_assert(__builtin_offsetof(struct state, x87) == 672, "X87");
_Static_assert(__builtin_offsetof(struct state, mxcsr) == 680, "MXCSR");

#define EACH_GPR(op)                                                                               \
	op("rax", "0") op("rcx", "8") op("rdx", "16") op("rbx", "24") op("rbp", "40")              \
		op("rsi", "48") op("rdi", "56") op("r8", "64") op("r9", "72") op("r10", "80")      \
			op("r11", "88") op("r12", "96") op("r13", "104") op("r14", "112")          \
				op("r15", "120")
#define SAVE_FAULT(reg, at)   "mov %" reg ", at_fault+" at "\n"
#define SAVE_END(reg, at)     "mov %" reg ", at_end+" at "\n"
#define LOAD_INITIAL(reg, at) "mov initial+" at ", %" reg "\n"
#define LOAD_FAULT(reg, at)   "mov at_fault+" at ", %" reg "\n"
#define EACH_VECTOR(op)                                                                            \
	op("0", "0") op("1", "32") op("2", "64") op("3", "96") op("4", "128") op("5", "160")       \
		op("6", "192") op("7", "224") op("8", "256") op("9", "288") op("10", "320")        \
			op("11", "352") op("12", "384") op("13", "416") op("14", "448")            \
				op("15", "480")
#define SAVE_XMM(reg, at) "movups %xmm" reg ", " at "(%rdi)\n"
#define LOAD_XMM(reg, at) "movups " at "(%rdi), %xmm" reg "\n"
#define SAVE_YMM(reg, at) "vmovups %ymm" reg ", " at "(%rdi)\n"
#define LOAD_YMM(reg, at) "vmovups " at "(%rdi), %ymm" reg "\n"

__asm__(/* Vector registers to or from RDI, by AVX where that is. */
	"vectors_save: cmpq $0, has_avx\n jne 1f\n" EACH_VECTOR(SAVE_XMM) "ret\n 1:" EACH_VECTOR(
		SAVE_YMM) "ret\n"
			  "vectors_load: cmpq $0, has_avx\n jne 1f\n" EACH_VECTOR(
				  LOAD_XMM) "ret\n 1:" EACH_VECTOR(LOAD_YMM) "ret\n"

									     "piece_run: push "
									     "%rbx\n push %rbp\n "
									     "push %r12\n push "
									     "%r13\n push %r14\n "
									     "push %r15\n"
									     "mov %rsp, "
									     "saved_rsp\n push "
									     "$0x10\n push "
									     "initial+32\n push "
									     "%rsi\n push $8\n "
									     "push %rdi\n"
									     "fninit\n fldl "
									     "initial+" X87
									     "\n ldmxcsr "
									     "initial+" MXCSR "\n"
									     "mov $initial+" VECTOR
									     ", %edi\n call "
									     "vectors_"
									     "load\n" EACH_GPR(
										     LOAD_INITIAL) "iretq\n"

												   "piece_end:" EACH_GPR(
													   SAVE_END) "mov %rsp, at_end+32\n mov saved_rsp, %rsp\n pushfq\n"
														     "pop at_end+" FLAGS_
														     "\n push $2\n popfq\n cld\n mov $at_end+" VECTOR
														     ", %edi\n"
														     "call vectors_save\n fstpl at_end+" X87
														     "\n stmxcsr at_end+" MXCSR
														     "\n"
														     "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n"

														     ".balign 16\non_step: incq steps\n iretq\n"

														     ".balign 16\non_fault: pop at_fault+" ERROR
														     "\n" EACH_GPR(
															     SAVE_FAULT) "mov (%rsp), %rax\n mov %rax, at_fault+" RIP
																	 "\n mov 16(%rsp), %rax\n"
																	 "mov %rax, at_fault+" FLAGS_
																	 "\n mov 24(%rsp), %rax\n mov %rax, at_fault+32\n"
																	 "mov %cr2, %rax\n mov %rax, at_fault+152\n cld\n mov $at_fault+" VECTOR
																	 ", %edi\n"
																	 "call vectors_save\n fstl at_fault+" X87
																	 "\n stmxcsr at_fault+" MXCSR
																	 "\n"
																	 "call fault_note\n" EACH_GPR(
																		 LOAD_FAULT) "iretq\n");

/* Memory at a moment, in one number. */

static uint64_t mix(uint64_t sum, uint64_t value)
{
	return ((sum << 7 | sum >> 57) ^ value) * 0x9e3779b97f4a7c15ull;
}

/* Words of a page that pieces use: those at both ends. */
#define ENDS 16u

static volatile uint64_t *word(unsigned which, unsigned number)
{
	return (volatile uint64_t *)(uint64_t)page[which] +
	       (number < ENDS ? number : 512 - 2 * ENDS + number);
}

static uint64_t memory_sum(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < PAGES; i++)
		for (unsigned k = 0; k < 2 * ENDS; k++)
			sum = mix(sum, *word(i, k));
	return sum;
}

static void memory_fill(void)
{
	for (unsigned i = 0; i < PAGES; i++)
		for (unsigned k = 0; k < 2 * ENDS; k++)
			*word(i, k) = 0x0101010101010101ull * (i + k) + 1;
}

static uint64_t sum_at_fault;
static unsigned faults, absent;

void fault_note(void);
void fault_note(void)
{
	faults++;
	sum_at_fault = memory_sum();
	entry[absent] = (uint64_t)page[absent] | 3;
	invlpg(PAGE_AT + 4096ull * absent);
}

/* One run, with page `absent` as `bits` say. */
static void run(void (*piece)(void), uint64_t flags, uint64_t bits)
{
	memory_fill();
	faults = 0;
	steps = 0;
	entry[absent] = bits ? (uint64_t)page[absent] | bits : 0;
	invlpg(PAGE_AT + 4096ull * absent);
	piece_run(piece, 2 | flags);
}

static const char *piece_name;
static unsigned piece_bits;

static void expect(const char *what, uint64_t value, uint64_t expected)
{
	if (value == expected)
		return;
	guest_print(piece_name);
	guest_print(piece_bits ? ", page read only: " : ", page not there: ");
	check_equal(what, absent, value, expected);
}

static void compare(const struct state *s, const struct state *expected)
{
	static const char *const names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					    "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

	for (unsigned i = 0; i < 16; i++)
		expect(names[i], s->gpr[i], expected->gpr[i]);
	/* QEMU's at a fault are not always what they were, and what BTS leaves undefined varies. */
	UNLESS_EMULATED
	expect("rflags", s->rflags & FLAGS, expected->rflags & FLAGS);
	for (unsigned i = 0; i < 64; i++)
		expect("a vector register", s->vector[i / 4][i % 4],
		       expected->vector[i / 4][i % 4]);
	expect("x87", s->x87, expected->x87);
	expect("mxcsr", s->mxcsr, expected->mxcsr);
}

/* Step by step is what the rest is measured by. Returns if the page is used at all. */
static bool run_both(void (*piece)(void), uint64_t flags, unsigned bits)
{
	static struct state fault, end;
	uint64_t sum_fault, sum_end;
	unsigned count;

	piece_bits = bits;
	run(piece, flags | TF, bits);
	fault = at_fault;
	end = at_end;
	sum_fault = sum_at_fault;
	sum_end = memory_sum();
	count = faults;
	/* Cold, and warm. */
	for (unsigned i = 0; i < 2; i++) {
		run(piece, flags, bits);
		expect("faults", faults, count);
		compare(&at_end, &end);
		expect("memory at the end", memory_sum(), sum_end);
		if (!count || !faults)
			continue;
		expect("rip at the fault", at_fault.rip, fault.rip);
		expect("cr2", at_fault.cr2, fault.cr2);
		expect("page of cr2", at_fault.cr2 >> 12, (PAGE_AT >> 12) + absent);
		expect("error code", at_fault.error, fault.error);
		compare(&at_fault, &fault);
		expect("memory at the fault", sum_at_fault, sum_fault);
	}
	return count;
}

static void try(const char *name, void (*piece)(void), uint64_t flags, unsigned pages)
{
	unsigned used = 0;

	piece_name = name;
	for (absent = 0; absent < PAGES; absent++)
		entry[absent] = (uint64_t)page[absent] | 3;
	cr3_set(cr3_get());
	/* Translated, with all there. */
	absent = 0;
	for (unsigned i = 0; i < 3; i++)
		run(piece, flags, 3);
	for (absent = 0; absent < PAGES; absent++) {
		used += run_both(piece, flags, 0);
		run_both(piece, flags, 1);
	}
	expect("pages used", used, pages);
}

/*
 * The pieces. RBX is the first page's address; AT(n, offset) is in page n. HERE(n, offset) is the
 * same by the address that is always there. STACK(n, offset): RSP points there.
 */
#define AT(page, offset)    #page "*4096+" #offset "(%rbx)"
#define HERE(page, offset)  "page+" #page "*4096+" #offset
#define STACK(page, offset) "lea " AT(page, offset) ", %rsp\n"
#define PIECE(name, text)                                                                          \
	void name(void);                                                                           \
	__asm__(".balign 64\n" #name ": " text "jmp piece_end\n");

PIECE(integers, "mov " AT(0, 0) ", %rax\n"
				"add %rax, " AT(1, 8) "\n"
						      "mov 2*4096+16(%rbx,%rcx,8), %r11\n"
						      "mov %r11, " AT(3,
								      0) "\n"
									 "lock xadd %r14, " AT(4,
											       0) "\n"
												  "xchg %r15, " AT(
													  5, 8) "\n"
														"cmpxchg %rdx, " AT(6, 0) "\n"
																	  "btsl $7, " AT(7, 4) "\n"
																			       "bts %rsi, " AT(8, 0) "\n"
																						     "incb " AT(9, 3) "\n"
																								      "movzwl " AT(10, 1) ", %ebp\n"
																											  "setc " AT(11, 7) "\n"
																													    "shll %cl, " AT(12,
																															    0) "\n"
																															       "adc " AT(13, 0) ", %r8\n"
																																		"imul " AT(
																																			14, 0) ", %r9\n"
																																			       "movslq " AT(
																																				       15, 0) ", %r10\n"
																																					      "lea " AT(
																																						      16, 0) ", %r12\n"
																																							     "mov (%r12), %r12\n"
																																							     "mulq " AT(
																																								     17, 0) "\n"
																																									    "movq $-5, " AT(18, 0) "\n"
																																												   "movb %ah, " AT(
																																													   19, 2) "\n"
																																														  "lock cmpxchg8b " AT(
																																															  20, 0) "\n"
																																																 "lock cmpxchg16b " AT(
																																																	 21,
																																																	 16) "\n"
																																																	     "notl " AT(
																																																		     22,
																																																		     0) "\n"
																																																			"mov $1, %edx\n"
																																																			"divl " AT(
																																																				23,
																																																				0) "\n")

/* Two pages each. */
PIECE(borders,
      "mov " AT(
	      0,
	      4092) ", %rax\n"
		    "mov %rax, " AT(
			    2,
			    4090) "\n"
				  "add %r8d, " AT(
					  4,
					  4094) "\n"
						"lock xadd %r9, " AT(
							6,
							4089) "\n"
							      "movups " AT(
								      8,
								      4088) ", %xmm1\n"
									    "movups %xmm2, " AT(
										    10,
										    4095) "\n"
											  "xchg "
											  "%r10,"
											  " " AT(12,
												 4093) "\n"
												       "mov %rsp, %r12\n" STACK(
													       15,
													       4) "push %rax\n"
														  "pop %rdx\n"
														  "btsq $1, " AT(
															  16,
															  4095) "\n"
																"cmpxchg %r11, " AT(
																	18,
																	4091) "\n"
																	      "lea " AT(
																		      21,
																		      3) ", %rsp\n"
																			 "push %r8\n"
																			 "push %r9\n"
																			 "pop %r14\n"
																			 "mov %r12, %rsp\n")

PIECE(stacks,
      STACK(0, 64) "push %rax\n" STACK(1, 64) "push $-7\n" STACK(
	      3, 16) "push %rax\n push %rcx\n push %rdx\n push "
		     "%r11\n" STACK(
			     4, 4096 - 16) "pop %rax\n pop %r11\n "
					   "pop %rdx\n pop "
					   "%r14\n" STACK(
						   6, 64) "push"
							  " " AT(7, 0) "\n"
								       "pop " AT(8,
										 0) "\n" STACK(9,
											       64) "call 1f\n 1:" STACK(11,
															16) "push %rax\n push %rdx\n push %rsi\n call 1f\n 1:"
															    "movq $1f, " HERE(12, 64) "\n" STACK(12, 64) "ret\n 1: movq $1f, " HERE(14, 0) "\n" STACK(13, 4096 - 16) "pop %rax\n pop %rdx\n ret\n 1: lea " AT(15, 64) ", %rbp\n"
																																		      "leave\n movq $1f, " HERE(
																																			      16,
																																			      0) "\n" STACK(17,
																																					    64) "call *" AT(16,
																																							    0) "\n"
																																							       "1: movq $1f, " HERE(18, 0) "\n"
																																											   "jmp *" AT(18,
																																												      0) "\n"
																																													 "1: movq $1f, " HERE(
																																														 19, 64) "\n" STACK(19, 64) "ret $16\n 1:" STACK(20,
																																																				 64) "enter $16, $0\n" STACK(21,
																																																							     64) "push %rsp\n pop %rsp\n" STACK(22,
																																																												32) "pop 8(%rsp)\n" STACK(23,
																																																															  64) "push %fs\n" STACK(24,
																																																																		 64) "pushw %ax\n pop %bp\n" STACK(25,
																																																																						   64))

PIECE(vectors_128,
      "movl $0x1fa0, " HERE(
	      17,
	      0) "\n"
		 "movups " AT(
			 0,
			 1) ", %xmm0\n"
			    "movaps %xmm1, " AT(
				    1,
				    16) "\n"
					"movdqu " AT(
						2,
						0) ", %xmm3\n"
						   "addps " AT(
							   3,
							   0) ", %xmm4\n"
							      "paddd " AT(
								      4,
								      0) ", %xmm5\n"
									 "movss " AT(
										 5,
										 4) ", %xmm6\n"
										    "cvtsi2sdq " AT(
											    6,
											    0) ", "
											       "%xm"
											       "m7"
											       "\n"
											       "mov"
											       "q "
											       "%xm"
											       "m8,"
											       " " AT(7,
												      0) "\n"
													 "movhps " AT(8,
														      0) ", %xmm9\n"
															 "pshufb " AT(9, 0) ", %xmm10\n"
																	    "movnti %rax, " AT(10, 0) "\n"
																				      "movntdq %xmm11, " AT(11, 0) "\n"
																								   "pinsrw $3, " AT(12, 0) ", %xmm12\n"
																											   "pextrb $2, %xmm13, " AT(13, 5) "\n"
																															   "cvttsd2si " AT(14, 0) ", %r11\n"
																																		  "ucomisd " AT(15, 0) ", %xmm14\n"
																																				       "stmxcsr " AT(16,
																																						     0) "\n"
																																							"ldmxcsr " AT(17,
																																								      0) "\n"
																																									 "fldl " AT(18,
																																										    0) "\n"
																																										       "fstpl " AT(
																																											       19, 0) "\n"
																																												      "lea " AT(20, 0) ", %rdi\n"
																																														       "maskmovdqu %xmm1, %xmm2\n"
																																														       "movntdqa " AT(21, 0) ", %xmm15\n"
																																																	     "popcnt " AT(
																																																		     22, 0) ", %rdx\n"
																																																			    "crc32q " AT(
																																																				    23,
																																																				    0) ", %rdx\n")

PIECE(
	vectors_256, "vmovups " AT(0, 0) ", %ymm0\n"
					 "vmovaps %ymm1, " AT(1,
							      32) "\n"
								  "vaddpd " AT(2,
									       0) ", %ymm3, %ymm4\n"
										  "vpaddd " AT(3,
											       0) ", %ymm5, %ymm6\n"
												  "vbroadcastsd " AT(
													  4, 0) ", %ymm7\n"
														"vpcmpeqd %ymm8, %ymm8, %ymm8\n"
														"vmaskmovps " AT(5, 0) ", %ymm8, %ymm9\n"
																       "vmaskmovps %ymm9, %ymm8, " AT(6, 0) "\n"
																					    "vinsertf128 $1, " AT(7, 0) ", %ymm10, %ymm11\n"
																									"vextractf128 $1, %ymm12, " AT(8, 0) "\n"
																													     "vmovups %ymm13, " AT(9,
																																   4080) "\n" /* and page 10 */
																																	 "vmovups " AT(
																																		 11, 4081) ", %ymm14\n" /* and 12 */
																																			   "mulx " AT(13, 0) ", %rax, %r11\n"
																																					     "andn " AT(14, 0) ", %r15, %r14\n"
																																							       "rorx $5, " AT(15, 0) ", %r15\n"
																																										     "pdep " AT(
																																											     16, 0) ", %rax, %rcx\n"
																																												    "shlx %rcx, " AT(17,
																																														     0) ", %rsi\n"
																																															"vpxor %xmm5, %xmm5, %xmm5\n"
																																															"vpcmpeqd %ymm8, %ymm8, %ymm8\n"
																																															"vpgatherdd %ymm8, 18*4096(%rbx,%ymm5,4), %ymm6\n"
																																															"vmovdqu %xmm1, " AT(
																																																19,
																																																3) "\n")

PIECE(strings, "lea " AT(
		       0,
		       4096 - 50) ", %rsi\n"
				  "lea " AT(
					  2,
					  4096 - 30) ", %rdi\n"
						     "mov $90, %ecx\n rep movsb\n"
						     "lea " AT(
							     4,
							     4096 - 24) ", %rdi\n"
									"mov $7, %ecx\n rep stosq\n"
									"lea " AT(
										6,
										4096 - 20) ", "
											   "%rsi\n"
											   "lodsq\n"
											   " lodsq"
											   "\n "
											   "lodsq\n"
											   "lea"
											   " " AT(8,
												  4096 - 16) ", %rdi\n"
													     "mov $-1, %rax\n mov $5, %ecx\n repne scasq\n"
													     "lea " AT(
														     10,
														     4096 -
															     16) ", %rsi\n"
																 "mov %rsi, %rdi\n mov $40, %ecx\n repe cmpsb\n"
																 "lea " AT(13, 20) ", %rsi\n"
																		   "lea " AT(15, 10) ", %rdi\n"
																				     "std\n mov $60, %ecx\n rep movsb\n cld\n"
																				     "lea " AT(16, 4096 -
																							   40) ", %rsi\n"
																							       "lea 8(%rsi), %rdi\n mov $10, %ecx\n rep movsq\n"
																							       "lea " AT(18, 4094) ", %rsi\n"
																										   "lea " AT(
																											   20, 4093) ", %rdi\n"
																												     "mov $6, %ecx\n rep movsl\n"
																												     "lea " AT(
																													     22,
																													     0) ", %rsi\n"
																														"lea " AT(
																															23,
																															0) ", %rdi\n"
																															   "movsq\n cmpsw\n stosb\n")

/*
 * Addresses that are none: a fault for each kind of access, though the bits that count for the page
 * tables are those of a page that is there and in use.
 */
static const uint64_t spoilt[] = {1ull << 63, 1ull << 48, 1ull << 47, 0xffffull << 48,
				  0x7fffull << 47};

static void load(void *at)
{
	(void)*(volatile uint64_t *)at;
}

static void store(void *at)
{
	*(volatile uint64_t *)at = 1;
}

static void vector_load(void *at)
{
	__asm__ volatile("movups (%0), %%xmm0" : : "r"(at) : "memory");
}

static void push(void *at)
{
	__asm__ volatile("mov %%rsp, %%rcx\n\tlea 8(%0), %%rsp\n\tpush %%rax\n\tmov %%rcx, %%rsp"
			 :
			 : "r"(at)
			 : "rcx", "memory");
}

static void pop(void *at)
{
	__asm__ volatile("mov %%rsp, %%rcx\n\tmov %0, %%rsp\n\tpop %%rax\n\tmov %%rcx, %%rsp"
			 :
			 : "r"(at)
			 : "rax", "rcx", "memory");
}

static void jump(void *at)
{
	((void (*)(void))at)();
}

static void check_not_canonical(void (*access)(void *), uint64_t spoil)
{
	uint64_t at = (uint64_t)page[0];
	/* QEMU has one vector for all. */
	bool stack = (access == push || access == pop) && !emulated;

	trap_catch(access, (void *)at);
	CHECK(trap_seen.vector, -1);
	page[0][0] = 0xc3;
	trap_catch(access, (void *)(at ^ spoil));
	CHECK(trap_seen.vector, stack ? 12 : 13);
	CHECK(trap_seen.error, 0);
}

static void not_canonical(void)
{
	static void (*const kinds[])(void *) = {load, store, vector_load, push, pop, jump};

	page[0][0] = 0xc3;
	/* With a stack of their own. */
	gate_set(12, vectors + 16 * 12, 1, 0x8e);
	gate_set(13, vectors + 16 * 13, 1, 0x8e);
	for (unsigned i = 0; i < 6; i++)
		for (unsigned k = 0; k < sizeof(spoilt) / sizeof(spoilt[0]); k++)
			for (unsigned turn = 0; turn < 3; turn++)
				check_not_canonical(kinds[i], spoilt[k]);
}

static uint32_t cpuid_7(void)
{
	uint32_t a = 7, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return b;
}

/*
 * A divide error behind a string instruction, in one line: the registers are the guest's own. (Once
 * the fault was taken for the string instruction's, which has pointers of the host's.)
 */
void behind_string(void);
uint64_t string_seen[3], string_rsp;
extern const char on_divide[];
__asm__(".globl behind_string\n"
	"behind_string:\n"
	"push %rbx\n"
	"mov %rsp, string_rsp\n"
	"jmp 1f\n"
	"1: mov $0x1111, %esi\n"
	"mov $0x2222, %edi\n"
	"xor %ecx, %ecx\n"
	"rep movsb\n"
	"mov $0x33, %ecx\n"
	"xor %edx, %edx\n"
	"xor %ebx, %ebx\n"
	"div %ebx\n"
	"2: mov string_rsp, %rsp\n"
	"pop %rbx\n"
	"ret\n"
	".globl on_divide\n"
	"on_divide:\n"
	"mov %rsi, string_seen\n"
	"mov %rdi, string_seen+8\n"
	"mov %rcx, string_seen+16\n"
	"jmp 2b\n");

static void divide_behind_string(void)
{
	gate_set(0, on_divide, 0, 0x8e);
	for (unsigned i = 0; i < 3; i++) {
		behind_string();
		CHECK(string_seen[0], 0x1111);
		CHECK(string_seen[1], 0x2222);
		CHECK(string_seen[2], 0x33);
	}
}

void guest_main(void)
{
	const uint32_t avx2_bmi = 1u << 3 | 1u << 5 | 1u << 8;

	guest_setup();
	has_avx = vectors_on();
	gate_set(1, on_step, 1, 0x8e);
	gate_set(14, on_fault, 1, 0x8e);
	entry = page_entry(PAGE_AT);
	for (unsigned i = 0; i < 16; i++) {
		initial.gpr[i] = 0x1234567890abcdefull * (i + 1);
		for (unsigned k = 0; k < 4; k++)
			initial.vector[i][k] = 0x81018f0102030405ull * (4 * i + k + 1);
	}
	initial.gpr[1] = 3;
	initial.gpr[3] = PAGE_AT;
	initial.gpr[4] = PAGE_AT + 25 * 4096 + 64;
	initial.gpr[6] = 100;
	initial.x87 = 0x400921fb54442d18;
	initial.mxcsr = 0x1f80;
	try("integers", integers, 0, 24);
	try("integers with flags", integers, 0x8d5, 24);
	try("borders", borders, 0, 22);
	try("stacks", stacks, 0, 25);
	try("vectors of 128", vectors_128, 0, 24);
	if (has_avx && (cpuid_7() & avx2_bmi) == avx2_bmi)
		try("vectors of 256", vectors_256, 0, 20);
	try("strings", strings, 0, 24);
	not_canonical();
	divide_behind_string();
	guest_end();
}
