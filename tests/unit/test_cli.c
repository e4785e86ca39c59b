/* SPDX-License-Identifier: MIT */
/* The command line's own parts: the table of options, the overlay, the escape character. */
#include "tests/unit/unit.h"

#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/scratch.h"
#include "vmm/cli/cli.h"
#include "vmm/cli/clone.h"
#include "vmm/cli/guest_config.h"
#include "vmm/cli/overlay.h"
#include "vmm/cli/terminal.h"

static void option_table(void **state)
{
	const struct option_spec *a, *b;
	unsigned bits = 0;

	(void)state;
	for (unsigned i = 0; (a = option_at(i)); i++) {
		assert_true(a->name && strlen(a->name) > 1);
		assert_true(a->help && a->help[0]);
		assert_non_null(a->parse);
		assert_int_not_equal(a->commands, 0);
		assert_int_equal(a->commands & ~(unsigned)CMD_ALL, 0);
		assert_string_not_equal(a->name, "help");
		assert_int_not_equal(a->letter, 'h');
		bits |= a->commands;
		for (unsigned k = 0; k < i; k++) {
			b = option_at(k);
			assert_true(strcmp(a->name, b->name) != 0 || !(a->commands & b->commands));
			assert_true(!a->letter || a->letter != b->letter ||
				    !(a->commands & b->commands));
		}
	}
	assert_int_equal(bits, CMD_ALL);
}

static const struct command run_command = {
	.name = "run",
	.arguments = "[NAME] [-- CMD ...]",
	.bit = CMD_RUN,
	.words_max = 1,
	.takes_command = true,
};
static const struct command stop_command = {
	.name = "stop", .arguments = "NAME", .bit = CMD_STOP, .words_min = 1, .words_max = 1};

#define WORDS_MAX 32

/* Words are cut at blanks. The storage lasts until the next call. */
static int parse(const struct command *command, const char *line, struct options *out)
{
	static char text[512];
	static char *argv[WORDS_MAX + 2];
	struct error err = {0};
	char *rest = text, *word;
	int argc = 0, ret;
	bool help;

	snprintf(text, sizeof(text), "lodge %s", line);
	while ((word = strsep(&rest, " ")))
		if (*word && argc <= WORDS_MAX)
			argv[argc++] = word;
	argv[argc] = NULL;
	ret = options_parse(command, argc, argv, out, &help, &err);
	assert_true(ret == 0 || (ret == -EINVAL && err.what[0]));
	return help ? 1 : ret;
}

static void options_good(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(parse(&run_command, "", &o), 0);
	assert_int_equal(o.cpus, 1);
	assert_int_equal(o.memory, 512 * MIB);
	assert_string_equal(o.cpu, "portable");
	assert_int_equal(o.word_count, 0);
	assert_int_equal(parse(&run_command,
			       "web -k vmlinux --initrd=i -d a.img,ro,queues=2 -d b -c 64 -m 4G "
			       "--cpu host --pv off --io emulated",
			       &o),
			 0);
	assert_int_equal(o.word_count, 1);
	assert_string_equal(o.word[0], "web");
	assert_string_equal(o.kernel, "vmlinux");
	assert_string_equal(o.initrd, "i");
	assert_int_equal(o.disk_count, 2);
	assert_string_equal(o.disk[0].path, "a.img");
	assert_true(o.disk[0].read_only);
	assert_int_equal(o.disk[0].queues, 2);
	assert_string_equal(o.disk[1].path, "b");
	assert_false(o.disk[1].read_only);
	assert_int_equal(o.cpus, 64);
	assert_int_equal(o.memory, 4 * GIB);
	assert_false(o.paravirtual);
	assert_true(o.emulated_io);
	/* Options before and behind the name; what is behind "--" is the command's. */
	assert_int_equal(parse(&run_command, "-c 2 web -m 64M -- ls -l -c", &o), 0);
	assert_int_equal(o.cpus, 2);
	assert_int_equal(o.memory, 64 * MIB);
	assert_int_equal(o.command_count, 3);
	assert_string_equal(o.command[0], "ls");
	assert_string_equal(o.command[2], "-c");
	assert_int_equal(parse(&stop_command, "web --force --timeout 0", &o), 0);
	assert_true(o.force);
	assert_int_equal(o.timeout_s, 0);
	assert_int_equal(parse(&run_command, "-c 2 --help", &o), 1);
	assert_int_equal(parse(&run_command, "-h", &o), 1);
}

