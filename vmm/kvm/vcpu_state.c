/* SPDX-License-Identifier: MIT */
/*
 * A vCPU's state between KVM's structs and the neutral one, field by field. The order of setting
 * follows api.rst: mode and registers, then XCR0 before XSAVE, the local APIC after the APIC base,
 * MSRs with the TSC before its deadline, events and activity last. KVM drops a deadline unless the
 * local APIC's timer is of that mode already.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/base/bytes.h"
#include "vmm/base/checked.h"
#include "vmm/kvm/kvm_impl.h"

/* MSRs that a guest can observe, in the order in which they are set. */
static const uint32_t msr_list[] = {
	0x10,                          /* TSC */
	0x3b,                          /* TSC_ADJUST */
	0x174,      0x175,      0x176, /* SYSENTER CS, ESP, EIP */
	0x1a0,                         /* MISC_ENABLE */
	0x277,                         /* PAT */
	0x48,                          /* SPEC_CTRL */
	0x140,                         /* MISC_FEATURES_ENABLES */
	0x17a,      0x17b,             /* MCG_STATUS, MCG_CTL */
	0x200,      0x201,      0x202,      0x203,      0x204,      0x205, 0x206,
	0x207,      0x208,      0x209,      0x20a,      0x20b,      0x20c, 0x20d,
	0x20e,      0x20f,      0x250,      0x258,      0x259,      0x268, 0x269,
	0x26a,      0x26b,      0x26c,      0x26d,      0x26e,      0x26f, 0x2ff, /* MTRRs */
	0xda0,                                                                    /* XSS */
	0x4b564d00, 0x4b564d01, 0x4b564d02, 0x4b564d03, 0x4b564d04, /* KVM: clocks, PV EOI ... */
	0x4b564d05, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, /* STAR, LSTAR, CSTAR, SFMASK */
	0xc0000102, 0xc0000103,                                     /* KERNEL_GS_BASE, TSC_AUX */
	0xc0010015,                                                 /* HWCR */
	0x6e0,                                                      /* TSC_DEADLINE: after TSC */
};
_Static_assert(sizeof(msr_list) / sizeof(msr_list[0]) <= CPU_MSRS_MAX, "grow CPU_MSRS_MAX");

struct msr_buffer {
	struct kvm_msrs head;
	struct kvm_msr_entry entry[CPU_MSRS_MAX];
};

static void segment_get(struct cpu_segment *to, const struct kvm_segment *from)
{
	*to = (struct cpu_segment){
		.base = from->base,
		.limit = from->limit,
		.selector = from->selector,
		.type = from->type,
		.s = from->s,
		.dpl = from->dpl,
		.present = from->present,
		.avl = from->avl,
		.l = from->l,
		.db = from->db,
		.g = from->g,
		.unusable = from->unusable,
	};
}

static struct kvm_segment segment_set(const struct cpu_segment *from)
{
	return (struct kvm_segment){
		.base = from->base,
		.limit = from->limit,
		.selector = from->selector,
		.type = from->type,
		.s = from->s,
		.dpl = from->dpl,
		.present = from->present,
		.avl = from->avl,
		.l = from->l,
		.db = from->db,
		.g = from->g,
		.unusable = from->unusable,
	};
}

/* Where kvm_regs and kvm_sregs keep what the neutral state numbers. */
#define GPR_FIELDS(r)                                                                              \
	{                                                                                          \
		&(r).rax, &(r).rcx, &(r).rdx, &(r).rbx, &(r).rsp, &(r).rbp, &(r).rsi, &(r).rdi,    \
			&(r).r8, &(r).r9, &(r).r10, &(r).r11, &(r).r12, &(r).r13, &(r).r14,        \
			&(r).r15                                                                   \
	}
#define SEGMENT_FIELDS(s)                                                                          \
	{                                                                                          \
		&(s).es, &(s).cs, &(s).ss, &(s).ds, &(s).fs, &(s).gs                               \
	}

static int regs_get(struct engine_vcpu *vcpu, struct cpu_state *out, struct error *err)
{
	struct kvm_regs regs;
	__u64 *const gpr[CPU_GPRS] = GPR_FIELDS(regs);

	if (ioctl(vcpu->fd, KVM_GET_REGS, &regs) < 0)
		return kvm_failed(err, "KVM_GET_REGS", NULL);
	for (unsigned i = 0; i < CPU_GPRS; i++)
		out->gpr[i] = *gpr[i];
	out->rip = regs.rip;
	out->rflags = regs.rflags;
	return 0;
}

