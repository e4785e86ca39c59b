/* SPDX-License-Identifier: MIT */
/* A compare's report as a page of its own: it loads nothing, runs nothing, and has two sets of
 * colours. */
#include <string.h>

#include "vmm/cli/compare_report.h"
#include "vmm/cli/compare_svg.h"
#include "vmm/cli/table.h"

/* Colours of engines: Okabe and Ito's, which who sees fewer colours tells apart, too. */
static const char style[] =
	":root{color-scheme:light dark;--back:#fff;--fore:#1b1f24;--dim:#5b6570;--line:#d8dee4;"
	"--card:#f6f8fa;--native:#57606a;--interp:#b35900;--bt:#0067a8;--kvm:#007a5a;"
	"--warn:#8a4600}"
	"@media(prefers-color-scheme:dark){:root{--back:#0f1318;--fore:#e4e9ee;--dim:#98a3ae;"
	"--line:#2d343c;--card:#171c22;--native:#a9b3bd;--interp:#f0a04b;--bt:#5db4f5;"
	"--kvm:#3fcf9f;--warn:#f0a04b}}"
	"*{box-sizing:border-box}"
	"body{margin:0 auto;max-width:1180px;padding:24px 20px 64px;background:var(--back);"
	"color:var(--fore);font:15px/1.5 system-ui,sans-serif}"
	"h1{font-size:26px;margin:0}h2{font-size:20px;margin:44px 0 2px;padding-top:14px;"
	"border-top:1px solid var(--line)}p{margin:2px 0 10px}.dim{color:var(--dim)}"
	"nav a{margin-right:14px}a{color:var(--bt)}"
	"table{border-collapse:collapse;font-size:13.5px}"
	"th,td{text-align:left;padding:3px 14px 3px 0;border-bottom:1px solid var(--line);"
	"vertical-align:top}td:nth-child(2){white-space:nowrap}td.n,th.n{text-align:right;font-"
	"variant-numeric:tabular-nums}"
	".scroll{overflow-x:auto}"
	".cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(360px,1fr));gap:12px}"
	"figure{margin:0;padding:10px 12px;background:var(--card);border:1px solid var(--line);"
	"border-radius:8px}figcaption{font-weight:600;margin-bottom:4px}"
	"figcaption span{font-weight:400;color:var(--dim);font-size:13px}"
	"figure p{margin:4px 0 0;font-size:12.5px;color:var(--dim)}"
	"figure.wide{margin:8px 0 12px}svg{display:block;max-width:100%;height:auto}"
	"svg text{fill:var(--fore);font:12px system-ui,sans-serif}"
	"svg .label{text-anchor:end;font-size:11.5px}svg .value{text-anchor:end;font-weight:600;"
	"font-variant-numeric:tabular-nums}svg .tick{fill:var(--dim);text-anchor:middle;"
	"font-size:11px}svg .none{fill:var(--dim)}.grid{stroke:var(--line)}"
	".one{stroke:var(--native);stroke-width:2}"
	".e-native{--c:var(--native)}.e-bt-interp{--c:var(--interp)}.e-bt{--c:var(--bt)}"
	".e-kvm{--c:var(--kvm)}.range{stroke:var(--c);stroke-width:1.5}"
	".box{fill:var(--c);fill-opacity:.55;stroke:var(--c);stroke-width:1.5}"
	".pv-off .box{fill-opacity:.12}.emulated .box{stroke-dasharray:3 2}"
	".median{stroke:var(--c);stroke-width:3}"
	".mark{fill:var(--c);fill-opacity:.8;stroke:var(--c);stroke-width:2}"
	".pv-off .mark{fill:var(--card);fill-opacity:1}"
	".legend span{margin-right:16px;white-space:nowrap}.swatch{display:inline;"
	"vertical-align:-2px;margin-right:5px}"
	".warn{color:var(--warn)}ul{margin:4px 0 8px;padding-left:20px}"
	"details{margin:10px 0}summary{cursor:pointer}"
	"pre{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:8px;"
	"padding:10px 12px;font-size:12.5px;white-space:pre-wrap;overflow-wrap:anywhere}";

