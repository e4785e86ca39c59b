/* SPDX-License-Identifier: MIT */
/*
 * Code for windows keeps the distance that was found for a register while the register stays where
 * it is. Were an instruction to change it unnoticed, the next access would be anywhere in lodge's
 * own memory. So random instructions are put between two accesses by a register: where the second
 * one goes without a look-up, the instruction must not have moved the register farther than may be,
 * and not at all where the sum with another one is kept.
 */
#include "tests/unit/bt_fixture.h"

#include "tests/random.h"
#include "vmm/bt/bt.h"
#include "vmm/bt/code_cache.h"
#include "vmm/bt/interp.h"
#include "vmm/bt/lower.h"

#ifdef __SANITIZE_ADDRESS__
#define INSNS 40000u /* which take as long there */
#else
#define INSNS 400000u
#endif
#define BASE_N (sizeof(bases) / sizeof(bases[0]))

/* Those that the host has in registers of its own. */
static const uint8_t bases[] = {CPU_RAX, CPU_RCX, CPU_RDX, CPU_RBX, CPU_RSP, CPU_RBP, CPU_RSI,
				CPU_RDI, CPU_R8,  CPU_R9,  CPU_R12, CPU_R13, CPU_R14};

static uint64_t random_state = 1;

static uint64_t random_next(void)
{
	return random_step(&random_state);
}

/* Bytes that are an instruction more often than others. */
static void random_bytes(uint8_t bytes[16])
{
	static const uint8_t prefixes[] = {0x66, 0xf2, 0xf3, 0x66, 0x48, 0x49, 0x4c, 0x48};
	static const uint8_t escapes[] = {0x38, 0x3a};
	uint64_t how = random_next();
	unsigned at = 0;

	le64_put(bytes, random_next());
	le64_put(bytes + 8, random_next());
	for (; (how & 1) == 0 && at < 2; how >>= 4)
		bytes[at++] = prefixes[how >> 1 & 7];
	switch (how >> 1 & 7) {
	case 0:
	case 1:
		bytes[at] = 0x0f;
		break;
	case 2:
		bytes[at] = 0x0f;
		bytes[at + 1] = escapes[how >> 4 & 1];
		break;
	case 3:
		bytes[0] = 0xc5;
		break;
	case 4:
		bytes[0] = 0xc4;
		bytes[1] = (uint8_t)((bytes[1] & 0xe0) | (1 + (how >> 4) % 3));
		break;
	default:
		break;
	}
}

/* How an access names a register. */
enum form { FORM_BASE, FORM_BASE_OF_TWO, FORM_INDEX, FORMS };

#define OTHER CPU_R14

/* cmpb $0, (reg), (reg, other, 2) or (other, reg, 2) */
static unsigned put_access(uint8_t *at, enum form form, unsigned reg)
{
	unsigned base = form == FORM_INDEX ? OTHER : reg, index = form == FORM_INDEX ? reg : OTHER;
	uint8_t *begin = at;

	*at++ = (uint8_t)(0x40 | (base & 8 ? 1 : 0) | (form != FORM_BASE && index & 8 ? 2 : 0));
	*at++ = 0x80;
	if (form == FORM_BASE && (base & 7) != CPU_RSP) {
		*at++ = (uint8_t)(0x78 | (base & 7));
	} else {
		*at++ = 0x7c;
		*at++ = (uint8_t)((form == FORM_BASE ? CPU_RSP << 3 : 0x40 | (index & 7) << 3) |
				  (base & 7));
	}
	*at++ = 0;
	*at++ = 0;
	return (unsigned)(at - begin);
}

/* rorx $32, reg, %rcx */
static unsigned count_lookups(const struct code_part *p, unsigned reg, const uint8_t *at)
{
	uint8_t rorx[16];
	struct emit e = {.at = rorx, .end = rorx + sizeof(rorx)};
	unsigned count = 0;

	emit_rorx(&e, GLUE_C, reg, 32, 8);
	for (;;) {
		size_t size = (size_t)(e.at - rorx);

		at = memmem(at, (size_t)(p->used - at), rorx, size);
		if (!at)
			return count;
		at += size;
		count++;
	}
}

/* Two accesses with an instruction between: is the second one done with what the first one found?
 */
