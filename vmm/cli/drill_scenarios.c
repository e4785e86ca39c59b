/* SPDX-License-Identifier: MIT */
/* Scenarios: a plain restore, a VMM that is killed, the other engine, a bit that flips. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot/layer.h"
#include "vmm/base/clock.h"
#include "vmm/base/instance.h"
#include "vmm/cli/client.h"
#include "vmm/cli/drill.h"
#include "vmm/machine/machine.h"

#define KILL_AFTER_MS 40u /* of a snapshot being taken, at most */

static unsigned random_below(unsigned limit)
{
	uint32_t number = 0;

	if (getrandom(&number, sizeof(number), 0) < 0)
		number = (uint32_t)clock_monotonic_ns();
	return number % limit;
}

int drill_verify(struct drill_run *run, struct error *err)
{
	uint64_t start = clock_monotonic_ns();
	int ret = root_verify(run->store, &run->root.id, err);

	json_object_object_add(run->facts, "verify_ns",
			       json_object_new_uint64(clock_monotonic_ns() - start));
	return ret;
}

int drill_restore(struct drill_run *run, struct error *err)
{
	struct error why = {0};
	int ret = drill_recover(run, NULL, &why);

	drill_guest_kill(run);
	/* What is damaged in it is the better reason. */
	if (drill_verify(run, err))
		return -EBADMSG;
	if (ret)
		*err = why;
	return ret;
}

/* A snapshot is what makes a VMM write, whatever its guest does. */
static int snapshot_begin(struct drill_run *run, struct error *err)
{
	struct json_object *answer;
	int ret = client_request(run->restore.plan.name, "POST", "/v1/snapshot",
				 "{\"name\": \"killed\"}", &answer, err);

	if (ret == 0)
		json_object_put(answer);
	return ret;
}

static void problem_keep(void *arg, const struct error *problem)
{
	error_set(arg, -EBADMSG, problem->remedy, "%s", problem->what);
}

int drill_check(struct drill_run *run, struct error *err)
{
	struct error first = {0};
	int ret = store_check(run->store, true, problem_keep, &first, err);

	return ret > 0 ? error_set(err, -EBADMSG, first.remedy, "store: %d problem%s: %s", ret,
				   ret == 1 ? "" : "s", first.what)
		       : ret;
}

int drill_kill(struct drill_run *run, struct error *err)
{
	int ret = drill_recover(run, NULL, err);

	if (ret == 0)
		ret = snapshot_begin(run, err);
	if (ret)
		return ret;
	poll(NULL, 0, (int)random_below(KILL_AFTER_MS));
	run->began_ns = clock_monotonic_ns();
	drill_guest_kill(run);
	ret = drill_recover(run, NULL, err);
	drill_guest_kill(run);
	return ret ? ret : drill_check(run, err);
}

/* The other engine. */

/* NULL: there is none, and `err` says why. */
static const struct engine_ops *engine_other(const struct drill *drill, struct error *err)
{
	const struct engine_ops *own, *other;
	struct error why;

	own = machine_engine_find(drill->guest.engine, &why, err);
	for (unsigned i = 0; own && (other = machine_engine_at(i)); i++)
		if (other != own)
			return other->probe(false, err) == 0 ? other : NULL;
	return NULL;
}

int drill_engine_needs(const struct drill *drill, struct error *err)
{
	return engine_other(drill, err) ? 0 : -ENOTSUP;
}

int drill_engine(struct drill_run *run, struct error *err)
{
	const struct engine_ops *other = engine_other(run->drill, err);

	if (!other)
		return -ENOTSUP;
	json_object_object_add(run->facts, "engine", json_object_new_string(other->name));
	return drill_recover(run, other->name, err);
}

/* A bit. */

/* All layers, in `room` at most. */
static unsigned layers_list(const struct root *root, struct store_id *out, unsigned room)
{
	unsigned count = 0;

	for (unsigned i = 0; i < root->memory_layer_count && count < room; i++)
		out[count++] = root->memory_layers[i];
	for (unsigned v = 0; v < root->volume_count; v++)
		for (unsigned i = 0; i < root->volumes[v].layer_count && count < room; i++)
			out[count++] = root->volumes[v].layers[i];
	return count;
}

struct pick {
	uint64_t left, block;
};

static int pick_run(void *arg, uint64_t first, uint64_t count, enum layer_state state)
{
	struct pick *pick = arg;

	if (state != LAYER_DATA)
		return 0;
	if (pick->left < count) {
		pick->block = first + pick->left;
		return 1;
	}
	pick->left -= count;
	return 0;
}

