/* SPDX-License-Identifier: MIT */
/* What a compare is to do: configurations from lists of the command line, and the files for them.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/checked.h"
#include "vmm/base/instance.h"
#include "vmm/base/process.h"
#include "vmm/cli/compare_work.h"
#include "vmm/cli/installed.h"
#include "vmm/cli/overlay.h"
#include "vmm/cli/table.h"
#include "vmm/machine/machine.h"

#define DISK_SIZE    (64u << 20)
#define MODE_PROGRAM 0755u

static const struct {
	const char *name, *engine, *how;
} engines[] = {
	{"native", NULL, NULL},
	{"bt-interp", "bt", "interp"},
	{"bt", "bt", "translate"},
	{"kvm", "kvm", NULL},
};

/* The first word of a list "a,b", cut off; NULL at its end. */
static const char *word_next(char **list)
{
	return *list ? strsep(list, ",") : NULL;
}

/* A list with words of a few; *seen[i] says that the i-th was there. */
static int list_parse(const char *option, const char *list, const char *(*name)(unsigned),
		      bool *seen, struct error *err)
{
	char *copy = strdup(list), *rest = copy, known[256] = "";
	const char *word;
	int ret = copy ? 0 : -ENOMEM;

	for (unsigned i = 0; name(i); i++)
		snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s",
			 i ? ", " : "use ", name(i));
	while (ret == 0 && (word = word_next(&rest))) {
		unsigned i = 0;

		while (name(i) && strcmp(name(i), word) != 0)
			i++;
		if (name(i))
			seen[i] = true;
		else
			ret = error_set(err, -EINVAL, known, "--%s '%s': unknown", option, word);
	}
	free(copy);
	return ret;
}

static const char *engine_name(unsigned i)
{
	return i < ARRAY_SIZE(engines) ? engines[i].name : NULL;
}

static const char *workload_name(unsigned i)
{
	return compare_workload_at(i) ? compare_workload_at(i)->name : NULL;
}

static const char *pv_name(unsigned i)
{
	static const char *const names[] = {"on", "off"};

	return i < ARRAY_SIZE(names) ? names[i] : NULL;
}

static const char *io_name(unsigned i)
{
	static const char *const names[] = {"virtio", "emulated"};

	return i < ARRAY_SIZE(names) ? names[i] : NULL;
}

/* Configurations. */

/* Why this host cannot offer it, as `lodge doctor` says it; "": it can. */
static void engine_look(const char *name, char *out, size_t size)
{
	const struct engine_ops *engine;

	out[0] = 0;
	for (unsigned i = 0; name && (engine = machine_engine_at(i)); i++) {
		struct error why = {0};
		int ret = strcmp(engine->name, name) == 0 ? engine->probe(true, &why) : 0;

		if (ret)
			error_format(&why, ret, out, size);
	}
}

/* Does `run` have that option? */
static bool run_has(const char *name)
{
	const struct option_spec *spec;

	for (unsigned i = 0; (spec = option_at(i)); i++)
		if (spec->commands & CMD_RUN && strcmp(spec->name, name) == 0)
			return true;
	return false;
}

/* `reason`: of the engine. */
static void config_add(struct compare *c, unsigned engine, bool pv_off, bool emulated,
		       bool first_io, const char *reason)
{
	struct compare_config *config = &c->config[c->config_count];
	struct json_object *facts = json_object_new_object();

	if (c->config_count == COMPARE_CONFIGS_MAX) {
		json_object_put(facts);
		return;
	}
	c->config_count++;
	*config = (struct compare_config){.engine = engines[engine].engine,
					  .how = engines[engine].how,
					  .paravirtual = !pv_off,
					  .emulated = emulated,
					  .first_io = first_io};
	snprintf(config->name, sizeof(config->name), "%s%s%s", engines[engine].name,
		 pv_off ? "/pv-off" : "", emulated ? "/emulated" : "");
	snprintf(config->reason, sizeof(config->reason), "%s", reason);
	if (config->engine && !config->reason[0] && emulated && !run_has("io"))
		snprintf(config->reason, sizeof(config->reason),
			 "this lodge has no emulated disk or NIC");
	json_add_text(facts, "name", config->name);
	json_add_text(facts, "engine", engines[engine].name);
	if (config->engine && !c->options->from) {
		json_add_text(facts, "pv", pv_off ? "off" : "on");
		json_add_text(facts, "io", emulated ? "emulated" : "virtio");
	}
	if (config->reason[0])
		json_add_text(facts, "reason", config->reason);
	json_object_array_add(json_object_object_get(c->report, "configurations"), facts);
}

