/* SPDX-License-Identifier: MIT */
/*
 * The serial EEPROM: 64 words, of the Microwire kind, by four wires or by a register that reads
 * (317453, 5.3 and 13.4.3). It can be read, and what is written to it is not: the NIC's address
 * is the host's to give.
 */
#include "devices/e1000/e1000_impl.h"

/* 5.6: the words that are none of the address's. */
enum {
	CONTROL_1 = 0x0a,
	SUBSYSTEM = 0x0b,
	SUBSYSTEM_VENDOR,
	DEVICE,
	VENDOR,
	CONTROL_2,
	SUM = 0x3f
};
#define SUM_TOTAL 0xbaba

#define REQUEST_BITS 9u /* a start bit, two of what to do, six of the address */
#define WORD_BITS    16u
#define DO_READ      2u

void e1000_eeprom_init(struct i82540em *n)
{
	uint16_t *word = n->eeprom.word, sum = 0;

	for (unsigned i = 0; i < NET_MAC / 2; i++)
		word[i] = (uint16_t)(n->mac[2 * i] | n->mac[2 * i + 1] << 8);
	word[CONTROL_1] = 0x4003; /* it is valid, and has the next ones */
	word[SUBSYSTEM] = 0x001e;
	word[SUBSYSTEM_VENDOR] = 0x8086;
	word[DEVICE] = 0x100e;
	word[VENDOR] = 0x8086;
	word[CONTROL_2] = 0x3000; /* pauses in both directions */
	for (unsigned i = 0; i < SUM; i++)
		sum = (uint16_t)(sum + word[i]);
	word[SUM] = (uint16_t)(SUM_TOTAL - sum);
}

uint16_t e1000_eeprom_read(struct i82540em *n, unsigned address)
{
	/* Who has seen the last word of the address knows it. */
	if (address == NET_MAC / 2 - 1)
		for (unsigned i = 0; i < NET_MAC; i++)
			n->told[i] = n->mac[i];
	return address < EEPROM_WORDS ? n->eeprom.word[address] : 0xffff;
}

/* A rising edge: a bit comes in, or the next one goes out. */
static void rise(struct i82540em *n, bool in)
{
	struct e1000_eeprom *e = &n->eeprom;

	if (e->reading) {
		/* The word behind follows, as long as there are clocks. */
		if (e->out_bits == 0) {
			e->out = e1000_eeprom_read(n, e->address++ % EEPROM_WORDS);
			e->out_bits = WORD_BITS;
		}
		e->out_bits--;
		return;
	}
	/* Zeroes ahead of the start bit are none. */
	if (e->in_bits == 0 && !in)
		return;
	e->in = (uint16_t)(e->in << 1 | in);
	if (++e->in_bits < REQUEST_BITS)
		return;
	e->reading = (e->in >> 6 & 3) == DO_READ;
	e->address = e->in & (EEPROM_WORDS - 1);
	/* A zero goes ahead of the word. */
	e->in = e->out = e->in_bits = e->out_bits = 0;
}

void e1000_eeprom_clock(struct i82540em *n, uint32_t old, uint32_t value)
{
	struct e1000_eeprom *e = &n->eeprom;

	if (!(value & EECD_SELECT)) {
		e->in = e->in_bits = e->out_bits = 0;
		e->reading = false;
		return;
	}
	if (~old & value & EECD_CLOCK)
		rise(n, value & EECD_IN);
}

/* While it has nothing to say it is ready. */
uint32_t e1000_eeprom_wires(const struct i82540em *n)
{
	const struct e1000_eeprom *e = &n->eeprom;

	if (!e->reading)
		return EECD_OUT;
	return e->out_bits < WORD_BITS && e->out >> e->out_bits & 1 ? EECD_OUT : 0;
}
