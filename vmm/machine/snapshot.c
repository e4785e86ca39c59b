/* SPDX-License-Identifier: MIT */
/*
 * See snapshot.h. In order: new heads are prepared (the guest runs); the vCPUs pause, devices come
 * to rest, their state is taken, memory's pages are frozen, volumes change their heads; all go on;
 * a thread stores the frozen pages, seals what is to be layers, and publishes the root. Whatever
 * fails before that leaves layers that nobody names, and pages that the next snapshot has to store.
 */
#include "vmm/machine/snapshot.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/file.h"
#include "block/volume.h"
#include "vmm/base/clock.h"
#include "vmm/base/log.h"
#include "vmm/core/memory_freeze.h"
#include "vmm/core/memory_source.h"
#include "vmm/machine/machine_impl.h"

#define BATCH_PAGES 256u
/* So many layers of memory at most; then the next snapshot stores all of it again. */
#define MEMORY_LAYERS_MAX 200u

/* Pages that lie behind one another, on their way to a layer. */
struct page_batch {
	struct layer *layer;
	const struct memory_source *parent; /* what the layers below have; NULL: zeroes */
	uint64_t first, count;
	uint64_t stored; /* pages */
	struct error *err;
	uint8_t bytes[BATCH_PAGES * MEMORY_PAGE_SIZE];
};

struct snapshot {
	struct machine *machine;
	struct store *store;
	struct store_lease *lease; /* keeps the layers that memory stands on */
	/* What memory was when it was last stored. */
	bool has_parent;
	struct store_id parent;
	unsigned layer_count;
	struct store_id layers[STORE_LAYERS_MAX];
	/* Pages that changed since, as far as was asked: a bit a page. */
	uint64_t *changed;
	size_t words;

	/* The one that is under way. */
	bool busy;
	bool whole; /* all of memory */
	bool was_paused;
	pthread_t thread;
	bool started;
	struct loop_task task;
	void (*done)(void *arg, const struct snapshot_result *result);
	void *arg;
	struct root root;
	struct layer *layer; /* of memory */
	uint8_t *state;
	size_t state_size;
	uint64_t began_ns, moment_ns;
	struct snapshot_result result;
};

/* Volumes. */

static struct volume *volume_of(const struct snapshot *s, unsigned disk)
{
	return block_volume(s->machine->disk[disk].block);
}

static bool is_written(const struct snapshot *s, unsigned disk)
{
	return !block_info(s->machine->disk[disk].block)->read_only;
}

static int disks_check(const struct snapshot *s, struct error *err)
{
	for (unsigned i = 0; i < s->machine->config.disk_count; i++)
		if (is_written(s, i) && !volume_of(s, i))
			return error_set(err, -EINVAL,
					 "make a volume of it: lodge volume import NAME FILE",
					 "disk '%s': it is no volume and cannot be in a snapshot",
					 s->machine->config.disk[i].path);
	return 0;
}

/* Calls `act` for each volume that is written to, until it fails. */
static int volumes_each(struct snapshot *s, int (*act)(struct volume *volume, struct error *err),
			struct error *err)
{
	int ret = 0;

	for (unsigned i = 0; i < s->machine->config.disk_count && ret == 0; i++)
		if (is_written(s, i))
			ret = act(volume_of(s, i), err);
	return ret;
}

/* Whether it came to its switch or not. */
static int undo_one(struct volume *volume, struct error *err)
{
	(void)err;
	volume_switch_abort(volume);
	/* If this fails the volume says so at its next flush. */
	volume_switch_finish(volume, NULL);
	return 0;
}

/* Pages. */

static int batch_flush(struct page_batch *b)
{
	int ret = b->count ? layer_write(b->layer, b->first, b->count, b->bytes, b->err) : 0;

	b->stored += b->count;
	b->count = 0;
	return ret;
}

/* Does what is below show the same? */
static bool is_below(const struct page_batch *b, uint64_t page, const uint8_t *bytes, bool zero)
{
	uint8_t parent[MEMORY_PAGE_SIZE];

	if (!b->parent || !b->parent->file_of[page])
		return zero;
	/* What cannot be read differs: the snapshot has it then. */
	return !zero && memory_source_read(b->parent, page, parent) == 0 &&
	       memcmp(parent, bytes, sizeof(parent)) == 0;
}

