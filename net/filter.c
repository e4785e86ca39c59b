/* SPDX-License-Identifier: MIT */
/* Filter rules as people write them, and the records that have lists of them: by number, as text.
 */
#include "net/filter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/instance.h"

#define WORDS_MAX 4u

static const struct {
	const char *name;
	uint8_t number;
	bool has_ports;
} protocols[] = {
	{"any", 0, false},
	{"icmp", IPPROTO_ICMP, false},
	{"tcp", IPPROTO_TCP, true},
	{"udp", IPPROTO_UDP, true},
};
#define PROTOCOLS (sizeof(protocols) / sizeof(protocols[0]))

/* Rules. */

static int ports_parse(char *text, struct filter_rule *out, struct error *err)
{
	char *end = strchr(text, '-');
	uint64_t first, last;

	if (end)
		*end++ = 0;
	if (text_to_number(text, 1, 65535, &first) ||
	    text_to_number(end ? end : text, first, 65535, &last))
		return error_set(err, -EINVAL, "give one as 80, or several as 8000-8010",
				 "ports '%s%s%s'", text, end ? "-" : "", end ? end : "");
	out->first = (uint16_t)first;
	out->last = (uint16_t)last;
	return 0;
}

static int protocol_parse(const char *word, struct filter_rule *out, struct error *err)
{
	char copy[32], *ports;

	snprintf(copy, sizeof(copy), "%s", word);
	ports = strchr(copy, ':');
	if (ports)
		*ports++ = 0;
	for (unsigned i = 0; i < PROTOCOLS && strlen(word) < sizeof(copy); i++) {
		if (strcmp(copy, protocols[i].name) != 0)
			continue;
		out->protocol = protocols[i].number;
		if (ports && !protocols[i].has_ports)
			return error_set(err, -EINVAL, "give them with tcp or udp",
					 "protocol '%s': it has no ports", copy);
		return ports ? ports_parse(ports, out, err) : 0;
	}
	return error_set(err, -EINVAL, "use any, icmp, tcp[:PORTS] or udp[:PORTS]",
			 "protocol '%s': unknown", word);
}

/* Are all of its bits behind the prefix 0? */
static bool is_range(const uint8_t *address, unsigned bytes, unsigned prefix)
{
	for (unsigned bit = prefix; bit < bytes * 8; bit++)
		if (address[bit / 8] & 0x80 >> bit % 8)
			return false;
	return true;
}

static int cidr_parse(const char *word, struct filter_rule *out, struct error *err)
{
	char copy[64], *bits;
	uint64_t prefix;
	unsigned most;

	snprintf(copy, sizeof(copy), "%s", word);
	bits = strchr(copy, '/');
	if (bits)
		*bits++ = 0;
	out->family = strchr(copy, ':') ? AF_INET6 : AF_INET;
	most = out->family == AF_INET6 ? 128 : 32;
	prefix = most;
	if (strlen(word) >= sizeof(copy) || inet_pton(out->family, copy, &out->address) != 1 ||
	    (bits && text_to_number(bits, 0, most, &prefix)) ||
	    !is_range(out->address.s6_addr, most / 8, (unsigned)prefix))
		return error_set(err, -EINVAL,
				 "give one as 10.1.2.3, 10.1.2.0/24, 2001:db8::/32 or group:NAME",
				 "addresses '%s'", word);
	out->prefix = (uint8_t)prefix;
	return 0;
}

static int remote_parse(const char *word, struct filter_rule *out, struct error *err)
{
	if (strncmp(word, "group:", 6) != 0)
		return cidr_parse(word, out, err);
	if (!text_is_name(word + 6))
		return error_set(err, -EINVAL, "see lodge sg ls",
				 "security group '%s': no such name can be", word + 6);
	snprintf(out->group, sizeof(out->group), "%s", word + 6);
	return 0;
}

int filter_rule_parse(char *const *word, unsigned words, struct filter_rule *out, struct error *err)
{
	struct filter_rule rule = {0};
	unsigned at = 0;
	int ret;

	if (words == 0 || (strcmp(word[0], "in") != 0 && strcmp(word[0], "out") != 0))
		return error_set(err, -EINVAL, "use in or out", "rule: direction '%s'",
				 words ? word[0] : "");
	rule.out = strcmp(word[at++], "out") == 0;
	if (at < words && (strcmp(word[at], "allow") == 0 || strcmp(word[at], "deny") == 0))
		rule.deny = strcmp(word[at++], "deny") == 0;
	if (at == words)
		return error_set(err, -EINVAL, "use any, icmp, tcp[:PORTS] or udp[:PORTS]",
				 "rule: a protocol is missing");
	ret = protocol_parse(word[at++], &rule, err);
	if (ret == 0 && at < words)
		ret = remote_parse(word[at++], &rule, err);
	if (ret == 0 && at < words)
		ret = error_set(err, -EINVAL, NULL, "'%s': one word too many", word[at]);
	if (ret)
		return error_prefix(err, ret, "rule");
	*out = rule;
	return 0;
}

void filter_rule_text(const struct filter_rule *rule, char out[FILTER_TEXT])
{
	char ports[16] = "", remote[TEXT_NAME_MAX + INET6_ADDRSTRLEN + 16] = "";
	char address[INET6_ADDRSTRLEN];
	const char *protocol = "";

	for (unsigned i = 0; i < PROTOCOLS; i++)
		if (protocols[i].number == rule->protocol)
			protocol = protocols[i].name;
	if (rule->first == rule->last && rule->first)
		snprintf(ports, sizeof(ports), ":%u", rule->first);
	else if (rule->first)
		snprintf(ports, sizeof(ports), ":%u-%u", rule->first, rule->last);
	if (rule->group[0])
		snprintf(remote, sizeof(remote), " group:%s", rule->group);
	else if (rule->family)
		snprintf(remote, sizeof(remote), " %s/%u",
			 inet_ntop(rule->family, &rule->address, address, sizeof(address)),
			 rule->prefix);
	snprintf(out, FILTER_TEXT, "%s %s %s%s%s", rule->out ? "out" : "in",
		 rule->deny ? "deny" : "allow", protocol, ports, remote);
}