static struct json_object *list(struct json_object *of, const char *key, size_t *count)
{
	struct json_object *array = json_object_object_get(of, key);

	*count = array ? json_object_array_length(array) : 0;
	return array;
}

static double number(struct json_object *of, const char *key)
{
	return json_object_get_double(json_object_object_get(of, key));
}

static void cell(FILE *to, const char *text)
{
	fputs("<td>", to);
	html_text(to, text);
	fputs("</td>", to);
}

static void cell_number(FILE *to, struct json_object *of, const char *key)
{
	char text[COMPARE_NUMBER_TEXT] = "";

	if (json_object_object_get(of, key))
		compare_number(number(of, key), text);
	fprintf(to, "<td class=\"n\">%s</td>", text);
}

/* The head: what, where and how. */

static void head(FILE *to, struct json_object *report)
{
	struct json_object *host = json_object_object_get(report, "host");
	size_t count;
	struct json_object *workloads = list(report, "workloads", &count);

	fputs("<h1>lodge compare</h1><p class=\"dim\">", to);
	html_text(to, json_text(report, "time"));
	fprintf(to, " \u00b7 %.0f of %.0f rounds \u00b7 %.0f s \u00b7 lodge ",
		number(report, "runs_done"), number(report, "runs"), number(report, "seconds"));
	html_text(to, json_text(report, "lodge"));
	fprintf(to, "<br>%.0f CPUs: ", number(host, "cpus"));
	html_text(to, json_text(host, "cpu"));
	fprintf(to, "%s, %.1f GiB \u00b7 ",
		json_object_get_boolean(json_object_object_get(host, "virtual"))
			? " (of a virtual machine)"
			: "",
		number(host, "memory_bytes") / 1073741824.0);
	html_text(to, json_text(host, "kernel"));
	fputs("<br>KVM: ", to);
	html_text(to, json_text(host, "kvm"));
	fputs("</p><nav>", to);
	for (size_t i = 0; i < count; i++) {
		const char *name = json_text(json_object_array_get_idx(workloads, i), "name");

		fprintf(to, "<a href=\"#%s\">%s</a>", name, name);
	}
	fputs("</nav>", to);
}

static void warnings(FILE *to, struct json_object *report)
{
	size_t count;
	struct json_object *faults = list(report, "faults", &count);

	fputs("<ul class=\"warn\">", to);
	if (number(report, "runs_done") < 4)
		fputs("<li>Of fewer than four rounds no difference can be told from chance.</li>",
		      to);
	if (number(report, "others_cpus") > 0.3)
		fprintf(to, "<li>Other processes used %.1f CPUs meanwhile.</li>",
			number(report, "others_cpus"));
	for (size_t i = 0; i < count; i++) {
		fputs("<li>", to);
		html_text(to, json_object_get_string(json_object_array_get_idx(faults, i)));
		fputs("</li>", to);
	}
	fputs("</ul>", to);
}

static void configurations(FILE *to, struct json_object *report)
{
	size_t count;
	struct json_object *configs = list(report, "configurations", &count);
	const char *before = "";

	fputs("<h2>Configurations</h2><div "
	      "class=\"scroll\"><table><tr><th></th><th>Configuration</th>"
	      "<th>Engine</th><th>Paravirtual interface</th><th>Devices</th><th></th></tr>",
	      to);
	for (size_t i = 0; i < count; i++) {
		struct json_object *config = json_object_array_get_idx(configs, i);
		const char *reason = json_text(config, "reason");

		fputs("<tr><td>", to);
		svg_mark(to, json_text(config, "name"));
		fputs("</td>", to);
		cell(to, json_text(config, "name"));
		cell(to, json_text(config, "engine"));
		cell(to, json_text(config, "pv"));
		cell(to, json_text(config, "io"));
		fputs("<td class=\"warn\">", to);
		html_text(to, reason[0] ? "not measured: " : "");
		html_text(to, strcmp(reason, before) == 0 && reason[0] ? "as above" : reason);
		before = reason;
		fputs("</td></tr>", to);
	}
	fputs("</table></div>", to);
}

