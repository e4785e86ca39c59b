/* SPDX-License-Identifier: MIT */
/*
 * XSAVE and its kind, and the neutral state's image, which has the same format. SDM vol. 1, chapter
 * 13; AMD64 vol. 2, 11.5.
 *
 * A component is in use if its registers differ from their initial values: so AMD's CPUs have it
 * too, but for x87. There are no supervisor components: XSS is 0. XSAVEOPT and XSAVES leave out
 * what is not in use, and save what was not modified.
 */
#include <cpuid.h>
#include <errno.h>

#include "vmm/base/bytes.h"
#include "vmm/bt/decode_impl.h"
#include "vmm/bt/fpu.h"
#include "vmm/bt/handlers.h"
#include "vmm/bt/native.h"
#include "vmm/bt/operand.h"

#define COMPONENT(i)   (1ull << XSAVE_##i)
#define COMPACTED      (1ull << 63) /* of XCOMP_BV */
#define MXCSR_INITIAL  0x1f80u
#define MXCSR_FALLBACK 0xffbfu /* the mask where FXSAVE says 0: SDM vol. 1, 11.6.6 */

enum {
	AREA_MXCSR = 24,
	AREA_MXCSR_MASK = 28,
	AREA_ST = 32,
	AREA_XMM = 160,
	AREA_HEADER = 512,
	AREA_XSTATE_BV = 512,
	AREA_XCOMP_BV = 520,
	AREA_RESERVED = 528,
	AREA_EXTENDED = 576,
	AREA_SIZE = 4096, /* of ours: no area of these components is larger */
};

/* The host. */

static uint32_t host_mxcsr_mask(void)
{
	_Alignas(16) uint8_t image[512];
	uint32_t mask;

	__asm__ volatile("fxsave %0" : "=m"(image));
	mask = le32_get(image + AREA_MXCSR_MASK);
	return mask ? mask : MXCSR_FALLBACK;
}

void fpu_layout_read(struct fpu_layout *out)
{
	uint64_t wanted =
		COMPONENT(AVX) | COMPONENT(MASKS) | COMPONENT(ZMM_HIGH) | COMPONENT(ZMM_16);
	unsigned a = 0, b, c, d;

	*out = (struct fpu_layout){.components = COMPONENT(X87) | COMPONENT(SSE),
				   .mxcsr_mask = host_mxcsr_mask()};
	if (!__get_cpuid_count(0xd, 0, &a, &b, &c, &d))
		return;
	for (unsigned i = XSAVE_AVX; i < XSAVE_COMPONENTS; i++) {
		unsigned size, offset;

		if (!(wanted & a) >> i & 1)
			continue;
		__cpuid_count(0xd, i, size, offset, c, d);
		if (!size || offset + size > AREA_SIZE)
			continue;
		out->components |= 1ull << i;
		out->size[i] = size;
		out->offset[i] = offset;
		out->aligned[i] = c & 2;
	}
}

uint64_t fpu_xcr0_supported(const struct engine_vcpu *cpu)
{
	return cpu->native->layout.components;
}

/* Components. */

/* The pieces of the vector registers: of `registers` from `first` on, bytes `from` to `to`. */
struct piece {
	uint8_t first, from, to;
};

static const struct piece pieces[XSAVE_COMPONENTS] = {
	[XSAVE_SSE] = {0, 0, 16},
	[XSAVE_AVX] = {0, 16, 32},
	[XSAVE_ZMM_HIGH] = {0, 32, 64},
	[XSAVE_ZMM_16] = {16, 0, 64},
};

/* How many of its registers there are, `all` or those that can be named outside 64-bit mode. */
static unsigned piece_registers(unsigned component, bool all)
{
	return all ? 16 : component == XSAVE_ZMM_16 ? 0 : 8;
}

static bool is_zero(const void *bytes, size_t count)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i < count; i++)
		if (p[i])
			return false;
	return true;
}

static bool x87_in_use(const struct vector_state *v)
{
	return le16_get(v->x87) != 0x37f || !is_zero(v->x87 + 2, AREA_MXCSR - 2) ||
	       !is_zero(v->x87 + AREA_ST, AREA_XMM - AREA_ST);
}

