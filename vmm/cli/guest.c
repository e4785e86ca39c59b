/* SPDX-License-Identifier: MIT */
/*
 * A guest in this process: its machine, its consoles, its control socket. Foreground guests have
 * the terminal; with a command the console is only kept, and the command's streams are the
 * process's own.
 */
#include "vmm/cli/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "net/balancer.h"
#include "vmm/base/checked.h"
#include "vmm/base/clock.h"
#include "vmm/base/instance.h"
#include "vmm/base/log.h"
#include "vmm/cli/clone.h"
#include "vmm/cli/guest_nics.h"
#include "vmm/cli/guest_snapshots.h"
#include "vmm/cli/overlay.h"
#include "vmm/cli/record.h"
#include "vmm/cli/snapshot.h"
#include "vmm/cli/table.h"
#include "vmm/cli/terminal.h"
#include "vmm/machine/console.h"
#include "vmm/machine/control.h"
#include "vmm/machine/machine.h"
#include "vmm/machine/panic_watch.h"

#define DEFAULT_CMDLINE "console=ttyS0 panic=-1"
#define COUNTERS_MAX    16
#define TAIL_SIZE       65536u

/* Ports of the virtio console that carry a command; scripts/guest-init knows the names. */
enum { PORT_STDIN, PORT_STDOUT, PORT_STDERR, PORT_STATUS, PORTS };
static const char *const port_names[PORTS] = {"lodge.stdin", "lodge.stdout", "lodge.stderr",
					      "lodge.status"};

#define STATUS_LINE_MAX 32

struct guest {
	const struct guest_plan *plan;
	const struct options *options;
	const struct engine_ops *engine;
	struct instance instance;
	struct loop *loop;
	struct machine *machine;
	struct control *control;
	struct console *com1;
	struct console *port[PORTS];
	struct loop_source *signal[3];
	struct network_watch *watch;
	struct guest_snapshots snapshots;
	struct panic_watch panic;
	struct terminal_escape escape;
	char *cmdline;
	void *overlay;
	size_t overlay_size;
	uint64_t started_ns; /* CLOCK_MONOTONIC */
	bool terminal;
	bool cloned; /* its volumes were made, for this run */
	bool ended;
	bool powered_off; /* by itself */
	int status;
	char reason[512];
	size_t line_length;
	char line[STATUS_LINE_MAX];
	int command_status; /* -1: not told */
};

static const int end_signals[] = {SIGINT, SIGTERM, SIGHUP};

/* Block or unblock them (`how` as for sigprocmask(2)) on this thread. */
static void end_signals_mask(int how)
{
	sigset_t set;

	sigemptyset(&set);
	for (unsigned i = 0; i < ARRAY_SIZE(end_signals); i++)
		sigaddset(&set, end_signals[i]);
	pthread_sigmask(how, &set, NULL);
}

/* The end. */

static void guest_end(struct guest *g, int status, const char *reason)
{
	if (g->ended)
		return;
	g->ended = true;
	g->status = status;
	snprintf(g->reason, sizeof(g->reason), "%s", reason);
	loop_stop(g->loop);
}

static void on_ended(void *arg, enum machine_end end, const char *reason)
{
	struct guest *g = arg;
	static const int statuses[] = {
		[MACHINE_OFF] = EXIT_GUEST_OFF,
		[MACHINE_CRASHED] = EXIT_GUEST_CRASH,
		[MACHINE_FAILED] = EXIT_HOST,
	};

	g->powered_off = end == MACHINE_OFF && !g->ended;
	guest_end(g, statuses[end], reason);
}

static void on_signal(void *arg, uint32_t number)
{
	char reason[64];

	snprintf(reason, sizeof(reason), "ended by signal %u", number);
	guest_end(arg, EXIT_HOST, reason);
}

/* Streams. */

