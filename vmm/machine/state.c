/* SPDX-License-Identifier: MIT */
/*
 * A machine's saved state. The order of the sections is the machine's own: what it is, its vCPUs,
 * the interrupt chips, the devices in the board's order. Loading decodes all that is the engine's
 * into copies, lets the devices take theirs, and sets chips and vCPUs last: a device that drives
 * its line meanwhile leaves no trace in an interrupt controller but the one that was saved.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/clock.h"
#include "vmm/machine/machine_impl.h"

#define MODEL_MAX 32
#define MSR_TSC   0x10u

#define SAME "start it with what it was saved with"

/* What must be the same, and what the guest has asked for and nobody has seen to. */
struct header {
	unsigned vcpus, ranges, disks, nics, ports;
	uint64_t base[MEMORY_RANGES_MAX], size[MEMORY_RANGES_MAX];
	char model[MODEL_MAX];
	bool paravirtual;
	unsigned io; /* enum machine_io */
	unsigned requests;
	char panic[MACHINE_REASON_MAX];
};

struct engine_copy {
	struct chips_state chips;
	struct cpu_state cpu[]; /* vcpu_count of them */
};

static void header_get(struct machine *m, struct header *h)
{
	*h = (struct header){.vcpus = m->vcpu_count,
			     .ranges = m->vm.memory->count,
			     .disks = m->config.disk_count,
			     .nics = m->config.nic_count,
			     .ports = m->config.port_count,
			     .paravirtual = m->config.paravirtual,
			     .io = m->config.io};
	for (unsigned i = 0; i < h->ranges; i++) {
		h->base[i] = m->vm.memory->range[i].base;
		h->size[i] = m->vm.memory->range[i].size;
	}
	/* Padded with zeroes, and longer than any name. */
	strncpy(h->model, m->config.model->name, sizeof(h->model) - 1);
	pthread_mutex_lock(&m->lock);
	h->requests = m->requests;
	memcpy(h->panic, m->panic, sizeof(h->panic));
	pthread_mutex_unlock(&m->lock);
}

static void same(struct codec *c, const char *what, uint64_t had, uint64_t has)
{
	if (codec_good(c) && had != has)
		codec_fail(c, -EINVAL, SAME, "%s: the guest had %llu, this machine has %llu", what,
			   (unsigned long long)had, (unsigned long long)has);
}

static void header_check(const struct header *h, const struct header *own, struct codec *c)
{
	same(c, "vCPUs", h->vcpus, own->vcpus);
	same(c, "ranges of memory", h->ranges, own->ranges);
	for (unsigned i = 0; i < own->ranges; i++) {
		same(c, "start of memory", h->base[i], own->base[i]);
		same(c, "bytes of memory", h->size[i], own->size[i]);
	}
	same(c, "disks", h->disks, own->disks);
	same(c, "NICs", h->nics, own->nics);
	same(c, "ports of the console", h->ports, own->ports);
	same(c, "paravirtualization", h->paravirtual, own->paravirtual);
	same(c, "emulated I/O", h->io, own->io);
	if (codec_good(c) && memcmp(h->model, own->model, sizeof(h->model)) != 0)
		codec_fail(c, -EINVAL, SAME, "this machine's CPU model '%s' is not the guest's",
			   own->model);
	codec_check(c, !(h->requests & ~(unsigned)(REQUEST_OFF | REQUEST_RESET | REQUEST_PANIC)),
		    "what the guest asked for");
	codec_check(c, memchr(h->panic, 0, sizeof(h->panic)), "reason of a panic");
}

static void header_code(struct machine *m, struct header *h, struct codec *c)
{
	struct header own;
	unsigned version;

	header_get(m, &own);
	if (!codec_loading(c))
		*h = own;
	version = codec_begin(c, "machine", 0, 2);
	codec_count(c, &h->vcpus, ENGINE_VCPUS_MAX, "vCPUs");
	codec_count(c, &h->ranges, MEMORY_RANGES_MAX, "ranges of memory");
	for (unsigned i = 0; i < h->ranges; i++) {
		codec_u64(c, &h->base[i]);
		codec_u64(c, &h->size[i]);
	}
	codec_bytes(c, h->model, sizeof(h->model));
	codec_bool(c, &h->paravirtual);
	codec_count(c, &h->disks, BOARD_DISKS_MAX, "disks");
	codec_count(c, &h->nics, BOARD_NICS_MAX, "NICs");
	codec_count(c, &h->ports, VIRTIO_CONSOLE_PORTS_MAX, "ports of the console");
	codec_count(c, &h->requests, 15, "what the guest asked for");
	codec_bytes(c, h->panic, sizeof(h->panic));
	if (version >= 2)
		codec_count(c, &h->io, MACHINE_IO_EMULATED, "kind of disks and NICs");
	header_check(h, &own, c);
	codec_end(c);
}

