/* SPDX-License-Identifier: MIT */
/*
 * KVM's paravirtual clock, as Linux's Documentation/virt/kvm/x86/msr.rst describes it: two structs
 * in guest memory that turn the TSC into nanoseconds. Written when the guest names their place; the
 * TSC's rate does not change, so that they hold from then on.
 */
#include <errno.h>
#include <string.h>

#include "vmm/base/bytes.h"
#include "vmm/base/clock.h"
#include "vmm/bt/system.h"
#include "vmm/bt/vcpu.h"

#define MSR_WALL_CLOCK      0x4b564d00u
#define MSR_SYSTEM_TIME     0x4b564d01u
#define MSR_WALL_CLOCK_OLD  0x11u
#define MSR_SYSTEM_TIME_OLD 0x12u

#define LEAF_FEATURES     0x40000001u
#define FEATURE_CLOCK_OLD 0
#define FEATURE_CLOCK     3

#define TIME_ENABLED    1u
#define TIME_SIZE       32u
#define TIME_FLAGS      29u
#define TIME_TSC_STABLE 1u
#define TIME_STOPPED    2u /* the guest takes it away */

uint64_t kvmclock_ns(const struct engine_vm *vm)
{
	return clock_monotonic_ns() - vm->clock_origin_ns;
}

/* nanoseconds = (ticks << shift) * multiplier >> 32. */
static void scale_of(uint32_t khz, uint32_t *multiplier, int8_t *shift)
{
	uint64_t hz = khz * 1000ull, ns = 1000000000;

	*shift = 0;
	while (hz > 2 * ns) {
		hz /= 2;
		(*shift)--;
	}
	while (hz < ns) {
		hz *= 2;
		(*shift)++;
	}
	*multiplier = (uint32_t)((ns << 32) / hz);
}

static void time_write(struct engine_vcpu *cpu, uint64_t gpa)
{
	uint8_t t[TIME_SIZE] = {0};
	uint32_t multiplier;
	int8_t shift;

	scale_of(vm_tsc_khz(cpu->vm), &multiplier, &shift);
	le32_put(t, 2); /* an even version: complete */
	le64_put(t + 8, cpu_tsc(cpu));
	le64_put(t + 16, kvmclock_ns(cpu->vm));
	le32_put(t + 24, multiplier);
	t[28] = (uint8_t)shift;
	t[TIME_FLAGS] = TIME_TSC_STABLE;
	memory_write(cpu->vm->config.memory, gpa, t, sizeof(t));
}

static void wall_write(struct engine_vcpu *cpu, uint64_t gpa)
{
	uint64_t boot = clock_realtime_ns() - kvmclock_ns(cpu->vm);
	uint8_t w[12];

	le32_put(w, 2);
	le32_put(w + 4, (uint32_t)(boot / CLOCK_NS_PER_S));
	le32_put(w + 8, (uint32_t)(boot % CLOCK_NS_PER_S));
	memory_write(cpu->vm->config.memory, gpa, w, sizeof(w));
}

void kvmclock_tell_stop(struct engine_vcpu *cpu)
{
	uint64_t place = cpu->clock_msr[1];
	const uint8_t flags = TIME_TSC_STABLE | TIME_STOPPED;

	if (place & TIME_ENABLED)
		memory_write(cpu->vm->config.memory, (place & ~(uint64_t)TIME_ENABLED) + TIME_FLAGS,
			     &flags, 1);
}

static bool is_ours(const struct engine_vcpu *cpu, uint32_t index)
{
	switch (index) {
	case MSR_WALL_CLOCK:
	case MSR_SYSTEM_TIME:
		return cpu_has(cpu, LEAF_FEATURES, CPUID_EAX, FEATURE_CLOCK);
	case MSR_WALL_CLOCK_OLD:
	case MSR_SYSTEM_TIME_OLD:
		return cpu_has(cpu, LEAF_FEATURES, CPUID_EAX, FEATURE_CLOCK_OLD);
	default:
		return false;
	}
}

static bool is_wall(uint32_t index)
{
	return index == MSR_WALL_CLOCK || index == MSR_WALL_CLOCK_OLD;
}

int kvmclock_msr_read(struct engine_vcpu *cpu, uint32_t index, uint64_t *value)
{
	if (!is_ours(cpu, index))
		return -EINVAL;
	*value = cpu->clock_msr[is_wall(index) ? 0 : 1];
	return 0;
}

int kvmclock_msr_write(struct engine_vcpu *cpu, uint32_t index, uint64_t value)
{
	if (!is_ours(cpu, index))
		return -EINVAL;
	cpu->clock_msr[is_wall(index) ? 0 : 1] = value;
	/* No place: so says a state from before the guest named one. */
	if (value == 0)
		return 0;
	if (is_wall(index))
		wall_write(cpu, value);
	else if (value & TIME_ENABLED)
		time_write(cpu, value & ~(uint64_t)TIME_ENABLED);
	return 0;
}
