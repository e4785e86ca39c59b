/* SPDX-License-Identifier: MIT */
/*
 * The table of options, and how each one's value is read. Help, the parser (options_parse.c), shell
 * completion and a test of the man page walk it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ether.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "devices/virtio/blk.h"
#include "vmm/base/checked.h"
#include "vmm/base/log.h"
#include "vmm/base/text.h"
#include "vmm/cli/cli.h"
#include "vmm/cli/store_open.h"
#include "vmm/core/engine.h"

#define MEMORY_MIN    (16ull << 20)
#define MEMORY_MAX    (1ull << 40)
#define RUNS_MAX      1000u
#define CHECK_MAX     2000u /* less than a terminal's line */
#define TIMEOUT_MAX_S 86400u

static int set_kernel(struct options *o, const char *value, struct error *err)
{
	(void)err;
	o->kernel = value;
	return 0;
}

static int set_initrd(struct options *o, const char *value, struct error *err)
{
	(void)err;
	o->initrd = value;
	return 0;
}

static int set_append(struct options *o, const char *value, struct error *err)
{
	(void)err;
	o->append = value;
	return 0;
}

/* One word behind a disk's path. */
static int disk_attribute(struct option_disk *disk, const char *word, struct error *err)
{
	uint64_t queues;

	if (strcmp(word, "ro") == 0) {
		disk->read_only = true;
	} else if (strncmp(word, "queues=", 7) == 0) {
		if (text_to_number(word + 7, 1, VIRTIO_BLK_QUEUES_MAX, &queues))
			return error_set(err, -EINVAL, "give 1 to 16", "disk attribute '%s'", word);
		disk->queues = (unsigned)queues;
	} else if (strncmp(word, "format=", 7) == 0) {
		disk->format = word + 7;
	} else if (strcmp(word, "backing") == 0) {
		disk->allow_backing = true;
	} else {
		return error_set(err, -EINVAL, "use ro, queues=N, format=raw or qcow2, or backing",
				 "disk attribute '%s': unknown", word);
	}
	return 0;
}

bool option_disk_is_volume(const char *path)
{
	return cli_store_has_volume(path) && access(path, F_OK) < 0;
}

/* The value is a piece of argv, which is ours to cut. */
static int set_disk(struct options *o, const char *value, struct error *err)
{
	struct option_disk *disk = &o->disk[o->disk_count];
	char *rest = (char *)(uintptr_t)value, *word;

	if (o->disk_count == BOARD_DISKS_MAX)
		return error_set(err, -EINVAL, NULL, "more than %d disks", BOARD_DISKS_MAX);
	*disk = (struct option_disk){.path = strsep(&rest, ",")};
	if (!disk->path[0])
		return error_set(err, -EINVAL, "give a path", "disk '': it has no path");
	while ((word = strsep(&rest, ","))) {
		int ret = disk_attribute(disk, word, err);

		if (ret)
			return ret;
	}
	if (!disk->format)
		disk->format = option_disk_is_volume(disk->path) ? "volume" : "raw";
	o->disk_count++;
	return 0;
}

static int set_port(struct options *o, const char *value, struct error *err)
{
	if (o->forward_count == NET_FORWARDS_MAX)
		return error_set(err, -EINVAL, NULL, "more than %u port forwards",
				 NET_FORWARDS_MAX);
	if (net_forward_parse(value, &o->forward[o->forward_count], err))
		return -EINVAL;
	o->forward_count++;
	return 0;
}

static int set_group(struct options *o, const char *value, struct error *err)
{
	if (o->group_count == NETWORK_GROUPS_MAX)
		return error_set(err, -EINVAL, NULL, "more than %u security groups",
				 NETWORK_GROUPS_MAX);
	if (!text_is_name(value))
		return error_set(err, -EINVAL, "see lodge sg ls",
				 "security group '%s': no such name can be", value);
	o->group[o->group_count++] = value;
	return 0;
}

static int set_type(struct options *o, const char *value, struct error *err)
{
	(void)err;
	o->net_type = value;
	return 0;
}

static int set_cidr(struct options *o, const char *value, struct error *err)
{
	(void)err;
	o->net_cidr = value;
	return 0;
}

static int set_bridge(struct options *o, const char *value, struct error *err)
{
	(void)err;
	o->net_bridge = value;
	return 0;
}

static int set_public(struct options *o, const char *value, struct error *err)
{
	(void)err;
	o->net_public = value;
	return 0;
}

static int set_file(struct options *o, const char *value, struct error *err)
{
	(void)err;
	o->net_file = value;
	return 0;
}

