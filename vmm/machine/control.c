/* SPDX-License-Identifier: MIT */
/* The control server: libmicrohttpd speaks HTTP, json-c JSON, a table knows the requests. */
#include "vmm/machine/control.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/checked.h"
#include "vmm/base/clock.h"

#define CONNECTIONS_MAX   16u
#define IDLE_TIMEOUT_S    30u
#define CONNECTION_MEMORY 16384u

struct control {
	struct loop *loop;
	const struct control_ops *ops;
	void *arg;
	struct MHD_Daemon *daemon;
	struct loop_source *source, *timer;
};

struct upload {
	size_t size;
	bool too_large;
	char bytes[CONTROL_BODY_MAX];
};

static unsigned answer_error(unsigned status, const struct error *err, int code, char **answer)
{
	char text[sizeof(err->what) + sizeof(err->remedy) + 4];
	struct json_object *object = json_object_new_object();

	error_format(err, code, text, sizeof(text));
	json_object_object_add(object, "error", json_object_new_string(text));
	*answer = strdup(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
	json_object_put(object);
	return status;
}

static unsigned answer_object(struct json_object *object, char **answer)
{
	if (!object) { /* out of memory: no answer */
		*answer = NULL;
		return MHD_HTTP_INTERNAL_SERVER_ERROR;
	}
	*answer = strdup(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY));
	json_object_put(object);
	return MHD_HTTP_OK;
}

static unsigned answer_result(int ret, const struct error *err, char **answer)
{
	if (ret)
		return answer_error(MHD_HTTP_CONFLICT, err, ret, answer);
	return answer_object(json_object_new_object(), answer);
}

static unsigned handle_info(const struct control_ops *ops, void *arg, struct json_object *body,
			    char **answer)
{
	(void)body;
	return answer_object(ops->info(arg), answer);
}

static unsigned handle_console(const struct control_ops *ops, void *arg, struct json_object *body,
			       char **answer)
{
	(void)body;
	*answer = ops->console(arg);
	return MHD_HTTP_OK;
}

static unsigned handle_pause(const struct control_ops *ops, void *arg, struct json_object *body,
			     char **answer)
{
	struct error err = {0};

	(void)body;
	return answer_result(ops->pause(arg, &err), &err, answer);
}

static unsigned handle_resume(const struct control_ops *ops, void *arg, struct json_object *body,
			      char **answer)
{
	struct error err = {0};

	(void)body;
	return answer_result(ops->resume(arg, &err), &err, answer);
}

static unsigned handle_hibernate(const struct control_ops *ops, void *arg, struct json_object *body,
				 char **answer)
{
	struct error err = {0};

	(void)body;
	return answer_result(ops->hibernate(arg, &err), &err, answer);
}

static unsigned handle_stop(const struct control_ops *ops, void *arg, struct json_object *body,
			    char **answer)
{
	struct json_object *force = NULL;
	struct error err = {0};

	json_object_object_get_ex(body, "force", &force);
	if (force && !json_object_is_type(force, json_type_boolean)) {
		error_set(&err, -EINVAL, "give true or false", "field 'force': not a boolean");
		return answer_error(MHD_HTTP_BAD_REQUEST, &err, -EINVAL, answer);
	}
	return answer_result(ops->stop(arg, json_object_get_boolean(force), &err), &err, answer);
}

static unsigned handle_snapshot_info(const struct control_ops *ops, void *arg,
				     struct json_object *body, char **answer)
{
	(void)body;
	return answer_object(ops->snapshot_info(arg), answer);
}

static unsigned handle_snapshot(const struct control_ops *ops, void *arg, struct json_object *body,
				char **answer)
{
	struct json_object *name = NULL, *comment = NULL, *disk_only = NULL;
	struct error err = {0};

	json_object_object_get_ex(body, "name", &name);
	json_object_object_get_ex(body, "comment", &comment);
	json_object_object_get_ex(body, "disk_only", &disk_only);
	if (!json_object_is_type(name, json_type_string) ||
	    (comment && !json_object_is_type(comment, json_type_string)) ||
	    (disk_only && !json_object_is_type(disk_only, json_type_boolean))) {
		error_set(&err, -EINVAL, "give name and comment as strings, disk_only as a boolean",
			  "snapshot: fields");
		return answer_error(MHD_HTTP_BAD_REQUEST, &err, -EINVAL, answer);
	}
	return answer_result(ops->snapshot(arg, json_object_get_string(name),
					   comment ? json_object_get_string(comment) : "",
					   json_object_get_boolean(disk_only), &err),
			     &err, answer);
}

static const struct {
	const char *method;
	const char *url;
	bool text; /* the answer is plain text */
	unsigned (*handle)(const struct control_ops *ops, void *arg, struct json_object *body,
			   char **answer);
} requests[] = {
	{"GET", "/v1/info", false, handle_info},
	{"GET", "/v1/console", true, handle_console},
	{"POST", "/v1/pause", false, handle_pause},
	{"POST", "/v1/resume", false, handle_resume},
	{"POST", "/v1/stop", false, handle_stop},
	{"POST", "/v1/snapshot", false, handle_snapshot},
	{"GET", "/v1/snapshot", false, handle_snapshot_info},
	{"POST", "/v1/hibernate", false, handle_hibernate},
};

/* Blanks up to the end? */
static bool is_blank(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r' && text[i] != '\n')
			return false;
	return true;
}

/* No body is an empty object. NULL where it is anything but one object. */
static struct json_object *body_parse(const char *body, size_t size)
{
	struct json_tokener *tokener;
	struct json_object *object;
	size_t end;

