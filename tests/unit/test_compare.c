/* SPDX-License-Identifier: MIT */
/*
 * A compare's statistics, and what its report makes of samples. With a directory as its argument it
 * writes such a report there, for tests/cli/compare_report.
 */
#include "tests/unit/unit.h"

#include <math.h>

#include "vmm/base/checked.h"
#include "vmm/cli/compare_report.h"
#include "vmm/cli/compare_stats.h"

static void near(double value, double expected)
{
	if (fabs(value - expected) > 1e-9 * fabs(expected) + 1e-12)
		fail_msg("%.12g, not %.12g", value, expected);
}

static void quartiles(void **state)
{
	double five[] = {5, 1, 4, 2, 3}, four[] = {10, 40, 20, 30}, one[] = {7};
	struct compare_spread s = compare_spread(five, 5);

	(void)state;
	near(s.least, 1);
	near(s.q1, 2);
	near(s.median, 3);
	near(s.q3, 4);
	near(s.most, 5);
	s = compare_spread(four, 4);
	near(s.q1, 17.5);
	near(s.median, 25);
	near(s.q3, 32.5);
	s = compare_spread(one, 1);
	near(s.q1, 7);
	near(s.median, 7);
	near(s.q3, 7);
}

/* Of Mann and Whitney's own table I: U of 0, 1 and 2 of five and five, of 10 and ten. */
static void likelihoods(void **state)
{
	const double low[] = {1, 2, 3, 4, 5}, high[] = {6, 7, 8, 9, 10};
	const double one_over[] = {1, 2, 3, 4, 6.5}, two_over[] = {1, 2, 3, 4, 7.5};
	double a[10], b[10];

	(void)state;
	near(compare_likelihood(low, 5, high, 5), 2.0 / 252);
	near(compare_likelihood(high, 5, low, 5), 2.0 / 252);
	near(compare_likelihood(one_over, 5, high, 5), 2.0 * 2 / 252);
	near(compare_likelihood(two_over, 5, high, 5), 2.0 * 4 / 252);
	near(compare_likelihood(low, 5, low, 5), 1);
	near(compare_likelihood(low, 3, high, 3), 2.0 / 20);
	near(compare_likelihood(low, 1, high, 1), 1);
	for (unsigned i = 0; i < 10; i++) {
		a[i] = i;
		b[i] = 100 + i;
	}
	near(compare_likelihood(a, 10, b, 10), 2.0 / 184756);
}

static void differences(void **state)
{
	const double low[] = {1, 2, 3, 4, 5}, high[] = {6, 7, 8, 9, 10}, mixed[] = {3, 4, 5, 6, 7};
	const double outlier[] = {1, 2, 3, 4, 7.5};

	(void)state;
	assert_true(compare_differ(low, 5, high, 5));
	assert_true(compare_differ(outlier, 5, high, 5));
	assert_false(compare_differ(low, 5, mixed, 5));
	assert_false(compare_differ(low, 3, high, 3)); /* chance does that in one of ten */
	assert_true(compare_differ(low, 4, high, 4));
	assert_false(compare_differ(low, 0, high, 5));
	assert_false(compare_differ(low, 5, low, 5));
}

static void numbers(void **state)
{
	static const struct {
		double value;
		const char *text;
	} all[] = {
		{0, "0"},         {0.1234, "0.123"},  {0.9996, "1.00"},
		{1.2345, "1.23"}, {9.996, "10.0"},    {12.34, "12.3"},
		{99.96, "100"},   {999999, "999999"}, {1234567, "1.23M"},
	};
	char text[COMPARE_NUMBER_TEXT];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		assert_string_equal(compare_number(all[i].value, text), all[i].text);
}

/* A report. */

static void config_add(struct json_object *configs, const char *name, const char *reason)
{
	struct json_object *one = json_object_new_object();

	json_object_object_add(one, "name", json_object_new_string(name));
	json_object_object_add(one, "engine", json_object_new_string(name));
	if (reason)
		json_object_object_add(one, "reason", json_object_new_string(reason));
	json_object_array_add(configs, one);
}

