/* SPDX-License-Identifier: MIT */
/* Lists of JSON objects as people read them. */
#ifndef VMM_CLI_TABLE_H
#define VMM_CLI_TABLE_H

#include <json-c/json.h>

struct table_column {
	const char *title;
	const char *key; /* of the objects; absent values print as "-" */
};

/* Print the array as columns; the last entry of `columns` has a NULL title. */
void table_print(struct json_object *rows, const struct table_column *columns);

/* Print any object as JSON. */
void json_print(struct json_object *object);

#endif
