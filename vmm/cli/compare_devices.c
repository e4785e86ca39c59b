/* SPDX-License-Identifier: MIT */
/* Workloads that have to do with devices: disk, net, snapshot. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/checked.h"
#include "vmm/base/clock.h"
#include "vmm/base/text.h"
#include "vmm/cli/compare_work.h"
#include "vmm/cli/snapshot.h"
#include "vmm/cli/table.h"

#define SECONDS    "0.5" /* of a pattern */
#define PATIENCE_S 300u
#define MIB        1048576.0

/* Does the guest's kernel drive it? The default one's has no driver for an emulated NIC. */
static int device_check(struct compare_place *place, const char *what, const char *test,
			struct error *err)
{
	struct error why = {0};
	int ret = place->process ? compare_shell(place->c, place->process, PATIENCE_S, test, NULL,
						 NULL, &why)
				 : 0;

	if (ret == -EBADMSG)
		return error_set(
			err, ret,
			"give -k and -i of one that scripts/guest --kernel linux-image-amd64 "
			"makes",
			"the guest's kernel has no driver for its %s", what);
	return ret ? error_set(err, ret, why.remedy, "%s", why.what) : 0;
}

/* Disk. */

static const struct {
	const char *name, *words, *pattern;
} patterns[] = {
	/* This one fills it, so it goes first. */
	{"write 1M, 4 at a time", "write ", "seq1m"},
	{"write 4K, 32 at a time", "write ", "rand4k-depth32"},
	{"write 4K", "write ", "rand4k-depth1"},
	{"read 1M, 4 at a time", "", "seq1m"},
	{"read 4K, 32 at a time", "", "rand4k-depth32"},
	{"read 4K", "", "rand4k-depth1"},
};

static void disk_add(struct compare_place *place, unsigned i, double rate)
{
	bool large = strcmp(patterns[i].pattern, "seq1m") == 0;

	if (strcmp(patterns[i].pattern, "rand4k-depth1") == 0)
		compare_add(place, "disk", patterns[i].name, "us", false, 1e6 / rate);
	else
		compare_add(place, "disk", patterns[i].name, large ? "MiB/s" : "operations/s", true,
			    rate);
}

static int disk_pattern(struct compare_place *place, const char *device, unsigned i,
			struct error *err)
{
	struct compare_figures f;
	double before = 0, after = 0, count;
	char words[PATH_MAX + 128], name[96];
	int ret = 0;

	snprintf(words, sizeof(words), "disk %s " SECONDS " %s%s", device, patterns[i].words,
		 patterns[i].pattern);
	if (place->process)
		ret = compare_exits(place, &before, err);
	if (ret == 0)
		ret = compare_program(place, words, &f, err);
	if (ret == 0 && place->process)
		ret = compare_exits(place, &after, err);
	if (ret)
		return ret;
	if (f.count != 1 || f.figure[0].value <= 0)
		return error_set(err, -EBADMSG, NULL, "'%s' says: %s", words, f.words);
	disk_add(place, i, f.figure[0].value);
	count = strtod(f.figure[0].checksum, NULL);
	snprintf(name, sizeof(name), "%s: exits", patterns[i].name);
	if (place->process && count > 0)
		compare_add(place, "disk", name, "each", false, (after - before) / count);
	return 0;
}

int compare_disk(struct compare_place *place, struct error *err)
{
	const char *device = place->config->emulated ? "/dev/sda" : "/dev/vda";
	int ret = device_check(place, "disk", "test -b /dev/sda -o -b /dev/vda", err);

	for (unsigned i = 0; i < ARRAY_SIZE(patterns) && ret == 0; i++)
		ret = disk_pattern(place, place->process ? device : place->c->disk, i, err);
	return ret;
}

/* Network: with a program of the host's, by an address that the guest reaches it at. */

struct server {
	struct compare_process process;
	char address[64]; /* where it listens */
	unsigned port;
};

static bool see_port(void *arg, const char *line, uint64_t at_ns)
{
	uint64_t port;

	(void)at_ns;
	if (strncmp(line, "port ", 5) != 0 || text_to_number(line + 5, 1, 65535, &port))
		return false;
	((struct server *)arg)->port = (unsigned)port;
	return true;
}

/* Of the network that is made for it. */
static int network_address(struct compare_place *place, char out[64], struct error *err)
{
	char text[8192];
	struct json_object *nets, *net;
	int ret = compare_lodge(place->c, text, sizeof(text), err, "net", "info", COMPARE_NAME,
				"--format", "json", NULL);

	if (ret)
		return ret;
	nets = json_tokener_parse(text);
	net = json_object_is_type(nets, json_type_array) ? json_object_array_get_idx(nets, 0)
							 : nets;
	snprintf(out, 64, "%s", json_text(net, "address"));
	out[strcspn(out, "/")] = 0;
	json_object_put(nets);
	return out[0] ? 0
		      : error_set(err, -ENOENT, NULL, "network '%s': it has no address",
				  COMPARE_NAME);
}

