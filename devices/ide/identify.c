/* SPDX-License-Identifier: MIT */
/* What IDENTIFY DEVICE tells (ATA/ATAPI-7, 6.17): words, by their numbers there. */
#include <string.h>

#include "devices/ide/ide_impl.h"
#include "vmm/base/bytes.h"

#define MODEL    "lodge disk"
#define FIRMWARE "1"

#define CYLINDERS_MAX 16383u
#define LBA28_SECTORS 0x0fffffffu

static void word_put(uint8_t *out, unsigned word, unsigned value)
{
	le16_put(out + 2 * (size_t)word, (uint16_t)value);
}

/* Two letters a word, the first one above; filled up with blanks. */
static void text_put(uint8_t *out, unsigned word, unsigned words, const char *text)
{
	size_t length = strlen(text);

	for (size_t i = 0; i < 2 * (size_t)words; i++)
		out[2 * (size_t)word + (i ^ 1)] = i < length ? (uint8_t)text[i] : ' ';
}

static unsigned cylinders_of(const struct ide_drive *d, unsigned heads, unsigned track)
{
	uint64_t cylinders = d->sectors / ((uint64_t)heads * track);

	return cylinders < CYLINDERS_MAX ? (unsigned)cylinders : CYLINDERS_MAX;
}

static void geometry_put(const struct ide_drive *d, uint8_t *out)
{
	unsigned cylinders = cylinders_of(d, d->heads, d->track);

	word_put(out, 1, cylinders_of(d, 16, 63));
	word_put(out, 3, 16);
	word_put(out, 6, 63);
	word_put(out, 54, cylinders);
	word_put(out, 55, d->heads);
	word_put(out, 56, d->track);
	le32_put(out + 57 * 2, cylinders * d->heads * d->track);
	le32_put(out + 60 * 2, d->sectors < LBA28_SECTORS ? (uint32_t)d->sectors : LBA28_SECTORS);
	le64_put(out + 100 * 2, d->sectors);
}

/* Modes that it knows, and the one that is set. */
static void modes_put(const struct ide_drive *d, uint8_t *out)
{
	unsigned number = 1u << (8 + (d->mode & 7));

	word_put(out, 51, 0x0200);
	word_put(out, 53, 0x0007); /* words 54 to 58, 64 to 70, and 88 are valid */
	word_put(out, 63, 0x0007 | ((d->mode & 0xf8) == 0x20 ? number : 0));
	word_put(out, 64, 0x0003); /* PIO modes 3 and 4 */
	for (unsigned i = 65; i <= 68; i++)
		word_put(out, i, 120); /* ns a cycle */
	word_put(out, 88, 0x003f | ((d->mode & 0xf8) == 0x40 ? number : 0));
}

/* Command sets: known (82 to 84), and in use (85 to 87). */
static void sets_put(const struct ide_drive *d, uint8_t *out)
{
	const unsigned always = 1u << 3 | 1u << 14;           /* power management, NOP */
	const unsigned more = 1u << 10 | 1u << 12 | 1u << 13; /* 48 bits, FLUSH CACHE (EXT) */

	word_put(out, 80, 0x00f0); /* ATA/ATAPI-4 to -7 */
	word_put(out, 82, always | 1u << 5 | 1u << 6);
	word_put(out, 83, 0x4000 | more);
	word_put(out, 84, 0x4000);
	word_put(out, 85, always | (d->write_cache ? 1u << 5 : 0) | (d->look_ahead ? 1u << 6 : 0));
	word_put(out, 86, more);
	word_put(out, 87, 0x4000);
	if (!d->read_only) {
		word_put(out, 105, 1); /* blocks of ranges to trim */
		word_put(out, 169, 1);
	}
}

static unsigned physical_shift(const struct ide_drive *d)
{
	unsigned shift = 0;

	while (shift < 15 && (BLOCK_SECTOR << shift) < block_info(d->block)->block_size)
		shift++;
	return shift;
}

static void checksum_put(uint8_t *out)
{
	uint8_t sum = 0xa5;

	out[510] = 0xa5;
	for (unsigned i = 0; i < 510; i++)
		sum = (uint8_t)(sum + out[i]);
	out[511] = (uint8_t)-sum;
}

void ide_identify(const struct ide_drive *d, bool slave, uint8_t out[BLOCK_SECTOR])
{
	unsigned shift = physical_shift(d);

	memset(out, 0, BLOCK_SECTOR);
	word_put(out, 0, 0x0040); /* a disk that is not removable */
	text_put(out, 10, 10, d->serial);
	text_put(out, 23, 4, FIRMWARE);
	text_put(out, 27, 20, MODEL);
	word_put(out, 47, 0x8000 | IDE_MULTIPLE_MAX);
	word_put(out, 49, 0x0f00); /* IORDY, LBA, DMA */
	word_put(out, 50, 0x4000);
	word_put(out, 59, d->multiple ? 0x0100u | d->multiple : 0);
	geometry_put(d, out);
	modes_put(d, out);
	sets_put(d, out);
	/* It passed its reset; its number was set by a jumper; the cable has 80 wires. */
	word_put(out, 93, slave ? 0x6b00 : 0x600b);
	if (shift)
		word_put(out, 106, 0x6000 | shift);
	word_put(out, 217, 1); /* nothing rotates */
	checksum_put(out);
}
