/* SPDX-License-Identifier: MIT */
/* From a source of runs to a file: the loop that the writers of formats share. */
#include "block/export.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "block/export_impl.h"
#include "vmm/base/checked.h"

#define READ_BYTES (1u << 20) /* of an opened image, at a time */

static const struct export_format *const formats[] = {&raw_writer, &qcow2_writer};

static const struct export_format *format_find(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++)
		if (strcmp(formats[i]->name, name) == 0)
			return formats[i];
	return NULL;
}

static int write_failed(const struct export_options *options, int code, struct error *err)
{
	return error_set(err, code,
			 code == -ENOSPC || code == -EDQUOT
				 ? "make room, or export to another file system"
				 : NULL,
			 "image '%s': write: %s", options->path, error_name(code));
}

static int runs_write(const struct export_format *format, void *state,
		      const struct export_options *options, const struct export_source *source,
		      struct error *err)
{
	uint64_t left = source->size;

	while (left) {
		struct export_run run = {0};
		int ret = source->next(source->arg, &run, err);

		if (ret == 0 && (run.length == 0 || run.length > left))
			ret = -EINVAL;
		if (ret)
			return error_set(err, ret, NULL, "image '%s': its source: %s",
					 options->path, error_name(ret));
		ret = run.data ? format->data(state, run.data, run.length)
			       : format->zeroes(state, run.length);
		if (ret)
			return write_failed(options, ret, err);
		left -= run.length;
	}
	return 0;
}

static int source_check(const struct export_format *format, const char *name,
			const struct export_options *options, const struct export_source *source,
			struct error *err)
{
	if (!format)
		return error_set(err, -EINVAL, "use raw or qcow2",
				 "image '%s': no format is called '%s'", options->path, name);
	if (format != &qcow2_writer && options->compression != EXPORT_PLAIN)
		return error_set(err, -EINVAL, "export it as qcow2",
				 "image '%s': format %s has no compression", options->path, name);
	if (source->size == 0 || source->size % BLOCK_SECTOR || source->size > INT64_MAX)
		return error_set(err, -EINVAL, NULL, "image '%s': a size of %llu bytes",
				 options->path, (unsigned long long)source->size);
	return 0;
}

int export_image(const char *name, const struct export_options *options,
		 const struct export_source *source, struct error *err)
{
	const struct export_format *format = format_find(name);
	struct output file;
	void *state = NULL;
	int ret = source_check(format, name, options, source, err);

	if (ret == 0)
		ret = output_open(&file, "image", options->path, options->replace, err);
	if (ret)
		return ret;
	ret = format->begin(&file, options, source->size, &state);
	if (ret) {
		output_abort(&file);
		return write_failed(options, ret, err);
	}
	ret = runs_write(format, state, options, source, err);
	if (ret == 0) {
		ret = format->finish(state);
		if (ret)
			write_failed(options, ret, err);
	}
	format->end(state);
	if (ret) {
		output_abort(&file);
		return ret;
	}
	return output_commit(&file, err);
}

struct block_reader {
	struct block *block;
	uint64_t offset;
	uint8_t *buffer;
};

static int block_next(void *arg, struct export_run *run, struct error *err)
{
	struct block_reader *r = arg;
	uint64_t left = block_info(r->block)->size - r->offset;
	enum block_status status;
	int ret = block_map(r->block, r->offset, left, &status, &run->length);

	if (ret == 0 && status == BLOCK_DATA) {
		if (run->length > READ_BYTES)
			run->length = READ_BYTES;
		run->data = r->buffer;
		ret = block_read(r->block, r->offset, r->buffer, run->length);
	}
	if (ret)
		return error_set(err, ret, NULL, "image: read at %llu: %s",
				 (unsigned long long)r->offset, error_name(ret));
	r->offset += run->length;
	return 0;
}

int export_block(const char *format, const struct export_options *options, struct block *block,
		 struct error *err)
{
	struct block_reader reader = {.block = block, .buffer = malloc(READ_BYTES)};
	struct export_source source = {
		.size = block_info(block)->size, .arg = &reader, .next = block_next};
	int ret;

	if (!reader.buffer)
		return error_set(err, -ENOMEM, NULL, "image '%s': out of memory", options->path);
	ret = export_image(format, options, &source, err);
	free(reader.buffer);
	return ret;
}