static int page_store(void *arg, uint64_t page, const uint8_t *bytes)
{
	struct page_batch *b = arg;
	bool zero = file_is_zero(bytes, MEMORY_PAGE_SIZE);
	int ret = 0;

	if (is_below(b, page, bytes, zero))
		return 0;
	if (b->count == BATCH_PAGES || (b->count && page != b->first + b->count))
		ret = batch_flush(b);
	if (ret)
		return ret;
	if (zero)
		return layer_mark_zero(b->layer, page, 1, b->err);
	if (b->count == 0)
		b->first = page;
	memcpy(b->bytes + b->count++ * MEMORY_PAGE_SIZE, bytes, MEMORY_PAGE_SIZE);
	return 0;
}

/* The pages that memory had at the last snapshot. */
static int parent_open(struct snapshot *s, struct memory_source **out, struct error *err)
{
	*out = NULL;
	if (s->whole || s->layer_count == 0)
		return 0;
	return snapshot_memory_source(s->store, s->layers, s->layer_count,
				      memory_pages(s->machine->vm.memory), out, err);
}

static int memory_store(struct snapshot *s, struct error *err)
{
	struct guest_memory *memory = s->machine->vm.memory;
	struct page_batch *b = malloc(sizeof(*b));
	struct memory_source *parent = NULL;
	int ret;

	if (!b)
		return error_set(err, -ENOMEM, NULL, "snapshot: out of memory");
	ret = parent_open(s, &parent, err);
	b->layer = s->layer;
	b->parent = parent;
	b->count = b->stored = 0;
	b->err = err;
	if (ret == 0)
		ret = memory_freeze_visit(memory, page_store, b);
	if (ret == 0)
		ret = batch_flush(b);
	memory_freeze_end(memory);
	s->result.memory_bytes = b->stored * MEMORY_PAGE_SIZE;
	memory_source_destroy(parent);
	free(b);
	if (ret == 0)
		ret = layer_seal(s->layer, err);
	return ret ? error_prefix(err, ret, "guest memory") : 0;
}

/* The thread. */

static int volumes_add(struct snapshot *s, struct error *err)
{
	int ret = volumes_each(s, volume_switch_finish, err);

	for (unsigned i = 0; i < s->machine->config.disk_count && ret == 0; i++)
		if (is_written(s, i))
			ret = root_add_snapshot(&s->root, volume_manifest(volume_of(s, i)), err);
	return ret;
}

static int memory_add(struct snapshot *s, struct error *err)
{
	struct root *root = &s->root;
	int ret = memory_store(s, err);

	if (ret)
		return ret;
	root->memory_size = s->machine->vm.memory->size;
	root->memory_layers[root->memory_layer_count++] = layer_info(s->layer)->id;
	for (unsigned i = 0; i < s->layer_count && !s->whole; i++)
		root->memory_layers[root->memory_layer_count++] = s->layers[i];
	root->has_device_state = true;
	return blob_put(s->store, s->lease, s->state, s->state_size, &root->device_state, err);
}

static void *store_main(void *arg)
{
	struct snapshot *s = arg;
	struct error *err = &s->result.error;
	int ret, memory = 0;

	pthread_setname_np(pthread_self(), "snapshot");
	/* Both are to come to their ends, whatever becomes of the other: volumes are written to. */
	ret = volumes_add(s, err);
	if (s->layer)
		memory = memory_add(s, ret ? &(struct error){0} : err);
	if (ret == 0)
		ret = memory;
	if (ret == 0)
		ret = root_publish(s->store, &s->root, err);
	s->result.code = ret;
	s->result.id = s->root.id;
	s->result.lag_ns = clock_monotonic_ns() - s->moment_ns;
	s->result.total_ns = s->result.lag_ns + s->moment_ns - s->began_ns;
	loop_post(s->machine->loop, &s->task);
	return NULL;
}

/* On the loop. */

static void line_move(struct snapshot *s)
{
	const struct root *root = &s->root;

	if (!s->layer)
		return;
	s->has_parent = true;
	s->parent = root->id;
	s->layer_count = root->memory_layer_count;
	memcpy(s->layers, root->memory_layers, sizeof(s->layers));
	memset(s->changed, 0, s->words * sizeof(*s->changed));
}

/* As before the moment. */
static void go_on(struct snapshot *s)
{
	if (s->was_paused)
		machine_devices_resume(s->machine);
	else
		machine_resume(s->machine);
}

