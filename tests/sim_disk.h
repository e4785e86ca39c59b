/* SPDX-License-Identifier: MIT */
/*
 * A disk in memory that crashes. What is written, and names that are made, renamed or removed, are
 * seen at once, but are lost in a power failure, each sector and each name by itself, unless they
 * were synced. One disk may be used by several processes (each a struct store_io) one after the
 * other or side by side, but by one thread.
 */
#ifndef TESTS_SIM_DISK_H
#define TESTS_SIM_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "snapshot/io.h"

struct sim_disk;

struct sim_disk *sim_disk_create(uint64_t seed);
void sim_disk_destroy(struct sim_disk *disk);
/* A process: its files close, and its locks go, with store_io_destroy. */
struct store_io *sim_disk_process(struct sim_disk *disk);

/* Calls so far that change something, and all calls. */
unsigned sim_disk_changes(const struct sim_disk *disk);
unsigned sim_disk_calls(const struct sim_disk *disk);

/* From the `change`th change on (the first is 0) nothing is done any more: -EIO. */
void sim_disk_stop_at(struct sim_disk *disk, unsigned change);
bool sim_disk_has_stopped(const struct sim_disk *disk);

/* The `call`th call from now on (the first is 0) fails, once: */
enum sim_fault {
	SIM_FAULT_NONE,
	SIM_FAULT_EIO,
	SIM_FAULT_ENOSPC,
	SIM_FAULT_EINTR,
	SIM_FAULT_SHORT
};
void sim_disk_fail_at(struct sim_disk *disk, unsigned call, enum sim_fault fault);
/* Was that call made, and could it fail so? */
bool sim_disk_has_failed(const struct sim_disk *disk);

/* What survives of what was not synced. */
enum sim_survival { SIM_NOTHING, SIM_EVERYTHING, SIM_PREFIX, SIM_ANYTHING };
/* Power off and on again; all processes must be destroyed. */
void sim_disk_power_cycle(struct sim_disk *disk, enum sim_survival survival);
/* Only the processes died: go on. */
void sim_disk_revive(struct sim_disk *disk);

/* Flip one bit of a file. False if it is not there or too short. */
bool sim_disk_flip(struct sim_disk *disk, const char *path, uint64_t bit);
/* Number of files below a folder. */
unsigned sim_disk_count(struct sim_disk *disk, const char *folder);

#endif
