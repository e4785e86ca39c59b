/* SPDX-License-Identifier: MIT */
/*
 * ACPI tables, one function each. Offsets are written as numbers beside their names in the ACPI
 * specification 6.4: 5.2.5 RSDP, 5.2.8 XSDT, 5.2.9 FADT, 5.2.10 FACS, 5.2.12 MADT; MCFG is the PCI
 * firmware specification 3.2, 4.1.2.
 */
#include "vmm/boot/acpi.h"

#include <errno.h>
#include <string.h>

#include "vmm/base/bytes.h"
#include "vmm/base/checked.h"

#include "vmm/boot/dsdt.hex" /* dsdt_aml_code[], made by iasl from dsdt.asl */

#define HEADER_SIZE 36u
#define RSDP_SIZE   36u
#define FACS_SIZE   64u
#define FADT_SIZE   276u
#define TABLES_MAX  8u
#define TABLE_ALIGN 64u

struct writer {
	struct guest_memory *memory;
	uint64_t at, end;
	unsigned count;
	uint64_t table[TABLES_MAX]; /* what the XSDT lists */
};

/* Zeroed room for a table, or NULL. Tables are small and few: room is checked once here. */
static uint8_t *table_open(struct writer *w, uint64_t size, uint64_t *address)
{
	uint8_t *table;

	w->at = align_up(w->at, TABLE_ALIGN);
	if (!range_within(w->at, size, 0, w->end))
		return NULL;
	table = memory_at_write(w->memory, w->at, size);
	if (!table)
		return NULL;
	memset(table, 0, size);
	*address = w->at;
	w->at += size;
	return table;
}

static uint8_t checksum(const uint8_t *bytes, size_t size)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < size; i++)
		sum = (uint8_t)(sum + bytes[i]);
	return (uint8_t)-sum;
}

/* 5.2.6: the header, and with the checksum in it the table is done. */
static void table_close(uint8_t *table, uint32_t size, const char *signature, uint8_t revision)
{
	memcpy(table, signature, 4);
	le32_put(table + 4, size);
	table[8] = revision;
	memcpy(table + 10, "LODGE ", 6);
	memcpy(table + 16, "LODGEVM ", 8);
	le32_put(table + 24, 1);
	memcpy(table + 28, "LODG", 4);
	le32_put(table + 32, 1);
	table[9] = 0;
	table[9] = checksum(table, size);
}

/* 5.2.3.2, Generic Address Structure: an I/O port of `width` bits. */
static void port_put(uint8_t *at, uint16_t port, uint8_t width)
{
	at[0] = 1; /* system I/O */
	at[1] = width;
	at[3] = width == 8 ? 1 : width == 16 ? 2 : 3; /* access size */
	le64_put(at + 4, port);
}

static int dsdt_write(struct writer *w, uint64_t *address)
{
	uint8_t *table = table_open(w, sizeof(dsdt_aml_code), address);

	if (!table)
		return -ENOSPC;
	memcpy(table, dsdt_aml_code, sizeof(dsdt_aml_code));
	return 0;
}

static int facs_write(struct writer *w, uint64_t *address)
{
	uint8_t *facs = table_open(w, FACS_SIZE, address);

	if (!facs)
		return -ENOSPC;
	memcpy(facs, "FACS", 4);
	le32_put(facs + 4, FACS_SIZE);
	facs[32] = 2; /* version */
	return 0;
}

static int fadt_write(struct writer *w, const struct acpi_board *board, uint64_t facs,
		      uint64_t dsdt)
{
	/* WBINVD, PROC_C1, SLP_BUTTON (there is none), FIX_RTC (none), TMR_VAL_EXT, RESET_REG_SUP
	 */
	const uint32_t flags = 1u << 0 | 1u << 2 | 1u << 5 | 1u << 6 | 1u << 8 | 1u << 10;
	/* VGA and the 8042 are absent, so a kernel need not look for them (5.2.9.3). */
	const uint16_t boot_flags = 1u << 2;
	uint8_t *fadt = table_open(w, FADT_SIZE, &w->table[w->count]);

	if (!fadt)
		return -ENOSPC;
	w->count++;
	le32_put(fadt + 36, (uint32_t)facs);
	le32_put(fadt + 40, (uint32_t)dsdt);
	le16_put(fadt + 46, board->sci_irq);
	le32_put(fadt + 56, board->pm_event_port);
	le32_put(fadt + 64, board->pm_control_port);
	le32_put(fadt + 76, board->pm_timer_port);
	le32_put(fadt + 80, board->gpe_port);
	fadt[88] = 4;                /* PM1_EVT_LEN */
	fadt[89] = 2;                /* PM1_CNT_LEN */
	fadt[91] = 4;                /* PM_TMR_LEN */
	fadt[92] = 2;                /* GPE0_BLK_LEN: eight events */
	le16_put(fadt + 96, 0xffff); /* P_LVL2_LAT: no C2 */
	le16_put(fadt + 98, 0xffff); /* P_LVL3_LAT: no C3 */
	le16_put(fadt + 109, boot_flags);
	le32_put(fadt + 112, flags);
	port_put(fadt + 116, board->reset_port, 8);
	fadt[128] = board->reset_value;
	fadt[131] = 4; /* FADT minor version */
	le64_put(fadt + 140, dsdt);
	port_put(fadt + 148, board->pm_event_port, 32);
	port_put(fadt + 172, board->pm_control_port, 16);
	port_put(fadt + 208, board->pm_timer_port, 32);
	port_put(fadt + 220, board->gpe_port, 16);
	memcpy(fadt + 268, "LODGE", 5); /* hypervisor vendor identity */
	table_close(fadt, FADT_SIZE, "FACP", 6);
	return 0;
}

