/* SPDX-License-Identifier: MIT */
/* The table of engines, best first, and the choice between them. */
#include <errno.h>
#include <string.h>

#include "vmm/base/checked.h"
#include "vmm/bt/bt.h"
#include "vmm/kvm/kvm.h"
#include "vmm/machine/machine.h"

static const struct engine_ops *const engines[] = {&kvm_engine_ops, &bt_engine_ops};

const struct engine_ops *machine_engine_at(unsigned index)
{
	return index < ARRAY_SIZE(engines) ? engines[index] : NULL;
}

static const struct engine_ops *engine_auto(struct error *why, struct error *err)
{
	for (unsigned i = 0; i < ARRAY_SIZE(engines); i++) {
		struct error *reason = i == 0 ? why : err;

		if (engines[i]->probe(false, reason) == 0)
			return engines[i];
	}
	return NULL;
}

const struct engine_ops *machine_engine_find(const char *name, struct error *why, struct error *err)
{
	*why = (struct error){0};
	if (strcmp(name, "auto") == 0)
		return engine_auto(why, err);
	for (unsigned i = 0; i < ARRAY_SIZE(engines); i++)
		if (strcmp(engines[i]->name, name) == 0)
			return engines[i]->probe(false, err) == 0 ? engines[i] : NULL;
	error_set(err, -EINVAL, "use auto, kvm or bt", "engine '%s': unknown", name);
	return NULL;
}
