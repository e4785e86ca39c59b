/* SPDX-License-Identifier: MIT */
/* Networks' records: a JSON file each, below networks/ in the state directory. */
#include "net/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include "net/network_impl.h"
#include "vmm/base/instance.h"

#define SUFFIX      ".json"
#define LOCK        ".lock"
#define BRIDGES_MAX 1000u
#define PREFIX_MIN  8u
#define PREFIX_MAX  29u
/* Where a range is chosen: 10.77.0.0/24, 10.77.1.0/24, ... */
#define CHOICE_FIRST 0x0a4d0000u
#define CHOICE_STEP  256u
#define CHOICES      256u

static const char *const type_names[NETWORK_TYPES] = {"nat", "host-only", "isolated", "bridged"};

const char *network_type_name(enum network_type type)
{
	return type_names[type];
}

void network_address_text(const struct network *network, char out[NETWORK_TEXT])
{
	struct in_addr address = {htonl(network->address)};
	char text[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &address, text, sizeof(text));
	snprintf(out, NETWORK_TEXT, "%s/%u", text, network->prefix);
}

void network_address6_text(const struct network *network, char out[NETWORK_TEXT])
{
	char text[INET6_ADDRSTRLEN];

	inet_ntop(AF_INET6, &network->address6, text, sizeof(text));
	snprintf(out, NETWORK_TEXT, "%s/64", text);
}

void network_public_text(const struct network *network, char out[NETWORK_TEXT])
{
	struct in_addr address = {htonl(network->public_address)};

	out[0] = 0;
	if (network->public_address)
		inet_ntop(AF_INET, &address, out, NETWORK_TEXT);
}

/* Records. */

static int record_path(const char *name, char *out, struct error *err)
{
	char file[TEXT_NAME_MAX + sizeof(SUFFIX)];

	snprintf(file, sizeof(file), "%s" SUFFIX, name);
	return instance_state_path(NETWORK_RECORDS, file, out, PATH_MAX, err);
}

/* Until the descriptor is closed. */
int network_lock(struct error *err)
{
	char path[PATH_MAX];
	int fd, ret = instance_state_path(NETWORK_RECORDS, LOCK, path, sizeof(path), err);

	if (ret)
		return ret;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX) < 0) {
		ret = -errno;
		if (fd >= 0)
			close(fd);
		return error_set(err, ret, "be root", "file '%s': %s", path, error_name(ret));
	}
	return fd;
}

static const char *string_of(struct json_object *object, const char *key)
{
	struct json_object *value = NULL;

	json_object_object_get_ex(object, key, &value);
	return value ? json_object_get_string(value) : "";
}

static int type_find(const char *text, enum network_type *out)
{
	for (unsigned i = 0; i < NETWORK_TYPES; i++)
		if (strcmp(text, type_names[i]) == 0) {
			*out = (enum network_type)i;
			return 0;
		}
	return -EINVAL;
}

/* "ADDRESS/BITS"; the address is in host order. */
static int cidr_parse(const char *text, uint32_t *address, unsigned *prefix)
{
	char copy[32], *slash;
	struct in_addr binary;
	uint64_t bits;

	if (snprintf(copy, sizeof(copy), "%s", text) >= (int)sizeof(copy))
		return -EINVAL;
	slash = strchr(copy, '/');
	if (!slash)
		return -EINVAL;
	*slash = 0;
	if (inet_pton(AF_INET, copy, &binary) != 1 ||
	    text_to_number(slash + 1, PREFIX_MIN, PREFIX_MAX, &bits))
		return -EINVAL;
	*address = ntohl(binary.s_addr);
	*prefix = (unsigned)bits;
	return 0;
}

static uint32_t mask_of(unsigned prefix)
{
	return prefix ? ~0u << (32 - prefix) : 0;
}

static bool has_addresses(enum network_type type)
{
	return type == NETWORK_NAT || type == NETWORK_HOST_ONLY;
}

static int record_parse(const char *name, struct json_object *object, struct network *out)
{
	struct network n = {0};
	struct in_addr public_address;
	char six[NETWORK_TEXT];

	snprintf(n.name, sizeof(n.name), "%s", name);
	snprintf(n.bridge, sizeof(n.bridge), "%s", string_of(object, "bridge"));
	if (type_find(string_of(object, "type"), &n.type) || !n.bridge[0])
		return -EINVAL;
	snprintf(six, sizeof(six), "%s", string_of(object, "address6"));
	six[strcspn(six, "/")] = 0;
	if (has_addresses(n.type) &&
	    (cidr_parse(string_of(object, "address"), &n.address, &n.prefix) ||
	     inet_pton(AF_INET6, six, &n.address6) != 1))
		return -EINVAL;
	if (inet_pton(AF_INET, string_of(object, "public"), &public_address) == 1)
		n.public_address = ntohl(public_address.s_addr);
	*out = n;
	return 0;
}

