/* SPDX-License-Identifier: MIT */
/*
 * A machine: an engine's virtual machine, the board's devices, a kernel to boot. All functions are
 * for the thread that runs the loop; the guest runs on threads of its own.
 */
#ifndef VMM_MACHINE_MACHINE_H
#define VMM_MACHINE_MACHINE_H

#include "devices/virtio/console.h"
#include "devices/virtio/net.h"
#include "net/net.h"
#include "vmm/base/loop.h"
#include "vmm/core/chardev.h"
#include "vmm/core/engine.h"
#include "vmm/machine/board.h"

struct root;
struct store;

/* What the guest's disks and NICs are: of virtio, or an IDE controller and parts of the e1000 line.
 */
enum machine_io { MACHINE_IO_VIRTIO, MACHINE_IO_EMULATED };

struct machine_disk {
	const char *path;
	const char *format;
	bool read_only;
	bool allow_backing; /* the image may name other files */
	unsigned queues;    /* of virtio; 0: one a vCPU */
};

struct machine_nic {
	const char *tap;             /* the host's interface; or */
	const char *network, *guest; /* a network, and who is known there; both NULL: user */
	unsigned forward_count, group_count;
	const struct net_forward *forward; /* of ports of the host's to it */
	const char *const *group;          /* security groups, of a network */
	uint8_t mac[NET_MAC];
	uint32_t address; /* see struct network_nic */
	unsigned queues;  /* pairs; 0: one a vCPU, or one if the interface has no more */
	bool optional;    /* where it cannot be had, a warning tells, and the guest has no NICs from
			     here on */
	bool any_source;  /* see struct virtio_net_config */
	struct throttle_rates rates; /* each way */
};

struct machine_config {
	const struct engine_ops *engine;
	const struct cpu_model *model;
	bool paravirtual;
	unsigned vcpus;
	enum translation translation;
	uint64_t memory; /* bytes, a multiple of the page size */
	const char *kernel, *initrd, *cmdline;
	const void *overlay; /* see struct boot_config */
	size_t overlay_size;
	enum machine_io io;
	struct store *store;     /* of volumes; NULL: there are none */
	const struct root *from; /* what is restored; NULL: it boots */
	unsigned disk_count;
	struct machine_disk disk[BOARD_DISKS_MAX];
	unsigned nic_count;
	struct machine_nic nic[BOARD_NICS_MAX];
	struct chardev com1; /* where the guest's first serial port goes */
	unsigned port_count; /* of the virtio console; 0: there is none */
	struct virtio_console_port port[VIRTIO_CONSOLE_PORTS_MAX];
};

enum machine_end {
	MACHINE_OFF,     /* the guest powered off */
	MACHINE_CRASHED, /* triple fault or panic */
	MACHINE_FAILED,  /* the host or the engine cannot go on */
};

struct machine_events {
	/* The guest ended, with the reason in words. The machine is paused. Once. */
	void (*ended)(void *arg, enum machine_end end, const char *reason);
	void *arg;
};

struct machine;

/*
 * The engine by name. "auto" is the best that runs stock kernels on this host; if that is not the
 * first, *why says what is wrong with the first, else *why is empty. NULL and the error.
 */
const struct engine_ops *machine_engine_find(const char *name, struct error *why,
					     struct error *err);
/* All engines, NULL past the end. */
const struct engine_ops *machine_engine_at(unsigned index);

/* Everything is checked and opened here; the guest is loaded and paused. */
int machine_create(const struct machine_config *config, struct loop *loop,
		   const struct machine_events *events, struct machine **out, struct error *err);
void machine_destroy(struct machine *machine);

/* Its devices, too. */
void machine_resume(struct machine *machine);
void machine_pause(struct machine *machine);
bool machine_is_paused(const struct machine *machine);

/*
 * All that the guest can observe but its memory and disks, as bytes (snapshot/codec.h), of a
 * machine that is paused. Its devices are quiesced, and remain so until they or the machine are
 * resumed: until then nothing changes guest memory and disks, and a copy of these fits the state.
 * The caller frees *bytes.
 */
int machine_state_save(struct machine *machine, uint8_t **bytes, size_t *size, struct error *err);
/*
 * Into a machine of the same configuration, on either engine, that has not run yet. Its memory is
 * there already: rings and clocks in it are looked at and written. Its devices wait as after a
 * save. After a failure the machine can only be destroyed.
 */
int machine_state_load(struct machine *machine, const uint8_t *bytes, size_t size,
		       struct error *err);
void machine_devices_resume(struct machine *machine);

void machine_press_power_button(struct machine *machine);

/* Input for COM1 and for the console's ports: as for the devices' own receive functions. */
size_t machine_com1_receive(struct machine *machine, const uint8_t *bytes, size_t count);
size_t machine_port_receive(struct machine *machine, unsigned port, const uint8_t *bytes,
			    size_t count);
void machine_port_close(struct machine *machine, unsigned port);
/* The port's backend is not full any more. */
void machine_port_output_ready(struct machine *machine, unsigned port);
/* Take all that the guest wrote to the ports and was not taken yet. The machine is paused. */
void machine_drain_output(struct machine *machine);

/* The kernel's console says that it panicked, for this reason. Any thread. */
void machine_note_panic(struct machine *machine, const char *reason);

/* Exits by reason, see engine_ops. */
void machine_statistics(const struct machine *machine, struct engine_counter *out, unsigned max);

unsigned machine_nic_count(const struct machine *machine);
/* Of a NIC by its index: what passed, and what it is called on the host. */
void machine_nic_counts(const struct machine *machine, unsigned index, struct net_counts *out);
const char *machine_nic_interface(const struct machine *machine, unsigned index);

#endif
