/* SPDX-License-Identifier: MIT */
/* See compare_stats.h. Mann and Whitney, Annals of Mathematical Statistics 18 (1947). */
#include "vmm/cli/compare_stats.h"

#include <stdlib.h>
#include <string.h>

#define LIKELY    0.05
#define EXACT_MAX 30u /* samples of each; of more the first ones decide */
#define U_MAX     (EXACT_MAX * EXACT_MAX)

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double quantile(const double *sorted, size_t count, double at)
{
	double place = at * (double)(count - 1);
	size_t below = (size_t)place;

	if (below + 1 >= count)
		return sorted[count - 1];
	return sorted[below] + (place - (double)below) * (sorted[below + 1] - sorted[below]);
}

struct compare_spread compare_spread(double *samples, size_t count)
{
	qsort(samples, count, sizeof(*samples), ascending);
	return (struct compare_spread){
		.count = count,
		.least = samples[0],
		.q1 = quantile(samples, count, 0.25),
		.median = quantile(samples, count, 0.5),
		.q3 = quantile(samples, count, 0.75),
		.most = samples[count - 1],
	};
}

/*
 * The distribution of U: the orders of a + b things in which u pairs are inverted are those whose
 * last thing is of the second kind, and those whose last is of the first, before which all b of the
 * second come.
 */
static void distribution(size_t a_count, size_t b_count, double *out)
{
	static double ways[EXACT_MAX + 1][U_MAX + 1]; /* by how many of the second, for one a */

	memset(ways, 0, sizeof(ways));
	for (size_t b = 0; b <= b_count; b++)
		ways[b][0] = 1;
	for (size_t a = 1; a <= a_count; a++)
		for (size_t b = 1; b <= b_count; b++) {
			/* ways[b] is still that of a - 1. */
			for (size_t u = a * b + 1; u-- > b;)
				ways[b][u] = ways[b][u - b];
			for (size_t u = 0; u < b; u++)
				ways[b][u] = 0;
			for (size_t u = 0; u <= a * (b - 1); u++)
				ways[b][u] += ways[b - 1][u];
		}
	memcpy(out, ways[b_count], sizeof(ways[0]));
}

double compare_likelihood(const double *a, size_t a_count, const double *b, size_t b_count)
{
	static double ways[U_MAX + 1];
	double u = 0, all = 0, beyond = 0;

	a_count = a_count > EXACT_MAX ? EXACT_MAX : a_count;
	b_count = b_count > EXACT_MAX ? EXACT_MAX : b_count;
	for (size_t i = 0; i < a_count; i++)
		for (size_t k = 0; k < b_count; k++)
			u += a[i] > b[k] ? 1 : a[i] < b[k] ? 0 : 0.5;
	if (u > (double)(a_count * b_count) / 2)
		u = (double)(a_count * b_count) - u;
	distribution(a_count, b_count, ways);
	for (size_t i = 0; i <= a_count * b_count; i++) {
		all += ways[i];
		if ((double)i <= u)
			beyond += ways[i];
	}
	return 2 * beyond / all > 1 ? 1 : 2 * beyond / all;
}

static struct compare_spread spread_of(const double *samples, size_t count)
{
	double sorted[COMPARE_SAMPLES_MAX];

	count = count > COMPARE_SAMPLES_MAX ? COMPARE_SAMPLES_MAX : count;
	memcpy(sorted, samples, count * sizeof(*samples));
	return compare_spread(sorted, count);
}

bool compare_differ(const double *a, size_t a_count, const double *b, size_t b_count)
{
	struct compare_spread x, y;

	if (!a_count || !b_count)
		return false;
	x = spread_of(a, a_count);
	y = spread_of(b, b_count);
	if (x.q1 <= y.q3 && y.q1 <= x.q3)
		return false;
	return compare_likelihood(a, a_count, b, b_count) < LIKELY;
}