static void options_bad(void **state)
{
	static const char *const run[] = {
		"-c 0",          "-c 65",          "-c x",       "-c",
		"-m 15M",        "-m 2T",          "-m x",       "-d ,ro",
		"-d a,queues=0", "-d a,queues=17", "-d a,rw",    "-d a,",
		"--cpu x",       "--pv maybe",     "--nonsense", "-z",
		"--force",       "--kernel",       "a b",        "--log-level loud",
		"--detach=1",    "--io none",
	};
	static const char *const stop[] = {
		"",           "a b", "a -c 1", "a -- ls", "a --timeout -1", "a --timeout 86401",
		"a --timeout"};
	struct options o;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(run); i++) {
		print_message("run %s\n", run[i]);
		assert_int_equal(parse(&run_command, run[i], &o), -EINVAL);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(stop); i++) {
		print_message("stop %s\n", stop[i]);
		assert_int_equal(parse(&stop_command, stop[i], &o), -EINVAL);
	}
}

static void disks_are_counted(void **state)
{
	static char d[] = "-d";
	char *argv[2 * BOARD_DISKS_MAX + 5] = {d};
	char path[BOARD_DISKS_MAX + 1][16];
	struct error err = {0};
	struct options o;
	bool help;
	int argc = 1;

	(void)state;
	for (unsigned i = 0; i <= BOARD_DISKS_MAX; i++) {
		snprintf(path[i], sizeof(path[i]), "disk%u", i);
		argv[argc++] = d;
		argv[argc++] = path[i];
	}
	assert_int_equal(options_parse(&run_command, argc - 2, argv, &o, &help, &err), 0);
	assert_int_equal(o.disk_count, BOARD_DISKS_MAX);
	assert_int_equal(options_parse(&run_command, argc, argv, &o, &help, &err), -EINVAL);
}

/* What a guest says again that is one more of a root: its own volumes, and no other's addresses. */
static void clones_have_their_own(void **state)
{
	struct root_volume volume = {.name = "data"};
	const struct root root = {.volume_count = 1, .volumes = &volume};
	struct clone clone = {.root = &root, .guest = "twin"};
	struct options given;

	(void)state;
	assert_string_equal(clone_option(&clone, "disk", "data,format=volume"),
			    "twin.data,format=volume");
	assert_string_equal(clone_option(&clone, "disk", "data"), "twin.data");
	assert_string_equal(clone_option(&clone, "disk", "/data.img,ro"), "/data.img,ro");
	assert_string_equal(
		clone_option(&clone, "net", "lab,mac=52:54:00:1:2:3,queues=2,ip=10.0.0.9"),
		"lab,queues=2");
	assert_string_equal(clone_option(&clone, "net", "user"), "user");
	assert_string_equal(clone_option(&clone, "cpus", "4"), "4");
	assert_null(clone_option(&clone, "port", "80:80"));
	/* What is given goes before that; disks are added. */
	assert_int_equal(parse(&run_command, "web --image i -c 2 -n user -p 81:80 -d b", &given),
			 0);
	assert_string_equal(given.image, "i");
	assert_int_equal(given.nic_count, 1);
	clone.given = &given;
	assert_null(clone_option(&clone, "cpus", "4"));
	assert_null(clone_option(&clone, "net", "lab"));
	assert_string_equal(clone_option(&clone, "memory", "1G"), "1G");
	assert_string_equal(clone_option(&clone, "disk", "data,ro"), "twin.data,ro");
	/* No NIC comes of nothing where the image may have one. */
	assert_int_equal(parse(&run_command, "web --image i", &given), 0);
	assert_int_equal(given.nic_count, 0);
}

