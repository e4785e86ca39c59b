/* SPDX-License-Identifier: MIT */
/* SHA-256 of what lies in one piece; for others, nettle's own (thread: any; it cannot fail). */
#ifndef SNAPSHOT_DIGEST_H
#define SNAPSHOT_DIGEST_H

#include <nettle/sha2.h>

#include "snapshot/store.h"

static inline void digest_of(const void *bytes, size_t size, uint8_t out[STORE_DIGEST])
{
	struct sha256_ctx sum;

	sha256_init(&sum);
	sha256_update(&sum, size, bytes);
	sha256_digest(&sum, STORE_DIGEST, out);
}

#endif
