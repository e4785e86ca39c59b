/* SPDX-License-Identifier: MIT */
/* JSON objects: how they are made, and lists of them as people read them. */
#ifndef VMM_CLI_TABLE_H
#define VMM_CLI_TABLE_H

#include <stdint.h>

#include <json-c/json.h>

struct table_column {
	const char *title;
	const char *key; /* of the objects; absent values print as "-" */
};

/* Print the array as columns; the last entry of `columns` has a NULL title. */
void table_print(struct json_object *rows, const struct table_column *columns);

void json_add_text(struct json_object *to, const char *key, const char *text);
void json_add_number(struct json_object *to, const char *key, uint64_t number);
/* "" where it is not there. */
const char *json_text(struct json_object *object, const char *key);

/* Print any object as JSON. */
void json_print(struct json_object *object);

#endif
