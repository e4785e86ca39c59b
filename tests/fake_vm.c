/* SPDX-License-Identifier: MIT */
/* The engine that runs nothing. Doorbells and lines are made and removed on one thread. */
#include "tests/fake_vm.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct msi_line {
	struct fake_vm *fake;
	int fd;
	bool set;
	struct msi_message message;
};

static struct fake_vm *fake_of(struct engine_vm *vm)
{
	return (struct fake_vm *)(void *)vm;
}

static void fake_irq_set(struct engine_vm *vm, unsigned gsi, bool level)
{
	struct fake_vm *fake = fake_of(vm);

	assert(gsi < FAKE_GSIS);
	if (!atomic_exchange(&fake->level[gsi], level) && level)
		atomic_fetch_add(&fake->edges[gsi], 1);
}

static void fake_msi_send(struct engine_vm *vm, const struct msi_message *message)
{
	(void)vm;
	(void)message;
}

static int fake_msi_line_create(struct engine_vm *vm, struct msi_line **out, int *fd)
{
	struct fake_vm *fake = fake_of(vm);
	struct msi_line *line;

	if (fake->lines_fail)
		return -ENOSPC;
	line = calloc(1, sizeof(*line));
	if (!line)
		return -ENOMEM;
	line->fake = fake;
	line->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert(line->fd >= 0);
	fake->line_count++;
	*out = line;
	*fd = line->fd;
	return 0;
}

static int fake_msi_line_set(struct msi_line *line, const struct msi_message *message)
{
	line->set = message;
	if (message)
		line->message = *message;
	return 0;
}

static void fake_msi_line_destroy(struct msi_line *line)
{
	line->fake->line_count--;
	close(line->fd);
	free(line);
}

static bool doorbell_equal(const struct doorbell *a, const struct doorbell *b)
{
	return a->mmio == b->mmio && a->address == b->address && a->size == b->size &&
	       a->fd == b->fd;
}

static int fake_doorbell_add(struct engine_vm *vm, const struct doorbell *doorbell)
{
	struct fake_vm *fake = fake_of(vm);

	if (fake->doorbells_fail)
		return -ENOSPC;
	for (unsigned i = 0; i < fake->doorbell_count; i++)
		if (fake->doorbell[i].mmio == doorbell->mmio &&
		    fake->doorbell[i].address == doorbell->address)
			return -EEXIST;
	assert(fake->doorbell_count < FAKE_DOORBELLS);
	fake->doorbell[fake->doorbell_count++] = *doorbell;
	return 0;
}

static void fake_doorbell_remove(struct engine_vm *vm, const struct doorbell *doorbell)
{
	struct fake_vm *fake = fake_of(vm);
	unsigned i = 0;

	while (i < fake->doorbell_count && !doorbell_equal(&fake->doorbell[i], doorbell))
		i++;
	assert(i < fake->doorbell_count);
	fake->doorbell[i] = fake->doorbell[--fake->doorbell_count];
}

static const struct engine_ops fake_ops = {
	.name = "fake",
	.summary = "runs nothing",
	.irq_set = fake_irq_set,
	.msi_send = fake_msi_send,
	.msi_line_create = fake_msi_line_create,
	.msi_line_set = fake_msi_line_set,
	.msi_line_destroy = fake_msi_line_destroy,
	.doorbell_add = fake_doorbell_add,
	.doorbell_remove = fake_doorbell_remove,
};

struct fake_vm *fake_vm_create(uint64_t memory)
{
	struct fake_vm *fake = calloc(1, sizeof(*fake));
	struct error err = {0};

	if (!fake || memory_create(memory, &fake->vm.memory, &err) || bus_create(&fake->vm.pio) ||
	    bus_create(&fake->vm.mmio))
		abort();
	fake->vm.ops = &fake_ops;
	fake->vm.engine = (struct engine_vm *)(void *)fake;
	return fake;
}

void fake_vm_destroy(struct fake_vm *fake)
{
	assert(fake->doorbell_count == 0 && fake->line_count == 0);
	bus_destroy(fake->vm.pio);
	bus_destroy(fake->vm.mmio);
	memory_destroy(fake->vm.memory);
	free(fake);
}

void fake_vm_mmio_write(struct fake_vm *fake, uint64_t address, unsigned size, uint64_t value)
{
	uint64_t one = 1;

	for (unsigned i = 0; i < fake->doorbell_count; i++) {
		const struct doorbell *d = &fake->doorbell[i];

		if (!d->mmio || d->address != address || (d->size && d->size != size))
			continue;
		if (write(d->fd, &one, sizeof(one)) != sizeof(one))
			abort();
		return;
	}
	bus_write(fake->vm.mmio, address, size, value);
}
