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

const struct engine_ops *machine_engine_find(const char *name, struct error *why, struct error *err)
{
	bool any = strcmp(name, "auto") == 0;

	for (unsigned i = 0; i < ARRAY_SIZE(engines); i++) {
		const struct engine_ops *engine = engines[i];

		if (!any && strcmp(engine->name, name) != 0)
			continue;
		/* Engine bt is under construction: it must be asked for by name. */
		if (any && engine == &bt_engine_ops)
			continue;
		/* Named, it is taken at its word: what it lacks shows when it is used. */
		if (engine->probe(false, any ? why : err) == 0)
			return engine;
		if (!any)
			return NULL;
	}
	if (any)
		*err = *why;
	else
		error_set(err, -EINVAL, "use auto, kvm or bt", "engine '%s': unknown", name);
	return NULL;
}
