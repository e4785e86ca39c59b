/* SPDX-License-Identifier: MIT */
/*
 * Plots. What is drawn has its numbers beside it as data-* attributes, and an svg its scale as
 * data-scale, data-from and data-to, from data-left on for data-width: a test holds the two against
 * each other.
 */
#include "vmm/cli/compare_svg.h"

#include <math.h>
#include <string.h>

#include "vmm/cli/compare_report.h"
#include "vmm/cli/table.h"

#define LOG_FROM 20.0 /* times larger: a linear scale would show one end only */

struct scale {
	bool log;
	double from, to, left, width;
};

void html_text(FILE *to, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '&':
			fputs("&amp;", to);
			break;
		case '<':
			fputs("&lt;", to);
			break;
		case '>':
			fputs("&gt;", to);
			break;
		case '"':
			fputs("&quot;", to);
			break;
		default:
			fputc(*text, to);
		}
	}
}

static struct json_object *rows_of(struct json_object *metric, size_t *count)
{
	struct json_object *rows = json_object_object_get(metric, "rows");

	*count = rows ? json_object_array_length(rows) : 0;
	return rows;
}

static double number(struct json_object *of, const char *key)
{
	return json_object_get_double(json_object_object_get(of, key));
}

static bool has(struct json_object *row, const char *key)
{
	return json_object_object_get(row, key) != NULL;
}

bool report_measured(struct json_object *report, const char *workload, const char *config)
{
	struct json_object *metrics = json_object_object_get(report, "metrics");

	for (size_t i = 0; metrics && i < json_object_array_length(metrics); i++) {
		struct json_object *metric = json_object_array_get_idx(metrics, i);
		size_t count;
		struct json_object *rows = rows_of(metric, &count);

		for (size_t k = 0;
		     k < count && strcmp(json_text(metric, "workload"), workload) == 0; k++) {
			struct json_object *row = json_object_array_get_idx(rows, k);

			if (strcmp(json_text(row, "configuration"), config) == 0 &&
			    has(row, "median"))
				return true;
		}
	}
	return false;
}

/* Classes of the style sheet: "e-bt pv-off emulated". */
static void classes(FILE *to, const char *config)
{
	fprintf(to, "e-%.*s%s%s", (int)strcspn(config, "/"), config,
		strstr(config, "/pv-off") ? " pv-off" : "",
		strstr(config, "/emulated") ? " emulated" : "");
}

/* Scales. */

static double place(const struct scale *s, double value)
{
	double at = s->log ? (log10(value) - log10(s->from)) / (log10(s->to) - log10(s->from))
			   : (value - s->from) / (s->to - s->from);

	return s->left + s->width * (at < 0 ? 0 : at > 1 ? 1 : at);
}

static void scale_set(struct scale *s, double least, double most)
{
	s->log = least > 0 && most / least > LOG_FROM;
	if (s->log) {
		s->from = least / 1.3;
		s->to = most * 1.3;
		return;
	}
	s->from = least < 0 ? least * 1.05 : 0;
	s->to = most > 0 ? most * 1.05 : 1;
}

static void tick(FILE *to, const struct scale *s, double value, double top, double bottom)
{
	char text[COMPARE_NUMBER_TEXT];
	double x = place(s, value);

	/* 1, not 1.00. */
	snprintf(text, sizeof(text), value >= 1e6 ? "%.3gM" : "%g",
		 value >= 1e6 ? value / 1e6 : value);
	fprintf(to,
		"<line class=\"grid\" x1=\"%.2f\" x2=\"%.2f\" y1=\"%.1f\" y2=\"%.1f\"/>"
		"<text class=\"tick\" x=\"%.2f\" y=\"%.1f\">%s</text>",
		x, x, top, bottom, x, bottom + 13, text);
}

/* At powers of ten, and at 2 and 5 of them where there are few; or at round steps. */
static void ticks(FILE *to, const struct scale *s, double top, double bottom)
{
	static const double parts[] = {1, 2, 5};
	double step, decades = s->log ? log10(s->to / s->from) : 0;
	int first = s->log ? (int)floor(log10(s->from)) : 0;

	for (int power = first; s->log && power <= first + (int)decades + 1; power++)
		for (unsigned i = 0; i < (decades < 2 ? 3 : 1); i++) {
			double value = pow(10, power) * parts[i];

			if (value >= s->from && value <= s->to)
				tick(to, s, value, top, bottom);
		}
	if (s->log)
		return;
	step = pow(10, floor(log10((s->to - s->from) / 2)));
	if ((s->to - s->from) / step > 5)
		step *= 2;
	if ((s->to - s->from) / step > 5)
		step *= 2.5;
	for (int i = (int)ceil(s->from / step); i * step <= s->to; i++)
		tick(to, s, i * step, top, bottom);
}

