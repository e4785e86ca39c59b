/* SPDX-License-Identifier: MIT */
/* The interpreter knows all that the decoder does: nothing a guest runs is without a handler. */
#include "tests/unit/unit.h"

#include "vmm/bt/interp.h"
#include "vmm/bt/opcode.h"

static void every_row_has_a_handler(void **state)
{
	static const struct opcode_table *const tables[] = {&opcodes_integer, &opcodes_vector_0f,
							    &opcodes_vector_0f38};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(tables); i++)
		for (unsigned k = 0; k < tables[i]->count; k++)
			if (!interp_has(tables[i]->rows[k].id))
				fail_msg("map %u, code %02x", tables[i]->rows[k].map,
					 tables[i]->rows[k].code);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_has_a_handler),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
