/* SPDX-License-Identifier: MIT */
/*
 * The PCI function: registers in memory, of which each access is one of 32 bits, and by two ports
 * (317453, 13.2); and the life of a NIC.
 */
#include "devices/e1000/i82540em.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/e1000/e1000_impl.h"

enum { BAR_MEMORY = 0, BAR_PORTS = 2 };
#define MEMORY_SIZE 0x20000u
#define PORTS_SIZE  8u
enum { PORT_ADDRESS = 0, PORT_DATA = 4 };

static uint32_t io_address(struct i82540em *n)
{
	uint32_t address;

	pthread_mutex_lock(&n->lock);
	address = n->io_address;
	pthread_mutex_unlock(&n->lock);
	return address;
}

static uint64_t ports_read(struct i82540em *n, uint64_t offset, unsigned size)
{
	if (size != 4)
		return ~0ull;
	if (offset == PORT_ADDRESS)
		return io_address(n);
	return offset == PORT_DATA ? e1000_register_read(n, io_address(n)) : ~0ull;
}

static void ports_write(struct i82540em *n, uint64_t offset, unsigned size, uint32_t value)
{
	if (size != 4)
		return;
	if (offset == PORT_DATA) {
		e1000_register_write(n, io_address(n), value);
	} else if (offset == PORT_ADDRESS) {
		pthread_mutex_lock(&n->lock);
		n->io_address = value;
		pthread_mutex_unlock(&n->lock);
	}
}

/* A part of a register is read with all of it; two of them are two. */
static uint64_t bar_read(void *device, unsigned bar, uint64_t offset, unsigned size)
{
	struct i82540em *n = device;
	uint32_t at = (uint32_t)offset & ~3u;
	uint64_t value;

	if (bar == BAR_PORTS)
		return ports_read(n, offset, size);
	value = e1000_register_read(n, at);
	if (size == 8)
		value |= (uint64_t)e1000_register_read(n, at + 4) << 32;
	return value >> 8 * (offset & 3);
}

/* A part of one is not written. */
static void bar_write(void *device, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	struct i82540em *n = device;

	if (bar == BAR_PORTS) {
		ports_write(n, offset, size, (uint32_t)value);
		return;
	}
	if (size < 4 || offset & 3)
		return;
	e1000_register_write(n, (uint32_t)offset, (uint32_t)value);
	if (size == 8)
		e1000_register_write(n, (uint32_t)offset + 4, (uint32_t)(value >> 32));
}

static void command_changed(void *device, uint16_t command)
{
	struct i82540em *n = device;

	atomic_store(&n->master, command & PCI_COMMAND_MASTER);
	e1000_kick(n);
}

static const struct pci_ops nic_pci_ops = {
	.bar_read = bar_read,
	.bar_write = bar_write,
	.command_changed = command_changed,
};

static void function_init(struct i82540em *n)
{
	static const struct pci_id id = {.vendor = 0x8086,
					 .device = 0x100e,
					 .subsystem_vendor = 0x8086,
					 .subsystem = 0x001e,
					 .revision = 2,
					 .class = 0x020000};

	pci_function_init(&n->pci, &id, &nic_pci_ops, n);
	pci_function_add_bar(&n->pci, BAR_MEMORY, MEMORY_SIZE);
	pci_function_add_io_bar(&n->pci, BAR_PORTS, PORTS_SIZE);
	n->pci.config[PCI_IRQ_PIN] = 1;
}

static void power_on(struct i82540em *n)
{
	pthread_mutex_lock(&n->lock);
	n->io_address = 0;
	memcpy(n->told, n->mac, NET_MAC);
	e1000_phy_reset(n);
	n->link = n->cable && !n->lost;
	e1000_registers_reset(n);
	pthread_mutex_unlock(&n->lock);
}

/* One queue, and nothing left to the guest. */
static int network_init(struct net *net)
{
	int ret = net->ops->set_queues(net, 1);

	return ret ? ret : net->ops->set_offloads(net, 0);
}

int i82540em_create(struct vm *vm, struct pci_bus *bus, unsigned slot,
		    const struct i82540em_config *config, struct i82540em **out)
{
	struct i82540em *n = calloc(1, sizeof(*n));
	int ret;

	if (!n)
		return -ENOMEM;
	n->memory = vm->memory;
	n->net = config->net;
	n->any_source = config->any_source;
	memcpy(n->mac, config->mac, NET_MAC);
	n->paused = n->cable = true;
	throttle_init(&n->receiving_rate, &config->rates);
	throttle_init(&n->sending_rate, &config->rates);
	pthread_mutex_init(&n->lock, NULL);
	function_init(n);
	e1000_eeprom_init(n);
	n->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ret = n->kick_fd < 0 ? -errno : network_init(n->net);
	if (ret == 0) {
		power_on(n);
		ret = worker_start(&n->worker, e1000_main, n);
	}
	if (ret == 0)
		ret = pci_add(bus, slot, &n->pci);
	if (ret) {
		i82540em_destroy(n);
		return ret;
	}
	*out = n;
	return 0;
}

static void call(struct i82540em *n, enum worker_wish wish)
{
	worker_call(&n->worker, wish);
	e1000_kick(n);
}

void i82540em_destroy(struct i82540em *n)
{
	if (!n)
		return;
	pci_remove(&n->pci);
	if (n->worker.started) {
		call(n, WORKER_END);
		worker_join(&n->worker);
	}
	if (n->kick_fd >= 0)
		close(n->kick_fd);
	throttle_fini(&n->receiving_rate);
	throttle_fini(&n->sending_rate);
	pthread_mutex_destroy(&n->lock);
	free(n);
}

static void rest(struct i82540em *n)
{
	call(n, WORKER_REST);
	worker_await(&n->worker);
}

void i82540em_pause(struct i82540em *n)
{
	n->paused = true;
	rest(n);
	pthread_mutex_lock(&n->lock);
	n->receiving.held = 0;
	pthread_mutex_unlock(&n->lock);
}

void i82540em_resume(struct i82540em *n)
{
	n->paused = false;
	call(n, WORKER_RUN);
}

void i82540em_reset(struct i82540em *n)
{
	rest(n);
	power_on(n);
	pci_function_reset(&n->pci);
	if (!n->paused)
		call(n, WORKER_RUN);
}

void i82540em_state(struct i82540em *n, struct codec *codec)
{
	pci_function_state(&n->pci, codec);
	e1000_state(n, codec);
}

void i82540em_counts(struct i82540em *n, struct net_counts *out)
{
	pthread_mutex_lock(&n->lock);
	*out = n->counts;
	pthread_mutex_unlock(&n->lock);
}

void i82540em_set_link(struct i82540em *n, bool up)
{
	pthread_mutex_lock(&n->lock);
	n->cable = up;
	e1000_link_update(n);
	pthread_mutex_unlock(&n->lock);
	e1000_kick(n);
}

bool i82540em_is_known(struct i82540em *n)
{
	bool known;

	pthread_mutex_lock(&n->lock);
	known = memcmp(n->told, n->mac, NET_MAC) == 0;
	pthread_mutex_unlock(&n->lock);
	return known;
}
