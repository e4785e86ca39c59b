/* SPDX-License-Identifier: MIT */
/* Tables: each column as wide as its widest value. */
#include "vmm/cli/table.h"

#include <stdio.h>
#include <string.h>

/* Of an array its elements, with blanks between them; until the next call. */
static const char *cell(struct json_object *row, const char *key)
{
	static char text[1024];
	struct json_object *value;
	size_t at = 0;

	if (!json_object_object_get_ex(row, key, &value))
		return "-";
	if (!json_object_is_type(value, json_type_array))
		return json_object_get_string(value);
	text[0] = 0;
	for (size_t i = 0; i < json_object_array_length(value) && at < sizeof(text); i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s", i ? " " : "",
				       json_object_get_string(json_object_array_get_idx(value, i)));
	return at ? text : "-";
}

/* Of UTF-8, as many as a terminal shows. */
static size_t columns_of(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += (*text & 0xc0) != 0x80;
	return n;
}

static int column_width(struct json_object *rows, const struct table_column *column)
{
	size_t width = columns_of(column->title);

	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		size_t n = columns_of(cell(json_object_array_get_idx(rows, i), column->key));

		width = n > width ? n : width;
	}
	return (int)width;
}

static void print_row(struct json_object *rows, const struct table_column *columns,
		      struct json_object *row)
{
	for (const struct table_column *c = columns; c->title; c++) {
		int width = column_width(rows, c); /* uses cell's text, too */
		const char *text = row ? cell(row, c->key) : c->title;

		/* The last column is not padded. */
		if (c[1].title)
			printf("%s%*s  ", text, width - (int)columns_of(text), "");
		else
			printf("%s\n", text);
	}
}

void table_print(struct json_object *rows, const struct table_column *columns)
{
	print_row(rows, columns, NULL);
	for (size_t i = 0; i < json_object_array_length(rows); i++)
		print_row(rows, columns, json_object_array_get_idx(rows, i));
}

void json_print(struct json_object *object)
{
	printf("%s\n", json_object_to_json_string_ext(
			       object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
}

void json_add_text(struct json_object *to, const char *key, const char *text)
{
	json_object_object_add(to, key, json_object_new_string(text));
}

void json_add_number(struct json_object *to, const char *key, uint64_t number)
{
	json_object_object_add(to, key, json_object_new_uint64(number));
}

const char *json_text(struct json_object *object, const char *key)
{
	const char *text = json_object_get_string(json_object_object_get(object, key));

	return text ? text : "";
}
