/* SPDX-License-Identifier: MIT */
/*
 * Networks on the host: iproute2 makes bridges, dnsmasq(8) gives addresses and names. What is
 * changed of the host's own: forwarding is turned on for networks of type nat, and interfaces that
 * take routes from router advertisements are told to go on with that (accept_ra 2, which forwarding
 * would end); NETWORK_RUN/sysctl has what was there before, and it is put back with the last of
 * them.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/network_impl.h"
#include "vmm/base/instance.h"
#include "vmm/base/log.h"
#include "vmm/base/process.h"

#define WORDS_MAX   24u
#define LEASE       "2m" /* an address of a guest that was killed is free soon */
#define IPV4        "/proc/sys/net/ipv4/ip_forward"
#define IPV4_CONF   "/proc/sys/net/ipv4/conf"
#define IPV6        "/proc/sys/net/ipv6/conf"
#define SYSCTL_KEPT NETWORK_RUN "/.sysctl"

/* Files. */

/* Words of one line; "" where there is none. */
static void file_read(const char *path, char *out, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);

	out[n > 0 ? n : 0] = 0;
	out[strcspn(out, "\n")] = 0;
	if (fd >= 0)
		close(fd);
}

static int file_write(const char *path, const char *text, int flags)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0644), ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		ret = -errno;
	close(fd);
	return ret;
}

void network_run_path(const char *network, const char *file, char out[PATH_MAX])
{
	snprintf(out, PATH_MAX, "%s/%s%s", NETWORK_RUN, network, file);
}

static int run_make(const struct network *n, struct error *err)
{
	static const char *const parts[] = {"", "/hosts", "/members"};
	char path[PATH_MAX] = NETWORK_RUN;

	if ((mkdir(path, 0755) < 0 && errno != EEXIST) || chmod(path, 0755) < 0)
		return error_set(err, -errno, "be root", "directory '%s': %s", path,
				 error_name(-errno));
	for (unsigned i = 0; i < 3; i++) {
		network_run_path(n->name, parts[i], path);
		/* dnsmasq is not root. */
		if ((mkdir(path, 0755) < 0 && errno != EEXIST) || chmod(path, 0755) < 0)
			return error_set(err, -errno, NULL, "directory '%s': %s", path,
					 error_name(-errno));
	}
	return 0;
}

/* Interfaces. */

/* ip(8), with words up to NULL. */
static int ip(struct error *err, ...)
{
	const char *words[WORDS_MAX] = {"ip"};
	struct process process = {.argv = words, .package = "iproute2", .fd = -1};
	unsigned count = 1;
	va_list list;

	va_start(list, err);
	while (count + 1 < WORDS_MAX && (words[count] = va_arg(list, const char *)))
		count++;
	va_end(list);
	words[count] = NULL;
	return process_run(&process, err);
}

/* Not by sysfs, which may be another network namespace's. */
bool network_bridge_is_there(const char *name)
{
	struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
	struct ifreq request = {.ifr_data = (char *)&info};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), ret = -1;

	if (fd >= 0 && strlen(name) < IFNAMSIZ) {
		memcpy(request.ifr_name, name, strlen(name));
		ret = ioctl(fd, SIOCETHTOOL, &request);
	}
	if (fd >= 0)
		close(fd);
	return ret == 0 && strcmp(info.driver, "bridge") == 0;
}

bool network_is_up(const struct network *network)
{
	return network_bridge_is_there(network->bridge);
}

bool network_is_ready(const struct network *network)
{
	char ready[PATH_MAX];

	network_run_path(network->name, "/ready", ready);
	return network_is_up(network) && access(ready, F_OK) == 0;
}

static bool has_address(const struct network *n)
{
	return n->prefix;
}

/* Its own, and the same each time: else it is that of whichever port has the lowest. */
static void bridge_mac(const struct network *n, char out[18])
{
	const uint8_t *random = n->address6.s6_addr + 2;
	const uint8_t mac[NET_MAC] = {0x52, 0x54, random[0], random[1], random[2], random[3]};

	net_mac_text(mac, out);
}

