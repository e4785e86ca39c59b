/* SPDX-License-Identifier: MIT */
/* The control protocol: requests apart from their transport, and a hostile client on the socket. */
#include "tests/unit/unit.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/unit/loop_turn.h"
#include "tests/unit/scratch.h"
#include "vmm/machine/control.h"

struct guest {
	unsigned infos, pauses, resumes, stops, forced, hibernations;
	bool out_of_memory;
	int result;
};

static struct json_object *guest_info(void *arg)
{
	struct guest *g = arg;
	struct json_object *object;

	g->infos++;
	if (g->out_of_memory)
		return NULL;
	object = json_object_new_object();
	json_object_object_add(object, "name", json_object_new_string("g"));
	return object;
}

static char *guest_console(void *arg)
{
	struct guest *g = arg;

	return g->out_of_memory ? NULL : strdup("output");
}

static int guest_pause(void *arg, struct error *err)
{
	struct guest *g = arg;

	g->pauses++;
	return g->result ? error_set(err, g->result, "wait", "it is \"busy\"\n") : 0;
}

static int guest_resume(void *arg, struct error *err)
{
	struct guest *g = arg;

	(void)err;
	g->resumes++;
	return g->result;
}

static int guest_stop(void *arg, bool force, struct error *err)
{
	struct guest *g = arg;

	(void)err;
	g->stops++;
	g->forced += force;
	return g->result;
}

static int guest_hibernate(void *arg, struct error *err)
{
	struct guest *g = arg;

	(void)err;
	g->hibernations++;
	return g->result;
}

static const struct control_ops ops = {
	.info = guest_info,
	.console = guest_console,
	.pause = guest_pause,
	.resume = guest_resume,
	.stop = guest_stop,
	.hibernate = guest_hibernate,
};

/* One request. The answer must be JSON where it says so. */
static unsigned ask(struct guest *g, const char *method, const char *url, const char *body,
		    size_t size)
{
	char *answer = NULL;
	bool json;
	unsigned status = control_handle(&ops, g, method, url, body, size, &answer, &json);

	if (answer && json) {
		struct json_object *object = json_tokener_parse(answer);

		assert_true(json_object_is_type(object, json_type_object));
		assert_int_equal(json_object_object_get_ex(object, "error", NULL), status != 200);
		json_object_put(object);
	}
	assert_true(answer || g->out_of_memory);
	free(answer);
	return status;
}

static unsigned post(struct guest *g, const char *url, const char *body)
{
	return ask(g, "POST", url, body, strlen(body));
}

static void requests(void **state)
{
	struct guest g = {0};

	(void)state;
	assert_int_equal(ask(&g, "GET", "/v1/info", "", 0), 200);
	assert_int_equal(ask(&g, "GET", "/v1/console", "", 0), 200);
	assert_int_equal(post(&g, "/v1/pause", ""), 200);
	assert_int_equal(post(&g, "/v1/resume", "{}"), 200);
	assert_int_equal(post(&g, "/v1/hibernate", ""), 200);
	assert_int_equal(g.hibernations, 1);
	assert_int_equal(post(&g, "/v1/stop", ""), 200);
	assert_int_equal(g.forced, 0);
	assert_int_equal(post(&g, "/v1/stop", "{\"force\": false}"), 200);
	assert_int_equal(g.forced, 0);
	assert_int_equal(post(&g, "/v1/stop", " {\"force\": true, \"unknown\": 1} \n"), 200);
	assert_int_equal(g.forced, 1);
	assert_int_equal(g.infos + g.pauses + g.resumes + g.stops, 6);
}

static void failures(void **state)
{
	struct guest g = {.result = -EBUSY};

	(void)state;
	assert_int_equal(post(&g, "/v1/pause", ""), 409);
	assert_int_equal(post(&g, "/v1/resume", ""), 409);
	assert_int_equal(post(&g, "/v1/stop", ""), 409);
}

/* Found by this test: an information object for which there was no memory was answered "null". */
static void out_of_memory(void **state)
{
	struct guest g = {.out_of_memory = true};
	char *answer;
	bool json;

	(void)state;
	answer = NULL;
	control_handle(&ops, &g, "GET", "/v1/info", "", 0, &answer, &json);
	assert_null(answer);
	control_handle(&ops, &g, "GET", "/v1/console", "", 0, &answer, &json);
	assert_null(answer);
}

