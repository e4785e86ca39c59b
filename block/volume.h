/* SPDX-License-Identifier: MIT */
/* What is special about the block format "volume": snapshots need the volume itself. */
#ifndef BLOCK_VOLUME_H
#define BLOCK_VOLUME_H

#include "block/block.h"

struct volume;

/* The volume of the store that this is, or NULL for other formats. Not for I/O. */
struct volume *block_volume(struct block *block);

#endif