static void finish(void *arg)
{
	struct snapshot *s = arg;

	pthread_join(s->thread, NULL);
	s->started = false;
	if (s->result.code == 0)
		line_move(s);
	else if (s->root.kind == ROOT_HIBERNATION)
		go_on(s);
	layer_close(s->layer);
	s->layer = NULL;
	free(s->state);
	s->state = NULL;
	root_clear(&s->root);
	s->busy = false;
	if (s->done)
		s->done(s->arg, &s->result);
}

/* In the pause: what changed since the last snapshot, which is to be tracked from now on. */
static int changes_take(struct snapshot *s, struct error *err)
{
	struct machine *m = s->machine;
	struct guest_memory *memory = m->vm.memory;
	uint64_t *range = calloc(s->words, sizeof(*range));
	int ret = 0;

	if (!range)
		return error_set(err, -ENOMEM, NULL, "snapshot: out of memory");
	if (!memory->tracking) {
		ret = m->vm.ops->dirty_start(m->vm.engine, err);
		if (ret == 0)
			ret = memory_track(memory, true);
	}
	for (unsigned i = 0; i < memory->count && ret == 0; i++) {
		memset(range, 0, s->words * sizeof(*range));
		ret = m->vm.ops->dirty_fetch(m->vm.engine, i, range, err);
		if (ret == 0)
			memory_bits_add(memory, i, range, s->changed);
	}
	free(range);
	memory_track_fetch(memory, s->changed);
	if (ret == 0 && s->whole)
		ret = memory_present(memory, s->changed);
	return ret;
}

/* The guest stands still. */
static int moment(struct snapshot *s, struct error *err)
{
	struct machine *m = s->machine;
	int ret = machine_state_save(m, &s->state, &s->state_size, err);

	if (ret == 0 && s->layer)
		ret = changes_take(s, err);
	if (ret == 0 && s->layer)
		ret = memory_freeze_begin(m->vm.memory, s->changed, err);
	if (ret == 0) {
		ret = volumes_each(s, volume_switch, err);
		if (ret && s->layer)
			memory_freeze_end(m->vm.memory);
	}
	s->root.time_ns = clock_realtime_ns();
	s->moment_ns = clock_monotonic_ns();
	return ret;
}

static int take(struct snapshot *s, struct error *err)
{
	uint64_t start = clock_monotonic_ns();
	int ret;

	s->was_paused = machine_is_paused(s->machine);
	machine_pause(s->machine);
	ret = moment(s, err);
	if (ret || s->root.kind != ROOT_HIBERNATION)
		go_on(s);
	s->result.pause_ns = clock_monotonic_ns() - start;
	s->result.state_bytes = s->state_size;
	return ret;
}

static int root_begin(struct snapshot *s, const struct snapshot_request *request, struct error *err)
{
	struct root *root = &s->root;

	memset(root, 0, sizeof(*root));
	snprintf(root->name, sizeof(root->name), "%s", request->name);
	snprintf(root->comment, sizeof(root->comment), "%s", request->comment);
	snprintf(s->result.name, sizeof(s->result.name), "%s", request->name);
	root->kind = request->kind;
	root->config = request->config;
	root->has_parent = s->has_parent;
	root->parent = s->parent;
	if (request->kind == ROOT_DISK)
		return 0;
	s->whole = s->layer_count == 0 || s->layer_count >= MEMORY_LAYERS_MAX;
	return layer_create(s->store, s->lease, memory_pages(s->machine->vm.memory), &s->layer,
			    err);
}

int snapshot_begin(struct snapshot *s, const struct snapshot_request *request,
		   void (*done)(void *arg, const struct snapshot_result *result), void *arg,
		   struct error *err)
{
	int ret;

	if (s->busy) {
		json_object_put(request->config);
		return error_set(err, -EBUSY, "try again when it is done",
				 "snapshot '%s': '%s' is being taken", request->name,
				 s->result.name);
	}
	s->began_ns = clock_monotonic_ns();
	memset(&s->result, 0, sizeof(s->result));
	s->done = done;
	s->arg = arg;
	ret = root_begin(s, request, err);
	if (ret == 0)
		ret = disks_check(s, err);
	if (ret == 0)
		ret = volumes_each(s, volume_switch_prepare, err);
	if (ret == 0)
		ret = take(s, err);
	if (ret == 0) {
		ret = -pthread_create(&s->thread, NULL, store_main, s);
		if (ret) {
			memory_freeze_end(s->machine->vm.memory);
			if (request->kind == ROOT_HIBERNATION)
				go_on(s);
			error_set(err, ret, "raise ulimit -u", "snapshot: no thread");
		}
	}
	if (ret) {
		volumes_each(s, undo_one, NULL);
		layer_close(s->layer);
		s->layer = NULL;
		free(s->state);
		s->state = NULL;
		root_clear(&s->root);
		return ret;
	}
	s->started = s->busy = true;
	return 0;
}

