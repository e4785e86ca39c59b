/* SPDX-License-Identifier: MIT */
/*
 * The life of a machine: made, loaded, run, reset as often as the guest asks, ended once. What the
 * guest asks for arrives on a vCPU's thread in the middle of an instruction; it is noted and acted
 * upon by a task on the loop, which pauses the vCPUs first.
 */
#include "vmm/machine/machine.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "snapshot/root.h"
#include "vmm/base/clock.h"
#include "vmm/base/log.h"
#include "vmm/core/memory_source.h"
#include "vmm/machine/machine_impl.h"
#include "vmm/machine/snapshot.h"

static void machine_request(struct machine *m, unsigned request)
{
	pthread_mutex_lock(&m->lock);
	m->requests |= request;
	pthread_mutex_unlock(&m->lock);
	loop_post(m->loop, &m->task);
}

static void power_off(void *arg)
{
	machine_request(arg, REQUEST_OFF);
}

static void power_reset(void *arg)
{
	machine_request(arg, REQUEST_RESET);
}

static void power_panicked(void *arg)
{
	machine_request(arg, REQUEST_PANIC);
}

static const struct power_ops power_ops = {
	.off = power_off,
	.reset = power_reset,
	.panicked = power_panicked,
};

void machine_note_panic(struct machine *m, const char *reason)
{
	pthread_mutex_lock(&m->lock);
	if (!m->panic[0])
		snprintf(m->panic, sizeof(m->panic), "%s", reason);
	pthread_mutex_unlock(&m->lock);
}

static void vcpu_ended(void *arg, unsigned index, enum vcpu_exit why, const struct error *err)
{
	struct machine *m = arg;

	pthread_mutex_lock(&m->lock);
	/* Several vCPUs may end at once: the first tells the story. */
	if (!(m->requests & REQUEST_ENDED)) {
		m->requests |= REQUEST_ENDED;
		m->end = why == VCPU_EXIT_SHUTDOWN ? MACHINE_CRASHED : MACHINE_FAILED;
		if (why == VCPU_EXIT_SHUTDOWN)
			snprintf(m->reason, sizeof(m->reason), "triple fault on vCPU %u", index);
		else
			error_format(err, -EIO, m->reason, sizeof(m->reason));
	}
	pthread_mutex_unlock(&m->lock);
	loop_post(m->loop, &m->task);
}

static void machine_end(struct machine *m, enum machine_end end, const char *reason)
{
	m->ended = true;
	m->events.ended(m->events.arg, end, reason);
}

/*
 * Guest memory and vCPUs as the boot protocol wants them. All vCPUs are set one right after the
 * other once memory is filled, which may take seconds: KVM takes time stamp counters for
 * synchronous only if they are written within a second.
 */
static int machine_load(struct machine *m, struct error *err)
{
	struct acpi_board acpi = board_acpi;
	struct cpu_state *bsp = malloc(sizeof(*bsp));
	int ret;

	if (!bsp)
		return error_set(err, -ENOMEM, NULL, "virtual machine: out of memory");
	if (!m->boot) {
		free(bsp);
		return error_set(err, -ENOENT, "put its kernel where it was",
				 "reset: what the guest booted from was not there at its restore");
	}
	acpi.vcpus = m->vcpu_count;
	memcpy(acpi.generation, m->generation, sizeof(acpi.generation));
	*bsp = m->initial_cpu[0];
	ret = boot_load(m->boot, m->vm.memory, &acpi, bsp, err);
	for (unsigned i = 0; i < m->vcpu_count && ret == 0; i++)
		ret = m->vm.ops->vcpu_state_set(m->vcpu[i], i ? &m->initial_cpu[i] : bsp, err);
	free(bsp);
	return ret;
}

/* As at power-on. The vCPUs are paused. */
static int machine_reset(struct machine *m, struct error *err)
{
	int ret;

	board_reset(m);
	ret = memory_clear(m->vm.memory, err);
	if (ret == 0)
		ret = m->vm.ops->chips_state_set(m->vm.engine, &m->initial_chips, err);
	return ret ? ret : machine_load(m, err);
}

static void machine_restart(struct machine *m)
{
	char reason[MACHINE_REASON_MAX];
	struct error err = {0};
	int ret = machine_reset(m, &err);

	if (ret) {
		error_format(&err, ret, reason, sizeof(reason));
		machine_end(m, MACHINE_FAILED, reason);
		return;
	}
	log_info("the guest was reset");
	if (!m->paused)
		vcpu_set_resume(m->threads);
}

