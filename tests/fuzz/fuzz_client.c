/* SPDX-License-Identifier: MIT */
/* What stands behind a guest's control socket may be anything: its answer to a command. */
#include "tests/fuzz/fuzz.h"
#include "vmm/cli/client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json_object *answer = NULL;
	char *text = malloc(size + 1);
	struct error err = {0};
	int ret;

	FUZZ_CHECK(text);
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	ret = client_parse_answer("guest", text, &answer, &err);
	if (ret == 0)
		FUZZ_CHECK(json_object_is_type(answer, json_type_object));
	else
		FUZZ_CHECK(!answer && ret < 0 && err.what[0]);
	json_object_put(answer);
	free(text);
	return 0;
}