/* Chips first: asking them may make a last interrupt, which the vCPUs' local APICs then have. */
static int engine_get(struct machine *m, struct engine_copy *copy, struct error *err)
{
	int ret = m->vm.ops->chips_state_get(m->vm.engine, &copy->chips, err);

	for (unsigned i = 0; i < m->vcpu_count && ret == 0; i++)
		ret = m->vm.ops->vcpu_state_get(m->vcpu[i], &copy->cpu[i], err);
	return ret;
}

/*
 * As if the guest had been paused since: its clocks have gone on. Only those that it can be told of
 * by its paravirtual clock: what it measures by others is not to leap.
 */
static void clocks_advance(const struct machine *m, struct engine_copy *copy, uint64_t ns)
{
	uint64_t khz = m->vm.ops->tsc_khz(m->vm.engine), ms = ns / CLOCK_NS_PER_MS;

	if (!m->config.paravirtual)
		return;
	copy->chips.clock_ns += ms * CLOCK_NS_PER_MS;
	for (unsigned i = 0; i < m->vcpu_count; i++)
		for (unsigned k = 0; k < copy->cpu[i].msr_count; k++)
			if (copy->cpu[i].msr[k].index == MSR_TSC)
				copy->cpu[i].msr[k].value += ms * khz;
}

/*
 * The clock, then all vCPUs one right after the other: time stamp counters that were in step are
 * taken for that if they are set within a second (machine_load).
 */
static int engine_set(struct machine *m, const struct engine_copy *copy, struct error *err)
{
	int ret = m->vm.ops->chips_state_set(m->vm.engine, &copy->chips, err);

	for (unsigned i = 0; i < m->vcpu_count && ret == 0; i++)
		ret = m->vm.ops->vcpu_state_set(m->vcpu[i], &copy->cpu[i], err);
	return ret;
}

static int machine_state(struct machine *m, struct header *h, struct engine_copy *copy,
			 uint64_t stood_ns, struct codec *c, struct error *err)
{
	int ret;

	header_code(m, h, c);
	for (unsigned i = 0; i < m->vcpu_count; i++)
		cpu_state_code(&copy->cpu[i], i, c);
	chips_state_code(&copy->chips, c);
	/* Nothing of the machine's is touched for a state that is not its own. */
	if (codec_good(c))
		board_state(m, c);
	ret = codec_finish(c, err);
	if (ret || !codec_loading(c))
		return ret;
	clocks_advance(m, copy, stood_ns);
	return engine_set(m, copy, err);
}

static struct engine_copy *engine_copy_new(const struct machine *m, struct error *err)
{
	struct engine_copy *copy = calloc(1, sizeof(*copy) + m->vcpu_count * sizeof(copy->cpu[0]));

	if (!copy)
		error_set(err, -ENOMEM, NULL, "virtual machine: out of memory");
	return copy;
}

int machine_state_save(struct machine *m, uint8_t **bytes, size_t *size, struct error *err)
{
	struct engine_copy *copy;
	struct header h;
	struct codec c;
	int ret;

	assert(m->paused);
	pthread_mutex_lock(&m->lock);
	ret = m->ended || m->requests & REQUEST_ENDED ? -ESRCH : 0;
	pthread_mutex_unlock(&m->lock);
	if (ret)
		return error_set(err, ret, NULL, "virtual machine: its guest has ended");
	copy = engine_copy_new(m, err);
	if (!copy)
		return -ENOMEM;
	board_pause(m);
	ret = engine_get(m, copy, err);
	if (ret == 0) {
		codec_init_save(&c);
		ret = machine_state(m, &h, copy, 0, &c, err);
		if (ret == 0)
			codec_take(&c, bytes, size);
		codec_fini(&c);
	}
	free(copy);
	return ret;
}

static int state_load(struct machine *m, const uint8_t *bytes, size_t size, uint64_t stood_ns,
		      struct error *err)
{
	struct engine_copy *copy = engine_copy_new(m, err);
	struct header h = {0};
	struct codec c;
	int ret;

	assert(m->paused);
	if (!copy)
		return -ENOMEM;
	codec_init_load(&c, bytes, size);
	ret = machine_state(m, &h, copy, stood_ns, &c, err);
	codec_fini(&c);
	free(copy);
	if (ret)
		return ret;
	pthread_mutex_lock(&m->lock);
	m->requests = h.requests;
	memcpy(m->panic, h.panic, sizeof(m->panic));
	pthread_mutex_unlock(&m->lock);
	if (h.requests)
		loop_post(m->loop, &m->task);
	return 0;
}

int machine_state_load(struct machine *m, const uint8_t *bytes, size_t size, struct error *err)
{
	return state_load(m, bytes, size, 0, err);
}

int machine_state_restore(struct machine *m, const uint8_t *bytes, size_t size, uint64_t stood_ns,
			  struct error *err)
{
	int ret = state_load(m, bytes, size, stood_ns, err);

	if (ret)
		return ret;
	memory_write(m->vm.memory, BOARD_GENERATION, m->generation, sizeof(m->generation));
	board_moved(m);
	return 0;
}

void machine_devices_resume(struct machine *m)
{
	board_resume(m);
}
