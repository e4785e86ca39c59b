/* SPDX-License-Identifier: MIT */
/*
 * A volume or a snapshot's by NBD, read-only: a plugin for nbdkit(1), which speaks the protocol.
 * Holes and zeroes are told as such (nbdkit_extent). lodge volume serve runs it.
 */
#define NBDKIT_API_VERSION 2
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <nbdkit-plugin.h>

#include "block/block.h"
#include "snapshot/store.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

static struct {
	char *store, *runtime; /* directories */
	const char *source;    /* a volume, or SNAPSHOT[/VOLUME] */
	bool snapshot;
} config;
static struct store *store;
static struct block *block;

static int fails(const struct error *err, int code)
{
	nbdkit_error("%s", err->what);
	nbdkit_set_error(-code);
	return -1;
}

static int serve_config(const char *key, const char *value)
{
	if (strcmp(key, "store") == 0)
		config.store = nbdkit_realpath(value);
	else if (strcmp(key, "runtime") == 0)
		config.runtime = nbdkit_realpath(value);
	else if (strcmp(key, "volume") == 0 || strcmp(key, "snapshot") == 0) {
		config.source = value;
		config.snapshot = key[0] == 's';
	} else {
		nbdkit_error("parameter '%s': unknown; use store, runtime, volume, snapshot", key);
		return -1;
	}
	return 0;
}

static int serve_config_complete(void)
{
	if (config.store && config.runtime && config.source)
		return 0;
	nbdkit_error("parameters store, runtime, and volume or snapshot are needed");
	return -1;
}

/* Once for all clients, ahead of going into the background: its errors are seen. */
static int serve_get_ready(void)
{
	struct block_options options = {
		.path = config.source, .snapshot = config.snapshot, .read_only = true};
	struct error err = {0};
	struct store_io *io;
	int ret = store_io_posix(config.store, config.runtime, &io, &err);

	if (ret == 0)
		ret = store_open(io, &store, &err);
	if (ret)
		return fails(&err, ret);
	options.store = store;
	ret = block_open("volume", &options, &block, &err);
	return ret ? fails(&err, ret) : 0;
}

static void serve_cleanup(void)
{
	block_close(block);
	store_close(store);
}

static void *serve_open(int readonly)
{
	(void)readonly;
	return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t serve_get_size(void *handle)
{
	(void)handle;
	return (int64_t)block_info(block)->size;
}

static int serve_yes(void *handle)
{
	(void)handle;
	return 1;
}

static int serve_no(void *handle)
{
	(void)handle;
	return 0;
}

static int serve_block_size(void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum)
{
	(void)handle;
	*minimum = 1;
	*preferred = block_info(block)->block_size;
	*maximum = ~0u;
	return 0;
}

static int serve_pread(void *handle, void *bytes, uint32_t count, uint64_t offset, uint32_t flags)
{
	int ret = block_read(block, offset, bytes, count);

	(void)handle;
	(void)flags;
	if (ret == 0)
		return 0;
	nbdkit_error("%s: %s", config.source, error_name(ret));
	nbdkit_set_error(-ret);
	return -1;
}

static int serve_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
			 struct nbdkit_extents *extents)
{
	uint64_t end = offset + count, run;

	(void)handle;
	for (; offset < end; offset += run) {
		enum block_status status;
		int ret = block_map(block, offset, end - offset, &status, &run);

		if (ret) {
			nbdkit_error("%s: %s", config.source, error_name(ret));
			nbdkit_set_error(-ret);
			return -1;
		}
		if (nbdkit_add_extent(extents, offset, run,
				      status == BLOCK_ZERO ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO
							   : 0))
			return -1;
		if (flags & NBDKIT_FLAG_REQ_ONE)
			break;
	}
	return 0;
}

static struct nbdkit_plugin plugin = {
	.name = "lodge",
	.longname = "volumes and snapshots of lodge's store",
	.config = serve_config,
	.config_complete = serve_config_complete,
	.config_help = "store=DIRECTORY, runtime=DIRECTORY, volume=NAME or "
		       "snapshot=SNAPSHOT[/VOLUME]",
	.get_ready = serve_get_ready,
	.cleanup = serve_cleanup,
	.open = serve_open,
	.get_size = serve_get_size,
	.can_write = serve_no,
	.can_multi_conn = serve_yes,
	.can_extents = serve_yes,
	.block_size = serve_block_size,
	.pread = serve_pread,
	.extents = serve_extents,
};

/* What the macro defines, and nbdkit looks for. */
struct nbdkit_plugin *plugin_init(void);
NBDKIT_REGISTER_PLUGIN(plugin)