static void watch_panic(void *arg, const uint8_t *bytes, size_t count)
{
	struct guest *g = arg;
	const char *reason = panic_watch_feed(&g->panic, bytes, count);

	if (reason && g->machine)
		machine_note_panic(g->machine, reason);
}

/* "exit N" and a newline, from the guest's init. */
static void watch_status(void *arg, const uint8_t *bytes, size_t count)
{
	struct guest *g = arg;
	uint64_t status;

	for (size_t i = 0; i < count; i++) {
		if (bytes[i] != '\n') {
			if (g->line_length < sizeof(g->line) - 1)
				g->line[g->line_length++] = (char)bytes[i];
			continue;
		}
		g->line[g->line_length] = '\0';
		g->line_length = 0;
		if (strncmp(g->line, "exit ", 5) == 0 &&
		    text_to_number(g->line + 5, 0, 255, &status) == 0)
			g->command_status = (int)status;
	}
}

static size_t com1_sink(void *arg, const uint8_t *bytes, size_t count)
{
	return machine_com1_receive(arg, bytes, count);
}

static size_t stdin_sink(void *arg, const uint8_t *bytes, size_t count)
{
	return machine_port_receive(arg, PORT_STDIN, bytes, count);
}

static void stdin_ended(void *arg)
{
	struct guest *g = arg;

	machine_port_close(g->machine, PORT_STDIN);
}

static void stdout_drained(void *arg)
{
	struct guest *g = arg;

	machine_port_output_ready(g->machine, PORT_STDOUT);
}

static void stderr_drained(void *arg)
{
	struct guest *g = arg;

	machine_port_output_ready(g->machine, PORT_STDERR);
}

/* Without a reader a program that writes ends; so do we, and say why. */
static void on_output_failed(void *arg, int code)
{
	char reason[128];

	snprintf(reason, sizeof(reason), "its output cannot be written: %s", error_name(code));
	guest_end(arg, EXIT_HOST, reason);
}

static size_t filter_escape(void *arg, uint8_t *bytes, size_t count)
{
	struct guest *g = arg;
	size_t kept = terminal_filter(&g->escape, bytes, count);

	if (g->escape.left)
		guest_end(g, EXIT_GUEST_OFF, "left by Ctrl-A x");
	return kept;
}

static int consoles_create(struct guest *g)
{
	int ret = console_create(g->loop, &g->com1);

	for (unsigned i = 0; i < PORTS && ret == 0 && g->options->command_count; i++)
		ret = console_create(g->loop, &g->port[i]);
	if (ret)
		return ret;
	console_set_watch(g->com1, watch_panic, g);
	if (g->options->command_count)
		console_set_watch(g->port[PORT_STATUS], watch_status, g);
	return 0;
}

/* Connect the process's own streams, now that the machine can take input. */
static int streams_attach(struct guest *g)
{
	struct console_client_config in = {
		.in_fd = STDIN_FILENO, .out_fd = -1, .arg = g, .input_ended = stdin_ended};
	struct console_client_config out = {
		.in_fd = -1, .lossless = true, .output_failed = on_output_failed, .arg = g};
	struct console_client_config both = out, errors = out;
	int ret;

	console_set_sink(g->com1, com1_sink, g->machine);
	if (g->options->detach)
		return 0;
	if (!g->options->command_count) {
		g->terminal = terminal_enter();
		if (g->terminal)
			both.filter = filter_escape;
		both.in_fd = STDIN_FILENO;
		both.out_fd = terminal_output(STDOUT_FILENO);
		return console_attach(g->com1, &both, NULL);
	}
	out.out_fd = terminal_output(STDOUT_FILENO);
	errors.out_fd = terminal_output(STDERR_FILENO);
	console_set_sink(g->port[PORT_STDIN], stdin_sink, g->machine);
	console_set_drained(g->port[PORT_STDOUT], stdout_drained, g);
	console_set_drained(g->port[PORT_STDERR], stderr_drained, g);
	ret = console_attach(g->port[PORT_STDIN], &in, NULL);
	if (ret == 0)
		ret = console_attach(g->port[PORT_STDOUT], &out, NULL);
	if (ret == 0)
		ret = console_attach(g->port[PORT_STDERR], &errors, NULL);
	return ret;
}

