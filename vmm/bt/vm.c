/* SPDX-License-Identifier: MIT */
/* Engine bt's virtual machine: chips, state, dirty pages, and the table of ops. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

#include "devices/i8254.h"
#include "devices/i8259.h"
#include "devices/ioapic.h"
#include "devices/lapic.h"
#include "vmm/base/bytes.h"
#include "vmm/base/checked.h"
#include "vmm/base/clock.h"
#include "vmm/bt/bt.h"
#include "vmm/bt/native.h"
#include "vmm/bt/state.h"
#include "vmm/bt/translate.h"
#include "vmm/bt/vcpu.h"

#define CALIBRATION_NS 10000000ull

/* Signals of instructions that a guest has us run. Others are as before. */

static const int fault_signals[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS};
static struct sigaction old_action[ARRAY_SIZE(fault_signals)];

static void on_fault(int signal, siginfo_t *info, void *context)
{
	struct sigaction *old = &old_action[0];

	for (unsigned i = 1; i < ARRAY_SIZE(fault_signals); i++)
		if (fault_signals[i] == signal)
			old = &old_action[i];

	if (world_fault(signal, context) || native_fault(context))
		return;
	if (old->sa_flags & SA_SIGINFO && old->sa_sigaction) {
		old->sa_sigaction(signal, info, context);
		return;
	}
	/* Not ours: let it kill us, where it happened. */
	sigaction(signal, old, NULL);
}

static void faults_catch(void)
{
	/* Translated code has no stack: world_thread_begin gives it one. */
	struct sigaction action = {.sa_sigaction = on_fault,
				   .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
	struct sigaction present;

	sigaction(SIGFPE, NULL, &present);
	if (present.sa_flags & SA_SIGINFO && present.sa_sigaction == on_fault)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(fault_signals); i++)
		sigaction(fault_signals[i], &action, &old_action[i]);
}

/* Against CLOCK_MONOTONIC, since the VM was made: what is to be set up meanwhile takes as long. */
uint32_t vm_tsc_khz(struct engine_vm *vm)
{
	uint32_t khz = atomic_load(&vm->tsc_khz), none = 0;
	uint64_t ns;

	if (khz)
		return khz;
	do
		ns = clock_monotonic_ns() - vm->made_ns;
	while (ns < CALIBRATION_NS);
	khz = (uint32_t)((unsigned __int128)(__rdtsc() - vm->made_tsc) * 1000000 / ns);
	return atomic_compare_exchange_strong(&vm->tsc_khz, &none, khz) ? khz : none;
}

static int bt_probe(bool thorough, struct error *why)
{
	(void)thorough;
	if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi2"))
		return error_set(why, -ENOTSUP, "use a host with AVX2 and BMI2 (x86-64-v3)",
				 "engine bt: this CPU is too old");
	return 0;
}

/* Chips. */

static void on_intr(void *arg, bool level)
{
	struct engine_vm *vm = arg;

	/* The 8259s are wired to the first processor. */
	if (vm->vcpu[0])
		lapic_lint(vm->vcpu[0]->lapic, 0, level);
}

static void on_deliver(void *arg, const struct apic_message *message)
{
	struct engine_vm *vm = arg;

	apic_bus_deliver(vm->apics, message);
}

static void bt_irq_set(struct engine_vm *vm, unsigned gsi, bool level)
{
	/* As engine kvm routes it and as the MADT says, which has no override for the timer. */
	i8259_set(vm->pic, gsi, level);
	ioapic_set(vm->ioapic, gsi, level);
}

static void on_pit(void *arg, bool level)
{
	bt_irq_set(arg, 0, level);
}

static void on_pit_changed(void *arg)
{
	struct engine_vm *vm = arg;

	if (vm->vcpu[0])
		bt_vcpu_wake(vm->vcpu[0]);
}

static int chips_create(struct engine_vm *vm)
{
	struct i8259_config pic = {.intr = on_intr, .arg = vm};
	struct ioapic_config ioapic = {
		.deliver = on_deliver, .arg = vm, .version = IOAPIC_VERSION_82093AA};
	struct i8254_config pit = {.irq = on_pit, .changed = on_pit_changed, .arg = vm};
	int ret = apic_bus_create(&vm->apics);

	if (ret == 0)
		ret = i8259_create(vm->config.pio, &pic, &vm->pic);
	if (ret == 0)
		ret = ioapic_create(vm->config.mmio, &ioapic, &vm->ioapic);
	if (ret == 0)
		ret = i8254_create(vm->config.pio, &pit, &vm->pit);
	return ret;
}

