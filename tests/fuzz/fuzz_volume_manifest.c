/* SPDX-License-Identifier: MIT */
/* Anything as a volume's manifest. */
#include "tests/fuzz/fuzz.h"

#include "snapshot/volume.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct volume_manifest m;
	struct error err = {0};
	/* Exactly as long as the input, so that a sanitizer sees what lies behind it. */
	int ret = volume_manifest_parse("fuzz", (const char *)data, size, &m, &err);

	FUZZ_CHECK(ret == 0 || (ret < 0 && err.what[0]));
	if (ret)
		return 0;
	FUZZ_CHECK(m.size && m.size % VOLUME_SECTOR == 0 &&
		   m.size <= STORE_BLOCKS_MAX * STORE_BLOCK);
	FUZZ_CHECK(m.layer_count >= 1 && m.layer_count <= STORE_LAYERS_MAX);
	FUZZ_CHECK(!m.base.path[0] || m.base.path[0] == '/');
	return 0;
}
