/* SPDX-License-Identifier: MIT */
/*
 * Can this host's KVM run a stock kernel? Some hosts have a /dev/kvm that emulates ring 0 in
 * software, slowly and incompletely. Where the CPU shows VMX or SVM, KVM is taken at its word; the
 * proof is a guest in long mode, ring 0, that executes what such emulators lack (cmpxchg16b, xsave,
 * xrstor) and times a loop.
 */
#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/bytes.h"
#include "vmm/base/clock.h"
#include "vmm/core/vcpu.h"
#include "vmm/kvm/kvm_impl.h"

/* The guest: page tables and code in one small slot at address 0. */
#define PROBE_MEMORY 0x8000u
#define PROBE_PML4   0x1000u
#define PROBE_PDPT   0x2000u
#define PROBE_CODE   0x3000u
#define PROBE_STACK  0x5000u
#define PROBE_PORT   0xf4u

/* Two instructions a turn. Hardware takes 1 ms, an emulator of 2 M instructions/s two seconds. */
#define PROBE_TURNS   2000000u
#define PROBE_TIME_MS 500u

/*
 * Results are written to port 0xf4, one byte a stage:
 *	mov	$0x7000, %rdi
 *	lock cmpxchg16b (%rdi)		; out 1
 *	xgetbv, xsave 0x6000, xrstor	; out 2
 *	a loop of PROBE_TURNS		; out 3
 */
static const uint8_t probe_code[] = {
	0x48,
	0xc7,
	0xc7,
	0x00,
	0x70,
	0x00,
	0x00, /* mov $0x7000,%rdi */
	0x31,
	0xc0,
	0x31,
	0xd2, /* xor %eax,%eax; xor %edx,%edx */
	0x31,
	0xdb,
	0x31,
	0xc9, /* xor %ebx,%ebx; xor %ecx,%ecx */
	0xf0,
	0x48,
	0x0f,
	0xc7,
	0x0f, /* lock cmpxchg16b (%rdi) */
	0xb0,
	0x01,
	0xe6,
	PROBE_PORT, /* mov $1,%al; out %al,$port */
	0xb8,
	0x03,
	0x00,
	0x00,
	0x00, /* mov $3,%eax: x87 and SSE */
	0x31,
	0xd2, /* xor %edx,%edx */
	0x0f,
	0xae,
	0x24,
	0x25,
	0x00,
	0x60,
	0x00,
	0x00, /* xsave 0x6000 */
	0x0f,
	0xae,
	0x2c,
	0x25,
	0x00,
	0x60,
	0x00,
	0x00, /* xrstor 0x6000 */
	0xb0,
	0x02,
	0xe6,
	PROBE_PORT, /* mov $2,%al; out %al,$port */
	0xb9,
	PROBE_TURNS & 0xff,
	PROBE_TURNS >> 8 & 0xff,
	PROBE_TURNS >> 16 & 0xff,
	0x00,
	0xff,
	0xc9,
	0x75,
	0xfc, /* 1: dec %ecx; jnz 1b */
	0xb0,
	0x03,
	0xe6,
	PROBE_PORT, /* mov $3,%al; out %al,$port */
	0xf4,       /* hlt */
};

static const char *const stage_names[] = {
	"the instruction cmpxchg16b in ring 0",
	"the instructions xsave and xrstor in ring 0",
	"a loop in ring 0 at the CPU's own speed",
};
#define PROBE_STAGES 3

struct probe {
	int kvm_fd, vm_fd, vcpu_fd;
	size_t run_size;
	struct kvm_run *run;
	uint8_t *memory;
};

static bool cpu_has_virtualization(void)
{
	unsigned a, b, c, d;

	if (__get_cpuid(1, &a, &b, &c, &d) && c & 1u << 5)
		return true;                                           /* VMX */
	return __get_cpuid(0x80000001, &a, &b, &c, &d) && c & 1u << 2; /* SVM */
}

static void probe_close(struct probe *p)
{
	if (p->run)
		munmap(p->run, p->run_size);
	if (p->memory)
		munmap(p->memory, PROBE_MEMORY);
	if (p->vcpu_fd >= 0)
		close(p->vcpu_fd);
	if (p->vm_fd >= 0)
		close(p->vm_fd);
	close(p->kvm_fd);
}

static int probe_cpuid(struct probe *p)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[CPUID_LEAVES_MAX];
	} cpuid = {.head.nent = CPUID_LEAVES_MAX};

	if (ioctl(p->kvm_fd, KVM_GET_SUPPORTED_CPUID, &cpuid) < 0)
		return -errno;
	return ioctl(p->vcpu_fd, KVM_SET_CPUID2, &cpuid) < 0 ? -errno : 0;
}