	if (size == 0)
		return json_object_new_object();
	tokener = json_tokener_new();
	if (!tokener)
		return NULL;
	object = json_tokener_parse_ex(tokener, body, (int)size);
	end = json_tokener_get_parse_end(tokener);
	if (json_tokener_get_error(tokener) != json_tokener_success ||
	    !is_blank(body + end, size - end) || !json_object_is_type(object, json_type_object)) {
		json_object_put(object);
		object = NULL;
	}
	json_tokener_free(tokener);
	return object;
}

unsigned control_handle(const struct control_ops *ops, void *arg, const char *method,
			const char *url, const char *body, size_t body_size, char **answer,
			bool *json)
{
	struct error err = {0};
	bool url_known = false;

	*json = true;
	for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
		struct json_object *object;
		unsigned status;

		if (strcmp(url, requests[i].url) != 0)
			continue;
		url_known = true;
		if (strcmp(method, requests[i].method) != 0)
			continue;
		object = body_parse(body, body_size);
		if (!object) {
			error_set(&err, -EINVAL, "send a JSON object", "request body: not JSON");
			return answer_error(MHD_HTTP_BAD_REQUEST, &err, -EINVAL, answer);
		}
		*json = !requests[i].text;
		status = requests[i].handle(ops, arg, object, answer);
		json_object_put(object);
		return status;
	}
	if (url_known) {
		error_set(&err, -EINVAL, NULL, "method %.16s: not for '%.64s'", method, url);
		return answer_error(MHD_HTTP_METHOD_NOT_ALLOWED, &err, -EINVAL, answer);
	}
	error_set(&err, -ENOENT, "see vmm/machine/control.h", "'%.64s': there is no such thing",
		  url);
	return answer_error(MHD_HTTP_NOT_FOUND, &err, -ENOENT, answer);
}

static enum MHD_Result respond(struct MHD_Connection *connection, unsigned status, char *answer,
			       bool json)
{
	struct MHD_Response *response;
	enum MHD_Result result;

	if (!answer)
		return MHD_NO; /* out of memory: hang up */
	response = MHD_create_response_from_buffer(strlen(answer), answer, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		free(answer);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
				json ? "application/json" : "text/plain; charset=utf-8");
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

/* libmicrohttpd calls this for the header, for each piece of the body, and at the end. */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
				  const char *method, const char *version, const char *data,
				  size_t *data_size, void **state)
{
	struct control *control = arg;
	struct upload *upload = *state;
	char *answer = NULL;
	unsigned status;
	bool json;

	(void)version;
	if (!upload) {
		*state = calloc(1, sizeof(*upload));
		return *state ? MHD_YES : MHD_NO;
	}
	if (*data_size) {
		if (*data_size > sizeof(upload->bytes) - upload->size) {
			upload->too_large = true;
		} else {
			memcpy(upload->bytes + upload->size, data, *data_size);
			upload->size += *data_size;
		}
		*data_size = 0;
		return MHD_YES;
	}
	if (upload->too_large) {
		struct error err = {0};

		error_set(&err, -E2BIG, NULL, "request body: longer than %u bytes",
			  CONTROL_BODY_MAX);
		status = answer_error(MHD_HTTP_CONTENT_TOO_LARGE, &err, -E2BIG, &answer);
		return respond(connection, status, answer, true);
	}
	status = control_handle(control->ops, control->arg, method, url, upload->bytes,
				upload->size, &answer, &json);
	return respond(connection, status, answer, json);
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **state,
			 enum MHD_RequestTerminationCode why)
{
	(void)arg;
	(void)connection;
	(void)why;
	free(*state);
}

/*
 * Let libmicrohttpd work until it waits for its descriptors or a time. What it could do at once is
 * left to the next turn: a client that sends without end must not hold up the loop.
 */
static void control_run(void *arg, uint32_t events)
{
	struct control *control = arg;
	MHD_UNSIGNED_LONG_LONG timeout;

	(void)events;
	MHD_run(control->daemon);
	if (MHD_get_timeout(control->daemon, &timeout) == MHD_YES)
		loop_timer_arm(control->timer, clock_monotonic_ns() + timeout * CLOCK_NS_PER_MS);
	else
		loop_timer_arm(control->timer, 0);
}

int control_create(struct loop *loop, int fd, const struct control_ops *ops, void *arg,
		   struct control **out)
{
	struct control *control = calloc(1, sizeof(*control));
	const union MHD_DaemonInfo *info;
	int ret = -ENOMEM;

	if (!control) {
		close(fd);
		return ret;
	}
	*control = (struct control){.loop = loop, .ops = ops, .arg = arg};
	control->daemon = MHD_start_daemon(
		MHD_USE_EPOLL, 0, NULL, NULL, on_request, control, MHD_OPTION_LISTEN_SOCKET, fd,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_CONNECTION_LIMIT,
		CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_TIMEOUT_S,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_END);
	if (!control->daemon) {
		close(fd);
		goto fail;
	}
	info = MHD_get_daemon_info(control->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info)
		goto fail;
	ret = loop_add_timer(loop, control_run, control, &control->timer);
	if (ret == 0)
		ret = loop_add_fd(loop, info->epoll_fd, EPOLLIN, control_run, control,
				  &control->source);
	if (ret)
		goto fail;
	*out = control;
	return 0;
fail:
	control_destroy(control);
	return ret;
}

void control_destroy(struct control *control)
{
	if (!control)
		return;
	loop_remove(control->source);
	loop_remove(control->timer);
	if (control->daemon)
		MHD_stop_daemon(control->daemon); /* closes the listening socket */
	free(control);
}