int network_find(const char *name, struct network *out, struct error *err)
{
	struct json_object *object;
	char path[PATH_MAX];
	int ret;

	if (!text_is_name(name))
		return error_set(err, -EINVAL, "see lodge net ls",
				 "network '%s': no such name can be", name);
	ret = record_path(name, path, err);
	if (ret)
		return ret;
	if (access(path, F_OK) < 0)
		return error_set(err, -ENOENT, "see lodge net ls, or make it with lodge net create",
				 "network '%s': it is not there", name);
	object = json_object_from_file(path);
	ret = object ? record_parse(name, object, out) : -EINVAL;
	json_object_put(object);
	if (ret)
		return error_set(err, ret, "remove the file", "network '%s': '%s' makes no sense",
				 name, path);
	return 0;
}

int network_record_write(const struct network *n, struct error *err)
{
	struct json_object *object = json_object_new_object();
	char path[PATH_MAX], text[NETWORK_TEXT];
	const char *content;
	int ret = record_path(n->name, path, err);

	json_object_object_add(object, "type", json_object_new_string(type_names[n->type]));
	json_object_object_add(object, "bridge", json_object_new_string(n->bridge));
	if (has_addresses(n->type)) {
		network_address_text(n, text);
		json_object_object_add(object, "address", json_object_new_string(text));
		network_address6_text(n, text);
		json_object_object_add(object, "address6", json_object_new_string(text));
	}
	network_public_text(n, text);
	if (text[0])
		json_object_object_add(object, "public", json_object_new_string(text));
	content = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY);
	if (ret == 0)
		ret = instance_write_file(path, content, strlen(content), err);
	json_object_put(object);
	return ret;
}

struct walk {
	int (*visit)(void *arg, const struct network *network);
	void *arg;
};

/* One that makes no sense is told where it is meant. */
static int walk_visit(void *arg, const char *name)
{
	struct walk *walk = arg;
	struct network n;

	return network_find(name, &n, NULL) == 0 ? walk->visit(walk->arg, &n) : 0;
}

int network_for_each(int (*visit)(void *arg, const struct network *network), void *arg,
		     struct error *err)
{
	struct walk walk = {.visit = visit, .arg = arg};

	return instance_state_for_each(NETWORK_RECORDS, walk_visit, &walk, err);
}

/* Addresses. */

struct overlap {
	uint32_t address;
	unsigned prefix;
	char with[80]; /* what has it */
};

static bool overlaps(const struct overlap *o, uint32_t address, uint32_t mask)
{
	uint32_t both = mask_of(o->prefix) & mask;

	return (o->address & both) == (address & both);
}

static int network_overlaps(void *arg, const struct network *n)
{
	struct overlap *o = arg;

	if (!has_addresses(n->type) || !overlaps(o, n->address, mask_of(n->prefix)))
		return 0;
	snprintf(o->with, sizeof(o->with), "network '%s'", n->name);
	return 1;
}

/* The host's routes but the default one (proc_pid_net(5)). */
static bool route_overlaps(struct overlap *o)
{
	FILE *file = fopen("/proc/net/route", "re");
	char line[256];

	while (file && !o->with[0] && fgets(line, sizeof(line), file)) {
		char *rest = line, *word[8] = {NULL};
		uint32_t address, mask;

		for (unsigned i = 0; i < 8; i++)
			word[i] = strsep(&rest, "\t");
		if (!word[7])
			continue;
		address = ntohl((uint32_t)strtoul(word[1], NULL, 16));
		mask = ntohl((uint32_t)strtoul(word[7], NULL, 16));
		if (mask && overlaps(o, address, mask))
			snprintf(o->with, sizeof(o->with), "a route of interface '%.15s'", word[0]);
	}
	if (file)
		fclose(file);
	return o->with[0];
}

static bool is_taken(struct overlap *o)
{
	o->with[0] = 0;
	return network_for_each(network_overlaps, o, NULL) > 0 || route_overlaps(o);
}

static int range_choose(struct network *n, struct error *err)
{
	struct overlap o = {.prefix = 24};

	for (unsigned i = 0; i < CHOICES; i++) {
		o.address = CHOICE_FIRST + i * CHOICE_STEP;
		if (is_taken(&o))
			continue;
		n->address = o.address + 1;
		n->prefix = o.prefix;
		return 0;
	}
	return error_set(err, -EADDRINUSE, "give --cidr", "10.77.0.0/16: all of it is taken");
}

static int range_take(struct network *n, const char *cidr, struct error *err)
{
	struct overlap o;

	if (cidr_parse(cidr, &o.address, &o.prefix) || o.address & ~mask_of(o.prefix))
		return error_set(err, -EINVAL, "give one as 10.1.2.0/24, with 8 to 29 bits",
				 "CIDR '%s'", cidr);
	if (is_taken(&o))
		return error_set(err, -EADDRINUSE,
				 "give another, or leave it out to have one chosen",
				 "CIDR '%s': it overlaps %s", cidr, o.with);
	n->address = o.address + 1;
	n->prefix = o.prefix;
	return 0;
}

