/* SPDX-License-Identifier: MIT */
/* A request to the control server: "METHOD\nURL\nBODY". The answer must be what it says it is. */
#include <stdio.h>

#include "tests/fuzz/fuzz.h"
#include "vmm/machine/control.h"

static struct json_object *info(void *arg)
{
	(void)arg;
	return json_object_new_object();
}

static char *console(void *arg)
{
	(void)arg;
	return strdup("text");
}

static int act(void *arg, struct error *err)
{
	(void)arg;
	(void)err;
	return 0;
}

static int refuse(void *arg, struct error *err)
{
	(void)arg;
	return error_set(err, -1, "wait", "not now");
}

static int stop(void *arg, bool force, struct error *err)
{
	(void)arg;
	return force ? 0 : error_set(err, -1, NULL, "no power button");
}

static int snapshot(void *arg, const char *name, const char *comment, bool disk_only,
		    struct error *err)
{
	(void)arg;
	FUZZ_CHECK(name && comment);
	return disk_only ? 0 : error_set(err, -1, NULL, "no room for '%s'", name);
}

static const struct control_ops ops = {.info = info,
				       .console = console,
				       .pause = act,
				       .resume = refuse,
				       .stop = stop,
				       .snapshot = snapshot,
				       .snapshot_info = info,
				       .hibernate = refuse};

/* Up to a line's end, as a string. */
static char *line_take(struct input *in)
{
	const uint8_t *end = in->left ? memchr(in->at, '\n', in->left) : NULL;
	size_t length = end ? (size_t)(end - in->at) : in->left;
	char *line = malloc(length + 1);

	FUZZ_CHECK(line);
	input_bytes(in, line, length);
	line[length] = '\0';
	if (end)
		input_u8(in);
	return line;
}

static void answer_check(unsigned status, const char *answer, bool json)
{
	struct json_object *object, *error = NULL;

	FUZZ_CHECK(answer);
	if (!json) {
		FUZZ_CHECK(status == 200);
		return;
	}
	object = json_tokener_parse(answer);
	FUZZ_CHECK(json_object_is_type(object, json_type_object));
	if (status != 200)
		FUZZ_CHECK(status >= 400 && status < 500 &&
			   json_object_object_get_ex(object, "error", &error) &&
			   json_object_is_type(error, json_type_string));
	json_object_put(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	char *method = line_take(&in), *url = line_take(&in), *answer = NULL;
	/* A copy of its own: nothing may be read behind it. */
	char *body = malloc(in.left ? in.left : 1);
	bool json = false;
	unsigned status;

	FUZZ_CHECK(body);
	if (in.left)
		memcpy(body, in.at, in.left);
	status = control_handle(&ops, NULL, method, url, body, in.left, &answer, &json);
	answer_check(status, answer, json);
	free(answer);
	free(body);
	free(url);
	free(method);
	return 0;
}
