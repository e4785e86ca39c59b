/* SPDX-License-Identifier: MIT */
/*
 * Both sides of a network test, linked statically, as it runs in guests, too:
 *	netpeer http ADDRESS PORT MIB	answer each request with so many MiB
 *	netpeer get ADDRESS PORT	ask for them: "got BYTES SUM"
 *	netpeer echo tcp|udp PORT	send back what comes
 *	netpeer ask tcp|udp ADDRESS PORT	send a line, and wait for it to come back
 *	netpeer hold ADDRESS PORT	the same by TCP, once more at a line of standard input
 *	netpeer name PORT NAME|-	tell each connection NAME, or whence it is, till it ends
 *	netpeer count ADDRESS PORT N	so many connections, one behind the other; "NAME N" of each,
 *					or "none: REASON N"
 *	netpeer keep ADDRESS PORT N	the same, and all stay until standard input ends
 *	netpeer ping ADDRESS NUMBER	once by ICMP, with this identifier
 *	netpeer forge INTERFACE		send a frame to all from 02:00:00:00:00:99
 *	netpeer unfiltered COMMAND...	become it, on a kernel that seems to have no nftables
 * Exit status 0: it went as it should; 1: it did not, in time; 2: used wrongly.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#define PATIENCE_S 10
#define CHUNK      65536u
#define QUESTION   "lodge"

static int fail(const char *what)
{
	fprintf(stderr, "netpeer: %s: %s\n", what, strerror(errno));
	return 1;
}

/* NULL: any, of both kinds. 0: it is no address. */
static socklen_t address_make(const char *text, const char *port, struct sockaddr_storage *out)
{
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)out;
	struct sockaddr_in *four = (struct sockaddr_in *)out;

	memset(out, 0, sizeof(*out));
	if (text && inet_pton(AF_INET, text, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons((uint16_t)atoi(port));
		return sizeof(*four);
	}
	six->sin6_family = AF_INET6;
	six->sin6_port = htons((uint16_t)atoi(port));
	return inet_pton(AF_INET6, text ? text : "::", &six->sin6_addr) == 1 ? sizeof(*six) : 0;
}

/* A socket that listens or is connected. -1: errno says why. */
static int socket_open(const char *address, const char *port, int type, int listens)
{
	struct timeval patience = {.tv_sec = PATIENCE_S};
	struct sockaddr_storage at;
	socklen_t size = address_make(address, port, &at);
	int fd = size ? socket(at.ss_family, type, 0) : -1, on = 1, off = 0, failed;

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (!listens)
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (at.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	failed = listens ? bind(fd, (struct sockaddr *)&at, size)
			 : connect(fd, (struct sockaddr *)&at, size);
	if (failed || (listens && type == SOCK_STREAM && listen(fd, 64))) {
		close(fd);
		return -1;
	}
	return fd;
}

static int write_all(int fd, const void *from, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = write(fd, (const char *)from + done, size - done);

		if (n <= 0)
			return -1;
		done += (size_t)n;
	}
	return 0;
}

/* Content that neither end can make up of the other's. */
static void content_fill(uint32_t *words, uint64_t *state)
{
	for (unsigned i = 0; i < CHUNK / sizeof(*words); i++) {
		*state = *state * 6364136223846793005ull + 1442695040888963407ull;
		words[i] = (uint32_t)(*state >> 32);
	}
}

static uint64_t sum_more(uint64_t sum, const uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		sum = (sum ^ bytes[i]) * 0x100000001b3ull;
	return sum;
}

static void http_answer(int fd, unsigned mib)
{
	static uint32_t words[CHUNK / 4];
	uint64_t state = 1;
	char request[1024], header[128];

	if (read(fd, request, sizeof(request)) <= 0)
		return;
	snprintf(header, sizeof(header), "HTTP/1.0 200 OK\r\nContent-Length: %llu\r\n\r\n",
		 (unsigned long long)mib << 20);
	if (write_all(fd, header, strlen(header)))
		return;
	for (unsigned i = 0; i < mib << 4; i++) {
		content_fill(words, &state);
		if (write_all(fd, words, sizeof(words)))
			return;
	}
}

static int http(const char *address, const char *port, unsigned mib)
{
	int listener = socket_open(address, port, SOCK_STREAM, 1);

	if (listener < 0)
		return fail(port);
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			return fail("accept");
		if (fork() == 0) {
			http_answer(fd, mib);
			_exit(0);
		}
		close(fd);
	}
}

