/* SPDX-License-Identifier: MIT */
/*
 * Networks of the host's once more, in namespaces that have nothing of the host's. What says that a
 * network is up, and its records, are hidden by file systems in memory, which go with the
 * namespace; the records are written there again.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/network_impl.h"
#include "vmm/base/instance.h"
#include "vmm/base/process.h"

#define OUTSIDE "outside"

static int ip(const char *const *words, struct error *err)
{
	const struct process process = {.argv = words, .package = "iproute2", .fd = -1};

	return process_run(&process, err);
}

#define IP(err, ...) ip((const char *const[]){"ip", __VA_ARGS__, NULL}, err)

/* Records. */

struct records {
	struct network *networks;
	size_t count;
};

static int record_keep(void *arg, const struct network *network)
{
	struct records *r = arg;
	struct network *more = realloc(r->networks, (r->count + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	r->networks = more;
	r->networks[r->count++] = *network;
	return 0;
}

static int hide(const char *path, const char *mode, struct error *err)
{
	if (mount("lodge", path, "tmpfs", MS_NOSUID | MS_NODEV, mode) < 0)
		return error_set(err, -errno, "be root", "directory '%s': mount: %s", path,
				 error_name(-errno));
	return 0;
}

/* A bridge of the host's own, without what it leads to. */
static int bridge_make(const struct network *n, struct error *err)
{
	int ret = 0;

	if (n->type != NETWORK_BRIDGED || network_bridge_is_there(n->bridge))
		return 0;
	ret = IP(err, "link", "add", n->bridge, "type", "bridge");
	return ret ? ret : IP(err, "link", "set", n->bridge, "up");
}

static int networks_renew(struct error *err)
{
	struct records records = {0};
	char path[PATH_MAX];
	int ret = instance_state_path(NETWORK_RECORDS, "", path, sizeof(path), err);

	if (ret == 0 && network_for_each(record_keep, &records, err))
		ret = error_set(err, -ENOMEM, NULL, "networks: out of memory");
	if (ret == 0 && mkdir(NETWORK_RUN, 0755) < 0 && errno != EEXIST)
		ret = error_set(err, -errno, "be root", "directory '%s': %s", NETWORK_RUN,
				error_name(-errno));
	if (ret == 0)
		ret = hide(NETWORK_RUN, "mode=755", err);
	if (ret == 0)
		ret = hide(path, "mode=700", err);
	for (size_t i = 0; i < records.count && ret == 0; i++) {
		ret = network_record_write(&records.networks[i], err);
		if (ret == 0)
			ret = bridge_make(&records.networks[i], err);
	}
	free(records.networks);
	return ret;
}

/* Outside. */

uint32_t network_outside_address(void)
{
	/* Of RFC 5737; connect(2) of UDP sends nothing. */
	struct sockaddr_in there = {
		.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(0xc0000201u)};
	struct sockaddr_in here = {0};
	socklen_t size = sizeof(here);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&there, sizeof(there)) < 0 ||
	    getsockname(fd, (struct sockaddr *)&here, &size) < 0)
		here.sin_addr.s_addr = 0;
	if (fd >= 0)
		close(fd);
	return ntohl(here.sin_addr.s_addr);
}

static int outside_make(uint32_t address, struct error *err)
{
	struct in_addr own = {htonl(address)};
	struct in_addr router = {htonl((address & ~3u) | ((address & 3) == 1 ? 2 : 1))};
	char text[INET_ADDRSTRLEN], range[INET_ADDRSTRLEN + 4], gateway[INET_ADDRSTRLEN];
	int ret = IP(err, "link", "add", OUTSIDE, "type", "bridge");

	inet_ntop(AF_INET, &own, text, sizeof(text));
	snprintf(range, sizeof(range), "%s/24", text);
	inet_ntop(AF_INET, &router, gateway, sizeof(gateway));
	if (ret == 0)
		ret = IP(err, "address", "add", range, "dev", OUTSIDE);
	if (ret == 0)
		ret = IP(err, "link", "set", OUTSIDE, "up");
	return ret ? ret : IP(err, "route", "add", "default", "via", gateway, "dev", OUTSIDE);
}

int network_isolate(uint32_t outside, struct error *err)
{
	int ret = IP(err, "link", "set", "lo", "up");

	/* Others than root have no networks of the host's. */
	if (ret == 0 && geteuid() == 0)
		ret = networks_renew(err);
	return ret == 0 && outside ? outside_make(outside, err) : ret;
}
