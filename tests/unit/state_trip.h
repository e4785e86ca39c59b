/* SPDX-License-Identifier: MIT */
/* Saved state to and fro, for tests of what saves itself by a function of this kind. */
#ifndef TESTS_UNIT_STATE_TRIP_H
#define TESTS_UNIT_STATE_TRIP_H

#include <stddef.h>
#include <stdint.h>

#include "snapshot/codec.h"

typedef void state_fn(void *thing, struct codec *codec);

struct state_bytes {
	uint8_t *bytes;
	size_t size;
};

/* The test fails where it cannot be saved. The caller frees .bytes. */
struct state_bytes state_save(state_fn *fn, void *thing);
/* 0 or -errno, with the words. */
int state_load(state_fn *fn, void *thing, const struct state_bytes *state, struct error *err);
/* A virtio device, with instance number 7. */
void state_virtio(void *vdev, struct codec *codec);

/* Into a thing from a state, which is freed; saved again it is the same. */
void state_arrive(state_fn *fn, void *thing, struct state_bytes *state);
/* Loads, saves again, and the test fails where the bytes differ. */
void state_trip(state_fn *fn, void *from, void *to);

/*
 * Hostile versions of a state against a thing that `make` makes anew for each: every byte changed
 * in turn, and every length cut off. Nothing is asked of them but that they end, and that what does
 * load can be saved.
 */
void state_torture(state_fn *fn, const struct state_bytes *state, void *(*make)(void *arg),
		   void (*unmake)(void *thing), void *arg);

#endif
