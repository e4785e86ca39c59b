/* SPDX-License-Identifier: MIT */
/*
 * The internal PHY, which is a 88E1000: its registers by the management interface (317453, 13.4.4;
 * IEEE 802.3, 22.2.4). It always finds a partner of 1000 Mb/s in full duplex, as soon as there is a
 * cable and it is powered.
 */
#include "devices/e1000/e1000_impl.h"

#define OWN_ADDRESS 1u

enum {
	PHY_CONTROL = 0,
	PHY_STATUS = 1,
	PHY_ID_1 = 2,
	PHY_ID_2 = 3,
	PHY_ADVERTISED = 4,
	PHY_PARTNER = 5,
	PHY_EXPANSION = 6,
	PHY_GIGABIT_CONTROL = 9,
	PHY_GIGABIT_STATUS = 10,
	PHY_EXTENDED_STATUS = 15,
	PHY_SPECIFIC_STATUS = 17,
};

#define CONTROL_RESTART 0x0200
#define CONTROL_POWER   0x0800 /* down */
#define CONTROL_RESET   0x8000

/* What may be written, and what is there at first. */
static const struct {
	uint16_t writable, initial;
} registers[PHY_COUNT] = {
	[PHY_CONTROL] = {0x7dc0, 0x1140},
	[PHY_ID_1] = {0, 0x0141},
	[PHY_ID_2] = {0, 0x0c20},
	[PHY_ADVERTISED] = {0xafff, 0x0de1},
	[7] = {0xffff, 0x2001},
	[PHY_GIGABIT_CONTROL] = {0xff00, 0x0300},
	[PHY_EXTENDED_STATUS] = {0, 0x3000},
	[16] = {0xffff, 0x0360},
	[18] = {0xffff, 0},
	[20] = {0xffff, 0x0d60},
	[24] = {0xffff, 0x4100},
	[29] = {0xffff, 0},
	[30] = {0xffff, 0},
};

static bool is_powered(const struct i82540em *n)
{
	return !(n->phy[PHY_CONTROL] & CONTROL_POWER);
}

/* Those that tell how the link is. */
static uint16_t phy_read(const struct i82540em *n, unsigned reg)
{
	switch (reg) {
	case PHY_STATUS:
		return n->link ? 0x796d : 0x7949;
	case PHY_PARTNER:
		return n->link ? 0x45e1 : 0;
	case PHY_EXPANSION:
		return n->link ? 0x000f : 0x0004;
	case PHY_GIGABIT_STATUS:
		return n->link ? 0x3800 : 0;
	case PHY_SPECIFIC_STATUS:
		return n->link ? 0xac00 : 0x8000;
	default:
		return n->phy[reg];
	}
}

void e1000_phy_reset(struct i82540em *n)
{
	for (unsigned i = 0; i < PHY_COUNT; i++)
		n->phy[i] = registers[i].initial;
}

void e1000_link_update(struct i82540em *n)
{
	bool link = n->cable && !n->lost && is_powered(n);

	if (link == n->link)
		return;
	n->link = link;
	e1000_interrupt(n, CAUSE_LINK);
}

static void phy_write(struct i82540em *n, unsigned reg, uint16_t value)
{
	uint16_t mask = registers[reg].writable;

	if (reg == PHY_CONTROL && value & CONTROL_RESET)
		e1000_phy_reset(n);
	else
		n->phy[reg] = (uint16_t)((n->phy[reg] & ~mask) | (value & mask));
	if (reg != PHY_CONTROL)
		return;
	e1000_link_update(n);
	/* Who negotiates anew finds the same, at once. */
	if (value & (CONTROL_RESTART | CONTROL_RESET) && n->link)
		e1000_interrupt(n, CAUSE_LINK);
}

uint32_t e1000_phy_access(struct i82540em *n, uint32_t command)
{
	unsigned address = command >> 21 & 31, reg = command >> 16 & 31;
	uint32_t value = (command & ~MDIC_ERROR) | MDIC_READY;

	if (address != OWN_ADDRESS)
		value |= MDIC_ERROR;
	else if (command & MDIC_WRITE)
		phy_write(n, reg, (uint16_t)command);
	else if (command & MDIC_READ)
		value = (value & 0xffff0000) | phy_read(n, reg);
	if (command & MDIC_INTERRUPT)
		e1000_interrupt(n, CAUSE_PHY);
	return value;
}