/* Unique local ones (RFC 4193), by chance. */
static int range6_choose(struct network *n)
{
	uint8_t *a = n->address6.s6_addr;

	if (getrandom(a, 8, 0) != 8)
		return -EIO;
	a[0] = 0xfd;
	memset(a + 8, 0, 7);
	a[15] = 1;
	return 0;
}

static int bridge_is(void *arg, const struct network *n)
{
	return strcmp(arg, n->bridge) == 0;
}

static int bridge_choose(struct network *n, struct error *err)
{
	for (unsigned i = 0; i < BRIDGES_MAX; i++) {
		snprintf(n->bridge, sizeof(n->bridge), "lodge%u", i);
		if (!if_nametoindex(n->bridge) && network_for_each(bridge_is, n->bridge, NULL) == 0)
			return 0;
	}
	return error_set(err, -ENOSPC, "remove some", "there are %u networks", BRIDGES_MAX);
}

/* What was wished. */

static int bridged_take(struct network *n, const struct network_wish *wish, struct error *err)
{
	if (!wish->bridge || wish->cidr)
		return error_set(err, -EINVAL, "give --bridge INTERFACE, and no --cidr",
				 "type 'bridged': it has whatever is on the host's bridge");
	if (strlen(wish->bridge) >= sizeof(n->bridge) || !network_bridge_is_there(wish->bridge))
		return error_set(err, -ENODEV, "see ip link show type bridge",
				 "bridge '%s': there is no such bridge", wish->bridge);
	snprintf(n->bridge, sizeof(n->bridge), "%s", wish->bridge);
	return 0;
}

static int wish_take(const struct network_wish *wish, struct network *n, struct error *err)
{
	struct in_addr public_address = {0};
	int ret;

	if (!text_is_name(wish->name))
		return error_set(err, -EINVAL, "use letters, digits, '-', '_' and '.'",
				 "no such name can be");
	snprintf(n->name, sizeof(n->name), "%s", wish->name);
	if (type_find(wish->type ? wish->type : type_names[NETWORK_NAT], &n->type))
		return error_set(err, -EINVAL, "use nat, host-only, isolated or bridged",
				 "type '%s': unknown", wish->type);
	if (n->type == NETWORK_BRIDGED)
		return bridged_take(n, wish, err);
	if (wish->bridge)
		return error_set(err, -EINVAL, "it is for type bridged", "--bridge '%s'",
				 wish->bridge);
	if (wish->cidr && !has_addresses(n->type))
		return error_set(err, -EINVAL, "leave it out",
				 "--cidr '%s': the host has no part in it", wish->cidr);
	if (wish->public_address &&
	    (n->type != NETWORK_NAT ||
	     inet_pton(AF_INET, wish->public_address, &public_address) != 1))
		return error_set(err, -EINVAL, "give an IPv4 address, and type nat",
				 "--public '%s'", wish->public_address);
	n->public_address = ntohl(public_address.s_addr);
	ret = bridge_choose(n, err);
	if (ret == 0 && has_addresses(n->type))
		ret = wish->cidr ? range_take(n, wish->cidr, err) : range_choose(n, err);
	return ret == 0 && has_addresses(n->type) ? range6_choose(n) : ret;
}

/* The lock is held. */
int network_create_locked(const struct network_wish *wish, struct network *n, struct error *err)
{
	char path[PATH_MAX];
	int ret = wish_take(wish, n, err);

	if (ret == 0)
		ret = record_path(n->name, path, err);
	if (ret == 0 && access(path, F_OK) == 0)
		ret = error_set(err, -EEXIST, "give another name, or lodge net rm it",
				"it is there");
	if (ret == 0)
		ret = network_check(has_addresses(n->type), err);
	if (ret == 0)
		ret = network_record_write(n, err);
	return ret ? error_prefix(err, ret, "network '%s'", wish->name) : 0;
}

int network_create(const struct network_wish *wish, struct error *err)
{
	struct network n = {0};
	int lock = network_lock(err), ret;

	if (lock < 0)
		return lock;
	ret = network_create_locked(wish, &n, err);
	close(lock);
	return ret;
}

static int is_member(void *arg, const struct network_member *member)
{
	(void)arg;
	(void)member;
	return 1;
}

int network_remove(const char *name, struct error *err)
{
	char path[PATH_MAX];
	struct network n = {0};
	int lock = network_lock(err), ret;

	if (lock < 0)
		return lock;
	network_sweep_locked();
	ret = network_find(name, &n, err);
	if (ret == 0 && network_member_for_each(name, is_member, NULL))
		ret = error_set(err, -EBUSY, "stop them, see lodge ls",
				"network '%s': guests use it", name);
	if (ret == 0)
		ret = network_rules_begin(err);
	if (ret == 0) {
		network_down(&n);
		filter_list_remove(FILTER_ACCESS, name, NULL);
		ret = record_path(name, path, err);
	}
	if (ret == 0 && unlink(path) < 0)
		ret = error_set(err, -errno, NULL, "file '%s': %s", path, error_name(-errno));
	/* It counts no more. */
	if (ret == 0)
		ret = network_rules_apply(err);
	close(lock);
	return ret;
}