static int ports_finish(struct guest *g)
{
	int ret = 0;

	for (unsigned i = 0; i < PORTS && ret == 0; i++)
		if (g->port[i])
			ret = console_finish(g->port[i]);
	return ret;
}

/*
 * The last output. Whoever reads ours may be slow (a pager) and is waited for; a signal ends that,
 * and us, as it would any program that writes.
 */
static int consoles_finish(struct guest *g)
{
	int ret;

	end_signals_mask(SIG_UNBLOCK);
	ret = console_finish(g->com1);
	if (ret == 0)
		ret = ports_finish(g);
	machine_drain_output(g->machine);
	return ret ? ret : ports_finish(g);
}

/* The control socket. */

static struct json_object *disks_info(const struct options *o)
{
	struct json_object *disks = json_object_new_array();

	for (unsigned i = 0; i < o->disk_count; i++) {
		struct json_object *disk = json_object_new_object();

		json_add_text(disk, "path", o->disk[i].path);
		json_add_text(disk, "format", o->disk[i].format);
		json_object_object_add(disk, "read_only",
				       json_object_new_boolean(o->disk[i].read_only));
		json_object_array_add(disks, disk);
	}
	return disks;
}

static struct json_object *exits_info(const struct guest *g)
{
	struct engine_counter counters[COUNTERS_MAX + 1];
	struct json_object *exits = json_object_new_object();

	machine_statistics(g->machine, counters, COUNTERS_MAX);
	for (unsigned i = 0; counters[i].name; i++)
		json_add_number(exits, counters[i].name, counters[i].count);
	return exits;
}

/* What was logged: of a detached guest nobody sees standard error. */
static void add_messages(struct json_object *to)
{
	struct json_object *messages = json_object_new_array();
	char line[LOG_LINE_MAX];

	for (unsigned i = 0; log_kept(i, line); i++)
		json_object_array_add(messages, json_object_new_string(line));
	json_object_object_add(to, "messages", messages);
}

static struct json_object *on_info(void *arg)
{
	struct guest *g = arg;
	const struct options *o = g->options;
	struct json_object *info = json_object_new_object();
	uint64_t up = clock_monotonic_ns() - g->started_ns;

	json_add_text(info, "name", g->instance.name);
	json_add_text(info, "state", machine_is_paused(g->machine) ? "paused" : "running");
	json_add_number(info, "pid", (uint64_t)getpid());
	json_add_text(info, "engine", g->engine->name);
	json_add_text(info, "cpu", o->cpu);
	json_add_number(info, "cpus", o->cpus);
	json_add_number(info, "memory_bytes", o->memory);
	json_add_number(info, "uptime_seconds", up / CLOCK_NS_PER_S);
	json_add_text(info, "kernel", g->plan->kernel);
	json_add_text(info, "initrd", g->plan->initrd ? g->plan->initrd : "");
	json_add_text(info, "cmdline", g->cmdline);
	json_object_object_add(info, "disks", disks_info(o));
	json_object_object_add(info, "nics", guest_nics_info(o, g->instance.name, g->machine));
	json_object_object_add(info, "exits", exits_info(g));
	add_messages(info);
	return info;
}

static char *on_console(void *arg)
{
	struct guest *g = arg;
	char *text = malloc(TAIL_SIZE + 1);

	if (text)
		text[console_tail(g->com1, text, TAIL_SIZE)] = '\0';
	return text;
}

static int on_pause(void *arg, struct error *err)
{
	struct guest *g = arg;

	(void)err;
	machine_pause(g->machine);
	return 0;
}

static int on_resume(void *arg, struct error *err)
{
	struct guest *g = arg;

	if (g->snapshots.hibernating)
		return error_set(err, -EBUSY, "start it then: lodge start",
				 "it is being hibernated");
	machine_resume(g->machine);
	return 0;
}

