/* SPDX-License-Identifier: MIT */
#include "vmm/cli/guest_snapshots.h"

#include <errno.h>

#include "vmm/base/log.h"
#include "vmm/cli/guest_config.h"
#include "vmm/cli/store_open.h"
#include "vmm/cli/table.h"

int guest_snapshots_open_store(struct guest_snapshots *s, struct error *err)
{
	return s->store ? 0 : cli_store_open(&s->store, err);
}

int guest_snapshots_open(struct guest_snapshots *s, struct error *err)
{
	int ret = guest_snapshots_open_store(s, err);

	if (ret == 0 && !s->snapshots)
		ret = snapshot_create(s->machine, s->store, &s->snapshots, err);
	return ret;
}

void guest_snapshots_close(struct guest_snapshots *s)
{
	snapshot_destroy(s->snapshots);
	s->snapshots = NULL;
}

static void on_done(void *arg, const struct snapshot_result *result)
{
	struct guest_snapshots *s = arg;
	char line[sizeof(struct error)];

	s->state = SNAPSHOT_ENDED;
	s->last = *result;
	if (result->code) {
		error_format(&result->error, result->code, line, sizeof(line));
		log_error("%s '%s': %s", s->hibernating ? "hibernation of" : "snapshot",
			  result->name, line);
	} else if (s->hibernating) {
		s->hibernated(s->arg);
	}
	s->hibernating = false;
}

static int begin(struct guest_snapshots *s, struct snapshot_request *request, struct error *err)
{
	int ret;

	if (s->plan->options->command_count)
		return error_set(err, -EINVAL, "start it without a command",
				 "guest '%s': its command's streams are this process's own",
				 s->name);
	ret = guest_snapshots_open(s, err);
	if (ret)
		return ret;
	request->config = guest_config_make(s->plan, s->name);
	ret = snapshot_begin(s->snapshots, request, on_done, s, err);
	if (ret == 0)
		s->state = SNAPSHOT_PENDING;
	return ret;
}

int guest_snapshots_take(struct guest_snapshots *s, const char *name, const char *comment,
			 bool disk_only, struct error *err)
{
	struct snapshot_request request = {
		.name = name, .comment = comment, .kind = disk_only ? ROOT_DISK : ROOT_VM};

	if (!text_is_name(name))
		return error_set(err, -EINVAL, "use letters, digits, . _ and -",
				 "snapshot '%s': no such name can be", name);
	return begin(s, &request, err);
}

int guest_snapshots_hibernate(struct guest_snapshots *s, struct error *err)
{
	struct snapshot_request request = {
		.name = s->name, .comment = "", .kind = ROOT_HIBERNATION};
	int ret = begin(s, &request, err);

	s->hibernating |= ret == 0;
	return ret;
}

struct json_object *guest_snapshots_info(const struct guest_snapshots *s)
{
	const struct snapshot_result *r = &s->last;
	struct json_object *info = json_object_new_object();
	char text[sizeof(struct error)];

	if (s->state != SNAPSHOT_ENDED) {
		json_add_text(info, "state", s->state == SNAPSHOT_NONE ? "none" : "pending");
		return info;
	}
	json_add_text(info, "state", r->code ? "failed" : "complete");
	json_add_text(info, "name", r->name);
	if (r->code) {
		error_format(&r->error, r->code, text, sizeof(text));
		json_add_text(info, "error", text);
		return info;
	}
	store_id_text(&r->id, text);
	json_add_text(info, "id", text);
	json_add_number(info, "pause_ns", r->pause_ns);
	json_add_number(info, "total_ns", r->total_ns);
	json_add_number(info, "lag_ns", r->lag_ns);
	json_add_number(info, "memory_bytes", r->memory_bytes);
	json_add_number(info, "state_bytes", r->state_bytes);
	return info;
}

void guest_snapshots_started(struct guest_snapshots *s)
{
	struct error err = {0};
	struct root root;
	char line[sizeof(err)];
	int ret;

	if (!s->plan->from)
		return;
	ret = root_find_kind(s->store, ROOT_HIBERNATION, s->name, &root, &err);
	if (ret == -ENOENT)
		return;
	if (ret == 0) {
		ret = root_remove(s->store, &root.id, &err);
		root_clear(&root);
	}
	if (ret == 0)
		return;
	error_format(&err, ret, line, sizeof(line));
	log_error("guest '%s' goes on, and its hibernation stays: %s", s->name, line);
}
