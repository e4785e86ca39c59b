/* SPDX-License-Identifier: MIT */
/*
 * Worlds. Two processes: one that unshares its namespaces, and its child, which is the first one of
 * a PID namespace and runs the scenario. If the drill is killed both are (PR_SET_PDEATHSIG), and
 * with the child all that it started; mounts, interfaces and rules go with their namespaces.
 *
 * In there the directories of guests and of the store's runtime files, and of guests' records, are
 * empty ones in memory, the drill's directory is at drills/ of the state directory, and the store
 * in it is the store. Others than root use a user namespace, in which they are who they were.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/network.h"
#include "vmm/base/instance.h"
#include "vmm/cli/drill.h"
#include "vmm/cli/store_open.h"

#define REPORT_MAX 65536u

/* The first process. */

static int file_say(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret = 0;

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		ret = -errno;
	if (fd >= 0)
		close(fd);
	return ret;
}

static int user_map(unsigned uid, unsigned gid)
{
	char map[64];
	int ret = file_say("/proc/self/setgroups", "deny");

	snprintf(map, sizeof(map), "%u %u 1", uid, uid);
	if (ret == 0)
		ret = file_say("/proc/self/uid_map", map);
	snprintf(map, sizeof(map), "%u %u 1", gid, gid);
	return ret ? ret : file_say("/proc/self/gid_map", map);
}

/* Programs that this one runs may change the namespaces' interfaces. */
static int capability_keep(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	data[0].inheritable |= 1u << CAP_NET_ADMIN;
	if (syscall(SYS_capset, &header, data) < 0 ||
	    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN, 0, 0) < 0)
		return -errno;
	return 0;
}

static int namespaces_make(struct error *err)
{
	int flags = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC, ret = 0;
	unsigned uid = geteuid(), gid = getegid();

	if (unshare(uid == 0 ? flags : flags | CLONE_NEWUSER) < 0)
		ret = -errno;
	if (ret == 0 && uid)
		ret = user_map(uid, gid);
	if (ret == 0 && uid)
		ret = capability_keep();
	return ret ? error_set(err, ret,
			       uid ? "be root, or have the host allow user namespaces"
				   : "run it where namespaces may be made",
			       "drill: namespaces of its own: %s", error_name(ret))
		   : 0;
}

/* The second one. */

static int hide(const char *path, struct error *err)
{
	if (mount("lodge", path, "tmpfs", MS_NOSUID | MS_NODEV, "mode=700") < 0)
		return error_set(err, -errno, NULL, "directory '%s': mount: %s", path,
				 error_name(-errno));
	return 0;
}

int drill_world_bind(const char *from, const char *to, struct error *err)
{
	if (mount(from, to, NULL, MS_BIND | MS_REC, NULL) < 0)
		return error_set(err, -errno, NULL, "'%s' at '%s': mount: %s", from, to,
				 error_name(-errno));
	return 0;
}

static int runtime_hide(struct error *err)
{
	char path[PATH_MAX];
	int ret = instance_runtime_path(path, sizeof(path), err);

	if (ret == 0)
		ret = hide(path, err);
	if (ret == 0)
		ret = instance_store_path(path, sizeof(path), err);
	return ret ? ret : hide(path, err);
}

/* In this order: the drill's directory is in the store's, which is covered then. */
static int state_bind(struct drill_run *run, struct error *err)
{
	char guests[PATH_MAX], own[PATH_MAX];
	int ret = instance_state_path(DRILLS, "", run->work, sizeof(run->work), err);

	if (ret == 0)
		ret = instance_state_path("guests", "", guests, sizeof(guests), err);
	if (ret == 0)
		ret = drill_world_bind(run->drill->work, run->work, err);
	if (ret == 0)
		ret = drill_join(own, run->work, "store", err);
	if (ret == 0)
		ret = drill_world_store(own, err);
	return ret ? ret : hide(guests, err);
}

static int world_make(struct drill_run *run, struct error *err)
{
	int ret = 0;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return error_set(err, -errno, NULL, "mounts: %s", error_name(-errno));
	/* A container may forbid it to others than root, who hardly miss it. */
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 &&
	    geteuid() == 0)
		return error_set(err, -errno, NULL, "/proc: mount: %s", error_name(-errno));
	/* These know what networks are there, and which guests are on them. */
	ret = network_isolate(run->drill->outside, err);
	if (ret == 0)
		ret = runtime_hide(err);
	return ret ? ret : state_bind(run, err);
}

int drill_join(char out[PATH_MAX], const char *directory, const char *file, struct error *err)
{
	if (snprintf(out, PATH_MAX, "%s/%s", directory, file) >= PATH_MAX)
		return error_set(err, -ENAMETOOLONG, NULL, "'%s/%s': too long", directory, file);
	return 0;
}

int drill_world_store(const char *directory, struct error *err)
{
	char store[PATH_MAX];
	int ret = instance_state_path("store", "", store, sizeof(store), err);

	return ret ? ret : drill_world_bind(directory, store, err);
}