static int bridge_make(const struct network *n, struct error *err)
{
	char address[NETWORK_TEXT], path[PATH_MAX], mac[18];
	int ret;

	bridge_mac(n, mac);
	ret = has_address(n)
		      ? ip(err, "link", "add", n->bridge, "address", mac, "type", "bridge", NULL)
		      : ip(err, "link", "add", n->bridge, "type", "bridge", NULL);
	if (ret)
		return ret;
	if (has_address(n)) {
		network_address_text(n, address);
		ret = ip(err, "address", "add", address, "dev", n->bridge, NULL);
		network_address6_text(n, address);
		/* A host without IPv6 has a network without. */
		if (ret == 0 && access(IPV6, F_OK) == 0)
			ret = ip(err, "-6", "address", "add", address, "dev", n->bridge, "nodad",
				 NULL);
		/* A guest is no router of the host's. */
		snprintf(path, sizeof(path), IPV6 "/%s/accept_ra", n->bridge);
		file_write(path, "0", 0);
		/* Ports of the host's loopback lead there; network_rules.c guards it. */
		snprintf(path, sizeof(path), IPV4_CONF "/%s/route_localnet", n->bridge);
		file_write(path, "1", 0);
	} else {
		snprintf(path, sizeof(path), IPV6 "/%s/disable_ipv6", n->bridge);
		file_write(path, "1", 0);
	}
	return ret ? ret : ip(err, "link", "set", n->bridge, "up", NULL);
}

/* Forwarding. */

/* What was there before, for forwarding_restore. */
static int sysctl_keep(const char *path, const char *old)
{
	char line[PATH_MAX + 80];

	int ret;

	snprintf(line, sizeof(line), "%s %s\n", path, old);
	ret = file_write(SYSCTL_KEPT, line, O_CREAT | O_APPEND);
	if (ret)
		log_warn("networks: '%s' is left alone: '%s': %s", path, SYSCTL_KEPT,
			 error_name(ret));
	return ret;
}

static void sysctl_change(const char *path, const char *value)
{
	if (file_write(path, value, 0))
		log_warn("networks: '%s' could not be set to %s", path, value);
}

/* Where `path` has `old`, that is kept; then it becomes `value`, unless that is NULL. */
static void sysctl_set(const char *path, const char *old, const char *value)
{
	char has[64];

	file_read(path, has, sizeof(has));
	if (strcmp(has, old) == 0 && sysctl_keep(path, old) == 0 && value)
		sysctl_change(path, value);
}

