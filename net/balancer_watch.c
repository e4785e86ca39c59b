/* SPDX-License-Identifier: MIT */
/*
 * Who answers, and who has how many connections: a thread of each guest's process. It tries its own
 * guest's ports. The first target that is up, by the record's order, counts for all of a balancer,
 * from the kernel's table of connections.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack_tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/balancer_impl.h"
#include "vmm/base/instance.h"
#include "vmm/base/log.h"

#define IDLE_MS   1000 /* no balancer leads here */
#define TURN_MS   250
#define TRY_TURNS 4 /* a second */
#define TRY_MS    700
#define FAILS_MAX 2 /* in a row, and it is down */
#define PORTS_MAX NETWORK_SERVING_MAX

struct watched_port {
	uint16_t port;
	unsigned fails;
	bool up, wanted;
};

struct network_watch {
	pthread_t thread;
	int stop_fd;
	char guest[TEXT_NAME_MAX + 1];
	unsigned port_count; /* that balancers lead to */
	struct watched_port port[PORTS_MAX];
};

/* Turns. */

static void counts_path(const char *name, char out[PATH_MAX])
{
	snprintf(out, PATH_MAX, "%s/%s.counts", BALANCERS_RUN, name);
}

/* What was counted last, in the order of the targets; 0 where nothing was. */
static void counts_read(const struct balancer *b, unsigned count[BALANCER_TARGETS_MAX])
{
	char path[PATH_MAX], line[32];
	FILE *file;

	memset(count, 0, BALANCER_TARGETS_MAX * sizeof(*count));
	counts_path(b->name, path);
	file = fopen(path, "re");
	for (unsigned i = 0; file && i < b->count && fgets(line, sizeof(line), file); i++) {
		uint64_t number;

		line[strcspn(line, "\n")] = 0;
		if (text_to_number(line, 0, UINT32_MAX, &number) == 0)
			count[i] = (unsigned)number;
	}
	if (file)
		fclose(file);
}

unsigned balancer_turns(const struct balancer *b, const unsigned *up, unsigned count,
			unsigned turn[BALANCER_TURNS])
{
	unsigned connections[BALANCER_TARGETS_MAX];

	if (!b->by_connections || count == 0) {
		memcpy(turn, up, count * sizeof(*turn));
		return count;
	}
	counts_read(b, connections);
	/* Each to who would have the fewest then. */
	for (unsigned i = 0; i < BALANCER_TURNS; i++) {
		unsigned best = up[0];

		for (unsigned j = 1; j < count; j++)
			if (connections[up[j]] < connections[best])
				best = up[j];
		connections[best]++;
		turn[i] = best;
	}
	return BALANCER_TURNS;
}

static void told(int ret, const struct error *err)
{
	if (ret)
		log_warn("balancers: %s", err->what);
}

/* Counting. */

struct tally {
	const struct balancer *balancer;
	struct sockaddr_storage listen; /* only the address */
	bool six;
	struct in6_addr address[BALANCER_TARGETS_MAX]; /* IPv4 in the first four bytes */
	bool up[BALANCER_TARGETS_MAX];
	unsigned count[BALANCER_TARGETS_MAX];
};

/* Those that are closing are none any more. */
static bool is_open(const struct nf_conntrack *ct, bool udp)
{
	uint8_t state;

	if (udp)
		return true;
	state = nfct_get_attr_u8(ct, ATTR_TCP_STATE);
	return state >= TCP_CONNTRACK_SYN_SENT && state <= TCP_CONNTRACK_ESTABLISHED;
}