static int regs_set(struct engine_vcpu *vcpu, const struct cpu_state *in, struct error *err)
{
	struct kvm_regs regs = {.rip = in->rip, .rflags = in->rflags};
	__u64 *const gpr[CPU_GPRS] = GPR_FIELDS(regs);

	for (unsigned i = 0; i < CPU_GPRS; i++)
		*gpr[i] = in->gpr[i];
	if (ioctl(vcpu->fd, KVM_SET_REGS, &regs) < 0)
		return kvm_failed(err, "KVM_SET_REGS", NULL);
	return 0;
}

static int sregs_get(struct engine_vcpu *vcpu, struct cpu_state *out, struct error *err)
{
	struct kvm_sregs sregs;
	struct kvm_segment *const segment[CPU_SEGMENTS] = SEGMENT_FIELDS(sregs);

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
		return kvm_failed(err, "KVM_GET_SREGS", NULL);
	for (unsigned i = 0; i < CPU_SEGMENTS; i++)
		segment_get(&out->segment[i], segment[i]);
	segment_get(&out->tr, &sregs.tr);
	segment_get(&out->ldt, &sregs.ldt);
	out->gdt = (struct cpu_table){sregs.gdt.base, sregs.gdt.limit};
	out->idt = (struct cpu_table){sregs.idt.base, sregs.idt.limit};
	out->cr0 = sregs.cr0;
	out->cr2 = sregs.cr2;
	out->cr3 = sregs.cr3;
	out->cr4 = sregs.cr4;
	out->cr8 = sregs.cr8;
	out->efer = sregs.efer;
	out->apic_base = sregs.apic_base;
	return 0;
}

static int sregs_set(struct engine_vcpu *vcpu, const struct cpu_state *in, struct error *err)
{
	struct kvm_sregs sregs = {
		.tr = segment_set(&in->tr),
		.ldt = segment_set(&in->ldt),
		.gdt = {.base = in->gdt.base, .limit = in->gdt.limit},
		.idt = {.base = in->idt.base, .limit = in->idt.limit},
		.cr0 = in->cr0,
		.cr2 = in->cr2,
		.cr3 = in->cr3,
		.cr4 = in->cr4,
		.cr8 = in->cr8,
		.efer = in->efer,
		.apic_base = in->apic_base,
	};
	struct kvm_segment *const segment[CPU_SEGMENTS] = SEGMENT_FIELDS(sregs);

	for (unsigned i = 0; i < CPU_SEGMENTS; i++)
		*segment[i] = segment_set(&in->segment[i]);
	/* An interrupt that is being delivered travels with the events below, not in this bitmap.
	 */
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) < 0)
		return kvm_failed(err, "KVM_SET_SREGS", NULL);
	return 0;
}

static int debug_get(struct engine_vcpu *vcpu, struct cpu_state *out, struct error *err)
{
	struct kvm_debugregs debug;

	if (ioctl(vcpu->fd, KVM_GET_DEBUGREGS, &debug) < 0)
		return kvm_failed(err, "KVM_GET_DEBUGREGS", NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(out->db); i++)
		out->db[i] = debug.db[i];
	out->dr6 = debug.dr6;
	out->dr7 = debug.dr7;
	return 0;
}

static int debug_set(struct engine_vcpu *vcpu, const struct cpu_state *in, struct error *err)
{
	struct kvm_debugregs debug = {.dr6 = in->dr6, .dr7 = in->dr7};

	for (unsigned i = 0; i < ARRAY_SIZE(in->db); i++)
		debug.db[i] = in->db[i];
	if (ioctl(vcpu->fd, KVM_SET_DEBUGREGS, &debug) < 0)
		return kvm_failed(err, "KVM_SET_DEBUGREGS", NULL);
	return 0;
}

/* KVM_GET_XSAVE's 4096 bytes hold all components that lodge lets a guest have (no AMX). */
static int xsave_get(struct engine_vcpu *vcpu, struct cpu_state *out, struct error *err)
{
	struct kvm_xcrs xcrs;
	struct kvm_xsave xsave;

	if (ioctl(vcpu->fd, KVM_GET_XCRS, &xcrs) < 0)
		return kvm_failed(err, "KVM_GET_XCRS", NULL);
	out->xcr0 = 1;
	for (unsigned i = 0; i < xcrs.nr_xcrs && i < KVM_MAX_XCRS; i++)
		if (xcrs.xcrs[i].xcr == 0)
			out->xcr0 = xcrs.xcrs[i].value;
	if (ioctl(vcpu->fd, KVM_GET_XSAVE, &xsave) < 0)
		return kvm_failed(err, "KVM_GET_XSAVE", NULL);
	out->xsave_size = sizeof(xsave.region);
	for (unsigned i = 0; i < ARRAY_SIZE(xsave.region); i++)
		le32_put(out->xsave + 4 * i, xsave.region[i]);
	return 0;
}

