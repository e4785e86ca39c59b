/* SPDX-License-Identifier: MIT */
/*
 * A channel's thread. It has a command in pieces: prepares one request under the lock, hands it to
 * the host, sleeps until that is done or somebody kicks, and goes on. When it is called off it
 * rests between two pieces, with the rest of the command in the channel's registers.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "devices/ide/ide_impl.h"
#include "vmm/base/bytes.h"
#include "vmm/base/checked.h"

#define TRIM_ENTRIES (BLOCK_SECTOR / 8)

static void complain(struct ide_channel *c, const char *what, int result)
{
	log_limited(&c->limit, LOG_WARN, "IDE disk %s: %s failed: %s",
		    c->drive[c->transfer.drive].serial, what, error_name(result));
}

/* Of the host's errors a disk knows few: no such data, a fault, or no such command. */
static void fail(struct ide_channel *c, int result)
{
	switch (c->transfer.op) {
	case OP_READ:
	case OP_VERIFY:
		complain(c, "a read", result);
		ide_command_fail(c, ERROR_DATA, 0);
		break;
	case OP_TRIM:
		complain(c, "a trim", result);
		ide_command_fail(c, ERROR_ABORT, 0);
		break;
	default:
		complain(c, c->transfer.op == OP_FLUSH ? "a flush" : "a write", result);
		ide_command_fail(c, ERROR_ABORT, STATUS_FAULT);
		break;
	}
}

/* The bus master cannot go on: what it was told is nonsense. */
static void master_fail(struct ide_channel *c)
{
	c->master_status &= (uint8_t)~MASTER_ACTIVE;
	c->master_status |= MASTER_ERROR;
	ide_command_fail(c, ERROR_ABORT, 0);
}

/* All that the disk had to move is moved. SFF-8038i, 3.1: who has more to come stays active. */
static void transfer_done(struct ide_channel *c)
{
	if (c->transfer.dma && ide_cursor_ended(c))
		c->master_status &= (uint8_t)~MASTER_ACTIVE;
	ide_command_done(c);
}

/* Completions. */

static void pieces_written(struct ide_channel *c)
{
	for (unsigned i = 0; i < c->piece_count && c->memory->writing; i++)
		memory_at_write(c->memory, c->piece[i].gpa, c->piece[i].length);
}

static void moved(struct ide_channel *c)
{
	struct ide_transfer *t = &c->transfer;
	uint32_t sectors = c->request_bytes / BLOCK_SECTOR;

	if (t->op == OP_READ && t->dma)
		pieces_written(c);
	t->sector += sectors;
	t->left -= sectors;
	if (t->op == OP_READ && !t->dma) {
		ide_data_begin(c, PHASE_IN, c->request_bytes);
		ide_interrupt(c, &c->drive[t->drive]);
	} else if (t->left == 0) {
		transfer_done(c);
	} else if (t->op == OP_WRITE && !t->dma) {
		ide_data_begin(c, PHASE_OUT,
			       BLOCK_SECTOR * (t->left < t->block ? t->left : t->block));
		ide_interrupt(c, &c->drive[t->drive]);
	}
}

static void completed(struct ide_channel *c, int result)
{
	enum ide_op op = c->transfer.op;

	/* A trim is a hint, which nobody has to follow. */
	if (result && !(op == OP_TRIM && result == -EOPNOTSUPP))
		fail(c, result);
	else if (op == OP_FLUSH)
		ide_command_done(c);
	else if (op != OP_TRIM)
		moved(c);
}

static void request_done(struct block_request *request, int result)
{
	struct ide_channel *c = (struct ide_channel *)request;

	pthread_mutex_lock(&c->lock);
	c->in_flight = false;
	if (!c->abandoned)
		completed(c, result);
	else if (!(c->control & CONTROL_RESET))
		ide_reset_finish(c);
	c->abandoned = false;
	pthread_mutex_unlock(&c->lock);
}

/* Requests. False: there is none to submit. */

