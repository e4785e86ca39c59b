/* SPDX-License-Identifier: MIT */
/* lodge doctor: a table of checks of the host, each with what it found and what to change. */
#include <errno.h>
#include <liburing.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "vmm/base/checked.h"
#include "vmm/base/instance.h"
#include "vmm/base/process.h"
#include "vmm/cli/cli.h"
#include "vmm/cli/table.h"
#include "vmm/machine/machine.h"

/* 0: good, with a detail in err->what; else what is wrong and the remedy. */
typedef int check_fn(struct error *err);

static int check_kernel(struct error *err)
{
	struct utsname name;

	if (uname(&name) < 0)
		return -errno;
	error_set(err, 0, NULL, "Linux %s %s", name.release, name.machine);
	return 0;
}

static int check_kvm(struct error *err)
{
	const struct engine_ops *kvm = machine_engine_at(0);
	int ret = kvm->probe(true, err);

	if (ret == 0)
		error_set(err, 0, NULL, "/dev/kvm runs stock kernels");
	return ret;
}

/* What `--engine auto` takes. */
static int check_engine(struct error *err)
{
	struct error why;
	const struct engine_ops *engine = machine_engine_find("auto", &why, err);

	if (!engine)
		return -ENOTSUP;
	error_set(err, 0, NULL, "guests run on %s, %s", engine->name, engine->summary);
	return 0;
}

static int check_cpu(struct error *err)
{
	static struct cpuid_table table;
	struct error why;
	const struct engine_ops *engine = machine_engine_find("auto", &why, err);
	int ret = engine ? engine->cpuid_supported(&table, err) : -ENOTSUP;

	if (ret == 0)
		ret = cpu_model_apply(cpu_model_find("portable"), true, &table, err);
	if (ret == 0)
		error_set(err, 0, NULL, "CPU model portable (x86-64-v3) can be shown");
	return ret;
}

static int check_io_uring(struct error *err)
{
	struct io_uring ring;
	int ret = io_uring_queue_init(2, &ring, 0);

	if (ret)
		return error_set(err, ret,
				 "allow it: sysctl kernel.io_uring_disabled=0, or the container's "
				 "seccomp profile",
				 "io_uring: %s: disks will not work", error_name(ret));
	io_uring_queue_exit(&ring);
	error_set(err, 0, NULL, "io_uring works");
	return 0;
}

static int check_runtime(struct error *err)
{
	struct instance probe;
	char name[TEXT_NAME_MAX + 1];
	int ret;

	snprintf(name, sizeof(name), "doctor-%d", (int)getpid());
	ret = instance_claim(name, &probe, err);
	if (ret)
		return ret;
	error_set(err, 0, NULL, "%.*s is writable", (int)(strlen(probe.path) - strlen(name) - 1),
		  probe.path);
	instance_release(&probe);
	return 0;
}

static int check_state(struct error *err)
{
	char path[PATH_MAX];
	int ret = instance_state_path("", "doctor", path, sizeof(path), err);

	if (ret == 0)
		ret = instance_write_file(path, "", 0, err);
	if (ret)
		return ret;
	unlink(path);
	*strrchr(path, '/') = '\0';
	error_set(err, 0, NULL, "%s is writable", path);
	return 0;
}

static int check_user(struct error *err)
{
	int ret = process_find("passt", "passt", err);

	if (ret == 0)
		error_set(err, 0, NULL, "-n user works");
	return ret;
}

static int check_networks(struct error *err)
{
	int ret;

	if (geteuid() != 0)
		return error_set(err, -EPERM, "use -n user", "networks of the host's are root's");
	ret = network_check(true, err);
	if (ret == 0)
		error_set(err, 0, NULL, "lodge net works");
	return ret;
}

static int check_guest(struct error *err)
{
	char path[PATH_MAX];
	int ret = instance_state_path("guest", "vmlinux", path, sizeof(path), err);

	if (ret)
		return ret;
	if (access(path, R_OK) < 0)
		return error_set(err, -ENOENT, "make it with scripts/guest",
				 "the default guest '%s' is not there", path);
	error_set(err, 0, NULL, "%s", path);
	return 0;
}

static const struct {
	const char *name;
	bool needed; /* without it no guest runs */
	check_fn *check;
} checks[] = {
	{"kernel", true, check_kernel},      {"kvm", false, check_kvm},
	{"engine", true, check_engine},      {"cpu", true, check_cpu},
	{"io_uring", false, check_io_uring}, {"runtime", true, check_runtime},
	{"state", true, check_state},        {"guest", false, check_guest},
	{"user", false, check_user},         {"networks", false, check_networks},
};

int cmd_doctor(const struct options *options)
{
	static const struct table_column columns[] = {
		{"CHECK", "check"},
		{"RESULT", "result"},
		{"DETAIL", "detail"},
		{NULL, NULL},
	};
	struct json_object *rows = json_object_new_array();
	int status = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(checks); i++) {
		struct json_object *row = json_object_new_object();
		char line[sizeof(((struct error *)0)->what) * 2];
		struct error err = {0};
		int ret = checks[i].check(&err);

		if (ret && checks[i].needed)
			status = EXIT_HOST;
		error_format(&err, ret, line, sizeof(line));
		json_object_object_add(row, "check", json_object_new_string(checks[i].name));
		json_object_object_add(row, "result",
				       json_object_new_string(ret == 0           ? "ok"
							      : checks[i].needed ? "fail"
										 : "warn"));
		json_object_object_add(row, "detail", json_object_new_string(line));
		json_object_array_add(rows, row);
	}
	if (options->json)
		json_print(rows);
	else
		table_print(rows, columns);
	json_object_put(rows);
	return status;
}
