/* SPDX-License-Identifier: MIT */
/* Filter rules as people write them, and lists of them. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <sys/socket.h>

#include "net/filter.h"

static int parse(const char *text, struct filter_rule *out, struct error *err)
{
	static char copy[256];
	char *rest = copy, *word[8];
	unsigned words = 0;

	snprintf(copy, sizeof(copy), "%s", text);
	while (words < 8 && (word[words] = strsep(&rest, " ")))
		words++;
	return filter_rule_parse(word, words, out, err);
}

/* What it says again; and that says the same. */
static void same(const char *text, const char *said)
{
	struct filter_rule rule, again;
	char out[FILTER_TEXT];

	assert_int_equal(parse(text, &rule, NULL), 0);
	filter_rule_text(&rule, out);
	assert_string_equal(out, said);
	assert_int_equal(parse(out, &again, NULL), 0);
	assert_memory_equal(&rule, &again, sizeof(rule));
}

static void rules(void **state)
{
	struct filter_rule rule;

	(void)state;
	same("in any", "in allow any");
	same("out deny icmp", "out deny icmp");
	same("in tcp:80", "in allow tcp:80");
	same("in tcp:80-80", "in allow tcp:80");
	same("in allow udp:1-65535 10.0.0.0/8", "in allow udp:1-65535 10.0.0.0/8");
	same("in tcp 0.0.0.0/0", "in allow tcp 0.0.0.0/0");
	same("in tcp 192.0.2.7", "in allow tcp 192.0.2.7/32");
	same("out any ::/0", "out allow any ::/0");
	same("in tcp:443 2001:db8::/33", "in allow tcp:443 2001:db8::/33");
	same("in any group:web.1", "in allow any group:web.1");
	assert_int_equal(parse("in tcp:80-90 10.1.0.0/16", &rule, NULL), 0);
	assert_int_equal(rule.protocol, IPPROTO_TCP);
	assert_int_equal(rule.first, 80);
	assert_int_equal(rule.last, 90);
	assert_int_equal(rule.family, AF_INET);
	assert_int_equal(rule.prefix, 16);
	assert_false(rule.out);
	assert_false(rule.deny);
}

static void bad_rules(void **state)
{
	static const char *const bad[] = {
		"",
		"in",
		"up tcp",
		"in allow",
		"in deny",
		"in tcpp",
		"in any:80",
		"in icmp:8",
		"in tcp:",
		"in tcp:0",
		"in tcp:65536",
		"in tcp:90-80",
		"in tcp:80-",
		"in tcp:-80",
		"in tcp:80-90-100",
		"in tcp 10.0.0.1/8",
		"in tcp 10.0.0.0/33",
		"in tcp 10.0.0/24",
		"in tcp ::1/0",
		"in tcp 2001:db8::/129",
		"in tcp group:",
		"in tcp group:a/b",
		"in tcp 10.0.0.0/8 more",
		"in tcp:80 10.0.0.0/",
		"in tcp:99999999999999999999",
		"in tcp 1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd:eeee/128",
	};
	struct filter_rule rule;

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct error err = {0};

		if (parse(bad[i], &rule, &err) != -EINVAL)
			fail_msg("'%s' is taken", bad[i]);
		assert_true(err.what[0]);
	}
}

static void lists(void **state)
{
	static struct filter_list list;
	struct filter_rule rule;

	(void)state;
	assert_int_equal(parse("in tcp", &rule, NULL), 0);
	for (unsigned number = 30; number; number -= 10) {
		rule.number = number;
		assert_int_equal(filter_list_add(&list, &rule, NULL), 0);
	}
	rule.number = 20;
	assert_int_equal(filter_list_add(&list, &rule, NULL), -EEXIST);
	rule.number = 0; /* behind all */
	assert_int_equal(filter_list_add(&list, &rule, NULL), 0);
	assert_int_equal(list.count, 4);
	assert_int_equal(list.rule[0].number, 10);
	assert_int_equal(list.rule[3].number, 31);
	assert_int_equal(filter_list_take(&list, 11, NULL), -ENOENT);
	assert_int_equal(filter_list_take(&list, 20, NULL), 0);
	assert_int_equal(list.rule[1].number, 30);
	rule.number = FILTER_NUMBER_MAX;
	assert_int_equal(filter_list_add(&list, &rule, NULL), 0);
	rule.number = 0;
	assert_int_equal(filter_list_add(&list, &rule, NULL), -ENOSPC);
	for (rule.number = 100; list.count < FILTER_RULES_MAX; rule.number++)
		assert_int_equal(filter_list_add(&list, &rule, NULL), 0);
	assert_int_equal(filter_list_add(&list, &rule, NULL), -ENOSPC);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules),
		cmocka_unit_test(bad_rules),
		cmocka_unit_test(lists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
