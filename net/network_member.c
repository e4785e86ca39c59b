/* SPDX-License-Identifier: MIT */
/*
 * Members: NICs of running guests on a network, a JSON file each, GUEST.INDEX.json below members/
 * in the network's directory. Their addresses are chosen here, so that rules can name them before
 * the guest asks for one.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <netinet/ether.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "net/network_impl.h"
#include "vmm/base/instance.h"
#include "vmm/base/log.h"

/* Records. */

static void member_path(const char *network, const char *folder, const char *guest, unsigned index,
			const char *suffix, char out[PATH_MAX])
{
	char file[TEXT_NAME_MAX + 40];

	snprintf(file, sizeof(file), "/%s/%s.%u%s", folder, guest, index, suffix);
	network_run_path(network, file, out);
}

static void text_add(struct json_object *to, const char *key, const char *text)
{
	json_object_object_add(to, key, json_object_new_string(text));
}

static struct json_object *member_object(const struct network_member *m)
{
	struct json_object *object = json_object_new_object();
	struct json_object *groups = json_object_new_array(), *ports = json_object_new_array();
	struct json_object *serving = json_object_new_array();
	char text[NET_FORWARD_TEXT], mac[18];

	json_object_object_add(object, "pid", json_object_new_int(m->pid));
	net_mac_text(m->mac, mac);
	text_add(object, "mac", mac);
	text_add(object, "interface", m->tap);
	network_member_address_text(m, text);
	if (m->address)
		text_add(object, "address", text);
	for (unsigned i = 0; i < m->group_count; i++)
		json_object_array_add(groups, json_object_new_string(m->group[i]));
	for (unsigned i = 0; i < m->forward_count; i++) {
		net_forward_text(&m->forward[i], text);
		json_object_array_add(ports, json_object_new_string(text));
	}
	for (unsigned i = 0; i < m->serving_count; i++)
		json_object_array_add(serving, json_object_new_int(m->serving[i]));
	json_object_object_add(object, "serving", serving);
	json_object_object_add(object, "groups", groups);
	json_object_object_add(object, "ports", ports);
	return object;
}

int network_member_write(const char *network, const struct network_member *member,
			 struct error *err)
{
	struct json_object *object = member_object(member);
	const char *text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY);
	char path[PATH_MAX];
	int ret;

	member_path(network, "members", member->guest, member->index, ".json", path);
	ret = instance_write_file(path, text, strlen(text), err);
	json_object_put(object);
	return ret;
}

static const char *text_of(struct json_object *object, const char *key)
{
	const char *text = json_object_get_string(json_object_object_get(object, key));

	return text ? text : "";
}

static int arrays_parse(struct json_object *object, struct network_member *m)
{
	struct json_object *groups = json_object_object_get(object, "groups");
	struct json_object *ports = json_object_object_get(object, "ports");
	struct json_object *serving = json_object_object_get(object, "serving");
	const char *text;

	if (!json_object_is_type(groups, json_type_array) ||
	    !json_object_is_type(ports, json_type_array) ||
	    !json_object_is_type(serving, json_type_array))
		return -EINVAL;
	for (size_t i = 0; i < json_object_array_length(serving); i++) {
		int port = json_object_get_int(json_object_array_get_idx(serving, i));

		if (i == NETWORK_SERVING_MAX || port < 1 || port > 65535)
			return -EINVAL;
		m->serving[m->serving_count++] = (uint16_t)port;
	}
	for (size_t i = 0; i < json_object_array_length(groups); i++) {
		text = json_object_get_string(json_object_array_get_idx(groups, i));
		if (i == NETWORK_GROUPS_MAX || !text || !text_is_name(text))
			return -EINVAL;
		snprintf(m->group[m->group_count++], sizeof(m->group[0]), "%s", text);
	}
	for (size_t i = 0; i < json_object_array_length(ports); i++) {
		text = json_object_get_string(json_object_array_get_idx(ports, i));
		if (i == NET_FORWARDS_MAX || !text ||
		    net_forward_parse(text, &m->forward[m->forward_count++], NULL))
			return -EINVAL;
	}
	return 0;
}

static int member_parse(struct json_object *object, struct network_member *m)
{
	struct ether_addr mac;
	struct in_addr address;

	if (!json_object_is_type(object, json_type_object) ||
	    !ether_aton_r(text_of(object, "mac"), &mac))
		return -EINVAL;
	memcpy(m->mac, mac.ether_addr_octet, NET_MAC);
	snprintf(m->tap, sizeof(m->tap), "%s", text_of(object, "interface"));
	m->pid = json_object_get_int(json_object_object_get(object, "pid"));
	if (inet_pton(AF_INET, text_of(object, "address"), &address) == 1)
		m->address = ntohl(address.s_addr);
	return arrays_parse(object, m);
}