/* The header's end may be cut between two reads. */
static int get(const char *address, const char *port)
{
	static uint8_t room[CHUNK];
	static const char request[] = "GET / HTTP/1.0\r\n\r\n", end[] = "\r\n\r\n";
	int fd = socket_open(address, port, SOCK_STREAM, 0);
	uint64_t sum = 0xcbf29ce484222325ull, bytes = 0;
	unsigned matched = 0;
	ssize_t n;

	if (fd < 0 || write_all(fd, request, strlen(request)))
		return fail(address);
	while ((n = read(fd, room, sizeof(room))) > 0) {
		size_t at = 0;

		for (; matched < 4 && at < (size_t)n; at++)
			matched = room[at] == end[matched] ? matched + 1 : room[at] == '\r';
		sum = sum_more(sum, room + at, (size_t)n - at);
		bytes += (size_t)n - at;
	}
	if (n < 0 || bytes == 0)
		return fail(address);
	printf("got %llu %016llx\n", (unsigned long long)bytes, (unsigned long long)sum);
	return 0;
}

/* Each connection in a process of its own: `name` first, if there is one, then what comes. */
static int echo_stream(int listener, const char *name)
{
	for (;;) {
		struct sockaddr_in6 from;
		socklen_t size = sizeof(from);
		int fd = accept(listener, (struct sockaddr *)&from, &size);
		char room[256], address[INET6_ADDRSTRLEN + 1];
		ssize_t n;

		if (fd < 0)
			return fail("accept");
		if (fork() == 0) {
			if (name && strcmp(name, "-\n") == 0 &&
			    inet_ntop(AF_INET6, &from.sin6_addr, address, sizeof(address)))
				name = strcat(address, "\n");
			if (name)
				write_all(fd, name, strlen(name));
			while ((n = read(fd, room, sizeof(room))) > 0 &&
			       write_all(fd, room, (size_t)n) == 0)
				;
			_exit(0);
		}
		close(fd);
	}
}

static int echo_datagrams(int fd)
{
	for (;;) {
		struct sockaddr_storage from;
		socklen_t size = sizeof(from);
		char room[2048];
		ssize_t n = recvfrom(fd, room, sizeof(room), 0, (struct sockaddr *)&from, &size);

		if (n < 0)
			return fail("recvfrom");
		sendto(fd, room, (size_t)n, 0, (struct sockaddr *)&from, size);
	}
}

static int echo(int type, const char *port)
{
	int fd = socket_open(NULL, port, type, 1);

	if (fd < 0)
		return fail(port);
	return type == SOCK_STREAM ? echo_stream(fd, NULL) : echo_datagrams(fd);
}

static int name(const char *port, const char *text)
{
	int fd = socket_open(NULL, port, SOCK_STREAM, 1);
	char line[64];

	if (fd < 0)
		return fail(port);
	snprintf(line, sizeof(line), "%s\n", text);
	return echo_stream(fd, line);
}

static int ask_again(int fd, int type)
{
	char answer[sizeof(QUESTION)] = {0};

	if (write_all(fd, QUESTION, strlen(QUESTION)) ||
	    recv(fd, answer, strlen(QUESTION), type == SOCK_STREAM ? MSG_WAITALL : 0) < 0)
		return fail("answer");
	return strcmp(answer, QUESTION) != 0;
}

static int hold(const char *address, const char *port)
{
	int fd = socket_open(address, port, SOCK_STREAM, 0);
	char byte;

	if (fd < 0 || ask_again(fd, SOCK_STREAM))
		return fail(address);
	puts("held");
	fflush(stdout);
	return read(STDIN_FILENO, &byte, 1) != 1 || ask_again(fd, SOCK_STREAM);
}

#define NAME_SIZE 64

struct tally {
	char name[NAME_SIZE];
	unsigned count;
};

/* A connection that does not come about counts as "none: REASON". */
static int name_read(int fd, char out[NAME_SIZE])
{
	ssize_t got = fd < 0 ? -1 : 1;
	size_t n = 0;

	while (got == 1 && n + 1 < NAME_SIZE && (got = read(fd, out + n, 1)) == 1 && out[n] != '\n')
		n++;
	out[n] = 0;
	if (n == 0)
		snprintf(out, NAME_SIZE, "none: %s", got < 0 ? strerror(errno) : "it ended");
	return fd;
}

static int count(const char *address, const char *port, unsigned connections, int keep)
{
	struct tally tally[32] = {{{0}, 0}};
	char byte;

	for (unsigned i = 0; i < connections; i++) {
		unsigned at = 0;
		char text[NAME_SIZE];
		int fd = name_read(socket_open(address, port, SOCK_STREAM, 0), text);

		while (at < 31 && tally[at].count && strcmp(tally[at].name, text) != 0)
			at++;
		memcpy(tally[at].name, text, sizeof(text));
		tally[at].count++;
		if (!keep && fd >= 0)
			close(fd);
	}
	for (unsigned i = 0; i < 32 && tally[i].count; i++)
		printf("%s %u\n", tally[i].name, tally[i].count);
	fflush(stdout);
	while (keep && read(STDIN_FILENO, &byte, 1) > 0)
		;
	return 0;
}