static void configs_make(struct compare *c, const bool *engine, const bool *pv, const bool *io)
{
	json_object_object_add(c->report, "configurations", json_object_new_array());
	for (unsigned e = 0; e < ARRAY_SIZE(engines); e++) {
		char reason[sizeof(c->config->reason)];

		if (!engine[e])
			continue;
		engine_look(engines[e].engine, reason, sizeof(reason));
		if (!engines[e].engine) {
			config_add(c, e, false, false, true, "");
			continue;
		}
		for (unsigned p = 0; p < 2; p++)
			for (unsigned i = 0; i < 2; i++)
				if (pv[p] && io[i])
					config_add(c, e, p == 1, i == 1, i == 0 || !io[0], reason);
	}
}

static void workloads_note(struct compare *c)
{
	struct json_object *list = json_object_new_array();

	for (unsigned i = 0; compare_workload_at(i); i++) {
		const struct compare_workload *w = compare_workload_at(i);
		struct json_object *one;

		if (!c->wanted[i])
			continue;
		one = json_object_new_object();
		json_add_text(one, "name", w->name);
		json_add_text(one, "summary", w->summary);
		json_object_object_add(one, "mean", json_object_new_boolean(w->mean));
		json_object_array_add(list, one);
	}
	json_object_object_add(c->report, "workloads", list);
}

static int from_check(const struct options *o, struct error *err)
{
	if (o->from && !o->command_count)
		return error_set(err, -EINVAL, "give one: lodge compare --from SNAPSHOT -- CMD",
				 "--from '%s': there is no command to run in it", o->from);
	if (!o->from && o->command_count)
		return error_set(err, -EINVAL, "give --from SNAPSHOT",
				 "'--': a command is run in a snapshot's guest");
	if (o->from &&
	    (o->compare_pv || o->compare_io || o->compare_workloads || o->kernel || o->initrd))
		return error_set(err, -EINVAL, "leave out --pv, --io, --workloads, -k and -i",
				 "--from '%s': its guest is as it was", o->from);
	return 0;
}

int compare_plan(struct compare *c, struct error *err)
{
	const struct options *o = c->options;
	bool engine[ARRAY_SIZE(engines)] = {0}, pv[2] = {0}, io[2] = {0};
	const char *all = o->from ? "bt-interp,bt,kvm" : "native,bt-interp,bt,kvm";
	const char *pvs = o->compare_pv ? o->compare_pv : "on,off";
	const char *ios = o->compare_io ? o->compare_io : "virtio,emulated";
	int ret = from_check(o, err);

	if (ret == 0)
		ret = list_parse("engines", o->compare_engines ? o->compare_engines : all,
				 engine_name, engine, err);
	if (ret == 0)
		ret = list_parse("pv", o->from ? "on" : pvs, pv_name, pv, err);
	if (ret == 0)
		ret = list_parse("io", o->from ? "virtio" : ios, io_name, io, err);
	if (ret == 0 && o->compare_workloads)
		ret = list_parse("workloads", o->compare_workloads, workload_name, c->wanted, err);
	if (ret)
		return ret;
	for (unsigned i = 0; compare_workload_at(i) && !o->compare_workloads; i++)
		c->wanted[i] = true;
	c->runs = o->compare_runs ? o->compare_runs : 5;
	configs_make(c, engine, pv, io);
	if (!o->from)
		workloads_note(c);
	return 0;
}

/* Files. */

/* A file of the default guest, or the one that was given. */
static int guest_file(const char *given, const char *file, const char *remedy, char out[PATH_MAX],
		      struct error *err)
{
	char path[PATH_MAX];
	int ret = given ? 0 : instance_state_path("guest", file, path, sizeof(path), err);

	if (ret)
		return ret;
	if (!realpath(given ? given : path, out))
		return error_set(err, -errno, remedy, "%s '%s': %s", file, given ? given : path,
				 error_name(-errno));
	return 0;
}

