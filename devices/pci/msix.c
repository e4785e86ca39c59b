/* SPDX-License-Identifier: MIT */
/* MSI-X. A vector gets its line into the engine when it is first unmasked while MSI-X is on. */
#include "devices/pci/msix.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/bytes.h"
#include "vmm/base/checked.h"

#define CAPABILITY_ID     0x11
#define CAPABILITY_LENGTH 12
#define CAP_CONTROL       2
#define CAP_TABLE         4
#define CAP_PBA           8
#define CONTROL_ENABLE    0x8000
#define CONTROL_MASK      0x4000

#define ENTRY_DATA    8
#define ENTRY_CONTROL 12
#define ENTRY_MASKED  1u

static bool vector_open(const struct msix *msix, const struct msix_vector *v)
{
	return msix->enabled && !msix->masked &&
	       !(le32_get(v->entry + ENTRY_CONTROL) & ENTRY_MASKED);
}

static void vector_send(struct msix_vector *v)
{
	uint64_t one = 1;

	/*
	 * The counter cannot fill up: the kernel takes from it at once. Without a line (the engine
	 * had none left) the message waits until there is one.
	 */
	if (!v->line || write(v->fd, &one, sizeof(one)) < 0)
		v->pending = true;
}

/* Tell the engine what the entry says, and send what waited. The lock is held. */
static void vector_update(struct msix *msix, struct msix_vector *v)
{
	const struct vm *vm = msix->function->irq.vm;
	struct msi_message message = {.address = le64_get(v->entry),
				      .data = le32_get(v->entry + ENTRY_DATA)};

	if (!vector_open(msix, v))
		return;
	if (!v->line) {
		int ret = vm->ops->msi_line_create(vm->engine, &v->line, &v->fd);

		if (ret) {
			log_limited(&msix->limit, LOG_ERROR,
				    "PCI: no interrupt line for an MSI-X vector: %s%s",
				    error_name(ret), ret == -EMFILE ? "; raise ulimit -n" : "");
			return;
		}
	}
	if (vm->ops->msi_line_set(v->line, &message))
		log_limited(&msix->limit, LOG_ERROR, "PCI: the engine refuses an MSI-X message");
	if (v->pending) {
		v->pending = false;
		vector_send(v);
	}
}

static void vectors_update(struct msix *msix)
{
	for (unsigned i = 0; i < msix->count; i++)
		vector_update(msix, &msix->vector[i]);
}

int msix_init(struct msix *msix, struct pci_function *function, unsigned count, unsigned bar,
	      uint32_t table, uint32_t pba)
{
	uint8_t *cap;

	assert(count <= MSIX_VECTORS_MAX);
	*msix = (struct msix){.function = function, .count = count};
	msix->vector = calloc(count, sizeof(*msix->vector));
	if (!msix->vector)
		return -ENOMEM;
	pthread_mutex_init(&msix->lock, NULL);
	msix->capability = pci_function_add_capability(function, CAPABILITY_ID, CAPABILITY_LENGTH);
	cap = function->config + msix->capability;
	le16_put(cap + CAP_CONTROL, (uint16_t)(count - 1));
	le32_put(cap + CAP_TABLE, table | bar);
	le32_put(cap + CAP_PBA, pba | bar);
	le16_put(function->writable + msix->capability + CAP_CONTROL,
		 CONTROL_ENABLE | CONTROL_MASK);
	msix_reset(msix);
	return 0;
}

void msix_destroy(struct msix *msix)
{
	if (!msix->vector)
		return;
	for (unsigned i = 0; i < msix->count; i++)
		if (msix->vector[i].line)
			msix->function->irq.vm->ops->msi_line_destroy(msix->vector[i].line);
	free(msix->vector);
	msix->vector = NULL;
	pthread_mutex_destroy(&msix->lock);
}

void msix_reset(struct msix *msix)
{
	uint8_t *control = msix->function->config + msix->capability + CAP_CONTROL;

	pthread_mutex_lock(&msix->lock);
	msix->enabled = msix->masked = false;
	le16_put(control, le16_get(control) & (uint16_t) ~(CONTROL_ENABLE | CONTROL_MASK));
	for (unsigned i = 0; i < msix->count; i++) {
		struct msix_vector *v = &msix->vector[i];

		v->pending = false;
		memset(v->entry, 0, sizeof(v->entry));
		le32_put(v->entry + ENTRY_CONTROL, ENTRY_MASKED);
	}
	pthread_mutex_unlock(&msix->lock);
}