static void wrong_places(void **state)
{
	static const char *const urls[] = {
		"",         "/",         "/v1",         "/v1/",        "/v1/info/",
		"/v1/INFO", "//v1/info", "/v1/info%00", "/../v1/info", "\xff\xfe\"\\\n"};
	char huge[10000];
	struct guest g = {0};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(urls); i++)
		assert_int_equal(ask(&g, "GET", urls[i], "", 0), 404);
	memset(huge, 'u', sizeof(huge) - 1);
	huge[sizeof(huge) - 1] = '\0';
	assert_int_equal(ask(&g, "GET", huge, "", 0), 404);
	assert_int_equal(ask(&g, "POST", "/v1/info", "", 0), 405);
	assert_int_equal(ask(&g, "GET", "/v1/stop", "", 0), 405);
	assert_int_equal(ask(&g, "get", "/v1/info", "", 0), 405);
	assert_int_equal(ask(&g, "", "/v1/info", "", 0), 405);
	assert_int_equal(ask(&g, huge, "/v1/info", "", 0), 405);
	assert_int_equal(g.infos + g.stops, 0);
}

static void hostile_bodies(void **state)
{
	static const char *const bodies[] = {
		" ",
		"{",
		"}",
		"[]",
		"null",
		"true",
		"1",
		"\"force\"",
		"{\"force\"",
		"{\"force\":",
		"{\"force\": true",
		"{\"force\": 1}",
		"{\"force\": \"true\"}",
		"{\"force\": [true]}",
		"{\"force\": {}}",
		"{} {}",
		"{}x",
		"\xff\xfe",
		"{\"a\":\xff}x",
	};
	struct guest g = {0};
	char deep[4096], zeroes[64] = {0};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bodies); i++) {
		print_message("%s\n", bodies[i]);
		assert_int_equal(post(&g, "/v1/stop", bodies[i]), 400);
	}
	/* Without its end, so that a look behind the size would show. */
	assert_int_equal(ask(&g, "POST", "/v1/stop", "{\"force\":true}", 13), 400);
	assert_int_equal(ask(&g, "POST", "/v1/stop", zeroes, sizeof(zeroes)), 400);
	for (unsigned i = 0; i < sizeof(deep); i++)
		deep[i] = '[';
	assert_int_equal(ask(&g, "POST", "/v1/stop", deep, sizeof(deep)), 400);
	memcpy(deep, "{\"a\":", 5);
	assert_int_equal(ask(&g, "POST", "/v1/stop", deep, sizeof(deep)), 400);
	assert_int_equal(g.stops, 0);
}

/* Over the socket. The loop runs on a thread of its own. */

struct server {
	struct guest guest;
	struct scratch scratch;
	char path[SCRATCH_PATH_MAX];
	struct loop *loop;
	struct control *control;
	pthread_t thread;
	int hanging_fd; /* a connection to hang up at the end; -1: none */
};

static void *server_main(void *arg)
{
	struct server *s = arg;

	loop_run(s->loop);
	return NULL;
}

static int setup(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct server *s = calloc(1, sizeof(*s));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_non_null(s);
	s->hanging_fd = -1;
	scratch_make(&s->scratch);
	scratch_path(&s->scratch, "socket", s->path);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", s->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(loop_create(&s->loop), 0);
	assert_int_equal(control_create(s->loop, fd, &ops, &s->guest, &s->control), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, server_main, s), 0);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct server *s = *state;
	struct loop_task stop = {.run = loop_turn_stop, .arg = s->loop};

	loop_post(s->loop, &stop);
	pthread_join(s->thread, NULL);
	control_destroy(s->control);
	if (s->hanging_fd >= 0)
		close(s->hanging_fd);
	loop_destroy(s->loop);
	scratch_remove(&s->scratch);
	free(s);
	return 0;
}

static int dial(struct server *s)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", s->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void say(int fd, const char *bytes, size_t size)
{
	while (size) {
		ssize_t n = send(fd, bytes, size, MSG_NOSIGNAL);

		if (n <= 0)
			return; /* it hung up on us, as it may */
		bytes += n;
		size -= (size_t)n;
	}
}