static int set_by(struct options *o, const char *value, struct error *err)
{
	(void)err;
	o->balancer_by = value;
	return 0;
}

static int set_cpus(struct options *o, const char *value, struct error *err)
{
	uint64_t cpus;

	if (text_to_number(value, 1, ENGINE_VCPUS_MAX, &cpus))
		return error_set(err, -EINVAL, "give 1 to 64", "number of vCPUs '%s'", value);
	o->cpus = (unsigned)cpus;
	return 0;
}

static int set_memory(struct options *o, const char *value, struct error *err)
{
	int ret = text_to_size(value, &o->memory);

	if (ret || o->memory > MEMORY_MAX)
		return error_set(err, -EINVAL, "give a size such as 512M or 4G, up to 1T",
				 "memory size '%s'", value);
	if (o->memory < MEMORY_MIN)
		return error_set(err, -EINVAL, "give at least 16M",
				 "memory size '%s': too little for a kernel", value);
	o->memory = align_up(o->memory, 1 << 20);
	return 0;
}

static int set_mac(struct option_nic *nic, const char *text, struct error *err)
{
	struct ether_addr mac;

	if (!ether_aton_r(text, &mac))
		return error_set(err, -EINVAL, "give six bytes, as 52:54:00:12:34:56", "MAC '%s'",
				 text);
	if (mac.ether_addr_octet[0] & 1)
		return error_set(err, -EINVAL, "the first byte is to be even",
				 "MAC '%s': it is a group's", text);
	memcpy(nic->mac, mac.ether_addr_octet, NET_MAC);
	nic->has_mac = true;
	return 0;
}

static int set_address(struct option_nic *nic, const char *text, struct error *err)
{
	struct in_addr address;

	if (!nic->network || inet_pton(AF_INET, text, &address) != 1 || !address.s_addr)
		return error_set(err, -EINVAL, "give one as 10.77.0.5, on a network of the host's",
				 "address '%s'", text);
	nic->address = ntohl(address.s_addr);
	return 0;
}

static int set_rate(const char *word, const char *text, uint64_t *out, struct error *err)
{
	if (text_to_size(text, out) || *out == 0 || *out > THROTTLE_MAX)
		return error_set(err, -EINVAL, "give what a second may bring, as 10M",
				 "NIC attribute '%s=%s'", word, text);
	return 0;
}

static int nic_attribute(struct option_nic *nic, const char *word, struct error *err)
{
	uint64_t queues;

	if (strncmp(word, "mac=", 4) == 0)
		return set_mac(nic, word + 4, err);
	if (strncmp(word, "queues=", 7) == 0) {
		if (text_to_number(word + 7, 1, NET_QUEUES_MAX, &queues))
			return error_set(err, -EINVAL, "give 1 to 16", "NIC attribute '%s'", word);
		nic->queues = (unsigned)queues;
		return 0;
	}
	if (strncmp(word, "ip=", 3) == 0)
		return set_address(nic, word + 3, err);
	if (strncmp(word, "rate=", 5) == 0)
		return set_rate("rate", word + 5, &nic->rates.bytes, err);
	if (strncmp(word, "packets=", 8) == 0)
		return set_rate("packets", word + 8, &nic->rates.pieces, err);
	if (strcmp(word, "spoof") != 0)
		return error_set(err, -EINVAL, "use mac=, ip=, queues=, rate=, packets= or spoof",
				 "NIC attribute '%s': unknown", word);
	nic->spoof = true;
	return 0;
}

/* As set_disk. */
static int set_net(struct options *o, const char *value, struct error *err)
{
	struct option_nic *nic = &o->nic[o->nic_count];
	char *rest = (char *)(uintptr_t)value, *word = strsep(&rest, ",");

	if (o->nic_count == BOARD_NICS_MAX)
		return error_set(err, -EINVAL, NULL, "more than %d NICs", BOARD_NICS_MAX);
	*nic = (struct option_nic){0};
	if (strcmp(word, "none") == 0 && !rest) {
		o->no_nic = true;
		return 0;
	}
	if (strncmp(word, "tap:", 4) == 0 && word[4])
		nic->tap = word + 4;
	else if (strcmp(word, "user") == 0)
		nic->user = true;
	else if (text_is_name(word))
		nic->network = word;
	else
		return error_set(err, -EINVAL, "give user, none, tap:INTERFACE or a network's name",
				 "network '%s': unknown", word);
	while ((word = strsep(&rest, ","))) {
		int ret = nic_attribute(nic, word, err);

		if (ret)
			return ret;
	}
	o->nic_count++;
	return 0;
}

