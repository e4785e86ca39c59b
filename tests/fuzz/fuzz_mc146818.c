/* SPDX-License-Identifier: MIT */
/* Register accesses and turns of the loop. The line is high only while register C says so. */
#include "devices/mc146818.h"
#include "tests/fake_vm.h"
#include "tests/fuzz/fuzz.h"

#define IRQ          8
#define REG_C        0x0c
#define INDEX_PORT   MC146818_PORT
#define DATA_PORT    (MC146818_PORT + 1)
#define LOOP_TURN    0x40
#define RESET        0x41
#define C_REQUEST    0x80
#define INDEX_OF(op) ((op)&0x7f)
#define IS_WRITE(op) ((op)&0x80)

static uint64_t rtc_get(struct fake_vm *fake, unsigned reg)
{
	bus_write(fake->vm.pio, INDEX_PORT, 1, reg);
	return bus_read(fake->vm.pio, DATA_PORT, 1);
}

static void step(struct input *in, struct fake_vm *fake, struct mc146818 *rtc, struct loop *loop)
{
	uint8_t op = input_u8(in);

	if (op == LOOP_TURN) {
		fuzz_loop_turn(loop);
	} else if (op == RESET) {
		mc146818_reset(rtc);
		FUZZ_CHECK(!fake->level[IRQ]);
	} else if (INDEX_OF(op) == 0x42) {
		bus_write(fake->vm.pio, INDEX_PORT, 2, input_u16(in));
	} else if (INDEX_OF(op) == 0x43) {
		bus_read(fake->vm.pio, INDEX_PORT, 2);
	} else if (IS_WRITE(op)) {
		bus_write(fake->vm.pio, INDEX_PORT, 1, INDEX_OF(op));
		bus_write(fake->vm.pio, DATA_PORT, 1, input_u8(in));
	} else {
		rtc_get(fake, op);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fake_vm *fake = fake_vm_create(MEMORY_PAGE_SIZE);
	struct irq_line irq = {.vm = &fake->vm, .gsi = IRQ};
	struct input in = {data, size};
	struct mc146818 *rtc;
	struct loop *loop;

	FUZZ_CHECK(loop_create(&loop) == 0);
	FUZZ_CHECK(mc146818_create(fake->vm.pio, &irq, loop, &rtc) == 0);
	while (in.left)
		step(&in, fake, rtc, loop);
	FUZZ_CHECK(!fake->level[IRQ] || rtc_get(fake, REG_C) & C_REQUEST);
	rtc_get(fake, REG_C);
	FUZZ_CHECK(!fake->level[IRQ]);
	mc146818_destroy(rtc);
	loop_destroy(loop);
	fake_vm_destroy(fake);
	return 0;
}