/* Restored memory. */

struct source_fill {
	struct memory_source *source;
	struct layer *of[MEMORY_SOURCE_FILES_MAX];
};

static int file_number(struct source_fill *f, struct layer *layer)
{
	struct memory_source *source = f->source;
	int fd;

	for (unsigned i = 0; i < source->count; i++)
		if (f->of[i] == layer)
			return (int)i + 1;
	fd = source->count < MEMORY_SOURCE_FILES_MAX
		     ? fcntl(layer_descriptor(layer), F_DUPFD_CLOEXEC, 0)
		     : -1;
	if (fd < 0)
		return source->count < MEMORY_SOURCE_FILES_MAX ? -errno : -EMFILE;
	f->of[source->count] = layer;
	source->file[source->count++] = fd;
	return (int)source->count;
}

static int source_fill(struct source_fill *f, const struct stack *stack)
{
	struct stack_run run = {0};

	for (uint64_t at = 0; at < f->source->pages && stack_next(stack, at, &run);
	     at = run.first + run.count) {
		int file;

		if (run.kind != STACK_LAYER)
			continue;
		file = file_number(f, run.layer);
		if (file < 0)
			return file;
		memset(f->source->file_of + run.first, file, (size_t)run.count);
	}
	return 0;
}

int snapshot_memory_source(struct store *store, const struct store_id *layers, unsigned count,
			   uint64_t pages, struct memory_source **out, struct error *err)
{
	struct source_fill fill = {0};
	struct stack *stack;
	int ret = stack_open(store, layers, count, pages, &stack, err);

	if (ret)
		return ret;
	ret = memory_source_create(pages, &fill.source);
	if (ret == 0)
		ret = source_fill(&fill, stack);
	stack_close(stack);
	if (ret) {
		memory_source_destroy(fill.source);
		return error_set(err, ret, "raise ulimit -n", "guest memory: its layers: %s",
				 error_name(ret));
	}
	*out = fill.source;
	return 0;
}

/* What was restored is what the next snapshot stands on. */
static int parent_take(struct snapshot *s, const struct root *from, struct error *err)
{
	int ret = 0;

	s->has_parent = root_as_parent(from, &s->parent);
	s->layer_count = from->memory_layer_count;
	memcpy(s->layers, from->memory_layers, sizeof(s->layers));
	for (unsigned i = 0; i < s->layer_count && ret == 0; i++)
		ret = store_lease_add(s->lease, &s->layers[i], err);
	if (ret == 0)
		ret = s->machine->vm.ops->dirty_start(s->machine->vm.engine, err);
	if (ret == 0 && memory_track(s->machine->vm.memory, true))
		ret = error_set(err, -ENOMEM, NULL, "snapshots: out of memory");
	return ret;
}

int snapshot_create(struct machine *machine, struct store *store, struct snapshot **out,
		    struct error *err)
{
	struct snapshot *s = calloc(1, sizeof(*s));
	int ret = 0;

	if (s) {
		s->words = (size_t)(memory_pages(machine->vm.memory) + 63) / 64;
		s->changed = calloc(s->words, sizeof(*s->changed));
	}
	if (!s || !s->changed) {
		free(s);
		return error_set(err, -ENOMEM, NULL, "snapshots: out of memory");
	}
	s->machine = machine;
	s->store = store;
	s->task = (struct loop_task){.run = finish, .arg = s};
	ret = store_lease_open(store, &s->lease, err);
	if (ret == 0 && machine->config.from)
		ret = parent_take(s, machine->config.from, err);
	if (ret) {
		snapshot_destroy(s);
		return ret;
	}
	*out = s;
	return 0;
}

void snapshot_destroy(struct snapshot *s)
{
	if (!s)
		return;
	if (s->started)
		pthread_join(s->thread, NULL);
	loop_cancel(s->machine->loop, &s->task);
	layer_close(s->layer);
	root_clear(&s->root);
	store_lease_close(s->lease);
	free(s->state);
	free(s->changed);
	free(s);
}