int drill_world_reopen(struct drill_run *run, struct error *err)
{
	store_close(run->store);
	run->store = NULL;
	return cli_store_open(&run->store, err);
}

int drill_world_find(struct drill_run *run, struct error *err)
{
	root_clear(&run->root);
	return root_find(run->store, run->drill->root.name, &run->root, err);
}

/* What is in the host's memory of it is read anew: a disaster does not leave that. */
static int file_forget(void *arg, const char *path)
{
	int fd = openat(*(int *)arg, path, O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		close(fd);
	}
	return 0;
}

static int world_begin(struct drill_run *run, struct error *err)
{
	char path[PATH_MAX];
	int store, ret = world_make(run, err);

	if (ret == 0)
		ret = drill_world_reopen(run, err);
	if (ret == 0)
		ret = drill_world_find(run, err);
	if (ret == 0)
		ret = instance_state_path("store", "", path, sizeof(path), err);
	if (ret)
		return ret;
	store = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	root_for_each_file(&run->root, file_forget, &store);
	close(store);
	return 0;
}

static int scenario_do(const struct drill *drill, const struct drill_scenario *scenario,
		       struct json_object *facts, struct error *err)
{
	struct drill_run *run = calloc(1, sizeof(*run));
	int ret;

	if (!run)
		return error_set(err, -ENOMEM, NULL, "drill: out of memory");
	run->drill = drill;
	run->facts = facts;
	run->console = -1;
	ret = world_begin(run, err);
	if (ret == 0)
		ret = scenario->run(run, err);
	drill_guest_kill(run);
	root_clear(&run->root);
	store_close(run->store);
	free(run);
	return ret;
}

static void report(int fd, int code, const struct error *err, struct json_object *facts)
{
	struct json_object *object = json_object_new_object();
	const char *text;

	json_object_object_add(object, "code", json_object_new_int(code));
	json_object_object_add(object, "what", json_object_new_string(err->what));
	json_object_object_add(object, "remedy", json_object_new_string(err->remedy));
	json_object_object_add(object, "facts", facts);
	text = json_object_to_json_string(object);
	if (write(fd, text, strlen(text)) < 0)
		_exit(1); /* nobody is there to hear it */
	json_object_put(object);
}

/* The child, and its parent, which are both ended with the drill. */
static void world_main(const struct drill *drill, const struct drill_scenario *scenario, int fd)
{
	struct json_object *facts = json_object_new_object();
	struct error err = {0};
	int ret = namespaces_make(&err);
	pid_t pid = -1;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (ret == 0) {
		pid = fork();
		if (pid < 0)
			ret = error_set(&err, -errno, "raise ulimit -u", "fork: %s",
					error_name(-errno));
	}
	if (pid > 0) {
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		_exit(0);
	}
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		ret = scenario_do(drill, scenario, facts, &err);
	}
	report(fd, ret, &err, facts);
	_exit(0);
}

/* The drill's own process. */

static char *pipe_read(int fd)
{
	char *text = malloc(REPORT_MAX);
	size_t size = 0;
	ssize_t n = 1;

	while (text && n && size + 1 < REPORT_MAX) {
		n = read(fd, text + size, REPORT_MAX - 1 - size);
		if (n < 0 && errno != EINTR)
			break;
		size += n > 0 ? (size_t)n : 0;
	}
	if (text)
		text[size] = 0;
	return text;
}

static int report_take(const char *text, struct json_object *row, struct error *err)
{
	struct json_object *object = text && *text ? json_tokener_parse(text) : NULL;
	struct json_object *facts = json_object_object_get(object, "facts");
	int ret = json_object_get_int(json_object_object_get(object, "code"));

	if (!facts)
		ret = error_set(err, -EIO, NULL, "its process ended before it was done");
	else if (ret)
		error_set(err, ret,
			  json_object_get_string(json_object_object_get(object, "remedy")), "%s",
			  json_object_get_string(json_object_object_get(object, "what")));
	if (facts) {
		json_object_object_foreach(facts, key, value)
			json_object_object_add(row, key, json_object_get(value));
	}
	json_object_put(object);
	return ret;
}

int drill_world_run(const struct drill *drill, const struct drill_scenario *scenario,
		    struct json_object *row, struct error *err)
{
	int pipes[2], ret;
	char *text;
	pid_t pid;

	if (pipe2(pipes, O_CLOEXEC) < 0)
		return error_set(err, -errno, "raise ulimit -n", "pipe: %s", error_name(-errno));
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		close(pipes[0]);
		world_main(drill, scenario, pipes[1]);
	}
	close(pipes[1]);
	if (pid < 0) {
		close(pipes[0]);
		return error_set(err, -errno, "raise ulimit -u", "fork: %s", error_name(-errno));
	}
	text = pipe_read(pipes[0]);
	close(pipes[0]);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	ret = report_take(text, row, err);
	free(text);
	return ret;
}
