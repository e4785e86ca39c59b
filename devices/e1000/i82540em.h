/* SPDX-License-Identifier: MIT */
/*
 * The 82540EM gigabit Ethernet controller with its PHY and EEPROM, of the line whose driver is
 * called e1000. Source: Intel 8254x Family of Gigabit Ethernet Controllers Software Developer's
 * Manual (317453).
 */
#ifndef DEVICES_E1000_I82540EM_H
#define DEVICES_E1000_I82540EM_H

#include "devices/pci/pci.h"
#include "net/net.h"
#include "vmm/base/throttle.h"

struct i82540em;

struct i82540em_config {
	struct net *net; /* outlives the device; one queue of it is used */
	uint8_t mac[NET_MAC];
	bool any_source; /* the guest may send from other addresses */
	struct throttle_rates
		rates; /* each way; what it sends waits, what comes is up to the network */
};

/* Its thread rests until it is resumed. */
int i82540em_create(struct vm *vm, struct pci_bus *bus, unsigned slot,
		    const struct i82540em_config *config, struct i82540em **out);
void i82540em_destroy(struct i82540em *n);
/* As after power-on. */
void i82540em_reset(struct i82540em *n);

/* Frames stay where they are until it is resumed; one that came and had no room is lost. */
void i82540em_pause(struct i82540em *n);
void i82540em_resume(struct i82540em *n);
/* Saved state, of one that is paused. */
void i82540em_state(struct i82540em *n, struct codec *codec);

/* Any thread. */
void i82540em_counts(struct i82540em *n, struct net_counts *out);
/* Is there a cable? */
void i82540em_set_link(struct i82540em *n, bool up);
/* Is its MAC what the driver was told? Not after another NIC's state was loaded. */
bool i82540em_is_known(struct i82540em *n);

#endif