static bool vectors_in_use(const struct vector_state *v, unsigned component)
{
	const struct piece *p = &pieces[component];

	for (unsigned i = 0; i < piece_registers(component, true); i++)
		if (!is_zero(v->zmm[p->first + i] + p->from, p->to - p->from))
			return true;
	return false;
}

/* XINUSE: SDM vol. 1, 13.6. Whatever the mode can name; MXCSR is not part of it. */
static uint64_t in_use(const struct vector_state *v)
{
	uint64_t bits = 0;

	if (x87_in_use(v))
		bits |= COMPONENT(X87);
	if (!is_zero(v->k, sizeof(v->k)))
		bits |= COMPONENT(MASKS);
	for (unsigned i = 0; i < XSAVE_COMPONENTS; i++)
		if (pieces[i].to && vectors_in_use(v, i))
			bits |= 1ull << i;
	return bits;
}

static bool is_all(const struct engine_vcpu *cpu)
{
	return cpu->mode == DECODE_64;
}

/* The registers of a component, other than x87's, to and from where it is in an area. */
static void component_store(const struct vector_state *v, unsigned component, bool all, uint8_t *to)
{
	const struct piece *p = &pieces[component];
	unsigned bytes = p->to - p->from;

	if (component == XSAVE_MASKS)
		for (unsigned i = 0; i < 8; i++)
			le64_put(to + (size_t)8 * i, v->k[i]);
	else
		for (unsigned i = 0; i < piece_registers(component, all); i++)
			memcpy(to + (size_t)bytes * i, v->zmm[p->first + i] + p->from, bytes);
}

/* `from` NULL: initial values. */
static void component_load(struct vector_state *v, unsigned component, bool all,
			   const uint8_t *from)
{
	const struct piece *p = &pieces[component];
	unsigned bytes = p->to - p->from;

	if (component == XSAVE_MASKS) {
		for (unsigned i = 0; i < 8; i++)
			v->k[i] = from ? le64_get(from + (size_t)8 * i) : 0;
		return;
	}
	for (unsigned i = 0; i < piece_registers(component, all); i++) {
		uint8_t *to = v->zmm[p->first + i] + p->from;

		if (from)
			memcpy(to, from + (size_t)bytes * i, bytes);
		else
			memset(to, 0, bytes);
	}
}

/* An area in the guest's memory, and what of it we have. */
struct area {
	uint64_t linear;
	uint64_t requested; /* components: what EDX:EAX and XCR0 have in common */
	uint64_t format;    /* XCOMP_BV, or 0: standard */
	bool wide;          /* pointers of x87 have 64 bits */
	_Alignas(64) uint8_t bytes[AREA_SIZE];
};

/* Where a component is, and how much of it the mode has. */
static unsigned component_at(const struct engine_vcpu *cpu, const struct area *a,
			     unsigned component, unsigned *size)
{
	const struct fpu_layout *l = &cpu->native->layout;
	unsigned at = AREA_EXTENDED;

	*size = component == XSAVE_MASKS ? 64
					 : piece_registers(component, is_all(cpu)) *
						   (pieces[component].to - pieces[component].from);
	if (component == XSAVE_SSE)
		return AREA_XMM;
	if (!(a->format & COMPACTED))
		return l->offset[component];
	for (unsigned i = XSAVE_AVX; i <= component; i++) {
		if (!(a->format >> i & 1))
			continue;
		if (l->aligned[i])
			at = (at + 63) & ~63u;
		if (i < component)
			at += l->size[i];
	}
	return at;
}

static uint64_t area_at(const struct engine_vcpu *cpu, const struct area *a, unsigned offset)
{
	return linear_after(cpu, a->linear, offset);
}

/* From its first byte to behind the last component that may be touched. */
static unsigned area_size(const struct engine_vcpu *cpu, const struct area *a, uint64_t components)
{
	unsigned end = AREA_EXTENDED;

	for (unsigned i = XSAVE_AVX; i < XSAVE_COMPONENTS; i++) {
		unsigned size, at;

		if (!(components >> i & 1))
			continue;
		at = component_at(cpu, a, i, &size);
		if (at + size > end)
			end = at + size;
	}
	return end;
}

static bool is_supervisor(const struct insn *insn)
{
	return insn->opcode->id == INSN_XSAVES || insn->opcode->id == INSN_XRSTORS;
}

