/* SPDX-License-Identifier: MIT */
/* What the parts of an IDE controller share: disks, channels, the bus master. */
#ifndef DEVICES_IDE_IDE_IMPL_H
#define DEVICES_IDE_IDE_IMPL_H

#include "devices/ide/ata.h"
#include "devices/ide/piix4_ide.h"
#include "devices/worker.h"
#include "vmm/base/log.h"

#define IDE_DRIVES       2u /* of a channel */
#define IDE_MULTIPLE_MAX 16u
#define IDE_BUFFER       (128u * BLOCK_SECTOR)
#define IDE_PIECES       512u       /* a sector has at most 256: two bytes are the least */
#define IDE_CHUNK        (1u << 20) /* bytes that the host is asked for at once */

/* What a channel is at. */
enum ide_phase {
	PHASE_IDLE,
	PHASE_WORK, /* BSY: it is the thread's turn */
	PHASE_IN,   /* DRQ: the driver reads the buffer */
	PHASE_OUT,  /* DRQ: the driver fills the buffer */
	PHASE_DMA,  /* DRQ: the disk waits for the bus master */
	PHASE_RESET /* SRST, or what was under way when it came */
};

/* What the thread does for a command. */
enum ide_op { OP_NONE, OP_READ, OP_WRITE, OP_VERIFY, OP_FLUSH, OP_TRIM };

struct ide_drive {
	struct block *block; /* NULL: there is none */
	char serial[PIIX4_IDE_SERIAL_SIZE + 1];
	uint64_t sectors;
	bool read_only;
	/* The task file: what was written last, and before that. */
	uint8_t reg[IDE_HIGH + 1][2];
	uint8_t device, status, error;
	bool interrupt; /* INTRQ, while the disk is selected */
	/* What the driver set. */
	uint8_t heads, track; /* of its own idea of cylinders: heads, and sectors a track */
	uint8_t multiple;     /* sectors a block; 0: not set */
	uint8_t mode;         /* of transfers, as in SET FEATURES; 0: PIO */
	bool write_cache, look_ahead, keeps_settings, standby;
};

/* What is left of a command. */
struct ide_transfer {
	enum ide_op op;
	bool dma;
	bool ext;            /* of 48-bit addresses */
	uint8_t drive;       /* whose it is */
	uint8_t block;       /* sectors that PIO moves at once */
	uint64_t sector;     /* the next one */
	uint32_t left;       /* sectors */
	unsigned at, filled; /* of the buffer, in bytes */
	unsigned entry;      /* of a list of ranges to trim */
};

/* Where the bus master is in its table. */
struct ide_cursor {
	uint32_t next; /* guest-physical: the entry to come */
	uint32_t at;   /* what it is at, */
	uint32_t left; /* and how many bytes */
	bool last;
};

struct ide_piece {
	uint32_t gpa, length;
};

struct ide_channel {
	struct block_request request; /* the thread's; first, so that it leads here */
	struct guest_memory *memory;
	struct irq_line irq;
	unsigned index;
	struct ratelimit limit;
	struct worker worker;
	int kick_fd;
	/* The thread's own: of each drive, NULL where it could not be made; and io_uring failed. */
	struct block_queue *queue[IDE_DRIVES];
	bool dead;
	pthread_mutex_t lock; /* guards all below, but what says otherwise */
	struct ide_drive drive[IDE_DRIVES];
	uint8_t selected; /* a drive's index, there or not */
	uint8_t control;
	bool level;
	enum ide_phase phase;
	struct ide_transfer transfer;
	uint8_t master_command, master_status;
	uint32_t master_table;
	struct ide_cursor cursor;
	/* The thread's, but that others look at `in_flight`. */
	bool in_flight, abandoned;
	uint32_t request_bytes; /* of a transfer */
	unsigned piece_count;
	struct ide_piece piece[IDE_PIECES];
	struct iovec iov[IDE_PIECES];
	uint8_t buffer[IDE_BUFFER];
};

/* channel.c: registers and interrupts. The lock is held unless it is said otherwise. */

int ide_channel_init(struct ide_channel *c, struct guest_memory *memory, const struct irq_line *irq,
		     unsigned index);
/* The drives are set. Not under the lock, nor are the next ones. */
int ide_channel_start(struct ide_channel *c);
void ide_channel_fini(struct ide_channel *c);
void ide_channel_call(struct ide_channel *c, enum worker_wish wish);
/* As after power-on; the thread rests. */
void ide_channel_reset(struct ide_channel *c);

/* Locks itself: the registers of a channel, the one behind them, and its bus master's. */
uint64_t ide_channel_read(struct ide_channel *c, unsigned offset, unsigned size);
void ide_channel_write(struct ide_channel *c, unsigned offset, unsigned size, uint64_t value);
uint8_t ide_control_read(struct ide_channel *c);
void ide_control_write(struct ide_channel *c, uint8_t value);
uint8_t ide_master_read(struct ide_channel *c, unsigned offset);
void ide_master_write(struct ide_channel *c, unsigned offset, uint8_t value);

/* The drive that commands go to, or NULL. */
struct ide_drive *ide_selected(struct ide_channel *c);
void ide_interrupt(struct ide_channel *c, struct ide_drive *d);
void ide_interrupt_update(struct ide_channel *c);
/* Wake the thread. */
void ide_kick(struct ide_channel *c);
/* The rest of a software reset, once nothing is in flight. */
void ide_reset_finish(struct ide_channel *c);
void ide_signature_put(struct ide_drive *d);

/* command.c. */

/* The command register was written, of the selected drive. */
void ide_command_write(struct ide_channel *c, uint8_t code);
/* The command that is under way ends: with errors in its registers, or without. */
void ide_command_done(struct ide_channel *c);
void ide_command_fail(struct ide_channel *c, uint8_t error, uint8_t status);
/* DRQ: the driver is to read, or to fill, `bytes` of the buffer. */
void ide_data_begin(struct ide_channel *c, enum ide_phase phase, unsigned bytes);
/* It has. */
void ide_data_end(struct ide_channel *c);
/* BSY: it is the thread's turn. */
void ide_work_begin(struct ide_channel *c);

/* state.c. Not under the lock. */
void ide_channel_state(struct ide_channel *c, struct codec *codec);

/* serve.c: the thread's function. Not under the lock. */
void ide_channel_main(void *channel);

/* identify.c: the data of IDENTIFY DEVICE. */
void ide_identify(const struct ide_drive *d, bool slave, uint8_t out[BLOCK_SECTOR]);

/* master.c. */

/* The bus master begins at its table's start. */
void ide_cursor_begin(struct ide_channel *c);
/*
 * The memory that comes next: whole sectors, up to `want` bytes, into c->iov and c->piece, and the
 * cursor moves on. Returns how many bytes; 0: the table ends before; -EFAULT: it is nonsense.
 */
int64_t ide_cursor_take(struct ide_channel *c, uint32_t want, bool to_memory);
/* Has it used up its table? */
static inline bool ide_cursor_ended(const struct ide_channel *c)
{
	return c->cursor.last && c->cursor.left == 0;
}

#endif
