/* SPDX-License-Identifier: MIT */
/* Statistics of samples. */
#ifndef VMM_CLI_COMPARE_STATS_H
#define VMM_CLI_COMPARE_STATS_H

#include <stdbool.h>
#include <stddef.h>

#define COMPARE_SAMPLES_MAX 1000u

struct compare_spread {
	size_t count;
	double least, q1, median, q3, most;
};

/* Of at least one; sorts them. Between two samples, quantiles are on a line (Hyndman and Fan's 7).
 */
struct compare_spread compare_spread(double *samples, size_t count);

/*
 * How likely two sets that differ as much or more would be if they were of one distribution:
 * Mann and Whitney's U, exact and two-sided; ties count as half.
 */
double compare_likelihood(const double *a, size_t a_count, const double *b, size_t b_count);

/* Can a difference be told? Quartiles do not overlap, and the likelihood is below 5 percent. */
bool compare_differ(const double *a, size_t a_count, const double *b, size_t b_count);

#endif
