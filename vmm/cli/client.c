/* SPDX-License-Identifier: MIT */
/*
 * A minimal HTTP/1.1 client: one request a connection, the answer's body ends with the connection.
 * A library would do more, and cost every start of a guest the loading of two dozen libraries.
 */
#include "vmm/cli/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "vmm/base/instance.h"
#include "vmm/base/text.h"

#define ANSWER_MAX (1u << 20)
#define TIMEOUT_S  10

static int send_all(int fd, const char *text, size_t size)
{
	while (size) {
		ssize_t n = send(fd, text, size, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		size -= (size_t)n;
	}
	return 0;
}

/* All that comes, with a NUL behind it. */
static int receive_all(int fd, char **out)
{
	char *text = malloc(ANSWER_MAX + 1);
	size_t size = 0;

	if (!text)
		return -ENOMEM;
	for (;;) {
		ssize_t n = recv(fd, text + size, ANSWER_MAX - size, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || size == ANSWER_MAX) {
			int ret = n < 0 ? -errno : -E2BIG;

			free(text);
			return ret;
		}
		if (n == 0)
			break;
		size += (size_t)n;
	}
	text[size] = '\0';
	*out = text;
	return 0;
}

static int exchange(int fd, const char *method, const char *url, const char *body, char **out)
{
	struct timeval timeout = {.tv_sec = TIMEOUT_S};
	char request[1024];
	int n, ret;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	n = snprintf(request, sizeof(request),
		     "%s %s HTTP/1.1\r\nHost: lodge\r\nConnection: close\r\nContent-Length: "
		     "%zu\r\n\r\n%s",
		     method, url, body ? strlen(body) : 0, body ? body : "");
	if (n < 0 || (size_t)n >= sizeof(request))
		return -E2BIG;
	ret = send_all(fd, request, (size_t)n);
	return ret ? ret : receive_all(fd, out); /* sets *out on 0 */
}

/* "HTTP/1.1 200 OK" and what is behind the empty line. */
static int answer_split(const char *text, unsigned *status, const char **body)
{
	const char *end = strstr(text, "\r\n\r\n");
	uint64_t number;
	char digits[4];

	if (strncmp(text, "HTTP/1.1 ", 9) != 0 || !end)
		return -EPROTO;
	snprintf(digits, sizeof(digits), "%.3s", text + 9);
	if (text_to_number(digits, 100, 599, &number))
		return -EPROTO;
	*status = (unsigned)number;
	*body = end + 4;
	return 0;
}

int client_parse_answer(const char *name, const char *text, struct json_object **answer,
			struct error *err)
{
	struct json_object *object, *message = NULL;
	const char *body;
	unsigned status;

	if (answer_split(text, &status, &body) || !(object = json_tokener_parse(body)))
		return error_set(err, -EPROTO, "is it another version of lodge?",
				 "guest '%s': its answer makes no sense", name);
	if (!json_object_is_type(object, json_type_object)) {
		json_object_put(object);
		return error_set(err, -EPROTO, "is it another version of lodge?",
				 "guest '%s': its answer is no JSON object", name);
	}
	if (status == 200) {
		*answer = object;
		return 0;
	}
	json_object_object_get_ex(object, "error", &message);
	error_set(err, -EINVAL, NULL, "guest '%s': %s", name,
		  message ? json_object_get_string(message) : "it refused");
	json_object_put(object);
	return -EINVAL;
}

int client_request(const char *name, const char *method, const char *url, const char *body,
		   struct json_object **answer, struct error *err)
{
	char *text = NULL;
	int fd = instance_connect(name, INSTANCE_CONTROL, err);
	int ret;

	if (fd < 0)
		return fd;
	ret = exchange(fd, method, url, body, &text);
	close(fd);
	if (ret || !text)
		return error_set(err, ret, "it may be busy or ending: try again",
				 "guest '%s': no answer: %s", name, error_name(ret));
	ret = client_parse_answer(name, text, answer, err);
	free(text);
	return ret;
}