static uint8_t *madt_lapic(uint8_t *at, unsigned id)
{
	at[0] = 0; /* processor local APIC */
	at[1] = 8;
	at[2] = (uint8_t)id;
	at[3] = (uint8_t)id;
	le32_put(at + 4, 1); /* enabled */
	return at + 8;
}

static int madt_write(struct writer *w, const struct acpi_board *board)
{
	uint32_t size = HEADER_SIZE + 8 + 8 * board->vcpus + 12 + 10 + 6;
	uint8_t *madt = table_open(w, size, &w->table[w->count]);
	uint8_t *at;

	if (!madt)
		return -ENOSPC;
	w->count++;
	le32_put(madt + 36, (uint32_t)board->lapic_base);
	le32_put(madt + 40, 1); /* PCAT_COMPAT: there are 8259s as well */
	at = madt + HEADER_SIZE + 8;
	for (unsigned i = 0; i < board->vcpus; i++)
		at = madt_lapic(at, i);
	at[0] = 1; /* I/O APIC, GSIs from 0 */
	at[1] = 12;
	at[2] = (uint8_t)board->vcpus;
	le32_put(at + 4, (uint32_t)board->ioapic_base);
	at += 12;
	at[0] = 2; /* interrupt source override: the SCI is level-triggered, active high */
	at[1] = 10;
	at[3] = board->sci_irq;
	le32_put(at + 4, board->sci_irq);
	le16_put(at + 8, 0xd);
	at += 10;
	at[0] = 4; /* local APIC NMI: LINT1 of all processors */
	at[1] = 6;
	at[2] = 0xff;
	at[5] = 1;
	table_close(madt, size, "APIC", 5);
	return 0;
}

static int mcfg_write(struct writer *w, const struct acpi_board *board)
{
	const uint32_t size = HEADER_SIZE + 8 + 16;
	uint8_t *mcfg = table_open(w, size, &w->table[w->count]);

	if (!mcfg)
		return -ENOSPC;
	w->count++;
	le64_put(mcfg + 44, board->ecam_base);
	mcfg[55] = (uint8_t)((board->ecam_size >> 20) - 1); /* the last bus */
	table_close(mcfg, size, "MCFG", 1);
	return 0;
}

static int xsdt_write(struct writer *w, uint64_t *address)
{
	uint32_t size = HEADER_SIZE + 8 * w->count;
	uint8_t *xsdt = table_open(w, size, address);

	if (!xsdt)
		return -ENOSPC;
	for (unsigned i = 0; i < w->count; i++)
		le64_put(xsdt + HEADER_SIZE + 8 * (size_t)i, w->table[i]);
	table_close(xsdt, size, "XSDT", 1);
	return 0;
}

static void rsdp_fill(uint8_t *rsdp, uint64_t xsdt)
{
	memcpy(rsdp, "RSD PTR ", 8);
	memcpy(rsdp + 9, "LODGE ", 6);
	rsdp[15] = 2; /* revision */
	le32_put(rsdp + 20, RSDP_SIZE);
	le64_put(rsdp + 24, xsdt);
	rsdp[8] = checksum(rsdp, 20);
	rsdp[32] = checksum(rsdp, RSDP_SIZE);
}

int acpi_write(const struct acpi_board *board, struct guest_memory *memory, uint64_t at,
	       uint64_t room, uint64_t *rsdp, struct error *err)
{
	struct writer w = {.memory = memory, .at = at, .end = at + room};
	uint64_t dsdt = 0, facs = 0, xsdt = 0;
	/* First, so that a kernel that searches finds it at the range's start. */
	uint8_t *root = table_open(&w, RSDP_SIZE, rsdp);

	if (!root || dsdt_write(&w, &dsdt) || facs_write(&w, &facs) ||
	    fadt_write(&w, board, facs, dsdt) || madt_write(&w, board) || mcfg_write(&w, board) ||
	    xsdt_write(&w, &xsdt))
		return error_set(err, -ENOSPC, NULL, "ACPI tables do not fit into %llu bytes",
				 (unsigned long long)room);
	rsdp_fill(root, xsdt);
	memory_write(memory, board->generation_base, board->generation, ACPI_GENERATION_SIZE);
	return 0;
}
