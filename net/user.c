/* SPDX-License-Identifier: MIT */
/* Network without privileges: passt(1) makes the guest's connections its own. */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net.h"
#include "vmm/base/process.h"

#define MTU       65520u /* passt's own */
#define WORDS_MAX (8u + 2 * NET_FORWARDS_MAX)

/* "ADDRESS/PORT:PORT" */
#define FORWARD_TEXT 64u

/* It goes on by itself once it is ready, and ends when the other end of its socket is closed. */
static int passt_start(const struct user_options *options, int fd, struct error *err)
{
	char text[NET_FORWARDS_MAX][FORWARD_TEXT], own[8];
	const char *words[WORDS_MAX] = {"passt", "--quiet", "--fd", own};
	struct process passt = {.argv = words, .package = "passt", .fd = fd};
	unsigned count = 4;

	snprintf(own, sizeof(own), "%d", PROCESS_FD);
	for (unsigned i = 0; i < options->forward_count; i++) {
		const struct net_forward *f = &options->forward[i];

		snprintf(text[i], sizeof(text[i]), "%s/%u:%u", f->address, f->host, f->guest);
		words[count++] = f->udp ? "--udp-ports" : "--tcp-ports";
		words[count++] = text[i];
	}
	words[count] = NULL;
	return process_run(&passt, err);
}

int user_open(const struct user_options *options, struct net **out, struct error *err)
{
	static const struct net_info info = {.type = "user", .name = "user", .mtu = MTU};
	int fds[2], ret = 0;

	if (options->forward_count > NET_FORWARDS_MAX)
		return error_set(err, -E2BIG, NULL, "network 'user': more than %u port forwards",
				 NET_FORWARDS_MAX);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return error_set(err, -errno, "raise ulimit -n", "network 'user': socket: %s",
				 error_name(-errno));
	/* passt does not say which one it could not have. */
	for (unsigned i = 0; i < options->forward_count && ret == 0; i++)
		ret = options->forward[i].host
			      ? net_forward_check(&options->forward[i], err)
			      : error_set(err, -ENOTSUP, "use a network of the host's",
					  "address '%s': it is given to no guest here",
					  options->forward[i].address);
	if (ret == 0)
		ret = passt_start(options, fds[1], err);
	close(fds[1]);
	if (ret == 0) {
		ret = stream_create(fds[0], &info, out);
		if (ret)
			error_set(err, ret, NULL, "%s", error_name(ret));
	}
	if (ret) {
		close(fds[0]);
		return error_prefix(err, ret, "network 'user'");
	}
	return 0;
}