int network_member_read(const char *network, const char *guest, unsigned index,
			struct network_member *out)
{
	struct network_member member = {.index = index};
	struct json_object *object;
	char path[PATH_MAX];
	int ret;

	snprintf(member.guest, sizeof(member.guest), "%s", guest);
	member_path(network, "members", guest, index, ".json", path);
	if (access(path, F_OK) < 0)
		return -ENOENT;
	object = json_object_from_file(path);
	ret = member_parse(object, &member);
	json_object_put(object);
	if (ret == 0)
		*out = member;
	return ret;
}

void network_member_remove(const char *network, const char *guest, unsigned index)
{
	char path[PATH_MAX];

	member_path(network, "hosts", guest, index, "", path);
	unlink(path);
	member_path(network, "members", guest, index, ".json", path);
	unlink(path);
}

/* What a guest that was killed on its way to the network left: not all of a record, or no record.
 */

static bool is_whole(int members, const char *name)
{
	const char *suffix = strrchr(name, '.');

	(void)members;
	return suffix && strcmp(suffix, ".json") == 0;
}

static bool has_record(int members, const char *name)
{
	char record[NAME_MAX + 8];

	snprintf(record, sizeof(record), "%s.json", name);
	return faccessat(members, record, F_OK, 0) == 0;
}

static void folder_sweep(const char *network, const char *folder, int members,
			 bool (*stays)(int members, const char *name))
{
	struct dirent *entry;
	char path[PATH_MAX];
	DIR *directory;

	network_run_path(network, folder, path);
	directory = opendir(path);
	while (directory && (entry = readdir(directory)))
		if (entry->d_name[0] != '.' && !stays(members, entry->d_name))
			unlinkat(dirfd(directory), entry->d_name, 0);
	if (directory)
		closedir(directory);
}

void network_member_sweep(const char *network)
{
	char path[PATH_MAX];
	int members;

	network_run_path(network, "/members", path);
	members = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (members < 0)
		return;
	folder_sweep(network, "/members", members, is_whole);
	folder_sweep(network, "/hosts", members, has_record);
	close(members);
}

struct walk {
	const char *network;
	int (*visit)(void *arg, const struct network_member *member);
	void *arg;
};

/* "GUEST.INDEX". One that makes no sense has no part in anything. */
static int walk_visit(void *arg, const char *name)
{
	struct walk *walk = arg;
	char guest[TEXT_NAME_MAX + 16], *dot;
	struct network_member member;
	uint64_t index;

	snprintf(guest, sizeof(guest), "%s", name);
	dot = strrchr(guest, '.');
	if (!dot || text_to_number(dot + 1, 0, 255, &index))
		return 0;
	*dot = 0;
	if (!text_is_name(guest) ||
	    network_member_read(walk->network, guest, (unsigned)index, &member))
		return 0;
	return walk->visit(walk->arg, &member);
}

int network_member_for_each(const char *network,
			    int (*visit)(void *arg, const struct network_member *member), void *arg)
{
	struct walk walk = {.network = network, .visit = visit, .arg = arg};
	char path[PATH_MAX];
	int ret;

	network_run_path(network, "/members", path);
	ret = instance_walk(path, walk_visit, &walk, NULL);
	return ret == -ENOENT ? 0 : ret; /* a network that is not up */
}

bool network_member_lives(const struct network_member *member)
{
	pid_t pid = 0;

	return instance_is_running(member->guest, &pid) && pid == member->pid;
}

/* Addresses. */

void network_member_address_text(const struct network_member *member, char out[INET_ADDRSTRLEN])
{
	struct in_addr address = {htonl(member->address)};

	out[0] = 0;
	if (member->address)
		inet_ntop(AF_INET, &address, out, INET_ADDRSTRLEN);
}

struct taken {
	const struct network_member *by; /* this one's own is not */
	uint32_t first, count;
	uint8_t *is; /* an entry an address */
};

static void take(struct taken *t, uint32_t address)
{
	if (address - t->first < t->count)
		t->is[address - t->first] = 1;
}

static int take_members(void *arg, const struct network_member *m)
{
	struct taken *t = arg;

	if (strcmp(m->guest, t->by->guest) != 0 || m->index != t->by->index)
		take(t, m->address);
	return 0;
}

