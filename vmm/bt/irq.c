/* SPDX-License-Identifier: MIT */
/*
 * Interrupt messages and doorbells. A device signals an eventfd for a message; a thread of ours
 * waits for all of them and sends. A guest's write that matches a doorbell signals its eventfd, on
 * the vCPU's thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "devices/lapic.h"
#include "vmm/base/checked.h"
#include "vmm/base/clock.h"
#include "vmm/bt/code_cache.h"
#include "vmm/bt/vcpu.h"

#define EVENTS_MAX 64

struct msi_line {
	struct engine_vm *vm;
	int fd;
	struct msi_line *next;
	pthread_mutex_t lock; /* guards the two below */
	bool set;
	struct msi_message message;
};

void bt_msi_send(struct engine_vm *vm, const struct msi_message *message)
{
	struct apic_message m;

	if (apic_message_from_msi(message->address, message->data, &m))
		apic_bus_deliver(vm->apics, &m);
}

static void line_fire(struct msi_line *line)
{
	struct msi_message message;
	uint64_t count;
	bool set;

	if (read(line->fd, &count, sizeof(count)) < 0)
		return;
	pthread_mutex_lock(&line->lock);
	set = line->set;
	message = line->message;
	pthread_mutex_unlock(&line->lock);
	if (set)
		bt_msi_send(line->vm, &message);
}

/*
 * Translated code runs until attention is called for; a vCPU's next timer does that by way of this
 * thread. What epoll hands back is told from a line by its lowest bit.
 */
#define IS_VCPU ((uintptr_t)1)

int bt_timer_create(struct engine_vcpu *cpu)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uintptr_t)cpu | IS_VCPU};

	cpu->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (cpu->timer_fd < 0 ||
	    epoll_ctl(cpu->vm->epoll_fd, EPOLL_CTL_ADD, cpu->timer_fd, &event) < 0)
		return -errno;
	return 0;
}

