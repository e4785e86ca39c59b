/* SPDX-License-Identifier: MIT */
/* The engine of devices under test. */
#include "tests/fake_vm.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct fake_vm *fake_of(struct engine_vm *vm)
{
	return (struct fake_vm *)(void *)vm;
}

static void irq_set(struct engine_vm *vm, unsigned gsi, bool level)
{
	struct fake_vm *fake = fake_of(vm);
	void (*before)(void *arg) = fake->before_irq;

	assert(gsi < FAKE_GSIS);
	fake->before_irq = NULL;
	if (before)
		before(fake->before_irq_arg);
	if (!atomic_exchange(&fake->level[gsi], level) && level)
		atomic_fetch_add(&fake->rises[gsi], 1);
}

static void msi_send(struct engine_vm *vm, const struct msi_message *message)
{
	(void)vm;
	(void)message;
}

static int msi_line_create(struct engine_vm *vm, struct msi_line **out, int *fd)
{
	struct fake_vm *fake = fake_of(vm);
	struct msi_line *line;

	if (fake->lines_left == 0)
		return -ENOSPC;
	fake->lines_left--;
	assert(fake->line_count < FAKE_LINES_MAX);
	line = calloc(1, sizeof(*line));
	if (!line)
		return -ENOMEM;
	line->vm = fake;
	line->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert(line->fd >= 0);
	fake->line[fake->line_count++] = line;
	*out = line;
	*fd = line->fd;
	return 0;
}

static int msi_line_set(struct msi_line *line, const struct msi_message *message)
{
	line->set = message;
	if (message)
		line->message = *message;
	return 0;
}

static void msi_line_destroy(struct msi_line *line)
{
	struct fake_vm *fake = line->vm;

	for (unsigned i = 0; i < fake->line_count; i++)
		if (fake->line[i] == line)
			fake->line[i] = fake->line[--fake->line_count];
	close(line->fd);
	free(line);
}

static int doorbell_add(struct engine_vm *vm, const struct doorbell *doorbell)
{
	struct fake_vm *fake = fake_of(vm);

	if (fake->doorbells_left == 0)
		return -ENOSPC;
	if (fake_doorbell_find(fake, doorbell->address))
		return -EEXIST;
	fake->doorbells_left--;
	assert(fake->doorbell_count < FAKE_DOORBELLS_MAX);
	fake->doorbell[fake->doorbell_count++] = *doorbell;
	return 0;
}

static void doorbell_remove(struct engine_vm *vm, const struct doorbell *doorbell)
{
	struct fake_vm *fake = fake_of(vm);

	for (unsigned i = 0; i < fake->doorbell_count; i++) {
		if (fake->doorbell[i].address != doorbell->address)
			continue;
		assert(fake->doorbell[i].fd == doorbell->fd &&
		       fake->doorbell[i].size == doorbell->size);
		fake->doorbell[i] = fake->doorbell[--fake->doorbell_count];
		return;
	}
	assert(!"there is no such doorbell");
}

static const struct engine_ops ops = {
	.name = "fake",
	.irq_set = irq_set,
	.msi_send = msi_send,
	.msi_line_create = msi_line_create,
	.msi_line_set = msi_line_set,
	.msi_line_destroy = msi_line_destroy,
	.doorbell_add = doorbell_add,
	.doorbell_remove = doorbell_remove,
};

struct fake_vm *fake_vm_create(uint64_t memory)
{
	struct fake_vm *fake = calloc(1, sizeof(*fake));

	if (!fake || bus_create(&fake->vm.pio) || bus_create(&fake->vm.mmio) ||
	    (memory && memory_create(memory, &fake->vm.memory, NULL)))
		abort();
	fake->lines_left = fake->doorbells_left = -1;
	fake->vm.ops = &ops;
	fake->vm.engine = (struct engine_vm *)(void *)fake;
	return fake;
}

void fake_vm_destroy(struct fake_vm *fake)
{
	assert(fake->line_count == 0 && fake->doorbell_count == 0);
	bus_destroy(fake->vm.pio);
	bus_destroy(fake->vm.mmio);
	memory_destroy(fake->vm.memory);
	free(fake);
}

void fake_vm_mmio_write(struct fake_vm *fake, uint64_t address, unsigned size, uint64_t value)
{
	const struct doorbell *d = fake_doorbell_find(fake, address);
	uint64_t one = 1;

	if (!d || !d->mmio || (d->size && d->size != size))
		bus_write(fake->vm.mmio, address, size, value);
	else if (write(d->fd, &one, sizeof(one)) != sizeof(one))
		abort();
}

unsigned fake_line_signals(const struct msi_line *line)
{
	uint64_t count;

	return read(line->fd, &count, sizeof(count)) == sizeof(count) ? (unsigned)count : 0;
}

struct msi_line *fake_line_find(struct fake_vm *fake, uint32_t data)
{
	for (unsigned i = 0; i < fake->line_count; i++)
		if (fake->line[i]->set && fake->line[i]->message.data == data)
			return fake->line[i];
	return NULL;
}

const struct doorbell *fake_doorbell_find(const struct fake_vm *fake, uint64_t address)
{
	for (unsigned i = 0; i < fake->doorbell_count; i++)
		if (fake->doorbell[i].address == address)
			return &fake->doorbell[i];
	return NULL;
}