static void bt_vm_destroy(struct engine_vm *vm)
{
	if (!vm)
		return;
	bt_irq_stop(vm);
	i8254_destroy(vm->pit);
	ioapic_destroy(vm->ioapic);
	i8259_destroy(vm->pic);
	for (unsigned i = 0; i < ENGINE_VCPUS_MAX; i++)
		bt_vcpu_destroy(vm->vcpu[i]);
	apic_bus_destroy(vm->apics);
	vm->config.memory->writing = NULL;
	windows_destroy(vm->windows);
	code_cache_destroy(vm->code);
	for (unsigned i = 0; i < MEMORY_RANGES_MAX; i++)
		free((void *)vm->dirty_bits[i]);
	pthread_rwlock_destroy(&vm->doorbell_lock);
	pthread_mutex_destroy(&vm->line_lock);
	free(vm);
}

static int bt_vm_create(const struct vm_config *config, struct engine_vm **out, struct error *err)
{
	struct engine_vm *vm = calloc(1, sizeof(*vm));
	int ret;

	if (!vm)
		return error_set(err, -ENOMEM, NULL, "VM: out of memory");
	vm->config = *config;
	vm->epoll_fd = vm->stop_fd = vm->sample_fd = -1;
	pthread_rwlock_init(&vm->doorbell_lock, NULL);
	pthread_mutex_init(&vm->line_lock, NULL);
	vm->clock_origin_ns = vm->made_ns = clock_monotonic_ns();
	vm->made_tsc = __rdtsc();
	faults_catch();
	ret = chips_create(vm);
	if (ret == 0)
		ret = bt_irq_start(vm);
	if (ret == 0 && config->translation != TRANSLATION_NONE)
		ret = code_cache_create(config->memory, &vm->code);
	if (ret == 0 && vm->code) {
		vm->code->checked = config->translation == TRANSLATION_CHECKED;
		vm->code->eager = config->translation == TRANSLATION_WINDOWS;
		translate_world(vm->code, &vm->world_code);
		/* Not for check.c, which copies the memory of what it holds against the
		 * interpreter.
		 */
		if (config->translation == TRANSLATION_ON ||
		    config->translation == TRANSLATION_WINDOWS)
			vm->windows = windows_create(vm);
		if (vm->windows)
			vm->code->fault_price = windows_fault_price();
		config->memory->writing_arg = vm;
		config->memory->writing = world_memory_writing;
	}
	if (ret) {
		bt_vm_destroy(vm);
		return error_set(err, ret, NULL, "engine bt: %s", error_name(ret));
	}
	*out = vm;
	return 0;
}

/* State. */

static int bt_vcpu_state_get(struct engine_vcpu *cpu, struct cpu_state *out, struct error *err)
{
	struct lapic_state lapic;

	(void)err;
	/* The state has no place for them, so that they happen now, as KVM has it. */
	bt_vcpu_take_requests(cpu);
	bt_state_get(cpu, out);
	out->events.nmi_pending = atomic_load(&cpu->nmi_pending);
	if (!cpu->halted)
		out->activity = cpu->activity;
	lapic_state_get(cpu->lapic, &lapic);
	memcpy(out->lapic, lapic.page, sizeof(out->lapic));
	out->apic_base = lapic.base;
	out->cr8 = lapic_cr8(cpu->lapic);
	if (out->msr_count < CPU_MSRS_MAX)
		out->msr[out->msr_count++] =
			(struct cpu_msr){.index = 0x6e0, .value = lapic.tsc_deadline};
	for (uint32_t i = 0x4b564d00; i <= 0x4b564d01 && out->msr_count < CPU_MSRS_MAX; i++) {
		uint64_t value;

		/* Not where the guest is not shown them. */
		if (kvmclock_msr_read(cpu, i, &value) == 0)
			out->msr[out->msr_count++] = (struct cpu_msr){.index = i, .value = value};
	}
	return 0;
}

/*
 * KVM may have been stopped between an interrupt's acknowledgement and its delivery: it is
 * requested once more. An exception, or INT n, comes again with its instruction.
 */