/* The configuration of a root says again what was said. */
static void configurations(void **state)
{
	struct root_volume volumes[] = {{.name = "a"}, {.name = "b"}};
	const struct root root = {.volume_count = 2, .volumes = volumes};
	struct json_object *config = guest_config_of_volumes(&root);
	struct options o;

	(void)state;
	assert_int_equal(guest_config_parse(config, NULL, NULL, &o, NULL), 0);
	assert_null(guest_config_name(config));
	assert_int_equal(o.disk_count, 2);
	assert_string_equal(o.disk[1].path, "b");
	assert_string_equal(o.disk[1].format, "volume");
	json_object_put(config);
}

/* The kernel's own reader of such archives is cpio's. */
static void overlay_is_a_cpio_archive(void **state)
{
	char *const words[] = {
		(char[]){"printf"}, (char[]){"%s|"},   (char[]){"it's"}, (char[]){"a b"},
		(char[]){""},       (char[]){"$HOME"}, (char[]){"`id`"}, (char[]){"\"\\\n'"},
	};
	struct scratch scratch;
	char command[512], output[256] = {0};
	void *archive;
	size_t size;
	FILE *pipe;

	(void)state;
	scratch_make(&scratch);
	assert_int_equal(overlay_make(ARRAY_SIZE(words), words, &archive, &size), 0);
	assert_int_equal(size % 4, 0);
	scratch_write(&scratch, "overlay", archive, size);
	free(archive);
	snprintf(command, sizeof(command), "cd %s && cpio -t --quiet <overlay", scratch.path);
	pipe = popen(command, "r");
	assert_int_equal(fread(output, 1, sizeof(output) - 1, pipe), 20);
	assert_int_equal(pclose(pipe), 0);
	assert_string_equal(output, "lodge\nlodge/command\n");
	/* The script says the words, each as it was. */
	snprintf(command, sizeof(command),
		 "cd %s && cpio -i --quiet --to-stdout lodge/command <overlay | sh", scratch.path);
	memset(output, 0, sizeof(output));
	pipe = popen(command, "r");
	assert_true(fread(output, 1, sizeof(output) - 1, pipe) > 0);
	assert_int_equal(pclose(pipe), 0);
	assert_string_equal(output, "it's|a b||$HOME|`id`|\"\\\n'|");
	scratch_remove(&scratch);
}

static void filter(struct terminal_escape *escape, const char *in, const char *out)
{
	uint8_t bytes[64];
	size_t n = strlen(in);

	memcpy(bytes, in, n);
	n = terminal_filter(escape, bytes, n);
	assert_int_equal(n, strlen(out));
	assert_memory_equal(bytes, out, n);
}

static void escape_character(void **state)
{
	struct terminal_escape e = {0};

	(void)state;
	filter(&e, "plain x", "plain x");
	filter(&e, "a\x01\x01z", "a\x01z");
	filter(&e, "\x01y!", "!"); /* an escape that is none */
	assert_false(e.left);
	filter(&e, "ab\x01", "ab"); /* over two reads */
	filter(&e, "\x01", "\x01");
	filter(&e, "\x01", "");
	filter(&e, "", "");
	filter(&e, "xrest", "rest");
	assert_true(e.left);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(option_table),
		cmocka_unit_test(options_good),
		cmocka_unit_test(options_bad),
		cmocka_unit_test(disks_are_counted),
		cmocka_unit_test(clones_have_their_own),
		cmocka_unit_test(configurations),
		cmocka_unit_test(overlay_is_a_cpio_archive),
		cmocka_unit_test(escape_character),
	};

	if (system("command -v cpio >/dev/null")) {
		printf("skipped: there is no cpio; install it\n");
		return EXIT_SKIP;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