static int set_engine(struct options *o, const char *value, struct error *err)
{
	(void)err;
	o->engine = value;
	o->engine_given = true;
	return 0;
}

static int set_bt(struct options *o, const char *value, struct error *err)
{
	static const char *const names[] = {
		[TRANSLATION_NONE] = "interp",       [TRANSLATION_ON] = "translate",
		[TRANSLATION_TLB] = "translate-tlb", [TRANSLATION_WINDOWS] = "translate-windows",
		[TRANSLATION_CHECKED] = "check",
	};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(value, names[i]) == 0) {
			o->translation = (enum translation)i;
			o->translation_given = true;
			return 0;
		}
	return error_set(err, -EINVAL,
			 "use interp, translate, translate-tlb, translate-windows or check",
			 "--bt '%s': unknown", value);
}

static int set_cpu(struct options *o, const char *value, struct error *err)
{
	if (!cpu_model_find(value))
		return error_set(err, -EINVAL, "use portable or host", "CPU model '%s': unknown",
				 value);
	o->cpu = value;
	return 0;
}

static int set_pv(struct options *o, const char *value, struct error *err)
{
	if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
		return error_set(err, -EINVAL, "use on or off", "--pv '%s'", value);
	o->paravirtual = strcmp(value, "on") == 0;
	return 0;
}

static int set_io(struct options *o, const char *value, struct error *err)
{
	if (strcmp(value, "virtio") != 0 && strcmp(value, "emulated") != 0)
		return error_set(err, -EINVAL, "use virtio or emulated", "--io '%s'", value);
	o->emulated_io = strcmp(value, "emulated") == 0;
	return 0;
}

static int set_detach(struct options *o, const char *value, struct error *err)
{
	(void)value;
	(void)err;
	o->detach = true;
	return 0;
}

static int set_force(struct options *o, const char *value, struct error *err)
{
	(void)value;
	(void)err;
	o->force = true;
	return 0;
}

static int set_comment(struct options *o, const char *value, struct error *err)
{
	(void)err;
	o->comment = value;
	return 0;
}

static int set_as(struct options *o, const char *value, struct error *err)
{
	if (!text_is_name(value))
		return error_set(err, -EINVAL, "use letters, digits, . _ and -",
				 "guest '%s': no such name can be", value);
	o->as = value;
	return 0;
}

static int set_from(struct options *o, const char *value, struct error *err)
{
	(void)err;
	o->from = value;
	return 0;
}

static int set_image(struct options *o, const char *value, struct error *err)
{
	(void)err;
	o->image = value;
	return 0;
}

static int set_disk_only(struct options *o, const char *value, struct error *err)
{
	(void)value;
	(void)err;
	o->disk_only = true;
	return 0;
}

static int set_discard(struct options *o, const char *value, struct error *err)
{
	(void)value;
	(void)err;
	o->discard = true;
	return 0;
}

static int set_tree(struct options *o, const char *value, struct error *err)
{
	(void)value;
	(void)err;
	o->tree = true;
	return 0;
}

static int set_pages(struct options *o, const char *value, struct error *err)
{
	(void)value;
	(void)err;
	o->pages = true;
	return 0;
}

static int set_png(struct options *o, const char *value, struct error *err)
{
	(void)err;
	o->pages = true;
	o->picture = value;
	return 0;
}

static int set_output(struct options *o, const char *value, struct error *err)
{
	(void)err;
	o->output = value;
	return 0;
}

static int set_since(struct options *o, const char *value, struct error *err)
{
	if (o->since_count == OPTIONS_SINCE_MAX)
		return error_set(err, -EINVAL, "give the latest ones", "more than %u --since",
				 OPTIONS_SINCE_MAX);
	o->since[o->since_count++] = value;
	return 0;
}

static int set_have(struct options *o, const char *value, struct error *err)
{
	(void)err;
	o->have = value;
	return 0;
}

static int set_name(struct options *o, const char *value, struct error *err)
{
	if (!text_is_name(value))
		return error_set(err, -EINVAL, "use letters, digits, . _ and -",
				 "snapshot '%s': no such name can be", value);
	o->name = value;
	return 0;
}

static int set_scenario(struct options *o, const char *value, struct error *err)
{
	(void)err;
	o->drill_scenarios = value;
	return 0;
}

static int set_ready(struct options *o, const char *value, struct error *err)
{
	if (!value[0])
		return error_set(err, -EINVAL, "give a part of a line", "--ready '': no text");
	o->drill_ready = value;
	return 0;
}

