/* SPDX-License-Identifier: MIT */
/* Port forwards as people write them. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net.h"
#include "vmm/base/text.h"

#define LOOPBACK "127.0.0.1"

static int port_take(const char *text, const char *which, uint16_t *port, struct error *err)
{
	uint64_t number;

	if (text_to_number(text, 1, 65535, &number))
		return error_set(err, -EINVAL, "give 1 to 65535", "%s port '%s'", which, text);
	*port = (uint16_t)number;
	return 0;
}

static int address_take(char *text, struct net_forward *f, struct error *err)
{
	size_t length = strlen(text);
	uint8_t binary[16];
	bool six = length >= 2 && text[0] == '[' && text[length - 1] == ']';

	if (six) {
		text[length - 1] = 0;
		text++;
	}
	if (strlen(text) >= sizeof(f->address) ||
	    inet_pton(six ? AF_INET6 : AF_INET, text, binary) != 1)
		return error_set(err, -EINVAL, "give one as 192.0.2.1 or [2001:db8::1]",
				 "address '%s'", text);
	snprintf(f->address, sizeof(f->address), "%s", text);
	return 0;
}

static int protocol_take(const char *text, struct net_forward *f, struct error *err)
{
	f->udp = strcmp(text, "udp") == 0;
	if (!f->udp && strcmp(text, "tcp") != 0)
		return error_set(err, -EINVAL, "give tcp or udp", "protocol '%s'", text);
	return 0;
}

/* The last ':' and what is behind it goes. NULL: there is none. */
static char *cut(char *text)
{
	char *at = strrchr(text, ':');

	if (!at)
		return NULL;
	*at = 0;
	return at + 1;
}

int net_forward_parse(const char *text, struct net_forward *out, struct error *err)
{
	struct net_forward f = {.address = LOOPBACK};
	char copy[128], *slash, *guest, *host;
	int ret = 0;

	if (snprintf(copy, sizeof(copy), "%s", text) >= (int)sizeof(copy))
		return error_set(err, -EINVAL, "give [ADDRESS:]HOST:GUEST[/udp]",
				 "port forward '%.40s...'", text);
	slash = strrchr(copy, '/');
	if (slash) {
		*slash = 0;
		ret = protocol_take(slash + 1, &f, err);
	}
	guest = cut(copy);
	if (ret == 0 && guest && !slash && strcmp(guest, "all") == 0) {
		ret = address_take(copy, &f, err);
		if (ret)
			return error_prefix(err, ret, "port forward '%s'", text);
		*out = f;
		return 0;
	}
	if (ret == 0 && !guest)
		ret = error_set(err, -EINVAL, "give [ADDRESS:]HOST:GUEST[/udp]", "it has no ':'");
	if (ret == 0) {
		host = cut(copy);
		if (host)
			ret = address_take(copy, &f, err);
		if (ret == 0)
			ret = port_take(host ? host : copy, "host", &f.host, err);
		if (ret == 0)
			ret = port_take(guest, "guest", &f.guest, err);
	}
	if (ret)
		return error_prefix(err, ret, "port forward '%s'", text);
	*out = f;
	return 0;
}

void net_forward_text(const struct net_forward *forward, char out[NET_FORWARD_TEXT])
{
	bool six = strchr(forward->address, ':');

	if (!forward->host) {
		snprintf(out, NET_FORWARD_TEXT, "%s%s%s:all", six ? "[" : "", forward->address,
			 six ? "]" : "");
		return;
	}
	snprintf(out, NET_FORWARD_TEXT, "%s%s%s:%u:%u%s", six ? "[" : "", forward->address,
		 six ? "]" : "", forward->host, forward->guest, forward->udp ? "/udp" : "");
}

bool net_forward_is_same(const struct net_forward *a, const struct net_forward *b)
{
	return a->udp == b->udp && a->host == b->host && strcmp(a->address, b->address) == 0;
}

static socklen_t socket_address(const struct net_forward *f, struct sockaddr_storage *out)
{
	struct sockaddr_in *four = (struct sockaddr_in *)out;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)out;

	*out = (struct sockaddr_storage){0};
	if (inet_pton(AF_INET, f->address, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(f->host);
		return sizeof(*four);
	}
	inet_pton(AF_INET6, f->address, &six->sin6_addr);
	six->sin6_family = AF_INET6;
	six->sin6_port = htons(f->host);
	return sizeof(*six);
}

/* As the one who would serve it: bind(2) knows who may, and who has it. */
int net_forward_check(const struct net_forward *forward, struct error *err)
{
	struct sockaddr_storage address;
	socklen_t size = socket_address(forward, &address);
	const int on = 1;
	int fd = socket(address.ss_family, (forward->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC,
			0);
	int ret = 0;

	/* Connections that ended a moment ago do not count. */
	if (fd < 0 ||
	    (!forward->udp && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on))) ||
	    (address.ss_family == AF_INET6 &&
	     setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on))) ||
	    bind(fd, (struct sockaddr *)&address, size))
		ret = -errno;
	if (fd >= 0)
		close(fd);
	if (ret == 0)
		return 0;
	return error_set(err, ret,
			 ret == -EADDRINUSE      ? "give another port, or end what has it (ss -lnp)"
			 : ret == -EACCES        ? "give one from 1024 up, or be root"
			 : ret == -EADDRNOTAVAIL ? "give an address of the host's"
						 : NULL,
			 "port %u/%s at %s: %s", forward->host, forward->udp ? "udp" : "tcp",
			 forward->address, error_name(ret));
}

void net_mac_text(const uint8_t mac[NET_MAC], char out[18])
{
	snprintf(out, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
		 mac[5]);
}
