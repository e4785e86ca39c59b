/* SPDX-License-Identifier: MIT */
/* A world's operations, for its scripts. What they say leaves the world broken where it fails. */
#ifndef TESTS_STORE_WORLD_IMPL_H
#define TESTS_STORE_WORLD_IMPL_H

#include "tests/store_world.h"

/* What an operation says: after a failure the model knows less. */
bool world_done(struct world *w, int ret);

void op_create(struct world *w, unsigned i);
void op_write(struct world *w, struct world_volume *v, bool zero);
void op_sweep(struct world *w);
void op_snapshot(struct world *w, struct world_volume *v);
void op_root_remove(struct world *w);
void op_volume_remove(struct world *w, unsigned i);
/* store_world_backup.c */
void op_export(struct world *w, unsigned i);
void op_import(struct world *w, unsigned i);

#endif