/* What comes before the format is known. */
static void area_open(struct engine_vcpu *cpu, const struct insn *insn, struct area *a, bool write)
{
	uint64_t mask = cpu->gpr[CPU_RDX] << 32 | (uint32_t)cpu->gpr[CPU_RAX];

	if (!(cpu->cr4 & CR4_OSXSAVE))
		cpu_fault(cpu, EXCEPTION_UD, NO_ERROR_CODE);
	if (is_supervisor(insn) && cpu->cpl)
		cpu_fault(cpu, EXCEPTION_GP, 0);
	if (cpu->cr0 & CR0_TS)
		cpu_fault(cpu, EXCEPTION_NM, NO_ERROR_CODE);
	if (operand_address(cpu, insn) % 64)
		cpu_fault(cpu, EXCEPTION_GP, 0);
	a->linear = operand_linear(cpu, insn, AREA_EXTENDED, write);
	a->requested = mask & cpu->xcr0;
	a->wide = insn->mode == DECODE_64 && insn->rex & REX_W;
	a->format = 0;
}

/* Saving. */

/* Runs of bytes of the area, in the order of their addresses. */
struct runs {
	struct {
		unsigned at, size;
	} run[XSAVE_COMPONENTS + 4];
	unsigned count;
};

static void run_add(struct runs *r, unsigned at, unsigned size)
{
	if (!size)
		return;
	r->run[r->count].at = at;
	r->run[r->count++].size = size;
}

static void runs_write(struct engine_vcpu *cpu, const struct area *a, const struct runs *r)
{
	for (unsigned i = 0; i < r->count; i++)
		linear_probe_write(cpu, area_at(cpu, a, r->run[i].at), r->run[i].size);
	for (unsigned i = 0; i < r->count; i++)
		linear_write_bytes(cpu, area_at(cpu, a, r->run[i].at), a->bytes + r->run[i].at,
				   r->run[i].size);
}

/* `saved`: the components to write; `mxcsr`: and that. The header is the caller's. */
static void area_save(struct engine_vcpu *cpu, const struct insn *insn, struct area *a,
		      uint64_t saved, bool mxcsr)
{
	struct runs runs = {.count = 0};

	operand_linear(cpu, insn, area_size(cpu, a, saved), true);
	if (saved & COMPONENT(X87)) {
		fpu_x87_store(&cpu->vector, a->bytes, a->wide);
		run_add(&runs, 0, AREA_MXCSR);
		run_add(&runs, AREA_ST, AREA_XMM - AREA_ST);
	}
	if (mxcsr) {
		le32_put(a->bytes + AREA_MXCSR, cpu->vector.mxcsr);
		le32_put(a->bytes + AREA_MXCSR_MASK, cpu->native->layout.mxcsr_mask);
		run_add(&runs, AREA_MXCSR, 8);
	}
	run_add(&runs, AREA_HEADER, a->format ? 16 : 8);
	for (unsigned i = XSAVE_SSE; i < XSAVE_COMPONENTS; i++) {
		unsigned size, at;

		if (!(saved >> i & 1))
			continue;
		at = component_at(cpu, a, i, &size);
		component_store(&cpu->vector, i, is_all(cpu), a->bytes + at);
		run_add(&runs, at, size);
	}
	runs_write(cpu, a, &runs);
}

/* XSAVE, XSAVEOPT: SDM vol. 1, 13.7 and 13.9. */
void do_xsave(struct engine_vcpu *cpu, const struct insn *insn)
{
	struct area a;
	uint64_t bits, used = in_use(&cpu->vector);

	area_open(cpu, insn, &a, true);
	linear_probe_write(cpu, area_at(cpu, &a, AREA_HEADER), 8);
	bits = linear_read(cpu, area_at(cpu, &a, AREA_XSTATE_BV), 8);
	le64_put(a.bytes + AREA_XSTATE_BV, (bits & ~a.requested) | (used & a.requested));
	area_save(cpu, insn, &a,
		  insn->opcode->id == INSN_XSAVEOPT ? used & a.requested : a.requested,
		  a.requested & (COMPONENT(SSE) | COMPONENT(AVX)));
}