static int tally_connection(enum nf_conntrack_msg_type type, struct nf_conntrack *ct, void *arg)
{
	struct tally *t = arg;
	const struct balancer *b = t->balancer;
	size_t size = t->six ? 16 : 4;
	const void *to = nfct_get_attr(ct, t->six ? ATTR_ORIG_IPV6_DST : ATTR_ORIG_IPV4_DST);
	const void *from = nfct_get_attr(ct, t->six ? ATTR_REPL_IPV6_SRC : ATTR_REPL_IPV4_SRC);

	(void)type;
	if (!to || !from || memcmp(to, &t->listen, size) != 0 ||
	    nfct_get_attr_u8(ct, ATTR_L4PROTO) != (b->udp ? IPPROTO_UDP : IPPROTO_TCP) ||
	    ntohs(nfct_get_attr_u16(ct, ATTR_ORIG_PORT_DST)) != b->port || !is_open(ct, b->udp))
		return NFCT_CB_CONTINUE;
	for (unsigned i = 0; i < b->count; i++)
		if (t->up[i] && memcmp(from, &t->address[i], size) == 0 &&
		    ntohs(nfct_get_attr_u16(ct, ATTR_REPL_PORT_SRC)) == b->target[i].port) {
			t->count[i]++;
			break;
		}
	return NFCT_CB_CONTINUE;
}

static int tally_take(struct tally *t)
{
	uint32_t family = t->six ? AF_INET6 : AF_INET;
	struct nfct_handle *handle = nfct_open(CONNTRACK, 0);
	int ret;

	if (!handle)
		return -errno;
	nfct_callback_register(handle, NFCT_T_ALL, tally_connection, t);
	ret = nfct_query(handle, NFCT_Q_DUMP, &family) < 0 ? -errno : 0;
	nfct_close(handle);
	return ret;
}

static void counts_write(const struct tally *t)
{
	char path[PATH_MAX], text[BALANCER_TARGETS_MAX * 12];
	size_t at = 0;

	for (unsigned i = 0; i < t->balancer->count; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%u\n", t->count[i]);
	counts_path(t->balancer->name, path);
	instance_write_file(path, text, at, NULL);
}

/* Is it ours to count? *changed: what was counted is other than before. */
static int balancer_count(void *arg, const struct balancer *b)
{
	struct network_watch *w = arg;
	struct tally t = {.balancer = b, .six = strchr(b->address, ':')};
	unsigned before[BALANCER_TARGETS_MAX];
	const char *first = NULL;
	struct error err = {0};
	int lock;

	if (!b->by_connections)
		return 0;
	inet_pton(t.six ? AF_INET6 : AF_INET, b->address, &t.listen);
	for (unsigned i = 0; i < b->count; i++) {
		char text[INET6_ADDRSTRLEN];

		t.up[i] = balancer_target_address(b, &b->target[i], text);
		if (!t.up[i])
			continue;
		inet_pton(t.six ? AF_INET6 : AF_INET, text, &t.address[i]);
		first = first ? first : b->target[i].guest;
	}
	if (!first || strcmp(first, w->guest) != 0 || tally_take(&t))
		return 0;
	counts_read(b, before);
	if (memcmp(before, t.count, b->count * sizeof(before[0])) == 0)
		return 0;
	lock = network_lock(NULL);
	if (lock >= 0) {
		counts_write(&t);
		told(network_balancers_apply(&err), &err);
		close(lock);
	}
	return 0;
}

/* Trying. */

static bool is_stopped(const struct network_watch *w)
{
	struct pollfd stop = {.fd = w->stop_fd, .events = POLLIN};

	return poll(&stop, 1, 0) != 0;
}

static bool answers(const struct network_watch *w, uint32_t address, uint16_t port)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(address)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), failed = 0;
	struct pollfd wait[2] = {{.fd = fd, .events = POLLOUT},
				 {.fd = w->stop_fd, .events = POLLIN}};
	socklen_t size = sizeof(failed);
	bool good = false;

	if (fd < 0)
		return false;
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		good = true;
	else if (errno == EINPROGRESS && poll(wait, 2, TRY_MS) > 0 && !wait[1].revents)
		good = getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size) == 0 && !failed;
	close(fd);
	return good;
}

struct own {
	const char *guest;
	const struct network *network;
	struct network found;
	struct network_member member;
};

static int own_member(void *arg, const struct network_member *m)
{
	struct own *own = arg;

	if (strcmp(m->guest, own->guest) != 0 || !m->address)
		return 0;
	own->found = *own->network;
	own->member = *m;
	return 1;
}

static int own_network(void *arg, const struct network *n)
{
	struct own *own = arg;

	own->network = n;
	return network_member_for_each(n->name, own_member, own);
}