/* A block with data of this layer: 1, or 0 where it has none. */
static int block_pick(struct store *store, const struct store_id *id, uint64_t *block,
		      struct error *err)
{
	struct layer *layer;
	struct pick pick = {0};
	int ret = layer_open(store, id, &layer, err);

	if (ret)
		return ret;
	if (layer_info(layer)->data_blocks) {
		uint64_t blocks = layer_info(layer)->data_blocks;

		pick.left = random_below(blocks < UINT32_MAX ? (unsigned)blocks : UINT32_MAX);
		ret = layer_for_each_run(layer, pick_run, &pick, err);
	}
	layer_close(layer);
	*block = pick.block;
	return ret;
}

static int ranges_copy(int from, int to, off_t size)
{
	off_t data, hole = 0, at;

	while ((data = lseek(from, hole, SEEK_DATA)) >= 0) {
		hole = lseek(from, data, SEEK_HOLE);
		for (at = data; at < hole;) {
			off_t in = at, out = at;
			ssize_t n = copy_file_range(from, &in, to, &out, (size_t)(hole - at), 0);

			if (n <= 0)
				return n ? -errno : -EIO;
			at += n;
		}
	}
	return errno == ENXIO && ftruncate(to, size) == 0 ? 0 : -errno;
}

/* A file of its own, where it was one with the store's. */
static int file_part(const char *path, struct error *err)
{
	int from = open(path, O_RDONLY | O_CLOEXEC), to = -1, ret = 0;
	char copy[PATH_MAX];
	struct stat st = {0};

	snprintf(copy, sizeof(copy), "%s~", path);
	if (from >= 0)
		to = open(copy, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (to < 0 || fstat(from, &st) < 0)
		ret = -errno;
	if (ret == 0)
		ret = ranges_copy(from, to, st.st_size);
	if (ret == 0 && rename(copy, path) < 0)
		ret = -errno;
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	return ret ? error_set(err, ret, NULL, "copy of '%s': %s", path, error_name(ret)) : 0;
}

static int bit_flip(const char *path, uint64_t block, unsigned bit, struct error *err)
{
	off_t at = (off_t)(block * STORE_BLOCK + bit / 8);
	int fd = open(path, O_RDWR | O_CLOEXEC), ret = 0;
	uint8_t byte;

	if (fd < 0 || pread(fd, &byte, 1, at) != 1)
		ret = -EIO;
	if (ret == 0) {
		byte ^= (uint8_t)(1u << bit % 8);
		if (pwrite(fd, &byte, 1, at) != 1)
			ret = -EIO;
	}
	if (fd >= 0)
		close(fd);
	return ret ? error_set(err, ret, NULL, "'%s': a bit could not be flipped", path) : 0;
}

/* Of any layer that has data. */
static int victim_pick(struct drill_run *run, struct store_id *layer, uint64_t *block,
		       struct error *err)
{
	unsigned room = STORE_LAYERS_MAX * (run->root.volume_count + 1), count, first;
	struct store_id *ids = calloc(room, sizeof(*ids));
	int ret = 0;

	if (!ids)
		return error_set(err, -ENOMEM, NULL, "drill: out of memory");
	count = layers_list(&run->root, ids, room);
	first = count ? random_below(count) : 0;
	for (unsigned i = 0; i < count && ret == 0; i++) {
		*layer = ids[(first + i) % count];
		ret = block_pick(run->store, layer, block, err);
	}
	free(ids);
	if (ret == 0)
		return error_set(err, -ENODATA, NULL, "snapshot '%s': it has no data",
				 run->root.name);
	return ret < 0 ? ret : 0;
}

/* Found when it is flipped, and nothing is found when it is flipped back. */
int drill_bitflip(struct drill_run *run, struct error *err)
{
	char store[PATH_MAX], path[PATH_MAX + 64], id[STORE_ID_TEXT];
	unsigned bit = random_below(STORE_BLOCK * 8);
	struct error found = {0};
	struct store_id layer;
	uint64_t block = 0;
	int ret = victim_pick(run, &layer, &block, err), verify;

	if (ret == 0)
		ret = instance_state_path("store", "", store, sizeof(store), err);
	if (ret)
		return ret;
	store_id_text(&layer, id);
	snprintf(path, sizeof(path), "%s/layers/%s.data", store, id);
	ret = file_part(path, err);
	if (ret == 0)
		ret = bit_flip(path, block, bit, err);
	if (ret)
		return ret;
	verify = drill_verify(run, &found);
	ret = bit_flip(path, block, bit, err);
	if (ret)
		return ret;
	if (verify != -EBADMSG)
		return error_set(err, -EBADMSG, "tell lodge's makers",
				 "layer %s: verify did not find the flipped bit in block %llu", id,
				 (unsigned long long)block);
	return root_verify(run->store, &run->root.id, err);
}
