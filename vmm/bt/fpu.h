/* SPDX-License-Identifier: MIT */
/* The state of the x87 and vector units in the formats that memory and snapshots have. */
#ifndef VMM_BT_FPU_H
#define VMM_BT_FPU_H

#include <stdbool.h>
#include <stdint.h>

struct cpu_state;
struct engine_vcpu;
struct vector_state;

/* XSAVE's components: SDM vol. 1, 13.1. Those that a guest can have. */
enum xsave_component {
	XSAVE_X87 = 0,
	XSAVE_SSE = 1,
	XSAVE_AVX = 2,
	XSAVE_MASKS = 5,
	XSAVE_ZMM_HIGH = 6, /* upper halves of ZMM0 to 15 */
	XSAVE_ZMM_16 = 7,   /* ZMM16 to 31 */
	XSAVE_COMPONENTS = 8,
};

/* As this host has it. Constant once it was read. */
struct fpu_layout {
	uint64_t components;               /* that there are */
	uint32_t offset[XSAVE_COMPONENTS]; /* in the standard format, from AVX on */
	uint32_t size[XSAVE_COMPONENTS];   /* bytes */
	bool aligned[XSAVE_COMPONENTS];    /* to 64 bytes, in the compacted format */
	uint32_t mxcsr_mask;               /* the bits of MXCSR that may be set */
};

void fpu_layout_read(struct fpu_layout *out);

/* What XCR0 may have. */
uint64_t fpu_xcr0_supported(const struct engine_vcpu *cpu);

/* Registers as after power-on (SDM vol. 3, table 10-1). XCR0 is the caller's. */
void fpu_reset(struct engine_vcpu *cpu);

/* To and from the neutral state: xsave and xsave_size of it. -EINVAL: no image that XRSTOR of this
 * host would take; nothing has changed then. */
void fpu_state_get(const struct engine_vcpu *cpu, struct cpu_state *out);
int fpu_state_set(struct engine_vcpu *cpu, const struct cpu_state *state);

/*
 * fpu.c, for XSAVE's x87 part: bytes 0 to 23 and 32 to 159 of the image. `wide`: pointers have 64
 * bits, otherwise 32 and a selector.
 */
void fpu_x87_store(const struct vector_state *v, uint8_t *image, bool wide);
void fpu_x87_load(struct vector_state *v, const uint8_t *image, bool wide);
/* As XRSTOR initialises it: the registers are 0. */
void fpu_x87_initialise(struct vector_state *v);
/* How many vector registers the mode has, of the first 16. */
unsigned fpu_registers(const struct engine_vcpu *cpu);

#endif