static int xsave_set(struct engine_vcpu *vcpu, const struct cpu_state *in, struct error *err)
{
	struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs[0] = {.xcr = 0, .value = in->xcr0}};
	struct kvm_xsave xsave = {0};

	if (in->xsave_size > sizeof(xsave.region))
		return error_set(err, -EINVAL, NULL, "vCPU %u: XSAVE state of %u bytes",
				 vcpu->index, in->xsave_size);
	if (ioctl(vcpu->fd, KVM_SET_XCRS, &xcrs) < 0)
		return kvm_failed(err, "KVM_SET_XCRS", NULL);
	for (unsigned i = 0; i < in->xsave_size / 4; i++)
		xsave.region[i] = le32_get(in->xsave + 4 * i);
	if (ioctl(vcpu->fd, KVM_SET_XSAVE, &xsave) < 0)
		return kvm_failed(err, "KVM_SET_XSAVE", NULL);
	return 0;
}

/* Ask for them one by one: which of them exist depends on the CPU and on the guest's CPUID. */
static int msrs_get(struct engine_vcpu *vcpu, struct cpu_state *out)
{
	struct msr_buffer buffer = {0};

	out->msr_count = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(msr_list); i++) {
		buffer.head.nmsrs = 1;
		buffer.entry[0].index = msr_list[i];
		if (ioctl(vcpu->fd, KVM_GET_MSRS, &buffer) != 1)
			continue;
		out->msr[out->msr_count++] = (struct cpu_msr){msr_list[i], buffer.entry[0].data};
	}
	return 0;
}

static int msrs_set(struct engine_vcpu *vcpu, const struct cpu_state *in, struct error *err)
{
	struct msr_buffer buffer = {.head.nmsrs = in->msr_count};
	int done;

	if (in->msr_count > CPU_MSRS_MAX)
		return error_set(err, -EINVAL, NULL, "vCPU %u: %u MSRs", vcpu->index,
				 in->msr_count);
	for (unsigned i = 0; i < in->msr_count; i++) {
		buffer.entry[i].index = in->msr[i].index;
		buffer.entry[i].data = in->msr[i].value;
	}
	done = ioctl(vcpu->fd, KVM_SET_MSRS, &buffer);
	if (done < 0)
		return kvm_failed(err, "KVM_SET_MSRS", NULL);
	if ((unsigned)done < in->msr_count)
		return error_set(err, -EINVAL, "use the CPU model that the state was saved with",
				 "vCPU %u: KVM refuses MSR 0x%x", vcpu->index, in->msr[done].index);
	return 0;
}

static int lapic_get(struct engine_vcpu *vcpu, struct cpu_state *out, struct error *err)
{
	struct kvm_lapic_state lapic;

	if (ioctl(vcpu->fd, KVM_GET_LAPIC, &lapic) < 0)
		return kvm_failed(err, "KVM_GET_LAPIC", NULL);
	memcpy(out->lapic, lapic.regs, sizeof(out->lapic));
	return 0;
}

static int lapic_set(struct engine_vcpu *vcpu, const struct cpu_state *in, struct error *err)
{
	struct kvm_lapic_state lapic;

	memcpy(lapic.regs, in->lapic, sizeof(lapic.regs));
	if (ioctl(vcpu->fd, KVM_SET_LAPIC, &lapic) < 0)
		return kvm_failed(err, "KVM_SET_LAPIC", NULL);
	return 0;
}

static int events_get(struct engine_vcpu *vcpu, struct cpu_state *out, struct error *err)
{
	struct kvm_vcpu_events e = {0};

	if (ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, &e) < 0)
		return kvm_failed(err, "KVM_GET_VCPU_EVENTS", NULL);
	out->events = (struct cpu_events){
		.exception_injected = e.exception.injected,
		.exception_pending = e.exception.pending,
		.exception_vector = e.exception.nr,
		.exception_has_error = e.exception.has_error_code,
		.exception_error = e.exception.error_code,
		.exception_has_payload = e.exception_has_payload,
		.exception_payload = e.exception_payload,
		.interrupt_injected = e.interrupt.injected,
		.interrupt_vector = e.interrupt.nr,
		.interrupt_soft = e.interrupt.soft,
		.shadow = e.interrupt.shadow,
		.nmi_injected = e.nmi.injected,
		.nmi_pending = e.nmi.pending,
		.nmi_masked = e.nmi.masked,
		.sipi_vector = e.sipi_vector,
	};
	return 0;
}