/* dnsmasq's leases that others have: "EXPIRY MAC ADDRESS NAME ID". */
static void take_leases(struct taken *t, const char *network)
{
	char path[PATH_MAX], line[512], own[18];
	uint64_t expiry;
	FILE *file;

	net_mac_text(t->by->mac, own);
	network_run_path(network, "/leases", path);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		char *rest = line, *word[3];
		struct in_addr address;

		for (unsigned i = 0; i < 3; i++)
			word[i] = strsep(&rest, " ");
		if (word[2] && text_to_number(word[0], 0, UINT64_MAX, &expiry) == 0 &&
		    expiry > (uint64_t)time(NULL) && strcmp(word[1], own) != 0 &&
		    inet_pton(AF_INET, word[2], &address) == 1)
			take(t, ntohl(address.s_addr));
	}
	if (file)
		fclose(file);
}

/* FNV-1a, so that a guest finds the address that it had. */
static uint32_t place_of(const struct network_member *m)
{
	uint32_t hash = 0x811c9dc5u;

	for (const char *c = m->guest; *c; c++)
		hash = (hash ^ (uint8_t)*c) * 0x01000193u;
	return (hash ^ m->index) * 0x01000193u;
}

static int address_choose(const struct taken *t, struct network_member *m)
{
	uint32_t place = place_of(m) % t->count;

	if (m->address) /* asked for */
		return m->address - t->first < t->count && !t->is[m->address - t->first]
			       ? 0
			       : -EADDRNOTAVAIL;
	for (uint32_t i = 0; i < t->count; i++) {
		if (t->is[(place + i) % t->count])
			continue;
		m->address = t->first + (place + i) % t->count;
		return 0;
	}
	return -EADDRNOTAVAIL;
}

int network_member_address(const struct network *network, struct network_member *member,
			   struct error *err)
{
	uint32_t mask = ~0u << (32 - network->prefix);
	/* Without the network's own, the bridge's and the broadcast address. */
	struct taken t = {.by = member, .first = network->address + 1, .count = ~mask - 2};
	char wanted[INET_ADDRSTRLEN];
	int ret;

	network_member_address_text(member, wanted);
	t.is = calloc(t.count, 1);
	if (!t.is)
		return error_set(err, -ENOMEM, NULL, "addresses: out of memory");
	network_member_for_each(network->name, take_members, &t);
	take_leases(&t, network->name);
	ret = address_choose(&t, member);
	free(t.is);
	if (ret == 0)
		return 0;
	if (wanted[0])
		return error_set(err, ret, "give another, or none",
				 "address '%s': it is somebody else's, or not of the network",
				 wanted);
	return error_set(err, ret, "make a network with a larger --cidr",
			 "all of its %u addresses are taken", t.count);
}

/* What dnsmasq would take for something else: "ignore", or a time. */
static bool is_word_of_dnsmasq(const char *name)
{
	size_t digits = strspn(name, "0123456789");

	return strcmp(name, "ignore") == 0 || strcmp(name, "infinite") == 0 ||
	       (digits && (!name[digits] || (strchr("smhdw", name[digits]) && !name[digits + 1])));
}

/* In its place, not by a rename: dnsmasq reads whatever it sees there. */
int network_member_tell(const struct network *network, const struct network_member *member,
			struct error *err)
{
	bool named = !is_word_of_dnsmasq(member->guest);
	char path[PATH_MAX], address[INET_ADDRSTRLEN], mac[18];
	FILE *file;
	int ret = 0;

	network_member_address_text(member, address);
	net_mac_text(member->mac, mac);
	member_path(network->name, "hosts", member->guest, member->index, "", path);
	file = fopen(path, "we");
	if (!named)
		log_warn("network '%s': guest '%s' has no name there: dnsmasq takes it for a word "
			 "of its own",
			 network->name, member->guest);
	if (!file || fchmod(fileno(file), 0644) < 0 ||
	    fprintf(file, "%s,%s%s%s\n", mac, address, named ? "," : "",
		    named ? member->guest : "") < 0)
		ret = -errno;
	if (file && fclose(file) && ret == 0)
		ret = -errno;
	return ret ? error_set(err, ret, NULL, "file '%s': %s", path, error_name(ret)) : 0;
}

struct in6_addr network_member_address6(const struct network *network,
					const struct network_member *member)
{
	struct in6_addr address = network->address6;
	uint8_t *a = address.s6_addr;

	/* RFC 4291, appendix A. */
	memcpy(a + 8, member->mac, 3);
	memcpy(a + 13, member->mac + 3, 3);
	a[8] ^= 2;
	a[11] = 0xff;
	a[12] = 0xfe;
	return address;
}
