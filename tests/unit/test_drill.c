/* SPDX-License-Identifier: MIT */
/* What a drill's report says of its rows. */
#include "tests/unit/unit.h"

#include "vmm/cli/drill_report.h"

/* "RESULT[!] [ANSWER_NS]" a row; !: it was wanted by name. */
static struct json_object *report_of(const char *const *rows)
{
	struct json_object *report = json_object_new_object(), *array = json_object_new_array();

	for (; *rows; rows++) {
		struct json_object *row = json_object_new_object();
		unsigned long long answer;
		char result[16], mark = 0;

		assert_true(sscanf(*rows, "%15[a-z]%c", result, &mark) >= 1);
		json_object_object_add(row, "result", json_object_new_string(result));
		json_object_object_add(row, "wanted", json_object_new_boolean(mark == '!'));
		if (sscanf(*rows, "%*s %llu", &answer) == 1)
			json_object_object_add(row, "answer_ns", json_object_new_uint64(answer));
		json_object_array_add(array, row);
	}
	json_object_object_add(report, "scenarios", array);
	return report;
}

#define ROWS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void holds_is(bool holds, const char *const *rows)
{
	struct json_object *report = report_of(rows);

	assert_int_equal(drill_report_conclude(report), holds);
	assert_int_equal(json_object_get_boolean(json_object_object_get(report, "holds")), holds);
	json_object_put(report);
}

static void plan_holds(void **state)
{
	(void)state;
	holds_is(true, ROWS("passed", "passed"));
	holds_is(false, ROWS("passed", "failed"));
	holds_is(true, ROWS("passed", "skipped"));
	/* What was asked for by name, and what was tried at all. */
	holds_is(false, ROWS("passed!", "skipped!"));
	holds_is(false, ROWS("skipped", "skipped"));
	holds_is(false, (const char *const[]){NULL});
	/* A report that was edited by hand. */
	holds_is(false, ROWS("passed", "maybe"));
}

static void worst_answer_counts(void **state)
{
	struct json_object *report =
		report_of(ROWS("passed 1500000000", "failed", "passed 2250000000", "passed 7"));
	char text[DRILL_SECONDS_TEXT];

	(void)state;
	drill_report_conclude(report);
	assert_string_equal(drill_report_seconds(report, "rto_ns", text), "2.250 s");
	json_object_put(report);
	/* Nothing answered: there is none. */
	report = report_of(ROWS("failed", "skipped"));
	drill_report_conclude(report);
	assert_string_equal(drill_report_seconds(report, "rto_ns", text), "-");
	json_object_put(report);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plan_holds),
		cmocka_unit_test(worst_answer_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
