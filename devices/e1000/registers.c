/* SPDX-License-Identifier: MIT */
/*
 * The registers as a table: where they are (317453, 13.2), which bits a driver may write, what is
 * there after a reset, and what happens besides. What is in no line reads as zeroes.
 */
#include "devices/e1000/e1000_impl.h"
#include "vmm/base/checked.h"

#define OFFSET_STATUS     0x0008u
#define OFFSET_STATISTICS 0x4000u
#define OFFSET_MULTICAST  0x5200u
#define OFFSET_ADDRESS    0x5400u
#define OFFSET_VLAN       0x5600u

struct e1000_register {
	uint32_t offset;
	enum e1000_index at;
	uint32_t writable, initial;
	uint32_t (*read)(struct i82540em *n);              /* optional */
	void (*write)(struct i82540em *n, uint32_t value); /* optional: instead */
};

static void ctrl_write(struct i82540em *n, uint32_t value)
{
	if (value & CTRL_RESET) {
		e1000_registers_reset(n);
		return;
	}
	n->reg[E1000_CTRL] = value & 0xfbfffff9u & ~CTRL_PHY_RESET;
	if (value & CTRL_PHY_RESET)
		e1000_phy_reset(n);
	e1000_link_update(n);
}

static uint32_t eecd_read(struct i82540em *n)
{
	uint32_t value = n->reg[E1000_EECD] | EECD_PRESENT | e1000_eeprom_wires(n);

	return value & EECD_REQUEST ? value | EECD_GRANT : value;
}

static void eecd_write(struct i82540em *n, uint32_t value)
{
	uint32_t old = n->reg[E1000_EECD];

	n->reg[E1000_EECD] = value & (EECD_CLOCK | EECD_SELECT | EECD_IN | EECD_REQUEST | 0x30);
	e1000_eeprom_clock(n, old, value);
}

/* 13.4.4: the word is there at once. */
static void eerd_write(struct i82540em *n, uint32_t value)
{
	n->reg[E1000_EERD] = value & 0xff00;
	if (value & EERD_START)
		n->reg[E1000_EERD] |= EERD_DONE | (uint32_t)e1000_eeprom_read(n, value >> 8 & 0xff)
							  << 16;
}

static void mdic_write(struct i82540em *n, uint32_t value)
{
	n->reg[E1000_MDIC] = e1000_phy_access(n, value);
}

/* 13.4.17: who reads takes note of all. */
static uint32_t icr_read(struct i82540em *n)
{
	uint32_t causes = n->reg[E1000_ICR];

	n->reg[E1000_ICR] = 0;
	e1000_interrupt_update(n);
	return causes;
}

static void icr_write(struct i82540em *n, uint32_t value)
{
	n->reg[E1000_ICR] &= ~value;
	e1000_interrupt_update(n);
}

static uint32_t zero_read(struct i82540em *n)
{
	(void)n;
	return 0;
}

static void ics_write(struct i82540em *n, uint32_t value)
{
	e1000_interrupt(n, value & CAUSES);
}

static void ims_write(struct i82540em *n, uint32_t value)
{
	n->reg[E1000_IMS] |= value & CAUSES;
	e1000_interrupt_update(n);
}

static void imc_write(struct i82540em *n, uint32_t value)
{
	n->reg[E1000_IMS] &= ~value;
	e1000_interrupt_update(n);
}

/* What the thread looks at. */
static void rctl_write(struct i82540em *n, uint32_t value)
{
	n->reg[E1000_RCTL] = value & 0x07fffffe;
	e1000_kick(n);
}

static void tctl_write(struct i82540em *n, uint32_t value)
{
	n->reg[E1000_TCTL] = value & 0x01fffffa;
	e1000_kick(n);
}

static void rdt_write(struct i82540em *n, uint32_t value)
{
	n->reg[E1000_RDT] = value & 0xffff;
	e1000_kick(n);
}

static void tdt_write(struct i82540em *n, uint32_t value)
{
	n->reg[E1000_TDT] = value & 0xffff;
	e1000_kick(n);
}

#define ALL 0xffffffffu

