/* SPDX-License-Identifier: MIT */
/*
 * What bare-metal guests share: a serial port, traps that can be caught, checks. A guest runs in
 * 64-bit mode at level 0 on tables that map the first 4 GiB to themselves, prints a line a check
 * that failed, then "passed" or "failed", and powers off.
 */
#ifndef TESTS_GUEST_GUEST_H
#define TESTS_GUEST_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#define KERNEL_CS 0x08
#define KERNEL_DS 0x10
#define USER_CS32 0x1b
#define USER_DS   0x23
#define USER_CS   0x2b
#define CODE32    0x30
#define TASK      0x38
#define SMALL_DS  0x48

struct trap {
	uint64_t vector, error, rip, cs, rflags, rsp, ss, cr2; /* vector -1: there was none */
};

extern struct trap trap_seen;
extern bool emulated, under_kvm; /* the command line has the words "emulated", "kvm" */
extern uint64_t gdt[], table4[512], table2[4][512];
extern char vectors[];
extern uint32_t start_info;

/* Call fn(argument); returns after it, or at its first trap. */
void trap_catch(void (*fn)(void *argument), void *argument);
void user_run(uint64_t rip, uint64_t rsp);

/* guest.c */
void guest_setup(void);            /* IDT, task state */
bool vectors_on(void);             /* x87, SSE, AVX; is there AVX? */
bool guest_told(const char *word); /* is it on the command line? */
void guest_print(const char *text);
void guest_print_hex(uint64_t value);
_Noreturn void guest_end(void);
extern unsigned guest_failures;
void check_equal(const char *what, unsigned line, uint64_t value, uint64_t expected);
#define CHECK(value, expected)                                                                     \
	check_equal(#value, __LINE__, (uint64_t)(value), (uint64_t)(expected))
#define CHECK_TRAP(number, code)                                                                   \
	do {                                                                                       \
		CHECK(trap_seen.vector, number);                                                   \
		CHECK(trap_seen.error, code);                                                      \
	} while (0)

struct task_state {
	uint32_t reserved0;
	uint64_t rsp[3];
	uint64_t reserved1;
	uint64_t ist[7];
	uint64_t reserved2;
	uint16_t reserved3, map;
	uint8_t ports[32];
} __attribute__((packed));
extern struct task_state task;

/*
 * The word "emulated" on the command line: under KVM is QEMU's emulation of AMD SVM, which does not
 * do all that a CPU does. "kvm": KVM itself has limits. What is not checked then says why.
 */
#define UNLESS_EMULATED if (!emulated)

struct gate {
	uint16_t low, selector;
	uint8_t ist, type;
	uint16_t middle;
	uint32_t high, reserved;
};
extern struct gate idt[256];
void gate_set(unsigned vector, const void *target, unsigned ist, unsigned type);

/* A 4 KiB page of its own at a fixed address above all that is mapped otherwise. */
#define PAGE_AT 0x140000000ull          /* 5 GiB */
uint64_t *page_entry(uint64_t address); /* its entry in a table of 4 KiB pages, which is made */

static inline void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline void outw(uint16_t port, uint16_t value)
{
	__asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint64_t rdmsr(uint32_t index)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
	return (uint64_t)high << 32 | low;
}

static inline void wrmsr(uint32_t index, uint64_t value)
{
	__asm__ volatile("wrmsr"
			 :
			 : "c"(index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

#define CONTROL(n)                                                                                 \
	static inline uint64_t cr##n##_get(void)                                                   \
	{                                                                                          \
		uint64_t value;                                                                    \
                                                                                                   \
		__asm__ volatile("mov %%cr" #n ", %0" : "=r"(value));                              \
		return value;                                                                      \
	}                                                                                          \
	static inline void cr##n##_set(uint64_t value)                                             \
	{                                                                                          \
		__asm__ volatile("mov %0, %%cr" #n : : "r"(value) : "memory");                     \
	}
CONTROL(0)
CONTROL(2)
CONTROL(3)
CONTROL(4)

static inline void invlpg(uint64_t address)
{
	__asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
}

void guest_main(void);

#endif