/* A workload. */

static void legend(FILE *to, struct json_object *report, const char *workload)
{
	size_t count;
	struct json_object *configs = list(report, "configurations", &count);

	fputs("<p class=\"legend dim\">", to);
	for (size_t i = 0; i < count; i++) {
		const char *name = json_text(json_object_array_get_idx(configs, i), "name");

		if (strcmp(name, "native") == 0 || !report_measured(report, workload, name))
			continue;
		fputs("<span>", to);
		svg_mark(to, name);
		html_text(to, name);
		fputs("</span>", to);
	}
	fputs("Below 1: less than native.</p></figure>", to);
}

static void alike(FILE *to, struct json_object *metric)
{
	size_t count;
	struct json_object *pairs = list(metric, "alike", &count);

	if (!count)
		return;
	fputs("<p>No difference can be told: ", to);
	for (size_t i = 0; i < count; i++) {
		struct json_object *pair = json_object_array_get_idx(pairs, i);

		fputs(i ? ", " : "", to);
		html_text(to, json_object_get_string(json_object_array_get_idx(pair, 0)));
		fputs(" \u2248 ", to);
		html_text(to, json_object_get_string(json_object_array_get_idx(pair, 1)));
	}
	fputs("</p>", to);
}

static void card(FILE *to, struct json_object *report, struct json_object *metric)
{
	struct json_object *reference;

	fputs("<figure data-workload=\"", to);
	html_text(to, json_text(metric, "workload"));
	fputs("\" data-metric=\"", to);
	html_text(to, json_text(metric, "name"));
	fputs("\"><figcaption>", to);
	html_text(to, json_text(metric, "name"));
	fputs(" <span>", to);
	html_text(to, json_text(metric, "unit"));
	fprintf(to, ", %s is better</span></figcaption>", json_text(metric, "better"));
	svg_metric(to, report, metric);
	if (number(report, "runs_done") >= 4)
		alike(to, metric);
	if (json_object_object_get_ex(metric, "reference", &reference))
		fprintf(to,
			"<p>Adams and Agesen 2006, a Pentium 4: native %.0f, binary translation "
			"%.0f, VT %.0f.</p>",
			number(reference, "native"), number(reference, "bt"),
			number(reference, "vt"));
	fputs("</figure>", to);
}

static void samples(FILE *to, struct json_object *row)
{
	size_t count;
	struct json_object *all = list(row, "samples", &count);
	char text[COMPARE_NUMBER_TEXT];

	fputs("<td>", to);
	for (size_t i = 0; i < count; i++)
		fprintf(to, "%s%s", i ? " " : "",
			compare_number(json_object_get_double(json_object_array_get_idx(all, i)),
				       text));
	html_text(to, json_text(row, "reason"));
	fputs("</td>", to);
}

static void table_row(FILE *to, struct json_object *metric, struct json_object *row)
{
	fputs("<tr>", to);
	cell(to, json_text(metric, "name"));
	cell(to, json_text(row, "configuration"));
	cell(to, json_text(metric, "unit"));
	cell_number(to, row, "median");
	cell_number(to, row, "q1");
	cell_number(to, row, "q3");
	cell_number(to, row, "ratio");
	samples(to, row);
	fputs("</tr>\n", to);
}

static void numbers(FILE *to, struct json_object *report, const char *workload)
{
	size_t count, rows;
	struct json_object *metrics = list(report, "metrics", &count);

	fputs("<details><summary>All numbers</summary><div class=\"scroll\"><table><tr>"
	      "<th>Figure</th><th>Configuration</th><th>Unit</th><th class=\"n\">Median</th>"
	      "<th class=\"n\">First quartile</th><th class=\"n\">Third</th>"
	      "<th class=\"n\">Of native</th><th>Samples, or why there are none</th></tr>",
	      to);
	for (size_t i = 0; i < count; i++) {
		struct json_object *metric = json_object_array_get_idx(metrics, i);
		struct json_object *row = list(metric, "rows", &rows);

		for (size_t k = 0; k < rows && strcmp(json_text(metric, "workload"), workload) == 0;
		     k++)
			table_row(to, metric, json_object_array_get_idx(row, k));
	}
	fputs("</table></div></details>", to);
}

