/* SPDX-License-Identifier: MIT */
/* The overlay archive. Format: cpio(5), "New ASCII Format"; words are quoted for sh. */
#include "vmm/cli/overlay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODE_DIRECTORY 040755u
#define MODE_SCRIPT    0100755u

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

static void entry(FILE *to, unsigned inode, unsigned mode, const char *name, const char *bytes,
		  size_t size)
{
	fprintf(to, "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x%s", inode, mode,
		0u, 0u, 1u, 0u, size, 0u, 0u, 0u, 0u, strlen(name) + 1, 0u, name);
	fputc('\0', to);
	pad(to);
	fwrite(bytes, 1, size, to);
	pad(to);
}

int overlay_make(int count, char *const *words, void **out, size_t *size)
{
	char *script = NULL, *archive = NULL;
	size_t script_size, archive_size;
	FILE *text = open_memstream(&script, &script_size);
	FILE *to = open_memstream(&archive, &archive_size);
	int failed = 1;

	if (text && to) {
		fputs("exec ", text);
		for (int i = 0; i < count; i++)
			quote(text, words[i]);
		fputc('\n', text);
		fflush(text);
		entry(to, 1, MODE_DIRECTORY, "lodge", "", 0);
		entry(to, 2, MODE_SCRIPT, "lodge/command", script, script_size);
		entry(to, 0, 0, "TRAILER!!!", "", 0);
		failed = ferror(text) || ferror(to);
	}
	if (text)
		fclose(text);
	if (to)
		failed |= fclose(to);
	free(script);
	if (failed) {
		free(archive);
		return -ENOMEM;
	}
	*out = archive;
	*size = archive_size;
	return 0;
}
