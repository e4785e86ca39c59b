/* SPDX-License-Identifier: MIT */
/* lodge snapshot export and import: backup streams on files, or on standard input and output. */
#include "vmm/cli/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "snapshot/backup.h"
#include "vmm/base/clock.h"
#include "vmm/base/output.h"
#include "vmm/cli/store_open.h"
#include "vmm/cli/table.h"

#define PROGRESS_NS 500000000ull

/* Where a stream goes, or comes from. */
struct backup_end {
	struct output *file; /* NULL: the descriptor */
	int fd;
	uint64_t bytes;
	uint64_t told_ns; /* when progress was told last; 0: nobody looks */
};

static void progress_begin(struct backup_end *end)
{
	end->told_ns = isatty(STDERR_FILENO) ? clock_monotonic_ns() : 0;
}

static void progress(struct backup_end *end, size_t size)
{
	uint64_t now;

	end->bytes += size;
	if (!end->told_ns)
		return;
	now = clock_monotonic_ns();
	if (now - end->told_ns < PROGRESS_NS)
		return;
	end->told_ns = now;
	fprintf(stderr, "\r%llu MiB ", (unsigned long long)(end->bytes >> 20));
}

static void progress_end(const struct backup_end *end)
{
	if (end->told_ns)
		fprintf(stderr, "\r\033[K");
}

static int bytes_write(int fd, const char *at, size_t left)
{
	while (left) {
		ssize_t n = write(fd, at, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		at += n;
		left -= (size_t)n;
	}
	return 0;
}

static int end_write(void *arg, const void *bytes, size_t size)
{
	struct backup_end *end = arg;
	int ret = end->file ? output_write(end->file, bytes, size, end->bytes)
			    : bytes_write(end->fd, bytes, size);

	progress(end, size);
	return ret;
}

static int end_read(void *arg, void *bytes, size_t size)
{
	struct backup_end *end = arg;
	char *at = bytes;

	for (size_t left = size; left;) {
		ssize_t n = read(end->fd, at, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -ENODATA;
		at += n;
		left -= (size_t)n;
	}
	progress(end, size);
	return 0;
}

static const char *plural(unsigned count)
{
	return count == 1 ? "" : "s";
}

static void report_print(const struct options *o, const struct backup_report *r, const char *done,
			 const char *not_done)
{
	bool small = r->bytes < 1048576;
	char id[STORE_ID_TEXT];
	struct json_object *row;

	if (!o->json) {
		printf("%s\n", r->name);
		if (r->was_there)
			printf("it was here\n");
		else
			printf("%u layer%s %s, %u %s, %.1f %s\n", r->layers, plural(r->layers),
			       done, r->shared, not_done,
			       (double)r->bytes / (small ? 1024.0 : 1048576.0),
			       small ? "KiB" : "MiB");
		return;
	}
	store_id_text(&r->id, id);
	row = json_object_new_object();
	json_object_object_add(row, "name", json_object_new_string(r->name));
	json_object_object_add(row, "id", json_object_new_string(id));
	json_object_object_add(row, "layers", json_object_new_uint64(r->layers));
	json_object_object_add(row, "shared_layers", json_object_new_uint64(r->shared));
	json_object_object_add(row, "stream_bytes", json_object_new_uint64(r->bytes));
	json_object_object_add(row, "was_there", json_object_new_boolean(r->was_there));
	json_print(row);
	json_object_put(row);
}

/* Exporting. */

/* Lines of lodge store layers. */
static int have_read(const char *path, struct backup_have *have, struct error *err)
{
	FILE *file = fopen(path, "re");
	char line[256];
	int ret = 0;

	if (!file)
		return error_set(err, -errno, "give what lodge store layers printed",
				 "list of layers '%s': %s", path, error_name(-errno));
	for (unsigned n = 1; ret == 0 && fgets(line, sizeof(line), file); n++) {
		uint8_t digest[STORE_DIGEST];

		line[strcspn(line, "\n")] = 0;
		if (store_digest_parse(line, digest))
			ret = error_set(err, -EINVAL, "give what lodge store layers printed",
					"list of layers '%s': line %u is no digest", path, n);
		else
			ret = backup_have_digest(have, digest);
	}
	if (ret == 0 && ferror(file))
		ret = error_set(err, -EIO, NULL, "list of layers '%s': it cannot be read", path);
	fclose(file);
	return ret;
}

static int have_collect(const struct options *o, struct store *store, struct backup_have *have,
			struct error *err)
{
	int ret = o->have ? have_read(o->have, have, err) : 0;

	for (unsigned i = 0; i < o->since_count && ret == 0; i++) {
		struct root since;

		ret = root_find(store, o->since[i], &since, err);
		if (ret)
			break;
		ret = backup_have_root(have, store, &since, err);
		root_clear(&since);
	}
	return ret;
}

static int root_export(const struct options *o, struct store *store, const struct root *root,
		       struct error *err)
{
	struct backup_have have = {0};
	struct backup_report report = {0};
	struct output file;
	struct backup_end end = {.fd = STDOUT_FILENO};
	const struct backup_pipe to = {.write = end_write, .arg = &end};
	int ret = have_collect(o, store, &have, err);

	if (ret == 0 && o->output) {
		end.file = &file;
		ret = output_open(&file, "backup", o->output, false, err);
	}
	if (ret == 0) {
		progress_begin(&end);
		ret = backup_export(store, &root->id, &have, &to, &report, err);
		progress_end(&end);
		if (o->output && ret)
			output_abort(&file);
		else if (o->output)
			ret = output_commit(&file, err);
	}
	backup_have_free(&have);
	/* Standard output is the stream's where there is no file. */
	if (ret == 0 && o->output)
		report_print(o, &report, "exported", "left out");
	return ret;
}

int backup_cmd_export(const struct options *o, const struct verb_words *w, struct error *err)
{
	struct store *store;
	struct root root;
	int ret;

	if (!o->output && isatty(STDOUT_FILENO))
		return error_set(err, -EINVAL,
				 "give -o FILE, or pipe it into lodge snapshot import",
				 "snapshot '%s': standard output is a terminal", w->word[0]);
	ret = cli_store_open(&store, err);
	if (ret)
		return ret;
	ret = root_find(store, w->word[0], &root, err);
	if (ret == 0) {
		ret = root_export(o, store, &root, err);
		root_clear(&root);
	}
	store_close(store);
	return ret;
}

/* Importing. */

int backup_cmd_import(const struct options *o, const struct verb_words *w, struct error *err)
{
	const char *path = w->count ? w->word[0] : NULL;
	struct backup_report report = {0};
	struct backup_end end = {.fd = STDIN_FILENO};
	const struct backup_pipe from = {.read = end_read, .arg = &end};
	struct store *store;
	int ret;

	if (path)
		end.fd = open(path, O_RDONLY | O_CLOEXEC);
	if (end.fd < 0)
		return error_set(err, -errno, "give what lodge snapshot export wrote",
				 "backup '%s': %s", path, error_name(-errno));
	if (!path && isatty(STDIN_FILENO))
		return error_set(err, -EINVAL, "give a file, or pipe lodge snapshot export into it",
				 "backup: standard input is a terminal");
	ret = cli_store_open(&store, err);
	if (ret == 0) {
		progress_begin(&end);
		ret = backup_import(store, o->name, &from, &report, err);
		progress_end(&end);
		store_close(store);
	}
	if (path)
		close(end.fd);
	if (ret == 0)
		report_print(o, &report, "imported", "found");
	return ret;
}
