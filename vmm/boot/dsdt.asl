/* SPDX-License-Identifier: MIT */
/*
 * What cannot be found by looking: the PCI root, its windows and interrupt lines, the legacy
 * devices, the VM generation ID and the state that means power-off. Addresses are those of vmm/machine/board.h; a unit
 * test holds the two against each other.
 */
DefinitionBlock ("dsdt.aml", "DSDT", 2, "LODGE ", "LODGEVM ", 1)
{
	/* S5, soft off: SLP_TYP 5 for PM1a_CNT. */
	Name (\_S5, Package () { 5, 0, 0, 0 })

	Scope (\_SB)
	{
		Device (PCI0)
		{
			Name (_HID, EisaId ("PNP0A08"))
			Name (_CID, EisaId ("PNP0A03"))
			Name (_UID, 0)
			Name (_SEG, 0)
			Name (_BBN, 0)
			Name (_CRS, ResourceTemplate ()
			{
				WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
					0, 0, 0, 0, 1)
				IO (Decode16, 0xcf8, 0xcf8, 1, 8)
				WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode,
					EntireRange, 0, 0x0000, 0x0cf7, 0, 0x0cf8)
				WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode,
					EntireRange, 0, 0x0d00, 0xffff, 0, 0xf300)
				DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed,
					NonCacheable, ReadWrite,
					0, 0xc0000000, 0xdfffffff, 0, 0x20000000)
			})
			/* INTA of slot n is I/O APIC pin 16 + n % 8. */
			Name (_PRT, Package ()
			{
				Package () { 0x0001ffff, 0, 0, 17 }, Package () { 0x0002ffff, 0, 0, 18 },
				Package () { 0x0003ffff, 0, 0, 19 }, Package () { 0x0004ffff, 0, 0, 20 },
				Package () { 0x0005ffff, 0, 0, 21 }, Package () { 0x0006ffff, 0, 0, 22 },
				Package () { 0x0007ffff, 0, 0, 23 }, Package () { 0x0008ffff, 0, 0, 16 },
				Package () { 0x0009ffff, 0, 0, 17 }, Package () { 0x000affff, 0, 0, 18 },
				Package () { 0x000bffff, 0, 0, 19 }, Package () { 0x000cffff, 0, 0, 20 },
				Package () { 0x000dffff, 0, 0, 21 }, Package () { 0x000effff, 0, 0, 22 },
				Package () { 0x000fffff, 0, 0, 23 }, Package () { 0x0010ffff, 0, 0, 16 },
				Package () { 0x0011ffff, 0, 0, 17 }, Package () { 0x0012ffff, 0, 0, 18 },
				Package () { 0x0013ffff, 0, 0, 19 }, Package () { 0x0014ffff, 0, 0, 20 },
				Package () { 0x0015ffff, 0, 0, 21 }, Package () { 0x0016ffff, 0, 0, 22 },
				Package () { 0x0017ffff, 0, 0, 23 }, Package () { 0x0018ffff, 0, 0, 16 },
				Package () { 0x0019ffff, 0, 0, 17 }, Package () { 0x001affff, 0, 0, 18 },
				Package () { 0x001bffff, 0, 0, 19 }, Package () { 0x001cffff, 0, 0, 20 },
				Package () { 0x001dffff, 0, 0, 21 }, Package () { 0x001effff, 0, 0, 22 },
				Package () { 0x001fffff, 0, 0, 23 }
			})

			/*
			 * A NIC is never taken away, only replaced by another one, which is there as
			 * soon as the guest let the old one go. Each bit is one that was replaced.
			 */
			OperationRegion (REPL, SystemIO, 0x606, 1)
			Field (REPL, ByteAcc, NoLock, WriteAsZeros)
			{
				NICS, 8
			}
			Device (NIC0)
			{
				Name (_ADR, 0x00180000)
				Name (_SUN, 24)
				Method (_EJ0, 1)
				{
					Notify (NIC0, 1)
				}
			}
			Device (NIC1)
			{
				Name (_ADR, 0x00190000)
				Name (_SUN, 25)
				Method (_EJ0, 1)
				{
					Notify (NIC1, 1)
				}
			}
			Device (NIC2)
			{
				Name (_ADR, 0x001a0000)
				Name (_SUN, 26)
				Method (_EJ0, 1)
				{
					Notify (NIC2, 1)
				}
			}
			Device (NIC3)
			{
				Name (_ADR, 0x001b0000)
				Name (_SUN, 27)
				Method (_EJ0, 1)
				{
					Notify (NIC3, 1)
				}
			}
			Device (NIC4)
			{
				Name (_ADR, 0x001c0000)
				Name (_SUN, 28)
				Method (_EJ0, 1)
				{
					Notify (NIC4, 1)
				}
			}
			Device (NIC5)
			{
				Name (_ADR, 0x001d0000)
				Name (_SUN, 29)
				Method (_EJ0, 1)
				{
					Notify (NIC5, 1)
				}
			}
			Device (NIC6)
			{
				Name (_ADR, 0x001e0000)
				Name (_SUN, 30)
				Method (_EJ0, 1)
				{
					Notify (NIC6, 1)
				}
			}
			Device (NIC7)
			{
				Name (_ADR, 0x001f0000)
				Name (_SUN, 31)
				Method (_EJ0, 1)
				{
					Notify (NIC7, 1)
				}
			}
		}

		/* Motherboard resources: the PCI configuration space mapped to memory. */
		Device (MBRD)
		{
			Name (_HID, EisaId ("PNP0C02"))
			Name (_UID, 1)
			Name (_CRS, ResourceTemplate ()
			{
				Memory32Fixed (ReadWrite, 0xe0000000, 0x00100000)
			})
		}

		Device (COM1)
		{
			Name (_HID, EisaId ("PNP0501"))
			Name (_UID, 1)
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x3f8, 0x3f8, 1, 8)
				IRQNoFlags () { 4 }
			})
		}

		Device (RTC0)
		{
			Name (_HID, EisaId ("PNP0B00"))
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x70, 0x70, 1, 2)
				IRQNoFlags () { 8 }
			})
		}

		/* A panicking guest says so here (the pvpanic interface). */
		Device (PEVT)
		{
			Name (_HID, "QEMU0001")
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x505, 0x505, 1, 1)
			})
		}

		/* The VM generation ID: 16 bytes of memory, others after each restore. */
		Device (VGEN)
		{
			Name (_HID, "LODG0001")
			Name (_CID, "VM_Gen_Counter")
			Name (_DDN, "VM_Gen_Counter")
			Name (ADDR, Package () { 0x000fff00, 0 })
		}
	}

	Scope (\_GPE)
	{
		Method (_E00)
		{
			Notify (\_SB.VGEN, 0x80)
		}

		Method (_E01)
		{
			Local0 = \_SB.PCI0.NICS
			\_SB.PCI0.NICS = Local0
			If (Local0 & 0x01) { Notify (\_SB.PCI0.NIC0, 3) }
			If (Local0 & 0x02) { Notify (\_SB.PCI0.NIC1, 3) }
			If (Local0 & 0x04) { Notify (\_SB.PCI0.NIC2, 3) }
			If (Local0 & 0x08) { Notify (\_SB.PCI0.NIC3, 3) }
			If (Local0 & 0x10) { Notify (\_SB.PCI0.NIC4, 3) }
			If (Local0 & 0x20) { Notify (\_SB.PCI0.NIC5, 3) }
			If (Local0 & 0x40) { Notify (\_SB.PCI0.NIC6, 3) }
			If (Local0 & 0x80) { Notify (\_SB.PCI0.NIC7, 3) }
		}
	}
}