static int on_stop(void *arg, bool force, struct error *err)
{
	struct guest *g = arg;

	if (force) {
		guest_end(g, EXIT_GUEST_OFF, "stopped by force");
		return 0;
	}
	if (machine_is_paused(g->machine))
		return error_set(err, -EBUSY, "resume it first, or use --force",
				 "it is paused and cannot see its power button");
	machine_press_power_button(g->machine);
	return 0;
}

/* Snapshots. */

static void on_hibernated(void *arg)
{
	guest_end(arg, EXIT_GUEST_OFF, "hibernated");
}

static int on_snapshot(void *arg, const char *name, const char *comment, bool disk_only,
		       struct error *err)
{
	struct guest *g = arg;

	return guest_snapshots_take(&g->snapshots, name, comment, disk_only, err);
}

static int on_hibernate(void *arg, struct error *err)
{
	struct guest *g = arg;

	return guest_snapshots_hibernate(&g->snapshots, err);
}

static struct json_object *on_snapshot_info(void *arg)
{
	struct guest *g = arg;

	return guest_snapshots_info(&g->snapshots);
}

static const struct control_ops control_ops = {
	.info = on_info,
	.console = on_console,
	.pause = on_pause,
	.resume = on_resume,
	.stop = on_stop,
	.snapshot = on_snapshot,
	.snapshot_info = on_snapshot_info,
	.hibernate = on_hibernate,
};

static int sockets_open(struct guest *g, struct error *err)
{
	int fd = instance_listen(&g->instance, INSTANCE_CONSOLE, err);
	int ret;

	if (fd < 0)
		return fd;
	ret = console_listen(g->com1, fd);
	if (ret == 0) {
		fd = instance_listen(&g->instance, INSTANCE_CONTROL, err);
		if (fd < 0)
			return fd;
		ret = control_create(g->loop, fd, &control_ops, g, &g->control);
	}
	if (ret)
		return error_set(err, ret, NULL, "control socket: %s", error_name(ret));
	return 0;
}

/* Setting up. */

static int cmdline_make(struct guest *g, struct error *err)
{
	const char *quiet = g->options->command_count ? " quiet" : "";

	if (asprintf(&g->cmdline, "%s%s%s%s", DEFAULT_CMDLINE, quiet,
		     g->options->append[0] ? " " : "", g->options->append) < 0) {
		g->cmdline = NULL;
		return error_set(err, -ENOMEM, NULL, "command line: out of memory");
	}
	if (g->options->command_count &&
	    overlay_make(g->options->command_count, g->options->command, &g->overlay,
			 &g->overlay_size))
		return error_set(err, -ENOMEM, NULL, "command: out of memory");
	return 0;
}

static void machine_config_fill(struct guest *g, struct machine_config *config)
{
	const struct options *o = g->options;

	*config = (struct machine_config){
		.engine = g->engine,
		.model = cpu_model_find(o->cpu),
		.paravirtual = o->paravirtual,
		.io = o->emulated_io ? MACHINE_IO_EMULATED : MACHINE_IO_VIRTIO,
		.vcpus = o->cpus,
		.translation = o->translation,
		.memory = o->memory,
		.kernel = g->plan->kernel,
		.initrd = g->plan->initrd,
		.cmdline = g->cmdline,
		.overlay = g->overlay,
		.overlay_size = g->overlay_size,
		.store = g->snapshots.store,
		.from = g->plan->from,
		.disk_count = o->disk_count,
		.com1 = console_chardev(g->com1),
		.port_count = o->command_count ? PORTS : 0,
	};
	for (unsigned i = 0; i < o->disk_count; i++)
		config->disk[i] = (struct machine_disk){
			.path = o->disk[i].path,
			.format = o->disk[i].format,
			.read_only = o->disk[i].read_only,
			.allow_backing = o->disk[i].allow_backing,
			.queues = o->disk[i].queues,
		};
	guest_nics_fill(o, g->instance.name, config);
	for (unsigned i = 0; i < config->port_count; i++)
		config->port[i] = (struct virtio_console_port){
			.name = port_names[i],
			.backend = console_chardev(g->port[i]),
		};
}