/* Those that a busy driver uses come first. */
static const struct e1000_register registers[] = {
	{0x00c0, E1000_ICR, 0, 0, icr_read, icr_write},
	{0x00d0, E1000_IMS, 0, 0, NULL, ims_write},
	{0x00d8, E1000_IMS, 0, 0, zero_read, imc_write},
	{0x3818, E1000_TDT, 0, 0, NULL, tdt_write},
	{0x2818, E1000_RDT, 0, 0, NULL, rdt_write},
	{0x00c4, E1000_ITR, 0xffff, 0, NULL, NULL},
	{0x0000, E1000_CTRL, 0, 0x00000201, NULL, ctrl_write},
	{0x0004, E1000_CTRL, 0, 0x00000201, NULL, ctrl_write}, /* the same once more */
	{0x0010, E1000_EECD, 0, 0x00000010, eecd_read, eecd_write},
	{0x0014, E1000_EERD, 0, 0, NULL, eerd_write},
	{0x0018, E1000_CTRL_EXT, 0x00c1cffc, 0, NULL, NULL},
	{0x0020, E1000_MDIC, 0, MDIC_READY, NULL, mdic_write},
	{0x0028, E1000_FCAL, ALL, 0x00c28001, NULL, NULL},
	{0x002c, E1000_FCAH, 0xffff, 0x0100, NULL, NULL},
	{0x0030, E1000_FCT, 0xffff, 0x8808, NULL, NULL},
	{0x0038, E1000_VET, 0xffff, 0x8100, NULL, NULL},
	{0x00c8, E1000_ICR, 0, 0, zero_read, ics_write},
	{0x0100, E1000_RCTL, 0, 0, NULL, rctl_write},
	{0x0170, E1000_FCTTV, 0xffff, 0, NULL, NULL},
	{0x0178, E1000_TXCW, ALL, 0, NULL, NULL},
	{0x0400, E1000_TCTL, 0, 0, NULL, tctl_write},
	{0x0410, E1000_TIPG, 0x3fffffff, 0x00602008, NULL, NULL},
	{0x0458, E1000_AIT, 0xffff, 0, NULL, NULL},
	{0x0e00, E1000_LEDCTL, ALL, 0x07061302, NULL, NULL},
	{0x1000, E1000_PBA, 0xffff, 0x00100030, NULL, NULL},
	{0x2160, E1000_FCRTL, 0x8000fff8, 0, NULL, NULL},
	{0x2168, E1000_FCRTH, 0x0000fff8, 0, NULL, NULL},
	{0x2800, E1000_RDBAL, 0xfffffff0, 0, NULL, NULL},
	{0x2804, E1000_RDBAH, ALL, 0, NULL, NULL},
	{0x2808, E1000_RDLEN, 0x000fff80, 0, NULL, NULL},
	{0x2810, E1000_RDH, 0xffff, 0, NULL, NULL},
	{0x2820, E1000_RDTR, 0xffff, 0, NULL, NULL},
	{0x2828, E1000_RXDCTL, 0x013f3f3f, 0x00010000, NULL, NULL},
	{0x282c, E1000_RADV, 0xffff, 0, NULL, NULL},
	{0x2c00, E1000_RSRPD, 0x0fff, 0, NULL, NULL},
	{0x3000, E1000_TXDMAC, 1, 0, NULL, NULL},
	{0x3800, E1000_TDBAL, 0xfffffff0, 0, NULL, NULL},
	{0x3804, E1000_TDBAH, ALL, 0, NULL, NULL},
	{0x3808, E1000_TDLEN, 0x000fff80, 0, NULL, NULL},
	{0x3810, E1000_TDH, 0xffff, 0, NULL, NULL},
	{0x3820, E1000_TIDV, 0xffff, 0, NULL, NULL},
	{0x3828, E1000_TXDCTL, 0xff3f3f3f, 0, NULL, NULL},
	{0x382c, E1000_TADV, 0xffff, 0, NULL, NULL},
	{0x3830, E1000_TSPMT, ALL, 0x01000400, NULL, NULL},
	{0x5000, E1000_RXCSUM, 0x07ff, 0, NULL, NULL},
	{0x5800, E1000_WUC, 0x000f, 0, NULL, NULL},
	{0x5808, E1000_WUFC, 0x000f80ff, 0, NULL, NULL},
	{0x5820, E1000_MANC, 0x0f7f5f13, 0, NULL, NULL},
	{0x5838, E1000_IPAV, 0x0001000f, 0, NULL, NULL},
};