static void delivery_undo(const struct cpu_events *events, uint8_t *page)
{
	uint8_t *isr = page + 16 * (0x10 + events->interrupt_vector / 32u), *irr = isr + 16 * 0x10;
	uint32_t bit = 1u << events->interrupt_vector % 32;

	if (!events->interrupt_injected || events->interrupt_soft || !(le32_get(isr) & bit))
		return;
	le32_put(isr, le32_get(isr) & ~bit);
	le32_put(irr, le32_get(irr) | bit);
}

static int bt_vcpu_state_set(struct engine_vcpu *cpu, const struct cpu_state *in, struct error *err)
{
	struct lapic_state lapic = {.base = in->apic_base};
	int ret;

	memcpy(lapic.page, in->lapic, sizeof(lapic.page));
	delivery_undo(&in->events, lapic.page);
	for (unsigned i = 0; i < in->msr_count && i < CPU_MSRS_MAX; i++)
		if (in->msr[i].index == 0x6e0)
			lapic.tsc_deadline = in->msr[i].value;
	ret = bt_state_set(cpu, in, err);
	/* Behind the counter that its deadline is of. */
	if (ret == 0 && lapic_state_set(cpu->lapic, &lapic))
		ret = error_set(err, -EINVAL, NULL, "local APIC");
	cpu_lapic_moved(cpu);
	atomic_store(&cpu->nmi_pending, in->events.nmi_pending || in->events.nmi_injected);
	if (in->events.nmi_injected)
		cpu->nmi_masked = false; /* until it is delivered */
	atomic_store(&cpu->init_pending, false);
	atomic_store(&cpu->sipi_vector, -1);
	if (ret)
		return error_prefix(err, ret, "vCPU %u: its state is refused", cpu->index);
	cpu->activity = in->activity == CPU_HALTED ? CPU_RUNNING : (uint8_t)in->activity;
	kvmclock_tell_stop(cpu);
	return 0;
}

static int bt_chips_state_get(struct engine_vm *vm, struct chips_state *out, struct error *err)
{
	(void)err;
	memset(out, 0, sizeof(*out));
	i8254_state_get(vm->pit, out->pit, &out->pit_flags); /* first: see there */
	i8259_state_get(vm->pic, out->pic);
	ioapic_state_get(vm->ioapic, &out->ioapic);
	out->clock_ns = kvmclock_ns(vm);
	return 0;
}

static int bt_chips_state_set(struct engine_vm *vm, const struct chips_state *in, struct error *err)
{
	int ret = i8259_state_set(vm->pic, in->pic);

	if (ret == 0)
		ret = ioapic_state_set(vm->ioapic, &in->ioapic);
	if (ret == 0)
		ret = i8254_state_set(vm->pit, in->pit, in->pit_flags);
	if (ret)
		return error_set(err, ret, NULL, "interrupt chips: their state is refused");
	vm->clock_origin_ns = clock_monotonic_ns() - in->clock_ns;
	return 0;
}

/* Dirty pages: noted where the TLB learns of a write; to start afresh is to forget. */

static uint64_t dirty_words(const struct engine_vm *vm, unsigned range)
{
	return (vm->config.memory->range[range].size / MEMORY_PAGE_SIZE + 63) / 64;
}

void bt_flush_all(struct engine_vm *vm)
{
	for (unsigned i = 0; i < ENGINE_VCPUS_MAX; i++)
		if (vm->vcpu[i]) {
			atomic_store(&vm->vcpu[i]->flush_pending, true);
			bt_vcpu_wake(vm->vcpu[i]);
		}
}

/* A vCPU may still be about to note a page: the bits stay until the end. */
static void bt_dirty_stop(struct engine_vm *vm)
{
	for (unsigned i = 0; i < MEMORY_RANGES_MAX; i++)
		atomic_store(&vm->dirty[i], NULL);
}

static int bt_dirty_start(struct engine_vm *vm, struct error *err)
{
	for (unsigned i = 0; i < vm->config.memory->count; i++) {
		if (!vm->dirty_bits[i])
			vm->dirty_bits[i] = calloc(dirty_words(vm, i), sizeof(_Atomic uint64_t));
		if (!vm->dirty_bits[i]) {
			bt_dirty_stop(vm);
			return error_set(err, -ENOMEM, NULL, "dirty pages: out of memory");
		}
		for (uint64_t k = 0; k < dirty_words(vm, i); k++)
			atomic_store(&vm->dirty_bits[i][k], 0);
		atomic_store(&vm->dirty[i], vm->dirty_bits[i]);
	}
	bt_flush_all(vm);
	return 0;
}

