/* SPDX-License-Identifier: MIT */
/* lodge stop, kill, pause and resume: one request each; stop then waits. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/clock.h"
#include "vmm/base/instance.h"
#include "vmm/base/log.h"
#include "vmm/cli/cli.h"
#include "vmm/cli/client.h"

#define POLL_NS      (20 * CLOCK_NS_PER_MS)
#define FORCE_WAIT_S 10u

static int request(const char *name, const char *url, const char *body, struct error *err)
{
	struct json_object *answer = NULL;
	int ret = client_request(name, "POST", url, body, &answer, err);

	json_object_put(answer);
	return ret;
}

/* Until the guest's process let go of the name. */
static bool wait_for_end(const char *name, unsigned seconds)
{
	uint64_t deadline = clock_monotonic_ns() + seconds * CLOCK_NS_PER_S;
	struct timespec pause = {.tv_nsec = POLL_NS};

	while (instance_is_running(name, NULL)) {
		if (clock_monotonic_ns() >= deadline)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

static int kill_process(const char *name, struct error *err)
{
	pid_t pid = 0;

	if (!instance_is_running(name, &pid))
		return 0;
	if (pid <= 0)
		return error_set(err, -ESRCH, "try again", "guest '%s': its pid is not known yet",
				 name);
	if (kill(pid, SIGKILL) < 0 && errno != ESRCH)
		return error_set(err, -errno, NULL, "guest '%s': kill %d: %s", name, (int)pid,
				 error_name(-errno));
	return 0;
}

/* First by request, so that it cleans up and leaves a record; a process that hangs is killed. */
static int end_now(const char *name, struct error *err)
{
	struct error ignored = {0};
	int ret = 0;

	if (request(name, "/v1/stop", "{\"force\": true}", &ignored) ||
	    !wait_for_end(name, FORCE_WAIT_S))
		ret = kill_process(name, err);
	if (ret == 0 && !wait_for_end(name, FORCE_WAIT_S))
		ret = error_set(err, -EBUSY, "see its process", "guest '%s': it does not end",
				name);
	return ret;
}

static int check_running(const char *name, struct error *err)
{
	if (instance_is_running(name, NULL))
		return 0;
	return error_set(err, -ENOENT, "see `lodge ls`", "guest '%s': it is not running", name);
}

int cmd_stop(const struct options *options)
{
	const char *name = options->word[0];
	struct error err = {0};
	int ret = check_running(name, &err);

	if (ret)
		return cli_fail(&err, ret, EXIT_HOST);
	if (!options->force) {
		ret = request(name, "/v1/stop", NULL, &err);
		if (ret)
			return cli_fail(&err, ret, EXIT_HOST);
		if (wait_for_end(name, options->timeout_s))
			return 0;
		log_warn("guest '%s' did not power off within %u s and is forced", name,
			 options->timeout_s);
	}
	ret = end_now(name, &err);
	return ret ? cli_fail(&err, ret, EXIT_HOST) : 0;
}

int cmd_kill(const struct options *options)
{
	struct error err = {0};
	int ret = check_running(options->word[0], &err);

	if (ret == 0)
		ret = end_now(options->word[0], &err);
	return ret ? cli_fail(&err, ret, EXIT_HOST) : 0;
}

static int simple(const struct options *options, const char *url)
{
	struct error err = {0};
	int ret = request(options->word[0], url, NULL, &err);

	return ret ? cli_fail(&err, ret, EXIT_HOST) : 0;
}

int cmd_pause(const struct options *options)
{
	return simple(options, "/v1/pause");
}

int cmd_resume(const struct options *options)
{
	return simple(options, "/v1/resume");
}
