/* SPDX-License-Identifier: MIT */
/*
 * Saved state: registers as a driver wrote them, and the frame that it is sending. The EEPROM is
 * the NIC's own; a driver that knew another one's address is told apart by it (i82540em_is_known).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/e1000/e1000_impl.h"

struct nic_fields {
	uint32_t reg[E1000_REGISTERS];
	uint32_t address[ADDRESS_WORDS], multicast[TABLE_WORDS], vlan[TABLE_WORDS];
	uint32_t statistic[STATISTICS];
	uint32_t io_address;
	uint16_t phy[PHY_COUNT];
	struct e1000_eeprom eeprom;
	bool link;
	uint8_t told[NET_MAC];
	struct e1000_sending sending;
};

static void words_code(struct codec *c, uint32_t *words, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		codec_u32(c, &words[i]);
}

static void context_code(struct e1000_context *x, struct codec *c)
{
	codec_u8(c, &x->ip_start);
	codec_u8(c, &x->ip_offset);
	codec_u16(c, &x->ip_end);
	codec_u8(c, &x->start);
	codec_u8(c, &x->offset);
	codec_u16(c, &x->end);
	codec_u8(c, &x->header);
	codec_u16(c, &x->mss);
	codec_u8(c, &x->command);
}

/* As if its descriptors had been judged, and its parts made. */
static bool sending_good(const struct e1000_sending *s)
{
	const struct e1000_context *x = &s->context[1];

	if (!s->whole)
		return s->done == 0 && s->number == 0;
	if (s->bad || s->length < ETHERNET || s->number > NET_FRAME_MAX)
		return false;
	if (!s->cut)
		return s->done == 0;
	return x->mss && x->header >= ETHERNET && x->header <= s->length &&
	       s->done <= s->length - x->header;
}

static void sending_code(struct e1000_sending *s, struct codec *c)
{
	unsigned length = s->length;

	for (unsigned i = 0; i < 2; i++)
		context_code(&s->context[i], c);
	codec_bool(c, &s->begun);
	codec_bool(c, &s->whole);
	codec_bool(c, &s->cut);
	codec_bool(c, &s->checksum);
	codec_bool(c, &s->ip_checksum);
	codec_bool(c, &s->tagged);
	codec_bool(c, &s->legacy_checksum);
	codec_bool(c, &s->bad);
	codec_u8(c, &s->legacy_start);
	codec_u8(c, &s->legacy_offset);
	codec_u16(c, &s->tag);
	codec_u32(c, &s->done);
	codec_u32(c, &s->number);
	codec_count(c, &length, NET_FRAME_MAX, "bytes of the frame");
	s->length = length;
	codec_bytes(c, s->frame, length);
	codec_check(c, sending_good(s), "frame that is sent");
}

static void eeprom_code(struct e1000_eeprom *e, struct codec *c)
{
	codec_u16(c, &e->in);
	codec_u16(c, &e->out);
	codec_u8(c, &e->in_bits);
	codec_u8(c, &e->out_bits);
	codec_u8(c, &e->address);
	codec_bool(c, &e->reading);
	codec_check(c, e->out_bits <= 16 && e->in_bits <= 16, "bits of the EEPROM");
}

static void fields_code(struct nic_fields *f, unsigned slot, struct codec *c)
{
	codec_begin(c, "82540em", slot, 1);
	words_code(c, f->reg, E1000_REGISTERS);
	words_code(c, f->address, ADDRESS_WORDS);
	words_code(c, f->multicast, TABLE_WORDS);
	words_code(c, f->vlan, TABLE_WORDS);
	words_code(c, f->statistic, STATISTICS);
	codec_u32(c, &f->io_address);
	for (unsigned i = 0; i < PHY_COUNT; i++)
		codec_u16(c, &f->phy[i]);
	eeprom_code(&f->eeprom, c);
	codec_bool(c, &f->link);
	codec_bytes(c, f->told, NET_MAC);
	sending_code(&f->sending, c);
	codec_end(c);
}

static void fields_get(struct i82540em *n, struct nic_fields *f)
{
	/* What waits for room is made again. */
	e1000_part_undo(n);
	memcpy(f->reg, n->reg, sizeof(f->reg));
	memcpy(f->address, n->address, sizeof(f->address));
	memcpy(f->multicast, n->multicast, sizeof(f->multicast));
	memcpy(f->vlan, n->vlan, sizeof(f->vlan));
	memcpy(f->statistic, n->statistic, sizeof(f->statistic));
	f->io_address = n->io_address;
	memcpy(f->phy, n->phy, sizeof(f->phy));
	f->eeprom = n->eeprom;
	f->link = n->link;
	memcpy(f->told, n->told, NET_MAC);
	f->sending = n->sending;
}

static void fields_commit(struct i82540em *n, const struct nic_fields *f)
{
	struct e1000_eeprom own = n->eeprom;

	memcpy(n->reg, f->reg, sizeof(n->reg));
	memcpy(n->address, f->address, sizeof(n->address));
	memcpy(n->multicast, f->multicast, sizeof(n->multicast));
	memcpy(n->vlan, f->vlan, sizeof(n->vlan));
	memcpy(n->statistic, f->statistic, sizeof(n->statistic));
	n->io_address = f->io_address;
	memcpy(n->phy, f->phy, sizeof(n->phy));
	n->eeprom = f->eeprom;
	memcpy(n->eeprom.word, own.word, sizeof(own.word));
	n->link = f->link;
	memcpy(n->told, f->told, NET_MAC);
	n->sending = f->sending;
	n->receiving.held = 0;
	e1000_link_update(n);
	e1000_interrupt_update(n);
}

void e1000_state(struct i82540em *n, struct codec *c)
{
	struct nic_fields *f = calloc(1, sizeof(*f));

	if (!f) {
		codec_fail(c, -ENOMEM, NULL, "out of memory");
		return;
	}
	pthread_mutex_lock(&n->lock);
	if (!codec_loading(c))
		fields_get(n, f);
	fields_code(f, n->pci.slot, c);
	if (codec_loading(c) && codec_good(c))
		fields_commit(n, f);
	pthread_mutex_unlock(&n->lock);
	free(f);
}