static bool prepare_block(struct ide_channel *c, uint32_t bytes, unsigned pieces)
{
	const struct ide_transfer *t = &c->transfer;
	struct block_request *r = &c->request;

	r->op = t->op == OP_WRITE ? BLOCK_WRITE : BLOCK_READ;
	r->offset = t->sector * BLOCK_SECTOR;
	r->length = c->request_bytes = bytes;
	r->iov = c->iov;
	r->iov_count = pieces;
	r->durable = t->op == OP_WRITE && !c->drive[t->drive].write_cache;
	return true;
}

/* From or to the buffer. */
static bool prepare_buffered(struct ide_channel *c)
{
	const struct ide_transfer *t = &c->transfer;
	uint32_t most = t->op == OP_VERIFY ? IDE_BUFFER / BLOCK_SECTOR : t->block;
	uint32_t bytes = BLOCK_SECTOR * (t->left < most ? t->left : most);

	if (t->op == OP_WRITE)
		bytes = t->filled;
	c->iov[0] = (struct iovec){c->buffer, bytes};
	return prepare_block(c, bytes, 1);
}

/* The bus master was stopped, or its table ends: the disk waits for it. */
static bool master_wait(struct ide_channel *c)
{
	c->master_status &= (uint8_t)~MASTER_ACTIVE;
	c->phase = PHASE_DMA;
	c->drive[c->transfer.drive].status = STATUS_IDLE | STATUS_DATA;
	return false;
}

static bool prepare_dma(struct ide_channel *c)
{
	const struct ide_transfer *t = &c->transfer;
	bool to_memory = t->op == OP_READ;
	uint64_t want = (uint64_t)t->left * BLOCK_SECTOR;
	int64_t got;

	if (!(c->master_status & MASTER_ACTIVE))
		return master_wait(c);
	if (!(c->master_command & MASTER_TO_MEMORY) == to_memory) {
		master_fail(c);
		return false;
	}
	got = ide_cursor_take(c, want < IDE_CHUNK ? (uint32_t)want : IDE_CHUNK, to_memory);
	if (got < 0)
		master_fail(c);
	else if (got == 0)
		master_wait(c);
	return got > 0 && prepare_block(c, (uint32_t)got, c->piece_count);
}

/* The list of ranges itself, by the bus master. */
static bool trim_list(struct ide_channel *c)
{
	size_t at = 0;
	int64_t got;

	if (!(c->master_status & MASTER_ACTIVE))
		return master_wait(c);
	got = c->master_command & MASTER_TO_MEMORY ? -EFAULT
						   : ide_cursor_take(c, BLOCK_SECTOR, false);
	if (got < 0) {
		master_fail(c);
		return false;
	}
	if (got == 0)
		return master_wait(c);
	for (unsigned i = 0; i < c->piece_count; i++) {
		memcpy(c->buffer + at, c->iov[i].iov_base, c->iov[i].iov_len);
		at += c->iov[i].iov_len;
	}
	c->transfer.left = 0;
	c->transfer.filled = BLOCK_SECTOR;
	return true;
}

/* ATA8-ACS, 7.9.3: an address and a count; a count of zero is no range. */
static bool prepare_trim(struct ide_channel *c)
{
	struct ide_transfer *t = &c->transfer;
	const struct ide_drive *d = &c->drive[t->drive];
	struct block_request *r = &c->request;

	if (t->left && !trim_list(c))
		return false;
	while (t->entry < TRIM_ENTRIES) {
		uint64_t range = le64_get(c->buffer + 8 * (size_t)t->entry++);
		uint64_t sector = range & 0xffffffffffff, count = range >> 48;

		if (count == 0)
			continue;
		if (!range_within(sector, count, 0, d->sectors)) {
			t->sector = sector;
			ide_command_fail(c, ERROR_ID, 0);
			return false;
		}
		r->op = BLOCK_DISCARD;
		r->offset = sector * BLOCK_SECTOR;
		r->length = count * BLOCK_SECTOR;
		return true;
	}
	transfer_done(c);
	return false;
}