/* The lock is held. */
static void control_update(struct msix *msix)
{
	uint16_t control = le16_get(msix->function->config + msix->capability + CAP_CONTROL);

	msix->enabled = control & CONTROL_ENABLE;
	msix->masked = control & CONTROL_MASK;
	vectors_update(msix);
}

void msix_config_written(struct msix *msix, unsigned offset, unsigned size)
{
	if (!range_overlaps(offset, size, msix->capability, CAPABILITY_LENGTH))
		return;
	pthread_mutex_lock(&msix->lock);
	control_update(msix);
	pthread_mutex_unlock(&msix->lock);
}

struct vector_fields {
	uint8_t entry[MSIX_ENTRY_SIZE];
	bool pending;
};

static void vectors_code(struct msix *msix, struct vector_fields *f, struct codec *c)
{
	unsigned count = msix->count;

	codec_begin(c, "msix", msix->function->slot, 1);
	codec_count(c, &count, MSIX_VECTORS_MAX, "vectors");
	codec_check(c, count == msix->count, "number of vectors");
	for (unsigned i = 0; i < msix->count; i++) {
		codec_bytes(c, f[i].entry, sizeof(f[i].entry));
		codec_bool(c, &f[i].pending);
	}
	codec_end(c);
}

void msix_state(struct msix *msix, struct codec *c)
{
	struct vector_fields f[MSIX_VECTORS_MAX] = {0};

	pthread_mutex_lock(&msix->lock);
	for (unsigned i = 0; i < msix->count && !codec_loading(c); i++) {
		memcpy(f[i].entry, msix->vector[i].entry, sizeof(f[i].entry));
		f[i].pending = msix->vector[i].pending;
	}
	vectors_code(msix, f, c);
	for (unsigned i = 0; i < msix->count && codec_loading(c) && codec_good(c); i++) {
		memcpy(msix->vector[i].entry, f[i].entry, sizeof(f[i].entry));
		msix->vector[i].pending = f[i].pending;
	}
	if (codec_loading(c) && codec_good(c))
		control_update(msix);
	pthread_mutex_unlock(&msix->lock);
}

uint64_t msix_table_read(struct msix *msix, uint64_t offset, unsigned size)
{
	uint64_t index = offset / MSIX_ENTRY_SIZE, at = offset % MSIX_ENTRY_SIZE;
	uint64_t value = 0;

	if (index >= msix->count || at + size > MSIX_ENTRY_SIZE)
		return 0;
	pthread_mutex_lock(&msix->lock);
	value = le_get(msix->vector[index].entry + at, size);
	pthread_mutex_unlock(&msix->lock);
	return value;
}

void msix_table_write(struct msix *msix, uint64_t offset, unsigned size, uint64_t value)
{
	uint64_t index = offset / MSIX_ENTRY_SIZE, at = offset % MSIX_ENTRY_SIZE;

	if (index >= msix->count || at + size > MSIX_ENTRY_SIZE)
		return;
	pthread_mutex_lock(&msix->lock);
	le_put(msix->vector[index].entry + at, size, value);
	vector_update(msix, &msix->vector[index]);
	pthread_mutex_unlock(&msix->lock);
}

uint64_t msix_pba_read(struct msix *msix, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	pthread_mutex_lock(&msix->lock);
	for (unsigned bit = 0; bit < size * 8; bit++) {
		uint64_t index = offset * 8 + bit;

		if (index < msix->count && msix->vector[index].pending)
			value |= 1ull << bit;
	}
	pthread_mutex_unlock(&msix->lock);
	return value;
}

bool msix_signal(struct msix *msix, unsigned vector)
{
	bool enabled;

	pthread_mutex_lock(&msix->lock);
	enabled = msix->enabled;
	if (enabled && vector < msix->count) {
		struct msix_vector *v = &msix->vector[vector];

		if (vector_open(msix, v))
			vector_send(v);
		else
			v->pending = true;
	}
	pthread_mutex_unlock(&msix->lock);
	return enabled;
}