static void workload_add(struct json_object *workloads, const char *name)
{
	struct json_object *one = json_object_new_object();

	json_object_object_add(one, "name", json_object_new_string(name));
	json_object_object_add(one, "summary", json_object_new_string("<what> & \"why\""));
	json_object_array_add(workloads, one);
}

static const struct compare_metric fast = {"compute", "fast & <small>", "ns", false},
				   rate = {"disk", "rate", "MiB/s", true},
				   wide = {"compute", "wide", "ns", false};

static struct json_object *report_make(void)
{
	struct json_object *report = json_object_new_object(), *configs = json_object_new_array();
	struct json_object *workloads = json_object_new_array();

	config_add(configs, "native", NULL);
	config_add(configs, "bt", NULL);
	config_add(configs, "bt/pv-off/emulated", NULL);
	config_add(configs, "kvm", "there is no such device; buy one");
	workload_add(workloads, "compute");
	workload_add(workloads, "disk");
	json_object_object_add(report, "configurations", configs);
	json_object_object_add(report, "workloads", workloads);
	json_object_object_add(report, "host", json_object_new_object());
	json_object_object_add(report, "runs", json_object_new_int(5));
	json_object_object_add(report, "runs_done", json_object_new_int(5));
	for (unsigned i = 0; i < 5; i++) {
		compare_report_add(report, &fast, "native", 10 + i * 0.1);
		compare_report_add(report, &fast, "bt", 20 + (i * 7) % 5);
		compare_report_add(report, &fast, "bt/pv-off/emulated", 21 + (i * 3) % 5);
		compare_report_add(report, &wide, "native", 1 + i);
		compare_report_add(report, &wide, "bt", 5000 + 100.0 * i);
		compare_report_add(report, &rate, "bt", 300 + i);
	}
	compare_report_reason(report, "disk", "native", "its disk is gone");
	compare_report_reason(report, "disk", "native", "said later");
	compare_report_conclude(report);
	return report;
}

static struct json_object *row(struct json_object *report, unsigned metric, unsigned config)
{
	struct json_object *metrics = json_object_object_get(report, "metrics");
	struct json_object *rows =
		json_object_object_get(json_object_array_get_idx(metrics, metric), "rows");

	return json_object_array_get_idx(rows, config);
}

static double figure(struct json_object *of, const char *key)
{
	return json_object_get_double(json_object_object_get(of, key));
}

static const char *reason(struct json_object *of)
{
	assert_null(json_object_object_get(of, "median"));
	return json_object_get_string(json_object_object_get(of, "reason"));
}

static void conclusions(void **state)
{
	struct json_object *report = report_make(), *alike, *first;

	(void)state;
	near(figure(row(report, 0, 0), "median"), 10.2);
	near(figure(row(report, 0, 1), "median"), 22);
	near(figure(row(report, 0, 1), "q1"), 21);
	near(figure(row(report, 0, 1), "ratio"), 22 / 10.2);
	assert_string_equal(reason(row(report, 0, 3)), "there is no such device; buy one");
	assert_string_equal(reason(row(report, 2, 0)), "its disk is gone");
	assert_string_equal(reason(row(report, 2, 2)), "it has no such figure");
	assert_null(json_object_object_get(row(report, 2, 1), "ratio"));
	/* The two kinds of bt are not told apart, each is from native. */
	first = json_object_array_get_idx(json_object_object_get(report, "metrics"), 0);
	alike = json_object_object_get(first, "alike");
	assert_int_equal(json_object_array_length(alike), 1);
	/* More samples, and once more. */
	compare_report_add(report, &fast, "bt", 1000);
	compare_report_conclude(report);
	near(figure(row(report, 0, 1), "most"), 1000);
	json_object_put(report);
}

static int write_report(const char *directory)
{
	struct json_object *report = report_make();
	struct error err = {0};
	int ret = compare_report_save(report, directory, &err);

	if (ret)
		error_print(&err, ret);
	json_object_put(report);
	return ret ? 1 : 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(quartiles),   cmocka_unit_test(likelihoods),
		cmocka_unit_test(differences), cmocka_unit_test(numbers),
		cmocka_unit_test(conclusions),
	};

	if (argc > 1)
		return write_report(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