void bt_timer_set(struct engine_vcpu *cpu, uint64_t deadline_ns)
{
	struct itimerspec when = {.it_value = {.tv_sec = (time_t)(deadline_ns / CLOCK_NS_PER_S),
					       .tv_nsec = (long)(deadline_ns % CLOCK_NS_PER_S)}};

	if (deadline_ns == cpu->timer_ns)
		return;
	cpu->timer_ns = deadline_ns;
	timerfd_settime(cpu->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void timer_fire(struct engine_vcpu *cpu)
{
	uint64_t count;

	if (read(cpu->timer_fd, &count, sizeof(count)) == sizeof(count))
		bt_vcpu_wake(cpu);
}

/* While translated code runs somewhere, a millisecond apart. */
#define SAMPLE_NS   1000000
#define SAMPLES_OFF 4 /* so many without any: it stops */

static void sampling_set(struct engine_vm *vm, bool on)
{
	struct itimerspec when = {.it_value = {.tv_nsec = on ? SAMPLE_NS : 0},
				  .it_interval = {.tv_nsec = on ? SAMPLE_NS : 0}};

	timerfd_settime(vm->sample_fd, 0, &when, NULL);
}

void bt_sampling_start(struct engine_vm *vm)
{
	/* What is hot matters to windows alone. */
	if (!vm->windows || vm->code->eager)
		return;
	if (!atomic_load(&vm->sampling) && !atomic_exchange(&vm->sampling, true))
		sampling_set(vm, true);
}

static void sample(struct engine_vm *vm)
{
	static _Thread_local unsigned idle;
	uint64_t count;

	if (read(vm->sample_fd, &count, sizeof(count)) != sizeof(count))
		return;
	idle = world_sample(vm) ? 0 : idle + 1;
	if (idle < SAMPLES_OFF)
		return;
	idle = 0;
	sampling_set(vm, false);
	atomic_store(&vm->sampling, false);
}

static bool line_is_known(const struct engine_vm *vm, const struct msi_line *line)
{
	for (const struct msi_line *l = vm->lines; l; l = l->next)
		if (l == line)
			return true;
	return false;
}

static void *irq_main(void *arg)
{
	struct engine_vm *vm = arg;
	struct epoll_event events[EVENTS_MAX];

	pthread_setname_np(pthread_self(), "bt-irq");
	for (;;) {
		int count = epoll_wait(vm->epoll_fd, events, EVENTS_MAX, -1);
		bool stop = false;

		pthread_mutex_lock(&vm->line_lock);
		for (int i = 0; i < count; i++) {
			struct msi_line *line = events[i].data.ptr;

			if (events[i].data.ptr == vm) {
				sample(vm);
				continue;
			}
			if (events[i].data.u64 & IS_VCPU) {
				timer_fire((void *)(uintptr_t)(events[i].data.u64 & ~IS_VCPU));
				continue;
			}
			stop |= !line;
			/* One may have been destroyed since. */
			if (line && line_is_known(vm, line))
				line_fire(line);
		}
		pthread_mutex_unlock(&vm->line_lock);
		if (stop)
			return NULL;
	}
}

int bt_irq_start(struct engine_vm *vm)
{
	struct epoll_event event = {.events = EPOLLIN}, tick = {.events = EPOLLIN, .data.ptr = vm};
	int ret;

	vm->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	vm->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vm->sample_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (vm->epoll_fd < 0 || vm->stop_fd < 0 || vm->sample_fd < 0)
		return -errno;
	if (epoll_ctl(vm->epoll_fd, EPOLL_CTL_ADD, vm->stop_fd, &event) < 0 ||
	    epoll_ctl(vm->epoll_fd, EPOLL_CTL_ADD, vm->sample_fd, &tick) < 0)
		return -errno;
	ret = -pthread_create(&vm->irq_thread, NULL, irq_main, vm);
	vm->irq_started = ret == 0;
	return ret;
}

void bt_irq_stop(struct engine_vm *vm)
{
	uint64_t one = 1;

	if (vm->irq_started && write(vm->stop_fd, &one, sizeof(one)) == sizeof(one))
		pthread_join(vm->irq_thread, NULL);
	if (vm->epoll_fd >= 0)
		close(vm->epoll_fd);
	if (vm->stop_fd >= 0)
		close(vm->stop_fd);
	if (vm->sample_fd >= 0)
		close(vm->sample_fd);
}

int bt_msi_line_create(struct engine_vm *vm, struct msi_line **out, int *fd)
{
	struct msi_line *line = calloc(1, sizeof(*line));
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = line};
	int ret;

	if (!line)
		return -ENOMEM;
	line->vm = vm;
	line->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (line->fd < 0) {
		ret = -errno;
		free(line);
		return ret;
	}
	pthread_mutex_init(&line->lock, NULL);
	pthread_mutex_lock(&vm->line_lock);
	line->next = vm->lines;
	vm->lines = line;
	pthread_mutex_unlock(&vm->line_lock);
	if (epoll_ctl(vm->epoll_fd, EPOLL_CTL_ADD, line->fd, &event) < 0) {
		ret = -errno;
		bt_msi_line_destroy(line);
		return ret;
	}
	*out = line;
	*fd = line->fd;
	return 0;
}

int bt_msi_line_set(struct msi_line *line, const struct msi_message *message)
{
	pthread_mutex_lock(&line->lock);
	line->set = message;
	if (message)
		line->message = *message;
	pthread_mutex_unlock(&line->lock);
	return 0;
}

void bt_msi_line_destroy(struct msi_line *line)
{
	struct engine_vm *vm;

	if (!line)
		return;
	vm = line->vm;
	pthread_mutex_lock(&vm->line_lock);
	for (struct msi_line **l = &vm->lines; *l; l = &(*l)->next)
		if (*l == line) {
			*l = line->next;
			break;
		}
	epoll_ctl(vm->epoll_fd, EPOLL_CTL_DEL, line->fd, NULL);
	pthread_mutex_unlock(&vm->line_lock);
	close(line->fd);
	pthread_mutex_destroy(&line->lock);
	free(line);
}

/* Doorbells. */

static bool doorbell_equal(const struct doorbell *a, const struct doorbell *b)
{
	return a->mmio == b->mmio && a->address == b->address && a->size == b->size;
}

int bt_doorbell_add(struct engine_vm *vm, const struct doorbell *doorbell)
{
	int ret = 0;

	pthread_rwlock_wrlock(&vm->doorbell_lock);
	for (unsigned i = 0; i < vm->doorbell_count && ret == 0; i++)
		if (doorbell_equal(&vm->doorbell[i], doorbell))
			ret = -EEXIST;
	if (ret == 0 && vm->doorbell_count == DOORBELLS_MAX)
		ret = -ENOSPC;
	if (ret == 0)
		vm->doorbell[vm->doorbell_count++] = *doorbell;
	pthread_rwlock_unlock(&vm->doorbell_lock);
	return ret;
}

void bt_doorbell_remove(struct engine_vm *vm, const struct doorbell *doorbell)
{
	pthread_rwlock_wrlock(&vm->doorbell_lock);
	for (unsigned i = 0; i < vm->doorbell_count; i++)
		if (doorbell_equal(&vm->doorbell[i], doorbell)) {
			vm->doorbell[i] = vm->doorbell[--vm->doorbell_count];
			break;
		}
	pthread_rwlock_unlock(&vm->doorbell_lock);
}

bool bt_doorbell_ring(struct engine_vm *vm, bool mmio, uint64_t address, unsigned size)
{
	uint64_t one = 1;
	bool rang = false;

	pthread_rwlock_rdlock(&vm->doorbell_lock);
	for (unsigned i = 0; i < vm->doorbell_count && !rang; i++) {
		const struct doorbell *d = &vm->doorbell[i];

		if (d->mmio != mmio || d->address != address || (d->size && d->size != size))
			continue;
		/* A counter that is full has rung already. */
		rang = write(d->fd, &one, sizeof(one)) == sizeof(one) || errno == EAGAIN;
	}
	pthread_rwlock_unlock(&vm->doorbell_lock);
	return rang;
}