/* Act on what the guest asked for. On the loop. */
static void machine_serve(void *arg)
{
	struct machine *m = arg;
	char panic[MACHINE_REASON_MAX + 16], reason[MACHINE_REASON_MAX];
	unsigned requests;
	bool panicked;

	if (m->ended)
		return;
	vcpu_set_pause(m->threads);
	pthread_mutex_lock(&m->lock);
	requests = m->requests;
	m->requests = 0;
	/* A kernel that said that it panicked and then resets did so because of the panic. */
	panicked = m->panic[0] || requests & REQUEST_PANIC;
	snprintf(panic, sizeof(panic), "kernel panic%s%s", m->panic[0] ? ": " : "", m->panic);
	snprintf(reason, sizeof(reason), "%s", m->reason);
	pthread_mutex_unlock(&m->lock);
	if (requests & REQUEST_ENDED)
		machine_end(m, m->end, m->end == MACHINE_CRASHED && panicked ? panic : reason);
	else if (requests & REQUEST_PANIC || (panicked && requests & REQUEST_RESET))
		machine_end(m, MACHINE_CRASHED, panic);
	else if (requests & REQUEST_OFF)
		machine_end(m, MACHINE_OFF, "powered off");
	else if (requests & REQUEST_RESET)
		machine_restart(m);
	else if (!m->paused)
		vcpu_set_resume(m->threads);
}

static int vcpus_create(struct machine *m, struct error *err)
{
	const struct engine_ops *ops = m->vm.ops;
	struct cpuid_table *cpuid = calloc(1, sizeof(*cpuid));
	int ret;

	if (!cpuid)
		return error_set(err, -ENOMEM, NULL, "CPUID table: out of memory");
	ret = ops->cpuid_supported(cpuid, err);
	if (ret == 0)
		ret = cpu_model_apply(m->config.model, m->config.paravirtual, cpuid, err);
	for (unsigned i = 0; i < m->config.vcpus && ret == 0; i++) {
		ret = ops->vcpu_create(m->vm.engine, i, cpuid, &m->vcpu[i], err);
		if (ret == 0)
			m->vcpu_count++;
	}
	free(cpuid);
	return ret;
}

static int initial_state_keep(struct machine *m, struct error *err)
{
	int ret;

	m->initial_cpu = calloc(m->vcpu_count, sizeof(*m->initial_cpu));
	if (!m->initial_cpu)
		return error_set(err, -ENOMEM, NULL, "virtual machine: out of memory");
	ret = m->vm.ops->chips_state_get(m->vm.engine, &m->initial_chips, err);
	for (unsigned i = 0; i < m->vcpu_count && ret == 0; i++)
		ret = m->vm.ops->vcpu_state_get(m->vcpu[i], &m->initial_cpu[i], err);
	return ret;
}

/* A page of restored memory is gone. On any thread. */
static void memory_lost(void *arg, int code)
{
	struct error err = {0};

	error_set(&err, code, "see lodge snapshot verify",
		  "guest memory: a page cannot be read from its snapshot: %s", error_name(code));
	vcpu_ended(arg, 0, VCPU_EXIT_FAILED, &err);
}

static int memory_make(struct machine *m, struct error *err)
{
	const struct root *from = m->config.from;
	bool shared = m->config.engine->shared_memory;
	struct memory_source *source;
	int ret;

	if (!from)
		return shared ? memory_create_shared(m->config.memory, &m->vm.memory, err)
			      : memory_create(m->config.memory, &m->vm.memory, err);
	if (from->memory_size != m->config.memory)
		return error_set(err, -EINVAL, "leave -m out",
				 "snapshot '%s': it has %llu MiB of memory", from->name,
				 (unsigned long long)(from->memory_size >> 20));
	ret = snapshot_memory_source(m->config.store, from->memory_layers, from->memory_layer_count,
				     from->memory_size / MEMORY_PAGE_SIZE, &source, err);
	if (ret == 0)
		ret = memory_create_from(source, shared, &m->vm.memory, err);
	if (ret)
		return ret;
	m->vm.memory->lost_arg = m;
	m->vm.memory->lost = memory_lost;
	return 0;
}

static int vm_create(struct machine *m, struct error *err)
{
	struct vm_config config = {.vcpus = m->config.vcpus, .translation = m->config.translation};
	int ret;

	ret = memory_make(m, err);
	if (ret)
		return ret;
	if (bus_create(&m->vm.pio) || bus_create(&m->vm.mmio))
		return error_set(err, -ENOMEM, NULL, "virtual machine: out of memory");
	config.memory = m->vm.memory;
	config.pio = m->vm.pio;
	config.mmio = m->vm.mmio;
	m->vm.ops = m->config.engine;
	ret = m->vm.ops->vm_create(&config, &m->vm.engine, err);
	return ret ? ret : vcpus_create(m, err);
}

/* A restored guest has booted; what it booted from is for its next reset. */
static int boot_do_without(struct error *err, int code)
{
	char line[sizeof(*err)];

	error_format(err, code, line, sizeof(line));
	log_warn("the guest will end at its next reset: %s", line);
	*err = (struct error){0};
	return 0;
}

