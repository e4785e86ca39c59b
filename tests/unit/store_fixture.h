/* SPDX-License-Identifier: MIT */
/* A store in a directory of its own on this host, and a runtime directory. */
#ifndef TESTS_UNIT_STORE_FIXTURE_H
#define TESTS_UNIT_STORE_FIXTURE_H

#include "snapshot/root.h"
#include "snapshot/store.h"
#include "snapshot/volume.h"

struct store_fixture {
	char directory[64], data[80], run[80];
	struct store *store;
};

int store_fixture_setup(void **state);
int store_fixture_teardown(void **state);
/* Another process's view: with a runtime directory of another name, or none. */
struct store *store_fixture_open(const struct store_fixture *f, const char *run);

/* A block that holds this number over and over. */
void block_fill(uint8_t block[STORE_BLOCK], uint32_t value);
void volume_put(struct volume *volume, uint64_t block, uint32_t value);
/* The number that a block holds; fails the test where it holds several. */
uint32_t volume_get(struct volume *volume, uint64_t block);
/* Open to write. */
struct volume *volume_of(struct store *store, const char *name);
/* Switch, and publish a root of this name. */
void snapshot_take(struct store *store, struct volume *volume, const char *name, struct root *out);

#endif
