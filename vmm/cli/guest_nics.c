/* SPDX-License-Identifier: MIT */
#include "vmm/cli/guest_nics.h"
#include "vmm/cli/table.h"

#include <string.h>

/*
 * A NIC's address where none is given: of the guest's name and the NIC's number (FNV-1a), so that
 * it stays the same; administered locally.
 */
static void nic_mac(const struct option_nic *nic, const char *guest, unsigned index,
		    uint8_t mac[NET_MAC])
{
	uint64_t hash = 0xcbf29ce484222325ull;

	if (nic->has_mac) {
		memcpy(mac, nic->mac, NET_MAC);
		return;
	}
	for (const char *c = guest; *c; c++)
		hash = (hash ^ (uint8_t)*c) * 0x100000001b3ull;
	hash = (hash ^ index) * 0x100000001b3ull;
	mac[0] = 0x52;
	mac[1] = 0x54;
	for (unsigned i = 2; i < NET_MAC; i++)
		mac[i] = (uint8_t)(hash >> 8 * i);
}

const struct option_nic *guest_nics_ports(const struct options *o)
{
	const struct option_nic *found = NULL;

	for (unsigned i = 0; i < o->nic_count; i++) {
		const struct option_nic *nic = &o->nic[i];

		if (nic->user || (nic->network && network_can_forward(nic->network)))
			return nic;
		if (!found && nic->network)
			found = nic;
	}
	return found;
}

void guest_nics_fill(const struct options *o, const char *guest, struct machine_config *config)
{
	const struct option_nic *ports = o->forward_count ? guest_nics_ports(o) : NULL;

	config->nic_count = o->nic_count;
	for (unsigned i = 0; i < o->nic_count; i++) {
		struct machine_nic *nic = &config->nic[i];

		*nic = (struct machine_nic){
			.tap = o->nic[i].tap,
			.network = o->nic[i].network,
			.guest = guest,
			.address = o->nic[i].address,
			.queues = o->nic[i].queues,
			.optional = o->nic[i].optional,
			.any_source = o->nic[i].spoof,
			.rates = o->nic[i].rates,
			.forward_count = &o->nic[i] == ports ? o->forward_count : 0,
			.forward = o->forward,
			.group_count = o->nic[i].network ? o->group_count : 0,
			.group = o->group,
		};
		nic_mac(&o->nic[i], guest, i, nic->mac);
	}
}

bool guest_nics_watched(const struct options *o, const struct machine *machine)
{
	for (unsigned i = 0; i < machine_nic_count(machine); i++)
		if (o->nic[i].network)
			return true;
	return false;
}

static void add_counts(struct json_object *to, const struct machine *machine, unsigned index)
{
	struct net_counts c;

	machine_nic_counts(machine, index, &c);
	const struct {
		const char *key;
		uint64_t count;
	} counts[] = {
		{"received", c.received},   {"received_bytes", c.received_bytes},
		{"sent", c.sent},           {"sent_bytes", c.sent_bytes},
		{"filtered", c.filtered},   {"oversize", c.oversize},
		{"malformed", c.malformed}, {"spoofed", c.spoofed},
		{"refused", c.refused},
	};
	for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		json_object_object_add(to, counts[i].key, json_object_new_uint64(counts[i].count));
}

static void add_ports(struct json_object *to, unsigned count, const struct net_forward *forward)
{
	struct json_object *ports = json_object_new_array();
	char text[NET_FORWARD_TEXT];

	for (unsigned i = 0; i < count; i++) {
		net_forward_text(&forward[i], text);
		json_object_array_add(ports, json_object_new_string(text));
	}
	json_object_object_add(to, "ports", ports);
}

/* What may have changed since it began. */
static void add_state(struct json_object *to, const char *network, const char *guest,
		      unsigned index)
{
	struct json_object *groups = json_object_new_array();
	struct network_nic_state state = {.address = ""};

	network_nic_state(network, guest, index, &state);
	json_add_text(to, "address", state.address);
	for (unsigned i = 0; i < state.group_count; i++)
		json_object_array_add(groups, json_object_new_string(state.group[i]));
	json_object_object_add(to, "security_groups", groups);
	add_ports(to, state.forward_count, state.forward);
}

struct json_object *guest_nics_info(const struct options *o, const char *guest,
				    const struct machine *machine)
{
	struct json_object *nics = json_object_new_array();
	struct machine_config config = {.nic_count = 0};

	guest_nics_fill(o, guest, &config);
	for (unsigned i = 0; i < machine_nic_count(machine); i++) {
		const struct machine_nic *nic = &config.nic[i];
		struct json_object *object = json_object_new_object();
		char mac[18];

		net_mac_text(nic->mac, mac);
		json_add_text(object, "network",
			      nic->tap       ? "tap"
			      : nic->network ? nic->network
					     : "user");
		json_add_text(object, "interface", machine_nic_interface(machine, i));
		json_add_text(object, "mac", mac);
		if (nic->network)
			add_state(object, nic->network, guest, i);
		else
			add_ports(object, nic->forward_count, nic->forward);
		add_counts(object, machine, i);
		json_object_array_add(nics, object);
	}
	return nics;
}