static bool is_kept(struct fixture *f, const uint8_t *bytes, unsigned length, enum form form,
		    unsigned reg)
{
	struct code_cache *c = f->vm->code;
	struct block wanted = {.rip = CODE, .gpa = CODE};
	uint8_t page[4096] = {0};
	unsigned at = put_access(page, form, reg), points;
	uint64_t second = CODE + at + length;
	const struct code_part *p;
	uint8_t *begin;

	memcpy(page + at, bytes, length);
	at += length;
	at += put_access(page + at, form, reg);
	page[at] = 0xf4; /* HLT: the line ends */
	if (!code_cache_room(c, 65536)) {
		unsigned full = c->filling;

		code_cache_next_retired(c, full);
		code_cache_advance(c, full);
	}
	p = &c->part[c->filling];
	begin = p->used;
	points = atomic_load(&p->point_count);
	code_cache_drop(c, CODE); /* the one before: all of them hash to one list */
	assert_non_null(translate_block(c, &f->vm->world_code, page, NULL, &wanted, true));
	for (; points < atomic_load(&p->point_count); points++)
		if (p->points[points].rip == second)
			return count_lookups(p, form == FORM_BASE ? host_of(reg) : GLUE_T, begin) <
			       2;
	return false;
}

static void registers_make(struct fixture *f, uint64_t before[CPU_GPRS])
{
	for (unsigned i = 0; i < CPU_GPRS; i++)
		f->cpu->gpr[i] = random_next() >> (random_next() & 63);
	/* Something for memory operands. */
	for (unsigned i = 0; i < 4; i++)
		f->cpu->gpr[random_next() % CPU_GPRS] = DATA + (random_next() & 0xffff);
	f->cpu->gpr[CPU_RSP] = DATA + 0x8000;
	memcpy(before, f->cpu->gpr, sizeof(f->cpu->gpr));
}

static void describe(const uint8_t *bytes, unsigned length, enum form form, unsigned reg)
{
	print_error("register %u moves unnoticed (form %u):", reg, form);
	for (unsigned i = 0; i < length; i++)
		print_error(" %02x", bytes[i]);
	print_error("\n");
}

static void what_moves_a_register_is_noticed(void **state)
{
	/* Here, as its signal handlers are to be in place of cmocka's. */
	struct fixture *f = bt_fixture_create(TRANSLATION_TLB);
	struct error err = {0};
	unsigned far = 0, moved = 0, wrong = 0;

	(void)state;
	for (unsigned i = 0; i < INSNS; i++) {
		uint64_t before[CPU_GPRS];
		uint8_t bytes[16];
		struct insn insn;

		random_bytes(bytes);
		if (decode(bytes, INSN_LENGTH_MAX, DECODE_64, &insn) || insn.opcode->id == INSN_HLT)
			continue;
		bt_fixture_begin(f);
		assert_int_equal(bt_engine_ops.vcpu_state_set(f->cpu, &f->state, &err), 0);
		registers_make(f, before);
		memcpy(memory_at_write(f->config.memory, CODE, 16), bytes, 16);
		if (!interp_step(f->cpu))
			continue;
		for (unsigned k = 0; k < BASE_N; k++) {
			unsigned base = bases[k];
			uint64_t by = f->cpu->gpr[base] - before[base];
			bool is_far;

			if (by == 0)
				continue;
			moved++;
			is_far = by + WINDOW_REACH / 2 >= WINDOW_REACH;
			far += is_far;
			for (enum form form = FORM_BASE; form < FORMS; form++) {
				/* RSP is no index, and OTHER is not to be both. */
				if (form == FORM_BASE ? !is_far : base == OTHER || base == CPU_RSP)
					continue;
				if (!is_kept(f, bytes, insn.length, form, base))
					continue;
				describe(bytes, insn.length, form, base);
				wrong++;
			}
		}
	}
	print_message("%u moved, %u of them far\n", moved, far);
	assert_true(far > INSNS / 100);
	assert_int_equal(wrong, 0);
	bt_fixture_destroy(f);
}

/* Else the test above would find nothing. */
static void what_stays_is_kept(void **state)
{
	static const uint8_t nop[] = {0x90}, add[] = {0x48, 0x83, 0xc3, 8},
			     other[] = {0x48, 0x89, 0xd8}, load[] = {0x48, 0x89, 0xc3};

	struct fixture *f = bt_fixture_create(TRANSLATION_TLB);

	(void)state;
	for (enum form form = FORM_BASE; form < FORMS; form++) {
		assert_true(is_kept(f, nop, sizeof(nop), form, CPU_RBX));
		assert_true(is_kept(f, other, sizeof(other), form, CPU_RBX));
		assert_false(is_kept(f, load, sizeof(load), form, CPU_RBX));
		assert_int_equal(is_kept(f, add, sizeof(add), form, CPU_RBX), form == FORM_BASE);
	}
	bt_fixture_destroy(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_stays_is_kept),
		cmocka_unit_test(what_moves_a_register_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
