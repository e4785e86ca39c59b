/* SPDX-License-Identifier: MIT */
/*
 * A store beside a model of what must be in it: for each sector of each volume the value that is
 * seen, and all those that a power failure may bring back; for each root its content. Operations
 * are chosen by chance from a seed, so that a run can be repeated and stopped at any point.
 */
#ifndef TESTS_STORE_WORLD_H
#define TESTS_STORE_WORLD_H

#include "snapshot/root.h"
#include "snapshot/store.h"
#include "snapshot/volume.h"
#include "tests/sim_disk.h"

#define WORLD_VOLUMES 3u
#define WORLD_ROOTS   16u
#define WORLD_BACKUPS 2u
#define WORLD_SIZE    (24 * STORE_BLOCK - 3 * VOLUME_SECTOR)
#define WORLD_SECTORS (WORLD_SIZE / VOLUME_SECTOR)
#define WORLD_BLOCKS  24u
#define WORLD_VALUES  12u /* of one sector, between flushes */

enum world_is { WORLD_ABSENT, WORLD_THERE, WORLD_MAYBE };

struct world_volume {
	enum world_is is;
	struct volume *open;
	bool has_base;
	uint32_t value[WORLD_SECTORS];
	uint32_t other[WORLD_SECTORS]; /* what it is as well while an operation is under way */
	uint32_t values[WORLD_SECTORS][WORLD_VALUES]; /* with it and the durable one */
	uint8_t value_count[WORLD_SECTORS];
};

struct world_root {
	enum world_is is;
	char name[16];
	bool has_base;
	uint32_t value[WORLD_SECTORS];
	bool has_memory; /* blocks: the value of the first sector of each */
	uint32_t memory[WORLD_BLOCKS];
};

/* A root that was exported, and what it is. */
struct world_backup {
	uint8_t *bytes; /* NULL: none was */
	size_t size, at;
	struct world_root root;
};

struct world {
	struct sim_disk *disk; /* NULL: io is made by `process` */
	struct store_io *(*process)(void *arg);
	void *arg;
	uint64_t random;
	uint32_t next_value;
	unsigned next_root;
	struct store *store;
	struct world_volume volume[WORLD_VOLUMES];
	struct world_root root[WORLD_ROOTS];
	struct world_backup backup[WORLD_BACKUPS]; /* the second has only what the first has not */
	bool broken; /* an operation failed: the world stands still until it is recovered */
	const char *doing;
};

struct world *world_create(uint64_t seed, struct sim_disk *disk,
			   struct store_io *(*process)(void *arg), void *arg);
void world_destroy(struct world *w);

/* A new process opens the store. 0 or -errno. */
int world_begin(struct world *w);
/* The process ends: orderly, if nothing is broken. */
void world_end(struct world *w);

/* One operation by chance. */
void world_step(struct world *w);
/* One of each that matters for crashes. Stops when the world breaks. */
void world_script(struct world *w);
/* Likewise of exports and imports, into a store from which all went meanwhile. */
void world_script_backup(struct world *w);

/*
 * Compare all of it with the model; what may be either becomes what it is. `lost`: not only the
 * processes ended, so that what was not flushed may be gone. Ends with everything open again.
 * Aborts with words on a difference. False where the world broke over it (the disk stopped again).
 */
bool world_recover(struct world *w, bool lost);

#endif