static int machine_restore(struct machine *m, struct error *err)
{
	const struct root *from = m->config.from;
	uint64_t now = clock_realtime_ns();
	void *bytes;
	int ret;

	if (!from->has_device_state)
		return error_set(err, -EINVAL, "make volumes of it: lodge volume clone",
				 "snapshot '%s': it has disks only", from->name);
	ret = blob_get(m->config.store, &from->device_state, &bytes, err);
	if (ret)
		return ret;
	ret = machine_state_restore(m, bytes, from->device_state.size,
				    now > from->time_ns ? now - from->time_ns : 0, err);
	free(bytes);
	return ret ? error_prefix(err, ret, "restore") : 0;
}

static int machine_build(struct machine *m, struct error *err)
{
	struct boot_config boot = {
		.kernel = m->config.kernel,
		.initrd = m->config.initrd,
		.cmdline = m->config.cmdline,
		.overlay = m->config.overlay,
		.overlay_size = m->config.overlay_size,
	};
	int ret;

	if (getrandom(m->generation, sizeof(m->generation), 0) != sizeof(m->generation))
		return error_set(err, -errno, NULL, "VM generation ID: %s", error_name(-errno));
	ret = boot_open(&boot, &m->boot, err);
	if (ret && m->config.from)
		ret = boot_do_without(err, ret);
	if (ret == 0)
		ret = vm_create(m, err);
	if (ret == 0)
		ret = board_create(m, err);
	if (ret == 0)
		ret = initial_state_keep(m, err);
	if (ret == 0)
		ret = m->config.from ? machine_restore(m, err) : machine_load(m, err);
	if (ret == 0)
		ret = vcpu_set_create(m->vm.ops, m->vcpu, m->vcpu_count, vcpu_ended, m, &m->threads,
				      err);
	return ret;
}

int machine_create(const struct machine_config *config, struct loop *loop,
		   const struct machine_events *events, struct machine **out, struct error *err)
{
	struct machine *m = calloc(1, sizeof(*m));
	int ret;

	assert(config->vcpus >= 1 && config->vcpus <= ENGINE_VCPUS_MAX);
	if (!m)
		return error_set(err, -ENOMEM, NULL, "virtual machine: out of memory");
	m->config = *config;
	m->loop = loop;
	m->events = *events;
	m->paused = true;
	m->power = (struct power){.ops = &power_ops, .arg = m};
	m->task = (struct loop_task){.run = machine_serve, .arg = m};
	pthread_mutex_init(&m->lock, NULL);
	ret = machine_build(m, err);
	if (ret) {
		machine_destroy(m);
		return ret;
	}
	*out = m;
	return 0;
}

void machine_destroy(struct machine *m)
{
	if (!m)
		return;
	vcpu_set_destroy(m->threads);
	board_destroy(m);
	loop_cancel(m->loop, &m->task);
	if (m->vm.ops)
		m->vm.ops->vm_destroy(m->vm.engine);
	bus_destroy(m->vm.pio);
	bus_destroy(m->vm.mmio);
	memory_destroy(m->vm.memory);
	boot_close(m->boot);
	free(m->initial_cpu);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

void machine_resume(struct machine *m)
{
	m->paused = false;
	board_resume(m);
	if (!m->ended)
		vcpu_set_resume(m->threads);
}

void machine_pause(struct machine *m)
{
	m->paused = true;
	vcpu_set_pause(m->threads);
}

bool machine_is_paused(const struct machine *m)
{
	return m->paused;
}

void machine_press_power_button(struct machine *m)
{
	acpi_pm_press_power_button(m->pm);
}

size_t machine_com1_receive(struct machine *m, const uint8_t *bytes, size_t count)
{
	return uart16550_receive(m->com1, bytes, count);
}

size_t machine_port_receive(struct machine *m, unsigned port, const uint8_t *bytes, size_t count)
{
	return m->console ? virtio_console_receive(m->console, port, bytes, count) : 0;
}

void machine_port_close(struct machine *m, unsigned port)
{
	if (m->console)
		virtio_console_close(m->console, port);
}

void machine_port_output_ready(struct machine *m, unsigned port)
{
	if (m->console)
		virtio_console_output_ready(m->console, port);
}

void machine_drain_output(struct machine *m)
{
	if (m->console)
		virtio_console_drain(m->console);
}

unsigned machine_nic_count(const struct machine *m)
{
	return m->config.nic_count;
}

void machine_nic_counts(const struct machine *m, unsigned index, struct net_counts *out)
{
	if (m->nic[index].e1000)
		i82540em_counts(m->nic[index].e1000, out);
	else
		virtio_net_counts(m->nic[index].nic, out);
}

const char *machine_nic_interface(const struct machine *m, unsigned index)
{
	return m->nic[index].net->info.name;
}

void machine_statistics(const struct machine *m, struct engine_counter *out, unsigned max)
{
	m->vm.ops->statistics(m->vm.engine, out, max);
}
