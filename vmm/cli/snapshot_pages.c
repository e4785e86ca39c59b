/* SPDX-License-Identifier: MIT */
#include "vmm/cli/snapshot_pages.h"

#include <errno.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/cli/table.h"

#define PICTURE_WIDTH 512u /* pixels, a page each: a row is 2 MiB */

static const struct {
	const char *name;
	uint8_t red, green, blue;
} kinds[ROOT_PAGES] = {
	[ROOT_PAGE_ZERO] = {"zero", 16, 16, 24},
	[ROOT_PAGE_SAME] = {"same", 80, 96, 128},
	[ROOT_PAGE_EQUAL] = {"equal", 64, 160, 96},
	[ROOT_PAGE_CHANGED] = {"changed", 255, 144, 32},
	[ROOT_PAGE_CLEARED] = {"cleared", 96, 200, 240},
};

/* The last row is filled up with what is no page. */
static int picture_write(const char *path, const uint8_t *map, uint64_t pages, struct error *err)
{
	png_image image = {.version = PNG_IMAGE_VERSION,
			   .width = PICTURE_WIDTH,
			   .height = (png_uint_32)((pages + PICTURE_WIDTH - 1) / PICTURE_WIDTH),
			   .format = PNG_FORMAT_RGB_COLORMAP,
			   .colormap_entries = ROOT_PAGES};
	uint8_t colours[ROOT_PAGES][3];

	for (unsigned i = 0; i < ROOT_PAGES; i++)
		memcpy(colours[i], (uint8_t[]){kinds[i].red, kinds[i].green, kinds[i].blue}, 3);
	if (png_image_write_to_file(&image, path, 0, map, PICTURE_WIDTH, colours))
		return 0;
	return error_set(err, -EIO, "give another file", "picture '%s': %s", path, image.message);
}

static void row_add(struct json_object *rows, const char *name, uint64_t pages)
{
	struct json_object *row = json_object_new_object();

	json_object_object_add(row, "pages_that_are", json_object_new_string(name));
	json_object_object_add(row, "pages", json_object_new_uint64(pages));
	json_object_object_add(row, "bytes", json_object_new_uint64(pages * STORE_BLOCK));
	json_object_array_add(rows, row);
}

static void pages_print(const struct root_pages *pages, bool json)
{
	static const struct table_column columns[] = {
		{"ARE", "pages_that_are"}, {"PAGES", "pages"}, {"BYTES", "bytes"}, {NULL, NULL}};
	struct json_object *rows = json_object_new_array();

	for (unsigned i = 0; i < ROOT_PAGES; i++)
		row_add(rows, kinds[i].name, pages->count[i]);
	row_add(rows, "with others", pages->with_others);
	if (json)
		json_print(rows);
	else
		table_print(rows, columns);
	json_object_put(rows);
}

int snapshot_pages(const struct options *o, struct store *store, const struct root *a,
		   const struct root *b, struct error *err)
{
	uint64_t pages = b->memory_size / STORE_BLOCK;
	struct root_pages counts;
	uint8_t *map = NULL;
	int ret;

	if (o->picture) {
		map = calloc(1, pages + PICTURE_WIDTH);
		if (!map)
			return error_set(err, -ENOMEM, NULL, "picture '%s': no memory", o->picture);
	}
	ret = root_pages_compare(store, a, b, map, &counts, err);
	if (ret == 0 && o->picture)
		ret = picture_write(o->picture, map, pages, err);
	if (ret == 0)
		pages_print(&counts, o->json);
	free(map);
	return ret;
}