static int set_ready_port(struct options *o, const char *value, struct error *err)
{
	uint64_t port;

	if (text_to_number(value, 1, 65535, &port))
		return error_set(err, -EINVAL, "give 1 to 65535", "port '%s'", value);
	o->drill_port = (unsigned)port;
	return 0;
}

static int set_check(struct options *o, const char *value, struct error *err)
{
	if (!value[0] || strlen(value) > CHECK_MAX || strchr(value, '\n'))
		return error_set(err, -EINVAL, "give a shorter command, in one line",
				 "--check: not a line of a shell's");
	o->drill_check = value;
	return 0;
}

static int set_engines(struct options *o, const char *value, struct error *err)
{
	(void)err;
	o->compare_engines = value;
	return 0;
}

static int set_pvs(struct options *o, const char *value, struct error *err)
{
	(void)err;
	o->compare_pv = value;
	return 0;
}

static int set_ios(struct options *o, const char *value, struct error *err)
{
	(void)err;
	o->compare_io = value;
	return 0;
}

static int set_workloads(struct options *o, const char *value, struct error *err)
{
	(void)err;
	o->compare_workloads = value;
	return 0;
}

static int set_runs(struct options *o, const char *value, struct error *err)
{
	uint64_t runs;

	if (text_to_number(value, 1, RUNS_MAX, &runs))
		return error_set(err, -EINVAL, "give 1 to 1000", "number of runs '%s'", value);
	o->compare_runs = (unsigned)runs;
	return 0;
}

static int set_timeout(struct options *o, const char *value, struct error *err)
{
	uint64_t seconds;

	if (text_to_number(value, 0, TIMEOUT_MAX_S, &seconds))
		return error_set(err, -EINVAL, "give seconds, up to 86400", "timeout '%s'", value);
	o->timeout_s = (unsigned)seconds;
	return 0;
}

static int set_format(struct options *o, const char *value, struct error *err)
{
	if (strcmp(value, "table") != 0 && strcmp(value, "json") != 0)
		return error_set(err, -EINVAL, "use table or json", "format '%s': unknown", value);
	o->json = strcmp(value, "json") == 0;
	return 0;
}

static int set_log_level(struct options *o, const char *value, struct error *err)
{
	enum log_level level;

	(void)o;
	if (log_level_from_name(value, &level))
		return error_set(err, -EINVAL, "use error, warn, info or debug",
				 "log level '%s': unknown", value);
	log_set_level(level);
	return 0;
}