static bool prepare(struct ide_channel *c)
{
	const struct ide_transfer *t = &c->transfer;

	if (c->phase != PHASE_WORK)
		return false;
	if (c->dead || !c->queue[t->drive]) {
		fail(c, -EIO);
		return false;
	}
	c->request = (struct block_request){.done = request_done};
	switch (t->op) {
	case OP_FLUSH:
		c->request.op = BLOCK_FLUSH;
		return true;
	case OP_TRIM:
		return prepare_trim(c);
	default:
		return t->dma ? prepare_dma(c) : prepare_buffered(c);
	}
}

/* One request at most. It may be done before this returns: the lock is not held then. */
static void step(struct ide_channel *c)
{
	struct block_queue *queue = NULL;

	pthread_mutex_lock(&c->lock);
	if (!c->in_flight && prepare(c)) {
		queue = c->queue[c->transfer.drive];
		c->in_flight = true;
	}
	pthread_mutex_unlock(&c->lock);
	if (queue)
		block_submit(queue, &c->request);
}

static bool is_idle(struct ide_channel *c)
{
	bool idle;

	pthread_mutex_lock(&c->lock);
	idle = c->in_flight || c->phase != PHASE_WORK;
	pthread_mutex_unlock(&c->lock);
	return idle;
}

/* The thread. */

static struct block_queue *queue_to_wait_on(const struct ide_channel *c)
{
	if (c->in_flight)
		return c->queue[c->transfer.drive];
	return c->queue[0] ? c->queue[0] : c->queue[1];
}

/* What the host has it may keep; the guest is told that it is lost. */
static void die(struct ide_channel *c)
{
	log_limited(&c->limit, LOG_ERROR, "IDE channel %u: the host's io_uring failed", c->index);
	c->dead = true;
	if (c->in_flight)
		request_done(&c->request, -EIO);
}

static void sleep_until_kicked(struct ide_channel *c, bool block)
{
	struct pollfd p = {.fd = c->kick_fd, .events = POLLIN};
	uint64_t count;

	if (poll(&p, 1, block ? -1 : 0) == 1 && read(c->kick_fd, &count, sizeof(count)) < 0)
		return; /* somebody was quicker: there was a kick all the same */
}

static void wait_for_work(struct ide_channel *c, bool block)
{
	struct block_queue *queue = queue_to_wait_on(c);

	if (!queue || c->dead)
		sleep_until_kicked(c, block);
	else if (block_wait(queue, c->kick_fd, block))
		die(c);
}

static void queues_open(struct ide_channel *c)
{
	for (unsigned i = 0; i < IDE_DRIVES; i++) {
		const struct ide_drive *d = &c->drive[i];
		struct error err = {0};
		char line[sizeof(err)];
		int ret = d->block ? block_queue_create(d->block, 1, &c->queue[i], &err) : 0;

		if (ret == 0)
			continue;
		c->queue[i] = NULL;
		error_format(&err, ret, line, sizeof(line));
		log_limited(&c->limit, LOG_ERROR, "IDE disk %s: %s", d->serial, line);
	}
}

static void queues_close(struct ide_channel *c)
{
	for (unsigned i = 0; i < IDE_DRIVES; i++) {
		/* After a failure the kernel may still have a request: it keeps its ring. */
		if (c->queue[i] && block_in_flight(c->queue[i]) == 0)
			block_queue_destroy(c->queue[i]);
		c->queue[i] = NULL;
	}
}

void ide_channel_main(void *channel)
{
	struct ide_channel *c = channel;
	char name[16];

	snprintf(name, sizeof(name), "ide%u", c->index);
	pthread_setname_np(pthread_self(), name);
	queues_open(c);
	for (;;) {
		bool called = worker_called(&c->worker);

		if (called && !c->in_flight) {
			if (!worker_rest(&c->worker))
				break;
			continue;
		}
		if (!called)
			step(c);
		wait_for_work(c, called || is_idle(c));
	}
	queues_close(c);
}
