/* SPDX-License-Identifier: MIT */
/* Records: two files a guest in the state directory, NAME.json and NAME.log. */
#include "vmm/cli/record.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/instance.h"

#define RECORDS      "guests"
#define FACTS_SUFFIX ".json"
#define LOG_SUFFIX   ".log"

static int record_path(const char *name, const char *suffix, char *out, size_t size,
		       struct error *err)
{
	char file[TEXT_NAME_MAX + 16];

	snprintf(file, sizeof(file), "%s%s", name, suffix);
	return instance_state_path(RECORDS, file, out, size, err);
}

int record_log_path(const char *name, char *out, size_t size, struct error *err)
{
	return record_path(name, LOG_SUFFIX, out, size, err);
}

int record_check(struct error *err)
{
	char path[PATH_MAX];
	int fd, ret = instance_state_path(RECORDS, "", path, sizeof(path), err);

	if (ret)
		return ret;
	/* Without a name: nothing is left of it, whenever we end. */
	fd = open(path, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
		return 0; /* a file system that has no such files; the record will tell */
	if (fd < 0 || write(fd, "{}\n", 3) < 0)
		ret = -errno;
	if (fd >= 0)
		close(fd);
	if (ret)
		return error_set(err, ret,
				 ret == -ENOSPC ? "free some space" : "check its permissions",
				 "directory '%s': %s", path, error_name(ret));
	return 0;
}

int record_write(const char *name, struct json_object *facts, const char *log, size_t log_size,
		 struct error *err)
{
	const char *text = json_object_to_json_string_ext(facts, JSON_C_TO_STRING_PRETTY);
	char path[PATH_MAX];
	int ret;

	ret = record_path(name, LOG_SUFFIX, path, sizeof(path), err);
	if (ret == 0)
		ret = instance_write_file(path, log, log_size, err);
	if (ret == 0)
		ret = record_path(name, FACTS_SUFFIX, path, sizeof(path), err);
	if (ret == 0)
		ret = instance_write_file(path, text, strlen(text), err);
	return ret;
}

struct json_object *record_read(const char *name)
{
	char path[PATH_MAX];
	struct json_object *facts;

	if (!text_is_name(name) || record_path(name, FACTS_SUFFIX, path, sizeof(path), NULL) ||
	    access(path, R_OK) < 0)
		return NULL;
	facts = json_object_from_file(path);
	if (facts && !json_object_is_type(facts, json_type_object)) {
		json_object_put(facts);
		return NULL;
	}
	return facts;
}

int record_remove(const char *name)
{
	static const char *const suffixes[] = {FACTS_SUFFIX, LOG_SUFFIX, FACTS_SUFFIX ".new",
					       LOG_SUFFIX ".new"};
	char path[PATH_MAX];
	bool found = false;

	if (!text_is_name(name))
		return 0;
	for (unsigned i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
		if (record_path(name, suffixes[i], path, sizeof(path), NULL) == 0)
			found |= unlink(path) == 0;
	return found;
}

struct walk {
	void (*visit)(void *arg, const char *name, struct json_object *facts);
	void *arg;
};

static int walk_visit(void *arg, const char *name)
{
	struct walk *walk = arg;
	struct json_object *facts = record_read(name);

	if (facts)
		walk->visit(walk->arg, name, facts);
	json_object_put(facts);
	return 0;
}

int record_for_each(void (*visit)(void *arg, const char *name, struct json_object *facts),
		    void *arg, struct error *err)
{
	struct walk walk = {.visit = visit, .arg = arg};

	return instance_state_for_each(RECORDS, walk_visit, &walk, err);
}