static void svg_begin(FILE *to, const struct scale *s, const char *class, double width,
		      double height, const char *label)
{
	fprintf(to,
		"<svg class=\"%s\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" "
		"role=\"img\" "
		"data-scale=\"%s\" data-from=\"%.17g\" data-to=\"%.17g\" data-left=\"%.1f\" "
		"data-width=\"%.1f\" aria-label=\"",
		class, width, height, width, height, s->log ? "log" : "linear", s->from, s->to,
		s->left, s->width);
	html_text(to, label);
	fputs("\">", to);
}

/* One metric. */

#define ROW_HEIGHT  20.0
#define CARD_WIDTH  390.0
#define LABEL_WIDTH 142.0
#define VALUE_WIDTH 62.0

static void metric_bounds(struct json_object *metric, struct scale *s)
{
	double least = INFINITY, most = -INFINITY;
	size_t count;
	struct json_object *rows = rows_of(metric, &count);

	for (size_t i = 0; i < count; i++) {
		struct json_object *row = json_object_array_get_idx(rows, i);

		if (!has(row, "median"))
			continue;
		least = fmin(least, number(row, "least"));
		most = fmax(most, number(row, "most"));
	}
	scale_set(s, least, most);
}

static void row_data(FILE *to, struct json_object *row)
{
	static const char *const keys[] = {"median", "q1", "q3", "least", "most"};

	fputs("<g class=\"row ", to);
	classes(to, json_text(row, "configuration"));
	fputs("\" data-configuration=\"", to);
	html_text(to, json_text(row, "configuration"));
	fputs("\"", to);
	for (unsigned i = 0; i < 5 && has(row, "median"); i++)
		fprintf(to, " data-%s=\"%.17g\"", keys[i], number(row, keys[i]));
	fputs(">", to);
}

static void row_draw(FILE *to, const struct scale *s, struct json_object *row, double y)
{
	char text[COMPARE_NUMBER_TEXT];
	double middle = y + ROW_HEIGHT / 2, q1, q3;

	row_data(to, row);
	fprintf(to, "<text class=\"label\" x=\"%.1f\" y=\"%.1f\">", LABEL_WIDTH - 8, middle + 4);
	html_text(to, json_text(row, "configuration"));
	fputs("</text>", to);
	if (!has(row, "median")) {
		fprintf(to, "<text class=\"none\" x=\"%.1f\" y=\"%.1f\">\u2013<title>", s->left + 4,
			middle + 4);
		html_text(to, json_text(row, "reason"));
		fputs("</title></text></g>", to);
		return;
	}
	q1 = place(s, number(row, "q1"));
	q3 = place(s, number(row, "q3"));
	fprintf(to,
		"<line class=\"range\" x1=\"%.2f\" x2=\"%.2f\" y1=\"%.1f\" y2=\"%.1f\"/>"
		"<rect class=\"box\" x=\"%.2f\" width=\"%.2f\" y=\"%.1f\" height=\"%.1f\"/>"
		"<line class=\"median\" x1=\"%.2f\" x2=\"%.2f\" y1=\"%.1f\" y2=\"%.1f\"/>"
		"<text class=\"value\" x=\"%.1f\" y=\"%.1f\">%s</text></g>",
		place(s, number(row, "least")), place(s, number(row, "most")), middle, middle, q1,
		q3 - q1, y + 4, ROW_HEIGHT - 8, place(s, number(row, "median")),
		place(s, number(row, "median")), y + 2, y + ROW_HEIGHT - 2, CARD_WIDTH - 2,
		middle + 4, compare_number(number(row, "median"), text));
}

void svg_metric(FILE *to, struct json_object *report, struct json_object *metric)
{
	struct scale s = {.left = LABEL_WIDTH, .width = CARD_WIDTH - LABEL_WIDTH - VALUE_WIDTH};
	size_t count, shown = 0;
	struct json_object *rows = rows_of(metric, &count);
	double y = 0;

	for (size_t i = 0; i < count; i++)
		shown += report_measured(
			report, json_text(metric, "workload"),
			json_text(json_object_array_get_idx(rows, i), "configuration"));
	metric_bounds(metric, &s);
	svg_begin(to, &s, "metric", CARD_WIDTH, (double)shown * ROW_HEIGHT + 20,
		  json_text(metric, "name"));
	ticks(to, &s, 0, (double)shown * ROW_HEIGHT + 2);
	for (size_t i = 0; i < count; i++) {
		struct json_object *row = json_object_array_get_idx(rows, i);

		if (!report_measured(report, json_text(metric, "workload"),
				     json_text(row, "configuration")))
			continue;
		row_draw(to, &s, row, y);
		y += ROW_HEIGHT;
	}
	fputs("</svg>", to);
}

/* Ratios. */

#define RATIO_WIDTH 900.0
#define RATIO_LABEL 190.0
#define RATIO_ROW   22.0