/* XSAVEC, XSAVES: 13.10 and 13.11. MXCSR is part of SSE there. */
void do_xsave_compacted(struct engine_vcpu *cpu, const struct insn *insn)
{
	struct area a;
	uint64_t saved = in_use(&cpu->vector);

	if (cpu->vector.mxcsr != MXCSR_INITIAL)
		saved |= COMPONENT(SSE);
	area_open(cpu, insn, &a, true);
	saved &= a.requested;
	a.format = a.requested | COMPACTED;
	le64_put(a.bytes + AREA_XSTATE_BV, saved);
	le64_put(a.bytes + AREA_XCOMP_BV, a.format);
	area_save(cpu, insn, &a, saved, saved & COMPONENT(SSE));
}

/* Restoring. */

/* 13.8.1, 13.8.2, 13.12: may the header be? */
static bool header_is_valid(const struct engine_vcpu *cpu, const uint8_t *area, bool supervisor)
{
	uint64_t bits = le64_get(area + AREA_XSTATE_BV), format = le64_get(area + AREA_XCOMP_BV);

	if (format & COMPACTED)
		return !(format & ~COMPACTED & ~cpu->xcr0) && !(bits & ~format) &&
		       !(bits & COMPACTED) &&
		       is_zero(area + AREA_RESERVED, AREA_EXTENDED - AREA_RESERVED);
	return !supervisor && !(bits & ~cpu->xcr0) && format == 0 && is_zero(area + 528, 8);
}

static void area_load(struct engine_vcpu *cpu, const struct insn *insn, struct area *a,
		      uint64_t loaded)
{
	operand_linear(cpu, insn, area_size(cpu, a, loaded), false);
	for (unsigned i = XSAVE_AVX; i < XSAVE_COMPONENTS; i++) {
		unsigned size, at;

		if (!(loaded >> i & 1))
			continue;
		at = component_at(cpu, a, i, &size);
		linear_read_bytes(cpu, area_at(cpu, a, at), a->bytes + at, size);
	}
}

/* All of it is at hand. */
static void area_take(struct engine_vcpu *cpu, const struct area *a, uint64_t loaded)
{
	if (a->requested & COMPONENT(X87)) {
		if (loaded & COMPONENT(X87))
			fpu_x87_load(&cpu->vector, a->bytes, a->wide);
		else
			fpu_x87_initialise(&cpu->vector);
	}
	for (unsigned i = XSAVE_SSE; i < XSAVE_COMPONENTS; i++) {
		unsigned size;

		if (a->requested >> i & 1)
			component_load(&cpu->vector, i, is_all(cpu),
				       loaded >> i & 1 ? a->bytes + component_at(cpu, a, i, &size)
						       : NULL);
	}
}

void do_xrstor(struct engine_vcpu *cpu, const struct insn *insn)
{
	struct area a;
	uint64_t loaded;
	uint32_t mxcsr = cpu->vector.mxcsr;

	area_open(cpu, insn, &a, false);
	linear_read_bytes(cpu, a.linear, a.bytes, AREA_EXTENDED);
	if (!header_is_valid(cpu, a.bytes, is_supervisor(insn)))
		cpu_fault(cpu, EXCEPTION_GP, 0);
	a.format = le64_get(a.bytes + AREA_XCOMP_BV);
	loaded = a.requested & le64_get(a.bytes + AREA_XSTATE_BV);
	if (a.format && a.requested & COMPONENT(SSE))
		mxcsr = loaded & COMPONENT(SSE) ? le32_get(a.bytes + AREA_MXCSR) : MXCSR_INITIAL;
	else if (!a.format && a.requested & (COMPONENT(SSE) | COMPONENT(AVX)))
		mxcsr = le32_get(a.bytes + AREA_MXCSR);
	if (mxcsr & ~cpu->native->layout.mxcsr_mask)
		cpu_fault(cpu, EXCEPTION_GP, 0);
	area_load(cpu, insn, &a, loaded);
	area_take(cpu, &a, loaded);
	cpu->vector.mxcsr = mxcsr;
}