static int signals_add(struct guest *g)
{
	int ret = 0;

	end_signals_mask(SIG_BLOCK);
	for (unsigned i = 0; i < ARRAY_SIZE(end_signals) && ret == 0; i++)
		ret = loop_add_signal(g->loop, end_signals[i], on_signal, g, &g->signal[i]);
	return ret;
}

static bool needs_store(const struct guest *g)
{
	for (unsigned i = 0; i < g->options->disk_count; i++)
		if (strcmp(g->options->disk[i].format, "volume") == 0)
			return true;
	return g->plan->from || g->plan->clone_of;
}

/* What is made here goes if the guest does not come to run: guest_teardown. */
static int volumes_prepare(struct guest *g, struct error *err)
{
	const struct guest_plan *plan = g->plan;
	int ret;

	if (!needs_store(g))
		return 0;
	ret = guest_snapshots_open_store(&g->snapshots, err);
	if (ret == 0)
		ret = hibernation_check_disks(g->snapshots.store, g->options, plan->name, err);
	if (ret == 0 && plan->clone_of) {
		ret = clone_volumes(g->snapshots.store, plan->clone_of, plan->name, err);
		g->cloned = ret == 0;
	}
	return ret;
}

static int guest_setup(struct guest *g, struct error *err)
{
	struct machine_events events = {.ended = on_ended, .arg = g};
	struct machine_config config;
	struct error why = {0};
	int ret;

	g->engine = machine_engine_find(g->options->engine, &why, err);
	if (!g->engine)
		return -ENOTSUP;
	if (why.what[0]) {
		char line[sizeof(why)];

		error_format(&why, 0, line, sizeof(line));
		log_warn("engine '%s' is taken, which is slower: %s", g->engine->name, line);
	}
	ret = instance_claim(g->plan->name, &g->instance, err);
	if (ret)
		return ret;
	if (g->options->detach) {
		ret = record_check(err);
		if (ret)
			return ret;
	}
	ret = cmdline_make(g, err);
	if (ret)
		return ret;
	ret = loop_create(&g->loop);
	if (ret == 0)
		ret = signals_add(g);
	if (ret == 0)
		ret = consoles_create(g);
	if (ret)
		return error_set(err, ret, NULL, "event loop: %s", error_name(ret));
	ret = volumes_prepare(g, err);
	if (ret)
		return ret;
	machine_config_fill(g, &config);
	ret = machine_create(&config, g->loop, &events, &g->machine, err);
	g->snapshots.machine = g->machine;
	/* What it changes from now on is the next snapshot's. */
	if (ret == 0 && g->plan->from)
		ret = guest_snapshots_open(&g->snapshots, err);
	if (ret == 0 && guest_nics_watched(g->options, g->machine) &&
	    network_watch_start(g->instance.name, &g->watch))
		return error_set(err, -EAGAIN, "raise ulimit -u", "network: no thread");
	if (ret == 0)
		ret = sockets_open(g, err);
	if (ret)
		return ret;
	ret = streams_attach(g);
	if (ret)
		return error_set(err, ret, NULL, "console: %s", error_name(ret));
	return 0;
}

