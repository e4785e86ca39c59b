/* SPDX-License-Identifier: MIT */
/* Backup streams in memory, and stores on simulated disks at either end. */
#ifndef TESTS_UNIT_BACKUP_FIXTURE_H
#define TESTS_UNIT_BACKUP_FIXTURE_H

#include "snapshot/backup.h"
#include "tests/sim_disk.h"
#include "tests/unit/store_fixture.h"

#define DISK_BLOCKS 24u
#define DISK_SIZE   (DISK_BLOCKS * STORE_BLOCK)

struct tape {
	uint8_t *bytes;
	size_t size, room, at;
	void (*meanwhile)(void *arg); /* with each transfer; NULL: nothing */
	void *arg;
};
int tape_write(void *arg, const void *bytes, size_t size);

struct side {
	struct sim_disk *disk;
	struct store *store;
	struct backup_report report; /* of the last import */
	struct error err;
};
void side_make(struct side *side);
void side_end(struct side *side);

/* Import it, with checks that every import passes. */
int take(struct side *side, const struct tape *tape, const char *name);
/* That must succeed. */
void assert_takes(struct side *side, const struct tape *tape, const char *name);
/* Export; `have` may be NULL. */
void give(struct store *store, const struct root *root, const struct backup_have *have,
	  struct tape *out);
void give_since(struct store *store, const struct root *root, const struct root *since,
		struct tape *out);

/* Nothing was published, and the sweep leaves nothing. */
void assert_empty(struct side *side);
int problem_count(struct store *store);

/* A volume "disk". */
struct volume *disk_make(struct store *store);
/* What a block of a root's first volume holds. */
uint32_t root_get(struct store *store, const char *name, uint64_t block);
/* "vm": block 2 of its disk is 22, block 9 of its memory 99, blocks 10 to 13 are zeroes; its blob
 * is "devices". */
void vm_make(struct store *store, struct root *root);

#endif
