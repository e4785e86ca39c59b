/* SPDX-License-Identifier: MIT */
/* The registers of a 82540EM that mean something here (317453, 13). */
#ifndef DEVICES_E1000_REGISTERS_H
#define DEVICES_E1000_REGISTERS_H

/* Where they are kept; registers.c has their offsets. Low and high halves follow each other. */
enum e1000_index {
	E1000_CTRL,
	E1000_EECD,
	E1000_EERD,
	E1000_CTRL_EXT,
	E1000_MDIC,
	E1000_FCAL,
	E1000_FCAH,
	E1000_FCT,
	E1000_VET,
	E1000_ICR,
	E1000_ITR,
	E1000_IMS,
	E1000_RCTL,
	E1000_FCTTV,
	E1000_TXCW,
	E1000_TCTL,
	E1000_TIPG,
	E1000_AIT,
	E1000_LEDCTL,
	E1000_PBA,
	E1000_FCRTL,
	E1000_FCRTH,
	E1000_RDBAL,
	E1000_RDBAH,
	E1000_RDLEN,
	E1000_RDH,
	E1000_RDT,
	E1000_RDTR,
	E1000_RXDCTL,
	E1000_RADV,
	E1000_RSRPD,
	E1000_TXDMAC,
	E1000_TDBAL,
	E1000_TDBAH,
	E1000_TDLEN,
	E1000_TDH,
	E1000_TDT,
	E1000_TIDV,
	E1000_TXDCTL,
	E1000_TADV,
	E1000_TSPMT,
	E1000_RXCSUM,
	E1000_WUC,
	E1000_WUFC,
	E1000_IPAV,
	E1000_MANC,
	E1000_REGISTERS,
};

#define ADDRESS_WORDS 32u  /* RAL and RAH in turn */
#define TABLE_WORDS   128u /* MTA, VFTA */
#define STATISTICS    64u  /* from 4000h on */
#define DESCRIPTOR    16u  /* bytes */

#define CTRL_LINK_UP   0x00000040u /* SLU */
#define CTRL_RESET     0x04000000u
#define CTRL_VLAN      0x40000000u /* VME */
#define CTRL_PHY_RESET 0x80000000u

#define STATUS_DUPLEX 0x00000001u
#define STATUS_LINK   0x00000002u
#define STATUS_1000   0x00000080u

#define EECD_CLOCK   0x001u
#define EECD_SELECT  0x002u
#define EECD_IN      0x004u
#define EECD_OUT     0x008u
#define EECD_REQUEST 0x040u
#define EECD_GRANT   0x080u
#define EECD_PRESENT 0x100u

#define EERD_START 0x01u
#define EERD_DONE  0x10u

#define MDIC_WRITE     0x04000000u
#define MDIC_READ      0x08000000u
#define MDIC_READY     0x10000000u
#define MDIC_INTERRUPT 0x20000000u
#define MDIC_ERROR     0x40000000u

#define CAUSE_SENT         0x00001u /* TXDW */
#define CAUSE_SEND_EMPTY   0x00002u /* TXQE */
#define CAUSE_LINK         0x00004u /* LSC */
#define CAUSE_RECEIVE_LOW  0x00010u /* RXDMT0 */
#define CAUSE_RECEIVE_OVER 0x00040u /* RXO */
#define CAUSE_RECEIVED     0x00080u /* RXT0 */
#define CAUSE_PHY          0x00200u /* MDAC */
#define CAUSES             0x1ffffu

#define RCTL_ENABLE        0x00000002u
#define RCTL_ALL_UNICAST   0x00000008u
#define RCTL_ALL_MULTICAST 0x00000010u
#define RCTL_LONG          0x00000020u
#define RCTL_BROADCAST     0x00008000u
#define RCTL_VLAN_FILTER   0x00040000u
#define RCTL_SIZE_TIMES_16 0x02000000u /* BSEX */
#define RCTL_STRIP_CRC     0x04000000u

#define TCTL_ENABLE 0x00000002u
#define TCTL_PAD    0x00000008u

#define RXCSUM_IP  0x100u
#define RXCSUM_TCP 0x200u

/* Status and errors of a received frame (3.2.3). */
#define RECEIVED_DONE      0x01
#define RECEIVED_END       0x02
#define RECEIVED_UNCHECKED 0x04 /* IXSM */
#define RECEIVED_TAG       0x08 /* VP */
#define RECEIVED_TCP       0x20
#define RECEIVED_IP        0x40
#define RECEIVED_INEXACT   0x80 /* PIF */
#define RECEIVED_TCP_BAD   0x20
#define RECEIVED_IP_BAD    0x40

#define ADDRESS_VALID 0x80000000u /* in RAH */

/* Statistics, by their place (13.7). */
enum {
	COUNT_MISSED = 0x10 / 4,         /* MPC */
	COUNT_RECEIVED_64 = 0x5c / 4,    /* PRC64, and five more sizes */
	COUNT_RECEIVED = 0x74 / 4,       /* GPRC, BPRC, MPRC */
	COUNT_SENT = 0x80 / 4,           /* GPTC */
	COUNT_RECEIVED_BYTES = 0x88 / 4, /* GORCL, GORCH */
	COUNT_SENT_BYTES = 0x90 / 4,
	COUNT_NO_BUFFER = 0xa0 / 4, /* RNBC */
	COUNT_OVERSIZE = 0xac / 4,  /* ROC */
	COUNT_ALL_RECEIVED_BYTES = 0xc0 / 4,
	COUNT_ALL_SENT_BYTES = 0xc8 / 4,
	COUNT_ALL_RECEIVED = 0xd0 / 4,
	COUNT_ALL_SENT = 0xd4 / 4,
	COUNT_SENT_64 = 0xd8 / 4,
	COUNT_SENT_MULTICAST = 0xf0 / 4,
	COUNT_SENT_BROADCAST = 0xf4 / 4,
	COUNT_CUT = 0xf8 / 4, /* TSCTC */
};

#endif