static int port_add(void *arg, const struct balancer *b)
{
	struct network_watch *w = arg;

	for (unsigned i = 0; i < b->count && !b->udp; i++) {
		unsigned at = 0;

		if (strcmp(b->target[i].guest, w->guest) != 0)
			continue;
		while (at < w->port_count && w->port[at].port != b->target[i].port)
			at++;
		if (at == PORTS_MAX)
			continue;
		if (at == w->port_count)
			w->port[w->port_count++] = (struct watched_port){.port = b->target[i].port};
		w->port[at].wanted = true;
	}
	return 0;
}

/* Those that balancers lead to now. Was one that was up among those that are left out? */
static bool ports_choose(struct network_watch *w)
{
	unsigned kept = 0;
	bool changed = false;

	for (unsigned i = 0; i < w->port_count; i++)
		w->port[i].wanted = false;
	balancer_for_each(port_add, w, NULL);
	for (unsigned i = 0; i < w->port_count; i++) {
		if (w->port[i].wanted)
			w->port[kept++] = w->port[i];
		else
			changed |= w->port[i].up;
	}
	w->port_count = kept;
	return changed;
}

/* What changed goes into the member's record, and to the rules. */
static void serving_write(const struct network_watch *w, struct own *own)
{
	struct network_member *m = &own->member;
	struct error err = {0};
	int lock = network_lock(NULL);

	if (lock < 0)
		return;
	/* Ports and groups may have changed since. */
	if (network_member_read(own->found.name, m->guest, m->index, m) == 0) {
		m->serving_count = 0;
		for (unsigned i = 0; i < w->port_count; i++)
			if (w->port[i].up)
				m->serving[m->serving_count++] = w->port[i].port;
		network_rules_begin(NULL);
		network_member_write(own->found.name, m, NULL);
		told(network_rules_apply(&err), &err);
	}
	close(lock);
}

static void ports_try(struct network_watch *w)
{
	struct own own = {.guest = w->guest};
	bool changed = ports_choose(w);

	if (network_for_each(own_network, &own, NULL) <= 0)
		return;
	for (unsigned i = 0; i < w->port_count; i++) {
		struct watched_port *p = &w->port[i];
		bool was = p->up;

		p->fails = answers(w, own.member.address, p->port) ? 0 : p->fails + 1;
		if (is_stopped(w))
			return;
		if (p->fails == 0)
			p->up = true;
		else if (p->fails >= FAILS_MAX)
			p->up = false;
		changed |= p->up != was;
	}
	if (changed)
		serving_write(w, &own);
}

static void *watch_main(void *arg)
{
	struct network_watch *w = arg;
	struct pollfd stop = {.fd = w->stop_fd, .events = POLLIN};

	int pause = IDLE_MS;

	pthread_setname_np(pthread_self(), "watch");
	for (unsigned turn = 0; poll(&stop, 1, pause) == 0; turn++) {
		pause = balancer_names(w->guest) ? TURN_MS : IDLE_MS;
		if (pause == IDLE_MS)
			continue;
		if (turn % TRY_TURNS == 0) {
			ports_try(w);
			network_sweep();
		}
		balancer_for_each(balancer_count, w, NULL);
	}
	return NULL;
}

int network_watch_start(const char *guest, struct network_watch **out)
{
	struct network_watch *w = calloc(1, sizeof(*w));
	sigset_t all, before;
	int ret;

	if (!w)
		return -ENOMEM;
	snprintf(w->guest, sizeof(w->guest), "%s", guest);
	w->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (w->stop_fd < 0) {
		ret = -errno;
		free(w);
		return ret;
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	ret = -pthread_create(&w->thread, NULL, watch_main, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (ret) {
		close(w->stop_fd);
		free(w);
		return ret;
	}
	*out = w;
	return 0;
}

void network_watch_stop(struct network_watch *watch)
{
	if (!watch)
		return;
	eventfd_write(watch->stop_fd, 1);
	pthread_join(watch->thread, NULL);
	close(watch->stop_fd);
	free(watch);
}