static const struct option_spec specs[] = {
	{'k', "kernel", "FILE", "the kernel: bzImage or ELF vmlinux (default: the default guest's)",
	 CMD_RUN | CMD_COMPARE, set_kernel},
	{'i', "initrd", "FILE", "the initial RAM disk", CMD_RUN | CMD_COMPARE, set_initrd},
	{'a', "append", "CMDLINE", "kernel command line, behind \"console=ttyS0 panic=-1\"",
	 CMD_RUN, set_append},
	{'d', "disk", "FILE|VOLUME[,ro][,queues=N][,format=raw|qcow2][,backing]",
	 "a disk image or block device; may be repeated", CMD_RUN, set_disk},
	{'n', "net", "NET[,...]",
	 "a NIC on a network, user, tap:INTERFACE; or none; may be repeated", CMD_RUN, set_net},
	{'p', "port", "[ADDR:]HOST:GUEST[/udp]",
	 "a host port leads to the guest's; may be repeated", CMD_RUN, set_port},
	{0, "sg", "GROUP", "a security group; may be repeated", CMD_RUN, set_group},
	{'c', "cpus", "N", "number of vCPUs (default: 1)", CMD_RUN, set_cpus},
	{'m', "memory", "SIZE", "guest memory, with suffix M or G (default: 512M)",
	 CMD_RUN | CMD_COMPARE, set_memory},
	{0, "engine", "ENGINE", "what runs the guest: auto, kvm or bt (default: auto)",
	 CMD_RUN | CMD_SNAPSHOT | CMD_START, set_engine},
	{0, "bt", "HOW",
	 "how engine bt does it: interp, translate, check, ... (default: translate)",
	 CMD_RUN | CMD_SNAPSHOT | CMD_START, set_bt},
	{0, "cpu", "MODEL", "what CPU it sees: portable or host (default: portable)", CMD_RUN,
	 set_cpu},
	{0, "pv", "on|off", "show the guest its paravirtual interface (default: on)", CMD_RUN,
	 set_pv},
	{0, "io", "virtio|emulated",
	 "what disks and NICs are: emulated is IDE and e1000 (default: virtio)", CMD_RUN, set_io},
	{0, "image", "IMAGE", "a new guest of an image; other options go before what that says",
	 CMD_RUN, set_image},
	{0, "detach", NULL, "return when the guest runs, and leave it running", CMD_RUN,
	 set_detach},
	{0, "type", "TYPE", "nat, host-only, isolated or bridged (default: nat)", CMD_NET,
	 set_type},
	{0, "cidr", "ADDRESS/BITS", "the network's range (default: one that is free)", CMD_NET,
	 set_cidr},
	{0, "bridge", "INTERFACE", "the host's bridge, of type bridged", CMD_NET, set_bridge},
	{0, "public", "ADDRESS", "the address that its guests have outside, of type nat", CMD_NET,
	 set_public},
	{'w', "write", "FILE", "where a capture goes; - is standard output", CMD_NET, set_file},
	{0, "by", "HOW", "round-robin or connections: who gets the next one (default: round-robin)",
	 CMD_BALANCER, set_by},
	{'m', "comment", "TEXT", "a line about a snapshot or an image", CMD_SNAPSHOT | CMD_IMAGE,
	 set_comment},
	{0, "from", "SNAPSHOT", "what an image is made of, or goes on under each engine",
	 CMD_IMAGE | CMD_COMPARE, set_from},
	{0, "disk-only", NULL, "a snapshot of a guest's disks without its memory", CMD_SNAPSHOT,
	 set_disk_only},
	{0, "as", "NAME", "restore as another guest of that name", CMD_SNAPSHOT, set_as},
	{0, "discard", NULL, "restore over, or remove, a guest whose present state is then lost",
	 CMD_SNAPSHOT | CMD_RM, set_discard},
	{0, "tree", NULL, "list snapshots below those they were taken after", CMD_SNAPSHOT,
	 set_tree},
	{0, "pages", NULL, "compare two snapshots' memory, page by page", CMD_SNAPSHOT, set_pages},
	{0, "png", "FILE", "likewise, and draw it: a pixel a page", CMD_SNAPSHOT, set_png},
	{'o', "output", "FILE", "export to a file", CMD_SNAPSHOT, set_output},
	{0, "since", "SNAPSHOT", "export without the layers of this one; may be repeated",
	 CMD_SNAPSHOT, set_since},
	{0, "have", "FILE", "export without the layers that this list has", CMD_SNAPSHOT, set_have},
	{0, "name", "NAME", "import under another name", CMD_SNAPSHOT, set_name},
	{0, "scenario", "NAME,...", "restore, kill, engine, bitflip, full-disk, lost-disk",
	 CMD_DRILL, set_scenario},
	{0, "ready", "TEXT", "what its console says when the guest answers (default: anything)",
	 CMD_DRILL, set_ready},
	{0, "ready-port", "PORT", "the guest answers when it accepts a TCP connection there",
	 CMD_DRILL, set_ready_port},
	{0, "check", "COMMAND", "typed at the guest's shell; to end with 0", CMD_DRILL, set_check},
	{0, "engines", "ENGINE,...", "native, bt-interp, bt, kvm (default: all)", CMD_COMPARE,
	 set_engines},
	{0, "pv", "on,off", "compare with and without the paravirtual interface", CMD_COMPARE,
	 set_pvs},
	{0, "io", "virtio,emulated", "compare paravirtual and emulated disks and NICs", CMD_COMPARE,
	 set_ios},
	{0, "workloads", "NAME,...",
	 "boot, cost, nano, compute, kernel, disk, net, snapshot (default: all)", CMD_COMPARE,
	 set_workloads},
	{0, "runs", "N", "how often each is measured (default: 5)", CMD_COMPARE, set_runs},
	{'o', "output", "DIR", "where report.json and report.html go", CMD_COMPARE, set_output},
	{0, "force", NULL, "do not ask the guest", CMD_STOP | CMD_RM, set_force},
	{0, "timeout", "SECONDS", "how long the guest may take to end, or to answer (default: 30)",
	 CMD_STOP | CMD_DRILL, set_timeout},
	{0, "format", "table|json", "how to print",
	 CMD_LS | CMD_INFO | CMD_DOCTOR | CMD_NET | CMD_PORT | CMD_SG | CMD_BALANCER | CMD_VOLUME |
		 CMD_SNAPSHOT | CMD_IMAGE | CMD_STORE | CMD_DRILL | CMD_COMPARE,
	 set_format},
	{0, "log-level", "LEVEL", "error, warn, info or debug (default: warn)", CMD_ALL,
	 set_log_level},
};

const struct option_spec *option_at(unsigned index)
{
	return index < ARRAY_SIZE(specs) ? &specs[index] : NULL;
}
