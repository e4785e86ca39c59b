/* SPDX-License-Identifier: MIT */
/* A guest's NICs: from what its options say to what its machine is given, and what they do. */
#ifndef VMM_CLI_GUEST_NICS_H
#define VMM_CLI_GUEST_NICS_H

#include <json-c/json.h>

#include "vmm/cli/cli.h"
#include "vmm/machine/machine.h"

/*
 * Which has the forwarded ports: the first that can, or the first of a network's where none can.
 * NULL: none.
 */
const struct option_nic *guest_nics_ports(const struct options *o);
/* `guest` is its name; both outlive the machine. */
void guest_nics_fill(const struct options *options, const char *guest,
		     struct machine_config *config);
/* Is any on a network of the host's, where a balancer can lead to it? */
bool guest_nics_watched(const struct options *options, const struct machine *machine);
/* A new array, an object a NIC. */
struct json_object *guest_nics_info(const struct options *options, const char *guest,
				    const struct machine *machine);

#endif