static int ask(int type, const char *address, const char *port)
{
	int fd = socket_open(address, port, type, 0);

	return fd < 0 ? fail(address) : ask_again(fd, type);
}

static uint16_t sum_internet(const uint8_t *bytes, size_t size)
{
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < size; i += 2)
		sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
	return (uint16_t) ~((sum & 0xffff) + (sum >> 16));
}

/* RFC 792: 8 asks, 0 answers. Behind what comes is its IP header, of five words. */
static int ping(const char *address, const char *number)
{
	unsigned id = (unsigned)atoi(number) & 0xffff;
	uint8_t asked[8] = {8, 0, 0, 0, (uint8_t)(id >> 8), (uint8_t)id, 0, 1}, answer[128];
	struct timeval patience = {.tv_sec = PATIENCE_S};
	struct sockaddr_in to = {.sin_family = AF_INET};
	uint16_t sum = sum_internet(asked, sizeof(asked));
	int fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);

	asked[2] = (uint8_t)(sum >> 8);
	asked[3] = (uint8_t)sum;
	if (fd < 0 || inet_pton(AF_INET, address, &to.sin_addr) != 1 ||
	    connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
	    send(fd, asked, sizeof(asked), 0) < 0)
		return fail("ping");
	for (;;) {
		ssize_t n = recv(fd, answer, sizeof(answer), 0);

		if (n < 0)
			return fail("ping");
		if (n >= 28 && answer[20] == 0 && memcmp(answer + 24, asked + 4, 4) == 0)
			return 0;
	}
}

static int forge(const char *interface)
{
	static const uint8_t frame[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,
					  0,    0,    0,    0,    0x99, 0x88, 0xb5};
	struct sockaddr_ll to = {.sll_family = AF_PACKET,
				 .sll_ifindex = (int)if_nametoindex(interface),
				 .sll_halen = 6};
	int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));

	if (fd < 0 || sendto(fd, frame, sizeof(frame), 0, (struct sockaddr *)&to, sizeof(to)) < 0)
		return fail(interface);
	return 0;
}

/* socket(AF_NETLINK, ..., NETLINK_NETFILTER) fails (seccomp(2)). */
static int unfiltered(char **command)
{
#define LOAD(field)         BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define OTHERS(value, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip)
	struct sock_filter code[] = {
		LOAD(nr),
		OTHERS(SYS_socket, 5),
		LOAD(args[0]),
		OTHERS(AF_NETLINK, 3),
		LOAD(args[2]),
		OTHERS(NETLINK_NETFILTER, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPROTONOSUPPORT),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		return fail("seccomp");
	execvp(command[0], command);
	return fail(command[0]);
}

static int type_of(const char *word)
{
	return strcmp(word, "udp") == 0 ? SOCK_DGRAM : SOCK_STREAM;
}

int main(int argc, char **argv)
{
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	if (argc == 5 && strcmp(argv[1], "http") == 0)
		return http(argv[2], argv[3], (unsigned)atoi(argv[4]));
	if (argc == 4 && strcmp(argv[1], "get") == 0)
		return get(argv[2], argv[3]);
	if (argc == 4 && strcmp(argv[1], "echo") == 0)
		return echo(type_of(argv[2]), argv[3]);
	if (argc == 5 && strcmp(argv[1], "ask") == 0)
		return ask(type_of(argv[2]), argv[3], argv[4]);
	if (argc == 4 && strcmp(argv[1], "hold") == 0)
		return hold(argv[2], argv[3]);
	if (argc == 4 && strcmp(argv[1], "name") == 0)
		return name(argv[2], argv[3]);
	if (argc == 5 && (strcmp(argv[1], "count") == 0 || strcmp(argv[1], "keep") == 0))
		return count(argv[2], argv[3], (unsigned)atoi(argv[4]), argv[1][0] == 'k');
	if (argc == 4 && strcmp(argv[1], "ping") == 0)
		return ping(argv[2], argv[3]);
	if (argc == 3 && strcmp(argv[1], "forge") == 0)
		return forge(argv[2]);
	if (argc >= 3 && strcmp(argv[1], "unfiltered") == 0)
		return unfiltered(argv + 2);
	fprintf(stderr, "usage: netpeer http|get|echo|ask ...; see its head\n");
	return 2;
}
