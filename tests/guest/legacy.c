/* SPDX-License-Identifier: MIT */
#include "tests/guest/legacy.h"

#define IVT (LOW + 0x3000u)

struct legacy_job job;
struct legacy_trap legacy_seen;
struct legacy_tss legacy_tss __attribute__((aligned(128)));
uint64_t legacy_gdt[L_GDT], legacy_idt[256];

extern char low_start[], low_end[], low_job[], low_seen[], real_vectors[];
void legacy_enter(void);

uint64_t descriptor(uint32_t base, uint32_t limit, unsigned attributes)
{
	return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 |
	       (uint64_t)(attributes & 0xff) << 40 | (uint64_t)(limit >> 16 & 15) << 48 |
	       (uint64_t)(attributes >> 8 & 15) << 52 | (uint64_t)(base >> 24) << 56;
}

uint64_t gate32(uint16_t selector, uint32_t offset, unsigned access, unsigned count)
{
	return (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)count << 32 |
	       (uint64_t)access << 40 | (uint64_t)(offset >> 16) << 48;
}

/* memcpy and memset that nobody makes calls of. */
static void copy(void *to, const void *from, size_t size)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

static void clear(void *to, size_t size)
{
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(0) : "memory");
}

void legacy_setup(void)
{
	uint32_t *ivt = (uint32_t *)(uintptr_t)IVT;

	copy((void *)(uintptr_t)LOW, low_start, (size_t)(low_end - low_start));
	for (unsigned i = 0; i < 256; i++)
		ivt[i] = LOW_SEG << 16 | (uint32_t)(real_vectors - low_start + 8 * i);
	legacy_gdt[L_CODE / 8] = descriptor(0, 0xfffff, 0x9b | DB | G);
	legacy_gdt[L_DATA / 8] = descriptor(0, 0xfffff, 0x93 | DB | G);
	legacy_gdt[L_USER / 8] = descriptor(0, 0xfffff, 0xfb | DB | G);
	legacy_gdt[L_USER_DS / 8] = descriptor(0, 0xfffff, 0xf3 | DB | G);
	legacy_gdt[L_TSS / 8] = descriptor(ADDRESS(&legacy_tss), sizeof(legacy_tss) - 1, 0x89);
	legacy_gdt[L_LOW / 8] = descriptor(LOW, 0xffff, 0x9b);
	legacy_gdt[L_LOW_DS / 8] = descriptor(0, 0xffff, 0x93);
	for (unsigned i = 0; i < 256; i++)
		legacy_idt[i] = gate32(L_CODE, ADDRESS(legacy_vectors + 16 * i),
				       i == 3 || i == 4 || i >= 32 ? 0xee : 0x8e, 0);
	legacy_tss.esp0 = ADDRESS(legacy_stack_top);
	legacy_tss.ss0 = L_DATA;
	legacy_tss.map = offsetof(struct legacy_tss, ports);
	for (unsigned i = 0; i < sizeof(legacy_tss.ports); i++)
		legacy_tss.ports[i] = 0xff;
	for (unsigned i = 0; i < sizeof(legacy_tss.end); i++)
		legacy_tss.end[i] = 0xff;
}

void job_reset(unsigned level)
{
	clear(&job, sizeof(job));
	job.cs = level ? L_USER : L_CODE;
	job.ss = job.ds = job.es = job.fs = job.gs = level ? L_USER_DS : L_DATA;
	job.esp = ADDRESS(level ? legacy_stack3_top : legacy_stack_top);
	job.eflags = 2;
	job.cr0 = 0x31;
}

void legacy_run(const void *code)
{
	if (code)
		job.eip = ADDRESS(code);
	clear(&legacy_seen, sizeof(legacy_seen));
	legacy_enter();
	if (!(legacy_seen.eflags & F_VM) && !(legacy_seen.cs & 3)) {
		legacy_seen.esp = legacy_seen.frame;
		legacy_seen.ss = L_DATA;
	}
	legacy_seen.ds &= 0xffff;
	legacy_seen.es &= 0xffff;
	legacy_seen.fs &= 0xffff;
	legacy_seen.gs &= 0xffff;
}

/* To LOW_CODE; CS, and all other segments at LOW as well. */
static void low_prepare(const void *code, size_t size)
{
	copy((void *)(uintptr_t)(LOW + LOW_CODE), code, size);
	job.eip = LOW_CODE;
	job.cs = job.ss = job.ds = job.es = job.fs = job.gs = LOW_SEG;
	job.esp = 0xf000;
}

void v86_run(const void *code, size_t size, uint32_t flags)
{
	low_prepare(code, size);
	job.eflags = 2 | F_VM | flags;
	legacy_run(NULL);
}

void real_run(const void *code, size_t size)
{
	struct {
		uint32_t edi, esi, ebp, unused, ebx, edx, ecx, eax;
		uint16_t gs, fs, es, ds, vector, ip, cs, flags, sp, ss;
	} const *seen = (void *)(uintptr_t)(LOW + (uint32_t)(low_seen - low_start));

	low_prepare(code, size);
	job.real = 1;
	copy((void *)(uintptr_t)(LOW + (uint32_t)(low_job - low_start)), &job, sizeof(job));
	legacy_enter();
	legacy_seen = (struct legacy_trap){
		.edi = seen->edi,
		.esi = seen->esi,
		.ebp = seen->ebp,
		.ebx = seen->ebx,
		.edx = seen->edx,
		.ecx = seen->ecx,
		.eax = seen->eax,
		.gs = seen->gs,
		.fs = seen->fs,
		.es = seen->es,
		.ds = seen->ds,
		.vector = seen->vector,
		.eip = seen->ip,
		.cs = seen->cs,
		.eflags = seen->flags,
		.esp = (uint16_t)(seen->sp + 48),
		.ss = seen->ss,
	};
}

void legacy_expect(const char *what, unsigned line, unsigned vector, uint32_t error, uint32_t eip)
{
	unsigned failures = guest_failures;

	check_equal("the vector", line, legacy_seen.vector, vector);
	check_equal("the error code", line, legacy_seen.error, error);
	check_equal("eip", line, legacy_seen.eip, eip);
	if (guest_failures != failures) {
		guest_print(what);
		guest_print("\n");
	}
}