static int bt_dirty_fetch(struct engine_vm *vm, unsigned range, uint64_t *bits, struct error *err)
{
	_Atomic uint64_t *dirty = atomic_load(&vm->dirty[range]);

	if (!dirty)
		return error_set(err, -EINVAL, NULL, "dirty pages: they are not tracked");
	for (uint64_t i = 0; i < dirty_words(vm, range); i++)
		bits[i] |= atomic_exchange(&dirty[i], 0);
	bt_flush_all(vm);
	return 0;
}

/* Accesses to devices; of the translator: instructions that it had interpreted, and what it did
 * itself. */
enum counters {
	COUNT_IO,
	COUNT_MMIO,
	COUNT_DOORBELLS,
	COUNT_APIC,
	COUNT_INTERPRETED,
	COUNT_LOOKUPS,
	COUNT_FILLS,
	COUNT_WINDOW_FAULTS,
	COUNT_BLOCKS,
	COUNT_TRANSLATING_US,
	COUNTS
};

static const char *const counter_names[COUNTS] = {
	"io",      "mmio",  "doorbells",     "apic",   "interpreted",
	"lookups", "fills", "window_faults", "blocks", "translating_us",
};

static void bt_statistics(struct engine_vm *vm, struct engine_counter *out, unsigned max)
{
	uint64_t counts[COUNTS] = {0};
	unsigned last = vm->code ? COUNTS : COUNT_INTERPRETED + 1;

	for (unsigned i = 0; i < ENGINE_VCPUS_MAX; i++) {
		const struct engine_vcpu *cpu = vm->vcpu[i];

		if (!cpu)
			continue;
		counts[COUNT_IO] += atomic_load(&cpu->world.counts.io);
		counts[COUNT_MMIO] += atomic_load(&cpu->world.counts.mmio);
		counts[COUNT_DOORBELLS] += atomic_load(&cpu->world.counts.doorbells);
		counts[COUNT_APIC] += atomic_load(&cpu->world.counts.apic);
		counts[COUNT_INTERPRETED] += atomic_load(&cpu->instructions);
		counts[COUNT_LOOKUPS] += atomic_load(&cpu->world.counts.lookups);
		counts[COUNT_FILLS] += atomic_load(&cpu->world.counts.fills);
		counts[COUNT_WINDOW_FAULTS] += atomic_load(&cpu->world.counts.window_faults);
		counts[COUNT_BLOCKS] += atomic_load(&cpu->world.counts.blocks);
		counts[COUNT_TRANSLATING_US] += atomic_load(&cpu->world.counts.translate_ns) / 1000;
	}
	for (unsigned i = 0; i < last && i < max; i++)
		*out++ = (struct engine_counter){.name = counter_names[i], .count = counts[i]};
	*out = (struct engine_counter){0};
}

const struct engine_ops bt_engine_ops = {
	.name = "bt",
	.summary = "full virtualization in user space",
	.shared_memory = true, /* windows.c */
	.probe = bt_probe,
	.cpuid_supported = bt_cpuid_supported,
	.vm_create = bt_vm_create,
	.vm_destroy = bt_vm_destroy,
	.vcpu_create = bt_vcpu_create,
	.vcpu_run = bt_vcpu_run,
	.vcpu_kick = bt_vcpu_kick,
	.vcpu_state_get = bt_vcpu_state_get,
	.vcpu_state_set = bt_vcpu_state_set,
	.tsc_khz = vm_tsc_khz,
	.chips_state_get = bt_chips_state_get,
	.chips_state_set = bt_chips_state_set,
	.irq_set = bt_irq_set,
	.msi_send = bt_msi_send,
	.msi_line_create = bt_msi_line_create,
	.msi_line_set = bt_msi_line_set,
	.msi_line_destroy = bt_msi_line_destroy,
	.doorbell_add = bt_doorbell_add,
	.doorbell_remove = bt_doorbell_remove,
	.dirty_start = bt_dirty_start,
	.dirty_fetch = bt_dirty_fetch,
	.dirty_stop = bt_dirty_stop,
	.statistics = bt_statistics,
};