/* Which configurations are missing in it. */
static void reasons(FILE *to, struct json_object *report, const char *workload)
{
	size_t count;
	struct json_object *all = list(report, "reasons", &count);

	fputs("<ul class=\"dim\">", to);
	for (size_t i = 0; i < count; i++) {
		struct json_object *one = json_object_array_get_idx(all, i);

		if (strcmp(json_text(one, "workload"), workload) != 0)
			continue;
		fputs("<li>", to);
		html_text(to, json_text(one, "configuration"));
		fputs(": ", to);
		html_text(to, json_text(one, "reason"));
		fputs("</li>", to);
	}
	fputs("</ul>", to);
}

static void workload_write(FILE *to, struct json_object *report, struct json_object *workload)
{
	const char *name = json_text(workload, "name");
	size_t count;
	struct json_object *metrics = list(report, "metrics", &count);

	fprintf(to, "<section id=\"%s\"><h2>%s</h2><p class=\"dim\">", name, name);
	html_text(to, json_text(workload, "summary"));
	fputs("</p>", to);
	reasons(to, report, name);
	if (svg_ratios(to, report, name))
		legend(to, report, name);
	fputs("<div class=\"cards\">\n", to);
	for (size_t i = 0; i < count; i++) {
		struct json_object *metric = json_object_array_get_idx(metrics, i);

		if (strcmp(json_text(metric, "workload"), name) == 0)
			card(to, report, metric);
	}
	fputs("</div>", to);
	numbers(to, report, name);
	fputs("</section>\n", to);
}

static void commands(FILE *to, struct json_object *report)
{
	size_t count;
	struct json_object *configs = list(report, "configurations", &count), *of;

	fputs("<section><h2>To do it again</h2><pre>", to);
	html_text(to, json_text(report, "command"));
	fputs("</pre><details><summary>Command lines of guests</summary><pre>", to);
	for (size_t i = 0; i < count; i++) {
		struct json_object *config = json_object_array_get_idx(configs, i);

		if (!json_object_object_get_ex(config, "commands", &of))
			continue;
		json_object_object_foreach(of, kind, command)
		{
			html_text(to, json_text(config, "name"));
			fprintf(to, ", %s:\n  ", kind);
			html_text(to, json_object_get_string(command));
			fputs("\n", to);
		}
	}
	fputs("</pre></details></section>", to);
}

/* What a command in a snapshot said. */
static void outputs(FILE *to, struct json_object *report)
{
	struct json_object *all;

	if (!json_object_object_get_ex(report, "outputs", &all))
		return;
	fputs("<section><h2>What the command said</h2>", to);
	json_object_object_foreach(all, config, text)
	{
		fputs("<p>", to);
		html_text(to, config);
		fputs("</p><pre>", to);
		html_text(to, json_object_get_string(text));
		fputs("</pre>", to);
	}
	fputs("</section>", to);
}

void compare_html_write(struct json_object *report, FILE *to)
{
	size_t count;
	struct json_object *workloads = list(report, "workloads", &count);

	fprintf(to,
		"<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
		"<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
		"<link rel=\"icon\" href=\"data:,\"><title>lodge compare</title>"
		"<style>%s</style></head>\n<body>",
		style);
	head(to, report);
	warnings(to, report);
	configurations(to, report);
	fputs("<p class=\"dim\">A box reaches from the first to the third quartile, its thick line "
	      "is "
	      "the median, the thin line all samples. Hollow: without the paravirtual interface; "
	      "dashed, or a square: emulated devices.</p>",
	      to);
	for (size_t i = 0; i < count; i++)
		workload_write(to, report, json_object_array_get_idx(workloads, i));
	outputs(to, report);
	commands(to, report);
	fputs("</body></html>\n", to);
}