static int events_set(struct engine_vcpu *vcpu, const struct cpu_state *in, struct error *err)
{
	const struct cpu_events *from = &in->events;
	/* A pending exception without payload is what KVM calls injected unless asked otherwise. */
	struct kvm_vcpu_events e = {
		.exception.injected = from->exception_injected || from->exception_pending,
		.exception.nr = from->exception_vector,
		.exception.has_error_code = from->exception_has_error,
		.exception.error_code = from->exception_error,
		.interrupt.injected = from->interrupt_injected,
		.interrupt.nr = from->interrupt_vector,
		.interrupt.soft = from->interrupt_soft,
		.interrupt.shadow = from->shadow,
		.nmi.injected = from->nmi_injected,
		.nmi.pending = from->nmi_pending,
		.nmi.masked = from->nmi_masked,
		.sipi_vector = from->sipi_vector,
		.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR |
			 KVM_VCPUEVENT_VALID_SHADOW,
	};

	if (ioctl(vcpu->fd, KVM_SET_VCPU_EVENTS, &e) < 0)
		return kvm_failed(err, "KVM_SET_VCPU_EVENTS", NULL);
	return 0;
}

static const struct {
	enum cpu_activity activity;
	uint32_t mp_state;
} activities[] = {
	{CPU_RUNNING, KVM_MP_STATE_RUNNABLE},
	{CPU_HALTED, KVM_MP_STATE_HALTED},
	{CPU_WAIT_FOR_INIT, KVM_MP_STATE_UNINITIALIZED},
	{CPU_WAIT_FOR_SIPI, KVM_MP_STATE_INIT_RECEIVED},
};

static int activity_get(struct engine_vcpu *vcpu, struct cpu_state *out, struct error *err)
{
	struct kvm_mp_state mp;

	if (ioctl(vcpu->fd, KVM_GET_MP_STATE, &mp) < 0)
		return kvm_failed(err, "KVM_GET_MP_STATE", NULL);
	out->activity = CPU_RUNNING;
	for (unsigned i = 0; i < ARRAY_SIZE(activities); i++)
		if (activities[i].mp_state == mp.mp_state)
			out->activity = activities[i].activity;
	return 0;
}

static int activity_set(struct engine_vcpu *vcpu, const struct cpu_state *in, struct error *err)
{
	struct kvm_mp_state mp = {.mp_state = KVM_MP_STATE_RUNNABLE};

	for (unsigned i = 0; i < ARRAY_SIZE(activities); i++)
		if (activities[i].activity == in->activity)
			mp.mp_state = activities[i].mp_state;
	if (ioctl(vcpu->fd, KVM_SET_MP_STATE, &mp) < 0)
		return kvm_failed(err, "KVM_SET_MP_STATE", NULL);
	return 0;
}

int kvm_vcpu_state_get(struct engine_vcpu *vcpu, struct cpu_state *out, struct error *err)
{
	/* Asking for the activity makes KVM act on a pending INIT or SIPI: it must come first. */
	if (activity_get(vcpu, out, err) || regs_get(vcpu, out, err) || sregs_get(vcpu, out, err) ||
	    debug_get(vcpu, out, err) || xsave_get(vcpu, out, err) || lapic_get(vcpu, out, err) ||
	    msrs_get(vcpu, out) || events_get(vcpu, out, err))
		return -EIO;
	return 0;
}

int kvm_vcpu_state_set(struct engine_vcpu *vcpu, const struct cpu_state *in, struct error *err)
{
	if (sregs_set(vcpu, in, err) || regs_set(vcpu, in, err) || debug_set(vcpu, in, err) ||
	    xsave_set(vcpu, in, err) || lapic_set(vcpu, in, err) || msrs_set(vcpu, in, err) ||
	    events_set(vcpu, in, err) || activity_set(vcpu, in, err))
		return -EIO;
	/* Refused where the guest has no such clock. */
	ioctl(vcpu->fd, KVM_KVMCLOCK_CTRL, 0);
	return 0;
}