static const struct e1000_register *register_find(uint32_t offset)
{
	for (unsigned i = 0; i < ARRAY_SIZE(registers); i++)
		if (registers[i].offset == offset)
			return &registers[i];
	return NULL;
}

/* A word of the tables that there are, or NULL. */
static uint32_t *table_find(struct i82540em *n, uint32_t offset)
{
	if (range_within(offset, 4, OFFSET_MULTICAST, sizeof(n->multicast)))
		return &n->multicast[(offset - OFFSET_MULTICAST) / 4];
	if (range_within(offset, 4, OFFSET_ADDRESS, sizeof(n->address)))
		return &n->address[(offset - OFFSET_ADDRESS) / 4];
	if (range_within(offset, 4, OFFSET_VLAN, sizeof(n->vlan)))
		return &n->vlan[(offset - OFFSET_VLAN) / 4];
	return NULL;
}

/* 13.7: reading clears; of two words it is the upper one's that does. */
static uint32_t statistic_read(struct i82540em *n, unsigned at)
{
	uint32_t value = n->statistic[at];
	bool low = at == COUNT_RECEIVED_BYTES || at == COUNT_SENT_BYTES ||
		   at == COUNT_ALL_RECEIVED_BYTES || at == COUNT_ALL_SENT_BYTES;
	bool high = at == COUNT_RECEIVED_BYTES + 1 || at == COUNT_SENT_BYTES + 1 ||
		    at == COUNT_ALL_RECEIVED_BYTES + 1 || at == COUNT_ALL_SENT_BYTES + 1;

	if (!low)
		n->statistic[at] = 0;
	if (high)
		n->statistic[at - 1] = 0;
	return value;
}

static uint32_t status_read(const struct i82540em *n)
{
	bool up = n->link && n->reg[E1000_CTRL] & CTRL_LINK_UP;

	return STATUS_1000 | STATUS_DUPLEX | (up ? STATUS_LINK : 0);
}

static uint32_t read_locked(struct i82540em *n, uint32_t offset)
{
	const struct e1000_register *r = register_find(offset);
	const uint32_t *table;

	if (r)
		return r->read ? r->read(n) : n->reg[r->at];
	if (offset == OFFSET_STATUS)
		return status_read(n);
	if (range_within(offset, 4, OFFSET_STATISTICS, sizeof(n->statistic)))
		return statistic_read(n, (offset - OFFSET_STATISTICS) / 4);
	table = table_find(n, offset);
	return table ? *table : 0;
}

static void write_locked(struct i82540em *n, uint32_t offset, uint32_t value)
{
	const struct e1000_register *r = register_find(offset);
	uint32_t *table = table_find(n, offset);

	if (r && r->write)
		r->write(n, value);
	else if (r)
		n->reg[r->at] = (n->reg[r->at] & ~r->writable) | (value & r->writable);
	else if (table)
		*table = value;
}

uint32_t e1000_register_read(struct i82540em *n, uint32_t offset)
{
	uint32_t value;

	pthread_mutex_lock(&n->lock);
	value = read_locked(n, offset);
	pthread_mutex_unlock(&n->lock);
	return value;
}

void e1000_register_write(struct i82540em *n, uint32_t offset, uint32_t value)
{
	pthread_mutex_lock(&n->lock);
	write_locked(n, offset, value);
	pthread_mutex_unlock(&n->lock);
}

/* 14.3, and the address comes from the EEPROM. */
void e1000_registers_reset(struct i82540em *n)
{
	for (unsigned i = 0; i < ARRAY_SIZE(registers); i++)
		n->reg[registers[i].at] = registers[i].initial;
	memset(n->address, 0, sizeof(n->address));
	memset(n->multicast, 0, sizeof(n->multicast));
	memset(n->vlan, 0, sizeof(n->vlan));
	memset(n->statistic, 0, sizeof(n->statistic));
	for (unsigned i = 0; i < NET_MAC; i++)
		n->address[i / 4] |= (uint32_t)n->mac[i] << 8 * (i % 4);
	n->address[1] |= ADDRESS_VALID;
	n->receiving.held = 0;
	n->quiet_until = 0;
	n->interrupt_waits = false;
	e1000_eeprom_clock(n, 0, 0);
	e1000_transmit_reset(n);
	e1000_interrupt_update(n);
}
