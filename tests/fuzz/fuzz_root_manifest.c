/* SPDX-License-Identifier: MIT */
/* Anything as a root's manifest; what is accepted is written and read again, and is the same. */
#include "tests/fuzz/fuzz.h"

#include "snapshot/root.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct root root, again;
	struct error err = {0};
	char *text, *second;
	int ret = root_parse((const char *)data, size, &root, &err);

	FUZZ_CHECK(ret == 0 || (ret < 0 && err.what[0]));
	if (ret)
		return 0;
	FUZZ_CHECK(root.volume_count <= ROOT_VOLUMES_MAX);
	FUZZ_CHECK(root.memory_layer_count <= STORE_LAYERS_MAX);
	FUZZ_CHECK(text_is_name(root.name) && !store_id_is_zero(&root.id));
	FUZZ_CHECK(root_format(&root, &text, NULL) == 0);
	FUZZ_CHECK(root_parse(text, strlen(text), &again, NULL) == 0);
	FUZZ_CHECK(root_format(&again, &second, NULL) == 0);
	FUZZ_CHECK(strcmp(text, second) == 0);
	free(text);
	free(second);
	root_clear(&root);
	root_clear(&again);
	return 0;
}