static bool is_native(struct json_object *row)
{
	return strcmp(json_text(row, "configuration"), "native") == 0;
}

static bool has_ratio(struct json_object *metric)
{
	size_t count;
	struct json_object *rows = rows_of(metric, &count);

	for (size_t i = 0; i < count; i++) {
		struct json_object *row = json_object_array_get_idx(rows, i);

		if (!is_native(row) && number(row, "ratio") > 0)
			return true;
	}
	return false;
}

static unsigned ratio_bounds(struct json_object *metrics, const char *workload, struct scale *s)
{
	double least = 1, most = 1;
	unsigned found = 0;

	for (size_t i = 0; metrics && i < json_object_array_length(metrics); i++) {
		struct json_object *metric = json_object_array_get_idx(metrics, i);
		size_t count;
		struct json_object *rows = rows_of(metric, &count);

		if (strcmp(json_text(metric, "workload"), workload) != 0 || !has_ratio(metric))
			continue;
		found++;
		for (size_t k = 0; k < count; k++) {
			double ratio = number(json_object_array_get_idx(rows, k), "ratio");

			least = ratio > 0 ? fmin(least, ratio) : least;
			most = fmax(most, ratio);
		}
	}
	s->log = true;
	s->from = least / 1.4;
	s->to = most * 1.4;
	return found;
}

static void mark_draw(FILE *to, const char *config, double x, double y)
{
	if (strstr(config, "/emulated"))
		fprintf(to, "<rect class=\"mark\" x=\"%.2f\" y=\"%.2f\" width=\"9\" height=\"9\"/>",
			x - 4.5, y - 4.5);
	else
		fprintf(to, "<circle class=\"mark\" cx=\"%.2f\" cy=\"%.2f\" r=\"5\"/>", x, y);
}

void svg_mark(FILE *to, const char *config)
{
	fputs("<svg class=\"swatch\" viewBox=\"0 0 14 14\" width=\"14\" height=\"14\" "
	      "aria-hidden=\"true\"><g class=\"",
	      to);
	classes(to, config);
	fputs("\">", to);
	mark_draw(to, config, 7, 7);
	fputs("</g></svg>", to);
}

static void ratio_row(FILE *to, const struct scale *s, struct json_object *metric, double y)
{
	size_t count;
	struct json_object *rows = rows_of(metric, &count);

	fprintf(to, "<text class=\"label\" x=\"%.1f\" y=\"%.1f\">", RATIO_LABEL - 10, y + 4);
	html_text(to, json_text(metric, "name"));
	fputs("</text>", to);
	for (size_t i = 0; i < count; i++) {
		struct json_object *row = json_object_array_get_idx(rows, i);
		double ratio = number(row, "ratio");
		char text[COMPARE_NUMBER_TEXT];

		if (is_native(row) || !(ratio > 0))
			continue;
		fputs("<g class=\"", to);
		classes(to, json_text(row, "configuration"));
		fputs("\" data-metric=\"", to);
		html_text(to, json_text(metric, "name"));
		fputs("\" data-configuration=\"", to);
		html_text(to, json_text(row, "configuration"));
		fprintf(to, "\" data-ratio=\"%.17g\"><title>", ratio);
		html_text(to, json_text(row, "configuration"));
		fprintf(to, ": %s of native</title>", compare_number(ratio, text));
		mark_draw(to, json_text(row, "configuration"), place(s, ratio), y);
		fputs("</g>", to);
	}
}

bool svg_ratios(FILE *to, struct json_object *report, const char *workload)
{
	struct scale s = {.left = RATIO_LABEL, .width = RATIO_WIDTH - RATIO_LABEL - 20};
	struct json_object *metrics = json_object_object_get(report, "metrics");
	unsigned found = ratio_bounds(metrics, workload, &s);
	double bottom = found * RATIO_ROW + 6, y = RATIO_ROW / 2 + 3;

	if (!found)
		return false;
	fputs("<figure class=\"wide\"><figcaption>Ratio to native</figcaption>", to);
	svg_begin(to, &s, "ratios", RATIO_WIDTH, bottom + 20, "ratio to native");
	ticks(to, &s, 0, bottom);
	fprintf(to, "<line class=\"one\" x1=\"%.2f\" x2=\"%.2f\" y1=\"0\" y2=\"%.1f\"/>",
		place(&s, 1), place(&s, 1), bottom);
	for (size_t i = 0; i < json_object_array_length(metrics); i++) {
		struct json_object *metric = json_object_array_get_idx(metrics, i);

		if (strcmp(json_text(metric, "workload"), workload) != 0 || !has_ratio(metric))
			continue;
		ratio_row(to, &s, metric, y);
		y += RATIO_ROW;
	}
	fputs("</svg>", to);
	return true;
}
