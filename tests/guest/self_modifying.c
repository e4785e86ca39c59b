/* SPDX-License-Identifier: MIT */
/*
 * Code that modifies itself: by each kind of store, the very next instruction, one in another block
 * of the same page, and through another linear address (AMD64 vol. 2, 7.6.1; SDM vol. 3, 9.1.3). A
 * store by the address that the code runs at counts for the next instruction, one by another
 * address after a serializing one.
 */
#include "vmm/workload/guest.h"

#define ROUNDS 40u

/*
 * NAME(value, offset) writes eight bytes at RDX, the operand of the MOV to RAX that it ends in; RDI
 * is the value, RSI what to add to the operand's address for another one of it.
 */
#define WRITER(name, write, between)                                                               \
	uint64_t name(uint64_t value, uint64_t offset);                                            \
	__asm__(".balign 64\n" #name                                                               \
		": push %rbx\n push %r15\n lea 8f+2(%rip), %rdx\n add %rsi, %rdx\n" write          \
		"\n" between "\n 8: movabs $0x1122334455667788, %rax\n .globl " #name              \
		"_after\n" #name "_after: pop %r15\n pop %rbx\n ret\n .quad 0, 0");

#define SERIALIZE "xor %eax, %eax\n xor %ecx, %ecx\n cpuid"
/* The instruction is next; it is in another block; it is behind a serializing instruction. */
#define WRITERS(name, write)                                                                       \
	WRITER(name##_next, write, "")                                                             \
	WRITER(name##_block, write, "jmp 8f")                                                      \
	WRITER(name##_serial, write, SERIALIZE)

uint64_t scratch[8] __attribute__((aligned(64)));

WRITERS(store, "mov %rdi, (%rdx)")
WRITERS(store_bytes, "mov %dil, (%rdx)\n shr $8, %rdi\n mov %dil, 1(%rdx)\n shr $8, %rdi\n"
		     "mov %di, 2(%rdx)\n shr $16, %rdi\n mov %edi, 4(%rdx)")
WRITERS(store_glue, "mov %rdi, %r11\n mov %rdx, %r15\n mov %r11, (%r15)")
WRITERS(exchange, "xchg %rdi, (%rdx)")
WRITERS(locked_add, "sub (%rdx), %rdi\n lock add %rdi, (%rdx)")
WRITERS(locked_xadd, "sub (%rdx), %rdi\n lock xadd %rdi, (%rdx)")
WRITERS(plain_add, "sub (%rdx), %rdi\n add %rdi, (%rdx)")
WRITERS(compare_exchange, "mov (%rdx), %rax\n lock cmpxchg %rdi, (%rdx)")
WRITERS(compare_exchange_8,
	"mov %rdx, %rsi\n mov (%rsi), %eax\n mov 4(%rsi), %edx\n mov %edi, %ebx\n"
	"mov %rdi, %rcx\n shr $32, %rcx\n lock cmpxchg8b (%rsi)")
WRITERS(pushed, "mov %rsp, %rcx\n lea 8(%rdx), %rsp\n push %rdi\n mov %rcx, %rsp")
/* Two in a row: the second is what counts, the first writes what is there. */
WRITERS(pushed_twice, "mov %rsp, %rcx\n mov 8(%rdx), %rax\n lea 16(%rdx), %rsp\n push %rax\n"
		      "push %rdi\n mov %rcx, %rsp")
WRITERS(pushed_memory, "mov %rsp, %rcx\n mov %rdi, scratch\n lea 8(%rdx), %rsp\n push scratch\n"
		       "mov %rcx, %rsp")
WRITERS(popped, "push %rdi\n pop (%rdx)")
WRITERS(moved, "mov %rdi, scratch\n mov $scratch, %rsi\n mov %rdx, %rdi\n movsq")
WRITERS(moved_bytes, "mov %rdi, scratch\n mov $scratch, %rsi\n mov %rdx, %rdi\n mov $8, %ecx\n"
		     "rep movsb")
WRITERS(stored_string, "mov %rdi, %rax\n mov %rdx, %rdi\n mov $1, %ecx\n rep stosq")
WRITERS(vector_low, "movq %rdi, %xmm0\n movq %xmm0, (%rdx)")
WRITERS(vector, "movq %rdi, %xmm0\n movhps 8(%rdx), %xmm0\n movups %xmm0, (%rdx)")
WRITERS(non_temporal, "movnti %rdi, (%rdx)\n sfence")
WRITERS(x87, "mov %rdi, scratch\n fildll scratch\n fistpll (%rdx)")
WRITERS(negated, "not %rdi\n mov %rdi, (%rdx)\n notq (%rdx)")
WRITERS(shifted, "rol $9, %rdi\n mov %rdi, (%rdx)\n rorq $9, (%rdx)")
WRITERS(reversed, "movbe %rdi, (%rdx)\n mov (%rdx), %rax\n bswap %rax\n mov %rax, (%rdx)")

struct writer {
	const char *name;
	uint64_t (*next)(uint64_t, uint64_t), (*block)(uint64_t, uint64_t);
	uint64_t (*serial)(uint64_t, uint64_t);
};
#define ROW(name)                                                                                  \
	{                                                                                          \
#name, name##_next, name##_block, name##_serial                                    \
	}
static const struct writer writers[] = {
	ROW(store),      ROW(store_bytes),  ROW(store_glue),         ROW(exchange),
	ROW(locked_add), ROW(locked_xadd),  ROW(plain_add),          ROW(compare_exchange),
	ROW(pushed),     ROW(pushed_twice), ROW(compare_exchange_8), ROW(pushed_memory),
	ROW(popped),     ROW(moved),        ROW(moved_bytes),        ROW(stored_string),
	ROW(vector_low), ROW(vector),       ROW(non_temporal),       ROW(x87),
	ROW(negated),    ROW(shifted),      ROW(reversed),
};
#define WRITER_COUNT (sizeof(writers) / sizeof(writers[0]))

static bool has_movbe;

static uint64_t value_of(unsigned round)
{
	return (round + 1) * 0x0123456789abcdefull;
}

static void expect(const char *name, const char *where, uint64_t value, uint64_t expected)
{
	if (value == expected)
		return;
	guest_print(name);
	guest_print(where);
	guest_print(": ");
	check_equal("what the new code returns", __LINE__, value, expected);
}

/* Another address of the two pages from that of `at` on: what to add to an address there. */
static uint64_t alias_of(const void *at)
{
	uint64_t page = (uint64_t)at & ~4095ull;

	for (unsigned i = 0; i < 2; i++) {
		page_entry(PAGE_AT)[i] = (page + 4096 * i) | 3;
		invlpg(PAGE_AT + 4096 * i);
	}
	return PAGE_AT - page;
}

static void by_writer(const struct writer *w)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		expect(w->name, ", next", w->next(value_of(i), 0), value_of(i));
		expect(w->name, ", block", w->block(value_of(i), 0), value_of(i));
		expect(w->name, ", serial", w->serial(value_of(i), 0), value_of(i));
	}
	for (unsigned i = 0; i < ROUNDS; i++)
		expect(w->name, ", alias",
		       w->serial(value_of(i), alias_of((const void *)w->serial)), value_of(i));
}

static void by_writers(void)
{
	for (unsigned i = 0; i < WRITER_COUNT; i++)
		if (has_movbe || writers[i].next != reversed_next)
			by_writer(&writers[i]);
}

/* The return address that CALL pushes is the operand. */
WRITER(by_call, "mov %rsp, %rcx\n lea 8(%rdx), %rsp\n call 7f\n 7: mov %rcx, %rsp", "")
extern const char by_call_after[];

/* A bit of the operand. */
WRITER(bit_flipped, "btc %rdi, (%rdx)", "")
WRITER(bit_flipped_locked, "lock btc %rdi, (%rdx)", "")
WRITER(incremented, "incb (%rdx)", "")
WRITER(condition_set, "test %rdi, %rdi\n setnz (%rdx)", "")

static void by_others(void)
{
	uint64_t before = 0x1122334455667788ull;
	uint64_t locked = before, byte = before, pushed = by_call(0, 0);

	CHECK(pushed > (uint64_t)by_call && pushed < (uint64_t)by_call_after, 1);
	CHECK(by_call(0, 0), pushed);
	for (unsigned i = 0; i < 64; i++) {
		before ^= 1ull << (i * 5 % 64);
		CHECK(bit_flipped(i * 5 % 64, 0), before);
		locked ^= 1ull << (i * 11 % 64);
		CHECK(bit_flipped_locked(i * 11 % 64, 0), locked);
		byte = (byte & ~255ull) | ((byte + 1) & 255);
		CHECK(incremented(0, 0), byte);
		CHECK(condition_set(i % 2, 0) & 255, i % 2);
	}
}

/* An operand that the loop it is in counts up; an opcode that its loop changes there and back. */
uint64_t patched_loop(uint64_t count), patched_opcode(uint64_t count), patched_jump(uint64_t to);
__asm__("patched_loop: xor %eax, %eax\n mov %rdi, %rcx\n movl $0, 1f+2\n"
	"1: .byte 0x48, 0x05, 0, 0, 0, 0\n" /* ADD RAX, 0 */
	"incl 1b+2\n dec %rcx\n jnz 1b\n ret\n .skip 64\n"
	"patched_opcode: mov $100, %eax\n mov %rdi, %rcx\n"
	"1: inc %rax\n xorb $8, 1b+2\n loop 1b\n ret\n .skip 64\n" /* or DEC RAX */
	/* The next instruction jumps to one of four places. */
	"patched_jump: mov %dil, 1f+1\n 1: .byte 0xeb, 0\n"
	"mov $0, %eax\n ret\n nop\n nop\n mov $1, %eax\n ret\n nop\n nop\n"
	"mov $2, %eax\n ret\n nop\n nop\n mov $3, %eax\n ret\n .skip 64");

static void in_loops(void)
{
	for (unsigned i = 0; i < 3; i++)
		CHECK(patched_loop(200), 199 * 200 / 2);
	CHECK(patched_opcode(101), 101);
	CHECK(patched_opcode(101), 99);
	CHECK(patched_opcode(1000), 100);
	for (unsigned i = 0; i < 100; i++)
		CHECK(patched_jump(8 * (i * 7 % 4)), i * 7 % 4);
}

/* Code that is generated: four pages for it. */

static uint8_t area[4 * 4096] __attribute__((aligned(4096)));
static uint8_t image[2][4096] __attribute__((aligned(4096)));

static uint64_t call(const uint8_t *at)
{
	return ((uint64_t(*)(void))(uint64_t)at)();
}

static void store_8(uint8_t *at, uint64_t value)
{
	__asm__ volatile("mov %1, (%0)" : : "r"(at), "r"(value) : "memory");
}

static void exchange_8(uint8_t *at, uint64_t value)
{
	__asm__ volatile("xchg %1, (%0)" : "+r"(at), "+r"(value) : : "memory");
}

static void store_16(uint8_t *at, uint64_t value)
{
	__asm__ volatile("movq %1, %%xmm0\n\tpslldq $7, %%xmm0\n\tmovups %%xmm0, (%0)"
			 :
			 : "r"(at), "r"(value)
			 : "memory");
}

/* MOV of a number to EAX, RET. */
static uint64_t returns(uint32_t value)
{
	return 0xb8 | (uint64_t)value << 8 | 0xc3ull << 40;
}

/* A store of which some is in the page before, and code that begins there. */
static void across_pages(void)
{
	uint8_t *border = area + 4096;

	for (unsigned i = 1; i <= ROUNDS; i++) {
		store_8(border, returns(0));
		CHECK(call(border), 0);
		store_8(border - 2, returns(i) << 16);
		CHECK(call(border), i);
		store_16(border - 7, returns(0x100 + i));
		CHECK(call(border), 0x100 + i);
		exchange_8(border - 2, returns(0x200 + i) << 16);
		CHECK(call(border), 0x200 + i);
		/* MOV of eight bytes, two of which are in the first page. */
		border[-4] = 0x48;
		border[-3] = 0xb8;
		border[6] = 0xc3;
		store_8(border - 2, value_of(i));
		CHECK(call(border - 4), value_of(i));
		store_8(border - 2, value_of(i + 1));
		CHECK(call(border - 4), value_of(i + 1));
		border[-2] ^= 1;
		CHECK(call(border - 4), value_of(i + 1) ^ 1);
		border[3] ^= 1;
		CHECK(call(border - 4), value_of(i + 1) ^ 1 ^ 1ull << 40);
	}
}

/* Each push and call writes to the page that it runs in. */
uint64_t on_stack(void *fn, void *top, uint64_t count);
extern const uint8_t stack_user[], stack_user_end[];
__asm__("on_stack: push %rbp\n mov %rsp, %rbp\n mov %rsi, %rsp\n call *%rdi\n mov %rbp, %rsp\n"
	"pop %rbp\n ret\n"
	"stack_user: xor %eax, %eax\n mov %rdx, %rcx\n"
	"1: push %rcx\n push %rax\n call 2f\n pop %rax\n add $3, %rax\n pop %rcx\n loop 1b\n ret\n"
	"2: push $1\n push $2\n pop %rsi\n pop %rsi\n ret\nstack_user_end:");

static void stack_in_code(void)
{
	uint8_t *page = area + 8192;

	for (unsigned i = 0; stack_user + i < stack_user_end; i++)
		page[i] = stack_user[i];
	CHECK(on_stack(page, page + 4096, 300), 900);
	/* As near as it gets. */
	CHECK(on_stack(page, page + 128, 300), 900);
}

static uint32_t seed = 1;

static uint32_t any(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % below;
}

#define SLOT  16u
#define SLOTS (sizeof(area) / SLOT)

/* Any of many small functions is written anew; the others are as they were. */
static void many_functions(void)
{
	static uint32_t holds[SLOTS];

	for (unsigned i = 0; i < SLOTS; i++)
		store_8(area + SLOT * i, returns(holds[i] = i));
	for (unsigned i = 0; i < 3000; i++) {
		unsigned slot = any(SLOTS);

		if (any(4) == 0) {
			holds[slot] = i;
			store_8(area + SLOT * slot, returns(i));
		}
		CHECK(call(area + SLOT * slot), holds[slot]);
		slot = any(SLOTS);
		CHECK(call(area + SLOT * slot), holds[slot]);
	}
}

/* A page of functions becomes another one as a whole. */
static void whole_pages(void)
{
	for (unsigned i = 0; i < 4096 / SLOT; i++) {
		store_8(image[0] + SLOT * i, returns(i));
		store_8(image[1] + SLOT * i, returns(0x1000 + i));
	}
	for (unsigned i = 0; i < 2 * ROUNDS; i++) {
		void *to = area + 100, *from = image[i % 2] + 100;
		uint64_t count = i % 4 < 2 ? 4096 - 100 : (4096 - 104) / 8;
		unsigned slot = 7 + any(4096 / SLOT - 8);

		if (i % 4 < 2)
			__asm__ volatile("rep movsb"
					 : "+D"(to), "+S"(from), "+c"(count)
					 :
					 : "memory");
		else
			__asm__ volatile("rep movsq"
					 : "+D"(to), "+S"(from), "+c"(count)
					 :
					 : "memory");
		CHECK(call(area + SLOT * slot), 0x1000 * (i % 2) + slot);
		CHECK(call(area + SLOT * 7), 0x1000 * (i % 2) + 7);
	}
}

void guest_main(void)
{
	uint32_t a = 1, b, c = 0, d;

	guest_setup();
	vectors_on();
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	has_movbe = c >> 22 & 1;
	by_writers();
	by_others();
	in_loops();
	across_pages();
	stack_in_code();
	many_functions();
	whole_pages();
	guest_end();
}
