/* SPDX-License-Identifier: MIT */
/* The overlay archive. Format: cpio(5), "New ASCII Format"; words are quoted for sh. */
#include "vmm/cli/overlay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODE_DIRECTORY 040755u
#define MODE_FILE      0100000u
#define MODE_SCRIPT    0755u

/* 'word', with each quote in it as '\'' . */
static void quote(FILE *to, const char *word)
{
	fputc('\'', to);
	for (; *word; word++) {
		if (*word == '\'')
			fputs("'\\''", to);
		else
			fputc(*word, to);
	}
	fputs("' ", to);
}

static void pad(FILE *to)
{
	while (ftell(to) % 4)
		fputc('\0', to);
}

static void entry(FILE *to, unsigned inode, unsigned mode, const char *name, const void *bytes,
		  size_t size)
{
	fprintf(to, "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x%s", inode, mode,
		0u, 0u, 1u, 0u, size, 0u, 0u, 0u, 0u, strlen(name) + 1, 0u, name);
	fputc('\0', to);
	pad(to);
	fwrite(bytes, 1, size, to);
	pad(to);
}

int overlay_of_file(const char *directory, const char *name, unsigned mode, const void *bytes,
		    size_t size, void **out, size_t *out_size)
{
	char path[256], *archive = NULL;
	FILE *to = open_memstream(&archive, out_size);
	int failed = 1;

	if (to) {
		snprintf(path, sizeof(path), "%s/%s", directory, name);
		entry(to, 1, MODE_DIRECTORY, directory, "", 0);
		entry(to, 2, MODE_FILE | mode, path, bytes, size);
		entry(to, 0, 0, "TRAILER!!!", "", 0);
		failed = ferror(to);
		failed |= fclose(to);
	}
	if (failed) {
		free(archive);
		return -ENOMEM;
	}
	*out = archive;
	return 0;
}

int overlay_make(int count, char *const *words, void **out, size_t *size)
{
	char *script = NULL;
	size_t script_size;
	FILE *text = open_memstream(&script, &script_size);
	int ret = -ENOMEM;

	if (text) {
		fputs("exec ", text);
		for (int i = 0; i < count; i++)
			quote(text, words[i]);
		fputc('\n', text);
		if (fclose(text) == 0)
			ret = overlay_of_file("lodge", "command", MODE_SCRIPT, script, script_size,
					      out, size);
	}
	free(script);
	return ret;
}