/* Of each interface, and of those to come. */
static void sysctl_set_each(const char *conf, const char *file, const char *old, const char *value)
{
	DIR *directory = opendir(conf);
	struct dirent *entry;
	char path[PATH_MAX];

	while (directory && (entry = readdir(directory))) {
		if (entry->d_name[0] == '.' || strcmp(entry->d_name, "all") == 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s/%s", conf, entry->d_name, file);
		sysctl_set(path, old, value);
	}
	if (directory)
		closedir(directory);
}

/*
 * A family's switch. Off, it leaves the interfaces' own ones off, and redirects accepted
 * (Documentation/networking/ip-sysctl.rst): those that were otherwise are kept behind it.
 */
static void switch_on(const char *path, const char *conf)
{
	char has[8], redirects[PATH_MAX];

	file_read(path, has, sizeof(has));
	if (strcmp(has, "0") != 0 || sysctl_keep(path, has))
		return;
	snprintf(redirects, sizeof(redirects), "%s/all/accept_redirects", conf);
	sysctl_set(redirects, "0", NULL);
	sysctl_set_each(conf, "forwarding", "1", NULL);
	sysctl_change(path, "1");
}

static void forwarding_on(void)
{
	static const char six[] = IPV6 "/all/forwarding";
	char has[8];

	switch_on(IPV4, IPV4_CONF);
	file_read(six, has, sizeof(has));
	if (strcmp(has, "0") == 0)
		sysctl_set_each(IPV6, "accept_ra", "1", "2");
	switch_on(six, IPV6);
}

/* In the order in which they were kept. */
static void forwarding_restore(void)
{
	FILE *file = fopen(SYSCTL_KEPT, "re");
	char line[PATH_MAX + 80];

	while (file && fgets(line, sizeof(line), file)) {
		char *value = strchr(line, ' ');

		if (!value)
			continue;
		*value++ = 0;
		value[strcspn(value, "\n")] = 0;
		file_write(line, value, 0);
	}
	if (file)
		fclose(file);
	unlink(SYSCTL_KEPT);
}

static int is_nat_up(void *arg, const struct network *n)
{
	return strcmp(arg, n->name) != 0 && n->type == NETWORK_NAT && network_is_up(n);
}

/* dnsmasq. */

/* Its pid, if what has it is ours: it was told where to write it. 0: it does not run. */
static pid_t dnsmasq_pid(const struct network *n)
{
	char path[PATH_MAX], text[16], command[4096];
	uint64_t pid;
	ssize_t length;
	int fd;

	network_run_path(n->name, "/pid", path);
	file_read(path, text, sizeof(text));
	if (text_to_number(text, 1, INT_MAX, &pid))
		return 0;
	snprintf(command, sizeof(command), "/proc/%s/cmdline", text);
	fd = open(command, O_RDONLY | O_CLOEXEC);
	length = fd < 0 ? 0 : read(fd, command, sizeof(command));
	if (fd >= 0)
		close(fd);
	snprintf(path, sizeof(path), "--pid-file=%s/%s/pid", NETWORK_RUN, n->name);
	return length > 0 && memmem(command, (size_t)length, path, strlen(path) + 1) ? (pid_t)pid
										     : 0;
}

static void range_text(const struct network *n, char *out, size_t size)
{
	uint32_t mask = ~0u << (32 - n->prefix), last = (n->address | ~mask) - 1;
	struct in_addr a = {htonl(n->address + 1)}, b = {htonl(last)}, m = {htonl(mask)};
	char first[INET_ADDRSTRLEN], end[INET_ADDRSTRLEN], bits[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &a, first, sizeof(first));
	inet_ntop(AF_INET, &b, end, sizeof(end));
	inet_ntop(AF_INET, &m, bits, sizeof(bits));
	snprintf(out, size, "--dhcp-range=%s,%s,%s," LEASE, first, end, bits);
}

static int dnsmasq_start(const struct network *n, struct error *err)
{
	char pid[PATH_MAX], leases[PATH_MAX], hosts[PATH_MAX], interface[32], range[80], range6[64],
		quiet6[40];
	const char *words[WORDS_MAX] = {"dnsmasq",
					"--conf-file=/dev/null",
					"--bind-interfaces",
					"--except-interface=lo",
					"--no-hosts",
					"--dhcp-authoritative",
					"--enable-ra",
					"--no-ping",
					"--dhcp-ignore=tag:!known",
					pid,
					leases,
					hosts,
					interface,
					range,
					range6};
	struct process process = {.argv = words, .package = "dnsmasq-base", .fd = -1};
	unsigned count = 15;

	snprintf(pid, sizeof(pid), "--pid-file=%s/%s/pid", NETWORK_RUN, n->name);
	snprintf(leases, sizeof(leases), "--dhcp-leasefile=%s/%s/leases", NETWORK_RUN, n->name);
	snprintf(hosts, sizeof(hosts), "--dhcp-hostsdir=%s/%s/hosts", NETWORK_RUN, n->name);
	snprintf(interface, sizeof(interface), "--interface=%s", n->bridge);
	range_text(n, range, sizeof(range));
	snprintf(range6, sizeof(range6), "--dhcp-range=::,constructor:%s,ra-names,slaac," LEASE,
		 n->bridge);
	if (n->type == NETWORK_HOST_ONLY) {
		/* No router, and nobody to ask for other names. */
		snprintf(quiet6, sizeof(quiet6), "--ra-param=%s,0,0", n->bridge);
		words[count++] = "--dhcp-option=option:router";
		words[count++] = "--no-resolv";
		words[count++] = quiet6;
	}
	words[count] = NULL;
	return process_run(&process, err);
}

static void dnsmasq_stop(const struct network *n)
{
	pid_t pid = dnsmasq_pid(n);

	if (pid)
		kill(pid, SIGTERM);
}

/* All of it. */

void network_directory_remove(const char *path)
{
	DIR *directory = opendir(path);
	struct dirent *entry;

	while (directory && (entry = readdir(directory)))
		unlinkat(dirfd(directory), entry->d_name, 0);
	if (directory)
		closedir(directory);
	rmdir(path);
}

static void run_remove(const struct network *n)
{
	static const char *const folders[] = {"/hosts", "/members", ""};
	char path[PATH_MAX];

	for (unsigned i = 0; i < 3; i++) {
		network_run_path(n->name, folders[i], path);
		network_directory_remove(path);
	}
	rmdir(NETWORK_RUN);
}

void network_down(const struct network *network)
{
	dnsmasq_stop(network);
	if (network->type != NETWORK_BRIDGED && network_is_up(network))
		ip(NULL, "link", "delete", network->bridge, NULL);
	if (network->type == NETWORK_NAT &&
	    network_for_each(is_nat_up, (void *)(uintptr_t)network->name, NULL) == 0)
		forwarding_restore();
	run_remove(network);
}

static int make(const struct network *n, struct error *err)
{
	char ready[PATH_MAX];
	int ret = run_make(n, err);

	if (ret == 0 && n->type != NETWORK_BRIDGED)
		ret = bridge_make(n, err);
	if (ret == 0 && n->type == NETWORK_NAT)
		forwarding_on();
	network_run_path(n->name, "/ready", ready);
	if (ret == 0)
		ret = network_rules_begin(err);
	if (ret == 0)
		ret = file_write(ready, "", O_CREAT);
	return ret == 0 ? network_rules_apply(err) : ret;
}

int network_up(const struct network *n, struct error *err)
{
	bool is_new = !network_is_ready(n);
	int ret = 0;

	if (n->type == NETWORK_BRIDGED && !network_is_up(n))
		return error_set(err, -ENODEV, "make it, or lodge net rm the network",
				 "network '%s': bridge '%s' is not there", n->name, n->bridge);
	if (is_new) {
		/* Somebody was killed over it. */
		network_down(n);
		ret = make(n, err);
	}
	if (ret == 0 && has_address(n) && !dnsmasq_pid(n))
		ret = dnsmasq_start(n, err);
	if (ret == 0)
		return 0;
	/* Else others use it. */
	if (is_new) {
		network_down(n);
		network_rules_apply(NULL);
	}
	return error_prefix(err, ret, "network '%s'", n->name);
}

/* A bridge's own interface hears all of it, where it is promiscuous. */
int network_capture(const char *name, const char *path, char *const *filter, unsigned words,
		    struct error *err)
{
	struct network n;
	const char *argv[WORDS_MAX] = {"tcpdump", "-i", n.bridge, "-U", "-Z", "root", "-w", path};
	struct process tcpdump = {.argv = argv, .package = "tcpdump", .fd = -1};
	int ret = network_find(name, &n, err);

	if (ret == 0 && !network_is_ready(&n))
		ret = error_set(err, -ENETDOWN, "start a guest on it", "network '%s': it is not up",
				name);
	if (ret == 0 && words > WORDS_MAX - 9)
		ret = error_set(err, -E2BIG, "put it between quotes", "filter: too many words");
	if (ret)
		return ret;
	for (unsigned i = 0; i < words; i++)
		argv[8 + i] = filter[i];
	return process_become(&tcpdump, err);
}

/* Guests. */

int network_port_open(const struct network *network, unsigned queues, struct net **out,
		      struct error *err)
{
	struct tap_options options = {.name = TAP_PREFIX "%d", .queues = queues};
	char path[PATH_MAX];
	int ret = tap_open(&options, out, err);

	if (ret)
		return error_prefix(err, ret, "network '%s'", network->name);
	/* The host has nothing to say there itself. */
	snprintf(path, sizeof(path), IPV6 "/%s/disable_ipv6", (*out)->info.name);
	file_write(path, "1", 0);
	return 0;
}

/* A bridge whose address nobody chose has the lowest of its ports': it must not be this one. */
int network_port_join(const struct network *network, const struct network_member *member,
		      struct error *err)
{
	uint8_t high[NET_MAC];
	char mac[18];
	int ret;

	memcpy(high, member->mac, NET_MAC);
	high[0] = high[0] == 0xfe ? 0xfa : 0xfe;
	net_mac_text(high, mac);
	ret = ip(err, "link", "set", member->tap, "address", mac, "master", network->bridge, "up",
		 NULL);
	return ret ? error_prefix(err, ret, "network '%s'", network->name) : 0;
}
