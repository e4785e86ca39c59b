/* SPDX-License-Identifier: MIT */
/* What the tables of vector instructions are written with. */
#ifndef VMM_BT_OPCODE_VECTOR_H
#define VMM_BT_OPCODE_VECTOR_H

#include "vmm/bt/opcode.h"

#define ROW(map, code, id, match, read, written, attributes, ...)                                  \
	{                                                                                          \
		INSN_MAP_##map, code, id, match, {__VA_ARGS__}, read, written, attributes          \
	}
#define V(map, code, match, attributes, ...)                                                       \
	ROW(map, code, INSN_NATIVE, match, 0, 0, attributes, __VA_ARGS__)
#define VI(map, code, id, match, attributes, ...)                                                  \
	ROW(map, code, id, match, 0, 0, attributes, __VA_ARGS__)
#define VF(map, code, match, read, written, attributes, ...)                                       \
	ROW(map, code, INSN_NATIVE, match, read, written, attributes, __VA_ARGS__)

#define FLAGS (FLAG_C | FLAG_P | FLAG_A | FLAG_Z | FLAG_S | FLAG_O)
#define A_MZ  (A_MASK | A_Z)

#endif