/* ECX 0: XCR0; 1: what of it is in use. */
void do_xgetbv(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint32_t which = (uint32_t)cpu->gpr[CPU_RCX];
	uint64_t value = cpu->xcr0;

	(void)insn;
	if (!(cpu->cr4 & CR4_OSXSAVE))
		cpu_fault(cpu, EXCEPTION_UD, NO_ERROR_CODE);
	if (which > 1)
		cpu_fault(cpu, EXCEPTION_GP, 0);
	if (which == 1) {
		uint64_t used = in_use(&cpu->vector);

		if (cpu->vector.mxcsr != MXCSR_INITIAL)
			used |= COMPONENT(SSE);
		value &= used;
	}
	gpr_set(cpu, CPU_RAX, 4, value);
	gpr_set(cpu, CPU_RDX, 4, value >> 32);
}

/* The neutral state. */

void fpu_reset(struct engine_vcpu *cpu)
{
	struct vector_state *v = &cpu->vector;

	memset(v, 0, sizeof(*v));
	v->mxcsr = MXCSR_INITIAL;
	le16_put(v->x87, 0x40);
	v->x87[4] = 0xff;
	le32_put(v->x87 + AREA_MXCSR, MXCSR_INITIAL);
}

void fpu_state_get(const struct engine_vcpu *cpu, struct cpu_state *out)
{
	const struct fpu_layout *l = &cpu->native->layout;
	const struct vector_state *v = &cpu->vector;
	uint8_t *area = out->xsave;
	uint64_t bits = in_use(v) & l->components;

	if (v->mxcsr != MXCSR_INITIAL)
		bits |= COMPONENT(SSE);
	memset(area, 0, sizeof(out->xsave));
	out->xsave_size = AREA_EXTENDED;
	/* As FXSAVE64 has it, but with what the last instruction was in any case. */
	memcpy(area, v->x87, AREA_XMM);
	le32_put(area + AREA_MXCSR, v->mxcsr);
	le32_put(area + AREA_MXCSR_MASK, l->mxcsr_mask);
	le64_put(area + AREA_XSTATE_BV, bits);
	component_store(v, XSAVE_SSE, true, area + AREA_XMM);
	for (unsigned i = XSAVE_AVX; i < XSAVE_COMPONENTS; i++) {
		if (!(l->components >> i & 1))
			continue;
		component_store(v, i, true, area + l->offset[i]);
		if (l->offset[i] + l->size[i] > out->xsave_size)
			out->xsave_size = l->offset[i] + l->size[i];
	}
}

static bool state_is_valid(const struct fpu_layout *l, const struct cpu_state *state)
{
	const uint8_t *area = state->xsave;
	uint64_t bits = le64_get(area + AREA_XSTATE_BV);

	if (state->xsave_size < AREA_EXTENDED || state->xsave_size > sizeof(state->xsave))
		return false;
	if (bits & ~l->components || !is_zero(area + AREA_XCOMP_BV, AREA_EXTENDED - AREA_XCOMP_BV))
		return false;
	for (unsigned i = XSAVE_AVX; i < XSAVE_COMPONENTS; i++)
		if (bits >> i & 1 && l->offset[i] + l->size[i] > state->xsave_size)
			return false;
	return !(bits & (COMPONENT(SSE) | COMPONENT(AVX))) ||
	       !(le32_get(area + AREA_MXCSR) & ~l->mxcsr_mask);
}

int fpu_state_set(struct engine_vcpu *cpu, const struct cpu_state *state)
{
	const struct fpu_layout *l = &cpu->native->layout;
	struct vector_state *v = &cpu->vector;
	const uint8_t *area = state->xsave;
	uint64_t bits = le64_get(area + AREA_XSTATE_BV);

	if (!state_is_valid(l, state))
		return -EINVAL;
	if (bits & COMPONENT(X87))
		fpu_x87_load(v, area, true);
	else
		fpu_x87_initialise(v);
	v->mxcsr = bits & (COMPONENT(SSE) | COMPONENT(AVX)) ? le32_get(area + AREA_MXCSR)
							    : MXCSR_INITIAL;
	component_load(v, XSAVE_SSE, true, bits & COMPONENT(SSE) ? area + AREA_XMM : NULL);
	for (unsigned i = XSAVE_AVX; i < XSAVE_COMPONENTS; i++)
		if (pieces[i].to || i == XSAVE_MASKS)
			component_load(v, i, true, bits >> i & 1 ? area + l->offset[i] : NULL);
	return 0;
}