/* Lists. */

static const struct {
	const char *folder, *what, *see;
} kinds[] = {
	[FILTER_GROUP] = {"groups", "security group", "see lodge sg ls"},
	[FILTER_ACCESS] = {"access", "access list", "see lodge net acl NETWORK"},
};

static int path_of(enum filter_kind kind, const char *name, char out[PATH_MAX], struct error *err)
{
	char file[TEXT_NAME_MAX + 8];

	if (!text_is_name(name))
		return error_set(err, -EINVAL, kinds[kind].see, "%s '%s': no such name can be",
				 kinds[kind].what, name);
	snprintf(file, sizeof(file), "%s.json", name);
	return instance_state_path(kinds[kind].folder, file, out, PATH_MAX, err);
}

int filter_list_add(struct filter_list *list, const struct filter_rule *rule, struct error *err)
{
	struct filter_rule added = *rule;
	unsigned at = list->count;

	if (added.number == 0)
		added.number = at ? list->rule[at - 1].number + 1 : 1;
	if (list->count == FILTER_RULES_MAX || added.number > FILTER_NUMBER_MAX)
		return error_set(err, -ENOSPC, "remove some", "there are %u rules, up to number %u",
				 list->count, at ? list->rule[at - 1].number : 0);
	while (at && list->rule[at - 1].number >= added.number)
		at--;
	if (at < list->count && list->rule[at].number == added.number)
		return error_set(err, -EEXIST, "give another number, or remove it first",
				 "rule %u: it is there", added.number);
	memmove(list->rule + at + 1, list->rule + at, (list->count - at) * sizeof(added));
	list->rule[at] = added;
	list->count++;
	return 0;
}

int filter_list_take(struct filter_list *list, unsigned number, struct error *err)
{
	for (unsigned i = 0; i < list->count; i++) {
		if (list->rule[i].number != number)
			continue;
		list->count--;
		memmove(list->rule + i, list->rule + i + 1,
			(list->count - i) * sizeof(list->rule[0]));
		return 0;
	}
	return error_set(err, -ENOENT, "see what rules it has", "rule %u: it is not there", number);
}

static int rule_read(const char *key, const char *text, struct filter_list *list)
{
	struct filter_rule rule;
	char copy[FILTER_TEXT], *rest = copy, *word[WORDS_MAX + 1];
	uint64_t number;
	unsigned words = 0;

	snprintf(copy, sizeof(copy), "%s", text);
	while (words <= WORDS_MAX && (word[words] = strsep(&rest, " ")))
		words++;
	if (text_to_number(key, 1, FILTER_NUMBER_MAX, &number) ||
	    filter_rule_parse(word, words, &rule, NULL))
		return -EINVAL;
	rule.number = (unsigned)number;
	return filter_list_add(list, &rule, NULL);
}

int filter_list_read(enum filter_kind kind, const char *name, struct filter_list *out,
		     struct error *err)
{
	struct json_object *object;
	char path[PATH_MAX];
	int ret = path_of(kind, name, path, err);

	if (ret)
		return ret;
	if (access(path, F_OK) < 0)
		return error_set(err, -ENOENT, kinds[kind].see, "%s '%s': it is not there",
				 kinds[kind].what, name);
	out->count = 0;
	object = json_object_from_file(path);
	ret = json_object_is_type(object, json_type_object) ? 0 : -EINVAL;
	if (ret == 0) {
		json_object_object_foreach(object, key, value)
		{
			const char *text = json_object_get_string(value);

			if (ret == 0)
				ret = rule_read(key, text ? text : "", out);
		}
	}
	json_object_put(object);
	if (ret)
		return error_set(err, ret, "remove the file", "%s '%s': '%s' makes no sense",
				 kinds[kind].what, name, path);
	return 0;
}

int filter_list_write(enum filter_kind kind, const char *name, const struct filter_list *list,
		      struct error *err)
{
	struct json_object *object;
	char path[PATH_MAX], number[16], text[FILTER_TEXT];
	const char *content;
	int ret = path_of(kind, name, path, err);

	if (ret)
		return ret;
	object = json_object_new_object();
	for (unsigned i = 0; i < list->count; i++) {
		snprintf(number, sizeof(number), "%u", list->rule[i].number);
		filter_rule_text(&list->rule[i], text);
		json_object_object_add(object, number, json_object_new_string(text));
	}
	content = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY);
	ret = instance_write_file(path, content, strlen(content), err);
	json_object_put(object);
	return ret;
}

int filter_list_remove(enum filter_kind kind, const char *name, struct error *err)
{
	char path[PATH_MAX];
	int ret = path_of(kind, name, path, err);

	if (ret == 0 && unlink(path) < 0)
		ret = error_set(err, -errno, kinds[kind].see, "%s '%s': %s", kinds[kind].what, name,
				error_name(-errno));
	return ret;
}

int filter_for_each(enum filter_kind kind, int (*visit)(void *arg, const char *name), void *arg,
		    struct error *err)
{
	return instance_state_for_each(kinds[kind].folder, visit, arg, err);
}