static int server_start(struct compare_place *place, struct server *s, struct error *err)
{
	struct compare_words w = {0};
	int ret = 0;

	*s = (struct server){.address = "127.0.0.1"};
	s->process = (struct compare_process){.in = -1, .out = -1, .errors = -1};
	if (place->process && place->c->network)
		ret = network_address(place, s->address, err);
	if (ret)
		return ret;
	compare_words_add(&w, place->c->program);
	compare_words_add(&w, "net");
	compare_words_add(&w, "serve");
	compare_words_add(&w, s->address);
	ret = compare_process_start(&w, false, &s->process, err);
	return ret ? ret
		   : compare_process_read(place->c, &s->process, PATIENCE_S, false, see_port, s,
					  err);
}

static int net_pattern(struct compare_place *place, const struct server *s, const char *pattern,
		       struct error *err)
{
	/* passt takes its own address as the host's. */
	bool gateway = place->process && !place->c->network;
	struct compare_figures f;
	double before = 0, after = 0, count;
	char words[256], name[64];
	bool trip = strcmp(pattern, "round-trip") == 0;
	int ret = 0;

	snprintf(words, sizeof(words), "net %s %u " SECONDS " %s",
		 gateway ? "$(ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p')" : s->address,
		 s->port, pattern);
	if (place->process)
		ret = compare_exits(place, &before, err);
	if (ret == 0)
		ret = compare_program(place, words, &f, err);
	if (ret == 0 && place->process)
		ret = compare_exits(place, &after, err);
	if (ret)
		return ret;
	if (f.count != 1 || f.figure[0].value <= 0)
		return error_set(err, -EBADMSG, NULL, "'%s' says: %s", words, f.words);
	compare_add(place, "net", pattern, trip ? "us" : "MiB/s", !trip,
		    trip ? f.figure[0].value / 1e3 : f.figure[0].value / MIB);
	count = strtod(f.figure[0].checksum, NULL) / (trip ? 1 : MIB);
	snprintf(name, sizeof(name), "%s: exits", pattern);
	if (place->process && count > 0)
		compare_add(place, "net", name, trip ? "each" : "per MiB", false,
			    (after - before) / count);
	return 0;
}

int compare_net(struct compare_place *place, struct error *err)
{
	static const char *const names[] = {"tcp-send", "tcp-receive", "round-trip"};
	struct server s = {.process = {.in = -1, .out = -1, .errors = -1}};
	int ret = device_check(place, "NIC", "ls /sys/class/net/eth0 >/dev/null", err);

	if (ret == 0)
		ret = server_start(place, &s, err);
	for (unsigned i = 0; i < ARRAY_SIZE(names) && ret == 0; i++)
		ret = net_pattern(place, &s, names[i], err);
	compare_process_end(&s.process);
	return ret;
}

/* Snapshots. */

static double number_of(struct json_object *facts, const char *key)
{
	return json_object_get_double(json_object_object_get(facts, key));
}

static int snapshot_one(struct compare_place *place, const char *name, const char *which,
			struct error *err)
{
	struct json_object *facts;
	char text[64];
	int ret = compare_shell(place->c, place->process, PATIENCE_S,
				"dd if=/dev/urandom of=/tmp/f bs=1M count=8 2>/dev/null", NULL,
				NULL, err);

	if (ret == 0)
		ret = snapshot_of_guest(place->process->name, name, "by lodge compare", false,
					&facts, err);
	if (ret)
		return ret;
	snprintf(text, sizeof(text), "%s: pause", which);
	compare_add(place, "snapshot", text, "ms", false, number_of(facts, "pause_ns") / 1e6);
	snprintf(text, sizeof(text), "%s: durable", which);
	compare_add(place, "snapshot", text, "ms", false, number_of(facts, "total_ns") / 1e6);
	snprintf(text, sizeof(text), "%s: memory stored", which);
	compare_add(place, "snapshot", text, "MiB", false, number_of(facts, "memory_bytes") / MIB);
	json_object_put(facts);
	return 0;
}

static int restore_one(struct compare_place *place, const char *name, struct error *err)
{
	struct compare *c = place->c;
	uint64_t begin = clock_monotonic_ns(), opened;
	struct compare_process twin = {.in = -1, .out = -1, .errors = -1};
	int ret = compare_lodge(c, NULL, 0, err, "snapshot", "restore", name, "--as", COMPARE_TWIN,
				NULL);

	opened = clock_monotonic_ns();
	if (ret == 0)
		ret = compare_console(COMPARE_TWIN, &twin, err);
	if (ret == 0)
		ret = compare_shell_ready(c, &twin, PATIENCE_S, err);
	if (ret == 0) {
		compare_add(place, "snapshot", "restore: the command", "ms", false,
			    (double)(opened - begin) / 1e6);
		compare_add(place, "snapshot", "restore: first answer", "ms", false,
			    (double)(clock_monotonic_ns() - begin) / 1e6);
	}
	compare_process_end(&twin);
	return ret;
}

int compare_snapshot(struct compare_place *place, struct error *err)
{
	int ret = snapshot_one(place, COMPARE_NAME "-first", "first", err);

	if (ret == 0)
		ret = snapshot_one(place, COMPARE_NAME "-next", "next", err);
	return ret ? ret : restore_one(place, COMPARE_NAME "-next", err);
}