/* A whole file, behind what is there. -errno. */
static int append(int to, const char *path)
{
	int from = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (from < 0)
		return -errno;
	while ((n = sendfile(to, from, NULL, 1u << 20)) > 0)
		;
	close(from);
	return n < 0 ? -errno : 0;
}

static int append_program(int to, const char *program, struct error *err)
{
	struct stat st;
	void *bytes, *archive;
	size_t size;
	int fd = open(program, O_RDONLY | O_CLOEXEC), ret = -errno;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set(err, ret, NULL, "'%s': %s", program, error_name(ret));
	bytes = malloc((size_t)st.st_size + 1);
	ret = bytes && read(fd, bytes, (size_t)st.st_size) == st.st_size ? 0 : -EIO;
	close(fd);
	if (ret == 0)
		ret = overlay_of_file("compare", "workload", MODE_PROGRAM, bytes,
				      (size_t)st.st_size, &archive, &size);
	free(bytes);
	if (ret)
		return error_set(err, ret, NULL, "'%s': %s", program, error_name(ret));
	ret = write(to, archive, size) == (ssize_t)size ? 0 : -errno;
	free(archive);
	return ret ? error_set(err, ret, NULL, "initrd: %s", error_name(ret)) : 0;
}

/* The guest's initial RAM disk, and the program behind it. */
static int initrd_make(struct compare *c, const char *plain, struct error *err)
{
	int fd = open(c->initrd, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), ret = -errno;
	off_t size;

	if (fd < 0)
		return error_set(err, ret, "give another --output", "'%s': %s", c->initrd,
				 error_name(ret));
	ret = append(fd, plain);
	if (ret)
		error_set(err, ret, NULL, "'%s': %s", plain, error_name(ret));
	/* Archives begin at a multiple of four. */
	size = lseek(fd, 0, SEEK_CUR);
	if (ret == 0 && size % 4 && ftruncate(fd, (off_t)align_up((uint64_t)size, 4)) < 0)
		ret = error_set(err, -errno, NULL, "'%s': %s", c->initrd, error_name(-errno));
	lseek(fd, 0, SEEK_END);
	if (ret == 0)
		ret = append_program(fd, c->program, err);
	close(fd);
	return ret;
}

static int disk_make(struct compare *c, struct error *err)
{
	int fd = open(c->disk, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), ret = 0;
	static char bytes[1 << 20];

	for (unsigned at = 0; fd >= 0 && at < DISK_SIZE; at += sizeof(bytes)) {
		for (size_t i = 0; i < sizeof(bytes); i += 256)
			if (getrandom(bytes + i, 256, 0) != 256)
				ret = -EIO;
		if (write(fd, bytes, sizeof(bytes)) != (ssize_t)sizeof(bytes))
			ret = -errno;
	}
	if (fd < 0)
		ret = -errno;
	else
		close(fd);
	return ret ? error_set(err, ret, "give another --output", "'%s': %s", c->disk,
			       error_name(ret))
		   : 0;
}

static int path_in(const struct compare *c, const char *file, char out[PATH_MAX], struct error *err)
{
	if (snprintf(out, PATH_MAX, "%s/%s", c->work, file) >= PATH_MAX)
		return error_set(err, -ENAMETOOLONG, "give a shorter --output", "'%s': too long",
				 c->work);
	return 0;
}

int compare_files_make(struct compare *c, struct error *err)
{
	const struct options *o = c->options;
	char plain[PATH_MAX];
	int ret =
		installed_find("workload/workload", WORKLOAD_FROM_BIN "/workload", c->program, err);

	if (ret == 0)
		ret = installed_find("workload/nano", WORKLOAD_FROM_BIN "/nano", c->nano, err);
	if (ret == 0)
		ret = guest_file(o->kernel, "vmlinux",
				 "make it with scripts/guest, or give -k KERNEL", c->kernel, err);
	if (ret == 0)
		ret = guest_file(o->initrd, "initramfs",
				 "make it with scripts/guest, or give -i INITRD", plain, err);
	if (ret == 0)
		ret = path_in(c, "initrd", c->initrd, err);
	if (ret == 0)
		ret = path_in(c, "disk", c->disk, err);
	if (ret == 0)
		ret = initrd_make(c, plain, err);
	return ret ? ret : disk_make(c, err);
}