/* Until the server closes, or `enough` was seen. */
static void hear(int fd, char *out, size_t size, const char *enough)
{
	size_t got = 0;

	out[0] = '\0';
	while (got < size - 1 && !(enough && strstr(out, enough))) {
		ssize_t n = recv(fd, out + got, size - 1 - got, 0);

		if (n <= 0)
			break;
		got += (size_t)n;
		out[got] = '\0';
	}
}

static void check_alive(struct server *s)
{
	static const char request[] =
		"GET /v1/info HTTP/1.1\r\nHost: l\r\nConnection: close\r\n\r\n";
	char answer[4096];
	int fd = dial(s);

	say(fd, request, strlen(request));
	hear(fd, answer, sizeof(answer), NULL);
	assert_non_null(strstr(answer, "HTTP/1.1 200"));
	assert_non_null(strstr(answer, "\"name\":\"g\""));
	close(fd);
}

static void served(void **state)
{
	static const char stop[] = "POST /v1/stop HTTP/1.1\r\nHost: l\r\nContent-Length: 15\r\n\r\n"
				   "{\"force\": true}";
	struct server *s = *state;
	char answer[4096];
	int fd;

	check_alive(s);
	fd = dial(s);
	/* Two requests on a connection, the second in bytes. */
	say(fd, stop, strlen(stop));
	hear(fd, answer, sizeof(answer), "}");
	assert_non_null(strstr(answer, "HTTP/1.1 200"));
	for (size_t i = 0; i < strlen(stop); i++)
		say(fd, stop + i, 1);
	hear(fd, answer, sizeof(answer), "}");
	assert_non_null(strstr(answer, "HTTP/1.1 200"));
	close(fd);
	assert_int_equal(s->guest.forced, 2);
}

static void hostile_clients(void **state)
{
	static const char *const openings[] = {
		"",
		"\r\n\r\n",
		"GET",
		"GET / HTTP/9.9\r\n\r\n",
		"\x16\x03\x01\x02",
		"POST /v1/stop HTTP/1.1\r\nHost: l\r\nContent-Length: -1\r\n\r\n",
		"POST /v1/stop HTTP/1.1\r\nHost: l\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"POST /v1/stop HTTP/1.1\r\nHost: l\r\nContent-Length: 100\r\n\r\n{",
		"POST /v1/stop HTTP/1.1\r\nHost: l\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	};
	struct server *s = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(openings); i++) {
		int fd = dial(s);

		say(fd, openings[i], strlen(openings[i]));
		check_alive(s); /* while the other hangs */
		close(fd);
	}
	assert_int_equal(s->guest.stops, 0);
}

static void body_too_long(void **state)
{
	static const char head[] = "POST /v1/stop HTTP/1.1\r\nHost: l\r\nConnection: close\r\n"
				   "Content-Length: 65537\r\n\r\n";
	struct server *s = *state;
	char *body = malloc(CONTROL_BODY_MAX + 1), answer[4096];
	int fd = dial(s);

	assert_non_null(body);
	memset(body, ' ', CONTROL_BODY_MAX + 1);
	say(fd, head, strlen(head));
	say(fd, body, CONTROL_BODY_MAX + 1);
	hear(fd, answer, sizeof(answer), NULL);
	assert_non_null(strstr(answer, "HTTP/1.1 413"));
	close(fd);
	free(body);
	assert_int_equal(s->guest.stops, 0);
	check_alive(s);
}

/* Destroyed with connections open, in the middle of a request. */
static void destroyed_in_the_middle(void **state)
{
	static const char start[] = "POST /v1/stop HTTP/1.1\r\nContent-Le";
	struct server *s = *state;

	s->hanging_fd = dial(s);
	say(s->hanging_fd, start, strlen(start));
	check_alive(s);
	/* teardown destroys it, and only then hangs up */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests),
		cmocka_unit_test(failures),
		cmocka_unit_test(out_of_memory),
		cmocka_unit_test(wrong_places),
		cmocka_unit_test(hostile_bodies),
		TEST(served),
		TEST(hostile_clients),
		TEST(body_too_long),
		TEST(destroyed_in_the_middle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