static void guest_teardown(struct guest *g)
{
	control_destroy(g->control);
	network_watch_stop(g->watch);
	guest_snapshots_close(&g->snapshots);
	machine_destroy(g->machine);
	if (g->cloned && !g->started_ns)
		clone_volumes_remove(g->snapshots.store, g->plan->clone_of, g->plan->name);
	store_close(g->snapshots.store);
	console_destroy(g->com1);
	for (unsigned i = 0; i < PORTS; i++)
		console_destroy(g->port[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(end_signals); i++)
		loop_remove(g->signal[i]);
	loop_destroy(g->loop);
	instance_release(&g->instance);
	free(g->cmdline);
	free(g->overlay);
}

/* The guest runs: let the waiting parent go, and give up its terminal. */
static void report_ready(struct guest *g)
{
	int null, ready_fd = g->plan->ready_fd;

	if (ready_fd < 0)
		return;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (write(ready_fd, "", 1) != 1)
		log_warn("the command that started this guest is gone");
	close(ready_fd);
	for (int fd = STDIN_FILENO; null >= 0 && fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	if (null > STDERR_FILENO)
		close(null);
}

static void record_end(struct guest *g)
{
	struct json_object *facts = json_object_new_object();
	char *tail = on_console(g);
	struct error err = {0};

	json_add_text(facts, "name", g->instance.name);
	json_add_text(facts, "state", "ended");
	json_add_text(facts, "reason", g->reason);
	json_add_number(facts, "exit_status", (uint64_t)g->status);
	json_add_number(facts, "ended_at", clock_realtime_ns() / CLOCK_NS_PER_S);
	add_messages(facts);
	if (record_write(g->instance.name, facts, tail ? tail : "", tail ? strlen(tail) : 0, &err))
		log_error("%s", err.what);
	json_object_put(facts);
	free(tail);
}

/* A guest that ran a command ends as the command did; that it told its status is part of it. */
static void command_conclude(struct guest *g)
{
	if (!g->options->command_count)
		return;
	if (!g->powered_off) {
		/* Ended from outside: no failure of a guest, but one of a command. */
		if (g->status == EXIT_GUEST_OFF)
			g->status = EXIT_GUEST_CRASH;
		return;
	}
	g->status = g->command_status;
	if (g->command_status < 0) {
		snprintf(g->reason, sizeof(g->reason), "it powered off before the command ended");
		g->status = EXIT_GUEST_CRASH;
		g->powered_off = false;
	}
}

/* What the user is told at the end, and the exit status. */
static int guest_conclude(struct guest *g)
{
	int output;

	terminal_leave(); /* first: a reader that is slow is waited for */
	output = consoles_finish(g);
	if (g->terminal)
		printf("\n");
	fflush(stdout);
	command_conclude(g);
	if (output && g->status == EXIT_GUEST_OFF) {
		g->ended = g->powered_off = false;
		on_output_failed(g, output);
	}
	if (g->options->detach)
		record_end(g);
	if (g->status != EXIT_GUEST_OFF && !g->powered_off)
		fprintf(stderr, "lodge: guest '%s': %s\n", g->instance.name, g->reason);
	return g->status;
}

/* Queues, doorbells and vectors are a descriptor each: more than the soft limit of most shells. */
static void descriptors_raise(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int guest_run(const struct guest_plan *plan)
{
	struct guest g = {.plan = plan,
			  .options = plan->options,
			  .command_status = -1,
			  .instance.lock_fd = -1};
	struct error err = {0};
	int ret, status;

	g.snapshots = (struct guest_snapshots){
		.plan = plan, .name = plan->name, .hibernated = on_hibernated, .arg = &g};
	descriptors_raise();
	ret = guest_setup(&g, &err);
	if (ret) {
		guest_teardown(&g);
		return cli_fail(&err, ret, EXIT_HOST);
	}
	g.started_ns = clock_monotonic_ns();
	log_info("guest '%s': its vCPUs run", plan->name); /* lodge compare waits for it */
	report_ready(&g);
	machine_resume(g.machine);
	guest_snapshots_started(&g.snapshots);
	ret = loop_run(g.loop);
	if (ret) {
		g.status = EXIT_INTERNAL;
		snprintf(g.reason, sizeof(g.reason), "event loop: %s", error_name(ret));
	}
	machine_pause(g.machine);
	status = guest_conclude(&g);
	guest_teardown(&g);
	return status;
}