static int probe_registers(struct probe *p)
{
	struct kvm_regs regs = {.rip = PROBE_CODE, .rsp = PROBE_STACK, .rflags = 2};
	struct kvm_sregs s;

	if (ioctl(p->vcpu_fd, KVM_GET_SREGS, &s) < 0)
		return -errno;
	s.cs = (struct kvm_segment){
		.limit = ~0u, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1};
	s.ss = (struct kvm_segment){
		.limit = ~0u, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1};
	s.ds = s.es = s.fs = s.gs = s.ss;
	s.cr0 = 0x80000033; /* PG, NE, ET, MP, PE */
	s.cr4 = 0x00040620; /* OSXSAVE, OSXMMEXCPT, OSFXSR, PAE */
	s.cr3 = PROBE_PML4;
	s.efer = 0x500; /* LMA, LME */
	if (ioctl(p->vcpu_fd, KVM_SET_SREGS, &s) < 0 || ioctl(p->vcpu_fd, KVM_SET_REGS, &regs) < 0)
		return -errno;
	return 0;
}

static int probe_open(struct probe *p)
{
	struct kvm_userspace_memory_region slot = {.memory_size = PROBE_MEMORY};
	int size = ioctl(p->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	void *at;
	int ret;

	p->vm_fd = ioctl(p->kvm_fd, KVM_CREATE_VM, 0);
	if (p->vm_fd < 0 || size < 0)
		return -errno;
	p->run_size = (size_t)size;
	at = mmap(NULL, PROBE_MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		return -errno;
	p->memory = at;
	le64_put(p->memory + PROBE_PML4, PROBE_PDPT | 3);
	le64_put(p->memory + PROBE_PDPT, 0x83); /* 1 GiB, identity */
	memcpy(p->memory + PROBE_CODE, probe_code, sizeof(probe_code));
	slot.userspace_addr = (uintptr_t)p->memory;
	if (ioctl(p->vm_fd, KVM_SET_TSS_ADDR, 0xfffbd000) < 0 ||
	    ioctl(p->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
		return -errno;
	p->vcpu_fd = ioctl(p->vm_fd, KVM_CREATE_VCPU, 0);
	if (p->vcpu_fd < 0)
		return -errno;
	at = mmap(NULL, p->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, p->vcpu_fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	p->run = at;
	ret = probe_cpuid(p);
	return ret ? ret : probe_registers(p);
}

/* How many stages passed within the time. */
static unsigned probe_run(struct probe *p)
{
	unsigned passed = 0;

	while (passed < PROBE_STAGES) {
		if (ioctl(p->vcpu_fd, KVM_RUN, 0) < 0 || p->run->exit_reason != KVM_EXIT_IO ||
		    p->run->io.port != PROBE_PORT ||
		    *((uint8_t *)p->run + p->run->io.data_offset) != passed + 1)
			break;
		passed++;
	}
	return passed;
}

static void probe_signal(int signal)
{
	(void)signal;
}

/* A signal in PROBE_TIME_MS ends KVM_RUN; it repeats, should it come between two of them. */
static unsigned probe_run_timed(struct probe *p)
{
	struct sigaction action = {.sa_handler = probe_signal}, old;
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = VCPU_KICK_SIGNAL};
	struct itimerspec when = {.it_value.tv_nsec = PROBE_TIME_MS * (long)CLOCK_NS_PER_MS,
				  .it_interval.tv_nsec = 10 * (long)CLOCK_NS_PER_MS};
	unsigned passed = 0;
	timer_t timer;

	event._sigev_un._tid = gettid();
	sigaction(VCPU_KICK_SIGNAL, &action, &old);
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) == 0) {
		timer_settime(timer, 0, &when, NULL);
		passed = probe_run(p);
		timer_delete(timer);
	}
	sigaction(VCPU_KICK_SIGNAL, &old, NULL);
	return passed;
}

int kvm_probe(bool thorough, struct error *why)
{
	struct probe p = {.kvm_fd = -1, .vm_fd = -1, .vcpu_fd = -1};
	bool virtualization = cpu_has_virtualization();
	unsigned passed = 0;
	int ret;

	p.kvm_fd = kvm_open(why);
	if (p.kvm_fd < 0)
		return p.kvm_fd;
	ret = 0;
	if (thorough || !virtualization) {
		ret = probe_open(&p);
		if (ret == 0)
			passed = probe_run_timed(&p);
	}
	probe_close(&p);
	if (ret)
		return error_set(why, ret, NULL, "/dev/kvm: set up a test guest: %s",
				 error_name(ret));
	if ((thorough || !virtualization) && passed < PROBE_STAGES)
		return error_set(
			why, -ENOTSUP, "use a host with VT-x or AMD-V",
			"/dev/kvm: it cannot run stock kernels: %s, and a test guest failed at %s",
			virtualization ? "the CPU shows VT-x or AMD-V"
				       : "the CPU shows neither VT-x nor AMD-V",
			stage_names[passed]);
	return 0;
}
